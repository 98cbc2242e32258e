"""OTLP over gRPC: the trace, logs and metrics services. The key is the metadata ``x-honeycomb-team``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from localstack.honeycomb import otlp_http
from localstack.honeycomb.layout import Rows
from localstack.honeycomb.otlp_http import CLOSING, MAX_BODY, SIGNALS, OtlpError, Signal
from localstack.store import StoreClosed

log = logging.getLogger(__name__)

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class PortBusy(Exception):
    """The gRPC port cannot be bound."""


def start(address: str, keys: Sequence[str], add: Callable[[Rows], None]) -> grpc.Server:
    """Serve on ``address`` (``host:port``). ``add`` stores rows and returns when they are committed. Raises PortBusy."""
    server = grpc.server(
        ThreadPoolExecutor(max_workers=8, thread_name_prefix="otlp-grpc"),
        options=[
            ("grpc.max_receive_message_length", MAX_BODY),
            # Otherwise a second process could bind the same port and take half of the connections.
            ("grpc.so_reuseport", 0),
        ],
    )
    for signal in SIGNALS:
        name = f"opentelemetry.proto.collector.{signal.service}"
        # The message is parsed in the handler, so that a malformed one gets the documented status.
        method = grpc.unary_unary_rpc_method_handler(_handler(signal, keys, add))
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"Export": method}),))
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise PortBusy(str(error)) from None
    server.start()
    return server


def _handler(signal: Signal, keys: Sequence[str], add: Callable[[Rows], None]) -> Callable[[bytes, Any], bytes]:
    empty = signal.response().SerializeToString()

    def export(body: bytes, context: Any) -> bytes:
        metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        key, dataset = metadata.get("x-honeycomb-team", ""), metadata.get("x-honeycomb-dataset", "")
        try:
            otlp_http.check_key(signal, key, dataset, keys)
            message = otlp_http.parse(signal, body, "application/protobuf", "")
            add(signal.translate(message, dataset, otlp_http.is_classic(key)))
        except OtlpError as error:
            context.abort(_CODES[error.refusal.grpc_code], error.refusal.message)
        except StoreClosed:
            context.abort(_CODES[CLOSING.grpc_code], CLOSING.message)
        except Exception:
            log.exception("storing %s failed", signal.service)
            context.abort(grpc.StatusCode.INTERNAL, "the events could not be stored; the reason is in the log of honeycomb")
        return empty

    return export
