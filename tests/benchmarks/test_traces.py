from pathlib import Path

import pytest

from benchmarks.traces import TraceError, read

ROWS = "arrival_s,trace,prompt_tokens\n5.0,a,1\n3.0,a,2\n4.0,b,3\n11.5,a,4\n"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.csv"
    path.write_text(ROWS)
    return path


def test_a_trace_is_sorted_and_begins_at_zero(trace: Path) -> None:
    assert read(trace, "a").tolist() == [0.0, 2.0, 8.5]


def test_a_window_keeps_the_time_before_its_first_request(trace: Path) -> None:
    assert read(trace, "a", (4.0, 11.5)).tolist() == [1.0]


def test_a_speed_up_shortens_all_gaps(trace: Path) -> None:
    assert read(trace, "a", speed_up=2.0).tolist() == [0.0, 1.0, 4.25]


def test_parquet_reads_as_csv_does(tmp_path: Path, trace: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "trace.parquet"
    columns = {"arrival_s": [5.0, 3.0, 4.0, 11.5], "trace": ["a", "a", "b", "a"]}
    parquet.write_table(pyarrow.table(columns), path)
    assert read(path, "a").tolist() == read(trace, "a").tolist()


def test_a_file_with_one_trace_or_no_names_needs_no_name(tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    path.write_text("arrival_s\n1\n2\n")
    assert read(path).tolist() == [0.0, 1.0]
    path.write_text("arrival_s,trace\n1,x\n2,x\n")
    assert read(path).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("text", "name", "told"),
    [
        (ROWS, "", "name one of the traces a, b"),
        (ROWS, "c", "name one of the traces a, b"),
        ("arrival_s\n1\n", "a", "no column 'trace'"),
        ("time\n1\n", "", "no column 'arrival_s'; the columns are time"),
        ("arrival_s\nsoon\n", "", "no number"),
        ("arrival_s\nnan\n", "", "not finite"),
        ("", "", "no column"),
    ],
)
def test_a_wrong_trace_gets_an_error_that_names_file_and_column(
    tmp_path: Path, text: str, name: str, told: str
) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text(text)
    with pytest.raises(TraceError, match=r"wrong\.csv") as caught:
        read(path, name)
    assert told in str(caught.value)


def test_an_empty_window_a_missing_file_and_a_standstill_are_refused(tmp_path: Path, trace: Path) -> None:
    with pytest.raises(TraceError, match="no request lies in the window"):
        read(trace, "a", (100.0, 200.0))
    with pytest.raises(TraceError, match="no such file"):
        read(tmp_path / "absent.csv")
    with pytest.raises(TraceError, match="not positive"):
        read(trace, "a", speed_up=0.0)


@pytest.mark.data
def test_the_shared_traces_can_be_replayed(shared_data: Path) -> None:
    pytest.importorskip("pyarrow")
    arrivals = read(shared_data / "arrival_traces.parquet", "azure2023_conv", (600.0, 660.0), speed_up=10.0)
    assert 0.0 <= arrivals[0] < arrivals[-1] < 6.0
