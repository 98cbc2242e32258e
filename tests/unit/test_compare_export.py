"""A run as one file: what was exported is there again elsewhere, no secret leaves, and a file that is not whole changes nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as some

from compose.settings import Settings, SignalPath
from loadtest.ledger import LedgerEntry, LedgerWriter
from loadtest.profiles import chosen
from loadtest.runs import Run, RunError, begin_run, newest_run, runs
from services.compare import prices, record
from services.compare.comparing import about, compare
from services.compare.export import documents
from services.compare.export.forms import CONTENTS, FORMAT, TABLES, Kept
from services.compare.export.reading import ImportRefused, take
from services.compare.export.secrets import REMOVED, Secrets
from services.compare.export.writing import export
from services.compare.model import PathState
from services.compare.readers.base import Observation
from services.compare.record import Record
from services.compare.report import Report
from services.compare.verdicts import Comparison
from services.cruddur.signals import Outcome, Route
from tests.api.servers import hermetic_settings

SECRET = 'hc/key"with+everything='


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return hermetic_settings(state_dir=tmp_path / "here", honeycomb_api_key=SECRET, backends="xray")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Settings:
    return hermetic_settings(state_dir=tmp_path / "there")


@pytest.fixture
def run(settings: Settings) -> Run:
    """A finished, compared run of two requests, one of which carries a secret, with its documents collected."""
    run = begin_run(settings, chosen(settings))
    entries = [
        LedgerEntry(
            run.id, n, f"695b8f00{n:024x}", "GET", Route.SEARCH, f"/api/activities/search?term={quote(SECRET, safe='')}", Outcome.OK, 200,
            1767600000.0 + n, 12.5, True, None, None,
        )
        for n in range(2)
    ]  # fmt: skip
    with LedgerWriter(run.folder, 0) as ledger:
        for entry in entries:
            ledger.write(entry)
    run = run.complete()
    comparison = Comparison(run.id, entries, run.manifest.paths)
    segment = Observation(
        SignalPath.XRAY_SDK,
        "segment",
        "Cruddur",
        "Cruddur",
        "00000000000000aa",
        entries[0].trace_id,
        run.id,
        {"run": run.id},
        start=1767600000.0,
    )
    comparison.add([segment])
    states = {path: PathState() for path in run.manifest.paths}
    judgement = comparison.judge(states)
    why = [f"because {SECRET}" for _ in judgement.findings]
    report = Report(run.id, about(run.manifest), judgement, why, states, {}, [], prices.built_in(), 0.5, {}, 0.1)
    record.keep(run.folder, comparison, entries, report)
    comparison.close()
    tables = run.folder / Record.open(run.folder).document["folder"]
    rows = {"path": ["xray/sdk"], "trace_id": [entries[0].trace_id], "id": ["00000000000000aa"], "document": ['{"name": "Cruddur"}']}
    pq.write_table(pa.table(rows, schema=TABLES["documents.parquet"]), tables / "documents.parquet")
    kept = {str(path): Kept(count=1).model_dump() for path in run.manifest.paths}
    (tables / documents.STATES).write_text(json.dumps(kept))
    return run


def test_what_was_exported_is_there_again_elsewhere(settings: Settings, elsewhere: Settings, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "run.zip"
    export(settings, run, file)
    taken = take(elsewhere, file)
    assert taken.imported
    assert not run.imported
    assert taken.manifest == run.manifest
    whole, again = Record.open(run.folder), Record.open(taken.folder)
    for table in ("observations", "strays", "documents"):
        assert again.rows(f"FROM {table}") == whole.rows(f"FROM {table}")
    for table in ("requests", "outcomes"):
        assert again.rows(f"SELECT * EXCLUDE ({'target' if table == 'requests' else 'why'}) FROM {table}") == whole.rows(
            f"SELECT * EXCLUDE ({'target' if table == 'requests' else 'why'}) FROM {table}"
        )
    assert {key: value for key, value in again.document.items() if key != "folder"} == {
        key: value for key, value in whole.document.items() if key != "folder"
    }
    assert [entry.trace_id for entry in taken.entries()] == [entry.trace_id for entry in run.entries()], "its ledger, too"


def test_an_imported_run_can_be_exported_again(settings: Settings, elsewhere: Settings, run: Run, tmp_path: Path) -> None:
    export(settings, run, tmp_path / "a.zip")
    export(elsewhere, take(elsewhere, tmp_path / "a.zip"), tmp_path / "b.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as first, zipfile.ZipFile(tmp_path / "b.zip") as second:
        assert first.read("documents.parquet") == second.read("documents.parquet")


def test_an_imported_run_is_not_compared_with_backends_that_never_saw_it(
    settings: Settings, elsewhere: Settings, run: Run, tmp_path: Path
) -> None:
    export(settings, run, tmp_path / "a.zip")
    taken = take(elsewhere, tmp_path / "a.zip")
    with pytest.raises(RunError, match="was imported"):
        compare(elsewhere, taken)
    with pytest.raises(RunError, match="make load"):
        newest_run(elsewhere)


def test_no_secret_is_in_any_member(settings: Settings, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "run.zip"
    export(settings, run, file)
    forms = [SECRET.encode(), quote(SECRET, safe="").encode(), json.dumps(SECRET)[1:-1].encode()]
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            archive.extract(name, tmp_path / "unpacked")
            path = tmp_path / "unpacked" / name
            rows = json.dumps(pq.read_table(path).to_pylist(), ensure_ascii=False).encode() if name in TABLES else b""
            content = rows + path.read_bytes()
            for form in forms:
                assert form not in content, name
    requests = pq.read_table(tmp_path / "unpacked" / "requests.parquet").to_pylist()
    assert requests[0]["target"] == f"/api/activities/search?term={REMOVED}"
    assert REMOVED in pq.read_table(tmp_path / "unpacked" / "outcomes.parquet").to_pylist()[1]["why"]


@given(some.text(min_size=8, max_size=40), some.text(max_size=20), some.text(max_size=20))
def test_a_secret_is_found_wherever_it_stands_and_however_it_is_written(secret: str, before: str, after: str) -> None:
    try:
        raw = secret.encode()
    except UnicodeEncodeError:
        return  # half a surrogate pair is nothing a setting can hold
    secrets = Secrets(frozenset({secret}))
    assert secret not in secrets.removed(f"{before}{secret}{after}") or secret in REMOVED
    assert quote(secret, safe="") not in secrets.removed(f"x={quote(secret, safe='')}&y=1") or quote(secret, safe="") in REMOVED
    for offset in range(3):
        encoded = base64.b64encode(b"user:"[:offset] + raw + b"\n").decode()
        assert encoded not in secrets.removed(f"Authorization: Basic {encoded}")


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("postgresql://me:pass-word@db/cruddur", f"postgresql://{REMOVED}@db/cruddur"),
        ("key AKIAIOSFODNN7EXAMPLE was", f"key {REMOVED} was"),
        ("http://127.0.0.1:4567/a:b@c", "http://127.0.0.1:4567/a:b@c"),
        ("nothing here", "nothing here"),
    ],
)
def test_passwords_in_addresses_and_access_keys_go_whatever_the_settings_say(text: str, clean: str) -> None:
    assert Secrets(frozenset()).removed(text) == clean


# -- files that are not taken


def altered(source: Path, target: Path, change: Callable[[dict[str, bytes]], None], forge: bool = True) -> Path:
    """A copy of an exported run with other members; with ``forge`` its checksums are made to fit."""
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    if forge and CONTENTS in members:
        contents = json.loads(members[CONTENTS])
        if isinstance(contents, dict):
            contents["members"] = {
                name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in members.items() if name != CONTENTS
            }
            members[CONTENTS] = json.dumps(contents).encode()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return target


def edit(member: str, **values: Any) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        members[member] = json.dumps(json.loads(members[member]) | values).encode()

    return change


def table(member: str, **columns: list[Any]) -> Callable[[dict[str, bytes]], None]:
    """A table with other columns, of the first rows."""

    def change(members: dict[str, bytes]) -> None:
        rows = pq.read_table(pa.BufferReader(members[member])).slice(0, len(next(iter(columns.values()))))
        for name, values in columns.items():
            rows = rows.set_column(rows.schema.get_field_index(name), name, pa.array(values, rows.schema.field(name).type))
        sink = pa.BufferOutputStream()
        pq.write_table(rows, sink)
        members[member] = sink.getvalue().to_pybytes()

    return change


def drop(member: str) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        del members[member]

    return change


REFUSALS: dict[str, tuple[Callable[[dict[str, bytes]], None], str]] = {
    "newer": (edit(CONTENTS, format=FORMAT + 1), "newer Parallax"),
    "no format": (edit(CONTENTS, format="one"), "newer|cannot be read"),
    "contents no object": (lambda members: members.update({CONTENTS: b"[]"}), "cannot be read"),
    "contents missing": (drop(CONTENTS), "no exported run"),
    "a member missing": (drop("strays.parquet"), "strays.parquet"),
    "a member more": (lambda members: members.update({"../../evil": b"x"}), "evil"),
    "another run's manifest": (edit("manifest.json", run="20200101-000000-0000"), "different runs"),
    "manifest of no run": (edit("manifest.json", paths=["elsewhere"]), "manifest.json"),
    "a run id that is a path": (edit(CONTENTS, run="../../../etc"), "run"),
    "record cut": (lambda members: members.update({"record.json": members["record.json"][:-9]}), "no JSON"),
    "record without paths": (edit("record.json", paths={}), "record.json"),
    "record of a later form": (edit("record.json", version=99), "version 99"),
    "record not a number": (
        lambda members: members.update({"record.json": members["record.json"].replace(b'"seconds": 0.5', b'"seconds": NaN')}),
        "record.json",
    ),
    "no parquet": (lambda members: members.update({"outcomes.parquet": b"PAR1nothing"}), "no Parquet"),
    "another table": (lambda members: members.update({"outcomes.parquet": members["strays.parquet"]}), "columns"),
    "an unknown verdict": (table("outcomes.parquet", verdict=["<script>"]), "verdict nobody knows"),
    "an unknown path": (table("outcomes.parquet", path=["../.."]), "path nobody knows"),
    "a request twice": (table("requests.parquet", sequence=[0, 0]), "twice|two outcomes|without"),
    "a trace id that is none": (table("requests.parquet", trace_id=["x", "y"]), "trace id"),
    "a time that is no number": (table("requests.parquet", start=[float("nan"), 1.0]), "start"),
    "an observation at no time": (table("observations.parquet", start=[float("inf")]), "no number"),
}


@pytest.mark.parametrize("name", sorted(REFUSALS))
def test_a_file_that_is_not_what_it_should_be_is_refused_with_the_reason_and_changes_nothing(
    name: str, settings: Settings, elsewhere: Settings, run: Run, tmp_path: Path
) -> None:
    change, reason = REFUSALS[name]
    export(settings, run, tmp_path / "good.zip")
    with pytest.raises(ImportRefused, match=reason):
        take(elsewhere, altered(tmp_path / "good.zip", tmp_path / "bad.zip", change))
    assert runs(elsewhere) == []
    assert not elsewhere.runs_dir.exists() or list(elsewhere.runs_dir.iterdir()) == []


def test_a_changed_byte_is_found_by_its_checksum(settings: Settings, elsewhere: Settings, run: Run, tmp_path: Path) -> None:
    export(settings, run, tmp_path / "good.zip")

    def flip(members: dict[str, bytes]) -> None:
        members["manifest.json"] = members["manifest.json"].replace(b'"seed": 1', b'"seed": 2')

    with pytest.raises(ImportRefused, match=r"checksum of manifest\.json"):
        take(elsewhere, altered(tmp_path / "good.zip", tmp_path / "bad.zip", flip, forge=False))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_cut_file_is_refused(settings: Settings, elsewhere: Settings, run: Run, tmp_path: Path, share: float) -> None:
    export(settings, run, tmp_path / "good.zip")
    whole = (tmp_path / "good.zip").read_bytes()
    (tmp_path / "bad.zip").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ImportRefused, match="cut"):
        take(elsewhere, tmp_path / "bad.zip")
    assert runs(elsewhere) == []


def test_the_same_run_is_not_taken_twice(settings: Settings, elsewhere: Settings, run: Run, tmp_path: Path) -> None:
    export(settings, run, tmp_path / "run.zip")
    take(elsewhere, tmp_path / "run.zip")
    with pytest.raises(ImportRefused, match="here already"):
        take(elsewhere, tmp_path / "run.zip")
    assert runs(elsewhere) == [run.id]


def test_a_file_that_is_not_there_is_named(elsewhere: Settings, tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match=r"there is no file .*nothing\.zip"):
        take(elsewhere, tmp_path / "nothing.zip")
