"""The time range of an X-Ray page: `vendors/timerange.py`'s, in whole seconds.

X-Ray's API takes whole seconds, and its page tokens are good for one range only. What is longer than X-Ray answers at once is cut.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from services.compare.web.site import refuse
from services.compare.web.vendors import timerange
from services.compare.web.vendors.timerange import Preset, TimeRange

HOUR: Final = 3600
DAY: Final = 24 * HOUR
#: The times X-Ray can hold: ids of traces begin with 32 bits of them.
_LATEST: Final = 2**32 - 1


@dataclass(frozen=True)
class Span:
    """A time range, in whole epoch seconds. ``asked``: what the address says, where it is a page's. ``note``: why this is shorter."""

    start: int
    end: int
    asked: TimeRange | None = None
    note: str = ""

    @property
    def seconds(self) -> int:
        return max(1, self.end - self.start)

    @property
    def one_day(self) -> bool:
        """Whether the time of day says all."""
        return self.start // DAY == self.end // DAY

    @property
    def query(self) -> Mapping[str, str]:
        """For addresses of other pages: as it was asked for."""
        return self.asked.query if self.asked else self.fixed

    @property
    def fixed(self) -> Mapping[str, str]:
        """For addresses that must mean the same range later, too."""
        return {"range": timerange.CUSTOM, "from": stamp(self.start), "to": stamp(self.end)}

    def at_most(self, seconds: int, what: str) -> Span:
        """The last part of it, where X-Ray answers no more than that at once."""
        if self.seconds <= seconds:
            return self
        note = f"{what} {seconds // HOUR} hours at most: shown are the last {seconds // HOUR} hours of the range."
        return replace(self, start=self.end - seconds, note=note)

    def since(self, oldest: int, note: str) -> Span:
        """The part of it from ``oldest`` on, where X-Ray knows nothing from before."""
        return self if self.start >= oldest else replace(self, start=oldest, end=max(oldest, self.end), note=note)


def read(presets: Sequence[Preset], default: str) -> Span:
    """The range of this page's address; a page (400) for what is none that X-Ray can hold."""
    asked = timerange.read(presets, default)
    if asked.start < 0 or asked.end > _LATEST:
        refuse(f"{asked.words}: that is no time X-Ray can hold.", "It holds times of 1970 to 2106.", "No such time range")
    start, end = math.floor(asked.start), math.ceil(asked.end)
    if asked.name in {preset.name for preset in asked.presets}:
        # Both ends come from one now: rounded alike, the range is as long as it says.
        start = end - round(asked.seconds)
    return Span(start, end, asked)


def stamp(seconds: float) -> str:
    """As the address and a form's field write a time, UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
