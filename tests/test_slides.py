"""Decks: what a slide shows of a cell, what is said about it, and for how long."""

import json
import re

import pytest
import test_pages_browser as in_browser
from bs4 import BeautifulSoup
from made_book import code, make_book, text
from nbformat import v4

from book.pages import printed, slides
from book.source.book import BOOK
from book.source.reading import read_source
from book.translate import catalogues
from d2l_utils.frameworks import FRAMEWORKS

LESSONS = ("nin", "googlenet")
DECKS = (*LESSONS, "parity")
axe, browser = in_browser.axe, in_browser.browser
REVEAL = """
const all = () => [...document.querySelectorAll(".slides > section")];
let at = 0, run, moved;
const Reveal = {
  initialize(o) { window.options = o },
  getSlides: all, getCurrentSlide: () => all()[at],
  addKeyBinding(key, f) { window.press = f }, on(event, f) { moved = f },
  next() { at += 1; moved() }, prev() { at -= 1; moved() },
};
"""  # what start.js asks of it
# Of the styles of reveal.js, what places things.
STYLES = {
    "reset.css": "* { margin: 0; padding: 0; border: 0 } aside { display: none }",
    "reveal.css": ".slides > section { position: relative; width: 1280px }",
}


@pytest.fixture
def reveal(reveal):
    (reveal / "reveal.js").write_text(REVEAL)
    for name, style in STYLES.items():
        (reveal / name).write_text(style)
    return reveal


def made(folder, reveal, *cells, framework="jax"):
    book = make_book(folder, list(cells))
    html, found = slides.deck(book, "mini", framework, reveal)
    return BeautifulSoup(html, "html.parser").select(".slides > section"), found


def slide(words):
    return text(words, ("slide",))


# What was printed, as tables ------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        (  # aligned, with heads; columns may be empty
            "layer    output     MACs\n"
            "conv0   1x96x54  871,200\n"
            "total            871,200",
            [(["layer", "output", "MACs"],
              [["conv0", "1x96x54", "871,200"], ["total", "", "871,200"]])],
        ),
        (  # without: what stands around the numbers is the head
            "LeNet       61,706 parameters, 96% of them\n"
            "VGG    128,806,154 parameters, 93% of them\nalone: 4 MB",
            [(["", "parameters", "of them"],
              [["LeNet", "61,706", "96%"], ["VGG", "128,806,154", "93%"]]),
             "alone: 4 MB"],
        ),
        (  # the same words, another number
            "moved by 0 pixels: accuracy 0.831\nmoved by 2 pixels: accuracy 0.714",
            [(["moved by … pixels", "accuracy"], [["0", "0.831"], ["2", "0.714"]])],
        ),
        (  # a number that is always the same is a word, but where it begins a part
            "lr 0.04: dead for 4 seeds [6, 1], 0 gone\n"
            "lr 0.1: dead for 4 seeds [5, 9], 0 gone",
            [(["lr", "dead for 4 seeds", "gone"],
              [["0.04", "[6, 1]", "0"], ["0.1", "[5, 9]", "0"]])],
        ),
        (  # a name and what is said of it
            "same values: True\nmoves with its input: True",
            [(["", ""], [["same values", "True"], ["moves with its input", "True"]])],
        ),
        (  # powers of ten
            "one   loss 2.3, 2e-04 apart\nfour  loss 2.4, 9e-05 apart",
            [(["", "loss", "apart"],
              [["one", "2.3", "2e-04"], ["four", "2.4", "9e-05"]])],
        ),
        (  # names, and behind each the same words with other numbers
            "first half: nudged 0.1, others 0.3\nsecond half: nudged 2, others 4",
            [(["", "nudged", "others"],
              [["first half", "0.1", "0.3"], ["second half", "2", "4"]])],
        ),
        ("715x715 pixels", ["715x715 pixels"]),
        ("one line\nand  another", ["one line", "and another"]),
        ("", []),
    ],
)  # fmt: skip
def test_what_is_printed_becomes_a_table(lines, wanted):
    assert printed.tables(lines) == wanted


