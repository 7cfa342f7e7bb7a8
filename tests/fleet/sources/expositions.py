"""What the /metrics of model servers look like.

The Python servers register their metrics with prometheus_client, so that writes them here too, from the names, types and
labels that it is given in the servers' own sources; those of the others are written as their sources write them. Files and
versions stand in sidecar.fleet.sources.engines.
"""

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

CREATED = 1.7e9
# Sum and count of a histogram.
Total = tuple[float, float]
NONE: Total = (0.0, 0.0)


def written(families: Iterable[Metric]) -> str:
    """What prometheus_client makes of them."""
    made = list(families)

    class Server(Collector):
        def collect(self) -> Iterable[Metric]:
            return made

    registry = CollectorRegistry()
    registry.register(Server())
    return generate_latest(registry).decode()


def gauge(name: str, *rows: tuple[Mapping[str, str], float]) -> Metric:
    family = GaugeMetricFamily(name, f"About {name}.", labels=list(rows[0][0]) if rows else [])
    for labels, value in rows:
        family.add_metric(list(labels.values()), value)
    return family


def counter(name: str, *rows: tuple[Mapping[str, str], float]) -> Metric:
    family = CounterMetricFamily(name, f"About {name}.", labels=list(rows[0][0]) if rows else [])
    for labels, value in rows:
        family.add_metric(list(labels.values()), value, created=CREATED)
    return family


def histogram(name: str, total: Total, labels: Mapping[str, str]) -> Metric:
    over, count = total
    family = HistogramMetricFamily(name, f"About {name}.", labels=list(labels))
    family.add_metric(list(labels.values()), [("0.1", count / 2), ("+Inf", count)], over)
    return family


def vllm(  # noqa: PLR0913 - one for each metric
    running: float = 3.0,
    waiting: float = 2.0,
    kv: float = 0.25,
    *,
    ttft: Total = NONE,
    tpot: Total = NONE,
    tokens: float = 0.0,
    errors: float = 0.0,
    model: str = "meta-llama/Llama-3.1-8B-Instruct",
    engine: str = "0",
    version: str = "0.12",
) -> str:
    """Versions are V0, 0.10, 0.11 and 0.12: 0.10 and 0.11 tell some things by two names, of which one is on its way out."""
    labels = {"model_name": model} if version == "V0" else {"model_name": model, "engine": engine}
    reasons = (
        ("stop", "length", "abort", "error", "repetition")
        if version == "0.12"
        else ("stop", "length", "abort", "error")
    )
    ended = {"stop": 4711.0, "error": errors}
    kv_names = {
        "V0": ["vllm:gpu_cache_usage_perc", "vllm:cpu_cache_usage_perc"],
        "0.10": ["vllm:gpu_cache_usage_perc", "vllm:kv_cache_usage_perc"],
    }.get(version, ["vllm:kv_cache_usage_perc"])
    token_names = {
        "V0": ["vllm:time_per_output_token_seconds"],
        "0.10": ["vllm:time_per_output_token_seconds"],
        "0.11": ["vllm:time_per_output_token_seconds", "vllm:inter_token_latency_seconds"],
    }.get(version, ["vllm:inter_token_latency_seconds"])
    return written(
        [
            counter("python_gc_objects_collected", ({"generation": "0"}, 12833.0)),
            gauge("vllm:num_requests_running", (labels, running)),
            gauge("vllm:num_requests_waiting", (labels, waiting)),
            gauge("vllm:engine_sleep_state", ({**labels, "sleep_state": "awake"}, 1.0)),
            *(gauge(name, (labels, kv if "cpu" not in name else 0.9)) for name in kv_names),
            counter("vllm:num_preemptions", (labels, 13.0)),
            counter("vllm:prompt_tokens", (labels, 7e6)),
            counter("vllm:generation_tokens", (labels, tokens)),
            counter(
                "vllm:request_success",
                *(({**labels, "finished_reason": reason}, ended.get(reason, 17.0)) for reason in reasons),
            ),
            histogram("vllm:request_generation_tokens", (8e5, 900.0), labels),
            histogram("vllm:iteration_tokens_total", (8e5, 900.0), labels),
            histogram("vllm:time_to_first_token_seconds", ttft, labels),
            *(histogram(name, tpot, labels) for name in token_names),
            histogram("vllm:request_time_per_output_token_seconds", (99.0, 1.0), labels),
            histogram("vllm:request_queue_time_seconds", (99.0, 1.0), labels),
        ]
    )


