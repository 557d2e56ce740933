import pytest

from walltime.validate.measured import COLUMNS, MeasuredRow

LLAMA = {
    "source_id": "mine",
    "model_name": "LLaMA 13B",
    "params_b": 13.0,
    "n_layers": 40,
    "d_model": 5120,
    "d_ff": 13824,
    "n_heads": 40,
    "n_kv_heads": 40,
    "vocab": 128000,
    "seq_len": 2048,
    "gpu": "A100-80GB",
    "gpus_per_node": 8,
    "n_gpus": 64,
    "global_batch_seqs": 2048,
    "micro_batch": 1,
    "tp": 2,
    "pp": 2,
    "dp": 16,
    "sharding": "zero1",
    "sequence_parallel": True,
    "activation_recompute": "none",
    "precision": "bf16",
    "framework": "in-house",
    "step_time_s": 30.0,
}


@pytest.fixture
def row():
    """A row of LLaMA 13B on 64 A100 with some columns replaced."""

    def make(**changed):
        return MeasuredRow(**(LLAMA | changed))

    return make


@pytest.fixture
def csv_file(tmp_path):
    """A file with rows given as columns that differ from LLaMA 13B; ``drop`` leaves columns out."""

    def make(*rows, drop=(), header=None):
        names = header or [name for name in COLUMNS if name not in drop]
        lines = [",".join(names)]
        for changed in rows or ({},):
            cells = {**LLAMA, **changed}
            lines.append(",".join(_cell(cells.get(name, "")) for name in names))
        path = tmp_path / "rows.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return make


def _cell(value):
    text = "" if value is None else str(value)
    return f'"{text}"' if "," in text else text
