"""Documents from a cache are those made at once; what was cut, dropped and refused is counted and named."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from seektune import files
from seektune.contracts import Document
from seektune.data import template
from seektune.data.chat import Renderer
from seektune.data.store import Records
from seektune.data.tokens import BATCH, FILES, Tokens, Work, _pieces, tokenise
from seektune.data.workers import Pool
from seektune.errors import DataError
from seektune.sources.loader import Loader

USER, ASSISTANT, END, BOS, CLS, SEP = (256 + i for i in range(6))


def renderer(source: str | None = "default") -> Renderer:
    """One token a byte: 'a' is one token, 你 three; a mark for each role and the end of a turn."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens(["<user>", "<assistant>", "<end>", "<bos>", "[CLS]", "[SEP]"])
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    turns = "{% for m in messages %}{{ '<' + m.role + '>' + m.content + '<end>' }}{% endfor %}"
    source = turns + "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}" if source == "default" else source
    return Renderer(tokenizer, source, {"eos_token": "<end>"})


def chat(*contents: str) -> dict:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": content} for i, content in enumerate(contents)]}


def same(one: Tokens, other: Tokens) -> bool:
    def plain(tokens: Tokens) -> list:
        return [(d.ids.tolist(), d.weights.tolist(), d.record, d.label) for d in tokens]

    return plain(one) == plain(other) and one.facts == other.facts


# ---------------------------------------------------------------- documents and facts


def test_documents_of_conversations_and_texts():
    tokens = tokenise([chat("a", "bc"), {"text": "de"}], renderer())
    first, second = tokens
    assert first.ids.tolist()[:1] + first.ids.tolist()[2:3] == [USER, END]
    assert first.weights.tolist() == [0, 0, 0, 0, 1, 1, 1]  # <user> a <end> <assistant> b c <end>
    assert second.weights.tolist() == [0, 1, 1]
    assert [first.record, second.record] == [0, 1]
    assert first.ids.dtype == np.int32
    assert first.weights.dtype == np.float32
    assert tokens.lengths.tolist() == [7, 3]
    assert tokens.supervised.tolist() == [3, 2]
    assert tokens.facts["documents"] == 2
    assert tokens.facts["tokens"] == 10
    assert tokens.facts["supervised_tokens"] == 5


def test_cutting_keeps_the_start_and_counts_answers():
    """9 tokens: prompt 4 and answer 5, or prompt 8 and answer 1; with 6 the second has nothing left to learn."""
    records = [chat("a", "bcde"), chat("abcde", ""), chat("a", "b")]
    tokens = tokenise(records, renderer(), max_length=6)
    assert [d.weights.tolist() for d in tokens] == [[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1]]
    assert tokens.records.tolist() == [0, 2]
    assert tokens.facts["cut"] == 2
    assert tokens.facts["answers_cut"] == [{"where": "record 1", "reason": "an answer was cut"}]
    assert tokens.facts["no_answer_left"] == [{"where": "record 2", "reason": "no learnt token is left after cutting"}]
    assert tokens.facts["counts"] == {"dropped": 0, "no_answer_left": 1, "answers_cut": 1}


def test_a_prompt_that_is_cut_in_an_unlearnt_place_loses_no_answer():
    record = chat("a", "b", "cccccccc", "d")
    record["messages"][3]["train"] = False
    tokens = tokenise([record], renderer(), max_length=6)
    assert tokens[0].weights.tolist() == [0, 0, 0, 0, 1, 1]
    assert tokens.facts["answers_cut"] == []
    assert tokens.facts["cut"] == 0


def test_dropping_names_the_records():
    records = Records.of([chat("a", "bcde"), chat("a", "b")], "mine.jsonl")
    tokens = tokenise(records, renderer(), max_length=6, too_long="drop")
    assert tokens.records.tolist() == [1]
    assert tokens.facts["dropped"] == [{"where": records.where(0), "reason": "longer than max_length"}]


def test_too_long_as_an_error_says_how_long():
    with pytest.raises(DataError) as caught:
        tokenise([chat("a", "b"), chat("a", "bcde"), {"text": "z" * 30}], renderer(), max_length=6, too_long="error")
    assert caught.value.problems == [
        "record 2: 9 tokens; expected at most 6 (data.max_length); or `data.too_long: cut` or `drop`",
        "record 3: 31 tokens; expected at most 6 (data.max_length); or `data.too_long: cut` or `drop`",
    ]


