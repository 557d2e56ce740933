"""Whatever a file holds: parts that make sense and add up, or one line that says what is wrong."""

import json

from hypothesis import given
from hypothesis import strategies as st

from walltime.measure.trace import rank_traces
from walltime.problems import BadInput

NAMES = st.sampled_from(
    [
        *("aten::mm", "c10d::allreduce_", "gloo:all_reduce", "gloo:send", "ProfilerStep#1", "ProfilerStep#2"),
        *("_c10d_functional::wait_tensor", "MmBackward0", "ncclDevKernel_AllGather_RING_LL", "gemm", "ProfilerStep#"),
    ]
)
CATEGORIES = st.sampled_from(
    ["kernel", "Kernel", "gpu_memcpy", "cpu_op", "user_annotation", "gpu_user_annotation", "cuda_runtime", "x", ""]
)
TIMES = st.one_of(st.integers(-5, 60), st.floats(0, 50), st.floats(allow_nan=False, allow_infinity=False), st.none())
EVENTS = st.fixed_dictionaries(
    {
        "ph": st.sampled_from(["X", "X", "X", "B", "i"]),
        "cat": CATEGORIES,
        "name": st.one_of(NAMES, st.text(max_size=9)),
    },
    optional={
        "ts": TIMES,
        "dur": TIMES,
        "pid": st.one_of(st.integers(0, 2), st.text(max_size=3), st.none()),
        "tid": st.integers(0, 2),
        "args": st.one_of(st.none(), st.just({"Collective name": 3, "Process Group Description": "mesh_tp"})),
    },
)


@given(st.lists(EVENTS, max_size=20), st.one_of(st.none(), st.just(3), st.just({"rank": "0", "backend": 7})))
def test_parts_add_up_or_it_is_refused(tmp_path_factory, events, distributed):
    path = tmp_path_factory.mktemp("any") / "trace.json"
    path.write_text(json.dumps({"distributedInfo": distributed, "traceEvents": events}), encoding="utf-8")
    try:
        found = rank_traces(path)
    except BadInput:
        return
    for rank in found:
        for parts in (*rank.steps, rank.mean):
            assert parts.step_s == parts.compute_s + parts.exposed_communication_s + parts.idle_s
            assert min(parts.compute_s, parts.exposed_communication_s, parts.idle_s) >= 0
            assert parts.exposed_communication_s <= parts.communication_s * (1 + 1e-12)
            kinds = parts.communication_by_kind_s
            assert all(parts.exposed_by_kind_s[kind] <= kinds[kind] * (1 + 1e-12) for kind in kinds)
