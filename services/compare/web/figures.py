"""Plots: what the browser draws, and the same as a table for who cannot see or does not run it.

figure = Figure("Durations", Axis("share of requests", "percent"), Axis("duration", "ms", log=True), xs, (Series("ledger", ys), ...))
{{ parts.plot(figure) }}
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from services.compare.web.text import plain

Unit = Literal["ms", "s", "percent", "count", "bytes", "usd", "time", "moment"]


@dataclass(frozen=True)
class Axis:
    """``unit`` decides how values are shown; ``time`` and ``moment`` are epoch seconds, shown
    without and with the day. ``log``: logarithmic, values above zero only."""

    label: str
    unit: Unit
    log: bool = False


@dataclass(frozen=True)
class Series:
    """``values``: one for each x, None where there is none. ``path``: a signal path, which decides colour and dashes; else ``number``, 1
    to 8, which tells apart what has no colour of its own; else the text's colour. ``kind``: a line, steps, bars or points."""

    label: str
    values: Sequence[float | None]
    path: str = ""
    kind: Literal["line", "steps", "bars", "points"] = "line"
    number: int = 0


@dataclass(frozen=True)
class Figure:
    """``xs`` ascending. ``rows``: indices of ``xs`` that the table shows; default: up to twelve, evenly."""

    title: str
    x: Axis
    y: Axis
    xs: Sequence[float]
    series: Sequence[Series]
    rows: Sequence[int] = ()

    @property
    def table_rows(self) -> Sequence[int]:
        if self.rows or len(self.xs) <= 12:
            return self.rows or range(len(self.xs))
        return sorted({round(number * (len(self.xs) - 1) / 11) for number in range(12)})

    @property
    def data(self) -> Markup:
        """For ``static/js/plot.js``, safe inside a script element."""
        document = {
            "x": {"label": plain(self.x.label), "unit": self.x.unit, "log": self.x.log},
            "y": {"label": plain(self.y.label), "unit": self.y.unit, "log": self.y.log},
            "xs": list(self.xs),
            "series": [
                {"label": plain(each.label), "path": each.path, "number": each.number, "kind": each.kind, "values": list(each.values)}
                for each in self.series
            ],
        }
        text = json.dumps(document, ensure_ascii=True, allow_nan=False)
        return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704 (escaped here)
