"""The parallelism is real: whatever the plan, the same model learns the same from the same tokens, to rounding.

Losses of three steps agree to 1e-5, and gradients, which Adam's steps hide the scale of, to 1e-4, both relative.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

from . import run_plans, tiny

HERE = Path(__file__).parent
LOSS, GRADIENT, LOSS_16_BITS = 1e-5, 1e-4, 1e-3
NUM_OF_LOSS = 3
"""All-reduces of a loss over split logits: the largest, the sum, the target's."""


@pytest.fixture(scope="module")
def alone():
    return run_plans.losses_and_gradients(tiny.ONE)


@pytest.mark.parametrize("num_ranks", list(tiny.PLANS))
def test_losses_and_gradients_agree_across_plans(num_ranks, alone, tmp_path):
    found = run(num_ranks, tmp_path / "found.json")
    assert set(found) == set(tiny.PLANS[num_ranks])
    for name, one in found.items():
        sixteen = "bf16" in name
        assert one["losses"] == pytest.approx(alone["losses"], rel=LOSS_16_BITS if sixteen else LOSS), name
        if not sixteen:
            assert one["gradients"] == pytest.approx(alone["gradients"], rel=GRADIENT), name


def test_the_model_does_learn(alone):
    """Otherwise the losses would agree without any training."""
    import torch

    from walltime.measure.training.batches import batch_of
    from walltime.measure.training.mesh import Mesh
    from walltime.measure.training.trainer import trainer

    request = tiny.request(tiny.ONE)
    trained = trainer(request, Mesh(tiny.ONE), torch.device("cpu"))
    same = batch_of(request.training, 0, 0, range(8), "cpu")
    losses = [float(trained.step(same)) for _ in range(tiny.NUM_STEPS)]
    assert losses[0] == alone["losses"][0]
    assert losses[2] < losses[0] * (1 - 1e3 * LOSS)


def test_tensor_parallel_ranks_send_what_they_must_and_no_more(tmp_path):
    """With sequence parallelism, in each pass: two gathers and two scatters a layer, and one of each at the ends."""
    kinds = run(2, tmp_path / "found.json", "--collectives")
    each = 2 * (2 * tiny.MODEL.num_layers + 1)
    assert kinds["all_gather_into_tensor"] == kinds["reduce_scatter_tensor"] == each
    norms = 2 * tiny.MODEL.num_layers + 1
    assert norms <= kinds["all_reduce"] <= norms + NUM_OF_LOSS


def run(num_ranks, out, *more):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_ranks}"]
    source = str(Path(sys.modules["walltime"].__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launcher, str(HERE / "run_plans.py"), str(out), *more],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(out.read_text(encoding="utf-8"))
