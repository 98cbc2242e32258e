"""The index of traces: the facts of :mod:`localstack.aws.xray.traces.facts`, derived in SQL from the stored documents, in tables.

Writing stores documents and nothing else. The index is brought up to date before it is read and, when much has come, in
between: only traces that changed are derived again, all of them in a few set-based statements, so that nothing is parsed
in Python. A file without an index (an older one) gets it at its first reading.

    index = Index(store)
    index.refresh()                  # before each reading; costs next to nothing when nothing was written since
    store.read("SELECT count(*) FROM xray_trace WHERE fault")

What a crash interrupts is done again: the traces and, with the last of them, the watermark are one transaction. What cannot be derived
is left out and logged; writing knows nothing of it.
"""

from __future__ import annotations

import logging
import os
import sys
import threading

import duckdb

from localstack.aws.xray.traces.derivation import BEGAN, Changed, derive
from localstack.store import Store, StoreClosed

log = logging.getLogger("aws.xray.index")

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
        user_name VARCHAR, availability_zone VARCHAR, instance_id VARCHAR, resource_arn VARCHAR,
        work_end DOUBLE                      -- when the last of the segment and its subsegments ended
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
    # All commits up to this one are in the tables above.
    "CREATE TABLE xray_index (watermark BIGINT NOT NULL)",
    "INSERT INTO xray_index VALUES (0)",
)


_REACHED = "(SELECT watermark FROM xray_index)"
#: Every trace of which something is stored, whether it is in the index yet or not, with what says where it stands among others: what
#: does not look into traces need not wait for the index. Of a trace that is not in the index all has come after the watermark.
KNOWN_TRACES = f"""(
    SELECT trace, trace_id, began, first_commit FROM xray_trace
    UNION ALL
    SELECT trace, any_value(trace_id) AS trace_id, {BEGAN} AS began, min(first_commit) AS first_commit
    FROM segment
    ANTI JOIN (SELECT trace FROM xray_trace WHERE trace IN (SELECT trace FROM segment WHERE changed_commit > {_REACHED})) USING (trace)
    WHERE changed_commit > {_REACHED}
    GROUP BY trace
)"""

#: What is derived at once at most, in documents and in their bytes: what bounds the memory this takes.
PART_DOCUMENTS = 16_384
PART_BYTES = 24 * 1024 * 1024

#: What may lie unindexed while others write and nobody reads: a burst is taken at full speed, and a reading after it waits about a
#: second at most.
BACKLOG_DOCUMENTS = 100_000
#: How often the backlog is looked at. What no longer grows is indexed, however little it is.
IDLE_SECONDS = 1.0


class Index:
    """The index of one store's segments. ``watch`` starts what keeps it nearly up to date, ``close`` ends that."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        # The count of commits (Store.appends) that the index is known to cover.
        self._covered: int | None = None
        self._watermark: int | None = None
        self._ended = threading.Event()
        self._watcher: threading.Thread | None = None

    def current(self) -> bool:
        """Whether everything that was acknowledged before this call is in the index."""
        return self._store.appends("segment") == self._covered

    def refresh(self) -> None:
        """Bring the index up to date with everything that was acknowledged before this call."""
        if self.current():
            return
        with self._lock:
            appends = self._store.appends("segment")
            if appends == self._covered:
                return
            # Not further than what there is now: writers may be faster than this.
            ((goal,),) = self._store.read("SELECT max(changed_commit) FROM segment")
            while goal is not None and self._step(goal):
                pass
            self._covered = appends

    def watch(self) -> None:
        """Keep the backlog small from now on: the first reading after a million segments must not derive a million."""
        self._watcher = threading.Thread(target=self._keep_up, name="xray-index", daemon=True)
        self._watcher.start()

    def close(self) -> None:
        """End what :meth:`watch` started, after the part it is at."""
        self._ended.set()
        if self._watcher is not None:
            self._watcher.join()

    def _keep_up(self) -> None:
        if sys.platform == "linux":
            # Where there is not time enough for both, those who write come first.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        before: int | None = None
        while not self._ended.wait(IDLE_SECONDS):
            appends = self._store.appends("segment")
            paused, before = appends == before, appends
            if appends == self._covered:
                continue
            try:
                if paused or self._backlog() >= BACKLOG_DOCUMENTS:
                    self.refresh()
            except StoreClosed:
                return
            except duckdb.Error:
                # The next reading tries again, and tells its caller.
                log.exception("the index could not be brought up to date")

    def _backlog(self) -> int:
        ((count,),) = self._store.read("SELECT count(*) FROM segment WHERE changed_commit > ?", [self._reached()])
        return int(count)

    def _reached(self) -> int:
        """The last commit that is in the index."""
        if self._watermark is None:
            ((self._watermark,),) = self._store.read("SELECT watermark FROM xray_index")
        return self._watermark

    def _step(self, goal: int) -> bool:
        """Derive the next commits up to ``goal``; whether there were any."""
        after = self._reached()
        if after >= goal or self._ended.is_set():
            return False
        documents = size = upto = 0
        for commit, count, length in self._store.read(
            """SELECT changed_commit, count(*), sum(bytes) FROM segment WHERE changed_commit > ? AND changed_commit <= ?
               GROUP BY changed_commit ORDER BY changed_commit LIMIT 10000""",
            [after, goal],
        ):
            if upto and (documents + count > PART_DOCUMENTS or size + length > PART_BYTES):
                break
            documents, size, upto = documents + count, size + length, commit
        # What else is stored of these traces is derived with it, and may be much more.
        ((documents, size),) = self._store.read(
            """SELECT count(*), sum(bytes) FROM segment
               WHERE trace IN (SELECT trace FROM segment WHERE changed_commit > ? AND changed_commit <= ?)""",
            [after, upto],
        )
        parts = int(max(-(-documents // (2 * PART_DOCUMENTS)), -(-size // PART_BYTES), 1))
        for part in range(parts):
            self._derive(Changed(after, upto, parts, part), last=part == parts - 1)
        self._watermark = upto
        return True

    def _derive(self, changed: Changed, last: bool, sparing: bool = False) -> None:
        try:
            with self._store.transaction() as db:
                derive(db, changed, sparing)
                if last:
                    db.execute("UPDATE xray_index SET watermark = ?", [changed.upto])
        except (
            duckdb.ConversionException,
            duckdb.InvalidInputException,
            duckdb.OutOfRangeException,
            duckdb.ConstraintException,
            duckdb.OutOfMemoryException,
        ) as error:
            if isinstance(error, duckdb.OutOfMemoryException) and not sparing:
                self._derive(changed, last, sparing=True)
                return
            # The documents, not the file: one trace must not hold up all others. And fewer of them need less memory.
            ((first, final),) = self._store.read(
                "SELECT min(trace_id), max(trace_id) FROM segment WHERE changed_commit > ? AND changed_commit <= ? AND hash(trace) % ? = ?",
                [changed.after, changed.upto, changed.parts, changed.part],
            )
            if first != final:
                one, other = changed.halves()
                self._derive(one, False, sparing)
                self._derive(other, last, sparing)
                return
            if isinstance(error, duckdb.OutOfMemoryException):
                # What others use will be free again.
                raise
            log.error("trace %s cannot be indexed: %s", first, error)
            if last:
                with self._store.transaction() as db:
                    db.execute("UPDATE xray_index SET watermark = ?", [changed.upto])
