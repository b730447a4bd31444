"""Keras: the variables of a model and its optimizer, as NumPy arrays and back.

Those of a model include the states of its dropout layers' generators. Also the hooks
for what else training changes, which `attributes.py` lists at its top.
"""

from functools import partial

import tensorflow as tf
from tensorflow.python.eager.context import context
from tensorflow.python.ops import stateful_random_ops

from d2l_utils.ownership import is_of_a_library

GENERATORS, LATE = (tf.random.Generator,), False


def _variables(model, optim):
    slots = getattr(optim, "variables", ())  # none in an optimizer from scratch
    slots = (v for v in slots if v.name != "learning_rate")  # see `options`
    named = [(f"model.{i}", v) for i, v in enumerate(model.variables)]
    return named + [(f"optim.{i}", v) for i, v in enumerate(slots)]


def tensors_of(model, optim):
    """{name: NumPy array} of all that training changes."""
    return {name: v.numpy() for name, v in _variables(model, optim)}


def restore(model, optim, tensors):
    """Put back what `tensors_of` gave, in place."""
    for name, v in _variables(model, optim):
        v.assign(tensors[name])


def parts(model):
    return [(str(i) if i else "", x) for i, x in enumerate(model._flatten_layers())]


def is_constant(x):
    return hasattr(x, "dtype") and tf.is_tensor(x) and not isinstance(x, tf.Variable)


def constants(model):
    """{name: function that gives it} of tensors in attributes of a reader's layers,
    which are constants in a graph."""
    return {
        f"{part.name}.{key}": partial(vars(part).get, key)
        for _, part in parts(model)
        if not is_of_a_library(part)
        for key, x in vars(part).items()
        if is_constant(x)
    }


def untrained(model):
    """Names of trainable `tf.Variable`s in layers, which Keras does not train."""
    return [
        f"{part.name}.{key}"
        for _, part in parts(model)
        for key, x in vars(part).items()
        if not key.startswith("_")
        for v in tf.nest.flatten(x)
        if (isinstance(v, tf.Variable) and v.trainable)
        or (isinstance(v, tf.Module) and v.trainable_variables)
    ]


def own_names():
    keras = tf.keras
    return {*vars(keras.layers.Layer()), *vars(keras.Model()), "board", "trainer",
            "hparams", "training"}  # fmt: skip


def options(optim):
    if not isinstance(optim, tf.keras.optimizers.Optimizer):
        return [("", optim)]
    found = {k: x for k, x in optim.get_config().items() if type(x) is float}
    rate = optim._learning_rate  # a variable, or a schedule, which follows the step
    if hasattr(rate, "assign"):
        found["learning_rate"] = rate
    return [("", found)]


def extras(model):
    return []


def _is_variable(x):
    return isinstance(x, tf.Variable | tf.keras.Variable)


def _holds_variables(x):
    """Whether it is a layer beside the model, another optimizer, or a metric."""
    keras = tf.keras
    kinds = keras.layers.Layer, keras.optimizers.Optimizer, keras.metrics.Metric
    return isinstance(x, kinds)


def array_of(x):
    if _holds_variables(x):
        return {str(i): v.numpy() for i, v in enumerate(x.variables)}
    if isinstance(x, tf.random.Generator):
        return x.state.numpy()
    known = _is_variable(x) or (tf.is_tensor(x) and hasattr(x, "numpy"))
    if not known or x.dtype in (tf.resource, tf.variant):  # a handle, or within a graph
        return None
    return x.numpy()


def put(x, array):
    if _holds_variables(x):
        for v, value in zip(x.variables, array.values(), strict=True):
            v.assign(value)
        return x
    if isinstance(x, tf.random.Generator) or _is_variable(x):
        (x.state if isinstance(x, tf.random.Generator) else x).assign(array)
        return x
    return tf.constant(array)


def remember(model, optim, back):
    """A function that calls `back` and takes back changes of variables and draws."""
    variables = [*model.variables, *getattr(optim, "variables", ())]
    if stateful_random_ops.global_generator is not None:
        variables.append(stateful_random_ops.global_generator.state)
    before = [tf.identity(v) for v in variables]
    rng = getattr(context(), "_rng", None)  # seeds tf.random's operations
    drawn = rng and rng.getstate()

    def all_back():
        back()
        for v, value in zip(variables, before):
            v.assign(value)
        if rng:
            rng.setstate(drawn)

    return all_back
