"""Finding a Chromium: what is said where there is none. (That one is found or made, every other test of this folder shows.)"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from compose.settings import ROOT

#: Runs the command as on a machine that has no browser, no apt, and no way to Playwright's: its folder for builds is another one.
ELSEWHERE = """
import sys
from pathlib import Path
from tests.browser import chromium
chromium.BUILD = Path(sys.argv[1])
sys.exit(chromium.main())
"""


def find(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(("named", "why"), [("no-such-browser", "no program of that name"), ("false", "false ended with 1")])
def test_a_browser_that_was_named_and_does_not_run_is_no_reason_to_take_another(named: str, why: str) -> None:
    done = find("-m", "tests.browser.chromium", CHROMIUM=named)
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"chromium: CHROMIUM={named}: {why}" in done.stderr
    assert "unset CHROMIUM" in done.stderr


def test_where_none_can_be_had_the_next_command_is_named(tmp_path: Path) -> None:
    nothing = {
        "CHROMIUM": "",
        "PATH": str(tmp_path),
        "PLAYWRIGHT_BROWSERS_PATH": str(tmp_path),
        "PLAYWRIGHT_DOWNLOAD_HOST": "http://127.0.0.1:1",
    }
    done = find("-c", ELSEWHERE, str(tmp_path / "chromium"), **nothing)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "there is no Chromium on the PATH and none can be fetched" in done.stderr
    assert "next: sudo apt install chromium" in done.stderr.splitlines()[-1]
