"""``make import FILE=``: an exported run becomes a run here, whole or not at all.

The file may be cut, of another program, of a newer Parallax, or made by somebody who means harm: everything is checked before the run
is moved to its place. Nothing of the file decides where something is written.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TypeVar

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from compose.settings import Settings, SignalPath
from loadtest.ledger import LedgerEntry, LedgerWriter
from loadtest.runs import IMPORTED, MANIFEST, Manifest, Run, open_run
from services.compare import record
from services.compare.export import documents
from services.compare.export.forms import CONTENTS, FORMAT, MEMBERS, TABLES, Contents, RecordDocument
from services.compare.model import Verdict
from services.compare.record import Record

#: Bytes one member may have, and rows one table; far above a run of a million requests.
LARGEST: Final = 16 << 30
MOST_ROWS: Final = 100_000_000
#: Bytes a JSON member may have.
LARGEST_JSON: Final = 64 << 20
_CHUNK: Final = 1 << 20

M = TypeVar("M", bound=BaseModel)


class ImportRefused(Exception):
    """A file that cannot be imported. The message is one line that says why."""


def take(settings: Settings, source: Path) -> Run:
    """Make the run in ``source`` a run of this STATE_DIR. Raises ImportRefused and OSError; then nothing was changed."""
    if not source.is_file():
        raise ImportRefused(f"there is no file {source}")
    try:
        with zipfile.ZipFile(source) as archive:
            contents = _contents(archive, source)
            target = settings.runs_dir / contents.run
            if target.exists():
                raise ImportRefused(f"run {contents.run} is here already, in {target}")
            settings.runs_dir.mkdir(parents=True, exist_ok=True)
            draft = settings.runs_dir / f".import-{secrets.token_hex(4)}"
            try:
                _unpack(archive, contents, draft, source)
                # open_run wants a folder of the run's name; a rename is what makes it a run.
                draft.rename(target)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
    except zipfile.BadZipFile as error:
        raise ImportRefused(f"{source} is no exported run, or it is cut: {error}") from error
    return open_run(target)


def _contents(archive: zipfile.ZipFile, source: Path) -> Contents:
    names = archive.namelist()
    if CONTENTS not in names:
        raise ImportRefused(f"{source} is no exported run: it holds no {CONTENTS}")
    try:
        written = json.loads(_small(archive, CONTENTS, source))
        version = written["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ImportRefused(f"{source} is no exported run: its {CONTENTS} cannot be read ({type(error).__name__}: {error})") from error
    if not isinstance(version, int) or version > FORMAT:
        raise ImportRefused(f"{source} was exported by a newer Parallax (format {version}, this one reads {FORMAT}); update this one")
    contents = _validated(Contents, written, f"{source}: {CONTENTS}")
    wrong = sorted(set(MEMBERS) ^ set(names)) or sorted({CONTENTS, *contents.members} ^ set(MEMBERS))
    if wrong or len(names) != len(set(names)):
        raise ImportRefused(
            f"{source} is no exported run: it should hold {', '.join(MEMBERS)}, and differs in {', '.join(wrong) or 'doubles'}"
        )
    return contents


def _unpack(archive: zipfile.ZipFile, contents: Contents, draft: Path, source: Path) -> None:
    """Write the run into ``draft``, checked."""
    tables = draft / f"record-{secrets.token_hex(4)}"
    tables.mkdir(parents=True)
    for name, member in contents.members.items():
        if member.bytes > LARGEST or archive.getinfo(name).file_size != member.bytes:
            raise ImportRefused(f"{source} is cut or was changed: {name} has not the {member.bytes} bytes it should have")
        digest = hashlib.sha256()
        with archive.open(name) as packed, (tables / name).open("xb") as file:
            left = member.bytes
            while left and (chunk := packed.read(min(_CHUNK, left))):
                digest.update(chunk)
                file.write(chunk)
                left -= len(chunk)
        if left or digest.hexdigest() != member.sha256:
            raise ImportRefused(f"{source} is cut or was changed: the checksum of {name} is wrong")
    for name, schema in TABLES.items():
        _check_table(tables / name, schema, f"{source}: {name}")
    manifest = _validated(Manifest, _json(tables / "manifest.json", source), f"{source}: manifest.json")
    report = _json(tables / "record.json", source)
    _validated(RecordDocument, report, f"{source}: record.json")
    if not manifest.run == report["run"] == contents.run:
        raise ImportRefused(f"{source} is no exported run: its parts belong to different runs")
    if report["version"] != record.VERSION:
        raise ImportRefused(f"{source}: record.json has version {report['version']}, this Parallax reads {record.VERSION}")
    _check_values(tables, source)
    (tables / "manifest.json").replace(draft / MANIFEST)
    (tables / "record.json").unlink()
    (tables / documents.STATES).write_text(json.dumps({str(path): kept.model_dump() for path, kept in contents.documents.items()}))
    (draft / record.RECORD).write_text(json.dumps({**report, "folder": tables.name}, ensure_ascii=False, indent=1) + "\n")
    (draft / IMPORTED).write_text(json.dumps({"file": source.name, "at": round(time.time(), 6), "exported": contents.made}) + "\n")
    _ledger(tables / "requests.parquet", draft, contents.run)
    Record(draft, {**report, "folder": tables.name}).rows("SELECT count(*) FROM outcomes")


def _check_table(path: Path, schema: pa.Schema, name: str) -> None:
    try:
        with pq.ParquetFile(path) as file:
            if not file.schema_arrow.remove_metadata().equals(schema):
                raise ImportRefused(f"{name} has not the columns it should have")
            if file.metadata.num_rows > MOST_ROWS:
                raise ImportRefused(f"{name} has {file.metadata.num_rows:,} rows; {MOST_ROWS:,} are the most that can be taken")
    except (pa.ArrowException, OSError) as error:
        raise ImportRefused(f"{name} is no Parquet file ({' '.join(str(error).split())[:200]})") from error


def _check_values(tables: Path, source: Path) -> None:
    """What the pages rely on. DuckDB looks through the tables within its memory limit, however large they unpack."""

    def quoted(words: Iterable[str]) -> str:
        return ", ".join(f"'{word}'" for word in words)

    checks = {
        "a path nobody knows": f"FROM outcomes WHERE path IS NULL OR path NOT IN ({quoted(SignalPath)})",
        "a path of an observation nobody knows": f"FROM observations WHERE path IS NULL OR path NOT IN ({quoted(SignalPath)})",
        "a verdict nobody knows": f"FROM outcomes WHERE verdict IS NULL OR verdict NOT IN ({quoted(Verdict)})",
        "a request without a number, or with a trace id that is none": (
            "FROM requests WHERE sequence IS NULL OR sequence < 0 OR trace_id IS NULL OR NOT regexp_full_match(trace_id, '[0-9a-f]{32}')"
        ),
        "a request without method, route, target, outcome, start or duration": (
            "FROM requests WHERE method IS NULL OR route IS NULL OR target IS NULL OR outcome IS NULL "
            "OR NOT isfinite(coalesce(start, 'nan')) OR NOT isfinite(coalesce(duration_ms, 'nan'))"
        ),
        "a request twice": "FROM (SELECT sequence FROM requests GROUP BY sequence HAVING count(*) > 1)",
        "an outcome without its request": "FROM outcomes ANTI JOIN requests USING (sequence)",
        "a request with two outcomes on one path": "FROM (SELECT sequence, path FROM outcomes GROUP BY ALL HAVING count(*) > 1)",
        "a time that is no number": (
            "FROM (SELECT unnest([start, duration_ms, ingested_at]) AS x FROM observations) WHERE NOT isfinite(coalesce(x, 0))"
        ),
    }
    found = Record(tables.parent, {"folder": tables.name})
    for what, sql in checks.items():
        try:
            count = found.rows(f"SELECT count(*) AS n {sql}")[0]["n"]
        except duckdb.Error as error:
            raise ImportRefused(f"{source} cannot be read ({' '.join(str(error).split())[:200]})") from error
        if count:
            raise ImportRefused(f"{source} is no exported run: it holds {what}")


def _ledger(table: Path, folder: Path, run: str) -> None:
    with LedgerWriter(folder, 0) as ledger, pq.ParquetFile(table) as file:
        for batch in file.iter_batches(20_000):
            for row in batch.to_pylist():
                ledger.write(LedgerEntry(run=run, **row))


def _small(archive: zipfile.ZipFile, name: str, source: Path) -> bytes:
    if archive.getinfo(name).file_size > LARGEST_JSON:
        raise ImportRefused(f"{source}: {name} is too large")
    with archive.open(name) as packed:
        return packed.read(LARGEST_JSON)


def _json(path: Path, source: Path) -> dict[str, object]:
    if path.stat().st_size > LARGEST_JSON:
        raise ImportRefused(f"{source}: {path.name} is too large")
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ImportRefused(f"{source}: {path.name} is no JSON ({error})") from error
    if not isinstance(found, dict):
        raise ImportRefused(f"{source}: {path.name} is no JSON object")
    return found


def _validated(model: type[M], written: object, name: str) -> M:
    try:
        return model.model_validate(written)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ImportRefused(f"{name} is not as it should be ({where + ': ' if where else ''}{first['msg']})") from error
