"""The live curves: their data, the drawing in their place, and the figure itself.

What the table shows is compared with the stored files; where the curves are, with the
ticks of their axes.
"""

import json
import math
import shutil

import numpy as np
import pytest
import test_live
import test_pages_browser as in_browser
from made_book import code, make_book, text
from test_live import all_of, finger, frame, heard, still
from test_pages_browser import media, wait

from book.pages import live, live_curves, pages
from book.pages.markup import PageError
from d2l_utils.study import groups

browser, axe, figure = in_browser.browser, in_browser.axe, test_live.figure
STORED = json.loads(live_curves.CURVES.read_text(encoding="utf-8"))["loss"]
TITLES = ["PyTorch", "MXNet", "TensorFlow", "JAX"]
RECORDS = [
    json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(live_curves.RESULTS.glob("plateau_nin96_*.json"))
]
FIGURE = ":::{live} curves\n![Two boxes](img/boxes.svg)\n\nCaption.\n:::"
PHONE = {"width": 360, "height": 780, "deviceScaleFactor": 2, "mobile": True}


# The data -----------------------------------------------------------------------------


def test_the_data_are_those_of_the_files():
    data = live_curves.data()
    assert [line["name"] for line in data["frameworks"]["lines"]] == TITLES
    for line, loss in zip(data["frameworks"]["lines"], STORED.values(), strict=True):
        assert [v / 10**5 for v in line["loss"]] == loss
    lines = data["plateau"]["lines"]
    found = {(f"plateau_nin96_{line['name']}", line["seed"]): line for line in lines}
    assert len(found) == len(lines) == len(RECORDS) > 0
    for record in RECORDS:
        loss = found[record["variant"], record["seed"]]["loss"]
        assert [v / 10**4 for v in loss] == record["steps"]["loss"]
    names = list(dict.fromkeys(line["name"] for line in lines))
    order = [groups()["plateau"].index(f"plateau_nin96_{name}") for name in names]
    assert order == sorted(order)
    assert len(json.dumps(data, separators=(",", ":"))) < 150_000


@pytest.fixture
def results(tmp_path):
    """A folder with one record of the plateau."""
    first = next(live_curves.RESULTS.glob("plateau_nin96_glorot.seed1.json"))
    shutil.copy(first, tmp_path)
    return tmp_path


def put(folder, name, **changes):
    (record,) = folder.glob("plateau_nin96_glorot.seed1.json")
    made = json.loads(record.read_text(encoding="utf-8")) | changes
    (folder / f"plateau_nin96_{name}.seed{made['seed']}.json").write_text(
        json.dumps(made), encoding="utf-8"
    )


def test_a_record_that_is_there_is_shown(results):
    loss = [2.5, math.nan, math.inf, 1.25]
    put(results, "a_new_cure", seed=7, steps={"loss": loss})
    put(results, "glorot", seed=2)
    shutil.copy(
        results / "plateau_nin96_glorot.seed2.json", results / "plateau_nin224_x.seed1"
    )
    made = live_curves.data(results=results)["plateau"]["lines"]
    assert [(line["name"], line["seed"]) for line in made] == [
        ("glorot", 1), ("glorot", 2), ("a_new_cure", 7)
    ]  # fmt: skip
    assert made[-1]["loss"] == [25000, None, None, 12500]


def test_without_records_there_is_one_set(tmp_path):
    assert list(live_curves.data(results=tmp_path)) == ["frameworks"]


BAD = {
    "no JSON": "{",
    "a list": "[]",
    "no loss": '{"settings": {}}',
    "an unknown framework": '{"loss": {"pytorch": [1.5], "caffe": [1.5]}}',
    "words": '{"loss": {"pytorch": ["a"], "jax": ["b"]}}',
    "one curve": '{"loss": {"pytorch": [1.5]}}',
    "curves of other lengths": '{"loss": {"pytorch": [1.5], "jax": [1.5, 1.4]}}',
    "no steps": '{"loss": {"pytorch": [], "jax": []}}',
}


