"""One run, from the matrix of paths and verdicts down to the requests in a cell.

==============  ================================================================================================
``overview``    ``/runs/<id>``: facts, matrix, what is not as expected, measures, plots; a run that was not compared
``requests``    ``/runs/<id>/requests``: the requests, filtered, sorted, page by page
``attributes``  ``/runs/<id>/attributes``: what became of the declared attributes
``strays``      ``/runs/<id>/strays``: what no ledger line explains
``filters``     which requests are asked for: between an address and SQL, pure
``figures``     what is asked of a record, as plots
``memory``      answers that a record gives once
==============  ================================================================================================
"""

from __future__ import annotations

from flask import Blueprint

from services.compare.web.run import attributes, overview, requests, strays

blueprint = Blueprint("run", __name__, url_prefix="/runs/<run_id>")
blueprint.add_url_rule("", "overview", overview.show)
blueprint.add_url_rule("/requests", "requests", requests.show)
blueprint.add_url_rule("/attributes", "attributes", attributes.show)
blueprint.add_url_rule("/strays", "strays", strays.show)
