"""The live NiN as a drawing: what stands where no script runs, as SVG.

It shows what the figure shows when it begins: its first image with the map of the class
that the network predicts over it, and the ten maps with their means, the logits.
"""

from html import escape

import numpy as np

SIDE, INPUT = 28, 56  # of an image, as stored and as the network sees it
CELL = 8  # side of a cell of a map, in pixels of the network
GREYS, REDS = 16, 25  # shades of each colour
HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 300" width="720" \
height="300" role="img"><title>An image and ten maps of evidence</title><style>
text{font-family:Helvetica,Arial,sans-serif;font-size:13px;fill:#222;text-anchor:middle}
.b{font-weight:bold}.e{fill:#d62828}
</style><rect width="720" height="300" fill="#fff"/>
"""


def by_level(values, levels, path, square):
    """Paths, one for all places of a level, for brevity; none for level 0.

    values: from 0 to 1, by row and column. path: SVG for a level from 0 to 1, with `{}`
    where the places belong. square: a place as part of it, of column and row.
    """
    steps = np.round(np.asarray(values) * (levels - 1)).astype(int)
    return "".join(
        path(level / (levels - 1)).format(
            "".join(square(x, y) for y, x in np.argwhere(steps == level))
        )
        for level in range(1, levels)
        if (steps == level).any()
    )


def pixels(image):
    """The image, dark on white, one unit a pixel."""

    def path(level):
        return f'<path fill="#{3 * f"{round(255 * (1 - level)):02x}"}" d="{{}}"/>'

    return by_level(image / 255, GREYS, path, lambda x, y: f"M{x} {y}h1v1h-1z")


def cells(map_, windows, most):
    """A map's cells, the more evidence the redder, each in the middle of its window.

    windows: the first and last pixel of the network that each row or column sees.
    """
    scale, side = SIDE / INPUT, CELL * SIDE / INPUT
    at = [(first + last + 1 - CELL) / 2 * scale for first, last in windows]

    def path(level):
        return f'<path class="e" fill-opacity="{0.72 * level:.2f}" d="{{}}"/>'

    def square(x, y):
        return f"M{at[x]:g} {at[y]:g}h{side:g}v{side:g}h-{side:g}z"

    return by_level(map_ / most, REDS, path, square)


def drawing(image, maps, windows, names):
    """The SVG of one image (28, 28) in bytes and its maps (10, rows, columns)."""
    logits, most = maps.mean(axis=(1, 2)), maps.max()
    best = int(logits.argmax())

    def picture(x, y, side, c, faint):
        frame = f'<rect width="{SIDE}" height="{SIDE}" fill="none" stroke="#bbb" '
        return (
            f'<g transform="translate({x} {y}) scale({side / SIDE:g})">{frame}'
            f'stroke-width="{SIDE / side:.3f}"/><use href="#image" opacity="{faint}"/>'
            f"{cells(maps[c], windows, most)}</g>\n"
        )

    made = [
        HEAD,
        '<defs><g id="image" shape-rendering="crispEdges">',
        f"{pixels(image)}</g></defs>\n",
        '<text class="b" x="118" y="24">the image</text>\n',
        '<text class="b" x="476" y="24">ten maps, and the mean of each</text>\n',
        picture(12, 44, 212, best, 1),
        f'<text x="118" y="278">{escape(names[best])}</text>\n',
    ]
    for c, name in enumerate(names):
        x, y = 250 + 92 * (c % 5), 56 + 126 * (c // 5)
        bold = ' class="b"' * (c == best)
        made += [
            f'<text{bold} x="{x + 42}" y="{y - 6}">{escape(name)}</text>\n',
            picture(x, y, 84, c, 0.25),
            f'<text{bold} x="{x + 42}" y="{y + 101}">{logits[c]:.2f}</text>\n',
        ]
    return "".join([*made, "</svg>\n"])
