"""The API page: what `d2l` offers, from signatures and docstrings.

Everything is read from the source files with `ast`; no framework is imported. A name of
`__all__` is followed through imports and assignments to where it is defined. What is
the same in all four frameworks appears once, the rest once for each version of it.
"""

import ast
import functools
import inspect
import re
import textwrap
from html import escape
from pathlib import Path
from typing import NamedTuple

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonConsoleLexer, PythonLexer

import d2l_utils
from d2l_utils.frameworks import FRAMEWORKS

ABOUT = (
    "What the notebooks use, in alphabetical order. Write "
    "`from d2l_utils import torch as d2l`, or `mxnet`, `tensorflow`, `jax`: these four "
    "modules have the same names."
)
SECTIONS = ("Parameters", "Returns", "Raises", "Example")
_MODEL = (
    "loss", "training_step", "validation_step", "configure_optimizers", "apply_init",
    "parameters", "plot", "save_hyperparameters",
)  # fmt: skip
_DATA = (
    "get_dataloader", "train_dataloader", "val_dataloader", "get_tensorloader", "take",
    "save_hyperparameters",
)  # fmt: skip
METHODS = {
    # Of the classes that readers build on: what they call or define, as far as a
    # framework has it. The others are the library's own business.
    "Module": _MODEL,
    "Classifier": ("accuracy", *_MODEL, "layer_summary"),
    "DataModule": _DATA,
    "FashionMNIST": (*_DATA, "text_labels", "visualize"),
}  # fmt: skip
WIDTH = 78  # of a signature; in a longer one each parameter has a line
PACKAGE = Path(d2l_utils.__file__).parent


class ApiError(Exception):
    """A public name whose definition was not found."""


# Finding definitions ----------------------------------------------------------------


@functools.cache
def tree_of(module):
    """The syntax tree of a module of d2l_utils; None for any other module."""
    package, *rest = module.split(".")
    path = PACKAGE.joinpath(*rest)
    for file in (path / "__init__.py", path.with_suffix(".py")):
        if package == "d2l_utils" and file.is_file():
            return ast.parse(file.read_text(encoding="utf-8"))
    return None


def statements(body):
    """The statements of a module, also those within `try` and `if`."""
    for node in body:
        yield node
        if isinstance(node, (ast.Try, ast.If)):
            yield from statements(node.body)


def public_names(module):
    """`__all__` of a module."""
    for node in tree_of(module).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    raise ApiError(f"{module} has no __all__.")


def assigned(node):
    """[(name, expression)] of an assignment, also of `a, b = c, d`."""
    target, value = node.targets[0], node.value
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        return [(ast.unparse(t), v) for t, v in zip(target.elts, value.elts)]
    return [(ast.unparse(target), value)]


def find(module, name):
    """(module, node): the definition that a name of a module stands for.

    name: it may have dots. The node is a function, a class, the definitions of a method
    (see `methods_of`), or, for an object that is made of something else, the
    assignment. None where the definition is not in d2l_utils.
    """
    first, _, rest = name.partition(".")
    for node in statements(getattr(tree_of(module), "body", ())):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name:
            return module, node
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == first:
                    if rest:  # an attribute of an imported module
                        return find(f"{node.module}.{alias.name}", rest)
                    return find(node.module, alias.name)
        if isinstance(node, ast.Assign):
            for target, value in assigned(node):
                if target == name:
                    return find(module, ast.unparse(value)) or (module, node)
                if target == first and isinstance(value, ast.Call):
                    return find_method(module, ast.unparse(value.func), rest)
    return None


def find_method(module, class_name, name):
    """(module, definitions) of a method of an object that is made by a class."""
    found = find(module, class_name)
    if found and isinstance(found[1], ast.ClassDef):
        methods = methods_of(ancestors(*found))
        return (found[0], methods[name]) if name in methods else None
    return None


def ancestors(module, node):
    """A class and those of d2l_utils that it inherits from, the nearest first."""
    found = [node]
    for base in node.bases:
        parent = find(module, ast.unparse(base))
        if parent and isinstance(parent[1], ast.ClassDef):
            found += [c for c in ancestors(*parent) if c not in found]
    return found


def methods_of(classes):
    """{name: [definition, ...]} of the methods of classes, overriding ones first."""
    found = {}
    for owner in classes:
        for node in owner.body:
            if isinstance(node, ast.FunctionDef):
                found.setdefault(node.name, []).append(node)
    return found


# What is said of them -----------------------------------------------------------------


