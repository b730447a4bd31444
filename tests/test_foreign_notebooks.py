"""Pages of notebooks that are not ours, as nbconvert's exporter makes them."""

import base64
import copy
import json
import re

import nbformat
import pytest
from bs4 import BeautifulSoup
from made_book import png
from nbformat import v4

from book.notebooks.tabbed import TabbedExporter
from book.pages import markup
from book.pages.markup import PageError
from book.source.book import SourceError
from book.translate.catalogues import english
from d2l_utils.frameworks import FRAMEWORKS

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="  # noqa: E501
SVG = "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"
CODE = v4.new_code_cell("%%tab all\nran()")


def page(tmp_path, *cells, text=None, name="foreign"):
    """The page of a notebook with these cells beside one with tabs."""
    path = tmp_path / f"{name}.ipynb"
    path.write_text(text or json.dumps(v4.new_notebook(cells=[*cells, CODE])))
    made, _ = TabbedExporter().from_filename(str(path))
    made.encode()
    return BeautifulSoup(made, "html.parser")


def output(tmp_path, data, metadata=None):
    """What a page shows of an output of these types, in PyTorch's tab."""
    ran = v4.new_output("display_data", data=data, metadata=metadata or {})
    cell = v4.new_code_cell("%%tab pytorch\nshow()", outputs=[ran])
    return page(tmp_path, cell).select_one("#g1-pytorch .output")


def said(tmp_path, source, **more):
    """What a page shows of a text cell."""
    soup = page(tmp_path, v4.new_markdown_cell(source, **more))
    soup.main.select_one(".group").extract()
    return soup.main


# Texts --------------------------------------------------------------------------

PLAIN = {  # text cell: what the page says
    "unicode": ("Grüße, 你好, \U0001f600, \u202eabc", "Grüße, 你好, \U0001f600"),
    "half a character": ("a \ud83d b", "a \ufffd b"),
    "private signs": ("\ue000 and \ue0001\ue001 and $x$", "\ue000 and \ue0001\ue001"),
    "::: in code": ("```\n:::\n:::{tab} jax\n```\nafter", ":::{tab} jax"),
    "::: in longer code": ("~~~~\n~~~\n:::\n~~~~", ":::"),
    "mermaid": ("```mermaid\ngraph TD; A-->B\n```", "graph TD; A-->B"),
    "a table": ("|a|b|\n|-|-|\n|1|$x$|", "1"),
    "an index": ("It is x[3] and Figure 7.", "It is x[3] and Figure 7."),
    "no such heading": ("[see](#nothing) and [other](other.ipynb)", "see and other"),
    "TeX of packages": ("$\\mymacro{x}$", "\\mymacro{x}"),
    "tagged": ("$$a \\tag{1} \\label{eq}$$", "a"),
    "currency": ("$5 and $10", "$5 and $10"),
    "HTML": ("<details><summary>S</summary>T</details>", "ST"),
    "an unclosed tag": ("<div><b>x", "x"),
    "a script": ("<script>hack()</script>x", "x"),
    "front matter": ("---\ntitle: x\n---", "title: x"),
    "a network picture": ("![A cat](https://x.org/c.png)", "A cat"),
    "a network picture in HTML": ("<img src=//x.org/c.png alt=C>x", "x"),
    "empty": ("", ""),
    "only blanks": (" \n\t\n", ""),
}


@pytest.mark.parametrize("what", PLAIN)
def test_texts(tmp_path, what):
    source, words = PLAIN[what]
    shown = said(tmp_path, source)
    assert words in shown.text.replace("\n", "")
    assert not shown.select("script, [onclick]")
    assert all(e["src"].startswith("data:") for e in shown.select("[src]"))


def test_private_signs_are_kept_beside_formulas(tmp_path):
    shown = said(tmp_path, "# \ue000 $x$\n\n`\ue000` $\\text{\ue000}$ \ue001")
    assert shown.h1.text.startswith("\ue000 x") and shown.code.text == "\ue000"
    assert shown.find_all("math")[1].text == "\ue000"


# Pictures -----------------------------------------------------------------------

URI = f"data:image/png;base64,{PIXEL}"
PICTURES = [
    f"![x]({URI})",
    f"<img src='{URI}'>",
    f'<img alt=x src = "{URI}"/>',
    "<IMG SRC=pic.png>",
    f"<div>\n<img width=9\nsrc='{URI}'></div>",
    f"![x]({URI.replace('data:image/png', 'DATA:Image/PNG')})",
    f"<img src=' {URI[:40]}\n{URI[40:]}'>",
    "![x](pic.png)",
    "<img src='pic.png'>",
    "<img src=pic.png>",
    "<img data-src='none.png' src='pic.png'>",
    "![x](<a b/pic.png>)",
    "<img src='a%20b/pic.png'>",
    "<img src='a b/pic.png'>",
    "![x](./a%20b/../pic.png)",
]


