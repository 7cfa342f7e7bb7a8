import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme

from sidecar.errors import ConfigError
from sidecar.fleet.peers.message import MOST_BYTES
from sidecar.fleet.peers.server import PREFIX, Away, Reply, Server
from sidecar.fleet.peers.settings import PeersConfig
from tests import pki
from tests.fleet.peers.real_server import PATIENCE_S, DidNotStart, RealServer, needs_server

pytestmark = needs_server

ONE, TWO, THREE = "1" * 16, "2" * 16, "3" * 16
KEY = f"{PREFIX}:{{default}}"


def config_of(url: str, **more: Any) -> PeersConfig:
    return PeersConfig(url=url, **more).checked()


def server_of(url: str, timeout_s: float = PATIENCE_S, **more: Any) -> Server:
    return Server(config_of(url, **more), timeout_s, time.monotonic)


def say(server: Server, member: str, message: bytes = b"hello", day: int = -1, spent: bytes = b"") -> Reply:
    return server.exchange(member, message, day, spent)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end


def test_each_hears_what_the_others_said_last_and_never_itself(real_server: RealServer) -> None:
    one, two, three = (server_of(real_server.url) for _ in range(3))
    assert say(one, ONE, b"first").messages == {}
    assert say(two, TWO, b"second").messages == {ONE: b"first"}
    say(one, ONE, b"third")
    assert say(three, THREE).messages == {ONE: b"third", TWO: b"second"}
    assert say(one, ONE).messages == {TWO: b"second", THREE: b"hello"}
    for server in (one, two, three):
        server.close()


def test_the_servers_clock_is_read_between_question_and_answer(real_server: RealServer) -> None:
    one = server_of(real_server.url)
    before, unix = time.monotonic(), time.time()
    reply = say(one, ONE)
    assert before <= reply.asked <= reply.answered <= time.monotonic()
    assert unix - 0.01 <= reply.server <= time.time() + 0.01
    one.close()


def test_a_message_expires_and_its_sender_with_it(real_server: RealServer) -> None:
    one = server_of(real_server.url, interval_ms=50, forget_seconds=0.2)
    two = server_of(real_server.url)
    say(one, ONE)
    assert set(say(two, TWO).messages) == {ONE}
    until(lambda: not say(two, TWO).messages)
    with real_server.client() as client:
        assert client.smembers(f"{KEY}:members") == {TWO.encode()}
    one.close()
    two.close()


def test_who_leaves_is_gone_at_once(real_server: RealServer) -> None:
    one, two = server_of(real_server.url), server_of(real_server.url)
    say(one, ONE)
    one.leave(ONE)
    assert say(two, TWO).messages == {}
    two.close()


def test_groups_do_not_hear_each_other(real_server: RealServer) -> None:
    one, two = server_of(real_server.url), server_of(real_server.url, group="other")
    say(one, ONE, day=7, spent=b"x")
    reply = say(two, TWO, day=7)
    assert (reply.messages, reply.spent) == ({}, {})
    one.close()
    two.close()


def test_money_stays_when_its_spender_is_gone_and_belongs_to_its_day(real_server: RealServer) -> None:
    one, two = server_of(real_server.url), server_of(real_server.url)
    say(one, ONE, day=7, spent=b"six")
    assert say(one, ONE, day=7, spent=b"six").spent == {}
    one.leave(ONE)
    assert say(two, TWO, day=7).spent == {ONE: b"six"}
    assert say(two, TWO, day=8).spent == {}
    with real_server.client() as client:
        assert 86_400 < int(client.ttl(f"{KEY}:usd:7")) <= 172_800
    two.close()


def test_what_others_put_under_our_keys_is_left_out(real_server: RealServer) -> None:
    one, two = server_of(real_server.url), server_of(real_server.url)
    say(one, ONE, b"good")
    with real_server.client() as client:
        client.sadd(f"{KEY}:members", THREE, "no id", "4" * 16, b"\xff\xfe")
        client.lpush(f"{KEY}:of:{THREE}", "a list")
        client.set(f"{KEY}:of:{'4' * 16}", b"x" * (4 * MOST_BYTES))
        client.set(f"{KEY}:usd:7", "no hash")
    reply = say(two, TWO, day=7)
    assert reply.messages.keys() == {ONE, "4" * 16}
    assert len(reply.messages["4" * 16]) <= MOST_BYTES + 1
    assert reply.messages[ONE] == b"good"
    assert (reply.spent, reply.faults) == ({}, 4)
    assert say(two, TWO).faults == 1  # what is no id was taken away; the list is not ours to take
    one.close()
    two.close()


