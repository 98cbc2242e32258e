"""The record of a run: what a compare found is there again, one record or the next, and what cannot be used says why."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import duckdb
import pytest

from compose.settings import SignalPath
from loadtest.ledger import LedgerEntry
from loadtest.runs import IMPORTED
from services.compare import prices, record
from services.compare.model import PathState
from services.compare.readers.base import Observation
from services.compare.record import NoRecord, Record
from services.compare.report import Report
from services.compare.verdicts import Comparison
from services.compare.web import numbers
from services.compare.web.app import create_app
from services.cruddur.signals import Outcome, Route
from tests.api.servers import hermetic_settings
from tests.compared_runs import make_run

RUN = "20260101-000000-abcd"
TRACE = "695b8f00" + "0" * 23


def entry(sequence: int) -> LedgerEntry:
    return LedgerEntry(
        RUN,
        sequence,
        f"{TRACE}{sequence}",
        "GET",
        Route.HEALTH_CHECK,
        "/api/health-check",
        Outcome.OK,
        200,
        1767600000.0 + sequence,
        12.5,
        True,
        True,
    )


def segment(sequence: int) -> Observation:
    return Observation(
        path=SignalPath.XRAY_SDK,
        kind="segment",
        service="Cruddur",
        name="Cruddur",
        id=f"{sequence:016x}",
        parent_id="00000000000000ff",
        trace_id=f"{TRACE}{sequence}",
        run=RUN,
        attributes={"run": RUN},
        start=1767600000.0 + sequence,
        duration_ms=10.0,
        error=True,
    )


def kept(folder: Path, observed: int = 1) -> Report:
    """A record of two requests, of which ``observed`` arrived, and a stray."""
    entries = [entry(0), entry(1)]
    comparison = Comparison(RUN, entries, [SignalPath.XRAY_SDK])
    stray = Observation(SignalPath.XRAY_SDK, "segment", "Cruddur", "Cruddur", "f" * 16, TRACE + "9", RUN)
    comparison.add([*(segment(sequence) for sequence in range(observed)), stray])
    states = {SignalPath.XRAY_SDK: PathState()}
    judgement = comparison.judge(states)
    report = Report(
        run=RUN,
        about={"started": "2026-01-05T08:00:00Z"},
        judgement=judgement,
        why=[f"because of {finding.sequence}" for finding in judgement.findings],
        states=states,
        hints={},
        metrics=[],
        prices=prices.built_in(),
        seconds=0.5,
    )
    folder.mkdir(exist_ok=True)
    record.keep(folder, comparison, entries, report)
    comparison.close()
    return report


def test_everything_of_a_compare_is_there_again(tmp_path: Path) -> None:
    report = kept(tmp_path / RUN)
    found = Record.open(tmp_path / RUN)
    assert found.document["conclusion"] == report.conclusion
    assert "not_as_expected" not in found.document
    assert [row["sequence"] for row in found.rows("FROM requests ORDER BY sequence")] == [0, 1]
    first, second = found.rows("FROM outcomes ORDER BY sequence")
    assert (first["verdict"], first["duration_ms"], first["error"], first["units"]) == ("seen", 10.0, True, 1)
    assert (first["visible_s"], first["absent"], first["extra"], first["why"]) == (None, [], [], "")
    assert (second["verdict"], second["duration_ms"], second["error"], second["units"]) == ("missing", None, None, None)
    assert second["absent"] == ["segment Cruddur (Cruddur)"]
    assert second["why"] == "because of 1"
    observed = found.rows("FROM observations WHERE trace_id = ?", [f"{TRACE}0"])
    assert [(row["path"], row["kind"], row["name"], row["parent_id"]) for row in observed] == [
        ("xray/sdk", "segment", "Cruddur", "00000000000000ff")
    ]
    assert [row["trace_id"] for row in found.rows("FROM strays")] == [TRACE + "9"]


def test_the_next_record_replaces_the_one_before_and_who_has_that_open_reads_on(tmp_path: Path) -> None:
    folder = tmp_path / RUN
    kept(folder)
    before = Record.open(folder)
    assert Record.open(folder) is before, "the same record is opened once"
    kept(folder, observed=2)
    after = Record.open(folder)
    count = "SELECT count(*) AS n FROM outcomes WHERE verdict = 'seen'"
    assert (before.rows(count), after.rows(count)) == ([{"n": 1}], [{"n": 2}])
    kept(folder)
    assert len(list(folder.glob("record-*"))) == 2, "older ones are removed"


def test_a_run_without_a_record_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / RUN).mkdir()
    with pytest.raises(NoRecord, match=f"make compare RUN={RUN}"):
        Record.open(tmp_path / RUN)


@pytest.mark.parametrize("damage", ["cut", "newer", "no tables", "cut table", "not an object"])
def test_a_record_that_cannot_be_used_says_why(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / RUN
    kept(folder)
    path = folder / record.RECORD
    document = json.loads(path.read_text())
    if damage == "cut":
        path.write_text(path.read_text()[:-20])
    elif damage == "newer":
        path.write_text(json.dumps(document | {"version": record.VERSION + 1}))
    elif damage == "no tables":
        path.write_text(json.dumps(document | {"folder": "record-gone"}))
    elif damage == "cut table":
        table = folder / document["folder"] / "outcomes.parquet"
        table.write_bytes(table.read_bytes()[:-10])
    else:
        path.write_text("[]")
    with pytest.raises(NoRecord, match=f"make compare RUN={RUN}"):
        Record.open(folder)
    # Nothing here can compare a run that came from elsewhere.
    (folder / IMPORTED).write_text("{}")
    with pytest.raises(NoRecord, match=r"make import FILE=") as refused:
        Record.open(folder)
    assert "make compare" not in str(refused.value)


def test_a_reader_always_finds_a_whole_record_while_the_next_ones_are_written(tmp_path: Path) -> None:
    folder = tmp_path / RUN
    kept(folder)
    done = Event()

    def write() -> None:
        try:
            for n in range(8):
                kept(folder, observed=1 + n % 2)
        finally:
            done.set()

    with ThreadPoolExecutor(1) as threads:
        writer = threads.submit(write)
        while not done.is_set():
            found = Record.open(folder)
            seen = found.document["paths"]["xray/sdk"]["verdicts"]["seen"]
            try:
                counted = found.rows("SELECT count(*) AS n FROM outcomes WHERE verdict = 'seen'")
            except duckdb.IOException:
                continue  # This thread stood still while two records were made.
            assert counted == [{"n": seen}]
        writer.result()


@pytest.mark.parametrize("damage", ["record.json", "outcomes.parquet"])
def test_a_damaged_record_is_a_page_that_says_so_and_the_list_of_runs_goes_on(tmp_path: Path, damage: str) -> None:
    here = hermetic_settings(state_dir=tmp_path)
    run = make_run(here, 5)
    pages = create_app(here).test_client()
    assert pages.get(f"/runs/{run.id}").status_code == 200
    if damage == "record.json":
        (run.folder / damage).write_text("{")
    else:
        table = run.folder / Record.open(run.folder).document["folder"] / damage
        whole = table.read_bytes()
        footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
        table.write_bytes(whole[:4] + b"\xff" * (footer - 4) + whole[footer:])
    listed = pages.get("/")
    assert listed.status_code == 200
    assert ("cannot be read" in listed.text) == (damage == "record.json")
    answer = pages.get(f"/runs/{run.id}/with/{make_run(here, 5, run='20260105-080001-abcd').id}")
    assert answer.status_code in (404, 503)
    assert "cannot be read" in answer.text
    assert "make compare" in answer.text


def test_an_earlier_run_is_offered_before_a_later_one(tmp_path: Path) -> None:
    here = hermetic_settings(state_dir=tmp_path)
    first, middle, last = (make_run(here, 2, run=f"20260105-08000{n}-abcd").id for n in range(3))
    text = create_app(here).test_client().get(f"/runs/{middle}/with").text
    assert text.index(f'value="{first}"') < text.index(f'value="{last}"')


@pytest.mark.parametrize("value", [1e300, -1e300, float("inf"), float("nan")])
def test_a_time_that_no_calendar_holds_is_shown_as_the_number_it_is(value: float) -> None:
    assert numbers.moment(value) == numbers.clock(value) == f"{value:g}"
