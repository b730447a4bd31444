"""Record what parity.md shows of all four frameworks: `python -m study.record_parity`.

Runs the notebook's own cells, one framework after another in processes of their
own, and writes two files in d2l_utils/sample:

nin28_curves.json: the loss of every step of one epoch, and the class that the stored
network nin28_56 predicts for each validation image.
parity.json: what each framework found in the parts of the notebook; and the largest
differences between any two in one step, which `make parity` has measured before.

The notebook compares its own results with these.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from book.source import cells, files
from book.source.book import ROOT
from d2l_utils import weights
from d2l_utils.frameworks import FRAMEWORKS

TAGS = ("imports", "model", "train", "record")
CURVES = weights.STORED / "nin28_curves.json"
PARITY = weights.STORED / "parity.json"
MEASURED = ROOT / "build" / "parity.json"
NETWORKS = {  # as parity.py names them: as the notebook does
    "NiN28 28 float32": "NiN28",
    "NiN 224 float32": "NiN, 224 pixels",
    "GoogleNet 96 float32": "GoogLeNet, 96 pixels",
    "NiN28 28 float64": "NiN28, float64",
    "GoogleNet 64 float64": "GoogLeNet, float64",
}
KINDS = ("activations", "logits", "loss", "gradients", "update")


def worker(framework, out):
    """What one framework gives, as the notebook's cells leave it."""
    notebook = cells.load("parity", framework, tags=TAGS)
    if notebook["data"].is_sample:
        sys.exit("Only the sample of Fashion-MNIST is here: this needs the full data.")
    result = {
        "settings": notebook["settings"],
        "loss": [round(l, 5) for l in notebook["losses"]],
        "classes": "".join(str(c) for c in notebook["classes"]),
        "found": notebook["here"],
    }
    files.write(out, json.dumps(result))


def one_step(table):
    """{network: {kind: the largest difference between any two frameworks}}"""
    return {
        title: {kind: float(f"{max(row[kind] for row in rows):.1e}") for kind in KINDS}
        for name, title in NETWORKS.items()
        if (rows := [row for row in table if row["network"] == name])
    }


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--worker", choices=FRAMEWORKS, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.worker:
        worker(args.worker, args.out)
        return
    if not MEASURED.is_file():
        sys.exit("Run `make parity` first: its differences belong to the record.")
    table = json.loads(MEASURED.read_text("utf-8"))
    curves = {"settings": None, "loss": {}, "classes": {}}
    parity = {"found": {}, "one step": one_step(table)}
    with tempfile.TemporaryDirectory() as folder:
        for framework in FRAMEWORKS:
            out = Path(folder) / framework
            command = [sys.executable, "-m", "study.record_parity"]
            command += ["--worker", framework, "--out", str(out)]
            subprocess.run(command, check=True, cwd=ROOT)
            result = json.loads(out.read_text("utf-8"))
            curves["settings"] = result["settings"]
            for kind in ("loss", "classes"):
                curves[kind][framework] = result[kind]
            for what, found in result["found"].items():
                parity["found"].setdefault(what, {})[framework] = found
            print(f"{framework}: last loss {result['loss'][-1]}")
    files.write(CURVES, json.dumps(curves, separators=(",", ":")) + "\n")
    files.write(PARITY, json.dumps(parity, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
