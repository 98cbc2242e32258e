"""Compares what a run sent with what every backend has, request by request.

    python -m services.compare                       # the newest run, as a table
    python -m services.compare --run ID              # an older run; RUN= does the same
    python -m services.compare --format json         # one JSON document on standard output; FORMAT=json does the same
    python -m services.compare --run ID --with ID    # one run against an earlier one, by THRESHOLDS; also --format markdown or junit
    python -m services.compare trace ID              # one request as every path saw it
    python -m services.compare export [FILE]         # a run as one file, with every backend's own records
    python -m services.compare import FILE           # such a file becomes a run here

Exit status: 0 all as expected (with --with: nothing is beyond the thresholds), 1 something differs, 2 could not compare.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from compose.settings import ConfigurationError, Settings, SignalPath, load_or_exit
from loadtest.ledger import LedgerError
from loadtest.runs import Run, RunError, load_run, newest_run
from services.compare import table, trace
from services.compare.comparing import compare
from services.compare.differences import ThresholdsError, contrast, document, junit, markdown
from services.compare.differences import table as differences_table
from services.compare.differences.thresholds import parse as parse_thresholds
from services.compare.export.forms import SUFFIX
from services.compare.export.reading import ImportRefused, take
from services.compare.export.writing import export, summary
from services.compare.progress import ProgressLine
from services.compare.readers import readers
from services.compare.record import NoRecord, Record
from services.compare.report import COULD_NOT_COMPARE, Report
from services.compare.verdicts import UnknownRequest

#: What can be printed of one run, and of two.
RUN_FORMS = ("table", "json")
FORMS = (*RUN_FORMS, "markdown", "junit")
#: Exit status after Ctrl-C, as shells have it: 128 and the number of SIGINT.
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    settings = load_or_exit()
    options = _parser().parse_args(arguments)
    form = options.format or settings.format
    try:
        if options.command == "trace":
            return show_trace(settings, options.id, form == "json")
        if options.command == "export":
            return export_run(settings, options.run or settings.run, options.file)
        if options.command == "import":
            return import_run(settings, options.file)
        if options.other:
            return show_contrast(settings, options, form)
        if options.markdown or options.junit:
            raise ConfigurationError("MARKDOWN= and JUNIT= are for two runs: `make compare RUN=<id> WITH=<earlier id> MARKDOWN=report.md`")
        if form not in RUN_FORMS:
            raise ConfigurationError(f"FORMAT={form} is for two runs: `make compare RUN=<id> WITH=<earlier id> FORMAT={form}`")
        return show_run(settings, options.run or settings.run, form == "json")
    except (
        ConfigurationError,
        RunError,
        LedgerError,
        UnknownRequest,
        NoRecord,
        ThresholdsError,
        ImportRefused,
        trace.NoSuchTrace,
    ) as error:
        print(f"{options.command or 'compare'}: {error}", file=sys.stderr)
        return COULD_NOT_COMPARE
    except KeyboardInterrupt:
        print("compare: stopped; nothing was changed", file=sys.stderr)
        return INTERRUPTED


def show_run(settings: Settings, run_id: str, as_json: bool) -> int:
    """Compare one run and print the report; the exit status."""
    run = _chosen(settings, run_id)
    report = _compare(settings, run)
    if as_json:
        _print_json(report.document())
    else:
        table.show(report, _console())
    return report.exit_status


def _chosen(settings: Settings, run_id: str) -> Run:
    return load_run(settings, run_id) if run_id else newest_run(settings)


def _compare(settings: Settings, run: Run) -> Report:
    with ProgressLine(Console(stderr=True), settings.compare_timeout) as line:
        return compare(settings, run, line.looked)


def show_contrast(settings: Settings, options: argparse.Namespace, form: str) -> int:
    """Hold one run against an earlier one and print it; the exit status. A run that was not compared yet is read first."""
    thresholds = parse_thresholds(options.thresholds if options.thresholds is not None else settings.thresholds)
    after = _chosen(settings, options.run or settings.run)
    before = load_run(settings, options.other)
    if after.id == before.id:
        raise RunError(f"run {after.id} cannot be held against itself; `make compare RUN=<id> WITH=<earlier id>`")
    found = contrast(_record(settings, after), _record(settings, before), thresholds)
    for path, render in ((options.markdown, markdown.render), (options.junit, junit.render)):
        if path:
            _save(Path(path), render(found))
    match form:
        case "json":
            _print_json(document.document(found))
        case "markdown":
            print(markdown.render(found), end="")
        case "junit":
            print(junit.render(found), end="")
        case _:
            differences_table.show(found, _console())
    return found.exit_status


def _record(settings: Settings, run: Run) -> Record:
    try:
        return Record.open(run.folder)
    except NoRecord:
        _compare(settings, run)
        return Record.open(run.folder)


def _save(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written ({error.strerror}); MARKDOWN= and JUNIT= name files") from error


def export_run(settings: Settings, run_id: str, file: str) -> int:
    """Write a run to one file; a run that was not compared yet is read first. The exit status."""
    run = _chosen(settings, run_id)
    if not run.imported:
        _record(settings, run)
    target = Path(file or f"{run.id}{SUFFIX}")
    try:
        contents = export(settings, run, target, lambda text: print(f"export: {text}", file=sys.stderr, flush=True))
    except OSError as error:
        raise ConfigurationError(f"{target} cannot be written ({error.strerror or error}); FILE= names another place") from error
    print(f"{target}: run {run.id}, {target.stat().st_size / 1e6:.1f} MB, {summary(contents)}. Elsewhere: make import FILE={target.name}")
    return 0


def import_run(settings: Settings, file: str) -> int:
    """Make an exported run a run here; the exit status."""
    if not file:
        raise ImportRefused("say which file: `make import FILE=<run>.parallax.zip`")
    try:
        run = take(settings, Path(file))
    except OSError as error:
        raise ImportRefused(f"{file} cannot be imported ({error})") from error
    print(f"run {run.id} is here, {len(run.entries()):,} requests. Next: make open")
    return 0


def show_trace(settings: Settings, text: str, as_json: bool) -> int:
    """Print one request as every path saw it; the exit status."""
    trace_id = trace.parse(text)
    found = trace.find(settings, trace_id)
    if found is not None and found[1].imported:
        raise RunError(
            f"{trace_id} is of run {found[1].id}, which was imported: its backends are elsewhere. `make open` shows what came along:"
            f" /runs/{found[1].id}/requests/{trace_id}"
        )
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
    parser.add_argument("--with", dest="other", default="", metavar="RUN", help="an earlier run to hold it against")
    parser.add_argument("--thresholds", help="what is still accepted; default: THRESHOLDS")
    parser.add_argument("--markdown", default="", metavar="FILE", help="with --with: also write a Markdown report")
    parser.add_argument("--junit", default="", metavar="FILE", help="with --with: also write a JUnit report")
    parser.add_argument("--format", choices=FORMS, help="what to print; default: FORMAT, else a table; markdown and junit: with --with")
    commands = parser.add_subparsers(dest="command", metavar="command")
    one = commands.add_parser("trace", help="show one request as every path saw it")
    one.add_argument("id", nargs="?", default="", help="32 hex digits, or X-Ray's form 1-8-24")
    one.add_argument("--format", choices=("table", "json"), default=argparse.SUPPRESS)
    out = commands.add_parser("export", help="write a run to one file")
    out.add_argument("--run", default=argparse.SUPPRESS, help="run to export; default: RUN, else the newest")
    out.add_argument("file", nargs="?", default="", help="default: <run>.parallax.zip in this folder")
    into = commands.add_parser("import", help="make an exported run a run here")
    into.add_argument("file", nargs="?", default="")
    return parser


if __name__ == "__main__":
    status = main()
    if status == INTERRUPTED:
        # Without waiting for the threads of a reader whose backend hangs, which the interpreter would join.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
