"""What compare cannot do it says in one line with the thing and the next command: exit status 2, nothing on standard output."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from compose.settings import ROOT, Settings, SignalPath
from tests.api.servers import environment, hermetic_settings
from tests.compare_run import RUN, requests, write_run

#: A trace id of no run.
TRACE = "65937d80" + "ab" * 12


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
        (_nothing, ["trace"], {}, "say which trace", "`make trace ID=<trace id>`"),
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


@pytest.mark.parametrize(("arguments", "hangs"), [([], "/TraceSummaries"), ([], "/Traces"), (["trace", TRACE], "/Traces")])
def test_ctrl_c_does_not_wait_for_a_backend_that_hangs(tmp_path: Path, arguments: list[str], hangs: str) -> None:
    entries = requests(4)
    asked = threading.Event()
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == hangs:
                asked.set()
                over.wait(60)
            summaries = [{"Id": f"1-{entry.trace_id[:8]}-{entry.trace_id[8:]}"} for entry in entries]
            body = json.dumps({"TraceSummaries": summaries}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        settings = hermetic_settings(state_dir=tmp_path, aws_port=server.server_address[1], backends="xray")
        write_run(settings, entries, [SignalPath.XRAY_SDK])
        compare = subprocess.Popen(
            [sys.executable, "-m", "services.compare", *arguments],
            cwd=ROOT,
            env=environment(settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert asked.wait(60), "X-Ray was not asked"
        compare.send_signal(signal.SIGINT)
        try:
            out, err = compare.communicate(timeout=30)
        finally:
            compare.kill()
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()
    assert (compare.returncode, out, err) == (130, "", "compare: stopped; nothing was changed\n")


def test_a_trace_whose_vendors_are_all_down_is_no_success(tmp_path: Path) -> None:
    settings = hermetic_settings(state_dir=tmp_path, aws_port=9, honeycomb_port=9, rollbar_port=9)
    entries = requests(1)
    write_run(settings, entries)
    done = subprocess.run(
        [sys.executable, "-m", "services.compare", "trace", entries[0].trace_id],
        cwd=ROOT,
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "No path could be read. Next: `make status`" in done.stdout
    assert "Traceback" not in done.stderr