def test_splitting_loses_no_token_and_makes_pieces_of_like_length():
    text = "abcdefghijklmnopqrst"  # 21 tokens with the end of text
    tokens = tokenise([{"text": "ab"}, {"text": text}, {"text": "cd"}], renderer(), max_length=8, too_long="split")
    whole = tokenise([{"text": text}], renderer(), max_length=100)[0]
    pieces = [d for d in tokens if d.record == 1]
    assert [len(d) for d in pieces] == [7, 7, 7]
    assert np.concatenate([d.ids for d in pieces]).tolist() == whole.ids.tolist()
    assert [d.weights.tolist() for d in pieces] == [[0, 1, 1, 1, 1, 1, 1]] * 3  # the first token is read only
    assert (tokens.facts["split"], tokens.facts["pieces"], tokens.facts["cut"]) == (1, 3, 0)
    assert tokens.records.tolist() == [0, 1, 1, 1, 2]
    assert tokens.units.tolist() == [0, 1, 2, 3, 4]
    assert tokens.select([3, 0, 1]).units.tolist() == [0, 1, 2]


@given(length=st.integers(1, 60), limit=st.integers(2, 12))
@settings(deadline=None)
def test_pieces_follow_each_other(length, limit):
    document = Document(np.arange(length, dtype=np.int32), np.r_[0, np.ones(length - 1)].astype(np.float32))
    pieces = _pieces(document, limit)
    assert np.concatenate([p.ids for p in pieces]).tolist() == document.ids.tolist()
    assert len(pieces) == -(-length // limit)
    assert max(map(len, pieces)) <= limit
    assert all(p.weights[0] == 0 and (p.weights[1:] == 1).all() for p in pieces)


def test_only_plain_texts_are_split():
    """Of an answer, of learnt spans and of a label a part would not mean what the whole does."""
    spans = {"text": "z" * 30, "spans": [[4, 30, 1.0]]}
    with pytest.raises(DataError) as caught:
        tokenise([chat("a", "b"), chat("a", "bcde"), spans], renderer(), max_length=6, too_long="split")
    assert caught.value.problems == [
        "record 2: 9 tokens; expected at most 6 (data.max_length); an answer would stand without what it answers, so it is "
        "not split; or `data.too_long: cut` or `drop`",
        "record 3: 31 tokens; expected at most 6 (data.max_length); its learnt spans would stand without what comes before "
        "them, so it is not split; or `data.too_long: cut` or `drop`",
    ]
    labelled = {"text": "z" * 30, "label": "a"}
    with pytest.raises(DataError, match="a label belongs to the whole text"):
        tokenise([labelled], renderer(), max_length=6, too_long="split", labels=["a", "b"])


def test_a_piece_without_a_learnt_token_is_counted():
    tokens = tokenise([{"text": "abcd"}], renderer(), max_length=2, too_long="split")  # 5 tokens: 2, 2 and 1
    assert [len(d) for d in tokens] == [2, 2]
    assert tokens.facts["counts"]["no_answer_left"] == 1


def test_pieces_of_a_text_go_to_steps_of_their_own():
    tokens = tokenise([{"text": "a" * 39}, chat("a", "b")], renderer(), max_length=10, too_long="split")
    source = Loader()
    source.open(tokens, batch_size=2, unit=1, seed=0)
    assert source.batches_per_epoch() == 3  # four pieces and a conversation


def test_records_that_learn_nothing_are_named():
    silent = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "train": False}]}
    tokens = tokenise([silent, chat("a", "b")], renderer())
    assert len(tokens) == 1
    assert tokens.facts["no_answer_left"] == [{"where": "record 1", "reason": "no learnt token"}]


