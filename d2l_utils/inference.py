"""What is done with a network beside training it, written once for four frameworks.

Each framework does it in its own way: d2l_utils/<framework>/layers.py defines these
functions and constants, the hooks. A "row" is a `summary.Layer`; an "own name" is what
the framework calls a tensor:

    CHANNELS_LAST            whether its images are (n, h, w, c)
    HOLDS_WEIGHTS            whether a model holds its weights; in JAX it does not
    variables_of(model)      in JAX alone: the variables of the model's training, or
                             those it is bound to
    build(model, X_shape)    checks that the model takes such a batch; its weights exist
                             afterwards
    trace(model, X_shape)    rows, in order of execution
    trained(model, X_shape)  {own name: (as in `held` of rows, number of elements)} of
                             the trainable parameters
    evaluating(model)        context: evaluation mode, no gradients; undone afterwards
    scores(model, batch)     {'loss', 'acc'} of a batch of a loader, on the device
    logits(model, X)         NumPy out, for X (n, C, H, W) float32 in NumPy
    outputs(model, X)        of every layer of `model.net`, NumPy, channels first
    trial(model)             context: a model to try a weights file on; if that fails,
                             `model` is as it was before
    own_tensors(model, shape, variables)    {own name: tensor}: every parameter, and
                             every statistic that the framework knows of, of a model
                             built for images of `shape` (C, H, W)
    is_array(x)              whether a plain attribute may be a statistic of a reader's
    place(array)             what identifies the memory that holds its numbers
    common(row, own)         {name in a file, as 'weight': (tensor, layout)} of a row's
                             layer, with the layout of a `weights.Tensor`
    shape_and_dtype(tensor)  (shape, name of the dtype), either None where not known
    to_numpy(tensor)         a NumPy array
    set_tensors(model, shape, arrays, variables)    sets the tensors from {own name:
                             NumPy array}; returns the model, in JAX the variables
    set_plain(holder, key, array)           sets holder[key] from a NumPy array
"""

import contextlib
from importlib import import_module
from os import PathLike
from typing import Any

import numpy as np

from d2l_utils import failures, initial, summary, weights
from d2l_utils.base import fast_mode
from d2l_utils.batches import IMAGES, check_data, num_examples
from d2l_utils.data import FAST_IMAGES, images_to_float
from d2l_utils.figures import to_numpy
from d2l_utils.frameworks import FRAMEWORKS
from d2l_utils.ownership import replaced
from d2l_utils.progress import Records

PREDICT_BATCH = 256  # images that are computed at a time


def hooks_of(model):
    """The module with the hooks of a model's framework; TypeError if it has none."""
    for Class in type(model).__mro__:
        root = Class.__module__.partition(".")[0]
        for framework in FRAMEWORKS.values():
            if framework.base == root:
                return import_module(f"{framework.here}.layers")
    what = f"the class {model.__name__}" if isinstance(model, type) else repr(model)
    titles = ", ".join(f.title for f in FRAMEWORKS.values())
    raise TypeError(
        f"A network is needed ({titles}), an instance of its class, not {what}"
    )


def evaluate(model: Any, data: Any) -> dict[str, float]:
    """Loss and accuracy on the validation data, in evaluation mode.

    Parameters:
        model: a `Classifier`, or another `Module`, which has no accuracy.
        data: a `DataModule`, or whatever has a `val_dataloader()`. A `prepare_batch` of
            your own in the model's Trainer is called for each batch.

    Returns:
        {'loss', 'acc'}: the means over all examples, numbers. There is no 'acc' where
        a network gives several outputs, unless its `accuracy` is your own.

    Raises:
        TypeError: for what is no model, or no data; for batches of another form.
        ValueError: in JAX, for a model neither trained nor bound to variables.

    Example:
        >>> d2l.evaluate(model, data)["acc"]
    """
    hooks, records = hooks_of(model), Records()
    check_data(data)
    trainer = getattr(model, "trainer", None)
    own = trainer is not None and replaced(trainer, "prepare_batch")
    with hooks.evaluating(model):
        for batch in data.val_dataloader():
            batch = trainer.prepare_batch(batch) if own else batch
            if not isinstance(batch, tuple | list) or len(batch) < 2:
                raise TypeError(
                    "evaluate takes batches (*inputs, labels), and one of "
                    f"{type(data).__name__} is a {type(batch).__name__}. What a "
                    "validation_step of your own records of it is in trainer.history."
                )
            records.add(num_examples(batch), hooks.scores(model, batch))
    return records.means()


