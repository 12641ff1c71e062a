from __future__ import annotations

import pytest
import torch
import zoo

from seektune.errors import ModelError
from seektune.models import heads


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_new_rows_are_the_mean_of_their_pieces(architecture: str) -> None:
    model, tokenizer = zoo.tiny(architecture), zoo.tokenizer()
    pieces = tokenizer.encode("<company>", add_special_tokens=False)
    assert len(pieces) > 1
    old = model.get_input_embeddings().weight.detach().clone()
    head = model.get_output_embeddings().weight.detach().clone()
    ids = heads.add_tokens(model, tokenizer, ["<company>", "<money>"])
    assert ids == [304, 305]
    assert tokenizer.encode("a<company>", add_special_tokens=False)[-1] == 304
    assert heads.embedding_rows(model) == zoo.VOCAB  # spare rows were enough
    torch.testing.assert_close(model.get_input_embeddings().weight[304], old[pieces].mean(0))
    torch.testing.assert_close(model.get_output_embeddings().weight[304], head[pieces].mean(0))
    keep = [i for i in range(zoo.VOCAB) if i not in ids]
    assert torch.equal(model.get_input_embeddings().weight[keep], old[keep])
    assert heads.new_tokens(model) == (304, 305)
    assert heads.tied(model) == (architecture == "qwen2")


def test_rows_grow_and_never_shrink() -> None:
    model, tokenizer = zoo.tiny("qwen2"), zoo.tokenizer()
    heads.resize(model, 10)
    assert heads.embedding_rows(model) == zoo.VOCAB
    heads.add_tokens(model, tokenizer, [f"<{i}>" for i in range(20)])
    assert heads.embedding_rows(model) == len(tokenizer) == model.config.vocab_size == 324
    assert heads.tied(model)
    assert model(input_ids=torch.tensor([[323]])).logits.shape == (1, 1, 324)


def test_known_tokens_are_refused_and_nothing_changes() -> None:
    model, tokenizer = zoo.tiny("qwen2"), zoo.tokenizer()
    with pytest.raises(ModelError) as caught:
        heads.add_tokens(model, tokenizer, ["<user>", "<fresh>", "<eos>"])
    assert caught.value.problems == [
        "new token: '<user>' is in the vocabulary already (id 4)",
        "new token: '<eos>' is in the vocabulary already (id 2)",
    ]
    assert len(tokenizer) == 304


def test_head_modules() -> None:
    assert heads.head_modules(zoo.tiny("llama")) == []
    assert heads.head_modules(zoo.tiny("llama", head="classifier")) == ["score"]
    assert heads.head_modules(zoo.tiny("bert")) == ["classifier"]
    assert heads.head_modules(zoo.tiny("modernbert")) == ["head", "classifier"]
