"""Are the four tabs one model? `python -m book.checks.parity` compares them.

Each framework, in a process of its own, loads the same weights into the model of
its edition, takes the same images, and stores activations, logits, loss,
gradients and the update of one step (parity_worker.py). Every ordered pair is
compared, with the first as the reference. Exits non-zero above the tolerances.
Then the network that comes with the package: all frameworks load it, save it again to
the last bit, and predict the same class for each of 2,000 validation images, except
where its two largest logits are nearly equal.
And new networks: from one seed, all frameworks start from the same bits, and the losses
of two of these networks stay as close as rounding lets them.

Differences are relative: to the largest value of a tensor for activations, logits
and loss; of L2 norms for gradients and updates, where a single ReLU or maximum
that falls the other way in the last bit changes a few numbers by a lot.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from book.checks import parity_worker
from book.source import files
from book.source.book import ROOT
from d2l_utils import weights
from d2l_utils.frameworks import FRAMEWORKS

VARIANTS = (  # of nin_exercises, all but the one that is NiN28
    "one 1x1", "three 1x1", "3x3", "dense head", "two steps", "NiN-11", "NiN-16",
    "NiN-19", "five blocks",
)  # fmt: skip
GOOGLENET_VARIANTS = (  # of googlenet_exercises, all but those that are GoogLeNet
    "small", "short stem", "no ReLU", "coarse", "one block", "flat head", "batch norm",
    "two 3x3", "asymmetric", "expanded", "residual", "label smoothing",
)  # fmt: skip
CASES = (  # section, class or variant, image size, dtype
    ("nin", "NiN", 224, "float32"),
    ("nin", "NiN", 161, "float32"),
    ("nin", "NiN28", 28, "float32"),
    ("nin", "NiN28", 45, "float32"),
    ("googlenet", "GoogleNet", 96, "float32"),
    ("googlenet", "GoogleNet", 64, "float32"),
    ("googlenet", "GoogleNet", 97, "float32"),
    ("nin", "NiN28", 28, "float64"),
    ("googlenet", "GoogleNet", 64, "float64"),
    *(("nin_exercises", name, 28, "float32") for name in VARIANTS),
    *(("googlenet_exercises", name, 28, "float32") for name in GOOGLENET_VARIANTS),
)
TOLERANCES = {
    "float32": {
        "logits": 1e-5,
        "activations": 1e-5,
        "loss": 1e-5,
        "gradients": 1e-2,
        "update": 1e-2,
    },
    "float64": {
        "logits": 1e-12,
        "activations": 1e-12,
        "loss": 1e-12,
        "gradients": 1e-8,
        "update": 1e-8,
    },
}
KINDS = tuple(TOLERANCES["float32"])
LOGIT_RANGE = (0.1, parity_worker.LARGEST_LOGIT)
LOSS_TOLERANCES = {20: 1e-4, 100: 1e-2}  # {in so many first steps: relative to loss}
LEAST_FALL = 0.3  # of the loss in 100 steps: else agreement would prove nothing
TORN = 1e-4  # where the two largest logits are closer, predictions are not compared


def compare(reference, other):
    """{kind: largest relative difference} of two results of `measure`."""
    worst = {}
    kinds = {"activation": "activations", "gradient": "gradients"}
    for name, a in reference.items():
        if name == "other":
            continue
        b = other.get(name)
        kind = name.split("/")[0]
        kind = kinds.get(kind, kind)
        if b is None or b.shape != a.shape or not np.isfinite(b).all():
            worst[kind] = np.inf
            continue
        a, b = a.astype(np.float64), b.astype(np.float64)
        if kind in ("gradients", "update"):
            error = np.linalg.norm(a - b) / np.linalg.norm(a)
        else:
            error = np.abs(a - b).max() / np.abs(a).max()
        worst[kind] = max(worst.get(kind, 0.0), float(error))
    return worst


def failures(worst, dtype="float32"):
    """The kinds that are above their tolerance."""
    return [k for k, v in worst.items() if not v <= TOLERANCES[dtype][k]]


def vacuous(result):
    """Reasons why agreeing with this result would prove nothing; [] if none."""
    reasons = []
    largest = np.abs(result["logits"]).max()
    if not LOGIT_RANGE[0] <= largest <= LOGIT_RANGE[1]:
        reasons.append(f"the largest logit is {largest:.3g}")
    moved = np.abs(result["other"] - result["logits"][:1]).max() / largest
    if moved < 1000 * TOLERANCES["float32"]["logits"]:
        reasons.append(f"another image moves the logits by only {moved:.1e}")
    for name, value in result.items():
        if name.startswith(("update/", "gradient/")) and not np.abs(value).max() > 0:
            reasons.append(f"{name} is zero")
    return reasons


def parts_of(case):
    """What is measured beside the forward pass; of a variant, no gradients.

    The update says the same: without momentum it is the gradients times LR.
    """
    return ("update",) if case[0].endswith("_exercises") else parity_worker.PARTS


def kinds_of(case):
    """What is compared of a case, and must be there."""
    return set(KINDS) - (
        set() if "gradients" in parts_of(case) else {"loss", "gradients"}
    )


def name_of(case):
    _, cls, size, dtype = case
    return f"{cls} {size} {dtype}"


def installed():
    """Frameworks that can be imported here; says which are left out."""
    there = [f.name for f in FRAMEWORKS.values() if f.is_installed()]
    for f in [f for f in FRAMEWORKS if f not in there]:
        print(f"{f}: skipped, it is not installed (or has no wheels here)")
    return there


def worker(framework, folder):
    """All cases of one framework; PyTorch comes first and makes the weights."""
    for case in CASES:
        path = folder / f"{case[1]} {case[2]}.safetensors"
        if not path.exists():
            parity_worker.make_weights(case[:3], path)
        parts = parts_of(case)
        result = parity_worker.measure(framework, case[:3], path, case[3], parts=parts)
        np.savez(folder / f"{name_of(case)}.{framework}.npz", **result)
    carried = parity_worker.carry(framework, folder)
    np.savez(folder / f"carried.{framework}.npz", **carried)
    networks = {case[:2]: case[:3] for case in reversed(CASES)}  # at one size each
    started = parity_worker.starts(framework, networks.values())
    np.savez(folder / f"started.{framework}.npz", **started)


def run_worker(framework, folder):
    """All cases of one framework in a process of its own."""
    environment = {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # Compiling is nearly all that JAX does here; this is six times as fast.
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }
    command = [sys.executable, "-m", "book.checks.parity", "--worker", framework]
    command += ["--folder", str(folder)]
    subprocess.run(command, check=True, cwd=ROOT, env=environment)


def run_workers(frameworks, folder):
    """PyTorch first, which makes the weights; then two processes at a time."""
    run_worker("pytorch", folder)
    slowest_first = [f for f in ("jax", "tensorflow", "mxnet") if f in frameworks]
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(lambda f: run_worker(f, folder), slowest_first))


def compare_all(frameworks, folder):
    """(rows of the table, whether all of them are within tolerance)."""
    table, passed = [], True
    print(
        f"{'network':24}{'reference':11}{'other':11}"
        + "".join(f"{k:>13}" for k in KINDS)
    )
    for case in CASES:
        name, dtype = name_of(case), case[3]
        results = {f: dict(np.load(folder / f"{name}.{f}.npz")) for f in frameworks}
        for f, result in results.items():
            for reason in vacuous(result):
                print(f"{name} in {f} proves nothing: {reason}")
                passed = False
        for a, b in itertools.permutations(frameworks, 2):
            worst = compare(results[a], results[b])
            whole = set(worst) >= kinds_of(case)
            bad = failures(worst, dtype) or not whole
            passed &= not bad
            row = "".join(
                f"{worst[k]:13.1e}" if k in worst else f"{'-':>13}" for k in KINDS
            )
            print(f"{name:24}{a:11}{b:11}{row}" + "  FAILED" * bool(bad))
            table.append({"network": name, "reference": a, "other": b, **worst})
    return table, passed


def compare_carried(reference, other, stored):
    """How two results of `carry` differ: counts, and a relative difference.

    stored: the tensors of the file, which `other` should have saved unchanged.
    """
    a, b = reference["logits"], other["logits"]
    best = np.sort(a, axis=1)
    decided = best[:, -1] - best[:, -2] > TORN
    unlike = a.argmax(axis=1) != b.argmax(axis=1)
    saved = {k.split("/")[1]: v for k, v in other.items() if k.startswith("saved/")}
    changed = [k for k, w in stored.items() if not np.array_equal(saved.get(k), w)]
    return {
        "images": len(a),
        "decided": int(decided.sum()),
        "predicted otherwise": int((unlike & decided).sum()),
        "logits": float(np.abs(a - b).max() / np.abs(a).max()),
        "tensors": len(stored),
        "tensors changed": len(changed) + len(set(saved) - set(stored)),
    }


def carried_well(row):
    """Whether trained weights travelled between two frameworks unharmed."""
    right = not row["predicted otherwise"] and not row["tensors changed"]
    enough = row["decided"] > 0.9 * row["images"]
    return right and enough and row["logits"] <= TOLERANCES["float32"]["logits"]


def compare_all_carried(frameworks, folder):
    """(rows, whether trained weights travelled unharmed between all pairs)."""
    results = {f: dict(np.load(folder / f"carried.{f}.npz")) for f in frameworks}
    stored = weights.read(weights.stored_path("nin28_56"))[0]
    table, passed = [], True
    print("\nweights of nin28_56, carried")
    for a, b in itertools.permutations(frameworks, 2):
        row = compare_carried(results[a], results[b], stored)
        good = carried_well(row)
        passed &= good
        text = ", ".join(f"{k} {v:.6g}" for k, v in row.items())
        print(f"{a:11}{b:11}{text}" + "  FAILED" * (not good))
        table.append({"network": "carried", "reference": a, "other": b, **row})
    return table, passed


def compare_started(reference, other):
    """How two results of `starts` differ: initial weights, and losses in training."""
    weights = {k for k in {**reference, **other} if k.startswith("start/")}
    same = [k for k in weights if np.array_equal(reference.get(k), other.get(k))]
    row = {"tensors": len(weights), "tensors different": len(weights) - len(same)}
    for name, a in reference.items():
        if name.startswith("losses/"):
            error = np.abs(a - other[name]) / a
            row |= {f"{name} to {n}": float(error[:n].max()) for n in LOSS_TOLERANCES}
            row[f"{name} fall by"] = float(a[0] - a[-10:].mean())
    return row


def started_alike(row):
    """Whether two frameworks start alike, and learn alike as far as rounding lets."""
    near = all(
        value <= most
        for name, value in row.items()
        for n, most in LOSS_TOLERANCES.items()
        if name.endswith(f" to {n}")
    )
    falls = [value for name, value in row.items() if name.endswith("fall by")]
    learns = all(fall > LEAST_FALL for fall in falls)
    return near and learns and row["tensors"] > 0 and not row["tensors different"]


def compare_all_started(frameworks, folder):
    """(rows, whether all networks of the notebooks start alike everywhere)."""
    results = {f: dict(np.load(folder / f"started.{f}.npz")) for f in frameworks}
    table, passed = [], True
    print("\nnew networks, from one seed, and the losses of their first steps")
    for a, b in itertools.permutations(frameworks, 2):
        row = compare_started(results[a], results[b])
        good = started_alike(row)
        passed &= good
        text = ", ".join(f"{k} {v:.2g}" for k, v in row.items())
        print(f"{a:11}{b:11}{text}" + "  FAILED" * (not good))
        table.append({"network": "started", "reference": a, "other": b, **row})
    return table, passed


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--worker", choices=FRAMEWORKS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.worker:
        worker(args.worker, args.folder)
        return 0
    frameworks = installed()
    if "pytorch" not in frameworks or len(frameworks) < 2:
        sys.exit("Parity needs PyTorch and at least one other framework.")
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build, prefix="parity") as folder:
        run_workers(frameworks, Path(folder))
        table, passed = compare_all(frameworks, Path(folder))
        carried, travelled = compare_all_carried(frameworks, Path(folder))
        started, alike = compare_all_started(frameworks, Path(folder))
    passed &= travelled and alike
    table += carried + started
    files.write(build / "parity.json", json.dumps(table, indent=1))
    print("parity: " + ("all pairs within tolerance" if passed else "FAILED"))
    return int(not passed)


if __name__ == "__main__":
    sys.exit(main())
