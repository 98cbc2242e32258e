"""Pure: services and edges of GetServiceGraph and GetTraceGraph, as map, tables and figures show them.

Members as in "Service", "Edge", "ServiceStatistics", "EdgeStatistics" and "HistogramEntry" (AWS X-Ray API Reference): times and
durations are seconds there and milliseconds here. A request counts once: as a fault, else as throttled, else as an error, else as ok.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from services.compare.readers.base import mapping
from services.compare.web import numbers
from services.compare.web.figures import Axis, Figure, Series
from services.compare.web.text import plain
from services.compare.web.vendors.xray.client import epoch

#: (milliseconds, requests), ascending.
Histogram = tuple[tuple[float, float], ...]

#: Bins of a histogram for each power of ten.
BINS_A_DECADE: Final = 10


@dataclass(frozen=True)
class Word:
    """One outcome of a request: its mark, and a line about it."""

    name: str
    mark: str
    meaning: str


#: In the order in which they are drawn.
OUTCOMES: Final = (
    Word("ok", "✓", "answered well"),
    Word("error", "!", "the client's mistake, 4xx"),
    Word("throttle", "≋", "refused for too many requests, 429"),
    Word("fault", "✗", "the service's failure, 5xx"),
)


@dataclass(frozen=True)
class Counts:
    """Requests by outcome. ``milliseconds``: of all of them together."""

    ok: int = 0
    error: int = 0
    throttle: int = 0
    fault: int = 0
    milliseconds: float = 0.0

    @property
    def total(self) -> int:
        return self.ok + self.error + self.throttle + self.fault

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.ok + other.ok,
            self.error + other.error,
            self.throttle + other.throttle,
            self.fault + other.fault,
            self.milliseconds + other.milliseconds,
        )

    @property
    def average(self) -> float | None:
        return self.milliseconds / self.total if self.total else None

    def of(self, outcome: str) -> int:
        count: int = getattr(self, outcome)
        return count

    @property
    def wrong(self) -> list[tuple[Word, int]]:
        """Outcomes that are not ok and happened, the worst first."""
        return [(word, self.of(word.name)) for word in reversed(OUTCOMES) if word.name != "ok" and self.of(word.name)]

    @property
    def words(self) -> str:
        """For who cannot see the ring: 12 requests, 2 fault."""
        return ", ".join([f"{numbers.count(self.total)} requests", *(f"{numbers.count(n)} {word.name}" for word, n in self.wrong)])


@dataclass(frozen=True)
class Key:
    """What makes a service: what differs in one of these is another one."""

    name: str
    type: str = ""
    account: str = ""

    @property
    def query(self) -> dict[str, str]:
        """For addresses."""
        return {"node": self.name} | ({"type": self.type} if self.type else {}) | ({"account": self.account} if self.account else {})

    @property
    def selector(self) -> str:
        """``id(name: "…", type: "…")`` of X-Ray's expressions."""
        parts = {"name": self.name, "type": self.type, "account.id": self.account}
        return f"id({', '.join(f'{part}: {quoted(value)}' for part, value in parts.items() if value)})"


@dataclass(frozen=True)
class Edge:
    """Calls of one service to another, as the caller saw them. ``link``: a message lies between; ``ages``: how old it was when it came."""

    source: Key
    target: Key
    counts: Counts
    aliases: tuple[str, ...] = ()
    link: bool = False
    response_times: Histogram = ()
    ages: Histogram = ()


@dataclass(frozen=True)
class Node:
    """A service. ``known``: it sent segments; else it is inferred of its callers', or a client."""

    key: Key
    counts: Counts
    root: bool = False
    known: bool = True
    start: float | None = None
    end: float | None = None
    response_times: Histogram = ()
    durations: Histogram = ()

    @property
    def client(self) -> bool:
        return self.key.type == "client"

    @property
    def kind(self) -> str:
        return self.key.type or "service"

    @property
    def expression(self) -> str:
        """The filter that finds the traces in which it takes part; of a client, in which it called."""
        if self.client:
            return f'edge(id(type: "client"), {quoted(self.key.name)})'
        return f"service({self.key.selector})"


