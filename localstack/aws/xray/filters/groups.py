"""Groups: named filter expressions. One that cannot be used is refused when it is given."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import duckdb
import orjson

from localstack.aws import tags
from localstack.aws.accounts import ACCOUNT_ID
from localstack.aws.errors import AwsError
from localstack.aws.xray.filters.compilation import check
from localstack.store import Store

SCHEMA = ("CREATE TABLE xray_group (name VARCHAR PRIMARY KEY, members VARCHAR NOT NULL)",)

#: When a group's filter expression last became another one, epoch seconds; NULL: it is the one it was created with.
CHANGED_SCHEMA = ("ALTER TABLE xray_group ADD COLUMN expression_changed DOUBLE",)

DEFAULT_GROUP = "Default"
MAX_GROUPS = 25


class Groups:
    """Groups of one account in one region; members as in the API's Group. Each account has the group Default."""

    def __init__(self, store: Store, region: str, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._arn = f"arn:aws:xray:{region}:{ACCOUNT_ID}:group/"
        if not store.read("SELECT 1 FROM xray_group WHERE name = ?", [DEFAULT_GROUP]):
            members = {
                "GroupName": DEFAULT_GROUP,
                "GroupARN": self._arn + DEFAULT_GROUP,
                "InsightsConfiguration": {"InsightsEnabled": False, "NotificationsEnabled": False},
            }
            store.transact(lambda db: _write(db, members))

    def all(self) -> list[dict[str, Any]]:
        """Every group by name."""
        return [_members(row) for row in self._store.read("SELECT members FROM xray_group ORDER BY name")]

    def get(self, address: Mapping[str, Any]) -> dict[str, Any]:
        """The group of a GroupName or GroupARN."""
        key, value = _address(address)
        found = [group for group in self.all() if group[key] == value]
        if not found:
            raise _missing(value)
        return found[0]

    def expression(self, by: Literal["name", "arn"], value: str) -> str | None:
        """The filter expression of the group with this name or ARN, empty where it has none; None: there is no such group."""
        return _expression(self.all(), by, value)

    def expression_changed(self, arn: str) -> float | None:
        """When the filter expression of a group last became another one, epoch seconds; None: it never did."""
        rows = self._store.read("SELECT expression_changed FROM xray_group WHERE json_extract_string(members, '$.GroupARN') = ?", [arn])
        return rows[0][0] if rows else None

    def create(self, name: str, expression: str | None, insights: Mapping[str, bool] | None, tagged: Mapping[str, str]) -> dict[str, Any]:
        if not name.isprintable() or name != name.strip():
            raise AwsError("InvalidRequestException", "GroupName must be printable, without white space around it")
        members: dict[str, Any] = {
            "GroupName": name,
            "GroupARN": f"{self._arn}{name}/{secrets.token_hex(16).upper()}",
            "InsightsConfiguration": _insights({}, insights),
        }
        if expression is not None:
            members["FilterExpression"] = expression

        def work(db: duckdb.DuckDBPyConnection) -> None:
            if _named(db, "GroupName", name):
                raise AwsError("InvalidRequestException", f"A group named {name} already exists")
            ((count,),) = db.execute("SELECT count(*) FROM xray_group WHERE name <> ?", [DEFAULT_GROUP]).fetchall()
            if count >= MAX_GROUPS:
                raise AwsError("InvalidRequestException", f"There are {MAX_GROUPS} groups already")
            _check(db, members)
            _write(db, members)
            if tagged:
                tags.change(db, members["GroupARN"], dict(tagged))

        try:
            self._store.transact(work)
        except tags.TooManyTags:
            raise AwsError("InvalidRequestException", f"Tags: a resource has at most {tags.MAX_TAGS}") from None
        return members

    def update(self, address: Mapping[str, Any], expression: str | None, insights: Mapping[str, bool] | None) -> dict[str, Any]:
        key, value = _address(address)

        def work(db: duckdb.DuckDBPyConnection) -> dict[str, Any]:
            groups = _named(db, key, value)
            if not groups:
                raise _missing(value)
            members = groups[0]
            now = None
            if expression is not None:
                if members["GroupName"] == DEFAULT_GROUP:
                    raise AwsError("InvalidRequestException", "The group Default has no filter expression")
                if expression != members.get("FilterExpression", ""):
                    now = self._clock()
                members["FilterExpression"] = expression
                _check(db, members)
            members["InsightsConfiguration"] = _insights(members["InsightsConfiguration"], insights)
            _write(db, members, now)
            return members

        return self._store.transact(work)

    def delete(self, address: Mapping[str, Any]) -> None:
        key, value = _address(address)

        def work(db: duckdb.DuckDBPyConnection) -> None:
            groups = _named(db, key, value)
            if not groups:
                raise _missing(value)
            if groups[0]["GroupName"] == DEFAULT_GROUP:
                raise AwsError("InvalidRequestException", "The group Default cannot be deleted")
            db.execute("DELETE FROM xray_group WHERE name = ?", [groups[0]["GroupName"]])
            tags.forget(db, groups[0]["GroupARN"])

        self._store.transact(work)

    def has(self, arn: str) -> bool:
        """Whether ``arn`` is a group's."""
        return any(group["GroupARN"] == arn for group in self.all())


def _address(members: Mapping[str, Any]) -> tuple[str, str]:
    given = [key for key in ("GroupName", "GroupARN") if members.get(key)]
    if len(given) != 1:
        raise AwsError("InvalidRequestException", "Give either GroupName or GroupARN")
    return given[0], str(members[given[0]])


def _insights(old: Mapping[str, bool], new: Mapping[str, bool] | None) -> dict[str, bool]:
    merged = {"InsightsEnabled": False, "NotificationsEnabled": False} | dict(old) | dict(new or {})
    if merged["NotificationsEnabled"] and not merged["InsightsEnabled"]:
        raise AwsError("InvalidRequestException", "NotificationsEnabled needs InsightsEnabled")
    return merged


def _check(db: duckdb.DuckDBPyConnection, members: Mapping[str, Any]) -> None:
    """Refuse an expression that cannot be used, also for the groups it names, of which the new one may be one."""
    if expression := members.get("FilterExpression"):
        others = [_members(row) for row in db.execute("SELECT members FROM xray_group WHERE name <> ?", [members["GroupName"]]).fetchall()]
        check(expression, lambda by, value: _expression([*others, members], by, value))


def _expression(groups: Sequence[Mapping[str, Any]], by: Literal["name", "arn"], value: str) -> str | None:
    key = "GroupName" if by == "name" else "GroupARN"
    return next((group.get("FilterExpression", "") for group in groups if group[key] == value), None)


def _missing(value: str) -> AwsError:
    return AwsError("InvalidRequestException", f"Group not found: {value}")


def _members(row: Sequence[Any]) -> dict[str, Any]:
    members: dict[str, Any] = orjson.loads(row[0])
    return members


def _named(db: duckdb.DuckDBPyConnection, key: str, value: str) -> list[dict[str, Any]]:
    groups = [_members(row) for row in db.execute("SELECT members FROM xray_group").fetchall()]
    return [group for group in groups if group[key] == value]


def _write(db: duckdb.DuckDBPyConnection, members: Mapping[str, Any], expression_changed: float | None = None) -> None:
    """Store a group; ``expression_changed``: now, where its expression has become another one."""
    db.execute(
        """INSERT INTO xray_group VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE
           SET members = excluded.members, expression_changed = coalesce(excluded.expression_changed, expression_changed)""",
        [members["GroupName"], orjson.dumps(members).decode(), expression_changed],
    )
