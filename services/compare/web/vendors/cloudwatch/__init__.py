"""CloudWatch's pages: log groups, streams, tail, search, and metrics as they arrive, read through its public API.

===========  ========================================================================================================
``groups``   ``/vendors/cloudwatch``: log groups; the streams of one; the events of a stream
``tail``     a log group's newest lines, and those that come while one looks
``search``   a log group's lines in a time range, by a filter pattern
``metrics``  the metrics that lines in the embedded metric format hold, and those CloudWatch lists
``client``   what is asked of the API
``lines``    a log event as it is shown: pure, and for messages of any form
``emf``      metrics in log events: pure
===========  ========================================================================================================

A log group's name has slashes, and may begin with one, so it is a parameter and no part of a path.
"""

from __future__ import annotations

from services.compare.web.vendors.cloudwatch import groups, metrics, search, tail
from services.compare.web.vendors.pages import vendor_blueprint

#: The tabs: name, label, endpoint. A further page is a module, a rule below and a line here.
TABS = (
    ("groups", "Log groups", "cloudwatch.groups"),
    ("tail", "Tail", "cloudwatch.tail"),
    ("search", "Search", "cloudwatch.search"),
    ("metrics", "Metrics", "cloudwatch.metrics"),
)

blueprint = vendor_blueprint("cloudwatch", TABS)
blueprint.add_url_rule("", "groups", groups.index)
blueprint.add_url_rule("/streams", "streams", groups.streams)
blueprint.add_url_rule("/events", "events", groups.events)
blueprint.add_url_rule("/tail", "tail", tail.show)
blueprint.add_url_rule("/tail/lines", "tail_lines", tail.lines)
blueprint.add_url_rule("/search", "search", search.show)
blueprint.add_url_rule("/metrics", "metrics", metrics.show)
