"""Keras: the variables of a model and its optimizer, as NumPy arrays and back.

Those of a model include the states of its dropout layers' generators.
"""


def _variables(model, optim):
    slots = (v for v in optim.variables if v.name != "learning_rate")
    named = [(f"model.{i}", v) for i, v in enumerate(model.variables)]
    return named + [(f"optim.{i}", v) for i, v in enumerate(slots)]


def tensors_of(model, optim):
    """{name: NumPy array} of all that training changes."""
    return {name: v.numpy() for name, v in _variables(model, optim)}


def restore(model, optim, tensors):
    """Put back what `tensors_of` gave, in place."""
    for name, v in _variables(model, optim):
        v.assign(tensors[name])
