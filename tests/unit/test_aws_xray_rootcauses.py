"""Root causes of a trace: which entity, by which way, and whether the client felt it."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from localstack.aws.xray.traces.documents import StoredDocument
from localstack.aws.xray.traces.facts import Service
from localstack.aws.xray.traces.rootcauses import MAX_CAUSES, CauseEntity, CauseException, CauseService, RootCause, root_causes
from tests.unit.xray_documents import stored, subsegment


def ways(causes: tuple[RootCause, ...]) -> list[str]:
    """Each cause as ``service[entity/entity] service[…]``, with ``*`` where the client felt it."""
    return [
        " ".join(f"{service.service.name}[{'/'.join(entity.name for entity in service.entities)}]" for service in cause.services)
        + ("*" if cause.client_impacting else "")
        for cause in causes
    ]


def faults(*documents: StoredDocument) -> list[str]:
    return ways(root_causes(documents).fault)


def test_a_trace_that_is_well_has_no_fault_and_no_error() -> None:
    causes = root_causes([stored("a", subsegments=[subsegment("s", namespace="remote")])])
    assert (causes.fault, causes.error) == ((), ())


def test_a_fault_goes_down_to_the_service_that_began_it() -> None:
    call = subsegment("s", start=1.1, namespace="remote", name="profiles", fault=True, cause={"exceptions": [{"type": "HTTPError"}]})
    work = subsegment("w", start=1.2, name="query", fault=True, cause={"exceptions": [{"type": "Timeout", "message": "5 s"}]})
    causes = root_causes(
        [
            stored("a", name="Cruddur", origin="AWS::EC2::Instance", fault=True, subsegments=[call]),
            stored("b", parent="s", start=1.15, name="Profiles", aws={"account_id": "1"}, fault=True, subsegments=[work]),
        ]
    )
    assert causes.fault == (
        RootCause(
            (
                CauseService(
                    Service("Cruddur", "AWS::EC2::Instance"),
                    inferred=False,
                    entities=(
                        CauseEntity("Cruddur", remote=False),
                        CauseEntity("profiles", remote=True, exceptions=(CauseException("HTTPError", None),)),
                    ),
                ),
                CauseService(
                    Service("Profiles", None, "1"),
                    inferred=False,
                    entities=(
                        CauseEntity("Profiles", remote=False),
                        CauseEntity("query", remote=False, exceptions=(CauseException("Timeout", "5 s"),)),
                    ),
                ),
            ),
            client_impacting=True,
        ),
    )
    assert causes.error == ()


def test_a_call_that_nobody_answers_adds_the_service_inferred_of_it() -> None:
    call = subsegment("s", namespace="aws", name="DynamoDB", aws={"table_name": "users"}, error=True)
    (cause,) = root_causes([stored("a", error=True, subsegments=[call])]).error
    assert cause.services[-1] == CauseService(
        Service("users", "AWS::DynamoDB::Table"), inferred=True, entities=(CauseEntity("DynamoDB", remote=False),)
    )
    assert ways((cause,)) == ["na[na/DynamoDB] users[DynamoDB]*"]


def test_what_a_service_dealt_with_is_no_cause_for_those_above_it() -> None:
    call = subsegment("s", namespace="remote")
    inner = subsegment("t", start=1.3, namespace="remote", name="db", fault=True)
    found = faults(
        stored("a", fault=True, subsegments=[call]),
        stored("b", parent="s", start=1.2, subsegments=[inner]),
    )
    assert found == ["na[na]*", "na[na/ns] nb[nb/db] db[db]"]


def test_a_subsegment_without_a_mark_does_not_hide_what_is_below_it() -> None:
    inner = subsegment("t", namespace="remote", name="db", fault=True)
    assert faults(stored("a", fault=True, subsegments=[subsegment("s", name="work", subsegments=[inner])])) == ["na[na/work/db] db[db]*"]


def test_two_causes_are_two_and_the_same_one_again_is_one() -> None:
    calls = [subsegment(f"s{n}", start=1.0 + n / 100, name="db", namespace="remote", fault=True) for n in range(5)]
    other = subsegment("t", start=1.9, name="cache", namespace="remote", fault=True)
    assert faults(stored("a", fault=True, subsegments=[other, *calls])) == ["na[na/db] db[db]*", "na[na/cache] cache[cache]*"]


def test_of_many_causes_the_earliest_are_told() -> None:
    calls = [subsegment(f"s{n:03}", start=1.0 + n / 1000, fault=True) for n in range(60)]
    found = faults(stored("a", fault=True, subsegments=calls[::-1]))
    assert found == [f"na[na/ns{n:03}]*" for n in range(MAX_CAUSES)]


def test_only_flags_that_are_true_count_and_orphans_have_no_way_down_to_them() -> None:
    assert faults(stored("a", subsegments=[subsegment("s", fault="true")])) == []
    assert faults(stored("s", parent="x", independent=True, fault=True)) == []
    assert faults(stored("s", parent="x", independent=True, fault=True), stored("b", parent="s", fault=True)) == ["nb[nb]"]


def test_segments_that_are_each_others_parents_end() -> None:
    circle = [stored("a", parent="b", fault=True, end=9.0), stored("b", parent="a", fault=True, start=1.1, end=9.0)]
    assert root_causes(circle).fault == ()
    assert ways(root_causes(circle).response_time) == ["na[na] nb[nb]*"]


def test_the_response_time_goes_where_most_of_it_went() -> None:
    init = subsegment("i", start=1.2, end=1.8, name="Initialization")
    short = subsegment("h", start=1.0, end=1.1, name="short")
    (cause,) = root_causes(
        [
            stored("a", start=1.0, end=2.0, subsegments=[short]),
            stored("b", parent="a", start=1.1, end=1.9004, name="function", subsegments=[init]),
        ]
    ).response_time
    assert cause.client_impacting
    assert [(service.service.name, [(one.name, one.coverage) for one in service.entities]) for service in cause.services] == [
        ("na", [("na", 1.0)]),
        ("function", [("function", 0.8), ("Initialization", 0.6)]),
    ]


def test_the_response_time_ends_at_an_inferred_service() -> None:
    call = subsegment("s", start=1.0, end=1.75, namespace="remote", name="db", sql={"url": "x"})
    (cause,) = root_causes([stored("a", start=1.0, end=2.0, subsegments=[call])]).response_time
    assert cause.services[0].entities[-1] == CauseEntity("db", remote=True, coverage=0.75)
    assert cause.services[1] == CauseService(
        Service("db", "Database::SQL"), inferred=True, entities=(CauseEntity("db", remote=False, coverage=0.75),)
    )


def test_work_after_the_response_does_not_count_and_what_is_in_progress_neither() -> None:
    later = subsegment("s", start=1.9, end=60.0)
    assert ways(root_causes([stored("a", start=1.0, end=2.0, subsegments=[later, subsegment("t", end=None)])]).response_time) == ["na[na]*"]
    assert root_causes([stored("a", end=None)]).response_time == ()
    assert root_causes([stored("a", start=2.0, end=2.0)]).response_time == ()


@given(st.integers(min_value=1, max_value=14), st.randoms(use_true_random=False))
def test_each_failing_segment_is_a_cause_or_above_one(count: int, chance: random.Random) -> None:
    """Whatever the parents are: a cause ends in an entity that failed, and a trace with a failing, well-connected root has a cause."""
    names = [f"{number:02}" for number in range(count)]
    documents = [
        stored(
            name,
            parent=chance.choice([None, *names[:number]]) if chance.random() < 0.8 else chance.choice(names),
            start=1.0 + number / 100,
            end=2.0 - number / 100,
            fault=chance.random() < 0.5,
            subsegments=[subsegment(f"{name}s", namespace="remote", fault=chance.random() < 0.3)] if chance.random() < 0.5 else [],
        )
        for number, name in enumerate(names)
    ]
    causes = root_causes(documents)
    chance.shuffle(documents)
    assert root_causes(documents) == causes
    for cause in causes.fault:
        assert cause.services
        assert not any(service.inferred for service in cause.services[:-1])
    for cause in causes.response_time:
        shares = [entity.coverage or 0.0 for service in cause.services for entity in service.entities]
        assert shares[0] == 1.0
        assert shares == sorted(shares, reverse=True)
