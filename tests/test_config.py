from pathlib import Path

import pytest

from sidecar.config import MIN_CACHE_BYTES, Config, load_config
from sidecar.door.settings import LimitsConfig, TlsConfig
from sidecar.errors import ConfigError
from sidecar.scoring.rows import Rows
from sidecar.settings import GateConfig


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "router.toml"
    path.write_text(text)
    return path


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, "")) == Config()


def test_the_default_address_is_loopback() -> None:
    assert Config().listen.startswith("127.0.0.1:")


def test_everything_that_a_file_says_is_taken(tmp_path: Path) -> None:
    config = load_config(
        written(
            tmp_path,
            """
            listen = "127.0.0.1:9000"
            safe_candidate = "big"
            default_policy = "house"
            segment_keys = ["metadata.tenant", "envelope"]
            trust = ["keys/now.pem", "keys/next.pem"]
            tokens = "tokens.toml"
            [tls]
            certificate = "tls.crt"
            key = "tls.key"
            [limits]
            max_connections = 4
            [gate]
            cpu_seconds = 5
            require_agreement = 0.9
            [policies.house]
            answer_value_usd = 0.05
            max_latency_ms = 9000
            [segments.acme]
            policy = "quality"
            [[candidates]]
            name = "big"
            aliases = ["gpt"]
            capabilities = ["vision"]
            """,
        )
    )
    assert config.candidates[0].aliases == ("gpt",)
    assert config.terms()["house"].max_seconds == 9.0
    assert config.segments["acme"].policy == "quality"
    assert (config.tls, config.tokens) == (TlsConfig(certificate="tls.crt", key="tls.key"), "tokens.toml")
    assert config.limits == LimitsConfig(max_connections=4)
    assert config.trust == ("keys/now.pem", "keys/next.pem")
    assert config.gate == GateConfig(cpu_seconds=5, require_agreement=0.9)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("listne = 'x'", "listne"),
        ("listen = '127.0.0.1:9000'\nmetrics = '127.0.0.1:9000'", r"metrics: '127.0.0.1:9000' is also listen"),
        ("default_policy = 'qualty'", r"did you mean 'quality'"),
        ("[[candidates]]\nname = 'a'\nfirst_token_seconds = 800", r"candidates\.a\.first_token_seconds: is 800"),
        ("[[candidates]]\nname = 'a'\nseconds_per_output_token = 12", r"a\.seconds_per_output_token: is 12"),
        ("max_batch_items = 'many'", r"max_batch_items: "),
        ("transport = 'warp'", r"transport: "),
        ("default_policy = 'house'", "default_policy: 'house' is unknown; known are balanced, quality, thrifty"),
        ("[policies.p]\nanswer_value_usd = -1.0", r"policies\.p\.answer_value_usd is -1\.0"),
        ("[policies.p]\nanswer_value_usd = nan", r"policies\.p\.answer_value_usd is nan"),
        ("[policies.p]\nanswer_value_usd = 0.0\nsecond_value_usd = 1.0", "leaves quality out"),
        ("quality_free_policies = ['p']", "quality_free_policies: 'p' is unknown"),
        ("[segments.s]\npolicy = 'p'", r"segments\.s\.policy: 'p' is unknown"),
        ("segment_keys = ['metadata.']", "segment_keys: 'metadata.'"),
        ("[[candidates]]\nname = ''", "a name or alias is empty"),
        ("[[candidates]]\nname = 'a'\n[[candidates]]\nname = 'a'", "'a' stands there twice"),
        ("[[candidates]]\nname = 'a'\n[[candidates]]\nname = 'b'\naliases = ['a']", "'a' also names 'a'"),
        ("safe_candidate = 'c'\n[[candidates]]\nname = 'a'", "safe_candidate: 'c' is unknown"),
        ("[[candidates]]\nname = 'a'\ninput_usd_per_mtok = -1.0", r"input_usd_per_mtok"),
        ("[[candidates]]\nname = 'a'\nseconds_per_output_token = inf", r"seconds_per_output_token"),
        ("trust = 'k.pem'", r"trust: "),
        ("[gate]\nmemory_mib = 1", r"gate\.memory_mib: "),
        ("[gate]\nseconds = 0.0", r"gate\.seconds: "),
        ("[gate]\nrequire_agreement = 1.5", r"gate\.require_agreement: "),
        ("[gate]\nrequire_agreement = 0.9\nsample = 19", r"gate.require_agreement: 19 requests .* at least 20"),
        ("[gate]\nrequire_agreement = 0.9\nsample = 0", r"gate.require_agreement: 0 requests"),
        ("[cache]\nmax_bytes = 65535", "cache.max_bytes: 65535 bytes are too few .* at least 65536, or 0"),
        ("[cache]\nmax_bytes = -1", r"cache\.max_bytes: "),
        ("listen = 'nowhere'", "listen: 'nowhere' is no address"),
        ("listen = 'host:99999'", "listen: 'host:99999' is no address"),
        ("listen = ", "not TOML"),
        ("[tls]\ncertificate = 'c.pem'", "key"),
        ("[tls]\ncertificate = 'c.pem'\nkey = 'k.pem'\npassword = 'x'", "password"),
        ("[limits]\nmax_connections = -1", r"limits\.max_connections: "),
        ("[limits]\nhandshake_timeout_seconds = 0.0", r"limits\.handshake_timeout_seconds: "),
        ("[limits]\nmax_metadata_bytes = 10", r"limits\.max_metadata_bytes: "),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_the_key(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        load_config(written(tmp_path, text))
    assert str(caught.value).startswith(str(tmp_path))


def test_the_gate_may_be_off_or_small_where_no_agreement_is_demanded(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, "[gate]\nsample = 0")).gate.sample == 0
    assert load_config(written(tmp_path, "[gate]\nsample = 20\nrequire_agreement = 1.0")).gate.require_agreement == 1.0


def test_the_cache_may_be_off_or_just_large_enough(tmp_path: Path) -> None:
    for max_bytes in (0, MIN_CACHE_BYTES):
        assert load_config(written(tmp_path, f"[cache]\nmax_bytes = {max_bytes}")).cache.max_bytes == max_bytes


def test_the_smallest_cache_holds_a_set_of_entries_of_the_largest_bundle() -> None:
    most_candidates = 256  # of a manifest
    assert Rows(2 * most_candidates + 1, MIN_CACHE_BYTES).capacity >= 8


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot be read"):
        load_config(tmp_path / "nowhere.toml")


def test_a_policy_without_quality_is_taken_when_it_is_forced_by_name(tmp_path: Path) -> None:
    text = "quality_free_policies = ['cheapest']\n[policies.cheapest]\nanswer_value_usd = 0.0"
    assert load_config(written(tmp_path, text)).terms()["cheapest"].answer_value_usd == 0.0


def test_where_encoders_run_and_what_their_runs_may_take_is_read(tmp_path: Path) -> None:
    file = tmp_path / "router.toml"
    file.write_text('provider = "cuda"\n[encoder]\nrun_ms = 10\nthreads = 2\n')
    config = load_config(file)
    assert config.provider == "cuda"
    assert config.encoder.limits(8) == (8, 0.01, 2)
    file.write_text('provider = "gpu"\n')
    with pytest.raises(ConfigError, match="provider"):
        load_config(file)
