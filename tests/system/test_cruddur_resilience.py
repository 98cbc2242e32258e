"""A backend that is down, hanging or wrong costs no request, and stops neither the start nor the end of a service."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import requests

from compose.settings import ROOT
from tests import cruddur_process, cruddur_sinks
from tests.ports import free_port
from tests.waiting import until

PORTS = ("OTLP_GRPC_PORT", "XRAY_DAEMON_PORT", "AWS_PORT", "ROLLBAR_PORT")
#: Shorter than the time-out of any client of a backend: a request that waited for one would not be in time.
PATIENCE = 2.5


@contextmanager
def _hanging() -> Iterator[int]:
    """A TCP server that accepts and then says nothing."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:

        def accept() -> None:
            while True:
                try:
                    held.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for connection in held:
                connection.close()


@contextmanager
def _wrong() -> Iterator[int]:
    """A server that answers everything with 403 and something that is not what was asked for."""

    class Forbidden(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(403)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"no")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with cruddur_sinks.serving(Forbidden) as port:
        yield port


def _environment(ports: dict[str, str]) -> dict[str, str]:
    return {
        "BACKENDS": "honeycomb,xray,cloudwatch,rollbar",
        "SANDBOX": "true",
        "MODE": "offline",
        "DATABASE_URL": "",
        "PROFILES_URL": f"http://127.0.0.1:{free_port()}",
        **ports,
    }


@pytest.mark.parametrize("trouble", ["dead", "hanging", "wrong"])
def test_requests_are_answered_and_the_service_ends(trouble: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        servers = {"hanging": _hanging, "wrong": _wrong}
        ports = {name: str(stack.enter_context(servers[trouble]()) if trouble in servers else free_port()) for name in PORTS}
        with cruddur_process.running("cruddur", free_port(), _environment(ports), tmp_path) as cruddur, requests.Session() as session:
            for _ in range(5):
                home = session.get(f"{cruddur.url}/api/activities/home", timeout=PATIENCE)
                assert (home.status_code, len(home.json())) == (200, 20)
                failing = session.get(f"{cruddur.url}/api/activities/home", headers={"X-Parallax-Fault": "exception"}, timeout=PATIENCE)
                assert failing.status_code == 500
                assert session.get(f"{cruddur.url}/rollbar/test", timeout=PATIENCE).text == "Hello World!"
                # profiles is not there either: an answer, not an exception.
                assert session.get(f"{cruddur.url}/api/activities/@ada.abbott", timeout=PATIENCE).status_code == 502
            assert cruddur.stop() == 0
        log = cruddur.log.read_text()
        assert "were not delivered" in log, "what is lost is told"
        assert "SegmentNotFound" not in log
        assert "cannot find the current segment" not in log
        assert "parallax0local" not in log, "a token is in the log"


def test_a_collector_that_is_away_for_a_while_costs_nothing(tmp_path: Path) -> None:
    seen, port = cruddur_sinks.Seen(), free_port()
    ports = {**{name: str(free_port()) for name in PORTS}, "OTLP_GRPC_PORT": str(port)}
    environment = {**_environment(ports), "BACKENDS": "honeycomb"}
    trace = "{:08x}" + "b" * 24

    def send(url: str, numbers: range) -> set[str]:
        for number in numbers:
            headers = {"traceparent": f"00-{trace.format(number + 1)}-{'c' * 16}-01", "baggage": "run=away"}
            assert requests.get(f"{url}/api/activities/home", headers=headers, timeout=10).status_code == 200
        return {trace.format(number + 1) for number in numbers}

    def servers() -> list[str]:
        return sorted(span.trace_id for span in seen.spans if span.kind == 2)

    with cruddur_process.running("cruddur", free_port(), environment, tmp_path) as cruddur:
        with cruddur_sinks.otlp(seen, port):
            sent = send(cruddur.url, range(20))
            until(lambda: servers() == sorted(sent), 20, "the first spans")
        # Gone. Long enough for an exporter of the SDK to give up: it says so, and the batch is kept all the same.
        sent |= send(cruddur.url, range(20, 40))
        until(lambda: "Failed to export traces" in cruddur.log.read_text(), 30, "the exporter to give up")
        sent |= send(cruddur.url, range(40, 60))
        with cruddur_sinks.otlp(seen, port):
            until(lambda: servers() == sorted(sent), 30, "every span, each once")
            assert cruddur.stop() == 0
    durations = [p for p in seen.points if p.metric == "http.server.request.duration" and p.attributes.get("run") == "away"]
    assert sum(point.amount for point in durations) == len(sent)
    assert sorted(log.trace_id for log in seen.logs if log.event == "request" and log.trace_id in sent) == sorted(sent)
    assert "were not delivered" not in cruddur.log.read_text()


SDKS = {
    "": set(),
    "honeycomb": {"opentelemetry"},
    "xray": {"opentelemetry", "aws_xray_sdk", "botocore"},
    "cloudwatch": {"opentelemetry", "watchtower", "boto3", "botocore"},
    "rollbar": {"rollbar"},
}


@pytest.mark.parametrize("backends", SDKS)
def test_a_backend_that_is_off_is_not_imported(backends: str, tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from services.cruddur.app import create_app
from tests.unit.cruddur_settings import quiet
nowhere = dict(otlp_grpc_port={free_port()}, aws_port={free_port()}, xray_daemon_port={free_port()}, rollbar_port={free_port()})
app = create_app(quiet(Path({str(tmp_path)!r}), backends={backends!r}, **nowhere))
assert app.test_client().get("/api/activities/home").status_code == 200
print(*{{name.split(".")[0] for name in sys.modules}})
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert loaded & set().union(*SDKS.values()) == SDKS[backends]
