"""Where the links of the book lead: citations, figures, sections, launch buttons."""

import re

import pytest
import tomllib
from bs4 import BeautifulSoup
from made_book import add_section, code, make_book, text

from book.notebooks import editions
from book.pages import launch, pages
from book.source import book as source_book
from book.source.book import BOOK, ROOT, SECTIONS, TEXTBOOK, Book, on_github
from book.source.readme import update
from book.translate import catalogues
from d2l_utils.frameworks import FRAMEWORKS

FULL = """# 8.3 A Section

As [1] and [2] show in Figure 8.3.1, and section 8.3.2 explains (section 7.1 does not):
`[9]` is code, [0, 1] an interval.

![Boxes](img/boxes.svg)

*Figure 8.3.1. Boxes, after [2].*

See [below](#8.3.2-More) and [here](mini.md).

## 8.3.2 More

Back to figure 8.3.1."""
LIST = "## References\n\n1. One [3].\n2. Two."


def built(folder, *cells):
    cells = [*cells, code("1")]
    assert pages.main(["--out", str(folder)], make_book(folder, cells)) == 0
    return BeautifulSoup((folder / "mini.html").read_text(), "html.parser")


def links(soup):
    return {a.text: a.get("href") for a in soup.select("main a:not(.permalink)")}


def test_mentions_lead_to_what_they_mention(tmp_path):
    soup = built(tmp_path, text(FULL), text(LIST))
    found = links(soup)
    assert found["[1]"] == "#reference-1" and found["[2]"] == "#reference-2"
    assert found["Figure 8.3.1"] == found["figure 8.3.1"] == "#figure-8.3.1"
    assert found["section 8.3.2"] == "#more" and found["below"] == "#8.3.2-More"
    assert found["here"] == "mini.html"
    assert "[9]" not in found and "section 7.1" not in found and "[3]" not in found
    assert soup.find(id="reference-2").text == "Two."
    assert soup.find(id="figure-8.3.1").text == "Figure 8.3.1. Boxes, after [2]."
    for address in found.values():
        assert not address.startswith("#") or soup.find(id=address[1:]), address


def test_what_stands_before_the_references_is_linked_too(tmp_path):
    cell = FULL + "\n\n" + LIST
    soup = built(tmp_path, text(cell))
    assert links(soup)["[1]"] == "#reference-1"
    assert links(soup)["Figure 8.3.1"] == "#figure-8.3.1"
    assert soup.find(id="figure-8.3.1")["class"] == ["caption"]
    assert [li["id"] for li in soup.select("ol li")] == ["reference-1", "reference-2"]
    assert "[3]" not in links(soup)


def test_mentions_across_pages(tmp_path):
    sources = {
        "one": [text(FULL.replace("mini.md", "one.md")), text(LIST), code("1")],
        "two": [text("# 8.4 Two\n\nAs in section 8.3.2, Figure 8.3.1, section 8.3 and "
                     "[there](one.md#8.3.2-More) and [later](three.md#x)."), code("1")],
        "three": [text("# 8.5 Three"), code("1")],
    }  # fmt: skip
    book = make_book(tmp_path, sections=tuple(sources))
    for section, cells in sources.items():
        add_section(book, section, cells, ran=section != "three")
    assert pages.main(["--out", str(tmp_path / "html")], book) == 0
    soup = BeautifulSoup((tmp_path / "html/two.html").read_text(), "html.parser")
    found = links(soup)
    assert found["section 8.3.2"] == "one.html#more"
    assert found["there"] == "one.html#8.3.2-More"
    assert found["Figure 8.3.1"] == "one.html#figure-8.3.1"
    assert found["section 8.3"] == "one.html#a-section"
    assert "later" not in found and "later" in soup.main.text  # it is not built


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            "Shown\nby [3].",
            r"mini\.md:\d+: \[3\] is not in the list of references, .* 2",
        ),
        ("See Figure 8.3.9.", r"mini\.md:\d+: there is no Figure 8\.3\.9"),
        ("See section 8.3.7.", r"mini\.md:\d+: there is no section 8\.3\.7"),
        ("See [it](#nowhere).", r"mini\.md:\d+: mini has no heading 'nowhere'"),
        ("See [it](none.md).", r"mini\.md:\d+: there is no section 'none'"),
    ],
)
def test_broken_links_stop_with_file_and_line(tmp_path, capsys, said, message):
    cells = [text("# 8.3 A Section"), text(said), text(LIST), code("1")]
    assert pages.main(["--out", str(tmp_path)], make_book(tmp_path, cells)) == 1
    error = capsys.readouterr().err
    assert re.search(message, error), error
    line = int(error.split(":")[1])
    source = (tmp_path / "notebooks/mini.md").read_text().split("\n")
    assert any(w in source[line - 1] for w in ("[3]", "Figure 8", "section 8", "[it]"))


