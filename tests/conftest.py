"""Fixtures of more than one folder of tests."""

from __future__ import annotations

import pytest

from compose.settings import Settings


@pytest.fixture
def default_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting has its default in this test, whatever the shell or .env of whoever runs it says."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setitem(Settings.model_config, "env_file", None)
