"""Layers chunk by chunk add up, and no stage is fuller than the estimate takes the fullest for."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from walltime.interop.layer_layout import layers_of_chunks
from walltime.plan.stages import layers_before_stage, layers_of_fullest_stage


@given(layers=st.integers(1, 200), pp=st.integers(1, 32), vpp=st.integers(1, 8))
def test_layers_of_chunks(layers, pp, vpp):
    if pp == 1:
        vpp = 1
    if pp > 1 and pp * vpp > layers + 2:
        return
    chunks = layers_of_chunks(layers, pp, vpp)
    assert len(chunks) == pp * vpp
    assert sum(chunks) == layers
    assert max(sum(chunks[stage::pp]) for stage in range(pp)) <= layers_of_fullest_stage(layers, pp, vpp)
    assert all(chunks[1:-1]), "only the ends, which have embedding and output layer, may be without a layer"


@given(layers=st.integers(1, 200), pp=st.integers(1, 32))
def test_stages_of_the_estimate(layers, pp):
    """Without interleaving they are the estimate's own, wherever its last stage has a layer."""
    ends = [int(layers_before_stage(layers, pp, 1, stage)) for stage in range(pp + 1)]
    mine = [end - start for start, end in itertools.pairwise(ends)]
    if mine[-1]:
        assert list(layers_of_chunks(layers, pp, 1)) == mine