@pytest.fixture
def folder(tmp_path):
    """A notebook's folder with a picture, and one beside that folder."""
    for path in ("book/pic.png", "book/a b/pic.png", "private.png"):
        (tmp_path / path).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / path).write_bytes(base64.b64decode(PIXEL))
    (tmp_path / "book/link.png").symlink_to(tmp_path / "private.png")
    (tmp_path / "book/out").symlink_to(tmp_path)
    return tmp_path / "book"


@pytest.mark.parametrize("source", PICTURES)
def test_pictures_are_inside(folder, source):
    (image,) = said(folder, source).find_all("img")
    assert image["src"] == URI


@pytest.mark.parametrize(
    "address",
    ["../private.png", "{0}/private.png", "link.png", "out/private.png",
     "a%20b/../../private.png", "..%2fprivate.png"],
)  # fmt: skip
@pytest.mark.parametrize("form", ["![x]({})", "<img src='{}'>"])
def test_a_picture_elsewhere_is_not_handed_on(folder, address, form):
    source = form.format(address.format(folder.parent))
    with pytest.raises(PageError, match="is outside of the notebook's folder: copy"):
        said(folder, source)


@pytest.mark.parametrize("address", ["none.png", "x" * 5000, "file:///etc/x.png"])
def test_a_picture_that_is_not_there_is_named(folder, address):
    with pytest.raises(PageError, match=r"cell 1: the picture .* does not exist"):
        said(folder, f"![x]({address})")


def test_pasted_pictures(tmp_path):
    kept = {"a b.png": {"image/png": PIXEL}, "c.gif": {"image/gif": "R0lG"}}
    text = "![x](attachment:a%20b.png) <img src='attachment:c.gif'>"
    first, second = said(tmp_path, text, attachments=kept).find_all("img")
    assert first["src"] == URI and second["src"] == "data:image/gif;base64,R0lG"
    with pytest.raises(PageError, match=r"attachment:gone\.png does not exist"):
        said(tmp_path, "![x](attachment:gone.png)", attachments=kept)


WIDE = png(20_000, 2).replace("\n", "")
DRAWN = {  # type of a picture among the outputs: data
    "broken": ("image/png", "iVBORw0KGgo="),
    "cut": ("image/png", PIXEL[:80]),
    "no base64": ("image/png", "x"),
    "empty": ("image/png", ""),
    "no PNG": ("image/png", "R0lGODlh"),
    "wide": ("image/png", WIDE),
    "jpeg": ("image/jpeg", "/9j/"),
    "gif": ("image/gif", "R0lG"),
    "webp": ("image/webp", "UklG"),
    "svg": ("image/svg+xml", SVG),
}


@pytest.mark.parametrize("what", DRAWN)
@pytest.mark.parametrize("alt", ["a bar", None, 5, ["x"], {"y": 1}, ""])
def test_pictures_among_the_outputs(tmp_path, what, alt):
    mime, data = DRAWN[what]
    for metadata in ({"alt": alt}, {mime: {"alt": alt}}, {mime: alt}):
        image = output(tmp_path, {mime: data}, metadata).img
        given = alt == "a bar" and metadata != {mime: alt}
        assert image["alt"] == (
            "a bar" if given else english()["figure"].format(framework="PyTorch")
        )
        assert image["src"].startswith("data:image/")
    if what == "wide":
        assert (image["width"], image["height"]) == ("20000", "2")


# Other outputs ------------------------------------------------------------------

SHOWN = [  # data of an output, and what the page says
    ({"text/plain": "plain <b>"}, "plain <b>"),
    ({"text/plain": "repr", "text/html": "<b>bold</b><script>hack()</script>"}, "bold"),
    ({"text/plain": "<Markdown>", "text/markdown": "**bold** [3]"}, "bold [3]"),
    ({"text/plain": "<Latex>", "text/latex": "$x^2$"}, "x2"),
    ({"text/latex": "\\begin{nonsense}"}, "\\begin{nonsense}"),
    ({"text/markdown": "![x](none.png)"}, "![x](none.png)"),
    ({"application/json": {"a": [1]}}, "[application/json]"),
    ({"application/json": {"a": 1}, "text/plain": "{'a': 1}"}, "{'a': 1}"),
    ({"application/pdf": "JVBE"}, "[application/pdf]"),
    ({"application/javascript": "hack()"}, "[application/javascript]"),
    ({"application/vnd.jupyter.widget-view+json": {"model_id": "x"},
      "text/plain": "IntSlider(value=0)"}, "IntSlider(value=0)"),
    ({"application/vnd.jupyter.widget-view+json": {"model_id": "x"}}, "widget-view"),
    ({"application/vnd.plotly.v1+json": {"data": []}}, "[application/vnd.plotly"),
    ({"text/vnd.mermaid": "graph TD"}, "graph TD"),
    ({"video/mp4": "AAAA"}, "[video/mp4]"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "words"), SHOWN)
def test_outputs_of_all_types(tmp_path, data, words):
    shown = output(tmp_path, data)
    assert words in " ".join(shown.text.split()) and "hack()" not in shown.text


