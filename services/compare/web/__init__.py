"""The web page: runs, one run, one request in four panes, what it costs, two runs against each other, and each vendor's own page.

=====================  ==========================================================================================
``app``                the factory: settings in, Flask application out
``security``           who may ask: Host, Origin, and what a page may load
``site``               what every page asks for: settings, a run, its record; what is not there becomes a page that says so
``text``, ``numbers``  how values of telemetry, numbers and times are shown
``figures``            plots: data for the browser, and the same as a table
``runs``               ``/``
``run``                ``/runs/<id>`` and the requests in it
``request``            ``/runs/<id>/requests/<trace id>``
``vendors``            ``/vendors/<vendor>``, one module a vendor
``templates``          Jinja; ``layout.html`` is every page's frame, ``parts.html`` the macros
``static``             style sheets, small ES modules, ``vendor/`` what others wrote
=====================  ==========================================================================================

Pages are rendered here and work without JavaScript; htmx and the modules only make them quicker to use.
"""
