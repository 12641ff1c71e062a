"""The engine against transformers' own `generate` and against sums done by hand, on tiny models of the real architectures."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import zoo
from engine.fakes import EOS, PAD, ByteRenderer

from seektune.engine.engine import Engine, windows
from seektune.errors import DataError, InputError, RunFailedError

TEXTS = ["hello there my friend, this is long", "hi", "abcdefg", "你好，世界", "x" * 90]


def engine_of(architecture: str, **more: Any) -> Engine:
    return Engine(zoo.tiny(architecture), ByteRenderer(), **more)


def asked(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def by_transformers(engine: Engine, text: str, most: int) -> list[int]:
    ids = torch.tensor([engine.prompt_ids(asked(text))])
    settings = {"max_new_tokens": most, "do_sample": False, "eos_token_id": EOS, "pad_token_id": PAD}
    answer = engine.model.generate(ids, attention_mask=torch.ones_like(ids), **settings)[0, ids.shape[1] :].tolist()
    return answer[:-1] if answer[-1] == EOS else answer


@pytest.mark.parametrize("architecture", zoo.DECODERS)
def test_greedy_answers_equal_transformers_alone_and_in_a_batch(architecture: str) -> None:
    engine = engine_of(architecture)
    expected = [by_transformers(engine, text, 12) for text in TEXTS]
    assert [answer.ids for answer in engine.generate([asked(t) for t in TEXTS], max_new_tokens=12)] == expected
    assert [engine.generate([asked(t)], max_new_tokens=12)[0].ids for t in TEXTS] == expected


@pytest.mark.parametrize(
    ("architecture", "padded"), [("qwen2", True), ("gpt_oss", True), ("qwen3_5", True), ("deepseek_v4", False)]
)
def test_whether_padding_is_harmless_is_found_out(architecture: str, padded: bool) -> None:
    assert engine_of(architecture)._batchable is padded


def test_a_model_that_minds_padding_still_answers_right_because_only_equal_lengths_share_a_batch() -> None:
    engine, sizes = engine_of("deepseek_v4"), []
    prompts = [asked(text) for text in ("abc", "abcdef", "xyz")]
    engine.model.register_forward_pre_hook(lambda m, a, k: sizes.append(tuple(k["input_ids"].shape)), with_kwargs=True)
    assert engine._batchable is False
    sizes.clear()
    engine.generate(prompts, max_new_tokens=1)
    assert sizes == [(1, 8), (2, 5)]


def test_a_cache_that_lets_a_row_leave_in_part_is_found_out() -> None:
    engine = engine_of("llama")
    expected = [by_transformers(engine, text, 6) for text in TEXTS]

    def only_first_layer(module: Any, arguments: Any, out: Any) -> None:
        out.past_key_values.reorder_cache = out.past_key_values.layers[0].reorder_cache

    engine.model.register_forward_hook(only_first_layer)
    assert engine._batchable is False
    assert [answer.ids for answer in engine.generate([asked(t) for t in TEXTS], max_new_tokens=6)] == expected


def early_and_late() -> tuple[Engine, list[dict[str, Any]], list[int]]:
    """An engine whose answers end at different steps: the head's row of the closing token is made likely."""
    engine = engine_of("llama")
    with torch.no_grad():
        engine.model.get_output_embeddings().weight[EOS] *= 3
    prompts = [asked(text) for text in [*TEXTS, "more", "and more", "even more of it"]]
    alone = [engine.generate([p], max_new_tokens=24)[0] for p in prompts]
    lengths = [len(a.ids) for a in alone]
    assert len(set(lengths)) > 2, "the test wants answers of different lengths"
    assert any(a.stopped for a in alone)
    return engine, prompts, lengths


