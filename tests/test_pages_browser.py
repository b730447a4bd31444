"""The HTML book in a browser: tabs, memory, keyboard, phone, print, no network.

Drives a headless Chromium through Selenium; skipped, with the reason, where one of
them is missing. The machine may be busy: nothing here relies on how fast the browser
answers, what comes late is waited for with `wait(browser)`.
"""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup
from made_book import code, make_book, text

from book.pages import pages, pdf
from book.source.book import BOOK, SECTIONS
from book.translate import catalogues
from d2l_utils.frameworks import FRAMEWORKS

PATIENCE = 300  # seconds, after which the browser is taken to hang
PAGES = [
    section if language == "en" else f"{language}/{section}"
    for section in SECTIONS
    for language in catalogues.languages(BOOK, section)
]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("book")
    assert pages.main(["--out", str(folder / "html")], make_book(folder)) == 0
    return folder / "html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """One browser for all tests: starting one is slow."""
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no Chromium with chromedriver on the PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for name in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-dev-shm-usage",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "no-first-run",
        "window-size=1000,700",
        f"user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(f"--{name}")
    options.set_capability(
        "goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"}
    )
    service = webdriver.ChromeService(executable_path=driver)
    driver = webdriver.Chrome(options=options, service=service)
    driver.command_executor.client_config.timeout = 2 * PATIENCE
    driver.set_script_timeout(PATIENCE)
    driver.set_page_load_timeout(PATIENCE)
    yield driver
    driver.quit()


def wait(browser):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, PATIENCE, poll_frequency=0.1)


FORGET = "localStorage.clear()"  # again, where a choice was still on its way


@pytest.fixture
def page(browser, built):
    """The page in a browser that has not been there; it must not log an error."""
    uri = (built / "mini.html").as_uri()
    browser.get(uri)
    browser.execute_script(FORGET)
    assert set(opened(browser, uri, "pytorch", FORGET)) == {"pytorch"}
    browser.get_log("browser"), browser.get_log("performance")
    yield browser
    assert browser.get_log("browser") == []


def tab(browser, group, framework):
    return browser.find_element("id", f"g{group}-tab-{framework}")


def shown(browser):
    """The framework of each panel and passage that is displayed."""
    return browser.execute_script(
        "return [...document.querySelectorAll('[data-only]')]"
        ".filter(e => e.offsetParent).map(e => e.dataset.only)"
    )


def selected(browser):
    return browser.execute_script(
        "return [...document.querySelectorAll('[role=tab][aria-selected=true]')]"
        ".map(e => e.dataset.framework)"
    )


def opened(browser, uri, framework, otherwise=""):
    """What is selected on a page; a storage just written may reach it late.

    otherwise: a script to run where it is not the framework, before the next try.
    """

    def is_there(browser):
        browser.get(uri)
        if set(selected(browser)) == {framework}:
            return True
        if otherwise:
            browser.execute_script(otherwise)
        return False

    wait(browser).until(is_there)
    return selected(browser)


def test_one_click_switches_all_groups(page):
    pytorch = ["pytorch", "pytorch", "pytorch mxnet", "pytorch", "pytorch", "pytorch"]
    assert shown(page) == pytorch
    tab(page, 2, "jax").click()
    assert shown(page) == 6 * ["jax"]
    assert selected(page) == 4 * ["jax"]
    tab(page, 2, "tensorflow").click()
    assert shown(page) == 5 * ["tensorflow"]  # which has no passage of its own
    # Where it has no code either, a line leads to the tab that has.
    page.find_element("css selector", "#g2-tensorflow .elsewhere button").click()
    assert selected(page) == 4 * ["jax"] and page.current_url.endswith("?framework=jax")
    focused = page.switch_to.active_element
    assert focused.get_attribute("id") == "g2-tab-jax"


def test_the_choice_survives_a_reload(page):
    tab(page, 1, "tensorflow").click()
    again = opened(page, page.current_url, "tensorflow")
    assert again == 4 * ["tensorflow"] and set(shown(page)) == {"tensorflow"}


def test_a_link_chooses_and_later_clicks_win(page, built):
    uri = (built / "mini.html").as_uri()
    page.get(uri + "?framework=jax#Random-Numbers-2")
    assert selected(page) == 4 * ["jax"]
    tab(page, 3, "mxnet").click()
    page.refresh()
    assert selected(page) == 4 * ["mxnet"]
    assert page.current_url.endswith("?framework=mxnet#Random-Numbers-2")
    # The last choice, not the unknown name.
    assert opened(page, uri + "?framework=caffe", "mxnet") == 4 * ["mxnet"]


def test_arrow_keys_and_roving_tabindex(page):
    from selenium.webdriver.common.keys import Keys

    tab(page, 1, "pytorch").click()
    for key, framework in (
        (Keys.ARROW_LEFT, "jax"),
        (Keys.ARROW_RIGHT, "pytorch"),
        (Keys.ARROW_RIGHT, "mxnet"),
        (Keys.END, "jax"),
        (Keys.HOME, "pytorch"),
    ):
        page.switch_to.active_element.send_keys(key)
        focused = page.switch_to.active_element
        assert focused.get_attribute("id") == f"g1-tab-{framework}"
        assert selected(page) == 4 * [framework]
        reachable = page.find_elements("css selector", "[role=tab][tabindex='0']")
        names = [t.get_attribute("data-framework") for t in reachable]
        assert names == 4 * [framework]
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert page.execute_script(outline) == "solid"


def test_the_readers_place_is_kept(page):
    where = "return arguments[0].getBoundingClientRect().top"
    end = tab(page, 2, "jax")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", end)
    before, scrolled = page.execute_script(where, end), "return scrollY"
    start = page.execute_script(scrolled)
    end.click()
    assert abs(page.execute_script(where, end) - before) <= 1
    assert page.execute_script(scrolled) - start > 200  # the panel above has grown


def test_no_request_leaves_the_file(page):
    page.refresh()
    entries = [json.loads(e["message"])["message"] for e in page.get_log("performance")]
    asked = [
        e["params"]["request"]["url"]
        for e in entries
        if e["method"] == "Network.requestWillBeSent"
    ]
    assert asked and all(url.startswith(("file:", "data:")) for url in asked)


def test_an_injected_script_does_not_run(page):
    page.execute_script(
        "let s = document.createElement('script'); s.textContent = 'window.hacked = 1';"
        "document.body.append(s)"
    )
    assert page.execute_script("return window.hacked") is None
    assert "Content Security Policy" in page.get_log("browser")[0]["message"]


def fits_a_phone(browser, width=390):
    """Nothing is wider than the screen; a screen just set may come late."""
    sizes = "return [innerWidth, document.documentElement.scrollWidth]"
    return browser.execute_script(sizes) == [width, width]


# What is not seen as a whole: it ends beyond the screen, or its box cuts it.
CUT = """
return [...document.querySelectorAll("main *")].filter((e) => {
  const box = e.getBoundingClientRect();
  const hides = getComputedStyle(e).overflowX !== "visible";
  return box.width && (box.left < 0 || box.right > innerWidth + 1)
    || hides && e.scrollWidth > e.clientWidth + 1;
}).map((e) => e.outerHTML.slice(0, 200));
"""


def test_a_phone_scrolls_only_the_code_sideways(page):
    size = {"width": 390, "height": 800, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        wait(page).until(fits_a_phone)
        code = page.find_element("css selector", "#g1-pytorch .input pre")
        scroll = "arguments[0].scrollBy(50, 0); return arguments[0].scrollLeft"
        assert page.execute_script(scroll, code) == 50
        overflow = "return getComputedStyle(arguments[0]).overflowX"
        assert page.execute_script(overflow, code) == "auto"
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_phone_has_room(page, built):
    """The copy button is above the code, a drawing fills the screen, nothing is cut."""
    size = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        wait(page).until(lambda b: b.execute_script("return innerWidth") == 360)
        ends = (
            "const at = (s) => document.querySelector(`#g1-pytorch .input ${s}`)"
            ".getBoundingClientRect(); return [at('.copy').bottom, at('pre').top]"
        )
        below, above = page.execute_script(ends)
        assert 0 < below <= above
        page.execute_script("dispatchEvent(new Event('resize'))")
        picture = page.find_element("css selector", "#g1-pytorch img[role=button]")
        page.execute_script("arguments[0].scrollIntoView({block: 'center'})", picture)
        small = picture.rect["width"]
        picture.click()
        large = page.find_element("css selector", "dialog.enlarged img")
        assert large.rect["width"] > 2 * small
        page.find_element("css selector", "dialog.enlarged button").click()
        wait(page).until(lambda b: not b.find_elements("tag name", "dialog"))
        assert page.switch_to.active_element == picture
        page.get((built / "index.html").as_uri())
        wait(page).until(lambda b: fits_a_phone(b, 360))
        assert page.find_elements("tag name", "article")
        assert page.execute_script(CUT) == []
        page.execute_script(  # it would be seen
            "document.querySelector('article h2').style.whiteSpace = 'nowrap';"
            "document.querySelector('article h2').append('wide '.repeat(40))"
        )
        assert page.execute_script(CUT) != []
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


SIZE = "return getComputedStyle(document.querySelector(arguments[0])).fontSize"


def test_print_shows_the_chosen_framework_with_its_name(page):
    tab(page, 1, "jax").click()
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        wait(page).until(lambda b: not tab(b, 1, "jax").is_displayed())
        assert set(shown(page)) == {"jax"}
        label = page.find_element("css selector", "#g1-jax > .label")
        assert label.is_displayed() and label.text == "JAX"
        text, table = (page.execute_script(SIZE, part) for part in ("body", "table"))
        assert float(table[:-2]) < float(text[:-2])
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_without_script_everything_is_displayed(page):
    page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.refresh()
        panels = page.find_elements("css selector", "[data-only]")
        panels = [p for p in panels if "missing" not in p.get_attribute("class")]
        assert len(panels) == 19 and all(p.is_displayed() for p in panels)
        assert not page.find_element("class name", "missing").is_displayed()
        assert not page.find_element("id", "search").is_displayed()
        labels = page.find_elements("css selector", ".panel > .label")
        four = ["PyTorch", "MXNet", "TensorFlow", "JAX"]
        said = [p.text for p in labels if p.is_displayed()]
        assert said == [*four, "JAX", *four, *four]
        assert not tab(page, 1, "jax").is_displayed()
    finally:
        page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


BLOCK_STORAGE = """
Object.defineProperty(window, "localStorage", {
  get() { throw new DOMException("The operation is insecure.", "SecurityError"); }
});
"""


def test_where_storage_is_blocked_the_address_remembers(page):
    add, remove = (f"Page.{x}ScriptToEvaluateOnNewDocument" for x in ("add", "remove"))
    added = page.execute_cdp_cmd(add, {"source": BLOCK_STORAGE})
    try:
        page.refresh()
        blocked = "try { return String(localStorage) } catch { return 'blocked' }"
        assert page.execute_script(blocked) == "blocked"
        tab(page, 1, "mxnet").click()
        page.refresh()
        assert selected(page) == 4 * ["mxnet"]
        assert page.current_url.endswith("?framework=mxnet")
    finally:
        page.execute_cdp_cmd(remove, added)


# What else a page does -----------------------------------------------------------


def test_the_copy_button_copies_the_code_alone(page):
    origin = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    page.execute_cdp_cmd("Browser.grantPermissions", origin)
    button = page.find_element(
        "css selector", "#g1-pytorch .input:nth-of-type(3) .copy"
    )
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    # What it says for two seconds may be over before a busy machine asks for it.
    page.execute_script(
        "const button = arguments[0]; window.said = [];"
        "new MutationObserver(() => said.push(button.textContent))"
        ".observe(button, {childList: true})",
        button,
    )
    button.click()
    said = wait(page).until(lambda b: b.execute_script("return said"))
    assert said[0] == "Copied"
    copied = page.execute_async_script(
        "navigator.clipboard.readText().then(arguments[0])"
    )
    assert copied == "draw('torch')"
    wait(page).until(lambda b: b.execute_script("return said") == ["Copied", "Copy"])


def test_the_search_leads_to_the_place(page):
    box = page.find_element("id", "search")
    box.send_keys("global SEED")
    (link,) = page.find_elements("css selector", "#found a")
    assert link.find_element("tag name", "b").text == "Random Numbers"
    assert [m.text for m in link.find_elements("tag name", "mark")] == [
        "global",
        "seed",
    ]
    assert page.find_element("css selector", ".count").text == "1 found"
    link.click()
    wait(page).until(lambda b: b.current_url.endswith("#random-numbers"))
    assert not page.find_element("id", "found").is_displayed()
    box.clear()
    box.send_keys("zebra")
    assert page.find_element("css selector", ".count").text == "Nothing found"


def test_the_search_works_by_keyboard(page):
    from selenium.webdriver.common.keys import Keys

    box = page.find_element("id", "search")
    box.send_keys("random", Keys.ARROW_DOWN)
    assert page.switch_to.active_element.get_attribute("href").endswith(
        "#random-numbers"
    )
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert page.switch_to.active_element.get_attribute("id") == "search"
    assert not page.find_element("id", "found").is_displayed()
    # Enter opens the first; from anywhere, / leads to the search.
    box.send_keys("random", Keys.ENTER)
    wait(page).until(lambda b: b.current_url.endswith("#random-numbers"))
    page.execute_script("document.activeElement.blur()")
    page.find_element("tag name", "body").send_keys("/")
    assert page.switch_to.active_element.get_attribute("id") == "search"
    assert box.get_attribute("value") == "random"


def test_a_name_in_code_is_found_and_opens_its_tab(page):
    from selenium.webdriver.common.keys import Keys

    box = page.find_element("id", "search")
    box.send_keys("only_JAX")
    said = page.find_element("css selector", "#found .excerpt").text
    assert said == "In the code: only_jax"
    box.send_keys(Keys.ENTER)
    wait(page).until(lambda b: "framework=jax#" in b.current_url)
    assert selected(page) == 4 * ["jax"]


def test_what_is_searched_for_is_never_run_as_html(page):
    page.find_element("id", "search").send_keys("<img src=x> (")
    assert not page.find_elements("css selector", "#found img")


def test_the_contents_mark_the_section_that_is_read(page):
    size = {"width": 1300, "height": 400, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    head = page.find_element("id", "random-numbers-2")
    page.execute_script("arguments[0].scrollIntoView()", head)
    marked = "return document.querySelector('.headings [aria-current]')?.hash"
    wait(page).until(lambda b: b.execute_script(marked) == "#random-numbers-2")
    contents = page.find_element("css selector", ".side nav")
    wait(page).until(lambda b: contents.is_displayed())
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_skip_link_leads_to_the_text(page):
    from selenium.webdriver.common.keys import Keys

    page.find_element("tag name", "body").send_keys(Keys.TAB)
    first = page.switch_to.active_element
    assert first.get_attribute("class") == "skip"
    wait(page).until(lambda b: first.rect["y"] >= 0)
    first.send_keys(Keys.ENTER)
    wait(page).until(lambda b: b.switch_to.active_element.tag_name == "main")


def media(browser, **features):
    features = [{"name": k.replace("_", "-"), "value": v} for k, v in features.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(page, scheme):
    media(page, prefers_color_scheme=scheme)
    try:
        color = "return getComputedStyle(document.body).backgroundColor"
        white, dark = "rgb(255, 255, 255)", scheme == "dark"
        wait(page).until(lambda b: (b.execute_script(color) != white) == dark)
    finally:
        media(page)


def test_the_theme_switch_wins_over_the_system(page):
    color = "return getComputedStyle(document.body).backgroundColor"
    button = page.find_element("class name", "theme")
    seen = []
    for _ in range(3):
        button.click()
        seen.append((page.execute_script(color) == "rgb(255, 255, 255)", button.text))
    assert seen == [(True, "\u2600"), (False, "\u263e"), (True, "\u25d0")]
    button.click(), button.click()
    page.refresh()  # the choice is kept
    assert page.execute_script(color) != "rgb(255, 255, 255)"
    assert page.execute_script("return localStorage.getItem('d2l-theme')") == "dark"


def test_what_is_mentioned_is_shown_beside_the_mention(browser, real_book):
    from selenium.webdriver import ActionChains, Keys

    browser.get((real_book / "googlenet.html").as_uri())
    for kind, said in (("figure", "Figure 8.4.1"), ("reference", "Szegedy")):
        link = browser.find_element("css selector", f"main a.{kind}")
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", link)
        ActionChains(browser).move_to_element(link).perform()
        wait(browser).until(lambda b: b.find_elements("class name", "preview"))
        box = browser.find_element("class name", "preview")
        assert said in box.text
        pictures = box.find_elements("tag name", "img")
        assert len(pictures) == (kind == "figure")
        browser.find_element("tag name", "body").send_keys(Keys.ESCAPE)
        assert not browser.find_elements("class name", "preview")
    assert browser.get_log("browser") == []


@pytest.fixture(scope="module")
def axe():
    """The source of axe-core, a checker of accessibility that runs in the page."""
    axe_core_python = pytest.importorskip("axe_core_python", reason="no axe-core here")
    return (Path(axe_core_python.__file__).parent / "axe.min.js").read_text("utf-8")


WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
RUN_AXE = (
    "axe.run({runOnly: arguments[0], resultTypes: ['violations']}).then(arguments[1])"
)


# Thousands of coloured words of code are of a few kinds: one of each is enough.
ONE_OF_EACH_KIND = """
const seen = new Set();
for (const word of [...document.querySelectorAll(".highlight span")]) {
  const kind = [word.className, word.closest(".output") !== null].join();
  if (seen.has(kind)) word.replaceWith(...word.childNodes);
  seen.add(kind);
}
document.querySelectorAll(".highlight pre").forEach((code) => code.normalize());
"""


FIRST_ENTRIES = """
for (const part of ["main > *", ".headings > li"])
  [...document.querySelectorAll(part)].slice(60).forEach((e) => e.remove());
