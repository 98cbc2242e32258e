"""A small line without axes, drawn on the server: for what changes every second, where a plot would be made anew each time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 300, 48


@dataclass(frozen=True)
class Sparkline:
    """``lines``: the points of SVG polylines in a box of WIDTH and HEIGHT, zero at its bottom, one for each stretch with values."""

    lines: tuple[str, ...]
    top: float
    last: float | None


def of(values: Sequence[float | None]) -> Sparkline:
    """A line through ``values``, left to right; None leaves a gap."""
    known = [value for value in values if value is not None]
    top = max(known, default=0.0)
    step = WIDTH / max(1, len(values) - 1)
    lines: list[list[str]] = [[]]
    for number, value in enumerate(values):
        if value is None:
            lines.append([])
        else:
            lines[-1].append(f"{number * step:.1f},{HEIGHT - 2 - (HEIGHT - 4) * value / (top or 1):.1f}")
    # A single point would not be seen.
    drawn = [points if len(points) > 1 else [points[0], points[0]] for points in lines if points]
    return Sparkline(tuple(" ".join(points) for points in drawn), top, known[-1] if known else None)
