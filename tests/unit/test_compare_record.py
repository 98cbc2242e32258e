"""The record of a run: what a compare found is there again, one record or the next, and what cannot be used says why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compose.settings import SignalPath
from loadtest.ledger import LedgerEntry
from services.compare import prices, record
from services.compare.model import PathState
from services.compare.readers.base import Observation
from services.compare.record import NoRecord, Record
from services.compare.report import Report
from services.compare.verdicts import Comparison
from services.cruddur.signals import Outcome, Route

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
