"""Markdown to HTML that is safe and needs no network, for the pages of the book.

Formulas become MathML, pictures data URIs, headings get permalinks, links to other
sources lead to their pages, and HTML is cleaned of everything that could run. What a
text defines and mentions (headings, figures, citations) is noted in `Marks`; links.py
finds where the mentions lead. Nothing here knows of tabs or cells.
"""

import base64
import functools
import html
import io
import mimetypes
import re
import struct
import unicodedata
from dataclasses import dataclass, field
from urllib.parse import quote, unquote
from xml.etree import ElementTree

import nh3
from latex2mathml.converter import convert
from markdown_it.renderer import RendererHTML
from PIL import Image

from book.source import files
from book.source.markdown import parser
from book.translate.catalogues import english

# fmt: off
TAGS = {
    "a", "abbr", "acronym", "b", "blockquote", "br", "caption", "code", "dd", "del",
    "details", "div", "dl", "dt", "em", "figcaption", "figure", "h1", "h2", "h3", "h4",
    "h5", "h6", "hr", "i", "img", "ins", "kbd", "li", "ol", "p", "pre", "samp", "small",
    "span", "strong", "sub", "summary", "sup", "table", "tbody", "td", "tfoot", "th",
    "thead", "tr", "ul", "var",
}
DROPPED = {  # with all that is in them; of other tags, the text stays
    "script", "style", "iframe", "object", "template", "svg",
}
ATTRIBUTES = {
    "*": {
        "class", "id", "title", "alt", "width", "height", "colspan", "rowspan", "scope",
        "start", "open", "lang", "aria-label", "style",
    },
    "a": {"href"},
    "img": {"src"},
}
# fmt: on
# Stands for a formula, by its number, until the HTML is cleaned; with an e in place of
# the number, for a character SIGN of the text itself.
MARK = re.compile("\ue000(\\d+|e)\ue001")
SIGN, ESCAPED = "\ue000", "\ue000e\ue001"
# A line must not break between a formula and the brackets, comma or stop beside it, as
# browsers would; the last of these are the Chinese and Japanese ones.
OPENED, CLOSED = (
    "[(\uff08\u300c\u201c\u300a]",
    "[,.;:?!)\u3001\u3002\uff0c\uff1a\uff1b\uff1f\uff01\uff09\u300d\u201d\u300b]",
)
WHOLE = re.compile(f"{OPENED}*{MARK.pattern}{CLOSED}+|{OPENED}+{MARK.pattern}")
# Behind a Chinese or Japanese mark there is no space.
GAP = re.compile("(?<=[\u3001\u3002\uff01\uff09\uff0c\uff1a\uff1b\uff1f]) ")
MATHML = "{http://www.w3.org/1998/Math/MathML}m"
CITED = {  # what becomes a link in escaped text: where it leads
    r"(https?://(?:&amp;|[^\s<>&])*[^\s<>&.,;:!?)])": "",
    r"\barXiv:(\d{4}\.\d{4,5})\b": "https://arxiv.org/abs/",
    r"\bdoi:(10\.\d{4,9}/[\w.()/:;-]*\w)": "https://doi.org/",
}
LINKED = re.compile("|".join(CITED))
# A space behind the name of a function, which else would touch what follows.
FUNCTION = re.compile(
    r"(<mi>(?:arg|cos|exp|lim|ln|log|max|min|sin|tanh)</mi>)(?=<m[a-np-z])"
)
ON_NETWORK = re.compile(r"\s*(?:(?!file:)[a-z]+:)?//", re.I)
OTHER_SOURCE = re.compile(r"([\w-]+)\.(?:md|ipynb)(#.*)?")
NUMBERS = {"figure": r"\d+(?:\.\d+)*", "section": r"\d+(?:\.\d+)+"}
CAPTION = re.compile(
    r'<p><em><a class="figure" href="figure:(?P<figure>[\d.]+)">(?P<name>[^<]*)</a>'
    r"(?=\.?\s)"
)
NUMBERED = re.compile(r"\d+(\.\d+)+ ")
RESERVED = {"text", "search", "found", "book", "execution-facts"}  # by templates
NOT_LINKED = {"a", "code", "pre", "h1", "h2", "h3", "h4", "h5", "h6"}
QUESTION = re.compile(  # whose answer is folded beneath it
    r'<details class="answer">(?P<asked>.*?</summary>)(?P<said>.*?)</details>', re.S
)
LISTED = re.compile(r'(?=<h\d id="references">)')  # the list of what is cited


