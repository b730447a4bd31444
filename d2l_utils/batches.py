"""What a batch holds, in any framework, and whether a network can be trained on it.

The library's own steps take batches (*inputs, labels). What a `training_step` of the
reader's own takes may be anything that holds arrays: a tensor, a dictionary, nested
tuples. Each framework's batches.py says how one array becomes a tensor.
"""

import math
import warnings

import numpy as np

from d2l_utils.figures import to_numpy
from d2l_utils.ownership import replaced

IMAGES = "uint8, 0 to 255, which are scaled to 0 to 1, or float32"


def dtype_name(x):
    """The name of an array's type, such as 'float32', in any framework."""
    name = getattr(x.dtype, "name", None) or getattr(x.dtype, "__name__", None)
    return name or str(x.dtype).removeprefix("torch.")


def map_arrays(function, batch):
    """The batch with function(x) in place of each array x in it.

    Numbers and lists of numbers are arrays; what else it holds stays as it is.
    """
    if isinstance(batch, dict):
        return {k: map_arrays(function, x) for k, x in batch.items()}
    if isinstance(batch, tuple | list) and _nested(batch):
        parts = [map_arrays(function, x) for x in batch]
        return batch._make(parts) if hasattr(batch, "_make") else tuple(parts)
    if not hasattr(batch, "shape"):
        try:
            x = np.asarray(batch)
        except ValueError:  # lists of different lengths
            return batch
        batch = x if x.dtype.kind in "biufc" else batch
    return function(batch) if hasattr(batch, "dtype") else batch


def _nested(x):
    """Whether a sequence holds arrays or text, and is not a table of numbers."""
    if isinstance(x, tuple | list):
        return any(map(_nested, x))
    return hasattr(x, "shape") or isinstance(x, dict | str) or x is None


def arrays_in(batch):
    """All arrays of a batch, in order."""
    found = []
    map_arrays(found.append, batch)
    return found


def num_examples(batch):
    """The number of examples in a batch: of rows, in most of its arrays.

    Where as many have another number of rows, those of the last one, the labels, count.
    """
    rows = [len(x) for x in reversed(arrays_in(batch)) if len(x.shape)]
    return max(rows, key=rows.count, default=1)


