"""What is asked, and when: real prompts with the answers they really got, at the times of a real trace."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.schedule import Seconds
from benchmarks.traces import TraceError, read
from export.outcomes import read_outcomes
from export.prices import read_prices

TRACES = ("azure2023_conv", "azure2023_code", "mooncake_conversation")
# Where in a trace the run begins, as a share of its requests: past the quiet start of the recording.
BEGIN = 0.2

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Questions:
    """N prompts and what each of C candidates made of them.

    Attributes:
        texts: the prompts.
        prompt_tokens: [N].
        quality: [N, C] of the recorded answer; NaN where the candidate was not run: it cannot be chosen.
        tokens: [N, C] of that answer; NaN likewise.
        input_usd: [C] USD per token of the prompt.
        output_usd: [C] USD per token of the answer.
    """

    texts: Sequence[str]
    prompt_tokens: Matrix
    quality: Matrix
    tokens: Matrix
    input_usd: Matrix
    output_usd: Matrix

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def answerable(self) -> NDArray[np.bool_]:
        """[N, C] which candidates' answers are known."""
        known: NDArray[np.bool_] = np.isfinite(self.quality) & np.isfinite(self.tokens)
        return known

    def columns(self, among: Sequence[int]) -> "Questions":
        """The same questions with some of the candidates."""
        some = list(among)
        return Questions(
            self.texts,
            self.prompt_tokens,
            self.quality[:, some],
            self.tokens[:, some],
            self.input_usd[some],
            self.output_usd[some],
        )

    def cost_usd(self, question: int, candidate: int) -> float:
        """What the recorded answer cost."""
        return float(
            self.prompt_tokens[question] * self.input_usd[candidate]
            + self.tokens[question, candidate] * self.output_usd[candidate]
        )


@dataclass(frozen=True)
class Workload:
    """R requests.

    Attributes:
        arrivals: [R] virtual seconds, ascending from 0.
        questions: [R] which question each asks.
        seconds: how long they keep coming.
    """

    arrivals: Seconds
    questions: NDArray[np.int64]
    seconds: float


def read_questions(data: Path, names: Sequence[str]) -> Questions:
    """The prompts of routing_test that at least one of the candidates answered.

    Args:
        data: the directory of the shared data sets.
        names: of the candidates, as in the data set.
    """
    file = data / "routing_test.parquet"
    outcomes = read_outcomes(file, list(names))
    prices = read_prices(data / "llms.json", list(names), file)
    quality = outcomes.quality.astype(np.float64)
    tokens = outcomes.output_tokens.astype(np.float64)
    kept = np.flatnonzero((np.isfinite(quality) & np.isfinite(tokens)).any(axis=1))
    return Questions(
        [outcomes.prompts[index] for index in kept],
        outcomes.prompt_tokens.astype(np.float64)[kept],
        quality[kept],
        tokens[kept],
        np.array([price.input_per_mtok for price in prices]) / 1e6,
        np.array([price.output_per_mtok for price in prices]) / 1e6,
    )


def scaled(arrivals: Seconds, rate: float, seconds: float) -> Seconds:
    """A stretch of a trace, its time stretched so that as many requests per second come; bursts stay bursts.

    Args:
        arrivals: of the whole trace, ascending.
        rate: mean requests per second.
        seconds: length of the result.

    Raises:
        TraceError: the trace has too few requests.
    """
    wanted = round(rate * seconds)
    begin = int(len(arrivals) * BEGIN)
    if wanted < 1:
        raise TraceError(f"{rate:g} requests per second for {seconds:g} s are less than one request.")
    if begin + wanted >= len(arrivals):
        raise TraceError(f"the trace has {len(arrivals)} requests; {wanted} after the first {begin} are too many.")
    stretch = arrivals[begin : begin + wanted + 1] - arrivals[begin]
    if not stretch[-1] > 0:
        raise TraceError(f"all {wanted} requests of the stretch have one time.")
    result: Seconds = stretch[:-1] * (seconds / stretch[-1])
    return result


def workload(arrivals: Seconds, rate: float, seconds: float, questions: int, seed: int) -> Workload:
    """Requests at a trace's times; all questions in random order, then all in another one, and so on.

    The same for the same seed. That every question comes about as often as every other one makes runs of different
    lengths comparable.
    """
    due = scaled(arrivals, rate, seconds)
    generator = np.random.default_rng(seed)
    rounds = [generator.permutation(questions) for _ in range(-(-len(due) // questions))]
    return Workload(due, np.concatenate(rounds)[: len(due)], seconds)


def read_trace(data: Path, name: str) -> Seconds:
    """When the requests of a trace came."""
    return read(data / "arrival_traces.parquet", name)
