"""walltime: how long training a large model takes, which plan is best, and how far training can scale.

>>> import walltime as wt
>>> curve = wt.limits(wt.cluster("h100-sxm"))
>>> curve.latency_wall.last_feasible_flop > 1e31
True
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from walltime.api import (  # noqa: TC004  (by _Package)
        Terms,
        account,
        cluster,
        estimate,
        export,
        limits,
        model,
        scale,
        search,
        timeline,
    )
    from walltime.plan import MlpPlan, Plan  # noqa: TC004

__version__ = "0.1.0"
__all__ = [
    "MlpPlan",
    "Plan",
    "Terms",
    "__version__",
    "account",
    "cluster",
    "estimate",
    "export",
    "limits",
    "model",
    "scale",
    "search",
    "timeline",
]

_VERBS = {
    **dict.fromkeys(("MlpPlan", "Plan"), "walltime.plan"),
    **dict.fromkeys(
        ("Terms", "account", "cluster", "estimate", "export", "limits", "model", "scale", "search", "timeline"),
        "walltime.api",
    ),
}


class _Package(ModuleType):
    """Loads a verb when it is first used, so that ``import walltime`` is quick.

    `search` and `limits` are also rooms. Importing a room would bind its module to the package under the verb's
    name; the verb stays there, and ``from walltime.limits import ...`` finds the room as ever.
    """

    def __getattribute__(self, name: str) -> Any:
        if name in _VERBS:
            return getattr(importlib.import_module(_VERBS[name]), name)
        return super().__getattribute__(name)


sys.modules[__name__].__class__ = _Package