def sglang(  # noqa: PLR0913 - one for each metric
    running: float = 4.0,
    queue: float = 1.0,
    usage: float = 0.5,
    throughput: float = 86.5,
    *,
    grammar: float | None = 0.0,
    priorities: Mapping[str, float] | None = None,
    parallel: Sequence[str] = (),
    decoded: float | None = None,
    ended: float | None = None,
    ttft: Total = NONE,
    itl: Total = NONE,
    statuses: Mapping[str, float] | None = None,
) -> str:
    """A server whose two tensor-parallel ranks both tell.

    Args:
        running: requests, of each data-parallel rank.
        queue: likewise.
        usage: of the cache.
        throughput: as its gauge has it.
        grammar: requests whose grammar is compiled; None: a version without.
        priorities: running requests by priority, where requests have priorities; they add up to `running`.
        parallel: data-parallel ranks.
        decoded: tokens, counted at each step; None: a version without.
        ended: tokens of requests that ended; None: none has.
        ttft: time to the first token.
        itl: time for each token after it.
        statuses: HTTP responses.
    """
    own = {"model_name": "Qwen/Qwen3-8B", "engine_type": "unified"}
    places = [
        {
            **own,
            "tp_rank": rank,
            "pp_rank": "0",
            "moe_ep_rank": "0",
            **({"priority": ""} if priorities else {}),
            **({"dp_rank": place} if place else {}),
        }
        for place in parallel or [""]
        for rank in ("0", "1")
    ]
    by_priority = [
        ({**labels, "priority": priority}, value) for labels in places for priority, value in (priorities or {}).items()
    ]
    streaming = {"model_name": own["model_name"], "is_streaming": "true"}
    return written(
        [
            gauge("sglang:num_running_reqs", *((labels, running) for labels in places), *by_priority),
            gauge("sglang:num_queue_reqs", *((labels, queue) for labels in places), *by_priority),
            *(
                []
                if grammar is None
                else [gauge("sglang:num_grammar_queue_reqs", *((labels, grammar) for labels in places))]
            ),
            gauge("sglang:gen_throughput", *((labels, throughput) for labels in places)),
            gauge("sglang:token_usage", *((labels, usage) for labels in places)),
            gauge("sglang:full_token_usage", *((labels, 0.99) for labels in places)),
            *(
                []
                if decoded is None
                else [
                    counter(
                        "sglang:realtime_tokens_total",
                        *(
                            ({**labels, "mode": mode}, value)
                            for labels in places
                            for mode, value in (("prefill_compute", 3.0 * decoded), ("decode", decoded))
                        ),
                    )
                ]
            ),
            # A metric with labels has no rows before it has a value.
            counter("sglang:generation_tokens_total", *([] if ended is None else [(streaming, ended)])),
            histogram("sglang:time_to_first_token_seconds", ttft, streaming),
            histogram("sglang:inter_token_latency_seconds", itl, {"model_name": own["model_name"]}),
            counter("sglang:num_aborted_requests_total", ({"model_name": own["model_name"]}, 5.0)),
            counter(
                "sglang:http_responses_total",
                *(
                    ({"endpoint": "/v1/chat/completions", "status_code": status, "method": "POST"}, value)
                    for status, value in {"200": 4711.0, "400": 12.0, **(statuses or {})}.items()
                ),
            ),
        ]
    )


def rust_histogram(name: str, total: Total, labels: str = "") -> str:
    """As metrics-exporter-prometheus writes it."""
    comma = f"{labels}," if labels else ""
    braces = f"{{{labels}}}" if labels else ""
    over, count = total
    return (
        f'# TYPE {name} histogram\n{name}_bucket{{{comma}le="0.00015000000000000001"}} 0\n'
        f'{name}_bucket{{{comma}le="+Inf"}} {count:g}\n{name}_sum{braces} {over}\n{name}_count{braces} {count:g}\n\n'
    )


def tgi(
    size: float = 5.0,
    queue: float = 7.0,
    *,
    waited: Total = NONE,
    prefill: Total = NONE,
    per_token: Total = NONE,
    generated: Total = NONE,
    failures: Mapping[str, float] | None = None,
) -> str:
    failed = "".join(f'tgi_request_failure{{err="{what}"}} {count:g}\n' for what, count in (failures or {}).items())
    return (
        (f"# TYPE tgi_request_failure counter\n{failed}\n" if failed else "")
        + "# HELP tgi_batch_inference_count Inference calls per method (prefill or decode)\n"
        "# TYPE tgi_batch_inference_count counter\n"
        'tgi_batch_inference_count{method="prefill"} 12\ntgi_batch_inference_count{method="decode"} 800\n\n'
        "# HELP tgi_queue_size Current queue size\n"
        f"# TYPE tgi_queue_size gauge\ntgi_queue_size {queue:g}\n\n"
        "# HELP tgi_batch_current_size Current batch size\n"
        f"# TYPE tgi_batch_current_size gauge\ntgi_batch_current_size {size:g}\n\n"
        "# TYPE tgi_batch_current_max_tokens gauge\ntgi_batch_current_max_tokens 4096\n\n"
        + rust_histogram("tgi_request_queue_duration", waited)
        + rust_histogram("tgi_batch_inference_duration", prefill, 'method="prefill"')
        + rust_histogram("tgi_batch_inference_duration", (1e6, 1e6), 'method="decode"')
        + rust_histogram("tgi_batch_forward_duration", (9.0, 1.0), 'method="prefill"')
        + rust_histogram("tgi_request_mean_time_per_token_duration", per_token)
        + rust_histogram("tgi_request_generated_tokens", generated)
    )


def llamacpp(
    processing: float = 2.0, deferred: float = 6.0, *, tokens: float = 0.0, seconds: float = 0.0, old: bool = False
) -> str:
    """Old ones tell the use of the cache. A stream of C++ prints six digits."""
    counters = {
        "prompt_tokens_total": 1234567.0,
        "prompt_seconds_total": 1810.5,
        "tokens_predicted_total": tokens,
        "tokens_predicted_seconds_total": seconds,
        "n_decode_total": 800.0,
        "n_busy_slots_per_decode": 1.5,
    }
    gauges = {
        "prompt_tokens_seconds": 512.25,
        "predicted_tokens_seconds": 0.0,
        **({"kv_cache_usage_ratio": 0.125, "kv_cache_tokens": 512.0} if old else {}),
        "requests_processing": processing,
        "requests_deferred": deferred,
    }
    return "".join(
        f"# HELP llamacpp:{name} About it.\n# TYPE llamacpp:{name} {kind}\nllamacpp:{name} {value:.6g}\n"
        for kind, rows in (("counter", counters), ("gauge", gauges))
        for name, value in rows.items()
    )