WEBP_MODES = {"1", "L", "LA", "P", "RGB", "RGBA"}  # of Pillow; WebP keeps them whole


class PageError(Exception):
    """The book cannot be built; the message says where and what to do."""


@dataclass
class Marks:
    """What the texts of one page define and mention, noted while they are rendered.

    headings: (level, anchor, text). aliases: {other anchor of a heading: its anchor}.
    figures, references: their numbers. mentions:
    (kind, number or address, place); the link of one is `href="KIND:NUMBER"` until
    it is known where that is. For searching: texts, {anchor: text below it}; code,
    {anchor: {identifier: frameworks}}; answers, {anchor of a fold: heading above it}.
    """

    headings: list = field(default_factory=list)
    aliases: dict = field(default_factory=dict)
    figures: list = field(default_factory=list)
    references: list = field(default_factory=list)
    mentions: list = field(default_factory=list)
    texts: dict = field(default_factory=dict)
    code: dict = field(default_factory=dict)
    answers: dict = field(default_factory=dict)

    def place(self, fold=None):
        """Where the search leads for what comes now; fold: the anchor of its answer."""
        above = self.headings[-1][1] if self.headings else ""
        if fold:
            self.answers.setdefault(fold, above)
        return fold or above


def anchors(marks):
    """All anchors of each heading, for the page in another language."""
    return [
        [a, *(other for other, to in marks.aliases.items() if to == a)]
        for _, a, _ in marks.headings
    ]


@dataclass(frozen=True)
class Body:
    """The HTML of a page's cells, what its texts define and mention, its language."""

    html: str
    marks: Marks
    language: str = "en"


def mention_pattern(forms):
    """Matches [3], and figures and sections as `forms`, strings of pages, name them."""
    parts = [r"\[(?P<reference0>\d+)\]"]
    for i, strings in enumerate(forms):
        for kind, number in NUMBERS.items():
            before, after = strings[f"mention_{kind}"].split("{number}")
            first = f"[{before[0].upper()}{before[0].lower()}]" if before else ""
            before = first + re.escape(before[1:]).replace(r"\ ", r"\s")
            number = f"(?P<{kind}{i}>{number})"
            parts.append(rf"(?<![A-Za-z\d.]){before}{number}{re.escape(after)}")
    return re.compile("|".join(parts))


def mentions(text, forms):
    """[(kind, number)] of what a text mentions."""
    found = mention_pattern(forms).finditer(text)
    return [(m.lastgroup[:-1], m[m.lastgroup]) for m in found]


IMAGE_TAG = re.compile(
    r"""(<img\b[^>]*?(?<![\w-])src\s*=\s*)("[^"]*"|'[^']*'|[^\s"'>]+)""", re.I
)


def data_image(url):
    """A picture's data URI as all programs read it, or None for another address."""
    kind, comma, data = url.partition(",")
    kind = re.sub(r"[\x00-\x20]", "", kind).lower()
    if not comma or not kind.startswith("data:image/"):
        return None
    data = "".join(data.split()) if kind.endswith("base64") else data
    return f"{kind},{data}"


def _attribute(tag, name, value):
    """The value of an attribute, or None: pictures are data and links never are."""
    if name == "src":
        return data_image(value)
    if name == "href":
        address = re.sub(r"[\x00-\x20]", "", value)  # as browsers read it
        value = value.strip("".join(map(chr, range(33))))
        return None if address.lower().startswith("data:") else value
    return value


PICTURE = re.compile(r'<img((?: [\w-]+="[^"]*")*)>')  # as CLEANER writes it
CLEANER = nh3.Cleaner(
    tags=TAGS,
    clean_content_tags=DROPPED,
    attributes=ATTRIBUTES,
    attribute_filter=_attribute,
    url_schemes={"http", "https", "mailto", "data"},
    filter_style_properties={"text-align"},
    link_rel=None,
)


