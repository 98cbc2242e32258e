"""The time range in the address: ``?last=1h``, or ``?from=2026-01-05T08:00:00&to=2026-01-05T09:00:00`` in UTC.

X-Ray's API takes whole seconds, and its page tokens are good for one range only, so a range is made of whole seconds here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from services.compare.web.site import refuse

HOUR: Final = 3600
DAY: Final = 24 * HOUR

_UNITS: Final = {"m": 60, "h": HOUR, "d": DAY}
#: What the form offers: as it stands in the address, and in words.
PRESETS: Final = (("5m", "5 min"), ("30m", "30 min"), ("1h", "1 h"), ("6h", "6 h"), ("24h", "24 h"))
LONG_PRESETS: Final = (("6h", "6 h"), ("24h", "24 h"), ("7d", "7 days"), ("30d", "30 days"))
_LAST: Final = re.compile(r"([1-9]\d{0,3})([mhd])")
#: The times X-Ray can hold: ids of traces begin with 32 bits of them.
_LATEST: Final = 2**32 - 1


@dataclass(frozen=True)
class Span:
    """A time range, in whole epoch seconds. ``last``: as it stood in the address, where it ends now. ``note``: why it is shorter than
    what was asked for."""

    start: int
    end: int
    last: str = ""
    note: str = ""

    @property
    def seconds(self) -> int:
        return max(1, self.end - self.start)

    @property
    def one_day(self) -> bool:
        """Whether the time of day says all."""
        return self.start // DAY == self.end // DAY

    @property
    def query(self) -> dict[str, str]:
        """For addresses of other pages: as it was asked for."""
        return {"last": self.last} if self.last else self.fixed

    @property
    def fixed(self) -> dict[str, str]:
        """For addresses that must mean the same range later, too."""
        return {"from": stamp(self.start), "to": stamp(self.end)}

    def at_most(self, seconds: int, what: str) -> Span:
        """The last part of it, where X-Ray answers no more than that at once."""
        if self.seconds <= seconds:
            return self
        note = f"{what} {seconds // HOUR} hours at most: shown are the last {seconds // HOUR} hours of the range."
        return Span(self.end - seconds, self.end, self.last, note)


def read(arguments: Mapping[str, str], now: float, default: str = "1h") -> Span:
    """The range of an address; the last hour where it says nothing. A page (400) for what is no range."""
    begin, end = arguments.get("from", "").strip(), arguments.get("to", "").strip()
    if not begin and not end:
        return _last(arguments.get("last", "") or default, now)
    stop = moment(end, "to") if end else math.ceil(now)
    start = moment(begin, "from") if begin else stop - HOUR
    if start > stop:
        refuse(f"from={stamp(start)} is after to={stamp(stop)}", "Swap the two.", "No such time range")
    return Span(start, stop)


def _last(text: str, now: float) -> Span:
    match = _LAST.fullmatch(text)
    if match is None:
        refuse(f"last={text} is no length of time", "Minutes, hours or days: 5m, 6h, 7d.", "No such time range")
    end = math.ceil(now)
    return Span(max(0, end - int(match[1]) * _UNITS[match[2]]), end, text)


def moment(text: str, name: str) -> int:
    """A time in the address: ISO 8601, UTC where it says nothing, or epoch seconds."""
    try:
        if re.fullmatch(r"\d{1,10}(\.\d+)?", text):
            seconds = float(text)
        else:
            read = datetime.fromisoformat(text)
            seconds = (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        refuse(f"{name}={text} is no time", "A time looks like 2026-01-05T08:00:00 (UTC), or is in epoch seconds.", "No such time range")
    if not 0 <= seconds <= _LATEST:
        refuse(f"{name}={text} is no time X-Ray can hold", "It holds times of 1970 to 2106.", "No such time range")
    return math.floor(seconds)


def stamp(seconds: float) -> str:
    """As the address and a form's field write a time, UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
