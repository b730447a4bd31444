"""Catalogues of translations: drift, editions, pages, and whether they agree."""

import ast
import re
import unicodedata
from dataclasses import replace

import nbformat
import polib
import pytest
from bs4 import BeautifulSoup
from made_sources import HEAD
from nbformat.v4 import new_output

from book.notebooks import editions
from book.pages import pages
from book.source.book import BOOK, SECTIONS
from book.source.reading import own_cells, read_source
from book.translate import agreement, catalogues, translation
from d2l_utils.frameworks import FRAMEWORKS

TEXT = r"""# 8.3 A title

A paragraph on two
lines, with $x_1$ and [1].

$$
- \hat{y} = 1
$$

* One item
  on two lines
* another

![Two boxes](img/f.svg)

*Figure 8.3.1. Boxes.*

## 8.3.1 Numbers

:::{tab} jax
A line for JAX ends in
2. No list begins.
:::

```
not = text
```

| layer | size |
|---|---|
| a | 10 |

See Figure 8.3.1, section 8.3.1 and [the title](#8.3-A-title).

```{code-cell} ipython3
:tags: [model]

%%tab all
plot('a label', "# no comment")  # first
```

+++ {"tags": ["slide"]}

# A slide

{output}

+++

## References

1. One, O. (2001). A paper.
"""
TEXT = HEAD + TEXT
JAPANESE = {
    "# 8.3 A title": "# 8.3 表題",
    "A paragraph on two lines, with $x_1$ and [1].": "$x_1$を含む段落[1]。",
    "* One item on two lines\n* another": "* 第一項\n* 次の項",
    "![Two boxes](img/f.svg)": "![二つの箱](img/f.svg)",
    "*Figure 8.3.1. Boxes.*": "*図8.3.1　箱。*",
    "## 8.3.1 Numbers": "## 8.3.1 数",
    "A line for JAX ends in 2. No list begins.": "JAXの行は2で終わる。",
    "| layer | size |\n|---|---|\n| a | 10 |": "| 層 | 数 |\n|---|---|\n| イ | 10 |",
    "See Figure 8.3.1, section 8.3.1 and [the title](#8.3-A-title).": (
        "図8.3.1、8.3.1節、[表題](#8.3-A-title)を見よ。"
    ),
    "## References": "## 参考文献",
    "# first": "# 最初",
    "# A slide": "# スライド",
}
NOT_SHOWN = ("# 最初", "# スライド")  # in the texts of a notebook
INTERFACE = {
    "mention_figure": "図{number}",
    "mention_section": "{number}節",
    "language": "日本語",
    "output": "出力",
}
DRAWING = (
    '<svg xmlns="http://www.w3.org/2000/svg"><text x="1">two boxes &amp; 3</text>'
    "<text>1 x 2</text><text>no more</text></svg>"
)


@pytest.fixture
def book(project):
    """A small book with a Japanese translation of all of its section."""
    project.source_path("s").write_text(TEXT)
    (project.notebooks / "img/f.svg").write_text(DRAWING)
    catalogues.write(project, "ja", "s")
    change(project, lambda e: setattr(e, "msgstr", JAPANESE[e.msgid]))
    catalogues.write(project, "ja", "interface")
    translate = INTERFACE.get
    change(
        project, lambda e: setattr(e, "msgstr", translate(e.msgctxt, "")), "interface"
    )
    catalogues.update(project)
    editions.write(project, "s")
    for f in FRAMEWORKS:
        run(project.edition_path("s", f), f)
    editions.write(project, "s")
    return project


def write_source(book, text):
    book.source_path("s").write_text(text)


def run(path, framework):
    """Give every code cell an output, as running would."""
    nb = nbformat.read(path, as_version=4)
    for i, cell in enumerate(c for c in nb.cells if c.cell_type == "code"):
        cell.execution_count = i + 1
        cell.outputs = [new_output("stream", text=f"out {i} of {framework}\n")]
    path.write_text(editions.dumps(nb))


def change(book, edit, name="s"):
    po = polib.pofile(str(catalogues.catalogue_path(book, "ja", name)), wrapwidth=78)
    for entry in po:
        edit(entry)
    po.save()
    catalogues.write(book, "ja", name)


