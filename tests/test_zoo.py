"""The zoo's promise: what is special about an architecture changes its logits within 24 tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import zoo

LOOSENED: dict[str, list[dict[str, Any]]] = {  # settings under which a mechanism no longer binds
    "qwen3": [{"sliding_window": 500}],
    "mistral": [{"sliding_window": 500}],
    "gemma2": [{"sliding_window": 500}, {"attn_logit_softcapping": None}, {"final_logit_softcapping": None}],
    "gemma3": [{"sliding_window": 500}],
    "gpt_oss": [{"sliding_window": 500}],
    "deepseek_v2": [{"topk_method": "greedy"}],
    "deepseek_v32": [{"index_topk": 500}],
    "deepseek_v4": [{"sliding_window": 500}, {"index_topk": 500}],
    "modernbert": [{"local_attention": 500}],
}


def logits(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=ids).logits


@pytest.mark.parametrize("architecture", zoo.ARCHITECTURES)
def test_is_finite_seeded_and_reads_its_context(architecture: str) -> None:
    ids = zoo.ids(1, 24)
    one, two, other = (logits(zoo.tiny(architecture, seed), ids) for seed in (0, 0, 1))
    assert one.isfinite().all()
    assert torch.equal(one, two)
    assert not torch.allclose(one, other)
    changed = ids.clone()
    changed[0, 10] = ids[0, 10] - 1
    assert not torch.allclose(
        one[..., -1, :] if one.ndim == 3 else one, logits(zoo.tiny(architecture), changed)[..., -1, :], atol=1e-4
    )


@pytest.mark.parametrize(("architecture", "setting"), [(a, s) for a, several in LOOSENED.items() for s in several])
def test_mechanisms_bind(architecture: str, setting: dict[str, Any]) -> None:
    ids = zoo.ids(1, 24)
    difference = (logits(zoo.tiny(architecture), ids) - logits(zoo.tiny(architecture, **setting), ids)).abs().max()
    assert difference > 1e-2


@zoo.since("5.19", "there the limit of gpt-oss is always 7.0, whatever its config says")
def test_the_limit_of_gpt_oss_binds() -> None:
    test_mechanisms_bind("gpt_oss", {"swiglu_limit": 0.5})


@pytest.mark.parametrize("architecture", ["gpt_oss", "deepseek_v4"])
def test_sinks_bind(architecture: str) -> None:
    model, ids = zoo.tiny(architecture), zoo.ids(1, 24)
    before = logits(model, ids)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("sinks"):
                parameter.fill_(-1e4)  # no probability goes there
    assert (logits(model, ids) - before).abs().max() > 1e-2


def test_compression_carries_what_windows_cannot_reach() -> None:
    model, ids = zoo.tiny("deepseek_v4"), zoo.ids(1, 40)
    changed = ids.clone()
    changed[0, 0] = ids[0, 0] - 1  # 39 tokens before the last; four layers of window 6 reach 20
    assert (logits(model, ids)[0, -1] - logits(model, changed)[0, -1]).abs().max() > 1e-4


def test_tokenizer_and_folder(tmp_path: Any) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = zoo.tiny_folder(tmp_path / "m", "qwen2")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) == zoo.VOCAB - 16
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "你好 a"}], tokenize=False, add_generation_prompt=True
    )
    assert text == "<user>你好 a<assistant>"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    ids = zoo.ids()
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(folder), ids), logits(zoo.tiny("qwen2"), ids))
