"""The documented default fingerprint: what changes the group of an occurrence, and what does not."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localstack.rollbar.grouping import file_name, fingerprint, message_text, method_name


def exception(
    frames: list[tuple[str, str]] | None = None, kind: str = "ValueError", message: str = "no", lineno: int = 1, **more: Any
) -> dict[str, Any]:
    frames = frames or [("app/routes.py", "home")]
    trace = {
        "frames": [{"filename": name, "method": method, "lineno": lineno} for name, method in frames],
        "exception": {"class": kind, "message": message},
    }
    return {"environment": "test", "body": {"trace": trace}} | more


def message(text: str, **more: Any) -> dict[str, Any]:
    return {"environment": "test", "body": {"message": {"body": text}}} | more


BASE = exception()


@pytest.mark.parametrize(
    "same",
    [
        exception(message="something else"),
        exception(lineno=99),
        exception([("/usr/lib/python3.11/threading.py", "run"), ("app/routes.py", "home")]),
        exception([("/venv/lib/python3.11/site-packages/flask/app.py", "wsgi_app"), ("app/routes.py", "home")]),
        exception([("app/routes.py", "home17")]) | {"fingerprint": fingerprint(BASE)},
    ],
)
def test_what_does_not_tell_exceptions_apart(same: dict[str, Any]) -> None:
    assert fingerprint(same) == fingerprint(BASE)


@pytest.mark.parametrize(
    "other",
    [
        exception(kind="KeyError"),
        exception([("app/routes.py", "user")]),
        exception([("app/models.py", "home")]),
        exception([("app/routes.py", "home"), ("app/models.py", "load")]),
        exception([("app/routes.pyh", "ome")]),
        exception(fingerprint="mine"),
        message("ValueError"),
    ],
)
def test_what_tells_exceptions_apart(other: dict[str, Any]) -> None:
    assert fingerprint(other) != fingerprint(BASE)


def test_every_frame_counts_when_all_are_the_frameworks() -> None:
    flask, jinja = (("/venv/lib/python3.11/site-packages/" + name, "run") for name in ("flask/app.py", "jinja2/loaders.py"))
    assert fingerprint(exception([flask])) != fingerprint(exception([jinja]))


def test_moving_the_application_changes_nothing_when_its_root_is_known() -> None:
    here = exception([("/srv/one/app/routes.py", "home")], server={"root": "/srv/one"})
    there = exception([("/home/ann/two/app/routes.py", "home")], server={"root": "/home/ann/two/"})
    assert fingerprint(here) == fingerprint(there)
    assert fingerprint(here) != fingerprint(exception([("/srv/one/app/routes.py", "home")]))
    assert file_name("/srv/oneself/app.py", "/srv/one") == "/srv/oneself/app.py"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/releases/20250101120000/app.py", "/releases/20250314091011/app.py"),
        ("/releases/2025-01-01/app.py", "/releases/2024-12-31/app.py"),
        ("/deploy/3da541559918a808c2402bba5012f6c60b27661c/app.py", "/deploy/b6437f45b7bbbb15f5eddc2eace4c71a8625da8c/app.py"),
        ("/deploy/3da5415/app.py", "/deploy/b6437f4/app.py"),
    ],
)
def test_dates_and_shas_leave_paths(one: str, other: str) -> None:
    assert file_name(one, "") == file_name(other, "")


@pytest.mark.parametrize("name", ["/app/defaced/views.py", "/app/v2/views.py", "/app/2025/views.py"])
def test_names_that_only_look_a_little_like_data_stay(name: str) -> None:
    assert file_name(name, "") == name


def test_long_integers_leave_method_names_and_short_ones_stay() -> None:
    assert method_name("render_12345") == method_name("render_99") == "render_"
    assert method_name("step1") != method_name("step2")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("user 17 failed", "user 4711 failed"),
        ("at 2025-01-02 03:04:05 it broke", "at 2024-11-12T13:14:15.678Z it broke"),
        ("mail to ann@example.com bounced", "mail to bob.lee@mail.example.org bounced"),
        ("from 10.0.0.1", "from 192.168.17.200"),
        ("from fe80::1ff:fe23:4567:890a", "from 2001:db8::7"),
        ("took 1.5 s", "took 2.75 s"),
        ("object at 0x7f3a", "object at 0xdeadbeef"),
        ("commit 3da54155 missing", "commit b6437f45 missing"),
    ],
)
def test_data_does_not_tell_messages_apart(one: str, other: str) -> None:
    assert fingerprint(message(one)) == fingerprint(message(other))


@pytest.mark.parametrize(
    ("one", "other"), [("disk full", "disk slow"), ("try 1", "try 2"), ("the decade began", "the facade began"), ("Hello", "hello")]
)
def test_words_tell_messages_apart(one: str, other: str) -> None:
    assert fingerprint(message(one)) != fingerprint(message(other))


def test_a_message_is_hashed_by_what_is_left_of_it() -> None:
    assert fingerprint(message("Hello World!")) == hashlib.sha1(b"Hello World!").hexdigest()
    assert message_text("4711 times") == " times"


def test_an_explicit_fingerprint_is_used_as_it_is_up_to_40_characters() -> None:
    assert fingerprint(exception(fingerprint="f" * 40)) == "f" * 40
    assert fingerprint(exception(fingerprint="f" * 41)) == hashlib.sha1(b"f" * 41).hexdigest()
    assert fingerprint(exception(fingerprint="")) == fingerprint(BASE)


def test_a_chain_is_told_apart_by_all_its_exceptions() -> None:
    def chain(*kinds: str) -> dict[str, Any]:
        return {"body": {"trace_chain": [exception(kind=kind)["body"]["trace"] for kind in kinds]}}

    assert fingerprint(chain("ValueError")) == fingerprint(BASE)
    assert fingerprint(chain("ValueError", "KeyError")) != fingerprint(chain("ValueError", "OSError"))


@given(st.text(max_size=2_000))
def test_any_text_has_a_fingerprint(text: str) -> None:
    assert len(fingerprint(message(text))) == 40
    assert len(fingerprint(exception([(text, text)], kind=text, server={"root": text}))) == 40


@pytest.mark.parametrize(
    "text", ["1." * 50_000, "a@" * 50_000, "f" * 100_000, ":" * 100_000, "0x" * 50_000, "a." * 50_000 + "@", "2025-01-01" * 9_000]
)
@pytest.mark.timeout(20)
def test_no_text_makes_grouping_slow(text: str) -> None:
    fingerprint(message(text))
