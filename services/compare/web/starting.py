"""Loads and compares that the page starts: processes of their own, which a restart of the page does not end and `make down` does.

    run = Starter(settings).load({"profile": "smoke", "requests": "60", ...})
    Starter(settings).compare(run)
    stop(run)

A load is the same ``python -m loadtest`` that `make load` calls, in a session of its own; its words go to
``<STATE_DIR>/logs/load.log``. One at a time, also with one that was started from a shell.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import psutil

from compose import held, leftovers
from compose.logs import hide, secrets
from compose.processes import MARKER, Tier
from compose.settings import ROOT, Settings
from loadtest.runs import LOADER, Run, RunError, going_on, open_run
from services.compare import underway

#: What a person chooses of a load on the page, in the form's order.
FIELDS: Final = ("profile", "requests", "users", "seed", "sampling")

#: Seconds in which a load makes its run, and a compare says its first word; far above what they take.
START_SECONDS: Final = 60.0


class CannotStart(Exception):
    """What was asked for was not started. The message is one line, ``hint`` what to do."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint


class Starter:
    """``settings``: those of the page; what it starts gets the same."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._alone = threading.Lock()

    def load(self, chosen: Settings) -> Run:
        """Start a load with the :data:`FIELDS` of ``chosen``; the run it has made. Raises CannotStart."""
        # Not everything: a load sends no telemetry of its own and needs no key.
        shown = {name.upper() for name in Settings.shown()}
        environment = {name: value for name, value in self._settings.environment().items() if name in shown}
        public = chosen.public()
        environment |= {name.upper(): public[name] for name in FIELDS} | {"UI": "false", "LOCUST_WORKERS": "1"}
        with self._alone:
            if found := going_on(self._settings):
                raise CannotStart(f"Run {found[0].id} goes on; one load at a time.", "wait for its end, or stop it")
            log = self._settings.log_dir / "load.log"
            process = self._start("load", ("loadtest",), environment, log)
            deadline = time.monotonic() + START_SECONDS
            while process.poll() is None and time.monotonic() < deadline:
                for path in self._settings.runs_dir.glob(f"*/{LOADER}"):
                    if held.holder(path) == process.pid:
                        with contextlib.suppress(RunError):
                            return open_run(path.parent)
                time.sleep(0.05)
            raise CannotStart(self._last_words(log, "load: "), "`make doctor` says what else could keep it from running")

    def compare(self, run: Run) -> None:
        """Start comparing a run, where that is not going on already. Raises CannotStart."""
        if run.loader is not None:
            raise CannotStart(f"Run {run.id} goes on.", "wait for its end, or stop it")
        with self._alone:
            if held.holder(run.folder / underway.FILE) is not None:
                return
            log = run.folder / "compare.log"
            process = self._start("comparison", ("services.compare.underway", run.id), self._settings.environment(), log)
            deadline = time.monotonic() + START_SECONDS
            while time.monotonic() < deadline:
                if held.holder(run.folder / underway.FILE) == process.pid:
                    return
                if process.poll() is not None:
                    if process.returncode == 0 or underway.read(run.folder) is not None:
                        return  # Over already; its file says how.
                    break
                time.sleep(0.05)
            raise CannotStart(self._last_words(log, "compare: "))

    def _start(self, name: str, module: tuple[str, ...], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        """A process of its own session, which carries the sandbox's mark so that `make down` finds it."""
        names = {name.upper() for name in Settings.model_fields}
        # Empty, not absent, so that what is not said here is not filled from .env again.
        inherited = {key: value for key, value in os.environ.items() if key not in names} | dict.fromkeys(names, "")
        marks = {MARKER: str(self._settings.state_dir.resolve()), leftovers.NAME: name, leftovers.TIER: str(Tier.APPLICATION.value)}
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as words:
            process = subprocess.Popen(
                [sys.executable, "-m", *module],
                cwd=ROOT,
                env=inherited | dict(environment) | marks | {"PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                start_new_session=True,
            )
        # Nobody else collects it when it has ended.
        threading.Thread(target=process.wait, name=f"wait-{name}", daemon=True).start()
        return process

    def _last_words(self, log: Path, prefix: str) -> str:
        """Why a process ended, which its last line says; without keys."""
        try:
            lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        except OSError:
            lines = []
        return hide(lines[-1].removeprefix(prefix), secrets(self._settings)) if lines else f"It ended without a word; {log} is empty."


def stop(run: Run) -> bool:
    """Ask the load that makes ``run`` to end in order (SIGTERM), which leaves its requests time to be answered; or the replay, which
    takes its run back. False: none does."""
    pid = run.loader
    if pid is None or not makes_runs(pid):
        return False
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return False
    return True


def makes_runs(pid: int) -> bool:
    """Whether it is a load or a replay, which may be stopped: a pid may be another machine's, and another process's here."""
    try:
        return not {"loadtest", "services.compare.replay"}.isdisjoint(psutil.Process(pid).cmdline())
    except psutil.Error:
        return False
