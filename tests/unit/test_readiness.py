"""Asking whether a worker serves must cost nothing that compare counts, and stand outside of everything instrumented."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask

from services.cruddur.app import create_app as cruddur
from services.profiles.app import create_app as profiles
from services.readiness import READY_PATH
from tests.unit.cruddur_settings import quiet


@pytest.mark.parametrize("make", [cruddur, profiles])
def test_ready_is_answered_outside_of_the_application(make: type[Flask], tmp_path: Path) -> None:
    app = make(quiet(tmp_path))  # type: ignore[arg-type]
    seen: list[str] = []
    app.before_request(lambda: seen.append("a request"))
    answer = app.test_client().get(READY_PATH)
    assert (answer.status_code, answer.data, seen) == (204, b"", [])
    assert app.test_client().get("/api/health-check").status_code == 200
    assert seen == ["a request"]
