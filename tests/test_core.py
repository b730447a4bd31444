"""The framework-free core: hyperparameters, boards, counting, weights, imports."""

import ast
import copy
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import d2l_utils
from book.source.book import ROOT
from d2l_utils import base, board, host, inference, progress, summary, weights
from d2l_utils.frameworks import FRAMEWORKS

PACKAGE = ROOT / "d2l_utils"
# What a framework's folder may import.
OWN_PACKAGES = {f.module: {f.package, *f.distributions} for f in FRAMEWORKS.values()}
FRAMEWORK_PACKAGES = set().union(*OWN_PACKAGES.values())


def imported(path):
    """Names of the modules that a file imports."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{a.name}" for a in node.names)


def test_imports_go_one_way():
    """Notebook -> framework module -> core -> NumPy; frameworks never each other."""
    for path in PACKAGE.rglob("*.py"):
        names, folder = set(imported(path)), path.parent.name
        outside = {n.split(".")[0] for n in names if not n.startswith("d2l_utils")}
        own = OWN_PACKAGES.get(folder, set())
        assert not outside & (FRAMEWORK_PACKAGES - own), path
        assert not outside & {"book", "study", "bench"}, path
        inside = {n.split(".")[1] for n in names if n.startswith("d2l_utils.")}
        assert not inside & (OWN_PACKAGES.keys() - {folder}), path


def run_python(code, **kwargs):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, **kwargs
    )


@pytest.mark.skipif(not shutil.which("lscpu"), reason="no lscpu to compare with")
def test_physical_cores():
    command = ["lscpu", "-p=CPU,SOCKET,CORE"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [x.split(",") for x in done.stdout.splitlines() if not x.startswith("#")]
    affinity = os.sched_getaffinity(0)
    cores = {tuple(core) for cpu, *core in lines if int(cpu) in affinity}
    assert host.physical_cores() == len(cores)
    os.sched_setaffinity(0, {min(affinity)})
    try:
        assert host.physical_cores() == 1
    finally:
        os.sched_setaffinity(0, affinity)


@pytest.mark.parametrize(
    "cores, given, left",
    [
        (3, {}, "3"),
        (3, {"MXNET_OMP_MAX_THREADS": "2"}, "2"),
        (3, {"OMP_NUM_THREADS": "2"}, None),
        (3, {"D2L_UTILS_SET_HOST": "0"}, None),
        (None, {}, None),
    ],
)
def test_mxnet_is_told_to_use_all_cores(cores, given, left, monkeypatch):
    monkeypatch.setattr(host, "physical_cores", lambda: cores)
    monkeypatch.setattr(os, "environ", dict(given))
    host.use_all_cores()
    assert os.environ.get("MXNET_OMP_MAX_THREADS") == left


@pytest.mark.parametrize(
    "given, sets", [({}, True), ({"D2L_UTILS_SET_HOST": "0"}, False)]
)
def test_what_is_set_for_the_process_can_be_declined(given, sets, monkeypatch):
    calls = []

    class Libc:
        def mallopt(self, option, value):
            calls.append(option)

    monkeypatch.setattr(os, "environ", dict(given))
    monkeypatch.setattr(host.platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(host.ctypes, "CDLL", lambda name: Libc())
    host.share_memory()
    host.keep_memory()
    host.share_gpu_memory_in_jax()
    assert bool(calls) == sets
    assert ("XLA_PYTHON_CLIENT_PREALLOCATE" in os.environ) == sets


def test_importing_the_package_is_quiet_and_light():
    heavy = sorted(FRAMEWORK_PACKAGES | {"matplotlib", "IPython", "pooch"})
    code = (
        "import sys, d2l_utils, d2l_utils.data, d2l_utils.training, d2l_utils.weights\n"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    done = run_python(code, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr
    assert done.stderr == ""


def test_the_core_works_without_ipython_matplotlib_and_pooch():
    code = (
        "import sys\n"
        "for m in ('IPython', 'matplotlib', 'pooch'): sys.modules[m] = None\n"
        "from d2l_utils import board, data, summary, tab, training, weights\n"
        "b = board.ProgressBoard(); b.draw(1, 2, 'loss'); print(b.data)\n"
        "line = board.StatusLine(); line.show('epoch 1'); line.close()\n"
    )
    done = run_python(code, cwd=ROOT)
    assert done.stdout.strip() == "{'loss': [Point(x=1.0, y=2.0)]}", done.stderr


@pytest.mark.parametrize("module", ["torch", "mxnet", "tensorflow", "jax"])
def test_the_folder_itself_on_the_path_is_explained(module):
    done = run_python(f"import {module}", cwd=PACKAGE)
    assert "the folder d2l_utils/ itself is on sys.path" in done.stderr.replace(
        "\n", " "
    )


@pytest.mark.parametrize(
    "module, name",
    [("torch", "torch"), ("mxnet", "mxnet"), ("tensorflow", "tensorflow")]
    + [("jax", "jax")],
)
def test_a_missing_framework_is_explained(module, name):
    code = f"import sys; sys.modules[{name!r}] = None; import d2l_utils.{module}"
    done = run_python(code, cwd=ROOT)
    assert f"pip install '.[{module}]'" in done.stderr


@pytest.mark.parametrize(
    "needed, cure",
    [
        (4, "update the package (git pull, then pip install . in its folder)"),
        (2, "take the notebook from the current version of the project"),
    ],
)
def test_a_notebook_for_another_version_says_so(needed, cure, monkeypatch):
    monkeypatch.setattr(d2l_utils, "API", 3)
    assert d2l_utils.require(api=3) is None
    with pytest.raises(RuntimeError) as caught:
        d2l_utils.require(api=needed)
    assert str(caught.value) == (
        f"This notebook needs version {needed} of the d2l_utils interface, but "
        f"d2l_utils {d2l_utils.__version__} offers version 3. To go on, {cure}, then "
        "restart the kernel."
    )


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("notebooks/*/*.ipynb")), ids=lambda p: p.parent.name
)
def test_it_says_so_before_anything_is_made(path, monkeypatch):
    """The cell of imports holds nothing else but the check at its end."""
    cells = json.loads(path.read_text())["cells"]
    tagged = [c for c in cells if "imports" in c["metadata"].get("tags", ())]
    *before, check = ast.parse("".join(tagged[0]["source"])).body
    others = [ast.unparse(x) for x in before if not hasattr(x, "names")]
    assert set(others) <= {"npx.set_np()"}
    run = compile(ast.unparse(check), str(path), "exec")
    exec(run, {"d2l": d2l_utils})
    monkeypatch.setattr(d2l_utils, "API", d2l_utils.API + 1)
    with pytest.raises(RuntimeError, match="This notebook needs version"):
        exec(run, {"d2l": d2l_utils})


def test_save_hyperparameters():
    class Model(base.HyperParameters):
        def __init__(self, a, b=2, c=3, _private=4):
            self.save_hyperparameters(ignore=["c"])

    model = Model(1)
    assert model.hparams == {"a": 1, "b": 2}
    assert (model.a, model.b) == (1, 2) and not hasattr(model, "c")


def test_names_of_a_function_around_a_class_are_no_hyperparameters():
    def experiment(dropout):
        from math import pi

        class Net(base.HyperParameters):
            def __init__(self, lr, width=2):
                hidden = 2 * width
                self.save_hyperparameters()
                self.kept = lambda: (lr, hidden, pi, dropout)  # lr: an argument, too
                super().__init__()

        return Net(0.1)

    net = experiment(0.5)
    assert net.hparams == {"lr": 0.1, "width": 2, "hidden": 4}
    assert not hasattr(net, "dropout") and net.kept()[3] == 0.5


def test_add_to_class():
    class A:
        pass

    @base.add_to_class(A)
    def twice(self, x):
        return 2 * x

    assert A().twice(3) == 6


def test_timer():
    timer = base.Timer()
    timer.times = [1.0, 2.0]
    assert timer.sum() == 3 and timer.avg() == 1.5 and timer.cumsum() == [1, 3]
    assert timer.stop() >= 0 and len(timer.times) == 3


def test_board_takes_means():
    b = board.ProgressBoard()
    for x in range(6):
        b.draw(x, 10 * x, "loss", every_n=3)
    assert b.data == {"loss": [(1.0, 10.0), (4.0, 40.0)]}
    assert b.data["loss"][-1].y == 40


def shown(figure):
    """{label: y of its points} of the curves in a figure."""
    return {
        line.get_label(): list(line.get_ydata())
        for axes in figure.axes
        for line in axes.lines
    }


def test_in_a_script_the_curves_wait_to_be_shown(tmp_path):
    from matplotlib import pyplot as plt

    b = board.ProgressBoard(xlabel="x", xlim=[0, 9])
    for x in range(5):
        b.draw(x, 2 * x, "double")
        b.draw(x, -x, "less", every_n=2)
    assert b.fig.number in plt.get_fignums()
    assert shown(b.fig) == {"double": [0, 2, 4, 6, 8], "less": [-0.5, -2.5]}
    assert b.axes.get_xlim() == (0, 9) and b.axes.get_ylim()[1] > 8
    b.fig.savefig(tmp_path / "curves.png")
    b.data = {"double": b.data["double"][:1]}
    b.xlim = [0, 20]
    b.redraw()
    assert shown(b.fig) == {"double": [0]} and b.axes.get_xlim() == (0, 20)
    plt.close(b.fig)
    hidden = board.ProgressBoard(display=False)
    hidden.draw(1, 2, "loss")
    assert hidden.fig is None and hidden.data


IN_CELLS = """
import IPython, json
from unittest import mock
from IPython.core.interactiveshell import InteractiveShell
from d2l_utils import board

