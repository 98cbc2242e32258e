"""OpenTelemetry's spans as X-Ray's segment documents. Pure: span documents (see ``documents``) in, segment documents out.

The rules are those by which the Collector's "AWS X-Ray Exporter" (README) translates, with the current semantic conventions of
HTTP and databases beside the old ones; a test holds this module against the real exporter. X-Ray's own OTLP endpoint documents
no rules of its own. In short:

- A SERVER or CONSUMER span and one without a parent is a segment, any other a subsegment sent on its own. A span with ``aws.span.kind``
  ``LOCAL_ROOT`` is where its service was entered: it is a segment, and one that calls something else (CLIENT, PRODUCER,
  CONSUMER) is both, a segment of the service and in it the call.
- Names, the first there is: ``aws.local.service`` of a SERVER span or ``aws.remote.service`` of a calling one, ``peer.service``,
  ``aws.service``, ``<database>@<host>``, ``service.name`` of the resource (SERVER only), ``rpc.service``, the host of an HTTP
  request or peer, the span's own name.
- ``namespace`` is ``aws`` for calls of an AWS SDK, ``remote`` for any other CLIENT or PRODUCER span.
- An HTTP status of 4xx is an error (429 a throttle too), of 5xx a fault; without one of them a span whose status is ERROR is a fault.
- Events named ``exception`` become ``cause.exceptions``; without any, the status message of a failed span does.
- Attributes named in ``aws.xray.annotations`` are annotations, those of the form ``aws.xray.metadata.<namespace>`` are metadata,
  what no other block takes is metadata in the namespace ``default``, a segment's resource attributes as ``otel.resource.<key>``.

Ours: ``server.address`` names what is called like the older ``net.peer.name``; a local root's segment has the attributes of its
resource whatever its kind; every name is made one that X-Ray takes; ids that the exporter draws at random follow from the span's,
so that a span that comes again is the same segment again; a length of content that nobody told is absent, where the exporter says
0. Nothing is ever in progress: OTLP carries ended spans only.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from localstack.aws.xray.segments.validation import MAX_NAME
from localstack.aws.xray.spans import stacktraces

Attributes = Mapping[str, Any]
Span = Mapping[str, Any]
Document = dict[str, Any]

_CALLING = ("CLIENT", "PRODUCER", "CONSUMER")

#: What a segment's name may not hold, and an annotation's key.
_NOT_IN_NAME = re.compile(r"[^\w\s.:/%&#=+\\\-@]")
_NOT_IN_KEY = re.compile(r"[^A-Za-z0-9_.]")
#: The name of what has none that X-Ray takes.
_UNNAMED = "span"

_METADATA_PREFIX = "aws.xray.metadata."

_ORIGINS = {
    "aws_app_runner": "AWS::AppRunner::Service",
    "aws_ec2": "AWS::EC2::Instance",
    "aws_ecs": "AWS::ECS::Container",
    "aws_eks": "AWS::EKS::Container",
    "aws_elastic_beanstalk": "AWS::ElasticBeanstalk::Environment",
}
_ECS_ORIGINS = {"ec2": "AWS::ECS::EC2", "fargate": "AWS::ECS::Fargate"}

#: Databases that speak SQL, by the old conventions' names and the current ones'.
_SQL = frozenset(
    {
        *("db2", "derby", "hive", "ibm.db2", "mariadb", "microsoft.sql_server", "mssql", "mysql", "oracle", "oracle.db"),
        *("other_sql", "postgresql", "sqlite", "teradata"),
    }
)


def xray_trace_id(digits: str) -> str:
    return f"1-{digits[:8]}-{digits[8:]}"


def documents(span: Span) -> list[Document]:
    """The segment documents of a span document: one, or for a local root that calls something, the service's and the call's."""
    if span["attributes"].get("aws.span.kind") != "LOCAL_ROOT":
        return [_translate(span, entry=_is_entry(span))]
    if span["kind"] in _CALLING:
        return _service_and_call(span)
    segment = _translate(span, entry=True)
    segment.pop("namespace", None)
    return [segment]


def _is_entry(span: Span) -> bool:
    """Whether a span is where its service was entered, and so a segment."""
    return span["kind"] in ("SERVER", "CONSUMER") or "parentSpanId" not in span


def _service_and_call(span: Span) -> list[Document]:
    call = _translate(span, entry=False)
    call.setdefault("namespace", "remote")
    service = _translate(span, entry=True)
    service["id"] = call["parent_id"] = _made_id(call["id"], "service")
    call["type"] = "subsegment"
    local = span["attributes"].get("aws.local.service")
    if isinstance(local, str) and local:
        service["name"] = _valid_name(local)
    # The request is the call's, not the service's.
    for key in ("http", "sql", "namespace", "cause"):
        service.pop(key, None)
    service["aws"] = {key: value for key, value in service.get("aws", {}).items() if key not in _CALL_MEMBERS}
    shared = {key: value for key, value in service.get("metadata", {}).get("default", {}).items() if key.startswith("otel.resource.")}
    service["metadata"] = {"default": shared}
    (service if span["kind"] != "CONSUMER" else call).pop("links", None)
    return [service, call]


def _translate(span: Span, entry: bool) -> Document:
    attributes, resource = span["attributes"], span["resource"]["attributes"]
    # What a block of the document has taken; the rest is annotations and metadata.
    taken: set[str] = set()
    start = span["startTimeUnixNano"]
    name, namespace = _name(span, attributes, resource, entry)
    document: Document = {
        "name": name,
        "id": span["spanId"],
        "trace_id": xray_trace_id(span["traceId"]),
        "start_time": start / 1e9,
        "end_time": max(span["endTimeUnixNano"], start) / 1e9,
        "parent_id": span.get("parentSpanId"),
        "type": None if entry else "subsegment",
        "namespace": namespace,
        "origin": _origin(resource),
        "service": _service(resource),
        "http": _http(span, attributes, taken),
        **_flags(span, attributes),
        "cause": _cause(span, attributes, resource),
        "aws": _aws(attributes, resource, taken),
        "sql": _sql(span, attributes, taken),
        "links": _links(span),
    }
    document.update(_rest(attributes, taken, resource if entry else {}))
    return {key: value for key, value in document.items() if value not in (None, {}, [])}


#: The id of the service's segment of a span whose ``id`` is a column, as :func:`documents` makes it.
SERVICE_ID_SQL = "left(sha256(id || '/service'), 16)"


def _made_id(*parts: str) -> str:
    """16 digits that follow from ``parts``, for what has no id of its own."""
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:16]


# -- names


def _name(span: Span, attributes: Attributes, resource: Attributes, entry: bool) -> tuple[str, str | None]:
    """Name and namespace."""

    def text(key: str) -> str:
        value = attributes.get(key)
        return value if isinstance(value, str) else ""

    sdk = attributes.get("rpc.system", attributes.get("rpc.system.name")) in ("aws-api", "aws.api")
    namespace = "aws" if sdk else None
    name = ""
    kind = span["kind"]
    if kind == "SERVER" or (kind == "INTERNAL" and attributes.get("aws.span.kind") == "LOCAL_ROOT"):
        name = text("aws.local.service")
    elif kind in _CALLING:
        name = text("aws.remote.service")
        if sdk:
            name = name.removeprefix("AWS.SDK.").removeprefix("AWS::")
    name = name or text("peer.service")
    if not name and text("aws.service"):
        name, namespace = text("aws.service"), "aws"
    name = name or _database_name(attributes)
    if not name and kind == "SERVER":
        name = str(resource.get("service.name", ""))
    name = name or text("rpc.service") or text("http.host") or text("net.peer.name")
    if not name and kind != "SERVER":
        name = text("server.address")
    if namespace is None and kind in ("CLIENT", "PRODUCER"):
        namespace = "remote"
    if namespace is None and kind in _CALLING and not entry and text("aws.remote.service"):
        namespace = "remote"
    return _valid_name(name or span["name"]), namespace


def _database_name(attributes: Attributes) -> str:
    """``<database>@<host>``, the host where it is known; empty where there is no database."""
    database = attributes.get("db.name", attributes.get("db.namespace"))
    if not isinstance(database, str) or not database:
        return ""
    try:
        host = urlsplit(str(attributes.get("db.connection_string", "")).removeprefix("jdbc:")).hostname
    except ValueError:
        host = None
    if not host and "db.name" not in attributes:
        host = str(attributes.get("server.address", ""))
    return f"{database}@{host}" if host else database


def _valid_name(name: str) -> str:
    return _NOT_IN_NAME.sub("", name)[:MAX_NAME] or _UNNAMED


# -- blocks


#: Members of ``http`` by the attributes that give them, the old conventions' before the current ones'.
_REQUEST = {
    "method": ("http.method", "http.request.method"),
    "user_agent": ("http.user_agent", "user_agent.original"),
}
_STATUS = ("http.status_code", "http.response.status_code")
_URL = ("http.url", "url.full")
_SCHEME = ("http.scheme", "url.scheme")
_SERVER_HOST = ("http.host", "http.server_name", "net.host.name", "host.name", "server.address")
_SERVER_PORT = ("net.host.port", "server.port")
_CLIENT_HOST = ("http.host", "net.peer.name", "net.peer.ip", "server.address")
_CLIENT_PORT = ("net.peer.port", "server.port")
_CLIENT_IP = ("http.client_ip", "client.address")
_PEER_IP = ("net.peer.ip", "network.peer.address")
_DEFAULT_PORTS = {"http": "80", "https": "443"}
#: Only with one of these is a span an HTTP one.
_HTTP = (
    *(key for keys in _REQUEST.values() for key in keys),
    *(*_STATUS, *_URL, *_SCHEME, "http.host", "http.target", "http.server_name", "http.client_ip", "url.path", "url.query"),
)
_HTTP_TAKES = frozenset(
    (*_HTTP, *_SERVER_HOST, *_SERVER_PORT, *_CLIENT_HOST, *_CLIENT_PORT, *_CLIENT_IP, *_PEER_IP, "http.response.body.size")
)


def _first(attributes: Attributes, keys: Iterable[str]) -> str:
    """The first of several attributes that is there and not empty, as text."""
    for key in keys:
        value = attributes.get(key)
        if value is not None and value != "":
            return str(value)
    return ""


def _http(span: Span, attributes: Attributes, taken: set[str]) -> Document | None:
    if not any(key in attributes for key in _HTTP):
        return None
    taken |= _HTTP_TAKES
    request: Document = {member: _first(attributes, keys) for member, keys in _REQUEST.items()}
    request["url"] = _request_url(span, attributes)
    peer = next((ip for key in _PEER_IP if (ip := _ip(attributes.get(key)))), "")
    client = next((ip for key in _CLIENT_IP if (ip := _ip(attributes.get(key)))), "")
    request["client_ip"] = client or peer
    if client and not peer:
        request["x_forwarded_for"] = True
    response: Document = {}
    status = _status(attributes)
    if status is not None:
        response["status"] = status
    length = _content_length(span, attributes)
    if length is not None:
        response["content_length"] = length
    blocks = {"request": {key: value for key, value in request.items() if value}, "response": response}
    return {key: value for key, value in blocks.items() if value}


def _ip(value: Any) -> str:
    try:
        return str(value) if isinstance(value, str) and ipaddress.ip_address(value) else ""
    except ValueError:
        return ""


def _status(attributes: Attributes) -> int | None:
    values = (attributes.get(key) for key in _STATUS)
    return next((value for value in values if isinstance(value, int) and not isinstance(value, bool)), None)


def _request_url(span: Span, attributes: Attributes) -> str:
    """The URL as it was, or put together of its parts; empty where no host is known."""
    whole = _first(attributes, _URL)
    if whole:
        return whole
    hosts, ports = (_SERVER_HOST, _SERVER_PORT) if span["kind"] == "SERVER" else (_CLIENT_HOST, _CLIENT_PORT)
    host = _first(attributes, hosts)
    if not host:
        return ""
    scheme = _first(attributes, _SCHEME) or "http"
    # http.host carries its port itself.
    port = "" if attributes.get("http.host") else _first(attributes, ports)
    # Python's WSGI instrumentation has the whole Host header in server.address, and the port once more in server.port.
    if port and port != _DEFAULT_PORTS.get(scheme) and not host.endswith(f":{port}"):
        host += f":{port}"
    target = _first(attributes, ("http.target",))
    if not target:
        query = _first(attributes, ("url.query",)).removeprefix("?")
        target = (_first(attributes, ("url.path",)) or "/") + (f"?{query}" if query else "")
    return f"{scheme}://{host}{target}"


def _content_length(span: Span, attributes: Attributes) -> int | None:
    size = attributes.get("http.response.body.size")
    if isinstance(size, int) and not isinstance(size, bool):
        return size
    for carrier in (attributes, *(event["attributes"] for event in span["events"])):
        size = carrier.get("messaging.message_payload_size_bytes")
        if carrier.get("message.type") == "RECEIVED" and isinstance(size, int):
            return size
    return None


def _flags(span: Span, attributes: Attributes) -> Document:
    status = _status(attributes)
    if status is not None and 400 <= status <= 499:
        return {"error": True} | ({"throttle": True} if status == 429 else {})
    if (status is not None and 500 <= status <= 599) or span["status"]["code"] == "ERROR":
        return {"fault": True}
    return {}


def _cause(span: Span, attributes: Attributes, resource: Attributes) -> Document | None:
    remote = span["kind"] in ("CLIENT", "PRODUCER")
    language, identity = str(resource.get("telemetry.sdk.language", "")), span["spanId"]
    exceptions: list[Document] = []
    for event in span["events"]:
        if event["name"] == "exception":
            exceptions += _exceptions(event["attributes"], remote, language, f"{identity}/{len(exceptions)}")
    if not exceptions and span["status"]["code"] == "ERROR":
        message = span["status"].get("message") or str(attributes.get("http.status_text", ""))
        if message:
            exceptions.append({"id": _made_id(identity, "status"), "message": message})
    return {"exceptions": exceptions} if exceptions else None


def _exceptions(said: Attributes, remote: bool, language: str, mark: str) -> list[Document]:
    """An exception event's exception and those that caused it."""
    found = stacktraces.parse(language, str(said.get("exception.stacktrace", "")))
    ids = [_made_id(mark, str(number)) for number in range(len(found))]
    exceptions = []
    for number, raised in enumerate(found):
        exception = {
            "id": ids[number],
            "type": str(said.get("exception.type", "")) if raised.type is None else raised.type,
            "message": str(said.get("exception.message", "")) if raised.message is None else raised.message,
            "remote": remote,
            "stack": raised.stack,
            "cause": ids[number + 1] if number + 1 < len(ids) else None,
        }
        exceptions.append({key: value for key, value in exception.items() if value not in (None, "", [])})
    return exceptions


