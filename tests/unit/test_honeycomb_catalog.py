"""Datasets and columns that are deleted while events of theirs come in: the next event defines them again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from localstack.honeycomb.layout import Rows
from localstack.honeycomb.models import Honeycomb
from tests.waiting import until


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Honeycomb]:
    made = Honeycomb(tmp_path / "honeycomb.duckdb")
    yield made
    made.close()


def rows(**data: str) -> Rows:
    made = Rows()
    made.add("cruddur", 1, 1, data)
    return made


def in_one_group(state: Honeycomb, *calls: Callable[[], Any]) -> None:
    """Make these calls so that the writer takes them in this order, all in one transaction."""
    release = threading.Event()
    threads = [threading.Thread(target=state.store.transact, args=(lambda _: release.wait(60),))]
    threads[0].start()
    until(state.store._queue.empty, 60, "the writer to be busy")
    for number, call in enumerate(calls, start=1):
        threads.append(threading.Thread(target=call))
        threads[-1].start()
        until(lambda number=number: state.store._queue.qsize() == number, 60, "the call to wait for the writer")  # type: ignore[misc]
    release.set()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("add_first", [True, False])
def test_a_dataset_deleted_while_its_first_event_is_stored_comes_back_with_the_next(state: Honeycomb, add_first: bool) -> None:
    calls: list[Callable[[], Any]] = [lambda: state.add(rows(name="one")), lambda: state.delete_dataset("cruddur")]
    in_one_group(state, *(calls if add_first else reversed(calls)))
    state.add(rows(name="two"))
    assert [dataset.slug for dataset in state.datasets()] == ["cruddur"]
    assert [column.key_name for column in state.columns("cruddur")] == ["name"]


def test_a_column_deleted_while_its_first_event_is_stored_comes_back_with_the_next(state: Honeycomb) -> None:
    state.add(rows(name="one", gone="x"))
    (column,) = [column for column in state.columns("cruddur") if column.key_name == "gone"]
    in_one_group(state, lambda: state.add(rows(new="y")), lambda: state.delete_column("cruddur", column.id))
    assert [column.key_name for column in state.columns("cruddur")] == ["name", "new"]
    state.add(rows(gone="z"))
    assert [column.key_name for column in state.columns("cruddur")] == ["gone", "name", "new"]


def test_a_dataset_without_events_is_there_and_gone_when_deleted(state: Honeycomb) -> None:
    state.create_dataset("Cruddur", "", 0)
    assert state.has_dataset("cruddur")
    assert state.delete_dataset("cruddur")
    assert not state.has_dataset("cruddur")
    assert not state.delete_dataset("cruddur")
