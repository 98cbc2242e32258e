"""One request side by side: what is the same operation on every path, what differs, and that no trace, however odd, breaks it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose.settings import SignalPath
from services.compare.alignment import DURATION_MS, Aligned, Alignment, State, align
from services.compare.paths import SAMPLED_KINDS
from services.compare.readers.base import Observation
from services.cruddur.signals import Operation, Outcome, Route, expected

HONEYCOMB, XRAY_OTLP, XRAY_SDK = SignalPath.HONEYCOMB_OTLP, SignalPath.XRAY_OTLP, SignalPath.XRAY_SDK
WATCHTOWER, LOGS_OTLP, ROLLBAR = SignalPath.CLOUDWATCH_WATCHTOWER, SignalPath.CLOUDWATCH_OTLP, SignalPath.ROLLBAR_SDK
READ: dict[SignalPath, State] = dict.fromkeys(SignalPath, "read")
TRACE = "695b8f00" + "0" * 24
CLIENT = "c" * 16
T0 = 1767600000.0


def see(
    path: SignalPath,
    kind: str,
    service: str,
    name: str,
    identity: str,
    parent: str | None = None,
    at: float | None = 0.0,
    took: float | None = None,
    **more: object,
) -> Observation:
    """``at`` and ``took`` in milliseconds."""
    start = None if at is None else T0 + at / 1000
    return Observation(path, kind, service, name, identity, TRACE, None, parent_id=parent, start=start, duration_ms=took, **more)  # type: ignore[arg-type]


def twins(kind: str, service: str, span: str, subsegment: str, identity: str, parent: str, at: float, took: float) -> list[Observation]:
    """A span as the Collector gives it to Honeycomb and to X-Ray."""
    return [
        see(HONEYCOMB, "span", service, span, identity, parent, at, took),
        see(XRAY_OTLP, kind, service, subsegment, identity, parent, at, took),
    ]


def log(event: str, at: float, span: str = "a1") -> list[Observation]:
    return [
        see(HONEYCOMB, "log", "cruddur", event, f"{span}/{event}", span, at),
        see(WATCHTOWER, "log", "cruddur", event, f"w-{event}", None, at),
        see(LOGS_OTLP, "log", "cruddur", event, f"o-{event}", None, at),
    ]


def home(failed: bool = False) -> list[Observation]:
    """``GET /api/activities/home`` as six paths show it."""
    found = [
        *twins("segment", "cruddur", "GET /api/activities/home", "cruddur", "a1", CLIENT, 2, 12),
        *twins("subsegment", "cruddur", "home.activities", "home.activities", "a2", "a1", 3, 8),
        *twins("subsegment", "cruddur", "SELECT cruddur", "cruddur", "a3", "a2", 4, 2),
        see(XRAY_SDK, "segment", "Cruddur", "Cruddur", "b1", CLIENT, 2, 12),
        see(XRAY_SDK, "subsegment", "Cruddur", "HomeActivities", "b2", "b1", 3, 8),
        *log("request", 14),
    ]
    if failed:
        found = [replace(each, error=True) if each.kind in SAMPLED_KINDS and "SELECT" not in each.name else each for each in found]
        found = [replace(each, error=False) if each.id == "a3" else each for each in found]
        return [*found, see(ROLLBAR, "item", "cruddur", "error", "r1", None, -500, error=True)]
    return [*found, *log("home", 11, "a1")]


def call() -> list[Observation]:
    """A request that asked profiles."""
    return [
        *twins("segment", "cruddur", "GET /api/activities/@<string:handle>", "cruddur", "a1", CLIENT, 0, 40),
        *twins("subsegment", "cruddur", "GET", "GET", "a5", "a1", 20, 15),
        *twins("segment", "profiles", "GET /api/profiles/<string:handle>", "profiles", "a6", "a5", 22, 10),
        see(XRAY_SDK, "segment", "Cruddur", "Cruddur", "b1", CLIENT, 0, 39),
        see(XRAY_SDK, "subsegment", "Cruddur", "UserData", "b2", "b1", 1, 15),
        see(XRAY_SDK, "subsegment", "Cruddur", "127.0.0.1", "b3", "b1", 20, 15),
        see(XRAY_SDK, "segment", "Profiles", "Profiles", "b4", "b3", 22, 10),
        *log("request", 40),
    ]


def named(alignment: Alignment, title: str) -> Aligned:
    (found,) = [each for each in alignment.operations if each.title == title]
    return found


def shown(observations: Sequence[Observation], operation: Aligned) -> dict[str, list[str]]:
    return {str(path): [observations[at].name for at in cell.members] for path, cell in operation.cells.items() if cell.members}


def differences(operation: Aligned, path: SignalPath, declared: bool = False) -> list[str]:
    return [each.kind for each in operation.cells[path].differences if declared or not each.declared]


HOME_OK = expected(Route.HOME, Outcome.OK, 200)
HOME_FAILED = expected(Route.HOME, Outcome.EXCEPTION, 500)


def test_what_is_declared_as_one_operation_is_one_on_every_path() -> None:
    observations = home()
    alignment = align(observations, READ, HOME_OK)
    request, work, sql = alignment.operations
    assert (request.key, request.depth, request.rule) == ("op1", 0, "declared")
    assert shown(observations, request) == {
        "honeycomb/otlp": ["GET /api/activities/home", "request"],
        "xray/otlp": ["cruddur"],
        "xray/sdk": ["Cruddur"],
        "cloudwatch/watchtower": ["request"],
        "cloudwatch/otlp": ["request"],
    }
    assert shown(observations, work) == {
        "honeycomb/otlp": ["home.activities", "home"],
        "xray/otlp": ["home.activities"],
        "xray/sdk": ["HomeActivities"],
        "cloudwatch/watchtower": ["home"],
        "cloudwatch/otlp": ["home"],
    }
    assert (work.depth, sql.depth, sql.title) == (1, 2, "SELECT cruddur")
    assert [each.differs for each in alignment.operations] == [False, False, True]


def test_a_span_keeps_its_id_at_x_ray_and_so_is_known_under_another_name() -> None:
    alignment = align(home(), READ, HOME_OK)
    sql = named(alignment, "SELECT cruddur")
    assert sql.rule == "id"
    assert differences(sql, XRAY_OTLP) == ["renamed"]
    assert "SELECT cruddur" in sql.cells[XRAY_OTLP].differences[0].what


def test_a_name_that_the_signals_declare_is_no_difference_that_counts() -> None:
    request = align(home(), READ, HOME_OK).operations[0]
    assert differences(request, XRAY_SDK) == []
    assert differences(request, XRAY_SDK, declared=True) == ["renamed"]


def test_an_item_shows_the_innermost_operation_that_failed() -> None:
    observations = home(failed=True)
    alignment = align(observations, READ, HOME_FAILED)
    work = named(alignment, "home.activities")
    assert shown(observations, work)["rollbar/sdk"] == ["error"]
    assert alignment.key_of[len(observations) - 1] == work.key
    assert not any(differences(each, ROLLBAR) for each in alignment.operations if ROLLBAR in each.cells)


def test_without_a_span_that_failed_an_item_belongs_to_the_request() -> None:
    observations = [each for each in home(failed=True) if each.kind not in SAMPLED_KINDS]
    states: dict[SignalPath, State] = READ | dict.fromkeys((HONEYCOMB, XRAY_OTLP, XRAY_SDK), "not-sampled")
    alignment = align(observations, states, HOME_FAILED)
    (request,) = alignment.operations
    assert shown(observations, request)["rollbar/sdk"] == ["error"]
    assert not request.differs, "what was not sampled is not missing"


def test_a_call_is_known_by_what_answered_it() -> None:
    observations = call()
    alignment = align(observations, READ, expected(Route.USER, Outcome.OK, 200))
    client = next(each for each in alignment.operations if each.rule == "call")
    assert shown(observations, client) == {"honeycomb/otlp": ["GET"], "xray/otlp": ["GET"], "xray/sdk": ["127.0.0.1"]}
    profiles = next(each for each in alignment.operations if each.declared is Operation.PROFILES)
    assert (client.depth, profiles.depth) == (1, 2)
    assert shown(observations, profiles)["xray/sdk"] == ["Profiles"]


def test_a_call_that_nobody_answered_is_known_by_its_time() -> None:
    observations = [each for each in call() if each.service.lower() != "profiles"]
    client = next(each for each in align(observations, READ).operations if each.rule == "time")
    assert shown(observations, client) == {"honeycomb/otlp": ["GET"], "xray/otlp": ["GET"], "xray/sdk": ["127.0.0.1"]}


def test_what_takes_less_than_clocks_differ_is_not_joined_by_its_time() -> None:
    observations = [
        *twins("segment", "cruddur", "GET /x", "cruddur", "a1", CLIENT, 0, 40),
        *twins("subsegment", "cruddur", "connect", "cruddur", "a2", "a1", 1, DURATION_MS / 2),
        see(XRAY_SDK, "segment", "Cruddur", "Cruddur", "b1", CLIENT, 0, 40),
        see(XRAY_SDK, "subsegment", "Cruddur", "Cache", "b2", "b1", 1, DURATION_MS / 2),
    ]
    assert {each.title for each in align(observations, READ).operations} == {"GET /x", "connect", "Cache"}


def test_the_nth_of_a_name_is_the_nth_of_that_name() -> None:
    observations = [
        *twins("segment", "cruddur", "GET /x", "cruddur", "a1", CLIENT, 0, 40),
        *(
            each
            for number in range(3)
            for each in twins("subsegment", "cruddur", "Load-Data", "Load-Data", f"a1{number}", "a1", number, 0.5)
        ),
        see(XRAY_SDK, "segment", "Cruddur", "Cruddur", "b1", CLIENT, 0, 40),
        *(see(XRAY_SDK, "subsegment", "Cruddur", "load_data", f"b1{number}", "b1", number, 0.5) for number in range(3)),
    ]
    alignment = align(observations, READ)
    loads = [each for each in alignment.operations if each.rule == "name"]
    assert [sorted(observations[at].id[-1] for cell in each.cells.values() for at in cell.members) for each in loads] == [
        [str(number)] * 3 for number in range(3)
    ]


def test_services_that_nothing_declares_are_joined_by_who_called_them() -> None:
    observations = [
        see(HONEYCOMB, "span", "shop", "checkout", "a1", CLIENT, 0, 5),
        see(XRAY_SDK, "segment", "Shop", "Shop", "b1", CLIENT, 0, 5),
    ]
    (one,) = align(observations, READ).operations
    assert one.rule == "caller"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (HONEYCOMB, "home.activities"),
        (XRAY_SDK, "HomeActivities"),
        (XRAY_OTLP, "home.activities"),
        (WATCHTOWER, "home"),
        (HONEYCOMB, "home"),
    ],
    ids=str,
)
def test_what_is_not_there_is_missing_where_it_should_be(path: SignalPath, name: str) -> None:
    observations = [each for each in home() if (each.path, each.name) != (path, name)]
    alignment = align(observations, READ, HOME_OK)
    work = next(each for each in alignment.operations if each.declared is Operation.HOME)
    assert "missing" in differences(work, path)
    assert [signal.name for signal in work.cells[path].missing] == [name]
    assert [each.key for each in alignment.operations if any("missing" in differences(each, one) for one in each.cells)] == [work.key]


def test_an_operation_that_nobody_shows_is_there_as_missing() -> None:
    observations = [each for each in home() if not each.name.lower().startswith("home") and each.id != "a3"]
    alignment = align(observations, READ, HOME_OK)
    request, work = alignment.operations
    assert (request.declared, work.declared, work.reference) == (Operation.REQUEST, Operation.HOME, None)
    assert {path for path in work.cells if "missing" in differences(work, path)} == {HONEYCOMB, XRAY_OTLP, XRAY_SDK, WATCHTOWER, LOGS_OTLP}


def test_nothing_at_all_arrived() -> None:
    alignment = align([], READ, HOME_FAILED)
    assert [each.declared for each in alignment.operations] == [Operation.REQUEST, Operation.HOME]
    assert [str(path) for each in alignment.operations for path in each.cells if path is ROLLBAR] == ["rollbar/sdk"]


@pytest.mark.parametrize("state", ["unreadable", "off"])
def test_a_path_that_says_nothing_lacks_nothing(state: State) -> None:
    observations = [each for each in home() if each.path is not XRAY_OTLP]
    alignment = align(observations, READ | {XRAY_OTLP: state}, HOME_OK)
    assert all(XRAY_OTLP not in each.cells for each in alignment.operations)


def test_without_a_ledger_line_nothing_declared_is_missing() -> None:
    observations = [each for each in home() if each.path is not XRAY_SDK]
    assert not any("missing" in differences(each, path) for each in align(observations, READ).operations for path in each.cells)


@pytest.mark.parametrize(("gone", "there"), [(HONEYCOMB, XRAY_OTLP), (XRAY_OTLP, HONEYCOMB)], ids=str)
def test_a_span_that_the_collector_gave_to_one_of_its_backends_only_is_missing_at_the_other(gone: SignalPath, there: SignalPath) -> None:
    observations = [each for each in home() if (each.path, each.id) != (gone, "a3")]
    sql = next(each for each in align(observations, READ, HOME_OK).operations if each.depth == 2)
    assert differences(sql, gone) == ["missing"]
    assert str(there) in sql.cells[gone].differences[0].what
    assert gone not in sql.cells or not sql.cells[gone].members


def test_what_came_twice_is_doubled_by_whatever_it_is_seen() -> None:
    observations = home()
    twice = [replace(each, deliveries=2) if (each.path, each.name) == (HONEYCOMB, "home.activities") else each for each in observations]
    twice.append(see(WATCHTOWER, "log", "cruddur", "home", "w-home-2", None, 11))
    alignment = align(twice, READ, HOME_OK)
    work = named(alignment, "home.activities")
    assert differences(work, HONEYCOMB) == ["doubled"]
    assert differences(work, WATCHTOWER) == ["doubled"]
    assert [each.times for each in work.cells[WATCHTOWER].differences] == [2]
    assert sum(1 for each in alignment.operations for path in each.cells if "doubled" in differences(each, path)) == 2


@pytest.mark.parametrize(
    ("took", "differs"),
    [(8.0, None), (8.9, None), (7.1, None), (9.2, 1.2), (6.5, -1.5), (None, None), (math.nan, None)],
    ids=str,
)
def test_a_duration_differs_by_more_than_a_millisecond_and_a_tenth(took: float | None, differs: float | None) -> None:
    observations = [replace(each, duration_ms=took) if each.name == "HomeActivities" else each for each in home()]
    cell = named(align(observations, READ, HOME_OK), "home.activities").cells[XRAY_SDK]
    found = [each.milliseconds for each in cell.differences if each.kind == "duration"]
    assert found == ([] if differs is None else [pytest.approx(differs)])


def test_a_long_duration_may_be_a_tenth_off() -> None:
    observations = [replace(each, duration_ms=each.duration_ms * 100) if each.duration_ms is not None else each for each in home()]
    observations = [replace(each, duration_ms=850.0) if each.name == "HomeActivities" else each for each in observations]
    assert differences(named(align(observations, READ, HOME_OK), "home.activities"), XRAY_SDK) == []


def test_failed_on_one_path_and_not_on_another() -> None:
    observations = [replace(each, error=False) if each.path is XRAY_SDK else each for each in home(failed=True)]
    alignment = align(observations, READ, HOME_FAILED)
    for operation in alignment.operations[:2]:
        assert differences(operation, XRAY_SDK) == ["error"]
        assert differences(operation, XRAY_OTLP) == []


def test_the_span_of_an_unknown_path_is_the_request_whatever_its_name() -> None:
    observations = [
        *twins("segment", "cruddur", "GET /wp-login.php", "cruddur", "a1", CLIENT, 0, 3),
        see(XRAY_SDK, "segment", "Cruddur", "Cruddur", "b1", CLIENT, 0, 3),
        *log("request", 3),
    ]
    (request,) = align(observations, READ, expected(Route.UNMATCHED, Outcome.NOT_FOUND, 404)).operations
    assert (request.title, request.declared, request.differs) == ("GET /wp-login.php", Operation.REQUEST, False)


def test_a_loop_of_parents_ends() -> None:
    observations = [
        see(HONEYCOMB, "span", "s", "one", "a1", "a3", 0, 1),
        see(HONEYCOMB, "span", "s", "two", "a2", "a1", 1, 1),
        see(HONEYCOMB, "span", "s", "three", "a3", "a2", 2, 1),
        see(HONEYCOMB, "span", "s", "self", "a4", "a4", 3, 1),
    ]
    alignment = align(observations, READ)
    assert sorted(each.title for each in alignment.operations) == ["one", "self", "three", "two"]
    assert sorted(alignment.depths) == [0, 0, 1, 2]


def test_paths_that_disagree_on_who_is_within_whom_are_shown_all_the_same() -> None:
    observations = [
        see(HONEYCOMB, "span", "s", "outer", "a1", None, 0, 9),
        see(HONEYCOMB, "span", "s", "inner", "a2", "a1", 1, 5),
        see(XRAY_OTLP, "segment", "s", "inner", "a2", None, 1, 5),
        see(XRAY_OTLP, "subsegment", "s", "outer", "a1", "a2", 0, 9),
    ]
    assert [(each.title, each.depth) for each in align(observations, READ).operations] == [("outer", 0), ("inner", 1)]


def test_a_deep_trace_and_a_wide_one_are_aligned() -> None:
    deep = [
        each
        for number in range(1500)
        for each in twins("subsegment", "s", f"level {number}", "x", f"d{number}", f"d{number - 1}" if number else CLIENT, number, 9)
    ]
    wide = [each for number in range(1500) for each in twins("subsegment", "s", "same", "x", f"w{number}", "d0", number, 9)]
    alignment = align([*deep, *wide, see(XRAY_SDK, "segment", "S", "S", "b1", CLIENT, 0, 9)], READ)
    assert len(alignment.operations) == 3000
    assert max(each.depth for each in alignment.operations) == 1499


NAMES = st.sampled_from(["GET", "cruddur", "Cruddur", "home.activities", "HomeActivities", "request", "", "\u202e<script>", "error"])
IDS = st.sampled_from(["", "1", "2", "3", "4", "5"])
ANY = st.builds(
    Observation,
    path=st.sampled_from(list(SignalPath)),
    kind=st.sampled_from(["span", "segment", "subsegment", "log", "item"]),
    service=st.sampled_from(["cruddur", "Cruddur", "profiles", ""]),
    name=NAMES,
    id=IDS,
    trace_id=st.just(TRACE),
    run=st.none(),
    parent_id=st.none() | IDS,
    start=st.none() | st.floats(allow_nan=True, allow_infinity=True),
    duration_ms=st.none() | st.floats(allow_nan=True, allow_infinity=True),
    error=st.booleans(),
    deliveries=st.integers(-1, 3),
)


@given(st.lists(ANY, max_size=14), st.sampled_from([None, HOME_OK, HOME_FAILED]))
def test_whatever_arrives_each_observation_is_in_one_operation(observations: list[Observation], declared: Sequence[object] | None) -> None:
    alignment = align(observations, READ, declared)  # type: ignore[arg-type]
    members = [at for each in alignment.operations for cell in each.cells.values() for at in cell.members]
    assert sorted(members) == list(range(len(observations)))
    keys = [each.key for each in alignment.operations]
    assert keys == [f"op{number}" for number in range(1, len(keys) + 1)]
    assert set(alignment.key_of) <= set(keys)
    for operation in alignment.operations:
        assert _paths(observations, operation) == {path for path, cell in operation.cells.items() if cell.members}


def _paths(observations: Sequence[Observation], operation: Aligned) -> set[SignalPath]:
    found: Iterable[int] = (at for cell in operation.cells.values() for at in cell.members)
    return {observations[at].path for at in found}
