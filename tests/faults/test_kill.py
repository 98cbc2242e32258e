"""SIGKILL of each part in the middle of a run: nothing that was accepted is missing after the restart.

The Collector and the vendors acknowledge only what is on disk. What an SDK gives up by design while its peer is away is named request by
request, with why: pyrollbar does not retry, and the X-Ray SDK sends UDP datagrams nobody answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from compose import events
from tests.sandbox import Sandbox
from tests.waiting import until

pytestmark = pytest.mark.timeout(600)

#: Verdicts that mean a request's signals did not all arrive.
LOST = {"missing", "partial", "pending", "unreadable", "unknown"}

#: Which paths may lose requests by design of their SDK while this process is away.
GIVEN_UP_BY_DESIGN = {"collector": set(), "xray-daemon": {"xray/sdk"}, "honeycomb": set(), "aws": set(), "rollbar": {"rollbar/sdk"}}

#: Seconds before a process's death in which a datagram or an item may still have been in flight.
IN_FLIGHT = 2.0


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox.start(tmp_path_factory.mktemp("sandbox")) as started:
        yield started


def away(sandbox: Sandbox, name: str) -> list[tuple[float, float]]:
    """When a process was away, from the supervisor's record: (exit, next start) in epoch seconds."""
    spans = events.away(events.read(sandbox.state_dir / "events.jsonl"), name)
    return [(start, end) for start, end in spans if end is not None]


@pytest.mark.parametrize("name", sorted(GIVEN_UP_BY_DESIGN))
def test_sigkill_in_the_middle_of_a_run(sandbox: Sandbox, name: str) -> None:
    load = sandbox.begin_load(requests=600)
    before = len(away(sandbox, name))
    sandbox.wait_for_requests(200)
    sandbox.process("kill", name)
    assert sandbox.finished() < 600, "the load was over before the kill"
    until(lambda: len(away(sandbox, name)) > before, 60, f"{name} to be started again")
    run = sandbox.finish_load(load)
    report = sandbox.compare(run)
    lost = [row for row in report["not_as_expected"] if row["verdict"] in LOST]
    assert {row["path"] for row in lost} <= GIVEN_UP_BY_DESIGN[name], lost[:5]
    assert report["stray"] == 0
    assert all(row["why"] for row in lost)
    # What was counted in vain would be missing from a total. (What was sent again may count twice.)
    assert [total for total in report["metrics"] if total["state"] not in ("equal", "more")] == []
    ledger = ledger_of(sandbox, run)
    spans = away(sandbox, name)[before:]
    for row in lost:
        entry = ledger[row["trace_id"]]
        end = entry["start"] + entry["duration_ms"] / 1000
        assert any(start - IN_FLIGHT <= end and entry["start"] <= stop + READY for start, stop in spans), (row, spans)
    if report["not_as_expected"]:
        assert report["exit_status"] == 1


#: Seconds a process needs from its start until it listens.
READY = 10.0


def ledger_of(sandbox: Sandbox, run: str) -> dict[str, dict[str, Any]]:
    """The run's ledger by trace id."""
    lines = [
        json.loads(line) for path in (sandbox.state_dir / "runs" / run).glob("ledger-*.jsonl") for line in path.read_text().splitlines()
    ]
    return {line["trace_id"]: line for line in lines}
