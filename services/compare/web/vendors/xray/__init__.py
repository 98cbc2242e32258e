"""X-Ray's pages, through X-Ray's public API: the service map, traces, groups, insights, sampling and the account's settings.

============  ===============================================================================================
``frame``     the blueprint, what every page asks with, and how a call that failed becomes a part of the page
``client``    the calls, each a page's worth, in plain Python
``times``     the time range in the address
``graphs``    pure: services and edges of a graph, their figures and histograms
``segments``  pure: a trace's documents as a timeline
``summaries`` pure: traces in a list
``sampling``  pure: rules, and what they sampled
``…_page``    one module a page
============  ===============================================================================================

Nothing here changes anything at X-Ray. Local or real: endpoint and keys are the only difference.
"""

from services.compare.web.vendors.xray import account_page, groups_page, insights_page, map_page, sampling_page, trace_page, traces_page
from services.compare.web.vendors.xray.frame import blueprint

__all__ = ["account_page", "blueprint", "groups_page", "insights_page", "map_page", "sampling_page", "trace_page", "traces_page"]
