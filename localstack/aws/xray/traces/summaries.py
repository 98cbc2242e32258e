"""What GetTraceSummaries says of a trace. Pure: documents in, members out.

Source: the API reference of TraceSummary, and summaries that users of X-Ray published. Those have the client among ``ServiceIds``, by the
name of the service it called and with the type ``client``; times of three digits; and every list, empty where there is nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from localstack.aws.xray.traces import facts, rootcauses
from localstack.aws.xray.traces.documents import StoredDocument
from localstack.aws.xray.traces.entities import entities
from localstack.aws.xray.traces.facts import Http, Service, TraceFacts
from localstack.aws.xray.traces.rootcauses import CauseEntity, RootCause

#: Type of the node that stands for whoever sent the first request.
CLIENT_TYPE = "client"


def summarize(trace_id: str, documents: Sequence[StoredDocument]) -> dict[str, Any]:
    """The TraceSummary of a trace, without what only its query knows (MatchedEventTime).

    ``ResponseTime`` is absent while the root is in progress; it and ``EntryPoint`` are where no segment has arrived yet.
    """
    found = entities(documents)
    known = facts.derive(trace_id, found, calls=False)
    causes = rootcauses.derive(found)
    services = {node.id: service_id(node.service) for node in known.nodes}
    summary: dict[str, Any] = {
        "Id": trace_id,
        "StartTime": known.start_time,
        "Duration": round(known.duration, 3),
        "HasFault": known.flags.fault,
        "HasError": known.flags.error,
        "HasThrottle": known.flags.throttle,
        "IsPartial": known.partial,
        "Http": _http(known.http),
        "Annotations": _annotations(known, services),
        "Users": _users(known, services),
        "ServiceIds": _service_ids(known),
        "ResourceARNs": [{"ARN": arn} for arn in _distinct(node.resource_arn for node in known.nodes)],
        "InstanceIds": [{"Id": instance} for instance in _distinct(node.instance_id for node in known.nodes)],
        "AvailabilityZones": [{"Name": zone} for zone in _distinct(node.availability_zone for node in known.nodes)],
        "FaultRootCauses": [root_cause(cause) for cause in causes.fault],
        "ErrorRootCauses": [root_cause(cause) for cause in causes.error],
        "ResponseTimeRootCauses": [root_cause(cause) for cause in causes.response_time],
        "Revision": sum(stored.revision for stored in documents),
    }
    if known.response_time is not None:
        summary["ResponseTime"] = round(known.response_time, 3)
    if known.root is not None:
        summary["EntryPoint"] = services[known.root]
    return summary


def service_id(service: Service) -> dict[str, Any]:
    """A ServiceId, and what the root causes' services begin with."""
    members: dict[str, Any] = {"Name": service.name, "Names": [service.name]}
    if service.account_id is not None:
        members["AccountId"] = service.account_id
    if service.type is not None:
        members["Type"] = service.type
    return members


def _service_ids(known: TraceFacts) -> list[dict[str, Any]]:
    services = dict.fromkeys(node.service for node in known.nodes)
    services |= dict.fromkeys(Service(node.service.name, CLIENT_TYPE) for node in known.nodes if node.entry)
    return [service_id(service) for service in services]


def _http(http: Http) -> dict[str, Any]:
    members = {
        "HttpURL": http.url,
        "HttpStatus": http.status,
        "HttpMethod": http.method,
        "UserAgent": http.useragent,
        "ClientIp": http.clientip,
    }
    return {name: value for name, value in members.items() if value is not None}


def _annotations(known: TraceFacts, services: dict[str, dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Each key's distinct values, with the services whose segments or subsegments carry them."""
    found: dict[str, dict[tuple[str, Any], list[dict[str, Any]]]] = {}
    for annotation in known.annotations:
        kind = _KINDS[type(annotation.value)]
        carriers = found.setdefault(annotation.key, {}).setdefault((kind, annotation.value), [])
        _add(carriers, services, annotation.node)
    return {
        key: [{"AnnotationValue": {kind: value}, "ServiceIds": carriers} for (kind, value), carriers in values.items()]
        for key, values in found.items()
    }


_KINDS = {bool: "BooleanValue", float: "NumberValue", str: "StringValue"}


def _users(known: TraceFacts, services: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    users: dict[str, list[dict[str, Any]]] = {}
    for node in known.nodes:
        if node.user is not None:
            _add(users.setdefault(node.user, []), services, node.id)
    return [{"UserName": user, "ServiceIds": carriers} for user, carriers in users.items()]


def _add(carriers: list[dict[str, Any]], services: dict[str, dict[str, Any]], node: str | None) -> None:
    if node is not None and (service := services[node]) not in carriers:
        carriers.append(service)


def root_cause(cause: RootCause) -> dict[str, Any]:
    """A FaultRootCause, ErrorRootCause or ResponseTimeRootCause."""
    return {
        "Services": [
            service_id(service.service)
            | {"Inferred": service.inferred, "EntityPath": [_cause_entity(entity) for entity in service.entities]}
            for service in cause.services
        ],
        "ClientImpacting": cause.client_impacting,
    }


def _cause_entity(entity: CauseEntity) -> dict[str, Any]:
    members: dict[str, Any] = {"Name": entity.name, "Remote": entity.remote}
    if entity.coverage is not None:
        return members | {"Coverage": entity.coverage}
    exceptions = [{"Name": one.name, "Message": one.message} for one in entity.exceptions]
    return members | {"Exceptions": [{key: value for key, value in one.items() if value is not None} for one in exceptions]}


def _distinct(values: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(value for value in values if value is not None))
