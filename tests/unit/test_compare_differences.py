"""Two runs against each other: exactly what changed is found, chance is not a change, and every form says the same."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as xml

import pytest
from hypothesis import given
from hypothesis import strategies as some

from compose.settings import Settings, SignalPath
from loadtest.ledger import LedgerEntry
from services.compare import prices, record
from services.compare.differences import Contrast, Thresholds, ThresholdsError, contrast, document, junit, markdown
from services.compare.differences.contrast import Check
from services.compare.differences.quantiles import CONFIDENCE, ranks
from services.compare.differences.thresholds import Longer, parse
from services.compare.model import PathState
from services.compare.readers.base import Observation
from services.compare.record import Record
from services.compare.report import Report
from services.compare.verdicts import Comparison
from services.cruddur.signals import Outcome, Route

PATHS = (SignalPath.HONEYCOMB_OTLP, SignalPath.XRAY_SDK)
START = 1767600000.0
#: What a log line of a health check holds beside the run.
LINE = dict.fromkeys(("time", "address", "scheme", "path", "trace_id", "duration_ms"), "x") | {"method": "GET", "status": 200}


def recorded(
    folder: Path,
    run: str,
    n: int = 200,
    client: Callable[[random.Random], float] = lambda chance: chance.uniform(10, 20),
    visible: Callable[[random.Random], float] = lambda chance: chance.uniform(0.4, 0.6),
    lost: frozenset[int] = frozenset(),
    drop_run: frozenset[int] = frozenset(),
    unreadable: SignalPath | None = None,
    seed: int = 1,
) -> Record:
    """The record of ``n`` health checks. ``client``: milliseconds; ``visible``: seconds until Honeycomb has it; ``lost``: requests of
    which X-Ray lacks the segment; ``drop_run``: requests whose span arrived without the run."""
    chance = random.Random(run)
    entries, observations = [], []
    for sequence in range(n):
        trace, start, duration = f"{int(START):08x}{sequence:024x}", START + sequence, client(chance)
        entries.append(LedgerEntry(run, sequence, trace, "GET", Route.HEALTH_CHECK, "/", Outcome.OK, 200, start, duration, True, True))
        values = {"http.request.method": "GET", "http.response.status_code": 200, "http.route": Route.HEALTH_CHECK.rule}
        ingested = start + duration / 1000 + visible(chance)
        spans = {} if sequence in drop_run else {"run": run}
        observations += [
            Observation(
                PATHS[0], "span", "cruddur", Route.HEALTH_CHECK, f"{sequence:016x}", trace, run, values | spans,
                start=start, duration_ms=duration - 1, ingested_at=ingested,
            ),
            Observation(
                PATHS[0], "log", "cruddur", "request", f"{sequence:016x}/request", trace, run,
                LINE | {"run": run},
                ingested_at=ingested,
            ),
        ]  # fmt: skip
        if sequence not in lost:
            observations.append(
                Observation(
                    PATHS[1],
                    "segment",
                    "Cruddur",
                    "Cruddur",
                    f"{sequence:016x}",
                    trace,
                    run,
                    {"run": run},
                    start=start,
                    duration_ms=duration,
                )
            )
    comparison = Comparison(run, entries, PATHS)
    comparison.add([each for each in observations if each.path is not unreadable])
    states = {path: PathState(unreadable="it is down" if path is unreadable else None) for path in PATHS}
    judgement = comparison.judge(states)
    about = {"profile": "smoke", "planned": n, "seed": seed, "mode": "offline"}
    why = ["the daemon was <b>away</b> | \x07" for _ in judgement.findings]
    report = Report(run, about, judgement, why, states, {}, [], prices.built_in(), 0.1, {}, 0.1)
    (folder / run).mkdir()
    record.keep(folder / run, comparison, entries, report)
    comparison.close()
    return Record.open(folder / run)


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
