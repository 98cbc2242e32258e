"""The identity of a request: headers every backend understands, and the decisions read from the answer."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from opentelemetry import baggage, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.aws import AwsXRayPropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from loadtest import identity

RUN = "20250301-101500-9f3c"
TRACE = "67b64b005f0c7a1be2d94386aa017c3e"


def test_a_trace_id_begins_with_the_epoch_and_never_repeats() -> None:
    assert identity.new_trace_id(1_740_000_000.9)[:8] == f"{1_740_000_000:08x}"
    assert len({identity.new_trace_id(1.0) for _ in range(1_000)}) == 1_000
    assert all(len(identity.new_trace_id(1.0)) == 32 for _ in range(10))


def test_opentelemetrys_own_propagators_read_one_identity_from_both_headers() -> None:
    headers = identity.headers(RUN, TRACE, "all")
    contexts = [propagator.extract(headers) for propagator in (TraceContextTextMapPropagator(), AwsXRayPropagator())]
    spans = [trace.get_current_span(context).get_span_context() for context in contexts]
    assert spans[0].trace_id == spans[1].trace_id == int(TRACE, 16)
    assert spans[0].span_id == spans[1].span_id
    assert all(span.trace_flags.sampled for span in spans)
    assert unquote(str(baggage.get_baggage("run", W3CBaggagePropagator().extract(headers)))) == RUN


def test_with_rules_the_decision_is_asked_for() -> None:
    headers = identity.headers(RUN, TRACE, "rules")
    assert set(headers) == {"baggage", "X-Amzn-Trace-Id"}
    assert headers["X-Amzn-Trace-Id"] == f"Root=1-{TRACE[:8]}-{TRACE[8:]};Sampled=?"


ROOT = f"Root=1-{TRACE[:8]}-{TRACE[8:]}"


@pytest.mark.parametrize(
    ("value", "decision"),
    [
        (f"{ROOT};Sampled=1", True),
        (f"{ROOT};Sampled=0", False),
        (f"{ROOT}; Parent=53995c3f42cd8ad8; Sampled=1", True),
        (ROOT, None),
        (f"{ROOT};Sampled=?", None),
        ("Root=1-00000000-000000000000000000000000;Sampled=1", None),
        ("Sampled=1", None),
        (";;=;", None),
        ("", None),
    ],
)
def test_the_xray_sdks_decision(value: str, decision: bool | None) -> None:
    assert identity.sampled_by_xray_sdk(TRACE, {"X-Amzn-Trace-Id": value}) is decision


@pytest.mark.parametrize(
    ("value", "decision"),
    [
        (f"00-{TRACE}-00f067aa0ba902b7-01", True),
        (f"00-{TRACE}-00f067aa0ba902b7-00", False),
        (f"00-{TRACE}-00f067aa0ba902b7-03", True),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
        ("nonsense", None),
        ("", None),
    ],
)
def test_opentelemetrys_decision(value: str, decision: bool | None) -> None:
    assert identity.sampled_by_otel(TRACE, {"traceresponse": value}) is decision


def test_an_answer_that_says_nothing_decides_nothing() -> None:
    assert identity.sampled_by_otel(TRACE, {}) is None
    assert identity.sampled_by_xray_sdk(TRACE, {}) is None
