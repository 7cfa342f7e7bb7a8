"""What every client must see of a sidecar, whatever its language: a test class has these tests and a fixture `program`."""

from sidecar.settings import OverloadConfig
from tests.clients.conftest import Secured, Sidecar, Start
from tests.clients.programs import Program

ITEMS = 5000
CHARACTERS = 3 << 20
MEGABYTE = 1_000_000


class ClientCases:
    """One test a scenario of `programs.py`."""

    def test_a_unary_call_is_answered(self, program: Program, sidecar: Sidecar) -> None:
        (reply,) = program.run("unary", sidecar.address)
        assert reply["status"] == "OK"
        assert reply["model"] in {"small", "medium", "large"}
        assert len(reply["decision_id"]) == 32

    def test_a_stream_answers_each_message_before_the_next_is_sent(self, program: Program, sidecar: Sidecar) -> None:
        (reply,) = program.run("stream", sidecar.address)
        assert reply["sequences"] == [1, 2, 3, 4, 5]
        assert reply["codes"] == [0, 0, 3, 0, 0]
        assert [bool(model) for model in reply["models"]] == [True, True, False, True, True]
        assert reply["status"] == "OK"

    def test_a_cancelled_stream_leaves_the_connection_in_use(self, program: Program, sidecar: Sidecar) -> None:
        cancelled, after = program.run("hangup", sidecar.address)
        assert cancelled == {"sequence": 1, "status": "CANCELLED"}
        assert after["status"] == "OK"

    def test_a_deadline_passes_and_the_next_call_is_answered(self, program: Program, sidecar: Sidecar) -> None:
        hold = sidecar.hold()
        with program.talk("deadline", sidecar.address) as talk:
            assert talk.line()["status"] == "DEADLINE_EXCEEDED"
            hold.release()
            (reply,) = talk.rest()
        assert reply["status"] == "OK"
        assert reply["model"]

    def test_cancelled_calls_leave_the_others_alone(self, program: Program, sidecar: Sidecar) -> None:
        hold = sidecar.hold()
        with program.talk("cancel", sidecar.address) as talk:
            assert hold.entered()
            talk.go_on()
            assert talk.line() == {"statuses": ["CANCELLED"] * 5}
            hold.release()
            (rest,) = talk.rest()
        assert rest == {"statuses": ["OK"] * 5}

    def test_megabytes_go_up_and_down(self, program: Program, start: Start) -> None:
        patient = OverloadConfig(max_waiting=2 * ITEMS, max_queue_ms=60_000.0)
        up, down = program.run("large", start(max_batch_items=ITEMS, overload=patient).address)
        assert up == {"status": "OK", "prompt_tokens": CHARACTERS // 4}
        assert (down["status"], down["results"]) == ("OK", ITEMS)
        assert down["bytes"] > MEGABYTE

    def test_an_error_comes_with_its_words_in_any_script(self, program: Program, sidecar: Sidecar) -> None:
        (error,) = program.run("error", sidecar.address)
        assert error["status"] == "INVALID_ARGUMENT"
        assert error["details"].startswith("policy_name: no policy is called 'günstig 100% 安い'")

    def test_a_refusal_says_in_its_trailers_that_trying_again_is_useless(self, program: Program, start: Start) -> None:
        (error,) = program.run("refusal", start(max_batch_items=2).address)
        assert error["status"] == "RESOURCE_EXHAUSTED"
        assert "send at most 2" in error["details"]
        assert error["pushback"] == "-1"

    def test_calls_go_over_tls_and_only_to_a_server_with_a_trusted_certificate(
        self, program: Program, secured: Secured
    ) -> None:
        (reply,) = program.run("unary", secured.address, secured.ca)
        assert reply["status"] == "OK"
        (foreign,) = program.run("unary", secured.address, secured.foreign_ca)
        assert foreign["status"] == "UNAVAILABLE"
