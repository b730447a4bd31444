"""The live figures of the pages, in a browser, with real pointers and keys.

What they compute is compared with an account made here; what stands in their place
without a script, in print and where something is missing is looked at, too.
"""

import base64
import hashlib
import re
from html import unescape

import numpy as np
import pytest
import test_pages_browser as in_browser
from test_pages_browser import media, wait

from book.notebooks.editions import edition_cells
from book.pages import live
from book.pages.markup import PageError
from book.source import cells
from book.source.book import BOOK, SourceError
from book.source.tabs import passages, text_for

browser, axe = in_browser.browser, in_browser.axe
HIDE_CANVAS = "HTMLCanvasElement.prototype.getContext = () => null"
FENCED = "Before.\n\n:::{live} budget\n![a](b.svg)\n\nCaption.\n:::\nAfter."


# In the source ---------------------------------------------------------------------


def test_a_passage_names_its_figure_and_notebooks_have_the_picture():
    found = passages(FENCED, str)
    assert [(p.live, p.tabs, p.row) for p in found] == [
        ("", None, 0), ("budget", None, 3), ("", None, 7)
    ]  # fmt: skip
    assert text_for("jax", FENCED, str) == (
        "Before.\n\n![a](b.svg)\n\nCaption.\nAfter."
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (":::{live} budget\nA.", r"0: ':::\{live\}' is not closed"),
        (":::{live}\nA.\n:::", r"0: ':::\{live\}' is not a"),
        (":::{live} a b\nA.\n:::", "is not a"),
        (
            ":::{live} a\n:::{tab} jax\n:::",
            r"1: ':::\{tab\}' begins before ':::\{live\}' at 0",
        ),
        (
            ":::{tab} jax\n:::{live} a\n:::",
            r"1: ':::\{live\}' begins before ':::\{tab\}' at 0",
        ),
    ],
)
def test_bad_fences(text, words):
    with pytest.raises(SourceError, match=words):
        passages(text, str)


def test_a_figure_that_is_not_there_is_named():
    with pytest.raises(PageError, match=r"s\.md:3: there is no live figure 'x', only"):
        live.known("x", "s.md:3")


def test_a_page_without_figures_gets_nothing():
    assert live.of('<div class="live">', {}) == live.Live([], "", {})


# On the page -----------------------------------------------------------------------


@pytest.fixture
def figure(browser, real_book):
    """Opens the page of a figure; nothing may have been logged at the end."""

    def opened(page, name):
        browser.get((real_book / f"{page}.html").as_uri())
        there = f"[data-live={name}]"
        found = wait(browser).until(lambda b: b.find_element("css selector", there))
        into = "arguments[0].scrollIntoView({block: 'start'}); scrollBy(0, -80)"
        browser.execute_script(into, found)
        return found

    browser.get_log("browser")
    yield opened
    assert browser.get_log("browser") == []


def all_of(found, selector):
    return found.find_elements("css selector", selector)


def finger(browser, element, *points):
    """Drag a finger over points (x, y), in pixels from the corner of an element."""
    corner = "const b = arguments[0].getBoundingClientRect(); return [b.left, b.top]"
    box = browser.execute_script(corner, element)
    kinds = ["touchStart"] + ["touchMove"] * (len(points) - 1)
    for kind, (x, y) in zip(kinds, points, strict=True):
        where = {"type": kind, "touchPoints": [{"x": box[0] + x, "y": box[1] + y}]}
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", where)
    end = {"type": "touchEnd", "touchPoints": []}
    browser.execute_cdp_cmd("Input.dispatchTouchEvent", end)


def heard(browser, found, control, selector):
    """What a screen reader is told of twenty steps to the right by a control: not each
    of them, and at last what the element selected says. Nothing moves by itself."""
    region, shown = (all_of(found, s)[0] for s in ("[role=status]", selector))
    browser.execute_async_script(
        """
        const [region, control, done] = arguments;
        window.said = [];
        region.textContent = "";
        new MutationObserver(() => said.push(region.textContent))
          .observe(region, { childList: true });
        let left = 20;
        const key = new KeyboardEvent("keydown", { key: "ArrowRight" });
        const step = () => {
          control.stepUp?.();
          control.dispatchEvent(control.stepUp ? new Event("input") : key);
          if (--left) requestAnimationFrame(step);
          else done();
        };
        step();
        """,
        region,
        control,
    )
    there = "return arguments[0].textContent.includes(arguments[1].textContent)"
    wait(browser).until(lambda b: b.execute_script(there, region, shown))
    said = browser.execute_script("return said")
    assert len(said) <= 3  # of twenty, on a busy machine
    assert browser.execute_script("return document.getAnimations().length") == 0
    return said


