"""Settling: how long compare looks, what it looks at again, and how it ends."""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import pytest

from compose.settings import SignalPath
from loadtest.ledger import LedgerEntry
from services.compare.model import Verdict
from services.compare.prices import Meter
from services.compare.readers.base import Batch, Observation, Unreadable, Window
from services.compare.settle import Look, Settled, settle
from services.compare.verdicts import Comparison
from tests.compare_run import RUN, observations, requests

PATH = SignalPath.XRAY_SDK
Answer = Callable[[int], Batch | Sequence[Observation] | Unreadable | Exception]


class Script:
    """A backend that answers its n-th look by ``answer(n)``; what it gave before, it does not give again."""

    paths = frozenset({PATH})
    pause = 0.01

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.wanted: list[Collection[str] | None] = []

    def read(self, window: Window, wanted: Collection[str] | None) -> Iterator[Batch]:
        self.wanted.append(wanted)
        answer = self._answer(len(self.wanted))
        if isinstance(answer, Exception):
            yield Batch(list(self._first()))
            raise answer
        if isinstance(answer, Batch):
            yield answer
        else:
            yield Batch(list(answer))

    def _first(self) -> Sequence[Observation]:
        return MINE[:1]

    def trace(self, trace_id: str, around: float) -> list[Observation]:
        return []


class Totals:
    """A backend's metric total, one after the other; the last one stays."""

    path = SignalPath.HONEYCOMB_OTLP

    def __init__(self, *totals: float | Exception) -> None:
        self._totals = list(totals)
        self.asked = 0
        self.billed: Mapping[Meter, int] = {}

    def totals(self, window: Window) -> dict[str, float]:
        self.asked += 1
        total = self._totals.pop(0) if len(self._totals) > 1 else self._totals[0]
        if isinstance(total, Exception):
            raise total
        return {"m": total}


ENTRIES: list[LedgerEntry] = requests(3, start=1_790_000_000.0)
MINE = [each for entry in ENTRIES for each in observations(entry) if each.path is PATH]


def run(
    answer: Answer, quiet: float = 0.1, timeout: float = 20.0, metrics: Sequence[Totals] = ()
) -> tuple[Script, Settled, Comparison, list[Look]]:
    script, looks = Script(answer), list[Look]()
    comparison = Comparison(RUN, ENTRIES, [PATH])
    settled = settle(comparison, [script], list(metrics), {"m": (3, 4)}, quiet, timeout, looks.append)
    return script, settled, comparison, looks


def test_all_there_at_the_first_look_is_settled_at_once() -> None:
    script, settled, _, looks = run(lambda _: MINE, quiet=60)
    assert script.wanted == [None]
    assert settled.states[PATH].settled
    assert len(looks) == 1


def test_later_looks_ask_only_for_what_is_incomplete() -> None:
    script, settled, comparison, _ = run(lambda look: {1: MINE[:-1], 3: MINE[-1:]}.get(look, []), quiet=60)
    assert script.wanted[0] is None
    assert script.wanted[1:] == [[ENTRIES[-1].trace_id]] * 2
    assert settled.states[PATH].settled
    assert comparison.judge(settled.states).counts[PATH][Verdict.SEEN] == 3


def test_nothing_changing_for_the_quiet_time_settles_with_what_is_missing() -> None:
    script, settled, comparison, _ = run(lambda look: MINE[:-1] if look == 1 else [])
    assert settled.states[PATH].settled
    assert len(script.wanted) > 1
    counts = comparison.judge(settled.states).counts[PATH]
    assert (counts[Verdict.MISSING], counts[Verdict.PENDING]) == (1, 0)


def test_still_changing_at_the_bound_is_pending() -> None:
    extra = observations(ENTRIES[0])[0]
    _, settled, comparison, _ = run(lambda look: MINE[:-1] if look == 1 else [extra], quiet=10, timeout=0.5)
    assert not settled.states[PATH].settled
    assert comparison.judge(settled.states).counts[PATH][Verdict.PENDING] == 1


def test_a_backend_that_comes_back_is_read_anew_and_nothing_counts_twice() -> None:
    script, settled, comparison, _ = run(lambda look: Unreadable("down") if look < 3 else MINE, quiet=60)
    assert script.wanted == [None, None, None]
    judgement = comparison.judge(settled.states)
    assert judgement.counts[PATH][Verdict.SEEN] == 3
    assert judgement.findings == []


def test_a_backend_that_is_read_anew_settles_though_it_shows_strays() -> None:
    stray = observations(requests(1)[0])[0]
    shown = Batch([*MINE[:-1], replace(stray, path=PATH, run=RUN)], anew=True)
    _, settled, comparison, looks = run(lambda _: shown)
    assert settled.states[PATH].settled
    assert {look.progress[PATH].observations for look in looks} == {len(shown.observations)}
    assert len(comparison.judge(settled.states).strays) == 1


def test_a_backend_that_stays_away_is_unreadable_after_the_quiet_time() -> None:
    script, settled, comparison, _ = run(lambda _: Unreadable("down", "start it"))
    assert settled.states[PATH].unreadable == "down"
    assert settled.hints[PATH] == "start it"
    assert len(script.wanted) > 1
    assert comparison.judge(settled.states).counts[PATH][Verdict.UNREADABLE] == 3


def test_a_refusal_is_not_tried_again() -> None:
    script, settled, _, _ = run(lambda _: Unreadable("no permission", final=True), quiet=60)
    assert script.wanted == [None]
    assert settled.states[PATH].unreadable == "no permission"


def test_an_answer_nobody_understands_is_unreadable_and_not_empty() -> None:
    _, settled, _, _ = run(lambda _: KeyError("TraceSummaries"))
    assert settled.states[PATH].unreadable == "the answer could not be understood (KeyError: 'TraceSummaries')"


def test_metric_totals_are_waited_for_too() -> None:
    totals = Totals(0.0, 2.0, 3.0)
    _, settled, _, _ = run(lambda _: MINE, quiet=60, metrics=[totals])
    assert totals.asked == 3
    assert [(total.observed, total.agrees) for total in settled.metrics] == [(3.0, True)]


@pytest.mark.parametrize(("observed", "agrees"), [(2.0, False), (3.0, True), (4.0, True), (5.0, False)])
def test_a_total_agrees_within_what_nobody_saw_an_answer_to(observed: float, agrees: bool) -> None:
    _, settled, _, _ = run(lambda _: MINE, metrics=[Totals(observed)])
    assert [total.agrees for total in settled.metrics] == [agrees]


def test_a_total_that_cannot_be_read_is_unknown_and_not_zero() -> None:
    _, settled, _, _ = run(lambda _: MINE, metrics=[Totals(Unreadable("no plan", final=True))])
    assert [(total.observed, total.agrees, total.reason) for total in settled.metrics] == [(None, None, "no plan")]


def test_garbage_is_collected_rarely_while_backends_are_read_and_as_before_afterwards() -> None:
    before, meanwhile = gc.get_threshold(), list[int]()

    def answer(look: int) -> Sequence[Observation]:
        meanwhile.append(gc.get_threshold()[0])
        return MINE

    run(answer)
    assert meanwhile[0] > before[0]
    assert gc.get_threshold() == before
