"""The pins resolve on every platform; the built wheel works elsewhere."""

import ast
import os
import re
import shutil
import subprocess
import sys

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement

from book.source.book import ROOT

LINUX = ("2_28", "2_27", "2_26", "2_17", "2_12", "2_5")
PLATFORMS = {
    "linux-x86_64": (
        {"sys_platform": "linux", "platform_machine": "x86_64"},
        [f"manylinux_{v}_x86_64" for v in LINUX]
        + ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"],
    ),
    "linux-aarch64": (
        {"sys_platform": "linux", "platform_machine": "aarch64"},
        [f"manylinux_{v}_aarch64" for v in LINUX] + ["manylinux2014_aarch64"],
    ),
    "macos-arm64": (
        {"sys_platform": "darwin", "platform_machine": "arm64"},
        [f"macosx_{v}_0_arm64" for v in (14, 13, 12, 11)]
        + ["macosx_11_0_universal2", "macosx_10_9_universal2"],
    ),
    "windows": (
        {"sys_platform": "win32", "platform_machine": "AMD64"},
        ["win_amd64"],
    ),
}


def pins(name="requirements.txt"):
    lines = (ROOT / name).read_text().splitlines()
    return [Requirement(line) for line in lines if line and line[0] != "#"]


PYTHONS = ("3.11", "3.12", "3.13")


def pins_for(environment, python="3.11"):
    """Pins whose marker holds there; pip itself would ask this machine's."""
    environment = {**environment, "python_version": python}
    return {
        r.name: f"{r.name}{r.specifier}"
        for r in pins()
        if r.marker is None or Marker(str(r.marker)).evaluate(environment)
    }


def test_nbgrader_is_apart():
    """Where it is installed, its menus are in every reader's JupyterLab."""
    apart = {r.name for r in pins("requirements-nbgrader.txt")}
    assert "nbgrader" in apart and not apart & {r.name for r in pins()}


def test_every_pin_is_exact():
    for requirement in (*pins(), *pins("requirements-nbgrader.txt")):
        assert len(requirement.specifier) == 1
        assert next(iter(requirement.specifier)).operator == "=="


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("platform", PLATFORMS)
def test_frameworks_by_platform(platform, python):
    """MXNet asks for NumPy 1; where Python needs 2, it is installed by itself."""
    chosen = pins_for(PLATFORMS[platform][0], python)
    numpy_2 = chosen["numpy"].startswith("numpy==2")
    assert numpy_2 == (python == "3.13")
    assert ("mxnet" in chosen) == (platform.startswith("linux") and not numpy_2)
    assert ("tensorflow" in chosen) != ("tensorflow-cpu" in chosen)
    assert {"torch", "jax", "flax", "graphviz", "requests", "setuptools"} <= set(chosen)


def test_mxnet_is_installed_by_itself_with_the_same_version_everywhere():
    """In the Makefile, in the README's commands without make, and as a pin."""
    pin = next(str(r.specifier) for r in pins() if r.name == "mxnet")
    for name in ("Makefile", "README.md"):
        text = (ROOT / name).read_text("utf-8")
        (found,) = re.findall(r"\"(mxnet==[^\"]*)\"", text)
        assert found == f"mxnet{pin}; sys_platform == 'linux'"


def test_the_makefile_knows_the_pythons():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    named = re.search(r"^PYTHONS\s*:= (.*)$", makefile, re.MULTILINE)[1].split()
    assert sorted(named) == sorted(PYTHONS)
    for name in ("README.md", "requirements.txt"):
        text = (ROOT / name).read_text("utf-8")
        assert all(python in text for python in PYTHONS), name


@pytest.mark.parametrize("version, taken", [
    ("3.10.14", False), ("3.11.4", False), ("3.11.5", True), ("3.12.1", True),
    ("3.13.0", True), ("3.14.0", False),
])  # fmt: skip
def test_which_python_make_takes(tmp_path, version, taken):
    """And what it says of another. The interpreter is a made-up one."""
    if not shutil.which("make"):
        pytest.skip("there is no make")
    code = f"import sys; sys.version_info = {tuple(map(int, version.split('.')))}\n"
    script = tmp_path / "python"
    script.write_text(
        f"#!{sys.executable}\nimport sys\n"
        f"if '--version' in sys.argv: sys.exit(print('Python {version}'))\n"
        f"{code}exec(sys.argv[2])\n"
    )
    script.chmod(0o755)
    done = subprocess.run(
        ["make", "python-version", f"PYTHON={script}"],
        cwd=ROOT, capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert (done.returncode == 0) == taken, done.stderr
    said = "3.13 3.12 3.11 is needed" in done.stdout and version in done.stdout
    assert said != taken and ("make PYTHON=" in done.stdout) != taken


def test_python_keeps_what_it_compiles(tmp_path):
    """Also where the shell that calls make says it should not."""
    if not shutil.which("make"):
        pytest.skip("there is no make")
    shown = tmp_path / "shown.mk"
    shown.write_text('shown:\n\t@echo "($$PYTHONDONTWRITEBYTECODE)"\n')
    done = subprocess.run(
        ["make", "-f", "Makefile", "-f", str(shown), "shown"],
        cwd=ROOT, capture_output=True, encoding="utf-8",
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "()", done.stderr


def pip(*args, **kwargs):
    return subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *args],
        capture_output=True,
        text=True,
        **kwargs,
    )


