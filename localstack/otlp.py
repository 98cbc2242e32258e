"""What every receiver of OTLP does with a message, whichever vendor it stands for. Pure.

Source: the OpenTelemetry protocol specification ("OTLP/HTTP", "JSON Protobuf Encoding").
"""

from __future__ import annotations

import base64
import re
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from google.rpc.status_pb2 import Status
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

PROTOBUF = ("application/protobuf", "application/x-protobuf")
JSON = "application/json"

# gRPC status codes (grpc.StatusCode's numbers), which google.rpc.Status carries too.
INVALID_ARGUMENT, PERMISSION_DENIED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, UNAUTHENTICATED = 3, 7, 12, 13, 14, 16

_HEX = re.compile(r"[0-9a-fA-F]+")

M = TypeVar("M", bound=Message)


class Malformed(Exception):
    """A body is not the message it should be."""


def read(message: M, body: bytes, content_type: str) -> M:
    """Fill an empty message from a body, JSON or else protobuf. Raises Malformed."""
    try:
        if content_type == JSON:
            if not body.lstrip().startswith(b"{"):
                # The parser takes a list for a message without fields.
                raise ValueError("a JSON object is expected")
            # Unknown fields are to be ignored (OTLP specification, "JSON Protobuf Encoding").
            json_format.Parse(body, message, ignore_unknown_fields=True)
        else:
            message.ParseFromString(body)
    except (DecodeError, json_format.ParseError, ValueError, TypeError, AttributeError, RecursionError) as error:
        # The JSON parser raises its own error for most bad input, and whatever Python raises for the rest.
        raise Malformed(str(error)) from None
    return message


def write(message: Message, content_type: str) -> bytes:
    """A message in a content type."""
    if content_type == JSON:
        return json_format.MessageToJson(message, indent=None).encode()
    return message.SerializeToString()


def status(code: int, message: str, content_type: str) -> bytes:
    """OTLP's error body in a content type."""
    return write(Status(code=code, message=message), content_type)


def hex_id(identifier: bytes, size: int) -> str:
    """An identifier of ``size`` bytes as lower-case hex.

    OTLP/JSON writes identifiers as hex, but a protobuf JSON parser reads bytes as base64: such an identifier arrives with
    3/4 of the length of its hex form, and is turned back here.
    """
    if len(identifier) * 4 == size * 2 * 3:
        text = base64.b64encode(identifier).decode()
        if _HEX.fullmatch(text):
            return text.lower()
    return identifier.hex()


def plain(value: AnyValue) -> Any:
    """A value as the JSON value it stands for; bytes as base64, nothing as None."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    if kind == "array_value":
        return [plain(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {entry.key: plain(entry.value) for entry in value.kvlist_value.values}
    return getattr(value, kind)
