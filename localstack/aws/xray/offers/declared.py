"""What the local X-Ray offers of each member of each operation: the exceptions, declared; everything else is computed.

botocore's service model names the operations and their members. A member of an answer is *computed* from what was stored and
asked, unless it is declared here to be the same in every answer, or in none. A member of a request is *taken* and changes what is
done, unless it is declared here to be ignored or refused. ``docs/local-xray-operations.md`` is generated from it
(``python -m localstack.aws.xray.offers --write``), and a test holds it against what the operations really answer.

A key is either a path in one operation, ``Operation.output.Members[].Member``, or a member of a structure wherever it stands,
``Structure.Member``; the path counts first. What is below a member that is not offered is not offered either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Constant:
    """An output that is ``value`` whenever it is there; ``why`` is told to users."""

    value: Any
    why: str


@dataclass(frozen=True)
class Absent:
    """An output that is never there."""

    why: str


@dataclass(frozen=True)
class Ignored:
    """An input that is checked against the service model and then changes nothing."""

    why: str


@dataclass(frozen=True)
class Refused:
    """An input with which the operation always fails."""

    why: str


Offer = Constant | Absent | Ignored | Refused

_ONE_PAGE = Absent("all is in one answer")
_NO_TOKEN = Refused("no answer returned one")

_ONE_RULE = Constant("Default", "there is one rule")

OFFERS: Mapping[str, Offer] = {
    "CreateSamplingRule.input.SamplingRule.RuleARN": Refused("a new rule gets its ARN here"),
    "GetGroups.input.NextToken": _NO_TOKEN,
    "GetGroups.output.NextToken": _ONE_PAGE,
    "GetIndexingRules.input.NextToken": _NO_TOKEN,
    "GetIndexingRules.output.NextToken": _ONE_PAGE,
    "GetSamplingRules.input.NextToken": _NO_TOKEN,
    "GetSamplingRules.output.NextToken": _ONE_PAGE,
    "ListResourcePolicies.input.NextToken": _NO_TOKEN,
    "ListResourcePolicies.output.NextToken": _ONE_PAGE,
    "ListTagsForResource.input.NextToken": _NO_TOKEN,
    "ListTagsForResource.output.NextToken": _ONE_PAGE,
    "GetTraceSummaries.output.TraceSummaries[].ResponseTimeRootCauses[].ClientImpacting": Constant(True, "the client waited"),
    "Edge.EdgeType": Constant("link", "on asynchronous connections; other edges have none"),
    "Service.Root": Constant(True, "on services by which requests entered; others have none"),
    "GraphLink.ReferenceType": Constant("parent", "AWS documents no values"),
    "IndexingRule.Name": _ONE_RULE,
    "SamplingRule.Version": Constant(1, "the only version there is"),
    "SamplingTargetDocument.Interval": Constant(10, "seconds, as X-Ray answers"),
}


def offer(operation: str, side: str, path: str, member: str) -> Offer | None:
    """The exception that counts for a member; None: computed, or taken. ``member``: ``Structure.Member``, of its last part."""
    return OFFERS.get(f"{operation}.{side}.{path}", OFFERS.get(member))
