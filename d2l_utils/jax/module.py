"""JAX: base classes of models, the data in arrays, the seed. Layout NHWC."""

from dataclasses import field
from functools import partial
from typing import Any

import jax
import optax
from flax import linen as nn
from jax import numpy as jnp

from d2l_utils import base, initial
from d2l_utils.base import HyperParameters
from d2l_utils.board import ProgressBoard
from d2l_utils.data import FashionMNIST as _FashionMNIST
from d2l_utils.jax.batches import to_images
from d2l_utils.jax.layers import (
    CHANNELS_LAST,
    build,
    clone,
    init_eagerly,
    layer_name,
    make_variables,
    shapes_of,
    traced,
)  # fmt: skip
from d2l_utils.jax.variables import Kept, restart_keys, variables_of
from d2l_utils.modules import ModuleMixin
from d2l_utils.ownership import library, replaced


def set_seed(seed: int) -> None:
    """Seed weights, dropout and the order of the data.

    Parameters:
        seed: a whole number.

    Example:
        >>> d2l.set_seed(1)
    """
    base.remember_seed(seed)
    initial.start(seed)
    restart_keys()


@library
class Module(ModuleMixin, HyperParameters, nn.Module):
    """Base class of models, which are `flax.linen` modules (textbook, section 3.2).

    Its fields are its hyperparameters; a subclass makes `self.net` in `setup` and
    defines `loss(params, X, Y, state)`. It may define `forward`, `training_step`,
    `configure_optimizers` and more. If it has a field `training: bool = False`, the
    Trainer trains a copy of the model in which that is True.

    Example:
        >>> class Linear(d2l.Module):
        ...     lr: float = 0.1
        ...     def setup(self):
        ...         self.net = nn.Dense(1)
        ...     def loss(self, params, X, Y, state):
        ...         y_hat = state.apply_fn({"params": params}, *X)
        ...         return ((y_hat - Y) ** 2).mean()
    """

    plot_train_per_epoch: int = field(default=2, init=False)
    plot_valid_per_epoch: int = field(default=1, init=False)
    board: ProgressBoard = field(
        default_factory=ProgressBoard, init=False, repr=False, compare=False
    )

    _FORWARD = ("__call__", "forward")
    _fitted = None  # the TrainState of this model's training
    _compiled = None  # functions of the network, see layers.py

    @nn.nowrap
    def __setattr__(self, name, value):
        # Flax modules are frozen, but these are notes about one, no part of it.
        notes = ("trainer", "_input_shape", "_fitted", "_compiled")
        if name in notes or name.startswith("plot_"):
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    _CHANNELS_LAST = CHANNELS_LAST

    def __getstate__(self):
        state = super().__getstate__() | {"_compiled": None}
        if self._fitted is not None:  # optimizers cannot be pickled
            state |= {"_fitted": Kept(**variables_of(self))}
        return state

    @nn.nowrap
    def init(self, rngs, *args, **kwargs):
        init = partial(super().init, rngs, *args, **kwargs)
        if traced(rngs):
            variables = init()
        else:
            variables = init_eagerly(self, init, *(() if kwargs else args))
        self._note_input(args)
        return variables

    @nn.nowrap
    def apply(self, variables, *args, **kwargs):
        output = super().apply(variables, *args, **kwargs)
        if "method" not in kwargs:
            self._note_input(args)
        return output

    @nn.nowrap
    def bind(self, variables, *args, **kwargs):
        bound = super().bind(variables, *args, **kwargs)
        bound._input_shape = self._input_shape
        return bound

    def forward(self, X, *args, **kwargs):
        return self.net(X, *args, **kwargs)

    def __call__(self, X, *args, **kwargs):
        self._note_input((X,))
        return self.forward(X, *args, **kwargs)

    def loss(
        self, params: Any, X: tuple, Y: jax.Array, state: Any, averaged: bool = True
    ) -> Any:
        """The loss of a batch, which a subclass defines.

        Parameters:
            params: of the network.
            X: a tuple of inputs.
            Y: the labels.
            state: a TrainState: `state.apply_fn({"params": params}, *X)` is what the
                network gives.
            averaged: False gives a number for each example instead of their mean.

        Returns:
            The loss.
        """
        message = f"{type(self).__name__} must define loss(params, X, Y, state)."
        raise NotImplementedError(message)

    def training_step(self, params: Any, batch: tuple, state: Any) -> tuple:
        """The loss of a batch, which is recorded, and its gradients.

        Parameters:
            params: of the network.
            batch: (*inputs, labels).
            state: a TrainState.

        Returns:
            (loss, gradients), as `jax.value_and_grad` gives them.
        """
        *X, Y = batch
        l, grads = jax.value_and_grad(self.loss)(params, tuple(X), Y, state)
        self.plot("loss", l, train=True)
        return l, grads

    def validation_step(self, params: Any, batch: tuple, state: Any) -> None:
        """Record the loss of a validation batch.

        Parameters:
            params, batch, state: as in `training_step`.
        """
        *X, Y = batch
        self.plot("loss", self.loss(params, tuple(X), Y, state), train=False)

    def configure_optimizers(self):
        return optax.sgd(self.lr, getattr(self, "momentum", 0) or None)

    def apply_init(self, dummy_input: tuple, key: jax.Array) -> dict:
        """Fresh variables of the network.

        Parameters:
            dummy_input: a tuple of inputs, or a batch, whose labels (n,) are left
                out; only shapes and dtypes matter.
            key: a PRNG key.

        Returns:
            {'params': ..., 'batch_stats': ... if there are any}.

        Raises:
            ValueError: for images of another layout, or too small for the model.
        """
        *inputs, last = dummy_input
        if not inputs or len(last.shape) > 1:
            inputs.append(last)
        inputs = [jnp.zeros((1, *x.shape[1:]), x.dtype) for x in inputs]
        if len(inputs) == 1 and inputs[0].ndim == 4:
            build(self, inputs[0].shape)
        else:
            self._note_input(inputs)
        return make_variables(self, key, *inputs)


