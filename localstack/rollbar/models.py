"""The state of the local Rollbar: one project with its items, occurrences and deploys. Knows no HTTP.

Every method that writes returns when it is committed (see :class:`localstack.store.Store`). Times are epoch seconds.
"""

from __future__ import annotations

import json
import time
import uuid as uuids
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import duckdb

from localstack import longtext
from localstack.rollbar.payload import LEVELS, Occurrence
from localstack.store import Store

PROJECT_ID = 1

# Far apart from each other and from counters, so that whoever takes one for another finds nothing instead of the wrong thing.
FIRST_ITEM_ID = 272_500_000
FIRST_OCCURRENCE_ID = 300_000_000_000
FIRST_DEPLOY_ID = 12_000_000

ITEMS_A_PAGE = 100
OCCURRENCES_A_PAGE = 20
DEPLOYS_A_PAGE = 20

MIGRATIONS = (
    """
    CREATE TABLE item (
        id BIGINT, counter BIGINT, environment VARCHAR, platform VARCHAR, framework VARCHAR, hash VARCHAR, title VARCHAR,
        title_lock BOOLEAN, status VARCHAR, level VARCHAR, level_lock BOOLEAN, total_occurrences BIGINT, assigned_user_id BIGINT,
        resolved_in_version VARCHAR, first_occurrence_id BIGINT, first_occurrence_timestamp BIGINT, last_occurrence_id BIGINT,
        last_occurrence_timestamp BIGINT, activating_occurrence_id BIGINT, last_activated_timestamp BIGINT,
        last_resolved_timestamp BIGINT
    );
    CREATE TABLE occurrence (
        id BIGINT, item_id BIGINT, uuid VARCHAR, environment VARCHAR, level VARCHAR, timestamp BIGINT, received DOUBLE, data VARCHAR
    );
    CREATE TABLE deploy (
        id BIGINT, environment VARCHAR, revision VARCHAR, local_username VARCHAR, rollbar_username VARCHAR, comment VARCHAR,
        status VARCHAR, start_time BIGINT, finish_time BIGINT
    );
    CREATE TABLE tally (name VARCHAR, value BIGINT);
    INSERT INTO tally VALUES ('items', 0), ('occurrences', 0), ('deploys', 0), ('discarded', 0);
    """,
    *longtext.SCHEMA,
    *longtext.moved("occurrence", "data"),
    *longtext.moved("deploy", "comment"),
)


class Status(StrEnum):
    """What a person decided about an item."""

    ACTIVE = "active"
    RESOLVED = "resolved"
    MUTED = "muted"
    ARCHIVED = "archived"


class DeployStatus(StrEnum):
    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"


@dataclass(frozen=True)
class Accepted:
    """What became of an occurrence."""

    uuid: str
    #: The uuid was known already, so this one was discarded.
    discarded: bool


@dataclass(frozen=True)
class Page:
    """Rows of one page, and how many there are over all pages."""

    rows: list[dict[str, Any]]
    total: int


