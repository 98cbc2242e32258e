"""Every setting of Parallax, declared once.

A field here is an environment variable of the same name in upper case, a line of ``.env.example``, a row of
``docs/settings.md`` and a default for every process. ``make docs`` writes the generated files; a test
fails when one of them is out of date.

Values come from the environment first, then from ``.env`` in the project's folder, then from the defaults here.
"""

from __future__ import annotations

import difflib
import sys
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

ROOT = Path(__file__).resolve().parent.parent


class Backend(StrEnum):
    """An observability vendor."""

    HONEYCOMB = "honeycomb"
    XRAY = "xray"
    CLOUDWATCH = "cloudwatch"
    ROLLBAR = "rollbar"


class SignalPath(StrEnum):
    """One way from the application to a backend; compare keeps them apart."""

    HONEYCOMB_OTLP = "honeycomb/otlp"
    XRAY_SDK = "xray/sdk"
    XRAY_OTLP = "xray/otlp"
    CLOUDWATCH_WATCHTOWER = "cloudwatch/watchtower"
    CLOUDWATCH_OTLP = "cloudwatch/otlp"
    ROLLBAR_SDK = "rollbar/sdk"

    @property
    def backend(self) -> Backend:
        return Backend(self.value.split("/")[0])

    @property
    def transport(self) -> str:
        return self.value.split("/")[1]


class ConfigurationError(Exception):
    """A missing or wrong setting. The message is one line that names the setting and what to do."""


def _choices(value: Any, allowed: type[StrEnum], name: str) -> frozenset[Any]:
    """Parse ``a,b,c`` into members of ``allowed``; names what is wrong and what is allowed."""
    words = [word.strip() for word in value.split(",")] if isinstance(value, str) else list(value)
    words = [word for word in words if word]
    known = {member.value for member in allowed}
    wrong = [str(word) for word in words if str(word) not in known]
    if wrong:
        raise ValueError(f"{name} does not know {', '.join(wrong)}; choose from {', '.join(m.value for m in allowed)}")
    return frozenset(allowed(word) for word in words)


class XRayTransport(StrEnum):
    SDK = "sdk"
    OTLP = "otlp"


class CloudWatchTransport(StrEnum):
    WATCHTOWER = "watchtower"
    OTLP = "otlp"


_REAL = {"honeycomb": "https://api.honeycomb.io", "rollbar": "https://api.rollbar.com"}

Port = Annotated[int, Field(ge=1, le=65535)]


def _group(name: str) -> dict[str, Any]:
    return {"group": name}


