"""The WSGI application of the local AWS."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import duckdb
import orjson

from localstack import encoding
from localstack.aws.errors import AwsError, not_implemented
from localstack.aws.fallback import Moto
from localstack.aws.logs.responses import LogsResponses
from localstack.aws.protocol import Service
from localstack.aws.routing import LOCAL_PREFIX, is_signed, service_of
from localstack.aws.signature import Verifier
from localstack.aws.state import State
from localstack.aws.xray.responses import MENDS, UNSIGNED, handlers, otlp
from localstack.store import StoreClosed

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

log = logging.getLogger("aws")

#: A request's body, after decompression. CloudWatch Logs takes 1 MB of events; JSON escapes may make six bytes of one.
MAX_BODY = 16 * 1024 * 1024

Handler = Callable[[Mapping[str, Any]], dict[str, Any]]


class Application:
    """Routes each request to X-Ray, CloudWatch Logs or moto, and turns what they say into HTTP."""

    def __init__(self, state: State, verifier: Verifier, others: WSGIApplication | None = None) -> None:
        self._state = state
        self._verifier = verifier
        self._others: WSGIApplication = others or Moto()
        self._xray = Service("xray", invalid="InvalidRequestException", mends=MENDS)
        self._logs = Service("logs", invalid="InvalidParameterException")
        self._handlers: dict[str, tuple[Service, Mapping[str, Handler], frozenset[str]]] = {
            "xray": (self._xray, handlers(state.xray), UNSIGNED),
            "logs": (self._logs, LogsResponses(state.logs).handlers, frozenset()),
        }
        self._otlp = otlp.OtlpEndpoint(state.xray)
        self._local: dict[str, Callable[[], dict[str, Any]]] = {
            "health": lambda: {"status": "ok"},
            "xray/deliveries": lambda: {"segments": state.xray.segments.deliveries()},
        }

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        name = service_of(environ, self._xray.paths | {otlp.PATH}, self._logs.target_prefix)
        if name == "local":
            status, headers, body = self._answer_local(environ)
        elif name == "xray" and (environ["REQUEST_METHOD"], environ.get("PATH_INFO")) == ("POST", otlp.PATH):
            status, headers, body = self._answer_otlp(environ)
        elif name in self._handlers:
            status, headers, body = self._answer(environ, *self._handlers[name])
        else:
            return self._others(environ, start_response)
        headers += [("x-amzn-RequestId", str(uuid.uuid4())), ("Content-Length", str(len(body)))]
        start_response(f"{status} {HTTPStatus(status).phrase}", headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _answer(
        self, environ: dict[str, Any], service: Service, handlers: Mapping[str, Handler], unsigned: frozenset[str]
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        operation = "?"
        try:
            raw = _read(environ)
            operation = service.operation(environ["REQUEST_METHOD"], environ.get("PATH_INFO", ""), environ.get("HTTP_X_AMZ_TARGET", ""))
            if operation not in unsigned or is_signed(environ):
                self._verifier.verify(environ, raw)
            handler = handlers.get(operation)
            if handler is None:
                raise not_implemented(f"{operation} of {service.name}")
            members = service.parse(operation, _decompress(raw, environ), environ.get("CONTENT_TYPE", ""))
            return 200, [("Content-Type", service.content_type)], orjson.dumps(handler(members))
        except Exception as error:
            return service.error(_aws_error(error, f"{operation} of {service.name}"))

    def _answer_otlp(self, environ: dict[str, Any]) -> tuple[int, list[tuple[str, str]], bytes]:
        content_type = environ.get("CONTENT_TYPE", "")
        try:
            raw = _read(environ)
            self._verifier.verify(environ, raw)
            kind, body = self._otlp.answer(raw, content_type, environ.get("HTTP_CONTENT_ENCODING", ""))
            return 200, [("Content-Type", kind)], body
        except Exception as error:
            status, kind, body = self._otlp.error(_aws_error(error, "OTLP of xray"), content_type)
            return status, [("Content-Type", kind)], body

    def _answer_local(self, environ: dict[str, Any]) -> tuple[int, list[tuple[str, str]], bytes]:
        headers = [("Content-Type", "application/json")]
        path = environ["PATH_INFO"].removeprefix(LOCAL_PREFIX)
        handler = self._local.get(path)
        if handler is None or environ["REQUEST_METHOD"] != "GET":
            known = ", ".join(f"GET {LOCAL_PREFIX}{name}" for name in sorted(self._local))
            return 404, headers, orjson.dumps({"message": f"There is {known}"})
        return 200, headers, orjson.dumps(handler())


def _aws_error(error: Exception, what: str) -> AwsError:
    """What is answered where ``what`` raised this. What its caller can do nothing about is logged."""
    match error:
        case AwsError():
            return error
        case StoreClosed():
            return AwsError("ServiceUnavailableException", "The local AWS is stopping; send this again", 503)
        case duckdb.OutOfMemoryException():
            log.warning("%s needs more memory than DuckDB may take", what)
            message = f"{what} needs more memory than the local AWS may take at once; ask for a shorter time range or less at a time"
            return AwsError("ServiceUnavailableException", message, 503)
        case _:
            log.error("%s failed", what, exc_info=error)
            return AwsError("InternalFailure", f"{what} failed inside the local AWS; its log says why (make logs)", 500)


def _read(environ: dict[str, Any]) -> bytes:
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length > MAX_BODY:
        raise AwsError("RequestEntityTooLargeException", f"The body has {length} bytes, the limit is {MAX_BODY}", 413)
    body: bytes = environ["wsgi.input"].read(length)
    return body


def _decompress(body: bytes, environ: dict[str, Any]) -> bytes:
    name = environ.get("HTTP_CONTENT_ENCODING", "").strip().lower()
    if name in ("", "identity", "amz-1.0"):
        return body
    if name != "gzip":
        raise AwsError("UnsupportedMediaTypeException", f"Content-Encoding {name} is not gzip", 415)
    try:
        return encoding.decode(body, name, MAX_BODY)
    except encoding.BodyTooLarge:
        raise AwsError("RequestEntityTooLargeException", f"The body unpacks to more than {MAX_BODY} bytes", 413) from None
    except encoding.BodyMalformed as error:
        raise AwsError("SerializationException", f"The body is not gzip: {error}") from None
