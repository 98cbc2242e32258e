"""The index of traces: the facts of :mod:`localstack.aws.xray.facts`, derived in SQL from the stored documents, in tables.

Writing stores documents and nothing else. The index is brought up to date before it is read and, when much has come, in
between: only traces that changed are derived again, all of them in a few set-based statements, so that nothing is parsed
in Python. A file without an index (an older one) gets it at its first reading.
"""

from __future__ import annotations

#: Ids are kept as numbers, traces as the UUID their 32 digits are: that is what makes joining a million of them fast.
SCHEMA = (
    """CREATE TABLE xray_trace (
        trace UUID NOT NULL,
        trace_id VARCHAR NOT NULL,           -- as X-Ray writes it: 1-<8>-<24>
        began DOUBLE NOT NULL,               -- where TimeRangeType TraceId finds it: the id's time, or the start; never changes
        first_commit BIGINT NOT NULL,        -- the commit that brought its first document: what pages hold on to
        start_time DOUBLE NOT NULL,
        end_time DOUBLE NOT NULL,
        duration DOUBLE NOT NULL,
        root UBIGINT,                        -- id of the root's node
        response_time DOUBLE,                -- the root's, NULL while it is in progress
        ok BOOLEAN NOT NULL, error BOOLEAN NOT NULL, fault BOOLEAN NOT NULL, throttle BOOLEAN NOT NULL,
        partial BOOLEAN NOT NULL,
        http_url VARCHAR, http_method VARCHAR, http_status INTEGER, http_useragent VARCHAR, http_clientip VARCHAR
    )""",
    """CREATE TABLE xray_node (
        trace UUID NOT NULL,
        began DOUBLE NOT NULL,               -- the trace's: lets a time range skip what lies outside it
        id UBIGINT NOT NULL,
        name VARCHAR NOT NULL,
        type VARCHAR,
        account_id VARCHAR,
        inferred BOOLEAN NOT NULL,
        entry BOOLEAN NOT NULL,
        start_time DOUBLE NOT NULL,
        end_time DOUBLE,
        ok BOOLEAN NOT NULL, error BOOLEAN NOT NULL, fault BOOLEAN NOT NULL, throttle BOOLEAN NOT NULL,
        http_url VARCHAR, http_method VARCHAR, http_status INTEGER, http_useragent VARCHAR, http_clientip VARCHAR,
        user_name VARCHAR, availability_zone VARCHAR, instance_id VARCHAR, resource_arn VARCHAR
    )""",
    """CREATE TABLE xray_edge (
        trace UUID NOT NULL,
        began DOUBLE NOT NULL,
        source UBIGINT,                      -- NULL: the client
        target UBIGINT NOT NULL,
        via UBIGINT,
        source_name VARCHAR, source_type VARCHAR, source_account_id VARCHAR,
        target_name VARCHAR NOT NULL, target_type VARCHAR, target_account_id VARCHAR,
        alias_name VARCHAR, alias_type VARCHAR,   -- what the caller took the target for; NULL where it is inferred of just that
        start_time DOUBLE NOT NULL,
        end_time DOUBLE,
        ok BOOLEAN NOT NULL, error BOOLEAN NOT NULL, fault BOOLEAN NOT NULL, throttle BOOLEAN NOT NULL
    )""",
    """CREATE TABLE xray_annotation (
        trace UUID NOT NULL,
        began DOUBLE NOT NULL,
        node UBIGINT,
        key VARCHAR NOT NULL,
        string_value VARCHAR, number_value DOUBLE, boolean_value BOOLEAN   -- exactly one of them
    )""",
    """CREATE TABLE xray_failure (
        trace UUID NOT NULL,
        began DOUBLE NOT NULL,
        node UBIGINT,
        entity UBIGINT NOT NULL,
        name VARCHAR, message VARCHAR, remote BOOLEAN NOT NULL
    )""",
)
