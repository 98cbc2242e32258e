"""How a run that is going on is doing: its ledgers, read as they grow.

    pulse = Pulse(run.folder)
    pulse.refresh()                # reads only what was added since
    pulse.finished, pulse.rate(5), pulse.percentile(99)

Costs what is new, not what is there: a run of 100,000 requests is refreshed in milliseconds. Percentiles are exact, by nearest rank,
as in the summary that the load prints. Not safe for several threads at once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import orjson

from compose.settings import SignalPath
from services.compare.paths import PATHS, SAMPLED_KINDS
from services.cruddur.signals import Outcome, Route, expected

#: Points that the course of a run has at most; then two neighbours become one.
POINTS: Final = 240


@dataclass
class Interval:
    """The requests that ended within one interval of the run's course."""

    finished: int = 0
    errors: int = 0
    durations: list[float] = field(default_factory=list)

    def add(self, other: Interval) -> None:
        self.finished += other.finished
        self.errors += other.errors
        self.durations += other.durations

    def percentile(self, percent: float) -> float | None:
        """Milliseconds; None where nothing was answered."""
        return _rank(sorted(self.durations), percent)


class Pulse:
    """One run's ledgers so far.

    ``expected``: for each path and second of the trace ids, the requests that must show something there (``services.cruddur.signals``),
    by what was sampled. ``unreadable``: whole lines that are none of a ledger's.
    """

    def __init__(self, folder: Path, paths: Collection[SignalPath] = frozenset(SignalPath)) -> None:
        self.folder = folder
        self.paths = tuple(path for path in SignalPath if path in paths)
        self.finished = 0
        self.unanswered = 0
        self.statuses: Counter[int] = Counter()
        self.reasons: Counter[str] = Counter()
        self.unreadable = 0
        self.expected: dict[SignalPath, Counter[int]] = {path: Counter() for path in self.paths}
        #: Epoch seconds: when the first request was sent, and when the last one ended.
        self.began: float | None = None
        self.last: float | None = None
        #: Seconds of each interval of the course.
        self.width = 1
        self._durations: list[float] = []
        self._seconds: Counter[int] = Counter()
        self._intervals: dict[int, Interval] = {}
        self._read: dict[Path, int] = {}
        self._cut: dict[Path, bytes] = {}

    @property
    def errors(self) -> int:
        """Requests that were answered 5xx, or not at all."""
        return self.unanswered + sum(count for status, count in self.statuses.items() if status >= 500)

    def refresh(self) -> None:
        """Take in what the ledgers have grown by. A last line that is not whole yet waits for its rest."""
        fresh: list[float] = []
        for path in sorted(self.folder.glob("ledger-*.jsonl")):
            with path.open("rb") as file:
                offset = file.seek(self._read.get(path, 0))
                news = file.read()
            self._read[path] = offset + len(news)
            *lines, cut = (self._cut.get(path, b"") + news).split(b"\n")
            self._cut[path] = cut
            for line in lines:
                self._take(line, fresh)
        # Two sorted runs in one list: Timsort merges them without comparing everything anew.
        self._durations += sorted(fresh)
        self._durations.sort()
        while self._intervals and max(self._intervals) - min(self._intervals) >= POINTS:
            self._widen()

    def percentile(self, percent: float) -> float | None:
        """Of the durations of all answered requests, milliseconds; None while there is none."""
        return _rank(self._durations, percent)

    def rate(self, seconds: int | None = None) -> float | None:
        """Requests a second: of the whole seconds before the last request's end, or of all. None while there is too little to say."""
        if self.began is None or self.last is None:
            return None
        if seconds is None:
            return self.finished / max(self.last - self.began, 1.0)
        # The second in which the last request ended is not over.
        end = int(self.last)
        begin = max(end - seconds, int(self.began))
        return sum(self._seconds[second] for second in range(begin, end)) / (end - begin) if end > begin else None

    def course(self) -> list[tuple[int, Interval]]:
        """Each interval of :attr:`width` seconds with its begin, epoch seconds, empty ones too, ascending."""
        if not self._intervals:
            return []
        nothing = Interval()
        numbers = range(min(self._intervals), max(self._intervals) + 1)
        return [(number * self.width, self._intervals.get(number, nothing)) for number in numbers]

    def _take(self, line: bytes, fresh: list[float]) -> None:
        try:
            entry: dict[str, Any] = orjson.loads(line)
            start, duration, status = float(entry["start"]), float(entry["duration_ms"]), entry["status"]
            second = int(entry["trace_id"][:8], 16)
            sampled = entry["sampled_xray_sdk"] is True, entry["sampled_otel"] is True
            shows = _shows(entry["route"], entry["outcome"], status, *sampled)
            end = start + duration / 1000
            if not (status is None or isinstance(status, int)) or not 0 <= end < 2**33:
                raise ValueError
        except (ValueError, KeyError, TypeError):
            self.unreadable += 1
            return
        self.finished += 1
        self.began = start if self.began is None else min(self.began, start)
        self.last = end if self.last is None else max(self.last, end)
        self._seconds[int(end)] += 1
        interval = self._intervals.setdefault(int(end) // self.width, Interval())
        interval.finished += 1
        if status is None:
            self.unanswered += 1
            self.reasons[str(entry.get("error"))] += 1
        else:
            self.statuses[status] += 1
            fresh.append(duration)
            interval.durations.append(duration)
        interval.errors += status is None or status >= 500
        for path in self.paths:
            if path in shows:
                self.expected[path][second] += 1

    def _widen(self) -> None:
        self.width *= 2
        intervals: dict[int, Interval] = {}
        for number, interval in sorted(self._intervals.items()):
            intervals.setdefault(number // 2, Interval()).add(interval)
        self._intervals = intervals


@lru_cache(maxsize=4096)
def _shows(route: str, outcome: str, status: int | None, xray_sdk: bool, otel: bool) -> frozenset[SignalPath]:
    """The paths on which such a request must show something: log lines and items always, what is sampled where it was."""
    sampled = {"xray_sdk": xray_sdk, "otel": otel, None: True}
    signals = expected(Route(route), Outcome(outcome), status)
    return frozenset(signal.path for signal in signals if signal.kind not in SAMPLED_KINDS or sampled[PATHS[signal.path].decider])


def _rank(ordered: Sequence[float], percent: float) -> float | None:
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)] if ordered else None
