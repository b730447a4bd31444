"""The HTML book on a made-up section: structure and errors."""

import base64
import dataclasses
import io
import json
import re
from types import SimpleNamespace

import nbformat
import pytest
from bs4 import BeautifulSoup
from made_book import (
    ALL,
    CELLS,
    SVG,
    TITLES,
    add_section,
    code,
    make_book,
    png,
    text,
)
from nbformat import v4
from PIL import Image

from book.pages import exporter, markup, pages
from book.source.book import SECTIONS
from book.translate import catalogues
from d2l_utils.frameworks import FRAMEWORKS


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("book")
    assert pages.main(["--out", str(folder / "html")], make_book(folder)) == 0
    return folder / "html"


@pytest.fixture(scope="module")
def html(built):
    return (built / "mini.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def soup(html):
    return BeautifulSoup(html, "html.parser")


# Structure ----------------------------------------------------------------------


def test_each_group_has_a_tab_and_a_panel_for_each_framework(soup):
    groups = soup.select(".group")
    assert len(groups) == 4  # three runs of code, and the facts
    ids = [element["id"] for element in soup.select("[id]")]
    assert len(ids) == len(set(ids))
    for group in groups:
        tabs, panels = group.select("[role=tab]"), group.select("[role=tabpanel]")
        assert [t["data-framework"] for t in tabs] == list(ALL)
        assert [t.text for t in tabs] == list(TITLES.values())
        assert [p["data-only"] for p in panels] == list(ALL)
        assert [t["aria-controls"] for t in tabs] == [p["id"] for p in panels]
        assert [p["aria-labelledby"] for p in panels] == [t["id"] for t in tabs]
        assert [t["aria-selected"] for t in tabs] == ["true"] + 3 * ["false"]
        assert [t["tabindex"] for t in tabs] == ["0"] + 3 * ["-1"]
        assert [p.select_one(".label").text for p in panels] == list(TITLES.values())


def test_each_code_is_followed_by_its_outputs_in_the_panel_of_its_framework(soup):
    for framework in ALL:
        panel = soup.select_one(f"#g1-{framework}")
        kinds = [c["class"][0] for c in panel.find_all("div", recursive=False)]
        assert kinds == ["input", "output", "input", "output"]
        inputs, outputs = panel.select(".input"), panel.select(".output")
        mine = "torch" if framework == "pytorch" else "others"
        assert inputs[0].text.startswith("print('first')")
        assert inputs[1].text.strip() == f"draw('{mine}')"
        assert f"out 1 of {framework}" in outputs[0].text
        assert f"out 1 of {framework} <b>&</b>" in outputs[0].text  # escaped
        others = set(ALL) - {framework}
        assert not any(f"of {other}" in panel.text for other in others)
    for framework in ("pytorch", "mxnet", "tensorflow"):
        panel = soup.select_one(f"#g2-{framework}.missing")
        assert [b["data-framework"] for b in panel.select("button")] == ["jax"]
    assert "only_jax()" in soup.select_one("#g2-jax:not(.missing)").text
    assert [g["class"] for g in soup.select(".uneven")] == [["group", "uneven"]]


def test_set_up_is_left_out_and_facts_stand_at_the_foot(soup):
    assert "import nothing" not in soup.text and "choose()" not in soup.text
    foot = soup.select_one("main > footer")
    assert "out 10 of jax" in foot.select_one("#g4-jax").text
    assert "facts()" not in foot.text and not foot.select(".input")
    assert not foot.find_next_sibling()


def test_answers_are_folded_and_questions_are_not(tmp_path):
    cells = [
        text("# Exercises\n\nWhy?"),
        code("given()"),
        code("answer()", tags=("model", "solution")),
        text("Because.", ("solution",)),
        code("also()", tags=("solution",)),
        code("check()"),
        text("And why not?\n\n## `1x1` or *3*\n\nWhich?"),
        text("No reason.", ("solution",)),
        code("nothing()"),
        text("Nor here.", ("solution",)),
    ]
    assert pages.main(["--out", str(tmp_path)], make_book(tmp_path, cells)) == 0
    soup = BeautifulSoup((tmp_path / "mini.html").read_text(), "html.parser")
    first, second, third = soup.select("main > details")
    assert third.summary.text == "Answer: in words 2 1x1 or 3"  # the second of a kind
    assert not first.has_attr("open") and first.summary.text == "Answer: result"
    assert second.summary.text == "Answer: in words 1x1 or 3"
    folds = [d["id"] for d in (first, second, third)]
    assert folds == ["answer-1", "answer-2", "answer-3"]
    for word in ("answer()", "Because.", "also()"):
        assert word in first.text and soup.text.count(word) == first.text.count(word)
    assert "No reason." in second.text and not second.select(".group")
    for word in ("Why?", "given()", "check()", "And why not?"):
        assert word not in first.text + second.text
    assert len(soup.select("main > .group")) == 3
    (_, _, parts), *_ = json.loads(soup.find("script", id="book").text)["index"]
    found = {a: (head, said, code, answer) for a, head, said, code, answer in parts}
    assert found["answer-2"] == ("1x1 or 3", "No reason.", [], 1)
    assert "Because." in found["answer-1"][1] and found["exercises"][3] == 0
    assert "Because." not in found["exercises"][1]


def test_a_question_is_searched_without_its_answer(tmp_path):
    """The answer is a part of its own, folded, as those of exercises."""
    fold = (
        '<details class="answer">\n<summary>\n\n{}\n\n</summary>\n\n{}\n\n</details>\n'
    )
    asked = (
        fold.format("Why $x$?", "Because of $y$.") + "\n" + fold.format("When?", "Now.")
    )
    cells = [
        text("# 8.3 Title\n\nBefore.\n\n## Questions\n\n" + asked),
        text("## After\n\n" + fold.format("Who?", "We.")),
        code("last()"),
        text("In words.", ("solution",)),
    ]
    assert pages.main(["--out", str(tmp_path)], make_book(tmp_path, cells)) == 0
    soup = BeautifulSoup((tmp_path / "mini.html").read_text("utf-8"), "html.parser")
    folds = {d["id"]: " ".join(d.text.split()) for d in soup.select("details.answer")}
    assert folds["question-1"] == "Why x? Because of y."
    assert [*folds] == ["question-1", "question-2", "question-3", "answer-1"]
    assert all(d.summary.find("p") for d in soup.select("details[id^=question]"))
    (_, _, parts), *_ = json.loads(soup.find("script", id="book").text)["index"]
    said = {a: (head, text, answer) for a, head, text, _, answer in parts}
    assert said["questions"] == ("Questions", "Why x? When?", 0)
    assert said["question-1"] == ("Questions", "Because of y.", 1)
    assert said["question-2"][1:] == ("Now.", 1)
    assert said["question-3"] == ("After", "We.", 1) and said["after"][1] == "Who?"


def test_pages_to_hand_out_have_no_answers(tmp_path):
    cells = [
        text("# Exercises\n\nWhy?"),
        code("the_answer()", tags=("solution",)),
        text("Because.", ("solution",)),
        code("given()"),
    ]
    book = make_book(tmp_path, cells)
    assert pages.main(["--out", str(tmp_path), "--answers", "no"], book) == 0
    html = (tmp_path / "mini.html").read_text()
    assert "given" in html and "Why?" in html and '<details class="answer' not in html
    for word in ("the_answer", "Because", "out 2 of"):
        assert word not in html
    assert pages.main(["--out", str(tmp_path)], book) == 0  # from the cache or not
    assert "Because" in (tmp_path / "mini.html").read_text()


def test_passages_for_some_tabs_are_labelled(soup):
    passages = soup.select(".only")
    assert [p["data-only"] for p in passages] == ["jax", "pytorch mxnet"]
    assert [p.select_one(".label").text for p in passages] == ["JAX", "PyTorch, MXNet"]
    assert passages[0].strong.text == "key" and ":::" not in soup.text
    common = soup.find("p", string="Common text.")
    assert common.find_parent(attrs={"data-only": True}) is None


def test_nothing_is_loaded(soup, html):
    for element in soup.find_all(True):
        for name in {"src", "srcset", "data", "poster", "action"} & set(element.attrs):
            assert element[name].startswith("data:"), element
        if element.name == "link":
            assert element["href"].startswith("data:")
    assert "@import" not in html and not re.search(r"url\(\s*['\"]?http", html)
    policy = soup.find("meta", {"http-equiv": "Content-Security-Policy"})["content"]
    assert policy.startswith("default-src 'none'") and "http" not in policy


def test_nothing_from_notebooks_can_run(soup, html):
    ours = [script.get("type") for script in soup.find_all("script")]
    assert ours == [None, None, "application/json"] and "hack" not in soup.head.text
    for element in soup.find_all(True):
        assert not [name for name in element.attrs if name.startswith("on")]
        assert not element.get("href", "").startswith("javascript")
    output = soup.select_one("#g1-jax .output")
    assert output.td.text == "7" and "hack()" not in output.text
    assert output.select_one(".ansi-red-fg").text == "red"


@pytest.mark.parametrize(
    "trap",
    [
        "<script>hack()</script>",
        "<SCRIPT SRC=//x.org/a.js></SCRIPT>",
        "<scr<script>ipt>hack()</script>",
        "<img src=x onerror=hack()>",
        "<img src='https://x.org/a.png'>",
        "<img src='data:text/html,hack'>",
        "<img src='data:image/png;base64,AA' onload=hack()>",
        "<svg onload=hack()><animate onbegin=hack()></svg>",
        "<svg><style><img src=x onerror=hack()></style></svg>",
        "<math><mtext><table><mglyph><style><img src=x onerror=hack()>",
        "<a href='javascript:hack()'>x</a>",
        "<a href='JaVa&#115;cript&colon;hack()'>x</a>",
        "<a href=' java\tscript:hack()'>x</a>",
        "<a href='vbscript:hack()'>x</a>",
        "<a href='data:text/html,hack'>x</a>",
        "<a href=' DA\nTA:text/html,hack'>x</a>",
        "<iframe srcdoc='<script>hack()</script>'></iframe>",
        "<object data='javascript:hack()'></object>",
        "<embed src='javascript:hack()'>",
        "<form action='javascript:hack()'><button formaction='javascript:hack()'>",
        "<base href='https://x.org/'>",
        "<meta http-equiv=refresh content='0;url=javascript:hack()'>",
        "<link rel=stylesheet href='https://x.org/a.css'>",
        "<style>@import 'https://x.org/a.css'</style>",
        "<p style='background: url(https://x.org/a.png); position: fixed'>x</p>",
        "<noscript><p title='</noscript><img src=x onerror=hack()>'>",
        "<template><img src=x onerror=hack()></template>",
        "<input autofocus onfocus=hack()>",
        "<video poster='https://x.org/a.png'><source src=x onerror=hack()></video>",
        "<p title='\"><img src=x onerror=hack()>'>x</p>",
        "<!--><img src=x onerror=hack()>-->",
        'https://x.org/"onmouseover=hack()',
        "[x](javascript:hack())",
        "[x](<JAVA&Tab;SCRIPT:hack()>)",
        "[x](data:text/html,hack)",
        "![x](data:image/svg+xml,<svg/onload=hack()>)",
        "<javascript:hack()>",
        "# <b onclick=hack()>A</b>",
        "`<b onclick=hack()>`",
        "[x]: javascript:hack()\n\n[x]",
    ],
)
def test_traps_are_taken_out(tmp_path, trap):
    """Of a source's text and of an output that is HTML."""
    strings = {**catalogues.english(), "lang": "en"}
    shown = markup.sanitize(trap)
    if "src=" not in trap.lower():  # there, other pictures than those are errors
        text = markup.Text(tmp_path, str, markup.Marks(), strings)
        shown += text.to_html(f"Text {trap}") + text.to_html(trap)
    for element in BeautifulSoup(shown, "html.parser").find_all(True):
        assert element.name in {*markup.TAGS}, shown
        address = re.sub(r"[\x00-\x20]", "", element.get("href", ""))  # as browsers do
        scheme = re.match(r"[a-z][a-z\d+.-]*:", address, re.I)
        assert scheme is None or scheme[0] == "https:", shown
        for name, value in element.attrs.items():
            assert not name.startswith("on"), shown
            assert name != "src" or value.startswith("data:image/"), shown
            assert name != "style" or "x.org" not in value, shown


def test_an_address_in_the_text_is_a_link(tmp_path):
    strings = {**catalogues.english(), "lang": "en"}
    text = markup.Text(tmp_path, str, markup.Marks(), strings)
    made = text.to_html("See https://x.org/a?b&c=1, [https://y.org](https://z.org).")
    links = BeautifulSoup(made, "html.parser").find_all("a")
    assert [(a["href"], a.text) for a in links] == [
        ("https://x.org/a?b&c=1", "https://x.org/a?b&c=1"),
        ("https://z.org", "https://y.org"),
    ]


@pytest.mark.parametrize(
    "text, room, words",
    [
        ("abc def", 7, "abc def"),
        ("abc def ghi", 8, "abc def …"),
        ("a" * 20, 8, "a" * 8 + " …"),
        (
            "\u7f51\u7edc\u4e2d\u7684\u7f51\u7edc",
            12,
            "\u7f51\u7edc\u4e2d\u7684\u7f51\u7edc",
        ),
        ("\u7f51\u7edc\u4e2d\u7684\u7f51\u7edc", 8, "\u7f51\u7edc\u4e2d\u7684…"),
        ("\u7f51\u7edc\u4e2d\uff0c\u7684\u7f51\u7edc", 10, "\u7f51\u7edc\u4e2d…"),
        ("\u7f51\u7edc\u3002\u7684\uff0c\u7f51\u7edc", 10, "\u7f51\u7edc\u3002"),
        ("\u7f51\u3002\u7edc\u7684\u7f51\u7edc", 10, "\u7f51\u3002\u7edc\u7684\u7f51…"),
    ],
)
def test_the_beginning_of_a_text_fits(text, room, words):
    """A Chinese character is two columns wide."""
    body = SimpleNamespace(marks=SimpleNamespace(texts={"title": "", "first": text}))
    assert pages.about(body, room) == words


def test_infinity_is_no_operator():
    """Else there is a space between it and its sign."""
    made = markup.mathml(r"-\infty", "inline")
    assert "<mi>&#x0221E;</mi>" in made and "<mo>&#x0221E;" not in made


def test_formulas_are_mathml(soup):
    formulas = soup.find_all("math")
    assert [f["display"] for f in formulas] == ["inline", "block"]
    assert "&#" not in formulas[1].text and formulas[1].mfrac is not None
    first = soup.main.find("p", class_=False)
    assert first.code.text == "code $y$" and first.find_all("code")[1].text == "$$"
    for element in first("code"):
        element.extract()
    assert re.findall(r"\$\S*", first.text) == ["$3,", "$5", "$10,"]


@pytest.mark.parametrize(
    "tex", [r"\frac{1}{", r"\nonsense x", "a & b", r"\text{<script>1</script>}"]
)
def test_bad_formulas_are_refused(tex):
    with pytest.raises(ValueError):
        markup.mathml(tex, "inline")


def test_aligned_equations():
    made = markup.mathml(r"\begin{aligned}a &= b\\ c &= d\end{aligned}", "block")
    assert made.count("<mtr>") == 2 and "(1)" not in made


def test_document(soup):
    assert soup.html["lang"] == "en"
    assert soup.title.text.startswith("8.3 A Made-up Section ")
    assert soup.title.text.endswith(catalogues.english()["book"])
    assert "width=device-width" in soup.find("meta", {"name": "viewport"})["content"]
    assert soup.select_one("header a")["href"] == "index.html"
    assert soup.find("a", string="the next part")["href"] == "mini.html#Random-Numbers"
    anchors = [h["id"] for h in soup.select("h1, h2")]
    assert anchors[:3] == [
        "a-made-up-section",
        "random-numbers",
        "random-numbers-2",
    ]
    assert soup.select_one("h2 a.permalink")["href"] == "#random-numbers"
    former = [h.span["id"] for h in soup.select("h1, h2")[:3]]  # as in Jupyter
    assert former == ["8.3-A-Made-up-Section", "Random-Numbers", "Random-Numbers-2"]
    assert soup.find("meta", {"name": "description"})["content"].startswith(
        "With x_1 <"
    )


def test_pictures_are_inside_with_alt_text(soup):
    drawing, *plots = soup.find_all("img")
    assert drawing["alt"] == "Two boxes, 1\N{MULTIPLICATION SIGN}1"
    assert base64.b64decode(drawing["src"].split(",")[1]).decode() == SVG
    assert [p["alt"] for p in plots] == ['a "grey" bar']
    assert (plots[0]["width"], plots[0]["height"]) == ("1400", "90")
    assert plots[0].find_parent(id="g1-pytorch")


def test_a_caption_describes_the_figure_above_it(tmp_path):
    """The last that was drawn; of what has none, what was printed with it."""
    cells = [
        text("# 8.3 Title"),
        code("before()"),
        code("draw()"),  # the third cell of a made-up source draws
        text("*Figure 8.3.1. Two `bars`, $x$ high.*\n\nText."),
    ]
    for caption, alt in (
        (cells[3:], "Figure 8.3.1. Two bars, x high."),
        (
            [text("*Emphasis* at the beginning.")],
            "Figure: output of the JAX code. out 2 ",
        ),
    ):
        book = make_book(tmp_path, [*cells[:3], *caption])
        for framework in ALL:  # without the description that it came with
            spoil(book, framework, lambda c: None, keep_alt=False)
        assert pages.main(["--out", str(tmp_path / "html")], book) == 0
        html = (tmp_path / "html/mini.html").read_text("utf-8")
        picture = BeautifulSoup(html, "html.parser").select_one("#g1-jax img")
        assert picture["alt"].startswith(alt)


def test_without_script_everything_is_visible(soup, html):
    assert not soup.select("[hidden]:not(#found), [inert], main details, template")
    style = soup.style.text
    assert not re.search(r"visibility|aria-hidden", html.replace(style, ""))
    for rule in re.findall(r"([^{}]+)\{[^{}]*display: ?none", style):
        names = [part.strip() for part in rule.split(",")]
        printing = rule.strip().startswith(".top, .side")
        only_with_script = [[".tabs"], [".search"], [".missing"]]
        shown = names in only_with_script or all(".js" in n for n in names)
        assert printing or shown, rule


def test_same_input_same_bytes(built, html, tmp_path):
    assert (
        pages.main(["--section", "mini", "--out", str(tmp_path)], make_book(tmp_path))
        == 0
    )
    assert (tmp_path / "mini.html").read_text(encoding="utf-8") == html


def test_every_page_says_what_it_is(real_book):
    """In its language; and it can be printed with its licence."""
    said = {}
    for path in sorted(real_book.rglob("*.html")):
        text, name = path.read_text("utf-8"), path.relative_to(real_book).as_posix()
        head = BeautifulSoup(text.partition("<style>")[0], "html.parser")
        said[name] = head.find("meta", {"name": "description"})["content"]
        assert len(said[name]) > 30 and "<" not in said[name], name
        assert re.search(r'<footer class="licence">\w+', text), name
    assert len({*said.values()}) == len(said) == 3 * (len(SECTIONS) + 1) + 2
    assert re.search("[\u3040-\u30ff]", said["ja/index.html"])
    assert re.search("[\u4e00-\u9fff]", said["zh/index.html"])
    printing = pages.stylesheet({}).partition("@media print")[2]
    assert ".licence" not in printing


def test_the_first_page(built):
    soup = BeautifulSoup((built / "index.html").read_text("utf-8"), "html.parser")
    mini, later = soup.select("article")
    assert mini.h2.a["href"] == "mini.html" and mini.h2.text == "8.3 A Made-up Section"
    assert [a["href"] for a in mini.select(".of a")][3] == "mini.html?framework=jax"
    page = BeautifulSoup((built / "mini.html").read_text("utf-8"), "html.parser")
    said = page.find("meta", {"name": "description"})["content"].rstrip(" …")
    assert said and mini.p.text.startswith(said)
    assert mini.img["src"] == page.main.img["src"] and mini.img["alt"] == ""
    assert later.h2.text == "8.4 Later" and not later.find("a")
    assert later.p.text == "not run" and not (built / "later.html").exists()
    assert soup.main.find("a", href="api.html")
    assert soup.main.find("a", href="instructors.html")
    first = [a["href"] for a in soup.select("h2 + ul a")]
    assert "mini.html" in first  # where students begin


def test_the_first_page_of_the_real_book(real_book):
    """It leads to what is special, and says by what it was made."""
    soup = BeautifulSoup((real_book / "index.html").read_text("utf-8"), "html.parser")
    special, begin = soup.select("main > ul")
    hrefs = [[a["href"] for a in ul("a")] for ul in (special, begin)]
    assert hrefs[0] == ["parity.html", "nin.html", "googlenet.html", "parity.html"]
    assert hrefs[1] == ["nin.html", "instructors.html", "api.html"]
    assert len(soup.select("article img")) == len(SECTIONS)
    made = {dt.text: dd.text for dt, dd in zip(soup("dt"), soup("dd"))}
    for framework in FRAMEWORKS.values():
        text = made[framework.title]
        assert framework.base.split(".")[0] in text and re.search(r"20\d\d-\d\d", text)
    nin = BeautifulSoup((real_book / "nin.html").read_text("utf-8"), "html.parser")
    seen = nin.select_one("[data-live=conv1x1] img")
    assert soup.article.img["src"] == seen["src"]


def test_the_real_book_has_captions_and_links_to_what_it_cites(real_book):
    without = catalogues.english()["figure"].partition("{")[0]
    for section in SECTIONS:
        text = (real_book / f"{section}.html").read_text("utf-8")
        drawn = re.findall(r'alt="(Figure[^"]*)"', text)
        assert drawn and not [alt for alt in drawn if alt.startswith(without)]
        cited = re.findall(r'<li id="reference-\d+">(.*?)</li>', text, re.S)
        assert cited and all('<a href="http' in item for item in cited)


def test_the_page_of_functions_has_the_frame_of_the_others(built):
    soup = BeautifulSoup((built / "api.html").read_text("utf-8"), "html.parser")
    here = soup.select_one(".side [aria-current=page]")
    assert here.text == soup.h1.text and soup.select_one(".side a[href='mini.html']")
    links = [a["href"] for a in here.find_parent("li").select(".headings a")]
    assert "#Trainer" in links and all(soup.find("h2", id=a[1:]) for a in links)
    assert soup.select_one("header a")["href"] == "index.html"


def test_the_frame_leads_through_the_page(soup):
    assert soup.body.find(True).get("href") == "#text" and soup.main["id"] == "text"
    here = soup.select_one(".side [aria-current=page]")
    assert here.text == "8.3 A Made-up Section"
    links = here.find_parent("li").select(".headings a")
    assert [a["href"] for a in links] == ["#random-numbers", "#random-numbers-2"]


def test_neighbours(tmp_path):
    """Two sections lead to each other."""
    book = make_book(tmp_path, sections=("mini", "twin"))
    add_section(book, "twin", CELLS)
    assert pages.main(["--out", str(tmp_path / "html")], book) == 0
    for page, rel, there in (("mini", "next", "twin"), ("twin", "prev", "mini")):
        soup = BeautifulSoup(
            (tmp_path / f"html/{page}.html").read_text(), "html.parser"
        )
        assert [(a["rel"], a["href"]) for a in soup.select(".neighbours a")] == [
            ([rel], f"{there}.html")
        ]
        assert soup.select_one(f".side a[href='{there}.html']")


def test_the_search_has_what_is_said_below_each_heading(soup):
    data = json.loads(soup.find("script", type="application/json").text)
    ((section, title, parts),) = data["index"]
    assert (section, title, data["here"]) == ("mini", "8.3 A Made-up Section", "mini")
    texts = {anchor: (heading, text) for anchor, heading, text, *_ in parts}
    heading, text = texts["random-numbers"]
    assert heading == "Random Numbers" and text.startswith("Common text. JAX wants a")
    assert texts["random-numbers-2"][1] == "The end."
    first = texts["a-made-up-section"][1]
    assert "8.3" not in first and "(1)/" not in first
    assert (
        first.startswith("With x_1 < 2 and") and "\u0177 = 1/n\u2211_i=1^n x_i" in first
    )
    code = {anchor: dict(code) for anchor, _, _, code, _ in parts}
    assert code["random-numbers-2"] == {"jax": "only_jax"}  # and whose it is


@pytest.mark.parametrize(
    ("tex", "said"),
    [
        (r"\mathbf{Y}_{n,:,i,j} = \mathbf{W} x + b", "Y_n,:,i,j = Wx + b"),
        (r"\frac{a + b}{2}", "(a + b)/2"),
        (r"\ln 10 \approx 2.303", "ln 10 \u2248 2.303"),
        (r"k^2", "k^2"),
        (r"\sqrt{x}", "\u221a(x)"),
    ],
)
def test_formulas_are_readable_in_excerpts(tmp_path, tex, said):
    marks, strings = markup.Marks(), {**catalogues.english(), "lang": "en"}
    markup.Text(tmp_path, str, marks, strings).to_html(f"From ${tex}$ on.")
    assert marks.texts == {"": f"From {said} on."}


def test_paragraphs_without_spaces_are_searched_without(tmp_path):
    marks, strings = markup.Marks(), {**catalogues.english(), "lang": "zh"}
    text = markup.Text(tmp_path, str, marks, strings)
    text.to_html("\u7f51\u7edc\u3002\n\n\u7f51 NiN\n\nNiN")
    assert marks.texts == {"": "\u7f51\u7edc\u3002\u7f51 NiN NiN"}


def test_what_was_printed_fits_the_page():
    """Prose may be broken, columns never; wide tables are smaller."""
    prose = "A sentence of more than forty characters, which may be broken."
    table = f"{'name':40}{'value':>50}\nand a line of prose beneath it, which may break"
    assert exporter.wrapped(prose) == f'<span class="wrap">{prose}</span>'
    first, second = exporter.wrapped(table).split("\n")
    assert "wrap" not in first and "wrap" in second
    assert (exporter.density(prose * 3), exporter.density(table)) == ("", "dense")
    assert exporter.density("a  &lt;" + 80 * "b") == ""


def test_what_compares_frameworks_shows_all_of_them(tmp_path):
    book = make_book(tmp_path)
    for compares, classes in ((("mini",), ["compares"]), ((), None)):
        book = dataclasses.replace(book, compares=compares)
        assert pages.main(["--out", str(tmp_path / "html")], book) == 0
        soup = BeautifulSoup((tmp_path / "html/mini.html").read_text(), "html.parser")
        assert soup.main.get("class") == classes


def test_references_lead_to_papers(tmp_path):
    strings = {**catalogues.english(), "lang": "en"}
    text = markup.Text(tmp_path, str, markup.Marks(), strings)
    said = "One. arXiv:1312.4400, `arXiv:1312.4401`. Two (doi:10.1145/1498765.1498785)."
    said += " https://x.org/doi:10.1145/1?a&b."  # one link, not one in another
    made = BeautifulSoup(text.to_html(said), "html.parser")
    assert [(a["href"], a.text) for a in made("a")] == [
        ("https://arxiv.org/abs/1312.4400", "arXiv:1312.4400"),
        ("https://doi.org/10.1145/1498765.1498785", "doi:10.1145/1498765.1498785"),
        ("https://x.org/doi:10.1145/1?a&b", "https://x.org/doi:10.1145/1?a&b"),
    ]


def test_one_framework_needs_no_tabs(tmp_path):
    out = tmp_path / "html"
    assert (
        pages.main(["--framework", "jax", "--out", str(out)], make_book(tmp_path)) == 0
    )
    soup = BeautifulSoup((out / "jax/mini.html").read_text(), "html.parser")
    assert not soup.select("[role=tab], .label, .missing, [data-only]")
    assert "only_jax()" in soup.text and "draw('torch')" not in soup.text
    assert "JAX wants a key." in soup.text and "global seed" not in soup.text
    assert soup.select_one("a[download]")["href"] == "../notebooks/jax/mini.ipynb"


def test_only_what_changed_is_rendered_and_written_again(tmp_path, monkeypatch, capsys):
    book, out = make_book(tmp_path), ["--out", str(tmp_path / "html")]
    assert pages.main(out, book) == 0
    first = capsys.readouterr().out
    assert "as before" not in first
    monkeypatch.setattr(exporter, "render", None)  # not called again
    assert pages.main(out, book) == 0
    assert capsys.readouterr().out.count("as before") == first.count(" kB")
    monkeypatch.undo()
    edit(book, "The end.", "The end. Or is it?")
    assert pages.main(out, book) == 0
    assert "Or is it?" in (tmp_path / "html/mini.html").read_text()


def test_every_picture_has_a_description():
    """One is given to those that came without, and to no other."""
    data = "data:image/png;base64,AA"
    made = markup.sanitize(f"<p><img src='{data}'><img title='alt=\"\"' src='{data}'>")
    given = [img["alt"] for img in BeautifulSoup(made, "html.parser")("img")]
    assert len(given) == 2 and all(text.startswith("No desc") for text in given)
    said = f'<img src="{data}" alt="">'
    assert markup.sanitize(said) == said


def test_a_page_too_large_to_be_mailed_stops(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pages, "LIMIT", 10_000)
    assert pages.main(["--out", str(tmp_path)], make_book(tmp_path)) == 1
    assert re.search(
        r"mini.html would have [\d,]+ bytes, more", capsys.readouterr().err
    )
    assert not (tmp_path / "mini.html").exists()


def test_a_line_does_not_break_between_a_formula_and_its_comma(tmp_path):
    cells = [text("# A\n\nFrom $x$, ($y$) and $z$ on: $x$\u3002"), code("1")]
    assert pages.main(["--out", str(tmp_path)], make_book(tmp_path, cells)) == 0
    soup = BeautifulSoup((tmp_path / "mini.html").read_text(), "html.parser")
    assert [s.text for s in soup.select(".whole")] == ["x,", "(y)", "x\u3002"]


def test_pictures_keep_their_pixels():
    made = markup.picture(png(40, 30), "image/png", "grey")
    raw = base64.b64decode(made.split("base64,")[1].split('"')[0])
    image = Image.open(io.BytesIO(raw))
    assert image.size == (40, 30) and 'width="40" height="30"' in made
    assert image.convert("L").getextrema() == (0xA0, 0xA0)


# Errors -------------------------------------------------------------------------

IN_A_FENCE = "Start.\n\n:::{tab} jax\nText."


def edit(book, old, new):
    """Change the source; the outputs stay, as long as the code does."""
    path = book.source_path("mini")
    source = path.read_text()
    assert old in source
    path.write_text(source.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("WORDS", ":::{tab} caffe\nText.\n:::", "caffe", "Unknown tab 'caffe'.* jax"),
        ("WORDS", IN_A_FENCE, "{tab} jax", r"':::\{tab\}' is not closed"),
        ("WORDS", "Text.\n:::", ":::", "':::' closes nothing"),
        (
            "WORDS",
            f"{IN_A_FENCE}\n:::{{tab}} mxnet\n:::",
            "{tab} mxnet",
            r"begins before .*mini.md:\d+ is closed",
        ),
        ("WORDS", ":::{note}\nText.\n:::", "{note}", r"':::\{note\}' is not"),
        ("%%tab pytorch", "%%tab torch", "%%tab", "Unknown tab 'torch'"),
        ("WORDS", "Text.\n\n![a](img/none.png)", "![a]", r"none\.png does not exist"),
        ("WORDS", '<img src="img/none.png">', "<img", r"none\.png does not exist"),
        ("WORDS", "![a](https://x.org/a.png)", "![a]", "is on the network"),
        ("WORDS", "One\n$\\nonsense$", "$", "the formula .*unknown command"),
    ],
)
def test_bad_source_stops_with_file_and_line(tmp_path, capsys, old, new, line, message):
    book = make_book(tmp_path, [text("# Title"), text("WORDS"), code("1")])
    edit(book, old, new)
    rows = book.source_path("mini").read_text().split("\n")
    number = next(i for i, row in enumerate(rows, 1) if line in row)
    assert pages.main(["--out", str(tmp_path / "html")], book) == 1
    said = capsys.readouterr().err
    assert re.match(rf"notebooks/mini\.md:{number}: .*{message}", said), said
    assert said.count("\n") == 1 and not (tmp_path / "html").exists()


