-- Tables and views of services/compare/verdicts.py, in an in-memory DuckDB. Their rows are explained there.

CREATE TABLE ledger (sequence INTEGER, trace_id VARCHAR, class INTEGER, answered BOOLEAN, start DOUBLE, duration_ms DOUBLE,
                     xray_sdk BOOLEAN, otel BOOLEAN);
CREATE TABLE path (path TINYINT, decider VARCHAR, settled BOOLEAN, readable BOOLEAN);
CREATE TABLE signal (signal INTEGER, path TINYINT, sampled BOOLEAN);
CREATE TABLE requirement (class INTEGER, signal INTEGER, n INTEGER, name_n INTEGER);
CREATE TABLE label (label INTEGER, path TINYINT, sampled BOOLEAN, open BOOLEAN);
CREATE TABLE label_requirement (class INTEGER, label INTEGER, n INTEGER);
CREATE TABLE subject (subject INTEGER, label INTEGER);
CREATE TABLE satisfies (signal INTEGER, subject INTEGER, complete BOOLEAN);
CREATE TABLE unknown (path TINYINT, trace_id VARCHAR, why VARCHAR);
CREATE TABLE observation (subject INTEGER, trace_id VARCHAR, id VARCHAR, parent_id VARCHAR, start DOUBLE, duration_ms DOUBLE,
                          ingested_at DOUBLE, error BOOLEAN, deliveries INTEGER, units BIGINT);

CREATE TABLE verdict (sequence INTEGER, path TINYINT, verdict VARCHAR);

-- A request on a path: whether its spans and segments were sampled.
CREATE VIEW request AS
SELECT ledger.sequence, ledger.trace_id, ledger.class, ledger.answered, ledger.start, ledger.duration_ms, path.path,
       CASE path.decider WHEN 'xray_sdk' THEN ledger.xray_sdk WHEN 'otel' THEN ledger.otel ELSE TRUE END AS decision
FROM ledger CROSS JOIN path;

-- One thing, however often it was delivered.
CREATE VIEW thing AS
SELECT trace_id, label, id, sum(deliveries) AS deliveries
FROM observation JOIN subject USING (subject) GROUP BY trace_id, label, id;

-- How much a request shows of each signal that it requires.
CREATE VIEW shown AS
SELECT sequence, signal, count(*) AS named, count(*) FILTER (WHERE complete) AS complete
FROM (SELECT ledger.sequence, signal, id, bool_or(complete) AS complete
      FROM observation JOIN ledger USING (trace_id) JOIN satisfies USING (subject) JOIN requirement USING (class, signal)
      GROUP BY ledger.sequence, signal, id)
GROUP BY sequence, signal;

-- Each signal that a request requires on a path, and what came of it. As a table it is checked: most of what follows reads it.
CREATE VIEW checking AS
SELECT request.sequence, request.trace_id, request.path, requirement.signal, requirement.n, requirement.name_n, signal.sampled,
       coalesce(shown.named, 0) AS named, coalesce(shown.complete, 0) AS complete,
       signal.sampled AND request.decision IS FALSE AS skipped,
       signal.sampled AND request.decision IS NULL AS undecided,
       coalesce(shown.complete, 0) >= requirement.n AND coalesce(shown.named, 0) >= requirement.name_n AS ok
FROM request
JOIN requirement USING (class)
JOIN signal ON signal.signal = requirement.signal AND signal.path = request.path
LEFT JOIN shown ON shown.sequence = request.sequence AND shown.signal = requirement.signal;

CREATE TABLE checked AS FROM checking;

-- Whether the ledger explains what was observed.
CREATE VIEW explained AS
SELECT thing.trace_id, thing.label, thing.id, thing.deliveries, label.path, request.sequence, label_requirement.n,
       CASE WHEN request.sequence IS NULL THEN 'no ledger line has this trace id'
            WHEN NOT request.answered THEN NULL
            WHEN label.sampled AND request.decision IS FALSE THEN 'the ledger says it was not sampled'
            WHEN NOT label.open AND label_requirement.n IS NULL THEN 'the request does not make it'
            WHEN label.open AND NOT EXISTS (FROM requirement JOIN signal USING (signal)
                 WHERE requirement.class = request.class AND signal.path = label.path AND signal.sampled)
            THEN 'the request expects nothing here' END AS why
FROM thing JOIN label USING (label)
LEFT JOIN request ON request.trace_id = thing.trace_id AND request.path = label.path
LEFT JOIN label_requirement ON label_requirement.class = request.class AND label_requirement.label = thing.label;

-- What came more often than it should. Of an open kind an application may show more than is declared, each once. As a table: extra.
CREATE VIEW repeated AS
SELECT sequence, path, label, sum(deliveries) AS deliveries, least(count(*), coalesce(any_value(n), count(*))) AS expected
FROM explained WHERE why IS NULL AND sequence IS NOT NULL
GROUP BY sequence, path, label
HAVING sum(deliveries) > least(count(*), coalesce(any_value(n), count(*)));

CREATE TABLE extra AS FROM repeated;

