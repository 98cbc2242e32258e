"""A folder for work that is not finished, which the next one of its kind removes when its owner was killed.

    drafts.clear(runs, ".import-")
    with drafts.folder(runs, ".import-") as draft:
        ...
        draft.rename(target)        # or it is removed at the end

Its owner has it locked (flock(2)), and the system releases that lock however a process ends. So what nobody has was left behind, and
what somebody has is being worked on, by whichever process.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_ENDING: Final = re.compile(r"[0-9a-f]{8}")


@contextmanager
def folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder in ``parent`` whose name begins with ``prefix``; removed at the end, where it still has that name. Raises OSError."""
    with kept(parent, prefix) as draft:
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def kept(parent: Path, prefix: str) -> Iterator[Path]:
    """The same, which stays when all went well: from then on nobody has it, so that who clears has to say that it is kept."""
    draft, lock = _made(parent, prefix)
    try:
        yield draft
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    finally:
        os.close(lock)


def clear(parent: Path, prefix: str, is_kept: Callable[[str], bool] = lambda _: False) -> None:
    """Remove the folders of this kind that nobody works on any more. ``is_kept``: whether one is to stay, by its name; it is asked when
    nobody has the folder any more, so that it knows what its owner did last. One that cannot be removed stays: it is in nobody's way."""
    with suppress(OSError):
        for path in list(parent.iterdir()):
            ours = path.name.startswith(prefix) and _ENDING.fullmatch(path.name[len(prefix) :])
            if ours and path.is_dir() and not path.is_symlink():
                with suppress(OSError):
                    _remove(path, is_kept)


def _made(parent: Path, prefix: str) -> tuple[Path, int]:
    while True:
        draft = parent / f"{prefix}{secrets.token_hex(4)}"
        try:
            draft.mkdir()
            lock = os.open(draft, os.O_RDONLY | os.O_DIRECTORY)
        except (FileExistsError, FileNotFoundError):
            if not parent.is_dir():
                raise
            continue
        # Where a file system locks no folders, nobody can have one to themselves, and so nobody clears any.
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        # Somebody may have taken it for left behind in the moment before it was locked.
        with suppress(FileNotFoundError):
            if os.path.samestat(draft.stat(), os.fstat(lock)):
                return draft, lock
        os.close(lock)


def _remove(path: Path, is_kept: Callable[[str], bool]) -> None:
    """Raises BlockingIOError where somebody has it."""
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not is_kept(path.name):
            shutil.rmtree(path)
    finally:
        os.close(lock)
