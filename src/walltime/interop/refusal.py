"""What a target cannot express, said in one line."""

from walltime.engines.compatibility import check_stack
from walltime.engines.stack import stack
from walltime.interop.run import Run
from walltime.problems import BadInput, NegativeAnswer


def refusal(target: str, field: str, value: object, why: str, valid: object) -> NegativeAnswer:
    """Return the refusal of a valid plan, or of a model, that a target has no words for.

    Parameters
    ----------
    target
        In words: ``Megatron-LM``.
    field, value
        What it cannot express.
    why
        The reason, without a full stop.
    valid
        What it could express instead.
    """
    shown = str(value).lower() if isinstance(value, bool) else value
    return NegativeAnswer(f"{target} cannot express {field}={shown}: {why}. Valid: {valid}.")


def check_software(target: str, stack_id: str, run: Run) -> None:
    """Refuse a plan that the target's own software cannot run, whatever software it was predicted for."""
    try:
        check_stack(run.plan, run.training, stack(stack_id))
    except BadInput as problem:
        why = str(problem).partition(" Or stack=")[0]  # another stack would not help: the target is what it is
        raise NegativeAnswer(f"{target} cannot run the plan: {why}") from None


def order_of(run: Run, *valid: tuple[str, ...]) -> int | None:
    """Return which of some orders places a plan as its own does; degrees of 1 have no place. None if none does."""
    apart = [name for name in ("tp", "cp", "ep", "dp", "pp") if getattr(run.plan, name) > 1]
    mine = [name for name in run.plan.order if name in apart]
    orders = [[name for name in order if name in apart] for order in valid]
    return orders.index(mine) if mine in orders else None
