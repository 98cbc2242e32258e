"""Holds what the local AWS answers against botocore's service models, strictly, on the raw JSON of the answer.

boto3 parses leniently: an unknown member is dropped, a wrong type passed on, a missing one not missed. Here each is a failure.

    xray = checked(boto3.client("xray", ...))                     # every answer of this client is checked
    check_answer(model("xray", "GetGroups"), status, headers, body)  # one raw answer, from any HTTP client

    members = Members()
    xray = checked(boto3.client("xray", ...), members)            # ... and kept: which members came, with which values
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Literal

import botocore.exceptions
import botocore.loaders
import botocore.model
import orjson

#: What the front door of AWS answers for any operation, beside the errors of the operation's own: "Common errors" of the API
#: references, and the protocols' own ("Handling protocol errors" of Smithy's AWS protocols).
FRONT_DOOR = frozenset(
    {
        "IncompleteSignatureException",
        "InternalFailure",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "NotImplementedException",
        "RequestEntityTooLargeException",
        "SerializationException",
        "ServiceUnavailableException",
        "UnknownOperationException",
        "UnrecognizedClientException",
        "UnsupportedMediaTypeException",
        "ValidationException",
    }
)

_INTEGER_BITS = {"integer": 31, "long": 63}

#: A timestamp in seconds is below this; one in milliseconds is above.
_MAX_EPOCH_SECONDS = 1e11


#: Where AWS's own answers go beyond its model, the greatest value by shape: the rule Default has priority 10000, of at most 9999.
_BEYOND = {"Priority": 10_000}


@cache
def service_model(service: str) -> Any:
    return botocore.model.ServiceModel(botocore.loaders.Loader().load_service_model(service, "service-2"), service)


@cache
def model(service: str, operation: str) -> Any:
    """botocore's model of one operation."""
    return service_model(service).operation_model(operation)


@dataclass
class Members:
    """Every member that was seen: by operation and path (``Groups[].GroupName``, ``Attributes{}``), its distinct scalar values.

    A path of a structure, list or map has no values; that it is there says that it was seen.
    """

    of: dict[str, dict[str, set[Any]]] = field(default_factory=dict)

    def add(self, operation: Any, side: Literal["input", "output"], value: Any) -> None:
        """``value``: JSON that matches the operation's input or output shape."""
        shape = getattr(operation, f"{side}_shape")
        if shape is not None:
            self._add(self.of.setdefault(operation.name, {}), shape, value, "")

    def _add(self, paths: dict[str, set[Any]], shape: Any, value: Any, path: str) -> None:
        if path:
            values = paths.setdefault(path, set())
            if shape.type_name not in ("structure", "list", "map"):
                values.add(value)
        if shape.type_name == "structure":
            for name, member in value.items():
                self._add(paths, shape.members[name], member, f"{path}.{name}" if path else name)
        elif shape.type_name == "list":
            for element in value:
                self._add(paths, shape.member, element, f"{path}[]")
        elif shape.type_name == "map":
            for element in value.values():
                self._add(paths, shape.value, element, f"{path}{{}}")


def checked(client: Any, members: Members | None = None) -> Any:
    """``client`` (boto3's), every answer to which is now checked before botocore parses it; ``members`` collects what came."""
    client.meta.events.register("before-parse.*", partial(_on_answer, members))
    return client


