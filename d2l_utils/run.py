"""Run a notebook written for the textbook's package: `python -m d2l_utils.run FILE`.

FILE is an .ipynb, or an .md in the textbook's syntax: code in fences that begin with
```{.python .input}, for some frameworks where the first line is `%%tab pytorch` or
`#@tab pytorch`. Cells of other frameworks are left out. The notebook's own folder is
the working folder. It prints first which packages are not installed, and which names of
d2l are not here; then it runs the cells and reports each. The exit status is 1 where
one failed, and 2 where FILE cannot be read.

What installs packages (pip, conda, apt, in a line or a cell for the shell, os.system
or subprocess) is left out and named: it would change the environment that runs this.
"""

import argparse
import ast
import importlib
import json
import os
import re
import subprocess
import sys
import time
from importlib import util
from pathlib import Path

from d2l_utils.frameworks import FRAMEWORKS

FENCE = re.compile(r"( *)(`{3,}(?=[^`]*$)|~{3,})\s*(.*?)\s*$")
FIRST = re.compile(r"(?:%%tab|#\s*@tab)\b\s*(.*)$")
NOT_OURS = ("paddle",)  # a tab of the textbook in another language
PACKAGES = {  # {what is imported: what pip calls it}
    "PIL": "pillow", "bs4": "beautifulsoup4", "cv2": "opencv-python",
    "skimage": "scikit-image", "sklearn": "scikit-learn", "yaml": "pyyaml",
}  # fmt: skip

# Reading --------------------------------------------------------------------------


def read_cells(path):
    """The sources of a notebook's code cells. Raises ValueError for another file."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text.") from error
    read = _markdown_cells if str(path).endswith(".md") else _notebook_cells
    try:
        return read(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _markdown_cells(text):
    cells, opening = [], None
    for number, line in enumerate(text.splitlines(), 1):
        found = FENCE.match(line)
        if opening is None:
            if found:
                opening, cell = (number, *found.groups()), []
            continue
        start, indent, fence, info = opening
        if found and found[2].startswith(fence) and not found[3]:
            if _is_code(info, start):
                cells.append("\n".join(cell) + "\n")
            opening = None
        else:
            cell.append(line.removeprefix(indent))
    if opening is not None:
        raise ValueError(f"the fence that begins in line {opening[0]} is not closed.")
    return cells


def _is_code(info, line):
    """Whether the text after a fence, `info`, says that a cell's code follows.

    Raises ValueError for a kind of code cell that is not read here.
    """
    words = re.findall(r"[^{}\s]+", info) if info.startswith("{") else []
    if {".python", ".input"} <= set(words):
        return True
    if "input" in info or words[:1] in (["code-cell"], ["python"], ["ipython"]):
        raise ValueError(
            f"the fence {info} in line {line} cannot be read; begin a cell of code "
            "with ```{.python .input}."
        )
    return False


def _notebook_cells(text):
    try:
        nb = json.loads(text)
    except ValueError as error:
        raise ValueError(f"it is neither an .md nor a notebook ({error}).") from error
    if isinstance(nb, dict) and nb.get("nbformat", 4) != 4:
        raise ValueError(
            f"its nbformat is {nb['nbformat']}, but only 4 can be read: convert it by "
            "`jupyter nbconvert --to notebook`."
        )
    try:
        cells = [cell for cell in nb["cells"] if cell["cell_type"] == "code"]
        return ["".join(cell["source"]) for cell in cells]
    except (KeyError, TypeError) as error:
        raise ValueError(
            "it is a damaged notebook: a list `cells` is needed, of cells with a "
            "`cell_type`, and those of code with a `source`."
        ) from error


def cells_for(sources, framework):
    """[(number, source)] of the cells that belong to a framework.

    A cell without a tab line belongs to all; but to MXNet alone where other cells have
    `#@tab` comments and none has `%%tab`, as in the textbook's first edition. Raises
    ValueError where a tab is unknown.
    """
    firsts = [source.lstrip().partition("\n")[0] for source in sources]
    tagged = [first for first in firsts if FIRST.match(first)]
    first_edition = tagged and all(first.startswith("#") for first in tagged)
    found = []
    for number, (source, first) in enumerate(zip(sources, firsts), 1):
        tabs = FIRST.match(first)
        if tabs:
            names = set(re.split(r"[,\s]+", tabs[1].strip()))
            if unknown := sorted(names - {*FRAMEWORKS, "all", *NOT_OURS}):
                raise ValueError(
                    f"cell {number} is for an unknown tab, {first.strip()!r}: "
                    f"{', '.join(unknown) or 'none'}. The tabs are "
                    f"{', '.join(FRAMEWORKS)} and all."
                )
            source = source.lstrip().partition("\n")[2]
            belongs = names & {framework, "all"}
        else:
            belongs = framework == "mxnet" or not first_edition
        if belongs and source.strip():
            found.append((number, source))
    return found


# What a notebook asks for ---------------------------------------------------------


class Asked(ast.NodeVisitor):
    """Packages and names that cells ask for, but not under another framework's `if`.

    packages: those imported, except in a `try` with a handler; names: {(module of
    d2l_utils, name): as written}, where the cells name the textbook's module.
    """

    def __init__(self, sources, framework):
        from IPython.core.inputtransformer2 import TransformerManager

        from d2l_utils.as_d2l import STANDS_FOR

        self.stands_for = {**STANDS_FOR, "d2l": FRAMEWORKS["pytorch"].here}
        self.framework, self.aliases = framework, {"d2l": FRAMEWORKS[framework].here}
        self.packages, self.names, self.defined = {}, {}, set()
        for source in sources:
            source = re.sub(r"\A\s*%%(time|timeit|capture|prun)\b.*\n", "", source)
            try:
                self.visit(ast.parse(TransformerManager().transform_cell(source)))
            except SyntaxError:  # running the cell will report it
                continue

    def visit_Import(self, node):
        for name in node.names:
            package = name.name.partition(".")[0]
            self.packages[package] = None
            if name.name in self.stands_for:
                alias = name.asname or name.name
                self.aliases[alias] = self.stands_for[name.name]

    def visit_ImportFrom(self, node):
        if node.level:
            return
        self.packages[node.module.partition(".")[0]] = None
        for name in node.names:
            whole = f"{node.module}.{name.name}"
            if whole in self.stands_for:
                self.aliases[name.asname or name.name] = self.stands_for[whole]
            elif node.module in self.stands_for and name.name != "*":
                self.names[self.stands_for[node.module], name.name] = whole

    def visit_Try(self, node):
        before = dict(self.packages)
        for child in node.body:
            self.visit(child)
        if node.handlers:  # the notebook knows what to do if they are missing
            self.packages = before
        for child in (*node.handlers, *node.orelse, *node.finalbody):
            self.visit(child)

    def visit_Attribute(self, node):
        module = self.aliases.get(ast.unparse(node.value))
        if module:
            asked = module, node.attr
            if isinstance(node.ctx, ast.Store):
                self.defined.add(asked)
            self.names.setdefault(asked, ast.unparse(node))
        self.generic_visit(node)

    def visit_If(self, node):
        test, selected = node.test, ("tab.selected", "d2lbook.tab.selected")
        if isinstance(test, ast.Call) and ast.unparse(test.func) in selected:
            tabs = {getattr(a, "value", None) for a in test.args}
            for child in node.body if self.framework in tabs else node.orelse:
                self.visit(child)
        else:
            self.generic_visit(node)

    def missing_packages(self):
        """Those that are not installed; Colab's own, `google`, cannot be."""
        asked = sorted({*self.packages} - {*sys.modules, "google"})
        return [p for p in asked if util.find_spec(p) is None]

    def missing_names(self):
        """{name as written: why it does not exist, or ''} of the names that do not."""
        found = {}
        for module, name in sorted({*self.names} - self.defined):
            try:
                getattr(importlib.import_module(module), name)
            except AttributeError as error:
                why = str(error).partition(f"attribute {name!r}")[2]
                found[self.names[module, name]] = why.lstrip(".: ")
        return found


