"""What is configured once for the whole account: one row a subject, its members as JSON.

``encryption`` and ``destinations`` say what the subjects mean. A change is *in force* after :data:`SETTLING_SECONDS`, so that a
client sees the state between (``UPDATING``, ``PENDING``) that AWS shows for minutes, and a client that waits for the end gets it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb
import orjson

from localstack.store import Store

SCHEMA = ("CREATE TABLE xray_configuration (subject VARCHAR PRIMARY KEY, members VARCHAR NOT NULL)",)

#: How long a change stays under way. AWS documents no figure, and takes minutes.
SETTLING_SECONDS = 0.5


def read(store: Store, subject: str) -> dict[str, Any] | None:
    """The members of a subject; None where it was never configured."""
    rows = store.read("SELECT members FROM xray_configuration WHERE subject = ?", [subject])
    return dict(orjson.loads(rows[0][0])) if rows else None


def write(store: Store, subject: str, members: Mapping[str, Any]) -> None:
    text = orjson.dumps(members).decode()

    def work(db: duckdb.DuckDBPyConnection) -> None:
        db.execute("INSERT OR REPLACE INTO xray_configuration VALUES (?, ?)", [subject, text])

    store.transact(work)
