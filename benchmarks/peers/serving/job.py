"""The work of one request, the same for every peer: tokenise, run the model, choose by utility.

Runs in the peers' environments, so it needs numpy, onnxruntime and tokenizers only. It leaves out what the sidecar does
beside this (text recipe, novelty, constraints, ranking, timings): the peers are given the smaller job.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

ANSWER_VALUE_USD = 0.02  # the sidecar's default policy
BATCH = 32


class Job:
    """Scores batches with a bundle.

    Args:
        bundle: directory with manifest.json, model.onnx and tokenizer.json.
    """

    def __init__(self, bundle: Path) -> None:
        manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
        candidates = manifest["candidates"]
        self.names = [candidate["name"] for candidate in candidates]
        self._input_usd = np.array([candidate["input_usd_per_mtok"] for candidate in candidates]) / 1e6
        self._output_usd = np.array([candidate["output_usd_per_mtok"] for candidate in candidates]) / 1e6
        self._pad = manifest["tokenizer"].get("pad_id", 0)
        self._tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(manifest["tokenizer"]["max_tokens"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(bundle / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, texts: Sequence[str]) -> tuple[list[str], np.ndarray]:
        """The chosen candidates of B texts, and quality [B, C]."""
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch_fast([text.lower() for text in texts])]
        width = max(1, *map(len, rows)) if len(rows) > 1 else max(1, len(rows[0]))
        ids = np.full((len(rows), width), self._pad, dtype=np.int64)
        mask = np.zeros((len(rows), width), dtype=np.int64)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1
        quality, tokens = self._session.run(["quality", "output_tokens"], {"input_ids": ids, "attention_mask": mask})
        prompt_tokens = mask.sum(1, keepdims=True)
        utility = ANSWER_VALUE_USD * quality - prompt_tokens * self._input_usd - tokens * self._output_usd
        return [self.names[best] for best in utility.argmax(1)], quality
