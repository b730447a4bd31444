"""TensorFlow: training steps. Layout NHWC."""

import contextlib
import inspect
import warnings
from functools import partial
from types import MethodType

import tensorflow as tf
from tensorflow.python.autograph.core import ag_ctx

from d2l_utils import base, checkpoints, failures, host
from d2l_utils.alike import description, lost
from d2l_utils.batches import inputs_of, map_arrays, num_examples
from d2l_utils.frameworks import FRAMEWORKS
from d2l_utils.ownership import library, replaced
from d2l_utils.tensorflow import state
from d2l_utils.tensorflow.batches import to_tensors
from d2l_utils.tensorflow.bfloat16 import in_bfloat16
from d2l_utils.tensorflow.device import (
    for_training,
    gpu_has_bfloat16,
    gpu_name,
    is_lost,
    try_gpu,
    workers_strategy,
)
from d2l_utils.tensorflow.layers import losses_beside, mode
from d2l_utils.tensorflow.mirrored import Mirrored, quiet
from d2l_utils.training import Trainer as _Trainer

# Operations that draw from a generator which can be neither read nor set.
RANDOM = {"RandomStandardNormal", "RandomUniform", "RandomUniformInt", "Multinomial",
          "TruncatedNormal", "RandomShuffle", "RandomGamma",
          "RandomPoissonV2"}  # fmt: skip


def _written(model, name):
    """A step of the model; where its author wrote @tf.function, the plain function.

    What `plot` records could not leave a graph of the step's own.
    """
    if not _is_graph(getattr(model, name)):
        return getattr(model, name)
    graph = inspect.getattr_static(model, name)
    step = graph.python_function
    if name not in vars(model):
        step = MethodType(step, model)
    status = ag_ctx.Status.ENABLED if graph._autograph else ag_ctx.Status.DISABLED
    context = ag_ctx.ControlStatusCtx(status)
    return tf.__internal__.autograph.tf_convert(step, context)


def _is_graph(function):
    return isinstance(function, tf.types.experimental.PolymorphicFunction)


