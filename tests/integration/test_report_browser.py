"""The report's page in a real browser: it opens from disk, its switches work, and it can be read on any screen."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.report_browser import CONTRASTS, IS_HERE, choose, chromium, emulate_scheme, log, seen, wait
from integration.report_page import make_root
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from experiments.analysis.report import write_report

LEAST_CONTRAST = 4.5  # WCAG 2.2, 1.4.3
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not IS_HERE, reason="expected chromium and chromedriver on the path, found none"),
]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    make_root(folder / "R", folder / "cache")
    return write_report(folder / "R", None, None)


@pytest.fixture(scope="module")
def opened(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Return a browser with the page, as it opens from disk."""
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        browser.get(written.as_uri())
        wait(browser, "return document.documentElement.dataset.ready === 'yes'")
        yield browser


@pytest.fixture
def page(opened: webdriver.Chrome) -> Iterator[webdriver.Chrome]:
    """Return the page, and put its switches back."""
    yield opened
    for switch, text in (("material", "Strokes, quick"), ("case", "all"), ("theme", "as the system")):
        choose(opened, switch, text)
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    emulate_scheme(opened, "")


def test_it_opens_from_disk_without_an_error_and_asks_the_network_for_nothing(opened: webdriver.Chrome) -> None:
    asked = [
        event["params"]["request"]["url"]
        for entry in log(opened, "performance")
        if (event := json.loads(entry["message"])["message"])["method"] == "Network.requestWillBeSent"
    ]
    assert [
        url for url in asked if not url.startswith(("file:", "data:", "blob:", "chrome:", "chrome-untrusted:"))
    ] == []
    assert any(url.endswith("/report.html") for url in asked)
    assert log(opened, "browser") == []


def test_the_figures_are_drawn_with_their_curves(page: webdriver.Chrome) -> None:
    choose(page, "material", "Strokes, quick")
    plots = seen(page, "#figures [data-plot]")
    assert len(plots) == 8  # cases (a) and (c): persistence, fine-tuning, and two rows of rescue
    for plot in plots:
        assert len(plot.find_elements(By.CSS_SELECTOR, ".main-svg .scatterlayer path.js-line")) >= 4
        assert plot.find_element(By.CSS_SELECTOR, ".main-svg").size["height"] == 300


def test_the_case_and_the_results_are_chosen_by_keyboard(page: webdriver.Chrome) -> None:
    choose(page, "material", "Strokes, quick")
    choose(page, "case", "(c)")
    assert {plot.get_attribute("data-case") for plot in seen(page, "#figures figure.plot")} == {"c"}
    assert [one.text for one in seen(page, "#episodes summary h3")] == ["case (c): attack-c, seed 0"]
    choose(page, "case", "all")
    choose(page, "material", "Omniglot, quick")
    assert [one.text for one in seen(page, "#claims h3")] == ["Omniglot, quick"]
    assert len(seen(page, "#figures [data-plot] .main-svg")) > 0
    choose(page, "case", "(a)")
    assert "No panel of this case." in [one.text for one in seen(page, "#figures .none")]


def test_a_curve_is_hidden_and_shown_by_its_box(page: webdriver.Chrome) -> None:
    choose(page, "material", "Strokes, quick")
    panel = seen(page, "#figures [data-plot]")[0]
    box = seen(page, "#figures .figure input[data-curve='main_task']")[0]
    count = "return arguments[0].querySelectorAll('.scatterlayer .trace').length"
    before = page.execute_script(count, panel)
    box.send_keys(Keys.SPACE)
    assert page.execute_script(count, panel) < before
    box.send_keys(Keys.SPACE)
    assert page.execute_script(count, panel) == before


def test_pointing_at_a_curve_shows_its_values(page: webdriver.Chrome) -> None:
    choose(page, "material", "Strokes, quick")
    panel = seen(page, "#figures [data-plot]")[0]
    page.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", panel)
    ActionChains(page).move_to_element(panel.find_element(By.CSS_SELECTOR, ".nsewdrag")).perform()
    wait(page, "return document.querySelector('#figures div:not([hidden]) > .figure .hoverlayer text') !== null")
    text = panel.find_element(By.CSS_SELECTOR, ".hoverlayer").get_attribute("textContent") or ""
    assert "meta-testing" in text
    assert "[" in text


def test_nothing_is_wider_than_a_phone(page: webdriver.Chrome) -> None:
    choose(page, "material", "Strokes, quick")
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
    choose(page, "material", "Strokes, quick")
    emulate_scheme(page, scheme)
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
    emulate_scheme(page, "light")
    light = page.execute_script(ground)
    choose(page, "theme", "dark")
    assert page.execute_script(ground) != light
    choose(page, "theme", "light")
    assert page.execute_script(ground) == light


def test_the_focus_can_be_seen_and_the_first_stop_leads_past_the_head(page: webdriver.Chrome) -> None:
    first = page.execute_script("return document.querySelector('a[href], select, input, summary, [tabindex]')")
    assert (first.get_attribute("href") or "").endswith("#main")
    page.execute_script("arguments[0].focus({focusVisible: true})", first)
    assert first.rect["x"] >= 0
    for element in (first, *seen(page, "select"), *seen(page, "input[data-curve]")[:1], *seen(page, "summary")[:1]):
        page.execute_script("arguments[0].focus({focusVisible: true})", element)
        assert page.execute_script("return getComputedStyle(arguments[0]).outlineWidth", element) == "3px"
