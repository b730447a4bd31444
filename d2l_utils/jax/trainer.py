"""JAX: training steps, and stored images as arrays. Layout NHWC."""

import contextlib

import jax
from jax import numpy as jnp

from d2l_utils import host
from d2l_utils.jax import state as states
from d2l_utils.jax import variables as jax_states
from d2l_utils.jax.device import cpu, num_gpus, try_all_gpus
from d2l_utils.jax.fast import faster
from d2l_utils.jax.layers import clone
from d2l_utils.jax.variables import get_key
from d2l_utils.training import Trainer as _Trainer


@jax.jit
def resized(X, matrices):
    """Stored bytes (n, h, w) as float32 (n, h', w', 1) in [0, 1]."""
    X = X.astype(jnp.float32) / 255
    if matrices is not None:  # GPUs would round to TF32 by default
        X = jnp.einsum(
            "hi,nij,wj->nhw", matrices[0], X, matrices[1], precision="highest"
        )
    return X[..., None]


class Trainer(_Trainer):
    __doc__ = _Trainer.__doc__
    gpus_there = staticmethod(num_gpus)

    def find_device(self):
        self.gpus = try_all_gpus()[: self.num_gpus]
        self.device = self.gpus[0] if self.gpus else cpu()

    def device_text(self):
        return self.device.device_kind if self.keeps_data() else host.cpu_text()

    def fit(self, model, data, key=None):
        """Train the model on the data.

        It starts from a copy of the weights that the model is bound to or was
        trained to; else, or with a `key`, from fresh ones (default: `get_key()`).
        """
        self.prepare_data(data)
        self.prepare_model(model)
        self.optim = model.configure_optimizers()
        self.prepare_state(model, get_key() if key is None else key, key is None)
        self.prepare_steps(model)
        self.run_epochs()

    @property
    def state(self):
        """The TrainState; the model predicts with the newest one."""
        return self.model._fitted

    @state.setter
    def state(self, state):
        self.model._fitted = state

    def prepare_state(self, model, key, keep):
        """The first TrainState; with `keep`, of the weights that there are."""
        known = keep and (model.scope is not None or model._fitted is not None)
        params_key, dropout_key = jax.random.split(key)
        # A loop of the reader's own says itself when the model is in training.
        batch = self.first_batch()
        self.specs = jax.eval_shape(lambda: batch)
        inputs = jax.eval_shape(self.inputs, self.prepare_batch(batch))[:-1]
        variables = model.apply_init(inputs, params_key)
        if known:  # copied, since the steps take over the memory
            variables = jax.tree.map(jnp.copy, jax_states.variables_of(model))
        net = clone(model, False) if self.own_loop else model
        state = jax_states.make_state(net, variables, self.optim, dropout_key)
        self.state = jax.device_put(state, self.device)

    def prepare_steps(self, model):
        """The steps as functions of a state, compiled where they may be."""
        trained = clone(model, True)

        def train_step(state, batch):
            key = jax.random.fold_in(state.dropout_rng, state.step)
            now = state.replace(apply_fn=trained.apply, dropout_rng=key)
            (value, grads), recorded = self.recording(
                model.training_step, state.params, self.inputs(batch), now
            )
            if self.gradient_clip_val > 0:
                grads = self.clip_gradients(self.gradient_clip_val, grads)
            aux = value[1] if isinstance(value, tuple) else {}
            stats = aux.get("batch_stats", state.batch_stats)
            return state.apply_gradients(grads=grads, batch_stats=stats), recorded

        def val_step(state, batch):
            args = state.params, self.inputs(batch), state
            return self.recording(model.validation_step, *args)[1]

        self._train_step, self._val_step = train_step, val_step
        if not self.may_compile():
            return
        if self.device.platform == "cpu":
            train_step, val_step = faster(train_step), faster(val_step)
        steps = jax.jit(train_step, donate_argnums=0), jax.jit(val_step)
        # What cannot be traced runs as it is, and its errors come from there.
        with contextlib.suppress(Exception):
            for step in steps:
                step.eval_shape(self.state, self.specs)
            self._train_step, self._val_step = steps

    def keeps_data(self):
        return self.device.platform != "cpu"

    def state_tensors(self):
        return states.tensors_of(self.state)

    def restore(self, tensors):
        self.state = states.restored(self.state, tensors, self.device)

    def prepare_batch(self, batch):
        return jax.device_put(tuple(batch), self.device)

    def inputs(self, batch):
        """Within a compiled step: stored bytes become images (n, h, w, 1)."""
        X, *others = batch
        if X.dtype == jnp.uint8:
            X = resized(X, self.data.resize_matrices())
        return X, *others

    def train_step(self, batch):
        batch = self.prepare_batch(batch)
        self.state, recorded = self._train_step(self.state, batch)
        return recorded

    def val_step(self, batch):
        return self._val_step(self.state, self.prepare_batch(batch))

    def clip_gradients(self, grad_clip_val, grads):
        norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in jax.tree.leaves(grads)))
        scale = jnp.minimum(1, grad_clip_val / (norm + 1e-6))
        return jax.tree.map(lambda g: g * scale, grads)
