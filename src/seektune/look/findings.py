"""What a person should know first: one line each, with file and line, what was found and what helps."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from ..data.store import place_name
from ..errors import problem
from .fields import Fields

FEW = 0.5  # of the values of a field: below it a kind of value is the odd one


def findings(profile: dict[str, Any], fields: dict[str, Fields], label_field: dict[str, str]) -> list[str]:
    """In the order of what hurts most."""
    return [
        *_unfit(profile), *_mended(profile), *_mixed(fields), *_label_kinds(fields, label_field), *_labels(profile, label_field),
        *_alike(profile), *_empty(fields), *_suspects(profile),
    ]  # fmt: skip


def _unfit(profile: dict[str, Any]) -> list[str]:
    return [
        f"{one['text']} ({one['count']:,} such rows)" if one["count"] > 1 else one["text"] for one in profile["unfit"]
    ]


def _mended(profile: dict[str, Any]) -> list[str]:
    return [
        problem(f"{file['file']}:{told['first'][0]}", what, fix=f"{told['lines']:,} lines" if told["lines"] > 1 else "")
        for file in profile["files"]
        for what, told in file["mended"].items()
    ]


def _mixed(fields: dict[str, Fields]) -> list[str]:
    """Values of another kind than most of a field: an object where a text belongs."""
    told = []
    for file, held in fields.items():
        for name in held.names():
            kinds = {kind: count for kind, count in held.of(name).items() if kind != "nothing"}
            for kind, count in list(kinds.items())[1:]:
                where = place_name(file, held.first_of(name, kind))
                most = next(iter(kinds))
                if count < FEW * sum(kinds.values()):
                    told.append(
                        problem(
                            where, f"`{name}` is {_a(kind)} in {count:,} rows", f"{most}, as in {kinds[most]:,} others"
                        )
                    )
    return told


def _a(kind: str) -> str:
    return kind if kind in ("text", "yes or no") else f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _label_kinds(fields: dict[str, Fields], label_field: dict[str, str]) -> list[str]:
    """Numbers as labels in one file, text in another: the same class under two names."""
    kinds = defaultdict[str, list[str]](list)
    for file, name in label_field.items():
        if of_file := fields[file].of(name):
            kinds[next(iter(of_file))].append(file)
    if len(kinds) < 2:
        return []
    found = "; ".join(f"{_a(kind)} in {', '.join(files)}" for kind, files in kinds.items())
    first = next(iter(label_field))
    return [problem(first, f"labels are {found}", "one kind in all files", "write the names of the classes in each")]


def _labels(profile: dict[str, Any], label_field: dict[str, str]) -> list[str]:
    counts = profile["labels"]["counts"]
    told = []
    where = ", ".join(label_field)
    if single := [name for name, count in counts.items() if count == 1]:
        shown = ", ".join(map(repr, single[:5])) + (" …" if len(single) > 5 else "")
        told.append(problem(where, f"{len(single):,} classes with one record ({shown})", "some records of each", "add some, or leave the class out"))  # fmt: skip
    sizes = sorted(counts.values())
    if len(sizes) > 1 and sizes[-1] >= 20 * sizes[0] > 20:
        told.append(problem(where, f"the largest class has {sizes[-1]:,} records, the smallest {sizes[0]:,}", fix="see the stage `stratify`"))  # fmt: skip
    return told


def _alike(profile: dict[str, Any]) -> list[str]:
    told, found = [], profile["duplicates"]
    for kind, what, fix in (
        (
            "in several files",
            "texts stand in several files",
            "see the stage `decontaminate` where one is for evaluation",
        ),
        ("of several labels", "texts have several labels", "correct them; see the stage `filter_noise`"),
        ("exact", "records are exact copies of others", "see the stage `deduplicate`"),
        ("near, equal ones aside", "sampled records are nearly the same as others", "see the stage `deduplicate`"),
    ):
        if one := found[kind]["first"]:
            number = found[kind]["clusters" if kind.endswith(("files", "labels")) else "spare"]
            told.append(
                problem(one[0]["places"][0], f"{number:,} {what} (first: {', '.join(one[0]['places'][:3])})", fix=fix)
            )
    told += [
        problem(one["place"], f"{one['count']:,} sampled texts share the {one['as']} {one['text'][:60]!r}")
        for one in found["frames"][:3]
    ]
    return told


def _empty(fields: dict[str, Fields]) -> list[str]:
    return [
        problem(place_name(file, held.first_empty[name]), f"`{name}` is empty in {count:,} of {held.rows:,} rows")
        for file, held in fields.items()
        for name, count in held.empty.items()
    ]


def _suspects(profile: dict[str, Any]) -> list[str]:
    return [problem(one["places"][0], f"{one['what']}: {one['count']:,} records") for one in profile["suspicious"]]
