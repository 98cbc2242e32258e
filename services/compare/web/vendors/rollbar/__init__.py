"""Rollbar's pages: what its console shows, read through its public API. Nothing is changed there.

===============  =======================================================================
``items``        ``/vendors/rollbar``: items, filtered, page by page; one item
``occurrences``  occurrences, newest first; one with its stack
``reports``      the most active items, occurrences over time
``deploys``      deploys
``client``       what is asked of the API, and in which form it answers
``shapes``       an occurrence's payload as it is shown: pure, and for payloads of any form
===============  =======================================================================
"""

from __future__ import annotations

from services.compare.web.vendors.pages import vendor_blueprint
from services.compare.web.vendors.rollbar import deploys, items, occurrences, reports

#: The tabs: name, label, endpoint. A further page is a module, a rule below and a line here.
TABS = (
    ("items", "Items", "rollbar.items"),
    ("occurrences", "Occurrences", "rollbar.occurrences"),
    ("reports", "Reports", "rollbar.reports"),
    ("deploys", "Deploys", "rollbar.deploys"),
)

blueprint = vendor_blueprint("rollbar", TABS)
blueprint.add_url_rule("", "items", items.index)
blueprint.add_url_rule("/items/<int:item_id>", "item", items.show)
blueprint.add_url_rule("/items/<int:item_id>/raw", "item_raw", items.raw_item)
blueprint.add_url_rule("/occurrences", "occurrences", occurrences.index)
blueprint.add_url_rule("/occurrences/<int:occurrence_id>", "occurrence", occurrences.show)
blueprint.add_url_rule("/occurrences/uuid/<uuid>", "occurrence_by_uuid", occurrences.by_uuid)
blueprint.add_url_rule("/occurrences/<int:occurrence_id>/raw", "occurrence_raw", occurrences.raw_occurrence)
blueprint.add_url_rule("/reports", "reports", reports.show)
blueprint.add_url_rule("/deploys", "deploys", deploys.index)