def still(found):
    return all_of(found, "img")[0].is_displayed()


@pytest.mark.parametrize(
    ("page", "name"),
    [
        ("nin", "conv1x1"),
        ("ja/nin", "conv1x1"),
        ("googlenet", "budget"),
        ("parity", "curves"),
        ("ja/parity", "curves"),
    ],
)
def test_the_picture_stands_where_no_figure_can(browser, figure, page, name):
    found = figure(page, name)
    assert not still(found) and all_of(found, ".live-figure")[0].is_displayed()
    media_type = "Emulation.setEmulatedMedia"
    browser.execute_cdp_cmd(media_type, {"media": "print"})
    try:
        wait(browser).until(lambda b: still(found))
        assert not all_of(found, ".live-figure")[0].is_displayed()
    finally:
        browser.execute_cdp_cmd(media_type, {"media": ""})
    disabled = "Emulation.setScriptExecutionDisabled"
    browser.execute_cdp_cmd(disabled, {"value": True})
    try:
        browser.refresh()
        found = browser.find_element("css selector", f"[data-live={name}]")
        assert still(found) and not all_of(found, ".live-figure")
    finally:
        browser.execute_cdp_cmd(disabled, {"value": False})


def test_a_browser_that_lacks_something_says_so(browser, figure):
    add, remove = (f"Page.{x}ScriptToEvaluateOnNewDocument" for x in ("add", "remove"))
    added = browser.execute_cdp_cmd(add, {"source": HIDE_CANVAS})
    try:
        found = figure("nin", "conv1x1")
        assert still(found) and not all_of(found, ".live-figure")
        assert "This browser lacks" in all_of(found, ".note")[0].text
    finally:
        browser.execute_cdp_cmd(remove, added)


def test_figures_fit_a_narrow_phone_and_the_dark(browser, figure, axe):
    size = {"width": 360, "height": 780, "deviceScaleFactor": 2, "mobile": True}
    media(browser, prefers_color_scheme="dark")
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        for page, name in (
            ("nin", "conv1x1"), ("googlenet", "budget"), ("parity", "curves"),
        ):  # fmt: skip
            found = figure(page, name)
            width = "return document.documentElement.scrollWidth"
            wait(browser).until(lambda b, w=width: b.execute_script(w) == 360)
            touched = all_of(found, "button, input[type=range]")
            heights = [e.rect["height"] for e in touched if e.is_displayed()]
            assert min(heights) >= 24  # pixels, WCAG 2.2
            assert in_browser.faults_of_live(browser, axe) == []
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        media(browser)


def test_the_theme_button_paints_figures(browser, figure):
    found, seen = figure("googlenet", "budget"), []
    box, button = all_of(found, ".budget-box")[0], all_of(browser, ".theme")[0]
    color = "return getComputedStyle(arguments[0]).backgroundColor"
    for _ in range(3):  # light, dark, and as the system has it
        browser.execute_script("arguments[0].click()", button)
        seen.append(browser.execute_script(color, box))
    assert seen[:2] == ["rgb(253, 227, 184)", "rgb(90, 70, 32)"]


def test_no_script_may_run_but_those_of_the_page(real_book):
    """The policy of a page with live figures has the hashes of its scripts alone."""
    pages = {page: page.read_text("utf-8") for page in real_book.rglob("*.html")}
    pages = {page: html for page, html in pages.items() if "data-live=" in html}
    assert len(pages) >= 9  # three sections in three languages
    for page, html in pages.items():
        (policy,) = re.findall(r'"Content-Security-Policy" content="([^"]*)"', html)
        parts = [part.split() for part in unescape(policy).split(";")]
        allowed = {name: set(values) for name, *values in parts}
        scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
        digests = [hashlib.sha256(script.encode()).digest() for script in scripts]
        hashes = {f"'sha256-{base64.b64encode(d).decode()}'" for d in digests}
        assert len(hashes) >= 4 and allowed == {
            "default-src": {"'none'"}, "img-src": {"data:"},
            "style-src": {"'unsafe-inline'"}, "script-src": hashes,
            "base-uri": {"'none'"}, "form-action": {"'none'"},
        }, page  # fmt: skip


# The 1x1 convolution -----------------------------------------------------------------

