"""The local Honeycomb: OTLP and the Events API in, the Query Data API out.

``python -m localstack.honeycomb`` runs it. How the parts divide the work:

=============== ==================================================================
``layout``      one event as one row: which columns are promoted, how rows become Arrow
``otlp``        OTLP message in, rows out (pure)
``events``      Events API body in, rows out (pure)
``spec``        query specification: validation (pure)
``query``       validated query in, SQL and parameters out (pure)
``models``      state: the DuckDB file, datasets, columns, queries; knows no HTTP
``results``     runs queries and holds their results
``encoding``    Content-Encoding
``problems``    the vendor's error bodies
``otlp_http``   the three OTLP/HTTP endpoints
``otlp_grpc``   the three OTLP/gRPC services
``routes``      everything below ``/1/``
=============== ==================================================================
"""
