"""Two runs against each other: exactly what changed is found, chance is not a change, and every form says the same."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as xml

import pytest
from hypothesis import given
from hypothesis import strategies as some

from compose.settings import Settings, SignalPath
from loadtest.ledger import LedgerEntry
from services.compare.differences import Contrast, Thresholds, ThresholdsError, contrast, document, junit, markdown
from services.compare.differences.contrast import Check
from services.compare.differences.quantiles import CONFIDENCE, ranks
from services.compare.differences.thresholds import Longer, parse
from services.compare.model import PathState
from services.compare.readers.base import Observation
from services.compare.record import Record
from services.cruddur.signals import Outcome, Route
from tests.api.servers import hermetic_settings
from tests.compared_runs import STARTED, make_run

PATHS = (SignalPath.HONEYCOMB_OTLP, SignalPath.XRAY_SDK)


def recorded(
    folder: Path,
    run: str,
    n: int = 200,
    client: Callable[[random.Random], float] = lambda chance: chance.uniform(10, 20),
    visible: Callable[[random.Random], float] = lambda chance: chance.uniform(0.4, 0.6),
    lost: Collection[int] = (),
    drop_run: Collection[int] = (),
    unanswered: Collection[int] = (),
    failed: Collection[int] = (),
    unreadable: SignalPath | None = None,
    paths: Collection[SignalPath] = PATHS,
    seed: int = 1,
) -> Record:
    """The record of ``n`` health checks. ``client``: milliseconds; ``visible``: seconds until Honeycomb has it; ``lost``: requests of
    which X-Ray lacks the segment; ``drop_run``: requests whose span arrived without the run; ``unanswered``, ``failed``: requests
    that nobody answered, or with a 500."""
    chance = random.Random(run)
    entries = [
        LedgerEntry(
            run,
            sequence,
            f"{int(STARTED):08x}{sequence:024x}",
            "GET",
            Route.HEALTH_CHECK,
            "/",
            Outcome.OK,
            None if sequence in unanswered else 500 if sequence in failed else 200,
            STARTED + sequence,
            client(chance),
            True,
            True,
        )
        for sequence in range(n)
    ]
    waits = [visible(chance) for _ in entries]

    def spoil(entry: LedgerEntry, each: Observation) -> list[Observation]:
        if each.path is unreadable or (each.path is SignalPath.XRAY_SDK and entry.sequence in lost):
            return []
        if each.kind == "span" and entry.sequence in drop_run:
            each = replace(each, attributes={key: value for key, value in each.attributes.items() if key != "run"})
        if each.ingested_at is not None:
            each = replace(each, ingested_at=entry.start + entry.duration_ms / 1000 + waits[entry.sequence])
        return [each]

    made = make_run(
        hermetic_settings(state_dir=folder),
        run=run,
        entries=entries,
        paths=paths,
        spoil=spoil,
        states={unreadable: PathState(unreadable="it is down")} if unreadable is not None else None,
        why=lambda _: "the daemon was <b>away</b> | \x07",
        seed=seed,
    )
    return Record.open(made.folder)


def found(checks: list[Check]) -> set[tuple[str, str]]:
    return {(check.where, check.kind) for check in checks}


def test_two_runs_alike_differ_nowhere(tmp_path: Path) -> None:
    result = contrast(recorded(tmp_path, "b"), recorded(tmp_path, "a"), Thresholds())
    assert result.exit_status == 0
    assert {check.result for check in result.checks} <= {"same", "too few"}
    assert {check.where for check in result.checks} == {"client", "honeycomb/otlp", "xray/sdk"}, "and something was checked"
    assert result.losses == []


def test_a_backend_that_became_slow_is_found_there_and_nowhere_else(tmp_path: Path) -> None:
    slow = recorded(tmp_path, "b", visible=lambda chance: chance.uniform(3, 4))
    result = contrast(slow, recorded(tmp_path, "a"), Thresholds())
    assert result.exit_status == 1
    assert found(result.exceeded) == {("honeycomb/otlp", "later")}
    assert [check.what for check in result.exceeded][:2] == ["visible after p50", "visible after p90"]
    back = contrast(result.before, result.after, Thresholds())
    assert (back.exit_status, [check.result for check in back.checks if check.kind == "later"]) == (0, ["better", "better", "same"])


def test_an_application_that_became_slow_is_found_at_the_client_and_on_every_path(tmp_path: Path) -> None:
    slow = recorded(tmp_path, "b", client=lambda chance: chance.uniform(40, 60))
    result = contrast(slow, recorded(tmp_path, "a"), Thresholds())
    assert found(result.exceeded) == {("client", "slower"), ("honeycomb/otlp", "slower"), ("xray/sdk", "slower")}


def test_requests_that_are_lost_now_are_named_and_those_lost_before_are_not(tmp_path: Path) -> None:
    result = contrast(recorded(tmp_path, "b", lost=frozenset({3, 7})), recorded(tmp_path, "a", lost=frozenset({3})), Thresholds())
    assert found(result.exceeded) == {("xray/sdk", "lost")}
    (check,) = result.exceeded
    assert (check.before, check.after, check.reason) == (1 / 200, 2 / 200, "1 missing → 2 missing")
    assert [(loss.sequence, loss.path, loss.verdict) for loss in result.losses] == [(7, "xray/sdk", "missing")]
    assert contrast(result.after, result.before, Thresholds(lost=0.01)).exit_status == 0, "within what is accepted"


def test_an_attribute_that_is_dropped_now_is_named(tmp_path: Path) -> None:
    result = contrast(recorded(tmp_path, "b", drop_run=frozenset(range(50))), recorded(tmp_path, "a"), Thresholds())
    assert {check.what for check in result.exceeded} == {"not as expected", "attribute run dropped or changed"}
    assert {check.where for check in result.exceeded} == {"honeycomb/otlp"}


def test_what_could_not_be_read_is_unknown_and_not_a_loss(tmp_path: Path) -> None:
    result = contrast(recorded(tmp_path, "b", unreadable=PATHS[1]), recorded(tmp_path, "a"), Thresholds())
    assert result.exit_status == 2
    assert [(check.where, check.result) for check in result.unknown] == [("xray/sdk", "unknown")]
    assert "it is down" in result.conclusion
    assert result.losses == []


def test_requests_without_an_answer_and_answered_with_an_error_are_found_at_the_client(tmp_path: Path) -> None:
    """Nothing of them is missing anywhere, and they make the run quicker."""
    before = recorded(tmp_path, "a")
    result = contrast(recorded(tmp_path, "b", unanswered={1, 2, 3}), before, Thresholds())
    assert [(check.where, check.what, check.reason) for check in result.exceeded] == [("client", "requests without an answer", "0 → 3")]
    result = contrast(recorded(tmp_path, "c", failed={5}), before, Thresholds())
    assert ("client", "requests answered with an error") in {(check.where, check.what) for check in result.exceeded}
    other = contrast(recorded(tmp_path, "d", failed={5}, seed=2), before, Thresholds())
    assert "requests answered with an error" not in {check.what for check in other.checks}, "another plan asks for other errors"


def test_what_a_path_shows_that_was_off_before_is_no_loss(tmp_path: Path) -> None:
    result = contrast(recorded(tmp_path, "b", lost={3}), recorded(tmp_path, "a", paths=PATHS[:1]), Thresholds())
    assert result.same_plan
    assert result.losses == []
    assert [(check.where, check.reason) for check in result.unknown] == [("xray/sdk", "it was off in the earlier run")]


def test_what_nobody_can_judge_is_unknown_and_not_a_loss(tmp_path: Path) -> None:
    after, before = recorded(tmp_path, "b"), recorded(tmp_path, "a")
    verdicts = after.document["paths"]["xray/sdk"]["verdicts"]
    verdicts["seen"], verdicts["unknown"] = 198, 2
    result = contrast(after, before, Thresholds())
    assert (result.exit_status, result.exceeded, result.losses) == (2, [], [])
    assert [(check.where, check.what) for check in result.unknown] == [("xray/sdk", "cannot be judged")]


def test_one_request_and_requests_that_nobody_answered_can_be_compared(tmp_path: Path) -> None:
    one = contrast(recorded(tmp_path, "b", n=1), recorded(tmp_path, "a", n=1), Thresholds())
    assert one.exit_status == 0
    none = contrast(recorded(tmp_path, "d", n=5, unanswered=range(5)), recorded(tmp_path, "c", n=5, unanswered=range(5)), Thresholds())
    assert none.exit_status == 0
    lost = contrast(recorded(tmp_path, "f", n=5, unanswered=range(5)), recorded(tmp_path, "e", n=5), Thresholds())
    assert {check.what for check in lost.exceeded} == {"requests without an answer"}


def test_records_of_an_older_version_can_be_compared(tmp_path: Path) -> None:
    after, before = recorded(tmp_path, "b"), recorded(tmp_path, "a")
    older = {key: value for key, value in before.document.items() if key not in ("meters", "judging_seconds")}
    assert contrast(after, Record(before.folder, older), Thresholds()).exit_status == 0


def test_too_few_requests_are_no_evidence(tmp_path: Path) -> None:
    result = contrast(recorded(tmp_path, "b", n=4, client=lambda _: 100.0), recorded(tmp_path, "a", n=4), Thresholds())
    assert result.exit_status == 0
    assert {check.result for check in result.checks if check.kind == "slower"} == {"too few"}


def test_runs_of_different_requests_are_not_held_against_each_other_one_by_one(tmp_path: Path) -> None:
    result = contrast(recorded(tmp_path, "b", lost=frozenset({3}), seed=2), recorded(tmp_path, "a"), Thresholds())
    assert (result.same_plan, result.losses, result.exit_status) == (False, [], 1)


@given(some.integers(1, 3000), some.sampled_from([0.5, 0.9, 0.99]))
def test_the_ranks_enclose_the_true_quantile_with_the_stated_confidence(n: int, q: float) -> None:
    """By the binomial distribution itself, summed here in the plainest way."""
    low, high = ranks(n, q)
    below = [1.0] + [0.0] * n if q == 0 else _binomial(n, q)
    tail = (1 - CONFIDENCE) / 2
    slack = 0.25 * tail  # the normal approximation is used where n is large
    if low is not None:
        assert sum(below[:low]) <= tail + slack, "P(fewer than `low` of n lie below it)"
    if high is not None:
        assert sum(below[high:]) <= tail + slack, "P(`high` of n or more lie below it)"
    if low is not None and high is not None:
        assert 1 <= low <= n * q + 1
        assert n * q <= high <= n


def _binomial(n: int, q: float) -> list[float]:
    return [
        math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * math.log(q) + (n - k) * math.log(1 - q))
        for k in range(n + 1)
    ]


@given(
    some.builds(
        Thresholds,
        some.none() | some.builds(Longer, some.integers(0, 500).map(lambda n: n / 100), some.integers(0, 9999).map(lambda n: n / 1000)),
        some.none() | some.builds(Longer, some.integers(0, 500).map(lambda n: n / 100), some.integers(0, 9999).map(lambda n: n / 1000)),
        some.none() | some.integers(0, 100).map(lambda n: n / 100),
        some.none() | some.integers(0, 100).map(lambda n: n / 100),
    )
)
def test_thresholds_are_read_as_they_are_printed(thresholds: Thresholds) -> None:
    assert str(parse(str(thresholds))) == str(thresholds)


@pytest.mark.parametrize(
    "line", ["slower", "slower=", "slower=fast", "later=5", "lost=-1%", "cost=10", "nonsense=1%", "lost=0% lost=1%", "slower=1%+5"]
)
def test_a_line_that_says_no_thresholds_is_refused_with_a_right_one(line: str) -> None:
    with pytest.raises(ThresholdsError):
        parse(line)


def test_the_setting_names_the_defaults() -> None:
    assert str(Thresholds()) in str(Settings.model_fields["thresholds"].description)


@pytest.fixture
def hostile(tmp_path: Path) -> Contrast:
    return contrast(recorded(tmp_path, "b", lost=frozenset({3})), recorded(tmp_path, "a", unreadable=PATHS[0]), Thresholds())


def test_junit_has_a_case_a_check_and_is_well_formed(hostile: Contrast) -> None:
    root = xml.fromstring(junit.render(hostile))
    assert len(root.findall(".//testcase")) == len(hostile.checks) == int(root.attrib["tests"])
    assert [case.attrib["type"] for case in root.findall(".//failure")] == ["lost"]
    assert len(root.findall(".//error")) == 1
    assert {suite.attrib["name"] for suite in root} == {"client", "honeycomb/otlp", "xray/sdk"}


def test_markdown_takes_nothing_for_markup(hostile: Contrast) -> None:
    text = markdown.render(hostile)
    assert "<b>" not in text
    assert "&lt;b&gt;away" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {8}, "no cell adds a column"


def test_the_json_document_holds_everything(hostile: Contrast) -> None:
    again = json.loads(json.dumps(document.document(hostile), allow_nan=False))
    assert again["exit_status"] == 1
    assert len(again["checks"]) == len(hostile.checks)
    assert again["losses"][0]["sequence"] == 3


def test_a_replay_is_held_against_its_run_on_the_paths_it_has_and_not_by_when_it_became_visible(tmp_path: Path) -> None:
    original = recorded(tmp_path, "20260101-000000-000a")
    made = recorded(tmp_path, "20260101-000000-000b", paths=PATHS[:1], lost=())
    about = made.document["about"] | {"replay_of": original.document["run"]}
    replayed = Record(made.folder, {**made.document, "about": about})
    result = contrast(replayed, original, Thresholds())
    assert result.exit_status == 0, result.conclusion
    assert {check.where for check in result.checks} == {"client", "honeycomb/otlp"}
    assert not [check for check in result.checks if check.kind == "later"]
    assert contrast(made, original, Thresholds()).exit_status == 2, "of a run that is no replay a path that is off cannot be compared"