#: Members of ``aws`` that say what a call was, by their attributes; the first that is there.
_AWS_CALL = {
    "operation": ("aws.operation", "rpc.method"),
    "account_id": ("aws.account_id",),
    "region": ("aws.region",),
    "request_id": ("aws.request_id", "aws.requestId"),
    "queue_url": ("messaging.url", "aws.queue_url", "aws.queue.url"),
    "table_name": ("aws.table_name", "aws.table.name"),
}
_CALL_MEMBERS = frozenset({*_AWS_CALL, "table_names"})
_TABLE_NAMES = "aws.dynamodb.table_names"
_EC2 = {"instance_id": "host.id", "availability_zone": "cloud.availability_zone", "instance_size": "host.type", "ami_id": "host.image.id"}
_ECS = {
    "container": "container.name",
    "container_id": "container.id",
    "availability_zone": "cloud.availability_zone",
    "container_arn": "aws.ecs.container.arn",
    "cluster_arn": "aws.ecs.cluster.arn",
    "task_arn": "aws.ecs.task.arn",
    "task_family": "aws.ecs.task.family",
    "launch_type": "aws.ecs.launchtype",
}
_EKS = {"cluster_name": "k8s.cluster.name", "pod": "k8s.pod.name", "container_id": "container.id"}


def _aws(attributes: Attributes, resource: Attributes, taken: set[str]) -> Document | None:
    if resource.get("cloud.provider", "aws") != "aws":
        return None
    found: Document = {member: _first(attributes, keys) for member, keys in _AWS_CALL.items()}
    taken.update(key for keys in _AWS_CALL.values() for key in keys if key != "messaging.url")
    found["account_id"] = found["account_id"] or _first(resource, ("cloud.account.id",))
    tables = attributes.get(_TABLE_NAMES)
    tables = [tables] if isinstance(tables, str) else tables
    if isinstance(tables, list) and tables:
        found["table_name"] = str(tables[0]) if len(tables) == 1 else ""
        found["table_names"] = [str(table) for table in tables] if len(tables) > 1 else []
    platform = resource.get("cloud.platform")
    if platform == "aws_ec2" or resource.get("host.id"):
        found["ec2"] = _mapped(resource, _EC2)
    if platform == "aws_ecs":
        found["ecs"] = _mapped(resource, _ECS)
    if platform == "aws_eks" or resource.get("k8s.cluster.name"):
        found["eks"] = _mapped(resource, _EKS)
    if platform == "aws_elastic_beanstalk" and resource.get("service.instance.id"):
        found["elastic_beanstalk"] = _beanstalk(resource)
    found["cloudwatch_logs"] = _log_groups(resource)
    found["xray"] = _sdk(resource)
    return {key: value for key, value in found.items() if value not in ("", None, {}, [])}


