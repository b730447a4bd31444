"""One run of the study, in a process of its own: `python -m study.train VARIANT ...`.

A run trains a variant with one learning rate. Either it trains from a seed on all
images of the variant, and is scored once on the test images; or it helps to choose the
learning rate, and is scored on the images held out. It keeps a checkpoint, and goes on
from it when it is begun again.
"""

import argparse
import contextlib
import dataclasses
import json
import math
import sys
import time
import warnings
from importlib import import_module, metadata
from pathlib import Path

import numpy as np
from filelock import FileLock

from book.source.book import ROOT
from d2l_utils import base, host, study
from d2l_utils.data import resize
from d2l_utils.failures import DeadNetworkWarning
from d2l_utils.frameworks import FRAMEWORKS
from study.table import HELD_OUT, VARIANTS

CHUNK = 500  # images scored at a time
DIGITS = 5  # of numbers in a record


def settings_of(variant, lr, choosing):
    """The settings of a run, which its record stores; a record of others is refused."""
    found = dataclasses.asdict(variant) | {"lr": lr}
    for name in ("name", "lrs", "seeds", "keep"):
        del found[name]
    if choosing:
        found["epochs"] = math.ceil(variant.epochs / 2)
        found["images"] = min(variant.images, 60_000 - HELD_OUT)
    return json.loads(json.dumps(found))  # tuples as lists


def run(variant, seed, lr, choosing, checkpoint, out):
    """Train, score, and write the record."""
    d2l = import_module(FRAMEWORKS[variant.framework].here)
    settings, started = settings_of(variant, lr, choosing), time.perf_counter()
    d2l.set_seed(seed)
    data = d2l.FashionMNIST(variant.batch_size, resize=variant.shape)
    if base.fast_mode():
        sys.exit("D2L_UTILS_FAST is set: a shortened training is no result. Unset it.")
    if data.is_sample:
        sys.exit(
            "Only the sample of Fashion-MNIST is here: the study needs the full data."
        )
    test = split(data, settings["images"], choosing, variant)
    per_epoch = math.ceil(settings["images"] / variant.batch_size)
    model = make_model(variant, lr, per_epoch * settings["epochs"])
    model.board.display = False
    begin(d2l, variant, model, data)
    counted = d2l.resources(model, resize(data.train.images[:1], variant.shape).shape)
    check_checkpoint(checkpoint, {**settings, **versions(variant.framework)})
    trainer = d2l.Trainer(settings["epochs"], num_gpus=1, checkpoint=checkpoint)
    ended = {}
    try:
        with warnings.catch_warnings():
            if choosing:
                warnings.simplefilter("error", DeadNetworkWarning)
            trainer.fit(model, data)
    except (FloatingPointError, DeadNetworkWarning) as error:
        if not choosing:
            raise
        # A rate that is too high is an answer.
        how = "died" if isinstance(error, DeadNetworkWarning) else "diverged"
        ended = {how: trainer.train_batch_idx}
    except Exception as error:
        if type(error).__name__ != "Enough":  # of recipe.py, which needs PyTorch
            raise
    history = {k: rounded(v) for k, v in trainer.history.items()}
    if not variant.textbook:  # its validation data are no part of the experiment
        history = {k: v for k, v in history.items() if not k.startswith("val_")}
    record = {
        "format": study.FORMAT,
        "variant": variant.name,
        "seed": seed,
        "settings": settings,
        "network": {"params": counted.params, "macs": counted.macs},
        "history": history,
    }
    if variant.steps:
        record["steps"] = {"loss": model.losses, "live": model.live,
                           "predicted": model.predicted}  # fmt: skip
    elif ended:
        record["held_out"] = {"accuracy": 0.0, **ended}
    else:
        record |= scores(d2l, variant, model, data, test, choosing, out)
    record["made"] = {
        "framework": variant.framework,
        "versions": versions(variant.framework),
        "precision": "bfloat16" if trainer.plan.bfloat16 else "float32",
        "device": trainer.device_text(),
        "processor": host.processor_name(),
        "date": time.strftime("%Y-%m-%d"),
        "seconds": round(time.perf_counter() - started, 1),
    }
    base.replace_file(out, (json.dumps(record) + "\n").encode())
    for path in (Path(checkpoint), about(checkpoint)):
        path.unlink(missing_ok=True)


def about(checkpoint):
    """The file that says what a checkpoint was made with."""
    return Path(f"{checkpoint}.about.json")


def check_checkpoint(checkpoint, now):
    """Go on only from a checkpoint of the same settings and versions."""
    path = about(checkpoint)
    if Path(checkpoint).exists() and path.exists():
        then = json.loads(path.read_text(encoding="utf-8"))
        other = sorted(k for k in {**then, **now} if then.get(k) != now.get(k))
        if other:
            changes = (f"{k} {then.get(k)}, now {now.get(k)}" for k in other)
            sys.exit(
                f"{Path(checkpoint).name} is of another run ({', '.join(changes)}): "
                "delete it to begin anew."
            )
    base.replace_file(path, json.dumps(now).encode())


def versions(framework):
    packages = base.installed(*FRAMEWORKS[framework].distributions)
    return {name: metadata.version(name) for name in [*packages, "numpy"]}