def test_rows_that_end_leave_the_batch() -> None:
    engine, prompts, lengths = early_and_late()
    widths: list[int] = []
    engine._batchable  # noqa: B018  (the trial runs the model too)
    engine.model.register_forward_pre_hook(lambda m, a, k: widths.append(len(k["input_ids"])), with_kwargs=True)
    together = engine.generate(prompts, max_new_tokens=24)
    assert [len(a.ids) for a in together] == lengths
    steps = [length + (length < 24) for length in lengths]  # the closing token costs a step too
    assert widths == [sum(step > at for step in steps) for at in range(max(steps))]


def test_stopped_says_who_ended_the_answer_and_the_text_has_no_closing_token() -> None:
    engine, prompts, _ = early_and_late()
    for answer in engine.generate(prompts, max_new_tokens=24):
        assert EOS not in answer.ids
        assert answer.stopped == (len(answer.ids) < 24)
        assert len(answer.log_probs) == len(answer.ids) + answer.stopped
        assert answer.text == ByteRenderer().decode(answer.ids)


def test_log_probs_are_those_of_a_full_forward() -> None:
    engine = engine_of("qwen2")
    (answer,) = engine.generate([asked("count")], max_new_tokens=8)
    prompt = engine.prompt_ids(asked("count"))
    with torch.no_grad():
        logits = engine.model(torch.tensor([prompt + answer.ids])).logits[0].log_softmax(-1)
    expected = [float(logits[len(prompt) - 1 + i, token]) for i, token in enumerate(answer.ids)]
    assert answer.log_probs == pytest.approx(expected, abs=1e-4)


def test_sampling_does_not_depend_on_the_batch_but_on_the_seed() -> None:
    prompts = [asked(text) for text in TEXTS]
    settings = {"max_new_tokens": 12, "temperature": 1.0, "seed": 3}
    whole = [a.ids for a in engine_of("llama").generate(prompts, **settings)]
    small = [a.ids for a in engine_of("llama", batch_tokens=1).generate(prompts, **settings)]
    assert whole == small
    assert whole != [a.ids for a in engine_of("llama").generate(prompts, **settings | {"seed": 4})]
    twice = engine_of("llama").generate([prompts[0]] * 2, **settings)
    assert twice[0].ids != twice[1].ids, "equal prompts get draws of their own"