"""


def assert_accessible(browser, rules, fewest):
    """axe finds nothing against the rules, of which at least so many apply."""
    found = browser.execute_async_script(RUN_AXE, rules)
    bad = [(v["id"], v["nodes"][0]["html"][:200]) for v in found["violations"]]
    assert bad == [] and len(found["passes"]) >= fewest


# One page of each kind, and one of each other language.
KINDS = [
    "nin", "googlenet_exercises", "parity", "index", "instructors", "api",
    "ja/nin", "zh/googlenet_exercises", "ja/index",
]  # fmt: skip


@pytest.mark.parametrize("section", KINDS)
def test_the_book_is_accessible(browser, real_book, axe, section):
    """axe-core finds nothing against WCAG 2.1 AA, and the browser no error. Only
    colours change where the reader's screen is dark."""
    media(browser, prefers_color_scheme="light")
    try:
        browser.get((real_book / f"{section}.html").as_uri())
        assert browser.get_log("browser") == []
        for answer in browser.find_elements("css selector", "details.answer"):
            browser.execute_script("arguments[0].open = true", answer)
        browser.execute_script(ONE_OF_EACH_KIND)
        if section == "api":  # hundreds of entries that are alike
            browser.execute_script(FIRST_ENTRIES)
        browser.execute_script(axe)
        assert_accessible(browser, WCAG, fewest=11)
        media(browser, prefers_color_scheme="dark")
        is_dark = "return matchMedia('(prefers-color-scheme: dark)').matches"
        wait(browser).until(lambda b: b.execute_script(is_dark))
        assert_accessible(browser, ["color-contrast"], fewest=1)
    finally:
        media(browser)


