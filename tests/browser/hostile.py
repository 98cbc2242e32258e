"""A run that means ill: telemetry that tries to become more than text, sent through the vendors' public APIs and compared like any other.

    hostile = hostile_run(sandbox, like=run.id)
    page.goto(hostile.request_url(hostile.trace_ids["script"]))
    assert_inert(page)

One request for each text of :data:`TEXTS`. On every path it shows what it must (`services/cruddur/signals.py`), with the text for the value
of each attribute; beside that a span, a subsegment, a log line and an item have the text for a name, a key, a message, a title. The
ledger's own words, what was asked for and the client's error, hold it as well. Each path has strays, too.

Elements and attributes that a text tries to make carry ``data-hostile``; scripts that it tries to run set ``hostileRan``.
"""

from __future__ import annotations

import json
import secrets
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import requests
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from compose.settings import Settings, SignalPath
from loadtest.identity import new_trace_id
from loadtest.ledger import LedgerEntry, LedgerWriter
from loadtest.runs import load_run, make_run, new_run_id
from services.compare.readers import aws
from services.cruddur.signals import Outcome, Route, Signal, expected
from tests.browser.runs import RealRun
from tests.sandbox import Sandbox

#: What is tried, by a name that is safe to show. Each is a way out of one context: text, attribute, script, style, template, address …
TEXTS: Final = {
    "script": "<script data-hostile>window.hostileRan='script';alert('script')</script>",
    "picture": "<img data-hostile src=x onerror=\"window.hostileRan='picture'\">",
    "double-quote": '" autofocus tabindex=1 data-hostile onfocus="window.hostileRan=\'double quote\'" x="',
    "single-quote": "' autofocus tabindex=1 data-hostile onfocus='window.hostileRan=`single quote`' x='",
    "closing-tags": "--></title></style></script></textarea></svg></bdi></pre><svg data-hostile onload=\"window.hostileRan='closing'\">",
    "address": "javascript:window.hostileRan='address'//\" data-hostile",
    "template": "{{ 7 * 191 }}{% raw %}${7 * 191}#{7 * 191}<%= 7 * 191 %>{{ config }}",
    "json-in-script": "</script><script data-hostile>window.hostileRan='json'</script>\u2028\u2029\\\"\\u003c",
    "htmx": '<div data-hostile hx-get="/" hx-trigger="load" hx-on::load="window.hostileRan=\'htmx\'">',
    "style": "<style data-hostile>*{display:none}</style><link data-hostile rel=stylesheet href=//example.test/x.css>",
    "control": "bell\x07 escape\x1b[31;1mred\x1b[0m backspace\x08 delete\x7f next line\x85 carriage\rreturn tab\tstop line\nfeed",
    "bidi": "user \u202eresu nimda\u2066 \u2067right\u200f\u061c to left\u202d \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "unclosed-bidi": "\u202e\u202e\u2067\u2067 never closed \u05d0\u05d1\u05d2",
    "invisible": "a\u200bb\u200dc\ufeffd\u00ade\u2060f\U000e0041g",
    "marks": "Z" + "\u0310\u0322\u0334" * 60 + " \U0001f468\u200d\U0001f469\u200d\U0001f467 e\u0301",
    "shell-and-sql": "'; DROP TABLE runs; -- $(touch /hostile) `id` %s %n ../../etc/passwd",
    "csv": '=HYPERLINK("http://example.test","x")|@SUM(1)',
    "megabyte": "<b data-hostile>" + "M" * 1_000_000,
}
#: Characters of a text that go where a vendor takes no more: a segment document has 64 KB ("AWS X-Ray segment documents"), and what
#: is told here of one text is told several times.
SEGMENT, NAME, KEY, TARGET = 6_000, 400, 60, 4_000
#: An event of CloudWatch Logs has 1 MB with 26 bytes of overhead ("PutLogEvents"), a payload of Rollbar 1 MB with us ("Payload size").
LINE, ITEM = 900_000, 200_000


@dataclass(frozen=True)
class HostileRun(RealRun):
    #: The trace id of the request for each text of TEXTS, by its name.
    trace_ids: dict[str, str] = field(default_factory=dict)
    #: Trace ids that no ledger line has.
    strays: tuple[str, ...] = ()


@dataclass
class _Request:
    """One request to tell of: the ledger's line, what must be shown, and the text."""

    entry: LedgerEntry
    signals: Sequence[Signal]
    text: str

    @property
    def trace_id(self) -> str:
        return self.entry.trace_id

    def values(self, signal: Signal, limit: int) -> dict[str, Any]:
        """A signal's attributes, each with the text for a value where no other is asked for."""
        own = {"run": self.entry.run, "trace_id": self.trace_id}
        return {key: own.get(key, self.text[:limit]) for key in sorted(signal.attributes)} | dict(signal.values)


