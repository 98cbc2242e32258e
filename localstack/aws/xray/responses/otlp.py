"""The OTLP endpoint: ``POST /v1/traces``, signed as any call of X-Ray's, answered as OTLP says.

Sources: "OTLP endpoints" and its troubleshooting page in the CloudWatch user guide; the OpenTelemetry protocol specification,
"OTLP/HTTP". An error is a google.rpc.Status in the request's format.
"""

from __future__ import annotations

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse

from localstack import encoding, otlp
from localstack.aws.errors import AwsError
from localstack.aws.xray.models import XRay
from localstack.aws.xray.spans.receiving import TooMuch, WrongDestination

PATH = "/v1/traces"

#: "Maximum uncompressed bytes / request: 5 MB".
MAX_BYTES = 5 * 1024 * 1024

_CODES = {401: otlp.UNAUTHENTICATED, 403: otlp.PERMISSION_DENIED, 415: otlp.INVALID_ARGUMENT, 503: otlp.UNAVAILABLE}


class OtlpEndpoint:
    """Bodies in, bodies out. ``answer`` raises AwsError for what ``error`` then writes, as it does for a wrong signature."""

    def __init__(self, xray: XRay) -> None:
        self._xray = xray

    def answer(self, body: bytes, content_type: str, content_encoding: str) -> tuple[str, bytes]:
        """Content type and body of a success, which may be a partial one."""
        kind = _kind(content_type)
        if kind != otlp.JSON and kind not in otlp.PROTOBUF:
            raise AwsError("UnsupportedMediaTypeException", f"Content-Type must be {otlp.JSON} or application/x-protobuf", 415)
        if content_encoding.strip().lower() not in ("", "identity", "gzip"):
            raise AwsError("UnsupportedMediaTypeException", "Content-Encoding must be gzip or none", 415)
        try:
            request = otlp.read(ExportTraceServiceRequest(), encoding.decode(body, content_encoding, MAX_BYTES), kind)
            receipt = self._xray.spans.receive(request)
        except encoding.BodyTooLarge:
            raise AwsError("InvalidRequestException", f"The request is larger than {MAX_BYTES} bytes, uncompressed") from None
        except encoding.BodyMalformed as error:
            raise AwsError("InvalidRequestException", f"The body is not {content_encoding}: {error}") from None
        except otlp.Malformed as error:
            raise AwsError("InvalidRequestException", f"The body is no ExportTraceServiceRequest: {error}"[:500]) from None
        except TooMuch as error:
            raise AwsError("InvalidRequestException", str(error)) from None
        except WrongDestination:
            raise AwsError(
                "InvalidRequestException",
                "The OTLP API is supported with CloudWatch Logs as a Trace Segment Destination. "
                "Set it with: aws xray update-trace-segment-destination --destination CloudWatchLogs",
            ) from None
        response = ExportTraceServiceResponse()
        if receipt.rejected:
            response.partial_success.rejected_spans = receipt.rejected
            more = receipt.rejected - len(receipt.reasons)
            response.partial_success.error_message = "; ".join(receipt.reasons) + (f"; and {more} more" if more else "")
        return kind, otlp.write(response, kind)

    @staticmethod
    def error(error: AwsError, content_type: str) -> tuple[int, str, bytes]:
        """Status, content type and body of a failure."""
        kind = _kind(content_type)
        kind = kind if kind in otlp.PROTOBUF else otlp.JSON
        code = _CODES.get(error.status, otlp.INTERNAL if error.status >= 500 else otlp.INVALID_ARGUMENT)
        return error.status, kind, otlp.status(code, error.message, kind)


def _kind(content_type: str) -> str:
    return content_type.split(";")[0].strip().lower()
