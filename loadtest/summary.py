"""What a finished load prints: a run's ledger in a few lines."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

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


def report(run: Run) -> str:
    """The summary for people: counts, rate, durations, what went wrong, and the next command."""
    entries = run.entries()
    planned = run.manifest.planned
    answered = [entry for entry in entries if entry.status is not None]
    failed = [entry for entry in entries if entry.status is None]
    lines = [f"run {run.id}: {len(answered):,} of {planned:,} requests answered ({run.manifest.profile}, seed {run.manifest.seed})"]
    if answered:
        seconds = max(entry.start + entry.duration_ms / 1000 for entry in entries) - min(entry.start for entry in entries)
        durations = [entry.duration_ms for entry in answered]
        statuses = Counter(entry.status for entry in answered)
        lines.append("  status    " + "   ".join(f"{status}: {count:,}" for status, count in sorted(statuses.items(), key=str)))
        lines.append(f"  rate      {len(entries) / max(seconds, 1e-9):.1f} requests/s over {seconds:.1f} s, {run.manifest.users} users")
        lines.append(f"  duration  p50 {percentile(durations, 50):.1f} ms   p99 {percentile(durations, 99):.1f} ms")
        if run.manifest.sampling == "rules":
            lines.append(
                f"  sampled   OpenTelemetry {sum(entry.sampled_otel is True for entry in answered):,}"
                f"   X-Ray SDK {sum(entry.sampled_xray_sdk is True for entry in answered):,}"
            )
    if failed:
        reasons = Counter(entry.error for entry in failed).most_common(3)
        lines.append(f"  no answer {len(failed):,}: " + "; ".join(f"{reason} ({count})" for reason, count in reasons))
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