def _mapped(resource: Attributes, members: Mapping[str, str]) -> Document:
    return {member: str(resource[key]) for member, key in members.items() if resource.get(key)}


def _beanstalk(resource: Attributes) -> Document:
    number = str(resource["service.instance.id"])
    found = _mapped(resource, {"environment_name": "service.namespace", "version_label": "service.version"})
    return found | {"deployment_id": int(number) if number.isascii() and number.isdigit() else 0}


def _log_groups(resource: Attributes) -> list[Document]:
    arns = _several(resource.get("aws.log.group.arns"))
    if arns:
        return [{"log_group": parts[6] if len(parts := arn.split(":")) > 6 else arn, "arn": arn} for arn in arns]
    return [{"log_group": name} for name in _several(resource.get("aws.log.group.names"))]


def _several(value: Any) -> list[str]:
    """A list attribute, or what OTEL_RESOURCE_ATTRIBUTES can carry in its place: texts with & between them."""
    texts = value.split("&") if isinstance(value, str) else value if isinstance(value, list) else []
    return [text for text in texts if isinstance(text, str) and text]


def _sdk(resource: Attributes) -> Document:
    name, language = _first(resource, ("telemetry.sdk.name",)), _first(resource, ("telemetry.sdk.language",))
    found: Document = {"sdk": f"{name} for {language}" if name and language else name}
    found["sdk_version"] = _first(resource, ("telemetry.sdk.version",))
    found["auto_instrumentation"] = bool(_first(resource, ("telemetry.auto.version", "telemetry.distro.version")))
    return {key: value for key, value in found.items() if value != ""}


