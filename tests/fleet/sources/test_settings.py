from pathlib import Path
from typing import Any

import pytest

from sidecar.config import CandidateConfig, Config, load_config
from sidecar.errors import ConfigError
from sidecar.fleet.sources.settings import TelemetryConfig

URL = "http://model:8000/metrics"


def checked(**telemetry: Any) -> Config:
    given = {"engine": "vllm", "urls": (URL,), **telemetry}
    return Config(candidates=(CandidateConfig(name="small", telemetry=TelemetryConfig(**given)),)).checked()


def test_a_file_may_say_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "router.toml"
    path.write_text("""
        [[candidates]]
        name = "small"
        [candidates.telemetry]
        engine = "trt"
        urls = ["https://a:8000/metrics", "https://b:8000/metrics?x=1"]
        orca = ["a:9000"]
        orca_tls = true
        model_name = "llama"
        interval_seconds = 0.5
        token_file = "/run/secrets/token"
        ca_file = "/etc/ca.pem"
        headers = { "X-Scope" = "router" }
        [[candidates]]
        name = "large"
        [fleet.engines.trt]
        running = 'nv_trt_llm_request_metrics{request_type="scheduled"}'
        """)
    config = load_config(path)
    assert config.candidates[0].telemetry is not None
    assert config.candidates[0].telemetry.headers == {"X-Scope": "router"}
    assert config.observes()


def test_without_telemetry_there_is_nothing_to_observe() -> None:
    assert not Config(candidates=(CandidateConfig(name="small"),)).checked().observes()


@pytest.mark.parametrize(
    ("telemetry", "words"),
    [
        ({"urls": ()}, r"candidates\.small\.telemetry: has neither urls nor orca"),
        ({"engine": "vllmm"}, r"telemetry\.engine: 'vllmm' is unknown; known are llamacpp, orca, sglang, tgi, vllm"),
        ({"engine": ""}, r"telemetry\.engine: is missing"),
        ({"urls": (URL, URL)}, r"telemetry\.urls: one of them stands there twice"),
        ({"urls": ("ftp://a/metrics",)}, "no URL that can be scraped"),
        ({"urls": ("http:///metrics",)}, "no URL that can be scraped"),
        ({"urls": ("http://a:99999/metrics",)}, "no URL that can be scraped"),
        ({"urls": ("http://a/metrics\r\nx: y",)}, "no URL that can be scraped"),
        ({"urls": ("http://a/metrics#x",)}, "has a fragment"),
        ({"orca": ("a",)}, r"telemetry\.orca: 'a' is no address"),
        ({"orca": ("grpc://a:1",)}, "is no address"),
        ({"token_file": "t"}, "would get the token unencrypted; use https"),
        ({"urls": (), "orca": ("a:1",), "token_file": "t"}, "would get the token unencrypted; set orca_tls"),
        ({"headers": {"host": "a"}}, r"telemetry\.headers: host is set by the client itself"),
        ({"headers": {"x y": "a"}}, "'x y' is no name of a header"),
        ({"headers": {"x": "a\r\nb: c"}}, r"headers\.x: a value is one line"),
        (
            {"urls": ("https://a/",), "token_file": "t", "headers": {"Authorization": "x"}},
            "token_file and headers.authorization are both set",
        ),
    ],
)
def test_what_cannot_be_had_is_refused_by_its_key(telemetry: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        checked(**telemetry)


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="holds a user or a password") as caught:
        checked(urls=("http://me:hunter2@a/metrics",))
    assert "hunter2" not in str(caught.value)


def test_a_token_may_cross_this_machine_in_clear() -> None:
    checked(urls=("http://127.0.0.1:8000/metrics",), token_file="t")  # noqa: S106 - a path


def test_a_key_that_is_unknown_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "router.toml"
    path.write_text('[[candidates]]\nname = "a"\n[candidates.telemetry]\nurl = "http://a"\n')
    with pytest.raises(ConfigError, match=r"candidates\.a\.telemetry\.url: is unknown .did you mean .urls"):
        load_config(path)


def test_an_engine_that_is_wrong_is_found_at_once(tmp_path: Path) -> None:
    path = tmp_path / "router.toml"
    path.write_text('[fleet.engines.mine]\nrunning = "sum(a)"\n')
    with pytest.raises(ConfigError, match=r"fleet\.engines\.mine\.running: sum\(\) is unknown"):
        load_config(path)
