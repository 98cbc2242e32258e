"""What holds for the whole account: encryption, the destination of trace data, indexing rules."""

from __future__ import annotations

from typing import Any

from localstack.aws.xray.models import XRay
from localstack.aws.xray.responses.common import Handler, Members, page


class AccountResponses:
    def __init__(self, xray: XRay) -> None:
        self._xray = xray
        self.handlers: dict[str, Handler] = {
            "GetEncryptionConfig": self.get_encryption_config,
            "PutEncryptionConfig": self.put_encryption_config,
            "GetTraceSegmentDestination": self.get_trace_segment_destination,
            "UpdateTraceSegmentDestination": self.update_trace_segment_destination,
            "GetIndexingRules": self.get_indexing_rules,
            "UpdateIndexingRule": self.update_indexing_rule,
        }

    def get_encryption_config(self, _: Members) -> dict[str, Any]:
        return {"EncryptionConfig": self._xray.encryption.get()}

    def put_encryption_config(self, members: Members) -> dict[str, Any]:
        return {"EncryptionConfig": self._xray.encryption.put(members["Type"], members.get("KeyId"))}

    def get_trace_segment_destination(self, _: Members) -> dict[str, Any]:
        return self._xray.destinations.get()

    def update_trace_segment_destination(self, members: Members) -> dict[str, Any]:
        logs = members.get("CloudWatchLogsConfiguration", {})
        return self._xray.destinations.update(members.get("Destination"), logs.get("SpansLogGroupKmsKeyId"))

    def get_indexing_rules(self, members: Members) -> dict[str, Any]:
        rules, more = page(self._xray.destinations.rules(), members.get("NextToken"), "GetIndexingRules")
        return {"IndexingRules": rules} | more

    def update_indexing_rule(self, members: Members) -> dict[str, Any]:
        probabilistic = members["Rule"].get("Probabilistic", {})
        rule = self._xray.destinations.update_rule(members["Name"], probabilistic.get("DesiredSamplingPercentage"))
        return {"IndexingRule": rule}
