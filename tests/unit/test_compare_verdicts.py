"""Verdicts: each one by an example, and the relational evaluation against a plain one on whatever can be made up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compose.settings import SignalPath
from loadtest.ledger import LedgerEntry
from services.compare.model import Judgement, PathState, Verdict
from services.compare.paths import OPEN_KINDS, PATHS, SAMPLED_KINDS
from services.compare.readers.base import Observation
from services.compare.verdicts import Comparison, UnknownRequest
from services.cruddur.signals import Outcome, Route, Signal, expected
from tests.compare_run import RUN, observations, requests

ALL = tuple(SignalPath)
START = 1_790_000_000.0


def judge(
    entries: Sequence[LedgerEntry],
    observed: Sequence[Observation],
    states: Mapping[SignalPath, PathState] | None = None,
    unknown: Mapping[str, str] | None = None,
    paths: Collection[SignalPath] = ALL,
) -> Judgement:
    comparison = Comparison(RUN, entries, paths)
    comparison.add(observed)
    comparison.unknown(paths, unknown or {})
    try:
        return comparison.judge(states or {})
    finally:
        comparison.close()


def one(kind: tuple[Route, Outcome, int | None] = (Route.HOME, Outcome.OK, 200), **how: Any) -> tuple[LedgerEntry, list[Observation]]:
    (entry,) = requests(1, start=START, kinds=(kind,), **how)
    return entry, observations(entry)


def only(judgement: Judgement, path: SignalPath) -> Verdict:
    """The verdict of the only request on a path."""
    (verdict,) = (verdict for verdict, count in judgement.counts[path].items() if count)
    return verdict


def without(observed: Sequence[Observation], path: SignalPath, name: str | None = None) -> list[Observation]:
    return [each for each in observed if each.path is not path or (name is not None and each.name != name)]


def test_of_a_replay_no_time_until_visible_is_told() -> None:
    entry, observed = one()
    comparison = Comparison(RUN, [entry], ALL, replayed=True)
    comparison.add(observed)
    judgement = comparison.judge({})
    comparison.close()
    assert only(judgement, SignalPath.HONEYCOMB_OTLP) is Verdict.SEEN
    assert judgement.measures[SignalPath.HONEYCOMB_OTLP].visible_s is None
    assert judgement.measures[SignalPath.HONEYCOMB_OTLP].duration_difference_ms is not None


def test_everything_there_is_seen_and_what_is_not_expected_is_said_so() -> None:
    entry, observed = one()
    judgement = judge([entry], observed)
    assert {only(judgement, path) for path in ALL if path is not SignalPath.ROLLBAR_SDK} == {Verdict.SEEN}
    assert only(judgement, SignalPath.ROLLBAR_SDK) is Verdict.NOT_EXPECTED
    assert (judgement.findings, judgement.strays) == ([], [])


def test_nothing_there_is_missing_and_some_of_it_partial_naming_what() -> None:
    entry, observed = one()
    path = SignalPath.HONEYCOMB_OTLP
    missing = judge([entry], without(observed, path))
    assert [(each.verdict, each.path) for each in missing.findings] == [(Verdict.MISSING, path)]
    assert missing.findings[0].lost
    partial = judge([entry], without(observed, path, "home.activities"))
    assert [(each.verdict, each.absent) for each in partial.findings] == [(Verdict.PARTIAL, ("span home.activities (cruddur)",))]


def test_an_attribute_that_is_gone_or_changed_is_partial_and_named_and_nothing_is_lost() -> None:
    entry, observed = one()

    def changed(each: Observation) -> Observation:
        if each.path is not SignalPath.HONEYCOMB_OTLP or each.name != "GET /api/activities/home":
            return each
        kept = {key: value for key, value in each.attributes.items() if key != "run"}
        return replace(each, attributes=kept | {"http.response.status_code": 201})

    (finding,) = judge([entry], [changed(each) for each in observed]).findings
    assert finding.verdict is Verdict.PARTIAL
    assert finding.absent == ("span GET /api/activities/home (cruddur) without http.response.status_code = 200 (it is 201), run",)
    assert not finding.lost


def test_a_span_that_names_another_run_is_not_what_this_run_must_show() -> None:
    entry, observed = one()
    span = next(each for each in observed if each.kind == "span" and each.name == "home.activities")
    other = replace(span, attributes={**span.attributes, "run": "another"})
    (finding,) = judge([entry], [other if each is span else each for each in observed]).findings
    assert finding.verdict is Verdict.PARTIAL
    assert finding.absent == (f"span home.activities (cruddur) without run = {entry.run} (it is another)",)


def test_a_number_kept_as_text_is_the_same_value() -> None:
    entry, observed = one()
    texts = [replace(each, attributes={key: str(value) for key, value in each.attributes.items()}) for each in observed]
    assert judge([entry], texts).findings == []


def test_a_key_that_x_ray_cannot_spell_is_kept_under_its_other_name() -> None:
    entry, observed = one()
    respelled = [replace(each, attributes={key.replace(".", "_"): value for key, value in each.attributes.items()}) for each in observed]
    judgement = judge(
        [entry], [mine if mine.path is SignalPath.XRAY_OTLP else each for mine, each in zip(respelled, observed, strict=True)]
    )
    assert judgement.findings == []
    kept = {each.key: each for each in judgement.attributes if each.path is SignalPath.XRAY_OTLP}
    assert (kept["app.now"].renamed, kept["app.now"].kept, kept["run"].kept) == (1, 0, 2)


def test_the_same_thing_twice_is_a_duplicate_however_the_vendor_tells() -> None:
    entry, observed = one()
    span = next(each for each in observed if each.kind == "span")
    line = next(each for each in observed if each.path is SignalPath.CLOUDWATCH_OTLP)
    counted = judge([entry], [replace(each, deliveries=2) if each is span else each for each in observed])
    assert [(each.verdict, each.extra) for each in counted.findings] == [
        (Verdict.DUPLICATE, (f"span {span.name} (cruddur) came 2 times instead of 1",))
    ]
    assert only(judge([entry], [*observed, span]), SignalPath.HONEYCOMB_OTLP) is Verdict.DUPLICATE
    assert only(judge([entry], [*observed, replace(line, id="another")]), SignalPath.CLOUDWATCH_OTLP) is Verdict.DUPLICATE


def test_spans_beyond_the_declared_ones_are_fine_once() -> None:
    entry, observed = one()
    extra = replace(next(each for each in observed if each.kind == "span"), name="SELECT activities", id="f" * 16)
    assert judge([entry], [*observed, extra]).findings == []
    assert only(judge([entry], [*observed, extra, extra]), SignalPath.HONEYCOMB_OTLP) is Verdict.DUPLICATE


def test_a_log_line_or_item_the_request_does_not_make_is_stray() -> None:
    entry, observed = one()
    line = next(each for each in observed if each.path is SignalPath.CLOUDWATCH_OTLP)
    item = replace(line, path=SignalPath.ROLLBAR_SDK, kind="item", name="error", id="item")
    judgement = judge([entry], [*observed, replace(line, name="surprise", id="other"), item])
    assert [(each.path, each.why) for each in judgement.strays] == [
        (SignalPath.CLOUDWATCH_OTLP, "the request does not make it"),
        (SignalPath.ROLLBAR_SDK, "the request does not make it"),
    ]


def test_this_runs_observation_of_an_unknown_trace_is_stray_and_another_runs_is_not_ours() -> None:
    entry, observed = one()
    ghost = replace(observed[0], trace_id="0" * 31 + "1")
    assert len(judge([entry], [*observed, ghost]).strays) == 1
    assert len(judge([entry], [*observed, replace(ghost, trace_id=None)]).strays) == 1
    assert judge([entry], [*observed, replace(ghost, run="other")]).strays == []
    assert judge([entry], [*observed, replace(ghost, run=None)]).strays == []


def test_a_sampling_decision_explains_spans_and_segments_but_no_log_line() -> None:
    entry, observed = one(sampled_xray_sdk=lambda _: False, sampled_otel=lambda _: False)
    judgement = judge([entry], observed)
    assert {only(judgement, path) for path in (SignalPath.XRAY_SDK, SignalPath.XRAY_OTLP, SignalPath.HONEYCOMB_OTLP)} == {
        Verdict.NOT_SAMPLED
    }
    assert only(judgement, SignalPath.CLOUDWATCH_OTLP) is Verdict.SEEN
    lost = judge([entry], without(observed, SignalPath.HONEYCOMB_OTLP, "request"))
    assert only(lost, SignalPath.HONEYCOMB_OTLP) is Verdict.PARTIAL


def test_a_span_that_the_ledger_says_was_not_sampled_is_stray() -> None:
    entry, observed = one()
    unsampled = replace(entry, sampled_xray_sdk=False)
    judgement = judge([unsampled], observed)
    assert {each.why for each in judgement.strays} == {"the ledger says it was not sampled"}
    assert {each.path for each in judgement.strays} == {SignalPath.XRAY_SDK}


def test_nobody_said_whether_it_was_sampled_is_unknown_and_not_lost() -> None:
    entry, observed = one(sampled_otel=lambda _: None)
    path = SignalPath.XRAY_OTLP
    assert only(judge([entry], without(observed, path)), path) is Verdict.UNKNOWN
    whole = observations(replace(entry, sampled_otel=True))
    assert only(judge([entry], whole), path) is Verdict.SEEN
    assert only(judge([entry], without(whole, path, "cruddur")), path) is Verdict.PARTIAL


def test_no_answer_expects_nothing_and_explains_whatever_came() -> None:
    entry, observed = one()
    silent = replace(entry, status=None, sampled_otel=None, sampled_xray_sdk=None)
    for arrived in ([], observed, observed * 2):
        judgement = judge([silent], arrived)
        assert {only(judgement, path) for path in ALL} == {Verdict.NOT_EXPECTED}
        assert judgement.strays == []


def test_absent_while_the_path_still_changes_is_pending() -> None:
    entry, observed = one()
    path = SignalPath.XRAY_SDK
    judgement = judge([entry], without(observed, path), {path: PathState(settled=False)})
    assert only(judgement, path) is Verdict.PENDING
    assert only(judge([entry], observed, {path: PathState(settled=False)}), path) is Verdict.SEEN


def test_a_path_that_cannot_be_read_says_nothing_of_any_request() -> None:
    entry, observed = one()
    judgement = judge([entry], without(observed, SignalPath.ROLLBAR_SDK), {SignalPath.ROLLBAR_SDK: PathState(unreadable="down")})
    assert only(judgement, SignalPath.ROLLBAR_SDK) is Verdict.UNREADABLE
    assert judgement.findings == []


def test_a_trace_the_vendor_cannot_say_anything_about_is_unknown_unless_it_is_whole() -> None:
    entry, observed = one()
    why = {entry.trace_id: "X-Ray cut it"}
    assert only(judge([entry], observed, unknown=why), SignalPath.XRAY_SDK) is Verdict.SEEN
    judgement = judge([entry], without(observed, SignalPath.XRAY_SDK), unknown=why)
    assert [(each.verdict, each.unknown) for each in judgement.findings] == [(Verdict.UNKNOWN, "X-Ray cut it")]


def test_a_path_that_was_off_has_no_verdicts() -> None:
    entry, observed = one()
    judgement = judge([entry], observed, paths=[SignalPath.XRAY_SDK])
    assert set(judgement.counts) == {SignalPath.XRAY_SDK}
    assert judgement.strays == []


def test_what_is_read_again_replaces_what_was_known() -> None:
    entry, observed = one()
    comparison = Comparison(RUN, [entry], ALL)
    comparison.add(without(observed, SignalPath.XRAY_SDK))
    assert comparison.incomplete([SignalPath.XRAY_SDK, SignalPath.XRAY_OTLP]) == [entry.trace_id]
    comparison.forget([SignalPath.XRAY_SDK, SignalPath.XRAY_OTLP], [entry.trace_id])
    comparison.add([each for each in observed if each.path in (SignalPath.XRAY_SDK, SignalPath.XRAY_OTLP)])
    assert comparison.incomplete(ALL) == []
    assert comparison.judge({}).findings == []
    comparison.clear([SignalPath.HONEYCOMB_OTLP])
    assert comparison.progress()[SignalPath.HONEYCOMB_OTLP].observations == 0
    assert comparison.progress()[SignalPath.XRAY_SDK].complete == 1
    comparison.close()


def test_what_was_only_just_added_is_forgotten_cleared_and_listed_too() -> None:
    entry, observed = one()
    comparison = Comparison(RUN, [entry], ALL)
    comparison.add(observed)
    comparison.forget([SignalPath.XRAY_SDK], [entry.trace_id])
    comparison.add(observed)
    comparison.clear([SignalPath.HONEYCOMB_OTLP])
    comparison.add(observed[:1])
    left = Counter(batch for rows in comparison.observations() for batch in rows.column("path").to_pylist())
    once, first = Counter(str(each.path) for each in observed), str(observed[0].path)
    times = {str(SignalPath.XRAY_SDK): 1, str(SignalPath.HONEYCOMB_OTLP): 0}
    assert left == Counter({path: count * times.get(path, 2) + (path == first) for path, count in once.items()})
    assert comparison.progress()[SignalPath.CLOUDWATCH_OTLP].observations == 2 * once[str(SignalPath.CLOUDWATCH_OTLP)]
    comparison.close()


def test_a_ledger_of_another_version_is_refused_and_named() -> None:
    entry, _ = one()
    with pytest.raises(UnknownRequest, match="GET /nowhere"):
        Comparison(RUN, [replace(entry, route="GET /nowhere")], ALL)


def test_what_a_backend_does_not_say_is_not_measured_as_zero() -> None:
    entry, observed = one()
    judgement = judge([entry], [replace(each, ingested_at=None, duration_ms=None) for each in observed])
    for measures in judgement.measures.values():
        assert (measures.visible_s, measures.duration_difference_ms) == (None, None)
    judgement = judge([entry], observed)
    assert judgement.measures[SignalPath.XRAY_SDK].duration_difference_ms == pytest.approx((2.0, 2.0))
    assert judgement.measures[SignalPath.XRAY_SDK].visible_s == pytest.approx((0.988, 0.988), abs=1e-6)


def test_every_declared_request_is_seen_when_it_sends_what_is_declared() -> None:
    """Every route with every outcome and many statuses: what satisfies the declaration is never called lost, doubled or stray."""
    kinds = [(route, outcome, status) for route in Route for outcome in Outcome for status in (200, 201, 400, 404, 405, 422, 500, 502, 504)]
    entries = requests(len(kinds), start=START, kinds=kinds)
    judgement = judge(entries, [each for entry in entries for each in observations(entry)])
    assert judgement.findings == []
    assert judgement.strays == []
    for path in ALL:
        assert judgement.counts[path][Verdict.SEEN] + judgement.counts[path][Verdict.NOT_EXPECTED] == len(kinds)
        with_signals = sum(any(signal.path is path for signal in expected(*kind)) for kind in kinds)
        assert judgement.counts[path][Verdict.SEEN] == with_signals


# -- the plain evaluation

_PATHS = (SignalPath.HONEYCOMB_OTLP, SignalPath.XRAY_SDK, SignalPath.ROLLBAR_SDK)
_TABLE: dict[Route, tuple[Signal, ...]] = {
    Route.HOME: (
        Signal(SignalPath.HONEYCOMB_OTLP, "span", "s", "a", frozenset({"k"}), {"v": 1}),
        Signal(SignalPath.HONEYCOMB_OTLP, "span", "s", "b"),
        Signal(SignalPath.HONEYCOMB_OTLP, "span", "s", "b"),
        Signal(SignalPath.HONEYCOMB_OTLP, "log", "s", "l", frozenset({"k"})),
        Signal(SignalPath.XRAY_SDK, "segment", "s", "a"),
    ),
    Route.USER: (
        Signal(SignalPath.HONEYCOMB_OTLP, "span", "s", "", frozenset({"k"})),
        Signal(SignalPath.HONEYCOMB_OTLP, "span", "s", "a"),
        Signal(SignalPath.HONEYCOMB_OTLP, "span", "s", "a", frozenset({"k"})),
        Signal(SignalPath.ROLLBAR_SDK, "item", "s", "error", frozenset({"k"})),
    ),
    Route.SEARCH: (),
}


def _expect(route: Route, outcome: Outcome, status: int | None) -> Sequence[Signal]:
    return _TABLE[route] if status is not None else ()


def _complete(signal: Signal, each: Observation) -> bool:
    return all(key in each.attributes for key in signal.attributes) and all(
        str(each.attributes.get(key)) == str(value) for key, value in signal.values.items()
    )


def _plain_verdict(
    entry: LedgerEntry, path: SignalPath, observed: Sequence[Observation], state: PathState, unknown: Collection[str]
) -> Verdict:
    """The definition in the module's table, request by request."""
    required = Counter((s.kind, s.service, s.name, s.attributes, tuple(s.values.items())) for s in _expect_of(entry) if s.path is path)
    by_name: Counter[tuple[str, str, str]] = Counter()
    for (kind, service, name, *_), n in required.items():
        by_name[kind, service, name] += n
    mine = [each for each in observed if each.trace_id == entry.trace_id and each.path is path]
    if state.unreadable is not None:
        return Verdict.UNREADABLE
    if entry.status is None or not required:
        return Verdict.NOT_EXPECTED
    decision = {"xray_sdk": entry.sampled_xray_sdk, "otel": entry.sampled_otel, None: True}[PATHS[path].decider]
    absent_sampled = absent_other = present_sampled = anything = skipped = False
    for (kind, service, name, attributes, values), n in required.items():
        signal = Signal(path, kind, service, name, attributes, dict(values))
        candidates = [each for each in mine if (each.kind, each.service) == (kind, service) and name in ("", each.name)]
        complete = {each.id for each in candidates if _complete(signal, each)}
        named = {each.id for each in candidates} if name else complete
        if kind in SAMPLED_KINDS and decision is False:
            skipped = True
            continue
        anything |= bool(named)
        ok = len(complete) >= n and len(named) >= (by_name[kind, service, name] if name else n)
        if kind in SAMPLED_KINDS:
            present_sampled |= bool(named)
            absent_sampled |= not ok
        else:
            absent_other |= not ok
    doubled = False
    for label in {(each.kind, each.service, each.name) for each in mine}:
        same = [each for each in mine if (each.kind, each.service, each.name) == label]
        if label[0] in SAMPLED_KINDS and decision is False:
            continue
        if label[0] in OPEN_KINDS and not any(kind in SAMPLED_KINDS for kind, *_ in required):
            continue
        if label[0] not in OPEN_KINDS and label not in by_name:
            continue
        ids = {each.id for each in same}
        allowed = min(len(ids), by_name[label]) if label in by_name else len(ids)
        doubled |= sum(each.deliveries for each in same) > allowed
    if not absent_sampled and not absent_other:
        return Verdict.DUPLICATE if doubled else Verdict.NOT_SAMPLED if skipped else Verdict.SEEN
    if entry.trace_id in unknown or (decision is None and not absent_other and not present_sampled):
        return Verdict.UNKNOWN
    if not state.settled:
        return Verdict.PENDING
    return Verdict.PARTIAL if anything else Verdict.MISSING


