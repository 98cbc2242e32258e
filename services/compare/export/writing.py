"""``make export RUN=``: a run as one file. The record is made first where there is none; the vendors' own records are collected once."""

from __future__ import annotations

import errno
import hashlib
import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from compose.settings import Settings
from loadtest.runs import MANIFEST, Run
from services.compare import drafts, record
from services.compare.export import documents
from services.compare.export.forms import CONTENTS, FORMAT, TABLES, Contents, Member
from services.compare.export.secrets import Secrets
from services.compare.record import Record

_CHUNK: Final = 1 << 20


def export(settings: Settings, run: Run, target: Path, said: Callable[[str], None] = lambda _: None) -> Contents:
    """Write run and record to ``target``, at once or not at all. Raises NoRecord, LedgerError and OSError."""
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    found = Record.open(run.folder)
    tables = run.folder / str(found.document["folder"])
    # Before the vendors are asked, which may take long. What a killed export left goes with the next one of the same name.
    drafts.clear(target.parent, f".{target.name}.parallax-")
    with drafts.folder(target.parent, f".{target.name}.parallax-") as work:
        kept = documents.states(tables) if run.imported else documents.collect(settings, run, tables, said)
        secrets = Secrets.of(settings)
        _text(work / "manifest.json", (run.folder / MANIFEST).read_text(encoding="utf-8"), secrets)
        # The document that goes with these tables, whatever the run's folder holds by now.
        _text(work / "record.json", json.dumps(found.document, ensure_ascii=False, indent=1) + "\n", secrets)
        for name, schema in TABLES.items():
            _table(tables / name, work / name, schema, secrets)
        members = {name: _member(work / name) for name in ("manifest.json", "record.json", *TABLES)}
        contents = Contents(format=FORMAT, run=run.id, made=round(time.time(), 6), documents=dict(kept), members=members)
        draft = work / "draft.zip"
        with zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(CONTENTS, secrets.removed(contents.model_dump_json(indent=1)) + "\n")
            for name in members:
                archive.write(work / name, name)
        draft.replace(target)
    return contents


def _text(target: Path, text: str, secrets: Secrets) -> None:
    target.write_text(secrets.removed(text), encoding="utf-8")


def _table(source: Path, target: Path, schema: pa.Schema, secrets: Secrets) -> None:
    """A table, group by group, without secrets. Documents that nobody has collected are an empty one, and
    so is what an older record has no table of."""
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        if source.name in (record.DOCUMENTS, record.UNDECLARED_TABLE) and not source.exists():
            return
        for batch in documents.batches(source):
            writer.write_batch(_without(batch.select(schema.names), secrets).cast(schema))


def _without(batch: pa.RecordBatch, secrets: Secrets) -> pa.RecordBatch:
    columns = []
    for column in batch.columns:
        if pa.types.is_string(column.type):
            # Few texts differ, but for those of documents, which were looked through when they were collected, and of targets.
            whole = column.dictionary_encode()
            cleaned = pa.array([None if text is None else secrets.removed(text) for text in whole.dictionary.to_pylist()], pa.string())
            column = pa.DictionaryArray.from_arrays(whole.indices, cleaned).cast(pa.string())
        elif pa.types.is_list(column.type):
            column = pa.array([[secrets.removed(word) for word in words or ()] for words in column.to_pylist()], column.type)
        columns.append(column)
    return pa.record_batch(columns, names=batch.schema.names)


def _member(path: Path) -> Member:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return Member(bytes=path.stat().st_size, sha256=digest.hexdigest())


def summary(contents: Contents) -> str:
    """One line about what is in the file."""
    count = sum(kept.count for kept in contents.documents.values())
    gaps = ", ".join(str(path) for path, kept in contents.documents.items() if kept.reason is not None)
    return f"{count:,} raw documents" + (f", not all of {gaps}" if gaps else "")
