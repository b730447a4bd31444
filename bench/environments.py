"""Environments in which the textbook's own package runs, built once in build/bench.

d2l 1.0.3 is installed without its dependencies: these are pinned here, with frameworks
of its time. For JAX most packages are those of our own environment, by a .pth file.
"""

import subprocess
import sys
from pathlib import Path

from book.source import files
from book.source.book import ROOT

FOLDER = ROOT / "build" / "bench"
NOTHING_ELSE = ["d2l==1.0.3"]  # installed with --no-deps
NUMPY = "1.23.5"  # has wheels for Python 3.11 and older
OF_ITS_TIME = [
    "ipython==8.18.1", "matplotlib==3.7.2", "matplotlib-inline==0.1.6",
    f"numpy=={NUMPY}",
    "pandas==2.0.3", "requests==2.34.2", "scipy==1.10.1",
]  # fmt: skip
PACKAGES = {
    "pytorch": [*OF_ITS_TIME, "torch==2.0.1", "torchvision==0.15.2"],
    "mxnet": [*OF_ITS_TIME, "mxnet==1.9.1"],
    "tensorflow": [*OF_ITS_TIME, "tensorflow-cpu==2.13.1"],
    "jax": ["pandas==2.0.3", "tensorflow-datasets==4.9.9"],  # the rest is ours
}


def python_of(framework):
    """The interpreter of an environment with d2l 1.0.3; builds what is missing."""
    folder = FOLDER / f"d2l-{framework}"
    python, done = folder / "bin" / "python", folder / ".done"
    if done.exists():
        return python
    if sys.version_info[:2] != (3, 11):
        sys.exit(
            f"d2l 1.0.3 and NumPy {NUMPY} run on Python 3.11, this is "
            f"{sys.version_info[0]}.{sys.version_info[1]}: `make clean`, then "
            "`make bench PYTHON=python3.11`."
        )
    print(f"building the environment of d2l 1.0.3 for {framework}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    packages = PACKAGES[framework]
    if framework == "jax":
        ours, theirs = Path(sys.prefix), next(folder.glob("lib/python*/site-packages"))
        path = next(ours.glob("lib/python*/site-packages"))
        files.write(theirs / "ours.pth", f"{path}\n")
        packages = [*packages, "-c", str(ROOT / "requirements.txt")]
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*install, *packages], check=True)
    subprocess.run([*install, "--no-deps", *NOTHING_ELSE], check=True)
    files.write(done, "")
    return python
