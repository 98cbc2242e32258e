"""Sends a run's recorded telemetry again through a Collector configuration: to try a change of it without traffic.

The process `collector` records what it accepts (``collector/config/recording.yaml``). A replay takes what belongs to one run, makes a new
run of it (``rewrite``), and sends it to a Collector that it starts for that alone (``trial``). The new run is compared like any other.

``recorded`` reads the files, ``rewrite`` selects and rewrites (pure), ``send`` is the OTLP client, ``trial`` the Collector under test,
``command`` puts them together, ``outcome`` is what it says in the end.
"""