def report(asked):
    """Say which packages and names are not there."""
    if packages := asked.missing_packages():
        names = [PACKAGES.get(p, p.replace("_", "-")) for p in packages]
        print(f"not installed: {', '.join(packages)}. pip install {' '.join(names)}")
    if names := asked.missing_names():
        print(f"d2l_utils does not have: {', '.join(names)}")
        for name, why in names.items():
            if why:
                print(f"  {name}: {why}")


# What installs --------------------------------------------------------------------

QUOTED = r"""'[^']*'|"(?:\\.|[^"\\])*\""""
TOKEN = re.compile(
    rf"""(?P<end>&&|\|\||(?<![<>])&(?!>)|[;|\n()`])|(?<!\S)\#[^\n]*|{QUOTED}|\\.|.""",
    re.S,
)
WORD = re.compile(rf"{QUOTED}|[^\s'\"]+")
KEPT = re.compile(r"\s*(?:(?:if|elif|then|else|while|until|do|time|!|\{)\s+)*")
SHELLS = re.compile(r"(?:.*[/\\])?(?:(?:ba|z|da|k)?sh|cmd|eval|powershell)(?:\.exe)?")
MANAGERS = re.compile(
    r"(?:.*[/\\])?(?:pip[\d.]*|conda|mamba|micromamba|uv|poetry|pipenv|setup\.py|"
    r"apt|apt-get|aptitude|yum|dnf|brew|easy_install)(?:\.exe)?"
)
VERBS = {
    "add", "create", "develop", "dist-upgrade", "install", "purge", "remove", "sync",
    "uninstall", "update", "upgrade",
}  # fmt: skip
NOTHING = "cd ."  # a command that does nothing, in every shell


