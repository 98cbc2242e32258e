"""``/vendors/xray/traces/<id>``: one trace: its timeline, each segment in full, its map, and the documents as X-Ray gives them.

``?segment=`` the segment or subsegment that is shown in full, ``?rows=`` the page of a long timeline;
``…/documents.json`` the documents alone.
"""

from __future__ import annotations

import json
from typing import Final

from flask import Response, url_for

from services.compare.web import paging
from services.compare.web.site import Refused, site, trace_id
from services.compare.web.vendors.xray.client import Trace
from services.compare.web.vendors.xray.frame import Answer, argument, ask, blueprint, console, in_page, link, page, x_ray_id
from services.compare.web.vendors.xray.graphs import Key, graph, map_document
from services.compare.web.vendors.xray.map_page import DRAWN
from services.compare.web.vendors.xray.segments import timeline
from services.compare.web.vendors.xray.times import stamp

#: Rows of a timeline on one page.
ROWS: Final = 250
#: Characters of a raw document on the page; ``documents.json`` has them all.
RAW: Final = 20_000
#: Raw documents on the page.
RAWS: Final = 50


@blueprint.get("/traces/<trace>")
def trace(trace: str) -> tuple[str, int]:
    identity = trace_id(trace)
    name = x_ray_id(identity)
    answer = ask(lambda xray: xray.trace(name))
    found = _known(answer, name)
    lines = timeline(found.documents if found else [])
    pages = paging.count(len(lines.entities), ROWS)
    wanted = argument("segment")
    chosen = lines.find(wanted) if wanted else lines.first
    if wanted and chosen is None and found is not None:
        raise Refused(404, "No such segment", f"Trace {name} has no segment or subsegment {wanted}.", "The trace's page lists them all.")
    at = 1
    if argument("rows"):
        at = paging.number(pages, "rows")
    elif wanted and chosen is not None:
        at = lines.entities.index(chosen) // ROWS + 1
    drawn = ask(lambda xray: xray.trace_graph(name)) if found else Answer(None)
    services = graph(drawn.value.entries) if drawn.value else None

    def to_node(key: Key) -> str:
        around = {"from": stamp(lines.start - 300), "to": stamp(lines.end + 300)} if lines.entities else {}
        return link("service_map", **around, **key.query) + "#node"

    return page(
        "trace.html",
        "traces",
        answer.status,
        name=name,
        answer=answer,
        trace=found,
        lines=lines,
        rows=lines.entities[(at - 1) * ROWS : at * ROWS],
        rows_page=at,
        row_pages=pages,
        rows_at=lambda n: link("trace", trace=name, rows=n, segment=wanted),
        chosen=chosen,
        raw=RAW,
        raws=lines.raws[:RAWS],
        drawn=drawn,
        large=bool(services and len(services.nodes) > DRAWN),
        document=in_page(map_document(services, None, to_node)) if services and 0 < len(services.nodes) <= DRAWN else None,
        runs=_runs(lines.values("run"), identity),
        console=console(f"traces/{name}"),
    )


@blueprint.get("/traces/<trace>/documents.json")
def documents(trace: str) -> Response:
    name = x_ray_id(trace_id(trace))
    answer = ask(lambda xray: xray.trace(name))
    found = _known(answer, name)
    if found is None:
        assert answer.problem is not None
        raise Refused(answer.status, "X-Ray cannot be read", answer.problem.reason, answer.problem.hint)
    segments = "[" + ",".join(each if _is_json(each) else json.dumps(each) for each in found.documents) + "]"
    about = json.dumps({"Id": found.id, "Duration": found.duration, "LimitExceeded": found.limit_exceeded})
    return Response(f'{about[:-1]}, "Segments": {segments}}}\n', mimetype="application/json")


def _known(answer: Answer[Trace | None], name: str) -> Trace | None:
    """The trace; None where X-Ray cannot be asked; a page (404) where it has none."""
    if answer.problem is None and answer.value is None:
        raise Refused(
            404,
            "No such trace",
            f"X-Ray has no trace {name}: it was not sampled, was lost, has not arrived yet, or is older than 30 days.",
            "A segment takes a second or two to arrive. `make trace ID=…` asks every backend.",
        )
    return answer.value


def _runs(values: list[str], identity: str) -> list[tuple[str, str]]:
    """Of the runs that the trace names, those that are known here: (id, address of this request in it)."""
    known = set(site().run_ids())
    return [(run, url_for("request.show", run_id=run, trace_id=identity)) for run in values if run in known]


def _is_json(document: str) -> bool:
    try:
        json.loads(document)
    except (ValueError, RecursionError):
        return False
    return True
