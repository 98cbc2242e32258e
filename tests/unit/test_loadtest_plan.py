"""The plan: decided by the seed and the sequence alone, every route and outcome in its weight, valid where it must be valid."""

from __future__ import annotations

import json
from collections import Counter
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from loadtest.plan import DECK, MIX, Plan, PlannedRequest
from services import faults
from services.cruddur import bodies, seed
from services.cruddur.signals import Outcome, Route

HANDLES = seed.handles()
ACTIVITIES = seed.activity_uuids()


def plan(number: int = 1, count: int = 500, timeout: float = 2.0, sandbox: bool = True) -> Plan:
    return Plan(number, count, HANDLES, ACTIVITIES, timeout, sandbox)


def test_the_same_seed_gives_the_same_requests_and_another_seed_others() -> None:
    assert list(plan()) == list(plan())
    assert list(plan(1)) != list(plan(2))


def test_a_seed_means_the_same_on_every_machine_and_release() -> None:
    """Pinned: whoever changes these lines changes what SEED=1 means for everyone."""
    assert [(request.route.name, request.outcome.name, request.target) for request in plan(1, 6)] == [
        ("HOME", "OK", "/api/activities/home"),
        ("MESSAGES", "DOWNSTREAM_SLOW", "/api/messages/@ines.borg?user_handle=tim.abbott"),
        ("USER", "DOWNSTREAM_ERROR", "/api/activities/@ines.jansen"),
        ("NOTIFICATIONS", "OK", "/api/activities/notifications?user_handle=radia.abbott"),
        ("UNMATCHED", "NOT_FOUND", "/wp-login.php/911"),
        ("MESSAGE_GROUPS", "OK", "/api/message_groups?user_handle=ines.castro"),
    ]


@given(st.integers(0, 2**64), st.integers(1, 60), st.integers(1, 9))
def test_workers_share_the_plan_without_gap_or_overlap(number: int, count: int, workers: int) -> None:
    whole = plan(number, count)
    shares = [list(whole.share(worker, workers)) for worker in range(workers)]
    assert sorted((request for share in shares for request in share), key=lambda request: request.sequence) == list(whole)
    assert all([r.sequence for r in share] == sorted(r.sequence for r in share) for share in shares)


def test_fewer_requests_are_the_first_of_more() -> None:
    assert list(plan(3, 40)) == list(plan(3, 400))[:40]


def test_every_deck_holds_every_route_and_outcome_in_its_weight() -> None:
    assert DECK == 100
    wanted = Counter({(kind.route, kind.outcome): 0 for kind in MIX})
    for kind in MIX:
        wanted[kind.route, kind.outcome] += kind.weight
    requests = list(plan(5, 3 * DECK))
    for deck in range(3):
        assert Counter((r.route, r.outcome) for r in requests[deck * DECK : (deck + 1) * DECK]) == wanted
    assert {route for route, _ in wanted} == set(Route)
    assert {outcome for _, outcome in wanted} == set(Outcome)
    assert [r.route for r in requests[:DECK]] != [r.route for r in requests[DECK : 2 * DECK]]


def test_every_request_fits_its_route() -> None:
    for request in plan(7, 1_000):
        path = urlsplit(request.target).path
        if request.route is Route.UNMATCHED:
            assert not path.startswith(("/api/activities", "/api/messages"))
        else:
            before, _, after = request.route.rule.partition("<")
            assert path.startswith(before)
            assert path.endswith(after.partition(">")[2])
        assert (request.body is not None) == (request.method == "POST")
        assert request.target.isascii()


def test_what_should_be_accepted_is_valid_and_what_should_not_is_not() -> None:
    models: dict[Route, type[BaseModel]] = {
        Route.CREATE_ACTIVITY: bodies.CreateActivity,
        Route.REPLY: bodies.Reply,
        Route.CREATE_MESSAGE: bodies.CreateMessage,
    }
    for request in plan(11, 1_000):
        if request.outcome in (Outcome.OK, Outcome.SLOW, Outcome.EXCEPTION) and request.body is not None:
            body = models[request.route].model_validate_json(request.body)
            assert {value for name, value in body.model_dump().items() if name.endswith("handle")} <= set(HANDLES)
        if request.outcome is Outcome.BAD_INPUT and request.status == 422:
            with pytest.raises(ValueError, match="validation error"):
                models[request.route].model_validate_json(request.body or b"")
        if request.outcome is Outcome.BAD_INPUT and request.status == 400 and request.body is not None:
            with pytest.raises(json.JSONDecodeError):
                json.loads(request.body)
        handle = parse_qs(urlsplit(request.target).query).get("user_handle")
        assert handle is None or handle[0] in HANDLES


def test_faults_are_ones_cruddur_understands_and_their_answers_follow_from_the_timeout() -> None:
    statuses: dict[Outcome, set[int]] = {}
    for request in plan(13, 1_000, timeout=0.5):
        if request.fault is None:
            assert request.outcome in (Outcome.OK, Outcome.BAD_INPUT, Outcome.NOT_FOUND)
            continue
        fault = faults.parse(request.fault)
        statuses.setdefault(request.outcome, set()).add(request.status)
        if fault.kind == "downstream-slow":
            assert (fault.milliseconds > 500) == (request.status == 504)
        if fault.downstream:
            assert request.route in (Route.USER, Route.MESSAGES)
    assert statuses == {
        Outcome.SLOW: {200, 201},
        Outcome.EXCEPTION: {500},
        Outcome.DOWNSTREAM_ERROR: {502},
        Outcome.DOWNSTREAM_SLOW: {200, 504},
    }


def test_without_the_sandbox_no_fault_is_asked_for() -> None:
    def rest(request: PlannedRequest) -> tuple[object, ...]:
        return (request.sequence, request.route, request.target, request.body)

    quiet = list(plan(1, 300, sandbox=False))
    assert {request.fault for request in quiet} == {None}
    assert {request.status for request in quiet} == {200, 201, 400, 404, 422}
    assert [rest(request) for request in quiet] == [rest(request) for request in plan(1, 300)]


def test_a_sequence_outside_the_plan_is_an_error() -> None:
    for sequence in (-1, 500):
        with pytest.raises(IndexError, match="0 to 499"):
            plan()[sequence]
    with pytest.raises(ValueError, match="two handles"):
        Plan(1, 1, HANDLES[:1], ACTIVITIES, 2.0)
