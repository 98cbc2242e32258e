"""Resource policies."""

from __future__ import annotations

from typing import Any

from localstack.aws.xray.models import XRay
from localstack.aws.xray.responses.common import Handler, Members, page


class PolicyResponses:
    def __init__(self, xray: XRay) -> None:
        self._xray = xray
        self.handlers: dict[str, Handler] = {
            "PutResourcePolicy": self.put_resource_policy,
            "ListResourcePolicies": self.list_resource_policies,
            "DeleteResourcePolicy": self.delete_resource_policy,
        }

    def put_resource_policy(self, members: Members) -> dict[str, Any]:
        policy = self._xray.policies.put(
            members["PolicyName"],
            members["PolicyDocument"],
            members.get("PolicyRevisionId"),
            members.get("BypassPolicyLockoutCheck", False),
        )
        return {"ResourcePolicy": policy}

    def list_resource_policies(self, members: Members) -> dict[str, Any]:
        policies, more = page(self._xray.policies.all(), members.get("NextToken"), "ListResourcePolicies")
        return {"ResourcePolicies": policies} | more

    def delete_resource_policy(self, members: Members) -> dict[str, Any]:
        self._xray.policies.delete(members["PolicyName"], members.get("PolicyRevisionId"))
        return {}
