import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from sidecar.cli import main
from sidecar.ledger.frames import Kind, frame
from sidecar.ledger.records import encode
from sidecar.ledger.segments import HEAD
from sidecar.ledger.settings import LedgerConfig
from sidecar.ledger.store import Store
from sidecar.routing.decision import Choice, Reason
from sidecar.routing.policy import Terms
from tests.decisions.conftest import log_only
from tests.ledger.made import NOW, imported, name, noted, said
from tests.routing.fleet import closed_of

PROMPT = "the secret prompt"


@pytest.fixture
def file(config: LedgerConfig, tmp_path: Path) -> Path:
    path = tmp_path / "sidecar.toml"
    path.write_text(
        f'[ledger]\ndirectory = "{config.directory}"\nurl = "{config.url}"\n'
        '[[candidates]]\nname = "small"\naliases = ["mini"]\n[[candidates]]\nname = "large"\n'
    )
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["decisions", *map(str, arguments)])


def test_the_latest_are_listed(store: Store, file: Path) -> None:
    names = [name(NOW + row) for row in range(3)]
    store.add(imported(noted(names), outcomes=[said(names[2], "judge", quality=0.75, latency_ms=1500.0, error="")]))
    done = run("--config", file, "--limit", "2")
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert " ".join(lines[0].split()) == (
        "time id segment session policy chosen applied current reasons quality cost USD seconds propensity novelty was "
        "was USD was s error"
    )
    assert lines[2].split() == [
        *("2027-01-15T08:00:02.000Z", names[2], "shop", "-", "balanced", "small", "yes", "-", "LEARNED,NOVEL"),
        *("0.400", "0.004000", "4.00", "1.00", "0.96", "0.75", "(judge)", "-", "1.50", "none"),
    ]
    assert names[1] in lines[3]
    assert len(lines) == 4
    told = json.loads(run("--config", file, "--json").output)
    assert [one["id"] for one in told] == names[::-1]
    assert told[0]["outcome"]["quality_source"] == "judge"


def test_since_segment_and_model_choose(store: Store, file: Path) -> None:
    store.add(imported(noted([name(NOW)], segment="a"), noted([name(NOW + 60)], segment="b", chosen=1)))
    assert len(json.loads(run("--config", file, "--since", "2027-01-15T08:00:30", "--json").output)) == 1
    assert len(json.loads(run("--config", file, "--segment", "a", "--json").output)) == 1
    assert len(json.loads(run("--config", file, "--model", "acme/large-2", "--json").output)) == 1
    none = run("--config", file, "--segment", "c")
    assert "holds decisions, but none of these" in none.output


def test_until_shows_what_was_decided_around_a_time_long_ago(store: Store, file: Path) -> None:
    store.add(imported(noted([name(NOW + 60.0 * row) for row in range(60)])))
    within = ("--config", file, "--since", "2027-01-15T08:10", "--until", "2027-01-15T08:12")
    told = json.loads(run(*within, "--json").output)
    assert [one["time"] for one in told] == ["2027-01-15T08:11:00.000Z", "2027-01-15T08:10:00.000Z"]
    saved = json.loads(run(*within, "--against", "large", "--json").output)
    assert saved["overall"]["decisions"] == 2
    # Without --since, a week before --until.
    saved = json.loads(run("--config", file, "--until", "2027-01-15T08:12", "--against", "large", "--json").output)
    assert saved["overall"]["decisions"] == 12
    assert json.loads(run("--config", file, "--until", "2027-01-23", "--against", "large", "--json").output) is None
    both = run("--config", file, "--follow", "--until", "1h")
    assert (both.exit_code, "do not go together" in both.output) == (2, True)


def test_one_is_shown_in_full_and_its_prompt_is_not(store: Store, file: Path) -> None:
    one = name(NOW)
    store.add(
        imported(noted([one]), outcomes=[said(one, "human", quality=0.5, error="")], keep_prompt=lambda prompt: prompt)
    )
    for done in (run("show", one, "--config", file), run("--config", file, "show", one)):
        assert done.exit_code == 0, done.output
        for words in (
            "acme/small-1  (LEARNED, NOVEL; applied)",
            one,
            "19 characters are kept",
            "scored by demo 3",
            "human",
        ):
            assert words in done.output
        assert PROMPT not in done.output
    whole = run("show", one, "--config", file, "--json")
    assert PROMPT not in whole.output
    assert [row["candidate"] for row in json.loads(whole.output)["candidates"]] == ["small", "large"]
    assert [row["excluded"] for row in json.loads(whole.output)["candidates"]] == ["NONE", "NONE"]
    missing = run("show", name(NOW), "--config", file)
    assert (missing.exit_code, "holds no such decision" in missing.output) == (1, True)
    wrong = run("show", "12", "--config", file)
    assert (wrong.exit_code, "give the 32 hexadecimal digits" in wrong.output) == (1, True)


