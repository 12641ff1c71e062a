"""`filter_noise`: what is found, kept beside, not judged; every scorer against a computation of another kind."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from files_of_filter_noise import noisy
from test_models import Server, echo

from seektune import kinds
from seektune.errors import RecipeError, RunFailedError
from seektune.stages import _models, _scorers, _trust
from seektune.stages._conversations import conversation, last_answer
from seektune.stages._work import Work, equip, work_of
from seektune.stages.filter_noise import FilterNoise

Rows = list[dict[str, Any]]


def passed(rows: Rows, work: Work | None = None, **options: Any) -> tuple[Rows, dict[str, Any]]:
    stage = FilterNoise(**options)
    equip(stage, work or Work())
    return list(stage(rows)), stage.report()


def talk(asked: str, said: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]}


# Labels


def test_wrong_labels_of_both_languages_go_and_right_ones_stay() -> None:
    rows = noisy()
    out, report = passed(rows, column="text")
    wrong = [row for row in rows if row["label"] != row["truth"]]
    assert len(wrong) == 60
    assert {any("一" <= c <= "鿿" for c in row["text"]) for row in wrong} == {True, False}
    gone = [row for row in rows if row not in out]
    assert sum(row in wrong for row in gone) >= 57
    assert sum(row not in wrong for row in gone) <= 3
    assert report["reasons"] == {"the label is distrusted": len(gone)}
    assert report["trust"]["judged"] == sum(report["trust"]["tenths"]) == 300
    assert report["trust"]["estimated_wrong_labels"] == pytest.approx(0.2, abs=0.05)
    example = report["examples"]["dropped"][0]
    assert example["detail"].startswith("trust 0.") and "likelier: " in example["detail"]


def test_relabelling_gives_the_true_label_and_keeps_the_given_one() -> None:
    rows = noisy()
    out, report = passed(rows, column="text", action="relabel", sure=0.5)
    changed = [row for row in out if "label_was" in row]
    assert report["changed"] == len(changed) >= 50
    assert all(row["label"] != row["label_was"] for row in changed)
    assert sum(row["label"] == row["truth"] for row in changed) >= len(changed) - 3
    assert not any("label_was" in row for row in rows)


@pytest.mark.parametrize(("good", "bad"), [(1, 0), (True, False), (2.0, 3.0), ("是", "否")])
def test_a_new_label_has_the_type_of_the_old(good: Any, bad: Any) -> None:
    rows = [row | {"label": good if row["label"] == "good" else bad} for row in noisy()]
    out, _ = passed(rows, column="text", action="relabel", sure=0.5)
    changed = [row for row in out if "label_was" in row]
    assert changed
    assert {type(row["label"]) for row in changed} == {type(good)}
    assert {row["label"] for row in changed} <= {good, bad}


def test_what_has_no_single_label_or_a_class_of_its_own_is_kept_and_counted() -> None:
    odd = [
        {"text": "no label"},
        {"text": "two", "label": ["good", "bad"]},
        {"text": "alone", "label": "third"},
        {"text": " ", "label": "good"},
    ]
    twice = [{"text": "the same text", "label": "fourth"}] * 2  # two records, one text
    out, report = passed([*noisy(), *odd, *twice], column="text")
    assert all(row in out for row in [*odd, *twice])
    assert report["trust"]["not_judged"] == {"no label, or none that can be judged": 6}
    assert report["trust"]["judged"] == 300


@pytest.mark.parametrize("same", [True, False], ids=["one class", "nothing to learn"])
def test_where_labels_cannot_be_told_from_the_texts_nothing_goes(same: bool) -> None:
    random = np.random.default_rng(0)
    rows = [{"text": f"row {i}", "label": "a" if same else str(random.integers(3))} for i in range(60)]
    out, report = passed(rows)
    assert out == rows
    assert "not judged because" in report["trust"]
    assert report["trust"]["judged"] == 0


def test_the_order_of_the_records_does_not_matter() -> None:
    rows = noisy()
    order = np.random.default_rng(3).permutation(len(rows))
    plain = _scorers.classifier(rows, Work(), "label", "text", 5).values
    mixed = _scorers.classifier([rows[i] for i in order], Work(), "label", "text", 5).values
    np.testing.assert_allclose(mixed, plain[order], atol=1e-3)


def test_copies_of_a_text_are_never_judged_by_each_other() -> None:
    given = np.array([0, 1] * 30)
    prints = np.repeat(np.arange(15, dtype=np.uint64), 4)
    fold = _trust.dealt(given, prints, 5, 17)
    assert all(len(set(fold[prints == text])) == 1 for text in prints)
    assert set(fold) == set(range(5))


def test_folds_are_even_within_each_class_and_follow_the_seed() -> None:
    given, prints = np.repeat(np.arange(4), 50), np.arange(200, dtype=np.uint64)
    fold = _trust.dealt(given, prints, 5, 17)
    assert all(set(Counter(fold[given == one]).values()) == {10} for one in range(4))
    assert (_trust.dealt(given, prints, 5, 17) == fold).all()
    assert (_trust.dealt(given, prints, 5, 18) != fold).any()


def test_trust_is_the_probability_by_which_labels_were_drawn() -> None:
    """True classes and given labels drawn from a known law: p(true | text, given) by Bayes' rule, cell by cell."""
    random = np.random.default_rng(1)
    true = random.dirichlet(np.ones(3), 50)  # p(true | text)
    confusion = np.array([[0.8, 0.1, 0.2], [0.15, 0.7, 0.1], [0.05, 0.2, 0.7]])  # (given, true)
    given = random.integers(0, 3, 50)
    found = _trust.right(true, given, confusion, 1.0)
    for text, label, row in zip(true, given, found, strict=True):
        joint = [text[k] * confusion[label, k] for k in range(3)]
        np.testing.assert_allclose(row, np.array(joint) / sum(joint), atol=1e-4)


