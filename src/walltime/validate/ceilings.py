"""How high was utilisation ever measured? What a plan promises beyond that is more than anybody has shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from walltime.catalog.calibrations import kin_of
from walltime.engines.calibration import kernels
from walltime.plan import Precision
from walltime.validate.cases import Case, case_of
from walltime.validate.chips import accelerator_of
from walltime.validate.frameworks import stack_of
from walltime.validate.layouts import DEFAULTS
from walltime.validate.measured import core_rows
from walltime.validate.nearby import undated
from walltime.validate.notes import precision_of
from walltime.workload.flop import model_flop_per_token

_SIXTEEN_BIT = ("bf16", "fp16")
_KIN = "megatron"  # in the ids of all stacks that descend from Megatron-LM


@dataclass(frozen=True)
class Ceiling:
    """The highest utilisation that was measured.

    Attributes
    ----------
    case
        The row as the engine is asked about it.
    utilization
        Model FLOP/s utilisation by the convention ``causal-attention``.
    of_stack
        Whether the row is of the software stack that was asked for; otherwise none of that stack is there, and it is of
        its kin, or if there is none either, of any.
    """

    case: Case
    utilization: float
    of_stack: bool


def measured_ceiling(
    accelerator: str, precision: Precision, stack: str, paths: Sequence[Path] | None = None
) -> Ceiling | None:
    """Return the highest measured utilisation of an accelerator in a precision, by a stack, else its kin, else any.

    Releases of one framework count as one stack, Megatron's offspring as kin, 16-bit formats as one; models of a few
    layers only, and other proxies, do not count.

    Parameters
    ----------
    accelerator, stack
        Ids of the catalog, or of a calibration: its rows are those of what it is based on.
    precision
        Of the linear layers' matmuls.
    paths
        Files of measured rows; those that walltime ships by default.
    """
    kin = kin_of(accelerator)
    rows = [row for row in core_rows(paths) if accelerator_of(row) == kin]
    alike = _SIXTEEN_BIT if precision in _SIXTEEN_BIT else (precision,)
    rows = [row for row in rows if (precision_of(row) or DEFAULTS[stack_of(row)].precision) in alike]
    cases = [case for row in rows if isinstance(case := case_of(row), Case) and case.step_time_s]
    own = [case for case in cases if undated(case.stack) == undated(stack)]
    akin = [case for case in cases if _KIN in case.stack and _KIN in stack]
    among = [(measured_utilization(case), index, case) for index, case in enumerate(own or akin or cases)]
    if not among:
        return None
    utilization, _, case = max(among)
    return Ceiling(case, utilization, bool(own))


def measured_utilization(case: Case) -> float:
    """Return the model FLOP/s utilisation of a measured step, FLOP counted as the engine does by default."""
    training = case.training
    flop = training.batch_tokens * model_flop_per_token(training.model, training.seq_len, "causal-attention")
    peak = kernels(case.machine.accelerator).of(case.plan.precision)[1]
    return float(flop / (peak * case.num_gpus * (case.step_time_s or float("inf"))))
