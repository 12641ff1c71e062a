"""Pipelines under DVC in the user's git repository: one stage of `dvc.yaml` each, inputs by `dvc add`, outputs in DVC's cache.

DVC is asked by its own command line, in a process of its own. A stage depends on its pipeline file, its inputs and the files
that its options name; so `dvc repro` runs again what changed and what follows from it, and pipelines that read each other's
outputs follow one another. Git commits are left to the user.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import passage, recipe_yaml
from . import pipeline as pipelines
from .errors import InputError, RunFailedError, problem

COMMAND = "seektune data run"
REMOTE = "seektune"


@dataclass
class Stage:
    """One pipeline as DVC sees it; paths are relative to the repository."""

    name: str
    file: str
    inputs: list[str]
    others: list[str]  # files that options of stages name
    outputs: list[str]

    @property
    def command(self) -> str:
        return f"{COMMAND} {shlex.quote(self.file)}"


@dataclass
class Versioned:
    """What `version` has done. `ran`: names of the stages that DVC ran; the others were as they had been."""

    root: Path
    stages: list[str]
    added: list[str]
    ran: list[str] = field(default_factory=list)
    staged: list[str] = field(default_factory=list)  # files that wait for `git commit`
    pushed: bool = False


def version(paths: Sequence[str | Path], remote: str | Path | None = None, folder: str | Path = ".") -> Versioned:
    """Put pipelines under DVC and bring their outputs up to date; without `paths` those that are under it already.

    Raises InputError where there is no git repository, DVC is not installed, a pipeline is missing or wrong, or an input
    lies outside of the repository; RunFailedError where DVC fails.
    """
    _check_installed()
    root = _root(Path(paths[0]).parent if paths else Path(folder))
    given = [Path(path) for path in paths or _known(root)]
    read = [pipelines.load(path) for path in given]  # raises with every mistake
    coming = {Path(one.output).resolve() for one in read} | {(root / path).resolve() for path in _outputs_before(root)}
    stages = [_stage(path, one, root, coming) for path, one in zip(given, read, strict=True)]
    made = Versioned(root, [stage.name for stage in stages], _sources(stages, root))
    if not (root / ".dvc").is_dir():
        _dvc(root, "init", "-q")
    for path in made.added:
        _dvc(root, "add", "-q", path)
    for stage in stages:
        _dvc(root, *_stage_words(stage))
    made.ran = _ran(_dvc(root, "repro", *made.stages, shown=True))
    if remote is not None:
        _dvc(root, "remote", "add", "-q", "-f", "-d", REMOTE, str(Path(remote).expanduser().absolute()))
        _dvc(root, "push", "-q")
        made.pushed = True
    made.staged = _staged(stages, made.added, root)
    return made


def _check_installed() -> None:
    if importlib.util.find_spec("dvc") is None:
        missing = "needs dvc, which is not installed"
        raise InputError(problem("data version", missing, fix="pip install 'seektune[release]'"))


def _root(folder: Path) -> Path:
    if not folder.is_dir():
        raise InputError(problem(str(folder), "no such folder", "the folder of a pipeline"))
    try:
        done = subprocess.run(["git", "rev-parse", "--show-toplevel"], cwd=folder, capture_output=True, text=True)
    except FileNotFoundError:
        raise InputError(problem("data version", "needs git, which is not installed")) from None
    if done.returncode:
        raise InputError(
            problem(str(folder.absolute()), "no git repository", "one that holds the pipeline", "run `git init` there")
        )
    return Path(done.stdout.rstrip("\n"))


def _stage(path: Path, read: pipelines.Pipeline, root: Path, coming: set[Path]) -> Stage:
    """`coming`: outputs of pipelines, which need not be there yet to be an input."""
    file = _inside(path, root)
    inputs = [_inside(found, root) for given in read.input for found in _behind(given.path, path.parent, coming)]
    others = [_inside(found, root) for found in passage.files_of_options(read.stages)]
    output = Path(read.output)
    card = pipelines.card_of(output)
    made = [output, pipelines.dropped_of(output), card, card.with_suffix(".md")]
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", str(Path(file).with_suffix(""))).strip("-") or "pipeline"
    return Stage(name, file, inputs, others, [_inside(one, root) for one in made])


def _behind(text: str, folder: Path, coming: set[Path]) -> list[Path]:
    for path in (folder / text, Path(text)):
        if path.resolve() in coming:
            return [path]
    return pipelines.files_behind(text)


def _inside(path: Path, root: Path) -> str:
    """The path as DVC names it."""
    whole = Path(os.path.abspath(path.expanduser()))
    whole = whole.parent.resolve() / whole.name
    if not whole.is_relative_to(root.resolve()):
        raise InputError(
            problem(str(path), "lies outside of the git repository", f"a file under {root}", "copy or link it there")
        )
    return whole.relative_to(root.resolve()).as_posix()


def _known(root: Path) -> Iterator[Path]:
    """The pipelines that `dvc.yaml` runs."""
    path = root / "dvc.yaml"
    written = recipe_yaml.parse(path.read_text(encoding="utf-8"), str(path)).values if path.is_file() else {}
    stages = (written or {}).get("stages") or {}
    words = [shlex.split(str(stage.get("cmd", ""))) for stage in stages.values() if isinstance(stage, dict)]
    found = [root / line[3] for line in words if line[:3] == COMMAND.split() and len(line) > 3]
    if not found:
        raise InputError(problem(str(path), "no pipeline is under DVC yet", "seektune data version PIPELINE"))
    yield from found


def _sources(stages: Sequence[Stage], root: Path) -> list[str]:
    """The inputs that no pipeline makes, and that git does not keep itself."""
    made = {output for stage in stages for output in stage.outputs}
    wanted = dict.fromkeys(path for stage in stages for path in [*stage.inputs, *stage.others] if path not in made)
    kept = set(_git(root, "ls-files", "-z", "--", *wanted).split("\0")) if wanted else set()
    outputs = _outputs_before(root)
    return [
        path
        for path in wanted
        if path not in outputs and path not in kept and not any(k.startswith(f"{path}/") for k in kept)
    ]


def _outputs_before(root: Path) -> set[str]:
    """Outputs of all stages that `dvc.yaml` holds already."""
    path = root / "dvc.yaml"
    written = recipe_yaml.parse(path.read_text(encoding="utf-8"), str(path)).values if path.is_file() else {}
    stages = ((written or {}).get("stages") or {}).values()
    outs = [out for stage in stages if isinstance(stage, dict) for out in stage.get("outs", [])]
    return {next(iter(out)) if isinstance(out, dict) else str(out) for out in outs}


def _stage_words(stage: Stage) -> list[str]:
    words = ["stage", "add", "-q", "--force", "-n", stage.name]
    for path in dict.fromkeys([stage.file, *stage.inputs, *stage.others]):
        words += ["-d", path]
    for path in stage.outputs:
        words += ["-o", path]
    return [*words, stage.command]


def _ran(said: str) -> list[str]:
    return re.findall(r"^Running stage '([^']+)'", said, re.M)


def _staged(stages: Sequence[Stage], added: Sequence[str], root: Path) -> list[str]:
    """`git add` of all that tells the version; returns what the next commit would hold."""
    own = [".dvc/config", ".dvc/.gitignore", ".dvcignore", "dvc.yaml", "dvc.lock", *(stage.file for stage in stages)]
    own += [f"{path}.dvc" for path in added]
    folders = {Path(path).parent for path in [*added, *(out for stage in stages for out in stage.outputs)]}
    own += [(one / ".gitignore").as_posix() for one in sorted(folders)]
    _git(root, "add", "--", *[path for path in dict.fromkeys(own) if (root / path).exists()])
    return _git(root, "diff", "--cached", "--name-only").split("\n")[:-1]


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise RunFailedError(problem(f"git {words[0]}", _last(done.stderr)))
    return done.stdout


def _dvc(root: Path, *words: str, shown: bool = False) -> str:
    """What DVC said. `shown`: its lines go to stderr as they come, for what takes long."""
    command = [sys.executable, "-m", "dvc", *words]
    quiet = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    process = subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=quiet
    )
    assert process.stdout is not None
    lines = []
    with process:
        for line in process.stdout:
            lines.append(line)
            if shown and line.strip():
                sys.stderr.write(line)
    if process.returncode:
        raise RunFailedError(
            problem(f"dvc {words[0]}", _last("".join(lines)), fix="see the lines above" if shown else "")
        )
    return "".join(lines)


def _last(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("ERROR", "error", "fatal"))]
    return (errors or lines or ["failed without a word"])[0]


def described(made: Versioned) -> list[str]:
    """What to tell, and what to type next."""
    lines = [f"{name}: {'ran' if name in made.ran else 'unchanged'}" for name in made.stages]
    lines += ["data pushed to the remote"] if made.pushed else []
    if not made.staged:
        return [*lines, "nothing to commit: this version is in git already"]
    message = "Data: " + ", ".join(made.stages)
    return [*lines, "staged for git: " + ", ".join(made.staged), f'next: git commit -m "{message}"',
            "an older version: git checkout COMMIT && dvc checkout"]  # fmt: skip


def as_dict(made: Versioned) -> dict[str, object]:
    return dataclasses.asdict(made) | {"root": str(made.root)}