def test_the_book_asks_for_nothing_and_fits_a_phone(browser, real_book):
    size = {"width": 390, "height": 800, "deviceScaleFactor": 2, "mobile": True}
    whole = ("index", "ja/index", "zh/index", "instructors", "api")
    for section in (*PAGES, *whole):
        browser.get_log("performance")
        browser.get((real_book / f"{section}.html").as_uri())
        entries = [json.loads(e["message"])["message"]
                   for e in browser.get_log("performance")]  # fmt: skip
        asked = {e["params"]["request"]["url"][:5] for e in entries
                 if e["method"] == "Network.requestWillBeSent"}  # fmt: skip
        assert asked <= {"file:", "data:"}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        try:
            wait(browser).until(fits_a_phone)
            contents = browser.find_elements("css selector", ".side nav")
            assert len(contents) == (not section.endswith("index"))
            wait(browser).until(
                lambda b, c=contents: not any(e.is_displayed() for e in c)
            )
        finally:
            browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_choice_goes_with_the_reader_to_the_next_page(browser, real_book):
    browser.get((real_book / "nin.html").as_uri())
    tab(browser, 1, "jax").click()
    following = browser.find_element("css selector", ".neighbours [rel=next]")
    uri = following.get_attribute("href")
    assert set(opened(browser, uri, "jax")) == {"jax"}