def test_a_head_may_begin_with_spaces():
    said = v4.new_output("stream", text="\n      lr  MACs\nnet  0.1    17\n\n")
    cell = v4.new_code_cell(outputs=[said])
    wanted = [(["", "lr", "MACs"], [["net", "0.1", "17"]])]
    assert printed.tables(slides.printed_text(cell)) == wanted


def test_tables_lose_nothing_but_rows_of_zeros():
    """Of all that our lessons printed: every word and number is in what is shown."""
    for section in DECKS:
        deck = slides.Deck(BOOK, section, "jax")
        for cell in deck.edition.values():
            lines = slides.printed_text(cell) if "outputs" in cell else ""
            lines = re.sub(r"^\w+ +\S+ +0 +0$", "", lines, flags=re.M)
            shown = BeautifulSoup(printed.as_html(lines), "html.parser").get_text(" ")
            left = set(re.findall(r"[\w.,/%]*\w[%\w]*", lines)) - set(
                re.findall(r"[\w.,/%]*\w[%\w]*", shown)
            )
            assert not left, lines


def test_a_share_gets_a_bar_and_html_is_text():
    html = printed.as_html("<b>a</b>: 0.5 of it\n<b>a</b>: 1.0 of it")
    soup = BeautifulSoup(html, "html.parser")
    assert not soup.b and soup.th.text == "<b>a</b> … of it"
    html = printed.as_html("net  accuracy\na    0.5\nb    1.0\nc    0")
    bars = [td.span["style"] for td in BeautifulSoup(html, "html.parser")("td")]
    widths = [float(re.search(r"[\d.]+", bar)[0]) for bar in bars]
    assert widths[1] == 2 * widths[0] > 0 == widths[2]


@pytest.mark.parametrize(
    ("lines", "bars"),
    [
        ("net  lr    of them\na    0.1   7%\nb    0.03  9.5%", ["of them"]),
        ("net  validation accuracy\na    0.1\nb    0.03", ["validation accuracy"]),
        ("net  accuracy, 95 % interval\na    0.1 ± 0.02\nb    0.9 ± 0.01", []),
        ("net  mean\na    0.1\nb    0.03", []),
        ("a  mean 0.1, 7% of it\nb  mean 0.3, 9% of it", ["of it"]),
    ],
)
def test_what_only_looks_like_a_share_gets_no_bar(lines, bars):
    soup = BeautifulSoup(printed.as_html(lines), "html.parser")
    heads = [th.text for th in soup.select("thead th")]
    with_bar = [bool(td.span) for td in soup.select("tbody tr")[1](["th", "td"])]
    assert [head for head, bar in zip(heads, with_bar, strict=True) if bar] == bars


def test_our_slides_have_bars_for_shares_alone():
    found = {}  # head: whether there is a bar
    for section in DECKS:
        deck = slides.Deck(BOOK, section, "jax")
        for at, _, _ in slides.plan(deck.cells, "jax"):
            if "{output}" in deck.cells[at].source:
                made = deck.output(at, deck.next_cell(at))
                for table in BeautifulSoup(made, "html.parser")("table"):
                    heads = [th.text for th in table.select("thead th")]
                    row = table.select_one("tbody tr")(["th", "td"])
                    for head, cell in zip(heads, row):
                        found[head] = bool(cell.span)
    assert found["of them in dense layers"] and found["accuracy"] and found["share"]
    assert not found["lr"] and not found["MACs"]


# Slides ---------------------------------------------------------------------------


