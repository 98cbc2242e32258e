"""A replay on the pages: which run it is of, which ones a run has, and how far one is that goes on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from flask import request

from loadtest.runs import MANIFEST, RUN_ID, Run, RunError, open_run
from services.compare.replay.progress import HowFar, read
from services.compare.web.site import site


def is_here(run_id: str) -> bool:
    """Whether a run that another names is one of those that can be shown."""
    return bool(RUN_ID.fullmatch(run_id)) and (site().settings.runs_dir / run_id / MANIFEST).exists()


def replays_of(run_id: str) -> Sequence[Run]:
    """The runs that are replays of a run, newest first."""
    found = []
    for other in site().run_ids():
        if other <= run_id:
            break  # A replay is younger than what it is of.
        folder = site().settings.runs_dir / other
        with suppress(RunError, OSError):
            if _replay_of(folder, (folder / MANIFEST).stat().st_mtime_ns) == run_id:
                found.append(open_run(folder))
    return found


@lru_cache(maxsize=4096)
def _replay_of(folder: Path, written: int) -> str | None:  # noqa: ARG001 (what tells a manifest from the next)
    """Raises RunError."""
    return open_run(folder).manifest.replay_of


def taken_back() -> str | None:
    """The replay that the address says was taken back; None where it says none, or it is there."""
    said = request.args.get("taken_back", "")
    return said if RUN_ID.fullmatch(said) and not is_here(said) else None


def how_far(run: Run) -> HowFar | None:
    """Of a replay that goes on, or was killed; None of any other run."""
    return read(run.folder) if run.manifest.replay_of is not None and run.manifest.finished is None else None


CONTEXT = {"is_here": is_here, "replays_of": replays_of, "how_far": how_far, "taken_back": taken_back}
