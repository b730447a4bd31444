"""PyTorch: training steps, and stored images as tensors. Layout NCHW."""

import torch
from torch import nn

from d2l_utils import host
from d2l_utils.torch import state as states
from d2l_utils.torch.device import cpu, num_gpus, try_all_gpus
from d2l_utils.training import Trainer as _Trainer


def resized(X, matrices, device):
    """Stored bytes (n, h, w) as float32 (n, 1, h', w') in [0, 1] on the device."""
    X = torch.as_tensor(X, device=device).float().div_(255)
    if matrices is not None:
        R_h, R_w = (torch.tensor(R, device=device) for R in matrices)
        X = R_h @ X @ R_w.T
    return X.unsqueeze(1)


class Trainer(_Trainer):
    __doc__ = _Trainer.__doc__
    gpus_there = staticmethod(num_gpus)

    def find_device(self):
        self.gpus = try_all_gpus()[: self.num_gpus]
        self.device = self.gpus[0] if self.gpus else cpu()

    def device_text(self):
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        if self.device.type == "cpu":
            return host.cpu_text(torch.get_num_threads())
        return str(self.device)

    def bfloat16_is_faster(self):
        if self.device.type == "cuda":
            return torch.cuda.is_bf16_supported(including_emulation=False)
        return self.device.type == "cpu" and host.cpu_has_bfloat16()

    def keeps_data(self):
        return self.device.type != "cpu"

    def put(self, arrays):
        return tuple(torch.as_tensor(x, device=self.device) for x in arrays)

    def state_tensors(self):
        return states.tensors_of(self.model, self.optim)

    def restore(self, tensors):
        states.restore(self.model, self.optim, tensors)

    def seed_step(self, seed):
        torch.manual_seed(seed)

    def prepare_model(self, model):
        super().prepare_model(model)
        *inputs, _ = self.prepare_batch(self.first_batch())
        model.apply_init([x[:1] for x in inputs])
        # Convolutions are much faster on a CPU with channels innermost in memory.
        model.to(self.device, memory_format=torch.channels_last)

    def prepare_batch(self, batch):
        *inputs, y = batch
        y = torch.as_tensor(y, device=self.device)
        if self.stored_bytes:
            matrices = self.data.resize_matrices()
            inputs = [resized(inputs[0], matrices, self.device)]
            y = y.long()  # as PyTorch's own losses want them
        inputs = [torch.as_tensor(x, device=self.device) for x in inputs]
        if inputs[0].dim() == 4:
            inputs[0] = inputs[0].contiguous(memory_format=torch.channels_last)
        return (*inputs, y)

    def train_step(self, batch):
        if not self.model.training:
            self.model.train()
        batch = self.prepare_batch(batch)
        # Entered anew in each step: it keeps bfloat16 copies of the weights.
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.in_bfloat16()
        ):
            l, recorded = self.recording(self.model.training_step, batch)
        self.optim.zero_grad()
        l.backward()
        if self.gradient_clip_val > 0:
            self.clip_gradients(self.gradient_clip_val, self.model)
        self.optim.step()
        return {k: torch.as_tensor(v).detach() for k, v in recorded.items()}

    def val_step(self, batch):
        if self.model.training:
            self.model.eval()
        with torch.no_grad():
            return self.recording(
                self.model.validation_step, self.prepare_batch(batch)
            )[1]

    def clip_gradients(self, grad_clip_val, model):
        nn.utils.clip_grad_norm_(model.parameters(), grad_clip_val)