def split(data, images, choosing, variant):
    """Put the training part into the data; returns what is scored at the end."""
    train, test = tuple(data.train), tuple(data.val)
    if choosing:
        test = tuple(x[-HELD_OUT:] for x in train)
    train = tuple(x[:images] for x in train)
    if variant.canvas:
        train, test = ((on_canvas(X, variant.canvas), y) for X, y in (train, test))
    data.train = train
    # Scored after each epoch: the test images in the textbook's, else one batch, for
    # speed.
    data.val = (
        test if variant.textbook else tuple(x[: variant.batch_size] for x in train)
    )
    return test


def on_canvas(images, across, shift=0):
    """Images in the middle of an empty canvas, `across` pixels wide, or moved from
    there to the right (left, if negative)."""
    n, height, width = images.shape
    canvas = np.zeros((n, height, across), images.dtype)
    left = (across - width) // 2 + shift
    canvas[:, :, left : left + width] = images
    return canvas


def make_model(variant, lr, total_steps):
    where, name = variant.net.split(":")
    if variant.framework != "pytorch":
        asked = {k: getattr(variant, k) for k in ("cosine", "smoothing", "steps")}
        asked["net"] = variant.net if where == "study" else ""
        said = ", ".join(f"{k}={v!r}" for k, v in asked.items() if v)
        if said:
            raise ValueError(
                f"{variant.name}: {said} is for PyTorch only, not for "
                f"{variant.framework}."
            )
        Class = notebook_class(where, variant.framework, name)
        return Class(lr=lr, momentum=variant.momentum, **variant.settings)
    from study import networks
    from study.recipe import Recipe

    if where == "study":
        model = getattr(networks, name)(lr=lr, **variant.settings)
    else:
        Class = notebook_class(where, "pytorch", name)
        model = type(name, (Recipe, Class), {})(lr=lr, **variant.settings)
    return model.follow(variant, total_steps)


def notebook_class(section, framework, name):
    """A model of a notebook, from its stored edition, which needs no other package."""
    path = ROOT / "notebooks" / framework / f"{section}.ipynb"
    names = {"__name__": section}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if {"imports", "model"} & set(cell["metadata"].get("tags", ())):
            exec(compile("".join(cell["source"]), path.name, "exec"), names)
    return names[name]


def begin(d2l, variant, model, data):
    """Draw the first weights."""
    if variant.framework == "jax":
        return  # its classes name the rule themselves, by kernel_init
    X = next(iter(data.get_dataloader(True)))[0]
    model.apply_init(
        [X], getattr(d2l, {"glorot": "init_cnn", "he": "init_he"}[variant.start])
    )


def probabilities_of(d2l, model, images, shape):
    """(n, classes), by the softmax of the logits."""
    parts = []
    for i in range(0, len(images), CHUNK):
        X = resize(images[i : i + CHUNK], shape)
        logits = d2l.predict(model, X).astype(float)
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        parts.append(e / e.sum(axis=1, keepdims=True))
    return np.concatenate(parts)


def scores(d2l, variant, model, data, test, choosing, out):
    """What a record tells of the trained network."""
    images, labels = test
    p = probabilities_of(d2l, model, images, variant.shape)
    labels = labels.astype(int)
    accuracy = float((p.argmax(axis=1) == labels).mean())
    if choosing:
        return {"held_out": {"accuracy": accuracy}}
    found = {"test": study.scores(p, labels)}
    if variant.size <= 56:  # cheap; in evaluation mode, unlike the history's
        X, y = tuple(data.train)
        q = probabilities_of(d2l, model, X, variant.shape)
        found["train"] = {"accuracy": float((q.argmax(axis=1) == y).mean()),
                          "loss": study.cross_entropy(q, y.astype(int))}  # fmt: skip
    if variant.canvas:
        found["shifts"] = shifts(d2l, variant, model, labels)
    if "probabilities" in variant.keep:
        beside(
            out, ".npz", lambda path: np.savez_compressed(path, p=p.astype("float16"))
        )
    if "weights" in variant.keep:
        beside(out, ".safetensors", lambda path: d2l.save_weights(model, path))
    return found


def shifts(d2l, variant, model, labels):
    """The accuracy on test images that were moved by 0, 1, ... pixels: the mean over
    left and right."""
    images = d2l.FashionMNIST().val.images
    most = (variant.canvas - images.shape[2]) // 2
    found = []
    for by in range(most + 1):
        hits = []
        for shift in {by, -by}:
            moved = on_canvas(images, variant.canvas, shift)
            p = probabilities_of(d2l, model, moved, variant.shape)
            hits.append((p.argmax(axis=1) == labels).mean())
        found.append(round(float(np.mean(hits)), DIGITS))
    return found


def beside(out, suffix, write):
    """A file beside the record, whole or not at all."""
    part = Path(out).with_suffix(f".part{suffix}")
    write(part)
    part.replace(Path(out).with_suffix(suffix))


def rounded(values):
    return [round(float(v), DIGITS) for v in values]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("variant", choices=VARIANTS, metavar="VARIANT")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--choosing", action="store_true")
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--together", action="store_true", help="beside other runs")
    args = parser.parse_args(argv)
    settings = args.seed, args.lr, args.choosing, args.checkpoint, args.out
    # A run whose runner was killed goes on, and the next one waits for it.
    alone = FileLock(Path(args.checkpoint).with_name("run.lock"))
    with contextlib.nullcontext() if args.together else alone:
        run(VARIANTS[args.variant], *settings)


if __name__ == "__main__":
    sys.exit(main())
