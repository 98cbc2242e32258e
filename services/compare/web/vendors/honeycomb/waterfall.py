"""The spans of one trace as rows: parents before their children, each with its place on the trace's time. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.compare.readers.base import Observation

#: Levels by which a row is indented at most.
LEVELS = 12


@dataclass(frozen=True)
class Row:
    """``left``, ``width``: in percent of the trace's time; a width of 0 is a point. ``offset_ms``: after the trace's start."""

    each: Observation
    depth: int
    left: float
    width: float
    offset_ms: float | None


def rows(observations: Sequence[Observation]) -> list[Row]:
    """Every observation once, whatever its parent says: one that is unknown, or that lies in a circle, counts as none."""
    timed = [(each.start, (each.duration_ms or 0.0) / 1000) for each in observations if each.start is not None]
    zero = min((start for start, _ in timed), default=0.0)
    length = max((start + duration - zero for start, duration in timed), default=0.0) or 0.001
    spans = {each.id for each in observations if each.kind == "span"}
    children: dict[str | None, list[int]] = {}
    for number, each in enumerate(observations):
        children.setdefault(each.parent_id if each.parent_id in spans and each.parent_id != each.id else None, []).append(number)
    found: list[Row] = []
    left_over = dict.fromkeys(range(len(observations)))

    def order(numbers: list[int]) -> list[int]:
        return sorted(numbers, key=lambda number: (observations[number].start or 0.0, number), reverse=True)

    todo = [(0, number) for number in order(children.get(None, []))]
    while todo or left_over:
        # What is left when the roots are done lies in circles.
        depth, number = todo.pop() if todo else (0, next(iter(left_over)))
        if number not in left_over:
            continue
        del left_over[number]
        each = observations[number]
        start = None if each.start is None else each.start - zero
        left = 0.0 if start is None else 100 * start / length
        width = 0.0 if start is None else min(100 - left, 100 * (each.duration_ms or 0.0) / 1000 / length)
        found.append(Row(each, min(depth, LEVELS), round(left, 3), round(width, 3), None if start is None else start * 1000))
        if each.kind == "span":
            todo += [(depth + 1, child) for child in order(children.get(each.id, []))]
    return found
