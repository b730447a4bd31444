"""All that wants a GPU, in one command: `python -m study.gpu --out FOLDER`.

For a machine that is at hand for minutes, possibly without a network, where only NumPy,
PyTorch or JAX may be installed. It knows its time, and leaves out what will not fit:

1. tests of the package on a GPU;
2. ten epochs of NiN at 224 px and of GoogLeNet at 96 px, ours against a loop by hand;
   of both, the first step, which compiles, is timed apart;
3. what is missing of the study, the most important first.

FOLDER gets report.md, log.txt, and records.tar.gz, to be unpacked in d2l_utils/results.
"""

import argparse
import io
import json
import math
import os
import subprocess
import sys
import tarfile
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from book.source import files
from book.source.book import ROOT
from d2l_utils import study
from d2l_utils.base import fast_mode
from d2l_utils.frameworks import FRAMEWORKS
from study.table import TEXTBOOK
from study.train import notebook_class

ON_GPU = ("pytorch", "jax")
BATCH_SIZE, EPOCHS = 128, 10
JOBS = 4  # small trainings at a time: alone, none fills a large GPU
MOST_OF_A_STEP = 0.4  # share of the time left that tests or one timing may take


def there():
    """The frameworks among these that are installed."""
    return [f for f in ON_GPU if find_spec(FRAMEWORKS[f].base)]


# Timed ------------------------------------------------------------------------------


def timed(framework, case, who):
    """{'first': seconds until the first step is done, 'epochs': seconds of each, ...}.

    The first epoch is counted without its first step. No epoch includes validation.
    """
    d2l = import_module(FRAMEWORKS[framework].here)
    size, (lr,) = TEXTBOOK[case]["size"], TEXTBOOK[case]["lrs"]
    d2l.set_seed(1)
    data = d2l.FashionMNIST(BATCH_SIZE, resize=size)
    section, name = TEXTBOOK[case]["net"].split(":")
    model = notebook_class(section, framework, name)(lr=lr)
    model.board.display = False
    started = time.perf_counter()
    if who == "native":
        loop = {"pytorch": native_pytorch, "jax": native_jax}[framework]
        return loop(d2l, model, data, lr, started)
    first_step = []  # when it began, when it was done

    class Timed(d2l.Trainer):
        def _in_float32_if_need_be(self, *args):  # makes that step
            first_step.append(time.perf_counter())
            recorded = super()._in_float32_if_need_be(*args)
            float(recorded["loss"])  # waits for the device
            first_step.append(time.perf_counter())
            return recorded

    trainer = Timed(1 if fast_mode() else EPOCHS, num_gpus=1)
    trainer.fit(model, data)
    begun, done = first_step
    first, *others = trainer.history["seconds"]
    return {"first": done - started, "epochs": [first - (done - begun), *others],
            "accuracy": trainer.history["val_acc"][-1],
            "device": trainer.device_text()}  # fmt: skip


def native_pytorch(d2l, model, data, lr, started):
    """What one writes by hand: bytes on the device, resized there, mixed precision."""
    import torch
    from torch.nn import functional as F

    device = d2l.try_gpu()
    size = data.resize
    images, labels = (torch.as_tensor(x, device=device) for x in data.arrays(True))

    def batch(chosen):
        X = images[chosen][:, None].float() / 255
        X = F.interpolate(X, size, mode="bilinear", antialias=True)
        return X.contiguous(memory_format=torch.channels_last), labels[chosen].long()

    model.apply_init([torch.zeros(1, 1, *size)], d2l.init_cnn)
    net = model.net.to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr)
    net.train()

    def step(chosen):
        X, y = batch(chosen)
        with torch.autocast(device.type, torch.bfloat16):
            l = F.cross_entropy(net(X), y)
        optimizer.zero_grad()
        l.backward()
        optimizer.step()
        return l

    return by_hand(step, len(labels), lambda l: l.item(), started)


def native_jax(d2l, model, data, lr, started):
    """What one writes by hand: bytes on the device, a compiled step."""
    import jax
    import jax.numpy as jnp
    import optax

    size = data.resize
    images, labels = (jax.device_put(x) for x in data.arrays(True))
    net = model.clone(training=True)
    key = jax.random.key(1)
    variables = net.init({"params": key, "dropout": key}, jnp.zeros((1, *size, 1)))
    params, tx = variables["params"], optax.sgd(lr)
    state = [params, tx.init(params)]

    @jax.jit
    def step(params, slots, X, y, key):
        X = jax.image.resize(X[..., None] / 255.0, (len(y), *size, 1), "bilinear")

        def loss(params):
            logits = net.apply({"params": params}, X, rngs={"dropout": key})
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

        l, grads = jax.value_and_grad(loss)(params)
        updates, slots = tx.update(grads, slots, params)
        return optax.apply_updates(params, updates), slots, l

    def one(chosen):
        at = jax.random.fold_in(key, int(chosen[0]))
        *state[:], l = step(*state, images[chosen], labels[chosen], at)
        return l

    return by_hand(one, len(labels), float, started)


