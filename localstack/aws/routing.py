"""Which service a request is for.

A signed call names its service in the credential scope of Signature Version 4, in the Authorization header or, when
presigned, in the query ("Signature Version 4 for API requests", IAM user guide). The unsigned calls that a client of X-Ray
sends to a daemon (the sampler's) are told apart by their path, those of CloudWatch Logs by X-Amz-Target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

#: Path prefix of what only the local cloud has: health, and facts the vendor's API has no field for.
LOCAL_PREFIX = "/_parallax/"

ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True)
class Scope:
    """The credential scope of a request: ``access_key/date/region/service/aws4_request``."""

    access_key: str
    date: str
    region: str
    service: str


def credential_scope(environ: dict[str, Any]) -> Scope | None:
    """The scope a request was signed for; None when it is unsigned, or signed in a way that names none."""
    header = environ.get("HTTP_AUTHORIZATION", "")
    if header.startswith(ALGORITHM):
        credential = authorization_fields(header).get("Credential", "")
    elif "X-Amz-Credential=" in environ.get("QUERY_STRING", ""):
        credential = parse_qs(environ["QUERY_STRING"]).get("X-Amz-Credential", [""])[0]
    else:
        return None
    parts = credential.rsplit("/", 4)
    if len(parts) != 5 or parts[4] != "aws4_request":
        return None
    return Scope(*parts[:4])


def authorization_fields(header: str) -> dict[str, str]:
    """``AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`` as a dictionary."""
    fields = (field.strip().split("=", 1) for field in header.removeprefix(ALGORITHM).split(","))
    return {pair[0]: pair[1] for pair in fields if len(pair) == 2}


def is_signed(environ: dict[str, Any]) -> bool:
    """Whether the request carries a signature of any kind, well formed or not."""
    return bool(environ.get("HTTP_AUTHORIZATION")) or "X-Amz-Signature=" in environ.get("QUERY_STRING", "")


def service_of(environ: dict[str, Any], xray_paths: frozenset[str], logs_target: str) -> str:
    """``xray``, ``logs``, ``local``, or the name of another service, ``""`` when nothing tells."""
    path = environ.get("PATH_INFO", "")
    if path.startswith(LOCAL_PREFIX):
        return "local"
    scope = credential_scope(environ)
    if scope is not None:
        return scope.service
    if environ.get("HTTP_X_AMZ_TARGET", "").startswith(f"{logs_target}."):
        return "logs"
    if path in xray_paths:
        return "xray"
    return ""
