"""The table of expected signals: what it promises beyond what the system test holds the services against."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from compose.settings import ROOT, SignalPath
from services.cruddur.app import create_app
from services.cruddur.signals import Outcome, Route, expected
from services.cruddur.signals_markdown import render
from tests.unit.cruddur_settings import quiet


def test_a_request_without_an_answer_expects_nothing() -> None:
    assert all(expected(route, outcome, None) == () for route in Route for outcome in Outcome)


@pytest.mark.parametrize("route", Route)
@pytest.mark.parametrize("status", [200, 201, 400, 404, 405, 413, 415, 422, 500, 502, 503, 504])
def test_every_answer_shows_on_every_path_but_rollbar(route: Route, status: int) -> None:
    paths = {signal.path for signal in expected(route, Outcome.OK, status)}
    assert paths >= set(SignalPath) - {SignalPath.ROLLBAR_SDK}


def test_routes_are_those_of_the_application(tmp_path: Path) -> None:
    app = create_app(quiet(tmp_path))
    rules = {f"{method} {rule.rule}" for rule in app.url_map.iter_rules() for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    assert rules == {route.value for route in Route} - {Route.UNMATCHED.value}


def test_documentation_is_current() -> None:
    committed = (ROOT / "docs" / "signals.md").read_text(encoding="utf-8")
    assert committed == render(), "run: python -m services.cruddur.signals --write"


def test_the_command_prints_the_documentation() -> None:
    command = [sys.executable, "-m", "services.cruddur.signals"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == render()
    assert subprocess.run([*command, "--nonsense"], cwd=ROOT, capture_output=True, check=False).returncode == 2
