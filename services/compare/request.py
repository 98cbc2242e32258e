"""One request of a run with all that is known of it, from what compare kept or from the vendors; and the raw data of each observation.

    seen = recorded(run, Record.open(run.folder), trace_id)    # what the verdicts were decided from: fast, no vendor needed
    seen = asked(settings, run, trace_id, entry)               # what the vendors say now
    raw = raw_data(settings, run, record, seen.entry, path, trace_id, id)

Raw documents have two sources: what was kept with the record (:data:`services.compare.record.DOCUMENTS`, when a run is exported, so that
an imported one has them), else the vendor, who is asked for them at that moment.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Literal

import duckdb

from compose.settings import Settings, SignalPath
from loadtest.ledger import LedgerEntry
from loadtest.runs import Run
from services.compare import trace
from services.compare.alignment import State
from services.compare.export import documents
from services.compare.model import AS_EXPECTED, Verdict
from services.compare.readers import readers
from services.compare.readers.base import Observation, Unreadable, sent_at
from services.compare.record import Record
from services.compare.verdicts import UnknownRequest
from services.cruddur.signals import Outcome, Route, Signal, expected

#: Seconds a page waits for the vendors, all of them together.
PATIENCE: Final = 10.0


@dataclass(frozen=True)
class PathSeen:
    """What one path has of a request. ``verdict`` and what follows are empty where no ledger line says what was to be there.
    ``reason``, ``hint``: why it could not be read, and what to do. ``changing``: something may still arrive."""

    path: SignalPath
    state: State
    observations: Sequence[Observation] = ()
    verdict: str | None = None
    absent: Sequence[str] = ()
    extra: Sequence[str] = ()
    why: str = ""
    reason: str = ""
    hint: str = ""
    changing: bool = False


@dataclass(frozen=True)
class Seen:
    """A request as every path has it. ``source``: where from, ``at``: of when, epoch seconds. ``strays``: in words, by path."""

    trace_id: str
    entry: LedgerEntry | None
    paths: Sequence[PathSeen]
    source: Literal["record", "vendors"]
    at: float
    strays: Sequence[tuple[str, str]] = ()

    @property
    def found(self) -> bool:
        return self.entry is not None or any(path.observations for path in self.paths)

    @property
    def observations(self) -> list[Observation]:
        return [each for path in self.paths for each in path.observations]

    @property
    def declared(self) -> tuple[Signal, ...] | None:
        """The signals that the request must show; None where nothing says what it was."""
        if self.entry is None:
            return None
        try:
            return expected(Route(self.entry.route), Outcome(self.entry.outcome), self.entry.status)
        except ValueError:
            return None  # Of another version, which knows requests that this one does not.


@dataclass(frozen=True)
class Neighbours:
    """Trace ids of the requests before and after one in the seeded order, and of those that are not as expected."""

    before: str | None = None
    after: str | None = None
    before_wrong: str | None = None
    after_wrong: str | None = None


@dataclass(frozen=True)
class Raw:
    """Documents of one observation: more than one where the vendor has it more than once, each with something different."""

    documents: list[Any]
    source: Literal["kept", "vendor"]
    at: float


class NoRawData(Exception):
    """Nobody has the raw data of an observation. ``hint``: what to do."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint


# -- from the record


def recorded(run: Run, record: Record, trace_id: str) -> Seen:
    """The request as compare found it."""
    entry = recorded_entry(run, record, trace_id)
    outcomes = {
        row["path"]: row for row in record.rows("FROM outcomes WHERE sequence = ?", [entry.sequence] if entry is not None else [None])
    }
    observed: dict[str, list[Observation]] = {}
    names = (
        "kind",
        "service",
        "name",
        "id",
        "trace_id",
        "parent_id",
        "start",
        "duration_ms",
        "ingested_at",
        "error",
        "deliveries",
        "units",
    )
    for row in record.rows(f"SELECT path, {', '.join(names)} FROM observations WHERE trace_id = ? ORDER BY start, id", [trace_id]):
        known = {name: row[name] for name in names if row[name] is not None}
        observed.setdefault(row["path"], []).append(Observation(**{"path": SignalPath(row["path"]), "run": None, "id": "", **known}))
    about = record.document.get("paths", {})
    paths = []
    for path in SignalPath:
        outcome, report = outcomes.get(path), about.get(path, {"state": "off"})
        verdict = outcome["verdict"] if outcome is not None else None
        paths.append(
            PathSeen(
                path,
                _state(report["state"], verdict),
                observed.get(path, ()),
                verdict,
                outcome["absent"] or () if outcome is not None else (),
                outcome["extra"] or () if outcome is not None else (),
                outcome["why"] or "" if outcome is not None else "",
                report.get("reason") or "",
                report.get("next") or "",
                report["state"] == "changing",
            )
        )
    strays = [(row["path"], f"{row['what']}: {row['why']}") for row in record.rows("FROM strays WHERE trace_id = ?", [trace_id])]
    return Seen(trace_id, entry, paths, "record", record.made, strays)


def recorded_entry(run: Run, record: Record, trace_id: str) -> LedgerEntry | None:
    """The ledger line of a trace, from the record."""
    for row in record.rows("FROM requests WHERE trace_id = ? LIMIT 1", [trace_id]):
        return LedgerEntry(**{"run": run.id, **{each.name: row[each.name] for each in fields(LedgerEntry) if each.name in row}})
    return None


