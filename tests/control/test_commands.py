import asyncio
from typing import Any

import pytest

from sidecar.bundle.registry import Registry
from sidecar.control.messages import (
    Activate,
    Done,
    Prepare,
    Sample,
    State,
    Switch,
)
from sidecar.routing.recorded import Recorded
from tests.control.conftest import Scene, refuse
from tests.control.workers import PATIENCE_S


async def test_a_slow_worker_holds_up_the_switch_of_all_others(scene: Scene) -> None:
    quick, slow = await scene.join(), await scene.join()
    go_on = asyncio.Event()

    async def when_told(command: Any) -> Done:
        await go_on.wait()
        return slow._obey(command)

    slow.on[Prepare] = when_told
    activation = asyncio.ensure_future(scene.activate("v2"))
    await quick.until(lambda: "Prepare" in quick.kinds())
    await asyncio.sleep(0.05)
    assert "Switch" not in quick.kinds()
    assert scene.pointer == "v1"
    go_on.set()
    await activation
    assert scene.run_all() == ["tiny 2"] * 2


async def test_a_worker_that_cannot_prepare_aborts_the_switch_everywhere_and_the_others_forget(scene: Scene) -> None:
    good, bad = await scene.join(), await scene.join()
    bad.on[Prepare] = refuse("no memory is left")
    result = await scene.do(Activate("v2"))
    assert result.status == "ABORTED"
    assert "worker 1 cannot load" in result.error
    assert "no memory is left; nothing is changed" in result.error
    assert scene.pointer == "v1"
    assert scene.swap.state == State(scene.one)
    assert scene.killed == []
    await good.until(lambda: "Switch" in good.kinds())
    assert good.loaded == {scene.one.digest}
    assert scene.run_all() == ["tiny 1"] * 2
    (event,) = await good.heard()
    assert (event.event, event.state) == ("REFUSED", State(scene.one))
    # Nothing is left over that would keep the next one from succeeding.
    bad.on.clear()
    await scene.activate("v2")


async def test_a_worker_that_dies_while_it_prepares_aborts_the_switch(scene: Scene) -> None:
    good, bad = await scene.join(), await scene.join()
    bad.on[Prepare] = lambda _command: bad.die()
    result = await scene.do(Activate("v2"))
    assert result.status == "ABORTED"
    assert "worker 1 ended" in result.error
    assert scene.pointer == "v1"
    await good.until(lambda: "Switch" in good.kinds())
    assert good.loaded == {scene.one.digest}


async def test_one_that_connects_while_others_prepare_prepares_too(scene: Scene) -> None:
    first = await scene.join()

    async def and_another_comes(command: Any) -> Done:
        await scene.join()
        return first._obey(command)

    first.on[Prepare] = and_another_comes
    await scene.activate("v2")
    assert scene.workers[1].greeting == State(scene.one)
    assert scene.workers[1].kinds() == ["Prepare", "Switch"]
    assert scene.run_all() == ["tiny 2"] * 2
    assert scene.killed == []


async def test_one_that_connects_while_others_prepare_and_cannot_aborts_the_switch(scene: Scene) -> None:
    first = await scene.join()

    async def and_another_comes(command: Any) -> Done:
        (await scene.join()).on[Prepare] = refuse("no memory is left")
        return first._obey(command)

    first.on[Prepare] = and_another_comes
    result = await scene.do(Activate("v2"))
    assert result.status == "ABORTED"
    assert (scene.pointer, scene.killed) == ("v1", [])


async def test_one_that_connects_while_the_pointer_is_written_prepares_before_it_switches(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.join()
    loop = asyncio.get_running_loop()
    point = Registry.point

    def slow(self: Registry, name: str) -> None:
        asyncio.run_coroutine_threadsafe(scene.join(), loop).result(PATIENCE_S)
        point(self, name)

    monkeypatch.setattr(Registry, "point", slow)
    await scene.activate("v2")
    assert scene.workers[1].kinds() == ["Prepare", "Switch"]
    assert scene.run_all() == ["tiny 2"] * 2
    assert scene.killed == []


async def test_one_that_connects_during_the_switch_is_told_the_new_state(scene: Scene) -> None:
    first = await scene.join()

    async def and_another_comes(command: Any) -> Done:
        await scene.join()
        return first._obey(command)

    first.on[Switch] = and_another_comes
    await scene.activate("v2")
    assert scene.workers[1].greeting == State(scene.two, scene.one)


@pytest.mark.parametrize("how", ["refuses", "dies"])
async def test_one_that_does_not_switch_is_killed_and_the_others_run_the_new_bundle(scene: Scene, how: str) -> None:
    good, bad = await scene.join(), await scene.join()
    bad.on[Switch] = refuse("the transport did not get to it") if how == "refuses" else lambda _command: bad.die()
    result = await scene.activate("v2")
    assert result.state.running == scene.two
    assert scene.killed == ([bad.pid] if how == "refuses" else [])
    assert good.state.running == scene.two
    assert result.workers == 1
    assert scene.pointer == "v2"


async def test_a_worker_that_is_silent_about_its_switch_is_killed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.control.commands.SWITCH_S", 0.02)
    _, bad = await scene.join(), await scene.join()
    bad.on[Switch] = lambda _command: None
    await scene.activate("v2")
    assert scene.killed == [bad.pid]


async def test_the_gate_gets_a_sample_of_all_workers_in_turn_and_the_agreement_that_is_demanded(scene: Scene) -> None:
    def recorded(name: str) -> Recorded:
        return Recorded(text=name, segment="", policy="balanced", answer_value_usd=1.0, prompt_tokens=1)

    for texts in ("ab", "cde"):
        worker = await scene.join()
        worker.on[Sample] = lambda command, worker=worker, texts=texts: Done(  # type: ignore[misc]
            command.id, "", worker.state, tuple(map(recorded, texts)) if command.amount else ()
        )
    await scene.do(Activate("v2", require_agreement=0.75))
    request, limits = scene.gate.asked[0]
    assert [one.text for one in request.sample] == ["b", "e", "a", "d", "c"]
    assert limits.require_agreement == 0.75
    assert (request.running, request.running_sha256) == (scene.one.directory, scene.one.digest)