@pytest.mark.parametrize("what", BAD)
def test_a_file_that_cannot_be_read_is_named(tmp_path, monkeypatch, what):
    path = tmp_path / "curves.json"
    path.write_text(BAD[what])
    monkeypatch.setitem(live.FIGURES, "curves", ([], lambda: live_curves.data(path)))
    words = r"parity\.md:9: the live figure 'curves': .*curves\.json does not hold a "
    with pytest.raises(PageError, match=words + r"loss .*study\.record_parity` writes"):
        live.known("curves", "parity.md:9")


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(
        PageError, match=r"x\.json is not there; `python -m study\.record_parity"
    ):
        live_curves.data(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": {}}, r"'a_cure' have no 'loss'|cure.* no 'loss' there"),
        ({"steps": {"loss": "none"}}, "real number"),
        ({"format": 99}, "has format 99"),
    ],
)
def test_a_record_that_cannot_be_read_is_named(results, changes, words):
    put(results, "a_cure", **changes)
    with pytest.raises(PageError, match=words):
        live_curves.data(results=results)


# The drawing --------------------------------------------------------------------------


def test_the_drawing_is_that_of_the_stored_curves():
    lines = live_curves.frameworks(live_curves.CURVES)
    made = live_curves.drawing(lines)
    there = live_curves.DRAWING.read_text(encoding="utf-8")
    assert there == made, "`python -m book.pages.live_curves` draws it anew"
    lines[2]["loss"][300] += 5000
    assert live_curves.drawing(lines).count("\n") == made.count("\n")
    assert live_curves.drawing(lines) != made


# The figure ---------------------------------------------------------------------------


@pytest.fixture
def curves(browser, figure):
    found = figure("parity", "curves")
    wait(browser).until(lambda b: all_of(found, ".curves-grid"))  # it is drawn
    return found


def rows(found):
    """{name: texts of the cells} of the table."""
    made = {}
    for row in all_of(found, "tbody tr"):
        head, *cells = all_of(row, "th, td")
        made[head.text] = [cell.text for cell in cells]
    return made


def chosen(found):
    """The step of the table, from 0."""
    words = all_of(found, "caption")[0].text.split()
    assert words[0] == "Step" and words[2] == "of"
    return int(words[1].replace(",", "")) - 1


def assert_shows_the_stored(browser, found):
    frame(browser)
    step, table = chosen(found), rows(found)
    values = [loss[step] for loss in STORED.values()]
    for title, value in zip(TITLES, values, strict=True):
        off = abs(value - values[0])
        expected = [f"{value:.5f}", f"{off:.5f}" if title != "PyTorch" else ""]
        assert table[title] == expected
    most = max(values) - min(values)
    assert table["Largest difference among all"] == [f"{most:.5f}"]
    chart = all_of(found, "[role=slider]")[0]
    assert chart.get_attribute("aria-valuenow") == str(step + 1)
    assert chart.get_attribute("aria-valuetext") == f"Step {step + 1} of 469"


def shown_range(found):
    words = all_of(found, ".curves-range")[0].text.replace(",", "").split()
    return int(words[1]), int(words[3])


def geometry(browser, found):
    """What the chart draws: paths as [[x, y], ...], texts as [text, x, y]."""
    frame(browser)
    return browser.execute_script(
        """
        const all = (s) => [...arguments[0].querySelectorAll(`.curves-chart ${s}`)];
        const at = (e, ...keys) => keys.map((key) => +e.getAttribute(key));
        return {
          lines: all("path:not([stroke-width='2'])").map((p) => ({
            look: p.getAttribute("class"),
            points: p.getAttribute("d").slice(1).split("L").map((s) => s.split(" ").map(Number)),
          })),
          texts: all("text").map((t) => [t.textContent, ...at(t, "x", "y")]),
          rule: at(all(".curves-rule")[0], "x1", "x2"),
          stroke: all("path").map((p) => getComputedStyle(p).stroke),
        };
        """,  # noqa: E501
        found,
    )


def axis(drawn, along, kept):
    """A function from pixels to numbers, by two of the ticks that are kept."""
    texts = [(text.replace(",", ""), *at) for text, *at in drawn["texts"] if kept(*at)]
    (a, *p), *_, (b, *q) = [(float(t), *at) for t, *at in texts if t[0].isdigit()]
    p, q = p[along], q[along]
    return lambda v: a + (v - p) * (b - a) / (q - p)


def x_axis(drawn):
    low = max(y for _, x, y in drawn["texts"] if x > 60 and y > 60) - 17
    return axis(drawn, 0, lambda x, y: abs(y - low) < 1)


