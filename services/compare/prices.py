"""What a run would be billed: units counted by the readers, times a dated table of prices.

The table is ``prices.json`` beside this module; ``<STATE_DIR>/prices.json`` of the same form replaces it.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from compose.settings import ConfigurationError, Settings, SignalPath
from services.compare.model import Measures

_BUILT_IN: Final = Path(__file__).with_name("prices.json")

Unit = Literal["event", "trace", "byte", "occurrence"]


class Price(BaseModel):
    """``usd_per_unit`` None: not known, so the cost is unknown too, which is not zero."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unit: Unit
    usd_per_unit: float | None = Field(ge=0)
    free_per_month: int = Field(ge=0)

    def units(self, measures: Measures) -> int:
        return measures.traces if self.unit == "trace" else measures.units

    def cost(self, measures: Measures) -> float | None:
        """US dollars, before the free tier."""
        return None if self.usd_per_unit is None else self.units(measures) * self.usd_per_unit


class Prices(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    as_of: date
    currency: Literal["USD"]
    region: str
    note: str = ""
    paths: dict[SignalPath, Price]


def built_in() -> Prices:
    """The table that comes along."""
    return Prices.model_validate_json(_BUILT_IN.read_bytes())


def load(settings: Settings) -> Prices:
    """The user's table, else the one that comes along. Raises ConfigurationError when it is not one."""
    own = settings.state_dir / "prices.json"
    path = own if own.exists() else _BUILT_IN
    try:
        return Prices.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({error.strerror}); mend it, or remove it to use the built-in prices") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        problem = f"{where + ': ' if where else ''}{first['msg']}"
        raise ConfigurationError(f"{path} is not a table of prices ({problem}); mend it, or remove it to use the built-in prices") from None
