"""Files of measured rows: what comes out is what went in, whatever happened to the file in between."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walltime.calibrate import collectives as fit_collectives
from walltime.calibrate import matmul as fit_matmul
from walltime.measure.collective_rows import (
    COLLECTIVE_COLUMNS,
    COLLECTIVES,
    NOT_FOR_FITS,
    CollectiveRow,
    bus_factor,
    collective_rows_file,
    read_collective_rows,
)
from walltime.measure.kernel_rows import KERNEL_COLUMNS, OOM, KernelRow, kernel_rows_file, read_kernel_rows
from walltime.problems import BadInput

PUBLISHED_GEMM = "source_id,source_ref,gpu,op,m,n,k,groups,dtype,layout,latency_ms,tflops,efficiency_of_peak,"
PUBLISHED_GEMM += "peak_tflops_used,power_w,notes"
PUBLISHED_COLLECTIVES = "source_id,source_ref,gpu,collective,n_gpus,n_nodes,gpus_per_node,intranode,internode,"
PUBLISHED_COLLECTIVES += "size_bytes,dtype,latency_us,algbw_GBps,busbw_GBps,library,notes"
GEMM = KernelRow(gpu="a CPU, 2 cores", op="gemm", m=8, n=16, k=32, dtype="bf16", latency_ms=0.5, tflops=1.6e-5)


def test_columns_begin_with_those_of_published_rows():
    assert ",".join(KERNEL_COLUMNS).startswith(PUBLISHED_GEMM + ",")
    assert ",".join(COLLECTIVE_COLUMNS).startswith(PUBLISHED_COLLECTIVES + ",")


TEXTS = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=8)
VALUES = {
    "str": TEXTS,
    "int | None": st.none() | st.integers(0, 10**15),
    "float | None": st.none() | st.floats(1e-30, 1e30),  # a time of nothing is refused
    "bool | None": st.none() | st.booleans(),
}


def rows(kind):
    by_field = {
        field.name: VALUES[getattr(field.type, "__name__", str(field.type))] for field in dataclasses.fields(kind)
    }
    return st.lists(st.builds(kind, **by_field), max_size=4)


@pytest.mark.parametrize(
    ("kind", "opened", "read"),
    [(KernelRow, kernel_rows_file, read_kernel_rows), (CollectiveRow, collective_rows_file, read_collective_rows)],
)
def test_rows_come_back_as_they_were(tmp_path_factory, kind, opened, read):
    @settings(max_examples=20)
    @given(rows(kind), rows(kind))
    def comes_back(first, second):
        path = tmp_path_factory.mktemp("rows") / "rows.csv"
        opened(path)(first)
        opened(path)(second)
        assert read(path) == [*first, *second]

    comes_back()


def test_a_line_that_a_crash_cut_off_is_taken_away_wherever_it_was_cut(tmp_path):
    path = tmp_path / "rows.csv"
    other = dataclasses.replace(GEMM, notes='said "no", then left', m=9)
    kernel_rows_file(path)([GEMM, other])
    whole = path.read_bytes()
    one = len(whole) - len(whole.split(b"\n", 2)[2])
    for length in range(one, len(whole) + 1):
        path.write_bytes(whole[:length])
        kernel_rows_file(path)([GEMM])
        found = read_kernel_rows(path)
        assert found[0] == found[-1] == GEMM
        assert len(found) == 2 or (len(found) == 3 and length >= len(whole) - 1), length


def test_files_of_something_else_are_refused(tmp_path):
    path = tmp_path / "rows.csv"
    collective_rows_file(path)([CollectiveRow(collective="all_reduce")])
    with pytest.raises(BadInput, match="has other columns"):
        kernel_rows_file(path)
    with pytest.raises(BadInput, match="not a file of measured kernels: no column 'op'"):
        read_kernel_rows(path)
    with pytest.raises(BadInput, match="is a folder"):
        kernel_rows_file(tmp_path)
    with pytest.raises(BadInput, match="there is no folder"):
        kernel_rows_file(tmp_path / "no" / "rows.csv")


@pytest.mark.parametrize(
    ("column", "cell", "why"),
    [
        ("m", "1.5", "rows.csv:2: m='1.5' is not a whole number."),
        ("latency_ms", "fast", "rows.csv:2: latency_ms='fast' is not a number."),
        ("latency_ms", "nan", "is not a number"),
        ("causal", "maybe", "is not a 'true' or 'false'"),
    ],
)
def test_a_cell_that_is_not_what_its_column_holds_is_named(tmp_path, column, cell, why):
    path = tmp_path / "rows.csv"
    header = ["gpu", "op", "dtype", *(["latency_ms"] if column != "latency_ms" else []), column]
    values = {"gpu": "a", "op": "gemm", "dtype": "bf16", "latency_ms": "1", column: cell}
    path.write_text(",".join(header) + "\n" + ",".join(values[name] for name in header) + "\n", encoding="utf-8")
    with pytest.raises(BadInput, match=why.replace("(", r"\(")):
        read_kernel_rows(path)


def test_the_matmul_fit_reads_measured_products_and_leaves_out_what_has_no_time(tmp_path, monkeypatch):
    monkeypatch.setitem(fit_matmul.ACCELERATORS, GEMM.gpu, "my-machine")
    path = tmp_path / "rows.csv"
    kernel_rows_file(path)(
        [
            GEMM,
            dataclasses.replace(GEMM, m=10**6, latency_ms=None, tflops=None, status=OOM),
            KernelRow(gpu=GEMM.gpu, op="copy", dtype="bf16", num_bytes=100, latency_ms=1.0),
        ]
    )
    found = fit_matmul.read_rows(path, source="walltime")
    assert list(found) == [("my-machine", "bf16")]
    assert found["my-machine", "bf16"].time_s == pytest.approx([0.5e-3])


def test_the_fit_of_collectives_reads_measured_ones_and_leaves_out_what_has_no_time(tmp_path):
    path = tmp_path / "rows.csv"
    row = CollectiveRow(
        gpu="h", collective="all_reduce", n_gpus=4, n_nodes=2, gpus_per_node=2, size_bytes=512, latency_us=7.0
    )
    collective_rows_file(path)([row, dataclasses.replace(row, latency_us=None, notes=f"out of memory; {NOT_FOR_FITS}")])
    found = fit_collectives.measured_rows(path, lambda row: int(row["gpus_per_node"]))
    assert found.time_s == pytest.approx([7e-6])
    np.testing.assert_array_equal(found.sizes, [[2, 2]])


def test_bus_bandwidths_are_those_of_nccl_tests():
    assert [bus_factor(name, 8) for name in COLLECTIVES] == pytest.approx([1.75, 0.875, 0.875, 0.875, 1.0])


SHARED = Path(__file__).parents[3] / "shared" / "measured"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the published micro-benchmarks are not here")
def test_published_rows_are_read_too():
    assert len(read_kernel_rows(SHARED / "gemm.csv")) > 16000
    assert len(read_collective_rows(SHARED / "collectives.csv")) > 2000
