"""When one rank runs out of memory, the others stand in a collective that will never finish: end them all, cleanly."""

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

from torch.distributed import distributed_c10d

from walltime.measure.ranks import Place

_KEY = "walltime/out-of-memory"
_PERIOD_S = 0.2  # how long the others go on at most
_GRACE_S = 5.0  # for a rank whose neighbour has gone to hear why
_LINGER_S = 1.0  # the first rank may keep the store that the others ask


class Watch:
    """A thread that asks the ranks' common store whether one of them ran out of memory.

    Parameters
    ----------
    where
        This process.
    on_told
        Called in the first rank with what another one said, before its process ends.
    """

    def __init__(self, where: Place, on_told: Callable[[str], None]) -> None:
        self._where, self._on_told = where, on_told
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="out-of-memory", daemon=True)
        self._store: Any = None

    def __enter__(self) -> "Watch":
        if self._where.num_ranks > 1:
            self._store = distributed_c10d._get_default_store().clone()
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Listen a little longer if a collective broke: another rank may say why, and then this does not return."""
        if self._store is None:
            return
        if isinstance(error, RuntimeError):
            self._thread.join(_GRACE_S)
        self._over.set()
        self._thread.join()

    def tell(self, message: str) -> None:
        """Say to all ranks, this one too, that the memory did not do; does not return if there are others."""
        if self._store is not None:
            self._store.set(_KEY, message)
            self._thread.join()

    def _run(self) -> None:
        with suppress(RuntimeError):  # the store has gone with the first rank
            while not self._over.wait(_PERIOD_S):
                if self._store.check([_KEY]):
                    self._end(self._store.get(_KEY).decode())

    def _end(self, message: str) -> None:
        """End this process whatever its other threads wait for."""
        if self._where.is_first:
            self._on_told(message)
            self._over.wait(_LINGER_S)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
