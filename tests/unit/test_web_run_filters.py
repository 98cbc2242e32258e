"""Which requests are asked for: an address says it and comes out again, and what nobody can mean is told from what finds nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose.settings import SignalPath
from services.compare.web.run.filters import ERRORS, NAMES, STATUSES, VERDICTS, BadFilter, Known, Wanted, moment, parse
from services.cruddur.signals import Outcome, Route

KNOWN = Known([str(path) for path in SignalPath])

wanted = st.builds(
    Wanted,
    path=st.sampled_from(["", *map(str, SignalPath)]),
    verdict=st.sampled_from(["", *VERDICTS]),
    error=st.sampled_from(["", *ERRORS]),
    route=st.sampled_from(["", *map(str, Route)]),
    status=st.sampled_from(["", *STATUSES, "200", "503"]),
    outcome=st.sampled_from(["", *map(str, Outcome)]),
    since=st.none() | st.integers(0, 10**12).map(lambda value: value / 1000),
    until=st.none() | st.integers(10**12 + 1, 4 * 10**12).map(lambda value: value / 1000),
    slower=st.none() | st.integers(0, 10**5).map(float),
    sort=st.sampled_from(["sequence", "duration", "difference", "visible"]),
)


@given(wanted)
def test_an_address_leads_to_what_it_was_made_of(asked: Wanted) -> None:
    assert parse(asked.address(), KNOWN) == asked
    assert set(asked.address()) <= set(NAMES)
    for name in asked.filters:
        assert name not in asked.without(name).address()


@pytest.mark.parametrize(
    ("arguments", "name", "said"),
    [
        ({"verdcit": "missing"}, "verdcit", "there is no filter 'verdcit'; there are path, verdict,"),
        ({"path": "xray"}, "path", "path 'xray' is not known; known are honeycomb/otlp"),
        ({"verdict": "Missing"}, "verdict", "not-as-expected, seen, partial"),
        ({"route": "GET /nowhere"}, "route", "GET /api/health-check"),
        ({"status": "2x"}, "status", "100 to 599"),
        ({"status": "²00"}, "status", "100 to 599"),
        ({"status": "999"}, "status", "100 to 599"),
        ({"outcome": "good"}, "outcome", "exception"),
        ({"error": "yes"}, "error", "captured, not-captured"),
        ({"from": "yesterday"}, "from", "2026-01-05T08:00:00.250"),
        ({"from": "2026-02-30T08:00"}, "from", "is no time"),
        ({"to": "2026-01-05"}, "to", "is no time"),
        ({"from": "2026-01-05T08:00", "to": "2026-01-05T08:00"}, "to", "is not after from"),
        ({"slower": "nan"}, "slower", "a number of milliseconds"),
        ({"slower": "-1"}, "slower", "a number of milliseconds"),
        ({"slower": "inf"}, "slower", "a number of milliseconds"),
        ({"sort": "trace"}, "sort", "sequence, duration, difference, visible"),
        ({"order": "up"}, "order", "asc, desc"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_filter_that_cannot_be_meant_says_what_is_known(arguments: dict[str, str], name: str, said: str) -> None:
    with pytest.raises(BadFilter) as refused:
        parse(arguments, KNOWN)
    assert refused.value.name == name
    assert said in str(refused.value)


def test_a_path_that_was_off_is_told_from_one_that_nobody_knows() -> None:
    with pytest.raises(BadFilter, match="path rollbar/sdk was off in this run; on were xray/sdk"):
        parse({"path": "rollbar/sdk"}, Known(["xray/sdk"]))


@given(st.dictionaries(st.sampled_from([*NAMES, "page", "x"]), st.text(max_size=40)))
def test_any_argument_is_understood_or_refused_in_one_line(arguments: dict[str, str]) -> None:
    try:
        said = parse(arguments, KNOWN).condition()[0]
    except BadFilter as refused:
        said = str(refused)
    assert len(said.splitlines()) == 1


def test_what_a_form_leaves_empty_is_no_filter() -> None:
    assert parse(dict.fromkeys(NAMES, "") | {"page": "3"}, KNOWN) == Wanted()


def test_a_time_without_a_zone_is_utc() -> None:
    written = ("2026-01-05T08:00", "2026-01-05T08:00:00Z", "2026-01-05 09:00:00.000+01:00")
    assert {parse({"from": each}, KNOWN).since for each in written} == {1767600000.0}
    assert moment(1767600000.0) == "2026-01-05T08:00:00"
    assert moment(1767600000.25) == "2026-01-05T08:00:00.250"


def test_a_column_that_is_sorted_by_already_is_turned_round() -> None:
    slowest = Wanted().sorted_by("duration")
    assert (slowest.descends, slowest.address()) == (True, {"sort": "duration"})
    fastest = slowest.sorted_by("duration")
    assert (fastest.descends, fastest.address()) == (False, {"sort": "duration", "order": "asc"})
    assert fastest.sorted_by("duration") == Wanted(sort="duration", order="desc")
    assert fastest.sorted_by("duration").address() == slowest.address()
    assert Wanted().sorted_by("sequence").descends