def test_the_confusion_is_that_of_confident_learning() -> None:
    """Counted by hand: a row is an error where another class is above the mean of that class's own rows."""
    random = np.random.default_rng(2)
    truth = np.repeat([0, 1], 500)
    given = np.where(random.random(1000) < 0.2, 1 - truth, truth)
    sure = random.uniform(0.7, 0.9, 1000)
    probabilities = np.stack([np.where(truth == 0, sure, 1 - sure), np.where(truth == 1, sure, 1 - sure)], 1)
    wrong, confusion = _trust.confused(probabilities, given, 2)
    means = [probabilities[given == k, k].mean() for k in (0, 1)]
    above = probabilities >= means
    counts = np.array([[(above[given == g, k]).sum() for k in (0, 1)] for g in (0, 1)], float)
    counts *= (np.bincount(given) / counts.sum(1))[:, None]
    assert wrong == pytest.approx((counts[0, 1] + counts[1, 0]) / counts.sum(), abs=0.01)
    assert wrong == pytest.approx((given != truth).mean(), abs=0.02)
    np.testing.assert_allclose(confusion.sum(0), 1)
    half = _trust.weakened(confusion, 0.5)
    np.testing.assert_allclose(half.sum(0), 1)
    assert half[0, 1] == pytest.approx(confusion[0, 1] / 2)


def test_trust_matches_the_share_that_is_right() -> None:
    """Calibration on drawn data, by a classifier that is half as sure as it should be: of labels with trust t, a share t is right."""
    random = np.random.default_rng(3)
    logits = random.normal(0, 4, (20_000, 4))
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = (true.cumsum(1) > random.random((20_000, 1))).argmax(1)
    given = np.where(random.random(20_000) < 0.2, (truth + random.integers(1, 4, 20_000)) % 4, truth)
    timid = np.exp(logits / 3) / np.exp(logits / 3).sum(1, keepdims=True)
    _, confusion = _trust.confused(timid, given, 4)
    level, temperature = _trust.likeliest(timid, given, confusion)
    assert temperature == pytest.approx(1 / 3, rel=0.3)
    trust = _trust.right(timid, given, _trust.weakened(confusion, level), temperature)[np.arange(20_000), given]
    for low in (0.0, 0.2, 0.4, 0.6, 0.8):
        inside = (trust >= low) & (trust < low + 0.2)
        assert abs((given == truth)[inside].mean() - trust[inside].mean()) < 0.12, low


