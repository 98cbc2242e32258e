"""Tags of resources, by ARN."""

from __future__ import annotations

import duckdb
import orjson

from localstack.store import Store

SCHEMA = ("CREATE TABLE resource_tag (arn VARCHAR PRIMARY KEY, tags VARCHAR NOT NULL)",)

MAX_TAGS = 50


class TooManyTags(Exception):
    """A resource would get more than MAX_TAGS tags."""


def read(store: Store, arn: str) -> dict[str, str]:
    rows = store.read("SELECT tags FROM resource_tag WHERE arn = ?", [arn])
    return dict(orjson.loads(rows[0][0])) if rows else {}


def change(db: duckdb.DuckDBPyConnection, arn: str, add: dict[str, str], remove: list[str] | None = None) -> None:
    """Inside a transaction: add or overwrite ``add``, then take away ``remove``."""
    rows = db.execute("SELECT tags FROM resource_tag WHERE arn = ?", [arn]).fetchall()
    tags = (dict(orjson.loads(rows[0][0])) if rows else {}) | add
    for key in remove or []:
        tags.pop(key, None)
    if len(tags) > MAX_TAGS:
        raise TooManyTags(arn)
    db.execute("INSERT OR REPLACE INTO resource_tag VALUES (?, ?)", [arn, orjson.dumps(tags).decode()])


def forget(db: duckdb.DuckDBPyConnection, arn: str) -> None:
    """Inside a transaction: the resource is gone."""
    db.execute("DELETE FROM resource_tag WHERE arn = ?", [arn])
