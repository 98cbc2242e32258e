"""Sampling rules, targets and statistics."""

from __future__ import annotations

from typing import Any

from localstack.aws.errors import AwsError
from localstack.aws.tokens import make_token, read_token
from localstack.aws.xray.models import XRay
from localstack.aws.xray.responses.common import PAGE_ENTRIES, Handler, Members, page, read_tags
from localstack.aws.xray.sampling.rules import Rule


def mend_statistics(members: dict[str, Any]) -> None:
    """Take ``SampleCount`` for ``SampledCount``: so the remote sampler of AWS's OpenTelemetry distribution for Python (0.21) calls it.

    The model requires SampledCount. Its makers tried that sampler on X-Ray, so X-Ray must take it; refused, it would not hear of a changed
    rule for five minutes.
    """
    documents = members.get("SamplingStatisticsDocuments")
    for document in documents if isinstance(documents, list) else ():
        if isinstance(document, dict) and "SampleCount" in document:
            document.setdefault("SampledCount", document["SampleCount"])


class SamplingResponses:
    def __init__(self, xray: XRay) -> None:
        self._xray = xray
        self.handlers: dict[str, Handler] = {
            "GetSamplingRules": self.get_sampling_rules,
            "CreateSamplingRule": self.create_sampling_rule,
            "UpdateSamplingRule": self.update_sampling_rule,
            "DeleteSamplingRule": self.delete_sampling_rule,
            "GetSamplingTargets": self.get_sampling_targets,
            "GetSamplingStatisticSummaries": self.get_sampling_statistic_summaries,
        }

    def get_sampling_rules(self, members: Members) -> dict[str, Any]:
        rules, more = page([_rule_record(rule) for rule in self._xray.sampling.rules()], members.get("NextToken"), "GetSamplingRules")
        return {"SamplingRuleRecords": rules} | more

    def create_sampling_rule(self, members: Members) -> dict[str, Any]:
        rule = self._xray.sampling.create(members["SamplingRule"], read_tags(members.get("Tags", [])))
        return {"SamplingRuleRecord": _rule_record(rule)}

    def update_sampling_rule(self, members: Members) -> dict[str, Any]:
        return {"SamplingRuleRecord": _rule_record(self._xray.sampling.update(members["SamplingRuleUpdate"]))}

    def delete_sampling_rule(self, members: Members) -> dict[str, Any]:
        return {"SamplingRuleRecord": _rule_record(self._xray.sampling.delete(members))}

    def get_sampling_targets(self, members: Members) -> dict[str, Any]:
        targets = self._xray.sampling.targets(members["SamplingStatisticsDocuments"], members.get("SamplingBoostStatisticsDocuments", ()))
        return {
            "SamplingTargetDocuments": targets.documents,
            "LastRuleModification": targets.last_modification,
            "UnprocessedStatistics": targets.unprocessed,
            "UnprocessedBoostStatistics": targets.unprocessed_boosts,
        }

    def get_sampling_statistic_summaries(self, members: Members) -> dict[str, Any]:
        query = "GetSamplingStatisticSummaries"
        position = None
        if "NextToken" in members:
            position = read_token(members["NextToken"], query, (float, str))
            if position is None:
                raise AwsError("InvalidRequestException", "NextToken is not one that this operation returned")
        found = self._xray.sampling.statistics((position[0], position[1]) if position else None, PAGE_ENTRIES + 1)
        answer: dict[str, Any] = {"SamplingStatisticSummaries": found[:PAGE_ENTRIES]}
        if len(found) > PAGE_ENTRIES:
            last = found[PAGE_ENTRIES - 1]
            answer["NextToken"] = make_token([last["Timestamp"], last["RuleName"]], query)
        return answer


def _rule_record(rule: Rule) -> dict[str, Any]:
    return {"SamplingRule": rule.members, "CreatedAt": rule.created, "ModifiedAt": rule.modified}