def texts(nb):
    return "\n\n".join(c.source for c in nb.cells if c.cell_type == "markdown")


# The units -----------------------------------------------------------------------


def test_the_units_of_a_section(book):
    found = [(u.context, u.text) for u in translation.units(book, "s")]
    assert [text for _, text in found] == [
        *[t for t in JAPANESE if t not in ("# first", "# A slide", "## References")],
        *("# first", "# A slide", "## References"),
    ]
    assert ("code", "# first") in found and all(
        context == "" for context, text in found if text != "# first"
    )


@pytest.mark.parametrize("section", SECTIONS)
def test_blocks_are_all_of_the_text(section):
    for cell in own_cells(BOOK, section):
        if cell.kind == "markdown":
            parts = ["\n".join(part) for part, _ in translation.blocks(cell.source)]
            assert "\n".join(parts) == cell.source


# Drift ---------------------------------------------------------------------------


def test_a_complete_translation(book):
    assert catalogues.report(book, "ja", "s") == ["ja s: 12 of 12 translated (100%)"]
    said = texts(editions.edition(book, "s", "jax", "ja"))
    said = re.sub(r"data:image[^)]*", "img/f.svg", said)
    assert all(text in said for text in JAPANESE.values() if text not in NOT_SHOWN)
    assert "lang=" not in said and "One, O. (2001). A paper." in said
    assert r"- \hat{y} = 1" in said and "not = text" in said and "slide" not in said
    assert "JAXの行" not in texts(editions.edition(book, "s", "mxnet", "ja"))


def test_a_changed_paragraph_outdates_its_translation_alone(book, capsys):
    write_source(book, TEXT.replace("A paragraph on two", "A paragraph on three"))
    assert catalogues.update(book, check=True)  # stale
    said = capsys.readouterr().out
    assert "notebooks/locale/ja/s.po is stale: run `make notebooks`" in said
    assert "ja s: 11 of 12 translated (91%)" in said
    assert "s.po: outdated: 'A paragraph on three lines, with" in said

    def check():
        shown = texts(editions.edition(book, "s", "jax", "ja"))
        assert "段落" not in shown and "表題" in shown
        block = shown[shown.index("<div") : shown.index("</div>")]
        assert block.startswith('<div lang="en" class="untranslated">\n\nA paragraph')
        assert '<small lang="ja">' in block

    check()  # before the catalogue is brought up to date, and after
    assert editions.stale(book, "s")
    assert catalogues.update(book) and not catalogues.update(book, check=True)
    check()
    entry = next(e for e in catalogues.read(catalogues.catalogue_path(book, "ja", "s"))
                 if e.fuzzy)  # fmt: skip
    assert entry.previous_msgid.startswith("A paragraph on two")
    assert entry.msgstr == "$x_1$を含む段落[1]。"
    # The edit is undone: so is the mark.
    write_source(book, TEXT)
    catalogues.update(book)
    assert catalogues.report(book, "ja", "s") == ["ja s: 12 of 12 translated (100%)"]


def test_other_line_ends_outdate_nothing(book):
    write_source(
        book,
        TEXT.replace("two\nlines,", "two lines,\n").replace("item\n  on", "item on"),
    )
    assert not catalogues.update(book, check=True)


def test_what_is_gone_is_kept_as_obsolete(book):
    write_source(book, TEXT.replace("## 8.3.1 Numbers\n", ""))
    catalogues.update(book)
    po = catalogues.read(catalogues.catalogue_path(book, "ja", "s"))
    assert [e.msgstr for e in po if e.obsolete] == ["## 8.3.1 数"]
    write_source(book, TEXT)
    catalogues.update(book)
    assert catalogues.report(book, "ja", "s") == ["ja s: 12 of 12 translated (100%)"]


def test_a_changed_string_of_the_interface_is_shown_in_english(project, monkeypatch):
    catalogues.write(project, "ja", "interface")
    change(project, lambda e: setattr(e, "msgstr", f"訳 {e.msgctxt}"), "interface")
    assert catalogues.strings(project, "ja")["copy"] == "訳 copy"
    new = {**catalogues.english(), "copy": "Take"}
    monkeypatch.setattr(catalogues, "english", lambda: new)
    assert catalogues.strings(project, "ja")["copy"] == "Take"
    catalogues.write(project, "ja", "interface")
    assert catalogues.strings(project, "ja")["copy"] == "Take"
    assert catalogues.strings(project, "ja")["copied"] == "訳 copied"