def hostile_run(sandbox: Sandbox, like: str) -> HostileRun:
    """Send the telemetry of a hostile run to the sandbox's vendors, and compare it.

    ``like``: a run whose manifest it takes over, which says what the sandbox is.
    """
    settings = sandbox.settings()
    now = time.time()
    template = load_run(settings, like).manifest
    run = make_run(
        settings,
        template.model_copy(update={"run": new_run_id(), "planned": len(TEXTS), "finished": len(TEXTS), "started": now, "ended": now}),
    )
    told = [_request(run.id, sequence, name, text, now) for sequence, (name, text) in enumerate(TEXTS.items())]
    with LedgerWriter(run.folder, 0) as ledger:
        for each in told:
            ledger.write(each.entry)
    # What nobody asked for, and yet says that it is of this run.
    strays = [
        _Request(LedgerEntry(**(vars(each.entry) | {"trace_id": new_trace_id(now)})), each.signals, each.text)
        for each in (told[0], told[11])
    ]
    _tell(settings, [*told, *strays])
    report = sandbox.compare(run.id)
    ids = {name: each.trace_id for name, each in zip(TEXTS, told, strict=True)}
    return HostileRun(sandbox, run.id, report, ids, tuple(stray.trace_id for stray in strays))


def _request(run: str, sequence: int, name: str, text: str, now: float) -> _Request:
    # A failure has an item, too; the one that nobody saw the answer of has the client's own words.
    status = None if name == "script" else 500
    entry = LedgerEntry(
        run=run,
        sequence=sequence,
        trace_id=new_trace_id(now),
        method="GET",
        route=str(Route.HOME),
        target=f"/api/activities/home?q={text[:TARGET]}",
        outcome=str(Outcome.EXCEPTION),
        status=status,
        start=now + sequence / 100,
        duration_ms=100.0,
        sampled_xray_sdk=True,
        sampled_otel=True,
        error=text[:NAME] if status is None else None,
    )
    return _Request(entry, expected(Route.HOME, Outcome.EXCEPTION, 500), text)


# --- Each vendor's public API ---------------------------------------------------------------------------------------


def _tell(settings: Settings, told: Sequence[_Request]) -> None:
    _tell_honeycomb(settings, told)
    _tell_xray(settings, told)
    for path, group in ((SignalPath.CLOUDWATCH_WATCHTOWER, settings.log_group), (SignalPath.CLOUDWATCH_OTLP, settings.otlp_log_group)):
        _tell_cloudwatch(settings, told, path, group)
    _tell_rollbar(settings, told)


def _key_value(key: str, value: Any) -> KeyValue:
    kind = {bool: "bool_value", int: "int_value", float: "double_value"}.get(type(value), "string_value")
    return KeyValue(key=key, value=AnyValue(**{kind: value}))


def _of(each: _Request, path: SignalPath) -> list[Signal]:
    return [signal for signal in each.signals if signal.path is path]


def _tell_honeycomb(settings: Settings, told: Sequence[_Request]) -> None:
    """Spans and log records by OTLP ("Send Data with OpenTelemetry", Honeycomb's documentation), each attribute with the whole text."""
    headers = {"X-Honeycomb-Team": settings.honeycomb_api_key.get_secret_value(), "Content-Type": "application/x-protobuf"}
    for each in told:
        spans, logs = ExportTraceServiceRequest(), ExportLogsServiceRequest()
        start = int(each.entry.start * 1e9)
        root = b""
        extra = Signal(SignalPath.HONEYCOMB_OTLP, "span", "cruddur", each.text[:NAME], frozenset({"run", "message"}))
        for signal in [*_of(each, SignalPath.HONEYCOMB_OTLP), extra]:
            resource = [_key_value("service.name", signal.service)]
            if signal.kind == "log":
                records = logs.resource_logs.add()
                records.resource.attributes.extend(resource)
                log = records.scope_logs.add().log_records.add(
                    time_unix_nano=start, trace_id=bytes.fromhex(each.trace_id), span_id=root, event_name=signal.name
                )
                log.body.string_value = each.text
                attributes = log.attributes
            else:
                kept = spans.resource_spans.add()
                kept.resource.attributes.extend(resource)
                span = kept.scope_spans.add().spans.add(
                    trace_id=bytes.fromhex(each.trace_id),
                    span_id=secrets.token_bytes(8),
                    parent_span_id=root,
                    name=signal.name,
                    start_time_unix_nano=start,
                    end_time_unix_nano=start + 90_000_000,
                )
                span.status.code = span.status.STATUS_CODE_ERROR
                span.status.message = each.text[:NAME]
                root = root or span.span_id
                attributes = span.attributes
            values = each.values(signal, len(each.text))
            values[each.text[:KEY]] = each.text[:NAME]
            attributes.extend(_key_value(key, value) for key, value in values.items())
        for path, message in (("/v1/traces", spans), ("/v1/logs", logs)):
            answer = requests.post(settings.honeycomb_endpoint + path, message.SerializeToString(), headers=headers, timeout=60)
            assert answer.status_code == 200, answer.text[:500]


def _tell_xray(settings: Settings, told: Sequence[_Request]) -> None:
    """Segment documents by PutTraceSegments, those of the SDK marked as it marks them ("AWS X-Ray segment documents")."""
    client = aws.client(settings, "xray")
    for each in told:
        documents = [
            _segment(each, service, [signal for signal in _of(each, path) if signal.service == service], path is SignalPath.XRAY_SDK)
            for path in (SignalPath.XRAY_SDK, SignalPath.XRAY_OTLP)
            for service in dict.fromkeys(signal.service for signal in _of(each, path))
        ]
        answer: Any = client.put_trace_segments(TraceSegmentDocuments=[json.dumps(document) for document in documents])
        assert not answer.get("UnprocessedTraceSegments"), answer


