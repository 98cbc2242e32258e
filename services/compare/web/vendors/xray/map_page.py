"""``/vendors/xray/map``: the service graph of a time range, drawn and as tables; one service's figures; what went on over time.

``?range=`` (`vendors/timerange.py`), ``?group=``, ``?node=&type=&account=`` for one service, ``?services=`` and ``?edges=`` pages of the
tables, ``?draw=all`` for a map that is large.
"""

from __future__ import annotations

from typing import Final

from flask import redirect
from werkzeug.wrappers import Response

from services.compare.web import paging
from services.compare.web.site import with_query
from services.compare.web.vendors.xray import series
from services.compare.web.vendors.xray.frame import (
    argument,
    ask,
    blueprint,
    console,
    groups,
    in_page,
    link,
    page,
    span,
)
from services.compare.web.vendors.xray.graphs import Graph, Key, graph, histogram_figure, map_document, quantile
from services.compare.web.vendors.xray.times import HOUR

#: "Time range cannot be longer than 6 hours" (GetServiceGraph).
GRAPH_SECONDS: Final = 6 * HOUR
#: Services and edges up to which the map is drawn unasked: beyond, it is larger than any window, and tells less than the table.
DRAWN: Final = 80
DRAWN_EDGES: Final = 160
#: Services around one that are drawn of a large map.
AROUND: Final = 60
#: Rows of a table on one page.
ROWS: Final = 100


@blueprint.get("")
def home() -> Response:
    return redirect(with_query(link("service_map")))


@blueprint.get("/map")
def service_map() -> tuple[str, int]:
    at = span(GRAPH_SECONDS).at_most(GRAPH_SECONDS, "X-Ray makes graphs and statistics of")
    group = argument("group")
    known = groups()
    answer = ask(lambda xray: xray.service_graph(at.start, at.end, group))
    whole = graph(answer.value.entries) if answer.value else Graph((), ())
    chosen = Key(argument("node"), argument("type"), argument("account")) if argument("node") else None
    keep = {"group": group}

    def address(key: Key) -> str:
        return link("service_map", **at.query, **keep, **key.query) + "#node"

    node = whole.by_key.get(chosen) if chosen else None
    large = (len(whole.nodes) > DRAWN or len(whole.edges) > DRAWN_EDGES) and argument("draw") != "all"
    drawn = whole.around(node.key, AROUND) if large and node else None if large else whole
    period = series.period(at.seconds)
    over_time = None
    if answer.value and whole.nodes and not (node and node.client):
        over_time = ask(lambda xray: xray.statistics(at.start, at.end, group, period, node.key.selector if node else ""))
    service_pages, edge_pages = paging.count(len(whole.nodes), ROWS), paging.count(len(whole.edges), ROWS)
    services_page, edges_page = paging.number(service_pages, "services"), paging.number(edge_pages, "edges")
    services = sorted(whole.nodes, key=lambda node: (-node.counts.total, node.key.name))
    edges = sorted(whole.edges, key=lambda edge: (-edge.counts.total, edge.source.name, edge.target.name))
    return page(
        "map.html",
        "map",
        answer.status,
        span=at,
        group=group,
        groups=known,
        answer=answer,
        graph=whole,
        chosen=chosen,
        node=node,
        address=address,
        drawn=drawn,
        large=large,
        draw_all=link("service_map", **at.query, **keep, **(chosen.query if chosen else {}), draw="all"),
        document=in_page(map_document(drawn, at.seconds, address, chosen)) if drawn and drawn.nodes else None,
        over_time=over_time,
        figures=series.figures(over_time.value.entries, at.start, at.end, period) if over_time and over_time.value else [],
        histogram=_histogram(whole, node.key) if node else None,
        callers=whole.callers(node.key) if node else [],
        calls=whole.calls(node.key) if node else [],
        quantile=quantile,
        services=services[(services_page - 1) * ROWS : services_page * ROWS],
        services_page=services_page,
        service_pages=service_pages,
        services_at=lambda n: link("service_map", **at.query, **keep, services=n, edges=edges_page),
        edges=edges[(edges_page - 1) * ROWS : edges_page * ROWS],
        edges_page=edges_page,
        edge_pages=edge_pages,
        edges_at=lambda n: link("service_map", **at.query, **keep, services=services_page, edges=n),
        console=console("service-map/"),
    )


def _histogram(whole: Graph, key: Key) -> object:
    node = whole.by_key[key]
    own = [("service", "xray/sdk", node.response_times)] if node.response_times else []
    callers = whole.callers(key)
    if not own:
        own = [(f"called by {edge.source.name}", "", edge.response_times) for edge in callers[:3]]
    return histogram_figure("Response times", *own)