def by_hand(step, n, wait, started):
    """Time the epochs of a loop by hand, as `timed` returns them.

    step(indices of a batch) returns the loss, wait(loss) waits for the device; n:
    training images.
    """
    epochs, first = [], None
    steps = 2 if fast_mode() else math.ceil(n / BATCH_SIZE)
    for epoch in range(1 if fast_mode() else EPOCHS):
        order = np.random.default_rng([1, epoch]).permutation(n)
        begun = time.perf_counter()
        for i in range(steps):
            l = step(order[i * BATCH_SIZE : (i + 1) * BATCH_SIZE])
            if first is None:
                wait(l)
                first = time.perf_counter() - started
                begun = time.perf_counter()
        wait(l)
        epochs.append(time.perf_counter() - begun)
    return {"first": first, "epochs": epochs}


# The whole ----------------------------------------------------------------------------


class Session:
    """What is done so far, in a folder, and how much time is left."""

    def __init__(self, out, minutes):
        self.out, self.end = Path(out), time.monotonic() + 60 * minutes
        self.out.mkdir(parents=True, exist_ok=True)
        self.lines = []

    def left(self):
        return self.end - time.monotonic()

    def say(self, line):
        """A line of the report, which is written at once: the machine may go."""
        self.lines.append(line)
        files.write(self.out / "report.md", "\n".join(self.lines) + "\n")
        print(line, flush=True)

    def do(self, what, *arguments, share=MOST_OF_A_STEP):
        """Output of a Python process; None where it fails or takes too long."""
        limit = share * self.left()
        with open(self.out / "log.txt", "a", encoding="utf-8") as log:
            log.write(f"\n$ python {' '.join(arguments)}\n")
            log.flush()
            try:
                done = subprocess.run(
                    [sys.executable, *arguments], cwd=ROOT, timeout=limit,
                    stdout=subprocess.PIPE, stderr=log, encoding="utf-8",
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                self.say(f"- {what}: not done in {limit:.0f} s")
                return None
            log.write(done.stdout)
        if done.returncode:
            self.say(f"- {what}: failed with status {done.returncode}, see log.txt")
            return None
        return done.stdout

    def pack(self):
        """All records in one archive."""
        made = io.BytesIO()
        with tarfile.TarFile.gzopen(None, "w", made) as archive:
            for path in sorted(study.RESULTS.glob("*")):
                if ".part" not in path.name:
                    archive.add(path, path.name)
        files.write(self.out / "records.tar.gz", made.getvalue())


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", default="build/gpu", help="folder for the results")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--time", nargs=3, metavar=("FRAMEWORK", "CASE", "WHO"))
    args = parser.parse_args(argv)
    if args.time:
        print(json.dumps(timed(*args.time)))
        return 0
    session = Session(args.out, args.minutes)
    session.say(f"# On a GPU, {time.strftime('%Y-%m-%d')}")
    for framework in ON_GPU:
        if framework not in there():
            session.say(f"- {framework}: not installed")
        elif not find_spec("pytest"):
            session.say("- tests: left out, pytest is not installed")
        else:
            command = ["-m", "pytest", "-q", "tests/test_gpu.py"]
            told = session.do(f"tests, {framework}", *command, "--framework", framework)
            if told:
                session.say(f"- tests, {framework}: {told.strip().splitlines()[-1]}")
    session.say(
        "\n| | until the first step is done, s | ten epochs without it, s | device |"
        "\n|---|---|---|---|"
    )
    for case in TEXTBOOK:
        for framework in there():
            for who in ("ours", "native"):
                what = f"{framework}, {case}, {who}"
                told = session.do(
                    what, "-m", "study.gpu", "--time", framework, case, who
                )
                if told:
                    r = json.loads(told.splitlines()[-1])
                    session.say(f"| {what} | {r['first']:.1f} | {sum(r['epochs']):.1f} "
                                f"| {r.get('device', '')} |")  # fmt: skip
    session.pack()
    if not fast_mode():  # in which nothing is a result
        minutes = session.left() / 60 - 0.5
        command = ["-m", "study.run", "--minutes", f"{minutes:.2f}"]
        session.do("the study", *command, "--jobs", str(JOBS), share=0.95)
        session.pack()
    found = len(list(study.RESULTS.glob("*.seed*.json")))
    size = os.path.getsize(session.out / "records.tar.gz")
    session.say(f"\n{found} records of seeds, {size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
