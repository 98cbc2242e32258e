"""CloudWatch Logs read back: every event of a log group in the run's time, with when it was ingested.

Wire facts, from "FilterLogEvents" (CloudWatch Logs API reference): pages of up to 10,000 events or 1 MB; a page may be empty and still
name a next one; each event has an ``eventId``, its ``timestamp`` and its ``ingestionTime`` in milliseconds. From "PutLogEvents": an event
counts as its UTF-8 bytes and 26 more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from compose.settings import Settings, SignalPath
from services.compare.readers.aws import client, readable
from services.compare.readers.base import SLACK, Batch, Observation, Unreadable, Window, mapping, parse, sent_at, text
from services.cruddur.signals import OTEL_SERVICE

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

#: Bytes CloudWatch Logs counts for each event beside its message.
OVERHEAD: Final = 26


class CloudWatchReader:
    """One log group: watchtower's or the Collector's. ``documents``: each observation comes with its event."""

    def __init__(self, settings: Settings, path: SignalPath, documents: bool = False) -> None:
        self._documents = documents
        self.path = path
        self.paths = frozenset({path})
        self.pause = 5.0 if settings.mode == "online" else 0.5
        self._group = settings.log_group if path is SignalPath.CLOUDWATCH_WATCHTOWER else settings.otlp_log_group
        self._setting = "LOG_GROUP" if path is SignalPath.CLOUDWATCH_WATCHTOWER else "OTLP_LOG_GROUP"
        self._client = client(settings, "logs")
        self._known: set[str] = set()

    def read(self, window: Window, wanted: Collection[str] | None) -> Iterator[Batch]:
        if wanted is None:
            self._known.clear()
        start = window.start if not wanted else max(window.start, min(map(sent_at, wanted)) - SLACK)
        for page in pages(self._client, self._group, self._setting, start, window.end):
            fresh = [event for event in page if event["eventId"] not in self._known]
            self._known |= {event["eventId"] for event in fresh}
            yield Batch([each for event in fresh if (each := self._observation(event, self._documents)) is not None])

    def trace(self, trace_id: str, around: float) -> list[Observation]:
        found = pages(self._client, self._group, self._setting, around - 60, around + 3600)
        observations = (self._observation(event, document=True) for page in found for event in page)
        return [each for each in observations if each is not None and each.trace_id == trace_id]

    def _observation(self, event: Mapping[str, Any], document: bool = False) -> Observation | None:
        return observation(self.path, event, document)


def pages(logs: CloudWatchLogsClient, group: str, setting: str, start: float, end: float) -> Iterator[list[Any]]:
    """The events of a log group between two times (epoch seconds), page by page. Raises Unreadable, also when there is no such group."""
    arguments: dict[str, Any] = {"logGroupName": group, "startTime": int(start * 1000), "endTime": int(end * 1000) + 1, "limit": 10_000}
    while True:
        with readable("CloudWatch Logs"):
            try:
                page = logs.filter_log_events(**arguments)
            except logs.exceptions.ResourceNotFoundException:
                raise Unreadable(
                    f"CloudWatch Logs has no log group {group!r}: nothing was ever sent to it, or it is another's",
                    f"check {setting} and AWS_REGION",
                ) from None
        yield page.get("events", [])
        if not page.get("nextToken"):
            return
        arguments["nextToken"] = page["nextToken"]


def observation(path: SignalPath, event: Mapping[str, Any], document: bool = False) -> Observation | None:
    """A log event as an observation; None for a line that is not one of the application's JSON lines."""
    message = event["message"]
    try:
        line = parse(message)
    except ValueError:
        return None
    if not isinstance(line, dict):
        return None
    if path is SignalPath.CLOUDWATCH_OTLP:
        # awscloudwatchlogs writes the whole record: its attributes and resource are objects in it.
        resource = mapping(line.get("resource"))
        attributes = {**{key: line[key] for key in ("trace_id", "span_id") if line.get(key)}, **mapping(line.get("attributes"))}
        service, name = resource.get("service.name", ""), attributes.get("event.name", "")
    else:
        attributes, service, name = line, OTEL_SERVICE, line.get("event", "")
    status = attributes.get("status")
    ingested = event.get("ingestionTime")
    return Observation(
        path=path,
        kind="log",
        service=str(service),
        name=str(name),
        id=event["eventId"],
        trace_id=text(attributes.get("trace_id")),
        run=text(attributes.get("run")),
        attributes={key: value for key, value in attributes.items() if value is not None},
        start=event["timestamp"] / 1000,
        ingested_at=ingested / 1000 if ingested is not None else None,
        error=isinstance(status, int) and status >= 500,
        units=len(message.encode()) + OVERHEAD,
        document=line if document else None,
    )
