"""Which layers a pipeline's chunks hold."""


def layers_of_chunks(num_layers: int, num_chunks: int) -> list[range]:
    """Return the layers of each chunk in order, as `walltime.plan.stages` counts them: full chunks, the rest last.

    Every chunk has at least one layer: what the last ones lack is taken from those before.

    Examples
    --------
    >>> layers_of_chunks(5, 2)
    [range(0, 3), range(3, 5)]
    """
    fullest = -(-num_layers // num_chunks)
    ends = [min(fullest * (i + 1), num_layers - (num_chunks - 1 - i)) for i in range(num_chunks)]
    return [range(start, end) for start, end in zip([0, *ends], ends, strict=False)]
