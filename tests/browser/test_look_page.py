"""The page of `data look` in a real browser: it draws, it is silent, and what users wrote stays text under the mouse."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import pytest
from devtools import Browser, installed

from seektune.look.page import write_page
from seektune.look.profile import look

pytestmark = pytest.mark.skipif(
    installed() is None, reason="no Chromium is installed here (or name one in SEEKTUNE_BROWSER)"
)
EVIL = '<img src=x onerror="document.title=1">'
FILLS = "[...new Set([...document.querySelectorAll('.map circle')].map(c => getComputedStyle(c).fill))].length"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder, draw = tmp_path_factory.mktemp("look"), random.Random(1)
    words = ["bank", "rate", "loan", "银行", "利率", "贷款", "goal", "team", "ball", "球队", "进球", "比赛"]
    for name in ("a", "b"):
        rows = [{"text": EVIL + " ".join(draw.choices(words, k=3)), "label": f"c{i % 3}"} for i in range(60)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    write_page(*look([folder]), folder / "page.html")
    program = installed()
    assert program is not None
    with Browser(program, tmp_path_factory.mktemp("browser") / "profile") as browser:
        browser.open(folder / "page.html")
        yield browser


def test_the_page_is_silent_and_asks_for_nothing_else(opened: Browser) -> None:
    assert opened.complaints() == []
    assert len(opened.requests()) == 1
    assert opened.evaluate("document.querySelectorAll('img').length") == 0
    assert str(opened.evaluate("document.title")).startswith("Data: a.jsonl, b.jsonl")


def test_the_map_is_coloured_by_label_then_by_file(opened: Browser) -> None:
    assert opened.evaluate(FILLS) == 3
    opened.evaluate("document.querySelector('.map input[value=s]').click()")
    assert opened.evaluate(FILLS) == 2


def test_the_text_under_the_mouse_is_text(opened: Browser) -> None:
    at = opened.evaluate(
        "(() => { document.querySelector('.map').scrollIntoView(); const c = document.querySelectorAll('.map circle')[5]"
        ".getBoundingClientRect(); return [c.x + c.width / 2, c.y + c.height / 2]; })()"
    )
    opened.call("Input.dispatchMouseEvent", type="mouseMoved", x=at[0], y=at[1])
    assert EVIL in opened.evaluate("document.querySelector('.tip').textContent")
    assert opened.evaluate("document.querySelector('.tip').hidden") is False
    assert opened.evaluate("document.title") != "1"
    assert opened.complaints() == []


def test_nothing_is_wider_than_a_telephone(opened: Browser) -> None:
    opened.call("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True)
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
