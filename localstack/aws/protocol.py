"""Requests and errors in the wire formats of AWS, driven by botocore's service models.

A :class:`Service` finds the operation of a request, parses its body, and checks it against the operation's input shape:
required members, types, lengths, ranges, patterns and enums. It covers the two protocols needed here, rest-json with every
member in the body (X-Ray) and json 1.1 (CloudWatch Logs); botocore's model says which one a service speaks. An operation
that gets a handler later needs no change here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import islice
from typing import Any

import botocore.loaders
import botocore.model
import orjson

from localstack.aws.errors import AwsError

#: Changes the members of a request, any JSON object, before they are checked.
Mend = Callable[[dict[str, Any]], None]

#: Broken constraints that one error message lists.
MAX_LISTED = 20

#: Content types of clients that say nothing of the kind: curl's default, and that of programs that send bytes. Ours: rest-json's
#: specification has 415 for what is not JSON, but X-Ray's older samplers sent no type at all through the daemon, and were served.
_UNSAID = frozenset({"application/octet-stream", "application/x-www-form-urlencoded"})


class Service:
    """One AWS service: its operations, and how it parses requests and writes errors."""

    def __init__(self, name: str, invalid: str, mends: Mapping[str, Mend] | None = None) -> None:
        """``invalid``: the exception with which this service answers a request that breaks a constraint of the model.

        ``mends``: for an operation, what turns the JSON that a known client sends, and AWS takes, into what the model says.
        """
        self.name = name
        self._invalid = invalid
        self._mends = dict(mends or {})
        self.model = botocore.model.ServiceModel(botocore.loaders.Loader().load_service_model(name, "service-2"), name)
        self.rest = self.model.metadata["protocol"] == "rest-json"
        self.target_prefix: str = self.model.metadata.get("targetPrefix", "")
        self._operations = {operation: self.model.operation_model(operation) for operation in self.model.operation_names}
        self._by_path = {
            (operation.http["method"], operation.http["requestUri"]): name for name, operation in self._operations.items() if self.rest
        }

    @property
    def paths(self) -> frozenset[str]:
        """Every path of a rest-json service."""
        return frozenset(path for _, path in self._by_path)

    def operation(self, method: str, path: str, target: str) -> str:
        """The operation's name; raises UnknownOperationException (404)."""
        if self.rest:
            operation = self._by_path.get((method, path), "")
            what = f"{method} {path}"
        else:
            prefix, _, operation = target.partition(".")
            operation = operation if method == "POST" and path == "/" and prefix == self.target_prefix else ""
            what = f"{method} {path} with X-Amz-Target '{target}'"
        if operation not in self._operations:
            raise AwsError("UnknownOperationException", f"{what} is no operation of {self.name}", 404)
        return operation

    def parse(self, operation: str, body: bytes, content_type: str) -> dict[str, Any]:
        """The request's members, checked. Raises AwsError: SerializationException, or the service's own for a broken constraint.

        As at AWS, members that the model does not know are ignored and members that are null count as absent.
        """
        kind = content_type.split(";")[0].strip().lower()
        if kind and kind != "application/json" and not kind.startswith("application/x-amz-json-") and not (self.rest and kind in _UNSAID):
            raise AwsError("UnsupportedMediaTypeException", f"Content-Type {kind} is not JSON", 415)
        try:
            members = orjson.loads(body) if body else {}
        except orjson.JSONDecodeError as error:
            raise AwsError("SerializationException", f"The body is not JSON: {error}") from None
        if not isinstance(members, dict):
            raise AwsError("SerializationException", "Start of structure or map expected: the body must be a JSON object")
        shape = self._operations[operation].input_shape
        if shape is None:
            return {}
        if operation in self._mends:
            self._mends[operation](members)
        members = _typed(shape, members, "")
        # No further: of a large body there may be millions, and they would take a gigabyte.
        broken = list(islice(_broken(shape, members, ""), MAX_LISTED + 1))
        if broken:
            many = len(broken) > MAX_LISTED
            count = f"More than {MAX_LISTED}" if many else len(broken)
            listed = "; ".join(broken[:MAX_LISTED]) + ("; …" if many else "")
            raise AwsError(self._invalid_of(operation), f"{count} validation error{'s' if len(broken) > 1 else ''} detected: {listed}")
        return dict(members)

    def _invalid_of(self, operation: str) -> str:
        modelled = any(shape.name == self._invalid for shape in self._operations[operation].error_shapes)
        return self._invalid if modelled else "ValidationException"

    def error(self, error: AwsError) -> tuple[int, list[tuple[str, str]], bytes]:
        """Status, headers and body of an error in this service's protocol."""
        if self.rest:
            # X-Ray's own exceptions have a member Message, those of the front door message; a client reads either.
            body = orjson.dumps({"Message": error.message, "message": error.message} | error.members)
            return error.status, [("Content-Type", "application/json"), ("x-amzn-ErrorType", error.code)], body
        # The json protocol answers what the front door refuses with 400.
        status = 400 if error.status == 403 else error.status
        body = orjson.dumps({"__type": error.code, "message": error.message} | error.members)
        return status, [("Content-Type", "application/x-amz-json-1.1")], body

    @property
    def content_type(self) -> str:
        return "application/json" if self.rest else "application/x-amz-json-1.1"


