import asyncio
import logging
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from sidecar.bundle.registry import POINTER, Registry
from sidecar.bundle.trial import TrialReport, TrialRequest
from sidecar.config import Config
from sidecar.control.messages import (
    Activate,
    Done,
    ListBundles,
    Operate,
    Prepare,
    Rollback,
    Sample,
    State,
    Switch,
    Target,
)
from sidecar.control.swap import Swap
from sidecar.errors import BundleError, ConfigError
from sidecar.settings import GateConfig
from tests.control.conftest import Scene, refuse
from tests.control.workers import FakeWorker

# --- activation ------------------------------------------------------------------------------------------------------


async def test_all_workers_prepare_then_the_pointer_is_written_then_all_switch(scene: Scene) -> None:
    workers = [await scene.join() for _ in range(3)]
    seen: list[tuple[str, str]] = []

    def watching(worker: FakeWorker, kind: str) -> Callable[[Any], Done]:
        def answer(command: Any) -> Done:
            seen.append((kind, scene.pointer))
            return worker._obey(command)

        return answer

    for worker in workers:
        worker.on = {Prepare: watching(worker, "prepare"), Switch: watching(worker, "switch")}
    result = await scene.activate("v2")
    assert seen == [("prepare", "v1")] * 3 + [("switch", "v2")] * 3
    assert result.state == State(scene.two, scene.one)
    assert result.workers == 3
    assert scene.run_all() == ["tiny 2"] * 3
    assert all(worker.state == result.state for worker in workers)
    for worker in workers:
        (event,) = await worker.heard()
        assert (event.event, event.message, event.state) == ("ACTIVATED", "v2, tiny 2 (a call)", result.state)
    assert scene.swap.counts == {"ACTIVATED": 1}


async def test_without_workers_what_starts_from_now_on_runs_it(scene: Scene) -> None:
    await scene.activate("v2")
    assert scene.pointer == "v2"
    assert (await scene.join()).greeting.running == scene.two