@dataclass(frozen=True)
class Graph:
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    @cached_property
    def by_key(self) -> Mapping[Key, Node]:
        return {node.key: node for node in self.nodes}

    def callers(self, key: Key) -> list[Edge]:
        return [edge for edge in self.edges if edge.target == key]

    def calls(self, key: Key) -> list[Edge]:
        return [edge for edge in self.edges if edge.source == key]

    def around(self, key: Key, most: int) -> Graph:
        """The service and those it calls or is called by; of more than ``most`` the busiest."""
        edges = sorted((edge for edge in self.edges if key in (edge.source, edge.target)), key=lambda edge: -edge.counts.total)
        kept: dict[Key, None] = {key: None}
        for edge in edges:
            for end in (edge.source, edge.target):
                if len(kept) < most:
                    kept[end] = None
        return Graph(
            tuple(node for node in self.nodes if node.key in kept),
            tuple(edge for edge in self.edges if edge.source in kept and edge.target in kept and key in (edge.source, edge.target)),
        )


def graph(services: Sequence[Mapping[str, Any]]) -> Graph:
    """The graph of the API's list of Service (also of InsightImpactGraphService, which has no figures)."""
    keys = {service.get("ReferenceId"): _key(service) for service in services}
    nodes: dict[Key, Node] = {}
    edges: list[Edge] = []
    for service in services:
        key = _key(service)
        node = Node(
            key,
            counts(mapping(service.get("SummaryStatistics"))),
            root=bool(service.get("Root")),
            known=service.get("State", "active") == "active",
            start=epoch(service.get("StartTime")),
            end=epoch(service.get("EndTime")),
            response_times=_histogram(service.get("ResponseTimeHistogram")),
            durations=_histogram(service.get("DurationHistogram")),
        )
        # Each service that is asked from outside has a client of its own, and two of them may have the same name.
        nodes[key] = _together(nodes[key], node) if key in nodes else node
        for edge in service.get("Edges") or []:
            target = keys.get(edge.get("ReferenceId"))
            if target is None:
                continue  # on a page that was not read any more
            edges.append(
                Edge(
                    key,
                    target,
                    counts(mapping(edge.get("SummaryStatistics"))),
                    aliases=tuple(name for alias in edge.get("Aliases") or [] if (name := str(alias.get("Name") or ""))),
                    link=edge.get("EdgeType") == "link",
                    response_times=_histogram(edge.get("ResponseTimeHistogram")),
                    ages=_histogram(edge.get("ReceivedEventAgeHistogram")),
                )
            )
    return Graph(tuple(nodes.values()), tuple(edges))


def _together(one: Node, other: Node) -> Node:
    """Two nodes of the API's that are one service by name, type and account."""
    times = [at for at in (one.start, other.start, one.end, other.end) if at is not None]
    return Node(
        one.key,
        one.counts + other.counts,
        root=one.root or other.root,
        known=one.known or other.known,
        start=min(times, default=None),
        end=max(times, default=None),
        response_times=tuple(sorted(one.response_times + other.response_times)),
        durations=tuple(sorted(one.durations + other.durations)),
    )


def counts(statistics: Mapping[str, Any]) -> Counts:
    """ServiceStatistics or EdgeStatistics. (ErrorStatistics has the throttled ones in its total.)"""
    errors, faults = mapping(statistics.get("ErrorStatistics")), mapping(statistics.get("FaultStatistics"))
    throttled = int(errors.get("ThrottleCount") or 0)
    return Counts(
        ok=int(statistics.get("OkCount") or 0),
        error=max(0, int(errors.get("TotalCount") or 0) - throttled),
        throttle=throttled,
        fault=int(faults.get("TotalCount") or 0),
        milliseconds=1000 * float(statistics.get("TotalResponseTime") or 0),
    )


def _key(service: Mapping[str, Any]) -> Key:
    return Key(str(service.get("Name") or ""), str(service.get("Type") or ""), str(service.get("AccountId") or ""))


def _histogram(entries: Any) -> Histogram:
    return tuple(sorted((1000 * float(entry["Value"]), float(entry["Count"])) for entry in entries or [] if entry.get("Count")))


