"""Markdown to HTML that is safe and needs no network, for pages.py.

Formulas become MathML, pictures data URIs, headings get permalinks, links to other
sources lead to their pages, and HTML is cleaned of everything that could run. Knows
nothing of tabs, cells and pages.
"""

import base64
import html
import mimetypes
import re
import struct
from urllib.parse import quote, unquote
from xml.etree import ElementTree

from bleach import ALLOWED_TAGS, clean
from bleach.css_sanitizer import CSSSanitizer
from bs4 import BeautifulSoup
from latex2mathml.converter import convert
from nbconvert.filters.markdown_mistune import (
    IPythonRenderer,
    MarkdownWithMath,
    MathInlineParser,
)

# fmt: off
TAGS = ALLOWED_TAGS | {
    "p", "div", "span", "br", "hr", "pre", "h1", "h2", "h3", "h4", "h5", "h6", "img",
    "figure", "figcaption", "table", "caption", "thead", "tbody", "tfoot", "tr", "th",
    "td", "dl", "dt", "dd", "del", "ins", "sub", "sup", "kbd", "var", "samp", "small",
    "details", "summary",
}
ATTRIBUTES = {
    "class", "id", "title", "alt", "width", "height", "colspan", "rowspan", "scope",
    "start", "open", "lang", "aria-label", "style",
}
# fmt: on
CSS = CSSSanitizer(allowed_css_properties=["text-align"])
MARK = re.compile("\ue000(\\d+)\ue001")  # stands for a formula until the text is clean
MATHML = "{http://www.w3.org/1998/Math/MathML}m"
OTHER_SOURCE = re.compile(r"([\w-]+)\.(?:md|ipynb)(#.*)?")


class PageError(Exception):
    """The book cannot be built; the message says where and what to do."""


def _allowed(tag, name, value):
    if name == "src":
        return tag == "img" and value.startswith("data:image/")
    if name == "href":
        return tag == "a" and not value.startswith("data:")
    return name in ATTRIBUTES


def sanitize(text):
    """HTML without scripts, styles, event handlers or anything that loads."""
    soup = BeautifulSoup(text, "html.parser")
    for element in soup(["script", "style", "iframe", "object", "template", "svg"]):
        element.decompose()
    protocols = {"http", "https", "mailto", "data"}
    text = clean(str(soup), TAGS, _allowed, protocols, strip=True, css_sanitizer=CSS)
    text = re.sub(r"<table\b", '<div class="scroll"><table', text)
    return text.replace("</table>", "</table></div>")


def picture(data, mime, alt):
    """An <img> with the picture inside; data: base64, or the text of an SVG."""
    raw = data.encode() if "svg" in mime else base64.b64decode(data)
    size = ""
    if raw.startswith(b"\x89PNG"):
        size = ' width="{}" height="{}"'.format(*struct.unpack(">II", raw[16:24]))
    uri = f"data:{mime};base64,{base64.b64encode(raw).decode()}"
    return f'<img src="{uri}" alt="{html.escape(alt)}"{size}>'


def mathml(tex, display):
    """MathML of a formula; raises ValueError for TeX that is not understood."""
    tex = re.sub(r"\{(aligned|align|gather|equation)\}", r"{\1*}", tex.strip())
    tex = tex.replace("{aligned*}", "{align*}")
    try:
        made = convert(tex, display=display)
        elements = list(ElementTree.fromstring(made).iter())
    except Exception as error:  # the converter raises many kinds, mostly bare
        raise ValueError(str(error) or type(error).__name__) from error
    for element in elements:
        text = element.text or ""
        if not element.tag.startswith(MATHML) or "href" in element.attrib:
            raise ValueError("HTML in a formula")
        if re.match(r"\\[a-zA-Z]", text):
            raise ValueError(f"unknown command {text}")
    return made


class _Inline(MathInlineParser):
    """As in pandoc, `$5 and $10` is no formula: dollars hug what is between."""

    SPECIFICATION = {
        **MathInlineParser.SPECIFICATION,
        "inline_math_tex": (
            r"(?<![$\\])\$(?!\s)(?P<math_inline_tex>(?:\\.|[^$\\])+?)(?<!\s)\$(?![\d$])"
        ),
    }


class Text(IPythonRenderer):
    """Renders the text of one cell.

    folder: that of the source, for pictures. where: function of a string in the text
    that gives its place for an error message. anchors: the headings' ids so far.
    """

    def __init__(self, folder, where, anchors):
        super().__init__(escape=False)
        self.folder, self.where, self.anchors = folder, where, anchors
        self.formulas = []

    def render(self, source):
        text = MarkdownWithMath(self, inline=_Inline(hard_wrap=False)).render(source)
        return MARK.sub(lambda m: self.formulas[int(m[1])], sanitize(text))

    def plain(self, text):
        """Text without tags, for attributes; of formulas, their signs."""
        text = MARK.sub(lambda m: self.formulas[int(m[1])], text)
        return html.unescape(re.sub(r"<[^>]*>", "", text))

    def formula(self, tex, display):
        try:
            made = mathml(tex, display)
        except ValueError as error:
            where = f"{self.where(tex)}: the formula {tex.strip()!r}"
            raise PageError(f"{where} cannot be shown: {error}.") from error
        if display == "block":
            made = f'<span class="formula">{made}</span>'
        self.formulas.append(made)
        return f"\ue000{len(self.formulas) - 1}\ue001"

    def block_math(self, body):
        return self.formula(body, "block")

    def inline_math(self, body):
        return self.formula(body, "inline")

    def latex_environment(self, name, body):
        return self.formula(f"\\begin{{{name}}}{body}\\end{{{name}}}", "block")

    def heading(self, text, level, **attrs):
        anchor = base = self.plain(text).strip().replace(" ", "-")  # as in Jupyter
        for n in range(2, 1000):
            if anchor not in self.anchors:
                break
            anchor = f"{base}-{n}"
        self.anchors.add(anchor)
        return (
            f'<h{level} id="{html.escape(anchor)}">{text}'
            f'<a class="permalink" href="#{quote(anchor)}" '
            f'aria-label="Link to this section">¶</a></h{level}>\n'
        )

    def image(self, text, url, title=None):
        about = f' title="{html.escape(title)}"' if title else ""
        alt = html.escape(self.plain(text))
        return f'<img src="{self.embed(url)}" alt="{alt}"{about}>'

    def link(self, text, url, title=None):
        other = OTHER_SOURCE.fullmatch(url)
        if other:
            url = f"{other[1]}.html{other[2] or ''}"
        return super().link(text, url, title)

    def block_html(self, html):
        return self.inline_html(html) + "\n"

    def inline_html(self, html):
        source = r'(<img\b[^>]*?\bsrc=")([^"]*)"'
        return re.sub(source, lambda m: f'{m[1]}{self.embed(m[2])}"', html)

    def embed(self, url):
        """The picture as a data URI; raises PageError if it is not there."""
        if url.startswith("data:image/"):
            return url
        file = self.folder / unquote(url)
        if re.match(r"\w+:|//", url) or not file.is_file():
            problem = "does not exist" if "//" not in url else "is on the network"
            raise PageError(f"{self.where(url)}: the picture {url} {problem}.")
        mime = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        return f"data:{mime};base64,{base64.b64encode(file.read_bytes()).decode()}"
