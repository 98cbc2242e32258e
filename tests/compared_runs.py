"""Runs that were compared, made without a load and without a vendor: for tests of what is done with a record.

    run = make_run(settings, requests=60, spoil=without(SignalPath.XRAY_SDK, {3, 5}))

The requests are those of the load generator's plan, the observations are what the declared signals ask for, and verdicts, report and record
are made by the code that makes them of a real run. ``spoil`` takes away, doubles or changes what "arrived"; ``observations`` is all of it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from compose.settings import Settings, SignalPath
from loadtest.ledger import LedgerEntry, LedgerWriter
from loadtest.plan import Plan
from loadtest.runs import Manifest, Run, open_run
from loadtest.runs import make_run as write_run
from services.compare import prices, record
from services.compare.comparing import about
from services.compare.model import Finding, MetricTotal, PathState, Verdict
from services.compare.paths import SAMPLED_KINDS
from services.compare.prices import Meter
from services.compare.readers.base import Observation
from services.compare.report import Report
from services.compare.undeclared import Found
from services.compare.verdicts import Comparison
from services.cruddur import seed as seeded
from services.cruddur.signals import Outcome, Route, Signal, expected

#: 2026-01-05 08:00:00 UTC.
STARTED = 1767600000.0
RUN = "20260105-080000-abcd"
#: Requests a second.
RATE = 100.0

#: What is made of a request's observations: any number of them.
Spoil = Callable[[LedgerEntry, Observation], Iterable[Observation]]


def make_run(
    settings: Settings,
    requests: int = 60,
    *,
    run: str = RUN,
    paths: Collection[SignalPath] = tuple(SignalPath),
    entries: Sequence[LedgerEntry] | None = None,
    spoil: Spoil | None = None,
    states: Mapping[SignalPath, PathState] | None = None,
    metrics: Sequence[MetricTotal] = (),
    strays: Sequence[Observation] = (),
    observations: Iterable[Observation] | None = None,
    meters: Mapping[tuple[SignalPath | None, Meter], int] | None = None,
    why: Callable[[Finding], str] | None = None,
    beside: Found | None = None,
    seed: int = 1,
    compared: bool = True,
) -> Run:
    """Write a run below the settings' STATE_DIR and, if ``compared``, its record."""
    made = list(entries if entries is not None else planned(run, requests))
    written = write_run(settings, _manifest(settings, run, made, paths, seed))
    with LedgerWriter(written.folder, 0) as ledger:
        for entry in made:
            ledger.write(entry)
    if compared:
        comparison = Comparison(run, made, paths)
        comparison.add([*strays, *(_observed(made, paths, spoil) if observations is None else observations)])
        _keep(
            written,
            comparison,
            made,
            {path: PathState() for path in paths} | dict(states or {}),
            metrics,
            meters or {},
            why or _why,
            beside,
        )
    return open_run(written.folder)


def planned(run: str, requests: int) -> list[LedgerEntry]:
    """The first requests of the plan of seed 1, answered as planned."""
    plan = Plan(1, requests, seeded.handles(), seeded.activity_uuids(), profiles_timeout=2.0)
    durations = random.Random(1)
    return [
        LedgerEntry(
            run=run,
            sequence=number,
            trace_id=f"{int(STARTED + number / RATE):08x}{number:024x}",
            method=plan[number].method,
            route=plan[number].route,
            target=plan[number].target,
            outcome=plan[number].outcome,
            status=plan[number].status,
            start=STARTED + number / RATE,
            duration_ms=round(8 + durations.lognormvariate(2, 1), 3),
            sampled_xray_sdk=True,
            sampled_otel=True,
        )
        for number in range(requests)
    ]


def without(path: SignalPath, sequences: Collection[int]) -> Spoil:
    """Nothing of these requests arrived on this path."""
    return lambda entry, observation: [] if observation.path is path and entry.sequence in sequences else [observation]


def observed(entry: LedgerEntry, signal: Signal, number: int) -> Observation:
    """What a backend shows when this signal arrived whole."""
    spans = signal.kind in SAMPLED_KINDS
    failed = entry.status is not None and entry.status >= 500 and number < 3
    says_when = signal.path in (SignalPath.HONEYCOMB_OTLP, SignalPath.CLOUDWATCH_OTLP, SignalPath.CLOUDWATCH_WATCHTOWER)
    ended = entry.start + entry.duration_ms / 1000
    attributes = {key: f"{key} of {entry.sequence}" for key in signal.attributes} | dict(signal.values)
    if "run" in attributes:
        attributes["run"] = entry.run
    return Observation(
        path=signal.path,
        kind=signal.kind,
        service=signal.service,
        name=signal.name or "GET",
        id=f"{entry.sequence:08x}{number:08x}",
        trace_id=entry.trace_id,
        run=entry.run,
        attributes=attributes,
        start=entry.start,
        duration_ms=max(entry.duration_ms - 2 - number, 0.5) if spans else None,
        ingested_at=ended + 0.2 + entry.sequence % 10 / 10 if says_when else None,
        error=failed or (signal.kind == "item" and signal.name == "error"),
    )


def _observed(entries: Iterable[LedgerEntry], paths: Collection[SignalPath], spoil: Spoil | None) -> Iterator[Observation]:
    for entry in entries:
        signals = expected(Route(entry.route), Outcome(entry.outcome), entry.status)
        decided = {SignalPath.XRAY_SDK: entry.sampled_xray_sdk}
        for number, signal in enumerate(signals):
            if signal.path not in paths:
                continue
            if signal.kind in SAMPLED_KINDS and not decided.get(signal.path, entry.sampled_otel):
                continue
            whole = observed(entry, signal, number)
            yield from [whole] if spoil is None else spoil(entry, whole)


def again(observation: Observation) -> list[Observation]:
    """It was delivered twice."""
    return [replace(observation, deliveries=2)]


def _why(finding: Finding) -> str:
    return "" if finding.verdict is Verdict.DUPLICATE else f"because of request {finding.sequence}"


def _manifest(settings: Settings, run: str, entries: Sequence[LedgerEntry], paths: Collection[SignalPath], seed: int) -> Manifest:
    return Manifest(
        run=run,
        seed=seed,
        profile="demo",
        planned=len(entries),
        finished=len(entries),
        users=16,
        workers=1,
        sampling="all",
        started=STARTED,
        ended=max((entry.start + entry.duration_ms / 1000 for entry in entries), default=STARTED),
        mode="offline",
        target="http://127.0.0.1:4567",
        paths=sorted(paths),
        settings=settings.public(),
        versions={"python": "3.11.7", "flask": "3.1.3"},
        git_commit=None,
    )


def _keep(
    run: Run,
    comparison: Comparison,
    entries: Sequence[LedgerEntry],
    states: Mapping[SignalPath, PathState],
    metrics: Sequence[MetricTotal],
    meters: Mapping[tuple[SignalPath | None, Meter], int],
    why: Callable[[Finding], str],
    beside: Found | None,
) -> None:
    judgement = comparison.judge(states)
    report = Report(
        run=run.id,
        about=about(run.manifest),
        judgement=judgement,
        why=[why(finding) for finding in judgement.findings],
        states=states,
        hints={path: "make status" for path, state in states.items() if state.unreadable is not None},
        metrics=metrics,
        prices=prices.built_in(),
        seconds=0.5,
        meters=meters,
    )
    record.keep(run.folder, comparison, entries, report, beside)
    comparison.close()