def test_a_page_prints_with_one_framework(real_book, tmp_path):
    if not any(map(shutil.which, pdf.BROWSERS)):
        pytest.skip("no Chromium on the PATH")
    folders = ["--html", str(real_book), "--out", str(tmp_path)]
    assert pdf.main([*folders, "--section", "parity", "--framework", "jax"]) == 0
    printed = (tmp_path / "jax/parity.pdf").read_bytes()
    assert printed.startswith(b"%PDF") and printed.count(b"/Type /Page\n") > 2
    assert b"/MediaBox [0 0 594.95" in printed or b"/MediaBox [0 0 595" in printed  # A4


@pytest.mark.parametrize("answers", ["yes", "no"])
def test_what_is_printed(tmp_path, monkeypatch, answers):
    """Paper, page numbers, headers, a title page; answers as on the pages."""
    cells = [text("# 8.3 A, *B*"), text("Because.", ("solution",)), code("given()")]
    html, book = tmp_path / "html", make_book(tmp_path, cells)
    assert pages.main(["--out", str(html), "--answers", answers], book) == 0
    (html / "mini.html").rename(html / "nin.html")
    sent = []

    def browse(command, **options):
        (to,) = (part for part in command if part.startswith("--print-to-pdf="))
        path = unquote(urlsplit(command[-1]).path)
        sent.append(Path(path).read_text(encoding="utf-8"))
        Path(to.partition("=")[2]).write_bytes(b"%PDF")
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(pdf, "browser", lambda: "chromium")
    monkeypatch.setattr(pdf.subprocess, "run", browse)
    folders = ["--html", str(html), "--out", str(tmp_path / "pdf")]
    chosen = ["--section", "nin", "--framework", "jax", "--paper", "letter"]
    assert pdf.main([*folders, *chosen]) == 0
    assert (tmp_path / "pdf/jax/nin.pdf").read_bytes() == b"%PDF"
    soup = BeautifulSoup(*sent, "html.parser")
    sheet = soup.find_all("style")[-1].text
    assert "size: letter" in sheet and '@top-left { content: "8.3 A, B"' in sheet
    assert '@top-right { content: "JAX"' in sheet
    assert '@bottom-center { content: counter(page) " / " counter(pages)' in sheet
    title, own = soup.find_all("main")
    assert title.h1.text == own.h1.text.rstrip(" ¶") == "8.3 A, B"
    assert [p.text for p in title("p")] == ["JAX", catalogues.english()["book"]]
    assert ("Because." in own.text) == (answers == "yes") and "given()" in own.text


