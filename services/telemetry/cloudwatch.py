"""CloudWatch Logs by watchtower: one JSON line for each log event.

watchtower is kept away from the requests by its queue, and from trouble by the client it is given:

* Its constructor would look for the log group, and raise when nobody answers; here group and stream are made when
  CloudWatch first says that they do not exist, on watchtower's own thread.
* It drops a batch after five failures that follow each other within moments. Here the client itself tries again, with
  pauses, until CloudWatch is back or the process ends; only what CloudWatch refuses for good goes back to watchtower.
* Each line put on its queue wakes its thread, which then competes with the requests for the interpreter: an eighth of the service's
  time under load. Here the lines of a quarter of a second are put on it at once, by a thread of their own.
* Its queue is unbounded; here at most :data:`services.telemetry.delivery.QUEUE_SIZE` lines wait, and the rest is counted.
* ``close()`` waits up to 30 s; here for the shutdown's grace.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections import deque
from collections.abc import Callable
from typing import Any

import orjson
import watchtower
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError

from compose.settings import Settings
from services.telemetry import aws
from services.telemetry.delivery import QUEUE_SIZE, Deadline, Tally, persist
from services.telemetry.events import Event

_log = logging.getLogger(__name__)

#: Seconds between two batches of watchtower's, and between two deliveries to watchtower.
_SEND_INTERVAL = 0.5
_HAND_OVER_INTERVAL = 0.25

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
        return orjson.dumps(record.__dict__["event_fields"]).decode()


class CloudWatch:
    """The log handler of one process."""

    def __init__(self, settings: Settings) -> None:
        self._tally = Tally()
        self._deadline = Deadline()
        client = aws.client(
            "logs",
            settings,
            settings.logs_endpoint,
            Config(connect_timeout=3, read_timeout=10, retries={"max_attempts": 0}, user_agent_extra="parallax"),
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
        #: Events that watchtower does not have yet. Appending is atomic and wakes nobody.
        self._events: deque[Event] = deque()
        self._stopping = threading.Event()
        self._courier = threading.Thread(target=self._hand_over_until_stopped, name="cloudwatch-courier", daemon=True)
        self._courier.start()

    def log(self, event: Event) -> None:
        """Queue an event."""
        self._tally.accept()
        if self._tally.waiting > QUEUE_SIZE:
            self._tally.give_up(1)
            return
        self._events.append(event)

    def _hand_over_until_stopped(self) -> None:
        while not self._stopping.wait(_HAND_OVER_INTERVAL):
            self._hand_over()
        self._hand_over()

    def _hand_over(self) -> None:
        """Give watchtower what has come since the last time."""
        while self._events:
            event = self._events.popleft()
            record = logging.LogRecord("cruddur.events", logging.INFO, "", 0, event.text or event.name, None, None)
            record.created = event.time
            record.__dict__["event_fields"] = event.fields
            try:
                self._handler.handle(record)
            except Exception:
                # The thread must live on.
                self._tally.give_up(1)
                _log.exception("a log line could not be queued")

    def stop(self, grace: float) -> None:
        """Send what is queued, for at most ``grace`` seconds, and stop; tell what was lost."""
        self._deadline.begin(grace)
        self._stopping.set()
        self._courier.join(grace)
        self._handler.FLUSH_TIMEOUT = grace  # type: ignore[assignment]
        self._handler.close()  # type: ignore[no-untyped-call]
        if self._tally.accepted > self._tally.delivered:
            lost = self._tally.accepted - self._tally.delivered
            _log.warning("CloudWatch: %d of %d log lines were not delivered", lost, self._tally.accepted)
