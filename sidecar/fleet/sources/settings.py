"""What the configuration says about a candidate's telemetry."""

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

import msgspec

from sidecar.door.exposure import is_loopback
from sidecar.errors import ConfigError

Interval = Annotated[float, msgspec.Meta(ge=0.02, le=3600.0)]
# What the client says for itself.
OWN_HEADERS = ("host", "connection", "accept", "accept-encoding", "user-agent", "content-length", "transfer-encoding")


class EngineConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which metrics of a kind of model server say what; see sidecar.fleet.sources.expression for how they are written.

    The attributes are fields of sidecar.fleet.telemetry.Telemetry. One that is left out is the built-in one, if the
    kind of server is built in, else unknown.
    """

    running: str = ""
    waiting: str = ""
    max_running: str = ""
    kv_used: str = ""
    first_token_seconds: str = ""
    seconds_per_token: str = ""
    tokens_per_second: str = ""
    errors_per_second: str = ""


class TelemetryConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a candidate's telemetry is.

    Attributes:
        engine: kind of model server: vllm, sglang, tgi, llamacpp, or a name under `fleet.engines`.
        urls: of the Prometheus metrics of each replica, http or https.
        orca: HOST:PORT of each replica that streams ORCA reports (xds.service.orca.v3.OpenRcaService).
        orca_tls: whether these have TLS.
        model_name: the label `model_name` of the rows to read, where a server serves several models.
        interval_seconds: between two scrapes or reports.
        timeout_seconds: how long one scrape may take.
        window_seconds: over which time means and rates are taken.
        headers: to be sent with each scrape.
        token_file: path of a file that holds a bearer token and nothing else; read again when it changes.
        ca_file: PEM file of the authorities that may have signed the servers' certificates; empty is the system's.
    """

    engine: str = ""
    urls: tuple[str, ...] = ()
    orca: tuple[str, ...] = ()
    orca_tls: bool = False
    model_name: str = ""
    interval_seconds: Interval = 1.0
    timeout_seconds: Interval = 1.0
    window_seconds: Annotated[float, msgspec.Meta(ge=1.0, le=3600.0)] = 15.0
    headers: dict[str, str] = {}
    token_file: str = ""
    ca_file: str = ""


def check_telemetry(key: str, config: TelemetryConfig, engines: Mapping[str, object]) -> None:
    """Whether a candidate's telemetry can be had as it is configured.

    Args:
        key: how messages call the section.
        config: of the candidate.
        engines: known kinds of model servers.

    Raises:
        ConfigError: the message names the key and the remedy.
    """
    if not (config.urls or config.orca):
        raise ConfigError(f"{key}: has neither urls nor orca; say where the telemetry is, or drop the section.")
    if config.urls and config.engine not in engines:
        said = f"{config.engine!r} is unknown" if config.engine else "is missing"
        raise ConfigError(
            f"{key}.engine: {said}; known are {', '.join(sorted(engines))}; add others under fleet.engines."
        )
    for name, many in (("urls", config.urls), ("orca", config.orca)):
        if len(set(many)) != len(many):
            raise ConfigError(f"{key}.{name}: one of them stands there twice; each replica counts once.")
    for url in config.urls:
        split = split_url(f"{key}.urls", url)
        if config.token_file and split.scheme == "http" and not is_loopback(f"{split.hostname}:0"):
            raise ConfigError(f"{key}.token_file: {url!r} would get the token unencrypted; use https.")
    _check_orca(key, config)
    _check_headers(key, config)


def _check_orca(key: str, config: TelemetryConfig) -> None:
    for address in config.orca:
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit() or "/" in address:
            raise ConfigError(f"{key}.orca: {address!r} is no address; give HOST:PORT.")
        if config.token_file and not config.orca_tls and not is_loopback(address):
            raise ConfigError(f"{key}.token_file: {address!r} would get the token unencrypted; set orca_tls = true.")


def _check_headers(key: str, config: TelemetryConfig) -> None:
    for name, value in config.headers.items():
        if not name or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
            raise ConfigError(f"{key}.headers: {name!r} is no name of a header.")
        if name.lower() in OWN_HEADERS:
            raise ConfigError(f"{key}.headers: {name} is set by the client itself; drop it.")
        if not value.isascii() or not value.isprintable():
            raise ConfigError(f"{key}.headers.{name}: a value is one line of printable ASCII characters.")
    if config.token_file and any(name.lower() == "authorization" for name in config.headers):
        raise ConfigError(f"{key}: token_file and headers.authorization are both set; keep one.")


def split_url(key: str, url: str) -> SplitResult:
    """The parts of a URL.

    Raises:
        ConfigError: it is no URL that can be scraped.
    """
    try:
        split = urlsplit(url)
        sound = split.scheme in ("http", "https") and split.hostname and split.port != 0
    except ValueError:
        sound = False
    if not sound or not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigError(f"{key}: {url!r} is no URL that can be scraped; give http(s)://HOST[:PORT]/PATH.")
    if "@" in split.netloc:  # not repeated: it is a secret
        raise ConfigError(f"{key}: a URL holds a user or a password; put a token into token_file instead.")
    if split.fragment:
        raise ConfigError(f"{key}: {url!r} has a fragment, which no server gets to see; drop it.")
    return split
