"""The command line: verbs found by file, one line an error, and exit codes. Own verbs stand in for what fails."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from seektune import __version__, cli, kinds
from seektune.commands import completion, new, train
from seektune.errors import RecipeError
from seektune.recipe import load

HEAVY = "torch", "transformers", "peft", "numpy", "pyarrow"


def python(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60)


@pytest.fixture
def verbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A package with one verb, `fail`, which raises what its argument says."""
    folder = tmp_path / "own_verbs"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "_helper.py").write_text('"""No verb."""')
    (folder / "fail.py").write_text(
        '"""Fail as told.\n\nMore."""\nfrom seektune import errors\nimport errno\n'
        "def arguments(parser):\n    parser.add_argument('what')\n    parser.add_argument('--loudly', action='store_true')\n"
        "def run(options):\n    result = eval(options.what)\n"
        "    if isinstance(result, BaseException):\n        raise result\n    return result\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delitem(sys.modules, "own_verbs", raising=False)
    monkeypatch.delitem(sys.modules, "own_verbs.fail", raising=False)
    return importlib.import_module("own_verbs")


# Help


@pytest.mark.parametrize(
    "words", [["--help"], [], ["kinds"], ["kinds", "tuner", "lora"], ["train", "--help"], ["--version"]]
)
def test_nothing_heavy_is_imported(words: list[str]) -> None:
    code = (
        "import sys\nfrom seektune.cli import main\ncode = main(sys.argv[1:])\n"
        f"print(code, [m for m in {HEAVY[:3]} if m in sys.modules], file=sys.stderr)"
    )
    done = python(code, *words)
    assert done.stderr == "0 []\n"
    assert done.stdout


def test_help_does_not_import_the_verbs() -> None:
    code = "import sys\nfrom seektune.cli import main\nmain(['--help'])\nprint([m for m in sys.modules if m.startswith('seektune.commands.') and '._' not in m], file=sys.stderr)"
    assert python(code).stderr == "[]\n"


def test_help_lists_every_verb_with_its_first_line(verbs: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"], verbs) == 0
    assert "\n  fail  Fail as told.\n" in capsys.readouterr().out
    assert cli.verbs(verbs) == {"fail": "Fail as told."}
    assert list(cli.verbs())[:4] == ["new", "data", "check", "train"]
    assert all(line.endswith(".") for line in cli.verbs().values())


@pytest.mark.parametrize("verb", sorted(cli.verbs()))
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([verb, "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: seektune {verb} ")
    assert cli.verbs()[verb] in said


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"seektune {__version__}\n"


def test_as_a_module_and_as_a_program(tmp_path: Path) -> None:
    for start in ([sys.executable, "-m", "seektune"], [str(Path(sys.executable).parent / "seektune")]):
        done = subprocess.run([*start, "trian"], capture_output=True, text=True, cwd=tmp_path, timeout=60)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "error: seektune: unknown verb 'trian'; did you mean 'train'?\n"


# Errors


def failing(what: str, package: ModuleType, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = cli.main(["fail", what], package)
    said = capsys.readouterr()
    assert said.out == ""
    return code, said.err


@pytest.mark.parametrize(
    ("what", "code", "said"),
    [
        ("errors.RecipeError(['a: one', 'b: two'])", 2, "error: a: one\nerror: b: two\n"),
        ("errors.RefusedError('not met')", 1, "error: not met\n"),
        ("errors.StoppedError('saved')", 3, "error: saved\n"),
        ("errors.RunFailedError('full')", 4, "error: full\n"),
        ("KeyboardInterrupt()", 130, "\nerror: stopped\n"),
        ("OSError(errno.EROFS, 'Read-only file system', 'runs/a')", 2, "error: runs/a: Read-only file system\n"),
        ("OSError(errno.ENOSPC, 'No space left on device', 'runs/a')", 4, "error: runs/a: No space left on device\n"),
        ("1", 1, ""),
        ("None", 0, ""),
    ],
)
def test_exit_codes(what: str, code: int, said: str, verbs: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(what, verbs, capsys) == (code, said)


def test_a_bug_of_ours_is_one_line_and_a_kept_traceback(
    verbs: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = failing("ZeroDivisionError('by\\nnothing')", verbs, capsys)
    kept = next(tmp_path.glob("seektune-traceback-*.txt"))
    assert code == 4
    assert said == (
        "error: this is a bug of seektune (ZeroDivisionError: by); "
        f"please report it with the full traceback, which is in {kept}\n"
    )
    assert "fail.py" in kept.read_text()


def test_debug_prints_the_traceback(
    verbs: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEEKTUNE_DEBUG", "1")
    assert "Traceback" in failing("KeyError('x')", verbs, capsys)[1]
    assert "Traceback" in failing("errors.DataError('x')", verbs, capsys)[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fial"], "error: seektune: unknown verb 'fial'; did you mean 'fail'?\n"),
        (["--loudly"], "error: seektune: unknown option '--loudly'; known: fail\n"),
        (["_helper"], "error: seektune: unknown verb '_helper'; known: fail\n"),
        (["fail", "1", "--loudyl"], "error: seektune fail: unknown argument '--loudyl'; did you mean '--loudly'?\n"),
        (["fail", "1", "--loud"], "error: seektune fail: unknown argument '--loud'; did you mean '--loudly'?\n"),
        (["fail", "1", "2"], "error: seektune fail: unknown argument '2'; remove it\n"),
        (["fail"], "error: seektune fail: the following arguments are required: what; `seektune fail --help` tells what it takes\n"),
    ],
)  # fmt: skip
def test_wrong_words(words: list[str], said: str, verbs: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words, verbs) == 2
    assert capsys.readouterr().err == said


def test_a_closed_pipe_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m seektune kinds | head -1", shell=True, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    assert done.stdout.endswith(":\n")


# train and check


def test_options_may_stand_between_settings() -> None:
    parser = cli.parser_of("train", train)
    options = parser.read(["r.yaml", "a.b=1", "--json", "c=2"])
    assert (options.recipe, options.settings, options.json, options.resume) == ("r.yaml", ["a.b=1", "c=2"], True, None)
    options = parser.read(["--resume", "runs/a"])
    assert (options.recipe, options.settings, options.resume) == (None, [], "runs/a")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train"], "error: seektune train: no recipe; expected a recipe or --resume RUN; `seektune new` writes a recipe\n"),
        (["train", "--resume", "runs/a", "x=1"], "error: seektune train: 'x=1' beside --resume; expected --resume RUN alone; a resumed run keeps its recipe; `model.continue=RUN` in a new recipe starts from its result\n"),
        (["train", "--resume", "gone"], "error: gone: no such folder; expected the folder of a run; `seektune runs` lists them\n"),
        (["train", "gone.yaml"], "error: gone.yaml: no such file; expected a recipe; `seektune new` writes a recipe\n"),
        (["check", "gone.yaml"], "error: gone.yaml: no such file; expected a recipe; `seektune new` writes a recipe\n"),
        (["train", "bad.yaml", "seed=x"], "error: bad.yaml:1: model.pth: unknown key; did you mean 'path'?\nerror: bad.yaml:3: objective: missing; expected a mapping with `kind`: one of classify, sft, tag\nerror: argument 2: seed: found 'x'; expected integer\n"),
    ],
)  # fmt: skip
def test_wrong_input_starts_nothing(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if "bad.yaml" in words:
        Path("bad.yaml").write_text("model: {pth: base:tiny}\ndata: {train: bad.yaml}\nobjective:\ntuner: full\n")
        said = said.replace("missing; expected a mapping", "found null; expected a mapping")
    before = sorted(os.listdir())
    assert cli.main(words) == 2
    assert capsys.readouterr().err == said
    assert sorted(os.listdir()) == before


# new


@pytest.mark.parametrize("story", sorted(new.STORIES))
def test_new_writes_a_recipe_of_defaults_that_can_be_uncommented(
    story: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.jsonl").write_text("{}")
    Path("texts.jsonl").write_text("{}")
    assert cli.main(["new", "--story", story, "mine.yaml"]) == 0
    assert capsys.readouterr().out == ""
    text = Path("mine.yaml").read_text()
    head, options = text.split("version: 1\n")
    lines = [line.replace("# ", "", 1) if line.lstrip().startswith("# ") else line for line in options.splitlines()]
    assert sum(old != line for old, line in zip(options.splitlines(), lines, strict=True)) > 20
    Path("all.yaml").write_text("\n".join(lines))
    mine = load("mine.yaml")
    assert load("all.yaml", ["name=mine"]) == mine
    written = set(options.replace("# ", "").replace("- ", "").split())
    for section in (mine, mine.model, mine.data, mine.train, mine.tuner, mine.optimizer):
        assert {f"{name}:" for name, *_ in kinds.options(type(section))} <= written
    assert "seektune check mine.yaml" in head


def test_new_never_overwrites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text("mine")
    assert cli.main(["new"]) == 2
    assert (
        capsys.readouterr().err == "error: recipe.yaml: exists; expected a free name; seektune new --story sft FILE\n"
    )
    assert Path("recipe.yaml").read_text() == "mine"
    assert cli.main(["new", "gone/recipe.yaml"]) == 2
    assert capsys.readouterr().err == "error: gone/recipe.yaml: cannot be written (No such file or directory)\n"


# completion


def bash_words(*line: str) -> list[str]:
    """What bash offers for the last word of a line."""
    script = completion.bash(*completion._described())
    ask = 'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _seektune; printf \'%s\\n\' "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", f"{script}\n{ask}", "bash", "seektune", *line], capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_offers_verbs_options_and_choices() -> None:
    assert bash_words("tr") == ["train"]
    assert set(cli.verbs()) <= set(bash_words(""))
    assert bash_words("train", "--") == ["--help", "--resume", "--json"]
    assert bash_words("new", "--story", "c") == ["classify"]
    assert bash_words("completion", "") == ["bash", "zsh", "fish"]
    assert bash_words("train", "rec") == []  # then bash itself offers files


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_know_every_verb_and_option(shell: str) -> None:
    verbs, options = completion._described()
    script = {"zsh": completion.zsh, "fish": completion.fish}[shell](verbs, options)
    for verb in verbs:
        assert verb in script
        for option in options[verb]:
            assert (f"-l {option.flag[2:]}" if shell == "fish" else option.flag) in script
    assert script.count("'") % 2 == 0
    if shutil.which(shell):
        done = subprocess.run([shell, "-n", "-c", script], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


def test_completion_names_the_shells(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", "bash"]) == 0
    assert "complete -o default -F _seektune seektune" in capsys.readouterr().out
    assert cli.main(["completion", "tcsh"]) == 2
    assert "invalid choice: 'tcsh'" in capsys.readouterr().err


def test_verbs_read_their_words_without_abbreviations() -> None:
    with pytest.raises(RecipeError, match="unknown argument '--stor'"):
        cli.parser_of("new", new).read(["--stor", "sft"])
