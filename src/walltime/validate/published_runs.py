"""Famous runs: what a paper printed of a run, for a question that is that run's."""

from functools import cache

from walltime.catalog import data_root
from walltime.catalog.calibrations import kin_of
from walltime.plan import Plan
from walltime.validate.cases import Case, case_of
from walltime.validate.measured import core_rows, read_measured
from walltime.workload import Training
from walltime.workload.parameters import num_parameters

_DEGREES = ("tp", "cp", "pp", "dp", "ep", "precision")


def published_run(training: Training, plan: Plan, accelerator: str) -> Case | None:
    """Return the published run with the same model, batch, accelerators and degrees of parallelism, None without one.

    What the paper does not say, or says of software that nobody else has, is not compared: schedules, sharding, stack.

    Parameters
    ----------
    training, plan
        What is asked about.
    accelerator
        Its id in the catalog, or that of a calibration.
    """
    same = (case for case in _published_runs() if _is_same(case, training, plan, accelerator))
    return next(same, None)


def same_trainings(training: Training, accelerator: str, num_gpus: int) -> list[Case]:
    """Return published and measured runs of the same model and batch on as many accelerators, one a plan.

    Parameters
    ----------
    training
        What is asked about.
    accelerator, num_gpus
        Its id in the catalog, or that of a calibration, and how many.
    """
    rows = [row for row in core_rows() if (row.n_gpus, row.seq_len) == (num_gpus, training.seq_len)]
    measured = (case for row in rows if isinstance(case := case_of(row), Case) and case.step_time_s)
    found: dict[Plan, Case] = {}
    for case in (*_published_runs(), *measured):
        if case.num_gpus == num_gpus and _is_same_training(case, training, accelerator):
            found.setdefault(case.plan, case)
    return list(found.values())


@cache
def _published_runs() -> tuple[Case, ...]:
    paths = sorted((data_root() / "published" / "runs").glob("*.csv"))
    cases = [case_of(row) for path in paths for row in read_measured(path, strict=False)]
    return tuple(case for case in cases if isinstance(case, Case) and case.step_time_s)


def _is_same(case: Case, training: Training, plan: Plan, accelerator: str) -> bool:
    is_same_plan = all(getattr(case.plan, name) == getattr(plan, name) for name in _DEGREES)
    return is_same_plan and _is_same_training(case, training, accelerator)


def _is_same_training(case: Case, training: Training, accelerator: str) -> bool:
    theirs = case.training
    return (
        case.machine.accelerator == kin_of(accelerator)
        and (theirs.seq_len, theirs.batch_seqs) == (training.seq_len, training.batch_seqs)
        and num_parameters(theirs.model) == num_parameters(training.model)
    )
