"""Tail: a log group's newest lines, and those that come while one looks.

StartLiveTail would push them, but it belongs to another endpoint (``streaming-logs``), is billed by the minute, and nobody speaks it
offline. So the page asks FilterLogEvents again and again, for what was *ingested* since the last answer: a line may come with a time
that lies before others that are on the page already.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from flask import render_template, request

from services.compare.web.site import refuse, site
from services.compare.web.vendors.asking import Asked, ask
from services.compare.web.vendors.cloudwatch.client import CloudWatch, Page
from services.compare.web.vendors.cloudwatch.groups import required
from services.compare.web.vendors.cloudwatch.lines import Line, line, several_streams

#: Lines the page begins with, lines it keeps, and lines of one answer at most.
FIRST: Final = 50
KEPT: Final = 200
#: Seconds: how far back the page begins, and how much later than its own time a line may be ingested and still be seen.
BACK: Final = 3600
LATE: Final = 15


def show() -> str:
    group = request.args.get("group", "")
    settings = site().settings
    cloudwatch = CloudWatch.of_site()
    found: Asked[Page] = Asked(Page(()))
    now = time.time()
    if group:
        found = ask("CloudWatch Logs", cloudwatch.search, group, now - BACK, now + 60, newest_first=True, limit=FIRST)
    groups = ask("CloudWatch Logs", cloudwatch.groups)
    shown = sorted((line(event) for event in found.value.items), key=lambda each: each.at) if found.value else []
    return render_template(
        "vendors/cloudwatch/tail.html",
        found=found,
        lines=shown,
        several=several_streams(shown),
        since=_newest(shown, int(now * 1000)),
        group=group,
        groups=groups.value.items if groups.value else (),
        groups_problem=groups.problem,
        kept=KEPT,
        # CloudWatch allows an account few FilterLogEvents a second in a region, and compare reads by them, too.
        every="2s" if settings.mode == "offline" else "5s",
    )


def lines() -> str:
    """The lines that were ingested at ``?since=`` (milliseconds since the epoch) or later; the page leaves out those it has."""
    group, since = required("group"), request.args.get("since", "")
    if not (since.isascii() and since.isdigit() and len(since) <= 14):
        refuse(f"since={since} is no time in milliseconds since the epoch.")
    found = ask("CloudWatch Logs", _since, CloudWatch.of_site(), group, int(since))
    shown = found.value or []
    return render_template(
        "vendors/cloudwatch/tail_lines.html",
        found=found,
        lines=shown[-KEPT:],
        several=request.args.get("streams") == "yes" or several_streams(shown),
        since=_newest(shown, int(since)),
    )


def _since(cloudwatch: CloudWatch, group: str, since: int) -> list[Line]:
    pages = cloudwatch.every(group, since / 1000 - LATE, time.time() + 60)
    return sorted((line(event) for page in pages for event in page if event.get("ingestionTime", 0) >= since), key=lambda each: each.at)


def _newest(shown: Sequence[Line], otherwise: int) -> int:
    return max((each.ingested for each in shown if each.ingested is not None), default=otherwise)
