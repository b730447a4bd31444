"""PyTorch: the tensors of a model and its optimizer, as NumPy arrays and back."""

import torch


def tensors_of(model, optim):
    """{name: NumPy array} of all that training has changed so far."""
    found = {f"model.{name}": x for name, x in model.state_dict().items()}
    for i, slots in optim.state_dict()["state"].items():
        for slot, x in slots.items():
            if x is not None:
                found[f"optim.{i}.{slot}"] = torch.as_tensor(x)
    return {name: x.detach().cpu().numpy() for name, x in found.items()}


def restore(model, optim, tensors):
    """Put back what `tensors_of` gave, in place."""
    for name, x in model.state_dict().items():
        x.copy_(torch.from_numpy(tensors[f"model.{name}"]))
    params = [p for group in optim.param_groups for p in group["params"]]
    state = {}
    for name, array in tensors.items():
        kind, i, slot = name.split(".", 2)
        if kind == "optim":
            x, param = torch.from_numpy(array), params[int(i)]
            if x.shape == param.shape:  # in memory as the weights are
                x = torch.empty_like(param, dtype=x.dtype).copy_(x).detach()
            state.setdefault(int(i), {})[slot] = x
    optim.load_state_dict({**optim.state_dict(), "state": state})
