"""What compare says: verdicts, findings, strays and measures. Data only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from compose.settings import SignalPath


class Verdict(StrEnum):
    SEEN = "seen"
    PARTIAL = "partial"
    MISSING = "missing"
    DUPLICATE = "duplicate"
    PENDING = "pending"
    UNREADABLE = "unreadable"
    UNKNOWN = "unknown"
    NOT_EXPECTED = "not-expected"
    NOT_SAMPLED = "not-sampled"


#: Verdicts that say "as expected".
AS_EXPECTED: Final = frozenset({Verdict.SEEN, Verdict.NOT_EXPECTED, Verdict.NOT_SAMPLED})
#: Verdicts that say "something differs".
DIFFERS: Final = frozenset({Verdict.PARTIAL, Verdict.MISSING, Verdict.DUPLICATE, Verdict.PENDING})


@dataclass(frozen=True)
class PathState:
    """How reading a path ended. ``unreadable`` is the reason why it could not be read."""

    settled: bool = True
    unreadable: str | None = None


@dataclass(frozen=True)
class Finding:
    """One request on one path that is not as expected.
    ``absent`` and ``extra`` say in words what is not there and what is there too often."""

    sequence: int
    trace_id: str
    route: str
    outcome: str
    status: int | None
    start: float
    duration_ms: float
    path: SignalPath
    verdict: Verdict
    absent: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    #: Whether something did not arrive at all, rather than arrived without an attribute.
    lost: bool = False
    unknown: str | None = None


@dataclass(frozen=True)
class Stray:
    """An observation no ledger line explains."""

    path: SignalPath
    what: str
    trace_id: str | None
    id: str
    why: str


@dataclass(frozen=True)
class Kept:
    """How a declared attribute fared on a path, over all signals that were found and declare it."""

    path: SignalPath
    key: str
    kept: int
    renamed: int
    changed: int
    dropped: int


@dataclass(frozen=True)
class Measures:
    """What was measured on one path; None where the backend does not say. Times are p50 and p99."""

    #: Milliseconds by which the ledger's duration is longer than the backend's.
    duration_difference_ms: tuple[float, float] | None
    #: Seconds from the answer until the backend had everything of the request.
    visible_s: tuple[float, float] | None
    #: Requests shown with an error.
    errors: int
    #: Billable units by the reader's count, and distinct traces.
    units: int
    traces: int


@dataclass(frozen=True)
class Judgement:
    counts: Mapping[SignalPath, Mapping[Verdict, int]]
    findings: Sequence[Finding]
    strays: Sequence[Stray]
    measures: Mapping[SignalPath, Measures]
    attributes: Sequence[Kept]
    requests: int


@dataclass(frozen=True)
class MetricTotal:
    """A metric's total over the run beside the ledger's.

    ``expected``: from and to; they differ by the requests that nobody saw an answer to. ``observed`` None: it could not be read, and
    ``reason`` says why.
    """

    path: SignalPath
    name: str
    expected: tuple[int, int]
    observed: float | None
    reason: str | None = None

    @property
    def agrees(self) -> bool | None:
        return None if self.observed is None else self.expected[0] <= self.observed <= self.expected[1]


@dataclass(frozen=True)
class Progress:
    """How far a path is: requests whose expected signals are all there, requests that lack some, and observations."""

    complete: int
    incomplete: int
    observations: int