def predict(model: Any, X: np.ndarray) -> np.ndarray:
    """What the network says of images, in evaluation mode and float32.

    Parameters:
        model: a network.
        X: images (n, C, H, W), uint8, or float in [0, 1], in NumPy or as a loader of
            any framework gives them; also (n, H, W, C), where that can be told apart.

    Returns:
        Logits (n, classes), a NumPy array.

    Raises:
        TypeError: for what is no model.
        ValueError: for what are no such images, images too small for the model, or, in
            JAX, a model neither trained nor bound to variables.

    Example:
        >>> d2l.predict(model, data.val.images[:8, None]).argmax(axis=1)
    """
    hooks, X = hooks_of(model), _images(model, X)
    n = len(X)
    if fast_mode() and getattr(model, "trainer", None):  # it has hardly been trained
        X = X[:FAST_IMAGES]
    parts = [hooks.logits(model, x) for x in _batches(hooks, model, X)]
    logits = np.concatenate(parts)
    return np.resize(logits, (n, *logits.shape[1:]))  # in fast mode, repeated


def activations(model: Any, X: np.ndarray) -> list[np.ndarray]:
    """The outputs of every layer of `model.net` for images, in evaluation mode.

    Parameters:
        model: a network with an attribute `net`, a chain of layers.
        X: images, as for `predict`.

    Returns:
        A list of NumPy arrays, one a layer, channels first.

    Raises:
        TypeError, ValueError: as `predict`.

    Example:
        >>> d2l.activations(model, X)[-3].shape
    """
    hooks = hooks_of(model)
    parts = [hooks.outputs(model, x) for x in _batches(hooks, model, X)]
    return [np.concatenate(of_layer) for of_layer in zip(*parts)]


def _batches(hooks, model, X):
    """The images in float32, a few at a time, once the model can take them."""
    X = _images(model, X)
    _build(hooks, model, X.shape[1:])
    X = images_to_float(X)
    for i in range(0, len(X), PREDICT_BATCH):
        yield X[i : i + PREDICT_BATCH]


def _images(model, X):
    """The images in NumPy, channels first; ValueError where they are none."""
    if isinstance(X, tuple | list) and any(hasattr(x, "shape") for x in X):
        raise ValueError("Give the images, X alone, and not a whole batch (X, y).")
    X = to_numpy(X)
    if X.dtype != np.uint8 and X.dtype.kind != "f":
        raise ValueError(f"These images are {X.dtype}; images are {IMAGES}, 0 to 1.")
    if X.ndim == 4:
        _, a, b, c = X.shape
        known = getattr(model, "_input_shape", None)
        if known in ((a, b, c), (c, a, b)):
            last = known != (a, b, c)
        else:
            last = c in (1, 3) and a not in (1, 3)
        return np.moveaxis(X, -1, 1) if last else X
    summary.check_layout(X.shape, channels_last=False)  # raises: not four axes
    return X


def _build(hooks, model, shape):
    """Build the model for images of `shape` (C, H, W), unless it is built for them."""
    settle(model)
    c, h, w = shape
    if getattr(model, "_input_shape", None) != (c, h, w):
        hooks.build(model, (1, h, w, c) if hooks.CHANNELS_LAST else (1, c, h, w))


def resources(model: Any, X_shape: tuple) -> summary.Resources:
    """Parameters, multiply-accumulates (MACs) and memory of a network on a batch.

    Parameters:
        model: a network.
        X_shape: of the batch, in the framework's layout.

    Returns:
        `summary.Resources`, with `.params`, `.macs`, `.train_bytes`, `.predict_bytes`,
        `.rows`, and `.not_counted`, the names of layers whose MACs no formula gives;
        see `summary.count` for what is counted. Printed, it is a table.

    Raises:
        TypeError: for what is no model.
        ValueError: for images of another layout, or too small for the model.

    Example:
        >>> d2l.resources(model, (1, 1, 224, 224)).macs
    """
    hooks = hooks_of(model)
    with initial.draft(model):
        hooks.build(model, X_shape)
        rows, trained = hooks.trace(model, X_shape), hooks.trained(model, X_shape)
    params, slots = sum(n for _, n in trained.values()), summary.optimizer_slots(model)
    rows += summary.uncounted(rows, trained, type(model).__name__)
    return summary.count(rows, params, X_shape, slots)