class Rollbar:
    """One Rollbar project, kept in a DuckDB file. ``now`` is the clock, in epoch seconds."""

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self._store = Store(path, application="parallax.rollbar", migrations=MIGRATIONS, memory_limit="128MB", threads=1)
        self._now = now

    def close(self) -> None:
        self._store.close()

    # -- occurrences

    def add(self, occurrence: Occurrence) -> Accepted:
        """Store an occurrence, in the item of its fingerprint and environment; discard it when its uuid is known."""
        received = self._now()
        uuid = _text(occurrence.uuid or uuids.uuid4().hex)
        timestamp = occurrence.timestamp if occurrence.timestamp is not None else int(received)
        data = json.dumps(
            occurrence.data | {"uuid": uuid, "metadata": {"customer_timestamp": occurrence.timestamp, "timestamp_ms": int(received * 1000)}}
        )
        (data,), (long,), parts = longtext.split([data])
        environment, fingerprint, title = _text(occurrence.environment), _text(occurrence.fingerprint), _text(occurrence.title)

        def work(db: duckdb.DuckDBPyConnection) -> Accepted:
            if db.execute("SELECT 1 FROM occurrence WHERE uuid = ?", [uuid]).fetchone():
                _next(db, "discarded")
                return Accepted(uuid, discarded=True)
            occurrence_id = FIRST_OCCURRENCE_ID + _next(db, "occurrences")
            found = db.execute("SELECT id, status FROM item WHERE hash = ? AND environment = ?", [fingerprint, environment]).fetchone()
            if found is None:
                counter = _next(db, "items")
                item_id = FIRST_ITEM_ID + counter
                db.execute(
                    "INSERT INTO item VALUES (?, ?, ?, ?, ?, ?, ?, false, ?, ?, false, 1, NULL, NULL, ?, ?, ?, ?, ?, ?, NULL)",
                    [item_id, counter, environment, _text(occurrence.platform), _text(occurrence.framework), fingerprint, title,
                     Status.ACTIVE.value, occurrence.level, occurrence_id, timestamp, occurrence_id, timestamp, occurrence_id, timestamp],
                )  # fmt: skip
            else:
                item_id, status = found
                db.execute(
                    "UPDATE item SET total_occurrences = total_occurrences + 1, last_occurrence_id = ?, "
                    "last_occurrence_timestamp = greatest(last_occurrence_timestamp, ?) WHERE id = ?",
                    [occurrence_id, timestamp, item_id],
                )
                if status in (Status.RESOLVED, Status.ARCHIVED):
                    # It happened again: Rollbar reactivates the item and counts from here. A muted item stays muted.
                    db.execute(
                        "UPDATE item SET status = ?, total_occurrences = 1, activating_occurrence_id = ?, last_activated_timestamp = ? "
                        "WHERE id = ?",
                        [Status.ACTIVE.value, occurrence_id, timestamp, item_id],
                    )
            db.execute(
                "INSERT INTO occurrence VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [occurrence_id, item_id, uuid, environment, occurrence.level, timestamp, received, data, long],
            )
            longtext.insert(db, parts)
            return Accepted(uuid, discarded=False)

        return self._store.transact(work)

    def occurrences(
        self, item_id: int | None = None, page: int = 1, before: int | None = None, limit: int = OCCURRENCES_A_PAGE
    ) -> list[dict[str, Any]]:
        """One page of occurrences, newest first; of one item, or of all. ``before`` (an occurrence id) takes the place of the page."""
        conditions = ["true"]
        parameters: list[Any] = []
        if item_id is not None:
            conditions.append("item_id = ?")
            parameters.append(item_id)
        if before is not None:
            conditions.append("id < ?")
            parameters.append(before)
        offset = 0 if before is not None else (page - 1) * limit
        return self._occurrences(f"{' AND '.join(conditions)} ORDER BY id DESC LIMIT ? OFFSET ?", [*parameters, limit, offset])

    def occurrence(self, occurrence_id: int) -> dict[str, Any] | None:
        found = self._occurrences("id = ?", [occurrence_id])
        return found[0] if found else None

    def _occurrences(self, condition: str, parameters: Sequence[Any]) -> list[dict[str, Any]]:
        with self._store.transaction() as db:
            rows = db.execute(f"SELECT id, item_id, timestamp, data, long_text FROM occurrence WHERE {condition}", parameters).fetchall()
            texts = longtext.whole(db, (row[-1] for row in rows))
        return [_occurrence(identity, item, timestamp, texts.get(long, data)) for identity, item, timestamp, data, long in rows]

    def delete_occurrence(self, occurrence_id: int) -> bool:
        """Delete an occurrence for good; whether there was one. The item's counts stay as they are."""

        def work(db: duckdb.DuckDBPyConnection) -> bool:
            if db.execute("SELECT 1 FROM occurrence WHERE id = ?", [occurrence_id]).fetchone() is None:
                return False
            longtext.delete(db, "occurrence WHERE id = ?", parameters=[occurrence_id])
            db.execute("DELETE FROM occurrence WHERE id = ?", [occurrence_id])
            return True

        return self._store.transact(work)

    # -- items

    def items(
        self,
        *,
        statuses: Sequence[str] = (),
        levels: Sequence[str] = (),
        environments: Sequence[str] = (),
        frameworks: Sequence[str] = (),
        ids: Sequence[int] = (),
        words: Sequence[str] = (),
        page: int = 1,
        limit: int = ITEMS_A_PAGE,
    ) -> Page:
        """One page of items, last seen first. Each filter takes any of its values; all ``words`` must be in the title."""
        conditions = ["true"]
        parameters: list[Any] = []
        for column, values in (
            ("status", statuses), ("level", levels), ("environment", environments), ("framework", frameworks), ("id", ids),
        ):  # fmt: skip
            if values:
                conditions.append(f"list_contains(?, {column})")
                parameters.append([_text(value) if isinstance(value, str) else value for value in values])
        for word in words:
            conditions.append("contains(lower(title), ?)")
            parameters.append(_text(word.lower()))
        where = " AND ".join(conditions)
        total = self._store.read(f"SELECT count(*) FROM item WHERE {where}", parameters)[0][0]
        rows = self._store.read_dicts(
            f"SELECT * FROM item WHERE {where} ORDER BY last_occurrence_id DESC LIMIT ? OFFSET ?", [*parameters, limit, (page - 1) * limit]
        )
        return Page([_item(row) for row in rows], total)

    def item(self, item_id: int) -> dict[str, Any] | None:
        return self._one_item("id = ?", item_id)

    def item_by_counter(self, counter: int) -> dict[str, Any] | None:
        return self._one_item("counter = ?", counter)

    def item_by_uuid(self, uuid: str) -> dict[str, Any] | None:
        """The item that holds the occurrence with this uuid."""
        return self._one_item("id IN (SELECT item_id FROM occurrence WHERE uuid = ?)", _text(uuid))

    def change_item(self, item_id: int, changes: Mapping[str, Any]) -> dict[str, Any] | None:
        """Set ``status``, ``level``, ``title``, ``assigned_user_id`` or ``resolved_in_version``; the item, or None when there is none."""
        columns = dict(changes)
        if changes.get("status") == Status.RESOLVED:
            columns["last_resolved_timestamp"] = int(self._now())
        elif "status" in changes:
            # Only a resolved item was resolved in a version.
            columns["resolved_in_version"] = None
        else:
            columns.pop("resolved_in_version", None)
        if changes.get("status") == Status.ACTIVE:
            columns["last_activated_timestamp"] = int(self._now())
        # A person's choice stays when the next occurrence says otherwise.
        columns |= {f"{name}_lock": True for name in ("level", "title") if name in changes}

        def work(db: duckdb.DuckDBPyConnection) -> None:
            if not columns:
                return
            assignments = ", ".join(f"{name} = ?" for name in columns)
            values = [_text(value) if isinstance(value, str) else value for value in columns.values()]
            db.execute(f"UPDATE item SET {assignments} WHERE id = ?", [*values, item_id])

        self._store.transact(work)
        return self.item(item_id)

    # -- reports

    def occurrence_counts(self, bucket: int, buckets: int, environments: Sequence[str] = ()) -> list[tuple[int, int]]:
        """(start, occurrences of level error and critical) of the newest ``buckets`` buckets of ``bucket`` seconds, oldest first."""
        last = int(self._now()) // bucket * bucket
        first = last - (buckets - 1) * bucket
        condition, names = _in_environments(environments)
        rows = self._store.read(
            "SELECT timestamp // ? * ?, count(*) FROM occurrence WHERE timestamp >= ? AND timestamp < ? AND level IN ('error', 'critical') "
            f"{condition} GROUP BY 1",
            [bucket, bucket, first, last + bucket, *names],
        )
        counts = {int(start): int(count) for start, count in rows}
        return [(start, counts.get(start, 0)) for start in range(first, last + bucket, bucket)]

    def top_active_items(self, hours: int, environments: Sequence[str] = (), limit: int = 10) -> list[dict[str, Any]]:
        """The active items with most occurrences in the newest hours, highest level first, each with its counts by hour, oldest first."""
        end = int(self._now()) // 3600 * 3600 + 3600
        first = end - hours * 3600
        condition, names = _in_environments(environments)
        rows = self._store.read(
            "SELECT item_id, (timestamp - ?) // 3600, count(*) FROM occurrence WHERE timestamp >= ? AND timestamp < ? "
            f"{condition} GROUP BY 1, 2",
            [first, first, end, *names],
        )
        counts: dict[int, list[int]] = {}
        for item_id, hour, count in rows:
            counts.setdefault(item_id, [0] * hours)[int(hour)] = int(count)
        if not counts:
            return []
        active = self.items(statuses=[Status.ACTIVE], ids=list(counts), limit=len(counts)).rows
        active.sort(key=lambda item: (-LEVELS[item["level"]], -sum(counts[item["id"]]), item["id"]))
        return [{"item": _reported(item, sum(counts[item["id"]])), "counts": counts[item["id"]]} for item in active[:limit]]

    # -- deploys

    def add_deploy(self, deploy: Mapping[str, Any]) -> int:
        """Record a deploy; its id."""
        now = int(self._now())
        status = deploy.get("status") or DeployStatus.SUCCEEDED.value
        finish = None if status == DeployStatus.STARTED else now
        texts = [_text(deploy.get(name) or "") for name in ("environment", "revision", "local_username", "rollbar_username")]
        (comment,), (long,), parts = longtext.split([_text(deploy.get("comment") or "")])

        def work(db: duckdb.DuckDBPyConnection) -> int:
            deploy_id = FIRST_DEPLOY_ID + _next(db, "deploys")
            db.execute("INSERT INTO deploy VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", [deploy_id, *texts, comment, status, now, finish, long])
            longtext.insert(db, parts)
            return deploy_id

        return self._store.transact(work)

    def finish_deploy(self, deploy_id: int, status: str) -> dict[str, Any] | None:
        """Set a deploy's status; the deploy, or None when there is none."""
        finish = None if status == DeployStatus.STARTED else int(self._now())
        self._store.transact(
            lambda db: db.execute("UPDATE deploy SET status = ?, finish_time = ? WHERE id = ?", [status, finish, deploy_id])
        )
        return self.deploy(deploy_id)

    def deploy(self, deploy_id: int) -> dict[str, Any] | None:
        found = self._deploys("WHERE id = ?", [deploy_id])
        return found[0] if found else None

    def deploys(self, page: int = 1) -> list[dict[str, Any]]:
        """One page of deploys, newest first."""
        return self._deploys("ORDER BY id DESC LIMIT ? OFFSET ?", [DEPLOYS_A_PAGE, (page - 1) * DEPLOYS_A_PAGE])

    def _deploys(self, condition: str, parameters: Sequence[Any]) -> list[dict[str, Any]]:
        rows = self._store.read_dicts(f"SELECT * FROM deploy {condition}", parameters)
        # No deploy is ever deleted: its comment need not be read in the same transaction.
        texts = longtext.whole(self._store.cursor(), (row["long_text"] for row in rows))
        return [_deploy(row | {"comment": texts.get(row.pop("long_text"), row["comment"])}) for row in rows]

    # -- what was counted

    def tallies(self) -> dict[str, int]:
        """How many items, occurrences and deploys were stored, and how many occurrences were discarded as duplicates."""
        return {name: int(value) for name, value in self._store.read("SELECT name, value FROM tally")}

    def _one_item(self, condition: str, value: Any) -> dict[str, Any] | None:
        rows = self._store.read_dicts(f"SELECT * FROM item WHERE {condition}", [value])
        return _item(rows[0]) if rows else None