-- The verdicts, in the order in which they are tried.
CREATE VIEW decided AS
WITH checks AS (
    SELECT sequence, path,
           bool_and(ok OR skipped) AS ok,
           bool_or(skipped) AS skipped,
           bool_or(named > 0 AND NOT skipped) AS anything,
           bool_or(NOT ok AND NOT skipped AND NOT undecided) AS certainly_absent,
           bool_or(undecided AND named > 0) AS was_sampled
    FROM checked GROUP BY sequence, path
), extras AS (SELECT DISTINCT sequence, path FROM extra)
SELECT request.sequence, request.path,
       CASE WHEN NOT path.readable THEN 'unreadable'
            WHEN NOT request.answered OR checks.sequence IS NULL THEN 'not-expected'
            WHEN checks.ok AND extras.sequence IS NOT NULL THEN 'duplicate'
            WHEN checks.ok AND checks.skipped THEN 'not-sampled'
            WHEN checks.ok THEN 'seen'
            WHEN unknown.trace_id IS NOT NULL OR NOT (checks.certainly_absent OR checks.was_sampled) THEN 'unknown'
            WHEN NOT path.settled THEN 'pending'
            WHEN NOT checks.anything THEN 'missing'
            ELSE 'partial' END AS verdict
FROM request
JOIN path ON path.path = request.path
LEFT JOIN checks ON checks.sequence = request.sequence AND checks.path = request.path
LEFT JOIN extras ON extras.sequence = request.sequence AND extras.path = request.path
LEFT JOIN unknown ON unknown.trace_id = request.trace_id AND unknown.path = request.path;

CREATE VIEW verdict_counts AS
SELECT path, verdict, count(*) AS requests FROM verdict GROUP BY path, verdict;

-- Requests that are not as expected. An unreadable path says so once, not for each request.
CREATE VIEW finding AS
SELECT ledger.sequence, ledger.trace_id, ledger.class, ledger.start, ledger.duration_ms, verdict.path, verdict.verdict, unknown.why
FROM verdict JOIN ledger USING (sequence)
LEFT JOIN unknown ON unknown.trace_id = ledger.trace_id AND unknown.path = verdict.path
WHERE verdict NOT IN ('seen', 'not-expected', 'not-sampled', 'unreadable');

-- Which signals are absent or poor, and the subjects that have the right name but lack something.
CREATE VIEW absence AS
SELECT checked.sequence, checked.path, checked.signal, checked.n, checked.name_n, checked.named, checked.complete,
       list(DISTINCT satisfies.subject) FILTER (WHERE NOT satisfies.complete) AS subjects
FROM checked
SEMI JOIN finding ON finding.sequence = checked.sequence AND finding.path = checked.path AND finding.verdict <> 'duplicate'
LEFT JOIN observation ON observation.trace_id = checked.trace_id
LEFT JOIN satisfies ON satisfies.subject = observation.subject AND satisfies.signal = checked.signal
WHERE NOT checked.ok AND NOT checked.skipped
GROUP BY ALL;

CREATE VIEW stray AS
SELECT path, label, trace_id, id, why FROM explained WHERE why IS NOT NULL;

CREATE VIEW progress AS
WITH checks AS (SELECT path, sequence, bool_and(ok OR skipped) AS ok FROM checked GROUP BY path, sequence),
requests AS (SELECT path, count(*) FILTER (WHERE ok) AS complete, count(*) FILTER (WHERE NOT ok) AS incomplete FROM checks GROUP BY path),
observed AS (SELECT label.path, sum(deliveries) AS observations
             FROM observation JOIN subject USING (subject) JOIN label USING (label) GROUP BY label.path)
SELECT path, coalesce(complete, 0) AS complete, coalesce(incomplete, 0) AS incomplete, coalesce(observations, 0) AS observations
FROM path LEFT JOIN requests USING (path) LEFT JOIN observed USING (path);

-- What a path has of a trace, as a whole.
CREATE VIEW seen AS
SELECT label.path, trace_id, max(observation.duration_ms) AS duration_ms, max(ingested_at) AS ingested_at, bool_or(error) AS error,
       sum(units * deliveries) AS units
FROM observation JOIN subject USING (subject) JOIN label USING (label) GROUP BY label.path, trace_id;

-- Durations, time until visible, errors and billable units of the requests in the ledger.
CREATE VIEW measure AS
SELECT path,
       quantile_cont(ledger.duration_ms - seen.duration_ms, [0.5, 0.99]) FILTER (WHERE seen.duration_ms IS NOT NULL) AS difference,
       quantile_cont(ingested_at - ledger.start - ledger.duration_ms / 1000, [0.5, 0.99]) FILTER (WHERE ingested_at IS NOT NULL) AS visible,
       count(*) FILTER (WHERE error) AS errors, coalesce(sum(units), 0) AS units, count(*) AS traces
FROM seen JOIN ledger USING (trace_id) GROUP BY path;

CREATE VIEW subject_count AS
SELECT class, subject, count(*) AS observations
FROM observation JOIN ledger USING (trace_id) WHERE answered GROUP BY class, subject;
