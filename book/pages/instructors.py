"""The page for instructors: what to teach with, how long it takes, what it is worth.

The text is templates/instructors.md.j2. What the book knows is put in: the times that
the editions stored, the minutes of decks, the points of the exercises. The page is in
English; pages to hand out are without it, since it says what answers are graded by.
"""

import re

from book.notebooks import editions, exercises
from book.notebooks.exercises import role
from book.pages.markup import Marks, PageError, Text
from book.pages.slides import WORDS, plan, told
from book.source.reading import read_source, title_of

FACTS = re.compile(r"^(.+); device (.+)\n[\d-]{10}, (\d+) min (\d+) s$", re.M)
EXERCISE = re.compile(r"^## (.*\bExercise \d.*)$", re.M)
# By what an answer in words is graded: full points for all of it.
RUBRIC = {
    "nin_exercises": {
        1: "What a further 1x1 convolution costs in parameters and MACs; that the "
        "seeds of one and of two overlap; why two are expected to help, and why so "
        "short a training need not show it.",
        2: "Gain and cost, each with its number; that a 3x3 kernel sees neighbours and "
        "a 1x1 kernel none; that time grows by less than the MACs.",
        3: "That the dense layer is small here, and against which head the average "
        "saves much; what both curves do when the images move, and why the average "
        "does not help on maps of 2x2.",
        4: "What depends on the number of input channels; two reasons why more memory "
        "is measured than counted; which part grows with the batch.",
        5: "Whether two steps help, judged by the spread over the seeds; that 96 to "
        "10 is a smaller step than 384 to 10; which classes are dead, and why.",
        6: "What the family costs at both sizes; that its members cannot be ranked by "
        "so few seeds; what depth without normalization risks.",
    },
    "googlenet_exercises": {
        1: "For each version: what it changes in parameters and MACs, what it does to "
        "the accuracy against the spread over the seeds, and how the setting differs "
        "from that of the paper. For label smoothing: the calibration, too.",
        2: "Both answers, to run and to learn, with the reason for each; how many "
        "positions are left to the last blocks.",
        3: "For stem, body and head: what the choice costs and brings, with numbers; "
        "what the two ReLUs are for, though leaving them out does not show.",
        4: "That the saving is in the dense layers; that GoogLeNet saves nothing in "
        "its convolutions against AlexNet, and has more MACs.",
        5: "Which layers wait for memory, for one image and for a batch; one "
        "consequence each for memory size, bandwidth, cache and units.",
    },
}


def points(book, section, framework):
    """{heading: [points of its tests, of its answers in words]} of the exercises."""
    found, heading = {}, None
    cells = editions.edition(book, section, framework, checks=True).cells
    for cell in cells:
        if cell.cell_type == "markdown":
            heading = (EXERCISE.findall(cell.source) or [heading])[-1]
        what = role(cell)
        if what and what["grade"] and heading:
            in_words = cell.cell_type == "markdown"
            found.setdefault(heading, [0, 0])[in_words] += what["points"]
    return found


def rubric(section, heading):
    """By what the answer in words to an exercise is graded."""
    number = int(re.search(r"Exercise (\d+)", heading)[1])
    try:
        return RUBRIC[section][number]
    except KeyError:
        raise PageError(
            f"{section}, {heading!r} has no rubric: write one in {__name__}.RUBRIC."
        ) from None


def table(head, rows):
    """A table in Markdown."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def facts(book, section, framework):
    """(processor, device, minutes) of the run that an edition stores, by its last line.

    None where it has not been run.
    """
    cells = editions.edition_cells(book, section, framework).values()
    last = [c for c in cells if "facts" in c.metadata.get("tags", ())]
    said = "".join(o.get("text", "") for c in last for o in c.get("outputs", ()))
    found = FACTS.search(said)
    return found and (found[1], found[2], round(int(found[3]) + int(found[4]) / 60))


def parts(book, section, titles):
    """A table of the minutes of each part of a section, or None where none is stored.

    Parts that took less than three seconds everywhere are left out.
    """
    ran = [
        editions.edition(book, section, f).metadata.get("d2l", {}).get("seconds", {})
        for f in titles
    ]
    names = dict.fromkeys(name for seconds in ran for name in seconds)
    rows = [
        [name, *(f"{s[name] / 60:.1f}" if name in s else "not measured" for s in ran)]
        for name in names
        if max(seconds.get(name, 0) for seconds in ran) >= 3
    ]
    return table(["part", *titles.values()], rows) if rows else None


def times(book, titles):
    """What the page says of times: a table, and where they were measured."""
    rows, processors, devices = [], set(), set()
    for section in book.sections:
        row = [title_of(read_source(book, section), section)]
        for found in (facts(book, section, f) for f in titles):
            row.append(found[2] if found else "not measured")
            processors |= {found[0]} if found else set()
            devices |= {found[1]} if found else set()
        rows.append(row)
    made = [table(["notebook", *titles.values()], rows)]
    for section, row in zip(book.sections, rows):
        found = parts(book, section, titles)
        made += (
            [f"Of these, the parts of {row[0]}, in minutes:", found] if found else []
        )
    if processors:
        made.append(
            "Minutes of the run whose outputs are stored, as its last line says, on: "
            f"{'; '.join(sorted(processors))}. A laptop has not been measured."
        )
    if all(device.startswith("cpu") for device in devices):
        made.append("On a GPU: not measured.")
    return "\n\n".join(made)


def lectures(book, framework):
    """A table of the decks."""
    rows = []
    for section in book.sections:
        cells = told(book, section)
        minutes = [m for _, _, m in plan(cells, framework)]
        if minutes:
            rows.append([title_of(cells, section), len(minutes), sum(minutes)])
    return table(["lecture", "slides", "minutes"], rows)


def graded(book, framework):
    """The exercises of all sections: their points, and what these are given for."""
    made = []
    for section in book.sections:
        if not exercises.has_exercises(book, section):
            continue
        found = points(book, section, framework)
        if not found:
            continue
        rows = [[h, *p, sum(p)] for h, p in found.items()]
        sums = [sum(column) for column in zip(*(p for p in found.values()))]
        rows.append(["all", *sums, sum(sums)])
        title = title_of(read_source(book, section), section)
        made += [
            f"### {title}",
            table(["exercise", "tests", "in words", "points"], rows),
            "What an answer in words has to say:",
            "\n".join(
                f"* *{h}.* {rubric(section, h)}" for h, p in found.items() if p[1]
            ),
        ]
    return "\n\n".join(made)


def body(book, titles, t, template):
    """(HTML, headings) of the page. template: of its Markdown, for Jinja."""
    first = next(iter(titles))
    source = template.render(
        times=times(book, titles),
        lectures=lectures(book, first),
        graded=graded(book, first),
        words=WORDS,
    )
    marks = Marks()
    text = Text(book.notebooks, str, marks, t).to_html(source)
    return text, [h for h in marks.headings if h[0] > 1]