def test_a_set_that_is_none_is_a_refusal_that_names_no_value(real_server: RealServer) -> None:
    one = server_of(real_server.url)
    with real_server.client() as client:
        client.set(f"{KEY}:members", "no set")
    with pytest.raises(Away, match=r"refused \(WRONGTYPE\)") as away:
        say(one, ONE, b"what is in it")
    assert "what is in it" not in str(away.value)
    with real_server.client() as client:
        client.delete(f"{KEY}:members")
    assert say(one, ONE).faults == 0
    one.close()


def test_a_wrong_password_is_said_without_being_repeated_and_the_right_one_is_read_anew(tmp_path: Path) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="peers-") as directory,
        RealServer(Path(directory), "s3cret-right") as real,
    ):
        file = tmp_path / "password"
        file.write_text("s3cret-wrong\n")
        one = server_of(real.url, password_file=str(file))
        with pytest.raises(Away, match="password_file") as away:
            say(one, ONE)
        assert "s3cret" not in str(away.value)
        file.write_text("s3cret-right\n")
        assert say(one, ONE).messages == {}
        one.close()
        file.unlink()
        with pytest.raises(Away, match="cannot be read"):
            say(one, ONE)


def test_a_server_that_is_killed_is_away_and_one_in_its_place_is_found(real_server: RealServer) -> None:
    one = server_of(real_server.url)
    say(one, ONE)
    real_server.stop()
    for _ in range(2):
        with pytest.raises(Away, match="cannot be reached"):
            say(one, ONE)
    real_server.start()
    assert say(one, ONE).faults == 0
    one.close()


def test_a_server_that_hangs_is_given_up_in_time(real_server: RealServer) -> None:
    one = server_of(real_server.url, timeout_s=0.2)
    say(one, ONE)
    real_server.hang()
    began = time.monotonic()
    with pytest.raises(Away, match=r"no answer within 0\.2 s"):
        say(one, ONE)
    assert 0.15 < time.monotonic() - began < PATIENCE_S
    real_server.go_on()
    until(lambda: _answers(one))
    one.close()


def _answers(server: Server) -> bool:
    try:
        say(server, ONE)
    except Away:
        return False
    return True


@pytest.mark.parametrize("babble", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\xff" * 50, b"*3\r\n:1\r\n", b""])
def test_what_is_no_such_server_is_away(babble: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            while True:
                try:
                    caller, _ = listening.accept()
                except OSError:
                    return
                with caller:
                    caller.recv(1024)
                    caller.sendall(babble)

        thread = threading.Thread(target=answer)
        thread.start()
        one = server_of(f"redis://user:s3cret@127.0.0.1:{listening.getsockname()[1]}/3", timeout_s=2.0)
        for _ in range(2):
            with pytest.raises(Away, match=r"redis://127\.0\.0\.1:") as away:
                say(one, ONE)
            assert "s3cret" not in str(away.value)
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_over_tls_a_server_is_believed_whose_certificate_the_authority_signed(tmp_path: Path) -> None:
    ca, stranger = trustme.CA(), trustme.CA()
    files = pki.write(pki.issue(ca), tmp_path / "server")
    authority = str(pki.write_ca(ca, tmp_path / "ca.pem"))
    wrong = str(pki.write_ca(stranger, tmp_path / "stranger.pem"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = (
        *("--tls-port", str(port), "--tls-auth-clients", "no", "--tls-ca-cert-file", authority),
        *("--tls-cert-file", str(files.certificate), "--tls-key-file", str(files.key)),
    )
    with ExitStack() as ending:
        directory = ending.enter_context(tempfile.TemporaryDirectory(prefix="peers-"))
        try:
            ending.enter_context(RealServer(Path(directory), arguments=arguments))
        except DidNotStart as refused:
            if "Failed finding TLS support" not in str(refused):
                raise
            pytest.skip("the installed server was built without TLS")
        one = server_of(f"rediss://localhost:{port}/0", ca_file=authority)
        assert say(one, ONE).faults == 0
        one.close()
        two = server_of(f"rediss://localhost:{port}/0", ca_file=wrong)
        with pytest.raises(Away, match=f"rediss://localhost:{port}/0: cannot be reached"):
            say(two, TWO)


def test_files_that_cannot_be_used_are_named_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"fleet\.peers\.password_file: .*none cannot be read"):
        server_of("redis://localhost", password_file=str(tmp_path / "none"))
    with pytest.raises(ConfigError, match=r"fleet\.peers\.ca_file: .*none is no file"):
        server_of("rediss://localhost", ca_file=str(tmp_path / "none"))


def test_without_the_library_it_is_said_which_one_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.delitem(sys.modules, "sidecar.fleet.peers.server")
    with pytest.raises(ConfigError, match=r"router-sidecar\[peers\]"):
        __import__("sidecar.fleet.peers.server")
