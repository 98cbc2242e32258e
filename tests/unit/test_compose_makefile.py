"""The Makefile: it lists itself, hands settings on, and works before anything is installed."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from compose.settings import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()


def make(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("REQUESTS", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(["make", *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60)


def test_make_alone_lists_every_target_and_the_most_used_settings() -> None:
    listed = make("PYTHON=no-such-python")
    assert listed.returncode == 0, "it must work where nothing is installed"
    targets = re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE)
    assert "demo" in targets
    for target in targets:
        assert re.search(rf"^  {target} +\S", listed.stdout, re.MULTILINE), f"{target} has no ## comment"
    assert (ROOT / "compose" / "help.txt").read_text() in listed.stdout


def test_every_target_is_phony() -> None:
    phony = re.search(r"^\.PHONY: ((?:.*\\\n)*.*)$", MAKEFILE, re.MULTILINE)
    assert phony is not None
    assert set(phony[1].replace("\\\n", " ").split()) == set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def test_a_setting_on_the_command_line_reaches_the_command() -> None:
    assert (
        make("--eval=probe: ; @echo $$REQUESTS $$BACKENDS", "probe", "REQUESTS=300", "BACKENDS=xray,rollbar").stdout == "300 xray,rollbar\n"
    )


@pytest.mark.parametrize(("words", "chosen"), [((), False), (("PYTHON=python3.12",), True)])
def test_only_a_python_that_was_named_is_a_choice(words: tuple[str, ...], chosen: bool) -> None:
    assert ("--chosen" in make("-n", "setup", *words).stdout) == chosen


@pytest.mark.parametrize("target", ["setup", "setup-dev"])
def test_a_python_that_is_not_there_is_named_with_what_to_install(target: str) -> None:
    done = make(target, "PYTHON=python3.99")
    assert done.returncode != 0
    first, *_ = done.stderr.splitlines()
    assert first.startswith(
        "set-up: there is no python3.99 here; install Python 3.11 or newer (Debian: sudo apt install python3 python3-venv)"
    )
    assert first.endswith("make PYTHON=python3.12")


def test_commands_get_a_process_name_or_none() -> None:
    assert "compose kill 'rollbar'" in make("-n", "kill", "NAME=rollbar").stdout
    assert make("-n", "kill").stdout.rstrip().endswith("compose kill")


def test_demo_ends_with_compares_status_and_leaves_the_sandbox_up(tmp_path: Path) -> None:
    """With programs in the place of the real ones: each step runs, and make fails because compare did."""
    (tmp_path / "Makefile").write_text(MAKEFILE)
    (tmp_path / "compose").mkdir()
    (tmp_path / "compose" / "bootstrap.py").write_text("")
    program = tmp_path / ".venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "$@" >> calls\n[ "$2" != services.compare ]\n')
    program.chmod(0o755)
    done = make("demo", cwd=tmp_path)
    assert done.returncode != 0
    assert (tmp_path / "calls").read_text().splitlines() == ["-m compose up", "-m loadtest", "-m services.compare", "-m compose hint"]


def test_continuous_integration_runs_the_readmes_test_command_and_nothing_else() -> None:
    run = (ROOT / ".ci" / "run").read_text()
    commands = [line for line in run.splitlines() if line and not line.startswith("#")]
    assert commands == ['cd "$(dirname "$0")/.." && exec make test']
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert "make test" in (ROOT / "README.md").read_text()
