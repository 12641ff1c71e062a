"""Writing that loses nothing: aside first, flushed, then renamed. Every write of a run goes through this file.

`before` is a seam: tests set it to be called ahead of each write, sync, rename and removal, and kill or fail there.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from .errors import InputError

before: Callable[[str, Path], None] = lambda operation, path: None  # noqa: E731  (a seam, replaced by tests)

DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.EACCES, errno.EPERM}


def refused_by_disk(error: BaseException | None) -> str | None:
    """Why the disk took no more, where that is behind an exception (libraries tell it in exceptions of their own); else None."""
    while error is not None:
        told = re.search(r"\(os error (\d+)\)", str(error))
        number = error.errno if isinstance(error, OSError) else int(told[1]) if told else None
        if number in DISK:
            return os.strerror(number)
        error = error.__cause__ or error.__context__
    return None


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` in one step; a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    before("write", path)
    try:
        with open(aside, "wb") as file:
            file.write(data)
            sync(file)
        before("rename", path)
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n")


def read_json(path: Path) -> Any:
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def append_line(path: Path, value: dict[str, Any]) -> None:
    """One JSON object a line. A line cut short by a crash is dropped by `read_lines` and overwritten by nobody."""
    before("append", path)
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a JSONL file that we write; a torn last line is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").split(
        "\n"
    ):  # not splitlines: U+2028 may stand in a text
        with contextlib.suppress(ValueError):
            rows.append(json.loads(line))
    return rows


def sync(file: IO[Any]) -> None:
    file.flush()
    before("sync", Path(file.name))
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Fill a folder aside and rename it to `path` (replacing an old one) once all its files are on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    before("mkdir", path)
    aside.mkdir()
    try:
        yield aside
        for file in sorted(p for p in aside.rglob("*") if p.is_file()):
            before("sync", file)
            with open(file, "rb") as opened:
                os.fsync(opened.fileno())
        sync_folder(aside)
        replace_folder(aside, path)
    except Exception:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def replace_folder(aside: Path, path: Path) -> None:
    """Rename `aside` to `path`. An old folder is moved out of the way first; `restore_folder` undoes a crash between."""
    old = path.with_name(f".{path.name}.old")
    if path.exists():
        shutil.rmtree(old, ignore_errors=True)
        before("rename", old)
        os.replace(path, old)
    before("rename", path)
    os.replace(aside, path)
    sync_folder(path.parent)
    remove(old)


def restore_folder(path: Path) -> None:
    """After a crash inside `replace_folder`: bring the old folder back where the new one never arrived."""
    old = path.with_name(f".{path.name}.old")
    if old.exists() and not path.exists():
        os.replace(old, path)


def remove(path: Path) -> None:
    """Remove a file or folder. A folder is renamed first, so that a crash leaves no half of it under its name."""
    if not path.exists():
        return
    before("remove", path)
    if path.is_dir():
        gone = path.with_name(f".{path.name.lstrip('.')}.gone")
        shutil.rmtree(gone, ignore_errors=True)
        os.replace(path, gone)
        shutil.rmtree(gone, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sha256(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def sha256_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """One process at a time writes a run. The lock goes with the process, so a kill leaves none behind.

    Raises InputError, naming the process, when another one holds it.
    """
    path = folder / ".lock"
    with open(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise InputError(
                f"{folder}: another process (pid {owner}) is writing this run; wait for it, or stop it"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
