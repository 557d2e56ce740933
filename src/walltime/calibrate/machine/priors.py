"""What is known of a machine's training steps before its own rows: the catalog's numbers, or wide guesses of a CPU."""

from collections.abc import Mapping

from walltime.calibrate.machine.numbers import Prior
from walltime.catalog.fitted import FittedBlock, cpu_priors_record, training_record

_ONE_STACK = ("kernel_efficiency",)
"""With one software stack on one accelerator, no row tells it from what the accelerator sustains."""
_NOT_FITTED = ("overlap_pp", "dropout_slowdown")
"""Numbers that no row tells from others."""
_LEAST_SIGMA_SHARE = 0.25
"""Training does not repeat what kernels by themselves reach: its prior is at least this much of the usual width."""


def cpu_values() -> tuple[dict[str, float], dict[str, float]]:
    """Return where the fit of a processor starts: the numbers of the accelerator and of its software."""
    return dict(cpu_priors_record().accelerator.values), dict(cpu_priors_record().stack.values)


def chip_priors(values: Mapping[str, float], measured: Mapping[str, Prior], *, is_cpu: bool) -> dict[str, Prior]:
    """Return the priors of what the accelerator sustains in training.

    Parameters
    ----------
    values
        The catalog's, or the wide guesses of a processor.
    measured
        Numbers that kernels by themselves have shown, with their ranges.
    is_cpu
        Whether no datasheet has it.
    """
    block = cpu_priors_record().accelerator if is_cpu else training_record().accelerator["prior"]
    priors = {name: prior.around(values[name]) for name, prior in _widths(block).items()}
    return priors | {name: _not_sure(prior, priors[name]) for name, prior in measured.items() if name in priors}


def stack_priors(values: Mapping[str, float], *, is_cpu: bool, is_alone: bool) -> dict[str, Prior]:
    """Return the priors of what a software stack adds, about values; ``is_alone`` if rows are of no other stack."""
    block = cpu_priors_record().stack if is_cpu else training_record().stack["prior"]
    priors = {name: prior.around(values[name]) for name, prior in _widths(block).items()}
    return {name: prior for name, prior in priors.items() if not (is_alone and name in _ONE_STACK)}


def _widths(block: FittedBlock) -> dict[str, Prior]:
    """Return the priors of a block of the catalog: times by their logarithm, shares by that of their odds."""
    return {
        name: Prior(block.values[name], low, block.high[name], block.high[name] < 1 and not name.endswith("_s"))
        for name, low in block.low.items()
        if name not in _NOT_FITTED
    }


def _not_sure(measured: Prior, usual: Prior) -> Prior:
    """Return a prior about a measured value, a stated part of the usual width if the measurement is surer than that."""
    about = usual.around(measured.value)
    narrow = usual.narrowed(_LEAST_SIGMA_SHARE).around(measured.value)
    return narrow if narrow.sigma >= measured.sigma else measured if measured.sigma < about.sigma else about
