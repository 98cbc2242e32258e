"""Sampling rules, targets and statistics."""

from __future__ import annotations

from typing import Any

from localstack.aws.errors import not_implemented
from localstack.aws.xray.models import XRay
from localstack.aws.xray.responses.common import Handler, Members, page, read_tags
from localstack.aws.xray.sampling import Rule


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
        if members.get("SamplingBoostStatisticsDocuments"):
            raise not_implemented("SamplingBoostStatisticsDocuments (adaptive sampling)")
        targets = self._xray.sampling.targets(members["SamplingStatisticsDocuments"])
        return {
            "SamplingTargetDocuments": targets.documents,
            "LastRuleModification": targets.last_modification,
            "UnprocessedStatistics": targets.unprocessed,
        }

    def get_sampling_statistic_summaries(self, members: Members) -> dict[str, Any]:
        summaries, more = page(self._xray.sampling.statistics(), members.get("NextToken"), "GetSamplingStatisticSummaries")
        return {"SamplingStatisticSummaries": summaries} | more


def _rule_record(rule: Rule) -> dict[str, Any]:
    return {"SamplingRule": rule.members, "CreatedAt": rule.created, "ModifiedAt": rule.modified}
