"""Log groups, the streams of one, and the events of a stream."""

from __future__ import annotations

from flask import render_template, request

from services.compare.web.site import refuse
from services.compare.web.vendors.asking import ask
from services.compare.web.vendors.cloudwatch.client import CloudWatch
from services.compare.web.vendors.cloudwatch.lines import line

#: Milliseconds since the epoch up to which a calendar goes.
_LATEST = 32_503_680_000_000


def index() -> str:
    prefix, token = request.args.get("prefix", "").strip(), request.args.get("token", "")
    found = ask("CloudWatch Logs", CloudWatch.of_site().groups, prefix, token)
    return render_template("vendors/cloudwatch/groups.html", found=found, prefix=prefix, token=token, seconds=seconds)


def streams() -> str:
    group = required("group")
    prefix, token = request.args.get("prefix", "").strip(), request.args.get("token", "")
    found = ask("CloudWatch Logs", CloudWatch.of_site().streams, group, prefix, token)
    return render_template("vendors/cloudwatch/streams.html", found=found, group=group, prefix=prefix, token=token, seconds=seconds)


def events() -> str:
    group, stream = required("group"), required("stream")
    token, from_head = request.args.get("token", ""), request.args.get("from") == "head"
    found = ask("CloudWatch Logs", CloudWatch.of_site().events, group, stream, token, from_head)
    shown = [line(event) for event in found.value.events] if found.value else []
    return render_template("vendors/cloudwatch/events.html", found=found, lines=shown, group=group, stream=stream, token=token)


def required(name: str) -> str:
    """A parameter without which there is nothing to show."""
    value = request.args.get(name, "")
    if not value:
        refuse(f"The address does not say which {name}.", f"Add {name}=…, or choose one among the log groups.", f"Which {name}?")
    return value


def seconds(milliseconds: object) -> float | None:
    """A time as the API gives it, in epoch seconds."""
    number = isinstance(milliseconds, int | float) and not isinstance(milliseconds, bool) and 0 <= milliseconds < _LATEST
    return milliseconds / 1000 if number else None  # type: ignore[operator]