PIXELS = """
return [...arguments[0].querySelectorAll("canvas")].map((canvas) => {
  const data = canvas.getContext("2d").getImageData(0, 0, 224, 224).data, found = [];
  for (let y = 3; y < 224; y += 7)
    for (let x = 3; x < 224; x += 7) {
      const i = 4 * (x + 224 * y);
      found.push([data[i], data[i + 1], data[i + 2]]);
    }
  return found;
});
"""


def frame(browser):
    """Wait for the next frame, in which a figure is drawn."""
    browser.execute_async_script(
        "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))"
    )


def pictures(browser, found):
    frame(browser)
    return [np.array(p) / 255 for p in browser.execute_script(PIXELS, found)]


def mixed(found, X, relu):
    """The pixels X through the matrices that the sliders of the figure show."""
    for layer in all_of(found, "fieldset"):
        if layer.is_displayed():
            values = [float(s.get_attribute("value")) for s in all_of(layer, "input")]
            W = np.array(values).reshape(3, 4)
            X = X @ W[:, :3].T + W[:, 3]
            X = np.maximum(X, 0) if relu else X
    return np.clip(X, 0, 1)


def test_a_1x1_convolution_mixes_channels_at_every_pixel(browser, figure):
    from selenium.webdriver.common.keys import Keys

    found = figure("nin", "conv1x1")
    X, Y = pictures(browser, found)
    assert len(np.unique(X, axis=0)) > 30 and np.array_equal(X, Y)  # the identity
    seen = [Y]
    for button in all_of(found, ".live-buttons button")[1:]:
        button.click()
        same, Y = pictures(browser, found)
        expected = mixed(found, X, relu=True)
        # Input and output are rounded to bytes. No pixel's centre is under the mark.
        assert np.array_equal(same, X) and abs(Y - expected).max() < 3 / 255
        assert min(abs(Y - other).max() for other in seen) > 0.2
        seen.append(Y)
    relu, two, shuffle = all_of(found, "input[type=checkbox]")
    assert two.is_selected() and relu.is_selected()
    relu.click()  # the layers cancel out: only the ReLU between them keeps them apart
    assert pictures(browser, found)[1].max() == 0
    relu.click()
    shuffle.click()
    moved, after = pictures(browser, found)
    assert not np.array_equal(moved, X)
    table = {}
    for x, y in zip(X, Y, strict=True):
        table[tuple(x)] = tuple(y)
    assert all(table[tuple(x)] == tuple(y) for x, y in zip(moved, after, strict=True))
    assert sorted(map(tuple, moved)) == sorted(map(tuple, X))
    assert "(largest difference: 0.00)" in all_of(found, ".live-note")[0].text
    slider = all_of(found, "input[type=range]")[0]
    before = float(slider.get_attribute("value"))
    slider.send_keys(Keys.ARROW_RIGHT)
    assert float(slider.get_attribute("value")) == pytest.approx(before + 0.1)
    assert slider.get_attribute("aria-label") == "Layer 1: weight from red to red"
    assert not all_of(found, ".live-buttons [aria-pressed=true]")
    assert abs(pictures(browser, found)[1] - after).max() > 0.02


def test_a_pixel_is_chosen_by_pointer_finger_and_keys(browser, figure):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    found = figure("nin", "conv1x1")
    canvas, said = all_of(found, "canvas")[0], all_of(found, ".conv1x1-sum")[0]
    assert "Pixel (13, 12)" in said.text
    ActionChains(browser).move_to_element_with_offset(canvas, -90, -90).perform()
    wait(browser).until(lambda b: "Pixel (2, 2)" in said.text)
    canvas.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    wait(browser).until(lambda b: "Pixel (3, 4)" in said.text)
    unit = canvas.size["width"] / 32
    finger(browser, canvas, (12.5 * unit, 2.5 * unit), (20.5 * unit, 2.5 * unit))
    wait(browser).until(lambda b: "Pixel (21, 3)" in said.text)
    heard(browser, found, canvas, ".conv1x1-sum")
    assert "Pixel (32, 3)" in said.text


# An Inception block's budget ---------------------------------------------------------


def blocks_of_the_paper():
    """[(input channels, side, c1, c2, c3, c4)] by the code of the notebook."""
    text = BOOK.source_path("googlenet").read_text(encoding="utf-8")
    tab = text[text.index("def b3(self)") : text.index("AdaptiveAvgPool2d((1, 1))")]
    sides, c_in, found = {"b3": 12, "b4": 6, "b5": 3}, 192, []
    for method in tab.split("def ")[1:]:
        for line in re.findall(r"Inception\((.*)\),", method):
            c1, c2r, c2, c3r, c3, c4 = map(int, re.findall(r"\d+", line))
            found.append((c_in, sides[method[:2]], c1, (c2r, c2), (c3r, c3), c4))
            c_in = c1 + c2 + c3 + c4
    return found


