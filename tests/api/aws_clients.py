"""boto3 clients for the local AWS whose every answer is held against botocore's service model."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import boto3
import botocore.config
import botocore.exceptions
import pytest

from tests.api.aws_answers import Members, checked
from tests.api.servers import Vendor


def client(vendor: Vendor, service: str, members: Members | None = None, **overrides: Any) -> Any:
    """A boto3 client that asks once (no retries); for X-Ray and Logs it fails when an answer breaks the service model.

    ``members`` collects what came in the answers.
    """
    arguments = {
        "endpoint_url": vendor.url,
        "region_name": vendor.settings.aws_region,
        "aws_access_key_id": vendor.settings.aws_access_key_id,
        "aws_secret_access_key": vendor.settings.aws_secret_access_key.get_secret_value(),
        # Without its own validation, so that a bad request reaches the server.
        "config": botocore.config.Config(retries={"max_attempts": 0}, max_pool_connections=32, parameter_validation=False),
    }
    make: Any = boto3.client
    made = make(service, **(arguments | overrides))
    if service in ("xray", "logs"):
        checked(made, members)
    return made


def aws_cli(vendor: Vendor, home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run AWS's own command line against ``vendor``; ``home`` keeps it away from this machine's ~/.aws."""
    environment = os.environ | {
        "HOME": str(home),
        "AWS_CONFIG_FILE": str(home / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(home / "credentials"),
        "AWS_ENDPOINT_URL": vendor.url,
        "AWS_DEFAULT_REGION": vendor.settings.aws_region,
        "AWS_ACCESS_KEY_ID": vendor.settings.aws_access_key_id,
        "AWS_SECRET_ACCESS_KEY": vendor.settings.aws_secret_access_key.get_secret_value(),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_PAGER": "",
    }
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION"):
        environment.pop(name, None)
    program = Path(sys.executable).with_name("aws")
    return subprocess.run(
        [str(program), *arguments], env=environment | variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
    )


def refused(call: Any, code: str, words: str, status: int = 400) -> None:
    """The call must fail with this error, in whose message these words stand."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call()
    assert caught.value.response["Error"]["Code"] == code
    assert words in caught.value.response["Error"]["Message"]
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def trace_id(epoch: float | None = None) -> str:
    """A new trace id of X-Ray's form; ``epoch`` in seconds, now by default."""
    return f"1-{int(time.time() if epoch is None else epoch):08x}-{secrets.token_hex(12)}"


def w3c_trace_id() -> str:
    """A trace id whose first digits are no time: as W3C's random ids look to X-Ray. Far in the future, so always so."""
    return f"1-f{secrets.token_hex(4)[:7]}-{secrets.token_hex(12)}"


def segment_id() -> str:
    return secrets.token_hex(8)


def segment(trace: str, **fields: Any) -> dict[str, Any]:
    """A valid completed segment document, changed by ``fields``; a field given as None is left out."""
    now = time.time()
    document = {"name": "Cruddur", "id": segment_id(), "trace_id": trace, "start_time": now - 0.25, "end_time": now} | fields
    return {key: value for key, value in document.items() if value is not None}


def put(xray: Any, *documents: dict[str, Any]) -> None:
    """Send documents, all of which must be taken."""
    answer = xray.put_trace_segments(TraceSegmentDocuments=[json.dumps(document) for document in documents])
    assert answer["UnprocessedTraceSegments"] == []


def get_trace(xray: Any, trace: str) -> list[dict[str, Any]]:
    """The documents of one trace."""
    traces = xray.batch_get_traces(TraceIds=[trace])["Traces"]
    return [json.loads(one["Document"]) for one in traces[0]["Segments"]] if traces else []


def summaries(xray: Any, start: float, end: float, **arguments: Any) -> list[dict[str, Any]]:
    """Every summary of a time range, over all pages."""
    pages = xray.get_paginator("get_trace_summaries").paginate(StartTime=start, EndTime=end, **arguments)
    return [summary for page in pages for summary in page["TraceSummaries"]]