@library
class Trainer(_Trainer):
    __doc__ = _Trainer.__doc__
    _framework = FRAMEWORKS["tensorflow"]
    _gpus_there = staticmethod(lambda: len(for_training()))
    _state_hooks = state
    _mirrored = None  # `Mirrored` of a training on several devices
    _signature = None  # what the batches of this training are like
    _trained = ()  # ids of the variables that the steps train
    _train = _validate = None  # the steps, on all devices
    _may_compile, _how_to_compile = staticmethod(_is_graph), "@tf.function"

    def _find_device(self):
        """The device; if no GPU is asked for, that of the caller's `with tf.device`."""
        self.gpus = vars(self).get("gpus", for_training()[: self.num_gpus])
        workers = workers_strategy()
        if workers or len(self.gpus) > 1:
            self._mirrored = Mirrored(self.gpus, workers)
        if workers:
            self._writes = workers.cluster_resolver.task_id == 0
        return try_gpu() if self.num_gpus else contextlib.nullcontext()

    def fit(self, model, data):
        if self._mirrored is None:
            with self.device:
                super().fit(model, data)
            return
        with quiet(), self._mirrored.strategy.scope():
            try:
                super().fit(model, data)
            finally:
                self._mirrored.gather()

    def _run_epochs(self):
        try:
            super()._run_epochs()
        except tf.errors.OpError as error:
            workers = workers_strategy()
            if not workers or not is_lost(error):
                raise
            rank = workers.cluster_resolver.task_id
            raise lost(rank, self.checkpoint) from error

    def _prepare(self, model, data):
        for name in ("train_step", "test_step"):
            own = getattr(type(model), name, None)
            if own is not None and own is not getattr(tf.keras.Model, name):
                raise TypeError(
                    f"{type(model).__name__} has a {name}, which Keras's fit calls. A "
                    "Trainer calls training_step(self, batch), which returns the loss, "
                    "and validation_step(self, batch): define these."
                )
        super()._prepare(model, data)

    def device_text(self):
        threads = tf.config.threading.get_intra_op_parallelism_threads()
        text = host.cpu_text(threads or None)  # 0 stands for all
        if "GPU" in tf.zeros(()).device:  # where TensorFlow computes now
            text = gpu_name()
        return f"{self._mirrored.size} devices, {text}" if self._mirrored else text

    def _why_not_bfloat16(self):
        on_gpu = "GPU" in tf.zeros(()).device
        there = gpu_has_bfloat16() if on_gpu else host.cpu_has_bfloat16()
        return "" if there else f"{self.device_text()} has no fast units for bfloat16"

    def _remember(self):
        return state.remember(self.model, self.optim, super()._remember())

    def _state_tensors(self):
        return state.tensors_of(self.model, self.optim)

    def _restore(self, tensors):
        state.restore(self.model, self.optim, tensors)
        if self._mirrored:
            self._mirrored.spread_seeds(self.model)

    def _seed_step(self, seed):
        if not self.plan.compiled:  # set_seed clears TensorFlow's caches
            tf.random.set_seed(seed)

    def _make_weights(self, model):
        inputs = inputs_of(self.prepare_batch(self._first_batch()))
        self._build(model.apply_init, inputs)
        if self._mirrored:
            self._mirrored.copy_weights(model)
            self._mirrored.spread_seeds(model)

    def _prepare_steps(self):
        if self._mirrored:
            self._only_our_loop("devices")
            if workers_strategy():
                self._mirrored.agree(description(self))
        self._check_variables()
        variables = self.model.trainable_variables
        self._trained = [id(v) for v in variables]
        if variables and hasattr(self.optim, "build"):  # a graph cannot make slots
            self.optim.build(variables)
        self._renew_steps()

    def _check_variables(self):
        """Warn of weights that Keras does not train; raise ValueError without any."""
        name = type(self.model).__name__
        if untrained := state.untrained(self.model):
            warnings.warn(
                f"{', '.join(untrained)} of {name} is not trained: a tf.Variable in a "
                "layer is unknown to Keras. Make weights with self.add_weight or "
                "tf.keras.Variable; of a tf.Variable that is not to be trained, say "
                "trainable=False.",
                stacklevel=2,
            )
        # A training_step of the reader's own may make the weights.
        own = replaced(self, "train_step") or replaced(self.model, "training_step")
        ours = self.plan.our_loop and not own and hasattr(self.optim, "build")
        if ours and not self.model.trainable_variables:
            raise ValueError(f"{name} has no weights that Keras could train.")

    def _renew_steps(self):
        self._train, self._validate = self._update, self._judge
        if self._mirrored:
            self._train = partial(self._mirrored.on_each, self._update)
            self._validate = partial(self._mirrored.on_each, self._judge)
        if not self.plan.compiled:
            return
        steps, back = (self._train, self._validate), self._remember()
        constants = {k: get() for k, get in state.constants(self.model).items()}
        try:
            with failures.Traced(self) as traced:
                steps = self._in_float32_if_need_be(
                    lambda: tuple(map(self._compiled, steps))
                )
            traced.check(self.model)
            self._check_constants(constants)
        except Exception as error:  # what looks at values cannot be traced
            back()
            why = failures.in_one_line(error)
            self.plan = self.plan.uncompiled(why)
            failures.warn_slow(f"TensorFlow could not compile a step: {why}")
        else:
            self._train, self._validate = steps

    def _get_ready(self):
        super()._get_ready()
        now = [id(v) for v in self.model.trainable_variables]
        if self.plan.compiled and now != self._trained:
            raise RuntimeError(
                "Other weights are trainable now than when this training began; its "
                "compiled step and Keras optimizer still train the former ones. Call "
                "fit again: it goes on from the weights, with a new optimizer."
            )

    def _constants(self):
        bound = {"gradient_clip_val": partial(getattr, self, "gradient_clip_val")}
        return super()._constants() | bound | state.constants(self.model)

    def _check_constants(self, before):
        """Raise Frozen where a tensor in an attribute became one of the graph.

        Of the same shape, that is: what a layer keeps of a batch, to be looked at, has
        an example's axis.
        """
        for name, get in state.constants(self.model).items():
            x, old = get(), before.get(name)
            if old is not None and not hasattr(x, "numpy") and x.shape == old.shape:
                raise failures.Frozen(
                    f"a step changes the tensor {name}, which a compiled step cannot; "
                    "a tf.Variable(..., trainable=False) it can"
                )

    def _compiled(self, step):
        """A step as a graph, traced here and now."""

        def spec(x):  # what a batch of any size is like, so that it is traced only once
            x = tf.convert_to_tensor(x)
            return tf.TensorSpec([None, *x.shape[1:]], x.dtype)

        if self._first_batches or self._signature is None:
            self._signature = map_arrays(spec, self._first_batch())
        step = tf.function(step, autograph=False)
        traced = step.get_concrete_function(self._signature)
        if self.checkpoint:
            traced = traced.graph.as_graph_def()
            nodes = [traced.node, *(f.node_def for f in traced.library.function)]
            drawn = RANDOM.intersection(node.op for part in nodes for node in part)
            if drawn:
                what = f"a compiled step draws from tf.random ({', '.join(drawn)}); use"
                checkpoints.warn(self, f"{what} keras.random or a tf.random.Generator")
        return step

    def _mode(self, train):
        return mode(self.model, training=train)

    def _outputs(self, inputs):
        return self.model(*inputs, training=False)

    def prepare_batch(self, batch):
        if not tf.inside_function():
            self._examples = num_examples(batch)
        stored = self.plan.stored_bytes
        return to_tensors(batch, self.data.resize_matrices() if stored else None)

    def _update(self, batch):
        """One update, compiled as `_train`; returns the recorded values."""
        batch, share = self._part(batch)
        batch = self.prepare_batch(batch)
        low = (
            in_bfloat16(self.model) if self.plan.bfloat16 else contextlib.nullcontext()
        )
        scale = getattr(self.optim, "scale_loss", lambda l: l)  # it divides by it later
        with mode(self.model, training=True), low, tf.GradientTape() as tape:
            for v in self.model.trainable_variables:  # also if frozen when built
                tape.watch(v.value)
            step = _written(self.model, "training_step")
            with losses_beside(self.model) as beside:
                l, recorded = self._run_training_step(step, batch)
                if not tf.is_tensor(l):
                    raise self._no_loss(l)
                l = sum((tf.cast(x, l.dtype) for x in beside()), l)
            if self._mirrored:
                l = l * tf.cast(share, l.dtype)
            l = scale(l)
        variables = self.model.trainable_variables
        grads = tape.gradient(l, variables)
        if self.gradient_clip_val > 0:
            if self._mirrored:  # the norm is that of the whole batch's gradients
                grads = self._mirrored.sum_of(grads)
            grads = self.clip_gradients(scale(self.gradient_clip_val), grads)
            if self._mirrored:  # apply_gradients sums over the devices once more
                grads = [g / self._mirrored.size for g in grads]
        self.optim.apply_gradients(zip(grads, variables))
        return self._weighted(recorded, share)

    def _judge(self, batch):
        """One validation batch, compiled as `_validate`."""
        batch, share = self._part(batch)
        batch = self.prepare_batch(batch)
        with mode(self.model, training=False):
            step = _written(self.model, "validation_step")
            return self._weighted(self._run_step(step, batch)[1], share)

    def _part(self, batch):
        """(what of a batch this device computes, its share of the batch)"""
        return self._mirrored.part(batch) if self._mirrored else (batch, 1)

    def _weighted(self, recorded, share):
        """What a device adds to the mean of the whole batch."""
        if not self._mirrored:
            return recorded
        share = tf.cast(share, tf.float32)
        return {k: tf.cast(v, tf.float32) * share for k, v in recorded.items()}

    def clip_gradients(self, grad_clip_val, grads):
        return tf.clip_by_global_norm(grads, grad_clip_val)[0]


def run_facts() -> None:
    """Print versions, processor, device, date, and time since the import.

    Example:
        >>> d2l.run_facts()
    """
    trainer = Trainer(1, num_gpus=1)
    base.print_facts(trainer._framework.distributions, trainer.device_text())