class Settings(BaseSettings):
    """The whole configuration. Fields are grouped as the documentation shows them."""

    model_config = SettingsConfigDict(env_file=ROOT / ".env", extra="ignore", frozen=True, populate_by_name=True)

    # What runs.
    mode: Literal["offline", "online"] = Field(
        "offline",
        description="offline: the local cloud stands in for the vendors. online: the real vendors.",
        json_schema_extra=_group("What runs"),
    )
    backends: Annotated[frozenset[Backend], NoDecode] = Field(
        frozenset(Backend), description="Backends that receive telemetry, separated by commas.", json_schema_extra=_group("What runs")
    )
    xray_paths: Annotated[frozenset[XRayTransport], NoDecode] = Field(
        frozenset(XRayTransport),
        description="Ways to X-Ray: its SDK through the daemon, OTLP through the Collector.",
        json_schema_extra=_group("What runs"),
    )
    cloudwatch_paths: Annotated[frozenset[CloudWatchTransport], NoDecode] = Field(
        frozenset(CloudWatchTransport),
        description="Ways to CloudWatch: watchtower, OTLP through the Collector.",
        json_schema_extra=_group("What runs"),
    )
    sandbox: bool = Field(
        True,
        description="Let a request ask cruddur for a fault (X-Parallax-Fault). Off: the header is ignored.",
        json_schema_extra=_group("What runs"),
    )
    state_dir: Path = Field(Path(".state"), description="Databases, queues, logs and runs.", json_schema_extra=_group("What runs"))
    bind_host: str = Field("127.0.0.1", description="Address every process listens on.", json_schema_extra=_group("What runs"))

    # Application.
    database_url: str = Field(
        "", description="SQLAlchemy URL of cruddur's database. Empty: SQLite below STATE_DIR.", json_schema_extra=_group("Application")
    )
    cruddur_port: Port = Field(4567, description="cruddur.", json_schema_extra=_group("Application"))
    cruddur_workers: int = Field(1, ge=1, le=64, description="gunicorn workers of cruddur.", json_schema_extra=_group("Application"))
    cruddur_threads: int = Field(8, ge=1, le=256, description="Threads of each gunicorn worker.", json_schema_extra=_group("Application"))
    profiles_port: Port = Field(4568, description="profiles.", json_schema_extra=_group("Application"))
    profiles_url: str = Field(
        "", description="Where cruddur finds profiles. Empty: the local one.", json_schema_extra=_group("Application")
    )
    profiles_timeout: float = Field(2.0, gt=0, description="Seconds cruddur waits for profiles.", json_schema_extra=_group("Application"))

    # Collector.
    otlp_grpc_port: Port = Field(4317, description="Collector, OTLP over gRPC.", json_schema_extra=_group("Collector"))
    otlp_http_port: Port = Field(4318, description="Collector, OTLP over HTTP.", json_schema_extra=_group("Collector"))
    collector_health_port: Port = Field(13133, description="Collector, health check.", json_schema_extra=_group("Collector"))
    collector_metrics_port: Port = Field(
        8888, description="Collector, its own metrics (Prometheus).", json_schema_extra=_group("Collector")
    )
    collector_hop_xray_port: Port = Field(
        4327, description="Collector, loopback hop before awsxray.", json_schema_extra=_group("Collector")
    )
    collector_hop_emf_port: Port = Field(4328, description="Collector, loopback hop before awsemf.", json_schema_extra=_group("Collector"))
    collector_memory_limit_mib: int = Field(
        512, ge=64, description="memory_limiter of each Collector process, MiB.", json_schema_extra=_group("Collector")
    )
    xray_daemon_port: Port = Field(2000, description="X-Ray daemon's role, UDP and TCP.", json_schema_extra=_group("Collector"))
    xray_daemon_health_port: Port = Field(13134, description="X-Ray daemon's role, health check.", json_schema_extra=_group("Collector"))
    xray_daemon_metrics_port: Port = Field(8889, description="X-Ray daemon's role, its own metrics.", json_schema_extra=_group("Collector"))
    xray_daemon_hop_port: Port = Field(
        4329, description="X-Ray daemon's role, loopback hop before awsxray.", json_schema_extra=_group("Collector")
    )

    # Recording.
    record: bool = Field(
        True,
        description="Record what the Collector accepts over OTLP below STATE_DIR, for make replay.",
        json_schema_extra=_group("Recording"),
    )
    record_files: int = Field(
        8,
        ge=1,
        description="Full files of 32 MB kept of traces, of logs and of metrics; the oldest go.",
        json_schema_extra=_group("Recording"),
    )
    collector_hop_recording_port: Port = Field(
        4330, description="Collector, loopback hop before the recording.", json_schema_extra=_group("Recording")
    )

    # Honeycomb.
    honeycomb_endpoint: str = Field(
        "", description="Honeycomb API. Empty: the local one offline, api.honeycomb.io online.", json_schema_extra=_group("Honeycomb")
    )
    honeycomb_api_key: SecretStr = Field(
        SecretStr(""), description="Key that sends (x-honeycomb-team).", json_schema_extra=_group("Honeycomb")
    )
    honeycomb_query_key: SecretStr = Field(
        SecretStr(""), description="Configuration key that reads back. Empty: HONEYCOMB_API_KEY.", json_schema_extra=_group("Honeycomb")
    )
    honeycomb_metrics_dataset: str = Field("cruddur-metrics", description="Dataset of metrics.", json_schema_extra=_group("Honeycomb"))
    honeycomb_port: Port = Field(4570, description="Local Honeycomb, HTTP and API.", json_schema_extra=_group("Honeycomb"))
    honeycomb_grpc_port: Port = Field(4571, description="Local Honeycomb, OTLP over gRPC.", json_schema_extra=_group("Honeycomb"))

    # AWS.
    aws_port: Port = Field(4566, description="Local AWS.", json_schema_extra=_group("AWS"))
    aws_region: str = Field("us-east-1", description="Region.", json_schema_extra=_group("AWS"))
    aws_access_key_id: str = Field(
        "", description="Access key. Empty: a local one offline, boto3's own chain online.", json_schema_extra=_group("AWS")
    )
    aws_secret_access_key: SecretStr = Field(SecretStr(""), description="Secret key.", json_schema_extra=_group("AWS"))
    aws_session_token: SecretStr = Field(SecretStr(""), description="Session token, online only.", json_schema_extra=_group("AWS"))
    xray_endpoint: str = Field(
        "", description="X-Ray API. Empty: the local one offline, the region's online.", json_schema_extra=_group("AWS")
    )
    logs_endpoint: str = Field(
        "", description="CloudWatch Logs API. Empty: the local one offline, the region's online.", json_schema_extra=_group("AWS")
    )
    log_group: str = Field("cruddur", description="Log group of watchtower.", json_schema_extra=_group("AWS"))
    log_stream: str = Field("cruddur-stream", description="Log stream of watchtower.", json_schema_extra=_group("AWS"))
    otlp_log_group: str = Field(
        "/parallax/otlp", description="Log group of the Collector's awscloudwatchlogs.", json_schema_extra=_group("AWS")
    )
    metrics_log_group: str = Field("/parallax/metrics", description="Log group of the Collector's awsemf.", json_schema_extra=_group("AWS"))
    metrics_namespace: str = Field("Cruddur", description="CloudWatch namespace of metrics.", json_schema_extra=_group("AWS"))

    # Local X-Ray: how strict it is where AWS documents nothing.
    xray_reject_old_trace_ids: bool = Field(
        False,
        description="Refuse trace ids whose first 8 digits are no time of the last 30 days, and with them W3C ids.",
        json_schema_extra=_group("Local X-Ray"),
    )
    xray_reject_full_traces: bool = Field(
        False,
        description="Refuse segments of a trace that has 500 KB, instead of only saying LimitExceeded.",
        json_schema_extra=_group("Local X-Ray"),
    )
    xray_reject_annotations: bool = Field(
        False, description="Refuse segments with annotations that break the documented form.", json_schema_extra=_group("Local X-Ray")
    )
    xray_reject_wrong_types: bool = Field(
        False, description="Refuse segments with documented members of a wrong type.", json_schema_extra=_group("Local X-Ray")
    )

    # Rollbar.
    rollbar_endpoint: str = Field(
        "",
        description="Rollbar API, without /api/1. Empty: the local one offline, api.rollbar.com online.",
        json_schema_extra=_group("Rollbar"),
    )
    rollbar_access_token: SecretStr = Field(
        SecretStr(""), description="Project token with post_server_item.", json_schema_extra=_group("Rollbar")
    )
    rollbar_read_token: SecretStr = Field(SecretStr(""), description="Project token with read.", json_schema_extra=_group("Rollbar"))
    rollbar_environment: str = Field(
        "parallax", min_length=1, max_length=255, description="Environment of items.", json_schema_extra=_group("Rollbar")
    )
    rollbar_port: Port = Field(4572, description="Local Rollbar.", json_schema_extra=_group("Rollbar"))

    # Load.
    profile: Literal["smoke", "demo", "soak", "spike"] = Field("demo", description="Shape of the load.", json_schema_extra=_group("Load"))
    requests: int | None = Field(None, ge=1, description="Number of requests; overrides the profile's.", json_schema_extra=_group("Load"))
    users: int | None = Field(
        None, ge=1, le=1000, description="Simulated users; overrides the profile's.", json_schema_extra=_group("Load")
    )
    seed: int = Field(1, ge=0, description="Makes the order of requests repeatable.", json_schema_extra=_group("Load"))
    sampling: Literal["all", "rules"] = Field(
        "all", description="all: every request is sampled. rules: the backends' sampling decides.", json_schema_extra=_group("Load")
    )
    ui: bool = Field(False, description="Serve Locust's page instead of running headless.", json_schema_extra=_group("Load"))
    locust_port: Port = Field(8089, description="Locust's page.", json_schema_extra=_group("Load"))
    locust_workers: int = Field(
        1, ge=1, le=64, description="Locust processes; each writes its own ledger file.", json_schema_extra=_group("Load")
    )
    target_url: str = Field("", description="Application under load. Empty: the local cruddur.", json_schema_extra=_group("Load"))

    # Compare.
    run: str = Field("", description="Run to compare. Empty: the newest.", json_schema_extra=_group("Compare"))
    format: Literal["table", "json", "markdown", "junit"] = Field(
        "table", description="What compare prints; markdown and junit: of two runs.", json_schema_extra=_group("Compare")
    )
    thresholds: str = Field(
        "",
        description="What is accepted when two runs are compared; empty: slower=25%+5ms later=50%+500ms lost=0% cost=10%.",
        json_schema_extra=_group("Compare"),
    )
    settle: float = Field(
        15.0, ge=0, description="Seconds without a change after which a run counts as settled.", json_schema_extra=_group("Compare")
    )
    compare_timeout: float = Field(
        120.0, gt=0, description="Seconds compare waits at most for a run to settle.", json_schema_extra=_group("Compare")
    )

    # Web page.
    compare_port: Port = Field(4580, description="The web page.", json_schema_extra=_group("Web page"))
    compare_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="More host names by which the web page may be asked, separated by commas.", json_schema_extra=_group("Web page")
    )

    # Replay.
    config: str = Field(
        "",
        description="Collector configuration files that make replay adds after the sandbox's, separated by spaces.",
        json_schema_extra=_group("Replay"),
    )
    config_only: bool = Field(
        False, description="Replay through the files of CONFIG alone, without the sandbox's.", json_schema_extra=_group("Replay")
    )
    replay_rate: int = Field(
        5000, ge=1, description="Spans, log records and data points a second that make replay sends.", json_schema_extra=_group("Replay")
    )

    @field_validator("backends", mode="before")
    @classmethod
    def _backends(cls, value: Any) -> frozenset[Any]:
        return _choices(value, Backend, "BACKENDS")

    @field_validator("xray_paths", mode="before")
    @classmethod
    def _xray_paths(cls, value: Any) -> frozenset[Any]:
        return _choices(value, XRayTransport, "XRAY_PATHS")

    @field_validator("cloudwatch_paths", mode="before")
    @classmethod
    def _cloudwatch_paths(cls, value: Any) -> frozenset[Any]:
        return _choices(value, CloudWatchTransport, "CLOUDWATCH_PATHS")

    @field_validator("compare_hosts", mode="before")
    @classmethod
    def _compare_hosts(cls, value: Any) -> tuple[str, ...]:
        names = value.split(",") if isinstance(value, str) else value
        return tuple(name.strip() for name in names if name.strip())

    @field_validator("requests", "users", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        return None if value == "" else value

    @field_validator("state_dir", mode="before")
    @classmethod
    def _empty_is_the_default(cls, value: Any) -> Any:
        # An empty path would be the project's own folder.
        return cls.model_fields["state_dir"].default if value == "" else value

    @field_validator("profiles_url", "target_url", "honeycomb_endpoint", "xray_endpoint", "logs_endpoint", "rollbar_endpoint")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        """Empty, or an http address that paths can be put behind."""
        try:
            parts = urlsplit(value)
            whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            whole = False
        if value and not whole:
            raise ValueError("it must begin with http:// or https:// and name a host")
        return value.rstrip("/")

    @field_validator("state_dir", mode="after")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value if value.is_absolute() else ROOT / value

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_mode(cls, values: Any) -> Any:
        """Fill what was left empty from the mode: local endpoints and keys offline, the vendors' own online."""
        if not isinstance(values, dict):
            return values
        fields = cls.model_fields

        def get(name: str) -> str:
            value = values.get(name, fields[name].default)
            return str(value.get_secret_value() if isinstance(value, SecretStr) else value)

        def default(name: str, value: str) -> None:
            if get(name) == "":
                values[name] = value

        host = f"[{get('bind_host')}]" if ":" in get("bind_host") else get("bind_host")
        default("profiles_url", f"http://{host}:{get('profiles_port')}")
        default("target_url", f"http://{host}:{get('cruddur_port')}")
        if get("mode") == "offline":
            default("honeycomb_endpoint", f"http://{host}:{get('honeycomb_port')}")
            default("honeycomb_api_key", LOCAL_HONEYCOMB_KEY)
            default("rollbar_endpoint", f"http://{host}:{get('rollbar_port')}")
            default("rollbar_access_token", LOCAL_ROLLBAR_POST_TOKEN)
            default("rollbar_read_token", LOCAL_ROLLBAR_READ_TOKEN)
            default("xray_endpoint", f"http://{host}:{get('aws_port')}")
            default("logs_endpoint", f"http://{host}:{get('aws_port')}")
            default("aws_access_key_id", LOCAL_AWS_KEY)
            default("aws_secret_access_key", LOCAL_AWS_SECRET)
        else:
            default("honeycomb_endpoint", _REAL["honeycomb"])
            default("rollbar_endpoint", _REAL["rollbar"])
        default("honeycomb_query_key", get("honeycomb_api_key"))
        return values

    @cached_property
    def paths(self) -> frozenset[SignalPath]:
        """The signal paths that are switched on."""
        on = set()
        if Backend.HONEYCOMB in self.backends:
            on.add(SignalPath.HONEYCOMB_OTLP)
        if Backend.XRAY in self.backends:
            on |= {SignalPath(f"xray/{transport}") for transport in self.xray_paths}
        if Backend.CLOUDWATCH in self.backends:
            on |= {SignalPath(f"cloudwatch/{transport}") for transport in self.cloudwatch_paths}
        if Backend.ROLLBAR in self.backends:
            on.add(SignalPath.ROLLBAR_SDK)
        return frozenset(on)

    def check_keys(self) -> None:
        """Raise ConfigurationError when a backend that is on lacks the key it cannot do without."""
        if Backend.HONEYCOMB in self.backends and not self.honeycomb_api_key.get_secret_value():
            raise ConfigurationError("HONEYCOMB_API_KEY is empty; set it in .env, or leave honeycomb out of BACKENDS")
        if Backend.ROLLBAR in self.backends and not self.rollbar_access_token.get_secret_value():
            raise ConfigurationError("ROLLBAR_ACCESS_TOKEN is empty; set it in .env, or leave rollbar out of BACKENDS")

    @property
    def data_dir(self) -> Path:
        return self.state_dir / "data"

    @property
    def runs_dir(self) -> Path:
        return self.state_dir / "runs"

    @property
    def log_dir(self) -> Path:
        return self.state_dir / "logs"

    @property
    def page_url(self) -> str:
        """Where a browser on this machine finds the web page."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.bind_host, self.bind_host)  # noqa: S104 (asked, not bound)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.compare_port}/"

    @property
    def sqlalchemy_url(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir / 'cruddur.sqlite'}"

    def environment(self) -> dict[str, str]:
        """Every setting as environment variables, secrets included: for child processes only.

        What is empty is left out and gets its default again, but for lists, where empty means none of them.
        """
        values = {name.upper(): getattr(self, name) for name in type(self).model_fields}
        return {name: as_text(value) for name, value in values.items() if isinstance(value, frozenset) or as_text(value)}

    def public(self) -> dict[str, str]:
        """Every setting but the secrets, as text: for manifests, pages and logs."""
        return {name: as_text(getattr(self, name)) for name in self.shown()}

    @classmethod
    def shown(cls) -> list[str]:
        """The settings whose value is no secret and holds none."""
        holds_a_secret = {"aws_access_key_id", "database_url"}
        return [name for name, field in cls.model_fields.items() if field.annotation is not SecretStr and name not in holds_a_secret]


# Keys the local vendors accept. They open nothing but a program on this machine, so they may be written here.
# Honeycomb: 22 characters, so that no client takes it for a Classic key.
LOCAL_HONEYCOMB_KEY = "parallaxLocalHoneycomb"
LOCAL_ROLLBAR_POST_TOKEN = "parallax0local0rollbar0post00000"
LOCAL_ROLLBAR_READ_TOKEN = "parallax0local0rollbar0read00000"
LOCAL_AWS_KEY = "AKIAPARALLAXLOCAL000"
LOCAL_AWS_SECRET = "parallax-local-secret"


def as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, frozenset):
        return ",".join(sorted(str(member) for member in value))
    return str(value)


def load(**overrides: Any) -> Settings:
    """Read the settings, or raise ConfigurationError with one line that names the first wrong one."""
    try:
        settings = Settings(**overrides)
        _refuse_misspelled()
        return settings
    except (UnicodeDecodeError, OSError) as error:
        raise ConfigurationError(f"{Settings.model_config['env_file']} cannot be read ({error}); write it anew from .env.example") from None
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ").replace("Input should be", "it must be")
        if not message.startswith(f"{name.upper()} "):
            # Without the value where it may be a secret.
            value = f"={first['input']!r}" if name in Settings.shown() and isinstance(first["input"], str) else ""
            message = f"{name.upper()}{value}: {message}"
        raise ConfigurationError(message) from None


def _refuse_misspelled() -> None:
    """Refuse a line of ``.env`` that is nearly a setting. What is like none may be somebody else's, Docker Compose's for one."""
    file = Settings.model_config.get("env_file")
    if file is None:
        return
    known = [name.upper() for name in Settings.model_fields]
    for name in dotenv_values(Path(str(file))):
        near = difflib.get_close_matches(name.upper(), known, 1, cutoff=0.85)
        if name.upper() not in known and near:
            raise ConfigurationError(f"{name} in .env is no setting; did you mean {near[0]}?")


def load_or_exit() -> Settings:
    """Read the settings for a command-line program: one line on standard error and exit status 2 when they are wrong."""
    try:
        return load()
    except ConfigurationError as error:
        sys.exit(_stop(f"parallax: {error}. See docs/settings.md"))


def _stop(message: str) -> int:
    print(message, file=sys.stderr)
    return 2
