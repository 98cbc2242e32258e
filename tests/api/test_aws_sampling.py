"""Sampling rules and targets, through boto3 and through the X-Ray SDK's own sampler, signed and unsigned."""

from __future__ import annotations

import json
import math
import random
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import botocore
import botocore.config
import pytest
from aws_xray_sdk.core.sampling.sampler import DefaultSampler

from compose.settings import ROOT
from tests.api.aws_clients import client, refused
from tests.api.samplers import SamplerProcess
from tests.api.servers import START_SECONDS, Vendor, start_vendor
from tests.waiting import until

RULE: dict[str, Any] = {
    "RuleName": "messages",
    "ResourceARN": "*",
    "Priority": 10,
    "FixedRate": 0.5,
    "ReservoirSize": 10,
    "ServiceName": "Cruddur",
    "ServiceType": "*",
    "Host": "*",
    "HTTPMethod": "POST",
    "URLPath": "/api/messages*",
    "Version": 1,
}

#: The sandbox's own rule, as `make up` gives it to X-Ray.
CRUDDUR: dict[str, Any] = json.loads((ROOT / "compose" / "xray" / "sampling-rule.json").read_text())["SamplingRule"]

#: Ten seconds until a sampler reports and hears of the change, one until the X-Ray SDK fetches the rules; the rest for a slow machine.
OBEY_SECONDS = 20


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with start_vendor("aws", tmp_path_factory.mktemp("sampling")) as vendor:
        yield vendor


@pytest.fixture(scope="module")
def at_first(aws: Vendor) -> dict[str, dict[str, Any]]:
    """The rules of the account before any test."""
    return rules(client(aws, "xray"))


@pytest.fixture
def xray(aws: Vendor, at_first: dict[str, dict[str, Any]]) -> Any:
    """A client of an account with no rule but the default one, as it was at first. Statistics go with their rule."""
    made = client(aws, "xray")
    for name in rules(made).keys() - at_first.keys():
        made.delete_sampling_rule(RuleName=name)
    made.update_sampling_rule(SamplingRuleUpdate={"RuleName": "Default", "FixedRate": 0.05, "ReservoirSize": 1})
    return made


def rules(xray: Any) -> dict[str, dict[str, Any]]:
    return {record["SamplingRule"]["RuleName"]: record for record in xray.get_sampling_rules()["SamplingRuleRecords"]}


def report(rule: str, who: str, **counts: int) -> dict[str, Any]:
    return {"RuleName": rule, "ClientID": who, "Timestamp": time.time(), "RequestCount": 10, "SampledCount": 2, "BorrowCount": 1} | counts


def new_client_id() -> str:
    return secrets.token_hex(12)


def test_a_new_account_has_the_default_rule(at_first: dict[str, dict[str, Any]]) -> None:
    (record,) = at_first.values()
    assert record["SamplingRule"] == {
        "RuleName": "Default",
        "RuleARN": "arn:aws:xray:us-east-1:123456789012:sampling-rule/Default",
        "ResourceARN": "*",
        "Priority": 10000,
        "FixedRate": 0.05,
        "ReservoirSize": 1,
        "ServiceName": "*",
        "ServiceType": "*",
        "Host": "*",
        "HTTPMethod": "*",
        "URLPath": "*",
        "Version": 1,
        "Attributes": {},
    }


def test_a_rule_is_made_changed_and_deleted_and_keeps_its_order(xray: Any, aws: Vendor) -> None:
    made = xray.create_sampling_rule(SamplingRule=RULE, Tags=[{"Key": "k", "Value": "v"}])["SamplingRuleRecord"]
    arn = made["SamplingRule"]["RuleARN"]
    assert arn == "arn:aws:xray:us-east-1:123456789012:sampling-rule/messages"
    assert xray.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "k", "Value": "v"}]
    xray.create_sampling_rule(SamplingRule=RULE | {"RuleName": "a-later-name", "Priority": 10})
    assert list(rules(xray)) == ["a-later-name", "messages", "Default"]
    changed = xray.update_sampling_rule(SamplingRuleUpdate={"RuleARN": arn, "FixedRate": 1.0})["SamplingRuleRecord"]
    assert changed["SamplingRule"] == made["SamplingRule"] | {"FixedRate": 1.0}
    assert changed["ModifiedAt"] > changed["CreatedAt"]
    aws.restart()
    assert rules(xray)["messages"] == changed
    xray.delete_sampling_rule(RuleName="messages")
    assert list(rules(xray)) == ["a-later-name", "Default"]


