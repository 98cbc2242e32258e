"""The vendors' own records of a run, collected once and kept beside its record, while the vendors can still be read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from compose.settings import Settings, SignalPath
from loadtest.runs import Run
from services.compare.export.forms import DOCUMENTS, Kept
from services.compare.export.secrets import Secrets
from services.compare.readers import readers
from services.compare.readers.base import SLACK, Observation, Reader, Unreadable, Window, error_line
from services.compare.record import DOCUMENTS as FILE

#: How much of each path is in it.
STATES: Final = "documents.json"
#: Documents that are written at a time.
GROUP: Final = 5_000


def collect(settings: Settings, run: Run, tables: Path, said: Callable[[str], None] = lambda _: None) -> Mapping[SignalPath, Kept]:
    """Read every path's documents of a run into the folder of its record. What was collected before is taken as it is where all of
    it is there. A backend that cannot be read costs its own documents only. Raises LedgerError and OSError."""
    known = states(tables)
    if known and all(kept.reason is None for kept in known.values()):
        return known
    entries = run.entries()
    window = Window(
        run.id,
        min(entry.start for entry in entries) - SLACK,
        max(entry.start + entry.duration_ms / 1000 for entry in entries) + SLACK,
        frozenset(entry.trace_id for entry in entries),
    )
    paths = frozenset(run.manifest.paths)
    draft = tables / f".{FILE}"
    with pq.ParquetWriter(draft, DOCUMENTS, compression="zstd") as writer:
        sink = _Sink(writer, Secrets.of(settings))
        sources = readers(settings, paths, (), documents=True)
        with ThreadPoolExecutor(max(1, len(sources))) as threads:
            results = list(threads.map(lambda reader: _read(reader, window, sink), sources))
        sink.flush()
    found = {
        path: Kept(count=sink.counts.get(path, 0), reason=reason)
        for reader, reason in zip(sources, results, strict=True)
        for path in reader.paths & paths
    }
    for path, kept in found.items():
        said(f"{path}: {kept.count:,} documents{f'; not all: {kept.reason}' if kept.reason else ''}")
    (tables / STATES).write_text(json.dumps({str(path): kept.model_dump() for path, kept in found.items()}))
    draft.replace(tables / FILE)
    return found


def states(tables: Path) -> dict[SignalPath, Kept]:
    """How much of each path's documents is kept; empty where none were collected."""
    try:
        written = json.loads((tables / STATES).read_bytes())
    except FileNotFoundError:
        return {}
    return {SignalPath(path): Kept.model_validate(kept) for path, kept in written.items()}


def _read(reader: Reader, window: Window, sink: _Sink) -> str | None:
    """Everything one reader has; why not, where it fails."""
    try:
        for batch in reader.read(window, None):
            sink.add(each for each in batch.observations if each.trace_id in window.traces or each.run == window.run)
    except Unreadable as error:
        return error.reason
    except Exception as error:
        return f"the answer could not be understood ({type(error).__name__}: {error_line(error)})"
    return None


class _Sink:
    """Takes documents from several threads and writes them group by group."""

    def __init__(self, writer: pq.ParquetWriter, secrets: Secrets) -> None:
        self._writer = writer
        self._secrets = secrets
        self._lock = Lock()
        self._rows: list[tuple[str, str | None, str, str]] = []
        self.counts: dict[SignalPath, int] = {}

    def add(self, observations: Any) -> None:
        each: Observation
        rows = []
        counts: dict[SignalPath, int] = {}
        for each in observations:
            text = self._secrets.removed(json.dumps(each.document, ensure_ascii=False, default=str))
            # Half a surrogate pair is JSON, but no Unicode text.
            rows.append((str(each.path), each.trace_id, each.id, text.encode("utf-8", "replace").decode()))
            counts[each.path] = counts.get(each.path, 0) + 1
        with self._lock:
            self._rows += rows
            for path, count in counts.items():
                self.counts[path] = self.counts.get(path, 0) + count
            if len(self._rows) >= GROUP:
                self._write()

    def flush(self) -> None:
        with self._lock:
            self._write()

    def _write(self) -> None:
        if self._rows:
            columns = [pa.array(column, pa.string()) for column in zip(*self._rows, strict=True)]
            self._writer.write_batch(pa.record_batch(columns, schema=DOCUMENTS))
            self._rows.clear()
