"""Run the notebooks in fast mode and compare with their stored outputs.

`python -m book.notebooks.nbval [--framework jax] [--section nin]` runs every edition
under nbval, strictly, two at a time, and one four-tab notebook, for one tab. A tab's
code is that of its edition (tests/test_editions.py), so one is enough to show that the
cells of a tab are chosen. `--all` runs the four-tab notebook of every section.
Frameworks that are not installed are left out, with a line that says so.
"""

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from book.checks.parity import installed
from book.notebooks import editions
from book.source import files
from book.source.book import BOOK, ROOT
from d2l_utils.frameworks import FRAMEWORKS

FOUR_TAB = "nin", "pytorch"  # the four-tab notebook that is always run, and its tab
LONGEST_FIRST = ("jax", "mxnet", "tensorflow", "pytorch")
OPTIONS = [
    "-q", "--nbval", "--nbval-current-env", "--nbval-cell-timeout=300",
    "-p", "no:cacheprovider",
]  # fmt: skip

JAX_SETTINGS = {
    # Tests compile the same steps many times, in many processes.
    "JAX_COMPILATION_CACHE_DIR": str(ROOT / "build" / "jax_cache"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    # In a few steps, JAX spends more time on compiling than on computing.
    "XLA_FLAGS": "--xla_backend_optimization_level=0",
}


def four_tab_copy(book, section):
    """The four-tab notebook with one tab's outputs, as running it should give."""
    path = book.root / "build" / "nbval" / f"{section}.ipynb"
    cells = editions.four_tab(book, section, only=FOUR_TAB[1])
    files.write(path, editions.dumps(cells))
    return path


def fast_environ():
    """The environment in which a notebook runs quickly on one core."""
    return {
        **os.environ,
        **JAX_SETTINGS,
        # Some cells predict ten thousand images: that pays for compiling them better.
        "XLA_FLAGS": "--xla_backend_optimization_level=1",
        "D2L_UTILS_FAST": "1",
        "OMP_NUM_THREADS": "1",  # two run at a time
        "PYTHONPATH": str(ROOT),
        "PYTHONUTF8": "1",  # also what pytest prints
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def run(book, path, tab=None):
    """nbval on one notebook; returns (name, exit status, seconds, output)."""
    environ = fast_environ()
    if tab:
        environ["D2L_UTILS_TAB"] = tab
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *OPTIONS, str(path)],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    name = book.relative(path)
    return name, done.returncode, time.monotonic() - start, done.stdout + done.stderr


def main(argv=None, book=BOOK):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--framework", choices=FRAMEWORKS)
    parser.add_argument("--section", choices=book.sections)
    parser.add_argument("--jobs", type=int, default=2, help="notebooks at a time")
    parser.add_argument("--all", action="store_true", help="every four-tab notebook")
    args = parser.parse_args(argv)
    there = installed()
    frameworks = [
        f for f in LONGEST_FIRST if f in there and args.framework in (None, f)
    ]
    sections = [args.section] if args.section else book.sections
    runs = [(book.edition_path(s, f), None) for f in frameworks for s in sections]
    if FOUR_TAB[1] in frameworks:
        four_tabs = [s for s in sections if args.all or s == FOUR_TAB[0]]
        runs += [(four_tab_copy(book, s), FOUR_TAB[1]) for s in four_tabs]
    failed = False
    with ThreadPoolExecutor(args.jobs) as pool:
        for name, status, seconds, output in pool.map(lambda r: run(book, *r), runs):
            failed |= status != 0
            print(f"{name}: {'FAILED' if status else 'passed'} in {seconds:.0f} s")
            if status:
                print(output)
    print(f"{len(runs)} notebooks, {'FAILED' if failed else 'all passed'}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