shell, seen = InteractiveShell.instance(), []

def note(what):
    def noting(fig, **kwargs):
        seen.append((what, len(fig.axes[0].lines[0].get_xdata())))
        return mock.Mock(update=note("again"))
    return noting

with (mock.patch.object(board, "in_notebook", lambda: True),
      mock.patch.object(IPython.display, "display", note("new"))):
    b = shell.user_ns["b"] = board.ProgressBoard()
    for cell in ("for x in range(50): b.draw(x, x, 'line')", "1 + 1",
                 "b.draw(50, 50, 'line'); raise SystemError"):
        shell.run_cell(cell)
        seen.append(("end of cell", len(b.data["line"])))
print(json.dumps(seen))
"""


def test_in_a_notebook_all_points_are_shown_when_the_cell_ends():
    done = run_python(IN_CELLS, cwd=ROOT)
    seen = [tuple(x) for x in json.loads(done.stdout.splitlines()[-1])]
    end = "end of cell"
    assert seen == [
        ("new", 1), ("again", 50), (end, 50), (end, 50),
        ("new", 51), ("again", 51), (end, 51),
    ]  # fmt: skip


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("file, seen", [(Terminal, True), (io.StringIO, False)])
def test_a_status_line_is_for_terminals_alone_and_leaves_nothing(
    file, seen, monkeypatch
):
    monkeypatch.setattr(sys, "stderr", file())
    monkeypatch.setattr(
        board.shutil, "get_terminal_size", lambda: os.terminal_size((9, 1))
    )
    line = board.StatusLine()
    line.show("a long line")
    assert not line.due()  # so soon after
    line.show("short")
    line.close()
    line.show("too late")
    written = "\ra long l\r\rshort   \r\r     \r"
    assert sys.stderr.getvalue() == (written if seen else "")
    assert not board.StatusLine(active=False).due()


def records(n, loss):
    rows = [(10, {"loss": loss, "acc": 0.5})] * n
    return progress.Records(rows)


def test_how_far_a_training_is(monkeypatch):
    """In words: 10 images a step, 4 steps an epoch, a step in 2 s."""
    now = iter([0, 2, 4, 6, 8, 10])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    pace, done = progress.Pace(), progress.Progress()

    def after(epoch, steps, loss, checked=0):
        done.epoch, done.train_images = epoch, 40 * epoch + 10 * steps
        done.train, done.val = records(steps, loss), records(checked, 9.0)
        return pace.words(done, 2, 4, 3)

    assert after(0, 1, 5.0) == "epoch 1 of 2, step 1 of 4"
    assert after(0, 2, 4.0) == (
        "epoch 1 of 2, step 2 of 4, 5 images/s, 0:00:12 left, loss 5.000"
    )
    assert after(0, 4, 3.0, checked=2) == (
        "epoch 1 of 2, validation step 2 of 3, 0:00:05 left, loss 4.000"
    )
    assert after(1, 0, 2.0) == "epoch 2 of 2, step 0 of 4, 0:00:08 left, loss 3.000"
    assert after(1, 2, 2.0) == (
        "epoch 2 of 2, step 2 of 4, 10 images/s, 0:00:03 left, loss 3.000"
    )
    unknown = pace.words(done, 2, None, None, our_loop=False)
    assert unknown == "epoch 2 of 2, loss 2.000"


def test_a_copied_board_has_the_points_alone():
    b = board.ProgressBoard(xlabel="x")
    for x in range(3):
        b.draw(np.float32(x), x, "line", every_n=2)
    for other in (copy.deepcopy(b), pickle.loads(pickle.dumps(b))):
        assert other.fig is None and other.axes is None
        assert other.data == b.data and other.raw_points == b.raw_points
        other.draw(3, 3, "line")
        assert len(shown(other.fig)["line"]) == 2 and len(b.data["line"]) == 1


def test_resources_are_counted():
    """By hand: a 3x3 convolution from 2 to 4 channels on 5x5, then a dense layer."""
    rows = [
        summary.Layer("conv0", "conv", (1, 2, 5, 5), (1, 4, 3, 3), 76, 72),
        summary.Layer("pool0", "pool", (1, 4, 3, 3), (1, 4, 1, 1)),
        summary.Layer("dense0", "dense", (1, 4), (1, 10), 50, 40),
    ]
    counted = summary.count(rows, 126, (1, 2, 5, 5), optimizer_slots=1)
    assert counted.macs == 3 * 3 * 72 + 40
    assert counted.predict_bytes == 4 * (126 + (50 + 36))
    assert counted.train_bytes == 4 * (126 * 3 + 36 + 4 + 10 + 50)
    assert "648" in str(counted) and "conv0" in str(counted)


def test_layout_is_checked():
    with pytest.raises(ValueError, match=r"NCHW.*\(8, 1, 28, 28\)"):
        summary.check_layout((8, 28, 28, 1), channels_last=False)
    with pytest.raises(ValueError, match=r"NHWC.*\(8, 28, 28, 3\)"):
        summary.check_layout((8, 3, 28, 28), channels_last=True)
    with pytest.raises(ValueError, match="four numbers"):
        summary.check_layout((28, 28), channels_last=True)
    assert summary.check_layout((8, 1, 28, 28), channels_last=False) is None


@pytest.mark.parametrize("side", [1, 3])
def test_maps_may_be_as_small_as_an_image_has_channels(side):
    assert summary.check_layout((1, 832, side, side), channels_last=False) is None
    assert summary.check_layout((1, side, side, 832), channels_last=True) is None


@pytest.mark.parametrize("shape", [(3, 8, 6), (16, 8, 3), (6, 6, 16)])
def test_the_layout_is_told_by_the_size_a_model_knows(shape):
    """Also where channels are many, or a side has three pixels."""
    X = np.zeros((2, *shape), np.float32)
    model = SimpleNamespace(_input_shape=shape)
    assert inference._images(model, X).shape == (2, *shape)
    last = np.moveaxis(X, 1, -1)
    assert inference._images(model, last).shape == (2, *shape)


def test_the_smallest_size_is_found():
    def attempt(shape):
        return [(1, 4, shape[2] // 10, shape[3] // 10)]  # empty below 10

    with pytest.raises(ValueError, match="smallest that works is 10x10"):
        summary.check_size("Net", (1, 1, 3, 3), attempt, channels_last=False)

    def broken(shape):
        raise RuntimeError("expected 3 channels")

    with pytest.raises(RuntimeError, match="expected 3 channels"):
        summary.check_size("Net", (1, 1, 9, 9), broken, channels_last=False)


FITS = (2, 1, 3, 3), "float32"


@pytest.fixture
def stored(tmp_path, rng):
    path = tmp_path / "w.safetensors"
    tensors = {"conv0.weight": rng.random((2, 1, 3, 3), dtype=np.float32)}
    weights.write(path, tensors, model="Net", input_shape=(1, 9, 9), num_classes=2)
    return path, tensors


def test_weights_are_read_as_written(stored):
    path, tensors = stored
    read, metadata = weights.read(path)
    np.testing.assert_array_equal(read["conv0.weight"], tensors["conv0.weight"])
    assert weights.input_shape(metadata) == (1, 9, 9)
    assert metadata["model"] == "Net" and metadata["num_classes"] == "2"
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "expected, words",
    [
        ({"conv0.weight": ((2, 3, 3, 3), None)}, r"should be \(2, 3, 3, 3\), but is"),
        ({"conv0.weight": FITS, "conv0.bias": ((2,), None)}, "conv0.bias is missing"),
        ({"conv0.weight": ((2, 1, 3, 3), "int64")}, "should be int64, but is float32"),
        ({}, "file has conv0.weight"),
    ],
)
def test_weights_that_do_not_fit(stored, expected, words):
    tensors, metadata = weights.read(stored[0])
    with pytest.raises(weights.WeightsError, match=words):
        weights.check(tensors, metadata, expected, "Other")


def test_bad_weights_files(stored, tmp_path):
    path = stored[0]
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(weights.WeightsError, match="not a readable safetensors"):
        weights.read(path)
    with pytest.raises(weights.WeightsError, match="no weights file"):
        weights.read(tmp_path / "none.safetensors")
    with pytest.raises(weights.WeightsError, match="no stored network"):
        weights.stored_path("none")
