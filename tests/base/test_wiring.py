"""The wired circuit copies from the first step: random tokens, seen once, are repeated by a model that never was trained."""

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from seektune.base import make, wiring


def accuracy(model, length=40):
    generator = torch.Generator().manual_seed(1)
    once = torch.randint(10, 4096, (4, length), generator=generator)
    twice = torch.cat([once, once], 1)
    with torch.no_grad():
        said = model(input_ids=twice).logits[:, length:-1].argmax(-1)
    return float((said == twice[:, length + 1 :]).float().mean())


def test_an_untrained_model_repeats_what_it_never_saw():
    torch.manual_seed(17)
    model = Qwen2ForCausalLM(Qwen2Config(**make.SHAPE)).eval()
    assert accuracy(model) < 0.05
    wiring.wire(model)
    assert accuracy(model) > 0.95


def test_the_first_layer_looks_one_token_back():
    torch.manual_seed(17)
    model = Qwen2ForCausalLM(Qwen2Config(**make.SHAPE, attn_implementation="eager")).eval()
    wiring.wire(model)
    ids = torch.randint(10, 4096, (1, 60))
    with torch.no_grad():
        first = model(input_ids=ids, output_attentions=True).attentions[0][0]
    assert float(first[:2].diagonal(-1, 1, 2)[:, 1:].min()) > 0.99


def test_the_size_is_what_the_card_says():
    torch.manual_seed(17)
    model = Qwen2ForCausalLM(Qwen2Config(**make.SHAPE))
    assert sum(p.numel() for p in model.parameters()) == 5_578_496
