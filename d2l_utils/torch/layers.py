"""PyTorch: the layers of a model in order of execution, and their tensors."""

import contextlib

import torch
from torch import nn

from d2l_utils import summary

KINDS = {
    nn.Linear: "dense",
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), "conv"),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d), "bn"),
    **dict.fromkeys(
        (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
        "pool",
    ),
}


@contextlib.contextmanager
def evaluating(model):
    """Evaluation mode without gradients; the mode is restored afterwards."""
    modes = {m: m.training for m in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def device_of(model):
    """The device of the model's parameters."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def trace(model, X_shape):
    """Rows of `summary.Layer` in the order in which a batch passes them."""
    rows, name = [], summary.Namer()

    def row(module, args, output):
        kind = next(k for cls, k in KINDS.items() if isinstance(module, cls))
        trained = [p for p in module.parameters() if p.requires_grad]
        weight = getattr(module, "weight", None)
        rows.append(
            summary.Layer(
                name=name(kind),
                kind=kind,
                input_shape=tuple(args[0].shape),
                output_shape=tuple(output.shape),
                params=sum(p.numel() for p in trained),
                weight_size=0 if weight is None else weight.numel(),
                ref=module,
            )
        )

    hooks = [
        m.register_forward_hook(row)
        for m in model.modules()
        if isinstance(m, tuple(KINDS))
    ]
    try:
        with evaluating(model):
            model(torch.zeros(X_shape, device=device_of(model)))
    finally:
        for hook in hooks:
            hook.remove()
    return rows


def named_tensors(model, X_shape):
    """{stored name: parameter or buffer} in order of execution."""
    found = {}
    for row in trace(model, X_shape):
        stats = {"mean": "running_mean", "var": "running_var"}
        for name, attr in {"weight": "weight", "bias": "bias", **stats}.items():
            tensor = getattr(row.ref, attr, None)
            if tensor is not None:
                found.setdefault(f"{row.name}.{name}", tensor)
    return found