class Entry(NamedTuple):
    """A function, class or method: its name, signature, docstring and methods."""

    name: str
    signature: str
    parameters: tuple
    docstring: str
    members: tuple = ()


def with_default(parameter, default):
    """A parameter as it is written in a signature."""
    text = ast.unparse(parameter)
    if default is None:
        return text
    equals = " = " if parameter.annotation else "="
    return f"{text}{equals}{ast.unparse(default)}"


def parameters_of(function):
    """The parameters of a function, each as text."""
    given = function.args
    plain = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(plain) - len(given.defaults)) + given.defaults
    made = [with_default(*pair) for pair in zip(plain, defaults)]
    if given.posonlyargs:
        made.insert(len(given.posonlyargs), "/")
    if given.vararg or given.kwonlyargs:
        made.append("*" + (ast.unparse(given.vararg) if given.vararg else ""))
    made += [with_default(*pair) for pair in zip(given.kwonlyargs, given.kw_defaults)]
    if given.kwarg:
        made.append(f"**{ast.unparse(given.kwarg)}")
    return made


def fields_of(classes):
    """The fields of a NamedTuple or a Flax module, each as text."""
    found = {}
    for owner in reversed(classes):
        for node in owner.body:
            if isinstance(node, ast.AnnAssign) and node.target.id[0] != "_":
                if node.value and "init=False" in ast.unparse(node.value):
                    continue  # it is set within the class
                found[node.target.id] = with_default(
                    ast.arg(node.target.id, node.annotation), node.value
                )
    return list(found.values())


def signature(name, parameters, returns=None):
    """`name(parameters) -> type`, on one line or on several."""
    end = f" -> {ast.unparse(returns)}" if returns else ""
    line = f"{name}({', '.join(parameters)}){end}"
    if len(line) <= WIDTH:
        return line
    lines = "".join(f"    {p},\n" for p in parameters)
    return f"{name}(\n{lines}){end}"


def said_of(node):
    """The docstring of a definition, or nothing."""
    return ast.get_docstring(node) or ""


def documented(nodes):
    """The first of some definitions that has a docstring; the first, if none has."""
    return next(filter(said_of, nodes), nodes[0])


def function_entry(name, node):
    """The entry of a function."""
    names = parameters_of(node)
    call = signature(name, names, node.returns)
    return Entry(name, call, tuple(names), said_of(node))


def method_entry(name, definitions):
    """The entry of a method, without `self`; overriding definitions come first.

    The one with the docstring speaks for those that override it, also with its hints.
    """
    node = documented(definitions)
    entry = function_entry(name, node)
    decorators = {ast.unparse(d) for d in node.decorator_list}
    if decorators & {"property", "cached_property"}:
        return entry._replace(signature=entry.name, parameters=())
    if "staticmethod" in decorators:
        return entry
    rest = entry.parameters[1:]
    return entry._replace(
        signature=signature(entry.name, rest, node.returns), parameters=rest
    )


def public_methods(name, classes):
    """{name: [definition, ...]} of the methods of a class that are for readers."""
    there = methods_of(classes)
    own = [m for m in there if m[0] != "_"]
    return {m: there[m] for m in METHODS.get(name, own) if m in there}


def class_entry(name, module, node):
    """The entry of a class with its public methods."""
    classes = ancestors(module, node)
    members = [method_entry(*m) for m in public_methods(name, classes).items()]
    init = methods_of(classes).get("__init__", ())[:1]
    names = method_entry("__init__", init).parameters if init else fields_of(classes)
    return Entry(
        name,
        signature(name, names),
        tuple(names),
        said_of(documented(classes)),
        tuple(members),
    )


def object_entry(name, module, node):
    """The entry of an object; its docstring stands below the assignment."""
    body = list(statements(tree_of(module).body))
    below = body[body.index(node) + 1 : body.index(node) + 2]
    said = [ast.literal_eval(n.value) for n in below if is_text(n)]
    return Entry(name, ast.unparse(node), (), inspect.cleandoc("".join(said)))


def is_text(node):
    """Whether a statement is nothing but a string."""
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def entry_of(module, name):
    """The entry of a name of a module. Raises ApiError where it is not defined."""
    found = find(module, name)
    if found is None:
        raise ApiError(f"The definition of {module}.{name} was not found.")
    where, node = found
    if isinstance(node, ast.ClassDef):
        return class_entry(name, where, node)
    if isinstance(node, ast.FunctionDef):
        return function_entry(name, node)
    if isinstance(node, list):
        return method_entry(name, node)
    return object_entry(name, where, node)


