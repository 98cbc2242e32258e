"""Rollbar read back: occurrences, newest first, until Rollbar took them before the run began.

Wire facts, from Rollbar's API reference ("List all occurrences"): pages of 20, descending by occurrence id, "which is approximately
descending by timestamp"; a read token; on plans without RQL the occurrences of a run are found by looking at each one's ``custom``.
From "Timestamps" (Rollbar documentation): the times in answers are those of Rollbar's servers, and what the client gave is
``metadata.customer_timestamp``. ``metadata.timestamp_ms`` beside it is when the item arrived.

So what an occurrence says of its own time decides nothing: a replay, a retry after an outage or another client's clock may fill pages with
old times long after the run. Where to stop is told by when Rollbar took an occurrence, for nothing of a run is taken before the run
began. The work grows with what Rollbar took since then, whatever it holds from before. What remains uncertain:

- how far ids and the times of taking disagree, and this machine's clock and Rollbar's: :data:`APART` is allowed, nobody promises it;
- whether an occurrence may become visible behind a page of newer ones that was read already: a later look stops at the first page
  that holds nothing new, and only another ``make compare`` would find it;
- ``timestamp_ms``, which the reference does not name: where it is absent, ``timestamp`` is taken for the server's time, as documented.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from compose.settings import Settings, SignalPath
from services.compare.readers.base import Batch, Observation, Unreadable, Window, mapping, text
from services.compare.readers.http import PAGE_TIMEOUT, TIMEOUT, Api
from services.cruddur.signals import OTEL_SERVICE

#: Seconds by which occurrences may be listed out of the order in which Rollbar took them, or by which its clock is behind this one.
APART: Final = 120.0
#: Levels where Rollbar gives them as numbers.
LEVELS: Final = {10: "debug", 20: "info", 30: "warning", 40: "error", 50: "critical"}


class RollbarReader:
    """Remembers what it has read, so that a later look only pages down to what is new. ``documents``: each observation comes with its
    occurrence. ``hurry``: for a page that somebody waits for, so nothing is waited for long, nor tried again."""

    paths = frozenset({SignalPath.ROLLBAR_SDK})

    def __init__(self, settings: Settings, documents: bool = False, hurry: bool = False) -> None:
        self._documents = documents
        self.pause = 5.0 if settings.mode == "online" else 0.5
        self._api = Api(
            "Rollbar",
            settings.rollbar_endpoint,
            {"X-Rollbar-Access-Token": settings.rollbar_read_token.get_secret_value()},
            "ROLLBAR_READ_TOKEN",
            0.0 if hurry else settings.compare_timeout,
            PAGE_TIMEOUT if hurry else TIMEOUT,
        )
        self._known: set[int] = set()

    def read(self, window: Window, wanted: Collection[str] | None) -> Iterator[Batch]:
        if wanted is None:
            self._known.clear()
        for instances in self._back_to(window.start):
            fresh = [each for each in instances if each["id"] not in self._known]
            self._known |= {each["id"] for each in fresh}
            yield Batch([observation(each, self._documents) for each in fresh])
            if wanted is not None and not fresh:
                return

    def trace(self, trace_id: str, around: float) -> list[Observation]:
        return [
            each
            for instances in self._back_to(around)
            for instance in instances
            if (each := observation(instance, document=True)).trace_id == trace_id
        ]

    def _back_to(self, start: float) -> Iterator[list[dict[str, Any]]]:
        """Pages, newest first, down to the first that Rollbar took before ``start`` (epoch seconds) as a whole."""
        for instances in self._pages():
            yield instances
            if all(taken(each) < start - APART for each in instances):
                return

    def _pages(self) -> Iterator[list[dict[str, Any]]]:
        page = 1
        while True:
            answer = self._api.call("GET", "/api/1/instances", params={"page": page})
            if not isinstance(answer, dict) or answer.get("err") != 0 or "instances" not in (answer.get("result") or {}):
                raise Unreadable(f"Rollbar answered the list of occurrences with {answer.get('message', 'no result')!r}")
            instances = answer["result"]["instances"]
            if not instances:
                return
            yield instances
            page += 1


def taken(instance: Mapping[str, Any]) -> float:
    """When Rollbar took an occurrence, epoch seconds by its clock, whatever the client's said."""
    milliseconds = mapping(instance["data"].get("metadata")).get("timestamp_ms")
    return float(milliseconds / 1000 if isinstance(milliseconds, (int, float)) else instance["timestamp"])


def observation(instance: Mapping[str, Any], document: bool = False) -> Observation:
    """An occurrence as an observation."""
    data = instance["data"]
    custom = mapping(data.get("custom"))
    level = data.get("level", "error")
    level = LEVELS.get(level, str(level)) if isinstance(level, int) else str(level)
    billable = instance.get("billable", 1)
    return Observation(
        path=SignalPath.ROLLBAR_SDK,
        kind="item",
        service=OTEL_SERVICE,
        name=level,
        id=str(data.get("uuid") or instance["id"]),
        trace_id=text(custom.get("trace_id")),
        run=text(custom.get("run")),
        attributes={key: value for key, value in custom.items() if value is not None},
        start=data.get("timestamp") or instance.get("timestamp"),
        error=level in ("error", "critical"),
        units=int(billable) if billable is not None else 1,
        document=dict(data) if document else None,
    )