@pytest.fixture(scope="module")
def registry():
    """Skip where no package registry answers."""
    done = pip("install", "--dry-run", "--ignore-installed", "--no-deps", "six")
    if done.returncode:
        pytest.skip("no package registry can be reached from here")


@pytest.mark.slow("installing fails at once here; elsewhere the jobs of CI install")
@pytest.mark.parametrize("platform", PLATFORMS)
def test_pins_resolve(platform, registry, tmp_path):
    environment, tags = PLATFORMS[platform]
    listed = tmp_path / "requirements.txt"
    listed.write_text("\n".join(pins_for(environment).values()))
    done = pip(
        "install", "--dry-run", "--quiet", "--ignore-installed", "--no-deps",
        "--only-binary=:all:", "--implementation=cp", "--python-version=3.11.9",
        f"--target={tmp_path / 'x'}", *(f"--platform={t}" for t in tags),
        "-r", str(listed),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_installed_pins_fit_together():
    """pip's own check of what `make setup` installed."""
    done = pip("check")
    expected = ("No broken", "mxnet 1.9.1 has requirement numpy<2")
    assert not [x for x in done.stdout.splitlines() if not x.startswith(expected)]


def test_the_wheel_works_outside_the_checkout(wheel_path, tmp_path):
    """Installed into a fresh environment, and trained from."""
    if subprocess.run(
        [sys.executable, "-c", "import torch"], capture_output=True
    ).returncode:
        pytest.skip("PyTorch is not installed")
    target, wheel = tmp_path / "site", str(wheel_path)
    installed = pip("install", "--quiet", "--no-deps", f"--target={target}", wheel)
    assert installed.returncode == 0, installed.stderr
    code = (
        "import d2l_utils\n"
        "from torch import nn\n"
        "from d2l_utils import torch as d2l\n"
        "class Net(d2l.Classifier):\n"
        "    def __init__(self, lr=0.1):\n"
        "        super().__init__(); self.save_hyperparameters()\n"
        "        self.net = nn.Sequential(nn.Flatten(), nn.LazyLinear(10))\n"
        "model = Net(); d2l.Trainer(max_epochs=1).fit(model, d2l.FashionMNIST())\n"
        "d2l.stored_path('nin28_56')\n"
        "print(d2l_utils.__file__)"
    )
    environ = {**os.environ, "PYTHONPATH": str(target), "D2L_UTILS_FAST": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env=environ, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert str(target) in done.stdout.splitlines()[-1]
    assert "validation accuracy" in done.stdout


# Other systems --------------------------------------------------------------------

FOLDERS = ("d2l_utils", "book", "bench", "study")
POSIX_MODULES = {"fcntl", "grp", "pwd", "resource", "termios"}
POSIX = re.compile(
    r"os\.(fork|forkpty|nice|sched_\w+|get(e?[ug]id|pgid|loadavg)|mkfifo|kill|wait\w*"
    r"|set\w*id|getrusage|uname)|signal\.(SIG(KILL|USR\d|ALRM|CHLD|HUP|QUIT)|alarm)"
)
GUARDED = {  # what only some systems have, used only where it is there
    ("d2l_utils/host.py", "os.sched_getaffinity"),
    ("d2l_utils/host.py", "resource"),
    ("bench/cases.py", "os.sched_getaffinity"),  # for MXNet, on Linux alone
    ("bench/contender.py", "resource"),
    *(
        ("study/run.py", f"os.{name}")  # so that long trainings get out of the way
        for name in ("kill", "nice", "sched_param", "sched_setscheduler")
    ),
}


def trees():
    """[(path from the root, syntax tree)] of all that is not a test."""
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    return [
        (p.relative_to(ROOT).as_posix(), ast.parse(p.read_text("utf-8"))) for p in paths
    ]


def posix_only(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from POSIX_MODULES & {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            yield from POSIX_MODULES & {node.module}
        elif isinstance(node, ast.Attribute) and POSIX.fullmatch(ast.unparse(node)):
            yield ast.unparse(node)


def test_what_only_some_systems_have_is_guarded():
    assert {(path, name) for path, tree in trees() for name in posix_only(tree)} == (
        GUARDED
    )


def without_encoding(tree):
    """Calls that read or write text as the system's settings have it."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        named = {k.arg: ast.unparse(k.value) for k in node.keywords}
        first = ast.unparse(node.args[0]) if node.args else ""
        mode = (
            ast.unparse(node.args[1]) if len(node.args) > 1 else named.get("mode", "")
        )
        plain = "encoding" not in named
        if (
            (name == "open" and "b" not in mode and plain)
            or (name.endswith(".read_text") and not first and plain)
            or (name.endswith(".write_text") and len(node.args) < 2 and plain)
            or (named.get("text") == "True" and plain)
        ):
            yield ast.unparse(node)


def test_no_file_is_read_as_the_systems_settings_have_it():
    """They are cp1252 on Windows, where sources and pages are not."""
    found = [(path, call) for path, tree in trees() for call in without_encoding(tree)]
    assert found == []


@pytest.mark.parametrize("line, seen", [
    ("open(path)", True), ("open(path, 'w')", True), ("open(path, 'rb')", False),
    ("path.read_text()", True), ("path.read_text('utf-8')", False),
    ("path.write_text(x)", True), ("path.write_text(x, encoding='utf-8')", False),
    ("subprocess.run(x, text=True)", True), ("run(x, encoding='utf-8')", False),
])  # fmt: skip
def test_the_check_of_encodings_sees(line, seen):
    assert bool(list(without_encoding(ast.parse(line)))) == seen