def test_notes_are_the_text_up_to_the_next_slide(tmp_path, reveal):
    cells = [
        text("# 8.3 Title\n\nBefore."),
        slide("# First"),
        text(
            "After the first.\n\n:::{tab} jax\nFor JAX.\n:::\n:::{tab} mxnet\nNo.\n:::"
        ),
        slide("## Second\n\n{output}"),
        text("## Heading\n\nSaid [of](mini.md) it. ![picture](img/boxes.svg)"),
        code("draw()"),
        text("## References\n\n1. Not said."),
    ]
    (first, second), found = made(tmp_path, reveal, *cells)
    notes = [s.select_one("aside.notes") for s in (first, second)]
    said = [" ".join(n.text.split()) for n in notes]
    assert said[0] == "Before. After the first. For JAX."
    assert said[1].startswith("Said of it.") and "Not said" not in said[1]
    assert not notes[1].find(["a", "img"])
    assert [s["data-minutes"] for s in (first, second)] == ["1", "1"]
    assert [s.minutes for s in found] == [1, 1]


def test_what_stands_under_a_heading_goes_with_the_slide_below_it():
    cells = [
        *(text("# 8.3 Title\n\nOne."), slide("# First"), text("Two.")),
        text("Three.\n\n## Heading\n\nFour."),
        *(
            slide("## Second"),
            text("## Own\n\nFive."),
            text("Six.\n\n### More\n\nSeven."),
        ),
    ]
    spoken = [[t for _, t in parts] for _, parts, _ in slides.plan(cells, "jax")]
    assert spoken == [["One.", "Two.", "Three."], ["Four.", "Five.", "Six.", "Seven."]]


def test_minutes_follow_words_and_what_is_shown():
    def minutes(words, shows):
        cells = [slide("## A" + "\n\n{code}" * shows), text("word " * words)]
        ((_, _, found),) = slides.plan(cells, "jax")
        return found

    assert [minutes(n * slides.WORDS, False) for n in (0, 1, 4)] == [1, 1, 4]
    assert [minutes(n * slides.WORDS, True) for n in (0, 1, 4)] == [1, 2, 5]


def test_points_come_one_by_one(tmp_path, reveal):
    words = "## A\n\n+ one $x$\n+ two\n  lines\n\n- at once"
    (only,), _ = made(tmp_path, reveal, text("# T"), slide(words), code("1"))
    points = [" ".join(s.text.split()) for s in only.select("li > .fragment")]
    assert points[1] == "two lines" and len(points) == 2
    assert only.select_one("li > .fragment math")
    assert len(only.select("li")) == 3


def test_of_a_cell_that_drew_the_picture_is_shown_and_the_rest_said(tmp_path, reveal):
    # In a made-up book, the third cell of a source draws.
    (only,), _ = made(
        tmp_path, reveal, text("# T"), slide("## A\n\n{output}"), code("d()")
    )
    picture = only.select_one(".slide img")
    notes = only.select_one("aside.notes pre")
    assert picture and "out 2 of jax" in notes.text
    assert "out 2" not in only.select_one(".slide").text
    assert picture["alt"] == 'a "grey" bar'


def test_of_long_code_the_last_definition_is_shown():
    lines = [f"x{n} = {n}" for n in range(slides.LINES)]
    long = "\n".join([*lines, "", "class A:", "    y = 1"])
    assert slides.last_definition(long) == "class A:\n    y = 1"
    assert slides.last_definition("\n".join(lines)) == "\n".join(lines)


@pytest.mark.parametrize("section", LESSONS)
def test_a_lesson_is_a_lecture(section):
    """12 to 20 slides, at most 45 minutes, none too long for its slide."""
    cells = slides.told(BOOK, section)
    for framework in FRAMEWORKS:
        planned = slides.plan(cells, framework)
        assert 12 <= len(planned) <= 20
        minutes = [m for _, _, m in planned]
        assert 30 <= sum(minutes) <= 45 and max(minutes) <= 4


