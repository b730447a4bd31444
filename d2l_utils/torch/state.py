"""PyTorch: the tensors of a model and its optimizer, as NumPy arrays and back.

Also the hooks for what else training changes, which `attributes.py` lists at its top.
"""

import copy
from collections import Counter
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim.lr_scheduler import LRScheduler

from d2l_utils import attributes
from d2l_utils.attributes import Leaf
from d2l_utils.ownership import replaced

GENERATORS, LATE = (torch.Generator,), True
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _numpy(x):
    """A tensor in NumPy; as whole numbers where NumPy has no such type (bfloat16)."""
    x = x.detach().cpu()
    try:
        return x.numpy()
    except TypeError:
        return x.view(INTEGERS[x.element_size()]).numpy()


def _tensor(array, like):
    """The inverse of `_numpy`, `like` being a tensor of the same type."""
    x = torch.from_numpy(np.asarray(array))
    if x.dtype != like.dtype == torch.bfloat16 and x.dtype == torch.int16:
        x = x.view(like.dtype)
    return x


def _named(model):
    """{name: tensor} of all weights and statistics, those not persistent among them."""
    extra = "_extra_state"  # see `extras`
    found = {k: x for k, x in model.state_dict().items() if not k.endswith(extra)}
    return found | {k: x.detach() for k, x in model.named_buffers() if k not in found}


def tensors_of(model, optim):
    """{name: NumPy array} of all that training has changed so far."""
    found = {f"model.{name}": x for name, x in _named(model).items()}
    if hasattr(optim, "state_dict"):
        for i, slots in optim.state_dict()["state"].items():
            for slot, x in slots.items():
                if x is not None:
                    found[f"optim.{i}.{slot}"] = torch.as_tensor(x)
    return {name: _numpy(x) for name, x in found.items()}


def restore(model, optim, tensors):
    """Put back what `tensors_of` gave, in place.

    Raises ValueError or IndexError for what is no state of this optimizer.
    """
    for name, x in _named(model).items():
        x.copy_(_tensor(tensors[f"model.{name}"], x))
    if not hasattr(optim, "state_dict"):
        return
    params = [p for group in optim.param_groups for p in group["params"]]
    numbers = {int(k.split(".")[1]) for k in tensors if k.startswith("optim.")}
    if max(numbers, default=0) >= len(params) > 0:
        raise ValueError(
            f"its optimizer has at least {max(numbers) + 1} weights, and that of "
            f"configure_optimizers {len(params)}; give it there those, too, that are "
            "trained later"
        )
    state = {}
    for name, array in tensors.items():
        kind, i, *slot = name.split(".", 2)
        if kind != "optim":
            continue
        param = params[int(i)]
        x = _tensor(array, param)
        fits = len(x.shape) == len(param.shape) and all(
            a in (1, b) for a, b in zip(x.shape, param.shape)
        )
        if x.dim() and not fits:
            raise ValueError(
                f"{name} of shape {tuple(x.shape)} does not fit its parameter, of "
                f"shape {tuple(param.shape)}"
            )
        if x.shape == param.shape:  # in memory as the weights are
            x = torch.empty_like(param, dtype=x.dtype).copy_(x).detach()
        state.setdefault(int(i), {})[".".join(slot)] = x
    optim.load_state_dict({**optim.state_dict(), "state": state})


def parts(model):
    return list(model.named_modules())


def own_names():
    return {*vars(nn.Module()), "board", "trainer", "hparams"}


def options(optim):
    groups = getattr(optim, "param_groups", None)
    if groups is None:  # an optimizer from scratch
        return [("", optim)]
    found = [(f"groups.{i}", group) for i, group in enumerate(groups)]
    # Schedulers may be held by a model, a Trainer or a variable of a notebook.
    schedulers = [
        x
        for x in attributes.living(_and_subclasses(LRScheduler))
        if getattr(x, "optimizer", None) is optim
    ]
    named = [(f"scheduler.{type(x).__name__}", x) for x in schedulers]
    counts = Counter()
    for name, x in named:
        found.append((f"{name}.{counts[name]}", x))
        counts[name] += 1
    return found


def _and_subclasses(Class):
    return {Class}.union(*map(_and_subclasses, Class.__subclasses__()))


def extras(model):
    found = [
        Leaf(f"model.{name}.extra", m.get_extra_state(), m.set_extra_state, strict=True)
        for name, m in model.named_modules()
        if type(m).get_extra_state is not nn.Module.get_extra_state
    ]
    accumulates = replaced(model.trainer, "train_step", "fit_epoch")
    for name, p in model.named_parameters():
        found.append(
            Leaf(f"model.{name}.requires_grad", p.requires_grad, p.requires_grad_)
        )
        if accumulates:  # else each step begins with none
            found.append(Leaf(f"model.{name}.grad", p.grad, partial(_set_grad, p)))
    return found


def _set_grad(p, grad):
    p.grad = None if grad is None else grad.to(p.device).view(p.dtype)


def _options(optim):
    return [{k: v for k, v in g.items() if k != "params"} for g in optim.param_groups]


def is_constant(x):
    return False  # steps are not compiled


def array_of(x):
    if isinstance(x, nn.Module):  # that is no part of the model: a copy, say
        return tensors_of(x, None)
    if isinstance(x, torch.optim.Optimizer):  # another one
        return {"slots": tensors_of(nn.Module(), x), "options": _options(x)}
    if isinstance(x, torch.Generator):
        return x.get_state().numpy()
    return _numpy(x) if isinstance(x, torch.Tensor) else None


def put(x, array):
    if isinstance(x, nn.Module):
        restore(x, None, array)
        return x
    if isinstance(x, torch.optim.Optimizer):
        restore(nn.Module(), x, array["slots"])
        for group, options in zip(x.param_groups, array["options"], strict=True):
            group.update(options)
        return x
    if isinstance(x, torch.Generator):
        x.set_state(torch.from_numpy(array))
        return x
    if not isinstance(x, torch.Tensor):
        return torch.from_numpy(array.copy())
    new = _tensor(array.copy(), x).to(x.device)
    if x.requires_grad and x.is_leaf and x.shape == new.shape:  # an optimizer holds it
        x.detach().copy_(new)
        return x
    return new


def remember(model, optim, device, back):
    """A function that calls `back` and takes back changes of tensors and generators."""
    # Lazy weights that the step makes are not taken back.
    tensors = [x for x in (*model.parameters(), *model.buffers()) if not is_lazy(x)]
    before = [x.detach().clone() for x in tensors]
    grads = [None if x.grad is None else x.grad.clone() for x in tensors]
    slots = copy.deepcopy(optim.state_dict()) if hasattr(optim, "state_dict") else None
    gpu = torch.cuda if device.type == "cuda" else None
    drawn = torch.get_rng_state(), gpu and gpu.get_rng_state(device)

    def all_back():
        back()
        with torch.no_grad():
            for x, value, grad in zip(tensors, before, grads):
                x.copy_(value)
                x.grad = grad
        if slots is not None:
            optim.load_state_dict(slots)
        torch.set_rng_state(drawn[0])
        if gpu:
            gpu.set_rng_state(drawn[1], device)

    return all_back