def test_more_records_than_the_classifiers_learn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_trust, "LEARNT_FROM", 200)
    rows = noisy(400)
    out, report = passed(rows, column="text")
    assert report["trust"]["judged"] == 400
    assert sum(row["label"] != row["truth"] for row in out) <= 8
    assert len(out) >= 300


@pytest.mark.parametrize("name", ["bert", "qwen2"])
def test_any_encoder_or_decoder_can_look_at_the_labels(name: str, tmp_path: Path) -> None:
    """What tells the classes apart is one token, which even random weights pass on."""
    import zoo

    folder = zoo.tiny_folder(tmp_path / name, name)
    wrong = np.random.default_rng(0).random(200) < 0.15
    rows = [
        {"text": ("good " if i % 2 else "BAD ") * 3 + f"{i % 9}", "label": str((i % 2) ^ int(wrong[i]))}
        for i in range(200)
    ]
    found = _scorers.encoder(rows, Work(), str(folder), "label", "text", 4)
    judged = ~np.isnan(found.values)
    assert judged.all()
    assert (found.values[wrong] < 0.8).mean() > 0.8
    assert (found.values[~wrong] < 0.8).mean() < 0.1


def test_vectors_of_a_model_do_not_depend_on_what_stands_beside(tmp_path: Path) -> None:
    """The mean of the hidden states of one text, by transformers itself."""
    import torch
    import zoo
    from transformers import AutoModel, AutoTokenizer

    from seektune.stages._embedded import Embedded

    folder = zoo.tiny_folder(tmp_path / "bert", "bert")
    texts = ["a river", "公司的利润 went north and far away", "x"]
    found = Embedded(str(folder))._vectors(texts)
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    for text, vector in zip(texts, found, strict=True):
        with torch.no_grad():
            hidden = model(input_ids=torch.tensor([tokenizer(text)["input_ids"]])).last_hidden_state[0]
        np.testing.assert_allclose(vector, hidden.mean(0).numpy(), atol=1e-5)


# Answers


def test_unlikely_answers_go() -> None:
    rows = [talk(f"What is {i} + 1?", str(i + 1)) for i in range(1, 9)]
    odd = talk("What is 2 + 3?", "Ωß§ zebra 龘 qqq")
    out, report = passed([*rows, odd, {"name": 3}], scorer="likelihood", model="base:tiny")
    assert odd not in out
    assert {"name": 3} in out
    assert report["trust"]["not_judged"] == {"no answer": 1}


def test_likelihood_is_a_robust_score_of_the_models_loss() -> None:
    rows = [talk("What is 2 + 3?", text) for text in ("5", "7", "x y", "北京", "no", "5.")]
    found = _scorers.likelihood(rows, Work(), "base:tiny")
    losses = [total / weight for total, weight in _models.Local("base:tiny").score(rows)]
    middle = float(np.median(losses))
    spread = float(np.median([abs(loss - middle) for loss in losses])) * 1.4826
    for value, loss in zip(found.values, losses, strict=True):
        assert value == pytest.approx(1 / (1 + math.exp((loss - middle) / spread - 3)), abs=1e-4)