def test_outputs_without_data(tmp_path):
    red = "\x1b[0;31mValueError\x1b[0m: no <b>"
    outputs = [
        v4.new_output("stream", name="stderr", text="\x1b[1mloud\x1b[0m\r\n"),
        v4.new_output("error", ename="ValueError", evalue="no <b>", traceback=[red]),
        v4.new_output("error", ename="KeyError", evalue="k", traceback=[]),
        v4.new_output("display_data"),
    ]
    soup = page(tmp_path, v4.new_code_cell("%%tab jax\nx", outputs=outputs))
    shown = soup.select_one("#g1-jax .output")
    for words in ("loud", "ValueError: no <b>", "KeyError: k"):
        assert words in shown.text
    assert shown.select_one(".ansi-red-fg").text == "ValueError"


# Cells and notebooks ------------------------------------------------------------


def test_code_without_tabs_is_that_of_all(tmp_path):
    """Its outputs, too: it ran once."""
    ran = [v4.new_output("stream", text="once\n")]
    soup = page(
        tmp_path,
        v4.new_code_cell("import x", outputs=ran),
        v4.new_code_cell("%load_ext d2lbook.tab\ntab.interact_select('jax', 'mxnet')"),
        v4.new_code_cell(""),
        v4.new_code_cell("%%time\nslow()"),
        v4.new_code_cell("%%tab jax, mxnet\ntwo()", outputs=ran),
    )
    for framework in FRAMEWORKS:
        panel = soup.select_one(f"#g1-{framework}")
        codes = [e.text.strip() for e in panel.select(".input")]
        both = ["two()"] if framework in ("jax", "mxnet") else []
        assert codes == ["import x", "%%time\nslow()", *both, "ran()"]
        assert panel.text.count("once") == 1 + len(both)


def test_raw_cells(tmp_path):
    shown = [
        v4.new_raw_cell("title: `x`"),
        v4.new_raw_cell("<b>bold</b>", metadata={"raw_mimetype": "text/html"}),
        v4.new_raw_cell("\\newpage", metadata={"format": "text/latex"}),
    ]
    soup = page(tmp_path, *shown)
    assert soup.main.pre.text == "title: `x`\n" and soup.main.b.text == "bold"
    assert "newpage" not in soup.text


def test_old_formats(tmp_path):
    new = v4.new_notebook(
        cells=[v4.new_markdown_cell("# Old"), v4.new_code_cell("%%tab all\n1")]
    )
    three = nbformat.writes(nbformat.convert(copy.deepcopy(new), 3), version=3)
    assert page(tmp_path, text=three).h1.text.startswith("Old")
    for cell in new.cells:
        del cell["id"]
    new.nbformat_minor = 0
    assert page(tmp_path, text=json.dumps(new)).h1.text.startswith("Old")


@pytest.mark.parametrize(
    "metadata",
    [
        {"kernelspec": {"name": "ir", "display_name": "R", "language": "R"}},
        {"language_info": {"name": "julia"}}, {"title": "T"}, {"widgets": {"x": {}}},
    ],
)  # fmt: skip
def test_any_metadata(tmp_path, metadata):
    nb = v4.new_notebook(cells=[CODE], metadata=metadata)
    assert "ran()" in page(tmp_path, text=json.dumps(nb)).text


@pytest.mark.parametrize("name", ["My notebook (1)", "a'b\"c", "nin", "日本", "x&y"])
def test_a_page_alone_has_no_links_that_lead_nowhere(tmp_path, name):
    soup = page(tmp_path, v4.new_markdown_cell("# A\n\n## B"), name=name)
    anchors = {e["id"] for e in soup.select("[id]")}
    links = [a["href"] for a in soup.find_all("a")]
    assert links
    for link in links:
        assert re.match("https://", link) or link.removeprefix("#") in anchors, link
    assert soup.find("a", download=True) is None


@pytest.mark.parametrize(
    ("cell", "error", "words"),
    [
        (v4.new_code_cell("%%tab paddle\n1"), SourceError, "cell 1: Unknown tab"),
        (v4.new_markdown_cell(":::{note}\na\n:::"), SourceError, "cell 1: ':::{note}'"),
    ],
)
def test_what_pages_cannot_have_is_named(tmp_path, cell, error, words):
    with pytest.raises(error, match=re.escape(words)):
        page(tmp_path, cell)


@pytest.mark.parametrize(
    "link",
    [" https://x.org", "\thttps://x.org\n", "\x01https://x.org", "https://x.org"],
)
def test_blanks_around_links_are_taken_away(link):
    made = markup.sanitize(f'<a href="{link}">x</a>')
    assert BeautifulSoup(made, "html.parser").a["href"] == "https://x.org"


@pytest.mark.parametrize(
    "link", ["DATA:text/html,x", " dAtA:text/html,x", "\x01data:,"]
)
def test_links_are_never_data(tmp_path, link):
    strings = {**english(), "lang": "en"}
    text = markup.Text(tmp_path, str, markup.Marks(), strings)
    made = markup.sanitize(f'<a href="{link}">x</a>') + text.to_html(f"[x](<{link}>)")
    for element in BeautifulSoup(made, "html.parser").find_all("a"):
        assert not element.get("href", "").startswith("data:")
