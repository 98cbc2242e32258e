"""AWS clients of the benchmark: one attempt a call, so that a refusal is an error and not a slower figure."""

from __future__ import annotations

from typing import Any

import boto3
from botocore.config import Config

from compose.settings import Settings


def aws(settings: Settings, service: str, endpoint: str) -> Any:
    """A client with the sandbox's keys for one service at ``endpoint``."""
    session: Any = boto3.session.Session(
        aws_access_key_id=settings.aws_access_key_id,
        aws_secret_access_key=settings.aws_secret_access_key.get_secret_value(),
        region_name=settings.aws_region,
    )
    configuration = Config(retries={"total_max_attempts": 1}, max_pool_connections=16, read_timeout=60)
    return session.client(service, endpoint_url=endpoint, config=configuration)
