"""Span documents: a span as Transaction Search keeps it. Pure.

The form is that of the events in AWS's log group ``aws/spans``, "semantic convention format, with W3C trace ids" (CloudWatch user
guide, "Transaction Search"): resource, scope, ids, name, kind and times of OTLP, with attributes as a plain object and ids as
hexadecimal digits. Here ``attributes``, ``events``, ``links`` and ``status`` are always there.

:func:`of_span` gives that of an OTLP span. :func:`of_segment` those of a segment document: "X-Ray traces are automatically
converted to semantic convention format". AWS does not document that conversion; ours is the one that ``conversion`` reverses, with the
attribute names that the Collector's X-Ray receiver and exporter use for what OpenTelemetry has no name for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from typing import Any

import orjson
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from localstack.otlp import hex_id, plain

Document = dict[str, Any]

_KINDS = {
    Span.SPAN_KIND_SERVER: "SERVER",
    Span.SPAN_KIND_CLIENT: "CLIENT",
    Span.SPAN_KIND_PRODUCER: "PRODUCER",
    Span.SPAN_KIND_CONSUMER: "CONSUMER",
}
_STATUSES = {Status.STATUS_CODE_OK: "OK", Status.STATUS_CODE_ERROR: "ERROR"}

_PLATFORMS = {
    "AWS::AppRunner::Service": "aws_app_runner",
    "AWS::EC2::Instance": "aws_ec2",
    "AWS::ECS::Container": "aws_ecs",
    "AWS::ECS::EC2": "aws_ecs",
    "AWS::ECS::Fargate": "aws_ecs",
    "AWS::EKS::Container": "aws_eks",
    "AWS::ElasticBeanstalk::Environment": "aws_elastic_beanstalk",
    "AWS::Lambda::Function": "aws_lambda",
}


# -- of OTLP


def attributes_of(entries: Iterable[KeyValue]) -> Document:
    """Attributes as JSON values; those without a key or a value are dropped, and numbers that JSON has not (NaN, infinity)."""
    found = {entry.key: plain(entry.value) for entry in entries if entry.key}
    return {key: value for key, value in found.items() if value is not None and not (isinstance(value, float) and not isfinite(value))}


def scope_of(scope: InstrumentationScope) -> Document:
    found = {"name": scope.name, "version": scope.version, "attributes": attributes_of(scope.attributes)}
    return {key: value for key, value in found.items() if value}


def of_span(span: Span, resource: Document, scope: Document) -> Document:
    """The span document of an OTLP span; ``resource``: the resource's attributes."""
    document: Document = {
        "resource": {"attributes": resource},
        "scope": scope,
        "traceId": hex_id(span.trace_id, 16),
        "spanId": hex_id(span.span_id, 8),
        "name": span.name,
        "kind": _KINDS.get(span.kind, "INTERNAL"),
        "startTimeUnixNano": span.start_time_unix_nano,
        "endTimeUnixNano": span.end_time_unix_nano,
        "durationNano": max(span.end_time_unix_nano - span.start_time_unix_nano, 0),
        "attributes": attributes_of(span.attributes),
        "events": [
            {"timeUnixNano": event.time_unix_nano, "name": event.name, "attributes": attributes_of(event.attributes)}
            for event in span.events
        ],
        "links": [
            {"traceId": hex_id(link.trace_id, 16), "spanId": hex_id(link.span_id, 8), "attributes": attributes_of(link.attributes)}
            for link in span.links
        ],
        "status": {"code": _STATUSES.get(span.status.code, "UNSET")},
    }
    if span.parent_span_id:
        document["parentSpanId"] = hex_id(span.parent_span_id, 8)
    if span.flags:
        document["flags"] = span.flags
    if span.trace_state:
        document["traceState"] = span.trace_state
    if span.status.message:
        document["status"]["message"] = span.status.message
    return document


# -- of segment documents


def of_segment(document: Mapping[str, Any]) -> list[Document]:
    """The spans of a segment document or of a subsegment sent on its own: its own, and those of what is embedded in it.

    What a field of another type than the documentation's says is left out.
    """
    independent = document.get("type") == "subsegment"
    resource = {} if independent else _resource(document)
    digits = document["trace_id"].replace("-", "")[1:].lower()
    return list(_spans(document, digits, document.get("parent_id"), resource, not independent))


def _spans(fields: Mapping[str, Any], trace_id: str, parent: Any, resource: Document, segment: bool) -> Iterator[Document]:
    waiting: list[tuple[Mapping[str, Any], Any, bool]] = [(fields, parent, segment)]
    while waiting:
        fields, parent, segment = waiting.pop()
        yield _span(fields, trace_id, parent, resource, segment)
        # One that is sent on its own stands there by its id only.
        waiting.extend((child, fields["id"], False) for child in reversed(_objects(fields.get("subsegments"))))


