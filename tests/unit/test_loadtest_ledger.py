"""The ledger and the runs: what was written is read back, and what cannot be trusted is refused in one line that says what to do."""

from __future__ import annotations

import errno
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from compose.settings import Settings, SignalPath
from loadtest import runs as runs_module
from loadtest.ledger import LedgerEntry, LedgerError, LedgerWriter, Tally, finished, read_ledger
from loadtest.profiles import PROFILES, chosen
from loadtest.runs import RUN_ID, Run, RunError, as_it_runs, begin_run, going_on, load_run, newest_run, runs
from loadtest.summary import percentile, plan_of, report
from tests.api.servers import hermetic_settings

RUN = "20250301-101500-9f3c"


def entry(sequence: int, run: str = RUN, **changes: object) -> LedgerEntry:
    whole = LedgerEntry(
        run=run,
        sequence=sequence,
        trace_id=f"{1_740_000_000:08x}{sequence:024x}",
        method="GET",
        route="GET /api/activities/home",
        target="/api/activities/home",
        outcome="ok",
        status=200,
        start=1_740_000_000.0 + sequence / 10,
        duration_ms=12.5,
        sampled_xray_sdk=True,
        sampled_otel=True,
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def write(folder: Path, worker: int, entries: list[LedgerEntry]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with LedgerWriter(folder, worker) as ledger:
        for each in entries:
            ledger.write(each)
    return folder / f"ledger-{worker}.jsonl"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return hermetic_settings(state_dir=tmp_path)


@pytest.fixture
def run(settings: Settings) -> Run:
    return begin_run(settings, chosen(settings))


def one_line(error: pytest.ExceptionInfo[Exception], *names: str) -> None:
    text = str(error.value)
    assert len(text.splitlines()) == 1
    assert "`make " in text, "the next command"
    for name in names:
        assert name in text


# -- the ledger


def test_entries_of_all_workers_come_back_in_the_seeded_order(tmp_path: Path) -> None:
    folder = tmp_path / RUN
    odd = [entry(1, status=None, error="ConnectionError: refused", sampled_otel=None, sampled_xray_sdk=None), entry(3, target="/x?q=☕")]
    write(folder, 1, odd)
    write(folder, 0, [entry(2), entry(0)])
    assert read_ledger(folder) == [entry(0), odd[0], entry(2), odd[1]]
    assert finished(folder) == 4


def test_a_tally_goes_on_where_it_was(tmp_path: Path) -> None:
    folder = tmp_path / RUN
    tally = Tally(folder)
    assert tally.finished() == 0
    path = write(folder, 0, [entry(0), entry(1)])
    assert tally.finished() == 2
    whole = path.read_bytes()
    with path.open("ab") as ledger:
        ledger.write(whole[:10])
        ledger.flush()
        assert tally.finished() == 2
        ledger.write(whole[10:])
    write(folder, 1, [entry(4)])
    assert tally.finished() == finished(folder) == 5


def test_a_line_cut_in_the_middle_is_named(tmp_path: Path) -> None:
    folder = tmp_path / RUN
    path = write(folder, 0, [entry(number) for number in range(5)])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 40])
    with pytest.raises(LedgerError) as error:
        read_ledger(folder)
    one_line(error, str(path), "line 5", "cut in the middle")


@pytest.mark.parametrize(
    "line",
    [b"", b"\x00" * 64, b"{}", b"[]", b'{"run": 1}', json.dumps({"run": RUN, "sequence": "0"}).encode(), b"\xff\xfe"],
)
def test_a_line_that_is_no_entry_is_named(tmp_path: Path, line: bytes) -> None:
    folder = tmp_path / RUN
    path = write(folder, 0, [entry(0)])
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(LedgerError) as error:
        read_ledger(folder)
    one_line(error, str(path), "line 2")