def _next(db: duckdb.DuckDBPyConnection, name: str) -> int:
    """Count one more; the new number. In the same transaction as what is counted, so that none is used twice."""
    row = db.execute("UPDATE tally SET value = value + 1 WHERE name = ? RETURNING value", [name]).fetchone()
    assert row is not None
    return int(row[0])


def _in_environments(environments: Sequence[str]) -> tuple[str, list[list[str]]]:
    """A condition on occurrences and its parameters; none when every environment is meant."""
    return ("AND list_contains(?, environment)", [[_text(name) for name in environments]]) if environments else ("", [])


def _text(value: str) -> str:
    """``value`` as a column can hold it: JSON may carry half of a surrogate pair, which is no Unicode text. The payload keeps it."""
    return value.encode("utf-8", "replace").decode("utf-8").replace("\0", "\N{REPLACEMENT CHARACTER}")


def _item(row: dict[str, Any]) -> dict[str, Any]:
    """An item as Rollbar's API shows it. Nulls are what Rollbar knows and a local one cannot."""
    return row | {
        "project_id": PROJECT_ID,
        "public_item_id": None,
        "integrations_data": None,
        "controlling_id": row["id"],
        "group_item_id": None,
        "group_status": 1,
        "last_modified_by": None,
        "level_lock": int(row["level_lock"]),
        "title_lock": int(row["title_lock"]),
        "unique_occurrences": None,
    }


def _reported(item: Mapping[str, Any], occurrences: int) -> dict[str, Any]:
    """An item as the reports show it: fewer keys, the level as a number."""
    names = ("id", "counter", "environment", "framework", "last_occurrence_timestamp", "project_id", "title", "unique_occurrences")
    return {name: item[name] for name in names} | {"level": LEVELS[item["level"]], "occurrences": occurrences}


def _occurrence(identity: int, item_id: int, timestamp: int, data: str) -> dict[str, Any]:
    """An occurrence as Rollbar's API shows it."""
    return {
        "id": identity,
        "item_id": item_id,
        "timestamp": timestamp,
        "project_id": PROJECT_ID,
        "version": 2,
        "billable": 1,
        "data": json.loads(data),
    }


def _deploy(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"project_id": PROJECT_ID, "user_id": None}
