"""Rollbar's API, version 1, as its pages ask it ("Items", "Occurrences", "Reports", "Deploys", Rollbar API reference).

Every answer is ``{"err": 0, "result": …}``. Pages of items have 100, of occurrences 20, unless ``limit`` says otherwise; the API does
not say how many occurrences there are. Every call raises Unreadable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from compose.settings import Settings
from services.compare.readers.base import Unreadable, mapping
from services.compare.readers.http import PAGE_TIMEOUT, Api

#: Items and occurrences of one page.
ITEMS: Final = 100
OCCURRENCES: Final = 50

STATUSES: Final = ("active", "resolved", "muted", "archived")
LEVELS: Final = ("critical", "error", "warning", "info", "debug")
#: Seconds of the buckets that occurrences are counted in.
BUCKETS: Final = {"minute": 60, "hour": 3600, "day": 86_400}


class Rollbar:
    """Made for one page: nothing is waited for long, nothing tried again."""

    def __init__(self, settings: Settings) -> None:
        self._api = Api(
            "Rollbar",
            settings.rollbar_endpoint,
            {"X-Rollbar-Access-Token": settings.rollbar_read_token.get_secret_value()},
            "ROLLBAR_READ_TOKEN",
            0.0,
            PAGE_TIMEOUT,
        )

    def items(self, filters: Mapping[str, str], page: int) -> tuple[list[Mapping[str, Any]], int]:
        """One page of items, last seen first, and how many there are over all pages. ``filters`` are the API's own parameters."""
        result = self._get("items", {**filters, "page": page, "limit": ITEMS})
        return [mapping(item) for item in result["items"]], int(result["total_count"])

    def item(self, item_id: int) -> Mapping[str, Any]:
        return mapping(self._get(f"item/{item_id}"))

    def item_of(self, uuid: str) -> Mapping[str, Any]:
        """The item that an occurrence with this uuid, which its sender gave it, belongs to."""
        return mapping(self._get("item", {"uuid": uuid}))

    def occurrences(self, page: int, item_id: int | None = None) -> list[Mapping[str, Any]]:
        """One page of occurrences, newest first; of one item, or of all."""
        path = "instances" if item_id is None else f"item/{item_id}/instances"
        result = self._get(path, {"page": page, "limit": OCCURRENCES})
        return [mapping(each) for each in result["instances"]]

    def occurrence(self, occurrence_id: int) -> Mapping[str, Any]:
        return mapping(self._get(f"instance/{occurrence_id}"))

    def occurrence_counts(self, bucket: int, environment: str = "") -> list[tuple[float, int]]:
        """When each of the newest 60 buckets begins (epoch seconds) and the occurrences of level error and critical in it, oldest first."""
        named = {"environments": environment} if environment else {}
        result = self._get("reports/occurrence_counts", {"bucket_size": bucket, **named})
        return [(float(start), int(count)) for start, count in result]

    def top_active_items(self, hours: int, environment: str = "") -> list[tuple[Mapping[str, Any], Sequence[int]]]:
        """The ten most active items of the newest hours, and the occurrences of each by hour, oldest first."""
        named = {"environments": environment} if environment else {}
        result = self._get("reports/top_active_items", {"hours": hours, **named})
        return [(mapping(each["item"]), [int(count) for count in each["counts"]]) for each in result]

    def deploys(self, page: int) -> list[Mapping[str, Any]]:
        """One page of deploys, newest first."""
        return [mapping(each) for each in self._get("deploys", {"page": page})["deploys"]]

    def _get(self, path: str, parameters: Mapping[str, Any] | None = None) -> Any:
        answer = self._api.call("GET", f"/api/1/{path}", params=parameters)
        if not isinstance(answer, dict) or answer.get("err") != 0 or "result" not in answer:
            said = answer.get("message") if isinstance(answer, dict) else None
            raise Unreadable(f"Rollbar answered /api/1/{path} with {said or 'no result'!r}")
        return answer["result"]
