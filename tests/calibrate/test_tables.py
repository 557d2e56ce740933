"""Measured kernels as tables: which kernel of the catalog a measured one is."""

from dataclasses import replace

import pytest

from walltime.calibrate.machine.tables import attention_tables
from walltime.measure.kernel_rows import KernelRow

ROW = KernelRow(
    gpu="a GPU",
    op="attention_forward",
    dtype="bf16",
    latency_ms=1.0,
    batch=1,
    seq_len=64,
    n_heads=4,
    qk_head_dim=64,
)


def test_each_kernel_of_pytorchs_attention_is_one_of_the_catalog_or_left_out():
    """With the names that PyTorch gives them, so that a new one is noticed."""
    attention = pytest.importorskip("torch").nn.attention
    rows = [
        replace(ROW, backend=name.lower(), latency_ms=2.0 + kernel.value)
        for name, kernel in attention.SDPBackend.__members__.items()
    ]
    assert {row.backend for row in rows} >= {"math", "flash_attention", "efficient_attention", "cudnn_attention"}
    found = attention_tables(rows)
    times_ms = {kernel: table["forward"].time_s * 1e3 for (kernel, _), table in found.items()}
    assert times_ms == {"flash-attention-2": pytest.approx([3.0]), "cudnn": pytest.approx([5.0])}


def test_where_pytorch_did_not_say_its_usual_kernel_ran():
    assert set(attention_tables([ROW])) == {("flash-attention-2", "bf16")}