def test_bad_rules_are_refused_and_nothing_is_kept(xray: Any) -> None:
    def create(**change: Any) -> Any:
        members = {key: value for key, value in (RULE | change).items() if value is not None}
        return lambda: xray.create_sampling_rule(SamplingRule=members)

    refused(create(RuleName=None), "InvalidRequestException", "RuleName")
    refused(create(Version=2), "InvalidRequestException", "Version")
    refused(create(Priority=10000), "InvalidRequestException", "less than or equal to 9999")
    refused(create(FixedRate=1.5), "InvalidRequestException", "less than or equal to 1")
    refused(create(Attributes={"k": ""}), "InvalidRequestException", "Attributes")
    refused(create(RuleName="n" * 33), "InvalidRequestException", "less than or equal to 32")
    refused(create(RuleARN="arn"), "InvalidRequestException", "RuleARN")
    refused(create(SamplingRateBoost={"MaxRate": 1.5, "CooldownWindowMinutes": 5}), "InvalidRequestException", "MaxRate")
    refused(create(Attributes={str(n): "v" for n in range(6)}), "InvalidRequestException", "less than or equal to 5")
    refused(create(URLPath="/" * 129), "InvalidRequestException", "less than or equal to 128")
    refused(create(RuleName="two\nlines"), "InvalidRequestException", "printable")
    refused(create(RuleName="Default"), "InvalidRequestException", "already exists")
    many = [{"Key": f"k{n}", "Value": "v"} for n in range(51)]
    refused(lambda: xray.create_sampling_rule(SamplingRule=RULE, Tags=many), "InvalidRequestException", "50")
    assert list(rules(xray)) == ["Default"]
    create()()
    refused(create(), "InvalidRequestException", "already exists")
    refused(
        lambda: xray.update_sampling_rule(SamplingRuleUpdate={"RuleName": "messages", "FixedRate": 7.0}),
        "InvalidRequestException",
        "FixedRate",
    )
    refused(lambda: xray.update_sampling_rule(SamplingRuleUpdate={"FixedRate": 0.7}), "InvalidRequestException", "RuleName or RuleARN")
    refused(lambda: xray.delete_sampling_rule(RuleName="nobody"), "InvalidRequestException", "no sampling rule nobody")
    refused(lambda: xray.delete_sampling_rule(RuleARN="messages"), "InvalidRequestException", "not that of a sampling rule")
    assert list(rules(xray)) == ["messages", "Default"]


def test_of_the_default_rule_only_rate_and_reservoir_change(xray: Any) -> None:
    xray.update_sampling_rule(SamplingRuleUpdate={"RuleName": "Default", "FixedRate": 1.0, "ReservoirSize": 100})
    assert rules(xray)["Default"]["SamplingRule"]["ReservoirSize"] == 100
    refused(
        lambda: xray.update_sampling_rule(SamplingRuleUpdate={"RuleName": "Default", "Priority": 5}),
        "InvalidRequestException",
        "only FixedRate",
    )
    refused(lambda: xray.delete_sampling_rule(RuleName="Default"), "InvalidRequestException", "cannot be deleted")


def test_there_are_at_most_25_rules(xray: Any) -> None:
    for number in range(25):
        xray.create_sampling_rule(SamplingRule=RULE | {"RuleName": f"r{number}"})
    refused(lambda: xray.create_sampling_rule(SamplingRule=RULE), "RuleLimitExceededException", "25")


def test_a_reservoir_is_shared_among_the_clients_that_report(xray: Any) -> None:
    xray.create_sampling_rule(SamplingRule=RULE)
    clients = sorted(new_client_id() for _ in range(3))

    def quotas() -> list[int]:
        return [
            xray.get_sampling_targets(SamplingStatisticsDocuments=[report("messages", one)])["SamplingTargetDocuments"][0]["ReservoirQuota"]
            for one in clients
        ]

    assert quotas()[0] == 10, "the only client has it all"
    assert quotas() == [4, 3, 3], "three clients share it, and the shares add up"


