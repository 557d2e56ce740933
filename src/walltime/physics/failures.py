"""Failures of accelerators and nodes, and what they cost a synchronous training.

Failures strike at random at a constant rate, each stops the whole training, and a stopped training goes on from its
last complete checkpoint. Under these assumptions every formula here is exact.
"""

import numpy as np

from walltime.arrays import Floats, Numeric


def failures_per_s(num_gpus: Numeric, gpus_per_node: float, gpu_mtbf_s: float, node_mtbf_s: float) -> Floats:
    r"""Rate at which a training on N accelerators is interrupted [1/s].

    .. math:: \lambda = \frac{N}{M_g} + \frac{\lceil N / g \rceil}{M_n}

    Parameters
    ----------
    num_gpus
        Accelerators, N.
    gpus_per_node
        Accelerators a node, g.
    gpu_mtbf_s, node_mtbf_s
        Mean time between failures of one accelerator, M_g, and of everything else, for each node, M_n. [s]

    Examples
    --------
    >>> day_s = 24 * 3600.0
    >>> float(failures_per_s(16384, 8, 3301.25 * day_s, 558.545 * day_s) * day_s).__round__(2)
    8.63
    """
    nodes = np.ceil(np.asarray(num_gpus, float) / gpus_per_node)
    return np.asarray(num_gpus / gpu_mtbf_s + nodes / node_mtbf_s)


def optimal_interval_s(rate_per_s: Numeric, checkpoint_s: Numeric) -> Floats:
    r"""Training time between two checkpoints that makes the useful share the largest [s].

    The share of `useful_share` is largest where, with :math:`x = \lambda\tau`,

    .. math:: x = 1 - e^{-(x + \lambda C)}, \qquad \text{that is}\quad x = 1 + W_0(-e^{-1-\lambda C}),

    whatever restarts and writes take. For rare failures it is Young's :math:`\tau = \sqrt{2 C / \lambda}`.

    Parameters
    ----------
    rate_per_s
        Failures a second, lambda. [1/s]
    checkpoint_s
        Time by which a checkpoint stops training, C. [s]

    References
    ----------
    Young (1974) for the limit; derived in docs: Failures. Daly (2006) has expansions of it.

    Examples
    --------
    >>> float(optimal_interval_s(1 / 10_000, 2.0)).__round__(1)  # Young: 200 s
    198.7
    """
    cost = np.asarray(rate_per_s, float) * checkpoint_s
    # Newton's method from the right of the only root of a convex, rising function: every step goes down.
    x = np.minimum(np.sqrt(2 * cost), 1.0)
    while True:
        step = (x + np.expm1(-x - cost)) / -np.expm1(-x - cost)
        goes_down = (step > 0) & (step < x / 2)  # a step beyond is rounding, where x is tiny
        if not np.any(goes_down):
            return np.asarray(x / np.asarray(rate_per_s, float))
        x = np.where(goes_down, x - step, x)


def useful_share(
    interval_s: Numeric, rate_per_s: Numeric, checkpoint_s: Numeric, restart_s: Numeric, write_s: Numeric = 0.0
) -> Floats:
    r"""Share of the time in which training makes progress that is kept.

    Between the end of one restart and the next failure lies a time that is exponential with rate lambda. Checkpoint
    number k is complete when k intervals and stops and one write have passed, so that the number kept is

    .. math:: E[K] = \sum_{k \ge 1} e^{-\lambda (k (\tau + C) + D)} = \frac{e^{-\lambda D}}{e^{\lambda(\tau + C)} - 1}

    and, since restarts are interrupted too and then begin anew, all this takes
    :math:`1/\lambda + (e^{\lambda R} - 1)/\lambda = e^{\lambda R} / \lambda`:

    .. math:: u = \frac{\tau\, E[K]}{e^{\lambda R}/\lambda}
                = \frac{\lambda\tau\, e^{-\lambda (R + D)}}{e^{\lambda(\tau + C)} - 1}

    Parameters
    ----------
    interval_s
        Training time between two checkpoints, tau. [s]
    rate_per_s
        Failures a second, lambda. [1/s]
    checkpoint_s
        Time by which a checkpoint stops training, C. [s]
    restart_s
        From a failure to the first new step, R. [s]
    write_s
        From when training goes on to when the checkpoint can be restarted from, D: 0 where it is written while
        training stands. [s]

    References
    ----------
    Daly (2006) for D = 0; derived, with the write in the background, in docs: Failures.

    Examples
    --------
    >>> float(useful_share(200.0, 1 / 10_000, 2.0, 600.0)).__round__(4)
    0.9231
    """
    rate = np.asarray(rate_per_s, float)
    segment = rate * (np.asarray(interval_s, float) + checkpoint_s)
    kept = np.exp(-segment) / -np.expm1(-segment)
    return np.asarray(rate * interval_s * kept * np.exp(-rate * (np.asarray(restart_s, float) + write_s)))


