"""Notebooks in the style of the textbook run unchanged, and train.

Those in tests/textbook are ours, written as the textbook's are: four tabs, its syntax,
its names, its habits. Each runs in a process of its own, on a small part of the data,
and says itself in its last cell whether it learned.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from book.source.book import ROOT
from d2l_utils.frameworks import FRAMEWORKS

FOLDER = Path(__file__).parent / "textbook"
NOTEBOOKS = sorted(p.stem for p in FOLDER.glob("*.md"))
ALWAYS = {  # those that share least with one another and with our own notebooks
    ("batch_norm", "tensorflow"),  # layers and an update of one's own
    ("fit_epoch", "jax"),  # a loop of one's own
    ("gluonbook", "mxnet"),  # an older edition
}

ON_FEW_IMAGES = """
import sys
from d2l_utils import data, run, sources
sample = sources.load_sample()
train, val = (type(s)(s.images[:n], s.labels[:n])
              for s, n in ((sample.train, 1600), (sample.val, 200)))
few = sample._replace(train=train, val=val)
data.load_fashion_mnist = lambda root=None: few
sys.exit(run.main(sys.argv[1:]))
"""


def run_notebook(path, framework):
    command = [sys.executable, "-c", ON_FEW_IMAGES, str(path), "--framework", framework]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def cases():
    """Each notebook in each framework, for the run of that framework's tests."""
    for name in NOTEBOOKS:
        for framework in ("mxnet",) if name == "gluonbook" else FRAMEWORKS:
            marks = [pytest.mark.only(framework)]
            if (name, framework) not in ALWAYS:
                reason = "test_protocols has what these notebooks override and call"
                marks.append(pytest.mark.slow(reason))
            yield pytest.param(name, marks=marks, id=f"{name}-{framework}")


@pytest.mark.parametrize("name", list(cases()))
def test_it_runs_and_learns(framework, name):
    done = run_notebook(FOLDER / f"{name}.md", framework)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "0 failed" in done.stdout.splitlines()[-1]
