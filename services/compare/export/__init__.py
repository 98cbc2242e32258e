"""A run as one file, to be looked at by somebody who has none of its backends.

The file is a ZIP archive (stored, not packed: the tables are) of

==========================  ==================================================================================================
``parallax-run.json``       first: ``format`` (version of this list), ``run``, ``made`` (epoch seconds), ``documents`` (path →
                            ``count`` and, where it is not all there, ``reason``), ``members`` (name → ``bytes``, ``sha256``)
``manifest.json``           the run's manifest (:class:`loadtest.runs.Manifest`)
``record.json``             the report document (:mod:`services.compare.record`)
``requests.parquet``        the ledger
``observations.parquet``    what every backend was seen to have
``outcomes.parquet``        verdict and measures of each request on each path
``strays.parquet``          what no ledger line explains
``undeclared.parquet``      what arrived beside what is declared; not in form 1
``documents.parquet``       the vendors' own records: path, trace_id, id, document (JSON text)
==========================  ==================================================================================================

Apache Parquet and JSON throughout, so that anything reads it: ``SELECT * FROM 'outcomes.parquet'`` in DuckDB, once unpacked.

``documents``   collects the vendors' own records, once, while they can still be read
``secrets``     takes every secret out of what is written
``forms``       what each member must look like
``writing``     ``make export``
``reading``     ``make import``
"""
