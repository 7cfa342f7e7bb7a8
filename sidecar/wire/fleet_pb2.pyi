import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BudgetUnit(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BUDGET_UNIT_UNSPECIFIED: _ClassVar[BudgetUnit]
    BUDGET_UNIT_REQUESTS: _ClassVar[BudgetUnit]
    BUDGET_UNIT_TOKENS: _ClassVar[BudgetUnit]
    BUDGET_UNIT_USD: _ClassVar[BudgetUnit]

class CandidateState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CANDIDATE_STATE_UNSPECIFIED: _ClassVar[CandidateState]
    CANDIDATE_STATE_CLOSED: _ClassVar[CandidateState]
    CANDIDATE_STATE_OPEN: _ClassVar[CandidateState]
    CANDIDATE_STATE_HALF_OPEN: _ClassVar[CandidateState]
    CANDIDATE_STATE_SLOW_START: _ClassVar[CandidateState]
    CANDIDATE_STATE_COOLING: _ClassVar[CandidateState]
    CANDIDATE_STATE_SILENT: _ClassVar[CandidateState]
BUDGET_UNIT_UNSPECIFIED: BudgetUnit
BUDGET_UNIT_REQUESTS: BudgetUnit
BUDGET_UNIT_TOKENS: BudgetUnit
BUDGET_UNIT_USD: BudgetUnit
CANDIDATE_STATE_UNSPECIFIED: CandidateState
CANDIDATE_STATE_CLOSED: CandidateState
CANDIDATE_STATE_OPEN: CandidateState
CANDIDATE_STATE_HALF_OPEN: CandidateState
CANDIDATE_STATE_SLOW_START: CandidateState
CANDIDATE_STATE_COOLING: CandidateState
CANDIDATE_STATE_SILENT: CandidateState

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
    __slots__ = ("candidates", "time", "budgets")
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    BUDGETS_FIELD_NUMBER: _ClassVar[int]
    candidates: _containers.RepeatedCompositeFieldContainer[CandidateLoad]
    time: _timestamp_pb2.Timestamp
    budgets: _containers.RepeatedCompositeFieldContainer[BudgetLoad]
    def __init__(self, candidates: _Optional[_Iterable[_Union[CandidateLoad, _Mapping]]] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., budgets: _Optional[_Iterable[_Union[BudgetLoad, _Mapping]]] = ...) -> None: ...

class BudgetLoad(_message.Message):
    __slots__ = ("budget", "candidates", "segments", "limits", "exhausted", "refuses", "recovery_seconds", "opens")
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    EXHAUSTED_FIELD_NUMBER: _ClassVar[int]
    REFUSES_FIELD_NUMBER: _ClassVar[int]
    RECOVERY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    OPENS_FIELD_NUMBER: _ClassVar[int]
    budget: str
    candidates: _containers.RepeatedScalarFieldContainer[str]
    segments: _containers.RepeatedScalarFieldContainer[str]
    limits: _containers.RepeatedCompositeFieldContainer[BudgetLimit]
    exhausted: bool
    refuses: bool
    recovery_seconds: float
    opens: _timestamp_pb2.Timestamp
    def __init__(self, budget: _Optional[str] = ..., candidates: _Optional[_Iterable[str]] = ..., segments: _Optional[_Iterable[str]] = ..., limits: _Optional[_Iterable[_Union[BudgetLimit, _Mapping]]] = ..., exhausted: bool = ..., refuses: bool = ..., recovery_seconds: _Optional[float] = ..., opens: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class BudgetLimit(_message.Message):
    __slots__ = ("unit", "used", "limit", "window_seconds")
    UNIT_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    WINDOW_SECONDS_FIELD_NUMBER: _ClassVar[int]
    unit: BudgetUnit
    used: float
    limit: float
    window_seconds: float
    def __init__(self, unit: _Optional[_Union[BudgetUnit, str]] = ..., used: _Optional[float] = ..., limit: _Optional[float] = ..., window_seconds: _Optional[float] = ...) -> None: ...

class CandidateLoad(_message.Message):
    __slots__ = ("candidate", "state", "share", "recovery_seconds", "in_flight", "own_in_flight", "tokens_in_flight", "slots", "wait_seconds", "first_token_seconds", "seconds_per_token", "uncertainty_seconds", "evidence", "error_rate", "running", "waiting", "kv_used", "telemetry_age_seconds", "decisions", "tokens", "outcomes", "faults", "expired", "suspicions")
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    RECOVERY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    OWN_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    TOKENS_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    WAIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_PER_TOKEN_FIELD_NUMBER: _ClassVar[int]
    UNCERTAINTY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    ERROR_RATE_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    KV_USED_FIELD_NUMBER: _ClassVar[int]
    TELEMETRY_AGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    EXPIRED_FIELD_NUMBER: _ClassVar[int]
    SUSPICIONS_FIELD_NUMBER: _ClassVar[int]
    candidate: str
    state: CandidateState
    share: float
    recovery_seconds: float
    in_flight: float
    own_in_flight: float
    tokens_in_flight: float
    slots: float
    wait_seconds: float
    first_token_seconds: float
    seconds_per_token: float
    uncertainty_seconds: float
    evidence: float
    error_rate: float
    running: float
    waiting: float
    kv_used: float
    telemetry_age_seconds: float
    decisions: float
    tokens: float
    outcomes: float
    faults: float
    expired: float
    suspicions: float
    def __init__(self, candidate: _Optional[str] = ..., state: _Optional[_Union[CandidateState, str]] = ..., share: _Optional[float] = ..., recovery_seconds: _Optional[float] = ..., in_flight: _Optional[float] = ..., own_in_flight: _Optional[float] = ..., tokens_in_flight: _Optional[float] = ..., slots: _Optional[float] = ..., wait_seconds: _Optional[float] = ..., first_token_seconds: _Optional[float] = ..., seconds_per_token: _Optional[float] = ..., uncertainty_seconds: _Optional[float] = ..., evidence: _Optional[float] = ..., error_rate: _Optional[float] = ..., running: _Optional[float] = ..., waiting: _Optional[float] = ..., kv_used: _Optional[float] = ..., telemetry_age_seconds: _Optional[float] = ..., decisions: _Optional[float] = ..., tokens: _Optional[float] = ..., outcomes: _Optional[float] = ..., faults: _Optional[float] = ..., expired: _Optional[float] = ..., suspicions: _Optional[float] = ...) -> None: ...