def test_the_whole_book_is_one_page_to_print(real_book):
    sections = ("nin", "googlenet", "parity")
    texts = {s: (real_book / f"{s}.html").read_text(encoding="utf-8") for s in sections}
    soup = BeautifulSoup(pdf.behind_title(texts, "jax"), "html.parser")
    title, *mains = soup.find_all("main")
    assert title.select_one(".licence").text
    assert title.p.text == "JAX" and [m["id"] for m in mains] == [
        f"{s}--" for s in sections
    ]
    there = {e["id"] for e in soup.select("main[id], main [id]")}
    own = [a["href"][1:] for a in soup.select("main a[href^='#']")]
    assert "googlenet--figure-8.4.1" in own and "nin--" in own
    assert {unquote(to) for to in own} <= there


# Other languages -----------------------------------------------------------------


BLOCK = """
const all = [...document.querySelectorAll("main > *")];
const look = () => {
  const at = all.findIndex((b) => b.getBoundingClientRect().bottom > 70);
  const box = all[at].getBoundingClientRect();
  return [at, Math.max(0, (70 - box.top) / box.height), all.length];
};
const frames = (n, run) => n ? requestAnimationFrame(() => frames(n - 1, run)) : run();
const settle = (before) => frames(5, () => {  // type may come late
  const now = look();
  String(now) === String(before) ? arguments[0](now) : settle(now);
});
document.fonts.ready.then(() => settle(look()));
"""


