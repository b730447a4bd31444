"""MXNet: training steps, and stored images as arrays. Layout NCHW."""

import warnings
from functools import lru_cache

import numpy as onp
from mxnet import autograd, gluon, np, npx
from mxnet import random as mx_random

from d2l_utils import host
from d2l_utils.data import resize_matrices
from d2l_utils.mxnet import state as states
from d2l_utils.mxnet.bfloat16 import Graphs, is_faster
from d2l_utils.mxnet.device import cpu, num_gpus, try_all_gpus
from d2l_utils.mxnet.layers import device_of, initialize, parameters
from d2l_utils.training import Trainer as _Trainer

STEPS_AHEAD = 8  # batches that wait on the device at most


@lru_cache(maxsize=8)
def _resizers(n, shape_in, shape_out, device):
    """R_h n times over, as a batched product takes it, and R_w, on the device."""
    R_h, R_w = (np.array(R, ctx=device) for R in resize_matrices(shape_in, shape_out))
    return np.broadcast_to(R_h, (n, *R_h.shape)).copy(), R_w


def resized(X, size, device):
    """Stored bytes (n, h, w) as float32 (n, 1, *size) in [0, 1] on the device."""
    shape = X.shape[1:]
    X = np.array(X, dtype="uint8", ctx=device).astype("float32") / 255
    if shape == tuple(size):
        return np.expand_dims(X, 1)
    # np.matmul, which broadcasts, would take four times as long; expand_dims copies
    # in MXNet, so it comes while the images are small.
    R_h, R_w = _resizers(len(X), shape, tuple(size), device)
    X = np.expand_dims(npx.batch_dot(R_h, X), 1)
    return npx.fully_connected(
        X, R_w, num_hidden=len(R_w), no_bias=True, flatten=False
    )  # fmt: skip


def _on(device, x):
    """An array of NumPy or MXNet on the device; float64 becomes float32."""
    if isinstance(x, np.ndarray):
        return x.as_in_ctx(device)
    x = onp.asarray(x)
    return np.array(x, dtype="float32" if x.dtype == "float64" else x.dtype, ctx=device)


def _hybridize(model, active):
    """Compile the net, or undo it; a plain Sequential is compiled in parts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that HybridSequential would be faster
        model.hybridize(active, static_alloc=active, static_shape=active)


class Trainer(_Trainer):
    __doc__ = _Trainer.__doc__
    gpus_there = staticmethod(num_gpus)
    graphs = None  # of the model in training

    def find_device(self):
        self.gpus = try_all_gpus()[: self.num_gpus]
        self.device = self.gpus[0] if self.gpus else cpu()

    def device_text(self):
        return host.cpu_text() if self.device == cpu() else str(self.device)

    def bfloat16_is_faster(self):
        compiled = self.graphs is None or self.graphs.blocks  # else blocks run as is
        return bool(compiled) and self.device == cpu() and is_faster()

    def state_tensors(self):
        return states.tensors_of(self.model, self.optim)

    def restore(self, tensors):
        states.restore(self.model, self.optim, tensors)

    def seed_step(self, seed):
        mx_random.seed(seed)

    def prepare_model(self, model):
        super().prepare_model(model)
        *inputs, _ = self.prepare_batch(self.first_batch())
        model.apply_init([x[:1] for x in inputs])
        initialize(model)
        if device_of(model) != self.device:
            gluon.Block.collect_params(model).reset_ctx(self.device)
        # A fifth faster for NiN28 on a CPU; a last, shorter batch costs 50 ms.
        _hybridize(model, True)
        try:
            with autograd.pause():
                model(*(x[:1] for x in inputs))
                npx.waitall()
        except Exception:  # not every block can be traced: then it runs as it is
            _hybridize(model, False)
        self.graphs = Graphs(model)

    def fit(self, model, data):
        """Train the model on the data."""
        try:
            super().fit(model, data)
        finally:
            _hybridize(model, False)
            self.graphs = None

    def prepare_batch(self, batch):
        X, *rest = batch
        if isinstance(X, onp.ndarray) and X.dtype == "uint8":  # as it is stored
            X = resized(X, self.data.resize, self.device)
        return tuple(_on(self.device, x) for x in (X, *rest))

    def train_step(self, batch):
        batch = self.prepare_batch(batch)
        self.graphs.use(low=self.in_bfloat16())
        with autograd.record():
            l, recorded = self.recording(self.model.training_step, batch)
        l.backward()
        if self.gradient_clip_val > 0:
            self.clip_gradients(self.gradient_clip_val, self.model)
        self.optim.step(1)  # 1, since the loss is a mean
        self.wait_at_times(self.train_batch_idx)
        return {
            k: v.detach() if hasattr(v, "detach") else v for k, v in recorded.items()
        }

    def val_step(self, batch):
        batch = self.prepare_batch(batch)
        self.graphs.use(low=False)
        self.wait_at_times(self.val_batch_idx)
        return self.recording(self.model.validation_step, batch)[1]

    def wait_at_times(self, step):
        """Bound the work that waits in the engine: every step of it holds a batch."""
        if step % STEPS_AHEAD == 0:
            npx.waitall()

    def clip_gradients(self, grad_clip_val, model):
        grads = [p.grad() for p in parameters(model) if p.grad_req != "null"]
        grads = grads or [p.grad for p in model.parameters()]  # the model's own
        norm = np.sqrt(sum((g**2).sum() for g in grads))
        scale = np.minimum(1.0, grad_clip_val / (norm + 1e-6))  # not read: no wait
        for g in grads:
            g *= scale
