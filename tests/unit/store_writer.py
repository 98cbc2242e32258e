"""The victim of test_store_crash.py: writes to a store from several threads until it is killed.

    python -m tests.unit.store_writer FILE ROUND

Prints one line ``<kind> <id>`` for each acknowledged write, flushed before the next one begins.
"""

from __future__ import annotations

import sys
import threading

import duckdb
import pyarrow as pa

from localstack.store import Store

APPLICATION = "parallax.test"
MIGRATIONS = (
    "CREATE TABLE appended_row (id VARCHAR, payload VARCHAR)",
    "CREATE TABLE transacted (id VARCHAR PRIMARY KEY, payload VARCHAR)",
)
ROWS = 50


def main(path: str, label: str) -> None:
    store = Store(path, APPLICATION, MIGRATIONS)
    printing = threading.Lock()

    def acknowledge(line: str) -> None:
        with printing:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def append(writer: int) -> None:
        number = 0
        while True:
            ids = [f"{label}-{writer}-{number}-{row}" for row in range(ROWS)]
            store.append({"appended_row": pa.table({"id": ids, "payload": ["p" * 500] * ROWS})})
            acknowledge(f"append {label}-{writer}-{number}")
            number += 1

    def transact(writer: int) -> None:
        number = 0
        while True:
            key = f"{label}-{writer}-{number}"

            def work(db: duckdb.DuckDBPyConnection, key: str = key) -> None:
                db.execute("INSERT INTO transacted VALUES (?, 'one')", [key])
                db.execute("UPDATE transacted SET payload = 'two' WHERE id = ?", [key])

            store.transact(work)
            acknowledge(f"transact {key}")
            number += 1

    threads = [threading.Thread(target=target, args=(n,)) for n, target in enumerate([append, append, append, transact, transact])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
