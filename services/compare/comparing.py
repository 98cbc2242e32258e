"""One compare, from the ledger to the record: read until settled, judge, find causes, keep.

report = compare(settings, run)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any

from compose.settings import Settings, SignalPath
from loadtest.ledger import LedgerEntry
from loadtest.runs import Manifest, Run, RunError
from services.compare import prices, record
from services.compare.evidence import Evidence
from services.compare.export.secrets import Secrets
from services.compare.model import PathState
from services.compare.prices import Meter
from services.compare.readers import metric_readers, readers
from services.compare.readers.base import Reader, Window
from services.compare.readers.honeycomb import HoneycombReader
from services.compare.readers.metrics import MetricReader
from services.compare.readers.xray import XRayReader
from services.compare.report import Report
from services.compare.sample import Sample
from services.compare.settle import Look, settle
from services.compare.undeclared import Found, chosen, undeclared
from services.compare.verdicts import Comparison
from services.cruddur.signals import METRICS, Outcome, Route


def compare(settings: Settings, run: Run, looked: Callable[[Look], None] = lambda _: None) -> Report:
    """Read every backend back, compare, and keep the record. ``looked`` is told after each look at the backends. Raises
    RunError, LedgerError, UnknownRequest and ConfigurationError."""
    table_of_prices = prices.load(settings)
    if run.imported:
        raise RunError(f"run {run.id} was imported: its backends are elsewhere, and its record came along; `make open` shows it")
    if run.manifest.mode != settings.mode:
        raise RunError(
            f"run {run.id} was made {run.manifest.mode}, but MODE is {settings.mode}; `make compare RUN={run.id} MODE={run.manifest.mode}`"
        )
    entries = run.entries()
    if not entries:
        raise RunError(f"run {run.id} has no finished request; `make load` makes a new run")
    paths, replayed = frozenset(run.manifest.paths), run.manifest.replay_of is not None
    # Closed whatever happens: what it spilled to the disk goes with it.
    with closing(Comparison(run.id, entries, paths, replayed=replayed)) as comparison:
        sample = Sample(chosen(entries))
        sources = readers(settings, paths, comparison.keys(SignalPath.HONEYCOMB_OTLP), documents=sample.traces)
        totals = metric_readers(settings, paths)
        settled = settle(
            comparison,
            [sample.listening(reader) for reader in sources],
            totals,
            expected_totals(entries),
            settings.settle,
            settings.compare_timeout,
            looked,
        )
        began = time.monotonic()
        judgement = comparison.judge(settled.states)
        judging = time.monotonic() - began
        evidence = Evidence.of(settings, replayed=replayed)
        report = Report(
            run=run.id,
            about=about(run.manifest),
            judgement=judgement,
            why=[evidence.why(finding) for finding in judgement.findings],
            states={path: settled.states[path] for path in SignalPath if path in settled.states},
            hints=settled.hints,
            metrics=settled.metrics,
            prices=table_of_prices,
            seconds=settled.seconds,
            reading=settled.reading,
            judging=judging,
            meters=billed(sources, totals),
        )
        try:
            record.keep(run.folder, comparison, entries, report, beside(settings, sample, entries, settled.states))
        except OSError as error:
            raise RunError(f"the record of run {run.id} cannot be written ({error}); make room below STATE_DIR, then again") from error
    return report


def beside(settings: Settings, sample: Sample, entries: Sequence[LedgerEntry], states: Mapping[SignalPath, PathState]) -> Found:
    """What arrived of the sample beside what is declared, on the paths that could be read."""
    some = [entry for entry in entries if entry.trace_id in sample.traces]
    readable = [path for path, state in states.items() if state.unreadable is None]
    if SignalPath.HONEYCOMB_OTLP in readable:
        sample.ask(HoneycombReader(settings, (), documents=True), Window.of(some))
    return undeclared(some, sample.observations(), len(entries), readable, sample.reasons, Secrets.of(settings).removed)


def billed(sources: Sequence[Reader], totals: Sequence[MetricReader]) -> dict[tuple[SignalPath | None, Meter], int]:
    """What is billed beside the paths' own signals: metrics, and the reading itself."""
    found: dict[tuple[SignalPath | None, Meter], int] = {
        (reader.path, meter): count for reader in totals for meter, count in reader.billed.items()
    }
    for reader in sources:
        if isinstance(reader, XRayReader):
            found[None, Meter.XRAY_TRACES_READ] = reader.traces_read
    return found


def about(manifest: Manifest) -> dict[str, Any]:
    """What a report says of the run beside its results."""
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(manifest.started)),
        "finished": manifest.finished is not None,
        "profile": manifest.profile,
        "planned": manifest.planned,
        "seed": manifest.seed,
        "sampling": manifest.sampling,
        "mode": manifest.mode,
        "replay_of": manifest.replay_of,
    }


def expected_totals(entries: Sequence[LedgerEntry]) -> dict[str, tuple[int, int]]:
    """What the ledger says each metric's total must be: at least, and at most if the requests nobody saw an answer to counted too."""
    unanswered = sum(1 for entry in entries if entry.status is None)
    totals = {}
    for metric in METRICS:
        count = sum(metric.count(Route(entry.route), Outcome(entry.outcome), entry.status) for entry in entries)
        totals[metric.name] = (count, count + unanswered)
    return totals
