"""Clients of the benchmark: one attempt a call, so that a refusal is an error and not a slower figure."""

from __future__ import annotations

from typing import Any

import boto3
import requests
from botocore.config import Config

from compose.settings import Settings
from tests.waiting import until


def session(settings: Settings) -> Any:
    """A boto3 session with the sandbox's keys."""
    return boto3.session.Session(
        aws_access_key_id=settings.aws_access_key_id,
        aws_secret_access_key=settings.aws_secret_access_key.get_secret_value(),
        region_name=settings.aws_region,
    )


def aws(settings: Settings, service: str, endpoint: str) -> Any:
    """A client with the sandbox's keys for one service at ``endpoint``."""
    configuration = Config(retries={"total_max_attempts": 1}, max_pool_connections=16, read_timeout=60)
    return session(settings).client(service, endpoint_url=endpoint, config=configuration)


def honeycomb(settings: Settings) -> requests.Session:
    """A session with the key that reads back."""
    made = requests.Session()
    made.headers["X-Honeycomb-Team"] = settings.honeycomb_query_key.get_secret_value()
    return made


def query(session: requests.Session, endpoint: str, dataset: str, spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Run a query of Honeycomb's Query Data API to its end: the data of each result row. Raises requests.HTTPError."""

    def answer(response: requests.Response) -> Any:
        response.raise_for_status()
        return response.json()

    created = answer(session.post(f"{endpoint}/1/queries/{dataset}", json=spec, timeout=60))
    body = {"query_id": created["id"], "disable_series": True, "limit": 10_000}
    started = answer(session.post(f"{endpoint}/1/query_results/{dataset}", json=body, timeout=60))
    location = f"{endpoint}/1/query_results/{dataset}/{started['id']}"

    def complete() -> Any:
        result = answer(session.get(location, timeout=60))
        return result if result["complete"] else None

    return [row["data"] for row in until(complete, 60, "the query's result")["data"]["results"]]
