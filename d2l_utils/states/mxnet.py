"""MXNet: the arrays of a model and its optimizer, as NumPy arrays and back.

Gluon's own file of optimizer states is a pickle; here its arrays are read from
the one updater that a Trainer on one device has.
"""

import numpy as onp
from mxnet import np


def _slots(optim):
    """[(name, array)] of the optimizer, made where it has not stepped yet."""
    updater = optim._updaters[0]
    found = []
    for i, param in enumerate(optim._params):
        if i not in updater.states:
            state = updater.optimizer.create_state_multi_precision(i, param.data())
            updater.states[i], updater.states_synced[i] = state, True
        state = updater.states[i]
        state = state if isinstance(state, tuple | list) else [state]
        found += [(f"optim.{i}.{j}", x) for j, x in enumerate(state) if x is not None]
    return found


def tensors_of(model, optim):
    """{name: NumPy array} of all that training changes."""
    found = {f"model.{k}": p.data() for k, p in model.collect_params().items()}
    found = {k: x.asnumpy() for k, x in (*found.items(), *_slots(optim))}
    counts = optim._updaters[0].optimizer._index_update_count
    steps = [counts.get(i, 0) for i in range(len(optim._params))]
    return found | {"optim.steps": onp.array(steps, "int64")}


def restore(model, optim, tensors):
    """Put back what `tensors_of` gave, in place."""
    for name, param in model.collect_params().items():
        param.set_data(np.array(tensors[f"model.{name}"]))
    for name, x in _slots(optim):
        x[:] = np.array(tensors[name], ctx=x.ctx)
    optimizer, steps = optim._updaters[0].optimizer, tensors["optim.steps"].tolist()
    optimizer._index_update_count.update(
        {i: n for i, n in enumerate(steps) if n}  # it counts from its begin_num_update
    )
    optimizer.num_update = max(steps, default=0)
