"""Folders of unfinished work: what a killed process left goes with the next one of its kind, what somebody works on stays."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Barrier, Thread

import pytest

from compose.settings import ROOT
from services.compare import drafts

#: Has a draft, says its name, and waits for a line on standard input.
HOLDER = """
import sys
from pathlib import Path
from services.compare import drafts
with drafts.folder(Path(sys.argv[1]), sys.argv[2]) as draft:
    (draft / "half.parquet").write_text("PAR1")
    print(draft.name, flush=True)
    sys.stdin.readline()
"""


def holder(parent: Path, prefix: str = ".import-") -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(parent), prefix], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, parent / process.stdout.readline().strip()


def test_what_a_killed_process_left_is_cleared_and_what_another_works_on_is_not(tmp_path: Path) -> None:
    killed, left = holder(tmp_path)
    alive, in_work = holder(tmp_path)
    with killed, alive:
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait(30)
        assert left.is_dir()
        drafts.clear(tmp_path, ".import-")
        assert not left.exists()
        assert (in_work / "half.parquet").exists()
        alive.communicate("\n", timeout=30)
    assert alive.returncode == 0
    assert list(tmp_path.iterdir()) == [], "who ends in order leaves nothing"


def test_only_folders_of_the_kind_are_cleared(tmp_path: Path) -> None:
    spared = [".import-0123456", ".import-0123456g", ".import-", "import-01234567", ".import-01234567.zip"]
    for name in (*spared, ".import-01234567", ".import-89abcdef"):
        (tmp_path / name).mkdir()
    (tmp_path / ".import-fffffffe").write_text("a file")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".import-ffffffff").symlink_to(tmp_path / "elsewhere")
    drafts.clear(tmp_path, ".import-", {".import-89abcdef"}.__contains__)
    kept = {*spared, ".import-89abcdef", ".import-fffffffe", ".import-ffffffff", "elsewhere"}
    assert {path.name for path in tmp_path.iterdir()} == kept
    drafts.clear(tmp_path / "not there", ".import-")


def test_a_draft_that_was_moved_to_its_place_stays_there_and_one_that_failed_does_not(tmp_path: Path) -> None:
    with drafts.folder(tmp_path, ".import-") as draft:
        draft.rename(tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    with pytest.raises(OSError, match="No such file"), drafts.folder(tmp_path / "not there", ".import-"):
        pass
    with drafts.kept(tmp_path / "run", "record-") as kept:
        drafts.clear(tmp_path / "run", "record-")
    assert kept.is_dir()
    with pytest.raises(KeyboardInterrupt), drafts.kept(tmp_path / "run", "record-") as kept:
        raise KeyboardInterrupt
    assert not kept.exists()


def test_what_its_owner_kept_a_moment_ago_is_asked_about_when_nobody_has_it_any_more(tmp_path: Path) -> None:
    """Two compares of a run: one clears while the other puts its record in place."""
    in_place: list[str] = []
    asked: list[str] = []
    with drafts.kept(tmp_path, "record-") as mine, drafts.kept(tmp_path, "record-") as other:
        pass

    def is_kept(name: str) -> bool:
        if not asked:
            # Between two folders that are looked at, another has written its own and put it in place.
            in_place.extend({mine.name, other.name} - {name})
        asked.append(name)
        return name in in_place

    drafts.clear(tmp_path, "record-", is_kept)
    assert [path.name for path in tmp_path.iterdir()] == in_place
    assert set(asked) == {mine.name, other.name}
    with drafts.kept(tmp_path, "record-") as third:
        drafts.clear(tmp_path, "record-", is_kept)
    assert third.name not in asked, "of what somebody has, nobody is asked"


def test_where_a_file_system_locks_no_folders_work_goes_on_and_nothing_is_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_file: int, _operation: int) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with drafts.folder(tmp_path, ".import-") as draft:
        drafts.clear(tmp_path, ".import-")
        assert draft.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_who_clears_never_takes_what_another_has_just_made(tmp_path: Path) -> None:
    """One makes drafts while the other clears, again and again."""
    start, wrong = Barrier(2), []

    def make() -> None:
        start.wait(30)
        for _ in range(200):
            with drafts.folder(tmp_path, ".import-") as draft:
                if not draft.is_dir():
                    wrong.append(draft)

    maker = Thread(target=make)
    maker.start()
    start.wait(30)
    while maker.is_alive():
        drafts.clear(tmp_path, ".import-")
    maker.join(30)
    assert wrong == []
    assert list(tmp_path.iterdir()) == []