def _expect_of(entry: LedgerEntry) -> Sequence[Signal]:
    return _expect(Route(entry.route), Outcome(entry.outcome), entry.status)


def _plain_strays(entries: Sequence[LedgerEntry], observed: Sequence[Observation]) -> set[tuple[SignalPath, str, str | None, str]]:
    known = {entry.trace_id: entry for entry in entries}
    strays = set()
    for each in observed:
        entry = known.get(each.trace_id or "")
        if entry is None:
            stray = each.run == RUN
        elif entry.status is None:
            stray = False
        else:
            decision = {"xray_sdk": entry.sampled_xray_sdk, "otel": entry.sampled_otel, None: True}[PATHS[each.path].decider]
            declared = [signal for signal in _expect_of(entry) if signal.path is each.path]
            if each.kind in OPEN_KINDS:
                stray = decision is False or not any(signal.kind in SAMPLED_KINDS for signal in declared)
            else:
                stray = not any((signal.kind, signal.service, signal.name) == (each.kind, each.service, each.name) for signal in declared)
        if stray:
            strays.add((each.path, f"{each.kind} {each.name} ({each.service})", each.trace_id, each.id))
    return strays


_TRACES = [f"{number:032x}" for number in range(1, 5)]

_observation = st.builds(
    lambda place, name, identity, trace, run, keys, value, deliveries: Observation(
        path=place[0],
        kind=place[1],
        service="s",
        name=name,
        id=identity,
        trace_id=trace,
        run=run,
        attributes={key: value if key == "v" else "x" for key in keys},
        deliveries=deliveries,
    ),
    st.sampled_from(
        [
            (SignalPath.HONEYCOMB_OTLP, "span"),
            (SignalPath.HONEYCOMB_OTLP, "log"),
            (SignalPath.XRAY_SDK, "segment"),
            (SignalPath.XRAY_SDK, "subsegment"),
            (SignalPath.ROLLBAR_SDK, "item"),
        ]
    ),
    st.sampled_from(["a", "b", "l", "error"]),
    st.sampled_from(["1", "2", "3"]),
    st.sampled_from([*_TRACES, "f" * 32, None]),
    st.sampled_from([RUN, RUN, "other", None]),
    st.sets(st.sampled_from(["k", "v"])),
    st.sampled_from([1, 2]),
    st.sampled_from([1, 1, 1, 2]),
)
_entry = st.builds(
    lambda route, status, sdk, otel: (route, status, sdk, otel),
    st.sampled_from(list(_TABLE)),
    st.sampled_from([200, 200, None]),
    st.sampled_from([True, True, False, None]),
    st.sampled_from([True, True, False, None]),
)
_state = st.sampled_from([PathState(), PathState(), PathState(settled=False), PathState(unreadable="down")])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(_entry, min_size=1, max_size=4),
    st.lists(_observation, max_size=24),
    st.fixed_dictionaries(dict.fromkeys(_PATHS, _state)),
    st.sets(st.sampled_from(_TRACES), max_size=1),
)
def test_the_join_says_what_the_plain_evaluation_says(
    made: list[tuple[Route, int | None, bool | None, bool | None]],
    observed: list[Observation],
    states: dict[SignalPath, PathState],
    unknown: set[str],
) -> None:
    entries = [
        LedgerEntry(RUN, number, _TRACES[number], "GET", route, "/", "ok", status, START, 1.0, sdk, otel)
        for number, (route, status, sdk, otel) in enumerate(made)
    ]
    comparison = Comparison(RUN, entries, _PATHS, expect=_expect)
    comparison.add(observed)
    comparison.unknown(_PATHS, dict.fromkeys(unknown, "why"))
    judgement = comparison.judge(states)
    comparison.close()
    plain = {(entry.sequence, path): _plain_verdict(entry, path, observed, states[path], unknown) for entry in entries for path in _PATHS}
    for path in _PATHS:
        counted = Counter(verdict for (_, at), verdict in plain.items() if at is path)
        assert {verdict: count for verdict, count in judgement.counts[path].items() if count} == dict(counted), path
    for finding in judgement.findings:
        assert plain[finding.sequence, finding.path] is finding.verdict
        assert finding.absent or finding.extra
    assert {(stray.path, stray.what, stray.trace_id, stray.id) for stray in judgement.strays} == _plain_strays(entries, observed)
