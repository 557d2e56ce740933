"""The paper's claims beside ours: reproduced, contradicted or not testable, and by which mechanism."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from walltime.studies.fernandez2024 import findings_machines, findings_scaling, findings_sweep
from walltime.studies.fernandez2024.drawing import percent
from walltime.studies.fernandez2024.findings import FINDINGS, Finding
from walltime.studies.fernandez2024.published import Published, published_claims

Verdict = Literal["reproduced", "contradicted", "not testable", "unverified"]
_FOUND_IN = (findings_machines, findings_scaling, findings_sweep)


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, and ours beside it."""

    published: Published
    finding: Finding

    @property
    def verdict(self) -> Verdict:
        """``unverified`` where what the paper says was only recalled: that is shown and never judged."""
        if self.published.tag == "RECALLED":
            return "unverified"
        agrees = self._agrees()
        if agrees is None:
            return "not testable"
        return "reproduced" if agrees else "contradicted"

    @property
    def any_plan_verdict(self) -> Verdict | None:
        """The verdict with any plan instead of the best of tensor × pipeline × FSDP; None where that is not asked."""
        if self.finding.any_plan is None:
            return None
        return "reproduced" if self._agrees_with(self.finding.any_plan) else "contradicted"

    def _agrees(self) -> bool | None:
        if self.published.relation == "holds":
            return self.finding.holds
        return None if self.finding.ours is None else self._agrees_with(self.finding.ours)

    def _agrees_with(self, ours: float) -> bool | None:
        of, tolerance = self.published, self.published.tolerance or 0
        if of.threshold is not None:
            return ours > of.threshold if of.relation == "above" else ours < of.threshold
        if of.value is None:
            return None
        return {
            "number": abs(ours - of.value) <= tolerance,
            "ratio": abs(ours / of.value - 1) <= tolerance if of.value else None,
            "at least": ours >= of.value - tolerance,
            "at most": ours <= of.value + tolerance,
        }.get(of.relation)

    @property
    def fails(self) -> bool:
        """Whether it is contradicted, and not known to be."""
        return self.verdict == "contradicted" and not self.published.deviation

    @property
    def ours(self) -> str:
        """Ours as it is shown."""
        if self.finding.shown or self.finding.ours is None:
            return self.finding.shown
        return self._in_unit(self.finding.ours)

    @property
    def ours_any_plan(self) -> str:
        """Ours with any plan, as it is shown; empty where that is not asked."""
        return "" if self.finding.any_plan is None else self._in_unit(self.finding.any_plan)

    def _in_unit(self, value: float) -> str:
        of = self.published
        return in_unit(value, of.unit, signed=min(of.value or 0, of.threshold or 0) < 0)

    @property
    def paper(self) -> str:
        """The paper's number as it is shown; empty where there is none, or it is a difference of nothing."""
        of = self.published
        if not of.value:
            return ""
        bound = {"at least": "over ", "at most": "under "}.get(of.relation, "")
        return bound + _round(in_unit(of.value, of.unit, signed=of.value < 0))

    @property
    def tolerance(self) -> str:
        """What ours may differ by, or the threshold of our own that it must pass, as it is shown."""
        of = self.published
        if of.threshold is not None:
            return f"{of.relation} {_round(self._in_unit(of.threshold))}"
        if of.relation not in ("number", "ratio") or of.tolerance is None:
            return ""
        if of.relation == "ratio":
            return f"±{100 * of.tolerance:g} %"
        return f"±{100 * of.tolerance:g} points" if of.unit == "share" else f"±{of.tolerance:g} {of.unit}"

    def row(self) -> dict[str, Any]:
        """Return the claim as a flat row."""
        of = self.published
        return {
            "id": of.id,
            "experiment": of.experiment,
            "title": of.title,
            "says": of.says,
            "tag": of.tag,
            "relation": of.relation,
            "paper": of.value,
            "unit": of.unit,
            "tolerance": of.tolerance,
            "threshold": of.threshold,
            "ours": self.finding.ours,
            "ours_any_plan": self.finding.any_plan,
            "holds": self.finding.holds,
            "verdict": self.verdict,
            "verdict_any_plan": self.any_plan_verdict,
            "basis": of.basis,
            "same_as": of.same_as,
            "mechanism": self.finding.mechanism,
            "known_deviation": of.deviation if self.verdict == "contradicted" else "",
            "source": of.source,
            "locator": of.locator,
        }


def _round(shown: str) -> str:
    return shown.replace(".0 %", " %")


def in_unit(value: float, unit: str, *, signed: bool = False) -> str:
    """Show a value with its unit; shares in percent.

    Examples
    --------
    >>> in_unit(2.17, "x"), in_unit(5762, "tokens/s")
    ('2.17', '5,762')
    """
    if unit == "share":
        return percent(value, signed=signed)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def claims() -> Iterator[Claim]:
    """Yield every claim with ours beside it, in the order of the page."""
    for published in published_claims():
        yield Claim(published, FINDINGS[published.id]())


def counted(found: Iterable[Claim]) -> dict[str, int]:
    """Return how many claims have which verdict; those that restate others' numbers are not counted again."""
    verdicts = [claim.verdict for claim in found if not claim.published.same_as]
    return {name: verdicts.count(name) for name in ("reproduced", "contradicted", "not testable", "unverified")}
