"""The rule by which insights are found, as the pure function it is."""

from __future__ import annotations

import itertools
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose.settings import ROOT
from localstack.aws.xray.graphs.forecasts import CALM_MINUTES, MIN_FAULTS, MIN_REQUESTS, MINUTE, Minute, is_anomalous, tail
from localstack.aws.xray.insights.anomalies import Anomaly, Incident, find, incidents
from localstack.aws.xray.traces.facts import Service

SERVICE = Service("api")


def minutes(*counts: tuple[int, int], start: int = 0) -> list[Minute]:
    """One minute after the other: (requests, faults)."""
    return [Minute(start + number * MINUTE, requests, faults) for number, (requests, faults) in enumerate(counts)]


def spans(found: list[Anomaly]) -> list[tuple[int, int]]:
    """(first, last) anomalous minute by number."""
    return [(one.start // MINUTE, one.end // MINUTE - 1) for one in found]


def test_the_documentations_examples_are_what_the_rule_says() -> None:
    page = (ROOT / "docs" / "local-xray-insights.md").read_text()
    rows = re.findall(r"^\| (none|an hour of (\d+) a minute, (\d+) % faults) \| (\d+) requests \| (\d+) faults \|$", page, re.M)
    assert len(rows) >= 5
    for _, pace, percent, requests, faults in rows:
        known = 60 * int(pace or 0)
        past = (known * int(percent or 0) // 100, known)
        assert is_anomalous(Minute(0, int(requests), int(faults)), *past)
        assert not is_anomalous(Minute(0, int(requests), int(faults) - 1), *past)


@pytest.mark.parametrize("history", [0, 1, 10, 200])
def test_an_outage_is_found_in_the_minutes_in_which_it_was(history: int) -> None:
    found = find(SERVICE, minutes(*[(60, 0)] * history, *[(60, 55)] * 7, *[(60, 1)] * 20))
    assert spans(found) == [(history, history + 6)]
    assert found[0].faults == 7 * 55
    assert found[0].expected <= 0.05


@pytest.mark.parametrize("rate", [0.0, 0.001, 0.01, 0.05, 0.2])
def test_a_steady_rate_is_no_anomaly(rate: float) -> None:
    """A day of it, with the chance that each request takes."""
    chance = random.Random(7)
    day = [(120, sum(chance.random() < rate for _ in range(120))) for _ in range(1440)]
    assert find(SERVICE, minutes(*day)) == []


def test_a_rate_that_rises_only_a_little_needs_enough_requests_to_be_seen() -> None:
    assert find(SERVICE, minutes(*[(50, 1)] * 60, (50, 4))) == []
    assert spans(find(SERVICE, minutes(*[(5000, 100)] * 60, (5000, 400)))) == [(60, 60)]


def test_few_requests_say_nothing() -> None:
    assert find(SERVICE, minutes(*[(60, 0)] * 60, *[(MIN_REQUESTS - 1,) * 2] * 30)) == []
    assert find(SERVICE, minutes(*[(10_000, 0)] * 60, (10, MIN_FAULTS - 1))) == []


@pytest.mark.parametrize(("calm", "expected"), [(CALM_MINUTES - 1, 1), (CALM_MINUTES, 2)])
def test_calm_ends_an_anomaly_only_when_it_lasts(calm: int, expected: int) -> None:
    found = find(SERVICE, minutes(*[(60, 0)] * 60, *[(60, 50)] * 3, *[(60, 0)] * calm, *[(60, 50)] * 3))
    assert len(found) == expected


def test_silence_ends_an_anomaly_as_calm_does() -> None:
    broken = minutes((60, 50), (60, 50))
    later = minutes((60, 50), start=(2 + CALM_MINUTES) * MINUTE)
    assert spans(find(SERVICE, broken + later)) == [(0, 1), (7, 7)]


def test_an_outage_does_not_become_what_is_expected() -> None:
    """Three hours of it, longer than the history that is looked at, and the end is still seen."""
    found = find(SERVICE, minutes(*[(60, 0)] * 60, *[(60, 40)] * 180, *[(60, 0)] * 30, *[(60, 40)] * 2))
    assert spans(found) == [(60, 239), (270, 271)]


def test_a_level_that_was_always_there_is_expected() -> None:
    assert find(SERVICE, minutes(*[(100, 30)] * 60, (100, 45))) == []
    assert spans(find(SERVICE, minutes(*[(100, 30)] * 60, (100, 95)))) == [(60, 60)]


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 1000), st.integers(0, 1000))
def test_the_tail_is_a_probability_that_falls_with_more_faults(faults: int, more: int, known: int, ok: int) -> None:
    requests = faults + more
    smaller = tail(faults, requests, known, known + ok)
    assert 0 <= smaller <= 1
    assert tail(faults + 1, requests + 1, known, known + ok) <= smaller * (1 + 1e-9)
    assert tail(0, requests, known, known + ok) == 1


@given(st.integers(0, 40), st.integers(1, 40), st.integers(0, 200), st.integers(0, 200))
def test_the_tail_is_the_sum_over_all_that_is_left(faults: int, requests: int, known: int, ok: int) -> None:
    chances = [tail(count, requests, known, known + ok) for count in range(requests + 2)]
    assert chances[requests + 1] == 0
    each = [chances[count] - chances[count + 1] for count in range(requests + 1)]
    assert sum(each) == pytest.approx(1)
    mean = (1 + known) / (20 + known + ok)
    assert sum(count * chance for count, chance in enumerate(each)) == pytest.approx(requests * mean, rel=1e-6, abs=1e-9)


@given(st.integers(0, 500), st.integers(0, 500), st.integers(0, 5000), st.integers(0, 5000), st.integers(1, 50))
def test_what_is_anomalous_stays_so_with_more_faults_or_a_cleaner_past(faults: int, good: int, known: int, ok: int, more: int) -> None:
    minute = Minute(0, faults + good + more, faults)
    if is_anomalous(minute, known, known + ok):
        assert is_anomalous(Minute(0, minute.requests, faults + more), known, known + ok)
        assert is_anomalous(minute, 0, known + ok)


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)).map(lambda pair: (max(pair), min(pair))), max_size=80))
def test_anomalies_are_apart_in_order_and_of_anomalous_minutes(counts: list[tuple[int, int]]) -> None:
    series = minutes(*counts)
    found = find(SERVICE, reversed(series))
    for before, after in itertools.pairwise(found):
        assert after.start >= before.end + CALM_MINUTES * MINUTE
    for one in found:
        first, last = series[one.start // MINUTE], series[one.end // MINUTE - 1]
        assert min(first.faults, last.faults) >= MIN_FAULTS
        assert one.faults <= sum(minute.faults for minute in series if one.start <= minute.start < one.end)


def anomaly(name: str, start: int = 0, end: int = 10, faults: int = 100) -> Anomaly:
    return Anomaly(Service(name), start * MINUTE, end * MINUTE, 0.0, faults)


def calls(*pairs: str) -> set[tuple[Service, Service]]:
    return {(Service(pair[0]), Service(pair[1])) for pair in pairs}


def names(found: list[Incident]) -> list[str]:
    return ["".join(one.service.name for one in incident.anomalies) for incident in found]


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        (calls("ab", "bc"), ["cab"]),  # a chain: the last
        (calls("ab", "ac"), ["bac"]),  # two below one: the one with more faults
        (calls("ab", "bc", "ca"), ["abc"]),  # a circle: most faults
        (calls("ab"), ["ba", "c"]),  # c is on its own
        (calls(), ["a", "b", "c"]),
        (calls("ab", "bc", "cd", "aa"), ["cab"]),  # d is well, a calls itself
    ],
)
def test_the_root_cause_is_the_service_farthest_down(edges: set[tuple[Service, Service]], expected: list[str]) -> None:
    found = [anomaly("a", faults=300), anomaly("b", faults=200), anomaly("c", faults=100)]
    assert names(incidents(found, edges)) == expected
    assert names(incidents(found[::-1], edges)) == expected


def test_anomalies_at_other_times_are_other_incidents() -> None:
    found = incidents([anomaly("a", 0, 10), anomaly("b", 5, 12), anomaly("a", 20, 25), anomaly("b", 25, 30)], calls("ab"))
    assert names(found) == ["ba", "a", "b"]
    assert (found[0].start, found[0].end) == (0, 12 * MINUTE)
