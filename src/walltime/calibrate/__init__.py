"""Fits of what datasheets do not say to measurements."""
