"""Settings for tests of the application in one process: no backend, a database of their own, nothing of the environment's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compose.settings import Settings


def quiet(directory: Path, **overrides: Any) -> Settings:
    """Settings with every backend off and the database in ``directory``, unless overridden."""
    values: dict[str, Any] = {"backends": "", "state_dir": directory, "database_url": "", "mode": "offline", "sandbox": True, **overrides}
    return Settings(_env_file=None, **values)  # type: ignore[call-arg]