def test_it_is_shown_why_candidates_could_not_be_chosen(store: Store, file: Path) -> None:
    limited, last = name(NOW), name(NOW + 1)
    batch = noted([limited, last], ranking=[0])
    (ask, other), (choice, _) = batch.asks, batch.outcomes
    assert isinstance(choice, Choice)
    dear = choice._replace(admitted=np.array([True, False]))
    closed = choice._replace(reasons=(Reason.LEARNED, Reason.LAST_RESORT), closed=closed_of([9.0, 0.0, 0.0]))
    asks = [ask._replace(limited=True, terms=Terms(1.0, max_cost_usd=0.0)), other]
    store.add(imported(batch._replace(asks=asks, outcomes=[dear, closed])))
    shown = [
        [" ".join(line.split()) for line in run("show", one, "--config", file).output.splitlines()]
        for one in (limited, last)
    ]
    for lines, wanted in zip(
        shown,
        (
            ("small acme/small-1 yes -", "large acme/large-2 no max_cost_usd"),
            ("small acme/small-1 last resort budget used up", "large acme/large-2 no breaker or cool-down"),
        ),
        strict=True,
    ):
        for words in wanted:
            assert any(line.startswith(f"{words} 0.") for line in lines), lines


def test_disagreements_say_what_adoption_would_change(store: Store, file: Path) -> None:
    names = [name(NOW + row) for row in range(30)]
    callers = ["mini"] * 20 + ["large"] * 9 + ["gpt-x"]
    outcomes = [said(each, "judge", quality=1.0, cost_usd=0.25) for each in names]
    store.add(imported(log_only(names, callers), outcomes=outcomes))
    done = run("--config", file, "--disagreements", "--since", "2027-01-01")
    assert done.exit_code == 0, done.output
    for words in (
        ", 29 s: 30 (too short a time for figures a day: it takes 1 h at least)",
        "another model for 20 of 29 (69.0%)",
        "no forecast for 1 decisions whose caller uses gpt-x (1)",
        "most frequent changes",
        "largest differences of one decision",
        "normal approximation",
    ):
        assert words in done.output
    rows = [line.split() for line in done.output.splitlines()]
    assert ["small", "large", "20", "100.0%", "+250.0", "+250.0000", "+1.00", "+3000.0000"] in rows
    assert ["small", "quality", "20", "0.500", "1.000", "+0.500", "[+0.500,", "+0.500]", "off"] in rows
    assert ["large", "quality", "9", "0.750", "1.000", "+0.250", "-", "too", "few", "to", "tell"] in rows
    told = json.loads(run("--config", file, "--disagreements", "--since", "2027-01-01", "--json").output)
    assert (told["overall"]["differ"], told["overall"]["router"]["usd_per_1k"]) == (20, 500.0)
    assert "mean of measured - predicted" in told["method"]


@pytest.mark.parametrize(
    ("apart_s", "words"),
    [(3600.0, ", 2 h: 3 (24 a day, if the rest of the day is like these hours)"), (86400.0, ", 2 d: 3 (1 a day)")],
)
def test_disagreements_say_from_how_long_a_time_a_day_is_foretold(
    store: Store, file: Path, apart_s: float, words: str
) -> None:
    store.add(imported(log_only([name(NOW + row * apart_s) for row in range(3)], ["mini"] * 3)))
    assert words in run("--config", file, "--disagreements", "--since", "2027-01-01").output


