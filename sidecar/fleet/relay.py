"""How an outcome gets from the worker that hears it to the one that made the decision.

Several workers share a port, so the two are rarely the same. Each process appends what it heard for others to a ring of its
own in the shared memory, and each reads all rings and picks what is addressed to it. Who reads too late loses entries; the
calls that they would have ended expire by time.
"""

from collections.abc import Iterator

from sidecar.fleet.layout import CONTROL_WORDS, RELAY_ENTRIES, RELAY_HEAD
from sidecar.fleet.outcome import Fault, Origin, Outcome
from sidecar.fleet.writer import Writer

# In the place of a fault: the call has not ended.
IN_PROGRESS = -1


class Relay:
    """Sends and receives outcomes.

    Args:
        writer: this process's section.
        process: this process, as in its decisions' ids.

    Attributes:
        lost: entries that were overwritten before they could be read.
    """

    def __init__(self, writer: Writer, process: int) -> None:
        self._table = writer.table
        self._own = writer.number
        self._process = process
        self._ring = writer.table.relays[writer.number]
        self._heads = writer.table.control[:, RELAY_HEAD]
        self._cursors: list[int] = self._heads.tolist()
        self._head_word = writer.number * CONTROL_WORDS + RELAY_HEAD
        self.lost = 0

    def send(self, origin: Origin, outcome: Outcome, model: float) -> None:
        """Lets whoever made the decision know.

        Args:
            origin: who that is.
            outcome: what became of it.
            model: key of the model that it is of (see key_of_model); 0: the decided one.
        """
        words, place = self._table.control_words, self._head_word
        head = words[place]
        self._ring[head % RELAY_ENTRIES] = (
            origin.process,
            origin.number,
            outcome.fault if outcome.ended else IN_PROGRESS,
            outcome.first_token_seconds,
            outcome.latency_seconds,
            outcome.output_tokens,
            outcome.retry_after_seconds,
            model,
        )
        words[place] = head + 1  # after the entry: who sees the head sees what is before it

    def receive(self) -> Iterator[tuple[int, Outcome, float]]:
        """What others heard of this process's decisions since the last call: number of the decision, outcome, model."""
        heads: list[int] = self._heads.tolist()
        if heads == self._cursors:
            return
        for writer, (head, cursor) in enumerate(zip(heads, self._cursors, strict=True)):
            if writer != self._own and head != cursor:
                yield from self._read(writer, cursor, head)
        self._cursors = heads

    def _read(self, writer: int, cursor: int, head: int) -> Iterator[tuple[int, Outcome, float]]:
        ring = self._table.relays[writer]
        first = max(cursor, head - RELAY_ENTRIES + 1)
        entries = ring.take(range(first, head), axis=0, mode="wrap")
        # While these were copied, the oldest may have been overwritten; one more may be in the making.
        whole = int(self._heads[writer]) - RELAY_ENTRIES + 1
        self.lost += max(0, min(whole, head) - cursor)
        for process, number, fault, first_token, latency, tokens, retry_after, model in entries[
            max(0, whole - first) :
        ].tolist():
            if int(process) == self._process:
                kind, ended = Fault(max(0, int(fault))), fault != IN_PROGRESS
                yield int(number), Outcome(kind, first_token, latency, tokens, retry_after, ended), model
