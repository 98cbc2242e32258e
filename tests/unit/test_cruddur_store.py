"""Cruddur's storage on SQLite and on a real PostgreSQL: the same behaviour on both."""

from __future__ import annotations

import multiprocessing
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from services.cruddur import seed
from services.cruddur.store import FEED_LENGTH, Store, StoreError, StoreUnavailable
from tests import postgres

ADA, ALAN = seed.handles()[:2]


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    with postgres.server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new folder' / 'cruddur.sqlite'}"
    server: str = request.getfixturevalue("postgres_url")
    name = f"t{abs(hash(str(tmp_path)))}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.replace("/postgres?", f"/{name}?")


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    store = Store(url)
    store.prepare()
    yield store
    store.close()


def user(store: Store, handle: str) -> dict[str, str]:
    found = store.user(handle)
    assert found is not None
    return found


def test_a_new_database_is_seeded(store: Store) -> None:
    assert len(store.home()) == FEED_LENGTH
    assert all(store.user(handle) is not None for handle in seed.handles()[::50])
    assert all(store.has_activity(uuid) for uuid in seed.activity_uuids()[::50])
    assert store.notifications(None)
    assert store.message_groups(user(store, ADA))


def test_seeding_again_adds_nothing_and_keeps_what_users_wrote(store: Store, url: str) -> None:
    created = store.create_activity(user(store, ADA), "kept", None)
    again = Store(url)
    again.prepare()
    assert [activity["uuid"] for activity in again.search("kept")] == [created["uuid"]]
    assert len(again.message_groups(user(again, ADA))) == len(store.message_groups(user(store, ADA)))
    again.close()


def _prepare(url: str) -> int:
    store = Store(url)
    store.prepare()
    found = len(store.search("Thinking about"))
    store.close()
    return found


def test_workers_that_start_together_seed_once(url: str) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        counts = pool.map(_prepare, [url] * 8)
    assert set(counts) == {FEED_LENGTH}


def test_the_feed_is_newest_first_and_forgets_what_expired(store: Store) -> None:
    ada = user(store, ADA)
    kept = store.create_activity(ada, "stays", timedelta(days=1))
    store.create_activity(ada, "gone", timedelta(seconds=-1))
    feed = store.home()
    assert feed[0]["uuid"] == kept["uuid"]
    assert feed[0]["expires_at"] > feed[0]["created_at"]
    assert "gone" not in {activity["message"] for activity in feed}
    assert [activity["created_at"] for activity in feed] == sorted((a["created_at"] for a in feed), reverse=True)
    # In the user's own list it is still there.
    assert "gone" in {activity["message"] for activity in store.activities_of(ada)}


def test_replies_are_notifications_of_the_one_who_was_answered(store: Store) -> None:
    ada, alan = user(store, ADA), user(store, ALAN)
    question = store.create_activity(ada, "a question", None)
    answer = store.create_activity(alan, "an answer", None, reply_to=question["uuid"])
    assert store.notifications(ada)[0]["uuid"] == answer["uuid"]
    assert store.notifications(None)[0]["uuid"] == answer["uuid"]
    assert answer["uuid"] not in {one["uuid"] for one in store.notifications(alan)}
    assert answer["uuid"] not in {one["uuid"] for one in store.home()}


def test_search_takes_no_wildcards_and_no_case(store: Store) -> None:
    ada = user(store, ADA)
    store.create_activity(ada, "100% sure_thing", None)
    assert len(store.search("100%")) == 1
    assert len(store.search("SURE_T")) == 1
    assert store.search("sure-t") == []
    assert store.search("%_%") == []
    assert store.search("'; DROP TABLE users; --") == []


def test_messages_run_both_ways_and_form_a_group(store: Store) -> None:
    ada, alan, other = user(store, ADA), user(store, ALAN), user(store, seed.handles()[2])
    first = store.create_message(ada, alan, "héllo 🙂")
    second = store.create_message(alan, ada, "hi")
    assert [m["uuid"] for m in store.messages_between(ada, alan)][:2] == [second["uuid"], first["uuid"]]
    assert [m["handle"] for m in store.messages_between(alan, ada)][:2] == [ALAN, ADA]
    assert store.messages_between(ada, alan)[1]["message"] == "héllo 🙂"
    assert store.message_groups(ada)[0]["handle"] == ALAN
    assert first["uuid"] not in {m["uuid"] for m in store.messages_between(ada, other)}


def test_many_writers_at_once_all_get_through(store: Store) -> None:
    ada, alan = user(store, ADA), user(store, ALAN)
    with ThreadPoolExecutor(16) as pool:
        uuids = {row["uuid"] for row in pool.map(lambda n: store.create_message(ada, alan, f"burst {n}"), range(100))}
    assert len(uuids) == 100


def test_a_foreign_sqlite_file_is_refused_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "cruddur.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE precious (value TEXT)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"cruddur\.sqlite is the database of another program; move it away, or set DATABASE_URL"):
        Store(f"sqlite:///{path}").prepare()
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"this is not a database at all, but text" * 50, b"SQLite format 3\0" + b"\xff" * 4_000])
def test_a_broken_sqlite_file_is_refused_and_not_touched(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cruddur.sqlite"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"cruddur\.sqlite cannot be used as cruddur's database"):
        Store(f"sqlite:///{path}").prepare()
    assert path.read_bytes() == content


def test_a_database_that_is_away_is_told_apart_from_a_broken_one(tmp_path: Path) -> None:
    store = Store(f"postgresql://cruddur@/postgres?host={tmp_path}")
    with pytest.raises(StoreUnavailable):
        store.prepare()


@pytest.mark.parametrize("url", ["nonsense", "mysql://x", "nosuch://x", "sqlite://", "sqlite:///:memory:"])
def test_a_url_that_cannot_work_is_refused_at_once(url: str) -> None:
    with pytest.raises(StoreError, match="DATABASE_URL"):
        Store(url)
