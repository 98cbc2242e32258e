"""What arrived beside what is declared: the attributes and fields of the vendors' own records that no signal asks for. Pure.

    sample = chosen(entries)                      # trace ids, some of every kind of request
    found = undeclared(entries, observations)     # observations of those requests, each with its document

An SDK, an instrumentation, an exporter, the Collector and the vendor each add some. They are counted over a sample, for what adds them
adds them to every request of a kind; a run of no more than :data:`SAMPLE` requests is counted whole.

What identifies a record (ids, names, times, whether it failed) is left out: an observation has it already. Values are not: one example
of each is kept, and which declared attributes had the same value in every request where both were there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from compose.settings import SignalPath
from loadtest.ledger import LedgerEntry
from services.compare.paths import PATHS
from services.compare.readers.base import Observation, mapping
from services.cruddur.signals import Kind, Outcome, Route, expected

#: Requests that are looked at, at most. One query asks Honeycomb for as many traces.
SAMPLE: Final = 200
#: Names of a path that are kept, fields of one document that are looked at, and how deep they may lie.
MOST_NAMES: Final = 300
MOST_FIELDS: Final = 2_000
DEEPEST: Final = 12
#: Characters of a name and of an example that are kept.
LONGEST_NAME: Final = 200
LONGEST_EXAMPLE: Final = 200
#: Characters behind the cut that are still looked at for secrets: as long as any, however it is written.
_BEHIND: Final = 4_000
#: Requests whose values are held against those of declared attributes, and in how many of them both must be there with more than one value.
COMPARED: Final = 100
ALIKE: Final = 3

#: Members of a document whose keys are names of attributes; every other member is a field of the vendor's own form. Of X-Ray's
#: ``metadata``, the keys are namespaces, each with attributes of its own ("AWS X-Ray segment documents", Annotations and metadata).
_PLACES: Final[Mapping[SignalPath, tuple[str, ...]]] = {
    SignalPath.HONEYCOMB_OTLP: (),
    SignalPath.XRAY_SDK: ("annotations", "metadata"),
    SignalPath.XRAY_OTLP: ("annotations", "metadata"),
    SignalPath.CLOUDWATCH_WATCHTOWER: (),
    SignalPath.CLOUDWATCH_OTLP: ("attributes", "resource"),
    SignalPath.ROLLBAR_SDK: ("custom",),
}
_NAMESPACES: Final = "metadata"
#: Where a reader looks for what is declared; everywhere where it is not said.
_DECLARED_IN: Final[Mapping[SignalPath, tuple[str, ...]]] = {
    SignalPath.CLOUDWATCH_OTLP: ("attributes", ""),
    SignalPath.ROLLBAR_SDK: ("custom",),
}

_XRAY_OWN: Final = frozenset({"id", "trace_id", "parent_id", "name", "start_time", "end_time", "type", "fault", "subsegments"})
#: What the reader of a path makes an observation of, and what only its query has.
_OWN: Final[Mapping[SignalPath, frozenset[str]]] = {
    SignalPath.HONEYCOMB_OTLP: frozenset(
        {
            *("trace.trace_id", "trace.span_id", "trace.parent_id", "name", "service.name", "event.name", "duration_ms", "error"),
            *("COUNT", "MIN(parallax_start)", "MAX(parallax_ingested)", "MAX(duration_ms)"),
        }
    ),
    SignalPath.XRAY_SDK: _XRAY_OWN,
    SignalPath.XRAY_OTLP: _XRAY_OWN,
    SignalPath.CLOUDWATCH_WATCHTOWER: frozenset({"event"}),
    SignalPath.CLOUDWATCH_OTLP: frozenset({"trace_id", "span_id", "attributes.event.name", "resource.service.name"}),
    SignalPath.ROLLBAR_SDK: frozenset({"uuid", "timestamp", "level"}),
}


@dataclass(frozen=True, slots=True)
class Field:
    """A value of a document. ``place``: the member whose keys are attributes (``annotations``, ``metadata.default``), empty for a field
    of the vendor's own form, whose name has its whole way, dots between (``http.response.status``, ``cause.exceptions[].message``)."""

    place: str
    name: str
    value: Any


@dataclass(frozen=True)
class Undeclared:
    """One name on one path and kind of signal.

    ``documents``, ``requests``: of the sample, how many have it. ``example``: a value as text, and ``trace_id`` the request it is from.
    ``same_as``: declared attributes, on whichever path, that had the same values, request by request.
    """

    path: SignalPath
    kind: Kind
    place: str
    name: str
    documents: int
    requests: int
    example: str
    trace_id: str
    same_as: tuple[str, ...] = ()


