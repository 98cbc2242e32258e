"""Instrumentation that does not fit its library is an error, and database spans bear the database's name."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import make_url

from services.cruddur.store import Store
from services.telemetry import TelemetryError
from services.telemetry.opentelemetry import require
from tests import postgres


class _TooOld(BaseInstrumentor):  # type: ignore[misc]
    """As SQLAlchemy's was for SQLAlchemy 2.1: it does not know the version that is installed."""

    def instrumentation_dependencies(self) -> Collection[str]:
        return ["flask < 1"]

    def _uninstrument(self, **kwargs: Any) -> None:
        pass


def test_what_is_installed_fits() -> None:
    require(FlaskInstrumentor(), RequestsInstrumentor(), SQLAlchemyInstrumentor())


def test_an_instrumentation_that_would_silently_do_nothing_is_refused() -> None:
    with pytest.raises(TelemetryError, match=r"_TooOld refuses .*: found flask [0-9.]+, needs flask < 1; run make setup"):
        require(_TooOld())


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    with postgres.server() as url:
        yield url


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_database_span_bears_the_databases_name(database: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = f"sqlite:///{tmp_path / 'somewhere' / 'cruddur.sqlite'}" if database == "sqlite" else request.getfixturevalue("postgres_url")
    name = "cruddur" if database == "sqlite" else make_url(url).database
    spans, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    store = Store(url)
    SQLAlchemyInstrumentor().instrument(engine=store.engine, tracer_provider=provider)
    try:
        store.prepare()
        spans.clear()
        assert store.user("ada.abbott")
    finally:
        SQLAlchemyInstrumentor().uninstrument()
        store.close()
    (select,) = (span for span in spans.get_finished_spans() if span.name != "connect")
    assert select.name == f"SELECT {name}"
    assert select.attributes is not None
    assert (select.attributes["db.namespace"], select.attributes["db.system.name"]) == (name, database)
