"""How numbers, times, sizes and money are shown. What is unknown is a dash, never zero."""

from __future__ import annotations

import math
import time

UNKNOWN = "—"


def count(value: float | None) -> str:
    """12,345."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def percent(part: float | None, whole: float | None) -> str:
    """0.1 %; a share that is not all never reads 100 %, and one that is not nothing never 0 %."""
    if part is None or not whole:
        return UNKNOWN
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "<0.1 %"
    if 99.9 < share < 100:
        return ">99.9 %"
    return f"{share:.1f} %" if share != int(share) else f"{share:.0f} %"


def milliseconds(value: float | None) -> str:
    """A duration given in milliseconds, in the unit that reads best: 850 µs, 12.3 ms, 4.20 s."""
    if value is None:
        return UNKNOWN
    size = abs(value)
    if size < 1:
        return f"{value * 1000:.0f} µs"
    if size < 10_000:
        return f"{value:.1f} ms" if size < 1000 else f"{value / 1000:.2f} s"
    return f"{value / 1000:.1f} s"


def seconds(value: float | None) -> str:
    """A duration given in seconds."""
    return UNKNOWN if value is None else milliseconds(value * 1000)


def size(value: float | None) -> str:
    """Bytes: 12.3 kB, decimal."""
    if value is None:
        return UNKNOWN
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def dollars(value: float | None) -> str:
    """$12.34; a small amount keeps two digits that say something: $0.000058."""
    if value is None:
        return UNKNOWN
    if value == 0 or abs(value) >= 0.01:
        return f"${value:,.2f}"
    digits = 1 - math.floor(math.log10(abs(value)))
    return f"${value:.{digits}f}" if digits <= 9 else f"${value:.1e}"


def moment(value: float | None) -> str:
    """Epoch seconds as 2026-01-05 08:00:00, UTC; a number that is no time as it is."""
    return UNKNOWN if value is None else _utc("%Y-%m-%d %H:%M:%S", value) or f"{value:g}"


def clock(value: float | None) -> str:
    """Epoch seconds as 08:00:00.123, UTC; a number that is no time as it is."""
    if value is None:
        return UNKNOWN
    text = _utc("%H:%M:%S", value)
    return f"{value:g}" if text is None else f"{text}.{int(value % 1 * 1000):03d}"


def _utc(form: str, value: float) -> str | None:
    """None for what no calendar holds, which telemetry may say."""
    try:
        return time.strftime(form, time.gmtime(value))
    except (OverflowError, ValueError, OSError):
        return None


FILTERS = {each.__name__: each for each in (count, milliseconds, seconds, size, dollars, moment, clock)}
