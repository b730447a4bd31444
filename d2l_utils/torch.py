"""d2l_utils for PyTorch: what touches tensors. Layout NCHW.

The public names are those of the other framework modules; the shared half is in
the framework-free core.
"""

if "." not in __name__:
    raise ImportError(
        "This is d2l_utils/torch.py, not PyTorch: the folder d2l_utils/ itself is on "
        "sys.path. Start Python in another folder, or take that entry out."
    )

import copy

import numpy as np

from d2l_utils import base, require, summary, weights
from d2l_utils.base import HyperParameters, Timer, add_to_class
from d2l_utils.board import ProgressBoard, plot, show_images
from d2l_utils.data import DataModule, images_to_float
from d2l_utils.data import FashionMNIST as _FashionMNIST
from d2l_utils.names import unknown_names
from d2l_utils.training import ClassifierMixin, ModuleMixin, Recorder
from d2l_utils.training import Trainer as _Trainer
from d2l_utils.weights import stored_path

try:
    import torch
    from torch import nn
    from torch.nn import functional as F
    from torch.nn.modules.lazy import LazyModuleMixin
    from torch.nn.parameter import UninitializedBuffer

    from d2l_utils.devices.torch import (
        cpu,
        gpu,
        memory_stats,
        num_gpus,
        reset_peak_memory,
        try_all_gpus,
        try_gpu,
    )  # fmt: skip
    from d2l_utils.layers.torch import device_of, evaluating, named_tensors, trace
    from d2l_utils.states import torch as states
except ImportError as error:
    raise base.missing_framework("PyTorch", "torch", error) from error

__all__ = [
    "Classifier", "DataModule", "FashionMNIST", "HyperParameters", "Module",
    "ProgressBoard", "Timer", "Trainer", "activations", "add_to_class", "cpu",
    "evaluate", "gpu", "init_cnn", "load_weights", "memory_stats", "num_gpus",
    "plot", "predict", "require", "reset_peak_memory", "resources",
    "run_facts", "save_weights", "set_seed", "show_images", "stored_path",
    "try_all_gpus", "try_gpu",
]  # fmt: skip
__getattr__ = unknown_names(__name__, __all__)

CHANNELS_LAST = False
PREDICT_BATCH = 256


def set_seed(seed):
    """Seed weights, dropout and the order of the data."""
    base.remember_seed(seed)
    torch.manual_seed(seed)


