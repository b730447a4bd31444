"""What is measured: contenders, and the cases in which they take turns."""

import contextlib
import io
import json
import math
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from bench import environments
from book.source import files
from book.source.book import BOOK, ROOT
from book.source.cells import LOADED_TAGS
from book.source.reading import read_source
from d2l_utils.frameworks import FRAMEWORKS
from d2l_utils.host import cpu_has_bfloat16
from d2l_utils.sources import load_fashion_mnist

BUILD = environments.FOLDER
BATCH_SIZE = 128
NETWORKS = {  # section, image size, images a round
    "NiN": ("nin", 224, 256),
    "GoogleNet": ("googlenet", 96, 512),
    "NiN28": ("nin", 28, 6_400),
}
DATA_SIZES = (28, 96, 224)
DATA_IMAGES = 60_000  # all: what d2l takes to shuffle grows with their number
ROUNDS, QUICK_ROUNDS = 9, 2
OVERHEAD_ROUNDS = 10  # a difference of 2 % is within the spread of one pair
QUICK_SECONDS = 560  # of all cases together, so that they end within 10 minutes
QUICK_IMAGES = {100: 128, 25: 32, 0: 8}  # {GFLOP/s at least: images a batch}
QUICK_DATA_IMAGES = 12_800
RECIPE = {"lr": 0.01, "settings": {"dropout": 0.2}}  # with momentum 0.9
GOALS, MOST_EPOCHS = (0.8, 0.85), 8
GROWTH = (  # batch size, images a round, of NiN28
    (32, 6_400), (128, 6_400), (512, 6_400), (128, 1_600), (128, 25_600),
)  # fmt: skip
SEEDS = (1, 4, 6)  # the first that start NiN28 with no class dead
PRECISION_EPOCHS = 6
FORMS = ("forward", "loss", "training_step")  # methods that a reader may write
BFLOAT16 = ("pytorch", "mxnet", "tensorflow")


def in_bfloat16(framework):
    """Whether Trainer(precision='auto') computes in bfloat16 on this machine."""
    return framework in BFLOAT16 and cpu_has_bfloat16(tiles=framework != "mxnet")


# Time ---------------------------------------------------------------------------


class OutOfTime(Exception):
    """A case could not be measured in the time that is left."""


class Clock:
    """When the present case should end, and when all must (`time.monotonic`)."""

    case = end = math.inf

    def left(self):
        """Seconds until all must have ended, for `timeout`; None: as long as it takes.

        Raises OutOfTime where there are none.
        """
        seconds = self.end - time.monotonic()
        if seconds <= 0:
            raise OutOfTime
        return None if seconds == math.inf else seconds

    def rounds(self, most):
        """Numbers up to `most`, at least one, while a round as long as those before
        ends within the time of the case."""
        start = time.monotonic()
        for i in range(most):
            now = time.monotonic()
            if i and now + (now - start) / i > self.case:
                break
            yield i


CLOCK = Clock()


# Contenders -----------------------------------------------------------------------


class Contender:
    """A process that does a round when told to."""

    def __init__(self, framework, who, what, network, size, images, settings=None):
        form = (settings or {}).get("form", "")
        self.who, self.images = form or who, images
        theirs = who == "d2l"
        task = {
            "framework": framework,
            "who": who,
            "what": what,
            "network": network,
            "size": size,
            "batch_size": BATCH_SIZE,
            "precision": "auto",
            "lr": 0.01,
            "settings": {},
            "seed": 0,
            "bfloat16": in_bfloat16(framework),
            "package": "d2l" if theirs else "d2l_utils",
            "module": FRAMEWORKS[framework].module,
            "arrays": [
                stored_arrays(part, n)
                for part, n in (("train", images), ("val", 10_000))
            ],
            **(settings or {}),
            "source": str(stored_models(framework, theirs)),
        }
        python = environments.python_of(framework) if theirs else sys.executable
        self.log = BUILD / f"{framework}-{self.who}-{what}.log"
        seconds = CLOCK.left()
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [python, Path(__file__).with_name("contender.py"), json.dumps(task)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=BUILD,
                env=_environ(theirs) | environ_of(framework, who),
                encoding="utf-8",
            )
        if seconds:
            timer = threading.Timer(seconds, self.process.kill)
            timer.daemon = True
            timer.start()
        about = self.answer()
        self.ready, self.start_bytes = about["ready"], about["start_bytes"]

    def answer(self):
        for line in self.process.stdout:
            with contextlib.suppress(ValueError, TypeError, KeyError):
                return json.loads(line)["contender"]
        CLOCK.left()  # raises OutOfTime if the timer has killed the contender
        raise RuntimeError(f"A contender ended early; see {self.log}.")

    def tell(self, word):
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return self.answer()

    def rate(self, word="round"):
        """Images a second in one round."""
        return self.images / self.tell(word)["seconds"]

    def stop(self):
        """Peak memory of the process, in bytes."""
        peak = self.tell("stop")["peak"]
        self.process.wait()
        return peak


