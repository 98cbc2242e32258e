"""The identity of a request, settled from whatever headers arrive. Pure: an environment in, an environment out."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.propagators.aws import AwsXRayPropagator
from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services.telemetry.identity import RUN_PATTERN, settle

TRACE, OTHER, SPAN = "6b02ee3c" + "a" * 24, "6b02ee3c" + "b" * 24, "c" * 16
ROOT = f"1-{TRACE[:8]}-{TRACE[8:]}"

_hex = st.text("0123456789abcdefABCDEFxyz", max_size=40)
_traceparents = st.one_of(
    st.text(max_size=60),
    st.builds("00-{}-{}-{}".format, _hex, _hex, _hex),
    st.sampled_from(
        [f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00", f"ff-{TRACE}-{SPAN}-01", f"01-{TRACE}-{SPAN}-01-more", f"00-{TRACE}-{SPAN}-01-x"]
    ),
)
_XRAY_PARTS = (
    f"Root={ROOT} Root={ROOT.upper()} Root=1-x-y Parent={SPAN} Parent=0 Sampled=? Sampled=1 Sampled=0 Sampled=9 Self=1 L=a:1 junk =".split()
)
_xrays = st.one_of(
    st.text(max_size=80),
    st.lists(st.sampled_from(_XRAY_PARTS)).map(";".join),
)
_baggage = st.one_of(
    st.text(max_size=80), st.lists(st.sampled_from(["run=a", "run=b c", "run=", "run", "x=1", " run = ok ;p=1", "run=%0a"])).map(",".join)
)


@given(_traceparents, _xrays, _baggage)
def test_whatever_arrives_the_sdks_then_read_the_same(traceparent: str, xray: str, baggage: str) -> None:
    environ: dict[str, Any] = {"HTTP_TRACEPARENT": traceparent, "HTTP_X_AMZN_TRACE_ID": xray, "HTTP_BAGGAGE": baggage}
    identity = settle(environ)
    assert re.fullmatch("[0-9a-f]{32}", identity.trace_id)
    assert identity.parent_id is None or re.fullmatch("[0-9a-f]{16}", identity.parent_id)
    assert identity.run is None or RUN_PATTERN.fullmatch(identity.run)

    # OpenTelemetry's own propagators, on what is left of the headers, find this trace or none.
    carrier = {name.removeprefix("HTTP_").replace("_", "-").lower(): value for name, value in environ.items()}
    w3c = get_current_span(TraceContextTextMapPropagator().extract(carrier)).get_span_context()
    assert not w3c.is_valid or f"{w3c.trace_id:032x}" == identity.trace_id
    assert w3c.is_valid == ("traceparent" in carrier)
    aws = get_current_span(AwsXRayPropagator().extract({"X-Amzn-Trace-Id": environ["HTTP_X_AMZN_TRACE_ID"]})).get_span_context()
    assert not aws.is_valid or f"{aws.trace_id:032x}" == identity.trace_id
    # And what settled once stays settled.
    again = settle(dict(environ))
    assert (again.trace_id, again.parent_id, again.sampled, again.run) == (
        identity.trace_id,
        identity.parent_id,
        identity.sampled,
        identity.run,
    )


def test_w3c_wins_and_the_xray_header_follows_it() -> None:
    environ: dict[str, Any] = {
        "HTTP_TRACEPARENT": f"00-{OTHER}-{SPAN}-00",
        "HTTP_X_AMZN_TRACE_ID": f"Root={ROOT};Parent={'d' * 16};Sampled=1",
    }
    identity = settle(environ)
    assert (identity.trace_id, identity.parent_id, identity.sampled) == (OTHER, SPAN, False)
    assert environ["HTTP_X_AMZN_TRACE_ID"] == f"Root=1-{OTHER[:8]}-{OTHER[8:]};Parent={SPAN};Sampled=0"


def test_the_xray_parent_stays_when_it_belongs_to_the_same_trace() -> None:
    environ: dict[str, Any] = {
        "HTTP_TRACEPARENT": f"00-{TRACE}-{SPAN}-01",
        "HTTP_X_AMZN_TRACE_ID": f"Root={ROOT};Parent={'d' * 16};Sampled=1",
    }
    assert settle(environ).parent_id == SPAN
    assert environ["HTTP_X_AMZN_TRACE_ID"] == f"Root={ROOT};Parent={'d' * 16};Sampled=1"


def test_a_rule_is_asked_once_and_only_if_the_caller_left_it_open() -> None:
    asked = []

    def rule() -> str:
        asked.append(1)
        return "a rule"

    open_question = settle({"HTTP_X_AMZN_TRACE_ID": f"Root={ROOT};Sampled=?"})
    assert [open_question.decide(rule), open_question.decide(rule)] == ["a rule", "a rule"]
    assert len(asked) == 1
    assert settle({"HTTP_X_AMZN_TRACE_ID": f"Root={ROOT};Sampled=0"}).decide(rule) is False
    assert len(asked) == 1