def test_difficulty_is_the_loss_behind_the_prompt_through_that_alone() -> None:
    rows = [talk("Repeat: the red house", "the red house"), talk("What is 2 + 3?", "Rivers are long.")]
    found = _scorers.difficulty(rows, Work(), "base:tiny")
    local = _models.Local("base:tiny")
    for row, value in zip(rows, found.values, strict=True):
        [(behind, tokens)] = local.score([row])
        [(alone, of_alone)] = local.score([{"messages": row["messages"][1:]}])
        assert tokens == of_alone
        ratio = behind / alone
        assert value == pytest.approx(1 / (1 + math.exp((ratio - 1) / 0.05) / 4), abs=1e-4)
        assert (value >= 0.8) == (ratio <= 1)
    assert found.values[0] > 0.99


def test_difficulty_looks_at_the_last_answer_only() -> None:
    turns = [*talk("Hi", "zebra zebra")["messages"], *talk("Repeat: the red house", "the red house")["messages"]]
    made = _scorers._behind_its_prompt({"messages": turns})
    assert made is not None
    assert [turn.get("train", True) for turn in made["messages"] if turn["role"] == "assistant"] == [False, True]
    found = _scorers.difficulty([{"messages": turns}, {"text": "no answer"}], Work(), "base:tiny")
    assert found.values[0] > 0.8 and math.isnan(found.values[1])


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"instruction": "加", "input": "1 2", "output": "3"}, ("加\n1 2", "3")),
        ({"question": "1 + 2?", "answer": "3"}, ("1 + 2?", "3")),
        ({"conversations": [{"from": "human", "value": "你好"}, {"from": "gpt", "value": "您好"}]}, ("你好", "您好")),
    ],
)
def test_answers_are_found_whatever_the_fields_are_called(record: dict[str, Any], expected: tuple[str, str]) -> None:
    found = last_answer(record)
    assert found is not None
    assert (found[0][-1]["content"], found[1]) == expected
    assert conversation({"text": "a"}) == {"text": "a"}
    assert conversation({"output": 5, "instruction": "a"}) is None


# The judge


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(_models, "PAUSE", 0.01)
    made = Server(echo)
    yield made
    made.close()


def marks(body: dict[str, Any]) -> str:
    """Whoever says `bad` gets a 2, whoever says `odd` no number."""
    shown = body["messages"][0]["content"]
    return "hm, hard to say" if "odd" in shown else f"Score: {2 if 'bad' in shown else 9}/10"


def answers(count: int = 40) -> Rows:
    return [talk(f"问题 {i}", ("good", "bad", "odd", "fine")[i % 4]) for i in range(count)]


@pytest.mark.parametrize(("unparsed", "left"), [("keep", 30), ("drop", 20)])
def test_a_judge_behind_an_endpoint(server: Server, unparsed: str, left: int) -> None:
    server.reply = marks
    out, report = passed(answers(), scorer="judge", model=server.url, name="j", unparsed=unparsed)
    assert len(out) == left
    assert report["reasons"]["distrusted by the judge"] == 10
    assert report["trust"]["unparsed_answers"] == 10
    shown = server.asked[0]["messages"][0]["content"]
    assert _scorers.ASK in shown and "[user] 问题" in shown and "[assistant]" in shown
    assert server.asked[0]["model"] == "j"


def test_an_endpoint_that_fails_half_way_goes_on_from_the_cache(server: Server, tmp_path: Path) -> None:
    whole, report = passed(answers(200), scorer="judge", model=_reply_of(server, marks))
    server.asked = []
    server.reply = lambda body: marks(body) if len(server.asked) <= 70 else None
    options: dict[str, Any] = {"scorer": "judge", "model": server.url}
    with pytest.raises(RunFailedError, match="what was answered is kept"):
        passed(answers(200), Work(answers=tmp_path), **options)
    [file] = tmp_path.glob("*.jsonl")
    kept = len(file.read_text().splitlines())
    assert 60 <= kept <= 70
    server.reply, server.asked = marks, []
    out, again = passed(answers(200), Work(answers=tmp_path), **options)
    assert len(server.asked) == 200 - kept
    assert (out, again) == (whole, report)


def _reply_of(server: Server, reply: Any) -> str:
    server.reply = reply
    return server.url


