"""The report's page in a real browser: it draws, obeys its switches by keyboard, fits a phone, and knows the dark."""

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from integration.report_page import make_root
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from experiments.report import write_report

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="no chromium and chromedriver here (apt-get install chromium-driver)"
    ),
]

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1280,900",
)
LEAST_CONTRAST = 4.5  # WCAG 2.2, 1.4.3
PATIENCE_SECONDS = 60

CONTRASTS = """
function channel(c) { c /= 255; return c <= 0.04045 ? c / 12.92 : Math.pow((c + 0.055) / 1.055, 2.4); }
function luminance(c) { return 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]); }
function parsed(text) { return text.match(/[\\d.]+/g).map(Number); }
function ground(element) {
  for (; element; element = element.parentElement) {
    const found = parsed(getComputedStyle(element).backgroundColor);
    if (found.length === 3 || found[3] === 1) return found;
  }
  return [255, 255, 255];
}
const found = {};
for (const element of document.querySelectorAll("body *")) {
  const own = Array.from(element.childNodes).some((node) => node.nodeType === 3 && node.data.trim());
  if (!own || !element.getClientRects().length || element.closest("svg, [aria-hidden], script")) continue;
  const [a, b] = [luminance(parsed(getComputedStyle(element).color)), luminance(ground(element))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const name = element.tagName + "." + element.className;
  found[name] = Math.min(found[name] || 99, ratio);
}
return found;
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    driver.set_script_timeout(PATIENCE_SECONDS)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def opened(browser: webdriver.Chrome, tmp_path_factory: pytest.TempPathFactory) -> webdriver.Chrome:
    """Return the browser with the page, as it opens from disk."""
    folder = tmp_path_factory.mktemp("report")
    make_root(folder / "R", folder / "cache")
    browser.get(write_report(folder / "R", None, None).as_uri())
    wait(browser, "return document.documentElement.dataset.ready === 'yes'")
    return browser


@pytest.fixture
def page(opened: webdriver.Chrome) -> Iterator[webdriver.Chrome]:
    """Return the page, with its switches as they were at first."""
    yield opened
    opened.execute_script(
        "for (const [id, value] of [['material', '1'], ['case', 'all'], ['theme', 'system']]) {"
        "const one = document.getElementById('switch-' + id); one.value = value;"
        "one.dispatchEvent(new Event('change')); }"
    )
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def wait(browser: webdriver.Chrome, script: str) -> None:
    WebDriverWait(browser, PATIENCE_SECONDS).until(lambda driver: driver.execute_script(script))


def choose(page: webdriver.Chrome, switch: str, text: str) -> None:
    """Choose by keyboard: the first letters of an option, typed into the focused switch."""
    element = page.find_element(By.ID, f"switch-{switch}")
    page.execute_script("arguments[0].focus()", element)
    element.send_keys(text)
    chosen = page.execute_script("return arguments[0].selectedOptions[0].text", element)
    assert chosen.startswith(text)


def seen(page: webdriver.Chrome, selector: str) -> list[Any]:
    return [one for one in page.find_elements(By.CSS_SELECTOR, selector) if one.is_displayed()]


def test_it_opens_from_disk_without_an_error_and_asks_the_network_for_nothing(opened: webdriver.Chrome) -> None:
    asked = [
        event["params"]["request"]["url"]
        for entry in opened.get_log("performance")
        if (event := json.loads(entry["message"])["message"])["method"] == "Network.requestWillBeSent"
    ]
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert any(url.endswith("/report.html") for url in asked)
    assert opened.get_log("browser") == []


def test_the_figures_are_drawn_with_their_curves(page: webdriver.Chrome) -> None:
    choose(page, "material", "Strokes")
    plots = seen(page, "#figures [data-plot]")
    assert len(plots) == 8  # cases (a) and (c): persistence, fine-tuning, and two rows of rescue
    for plot in plots:
        assert len(plot.find_elements(By.CSS_SELECTOR, ".main-svg .scatterlayer path.js-line")) >= 4
        assert plot.find_element(By.CSS_SELECTOR, ".main-svg").size["height"] == 300


def test_the_case_and_the_results_are_chosen_by_keyboard(page: webdriver.Chrome) -> None:
    choose(page, "material", "Strokes")
    choose(page, "case", "(c)")
    assert {plot.get_attribute("data-case") for plot in seen(page, "#figures figure.plot")} == {"c"}
    assert [one.text for one in seen(page, "#episodes summary h3")] == ["case (c): attack-c, seed 0"]
    choose(page, "case", "all")
    choose(page, "material", "Omniglot")
    assert [one.text for one in seen(page, "#claims h3")] == ["Omniglot, quick"]
    assert len(seen(page, "#figures [data-plot] .main-svg")) > 0
    choose(page, "case", "(a)")
    assert "No panel of this case." in [one.text for one in seen(page, "#figures .none")]


def test_a_curve_is_hidden_and_shown_by_its_box(page: webdriver.Chrome) -> None:
    choose(page, "material", "Strokes")
    panel = seen(page, "#figures [data-plot]")[0]
    box = seen(page, "#figures .figure input[data-curve='main_task']")[0]
    count = "return arguments[0].querySelectorAll('.scatterlayer .trace').length"
    before = page.execute_script(count, panel)
    box.send_keys(Keys.SPACE)
    assert page.execute_script(count, panel) < before
    box.send_keys(Keys.SPACE)
    assert page.execute_script(count, panel) == before


def test_pointing_at_a_curve_tells_its_values(page: webdriver.Chrome) -> None:
    choose(page, "material", "Strokes")
    panel = seen(page, "#figures [data-plot]")[0]
    page.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", panel)
    ActionChains(page).move_to_element(panel.find_element(By.CSS_SELECTOR, ".nsewdrag")).perform()
    wait(page, "return document.querySelector('.hoverlayer text') !== null")
    text = page.execute_script("return document.querySelector('.hoverlayer').textContent")
    assert "meta-testing" in text
    assert "[" in text


def test_nothing_is_wider_than_a_phone(page: webdriver.Chrome) -> None:
    choose(page, "material", "Strokes")
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    page.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    wait(page, "return Array.from(document.querySelectorAll('.main-svg')).every((one) => one.clientWidth <= 390)")
    assert page.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]") == [390, 390]
    beyond = page.execute_script(
        "return Array.from(document.querySelectorAll('main *')).filter((one) => !one.closest('.scroll, svg, pre') "
        "&& one.getBoundingClientRect().right > 391).map((one) => one.outerHTML.slice(0, 100))"
    )
    assert beyond == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground_and_plots_follow_the_page(page: webdriver.Chrome, scheme: str) -> None:
    choose(page, "material", "Strokes")
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    style = "return getComputedStyle(document.querySelector(arguments[0])).getPropertyValue(arguments[1])"
    ink = page.execute_script(style, "body", "color")
    wait(page, f"return getComputedStyle(document.querySelector('.xtick text')).fill === '{ink}'")
    brightness = sum(int(part) for part in ink[4:-1].split(",")) / 3
    assert (brightness > 128) == (scheme == "dark")
    page.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    contrasts = page.execute_script(CONTRASTS)
    assert len(contrasts) > 10
    assert {name: ratio for name, ratio in contrasts.items() if ratio < LEAST_CONTRAST} == {}


def test_colours_can_be_chosen_against_the_system(page: webdriver.Chrome) -> None:
    ground = "return getComputedStyle(document.body).backgroundColor"
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "light"}]}
    )
    light = page.execute_script(ground)
    choose(page, "theme", "dark")
    assert page.execute_script(ground) != light
    choose(page, "theme", "light")
    assert page.execute_script(ground) == light


def test_the_focus_can_be_seen_and_the_first_stop_leads_past_the_head(page: webdriver.Chrome) -> None:
    page.execute_script("window.scrollTo(0, 0); document.activeElement.blur()")
    page.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert page.switch_to.active_element.get_attribute("href").endswith("#main")
    switch = page.find_element(By.ID, "switch-case")
    page.switch_to.active_element.send_keys(Keys.TAB)
    page.execute_script("arguments[0].focus()", switch)
    outline = page.execute_script("return getComputedStyle(arguments[0]).outlineWidth", switch)
    assert outline == "3px"
