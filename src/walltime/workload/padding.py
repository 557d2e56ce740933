"""Padding of the vocabulary, so that tensor-parallel ranks hold equal and well-aligned shares of it."""

import numpy as np

from walltime.workload.parameters import Count


def padded_vocab_size(vocab_size: Count, multiple: Count) -> Count:
    """Rows of the embedding and output tables after padding to a multiple.

    Parameters
    ----------
    vocab_size
        As published.
    multiple
        What the rows must divide by: Megatron-LM pads to 128 times the tensor-parallel degree.

    Returns
    -------
    Count
        The smallest multiple that holds the vocabulary.

    References
    ----------
    Megatron-LM, ``--make-vocab-size-divisible-by``.

    Examples
    --------
    >>> int(padded_vocab_size(50257, 128))
    50304
    """
    return np.ceil(np.divide(vocab_size, multiple)).astype(int) * multiple
