r"""Lower bounds on the step time of every plan in a part of the space, with their proofs.

Search drops a part of the space when its bound exceeds a time already reached (or allowed), so what it returns is
what brute force would return. A property test compares the two.

Notation: N accelerators of F sustained FLOP/s, w bytes a word, b the bandwidths summed over network levels, l the
smallest latency, L layers, E experts, B tokens, M microbatches, v chunks a stage.

**One level at best.** `Network.flattened` is no slower than the network for any placement: levels of an all-reduce
carry volumes a_1.. whose sum does not depend on the placement, and a mediant lies between its parts:

.. math:: \sum_\ell (p_\ell - 1) \prod_{j>\ell} p_j = \prod_\ell p_\ell - 1, \qquad
          \max_\ell \frac{a_\ell}{b_\ell} \ge \frac{\sum a_\ell}{\sum b_\ell}

Point-to-point crossings sum likewise over levels, and the sum of a_l / b_l is larger still. Whoever waits at all
waits for the smallest latency at least.

**One chunk a stage.** With more chunks, interfaces at which a token stayed on its stage become changes of stage. It
then travels at a level as high or higher, for the higher of stage and expert counts, or travels where it did not. On a
network that is never faster further out (`Network.outward`, at least as fast as the network at every level)
point-to-point traffic and latency therefore do not fall with the number of chunks.

**Arithmetic.** The matmuls of a step perform 6 (P/E) B' FLOP at no more than F each, with B' <= B the tokens left
after rounding shares down, so they take at least 6 (P/E) B' / (N F). Every microbatch of every layer and held expert
starts 6 matmuls, each with its latency a; M >= PP (2 PP for zero-bubble), hence at least
6 a L (E/EP) (M/PP) in all.

**Tensor traffic.** A split T = T_m T_f moves (T_m - 1) f + (T_f - 1) d words a token and all-reduce, and by the
inequality of arithmetic and geometric means T_m f + T_f d >= 2 sqrt(f d T).

**Composition.** A pipeline takes at least as long as its matmuls plus the traffic that is never overlapped, and at
least as long as all its tensor traffic; a bubble and latency only add. Data-parallel traffic adds (or, overlapped,
is another lower bound).

**Fewer microbatches.** For a fixed share, the matmul time M t(B/(DP M E)) does not fall as M grows, when tokens are not
padded: bytes are c0 + c1 n with c0, c1 >= 0, so M (c0 + c1 n) = M c0 + const; arithmetic is constant; latency
grows as M. So its value at the smallest M, with tokens rounded down to a whole number of tiles, bounds it for every M,
and the latency that more microbatches add can be added to it.
"""

from dataclasses import replace

import numpy as np

from walltime.arrays import Floats
from walltime.engines import Assumptions, StepTerms, matmul_device, step_terms, traffic_terms
from walltime.hardware import Cluster
from walltime.physics.collectives import all_reduce_bytes
from walltime.plan import MlpPlanBatch, Schedule, bubble_stretch
from walltime.search.mlp_space import Grid, Shares
from walltime.workload import MlpStack

_MATMULS_A_LAYER = 6


def floor_step_s(model: MlpStack, cluster: Cluster) -> float:
    """Bound every plan on every number of accelerators [s]: launch latency of the matmuls of one full pipeline.

    A pipeline of PP stages works through at least PP microbatches, and each launches 6 matmuls in each of L/PP
    layers: at least 6 L launches one after another, whatever PP is.
    """
    return _MATMULS_A_LAYER * model.num_layers * cluster.accelerator.matmul_latency_s