_DATABASE = ("db.connection_string", "db.system", "db.system.name", "db.name", "db.namespace", "db.statement", "db.query.text", "db.user")


def _sql(span: Span, attributes: Attributes, taken: set[str]) -> Document | None:
    system = _first(attributes, ("db.system", "db.system.name"))
    if system not in _SQL:
        return None
    taken.update(_DATABASE)
    found = {
        # What the console shows as the call: the exporter puts the span's name here, not an address.
        "url": span["name"],
        "connection_string": f"{_first(attributes, ('db.connection_string', 'server.address')) or 'localhost'}/"
        f"{_first(attributes, ('db.name', 'db.namespace'))}",
        "database_type": system,
        "user": _first(attributes, ("db.user",)),
        "sanitized_query": _first(attributes, ("db.statement", "db.query.text")),
    }
    return {key: value for key, value in found.items() if value}


def _origin(resource: Attributes) -> str | None:
    if resource.get("cloud.provider", "aws") != "aws":
        return None
    platform = resource.get("cloud.platform")
    if platform == "aws_ecs":
        return _ECS_ORIGINS.get(str(resource.get("aws.ecs.launchtype")), _ORIGINS["aws_ecs"])
    return _ORIGINS.get(str(platform))


def _service(resource: Attributes) -> Document | None:
    version = _first(resource, ("service.version", "container.image.tag"))
    return {"version": version} if version else None