def _span(fields: Mapping[str, Any], trace_id: str, parent: Any, resource: Document, segment: bool) -> Document:
    calls = not segment and fields.get("namespace") in ("remote", "aws")
    failed = any(fields.get(flag) is True for flag in ("error", "fault", "throttle"))
    in_progress = fields.get("in_progress") is True
    start = _nanoseconds(fields["start_time"])
    span: Document = {
        "resource": {"attributes": resource},
        "scope": {},
        "traceId": trace_id,
        "spanId": fields["id"].lower(),
        "name": fields["name"],
        "kind": "SERVER" if segment else "CLIENT" if calls else "INTERNAL",
        "startTimeUnixNano": start,
        "attributes": _attributes(fields, calls),
        "events": list(_exceptions(fields, start if in_progress else _nanoseconds(fields["end_time"]))),
        "links": [_link(link) for link in _objects(fields.get("links")) if isinstance(link.get("trace_id"), str)],
        "status": {"code": "ERROR" if failed else "UNSET"},
    }
    if isinstance(parent, str):
        span["parentSpanId"] = parent.lower()
    if not in_progress:
        span["endTimeUnixNano"] = _nanoseconds(fields["end_time"])
        span["durationNano"] = max(span["endTimeUnixNano"] - start, 0)
    return span


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1_000_000) * 1000  # a double holds no more than microseconds of today's time


#: Attributes by the place in the document they come from.
_PLACES = {
    "http.request.method": ("http", "request", "method"),
    "url.full": ("http", "request", "url"),
    "user_agent.original": ("http", "request", "user_agent"),
    "client.address": ("http", "request", "client_ip"),
    "http.response.status_code": ("http", "response", "status"),
    "http.response.body.size": ("http", "response", "content_length"),
    "db.system": ("sql", "database_type"),
    "db.statement": ("sql", "sanitized_query"),
    "db.user": ("sql", "user"),
    "db.connection_string": ("sql", "connection_string"),
    "rpc.method": ("aws", "operation"),
    "aws.region": ("aws", "region"),
    "aws.request_id": ("aws", "request_id"),
    "aws.queue_url": ("aws", "queue_url"),
    "aws.table_name": ("aws", "table_name"),
    "enduser.id": ("user",),
}
_RESOURCE_PLACES = {
    "service.version": ("service", "version"),
    "cloud.account.id": ("aws", "account_id"),
    "host.id": ("aws", "ec2", "instance_id"),
    "cloud.availability_zone": ("aws", "ec2", "availability_zone"),
    "host.type": ("aws", "ec2", "instance_size"),
    "host.image.id": ("aws", "ec2", "ami_id"),
    "container.name": ("aws", "ecs", "container"),
    "k8s.cluster.name": ("aws", "eks", "cluster_name"),
    "k8s.pod.name": ("aws", "eks", "pod"),
    "aws.xray.sdk": ("aws", "xray", "sdk"),
    "aws.xray.sdk_version": ("aws", "xray", "sdk_version"),
}


def _at(fields: Mapping[str, Any], places: Mapping[str, tuple[str, ...]]) -> Document:
    """The attributes whose places hold a text or a number."""
    found = {}
    for attribute, place in places.items():
        value: Any = fields
        for key in place:
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            found[attribute] = value
    return found


def _resource(segment: Mapping[str, Any]) -> Document:
    resource = {"service.name": segment["name"]} | _at(segment, _RESOURCE_PLACES)
    platform = _PLATFORMS.get(str(segment.get("origin")))
    if platform is not None:
        resource |= {"cloud.provider": "aws", "cloud.platform": platform}
    return resource


def _attributes(fields: Mapping[str, Any], calls: bool) -> Document:
    found = _at(fields, _PLACES)
    if calls and fields.get("namespace") == "aws":
        found |= {"rpc.system": "aws-api", "rpc.service": fields["name"]}
    elif calls:
        found["peer.service"] = fields["name"]
    metadata = fields.get("metadata")
    for namespace, value in (metadata if isinstance(metadata, dict) else {}).items():
        found[f"aws.xray.metadata.{namespace}"] = orjson.dumps(value).decode()
    annotations = fields.get("annotations")
    indexed = {key: value for key, value in (annotations if isinstance(annotations, dict) else {}).items() if value is not None}
    if indexed:
        found |= indexed
        found["aws.xray.annotations"] = list(indexed)
    if fields.get("in_progress") is True:
        found["aws.xray.inprogress"] = True
    return found


def _exceptions(fields: Mapping[str, Any], time: int) -> Iterator[Document]:
    cause = fields.get("cause")
    for exception in _objects(cause.get("exceptions") if isinstance(cause, dict) else None):
        said = {
            "exception.type": exception.get("type"),
            "exception.message": exception.get("message"),
            "exception.stacktrace": "\n".join(
                f"    at {frame.get('label', '')} ({frame.get('path', '')}:{frame.get('line', 0)})"
                for frame in _objects(exception.get("stack"))
            ),
        }
        attributes = {key: value for key, value in said.items() if isinstance(value, str) and value}
        yield {"timeUnixNano": time, "name": "exception", "attributes": attributes}


def _link(link: Mapping[str, Any]) -> Document:
    attributes = link.get("attributes")
    return {
        "traceId": link["trace_id"].replace("-", "")[1:].lower(),
        "spanId": str(link.get("id", "")).lower(),
        "attributes": attributes if isinstance(attributes, dict) else {},
    }


def _objects(value: Any) -> list[dict[str, Any]]:
    return [element for element in value if isinstance(element, dict)] if isinstance(value, list) else []