def _environ(theirs):
    environ = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "MPLBACKEND": "agg"}
    environ.pop("PYTHONPATH", None)
    if not theirs:
        environ["PYTHONPATH"] = str(ROOT)
    return environ


def environ_of(framework, who):
    """For MXNet's loop by hand, its default number of threads, not d2l_utils's."""
    if framework == "mxnet" and who == "native":
        return {"MXNET_OMP_MAX_THREADS": str(max(len(os.sched_getaffinity(0)) // 2, 1))}
    return {}


def stored_arrays(part, n):
    """Files with the first n images and labels of a part, as contenders load them."""
    split, paths = getattr(load_fashion_mnist(), part), []
    for name, array, dtype in zip(split._fields, split, ("uint8", "int32")):
        path = BUILD / f"{part}-{name}-{n}.npy"
        made = io.BytesIO()
        np.save(made, array[:n].astype(dtype))
        files.write(path, made.getvalue())
        paths.append(str(path))
    return paths


def stored_models(framework, theirs):
    """A file with the model cells of both sections, on d2l_utils or on d2l."""
    cells = [
        cell.source
        for section in ("nin", "googlenet")
        for cell in read_source(BOOK, section)
        if framework in cell.tabs and set(LOADED_TAGS) & set(cell.tags)
    ]
    source = "\n\n".join(cells)
    if theirs:
        source = source.replace("from d2l_utils import", "from d2l import")
        source = source.replace("d2l.require(api=1)", "")
    path = BUILD / f"models-{framework}-{'d2l' if theirs else 'ours'}.py"
    files.write(path, source)
    return path


# Cases ----------------------------------------------------------------------------


def take_turns(contenders, rounds):
    """{who: [images a second, one a round]}."""
    rates = {contender.who: [] for contender in contenders}
    for _ in CLOCK.rounds(rounds):
        for contender in contenders:
            rates[contender.who].append(contender.rate())
    return rates


def training_case(framework, network, rounds, images=None):
    """Training images/s of every contender, and how ours compares."""
    _, size, usual = NETWORKS[network]
    images = images or usual
    batch_size = min(images, BATCH_SIZE)
    names = ["ours", "d2l", "native"]
    if framework == "tensorflow":
        names.append("model_fit")
    args = ("training", network, size, images, {"batch_size": batch_size})
    contenders = [Contender(framework, who, *args) for who in names]
    rates = take_turns(contenders, rounds)
    pairs = [
        (contenders[0].rate(), contenders[0].rate("bare"))
        for _ in CLOCK.rounds(OVERHEAD_ROUNDS)
    ]
    record = {"what": "training", "network": network, "framework": framework}
    record |= {"size": size, "batch_size": batch_size, "images": images}
    for contender in contenders:
        who = contender.who
        record[who] = statistics.median(rates[who])
        record[f"seconds_until_ready_{who}"] = contender.ready
        record[f"peak_bytes_{who}"] = contender.stop()
        if who != "ours":
            put_ratio(record, who, rates["ours"], rates[who])
    put_ratio(record, "bare", *zip(*pairs))
    return record


def forms_case(framework, rounds, images=None):
    """Images/s of NiN with methods as a reader writes them, beside the notebook's."""
    _, size, usual = NETWORKS["NiN"]
    images = images or usual
    args = (framework, "ours", "training", "NiN", size, images)
    forms = [{}, *({"form": form} for form in FORMS)]
    contenders = [Contender(*args, settings=settings) for settings in forms]
    rates = take_turns(contenders, rounds)
    record = {"what": "forms", "network": "NiN", "framework": framework}
    record |= {"size": size, "batch_size": BATCH_SIZE, "images": images}
    for contender in contenders:
        who = contender.who
        record[who] = statistics.median(rates[who])
        contender.stop()
        if who != "ours":
            put_ratio(record, who, rates[who], rates["ours"])
    return record


def data_case(framework, size, rounds, images=DATA_IMAGES):
    """Images/s until the resized float32 batch is there."""
    args = (framework, "data", "NiN28", size, images)
    contenders = [Contender(args[0], who, *args[1:]) for who in ("ours", "d2l")]
    rates = take_turns(contenders, rounds)
    record = {"what": "data", "framework": framework, "size": size}
    record |= {"batch_size": BATCH_SIZE, "images": images}
    for contender in contenders:
        record[contender.who] = statistics.median(rates[contender.who])
        record[f"start_bytes_{contender.who}"] = contender.start_bytes
        record[f"peak_bytes_{contender.who}"] = contender.stop()
    put_ratio(record, "data", rates["ours"], rates["d2l"])
    return record


def growth_case(framework):
    """Training images/s and peak memory of NiN28 over batch size and data size."""
    record = {"what": "growth", "network": "NiN28", "framework": framework}
    record["over"] = []
    for batch_size, images in GROWTH:
        args = (framework, "training", "NiN28", 28, images, {"batch_size": batch_size})
        contenders = [Contender(args[0], who, *args[1:]) for who in ("ours", "d2l")]
        rates = take_turns(contenders, QUICK_ROUNDS)
        found = {"batch_size": batch_size, "images": images}
        for contender in contenders:
            found[contender.who] = statistics.median(rates[contender.who])
            found[f"peak_bytes_{contender.who}"] = contender.stop()
        record["over"].append(found)
    return record


def accuracy_case(framework):
    """Seconds since a process started and accuracy of NiN28 after every epoch."""
    settings = {**RECIPE, "seed": SEEDS[0]}
    args = (framework, "accuracy", "NiN28", 28, 60_000, settings)
    contenders = [Contender(args[0], who, *args[1:]) for who in ("ours", "d2l")]
    record = {"what": "accuracy", "network": "NiN28", "framework": framework}
    record |= {"batch_size": BATCH_SIZE, **settings}
    for c in contenders:
        record |= {f"seconds_{c.who}": [], f"accuracies_{c.who}": []}
    for _ in range(MOST_EPOCHS):
        for c in contenders:
            seconds, accuracies = (
                record[f"{name}_{c.who}"] for name in ("seconds", "accuracies")
            )
            if accuracies and max(accuracies) >= max(GOALS):
                continue
            told = c.tell("round")
            seconds.append((seconds[-1] if seconds else c.ready) + told["seconds"])
            accuracies.append(told["result"])
    for c in contenders:
        c.stop()
    return record


def precision_case(framework):
    """Validation accuracies of NiN28 in bfloat16 and in float32, from equal seeds."""
    record = {"what": "precision", "network": "NiN28", "framework": framework, **RECIPE}
    for precision in ("auto", "float32"):
        record[precision] = []
        for seed in SEEDS:
            settings = {**RECIPE, "precision": precision, "seed": seed}
            args = ("ours", "accuracy", "NiN28", 28, 60_000, settings)
            contender = Contender(framework, *args)
            epochs = range(PRECISION_EPOCHS)
            accuracies = [contender.tell("round")["result"] for _ in epochs]
            record[precision].append(accuracies)
            contender.stop()
    last = {p: statistics.mean(a[-1] for a in record[p]) for p in ("auto", "float32")}
    return record | {"difference": last["auto"] - last["float32"]}


def put_ratio(record, name, ours, others):
    """Enter the median and the range of ours / others, rates of the same rounds."""
    ratios = [a / b for a, b in zip(ours, others)]
    record[f"ratio_{name}"] = statistics.median(ratios)
    record[f"spread_{name}"] = [min(ratios), max(ratios)]


IMPORTS = {
    "pytorch": "torch",
    "mxnet": "d2l_utils.mxnet.imports; d2l_utils.mxnet.imports.load_mxnet()",
    "tensorflow": "tensorflow",
    "jax": "jax, flax.linen, optax",
}


def import_case(framework, rounds):
    """Seconds to import the framework alone, and our module."""
    ours = FRAMEWORKS[framework].here
    codes = [f"import {IMPORTS[framework]}", f"import {ours}"]
    seconds = [[], []]
    for _ in range(rounds + 1):
        for code, found in zip(codes, seconds):
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, "-c", code],
                check=True,
                stderr=subprocess.DEVNULL,
                env=_environ(theirs=False),
                timeout=CLOCK.left(),
            )
            found.append(time.perf_counter() - start)
    # Without the first import, which had to read files from the disk.
    alone, ours = (statistics.median(found[1:]) for found in seconds)
    record = {"what": "import", "framework": framework, "alone": alone, "ours": ours}
    return record | {"above": ours - alone}


MATRIX_PRODUCTS = """
import json, sys, time, torch
rates = {}
for name in sys.argv[1:]:
    a, times = torch.rand(2048, 2048).to(getattr(torch, name)), []
    for _ in range(12):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    rates[name] = 2 * 2048**3 / min(times) / 1e9
print(json.dumps(rates))
"""


def matrix_product_rate():
    """GFLOP/s of a product of two 2048 x 2048 matrices in PyTorch, by dtype.

    bfloat16 only where the processor has units for it: emulated, at about 1 GFLOP/s,
    the 12 products take minutes and say nothing about the machine.
    """
    dtypes = ["float32"] + ["bfloat16"] * cpu_has_bfloat16()
    command = [sys.executable, "-c", MATRIX_PRODUCTS, *dtypes]
    done = subprocess.run(
        command, check=True, capture_output=True, encoding="utf-8", timeout=CLOCK.left()
    )
    return {"what": "matrix product", **json.loads(done.stdout)}