def test_a_language_begins_untranslated(project):
    write_source(project, TEXT)
    assert catalogues.main(["fr"], project) == 0
    assert catalogues.report(project, "fr", "s") == ["fr s: 0 of 12 translated (0%)"]
    assert catalogues.languages(project, "s") == ("en",)
    assert {p.parts[-3] for p in editions.products(project, "s")} & {"fr"} == set()


# Drawings ------------------------------------------------------------------------


def test_a_drawing_is_translated(book, capsys):
    path = book.notebooks / "img/ja/f.svg"
    assert not path.exists()  # while nothing of it is translated
    said = {"two boxes & 3": "箱 < 2 & 3"}
    change(book, lambda e: setattr(e, "msgstr", said.get(e.msgid, "")), "drawings")
    assert catalogues.update(book, check=True)
    assert "notebooks/img/ja/f.svg is stale" in capsys.readouterr().out
    assert catalogues.update(book) and not catalogues.update(book, check=True)
    made = path.read_text()
    assert ">箱 &lt; 2 &amp; 3</text><text>1 x 2</text><text>no more</text>" in made
    assert made.startswith('<svg lang="ja" ')
    text = catalogues.translate(book, read_source(book, "s"), "s", "ja")[0].source
    assert "![二つの箱](img/ja/f.svg)" in text
    assert "](img/" not in texts(
        editions.edition(book, "s", "jax", "ja")
    )  # it is embedded
    assert pages.main(["--out", str(book.root / "html")], book) == 0


# Editions ------------------------------------------------------------------------


@pytest.mark.parametrize("f", FRAMEWORKS)
def test_outputs_are_those_of_the_english_edition(book, f):
    ours = nbformat.read(book.edition_path("s", f, "ja"), as_version=4)
    english = nbformat.read(book.edition_path("s", f), as_version=4)
    ran = [c for c in ours.cells if c.cell_type == "code"]
    assert [c.outputs for c in ran] == [
        c.outputs for c in english.cells if c.cell_type == "code"
    ]
    assert f"out 1 of {f}" in ran[1].outputs[0].text and ran[1].execution_count == 2
    assert ran[1].source.endswith("plot('a label', \"# no comment\")  # 最初")
    assert editions.stale(book, "s") == {}


def test_a_label_is_translated_where_the_catalogue_gives_it(book):
    path = catalogues.catalogue_path(book, "ja", "s")
    po = catalogues.read(path)
    po.append(polib.POEntry(msgctxt="code", msgid="'a label'", msgstr="'軸'"))
    po.save()
    catalogues.write(book, "ja", "s")
    cell = editions.edition(book, "s", "jax", "ja").cells[-2]
    assert cell.source == "plot('軸', \"# no comment\")  # 最初"
    assert catalogues.report(book, "ja", "s") == ["ja s: 13 of 13 translated (100%)"]


def japanese():
    return [
        (section, language)
        for section in SECTIONS
        for language in catalogues.languages(BOOK, section)
        if language != "en"
    ]


@pytest.mark.parametrize("section, language", japanese())
@pytest.mark.parametrize("f", FRAMEWORKS)
def test_code_is_the_same_in_every_language(section, language, f):
    """But for comments and listed labels; and it fits into the lines."""
    entries = catalogues.entries(BOOK, language, section)
    labels = {ast.literal_eval(v): ast.literal_eval(m)
              for (c, m), v in entries.items() if c and m[0] != "#"}  # fmt: skip

    class Back(ast.NodeTransformer):
        def visit_Constant(self, node):
            return ast.Constant(labels.get(node.value, node.value))

    ours = editions.edition(BOOK, section, f, language)
    for cell, english in zip(ours.cells, editions.edition(BOOK, section, f).cells):
        assert cell.cell_type == english.cell_type
        if cell.cell_type == "code":
            assert cell.outputs == english.outputs
            assert cell.execution_count == english.execution_count
            if "%pip" not in cell.source:
                new = Back().visit(ast.parse(cell.source))
                assert ast.dump(new) == ast.dump(ast.parse(english.source))
            for line in cell.source.split("\n"):
                wide = re.findall(r"[\u3000-\u9fff\uff00-\uff60]", line)
                assert len(line) + len(wide) <= 78, line


