"""What becomes of an insight while time goes on and requests come late, by a clock that is turned by hand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from localstack.aws.state import State
from localstack.aws.xray.filters.errors import FilterError
from localstack.aws.xray.graphs.forecasts import CALM_MINUTES, MINUTE
from localstack.aws.xray.insights.state import RETENTION_SECONDS, Impact, Insight, Insights, events
from tests.api.aws_clients import segment_id, trace_id

#: Minutes are counted from here.
START = int(time.time() // MINUTE) * MINUTE - 120 * MINUTE


class Clock:
    now = float(START + 60 * MINUTE)

    def __call__(self) -> float:
        return self.now


class World:
    def __init__(self, state: State) -> None:
        self.xray = state.xray
        self.clock = Clock()
        self.insights = Insights(state.store, state.xray.index, state.xray.graphs, state.xray.groups, state.xray.filters, self.clock)
        group = self.xray.groups.create("shop", 'service("api")', {"InsightsEnabled": True}, {})
        self.arn = group["GroupARN"]

    def requests(self, minute: int, ok: int, faults: int, service: str = "api", caller: str | None = None) -> None:
        """Requests to ``service`` in one minute, made by the segment of ``caller`` where one is named."""
        documents = []
        for number in range(ok + faults):
            begun = START + minute * MINUTE + number * MINUTE / (ok + faults + 1)
            fault = {"fault": True} if number < faults else {}
            trace, call = trace_id(begun), segment_id()
            common: dict[str, Any] = {"trace_id": trace, "start_time": begun, "end_time": begun + 0.01}
            if caller is None:
                documents.append(common | {"id": segment_id(), "name": service} | fault)
                continue
            hop = {"id": call, "name": service, "namespace": "remote", "start_time": begun, "end_time": begun + 0.01}
            documents.append(common | {"id": segment_id(), "name": caller, "subsegments": [hop]} | fault)
            documents.append(common | {"id": segment_id(), "name": service, "parent_id": call} | fault)
        for place in range(0, len(documents), 50):
            assert self.xray.segments.put([orjson.dumps(one).decode() for one in documents[place : place + 50]]) == []

    def found(self) -> list[Insight]:
        return self.insights.of_group(self.arn)

    def minutes(self) -> list[tuple[int, int]]:
        """Of each insight, newest first: its first minute, and the first after it."""
        return [((one.start - START) // MINUTE, (one.end - START) // MINUTE) for one in self.found()]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    state = State(tmp_path / "aws.duckdb", "us-east-1")
    made = World(state)
    for minute in range(40, 55):
        made.requests(minute, ok=20, faults=0)
    yield made
    state.close()


def test_a_minute_is_judged_when_it_is_over(world: World) -> None:
    world.requests(60, ok=0, faults=20)
    world.clock.now = START + 60 * MINUTE + 59
    assert world.found() == []
    world.clock.now += 1
    assert world.minutes() == [(60, 61)]


def test_an_insight_is_closed_by_calm_and_opened_again_by_what_comes_late(world: World) -> None:
    world.requests(55, ok=0, faults=20)
    (insight,) = world.found()
    for late in (0, 1):
        end = insight.end + CALM_MINUTES * MINUTE
        assert insight.active(end - 1)
        assert not insight.active(end)
        assert [event.over for event in events(insight, end)] == [False] * (1 + late) + [True]
        if not late:
            world.requests(58, ok=0, faults=20)
            world.clock.now = end
            (again,) = world.found()
            assert (again.id, again.start, again.end) == (insight.id, insight.start, insight.end + 3 * MINUTE)
            assert again.updated > insight.updated
            insight = again


def test_an_insight_keeps_its_id_when_it_turns_out_to_have_begun_earlier(world: World) -> None:
    world.requests(57, ok=0, faults=20)
    (before,) = world.found()
    world.requests(55, ok=0, faults=20)
    (after,) = world.found()
    assert (after.id, after.start) == (before.id, before.start - 2 * MINUTE)
    assert after.root_cause == Impact(faults=40, ok=0, total=40)


def test_two_insights_that_turn_out_to_be_one_have_the_older_ones_id(world: World) -> None:
    world.clock.now += 20 * MINUTE
    world.requests(56, ok=0, faults=20)
    world.requests(64, ok=0, faults=20)
    newer, older = world.found()
    world.requests(60, ok=0, faults=20)
    (one,) = world.found()
    assert world.minutes() == [(56, 65)]
    assert one.id == older.id
    assert world.insights.get(newer.id) is None


def test_an_insight_stays_when_late_requests_make_it_look_well(world: World) -> None:
    """It was told; a client that asks for it by its id must not be told that it never was."""
    world.requests(55, ok=0, faults=5)
    world.requests(55, ok=5, faults=0)
    (before,) = world.found()
    world.requests(55, ok=2000, faults=0)
    assert world.found() == [before]


@pytest.mark.parametrize("minute", [0, 54, 56, 57, 100])
def test_an_insight_stays_when_its_traces_and_their_history_grow_too_old(world: World, minute: int) -> None:
    """It must not shrink minute by minute, nor come again as another one, as the window moves over it."""
    for broken in range(55, 58):
        world.requests(broken, ok=0, faults=20)
    (before,) = world.found()
    world.clock.now = START + RETENTION_SECONDS + minute * MINUTE
    assert world.found() == [before]


def test_each_of_many_insights_has_the_requests_of_its_own_time(world: World) -> None:
    world.clock.now += 20 * MINUTE
    for minute, faults in ((55, 20), (62, 30), (69, 40)):
        world.requests(minute, ok=5, faults=faults)
        world.requests(minute + 2, ok=11, faults=0)
    assert [(one.root_cause, one.client, len(one.events)) for one in world.found()] == [
        (Impact(faults, 5, faults + 5), Impact(faults, 5, faults + 5), 1) for faults in (40, 30, 20)
    ]


def test_a_cause_further_down_that_comes_late_takes_over_and_the_id_stays(world: World) -> None:
    world.requests(55, ok=0, faults=20)
    (before,) = world.found()
    assert before.root.name == "api"
    for minute in range(40, 55):
        world.requests(minute, ok=15, faults=0, service="db", caller="api")
    world.requests(55, ok=0, faults=30, service="db", caller="api")
    (after,) = world.found()
    assert (after.id, after.root.name) == (before.id, "db")
    assert [service.name for service in after.services] == ["db", "api"]
    # Clients came to api: the twenty from before, and the thirty that went on.
    assert (after.client, after.root_cause) == (Impact(50, 0, 50), Impact(30, 0, 30))


def test_a_request_that_enters_by_two_services_is_one_request_of_a_client(world: World) -> None:
    """Two instrumentations of one service begin a segment each: its clients asked once, and what one of the two saw fail failed."""
    documents: list[dict[str, Any]] = []
    for number in range(60):
        begun = START + 60 * MINUTE - 1 + number * 0.95
        common = {"trace_id": trace_id(begun), "end_time": begun + 2}
        flags = {"fault": True} if number < 30 else {"error": True} if number < 40 else {}
        # The first one's second entry only is in the insight's time; five that were well to "api" were not to "Api".
        other = {"fault": True} if number >= 55 else {}
        documents.append(common | {"id": segment_id(), "name": "Api", "start_time": begun} | other)
        documents.append(common | {"id": segment_id(), "name": "api", "start_time": begun + 1} | flags)
    for place in range(0, len(documents), 50):
        assert world.xray.segments.put([orjson.dumps(one).decode() for one in documents[place : place + 50]]) == []
    world.clock.now = START + 65 * MINUTE
    (insight,) = world.found()
    assert insight.root.name == "api"
    assert (insight.client, insight.root_cause) == (Impact(35, 15, 60), Impact(30, 20, 60))
    assert [event.client for event in insight.events] == [insight.client]


def test_a_group_that_names_one_that_is_gone_is_told_and_others_go_on(world: World) -> None:
    world.requests(55, ok=0, faults=20)
    world.xray.groups.create("inner", "fault", None, {})
    nested = world.xray.groups.create("nested", 'group.name = "inner"', {"InsightsEnabled": True}, {})
    (found,) = world.insights.of_group(nested["GroupARN"])
    world.xray.groups.delete({"GroupName": "inner"})
    with pytest.raises(FilterError, match="inner"):
        world.insights.of_group(nested["GroupARN"])
    assert world.insights.get(found.id) == found, "what was found stays"
    assert len(world.found()) == 1


def test_a_group_may_be_chosen_by_root_causes(world: World) -> None:
    """Which are derived when an expression asks for them: here too."""
    group = world.xray.groups.create("caused", 'rootcause.responsetime.service { name = "api" }', {"InsightsEnabled": True}, {})
    world.requests(60, ok=0, faults=20)
    world.clock.now = START + 70 * MINUTE
    assert [(one.start, one.end) for one in world.insights.of_group(group["GroupARN"])] == [(one.start, one.end) for one in world.found()]
    assert world.minutes() == [(60, 61)]


def test_insights_go_with_their_group(world: World) -> None:
    world.requests(55, ok=0, faults=20)
    (found,) = world.found()
    world.xray.groups.delete({"GroupARN": world.arn})
    assert world.insights.get(found.id) is None
    assert world.found() == []
