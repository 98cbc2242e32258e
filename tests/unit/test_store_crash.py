"""What a store acknowledged survives SIGKILL, and the file always opens again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

from compose.settings import ROOT
from localstack.store import Store
from tests.unit.store_writer import APPLICATION, MIGRATIONS, ROWS
from tests.waiting import until

ROUNDS = 12


def test_every_acknowledged_row_survives_sigkill(tmp_path: Path) -> None:
    """Rounds on one file, each killed after a random number of acknowledgements: so also while it replays, migrates, checkpoints."""
    path = tmp_path / "crash.duckdb"
    chance = random.Random(20261122)
    acknowledged: set[str] = set()
    for number in range(ROUNDS):
        acknowledged |= _run_and_kill(path, f"r{number}", after=chance.choice([0, 1, 3, 20, 100, 400]))
        store = Store(path, APPLICATION, MIGRATIONS)
        try:
            appended = {
                row[0]: row[1] for row in store.read("SELECT regexp_extract(id, '(.*)-', 1), count(*) FROM appended_row GROUP BY 1")
            }
            transacted = dict(store.read("SELECT id, payload FROM transacted"))
        finally:
            store.close()
        assert set(appended.values()) <= {ROWS}, "a batch was stored in part"
        assert set(transacted.values()) <= {"two"}, "a transaction was stored in part"
        stored = {f"append {key}" for key in appended} | {f"transact {key}" for key in transacted}
        assert acknowledged <= stored, f"round {number} lost {sorted(acknowledged - stored)[:5]}"
    assert len(acknowledged) > 100


def _run_and_kill(path: Path, label: str, after: int) -> set[str]:
    """Let a writer acknowledge ``after`` writes, kill it, and return all that it acknowledged until it died."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.store_writer", str(path), label],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    lines: list[str] = []
    assert process.stdout is not None
    output = process.stdout
    reader = threading.Thread(target=lambda: lines.extend(iter(output.readline, "")))
    reader.start()
    try:
        # With 0 the kill falls into the start: making, replaying or migrating the file.
        until(lambda: len(lines) >= after and (after or _exists(path)), 60, f"{after} acknowledgements")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        reader.join()
        output.close()
    # The last line may be cut: it was not acknowledged then.
    return {line.rstrip("\n") for line in lines if line.endswith("\n")}


def _exists(path: Path) -> bool:
    return path.exists() or path.with_name(path.name + ".new").exists()
