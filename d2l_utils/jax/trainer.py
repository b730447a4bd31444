"""JAX: training steps. Layout NHWC."""

import warnings
from functools import partial
from types import MethodType
from typing import Any

import jax
import numpy as np
from flax.errors import ModifyScopeVariableError, ScopeCollectionNotFound
from jax import numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from d2l_utils import base, failures, host
from d2l_utils.alike import description, lost
from d2l_utils.batches import arrays_in, inputs_of, map_arrays, num_examples
from d2l_utils.frameworks import FRAMEWORKS
from d2l_utils.jax import processes, state
from d2l_utils.jax.batches import as_array, to_arrays
from d2l_utils.jax.device import cpu, for_training, is_lost
from d2l_utils.jax.fast import faster
from d2l_utils.jax.layers import build, clone, mode, output_of
from d2l_utils.jax.variables import get_key, make_state, restart_keys, variables_of
from d2l_utils.ownership import library, replaced
from d2l_utils.training import Trainer as _Trainer

# Not jax.stages.Wrapped: what belongs to that protocol depends on Python's version.
_JITTED = type(jax.jit(lambda: None))
LOST = ModifyScopeVariableError, ScopeCollectionNotFound  # of collections, see `fit`
WITHIN = ("fit_epoch", "prepare_batch", "train_step", "val_step", "end_epoch",
          "save_checkpoint", "batches")  # fmt: skip


def _jitted(function):
    """The function of jax.jit within a method; None if there is none."""
    # A method looks as if it had its function's attributes.
    function = getattr(function, "__func__", function)
    while not isinstance(function, _JITTED):
        if not hasattr(function, "__wrapped__"):  # which Flax's decorators set
            return None
        function = function.__wrapped__
    return function


def _written(model, name):
    """A step of the model; where its author wrote @jax.jit, the plain function.

    What `plot` records could not leave a graph of the step's own.
    """
    step = getattr(model, name)
    jitted = _jitted(step)
    return step if jitted is None else MethodType(jitted.__wrapped__, model)


