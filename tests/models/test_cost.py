"""What a model costs against independent counts: torch's own FLOP counter, its memory profiler, arithmetic by hand."""

import os
import warnings

import numpy as np
import pytest
import torch
import zoo
from torch.utils.flop_counter import FlopCounterMode

from seektune.contracts import Document
from seektune.data import pack
from seektune.models import attention, cost, forward, fuse, heads, isolation, load
from seektune.objectives.classify import Classify
from seektune.objectives.sft import SFT
from seektune.train.precision import Precision, prepare_dtypes
from seektune.tuners.full import Full
from seektune.tuners.lora import LoRA

os.environ.setdefault("KINETO_LOG_LEVEL", "5")
LINEAR = ("qwen3_5",)  # its backward is a recurrence that no count of matrix products describes well


def documents(lengths, learnt=0.5, vocabulary=zoo.VOCAB):
    random, made = np.random.default_rng(0), []
    for index, length in enumerate(lengths):
        weights = np.zeros(length, np.float32)
        weights[length - int(length * learnt) :] = 1.0
        weights[0] = 0.0
        made.append(Document(random.integers(10, vocabulary - 20, length).astype(np.int32), weights, index, label=0))
    return made


def objective(architecture):
    return Classify() if architecture in zoo.ENCODERS else SFT()


def with_our_attention(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.set_attn_implementation(attention.register())
    return model


# ---- parameters and bytes


def test_parts_of_a_model_add_up_and_are_what_they_are_called():
    model = zoo.tiny("qwen3_moe")
    parts = cost.parameters_by_part(model)
    assert sum(parts.values()) == sum(p.numel() for p in model.parameters())
    assert parts["embedding"] == parts["head"] == zoo.VOCAB * 32
    assert parts["experts"] == 2 * 4 * 3 * 32 * 24  # two layers with four experts of three matrices
    assert parts["mlp"] == 3 * 32 * 48  # the one dense layer
    assert parts["router"] == 2 * 4 * 32


@pytest.mark.parametrize("architecture", zoo.ARCHITECTURES)
def test_no_parameter_is_left_out_of_the_parts(architecture):
    model = LoRA(rank=2).apply(zoo.tiny(architecture))
    parts = cost.parameters_by_part(model)
    assert sum(parts.values()) == sum(p.numel() for p in model.parameters())
    assert parts["adapter"] >= sum(p.numel() for name, p in model.named_parameters() if "lora_" in name)
    assert parts["adapter"] > 0


def test_weights_are_counted_in_the_types_that_a_run_holds():
    model = LoRA(rank=2).apply(zoo.tiny("llama"))
    prepare_dtypes(model, "bfloat16")
    weights = cost.weights_of(model, "bfloat16")
    assert weights.frozen_bytes + weights.trained_bytes == sum(p.numel() * p.element_size() for p in model.parameters())
    assert weights.trained == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert weights.cast_bytes == 2 * weights.trained  # every matrix of an adapter is cast
    assert cost.weights_of(model, "float32").cast_bytes == 0


def test_a_model_on_disk_has_the_size_of_its_file(tmp_path):
    folder = zoo.tiny_folder(tmp_path, "llama")
    model = load.open_model(load.Model(path=str(folder)), dtype="bfloat16")
    size = (folder / "model.safetensors").stat().st_size
    assert cost.stored_bytes(model) == pytest.approx(
        size, rel=0.1
    )  # as it was stored, however it is held; the file has a header too
    adapted = LoRA(rank=2).apply(model)
    assert cost.stored_bytes(adapted) == pytest.approx(size, rel=0.1)


# ---- FLOPs


@pytest.mark.parametrize("tuner", [Full(), LoRA(rank=4)], ids=["full", "lora"])
@pytest.mark.parametrize("architecture", [name for name in zoo.ARCHITECTURES if name not in LINEAR])
def test_flops_are_those_that_torch_counts(architecture, tuner):
    model = zoo.tiny(architecture, attn_implementation="eager")
    model.config._experts_implementation = "eager"  # the counter does not know the grouped kernels
    model = tuner.apply(model).train()
    row = pack.collate(documents([48]), packed=False)
    work, learnt = cost.work_of(model), 24
    if architecture not in zoo.ENCODERS:
        heads.tail_of(model)  # proved by a small forward of its own, once
    with FlopCounterMode(display=False) as counter:
        loss = objective(architecture).loss(model, row)
        forward = counter.get_total_flops()
        loss.total.backward()
    near = 0.15 if architecture in ("qwen3_moe", "gpt_oss") or architecture.startswith("deepseek") else 0.05
    at_the_head = 0 if architecture in zoo.ENCODERS else work.learnt * learnt  # its gradient is found in forward
    uncounted = 0 if architecture in zoo.ENCODERS else (work.learnt_back - work.learnt) * learnt  # sums in place
    assert work.forward([48], learnt) + at_the_head == pytest.approx(forward, rel=near)
    assert work.training([48], learnt) == pytest.approx(counter.get_total_flops() + uncounted, rel=near)


def test_flops_of_linear_attention_in_the_forward():
    model = zoo.tiny("qwen3_5", attn_implementation="eager")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=zoo.ids(1, 64))
    assert cost.work_of(model).forward([64], 64) == pytest.approx(counter.get_total_flops(), rel=0.1)


