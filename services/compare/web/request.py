"""``/runs/<id>/requests/<trace id>``: one request as every path shows it, on one time axis; its raw data; the vendors' own pages.

Everything that can be chosen is in the address: ``operation`` marks one in all panes, ``source=vendors`` asks the vendors instead of the
record, ``all=1`` draws every row of a huge trace.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, Final

from flask import Blueprint, Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from compose.settings import Backend, SignalPath
from loadtest.ledger import LedgerEntry
from loadtest.runs import Run
from services.compare import trace
from services.compare.alignment import DURATION_MS, DURATION_SHARE, Alignment, align
from services.compare.readers.base import Observation, Unreadable, sent_at
from services.compare.readers.http import Api
from services.compare.record import NoRecord, Record
from services.compare.request import Neighbours, NoRawData, Seen, asked, neighbours, not_ours, raw_data, recorded, recorded_entry, started
from services.compare.web import vendor_links, waterfall
from services.compare.web.site import Refused, refuse, site, with_query
from services.compare.web.site import trace_id as parsed
from services.compare.web.vendors import timerange
from services.cruddur.signals import OTEL_SERVICE

blueprint = Blueprint("request", __name__, url_prefix="/runs/<run_id>/requests/<trace_id>")

#: Characters of raw data on a page; the download has all.
RAW_SHOWN: Final = 200_000
#: Seconds that Honeycomb may take to say whose key it is.
AUTH_SECONDS: Final = 5.0
#: How an observation's id can stand in an address as it is: a span's, an event's, an occurrence's; and a log record's of Honeycomb.
_PLAIN_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}(/[A-Za-z0-9_-]{1,128})?")


@blueprint.get("")
def show(run_id: str, trace_id: str) -> ResponseReturnValue:
    run = site().run(run_id)
    trace_id, elsewhere = _canonical(run_id, trace_id)
    if elsewhere is not None:
        return elsewhere
    record, no_record = _record(run)
    source = request.args.get("source", "")
    if source not in ("", "record", "vendors"):
        refuse(f"source={source} is neither record nor vendors")
    seen = _seen(run, record, trace_id, live=source == "vendors" or record is None)
    if not seen.found and not any(path.state == "unreadable" for path in seen.paths):
        raise _nobody(run, seen)
    observations = seen.observations
    alignment = align(observations, {path.path: path.state for path in seen.paths}, seen.declared)
    keys = {operation.key for operation in alignment.operations}
    marked = request.args.get("operation", "")
    if marked and marked not in keys:
        refuse(f"operation={marked} is none of this request's; it has {len(keys)}, op1 and on", title="No such operation")
    limit = None if request.args.get("all") == "1" else waterfall.ROWS
    axis = waterfall.axis(seen)
    around = neighbours(record, seen.entry.sequence) if record is not None and seen.entry is not None else Neighbours()
    return render_template(
        "request/show.html",
        run=run,
        seen=seen,
        entry=seen.entry,
        no_record=no_record,
        observations=observations,
        operations=alignment.operations if limit is None else alignment.operations[:limit],
        total_operations=len(alignment.operations),
        differences=_differences(alignment),
        axis=axis,
        panes=waterfall.panes(seen, observations, alignment, axis, limit),
        not_ours=not_ours(site().settings, run),
        by_path={path.path: path for path in seen.paths},
        marked=marked,
        around=around,
        link=partial(_link, run_id, trace_id),
        raw=partial(_raw_address, run_id, trace_id),
        vendor=partial(_vendor_page, run, seen),
        requests=url_for("run.requests", run_id=run_id),
        thresholds=(DURATION_MS, DURATION_SHARE),
        when=started(seen),
    )


@blueprint.get("/raw/<backend>/<transport>/<path:reference>")
def raw(run_id: str, trace_id: str, backend: str, transport: str, reference: str) -> ResponseReturnValue:
    """The vendor's own record of one observation: a page, or with ``format=json`` a file."""
    run = site().run(run_id)
    trace_id, _ = _canonical(run_id, trace_id)
    try:
        path = SignalPath(f"{backend}/{transport}")
    except ValueError:
        raise Refused(404, "No such path", f"{backend}/{transport} is none of {', '.join(SignalPath)}") from None
    record, _ = _record(run)
    entry = _entry(run, record, trace_id)
    as_file = request.args.get("format", "") == "json"
    if request.args.get("format", "") not in ("", "json"):
        refuse(f"format={request.args['format']} is not json")
    observation = _observation(run, record, trace_id, path, reference)
    page = {"run": run, "trace_id": trace_id, "path": path, "observation": observation, "reference": reference}
    try:
        found = raw_data(site().settings, run, record, entry, path, trace_id, observation.id if observation is not None else reference)
    except NoRawData as error:
        return render_template("request/raw.html", **page, problem=str(error), hint=error.hint), 404
    except Unreadable as error:
        return render_template("request/raw.html", **page, problem=error.reason, hint=error.hint), 502
    document = found.documents[0] if len(found.documents) == 1 else found.documents
    if as_file:
        # Escapes for all that is not ASCII: half of a surrogate pair could not be sent otherwise.
        body = _json(document, ensure_ascii=True)
        name = f"{backend}-{transport}-{trace_id}.json"
        return Response(body, mimetype="application/json", headers={"Content-Disposition": f'attachment; filename="{name}"'})
    text = _json(document, ensure_ascii=False)
    return render_template("request/raw.html", **page, problem="", found=found, text=text[:RAW_SHOWN], length=len(text), shown=RAW_SHOWN)


