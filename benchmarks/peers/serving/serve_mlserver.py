"""Serves the job with MLServer's gRPC server, in its own process, with metrics, compression and debugging off."""

import argparse
import asyncio
import sys
from pathlib import Path

from job import BATCH, Job
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.settings import ModelParameters
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


def request(text: str) -> bytes:
    """A ModelInferRequest for one text."""
    made = pb.ModelInferRequest(model_name="router")
    tensor = made.inputs.add(name="text", datatype="BYTES", shape=[1, 1])
    tensor.contents.bytes_contents.append(text.encode())
    return made.SerializeToString()


class Router(MLModel):
    """The one model; its bundle is told by `parameters.uri`."""

    async def load(self) -> bool:
        """Loads the job."""
        self._job = Job(Path(self.settings.parameters.uri))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Decides a request, or several that MLServer has merged."""
        texts = [text if isinstance(text, str) else text.decode() for text in payload.inputs[0].data]
        models, quality = self._job(texts)
        outputs = [
            ResponseOutput(
                name="model", datatype="BYTES", shape=[len(texts), 1], data=[model.encode() for model in models]
            ),
            ResponseOutput(name="quality", datatype="FP32", shape=list(quality.shape), data=quality.ravel().tolist()),
        ]
        return InferenceResponse(model_name="router", outputs=outputs)


async def serve(bundle: Path, port: int, batch_ms: float) -> None:
    """Serves until it is told to stop."""
    settings = Settings(
        debug=False,
        host="127.0.0.1",
        http_port=port + 1,
        grpc_port=port,
        parallel_workers=0,
        metrics_endpoint=None,
        gzip_enabled=False,
    )
    model = ModelSettings(name="router", implementation=Router, parameters=ModelParameters(uri=str(bundle)))
    if batch_ms:
        model = model.model_copy(update={"max_batch_size": BATCH, "max_batch_time": batch_ms / 1000})
    await MLServer(settings).start([model])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--port", type=int)
    parser.add_argument("--batch-ms", type=float, default=0.0)
    parser.add_argument("--request", help="write the bytes of a request for this text, and end")
    given = parser.parse_args()
    if given.request is not None:
        sys.stdout.buffer.write(request(given.request))
    else:
        asyncio.run(serve(given.bundle, given.port, given.batch_ms))
