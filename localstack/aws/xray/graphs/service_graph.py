"""Service graphs: the services of many traces, who calls whom, how often, how fast and how it ended. Knows no HTTP.

Source: the API reference of GetServiceGraph, GetTraceGraph and of Service, Edge and Alias, and the example in "Retrieving the
service graph" of the developer guide. A graph is a sum over the index (:mod:`localstack.aws.xray.traces.index`), whose rows are the
nodes and edges that :mod:`localstack.aws.xray.traces.facts` defines. Ours, where the documents leave it open:

- A **service** is a name, a type and an account: what differs in one of them is another service. Its state is ``active`` when it
  sent a segment of its own, ``unknown`` when all is inferred from its callers, as in the guide's example. It is a **root** when a
  request entered there: when one of its segments has no parent in its trace.
- Every root service has a **client** of its own, which bears its name ("Type client, State unknown") and has no figures of its own.
- **The time range** holds what began in it, from its start up to, and not with, its end: adjacent ranges count nothing twice. A
  node and an edge have times of their own, so a range can cut a trace. A service that only an edge of the range leads to is in the
  graph, without figures.
- **Response time** is from the start to the end of a segment, or, of an inferred service, of the call. **Duration** goes on until the last
  of the segment's subsegments has ended: it is longer where work goes on after the response.
- An **edge** has the caller's view: the latencies include the network between the two.
- An **alias** of an edge is the name and type by which the caller knows the target, where that is not the target's name: the host name
  of a call that a service with another name answered.
- An edge is a **link** ("an asynchronous connection") when a message lies between the two: when the source is a messaging service,
  or the caller took its target for one. Age is counted from when the message was sent, which is when the call began (else when the
  messaging service's segment did), to when the target's segment began. A link has no response times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from localstack.aws.xray.graphs.statistics import STATISTICS_SQL, Histogram, Statistics, histogram, histogram_sql, statistics
from localstack.aws.xray.traces.facts import Service
from localstack.aws.xray.traces.index import Index
from localstack.store import Store

#: Services that take a message now and hand it on later, by the beginning of their type.
MESSAGING = ("AWS::SQS", "AWS::SNS", "AWS::Events", "AWS::Kinesis", "AWS::MQ", "AWS::MSK")


class TraceCondition(Protocol):
    """What picks traces: SQL over ``xray_trace t``, with named parameters. A compiled filter expression is one."""

    @property
    def sql(self) -> str: ...

    @property
    def parameters(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class GraphEdge:
    """Calls from one service to another. ``target``: the reference id of the other.

    ``response_times`` is empty for a link, ``event_ages`` for anything else. Times are epoch seconds.
    """

    target: int
    start_time: float
    end_time: float
    statistics: Statistics
    response_times: Histogram
    aliases: tuple[Service, ...] = ()
    link: bool = False
    event_ages: Histogram = ()


@dataclass(frozen=True, slots=True)
class GraphService:
    """A service of a graph. ``reference_id`` counts from 0 in the order of the graph; ``statistics`` is None for a client."""

    reference_id: int
    service: Service
    root: bool
    state: Literal["active", "unknown"]
    start_time: float
    end_time: float
    edges: tuple[GraphEdge, ...]
    statistics: Statistics | None
    response_times: Histogram = ()
    durations: Histogram = ()

    @property
    def client(self) -> bool:
        return self.statistics is None


@dataclass(frozen=True, slots=True)
class Graph:
    """Services in a stable order: the clients, then the others, each by name, type and account."""

    services: tuple[GraphService, ...] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows of xray_node and xray_edge are looked at.

    ``rows``: a condition over a row of either table. ``tables``: the common table expressions it needs, as ``name AS (…),``.
    """

    rows: str
    parameters: Mapping[str, Any]
    tables: str = ""


def in_range(start: float, end: float, condition: TraceCondition | None = None) -> Selection:
    """Rows that began in ``[start, end)``, of the traces that ``condition`` picks."""
    rows = "start_time >= $range_start AND start_time < $range_end"
    parameters = {"range_start": start, "range_end": end}
    if condition is None:
        return Selection(rows, parameters)
    # The condition is only asked of traces that have something in the range.
    tables = f"""
        active AS (SELECT trace FROM xray_node WHERE {rows} UNION SELECT trace FROM xray_edge WHERE {rows}),
        chosen AS MATERIALIZED (SELECT t.trace FROM xray_trace t WHERE t.trace IN (SELECT trace FROM active) AND ({condition.sql})),"""
    return Selection(f"{rows} AND trace IN (SELECT trace FROM chosen)", parameters | dict(condition.parameters), tables)


def of_traces(trace_ids: Sequence[str]) -> Selection:
    """Every row of some traces; ids in X-Ray's form."""
    return Selection("trace IN (SELECT unnest($traces::UUID[]))", {"traces": [trace_id[2:].replace("-", "") for trace_id in trace_ids]})