@dataclass(frozen=True)
class Looked:
    """How much of a path was looked at: ``documents`` by kind of signal, ``requests``; ``cut``: it has more names than are kept,
    or one of its documents more fields than are looked at. ``reason``: why not all of it could be looked at."""

    documents: Mapping[Kind, int] = field(default_factory=dict)
    requests: int = 0
    cut: bool = False
    reason: str | None = None


@dataclass(frozen=True)
class Found:
    """``requests``: how many are in the sample, ``of`` how many of the run."""

    requests: int
    of: int
    rows: Sequence[Undeclared]
    paths: Mapping[SignalPath, Looked]

    def document(self) -> dict[str, Any]:
        """All but the rows, as JSON."""
        paths = {
            str(path): {"documents": dict(looked.documents), "requests": looked.requests, "cut": looked.cut, "reason": looked.reason}
            for path, looked in self.paths.items()
        }
        return {"requests": self.requests, "of": self.of, "paths": paths}


def chosen(entries: Sequence[LedgerEntry], most: int = SAMPLE) -> frozenset[str]:
    """Trace ids of a sample: the first request of every kind (route, outcome, status), then the second of each, and so on."""
    kinds: dict[tuple[str, str, int | None], list[str]] = {}
    for entry in entries:
        same = kinds.setdefault((entry.route, entry.outcome, entry.status), [])
        if len(same) < most:
            same.append(entry.trace_id)
    found: list[str] = []
    for turn in range(max(map(len, kinds.values()), default=0)):
        found += [same[turn] for same in kinds.values() if turn < len(same)]
        if len(found) >= most:
            break
    return frozenset(found[:most])


def fields(path: SignalPath, document: Any) -> list[Field]:
    """The values of a vendor's own record, but for what identifies it and what is empty; :data:`MOST_FIELDS` at most, attributes before the
    fields of the vendor's form, of which a long stack alone may have more."""
    found: list[Field] = []
    own, places = _OWN[path], _PLACES[path]
    for key, value in sorted(mapping(document).items(), key=lambda member: member[0] not in places):
        if key in own:
            continue
        if key not in places:
            _within(key, value, DEEPEST, found)
        elif key == _NAMESPACES:
            for namespace, inner in mapping(value).items():
                _attributes(f"{key}.{namespace}", mapping(inner), own, found)
        else:
            _attributes(key, mapping(value), own, found)
    return found[:MOST_FIELDS]


def _attributes(place: str, attributes: Mapping[str, Any], own: Collection[str], found: list[Field]) -> None:
    """An attribute keeps its name; a list or an object is its value."""
    found += [Field(place, name, value) for name, value in attributes.items() if value is not None and f"{place}.{name}" not in own]


def _within(name: str, value: Any, depth: int, found: list[Field]) -> None:
    """A field of the vendor's form, or those that lie in it. The elements of a list have one name together."""
    if value is None or value in ("", [], {}) or len(found) >= MOST_FIELDS:
        return
    if depth and isinstance(value, Mapping):
        for key, inner in value.items():
            _within(f"{name}.{key}", inner, depth - 1, found)
    elif depth and isinstance(value, list):
        for inner in value:
            _within(f"{name}[]", inner, depth - 1, found)
    else:
        found.append(Field("", name, value))