def test_an_entry_of_another_run_or_a_repeated_one_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / RUN
    write(folder, 0, [entry(0)])
    write(folder, 1, [entry(0)])
    with pytest.raises(LedgerError) as repeated:
        read_ledger(folder)
    one_line(repeated, "ledger-1.jsonl line 1", "repeats request 0")
    write(tmp_path / "20250301-101500-0000", 0, [entry(0)])
    with pytest.raises(LedgerError) as foreign:
        read_ledger(tmp_path / "20250301-101500-0000")
    one_line(foreign, RUN)


def test_a_full_disk_is_said_when_the_line_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / RUN
    folder.mkdir()
    with LedgerWriter(folder, 0) as ledger:
        os.close(ledger._file)
        # /dev/full takes nothing and says ENOSPC, as a full disk does.
        ledger._file = os.open("/dev/full", os.O_WRONLY)
        with pytest.raises(LedgerError) as error:
            ledger.write(entry(0))
    one_line(error, os.strerror(errno.ENOSPC))


# -- runs


def test_a_run_is_described_by_its_manifest(settings: Settings, run: Run) -> None:
    assert RUN_ID.fullmatch(run.id)
    again = load_run(settings, run.id)
    assert again == run == newest_run(settings)
    manifest = again.manifest
    assert (manifest.seed, manifest.profile, manifest.planned, manifest.users, manifest.workers) == (1, "demo", 2_000, 16, 1)
    assert (manifest.finished, manifest.ended, manifest.mode, manifest.sampling) == (None, None, "offline", "all")
    assert set(manifest.paths) == set(SignalPath)
    assert manifest.settings["backends"] == "cloudwatch,honeycomb,rollbar,xray"
    assert {"python", "locust", "opentelemetry-sdk"} <= set(manifest.versions)
    assert re.fullmatch("[0-9a-f]{40}", manifest.git_commit or "0" * 40)
    text = (run.folder / "manifest.json").read_text()
    assert settings.rollbar_access_token.get_secret_value() not in text
    assert not list(run.folder.glob(".*")), "no draft is left behind"


def test_a_completed_run_says_how_many_finished_and_when(settings: Settings, run: Run) -> None:
    write(run.folder, 0, [entry(number, run=run.id) for number in range(3)])
    completed = run.complete()
    assert completed == load_run(settings, run.id) == completed.complete()
    assert (completed.manifest.finished, completed.manifest.ended) == (3, 1_740_000_000.2125)
    assert len(completed.entries()) == 3


def test_whole_lines_lost_after_the_end_are_noticed(settings: Settings, run: Run) -> None:
    path = write(run.folder, 0, [entry(number, run=run.id) for number in range(3)])
    run.complete()
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    with pytest.raises(LedgerError) as error:
        load_run(settings, run.id).entries()
    one_line(error, run.id, "2 ledger lines", "3 requests")


def test_runs_are_listed_oldest_first_and_only_runs(settings: Settings) -> None:
    assert runs(settings) == []
    made = sorted(begin_run(settings, chosen(settings)).id for _ in range(3))
    (settings.runs_dir / "notes").mkdir()
    (settings.runs_dir / "20250101-000000-abcd").mkdir()
    assert runs(settings) == made
    assert newest_run(settings).id == made[-1]


@pytest.mark.parametrize("name", ["20200101-000000-0000", "../../etc", "", "nonsense"])
def test_an_unknown_run_is_named_with_the_known_ones(settings: Settings, name: str) -> None:
    with pytest.raises(RunError) as none:
        load_run(settings, name)
    one_line(none, repr(name))
    known = begin_run(settings, chosen(settings)).id
    with pytest.raises(RunError) as some:
        load_run(settings, name)
    one_line(some, repr(name), known, f"RUN={known}")


def test_without_any_run_the_next_command_is_load(settings: Settings) -> None:
    with pytest.raises(RunError, match="`make load`"):
        newest_run(settings)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"version": 9}'])
def test_a_manifest_that_is_none_is_named(settings: Settings, run: Run, text: str) -> None:
    (run.folder / "manifest.json").write_text(text)
    with pytest.raises(RunError) as error:
        newest_run(settings)
    one_line(error, str(run.folder / "manifest.json"))


