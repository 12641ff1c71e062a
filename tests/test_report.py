from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_run import STEPS, XSS, sample_run

from seektune import charts, page, report
from seektune.run import Run

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """What a browser would make of a page: elements, texts by element, and tags that do not match."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(html)
        self.close()
        self.wrong += self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self.open[-1] if self.open else "", []).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = sample_run(tmp_path_factory.mktemp("runs"))
    report.write_report(made)
    return made


@pytest.fixture(scope="module")
def html(run: Run) -> Page:
    return Page((run.path / "report.html").read_text(encoding="utf-8"))


def test_report_json_has_the_shape_of_the_design(run: Run) -> None:
    found = run.read("report.json")
    assert found["status"] == "finished"
    assert found["before"]["exact_match"] == {
        "value": 0.025, "low": pytest.approx(0.0107, abs=1e-4), "high": pytest.approx(0.0572, abs=1e-4), "n": 200
    }  # fmt: skip  # Wilson's interval of 5 in 200
    assert found["after"]["exact_match"]["value"] == 0.915
    assert found["measured"] == {"peak_memory_bytes": 655 << 20, "seconds": 118.4, "tokens_per_second": 5321.0}
    assert found["plan"]["steps"] == STEPS
    assert found["proof"]["passed"] is True
    assert found["require"] == {"exact_match": "> before + 0.05"}  # what others put there stays
    assert found["training"]["steps"] == STEPS
    assert found["training"]["events"] == {"checkpoint": 6, "non_finite": 1, "alarm": 1}


def test_what_was_predicted_is_compared(run: Run) -> None:
    compared = run.read("report.json")["comparison"]
    assert compared["seconds"] == {"predicted": 100.0, "measured": 118.4, "ratio": pytest.approx(1.184)}
    assert set(compared) == {"seconds", "peak_memory_bytes"}


def test_the_verdict_pairs_the_records(run: Run) -> None:
    found = run.read("report.json")
    assert found["verdict"]["direction"] == "better"
    assert found["verdict"]["words"] == "exact match went from 2.5 % to 91.5 % (95 % interval 86.8 % to 94.6 %)"
    paired = found["differences"]["exact_match"]
    assert paired["difference"] == pytest.approx(0.89)
    assert (paired["gained"], paired["lost"]) == (178, 0)


def test_writing_the_report_twice_changes_nothing(tmp_path: Path) -> None:
    made = sample_run(tmp_path, 40)
    first = report.write_report(made)
    pages = (made.path / "report.html").read_text()
    assert report.write_report(made) == first
    assert (made.path / "report.html").read_text() == pages


S = dict[str, Any]


@pytest.mark.parametrize(
    ("name", "old", "new", "paired", "expected"),
    [
        ("exact_match", (0.1, 0.05, 0.2), (0.9, 0.8, 0.95), {}, "better"),
        ("exact_match", (0.9, 0.8, 0.95), (0.1, 0.05, 0.2), {}, "worse"),
        ("exact_match", (0.5, 0.3, 0.7), (0.6, 0.4, 0.8), {}, "unclear"),
        ("exact_match", (0.5, 0.3, 0.7), (0.6, 0.4, 0.8), {"low": 0.02, "high": 0.2}, "better"),  # pairs see more
        ("exact_match", (0.1, 0.05, 0.2), (0.9, 0.8, 0.95), {"low": -0.1, "high": 0.9}, "unclear"),
        ("perplexity", (9.0, 8.0, 10.0), (2.0, 1.5, 2.5), {}, "better"),
        ("perplexity", (2.0, 1.5, 2.5), (9.0, 8.0, 10.0), {}, "worse"),
        ("f1/cat", (0.1, 0.05, 0.2), (0.9, 0.8, 0.95), {}, "better"),
        ("speed", (1.0, None, None), (2.0, None, None), {}, "unclear"),
        ("exact_match", (0.5, 0.3, 0.7), (0.5, 0.3, 0.7), {}, "same"),
    ],
)
def test_direction(name: str, old: tuple, new: tuple, paired: S, expected: str) -> None:
    one, other = (dict(zip(("value", "low", "high"), values, strict=True)) for values in (old, new))
    assert report.direction(name, one, other, paired) == expected


def test_speed_counts_tokens_by_the_time_they_took(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "a")
    for step, (tokens, speed) in enumerate([(1000, 100.0), (4000, 1000.0)], 1):
        run.append({"step": step, "split": "train", "tokens": tokens, "tokens_per_second": speed})
    assert report.speed(run.metrics()) == {"seconds": 13.0, "tokens_per_second": pytest.approx(4000 / 13)}


def test_the_page_is_well_formed_and_loads_nothing(html: Page) -> None:
    assert html.wrong == []
    assert len(html.all("script")) == 1
    assert html.all("img") == []
    references = [v for _, a in html.elements for k, v in a.items() if k in ("src", "href", "srcset", "action", "data")]
    assert references == ["data:,"]
    assert not any(key.startswith("on") for _, attributes in html.elements for key in attributes)
    style = "".join(html.texts["style"])
    assert "url(" not in style
    assert "@import" not in style
    policy = next(a["content"] for a in html.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert "default-src 'none'" in policy


def test_the_script_is_the_one_that_the_policy_allows(html: Page) -> None:
    import base64
    import hashlib

    (script,) = html.texts["script"]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert any(f"'sha256-{digest}'" in (a.get("content") or "") for a in html.all("meta"))


def test_what_users_wrote_stands_there_as_text(html: Page) -> None:
    texts = " ".join(text for inner in html.texts.values() for text in inner)
    assert texts.count("document.title = 'hacked'") >= 10
    for place in ("td", "div", "dd", "span", "pre"):  # prompt, answer, data, token, recipe
        assert any(XSS in text for text in html.texts[place]), place


def test_curves_hold_the_numbers_of_the_run(run: Run, html: Page) -> None:
    paths = {(a["data-name"]): json.loads(a["data-points"] or "") for a in html.all("path") if "data-name" in a}
    assert set(paths) == {"train", "valid", "learning rate", "grad norm", "tokens per second"}
    rates = {row["step"]: row["learning_rate"] for row in run.metrics("train")}
    assert all(value == pytest.approx(rates[step], rel=1e-3) for step, value in paths["learning rate"])
    valid = {row["step"]: row["loss"] for row in run.metrics("valid")}
    assert {step: pytest.approx(value, rel=1e-3) for step, value in paths["valid"]} == valid
    assert sum(a.get("class") == "gap" for a in html.all("path")) == 1  # the step that was not finite
    assert sum(a.get("class") == "mark" for a in html.all("line")) == 2  # it, and the alarm


def test_sections_appear_with_their_content_only(html: Page, tmp_path: Path) -> None:
    assert html.texts["h2"] == [
        "Training", "Before and after", "Answers side by side", "Records as the model sees them", "Data",
        "Predicted and measured", "Proof", "Require", "Events", "Recipe", "Environment",
    ]  # fmt: skip
    bare = Run.create(tmp_path, "bare")
    report.write_report(bare, "failed")
    empty = Page((bare.path / "report.html").read_text())
    assert "h2" not in empty.texts
    assert empty.wrong == []
    assert "Nothing was evaluated" in " ".join(empty.texts["p"])
    assert "failed" in empty.texts["span"]


@pytest.mark.parametrize("value", [None, math.nan])
def test_a_score_that_does_not_exist_breaks_no_page(tmp_path: Path, value: float | None) -> None:
    run = Run.create(tmp_path, "a")
    score = {"value": value, "low": None, "high": None, "n": 0, "reason": "nothing to measure"}
    run.write("report.json", {"before": {"f1": score}, "after": {"f1": score}})
    assert report.write_report(run)["verdict"]["direction"] == "measured"
    assert Page((run.path / "report.html").read_text()).wrong == []


def test_prompts_as_text() -> None:
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]
    assert report.text_of(messages) == "user: hi\nassistant: yes"
    assert report.text_of({"messages": messages[:1]}) == "user: hi"
    assert report.text_of("x") == "x"
    assert report.text_of(None) == ""


@given(st.text())
def test_any_text_is_harmless_in_a_page(text: str) -> None:
    html = page.document(
        text,
        [page.facts({text: text}), page.table(["a"], [[text]]), page.tokens([[text, text]]), page.preformatted(text)],
    )
    parsed = Page(html)
    assert parsed.wrong == []
    assert {tag for tag, _ in parsed.elements} <= {
        "html", "head", "meta", "link", "title", "style", "body", "main", "dl", "dt", "dd", "div", "table", "thead",
        "tbody", "tr", "th", "td", "pre", "span", "script",
    }  # fmt: skip
    assert "\x00" not in html


@given(st.lists(st.one_of(st.none(), st.floats(-1e30, 1e30)), min_size=1, max_size=80))
def test_any_curve_can_be_drawn(values: list[float | None]) -> None:
    figure = charts.chart("Loss", [charts.Series("train", range(len(values)), values, smooth=True, dots=True)])
    assert bool(figure) == any(value is not None for value in values)
    assert Page(figure).wrong == []
    for number in re.findall(r'[MLd"]?(-?[\d.]+) (-?[\d.]+)', " ".join(re.findall(r' d="([^"]*)"', figure))):
        assert -10 <= float(number[0]) <= 730
        assert -10 <= float(number[1]) <= 250
    assert "nan" not in figure.split("<figcaption>")[0]


def test_ticks_are_round_and_inside() -> None:
    assert charts.nice_ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert charts.nice_ticks(3, 97, 4) == [50]
    assert charts.nice_ticks(0, 2e-4, 3) == [0, 1e-4, 2e-4]
    assert [charts.short(x) for x in (0, 12000, 0.35, 2e-4, 1.5e-5, 5000)] == [
        "0",
        "12k",
        "0.35",
        "2e-4",
        "1.5e-5",
        "5,000",
    ]


def test_thinning_loses_no_spike() -> None:
    values: list[float | None] = [1.0] * 100_000
    values[77_777], values[5] = 50.0, -3.0
    kept = charts.thin(range(100_000), values, 600)
    assert len(kept) <= 600
    assert (77_777, 50.0) in kept
    assert (5, -3.0) in kept
    assert [x for x, _ in kept] == sorted(x for x, _ in kept)


def test_running_mean_leaves_out_what_is_not_finite() -> None:
    assert charts.running_mean([1.0, None, 3.0, 5.0], 3) == [1.0, 2.0, 4.0, 4.0]
    assert charts.running_mean([None, None], 3) == [None, None]


def test_a_long_run_makes_a_small_page(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "long")
    lines = "".join(
        json.dumps({"step": i, "split": "train", "loss": 1.0 + i % 7, "tokens": i, "grad_norm": 1.0}) + "\n"
        for i in range(20_000)
    )
    (run.path / "metrics.jsonl").write_text(lines)
    report.write_report(run)
    assert (run.path / "report.html").stat().st_size < 160_000


@pytest.mark.parametrize("values", [[0.0], [5e-324, 0.0], [1e30, 1e30 + 1e14], [3.0, 3.0], [-2e-31, 2e-31]])
def test_flat_and_tiny_curves_have_an_axis(values: list[float]) -> None:
    assert Page(charts.chart("Loss", [charts.Series("train", range(len(values)), values)])).wrong == []
    assert 'class="tick"' in charts.chart("Loss", [charts.Series("train", range(len(values)), values)], zero=True)