def test_a_client_that_needs_little_leaves_the_rest_to_the_others(xray: Any) -> None:
    """And in one call, as a proxy might send it: every document is counted before the first is answered."""
    xray.create_sampling_rule(SamplingRule=RULE)
    idle, busy, busier = sorted(new_client_id() for _ in range(3))
    documents = [
        report("messages", idle, RequestCount=1),
        report("messages", busy, RequestCount=500),
        report("messages", busier, RequestCount=900),
    ]
    targets = xray.get_sampling_targets(SamplingStatisticsDocuments=documents)["SamplingTargetDocuments"]
    assert [target["ReservoirQuota"] for target in targets] == [1, 5, 4]


def test_a_boost_follows_anomalies_that_are_not_recorded(xray: Any) -> None:
    xray.create_sampling_rule(SamplingRule=RULE | {"FixedRate": 0.1, "SamplingRateBoost": {"MaxRate": 0.5, "CooldownWindowMinutes": 5}})
    xray.create_sampling_rule(SamplingRule=RULE | {"RuleName": "plain"})
    assert rules(xray)["messages"]["SamplingRule"]["SamplingRateBoost"] == {"MaxRate": 0.5, "CooldownWindowMinutes": 5}

    def ask(**counts: int) -> Any:
        boost = {
            "ServiceName": "Cruddur",
            "Timestamp": time.time(),
            "TotalCount": 200,
            "AnomalyCount": 0,
            "SampledAnomalyCount": 0,
        } | counts
        return xray.get_sampling_targets(
            SamplingStatisticsDocuments=[report("messages", new_client_id()), report("plain", new_client_id())],
            SamplingBoostStatisticsDocuments=[boost | {"RuleName": name} for name in ("messages", "plain", "gone")],
        )

    calm = ask()
    assert [target.get("SamplingBoost") for target in calm["SamplingTargetDocuments"]] == [None, None]
    assert [one["RuleName"] for one in calm["UnprocessedBoostStatistics"]] == ["plain", "gone"]
    before = time.time()
    boosted, plain = ask(AnomalyCount=40, SampledAnomalyCount=4)["SamplingTargetDocuments"]
    assert boosted["FixedRate"] == 0.1
    assert boosted["SamplingBoost"]["BoostRate"] == 0.25, "records 10 of 40 an interval"
    assert before + 59 < boosted["SamplingBoost"]["BoostRateTTL"].timestamp() < time.time() + 61
    assert "SamplingBoost" not in plain
    # Every client of the rule gets it, also one that sees no anomalies.
    assert ask()["SamplingTargetDocuments"][0]["SamplingBoost"] == boosted["SamplingBoost"]


def test_statistics_come_in_pages_that_stay_in_place(xray: Any) -> None:
    xray.create_sampling_rule(SamplingRule=RULE)
    now = int(time.time() / 10) * 10
    for window in range(6):
        documents = [report("messages", new_client_id()) | {"Timestamp": now - 10 * (25 * window + n)} for n in range(25)]
        xray.get_sampling_targets(SamplingStatisticsDocuments=documents)
    first = xray.get_sampling_statistic_summaries()
    xray.get_sampling_targets(SamplingStatisticsDocuments=[report("messages", new_client_id()) | {"Timestamp": now - 10 * 3600}])
    second = xray.get_sampling_statistic_summaries(NextToken=first["NextToken"])
    times = [one["Timestamp"].timestamp() for page in (first, second) for one in page["SamplingStatisticSummaries"]]
    assert times == [now - 10 * n for n in reversed(range(150))]
    assert "NextToken" not in second
    refused(lambda: xray.get_sampling_statistic_summaries(NextToken="no"), "InvalidRequestException", "NextToken")


def test_statistics_of_another_time_are_not_processed(xray: Any) -> None:
    xray.create_sampling_rule(SamplingRule=RULE)
    documents = [report("messages", new_client_id()) | {"Timestamp": when} for when in (0, time.time() + 3600)]
    answer = xray.get_sampling_targets(SamplingStatisticsDocuments=documents)
    assert [one["ErrorCode"] for one in answer["UnprocessedStatistics"]] == ["400", "400"]
    assert xray.get_sampling_statistic_summaries()["SamplingStatisticSummaries"] == []


