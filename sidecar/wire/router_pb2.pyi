from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REASON_UNSPECIFIED: _ClassVar[Reason]
    REASON_LEARNED: _ClassVar[Reason]
    REASON_NOVEL: _ClassVar[Reason]
    REASON_CONSTRAINT: _ClassVar[Reason]
    REASON_DEGRADED: _ClassVar[Reason]
    REASON_STICKY: _ClassVar[Reason]
    REASON_LOAD: _ClassVar[Reason]
    REASON_SPREAD: _ClassVar[Reason]
    REASON_LAST_RESORT: _ClassVar[Reason]

class OutcomeError(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_ERROR_UNSPECIFIED: _ClassVar[OutcomeError]
    OUTCOME_ERROR_RATE_LIMITED: _ClassVar[OutcomeError]
    OUTCOME_ERROR_TIMEOUT: _ClassVar[OutcomeError]
    OUTCOME_ERROR_SERVER: _ClassVar[OutcomeError]
    OUTCOME_ERROR_CLIENT: _ClassVar[OutcomeError]
    OUTCOME_ERROR_REFUSED: _ClassVar[OutcomeError]
REASON_UNSPECIFIED: Reason
REASON_LEARNED: Reason
REASON_NOVEL: Reason
REASON_CONSTRAINT: Reason
REASON_DEGRADED: Reason
REASON_STICKY: Reason
REASON_LOAD: Reason
REASON_SPREAD: Reason
REASON_LAST_RESORT: Reason
OUTCOME_ERROR_UNSPECIFIED: OutcomeError
OUTCOME_ERROR_RATE_LIMITED: OutcomeError
OUTCOME_ERROR_TIMEOUT: OutcomeError
OUTCOME_ERROR_SERVER: OutcomeError
OUTCOME_ERROR_CLIENT: OutcomeError
OUTCOME_ERROR_REFUSED: OutcomeError

class RouteRequest(_message.Message):
    __slots__ = ("text", "messages", "segment", "metadata", "prompt_tokens", "max_output_tokens", "policy_name", "policy", "constraints", "tools", "session_id", "current_model", "cached_tokens", "ranking_limit")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TEXT_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    POLICY_NAME_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    CONSTRAINTS_FIELD_NUMBER: _ClassVar[int]
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    CURRENT_MODEL_FIELD_NUMBER: _ClassVar[int]
    CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    RANKING_LIMIT_FIELD_NUMBER: _ClassVar[int]
    text: str
    messages: _containers.RepeatedCompositeFieldContainer[ChatMessage]
    segment: str
    metadata: _containers.ScalarMap[str, str]
    prompt_tokens: int
    max_output_tokens: int
    policy_name: str
    policy: Policy
    constraints: Constraints
    tools: _containers.RepeatedScalarFieldContainer[str]
    session_id: str
    current_model: str
    cached_tokens: int
    ranking_limit: int
    def __init__(self, text: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[ChatMessage, _Mapping]]] = ..., segment: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., prompt_tokens: _Optional[int] = ..., max_output_tokens: _Optional[int] = ..., policy_name: _Optional[str] = ..., policy: _Optional[_Union[Policy, _Mapping]] = ..., constraints: _Optional[_Union[Constraints, _Mapping]] = ..., tools: _Optional[_Iterable[str]] = ..., session_id: _Optional[str] = ..., current_model: _Optional[str] = ..., cached_tokens: _Optional[int] = ..., ranking_limit: _Optional[int] = ...) -> None: ...

class ChatMessage(_message.Message):
    __slots__ = ("role", "content", "parts", "tool_calls")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALLS_FIELD_NUMBER: _ClassVar[int]
    role: str
    content: str
    parts: _containers.RepeatedCompositeFieldContainer[ContentPart]
    tool_calls: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, role: _Optional[str] = ..., content: _Optional[str] = ..., parts: _Optional[_Iterable[_Union[ContentPart, _Mapping]]] = ..., tool_calls: _Optional[_Iterable[str]] = ...) -> None: ...

class ContentPart(_message.Message):
    __slots__ = ("text", "image_url", "input_audio", "file")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_URL_FIELD_NUMBER: _ClassVar[int]
    INPUT_AUDIO_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    text: str
    image_url: str
    input_audio: str
    file: str
    def __init__(self, text: _Optional[str] = ..., image_url: _Optional[str] = ..., input_audio: _Optional[str] = ..., file: _Optional[str] = ...) -> None: ...

