"""Serves the job with mosec. Address, port and wait come from mosec's own options; the rest from the environment."""

import os
from pathlib import Path

import msgspec
from job import BATCH, Job
from mosec import Server, Worker


class Prompt(msgspec.Struct):
    """A request."""

    text: str


class Decision(msgspec.Struct):
    """A reply."""

    model: str
    scores: dict[str, float]


class Router(Worker):
    """The one stage."""

    def __init__(self) -> None:
        self._job = Job(Path(os.environ["PEER_BUNDLE"]))
        self._read = msgspec.json.Decoder(Prompt).decode
        self._write = msgspec.json.Encoder().encode

    def deserialize(self, data: bytes) -> Prompt:
        """Reads JSON."""
        return self._read(data)

    def serialize(self, data: Decision) -> bytes:
        """Writes JSON."""
        return self._write(data)

    def forward(self, data: list[Prompt] | Prompt) -> list[Decision] | Decision:
        """Decides a batch; mosec gives a single request where batches are switched off."""
        prompts = data if isinstance(data, list) else [data]
        models, quality = self._job([prompt.text for prompt in prompts])
        decisions = [
            Decision(model, dict(zip(self._job.names, row, strict=True)))
            for model, row in zip(models, quality.tolist(), strict=True)
        ]
        return decisions if isinstance(data, list) else decisions[0]


if __name__ == "__main__":
    size = int(os.environ.get("PEER_BATCH", str(BATCH)))
    server = Server()
    # A wait of 1 ms is the least that mosec takes.
    server.append_worker(Router, num=1, max_batch_size=size, max_wait_time=1)
    server.run()
