"""Which plan is best: spaces of plans, proven bounds, and the search."""

from walltime.search.evaluate import Found, Search
from walltime.search.place import placed_plan
from walltime.search.space import FULL, PUBLISHED, Space

__all__ = ["FULL", "PUBLISHED", "Found", "Search", "Space", "placed_plan"]