def cost(convs, side):
    """(parameters, MACs) of convolutions (in, out, kernel) on maps of a side."""
    weights = [i * o * k**2 for i, o, k in convs]
    return sum(weights) + sum(o for _, o, _ in convs), sum(weights) * side**2


def account(c, side, c1, c2, c3, c4):
    """[parameters and MACs: [with, without: [four branches, all]]]."""
    made = []
    for reduced in (True, False):
        wide = [
            [(c, r, 1), (r, out, k)] if reduced else [(c, out, k)]
            for (r, out), k in ((c2, 3), (c3, 5))
        ]
        each = [cost(convs, side) for convs in ([(c, c1, 1)], *wide, [(c, c4, 1)])]
        made.append([[*column, sum(column)] for column in zip(*each, strict=True)])
    return [list(pair) for pair in zip(*made, strict=True)]


@pytest.mark.slow(
    "numbers come from the layers' shapes by the same code",
    only=("mxnet", "tensorflow"),
)
def test_the_account_is_that_of_resources(framework, d2l, layout):
    Inception = cells.load("googlenet", framework)["Inception"]
    for c, side, *widths in blocks_of_the_paper():
        counted = d2l.resources(Inception(*widths), layout(1, c, side, side))
        params, macs = (both[0][-1] for both in account(c, side, *widths))
        assert (counted.params, counted.macs) == (params, macs), widths


def shown_account(browser, found):
    frame(browser)
    made = []
    for table in all_of(found, "table"):
        rows = [[int(td.text.replace(",", "")) for td in all_of(row, "td")]
                for row in all_of(table, "tbody tr")]  # fmt: skip
        made.append([list(column) for column in zip(*rows, strict=True)])
    return made


def test_the_budget_of_the_nine_blocks(browser, figure):
    found = figure("googlenet", "budget")
    buttons, blocks = all_of(found, ".live-buttons button"), blocks_of_the_paper()
    assert len(buttons) == len(blocks) == 9
    for button, block in zip(buttons, blocks, strict=True):
        button.click()
        assert shown_account(browser, found) == account(*block), button.text
        outs = [p.text.split()[0] for p in all_of(found, ".budget-out")]
        c1, c2, c3, c4 = block[2:]
        assert outs == [str(n) for n in (c1, c2[1], c3[1], c4)]


def test_the_budget_agrees_with_what_the_notebook_printed(browser, figure):
    found = figure("googlenet", "budget")
    printed = next(
        output.text
        for cell in edition_cells(BOOK, "googlenet", "pytorch").values()
        for output in cell.get("outputs", ())
        if "MACs with 1x1" in output.get("text", "")
    )
    rows = [re.findall(r"[\d,.]+%?", line) for line in printed.split("\n")[1:6]]
    rows = [[int(n.replace(",", "")) for n in row if "%" not in n] for row in rows]
    shown = shown_account(browser, found)[1]
    assert [row[-2:] for row in rows] == [list(pair) for pair in zip(*shown)]


def test_the_budget_by_keys_and_finger(browser, figure):
    from selenium.webdriver.common.keys import Keys

    found = figure("googlenet", "budget")
    slider = all_of(found, "[aria-label='Branch 3: output channels']")[0]
    slider.send_keys(Keys.ARROW_RIGHT)
    assert slider.get_attribute("aria-valuetext") == "33"
    expected = account(192, 12, 64, (96, 128), (16, 33), 32)
    assert shown_account(browser, found) == expected
    slider.send_keys(Keys.HOME)
    all_of(found, "[aria-label='Input channels']")[0].send_keys(Keys.END)
    expected = account(1024, 12, 64, (96, 128), (16, 1), 32)
    assert shown_account(browser, found) == expected
    heard(browser, found, slider, ".live-note")
    width, height = slider.size["width"], slider.size["height"]
    finger(browser, slider, *[(x * width, height / 2) for x in (0.1, 0.4, 0.7)])
    frame(browser)
    c3 = int(slider.get_attribute("value"))
    assert 300 < c3 < 400
    expected = account(1024, 12, 64, (96, 128), (16, c3), 32)
    assert shown_account(browser, found) == expected
