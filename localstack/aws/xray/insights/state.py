"""Insights: incidents found in the fault rates of a group's services, and kept. Knows no HTTP and no JSON body.

The rule is :mod:`localstack.aws.xray.insights.anomalies`'. It is applied when insights are asked for, to all that is stored of the last
:data:`RETENTION_SECONDS`, so that nothing runs in between; what it finds is stored, so that an insight keeps its id, and stays
when its traces go. Ours, where the developer guide ("Using X-Ray insights") leaves it open:

- Only groups with InsightsEnabled are looked at, but what was stored before it was enabled counts too. Insights that were found stay
  when it is disabled.
- A minute is judged once it is over. An insight is closed :data:`~localstack.aws.xray.graphs.forecasts.CALM_MINUTES` minutes after its last
  anomalous minute; requests that come late can still move its ends, or open it again. It keeps its id as long as it touches the
  time it had and has a service in common with what it was. When its hour before it falls out of the retention, it changes no more.
- *Root cause statistics* count the requests to the root cause service in the insight's time, *client statistics* those of clients to the
  services by which traces with the root cause entered: all of them, so that the share of faults can be told. A request of a client
  is a trace, however often it entered: a fault where one of its entries is one, ok where all of them are.
- An *event* is the state after each minute of the insight in which something came; the last one says that it is over.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import duckdb
import orjson

from localstack.aws.xray.filters.errors import FilterError
from localstack.aws.xray.filters.groups import Groups
from localstack.aws.xray.filters.selecting import Filters
from localstack.aws.xray.filters.sql import Condition
from localstack.aws.xray.graphs.forecasts import BASELINE_MINUTES, CALM_MINUTES, MINUTE, Minute
from localstack.aws.xray.graphs.service_graph import Graph, Graphs, Selection, in_range
from localstack.aws.xray.insights.anomalies import Anomaly, Incident, find, incidents
from localstack.aws.xray.traces.facts import Service
from localstack.aws.xray.traces.index import Index
from localstack.store import Store

SCHEMA = (
    """CREATE TABLE xray_insight (
        id VARCHAR PRIMARY KEY, group_arn VARCHAR NOT NULL, start_time BIGINT NOT NULL, end_time BIGINT NOT NULL,
        updated DOUBLE NOT NULL, evidence VARCHAR NOT NULL
    )""",
)

#: "The start time can't be more than 30 days old".
RETENTION_SECONDS = 30 * 24 * 3600

_CALM_SECONDS = CALM_MINUTES * MINUTE


@dataclass(frozen=True, slots=True)
class Impact:
    """Requests to a service, and how many of them were faults, and well. RequestImpactStatistics of the API."""

    faults: int = 0
    ok: int = 0
    total: int = 0

    def __add__(self, other: Impact) -> Impact:
        return Impact(self.faults + other.faults, self.ok + other.ok, self.total + other.total)


@dataclass(frozen=True, slots=True)
class Event:
    """The state of an insight at ``time`` (epoch seconds); ``services``: the anomalous ones until then, as of the insight.

    ``over``: the last event of a closed insight.
    """

    time: int
    client: Impact
    root_cause: Impact
    services: tuple[Service, ...]
    over: bool = False


@dataclass(frozen=True, slots=True)
class Insight:
    """An incident of a group. Times are epoch seconds; ``services``: the anomalous ones, the root cause first.

    ``expected``: the fault rate that the root cause's history let expect, 0 to 1. ``updated``: when it was last found to be other.
    """

    id: str
    group_arn: str
    start: int
    end: int
    updated: float
    expected: float
    services: tuple[Service, ...]
    client: Impact
    root_cause: Impact
    events: tuple[Event, ...]

    @property
    def root(self) -> Service:
        return self.services[0]

    def active(self, now: float) -> bool:
        return now < self.end + _CALM_SECONDS


class Insights:
    """The insights of one account in one region."""

    def __init__(
        self, store: Store, index: Index, graphs: Graphs, groups: Groups, filters: Filters, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._index = index
        self._graphs = graphs
        self._groups = groups
        self._filters = filters
        self._clock = clock
        self._lock = threading.Lock()
        # Of each group, what was there when it was last looked at.
        self._seen: dict[str, tuple[int, int, tuple[str | None, ...]]] = {}

    def of_group(self, group_arn: str) -> list[Insight]:
        """The insights of a group, newest first. Raises FilterError where its expression names a group that is gone."""
        broken = self.refresh().get(group_arn)
        if broken is not None:
            raise broken
        rows = self._store.read(f"SELECT {_COLUMNS} FROM xray_insight WHERE group_arn = ? ORDER BY start_time DESC, id", [group_arn])
        return [_insight(row) for row in rows]

    def get(self, insight_id: str) -> Insight | None:
        """One insight of a group there is; None where there is none."""
        self.refresh()
        rows = self._store.read(f"SELECT {_COLUMNS} FROM xray_insight WHERE id = ?", [insight_id.lower()])
        found = [_insight(row) for row in rows]
        return found[0] if found and self._groups.has(found[0].group_arn) else None

    def impact_graph(self, insight: Insight, start: float, end: float) -> Graph:
        """What the traces of the insight's services did in ``[start, end)``: its part of the group's service graph."""
        group = self._groups.get({"GroupARN": insight.group_arn})
        selection = in_range(start, end, self._condition(group))
        named = {
            f"affected_{place}_{member}": value
            for place, service in enumerate(insight.services)
            for member, value in asdict(service).items()
        }
        affected = " OR ".join(_is_service(f"affected_{place}_") for place in range(len(insight.services)))
        within = f"trace IN (SELECT trace FROM xray_node WHERE {selection.rows} AND ({affected}))"
        return self._graphs.of(Selection(f"{selection.rows} AND {within}", dict(selection.parameters) | named, selection.tables))

    def refresh(self) -> dict[str, FilterError]:
        """Bring what is stored up to date with the traces there are; says of which groups, by ARN, the expression cannot be used."""
        self._index.refresh()
        now = self._clock()
        until = int(now // MINUTE) * MINUTE
        broken: dict[str, FilterError] = {}
        with self._lock:
            ((watermark,),) = self._store.read("SELECT watermark FROM xray_index")
            groups = self._groups.all()
            self._forget({group["GroupARN"] for group in groups})
            # An expression may name other groups.
            expressions = tuple(group.get("FilterExpression") for group in groups)
            for group in groups:
                arn = group["GroupARN"]
                seen = (watermark, until, expressions)
                if not group["InsightsConfiguration"]["InsightsEnabled"] or self._seen.get(arn) == seen:
                    continue
                try:
                    found = self._find(self._condition(group), until)
                except FilterError as error:
                    broken[arn] = error
                    continue
                whole_from = until - RETENTION_SECONDS + BASELINE_MINUTES * MINUTE
                self._store.transact(partial(_keep, group_arn=arn, found=found, now=now, whole_from=whole_from))
                self._seen[arn] = seen
        return broken

    def _forget(self, groups: Collection[str]) -> None:
        """Drop the insights of groups that are gone."""
        gone = [row for row in self._store.read("SELECT DISTINCT group_arn FROM xray_insight") if row[0] not in groups]
        if gone:
            self._store.transact(lambda db: db.executemany("DELETE FROM xray_insight WHERE group_arn = ?", gone))

    def _condition(self, group: Mapping[str, Any]) -> Condition | None:
        expression = group.get("FilterExpression")
        return self._filters.condition(expression) if expression else None

    def _find(self, condition: Condition | None, until: int) -> list[Insight]:
        """What the traces say, without ids."""
        since = until - RETENTION_SECONDS
        anomalies = [
            anomaly for service, minutes in self._minutes(in_range(since, until, condition)).items() for anomaly in find(service, minutes)
        ]
        if not anomalies:
            return []
        span = in_range(min(one.start for one in anomalies), max(one.end for one in anomalies), condition)
        found = incidents(anomalies, self._calls(span))
        return [_insight_of(incident, impacts) for incident, impacts in zip(found, self._impacts(found, span), strict=True)]

    def _minutes(self, selection: Selection) -> dict[Service, list[Minute]]:
        rows = self._store.read(
            f"""WITH {selection.tables} node AS (SELECT * FROM xray_node WHERE {selection.rows} AND end_time IS NOT NULL)
                SELECT name, type, account_id, floor(start_time / {MINUTE})::BIGINT * {MINUTE} AS minute, count(*), count(*) FILTER (fault)
                FROM node GROUP BY ALL""",
            selection.parameters,
        )
        minutes: dict[Service, list[Minute]] = {}
        for name, kind, account, minute, requests, faults in rows:
            minutes.setdefault(Service(name, kind, account), []).append(Minute(minute, requests, faults))
        return minutes

    def _calls(self, selection: Selection) -> set[tuple[Service, Service]]:
        rows = self._store.read(
            f"""WITH {selection.tables} edge AS (SELECT * FROM xray_edge WHERE {selection.rows} AND source IS NOT NULL)
                SELECT DISTINCT source_name, source_type, source_account_id, target_name, target_type, target_account_id FROM edge""",
            selection.parameters,
        )
        return {(Service(*row[:3]), Service(*row[3:])) for row in rows}

    def _impacts(self, incidents: Sequence[Incident], span: Selection) -> list[dict[int, tuple[Impact, Impact]]]:
        """Of each incident, by the minute: requests of clients, and to the root cause. In one statement, however many there are."""
        roots = [incident.root.service for incident in incidents]
        rows = self._store.read(
            f"""
            WITH {span.tables}
            incident AS (
                SELECT unnest(range(len($begins))) AS incident, unnest($begins) AS begins, unnest($ends) AS ends,
                       unnest($names) AS root_name, unnest($types::VARCHAR[]) AS root_type, unnest($accounts::VARCHAR[]) AS root_account
            ),
            selected AS (SELECT * FROM xray_node WHERE {span.rows} AND end_time IS NOT NULL),
            node AS (SELECT * FROM selected JOIN incident ON start_time >= begins AND start_time < ends),
            root_cause AS (
                SELECT * FROM node WHERE name = root_name
                AND type IS NOT DISTINCT FROM root_type AND account_id IS NOT DISTINCT FROM root_account
            ),
            entered AS (
                SELECT DISTINCT incident, name, type, account_id FROM node SEMI JOIN root_cause USING (incident, trace) WHERE entry
            ),
            -- What entered by several services at once (one instrumented twice, say) is one request.
            client AS (
                SELECT incident, min(start_time) AS start_time,
                       bool_or(fault) AS fault, bool_or(throttle) AS throttle, bool_or(error) AS error
                FROM node SEMI JOIN entered ON entered.incident = node.incident AND entered.name = node.name
                AND entered.type IS NOT DISTINCT FROM node.type AND entered.account_id IS NOT DISTINCT FROM node.account_id
                WHERE entry GROUP BY incident, trace
            ),
            request AS (
                SELECT incident, start_time, fault, throttle, error, false AS is_client FROM root_cause
                UNION ALL BY NAME SELECT *, true AS is_client FROM client
            )
            SELECT incident, floor(start_time / {MINUTE})::BIGINT * {MINUTE} AS minute, is_client,
                   count(*) FILTER (fault), count(*) FILTER (NOT fault AND NOT throttle AND NOT error), count(*)
            FROM request GROUP BY ALL ORDER BY minute
            """,
            dict(span.parameters)
            | {"begins": [incident.start for incident in incidents], "ends": [incident.end for incident in incidents]}
            | {"names": [root.name for root in roots], "types": [root.type for root in roots]}
            | {"accounts": [root.account_id for root in roots]},
        )
        impacts: list[dict[int, tuple[Impact, Impact]]] = [{} for _ in incidents]
        for number, minute, is_client, *counts in rows:
            client, root_cause = impacts[number].get(minute, (Impact(), Impact()))
            impacts[number][minute] = (Impact(*counts), root_cause) if is_client else (client, Impact(*counts))
        return impacts


def _insight_of(incident: Incident, impacts: Mapping[int, tuple[Impact, Impact]]) -> Insight:
    """What is told of an incident, without an id. ``impacts``: of clients and root cause, by the minute, oldest first."""
    client, root_cause, events = Impact(), Impact(), []
    for minute, (of_clients, of_root_cause) in impacts.items():
        client += of_clients
        root_cause += of_root_cause
        events.append(Event(minute + MINUTE, client, root_cause, _begun(incident.anomalies, minute)))
    return Insight(
        id="",
        group_arn="",
        start=incident.start,
        end=incident.end,
        updated=0.0,
        expected=incident.root.expected,
        services=tuple(dict.fromkeys(anomaly.service for anomaly in incident.anomalies)),
        client=client,
        root_cause=root_cause,
        events=tuple(events),
    )


def events(insight: Insight, now: float) -> list[Event]:
    """How an insight developed, oldest first, with its end where it is over."""
    found = list(insight.events)
    if not insight.active(now):
        found.append(Event(insight.end + _CALM_SECONDS, insight.client, insight.root_cause, insight.services, over=True))
    return found


def _begun(anomalies: Iterable[Anomaly], minute: int) -> tuple[Service, ...]:
    return tuple(dict.fromkeys(anomaly.service for anomaly in anomalies if anomaly.start <= minute))


def _is_service(prefix: str) -> str:
    """Whether a row is of the service in the parameters of this prefix."""
    rest = " AND ".join(f"{member} IS NOT DISTINCT FROM ${prefix}{member}" for member in ("type", "account_id"))
    return f"(name = ${prefix}name AND {rest})"


_COLUMNS = "id, group_arn, start_time, end_time, updated, evidence"


def _keep(db: duckdb.DuckDBPyConnection, group_arn: str, found: Sequence[Insight], now: float, whole_from: int) -> None:
    """Store what was found, under the ids that it had before. What is found no more stays as it was.

    So does what began before ``whole_from``: of its time, or of the history it was judged by, a part is no longer looked at, and what
    is found there now is less than what was.
    """
    rows = db.execute(f"SELECT {_COLUMNS} FROM xray_insight WHERE group_arn = ? ORDER BY start_time, id", [group_arn]).fetchall()
    stored = {row[0]: _insight(row) for row in rows}
    evidence = {row[0]: (row[2], row[3], row[5]) for row in rows}
    for insight in found:
        same = [one.id for one in stored.values() if _is_same(one, insight)]
        if same and stored[same[0]].start < whole_from:
            continue
        # Where two turned out to be one, the older stays.
        for superseded in same[1:]:
            db.execute("DELETE FROM xray_insight WHERE id = ?", [superseded])
            del stored[superseded]
        name = f"{group_arn} {insight.start} {orjson.dumps(asdict(insight.root)).decode()}"
        insight_id = same[0] if same else str(uuid.uuid5(uuid.NAMESPACE_URL, name))
        stored.pop(insight_id, None)
        new = (insight.start, insight.end, _evidence(insight))
        if evidence.get(insight_id) != new:
            db.execute("INSERT OR REPLACE INTO xray_insight VALUES (?, ?, ?, ?, ?, ?)", [insight_id, group_arn, *new[:2], now, new[2]])


def _is_same(stored: Insight, found: Insight) -> bool:
    together = stored.start < found.end + _CALM_SECONDS and found.start < stored.end + _CALM_SECONDS
    return together and not set(stored.services).isdisjoint(found.services)


def _evidence(insight: Insight) -> str:
    members = ("expected", "services", "client", "root_cause", "events")
    return orjson.dumps({member: getattr(insight, member) for member in members}).decode()


def _insight(row: Sequence[Any]) -> Insight:
    insight_id, group_arn, start, end, updated, evidence = row
    members = orjson.loads(evidence)
    return Insight(
        insight_id,
        group_arn,
        start,
        end,
        updated,
        members["expected"],
        _services(members["services"]),
        Impact(**members["client"]),
        Impact(**members["root_cause"]),
        tuple(
            Event(one["time"], Impact(**one["client"]), Impact(**one["root_cause"]), _services(one["services"]))
            for one in members["events"]
        ),
    )


def _services(members: Iterable[Mapping[str, Any]]) -> tuple[Service, ...]:
    return tuple(Service(**one) for one in members)
