"""What a training costs, in lines: power, money, failures, and the whole run."""

import numpy as np

from walltime.catalog import Number
from walltime.economics.account import Account
from walltime.economics.numbers import account_numbers
from walltime.economics.terms import Terms
from walltime.hardware import Cluster
from walltime.report.terminal import table
from walltime.units import format_count, format_short, format_si, format_time

_MILLION = 1e6
_DAY_S = 86400
_KG_PER_TONNE = 1000


def account_lines(account: Account, tokens: float | None) -> list[str]:
    """Return the lines of one plan; ``tokens`` are of the whole run, None if that was not asked."""
    lines = [
        f"  power      {_power(account)}",
        f"  cost       {_cost(account)}",
        f"  failures   {_failures(account)}",
    ]
    return lines if tokens is None else [*lines, f"  run        {_run(account, tokens)}"]


def numbers_table(cluster: Cluster, terms: Terms) -> str:
    """Return what power, price and failures stand on, with ranges and sources; `walltime show` has them in full."""
    rows = [
        [name, f"{float(number.value):.4g}", _range(number), number.kind, number.source]
        for name, number in account_numbers(cluster, terms).items()
    ]
    return table(["power, cost, failures", "value", "low to high", "kind", "source"], rows, left=1)


def _range(number: Number) -> str:
    return "" if number.low is None or number.high is None else f"{number.low:.4g} to {number.high:.4g}"


def _power(account: Account) -> str:
    if account.power is None or account.board_w is None:
        return "not known: no power limit of this accelerator is"
    said = f"{float(account.board_w[0]):,.0f} W per accelerator of {account.power.limit_w:,.0f} W"
    energy = f"{_one(account.energy_j_per_token):,.3g} J a token"
    if account.facility_w is None:
        return f"{said}, {energy}; not known what its node draws"
    total = format_si(float(account.facility_w[0] * account.num_gpus[0]), "W", 3)
    return f"{said}, {energy}; {total} at the meter, hosts, network and building included"


def _cost(account: Account) -> str:
    if account.price_usd_per_gpu_hour is None:
        return f"not known: {account.price_missing}"
    hourly, token = _one(account.price_usd_per_gpu_hour), _one(account.cost_usd_per_token)
    how = "owned" if account.owned else "rented"
    return f"${token * _MILLION:,.3g} a million tokens at ${hourly:,.2f} a GPU-hour, {how}"


def _failures(account: Account) -> str:
    if account.reliability is None or account.effective_share is None:
        return "not known"
    per_day = float(account.reliability.interruptions_per_day(account.num_gpus)[0])
    every = format_time(_DAY_S / per_day)
    goodput = format_count(_one(account.goodput_tokens_per_s))
    return f"every {every}: {_one(account.effective_share):.1%} of the time is left for training, {goodput} tokens/s"


def _run(account: Account, tokens: float) -> str:
    run = account.run()
    if not np.isfinite(account.run_time_s[0]):
        return "never ends: failures leave next to nothing of the time"
    ideal, real = (_one(run[name]) / _DAY_S for name in ("ideal_run_time_s", "run_time_s"))
    words = [
        f"{format_short(tokens)} tokens, {format_count(account.estimate.num_steps)} steps: {real:,.3g} days "
        f"({ideal:,.3g} without failures), {format_short(_one(run['gpu_hours']))} GPU-hours"
    ]
    if run["cost_usd"] is not None:
        words.append(f"${format_short(_one(run['cost_usd']))}")
    if run["facility_energy_kwh"] is not None:
        words.append(format_si(_one(run["facility_energy_kwh"]) * 1000, "Wh", 3))
    if run["carbon_kg"] is not None:
        words.append(f"{_amount(_one(run['carbon_kg']) / _KG_PER_TONNE)} t CO2e")
    return ", ".join(words)


def _amount(value: float) -> str:
    """Show an amount with three digits at least: ``34.8``, ``13,309``."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _one(values: object) -> float:
    return float(values[0])  # type: ignore[index]
