"""A request as a waterfall: each path's observations as rows on one time axis, in the order in which they are drawn. Pure.

The axis is that of the request: from the client's sending, or whatever began before, to the last thing that ended. What lies far outside
(a clock that is wrong, a vendor that made a time up) does not stretch it: it is drawn at the edge and says where it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from compose.settings import SignalPath
from services.compare.alignment import Alignment, Cell
from services.compare.paths import SAMPLED_KINDS
from services.compare.readers.base import Observation
from services.compare.request import Seen, started
from services.cruddur.signals import Signal

#: Seconds around the request within which things stretch the axis.
AROUND: Final = 60.0
#: Rows of a pane, and of the table of operations, until all are asked for.
ROWS: Final = 120
#: Levels by which a row is indented; what lies deeper is as far in as the last.
LEVELS: Final = 8
#: Ticks on the axis, about.
TICKS: Final = 5


@dataclass(frozen=True)
class Axis:
    """``zero``: epoch seconds of 0 ms. ``low``, ``high``: its ends, in milliseconds from there. ``ticks``: milliseconds."""

    zero: float
    low: float
    high: float
    ticks: Sequence[float]

    def at(self, milliseconds: float) -> float:
        """Where a time lies, in percent of the width, at the edge where it lies outside."""
        share = (milliseconds - self.low) / (self.high - self.low)
        return round(100 * min(1.0, max(0.0, share)), 3)

    def holds(self, milliseconds: float) -> bool:
        return self.low <= milliseconds <= self.high


@dataclass(frozen=True)
class Row:
    """One line of a pane.

    ``number``: index of the observation, None for a ``ghost``: what is missing, at the place of the same operation elsewhere, ``title``
    being what it is called there and ``missing`` the declared signal, if any. ``offset``: milliseconds from the axis's zero, None where
    the vendor does not say. ``left``, ``width``: in percent of the axis; a width of 0 is a point. ``outside``: it lies before or after
    the axis. ``whole_seconds``: the vendor keeps no part of a second, so the time is somewhere in the second that begins here.
    ``cell``: on an operation's first row, what differs.
    """

    operation: str
    depth: int
    number: int | None = None
    observation: Observation | None = None
    offset: float | None = None
    left: float = 0.0
    width: float = 0.0
    outside: str = ""
    whole_seconds: bool = False
    ghost: bool = False
    title: str = ""
    missing: Signal | None = None
    cell: Cell | None = None


@dataclass(frozen=True)
class Pane:
    """``rows``: those that are drawn; ``total``: all there are."""

    path: SignalPath
    rows: Sequence[Row]
    total: int


def axis(seen: Seen) -> Axis:
    """The time axis of a request."""
    around = started(seen)
    spans = [interval for each in seen.observations if each.kind in SAMPLED_KINDS and (interval := _interval(each)) is not None]
    if seen.entry is None and spans:
        # A trace id need not begin with a time. What most of it says is right.
        around = sorted(start for start, _ in spans)[len(spans) // 2]
    times = [
        time for each in seen.observations if (interval := _interval(each)) is not None and not _whole_seconds(each) for time in interval
    ]
    if seen.entry is not None:
        around = seen.entry.start
        times += [around, around + seen.entry.duration_ms / 1000]
    length = seen.entry.duration_ms / 1000 if seen.entry is not None else 0.0
    near = [time for time in times if around - AROUND <= time <= around + length + AROUND] or [around]
    zero = seen.entry.start if seen.entry is not None else min(near)
    low, high = (min(near) - zero) * 1000, (max(near) - zero) * 1000
    high = max(high, low + 0.001)
    # What ends at the very edge is seen to end.
    high += (high - low) * 0.02
    return Axis(zero, low, high, _ticks(low, high))


def _ticks(low: float, high: float) -> list[float]:
    step = 10 ** math.floor(math.log10((high - low) / TICKS))
    step *= next(times for times in (1, 2, 5, 10) if (high - low) / (step * times) <= TICKS)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def panes(seen: Seen, observations: Sequence[Observation], alignment: Alignment, of: Axis, limit: int | None = ROWS) -> list[Pane]:
    """A pane for each path, the ledger apart. ``observations``: those that were aligned. ``limit``: rows of each; None: all."""
    found = []
    for path in seen.paths:
        if path.state == "off":
            continue
        rows = _rows(path.path, observations, alignment, of)
        found.append(Pane(path.path, rows if limit is None else rows[:limit], len(rows)))
    return found


def _rows(path: SignalPath, observations: Sequence[Observation], alignment: Alignment, of: Axis) -> list[Row]:
    """In the order of the operations, which is that of the tree: the same one is at the same place in each pane, as far as it can be."""
    rows: list[Row] = []
    for operation in alignment.operations:
        cell = operation.cells.get(path)
        if cell is None:
            continue
        found = len(rows)
        for number in cell.members:
            each = observations[number]
            # A log line or an item stands with its operation.
            depth = alignment.depths[number] if each.kind in SAMPLED_KINDS else operation.depth
            rows.append(_row(operation.key, min(depth, LEVELS), number, each, of))
        absent: list[Signal | None] = [*cell.missing]
        if not cell.members and not absent and cell.differences:
            absent.append(None)  # Nothing declares it: a span that only the twin has.
        reference = observations[operation.reference] if operation.reference is not None else None
        for signal in absent:
            ghost = Row(operation.key, min(operation.depth, LEVELS))
            if reference is not None and (signal is None or signal.kind in SAMPLED_KINDS):
                ghost = _row(operation.key, ghost.depth, None, reference, of)
            rows.append(replace(ghost, observation=None, missing=signal, ghost=True, title=operation.title))
        if len(rows) > found:
            rows[found] = replace(rows[found], cell=cell)
    return rows


def _row(operation: str, depth: int, number: int | None, each: Observation, of: Axis) -> Row:
    interval = _interval(each)
    if interval is None:
        return Row(operation, depth, number, each)
    start, end = ((time - of.zero) * 1000 for time in interval)
    whole = _whole_seconds(each)
    if whole:
        end = start + 1000
    outside = "after" if start > of.high else "before" if end < of.low else ""
    left = of.at(start)
    return Row(operation, depth, number, each, start, left, round(of.at(end) - left, 3), outside, whole)


def _interval(each: Observation) -> tuple[float, float] | None:
    """When something began and ended, epoch seconds; None where the vendor does not say, or says nothing that can be a time."""
    start, duration = each.start, each.duration_ms if each.kind in SAMPLED_KINDS else 0.0
    if not isinstance(start, (int, float)) or not math.isfinite(start) or abs(start) > 1e11:
        return None
    if not isinstance(duration, (int, float)) or not math.isfinite(duration) or not 0 <= duration < 1e12:
        duration = 0.0
    return float(start), float(start) + duration / 1000


def _whole_seconds(each: Observation) -> bool:
    """An item's time is whole seconds ("Create item", Rollbar's API reference: ``timestamp``, a Unix timestamp)."""
    return each.kind == "item" and each.start is not None and each.start == int(each.start)