def block_in_view(browser):
    """The first block that is seen, once nothing moves: its number, the part of it
    above, their count."""
    return browser.execute_async_script(BLOCK)


def test_a_fold_opens_for_who_is_led_into_it(browser, real_book):
    """By an address, a search, or a link; before, the search gives nothing away."""
    exercises = (real_book / "googlenet_exercises.html").as_uri()
    browser.get(exercises + "#figure-8.4.19")
    caption = browser.find_element("id", "figure-8.4.19")
    wait(browser).until(lambda b: caption.is_displayed())
    links = found(browser, "roofline would spend two fifths")
    assert [link.partition("#")[2][:7] for link in links] == ["answer-"]
    said = browser.find_element("css selector", "#found .excerpt").text
    assert said == "In a folded answer"
    fold = browser.find_element("id", links[0].partition("#")[2])
    close = "for (const d of document.querySelectorAll('details')) d.open = false"
    for _ in range(2):  # also where the address is there already
        browser.execute_script(close)
        assert found(browser, "roofline would spend two fifths")
        browser.find_element("css selector", "#found a").click()
        wait(browser).until(lambda b: fold.get_attribute("open"))
    for words in ("parameters", "average"):  # this is in the heading of an exercise
        lines = found(browser, words)
        lessons = [i for i, to in enumerate(lines) if "_exercises" not in to]
        assert lessons == [*range(len(lessons))] and len(lines) == 12
    more = browser.find_element("css selector", "#found .more")
    count = int(more.text.split()[0])
    more.click()
    assert len(browser.find_elements("css selector", "#found a")) == 12 + count


