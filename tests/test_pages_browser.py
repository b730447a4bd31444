"""The HTML book in a browser: tabs, memory, keyboard, phone, print, no network.

Drives a headless Chromium through Selenium; skipped, with the reason, where one of
them is missing.
"""

import json
import shutil
import time

import pytest
from made_book import make_book

from tools import pages


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("book")
    assert pages.main(["--out", str(folder / "html")], make_book(folder)) == 0
    return folder / "html"


def start_browser(folder, **preferences):
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
        f"user-data-dir={folder}",
    ):
        options.add_argument(f"--{name}")
    options.add_experimental_option("prefs", preferences)
    options.set_capability(
        "goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"}
    )
    service = webdriver.ChromeService(executable_path=driver)
    return webdriver.Chrome(options=options, service=service)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    driver = start_browser(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, built):
    """The page in a browser that has not been there; it must not log an error."""
    uri = (built / "mini.html").as_uri()
    browser.get(uri)
    browser.execute_script("localStorage.clear()")
    browser.get(uri)
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


def opened(browser, uri, framework):
    """What is selected on a page; a storage just written may reach it late."""
    for _ in range(10):
        browser.get(uri)
        if set(selected(browser)) == {framework}:
            break
        time.sleep(0.2)
    return selected(browser)


def test_one_click_switches_all_groups(page):
    assert shown(page) == ["pytorch", "pytorch mxnet", "pytorch", "pytorch", "pytorch"]
    tab(page, 2, "jax").click()
    assert shown(page) == ["jax", "jax", "jax", "jax", "jax"]
    assert selected(page) == 4 * ["jax"]


def test_the_choice_survives_a_reload(page):
    tab(page, 1, "tensorflow").click()
    page.refresh()
    assert selected(page) == 4 * ["tensorflow"] and set(shown(page)) == {"tensorflow"}


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


def test_a_phone_scrolls_only_the_code_sideways(page):
    size = {"width": 390, "height": 800, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        width = "return document.documentElement.scrollWidth"
        assert page.execute_script(width) == 390
        code = page.find_element("css selector", "#g1-pytorch .input pre")
        scroll = "arguments[0].scrollBy(50, 0); return arguments[0].scrollLeft"
        assert page.execute_script(scroll, code) == 50
        overflow = "return getComputedStyle(arguments[0]).overflowX"
        assert page.execute_script(overflow, code) == "auto"
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_print_shows_the_chosen_framework_with_its_name(page):
    tab(page, 1, "jax").click()
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert not tab(page, 1, "jax").is_displayed()
        assert set(shown(page)) == {"jax"}
        label = page.find_element("css selector", "#g1-jax > .label")
        assert label.is_displayed() and label.text == "JAX"
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_without_script_everything_is_displayed(page):
    page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.refresh()
        panels = page.find_elements("css selector", "[data-only]")
        assert len(panels) == 18 and all(p.is_displayed() for p in panels)
        labels = page.find_elements("css selector", ".panel > .label")
        assert [p.text for p in labels] == 4 * ["PyTorch", "MXNet", "TensorFlow", "JAX"]
        assert not tab(page, 1, "jax").is_displayed()
    finally:
        page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_where_storage_is_blocked_the_address_remembers(built, tmp_path):
    cookies = "profile.default_content_setting_values.cookies"
    driver = start_browser(tmp_path, **{cookies: 2})
    try:
        driver.get((built / "mini.html").as_uri())
        blocked = "try { return String(localStorage) } catch { return 'blocked' }"
        assert driver.execute_script(blocked) == "blocked"
        tab(driver, 1, "mxnet").click()
        driver.refresh()
        assert selected(driver) == 4 * ["mxnet"]
        assert [e for e in driver.get_log("browser") if e["level"] == "SEVERE"] == []
    finally:
        driver.quit()