def entries(frameworks=tuple(FRAMEWORKS)):
    """{name: {entry: the frameworks it is of}} of all public names, sorted."""
    found = {}
    for framework in frameworks:
        module = FRAMEWORKS[framework].here
        for name in public_names(module):
            versions = found.setdefault(name, {})
            versions.setdefault(entry_of(module, name), []).append(framework)
    return dict(sorted(found.items(), key=lambda pair: pair[0].lower()))


# Docstrings -----------------------------------------------------------------------


def parse(text):
    """{section: its text} of a docstring; '' is what stands before the sections.

    A section begins with its name and a colon, or with its name underlined.
    """
    lines, found, name = inspect.cleandoc(text).split("\n"), {"": []}, ""
    for line, below in zip(lines, [*lines[1:], ""]):
        title = line.removesuffix(":").replace("Examples", "Example")
        if title in SECTIONS and (line.endswith(":") or re.fullmatch("-{3,}", below)):
            name = title
            found[name] = []
        elif not (name and not found[name] and re.fullmatch("-{3,}", line)):
            found[name].append(line)
    return {k: textwrap.dedent("\n".join(v)).strip("\n") for k, v in found.items()}


def items(text):
    """[(name, what is said of it)] of a section Parameters or Raises."""
    found = []
    for line in text.split("\n"):
        if line[:1].strip():
            name, _, said = line.partition(":")
            found.append([name.strip(), said.strip()])
        elif found:
            found[-1][1] += f" {line.strip()}"
    return [(name, said.strip()) for name, said in found]


def inline(text):
    """A text as HTML, with `code`."""
    return re.sub(r"`+([^`]+)`+", r"<code>\1</code>", escape(text))


def paragraphs(text):
    return "".join(
        f"<p>{inline(' '.join(part.split()))}</p>\n"
        for part in text.split("\n\n")
        if part.strip()
    )


def code(text, lexer=PythonLexer):
    """Coloured code; with the keyboard one can scroll what is too wide."""
    coloured = highlight(text, lexer(), HtmlFormatter(nowrap=True))
    return f'<div class="highlight"><pre tabindex="0">{coloured}</pre></div>\n'


def section(name, text):
    """The HTML of a section of a docstring."""
    head = f'<p class="label">{name}</p>\n'
    if name == "Example":
        return head + code(text, PythonConsoleLexer if ">>>" in text else PythonLexer)
    if name == "Returns":
        return head + paragraphs(text)
    rows = [
        f"<dt><code>{escape(name)}</code></dt>\n<dd>{inline(said)}</dd>\n"
        for name, said in items(text)
    ]
    return f"{head}<dl>\n{''.join(rows)}</dl>\n"


# The page -------------------------------------------------------------------------


def heading(level, anchor, name, permalink):
    link = f'<a class="permalink" href="#{anchor}" aria-label="{escape(permalink)}">'
    return f'<h{level} id="{anchor}">{name}{link}¶</a></h{level}>\n'


def described(entry):
    """The HTML of a signature and a docstring."""
    parts = parse(entry.docstring)
    made = [code(entry.signature), paragraphs(parts.pop(""))]
    made += [section(name, parts[name]) for name in SECTIONS if name in parts]
    return "".join(made)


def version(name, entry, anchor, permalink):
    """The HTML of a name as some of the frameworks have it."""
    made = [described(entry)]
    for member in entry.members:
        title = f"{name}.{member.name}"
        made.append(heading(3, f"{anchor}.{member.name}", title, permalink))
        made.append(described(member))
    return "".join(made)


@functools.cache
def body(frameworks, title, permalink):
    """(HTML, headings): the API of some frameworks.

    title: of the page; permalink: what the links beside headings say. headings:
    [(level, anchor, text)] for the contents at the side.
    """
    titles = {name: FRAMEWORKS[name].title for name in frameworks}
    made, headings = [f"<h1>{escape(title)}</h1>\n{paragraphs(ABOUT)}"], []
    for name, versions in entries(frameworks).items():
        headings.append((2, name, name))
        made.append(heading(2, name, name, permalink))
        for entry, frameworks in versions.items():
            if len(frameworks) == len(titles):
                made.append(version(name, entry, name, permalink))
                continue
            whose = ", ".join(titles[f] for f in frameworks)
            made.append(f'<div class="only">\n<p class="label">{whose}</p>\n')
            anchor = f"{frameworks[0]}.{name}"
            made.append(version(name, entry, anchor, permalink) + "</div>\n")
    return "".join(made), headings