@pytest.mark.parametrize("name", ["LazyConv2d", "nn.Conv2d"])
def test_a_name_of_a_class_is_found(browser, real_book, name):
    browser.get((real_book / "parity.html").as_uri())
    to = found(browser, name)
    assert to and "_exercises" not in to[0]
    said = browser.find_element("css selector", "#found .excerpt").text
    assert said.startswith("In the code: ") and name.lower() in said.lower()
    browser.find_element("css selector", "#found a").click()
    wait(browser).until(lambda b: b.current_url == to[0])
    shown = "return [...document.querySelectorAll('.input')].filter(e => e.offsetParent"
    shown += " && e.textContent.toLowerCase().includes(arguments[0])).length"
    assert browser.execute_script(shown, name.lower()) > 0


def test_an_excerpt_does_not_cut_words(browser, real_book):
    browser.get((real_book / "nin.html").as_uri())
    index = json.loads(browser.find_element("id", "book").get_attribute("textContent"))[
        "index"
    ]
    whole = {w for _, _, parts in index for part in parts for w in part[2].split()}
    assert found(browser, "convolution")
    said = [e.text for e in browser.find_elements("css selector", "#found .excerpt")]
    ends = [line for line in said if "\u2026" in line]
    assert len(ends) > 3
    for line in ends:
        words = line.strip("\u2026 ").split()
        assert {words[0], words[-1]} <= whole, line


def test_old_anchors_lead_to_where_they_did(browser, real_book):
    browser.get((real_book / "nin.html").as_uri() + "#8.3.5.3-Classes-that-die")
    heading = browser.find_element("id", "classes-that-die")
    top = "return arguments[0].getBoundingClientRect().top"
    wait(browser).until(lambda b: 0 < b.execute_script(top, heading) < 150)


def test_the_page_that_compares_shows_all_frameworks(browser, real_book):
    browser.get((real_book / "parity.html").as_uri())
    # What Keras pads with, and Flax's mean over all positions.
    uneven = "css selector", ".compares .uneven"
    wait(browser).until(lambda b: len(b.find_elements(*uneven)) == 2)
    groups = browser.find_elements(*uneven)
    for group in groups:
        panels = group.find_elements("css selector", ".panel:not(.missing)")
        assert all(p.is_displayed() for p in panels)
        assert not group.find_element("class name", "tabs").is_displayed()
    passages = browser.find_elements("css selector", ".only")
    assert passages and all(p.is_displayed() for p in passages)


PRINTED = """
document.querySelectorAll("details").forEach((d) => (d.open = true));
const root = document.documentElement;
return root.dataset.frameworks.split(" ").map((framework) => {
  root.dataset.framework = framework;
  const every = [...document.querySelectorAll(".output > pre")];
  const all = every.filter((e) => e.offsetParent);
  const cut = all.filter((e) => e.scrollWidth > e.clientWidth + 1);
  return [all.length, cut.map((e) => e.textContent)];
});
"""