def test_what_is_frozen_below_all_that_learns_has_no_backward():
    model = Full().apply(zoo.tiny("llama"))
    everything = cost.work_of(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("layers.2." in name)
    last = cost.work_of(model)
    assert last.token == everything.token
    assert last.token_back == pytest.approx(everything.token_back / 3)  # one of three like layers
    assert last.pair_back == pytest.approx(everything.pair_back / 3)
    assert last.learnt_back == last.learnt  # through the head, not into it


def test_recomputation_costs_one_more_forward_without_the_head():
    work = cost.work_of(zoo.tiny("llama"))
    again = work.training([10, 20], 5, recompute=True) - work.training([10, 20], 5)
    assert again == pytest.approx(work.forward([10, 20], 0))


# ---- activations


def peak_of(run):
    """Bytes of the allocations alive at once, by torch's profiler."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiled:
        run()
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    alive = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        alive += event.nbytes()
        peak = max(peak, alive)
    return peak


def measured_and_predicted(model, architecture, precision, lengths, packed, checkpointing=False):
    arithmetic, aim = Precision(precision, "cpu"), objective(architecture)
    footprint, weights = cost.footprint_of(model, arithmetic, packed), cost.weights_of(model, precision)
    row = pack.collate(documents(lengths), packed=packed)

    def step():
        with arithmetic.autocast():
            total = aim.loss(model, row).total
        total.backward()

    step()  # gradients exist from here on: they are no activations
    logits = cost.logits_of(model, arithmetic).held(int(row.weights.count_nonzero()))
    casts = weights.cast_bytes
    at_once = max(
        logits + casts,
        footprint.passing(lengths, checkpointing) + (casts / footprint.layers if checkpointing else casts),
    )
    return peak_of(step), footprint.kept(lengths, checkpointing) + at_once


@pytest.mark.parametrize("architecture", zoo.ARCHITECTURES)
def test_activations_are_as_measured_in_every_architecture(architecture):
    model = zoo.tiny(architecture)
    packed = isolation.isolate(model).packed and architecture not in zoo.ENCODERS
    measured, predicted = measured_and_predicted(model.train(), architecture, "float32", [90, 200, 300], packed)
    assert predicted == pytest.approx(measured, rel=0.25)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("tuner", [Full(), LoRA()], ids=["full", "lora"])
def test_activations_are_as_measured_under_tuners_and_precisions(tuner, precision):
    model = tuner.apply(with_our_attention(zoo.tiny("qwen2", hidden_size=128, intermediate_size=352)))
    prepare_dtypes(model, precision)
    measured, predicted = measured_and_predicted(model.train(), "qwen2", precision, [64] * 8, True)
    assert predicted == pytest.approx(measured, rel=0.1)


def test_checkpointing_keeps_what_goes_from_layer_to_layer():
    model = with_our_attention(zoo.tiny("llama", hidden_size=128, intermediate_size=352, num_hidden_layers=6)).train()
    lengths = [64] * 8
    without, _ = measured_and_predicted(model, "llama", "float32", lengths, True)
    before = cost.footprint_of(model, Precision("float32", "cpu"), True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.gradient_checkpointing_enable({"use_reentrant": False})
    measured, predicted = measured_and_predicted(model, "llama", "float32", lengths, True, checkpointing=True)
    assert measured < without / 2
    assert predicted == pytest.approx(measured, rel=0.3)
    assert cost.footprint_of(model, Precision("float32", "cpu"), True) == before  # also where it is switched on


def test_padding_is_counted_where_rows_are_padded():
    model = with_our_attention(zoo.tiny("llama"))
    padded = cost.footprint_of(model, Precision("float32", "cpu"), packed=False)
    assert padded.tokens([10, 30]) == 60
    assert cost.footprint_of(model, Precision("float32", "cpu"), packed=True).tokens([10, 30]) == 40


def test_dropout_in_attention_keeps_pairs_of_every_length():
    model = zoo.tiny("bert", hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1, num_hidden_layers=6)
    measured, predicted = measured_and_predicted(model.train(), "bert", "float32", [100, 120, 160, 280] * 2, False)
    assert predicted == pytest.approx(measured, rel=0.15)


def test_rows_that_narrow_layers_fill_up_are_no_tokens_share():
    """In 16 bits rows of narrow layers are filled up to 64: a plan that met 96 tokens as 128 had pairs, and a fifth of the rest."""
    model = LoRA(rank=2).apply(with_our_attention(zoo.tiny("qwen2", hidden_size=64, intermediate_size=96))).train()
    prepare_dtypes(model, "bfloat16")
    plain = cost.footprint_of(model, Precision("bfloat16", "cpu"), True)
    assert fuse.fuse(model)
    fused = cost.footprint_of(model, Precision("bfloat16", "cpu"), True)
    assert fused.pair == plain.pair == 0
    assert 0.4 * plain.token < fused.token < plain.token


def test_looking_leaves_no_trace():
    model = with_our_attention(zoo.tiny("modernbert", attention_dropout=0.5))
    model.get_submodule("head").train()
    first = next(model.parameters())
    first.grad = torch.ones_like(first)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes, state = [m.training for m in model.modules()], torch.get_rng_state()
    cost.footprint_of(model, Precision("float32", "cpu"), packed=False)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert modes == [m.training for m in model.modules()]
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first.grad, torch.ones_like(first))
    assert all(p.grad is None for p in list(model.parameters())[1:])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def allocated(run):
    """Bytes of all allocations, by torch's profiler."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiled:
        run()
    return sum(max(e.nbytes(), 0) for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]")


@pytest.mark.parametrize("tuner", [Full(), LoRA()], ids=["full", "lora"])
def test_what_a_forward_frees_again_is_as_measured(tuner):
    model = tuner.apply(with_our_attention(zoo.tiny("qwen2", hidden_size=128, intermediate_size=352))).train()
    footprint = cost.footprint_of(model, Precision("float32", "cpu"), True)
    rows = [pack.collate(documents([64] * count), packed=True) for count in (4, 8)]
    few, many = (allocated(lambda row=row: forward.run(forward.backbone(model), row)) for row in rows)
    kept = [footprint.kept(row.lengths) for row in rows]
    freed = footprint.given_back(rows[1].lengths) - footprint.given_back(rows[0].lengths)
    assert freed == pytest.approx(many - few - (kept[1] - kept[0]), rel=0.25)
    again = footprint.given_back([64] * 4, checkpointing=True) - footprint.given_back([64] * 4)
    assert again == pytest.approx(footprint.kept([64] * 4))  # all three layers make it, and free it