def _links(span: Span) -> list[Document]:
    return [
        {"trace_id": xray_trace_id(link["traceId"]), "id": link["spanId"]}
        | ({"attributes": found} if (found := link["attributes"]) else {})
        for link in span["links"]
    ]


# -- annotations and metadata


def _rest(attributes: Attributes, taken: set[str], resource: Attributes) -> Document:
    """The members ``user``, ``annotations`` and ``metadata``; ``resource`` is empty for a subsegment."""
    listed = attributes.get("aws.xray.annotations")
    indexed = {key for key in listed if isinstance(key, str)} if isinstance(listed, list) else set()
    consumed = {*taken, "enduser.id"} | ({"aws.xray.annotations"} if isinstance(listed, list) else set())
    annotations: Document = {}
    default: Document = {}
    metadata: Document = {}
    everything = {f"otel.resource.{key}": value for key, value in resource.items()} | dict(attributes)
    for key, value in everything.items():
        if key in indexed and isinstance(value, str | bool | int | float):
            # Named for the index, it is there, also where a block has it too.
            annotations[_NOT_IN_KEY.sub("_", key)] = value
        elif key in consumed:
            continue
        elif key.startswith(_METADATA_PREFIX) and isinstance(value, str):
            _put_metadata(metadata, default, key, value)
        else:
            default[key] = value
    if default:
        metadata["default"] = default
    user = attributes.get("enduser.id")
    return {"user": user if isinstance(user, str) else None, "annotations": annotations, "metadata": metadata}


def _put_metadata(metadata: Document, default: Document, key: str, text: str) -> None:
    """Metadata that came through the Collector's X-Ray receiver: an attribute a namespace, the object as JSON."""
    namespace = key.removeprefix(_METADATA_PREFIX)
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        default[key] = text
    elif namespace.lower() == "default":
        default.update(value)
    else:
        metadata[namespace] = value