class Policy(_message.Message):
    __slots__ = ("answer_value_usd", "second_value_usd", "min_quality", "max_cost_usd", "max_latency_ms")
    ANSWER_VALUE_USD_FIELD_NUMBER: _ClassVar[int]
    SECOND_VALUE_USD_FIELD_NUMBER: _ClassVar[int]
    MIN_QUALITY_FIELD_NUMBER: _ClassVar[int]
    MAX_COST_USD_FIELD_NUMBER: _ClassVar[int]
    MAX_LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    answer_value_usd: float
    second_value_usd: float
    min_quality: float
    max_cost_usd: float
    max_latency_ms: int
    def __init__(self, answer_value_usd: _Optional[float] = ..., second_value_usd: _Optional[float] = ..., min_quality: _Optional[float] = ..., max_cost_usd: _Optional[float] = ..., max_latency_ms: _Optional[int] = ...) -> None: ...

class Constraints(_message.Message):
    __slots__ = ("allow", "deny", "capabilities", "min_quality", "max_cost_usd", "max_latency_ms")
    ALLOW_FIELD_NUMBER: _ClassVar[int]
    DENY_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    MIN_QUALITY_FIELD_NUMBER: _ClassVar[int]
    MAX_COST_USD_FIELD_NUMBER: _ClassVar[int]
    MAX_LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    allow: _containers.RepeatedScalarFieldContainer[str]
    deny: _containers.RepeatedScalarFieldContainer[str]
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    min_quality: float
    max_cost_usd: float
    max_latency_ms: int
    def __init__(self, allow: _Optional[_Iterable[str]] = ..., deny: _Optional[_Iterable[str]] = ..., capabilities: _Optional[_Iterable[str]] = ..., min_quality: _Optional[float] = ..., max_cost_usd: _Optional[float] = ..., max_latency_ms: _Optional[int] = ...) -> None: ...

class RouteResponse(_message.Message):
    __slots__ = ("decision_id", "model", "ranking", "reasons", "propensity", "bundle_name", "bundle_version", "novelty", "segment", "envelope", "policy", "prompt_tokens", "timings", "applied", "retry_after_ms")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    RANKING_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    PROPENSITY_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_NAME_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_VERSION_FIELD_NUMBER: _ClassVar[int]
    NOVELTY_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    model: str
    ranking: _containers.RepeatedCompositeFieldContainer[RankedCandidate]
    reasons: _containers.RepeatedScalarFieldContainer[Reason]
    propensity: float
    bundle_name: str
    bundle_version: str
    novelty: float
    segment: str
    envelope: str
    policy: str
    prompt_tokens: int
    timings: Timings
    applied: bool
    retry_after_ms: int
    def __init__(self, decision_id: _Optional[str] = ..., model: _Optional[str] = ..., ranking: _Optional[_Iterable[_Union[RankedCandidate, _Mapping]]] = ..., reasons: _Optional[_Iterable[_Union[Reason, str]]] = ..., propensity: _Optional[float] = ..., bundle_name: _Optional[str] = ..., bundle_version: _Optional[str] = ..., novelty: _Optional[float] = ..., segment: _Optional[str] = ..., envelope: _Optional[str] = ..., policy: _Optional[str] = ..., prompt_tokens: _Optional[int] = ..., timings: _Optional[_Union[Timings, _Mapping]] = ..., applied: bool = ..., retry_after_ms: _Optional[int] = ...) -> None: ...

class RankedCandidate(_message.Message):
    __slots__ = ("candidate", "model", "quality", "cost_usd", "expected_seconds", "utility_usd")
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    COST_USD_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_SECONDS_FIELD_NUMBER: _ClassVar[int]
    UTILITY_USD_FIELD_NUMBER: _ClassVar[int]
    candidate: str
    model: str
    quality: float
    cost_usd: float
    expected_seconds: float
    utility_usd: float
    def __init__(self, candidate: _Optional[str] = ..., model: _Optional[str] = ..., quality: _Optional[float] = ..., cost_usd: _Optional[float] = ..., expected_seconds: _Optional[float] = ..., utility_usd: _Optional[float] = ...) -> None: ...

