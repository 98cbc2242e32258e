"""Everything compare has to say about a run, and its JSON form. Pure.

The JSON document's fields, with their units, are in docs/compare.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from compose.settings import SignalPath
from services.compare import prices
from services.compare.model import AS_EXPECTED, DIFFERS, Finding, Judgement, MetricTotal, PathState, Verdict
from services.compare.paths import PATHS
from services.compare.prices import Meter, Prices

#: Exit statuses.
ALL_AS_EXPECTED: Final = 0
SOMETHING_DIFFERS: Final = 1
COULD_NOT_COMPARE: Final = 2

State = Literal["settled", "changing", "unreadable", "off"]


@dataclass(frozen=True)
class Report:
    """``why`` goes with the judgement's findings, one by one. ``about`` is what the manifest says of the run.

    ``seconds``: until the run had settled. ``reading``: what the first look at each path took of it, side by side. ``judging``: what came
    after that, the verdicts. ``meters``: what is billed beside the paths' own signals.
    """

    run: str
    about: Mapping[str, Any]
    judgement: Judgement
    why: Sequence[str]
    states: Mapping[SignalPath, PathState]
    hints: Mapping[SignalPath, str]
    metrics: Sequence[MetricTotal]
    prices: Prices
    seconds: float
    reading: Mapping[SignalPath, float] = field(default_factory=dict)
    judging: float = 0.0
    meters: Mapping[tuple[SignalPath | None, Meter], int] = field(default_factory=dict)

    def state(self, path: SignalPath) -> State:
        if path not in self.states:
            return "off"
        state = self.states[path]
        if state.unreadable is not None:
            return "unreadable"
        return "settled" if state.settled else "changing"

    @property
    def metrics_differ(self) -> list[MetricTotal]:
        return [total for total in self.metrics if total.agrees is False]

    @property
    def differing(self) -> list[Finding]:
        return [finding for finding in self.judgement.findings if finding.verdict in DIFFERS]

    @property
    def exit_status(self) -> int:
        """Something that differs outweighs what could not be read: it is certain whatever the rest would have shown."""
        if self.differing or self.judgement.strays or self.metrics_differ:
            return SOMETHING_DIFFERS
        if self.unjudged:
            return COULD_NOT_COMPARE
        return ALL_AS_EXPECTED

    @property
    def unjudged(self) -> list[str]:
        """What could not be compared, in words."""
        words = [f"{path} could not be read" for path in self.states if self.states[path].unreadable is not None]
        for path, counts in self.judgement.counts.items():
            if counts[Verdict.UNKNOWN]:
                words.append(f"{path} cannot say about {counts[Verdict.UNKNOWN]:,} requests")
        unread = dict.fromkeys(total.path for total in self.metrics if total.observed is None)
        words += [f"metrics of {path} could not be read" for path in unread if self.states.get(path, PathState()).unreadable is None]
        return words

    @property
    def conclusion(self) -> str:
        """One line."""
        on = len(self.states)
        requests = f"{self.judgement.requests:,} request{'s' if self.judgement.requests != 1 else ''}"
        off = [str(path) for path in SignalPath if path not in self.states]
        tail = f" Off: {', '.join(off)}." if off else ""
        if self.exit_status == ALL_AS_EXPECTED:
            return f"All {requests} are as expected on {'all ' if not off else ''}{on} path{'s' if on != 1 else ''}; nothing stray.{tail}"
        parts = []
        for path, counts in self.judgement.counts.items():
            bad = [f"{counts[verdict]:,} {verdict}" for verdict in Verdict if verdict in DIFFERS and counts[verdict]]
            if bad:
                parts.append(f"{path}: {', '.join(bad)}")
        if self.judgement.strays:
            parts.append(f"{len(self.judgement.strays):,} stray")
        if self.metrics_differ:
            parts.append(f"{len(self.metrics_differ)} metric total{'s differ' if len(self.metrics_differ) > 1 else ' differs'}")
        parts += self.unjudged
        lead = f"Of {requests}, " if self.differing else ""
        return f"{lead}{'; '.join(parts)}.{tail}"

    def document(self) -> dict[str, Any]:
        """The JSON document."""
        return {
            "run": self.run,
            "exit_status": self.exit_status,
            "conclusion": self.conclusion,
            "requests": self.judgement.requests,
            "about": dict(self.about),
            "seconds": round(self.seconds, 3),
            "judging_seconds": round(self.judging, 3),
            "paths": {str(path): self._path(path) for path in SignalPath},
            "stray": len(self.judgement.strays),
            "strays": [asdict(stray) for stray in self.judgement.strays[:STRAYS]],
            "metrics": [
                {
                    "path": total.path,
                    "metric": total.name,
                    "expected": total.expected[0],
                    "expected_at_most": total.expected[1],
                    "observed": total.observed,
                    "state": _metric_state(total),
                    "reason": total.reason,
                }
                for total in self.metrics
            ],
            "not_as_expected": [
                {
                    "sequence": finding.sequence,
                    "trace_id": finding.trace_id,
                    "route": finding.route,
                    "outcome": finding.outcome,
                    "status": finding.status,
                    "path": finding.path,
                    "verdict": finding.verdict,
                    "absent": list(finding.absent),
                    "extra": list(finding.extra),
                    "why": why,
                }
                for finding, why in zip(self.judgement.findings, self.why, strict=True)
            ],
            "meters": [{"path": path, "meter": meter, "units": count} for path, meter, count in self._meters()],
            "prices": {"as_of": self.prices.as_of.isoformat(), "currency": self.prices.currency, "region": self.prices.region},
        }

    def _meters(self) -> list[tuple[SignalPath | None, Meter, int]]:
        """Everything the run is billed for: path (None: no single one), meter, units."""
        found: list[tuple[SignalPath | None, Meter, int]] = [
            (path, prices.OF_PATH[path], prices.units(path, self.judgement.measures[path]))
            for path in SignalPath
            if path in self.states and self.states[path].unreadable is None
        ]
        return found + [(path, meter, count) for (path, meter), count in self.meters.items()]

    def _path(self, path: SignalPath) -> dict[str, Any]:
        state = self.state(path)
        document: dict[str, Any] = {
            "label": PATHS[path].label,
            "state": state,
            "reason": None,
            "next": None,
            "read_seconds": round(self.reading[path], 3) if path in self.reading else None,
            "verdicts": {},
            "errors": None,
            "visible_seconds": None,
            "duration_difference_ms": None,
            "attributes": [],
            "billed": None,
        }
        if state == "off":
            return document
        document["verdicts"] = {str(verdict): count for verdict, count in self.judgement.counts[path].items()}
        if state == "unreadable":
            return document | {"reason": self.states[path].unreadable, "next": self.hints.get(path) or None}
        measures = self.judgement.measures[path]
        price, units = self.prices.of(path), prices.units(path, measures)
        return document | {
            "errors": measures.errors,
            "visible_seconds": _quantiles(measures.visible_s),
            "duration_difference_ms": _quantiles(measures.duration_difference_ms),
            "attributes": [
                {"key": kept.key, "kept": kept.kept, "renamed": kept.renamed, "changed": kept.changed, "dropped": kept.dropped}
                for kept in self.judgement.attributes
                if kept.path is path
            ],
            "billed": {"unit": price.unit, "units": units, "usd": price.cost(units)},
        }


#: Strays that are listed; all are counted.
STRAYS: Final = 1000


def _metric_state(total: MetricTotal) -> str:
    if total.observed is None:
        return "unreadable"
    if total.agrees:
        return "equal"
    return "less" if total.observed < total.expected[0] else "more"


def _quantiles(pair: tuple[float, float] | None) -> dict[str, float] | None:
    return None if pair is None else {"p50": round(pair[0], 6), "p99": round(pair[1], 6)}


def as_expected(counts: Mapping[Verdict, int]) -> int:
    """Requests that are as expected."""
    return sum(count for verdict, count in counts.items() if verdict in AS_EXPECTED)