def sanitize(text):
    """HTML without scripts, styles, event handlers or anything that loads."""
    text = re.sub(r"<table\b", '<div class="scroll"><table', CLEANER.clean(text))
    text = PICTURE.sub(_described, text)
    return text.replace("</table>", "</table></div>")


def _described(picture):
    """A picture's tag with a description, which not every output gives."""
    if ' alt="' in picture[1]:
        return picture[0]
    return f'<img{picture[1]} alt="No description has been provided for this image">'


@functools.cache
def webp(png):
    """The same pixels in about half the bytes; `png` itself where that cannot be."""
    try:
        image, made = Image.open(io.BytesIO(png)), io.BytesIO()
        if getattr(image, "is_animated", False) or image.mode not in WEBP_MODES:
            return png
        image.save(made, "WEBP", lossless=True, quality=50, method=2)
    except Exception:  # Pillow raises many kinds: broken, too wide, too many pixels
        return png
    return made.getvalue()


def picture(data, mime, alt, shown=None):
    """An <img> with the picture inside; data: base64, or the text of an SVG.

    shown: (width, height) in the units of the page, where a picture has more pixels.
    """
    try:
        raw = data.encode() if "svg" in mime else base64.b64decode(data)
    except ValueError:  # a browser shows the description instead
        raw = b""
    size = ""
    if raw.startswith(b"\x89PNG") and len(raw) >= 24:
        size = shown or struct.unpack(">II", raw[16:24])
        size = ' width="{}" height="{}"'.format(*size)
        mime, raw = min((mime, raw), ("image/webp", webp(raw)), key=lambda p: len(p[1]))
    uri = f"data:{mime};base64,{base64.b64encode(raw).decode()}"
    return f'<img src="{uri}" alt="{html.escape(alt)}"{size}>'


def _linked(found):
    """The link for what LINKED found."""
    address = [*CITED.values()][found.lastindex - 1] + found[found.lastindex]
    return f'<a href="{address}">{found[0]}</a>'


def is_file(path):
    try:
        return path.is_file()
    except (OSError, ValueError):  # no name of a file, such as a very long one
        return False


@functools.cache
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
    made = made.replace("<mo>&#x0221E;</mo>", "<mi>&#x0221E;</mi>")  # no operator
    return FUNCTION.sub(r'\1<mspace width="0.17em"/>', made)


BETWEEN = {"msub": "_", "msup": "^", "mfrac": "/", "munder": "_", "mover": "^"}
SPACED = set("=<>+\u2212\u2248\u2264\u2265\u2192\u2208\u2211")


def readable(element):
    """A formula on one line: y_i = a/b."""
    tag = element.tag.removeprefix(MATHML[:-1])
    text = unicodedata.normalize("NFKC", (element.text or "").strip())
    parts = [readable(child) for child in element]
    if tag == "mo" and text in SPACED:
        return f" {text} "
    if tag == "mspace":
        return " "
    if tag == "mtr":
        return " ".join([*parts, " "])
    if tag in ("msubsup", "munderover"):
        base, below, above = (p.replace(" ", "") for p in parts)
        return f"{base}_{below}^{above} "
    if tag == "mover" and parts[1] in ("^", "\u02c6"):
        return unicodedata.normalize("NFC", parts[0] + "\u0302")
    if tag == "msqrt":
        return f"\u221a({''.join(parts)})"
    if tag == "mfrac":
        parts = [f"({p})" if " " in p.strip() else p for p in parts]
    return text + BETWEEN.get(tag, "").join(parts)