def test_a_manifest_moved_to_another_folder_is_refused(settings: Settings, run: Run) -> None:
    run.folder.rename(run.folder.with_name("20990101-000000-0000"))
    with pytest.raises(RunError) as error:
        newest_run(settings)
    one_line(error, run.id)


def test_the_sandbox_as_it_runs_decides_the_paths_and_the_load_its_own_settings(settings: Settings) -> None:
    assert as_it_runs(settings) == settings
    running = hermetic_settings(state_dir=settings.state_dir, backends="cloudwatch", cloudwatch_paths="otlp", seed=99, users=3)
    (settings.state_dir / "sandbox.json").write_text(json.dumps(running.public() | {"unknown": "key"}))
    manifest = begin_run(settings, chosen(settings)).manifest
    assert manifest.paths == [SignalPath.CLOUDWATCH_OTLP]
    assert (manifest.seed, manifest.users, manifest.settings["seed"]) == (1, 16, "1")


@pytest.mark.parametrize("text", ["", "[]", '{"backends": "nonsense"}'])
def test_a_broken_description_of_the_sandbox_is_named(settings: Settings, text: str) -> None:
    (settings.state_dir / "sandbox.json").write_text(text)
    with pytest.raises(RunError) as error:
        begin_run(settings, chosen(settings))
    one_line(error, "sandbox.json", "`make up`")
    assert runs(settings) == []


# -- profiles and the summary


def test_profiles_and_their_overrides() -> None:
    assert {name: profile.requests for name, profile in PROFILES.items() if name in ("smoke", "demo")} == {"smoke": 300, "demo": 2_000}
    demo, soak, spike = PROFILES["demo"], PROFILES["soak"], PROFILES["spike"]
    assert demo.rate is not None
    assert 25 <= demo.requests / demo.rate <= 40
    assert soak.rate is not None
    assert soak.requests / soak.rate >= 600
    assert (spike.interval(), spike.burst is not None) == ((0.0, 0.0), True)
    mine = chosen(hermetic_settings(profile="smoke", requests=7, users=2, locust_workers=3))
    assert (mine.name, mine.requests, mine.users) == ("smoke", 7, 3)


def test_the_interval_keeps_the_rate_whatever_the_users() -> None:
    for users in (1, 16, 200):
        profile = chosen(hermetic_settings(profile="demo", users=users))
        low, high = profile.interval()
        assert users / ((low + high) / 2) == pytest.approx(profile.rate)


def test_the_summary_counts_what_happened(run: Run) -> None:
    plan = plan_of(run)
    entries = [
        replace(entry(number, run=run.id), route=plan[number].route.value, outcome=plan[number].outcome.value, status=plan[number].status)
        for number in range(10)
    ]
    entries[3] = replace(entries[3], status=503)
    entries[4] = replace(entries[4], status=None, error="ConnectionError: refused")
    write(run.folder, 0, entries)
    text = report(run.complete())
    for said in (
        run.id,
        "9 of 2,000",
        "503: 1",
        "no answer 1: ConnectionError: refused (1)",
        "not sent  1,990",
        "503 instead of",
        "make compare",
    ):
        assert said in text


def test_percentiles_are_by_nearest_rank() -> None:
    assert [percentile([1, 2, 3, 4], percent) for percent in (0, 25, 50, 99, 100)] == [1, 1, 2, 4, 4]


def test_a_run_goes_on_while_its_process_makes_it_and_is_known_as_killed_when_that_is_gone(settings: Settings) -> None:
    run = begin_run(settings, chosen(settings))
    other = begin_run(settings, chosen(settings))
    assert run.loader == os.getpid()
    assert {each.id for each in going_on(settings)} == {run.id, other.id}
    completed = run.complete()
    assert completed.loader is None
    assert [each.id for each in going_on(settings)] == [other.id]
    # As if its process had been killed.
    runs_module._held.pop(other.folder).close()
    assert load_run(settings, other.id).loader is None
    assert load_run(settings, other.id).manifest.finished is None
    assert going_on(settings) == []
