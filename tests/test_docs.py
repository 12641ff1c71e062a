"""The docs are true: links resolve, commands and files exist, generated parts are current, examples do what the page says.

A comment in front of a code block says what it is:

    <!-- file NAME -->              the block is that file; later blocks of the page find it
    <!-- reads NAME [HEAD] -->      the first record that `formats.read` makes of the file is this JSON
    <!-- refuses NAME [HEAD] -->    reading the file is refused with these lines
    <!-- learnt NAME TRAIN_ON [TEMPLATE] -->   the first record as the base's template (or that file) renders it; what is
                                    learnt stands in «», `---` parts documents
    <!-- run -->                    `$ seektune …` lines are run one after the other and must print what follows

`…` matches anything. YAML without a comment has to load as a recipe or, with `stages:` or `input:`, as a pipeline (parts of one too), Python without a comment has to run.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models
from tokenizers.pre_tokenizers import ByteLevel
from zoo import DECODERS

from seektune import cli, kinds, recipe, recipe_yaml
from seektune.base.tokenizer import SPECIAL, TEMPLATE
from seektune.commands import _data
from seektune.commands._verbs import command, parser_of, verbs
from seektune.data import formats
from seektune.data.chat import Renderer
from seektune.data.options import Input
from seektune.errors import DataError, RecipeError
from seektune.pipeline import Pipeline

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), ROOT / "src/seektune/base/MODEL_CARD.md"]
EXPECTED = {
    "five-minutes",
    "data",
    "recipe",
    "run-folder",
    "errors",
    "training",
    "evaluation",
    "base",
    "notebook",
    "real-run",
    "performance",
    "streaming",
}
FENCE = re.compile(r"(?:^<!-- (?P<mark>[^\n>]+) -->\n+)?^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.M | re.S)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
WHOLE = {
    "model": "base:tiny",
    "data": {"train": "records.jsonl", "valid": {"fraction": 0.1}},
    "tuner": "lora",
    "objective": "sft",
}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


@dataclass
class Block:
    language: str
    body: str
    words: list[str]  # of the comment in front of it


def blocks(text: str) -> list[Block]:
    return [Block(found["language"], found["body"], _words(found["mark"] or "")) for found in FENCE.finditer(text)]


def _words(comment: str) -> list[str]:
    """Of a comment that marks an example; one that begins a generated part is none."""
    words = comment.split()
    return [] if words and words[0] in generator().BLOCKS else words


@cache
def generator() -> ModuleType:
    """docs/generate.py."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# What is generated


def test_every_page_is_there() -> None:
    assert {path.stem for path in PAGES} >= EXPECTED | {
        "README",
        "README.zh",
        "CONTRIBUTING",
        "CHANGELOG",
        "MODEL_CARD",
    }
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_generated_parts_are_current() -> None:
    stale = [path.name for path, text in generator().generated().items() if path.read_text(encoding="utf-8") != text]
    assert not stale, "make docs"


def test_a_stale_part_is_seen() -> None:
    filled = generator().filled
    page = "a\n<!-- verbs -->\nold\n<!-- /verbs -->\nb <!-- figure none.at_all -->7<!-- /figure -->\n"
    made = filled(page, "page.md")
    assert "old" not in made
    assert "| `train` |" in made
    assert "<!-- figure none.at_all -->not measured yet<!-- /figure -->" in made
    assert filled(made, "page.md") == made


def test_the_reference_holds_every_key() -> None:
    text = (ROOT / "docs" / "recipe.md").read_text()
    assert all(
        f"| `{key}` |" in text
        for key in ("rank", "learning_rate", "warmup", "fraction", "continue", "batch_size", "seed")
    )


# What pages point to


@each_page
def test_links_resolve(page: Path) -> None:
    assert broken_links(page, page.read_text(encoding="utf-8")) == []


def broken_links(page: Path, text: str) -> list[str]:
    """Links of a page to files or headings that are not there. The web is not asked."""
    return [
        link
        for link in LINK.findall(FENCE.sub("", text))
        if not link.startswith("http") and not _resolves(page, text, link)
    ]