def test_steps_chosen_by_keys(browser, curves):
    from selenium.webdriver.common.keys import Keys as K

    chart = all_of(curves, "[role=slider]")[0]
    assert_shows_the_stored(browser, curves)
    step = chosen(curves)
    browser.execute_script("arguments[0].focus()", chart)
    scrolled = browser.execute_script("return scrollY")
    for key, by in (
        (K.ARROW_RIGHT, 1), (K.ARROW_UP, 1), (K.ARROW_LEFT, -1), (K.ARROW_DOWN, -1),
        (K.PAGE_UP, 10), (K.PAGE_DOWN, -10), (K.HOME, -999), (K.ARROW_LEFT, -1),
        (K.END, 999), (K.ARROW_RIGHT, 1),
    ):  # fmt: skip
        chart.send_keys(key)
        step = min(max(step + by, 0), 468)
        assert_shows_the_stored(browser, curves)
        assert chosen(curves) == step
    assert browser.switch_to.active_element == chart
    assert browser.execute_script("return scrollY") == scrolled > 0


def test_a_step_chosen_by_the_pointer_is_the_one_under_it(browser, curves):
    from selenium.webdriver.common.action_chains import ActionChains

    chart, seen = all_of(curves, ".curves-chart")[0], set()
    browser.execute_script(
        "const left = arguments[0].getBoundingClientRect().left;"
        "const keep = (event) => (window.at = event.clientX - left);"
        "arguments[0].addEventListener('pointermove', keep)",
        chart,
    )
    for right in (-200, -41, 117, 200):
        ActionChains(browser).move_to_element_with_offset(chart, right, 0).perform()
        assert_shows_the_stored(browser, curves)
        drawn = geometry(browser, curves)
        under = x_axis(drawn)(browser.execute_script("return at")) - 1
        assert chosen(curves) == pytest.approx(under, abs=0.6)
        x, other = drawn["rule"]
        assert x == other and x_axis(drawn)(x) - 1 == pytest.approx(
            chosen(curves), abs=0.1
        )
        seen.add(chosen(curves))
    assert len(seen) == 4 and shown_range(curves) == (1, 469)


def test_zoom_by_buttons_and_keys_and_back(browser, curves):
    from selenium.webdriver.common.keys import Keys

    closer, wider, reset = all_of(curves, ".curves-tools button")
    chart = all_of(curves, "[role=slider]")[0]
    whole = geometry(browser, curves)
    off = [b.get_attribute("aria-disabled") for b in (closer, wider, reset)]
    assert shown_range(curves) == (1, 469) and off == ["false", "true", "true"]
    reset.click(), wider.click()
    assert geometry(browser, curves) == whole
    closer.click()
    assert shown_range(curves) == (118, 352) and chosen(curves) == 234
    drawn, scale = geometry(browser, curves), x_axis(geometry(browser, curves))
    ends = [scale(drawn["lines"][0]["points"][i][0]) for i in (0, -1)]
    assert ends == pytest.approx([118, 352], abs=0.1)
    assert_shows_the_stored(browser, curves)
    for _ in range(9):
        closer.send_keys(Keys.ENTER)
    first, last = shown_range(curves)
    assert last - first == 9 and closer.get_attribute("aria-disabled") == "true"
    chart.send_keys(Keys.PAGE_UP, Keys.PAGE_UP)  # what is shown goes along
    assert chosen(curves) == 254 and shown_range(curves) == (246, 255)
    chart.send_keys("-")
    assert shown_range(curves)[1] - shown_range(curves)[0] == 18
    reset.click()
    assert chosen(curves) == 254 and shown_range(curves) == (1, 469)
    assert geometry(browser, curves)["lines"] == whole["lines"]
    chart.send_keys("+")
    assert shown_range(curves) == (138, 372)