def part_of(batch, rank, size):
    """(the part of a batch of one of `size` devices, its share of the examples)

    Parts differ by one example at most. Where there are fewer examples than devices,
    some get the first one, with a share of 0.
    """
    n = num_examples(batch)
    first, last = (n * r // size for r in (rank, rank + 1))
    rows = slice(first, last) if last > first else slice(0, 1)

    def cut(x):
        return x[rows] if len(x.shape) and len(x) == n else x

    return map_arrays(cut, batch), (last - first) / n


def as_tensors(batch, tensor, images, labels=lambda y: y):
    """A batch in a framework's tensors.

    tensor(x) makes a tensor of each array; then images(x) is applied to inputs that are
    images in bytes, labels(y) to the last part of a tuple. A dictionary gets `tensor`
    alone: only its owner knows which of its parts are images.
    """
    batch = map_arrays(tensor, batch)

    def scaled(x):
        is_image = dtype_name(x) == "uint8" and len(x.shape) in (3, 4)
        return images(x) if is_image else x

    if isinstance(batch, tuple) and len(batch) > 1:
        *inputs, y = batch
        parts = [map_arrays(scaled, x) for x in inputs] + [map_arrays(labels, y)]
        return batch._make(parts) if hasattr(batch, "_make") else tuple(parts)
    return batch if isinstance(batch, dict) else map_arrays(scaled, batch)


def inputs_of(batch):
    """What a network may take of a batch, as a list: all but the labels."""
    if isinstance(batch, dict):
        return arrays_in(batch)
    return list(batch[:-1] or batch) if isinstance(batch, tuple | list) else [batch]


def check_data(data):
    """Raise TypeError, with advice, where `data` has no loaders."""
    if hasattr(data, "training_step"):
        raise TypeError("Model and data are in the wrong order: it is (model, data).")
    if isinstance(data, type):
        raise TypeError(
            f"{data.__name__} is a class: give an instance, {data.__name__}()."
        )
    if not hasattr(data, "train_dataloader") and not hasattr(data, "val_dataloader"):
        raise TypeError(
            f"A DataModule is needed as the data, not {type(data).__name__}. A class "
            "Data(d2l.DataModule) whose get_dataloader(self, train) returns your "
            "batches (X, y) is one: give Data()."
        )


# What the library's steps, and the loss of a Classifier, expect -----------------------


def judges_labels(model, train):
    """Whether a batch's labels go straight to the library's own loss."""
    step = "training_step" if train else "validation_step"
    return hasattr(model, "accuracy") and not replaced(model, step, "loss")


def judges_accuracy(model, Y_hat):
    """Whether a model has an accuracy of such outputs: of several, only its own."""
    own = replaced(model, "accuracy")
    return bool(own) or (hasattr(model, "accuracy") and hasattr(Y_hat, "shape"))


def own_forward(model):
    """Whether a reader's own code computes the outputs of a network."""
    return bool(replaced(model, *getattr(model, "_FORWARD", ("forward",))))


def check(batch, model, data, train):
    """Raise ValueError for a first batch that the library cannot train a model on.

    Checked is only what the library's own steps and loss need: a `training_step` or
    `loss` of the reader's own decides itself what it takes. A `forward` of the reader's
    own may take any inputs, so that what looks wrong in them is only warned of.
    """
    step = "training_step" if train else "validation_step"
    if replaced(model, step):
        return
    batch = map_arrays(lambda x: x, batch)
    name, loss = of_first(data, train), judges_labels(model, train)
    fault = _of_form(batch, step) or (loss and _of_labels(batch[-1]))
    if not fault and loss:
        fault = _of_inputs(batch[:-1], model)
        if fault and own_forward(model):
            warnings.warn(f"{name} {fault}", stacklevel=2)
            return
    if fault:
        raise ValueError(f"{name} {fault}")


def of_first(data, train):
    """The beginning of a sentence about a first batch."""
    part = "training" if train else "validation"
    return f"The first {part} batch of {type(data).__name__}"


def check_labels(batch, shape, data, train):
    """Raise ValueError for labels that do not fit what the network gives.

    shape: of its output for one example, (1, ..., classes).
    """
    *inputs, y = map_arrays(lambda x: x, batch)
    if shape[0] != 1:
        fault = (
            f"has inputs of shape {tuple(arrays_in(inputs)[0].shape)}, and the network "
            f"gives {shape[0]} rows for one of them: a batch of images has four axes."
        )
    else:
        fault = _of_labels(y, num_examples(inputs) * math.prod(shape[1:-1]), shape[-1])
    if fault:
        raise ValueError(f"{of_first(data, train)} {fault}")


def _of_form(batch, step):
    if not isinstance(batch, tuple) or len(batch) < 2:
        what = type(batch).__name__
        if isinstance(batch, dict):
            what = f"dictionary with {', '.join(map(repr, batch))}"
        elif isinstance(batch, tuple):
            what = f"tuple of {len(batch)}"
        return (
            f"is a {what}, but the {step} of the library takes (X, y), inputs and "
            f"labels. Give such batches, or define {step}(self, batch)."
        )
    if not num_examples(batch):
        return "is empty: leave out batches without examples."
    return ""


def _of_inputs(inputs, model):
    """What is wrong with the inputs of a Classifier; '' if nothing is."""
    weights = getattr(model, "parameters", tuple)()
    known = {dtype_name(p) for p in weights if hasattr(p, "dtype")}  # its own types
    for x in arrays_in(inputs):
        name, shape = dtype_name(x), tuple(x.shape)
        whole = "int" in name
        if name == "string" or (whole and name != "uint8" and len(shape) <= 2):
            continue  # words, or their indices
        if name == "uint8" and len(shape) <= 2:
            return (
                f"has inputs of uint8 and shape {shape}; bytes are images where they "
                "have a height and a width. Give these, or X.astype('float32') / 255."
            )
        if name not in ("uint8", "float32", "float64", *known):
            return (
                f"has inputs of {name} and shape {shape}; images are {IMAGES}: "
                "X.astype('float32'), divided by their largest value."
            )
        if name != "uint8":
            x = x.float() if hasattr(x, "float") else x  # NumPy has no bfloat16
            rows = np.isfinite(to_numpy(x)).reshape(shape[0], -1).all(axis=1)
            if not rows.all():
                return (
                    f"has inputs that are nan or infinite, in {(~rows).sum()} of "
                    f"{len(rows)} examples: a network cannot learn from these."
                )
    return ""


def _of_labels(y, n=None, classes=None):
    """What is wrong with labels; '' if nothing is.

    n: how many predictions the network makes; classes: how many classes it knows; both
    are None before the network has been run.
    """
    what = "class numbers, 0, 1, 2, ..."
    if not hasattr(y, "dtype"):
        return f"has labels of type {type(y).__name__}; the loss takes {what}"
    name, shape = dtype_name(y), tuple(y.shape)
    if not shape:
        return (
            "has a single number as labels: this is one example, not a batch. A "
            "DataLoader, or get_tensorloader, makes batches of examples."
        )
    if not ("int" in name or "float" in name or name.startswith("bool")):
        return f"has labels of {name}; the loss takes {what}"
    if classes and math.prod(shape) != n:
        hint = " One-hot labels become numbers by y.argmax(1)." * (shape[-1] == classes)
        return (
            f"has labels of shape {shape} for {n} predictions; the loss takes one "
            f"class number for each, shape ({n},).{hint}"
        )
    values = to_numpy(y)
    if "float" in name and not (values == np.floor(values)).all():
        return f"has labels of {name} with fractions; the loss takes {what}"
    low, high = int(values.min()), int(values.max())
    if not classes or 0 <= low <= high < classes:
        return ""
    cure = "Number the classes from 0, or give the network as many outputs as needed."
    if (low, high) == (1, classes):
        cure = "Subtract 1 from the labels."
    return (
        f"has labels from {low} to {high}, but the network has {classes} outputs, for "
        f"labels from 0 to {classes - 1}. {cure}"
    )
