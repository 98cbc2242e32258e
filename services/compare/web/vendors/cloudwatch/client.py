"""CloudWatch Logs and CloudWatch as their pages ask them ("Actions", CloudWatch Logs API reference).

Tokens are the vendor's: good for the same question only, for 24 hours. A page of FilterLogEvents may be empty and still name a next
one. Every call raises Unreadable; a group or stream that is not there is a Refusal with status 404.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError, ParamValidationError
from flask import current_app

from compose.settings import Settings
from services.compare.readers.aws import client, readable
from services.compare.readers.base import Unreadable, error_line
from services.compare.readers.http import Refusal
from services.compare.web.site import site

#: Groups and streams ("DescribeLogGroups": 50 at most), and events, of one page.
LISTED: Final = 50
EVENTS: Final = 100
#: Pages that are asked for where one looks for events: each may be empty, or hold 1 MB.
PAGES: Final = 10
#: Events one call answers at most.
MOST: Final = 10_000

Members = Mapping[str, Any]


@dataclass(frozen=True)
class Page:
    """Some of a list, and the token of the next page, if there is one."""

    items: Sequence[Members]
    token: str | None = None


@dataclass(frozen=True)
class StreamPage:
    """Events of a stream, oldest first. ``older``, ``newer``: tokens. A token that brings itself is the end."""

    events: Sequence[Members]
    older: str
    newer: str


class CloudWatch:
    """Nothing is waited for long. Safe for several threads, and made once: boto3's clients take a tenth of a second to make."""

    def __init__(self, settings: Settings) -> None:
        self._logs = client(settings, "logs", hurry=True)
        self._metrics = client(settings, "cloudwatch", hurry=True)

    @classmethod
    def of_site(cls) -> CloudWatch:
        """That of the application that answers now."""
        made = current_app.extensions.get("cloudwatch")
        if made is None:
            made = current_app.extensions["cloudwatch"] = cls(site().settings)
        return made

    def groups(self, prefix: str = "", token: str = "") -> Page:
        with _asking("CloudWatch Logs"):
            answer: Any = self._logs.describe_log_groups(limit=LISTED, **_given(logGroupNamePrefix=prefix, nextToken=token))
        return Page(answer.get("logGroups", []), answer.get("nextToken"))

    def streams(self, group: str, prefix: str = "", token: str = "") -> Page:
        """Those with the newest events first; by name where a prefix is asked for, since the API does not do both."""
        order = {"logStreamNamePrefix": prefix} if prefix else {"orderBy": "LastEventTime", "descending": True}
        with _asking("CloudWatch Logs"):
            answer: Any = self._logs.describe_log_streams(logGroupName=group, limit=LISTED, **order, **_given(nextToken=token))
        return Page(answer.get("logStreams", []), answer.get("nextToken"))

    def events(self, group: str, stream: str, token: str = "", from_head: bool = False) -> StreamPage:
        with _asking("CloudWatch Logs"):
            answer: Any = self._logs.get_log_events(
                logGroupName=group, logStreamName=stream, limit=EVENTS, startFromHead=from_head, **_given(nextToken=token)
            )
        return StreamPage(answer.get("events", []), answer.get("nextBackwardToken", ""), answer.get("nextForwardToken", ""))

    def search(
        self, group: str, start: float, end: float, pattern: str = "", token: str = "", newest_first: bool = False, limit: int = EVENTS
    ) -> Page:
        """Events of a group between two times (epoch seconds), in the order asked for. Empty pages are passed over."""
        asked = _given(filterPattern=pattern, **({"startFromHead": False} if newest_first else {}))
        for _ in range(PAGES):
            with _asking("CloudWatch Logs"):
                answer: Any = self._logs.filter_log_events(
                    logGroupName=group,
                    startTime=int(start * 1000),
                    endTime=int(end * 1000),
                    limit=limit,
                    **asked,
                    **_given(nextToken=token),
                )
            token = answer.get("nextToken", "")
            if answer.get("events") or not token:
                break
        return Page(answer.get("events", []), token or None)

    def every(self, group: str, start: float, end: float, newest_first: bool = False, pages: int = PAGES) -> Iterator[Sequence[Members]]:
        """All events of a group between two times, page by page, at most so many."""
        token = ""
        for _ in range(pages):
            page = self.search(group, start, end, "", token, newest_first, MOST)
            yield page.items
            if page.token is None:
                return
            token = page.token

    def metrics(self, namespace: str, token: str = "") -> Page:
        """What CloudWatch lists as metrics of a namespace."""
        with _asking("CloudWatch"):
            answer: Any = self._metrics.list_metrics(Namespace=namespace, **_given(NextToken=token))
        return Page(answer.get("Metrics", []), answer.get("NextToken"))


def _given(**members: Any) -> dict[str, Any]:
    """The members that say something: the API takes no empty ones."""
    return {name: value for name, value in members.items() if value != ""}


@contextmanager
def _asking(vendor: str) -> Iterator[None]:
    try:
        with readable(vendor):
            yield
    except Unreadable as error:
        cause = error.__cause__
        if isinstance(cause, ParamValidationError):
            raise Unreadable(f"{vendor} cannot be asked that ({error_line(cause)})") from cause
        if isinstance(cause, ClientError) and cause.response.get("Error", {}).get("Code") == "ResourceNotFoundException":
            raise Refusal(error.reason, status=404) from cause
        raise