def checked_session(session: Any, came: Members, sent: Members) -> None:
    """The same for every client of a session of botocore's; ``sent`` collects what was sent in calls that succeeded."""

    def on_call(params: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
        context["sent"] = orjson.loads(params["body"] or b"{}")

    def on_answered(model: Any, parsed: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        if parsed["ResponseMetadata"]["HTTPStatusCode"] == 200:
            sent.add(model, "input", context["sent"])

    session.register("before-parse.*", partial(_on_answer, came))
    session.register("before-call.*", on_call)
    session.register("after-call.*", on_answered)


def _on_answer(members: Members | None, operation_model: Any, response_dict: dict[str, Any], **_: Any) -> None:
    headers = {name.lower(): value for name, value in response_dict["headers"].items()}
    status, body = response_dict["status_code"], response_dict["body"]
    if len(body) < int(headers.get("content-length", 0)):
        # The vendor was killed while it answered; botocore takes what came for the whole.
        raise botocore.exceptions.ConnectionClosedError(endpoint_url=operation_model.name)
    answer = check_answer(operation_model, status, headers, body)
    if members is not None and status == 200:
        members.add(operation_model, "output", answer)


def check_answer(operation: Any, status: int, headers: Mapping[str, str], body: bytes) -> Any:
    """Fail unless a raw answer is what the model of ``operation`` allows; returns the JSON. Names of ``headers`` in lower case."""
    what = f"{operation.name} answered {status} {body[:500]!r}"
    assert headers.get("x-amzn-requestid"), f"{what} without x-amzn-RequestId"
    assert headers.get("content-type") == _content_type(operation.service_model), f"{what} as {headers.get('content-type')}"
    answer = orjson.loads(body)
    if status == 200:
        if operation.output_shape is None:
            assert answer == {}, what
        else:
            check(operation.output_shape, answer, operation.name)
        return answer
    check_error(operation, status, headers, answer)
    return answer


def check_error(operation: Any, status: int, headers: Mapping[str, str], answer: Any) -> str:
    """Fail unless an error is in the form of the service's protocol and one the operation may answer; returns its code."""
    what = f"{operation.name} answered {status} {answer}"
    assert isinstance(answer, dict), what
    code = str(headers.get("x-amzn-errortype", "") if _is_rest(operation.service_model) else answer.get("__type", ""))
    message = answer.get("Message", answer.get("message"))
    assert isinstance(message, str), what
    assert message, what
    shapes = {shape.name: shape for shape in operation.error_shapes}
    if code in shapes:
        expected = shapes[code].metadata.get("error", {}).get("httpStatusCode", 400)
        assert status == expected, f"{what}; {code} is {expected}"
        unknown = set(answer) - set(shapes[code].members) - {"message", "Message", "__type"}
        assert not unknown, f"{what}; {code} has no {unknown}"
    else:
        assert code in FRONT_DOOR, f"{what}; {operation.name} knows no {code!r}, only {', '.join(sorted(shapes))}"
    return code


def check(shape: Any, value: Any, where: str) -> None:
    """Fail where ``value``, JSON as it came over the wire, is not what the model's ``shape`` allows."""
    kind = shape.type_name
    limits = shape.metadata
    if kind == "structure":
        assert isinstance(value, dict), f"{where}: {value!r} is no structure"
        unknown = set(value) - set(shape.members)
        assert not unknown, f"{where} has members the model does not know: {unknown}"
        absent = set(shape.required_members) - set(value)
        assert not absent, f"{where} lacks {absent}"
        assert not limits.get("union") or len(value) == 1, f"{where} is a union, and has {set(value)}"
        for name, member in value.items():
            check(shape.members[name], member, f"{where}.{name}")
    elif kind == "list":
        assert isinstance(value, list), f"{where}: {value!r} is no list"
        _check_length(limits, value, where)
        for index, element in enumerate(value):
            check(shape.member, element, f"{where}[{index}]")
    elif kind == "map":
        assert isinstance(value, dict), f"{where}: {value!r} is no map"
        _check_length(limits, value, where)
        for key, element in value.items():
            check(shape.key, key, f"{where}, key {key!r}")
            check(shape.value, element, f"{where}[{key!r}]")
    elif kind == "string":
        assert isinstance(value, str), f"{where}: {value!r} is no string"
        _check_length(limits, value, where)
        assert value in limits.get("enum", [value]), f"{where}: {value!r} is none of {limits['enum']}"
        assert "pattern" not in limits or _pattern(limits["pattern"]).fullmatch(value), f"{where}: {value!r} is not {limits['pattern']}"
    elif kind == "boolean":
        assert isinstance(value, bool), f"{where}: {value!r} is no boolean"
    else:
        whole = kind in _INTEGER_BITS
        assert isinstance(value, int if whole else int | float), f"{where}: {value!r} is no {kind}"
        assert not isinstance(value, bool), f"{where}: {value!r} is no {kind}"
        high = _BEYOND.get(shape.name, limits.get("max", value))
        assert limits.get("min", value) <= value <= high, f"{where}: {value!r} is not within {limits}"
        if whole:
            assert -(2 ** _INTEGER_BITS[kind]) <= value < 2 ** _INTEGER_BITS[kind], f"{where}: {value!r} is no {kind}"
        elif kind == "timestamp":
            assert 0 <= value < _MAX_EPOCH_SECONDS, f"{where}: {value!r} is no time in epoch seconds"


def _check_length(limits: Mapping[str, Any], value: Any, where: str) -> None:
    assert limits.get("min", 0) <= len(value) <= limits.get("max", len(value)), f"{where}: length {len(value)} is not within {limits}"


@cache
def _pattern(pattern: str) -> re.Pattern[str]:
    """A pattern of the model; \\p{L}, \\p{Z} and \\p{N} stand in classes that have _ as well."""
    return re.compile(pattern.replace(r"\p{L}", r"\w").replace(r"\p{N}", r"\d").replace(r"\p{Z}", r"\s"))


def _is_rest(service: Any) -> bool:
    return bool(service.metadata["protocol"] == "rest-json")


def _content_type(service: Any) -> str:
    return "application/json" if _is_rest(service) else "application/x-amz-json-1.1"