class Timings(_message.Message):
    __slots__ = ("intake_us", "queue_us", "tokenize_us", "score_us", "decide_us", "total_us", "batch_size", "cached")
    INTAKE_US_FIELD_NUMBER: _ClassVar[int]
    QUEUE_US_FIELD_NUMBER: _ClassVar[int]
    TOKENIZE_US_FIELD_NUMBER: _ClassVar[int]
    SCORE_US_FIELD_NUMBER: _ClassVar[int]
    DECIDE_US_FIELD_NUMBER: _ClassVar[int]
    TOTAL_US_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    CACHED_FIELD_NUMBER: _ClassVar[int]
    intake_us: int
    queue_us: int
    tokenize_us: int
    score_us: int
    decide_us: int
    total_us: int
    batch_size: int
    cached: bool
    def __init__(self, intake_us: _Optional[int] = ..., queue_us: _Optional[int] = ..., tokenize_us: _Optional[int] = ..., score_us: _Optional[int] = ..., decide_us: _Optional[int] = ..., total_us: _Optional[int] = ..., batch_size: _Optional[int] = ..., cached: bool = ...) -> None: ...

class RouteBatchRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[RouteRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[RouteRequest, _Mapping]]] = ...) -> None: ...

class RouteBatchResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[RouteResult]
    def __init__(self, results: _Optional[_Iterable[_Union[RouteResult, _Mapping]]] = ...) -> None: ...

class RouteResult(_message.Message):
    __slots__ = ("response", "error")
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    response: RouteResponse
    error: RouteError
    def __init__(self, response: _Optional[_Union[RouteResponse, _Mapping]] = ..., error: _Optional[_Union[RouteError, _Mapping]] = ...) -> None: ...

class RouteError(_message.Message):
    __slots__ = ("code", "message", "retry_after_ms")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    retry_after_ms: int
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., retry_after_ms: _Optional[int] = ...) -> None: ...

class RouteStreamRequest(_message.Message):
    __slots__ = ("sequence", "request")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    request: RouteRequest
    def __init__(self, sequence: _Optional[int] = ..., request: _Optional[_Union[RouteRequest, _Mapping]] = ...) -> None: ...

class RouteStreamResponse(_message.Message):
    __slots__ = ("sequence", "result")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    result: RouteResult
    def __init__(self, sequence: _Optional[int] = ..., result: _Optional[_Union[RouteResult, _Mapping]] = ...) -> None: ...

class ReportOutcomeRequest(_message.Message):
    __slots__ = ("outcomes",)
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[Outcome]
    def __init__(self, outcomes: _Optional[_Iterable[_Union[Outcome, _Mapping]]] = ...) -> None: ...

class ReportOutcomeResponse(_message.Message):
    __slots__ = ("accepted", "durable")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    accepted: int
    durable: bool
    def __init__(self, accepted: _Optional[int] = ..., durable: bool = ...) -> None: ...