# Agreement -----------------------------------------------------------------------


SOURCE = (
    "See $x_1$ in *this* [1], Figure 8.3.1: 25,088 rows of `f(x)`, ten [maps](a.md)."
)
GOOD = "[1]の図8.3.1で$x_1$を*見よ*、25,088行の`f(x)`、10枚の[マップ](a.md)。"


@pytest.mark.parametrize(
    "old, new, kind",
    [
        ("", "", None),
        ("10枚", "十枚", None),
        ("10枚", "12枚", "numbers: adds '12'"),
        ("25,088", "25,008", "numbers: lacks '25,088'"),
        ("$x_1$", "$x_2$", "formulas: lacks 'x_1'"),
        ("[1]", "[2]", "citations: lacks '1'"),
        ("`f(x)`", "`f(y)`", "code: lacks 'f(x)'"),
        ("`f(x)`", "f(x)", "code: lacks 'f(x)'"),
        ("(a.md)", "(b.md)", "links: lacks 'a.md'"),
        ("*見よ*", "見よ", "emphasis: lacks 'em'"),
        ("*見よ*、", "*「見よ」*は", "emphasis: lacks 'em'"),  # not as CommonMark reads
        ("*見よ*", "*見よ**", "stars: adds"),
        ("図8.3.1", "8.3.1", "mentions: lacks ('figure', '8.3.1')"),
        ("、25", "、\n25", "lines: adds"),
    ],
)
def test_what_does_not_agree(old, new, kind):
    text = GOOD.replace(old, new, 1)
    found = agreement.differences(SOURCE, text, catalogues.strings(BOOK, "ja"))
    assert (found == []) if kind is None else any(kind in line for line in found)


def test_lists_tables_and_headings_keep_their_form():
    forms = catalogues.strings(BOOK, "ja")
    for source, text in (
        ("* a\n* b", "* a、b\n"),
        ("| a | b |\n|---|---|\n| c | d |", "| a | b |\n|---|---|\n| c |"),
        ("## 8.3.1 A", "## 8.3.1　A"),
        ("## A", "### A"),
    ):
        assert agreement.differences(source, source, forms) == []
        assert agreement.differences(source, text, forms) != []


def test_terms_and_style(tmp_path):
    (tmp_path / "glossary.csv").write_text(
        "english,translation,demanded\n"
        "pool,プーリング,\ndense layer,全結合層|密結合層,yes\nlayer,層,yes\n"
    )
    (tmp_path / "style.csv").write_text("avoid,instead\nです[。],である\n")
    terms = agreement.Terms(tmp_path)
    assert terms.faults("Dense layers pool.", "全結合層。") == []
    assert terms.faults("A layer; `dense layer`", "層") == []
    assert terms.faults("Dense layers", "層") == [
        "term: dense layer is 全結合層 or 密結合層"
    ]
    assert terms.faults("Dense layers", "層", {"dense layer"}) == []
    assert terms.faults("A", "これです。") == ["style: 'です。': である"]


@pytest.mark.parametrize("language", ["ja", "zh"])
def test_what_readers_type_is_put_into_words_that_are_there(language):
    texts = "".join(
        e.msgstr
        for section in BOOK.sections
        for e in catalogues.read(BOOK.locale / language / f"{section}.po")
        if catalogues.is_used(e)
    )
    words = catalogues.other_words(BOOK, language)
    assert words and words == catalogues.strings(BOOK, language)["other_words"]
    for typed, written in words.items():
        assert typed not in texts and written in texts, typed
        assert typed == unicodedata.normalize("NFKC", typed).lower()
    assert catalogues.strings(BOOK)["other_words"] == {}


