"""Groups."""

from __future__ import annotations

from typing import Any

from localstack.aws.xray.models import XRay
from localstack.aws.xray.responses.common import Handler, Members, page, read_tags


class GroupResponses:
    def __init__(self, xray: XRay) -> None:
        self._xray = xray
        self.handlers: dict[str, Handler] = {
            "GetGroups": self.get_groups,
            "GetGroup": self.get_group,
            "CreateGroup": self.create_group,
            "UpdateGroup": self.update_group,
            "DeleteGroup": self.delete_group,
        }

    def get_groups(self, members: Members) -> dict[str, Any]:
        groups, more = page(self._xray.groups.all(), members.get("NextToken"), "GetGroups")
        return {"Groups": groups} | more

    def get_group(self, members: Members) -> dict[str, Any]:
        return {"Group": self._xray.groups.get(members)}

    def create_group(self, members: Members) -> dict[str, Any]:
        group = self._xray.groups.create(
            members["GroupName"], members.get("FilterExpression"), members.get("InsightsConfiguration"), read_tags(members.get("Tags", []))
        )
        return {"Group": group}

    def update_group(self, members: Members) -> dict[str, Any]:
        return {"Group": self._xray.groups.update(members, members.get("FilterExpression"), members.get("InsightsConfiguration"))}

    def delete_group(self, members: Members) -> dict[str, Any]:
        self._xray.groups.delete(members)
        return {}
