"""Why a request is not as expected: what the path's client gives up by design, and what the record of the processes proves.

The supervisor records when each process ended and started. Where that record shows that a process was away when a request needed it, the
cause is stated; where it does not, the design of the client is named as what it is, a possible cause.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compose import events
from compose.settings import Settings
from services.compare.model import Finding, Verdict
from services.compare.paths import APPLICATION, PATHS, Carrier


@dataclass(frozen=True)
class Away:
    """A process that was not there: from its end to its next start, epoch seconds; None while it still is away."""

    start: float
    end: float | None


class Evidence:
    """``away``: spans by process; None when nothing records the processes (online, or run by something else).

    ``replayed``: the run is a replay. Its times are shifted ones, in which no process of the sandbox carried it.
    """

    def __init__(self, away: Mapping[str, Sequence[Away]] | None, timeout: float, replayed: bool = False) -> None:
        self._away = away
        self._timeout = timeout
        self._replayed = replayed

    @classmethod
    def of(cls, settings: Settings, replayed: bool = False) -> Evidence:
        """What the supervisor wrote below STATE_DIR."""
        path = settings.state_dir / "events.jsonl"
        if replayed or not path.exists():
            return cls(None, settings.compare_timeout, replayed)
        recorded = events.read(path)
        processes = {event.process for event in recorded}
        return cls({name: [Away(*span) for span in events.away(recorded, name)] for name in processes}, settings.compare_timeout)

    def why(self, finding: Finding) -> str:
        """One sentence or two."""
        path = PATHS[finding.path]
        what = "; ".join((*finding.absent, *finding.extra))
        if finding.verdict is Verdict.UNKNOWN:
            return f"absent: {what}. {finding.unknown or 'Nobody said whether it was sampled'}, so this cannot be judged"
        if finding.verdict is Verdict.PENDING:
            return f"absent so far: {what}. The path was still changing after {self._timeout:g} s (COMPARE_TIMEOUT)"
        if self._replayed:
            verb = "" if finding.verdict is Verdict.DUPLICATE else "absent: "
            return f"{verb}{what}. A replay: what was recorded was sent, so the cause is the Collector's configuration or the recording"
        if finding.verdict is Verdict.DUPLICATE:
            return f"{what}. Possible cause: {path.repeats}"
        if not finding.lost:
            return f"{what}. It arrived, so the way is open: the application or the path dropped or changed that"
        seen = [text for carrier in (*path.carriers, *APPLICATION) if (text := self._seen(carrier, finding)) is not None]
        if seen:
            causes = "; ".join(seen)
            return f"absent: {what}. {causes[0].upper()}{causes[1:]}: {path.gives_up}"
        if self._away is None:
            return f"absent: {what}. Possible cause: {path.gives_up}"
        names = " and ".join(carrier.process for carrier in path.carriers)
        return f"absent: {what}. No cause is on record ({names} was there all the time). Possible cause: {path.gives_up}"

    def _seen(self, carrier: Carrier, finding: Finding) -> str | None:
        """A span in which the carrier was away when the request needed it, in words."""
        sent, answered = finding.start, finding.start + finding.duration_ms / 1000
        for span in (self._away or {}).get(carrier.process, ()):
            if span.start <= answered + carrier.after and (span.end is None or sent <= span.end + carrier.before):
                until = f"to {_clock(span.end)}" if span.end is not None else "on"
                if span.end is not None and sent > span.end:
                    when = f"{_apart(sent - span.end)} after that, when it may not have listened yet"
                elif answered < span.start:
                    when = f"{_apart(span.start - answered)} before that, when it may still have been on its way"
                elif sent < span.start:
                    when = f"{_apart(span.start - sent)} before that, and was still under way then"
                else:
                    when = f"in that time, at {_clock(sent)}"
                return f"the process {carrier.process} was away from {_clock(span.start)} {until} UTC; the request was sent {when}"
        return None


def _apart(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{max(1, round(seconds * 1000))} ms"


def _clock(seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds * 10 % 10)}"
