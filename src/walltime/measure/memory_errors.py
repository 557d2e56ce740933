"""Telling a device's memory that did not do from everything else that can go wrong."""

import re

from walltime.measure.requirements import torch_module

_SIGNS = re.compile(
    r"out of memory|STATUS_ALLOC_FAILED|std::bad_alloc|not enough memory|can(not|'t) allocate memory", re.IGNORECASE
)
"""What PyTorch, CUDA, NCCL, cuBLAS and its siblings, C++ and the host say."""
_SIGNS_UNDER_A_LIMIT = re.compile(r"Resource temporarily unavailable|can't start new thread")
"""What a host says of a thread for whose stack a process may have no memory; otherwise it has other reasons."""
_MESSAGE_LENGTH = 200


def is_out_of_memory(error: BaseException, *, is_host_limited: bool = False) -> bool:
    """Whether an error says that memory did not do: of a GPU, or of the host.

    Parameters
    ----------
    error
        What was raised.
    is_host_limited
        Whether this process may have only a part of the host's memory.
    """
    if isinstance(error, MemoryError | torch_module().OutOfMemoryError):
        return True
    signs = (_SIGNS, _SIGNS_UNDER_A_LIMIT) if is_host_limited else (_SIGNS,)
    return isinstance(error, RuntimeError) and any(sign.search(str(error)) for sign in signs)


def shortened_message(error: BaseException) -> str:
    """Return an error's message on one line, cut where it is long."""
    text = " ".join(str(error).split()) or "out of memory"
    return text if len(text) <= _MESSAGE_LENGTH else f"{text[: _MESSAGE_LENGTH - 3]}..."
