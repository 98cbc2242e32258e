"""What every reader of a backend has in common: the shape of an observation, and how a backend that cannot be read says so.

A reader knows one vendor's public API and nothing of verdicts. It yields :class:`Batch` after :class:`Batch`, so that a run of any size
is read in bounded memory. The only thing that differs between the local cloud and the real vendor is the endpoint.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from compose.settings import SignalPath
from loadtest.ledger import LedgerEntry
from services.cruddur.signals import Kind

#: Seconds before a run's first request and after its last answer in which an observation may still carry the run's time: clocks
#: of this machine and of a vendor differ, and a span may end after the answer was read.
SLACK = 5.0


class Unreadable(Exception):
    """A backend cannot be read back: no key, no permission, no plan, down, or an answer that is not its API's.

    ``reason`` is one line that names what is wrong; ``hint`` the next command to type or setting to change. ``final``: looking again
    in a moment cannot help.
    """

    def __init__(self, reason: str, hint: str = "", final: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint
        self.final = final


# Nobody changes one; not frozen, for that would make each of a million take three times as long.
@dataclass(slots=True)
class Observation:
    """One thing a backend says it has: a span, a segment, a subsegment, a log line or an item.

    ``service`` and ``name`` mean what they mean in :class:`services.cruddur.signals.Signal`.
    ``id`` is the identity it was sent with (span id, segment id) or that the vendor gave it (log event id, occurrence id); the
    same id in the same trace is the same thing.
    ``attributes`` by key, with the value's own JSON type; the reader drops nulls.
    ``start`` epoch seconds, ``duration_ms`` milliseconds; None where the vendor does not say.
    ``ingested_at`` epoch seconds at which the vendor took it, None where it does not say.
    ``error`` whether the backend shows it as an error.
    ``deliveries`` how often the vendor holds this very thing.
    ``units`` how many billable units it is (events, bytes, occurrences); what a unit is, the path's price says.
    ``document`` the vendor's own record, only where a reader was made to give it, or one trace is asked for.
    """

    path: SignalPath
    kind: Kind
    service: str
    name: str
    id: str
    trace_id: str | None
    run: str | None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    parent_id: str | None = None
    start: float | None = None
    duration_ms: float | None = None
    ingested_at: float | None = None
    error: bool = False
    deliveries: int = 1
    units: int = 1
    document: Any = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Observations as they come in.

    ``replaces`` are trace ids whose earlier observations, on this reader's paths, are no longer true: the batches that follow hold
    all there is of them. A first read replaces nothing. ``anew``: nothing of what was read before is true any longer, strays included.
    ``unknown`` are trace ids about which the vendor could not answer, with why.
    """

    observations: list[Observation] = field(default_factory=list)
    replaces: frozenset[str] = frozenset()
    anew: bool = False
    unknown: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Window:
    """The run that is read: its id, the time it took (epoch seconds, slack included) and the trace ids in its ledger."""

    run: str
    start: float
    end: float
    traces: frozenset[str] = frozenset()

    @classmethod
    def around(cls, run: str, first: float, last: float, traces: frozenset[str]) -> Window:
        """Of a run whose first request was sent at ``first`` and whose last answer came at ``last``."""
        return cls(run, first - SLACK, last + SLACK, traces)

    @classmethod
    def of(cls, entries: Sequence[LedgerEntry]) -> Window:
        """Of some requests of a run, at least one."""
        return cls.around(
            entries[0].run,
            min(entry.start for entry in entries),
            max(entry.start + entry.duration_ms / 1000 for entry in entries),
            frozenset(entry.trace_id for entry in entries),
        )


class Reader(Protocol):
    """One backend's public API, read. Not safe for several threads at once; each reader is used by one."""

    #: The paths this reader tells apart; one fetch serves them all.
    paths: frozenset[SignalPath]
    #: Seconds between two reads, as the vendor's rate limit wants it.
    pause: float

    def read(self, window: Window, wanted: Collection[str] | None) -> Iterator[Batch]:
        """Everything of a run (``wanted`` None), or, on a later look, what may have changed: new observations, and all of the
        ``wanted`` traces. Raises Unreadable."""
        ...

    def trace(self, trace_id: str, around: float) -> list[Observation]:
        """One trace with its documents; ``around`` is when it was, in epoch seconds. Empty when the vendor has none. Raises Unreadable."""
        ...


def sent_at(trace_id: str) -> float:
    """When a trace began, in epoch seconds: its id starts with it, so that X-Ray takes the id too ("Tracing header", AWS X-Ray)."""
    return float(int(trace_id[:8], 16))


def text(value: Any) -> str | None:
    """``value`` where it is a text that says something, else None: whoever may write to a backend may write anything."""
    return value if isinstance(value, str) and value else None


def mapping(value: Any) -> Mapping[str, Any]:
    """``value`` where it is a JSON object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def parse(document: str | bytes) -> Any:
    """A JSON document. Raises ValueError, also where values lie within one another too deeply.

    orjson first, which takes a fraction of the time; what it refuses and others write is read all the same: NaN, and half of a surrogate
    pair, as a question mark, for nothing could write it on.
    """
    try:
        return orjson.loads(document)
    except orjson.JSONDecodeError:
        try:
            return json.loads(json.dumps(json.loads(document), ensure_ascii=False).encode("utf-8", "replace"))
        except RecursionError as error:
            raise ValueError("values lie within one another too deeply") from error


def unreadable(error: Exception) -> Unreadable:
    """What reading failed with: an answer of a shape no reader knows is a backend that cannot be read, not an empty one."""
    if isinstance(error, Unreadable):
        return error
    return Unreadable(
        f"the answer could not be understood ({type(error).__name__}: {error_line(error)})", "is the endpoint the vendor's API?"
    )


def error_line(error: BaseException) -> str:
    """One line about an exception, short enough for a table."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
