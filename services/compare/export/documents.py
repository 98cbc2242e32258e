"""The vendors' own records of a run, collected once and kept beside its record, while the vendors can still be read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from compose.settings import Settings, SignalPath
from loadtest.runs import Run
from services.compare import drafts
from services.compare.export.forms import DOCUMENTS, Kept
from services.compare.export.secrets import Secrets
from services.compare.readers import readers
from services.compare.readers.base import Observation, Reader, Window, unreadable
from services.compare.record import DOCUMENTS as FILE

#: What the folder is called, with an ending, in which documents are collected.
DRAFT: Final = ".documents-"
#: How much of each path is in it.
STATES: Final = "documents.json"
#: Documents that are written at a time, and characters of them: whoever reads the table holds as much at once.
GROUP: Final = 5_000
GROUP_CHARACTERS: Final = 32 << 20


def collect(settings: Settings, run: Run, tables: Path, said: Callable[[str], None] = lambda _: None) -> Mapping[SignalPath, Kept]:
    """Read every path's documents of a run into the folder of its record. What was collected before is taken as it is; of a path of
    which not all is there the vendor is asked again. A backend that cannot be read costs its own documents only, and none that
    are there already. Raises LedgerError and OSError."""
    known = states(tables)
    paths = frozenset(run.manifest.paths)
    wanted = frozenset(path for path in paths if path not in known or known[path].reason is not None)
    if not wanted:
        return known
    window = Window.of(run.entries())
    drafts.clear(tables, DRAFT)
    with drafts.folder(tables, DRAFT) as work:
        news, whole = work / "news.parquet", work / FILE
        found = _collected(settings, window, wanted, news)
        for path, kept in found.items():
            said(f"{path}: {kept.count:,} documents{f'; not all: {kept.reason}' if kept.reason else ''}")
        # Where it went worse than the last time, what there was then is more.
        old = {path: kept for path, kept in known.items() if path not in found or found[path].count < kept.count}
        with pq.ParquetWriter(whole, DOCUMENTS, compression="zstd") as writer:
            for file, chosen in ((tables / FILE, frozenset(old)), (news, frozenset(found) - frozenset(old))):
                for batch in batches(file) if file.exists() else ():
                    ours = pc.is_in(batch.column("path"), pa.array([str(path) for path in chosen], pa.string()))
                    writer.write_batch(batch.filter(ours).cast(DOCUMENTS))
        whole.replace(tables / FILE)
    every = {path: old.get(path) or found[path] for path in SignalPath if path in old or path in found}
    keep_states(tables, every)
    return every


def _collected(settings: Settings, window: Window, wanted: frozenset[SignalPath], target: Path) -> dict[SignalPath, Kept]:
    """Read the wanted paths' documents into a table."""
    secrets = Secrets.of(settings)
    with pq.ParquetWriter(target, DOCUMENTS, compression="zstd") as writer:
        sink = _Sink(writer, secrets)
        sources = readers(settings, wanted, (), documents=True)
        with ThreadPoolExecutor(max(1, len(sources))) as threads:
            results = list(threads.map(lambda reader: _read(reader, window, sink), sources))
        sink.flush()
    return {
        path: Kept(count=sink.counts.get(path, 0), reason=None if reason is None else secrets.removed(reason))
        for reader, reason in zip(sources, results, strict=True)
        for path in reader.paths & wanted
    }


def states(tables: Path) -> dict[SignalPath, Kept]:
    """How much of each path's documents is kept; empty where none were collected, or nobody can say how many."""
    try:
        written = json.loads((tables / STATES).read_bytes())
        return {SignalPath(path): Kept.model_validate(kept) for path, kept in written.items()}
    except (FileNotFoundError, ValueError, AttributeError):
        return {}


def keep_states(tables: Path, kept: Mapping[SignalPath, Kept]) -> None:
    """What :func:`states` says from now on. After the table, so that it never says more than is there."""
    draft = tables / f".{STATES}"
    draft.write_text(json.dumps({str(path): each.model_dump() for path, each in kept.items()}), encoding="utf-8")
    draft.replace(tables / STATES)


def batches(file: Path) -> Iterator[pa.RecordBatch]:
    """A table, a group at a time and not more at once, for a group of documents may be large."""
    with pq.ParquetFile(file) as table:
        for group in range(table.num_row_groups):
            yield from table.read_row_group(group).to_batches(max_chunksize=20_000)


def _read(reader: Reader, window: Window, sink: _Sink) -> str | None:
    """Everything one reader has; why not, where it fails."""
    try:
        for batch in reader.read(window, None):
            sink.add(each for each in batch.observations if each.trace_id in window.traces or each.run == window.run)
    except Exception as error:
        return unreadable(error).reason
    return None


class _Sink:
    """Takes documents from several threads and writes them group by group."""

    def __init__(self, writer: pq.ParquetWriter, secrets: Secrets) -> None:
        self._writer = writer
        self._secrets = secrets
        self._lock = Lock()
        self._rows: list[tuple[str, str | None, str, str]] = []
        self._characters = 0
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
            self._characters += sum(len(row[-1]) for row in rows)
            if len(self._rows) >= GROUP or self._characters >= GROUP_CHARACTERS:
                self._write()

    def flush(self) -> None:
        with self._lock:
            self._write()

    def _write(self) -> None:
        if self._rows:
            columns = [pa.array(column, pa.string()) for column in zip(*self._rows, strict=True)]
            self._writer.write_batch(pa.record_batch(columns, schema=DOCUMENTS))
            self._rows.clear()
            self._characters = 0
