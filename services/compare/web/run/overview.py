"""``/runs/<id>``: what became of a run. One that was not compared yet is shown as the load generator saw it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flask import render_template

from loadtest.ledger import LedgerError
from loadtest.runs import Run
from loadtest.summary import summarise
from services.compare.record import NoRecord, Record
from services.compare.web.run import figures
from services.compare.web.run.filters import DIFFERING, Wanted
from services.compare.web.run.memory import once
from services.compare.web.run.requests import facets, requests_href, trace_href
from services.compare.web.site import site

#: Of requests with the same verdict on the same path: what they lack or have too often, the most frequent first.
KINDS: Final = 3


@dataclass(frozen=True)
class Group:
    """Requests with a verdict that is not as expected on a path. ``kinds``: what is absent, what is there too often, and in how many
    requests; ``others``: further kinds. ``first``: the first request, with ``why``."""

    path: str
    verdict: str
    count: int
    kinds: Sequence[Mapping[str, Any]]
    others: int
    first: Mapping[str, Any]


def show(run_id: str) -> str:
    run = site().run(run_id)
    try:
        record = Record.open(run.folder)
    except NoRecord as error:
        return _uncompared(run, str(error))

    def requests(**wanted: Any) -> str:
        return requests_href(run_id, Wanted(**wanted))

    document = record.document
    return render_template(
        "run/overview.html",
        run=run,
        report=document,
        made=record.made,
        has=facets(record),
        ledger=_ledger(record),
        groups=_groups(record),
        errors=_errors(record),
        requests=requests,
        trace_href=lambda trace: trace_href(run_id, trace),
        figures=[
            figure
            for make in (figures.durations, figures.visible, figures.durations_over_time, figures.visible_over_time)
            if (figure := make(record)) is not None
        ],
        silent=figures.silent(record),
        spanless=figures.spanless(record),
    )


def _uncompared(run: Run, reason: str) -> str:
    """What the ledger says of a run while there is no record of it."""
    try:
        entries = run.entries()
        summary, problem = (summarise(entries), "") if entries else (None, "")
    except LedgerError as error:
        summary, problem = None, str(error)
    return render_template("run/uncompared.html", run=run, reason=reason, summary=summary, problem=problem)


@once
def _ledger(record: Record) -> Mapping[str, Any]:
    """The run as the load generator saw it: answered and failed requests, durations in milliseconds, seconds it took."""
    return record.rows(
        "SELECT count(*) AS requests, count(status) AS answered, count(*) FILTER (WHERE status >= 500) AS failed, "
        "quantile_cont(duration_ms, 0.5) FILTER (WHERE status IS NOT NULL) AS p50, "
        "quantile_cont(duration_ms, 0.99) FILTER (WHERE status IS NOT NULL) AS p99, "
        "max(start + duration_ms / 1000) - min(start) AS seconds FROM requests"
    )[0]


@once
def _groups(record: Record) -> Sequence[Group]:
    """The requests that are not as expected, by path and verdict."""
    rows = record.rows(
        "SELECT kind.*, requests.trace_id, requests.route, requests.status FROM ("
        "SELECT path, verdict, absent, extra, count(*) AS n, min(sequence) AS sequence, arg_min(why, sequence) AS why "
        "FROM outcomes WHERE verdict IN (SELECT unnest(?)) GROUP BY path, verdict, absent, extra) AS kind "
        "JOIN requests USING (sequence) ORDER BY n DESC, sequence",
        [list(DIFFERING)],
    )
    kinds: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        kinds.setdefault((row["path"], row["verdict"]), []).append(row)
    return [
        Group(
            path,
            verdict,
            sum(kind["n"] for kind in found),
            found[:KINDS],
            max(0, len(found) - KINDS),
            min(found, key=lambda kind: int(kind["sequence"])),
        )
        for path in record.document["paths"]
        for verdict in DIFFERING
        if (found := kinds.get((path, verdict)))
    ]


@once
def _errors(record: Record) -> Mapping[str, Mapping[str, int]]:
    """By path: failed requests that it shows as failed, those that it does not, and others that it shows as failed."""
    rows = record.rows(
        "SELECT path, count(*) FILTER (WHERE status >= 500 AND outcomes.error) AS captured, "
        "count(*) FILTER (WHERE status >= 500 AND outcomes.error IS DISTINCT FROM true) AS not_captured, "
        "count(*) FILTER (WHERE outcomes.error AND (status < 500 OR status IS NULL)) AS others "
        "FROM outcomes JOIN requests USING (sequence) WHERE outcomes.error OR status >= 500 GROUP BY path"
    )
    return {row["path"]: row for row in rows}
