"""The time range of a vendor's page, in its address: a preset that ends now, a run's own time, or two moments (UTC).

    ?range=15m
    ?range=20260105-080000-ab12
    ?range=custom&from=2026-01-05T08:00&to=2026-01-05T09:00

    chosen = timerange.read(timerange.within(6 * 3600))
    found = client.get_service_graph(StartTime=chosen.start, EndTime=chosen.end)
    return render_template("vendors/…", range=chosen)       # {{ timerange.control(range) }} within a form of method get

What cannot be meant is refused with a page (400) that says what can.
"""

from __future__ import annotations

import calendar
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from flask import request

from loadtest.ledger import LedgerError
from loadtest.runs import IMPORTED, RUN_ID, RunError
from services.compare.readers.base import SLACK
from services.compare.web.site import refuse, site


@dataclass(frozen=True)
class Preset:
    """``seconds`` before now."""

    name: str
    label: str
    seconds: int


PRESETS: Final = (
    Preset("5m", "Last 5 minutes", 300),
    Preset("15m", "Last 15 minutes", 900),
    Preset("1h", "Last hour", 3600),
    Preset("6h", "Last 6 hours", 6 * 3600),
    Preset("24h", "Last 24 hours", 24 * 3600),
    Preset("7d", "Last 7 days", 7 * 24 * 3600),
)
CUSTOM: Final = "custom"
#: For what is kept and asked for that long; no other control offers it.
MONTH: Final = Preset("30d", "Last 30 days", 30 * 24 * 3600)
#: Runs that the control offers, newest first.
RUNS: Final = 5

_FORMS: Final = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d")


@dataclass(frozen=True)
class TimeRange:
    """``start`` and ``end`` in epoch seconds, ``start`` before ``end``. ``name``: a preset's, a run's id, or ``custom``."""

    start: float
    end: float
    name: str
    presets: Sequence[Preset] = PRESETS
    runs: Sequence[str] = ()

    @property
    def seconds(self) -> float:
        return self.end - self.start

    @property
    def query(self) -> Mapping[str, str]:
        """What says it in an address: ``url_for(endpoint, **range.query)``."""
        if self.name != CUSTOM:
            return {"range": self.name}
        return {"range": CUSTOM, "from": self.from_text, "to": self.to_text}

    @property
    def from_text(self) -> str:
        return _text(self.start)

    @property
    def to_text(self) -> str:
        return _text(self.end)

    @property
    def words(self) -> str:
        """What the range is, in a sentence: "in the last hour"."""
        preset = next((each for each in self.presets if each.name == self.name), None)
        if preset is not None:
            return f"in the {preset.label.lower()}"
        if self.name != CUSTOM:
            return f"in the time of run {self.name}"
        return f"from {self.from_text.replace('T', ' ')} to {self.to_text.replace('T', ' ')} UTC"


def within(seconds: float) -> tuple[Preset, ...]:
    """The presets of at most so many seconds, for calls that take no longer range. (The address may still ask for one: cut it.)"""
    return tuple(each for each in PRESETS if each.seconds <= seconds)


def read(presets: Sequence[Preset] = PRESETS, default: str = "1h") -> TimeRange:
    """The range that the address of this request says. ``presets`` are those that the control offers; the address may name any other of
    :data:`PRESETS`, as it does when it comes from another page. ``default`` is the name of a preset."""
    return parse(request.args, presets, default, time.time(), _made_here())


def _made_here() -> list[str]:
    """Of the newest runs those that the vendors here can have something of."""
    folder = site().settings.runs_dir
    return list(islice((run for run in site().run_ids() if not (folder / run / IMPORTED).exists()), RUNS))


def parse(arguments: Mapping[str, str], presets: Sequence[Preset], default: str, now: float, runs: Sequence[str]) -> TimeRange:
    """The same from its parts. ``runs`` are those that the control offers; the address may name any other of these, too."""
    name = arguments.get("range", "") or (CUSTOM if arguments.get("from") else default)
    preset = next((each for each in (*presets, *PRESETS) if each.name == name), None)
    if preset is not None:
        presets = presets if preset in presets else (*presets, preset)
        return TimeRange(now - preset.seconds, now, name, presets, runs)
    if RUN_ID.fullmatch(name):
        start, end = _of_run(name)
        return TimeRange(start, min(end, now), name, presets, runs if name in runs else (*runs, name))
    if name != CUSTOM:
        known = ", ".join(each.name for each in presets)
        refuse(f"range={name} is no time range.", f"Take one of {known}, a run's id, or {CUSTOM} with from and to.")
    start = _moment("from", arguments.get("from", ""), now - presets[-1].seconds)
    end = _moment("to", arguments.get("to", ""), now)
    if start >= end:
        refuse(f"The time range ends ({_text(end)}) before it begins ({_text(start)}).", "Change from or to; times are UTC.")
    return TimeRange(start, end, CUSTOM, presets, runs)


def _of_run(run_id: str) -> tuple[float, float]:
    run = site().run(run_id)
    ended = run.manifest.ended
    if ended is None:
        try:
            ended = max((entry.start + entry.duration_ms / 1000 for entry in run.entries()), default=run.manifest.started)
        except (RunError, LedgerError):
            ended = time.time()
    return run.manifest.started - SLACK, ended + SLACK


def _moment(name: str, text: str, default: float) -> float:
    for form in _FORMS:
        with contextlib.suppress(ValueError, OverflowError):
            return float(calendar.timegm(time.strptime(text.removesuffix("Z"), form)))
    if text:
        refuse(f"{name}={text} is no time.", "Write it as 2026-01-05T08:00 or 2026-01-05T08:00:00, UTC.")
    return default


def _text(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
