"""One training in several processes, started by torchrun: who is which, and what they tell each other.

`torchrun --nproc-per-node 2 -m medseg_rl.cli train ...`; without torchrun there is one process and nothing to tell.
Knows nothing of networks but that they have gradients.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from medseg_rl.errors import MedSegError

CPU = torch.device("cpu")
TIMEOUT = timedelta(
    days=1
)  # the first process makes starts and validates while the others wait; torchrun ends the dead


@dataclass(frozen=True)
class Ranks:
    """This process's place: `rank` of `size`, and the device that its network is on."""

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @property
    def is_first(self) -> bool:
        """Whether it is the one that writes, logs and validates."""
        return self.rank == 0

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Each gradient becomes its mean over the processes: the same numbers in all of them."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        self._together(lambda: distributed.all_reduce(flat))
        flat /= self.size
        for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def any(self, answer: bool) -> bool:
        """Whether one of the processes says so. Waits for all of them."""
        if self.size == 1:
            return answer
        flag = torch.tensor([int(answer)])
        self._together(lambda: distributed.all_reduce(flag))
        return bool(flag.item())

    def wait(self) -> None:
        """Until all are here."""
        self.any(False)

    def check_same(self, number: int, what: str) -> None:
        """Raises `MedSegError` where the processes have different numbers, as when they do not share a folder."""
        if self.size == 1:
            return
        bounds = torch.tensor([number, -number])
        self._together(lambda: distributed.all_reduce(bounds, distributed.ReduceOp.MAX))
        if bounds[0] != -bounds[1]:
            raise MedSegError(
                f"the processes of this run begin with {what} {-int(bounds[1])} to {int(bounds[0])}; "
                "they must share the run folder"
            )

    def _together(self, exchange: Callable[[], Any]) -> None:
        try:
            exchange()
        except RuntimeError as error:  # a peer that died closes its connection
            first = str(error).splitlines()[0]
            raise MedSegError(
                f"another process of this run has gone ({first}); the same command goes on from the last checkpoint"
            ) from error


@contextmanager
def joined_ranks(device: str = "cpu") -> Iterator[Ranks]:
    """The processes that torchrun started, joined while the block runs; one process without torchrun.

    `device`: "cpu", or "cuda" for one GPU a process. Raises `MedSegError` where there is no such GPU.
    """
    size, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    if device == "cuda":
        if local >= torch.cuda.device_count():
            raise MedSegError(
                f"process {local} has no GPU of its own, {torch.cuda.device_count()} are here; start fewer, or use cpu"
            )
        torch.cuda.set_device(local)
    place = torch.device(device, local) if device == "cuda" else torch.device(device)
    if size == 1:
        yield Ranks(device=place)
        return
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=TIMEOUT)
    try:
        yield Ranks(distributed.get_rank(), size, place)
    finally:
        distributed.destroy_process_group()