def test_all_refused_records_are_reported_at_once():
    records = [chat("a", "b")] + [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant"}]}] * 25
    with pytest.raises(DataError) as caught:
        tokenise(records, renderer())
    assert len(caught.value.problems) == 21
    assert caught.value.problems[0].startswith("record 2: message 2: chat template: ")
    assert caught.value.problems[-1] == "… and 5 more"


def test_facts_by_source():
    class Two(list):
        def source(self, index: int) -> int:
            return index % 2

    tokens = tokenise(Two([chat("a", "b"), {"text": "cd"}, chat("<end>", "e")]), renderer())
    assert tokens.facts["sources"] == {
        "0": {"records": 2, "documents": 2, "tokens": 12, "supervised_tokens": 4},
        "1": {"records": 1, "documents": 1, "tokens": 3, "supervised_tokens": 2},
    }
    assert tokens.facts["notes"] == {"special_inside": 1}


# ---------------------------------------------------------------- labels


def test_labels_become_numbers_and_texts_keep_their_marks():
    records = [{"text": "ab", "label": "no"}, {"text": "c", "label": "yes", "text_pair": "d"}]
    tokens = tokenise(records, renderer(None), labels=["no", "yes"])
    first, second = tokens
    assert (first.ids[0], first.ids[-1], len(first)) == (CLS, SEP, 4)
    assert second.ids.tolist().count(SEP) == 2
    assert (first.label, second.label) == (0, 1)
    assert tokens.supervised.tolist() == [1, 1]
    assert not first.weights.any()
    several = tokenise(
        [{"text": "a", "label": ["yes", "no"]}, {"text": "a", "label": []}], renderer(None), labels=["no", "yes"]
    )
    assert [document.label for document in several] == [[1, 0], []]
    numbers = tokenise([{"text": "a", "label": 7}], renderer(None), labels=["5", "7"])
    assert numbers[0].label == 1


def test_unknown_labels_are_refused():
    with pytest.raises(DataError, match="record 1: label: unknown label 'maybe'; expected 'no', 'yes'"):
        tokenise([{"text": "a", "label": "maybe"}], renderer(None), labels=["no", "yes"])


def test_long_texts_with_labels_are_cut_between_their_marks():
    long = {"text": "abcdef", "label": "no"}
    tokens = tokenise([long], renderer(None), labels=["no"], max_length=5)
    assert (tokens[0].ids[0], tokens[0].ids[-1], len(tokens[0]), tokens.facts["cut"]) == (CLS, SEP, 5, 1)
    dropped = tokenise([long], renderer(None), labels=["no"], max_length=5, too_long="drop")
    assert len(dropped) == 0
    assert dropped.facts["counts"]["dropped"] == 1


# ---------------------------------------------------------------- the sequence


def test_of_and_select():
    documents = [
        Document(np.arange(n, dtype=np.int32), np.array([0, 0.1, 0.1, 2.0, 0][:n], np.float32), record=9 - n)
        for n in (5, 1, 3)
    ]
    tokens = Tokens.of(documents)
    assert [d.weights.tolist() for d in tokens] == [d.weights.tolist() for d in documents]  # no rounding
    assert [d.record for d in tokens] == [4, 8, 6]
    assert tokens[-1].ids.tolist() == [0, 1, 2]
    view = tokens.select([2, 0])
    assert view.lengths.tolist() == [3, 5]
    assert view[1].record == 4
    assert view[-1].record == 4
    assert [d.record for d in tokens[1:]] == [8, 6]
    assert [d.record for d in view.select([1])] == [4]
    with pytest.raises(IndexError):
        tokens[3]
    assert len(Tokens.of([])) == 0


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.lists(st.floats(0, 8, width=32), max_size=12), max_size=6))
def test_weights_survive_run_lengths(rows):
    documents = [Document(np.zeros(len(row), np.int32), np.array(row, np.float32)) for row in rows]
    assert [d.weights.tolist() for d in Tokens.of(documents)] == [d.weights.tolist() for d in documents]


# ---------------------------------------------------------------- the cache

RECORDS = [chat("a", "bc"), {"text": "d你e", "spans": [[1, 2, 0.1]]}, chat("f", "g", "h", "i" * 50)]


def test_the_cache_is_read_back(tmp_path, monkeypatch):
    fresh = tokenise(RECORDS, renderer(), max_length=20)
    made = tokenise(RECORDS, renderer(), max_length=20, cache=tmp_path)
    monkeypatch.setattr(Renderer, "documents", None)  # may not be asked again
    again = tokenise(RECORDS, renderer(), max_length=20, cache=tmp_path)
    assert same(fresh, made)
    assert same(made, again)
    assert isinstance(again.arrays["ids"], np.memmap)
    assert len(list(tmp_path.iterdir())) == 1


