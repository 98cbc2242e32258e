"""A held file says who is at something, and is nobody's the moment its process has ended, however it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from compose import held
from compose.settings import ROOT

HOLD = "import sys, pathlib; from compose import held; kept = held.take(pathlib.Path(sys.argv[1])); print(flush=True); sys.stdin.read()"


def test_nobody_holds_what_is_not_there_or_was_closed(tmp_path: Path) -> None:
    path = tmp_path / "load.pid"
    assert held.holder(path) is None
    mine = held.take(path)
    assert held.holder(path) == os.getpid()
    mine.close()
    assert held.holder(path) is None


def test_a_killed_process_leaves_its_file_and_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "load.pid"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert held.holder(path) == other.pid
        with pytest.raises(held.Taken):
            held.take(path)
        assert path.read_text() == f"{other.pid}\n", "what could not be taken is as it was"
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert path.exists()
        assert held.holder(path) is None
        held.take(path).close()


def test_lines_are_behind_the_pid(tmp_path: Path) -> None:
    mine = held.take(tmp_path / "compare.jsonl")
    mine.write(b"{}")
    assert mine.path.read_text() == f"{os.getpid()}\n{{}}\n"
    mine.close()
