"""Runs in the forms of other programs: a plan as the configuration that launches it."""
