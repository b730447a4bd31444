"""The live NiN as a drawing: what stands where no script runs, as SVG.

It shows what the figure shows when it begins: its first image with the map of the class
that the network predicts over it, and the ten maps with their means, the logits.
"""

from html import escape

import numpy as np

SIDE, INPUT = 28, 56  # of an image, as stored and as the network sees it
CELL = 8  # side of a cell of a map, in pixels of the network
LEVELS = 16  # of grey, so that pixels of one level share a path
HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 300" width="720" \
height="300" role="img"><title>An image and ten maps of evidence</title><style>
text{font-family:Helvetica,Arial,sans-serif;font-size:13px;fill:#222;text-anchor:middle}
.b{font-weight:bold}.e{fill:#d62828}
</style><rect width="720" height="300" fill="#fff"/>
"""


def pixels(image):
    """The image, dark on white, one unit a pixel."""
    levels = np.round(image / 255 * (LEVELS - 1)).astype(int)
    made = []
    for level in range(1, LEVELS):
        runs = []
        for y, row in enumerate(levels == level):
            edges = np.flatnonzero(np.diff(np.pad(row.astype(int), 1)))
            runs += [f"M{x} {y}h{end - x}v1h-{end - x}z"
                     for x, end in edges.reshape(-1, 2)]  # fmt: skip
        grey = 255 - round(level * 255 / (LEVELS - 1))
        if runs:
            made.append(f'<path fill="rgb({grey},{grey},{grey})" d="{"".join(runs)}"/>')
    return "".join(made)


def cells(map_, windows, most):
    """A map's cells, the more evidence the redder, each in the middle of its window.

    windows: the first and last pixel of the network that each row or column sees.
    """
    scale, side = SIDE / INPUT, CELL * SIDE / INPUT
    corners = [(first + last + 1 - CELL) / 2 for first, last in windows]
    return "".join(
        f'<rect class="e" x="{x * scale:g}" y="{y * scale:g}" width="{side:g}" '
        f'height="{side:g}" fill-opacity="{0.72 * value / most:.2f}"/>'
        for y, row in zip(corners, map_, strict=True)
        for x, value in zip(corners, row, strict=True)
        if value > most / 200
    )


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
