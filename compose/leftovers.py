"""Processes of a sandbox that nobody supervises any more, found by the marker in their environment.

Only processes that carry ``PARALLAX_STATE_DIR=<this state dir>`` are ever touched: another sandbox, or anything else on the
machine, is not ours whatever it looks like.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from compose import events
from compose.processes import MARKER, Tier

#: Names the process and its tier beside the marker, so that they can be ended in order and recorded by name.
NAME = "PARALLAX_PROCESS"
TIER = "PARALLAX_TIER"


class LeftoverError(Exception):
    """A process cannot be ended. The message is one line that names it."""


def find(state_dir: Path) -> dict[psutil.Process, dict[str, str]]:
    """The running processes of this sandbox with their environment; never this command or one it descends from."""
    found: dict[psutil.Process, dict[str, str]] = {}
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    for process in psutil.process_iter():
        if process.pid in own:
            continue
        with contextlib.suppress(psutil.Error, OSError):
            environment = process.environ()
            if environment.get(MARKER) == str(state_dir) and process.status() != psutil.STATUS_ZOMBIE:
                found[process] = environment
    return found


def has_ended(process: psutil.Process) -> bool:
    """Whether it is over. One that its parent, or init, has not collected yet is: it holds neither ports nor files."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait(processes: Iterable[psutil.Process], seconds: float) -> set[psutil.Process]:
    """Wait until all have ended; those that have not after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        alive = {process for process in processes if not has_ended(process)}
        if not alive or time.monotonic() > deadline:
            return alive
        time.sleep(0.02)


def end(state_dir: Path, patience: float = 10.0) -> int:
    """End every process of this sandbox; returns how many there were.

    supervisord first and at once, because it would start the others again; the rest tier by tier with SIGTERM, so that
    what the applications still flush finds the Collector there; SIGKILL for what is left after ``patience`` seconds.

    Raises:
        LeftoverError: one of them cannot be ended.
    """
    count = 0
    # A process may start another while we look, so look again until there is none.
    for _ in range(5):
        found = find(state_dir)
        if not found:
            return count
        count += len(found)
        _kill(state_dir, {process: environment for process, environment in found.items() if NAME not in environment})
        for tier in Tier:
            members = {process: environment for process, environment in found.items() if environment.get(TIER) == str(tier.value)}
            for process in members:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.terminate()
            alive = wait(members, patience)
            for process in set(members) - alive:
                _record(state_dir, members[process], "exited", process.pid)
            _kill(state_dir, {process: members[process] for process in alive})
        _kill(state_dir, {process: environment for process, environment in found.items() if not has_ended(process)})
    pids = ", ".join(str(process.pid) for process in find(state_dir))
    raise LeftoverError(f"processes {pids} of {state_dir} do not end, even by SIGKILL; see ps -o pid,stat,command -p {pids}")


def _kill(state_dir: Path, found: dict[psutil.Process, dict[str, str]]) -> None:
    for process, environment in found.items():
        with contextlib.suppress(psutil.NoSuchProcess):
            _record(state_dir, environment, "killed", process.pid)
            process.kill()
    wait(found, 10)


def _record(state_dir: Path, environment: dict[str, str], event: events.Kind, pid: int) -> None:
    # The folder may be what was lost.
    with contextlib.suppress(OSError):
        if NAME in environment:
            events.record(state_dir / "events.jsonl", environment[NAME], event, pid, expected=True)
