"""The report: exit status, words, causes and prices."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from compose.settings import ConfigurationError, SignalPath
from services.compare import prices, table
from services.compare.evidence import Away, Evidence
from services.compare.model import Finding, MetricTotal, PathState, Verdict
from services.compare.paths import PATHS
from services.compare.report import Report
from services.compare.trace import NoSuchTrace, parse
from services.compare.verdicts import Comparison
from services.cruddur.signals import METRICS
from tests.api.servers import hermetic_settings
from tests.compare_run import RUN, observations, requests

START = 1_790_000_000.0
ABOUT = {"profile": "smoke", "seed": 1, "sampling": "all", "mode": "offline", "started": "2026-01-01T12:00:00Z"}


def report(
    lost: SignalPath | None = None,
    ghost: bool = False,
    unreadable: SignalPath | None = None,
    on: Sequence[SignalPath] = tuple(SignalPath),
    unknown: bool = False,
    metric: float | None = 8.0,
) -> Report:
    """A report on eight requests."""
    entries = requests(8, start=START)
    comparison = Comparison(RUN, entries, on)
    seen = [each for entry in entries for each in observations(entry) if each.path is not lost]
    comparison.add([*seen, replace(seen[0], trace_id="e" * 32)] if ghost else seen)
    if unknown and lost is not None:
        comparison.unknown([lost], {entry.trace_id: "it would not say" for entry in entries})
    states = {path: PathState(unreadable="it is down" if path is unreadable else None) for path in SignalPath if path in on}
    judgement = comparison.judge(states)
    comparison.close()
    evidence = Evidence(None, 120)
    return Report(
        run=RUN,
        about=ABOUT,
        judgement=judgement,
        why=[evidence.why(finding) for finding in judgement.findings],
        states=states,
        hints={},
        metrics=[MetricTotal(SignalPath.HONEYCOMB_OTLP, METRICS[0].name, (8, 8), metric, None if metric is not None else "no plan")],
        prices=prices.load(hermetic_settings(state_dir=Path("/nonexistent"))),
        seconds=1.0,
    )


@pytest.mark.parametrize(
    ("how", "status", "words"),
    [
        ({}, 0, "All 8 requests are as expected on all 6 paths; nothing stray."),
        ({"on": [SignalPath.XRAY_SDK]}, 0, "All 8 requests are as expected on 1 path; nothing stray. Off: honeycomb/otlp, xray/otlp,"),
        ({"lost": SignalPath.ROLLBAR_SDK}, 1, "Of 8 requests, rollbar/sdk: 2 missing."),
        ({"ghost": True}, 1, "1 stray."),
        ({"metric": 7.0}, 1, "1 metric total differs."),
        ({"unreadable": SignalPath.ROLLBAR_SDK}, 2, "rollbar/sdk could not be read."),
        ({"metric": None}, 2, "metrics of honeycomb/otlp could not be read."),
        ({"lost": SignalPath.XRAY_SDK, "unknown": True}, 2, "xray/sdk cannot say about 8 requests."),
        # What differs is certain, whatever else could not be read.
        ({"lost": SignalPath.ROLLBAR_SDK, "unreadable": SignalPath.XRAY_SDK}, 1, "rollbar/sdk: 2 missing; xray/sdk could not be read."),
    ],
)
def test_exit_status_and_conclusion(how: dict[str, Any], status: int, words: str) -> None:
    made = report(**how)
    assert made.exit_status == status
    assert words in made.conclusion


@pytest.mark.parametrize("how", [{}, {"lost": SignalPath.XRAY_OTLP}, {"unreadable": SignalPath.XRAY_SDK}, {"on": [SignalPath.XRAY_SDK]}])
def test_the_document_is_json_and_counts_every_request_on_every_path_that_was_on(how: dict[str, Any]) -> None:
    made = report(**how)
    document = json.loads(json.dumps(made.document(), allow_nan=False))
    assert set(document["paths"]) == {path.value for path in SignalPath}
    for path in document["paths"].values():
        if path["state"] == "off":
            assert path["verdicts"] == {}
        else:
            assert set(path["verdicts"]) == {verdict.value for verdict in Verdict}
            assert sum(path["verdicts"].values()) == document["requests"] == 8
    assert len(document["not_as_expected"]) == len(made.judgement.findings)
    assert all(row["why"] for row in document["not_as_expected"])


@pytest.mark.parametrize(
    "how",
    [{}, {"lost": SignalPath.XRAY_OTLP, "ghost": True}, {"unreadable": SignalPath.XRAY_SDK, "metric": None}, {"on": [SignalPath.XRAY_SDK]}],
)
def test_the_table_fits_and_ends_with_the_conclusion(how: dict[str, Any]) -> None:
    made = report(**how)
    out = io.StringIO()
    table.show(made, Console(file=out, width=table.WIDTH))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert max(map(len, lines)) <= table.WIDTH
    assert "".join(lines[-2:]).replace(" ", "").endswith(made.conclusion.replace(" ", ""))
    for path in SignalPath:
        assert sum(path.value in line for line in lines) >= 2, path


# -- causes


def finding(path: SignalPath = SignalPath.ROLLBAR_SDK, verdict: Verdict = Verdict.MISSING, lost: bool = True) -> Finding:
    return Finding(7, "a" * 32, "GET /rollbar/test", "ok", 200, START, 100.0, path, verdict, ("item warning (cruddur)",), (), lost)


def test_a_recorded_absence_is_stated_as_the_cause() -> None:
    why = Evidence({"rollbar": [Away(START - 50, START - 40), Away(START - 2, START + 4)]}, 120).why(finding())
    assert "The process rollbar was away from" in why
    assert "in that time" in why
    assert PATHS[SignalPath.ROLLBAR_SDK].gives_up in why
    assert "ossible" not in why


@pytest.mark.parametrize(
    ("away", "words"),
    [
        (Away(START - 9, START - 2), "2.0 s after that, when it may not have listened yet"),
        (Away(START + 2, None), "before that, when it may still have been on its way"),
        (Away(START + 0.08, START + 1), "80 ms before that, and was still under way then"),
    ],
)
def test_an_absence_close_by_is_told_as_what_it_is(away: Away, words: str) -> None:
    assert words in Evidence({"rollbar": [away]}, 120).why(finding())


def test_without_a_record_a_cause_is_only_possible_and_with_one_that_shows_nothing_it_says_so() -> None:
    assert "Possible cause: pyrollbar does not retry" in Evidence(None, 120).why(finding())
    assert "No cause is on record (rollbar was there all the time)" in Evidence({"rollbar": [Away(0, 1)]}, 120).why(finding())


def test_an_attribute_that_is_gone_is_not_blamed_on_a_process() -> None:
    why = Evidence({"rollbar": [Away(START - 2, START + 4)]}, 120).why(finding(lost=False))
    assert "was away" not in why
    assert "dropped or changed" in why


def test_the_application_dying_explains_a_loss_on_every_path() -> None:
    evidence = Evidence({"cruddur": [Away(START + 1, START + 3)]}, 120)
    assert all("The process cruddur was away" in evidence.why(finding(path)) for path in SignalPath)


def test_a_replay_is_explained_by_its_configuration_and_never_by_what_the_sandbox_went_through() -> None:
    why = Evidence({"collector": [Away(START - 2, START + 4)]}, 120, replayed=True).why(finding(SignalPath.HONEYCOMB_OTLP))
    assert "was away" not in why
    assert "the Collector's configuration or the recording" in why


def test_pending_names_the_bound_and_unknown_the_reason() -> None:
    evidence = Evidence(None, 120)
    assert "after 120 s (COMPARE_TIMEOUT)" in evidence.why(finding(verdict=Verdict.PENDING))
    assert "it would not say" in evidence.why(replace(finding(verdict=Verdict.UNKNOWN), unknown="it would not say"))
    assert "Nobody said whether it was sampled" in evidence.why(finding(verdict=Verdict.UNKNOWN))


# -- prices


def test_prices_of_the_user_replace_the_built_in_ones(tmp_path: Path) -> None:
    built_in = prices.load(hermetic_settings(state_dir=tmp_path))
    assert set(built_in.meters) == set(prices.Meter)
    own = json.loads(built_in.model_dump_json())
    own["meters"]["rollbar/occurrences"]["usd_per_unit"] = 0.5
    (tmp_path / "prices.json").write_text(json.dumps(own))
    loaded = prices.load(hermetic_settings(state_dir=tmp_path))
    measures = report().judgement.measures[SignalPath.ROLLBAR_SDK]
    occurrences = prices.units(SignalPath.ROLLBAR_SDK, measures)
    assert loaded.of(SignalPath.ROLLBAR_SDK).cost(occurrences) == 1.0
    assert built_in.of(SignalPath.ROLLBAR_SDK).cost(occurrences) is None


@pytest.mark.parametrize("text", ["", "[]", '{"as_of": "2026-01-01"}', '{"as_of": "soon", "currency": "USD", "region": "r", "meters": {}}'])
def test_a_table_of_prices_that_is_none_is_one_clear_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "prices.json").write_text(text)
    with pytest.raises(ConfigurationError, match=r"prices\.json is not a table of prices \(.*\); mend it") as caught:
        prices.load(hermetic_settings(state_dir=tmp_path))
    assert "\n" not in str(caught.value)


# -- trace ids


def test_a_trace_id_is_taken_in_both_forms_and_any_case() -> None:
    plain = "65937d80" + "0123456789abcdef01234567"
    for text in (plain, plain.upper(), f"1-{plain[:8]}-{plain[8:]}", f" {plain} "):
        assert parse(text) == plain


@pytest.mark.parametrize(
    "text", ["abc", "0" * 32, "1-00000000-" + "0" * 24, "g" * 32, "1-65937d80-0123", "2-65937d80-0123456789abcdef01234567"]
)
def test_what_is_no_trace_id_is_one_clear_line(text: str) -> None:
    with pytest.raises(NoSuchTrace, match="is not a trace id: 32 hex digits"):
        parse(text)
