"""How Markdown is read, for pages and for translations: CommonMark, tables, formulas.

As in pandoc, `$5 and $10` is no formula: dollars hug what is between them.
"""

import re

from markdown_it import MarkdownIt
from mdit_py_plugins.amsmath import amsmath_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin

FORMULA = re.compile(
    r"(?<![$\\])(?:\$\$(?P<double>(?:\\.|[^$\\])+?)\$\$(?!\$)"
    r"|\$(?!\s)(?P<single>(?:\\.|[^$\\])+?)(?<!\s)\$(?![\d$]))",
    re.S,
)


def _inline_formula(state, silent):
    """A rule of markdown-it: a formula at this place of the text, if there is one."""
    found = FORMULA.match(state.src, state.pos, state.posMax)
    if found is None:
        return False
    if not silent:
        double = found["double"] is not None
        kind = "math_inline_double" if double else "math_inline"
        state.push(kind, "math", 0).content = found["double"] or found["single"]
    state.pos = found.end()
    return True


def parser():
    """A new parser of markdown-it-py."""
    made = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    made.use(amsmath_plugin).use(dollarmath_plugin)
    # The rule of the plugin lets a formula end inside code that begins with a dollar.
    made.inline.ruler.at("math_inline", _inline_formula)
    # By itself, markdown-it refuses data URIs of SVG; unsafe links are taken out of the
    # HTML of pages.
    made.validateLink = lambda url: True
    return made