def initialize(model, make, init, rule, each):
    """What `apply_init` does: make the weights, then apply an initializer.

    make(): builds the model; init: a function of a layer, or None; rule: where init is
    init_cnn or init_he, that of `initial.py`, else None; each(f): calls f with every
    layer.

    Draws that are overwritten are taken back, so that the weights are the same as in a
    framework that draws them once.
    """
    if rule is None:
        settle(model)
        with initial.draft(model) if init else contextlib.nullcontext():
            make()
        if init:
            each(init)
        settle(model)
        return
    with initial.aside():
        make()
    initial.drafted(model)
    done = redraw(model, rule) if model._input_shape else ()

    def rest(layer):  # which a pass in evaluation mode does not reach
        weight = getattr(layer, "weight", getattr(layer, "kernel", None))
        if id(weight) not in done:
            init(layer)

    each(rest)


def redraw(model, rule):
    """Weights by a rule of `initial.py`, in order of execution, and zero biases.

    Returns what identifies the tensors that were set.
    """
    hooks, shape, arrays, done = hooks_of(model), model._input_shape, {}, set()
    for name, x in named_tensors(model, shape)[0].items():
        layer, _, leaf = name.partition(".")
        size = hooks.shape_and_dtype(x.value)[0]
        if layer.rstrip("0123456789") in initial.KINDS and size is not None:
            arrays[x.own] = x.made(rule if leaf == "weight" else np.zeros, size)
            done.add(id(x.value))
    hooks.set_tensors(model, shape, arrays)
    return done


def settle(model):
    """Draw for good the weights that a summary made, unless they were changed since."""
    drafted = initial.drafted(model)
    if not drafted:
        return
    hooks, shape, arrays = hooks_of(model), model._input_shape, {}
    for x in named_tensors(model, shape)[0].values():
        size, dtype = hooks.shape_and_dtype(x.value)
        if size is None or "float" not in dtype:
            continue
        now = x.to_stored(hooks.to_numpy(x.value))
        for i, (drawn, draw) in enumerate(drafted):
            if now.shape == drawn.shape and (now == drawn.astype(now.dtype)).all():
                arrays[x.own] = x.from_stored(draw(), size)
                del drafted[i]
                break
    hooks.set_tensors(model, shape, arrays)


def named_tensors(model, shape, variables=None):
    """Every tensor of a model that is built for images of `shape` (C, H, W).

    Returns ({stored name: `weights.Tensor`}, {another stored name: the first one} of
    tensors that are used several times).
    """
    hooks = hooks_of(model)
    c, h, w = shape
    with hooks.evaluating(model):
        before = _attributes(hooks, model)
        try:
            size = (1, h, w, c) if hooks.CHANNELS_LAST else (1, c, h, w)
            rows = hooks.trace(model, size)
        except TypeError as error:
            raise weights.WeightsError(
                f"{type(model).__name__} cannot be called on images alone "
                f"({failures.in_one_line(error)}), and a weights file is for networks "
                "that can. Keep its weights by the means of its framework."
            ) from error
        own = hooks.own_tensors(model, shape, variables)
        own_names = {id(x): name for name, x in reversed(own.items())}
        found, again, first = {}, {}, {}
        for row in rows:
            for leaf, (x, layout) in hooks.common(row, own).items():
                name, key = f"{row.name}.{leaf}", id(x)
                if key in first:
                    again[name] = first[key]
                elif key in own_names:  # else it is computed from others
                    first[key] = name
                    found[name] = weights.Tensor(own_names[key], x, layout)
        prefix = hooks.__package__.rpartition(".")[2]
        for key, name in reversed(own_names.items()):
            if key not in first:
                found[f"{prefix}:{name}"] = weights.Tensor(name, own[name])
        # An array that the pass above replaced was computed from its input: it is no
        # statistic, and is left out.
        places = {hooks.place(x) for *_, x in before}
        for name, *holder, x in _attributes(hooks, model):
            if hooks.place(x) in places and id(x) not in own_names:
                stored_name = f"{prefix}:{name}{weights.ATTRIBUTE}"
                found[stored_name] = weights.Tensor(name, x, holder=holder)
    return found, again


def _attributes(hooks, model):
    """`weights.arrays_held` by a model and its layers."""
    state = import_module(f"{hooks.__package__}.state")
    parts = dict(state.parts(model))
    return weights.arrays_held(parts, hooks.is_array, state.own_names())


