from sidecar.control.messages import (
    ListBundles,
)
from tests.control.conftest import Scene


async def test_a_list_tells_what_is_sound_and_why_the_rest_is_not(scene: Scene) -> None:
    await scene.join()
    (scene.registry / "v2" / "model.onnx").write_bytes(b"spoilt")
    result = await scene.do(ListBundles())
    listed = {row.directory: row for row in result.listed}
    assert (listed["v1"].name, listed["v1"].version, listed["v1"].digest) == ("tiny", "1", scene.one.digest)
    assert listed["v2"].refusal.startswith("model.onnx: ")
    assert result.workers == 1
