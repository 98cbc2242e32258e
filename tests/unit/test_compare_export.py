"""A run as one file: what was exported is there again elsewhere, no secret leaves, and a file that is not whole changes nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as some

from compose.settings import Settings, SignalPath
from loadtest.ledger import LedgerEntry
from loadtest.runs import IMPORTED, MANIFEST, Run, RunError, newest_run, runs
from services.compare.__main__ import show_trace
from services.compare.comparing import compare
from services.compare.export import documents
from services.compare.export.forms import CONTENTS, FORMAT, TABLES, Kept
from services.compare.export.reading import ImportRefused, take
from services.compare.export.secrets import REMOVED, Secrets
from services.compare.export.writing import export
from services.compare.readers.base import Observation
from services.compare.record import Record
from services.compare.undeclared import Found, Looked, Undeclared
from services.compare.web.app import create_app
from services.cruddur.signals import Outcome, Route
from tests.api.servers import hermetic_settings
from tests.compared_runs import RUN, make_run
from tests.ports import free_port

SECRET = 'hc/key"with+everything='


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return hermetic_settings(state_dir=tmp_path / "here", honeycomb_api_key=SECRET, backends="xray")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Settings:
    return hermetic_settings(state_dir=tmp_path / "there")


def beside(trace_id: str) -> Found:
    """What nobody declared, a secret among it."""
    rows = [Undeclared(SignalPath.XRAY_SDK, "segment", "", "http.request.url", 1, 1, f"https://x/?key={SECRET}", trace_id, ("a", "b"))]
    return Found(2, 2, rows, {SignalPath.XRAY_SDK: Looked({"segment": 1}, 1)})


@pytest.fixture
def run(settings: Settings) -> Run:
    """A finished, compared run of two requests, one of which carries a secret, with its documents collected."""
    entries = [
        LedgerEntry(
            RUN, n, f"695b8f00{n:024x}", "GET", Route.SEARCH, f"/api/activities/search?term={quote(SECRET, safe='')}", Outcome.OK, 200,
            1767600000.0 + n, 12.5, True, None, None,
        )
        for n in range(2)
    ]  # fmt: skip
    segment = Observation(
        SignalPath.XRAY_SDK,
        "segment",
        "Cruddur",
        "Cruddur",
        "00000000000000aa",
        entries[0].trace_id,
        RUN,
        {"run": RUN},
        start=1767600000.0,
    )
    run = make_run(
        settings,
        entries=entries,
        paths=settings.paths,
        observations=[segment],
        why=lambda _: f"because {SECRET}",
        beside=beside(entries[0].trace_id),
    )
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
    (row,) = again.rows("FROM undeclared")
    assert (row["name"], row["example"], row["same_as"]) == ("http.request.url", f"https://x/?key={REMOVED}", ["a", "b"])
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
    with pytest.raises(RunError, match="no run but imported ones"):
        newest_run(elsewhere)
    with pytest.raises(RunError, match=f"/runs/{run.id}/requests/"):
        show_trace(elsewhere, taken.entries()[0].trace_id, as_json=False)


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


def test_a_secret_in_a_vendors_refusal_does_not_leave_either(settings: Settings, run: Run, tmp_path: Path) -> None:
    """The reason why not all documents of a path are there is the vendor's own words."""
    tables = run.folder / Record.open(run.folder).document["folder"]
    documents.keep_states(tables, {path: Kept(count=0, reason=f"no such key: {SECRET}") for path in run.manifest.paths})
    (run.folder / IMPORTED).write_text("{}")  # nobody is asked again
    export(settings, run, tmp_path / "run.zip")
    with zipfile.ZipFile(tmp_path / "run.zip") as archive:
        reasons = [each["reason"] for each in json.loads(archive.read(CONTENTS))["documents"].values()]
    assert set(reasons) == {f"no such key: {REMOVED}"}


def test_what_a_killed_import_left_is_no_run_and_goes_with_the_next_import(
    settings: Settings, elsewhere: Settings, run: Run, tmp_path: Path
) -> None:
    left = elsewhere.runs_dir / ".import-0123abcd" / "record-01234567"
    left.mkdir(parents=True)
    shutil.copy(run.folder / MANIFEST, left.parent / MANIFEST)
    export(settings, run, tmp_path / "run.zip")
    assert runs(elsewhere) == []
    assert "0123abcd" not in create_app(elsewhere).test_client().get("/").text
    take(elsewhere, tmp_path / "run.zip")
    assert [path.name for path in elsewhere.runs_dir.iterdir()] == [run.id]


