"""Runs an encoder on a device: few fixed shapes, everything bound in advance, one captured graph for each shape.

What ONNX Runtime's CUDA provider demands of a captured graph shapes this module: addresses and shapes must never change,
no part of the model may run on the CPU (so each shape is a session of its own, in which all that depends on the shape is
computed in advance), and the graph belongs to the thread that captured it (so `warm` must be called by the thread that
will run it). A capture fails, and with it whatever else runs, if another thread of this process uses the GPU meanwhile:
therefore the locks.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort

from sidecar.errors import BundleError
from sidecar.scoring.buckets import Buckets
from sidecar.scoring.memory import Memory
from sidecar.scoring.ragged import Outputs, Rows, joined
from sidecar.scoring.session import INPUTS, OUTPUTS

log = logging.getLogger(__name__)

# Two runs allocate, the next one captures, and one more is sure to replay.
CAPTURING_RUNS = 4
# Graphs are numbered from 1; 0 is ONNX Runtime's own, and -1 runs without.
UNCAPTURED = "-1"
# A replay must give what an ordinary run gives; float16 alone differs by less.
MOST_DIFFERENCE = 0.02

# Opens a session for a batch of so many rows and tokens; the flag says whether graphs are to be captured.
Open = Callable[[int, int, bool], Any]
# Held by whoever runs a model on the device.
gate = threading.Lock()
# Held by whoever opens a session there, or captures: neither may happen while another thread captures.
loading = threading.Lock()


class Bucket:
    """One shape, ready to run.

    Args:
        session: for this shape.
        shape: rows and tokens.
        columns: of quality, embedding and output_tokens.
        memory: makes the buffers.
        pad_id: fills short rows.
        last_id: another token than that.
        graph: number of the graph that is captured; 0 is none.
    """

    def __init__(
        self,
        session: Any,
        shape: tuple[int, int],
        columns: Sequence[int],
        memory: Memory,
        *,
        pad_id: int,
        last_id: int,
        graph: int,
    ) -> None:
        self._ids, self._mask = memory.input(shape), memory.input(shape)
        self._outputs = [memory.output((shape[0], column)) for column in columns]
        self._pad_id = pad_id
        self._last_id = last_id
        self._places = np.arange(shape[1])
        self._run = session.run_with_iobinding
        self._binding = session.io_binding()
        for name, given in zip(INPUTS, (self._ids, self._mask), strict=True):
            self._binding.bind_ortvalue_input(name, given.value)
        for name, wanted in zip(OUTPUTS, self._outputs, strict=True):
            self._binding.bind_ortvalue_output(name, wanted.value)
        self._captured = graph > 0
        self._options = _options(str(graph) if graph else UNCAPTURED)

    def warm(self) -> bool:
        """Runs until nothing is left to be prepared; False if a captured graph does not do what the model does."""
        one, other = ([[self._last_id] * len(self._places)], [[self._pad_id]])
        if not self._captured:
            self(one)
            return True
        with loading, gate:
            self._fill(one)
            self._run(self._binding, _options(UNCAPTURED))
            expected = [np.array(output.download()) for output in self._outputs]
            self._fill(other)  # a graph that keeps its first input for ever shows in the comparison
            for _ in range(CAPTURING_RUNS):
                self._run(self._binding, self._options)
        return all(
            np.allclose(got, wanted[:1], rtol=MOST_DIFFERENCE, atol=MOST_DIFFERENCE)
            for got, wanted in zip(self(one), expected, strict=True)
        )

    def __call__(self, rows: Rows) -> Outputs:
        """Runs rows that fit; the result is written over by the next call."""
        with gate:
            self._fill(rows)
            self._run(self._binding, self._options)
            quality, embedding, output_tokens = (output.download()[: len(rows)] for output in self._outputs)
        return quality, embedding, output_tokens

    def _fill(self, rows: Rows) -> None:
        ids, mask = self._ids.array, self._mask.array
        lengths = np.array([len(row) for row in rows])
        tokens = self._places < lengths[:, None]
        ids.fill(self._pad_id)
        ids[: len(rows)][tokens] = np.fromiter((token for row in rows for token in row), np.int64, int(lengths.sum()))
        mask[: len(rows)] = tokens
        # Rows that nobody asked for have one token: attention over none at all might not be finite.
        mask[len(rows) :] = self._places == 0
        self._ids.upload()
        self._mask.upload()


class Bucketed:
    """Runs batches of any size and length in buckets. To be called by one thread, the one that warmed it.

    Args:
        open_session: opens a session for one shape.
        buckets: the shapes.
        columns: of quality, embedding and output_tokens.
        memory: makes the buffers.
        pad_id: fills short rows.
        last_id: the largest token id.
        graphs: whether to capture graphs.

    Raises:
        BundleError: a session cannot be opened.
    """

    def __init__(
        self,
        open_session: Open,
        buckets: Buckets,
        columns: Sequence[int],
        memory: Memory,
        *,
        pad_id: int,
        last_id: int,
        graphs: bool,
    ) -> None:
        self._open = open_session
        self._buckets = buckets
        self._columns = columns
        self._memory = memory
        self._pad_id = pad_id
        self._last_id = last_id
        self._ready: dict[tuple[int, int], Bucket] = {}
        self._graphs = graphs
        with loading:
            for number, shape in enumerate(buckets.shapes(), 1):
                self._ready[shape] = self._opened(shape, number)

    @property
    def graphs(self) -> bool:
        """Whether graphs are captured: wanted, and possible."""
        return self._graphs

    def shapes(self) -> set[tuple[int, int]]:
        """What is ready."""
        return set(self._ready)

    def warm(self) -> Iterator[tuple[int, int]]:
        """Warms bucket after bucket; between two of them the thread may do something else.

        Yields:
            The shape of each when it is ready.

        Raises:
            Exception: whatever ONNX Runtime raises: this device is of no use then.
        """
        for shape, bucket in self._ready.items():
            if not bucket.warm():
                log.warning("the graph of shape %s gives other results than the model; it is run without", shape)
                with loading:
                    self._ready[shape] = self._make(shape, 0)
                self._ready[shape].warm()
            yield shape

    def __call__(self, rows: Rows) -> Outputs:
        """Runs at least one row. Raises whatever ONNX Runtime raises."""
        lengths = [len(row) for row in rows]
        runs = list(self._buckets.cut(lengths))
        parts = []
        for run in runs:
            bucket = self._ready[self._buckets.holding(len(run.rows), run.tokens)]
            quality, embedding, output_tokens = bucket([rows[row] for row in run.rows])
            parts.append((quality.copy(), embedding.copy(), output_tokens.copy()))
        return joined(parts, [row for run in runs for row in run.rows])

    def _make(self, shape: tuple[int, int], graph: int) -> Bucket:
        session = self._open(*shape, graph > 0)
        return Bucket(
            session,
            shape,
            self._columns,
            self._memory,
            pad_id=self._pad_id,
            last_id=self._last_id,
            graph=graph,
        )

    def _opened(self, shape: tuple[int, int], number: int) -> Bucket:
        if self._graphs:
            try:
                return self._make(shape, number)
            except BundleError as error:
                self._graphs = False  # what one shape refuses, all do
                log.warning("graphs cannot be captured, each kernel is launched by itself: %s", error)
        return self._make(shape, 0)


def warm(device: Bucketed, call: Callable[[Callable[[], Any]], Any]) -> None:
    """Warms a device bucket by bucket.

    Args:
        device: to be warmed.
        call: has something done by the thread that will run it, between two runs.

    Raises:
        Exception: see Bucketed.warm.
    """
    steps = device.warm()
    while call(lambda: next(steps, None)) is not None:
        pass


def _options(graph: str) -> Any:
    options = ort.RunOptions()
    options.add_run_config_entry("gpu_graph_id", graph)
    return options