def test_the_command_names_what_does_not_agree(book, capsys):
    path = catalogues.catalogue_path(book, "ja", "s")
    assert agreement.main([str(path)], book) == 0
    change(book, lambda e: setattr(e, "msgstr", e.msgstr.replace("$x_1$", "$x_3$")))
    assert agreement.main([str(path)], book) == 1
    said = capsys.readouterr().out
    assert "formulas: lacks 'x_1'" in said and "12 of 12 translated (100%)" in said
    change(book, lambda e: setattr(e, "tcomment", "differs: x_1; x_3"))
    assert agreement.main([str(path)], book) == 0


# Pages ---------------------------------------------------------------------------


@pytest.fixture
def built(book, tmp_path):
    out = tmp_path / "html"

    def build(*arguments):
        assert pages.main(["--out", str(out), *arguments], book) == 0
        read = [out / "s.html", out / "ja/s.html"]
        return [BeautifulSoup(p.read_text("utf-8"), "html.parser") for p in read]

    return build


def test_pages_in_two_languages_have_the_same_places(built):
    english, ja = built()
    assert english.html["lang"] == "en" and ja.html["lang"] == "ja"
    assert [e["id"] for e in english.select("[id]")] == [
        e["id"] for e in ja.select("[id]")
    ]
    assert [c.name for c in english.main.find_all(recursive=False)] == [
        c.name for c in ja.main.find_all(recursive=False)
    ]
    found = {a.text: a["href"] for a in ja.select("main a:not(.permalink)")}
    assert found["図8.3.1"] == "#figure-8.3.1" and found["[1]"] == "#reference-1"
    assert found["8.3.1節"] == "#numbers" and found["表題"] == "#8.3-A-title"
    assert ja.find(id="figure-8.3.1").text == "図8.3.1　箱。"
    assert ja.select_one("ol")["lang"] == "en" and "lang" not in english.ol.attrs
    assert [p["lang"] for p in ja.select(".output pre")] == 4 * ["en"]
    assert "# 最初" in ja.select_one(".input").text


def test_the_switch_and_the_notebooks_of_a_language(built):
    english, ja = built()
    link = english.select_one(".languages a")
    assert (link["href"], link["lang"], link.text) == ("ja/s.html", "ja", "日本語")
    back = ja.select_one(".languages a")
    assert (back["href"], back["lang"], back.text) == ("../s.html", "en", "English")
    assert ja.select_one("a[download]")["href"] == "../notebooks/ja/pytorch/s.ipynb"
    assert ja.select_one(".output")["aria-label"] == "出力"
    assert english.select_one(".output")["aria-label"] == "Output"


def test_a_page_shows_outdated_text_in_english_and_says_so(built, book):
    write_source(book, TEXT.replace("See Figure", "Look at Figure"))
    for f in FRAMEWORKS:  # the outputs still hold
        assert editions.is_executed(editions.edition(book, "s", f).cells)
    english, ja = built()
    (block,) = ja.select(".untranslated")
    assert block["lang"] == "en" and block.p.text.startswith("Look at Figure")
    assert [a["href"] for a in block.select("a")] == [
        "#figure-8.3.1",
        "#numbers",
        "#8.3-A-title",
    ]
    assert block.small["lang"] == "ja"
    assert block.parent.name == "main"  # one block, as on the English page
    assert len(english.main.find_all(recursive=False)) == len(
        ja.main.find_all(recursive=False)
    )


def test_a_section_without_translation_is_shown_in_english(book, tmp_path):
    text = TEXT.replace("8.3", "8.4").replace("no comment", "none")
    two = replace(book, sections=("s", "t"))
    two.source_path("t").write_text(text)
    assert catalogues.update(two)  # its catalogue is empty
    editions.write(two, "t")
    for f in FRAMEWORKS:
        run(two.edition_path("t", f), f)
    assert not catalogues.is_translated(two, "ja", "t")
    assert catalogues.languages(two, "t") == ("en",)
    assert pages.main(["--out", str(tmp_path / "html")], two) == 0
    ja = BeautifulSoup((tmp_path / "html/ja/t.html").read_text(), "html.parser")
    assert ja.html["lang"] == "ja" and ja.main["lang"] == "en"
    assert ja.select_one("main > .note")["lang"] == "ja"
    assert ja.select_one("a[download]")["href"] == "../notebooks/pytorch/t.ipynb"
    assert "A paragraph on two" in ja.main.text and not ja.select(".untranslated")