def stored(model, shape, variables=None):
    """{stored name: NumPy array} of all tensors of a model that have values."""
    hooks = hooks_of(model)
    if variables is None and not hooks.HOLDS_WEIGHTS:
        variables = hooks.variables_of(model)
    tensors = {}
    for name, x in named_tensors(model, shape, variables)[0].items():
        if hooks.shape_and_dtype(x.value)[0] is not None:
            try:
                tensors[name] = x.to_stored(hooks.to_numpy(x.value))
            except TypeError as error:
                raise weights.WeightsError(
                    f"{name} is not an array: {error}"
                ) from error
    return tensors


def save_weights(
    model: Any, path: str | PathLike, variables: dict | None = None
) -> None:
    """Save all weights and statistics in a file (see d2l_utils.weights).

    All four frameworks load it, if all layers are of kinds that these have in common.

    Parameters:
        model: a network that has seen an image.
        path: of the file.
        variables: in JAX, what to save; by default the variables of the model's
            training, or those it is bound to.

    Raises:
        ValueError: where the model has no weights yet.
        TypeError: for `variables` in a framework whose models hold their weights.
        weights.WeightsError: where one of the weights cannot be saved; then none is.

    Example:
        >>> d2l.save_weights(model, "nin.safetensors")
    """
    hooks = _hooks_for_weights(model, variables)
    settle(model)
    shape = weights.known_shape(model)
    tensors = stored(model, shape, variables)
    if not hooks.HOLDS_WEIGHTS:
        for name in named_tensors(model, shape)[0].keys() ^ tensors.keys():
            said = f"the model has {name}, which the variables lack"
            if name in tensors:
                said = f"the variables have {name}, which the model lacks"
            raise weights.WeightsError(f"Nothing is saved: {said}.")
    weights.write(
        path,
        tensors,
        model=type(model).__name__,
        input_shape=shape,
        num_classes=getattr(model, "num_classes", None),
        exact=True,
    )


def load_weights(
    model: Any, path: str | PathLike, variables: dict | None = None
) -> Any:
    """Load weights that `save_weights` of any of the four frameworks wrote.

    Parameters:
        model: a network, which is built if it is not yet.
        path: of the file.
        variables: in JAX, where to take from what the file does not have.

    Returns:
        The model; in JAX, where a model holds no weights, the variables, as in
        `model.bind(d2l.load_weights(model, path))`.

    Raises:
        TypeError: for `variables` in a framework whose models hold their weights.
        weights.WeightsError: where the file does not fit; the model is unchanged.

    Example:
        >>> model = d2l.load_weights(NiN28(), d2l.stored_path("nin28_56.seed1"))
    """
    hooks = _hooks_for_weights(model, variables)
    tensors, metadata = weights.read(path)
    with initial.aside():  # so that building the model draws nothing
        return _load(hooks, model, tensors, metadata, variables)


def _load(hooks, model, tensors, metadata, variables):
    with hooks.trial(model) as net:
        shape = weights.build_for(net, metadata, lambda s: _build(hooks, net, s))
        found, again = named_tensors(net, shape)
        if variables is not None:
            there = stored(net, shape, variables).items()
            tensors = {k: x for k, x in there if k in found} | tensors
        tensors = weights.without_repeats(tensors, again)
        expected = {}
        for name, x in found.items():
            size, dtype = hooks.shape_and_dtype(x.value)
            if size is not None:
                expected[name] = x.to_stored(np.empty(size, np.int8)).shape, dtype
            elif name in tensors:  # it has a shape only after training
                expected[name] = None, dtype
        framework = hooks.__package__.rpartition(".")[2]
        weights.check(tensors, metadata, expected, type(model).__name__, framework)
    _build(hooks, model, shape)
    arrays = {}
    for name, x in named_tensors(model, shape)[0].items():
        size = hooks.shape_and_dtype(x.value)[0]
        if name.endswith(weights.BATCHES):
            tensors.setdefault(name, np.zeros(size, np.int64))
        if name in tensors:
            size = tensors[name].shape if size is None else size
            array = x.from_stored(tensors[name], size)
            if x.holder:
                hooks.set_plain(*x.holder, array)
            else:
                arrays[x.own] = array
    return hooks.set_tensors(model, shape, arrays, variables)


def _hooks_for_weights(model, variables):
    hooks = hooks_of(model)
    if variables is not None and hooks.HOLDS_WEIGHTS:
        raise TypeError(
            "`variables` is for JAX, where models do not hold their weights: leave it "
            "out here."
        )
    return hooks
