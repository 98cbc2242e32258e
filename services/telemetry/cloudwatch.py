"""CloudWatch Logs by watchtower: one JSON line for each log event.

watchtower is kept away from the requests by its queue, and from trouble by the client it is given:

* Its constructor would look for the log group, and raise when nobody answers; here group and stream are made when
  CloudWatch first says that they do not exist, on watchtower's own thread.
* It drops a batch after five failures that follow each other within moments. Here the client itself tries again, with
  pauses, until CloudWatch is back or the process ends; only what CloudWatch refuses for good goes back to watchtower.
* Its queue is unbounded; here at most :data:`services.telemetry.delivery.QUEUE_SIZE` lines wait, and the rest is counted.
* ``close()`` waits up to 30 s; here for the shutdown's grace.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable
from typing import Any

import boto3
import watchtower
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError

from compose.settings import Settings
from services.telemetry.delivery import QUEUE_SIZE, Deadline, Tally, persist
from services.telemetry.events import Event

_log = logging.getLogger(__name__)

_SEND_INTERVAL = 0.5

#: Answers after which the same call may work later. Source: CloudWatch Logs API Reference, "Common Errors".
_TRANSIENT = {
    "ThrottlingException",
    "Throttling",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "InternalFailure",
    "InternalServerError",
    "LimitExceededException",
    "OperationAbortedException",
    "RequestTimeout",
}


class _PatientClient:
    """A CloudWatch Logs client for watchtower: the calls that it makes, patient and counted."""

    def __init__(self, client: Any, tally: Tally, deadline: Deadline) -> None:
        self._client = client
        self._tally = tally
        self._deadline = deadline
        self._outage_told = False

    @property
    def exceptions(self) -> Any:
        return self._client.exceptions

    @property
    def meta(self) -> Any:
        return self._client.meta

    def put_log_events(self, **call: Any) -> Any:
        """Put a batch, however long it takes; raise what will not get better."""
        answer: dict[str, Any] = {}

        def attempt() -> bool:
            try:
                answer.update(self._client.put_log_events(**call))
            except ClientError as error:
                if error.response["Error"]["Code"] == "ResourceNotFoundException":
                    return self._create(call["logGroupName"], call["logStreamName"])
                return self._transient(error)
            except (HTTPClientError, BotoConnectionError) as error:
                return self._transient(error)
            return True

        count = len(call["logEvents"])
        try:
            while persist(attempt, self._deadline):
                if answer:
                    self._outage_told = False
                    self._tally.deliver(count)
                    if "rejectedLogEventsInfo" in answer:
                        _log.warning(
                            "CloudWatch took a batch of %d log lines but rejected some: %s", count, answer["rejectedLogEventsInfo"]
                        )
                    return answer
        except (ClientError, BotoCoreError) as error:
            self._tally.give_up(count)
            _log.warning("CloudWatch refused %d log lines: %s", count, error)
            # As watchtower reads it: done, do not try again.
            return {}
        self._tally.give_up(count)
        return {}

    def create_log_stream(self, **call: Any) -> Any:
        return self._client.create_log_stream(**call)

    def _create(self, group: str, stream: str) -> bool:
        """Make group and stream; True when both exist now."""
        calls: tuple[tuple[Callable[..., Any], dict[str, str]], ...] = (
            (self._client.create_log_group, {"logGroupName": group}),
            (self._client.create_log_stream, {"logGroupName": group, "logStreamName": stream}),
        )
        for create, arguments in calls:
            try:
                create(**arguments)
            except ClientError as error:
                if error.response["Error"]["Code"] != "ResourceAlreadyExistsException" and not self._transient(error):
                    return False
            except (HTTPClientError, BotoConnectionError) as error:
                return self._transient(error)
        return True

    def _transient(self, error: Exception) -> bool:
        """False (try again) for what may pass; raises the rest."""
        if isinstance(error, ClientError):
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if error.response["Error"]["Code"] not in _TRANSIENT and status < 500:
                raise error
        if not self._outage_told:
            self._outage_told = True
            _log.warning("CloudWatch Logs does not answer (%s); lines wait", error)
        return False


class _JsonLine(logging.Formatter):
    """The event as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(record.__dict__["event_fields"], ensure_ascii=False, separators=(",", ":"))


class CloudWatch:
    """The log handler of one process."""

    def __init__(self, settings: Settings) -> None:
        self._tally = Tally()
        self._deadline = Deadline()
        client = boto3.client(
            "logs",
            region_name=settings.aws_region,
            endpoint_url=settings.logs_endpoint or None,
            aws_access_key_id=settings.aws_access_key_id or None,
            aws_secret_access_key=settings.aws_secret_access_key.get_secret_value() or None,
            aws_session_token=settings.aws_session_token.get_secret_value() or None,
            config=Config(connect_timeout=3, read_timeout=10, retries={"max_attempts": 0}, user_agent_extra="parallax"),
        )
        # Its failures are told here; its warnings would repeat them, and in a process that makes warnings errors, stop its thread.
        warnings.filterwarnings("ignore", category=watchtower.WatchtowerWarning)
        self._handler = watchtower.CloudWatchLogHandler(
            log_group_name=settings.log_group,
            log_stream_name=settings.log_stream,
            send_interval=_SEND_INTERVAL,  # type: ignore[arg-type]  # annotated int, used as seconds of a timeout
            create_log_group=False,
            boto3_client=_PatientClient(client, self._tally, self._deadline),  # type: ignore[arg-type]
        )
        self._handler.setFormatter(_JsonLine())

    def log(self, event: Event) -> None:
        """Queue an event."""
        self._tally.accept()
        if self._tally.waiting > QUEUE_SIZE:
            self._tally.give_up(1)
            return
        record = logging.LogRecord("cruddur.events", logging.INFO, "", 0, event.text or event.name, None, None)
        record.created = event.time
        record.event_fields = event.fields
        self._handler.handle(record)

    def stop(self, grace: float) -> None:
        """Send what is queued, for at most ``grace`` seconds, and stop; tell what was lost."""
        self._deadline.begin(grace)
        self._handler.FLUSH_TIMEOUT = grace  # type: ignore[assignment]
        self._handler.close()  # type: ignore[no-untyped-call]
        if self._tally.accepted > self._tally.delivered:
            lost = self._tally.accepted - self._tally.delivered
            _log.warning("CloudWatch: %d of %d log lines were not delivered", lost, self._tally.accepted)