class Bounds:
    """Lower bounds on the step time for one model on one kind of cluster, ``num_gpus`` of them.

    Parameters
    ----------
    model, cluster, assumptions
        As for the engine.
    num_gpus
        Size of the cluster.
    """

    def __init__(self, model: MlpStack, cluster: Cluster, assumptions: Assumptions, num_gpus: int) -> None:
        self.model = model
        self.assumptions = assumptions
        self.num_gpus = float(num_gpus)
        self.device = matmul_device(cluster.accelerator, assumptions)
        self._placed_network = cluster.network
        self._outward = cluster.network.outward()
        self.network = cluster.network.flattened()
        self._link_bytes_per_s = self.num_gpus * self.network.bytes_per_s[0]

    def of_grid(self, points: Grid) -> Floats:
        """Bound every plan of each grid point, whatever its tensor split [s], (points,)."""
        model = self.model
        words = 2 * np.sqrt(float(model.d_ff) * model.d_model * points.tp) - (model.d_ff + model.d_model)
        return self._composed(points.dp, points.ep, np.maximum(0, words))

    def of_shares(self, shares: Shares) -> Floats:
        """Bound every plan of each share [s], (shares,)."""
        words = (shares.tp_model - 1) * self.model.d_ff + (shares.tp_ff - 1) * self.model.d_model
        return self._composed(shares.dp, shares.ep, words)

    def _composed(self, dp: Floats, ep: Floats, words: Floats) -> Floats:
        """Join arithmetic, tensor traffic of ``words`` a token and all-reduce, and data-parallel traffic."""
        model, device, overlap_tp = self.model, self.device, self.assumptions.overlap_tp
        rows = dp * model.num_experts
        kept_tokens = np.floor(model.batch_tokens / rows) * rows
        arithmetic_s = kept_tokens * (model.step_flop / model.batch_tokens / (self.num_gpus * device.flop_per_s))
        starts = _MATMULS_A_LAYER * model.num_layers * (model.num_experts / ep)
        matmul_s = np.maximum(arithmetic_s, starts * device.latency_s)
        stack_bytes = 4.0 * model.num_layers * model.batch_tokens * device.word_bytes
        tp_s = words * (stack_bytes / self._link_bytes_per_s)
        pipeline_s = np.maximum(matmul_s + (1 - overlap_tp) * tp_s, tp_s)
        gradient_bytes = float(model.num_parameters) * device.word_bytes
        dp_s = all_reduce_bytes(dp, gradient_bytes) / self._link_bytes_per_s
        return np.maximum(pipeline_s, dp_s) if self.assumptions.overlap_dp else pipeline_s + dp_s

    def of_fewest(self, shares: Shares, fewest: Floats, schedule: Schedule) -> StepTerms:
        """Bound the terms of every plan of each share: fewest microbatches, no bubble, no interleaving."""
        ones = np.ones(len(shares))
        tile = self.device.tile
        tokens = tile * np.floor(self.model.batch_tokens / (shares.dp * fewest * self.model.num_experts * tile))
        terms = step_terms(self.model, self.device, self.network, shares.plans(fewest, ones, schedule), tokens)
        return replace(terms, bubble_stretch=ones)

    def of_placed(self, terms: StepTerms, plans: MlpPlanBatch, schedule: Schedule) -> tuple[StepTerms, Floats]:
        """Bound plans that are placed on the network: its own traffic in place of that of one level.

        Parameters
        ----------
        terms
            From `of_fewest`, of the share of each plan, (plans,).
        plans
            Placed, with one chunk a stage; more of them only add to the traffic.

        Returns
        -------
        terms : StepTerms
            With the network's own traffic, as if no level were slower than one further out.
        bound_s : (plans,)
        """
        traffic = traffic_terms(self.model, self.device.word_bytes, self._placed_network, plans)
        if self._outward != self._placed_network:
            outward = traffic_terms(self.model, self.device.word_bytes, self._outward, plans)
            traffic = traffic._replace(pp_s=outward.pp_s, pp_latency_s=outward.pp_latency_s)
        placed = replace(terms, **traffic._asdict())
        return placed, placed.step_s(schedule, self.assumptions)

    def of_choices(self, terms: StepTerms, plans: MlpPlanBatch, extra_microbatches: Floats) -> Floats:
        """Bound plans with more microbatches than the fewest and a bubble [s], (plans,).

        Parameters
        ----------
        terms
            From `of_placed`, (plans,).
        plans
            With their microbatches and interleaving.
        extra_microbatches : (plans,)
            Microbatches above the fewest.
        """
        pp = plans.total("pp")
        layers = self.model.num_layers * self.model.num_experts / (pp * plans.total("ep"))
        started_s = _MATMULS_A_LAYER * self.device.latency_s * layers * extra_microbatches
        stretch = bubble_stretch(plans.schedule, pp, plans.num_microbatches, plans.interleave)
        longer = replace(terms, matmul_s=terms.matmul_s + started_s, bubble_stretch=stretch)
        return longer.step_s(plans.schedule, self.assumptions)
