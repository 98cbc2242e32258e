"""Compares what a run sent with what every backend has, request by request.

    python -m services.compare                       # the newest run, as a table
    python -m services.compare --run ID              # an older run; RUN= does the same
    python -m services.compare --format json         # one JSON document on standard output; FORMAT=json does the same
    python -m services.compare trace ID              # one request as every path saw it

Exit status: 0 all as expected, 1 something differs, 2 could not compare.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from rich.console import Console

from compose.settings import ConfigurationError, Settings, SignalPath, load_or_exit
from loadtest.ledger import LedgerEntry, LedgerError
from loadtest.runs import Manifest, Run, RunError, load_run, newest_run
from services.compare import prices, record, table, trace
from services.compare.evidence import Evidence
from services.compare.progress import ProgressLine
from services.compare.readers import metric_readers, readers
from services.compare.report import COULD_NOT_COMPARE, Report
from services.compare.settle import settle
from services.compare.verdicts import Comparison, UnknownRequest
from services.cruddur.signals import METRICS, Outcome, Route

#: Exit status after Ctrl-C, as shells have it: 128 and the number of SIGINT.
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    settings = load_or_exit()
    options = _parser().parse_args(arguments)
    as_json = (options.format or settings.format) == "json"
    try:
        if options.command == "trace":
            return show_trace(settings, options.id, as_json)
        return show_run(settings, options.run or settings.run, as_json)
    except (ConfigurationError, RunError, LedgerError, UnknownRequest, trace.NoSuchTrace) as error:
        print(f"compare: {error}", file=sys.stderr)
        return COULD_NOT_COMPARE
    except KeyboardInterrupt:
        print("compare: stopped; nothing was changed", file=sys.stderr)
        return INTERRUPTED


def show_run(settings: Settings, run_id: str, as_json: bool) -> int:
    """Compare one run and print the report; the exit status."""
    run = load_run(settings, run_id) if run_id else newest_run(settings)
    report = compare(settings, run)
    if as_json:
        _print_json(report.document())
    else:
        table.show(report, _console())
    return report.exit_status


def compare(settings: Settings, run: Run) -> Report:
    """Read every backend back and compare. Raises RunError, LedgerError, UnknownRequest and ConfigurationError."""
    table_of_prices = prices.load(settings)
    if run.manifest.mode != settings.mode:
        raise RunError(
            f"run {run.id} was made {run.manifest.mode}, but MODE is {settings.mode}; `make compare RUN={run.id} MODE={run.manifest.mode}`"
        )
    entries = run.entries()
    if not entries:
        raise RunError(f"run {run.id} has no finished request; `make load` makes a new run")
    paths = frozenset(run.manifest.paths)
    # Closed whatever happens: what it spilled to the disk goes with it.
    with (
        closing(Comparison(run.id, entries, paths)) as comparison,
        ProgressLine(Console(stderr=True), settings.compare_timeout) as line,
    ):
        settled = settle(
            comparison,
            readers(settings, paths, comparison.keys(SignalPath.HONEYCOMB_OTLP)),
            metric_readers(settings, paths),
            expected_totals(entries),
            settings.settle,
            settings.compare_timeout,
            line.looked,
        )
        began = time.monotonic()
        judgement = comparison.judge(settled.states)
        judging = time.monotonic() - began
        evidence = Evidence.of(settings)
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
        )
        try:
            record.keep(run.folder, comparison, entries, report)
        except OSError as error:
            raise RunError(f"the record of run {run.id} cannot be written ({error}); make room below STATE_DIR, then again") from error
    return report


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
    }


def expected_totals(entries: Sequence[LedgerEntry]) -> dict[str, tuple[int, int]]:
    """What the ledger says each metric's total must be: at least, and at most if the requests nobody saw an answer to counted too."""
    unanswered = sum(1 for entry in entries if entry.status is None)
    totals = {}
    for metric in METRICS:
        count = sum(metric.count(Route(entry.route), Outcome(entry.outcome), entry.status) for entry in entries)
        totals[metric.name] = (count, count + unanswered)
    return totals


def show_trace(settings: Settings, text: str, as_json: bool) -> int:
    """Print one request as every path saw it; the exit status."""
    trace_id = trace.parse(text)
    found = trace.find(settings, trace_id)
    entry, paths = (found[0], frozenset(found[1].manifest.paths)) if found is not None else (None, settings.paths)
    view = trace.collect(trace_id, entry, paths, readers(settings, paths, trace.keys(entry, SignalPath.HONEYCOMB_OTLP)))
    if as_json:
        _print_json(view.document())
    else:
        trace.show(view, _console())
    return view.exit_status


def _print_json(document: dict[str, Any]) -> None:
    json.dump(document, sys.stdout, ensure_ascii=False, allow_nan=False)
    print()


def _console() -> Console:
    """Standard output; where it is no terminal, laid out for the width the tables are made for."""
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=table.WIDTH)


def _parser() -> argparse.ArgumentParser:
    description, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m services.compare", description=description, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", default="", help="run to compare; default: RUN, else the newest")
    parser.add_argument("--format", choices=("table", "json"), help="what to print; default: FORMAT, else a table")
    commands = parser.add_subparsers(dest="command", metavar="trace ID")
    one = commands.add_parser("trace", help="show one request as every path saw it")
    one.add_argument("id", nargs="?", default="", help="32 hex digits, or X-Ray's form 1-8-24")
    one.add_argument("--format", choices=("table", "json"), default=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    status = main()
    if status == INTERRUPTED:
        # Without waiting for the threads of a reader whose backend hangs, which the interpreter would join.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
