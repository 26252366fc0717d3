"""A headless Chromium for the report's page, driven through the keyboard as far as that goes."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
IS_HERE = bool(CHROMIUM and DRIVER)
_PATIENCE_SECONDS = 60
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1280,900",
)
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


@contextmanager
def chromium(profile: Path) -> Iterator[webdriver.Chrome]:
    """Start it with a new profile, and end it."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()


def log(browser: webdriver.Chrome, kind: str) -> list[dict[str, Any]]:
    """Return what was logged since the last call."""
    entries: list[dict[str, Any]] = browser.get_log(kind)  # type: ignore[no-untyped-call]
    return entries


def wait(browser: webdriver.Chrome, script: str) -> None:
    """Wait until a script returns something true."""
    WebDriverWait(browser, _PATIENCE_SECONDS).until(lambda driver: driver.execute_script(script))


def choose(page: webdriver.Chrome, switch: str, text: str) -> None:
    """Choose an option of a switch by its arrow keys."""
    element = page.find_element(By.ID, f"switch-{switch}")
    options = [option.text for option in element.find_elements(By.TAG_NAME, "option")]
    page.execute_script("arguments[0].focus()", element)
    element.send_keys(Keys.HOME, *[Keys.ARROW_DOWN] * options.index(text))
    assert page.execute_script("return arguments[0].selectedOptions[0].text", element) == text


def seen(page: webdriver.Chrome, selector: str) -> list[Any]:
    """Return what can be seen of the elements of a selector."""
    return [one for one in page.find_elements(By.CSS_SELECTOR, selector) if one.is_displayed()]


def emulate_scheme(page: webdriver.Chrome, scheme: str) -> None:
    """Let the system prefer light or dark, or nothing if empty."""
    features = [{"name": "prefers-color-scheme", "value": scheme}] if scheme else []
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