def _installs(words):
    """Whether the words of one command install something, also behind `sudo`."""
    for i, word in enumerate(words):
        if word.startswith("#"):
            return False
        if MANAGERS.fullmatch(word.removeprefix("-m")):
            return "easy_install" in word or bool(VERBS & set(words[i + 1 :]))
        if SHELLS.fullmatch(word):
            return any(without_installs(w)[1] for w in words[i + 1 :])
    return False


def without_installs(command):
    """(a shell command without its parts that install, [these parts])."""
    kept, left_out, start = [], [], 0
    ends = [m for m in TOKEN.finditer(command) if m["end"]]
    for begin, end in [*(m.span() for m in ends), (len(command),) * 2]:
        part = command[start:begin]
        words = [w.strip("'\"") for w in WORD.findall(part.replace("\\\n", " "))]
        if _installs(words):
            before = KEPT.match(part)[0]
            left_out.append(" ".join(part[len(before) :].split()))
            part = before + NOTHING
        kept += [part, command[begin:end]]
        start = end
    return "".join(kept), left_out


def leave_installs_out(shell, left_out):
    """Let nothing install anything in this process and its shell.

    shell: of IPython; left_out: a list, to which what would install is added.
    """

    def allowed(command):
        if isinstance(command, str):
            command, found = without_installs(command)
            left_out.extend(found)
        elif isinstance(command, list | tuple) and _installs(list(map(str, command))):
            left_out.append(" ".join(map(str, command)))
            command = [sys.executable, "-c", ""]
        return command

    expand, start, system = shell.var_expand, subprocess.Popen.__init__, os.system

    def var_expand(cmd, depth=0, **kwargs):  # what ! and %pip hand to the shell
        return allowed(expand(cmd, depth + 1, **kwargs))

    def init(self, args, *rest, **kwargs):
        start(self, allowed(args), *rest, **kwargs)

    shell.var_expand, subprocess.Popen.__init__ = var_expand, init
    os.system = lambda command: system(allowed(command))

    def in_shell_cells(lines):
        first = lines[0] if lines else ""
        if re.match(r"%%(bash|sh|script|system|sx|cmd|!)", first):
            return [first, *allowed("".join(lines[1:])).splitlines(True)]
        return lines

    shell.input_transformers_cleanup.append(in_shell_cells)
    for name in ("conda", "mamba", "micromamba", "uv"):  # they look for the program
        magic = shell.find_line_magic(name)

        def line_magic(line, name=name, magic=magic):
            if allowed(f"{name} {line}") == f"{name} {line}" and magic:
                return magic(line)

        shell.register_magic_function(line_magic, "line", name)


# Running --------------------------------------------------------------------------


def run(path, framework):
    """Run a notebook; returns the exit status, see the top of this file.

    Raises ValueError for a file that cannot be read, or has no cell for the framework.
    """
    os.environ["D2L_UTILS_TAB"] = framework
    os.environ.setdefault("MPLBACKEND", "agg")
    from IPython.core.interactiveshell import InteractiveShell

    import d2l_utils.as_d2l  # noqa: F401 (so that `import d2l` finds this package)

    class Shell(InteractiveShell):
        def enable_gui(self, gui=None):
            """For %matplotlib: there is no window to show figures in."""

    cells = read_cells(path)
    try:
        numbered = cells_for(cells, framework)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not numbered:
        raise ValueError(f"{path} has no cells for {framework}.")
    folder = Path(path).resolve().parent
    if os.environ.get("D2L_UTILS_DATA"):  # it may be relative: resolve it before chdir
        data = os.path.expanduser(os.environ["D2L_UTILS_DATA"])
        os.environ["D2L_UTILS_DATA"] = os.path.abspath(data)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    report(Asked([source for _, source in numbered], framework))
    shell, failed, left_out = Shell.instance(), 0, []
    shell.run_line_magic("colors", "nocolor")
    leave_installs_out(shell, left_out)
    for number, source in numbered:
        start = time.perf_counter()
        result = shell.run_cell(source, store_history=False)
        word = "ok" if result.success else "FAILED"
        failed += not result.success
        seconds = time.perf_counter() - start
        for text in left_out:
            print(f"left out, so that nothing is installed: {text}")
        left_out.clear()
        print(f"cell {number} of {len(cells)}: {word}, {seconds:.1f} s")
    line = f"{path}, {framework}: {len(numbered) - failed} cells ran, {failed} failed"
    print(line, file=sys.stderr if failed else sys.stdout)
    return int(bool(failed))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("notebook")
    parser.add_argument("--framework", choices=tuple(FRAMEWORKS), default="pytorch")
    args = parser.parse_args(argv)
    try:
        return run(args.notebook, args.framework)
    except (OSError, ValueError, ImportError) as error:
        print(f"d2l_utils.run: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