def test_whatever_the_ids_depend_on_is_in_the_key(tmp_path):
    other_tokenizer = renderer()
    other_tokenizer.tokenizer.add_tokens(["abc"])
    other_special = renderer()
    other_special.special = {"eos_token": "[SEP]"}
    given = {"renderer": renderer(), "records": RECORDS}
    variants = [
        {},
        {"records": RECORDS[::-1]},
        {"records": [chat("a", "bd"), *RECORDS[1:]]},
        {"renderer": other_tokenizer},
        {"renderer": other_special},
        {"renderer": renderer(template.CHATML)},
        {"train_on": "last_answer"},
        {"max_length": 21},
        {"too_long": "drop"},
        {"digest": "other"},
    ]
    for variant in variants:
        tokenise(**(given | variant), cache=tmp_path)
    texts = [{"text": "a", "label": "x"}]
    tokenise(texts, renderer(), labels=["x"], cache=tmp_path)
    tokenise(texts, renderer(), labels=["y", "x"], cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == len(variants) + 2


@pytest.mark.parametrize("name", [*FILES, "tokens.json"])
def test_a_damaged_cache_is_made_again(name, tmp_path):
    whole = tokenise(RECORDS, renderer(), cache=tmp_path)
    expected = [d.ids.tolist() for d in whole]
    (folder,) = tmp_path.iterdir()
    path = folder / name
    for damage in ("cut", "flip", "gone"):
        data = path.read_bytes()
        path.unlink()
        if damage == "cut":
            path.write_bytes(data[:-4] if data else b"x")
        if damage == "flip":
            path.write_bytes(bytes([data[0] ^ 1, *data[1:]]) if data else b"x")
        assert Tokens.open(folder) is None, damage
        again = tokenise(RECORDS, renderer(), cache=tmp_path)
        assert [d.ids.tolist() for d in again] == expected


def test_a_crash_leaves_no_half_of_a_cache(tmp_path, monkeypatch):
    """Fails at each write, sync and rename in turn; what is there afterwards is nothing or whole."""
    operations = []
    monkeypatch.setattr(files, "before", lambda operation, path: operations.append(operation))
    tokenise(RECORDS, renderer(), cache=tmp_path / "count")
    for crash in range(len(operations)):
        left = iter(range(crash))

        def fail(operation: str, path: Path, left=left) -> None:
            if next(left, None) is None:
                raise OSError("disk full")

        cache = tmp_path / str(crash)
        monkeypatch.setattr(files, "before", fail)
        with pytest.raises(OSError, match="disk full"):
            tokenise(RECORDS, renderer(), cache=cache)
        monkeypatch.setattr(files, "before", lambda operation, path: None)
        for folder in cache.iterdir() if cache.exists() else []:
            assert folder.name.startswith(".") or Tokens.open(folder) is not None
        assert same(tokenise(RECORDS, renderer(), cache=cache), tokenise(RECORDS, renderer()))


# ---------------------------------------------------------------- processes


def test_processes_give_the_same_documents_and_show_progress(tmp_path):
    records = [chat(f"a{i}", f"b{i}") for i in range(BATCH * 3 + 5)]
    shown: list[tuple[int, int]] = []
    several = tokenise(records, renderer(), processes=2, show=lambda done, total: shown.append((done, total)))
    assert same(several, tokenise(records, renderer()))
    total = len(records)
    assert shown == [(BATCH, total), (BATCH * 2, total), (BATCH * 3, total), (total, total)]


def test_problems_of_other_processes_arrive():
    records = [chat("a", "b"), {"messages": [{"role": "user", "content": "a"}, {"role": "assistant"}]}]
    with pytest.raises(DataError, match="record 2: message 2"):
        tokenise(records, renderer(), processes=2)


class Loaded(Work):
    """Real work, and then what its process has imported."""

    def __call__(self, batch: list) -> list:
        super().__call__(batch)
        return [name for name in ("tokenizers", "jinja2", "torch", "transformers", "pyarrow") if name in sys.modules]


class Broken:
    def __call__(self, batch: list[str]) -> list[str]:
        raise ValueError(batch[0])


def test_workers_import_tokenizers_and_jinja_only(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))  # so that the worker finds `Loaded`
    with Pool(Loaded(renderer(), "all_answers", 9, "cut", None), 1) as pool:
        assert list(pool.map([[chat("a", "b")]])) == [["tokenizers", "jinja2"]]


def test_an_error_in_a_worker_reaches_the_caller():
    with pytest.raises(ValueError, match="why"), Pool(Broken(), 1) as pool:
        list(pool.map([["why"]]))


def test_a_script_without_main_guard_may_use_processes(tmp_path):
    """Other pools import the caller's main module in each worker, which starts everything again."""
    script = tmp_path / "script.py"
    script.write_text(
        "import tokenizers\nfrom seektune.data.chat import Renderer\nfrom seektune.data.tokens import tokenise\n"
        "r = Renderer(tokenizers.Tokenizer(tokenizers.models.WordLevel({'a': 0, '?': 1}, unk_token='?')), None, {})\n"
        "print(len(tokenise([{'text': 'a'}, {'text': 'a'}], r, processes=2)))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout == "0\n"  # one token each, of which nothing is predicted


def test_memory_does_not_grow_with_the_records(tmp_path):
    class Endless(list):
        """Records that exist only while they are looked at."""

        def __init__(self, total: int):
            self.total = total

        def __len__(self) -> int:
            return self.total

        def __getitem__(self, index: int) -> dict:
            return {"text": f"record {index}"}

    def peak(total: int) -> int:
        tracemalloc.start()
        tokenise(Endless(total), renderer(None), cache=tmp_path / str(total), digest=str(total), processes=1)
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held

    small, large = peak(500), peak(2500)
    assert (large - small) / 2000 < 150  # bytes a record: offsets and sums, no documents
