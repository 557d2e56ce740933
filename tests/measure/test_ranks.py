"""What launchers say of a process."""

import pytest

from walltime.measure.ranks import Place, place
from walltime.problems import BadInput


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, Place()),
        ({"RANK": 5, "WORLD_SIZE": 8, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 4}, Place(5, 8, 1, 4)),
        ({"SLURM_PROCID": 5, "SLURM_NTASKS": 8, "SLURM_LOCALID": 1, "SLURM_NTASKS_PER_NODE": 4}, Place(5, 8, 1, 4)),
        ({"SLURM_PROCID": 5, "SLURM_NTASKS": 8, "SLURM_LOCALID": 1, "SLURM_NNODES": 2}, Place(5, 8, 1, 4)),
        (
            {"SLURM_PROCID": 5, "SLURM_NTASKS": 8, "SLURM_LOCALID": 5, "SLURM_STEP_NUM_NODES": 1, "SLURM_NNODES": 2},
            Place(5, 8, 5, 8),
        ),
        ({"SLURM_PROCID": 1, "SLURM_NTASKS": 2, "SLURM_LOCALID": 1}, Place(1, 2, 1, 2)),
    ],
)
def test_a_process_learns_its_place(said, expected):
    assert place({name: str(value) for name, value in said.items()}) == expected


@pytest.mark.parametrize(
    "said",
    [
        {"RANK": "5", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"},
        {"RANK": "one", "WORLD_SIZE": "4"},
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_NNODES": "-1"},
    ],
)
def test_contradictions_are_refused(said):
    with pytest.raises(BadInput):
        place(said)
