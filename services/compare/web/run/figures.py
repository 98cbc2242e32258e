"""What a record says of durations and of the time until something was visible, as plots. The numbers are worked out by the record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from services.compare.record import Record
from services.compare.web.figures import Axis, Figure, Series
from services.compare.web.run.memory import once

#: Shares of the requests, in percent, at which a curve has a point: the slow end is the one that people look for.
SHARES: Final = (*range(100), 99.2, 99.4, 99.6, 99.8, 99.9, 99.95, 99.99, 100)
#: The rows of the table beside it.
_ROWS: Final = tuple(SHARES.index(share) for share in (0, 25, 50, 75, 90, 95, 99, 99.9, 100))
#: Points of a curve over time, at most.
MOMENTS: Final = 120
#: Requests between two points, on the average at least: else a quantile says nothing.
BETWEEN: Final = 20
#: Widths of those points, in seconds.
_WIDTHS: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)


@once
def durations(record: Record) -> Figure | None:
    """How long the requests took: for the client, and by each path that says so. None where nobody saw an answer."""
    quantile = ", ".join(f"{share / 100:.6g}" for share in SHARES)
    ledger = record.rows(f"SELECT count(*) AS n, quantile_cont(duration_ms, [{quantile}]) AS curve FROM requests WHERE status IS NOT NULL")[
        0
    ]
    if not ledger["n"]:
        return None
    series = [Series(f"ledger ({ledger['n']:,})", _rounded(ledger["curve"], above_zero=True))]
    series += [
        Series(f"{path} ({count:,})", _rounded(curve, above_zero=True), path)
        for path, count, curve in _curves(record, "duration_ms", quantile)
    ]
    return Figure(
        "Durations: how long requests took, for the client and by each path",
        Axis("share of requests that took no longer", "percent"),
        Axis("duration", "ms", log=True),
        SHARES,
        series,
        _ROWS,
    )


@once
def visible(record: Record) -> Figure | None:
    """How long it took until each path had everything of a request. None where no path says."""
    quantile = ", ".join(f"{share / 100:.6g}" for share in SHARES)
    curves = list(_curves(record, "visible_s", quantile))
    if not curves:
        return None
    # Before the answer is possible: a span of the request's beginning is sent while it goes on.
    log = all(curve[0] > 0 for _, _, curve in curves)
    return Figure(
        "Time until visible: from the answer until the backend had everything of the request",
        Axis("share of requests that were visible by then", "percent"),
        Axis("visible after", "s", log=log),
        SHARES,
        [Series(f"{path} ({count:,})", _rounded(curve), path) for path, count, curve in curves],
        _ROWS,
    )


@once
def durations_over_time(record: Record) -> Figure | None:
    """The client's durations by when a request was sent. None of a run that is over in a moment."""
    width = _width(record)
    if width is None:
        return None
    rows = record.rows(
        "SELECT floor(start / ?) * ? AS slot, quantile_cont(duration_ms, [0.5, 0.99]) AS pair FROM requests WHERE status IS NOT NULL "
        "GROUP BY slot ORDER BY slot",
        [width, width],
    )
    if len(rows) < 2:
        return None
    pairs = [_rounded(row["pair"], above_zero=True) for row in rows]
    return Figure(
        f"Durations over time, by {_span(width)}",
        Axis("sent at, UTC", "time"),
        Axis("duration", "ms", log=True),
        [row["slot"] for row in rows],
        [Series("ledger, p50", [pair[0] for pair in pairs]), Series("ledger, p99", [pair[1] for pair in pairs], kind="points")],
    )


@once
def visible_over_time(record: Record) -> Figure | None:
    """The longest time until something was visible, by when the request was sent: a backend that was away shows as a slope."""
    width = _width(record)
    if width is None:
        return None
    found: dict[str, dict[float, float]] = {}
    for row in record.rows(
        "SELECT path, floor(start / ?) * ? AS slot, max(visible_s) AS longest FROM outcomes JOIN requests USING (sequence) "
        "WHERE visible_s IS NOT NULL GROUP BY path, slot ORDER BY slot",
        [width, width],
    ):
        found.setdefault(row["path"], {})[row["slot"]] = row["longest"]
    found = {path: found[path] for path, _ in _read(record) if path in found}
    moments = sorted({at for each in found.values() for at in each})
    if len(moments) < 2:
        return None
    return Figure(
        f"Time until visible over time, the longest of each {_span(width)}",
        Axis("sent at, UTC", "time"),
        Axis("visible after", "s", log=all(value > 0 for each in found.values() for value in each.values())),
        moments,
        [Series(path, _rounded([each.get(at) for at in moments]), path) for path, each in found.items()],
    )


def silent(record: Record) -> Sequence[str]:
    """Paths that were read and do not say when they had a request."""
    return [path for path, about in _read(record) if not about["visible_seconds"]]


def spanless(record: Record) -> Sequence[str]:
    """Paths that were read and hold no spans or segments, so that they do not say how long a request took."""
    return [path for path, about in _read(record) if not about["duration_difference_ms"]]


def _read(record: Record) -> Iterable[tuple[str, Mapping[str, Any]]]:
    return ((path, about) for path, about in record.document["paths"].items() if about["state"] in ("settled", "changing"))


def _curves(record: Record, column: str, quantile: str) -> Iterable[tuple[str, int, Sequence[float]]]:
    rows: Mapping[str, Mapping[str, Any]] = {
        row["path"]: row
        for row in record.rows(
            f"SELECT path, count(*) AS n, quantile_cont({column}, [{quantile}]) AS curve FROM outcomes "
            f"WHERE {column} IS NOT NULL GROUP BY path"
        )
    }
    return ((path, rows[path]["n"], rows[path]["curve"]) for path, _ in _read(record) if path in rows)


def _width(record: Record) -> float | None:
    """Seconds between two points of a curve over time."""
    row = record.rows("SELECT max(start) - min(start) AS seconds, count(*) AS n FROM requests")[0]
    if not row["seconds"]:
        return None
    points = max(1.0, min(MOMENTS, row["n"] / BETWEEN))
    return next((width for width in _WIDTHS if row["seconds"] / width < points), row["seconds"] / points)


def _span(width: float) -> str:
    return f"{width:.3g} s" if width < 60 else f"{width / 60:.3g} min"


def _rounded(values: Sequence[float | None], above_zero: bool = False) -> list[float | None]:
    """With as many digits as a plot can show; None where a logarithmic axis has no place for it."""
    return [None if value is None or (above_zero and value <= 0) else float(f"{value:.5g}") for value in values]
