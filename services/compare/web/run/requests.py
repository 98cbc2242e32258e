"""``/runs/<id>/requests``: the requests of a run with their verdict on each path, filtered, sorted and page by page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NoReturn
from urllib.parse import quote, urlencode

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from services.compare.model import AS_EXPECTED
from services.compare.record import Record
from services.compare.web import paging
from services.compare.web.run.filters import (
    NAMES,
    PAGE,
    VERDICTS,
    BadFilter,
    Known,
    Wanted,
    parse,
)
from services.compare.web.run.memory import once
from services.compare.web.site import Refused, site, trace_id

#: Requests on one page.
PAGE_SIZE: Final = 50

#: The argument of the search field: a trace id, or #sequence.
FIND: Final = "find"

_SEQUENCE: Final = re.compile(r"#?(\d{1,9})")
_TRACE: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Outcome:
    """What became of a request on a path. ``difference_ms``: the client's duration minus the backend's; None where nothing was seen or the
    backend does not say."""

    path: str
    verdict: str
    difference_ms: float | None
    visible_s: float | None
    absent: Sequence[str]
    extra: Sequence[str]
    why: str

    @property
    def wrong(self) -> bool:
        return self.verdict not in AS_EXPECTED and self.verdict != "unreadable"


@dataclass(frozen=True)
class Row:
    """A request of the list: its ledger line, and its outcome on each path."""

    request: Mapping[str, Any]
    outcomes: Mapping[str, Outcome]

    @property
    def wrong(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes.values() if outcome.wrong]

    def difference(self, path: str) -> float | None:
        """The client's duration minus the backend's in milliseconds: on this path, else the largest of any."""
        return max((each.difference_ms for each in self._on(path) if each.difference_ms is not None), default=None)

    def visible(self, path: str) -> float | None:
        """Seconds until visible: on this path, else the longest of any."""
        return max((each.visible_s for each in self._on(path) if each.visible_s is not None), default=None)

    def _on(self, path: str) -> list[Outcome]:
        return [outcome for name, outcome in self.outcomes.items() if path in ("", name)]


@dataclass(frozen=True)
class Facets:
    """What requests a run has: how many of each route, status and outcome, and when they were sent."""

    routes: Mapping[str, int]
    statuses: Mapping[int | None, int]
    outcomes: Mapping[str, int]
    first: float | None
    last: float | None


def show(run_id: str) -> ResponseReturnValue:
    run = site().run(run_id)
    record = site().record(run)
    if request.args.get(FIND, "").strip():
        return redirect(_found(run_id, record, request.args[FIND].strip()))
    paths = [name for name, path in record.document["paths"].items() if path["state"] != "off"]
    has = facets(record)
    page: dict[str, Any] = {
        "run": run,
        "paths": paths,
        "report_requests": record.document["requests"],
        "has": has,
        "verdicts": VERDICTS,
        "trace_href": lambda trace: trace_href(run_id, trace),
    }
    try:
        wanted = parse({name: value for name, value in request.args.items() if name != FIND}, Known(paths, has.routes, has.outcomes))
    except BadFilter as error:
        # The form as it was filled in, so that one word can be put right.
        said = {name: request.args.get(name, "") for name in NAMES}
        return render_template("run/requests.html", **page, said=said, problem=error), 400
    total = count(record, replace(wanted, sort="sequence", order=""))
    pages = paging.count(total, PAGE_SIZE)
    number = paging.number(pages, PAGE)

    def address(other: Wanted, at: int = 1) -> str:
        return requests_href(run_id, other, at)

    return render_template(
        "run/requests.html",
        **page,
        said=dict.fromkeys(NAMES, "") | wanted.address(),
        problem=None,
        wanted=wanted,
        rows=rows(record, wanted, number),
        total=total,
        page=number,
        pages=pages,
        first=(number - 1) * PAGE_SIZE + 1,
        at=lambda at: address(wanted, at),
        sorted_by=lambda sort: address(wanted.sorted_by(sort)),
        without=lambda name: address(wanted.without(name)),
        unfiltered=address(Wanted(sort=wanted.sort, order=wanted.order)),
    )


def requests_href(run_id: str, wanted: Wanted, page: int = 1) -> str:
    """The address of the requests of a run that are asked for."""
    arguments = wanted.address() | ({PAGE: str(page)} if page > 1 else {})
    address = url_for("run.requests", run_id=run_id)
    # These may stand in a query as they are (RFC 3986, 3.4), and are easier to read.
    return f"{address}?{urlencode(arguments, safe='/:@', quote_via=quote)}" if arguments else address


def trace_href(run_id: str, trace: str) -> str:
    """The page of a request of a run, by its trace id."""
    return url_for("request.show", run_id=run_id, trace_id=trace)


def is_trace(value: object) -> bool:
    """Whether this can be a request's trace id: what a backend says of a stray can be anything."""
    return isinstance(value, str) and _TRACE.fullmatch(value) is not None


