"""Data of the live curves, read where they are stored whenever pages are built.

`data` gives the page two sets of curves: of the four frameworks in parity.md, and of
the study's records of NiN's plateau at 96 pixels, of all that are there.
`python -m book.pages.live_curves` draws notebooks/img/curves.svg, the picture of the
first set that is shown where no script runs.
"""

import itertools
import json
import math
import sys

from book.pages.markup import PageError
from book.source import files
from book.source.book import BOOK, ROOT
from d2l_utils.frameworks import FRAMEWORKS

CURVES = ROOT / "d2l_utils/sample/nin28_curves.json"
RESULTS = ROOT / "d2l_utils/results"
PLATEAU = "plateau_nin96_"  # its records begin so
DRAWING = BOOK.notebooks / "img/curves.svg"
DIGITS = {"frameworks": 5, "plateau": 4}  # as they are stored
WINDOW = {"frameworks": 1, "plateau": 20}  # steps whose mean is a point of a curve


def data(curves=CURVES, results=RESULTS):
    """{set: what the page draws of it}; raises PageError for what cannot be read."""
    lines = {"frameworks": frameworks(curves), "plateau": plateau(results)}
    return {
        name: {"digits": DIGITS[name], "window": WINDOW[name], "lines": found}
        for name, found in lines.items()
        if found
    }