TOO_LARGE = """
return [...document.querySelectorAll(".slide")].filter((slide) => {
  const box = slide.getBoundingClientRect();
  const parts = slide.querySelectorAll(":not(.permalink, [id]:empty, math *)");
  return [slide, ...parts].some((e) => {
    const own = e.getBoundingClientRect();
    const cut = e.matches("pre, .slide") && (
      e.scrollHeight > e.clientHeight + 1 || e.scrollWidth > e.clientWidth + 1);
    return cut || own.top < box.top - 1 || own.bottom > box.bottom + 1
      || own.left < box.left - 1 || own.right > box.right + 1;
  });
}).map((slide) => slide.querySelector("h1, h2").textContent);
"""


def test_what_compares_frameworks_is_a_talk():
    """A dozen slides, about half an hour, and something to say with each."""
    cells = slides.told(BOOK, "parity")
    for framework in FRAMEWORKS:
        planned = slides.plan(cells, framework)
        assert 10 <= len(planned) <= 14
        minutes = [m for _, _, m in planned]
        assert 20 <= sum(minutes) <= 35 and max(minutes) <= 4
        assert all(spoken for _, spoken, _ in planned)


@pytest.mark.parametrize("section", DECKS)
@pytest.mark.parametrize(
    ("tab_name", "language"),
    [*((f, "en") for f in FRAMEWORKS), *(("jax", x) for x in catalogues.begun(BOOK))],
)
def test_our_slides_are_short(
    section, tab_name, language, tmp_path, reveal, browser, axe
):
    """By what stands on them, and by the room that it takes, of 1280x720."""
    html, found = slides.deck(BOOK, section, tab_name, reveal, language)
    path, drawn = tmp_path / "deck.html", 0
    path.write_text(html, encoding="utf-8")
    browser.get(path.as_uri())
    height = "return document.querySelector('.slide').clientHeight"
    assert browser.execute_script(height) == 720
    assert browser.execute_script(TOO_LARGE) == []
    if (section, tab_name, language) == ("nin", "jax", "en"):
        browser.execute_script(axe)
        in_browser.assert_accessible(browser, in_browser.WCAG, fewest=11)
    assert browser.get_log("browser") == []
    soup = BeautifulSoup(html, "html.parser")
    assert soup.find("meta", {"name": "description"})["content"]
    assert len(soup.select(".licence")) == 1 and len(soup.find("link")["href"]) > 99
    for one in found:
        made = BeautifulSoup(one.html, "html.parser")
        title = made.find(["h1", "h2"]).text
        drawn += len(made("img"))
        words = [e.text for e in made.select("p:not(.label), li")]
        assert sum(map(len, words)) < 300, title
        assert len(made("tr")) <= 14 and not made.select(".output pre"), title
        for box in made.select(".code"):
            lines, width = map(int, re.findall(r"\d+", box["style"]))
            assert lines <= slides.LINES + 1 and width <= 80, title
    assert drawn >= (7 if section in LESSONS else 1)


def test_what_a_slide_shows_is_what_the_cell_made():
    """The figures that a lecture needs, each by the words of its slide."""
    shown = {
        "nin": ["plateau", "looks at", "errs", "die"],
        "googlenet": ["plateau", "branches", "evidence", "mistakes"],
        "parity": ["Padding", "Flattening", "four curves", "One step"],
    }
    for section, wanted in shown.items():
        titles = [
            c.source.split("\n")[0]
            for c in read_source(BOOK, section)
            if slides.SLIDE in c.tags and "{output}" in c.source
        ]
        for words in wanted:
            assert any(re.search(words, title) for title in titles), words


@pytest.mark.parametrize("section", DECKS)
def test_a_figure_is_described_as_on_its_page(section, reveal, real_book):
    page = BeautifulSoup(
        (real_book / f"{section}.html").read_text("utf-8"), "html.parser"
    )
    described = {img["src"]: img["alt"] for img in page.select(".output img")}
    for framework in FRAMEWORKS:
        html, _ = slides.deck(BOOK, section, framework, reveal)
        drawn = BeautifulSoup(html, "html.parser").select(".output img")
        assert len(drawn) > 3 or section not in LESSONS
        for img in drawn:
            assert img["alt"] == described[img["src"]]
            assert re.match(r"Figure [\d.]+\. ", img["alt"])


