"""Runs: the folder of each load test, its manifest, and finding one again.

    run = newest_run(settings)          # or load_run(settings, "20250301-101500-9f3c")
    run.manifest.paths                  # the signal paths that were on
    run.entries()                       # the ledger, in the seeded order

Reading is cheap and needs no Locust. Every error is a RunError (or the ledger's LedgerError) of one line that ends with the next command.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from compose import held
from compose.settings import ROOT, Settings, SignalPath
from loadtest.ledger import LedgerEntry, LedgerError, read_ledger
from loadtest.profiles import Profile

RUN_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")

MANIFEST = "manifest.json"

#: Beside the manifest of a run that came from elsewhere: its backends hold nothing of it.
IMPORTED = "imported.json"

#: In a run's folder, held (:mod:`compose.held`) by the process that makes the run.
LOADER = "load.pid"

#: Environment variable that tells Locust's processes which run's folder they write to.
RUN_FOLDER = "PARALLAX_RUN_FOLDER"

#: Packages whose version decides what telemetry looks like.
PACKAGES = (
    "aws-xray-sdk",
    "boto3",
    "duckdb",
    "flask",
    "gunicorn",
    "locust",
    "opentelemetry-instrumentation-flask",
    "opentelemetry-sdk",
    "rollbar",
    "sqlalchemy",
    "watchtower",
)

#: Settings that belong to the running sandbox, not to the one who starts a load.
LOAD_SETTINGS = frozenset({"profile", "requests", "users", "seed", "sampling", "ui", "locust_port", "locust_workers", "target_url"})


#: What this process holds of the runs it makes.
_held: dict[Path, held.Held] = {}


class RunError(Exception):
    """A run that cannot be found, read or made. The message is one line that names it and the next command."""


class Manifest(BaseModel):
    """What a run was: everything needed to read its ledger and to send the same requests again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Version of this document.
    version: Literal[1] = 1
    run: str
    seed: int
    profile: str
    #: Requests the plan holds.
    planned: int
    #: Ledger lines when the run ended; None while it goes on, and for ever when it was killed.
    finished: int | None = None
    users: int
    workers: int
    sampling: Literal["all", "rules"]
    #: Epoch seconds.
    started: float
    #: Epoch seconds when the last request was answered; None like ``finished``.
    ended: float | None = None
    mode: Literal["offline", "online"]
    target: str
    #: Signal paths that were switched on.
    paths: list[SignalPath]
    #: ``compose.settings.Settings.public()`` of the sandbox as it ran; no secrets.
    settings: dict[str, str]
    #: Version of Python and of the packages that make telemetry.
    versions: dict[str, str]
    git_commit: str | None
    #: The run whose recorded telemetry was sent again as this one; None for a run of the load generator.
    replay_of: str | None = None


@dataclass(frozen=True)
class Run:
    """One run on disk."""

    folder: Path
    manifest: Manifest

    @property
    def id(self) -> str:
        return self.manifest.run

    @property
    def loader(self) -> int | None:
        """Pid of the process that makes this run; None when it is over, or was killed."""
        return held.holder(self.folder / LOADER) if self.manifest.finished is None else None

    @property
    def imported(self) -> bool:
        """Whether it came from elsewhere, as a file."""
        return (self.folder / IMPORTED).exists()

    def entries(self) -> list[LedgerEntry]:
        """The ledger, in the seeded order. Raises LedgerError when it is cut, or holds fewer requests than the run finished."""
        entries = read_ledger(self.folder)
        finished = self.manifest.finished
        if finished is not None and len(entries) != finished:
            raise LedgerError(
                f"{self.folder} has {len(entries)} ledger lines, but its manifest says {finished} requests finished; lines were lost: "
                "`make load` makes a new run, `make compare RUN=<id>` takes an older one"
            )
        return entries

    def complete(self) -> Run:
        """Write into the manifest how the run ended, from its ledger; the run as it then is. Harmless when repeated."""
        entries = read_ledger(self.folder)
        ended = max((entry.start + entry.duration_ms / 1000 for entry in entries), default=time.time())
        manifest = self.manifest.model_copy(update={"finished": len(entries), "ended": round(ended, 6)})
        _write(self.folder, manifest)
        if self.folder in _held:
            _held.pop(self.folder).close()
            (self.folder / LOADER).unlink(missing_ok=True)
        return Run(self.folder, manifest)


def runs(settings: Settings) -> list[str]:
    """Ids of every run below STATE_DIR, oldest first."""
    if not settings.runs_dir.is_dir():
        return []
    return sorted(folder.name for folder in settings.runs_dir.iterdir() if RUN_ID.fullmatch(folder.name) and (folder / MANIFEST).exists())


