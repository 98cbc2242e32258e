"""`make open`: the page that is served, or else served here, and never another program's."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from compose.settings import ROOT, Settings
from services.compare.web.__main__ import serves
from tests.api.servers import environment, hermetic_settings
from tests.ports import free_port
from tests.waiting import until

BOUND = 60


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return hermetic_settings(state_dir=tmp_path, compare_port=free_port())


@contextmanager
def open_page(settings: Settings, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """``make open``'s command, on a machine without a screen."""
    variables = {name: value for name, value in environment(settings).items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    with subprocess.Popen(
        [sys.executable, "-m", "services.compare.web", *arguments],
        cwd=ROOT,
        # Should a test's machine have a browser, it is this one.
        env=variables | {"BROWSER": "true"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def test_where_nothing_serves_it_is_served_until_ctrl_c_and_once_only(settings: Settings) -> None:
    with open_page(settings, "--open") as first:
        until(lambda: serves(settings.page_url), BOUND, "the page to be served")
        with open_page(settings, "--open") as second:
            out, err = second.communicate(timeout=BOUND)
            assert (second.returncode, out, err) == (0, f"{settings.page_url}\n", ""), "it is there already"
        with open_page(settings) as third:
            _, err = third.communicate(timeout=BOUND)
            assert third.returncode == 2
            assert err == f"compare: port 127.0.0.1:{settings.compare_port} is in use; `make doctor` names the process that holds it\n"
        first.send_signal(signal.SIGINT)
        out, err = first.communicate(timeout=BOUND)
        assert first.returncode == 0
        assert out == f"{settings.page_url}  (served here until Ctrl-C: the sandbox is not up)\n"
        assert "Traceback" not in err
    assert serves(settings.page_url) is None


class Foreign(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"something else")

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def test_another_program_on_the_port_is_named_as_such(settings: Settings) -> None:
    with ThreadingHTTPServer(("127.0.0.1", settings.compare_port), Foreign) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        assert serves(settings.page_url) is False
        with open_page(settings, "--open") as process:
            out, err = process.communicate(timeout=BOUND)
        server.shutdown()
        thread.join()
    assert (process.returncode, out) == (1, "")
    assert err == f"open: port {settings.compare_port} (COMPARE_PORT) is another program's; `make doctor` names it\n"


@pytest.mark.parametrize(
    ("bind", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:4580/"),
        ("0.0.0.0", "http://127.0.0.1:4580/"),
        ("::", "http://[::1]:4580/"),
        ("::1", "http://[::1]:4580/"),
        ("192.0.2.7", "http://192.0.2.7:4580/"),
    ],
    ids=["loopback", "all", "all-v6", "loopback-v6", "address"],
)
def test_its_address_is_one_that_a_browser_here_reaches(bind: str, address: str) -> None:
    assert hermetic_settings(bind_host=bind).page_url == address
