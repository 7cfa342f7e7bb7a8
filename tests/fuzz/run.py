"""Fuzzes a target, led by the coverage of sidecar.*: `make fuzz SECONDS=60`, `make fuzz TARGET=hpack` or `connection`.

What is found lies in build/fuzz/found (build/fuzz/hpack/found): copy the file to tests/fuzz/regressions (regressions/hpack),
and the target's replay test fails until the fault is mended. The corpus beside it grows from run to run.
"""

import random
import sys
import warnings
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import atheris
import click

with atheris.instrument_imports(include=["sidecar"], enable_loader_override=False):
    from tests.fuzz import hpack_target
    from tests.fuzz.connection_target import eager
    from tests.fuzz.target import Target

from tests.fuzz import connection_seeds, hpack_seeds
from tests.fuzz.mutate import mutated
from tests.fuzz.replay import recorded
from tests.fuzz.seeds import seeds

BUILD = Path(__file__).resolve().parents[2] / "build" / "fuzz"
MOST_BYTES = 1 << 17
MOST_SECONDS_OF_ONE = 10  # libFuzzer's own watch, for what never comes back
MOST_MB = 2048
# Beside whole requests: seeds, and what makes the target.
OTHERS: dict[str, tuple[Callable[[], list[bytes]], Callable[[], Callable[[bytes], None]]]] = {
    "hpack": (hpack_seeds.seeds, lambda: hpack_target.run),
    "connection": (connection_seeds.seeds, eager),
}


@click.command()
@click.option("--seconds", default=60, type=click.IntRange(1), help="How long.")
@click.option("--seed", default=0, help="0 draws one.")
@click.option("--target", default="requests", type=click.Choice(["requests", *OTHERS]), help="What is fuzzed.")
def main(seconds: int, seed: int, target: str) -> None:
    """Fuzz for a while; ends with another status than 0 if something was found."""
    whole = target == "requests"
    build = BUILD if whole else BUILD / target
    corpus, found = build / "corpus", build / "found"
    for directory in (corpus, found):
        directory.mkdir(parents=True, exist_ok=True)
    known = [*seeds(), *recorded().values()] if whole else [*OTHERS[target][0](), *recorded(target).values()]
    for data in known:
        (corpus / sha256(data).hexdigest()).write_bytes(data)
    warnings.simplefilter("error")  # numpy only warns of figures that overflow

    def mutate(data: bytes, most: int, number: int) -> bytes:
        return mutated(data, most, random.Random(number), atheris.Mutate)

    options = (
        f"-max_total_time={seconds}",
        f"-max_len={MOST_BYTES}",
        f"-timeout={MOST_SECONDS_OF_ONE}",
        f"-rss_limit_mb={MOST_MB}",
        f"-artifact_prefix={found}/",
        "-print_final_stats=1",
        *((f"-seed={seed}",) if seed else ()),
    )
    arguments = [sys.argv[0], *options, str(corpus)]
    if whole:
        atheris.Setup(arguments, Target(), custom_mutator=mutate)
    else:
        atheris.Setup(arguments, OTHERS[target][1]())
    atheris.Fuzz()


if __name__ == "__main__":
    main()
