"""Addresses of one trace in the vendors' own pages, as they are online. Pure: nothing here asks anybody.

===========  =======================================================================================================================
Honeycomb    "Share a Trace" (Honeycomb documentation): team, environment and dataset by slug, the time in epoch seconds. Team and
             environment are what ``GET /1/auth`` says of the key ("Auth", API reference); Classic has no environments. The subdomain
             is that of the API: ``api.eu1.honeycomb.io`` belongs to ``ui.eu1.honeycomb.io``.
X-Ray        the address that the CloudWatch console itself shows for a trace; AWS documents none. X-Ray's own form of the id.
CloudWatch   the address that Logs Insights itself shows for a query, which is written as JSURL, twice escaped; AWS documents neither.
Rollbar      "UUIDs" (Rollbar documentation): an occurrence by the uuid that its sender gave it.
===========  =======================================================================================================================
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit


def honeycomb(api: str, auth: Mapping[str, Any], dataset: str, trace_id: str, start: float, end: float) -> str | None:
    """``api``: the API's address. ``auth``: the answer of ``/1/auth``. ``start``, ``end``: of the trace, epoch seconds. None where the
    answer names no team, or the API is not Honeycomb's."""
    host = urlsplit(api).hostname or ""
    match = re.fullmatch(r"api((?:\.[a-z0-9-]+)?)\.honeycomb\.io", host)
    team, environment = _slug(auth, "team"), _slug(auth, "environment")
    if match is None or not team:
        return None
    within = f"/environments/{quote(environment, safe='')}" if environment else ""
    # A minute on both sides: clocks differ, and without a time Honeycomb looks at the last two hours only.
    asked = urlencode({"trace_id": trace_id, "trace_start_ts": int(start) - 60, "trace_end_ts": int(end) + 60})
    return f"https://ui{match[1]}.honeycomb.io/{quote(team, safe='')}{within}/datasets/{dataset_slug(dataset)}/trace?{asked}"


def dataset_slug(name: str) -> str:
    """A dataset's slug: lower case, with hyphens for what is no letter or digit ("Datasets", Honeycomb's API reference)."""
    return re.sub(r"[^a-z0-9._]+", "-", name.lower()).strip("-") or "unknown_service"


def xray(region: str, trace_id: str) -> str:
    return f"{_console(region)}#xray:traces/1-{trace_id[:8]}-{trace_id[8:]}"


def cloudwatch(region: str, log_group: str, trace_id: str, start: float, end: float) -> str:
    """Logs Insights with a query for the lines that have the trace id."""
    query = f'fields @timestamp, @message\n| filter @message like "{trace_id}"\n| sort @timestamp asc'
    # A minute before, and an hour after: a line may be sent late, and has its own time then.
    detail = (
        f"~(end~'{_moment(end + 3600)}~start~'{_moment(start - 60)}~timeType~'ABSOLUTE~tz~'UTC"
        f"~editorString~'{_jsurl(query)}~source~(~'{_jsurl(log_group)}))"
    )
    return f"{_console(region)}#logsV2:logs-insights$3FqueryDetail$3D{detail}"


def rollbar(uuid: str) -> str:
    return f"https://rollbar.com/occurrence/uuid/?{urlencode({'uuid': uuid})}"


def _slug(auth: Mapping[str, Any], of: str) -> str:
    named = auth.get(of)
    slug = named.get("slug") if isinstance(named, Mapping) else None
    return slug if isinstance(slug, str) else ""


def _console(region: str) -> str:
    """The CloudWatch console of a region; China and GovCloud have domains of their own ("AWS service endpoints", partitions)."""
    domain = "amazonaws.cn" if region.startswith("cn-") else "amazonaws-us-gov.com" if region.startswith("us-gov-") else "aws.amazon.com"
    region = quote(region, safe="")
    return f"https://{region}.console.{domain}/cloudwatch/home?region={region}"


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H*3a%M*3a%S.000Z", time.gmtime(seconds))


def _jsurl(text: str) -> str:
    """A text within JSURL: letters, digits, ``_``, ``-`` and ``.`` as they are, the rest by its code."""
    return "".join(
        each if each in "_-." or (each.isascii() and each.isalnum()) else f"*{ord(each):02x}" if ord(each) < 256 else f"**{ord(each):04x}"
        for each in text
    )
