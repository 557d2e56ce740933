"""walltime: how long training a large model takes, which plan is best, and how far training can scale."""

__version__ = "0.1.0"
