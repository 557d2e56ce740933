"""Names for arrays in annotations; what their axes are stands in brackets in each docstring."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]
"""An array of float64."""
Numeric = Floats | float
"""One number, or an array of them."""
Indices = NDArray[np.intp]
"""Positions in another array."""
Mask = NDArray[np.bool_]
"""One truth value an element."""
