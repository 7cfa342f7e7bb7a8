"""A first look: a sidecar of its own, a dozen prompts through the real Route, a table."""

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

from sidecar.errors import RouterError
from sidecar.terminal import connect, reasons, table
from sidecar.wire import router_pb2 as pb

PROMPT_WIDTH = 58
PATIENCE_SECONDS = 30.0
MARK = "listening on "

PROMPTS = (
    "What is the capital of Portugal?",
    "A train travels 180 km in 2.5 hours. What is its mean speed in km/h?",
    "Which organelle makes most of a cell's ATP? (A) ribosome (B) mitochondrion (C) Golgi apparatus (D) lysosome",
    "Prove that the sum of two odd integers is even, then generalise to sums of n odd integers.",
    "A 2 kg block slides down a frictionless incline of 30 degrees from rest. Find its speed after 4 m.",
    "In contract law, when does silence count as the acceptance of an offer?",
    "Find the eigenvalues of the matrix [[2, 1], [1, 2]] and say whether it is positive definite.",
    "Which school of thought holds that meaning is use in a language game?",
    "A monopolist faces P = 100 - 2Q with constant marginal cost 20. Compute the deadweight loss.",
    "Balance: KMnO4 + HCl -> KCl + MnCl2 + H2O + Cl2, and give the equivalents of oxidant per mole.",
    "Write a polite reply that declines the meeting and offers two other dates.",
    "zxqv lorem 0x7f3a :: kubectl get pods -n prod | grep CrashLoop",
)


def run() -> None:
    """Prints the table.

    Raises:
        RouterError: the sidecar did not start; its own words are in the message.
    """
    with _sidecar() as address, connect(address) as call:
        replies = [call("Route", pb.RouteRequest(text=prompt)) for prompt in PROMPTS]
        info = call("Info", pb.InfoRequest())
    heading = ("prompt", "chosen candidate", "quality", "USD per 1k calls", "server us", "reason")
    rows = [
        (
            textwrap.shorten(prompt, PROMPT_WIDTH, placeholder=" ..."),
            reply.model,
            f"{reply.ranking[0].quality:.3f}",
            f"{reply.ranking[0].cost_usd * 1000:.4f}",
            str(reply.timings.total_us),
            reasons(reply),
        )
        for prompt, reply in zip(PROMPTS, replies, strict=True)
    ]
    best = max(info.candidates, key=lambda candidate: candidate.prior_quality)
    print("\n".join(table([heading, *rows])))  # noqa: T201 - this is what a demo is for
    print(  # noqa: T201
        f"\n{len(rows)} decisions by {info.bundle.name} {info.bundle.version} over {info.transport}, policy "
        f"{info.default_policy}; {sum(r.model == best.model for r in replies)} of them chose the candidate with the best "
        f"mean quality ({best.model})."
    )


@contextmanager
def _sidecar() -> Iterator[str]:
    command = [sys.executable, "-m", "sidecar.cli", "serve", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own program
        try:
            yield _address(process)
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)


def _address(process: "subprocess.Popen[str]") -> str:
    said: list[str] = []
    for line in process.stderr or ():
        if line.startswith(MARK):
            return line.removeprefix(MARK).split()[0]
        said.append(line)
    raise RouterError(f"the sidecar did not start: {''.join(said).strip()}")
