"""The page for instructors: its numbers are those of the book, and it has them all."""

import re

import nbformat
import pytest
from bs4 import BeautifulSoup
from made_book import code, make_book, text
from nbformat.v4 import new_code_cell, new_markdown_cell

from book.notebooks import editions, execute, exercises
from book.pages import instructors, pages, slides
from book.source.book import BOOK, SECTIONS
from d2l_utils.frameworks import FRAMEWORKS

GRADED = [s for s in SECTIONS if exercises.has_exercises(BOOK, s)]


@pytest.fixture(scope="module")
def soup(real_book):
    text = (real_book / "instructors.html").read_text(encoding="utf-8")
    return BeautifulSoup(text, "html.parser")


def rows(soup, head):
    """The rows of the table whose first head this is."""
    (table,) = [t for t in soup("table") if t.th.text == head]
    return [[c.text for c in row(["th", "td"])] for row in table.tbody("tr")]


@pytest.mark.parametrize("section", GRADED)
@pytest.mark.parametrize("tab_name", FRAMEWORKS)
def test_points_are_those_that_nbgrader_gives(section, tab_name):
    found = instructors.points(BOOK, section, tab_name)
    assert found == instructors.points(BOOK, section, next(iter(FRAMEWORKS)))
    blank = exercises.for_nbgrader(BOOK, section, tab_name)
    given = [c.metadata.get("nbgrader", {}) for c in blank.cells]
    assert sum(map(sum, found.values())) == sum(g.get("points", 0) for g in given)


def test_every_exercise_has_points_and_a_rubric_and_there_is_no_other(soup):
    tables = [t for t in soup("table") if t.th.text == "exercise"]
    assert len(tables) == len(GRADED)
    for section, table in zip(GRADED, tables, strict=True):
        found = instructors.points(BOOK, section, "jax")
        said = {
            row("td")[0].text: [int(c.text) for c in row("td")[1:]]
            for row in table.tbody("tr")
        }
        total = said.pop("all")
        assert said == {h: [*p, sum(p)] for h, p in found.items()}
        assert total == [sum(column) for column in zip(*said.values(), strict=True)]
        numbers = [int(re.search(r"Exercise (\d)", h)[1]) for h in found]
        assert sorted(numbers) == sorted(instructors.RUBRIC[section])
        assert all(tests and words for tests, words in found.values())


def test_an_exercise_without_a_rubric_stops():
    with pytest.raises(
        instructors.PageError, match=r"nin_exercises.*Exercise 99.*RUBRIC"
    ):
        instructors.rubric("nin_exercises", "Exercise 99: more")


def test_times_are_the_stored_ones(soup):
    found = rows(soup, "notebook")
    assert len(found) == len(SECTIONS)
    on_cpu = True
    for section, row in zip(SECTIONS, found, strict=True):
        ran = [instructors.facts(BOOK, section, f) for f in FRAMEWORKS]
        assert row[1:] == [str(minutes) for _, _, minutes in ran]
        for processor, device, _ in ran:
            assert processor in soup.text
            on_cpu &= device.startswith("cpu")
    assert ("On a GPU: not measured." in soup.text) == on_cpu


def test_a_time_is_read_from_the_last_output(tmp_path, monkeypatch):
    said = "d2l_utils 0.1\nA chip, cpu (2 threads); device cpu (2 threads)\n"
    cells = [text("# T"), code("facts()", tags=("facts",))]
    book = make_book(tmp_path, cells)
    assert instructors.facts(book, "mini", "jax") is None
    path = book.edition_path("mini", "jax")
    stored = path.read_text()
    line = re.search(r'"text": (\[.*?\]|".*?")', stored, re.S)[0]
    new = f'"text": "{said}2026-11-26, 17 min 57 s\\n"'.replace("\n", "\\n")
    path.write_text(stored.replace(line, new))
    found = instructors.facts(book, "mini", "jax")
    assert found == ("A chip, cpu (2 threads)", "cpu (2 threads)", 18)


def test_how_long_its_parts_took_stays_with_an_edition(tmp_path):
    cells = [text("# T"), code("1"), text("## A\n\n### B"), code("2"), text("x")]
    book = make_book(tmp_path, cells)
    assert instructors.parts(book, "mini", {"jax": "JAX"}) is None
    path = book.edition_path("mini", "jax")
    nb = nbformat.read(path, 4)
    nb.metadata["d2l"] = {"seconds": {"T": 2.9, "A": 90}}
    nbformat.write(nb, path)
    found = instructors.parts(book, "mini", {"jax": "JAX", "mxnet": "MXNet"})
    assert found.splitlines()[2:] == ["| A | 1.5 | not measured |"]
    editions.write(book, "mini")  # they stay with the outputs
    assert nbformat.read(path, 4).metadata["d2l"] == nb.metadata["d2l"]
    nb.cells[2].source = "print(3)"
    nbformat.write(nb, path)
    assert "d2l" not in editions.edition(book, "mini", "jax").metadata


def test_a_cell_belongs_to_the_heading_above(monkeypatch):
    def at(begun, ended):
        return {"iopub.execute_input": f"2026-11-29T10:00:{begun}Z",
                "shell.execute_reply": f"2026-11-29T10:00:{ended}Z"}  # fmt: skip

    def ran(begun, ended):
        return new_code_cell(metadata={"execution": at(begun, ended)})

    cells = [new_markdown_cell("# T"), ran("00.0", "01.5"), new_markdown_cell("### C"),
             ran("02.0", "02.5"), new_markdown_cell("Text.\n\n## A"), new_code_cell(),
             ran("03.0", "33.0")]  # fmt: skip
    assert execute.seconds_of_parts(cells) == {"T": 2.0, "A": 30.0}


def test_lectures_are_the_decks(soup):
    found = rows(soup, "lecture")
    for section, row in zip(("nin", "googlenet", "parity"), found, strict=True):
        planned = slides.plan(slides.told(BOOK, section), next(iter(FRAMEWORKS)))
        assert row[1:] == [str(len(planned)), str(sum(m for _, _, m in planned))]


def test_it_is_linked_and_not_handed_out(tmp_path, real_book):
    index = BeautifulSoup((real_book / "index.html").read_text("utf-8"), "html.parser")
    assert index.main.find("a", href="instructors.html").text == "For instructors"
    ja = BeautifulSoup((real_book / "ja/index.html").read_text("utf-8"), "html.parser")
    link = ja.main.find("a", href="../instructors.html")
    assert link["hreflang"] == "en" and link.text != "For instructors"
    out = ["--out", str(tmp_path / "html"), "--answers", "no"]
    assert pages.main(out, make_book(tmp_path)) == 0
    assert not (tmp_path / "html/instructors.html").exists()
    assert "instructors" not in (tmp_path / "html/index.html").read_text()
