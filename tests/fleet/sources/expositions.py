"""What the /metrics of model servers look like, cut down: names, labels and types as their projects document them."""


def histogram(name: str, total: float, count: float, labels: str = "") -> str:
    comma = f"{labels}," if labels else ""
    braces = f"{{{labels}}}" if labels else ""
    return (
        f"# HELP {name} A histogram.\n# TYPE {name} histogram\n"
        f'{name}_bucket{{{comma}le="0.1"}} {count / 2}\n{name}_bucket{{{comma}le="+Inf"}} {count}\n'
        f"{name}_sum{braces} {total}\n{name}_count{braces} {count}\n"
    )


def vllm(  # noqa: PLR0913 - one for each metric
    running: float = 3.0,
    waiting: float = 2.0,
    kv: float = 0.25,
    *,
    ttft: tuple[float, float] = (0.0, 0.0),
    tpot: tuple[float, float] = (0.0, 0.0),
    tokens: float = 0.0,
    errors: float = 0.0,
    model: str = "meta-llama/Llama-3.1-8B-Instruct",
    engine: str = "0",
    old: bool = False,
) -> str:
    labels = f'engine="{engine}",model_name="{model}"'
    kv_name = "vllm:gpu_cache_usage_perc" if old else "vllm:kv_cache_usage_perc"
    token_name = "vllm:time_per_output_token_seconds" if old else "vllm:inter_token_latency_seconds"
    return (
        "# HELP python_gc_objects_collected_total Objects collected during gc\n"
        "# TYPE python_gc_objects_collected_total counter\n"
        'python_gc_objects_collected_total{generation="0"} 12833.0\n'
        "# HELP vllm:num_requests_running Number of requests in model execution batches.\n"
        "# TYPE vllm:num_requests_running gauge\n"
        f"vllm:num_requests_running{{{labels}}} {running}\n"
        "# TYPE vllm:num_requests_waiting gauge\n"
        f"vllm:num_requests_waiting{{{labels}}} {waiting}\n"
        f"# TYPE {kv_name} gauge\n"
        f"{kv_name}{{{labels}}} {kv}\n"
        "# TYPE vllm:generation_tokens_total counter\n"
        f"vllm:generation_tokens_total{{{labels}}} {tokens}\n"
        f"vllm:generation_tokens_created{{{labels}}} 1.7e+09\n"
        "# TYPE vllm:request_success_total counter\n"
        f'vllm:request_success_total{{{labels},finished_reason="stop"}} 4711.0\n'
        f'vllm:request_success_total{{{labels},finished_reason="error"}} {errors}\n'
        + histogram("vllm:time_to_first_token_seconds", *ttft, labels)
        + histogram(token_name, *tpot, labels)
    )


def sglang(running: float = 4.0, queue: float = 1.0, usage: float = 0.5, throughput: float = 86.5) -> str:
    labels = 'engine_type="unified",model_name="Qwen/Qwen3-8B",pp_rank="0",tp_rank="{rank}"'
    lines = ["# TYPE sglang:num_running_reqs gauge"]
    for rank in ("0", "1"):
        of = labels.format(rank=rank)
        lines += [
            f"sglang:num_running_reqs{{{of}}} {running}",
            f"sglang:num_queue_reqs{{{of}}} {queue}",
            f"sglang:token_usage{{{of}}} {usage}",
            f"sglang:gen_throughput{{{of}}} {throughput}",
        ]
    return "\n".join(lines) + "\n"


def tgi(
    size: float = 5.0,
    queue: float = 7.0,
    *,
    waited: tuple[float, float] = (0.0, 0.0),
    prefill: tuple[float, float] = (0.0, 0.0),
    per_token: tuple[float, float] = (0.0, 0.0),
    generated: tuple[float, float] = (0.0, 0.0),
    failures: str = "",
) -> str:
    return (
        f"# TYPE tgi_batch_current_size gauge\ntgi_batch_current_size {size}\n"
        f"# TYPE tgi_queue_size gauge\ntgi_queue_size {queue}\n"
        f"# TYPE tgi_request_failure counter\n{failures}"
        + histogram("tgi_request_queue_duration", *waited)
        + histogram("tgi_batch_inference_duration", *prefill, 'method="prefill"')
        + histogram("tgi_batch_inference_duration", 1e6, 1e6, 'method="decode"')
        + histogram("tgi_request_mean_time_per_token_duration", *per_token)
        + histogram("tgi_request_generated_tokens", *generated)
    )


def llamacpp(processing: float = 2.0, deferred: float = 6.0, *, tokens: float = 0.0, seconds: float = 0.0) -> str:
    return (
        "# HELP llamacpp:requests_processing Number of requests processing.\n"
        f"# TYPE llamacpp:requests_processing gauge\nllamacpp:requests_processing {processing}\n"
        f"# TYPE llamacpp:requests_deferred gauge\nllamacpp:requests_deferred {deferred}\n"
        f"# TYPE llamacpp:kv_cache_usage_ratio gauge\nllamacpp:kv_cache_usage_ratio 0.125\n"
        f"# TYPE llamacpp:tokens_predicted_total counter\nllamacpp:tokens_predicted_total {tokens}\n"
        "# TYPE llamacpp:tokens_predicted_seconds_total counter\n"
        f"llamacpp:tokens_predicted_seconds_total {seconds}\n"
    )
