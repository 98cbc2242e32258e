"""The local AWS: X-Ray and CloudWatch Logs on a DuckDB file, moto for every other service.

``python -m localstack.aws`` serves it on AWS_PORT. A request's way through the package: ``app`` (WSGI) asks ``routing``
which service it is for and ``signature`` who signed it; ``protocol`` parses and checks it against botocore's service
model; ``xray.responses`` or ``logs.responses`` translate it for the ``models`` beside them, which hold the state and know no
HTTP; anything else goes to ``fallback``, which is moto.
"""