# Launch buttons ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "repo"),
    [
        ("https://github.com/o/r-1.git", "o/r-1"),
        ("https://github.com/o/r.x/", "o/r.x"),
        ("git@github.com:o/r.git\n", "o/r"),
        ("ssh://git@github.com/o/r", "o/r"),
        ("https://gitlab.com/o/r", None),
        ("/srv/github.com/o/r", None),
        ("", None),
    ],
)
def test_repositories_on_github(address, repo):
    assert on_github(address) == repo


def test_addresses_have_the_documented_form():
    made = launch.addresses("o/r", "jax", "notebooks/jax/nin.ipynb")
    assert made == {
        "Colab": "https://colab.research.google.com/github/o/r/blob/main/"
        "notebooks/jax/nin.ipynb",
        "Kaggle": "https://kaggle.com/kernels/welcome?src=https://github.com/o/r/blob/"
        "main/notebooks/jax/nin.ipynb",
        "SageMaker Studio Lab": "https://studiolab.sagemaker.aws/import/github/o/r/"
        "blob/main/notebooks/jax/nin.ipynb",
        "Binder": "https://mybinder.org/v2/gh/o/r/main?labpath="
        "notebooks%2Fjax%2Fnin.ipynb",
    }
    assert set(launch.addresses("o/r", "mxnet", "x")) == {"Colab", "Binder"}
    assert launch.badges(None, "jax", "x") == ""
    assert "[Colab](https://colab" in launch.badges("o/r", "jax", "x")


def test_what_was_made_beside_the_pages_has_a_button(tmp_path):
    book, out = make_book(tmp_path), tmp_path / "html"
    made = "slides/jax/mini.html", "exercises/mxnet/mini.ipynb"
    for path in made:
        (out / path).parent.mkdir(parents=True)
        (out / path).write_text("")
    assert pages.main(["--out", str(out)], book) == 0
    soup = BeautifulSoup((out / "mini.html").read_text(), "html.parser")
    found = {
        (a["href"], row["data-only"])
        for row in soup.select(".launch [data-only]")
        for a in row.select("a[href^=slides], a[href^=pdf], a[href^=exercises]")
    }
    assert found == {(path, path.split("/")[1]) for path in made}


def made_bars(folder, framework, language="en"):
    """The strings, {section: {text: button}} on pages of a lesson and its exercises."""
    book = make_book(folder, sections=("mini", "mini_exercises"))
    t = catalogues.strings(BOOK, language)
    up, titles = "../" * (language != "en"), book.titles()
    rows = {}
    for section in book.sections:
        bar = launch.bar(book, section, titles, t, up, language, folder / "html")
        row = BeautifulSoup(bar, "html.parser").select_one(f"[data-only={framework}]")
        rows[section] = {a.text: a for a in row("a")}
    return t, rows


