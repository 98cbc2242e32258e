"""Tags of groups and sampling rules."""

from __future__ import annotations

from typing import Any

from localstack.aws import tags
from localstack.aws.errors import AwsError
from localstack.aws.xray.models import XRay
from localstack.aws.xray.responses.common import Handler, Members, check_tag_key, page, read_tags


class TagResponses:
    def __init__(self, xray: XRay) -> None:
        self._xray = xray
        self.handlers: dict[str, Handler] = {
            "ListTagsForResource": self.list_tags_for_resource,
            "TagResource": self.tag_resource,
            "UntagResource": self.untag_resource,
        }

    def list_tags_for_resource(self, members: Members) -> dict[str, Any]:
        self._check_resource(members["ResourceARN"])
        found = tags.read(self._xray.store, members["ResourceARN"])
        entries, more = page(
            [{"Key": key, "Value": value} for key, value in found.items()], members.get("NextToken"), "ListTagsForResource"
        )
        return {"Tags": entries} | more

    def tag_resource(self, members: Members) -> dict[str, Any]:
        arn = members["ResourceARN"]
        self._check_resource(arn)
        added = read_tags(members["Tags"])
        try:
            self._xray.store.transact(lambda db: tags.change(db, arn, added))
        except tags.TooManyTags:
            raise AwsError("TooManyTagsException", f"A resource has at most {tags.MAX_TAGS} tags", members={"ResourceName": arn}) from None
        return {}

    def untag_resource(self, members: Members) -> dict[str, Any]:
        arn = members["ResourceARN"]
        self._check_resource(arn)
        removed = [check_tag_key(key) for key in members["TagKeys"]]
        self._xray.store.transact(lambda db: tags.change(db, arn, {}, removed))
        return {}

    def _check_resource(self, arn: str) -> None:
        if not (self._xray.sampling.has(arn) or self._xray.groups.has(arn)):
            raise AwsError("ResourceNotFoundException", f"There is no group or sampling rule {arn}", 404, {"ResourceName": arn})
