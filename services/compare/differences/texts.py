"""A check's values and result in words, the same in the terminal, in Markdown, in JUnit and on the page."""

from __future__ import annotations

from typing import Final

from services.compare.differences.contrast import Check, Unit

#: Mark and meaning of each result.
RESULTS: Final = {
    "same": ("=", "no difference beyond chance and threshold"),
    "better": ("↓", "better"),
    "worse": ("↑", "worse, within the threshold"),
    "exceeded": ("✗", "beyond the threshold"),
    "too few": ("?", "beyond the threshold, but too few were measured to tell it from chance"),
    "unknown": ("⊘", "cannot be compared"),
}


def value(amount: float | None, unit: Unit) -> str:
    """One value with its unit; a dash for what is not known."""
    if amount is None:
        return "—"
    match unit:
        case "ms":
            return f"{amount:,.1f} ms"
        case "s":
            return f"{amount:,.3f} s"
        case "share":
            return f"{amount * 100:.3g} %"
        case "usd":
            return f"${amount:,.2f}" if amount >= 100 else f"${amount:.3g}"
        case _:
            return f"{amount:,.0f}" if amount >= 1e6 else f"{amount:,.6g}"


def change(check: Check) -> str:
    """By how much it grew; a dash where nothing can be said."""
    if check.unit == "share" or check.change is None:
        return "—"
    return f"{check.change * 100:+.0f} %"


def failure(check: Check) -> str:
    """One sentence for what is beyond its threshold, or cannot be compared."""
    if check.result == "unknown":
        return f"{check.where}: {check.what} cannot be compared: {check.reason}"
    tail = f" ({check.reason})" if check.reason else ""
    return f"{check.where}: {check.what} {value(check.before, check.unit)} → {value(check.after, check.unit)}, accepted {check.limit}{tail}"
