"""``make clean``: removes what runs have left, and nothing that Parallax did not make."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from compose.sandbox import files_of
from compose.settings import ROOT, Settings

#: What lies in a state folder. Anything else there is the user's: STATE_DIR may name a folder with other things in it.
_STATE = ("data", "queues", "recorded", "replays", "logs", "runs", "supervisor", "sandbox.json", "events.jsonl")
_CACHES = (".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis")


def _remove(path: Path) -> bool:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.exists() or path.is_symlink():
        path.unlink()
    else:
        return False
    return True


def state(settings: Settings, say: Callable[[str], None]) -> None:
    """Remove databases, queues, recordings, logs, runs and the checkers' caches. The sandbox must be down."""
    folder = files_of(settings).state_dir
    removed = [name for name in _STATE if _remove(folder / name)]
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    for name in _CACHES:
        _remove(ROOT / name)
    say(f"clean: removed {', '.join(removed)} from {settings.state_dir}" if removed else f"clean: nothing was left in {settings.state_dir}")
