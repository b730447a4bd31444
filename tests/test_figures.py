"""Figures: one look, no label covers another, maps that can be compared."""

import base64
import io
import itertools

import nbformat
import numpy as np
import pytest
from matplotlib import pyplot as plt
from nbclient import NotebookClient
from PIL import Image

from d2l_utils import figures
from d2l_utils.data import resize


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_a_confusion_matrix_counts_true_rows_and_predicted_columns():
    y, y_hat = np.array([0, 0, 2, 2, 2]), np.array([0, 1, 2, 0, 0])
    counts = figures.confusion_matrix(y, y_hat, num_classes=3)
    assert counts.tolist() == [[1, 1, 0], [0, 0, 0], [2, 0, 1]]


@pytest.mark.parametrize("y_hat", [np.zeros((3, 10)), np.zeros(2, int)])
def test_logits_and_predictions_of_another_number_are_refused(y_hat):
    with pytest.raises(ValueError, match=r"argmax\(axis=1\)"):
        figures.confusion_matrix(np.zeros(3, int), y_hat)


def test_counts_are_legible_on_their_shade():
    counts = np.array([[900, 350, 20], [4, 500, 0], [270, 290, 310]])
    figures.show_confusion_matrix(counts, ["a", "b", "c"])
    axes = plt.gcf().axes[0]
    shades = axes.images[0].cmap(axes.images[0].norm(axes.images[0].get_array()))
    for text in axes.texts:
        column, row = (int(x) for x in text.get_position())
        assert text.get_text() == str(counts[row, column])
        colors = (
            shades[row, column][:3],
            plt.matplotlib.colors.to_rgb(text.get_color()),
        )
        assert contrast(*colors) >= 4.5  # WCAG 2, level AA


def contrast(*colors):
    """Of two colours by WCAG 2, from 1 to 21."""
    linear = [
        np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        for c in map(np.array, colors)
    ]
    dark, light = sorted(c @ [0.2126, 0.7152, 0.0722] for c in linear)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(
    "maps, expected",
    [
        ([[[0, 1.0]], [[3.0, 2]]], (0, 3)),
        ([[[0, 1.0]], [[-2.0, 0]]], (-2, 2)),
        ([[[0, 0.0]], [[0.0, 0]]], (0, 1)),
    ],
)
def test_maps_have_one_scale_and_lie_on_the_whole_image(maps, expected):
    axes = figures.show_maps(
        np.zeros((2, 1, 28, 28)), maps, ["a", "b"], wrong=[False, True], num_cols=2
    )
    for ax in axes:
        image, shades = ax.images
        assert shades.get_clim() == expected
        assert (
            [*shades.get_extent()] == [*image.get_extent()] == [-0.5, 27.5, 27.5, -0.5]
        )
    assert [ax.get_title() for ax in axes] == ["a", "✗ b"]


def test_as_many_maps_as_images():
    with pytest.raises(ValueError, match="3 maps do not fit 2 images"):
        figures.show_maps(np.zeros((2, 28, 28)), np.zeros((3, 6, 6)))


def test_labels_at_the_ends_of_curves_do_not_cover_each_other():
    fig, axes = figures.subplots(1, 1, (4, 3))
    ends = [1.0, 1.01, 1.02, 3.0]
    lines = [axes.plot([0, end], label=f"to {end}")[0] for end in ends]
    figures.label_ends(axes, lines)
    fig.canvas.draw()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert sorted(t.get_text() for t in axes.texts) == [f"to {e}" for e in ends]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert {t.get_color() for t in axes.texts} == {x.get_color() for x in lines}


def test_the_look_is_of_our_figures_alone():
    before = plt.rcParams.copy()
    axes = figures.subplots(1, 2, (4, 2))[1]
    assert not axes[0].spines["top"].get_visible()
    assert plt.rcParams == before


CELL = """\
import numpy as np
from d2l_utils import figures
{first}
figures.plot(np.arange(3), np.arange(3), figsize=(3, 2))
"""


@pytest.mark.parametrize(
    "first, mime", [("", "image/png"), ("figures.use_svg_display()", "image/svg+xml")]
)
def test_a_notebook_stores_two_pixels_for_each_that_it_shows(first, mime, monkeypatch):
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the notebook's own is meant
    cells = [nbformat.v4.new_code_cell(CELL.format(first=first))]
    nb = NotebookClient(nbformat.v4.new_notebook(cells=cells), timeout=300).execute()
    (output,) = nb.cells[0].outputs
    assert set(output["data"]) == {mime, "text/plain"}
    if mime == "image/png":
        shown = output["metadata"][mime]
        stored = Image.open(io.BytesIO(base64.b64decode(output["data"][mime])))
        assert [n // 2 for n in stored.size] == [shown["width"], shown["height"]]
        assert stored.width / (shown["width"] / 96) >= 110  # dots an inch


def test_resizing_is_that_of_training(rng):
    images = rng.integers(0, 256, (2, 4, 6), dtype=np.uint8)
    assert resize(images, (4, 6)).shape == (2, 1, 4, 6)
    np.testing.assert_array_equal(
        resize(images, (4, 6))[:, 0], images / np.float32(255)
    )
    # Twice the size, by hand: a quarter of the way from one pixel's centre to the next.
    doubled = resize(images, (4, 12))[0, 0, 0]
    first = images[0, 0] / 255
    expected = [first[0], 0.75 * first[0] + 0.25 * first[1]]
    np.testing.assert_allclose(doubled[:2], expected, rtol=1e-6)


@pytest.mark.parametrize("images", [np.zeros((2, 1, 28, 28)), np.zeros((28, 28))])
def test_images_of_another_shape_are_refused(images):
    with pytest.raises(ValueError, match=r"\(n, height, width\) is expected"):
        resize(images, 56)
