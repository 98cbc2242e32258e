"""Long texts beside their rows: what goes in comes out, and files from before are brought up to date whatever they hold."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from localstack import longtext
from localstack.aws.state import APPLICATION, MIGRATIONS, State
from localstack.rollbar import models as rollbar
from localstack.store import Store
from tests.waiting import until

PIECES = st.sampled_from(["", "a", "ü", "\0", "😀", "a" * 3_999, "é" * 4_000, "😀" * 2_001, "b" * 8_000])
TEXTS = st.lists(st.lists(PIECES, max_size=4).map("".join), max_size=4)


@given(TEXTS)
def test_every_text_comes_back(texts: list[str]) -> None:
    with duckdb.connect() as db:
        for statement in longtext.SCHEMA:
            db.execute(statement)
        shorts, numbers, parts = longtext.split(texts)
        longtext.insert(db, parts)
        assert all(len(text.encode()) <= longtext.LONG for text in shorts)
        found = longtext.whole(db, numbers)
        assert [found.get(number, short) for number, short in zip(numbers, shorts, strict=True)] == texts
        assert len(found) == sum(len(text.encode()) > longtext.LONG for text in texts)


def large(number: int) -> str:
    return f"{number} {'ü' * 500_000}"


def test_an_older_file_of_the_local_aws_is_brought_up_to_date(tmp_path: Path) -> None:
    """Its log events are larger, all together, than what DuckDB may have: such a file could not be written any more."""
    path = tmp_path / "aws.duckdb"
    old = Store(path, APPLICATION, MIGRATIONS[: MIGRATIONS.index(longtext.SCHEMA[0])], memory_limit="1GB")
    now = int(time.time() * 1000)
    messages = ["short", "m" * longtext.LONG, *map(large, range(100))]
    old.transact(lambda db: db.execute("INSERT INTO log_group VALUES (1, 'g', 1, NULL, 'STANDARD', NULL, false)").fetchall())
    old.transact(lambda db: db.execute("INSERT INTO log_stream VALUES (1, 1, 's', 1)").fetchall())
    count = len(messages)
    columns = {
        "id": pa.array(range(1, count + 1), pa.int64()),
        "group_id": pa.array([1] * count, pa.int64()),
        "stream_id": pa.array([1] * count, pa.int64()),
        "timestamp": pa.array([now] * count, pa.int64()),
        "ingestion": pa.array([now] * count, pa.int64()),
        "size": pa.array([len(message.encode()) for message in messages], pa.int32()),
        "message": pa.array(messages),
    }
    old.append({"log_event": pa.table(columns)})
    old.close()
    state = State(path, "us-east-1")
    found: list[str] = []
    token: str | None = None
    while token is not None or not found:
        page = state.logs.filter("g", token=token)
        found, token = found + [event.message for event in page.events], page.next_token
    assert found == messages
    state.close()
    state = State(path, "us-east-1")
    state.logs.put("g", "s", [(now + 1, large(count))])
    (newest,) = state.logs.filter("g", limit=1, from_head=False).events
    assert newest.message == large(count)
    state.close()


def test_nothing_is_left_of_an_event_whose_stream_is_deleted_while_it_comes(tmp_path: Path) -> None:
    state = State(tmp_path / "aws.duckdb", "us-east-1")
    state.logs.create_group("g", "STANDARD", None, False, {})
    state.logs.create_stream("g", "s")
    busy, go = threading.Event(), threading.Event()

    def hold(_: duckdb.DuckDBPyConnection) -> None:
        busy.set()
        go.wait(30)

    event = (int(time.time() * 1000), "m" * 9_000)
    with ThreadPoolExecutor(3) as pool:
        calls: list[Future[Any]] = [pool.submit(state.store.transact, hold)]
        assert busy.wait(30)
        calls.append(pool.submit(state.logs.delete_stream, "g", "s"))
        until(lambda: state.store._queue.qsize() == 1, 30, "the deletion in the queue")
        calls.append(pool.submit(state.logs.put, "g", "s", [event]))
        until(lambda: state.store._queue.qsize() == 2, 30, "the event in the queue")
        go.set()
        for call in calls:
            call.result(30)
    assert state.store.read("SELECT (SELECT count(*) FROM log_event), (SELECT count(*) FROM long_text)") == [(0, 0)]
    state.close()


def test_an_older_file_of_the_local_rollbar_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "rollbar.duckdb"
    old = Store(path, "parallax.rollbar", rollbar.MIGRATIONS[:1], memory_limit="1GB", threads=1)
    data = [json.dumps({"n": number, "text": large(number) if number % 2 else "short"}, ensure_ascii=False) for number in range(4)]

    def write(db: duckdb.DuckDBPyConnection) -> None:
        for number, text in enumerate(data):
            db.execute("INSERT INTO occurrence VALUES (?, 1, ?, 'e', 'error', 1, 1, ?)", [number, str(number), text])
        db.execute("INSERT INTO deploy VALUES (1, 'e', '1', '', '', ?, 'succeeded', 1, 1)", ["c" * 64 * 1024])

    old.transact(write)
    old.close()
    state = rollbar.Rollbar(path)
    assert [one["data"] for one in reversed(state.occurrences())] == [json.loads(text) for text in data]
    deploy = state.deploy(1)
    assert deploy is not None
    assert deploy["comment"] == "c" * 64 * 1024
    assert state.delete_occurrence(1)
    state.close()
    with duckdb.connect(str(path)) as db:
        assert db.execute("SELECT count(DISTINCT number) FROM long_text").fetchall() == [(2,)], "of an occurrence and a deploy"
