"""The report in a real browser (`make browser`): what only a browser can tell. `tests/test_report.py` parses the same page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from devtools import Browser, installed
from sample_run import sample_run

from seektune.report import write_report

pytestmark = pytest.mark.skipif(
    installed() is None, reason="no Chromium is installed here (or name one in SEEKTUNE_BROWSER)"
)

CURVES = """
[...document.querySelectorAll(".chart path.line[data-name]")].map(path => {
  const box = path.getBoundingClientRect(), style = getComputedStyle(path);
  return [path.dataset.name, path.getTotalLength(), box.width, box.height, style.stroke, style.fill];
})"""
CONTRAST = """
(() => {
  const light = colour => {
    const parts = colour.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const behind = element => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      if (!colour.endsWith(", 0)") && colour !== "transparent") return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const weak = [];
  for (const element of document.querySelectorAll("h1, h2, p, dt, dd, th, td, pre, span, small, summary, figcaption, .chip")) {
    const front = light(getComputedStyle(element).color), back = light(behind(element));
    const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
    if (ratio < 4.5) weak.push([element.tagName, element.className, ratio]);
  }
  return weak;
})()"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = sample_run(tmp_path_factory.mktemp("runs"))
    write_report(run)
    return run.path / "report.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = installed()
    assert program is not None
    with Browser(program, tmp_path_factory.mktemp("browser") / "profile") as opened:
        yield opened


@pytest.fixture
def page(browser: Browser, path: Path) -> Browser:
    browser.call("Emulation.setEmulatedMedia", media="", features=[])
    browser.call("Emulation.setDeviceMetricsOverride", width=1100, height=1400, deviceScaleFactor=1, mobile=False)
    browser.open(path)
    return browser


def test_nothing_is_said_and_nothing_is_fetched(page: Browser, path: Path) -> None:
    assert page.complaints() == []
    outside = [url for url in page.requests() if not url.startswith(("data:", path.resolve().as_uri()))]
    assert outside == []


def test_curves_are_drawn(page: Browser) -> None:
    curves = page.evaluate(CURVES)
    assert [name for name, *_ in curves] == ["train", "valid", "learning rate", "grad norm", "tokens per second"]
    for name, length, width, height, stroke, fill in curves:
        assert length > 100, name
        assert width > 150, name
        assert height > 1, name
        assert stroke.startswith("rgb("), name
        assert fill == "none", name


def test_strings_of_strangers_are_harmless(page: Browser) -> None:
    assert page.evaluate("document.title") == "headlines-3 · seektune"
    assert page.evaluate("document.querySelectorAll('img, iframe, object, embed, main script').length") == 0
    assert page.evaluate("document.body.innerText.includes(\"<script>document.title = 'hacked'</script>\")")


def test_the_policy_stops_a_script_that_would_come_in(page: Browser) -> None:
    """Were an escape forgotten, the page's own policy would still stand between."""
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=data:, onerror=\"document.title = 1\">')")
    page.evaluate(
        "(() => { const s = document.createElement('script'); s.textContent = 'document.title = 2'; document.body.append(s); })()"
    )
    assert page.evaluate("document.title") == "headlines-3 · seektune"
    assert any("Content Security Policy" in line for line in page.complaints())


def test_the_mouse_reads_a_curve(page: Browser) -> None:
    at = "(() => { const b = document.querySelector('.chart svg').getBoundingClientRect(); return [b.left + b.width / 2, b.top + b.height / 2]; })()"
    x, y = page.evaluate(at)
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    said = page.evaluate("document.querySelector('.chart output').textContent")
    assert said.startswith("step 1")  # the middle of 240 steps lies in the hundreds
    assert "train" in said
    assert "valid" in said
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
    assert page.evaluate("document.querySelector('.chart output').textContent") == ""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_can_be_read_in_light_and_dark(page: Browser, scheme: str) -> None:
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(v) for v in background[4:-1].split(",")) > 600) == (scheme == "light")
    assert page.evaluate(CONTRAST) == []


@pytest.mark.parametrize("width", [1100, 390])
def test_the_page_never_scrolls_sideways(page: Browser, width: int) -> None:
    page.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_paper_shows_what_is_folded_on_the_screen(page: Browser) -> None:
    page.call("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("[...document.querySelectorAll('details')].every(d => d.open)")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate(CONTRAST) == []
    assert len(page.call("Page.printToPDF")["data"]) > 10_000


def test_without_scripts_the_curves_are_there_too(browser: Browser, path: Path) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(path)
        document = browser.call("DOM.getDocument", depth=-1)["root"]["nodeId"]
        lines = browser.call("DOM.querySelectorAll", nodeId=document, selector=".chart path.line")["nodeIds"]
        assert len(lines) >= 5
        box = browser.call("DOM.getBoxModel", nodeId=lines[1])["model"]
        assert box["width"] > 150
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