def test_a_judge_of_labels_is_shown_the_label(server: Server) -> None:
    server.reply = lambda body: "3" if "[label] bad" in body["messages"][0]["content"] else "10"
    out, _ = passed(
        [{"text": "好", "label": x} for x in ("good", "bad")], scorer="judge", model=server.url, ask="行吗？"
    )
    assert [row["label"] for row in out] == ["good"]
    assert server.asked[0]["messages"][0]["content"].startswith("行吗？")


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("8", 8),
        ("8/10", 8),
        ("Score: 7.5", 7.5),
        ("评分：９分", 9),
        ("<think>10 or 2?</think>\n3", 3),
        ("0", 0),
        ("10.", 10),
        ("6,5", 6.5),
        ("none", None),
        ("100", None),
        ("-3", None),
        ("", None),
        ("<think>4", None),
    ],
)
def test_the_number_of_an_answer(answer: str, number: float | None) -> None:
    assert _scorers.number_in(answer) == number


def test_a_model_of_our_own_judges() -> None:
    out, report = passed(noisy(12), scorer="judge", model="base:tiny", ask="Say the number 7.")
    assert report["seen"] == 12 and len(out) == report["kept"]
    assert report["trust"]["judged"] + report["trust"]["unparsed_answers"] == 12


# A scorer of the user's own


def test_a_function_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own_scorer.py").write_text(
        "def say(records, work):\n    return [None if 'x' not in r else r['x'] for r in records]\n"
        "def beyond(records, work):\n    return [1.5 for r in records]\n"
        "def fewer(records, work):\n    return []\n"
    )
    rows: Rows = [{"x": 0.9}, {"x": 0.79}, {"x": 0.8}, {"y": 1}]
    assert passed(rows, scorer="own_scorer:say")[0] == [{"x": 0.9}, {"x": 0.8}, {"y": 1}]
    with pytest.raises(RecipeError, match=r"record 1: gave 1.5; expected a trust between 0 and 1"):
        passed(rows, scorer="own_scorer:beyond")
    with pytest.raises(RecipeError, match=r"gave 0 numbers; expected one for each of 4"):
        passed(rows, scorer="own_scorer:fewer")
    with pytest.raises(RecipeError, match=r"cannot be loaded .*; expected an importable module:function"):
        passed(rows, scorer="own_scorer:absent")


# What is wrong is told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"scorer": "clasifier"}, "did you mean 'classifier'"),
        ({"scorer": "judge"}, "model: missing; expected the model that scorer judge asks"),
        ({"scorer": "likelihood", "model": "base:tiny", "action": "relabel"}, "scorer likelihood knows no labels"),
        ({"scorer": "judge", "model": "base:tiny", "name": "b"}, "base:tiny is one model alone"),
        ({"below": 1.5}, "between 0 and 1"),
        ({"folds": 1}, "between 2 and 20"),
    ],
)
def test_what_is_wrong_is_told(options: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        kinds.build("stage", {"kind": "filter_noise", **options})


# Real records


def test_real_labels_flipped_are_found(shared_data: Path) -> None:
    """A part of Banking77, a fifth of the labels flipped: most are found, few right ones go."""
    lines = (shared_data / "cls_banking77" / "train.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    names = sorted({row["label"] for row in rows})[:12]
    rows = [row for row in rows if row["label"] in names]
    random = np.random.default_rng(0)
    flipped = set(random.permutation(len(rows))[: len(rows) // 5].tolist())
    dirty = [
        row | {"label": names[(names.index(row["label"]) + 5) % 12], "wrong": True} if i in flipped else row
        for i, row in enumerate(rows)
    ]
    stage = FilterNoise(column="text")
    out = list(stage(dirty))
    left = sum("wrong" in row for row in out)
    assert left / len(flipped) < 0.1
    assert (len(rows) - len(flipped) - (len(out) - left)) / (len(rows) - len(flipped)) < 0.15
    assert work_of(stage).facts["trust"]["estimated_wrong_labels"] == pytest.approx(0.2, abs=0.08)
