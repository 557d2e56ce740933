"""Measurements of real machines: kernels, collectives, training steps, sweeps of them, and traces of all of it.

PyTorch (the extra ``[measure]``) is imported when something runs on a device; what reads and analyses what was measured
needs NumPy alone.
"""
