"""``make import FILE=``: an exported run becomes a run here, whole or not at all.

The file may be cut, of another program, of a newer Parallax, or made by somebody who means harm: everything is checked before the run
is moved to its place. Nothing of the file decides where something is written.
"""

from __future__ import annotations

import errno
import hashlib
import json
import secrets
import struct
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TypeVar, get_args

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from compose.settings import Settings, SignalPath
from loadtest.ledger import LedgerEntry, LedgerWriter
from loadtest.runs import IMPORTED, MANIFEST, Manifest, Run, open_run
from services.compare import drafts, record
from services.compare.export import documents
from services.compare.export.forms import CONTENTS, FORMAT, LATEST, SUFFIX, Contents, RecordDocument, members, tables
from services.compare.model import Verdict
from services.compare.record import NoRecord, Record
from services.cruddur.signals import Kind

#: What the folder of a run that is being imported is called, with an ending; no run is.
DRAFT: Final = ".import-"
#: Bytes one member may have, and rows one table; far above a run of a million requests.
LARGEST: Final = 16 << 30
MOST_ROWS: Final = 100_000_000
#: Bytes a JSON member may have, and characters a text of a request.
LARGEST_JSON: Final = 64 << 20
LONGEST: Final = 64 << 10
#: Bit of a member's flags ("APPNOTE.TXT", 4.4.4).
_ENCRYPTED: Final = 1
_CHUNK: Final = 1 << 20

M = TypeVar("M", bound=BaseModel)


class ImportRefused(Exception):
    """A file that cannot be imported. The message is one line that says why."""


def take(settings: Settings, source: Path) -> Run:
    """Make the run in ``source`` a run of this STATE_DIR. Raises ImportRefused and OSError; then nothing was changed."""
    if not source.is_file():
        raise ImportRefused(f"there is no file {source}; `make import FILE=<run>{SUFFIX}`")
    try:
        with zipfile.ZipFile(source) as archive:
            contents = _contents(archive, source)
            target = settings.runs_dir / contents.run
            if target.exists():
                raise ImportRefused(_here(target))
            settings.runs_dir.mkdir(parents=True, exist_ok=True)
            drafts.clear(settings.runs_dir, DRAFT)
            with drafts.folder(settings.runs_dir, DRAFT) as draft:
                _unpack(archive, contents, draft, source)
                _put(draft, target)
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, EOFError, struct.error) as error:
        # What zipfile raises of a file whose own lists are not what they should be.
        raise ImportRefused(f"{source} is no exported run, or it is cut: {error}") from error
    return open_run(target)


def _put(draft: Path, target: Path) -> None:
    """Make the draft a run: open_run wants a folder of the run's name, so nothing is one before."""
    try:
        draft.rename(target)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            # Somebody else imported it meanwhile.
            raise ImportRefused(_here(target)) from None
        raise


def _here(target: Path) -> str:
    return f"run {target.name} is here already, in {target}; `make open` shows it"


def _contents(archive: zipfile.ZipFile, source: Path) -> Contents:
    names = archive.namelist()
    packed = sorted(info.filename for info in archive.infolist() if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & _ENCRYPTED)
    if packed:
        # A packed file may unpack to any size; stored, nothing is larger than the file is.
        raise ImportRefused(
            f"{source} is not as `make export` wrote it: {', '.join(packed)[:200]} is packed or encrypted; take the original file"
        )
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
    wanted = members(contents.format)
    wrong = sorted(set(wanted) ^ set(names)) or sorted({CONTENTS, *contents.members} ^ set(wanted))
    if wrong or len(names) != len(set(names)):
        raise ImportRefused(
            f"{source} is no exported run: it should hold {', '.join(wanted)}, and differs in {', '.join(wrong)[:200] or 'doubles'}"
        )
    return contents


