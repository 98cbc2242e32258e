"""Honeycomb's pages: what its console shows, read through its public Query Data API.

============  =========================================================================================================
``datasets``  ``/vendors/honeycomb``: datasets; the columns of one
``events``    a dataset's newest events
``traces``    one trace by its id, as a waterfall
``query``     a query from a form, its result as a table and a plot
``client``    what is asked of the API
``form``      between the form's fields, the query's JSON, and what the vendor says is wrong with it: pure
``results``   a query's answer as a table and plots: pure
``waterfall`` spans, parents before their children, with their place on the trace's time: pure
============  =========================================================================================================
"""

from __future__ import annotations

from services.compare.web.vendors.honeycomb import datasets, events, query, traces
from services.compare.web.vendors.pages import vendor_blueprint

#: The tabs: name, label, endpoint. A further page is a module, a rule below and a line here.
TABS = (
    ("datasets", "Datasets", "honeycomb.datasets"),
    ("events", "Recent events", "honeycomb.events"),
    ("query", "Query", "honeycomb.query"),
    ("traces", "Trace", "honeycomb.traces"),
)

blueprint = vendor_blueprint("honeycomb", TABS)
blueprint.add_url_rule("", "datasets", datasets.index)
blueprint.add_url_rule("/datasets/<slug>", "dataset", datasets.show)
blueprint.add_url_rule("/events", "events", events.show)
blueprint.add_url_rule("/query", "query", query.show)
blueprint.add_url_rule("/traces", "traces", traces.find)
blueprint.add_url_rule("/traces/<trace>", "trace", traces.show)
blueprint.add_url_rule("/traces/<trace>/raw", "trace_raw", traces.raw_trace)
