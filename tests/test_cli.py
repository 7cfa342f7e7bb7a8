import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner, Result

from sidecar.cli import main
from sidecar.demo import PROMPTS
from sidecar.lanes.lane import SERVICE
from sidecar.terminal import HEALTH_NAMES
from tests import pki
from tests.bundle.keys import key_of, sign

START = [sys.executable, "-m", "sidecar.cli"]


class Served:
    """A sidecar in a process of its own.

    Attributes:
        process: it.
        address: where it listens.
        said: the line that it said so in.
    """

    def __init__(self, *options: str) -> None:
        command = [*START, "serve", "--listen", "127.0.0.1:0", *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.said = next(line for line in self.process.stderr if line.startswith("listening on "))
        self.address = self.said.split()[2]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        _, rest = self.process.communicate(timeout=30)
        return self.process.returncode, rest


@pytest.fixture(scope="module")
def served(tiny_bundle: Path) -> Iterator[Served]:
    running = Served("--bundle", str(tiny_bundle))
    yield running
    running.stop()


def run(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(main, arguments, input=text)


def test_serve_says_where_it_listens_and_what_it_runs(served: Served) -> None:
    assert "http2" in served.said
    assert "bundle " in served.said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_ends_with_status_0_when_it_is_told_to(tiny_bundle: Path, number: signal.Signals) -> None:
    assert Served("--bundle", str(tiny_bundle)).stop(number) == (0, "")


def test_serve_on_the_portable_transport_ends_with_status_0(tiny_bundle: Path) -> None:
    running = Served("--bundle", str(tiny_bundle), "--transport", "grpcio")
    assert "grpcio" in running.said
    assert running.stop() == (0, "")


def test_an_address_that_others_can_reach_is_warned_about(tiny_bundle: Path) -> None:
    command = [*START, "serve", "--bundle", str(tiny_bundle), "--listen", "0.0.0.0:0", "--insecure"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        process.terminate()
    assert "reachable from elsewhere" in first
    assert "neither encrypted nor checked" in first


def test_an_address_that_others_can_reach_is_refused_unless_that_is_said(tmp_path: Path, tiny_bundle: Path) -> None:
    config = tmp_path / "router.toml"
    config.write_text(f'bundle = "{tiny_bundle}"\nlisten = "0.0.0.0:0"\n')
    for command in (("serve", "--config"), ("config", "check")):
        result = run(*command, str(config))
        assert result.exit_code == 1
        assert "listen: '0.0.0.0:0' is reachable from elsewhere" in result.output
        assert "--insecure" in result.output
    config.write_text(f'bundle = "{tiny_bundle}"\nlisten = "0.0.0.0:0"\ninsecure = true\n')
    assert run("config", "check", str(config)).exit_code == 0


def test_a_new_token_opens_a_sidecar_with_tls_to_every_command(tmp_path: Path, tiny_bundle: Path) -> None:
    ca, clients = trustme.CA(), trustme.CA()
    files = pki.write(ca.issue_cert("router.example"), tmp_path / "server")
    mine = pki.write(clients.issue_cert("gateway"), tmp_path / "client")
    authority, trusted = pki.write_ca(clients, tmp_path / "clients.pem"), pki.write_ca(ca, tmp_path / "ca.pem")
    minted = run("token", "new", "--name", "gateway", "--role", "route")
    token, tokens, config = tmp_path / "token", tmp_path / "tokens.toml", tmp_path / "router.toml"
    token.write_text(minted.stdout)
    tokens.write_text(minted.stderr)
    config.write_text(
        f'bundle = "{tiny_bundle}"\ntokens = "{tokens}"\n[tls]\ncertificate = "{files.certificate}"\n'
        f'key = "{files.key}"\nclient_ca = "{authority}"\n'
    )
    assert run("config", "check", str(config)).exit_code == 0
    running = Served("--config", str(config))
    target = ("--target", running.address)
    door = ("--tls-ca", trusted, "--tls-cert", mine.certificate, "--tls-key", mine.key, "--tls-name", "router.example")
    within = (*target, *map(str, door))
    shown = ("--token-file", str(token))
    assert "LEARNED" in run("route", "what is the capital", *within, *shown).output
    assert "http2" in run("info", *within, *shown).output
    assert run("health", *within).output == "SERVING\n"
    environment = {"ROUTER_SIDECAR_TLS_CA": str(trusted), "ROUTER_SIDECAR_TOKEN_FILE": str(token)}
    assert CliRunner(env=environment).invoke(main, ["info", *target, *within[4:]]).exit_code == 0
    assert run("info", *within).output == "Error: UNAUTHENTICATED: this sidecar wants a token: give --token-file.\n"
    stranger = token.with_name("stranger")
    stranger.write_text(minted.stdout[:-4] + "AAA\n")
    assert "the token is unknown" in run("info", *within, "--token-file", str(stranger)).output
    assert "if it has TLS, give --tls-ca" in run("info", *target, "--token-file", str(token)).output
    assert "--tls-cert and --tls-key" in run("info", *target, "--tls-ca", str(trusted), *shown).output
    assert running.stop()[0] == 0


def test_config_check_looks_behind_the_door(tmp_path: Path, tiny_bundle: Path) -> None:
    config, tokens = tmp_path / "router.toml", tmp_path / "tokens.toml"
    config.write_text(f'bundle = "{tiny_bundle}"\ntokens = "{tokens}"\n')
    assert f"tokens: {tokens} cannot be read" in run("config", "check", str(config)).output
    tokens.write_text("[[tokens]]\n")
    assert f"tokens: {tokens}" in run("config", "check", str(config)).output
    files = pki.write(trustme.CA().issue_cert("localhost"), tmp_path)
    files.key.unlink()
    config.write_text(f'bundle = "{tiny_bundle}"\n[tls]\ncertificate = "{files.certificate}"\nkey = "{files.key}"\n')
    wrong = run("config", "check", str(config))
    assert wrong.exit_code == 1
    assert f"tls.key: {files.key} cannot be read" in wrong.output


def test_a_token_needs_a_name_and_a_known_role() -> None:
    assert run("token", "new", "--name", "a", "--role", "admin").exit_code == 2
    assert run("token", "new", "--name", "a").exit_code == 2
    assert run("token", "new", "--name", "a b", "--role", "route").exit_code == 1


def test_serve_with_a_broken_bundle_and_no_candidates_says_what_to_do(tmp_path: Path) -> None:
    result = run("serve", "--bundle", str(tmp_path))
    assert result.exit_code == 1
    assert "manifest.json" in result.output
    assert "safe_candidate" in result.output


def test_serve_with_a_broken_bundle_degrades_and_logs_one_line(tmp_path: Path) -> None:
    config = tmp_path / "router.toml"
    config.write_text('safe_candidate = "a"\n[[candidates]]\nname = "a"\n')
    command = [*START, "serve", "--config", str(config), "--bundle", str(tmp_path), "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = [process.stderr.readline() for _ in range(2)]
        process.terminate()
    assert "ERROR" in lines[0]
    assert "DEGRADED" in lines[0]
    assert lines[1].startswith("listening on ")
    assert "no bundle" in lines[1]


def test_route_prints_the_decision(served: Served) -> None:
    result = run("route", "what is the capital", "--target", served.address)
    assert result.exit_code == 0
    for word in ("LEARNED", "small", "medium", "large", "utility USD", "decision "):
        assert word in result.output


def test_route_reads_standard_input_and_prints_json(served: Served) -> None:
    arguments = ("route", "-", "--target", served.address, "--json", "--policy", "quality", "--segment", "s")
    reply = json.loads(run(*arguments, text="prove the theorem").output)
    assert reply["model"] == reply["ranking"][0]["model"]
    assert (reply["policy"], reply["segment"]) == ("quality", "s")


def test_a_refused_request_is_one_line_and_status_1(served: Served) -> None:
    result = run("route", "x", "--target", served.address, "--policy", "none")
    assert result.exit_code == 1
    assert result.output.startswith("Error: INVALID_ARGUMENT: policy_name")


def test_asking_where_nobody_listens_says_how_to_start_one() -> None:
    result = run("info", "--target", "127.0.0.1:1")
    assert result.exit_code == 1
    assert "router-sidecar serve" in result.output


def test_info_prints_what_runs(served: Served) -> None:
    text = run("info", "--target", served.address).output
    for word in ("http2", "balanced (default)", "safe candidate: large", "CPUExecutionProvider"):
        assert word in text
    assert json.loads(run("info", "--target", served.address, "--json").output)["transport"] == "http2"


def test_health_tells_probes_by_its_exit_status(served: Served) -> None:
    assert run("health", "--target", served.address).output == "SERVING\n"
    assert run("health", "--target", served.address, "--service", "scoring").exit_code == 0
    assert run("health", "--target", served.address, "--service", "weather").exit_code == 1
    assert run("health", "--target", "127.0.0.1:1").exit_code == 1


def test_bundle_verify_and_inspect(tiny_bundle: Path, tmp_path: Path) -> None:
    assert "sound" in run("bundle", "verify", str(tiny_bundle)).output
    assert "small" in run("bundle", "inspect", str(tiny_bundle)).output
    assert len(json.loads(run("bundle", "inspect", str(tiny_bundle), "--json").output)["candidates"]) == 3
    broken = run("bundle", "verify", str(tmp_path))
    assert broken.exit_code == 1
    assert "manifest.json" in broken.output


def test_trust_is_demanded_by_verify_by_config_check_and_by_serve(tiny_bundle: Path, tmp_path: Path) -> None:
    ours, strangers = key_of(1), key_of(2)
    bundle = sign(Path(shutil.copytree(tiny_bundle, tmp_path / "bundle")), ours)
    trusted, other = ours.write_public(tmp_path / "ours.pem"), strangers.write_public(tmp_path / "other.pem")
    assert ours.id in run("bundle", "inspect", str(bundle)).output
    verified = run("bundle", "verify", str(bundle), "--trust", str(other), "--trust", str(trusted))
    assert f"signed by trusted {ours.id}" in verified.output
    assert run("bundle", "verify", str(bundle), "--trust", str(other)).output.startswith("Error: signatures.json: ")
    file = tmp_path / "router.toml"
    file.write_text(f'bundle = "{bundle}"\ntrust = ["{trusted}"]')
    assert run("config", "check", str(file)).exit_code == 0
    refused = run("serve", "--config", str(file), "--trust", str(other))
    assert refused.exit_code == 1
    assert f"signed by {ours.id}; trusted are {strangers.id}" in refused.output


def test_a_missing_key_stops_serve_even_with_the_embedded_bundle(tmp_path: Path) -> None:
    refused = run("serve", "--trust", str(tmp_path / "nowhere.pem"))
    assert refused.exit_code == 1
    assert "trust: " in refused.output
    assert "nowhere.pem: cannot be read" in refused.output


def test_the_embedded_bundle_needs_no_signature(tmp_path: Path) -> None:
    file = tmp_path / "router.toml"
    file.write_text(f'trust = ["{key_of(1).write_public(tmp_path / "k.pem")}"]')
    assert run("config", "check", str(file)).exit_code == 0


def test_config_check_and_show(tiny_bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "router.toml"
    file.write_text(f'bundle = "{tiny_bundle}"\n[[candidates]]\nname = "small"\n')
    assert "1 candidates, safe is small" in run("config", "check", str(file)).output
    assert json.loads(run("config", "show", str(file)).output)["candidates"][0]["name"] == "small"
    file.write_text(f'bundle = "{tiny_bundle}"\n[[candidates]]\nname = "huge"\n')
    wrong = run("config", "check", str(file))
    assert wrong.exit_code == 1
    assert "huge" in wrong.output


def test_route_asks_as_a_turn_of_a_session_and_in_log_only_mode(tiny_bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "router.toml"
    file.write_text(f'bundle = "{tiny_bundle}"\n[segments.careful]\nlog_only = true\n')
    running = Served("--config", str(file))
    careful = ("route", "what is the capital", "--target", running.address, "--segment", "careful")
    assert "current_model is empty" in run(*careful).output
    said = run(*careful, "--current-model", "gpt-of-ours", "--session", "s1")
    assert said.output.startswith("gpt-of-ours  (LEARNED; only recorded: log-only mode; policy"), said.output
    assert running.stop()[0] == 0


@pytest.mark.parametrize("command", [("fleet", "--watch"), ("bundle", "watch")])
def test_who_watches_ends_in_peace_when_interrupted(served: Served, command: tuple[str, ...]) -> None:
    watching = subprocess.Popen(
        [*START, *command, "--target", served.address], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert watching.stdout is not None
    assert watching.stdout.readline()  # it watches
    watching.send_signal(signal.SIGINT)
    _, complaint = watching.communicate(timeout=30)
    assert (watching.returncode, complaint) == (0, "")


def test_a_health_name_that_is_none_is_told_with_those_that_are(served: Served) -> None:
    wrong = run("health", "--target", served.address, "--service", "scorng")
    assert wrong.exit_code == 1
    assert f"known are {HEALTH_NAMES}" in wrong.output
    for known in HEALTH_NAMES.split(", "):
        assert run("health", "--target", served.address, "--service", known).exit_code == 0


def test_config_check_and_serve_tell_what_is_hardly_meant(served: Served, tiny_bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "router.toml"
    file.write_text(f'bundle = "{tiny_bundle}"\nlog_only = true\n')
    checked = run("config", "check", str(file))
    assert checked.exit_code == 0
    assert "warning: log_only: nothing is recorded" in checked.stderr
    assert "sound" in checked.stdout
    second = run("serve", "--config", str(file), "--listen", served.address)
    assert second.exit_code == 1  # the address is taken
    assert "warning: log_only: nothing is recorded" in second.stderr


def test_the_demo_routes_a_dozen_prompts_through_the_default_bundle() -> None:
    result = subprocess.run([*START, "demo"], capture_output=True, text=True, timeout=60, check=True)
    assert len(PROMPTS) == 12
    assert result.stdout.count("LEARNED") == 12
    assert "12 decisions by" in result.stdout


def test_importing_the_sidecar_needs_nothing_of_training() -> None:
    program = (
        "import sys, sidecar, sidecar.server, sidecar.cli\n"
        "heavy = {'torch', 'sklearn', 'pandas', 'pyarrow', 'onnx', 'scipy', 'matplotlib', 'wordllama', 'pydantic',"
        "'cryptography'}\n"
        "print(sorted(heavy.intersection(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True, env=environment
    )
    assert result.stdout.strip() == "[]"


def test_a_stranger_with_grpcurl_can_call_it(served: Served) -> None:
    grpcurl = Path(sys.executable).with_name("grpcurl")
    call = [str(grpcurl), "-plaintext", "-d", '{"text": "what is the capital"}', served.address, f"{SERVICE}/Route"]
    result = subprocess.run(call, capture_output=True, text=True, timeout=30, check=True)
    assert json.loads(result.stdout)["model"]
