"""Running it: what up, down and the other commands promise, on real processes supervised by a real supervisord."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from compose import events, leftovers, supervision
from compose.sandbox import files_of
from compose.settings import ROOT, Settings, load
from tests.ports import free_ports
from tests.sandbox import Result
from tests.system.tiny import declared
from tests.waiting import until


@dataclass
class Tiny:
    """A sandbox of tiny processes, each an HTTP server of the standard library."""

    state_dir: Path
    rows: list[dict[str, Any]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, tier: str = "VENDOR", command: list[str] | None = None, protocol: str = "tcp", **environment: str) -> int:
        """Declare one process; its port."""
        (port,) = free_ports(1)
        serve = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
        ports = [{"setting": f"{name.upper()}_PORT", "number": port, "protocols": [protocol]}]
        self.rows.append({"name": name, "command": command or serve, "ports": ports, "environment": environment, "tier": tier})
        return port

    def run(self, *arguments: str, **settings: str) -> Result:
        """One command line, as make calls it."""
        self.state_dir.with_suffix(".json").write_text(json.dumps(self.rows))
        names = {name.upper() for name in Settings.model_fields}
        environment = {name: value for name, value in os.environ.items() if name not in names}
        environment |= {"STATE_DIR": str(self.state_dir)} | self.environment | settings
        done = subprocess.run(
            [sys.executable, "-m", "tests.system.tiny", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def ok(self, *arguments: str, **settings: str) -> Result:
        result = self.run(*arguments, **settings)
        assert result.status == 0, f"{arguments}: {result.out}{result.err}"
        return result

    def processes(self) -> dict[str, psutil.Process]:
        """What runs of this sandbox, by name; the supervisor and its listener have none of ours."""
        found = leftovers.find(self.state_dir)
        return {environment.get(leftovers.NAME, f"supervisor {process.pid}"): process for process, environment in found.items()}

    def pids(self) -> dict[str, int]:
        return {name: process.pid for name, process in self.processes().items() if not name.startswith("supervisor")}

    def supervisor(self) -> psutil.Process:
        return psutil.Process(int((self.state_dir / "supervisor" / "supervisord.pid").read_text()))

    def events(self, name: str) -> list[events.Event]:
        return [event for event in events.read(self.state_dir / "events.jsonl") if event.process == name]


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Tiny]:
    made = Tiny(tmp_path / "state")
    try:
        yield made
    finally:
        made.run("down")
        assert made.processes() == {}, "a test has left processes behind"


def serves(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# --- Up and down


def test_up_serves_and_down_leaves_nothing(sandbox: Tiny) -> None:
    ports = [sandbox.add("one", "APPLICATION"), sandbox.add("two")]
    up = sandbox.ok("up")
    assert all(serves(port) for port in ports), "up returned before everything served"
    assert all(str(port) in up.err for port in ports)
    status = sandbox.ok("status")
    assert "running" in status.out or "starting" in status.out
    assert all(str(pid) in status.out for pid in sandbox.pids().values())
    sandbox.ok("down")
    assert sandbox.processes() == {}
    assert not any(serves(port) for port in ports)
    assert sandbox.run("status").status == 1


def test_up_twice_and_down_twice_are_harmless(sandbox: Tiny) -> None:
    sandbox.add("one")
    sandbox.ok("up")
    before = sandbox.pids()
    sandbox.ok("up")
    assert sandbox.pids() == before
    sandbox.ok("down")
    sandbox.ok("down")


def test_two_ups_at_once_make_one_sandbox(sandbox: Tiny) -> None:
    sandbox.add("one")
    sandbox.state_dir.with_suffix(".json").write_text(json.dumps(sandbox.rows))
    command = [sys.executable, "-m", "tests.system.tiny", "up"]
    environment = os.environ | {"STATE_DIR": str(sandbox.state_dir)}
    both = [subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert len(sandbox.events("one")) == 1


def test_the_sandbox_outlives_the_terminal_it_was_started_from(sandbox: Tiny) -> None:
    sandbox.add("one")
    sandbox.ok("up")
    assert all(os.getsid(process.pid) != os.getsid(0) for process in sandbox.processes().values())


def test_applications_end_first_so_that_their_last_telemetry_arrives(sandbox: Tiny) -> None:
    for name, tier in (("vendor", "VENDOR"), ("application", "APPLICATION"), ("daemon", "DAEMON"), ("collector", "COLLECTOR")):
        sandbox.add(name, tier)
    sandbox.ok("up")
    sandbox.ok("down")
    ends = [event for event in events.read(sandbox.state_dir / "events.jsonl") if event.event == "exited"]
    assert [event.process for event in ends] == ["application", "collector", "daemon", "vendor"]
    assert all(event.expected for event in ends)


def test_status_says_that_a_killed_supervisor_left_processes_behind(sandbox: Tiny) -> None:
    sandbox.add("one")
    sandbox.ok("up")
    supervisor = sandbox.supervisor()
    supervisor.kill()
    until(lambda: leftovers.has_ended(supervisor), 10, "the supervisor's end")
    status = sandbox.run("status")
    assert status.status == 1
    assert re.search(r"was killed; \d processes run without it\. Next: make up, or make down", status.out)


def test_down_ends_what_a_killed_supervisor_left_behind(sandbox: Tiny) -> None:
    sandbox.add("one", "APPLICATION")
    sandbox.add("two")
    sandbox.ok("up")
    sandbox.supervisor().kill()
    until(lambda: len(sandbox.processes()) == 2, 10, "only the two orphans to be left")
    assert "make down" in sandbox.run("doctor").out
    sandbox.ok("down")
    assert sandbox.processes() == {}
    assert [event.event for event in sandbox.events("two")] == ["started", "exited"]


def test_up_after_a_killed_supervisor_starts_afresh(sandbox: Tiny) -> None:
    port = sandbox.add("one")
    sandbox.ok("up")
    before = sandbox.pids()
    sandbox.supervisor().kill()
    up = sandbox.ok("up")
    assert "left behind" in up.err
    assert serves(port)
    assert not before.items() & sandbox.pids().items()


def test_down_finds_everything_even_without_its_state_folder(sandbox: Tiny) -> None:
    sandbox.add("one")
    sandbox.ok("up")
    shutil.rmtree(sandbox.state_dir)
    sandbox.ok("down")
    assert sandbox.processes() == {}


def test_a_hanging_supervisor_does_not_stop_down(sandbox: Tiny) -> None:
    sandbox.add("one")
    sandbox.ok("up")
    sandbox.supervisor().send_signal(signal.SIGSTOP)
    sandbox.ok("down")
    assert sandbox.processes() == {}


def test_another_sandbox_is_never_touched(sandbox: Tiny, tmp_path: Path) -> None:
    other = Tiny(tmp_path / "other")
    other_port = other.add("one")
    try:
        other.ok("up")
        sandbox.add("one")
        sandbox.ok("up")
        sandbox.supervisor().kill()
        sandbox.ok("down")
        assert serves(other_port)
    finally:
        other.ok("down")


def test_a_state_folder_too_deep_for_a_unix_socket(tmp_path: Path) -> None:
    sandbox = Tiny(tmp_path / ("deep" * 30) / "state")
    sandbox.state_dir.parent.mkdir()
    port = sandbox.add("one")
    try:
        sandbox.ok("up")
        assert serves(port)
        sandbox.ok("status")
    finally:
        sandbox.ok("down")
    assert sandbox.processes() == {}


# --- Ports


@pytest.mark.parametrize(("kind", "protocol"), [(socket.SOCK_STREAM, "tcp"), (socket.SOCK_DGRAM, "udp")])
def test_a_busy_port_is_named_with_its_holder_before_anything_starts(sandbox: Tiny, kind: socket.SocketKind, protocol: str) -> None:
    port = sandbox.add("one", protocol=protocol)
    sandbox.add("two")
    with socket.socket(socket.AF_INET, kind) as holder:
        holder.bind(("127.0.0.1", port))
        if protocol == "tcp":
            holder.listen()
        up = sandbox.run("up")
        doctor = sandbox.run("doctor")
    assert up.status == 1
    assert f"port {port}/{protocol} (one, HTTP) is held by pid {os.getpid()}" in up.err
    assert "ONE_PORT" in up.err
    assert sandbox.processes() == {}
    assert not (sandbox.state_dir / "events.jsonl").exists()
    assert doctor.status == 1
    assert f"port {port}/{protocol}" in doctor.out


def test_a_port_of_another_sandbox_is_named_too(sandbox: Tiny, tmp_path: Path) -> None:
    other = Tiny(tmp_path / "other")
    try:
        other.add("one")
        other.ok("up")
        sandbox.rows = other.rows
        up = sandbox.run("up")
    finally:
        other.ok("down")
    assert up.status == 1
    assert "http.server" in up.err


# --- X-Ray's rule and group


def test_up_goes_on_without_x_ray_and_says_what_was_not_made(sandbox: Tiny) -> None:
    """The process called aws serves, but is no X-Ray."""
    port = sandbox.add("aws")
    up = sandbox.ok("up", AWS_PORT=str(port))
    assert f"up: neither sampling rule nor group were looked after: X-Ray (http://127.0.0.1:{port}) does not answer: " in up.err
    assert "make init" in up.err
    assert serves(port)


def test_init_without_x_ray_has_nothing_to_make(sandbox: Tiny) -> None:
    sandbox.add("one")
    assert sandbox.ok("init", BACKENDS="rollbar").err == "init: nothing to make, xray is not in BACKENDS\n"


# --- One process


def test_a_process_that_dies_comes_back_and_its_absence_is_recorded(sandbox: Tiny) -> None:
    port = sandbox.add("one")
    sandbox.ok("up")
    pid = sandbox.pids()["one"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: sandbox.pids().get("one", pid) != pid and serves(port), 20, "one to come back")
    until(lambda: len(sandbox.events("one")) == 3, 10, "its end to be recorded")
    recorded = sorted(sandbox.events("one"))
    assert {(event.event, event.expected) for event in recorded if event.pid == pid} == {("started", True), ("exited", False)}
    assert [event.pid for event in recorded if event.event == "started"] == [pid, sandbox.pids()["one"]]


def test_kill_takes_the_whole_process_away_and_says_when(sandbox: Tiny) -> None:
    port = sandbox.add("one")
    # A parent that waits for the child that serves, as gunicorn's does.
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-m', 'http.server', '--bind', '127.0.0.1', '{port}'])"
    sandbox.rows[0]["command"] = [sys.executable, "-c", program]
    sandbox.ok("up")
    pid = sandbox.pids()["one"]
    child = psutil.Process(sandbox.supervisor().pid).children(recursive=True)
    sandbox.ok("kill", "one")
    until(lambda: not psutil.pid_exists(pid) and serves(port), 20, "one to come back")
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in child if "http.server" in str(process))
    assert [event.event for event in sandbox.events("one")][:3] == ["started", "killed", "exited"]
    (span,) = events.away(sandbox.events("one"), "one")
    assert span[1] is not None
    assert span[1] > span[0]


def test_a_stopped_process_stays_away_until_it_is_started(sandbox: Tiny) -> None:
    port = sandbox.add("one")
    sandbox.add("two")
    sandbox.ok("up")
    sandbox.ok("stop", "one")
    assert not serves(port)
    status = sandbox.run("status")
    assert status.status == 1
    assert "not running: one" in status.out
    sandbox.ok("stop", "one")
    sandbox.ok("start", "one")
    assert serves(port)
    sandbox.ok("stop", "one")
    sandbox.ok("up")
    assert serves(port)
    once = [("started", True), ("stopping", True), ("exited", True)]
    assert [(event.event, event.expected) for event in sandbox.events("one")] == [*once, *once, ("started", True)]


def test_a_process_that_does_not_start_is_named_with_what_it_says(sandbox: Tiny) -> None:
    good = sandbox.add("good")
    sandbox.add("bad", command=[sys.executable, "-c", "import sys; sys.exit('bad: the file x.duckdb is not mine')"])
    up = sandbox.run("up")
    assert up.status == 1
    assert "bad does not start: bad: the file x.duckdb is not mine" in up.err
    assert "make logs NAME=bad" in up.err
    assert serves(good), "the others are left for a look"


def test_why_a_program_refuses_is_told_and_not_what_its_server_says_of_it(sandbox: Tiny) -> None:
    words = [
        "cruddur: DATABASE_URL cannot be used",
        "[ERROR] Worker exited with code 3.",
        "[ERROR] Shutting down",
        "[ERROR] Failed to boot.",
    ]
    sandbox.add("cruddur", command=[sys.executable, "-c", f"import sys; sys.exit({chr(10).join(words)!r})"])
    up = sandbox.run("up")
    assert up.status == 1
    assert "cruddur does not start: cruddur: DATABASE_URL cannot be used\n" in up.err


def test_a_program_that_is_not_there_is_named(sandbox: Tiny) -> None:
    sandbox.add("bad", command=[str(sandbox.state_dir / "no-such-program")])
    up = sandbox.run("up")
    assert up.status == 1
    assert re.search(r"bad does not start: bad: cannot run .*no-such-program: No such file", up.err)


@pytest.mark.parametrize("command", ["start", "stop", "kill", "restart"])
def test_a_name_that_does_not_exist_is_answered_with_those_that_do(sandbox: Tiny, command: str) -> None:
    sandbox.add("one")
    assert "make up" in sandbox.run(command, "one").err
    sandbox.ok("up")
    for arguments in ((command, "three"), (command,)):
        result = sandbox.run(*arguments)
        assert result.status == 1
        assert "choose NAME= from one" in result.err


# --- Settings


def test_a_changed_setting_restarts_only_what_it_concerns(sandbox: Tiny) -> None:
    sandbox.add("one")
    sandbox.add("two")
    sandbox.add("three")
    sandbox.ok("up")
    before = sandbox.pids()
    sandbox.rows[1]["environment"]["KEY"] = "new"
    three = sandbox.rows.pop()
    four = sandbox.add("four")
    sandbox.ok("up")
    after = sandbox.pids()
    assert after["one"] == before["one"]
    assert after["two"] != before["two"]
    assert sandbox.processes()["two"].environ()["KEY"] == "new"
    assert set(after) == {"one", "two", "four"}
    assert serves(four)
    assert not serves(three["ports"][0]["number"])


def test_what_is_no_longer_wanted_ends_after_the_applications_that_send_to_it(sandbox: Tiny) -> None:
    # An application takes a moment to end; until then the vendor must be there.
    slow = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), exit(0)))"
    port = sandbox.add("application", tier="APPLICATION")
    serve = f"{slow}; import http.server; http.server.test(port={port}, bind='127.0.0.1')"
    sandbox.rows[0]["command"] = [sys.executable, "-c", serve]
    sandbox.add("vendor")
    sandbox.ok("up")
    sandbox.rows.pop()
    sandbox.rows[0]["environment"]["BACKENDS"] = "none"
    sandbox.ok("up")
    ends = [event.process for event in events.read(sandbox.state_dir / "events.jsonl") if event.event == "exited"]
    assert ends == ["application", "vendor"]


def test_up_goes_on_where_an_interrupted_one_left_off(sandbox: Tiny) -> None:
    sandbox.add("one")
    sandbox.ok("up")
    before = sandbox.pids()
    two = sandbox.add("two")
    sandbox.ok("status")
    # As far as an `up` comes that Ctrl-C ends between writing the configuration and telling supervisord of it.
    settings = load(_env_file=None, state_dir=sandbox.state_dir)
    supervision.write(files_of(settings), declared(settings))
    sandbox.ok("up")
    assert sandbox.pids()["one"] == before["one"]
    assert serves(two)


def test_status_says_that_settings_have_changed(sandbox: Tiny) -> None:
    sandbox.add("one")
    sandbox.ok("up")
    assert "CRUDDUR_THREADS" in sandbox.ok("status", CRUDDUR_THREADS="3").out
    assert "changed" not in sandbox.ok("status", REQUESTS="3").out


def test_what_the_sandbox_runs_with_is_written_down_without_keys(sandbox: Tiny) -> None:
    sandbox.add("one")
    sandbox.ok("up", HONEYCOMB_API_KEY="hcaik_very_secret", SEED="5")
    text = (sandbox.state_dir / "sandbox.json").read_text()
    assert json.loads(text)["seed"] == "5"
    assert "very_secret" not in text


@pytest.mark.parametrize("command", ["up", "down", "status", "doctor"])
def test_a_wrong_setting_is_one_line_and_nothing_happens(sandbox: Tiny, command: str) -> None:
    sandbox.add("one")
    result = sandbox.run(command, BACKENDS="honeycomb,datadog")
    assert result.status == 2
    assert result.err.count("\n") == 1
    assert "BACKENDS does not know datadog" in result.err
    assert not sandbox.state_dir.exists()


def test_a_missing_key_is_named_before_anything_starts(sandbox: Tiny) -> None:
    sandbox.add("one")
    result = sandbox.run("up", MODE="online")
    assert result.status == 2
    assert "HONEYCOMB_API_KEY" in result.err
    assert sandbox.processes() == {}


def test_an_address_of_another_machine_is_said_once_and_not_for_each_port(sandbox: Tiny) -> None:
    sandbox.add("one")
    sandbox.add("two")
    for command, status in (("up", 2), ("doctor", 1)):
        result = sandbox.run(command, BIND_HOST="192.0.2.1")
        assert result.status == status
        assert (result.out + result.err).count("BIND_HOST='192.0.2.1' cannot be listened on") == 1
    assert sandbox.processes() == {}


@pytest.mark.parametrize(("command", "status"), [("up", 2), ("down", 0), ("clean", 0), ("status", 1), ("doctor", 1), ("logs", 1)])
def test_a_state_folder_that_is_a_file_is_left_as_it_is(sandbox: Tiny, command: str, status: int) -> None:
    sandbox.add("one")
    sandbox.state_dir.write_text("mine")
    try:
        result = sandbox.run(command)
        assert result.status == status
        assert "Traceback" not in result.err
        assert sandbox.state_dir.read_text() == "mine"
    finally:
        sandbox.state_dir.unlink()


# --- Logs, doctor, clean


def test_logs_show_what_a_process_says_and_no_key(sandbox: Tiny) -> None:
    program = (
        "import http.server, os, sys; print('key', os.environ['HONEYCOMB_API_KEY'], flush=True); print('last words', flush=True); "
        "http.server.test(port=int(sys.argv[1]), bind='127.0.0.1')"
    )
    port = sandbox.add("one", HONEYCOMB_API_KEY="hcaik_very_secret")
    sandbox.rows[0]["command"] = [sys.executable, "-c", program, str(port)]
    sandbox.environment["HONEYCOMB_API_KEY"] = "hcaik_very_secret"
    sandbox.ok("up")
    out = until(lambda: o if "last words" in (o := sandbox.ok("logs", "one").out) else "", 10, "the log")
    assert "key ***" in out
    assert "very_secret" not in out
    assert "one " in sandbox.ok("logs").out
    wrong = sandbox.run("logs", "nobody")
    assert wrong.status == 1
    assert "choose NAME= from" in wrong.err


def test_doctor_is_content_with_a_running_sandbox(sandbox: Tiny) -> None:
    sandbox.add("one")
    sandbox.ok("up")
    out = sandbox.run("doctor").out
    assert "up, 1 processes" in out
    assert re.search(r"ports +1 ports are free or ours", out)
    assert re.search(r"X-Ray +sampling rule Cruddur can be made of compose/xray/sampling-rule\.json", out)


@pytest.mark.parametrize("lines", ["many", "-3"])
def test_what_is_no_number_of_lines_is_named(sandbox: Tiny, lines: str) -> None:
    sandbox.add("one")
    result = sandbox.run("logs", f"--lines={lines}")
    assert result.status == 1
    assert result.err == f"parallax: LINES='{lines}' is no number of lines; next: make logs LINES=50\n"


def test_doctor_names_a_process_that_does_not_run(sandbox: Tiny) -> None:
    sandbox.add("one")
    sandbox.add("two")
    sandbox.ok("up")
    sandbox.ok("stop", "two")
    out = sandbox.run("doctor").out
    assert "up, but not running: two" in out
    assert "make logs NAME=two" in out


def test_doctor_names_a_file_that_is_not_what_it_should_be(sandbox: Tiny) -> None:
    sandbox.add("one")
    (sandbox.state_dir / "data").mkdir(parents=True)
    (sandbox.state_dir / "data" / "aws.duckdb").write_text("this is not a database, it only has its name")
    result = sandbox.run("doctor")
    assert result.status == 1
    assert "aws.duckdb: is not a DuckDB file" in result.out
    assert "next: move it away" in result.out


def test_clean_removes_what_runs_left_and_nothing_else(sandbox: Tiny) -> None:
    sandbox.add("one")
    sandbox.ok("up")
    mine = sandbox.state_dir / "my-notes.txt"
    mine.write_text("keep me")
    sandbox.ok("clean")
    assert sandbox.processes() == {}
    assert list(sandbox.state_dir.iterdir()) == [mine]
