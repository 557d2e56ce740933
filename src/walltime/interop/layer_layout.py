"""Layers chunk by chunk, as a launch configuration has to say them."""

import math


def layers_of_chunks(num_layers: int, pp: int, vpp: int) -> tuple[int, ...]:
    """Return the layers of each model chunk, in the order of the model; chunk ``i`` is on stage ``i % pp``.

    No chunk has more than an even share, rounded up, so the fullest stage is that of
    `walltime.plan.stages.layers_of_fullest_stage`. Without interleaving the last stage has what is left, as there. With
    it, and where nothing would be left, chunks have one layer less: the last, which has the output layer, the first,
    which has the embedding, then those of the last stage, and so on.

    Parameters
    ----------
    num_layers
        All layers that are shared out, those of multi-token prediction included.
    pp, vpp
        Stages, and chunks a stage.

    Examples
    --------
    >>> layers_of_chunks(126, 16, 1)
    (8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 6)
    >>> layers_of_chunks(10, 2, 3)
    (1, 2, 2, 2, 2, 1)
    """
    num_chunks = pp * vpp
    most = math.ceil(num_layers / num_chunks)
    left = num_layers - most * (pp - 1)
    if vpp == 1 and left > 0:
        return (*[most] * (pp - 1), left)
    others = sorted(range(1, num_chunks - 1), key=lambda chunk: (-(chunk % pp), -chunk))
    short = set([num_chunks - 1, 0, *others][: num_chunks * most - num_layers])
    return tuple(most - (chunk in short) for chunk in range(num_chunks))
