"""Collectives between processes: how long they take, by size and group."""
