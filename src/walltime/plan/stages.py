"""How layers are shared out over pipeline stages: one rule for time, for memory and for what is said of a plan."""

import numpy as np

from walltime.arrays import Floats, Numeric


def layers_of_fullest_stage(num_layers: Numeric, pp: Numeric, vpp: Numeric) -> Floats:
    """Layers of the fullest stage: chunks hold as many as divide evenly, rounded up, and a stage ``vpp`` chunks.

    Parameters
    ----------
    num_layers
        All layers that are shared out, those of multi-token prediction included.
    pp, vpp
        Stages, and chunks a stage.
    """
    return np.asarray(np.ceil(num_layers / (pp * vpp)) * vpp)


def layers_before_stage(
    num_layers: Numeric, pp: Numeric, vpp: Numeric, index: Numeric, num_last: Numeric = 0
) -> Floats:
    """Layers on the stages before stage ``index``, which counts from 0; with ``index`` = ``pp`` all layers.

    Stages are as full as the fullest from the first on, so the last holds what is left, and at least ``num_last``
    layers: those of multi-token prediction stand beside the output layer.
    """
    movable = num_layers - np.where(np.less(index, pp), num_last, 0)
    return np.minimum(layers_of_fullest_stage(num_layers, pp, vpp) * index, movable)
