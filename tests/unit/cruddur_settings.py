"""Settings for tests of the application in one process: no backend, a database of their own, nothing of the environment's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compose.settings import Settings


def quiet(directory: Path, **overrides: Any) -> Settings:
    """Settings with every backend off, no profiles service and the database in ``directory``, unless overridden."""
    values: dict[str, Any] = {"backends": "", "state_dir": directory, "database_url": "", "mode": "offline", "sandbox": True}
    # Where nobody listens, whatever else runs on this machine: nothing does at port 9, "discard", on loopback.
    values |= {"profiles_url": "http://127.0.0.1:9"} | overrides
    return Settings(_env_file=None, **values)  # type: ignore[call-arg]