class Text(RendererHTML):
    """Renders the text of one cell; methods named as tokens make the HTML of these.

    folder: that of the source, for pictures. where: function of a string in the text
    that gives its place for an error message. marks: the page's, so far. strings: what
    the page says by itself. anchors: of the page's headings, where their texts do not
    give them. strict: whether a formula that is not understood and a picture on the
    network are errors; where not, TeX and a link are shown.
    """

    def __init__(self, folder, where, marks, strings, anchors=(), strict=True):
        super().__init__()
        self.strict = strict
        self.folder, self.where, self.marks = folder, where, marks
        self.permalink = html.escape(strings["permalink"])
        self.anchors, self.language = anchors, strings["lang"]
        self.mentioned = mention_pattern([strings, english()])
        self.formulas, self.folds = [], []

    def to_html(self, source, fold=None):
        """The HTML of a text; fold: the anchor of the answer that it is a part of."""
        above, reader = self.marks.place(fold), parser()
        reader.renderer = self
        text = sanitize(reader.render(source.replace(SIGN, ESCAPED)))
        text, *rest = LISTED.split(text, maxsplit=1)
        text = CAPTION.sub(self._caption, self._link_mentions(text))
        text += "".join(map(self._list_references, rest))
        self._note_text(text, above)
        text = QUESTION.sub(self._fold, text)
        text = WHOLE.sub(r'<span class="whole">\g<0></span>', text)
        return self._with_formulas(text)

    def _with_formulas(self, text):
        return MARK.sub(
            lambda m: SIGN if m[1] == "e" else self.formulas[int(m[1])], text
        )

    # What is defined and mentioned

    def _list_references(self, text):
        head, opened, items = text.partition("<ol>")
        opened = opened.replace(">", ' lang="en">') if self.language != "en" else opened

        def item(_):
            self.marks.references.append(len(self.marks.references) + 1)
            return f'<li id="reference-{self.marks.references[-1]}">'

        return head + opened + re.sub("<li>", item, items)

    def _link_mentions(self, text):
        """Links for [3], "Figure 8.3.1", "section 8.3.5", but within NOT_LINKED."""
        made, inside = [], []
        for part in re.split(r"(<[^>]*>)", text):
            tag = re.match(r"<(/?)(\w+)", part)
            if tag and tag[2] in NOT_LINKED:
                inside.pop() if tag[1] else inside.append(tag[2])
            elif not tag and not inside:
                part = self.mentioned.sub(self._mention, part)
            made.append(part)
        return "".join(made)

    def _mention(self, found):
        kind, number = found.lastgroup[:-1], found[found.lastgroup]
        self.marks.mentions.append((kind, number, self.where(found[0])))
        return f'<a class="{kind}" href="{kind}:{number}">{found[0]}</a>'

    def _caption(self, found):
        """A figure's caption: here it is defined, not mentioned."""
        number = found["figure"]
        self.marks.mentions.remove(
            next(m for m in self.marks.mentions if m[:2] == ("figure", number))
        )
        self.marks.figures.append(number)
        return f'<p class="caption" id="figure-{number}"><em>{found["name"]}'

    def _note_text(self, text, anchor):
        """Add the text to what is searched; anchor: the heading before it."""
        parts = re.split(r'<h\d id="([^"]*)">.*?</h\d>', text, flags=re.S)
        anchors = [anchor, *map(html.unescape, parts[1::2])]
        for anchor, part in zip(anchors, parts[::2], strict=True):
            for found in QUESTION.finditer(part):
                self.folds.append(f"question-{len(self.marks.answers) + 1}")
                self.marks.answers[self.folds[-1]] = anchor
                self._note(self.folds[-1], found["said"])
            self._note(anchor, QUESTION.sub(r"\g<asked>", part))

    def _note(self, anchor, text):
        text = self._plain(MARK.sub(self._readable, text))
        said = f"{self.marks.texts.get(anchor, '')} {text}"
        self.marks.texts[anchor] = GAP.sub("", " ".join(said.split()))

    def _fold(self, found):
        """A question with its answer, with the anchor that `_note_text` gave it."""
        return found[0].replace(">", f' id="{self.folds.pop(0)}">', 1)

    def _readable(self, mark):
        if mark[1] == "e":
            return mark[0]
        made = re.search("<math.*</math>", self.formulas[int(mark[1])], re.S)
        found = ElementTree.fromstring(made[0]) if made else None
        return html.escape(readable(found)) if made else self.formulas[int(mark[1])]

    def _plain(self, text):
        """Text without tags, for attributes; of formulas, their signs."""
        text = self._with_formulas(text)
        return html.unescape(re.sub(r"<[^>]*>", "", text))

    def _formula(self, tex, display):
        tex = tex.replace(ESCAPED, SIGN)
        try:
            made = mathml(tex, display)
        except ValueError as error:
            if not self.strict:
                return f"<code>{html.escape(tex.strip())}</code>"
            where = f"{self.where(tex)}: the formula {tex.strip()!r}"
            raise PageError(f"{where} cannot be shown: {error}.") from error
        if display == "block":
            made = f'<span class="formula">{made}</span>'
        self.formulas.append(made)
        return f"\ue000{len(self.formulas) - 1}\ue001"

    # Tokens

    def text(self, tokens, i, options, env):
        shown = super().text(tokens, i, options, env)
        linked = sum(t.nesting for t in tokens[:i] if t.type.startswith("link_"))
        if linked:
            return shown
        return LINKED.sub(_linked, shown)

    def math_inline(self, tokens, i, options, env):
        return self._formula(tokens[i].content, "inline")

    def math_inline_double(self, tokens, i, options, env):
        return self._formula(tokens[i].content, "block")

    def math_block(self, tokens, i, options, env):
        return f"<p>{self._formula(tokens[i].content, 'block')}</p>\n"

    amsmath = math_block

    def heading_open(self, tokens, i, options, env):
        text = self.renderInline(tokens[i + 1].children, options, env)
        tokens[i + 1].children = []  # they are rendered here
        level, title = int(tokens[i].tag[1]), self._plain(text).strip()
        anchor, *others = self._anchors(title)
        self.marks.headings.append((level, anchor, title))
        places = ""
        for other in others:
            self.marks.aliases[other] = anchor
            places += f'<span id="{html.escape(other)}"></span>'
        return (
            f'<h{level} id="{html.escape(anchor)}">{places}{text}'
            f'<a class="permalink" href="#{quote(anchor)}" '
            f'aria-label="{self.permalink}">¶</a>'
        )

    def _anchors(self, title):
        """A heading's anchor without its number, which may change, and Jupyter's."""
        if self.anchors:
            return self.anchors[len(self.marks.headings)]
        taken = {h[1] for h in self.marks.headings} | {*self.marks.aliases} | RESERVED

        def free(base):
            rest = (f"{base}-{n}" for n in range(2, 1000))
            found = next(a for a in (base, *rest) if a not in taken)
            taken.add(found)
            return found

        words = re.sub(r"\W+", "-", NUMBERED.sub("", title).lower()).strip("-")
        jupyter = title.replace(" ", "-")
        return [
            free(words or "section"),
            *([free(jupyter)] if jupyter != words else []),
        ]

    def image(self, tokens, i, options, env):
        token = tokens[i]
        if not self.strict and ON_NETWORK.match(token.attrs["src"]):
            address = html.escape(token.attrs["src"])
            text = self.renderInline(token.children, options, env) or address
            return f'<a href="{address}">{text}</a>'
        alt = self._plain(self.renderInline(token.children, options, env))
        token.attrs = {
            **token.attrs,
            "src": self._embed(token.attrs["src"]),
            "alt": alt,
        }
        return self.renderToken(tokens, i, options, env)

    def link_open(self, tokens, i, options, env):
        url = tokens[i].attrs["href"]
        other = OTHER_SOURCE.fullmatch(url)
        if other:
            url = tokens[i].attrs["href"] = f"{other[1]}.html{other[2] or ''}"
        if other or url.startswith("#"):
            self.marks.mentions.append(("page", unquote(url), self.where(url)))
        return self.renderToken(tokens, i, options, env)

    def html_inline(self, tokens, i, options, env):
        def put(found):
            url = html.unescape(found[2].strip("\"'"))
            return f'{found[1]}"{html.escape(self._embed(url))}"'

        return IMAGE_TAG.sub(put, tokens[i].content)

    html_block = html_inline

    def _embed(self, url):
        """The picture as a data URI; raises PageError if it is not there."""
        data = data_image(url)
        if data or (not self.strict and ON_NETWORK.match(url)):
            return data or ""
        file = self.folder / unquote(url)
        problem = ""
        if ON_NETWORK.match(url):
            problem = "is on the network"
        elif re.match(r"\w+:", url) or not is_file(file):
            problem = "does not exist"
        elif not file.resolve().is_relative_to(self.folder.resolve()):
            problem = "is outside of the notebook's folder: copy it there"
        if problem:
            raise PageError(f"{self.where(url)}: the picture {url} {problem}.")
        mime = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        return f"data:{mime};base64,{base64.b64encode(files.picture(file)).decode()}"