def _resolves(page: Path, text: str, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = page.parent / name if name else page
    if not target.exists():
        return False
    return not anchor or anchor in anchors(text if not name else target.read_text(encoding="utf-8"))


def anchors(text: str) -> set[str]:
    """The headings of a page as GitHub names them."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@each_page
def test_commands_exist(page: Path) -> None:
    assert wrong_commands(page.read_text(encoding="utf-8")) == []


def wrong_commands(text: str) -> list[str]:
    """Commands that no verb takes as they stand, and targets that the Makefile lacks."""
    lines = [
        line.removeprefix("$ ")
        for block in blocks(text)
        if block.words[:1] != ["run"]
        for line in block.body.splitlines()
    ]
    lines += INLINE.findall(FENCE.sub("", text))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    wrong = [line for line in lines if (found := re.match(r"make ([a-z]+)\b", line)) and found[1] not in targets]
    return wrong + [line for line in lines if line.startswith("seektune ") and not _parses(line)]


def _parses(line: str) -> bool:
    words = shlex.split(line.replace("…", ""), comments=True)[1:]
    if "|" in words:
        words = words[: words.index("|")]
    if not words or words[0].isupper() or words[0].startswith("-"):
        return True  # `seektune VERB --help`
    if words[0] not in verbs():
        return False
    if len(words) == 1 or "--help" in words or (words[0] == "data" and len(words) == 2 and words[1] in verbs(_data)):
        return True  # the verb is spoken of
    try:
        parser_of(words[0], command(words[0])).read(words[1:])
    except RecipeError:
        return False
    return True


@each_page
def test_files_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    own = {block.words[1] for block in blocks(text) if block.words[:1] == ["file"]}
    named = [
        name
        for name in INLINE.findall(FENCE.sub("", text))
        if re.fullmatch(r"[\w./-]+\.(py|md)|(src|tests|docs|recipes|bench)/[\w./-]+", name)
    ]
    missing = [name for name in named if not name.startswith("docs/figures") and not _exists(name)]
    assert set(missing) <= own


def _exists(name: str) -> bool:
    """In one of the folders from which pages name files, or, by its bare name, anywhere in the package."""
    places = (ROOT, ROOT / "src/seektune", ROOT / "docs", ROOT / "tests")
    return any((place / name).exists() for place in places) or ("/" not in name and any((ROOT / "src").rglob(name)))


# What pages show


@each_page
def test_recipes_load(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = blocks(page.read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    write_files(found)
    for block in found:
        if block.language == "yaml" and not block.words:
            load_pipeline(block.body) if re.search(r"^(stages|input):", block.body, re.M) else load(block.body)


def load_pipeline(text: str) -> None:
    """A pipeline, or a part of one: every key, stage and option is known and in range."""
    written = recipe_yaml.parse(text, "block.yaml")
    assert not written.problems, written.problems
    values = {"input": [{"path": "records.jsonl"}], "output": "out.jsonl"} | written.values
    problems: list[tuple[str, str]] = []
    kinds.construct(Pipeline, kinds.expand(Pipeline, values), "", problems)
    assert problems == []


def load(text: str) -> recipe.Recipe:
    """A recipe, or a part of one on top of a plain one; what it names on disk is faked in the current folder."""
    written = recipe_yaml.parse(text, "block.yaml")
    assert not written.problems, written.problems
    values: dict[str, Any] = (
        written.values if "tuner" in written.values and "data" in written.values else WHOLE | written.values
    )
    for path in _paths(values):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
    model = values["model"]
    if isinstance(model, dict) and model.get("path", "").count("/") > 1:  # no hub id has so many
        Path(model["path"]).mkdir(parents=True)
    Path("block.yaml").write_text(recipe_yaml.dump(values), encoding="utf-8")
    return recipe.load("block.yaml")


def _paths(values: dict[str, Any]) -> list[str]:
    data, model = values["data"], values.get("model")
    train = data["train"] if isinstance(data["train"], list) else [data["train"]]
    found = [one if isinstance(one, str) else one["path"] for one in train]
    found += [(data.get("valid") or {}).get("path"), model.get("continue") if isinstance(model, dict) else None]
    template = data.get("template", "auto")
    found += [template if template.endswith(".jinja") else None]
    return [path.replace("*", "1") for path in found if path]


@each_page
def test_examples_do_what_the_page_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = blocks(page.read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SEEKTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("COLUMNS", raising=False)  # pytest-xdist sets it
    names: dict[str, Any] = {}
    for block in found:
        write_files([block])
        check_example(block, capsys)
        if block.language == "python" and not block.words:
            exec(compile(block.body, f"{page.name}", "exec"), names)


def write_files(found: list[Block]) -> None:
    for block in found:
        if block.words[:1] == ["file"]:
            path = Path(block.words[1])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.body, encoding="utf-8")


def check_example(block: Block, capsys: pytest.CaptureFixture[str]) -> None:
    match block.words:
        case ["reads", name, *head]:
            assert first_record(name, *head) == json.loads(block.body)
        case ["refuses", name, *head]:
            with pytest.raises(DataError) as refused:
                first_record(name, *head)
            assert_like("\n".join(refused.value.problems), block.body)
        case ["learnt", name, train_on, *template]:
            documents = byte_renderer(*template).documents(first_record(name), train_on)
            assert "\n---\n".join(map(marked, documents)) == block.body.rstrip("\n")
        case ["run"]:
            check_session(block.body, capsys)
        case _:
            assert block.words[:1] in ([], ["file"]), f"unknown comment {block.words}"


def first_record(name: str, head: Any = "lm") -> dict[str, Any]:
    return dict(formats.read([Input(path=name)], 0.01, head)[0])


def check_session(body: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines that begin with `$ ` are commands; `$ echo $?` tells the exit code of the one before."""
    code = 0
    for part in re.split(r"^\$ ", body, flags=re.M)[1:]:
        line, _, expected = part.partition("\n")
        if line == "echo $?":
            assert str(code) == expected.strip()
            continue
        words = shlex.split(line)
        assert words[0] == "seektune", line
        code = cli.main(words[1:])
        said = capsys.readouterr()
        assert_like(said.out + said.err, expected)


def assert_like(found: str, expected: str) -> None:
    pattern = ".*?".join(map(re.escape, expected.strip().split("…")))
    assert re.fullmatch(pattern, found.strip(), re.S), f"found\n{found}\nexpected\n{expected}"


def byte_renderer(template: str = "") -> Renderer:
    """The base's template, or one in a file, on a tokenizer that knows bytes and marks only."""
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *sorted(ByteLevel.alphabet())])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    source = Path(template).read_text() if template else TEMPLATE
    return Renderer(tokenizer, source, {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"})


def marked(document: Any) -> str:
    """The text of a document, its learnt parts in «»."""
    renderer, parts, start = byte_renderer(), list[str](), 0
    learnt = [bool(weight) for weight in document.weights]
    for end in range(1, len(learnt) + 1):
        if end == len(learnt) or learnt[end] != learnt[start]:
            text = renderer.decode(document.ids[start:end], skip_special=False)
            parts.append(f"«{text}»" if learnt[start] else text)
            start = end
    return "".join(parts).rstrip("\n")


def test_messages_in_the_tables_are_in_the_code() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    rows = re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs" / "errors.md").read_text(encoding="utf-8"), re.M)
    assert len(rows) > 10
    assert [row for row in rows if not all(piece.strip() in code for piece in row.split("…"))] == []


def test_the_packing_table_is_what_the_probe_is_tested_for() -> None:
    table = re.findall(
        r"^\| (packed|padded|equal) \| ((?:`\w+` ?)+) \|",
        (ROOT / "docs" / "training.md").read_text(encoding="utf-8"),
        re.M,
    )
    told = {rows: set(re.findall(r"\w+", names)) for rows, names in table}
    code = (ROOT / "tests" / "models" / "test_forward.py").read_text(encoding="utf-8")
    sets = {
        name: set(re.findall(r"\w+", names)) for name, names in re.findall(r"^(LEAKING|SPARSE) = \{(.*?)\}", code, re.M)
    }
    assert told["equal"] == sets["SPARSE"]
    assert told["padded"] == sets["LEAKING"] - sets["SPARSE"]
    assert told["packed"] == set(DECODERS) - sets["LEAKING"]


# These tests can fail


@pytest.mark.parametrize("text", ["[x](gone.md)", "[x](#no-such-heading)", "[x](docs/data.md#no-such-heading)"])
def test_a_broken_link_is_seen(text: str) -> None:
    assert len(broken_links(ROOT / "README.md", text)) == 1


@pytest.mark.parametrize(
    "text", ["`seektune trian x.yaml`", "`make tset`", "```console\n$ seektune check r.yaml --htlm x\n```"]
)
def test_a_wrong_command_is_seen(text: str) -> None:
    assert len(wrong_commands(text)) == 1


def test_a_wrong_recipe_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match="did you mean 'rank'"):
        load("tuner: {kind: lora, rnak: 8}\n")


def test_another_output_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    check_session("$ seektune --version\nseektune …\n$ echo $?\n0\n", capsys)
    with pytest.raises(AssertionError):
        check_session("$ seektune --version\nseekwell …\n", capsys)
