"""TensorFlow: training steps. Layout NHWC."""

import contextlib

import tensorflow as tf

from d2l_utils import base, checkpoints, failures, host
from d2l_utils.ownership import library
from d2l_utils.tensorflow import state
from d2l_utils.tensorflow.batches import to_tensors
from d2l_utils.tensorflow.device import (
    gpu_has_bfloat16,
    gpu_name,
    num_gpus,
    try_gpu,
)
from d2l_utils.tensorflow.layers import mode
from d2l_utils.training import Trainer as _Trainer

# Operations that draw from a generator which can be neither read nor set.
RANDOM = {"RandomStandardNormal", "RandomUniform", "RandomUniformInt", "Multinomial",
          "TruncatedNormal", "RandomShuffle", "RandomGamma",
          "RandomPoissonV2"}  # fmt: skip


@contextlib.contextmanager
def _policy(model, name):
    """Layers compute by this Keras dtype policy; theirs come back afterwards."""
    layers = list(model._flatten_layers())
    before = [layer.dtype_policy for layer in layers]
    for layer in layers:
        layer.dtype_policy = name
    try:
        yield
    finally:
        for layer, policy in zip(layers, before):
            layer.dtype_policy = policy


@library
class Trainer(_Trainer):
    __doc__ = _Trainer.__doc__
    gpus_there = staticmethod(num_gpus)
    state_hooks = state

    def find_device(self):
        # Without a GPU asked for, the device is that of the caller's `with`.
        return try_gpu() if self.num_gpus else contextlib.nullcontext()

    def fit(self, model, data):
        """Train the model on the data."""
        with self.device:
            super().fit(model, data)

    def device_text(self):
        if "GPU" in tf.zeros(()).device:  # where TensorFlow computes now
            return gpu_name()
        threads = tf.config.threading.get_intra_op_parallelism_threads()
        return host.cpu_text(threads or None)  # 0 stands for all

    def why_not_bfloat16(self):
        on_gpu = "GPU" in tf.zeros(()).device
        there = gpu_has_bfloat16() if on_gpu else host.cpu_has_bfloat16()
        return "" if there else f"{self.device_text()} has no units for bfloat16"

    def state_tensors(self):
        return state.tensors_of(self.model, self.optim)

    def restore(self, tensors):
        state.restore(self.model, self.optim, tensors)

    def seed_step(self, seed):
        if not self.plan.compiled:  # it clears TensorFlow's caches
            tf.random.set_seed(seed)

    def make_weights(self, model):
        batch = [tf.convert_to_tensor(x) for x in self.first_batch()]
        # What a batch of any size is like, so that the steps are traced only once.
        self.spec = tuple(tf.TensorSpec([None, *x.shape[1:]], x.dtype) for x in batch)
        *inputs, _ = self.prepare_batch(batch)
        model.apply_init([x[:1] for x in inputs])

    def prepare_steps(self):
        self.train_step, self.val_step = self.update, self.validate
        if hasattr(self.optim, "build"):  # no variables are made inside a graph
            self.optim.build(self.model.trainable_variables)
        if self.plan.compiled:
            try:
                with failures.Traced() as traced:
                    steps = self.compiled(self.update), self.compiled(self.validate)
                traced.check(self.model)
            except Exception as error:  # what looks at values cannot be traced
                why = failures.in_one_line(error)
                self.plan = self.plan.uncompiled(why)
                failures.warn_slow(f"TensorFlow could not compile a step: {why}")
            else:
                self.train_step, self.val_step = steps

    def compiled(self, step):
        """A step as a graph, traced here and now."""
        step = tf.function(step, autograph=False)
        traced = step.get_concrete_function(self.spec).graph.as_graph_def()
        if self.checkpoint:
            nodes = [traced.node, *(f.node_def for f in traced.library.function)]
            drawn = RANDOM.intersection(node.op for part in nodes for node in part)
            if drawn:
                what = f"a compiled step draws from tf.random ({', '.join(drawn)}); use"
                checkpoints.warn(self, f"{what} keras.random or a tf.random.Generator")
        return step

    def prepare_batch(self, batch):
        stored = self.plan.stored_bytes
        return to_tensors(batch, self.data.resize_matrices() if stored else None)

    def update(self, batch):
        """One update, compiled as `train_step`; returns the recorded values."""
        variables = self.model.trainable_variables
        batch = self.prepare_batch(batch)
        policy = "mixed_bfloat16" if self.plan.bfloat16 else "float32"
        with (
            mode(self.model, training=True),
            _policy(self.model, policy),
            tf.GradientTape() as tape,
        ):
            l, recorded = self.run_step(self.model.training_step, batch)
        grads = tape.gradient(l, variables)
        if self.gradient_clip_val > 0:
            grads = self.clip_gradients(self.gradient_clip_val, grads)
        self.optim.apply_gradients(zip(grads, variables))
        return recorded

    def validate(self, batch):
        """One validation batch, compiled as `val_step`."""
        batch = self.prepare_batch(batch)
        with mode(self.model, training=False):
            return self.run_step(self.model.validation_step, batch)[1]

    def clip_gradients(self, grad_clip_val, grads):
        return tf.clip_by_global_norm(grads, grad_clip_val)[0]


def run_facts() -> None:
    """Print versions, processor, device, date, and time since the import.

    Example:
        >>> d2l.run_facts()
    """
    packages = [*base.installed("tensorflow", "tensorflow-cpu"), "keras"]
    base.print_facts(packages, Trainer(1, num_gpus=1).device_text())
