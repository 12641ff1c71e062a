"""LoRA against independent formulas: counts, the update itself, merging, and what plain peft reads back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import zoo

from seektune.errors import ModelError, RefusedError
from seektune.models import adapters, heads
from seektune.models.layers import dead_modules, linear_targets, load_trainable_state, trainable_state
from seektune.models.load import Model, open_model
from seektune.tuners.lora import LoRA


def logits(model: torch.nn.Module, ids: torch.Tensor | None = None) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=zoo.ids(2, 24) if ids is None else ids).logits


def trained(architecture: str, tuner: LoRA, model: torch.nn.Module | None = None, size: float = 0.1) -> torch.nn.Module:
    """An adapted model whose B is no longer 0."""
    torch.manual_seed(7)
    adapted = tuner.apply(model if model is not None else zoo.tiny(architecture)).eval()
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name or "lora_embedding_A" in name:
                parameter.normal_(0, size)
    return adapted


@pytest.mark.parametrize("architecture", zoo.ARCHITECTURES)
def test_adapts_what_it_says_starts_neutral_and_nothing_is_dead(architecture: str) -> None:
    base = zoo.tiny(architecture)
    targets = linear_targets(base)
    before = logits(base)
    adapted = LoRA(rank=4).apply(base)
    assert set(adapters.names_of(adapted)) == set(targets.adapted)
    assert (logits(adapted) - before).abs().max() < 1e-4
    adapted(input_ids=zoo.ids(2, 24)).logits.logsumexp(-1).sum().backward()
    assert dead_modules(adapted) == []


@pytest.mark.parametrize("architecture", zoo.ARCHITECTURES)
def test_merged_equals_unmerged_and_plain_peft_reads_it(architecture: str, tmp_path: Path) -> None:
    from peft import PeftModel

    tuner = LoRA(rank=4)
    adapted = trained(architecture, tuner)
    wanted = logits(adapted)
    assert (wanted - logits(zoo.tiny(architecture))).abs().max() > 0.1
    tuner.save(adapted, tmp_path)
    assert torch.equal(logits(PeftModel.from_pretrained(zoo.tiny(architecture), str(tmp_path)).eval()), wanted)
    merged = tuner.merge(adapted)
    assert {name for name, _ in merged.named_parameters()} == {
        name for name, _ in zoo.tiny(architecture).named_parameters()
    }
    assert (logits(merged) - wanted).abs().max() < 1e-4 * wanted.abs().max()


@pytest.mark.parametrize("architecture", ["llama", "gpt_oss", "deepseek_v3"])
def test_number_of_parameters(architecture: str) -> None:
    """rank * (in + out) for each linear layer, times experts where they are stacked."""
    expected, rank, experts = 0, 3, 4
    for name, parameter in zoo.tiny(architecture).named_parameters():
        inside = ".layers." in name and "norm" not in name and ".gate.weight" not in name and ".router." not in name
        if (inside and parameter.ndim == 2 and name.endswith("proj.weight")) or name.endswith("_with_mqa.weight"):
            expected += rank * (parameter.shape[0] + parameter.shape[1])
        if inside and parameter.ndim == 3:
            expected += experts * rank * (parameter.shape[1] + parameter.shape[2])
    adapted = LoRA(rank=rank).apply(zoo.tiny(architecture))
    assert sum(p.numel() for p in adapted.parameters() if p.requires_grad) == expected


@pytest.mark.parametrize("rslora", [False, True])
def test_update_is_scaled_b_a(rslora: bool) -> None:
    tuner = LoRA(rank=4, alpha=6, rslora=rslora, target_modules=["2.self_attn.v_proj"])
    base = zoo.tiny("llama").model.layers[2].self_attn.v_proj.weight.detach().clone()
    adapted = trained("llama", tuner)
    state = {name: p.detach() for name, p in adapted.named_parameters() if p.requires_grad}
    (a,), (b,) = ([p for name, p in state.items() if f"lora_{x}" in name] for x in "AB")
    scale = 6 / 4 if not rslora else 6 / 2
    assert tuner.scaling == scale
    merged = tuner.merge(adapted).model.layers[2].self_attn.v_proj.weight
    torch.testing.assert_close(merged, base + scale * b @ a, rtol=0, atol=1e-6)


def test_merge_rounds_once_to_the_type_of_the_base() -> None:
    """bfloat16 base and experts: float32 sum, one rounding; adapter weights were float32 all along."""
    for architecture in ("llama", "deepseek_v3"):
        tuner = LoRA(rank=4)
        adapted = trained(architecture, tuner, zoo.tiny(architecture).bfloat16(), size=0.01)
        assert {p.dtype for p in adapted.parameters() if p.requires_grad} == {torch.float32}
        exact = trained(architecture, tuner, zoo.tiny(architecture).bfloat16().float())
        load_trainable_state(exact, trainable_state(adapted))
        wanted = {name: p.bfloat16() for name, p in tuner.merge(exact).named_parameters()}
        for name, parameter in tuner.merge(adapted).named_parameters():
            assert parameter.dtype == torch.bfloat16
            assert torch.equal(parameter, wanted[name]), name


def test_merge_refuses_what_is_not_finite() -> None:
    tuner = LoRA(target_modules=["0.mlp.up_proj"])
    adapted = trained("llama", tuner)
    with torch.no_grad():
        next(p for name, p in adapted.named_parameters() if "lora_A" in name).fill_(float("inf"))
    with pytest.raises(RefusedError, match=r"0\.mlp\.up_proj: the merged weight is not finite"):
        tuner.merge(adapted)


def test_start_depends_on_the_seed_alone() -> None:
    def start(seed: int, init: str = "kaiming") -> dict[str, torch.Tensor]:
        torch.manual_seed(seed)
        adapted = LoRA(init=init).apply(zoo.tiny("qwen3_moe"))  # type: ignore[arg-type]
        return {name: p.detach() for name, p in adapted.named_parameters() if p.requires_grad}

    one, two, other, gaussian = start(1), start(1), start(2), start(1, "gaussian")
    assert all(torch.equal(one[name], two[name]) for name in one)
    as_ = [name for name in one if "lora_A" in name]
    assert not any(torch.equal(one[name], other[name]) or torch.equal(one[name], gaussian[name]) for name in as_)
    assert all(not one[name].any() and not gaussian[name].any() for name in one if "lora_B" in name)
    drawn = torch.cat([gaussian[name].flatten() for name in as_])
    assert abs(float(drawn.std()) * 8 - 1) < 0.05  # normal with deviation 1 / rank


def test_dropout() -> None:
    model = trained("llama", LoRA(dropout=0.5))
    assert torch.equal(logits(model), logits(model))
    model.train()
    assert not torch.equal(logits(model), logits(model))
    with pytest.raises(ModelError, match=r"tuner\.dropout: 0\.1 cannot be had in stacked experts"):
        LoRA(dropout=0.1).apply(zoo.tiny("deepseek_v3"))
    LoRA(dropout=0.1, target_modules=["q_a_proj", "o_proj"]).apply(zoo.tiny("deepseek_v3"))


@pytest.mark.parametrize(("architecture", "also"), [("llama", ["lm_head", "norm"]), ("qwen2", ["embed_tokens"])])
def test_also_train(architecture: str, also: list[str], tmp_path: Path) -> None:
    """Modules in full, saved and merged; a tied embedding stays one tensor with the head."""
    from peft import PeftModel

    tuner = LoRA(rank=2, also_train=also)
    adapted = trained(architecture, tuner)
    learns = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    plain = sum(p.numel() for p in LoRA(rank=2).apply(zoo.tiny(architecture)).parameters() if p.requires_grad)
    assert learns == plain + zoo.VOCAB * 32 + (32 if "norm" in also else 0)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if parameter.requires_grad and "lora_" not in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    wanted = logits(adapted)
    tuner.save(adapted, tmp_path)
    assert torch.equal(logits(PeftModel.from_pretrained(zoo.tiny(architecture), str(tmp_path)).eval()), wanted)
    merged = tuner.merge(adapted)
    assert (logits(merged) - wanted).abs().max() < 1e-4 * wanted.abs().max()
    assert heads.tied(merged) == (architecture == "qwen2")


def test_also_train_refuses_what_is_adapted_or_unknown() -> None:
    with pytest.raises(ModelError, match="is adapted by target_modules as well"):
        LoRA(also_train=["0.mlp"]).apply(zoo.tiny("llama"))
    with pytest.raises(
        ModelError, match=r"tuner\.also_train: 'lmhead' matches no module of this model; did you mean 'lm_head'"
    ):
        LoRA(also_train=["lmhead"]).apply(zoo.tiny("llama"))


@pytest.mark.parametrize(
    ("architecture", "head"),
    [
        ("llama", ["score"]),
        ("bert", ["classifier"]),
        ("roberta", ["classifier"]),
        ("modernbert", ["classifier", "head"]),
    ],
)
def test_classifier_heads_learn_in_full(architecture: str, head: list[str], tmp_path: Path) -> None:
    from peft import PeftModel

    tuner = LoRA(rank=2)
    adapted = trained(architecture, tuner, zoo.tiny(architecture, head="classifier"))
    full = {
        name.split(".modules_to_save")[0].rpartition(".")[2]
        for name, p in adapted.named_parameters()
        if p.requires_grad and "lora_" not in name
    }
    assert full == set(head)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if parameter.requires_grad and "lora_" not in name:
                parameter.add_(0.5)
    tuner.save(adapted, tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["task_type"] == "SEQ_CLS"
    other = zoo.tiny(architecture, head="classifier")
    assert torch.equal(logits(PeftModel.from_pretrained(other, str(tmp_path)).eval()), logits(adapted))


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_new_tokens_train_and_save_their_rows_only(architecture: str, tmp_path: Path) -> None:
    """Own head and tied head: rows of new tokens learn, all others keep every bit, and the folder opens again."""
    folder = zoo.tiny_folder(tmp_path / "base", architecture)
    model = open_model(Model(str(folder)))
    tokenizer = zoo.tokenizer()
    ids = heads.add_tokens(model, tokenizer, [f"<new{i}>" for i in range(20)])  # 16 rows are spare, 4 must be made
    old = model.get_input_embeddings().weight.detach().clone()
    tuner = LoRA(rank=2)
    adapted = tuner.apply(model).train()
    rows = [p for name, p in adapted.named_parameters() if "trainable_tokens" in name and p.requires_grad]
    assert [tuple(p.shape) for p in rows] == [(20, 32)] * (1 if architecture == "qwen2" else 2)
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=0.05)
    text = torch.tensor([[*ids, 30, 40, 50]])
    adapted(input_ids=text).logits.logsumexp(-1).sum().backward()
    optimizer.step()
    wanted = logits(adapted.eval(), text)
    tuner.save(adapted, tmp_path / "out")
    assert (tmp_path / "out" / "adapter_model.safetensors").stat().st_size < 60_000  # the embedding alone has 42,000
    assert torch.equal(logits(open_model(Model(str(tmp_path / "out"))), text), wanted)
    merged = tuner.merge(adapted)
    assert (logits(merged, text) - wanted).abs().max() < 1e-4 * wanted.abs().max()
    now = merged.get_input_embeddings().weight
    keep = [i for i in range(len(old)) if i not in ids]
    assert torch.equal(now[keep], old[keep])
    assert not torch.isclose(now[ids], old[ids]).all(-1).any()


def test_adapter_of_a_run_is_trained_on(tmp_path: Path) -> None:
    folder = zoo.tiny_folder(tmp_path / "base", "llama")
    tuner = LoRA(rank=2, alpha=4)
    adapted = trained("llama", tuner, open_model(Model(str(folder))))
    tuner.save(adapted, tmp_path / "run" / "model")
    again = open_model(Model(continue_=str(tmp_path / "run")), trainable=True)
    assert torch.equal(logits(again), logits(adapted))
    on = tuner.apply(again)
    assert on is again
    assert {name for name, p in on.named_parameters() if p.requires_grad} == {
        name for name, p in adapted.named_parameters() if p.requires_grad
    }
    with pytest.raises(ModelError) as caught:
        LoRA(rank=3, alpha=4, target_modules=["q_proj"], also_train=["norm"]).apply(again)
    assert [line.split(":")[0] for line in caught.value.problems] == [
        "tuner.rank",
        "tuner.target_modules",
        "tuner.also_train",
    ]


def test_folder_is_the_same_each_time_and_opens_without_us(tmp_path: Path) -> None:
    """A process that cannot import seektune reads the folder with peft alone, by the base that it names."""
    folder = zoo.tiny_folder(tmp_path / "base", "deepseek_v3")
    tuner = LoRA(rank=2)
    adapted = trained("deepseek_v3", tuner, open_model(Model(str(folder))))
    tuner.save(adapted, tmp_path / "one")
    tuner.save(adapted, tmp_path / "two")
    names = {p.name for p in (tmp_path / "one").iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors", "base.json"}
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    script = (
        "import sys; sys.modules['seektune'] = None\n"
        "import torch\n"
        "from peft import AutoPeftModelForCausalLM\n"
        f"model = AutoPeftModelForCausalLM.from_pretrained({str(tmp_path / 'one')!r}).eval()\n"
        f"torch.save(model(input_ids=torch.tensor({zoo.ids(2, 24).tolist()})).logits.detach(), {str(tmp_path / 'logits')!r})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert (torch.load(tmp_path / "logits") - logits(adapted)).abs().max() < 1e-5


def test_transposed_weights_of_gpt2() -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        "gpt2", vocab_size=320, n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=0
    )
    tuner = LoRA(rank=2)
    adapted = trained("", tuner, AutoModelForCausalLM.from_config(config).eval())
    wanted = logits(adapted)
    assert (logits(tuner.merge(adapted)) - wanted).abs().max() < 1e-5


def test_checkpointing_and_eager_experts_give_the_same_gradient() -> None:
    """Recomputation in the backward pass sees the adapted experts too."""

    def gradients(checkpointing: bool) -> list[torch.Tensor]:
        adapted = trained("qwen3_moe", LoRA(rank=2)).train()
        if checkpointing:
            adapted.gradient_checkpointing_enable({"use_reentrant": False})
        adapted(input_ids=zoo.ids(2, 24), use_cache=False).logits.logsumexp(-1).sum().backward()
        return [p.grad for p in adapted.parameters() if p.requires_grad and p.grad is not None]

    plain, again = gradients(False), gradients(True)
    assert len(plain) == len(again) > 0
    for one, two in zip(plain, again, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