def test_what_a_killed_export_left_is_in_nobodys_way(settings: Settings, run: Run, tmp_path: Path) -> None:
    (tmp_path / ".run.zip.parallax-0123abcd").mkdir()
    before_ours = tmp_path / ".run.zip.parallax-0123abcd"
    for name in (".run.zip.work", ".run.zip.part"):
        (tmp_path / name).mkdir()
    before = sorted(path.name for path in tmp_path.iterdir() if path != before_ours)
    export(settings, run, tmp_path / "run.zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "run.zip"]), (
        "what was left goes, what is another's stays, and it leaves nothing itself"
    )
    with pytest.raises(OSError, match="folder"):
        export(settings, run, tmp_path)


def test_documents_that_are_there_stay_when_a_vendor_cannot_be_asked_again(settings: Settings, run: Run, tmp_path: Path) -> None:
    """One path was read whole, of the other one document; now nobody listens."""
    tables = run.folder / Record.open(run.folder).document["folder"]
    rows = [
        {"path": path, "trace_id": "695b8f00" + "0" * 24, "id": f"{n:016x}", "document": "{}"}
        for n, path in enumerate((SignalPath.XRAY_SDK, SignalPath.XRAY_SDK, SignalPath.XRAY_OTLP))
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=TABLES["documents.parquet"]), tables / "documents.parquet")
    whole, part = Kept(count=2), Kept(count=1, reason="it went down")
    documents.keep_states(tables, {SignalPath.XRAY_SDK: whole, SignalPath.XRAY_OTLP: part})
    left = tables / ".documents-0123abcd"
    left.mkdir()
    nobody = settings.model_copy(update={"xray_endpoint": f"http://127.0.0.1:{free_port()}"})
    found = documents.collect(nobody, run, tables)
    assert found == {SignalPath.XRAY_SDK: whole, SignalPath.XRAY_OTLP: part} == documents.states(tables)
    assert len(Record.open(run.folder).rows("FROM documents")) == 3
    assert not left.exists(), "what a killed collecting left"


SPECIAL = 'hc/key"with+every thing=\\é'


@pytest.mark.parametrize(
    "written",
    [
        SPECIAL,
        json.dumps(SPECIAL),
        json.dumps(SPECIAL, ensure_ascii=False),
        json.dumps({"message": json.dumps({"key": SPECIAL})}),
        SPECIAL.replace("/", "\\/"),
        quote(SPECIAL),
        quote(SPECIAL, safe="").lower(),
        quote_plus(SPECIAL),
        base64.urlsafe_b64encode(SPECIAL.encode()).decode(),
        quote(base64.b64encode(SPECIAL.encode()).decode(), safe=""),
    ],
    ids=["plain", "json", "unicode", "json-in-json", "slashes", "percent", "lower-case", "query", "url-safe", "percent-base64"],
)
def test_a_secret_is_found_in_every_form(written: str) -> None:
    clean = Secrets(frozenset({SPECIAL})).removed(written)
    assert REMOVED in clean
    assert "hc" not in clean
    assert "thing" not in clean


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


def damage(member: str) -> Callable[[dict[str, bytes]], None]:
    """A table whose footer is whole and whose first page is not."""

    def change(members: dict[str, bytes]) -> None:
        members[member] = members[member][:4] + b"\xff" * 24 + members[member][28:]

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
    "a time that is no number": (table("requests.parquet", start=[float("nan"), 1.0]), "no time of a calendar"),
    "a time without a day": (table("requests.parquet", start=[1e300, 1.0]), "no time of a calendar"),
    "a trace id twice": (table("requests.parquet", trace_id=["0" * 32, "0" * 32]), "trace id twice"),
    "a text without end": (table("requests.parquet", target=["/" * 70_000, "/"]), "longer than any"),
    "fewer requests than were made": (edit("manifest.json", finished=3), "say otherwise"),
    "a run of no day": (edit("manifest.json", started=1e300), "no time of a calendar"),
    "a run that was at no time": (edit("manifest.json", started=float("nan")), "no time of a calendar"),
    "a number in quotes": (edit("record.json", requests="2"), "requests"),
    "a number no page can hold": (edit("record.json", requests=10**30), "requests"),
    "a meter nobody knows": (edit("record.json", meters=[{"path": None, "meter": "<script>", "units": 1}]), "meter"),
    "a run of nested things": (edit("record.json", about={"profile": {"a": 1}}), "about"),
    "an observation of an unknown kind": (table("observations.parquet", kind=["rumour"]), "kind nobody knows"),
    "an observation without a name": (table("observations.parquet", name=[None]), "without service, name"),
    "an outcome without its words": (table("outcomes.parquet", absent=[None]), "without its words"),
    "an outcome that lacks a word": (table("outcomes.parquet", extra=[[None]]), "without its words"),
    "a document of nowhere": (table("documents.parquet", path=["../x"]), "document without path"),
    "undeclared on an unknown path": (table("undeclared.parquet", path=["../x"]), "undeclared attribute"),
    "undeclared without end": (table("undeclared.parquet", example=["x" * 70_000]), "undeclared attribute"),
    "undeclared and no word": (table("undeclared.parquet", same_as=[[None]]), "undeclared attribute"),
    "undeclared of nothing": (edit("record.json", undeclared={"requests": 1}), "record.json"),
    "a damaged page": (damage("documents.parquet"), "cannot be read"),
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


