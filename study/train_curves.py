"""Train NiN28 in all four frameworks as in parity.md: `python -m study.train_curves`.

Runs the notebook's own cells, one framework after another in processes of their
own, and writes d2l_utils/sample/nin28_curves.json: the loss of every step of one
epoch, and the class that the stored network nin28_56 predicts for each validation
image. The notebook compares its own with these.
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

TAGS = ("imports", "model", "train")
PATH = weights.STORED / "nin28_curves.json"


def worker(framework, out):
    """What one framework gives, as the notebook's cells leave it."""
    notebook = cells.load("parity", framework, tags=TAGS)
    if notebook["data"].is_sample:
        sys.exit("Only the sample is at hand: this needs the full data.")
    result = {
        "settings": notebook["settings"],
        "loss": [round(l, 5) for l in notebook["losses"]],
        "classes": "".join(str(c) for c in notebook["classes"]),
    }
    files.write(out, json.dumps(result))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--worker", choices=FRAMEWORKS, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.worker:
        worker(args.worker, args.out)
        return
    stored = {"settings": None, "loss": {}, "classes": {}}
    with tempfile.TemporaryDirectory() as folder:
        for framework in FRAMEWORKS:
            out = Path(folder) / framework
            command = [sys.executable, "-m", "study.train_curves"]
            command += ["--worker", framework, "--out", str(out)]
            subprocess.run(command, check=True, cwd=ROOT)
            result = json.loads(out.read_text("utf-8"))
            stored["settings"] = result["settings"]
            for kind in ("loss", "classes"):
                stored[kind][framework] = result[kind]
            print(f"{framework}: last loss {result['loss'][-1]}")
    files.write(PATH, json.dumps(stored, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
