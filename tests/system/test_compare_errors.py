"""What compare cannot do it says in one line with the thing and the next command: exit status 2, nothing on standard output."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from compose.settings import ROOT, Settings
from tests.api.servers import environment, hermetic_settings
from tests.compare_run import RUN, requests, write_run


def _nothing(settings: Settings) -> None:
    pass


def _run(settings: Settings) -> None:
    write_run(settings, requests(4))


def _cut(settings: Settings) -> None:
    _run(settings)
    ledger = settings.runs_dir / RUN / "ledger-0.jsonl"
    ledger.write_bytes(ledger.read_bytes()[:-40])


def _no_manifest(settings: Settings) -> None:
    _run(settings)
    (settings.runs_dir / RUN / "manifest.json").write_text("{")


def _prices(settings: Settings) -> None:
    _run(settings)
    (settings.state_dir / "prices.json").write_text("{}")


@pytest.mark.parametrize(
    ("prepare", "arguments", "overrides", "named", "next_command"),
    [
        (_nothing, [], {}, "there is no run", "`make load`"),
        (_run, [], {"RUN": "20200101-000000-0000"}, "20200101-000000-0000", f"`make compare RUN={RUN}`"),
        (_run, ["--run", "../etc"], {}, "'../etc'", f"`make compare RUN={RUN}`"),
        (_cut, [], {}, "ledger-0.jsonl line 4 is cut", "`make load`"),
        (_no_manifest, [], {}, "manifest.json is not a run's manifest", "`make load`"),
        (_run, [], {"MODE": "online"}, f"run {RUN} was made offline", "MODE=offline"),
        (_run, [], {"FORMAT": "xml"}, "FORMAT", "docs/settings.md"),
        (_prices, [], {}, "prices.json is not a table of prices", "remove it"),
        (_nothing, ["trace", "nonsense"], {}, "'nonsense' is not a trace id", "`make compare`"),
    ],
)
def test_one_line_that_names_it_and_the_next_command(
    tmp_path: Path, prepare: Callable[[Settings], None], arguments: list[str], overrides: dict[str, str], named: str, next_command: str
) -> None:
    settings = hermetic_settings(state_dir=tmp_path)
    prepare(settings)
    done = subprocess.run(
        [sys.executable, "-m", "services.compare", *arguments],
        cwd=ROOT,
        env=environment(settings) | overrides,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert named in line
    assert next_command in line
