"""Terms become tokens: rows from definitions and pieces, kept by the model, trained by LoRA, read by plain transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo

from seektune import assembly, cli, recipe
from seektune.errors import DataError
from seektune.models import heads, terms
from seektune.models.load import Model, open_model, open_tokenizer
from seektune.tuners.freeze import Freeze
from seektune.tuners.full import Full
from seektune.tuners.lora import LoRA

TERMS = {
    "市盈率": "股价除以每股收益",
    "EBITDA": "earnings before interest and taxes",
    "net debt": "",
    "a": "one token already",
}


def logits(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=torch.tensor([ids])).logits
    return found


def table(folder: Path) -> Path:
    path = folder / "terms.jsonl"
    path.write_text("".join(json.dumps({"term": t, "definition": d}) + "\n" for t, d in TERMS.items()))
    return path


def with_terms(tmp_path: Path, architecture: str = "llama") -> Path:
    base = zoo.tiny_folder(tmp_path / "base", architecture)
    assert cli.main(["data", "terms", str(base), str(table(tmp_path)), "--output", str(tmp_path / "out")]) == 0
    return tmp_path / "out"


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_rows_are_weighted_means_of_definition_and_pieces(architecture: str, weight: float) -> None:
    model, tokenizer = zoo.tiny(architecture), zoo.tokenizer()
    old = [end.weight.detach().clone() for end in (model.get_input_embeddings(), model.get_output_embeddings())]
    pieces = {t: tokenizer(t, add_special_tokens=False).input_ids for t in TERMS}
    meant = {t: tokenizer(d, add_special_tokens=False).input_ids for t, d in TERMS.items()}
    done = terms.extend(model, tokenizer, TERMS, weight)
    assert done.known == ["a"]
    assert [term.id for term in done.added.values()] == [304, 305, 306]
    for end, before in zip((model.get_input_embeddings(), model.get_output_embeddings()), old, strict=True):
        for term, one in done.added.items():
            share = weight if TERMS[term] else 0.0
            wanted = sum(before[i] * (1 - share) / len(pieces[term]) for i in pieces[term])
            wanted = wanted + sum(before[i] * share / len(meant[term]) for i in meant[term]) if share else wanted
            torch.testing.assert_close(end.weight[one.id], wanted)
        keep = [i for i in range(len(before)) if i not in (304, 305, 306)]
        assert torch.equal(end.weight[keep], before[keep])
    assert heads.tied(model) == (architecture == "qwen2")
    assert heads.new_tokens(model) == (304, 305, 306)


def test_more_terms_than_spare_rows_grow_the_model() -> None:
    model, tokenizer = zoo.tiny("qwen2"), zoo.tokenizer()
    terms.extend(model, tokenizer, {f"term number {i}": "说明" for i in range(30)})
    assert heads.embedding_rows(model) == model.config.vocab_size == 304 + 30
    terms.extend(model, tokenizer, {"another": "x"})
    assert heads.new_tokens(model) == tuple(range(304, 335))


def test_texts_with_terms_come_back_whole_and_words_are_not_cut() -> None:
    tokenizer = zoo.tokenizer()
    terms.extend(zoo.tiny("qwen2"), tokenizer, {"市盈率": "", "EBITDA": "", "cap": ""})
    for text, count in (("动态市盈率高，公司EBITDA增长", 2), ("the cap of capital", 1), (" EBITDA cap\n市盈率", 3)):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert sum(i >= 304 for i in ids) == count, text
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_the_folder_is_read_by_plain_transformers(tmp_path: Path, architecture: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out = with_terms(tmp_path, architecture)
    tokenizer = AutoTokenizer.from_pretrained(out)
    ids = tokenizer("市盈率 and EBITDA", add_special_tokens=False).input_ids
    assert ids[0] == 304 and ids[-1] == 305
    assert tokenizer.chat_template == zoo.TEMPLATE
    plain = AutoModelForCausalLM.from_pretrained(out)
    assert torch.equal(logits(plain, ids), logits(open_model(Model(str(out))), ids))
    assert plain.config.seektune_terms == [304, 305, 306]
    told = json.loads((out / "terms.json").read_text())
    assert told["added"]["EBITDA"] == {"definition": TERMS["EBITDA"], "id": 305, "pieces": told["added"]["EBITDA"]["pieces"],
                                       "of_definition": len(zoo.tokenizer()(TERMS["EBITDA"], add_special_tokens=False).input_ids)}  # fmt: skip
    assert (told["known"], told["without_definition"], told["weight"]) == (["a"], 1, 0.5)


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_lora_trains_and_saves_the_rows_of_the_terms_and_no_other(tmp_path: Path, architecture: str) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    out = with_terms(tmp_path, architecture)
    model, tuner = open_model(Model(str(out))), LoRA(rank=2)
    old = model.get_input_embeddings().weight.detach().clone()
    adapted: Any = tuner.apply(model).train()
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=0.05)
    ids = open_tokenizer(out)("市盈率 EBITDA net debt", add_special_tokens=False).input_ids
    for _ in range(2):
        optimizer.zero_grad()
        adapted(input_ids=torch.tensor([ids]), labels=torch.tensor([ids])).loss.backward()
        optimizer.step()
    wanted = logits(adapted, ids)
    tuner.save(adapted, tmp_path / "adapter")
    assert torch.equal(logits(open_model(Model(str(tmp_path / "adapter"))), ids), wanted)
    assert torch.equal(
        logits(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(out), tmp_path / "adapter"), ids), wanted
    )
    now = tuner.merge(adapted).get_input_embeddings().weight
    rows = [304, 305, 306]
    assert not torch.isclose(now[rows], old[rows]).all(-1).any()
    keep = [i for i in range(len(old)) if i not in rows]
    assert torch.equal(now[keep], old[keep])


def test_a_recipe_trains_the_terms_and_its_result_opens_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the verb through a whole run (its proof loads the result in a process that knows only transformers and peft)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEEKTUNE_CACHE", str(tmp_path / "cache"))
    out = with_terms(tmp_path)
    rows = [{"instruction": f"市盈率 {i}?", "output": f"EBITDA is {i}"} for i in range(8)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"model.path": out, "data.train.0.path": "train.jsonl", "tuner.kind": "lora", "objective.kind": "sft", "name": "one",
                "train.steps": 2, "train.batch_size": 4, "train.device": "cpu", "train.precision": "float32",
                "optimizer.kind": "adamw", "optimizer.learning_rate": 0.05}  # fmt: skip
    (tmp_path / "r.yaml").write_text(
        "model: {path: x}\ndata: {train: [{path: x}]}\ntuner: {kind: lora}\nobjective: {kind: sft}\n"
    )
    run = assembly.run(recipe.load(tmp_path / "r.yaml", [f"{key}={value}" for key, value in settings.items()]))
    before, after = open_model(Model(str(out))), open_model(Model(str(run.path / "model")))
    moved = after.merge_and_unload().get_input_embeddings().weight - before.get_input_embeddings().weight
    assert moved[[304, 305]].abs().sum(-1).gt(0).all()
    assert not moved[:304].any()


def test_other_tuners_train_them_where_they_train_embeddings(tmp_path: Path) -> None:
    out = with_terms(tmp_path)
    for tuner, trained in ((Full(), True), (Full(embeddings=False), False), (Freeze(embeddings=False), True)):
        model = tuner.apply(open_model(Model(str(out))))
        assert model.get_input_embeddings().weight.requires_grad == trained


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"trem": "x"}\n', "no `term`; expected the columns term and definition; did you mean 'trem'"),
        ('{"term": " ", "definition": "d"}\n', "`term` is ' '"),
        ('{"term": 3, "definition": "d"}\n', "`term` is 3"),
        ('{"term": "x", "definition": [1]}\n', r"`definition` is \[1\]"),
        ('{"term": "x"}\n{"term": "x "}\n', r"terms.jsonl:2: the term 'x' stands here and at .*terms.jsonl:1"),
        ("{broken\n", "terms.jsonl:1"),
    ],
)
def test_a_wrong_table_is_told_by_its_lines(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "terms.jsonl").write_text(text)
    with pytest.raises(DataError, match=told):
        terms.read_terms(str(tmp_path / "terms.jsonl"))


def test_the_verb_refuses_what_it_cannot_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, words = with_terms(tmp_path), [str(table(tmp_path)), "--output"]
    adapter = tmp_path / "adapter"
    tuner = LoRA(rank=2)
    tuner.save(tuner.apply(open_model(Model(str(out)))), adapter)
    assert cli.main(["data", "terms", str(adapter), *words, str(tmp_path / "x")]) == 2
    assert "is an adapter" in capsys.readouterr().err
    assert cli.main(["data", "terms", str(out), *words, str(out)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert cli.main(["data", "terms", str(out), *words, str(tmp_path / "y"), "--weight", "2"]) == 2


def test_the_verb_tells_what_it_did_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = zoo.tiny_folder(tmp_path / "base")
    assert (
        cli.main(
            [
                "data",
                "terms",
                str(base),
                str(table(tmp_path)),
                "--output",
                str(tmp_path / "o"),
                "--weight",
                "1",
                "--json",
            ]
        )
        == 0
    )
    told = json.loads(capsys.readouterr().out)
    assert list(told["added"]) == ["市盈率", "EBITDA", "net debt"]
    rows = open_model(Model(str(tmp_path / "o"))).get_input_embeddings().weight
    meant = zoo.tokenizer()(TERMS["EBITDA"], add_special_tokens=False).input_ids
    torch.testing.assert_close(rows[305], open_model(Model(str(base))).get_input_embeddings().weight[meant].mean(0))
