"""Errors that say that memory did not do, told from all others."""

import ast
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import walltime.measure  # noqa: E402
from walltime.measure.memory_errors import is_out_of_memory, shortened_message  # noqa: E402

THREAD = RuntimeError("pthread_create failed: Resource temporarily unavailable")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 64 GiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("NCCL error: Cuda failure 'out of memory'"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: not enough memory"),
        RuntimeError("mmap: Cannot allocate memory (12)"),
    ],
    ids=repr,
)
def test_memory_that_does_not_do(error):
    assert is_out_of_memory(error)
    assert is_out_of_memory(error, is_host_limited=True)


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), ValueError("out of memory")], ids=repr)
def test_everything_else(error):
    assert not is_out_of_memory(error)
    assert not is_out_of_memory(error, is_host_limited=True)


def test_no_thread_is_a_matter_of_memory_only_where_memory_is_limited():
    assert not is_out_of_memory(THREAD)
    assert is_out_of_memory(THREAD, is_host_limited=True)


def test_one_function_says_so():
    modules = Path(walltime.measure.__file__).parent.rglob("*.py")
    names = [
        node.name
        for module in modules
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    ]
    assert names.count("is_out_of_memory") == 1


def test_messages_are_a_short_line():
    assert shortened_message(MemoryError()) == "out of memory"
    assert shortened_message(RuntimeError("a\nb")) == "a b"
    assert len(shortened_message(RuntimeError("x" * 1000))) == 200
