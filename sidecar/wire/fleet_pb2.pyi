import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CandidateState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CANDIDATE_STATE_UNSPECIFIED: _ClassVar[CandidateState]
    CANDIDATE_STATE_AVAILABLE: _ClassVar[CandidateState]
    CANDIDATE_STATE_RECOVERING: _ClassVar[CandidateState]
    CANDIDATE_STATE_OPEN: _ClassVar[CandidateState]
    CANDIDATE_STATE_COOLING: _ClassVar[CandidateState]
    CANDIDATE_STATE_EXHAUSTED: _ClassVar[CandidateState]
CANDIDATE_STATE_UNSPECIFIED: CandidateState
CANDIDATE_STATE_AVAILABLE: CandidateState
CANDIDATE_STATE_RECOVERING: CandidateState
CANDIDATE_STATE_OPEN: CandidateState
CANDIDATE_STATE_COOLING: CandidateState
CANDIDATE_STATE_EXHAUSTED: CandidateState

class ReportLoadRequest(_message.Message):
    __slots__ = ("candidate", "report")
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    candidate: str
    report: LoadReport
    def __init__(self, candidate: _Optional[str] = ..., report: _Optional[_Union[LoadReport, _Mapping]] = ...) -> None: ...

class LoadReport(_message.Message):
    __slots__ = ("cpu_utilization", "mem_utilization", "request_cost", "utilization", "rps_fractional", "eps", "named_metrics", "application_utilization")
    class RequestCostEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class UtilizationEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class NamedMetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    CPU_UTILIZATION_FIELD_NUMBER: _ClassVar[int]
    MEM_UTILIZATION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_COST_FIELD_NUMBER: _ClassVar[int]
    UTILIZATION_FIELD_NUMBER: _ClassVar[int]
    RPS_FRACTIONAL_FIELD_NUMBER: _ClassVar[int]
    EPS_FIELD_NUMBER: _ClassVar[int]
    NAMED_METRICS_FIELD_NUMBER: _ClassVar[int]
    APPLICATION_UTILIZATION_FIELD_NUMBER: _ClassVar[int]
    cpu_utilization: float
    mem_utilization: float
    request_cost: _containers.ScalarMap[str, float]
    utilization: _containers.ScalarMap[str, float]
    rps_fractional: float
    eps: float
    named_metrics: _containers.ScalarMap[str, float]
    application_utilization: float
    def __init__(self, cpu_utilization: _Optional[float] = ..., mem_utilization: _Optional[float] = ..., request_cost: _Optional[_Mapping[str, float]] = ..., utilization: _Optional[_Mapping[str, float]] = ..., rps_fractional: _Optional[float] = ..., eps: _Optional[float] = ..., named_metrics: _Optional[_Mapping[str, float]] = ..., application_utilization: _Optional[float] = ...) -> None: ...

class ReportLoadResponse(_message.Message):
    __slots__ = ("understood",)
    UNDERSTOOD_FIELD_NUMBER: _ClassVar[int]
    understood: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, understood: _Optional[_Iterable[str]] = ...) -> None: ...

class FleetRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FleetResponse(_message.Message):
    __slots__ = ("candidates", "time")
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    candidates: _containers.RepeatedCompositeFieldContainer[CandidateLoad]
    time: _timestamp_pb2.Timestamp
    def __init__(self, candidates: _Optional[_Iterable[_Union[CandidateLoad, _Mapping]]] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CandidateLoad(_message.Message):
    __slots__ = ("candidate", "state", "note", "in_flight", "running", "waiting", "max_running", "kv_used", "wait_seconds", "first_token_seconds", "seconds_per_token", "tokens_per_second", "errors_per_second", "rate_limit_remaining_requests", "rate_limit_remaining_tokens", "rate_limit_reset_seconds", "share", "recovery_seconds", "telemetry_age_seconds")
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    MAX_RUNNING_FIELD_NUMBER: _ClassVar[int]
    KV_USED_FIELD_NUMBER: _ClassVar[int]
    WAIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_PER_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOKENS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    ERRORS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    RATE_LIMIT_REMAINING_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    RATE_LIMIT_REMAINING_TOKENS_FIELD_NUMBER: _ClassVar[int]
    RATE_LIMIT_RESET_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    RECOVERY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TELEMETRY_AGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    candidate: str
    state: CandidateState
    note: str
    in_flight: float
    running: float
    waiting: float
    max_running: float
    kv_used: float
    wait_seconds: float
    first_token_seconds: float
    seconds_per_token: float
    tokens_per_second: float
    errors_per_second: float
    rate_limit_remaining_requests: float
    rate_limit_remaining_tokens: float
    rate_limit_reset_seconds: float
    share: float
    recovery_seconds: float
    telemetry_age_seconds: float
    def __init__(self, candidate: _Optional[str] = ..., state: _Optional[_Union[CandidateState, str]] = ..., note: _Optional[str] = ..., in_flight: _Optional[float] = ..., running: _Optional[float] = ..., waiting: _Optional[float] = ..., max_running: _Optional[float] = ..., kv_used: _Optional[float] = ..., wait_seconds: _Optional[float] = ..., first_token_seconds: _Optional[float] = ..., seconds_per_token: _Optional[float] = ..., tokens_per_second: _Optional[float] = ..., errors_per_second: _Optional[float] = ..., rate_limit_remaining_requests: _Optional[float] = ..., rate_limit_remaining_tokens: _Optional[float] = ..., rate_limit_reset_seconds: _Optional[float] = ..., share: _Optional[float] = ..., recovery_seconds: _Optional[float] = ..., telemetry_age_seconds: _Optional[float] = ...) -> None: ...
