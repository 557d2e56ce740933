"""Kernels of one accelerator, by themselves: matrix products, attention, memory-bound kernels, launches."""
