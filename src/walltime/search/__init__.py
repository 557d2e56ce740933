"""Which plan is best: spaces of plans, proven bounds, and the search."""

from walltime.search.mlp_place import placed_plan
from walltime.search.mlp_search import Found, Search
from walltime.search.mlp_space import FULL, PUBLISHED, Space

__all__ = ["FULL", "PUBLISHED", "Found", "Search", "Space", "placed_plan"]
