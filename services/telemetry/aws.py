"""Clients of AWS's APIs. They share one botocore session, since each session reads AWS's descriptions (some 5 MB) for itself."""

from __future__ import annotations

from functools import cache
from typing import Any

import botocore.session
from botocore.config import Config

from compose.settings import Settings


@cache
def _session() -> Any:
    return botocore.session.get_session()


def client(service: str, settings: Settings, endpoint: str, config: Config) -> Any:
    """A client of ``service`` with the settings' region and credentials; ``endpoint`` empty is AWS's own."""
    return _session().create_client(
        service,
        region_name=settings.aws_region,
        endpoint_url=endpoint or None,
        aws_access_key_id=settings.aws_access_key_id or None,
        aws_secret_access_key=settings.aws_secret_access_key.get_secret_value() or None,
        aws_session_token=settings.aws_session_token.get_secret_value() or None,
        config=config,
    )
