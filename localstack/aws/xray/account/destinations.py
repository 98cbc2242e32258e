"""Where trace data goes, and which share of it becomes trace summaries ("Transaction Search", CloudWatch user guide).

With the destination XRay every segment is indexed: it is found by GetTraceSummaries, filters and graphs. With CloudWatchLogs all
spans are kept for trace retrieval (see ``spans``), and the indexing rule says which percentage of the *traces* is indexed too.
Only then does the OTLP endpoint take spans, as AWS documents it.

Ours, where AWS documents nothing: a change of the destination is in force when its status is ACTIVE. Which traces a percentage
stands for follows from the id alone, so that a trace is indexed whole whichever service sends its part: its last 56 bits, which
W3C's trace context level 2 declares random, as a share of 2^56.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

from localstack.aws.accounts import ACCOUNT_ID
from localstack.aws.errors import AwsError
from localstack.aws.xray.account import configuration
from localstack.aws.xray.account.encryption import KEY_ARN
from localstack.store import Store

XRAY = "XRay"
CLOUDWATCH_LOGS = "CloudWatchLogs"

#: The one indexing rule there is.
RULE = "Default"
#: "By default you will also index 1% of ingested spans for free as trace summary".
DEFAULT_PERCENTAGE = 1.0

_RANDOM_DIGITS = 14  # 56 bits


@dataclass(frozen=True)
class Destination:
    """``previous`` holds until the change has settled. ``kms_key``: of the log group aws/spans, once there is one."""

    name: str
    previous: str
    changed: float
    log_group: bool = False
    kms_key: str | None = None

    def in_force(self, now: float) -> str:
        return self.name if self.settled(now) else self.previous

    def settled(self, now: float) -> bool:
        return now >= self.changed + configuration.SETTLING_SECONDS


@dataclass(frozen=True)
class IndexingRule:
    """``modified``: epoch seconds."""

    percentage: float
    modified: float


class Destinations:
    """The destination and the indexing rule of one account in one region. Kept in memory too: every segment that comes asks."""

    def __init__(self, store: Store, region: str) -> None:
        self._store = store
        self._region = region
        # What is stored and what is in memory must be of the same change, whichever of two comes last.
        self._changing = threading.Lock()
        self._destination = Destination(**(configuration.read(store, "destination") or {"name": XRAY, "previous": XRAY, "changed": 0.0}))
        found = configuration.read(store, "indexing")
        if found is None:
            found = {"percentage": DEFAULT_PERCENTAGE, "modified": time.time()}
            configuration.write(store, "indexing", found)
        self._rule = IndexingRule(**found)

    # -- what holds for data that comes now

    def to_logs(self) -> bool:
        """Whether the destination in force is CloudWatchLogs."""
        return self._destination.in_force(time.time()) == CLOUDWATCH_LOGS

    def indexes(self, trace_id: str) -> bool:
        """Whether the indexing rule takes a trace, by its id (the last 14 digits are read)."""
        share: float = int(trace_id[-_RANDOM_DIGITS:], 16) / 16**_RANDOM_DIGITS
        return share * 100.0 < self._rule.percentage

    # -- the trace segment destination

    def get(self) -> dict[str, Any]:
        destination = self._destination
        return {"Destination": destination.name, "Status": "ACTIVE" if destination.settled(time.time()) else "PENDING"}

    def update(self, name: str | None, kms_key: str | None) -> dict[str, Any]:
        """Change the destination; to the one there is: nothing changes. ``kms_key``: SpansLogGroupKmsKeyId."""
        if name is None:
            raise AwsError("InvalidRequestException", f"Destination is required: {XRAY} or {CLOUDWATCH_LOGS}")
        with self._changing:
            return self._update(name, kms_key)

    def _update(self, name: str, kms_key: str | None) -> dict[str, Any]:
        old = self._destination
        if kms_key is not None:
            self._check_key(name, kms_key, old)
        now = time.time()
        if name == old.name:
            return self.get()
        first = name == CLOUDWATCH_LOGS and not old.log_group
        new = Destination(name, old.in_force(now), now, old.log_group or first, kms_key if first else old.kms_key)
        members = {"name": new.name, "previous": new.previous, "changed": new.changed, "log_group": new.log_group, "kms_key": new.kms_key}
        configuration.write(self._store, "destination", members)
        self._destination = new
        return self.get()

    def _check_key(self, name: str, kms_key: str, old: Destination) -> None:
        if name != CLOUDWATCH_LOGS:
            raise AwsError("InvalidRequestException", f"SpansLogGroupKmsKeyId belongs to the destination {CLOUDWATCH_LOGS} only")
        found = KEY_ARN.fullmatch(kms_key)
        if found is None or found.groups() != (self._region, ACCOUNT_ID):
            raise AwsError(
                "InvalidRequestException",
                f"SpansLogGroupKmsKeyId must be the ARN of a key of account {ACCOUNT_ID} in {self._region}, no key id and no alias",
            )
        if old.log_group:
            raise AwsError(
                "InvalidRequestException",
                "The log group aws/spans exists, and its key is not changed here: leave SpansLogGroupKmsKeyId out",
            )

    # -- the indexing rule

    def rules(self) -> list[dict[str, Any]]:
        """Every indexing rule, as the API has it. What is asked for is applied: no limit lowers it here."""
        rule = self._rule
        probabilistic = {"DesiredSamplingPercentage": rule.percentage, "ActualSamplingPercentage": rule.percentage}
        return [{"Name": RULE, "ModifiedAt": rule.modified, "Rule": {"Probabilistic": probabilistic}}]

    def update_rule(self, name: str, percentage: float | None) -> dict[str, Any]:
        """Set the percentage of traces that are indexed; ``None``: the request names no kind of rule."""
        if name != RULE:
            raise AwsError(
                "ResourceNotFoundException",
                f"There is no indexing rule '{name[:100]}'; the only one is {RULE}",
                404,
                {"ResourceName": name[:1000]},
            )
        if percentage is None:
            raise AwsError("InvalidRequestException", "Rule must hold Probabilistic")
        if not 0 <= percentage <= 100:
            raise AwsError("InvalidRequestException", f"DesiredSamplingPercentage must be between 0 and 100, not {percentage:g}")
        with self._changing:
            rule = IndexingRule(float(percentage), time.time())
            configuration.write(self._store, "indexing", {"percentage": rule.percentage, "modified": rule.modified})
            self._rule = rule
            return self.rules()[0]
