"""The live NiN: its network in JavaScript against the frameworks', and its figure.

The chain is: each framework's NiN28 against live_data's NumPy, and that against what
the browser computes, all with weights rounded to float16. The page is made of a small
book around the stored network; which network a real page has is judged elsewhere.
"""

import base64
import hashlib
import itertools
import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
import test_live
import test_pages_browser as in_browser
from made_book import code, make_book, text
from safetensors import safe_open
from safetensors.numpy import save_file
from test_live import all_of, finger, frame, heard
from test_pages_browser import wait

from book.pages import live, live_data, pages
from book.source.book import BOOK
from book.translate import catalogues
from d2l_utils import study
from d2l_utils.data import LABELS, resize_matrices
from d2l_utils.sources import load_sample
from d2l_utils.weights import stored_path

browser, axe = in_browser.browser, in_browser.axe
STORED = stored_path("nin28_56")
BOUND = 1e-4  # of the largest logit, a quarter for the way from framework to NumPy
SVG = "{http://www.w3.org/2000/svg}"
NETWORK = live.FOLDER / "network.js"
FIGURE = ":::{live} nin\n![Two boxes](img/boxes.svg)\n\nCaption.\n:::"
START = """
const { load, forward, resize } = live.network, layers = load(arguments[0]);
const run = (X) => {
  const pass = forward(layers, X);
  let step = pass.next();
  while (!step.done) step = pass.next();
  return step.value;
};
"""
RUN = f"{START} return arguments[1].map((image) => run(resize(image)).logits)"
# In a browser without canvas and without `:has`, a figure cannot be made.
LACKING = f"""
{test_live.HIDE_CANVAS};
const query = Element.prototype.querySelector;
Element.prototype.querySelector = function (selector) {{
  if (selector.includes(":has")) throw new DOMException(selector, "SyntaxError");
  return query.call(this, selector);
}};
"""


@pytest.fixture(scope="module")
def images():
    return load_sample().val.images[:200]


@pytest.fixture(scope="module")
def expected(images):
    return live_data.logits_of(live_data.read_weights(STORED), images)


def off(found, expected):
    """The largest difference, as a part of the largest logit."""
    assert np.shape(found) == expected.shape
    return np.abs(np.asarray(found) - expected).max() / np.abs(expected).max()


# The frameworks ----------------------------------------------------------------------


def test_a_framework_gives_the_same_logits(framework, d2l, nin, images, expected,
                                           tmp_path):  # fmt: skip
    with safe_open(STORED, "numpy") as file:
        rounded = {
            k: file.get_tensor(k).astype("float16").astype("float32")
            for k in file.keys()  # noqa: SIM118
        }
        save_file(rounded, tmp_path / "w.safetensors", file.metadata())
    model = nin["NiN28"]()
    variables = d2l.load_weights(model, tmp_path / "w.safetensors")
    model = model.bind(variables) if framework == "jax" else model
    R_h, R_w = resize_matrices((28, 28), (56, 56))
    X = R_h @ (images[:, None] / np.float32(255)).astype(np.float32) @ R_w.T
    assert off(d2l.predict(model, X), expected) < BOUND / 4


# The browser -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The address of a page with the figure, and with that of an Inception block."""
    folder = tmp_path_factory.mktemp("nin")
    sample = load_sample().val
    made = live_data.data_of(STORED, sample.images, sample.labels, least=0.7)
    (folder / "nin.json").write_text(json.dumps(made))
    with pytest.MonkeyPatch.context() as patch:
        scripts = live.FIGURES["nin"][0]
        patch.setitem(live.FIGURES, "nin", (scripts, folder / "nin.json"))
        both = text(FIGURE), text(FIGURE.replace("nin", "budget"))
        book = make_book(folder, [text("# Title"), *both, code("1")])
        assert pages.main(["--out", str(folder / "html")], book) == 0
    return (folder / "html/mini.html").as_uri()


@pytest.fixture
def figure(browser, built):
    """The figure, once it has seen its first image; no error may be logged."""
    browser.get_log("browser")
    browser.get(built)
    found = browser.find_element("css selector", ".live-figure")
    browser.execute_script("arguments[0].scrollIntoView(); scrollBy(0, -70)", found)
    settled(browser, found)
    yield found
    settled(browser, found)
    assert browser.get_log("browser") == []


