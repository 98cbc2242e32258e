"""Reading a run's occurrences back from the local Rollbar over the wire, however others' times lie beside them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from localstack.rollbar.models import OCCURRENCES_A_PAGE, Rollbar
from localstack.rollbar.payload import occurrence
from services.compare.readers.base import Window
from services.compare.readers.rollbar import RollbarReader
from tests.api.servers import Vendor, start_vendor

RUN = "20260101-120000-ab12"
HOUR = 3600.0
#: More than three pages.
MANY = 3 * OCCURRENCES_A_PAGE + 5


@pytest.fixture
def rollbar(tmp_path: Path) -> Iterator[Vendor]:
    """A Rollbar with occurrences that it took a year ago."""
    file = tmp_path / "data" / "rollbar.duckdb"
    file.parent.mkdir()
    state = Rollbar(file, now=lambda: time.time() - 365 * 24 * HOUR)
    for _ in range(MANY):
        state.add(occurrence({"data": item("20250101-120000-0000", time.time() - 365 * 24 * HOUR)}))
    state.close()
    with start_vendor("rollbar", tmp_path) as vendor:
        yield vendor


def item(run: str, at: float) -> dict[str, Any]:
    """What a client posts whose clock says ``at``."""
    return {
        "environment": "test",
        "body": {"message": {"body": "no"}},
        "timestamp": int(at),
        "uuid": uuid.uuid4().hex,
        "custom": {"run": run, "trace_id": uuid.uuid4().hex},
    }


def post(rollbar: Vendor, items: list[dict[str, Any]]) -> None:
    headers = {"X-Rollbar-Access-Token": rollbar.settings.rollbar_access_token.get_secret_value()}
    with requests.Session() as session:
        for each in items:
            session.post(f"{rollbar.url}/api/1/item/", json={"data": each}, headers=headers, timeout=30).raise_for_status()


def reader(rollbar: Vendor) -> RollbarReader:
    return RollbarReader(rollbar.settings.model_copy(update={"rollbar_endpoint": rollbar.url}))


@pytest.mark.parametrize("ago", [HOUR, 400 * 24 * HOUR], ids=["an hour before the run", "older than anything there is"])
def test_pages_of_old_times_that_were_posted_after_the_run_hide_none_of_it(rollbar: Vendor, ago: float) -> None:
    began = time.time()
    mine = [item(RUN, began) for _ in range(MANY)]
    post(rollbar, mine[: MANY // 2])
    post(rollbar, [item("another", began - ago) for _ in range(MANY)])
    post(rollbar, mine[MANY // 2 :])
    post(rollbar, [item("another", began - ago) for _ in range(MANY)])
    found = [each for batch in reader(rollbar).read(Window.around(RUN, began, began, frozenset()), None) for each in batch.observations]
    assert sorted(each.id for each in found if each.run == RUN) == sorted(each["uuid"] for each in mine)
    last = mine[0]["custom"]["trace_id"]
    assert [each.id for each in reader(rollbar).trace(last, began)] == [mine[0]["uuid"]]


def test_a_client_whose_clock_is_behind_is_read_too(rollbar: Vendor) -> None:
    began = time.time()
    mine = [item(RUN, began - HOUR) for _ in range(MANY)]
    post(rollbar, mine)
    found = [each for batch in reader(rollbar).read(Window.around(RUN, began, began, frozenset()), None) for each in batch.observations]
    assert {each["uuid"] for each in mine} <= {each.id for each in found}


def test_what_rollbar_took_before_the_run_is_not_paged_through_whatever_its_times_say(rollbar: Vendor) -> None:
    began = time.time()
    post(rollbar, [item(RUN, began)])
    batches = list(reader(rollbar).read(Window.around(RUN, began, began, frozenset()), None))
    # The run's own page still holds nineteen older ones; the next is older as a whole, and the last that is asked for.
    assert [len(batch.observations) for batch in batches] == [OCCURRENCES_A_PAGE] * 2


def test_a_later_look_reads_down_to_what_is_known(rollbar: Vendor) -> None:
    began = time.time()
    window = Window.around(RUN, began, began, frozenset())
    early, late = [item(RUN, began) for _ in range(MANY)], [item(RUN, began - HOUR) for _ in range(OCCURRENCES_A_PAGE + 1)]
    post(rollbar, early)
    one = reader(rollbar)
    assert {each["uuid"] for each in early} <= {each.id for batch in one.read(window, None) for each in batch.observations}
    post(rollbar, late)
    again = list(one.read(window, ()))
    assert sorted(each.id for batch in again for each in batch.observations) == sorted(each["uuid"] for each in late)
    assert len(again) == 3