@blueprint.get("/honeycomb")
def honeycomb(run_id: str, trace_id: str) -> ResponseReturnValue:
    """To this trace in Honeycomb: its address has the team's and the environment's names, which only Honeycomb knows, so it is asked when
    somebody wants to go there and not for every page."""
    run = site().run(run_id)
    trace_id, _ = _canonical(run_id, trace_id)
    settings = site().settings
    record, _ = _record(run)
    entry = _entry(run, record, trace_id)
    begun = entry.start if entry is not None else sent_at(trace_id)
    try:
        auth = _auth(settings.honeycomb_endpoint, settings.honeycomb_query_key.get_secret_value())
    except Unreadable as error:
        raise Refused(502, "Honeycomb does not say where the trace is", error.reason, error.hint) from error
    ended = begun + (entry.duration_ms / 1000 if entry is not None else 0.0)
    address = vendor_links.honeycomb(settings.honeycomb_endpoint, auth, OTEL_SERVICE, trace_id, begun, ended)
    if address is None:
        raise Refused(404, "No page at Honeycomb", f"{settings.honeycomb_endpoint} is not Honeycomb's API, or names no team for this key")
    return redirect(address)


# -- what is shown


def _canonical(run_id: str, text: str) -> tuple[str, ResponseReturnValue | None]:
    """The trace id as 32 hex digits; where the address has another form of it, the way to the one with this."""
    found = parsed(text)
    if found == text or request.endpoint != "request.show":
        return found, None
    return found, redirect(with_query(url_for(".show", run_id=run_id, trace_id=found)), 301)


def _record(run: Run) -> tuple[Record | None, str]:
    try:
        return Record.open(run.folder), ""
    except NoRecord as error:
        return None, str(error)


def _entry(run: Run, record: Record | None, trace_id: str) -> LedgerEntry | None:
    """The ledger line of a trace: from the record, else from the ledger. Raises LedgerError."""
    if record is not None:
        return recorded_entry(run, record, trace_id)
    return next((entry for entry in run.entries() if entry.trace_id == trace_id), None)


def _seen(run: Run, record: Record | None, trace_id: str, live: bool) -> Seen:
    if record is not None and not live:
        return recorded(run, record, trace_id)
    return asked(site().settings, run, trace_id, _entry(run, record, trace_id))


def _observation(run: Run, record: Record | None, trace_id: str, path: SignalPath, reference: str) -> Observation | None:
    """What an address of raw data stands for, as it was recorded; else, where its id cannot stand in an address, as the vendors have it."""
    for live in (False, True):
        if record is None and not live:
            continue
        if live and _PLAIN_ID.fullmatch(reference):
            return None
        for each in _seen(run, record, trace_id, live).observations:
            if each.path is path and _reference(each.id) == reference:
                return each
    raise Refused(404, "No such observation", f"{path} has nothing in trace {trace_id} that this address stands for")


def _nobody(run: Run, seen: Seen) -> Refused:
    """The page about a trace that is not in this run."""
    who = "In the record of this run, nothing has" if seen.source == "record" else "No vendor has"
    found = trace.find(site().settings, seen.trace_id)
    if found is not None and found[1].id != run.id:
        entry, other = found
        return Refused(
            404, "Of another run", f"{seen.trace_id} is request #{entry.sequence} of run {other.id}, not of {run.id}", _hint(other.id, seen)
        )
    live = f"{_hint(run.id, seen)}?source=vendors asks the vendors instead"
    hint = live if seen.source == "record" and not_ours(site().settings, run) is None else "the run's list of requests has those it has"
    return Refused(404, "No such request", f"{who} the trace {seen.trace_id}, and no request of the ledger had it", hint)


def _hint(run_id: str, seen: Seen) -> str:
    return f"/runs/{run_id}/requests/{seen.trace_id}"


def _differences(alignment: Alignment) -> dict[str, int]:
    """How many differences there are of each kind, without those that are declared."""
    counts: dict[str, int] = {}
    for operation in alignment.operations:
        for cell in operation.cells.values():
            for difference in cell.differences:
                if not difference.declared:
                    counts[difference.kind] = counts.get(difference.kind, 0) + 1
    return counts


