"""``/vendors/xray/insights``: incidents X-Ray has found in its groups; ``…/<id>``: how one developed, and whom it hit."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from services.compare.readers.base import mapping
from services.compare.web.figures import Axis, Figure, Series
from services.compare.web.site import Refused
from services.compare.web.vendors import timerange
from services.compare.web.vendors.xray.client import Rejected, epoch
from services.compare.web.vendors.xray.frame import argument, ask, blueprint, console, groups, in_page, link, page
from services.compare.web.vendors.xray.graphs import Key, graph, map_document
from services.compare.web.vendors.xray.map_page import DRAWN, GRAPH_SECONDS
from services.compare.web.vendors.xray.times import DAY, Span, read, stamp

#: "The start time can't be more than 30 days old" (GetInsightSummaries); a minute less, so that it is not while X-Ray is asked.
OLDEST: Final = 30 * DAY - 60
#: An incident lasts, and is looked for days later.
PRESETS: Final = (*timerange.PRESETS[3:], timerange.MONTH)
#: Groups that are asked for where none is chosen.
GROUPS: Final = 10

_ID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@blueprint.get("/insights")
def insights() -> tuple[str, int]:
    at = _young(read(PRESETS, "24h"))
    group = argument("group")
    known = groups()
    enabled = [
        str(each.get("GroupName") or "")
        for each in (known.value.entries if known.value else [])
        if mapping(each.get("InsightsConfiguration")).get("InsightsEnabled")
    ]
    names = [group] if group else enabled[:GROUPS]
    found: list[Mapping[str, Any]] = []
    problems = [known] if known.problem and not group else []
    for name in names:
        answer = ask(lambda xray, name=name: xray.insights(at.start, at.end, name))  # type: ignore[misc]
        if answer.value:
            found += answer.value.entries
        else:
            problems.append(answer)
    found.sort(key=lambda insight: epoch(insight.get("StartTime")) or 0.0, reverse=True)
    status = max((each.status for each in problems), default=200) if not found else 200
    return page(
        "insights.html",
        "insights",
        status,
        span=at,
        group=group,
        groups=known,
        enabled=enabled,
        names=names,
        left_out=len(enabled) - len(names) if not group else 0,
        insights=[_shown(each) for each in found],
        problems=problems,
        console=console("insights"),
    )


@blueprint.get("/insights/<insight_id>")
def insight(insight_id: str) -> tuple[str, int]:
    if not _ID.fullmatch(insight_id):
        raise Refused(404, "No such insight", f"{insight_id} is no insight's id; the list of insights has them.")
    answer = ask(lambda xray: xray.insight(insight_id))
    if isinstance(answer.problem, Rejected):
        raise Refused(404, "No such insight", answer.problem.reason)
    events = ask(lambda xray: xray.insight_events(insight_id))
    about = _shown(answer.value) if answer.value else None
    impact = at = None
    if about and about["start"] is not None:
        end = about["end"] or time.time()
        # What led to it, too; and no longer than a graph can be.
        at = Span(int(about["start"]) - 60, int(end) + 60).at_most(GRAPH_SECONDS, "X-Ray makes graphs of")
        impact = ask(lambda xray: xray.impact_graph(insight_id, at.start, at.end))
    services = graph(impact.value.entries) if impact and impact.value else None
    seen = [_event(each) for each in (events.value.entries if events.value else [])]
    range_ = {"from": stamp(at.start), "to": stamp(at.end)} if at else {}
    name = about["group"] if about else ""

    def to_node(key: Key) -> str:
        return link("service_map", group=name, **range_, **key.query) + "#node"

    return page(
        "insight.html",
        "insights",
        answer.status,
        id=insight_id,
        answer=answer,
        insight=about,
        events=events,
        seen=seen,
        figure=_figure(seen),
        impact=impact,
        services=services,
        to_node=to_node,
        document=in_page(map_document(services, None, to_node)) if services and 0 < len(services.nodes) <= DRAWN else None,
        range=range_,
        at=at,
        console=console(f"insights/{insight_id}"),
    )


def _young(span: Span) -> Span:
    asked_all = span.asked is not None and span.asked.name == timerange.MONTH.name
    note = "" if asked_all else "X-Ray keeps insights for 30 days: shown are those of the last 30 days."
    return span.since(int(time.time()) - OLDEST, note)


def _shown(insight: Mapping[str, Any]) -> dict[str, Any]:
    """Insight or InsightSummary, as the templates read it."""
    return {
        "id": str(insight.get("InsightId") or ""),
        "group": str(insight.get("GroupName") or ""),
        "state": str(insight.get("State") or ""),
        "categories": [str(each) for each in insight.get("Categories") or []],
        "root": _service(insight.get("RootCauseServiceId")),
        "start": epoch(insight.get("StartTime")),
        "end": epoch(insight.get("EndTime")),
        "summary": str(insight.get("Summary") or ""),
        "client": _impact(insight.get("ClientRequestImpactStatistics")),
        "cause": _impact(insight.get("RootCauseServiceRequestImpactStatistics")),
        "services": [_service(mapping(each).get("ServiceId")) for each in insight.get("TopAnomalousServices") or []],
    }


def _event(event: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "time": epoch(event.get("EventTime")),
        "summary": str(event.get("Summary") or ""),
        "client": _impact(event.get("ClientRequestImpactStatistics")),
        "cause": _impact(event.get("RootCauseServiceRequestImpactStatistics")),
        "services": [_service(mapping(each).get("ServiceId")) for each in event.get("TopAnomalousServices") or []],
    }


def _service(service: Any) -> Key:
    members = mapping(service)
    return Key(str(members.get("Name") or ""), str(members.get("Type") or ""), str(members.get("AccountId") or ""))


def _impact(statistics: Any) -> dict[str, int]:
    members = mapping(statistics)
    return {
        "fault": int(members.get("FaultCount") or 0),
        "ok": int(members.get("OkCount") or 0),
        "total": int(members.get("TotalCount") or 0),
    }


def _figure(events: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Faults until each event. None of fewer than two."""
    timed = sorted((each for each in events if each["time"] is not None), key=lambda each: float(each["time"]))
    if len(timed) < 2:
        return None
    return Figure(
        "Requests since it began",
        Axis("time, UTC", "time"),
        Axis("requests", "count"),
        [each["time"] for each in timed],
        [
            Series("faults of the root cause", [each["cause"]["fault"] for each in timed], "outcome/fault", "steps"),
            Series("requests to the root cause", [each["cause"]["total"] for each in timed], kind="steps"),
            Series("clients' requests that failed", [each["client"]["fault"] for each in timed], "outcome/error", "steps"),
        ],
    )