def make_files(folder, *paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("")


def test_a_lesson_and_its_exercises_share_deck_and_blanks(tmp_path):
    """Of blanks, those with the package inside are linked where there are any."""
    plain, whole = (f"{x}/jax/mini_exercises.ipynb" for x in ("exercises", "blank"))
    deck = "slides/jax/mini.html"
    for path in (plain, whole):
        make_files(tmp_path / "html", deck, path)
        _, rows = made_bars(tmp_path, "jax")
        for section in ("mini", "mini_exercises"):
            assert rows[section]["Slides"]["href"] == deck
            assert rows[section]["Blank exercises"]["href"] == path
        assert "Slides" not in made_bars(tmp_path, "mxnet")[1]["mini"]


def test_what_is_in_english_only_is_marked(tmp_path):
    blank = "blank/{}jax/mini_exercises.ipynb"
    make_files(tmp_path / "html", "slides/jax/mini.html", blank.format(""))
    t, rows = made_bars(tmp_path, "jax", "ja")
    for key in ("slides", "blank"):
        link = rows["mini"][f"{t[key]} (English)"]
        assert link["hreflang"] == "en" and link["href"].startswith("../")
    blank, deck = blank.format("ja/"), "slides/ja/jax/mini.html"
    make_files(tmp_path / "html", blank, deck)
    for key, path in (("blank", blank), ("slides", deck)):
        own = made_bars(tmp_path, "jax", "ja")[1]["mini"][t[key]]
        assert own["href"] == f"../{path}" and "hreflang" not in own.attrs


def test_pages_to_hand_out_do_not_lead_to_solved_notebooks(tmp_path):
    book = make_book(tmp_path, repository="o/r")
    for answers in ("yes", "no"):
        out = ["--out", str(tmp_path / answers), "--answers", answers]
        assert pages.main(out, book) == 0
        html = (tmp_path / answers / "mini.html").read_text()
        named = [host in html for host in launch.HOSTS]
        assert named == [answers == "yes"] * len(launch.HOSTS)
        assert ("github.com" in html) == (answers == "yes")
        assert 'href="notebooks/jax/mini.ipynb"' in html  # blank ones, in that folder


def test_buttons_follow_the_tab(tmp_path):
    book = make_book(tmp_path, repository="o/r")
    assert pages.main(["--out", str(tmp_path)], book) == 0
    soup = BeautifulSoup((tmp_path / "mini.html").read_text(), "html.parser")
    lists = soup.select(".launch > div")
    assert [x["data-only"] for x in lists] == list(FRAMEWORKS)
    torch, mxnet, _, jax = lists
    assert "jax/mini.ipynb" in jax.find("a", string="Colab")["href"]
    assert torch.find("a", string="Kaggle") and not mxnet.find("a", string="Kaggle")
    assert "Not on Kaggle" in mxnet.text and "Not on" not in torch.text
    assert jax.find("a", string="Discussion")["href"] == "https://discuss.d2l.ai/t/8"
    assert not mxnet.find("a", string="Discussion")
    for framework, part in zip(FRAMEWORKS, lists, strict=True):
        assert (
            part.find("a", download=True)["href"] == f"notebooks/{framework}/mini.ipynb"
        )


def test_without_a_repository_there_is_the_download_alone(tmp_path):
    soup = built(tmp_path, text("# A"))
    names = [a.text for a in soup.select(".launch [data-only=mxnet] a")]
    assert names == ["Download", "In the textbook"] and not soup.select(".no")


def test_the_textbook_is_known_for_every_section_that_has_one():
    assert set(TEXTBOOK) - set(SECTIONS) <= {"googlenet_exercises"}
    assert set(SECTIONS) - set(TEXTBOOK) == {"parity"}
    for page, discussions in TEXTBOOK.values():
        assert page.endswith(".html") and set(discussions) == set(FRAMEWORKS)


def test_editions_and_readme_have_the_same_badges(monkeypatch):
    """Once a repository is set; a clone's remote changes nothing that is committed."""
    monkeypatch.setattr(source_book, "git_remote", lambda root: "git@github.com:x/y")
    assert BOOK.github() == "x/y" and BOOK.set_github() is None
    cells = editions.edition(BOOK, "nin", "jax").cells
    assert not any("badges" in c.metadata.get("tags", ()) for c in cells)
    assert "Colab" not in editions.readme_table(BOOK)
    monkeypatch.setattr(Book, "repository", lambda book: "https://github.com/o/r")
    badges = launch.badges("o/r", "jax", "notebooks/jax/nin.ipynb")
    cell = editions.edition(BOOK, "nin", "jax").cells[1]
    assert cell.source == badges and "mybinder" in badges
    assert badges in editions.readme_table(BOOK)


def test_the_readme_shows_the_table_of_notebooks():
    table = editions.readme_table(BOOK)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert table in readme and table.count("\n") == 1 + len(SECTIONS)
    assert not update(ROOT / "README.md", "notebooks", table, check=True)


def test_a_passage_of_the_readme_is_replaced_and_nothing_else(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("a\n<!-- x: made by `y` -->\nold\n\nold\n<!-- end of x -->\nb\n")
    assert update(path, "x", "new \\1", check=True) and "old" in path.read_text()
    assert update(path, "x", "new \\1") and not update(path, "x", "new \\1")
    text = "a\n<!-- x: made by `y` -->\nnew \\1\n<!-- end of x -->\nb\n"
    assert path.read_text() == text
    for wrong in (text + text, "a", text.replace("end of x", "end")):
        path.write_text(wrong)
        with pytest.raises(ValueError, match="marks of 'x' must occur"):
            update(path, "x", "new")


def test_binder_has_what_it_starts_from():
    folder = ROOT / ".binder"
    assert "python=3.11" in (folder / "environment.yml").read_text()
    script = folder / "postBuild"
    assert script.stat().st_mode & 0o100 and script.read_text().startswith("#!")
    extras = re.search(r"\.\[(.*)\]", script.read_text())[1].split(",")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras) <= set(project["optional-dependencies"])
