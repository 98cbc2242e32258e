"""Fixtures of more than one folder of tests."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import hypothesis
import pytest

from compose.settings import Settings

# How long an example takes says something of the machine and nothing of the property. In CI the same examples every time: a
# change is judged by what it changed, and new examples are looked for where somebody can look into them.
hypothesis.settings.register_profile(
    "parallax", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], derandomize=bool(os.environ.get("CI"))
)
hypothesis.settings.load_profile("parallax")


def pytest_configure() -> None:
    """Take Ctrl-C again where a shell started the tests in the background: what they start would inherit its being ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``--dist loadfile``, one process gets the whole folder of browser tests, so that they share a browser, a sandbox and a run."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByFileOrBrowser(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return "tests/browser" if file.startswith("tests/browser/") else file

    return ByFileOrBrowser(config, log)


def pytest_unconfigure() -> None:
    """Close the socket that importing the X-Ray SDK opens; left open, it would be warned of after the summary."""
    core = sys.modules.get("aws_xray_sdk.core")
    if core is not None:
        core.xray_recorder.emitter._socket.close()


@pytest.fixture
def default_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting has its default in this test, whatever the shell or .env of whoever runs it says."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setitem(Settings.model_config, "env_file", None)