@library
class Trainer(_Trainer):
    __doc__ = _Trainer.__doc__
    _framework = FRAMEWORKS["jax"]
    _STEP_GIVES = "(loss, gradients), as jax.value_and_grad gives them"
    _how_to_compile = "@functools.partial(jax.jit, static_argnums=0)"
    _gpus_there = staticmethod(lambda: len(for_training()))
    _state_hooks = state
    _key = None  # that fresh weights come from
    _given = False  # whether a reader has set `state`
    _whole = _parts = None  # where arrays lie, see `_find_device`
    _signature = None  # what the batches of this training are like
    _train_step = _val_step = None  # compiled, if so planned

    def _remember(self):
        return lambda: None  # there is nothing to take back, all steps are in float32

    def _may_compile(self, function):
        return _jitted(function) is not None

    def _find_device(self):
        """The device, or the first of several.

        What lies in `_whole` has a copy on each of them, what lies in `_parts` is cut
        along its first axis; XLA does the rest.
        """
        if processes.several():
            self._writes = jax.process_index() == 0
            self.gpus = processes.devices(self.num_gpus)
        else:
            self.gpus = vars(self).get("gpus", for_training()[: self.num_gpus])
        devices = self.gpus or [cpu()]
        self._whole = self._parts = devices[0]
        if len(devices) > 1:
            mesh = Mesh(np.array(devices), ("batch",))
            self._whole = NamedSharding(mesh, PartitionSpec())
            self._parts = NamedSharding(mesh, PartitionSpec("batch"))
        return processes.own(devices) if processes.several() else devices[0]

    def _on(self, tree, where):
        """Arrays on the devices, by one of the shardings `_whole` and `_parts`."""
        put = processes.put if processes.several() else jax.device_put
        return put(tree, where)

    def _run_epochs(self):
        if not processes.several():
            super()._run_epochs()
            return
        try:
            super()._run_epochs()
        except jax.errors.JaxRuntimeError as error:
            if not is_lost(error):
                raise
            raise lost(jax.process_index(), self.checkpoint) from error
        self.model._fitted = processes.local(self.state)

    def device_text(self):
        on_gpu = self.device.platform != "cpu"
        text = self.device.device_kind if on_gpu else host.cpu_text()
        return f"{len(self.gpus)} devices, {text}" if len(self.gpus) > 1 else text

    def fit(self, model: Any, data: Any, key: jax.Array | None = None) -> None:
        """Train the model on the data.

        Parameters:
            model: a `Module`.
            data: a `DataModule`, or whatever has its two loaders.
            key: where fresh weights come from. Without it training starts from a copy
                of the weights that the model is bound to or was trained to; if there
                are none, from fresh ones of `get_key()`.

        Raises:
            TypeError: the model keeps something that changes in training where the
                Trainer would lose it, see the message.
        """
        self._key, self._given = key, False
        try:
            super().fit(model, data)
        except Exception as error:
            fault = error
            while fault and not isinstance(fault, LOST):
                fault = fault.__cause__
            if fault is None or '"batch_stats"' in str(fault):
                raise
            raise TypeError(
                f"{type(model).__name__} keeps something that changes in training in a "
                "collection of its own. A Trainer takes along 'params' and what the "
                f"loss returns as 'batch_stats': keep it there. ({fault})"
            ) from error

    @property
    def state(self) -> Any:
        """The TrainState; the model predicts with the newest one."""
        return self.model._fitted

    @state.setter
    def state(self, state):
        self.model._fitted, self._given = state, True

    def _prepare_steps(self):
        self._prepare_state(self.model)
        if self.plan.compiled:
            batch = self.prepare_batch(self._first_batch())
            self._signature = jax.eval_shape(lambda: batch)
        self._renew_steps()

    def _renew_steps(self):
        if self._renewals:
            jax.clear_caches()  # of what is traced already, by a reader's jit, say
        steps = partial(self._train_update), partial(self._val_records)
        if self.plan.compiled:
            steps = self._compiled(*steps)
        self._train_step, self._val_step = steps

    def _prepare_state(self, model):
        """The first TrainState, of the weights that there are or of fresh ones.

        A `fit` of the reader's own may have made it.
        """
        given = model._fitted if self._given else None
        if hasattr(given, "batch_stats") and hasattr(given, "dropout_rng"):
            return
        key = get_key() if self._key is None else self._key
        known = model.scope is not None or model._fitted is not None
        params_key, dropout_key = jax.random.split(key)
        if known and self._key is None:  # copied, since the steps take over the memory
            variables = jax.tree.map(jnp.copy, variables_of(model))
        else:
            variables = self._fresh_variables(model, params_key)
        # A loop of the reader's own says itself when the model is in training.
        net = model if not self.plan.our_loop else clone(model, False)
        state = make_state(net, variables, self.optim, dropout_key)
        model._fitted = self._on(state, self._whole)
        if processes.several():
            processes.agree(description(self))

    def _fresh_variables(self, model, key):
        """Variables for inputs like those of the first batch.

        A training_step of the reader's own may use only some of what a batch holds:
        then the first parts of it are tried.
        """
        batch = self.prepare_batch(self._first_batch())
        inputs = inputs_of(self._inputs(batch))
        flat = arrays_in(inputs)
        for some in (inputs, *(flat[:n] for n in range(1, len(flat) + 1))):
            variables = self._build(partial(model.apply_init, key=key), some)
            if variables is not None:
                return variables
        name = type(model).__name__
        raise ValueError(
            f"{name} cannot take any part of a batch as its input, so its weights "
            "cannot be made. Define apply_init(self, dummy_input, key), which returns "
            "self.init(key, X) with an X as your training_step makes it."
        )

    def _train_update(self, state, batch, bound):
        """(state after a step, recorded values), as a function that may be compiled.

        bound: `_bound`, an argument since it may follow a schedule.
        """
        key = jax.random.fold_in(state.dropout_rng, state.step)
        net = clone(self.model, True)
        now = state.replace(apply_fn=net.apply, dropout_rng=key)
        step, batch = _written(self.model, "training_step"), self._inputs(batch)
        with mode(self.model, training=True):
            result, recorded = self._run_training_step(step, state.params, batch, now)
        if not isinstance(result, tuple) or len(result) != 2:
            raise self._no_loss(result)
        value, grads = result
        if bound is not None:
            grads = self.clip_gradients(bound, grads)
        aux = value[1] if isinstance(value, tuple) else {}
        if state.batch_stats and "batch_stats" not in aux:
            warnings.warn(
                f"{type(self.model).__name__} has batch normalization, whose running "
                "statistics stay as they are: its loss would have to return (loss, "
                "{'batch_stats': ...}), as that of a Classifier does.",
                stacklevel=2,
            )
        stats = aux.get("batch_stats", state.batch_stats)
        return state.apply_gradients(grads=grads, batch_stats=stats), recorded

    def _val_records(self, state, batch):
        """The values that a validation batch records; may be compiled."""
        step, batch = _written(self.model, "validation_step"), self._inputs(batch)
        with mode(self.model, training=False):
            return self._run_step(step, state.params, batch, state)[1]

    def _compiled(self, train, val):
        """The two steps compiled, where they can be."""
        batch = self._signature
        # Code of the reader's within the loop may keep a state, the best one, say.
        kept = () if replaced(self, *WITHIN) else (0,)

        def traced(change):
            steps = jax.jit(change(train), donate_argnums=kept), jax.jit(change(val))
            with failures.Traced(self) as seen:
                steps[0].eval_shape(self.state, batch, self._bound)
                steps[1].eval_shape(self.state, batch)
            seen.check(self.model)
            return steps

        not_rewritten = None
        if self.device.platform == "cpu":
            try:
                return traced(faster)
            except Exception as error:
                not_rewritten = error
        try:
            if isinstance(not_rewritten, failures.Frozen):
                raise not_rewritten  # JAX keeps the trace: it would not draw again
            steps = traced(lambda step: step)
        except LOST:
            raise  # it cannot be done uncompiled either
        except Exception as error:  # what looks at values cannot be traced
            why = failures.in_one_line(error)
            self.plan = self.plan.uncompiled(why)
            failures.warn_slow(f"JAX could not compile a step: {why}")
            return train, val
        if not_rewritten:
            why = failures.in_one_line(not_rewritten)
            failures.warn_slow(f"JAX's slow operations could not be replaced: {why}")
        return steps

    def _keeps_data(self):
        return self.device.platform != "cpu" and not processes.several()

    def _put(self, arrays):
        return self._on(tuple(arrays), self._whole)

    def _state_tensors(self):
        return state.tensors_of(self.state)

    def _restore(self, tensors):
        self.model._fitted = self._on(state.restored(self.state, tensors), self._whole)

    def _seed_step(self, seed):
        restart_keys(seed)  # dropout draws from the keys in the state

    def prepare_batch(self, batch):
        def put(x):
            x = as_array(x)
            equal = np.ndim(x) and len(x) % max(len(self.gpus), 1) == 0
            return self._on(x, self._parts if equal else self._whole)

        batch = map_arrays(put, batch)
        self._examples = num_examples(batch)
        return batch if self.plan.stored_bytes else to_arrays(batch)

    def _mode(self, train):
        return mode(self.model, training=train)

    def _outputs(self, inputs):
        # Here, images still are bytes.
        inputs = jax.eval_shape(lambda x: self._inputs((*x, None))[:-1], inputs)
        if len(inputs) == 1 and inputs[0].ndim == 4:
            build(self.model, inputs[0].shape)
        return output_of(self.model, inputs)

    def _inputs(self, batch):
        """A batch as the model takes it: within a compiled step, from bytes."""
        stored = self.plan.stored_bytes
        return to_arrays(batch, self.data.resize_matrices() if stored else None)

    def _train(self, batch):
        batch = self.prepare_batch(batch)
        step, state = self._train_step, self.state
        self.model._fitted, recorded = step(state, batch, self._bound)
        return recorded

    @property
    def _bound(self):
        """The largest norm of the gradient, None for no bound."""
        return self.gradient_clip_val if self.gradient_clip_val > 0 else None

    def _validate(self, batch):
        return self._val_step(self.state, self.prepare_batch(batch))

    def clip_gradients(self, grad_clip_val, grads):
        norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in jax.tree.leaves(grads)))
        scale = jnp.minimum(1, grad_clip_val / (norm + 1e-6))
        return jax.tree.map(lambda g: g * scale, grads)


def run_facts() -> None:
    """Print versions, processor, device, date, and time since the import.

    Example:
        >>> d2l.run_facts()
    """
    trainer = Trainer(1, num_gpus=1)
    base.print_facts(trainer._framework.distributions, trainer.device_text())