def test_targets_carry_what_the_sdk_needs(xray: Any) -> None:
    before = time.time()
    xray.create_sampling_rule(SamplingRule=RULE)
    answer = xray.get_sampling_targets(SamplingStatisticsDocuments=[report("messages", new_client_id()), report("gone", new_client_id())])
    (target,) = answer["SamplingTargetDocuments"]
    assert (target["RuleName"], target["FixedRate"], target["Interval"]) == ("messages", 0.5, 10)
    assert before + 10 < target["ReservoirQuotaTTL"].timestamp() < before + 60
    assert answer["LastRuleModification"].timestamp() >= int(before)
    assert [one["RuleName"] for one in answer["UnprocessedStatistics"]] == ["gone"]
    xray.delete_sampling_rule(RuleName="messages")
    later = xray.get_sampling_targets(SamplingStatisticsDocuments=[])
    assert later["LastRuleModification"] > answer["LastRuleModification"], "a rule that is deleted is a modification too"


def test_statistics_are_summed_up_by_rule(xray: Any) -> None:
    xray.create_sampling_rule(SamplingRule=RULE)
    now = int(time.time() / 10) * 10
    counts = ({"RequestCount": 5, "SampledCount": 1, "BorrowCount": 0}, {"RequestCount": 7, "SampledCount": 1, "BorrowCount": 1})
    documents = [report("messages", new_client_id(), **one) | {"Timestamp": now + 1} for one in counts]
    xray.get_sampling_targets(SamplingStatisticsDocuments=documents)
    (summary,) = xray.get_sampling_statistic_summaries()["SamplingStatisticSummaries"]
    assert summary["RuleName"] == "messages"
    assert summary["Timestamp"].timestamp() == now
    assert (summary["RequestCount"], summary["SampledCount"], summary["BorrowCount"]) == (12, 2, 1)


def sdk_sampler(aws: Vendor, signed: bool) -> DefaultSampler:
    """The X-Ray SDK's sampler pointed straight at the local X-Ray; its pollers are run by hand, not by their clocks."""
    sampler = DefaultSampler()
    sampler._started = True
    sampler._connector.setup_xray_client(
        ip="127.0.0.1",
        port=aws.port,
        client=client(aws, "xray") if signed else None,
    )
    return sampler


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
def test_the_sdks_sampler_obeys_the_rules(xray: Any, aws: Vendor, signed: bool) -> None:
    xray.create_sampling_rule(
        SamplingRule=RULE | {"RuleName": "never", "Priority": 1, "URLPath": "/never", "FixedRate": 0.0, "ReservoirSize": 0}
    )
    xray.create_sampling_rule(SamplingRule=RULE | {"RuleName": "always", "Priority": 2, "FixedRate": 1.0, "ReservoirSize": 0})
    sampler = sdk_sampler(aws, signed)
    sampler._rule_poller._refresh_cache()
    request = {"host": "h", "method": "POST", "service": "cruddur", "service_type": None}
    assert [sampler.should_trace(request | {"path": "/never"}) for _ in range(50)] == [False] * 50
    assert [sampler.should_trace(request | {"path": "/api/messages"}) for _ in range(50)] == ["always"] * 50

    # A change in the second in which it fetched the rules: the SDK compares whole seconds, and hears of it all the same.
    xray.update_sampling_rule(SamplingRuleUpdate={"RuleName": "never", "FixedRate": 1.0})
    sampler._cache.last_updated = int(rules(xray)["never"]["ModifiedAt"].timestamp())
    sampler._target_poller._do_work()
    assert sampler._rule_poller._time_elapsed > sampler._rule_poller._time_to_wait
    sampler._rule_poller._refresh_cache()
    assert sampler.should_trace(request | {"path": "/never"}) == "never"
    counted = {one["RuleName"]: one["RequestCount"] for one in xray.get_sampling_statistic_summaries()["SamplingStatisticSummaries"]}
    assert counted == {"always": 50, "never": 50}