def as_text(value: Any) -> str:
    """A value as text: alike whether a backend keeps it as number, boolean or text."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except RecursionError:
        return "…"  # values lie within one another too deeply


_Key = tuple[SignalPath, Kind, str, str]


@dataclass
class _Tally:
    example: str
    trace_id: str
    documents: int = 0
    requests: set[str] = field(default_factory=set)
    #: By request, of no more than COMPARED of them.
    values: dict[str, set[str]] = field(default_factory=dict)

    def add(self, trace_id: str, texts: set[str]) -> None:
        self.documents += 1
        self.requests.add(trace_id)
        if trace_id in self.values or len(self.values) < COMPARED:
            self.values.setdefault(trace_id, set()).update(text[: LONGEST_EXAMPLE + 1] for text in texts)


def undeclared(
    entries: Iterable[LedgerEntry],
    observations: Iterable[Observation],
    of: int,
    paths: Collection[SignalPath],
    reasons: Mapping[SignalPath, str] | None = None,
    removed: Callable[[str], str] = lambda text: text,
) -> Found:
    """``entries``: the ledger lines of the sample, of a run of ``of`` requests; ``observations``: what was read of them, each with its
    document. ``reasons``: why a path could not be looked at, or not whole. ``removed``: takes secrets out of what is kept, before it is
    cut, for of a secret that the cut goes through the beginning would be left, which nobody finds any more."""
    lines = list(entries)
    asked = _declared(lines)
    known = {entry.trace_id for entry in lines}
    tallies: dict[_Key, _Tally] = {}
    names: dict[SignalPath, int] = {}
    cut: set[SignalPath] = set()
    documents: dict[SignalPath, dict[Kind, int]] = {path: {} for path in paths}
    requests: dict[SignalPath, set[str]] = {path: set() for path in paths}
    declared: dict[str, dict[str, set[str]]] = {}
    for each in observations:
        trace_id = each.trace_id
        if trace_id not in known or trace_id is None or each.path not in documents or each.document is None:
            continue
        documents[each.path][each.kind] = documents[each.path].get(each.kind, 0) + 1
        requests[each.path].add(trace_id)
        here: dict[_Key, set[str]] = {}
        values = fields(each.path, each.document)
        if len(values) >= MOST_FIELDS:
            cut.add(each.path)
        for found in values:
            text = as_text(found.value)[: LONGEST_EXAMPLE + _BEHIND]
            key = asked.key(each.path, each.kind, found)
            if key is None:
                place, name = (part[: LONGEST_NAME + _BEHIND] for part in (found.place, found.name))
                here.setdefault((each.path, each.kind, place, name), set()).add(text)
            else:
                declared.setdefault(trace_id, {}).setdefault(key, set()).add(text[: LONGEST_EXAMPLE + 1])
        for one, texts in here.items():
            tally = tallies.get(one)
            if tally is None:
                if names.get(each.path, 0) >= MOST_NAMES:
                    cut.add(each.path)
                    continue
                names[each.path] = names.get(each.path, 0) + 1
                tally = tallies[one] = _Tally(_cut(removed(min(texts)), LONGEST_EXAMPLE), trace_id)
            tally.add(trace_id, texts)
    rows = [
        Undeclared(
            path,
            kind,
            _cut(removed(place), LONGEST_NAME),
            _cut(removed(name), LONGEST_NAME),
            tally.documents,
            len(tally.requests),
            tally.example,
            tally.trace_id,
            _same(tally, declared),
        )
        for (path, kind, place, name), tally in tallies.items()
    ]
    order = {path: number for number, path in enumerate(SignalPath)}
    rows.sort(key=lambda row: (order[row.path], row.kind, row.place, row.name))
    why = reasons or {}
    looked = {path: Looked(documents[path], len(requests[path]), path in cut, why.get(path)) for path in SignalPath if path in documents}
    return Found(len(known), of, rows, looked)


class _Asked:
    """Which names are declared on which path and kind of signal."""

    def __init__(self) -> None:
        self._keys: dict[tuple[SignalPath, Kind], dict[str, str]] = {}

    def add(self, path: SignalPath, kind: Kind, key: str) -> None:
        names = self._keys.setdefault((path, kind), {})
        for name in (key, PATHS[path].kept_as(key)):
            names.setdefault(name, key)

    def key(self, path: SignalPath, kind: Kind, found: Field) -> str | None:
        """The declared key that a field is; None where it is none."""
        if path in _DECLARED_IN and found.place not in _DECLARED_IN[path]:
            return None
        if "metadata" in _PLACES[path] and not found.place:
            return None  # X-Ray's own fields are no attributes, even where they are called alike.
        return self._keys.get((path, kind), {}).get(found.name)


def _declared(entries: Iterable[LedgerEntry]) -> _Asked:
    asked = _Asked()
    for route, outcome, status in sorted({(each.route, each.outcome, each.status or 0) for each in entries}):
        try:
            signals = expected(Route(route), Outcome(outcome), status or None)
        except ValueError:
            continue  # of another version: nothing is known to be declared
        for signal in signals:
            for key in (*signal.attributes, *signal.values):
                asked.add(signal.path, signal.kind, key)
    return asked


def _same(tally: _Tally, declared: Mapping[str, Mapping[str, set[str]]]) -> tuple[str, ...]:
    """Declared attributes with the same values in every request where both are there: in :data:`ALIKE` at least, in half of those that
    have the name, and with more than one value, for what never varies is alike by chance."""
    both: dict[str, int] = {}
    seen: dict[str, set[str]] = {}
    differ: set[str] = set()
    for trace_id, values in tally.values.items():
        for key, others in declared.get(trace_id, {}).items():
            if key in differ:
                continue
            if values <= others:
                both[key] = both.get(key, 0) + 1
                seen.setdefault(key, set()).update(values)
            else:
                differ.add(key)
    needed = max(ALIKE, (len(tally.values) + 1) // 2)
    return tuple(sorted(key for key, count in both.items() if key not in differ and count >= needed and len(seen[key]) > 1))


def _cut(text: str, longest: int) -> str:
    """As text that can be written: half of a surrogate pair is JSON, but no Unicode text."""
    return (text if len(text) <= longest else text[:longest] + "…").encode("utf-8", "replace").decode()
