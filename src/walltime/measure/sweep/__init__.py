"""Sweeps: many training runs of a file, one process group each, recorded as they finish, whatever happens to them."""
