"""The store of the local vendors: group commit, reads beside writes, and files it refuses."""

from __future__ import annotations

import gc
import hashlib
import sqlite3
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from compose.settings import ROOT
from localstack.store import Store, StoreClosed, StoreError, registered
from tests.waiting import until

APPLICATION = "parallax.test"
MIGRATIONS = ["CREATE TABLE item (id BIGINT, name VARCHAR)"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "test.duckdb"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store(path, APPLICATION, MIGRATIONS)
    yield store
    store.close()


def rows(*ids: int) -> pa.Table:
    return pa.table({"name": [f"n{i}" for i in ids], "id": list(ids)})


def fill(path: Path) -> None:
    """A closed file with one row."""
    store = Store(path, APPLICATION, MIGRATIONS)
    store.append({"item": rows(1)})
    store.close()


def digest(path: Path) -> dict[str, str]:
    """Every file in the folder of ``path`` with what is in it."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in path.parent.iterdir()}


# -- writing


def test_append_returns_when_the_rows_can_be_read(store: Store) -> None:
    store.append({"item": rows(1, 2)})
    assert store.read("SELECT id, name FROM item ORDER BY id") == [(1, "n1"), (2, "n2")]
    assert store.read_dicts("SELECT id FROM item WHERE name = ?", ["n2"]) == [{"id": 2}]


def test_append_of_nothing_writes_nothing(store: Store) -> None:
    store.append({})
    store.append({"item": rows()})
    assert store.read("SELECT count(*) FROM item") == [(0,)]


def test_transact_returns_what_the_work_returns(store: Store) -> None:
    assert store.transact(lambda db: db.execute("INSERT INTO item VALUES (1, 'a') RETURNING id").fetchall()) == [(1,)]


def test_a_result_that_work_left_half_read_does_not_disturb_the_group(store: Store) -> None:
    store.append({"item": rows(*range(5000))})
    gate, group = hold(store), []
    group.append(thread(lambda: store.transact(lambda db: db.execute("SELECT * FROM item").fetchone())))
    group.append(thread(lambda: store.append({"item": rows(9999)})))
    until(lambda: store._queue.qsize() == 2, 10, "two jobs in the queue")
    gate.set()
    for member in group:
        member.join()
    assert store.read("SELECT count(*) FROM item WHERE id = 9999") == [(1,)]


def hold(store: Store) -> threading.Event:
    """Keep the writer thread busy until the returned event is set, so that what follows becomes one group."""
    gate, busy = threading.Event(), threading.Event()

    def wait(db: duckdb.DuckDBPyConnection) -> None:
        busy.set()
        gate.wait(10)

    thread(lambda: store.transact(wait))
    assert busy.wait(10)
    return gate


def thread(target: object) -> threading.Thread:
    made = threading.Thread(target=target, daemon=True)  # type: ignore[arg-type]
    made.start()
    return made


def test_one_failing_caller_does_not_fail_the_others_of_its_group(store: Store) -> None:
    outcomes: dict[str, object] = {}

    def run(name: str, call: object) -> threading.Thread:
        def target() -> None:
            try:
                call()  # type: ignore[operator]
                outcomes[name] = "ok"
            except BaseException as error:
                outcomes[name] = type(error).__name__

        return thread(target)

    def fail(db: duckdb.DuckDBPyConnection) -> None:
        db.execute("INSERT INTO item VALUES (666, 'must not stay')")
        raise KeyError("mine")

    def leave(db: duckdb.DuckDBPyConnection) -> None:
        raise SystemExit(3)

    gate = hold(store)
    group = [
        run("append", lambda: store.append({"item": rows(1)})),
        run("fails", lambda: store.transact(fail)),
        run("leaves", lambda: store.transact(leave)),
        run("bad sql", lambda: store.transact(lambda db: db.execute("INSERT INTO nothing VALUES (1)"))),
        run("bad table", lambda: store.append({"item": pa.table({"unknown": [1]})})),
        run("transact", lambda: store.transact(lambda db: db.execute("INSERT INTO item VALUES (2, 'two')"))),
    ]
    until(lambda: store._queue.qsize() == len(group), 10, "the whole group in the queue")
    gate.set()
    for member in group:
        member.join(10)
    assert outcomes == {
        "append": "ok",
        "fails": "KeyError",
        "leaves": "SystemExit",
        "bad sql": "CatalogException",
        "bad table": "BinderException",
        "transact": "ok",
    }
    assert store.read("SELECT id FROM item ORDER BY id") == [(1,), (2,)]


def test_work_sees_what_was_appended_before_it(store: Store) -> None:
    gate = hold(store)
    seen: list[object] = []
    first = thread(lambda: store.append({"item": rows(7)}))
    until(lambda: store._queue.qsize() == 1, 10, "the append in the queue")
    second = thread(lambda: seen.extend(store.transact(lambda db: db.execute("SELECT id FROM item").fetchall())))
    until(lambda: store._queue.qsize() == 2, 10, "both in the queue")
    gate.set()
    first.join(10)
    second.join(10)
    assert seen == [(7,)]


def test_an_insert_function_decides_how_rows_get_in(path: Path) -> None:
    def upsert(db: duckdb.DuckDBPyConnection, appended: pa.Table) -> None:
        with registered(db, appended) as view:
            db.execute(
                f"MERGE INTO item USING {view} new ON item.id = new.id"
                " WHEN MATCHED THEN UPDATE SET name = new.name WHEN NOT MATCHED THEN INSERT BY NAME"
            )

    store = Store(path, APPLICATION, MIGRATIONS, inserts={"item": upsert})
    store.append({"item": rows(1, 2)})
    store.append({"item": pa.table({"id": [2], "name": ["again"]})})
    assert store.read("SELECT id, name FROM item ORDER BY id") == [(1, "n1"), (2, "again")]
    store.close()


def test_an_insert_function_finds_what_came_beside_its_rows(path: Path) -> None:
    """Also where an earlier call of the same commit brought none of it."""
    found: list[list[tuple[int]]] = []
    both = {"item": rows(2), "beside": pa.table({"id": [2]})}

    def insert(db: duckdb.DuckDBPyConnection, appended: pa.Table) -> None:
        found.append(db.execute("SELECT id FROM beside ORDER BY id").fetchall())

    store = Store(path, APPLICATION, [*MIGRATIONS, "CREATE TABLE beside (id BIGINT)"], inserts={"item": insert})
    gate = hold(store)
    first = thread(lambda: store.append({"item": rows(1)}))
    until(lambda: store._queue.qsize() == 1, 10, "the first call in the queue")
    second = thread(lambda: store.append(both))
    until(lambda: store._queue.qsize() == 2, 10, "both calls in the queue")
    gate.set()
    first.join(10)
    second.join(10)
    assert found == [[(2,)]]
    store.close()


# -- reading


def test_readers_never_fail_beside_a_writer_and_see_whole_batches(store: Store) -> None:
    done = threading.Event()
    failures: list[str] = []

    def read() -> None:
        while not done.is_set():
            try:
                ((count,),) = store.read("SELECT count(*) FROM item")
                if count % 100:
                    failures.append(f"saw {count} rows, part of a batch")
            except Exception as error:
                failures.append(repr(error))

    readers = [thread(read) for _ in range(6)]
    for batch in range(150):
        store.append({"item": rows(*range(batch * 100, batch * 100 + 100))})
    done.set()
    for reader in readers:
        reader.join(10)
    assert failures == []


def test_the_cursor_of_a_thread_goes_with_the_thread(store: Store) -> None:
    cursors: list[weakref.ref[duckdb.DuckDBPyConnection]] = []
    for _ in range(5):
        thread(lambda: cursors.append(weakref.ref(store.cursor()))).join(10)
    gc.collect()
    assert [cursor() for cursor in cursors] == [None] * 5


# -- closing


def test_closing_commits_the_queue_refuses_the_rest_and_releases_the_file(path: Path) -> None:
    store = Store(path, APPLICATION, MIGRATIONS)
    gate = hold(store)
    late = thread(lambda: store.append({"item": rows(1)}))
    until(lambda: store._queue.qsize() == 1, 10, "the append in the queue")
    reader = thread(lambda: store.read("SELECT 1"))
    reader.join(10)
    closing = thread(store.close)
    until(lambda: store._closed, 10, "the store to begin closing")
    gate.set()
    closing.join(10)
    late.join(10)
    with pytest.raises(StoreClosed):
        store.append({"item": rows(2)})
    with pytest.raises(StoreClosed):
        thread_error(lambda: store.read("SELECT 1"))
    again = Store(path, APPLICATION, MIGRATIONS)
    assert again.read("SELECT id FROM item") == [(1,)]
    again.close()


def thread_error(call: object) -> None:
    """Run ``call`` in a thread of its own and raise here what it raises there."""
    caught: list[BaseException] = []

    def target() -> None:
        try:
            call()  # type: ignore[operator]
        except BaseException as error:
            caught.append(error)

    thread(target).join(10)
    if caught:
        raise caught[0]


# -- files


def test_migrations_run_once_each_and_in_order(path: Path) -> None:
    fill(path)
    store = Store(path, APPLICATION, [*MIGRATIONS, "ALTER TABLE item ADD COLUMN size INTEGER DEFAULT 5"])
    assert store.read("SELECT id, size FROM item") == [(1, 5)]
    store.close()
    store = Store(path, APPLICATION, [*MIGRATIONS, "ALTER TABLE item ADD COLUMN size INTEGER DEFAULT 5"])
    assert store.read("SELECT id, size FROM item") == [(1, 5)]
    store.close()


def test_a_migration_that_fails_leaves_the_file_at_the_version_before(path: Path) -> None:
    fill(path)
    with pytest.raises(StoreError, match="cannot be brought up to date"):
        Store(path, APPLICATION, [*MIGRATIONS, "ALTER TABLE nothing ADD COLUMN size INTEGER"])
    store = Store(path, APPLICATION, MIGRATIONS)
    assert store.read("SELECT id FROM item") == [(1,)]
    store.close()


def refused(path: Path, words: str, migrations: list[str] = MIGRATIONS) -> None:
    """Opening must raise a StoreError of one line that names the file, and change no byte in its folder."""
    before = digest(path)
    with pytest.raises(StoreError, match=words) as caught:
        Store(path, APPLICATION, migrations)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert digest(path) == before


@pytest.mark.parametrize("content", [b"", b"x", b"this is not a database\n" * 1000], ids=["empty", "short", "text"])
def test_a_file_that_is_not_a_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    refused(path, "cannot be opened as a DuckDB file.*move it away or run `make clean`")


def test_a_file_of_sqlite_is_refused_without_asking_the_network_for_an_extension(path: Path) -> None:
    path.parent.mkdir()
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE t (i)")
    db.commit()
    db.close()
    refused(path, "cannot be opened as a DuckDB file")


@pytest.mark.parametrize("cut", [0.5, 0.02], ids=["half of it", "only a header"])
def test_a_truncated_file_is_refused_and_left_alone(path: Path, cut: float) -> None:
    fill(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * cut)])
    refused(path, "cannot be (opened|read)")


def test_a_file_with_a_broken_header_is_refused_and_left_alone(path: Path) -> None:
    fill(path)
    content = bytearray(path.read_bytes())
    content[8192 : 8192 + 64] = b"\xff" * 64
    content[4096 : 4096 + 64] = b"\xff" * 64
    path.write_bytes(content)
    refused(path, "cannot be (opened|read)")


def test_a_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    db = duckdb.connect(str(path))
    db.execute("CREATE TABLE theirs AS SELECT 1")
    db.close()
    refused(path, "DuckDB file of another program; move it away")


def test_another_programs_database_that_crashed_keeps_its_write_ahead_log(path: Path) -> None:
    path.parent.mkdir()
    code = "import duckdb, os, sys; db = duckdb.connect(sys.argv[1]); db.execute('CREATE TABLE theirs AS SELECT 1'); os._exit(0)"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    assert Path(f"{path}.wal").exists()
    refused(path, "of another program")


def test_the_file_of_another_vendor_is_refused_and_left_alone(path: Path) -> None:
    Store(path, "parallax.rollbar", MIGRATIONS).close()
    refused(path, "belongs to parallax.rollbar, not to parallax.test; move it away")


def test_a_newer_file_is_refused_and_left_alone(path: Path) -> None:
    Store(path, APPLICATION, [*MIGRATIONS, "CREATE TABLE later (i INTEGER)"]).close()
    refused(path, r"newer Parallax \(version 2, this one knows 1\)")


def test_a_file_that_another_process_holds_is_refused_and_names_the_process(path: Path) -> None:
    fill(path)
    code = (
        "import sys; from localstack.store import Store; "
        f"store = Store(sys.argv[1], '{APPLICATION}', {MIGRATIONS!r}); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(StoreError, match=rf"is in use by another process, .*\(PID {holder.pid}\)"):
            Store(path, APPLICATION, MIGRATIONS)
        assert holder.stdin is not None
        holder.stdin.close()
        assert holder.wait(30) == 0


def test_a_folder_that_cannot_be_made_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"cannot be made .*STATE_DIR"):
        Store(tmp_path / "file" / "test.duckdb", APPLICATION, MIGRATIONS)


def test_a_half_made_file_of_a_crash_is_made_again(path: Path) -> None:
    path.parent.mkdir()
    path.with_name(path.name + ".new").write_bytes(b"cut")
    fill(path)
    assert digest(path).keys() == {path.name}


def test_json_works_without_downloaded_extensions(store: Store) -> None:
    assert store.read("""SELECT '{"a": [1, 2]}'::JSON ->> '$.a[1]'""") == [("2",)]