def _link(run_id: str, trace_id: str, **changes: str) -> str:
    """This page with something else chosen; an empty value takes a choice back."""
    state: dict[str, Any] = {name: request.args[name] for name in ("operation", "source", "all") if name in request.args} | changes
    return url_for(".show", run_id=run_id, trace_id=trace_id, **{name: value for name, value in state.items() if value})


def _reference(identity: str) -> str:
    """An observation's id as a part of an address: itself, or what it hashes to where a vendor or a sender made it up as they liked."""
    if _PLAIN_ID.fullmatch(identity):
        return identity
    return "~" + hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _raw_address(run_id: str, trace_id: str, each: Observation) -> str:
    return url_for(
        ".raw",
        run_id=run_id,
        trace_id=trace_id,
        backend=each.path.backend,
        transport=each.path.transport,
        reference=_reference(each.id),
    )


def _json(document: Any, ensure_ascii: bool) -> str:
    try:
        return json.dumps(document, indent=2, ensure_ascii=ensure_ascii, default=str) + "\n"
    except RecursionError:
        return json.dumps("its values lie within one another too deeply to be written") + "\n"


# -- the vendors' own pages


def _vendor_page(run: Run, seen: Seen, path: SignalPath, each: Observation | None = None) -> tuple[str, str] | None:
    """Where a path's vendor shows this trace, as address and words: the real one's page for a run that was made online, else the page
    of the local one. None where there is no such page."""
    if run.manifest.mode == "online":
        return _online_page(run, seen, path, each)
    if not_ours(site().settings, run) is not None:
        return None
    sandbox = run.manifest.settings
    group = sandbox.get("log_group" if path is SignalPath.CLOUDWATCH_WATCHTOWER else "otlp_log_group", "")
    searched: dict[str, Any] = {"group": group, "pattern": f'"{seen.trace_id}"', "order": "oldest"} | _around(seen)
    return {
        Backend.HONEYCOMB: (url_for("honeycomb.trace", trace=seen.trace_id), "in Honeycomb"),
        Backend.XRAY: (url_for("xray.trace", trace=seen.trace_id), "in X-Ray"),
        Backend.CLOUDWATCH: (url_for("cloudwatch.search", **searched), "in CloudWatch Logs"),
        Backend.ROLLBAR: (url_for("rollbar.occurrence_by_uuid", uuid=each.id), "its occurrence in Rollbar")
        if each is not None and _PLAIN_ID.fullmatch(each.id) and "/" not in each.id
        else (url_for("rollbar.occurrences"), "among Rollbar's occurrences"),
    }[path.backend]


def _around(seen: Seen) -> dict[str, str]:
    """The time of a request, in whole seconds, as a vendor's page takes it (`vendors/timerange.py`): few lines to look through."""
    begun = started(seen)
    ended = begun + (seen.entry.duration_ms / 1000 if seen.entry is not None else 60.0)
    words = [time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(int(moment))) for moment in (begun - 1, ended + 5)]
    return {"range": timerange.CUSTOM, "from": words[0], "to": words[1]}


def _online_page(run: Run, seen: Seen, path: SignalPath, each: Observation | None) -> tuple[str, str] | None:
    sandbox = run.manifest.settings
    region = sandbox.get("aws_region", "")
    begun = started(seen)
    ended = begun + (seen.entry.duration_ms / 1000 if seen.entry is not None else 0.0)
    pages: dict[Backend, Callable[[], str | None]] = {
        Backend.HONEYCOMB: lambda: (
            url_for(".honeycomb", run_id=run.id, trace_id=seen.trace_id) if site().settings.mode == "online" else None
        ),
        Backend.XRAY: lambda: vendor_links.xray(region, seen.trace_id),
        Backend.CLOUDWATCH: lambda: vendor_links.cloudwatch(
            region,
            sandbox.get("log_group" if path is SignalPath.CLOUDWATCH_WATCHTOWER else "otlp_log_group", ""),
            seen.trace_id,
            begun,
            ended,
        ),
        Backend.ROLLBAR: lambda: vendor_links.rollbar(each.id) if each is not None else None,
    }
    names = {
        Backend.HONEYCOMB: "Honeycomb",
        Backend.XRAY: "the X-Ray console",
        Backend.CLOUDWATCH: "Logs Insights",
        Backend.ROLLBAR: "Rollbar",
    }
    address = pages[path.backend]()
    return (address, f"in {names[path.backend]}") if address else None


@lru_cache(maxsize=4)
def _auth(endpoint: str, key: str) -> Any:
    """Whose key it is. Asked once: a key does not change hands."""
    return Api("Honeycomb", endpoint, {"X-Honeycomb-Team": key}, "HONEYCOMB_QUERY_KEY", AUTH_SECONDS).call("GET", "/1/auth")