class Outcome(_message.Message):
    __slots__ = ("decision_id", "source", "key", "quality", "latency_ms", "first_token_ms", "input_tokens", "output_tokens", "cached_tokens", "cost_usd", "error", "retry_after_ms", "model", "headers", "labels", "observed_unix_seconds", "session_id", "in_progress")
    class HeadersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_MS_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COST_USD_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_UNIX_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    IN_PROGRESS_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    source: str
    key: str
    quality: float
    latency_ms: int
    first_token_ms: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost_usd: float
    error: OutcomeError
    retry_after_ms: int
    model: str
    headers: _containers.ScalarMap[str, str]
    labels: _containers.ScalarMap[str, str]
    observed_unix_seconds: float
    session_id: str
    in_progress: bool
    def __init__(self, decision_id: _Optional[str] = ..., source: _Optional[str] = ..., key: _Optional[str] = ..., quality: _Optional[float] = ..., latency_ms: _Optional[int] = ..., first_token_ms: _Optional[int] = ..., input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., cached_tokens: _Optional[int] = ..., cost_usd: _Optional[float] = ..., error: _Optional[_Union[OutcomeError, str]] = ..., retry_after_ms: _Optional[int] = ..., model: _Optional[str] = ..., headers: _Optional[_Mapping[str, str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., observed_unix_seconds: _Optional[float] = ..., session_id: _Optional[str] = ..., in_progress: bool = ...) -> None: ...

class InfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class InfoResponse(_message.Message):
    __slots__ = ("version", "lane", "lane_reason", "execution_provider", "bundle", "degraded", "candidates", "policies", "default_policy", "safe_candidate", "limits", "counters", "versions", "coverage", "canary", "canary_share", "worker", "workers", "device_fault", "execution_provider_reason", "transport")
    class PoliciesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Policy
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Policy, _Mapping]] = ...) -> None: ...
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    LANE_REASON_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_PROVIDER_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_POLICY_FIELD_NUMBER: _ClassVar[int]
    SAFE_CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    COVERAGE_FIELD_NUMBER: _ClassVar[int]
    CANARY_FIELD_NUMBER: _ClassVar[int]
    CANARY_SHARE_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FAULT_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_PROVIDER_REASON_FIELD_NUMBER: _ClassVar[int]
    TRANSPORT_FIELD_NUMBER: _ClassVar[int]
    version: str
    lane: str
    lane_reason: str
    execution_provider: str
    bundle: BundleInfo
    degraded: str
    candidates: _containers.RepeatedCompositeFieldContainer[CandidateInfo]
    policies: _containers.MessageMap[str, Policy]
    default_policy: str
    safe_candidate: str
    limits: Limits
    counters: Counters
    versions: _containers.RepeatedCompositeFieldContainer[VersionCounters]
    coverage: Coverage
    canary: BundleInfo
    canary_share: float
    worker: int
    workers: int
    device_fault: str
    execution_provider_reason: str
    transport: str
    def __init__(self, version: _Optional[str] = ..., lane: _Optional[str] = ..., lane_reason: _Optional[str] = ..., execution_provider: _Optional[str] = ..., bundle: _Optional[_Union[BundleInfo, _Mapping]] = ..., degraded: _Optional[str] = ..., candidates: _Optional[_Iterable[_Union[CandidateInfo, _Mapping]]] = ..., policies: _Optional[_Mapping[str, Policy]] = ..., default_policy: _Optional[str] = ..., safe_candidate: _Optional[str] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., counters: _Optional[_Union[Counters, _Mapping]] = ..., versions: _Optional[_Iterable[_Union[VersionCounters, _Mapping]]] = ..., coverage: _Optional[_Union[Coverage, _Mapping]] = ..., canary: _Optional[_Union[BundleInfo, _Mapping]] = ..., canary_share: _Optional[float] = ..., worker: _Optional[int] = ..., workers: _Optional[int] = ..., device_fault: _Optional[str] = ..., execution_provider_reason: _Optional[str] = ..., transport: _Optional[str] = ...) -> None: ...

class Coverage(_message.Message):
    __slots__ = ("window_seconds", "alarm_below", "overall", "segments")
    WINDOW_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ALARM_BELOW_FIELD_NUMBER: _ClassVar[int]
    OVERALL_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    window_seconds: int
    alarm_below: float
    overall: SegmentCoverage
    segments: _containers.RepeatedCompositeFieldContainer[SegmentCoverage]
    def __init__(self, window_seconds: _Optional[int] = ..., alarm_below: _Optional[float] = ..., overall: _Optional[_Union[SegmentCoverage, _Mapping]] = ..., segments: _Optional[_Iterable[_Union[SegmentCoverage, _Mapping]]] = ...) -> None: ...

class SegmentCoverage(_message.Message):
    __slots__ = ("segment", "scored", "unscored", "alarm")
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    SCORED_FIELD_NUMBER: _ClassVar[int]
    UNSCORED_FIELD_NUMBER: _ClassVar[int]
    ALARM_FIELD_NUMBER: _ClassVar[int]
    segment: str
    scored: int
    unscored: int
    alarm: bool
    def __init__(self, segment: _Optional[str] = ..., scored: _Optional[int] = ..., unscored: _Optional[int] = ..., alarm: bool = ...) -> None: ...

class VersionCounters(_message.Message):
    __slots__ = ("version", "decisions", "degraded", "batches")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    version: str
    decisions: int
    degraded: int
    batches: int
    def __init__(self, version: _Optional[str] = ..., decisions: _Optional[int] = ..., degraded: _Optional[int] = ..., batches: _Optional[int] = ...) -> None: ...

