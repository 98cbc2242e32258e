"""Pure: sampling rules in the order in which they are tried, and what they sampled.

Source: "SamplingRule", "SamplingStatisticSummary" (AWS X-Ray API Reference) and "Configuring sampling rules" (developer guide). A client
tries the rules by priority, the smallest number first, and takes the first that matches. It records what the reservoir allows each
second, and the fixed rate of what goes beyond. ``BorrowCount`` is what it recorded before X-Ray gave it a part of the reservoir: one
a second; these are not in ``SampledCount``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.compare.readers.base import mapping
from services.compare.web.figures import Axis, Figure, Series
from services.compare.web.vendors.xray.client import epoch


@dataclass(frozen=True)
class Reported:
    """What clients reported of a rule: requests it matched, those recorded by it, and those recorded before it had a quota."""

    requests: int = 0
    sampled: int = 0
    borrowed: int = 0

    @property
    def recorded(self) -> int:
        return self.sampled + self.borrowed

    def __add__(self, other: Reported) -> Reported:
        return Reported(self.requests + other.requests, self.sampled + other.sampled, self.borrowed + other.borrowed)


@dataclass(frozen=True)
class Rule:
    """``matches``: what a request must be, only what is not ``*``. ``gone``: statistics name it and no rule is called so (any longer)."""

    name: str
    priority: int | None
    rate: float | None
    reservoir: int | None
    matches: tuple[tuple[str, str], ...]
    boost: Mapping[str, Any]
    created: float | None
    modified: float | None
    reported: Reported
    gone: bool = False


def rules(records: Iterable[Mapping[str, Any]], statistics: Iterable[Mapping[str, Any]]) -> list[Rule]:
    """By priority, and by name among equals, as X-Ray orders them; at last what has statistics and no rule."""
    reported: dict[str, Reported] = {}
    for each in statistics:
        name = str(each.get("RuleName") or "")
        reported[name] = reported.get(name, Reported()) + _reported(each)
    found = []
    for record in records:
        rule = mapping(record.get("SamplingRule"))
        name = str(rule.get("RuleName") or "")
        found.append(
            Rule(
                name,
                rule.get("Priority"),
                rule.get("FixedRate"),
                rule.get("ReservoirSize"),
                tuple(_matches(rule)),
                mapping(rule.get("SamplingRateBoost")),
                epoch(record.get("CreatedAt")),
                epoch(record.get("ModifiedAt")),
                reported.pop(name, Reported()),
            )
        )
    found.sort(key=lambda rule: (rule.priority if rule.priority is not None else 10_000, rule.name))
    return found + [Rule(name, None, None, None, (), {}, None, None, each, gone=True) for name, each in sorted(reported.items())]


def span(statistics: Sequence[Mapping[str, Any]]) -> tuple[float, float] | None:
    """From when to when the statistics are; None of none."""
    times = [at for each in statistics if (at := epoch(each.get("Timestamp"))) is not None]
    return (min(times), max(times)) if times else None


def figure(statistics: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Requests and recorded ones over time, all rules together. None of fewer than two times."""
    found: dict[float, Reported] = {}
    for each in statistics:
        at = epoch(each.get("Timestamp"))
        if at is not None:
            found[at] = found.get(at, Reported()) + _reported(each)
    if len(found) < 2:
        return None
    xs = sorted(found)
    return Figure(
        "What clients reported, all rules together",
        Axis("time, UTC", "time"),
        Axis("requests", "count"),
        xs,
        [
            Series("requests", [found[x].requests for x in xs], kind="steps"),
            Series("recorded", [found[x].recorded for x in xs], "xray/sdk", "steps"),
        ],
        [place for place, x in enumerate(xs) if found[x].requests][-60:],
    )


def _reported(summary: Mapping[str, Any]) -> Reported:
    return Reported(*(int(summary.get(member) or 0) for member in ("RequestCount", "SampledCount", "BorrowCount")))


def _matches(rule: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for label, member in (
        ("service", "ServiceName"),
        ("type", "ServiceType"),
        ("host", "Host"),
        ("method", "HTTPMethod"),
        ("path", "URLPath"),
        ("resource", "ResourceARN"),
    ):
        value = rule.get(member)
        if value not in (None, "", "*"):
            yield label, str(value)
    yield from ((f"attribute {key}", str(value)) for key, value in sorted(mapping(rule.get("Attributes")).items()))
