# ruff: noqa: S106 - tokens here are what models write
"""What the metrics of known model servers mean, and how a configuration adds to it.

Names as the servers' own sources have them (files and versions beside each); where versions differ, the newer name stands
first.
"""

from collections.abc import Mapping
from typing import NamedTuple

from sidecar.errors import ConfigError
from sidecar.fleet.sources.expression import Expression, parse
from sidecar.fleet.sources.settings import EngineConfig

# Not a kind of server, but the keys of ORCA load reports.
ORCA = "orca"

BUILT_IN = {
    # vllm-project/vllm: vllm/v1/metrics/loggers.py (0.9 to 0.12) and vllm/engine/metrics.py (V0, 0.2 to 0.10). 0.9 renamed
    # the use of the cache, 0.11 the time for a token, and both told the old names beside the new ones for a while. Each
    # engine of a data-parallel server has rows of its own (`engine`). Only newer ones count `error`.
    "vllm": EngineConfig(
        running="vllm:num_requests_running",
        waiting="vllm:num_requests_waiting",
        kv_used="vllm:kv_cache_usage_perc | vllm:gpu_cache_usage_perc",
        first_token_seconds="mean(vllm:time_to_first_token_seconds)",
        seconds_per_token="mean(vllm:inter_token_latency_seconds) | mean(vllm:time_per_output_token_seconds)",
        tokens_per_second="rate(vllm:generation_tokens_total) | rate(vllm:generation_tokens)",
        errors_per_second='rate(vllm:request_success_total{finished_reason="error"})',
    ),
    # sgl-project/sglang: python/sglang/srt/metrics/collector.py, later srt/observability/metrics_collector.py, and
    # add_prometheus_track_response_middleware in srt/utils. With priorities, the row `priority=""` is the total of the
    # others. Requests whose grammar is being compiled wait in a queue of their own. Tokens are counted at each step where
    # there is `realtime_tokens_total`, else when a request ends; `gen_throughput` is what an idle server told last.
    "sglang": EngineConfig(
        running='sglang:num_running_reqs{priority=""}',
        waiting=(
            'sglang:num_queue_reqs{priority=""} + sglang:num_grammar_queue_reqs{priority=""}'
            ' | sglang:num_queue_reqs{priority=""}'
        ),
        kv_used="sglang:token_usage",
        first_token_seconds="mean(sglang:time_to_first_token_seconds)",
        seconds_per_token="mean(sglang:inter_token_latency_seconds) | mean(sglang:time_per_output_token_seconds)",
        tokens_per_second=(
            'rate(sglang:realtime_tokens_total{mode="decode"}) | rate(sglang:generation_tokens_total)'
            " | sglang:gen_throughput"
        ),
        errors_per_second=(
            'rate(sglang:http_responses_total{status_code="500"}) + rate(sglang:http_responses_total{status_code="503"})'
        ),
    ),
    # huggingface/text-generation-inference: router/src/server.rs, router/src/infer/mod.rs, backends/v3/src (1.0 to 3.3).
    # A metric is not there before its first value. A first token takes the wait in the queue and one prefill; the time for
    # a token has the prefill in it. Requests that were refused as invalid, or dropped by their caller, are not the
    # server's errors.
    "tgi": EngineConfig(
        running="tgi_batch_current_size",
        waiting="tgi_queue_size",
        first_token_seconds='mean(tgi_request_queue_duration) + mean(tgi_batch_inference_duration{method="prefill"})',
        seconds_per_token="mean(tgi_request_mean_time_per_token_duration)",
        tokens_per_second="rate(tgi_request_generated_tokens_sum)",
        errors_per_second=(
            'rate(tgi_request_failure{err="generation"}) + rate(tgi_request_failure{err="incomplete"})'
            ' + rate(tgi_request_failure{err="overloaded"})'
        ),
    ),
    # ggml-org/llama.cpp: tools/server/server-context.cpp, formerly examples/server/server.cpp; the use of the cache was told
    # in 2024 and early 2025 only. Counters grow when a request ends, and are printed with six digits: of a server that has
    # made ten million tokens they move in hundreds, so a long `window_seconds` is better there.
    "llamacpp": EngineConfig(
        running="llamacpp:requests_processing",
        waiting="llamacpp:requests_deferred",
        kv_used="llamacpp:kv_cache_usage_ratio",
        seconds_per_token="rate(llamacpp:tokens_predicted_seconds_total) / rate(llamacpp:tokens_predicted_total)",
        tokens_per_second="rate(llamacpp:tokens_predicted_total)",
    ),
    # Fields of xds.data.orca.v3.OrcaLoadReport; its maps as named_metrics.KEY and utilization.KEY. vLLM and Triton with
    # TensorRT-LLM name the first ones of each line.
    ORCA: EngineConfig(
        running="named_metrics.num_requests_running | named_metrics.vllm:num_requests_running",
        waiting="named_metrics.num_requests_waiting | named_metrics.vllm:num_requests_waiting",
        max_running="named_metrics.max_num_seqs | named_metrics.max_running",
        kv_used=(
            "named_metrics.kv_cache_usage_perc | named_metrics.kv_cache_utilization | utilization.kv_cache_utilization"
            " | utilization.kv_cache | named_metrics.vllm:kv_cache_usage_perc | named_metrics.vllm:gpu_cache_usage_perc"
        ),
        first_token_seconds="named_metrics.time_to_first_token_seconds",
        seconds_per_token="named_metrics.time_per_output_token_seconds | named_metrics.inter_token_latency_seconds",
        tokens_per_second="named_metrics.generation_tokens_per_second | named_metrics.tokens_per_second",
        errors_per_second="eps",
    ),
}


class Engine(NamedTuple):
    """How the figures of one kind of server are read.

    Attributes:
        name: as in the configuration.
        figures: fields of Telemetry, and where they come from.
    """

    name: str
    figures: dict[str, Expression]

    def wanted(self) -> frozenset[str]:
        """The names of all metrics that matter."""
        return frozenset(selector.name for one in self.figures.values() for selector in one.selectors())


def engines(configured: Mapping[str, EngineConfig]) -> dict[str, Engine]:
    """All known kinds of servers by name, the configured ones joined with the built-in ones.

    Raises:
        ConfigError: an expression is wrong; the message names its key.
    """
    found = {}
    for name in {**BUILT_IN, **configured}:
        built_in, own = BUILT_IN.get(name, EngineConfig()), configured.get(name, EngineConfig())
        figures = {}
        for field in EngineConfig.__struct_fields__:
            text = getattr(own, field) or getattr(built_in, field)
            if not text:
                continue
            try:
                figures[field] = parse(text)
            except ValueError as error:
                raise ConfigError(f"fleet.engines.{name}.{field}: {error}.") from None
            if name == ORCA and figures[field].counters():
                raise ConfigError(
                    f"fleet.engines.{name}.{field}: a load report has no counters; give the plain name of a field."
                )
        if not figures:
            raise ConfigError(f"fleet.engines.{name}: names no metric; give at least running or waiting.")
        found[name] = Engine(name, figures)
    return found
