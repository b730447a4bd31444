"""PyTorch: one training in several processes, a device each.

A launcher such as torchrun starts the same script several times:

    torchrun --nproc-per-node 4 train.py

DistributedDataParallel averages their gradients. This file does what that leaves open:
which part of a batch a process computes, how much it counts, and whether the processes
agree on what they train. A process that was started alone uses nothing of this.
"""

import contextlib
import os

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from d2l_utils.alike import check_alike, lost
from d2l_utils.batches import part_of
from d2l_utils.torch.device import is_lost, meet


def launched() -> bool:
    """Whether a launcher has started this process as one of several."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", 1)) > 1


@contextlib.contextmanager
def drawing_from(seed: int, device: torch.device):
    """Seed PyTorch's generator for the block; restore its state afterwards.

    So each process draws dropout of its own, while all loaders draw the same order.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


class _Step(nn.Module):
    """A training step as a module's forward pass, as DistributedDataParallel wants."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, batch):
        return self.model.training_step(batch)


WRAPPERS = (_Step, DistributedDataParallel)


class Processes:
    """This process among those of one training.

    rank: its number, from 0. size: how many there are.
    """

    def __init__(self) -> None:
        meet()
        self.rank, self.size = distributed.get_rank(), distributed.get_world_size()

    def agree(self, about: dict) -> None:
        """Raise Unlike where the processes are to train different things, LostContact
        where one of them has ended."""
        said = [None] * self.size
        try:
            distributed.all_gather_object(said, about)
        except RuntimeError as error:
            if not is_lost(error):
                raise
            raise lost(self.rank, None) from error
        check_alike(said)

    def step_of(self, model):
        """A training step of all processes: from a part of a batch to its loss.

        Its gradients are those of the mean of the processes' losses.
        """
        device = next(model.parameters()).device
        # A step need not use all weights; those it does not use keep their values.
        return DistributedDataParallel(
            _Step(model),
            device_ids=[device] if device.type == "cuda" else None,
            find_unused_parameters=True,
        )

    def part(self, batch):
        """(this process's part of a batch, its share of the examples)"""
        return part_of(batch, self.rank, self.size)

    def mean(self, recorded: dict, share: float) -> dict:
        """The mean over the whole batch of what each process recorded of its part."""
        if not recorded:
            return recorded
        values = [torch.as_tensor(v).detach().float() for v in recorded.values()]
        values = torch.stack(values) * share
        distributed.all_reduce(values)
        return dict(zip(recorded, values, strict=True))
