"""MXNet: the arrays of a model and its optimizer, as NumPy arrays and back.

Gluon's own file of optimizer states is a pickle; here the arrays are read from the
updaters of a Gluon Trainer, one for each device, all with the same values. Parameters
are numbered in the model's order: Gluon's names, and the optimizer's order, which
follows them, differ from one instance of a model to the next. Also the hooks for what
else training changes, which `attributes.py` lists at its top.
"""

import numpy as onp
from mxnet import gluon, np
from mxnet import random as mx_random

from d2l_utils.mxnet.layers import parameters, value_of

GENERATORS, LATE = (), False  # MXNet has one generator, which cannot be read


def _parameters(x):
    """All parameters of a block, or those that a Gluon Trainer updates."""
    return x._params if isinstance(x, gluon.Trainer) else parameters(x)


def _slots(model, optim):
    """[(name, [array of each device])] of the optimizer; made here if not there yet."""
    if not isinstance(optim, gluon.Trainer):  # from scratch
        return []
    own, found = {id(p): i for i, p in enumerate(optim._params)}, []
    for number, param in enumerate(_parameters(model)):
        if id(param) not in own:  # not trained
            continue
        i, states = own[id(param)], []
        for updater, value in zip(optim._updaters, param.list_data()):
            if i not in updater.states:
                state = updater.optimizer.create_state_multi_precision(i, value)
                updater.states[i], updater.states_synced[i] = state, True
            state = updater.states[i]
            states.append(state if isinstance(state, tuple | list) else [state])
        found += [
            (f"optim.{number}.{j}", arrays)
            for j, arrays in enumerate(zip(*states))
            if arrays[0] is not None
        ]
    return found


def tensors_of(model, optim):
    """{name: NumPy array} of all that training changes."""
    found = {f"model.{i}": value_of(p) for i, p in enumerate(_parameters(model))}
    found |= {name: arrays[0] for name, arrays in _slots(model, optim)}
    found = {name: x.asnumpy() for name, x in found.items()}
    if not isinstance(optim, gluon.Trainer):
        return found
    optimizer, counts = optim._updaters[0].optimizer, _numbers(model, optim)
    counts = [optimizer._index_update_count.get(i, 0) for i in counts]
    found["optim.counts"] = onp.array(counts, dtype="int64")
    return found | {"optim.steps": onp.array(optimizer.num_update)}


def _numbers(model, optim):
    """The optimizer's numbers of the parameters that it trains, in order."""
    own = {id(p): i for i, p in enumerate(optim._params)}
    return [own[id(p)] for p in _parameters(model) if id(p) in own]


def restore(model, optim, tensors):
    """Put back what `tensors_of` gave, in place."""
    for i, param in enumerate(_parameters(model)):
        param.set_data(np.array(tensors[f"model.{i}"]))
    for name, arrays in _slots(model, optim):
        for x in arrays:
            x[:] = tensors[name]
    if not isinstance(optim, gluon.Trainer):
        return
    optimizer = optim._updaters[0].optimizer  # all updaters share it
    optimizer.num_update = int(tensors["optim.steps"])
    for device in optim._contexts:
        optimizer._set_current_context(device.device_id)
        for i, count in zip(_numbers(model, optim), tensors["optim.counts"].tolist()):
            if count:  # else it has not taken part in a step
                optimizer._index_update_count[i] = count


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


def is_constant(x):
    return isinstance(x, np.ndarray)


def array_of(x):
    if isinstance(x, gluon.Block):  # that is no part of the model: a copy, say
        return tensors_of(x, None)
    if isinstance(x, gluon.Trainer):  # another one
        rate = {} if x.optimizer.lr_scheduler else {"rate": onp.array(x.learning_rate)}
        return tensors_of(x, x) | rate
    return x.asnumpy() if isinstance(x, np.ndarray) else None


def put(x, array):
    if isinstance(x, gluon.Block):
        restore(x, None, array)
        return x
    if isinstance(x, gluon.Trainer):
        restore(x, x, array)
        if "rate" in array:
            x.set_learning_rate(float(array["rate"]))
        return x
    if not isinstance(x, np.ndarray):
        return np.array(array, dtype=array.dtype)
    if x.grad is not None and x.shape == array.shape:  # an optimizer holds it
        x[:] = array
        return x
    return np.array(array, dtype=array.dtype, ctx=x.ctx)


def remember(model, seed, back):
    """A function that calls `back` and takes back changes of parameters and draws.

    seed: what MXNet's generator was seeded with just now.
    """
    params = [p for p in parameters(model) if p._data is not None]
    arrays = [x for p in params for x in p.list_data()]
    arrays += [x for p in params if p.grad_req != "null" for x in p.list_grad()]
    before = [x.copy() for x in arrays]

    def all_back():
        back()
        for x, value in zip(arrays, before):
            x[:] = value
        mx_random.seed(seed)

    return all_back