def test_zoom_by_dragging(browser, curves):
    from selenium.webdriver.common.action_chains import ActionChains

    chart = all_of(curves, ".curves-chart")[0]
    scale = x_axis(geometry(browser, curves))
    middle = chart.rect["width"] / 2
    for start, by in ((-100, 150), (120, -60)):
        drag = ActionChains(browser).move_to_element_with_offset(chart, start, 20)
        drag.click_and_hold().move_by_offset(by // 2, 0).move_by_offset(by // 2, 0)
        drag.perform()
        marked = all_of(chart, ".curves-marked")[0].get_attribute("width")
        assert float(marked) == pytest.approx(abs(by), abs=1)
        ends = sorted(scale(middle + x) for x in (start, start + by))
        ActionChains(browser).release().perform()
        assert shown_range(curves) == pytest.approx(ends, abs=1.1)
        assert_shows_the_stored(browser, curves)
        all_of(curves, ".curves-tools button")[2].click()
        assert shown_range(curves) == (1, 469)
    # A click and a small slip are no zoom.
    slip = ActionChains(browser).move_to_element(chart).click_and_hold()
    slip.move_by_offset(4, 0).release().perform()
    assert shown_range(curves) == (1, 469)


def test_a_finger_chooses_and_does_not_zoom(browser, curves):
    chart = all_of(curves, ".curves-chart")[0]
    finger(browser, chart, *[(x, 100) for x in (150, 180, 240, 300)])
    assert_shows_the_stored(browser, curves)
    under = x_axis(geometry(browser, curves))(300) - 1
    assert chosen(curves) == pytest.approx(under, abs=0.6)
    assert shown_range(curves) == (1, 469)


def test_curves_are_where_their_values_are(browser, curves):
    """Above and below, whole and zoomed, by the ticks of the axes."""
    for _ in range(2):
        drawn, (first, last) = geometry(browser, curves), shown_range(curves)
        steps, x = np.arange(first, last + 1), x_axis(drawn)
        between = next(y for t, _, y in drawn["texts"] if t.startswith("Difference to"))
        assert len(drawn["lines"]) == 7
        loss = axis(drawn, 1, lambda x, y, below=between: x < 60 and y < below)
        assert loss(0) > loss(100)  # pixels from above
        power = {t: y for t, x, y in drawn["texts"] if x < 60 and y > between}
        one, zero = power["0.1"] - 4, power["0"] - 4  # the texts are lower than lines
        for line, (name, values) in zip(drawn["lines"], STORED.items()):
            points = np.array(line["points"])
            np.testing.assert_allclose(x(points[:, 0]), steps, atol=0.1)
            found, expected = loss(points[:, 1] + 4), values[first - 1 : last]
            np.testing.assert_allclose(found, expected, atol=0.002, err_msg=name)
        for line, values in zip(drawn["lines"][4:], list(STORED.values())[1:]):
            points = np.array(line["points"])
            far = abs(np.array(values) - STORED["pytorch"])[first - 1 : last].round(5)
            exponent = np.log10(np.where(far > 0, far, 1e-6))
            expected = one + (zero - one) * (-1 - exponent) / 5
            np.testing.assert_allclose(points[:, 1], expected, atol=0.1)
        all_of(curves, ".curves-tools button")[0].click()


def test_lines_differ_by_colour_and_by_dashes(browser, curves):
    styles = browser.execute_script(
        "return [...arguments[0].querySelectorAll('.curves-sample path')].map((p) => "
        "[getComputedStyle(p).stroke, getComputedStyle(p).strokeDasharray])",
        curves,
    )
    assert len(styles) == 4
    assert [len(set(kind)) for kind in zip(*styles)] == [4, 4]
    # Names at the right ends, none over another
    names = [t for t in geometry(browser, curves)["texts"] if t[0] in TITLES]
    heights = sorted(y for _, _, y in names)
    assert len(names) == 4 and min(np.diff(heights)) > 14


def test_the_plateau_has_all_records(browser, curves):
    from selenium.webdriver.common.keys import Keys

    buttons = all_of(curves, ".live-buttons:not(.curves-tools) button")
    pressed = [b.get_attribute("aria-pressed") for b in buttons]
    assert pressed == ["true", "false"]
    buttons[1].click()
    pressed = [b.get_attribute("aria-pressed") for b in buttons]
    assert pressed == ["false", "true"]
    chart = all_of(curves, "[role=slider]")[0]
    for key in (Keys.PAGE_UP, Keys.HOME, Keys.END):
        chart.send_keys(key)
        frame(browser)
        step, table = chosen(curves), rows(curves)
        heads = [th.text for th in all_of(curves, "thead th")]
        found = {
            (f"plateau_nin96_{name}", int(head.split()[1])): cell
            for name, cells in table.items()
            for head, cell in zip(heads, cells, strict=True)
            if cell != "\u2013"
        }
        assert found == {
            (r["variant"], r["seed"]): f"{r['steps']['loss'][step]:.4f}"
            for r in RECORDS
        }
    drawn = geometry(browser, curves)
    assert len(drawn["lines"]) == len(RECORDS)
    assert not any(t.startswith("Difference") for t, _, _ in drawn["texts"])
    looks = {line["look"] for line in drawn["lines"]}
    assert len(looks) == len({r["variant"] for r in RECORDS})
    loss, x = axis(drawn, 1, lambda x, y: x < 60), x_axis(drawn)
    first = groups()["plateau"][0]  # of it, and its first seed, is the first line
    record = next(r for r in RECORDS if (r["variant"], r["seed"]) == (first, 1))
    points = np.array(drawn["lines"][0]["points"])
    expected = np.convolve(record["steps"]["loss"], np.full(20, 1 / 20), "valid")
    np.testing.assert_allclose(loss(points[:, 1] + 4), expected, atol=0.005)
    np.testing.assert_allclose(x(points[:, 0]), np.arange(981) + 10.5, atol=0.3)
    buttons[0].click()
    assert_shows_the_stored(browser, curves)


def test_a_training_that_broke_down_is_shown(browser, results, monkeypatch):
    """With losses that are no numbers, and of fewer steps than the others."""
    from selenium.webdriver.common.keys import Keys

    put(results, "broken", seed=4, steps={"loss": [2.5] * 100 + [math.nan] * 200})
    put(results, "short", seed=9, steps={"loss": [2.25] * 60})
    (results / "plateau_nin96_glorot.seed1.json").unlink()
    made = ["curves.js"], lambda: live_curves.data(results=results)
    monkeypatch.setitem(live.FIGURES, "curves", made)
    book = make_book(results, [text("# Title"), text(FIGURE), code("1")])
    assert pages.main(["--out", str(results / "html")], book) == 0
    browser.get_log("browser")
    browser.get((results / "html/mini.html").as_uri())
    all_of(browser, ".live-buttons button")[1].click()
    table = all_of(browser, ".curves-table")[0]
    chart = all_of(browser, "[role=slider]")[0]
    chart.send_keys(Keys.HOME)
    frame(browser)
    none = "\u2013"
    assert rows(table) == {"broken": ["2.5000", none], "short": [none, "2.2500"]}
    chart.send_keys(Keys.END, *8 * ["+"])
    frame(browser)
    assert rows(table) == {name: 2 * [none] for name in ("broken", "short")}
    assert shown_range(browser) == (261, 300)
    chart.send_keys(Keys.HOME)
    frame(browser)
    assert len(geometry(browser, all_of(browser, ".live-figure")[0])["lines"]) == 2
    assert browser.get_log("browser") == []


def test_what_is_said_waits_for_a_still_hand(browser, curves):
    region = all_of(curves, "[role=status]")[0]
    assert region.get_attribute("textContent") == ""
    said = heard(browser, curves, all_of(curves, "[role=slider]")[0], "caption")
    assert "Step 255" in said[-1]
    values = [loss[254] for loss in STORED.values()]
    for title, value in zip(TITLES, values, strict=True):
        assert f"{title}: {value:.5f}" in said[-1]
    all_of(curves, ".curves-tools button")[0].click()
    wait(browser).until(lambda b: "Steps 138" in region.get_attribute("textContent"))


@pytest.mark.parametrize("page", ["parity", "ja/parity"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_sets_fit_a_phone_and_are_accessible(browser, figure, axe, page, scheme):
    media(browser, prefers_color_scheme=scheme)
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    try:
        found, strokes = figure(page, "curves"), []
        width = "return document.documentElement.scrollWidth"
        for button in all_of(found, ".live-buttons:not(.curves-tools) button"):
            browser.execute_script("arguments[0].click()", button)
            wait(browser).until(lambda b: b.execute_script(width) == 360)
            assert in_browser.faults_of_live(browser, axe) == []
            drawn = geometry(browser, found)
            strokes.append(drawn["stroke"][0])
            ticks = [t for t, x, y in drawn["texts"] if x > 60 and t[0].isdigit()]
            assert len(ticks) >= 2
        assert ("86, 180, 233" in strokes[0]) == (scheme == "dark")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        media(browser)


def test_the_chart_has_the_width_there_is(browser, curves):
    widths = (
        "const svg = arguments[0].querySelector('.curves-chart svg');"
        "return [svg.viewBox.baseVal.width, svg.parentNode.clientWidth, innerWidth]"
    )
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)

    def fits(phone):
        drawn, there, screen = browser.execute_script(widths, curves)
        return drawn == there and (screen == 360) == phone

    try:
        wait(browser).until(lambda b: fits(phone=True))
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    wait(browser).until(lambda b: fits(phone=False))


def test_the_picture_is_that_of_the_drawing(browser, curves):
    assert not still(curves)
    alt = all_of(curves, "img")[0].get_attribute("alt")
    assert all(title in alt for title in TITLES) and "logarithmic" in alt
