"""The load: seeded traffic against cruddur, and the ledger of what was really sent.

``python -m loadtest`` (``make load``) makes one run. :mod:`loadtest.plan` decides what is sent, :mod:`loadtest.locustfile` sends it,
:mod:`loadtest.ledger` and :mod:`loadtest.runs` are how the rest of Parallax reads what happened. Only the locustfile imports Locust.
"""
