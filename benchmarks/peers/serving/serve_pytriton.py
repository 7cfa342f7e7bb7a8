"""Serves the job with PyTriton: Triton's gRPC front end and batcher before a Python callable."""

import argparse
import sys
from pathlib import Path

import numpy as np
from job import BATCH, Job
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig
from tritonclient.grpc import service_pb2


def request(text: str) -> bytes:
    """A ModelInferRequest for one text."""
    made = service_pb2.ModelInferRequest(model_name="router")
    tensor = made.inputs.add(name="text", datatype="BYTES", shape=[1, 1])
    tensor.contents.bytes_contents.append(text.encode())
    return made.SerializeToString()


def serve(bundle: Path, port: int) -> None:
    """Serves until it is told to stop."""
    job = Job(bundle)

    @batch
    def route(text: np.ndarray) -> dict[str, np.ndarray]:
        models, quality = job([row[0].decode() for row in text])
        return {"model": np.array([[model.encode()] for model in models]), "quality": quality}

    config = TritonConfig(
        grpc_address="127.0.0.1",
        grpc_port=port,
        http_address="127.0.0.1",
        http_port=port + 1,
        allow_metrics=False,
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="router",
            infer_func=route,
            inputs=[Tensor(name="text", dtype=bytes, shape=(1,))],
            outputs=[
                Tensor(name="model", dtype=bytes, shape=(1,)),
                Tensor(name="quality", dtype=np.float32, shape=(len(job.names),)),
            ],
            config=ModelConfig(max_batch_size=BATCH, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
        )
        triton.serve()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--port", type=int)
    parser.add_argument("--request", help="write the bytes of a request for this text, and end")
    given = parser.parse_args()
    if given.request is not None:
        sys.stdout.buffer.write(request(given.request))
    else:
        serve(given.bundle, given.port)
