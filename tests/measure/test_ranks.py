"""What launchers say of a process."""

import pytest

from walltime.measure.ranks import Place, place
from walltime.problems import BadInput

BATCH = {"SLURM_JOB_ID": 7, "SLURM_PROCID": 0, "SLURM_LOCALID": 0, "SLURM_NTASKS": 16, "SLURM_NTASKS_PER_NODE": 8}
"""What the shell of a job is told, by ``sbatch`` or ``salloc``."""


def step(rank, num_ranks, local_rank, tasks_per_node):
    """Return what ``srun`` tells a task."""
    return BATCH | {
        "SLURM_STEP_ID": 0,
        "SLURM_PROCID": rank,
        "SLURM_STEP_NUM_TASKS": num_ranks,
        "SLURM_LOCALID": local_rank,
        "SLURM_STEP_TASKS_PER_NODE": tasks_per_node,
    }


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, Place()),
        ({"RANK": 5, "WORLD_SIZE": 8, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 4}, Place(5, 8, 1, 4)),
        (step(5, 8, 1, "4(x2)"), Place(5, 8, 1, 4)),
        (step(5, 8, 5, "8") | {"SLURM_NTASKS": 16, "SLURM_NTASKS_PER_NODE": 8, "SLURM_NNODES": 2}, Place(5, 8, 5, 8)),
        (step(5, 8, 1, "4(x2)") | {"SLURM_GTIDS": "4,5,6,7"}, Place(5, 8, 1, 4)),
        (step(0, 1, 0, "1") | {"RANK": 1, "WORLD_SIZE": 2, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 2}, Place(1, 2, 1, 2)),
        (BATCH, Place()),
    ],
)
def test_a_process_learns_its_place(said, expected):
    assert place({name: str(value) for name, value in said.items()}) == expected


@pytest.mark.parametrize(
    "said",
    [
        {"RANK": "5", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"},
        {"RANK": "one", "WORLD_SIZE": "4"},
        step("0", "2", "0", "many"),
        step("0", "-2", "0", "1"),
    ],
)
def test_contradictions_are_refused(said):
    with pytest.raises(BadInput):
        place(said)


@pytest.mark.parametrize(
    ("rank", "local_rank", "tasks_per_node", "ranks"),
    [
        (1, 0, "2(x2)", None),
        (0, 0, "2(x2)", "0,2"),  # its own place is right, but those of others are not
        (3, 1, "2(x2)", "1,3"),
        (0, 0, "3,1", "0,1,2"),
    ],
)
def test_ranks_that_do_not_fill_node_after_node_are_refused(rank, local_rank, tasks_per_node, ranks):
    said = step(str(rank), "4", str(local_rank), tasks_per_node) | ({} if ranks is None else {"SLURM_GTIDS": ranks})
    with pytest.raises(BadInput, match="srun -m block"):
        place(said)


def test_torchruns_ranks_may_not_be_out_of_place_either():
    with pytest.raises(BadInput, match="rank 1 is number 0 of 2"):
        place({"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"})