def shares(
    interval_s: Numeric, rate_per_s: Numeric, checkpoint_s: Numeric, restart_s: Numeric, write_s: Numeric = 0.0
) -> dict[str, Floats]:
    r"""Where the time goes: ``training``, ``checkpoints``, ``lost work`` and ``restarts``, which add up to 1.

    Per failure there are :math:`e^{\lambda R}/\lambda` seconds, of which :math:`(e^{\lambda R} - 1)/\lambda` are
    restarts, and :math:`C\,E[K]` are stops for checkpoints that are used; the rest of what is not kept is done again.

    Parameters
    ----------
    interval_s, rate_per_s, checkpoint_s, restart_s, write_s
        As in `useful_share`.

    References
    ----------
    As `useful_share`.
    """
    training = useful_share(interval_s, rate_per_s, checkpoint_s, restart_s, write_s)
    checkpoints = training * checkpoint_s / np.asarray(interval_s, float)
    restarts = -np.expm1(-np.asarray(rate_per_s, float) * restart_s)
    lost = np.maximum(1 - restarts - training - checkpoints, 0.0)
    return {"training": training, "checkpoints": checkpoints, "lost work": lost, "restarts": restarts}


def waiting_share(rate_per_s: Numeric, repair_s: float, num_spares: int) -> Floats:
    r"""Share of the time in which training waits for a node, since all spare nodes are being repaired.

    Nodes leave at rate lambda while training goes on, and come back after a repair of mean length T, of whatever
    distribution. Training waits when more are away than there are spares, S, and then nothing fails: a system of
    S + 1 places without a queue, whose state is Poisson with mean :math:`a = \lambda T`, cut off at S + 1:

    .. math:: B = \frac{a^{S+1}/(S+1)!}{\sum_{k=0}^{S+1} a^k/k!}, \quad B_0 = 1,\; B_n = \frac{a B_{n-1}}{n + a B_{n-1}}

    Parameters
    ----------
    rate_per_s
        Nodes that fail a second, lambda. [1/s]
    repair_s
        Mean time until a node is back, T. [s]
    num_spares
        Spare nodes, S.

    References
    ----------
    Erlang (1917), loss formula.

    Examples
    --------
    >>> [float(waiting_share(1.0, 1.0, spares)).__round__(3) for spares in (0, 1, 2)]
    [0.5, 0.2, 0.062]
    """
    away = np.asarray(rate_per_s, float) * repair_s
    blocked = np.ones_like(away)
    for place in range(1, num_spares + 2):
        blocked = away * blocked / (place + away * blocked)
    return blocked


def spares_for(rate_per_s: float, repair_s: float, most_waiting: float, most_spares: int) -> int | None:
    """Return the fewest spare nodes with which `waiting_share` is at most a share; None if more than a number.

    Parameters
    ----------
    rate_per_s, repair_s
        As in `waiting_share`.
    most_waiting
        Share of the time in which training may wait.
    most_spares
        Where to stop looking.

    Examples
    --------
    >>> spares_for(1.0, 1.0, 0.1, most_spares=8)
    2
    """
    away = rate_per_s * repair_s
    blocked = 1.0
    for place in range(1, most_spares + 2):
        blocked = away * blocked / (place + away * blocked)
        if blocked <= most_waiting:
            return place - 1
    return None


def slow_share(slow_mtbf_s: float, eviction_s: float) -> float:
    """Share of nodes that are slow: a node becomes so after a mean time, and is found and replaced after another.

    Parameters
    ----------
    slow_mtbf_s
        Mean time until a node becomes slow. [s]
    eviction_s
        Mean time from then until it is replaced. [s]

    Examples
    --------
    >>> slow_share(99.0, 1.0)
    0.01
    """
    return eviction_s / (slow_mtbf_s + eviction_s)


def synchronous_speed(num_nodes: Numeric, slow_share: float, slow_by: float) -> Floats:
    r"""Mean speed of a training whose every step waits for its slowest node, 1 where no node is slow.

    With n nodes, each slow for a share p of the time, at least one is slow for a share :math:`1 - (1 - p)^n`, and then
    a step takes :math:`1 + s` times as long:

    .. math:: v = 1 - \left(1 - (1 - p)^n\right) \frac{s}{1 + s}

    Parameters
    ----------
    num_nodes
        Nodes, n.
    slow_share
        Share of nodes that are slow at a time, p.
    slow_by
        By which share of its time a slow node's step is longer, s.

    Approximations
    --------------
    All slow nodes are equally slow, and they slow down the whole step.

    Examples
    --------
    >>> float(synchronous_speed(1, 0.01, 1.0))
    0.995
    """
    any_slow = -np.expm1(np.asarray(num_nodes, float) * np.log1p(-slow_share))
    return np.asarray(1 - any_slow * slow_by / (1 + slow_by))
