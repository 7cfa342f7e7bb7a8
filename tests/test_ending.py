"""A sidecar that is told to end does so when its last call has, not when its patience has."""

from pathlib import Path

from benchmarks.server import Server, sidecar_command


def test_an_idle_sidecar_ends_though_it_would_wait_for_calls_for_long(tmp_path: Path, tiny_bundle: Path) -> None:
    config = tmp_path / "sidecar.toml"
    config.write_text("drain_seconds = 600\n")
    # Server.stop kills what has not ended after 20 seconds.
    assert Server(sidecar_command(tiny_bundle, config=config), None).stop() == 0
