"""Telling a device's memory that did not do from everything else that can go wrong."""

from walltime.measure.requirements import torch_module

_HOST_SAYS = ("can't allocate memory", "not enough memory", "Cannot allocate memory")
_MESSAGE_LENGTH = 200


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not do: of a GPU, or of the host."""
    if isinstance(error, MemoryError | torch_module().OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _HOST_SAYS)


def shortened_message(error: BaseException) -> str:
    """Return an error's message on one line, cut where it is long."""
    text = " ".join(str(error).split()) or "out of memory"
    return text if len(text) <= _MESSAGE_LENGTH else f"{text[: _MESSAGE_LENGTH - 3]}..."
