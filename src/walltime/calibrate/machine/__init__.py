"""Calibration of one machine: from the rows measured there to the record that stands for it in the catalog."""