def _segment(each: _Request, service: str, signals: Iterable[Signal], sdk: bool) -> dict[str, Any]:
    text = each.text[:SEGMENT]
    made = []
    for signal in signals:
        values = each.values(signal, SEGMENT)
        made.append(
            {
                "name": signal.name,
                "id": secrets.token_hex(8),
                "start_time": each.entry.start,
                "end_time": each.entry.start + 0.09,
                "annotations": {"run": each.entry.run},
                "metadata": {"default": values | {each.text[:KEY]: text}},
                "fault": True,
                "cause": {"exceptions": [{"id": secrets.token_hex(8), "type": each.text[:NAME], "message": text}]},
                "kind": signal.kind,
            }
        )
    (segment,) = [document for document in made if document["kind"] == "segment"]
    inside = [document for document in made if document is not segment]
    inside.append(
        inside[0] | {"name": _segment_name(each.text), "id": secrets.token_hex(8), "sql": {"sanitized_query": text, "url": each.text[:KEY]}}
    )
    for document in made + inside:
        document.pop("kind", None)
    segment |= {
        "trace_id": f"1-{each.trace_id[:8]}-{each.trace_id[8:]}",
        "subsegments": inside,
        "http": {"request": {"url": each.text[:NAME], "user_agent": each.text[:NAME], "method": "GET"}, "response": {"status": 500}},
        "user": each.text[:NAME],
    }
    if sdk:
        segment["aws"] = {"xray": {"sdk": "X-Ray for Python", "sdk_version": each.text[:KEY]}}
    return segment


def _segment_name(text: str) -> str:
    """As much of a text as a segment's name may hold ("AWS X-Ray segment documents", name): 200 characters, few of them punctuation."""
    return "".join(letter for letter in text if letter.isalnum() or letter in " \n\t_.:/%&#=+\\-@")[:200]


def _tell_cloudwatch(settings: Settings, told: Sequence[_Request], path: SignalPath, group: str) -> None:
    """Log events by PutLogEvents: the application's lines, and one that is only the text."""
    client = aws.client(settings, "logs")
    stream = f"hostile-{secrets.token_hex(4)}"
    client.create_log_stream(logGroupName=group, logStreamName=stream)
    for each in told:
        for line in _lines(each, path):
            at = int(each.entry.start * 1000)
            answer: Any = client.put_log_events(
                logGroupName=group, logStreamName=stream, logEvents=[{"timestamp": at, "message": line or " "}]
            )
            assert not answer.get("rejectedLogEventsInfo"), answer


def _lines(each: _Request, path: SignalPath) -> Iterator[str]:
    for signal in _of(each, path):
        # Several attributes hold the text; together they stay below an event's limit.
        values = each.values(signal, LINE // (len(signal.attributes) + 1)) | {each.text[:KEY]: each.text[:NAME]}
        if path is SignalPath.CLOUDWATCH_WATCHTOWER:
            yield json.dumps({"event": signal.name, "message": each.text[:NAME]} | values)
        else:
            record = {"body": each.text[:NAME], "trace_id": each.trace_id, "attributes": values | {"event.name": signal.name}}
            yield json.dumps(record | {"resource": {"service.name": signal.service}})
    yield each.text[:LINE]


def _tell_rollbar(settings: Settings, told: Sequence[_Request]) -> None:
    """Items by POST /api/1/item/ ("Create item", Rollbar's API reference)."""
    headers = {"X-Rollbar-Access-Token": settings.rollbar_access_token.get_secret_value()}
    for each in told:
        for signal in _of(each, SignalPath.ROLLBAR_SDK):
            data = {
                "environment": "production",
                "level": signal.name,
                "timestamp": int(each.entry.start),
                "title": each.text[:255],
                "platform": each.text[:KEY],
                "context": each.text[:255],
                "body": {
                    "trace": {
                        "frames": [{"filename": each.text[:NAME], "method": each.text[:KEY], "lineno": 1, "code": each.text[:NAME]}],
                        "exception": {"class": each.text[:255], "message": each.text[:ITEM]},
                    }
                },
                "custom": each.values(signal, ITEM) | {each.text[:KEY]: each.text[:ITEM]},
                "person": {"id": "1", "username": each.text[:KEY]},
                "request": {"url": f"http://127.0.0.1/{each.text[:NAME]}", "method": "GET"},
            }
            answer = requests.post(f"{settings.rollbar_endpoint}/api/1/item/", json={"data": data}, headers=headers, timeout=60)
            assert answer.status_code == 200, answer.text[:500]


def counts(run: HostileRun) -> dict[str, dict[str, int]]:
    """How many requests have which verdict on each path, without zeros."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for path, state in run.report["paths"].items():
        found[path] = {verdict: number for verdict, number in state["verdicts"].items() if number}
    return dict(found)
