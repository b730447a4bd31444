"""The check of numbers in prose: what it finds wrong, and what it leaves alone."""

import re

import made_book
import pytest
from made_book import code, make_book, text
from nbformat import v4

from book.checks import numbers
from d2l_utils.frameworks import FRAMEWORKS

HEAD = text("# 8.3 A Section")


def checked(monkeypatch, capsys, folder, prose, printed, listed="", source="run()"):
    """What the command says of a text in front of a cell, and its exit status.

    printed: what the cell printed, one for all editions or {framework: text}.
    """

    def outputs(framework, index):
        said = printed[framework] if isinstance(printed, dict) else printed
        return [v4.new_output("stream", name="stdout", text=said + "\n")]

    monkeypatch.setattr(made_book, "outputs_of", outputs)
    cells = [HEAD, text(f"## Costs\n\n{prose}"), code(source)]
    book = make_book(folder, cells, sections=("mini",))
    (book.notebooks / "numbers.toml").write_text(listed, encoding="utf-8")
    status = numbers.main([], book)
    return status, capsys.readouterr().out


@pytest.fixture
def check(monkeypatch, capsys, tmp_path):
    def run(*args, **kwargs):
        return checked(monkeypatch, capsys, tmp_path, *args, **kwargs)

    return run


@pytest.mark.parametrize(
    ("prose", "printed"),
    [
        ("It has 1,992,166 parameters.", "total 1992166"),
        ("It has about 1,992,000 parameters.", "total 1,992,166"),
        ("It has 9.2 million parameters.", "parameters: 9,218,688"),
        ("It needs 2.7 MB of memory.", "MB of memory: 2.66"),
        ("The accuracy is 0.87.", "accuracy 0.874"),
        ("The share is 92 %.", "share 91.8%"),
        ("The share is 92 %.", "share 0.918"),
        ("Maps of 54x54 pixels.", "torch.Size([1, 96, 54, 54])"),
        ("Maps of 26x26 pixels.", "pool0  1x96x26x26"),
        ("Half of the channels.", "channels 50.0%"),
        ("Two thirds of the images.", "66% of the images"),
        ("It takes 1.6 times as many MACs.", "MACs: 1.60 times"),
        ("They have 3 seeds.", "(3 seeds)"),
        ("On line one\n3 seeds.", "(3 seeds)"),
    ],
)
def test_what_a_cell_printed_may_be_said(check, prose, printed):
    assert check(prose, printed) == (0, "")


@pytest.mark.parametrize(
    ("prose", "printed"),
    [
        ("It has 1,992,167 parameters.", "total 1,992,166"),
        ("It has about 1,993,000 parameters.", "total 1,992,166"),
        ("It has 9.3 million parameters.", "parameters: 9,218,688"),
        ("The accuracy is 0.88.", "accuracy 0.874"),
        ("The accuracy is 0.875.", "accuracy 0.87"),
        ("The share is 91 %.", "share 91.8%"),
        ("The share is 92 %.", "share of 92 images"),
        ("Maps of 54x55 pixels.", "torch.Size([1, 96, 54, 54])"),
        ("Half of the channels.", "channels 42.0%"),
        ("Three times as many MACs.", "MACs in 3 rows"),
        ("They have 3 seeds.", "(2.9 seeds)"),
        ("They have 3 seeds.", "3 colours"),  # it is there by chance
    ],
)
def test_a_wrong_number_is_found(check, prose, printed):
    status, said = check(prose, printed)
    assert status == 1 and "notebooks/mini.md:" in said and prose in said


def test_settings_and_shapes_are_in_the_code(check):
    source = "net = conv(96, kernel_size=11)\nX = zeros((1, 3, 224, 112))  # 640"
    assert check("A kernel of 11x11.", "", source=source)[0] == 0
    assert check("Images of 224x112 pixels.", "", source=source)[0] == 0
    assert check("Images of 640 pixels.", "", source=source)[0] == 1
    assert check("Half of the weights.", "", source="weights = 0.5")[0] == 1
    assert check("They have 7 seeds.", "", source="seeds = 7")[0] == 0
    assert check("They have 7 seeds.", "", source="n = 7  # seeds")[0] == 1


