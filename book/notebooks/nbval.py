"""Run the notebooks in fast mode and compare with their stored outputs.

`python -m book.notebooks.nbval [--framework jax] [--section nin]` runs every edition
under nbval, strictly, two at a time, and of each section the four-tab notebook for one
tab. Frameworks that are not installed are left out, with a line that says so.
"""

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from book.checks.parity import installed
from book.notebooks import editions
from book.source.book import BOOK, ROOT
from d2l_utils.frameworks import FRAMEWORKS

FOUR_TAB = "pytorch"  # the tab for which the four-tab notebook is run
JOBS = 2
OPTIONS = [
    "-q", "--nbval", "--nbval-current-env", "--nbval-cell-timeout=300",
    "-p", "no:cacheprovider",
]  # fmt: skip

JAX_CACHE = {  # JAX keeps what it compiled: tests compile the same steps many times
    "JAX_COMPILATION_CACHE_DIR": str(ROOT / "build" / "jax_cache"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
}


def four_tab_copy(book, section):
    """The four-tab notebook with one tab's outputs, as running it should give."""
    path = book.root / "build" / "nbval" / f"{section}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(editions.dumps(editions.four_tab(book, section, only=FOUR_TAB)))
    return path


def fast_environ():
    """The environment in which a notebook runs quickly on one core."""
    return {
        **os.environ,
        **JAX_CACHE,
        "D2L_UTILS_FAST": "1",
        "OMP_NUM_THREADS": "1",  # two run at a time
        "PYTHONPATH": str(ROOT),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # In a few steps, JAX spends more time on compiling than on computing.
        "XLA_FLAGS": "--xla_backend_optimization_level=1",
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
        text=True,
    )
    name = book.relative(path)
    return name, done.returncode, time.monotonic() - start, done.stdout + done.stderr


def main(argv=None, book=BOOK):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--framework", choices=FRAMEWORKS)
    parser.add_argument("--section", choices=book.sections)
    args = parser.parse_args(argv)
    there = installed()
    frameworks = [f for f in there if args.framework in (None, f)]
    runs = []
    for section in [args.section] if args.section else book.sections:
        if FOUR_TAB in frameworks:
            runs.append((four_tab_copy(book, section), FOUR_TAB))
        runs += [(book.edition_path(section, f), None) for f in frameworks]
    failed = False
    with ThreadPoolExecutor(JOBS) as pool:
        for name, status, seconds, output in pool.map(lambda r: run(book, *r), runs):
            failed |= status != 0
            print(f"{name}: {'FAILED' if status else 'passed'} in {seconds:.0f} s")
            if status:
                print(output)
    print(f"{len(runs)} notebooks, {'FAILED' if failed else 'all passed'}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