def quoted(text: str) -> str:
    """A string of X-Ray's expressions."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def quantile(histogram: Histogram, share: float) -> float | None:
    """The value that this share of the requests does not exceed, in milliseconds."""
    rest = share * sum(count for _, count in histogram)
    for value, count in histogram:
        rest -= count
        if rest <= 1e-9:
            return value
    return histogram[-1][0] if histogram else None


def bins(histogram: Histogram) -> list[tuple[float, float]]:
    """(middle of the bin in ms, requests): bins as wide as a tenth of a power of ten, none left out between the first and the last.

    What took less than half a millisecond is in the bin of that: a logarithm has no zero, and X-Ray may round to whole ones.
    """
    found: dict[int, float] = {}
    for value, count in histogram:
        place = math.floor(math.log10(max(value, 0.5)) * BINS_A_DECADE + 1e-9)
        found[place] = found.get(place, 0) + count
    if not found:
        return []
    first, last = min(found) - 1, max(found) + 1
    return [(10 ** ((place + 0.5) / BINS_A_DECADE), found.get(place, 0)) for place in range(first, last + 1)]


def histogram_figure(title: str, *series: tuple[str, str, Histogram]) -> Figure | None:
    """Shares of requests by their time; ``series``: label, its class of colour, histogram. None where nothing was completed."""
    shown = [
        (label, colour, dict(bins(histogram)), sum(count for _, count in histogram)) for label, colour, histogram in series if histogram
    ]
    if not shown:
        return None
    xs = sorted({x for _, _, found, _ in shown for x in found})
    return Figure(
        title,
        Axis("response time", "ms", log=True),
        Axis("share of requests", "percent"),
        xs,
        [
            Series(label, [100 * found.get(x, 0) / total for x in xs], colour, "bars" if len(shown) == 1 else "steps")
            for label, colour, found, total in shown
        ],
        rows=[place for place, x in enumerate(xs) if any(found.get(x) for _, _, found, _ in shown)],
    )


def rate(count: float, seconds: float) -> str:
    """Requests a minute, with as many digits as say something."""
    a_minute = 60 * count / seconds
    return numbers.count(a_minute) if a_minute >= 100 or not a_minute else f"{a_minute:.3g}"


def map_document(graph: Graph, seconds: float | None, address: Callable[[Key], str], chosen: Key | None = None) -> dict[str, Any]:
    """For ``static/js/servicemap.js``. ``seconds``: the length of the range; None for one trace, of which there is no rate."""
    places = {node.key: place for place, node in enumerate(graph.nodes)}

    def figures(counts: Counts) -> list[str]:
        how_many = f"{numbers.count(counts.total)} ×" if seconds is None else f"{rate(counts.total, seconds)}/min"
        return [how_many, *(f"{word.mark} {numbers.percent(n, counts.total)}" for word, n in counts.wrong)]

    return {
        "nodes": [
            {
                "name": plain(node.key.name, 40),
                "kind": plain(node.kind, 40),
                "client": node.client,
                "known": node.known,
                "root": node.root,
                "chosen": node.key == chosen,
                "average": numbers.milliseconds(node.counts.average) if node.counts.total else "",
                "figures": figures(node.counts) if node.counts.total else [],
                "shares": [[word.name, node.counts.of(word.name)] for word in OUTCOMES if node.counts.of(word.name)],
                "words": f"{plain(node.key.name, 60)}, {plain(node.kind, 60)}: "
                + (
                    f"{node.counts.words}, {numbers.milliseconds(node.counts.average)} on average"
                    if node.counts.total
                    else "no figures of its own"
                ),
                "href": address(node.key),
            }
            for node in graph.nodes
        ],
        "edges": [
            {
                "from": places[edge.source],
                "to": places[edge.target],
                "figures": figures(edge.counts) if edge.counts.total else [],
                "worst": edge.counts.wrong[0][0].name if edge.counts.wrong else "ok",
                "link": edge.link,
            }
            for edge in graph.edges
            if edge.source in places and edge.target in places
        ],
    }
