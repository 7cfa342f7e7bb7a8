import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from sidecar.wire import router_pb2 as _router_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BundleEvent(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BUNDLE_EVENT_UNSPECIFIED: _ClassVar[BundleEvent]
    BUNDLE_EVENT_SNAPSHOT: _ClassVar[BundleEvent]
    BUNDLE_EVENT_ACTIVATED: _ClassVar[BundleEvent]
    BUNDLE_EVENT_REFUSED: _ClassVar[BundleEvent]
    BUNDLE_EVENT_ROLLED_BACK: _ClassVar[BundleEvent]
    BUNDLE_EVENT_CANARY_STARTED: _ClassVar[BundleEvent]
    BUNDLE_EVENT_CANARY_ENDED: _ClassVar[BundleEvent]
BUNDLE_EVENT_UNSPECIFIED: BundleEvent
BUNDLE_EVENT_SNAPSHOT: BundleEvent
BUNDLE_EVENT_ACTIVATED: BundleEvent
BUNDLE_EVENT_REFUSED: BundleEvent
BUNDLE_EVENT_ROLLED_BACK: BundleEvent
BUNDLE_EVENT_CANARY_STARTED: BundleEvent
BUNDLE_EVENT_CANARY_ENDED: BundleEvent

class ListBundlesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListBundlesResponse(_message.Message):
    __slots__ = ("state", "bundles")
    STATE_FIELD_NUMBER: _ClassVar[int]
    BUNDLES_FIELD_NUMBER: _ClassVar[int]
    state: BundleState
    bundles: _containers.RepeatedCompositeFieldContainer[ListedBundle]
    def __init__(self, state: _Optional[_Union[BundleState, _Mapping]] = ..., bundles: _Optional[_Iterable[_Union[ListedBundle, _Mapping]]] = ...) -> None: ...

class ListedBundle(_message.Message):
    __slots__ = ("directory", "bundle", "refusal")
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    directory: str
    bundle: _router_pb2.BundleInfo
    refusal: str
    def __init__(self, directory: _Optional[str] = ..., bundle: _Optional[_Union[_router_pb2.BundleInfo, _Mapping]] = ..., refusal: _Optional[str] = ...) -> None: ...

class BundleState(_message.Message):
    __slots__ = ("running", "previous", "canary", "canary_share", "workers")
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    CANARY_FIELD_NUMBER: _ClassVar[int]
    CANARY_SHARE_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    running: RunningBundle
    previous: RunningBundle
    canary: RunningBundle
    canary_share: float
    workers: int
    def __init__(self, running: _Optional[_Union[RunningBundle, _Mapping]] = ..., previous: _Optional[_Union[RunningBundle, _Mapping]] = ..., canary: _Optional[_Union[RunningBundle, _Mapping]] = ..., canary_share: _Optional[float] = ..., workers: _Optional[int] = ...) -> None: ...

class RunningBundle(_message.Message):
    __slots__ = ("directory", "version", "manifest_sha256")
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_SHA256_FIELD_NUMBER: _ClassVar[int]
    directory: str
    version: str
    manifest_sha256: str
    def __init__(self, directory: _Optional[str] = ..., version: _Optional[str] = ..., manifest_sha256: _Optional[str] = ...) -> None: ...

class ActivateBundleRequest(_message.Message):
    __slots__ = ("directory", "canary_share", "require_agreement", "dry_run")
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    CANARY_SHARE_FIELD_NUMBER: _ClassVar[int]
    REQUIRE_AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    directory: str
    canary_share: float
    require_agreement: float
    dry_run: bool
    def __init__(self, directory: _Optional[str] = ..., canary_share: _Optional[float] = ..., require_agreement: _Optional[float] = ..., dry_run: bool = ...) -> None: ...

class ActivateBundleResponse(_message.Message):
    __slots__ = ("state", "comparison", "cost")
    STATE_FIELD_NUMBER: _ClassVar[int]
    COMPARISON_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    state: BundleState
    comparison: Comparison
    cost: SwapCost
    def __init__(self, state: _Optional[_Union[BundleState, _Mapping]] = ..., comparison: _Optional[_Union[Comparison, _Mapping]] = ..., cost: _Optional[_Union[SwapCost, _Mapping]] = ...) -> None: ...

class Comparison(_message.Message):
    __slots__ = ("requests", "agreement", "candidates", "cost_usd_before", "cost_usd_after", "quality_before", "quality_after")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    COST_USD_BEFORE_FIELD_NUMBER: _ClassVar[int]
    COST_USD_AFTER_FIELD_NUMBER: _ClassVar[int]
    QUALITY_BEFORE_FIELD_NUMBER: _ClassVar[int]
    QUALITY_AFTER_FIELD_NUMBER: _ClassVar[int]
    requests: int
    agreement: float
    candidates: _containers.RepeatedCompositeFieldContainer[CandidateShare]
    cost_usd_before: float
    cost_usd_after: float
    quality_before: float
    quality_after: float
    def __init__(self, requests: _Optional[int] = ..., agreement: _Optional[float] = ..., candidates: _Optional[_Iterable[_Union[CandidateShare, _Mapping]]] = ..., cost_usd_before: _Optional[float] = ..., cost_usd_after: _Optional[float] = ..., quality_before: _Optional[float] = ..., quality_after: _Optional[float] = ...) -> None: ...

class CandidateShare(_message.Message):
    __slots__ = ("candidate", "before", "after")
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    candidate: str
    before: float
    after: float
    def __init__(self, candidate: _Optional[str] = ..., before: _Optional[float] = ..., after: _Optional[float] = ...) -> None: ...

class SwapCost(_message.Message):
    __slots__ = ("gate_ms", "prepare_ms", "switch_ms", "p99_before_us", "p99_during_us")
    GATE_MS_FIELD_NUMBER: _ClassVar[int]
    PREPARE_MS_FIELD_NUMBER: _ClassVar[int]
    SWITCH_MS_FIELD_NUMBER: _ClassVar[int]
    P99_BEFORE_US_FIELD_NUMBER: _ClassVar[int]
    P99_DURING_US_FIELD_NUMBER: _ClassVar[int]
    gate_ms: float
    prepare_ms: float
    switch_ms: float
    p99_before_us: float
    p99_during_us: float
    def __init__(self, gate_ms: _Optional[float] = ..., prepare_ms: _Optional[float] = ..., switch_ms: _Optional[float] = ..., p99_before_us: _Optional[float] = ..., p99_during_us: _Optional[float] = ...) -> None: ...

class RollbackBundleRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RollbackBundleResponse(_message.Message):
    __slots__ = ("state", "switch_ms")
    STATE_FIELD_NUMBER: _ClassVar[int]
    SWITCH_MS_FIELD_NUMBER: _ClassVar[int]
    state: BundleState
    switch_ms: float
    def __init__(self, state: _Optional[_Union[BundleState, _Mapping]] = ..., switch_ms: _Optional[float] = ...) -> None: ...

class WatchBundlesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchBundlesResponse(_message.Message):
    __slots__ = ("time", "event", "message", "state")
    TIME_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    event: BundleEvent
    message: str
    state: BundleState
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., event: _Optional[_Union[BundleEvent, str]] = ..., message: _Optional[str] = ..., state: _Optional[_Union[BundleState, _Mapping]] = ...) -> None: ...
