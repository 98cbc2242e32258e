"""Reads what the Collector recorded, one message at a time.

    for file in files(folder, "traces"):
        with file:
            for message in file.messages():
                TracesData.FromString(message)
            file.damaged                # bytes that are no whole message

A file is what the file exporter v0.152 writes with ``format: proto`` and ``compression: zstd``: each message is its length, four bytes,
big-endian, and one zstd frame of that length (README of the file exporter, "File Format"; RFC 8878, "Zstandard Frames"). The exporter
writes a message by one ``write`` when it comes, so a process that is killed leaves whole messages. A full disk cuts one in the middle and
the next stands right behind the stump; a power loss may leave anything. So what is no message is passed over until the next that is
whole: a frame ends with a checksum of its content.

Memory is bounded by the largest message, whatever the size of the file.
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Literal

import zstandard

Signal = Literal["traces", "logs", "metrics"]
SIGNALS: Final[tuple[Signal, ...]] = ("traces", "logs", "metrics")

#: Bytes of a message, written and read back. The Collector accepts 32 MiB over gRPC and less over HTTP.
MAX_MESSAGE = 64 << 20

_MAGIC = b"\x28\xb5\x2f\xfd"
_LENGTH = 4


class RecordingError(Exception):
    """A recording that cannot be read. The message is one line that names the file and the next command."""


@dataclass(frozen=True)
class Message:
    """One whole message: where the next one begins, and its content."""

    end: int
    content: bytes


class RecordedFile:
    """One file as it is when it is opened: what is appended later, and a rotation that renames it, change nothing here."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self.path = path
        self._file: BinaryIO = path.open("rb")
        about = os.fstat(self._file.fileno())
        self.size = about.st_size
        #: Epoch seconds of the last write.
        self.modified = about.st_mtime
        #: The file itself, whatever its name.
        self.identity = (about.st_dev, about.st_ino)
        #: Bytes that the last reading passed over.
        self.damaged = 0
        #: Whether the file ends in the middle of a message.
        self.cut = False

    def messages(self) -> Iterator[bytes]:
        """The content of every whole message, in the order of writing. May be called again."""
        self.damaged, self.cut = 0, False
        if self.size == 0:
            return
        with mmap.mmap(self._file.fileno(), self.size, access=mmap.ACCESS_READ) as data:
            at = 0
            while at < self.size:
                message = _message(data, at, self.size)
                if message is None:
                    message, begin = _next(data, at + 1, self.size)
                    self.damaged += begin - at
                    self.cut = message is None
                if message is None:
                    return
                yield message.content
                at = message.end

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> RecordedFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()


def files(folder: Path, signal: Signal, begin: float = 0.0, end: float = float("inf")) -> list[RecordedFile]:
    """The files of one signal that may hold what came from ``begin`` to ``end`` (epoch seconds), oldest first, open.

    None where nothing was recorded. Raises RecordingError.
    """
    found: dict[tuple[int, int], RecordedFile] = {}
    try:
        # The newest first: if it is rotated meanwhile, it is found once more, under its new name, and not missed.
        for path in (folder / f"{signal}.otlp", *_rotated(folder, signal)):
            try:
                file = RecordedFile(path)
            except FileNotFoundError:  # Nothing came yet, or rotation has just removed the oldest.
                continue
            if file.identity in found:
                file.close()
            else:
                found[file.identity] = file
        chosen = []
        previous = 0.0
        for file in sorted(found.values(), key=lambda each: each.modified):
            # A file holds what was written between the last write to the one before and its own last.
            if file.modified >= begin and previous <= end:
                chosen.append(file)
            else:
                file.close()
            previous = file.modified
        return chosen
    except OSError as error:
        for file in found.values():
            file.close()
        raise RecordingError(f"{error.filename or folder} cannot be read: {error.strerror}; see `make doctor`") from error


def _rotated(folder: Path, signal: Signal) -> list[Path]:
    """``traces-2026-01-01T12-00-00.000-size.otlp`` and its like (timberjack, ``backupNameWithResolved``)."""
    name = re.compile(rf"{signal}-\d{{4}}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d+-\w+\.otlp")
    return [path for path in folder.iterdir() if name.fullmatch(path.name)] if folder.is_dir() else []


def _message(data: mmap.mmap, at: int, size: int) -> Message | None:
    """The message that begins at ``at``; None where there is no whole one."""
    begin = at + _LENGTH
    length = int.from_bytes(data[at:begin], "big")
    end = begin + length
    if not len(_MAGIC) <= length <= MAX_MESSAGE or end > size or data[begin : begin + len(_MAGIC)] != _MAGIC:
        return None
    frame = data[begin:end]
    try:
        # Before memory is taken for it. None is written of no content, and of such a frame the checksum is not looked at.
        size_of_content = zstandard.frame_content_size(frame)
        if size_of_content > MAX_MESSAGE or size_of_content == 0:
            return None
        content = zstandard.ZstdDecompressor().decompress(frame, max_output_size=MAX_MESSAGE, allow_extra_data=False)
    except zstandard.ZstdError:
        return None
    return Message(end, content)


def _next(data: mmap.mmap, at: int, size: int) -> tuple[Message | None, int]:
    """The first whole message that begins at ``at`` or later, and where it begins; the file's end where there is none."""
    frame = at
    while (frame := data.find(_MAGIC, frame)) >= 0:
        if frame - _LENGTH >= at and (message := _message(data, frame - _LENGTH, size)) is not None:
            return message, frame - _LENGTH
        frame += 1
    return None, size
