"""What the configuration says about serving: sessions, overload, coverage, the score cache, the gate, encoders."""

from typing import Annotated, Literal

import msgspec

from sidecar.scoring.pace import Limits


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A value object of the configuration: immutable, and no key goes unnoticed."""


class SessionsConfig(Entry, frozen=True):
    """How turns of one session hold together.

    Attributes:
        slots: sessions that each worker remembers, in 64 bytes of shared memory each; the longest silent one is forgotten.
        forget_seconds: silence after which a provider's prompt cache is taken to be gone, and the session with it.
        max_switch_share: what changing the model may cost a session in total (prompt caches lost), as a share of what its
            calls were expected to cost.
    """

    slots: Annotated[int, msgspec.Meta(ge=0, le=1 << 22)] = 16384
    forget_seconds: Annotated[float, msgspec.Meta(gt=0.0, le=604_800.0)] = 3600.0
    max_switch_share: Annotated[float, msgspec.Meta(ge=0.0, le=1e6)] = 0.25


class OverloadConfig(Entry, frozen=True):
    """What happens when more comes than can be answered in time.

    Attributes:
        action: `degrade`: the safe candidate answers at once, marked DEGRADED, as far as degrade_share goes; `reject`:
            RESOURCE_EXHAUSTED, with the time after which to try again.
        degrade_share: share of a worker's time that such answers may take, saved up for a second. Each costs a third
            of a scored one, since the request must be read; beyond it requests are rejected unread.
        max_waiting: most requests that may wait in one worker.
        max_waiting_bytes: most bytes of requests that may wait in one worker. A connection that holds a quarter of it
            is not read from for a while.
        max_queue_ms: longest wait in milliseconds until a request's batch begins. A request whose own deadline is
            shorter counts with that.
    """

    action: Literal["degrade", "reject"] = "degrade"
    degrade_share: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.02
    max_waiting: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] = 8192
    max_waiting_bytes: Annotated[int, msgspec.Meta(ge=1 << 16, le=1 << 34)] = 64 << 20
    max_queue_ms: Annotated[float, msgspec.Meta(gt=0.0, le=600_000.0)] = 100.0


class CoverageConfig(Entry, frozen=True):
    """When too few requests are really scored.

    Attributes:
        window_seconds: over so many of the latest seconds the share is taken.
        alarm_below: a segment's share below this is an alarm: in Info, in the health name `coverage`, in the log; 0 is
            never.
    """

    window_seconds: Annotated[int, msgspec.Meta(ge=1, le=600)] = 60
    alarm_below: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.95


class CacheConfig(Entry, frozen=True):
    """What is kept of scores, so that a text that comes again need not be scored again.

    Attributes:
        max_bytes: of the entries in one worker, for each bundle in force (a canary has entries of its own); 0 keeps
            nothing. An entry takes 8 bytes for each candidate and 21 more: the default keeps 63,000 texts for 14
            candidates, ten minutes of a hundred different prompts a second.
    """

    max_bytes: Annotated[int, msgspec.Meta(ge=0, le=1 << 34)] = 8 << 20


class GateConfig(Entry, frozen=True):
    """What a new bundle may use in its trial, and what is demanded of it, before it takes over.

    Attributes:
        seconds: longest time that the trial may take.
        cpu_seconds: processor time that it may use.
        memory_mib: memory in MiB that it may use, beside four times the size of the bundles' files.
        sample: most recent requests on which it is compared with the running bundle; 0 compares nothing.
        require_agreement: share of these for which both must choose the same candidate, 0 to 1; 0 demands nothing.
    """

    seconds: Annotated[float, msgspec.Meta(gt=0.0, le=3600.0)] = 60.0
    cpu_seconds: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 30
    memory_mib: Annotated[int, msgspec.Meta(ge=512, le=1 << 20)] = 2048
    sample: Annotated[int, msgspec.Meta(ge=0, le=4096)] = 256
    require_agreement: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.0


class EncoderConfig(Entry, frozen=True):
    """How a transformer is run; static bundles do not look at it.

    Attributes:
        run_ms: longest time in milliseconds that one run of the model should take. How many requests that is, is
            learned from what runs take; max_score_batch bounds it.
        threads: that one run may use on the CPU. More of them shorten a run, more workers answer more requests.
    """

    run_ms: Annotated[float, msgspec.Meta(gt=0.0, le=60_000.0)] = 50.0
    threads: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1

    def limits(self, rows: int) -> Limits:
        """What runs of at most so many rows may take."""
        return Limits(rows, self.run_ms / 1000.0, self.threads)