class BundleInfo(_message.Message):
    __slots__ = ("name", "version", "family", "manifest_sha256")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_SHA256_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    family: str
    manifest_sha256: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., family: _Optional[str] = ..., manifest_sha256: _Optional[str] = ...) -> None: ...

class CandidateInfo(_message.Message):
    __slots__ = ("name", "model", "aliases", "input_usd_per_mtok", "output_usd_per_mtok", "context_window", "capabilities", "prior_quality")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    INPUT_USD_PER_MTOK_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_USD_PER_MTOK_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_WINDOW_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    PRIOR_QUALITY_FIELD_NUMBER: _ClassVar[int]
    name: str
    model: str
    aliases: _containers.RepeatedScalarFieldContainer[str]
    input_usd_per_mtok: float
    output_usd_per_mtok: float
    context_window: int
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    prior_quality: float
    def __init__(self, name: _Optional[str] = ..., model: _Optional[str] = ..., aliases: _Optional[_Iterable[str]] = ..., input_usd_per_mtok: _Optional[float] = ..., output_usd_per_mtok: _Optional[float] = ..., context_window: _Optional[int] = ..., capabilities: _Optional[_Iterable[str]] = ..., prior_quality: _Optional[float] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_message_bytes", "max_batch_items", "max_score_batch", "max_scored_chars", "max_waiting", "max_queue_ms", "overload_action", "cache_max_bytes")
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_ITEMS_FIELD_NUMBER: _ClassVar[int]
    MAX_SCORE_BATCH_FIELD_NUMBER: _ClassVar[int]
    MAX_SCORED_CHARS_FIELD_NUMBER: _ClassVar[int]
    MAX_WAITING_FIELD_NUMBER: _ClassVar[int]
    MAX_QUEUE_MS_FIELD_NUMBER: _ClassVar[int]
    OVERLOAD_ACTION_FIELD_NUMBER: _ClassVar[int]
    CACHE_MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    max_message_bytes: int
    max_batch_items: int
    max_score_batch: int
    max_scored_chars: int
    max_waiting: int
    max_queue_ms: float
    overload_action: str
    cache_max_bytes: int
    def __init__(self, max_message_bytes: _Optional[int] = ..., max_batch_items: _Optional[int] = ..., max_score_batch: _Optional[int] = ..., max_scored_chars: _Optional[int] = ..., max_waiting: _Optional[int] = ..., max_queue_ms: _Optional[float] = ..., overload_action: _Optional[str] = ..., cache_max_bytes: _Optional[int] = ...) -> None: ...

class Counters(_message.Message):
    __slots__ = ("decisions", "degraded", "invalid", "batches", "shed", "expired", "cancelled", "cache_hits", "cache_misses", "cache_evictions", "cache_bytes", "over_budget")
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    INVALID_FIELD_NUMBER: _ClassVar[int]
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    SHED_FIELD_NUMBER: _ClassVar[int]
    EXPIRED_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    CACHE_HITS_FIELD_NUMBER: _ClassVar[int]
    CACHE_MISSES_FIELD_NUMBER: _ClassVar[int]
    CACHE_EVICTIONS_FIELD_NUMBER: _ClassVar[int]
    CACHE_BYTES_FIELD_NUMBER: _ClassVar[int]
    OVER_BUDGET_FIELD_NUMBER: _ClassVar[int]
    decisions: int
    degraded: int
    invalid: int
    batches: int
    shed: int
    expired: int
    cancelled: int
    cache_hits: int
    cache_misses: int
    cache_evictions: int
    cache_bytes: int
    over_budget: int
    def __init__(self, decisions: _Optional[int] = ..., degraded: _Optional[int] = ..., invalid: _Optional[int] = ..., batches: _Optional[int] = ..., shed: _Optional[int] = ..., expired: _Optional[int] = ..., cancelled: _Optional[int] = ..., cache_hits: _Optional[int] = ..., cache_misses: _Optional[int] = ..., cache_evictions: _Optional[int] = ..., cache_bytes: _Optional[int] = ..., over_budget: _Optional[int] = ...) -> None: ...
