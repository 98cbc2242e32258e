"""The ledger: what the load generator really sent, one JSON line a request. The ground truth of a run.

A run is a folder ``<STATE_DIR>/runs/<run id>/`` with ``manifest.json`` (see :class:`loadtest.runs.Manifest`) and one
``ledger-<worker>.jsonl`` for each Locust worker. Each line is handed to the operating system by one ``write`` when its request ends,
so a killed Locust leaves every finished request, whole. Only a full disk or a power loss cuts a line in the middle; that is reported,
not guessed.

    with LedgerWriter(folder, worker=0) as ledger:
        ledger.write(entry)
    entries = read_ledger(folder)
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from pydantic import TypeAdapter, ValidationError


@dataclass(frozen=True)
class LedgerEntry:
    """One request as the load generator saw it."""

    run: str
    #: Position in the seeded order, from 0; unique in a run.
    sequence: int
    #: 32 lower-case hex digits; the first 8 are epoch seconds, so that X-Ray takes it too.
    trace_id: str
    method: str
    #: A services.cruddur.signals.Route value.
    route: str
    #: The path that was requested, with its query.
    target: str
    #: A services.cruddur.signals.Outcome value: what was asked for.
    outcome: str
    #: HTTP status, or None when there was no answer (then ``error`` says why).
    status: int | None
    #: Epoch seconds when the request was sent.
    start: float
    #: Milliseconds until the whole answer was read.
    duration_ms: float
    #: Whether the X-Ray SDK recorded this request: True, False, or None when nobody said (no answer).
    sampled_xray_sdk: bool | None
    #: Whether OpenTelemetry recorded this request.
    sampled_otel: bool | None
    error: str | None = None


_ENTRY = TypeAdapter(LedgerEntry)


class LedgerError(Exception):
    """A ledger that cannot be trusted or written. The message is one line that names the file, the place and what to do."""


class LedgerWriter:
    """Appends to one worker's ledger. Not for two processes: each worker has its own file."""

    def __init__(self, folder: Path, worker: int) -> None:
        self.path = folder / f"ledger-{worker}.jsonl"
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, entry: LedgerEntry) -> None:
        """Append one line by a single ``write``; raises LedgerError when the disk does not take all of it."""
        line = json.dumps(asdict(entry), separators=(",", ":")).encode() + b"\n"
        try:
            written = os.write(self._file, line)
        except OSError as error:
            raise LedgerError(f"{self.path} cannot be written: {error.strerror}; make room on the disk, then `make load`") from error
        if written != len(line):
            raise LedgerError(f"{self.path} took only {written} of {len(line)} bytes; make room on the disk, then `make load`")

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> LedgerWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()


def read_ledger(folder: Path) -> list[LedgerEntry]:
    """Every finished request of the run in ``folder``, in the seeded order.

    Raises LedgerError when a line is cut or is not a ledger line, belongs to another run, or repeats a sequence. A ledger that
    may lack requests is no ground truth: comparing with it would show what is missing here as stray everywhere else.
    """
    entries: dict[int, LedgerEntry] = {}
    for path in sorted(folder.glob("ledger-*.jsonl")):
        for number, entry in _lines(path):
            if entry.run != folder.name:
                raise LedgerError(f"{path} line {number} belongs to run {entry.run}, not to {folder.name}; {NEXT}")
            if entry.sequence in entries:
                raise LedgerError(f"{path} line {number} repeats request {entry.sequence}; {NEXT}")
            entries[entry.sequence] = entry
    return [entries[sequence] for sequence in sorted(entries)]


def mentions(folder: Path, trace_id: str) -> bool:
    """Whether a ledger of the run in ``folder`` has this trace id, found without reading its lines. Raises OSError."""
    needle = trace_id.encode()
    return any(needle in path.read_bytes() for path in folder.glob("ledger-*.jsonl"))


class Tally:
    """Counts the finished requests of a run that is going on. Each count reads only what the ledgers have grown by."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}
        self._lines = 0

    def finished(self) -> int:
        """Lines in the ledgers so far."""
        for path in self._folder.glob("ledger-*.jsonl"):
            with path.open("rb") as file:
                offset = file.seek(self._read.get(path, 0))
                news = file.read()
            self._read[path] = offset + len(news)
            self._lines += news.count(b"\n")
        return self._lines


def finished(folder: Path) -> int:
    """Lines in the ledgers of the run in ``folder``, counted once."""
    return Tally(folder).finished()


#: What to do about a ledger that cannot be used: its requests cannot be had back.
NEXT = "this run cannot be compared: `make load` makes a new one, `make compare RUN=<id>` takes an older one"


def _lines(path: Path) -> Iterator[tuple[int, LedgerEntry]]:
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise LedgerError(f"{path} cannot be read: {error.strerror}; {NEXT}") from error
    tail = lines.pop()
    if tail:
        raise LedgerError(f"{path} line {len(lines) + 1} is cut in the middle (a full disk or a power loss); {NEXT}")
    for number, line in enumerate(lines, start=1):
        try:
            yield number, _ENTRY.validate_json(line, strict=True)
        except ValidationError as error:
            reason = error.errors()[0]
            where = ".".join(str(part) for part in reason["loc"])
            raise LedgerError(
                f"{path} line {number} is not a ledger line ({where + ': ' if where else ''}{reason['msg']}); {NEXT}"
            ) from None