def test_a_slide_without_output_stops():
    deck = slides.Deck.__new__(slides.Deck)
    deck.cells = [slide("## A")]
    with pytest.raises(slides.PageError, match="has no output"):
        deck.output(0, v4.new_code_cell("1"))


def test_a_deck_is_in_the_language_of_its_folder(tmp_path, reveal):
    """Slides and notes; minutes are the English ones; references are not said."""
    words = "word " * 2 * slides.WORDS
    cells = [
        *(text("# T"), slide("# First\n\n+ one"), text(words)),
        *(slide("## Second\n\n{output}"), code("f()  # note"), slide("{code}")),
        *(code("f()  # note"), text("## References\n\n1. Not said.")),
    ]
    book = make_book(tmp_path, cells)
    said = {
        "# T": "# 題", "# First": "# 第一", "+ one": "+ 一つ", words.strip(): "語る。",
        "# note": "# 注", "## References": "## 参考文献",
    }  # fmt: skip
    for name in ("mini", "interface"):
        catalogues.write(book, "ja", name)
        path = catalogues.catalogue_path(book, "ja", name)
        po = catalogues.read(path)
        for entry in po:
            entry.msgstr = said.get(entry.msgid, "")
            if entry.msgctxt == "speaker_next":
                entry.msgstr = "次は{title}"
        po.save()
    out = tmp_path / "out"
    options = ["--framework", "jax", "--reveal", str(reveal), "--out", str(out)]
    assert slides.main(options, book) == 0
    soups = [
        BeautifulSoup((out / name).read_text("utf-8"), "html.parser")
        for name in ("jax/mini.html", "ja/jax/mini.html")
    ]
    (title, *_), (own, second, third) = (s.select(".slides > section") for s in soups)
    assert [s.html["lang"] for s in soups] == ["en", "ja"]
    assert soups[1].title.text == "題, JAX"
    assert own.h1.text.strip("¶") == "第一"
    assert own.select_one(".fragment").text == "一つ"
    assert own.aside.text.strip() == "語る。"
    assert own["data-minutes"] == title["data-minutes"] == "2"
    assert second.h2.text.strip("¶") == "Second"  # not translated; no note on it
    assert not second.select_one(".untranslated")
    assert "# 注" in third.select_one("pre").text
    assert "参考" not in soups[1].text and "Not said" not in soups[1].text
    assert json.loads(soups[1].select_one(".reveal")["data-said"]) == {
        **{key: catalogues.english()[key] for key in slides.SPEAKER},
        "speaker_next": "次は{title}",
    }


def test_the_speaker_has_a_window_that_follows(tmp_path, reveal, browser):
    """With what is said, the plan, what comes next; it turns the slides, too."""
    from selenium.webdriver import Keys

    cells = [text("# T"), slide("# First"), text("Said $x$."), slide("## Second")]
    book = make_book(tmp_path, [*cells, text("word " * 3 * slides.WORDS), code("1")])
    html, _ = slides.deck(book, "mini", "jax", reveal)
    (tmp_path / "deck.html").write_text(html, encoding="utf-8")
    browser.get((tmp_path / "deck.html").as_uri())
    here = browser.current_window_handle
    options = browser.execute_script("press(); return options")
    assert (options["width"], options["height"]) == (1280, 720)
    (other,) = set(browser.window_handles) - {here}
    try:
        browser.switch_to.window(other)
        body = browser.find_element("tag name", "body")
        assert body.text.startswith("1 of 2, planned 0:00 to 0:01\n0:00 passed\nFirst")
        assert "Said" in body.text and body.text.endswith("Next: Second")
        body.send_keys(Keys.ARROW_RIGHT)
        assert "2 of 2, planned 0:01 to 0:04" in body.text and "word" in body.text
        assert "Next" not in body.text
        browser.close()
    finally:
        browser.switch_to.window(here)
    assert browser.get_log("browser") == []
