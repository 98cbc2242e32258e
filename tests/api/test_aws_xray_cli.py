"""``aws xray`` from PyPI's awscli: each of its commands against the local X-Ray in one story, what it answers, and that the
documented page of members (localstack/aws/xray/offers/declared.py) says of these answers what is so.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localstack.aws.xray.offers.declared import OFFERS, Absent, Constant, Ignored, Refused, offer
from localstack.aws.xray.offers.markdown import members, render
from tests.api.aws_clients import aws_cli
from tests.api.servers import Vendor, start_vendor
from tests.api.xray_story import POLICY, REQUESTS, TICKS, Story, operations, tell


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with start_vendor("aws", tmp_path_factory.mktemp("state")) as vendor:
        yield vendor


@pytest.fixture(scope="module")
def story(aws: Vendor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    told = tell(aws, tmp_path_factory.mktemp("home"))
    yield told
    told.aws.close()


def named(entries: list[dict[str, Any]], name: str = "Name") -> dict[str, Any]:
    """Entries by their name; of several with the same, the last."""
    return {entry[name]: entry for entry in entries}


def test_every_command_of_the_service_model_was_run(story: Story) -> None:
    assert story.aws.commands == set(operations())


def test_the_account_is_set_up(story: Story) -> None:
    key = "arn:aws:kms:us-east-1:123456789012:alias/xray"
    assert story["encryption at first"]["EncryptionConfig"] == {"Type": "NONE", "Status": "ACTIVE"}
    assert story["encryption put"]["EncryptionConfig"] == {"Type": "KMS", "KeyId": key, "Status": "UPDATING"}
    assert story["encryption in force"]["EncryptionConfig"] == {"Type": "KMS", "KeyId": key, "Status": "ACTIVE"}
    assert story["encryption put back"]["EncryptionConfig"]["Type"] == "NONE"
    first, second = story["policy"]["ResourcePolicy"], story["policy again"]["ResourcePolicy"]
    assert json.loads(first["PolicyDocument"]) == POLICY
    assert first["PolicyRevisionId"] != second["PolicyRevisionId"]
    assert list(named(story["policies"]["ResourcePolicies"], "PolicyName")) == ["other", "sns"]
    assert list(named(story["policies left"]["ResourcePolicies"], "PolicyName")) == ["other"]
    assert story["destination"] == {"Destination": "XRay", "Status": "ACTIVE"}
    assert story["destination changed"] == {"Destination": "CloudWatchLogs", "Status": "PENDING"}
    assert story["destination unchanged"] == story["destination in force"] == {"Destination": "CloudWatchLogs", "Status": "ACTIVE"}
    assert story["indexing rules"]["IndexingRules"][0]["Rule"]["Probabilistic"]["DesiredSamplingPercentage"] == 1
    assert story["indexing rules changed"]["IndexingRules"][0]["Rule"]["Probabilistic"]["DesiredSamplingPercentage"] == 100


def test_sampling_rules_are_kept_changed_and_deleted(story: Story) -> None:
    rules = [record["SamplingRule"] for record in story["rules"]["SamplingRuleRecords"]]
    assert [rule["RuleName"] for rule in rules] == ["special", "cruddur", "Default"]
    assert (rules[0]["Priority"], rules[0]["FixedRate"], rules[0]["Attributes"]) == (11, 0.6, {"tenant": "two"})
    assert rules[1]["FixedRate"] == 0.2
    assert story["rule deleted"]["SamplingRuleRecord"]["SamplingRule"]["RuleName"] == "special"
    assert [record["SamplingRule"]["RuleName"] for record in story["rules left"]["SamplingRuleRecords"]] == ["Default"]


def test_targets_share_the_reservoir_and_boost_the_rate(story: Story) -> None:
    targets = named(story["targets"]["SamplingTargetDocuments"], "RuleName")
    assert targets["cruddur"]["ReservoirQuota"] == 5
    assert targets["cruddur"]["SamplingBoost"]["BoostRate"] == 0.5
    assert targets["special"]["SamplingBoost"]["BoostRate"] == 0.8
    unprocessed = [(entry["RuleName"], entry["ErrorCode"]) for entry in story["targets"]["UnprocessedStatistics"]]
    assert unprocessed == [("nobody", "404"), ("anybody", "404"), ("cruddur", "400")]
    assert len(story["sampling statistics"]["SamplingStatisticSummaries"]) > 200


def test_bad_documents_come_back_with_what_is_wrong(story: Story) -> None:
    refused = story["refused documents"]["UnprocessedTraceSegments"]
    assert [entry["ErrorCode"] for entry in refused] == ["ParseError", "InvalidId", "MissingName"]
    assert story["telemetry"] == {}


def test_groups_are_kept_changed_and_deleted(story: Story) -> None:
    assert story["group by name"]["Group"] == story["group"]["Group"]
    assert story["group by ARN"]["Group"]["GroupName"] == "faults"
    groups = named(story["groups"]["Groups"], "GroupName")
    assert groups["faults"]["FilterExpression"] == "fault"
    assert groups["faults"]["InsightsConfiguration"] == {"InsightsEnabled": True, "NotificationsEnabled": True}
    assert groups["cruddur"]["FilterExpression"] == 'service("cruddur") OR service("worker")'
    assert list(named(story["groups left"]["Groups"], "GroupName")) == ["Default"]


def test_traces_are_found_and_read(story: Story) -> None:
    def ids(name: str) -> set[str]:
        return {summary["Id"] for summary in story[name]["TraceSummaries"]}

    kinds = story.traces
    ends = {name: kinds[name] for name in ("fault", "error", "throttle", "partial")}
    assert kinds["fault"] in ids("summaries of faults")
    assert not ids("summaries of faults") & {trace for name, trace in kinds.items() if name != "fault"}
    assert {kinds["throttle"], kinds["partial"]} <= ids("summaries by event")
    assert {kinds["error"], kinds["throttle"]} == ids("summaries by service")
    assert len(ids("all summaries")) == 25 * REQUESTS + TICKS + 7
    assert 0.15 < len(ids("summaries sampled")) / len(ids("summaries")) < 0.45
    summaries = named(story["summaries"]["TraceSummaries"], "Id")
    flags = [summaries[trace] for trace in ends.values()]
    assert [flag["HasFault"] for flag in flags] == [True, False, False, False]
    assert [flag["HasError"] for flag in flags] == [False, True, True, False]
    assert [flag["HasThrottle"] for flag in flags] == [False, False, True, False]
    assert [flag["IsPartial"] for flag in flags] == [False, False, False, True]
    causes = summaries[kinds["fault"]]["FaultRootCauses"]
    assert [[service["Name"] for service in cause["Services"]] for cause in causes] == [["cruddur", "profiles", "profile"]]
    assert not summaries[kinds["recovered"]]["FaultRootCauses"][0]["ClientImpacting"]
    traces = named(story["traces"]["Traces"] + story["more traces"]["Traces"], "Id")
    assert set(traces) == {trace for name, trace in kinds.items() if not name.startswith("retrieved")}
    assert [trace["LimitExceeded"] for trace in traces.values()].count(True) == 1
    assert traces[kinds["heavy"]]["LimitExceeded"]
    documents = [json.loads(part["Document"]) for part in traces[kinds["fault"]]["Segments"]]
    assert {document["name"] for document in documents} >= {"cruddur", "profiles"}
    assert next(document for document in documents if document["name"] == "cruddur")["metadata"] == {"UserData": {"handle": "ada"}}
    assert len(story["traces"]["UnprocessedTraceIds"]) == 1


def test_the_graph_shows_who_calls_whom(story: Story) -> None:
    for name in ("graph", "graph of traces"):
        services = [service for service in story[name]["Services"] if service.get("Type") != "client"]
        by_id = {service["ReferenceId"]: service["Name"] for service in services}
        calls = {(service["Name"], by_id[edge["ReferenceId"]]) for service in services for edge in service["Edges"]}
        assert {("cruddur", "profiles"), ("profiles", "profile"), ("queue", "worker")} <= calls, name
    faults = {service["Name"] for service in story["graph of a group"]["Services"]}
    assert {"cruddur", "profiles", "profile"} <= faults
    assert "worker" not in faults
    assert faults == {service["Name"] for service in story["graph of a group by ARN"]["Services"]}


def test_statistics_over_time_add_up(story: Story) -> None:
    def total(name: str, kind: str = "ServiceSummaryStatistics") -> int:
        return sum(window[kind]["TotalCount"] for window in story[name]["TimeSeriesServiceStatistics"])

    (profiles,) = (service for service in story["graph"]["Services"] if service["Name"] == "profiles")
    assert total("statistics of a service") == profiles["SummaryStatistics"]["TotalCount"] > 25 * REQUESTS
    assert total("statistics of an edge", "EdgeSummaryStatistics") == total("statistics of a service")
    assert len(story["statistics of many minutes"]["TimeSeriesServiceStatistics"]) > 500
    assert any("ServiceForecastStatistics" in window for window in story["forecast"]["TimeSeriesServiceStatistics"])


def test_outages_are_insights(story: Story) -> None:
    states = [(one["State"], one["RootCauseServiceId"]["Name"]) for one in story["insights"]["InsightSummaries"]]
    assert states == [("ACTIVE", "profiles"), ("CLOSED", "profile")]
    (first,), (second,) = story["insights of a page"]["InsightSummaries"], story["insights of the next"]["InsightSummaries"]
    assert [first["InsightId"], second["InsightId"]] == [one["InsightId"] for one in story["insights"]["InsightSummaries"]]
    assert {one["State"] for one in story["insights by ARN"]["InsightSummaries"]} <= {"CLOSED"}
    closed = story["insight"]["CLOSED"]["Insight"]
    assert closed["Categories"] == ["FAULT"]
    assert closed["EndTime"] - closed["StartTime"] == 3 * 60
    assert closed["RootCauseServiceRequestImpactStatistics"]["FaultCount"] == 3 * (REQUESTS - 3)
    assert "back in its expected range" in json.dumps(story["insight events"]["CLOSED"]["InsightEvents"])
    assert {"cruddur", "profiles", "profile"} <= set(named(story["impact graph"]["CLOSED"]))


def test_traces_are_retrieved(story: Story) -> None:
    found = story["retrieved"]["Traces"] + story["retrieved next"]["Traces"]
    assert {trace["Id"] for trace in found} == {trace for name, trace in story.traces.items() if name.startswith("retrieved")}
    assert {story[name]["TraceFormat"] for name in ("retrieved", "retrieved as OTEL")} == {"XRAY", "OTEL"}
    assert {"cruddur", "profiles", "worker"} <= {service["Service"]["Name"] for service in story["retrieved graph"]}
    links = [link for service in story["retrieved graph"] for link in service["Links"]]
    assert {link["SourceTraceId"] for link in links} == {story.traces[f"retrieved {number}"] for number in range(1, 7)}
    assert story["retrieval cancelled"] == {}
    assert story["retrieved of a cancelled one"]["RetrievalStatus"] == "CANCELLED"


def test_resources_are_tagged(story: Story) -> None:
    def tags(name: str) -> dict[str, str]:
        return {tag["Key"]: tag["Value"] for tag in story[name]["Tags"]}

    assert tags("tags at first") == {"stage": "test"} == tags("tags of the rule")
    assert tags("tags of the group") == {"stage": "test", "owner": "ada", "empty": ""}
    assert tags("tags left") == {"owner": "ada"}


def test_what_is_wrong_is_told_as_the_program_tells_it(story: Story, aws: Vendor, tmp_path: Path) -> None:
    """As a program of its own, as a person runs it."""
    told = aws_cli(aws, tmp_path, "xray", "get-group", "--group-name", "nobody")
    assert told.returncode != 0
    assert "InvalidRequestException" in told.stderr
    told = aws_cli(
        aws, tmp_path, "xray", "get-sampling-rules", "--query", "SamplingRuleRecords[].SamplingRule.RuleName", "--output", "text"
    )
    assert told.stdout == "Default\n", told.stderr
    for words in (
        ("get-trace-summaries", "--start-time", "0", "--end-time", "1", "--filter-expression", "(("),
        ("get-insight", "--insight-id", "x"),
    ):
        status, _, error = story.aws.run(*words)
        assert status != 0
        assert "InvalidRequestException" in error


# -- the page of members

#: Computed, but the same all through the story: where it differs is shown elsewhere.
ELSEWHERE = {"ForecastStatistics.FaultCountLow"}


def test_the_declaration_names_members_that_exist() -> None:
    known = {f"{name}.{side}.{path}" for name in operations().values() for side in ("input", "output") for path, *_ in members(name, side)}
    known |= {member for name in operations().values() for side in ("input", "output") for _, member, *_ in members(name, side)}
    assert set(OFFERS) <= known
    for name in operations().values():
        for side, kinds in (("input", Ignored | Refused), ("output", Constant | Absent)):
            for path, member, *_ in members(name, side):
                found = OFFERS.get(f"{name}.{side}.{path}")
                assert found is None or isinstance(found, kinds), (name, path, member)


def test_every_member_is_what_the_page_says(story: Story) -> None:
    """What is computed came, and with values that differ somewhere; what is constant has its value; what is not offered never came.

    A time is of today, so it is no constant. What is taken was sent and the call succeeded.
    """
    came, sent = story.aws.came.of, story.aws.sent.of
    values: dict[str, set[Any]] = defaultdict(set)
    wrong: list[str] = []
    computed: list[tuple[str, str]] = []
    for operation in operations().values():
        for side, seen in (("input", sent), ("output", came)):
            hidden: list[str] = []
            for path, member, shape, _ in members(operation, side):
                if any(path.startswith(f"{above}{sign}") for above in hidden for sign in ".[{"):
                    continue
                where = f"{operation}.{side}.{path}"
                found, got = offer(operation, side, path, member), seen.get(operation, {}).get(path)
                if isinstance(found, Constant):
                    wrong += [f"{where} is {got}, not {found.value!r}"] if got != {found.value} else []
                elif isinstance(found, Absent | Refused):
                    hidden.append(path)
                    wrong += [f"{where} is offered: {got}"] if got is not None else []
                elif got is None:
                    wrong.append(f"{where} was never {'sent' if side == 'input' else 'answered'}")
                elif side == "output" and found is None and shape.type_name not in ("structure", "list", "map", "timestamp"):
                    values[member] |= got
                    computed.append((where, member))
    wrong += [f"{where} is always {values[member]}" for where, member in computed if len(values[member]) < 2 and member not in ELSEWHERE]
    assert not wrong, "\n".join(wrong)


def test_the_committed_page_is_the_declaration() -> None:
    committed = (Path(__file__).parents[2] / "docs" / "local-xray-operations.md").read_text(encoding="utf-8")
    assert committed == render(), "make docs"