_JSON_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "double": (int, float),
    "float": (int, float),
    "timestamp": (int, float),
}
_BITS = {"integer": 31, "long": 63}

#: Epoch seconds of the years 1 to 9999, which is what a timestamp can be.
_TIMES = (-62_135_596_800, 253_402_300_800)


def _typed(shape: Any, value: Any, where: str) -> Any:
    """``value`` without unknown and null members; raises SerializationException where a type is not the model's."""
    kind = shape.type_name
    if kind == "structure":
        if not isinstance(value, dict):
            raise _wrong_type(where, "a structure", value)
        return {
            name: _typed(member, value[name], f"{where}.{name}" if where else name)
            for name, member in shape.members.items()
            if value.get(name) is not None
        }
    if kind == "list":
        if not isinstance(value, list):
            raise _wrong_type(where, "a list", value)
        return [_typed(shape.member, element, f"{where}.{index}") for index, element in enumerate(value, 1)]
    if kind == "map":
        if not isinstance(value, dict):
            raise _wrong_type(where, "a map", value)
        return {key: _typed(shape.value, element, f"{where}.{key}") for key, element in value.items()}
    allowed = _JSON_TYPES[kind]
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind != "boolean"):
        raise _wrong_type(where, f"a {kind}", value)
    if kind in _BITS and not -(2 ** _BITS[kind]) <= value < 2 ** _BITS[kind]:
        raise _wrong_type(where, f"a {kind} of {_BITS[kind] + 1} bits", value)
    if kind == "timestamp" and not _is_time(value):
        raise AwsError("SerializationException", f"{where} must be epoch seconds, not {value}")
    return value


def _is_time(seconds: Any) -> bool:
    return bool(_TIMES[0] <= seconds < _TIMES[1])


def _wrong_type(where: str, expected: str, value: Any) -> AwsError:
    return AwsError("SerializationException", f"{where} must be {expected}, not {_json_kind(value)}")


def _json_kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    return {str: "a string", int: "an integer", float: "a number", list: "a list", dict: "an object"}[type(value)]


def _broken(shape: Any, value: Any, where: str) -> Iterator[str]:
    """Every constraint of the model that ``value`` breaks, in the words AWS uses."""
    kind = shape.type_name
    if kind == "structure":
        for name in shape.required_members:
            if name not in value:
                yield _failed("null", f"{where}.{name}" if where else name, "Member must not be null")
        if shape.metadata.get("union") and len(value) != 1:
            yield _failed(", ".join(value), where, f"Exactly one member must be set of: [{', '.join(shape.members)}]")
        for name, member in value.items():
            yield from _broken(shape.members[name], member, f"{where}.{name}" if where else name)
        return
    limits = shape.metadata
    if kind in ("list", "map", "string"):
        low, high = limits.get("min"), limits.get("max")
        if low is not None and len(value) < low:
            yield _failed(value, where, f"Member must have length greater than or equal to {low}")
        if high is not None and len(value) > high:
            yield _failed(value, where, f"Member must have length less than or equal to {high}")
        if kind == "list":
            for index, element in enumerate(value, 1):
                yield from _broken(shape.member, element, f"{where}.{index}.member")
        elif kind == "map":
            for key, element in value.items():
                yield from _broken(shape.key, key, f"{where}.{key}.key")
                yield from _broken(shape.value, element, f"{where}.{key}.member")
        else:
            pattern, enum = limits.get("pattern"), limits.get("enum")
            if pattern and not _compiled(pattern).fullmatch(value):
                yield _failed(value, where, f"Member must satisfy regular expression pattern: {pattern}")
            if enum and value not in enum:
                yield _failed(value, where, f"Member must satisfy enum value set: [{', '.join(enum)}]")
        return
    if "min" in limits and value < limits["min"]:
        yield _failed(value, where, f"Member must have value greater than or equal to {limits['min']}")
    if "max" in limits and value > limits["max"]:
        yield _failed(value, where, f"Member must have value less than or equal to {limits['max']}")


def _failed(value: Any, where: str, constraint: str) -> str:
    text = str(value)
    shown = text if len(text) <= 100 else f"{text[:100]}…"
    return f"Value '{shown}' at '{where}' failed to satisfy constraint: {constraint}"


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    # Inside a class [\p{L}\p{Z}\p{N}_…], which is how all of them stand, \w covers letters, numbers and the underscore.
    python = pattern.replace(r"\p{L}", r"\w").replace(r"\p{N}", r"\d").replace(r"\p{Z}", r"\s")
    return re.compile(python)