def test_the_real_samplers_obey_a_changed_rule_within_seconds(xray: Any, aws: Vendor) -> None:
    """Each with its own threads and clocks: they report every 10 s, and fetch the rules when they hear that one has changed."""
    xray.create_sampling_rule(SamplingRule=CRUDDUR | {"FixedRate": 0.0, "ReservoirSize": 0})
    with SamplerProcess("x-ray sdk", aws.port) as sdk, SamplerProcess("opentelemetry", aws.port) as opentelemetry:
        samplers = (sdk, opentelemetry)
        until(lambda: [one.ask(20) for one in samplers] == [0, 0], START_SECONDS, "both samplers to have the rule that samples nothing")
        boost = {"MaxRate": 1.0, "CooldownWindowMinutes": 5}
        login = {"RuleName": "login", "Priority": 1, "URLPath": "/login", "FixedRate": 1.0, "SamplingRateBoost": boost}
        xray.create_sampling_rule(SamplingRule=CRUDDUR | login)
        until(lambda: [one.ask(20, "/login") for one in samplers] == [20, 20], OBEY_SECONDS, "both samplers to obey the new rule")
        assert [one.ask(20, "/other") for one in samplers] == [0, 0]


def test_the_sandboxs_rule_samples_what_its_reservoir_and_rate_predict(xray: Any, aws: Vendor) -> None:
    """2,000 requests over some seconds: 5 of each second without a chance, of the rest a tenth, within a binomial's 99.99 %.

    What is taken without a chance is counted apart: it is so few that the bounds of the sum would not miss it.
    """
    xray.create_sampling_rule(SamplingRule=CRUDDUR)
    sampler = sdk_sampler(aws, signed=False)
    # The chances are fixed, so that this fails for a reason and not once in ten thousand runs.
    chance = sampler._random = CountingRandom(20160412)
    sampler._rule_poller._refresh_cache()
    request = {"host": "h", "method": "GET", "path": "/", "service": "Cruddur", "service_type": None}
    assert sampler.should_trace(dict(request)) == "Cruddur", "borrowed, before there is a quota"
    sampler._target_poller._do_work()
    reservoir = sampler._cache.rules[0].reservoir
    assert reservoir.quota == 5

    seconds: Counter[int] = Counter()
    sampled = 0
    started = time.time()
    for number in range(2000):
        # The pace: 800 requests a second.
        while time.time() < started + number / 800:
            time.sleep(0.001)
        sampled += sampler.should_trace(dict(request)) == "Cruddur"
        # The second in which the sampler saw the request.
        seconds[reservoir._this_sec] += 1
    assert len(seconds) >= 3
    taken = sum(min(5, requests) for requests in seconds.values())
    assert chance.asked == 2000 - taken
    low, high = binomial_range(2000 - taken, 0.1, 0.9999)
    assert taken + low <= sampled <= taken + high

    sampler._target_poller._do_work()
    summaries = [one for one in xray.get_sampling_statistic_summaries()["SamplingStatisticSummaries"] if one["RuleName"] == "Cruddur"]
    assert sum(one["RequestCount"] for one in summaries) == 2001
    assert sum(one["BorrowCount"] for one in summaries) == 1
    assert sum(one["SampledCount"] for one in summaries) == sampled


class CountingRandom(random.Random):
    asked = 0

    def random(self) -> float:
        self.asked += 1
        return super().random()


def binomial_range(trials: int, chance: float, share: float) -> tuple[int, int]:
    """The least and the most successes, between which ``share`` of all outcomes lie."""
    below, left = 0.0, (1 - share) / 2
    low = high = 0
    for count in range(trials + 1):
        ways = math.lgamma(trials + 1) - math.lgamma(count + 1) - math.lgamma(trials - count + 1)
        below += math.exp(ways + count * math.log(chance) + (trials - count) * math.log1p(-chance))
        low += below < left
        high += below < 1 - left
    return low, high


def test_only_the_samplers_two_calls_go_unsigned(aws: Vendor) -> None:
    unsigned = client(aws, "xray", config=botocore.config.Config(signature_version=botocore.UNSIGNED, retries={"max_attempts": 0}))
    assert unsigned.get_sampling_rules()["SamplingRuleRecords"]
    assert unsigned.get_sampling_targets(SamplingStatisticsDocuments=[])["SamplingTargetDocuments"] == []
    refused(lambda: unsigned.get_groups(), "MissingAuthenticationTokenException", "Missing Authentication Token", 403)
    refused(lambda: unsigned.put_trace_segments(TraceSegmentDocuments=["{}"]), "MissingAuthenticationTokenException", "Missing", 403)