class Graphs:
    """The service graphs of one account in one region."""

    def __init__(self, store: Store, index: Index) -> None:
        self._store = store
        self._index = index

    def of_range(self, start: float, end: float, condition: TraceCondition | None = None) -> Graph:
        """The graph of what began in ``[start, end)`` (epoch seconds), of the traces that ``condition`` picks."""
        return self.of(in_range(start, end, condition))

    def of_traces(self, trace_ids: Sequence[str]) -> Graph:
        """The graph of whole traces. Ids have X-Ray's form; of one of which nothing is stored nothing is said."""
        return self.of(of_traces(trace_ids))

    def began(self, start: float, end: float) -> tuple[float, float] | None:
        """The first and last ``began`` of the traces that did something in ``[start, end)``; None where none did."""
        self._index.refresh()
        ((first, last),) = self._store.read(
            """SELECT min(began), max(began) FROM (
                   SELECT began FROM xray_node WHERE start_time >= $start AND start_time < $end
                   UNION ALL SELECT began FROM xray_edge WHERE start_time >= $start AND start_time < $end
               )""",
            {"start": start, "end": end},
        )
        return None if first is None else (first, last)

    def of(self, selection: Selection) -> Graph:
        """The graph of the rows of a selection."""
        self._index.refresh()
        # One statement, so that nodes and edges are of one moment.
        ((nodes, edges),) = self._store.read(
            f"""
            WITH {selection.tables}
            service AS (
                SELECT name, type, account_id, bool_or(entry) AS root, bool_or(NOT inferred) AS active,
                       min(start_time) AS first_start, max(coalesce(end_time, start_time)) AS last_end, {STATISTICS_SQL},
                       {histogram_sql()} AS response_times, {histogram_sql("start_time", "work_end")} AS durations
                FROM xray_node WHERE {selection.rows}
                GROUP BY name, type, account_id
            ),
            connection AS (
                SELECT source IS NULL AS client, {_ENDS}, {_LINK} AS link,
                       min(start_time) AS first_start, max(coalesce(end_time, start_time)) AS last_end, {STATISTICS_SQL},
                       {histogram_sql()} AS response_times,
                       list(DISTINCT {{'name': alias_name, 'type': alias_type}}) FILTER (alias_name <> target_name) AS aliases
                FROM xray_edge WHERE {selection.rows}
                GROUP BY client, {_ENDS}, link
            )
            SELECT (SELECT list(service) FROM service), (SELECT list(connection) FROM connection)
            """,
            selection.parameters,
        )
        ages: Sequence[Mapping[str, Any]] = ()
        if any(edge["link"] for edge in edges or ()):
            ages = self._store.read_dicts(
                f"""
                WITH {selection.tables}
                link AS (SELECT * FROM xray_edge WHERE {selection.rows} AND {_LINK})
                SELECT {_ENDS}, {histogram_sql("sent", "received")} AS ages
                FROM (
                    SELECT link.*, target.start_time AS received,
                           CASE WHEN {_messaging("link.alias_type")} THEN link.start_time ELSE source.start_time END AS sent
                    FROM link
                    JOIN xray_node source ON source.trace = link.trace AND source.id = link.source
                    JOIN xray_node target ON target.trace = link.trace AND target.id = link.target
                )
                GROUP BY {_ENDS}
                """,
                selection.parameters,
            )
        return _graph(nodes or (), edges or (), ages)


#: The columns by which an edge knows the services it leads from and to.
_ENDS = "source_name, source_type, source_account_id, target_name, target_type, target_account_id"


def _messaging(column: str) -> str:
    return "coalesce(" + " OR ".join(f"starts_with({column}, '{prefix}')" for prefix in MESSAGING) + ", false)"


_LINK = f"({_messaging('source_type')} OR {_messaging('alias_type')})"


def _graph(nodes: Sequence[Mapping[str, Any]], edges: Sequence[Mapping[str, Any]], ages: Sequence[Mapping[str, Any]]) -> Graph:
    """The graph of the rows read above."""
    found = {_service(node): node for node in nodes}
    aged = {(_service(age, "source_"), _service(age, "target_")): histogram(age["ages"]) for age in ages}
    # A client and the service it calls have the same name, type and account.
    outgoing: dict[tuple[bool, Service], list[tuple[Service, Mapping[str, Any]]]] = {(False, service): [] for service in found}
    # What only an edge of the range knows: the times of its edges.
    met: dict[Service, list[Mapping[str, Any]]] = {}
    for edge in edges:
        target = _service(edge, "target_")
        met.setdefault(target, []).append(edge)
        source = target if edge["client"] else _service(edge, "source_")
        if not edge["client"]:
            met.setdefault(source, []).append(edge)
        outgoing.setdefault((edge["client"], source), []).append((target, edge))
        outgoing.setdefault((False, target), [])
    order = sorted(outgoing, key=lambda key: (not key[0], _order(key[1])))
    number = {service: place for place, (client, service) in enumerate(order) if not client}
    services = []
    for place, (client, service) in enumerate(order):
        calls = outgoing[client, service]
        graph_edges = tuple(
            GraphEdge(
                target=number[target],
                start_time=edge["first_start"],
                end_time=edge["last_end"],
                statistics=statistics(edge),
                response_times=() if edge["link"] else histogram(edge["response_times"]),
                aliases=tuple(sorted((Service(alias["name"], alias["type"]) for alias in edge["aliases"] or ()), key=_order)),
                link=edge["link"],
                event_ages=aged.get((service, target), ()) if edge["link"] else (),
            )
            for target, edge in sorted(calls, key=lambda call: (number[call[0]], call[1]["link"]))
        )
        node = None if client else found.get(service)
        times = [node] if node is not None else [edge for _, edge in calls] if client else met[service]
        services.append(
            GraphService(
                reference_id=place,
                service=Service(service.name, "client") if client else service,
                root=node is not None and node["root"],
                state="active" if node is not None and node["active"] else "unknown",
                start_time=min(part["first_start"] for part in times),
                end_time=max(part["last_end"] for part in times),
                edges=graph_edges,
                statistics=None if client else statistics(node) if node is not None else Statistics(),
                response_times=histogram(node["response_times"]) if node is not None else (),
                durations=histogram(node["durations"]) if node is not None else (),
            )
        )
    return Graph(tuple(services))


def _service(row: Mapping[str, Any], prefix: str = "") -> Service:
    return Service(row[f"{prefix}name"], row[f"{prefix}type"], row[f"{prefix}account_id"])


def _order(service: Service) -> tuple[str, str, str]:
    return service.name, service.type or "", service.account_id or ""
