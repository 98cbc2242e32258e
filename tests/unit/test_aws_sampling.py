"""How a reservoir is divided and a rate boosted, as the pure functions they are, and over time, by a clock that is turned by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localstack.aws.state import State
from localstack.aws.xray.sampling.quotas import ANOMALIES_WANTED, boost_rate, shares
from localstack.aws.xray.sampling.rules import BOOST_SECONDS, CLIENT_SECONDS, QUOTA_SECONDS, Sampling

DEMANDS = st.dictionaries(st.text("abcdef0123456789", min_size=1, max_size=4), st.integers(0, 1000), min_size=1, max_size=30)


@given(st.integers(0, 2000), DEMANDS)
def test_shares_add_up_and_nobody_who_needs_more_gets_less_than_another(reservoir: int, demands: dict[str, int]) -> None:
    granted = shares(reservoir, demands)
    assert granted.keys() == demands.keys()
    assert sum(granted.values()) == reservoir
    assert min(granted.values()) >= 0
    for client, demand in demands.items():
        assert granted[client] >= min(demand, reservoir // len(demands))
        if granted[client] < demand:
            # Who did not get all it needs has no less than anybody else, but for the one that does not divide.
            assert max(granted.values()) <= granted[client] + 1


@pytest.mark.parametrize(
    ("reservoir", "demands", "expected"),
    [
        (0, {"a": 5, "b": 5}, {"a": 0, "b": 0}),
        (10, {}, {}),
        (10, {"a": 1}, {"a": 10}),
        (10, {"a": 0, "b": 0, "c": 0}, {"a": 4, "b": 3, "c": 3}),
        (2, {"a": 9, "b": 9, "c": 9}, {"a": 1, "b": 1, "c": 0}),
        (2, {"a": 0, "b": 9, "c": 9}, {"a": 0, "b": 1, "c": 1}),
        (10, {"a": 1, "b": 100}, {"a": 1, "b": 9}),
        (10, {"a": 2, "b": 3}, {"a": 5, "b": 5}),
    ],
)
def test_shares(reservoir: int, demands: dict[str, int], expected: dict[str, int]) -> None:
    assert shares(reservoir, demands) == expected


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_boost_lies_between_the_rate_and_its_maximum(fixed: float, highest: float, anomalies: int, sampled: int) -> None:
    rate = boost_rate(fixed, highest, anomalies, sampled)
    if rate is not None:
        assert fixed < rate <= highest
        assert sampled < min(anomalies, ANOMALIES_WANTED)
        assert rate * anomalies <= ANOMALIES_WANTED * (1 + 1e-9)


@pytest.mark.parametrize(
    ("fixed", "highest", "anomalies", "sampled", "expected"),
    [
        (0.05, 0.5, 0, 0, None),  # nothing wrong
        (0.05, 0.5, 40, 12, None),  # the baseline records enough
        (0.05, 0.5, 4, 4, None),  # all of them
        (0.05, 0.5, 40, 2, 0.25),  # the least that records ten
        (0.05, 0.1, 40, 2, 0.1),  # no more than allowed
        (0.30, 0.5, 40, 2, None),  # the baseline is above it: bad luck
        (0.05, 1.0, 3, 0, 1.0),  # few: all of them
    ],
)
def test_boost_rate(fixed: float, highest: float, anomalies: int, sampled: int, expected: float | None) -> None:
    assert boost_rate(fixed, highest, anomalies, sampled) == expected


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sampling(tmp_path: Path, clock: Clock) -> Iterator[Sampling]:
    state = State(tmp_path / "aws.duckdb", "us-east-1")
    yield Sampling(state.store, "us-east-1", clock)
    state.close()


def rule(**members: Any) -> dict[str, Any]:
    wild = dict.fromkeys(("ResourceARN", "ServiceName", "ServiceType", "Host", "HTTPMethod", "URLPath"), "*")
    return wild | {"RuleName": "r", "Priority": 1, "FixedRate": 0.05, "ReservoirSize": 6, "Version": 1} | members


def report(clock: Clock, client: str, requests: int = 1000) -> dict[str, Any]:
    return {"RuleName": "r", "ClientID": client * 24, "Timestamp": clock.now, "RequestCount": requests, "SampledCount": 1}


def quota(sampling: Sampling, clock: Clock, client: str) -> int:
    (document,) = sampling.targets([report(clock, client)]).documents
    return int(document["ReservoirQuota"])


def test_a_client_that_goes_away_leaves_its_share_when_its_quota_has_expired(sampling: Sampling, clock: Clock) -> None:
    assert CLIENT_SECONDS == QUOTA_SECONDS
    sampling.create(rule(), {})
    assert [quota(sampling, clock, client) for client in "ab"] == [6, 3]
    clock.now += 10
    assert quota(sampling, clock, "a") == 3
    clock.now += CLIENT_SECONDS - 10 - 1
    assert quota(sampling, clock, "a") == 3, "b may still use its quota"
    clock.now += 1
    assert quota(sampling, clock, "a") == 6


def test_more_clients_than_the_reservoir_has_requests(sampling: Sampling, clock: Clock) -> None:
    sampling.create(rule(), {})
    for client in "abcdefgh":
        quota(sampling, clock, client)
    assert [quota(sampling, clock, client) for client in "abcdefgh"] == [1, 1, 1, 1, 1, 1, 0, 0]


def boost(sampling: Sampling, clock: Clock, anomalies: int = 0) -> float | None:
    statistics = {
        "RuleName": "r",
        "ServiceName": "s",
        "Timestamp": clock.now,
        "AnomalyCount": anomalies,
        "TotalCount": 1000,
        "SampledAnomalyCount": 0,
    }
    (document,) = sampling.targets([report(clock, "a")], [statistics]).documents
    return document["SamplingBoost"]["BoostRate"] if "SamplingBoost" in document else None


def test_one_boost_a_window(sampling: Sampling, clock: Clock) -> None:
    sampling.create(rule(SamplingRateBoost={"MaxRate": 0.5, "CooldownWindowMinutes": 3}), {})
    assert boost(sampling, clock) is None
    assert boost(sampling, clock, 100) == 0.1
    clock.now += 20
    assert boost(sampling, clock, 25) == 0.1, "one boost at a time"
    sampling.update(rule(SamplingRateBoost={"MaxRate": 0.07, "CooldownWindowMinutes": 3}))
    assert boost(sampling, clock) == 0.07, "never above the rule's maximum, also when that is lowered meanwhile"
    sampling.update(rule(SamplingRateBoost={"MaxRate": 0.5, "CooldownWindowMinutes": 3}))
    clock.now += BOOST_SECONDS - 20
    assert boost(sampling, clock, 100) is None, "over, and cooling down"
    clock.now += 180 - BOOST_SECONDS
    assert boost(sampling, clock, 25) == 0.4, "the next window"
    sampling.delete({"RuleName": "r"})
    sampling.create(rule(SamplingRateBoost={"MaxRate": 0.5, "CooldownWindowMinutes": 3}), {})
    assert boost(sampling, clock) is None, "a new rule of that name knows nothing of the old one's"


def test_old_statistics_go(sampling: Sampling, clock: Clock) -> None:
    sampling.create(rule(), {})
    quota(sampling, clock, "a")
    assert len(sampling.statistics(None, 10)) == 1
    clock.now += 24 * 3600 + 1
    assert sampling.statistics(None, 10) == []


def test_every_change_of_the_rules_is_a_later_modification(sampling: Sampling, clock: Clock) -> None:
    seen = [sampling.targets([]).last_modification]
    changes: list[Callable[[], object]] = [
        lambda: sampling.create(rule(), {}),
        lambda: sampling.update({"RuleName": "r", "Priority": 7}),
        lambda: sampling.delete({"RuleName": "r"}),
    ]
    for change in changes:
        clock.now += 0.25
        change()
        seen.append(sampling.targets([]).last_modification)
    assert seen == sorted(set(seen))
    assert seen[-1] > clock.now, "also for a client that compares whole seconds"
