"""Checks Signature Version 4, so that a wrong key fails here as it would at AWS.

Source: "Create a signed AWS API request" in the IAM user guide. Only the two services kept here check it; moto does not.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote

from localstack.aws.errors import AwsError
from localstack.aws.routing import ALGORITHM, authorization_fields, credential_scope, is_signed

#: AWS refuses a request whose time differs from its own by more than this.
MAX_SKEW_SECONDS = 5 * 60


class Verifier:
    """Knows the one access key of the local AWS and the one region its endpoint stands for."""

    def __init__(self, access_key: str, secret_key: str, region: str) -> None:
        self._access_key = access_key
        self._secret_key = secret_key
        self._region = region

    def verify(self, environ: dict[str, Any], body: bytes, now: datetime | None = None) -> None:
        """Raise AwsError unless the request is signed with the known key, for this region, for this body, now."""
        if not is_signed(environ):
            raise AwsError("MissingAuthenticationTokenException", "Missing Authentication Token", 403)
        scope = credential_scope(environ)
        if scope is None:
            raise AwsError(
                "IncompleteSignatureException",
                f"Authorization must be {ALGORITHM} with Credential (key/date/region/service/aws4_request), SignedHeaders and Signature",
                403,
            )
        if scope.access_key != self._access_key:
            raise AwsError("UnrecognizedClientException", "The security token included in the request is invalid.", 403)
        if scope.region != self._region:
            raise AwsError(
                "InvalidSignatureException",
                f"Credential should be scoped to a valid region, not '{scope.region}': this endpoint is {self._region} (AWS_REGION).",
                403,
            )
        query = parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        header = environ.get("HTTP_AUTHORIZATION", "")
        if header:
            fields = authorization_fields(header)
            signed_headers, signature = fields.get("SignedHeaders", ""), fields.get("Signature", "")
            timestamp = environ.get("HTTP_X_AMZ_DATE", "")
        else:
            values = dict(query)
            signed_headers, signature = values.get("X-Amz-SignedHeaders", ""), values.get("X-Amz-Signature", "")
            timestamp = values.get("X-Amz-Date", "")
            query = [pair for pair in query if pair[0] != "X-Amz-Signature"]
        if not signed_headers or not signature:
            raise AwsError("IncompleteSignatureException", "Authorization must carry SignedHeaders and Signature", 403)
        self._check_time(timestamp, scope.date, now or datetime.now(UTC))
        payload = environ.get("HTTP_X_AMZ_CONTENT_SHA256", "")
        digest = hashlib.sha256(body).hexdigest()
        if payload not in ("", "UNSIGNED-PAYLOAD", digest):
            raise _mismatch()
        canonical = "\n".join(
            [
                environ["REQUEST_METHOD"],
                quote(environ.get("PATH_INFO", "") or "/", safe="/~", encoding="latin-1"),
                "&".join(sorted(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in query)),
                *(f"{name}:{_header(environ, name)}" for name in signed_headers.split(";")),
                "",
                signed_headers,
                payload or digest,
            ]
        )
        text = "\n".join(
            [
                ALGORITHM,
                timestamp,
                f"{scope.date}/{scope.region}/{scope.service}/aws4_request",
                hashlib.sha256(canonical.encode("latin-1", "replace")).hexdigest(),
            ]
        )
        key = f"AWS4{self._secret_key}".encode()
        for part in (scope.date, scope.region, scope.service, "aws4_request", text):
            key = hmac.digest(key, part.encode(), "sha256")
        if not hmac.compare_digest(key.hex().encode(), signature.encode()):
            raise _mismatch()

    @staticmethod
    def _check_time(timestamp: str, date: str, now: datetime) -> None:
        try:
            moment = datetime.strptime(timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        except ValueError:
            raise AwsError("IncompleteSignatureException", "X-Amz-Date must be of the form 20060102T150405Z", 403) from None
        if not timestamp.startswith(date):
            raise AwsError(
                "InvalidSignatureException", "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date", 403
            )
        if abs((now - moment).total_seconds()) > MAX_SKEW_SECONDS:
            raise AwsError(
                "InvalidSignatureException", f"Signature expired: {timestamp} is not within 5 minutes of {now:%Y%m%dT%H%M%SZ}", 403
            )


def _header(environ: dict[str, Any], name: str) -> str:
    """A header's value in canonical form: trimmed, runs of spaces as one."""
    key = name.upper().replace("-", "_")
    value = environ.get(key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}", "")
    return " ".join(str(value).split())


def _mismatch() -> AwsError:
    return AwsError(
        "InvalidSignatureException",
        "The request signature we calculated does not match the signature you provided. "
        "Check your AWS Secret Access Key and signing method.",
        403,
    )
