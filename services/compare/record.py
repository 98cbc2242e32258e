"""The record of a run: what a compare found, kept so that it can be looked at again without any vendor.

Below the run's folder (``<STATE_DIR>/runs/<run id>/``):

``record.json``
    the report document of :meth:`services.compare.report.Report.document` without its lists of findings and strays, beside ``version``,
    ``made`` (epoch seconds) and ``folder``, the name of the folder with the tables. Replaced at once: a reader sees one record or the next.
``record-<hex>/``
    five tables in Parquet, readable by anything that reads Parquet:

    ================  ================================================================================================================
    requests          the ledger: sequence, trace_id, method, route, target, outcome, status, start (epoch seconds), duration_ms,
                      sampled_xray_sdk, sampled_otel, error
    observations      what was read: path, kind, service, name, id, trace_id, parent_id, start, duration_ms, ingested_at, error,
                      deliveries, units (see :class:`services.compare.readers.base.Observation`)
    outcomes          one row a request and path: sequence, path, verdict, duration_ms, visible_s, error, units, absent, extra (lists
                      of words), why (empty where it is as expected)
    strays            path, what, trace_id, id, why
    undeclared        path, kind, place, name, documents, requests, example, trace_id, same_as (a list): what arrived beside what is
                      declared (:mod:`services.compare.undeclared`). ``undeclared`` of ``record.json`` says of how many requests and
                      documents; a record that was made before there was such a table has neither
    ================  ================================================================================================================

    record = Record.open(run.folder)
    record.rows("SELECT verdict, count(*) AS n FROM outcomes WHERE path = ? GROUP BY verdict", ["xray/sdk"])
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from loadtest.ledger import LedgerEntry
from loadtest.runs import IMPORTED
from services.compare import drafts
from services.compare.report import Report
from services.compare.undeclared import Found
from services.compare.verdicts import Comparison

#: Version of the form described above. A newer one is refused, an older one is told apart by it.
VERSION: Final = 1
#: The file that names the record.
RECORD: Final = "record.json"
#: What the folder of a record's tables is called, with eight hex digits behind.
FOLDER_PREFIX: Final = "record-"
_FOLDER: Final = re.compile(rf"{FOLDER_PREFIX}[0-9a-f]{{8}}")
#: The vendors' own records, which an export collects (:mod:`services.compare.export.documents`).
DOCUMENTS: Final = "documents.parquet"
#: What arrived beside what is declared.
UNDECLARED_TABLE: Final = "undeclared.parquet"
TABLES: Final = ("requests", "observations", "outcomes", "strays")

REQUESTS: Final = pa.schema(
    [
        ("sequence", pa.int32()),
        ("trace_id", pa.string()),
        ("method", pa.string()),
        ("route", pa.string()),
        ("target", pa.string()),
        ("outcome", pa.string()),
        ("status", pa.int16()),
        ("start", pa.float64()),
        ("duration_ms", pa.float64()),
        ("sampled_xray_sdk", pa.bool_()),
        ("sampled_otel", pa.bool_()),
        ("error", pa.string()),
    ]
)
OBSERVATIONS: Final = pa.schema(
    [
        ("path", pa.string()),
        ("kind", pa.string()),
        ("service", pa.string()),
        ("name", pa.string()),
        ("trace_id", pa.string()),
        ("id", pa.string()),
        ("parent_id", pa.string()),
        ("start", pa.float64()),
        ("duration_ms", pa.float64()),
        ("ingested_at", pa.float64()),
        ("error", pa.bool_()),
        ("deliveries", pa.int32()),
        ("units", pa.int64()),
    ]
)
OUTCOMES: Final = pa.schema(
    [
        ("sequence", pa.int32()),
        ("path", pa.string()),
        ("verdict", pa.string()),
        ("duration_ms", pa.float64()),
        ("visible_s", pa.float64()),
        ("error", pa.bool_()),
        ("units", pa.int64()),
        ("absent", pa.list_(pa.string())),
        ("extra", pa.list_(pa.string())),
        ("why", pa.string()),
    ]
)
STRAYS: Final = pa.schema(
    [("path", pa.string()), ("what", pa.string()), ("trace_id", pa.string()), ("id", pa.string()), ("why", pa.string())]
)


UNDECLARED: Final = pa.schema(
    [
        ("path", pa.string()),
        ("kind", pa.string()),
        ("place", pa.string()),
        ("name", pa.string()),
        ("documents", pa.int64()),
        ("requests", pa.int64()),
        ("example", pa.string()),
        ("trace_id", pa.string()),
        ("same_as", pa.list_(pa.string())),
    ]
)


class NoRecord(Exception):
    """A run that has no record, or one that cannot be read. The message is one line that ends with the next command."""


def keep(folder: Path, comparison: Comparison, entries: Sequence[LedgerEntry], report: Report, undeclared: Found | None = None) -> None:
    """Write the record of a run that was just judged into its folder, in place of an older one. ``undeclared``: where it was looked for.
    Raises OSError."""
    # A page that has just opened the record in place may still read it.
    before = _in_place(folder)
    with drafts.kept(folder, FOLDER_PREFIX) as tables:
        _write(tables / "requests.parquet", REQUESTS, [_requests(entries)])
        _write(tables / "observations.parquet", OBSERVATIONS, comparison.observations())
        _write(tables / "outcomes.parquet", OUTCOMES, _outcomes(comparison, report))
        strays = pa.Table.from_pylist([asdict(stray) for stray in report.judgement.strays], schema=STRAYS)
        _write(tables / "strays.parquet", STRAYS, strays.to_batches())
        about = {key: value for key, value in report.document().items() if key not in ("not_as_expected", "strays")}
        if undeclared is not None:
            beside = pa.Table.from_pylist([asdict(row) for row in undeclared.rows], schema=UNDECLARED)
            _write(tables / UNDECLARED_TABLE, UNDECLARED, beside.to_batches())
            about["undeclared"] = undeclared.document()
        written = {"version": VERSION, "made": round(time.time(), 6), "folder": tables.name, **about}
        draft = tables / RECORD
        draft.write_text(json.dumps(written, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        draft.replace(folder / RECORD)
    # Not what another compare of the run is writing now, nor what it puts in place meanwhile.
    drafts.clear(folder, FOLDER_PREFIX, lambda name: name in (tables.name, before, _in_place(folder)))


def _in_place(folder: Path) -> str | None:
    try:
        return str(document(folder)["folder"])
    except NoRecord:
        return None


def _requests(entries: Sequence[LedgerEntry]) -> pa.RecordBatch:
    columns = [[getattr(entry, name) for entry in entries] for name in REQUESTS.names]
    return pa.record_batch([pa.array(column, field.type) for column, field in zip(columns, REQUESTS, strict=True)], schema=REQUESTS)


def _outcomes(comparison: Comparison, report: Report) -> Iterator[pa.RecordBatch]:
    found = {
        (finding.sequence, str(finding.path)): (list(finding.absent), list(finding.extra), why)
        for finding, why in zip(report.judgement.findings, report.why, strict=True)
    }
    nothing: tuple[list[str], list[str], str] = ([], [], "")
    for batch in comparison.outcomes():
        keys = zip(batch.column("sequence").to_pylist(), batch.column("path").to_pylist(), strict=True)
        words = [found.get(key, nothing) for key in keys]
        columns = [
            pa.array([word[part] for word in words], OUTCOMES.field(name).type) for part, name in enumerate(("absent", "extra", "why"))
        ]
        yield pa.record_batch([*batch.columns, *columns], names=OUTCOMES.names).cast(OUTCOMES)


def _write(path: Path, schema: pa.Schema, batches: Any) -> None:
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            if batch.num_rows:
                writer.write_batch(batch)


class Record:
    """One run's record, open for reading. Safe for several threads; what is open stays readable when the next record replaces it."""

    def __init__(self, folder: Path, document: Mapping[str, Any]) -> None:
        self.folder = folder
        #: The report document, and ``made``, epoch seconds.
        self.document = document
        self._threads = threading.local()
        self._db = duckdb.connect(":memory:", config={"memory_limit": "512MB", "threads": 2})
        tables = folder / str(document["folder"])
        for name in TABLES:
            self._view(name, tables / f"{name}.parquet")
        if (tables / UNDECLARED_TABLE).exists():
            self._view("undeclared", tables / UNDECLARED_TABLE)
        else:
            self._db.register("nothing_undeclared", UNDECLARED.empty_table())
            self._db.execute("CREATE TABLE undeclared AS FROM nothing_undeclared")
        # Once a run was exported, the vendors' own records are there, too.
        self.has_documents = (tables / DOCUMENTS).exists()
        if self.has_documents:
            self._view("documents", tables / DOCUMENTS)
        else:
            self._db.execute("CREATE TABLE documents (path VARCHAR, trace_id VARCHAR, id VARCHAR, document VARCHAR)")

    def _view(self, name: str, file: Path) -> None:
        path = str(file).replace("'", "''")
        self._db.execute(f"CREATE VIEW {name} AS FROM read_parquet('{path}')")

    @classmethod
    def open(cls, folder: Path) -> Record:
        """The record in a run's folder. The same record is opened once. Raises NoRecord."""
        for _ in range(3):
            try:
                found = document(folder)
                return _opened(folder, str(found["folder"]), found["made"], (folder / str(found["folder"]) / DOCUMENTS).exists())
            except duckdb.Error as error:
                problem = error
                if document(folder)["folder"] == found["folder"]:
                    break  # It was not replaced in between: it is damaged.
        raise NoRecord(f"the record of run {folder.name} cannot be read ({problem}); {_anew(folder)}") from problem

    @property
    def made(self) -> float:
        """When the compare was finished, epoch seconds."""
        return float(self.document["made"])

    def rows(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        """The rows of a query over the tables, each as a dictionary by column."""
        cursor = self._cursor().execute(sql, parameters)
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        # One a thread: a cursor holds the result of its last query.
        if not hasattr(self._threads, "cursor"):
            self._threads.cursor = self._db.cursor()
        cursor: duckdb.DuckDBPyConnection = self._threads.cursor
        return cursor


@lru_cache(maxsize=16)
def _opened(folder: Path, tables: str, made: float, collected: bool) -> Record:  # noqa: ARG001 (what tells one record from the next)
    return Record(folder, document(folder))


def document(folder: Path) -> dict[str, Any]:
    """What ``record.json`` of a run's folder says: cheap, without opening a table. Raises NoRecord."""
    path = folder / RECORD
    try:
        found = json.loads(path.read_bytes())
        version = found["version"]
        if version == VERSION and _FOLDER.fullmatch(found["folder"]) and (folder / found["folder"]).is_dir():
            float(found["made"])
            return dict(found)
    except FileNotFoundError:
        raise NoRecord(f"run {folder.name} was not compared yet; `make compare RUN={folder.name}` does") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NoRecord(f"{path} cannot be read ({error}); {_anew(folder)}") from error
    newer = "a newer Parallax made it" if isinstance(version, int) and version > VERSION else "its tables are not there"
    raise NoRecord(f"{path} cannot be used ({newer}); {_anew(folder)}")


def _anew(folder: Path) -> str:
    """How a record that cannot be used is had again."""
    if (folder / IMPORTED).exists():
        return f"remove {folder}, then `make import FILE=<run>.parallax.zip` again"
    return f"`make compare RUN={folder.name}` makes it anew"