def test_neither_the_mode_of_the_model_nor_the_random_state_is_changed() -> None:
    engine = engine_of("llama")
    engine.model.train()
    engine.model.model.layers[0].eval()
    modes, state = [m.training for m in engine.model.modules()], torch.get_rng_state()
    engine.generate([asked(t) for t in TEXTS], max_new_tokens=3, temperature=1.0)
    list(engine.stream(asked("hi"), max_new_tokens=3, temperature=1.0))
    engine.score([asked("hi") | {"messages": [*asked("hi")["messages"], {"role": "assistant", "content": "ho"}]}])
    assert [m.training for m in engine.model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("text", ["hi", "你好"])
def test_streamed_pieces_join_to_the_generated_text(text: str) -> None:
    engine = engine_of("qwen2")
    for settings in ({}, {"temperature": 1.0, "seed": 5}):
        whole = engine.generate([asked(text)], max_new_tokens=40, **settings)[0].text
        assert "".join(engine.stream(asked(text), max_new_tokens=40, **settings)) == whole


def test_a_batch_holds_no_more_than_its_tokens() -> None:
    engine, sizes = engine_of("llama", batch_tokens=100), []
    engine._batchable  # noqa: B018
    engine.model.register_forward_pre_hook(lambda m, a, k: sizes.append(k["input_ids"].shape), with_kwargs=True)
    engine.generate([asked("x" * n) for n in (5, 6, 40, 90, 7, 30)], max_new_tokens=10)
    prefills = [tuple(size) for size in sizes if size[1] > 1]
    assert prefills == [(1, 92), (1, 42), (2, 32), (2, 8)]


def test_a_prompt_beyond_the_model_is_refused_and_an_answer_ends_at_its_limit() -> None:
    engine = Engine(zoo.tiny("llama", max_position_embeddings=32), ByteRenderer(), name="tiny")
    with pytest.raises(DataError, match=r"prompt 2: 42 tokens; expected 1 to 31 \(tiny takes 32 with the answer\)"):
        engine.generate([asked("fits"), asked("x" * 40)])
    (answer,) = engine.generate([asked("x" * 20)], max_new_tokens=100)
    assert len(answer.ids) + 22 <= 32


def test_wrong_sampling_is_told_at_once() -> None:
    with pytest.raises(InputError) as error:
        engine_of("llama").generate([asked("hi")], temperature=-1.0, top_p=0.0, max_new_tokens=0)
    assert [line.partition(":")[0] for line in error.value.problems] == ["max_new_tokens", "temperature", "top_p"]


def test_broken_weights_are_told() -> None:
    engine = engine_of("llama")
    with torch.no_grad():
        engine.model.get_output_embeddings().weight[0, 0] = math.nan
    with pytest.raises(RunFailedError, match="not finite"):
        engine.generate([asked("hi")])


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3_5", "gpt_oss", "deepseek_v32", "deepseek_v4"])
def test_score_equals_the_plain_sum(architecture: str) -> None:
    engine = engine_of(architecture)
    records = [{"text": text} for text in TEXTS] + [
        {"messages": [*asked("why")["messages"], {"role": "assistant", "content": "because"}]}
    ]
    for record, (total, weight) in zip(records, engine.score(records), strict=True):
        (document,) = engine.renderer.documents(record, "all_answers")
        ids = torch.tensor(document.ids[None], dtype=torch.long)
        with torch.no_grad():
            losses = F.cross_entropy(engine.model(ids).logits[0, :-1], ids[0, 1:], reduction="none")
        kept = document.weights[1:] > 0
        assert weight == kept.sum()
        assert total == pytest.approx(float(losses[torch.tensor(kept)].sum()), rel=1e-4)


def test_a_long_document_is_scored_whole() -> None:
    engine = Engine(zoo.tiny("llama", max_position_embeddings=16), ByteRenderer())
    (document,) = engine.renderer.documents({"text": "abcdefghij" * 5}, "all_answers")
    parts = list(windows(document, 16))
    assert all(len(part) <= 16 for part in parts)
    assert sum(part.weights.sum() for part in parts) == document.weights.sum()
    learnt = [int(i) for part in parts for i in part.ids[part.weights > 0]]
    assert learnt == document.ids[1:].tolist()
    assert all((part.weights[:8] == 0).all() for part in parts[1:]), "at least half a window of context"
    assert engine.score([{"text": "abcdefghij" * 5}])[0][1] == 51


@pytest.mark.parametrize("architecture", ["bert", "qwen2", "llama"])
@pytest.mark.parametrize("several", [False, True])
def test_classify_equals_the_model_on_each_text_alone(architecture: str, several: bool) -> None:
    kind = "multi_label_classification" if several else "single_label_classification"
    model = zoo.tiny(architecture, head="classifier", problem_type=kind, id2label={0: "a", 1: "b", 2: "c"})
    engine = Engine(model, ByteRenderer())
    assert (engine.labels, engine.several) == (["a", "b", "c"], several)
    records = [{"text": text, "label": "a"} for text in TEXTS]
    for record, row in zip(records, engine.classify(records), strict=True):
        ids = torch.tensor([engine.renderer.classifier_ids(record["text"])[0]])
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0]
        expected = logits.sigmoid() if several else logits.softmax(-1)
        assert row == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_language_model_has_no_labels() -> None:
    assert engine_of("llama").labels == []


def test_padding_does_not_move_learnt_positions() -> None:
    """GPT-2 adds a learnt vector to each position: a row that begins behind padding must still count from 0."""
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(vocab_size=zoo.VOCAB, n_positions=256, n_embd=32, n_layer=2, n_head=4)).eval()
    zoo.randomise(model, 0)
    engine = Engine(model, ByteRenderer())
    assert engine._batchable is True
    expected = [by_transformers(engine, text, 12) for text in TEXTS]
    assert [answer.ids for answer in engine.generate([asked(t) for t in TEXTS], max_new_tokens=12)] == expected
