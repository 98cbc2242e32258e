"""What GetTraceSummaries says of a trace. Pure: documents in, members out.

Source: the API reference of GetTraceSummaries and TraceSummary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from localstack.aws.xray.documents import StoredDocument, assemble, walk


def summarize(trace_id: str, documents: Sequence[StoredDocument]) -> dict[str, Any]:
    """The TraceSummary of a trace, without what only its query knows (MatchedEventTime).

    The root is the earliest segment without a parent in the trace. Not computed, and so absent: root causes, inferred services.
    """
    start = min(stored.start_time for stored in documents)
    end = max((stored.end_time for stored in documents if stored.end_time is not None), default=start)
    trees = [tree.fields for tree in assemble(documents)]
    segments = [tree for tree in trees if tree.get("type") != "subsegment"]
    summary: dict[str, Any] = {
        "Id": trace_id,
        "StartTime": start,
        "Duration": round(max(end - start, 0.0), 3),
        "HasFault": False,
        "HasError": False,
        "HasThrottle": any(tree.get("throttle") is True for tree in segments),
        "IsPartial": any(stored.end_time is None for stored in documents),
        "Http": {},
        "Annotations": _annotations(trees),
        "Users": _users(segments),
        "ServiceIds": _unique(_service(tree) for tree in segments),
        "ResourceARNs": _unique({"ARN": arn} for tree in trees if isinstance(arn := tree.get("resource_arn"), str)),
        "InstanceIds": _unique({"Id": value} for tree in segments if (value := _ec2(tree, "instance_id"))),
        "AvailabilityZones": _unique({"Name": value} for tree in segments if (value := _ec2(tree, "availability_zone"))),
        "Revision": sum(stored.revision for stored in documents),
    }
    root = _root(segments)
    if root is not None:
        summary["HasFault"] = root.get("fault") is True
        summary["HasError"] = root.get("error") is True
        if root.get("end_time") is not None and not root.get("in_progress"):
            summary["ResponseTime"] = round(max(root["end_time"] - root["start_time"], 0.0), 3)
        summary["Http"] = _http(root)
        summary["EntryPoint"] = _service(root)
    return summary


def _root(segments: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    known = {node["id"] for segment in segments for node in walk(segment)}
    roots = [segment for segment in segments if segment.get("parent_id") not in known] or list(segments)
    return min(roots, key=lambda segment: (segment["start_time"], segment["id"]), default=None)


def _service(segment: dict[str, Any]) -> dict[str, Any]:
    """A ServiceId: the segment's name, its origin as the type, and the account it says it ran in."""
    service: dict[str, Any] = {"Name": segment["name"], "Names": [segment["name"]]}
    account = _at(segment, "aws", "account_id")
    if isinstance(account, str):
        service["AccountId"] = account
    if isinstance(segment.get("origin"), str):
        service["Type"] = segment["origin"]
    return service


def _http(segment: dict[str, Any]) -> dict[str, Any]:
    wanted = {
        "HttpURL": ("request", "url", str),
        "HttpStatus": ("response", "status", int),
        "HttpMethod": ("request", "method", str),
        "UserAgent": ("request", "user_agent", str),
        "ClientIp": ("request", "client_ip", str),
    }
    found = {name: _at(segment, "http", block, key) for name, (block, key, _) in wanted.items()}
    return {name: value for name, value in found.items() if isinstance(value, wanted[name][2]) and not isinstance(value, bool)}


def _annotations(trees: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Each key's distinct values, with the services whose segments or subsegments carry them."""
    found: dict[str, dict[tuple[str, Any], list[dict[str, Any]]]] = {}
    for tree in trees:
        services = [] if tree.get("type") == "subsegment" else [_service(tree)]
        for node in walk(tree):
            for key, value in (node.get("annotations") or {}).items():
                kind = _annotation_kind(value)
                if kind is None:
                    continue
                carriers = found.setdefault(key, {}).setdefault((kind, value), [])
                carriers.extend(service for service in services if service not in carriers)
    return {
        key: [{"AnnotationValue": {kind: value}, "ServiceIds": carriers} for (kind, value), carriers in values.items()]
        for key, values in found.items()
    }


def _annotation_kind(value: Any) -> str | None:
    """The member of AnnotationValue a value goes into; None for what X-Ray does not index (objects, lists, null)."""
    if isinstance(value, bool):
        return "BooleanValue"
    if isinstance(value, int | float):
        return "NumberValue"
    return "StringValue" if isinstance(value, str) else None


def _users(segments: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    users: dict[str, list[dict[str, Any]]] = {}
    for segment in segments:
        if isinstance(user := segment.get("user"), str):
            services = users.setdefault(user, [])
            if (service := _service(segment)) not in services:
                services.append(service)
    return [{"UserName": user, "ServiceIds": services} for user, services in users.items()]


def _ec2(segment: dict[str, Any], key: str) -> str | None:
    value = _at(segment, "aws", "ec2", key)
    return value if isinstance(value, str) else None


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _unique(values: Iterator[dict[str, Any]] | Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found