@once
def facets(record: Record) -> Facets:
    counts: dict[str, dict[Any, int]] = {"route": {}, "status": {}, "outcome": {}}
    first: list[float] = []
    last: list[float] = []
    for row in record.rows(
        "SELECT route, status, outcome, count(*) AS n, min(start) AS first, max(start) AS last FROM requests GROUP BY ALL"
    ):
        for name, found in counts.items():
            found[row[name]] = found.get(row[name], 0) + row["n"]
        first.append(row["first"])
        last.append(row["last"])
    ordered = {name: dict(sorted(found.items(), key=lambda item: str(item[0]))) for name, found in counts.items()}
    return Facets(ordered["route"], ordered["status"], ordered["outcome"], min(first, default=None), max(last, default=None))


@once
def count(record: Record, wanted: Wanted) -> int:
    """How many requests are asked for."""
    condition, values = wanted.condition()
    return int(record.rows(f"SELECT count(*) AS n FROM requests WHERE {condition}", values)[0]["n"])


def rows(record: Record, wanted: Wanted, page: int) -> list[Row]:
    """A page of the requests that are asked for."""
    condition, values = wanted.condition()
    key, measured = {
        "sequence": ("sequence", ""),
        "duration": ("duration_ms", ""),
        "difference": ("duration_ms - shortest", "min(duration_ms) AS shortest"),
        "visible": ("visible", "max(visible_s) AS visible"),
    }[wanted.sort]
    table = "requests"
    before: list[Any] = []
    if measured:
        on_path = " WHERE path = ?" if wanted.path else ""
        before = [wanted.path] if wanted.path else []
        table += f" LEFT JOIN (SELECT sequence, {measured} FROM outcomes{on_path} GROUP BY sequence) USING (sequence)"
    direction = "DESC" if wanted.descends else "ASC"
    found = record.rows(
        f"SELECT requests.* FROM {table} WHERE {condition} ORDER BY {key} {direction} NULLS LAST, sequence LIMIT ? OFFSET ?",
        [*before, *values, PAGE_SIZE, (page - 1) * PAGE_SIZE],
    )
    return with_outcomes(record, found)


def with_outcomes(record: Record, found: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Requests with what became of them on each path, in the order in which paths are shown."""
    sequences = [row["sequence"] for row in found]
    durations = {row["sequence"]: row["duration_ms"] for row in found}
    outcomes: dict[int, dict[str, Outcome]] = {sequence: {} for sequence in sequences}
    if sequences:
        for row in record.rows(
            "SELECT sequence, path, verdict, duration_ms, visible_s, absent, extra, why FROM outcomes "
            "WHERE sequence IN (SELECT unnest(?)) AND sequence BETWEEN ? AND ?",
            [sequences, min(sequences), max(sequences)],
        ):
            difference = None if row["duration_ms"] is None else durations[row["sequence"]] - row["duration_ms"]
            outcomes[row["sequence"]][row["path"]] = Outcome(
                row["path"], row["verdict"], difference, row["visible_s"], row["absent"], row["extra"], row["why"]
            )
    order = list(record.document["paths"])
    return [Row(row, {path: outcomes[row["sequence"]][path] for path in order if path in outcomes[row["sequence"]]}) for row in found]


def _found(run_id: str, record: Record, text: str) -> str:
    """The page of the request that somebody looks for, by trace id in either form or by its number."""
    number = _SEQUENCE.fullmatch(text)
    if number is not None:
        found = record.rows("SELECT trace_id FROM requests WHERE sequence = ?", [int(number[1])])
        if not found:
            _nowhere(run_id, f"Run {run_id} has no request #{int(number[1])}.")
        return trace_href(run_id, found[0]["trace_id"])
    trace = trace_id(text)
    known = record.rows("SELECT 1 FROM requests WHERE trace_id = ? UNION ALL SELECT 1 FROM strays WHERE trace_id = ?", [trace, trace])
    if not known:
        _nowhere(run_id, f"Run {run_id} has no request with trace id {trace}, and no stray.")
    return trace_href(run_id, trace)


def _nowhere(run_id: str, reason: str) -> NoReturn:
    hint = f"`make trace ID=…` looks in every run and every backend; /runs/{run_id}/requests lists the requests of this one."
    raise Refused(404, "No such request", reason, hint)
