"""What is installed for what: the lowest versions that are tested are those that are promised, and pins agree."""

import fnmatch
import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RUNNERS = {"pytest", "pytest-xdist", "hypothesis"}  # what `make lowest` installs beside the package


def pins(name: str) -> dict[str, Version]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    split = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {name.lower(): Version(version) for name, version in split}


def lower_bounds(requirements: list[str]) -> dict[str, Version]:
    """Each dependency has one lower bound and no other condition."""
    found = {}
    for requirement in map(Requirement, requirements):
        if requirement.name == PROJECT["name"]:  # an extra that takes others in
            continue
        (bound,) = requirement.specifier
        assert bound.operator == ">=", requirement
        found[requirement.name.lower()] = Version(bound.version)
    return found


def test_the_lowest_versions_are_tested() -> None:
    tested = {name: version for name, version in pins("constraints-lowest.txt").items() if name not in RUNNERS}
    assert tested == lower_bounds(PROJECT["dependencies"])


def test_our_own_versions_are_within_the_bounds() -> None:
    ours = pins("constraints.txt")
    extras = PROJECT["optional-dependencies"].values()
    promised = lower_bounds(PROJECT["dependencies"] + [line for extra in extras for line in extra])
    assert {name: ours[name] for name in promised if ours[name] < promised[name]} == {}


def test_the_same_runners_run_both() -> None:
    ours, lowest = pins("constraints.txt"), pins("constraints-lowest.txt")
    assert {name: lowest[name] for name in RUNNERS} == {name: ours[name] for name in RUNNERS}


def test_make_installs_torch_as_the_constraints_have_it() -> None:
    found = re.findall(r"torch==([\d.]+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert list(map(Version, found)) == [pins(name)["torch"] for name in ("constraints.txt", "constraints-lowest.txt")]


def test_contributing_names_every_target() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert phony is not None
    told = re.findall(r"^\$ make ([a-z]+)", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.M)
    assert sorted([*told, "quickstart", "clean"]) == sorted(phony[1].split())


def test_what_is_compiled_on_a_users_machine_is_part_of_the_package() -> None:
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = whole["tool"]["setuptools"]["package-data"]["seektune.models.kernels"]
    files = [p.name for p in (ROOT / "src/seektune/models/kernels").iterdir() if p.is_file() and p.suffix != ".py"]
    assert {"native.c", "attend.c", "numbers.h"} <= set(files)
    assert [name for name in files if not any(fnmatch.fnmatch(name, pattern) for pattern in patterns)] == []