def test_what_the_choices_saved_is_said_against_one_candidate(store: Store, file: Path) -> None:
    names = [name(NOW + row) for row in range(4)]
    store.add(imported(noted(names, chosen=0), log_only([name(NOW)], ["mini"])))
    done = run("--config", file, "--against", "acme/large-2", "--since", "2027-01-01")
    assert done.exit_code == 0, done.output
    told = json.loads(run("--config", file, "--against", "acme/large-2", "--since", "2027-01-01", "--json").output)
    caller, router = told["overall"]["caller"], told["overall"]["router"]
    saved = 4 * (caller["usd_per_1k"] - router["usd_per_1k"]) / 1000.0
    assert saved > 0.0
    for words in (
        "applied decisions from 2027-01-15T08:00:00.000Z",
        "the router chose another model for 4 of 4 (100.0%)",
        f"for acme/large-2 alone: {saved:.4f} USD",
        "saved, at ",
        "expected of acme/large-2, and of the router's choices",
        "nothing was measured of the choices",
    ):
        assert words in done.output
    assert "caller" not in done.output
    unknown = run("--config", file, "--against", "gpt-x", "--since", "2027-01-01")
    assert (unknown.exit_code, "'gpt-x' was no candidate of these decisions" in unknown.output) == (1, True)
    both = run("--config", file, "--against", "large", "--disagreements")
    assert (both.exit_code, "do not go together" in both.output) == (2, True)


def test_log_only_decisions_saved_nothing(store: Store, file: Path) -> None:
    store.add(imported(log_only([name(NOW)], ["mini"])))
    done = run("--config", file, "--against", "large", "--since", "2027-01-01")
    assert done.output.startswith("none of these decisions was applied")


def test_what_is_not_there_is_said_in_words(store: Store, file: Path, config: LedgerConfig) -> None:
    assert run("--config", file).output == "the ledger holds no decision yet.\n"
    assert run("--config", file, "--disagreements").output == "the ledger holds no decision yet.\n"
    assert json.loads(run("--config", file, "--json").output) == []
    assert json.loads(run("--config", file, "--disagreements", "--json").output) is None
    folder = Path(config.directory) / "journal"
    folder.mkdir(exist_ok=True)
    record = HEAD + frame(Kind.OUTCOMES, [encode([said(name(NOW), error="")])])
    (folder / "w-1-outcomes.journal").write_bytes(record)
    assert f"; {len(record)} bytes wait in the journals" in run("--config", file).output
    store.add(imported(noted([name(NOW)])))
    done = run("--config", file, "--disagreements", "--since", "2027-01-01")
    assert "no decision of these was made in log-only mode: set `log_only = true`" in done.output


def test_without_a_ledger_it_says_what_is_missing(tmp_path: Path) -> None:
    bare = tmp_path / "bare.toml"
    bare.write_text("")
    unmade = tmp_path / "unmade.toml"
    unmade.write_text(f'[ledger]\ndirectory = "{tmp_path}"\n')
    for done, words in (
        (run(), "give the sidecar's TOML file"),
        (run("--config", bare), "ledger.directory: is not set"),
        (run("--config", unmade), "start the sidecar, which makes it"),
        (run("--config", unmade, "--disagreements"), "start the sidecar, which makes it"),
    ):
        assert (done.exit_code, words in done.output) == (1, True), done.output
    both = run("--config", unmade, "--follow", "--disagreements")
    assert (both.exit_code, "do not go together" in both.output) == (2, True)


def test_words_of_callers_cannot_move_the_cursor(store: Store, file: Path) -> None:
    nasty = "a\x1b[2Jb\nc" + "x" * 99
    one = name(NOW)
    store.add(imported(log_only([one], [nasty], segment=nasty)))
    for arguments in ([], ["--disagreements", "--since", "2027-01-01"], ["show", one]):
        done = run("--config", file, *arguments)
        assert done.exit_code == 0, done.output
        assert "\x1b" not in done.output
        assert "a\N{REPLACEMENT CHARACTER}[2Jb\N{REPLACEMENT CHARACTER}cxxx" in done.output
        assert "x" * 40 not in done.output


@pytest.fixture
def follower(file: Path) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "sidecar.cli", "decisions", "--config", str(file), "--follow", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


@pytest.mark.slow
def test_new_ones_are_printed_as_they_come(store: Store, follower: "subprocess.Popen[str]") -> None:
    assert follower.stdout is not None
    names = [name(NOW + row) for row in range(2)]
    for each in names:
        store.add(imported(noted([each])))
        assert json.loads(follower.stdout.readline())["id"] == each
    os.kill(follower.pid, signal.SIGINT)
    assert follower.wait(30) == 0