def _with_output(state, Y_hat):
    """The state with an apply_fn that returns Y_hat: the pass was made already."""
    return state.replace(apply_fn=lambda *args, **kwargs: Y_hat)


@library
class Classifier(Module):
    """Base class of classifiers (textbook, section 4.3).

    Its loss is the cross-entropy of logits; it records accuracy, too.

    Example:
        >>> class Softmax(d2l.Classifier):
        ...     lr: float = 0.1
        ...     num_classes: int = 10
        ...     def setup(self):
        ...         self.net = nn.Sequential(
        ...             [lambda X: X.reshape((len(X), -1)), nn.Dense(self.num_classes)]
        ...         )
    """

    def loss(
        self, params: Any, X: tuple, Y: jax.Array, state: Any, averaged: bool = True
    ) -> tuple:
        """The cross-entropy of what the network gives and labels.

        Parameters:
            params, X, state, averaged: as in `Module`.
            Y: labels (n,).

        Returns:
            (cross-entropy, aux); aux has 'Y_hat', logits (n, classes), and the updated
            'batch_stats' if there are any.
        """
        variables = {"params": params, "batch_stats": state.batch_stats}
        rngs = {"dropout": state.dropout_rng}
        Y_hat, aux = state.apply_fn(variables, *X, mutable=["batch_stats"], rngs=rngs)
        logits = Y_hat.reshape((-1, Y_hat.shape[-1]))
        Y = Y.reshape(-1).astype(jnp.int32)
        l = optax.softmax_cross_entropy_with_integer_labels(logits, Y)
        return l.mean() if averaged else l, {**aux, "Y_hat": Y_hat}

    def accuracy(
        self, params: Any, X: tuple, Y: jax.Array, state: Any, averaged: bool = True
    ) -> jax.Array:
        """The share of correct predictions.

        Parameters:
            params, X, Y, state: as in `loss`.
            averaged: False gives a 0 or 1 for each example instead.

        Returns:
            A number on the device, or, without `averaged`, (n,).
        """
        variables = {"params": params, "batch_stats": state.batch_stats}
        Y_hat = state.apply_fn(variables, *X)
        Y_hat = Y_hat.reshape((-1, Y_hat.shape[-1]))
        compare = (Y_hat.argmax(axis=1) == Y.reshape(-1)).astype(jnp.float32)
        return compare.mean() if averaged else compare

    def training_step(self, params: Any, batch: tuple, state: Any) -> tuple:
        """The loss of a batch and its gradients; loss and accuracy are recorded.

        Parameters:
            params, batch, state: as in `Module`.

        Returns:
            ((loss, aux), gradients), with the `aux` of `loss`.
        """
        *X, Y = batch
        loss = jax.value_and_grad(self._loss_and_aux, has_aux=True)
        value, grads = loss(params, tuple(X), Y, state)
        self.plot("loss", value[0], train=True)
        if "Y_hat" in value[1]:  # else a second forward pass would be needed
            self._plot_accuracy(params, X, Y, state, value[1], train=True)
        return value, grads

    def validation_step(self, params: Any, batch: tuple, state: Any) -> None:
        """Record loss and accuracy of a validation batch.

        Parameters:
            params, batch, state: as in `Module`.
        """
        *X, Y = batch
        l, aux = self._loss_and_aux(params, tuple(X), Y, state)
        self.plot("loss", l, train=False)
        self._plot_accuracy(params, X, Y, state, aux, train=False)

    def _loss_and_aux(self, *args):
        value = self.loss(*args)
        if not isinstance(value, tuple) or len(value) != 2:
            what = "n array" if hasattr(value, "shape") else f" {type(value).__name__}"
            raise TypeError(
                f"The loss of {type(self).__name__} returned a{what}. That of a "
                "Classifier returns (loss, aux), with a dictionary that may hold "
                "'Y_hat', what the network gives, and the updated 'batch_stats'."
            )
        return value

    def _plot_accuracy(self, params, X, Y, state, aux, train):
        """Record accuracy; of several outputs, where `accuracy` is the reader's own."""
        if "Y_hat" in aux:
            if not (hasattr(aux["Y_hat"], "shape") or replaced(self, "accuracy")):
                return
            state = _with_output(state, aux["Y_hat"])
        self.plot("acc", self.accuracy(params, tuple(X), Y, state), train=train)

    def layer_summary(self, X_shape: tuple, key: jax.Array | None = None) -> None:
        """Print the output shape of every layer of `net` (textbook, section 7.6).

        Parameters:
            X_shape: of a batch of images (n, h, w, c).
            key: taken as in the textbook, but shapes do not depend on it.

        Raises:
            ValueError: for another layout, or images too small for the model.
        """
        build(self, X_shape)

        def show(net, X):
            for layer in net.net.layers:
                X = layer(X)
                print(layer_name(layer), "output shape:\t", X.shape)

        net, X = clone(self, training=False), jnp.zeros(X_shape)
        jax.eval_shape(partial(net.apply, method=show), shapes_of(self, X_shape), X)


@library
class FashionMNIST(_FashionMNIST):
    __doc__ = _FashionMNIST.__doc__

    def to_tensors(self, images, labels):
        X = to_images(images, self.resize_matrices())
        return X.block_until_ready(), jnp.asarray(labels)  # else batches pile up