def frameworks(path):
    """[{name, loss}] of one epoch, step by step, in each framework."""
    try:
        loss = json.loads(path.read_text(encoding="utf-8"))["loss"]
        made = [
            {"name": FRAMEWORKS[name].title, "loss": integers(values, "frameworks")}
            for name, values in loss.items()
        ]
        lengths = {len(line["loss"]) for line in made}
    except FileNotFoundError:
        raise PageError(
            f"{path} is not there; `python -m study.record_parity` makes it."
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise unreadable(path, f"{type(error).__name__}: {error}") from None
    if len(made) < 2 or len(lengths) != 1 or lengths == {0}:
        raise unreadable(path, f"{len(made)} curves with {sorted(lengths)} steps")
    return made


def unreadable(path, what):
    return PageError(
        f"{path} does not hold a loss of each step for several frameworks ({what}); "
        "`python -m study.record_parity` writes it."
    )


def plateau(folder):
    """[{name, seed, loss}] of the records, in the order of the study."""
    from d2l_utils.study import RecordError, Study, groups  # takes long, with NumPy

    there = {p.name.split(".")[0] for p in folder.glob(f"{PLATEAU}*.seed*.json")}
    known = [name for name in groups()["plateau"] if name in there]
    made = []
    try:
        study = Study("plateau", [*known, *sorted(there - set(known))], folder)
        for name in study.records:
            found = zip(study.of(name), study.values(name, "steps", "loss"))
            for record, loss in found:
                variant, loss = name.removeprefix(PLATEAU), integers(loss, "plateau")
                made.append({"name": variant, "seed": record["seed"], "loss": loss})
    except (RecordError, TypeError) as error:
        raise PageError(f"{folder}: {error}") from None
    return made


def integers(values, name):
    """Losses in units of their last digit, which is shorter; None for nan or inf."""
    unit = 10 ** DIGITS[name]
    return [round(v * unit) if math.isfinite(v) else None for v in values]


# The drawing ----------------------------------------------------------------------

LEFT, RIGHT, STEP = 62, 96, 1.2  # margins and the width of a step, in pixels
LOSS, APART = (16, 190), (232, 342)  # top and bottom of the two panels
# Colours (those of d2l_utils.figures, pale ones darker), dashes, and widths: each is
# thinner than the one before, so that all are seen where they coincide.
LINES = [
    ("#0072b2", "", 4),
    ("#d55e00", "8 4", 2.6),
    ("#007a5a", "2 3", 1.8),
    ("#a8487f", "9 3 2 3", 1.1),
]
HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} 384" width="{width}" \
height="384" role="img"><title>Training curves of four frameworks</title><style>
text{{font-family:Helvetica,Arial,sans-serif;font-size:13px;fill:#222}}
.r{{text-anchor:end}}.m{{text-anchor:middle}}
.g{{stroke:#ddd;stroke-width:1}}.c{{fill:none;stroke-linejoin:round}}
</style><rect width="{width}" height="384" fill="#fff"/>
"""


def drawing(lines):
    """The SVG of the frameworks' curves, and of how far they are from the first."""
    first, unit = lines[0], 10 ** DIGITS["frameworks"]
    count = len(first["loss"])
    right = LEFT + STEP * (count - 1)
    all_ = [v for line in lines for v in line["loss"]]
    low, high = 0.1 * math.floor(10 * min(all_) / unit), max(all_) / unit + 0.05
    top = math.ceil(math.log10(max(1, *map(max, apart(lines)))))  # decades

    def loss_at(v):
        return LOSS[1] - (LOSS[1] - LOSS[0]) * (v / unit - low) / (high - low)

    def apart_at(v):  # zero is a decade below the smallest difference
        part = (1 + math.log10(v)) / (1 + top) if v else 0
        return APART[1] - (APART[1] - APART[0]) * part

    made = [HEAD.format(width=math.ceil(right + RIGHT))]
    for v in range(math.ceil(2 * low), math.floor(2 * high) + 1):
        made += grid(loss_at(v * unit / 2), right, f"{v / 2}")
    for power in range(top + 1):
        made += grid(apart_at(10**power), right, f"{10**power / unit:.5f}".rstrip("0"))
    made += grid(apart_at(0), right, "0")
    for step in (1, *range(100, count, 100)):
        x = LEFT + STEP * (step - 1)
        made.append(f'<text class="m" x="{x:.1f}" y="{APART[1] + 18}">{step}</text>')
    made += [
        f'<text x="{LEFT}" y="{LOSS[0] - 4}">training loss</text>',
        f'<text x="{LEFT}" y="{APART[0] - 8}">difference to {first["name"]}</text>',
        f'<text class="m" x="{(LEFT + right) / 2:.1f}" y="{APART[1] + 36}">step</text>',
    ]
    middle = loss_at(sum(line["loss"][-1] for line in lines) / len(lines))
    styles = list(zip(lines, LINES, strict=True))
    for i, (line, style) in enumerate(styles):
        made.append(curve(map(loss_at, line["loss"]), *style))
        end, y = loss_at(line["loss"][-1]), middle + 17 * (i - (len(lines) - 1) / 2)
        color, dashes, _ = style
        made.append(
            f'<path stroke="{color}" stroke-dasharray="{dashes}" stroke-width="2" '
            f'd="M{right:.1f} {end:.1f}L{right + 18:.1f} {y:.1f}"/>'
            f'<text x="{right + 22:.1f}" y="{y + 4.5:.1f}">{line["name"]}</text>'
        )
    for far, (_, (color, dashes, _)) in zip(apart(lines), styles[1:], strict=True):
        made.append(curve(map(apart_at, far), color, dashes, 0.9))
    return "\n".join([*made, "</svg>\n"])


def apart(lines):
    """How far each of the others is from the first at each step."""
    first, *others = [line["loss"] for line in lines]
    return [[abs(a - b) for a, b in zip(other, first)] for other in others]


def grid(y, right, label):
    return [
        f'<path class="g" d="M{LEFT} {y:.1f}H{right:.1f}"/>'
        f'<text class="r" x="{LEFT - 6}" y="{y + 4.5:.1f}">{label}</text>'
    ]


def curve(heights, color, dashes, width):
    """An SVG path through all steps. To be short, it is scaled: a step is 2 wide, and
    heights are whole numbers."""
    scale = STEP / 2
    ys = [round(y / scale) for y in heights]
    moves = "".join(f"l2 {b - a}".replace(" -", "-") for a, b in itertools.pairwise(ys))
    return (
        f'<path class="c" stroke="{color}" stroke-dasharray="{dashes}" '
        f'stroke-width="{width / scale:.1f}" '
        f'transform="translate({LEFT} 0) scale({scale:g})" d="M0 {ys[0]}{moves}"/>'
    )


def main():
    files.write(DRAWING, drawing(frameworks(CURVES)))
    print(f"{DRAWING}  {DRAWING.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
