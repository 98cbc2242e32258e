"""AWS clients as the readers need them, and AWS errors as reasons. Of botocore, what boto3 makes its clients with: boto3 adds none
that is used here, and a tenth of a second and 10 MB to every start."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, overload

import botocore.session
import orjson
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, NoCredentialsError, ReadTimeoutError
from botocore.loaders import create_loader

from compose.settings import Settings
from services.compare.readers.base import Unreadable, error_line

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
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


#: Seconds: of a page that somebody waits for, an answer that takes longer is none.
PAGE_SECONDS = 8


@overload
def client(settings: Settings, service: Literal["xray"], hurry: bool = False) -> XRayClient: ...
@overload
def client(settings: Settings, service: Literal["logs"], hurry: bool = False) -> CloudWatchLogsClient: ...
@overload
def client(settings: Settings, service: Literal["cloudwatch"], hurry: bool = False) -> CloudWatchClient: ...
def client(settings: Settings, service: Literal["xray", "logs", "cloudwatch"], hurry: bool = False) -> Any:
    """A client for X-Ray, CloudWatch Logs or CloudWatch (metrics); what is empty in the settings is left to botocore's own chain.

    ``hurry``: for a page that somebody waits for, so nothing is waited for long or tried more than twice.
    """
    secret, token = settings.aws_secret_access_key.get_secret_value(), settings.aws_session_token.get_secret_value()
    # A session each, so that credentials which change are found anew, and one loader for all: what is known of the services, 10 MB.
    session = botocore.session.get_session()
    session.register_component("data_loader", _loader())
    # Metrics have no setting of their own: the local AWS serves all, and online the region does.
    others = settings.logs_endpoint if service == "logs" or settings.mode == "offline" else ""
    endpoint = settings.xray_endpoint if service == "xray" else others
    config = Config(
        connect_timeout=2 if hurry else 5,
        read_timeout=PAGE_SECONDS if hurry else 60,
        max_pool_connections=8,
        # A fixed name, as the other readers give: botocore would put one together twice a call, a tenth of its time.
        user_agent="parallax-compare",
        # None: those of the environment. Offline an HTTP proxy leads nowhere.
        proxies={} if settings.mode == "offline" else None,
        retries={"mode": "standard", "max_attempts": 2 if hurry else ATTEMPTS if not endpoint else 3},
    )
    made = session.create_client(
        service,
        region_name=settings.aws_region,
        aws_access_key_id=settings.aws_access_key_id or None,
        aws_secret_access_key=secret or None,
        aws_session_token=token or None,
        endpoint_url=endpoint or None,
        config=config,
    )
    if service != "cloudwatch":
        made.meta.events.register(f"before-parse.{service}", _parse)
    return made


@lru_cache(maxsize=1)
def _loader() -> Any:
    return create_loader(os.environ.get("AWS_DATA_PATH"))


def _parse(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Read an answer's JSON in botocore's stead, which looks each member up in its model: ten times the work, and most of a reader's.

    Both services answer in plain JSON; what is lost is the conversion of timestamps. Errors, and what is not JSON, are left to botocore.
    """
    if response_dict["status_code"] != 200:
        return
    with contextlib.suppress(orjson.JSONDecodeError):
        members = orjson.loads(response_dict["body"])
        if isinstance(members, dict):
            customized_response_dict.update((name, value) for name, value in members.items() if value is not None)
            response_dict["body"] = b"{}"


@contextmanager
def readable(vendor: str) -> Iterator[None]:
    """Turn what botocore raises into Unreadable."""
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
