"""PyTorch: training steps. Layout NCHW."""

import os
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from d2l_utils import base, host
from d2l_utils.alike import description, lost
from d2l_utils.batches import inputs_of, num_examples
from d2l_utils.feed import step_seed
from d2l_utils.frameworks import FRAMEWORKS
from d2l_utils.ownership import library, replaced
from d2l_utils.torch import state
from d2l_utils.torch.batches import to_tensors
from d2l_utils.torch.bfloat16 import in_bfloat16
from d2l_utils.torch.device import cpu, for_training, is_lost, try_all_gpus
from d2l_utils.torch.launch import train_in_processes
from d2l_utils.torch.layers import dtype_of, evaluating, init_when_built, unbuilt
from d2l_utils.torch.processes import Processes, drawing_from, launched
from d2l_utils.training import Trainer as _Trainer


@library
class Trainer(_Trainer):
    __doc__ = _Trainer.__doc__
    _framework = FRAMEWORKS["pytorch"]
    _gpus_there = staticmethod(lambda: len(for_training()))
    _state_hooks = state
    _compiles_steps, _why_eager = False, "as PyTorch does by default"
    _keeps_options = True
    _processes = None  # those of a training that a launcher has started
    _all_steps = None  # a training step in each of them

    def _find_device(self):
        self.gpus = vars(self).get("gpus", for_training()[: self.num_gpus])
        if not launched():
            return self.gpus[0] if self.gpus else cpu()
        local, gpus = int(os.environ.get("LOCAL_RANK", 0)), try_all_gpus()
        device = gpus[local] if self.gpus and local < len(gpus) else cpu()
        if device.type == "cuda":
            torch.cuda.set_device(device)
        self._processes = Processes()
        self._writes = self._processes.rank == 0
        return device

    def device_text(self):
        text = str(self.device)
        if self.device.type == "cuda":
            text = torch.cuda.get_device_name(self.device)
        elif self.device.type == "cpu":
            text = host.cpu_text(torch.get_num_threads())
        n = self._processes.size if self._processes else len(self.gpus)
        return f"{n} processes, {text}" if n > 1 else text

    def _why_not_bfloat16(self):
        if self.device.type == "cuda":
            there = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            there = self.device.type == "cpu" and host.cpu_has_bfloat16()
        return "" if there else f"{self.device_text()} has no fast units for bfloat16"

    def _keeps_data(self):
        return self.device.type != "cpu"

    def _put(self, arrays):
        return tuple(torch.as_tensor(x, device=self.device) for x in arrays)

    def _state_tensors(self):
        return state.tensors_of(self.model, self.optim)

    def _restore(self, tensors):
        state.restore(self.model, self.optim, tensors)

    def _seed_step(self, seed):
        torch.manual_seed(seed)

    def _remember(self):
        return state.remember(self.model, self.optim, self.device, super()._remember())

    def _make_weights(self, model):
        inputs = inputs_of(self.prepare_batch(self._first_batch()))
        self._build(model.apply_init, inputs)
        model.to(self.device)
        if unbuilt(model):  # a training_step of the reader's own makes the weights
            init_when_built(model)
            return
        # Convolutions are much faster on a CPU with channels innermost in memory.
        # PyTorch sees that by a weight's strides. With a 1x1 kernel or one channel both
        # layouts are the same in memory: `contiguous` then keeps the old strides, and
        # `to` sets them.
        for p in model.parameters():
            if p.dim() == 4:
                p.data = p.data.to(memory_format=torch.channels_last)

    def fit(self, model, data):
        if len(self.gpus) > 1 and not self._processes:
            train_in_processes(self, model, data, super().fit)
        else:
            super().fit(model, data)

    def _run_epochs(self):
        try:
            super()._run_epochs()
        except RuntimeError as error:
            if not self._processes or not is_lost(error):
                raise
            raise lost(self._processes.rank, self.checkpoint) from error

    def _prepare_steps(self):
        self._check_step()
        self.model.train()  # also what a `train` of the reader's own does besides
        if not self._processes:
            return
        self._only_our_loop("processes")
        if unbuilt(self.model):
            raise TypeError(
                "Several processes can train only a network whose weights exist before "
                "the first step; here the first step makes them. Train in one process."
            )
        self._processes.agree(description(self))
        self._all_steps = self._processes.step_of(self.model)

    def _check_step(self):
        """Raise TypeError for an optimizer whose step needs what ours does not give."""
        ours = self.plan.our_loop and not replaced(self, "train_step")
        if ours and isinstance(self.optim, torch.optim.LBFGS):
            raise TypeError(
                f"{type(self.optim).__name__} computes the loss several times in a "
                "step, by a closure. Define train_step(self, batch) in a Trainer of "
                "your own, which gives it one, or choose another optimizer."
            )

    def prepare_batch(self, batch):
        matrices = self.data.resize_matrices() if self.plan.stored_bytes else None
        batch = to_tensors(batch, self.device, matrices, dtype_of(self.model))
        self._examples = num_examples(batch)
        if not isinstance(batch, tuple) or getattr(batch[0], "ndim", 0) != 4:
            return batch
        X = batch[0].contiguous(memory_format=torch.channels_last)
        return (X, *batch[1:])

    def _mode(self, train):
        self.model.train(train)
        return nullcontext()

    def _outputs(self, inputs):
        with evaluating(self.model):
            return self.model(*inputs)

    def _train(self, batch):
        if not self.model.training:
            self.model.train()
        step, share, draws = self.model.training_step, 1, nullcontext()
        if self._processes:
            step, (batch, share) = self._all_steps, self._processes.part(batch)
            seed = self.progress.seed, self.train_batch_idx, self._processes.rank
            draws = drawing_from(step_seed(*seed), self.device)
        batch = self.prepare_batch(batch)
        low = in_bfloat16(self.device) if self.plan.bfloat16 else nullcontext()
        with draws, low:
            l, recorded = self._run_training_step(step, batch)
        if not torch.is_tensor(l):
            raise self._no_loss(l)
        self.optim.zero_grad()
        if self._processes:  # gradients are averaged over processes, not over examples
            (l * share * self._processes.size).backward()
            recorded = self._processes.mean(recorded, share)
        else:
            l.backward()
        if self.gradient_clip_val > 0:
            self.clip_gradients(self.gradient_clip_val, self.model)
        self.optim.step()
        return {k: torch.as_tensor(v).detach() for k, v in recorded.items()}

    def _validate(self, batch):
        if self.model.training:
            self.model.eval()
        share = 1
        if self._processes:
            batch, share = self._processes.part(batch)
        with torch.no_grad():
            batch = self.prepare_batch(batch)
            recorded = self._run_step(self.model.validation_step, batch)[1]
        return self._processes.mean(recorded, share) if self._processes else recorded

    def clip_gradients(self, grad_clip_val: float, model: Any) -> None:
        """Bound the norm of the gradients, in place (textbook, section 9.5).

        Parameters:
            grad_clip_val: the largest norm.
            model: whose parameters have the gradients.
        """
        nn.utils.clip_grad_norm_(model.parameters(), grad_clip_val)


def run_facts() -> None:
    """Print versions, processor, device, date, and time since the import.

    Example:
        >>> d2l.run_facts()
    """
    trainer = Trainer(1, num_gpus=1)
    base.print_facts(trainer._framework.distributions, trainer.device_text())
