"""MXNet: the arrays of a model and its optimizer, as NumPy arrays and back.

Gluon's own file of optimizer states is a pickle; here its arrays are read from
the one updater that a Trainer on one device has. Parameters are numbered in the
model's order: Gluon's names, and the optimizer's order, which follows them, differ
from one instance of a model to the next. Also what else training changes, see
`attributes.py`.
"""

import numpy as onp
from mxnet import gluon, np
from mxnet import random as mx_random

from d2l_utils.mxnet.layers import parameters

GENERATORS, LATE = (), False  # MXNet has one generator, which cannot be read


def _slots(model, optim):
    """[(name, array)] of the optimizer, made where it has not stepped yet."""
    if not isinstance(optim, gluon.Trainer):  # from scratch
        return []
    updater, own = optim._updaters[0], {id(p): i for i, p in enumerate(optim._params)}
    found = []
    for number, param in enumerate(parameters(model)):
        if id(param) not in own:  # not trained
            continue
        i = own[id(param)]
        if i not in updater.states:
            state = updater.optimizer.create_state_multi_precision(i, param.data())
            updater.states[i], updater.states_synced[i] = state, True
        state = updater.states[i]
        state = state if isinstance(state, tuple | list) else [state]
        found += [
            (f"optim.{number}.{j}", x) for j, x in enumerate(state) if x is not None
        ]
    return found


def tensors_of(model, optim):
    """{name: NumPy array} of all that training changes."""
    found = [(f"model.{i}", p.data()) for i, p in enumerate(parameters(model))]
    found = {name: x.asnumpy() for name, x in found + _slots(model, optim)}
    if not isinstance(optim, gluon.Trainer):
        return found
    return found | {"optim.steps": onp.array(optim._updaters[0].optimizer.num_update)}


def restore(model, optim, tensors):
    """Put back what `tensors_of` gave, in place."""
    for i, param in enumerate(parameters(model)):
        param.set_data(np.array(tensors[f"model.{i}"]))
    for name, x in _slots(model, optim):
        x[:] = tensors[name]
    if not isinstance(optim, gluon.Trainer):
        return
    optimizer, steps = optim._updaters[0].optimizer, int(tensors["optim.steps"])
    optimizer.num_update = steps
    if steps:  # every parameter took part in every step
        optimizer._index_update_count.update(
            dict.fromkeys(range(len(optim._params)), steps)
        )


def parts(model):
    found = [("", model)]
    for key, child in model._children.items():
        found += [(f"{key}{n and '.'}{n}", x) for n, x in parts(child)]
    return found


def own_names():
    return {*vars(gluon.nn.HybridBlock()), "board", "trainer", "hparams"}


def options(optim):
    if not isinstance(optim, gluon.Trainer):
        return [("", optim)]
    scheduler = optim._optimizer.lr_scheduler
    found = [("", optim._optimizer)]
    return found + ([("scheduler", scheduler)] if scheduler is not None else [])


def extras(model):
    return []


def array_of(x):
    return x.asnumpy() if isinstance(x, np.ndarray) else None


def put(x, array):
    if not isinstance(x, np.ndarray):
        return np.array(array, dtype=array.dtype)
    if x.grad is not None and x.shape == array.shape:  # an optimizer has it
        x[:] = array
        return x
    return np.array(array, dtype=array.dtype, ctx=x.ctx)


def remember(model, seed, back):
    """A function that calls `back` and takes back changes of parameters and draws."""
    params = [p for p in parameters(model) if p._data is not None]
    arrays = [p.data() for p in params]
    arrays += [p.grad() for p in params if p.grad_req != "null"]
    before = [x.copy() for x in arrays]

    def all_back():
        back()
        for x, value in zip(arrays, before):
            x[:] = value
        mx_random.seed(seed)

    return all_back