@pytest.mark.parametrize("how", ["packed", "encrypted"])
def test_a_file_that_may_unpack_to_any_size_is_refused(settings: Settings, elsewhere: Settings, run: Run, tmp_path: Path, how: str) -> None:
    export(settings, run, tmp_path / "good.zip")
    if how == "packed":
        with zipfile.ZipFile(tmp_path / "good.zip") as good, zipfile.ZipFile(tmp_path / "bad.zip", "w", zipfile.ZIP_DEFLATED) as bad:
            for name in good.namelist():
                bad.writestr(name, good.read(name))
    else:
        # The flag in every local header and in the list at the end.
        data = bytearray((tmp_path / "good.zip").read_bytes())
        for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            at = -1
            while (at := data.find(signature, at + 1)) >= 0:
                data[at + flags] |= 1
        (tmp_path / "bad.zip").write_bytes(data)
    with pytest.raises(ImportRefused, match="packed or encrypted"):
        take(elsewhere, tmp_path / "bad.zip")
    assert runs(elsewhere) == []


def test_whatever_byte_is_wrong_it_is_refused_or_changes_nothing(settings: Settings, elsewhere: Settings, run: Run, tmp_path: Path) -> None:
    export(settings, run, tmp_path / "good.zip")
    good = (tmp_path / "good.zip").read_bytes()
    # Mostly where the archive speaks of itself: its members have checksums.
    listed = good.index(b"PK\x01\x02")
    places = [*range(60), *range(listed, len(good), 11)]
    for at in places:
        bad = bytearray(good)
        bad[at] ^= 0xFF
        (tmp_path / "bad.zip").write_bytes(bad)
        try:
            taken = take(elsewhere, tmp_path / "bad.zip")
        except (ImportRefused, OSError):  # The system's own words where the archive points outside of itself.
            continue
        assert Record.open(taken.folder).document["conclusion"] == Record.open(run.folder).document["conclusion"]
        shutil.rmtree(taken.folder)


def test_the_same_run_is_not_taken_twice(settings: Settings, elsewhere: Settings, run: Run, tmp_path: Path) -> None:
    export(settings, run, tmp_path / "run.zip")
    take(elsewhere, tmp_path / "run.zip")
    with pytest.raises(ImportRefused, match="here already"):
        take(elsewhere, tmp_path / "run.zip")
    assert runs(elsewhere) == [run.id]


def test_a_run_of_an_older_version_is_taken_and_has_neither_meters_nor_what_is_undeclared(
    settings: Settings, elsewhere: Settings, run: Run, tmp_path: Path
) -> None:
    export(settings, run, tmp_path / "good.zip")

    def older(members: dict[str, bytes]) -> None:
        document = json.loads(members["record.json"])
        for name in ("meters", "judging_seconds", "undeclared"):
            del document[name]
        members["record.json"] = json.dumps(document).encode()
        drop("undeclared.parquet")(members)
        edit(CONTENTS, format=1)(members)

    taken = take(elsewhere, altered(tmp_path / "good.zip", tmp_path / "old.zip", older))
    again = Record.open(taken.folder)
    assert not {"meters", "undeclared"} & set(again.document)
    assert again.rows("FROM undeclared") == []
    page = create_app(elsewhere).test_client().get(f"/runs/{run.id}/attributes")
    assert page.status_code == 200
    assert "Nobody looked when this record was made" in page.text
    assert "make compare" not in page.text, "an imported run is never compared"
    exported = export(elsewhere, taken, tmp_path / "again.zip")
    assert exported.format == FORMAT, "what it has no table of is an empty one"
    shutil.rmtree(taken.folder)
    assert "undeclared" not in Record.open(take(elsewhere, tmp_path / "again.zip").folder).document


def test_a_file_that_is_not_there_is_named(elsewhere: Settings, tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match=r"there is no file .*nothing\.zip"):
        take(elsewhere, tmp_path / "nothing.zip")
