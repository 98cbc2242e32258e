"""What is written for supervisord, what is recorded of processes, and what `make logs` hides. No process is started."""

from __future__ import annotations

import io
import json
import stat
from pathlib import Path

import pytest
from supervisor.options import ServerOptions

from compose import events, launch, logs, supervision
from compose.processes import Port, Process, Tier
from compose.settings import ConfigurationError, load
from compose.supervision import Files


def process(name: str = "one", tier: Tier = Tier.VENDOR, **environment: str) -> Process:
    return Process(name, "for a test", ("program", "argument"), environment, (Port("X_PORT", 1, "HTTP"),), tier)


def read_back(files: Files) -> ServerOptions:
    """The configuration as supervisord itself understands it."""
    options = ServerOptions()
    options.configfile = str(files.config)
    options.process_config(do_usage=False)
    return options


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path / "it's a state")
    made.make()
    return made


def test_supervisord_reads_what_is_written(files: Files) -> None:
    supervision.write(files, [process("one"), process("two", Tier.APPLICATION)])
    groups = {group.name: group.process_configs[0] for group in read_back(files).process_group_configs}
    assert set(groups) == {"one", "two", "events"}
    for name in ("one", "two"):
        assert groups[name].autorestart
        assert groups[name].killasgroup
        assert groups[name].stdout_logfile == str(files.log_of(name))
    # Should supervisord be ended without us, it stops the highest priority first.
    assert groups["two"].priority > groups["one"].priority > groups["events"].priority


def test_any_value_reaches_the_process_and_only_its_owner_reads_it(files: Files) -> None:
    value = "q\"uote 'single' 100% $HOME ; # é \\ end"
    supervision.write(files, [process(KEY=value)])
    (spec,) = (files.folder / "specs").iterdir()
    assert json.loads(spec.read_text())["environment"]["KEY"] == value
    assert stat.S_IMODE(spec.stat().st_mode) == 0o600
    assert value not in files.config.read_text()


def test_only_what_has_changed_counts_as_changed(files: Files) -> None:
    supervision.write(files, [process("one"), process("two")])
    assert supervision.is_configured(files, process("one"))
    assert not supervision.is_configured(files, process("one", KEY="new"))
    before = files.config.read_text()
    supervision.write(files, [process("one", KEY="new"), process("two")])
    changed = set(files.config.read_text().splitlines()) ^ set(before.splitlines())
    assert changed
    assert all("one-" in line for line in changed)


def test_specs_of_forgotten_processes_go(files: Files) -> None:
    supervision.write(files, [process("one"), process("two")])
    supervision.prune(files, [process("two")])
    assert [path.name.split("-")[0] for path in (files.folder / "specs").iterdir()] == ["two"]


@pytest.mark.parametrize("name", ["100%", "a ;b", "a #b"])
def test_a_folder_supervisord_would_misread_is_refused(tmp_path: Path, name: str) -> None:
    files = Files(tmp_path / name)
    files.make()
    with pytest.raises(ConfigurationError, match="STATE_DIR"):
        supervision.write(files, [process()])


def test_a_state_folder_too_deep_for_a_socket_gets_one_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    files = Files(tmp_path / ("x" * 120))
    files.make()
    assert not files.socket.is_relative_to(files.state_dir)
    assert stat.S_IMODE(files.socket.parent.stat().st_mode) == 0o700
    assert files.socket != Files(tmp_path / ("y" * 120)).socket


def test_a_state_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"STATE_DIR: .*file"):
        Files(tmp_path / "file").make()


# --- Launch


@pytest.mark.parametrize(
    ("environment", "hosts"),
    [
        ({}, "127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "example.com"}, "example.com,127.0.0.1,localhost,::1"),
        ({"no_proxy": ".corp,localhost", "NO_PROXY": "ignored", "BIND_HOST": "10.0.0.5"}, ".corp,localhost,127.0.0.1,::1,10.0.0.5"),
        ({"no_proxy": "*"}, "*"),
    ],
)
def test_no_proxy_stands_between_the_processes_of_a_sandbox(environment: dict[str, str], hosts: str) -> None:
    assert launch.without_proxy(environment) == {"no_proxy": hosts, "NO_PROXY": hosts}


# --- Events


def test_away_is_from_an_end_to_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for kind in ("started", "killed", "exited", "started", "exited"):
        events.record(path, "one", kind, 1, expected=False)
        events.record(path, "two", "started", 2, expected=True)
    found = events.read(path)
    times = [event.time for event in found if event.process == "one"]
    assert events.away(found, "one") == [(times[1], times[3]), (times[4], None)]
    assert events.away(found, "two") == []


def test_an_end_written_after_the_next_start_does_not_end_that_one() -> None:
    def event(time: float, kind: events.Kind, pid: int) -> events.Event:
        return events.Event(time, "one", kind, pid, expected=False)

    before = [event(1.0, "started", 11)]
    assert events.away([*before, event(5.0, "started", 12), event(5.1, "exited", 11)], "one") == [(5.0, 5.0)]
    killed = [*before, event(4.0, "killed", 11), event(5.0, "started", 12), event(5.1, "exited", 11)]
    assert events.away(killed, "one") == [(4.0, 5.0)]
    assert events.away([*killed, event(9.0, "exited", 12)], "one") == [(4.0, 5.0), (9.0, None)]
    stopped = [*before, event(4.0, "stopping", 11), event(24.0, "exited", 11), event(30.0, "started", 12)]
    assert events.away(stopped, "one") == [(4.0, 30.0)], "a process that still flushes takes nothing more"


def test_a_record_that_was_cut_off_hides_no_other(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events.record(path, "one", "started", 1, expected=True)
    with path.open("a") as file:
        file.write('{"time": 1.0, "proc')
    assert [event.process for event in events.read(path)] == ["one"]
    assert events.read(tmp_path / "none.jsonl") == []


def order(name: str, payload: str) -> str:
    return f"ver:3.0 server:supervisor serial:1 pool:events poolserial:1 eventname:{name} len:{len(payload)}\n{payload}"


def test_the_listener_tells_a_death_from_a_stop(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events.record(path, "three", "started", 33, expected=True)
    orders = io.StringIO(
        order("PROCESS_STATE_EXITED", "processname:one groupname:one from_state:RUNNING expected:0 pid:11")
        + order("PROCESS_STATE_STOPPING", "processname:two groupname:two from_state:RUNNING pid:22")
        + order("PROCESS_STATE_STOPPED", "processname:two groupname:two from_state:STOPPING pid:22")
        + order("PROCESS_STATE_BACKOFF", "processname:three groupname:three from_state:STARTING tries:1")
    )
    answers = io.StringIO()
    events.listen(path, orders, answers)
    assert [(event.process, event.event, event.pid, event.expected) for event in events.read(path)[1:]] == [
        ("one", "exited", 11, False),
        ("two", "stopping", 22, True),
        ("two", "exited", 22, True),
        ("three", "exited", 33, False),
    ]
    assert answers.getvalue() == "READY\n" + "RESULT 2\nOKREADY\n" * 4


# --- Logs


def test_logs_hide_every_key() -> None:
    settings = load(_env_file=None, honeycomb_api_key="hcaik_0123456789", honeycomb_query_key="hcaik_0123456789_query")
    hidden = logs.secrets(settings)
    shown = logs.hide("sent hcaik_0123456789_query and hcaik_0123456789 to honeycomb", hidden)
    assert shown == "sent *** and *** to honeycomb"