def test_a_place_is_that_of_the_cell_and_not_of_the_same_words_before_it(
    tmp_path, capsys
):
    picture = "![a](img/none.png)"
    cells = [text(f"# Title\n\n```\n{picture}\n```"), text(picture), code("1")]
    book = make_book(tmp_path, cells)
    assert pages.main(["--out", str(tmp_path / "html")], book) == 1
    rows = book.source_path("mini").read_text().split("\n")
    _, second = (i for i, row in enumerate(rows, 1) if row == picture)
    assert f"mini.md:{second}: the picture" in capsys.readouterr().err


def spoil(book, framework, change, keep_alt=True):
    """Change the last code cell but one of a stored edition."""
    path = book.edition_path("mini", framework)
    nb = nbformat.read(path, as_version=4)
    code = [c for c in nb.cells if c.cell_type == "code"]
    change(code[-2])
    for output in [] if keep_alt else [o for c in code for o in c.outputs]:
        output.get("metadata", {}).clear()
    nbformat.write(nb, path)
    return book


def test_missing_outputs_stop(tmp_path, capsys):
    book = spoil(make_book(tmp_path), "jax", lambda c: c.update(execution_count=None))
    assert pages.main(["--out", str(tmp_path / "html")], book) == 1
    said = capsys.readouterr().err
    assert re.search(r"jax/mini\.ipynb has no stored outputs.*FRAMEWORK=jax", said)


def test_a_section_asked_for_must_be_there(tmp_path, capsys):
    book, out = make_book(tmp_path), ["--out", str(tmp_path / "html")]
    assert pages.main(["--section", "later", *out], book) == 1
    assert "no stored outputs" in capsys.readouterr().err
    for wrong in (["--section", "nim"], ["--framework", "caffe"]):
        with pytest.raises(SystemExit) as error:
            pages.main([*wrong, *out], book)
        assert error.value.code == 2
        assert re.search("invalid choice.*(mini|jax)", capsys.readouterr().err)


def test_a_stored_error_stops(tmp_path, capsys):
    def fail(cell):
        error = v4.new_output("error", ename="NameError", evalue="x", traceback=[])
        cell.outputs = [error]

    argv = ["--out", str(tmp_path / "html")]
    assert pages.main(argv, spoil(make_book(tmp_path), "mxnet", fail)) == 1
    assert "mxnet/mini.ipynb: a stored output is an error" in capsys.readouterr().err