def test_no_result_is_cut(browser, real_book):
    """On a screen of usual width nothing that was printed has to be scrolled to, in
    any tab."""
    size = {"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        for section in SECTIONS:
            browser.get((real_book / f"{section}.html").as_uri())
            tabs = browser.execute_script(PRINTED)
            assert len(tabs) == len(FRAMEWORKS) and all(number for number, _ in tabs)
            assert [lines for _, lines in tabs] == [[]] * len(tabs)
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("place", ["where-it-errs", "figure-8.3.1", None])
def test_the_switch_keeps_section_place_and_framework(browser, real_book, place):
    browser.get((real_book / "nin.html").as_uri())
    tab(browser, 1, "jax").click()
    if place:
        target = browser.find_element("id", place)
        down = "arguments[0].scrollIntoView(); scrollBy(0, 45)"
        browser.execute_script(down, target)
    else:
        browser.execute_script("scrollTo(0, 0)")
    for name, language in (("ja/nin.html", "ja"), ("nin.html", "en")):
        before, start = block_in_view(browser), browser.execute_script("return scrollY")
        browser.find_element("css selector", ".languages a").click()
        address = (real_book / name).as_uri() + "?framework=jax"
        wait(browser).until(lambda b, to=address: b.current_url == to)
        html = browser.find_element("tag name", "html")
        assert html.get_attribute("lang") == language
        assert set(selected(browser)) == {"jax"}
        after = block_in_view(browser)
        assert after[0] == before[0] and after[2] == before[2]
        assert abs(after[1] - before[1]) < 0.05 and (start > 0) == bool(place)
    assert browser.get_log("browser") == []


def found(browser, query):
    box = browser.find_element("id", "search")
    box.clear()
    box.send_keys(query)
    links = browser.find_elements("css selector", "#found a")
    return [link.get_attribute("href") for link in links]


def test_the_search_works_for_japanese(browser, real_book):
    browser.get((real_book / "ja/nin.html").as_uri())
    heading = browser.find_element("id", "nin-blocks").text.rstrip("¶ ")
    assert heading == "NiNブロック"
    block = found(browser, "NiNブロック")
    assert block[0].endswith("ja/nin.html#nin-blocks")
    assert found(browser, "ＮｉＮブロック") == block
    marked = browser.find_element("css selector", "#found mark").text
    assert marked == "NiNブロック"
    # Words that are nowhere side by side, with and without a space between them.
    apart = found(browser, "平方根 混同行列")
    assert apart and found(browser, "混同行列と平方根") == apart
    assert found(browser, "平方根の冷蔵庫") == []
    assert found(browser, "パラメーター") == found(browser, "パラメータ") != []


def test_the_search_works_for_chinese(browser, real_book):
    browser.get((real_book / "zh/nin.html").as_uri())
    block = found(browser, "NiN块")
    assert block[0].endswith("zh/nin.html#nin-blocks")
    apart = found(browser, "学习率 批量归一化")
    assert apart and found(browser, "批量归一化和学习率") == apart
    assert found(browser, "学习率的冰箱") == []
    assert found(browser, "全局平均池化") == found(browser, "全局平均汇聚") != []


def test_the_key_that_chooses_characters_opens_nothing(browser, real_book):
    """While Japanese is typed, Enter takes what is offered; then it opens a find."""
    address = (real_book / "ja/nin.html").as_uri()
    browser.get(address)
    browser.find_element("id", "search").click()
    said = "return [...document.querySelectorAll('#found a')].length"
    typed = {"text": "グローバル平均", "selectionStart": 7, "selectionEnd": 7}
    browser.execute_cdp_cmd("Input.imeSetComposition", typed)
    wait(browser).until(lambda b: b.execute_script(said) > 1)
    browser.execute_script("onkeydown = (e) => (window.last = [e.key, e.isComposing])")
    for number, key in ((40, "ArrowDown"), (13, "Enter"), (27, "Escape")):
        press = {"type": "rawKeyDown", "key": key, "windowsVirtualKeyCode": number}
        browser.execute_cdp_cmd("Input.dispatchKeyEvent", press)
        wait(browser).until(
            lambda b, key=key: b.execute_script("return window.last") == [key, True]
        )
        assert browser.switch_to.active_element.get_attribute("id") == "search"
        assert browser.execute_script(said) > 1 and browser.current_url == address
    browser.execute_cdp_cmd("Input.insertText", {"text": typed["text"]})
    first = browser.find_element("css selector", "#found a").get_attribute("href")
    browser.find_element("id", "search").send_keys("\ue007")  # Enter
    wait(browser).until(lambda b: b.current_url == first)


@pytest.mark.parametrize(
    "language, font", [("ja", "Hiragino Sans"), ("zh", "PingFang SC")]
)
def test_japanese_and_chinese_type(browser, real_book, language, font):
    browser.get((real_book / f"{language}/nin.html").as_uri())
    style = (
        "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    )
    assert browser.execute_script(style, "main em", "fontStyle") == "normal"
    assert browser.execute_script(style, ".highlight .c1", "fontStyle") == "normal"
    assert browser.execute_script(style, "main p", "lineBreak") == "strict"
    assert font in browser.execute_script(style, "main p", "fontFamily")
    breaks = {"ja": "auto-phrase", "zh": "keep-all"}[language]
    assert browser.execute_script(style, "h1", "wordBreak") == breaks
    assert browser.execute_script(style, "a.section", "whiteSpace") == "nowrap"
    browser.get((real_book / "nin.html").as_uri())
    assert browser.execute_script(style, "main em", "fontStyle") == "italic"
    assert browser.execute_script(style, "main p", "lineBreak") == "auto"


def faults_of_live(browser, axe):
    """What axe finds wrong with the live figures of a page: [[rule, element], ...]."""
    browser.execute_script(axe)
    return browser.execute_async_script(
        "axe.run('.live', {runOnly: arguments[0]}).then(r => "
        "arguments[1](r.violations.map(v => [v.id, v.nodes[0].html])))",
        [*WCAG, "wcag22aa"],
    )
