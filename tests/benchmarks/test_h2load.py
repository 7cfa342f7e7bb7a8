import pytest

from benchmarks.h2load import H2loadFault, grpc_shot, parse

OUTPUT = """
finished in 3.01s, 12864.33 req/s, 2.61MB/s
requests: 1000 total, 1000 started, 1000 done, 998 succeeded, 2 failed, 1 errored, 0 timeout
status codes: 998 2xx, 0 3xx, 0 4xx, 2 5xx
"""


def log(times: list[int], status: int = 200) -> str:
    return "".join(f"1700000000000000\t{status}\t{time}\n" for time in times)


def test_throughput_comes_from_the_output_and_percentiles_from_the_log() -> None:
    row = parse(OUTPUT, log(list(range(1, 201))) + log([999_999], status=500))
    assert row["per_second"] == 12864.33
    assert row["calls"] == 998
    assert (row["p50_us"], row["p99_us"], row["p99.9_us"]) == (100.0, 198.0, None)
    assert row["errors"] == {"failed": 2, "errored": 1}


def test_output_that_is_not_understood_or_tells_only_of_failures_is_a_fault() -> None:
    with pytest.raises(H2loadFault, match="not understood"):
        parse("no such thing", "")
    with pytest.raises(H2loadFault, match="not one call"):
        parse(OUTPUT.replace("998 succeeded", "0 succeeded"), "")


def test_a_grpc_message_gets_its_frame() -> None:
    shot = grpc_shot("127.0.0.1:9", "/a.B/C", b"abc")
    assert shot.url == "http://127.0.0.1:9/a.B/C"
    assert shot.body == b"\x00\x00\x00\x00\x03abc"
    assert "te: trailers" in shot.arguments