def settled(browser, found, since=0):
    """Wait until what the figure shows is of what it sees."""
    frame(browser)
    wait(browser).until(lambda b: int(found.get_attribute("data-passes") or 0) > since)
    frame(browser)


def passes(found):
    return int(found.get_attribute("data-passes"))


def logits_shown(found):
    return [float(e.text) for e in all_of(found, ".nin-logit")]


def test_the_browser_gives_the_same_logits(browser, figure, images, expected):
    weights = live_data.packed(live_data.read_weights(STORED))
    found = []
    for few in images.reshape(-1, 20, 784).tolist():
        found += browser.execute_script(RUN, weights, few)
    print(f"the browser is off by {off(found, expected):.1e} of the largest logit")
    assert off(found, expected) < 0.75 * BOUND
    other = np.roll(expected, 1, axis=0)
    assert off(found, other) > 1000 * BOUND  # the bound tells images apart


FAULTS = {
    "a padding": ("...block(64, 3, 2, 2)", "...block(64, 3, 2, 1)"),
    "a stride": ("...block(96, 4, 2, 1)", "...block(96, 4, 1, 1)"),
    "a pool's stride": ("pooled(3, 2)", "pooled(3, 1)"),
    "no ReLU": ("Math.max(sums[i], 0)", "sums[i]"),
    "half a pixel": ("((i + 0.5) * STORED) / SIZE - 0.5", "(i * STORED) / SIZE"),
    "a bit of float16": ("part / 1024", "part / 1025"),
    "rows for columns": ("k * channels + c]", "c * kernel * kernel + k]"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_seen(browser, figure, images, expected, fault):
    script, (old, new) = NETWORK.read_text(encoding="utf-8"), FAULTS[fault]
    assert script.count(old) == 1
    weights = live_data.packed(live_data.read_weights(STORED))
    few = images[:5].reshape(-1, 784).tolist()
    whole = f"{script}\n{RUN}"
    assert off(browser.execute_script(whole, weights, few), expected[:5]) < 0.75 * BOUND
    found = browser.execute_script(whole.replace(old, new), weights, few)
    assert off(found, expected[:5]) > 2 * BOUND


def test_a_pass_is_quick_and_leaves_room_for_the_pointer(browser, figure):
    slider = all_of(figure, ".nin-view input")[0]
    from selenium.webdriver.common.keys import Keys

    took = []
    for _ in range(5):
        before = passes(figure)
        slider.send_keys(Keys.ARROW_RIGHT)
        settled(browser, figure, before)
        took.append(int(figure.get_attribute("data-milliseconds")))
    print("milliseconds of the passes:", took)
    assert min(took) <= 150  # of a machine that may be busy


def test_network_and_figure_are_short():
    scripts = [live.read(name).splitlines() for name in live.FIGURES["nin"][0]]
    assert sum(map(len, scripts)) <= 500


def test_a_figure_that_fails_does_not_stop_the_others(browser, built):
    add, remove = (f"Page.{x}ScriptToEvaluateOnNewDocument" for x in ("add", "remove"))
    added = browser.execute_cdp_cmd(add, {"source": LACKING})
    try:
        browser.get(built)
        nin, budget = all_of(browser, ".live")
        assert "This browser lacks" in all_of(nin, ".note")[0].text
        assert test_live.still(nin) and not test_live.still(budget)
        assert len(all_of(budget, ".live-buttons button")) == 9
    finally:
        browser.execute_cdp_cmd(remove, added)


def test_logits_are_means_of_maps_and_move_with_the_image(browser, figure):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    cells = [float(c.text) for c in all_of(figure, ".nin-cells button")]
    shown = logits_shown(figure)
    mean = float(all_of(figure, ".nin-mean")[0].text.split()[-1])
    assert len(cells) == 36 and mean == max(shown)
    assert np.mean(cells) == pytest.approx(mean, abs=0.06)  # cells have one digit
    canvas = all_of(figure, ".nin-image")[0]
    count, said = passes(figure), "return arguments[0].value"
    drag = ActionChains(browser).move_to_element(canvas).click_and_hold()
    drag.move_by_offset(40, 0).move_by_offset(0, 24).release().perform()
    settled(browser, figure, count)
    right, down, turn = all_of(figure, ".nin-view input")
    assert int(browser.execute_script(said, right)) > 2
    assert int(browser.execute_script(said, down)) > 1
    assert logits_shown(figure) != shown
    count = passes(figure)
    turn.send_keys(Keys.END)  # upside down
    settled(browser, figure, count)
    count = passes(figure)
    thumb = all_of(figure, ".nin-thumbs button")[0]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", thumb)
    thumb.click()
    settled(browser, figure, count)
    assert logits_shown(figure) == shown and turn.get_attribute("value") == "0"


def test_a_cell_tells_what_it_adds(browser, figure):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    cells, about = all_of(figure, ".nin-cells button"), all_of(figure, ".nin-about")[0]
    ActionChains(browser).move_to_element(cells[14]).perform()

    def told():
        words = about.text.split() if "This cell" in about.text else ()
        return [float(w.rstrip(",")) for w in words if "." in w[:-1]]

    text = cells[14].text  # the pointer may still be over another
    wait(browser).until(lambda b: told() and f"{told()[0]:.1f}" == text)
    value, part = told()
    assert part == pytest.approx(value / 36, abs=0.001)
    browser.execute_script("arguments[0].focus()", cells[0])
    browser.switch_to.active_element.send_keys(Keys.ARROW_LEFT, Keys.ARROW_DOWN)
    label = browser.switch_to.active_element.get_attribute("aria-label")
    assert label.startswith("row 2, column 1")


SEEN = """
const [weights, image, places, k] = arguments, X = resize(image), before = run(X).maps;
return places.map(([row, column]) => {
  const other = X.slice();
  other[56 * row + column] += 100;
  const off = run(other).maps.map((map, c) => Math.abs(map[k] - before[c][k]));
  return Math.max(...off);
});
"""


def red_frame(browser, canvas):
    """[left, top, right, bottom] of what is red on the canvas."""
    found = browser.execute_script(
        """
        const { width, height } = arguments[0], at = { x: [], y: [] };
        const context = arguments[0].getContext("2d");
        const { data } = context.getImageData(0, 0, width, height);
        for (let i = 0; i < width * height; i++)
          if (data[4 * i] === 214 && data[4 * i + 1] === 40 && data[4 * i + 2] === 40) {
            at.x.push(i % width);
            at.y.push(Math.floor(i / width));
          }
        return [Math.min, Math.max].flatMap((f) => [f(...at.x), f(...at.y)]);
        """,
        canvas,
    )
    return found if all(v is not None for v in found) else None


def test_a_cell_sees_what_is_in_the_red_frame_and_no_more(browser, figure, images):
    canvas, cell = all_of(figure, ".nin-image")[0], all_of(figure, ".nin-cells *")[14]
    all_of(figure, ".nin-tools input")[0].click()
    browser.execute_script("arguments[0].focus()", cell)
    left, top, right, bottom = wait(browser).until(lambda b: red_frame(b, canvas))
    # A pixel of the network is five of the canvas; the line lies on the border.
    left, top, right, bottom = (left + 1) // 5, (top + 1) // 5, right // 5, bottom // 5
    row, column = (top + bottom) // 2, (left + right) // 2
    inside = [(row, left), (row, right - 1), (top, column), (bottom - 1, column)]
    outside = [(row, left - 1), (row, right), (top - 1, column), (bottom, column)]
    assert all(0 <= v < 56 for place in outside for v in place)
    weights = live_data.packed(live_data.read_weights(STORED))
    image = images[0].ravel().tolist()
    moved = browser.execute_script(START + SEEN, weights, image, inside + outside, 14)
    assert min(moved[:4]) > 0 and moved[4:] == [0] * 4


def test_a_square_takes_evidence_away(browser, figure):
    from selenium.webdriver.common.keys import Keys

    cover = next(b for b in all_of(figure, ".nin-tools button") if b.text == "Cover")
    count, before = passes(figure), logits_shown(figure)
    cover.click()
    settled(browser, figure, count)
    about = all_of(figure, ".nin-about")[0].text
    assert f"{max(before):.2f} without the square" in about
    count = passes(figure)
    all_of(figure, ".nin-image")[0].send_keys(Keys.ARROW_UP)
    settled(browser, figure, count)
    assert all_of(figure, ".nin-about")[0].text != about
    assert logits_shown(figure) != before


INK = """
const { data } = arguments[0].getContext("2d").getImageData(0, 0, 280, 280);
return Array.from({ length: 784 }, (_, i) => {
  const row = 10 * Math.floor(i / 28) + 5, column = 10 * (i % 28) + 5;
  return 255 - data[4 * (280 * row + column)];
});
"""


def ink(browser, canvas):
    """What is drawn, 28x28 numbers from 0 to 255, once it is on the screen."""
    frame(browser)
    return np.reshape(browser.execute_script(INK, canvas), (28, 28))


def tool(figure, name):
    """Press a button above the image."""
    next(b for b in all_of(figure, ".nin-tools button") if name in b.text).click()


def drag(browser, canvas, kind, *points):
    """Drag a mouse, a pen or a finger over points, from 0 to 1 along the sides."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.actions.pointer_input import PointerInput

    box = canvas.size
    points = [(x * box["width"], y * box["height"]) for x, y in points]
    if kind == "touch":
        return finger(browser, canvas, *points)
    hand = ActionChains(browser, duration=20, devices=[PointerInput(kind, kind)])
    for n, (x, y) in enumerate(points):
        x, y = x - box["width"] / 2, y - box["height"] / 2
        hand.move_to_element_with_offset(canvas, round(x), round(y))
        if n == 0:
            hand.click_and_hold()
    hand.release().perform()
    return None


def test_drawing_by_mouse_pen_and_finger(browser, figure):
    canvas, about = (all_of(figure, s)[0] for s in (".nin-image", ".nin-about"))
    all_of(figure, ".nin-tools input")[0].click()  # only the image
    browser.execute_script(
        "window.kinds = []; arguments[0].addEventListener('pointerdown', "
        "(e) => kinds.push(e.pointerType))",
        canvas,
    )
    for kind in ("mouse", "pen", "touch"):
        tool(figure, "Empty")
        drag(browser, canvas, kind, (0.2, 0.5), (0.5, 0.5), (0.8, 0.5))
        drawn = ink(browser, canvas)
        assert drawn[14, 7:21].min() > 200 and drawn[:10].max() == 0, kind
        tool(figure, "Erase")
        drag(browser, canvas, kind, (0.5, 0.3), (0.5, 0.7))
        drawn = ink(browser, canvas)
        assert drawn[14, 14] == 0 and drawn[14, [8, 19]].min() > 200, kind
        count = passes(figure)
        tool(figure, "Cover")
        drag(browser, canvas, kind, (0.5, 0.5), (0.3, 0.5))
        drawn = ink(browser, canvas)
        assert drawn[14, 8] == 0 and drawn[14, 19] > 200, kind
        settled(browser, figure, count)
        assert "without the square" in about.text
    kinds = browser.execute_script("return kinds")
    assert kinds == [kind for kind in ("mouse", "pen", "touch") for _ in range(3)]


def test_drawing_by_keys(browser, figure):
    from selenium.webdriver.common.keys import Keys

    canvas, about = (all_of(figure, s)[0] for s in (".nin-image", ".nin-about"))
    all_of(figure, ".nin-tools input")[0].click()
    tool(figure, "Empty")
    canvas.send_keys(*[Keys.ARROW_LEFT] * 3)
    wait(browser).until(lambda b: "lifted, at row 15, column 12" in about.text)
    assert ink(browser, canvas).max() == 0 and red_frame(browser, canvas) is None
    canvas.send_keys(Keys.SPACE, *[Keys.ARROW_RIGHT] * 6)
    wait(browser).until(lambda b: "lowered, at row 15, column 18" in about.text)
    drawn = ink(browser, canvas)
    assert drawn[14, 11:18].min() > 200 and drawn[:12].max() == 0
    assert red_frame(browser, canvas) == [159, 129, 190, 160]  # the pen, three wide
    canvas.send_keys(Keys.SPACE, *[Keys.ARROW_DOWN] * 5)
    wait(browser).until(lambda b: "lifted, at row 20, column 18" in about.text)
    assert np.array_equal(ink(browser, canvas), drawn)
    region = all_of(figure, "[role=status]")[0]
    wait(browser).until(lambda b: "row 20" in region.get_attribute("textContent"))


def test_the_figure_speaks_once_the_hand_is_still(browser, figure):
    tool(figure, "Draw")
    said = heard(browser, figure, all_of(figure, ".nin-image")[0], ".nin-about")
    assert "lifted, at row 15, column 28" in said[-1]


def test_drawings_of_nothing_and_of_everything(browser, figure):
    all_of(figure, ".nin-tools input")[0].click()
    count = passes(figure)
    tool(figure, "Empty")
    settled(browser, figure, count)
    nothing = logits_shown(figure)
    assert all(np.isfinite(nothing))
    canvas, count = all_of(figure, ".nin-image")[0], passes(figure)
    # 400 events in two seconds, over the whole canvas.
    seen = browser.execute_async_script(
        """
        const [canvas, done] = arguments, box = canvas.getBoundingClientRect();
        canvas.setPointerCapture = () => {};
        const send = (kind, x, y) => canvas.dispatchEvent(new PointerEvent(kind, {
          clientX: box.left + x * box.width, clientY: box.top + y * box.height,
          pointerId: 1, bubbles: true }));
        let n = 0, frames = 0, longest = 0, running = true;
        const watch = new PerformanceObserver((list) => {
          longest = Math.max(longest, ...list.getEntries().map((e) => e.duration));
        });
        watch.observe({ type: "longtask" }); // those of more than 50 ms
        const figure = canvas.closest(".live-figure"), first = +figure.dataset.passes;
        const spent = [], slices = new MutationObserver(() =>
          spent.push(+figure.dataset.milliseconds)); // of a pass, after each slice
        slices.observe(figure, { attributeFilter: ["data-milliseconds"] });
        const tick = () => running && (frames++, requestAnimationFrame(tick));
        tick();
        send("pointerenter", 0, 0);
        send("pointerdown", 0, 0);
        const timer = setInterval(() => {
          for (let k = 0; k < 4; k++, n++) {
            const row = Math.floor(n / 10) / 40;
            send("pointermove", (n % 10 < 5) === (n % 20 < 10) ? 1 : 0, row);
          }
          if (n < 400) return;
          clearInterval(timer);
          running = false;
          send("pointerup", 1, 1);
          done({ longest, spent, frames, passes: +figure.dataset.passes - first });
        }, 20);
        """,
        canvas,
    )
    assert seen["passes"] <= seen["frames"]
    begun = 1 + sum(a > b for a, b in itertools.pairwise(seen["spent"]))
    longest, slices = seen["longest"], len(seen["spent"])
    print(f"{begun} passes in {slices} slices, the longest task {longest} ms")
    assert slices > 3 * begun and longest < 500  # on a machine that may be busy
    settled(browser, figure, count)
    assert all(np.isfinite(logits_shown(figure))) and logits_shown(figure) != nothing


def test_the_figure_is_accessible_and_fits_a_phone(browser, figure, axe):
    size = {"width": 360, "height": 780, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        width = "return document.documentElement.scrollWidth"
        wait(browser).until(lambda b: b.execute_script(width) == 360)
        assert in_browser.faults_of_live(browser, axe) == []
        thumbs = all_of(figure, ".nin-thumbs canvas")
        assert thumbs and {e.size["width"] for e in thumbs} == {28}
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


# The data ----------------------------------------------------------------------------


def test_a_poor_network_is_refused(images):
    labels = load_sample().val.labels[:200]
    with pytest.raises(SystemExit, match=r"less than 0\.95: nothing was written"):
        live_data.data_of(STORED, images, labels, least=0.95)


def test_images_to_choose_are_hits_and_misses(images, expected):
    labels = load_sample().val.labels[:200]
    which = live_data.chosen(labels, expected)
    right = expected.argmax(axis=1)[which] == labels[which]
    assert 15 <= right.sum() <= 20 and 5 <= (~right).sum() <= 20
    assert len(set(which)) == len(which)


# The drawing -------------------------------------------------------------------------


def test_the_drawing_shows_what_the_figure_begins_with(images, expected):
    """Its class and its logits; the class predicted, and no other, is in bold."""
    labels = load_sample().val.labels[:200]
    made = live_data.data_of(STORED, images, labels, least=0.7)
    drawn = ElementTree.fromstring(
        live_data.drawing_of(live_data.read_weights(STORED), made)
    )
    texts = [(e.text, e.get("class")) for e in drawn.iter(f"{SVG}text")]
    first = live_data.chosen(labels, expected)[0]
    logits, best = expected[first], LABELS[expected[first].argmax()]
    assert [t for t, _ in texts[2:]] == [best, *itertools.chain.from_iterable(
        (name, f"{logit:.2f}") for name, logit in zip(LABELS, logits, strict=True)
    )]  # fmt: skip
    assert [t for t, c in texts[3:] if c] == [best, f"{logits.max():.2f}"]
    image = drawn.find(f".//{SVG}g[@id='image']")
    columns = [int(x) for p in image for x in re.findall(r"M(\d+) ", p.get("d"))]
    inked = np.flatnonzero((images[first] > 255 / 30).any(axis=0))
    assert (min(columns), max(columns) <= inked[-1]) == (inked[0], True)
    assert len(list(drawn.iter(f"{SVG}use"))) == 11


def test_a_cell_is_drawn_where_it_looks(images):
    """A map changes with a row of pixels within its cells' windows, and only there."""
    weights = live_data.read_weights(STORED)
    before = live_data.run(weights, images[:8])
    for row in range(0, 28, 3):
        changed = images[:8].copy()
        changed[:, row] = 255 - changed[:, row]
        moved = (live_data.run(weights, changed) != before).any(axis=(0, 1, 3))
        # Enlarging spreads a row over four.
        sees = [first <= 2 * row + 2 and last >= 2 * row - 1
                for first, last in map(live_data.window, range(6))]  # fmt: skip
        assert not (moved & ~np.array(sees)).any()
        assert moved.sum() >= sum(sees) - 1


# The network of the real page --------------------------------------------------------

OF_THE_STUDY = study.RESULTS / "nin28_56.seed1.safetensors"


@pytest.fixture(scope="module")
def shown():
    """What the figure of the real page is made of."""
    return json.loads((live.FOLDER / "nin.json").read_text())


def test_the_page_has_a_network_of_the_study(shown):
    """Its weights are a run's, in float16, and no poor ones."""
    assert shown["made_from"] == hashlib.sha256(OF_THE_STUDY.read_bytes()).hexdigest()
    assert shown["weights"] == live_data.packed(live_data.read_weights(OF_THE_STUDY))
    record = study.read(OF_THE_STUDY.with_suffix(".json"))
    assert record["settings"]["images"] == 60_000
    # The record's accuracy is of the weights before they were rounded.
    assert abs(shown["accuracy"] - record["test"]["accuracy"]) < 0.002
    assert shown["accuracy"] >= live_data.LEAST and shown["tested"] == 10_000


def test_the_picture_in_its_place_is_of_the_same_network(shown):
    made = live_data.drawing_of(live_data.read_weights(OF_THE_STUDY), shown)
    assert (BOOK.notebooks / "img/nin_maps.svg").read_text() == made
    best = LABELS[shown["guesses"][0]]
    picture = re.search(r"!\[(.*)\]\(img/nin_maps", BOOK.source_path("nin").read_text())
    assert f"The largest mean is that of the {best}." in picture[1]


def test_the_real_page(browser, real_book, shown):
    """In each language: it begins with the picture's logits, and the text is right."""
    raw = np.frombuffer(base64.b64decode(shown["images"]), np.uint8)
    first = raw.reshape(-1, 28, 28)[:1]
    logits = live_data.logits_of(live_data.read_weights(OF_THE_STUDY), first)[0]
    there = sorted(real_book.rglob("nin.html"))
    assert len(there) == len(catalogues.languages(BOOK, "nin"))
    for page in there:
        browser.get_log("browser")
        browser.get(page.as_uri())
        found = browser.find_element("css selector", "[data-live=nin]")
        browser.execute_script("arguments[0].scrollIntoView()", found)
        settled(browser, found.find_element("css selector", ".live-figure"))
        assert logits_shown(found) == pytest.approx(logits, abs=0.0051)
        pressed = [b.get_attribute("aria-pressed") == "true"
                   for b in all_of(found, ".nin-thumbs button")]  # fmt: skip
        assert pressed == [True] + [False] * (len(shown["labels"]) - 1)
        cells = [float(c.text) for c in all_of(found, ".nin-cells button")]
        assert np.mean(cells) == pytest.approx(max(logits), abs=0.3)
        said = browser.find_element("css selector", "main").text.replace(" ", "")
        assert f"{100 * shown['accuracy']:.1f}%" in said
        assert browser.get_log("browser") == []
