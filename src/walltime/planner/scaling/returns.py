"""What is got for what is added: marginal returns between neighbouring sizes."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Totals:
    """What a whole cluster gives and takes.

    Attributes
    ----------
    num_gpus
        Accelerators.
    tokens_per_s
        Without failures. [tokens/s]
    goodput_tokens_per_s
        With failures and checkpoints; None if not known. [tokens/s]
    power_w
        Of all boards; None if not known. [W]
    usd_per_hour
        Of all accelerators; None if not known. [$/h]
    """

    num_gpus: int
    tokens_per_s: float
    goodput_tokens_per_s: float | None = None
    power_w: float | None = None
    usd_per_hour: float | None = None

    def per(self, cost: str, *, goodput: bool = False) -> float | None:
        """Return the tokens of a second for each unit of a cost: ``num_gpus``, ``power_w`` or ``usd_per_hour``."""
        gain, paid = gain_of(self, goodput=goodput), getattr(self, cost)
        return None if gain is None or not paid else gain / paid


@dataclass(frozen=True)
class Marginal:
    """What is added from one size to the next, and what that returns.

    Attributes
    ----------
    before, after
        The two sizes.
    sizes
        All that were possible: returns are compared with the average of the one that returns most for its cost.
    """

    before: Totals
    after: Totals
    sizes: tuple[Totals, ...]

    @property
    def num_gpus(self) -> float:
        """The size that the return is about: between the two, in equal ratios to both."""
        return math.sqrt(self.before.num_gpus * self.after.num_gpus)

    def per(self, cost: str, *, goodput: bool = False) -> float | None:
        """Return the added tokens of a second for each added unit of a cost.

        Parameters
        ----------
        cost
            ``num_gpus``, ``power_w`` or ``usd_per_hour``.
        goodput
            Whether failures and checkpoints count.

        Returns
        -------
        float or None
            None where a number is not known, or where nothing is added. [tokens/s by GPU, W or $/h]
        """
        more, added = _more(self.before, self.after, _gain(goodput)), _more(self.before, self.after, cost)
        return None if more is None or added is None or added <= 0 else more / added

    def share(self, *, goodput: bool = False) -> float | None:
        """Return what the added accelerators return for their cost, over what those of the best size do.

        Cost is dollars where they are known at every size, accelerators otherwise; None where goodput is asked for and
        not known.
        """
        best, per = best_size(self.sizes, goodput=goodput), self.per(cost_of(self.sizes), goodput=goodput)
        average = None if best is None else best.per(cost_of(self.sizes), goodput=goodput)
        return None if per is None or not average else per / average

    def to_row(self) -> dict[str, Any]:
        """Return every marginal return, units in the keys; None where a number is not known."""
        row: dict[str, Any] = {}
        for name, goodput in (("tokens", False), ("goodput_tokens", True)):
            row |= {
                f"marginal_{name}_per_s_per_gpu": self.per("num_gpus", goodput=goodput),
                f"marginal_{name}_per_j": self.per("power_w", goodput=goodput),
                f"marginal_{name}_per_s_per_usd_per_hour": self.per("usd_per_hour", goodput=goodput),
            }
        return row | {"return_share": self.share(), "goodput_return_share": self.share(goodput=True)}


def _gain(goodput: bool) -> str:
    return "goodput_tokens_per_s" if goodput else "tokens_per_s"


def _more(before: Totals, after: Totals, name: str) -> float | None:
    was, now = getattr(before, name), getattr(after, name)
    return None if was is None or now is None else float(now - was)


def gain_of(one: Totals, *, goodput: bool) -> float | None:
    """Return what a size gives: tokens a second, or goodput, None where that is not known. [tokens/s]"""
    return one.goodput_tokens_per_s if goodput else one.tokens_per_s


def cost_of(sizes: Sequence[Totals]) -> str:
    """Return what accelerators cost: dollars where they are known at every size, accelerators otherwise."""
    return "num_gpus" if any(one.usd_per_hour is None for one in sizes) else "usd_per_hour"


def best_size(sizes: Sequence[Totals], *, goodput: bool = False) -> Totals | None:
    """Return the size that returns most for its cost, None if that is not known."""
    known = [(per, one) for one in sizes if (per := one.per(cost_of(sizes), goodput=goodput)) is not None]
    return max(known, key=lambda pair: pair[0])[1] if len(known) == len(sizes) and known else None


def marginals(sizes: Sequence[Totals]) -> list[Marginal]:
    """Return what is added from each size to the next; sizes ascend."""
    return [Marginal(before, after, tuple(sizes)) for before, after in itertools.pairwise(sizes)]