def _state(state: str, verdict: str | None) -> State:
    if state in ("off", "unreadable"):
        return "off" if state == "off" else "unreadable"
    return "not-sampled" if verdict == Verdict.NOT_SAMPLED else "read"


def neighbours(record: Record, sequence: int) -> Neighbours:
    """The requests around one. A path that could not be read makes no request one that is not as expected."""
    found = record.rows(
        """
        WITH wrong AS (SELECT sequence FROM outcomes WHERE verdict NOT IN (SELECT unnest($1)))
        SELECT max(sequence) FILTER (sequence < $2) AS before, min(sequence) FILTER (sequence > $2) AS after,
            max(sequence) FILTER (sequence < $2 AND sequence IN (FROM wrong)) AS before_wrong,
            min(sequence) FILTER (sequence > $2 AND sequence IN (FROM wrong)) AS after_wrong
        FROM requests
        """,
        [[*map(str, AS_EXPECTED), str(Verdict.UNREADABLE)], sequence],
    )[0]
    wanted = [number for number in found.values() if number is not None]
    traces = {
        row["sequence"]: row["trace_id"]
        for row in record.rows("SELECT sequence, trace_id FROM requests WHERE sequence IN (SELECT unnest(?))", [wanted])
    }
    return Neighbours(**{name: None if number is None else traces[number] for name, number in found.items()})


# -- from the vendors


def asked(settings: Settings, run: Run, trace_id: str, entry: LedgerEntry | None) -> Seen:
    """The request as the vendors have it now; a path that does not answer says so, and hides no other."""
    paths = frozenset(run.manifest.paths)
    refusal = not_ours(settings, run)
    if refusal is not None:
        seen = [PathSeen(path, "unreadable" if path in paths else "off", reason=refusal[0], hint=refusal[1]) for path in SignalPath]
        return Seen(trace_id, entry, seen, "vendors", time.time())
    view = _collect(settings, trace_id, entry, paths)
    found = []
    for each in view.paths:
        state: State = "off" if each.off else "unreadable" if each.unreadable else _state("settled", each.verdict)
        found.append(
            PathSeen(
                each.path, state, each.observations, each.verdict, why="; ".join(each.wrong), reason=each.unreadable or "", hint=each.hint
            )
        )
    return Seen(trace_id, entry, found, "vendors", time.time())


def _collect(settings: Settings, trace_id: str, entry: LedgerEntry | None, paths: Collection[SignalPath]) -> trace.TraceView:
    try:
        return trace.collect(trace_id, entry, paths, readers(settings, paths, trace.keys(entry, SignalPath.HONEYCOMB_OTLP)), PATIENCE)
    except UnknownRequest:
        # Of another version: it can be shown, and not judged.
        return trace.collect(trace_id, None, paths, readers(settings, paths, ()), PATIENCE)


def not_ours(settings: Settings, run: Run) -> tuple[str, str] | None:
    """Why the vendors that are configured now are not those of the run, and what to do; None where they are."""
    if run.imported:
        return "the run was imported: its vendors are elsewhere", "what came along with it is all there is"
    if run.manifest.mode != settings.mode:
        return (
            f"the run was made {run.manifest.mode}, but MODE is {settings.mode}: these vendors have never seen it",
            f"start the page with MODE={run.manifest.mode}",
        )
    return None


# -- raw data


def raw_data(
    settings: Settings, run: Run, record: Record | None, entry: LedgerEntry | None, path: SignalPath, trace_id: str, identity: str
) -> Raw:
    """The vendor's own record of one observation: what was kept of it, else what the vendor answers now. Raises NoRawData, Unreadable."""
    kept = kept_documents(record, path, trace_id, identity) if record is not None else []
    if kept and record is not None:
        return Raw(kept, "kept", record.made)
    if path not in run.manifest.paths:
        raise NoRawData(f"{path} was off in this run")
    refusal = not_ours(settings, run)
    if refusal is not None:
        gap = _gap(record, path) if record is not None else None
        raise NoRawData(f"{path}: no raw data of this was kept{f' ({gap})' if gap else ''}, and {refusal[0]}", refusal[1])
    view = _collect(settings, trace_id, entry, {path})
    answer = next(each for each in view.paths if each.path is path)
    if answer.unreadable:
        raise Unreadable(answer.unreadable, answer.hint)
    found = [each.document for each in answer.observations if each.id == identity]
    if not found:
        raise NoRawData(
            f"{path} answers, and has no such {'observation' if answer.observations else 'trace'} any more",
            "a vendor that was started afresh has forgotten what it had; `make export` keeps raw documents with a run",
        )
    return Raw(found, "vendor", time.time())


def kept_documents(record: Record, path: SignalPath, trace_id: str, identity: str) -> list[Any]:
    """The raw documents that are kept with a run; none where none are. Raises NoRawData."""
    try:
        rows = record.rows("SELECT document FROM documents WHERE path = ? AND trace_id = ? AND id = ?", [str(path), trace_id, identity])
    except duckdb.Error as error:
        raise NoRawData(
            f"the raw documents of run {record.folder.name} cannot be read ({error})", "export or import the run again"
        ) from error
    return [_document(row["document"]) for row in rows]


def _gap(record: Record, path: SignalPath) -> str | None:
    """Why not all raw documents of a path were kept."""
    kept = documents.states(record.folder / str(record.document["folder"])).get(path)
    return kept.reason if kept is not None else None


def _document(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def started(seen: Seen) -> float:
    """When the request was, epoch seconds: by the ledger, else by its trace id."""
    return seen.entry.start if seen.entry is not None else sent_at(seen.trace_id)
