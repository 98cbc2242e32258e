"""Verdicts: ledger, expected signals and observations in, verdicts out. Pure: no network, no files, no clock.

    comparison = Comparison("2026...", entries, paths=settings.paths)
    comparison.add(observations)
    comparison.judge({path: PathState() for path in paths}).counts

The three are joined in an in-memory DuckDB. Requests that share route, outcome and status expect the same signals, and most observations
look alike, so both are reduced to small tables first: a *class* of requests, a *signal* that a class requires, and a *subject*, which is
everything of an observation that a signal can ask for. Whether a subject satisfies a signal is decided once in Python; the
rest is relational, and its size is bounded by DuckDB's memory limit, beyond which it spills.

What the verdicts mean, in the order in which they are tried:

===============  =====================================================================================================
unreadable       the backend could not be read: nothing is said of any request
not-expected     nothing is expected here, or nobody saw an answer, so that nothing can be expected
not-sampled      what is absent was not sampled, by the decision in the ledger; whatever is never sampled is there
seen             every expected signal is there, once
duplicate        every expected signal is there, and something more than once
unknown          something is absent and cannot be judged: the vendor could not say, or nobody said whether it was sampled
pending          something is absent, and the path was still changing when the wait was over
missing          nothing of what is expected is there
partial          some of what is expected is there
===============  =====================================================================================================
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from compose.settings import SignalPath
from loadtest.ledger import LedgerEntry
from services.compare.model import Finding, Judgement, Kept, Measures, PathState, Progress, Stray, Verdict
from services.compare.paths import OPEN_KINDS, PATHS, SAMPLED_KINDS
from services.compare.readers.base import Observation, Window
from services.cruddur.signals import Kind, Outcome, Route, Signal, expected

Expect = Callable[[Route, Outcome, int | None], Sequence[Signal]]


class UnknownRequest(Exception):
    """The ledger holds a request this version knows nothing of. The message is one line."""


#: Observations that are put into DuckDB at once: a statement costs as much as a few thousand rows.
_LOT: Final = 20_000
#: Where DuckDB puts what does not fit into its memory limit; made when needed, and removed when the comparison is closed.
_SPILL: Final = str(Path(tempfile.gettempdir()) / f"parallax-compare-{os.getpid()}")

_ORDER: Final = tuple(SignalPath)
_INDEX: Final = {path: number for number, path in enumerate(_ORDER)}

_Label = tuple[SignalPath, Kind, str, str]
#: How a declared key is found on an observation: kept under its own name or renamed, and its value where a signal asks for one.
_Shape = tuple[tuple[str, bool, str | None], ...]
#: Keys that are asked for: under which other name the backend may keep them, and whether a signal asks for their value.
_Asked = tuple[tuple[str, str, bool], ...]


_SCHEMA: Final = Path(__file__).with_name("verdicts.sql").read_text()


class Comparison:
    """One run's ledger and observations, joined. Not safe for several threads at once.

    ``paths`` are those that were on when the run was made. Observations of other runs are left out; those that carry neither
    this run's id nor one of its trace ids are not this run's affair.
    """

    def __init__(
        self,
        run: str,
        entries: Iterable[LedgerEntry],
        paths: Collection[SignalPath],
        expect: Expect = expected,
        memory_limit: str = "512MB",
        replayed: bool = False,
    ) -> None:
        """``replayed``: the ledger's times are moved ones, from which no time until visible can be told: as if no vendor said it."""
        self.run = run
        self._replayed = replayed
        self.paths = tuple(path for path in _ORDER if path in paths)
        self._db = duckdb.connect(":memory:", config={"memory_limit": memory_limit, "threads": 2, "temp_directory": _SPILL})
        self._db.execute(_SCHEMA)
        self._expect = expect
        self._classes: dict[tuple[str, str, int | None], int] = {}
        self._class_keys: list[tuple[str, str, int | None]] = []
        self._signals: list[Signal] = []
        self._signal_numbers: dict[tuple[Any, ...], int] = {}
        self._required: list[Counter[int]] = []
        self._candidates: dict[tuple[SignalPath, Kind, str], list[int]] = {}
        self._labels: dict[_Label, int] = {}
        self._label_list: list[_Label] = []
        self._subjects: dict[tuple[int, _Shape], int] = {}
        self._subject_list: list[tuple[int, _Shape]] = []
        self._asked: dict[_Label, tuple[int, _Asked]] = {}
        self._traces: set[str] = set()
        #: Whether the table ``checked`` holds what the observations say now.
        self._checked = False
        #: Observations that are not in their table yet.
        self._waiting: list[pa.Table] = []
        self._load(entries)
        for path in self.paths:
            self._db.execute("INSERT INTO path VALUES (?, ?, TRUE, TRUE)", [_INDEX[path], PATHS[path].decider])

    def close(self) -> None:
        self._db.close()

    def keys(self, path: SignalPath) -> frozenset[str]:
        """Attribute keys that the expected signals declare on a path."""
        return frozenset(key for signal in self._signals if signal.path is path for key in (*signal.attributes, *signal.values))

    def window(self) -> Window:
        """When the run was, with slack."""
        row = self._db.execute("SELECT min(start), max(start + duration_ms / 1000) FROM ledger").fetchone()
        start, end = row if row is not None and row[0] is not None else (0.0, 0.0)
        return Window.around(self.run, start, end, frozenset(self._traces))

    # -- what comes in

    def add(self, observations: Iterable[Observation]) -> None:
        """Take observations in. The same observation given twice counts twice."""
        columns: list[list[Any]] = [[] for _ in _OBSERVATION.names]
        subject, trace, identity, parent, start, duration, ingested, error, deliveries, units = columns
        traces, run, paths = self._traces, self.run, frozenset(self.paths)
        for each in observations:
            if (each.trace_id not in traces and each.run != run) or each.path not in paths:
                continue
            subject.append(self._subject(each))
            trace.append(each.trace_id)
            identity.append(each.id)
            parent.append(each.parent_id)
            start.append(each.start)
            duration.append(each.duration_ms if each.kind in SAMPLED_KINDS else None)
            ingested.append(None if self._replayed else each.ingested_at)
            error.append(each.error)
            deliveries.append(each.deliveries)
            units.append(each.units)
        self._checked = False
        self._waiting.append(pa.table(columns, schema=_OBSERVATION))
        if sum(rows.num_rows for rows in self._waiting) >= _LOT:
            self._put()

    def forget(self, paths: Collection[SignalPath], traces: Collection[str]) -> None:
        """Drop what was observed of these traces on these paths, because it is read again."""
        if traces and paths:
            self._checked = False
            self._put()
            self._db.execute(
                "DELETE FROM observation WHERE trace_id IN (SELECT unnest(?)) AND subject IN "
                "(SELECT subject FROM subject JOIN label USING (label) WHERE path IN (SELECT unnest(?)))",
                [list(traces), [_INDEX[path] for path in paths]],
            )
            self._db.execute(
                "DELETE FROM unknown WHERE trace_id IN (SELECT unnest(?)) AND path IN (SELECT unnest(?))",
                [list(traces), [_INDEX[path] for path in paths]],
            )

    def clear(self, paths: Collection[SignalPath]) -> None:
        """Drop everything that was observed on these paths: reading them failed half-way, or begins anew."""
        self._checked = False
        self._put()
        numbers = [[_INDEX[path] for path in paths]]
        self._db.execute(
            "DELETE FROM observation WHERE subject IN "
            "(SELECT subject FROM subject JOIN label USING (label) WHERE path IN (SELECT unnest(?)))",
            numbers,
        )
        self._db.execute("DELETE FROM unknown WHERE path IN (SELECT unnest(?))", numbers)

    def unknown(self, paths: Collection[SignalPath], traces: Mapping[str, str]) -> None:
        """The vendor could not say anything about these traces; with why."""
        rows = [(_INDEX[path], trace, why) for path in paths for trace, why in traces.items()]
        self._insert("unknown", pa.table([list(column) for column in zip(*rows, strict=True)] if rows else [[], [], []], schema=_UNKNOWN))

    # -- what comes out

    def progress(self) -> dict[SignalPath, Progress]:
        """How far each path is."""
        self._check()
        rows = self._db.execute("FROM progress").fetchall()
        return {
            _ORDER[path]: Progress(int(complete), int(incomplete), int(observations)) for path, complete, incomplete, observations in rows
        }

    def incomplete(self, paths: Collection[SignalPath]) -> list[str]:
        """Trace ids of requests that still lack an expected signal on one of these paths."""
        self._check()
        rows = self._db.execute(
            "SELECT DISTINCT trace_id FROM checked WHERE NOT ok AND NOT skipped AND path IN (SELECT unnest(?)) ORDER BY trace_id",
            [[_INDEX[path] for path in paths]],
        ).fetchall()
        return [row[0] for row in rows]

    def judge(self, states: Mapping[SignalPath, PathState]) -> Judgement:
        """The verdicts. A path without a state counts as settled and readable."""
        for path, state in states.items():
            self._db.execute(
                "UPDATE path SET settled = ?, readable = ? WHERE path = ?", [state.settled, state.unreadable is None, _INDEX[path]]
            )
        self._check()
        self._db.execute("CREATE OR REPLACE TABLE extra AS FROM repeated; DELETE FROM verdict; INSERT INTO verdict FROM decided")
        counts: dict[SignalPath, dict[Verdict, int]] = {path: dict.fromkeys(Verdict, 0) for path in self.paths}
        for path, verdict, count in self._db.execute("FROM verdict_counts").fetchall():
            counts[_ORDER[path]][Verdict(verdict)] = count
        return Judgement(
            counts=counts,
            findings=self._findings(),
            strays=self._strays(),
            measures={path: self._measures(path) for path in self.paths},
            attributes=self._attributes(),
            requests=len(self._traces),
        )

    def _check(self) -> None:
        if not self._checked:
            self._put()
            self._db.execute("CREATE OR REPLACE TABLE checked AS FROM checking")
            self._checked = True

    # -- what is kept

    def observations(self) -> pa.RecordBatchReader:
        """Every observation that belongs to the run, strays included: path, kind, service, name, id, trace_id, parent_id, start,
        duration_ms, ingested_at, error, deliveries, units."""
        texts = pa.table(
            [
                pa.array(range(len(self._label_list)), pa.int32()),
                *(pa.array([str(label[part]) for label in self._label_list], pa.string()) for part in range(4)),
            ],
            names=["label", "path", "kind", "service", "name"],
        )
        self._put()
        self._db.register("label_text", texts)
        return self._db.sql(
            "SELECT label_text.* EXCLUDE (label), observation.* EXCLUDE (subject) "
            "FROM observation JOIN subject USING (subject) JOIN label_text USING (label)"
        ).to_arrow_reader(100_000)

    def outcomes(self) -> pa.RecordBatchReader:
        """After :meth:`judge`: for each request and path: sequence, path, verdict, and what was measured of it (NULL: nothing was seen, or
        the backend does not say): duration_ms, visible_s (seconds from the answer until the backend had everything), error, units."""
        names = pa.table([pa.array(range(len(_ORDER)), pa.int8()), pa.array(map(str, _ORDER), pa.string())], names=["path", "name"])
        self._db.register("path_name", names)
        return self._db.sql(
            "SELECT verdict.sequence, path_name.name AS path, verdict.verdict, seen.duration_ms, "
            "seen.ingested_at - ledger.start - ledger.duration_ms / 1000 AS visible_s, seen.error, CAST(seen.units AS BIGINT) AS units "
            "FROM verdict JOIN ledger USING (sequence) JOIN path_name USING (path) "
            "LEFT JOIN seen ON seen.path = verdict.path AND seen.trace_id = ledger.trace_id "
            "ORDER BY verdict.sequence, verdict.path"
        ).to_arrow_reader(100_000)

    # -- the ledger and what it requires

    def _load(self, entries: Iterable[LedgerEntry]) -> None:
        columns: list[list[Any]] = [[] for _ in _LEDGER.names]
        for entry in entries:
            key = (entry.route, entry.outcome, entry.status)
            number = self._classes.get(key)
            if number is None:
                number = self._class(key)
            row = (
                entry.sequence,
                entry.trace_id,
                number,
                entry.status is not None,
                entry.start,
                entry.duration_ms,
                entry.sampled_xray_sdk,
                entry.sampled_otel,
            )
            for column, value in zip(columns, row, strict=True):
                column.append(value)
            self._traces.add(entry.trace_id)
        self._insert("ledger", pa.table(columns, schema=_LEDGER))

    def _class(self, key: tuple[str, str, int | None]) -> int:
        """A new class of requests, with its requirements."""
        route, outcome, status = key
        try:
            signals = self._expect(Route(route), Outcome(outcome), status)
        except ValueError as error:
            raise UnknownRequest(
                f"the ledger of run {self.run} holds a request this version does not know ({error}); `make load` makes a new run"
            ) from None
        # An observation that says it belongs to another run is not what this request must show.
        signals = tuple(
            replace(signal, attributes=signal.attributes - {"run"}, values={**signal.values, "run": self.run})
            if "run" in signal.attributes
            else signal
            for signal in signals
        )
        number = self._classes[key] = len(self._class_keys)
        self._class_keys.append(key)
        required = Counter(self._signal(signal) for signal in signals)
        self._required.append(required)
        labels: Counter[_Label] = Counter()
        for signal, n in required.items():
            labels[_label(self._signals[signal])] += n
        if required:
            self._db.executemany(
                "INSERT INTO requirement VALUES (?, ?, ?, ?)",
                [
                    [number, signal, n, labels[_label(self._signals[signal])] if self._signals[signal].name else n]
                    for signal, n in required.items()
                ],
            )
        named = [[number, self._label_number(label), n] for label, n in labels.items() if label[3]]
        if named:
            self._db.executemany("INSERT INTO label_requirement VALUES (?, ?, ?)", named)
        return number

    def _signal(self, signal: Signal) -> int:
        key = (*_label(signal), signal.attributes, tuple(sorted(signal.values.items())))
        number = self._signal_numbers.get(key)
        if number is None:
            number = self._signal_numbers[key] = len(self._signals)
            self._signals.append(signal)
            self._candidates.setdefault((signal.path, signal.kind, signal.service), []).append(number)
            self._db.execute("INSERT INTO signal VALUES (?, ?, ?)", [number, _INDEX[signal.path], signal.kind in SAMPLED_KINDS])
        return number

    # -- observations reduced to subjects

    def _subject(self, each: Observation) -> int:
        label: _Label = (each.path, each.kind, each.service, each.name)
        known = self._asked.get(label)
        if known is None:
            known = self._asked[label] = (self._label_number(label), self._keys(label))
        shape = _shape(each.attributes, known[1])
        key = (known[0], shape)
        number = self._subjects.get(key)
        if number is None:
            number = self._subjects[key] = len(self._subject_list)
            self._subject_list.append(key)
            self._db.execute("INSERT INTO subject VALUES (?, ?)", [number, key[0]])
            for candidate in self._signals_of(label):
                signal = self._signals[candidate]
                complete = not _lacking(signal, shape)
                # A signal of any name is told by its attributes alone.
                if complete or signal.name:
                    self._db.execute("INSERT INTO satisfies VALUES (?, ?, ?)", [candidate, number, complete])
        return number

    def _label_number(self, label: _Label) -> int:
        number = self._labels.get(label)
        if number is None:
            number = self._labels[label] = len(self._label_list)
            self._label_list.append(label)
            path, kind, _, _ = label
            self._db.execute("INSERT INTO label VALUES (?, ?, ?, ?)", [number, _INDEX[path], kind in SAMPLED_KINDS, kind in OPEN_KINDS])
        return number

    def _signals_of(self, label: _Label) -> list[int]:
        """Signals that ask for something of this name."""
        path, kind, service, name = label
        return [number for number in self._candidates.get((path, kind, service), ()) if self._signals[number].name in ("", name)]

    def _keys(self, label: _Label) -> _Asked:
        """Attribute keys that signals of this name declare."""
        keys: dict[str, bool] = {}
        for number in self._signals_of(label):
            signal = self._signals[number]
            for key in signal.attributes:
                keys.setdefault(key, False)
            for key in signal.values:
                keys[key] = True
        kept_as = PATHS[label[0]].kept_as
        return tuple((key, kept_as(key), valued) for key, valued in sorted(keys.items()))

    # -- the parts of a judgement

    def _findings(self) -> list[Finding]:
        absent: dict[tuple[int, int], list[str]] = {}
        lost: set[tuple[int, int]] = set()
        rows = self._db.execute("FROM absence ORDER BY sequence, path, signal").fetchall()
        for sequence, path, signal, n, name_n, named, complete, subjects in rows:
            if named < name_n:
                lost.add((sequence, path))
            absent.setdefault((sequence, path), []).append(self._absence(signal, n, name_n, named, complete, subjects or []))
        extra: dict[tuple[int, int], list[str]] = {}
        for sequence, path, label, deliveries, times in self._db.execute("FROM extra ORDER BY sequence, path, label").fetchall():
            extra.setdefault((sequence, path), []).append(
                f"{_label_text(self._label_list[label])} came {deliveries} times instead of {times}"
            )
        findings = []
        rows = self._db.execute("FROM finding ORDER BY sequence, path").fetchall()
        for sequence, trace_id, number, start, duration, path, verdict, why in rows:
            route, outcome, status = self._class_keys[number]
            findings.append(
                Finding(
                    sequence,
                    trace_id,
                    route,
                    outcome,
                    status,
                    start,
                    duration,
                    _ORDER[path],
                    Verdict(verdict),
                    tuple(absent.get((sequence, path), ())),
                    tuple(extra.get((sequence, path), ())),
                    (sequence, path) in lost,
                    why,
                )
            )
        return findings

    def _absence(self, number: int, n: int, name_n: int, named: int, complete: int, subjects: Sequence[int]) -> str:
        """What is wrong with one signal, as a part of a sentence."""
        signal = self._signals[number]
        if named == 0:
            return f"{signal}" if n == 1 else f"{n} × {signal}"
        if named < name_n:
            return f"{signal}: {named} of {name_n}"
        wrong = sorted({part for subject in subjects for part in _lacking(signal, self._subject_list[subject][1])})
        return f"{signal} without {', '.join(wrong)}" if wrong else f"{signal}: {complete} of {n}"

    def _strays(self) -> list[Stray]:
        return [
            Stray(_ORDER[path], _label_text(self._label_list[label]), trace_id, identity, why)
            for path, label, trace_id, identity, why in self._db.execute("FROM stray ORDER BY path, label, trace_id, id").fetchall()
        ]

    def _measures(self, path: SignalPath) -> Measures:
        number = _INDEX[path]
        row = self._db.execute("SELECT * EXCLUDE (path) FROM measure WHERE path = ?", [number]).fetchone()
        difference, visible, errors, units, traces = row or (None, None, 0, 0, 0)
        return Measures(_pair(difference), _pair(visible), errors, int(units), traces)

    def _attributes(self) -> list[Kept]:
        totals: dict[tuple[SignalPath, str], list[int]] = {}
        for number, subject, count in self._db.execute("FROM subject_count").fetchall():
            label, shape = self._subject_list[subject]
            found = {key: (renamed, value) for key, renamed, value in shape}
            path = self._label_list[label][0]
            matching = [self._signals[each] for each in self._signals_of(self._label_list[label]) if each in self._required[number]]
            declared: dict[str, str | None] = {}
            for signal in matching:
                declared |= dict.fromkeys(signal.attributes) | {key: _text(value) for key, value in signal.values.items()}
            if any(not signal.name for signal in matching) and any(key not in found for key in declared):
                continue  # a signal of any name does not claim every span
            for key, value in declared.items():
                total = totals.setdefault((path, key), [0, 0, 0, 0])
                if key not in found:
                    total[3] += count
                elif value is not None and found[key][1] != value:
                    total[2] += count
                else:
                    total[1 if found[key][0] else 0] += count
        return [Kept(path, key, *total) for (path, key), total in sorted(totals.items(), key=lambda item: (_INDEX[item[0][0]], item[0][1]))]

    def _put(self) -> None:
        if self._waiting:
            self._insert("observation", pa.concat_tables(self._waiting))
            self._waiting.clear()

    def _insert(self, table: str, rows: pa.Table) -> None:
        if rows.num_rows:
            self._db.register("incoming", rows)
            self._db.execute(f"INSERT INTO {table} SELECT * FROM incoming")
            self._db.unregister("incoming")