def init_cnn(module):
    """Glorot-uniform weights, zero biases (Glorot, Bengio 2010); for `apply`."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _unbuilt(model):
    return [
        m
        for m in model.modules()
        if isinstance(m, LazyModuleMixin) and m.has_uninitialized_params()
    ]


def _copy(model):
    """A copy of an unbuilt model, to try a size on."""
    shared = (getattr(model, "trainer", None), model.board)
    memo = {id(x): x for x in shared} | {
        id(b): UninitializedBuffer()  # cannot be copied
        for b in model.buffers()
        if isinstance(b, UninitializedBuffer)
    }
    return copy.deepcopy(model, memo)


def _build(model, X_shape):
    """Check that the model takes images of this shape, and give it weights."""
    lazy = _unbuilt(model)

    def attempt(shape):  # on a copy: a trial would fix the sizes of lazy layers
        trial = _copy(model) if lazy else model
        return [r.output_shape for r in trace(trial, shape)]

    name = type(model).__name__
    summary.check_size(name, X_shape, attempt, CHANNELS_LAST)
    if lazy:
        trace(model, X_shape)  # gives them PyTorch's own initial values
        for module in lazy:
            init_cnn(module)
    model._input_shape = tuple(X_shape[1:])


class Module(ModuleMixin, HyperParameters, nn.Module):
    """Base class of models (textbook, section 3.2)."""

    def __init__(self, plot_train_per_epoch=2, plot_valid_per_epoch=1):
        super().__init__()
        self.save_hyperparameters()
        self.board = ProgressBoard()

    def forward(self, X):
        return self.net(X)

    def configure_optimizers(self):
        """SGD with `self.lr` and, where the model has it, `self.momentum`."""
        momentum = getattr(self, "momentum", 0)
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=momentum)

    def apply_init(self, inputs, init=None):
        """Build lazy layers by a forward pass on `inputs`, then apply `init`."""
        _build(self, tuple(inputs[0].shape))
        if init is not None:
            self.net.apply(init)


class Classifier(ClassifierMixin, Module):
    """Base class of classifiers (textbook, section 4.3)."""

    def accuracy(self, Y_hat, Y, averaged=True):
        """Share of correct predictions, or one 0 or 1 per example."""
        Y_hat = Y_hat.reshape((-1, Y_hat.shape[-1]))
        compare = (Y_hat.argmax(dim=1) == Y.reshape(-1)).float()
        return compare.mean() if averaged else compare

    def loss(self, Y_hat, Y, averaged=True):
        """Cross-entropy of logits (n, classes) and labels (n,)."""
        Y_hat = Y_hat.reshape((-1, Y_hat.shape[-1]))
        if Y_hat.element_size() < 4:  # half precision is too coarse for the sum
            Y_hat = Y_hat.float()
        reduction = "mean" if averaged else "none"
        return F.cross_entropy(Y_hat, Y.reshape(-1).long(), reduction=reduction)

    def layer_summary(self, X_shape):
        """Print the output shape of every layer of `net` (textbook, 7.6)."""
        _build(self, X_shape)
        X = torch.zeros(X_shape, device=device_of(self))
        with evaluating(self):
            for layer in self.net:
                X = layer(X)
                print(layer.__class__.__name__, "output shape:\t", X.shape)


def _resized(X, matrices, device):
    """Stored bytes (n, h, w) as float32 (n, 1, h', w') in [0, 1] on the device."""
    X = torch.as_tensor(X, device=device).float().div_(255)
    if matrices is not None:
        R_h, R_w = (torch.tensor(R, device=device) for R in matrices)
        X = R_h @ X @ R_w.T
    return X.unsqueeze(1)


class FashionMNIST(_FashionMNIST):
    __doc__ = _FashionMNIST.__doc__

    def to_tensors(self, images, labels):
        X = _resized(images, self.resize_matrices(), cpu())
        return X, torch.as_tensor(labels).long()


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
            return base.cpu_text(torch.get_num_threads())
        return str(self.device)

    def bfloat16_is_faster(self):
        if self.device.type == "cuda":
            return torch.cuda.is_bf16_supported(including_emulation=False)
        return self.device.type == "cpu" and base.cpu_has_bfloat16()

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
        X = self.prepare_batch(self.first_batch())[0]
        if X.dim() == 4:
            _build(model, (1, *X.shape[1:]))
        # Convolutions are much faster on a CPU with channels innermost in memory.
        model.to(self.device, memory_format=torch.channels_last)

    def prepare_batch(self, batch):
        *inputs, y = batch
        y = torch.as_tensor(y, device=self.device)
        if self.stored_bytes:
            matrices = self.data.resize_matrices()
            inputs = [_resized(inputs[0], matrices, self.device)]
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


def evaluate(model, data):
    """{'loss', 'acc'}: means over the validation data, in evaluation mode."""
    device, values = device_of(model), Recorder()
    with evaluating(model):
        for X, y in data.val_dataloader():
            X, y = X.to(device), y.to(device)
            Y_hat = model(X)
            row = {"loss": model.loss(Y_hat, y), "acc": model.accuracy(Y_hat, y)}
            values.add(len(y), row)
    return values.means()


def _batches(model, X):
    """NumPy images (n, C, H, W), uint8 or float in [0, 1], as device batches."""
    summary.check_layout(X.shape, CHANNELS_LAST)
    _build(model, (1, *X.shape[1:]))
    for part in torch.as_tensor(images_to_float(X)).split(PREDICT_BATCH):
        yield part.to(device_of(model))


def predict(model, X):
    """Logits (n, classes) of NumPy images (n, C, H, W); NumPy out.

    X: uint8, or float in [0, 1]. Raises ValueError for another layout, or images
    too small for the model.
    """
    with evaluating(model):
        return torch.cat([model(x).cpu() for x in _batches(model, X)]).numpy()


def activations(model, X):
    """Outputs of every layer of `model.net` for NumPy images (n, C, H, W).

    A list of NumPy arrays, channels first.
    """
    outputs = [[] for _ in model.net]
    with evaluating(model):
        for x in _batches(model, X):
            for layer, collected in zip(model.net, outputs):
                x = layer(x)
                collected.append(x.cpu().numpy())
    return [np.concatenate(parts) for parts in outputs]


def resources(model, X_shape):
    """Parameters, MACs and memory of the model on a batch of shape X_shape.

    Returns `summary.Resources`; see `summary.count` for what is counted.
    """
    _build(model, X_shape)
    params = sum(p.numel() for p in model.parameters() if p.requires_grad)
    rows = trace(model, X_shape)
    return summary.count(rows, params, X_shape, summary.optimizer_slots(model))


def run_facts():
    """Print versions, processor, device, date and time since the import."""
    base.print_facts(["torch"], Trainer(1, num_gpus=1).device_text())


def save_weights(model, path, variables=None):
    """Save the weights for every framework (format: see `d2l_utils.weights`).

    `variables` is for JAX only. Raises ValueError if the model was never run.
    """
    weights.needs_no_variables(variables)
    shape = weights.known_shape(model)
    found = named_tensors(model, (1, *shape))
    weights.write(
        path,
        {k: v.detach().cpu().numpy() for k, v in found.items()},
        model=type(model).__name__,
        input_shape=shape,
        num_classes=model.num_classes,
    )


def load_weights(model, path, variables=None):
    """Load weights that `save_weights` of any framework wrote; returns the model.

    An unbuilt model is built. Raises WeightsError, with the model unchanged,
    where the file does not fit.
    """
    weights.needs_no_variables(variables)
    tensors, metadata = weights.read(path)
    models = [_copy(model), model] if _unbuilt(model) else [model]
    for net in models:  # a file that does not fit must not build the model
        shape = weights.build_for(
            net, metadata, lambda s, net=net: _build(net, (1, *s))
        )
        found = named_tensors(net, (1, *shape))
        expected = {k: tuple(v.shape) for k, v in found.items()}
        weights.check(tensors, metadata, expected, type(model).__name__)
    with torch.no_grad():
        for name, tensor in found.items():
            tensor.copy_(torch.from_numpy(tensors[name]))
    return model
