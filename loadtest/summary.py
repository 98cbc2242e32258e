"""What a finished load prints: a run's ledger in a few lines."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loadtest.ledger import LedgerEntry
from loadtest.plan import Plan
from loadtest.runs import Run
from services.cruddur import seed


def plan_of(run: Run) -> Plan:
    """The plan that ``run`` sends, made again from its manifest."""
    manifest = run.manifest
    return Plan(
        manifest.seed,
        manifest.planned,
        seed.handles(),
        seed.activity_uuids(),
        profiles_timeout=float(manifest.settings["profiles_timeout"]),
        sandbox=manifest.settings["sandbox"] == "true",
    )


def unplanned(run: Run, entries: Sequence[LedgerEntry]) -> list[tuple[LedgerEntry, int]]:
    """Requests that were answered otherwise than planned, each with the planned status."""
    plan = plan_of(run)
    return [
        (entry, plan[entry.sequence].status)
        for entry in entries
        if entry.status is not None and entry.status != plan[entry.sequence].status
    ]


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: the smallest value that ``percent`` of all values do not exceed. NaN of nothing."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


@dataclass(frozen=True)
class Summary:
    """A ledger in numbers. ``answered``: requests that had an answer. ``seconds``: from the first request to the last answer; ``rate``:
    requests a second over them. ``p50_ms``, ``p99_ms``: durations of the answered, NaN where nothing was. ``no_answer``: why there was
    none, and how often."""

    requests: int
    answered: int
    statuses: Mapping[int, int]
    seconds: float
    p50_ms: float
    p99_ms: float
    no_answer: Mapping[str, int]

    @property
    def rate(self) -> float:
        return self.requests / max(self.seconds, 1e-9)


def summarise(entries: Sequence[LedgerEntry]) -> Summary:
    """The summary of a ledger, or of as much of it as there is."""
    durations = [entry.duration_ms for entry in entries if entry.status is not None]
    ended = max((entry.start + entry.duration_ms / 1000 for entry in entries), default=0.0)
    return Summary(
        requests=len(entries),
        answered=len(durations),
        statuses=dict(sorted(Counter(entry.status for entry in entries if entry.status is not None).items())),
        seconds=ended - min((entry.start for entry in entries), default=0.0),
        p50_ms=percentile(durations, 50),
        p99_ms=percentile(durations, 99),
        no_answer=dict(Counter(str(entry.error) for entry in entries if entry.status is None).most_common()),
    )


def report(run: Run) -> str:
    """The summary for people: counts, rate, durations, what went wrong, and the next command."""
    entries = run.entries()
    planned = run.manifest.planned
    summary = summarise(entries)
    answered = [entry for entry in entries if entry.status is not None]
    lines = [f"run {run.id}: {len(answered):,} of {planned:,} requests answered ({run.manifest.profile}, seed {run.manifest.seed})"]
    if answered:
        lines.append("  status    " + "   ".join(f"{status}: {count:,}" for status, count in summary.statuses.items()))
        lines.append(f"  rate      {summary.rate:.1f} requests/s over {summary.seconds:.1f} s, {run.manifest.users} users")
        lines.append(f"  duration  p50 {summary.p50_ms:.1f} ms   p99 {summary.p99_ms:.1f} ms")
        if run.manifest.sampling == "rules":
            lines.append(
                f"  sampled   OpenTelemetry {sum(entry.sampled_otel is True for entry in answered):,}"
                f"   X-Ray SDK {sum(entry.sampled_xray_sdk is True for entry in answered):,}"
            )
    if summary.no_answer:
        reasons = list(summary.no_answer.items())[:3]
        failed = summary.requests - summary.answered
        lines.append(f"  no answer {failed:,}: " + "; ".join(f"{reason} ({count})" for reason, count in reasons))
    if len(entries) < planned:
        lines.append(f"  not sent  {planned - len(entries):,}, because the load was stopped before its end")
    surprises = Counter((entry.route, entry.outcome, expected, entry.status) for entry, expected in unplanned(run, entries))
    if surprises:
        lines.append(f"  unplanned {sum(surprises.values()):,} answered otherwise than planned:")
        lines += [
            f"              {count} × {route} ({outcome}): {status} instead of {expected}"
            for (route, outcome, expected, status), count in surprises.most_common(5)
        ]
    lines.append("next: `make compare`" if answered else "next: `make status` says what is up, `make logs` why not")
    return "\n".join(lines)
