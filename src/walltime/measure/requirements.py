"""PyTorch and the devices that it runs on: there, or a line that says what is missing."""

import importlib
from types import ModuleType

from walltime.problems import MissingExtra

INSTALL = "pip install 'walltime[measure]'"


def torch_module() -> ModuleType:
    """Return PyTorch.

    Raises
    ------
    MissingExtra
        It is not installed.
    """
    try:
        return importlib.import_module("torch")
    except ImportError:
        raise MissingExtra(f"measuring needs PyTorch: {INSTALL}") from None
