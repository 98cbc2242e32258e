"""boto3 clients as the readers need them, and AWS errors as reasons."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, overload

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, NoCredentialsError, ReadTimeoutError

from compose.settings import Settings
from services.compare.readers.base import Unreadable, error_line

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_xray import XRayClient

#: Attempts of one call: throttling is waited out by botocore's own backoff before it is given up.
ATTEMPTS = 8

_REFUSED = {
    "AccessDenied",
    "AccessDeniedException",
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "ExpiredTokenException",
}


@overload
def client(settings: Settings, service: Literal["xray"]) -> XRayClient: ...
@overload
def client(settings: Settings, service: Literal["logs"]) -> CloudWatchLogsClient: ...
def client(settings: Settings, service: Literal["xray", "logs"]) -> Any:
    """A client for X-Ray or CloudWatch Logs; what is empty in the settings is left to boto3's own chain."""
    secret, token = settings.aws_secret_access_key.get_secret_value(), settings.aws_session_token.get_secret_value()
    session = boto3.session.Session(
        aws_access_key_id=settings.aws_access_key_id or None,
        aws_secret_access_key=secret or None,
        aws_session_token=token or None,
        region_name=settings.aws_region,
    )
    endpoint = settings.xray_endpoint if service == "xray" else settings.logs_endpoint
    config = Config(
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=8,
        # None: those of the environment. Offline an HTTP proxy leads nowhere.
        proxies={} if settings.mode == "offline" else None,
        retries={"mode": "standard", "max_attempts": ATTEMPTS if not endpoint else 3},
    )
    return session.client(service, endpoint_url=endpoint or None, config=config)


@contextmanager
def readable(vendor: str) -> Iterator[None]:
    """Turn what boto3 raises into Unreadable."""
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "error")
        message = error_line(Exception(error.response.get("Error", {}).get("Message", "")))
        if code in _REFUSED:
            raise Unreadable(
                f"{vendor} does not let this key read ({code}: {message})", "check AWS_ACCESS_KEY_ID and its policy", final=True
            ) from error
        raise Unreadable(f"{vendor} answered {error.operation_name} with {code} ({message})") from error
    except NoCredentialsError as error:
        raise Unreadable(
            f"no AWS credentials to read {vendor} with", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in", final=True
        ) from error
    except EndpointConnectionError as error:
        raise Unreadable(f"{vendor} does not answer ({error_line(error)})", "`make status` shows what runs") from error
    except ReadTimeoutError as error:
        raise Unreadable(f"{vendor} did not answer in time") from error
    except BotoCoreError as error:
        raise Unreadable(f"{vendor} cannot be read ({error_line(error)})", "`make status` shows what runs") from error
