"""A file that says which process is at something, true for as long as that process lives: the system releases its lock however it ends.

    held = take(folder / "load.pid")      # keep it: closed, or with the process's end, it is free again
    holder(folder / "load.pid")           # the pid of who has it, None when nobody does

A pid alone would not do: a killed process leaves its file, and its number may be another's by then.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

#: Seconds in which a look of somebody else's (:func:`holder`), or the writing of the pid, is over.
_MOMENT = 0.5


class Taken(Exception):
    """Another process has the file."""


class Held:
    """The file while this process has it. Its first line is the pid; more may be written behind it."""

    def __init__(self, path: Path, file: int) -> None:
        self.path = path
        self._file = file

    def write(self, line: bytes) -> None:
        """Append one whole line, at once. Raises OSError."""
        os.write(self._file, line + b"\n")

    def close(self) -> None:
        os.close(self._file)


def take(path: Path) -> Held:
    """Make ``path`` anew and have it. Raises Taken when another process does, OSError when it cannot be written."""
    # Not inherited by what this process starts (PEP 446), so none of that holds it longer.
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    deadline = time.monotonic() + _MOMENT
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(file)
                raise Taken(str(path)) from None
            time.sleep(0.01)
    os.ftruncate(file, 0)
    os.write(file, b"%d\n" % os.getpid())
    return Held(path, file)


def holder(path: Path) -> int | None:
    """The pid of the process that has ``path``; None when nobody has, or there is no such file."""
    try:
        file = path.open("rb")
    except OSError:
        return None
    deadline = time.monotonic() + _MOMENT
    with file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                line = file.readline()
                if line.endswith(b"\n") and line.strip().isdigit():
                    return int(line)
            else:
                return None
            if time.monotonic() > deadline:
                return None
            time.sleep(0.01)