def _unpack(archive: zipfile.ZipFile, contents: Contents, draft: Path, source: Path) -> None:
    """Write the run into ``draft``, checked."""
    folder = draft / f"{record.FOLDER_PREFIX}{secrets.token_hex(4)}"
    folder.mkdir()
    for name, member in contents.members.items():
        if member.bytes > LARGEST or archive.getinfo(name).file_size != member.bytes:
            raise ImportRefused(f"{source} is cut or was changed: {name} has not the {member.bytes} bytes it should have; copy it again")
        digest = hashlib.sha256()
        with archive.open(name) as packed, (folder / name).open("xb") as file:
            left = member.bytes
            while left and (chunk := packed.read(min(_CHUNK, left))):
                digest.update(chunk)
                file.write(chunk)
                left -= len(chunk)
        if left or digest.hexdigest() != member.sha256:
            raise ImportRefused(f"{source} is cut or was changed: the checksum of {name} is wrong; copy it again")
    for name, schema in tables(contents.format).items():
        _check_table(folder / name, schema, f"{source}: {name}")
    manifest = _validated(Manifest, _json(folder / "manifest.json", source), f"{source}: manifest.json")
    report = _validated(RecordDocument, _json(folder / "record.json", source), f"{source}: record.json")
    if not manifest.run == report.run == contents.run:
        raise ImportRefused(f"{source} is no exported run: its parts belong to different runs")
    if report.version != record.VERSION:
        raise ImportRefused(f"{source}: record.json has version {report.version}, this Parallax reads {record.VERSION}")
    requests = _check_values(folder, source)
    if report.requests != requests or manifest.finished not in (None, requests):
        raise ImportRefused(f"{source} is no exported run: requests.parquet has {requests:,} requests, manifest and record say otherwise")
    if not all(0 <= time <= LATEST for time in (manifest.started, manifest.ended or 0.0)):
        raise ImportRefused(f"{source} is no exported run: manifest.json says that it was at no time of a calendar")
    # What was checked, and not the bytes that it was read from.
    kept = report.model_dump(mode="json", exclude_unset=True) | {"folder": folder.name}
    (draft / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (draft / record.RECORD).write_text(json.dumps(kept, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    (folder / "manifest.json").unlink()
    (folder / "record.json").unlink()
    documents.keep_states(folder, contents.documents)
    about = {"file": source.name, "at": round(time.time(), 6), "exported": contents.made}
    (draft / IMPORTED).write_text(json.dumps(about) + "\n", encoding="utf-8")
    _ledger(folder / "requests.parquet", draft, contents.run)


def _check_table(path: Path, schema: pa.Schema, name: str) -> None:
    try:
        with pq.ParquetFile(path) as file:
            if not file.schema_arrow.remove_metadata().equals(schema):
                raise ImportRefused(f"{name} has not the columns it should have")
            if file.metadata.num_rows > MOST_ROWS:
                raise ImportRefused(f"{name} has {file.metadata.num_rows:,} rows; {MOST_ROWS:,} are the most that can be taken")
    except (pa.ArrowException, OSError) as error:
        raise ImportRefused(f"{name} is no Parquet file ({' '.join(str(error).split())[:200]})") from error


def _check_values(tables: Path, source: Path) -> int:
    """Check what the pages rely on; the number of requests. DuckDB looks through the tables within its memory limit."""
    found = Record(tables.parent, {"folder": tables.name})
    try:
        for name in (*record.TABLES, "undeclared", "documents"):
            # All of it, so that a page that is damaged, or text that is none, is found now.
            found.rows(f"SELECT bit_xor(hash(COLUMNS(*))) FROM {name}")
        for what, sql in _CHECKS.items():
            if found.rows(f"SELECT count(*) AS n {sql}")[0]["n"]:
                raise ImportRefused(f"{source} is no exported run: it holds {what}")
        return int(found.rows("SELECT count(*) AS n FROM requests")[0]["n"])
    except (duckdb.Error, NoRecord) as error:
        raise ImportRefused(f"{source} cannot be read ({' '.join(str(error).split())[:200]})") from error


def _quoted(words: Iterable[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)


def _absent(columns: str) -> str:
    return " OR ".join(f"{column.strip()} IS NULL" for column in columns.split(","))


_PATHS: Final = _quoted(SignalPath)
#: What must not be there, in words, and where it would be found.
_CHECKS: Final = {
    "a request without a number, or with a trace id that is none": (
        "FROM requests WHERE sequence IS NULL OR sequence < 0 OR trace_id IS NULL OR NOT regexp_full_match(trace_id, '[0-9a-f]{32}')"
    ),
    "a request without method, route, target, outcome, start or duration": (
        f"FROM requests WHERE {_absent('method, route, target, outcome, start, duration_ms')}"
    ),
    "a request at no time of a calendar": (
        # isfinite first: what only compares is decided by the table's own statistics, and those know nothing of NaN.
        "FROM requests WHERE NOT isfinite(start) OR NOT isfinite(duration_ms) "
        f"OR start NOT BETWEEN 0 AND {LATEST:.0f} OR duration_ms NOT BETWEEN 0 AND {LATEST:.0f}"
    ),
    "a request with a text longer than any": (
        f"FROM requests WHERE greatest(length(method), length(route), length(target), length(outcome), length(error)) > {LONGEST}"
    ),
    "a request twice": "FROM (SELECT sequence FROM requests GROUP BY sequence HAVING count(*) > 1)",
    "a trace id twice": "FROM (SELECT trace_id FROM requests GROUP BY trace_id HAVING count(*) > 1)",
    "a path nobody knows": f"FROM outcomes WHERE path IS NULL OR path NOT IN ({_PATHS})",
    "a verdict nobody knows": f"FROM outcomes WHERE verdict IS NULL OR verdict NOT IN ({_quoted(Verdict)})",
    "an outcome without its request": "FROM outcomes ANTI JOIN requests USING (sequence)",
    "a request with two outcomes on one path": "FROM (SELECT sequence, path FROM outcomes GROUP BY ALL HAVING count(*) > 1)",
    "an outcome without its words": (
        f"FROM outcomes WHERE {_absent('absent, extra, why')} OR list_count(absent) < len(absent) OR list_count(extra) < len(extra)"
    ),
    "an outcome that was measured to be no number": (
        "FROM (SELECT unnest([duration_ms, visible_s]) AS x FROM outcomes) WHERE NOT isfinite(coalesce(x, 0))"
    ),
    "a path of an observation nobody knows": f"FROM observations WHERE path IS NULL OR path NOT IN ({_PATHS})",
    "an observation of a kind nobody knows": f"FROM observations WHERE kind IS NULL OR kind NOT IN ({_quoted(get_args(Kind))})",
    "an observation without service, name, id, error, deliveries or units": (
        f"FROM observations WHERE {_absent('service, name, id, error, deliveries, units')} OR deliveries < 0 OR units < 0"
    ),
    "a time that is no number": (
        "FROM (SELECT unnest([start, duration_ms, ingested_at]) AS x FROM observations) WHERE NOT isfinite(coalesce(x, 0))"
    ),
    "a stray without path, name, id or reason": (f"FROM strays WHERE {_absent('path, what, id, why')} OR path NOT IN ({_PATHS})"),
    "an undeclared attribute without its words, or of a path or kind nobody knows": (
        f"FROM undeclared WHERE {_absent('path, kind, place, name, documents, requests, example, trace_id, same_as')} "
        f"OR path NOT IN ({_PATHS}) OR kind NOT IN ({_quoted(get_args(Kind))}) OR list_count(same_as) < len(same_as) "
        f"OR documents < 0 OR requests < 0 OR greatest(length(place), length(name), length(example)) > {LONGEST}"
    ),
    "a document without path, id or text": f"FROM documents WHERE {_absent('path, id, document')} OR path NOT IN ({_PATHS})",
}


def _ledger(table: Path, folder: Path, run: str) -> None:
    with LedgerWriter(folder, 0) as ledger, pq.ParquetFile(table) as file:
        for batch in file.iter_batches(2_000):
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
        # As JSON, where "5" is no number and a name of an enumeration is one.
        return model.model_validate_json(json.dumps(written), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ImportRefused(f"{name} is not as it should be ({where + ': ' if where else ''}{first['msg']})") from error