async def test_what_cannot_be_written_is_not_activated_and_is_forgotten(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await scene.join()

    def full(_self: Registry, _name: str) -> None:
        raise BundleError("active: cannot be written: No space left on device")

    monkeypatch.setattr(Registry, "point", full)
    result = await scene.do(Activate("v2"))
    assert result.status == "FAILED_PRECONDITION"
    await worker.until(lambda: worker.kinds()[-1] == "Switch")
    assert (worker.state, worker.loaded) == (State(scene.one), {scene.one.digest})


async def test_what_the_gate_refuses_no_worker_hears_of_and_the_log_once(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    worker = await scene.join()
    scene.gate.refusal = "golden vectors do not hold"
    result = await scene.do(Activate("v2"))
    assert (result.status, result.error) == ("FAILED_PRECONDITION", "golden vectors do not hold")
    (event,) = await worker.heard()
    assert event.message == "v2 (a call): golden vectors do not hold"
    told = [(record.levelname, record.getMessage()) for record in caplog.records if "golden" in record.getMessage()]
    assert told == [("ERROR", "REFUSED: v2 (a call): golden vectors do not hold")]
    assert "Prepare" not in worker.kinds()


async def test_a_bundle_that_changes_during_its_trial_is_refused(scene: Scene) -> None:
    await scene.join()

    def changing(request: TrialRequest, limits: GateConfig) -> TrialReport:
        shutil.rmtree(scene.registry / "v2")
        shutil.copytree(scene.registry / "v3", scene.registry / "v2")
        return scene.gate(request, limits)

    scene.swap._gate = changing
    result = await scene.do(Activate("v2"))
    assert "changed while it was tried out" in result.error
    assert scene.pointer == "v1"


async def test_a_dry_run_stops_before_the_workers_and_leaves_no_event(scene: Scene) -> None:
    worker = await scene.join()
    result = await scene.do(Activate("v2", dry_run=True))
    assert (result.status, result.state.running) == ("OK", scene.one)
    assert "Prepare" not in worker.kinds()
    scene.gate.refusal = "no"
    assert (await scene.do(Activate("v2", dry_run=True))).status == "FAILED_PRECONDITION"
    assert scene.swap.counts == {}


@pytest.mark.parametrize(
    ("name", "status"), [("v9", "NOT_FOUND"), ("../v1", "INVALID_ARGUMENT"), ("", "INVALID_ARGUMENT")]
)
async def test_a_name_that_is_none_is_the_callers_mistake(scene: Scene, name: str, status: str) -> None:
    await scene.join()
    assert (await scene.do(Activate(name))).status == status
    assert scene.swap.counts == {}


async def test_without_a_registry_nothing_can_be_changed(scene: Scene) -> None:
    swap = Swap(Config(), None, Target("/v1"), gate=scene.gate)
    with pytest.raises(ConfigError, match="--registry"):
        await swap.activate(Activate("v2"), "a call")
    assert (await swap.operate(Operate(1, ListBundles()))).status == "OK"


async def test_an_unforeseen_failure_is_internal_and_nothing_says_what_it_choked_on(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    prompt = "a secret prompt"

    def broken(_request: TrialRequest, _limits: GateConfig) -> TrialReport:
        raise ValueError(prompt)

    await scene.join()
    scene.swap._gate = broken
    result = await scene.do(Activate("v2"))
    assert result.status == "INTERNAL"
    assert "an operation failed: ValueError" in caplog.text
    assert prompt not in result.error + caplog.text


# --- rollback and canary ---------------------------------------------------------------------------------------------


async def test_rollback_without_anything_to_go_back_to_says_so(scene: Scene) -> None:
    await scene.join()
    result = await scene.do(Rollback())
    assert result.status == "FAILED_PRECONDITION"
    assert "no bundle ran before" in result.error


async def test_rollback_goes_back_and_forth(scene: Scene) -> None:
    worker = await scene.join()
    await scene.activate("v2")
    back = await scene.do(Rollback())
    assert (back.state, scene.pointer) == (State(scene.one, scene.two), "v1")
    assert worker.state == back.state
    forth = await scene.do(Rollback())
    assert (forth.state, scene.pointer) == (State(scene.two, scene.one), "v2")
    assert scene.swap.counts == {"ACTIVATED": 1, "ROLLED_BACK": 2}


async def test_rollback_is_aborted_where_a_worker_cannot_load_the_bundle_before(scene: Scene) -> None:
    worker = await scene.join()
    await scene.activate("v2")
    worker.on[Prepare] = refuse("its file is gone")
    result = await scene.do(Rollback())
    assert (result.status, scene.pointer) == ("ABORTED", "v2")
    assert scene.swap.state.running == scene.two


async def test_a_canary_is_started_and_ended_and_the_pointer_stays(scene: Scene) -> None:
    worker = await scene.join()
    started = await scene.activate("v2", 0.25)
    assert started.state == State(scene.one, None, scene.two, 0.25)
    assert (worker.state, scene.pointer) == (started.state, "v1")
    ended = await scene.do(Rollback())
    assert (ended.state, worker.state, scene.pointer) == (State(scene.one), State(scene.one), "v1")
    assert scene.swap.counts == {"CANARY_STARTED": 1, "CANARY_ENDED": 1}


async def test_a_canary_is_promoted_by_its_name_and_rolled_back_to_what_ran_before(scene: Scene) -> None:
    worker = await scene.join()
    await scene.activate("v2")
    await scene.activate("v3", 0.5)
    promoted = await scene.activate("v3")
    assert promoted.state == State(scene.three, scene.two)
    assert (worker.state, scene.pointer) == (promoted.state, "v3")
    assert (await scene.do(Rollback())).state.running == scene.two


async def test_the_share_of_a_canary_can_be_raised(scene: Scene) -> None:
    worker = await scene.join()
    await scene.activate("v2", 0.1)
    assert (await scene.activate("v2", 0.9)).state == State(scene.one, None, scene.two, 0.9)
    assert worker.state.share == 0.9


async def test_what_runs_cannot_be_its_own_canary(scene: Scene) -> None:
    await scene.join()
    assert "needs another bundle" in (await scene.do(Activate("v1", 0.5))).error


async def test_activating_what_runs_keeps_the_bundle_before(scene: Scene) -> None:
    await scene.join()
    await scene.activate("v2")
    assert (await scene.activate("v2")).state == State(scene.two, scene.one)


# --- a new control process -------------------------------------------------------------------------------------------


async def test_it_learns_what_runs_from_the_first_worker(scene: Scene) -> None:
    state = State(scene.two, scene.one, scene.three, 0.5)
    assert (await scene.join(state)).greeting == state
    assert (await scene.do(ListBundles())).state == state
    assert (await scene.join()).greeting == state


async def test_at_the_first_start_nobody_knows_the_digest_until_a_worker_has_loaded_it(scene: Scene) -> None:
    worker = await scene.join()
    assert worker.greeting == State(Target(str(scene.registry / "v1")))
    result = await scene.do(ListBundles())
    assert result.state == State(scene.one)


async def test_one_that_could_not_load_it_does_not_hide_what_it_is(scene: Scene) -> None:
    unable = State(Target(scene.one.directory))
    broken = await scene.join()
    broken._run(unable)
    await scene.join()
    assert (await scene.do(ListBundles())).state == State(scene.one)


async def test_workers_that_run_something_else_are_switched(scene: Scene) -> None:
    # The control process before died when one had switched, and the other had not.
    await scene.join(State(scene.one))
    astray = await scene.join(State(scene.two, scene.one))
    assert scene.swap.astray == {astray.pid}
    await scene.swap.bring_in_line()
    assert scene.run_all() == ["tiny 1"] * 2
    assert scene.swap.astray == set()
    assert scene.killed == []


async def test_workers_that_cannot_be_switched_are_killed(scene: Scene) -> None:
    await scene.join(State(scene.one))
    astray = await scene.join(State(scene.one, None, scene.two, 0.5))
    astray.on[Switch] = refuse("no")
    await scene.swap.bring_in_line()
    assert scene.killed == [astray.pid]


async def test_one_that_could_not_load_what_all_run_is_left_as_it_is(scene: Scene) -> None:
    await scene.join(State(scene.one))
    await scene.join(State(Target(scene.one.directory)))
    assert scene.swap.astray == set()


async def test_listing_while_a_bundle_changes_does_not_bring_back_the_state_before(scene: Scene) -> None:
    quick, slow = await scene.join(), await scene.join()
    go_on = asyncio.Event()
    first: list[Any] = []

    async def slow_sample(command: Any) -> Done:
        first.append(command)
        if len(first) == 1:
            await go_on.wait()
        return Done(command.id, "", State(scene.one))

    slow.on[Sample] = slow_sample
    listing = asyncio.ensure_future(scene.do(ListBundles()))
    await quick.until(lambda: quick.commands)
    scene.swap.state = State(scene.two, scene.one)  # as an activation would meanwhile
    go_on.set()
    await listing
    assert scene.swap.state.running == scene.two


# --- the pointer file ------------------------------------------------------------------------------------------------


def point(scene: Scene, name: str) -> None:
    (scene.registry / "next").write_text(name)
    (scene.registry / "next").replace(scene.registry / POINTER)


async def test_the_pointer_is_followed(scene: Scene) -> None:
    worker = await scene.join()
    point(scene, "v2")
    await scene.swap.follow_pointer()
    assert worker.state.running == scene.two
    (event,) = await worker.heard()
    assert event.message == "v2, tiny 2 (the pointer file)"


async def test_a_pointer_to_what_runs_changes_nothing(scene: Scene) -> None:
    worker = await scene.join()
    await scene.swap.follow_pointer()
    assert "Prepare" not in worker.kinds()
    assert scene.swap.counts == {}


async def test_another_bundle_in_the_directory_that_runs_is_activated(scene: Scene) -> None:
    worker = await scene.join()
    shutil.rmtree(scene.registry / "v1")
    shutil.copytree(scene.registry / "v3", scene.registry / "v1")
    await scene.swap.follow_pointer()
    assert worker.state.running is not None
    assert worker.state.running.digest == scene.three.digest


@pytest.mark.parametrize("content", ["v9", "../v2", "", "half"])
async def test_a_pointer_that_cannot_be_followed_is_told_once_as_refused(scene: Scene, content: str) -> None:
    worker = await scene.join()
    (scene.registry / "half").mkdir()
    point(scene, content)
    await scene.swap.follow_pointer()
    (event,) = await worker.heard()
    assert event.event == "REFUSED"
    assert event.message.startswith("the pointer file is not followed: ")
    assert event.message.endswith("; v1 runs on")
    assert worker.state == State(scene.one)
    assert scene.swap.counts == {"REFUSED": 1}


async def test_a_pointer_is_read_only_when_nothing_else_is_under_way(scene: Scene) -> None:
    worker = await scene.join()
    await scene.activate("v2")
    point(scene, "v3")
    async with scene.swap._changing:
        following = asyncio.ensure_future(scene.swap.follow_pointer())
        await asyncio.sleep(0)
        point(scene, "v2")  # somebody who had the lock went back
    await following
    assert worker.state.running == scene.two
    assert scene.swap.counts == {"ACTIVATED": 1}


async def test_the_pointer_that_an_activation_writes_is_not_followed_again(scene: Scene) -> None:
    worker = await scene.join()
    go_on = asyncio.Event()

    async def when_told(command: Any) -> Done:
        await go_on.wait()
        return worker._obey(command)

    worker.on[Switch] = when_told
    activation = asyncio.ensure_future(scene.activate("v2"))
    while scene.pointer != "v2":  # noqa: ASYNC110 - a file
        await asyncio.sleep(0.001)
    following = asyncio.ensure_future(scene.swap.follow_pointer())
    go_on.set()
    await activation
    await following
    assert scene.swap.counts == {"ACTIVATED": 1}
    assert len(scene.gate.asked) == 1


async def test_operations_wait_for_one_another(scene: Scene) -> None:
    worker = await scene.join()
    results = await asyncio.gather(*(scene.do(Activate(name)) for name in ("v2", "v3", "v2")), scene.do(Rollback()))
    assert [result.status for result in results] == ["OK"] * 4
    assert [result.state.running for result in results] == [scene.two, scene.three, scene.two, scene.three]
    assert worker.state == results[-1].state