def going_on(settings: Settings) -> list[Run]:
    """The runs that are being made, newest first."""
    found = []
    for path in sorted(settings.runs_dir.glob(f"*/{LOADER}"), reverse=True):
        if RUN_ID.fullmatch(path.parent.name) and held.holder(path) is not None:
            # One whose manifest is not written yet is there in a moment.
            with contextlib.suppress(RunError):
                run = open_run(path.parent)
                if run.manifest.finished is None:
                    found.append(run)
    return found


def newest_run(settings: Settings) -> Run:
    """The run that was started last, of those that were made here. Raises RunError when there is none."""
    known = [run for run in runs(settings) if not (settings.runs_dir / run / IMPORTED).exists()]
    if not known:
        none = "no run but imported ones" if runs(settings) else "no run"
        raise RunError(f"there is {none} below {settings.runs_dir}; `make load` makes one")
    return load_run(settings, known[-1])


def load_run(settings: Settings, run_id: str) -> Run:
    """The run ``run_id``. Raises RunError when it is unknown (naming the known ones) or its manifest cannot be read."""
    known = runs(settings)
    if run_id not in known:
        if not known:
            raise RunError(f"there is no run {run_id!r}, nor any other below {settings.runs_dir}; `make load` makes one")
        newest = ", ".join(reversed(known[-5:]))
        more = f" and {len(known) - 5} older" if len(known) > 5 else ""
        raise RunError(f"there is no run {run_id!r}; known runs, newest first: {newest}{more}. Next: `make compare RUN={known[-1]}`")
    return open_run(settings.runs_dir / run_id)


def open_run(folder: Path) -> Run:
    """The run in ``folder``. Raises RunError when there is no readable manifest in it."""
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}; `make load` makes a new run") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RunError(
            f"{path} is not a run's manifest ({where + ': ' if where else ''}{first['msg']}); "
            "choose another with `make compare RUN=<id>`, or `make load` makes a new run"
        ) from None
    if manifest.run != folder.name:
        raise RunError(f"{path} belongs to run {manifest.run}, not to {folder.name}; `make load` makes a new run")
    return Run(folder, manifest)


def begin_run(settings: Settings, profile: Profile) -> Run:
    """Make the folder and the manifest of a run that starts now. Raises RunError when it cannot be written."""
    sandbox = as_it_runs(settings)
    mine = {name: value for name, value in settings.public().items() if name in LOAD_SETTINGS}
    manifest = Manifest(
        run=new_run_id(),
        seed=settings.seed,
        profile=profile.name,
        planned=profile.requests,
        users=profile.users,
        workers=settings.locust_workers,
        sampling=settings.sampling,
        started=round(time.time(), 6),
        mode=sandbox.mode,
        target=settings.target_url,
        paths=sorted(sandbox.paths),
        settings=sandbox.public() | mine,
        versions=_versions(),
        git_commit=_git_commit(),
    )
    return make_run(settings, manifest)


def new_run_id() -> str:
    """An id that sorts by the present second."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"


def make_run(settings: Settings, manifest: Manifest) -> Run:
    """Make the folder of a run and write its manifest; the run goes on until it is completed, or this process ends. Raises RunError
    when it cannot be written."""
    folder = settings.runs_dir / manifest.run
    try:
        folder.mkdir(parents=True)
        if manifest.finished is None:
            # Before there is a manifest: a run that is there and not held was killed.
            _held[folder] = held.take(folder / LOADER)
        _write(folder, manifest)
    except OSError as error:
        raise RunError(f"{folder} cannot be made: {error.strerror}; make room or set STATE_DIR, then `make load`") from error
    return Run(folder, manifest)


def as_it_runs(settings: Settings) -> Settings:
    """``settings`` with what ``<STATE_DIR>/sandbox.json`` says of the running sandbox; without that file, as they are.

    The supervisor writes ``Settings.public()`` there when the sandbox comes up, so a run is judged by the backends that were on
    and not by what happens to be in the environment of the one who starts the load.
    """
    path = settings.state_dir / "sandbox.json"
    try:
        written = json.loads(path.read_bytes())
        if not isinstance(written, dict):
            raise ValueError("it is not an object")
        known = {name: value for name, value in written.items() if name in Settings.model_fields and name not in LOAD_SETTINGS}
        # Not one by one: the paths follow from the backends and their transports together.
        changed = Settings.model_validate(settings.model_dump() | known)
    except FileNotFoundError:
        return settings
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}; `make up` writes it anew") from error
    except ValueError as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise RunError(f"{path} does not describe a sandbox ({reason}); `make up` writes it anew") from None
    return changed


def _write(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest at once: a reader, or a crash, sees the old one or the new one."""
    draft = folder / f".{MANIFEST}.{os.getpid()}"
    try:
        with draft.open("w") as file:
            file.write(manifest.model_dump_json(indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(folder / MANIFEST)
    finally:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()


def _versions() -> dict[str, str]:
    versions = {"python": ".".join(str(part) for part in sys.version_info[:3])}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def _git_commit() -> str | None:
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, timeout=10, check=False)  # noqa: S607
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
