"""/metrics of the simulated servers, in the words of vLLM, over real HTTP."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import unquote

from benchmarks.fleet.servers import Server

TEXT = "text/plain; version=0.0.4; charset=utf-8"


def exposition(server: Server, speed: float) -> str:
    """What vLLM's /metrics would say of this server; seconds are real ones.

    Args:
        server: simulated.
        speed: virtual seconds per real one.
    """
    counted, label = server.counted, f'{{model_name="{server.candidate.name}"}}'
    ended = label.replace("}", ',finished_reason="stop"}')
    lines = [
        *_metric("num_requests_running", "gauge", label, server.running),
        *_metric("num_requests_waiting", "gauge", label, server.waiting),
        *_metric("kv_cache_usage_perc", "gauge", label, min(1.0, server.running / server.candidate.slots)),
        *_metric("request_success_total", "counter", ended, counted.answered),
        *_metric("prompt_tokens_total", "counter", label, counted.prompt_tokens),
        *_metric("generation_tokens_total", "counter", label, counted.tokens),
        *_histogram("time_to_first_token_seconds", label, counted.first_token_s / speed, counted.first_tokens),
        *_histogram("time_per_output_token_seconds", label, counted.token_s / speed, round(counted.tokens)),
    ]
    return "\n".join([*lines, ""])


def _metric(name: str, kind: str, label: str, value: float) -> list[str]:
    family = f"vllm:{name.removesuffix('_total')}"
    return [f"# HELP {family} Simulated.", f"# TYPE {family} {kind}", f"vllm:{name}{label} {float(value)}"]


def _histogram(name: str, label: str, total: float, count: int) -> list[str]:
    # Readers take means from sum and count; one bucket makes it a histogram.
    every = label.replace("}", ',le="+Inf"}')
    return [
        f"# HELP vllm:{name} Simulated.",
        f"# TYPE vllm:{name} histogram",
        f"vllm:{name}_bucket{every} {float(count)}",
        f"vllm:{name}_sum{label} {total}",
        f"vllm:{name}_count{label} {float(count)}",
    ]


class MetricsServer:
    """An HTTP server with one path for each candidate; a context.

    Args:
        names: of the candidates.
        text: makes the page of one of them; None is 503: the telemetry has gone silent.

    Attributes:
        scrapes: pages served so far.
    """

    def __init__(self, names: Sequence[str], text: Callable[[str], str | None]) -> None:
        self.scrapes = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                name = unquote(self.path).removeprefix("/").removesuffix("/metrics")
                page = text(name) if name in names else None
                body = (page or "").encode()
                self.send_response(404 if name not in names else 503 if page is None else 200)
                self.send_header("Content-Type", TEXT)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                outer.scrapes += page is not None

            def log_message(self, *_: object) -> None:
                """Says nothing."""

            def handle(self) -> None:
                with suppress(
                    ConnectionError
                ):  # in hastened time a scrape has a few milliseconds before it is given up
                    super().handle()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def url(self, name: str) -> str:
        """Where a candidate's metrics are."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/{name}/metrics"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
