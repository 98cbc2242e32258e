"""What a replay refuses, before anything is started or sent: each with the reason, the next command, and no run left behind."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import pytest
import zstandard
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from compose.processes import recording_dir
from compose.settings import Settings, SignalPath
from loadtest.ledger import LedgerEntry
from loadtest.runs import IMPORTED, RunError, load_run, runs
from services.compare.replay.__main__ import main
from services.compare.replay.command import ReplayError, replay
from services.compare.replay.outcome import COULD_NOT_REPLAY
from tests.api.servers import hermetic_settings
from tests.compare_run import pairs, requests, write_run
from tests.ports import free_port

OTLP = [SignalPath.HONEYCOMB_OTLP, SignalPath.XRAY_OTLP]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return hermetic_settings(state_dir=tmp_path, honeycomb_port=free_port(), config="", config_only=False)


def made(settings: Settings, paths: list[SignalPath] = OTLP, record: bool = True, **manifest: object) -> list[LedgerEntry]:
    """A run that ended a while ago, and its recording."""
    entries = requests(4, start=time.time() - 30)
    write_run(settings, entries, paths)
    path = settings.runs_dir / entries[0].run / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | manifest))
    if record:
        data = TracesData()
        spans = data.resource_spans.add().scope_spans.add().spans
        for entry in entries:
            spans.add(trace_id=bytes.fromhex(entry.trace_id), span_id=b"12345678", attributes=pairs({"run": entry.run}))
        frame = zstandard.ZstdCompressor(write_checksum=True).compress(data.SerializeToString())
        recording_dir(settings).mkdir(parents=True)
        (recording_dir(settings) / "traces.otlp").write_bytes(len(frame).to_bytes(4, "big") + frame)
    return entries


def refusal(settings: Settings, run: str = "") -> str:
    before = runs(settings)
    with pytest.raises((ReplayError, RunError)) as refused:
        replay(settings, run, lambda _: None)
    assert runs(settings) == before, "no run may be left behind"
    assert not list(settings.state_dir.glob("replays/*"))
    return str(refused.value)


def test_a_run_that_is_not_recorded(settings: Settings) -> None:
    (entry, *_) = made(settings, record=False)
    why = refusal(settings)
    assert why.startswith(f"nothing of run {entry.run} is recorded below {recording_dir(settings)}: RECORD was off")
    assert "`make load`" in why


def test_a_recording_of_other_runs_only(settings: Settings) -> None:
    entries = made(settings)
    later = [dataclasses.replace(each, run="20260102-120000-ab12", trace_id=each.trace_id[::-1]) for each in entries]
    write_run(settings, later, OTLP)
    assert refusal(settings).startswith("nothing of run 20260102-120000-ab12 is recorded")


def test_a_backend_that_is_not_there(settings: Settings) -> None:
    made(settings)
    why = refusal(settings)
    assert why.startswith(f"nobody takes what goes to honeycomb/otlp: 127.0.0.1:{settings.honeycomb_port} does not answer")
    assert "`make up`" in why


def test_a_run_without_a_path_through_the_collector(settings: Settings) -> None:
    made(settings, [SignalPath.XRAY_SDK, SignalPath.ROLLBAR_SDK])
    assert "used no path through the Collector" in refusal(settings)


def test_paths_that_are_off_now(settings: Settings) -> None:
    made(settings)
    off = hermetic_settings(state_dir=settings.state_dir, backends="rollbar")
    assert "(honeycomb/otlp, xray/otlp) none is on now" in refusal(off)


def test_a_replay_of_a_replay_names_the_run_to_replay(settings: Settings) -> None:
    (entry, *_) = made(settings, replay_of="20260101-110000-0000")
    assert "make replay RUN=20260101-110000-0000" in refusal(settings, entry.run)


def test_a_run_that_has_not_ended(settings: Settings) -> None:
    made(settings, finished=None)
    assert "has not ended, or was killed" in refusal(settings)


def test_a_run_of_the_other_mode(settings: Settings) -> None:
    made(settings, mode="online")
    assert "MODE=online" in refusal(settings)


def test_an_imported_run_is_not_the_newest_to_replay(settings: Settings) -> None:
    """Its recording is elsewhere."""
    (entry, *_) = made(settings)
    (settings.runs_dir / entry.run / IMPORTED).write_text("{}")
    assert "`make load` makes one" in refusal(settings)


def test_an_unknown_run_and_none_at_all(settings: Settings) -> None:
    assert "`make load`" in refusal(settings)
    made(settings)
    assert "there is no run '20260101-000000-ffff'" in refusal(settings, "20260101-000000-ffff")


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"config": "no-such.yaml"}, "no-such.yaml, which is no file"),
        ({"config": "'open"}, "cannot be read"),
        ({"config_only": True}, "CONFIG is empty"),
    ],
    ids=["missing", "quotes", "only"],
)
def test_a_configuration_that_is_not_there(settings: Settings, chosen: dict[str, object], words: str) -> None:
    made(settings)
    assert words in refusal(settings.model_copy(update=chosen))


def test_the_command_says_it_in_one_line_and_with_its_exit_status(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made(settings, record=False)
    monkeypatch.setenv("STATE_DIR", str(settings.state_dir))
    assert main([]) == COULD_NOT_REPLAY
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("replay: nothing of run ")
    assert said.err.count("\n") == 1


def test_a_manifest_from_before_replays_is_still_a_manifest(settings: Settings) -> None:
    (entry, *_) = made(settings)
    assert load_run(settings, entry.run).manifest.replay_of is None
