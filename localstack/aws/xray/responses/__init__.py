"""X-Ray's operations: members of the request in, members of the answer out. Times are epoch seconds, as rest-json has them.

One module a family of operations; each has a class whose ``handlers`` names the operations it answers.
"""

from __future__ import annotations

from localstack.aws.xray.models import XRay
from localstack.aws.xray.responses.account import AccountResponses
from localstack.aws.xray.responses.common import Handler
from localstack.aws.xray.responses.graphs import GraphResponses
from localstack.aws.xray.responses.groups import GroupResponses
from localstack.aws.xray.responses.insights import InsightResponses
from localstack.aws.xray.responses.policies import PolicyResponses
from localstack.aws.xray.responses.retrieval import RetrievalResponses
from localstack.aws.xray.responses.sampling import SamplingResponses, mend_statistics
from localstack.aws.xray.responses.tagging import TagResponses
from localstack.aws.xray.responses.traces import TraceResponses

#: What the X-Ray SDK's sampler asks the daemon's proxy for, unsigned: "Using X-Ray service sampling with the REST API".
UNSIGNED = frozenset({"GetSamplingRules", "GetSamplingTargets"})

#: Requests of known clients that differ from the service model, by operation.
MENDS = {"GetSamplingTargets": mend_statistics}

FAMILIES = (
    TraceResponses,
    GraphResponses,
    SamplingResponses,
    GroupResponses,
    TagResponses,
    AccountResponses,
    PolicyResponses,
    RetrievalResponses,
    InsightResponses,
)


def handlers(xray: XRay) -> dict[str, Handler]:
    """Every operation of the service model, by name."""
    return {name: handler for family in FAMILIES for name, handler in family(xray).handlers.items()}
