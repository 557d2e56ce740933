"""What an event of a trace is, by its category and its name."""

import re
from enum import IntEnum

KINDS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast", "send_recv", "other", "wait")
"""Kinds of communication. ``other``: a collective that the rest does not name, or does not tell. ``wait``: on a CPU,
waiting for a collective while none runs."""
WAIT = KINDS.index("wait")
_OTHER = KINDS.index("other")


class Role(IntEnum):
    """What an event says of a step.

    On one thread of the host, where events nest, a moment belongs to the innermost of them; of events that begin and
    end together the one with the greatest role is taken for the innermost.
    """

    NOTHING = 0
    FRAME = 1
    """Code of the host around operators: it computes nothing by itself."""
    OPERATOR = 2
    """An operator that runs on the host."""
    CALL = 3
    """The host calls a collective, or waits for one."""
    BACKGROUND = 4
    """A collective that gloo runs."""
    KERNEL = 5
    """A kernel or a copy on an accelerator."""
    COLLECTIVE = 6
    """A kernel that communicates."""
    STEP = 7
    """A step as the profiler marks it on the host."""
    DEVICE_STEP = 8
    """The same, from its first kernel to its last on one stream."""
    LAUNCH = 9
    """A call of the accelerator's runtime: it says that there is one."""


_KIND_WORDS = (
    ("reducescatter", "reduce_scatter"),
    ("allreduce", "all_reduce"),
    ("allgather", "all_gather"),
    ("alltoall", "all_to_all"),
    ("broadcast", "broadcast"),
    ("send", "send_recv"),
    ("recv", "send_recv"),
)
_DEVICE_COLLECTIVE = re.compile(
    r"(?:void\s+)?(?:nccl|rccl|msccl|deep_ep::|nvshmem|userbuffers_|multimem_|(?:one|two)_shot_all_)", re.IGNORECASE
)
"""Kernels of NCCL, RCCL and MSCCL, of DeepEP, NVSHMEM and Transformer Engine, and of PyTorch's symmetric memory."""
_BETWEEN_DEVICES = "memcpy ptop"
"""A copy from one accelerator to another."""
_HOST_CALL = re.compile(r"_?c10d(?:_functional)?::")
_NO_CALL = ("_c10d_functional::_wrap_tensor_autograd",)
_HOST_FRAME = re.compile(r"(?:autograd::engine|torch::autograd|torch::jit)::")
_COMPILED = re.compile(r"## Call CompiledFxGraph|(?:graph_\d+_)?cpp_fused")
"""Code that `torch.compile` made: its kernels are not operators of their own."""
_STEP = re.compile(r"ProfilerStep#(\d{1,15})")
_GLOO = "gloo:"

_DEVICE_ROLES = {"kernel": Role.KERNEL, "gpu_memcpy": Role.KERNEL, "gpu_memset": Role.KERNEL}
_DEVICE_ROLES |= {"memcpy": Role.KERNEL, "memset": Role.KERNEL}  # before PyTorch 1.13
_HOST = ("cpu_op", "operator")
_ANNOTATION = "user_annotation"
_RUNTIMES = ("cuda_runtime", "cuda_driver", "hip_runtime", "runtime", "xpu_runtime")


def step_number(name: str) -> int | None:
    """Return the number of a step's annotation, None for any other name."""
    match = _STEP.fullmatch(name)
    return int(match[1]) if match else None


def kind_of(name: str) -> int:
    """Return the position in `KINDS` of what a collective is called: ``_allgather_base``, ``AllGather_RING_LL``."""
    letters = "".join(character for character in name.lower() if character.isalpha())
    return next((KINDS.index(kind) for word, kind in _KIND_WORDS if word in letters), _OTHER)


def role_of(category: str, name: str) -> tuple[Role, int]:
    """Return what an event is, and the kind of its communication (``other`` if it is none)."""
    category = category.lower()
    if category in _DEVICE_ROLES:
        return _on_device(name)
    if category in (*_HOST, _ANNOTATION):
        return _on_host(name, is_annotation=category == _ANNOTATION)
    if category == "gpu_user_annotation":
        return (Role.DEVICE_STEP if step_number(name) is not None else Role.NOTHING), _OTHER
    return (Role.LAUNCH if category in _RUNTIMES else Role.NOTHING), _OTHER


def _on_device(name: str) -> tuple[Role, int]:
    if _DEVICE_COLLECTIVE.match(name):
        return Role.COLLECTIVE, kind_of(name)
    if name.lower().startswith(_BETWEEN_DEVICES):
        return Role.COLLECTIVE, _OTHER
    return Role.KERNEL, _OTHER


def _on_host(name: str, *, is_annotation: bool) -> tuple[Role, int]:
    if step_number(name) is not None:
        return Role.STEP, _OTHER
    if name.startswith(_GLOO):
        return Role.BACKGROUND, kind_of(name)
    if is_annotation:
        return Role.FRAME, _OTHER
    if _HOST_CALL.match(name) and name not in _NO_CALL:
        return Role.CALL, WAIT if name.endswith("wait_tensor") else kind_of(name)
    operator = "::" in name.partition(" ")[0] and not _HOST_FRAME.match(name) and name not in _NO_CALL
    return (Role.OPERATOR if operator or _COMPILED.match(name) else Role.FRAME), _OTHER