def test_all_editions_must_have_it(check):
    """The message names those that do not, and what these have."""
    printed = dict.fromkeys(FRAMEWORKS, "total 1,234") | {"jax": "total 1,243"}
    status, said = check("All have 1,234 parameters.", printed)
    assert status == 1
    assert "jax: 1243 is closest" in said
    assert "(pytorch, mxnet, tensorflow have it)" in said
    for_three = ":::{tab} pytorch, mxnet, tensorflow\nIt has 1,234 parameters.\n:::"
    assert check(for_three, printed)[0] == 0
    for_jax = for_three.replace("pytorch, mxnet, tensorflow", "jax")
    status, said = check(for_jax, printed)
    assert status == 1 and "pytorch" not in said


def test_another_heading_is_not_near(check):
    prose = "It has 1,234 parameters.\n\n## Speed\n\nIt takes 1,234 seconds."
    status, said = check(prose, "1,234")
    assert status == 1 and said.count(" in: ") == 1 and "under 'Costs'" in said


def test_the_message_names_the_line(check, tmp_path):
    _, said = check("First line,\nthen 77\nof them. And more.", "")
    line = int(re.match(r"notebooks/mini\.md:(\d+): '77' in: ", said)[1])
    source = (tmp_path / "notebooks/mini.md").read_text().split("\n")
    assert source[line - 1] == "then 77"
    assert "First line, then 77 of them.\n" in said and "And more" not in said


@pytest.mark.parametrize(
    "prose",
    [
        "A loss of $\\ln 10 \\approx 2.303$.",
        "$$x = 77$$",
        "Set `size = 77`.",
        "```\n77\n```",
        "See Figure 8.3.77, sections 7.7 and 8.1, exercise 7.",
        "As [77] says (Lin et al., 2013 [1]).",
        "See [there](https://example.org/77) and https://example.org/77.",
        "NiN77, VGG-77 and float77 are names.",
        "The third one, nine blocks, a part.",
        "### Heading 77",
        "## References\n\n1. In 77 pages (2013). arXiv:1312.4400.",
    ],
)
def test_what_is_not_looked_at(check, prose):
    assert check(prose, "") == (0, "")


def test_slides_are_not_looked_at(monkeypatch, tmp_path):
    book = make_book(tmp_path, [HEAD, text("77 %", ("slide",)), code("1")])
    assert numbers.main([], book) == 0


def entry(phrase, section="mini", more=""):
    return f"[[{section}]]\nphrase = {phrase!r}\nsource = 'the textbook'\n{more}\n"


def test_what_is_listed_needs_no_cell(check):
    prose = "It takes 77\nminutes. It takes 88 minutes."
    assert check(prose, "")[1].count(" in: ") == 2
    status, said = check(prose, "", entry("takes 77 minutes"))
    assert status == 1 and "'77'" not in said and "'88'" in said
    both = entry("takes 77 minutes") + entry("88 minutes", "any")
    assert check(prose, "", both) == (0, "")


@pytest.mark.parametrize("prose", ["It takes long.", "It takes 78 minutes."])
def test_an_entry_that_matches_nothing_is_dead(check, prose):
    status, said = check(prose, "minutes: 78", entry("takes 77 minutes"))
    assert status == 1 and "no number of the prose needs 'takes 77 minutes'" in said


def test_an_entry_of_what_a_cell_shows_is_not_needed(check):
    status, said = check("It takes 77 minutes.", "77 minutes", entry("77 minutes"))
    assert status == 1 and "no number of the prose needs" in said


def test_an_entry_with_a_heading_is_looked_up(check):
    prose = "It has 1,234 of them.\n\n## Below\n\nMore."
    listed = entry("It has 1,234", more="heading = 'Below'")
    assert check(prose, "1,234", listed) == (0, "")
    status, said = check(prose, "1,235", listed)
    assert status == 1 and "says that it stands under 'Below'" in said
    one_less = dict.fromkeys(FRAMEWORKS, "1,234") | {"mxnet": ""}
    assert check(prose, one_less, listed)[0] == 1


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ("[[mini]]\nphrase = '7'", "an entry has 'phrase' and 'source'"),
        ("[[mini]]\nphrase = '7'\nsource = ' '", "must be a non-empty string"),
        (entry("7", "other"), "there is no section 'other'"),
        ("[[mini", "numbers.toml: "),
    ],
)
def test_a_bad_list_is_refused(check, listed, message):
    with pytest.raises(SystemExit, match=re.escape(message)):
        check("Nothing.", "", listed)