_LEDGER: Final = pa.schema(
    [
        ("sequence", pa.int32()),
        ("trace_id", pa.string()),
        ("class", pa.int32()),
        ("answered", pa.bool_()),
        ("start", pa.float64()),
        ("duration_ms", pa.float64()),
        ("xray_sdk", pa.bool_()),
        ("otel", pa.bool_()),
    ]
)
_OBSERVATION: Final = pa.schema(
    [
        ("subject", pa.int32()),
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
_UNKNOWN: Final = pa.schema([("path", pa.int8()), ("trace_id", pa.string()), ("why", pa.string())])


def _shape(attributes: Mapping[str, Any], asked: _Asked) -> _Shape:
    """What an observation has of the keys that are asked for."""
    shape = []
    for key, other, valued in asked:
        value, renamed = attributes.get(key), False
        if value is None:
            value, renamed = attributes.get(other), other != key
        if value is not None:
            shape.append((key, renamed, _text(value) if valued else None))
    return tuple(shape)


def _lacking(signal: Signal, shape: _Shape) -> list[str]:
    """What a signal asks for that a shape does not have, in words."""
    found = {key: value for key, _, value in shape}
    words = [key for key in signal.attributes if key not in found]
    for key, value in signal.values.items():
        if key not in found:
            words.append(key)
        elif found[key] != _text(value):
            words.append(f"{key} = {_text(value)} (it is {found[key]})")
    return words


def _text(value: Any) -> str:
    """A value as compared: some backends keep numbers and booleans only as text, so 200 and "200" are the same."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _pair(quantiles: list[float] | None) -> tuple[float, float] | None:
    return (quantiles[0], quantiles[1]) if quantiles else None


def _label(signal: Signal) -> _Label:
    return (signal.path, signal.kind, signal.service, signal.name)


def _label_text(label: _Label) -> str:
    _, kind, service, name = label
    return f"{kind} {name} ({service})"
