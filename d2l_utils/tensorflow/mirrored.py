"""TensorFlow: one training on several devices, each with a copy of the weights.

`tf.distribute.MirroredStrategy` keeps the copies alike. This file does what that leaves
open: copies of weights that a model has already, which part of a batch a device
computes, and how much it counts.
"""

import contextlib
import logging

import tensorflow as tf

from d2l_utils.alike import check_alike, packed, unpacked
from d2l_utils.batches import arrays_in, map_arrays


@contextlib.contextmanager
def quiet():
    """Within it TensorFlow does not tell, at level INFO, of each sum over devices."""

    def warnings_only(record):
        return record.levelno > logging.INFO

    logger = tf.get_logger()
    logger.addFilter(warnings_only)
    try:
        yield
    finally:
        logger.removeFilter(warnings_only)


class Mirrored:
    """The devices of one training.

    names: of TensorFlow, such as 'GPU:0'. strategy: that of several workers, if any.
    """

    def __init__(self, names, strategy=None):
        if strategy is None:
            # Collectives are for GPUs; virtual devices would wait for one another.
            on_gpus = all("GPU" in name for name in names)
            sums = None if on_gpus else tf.distribute.ReductionToOneDevice()
            with quiet():
                strategy = tf.distribute.MirroredStrategy(names, sums)
        self.strategy, self.size = strategy, strategy.num_replicas_in_sync
        self.before = []  # [(variable, what it was)]

    def agree(self, about):
        """Raise RuntimeError where workers are to train different things."""
        said = self.strategy.run(lambda: tf.constant(packed(about), tf.int32)[None])
        rows = self.strategy.gather(said, axis=0).numpy()
        check_alike([unpacked(row) for row in rows])

    def copy_weights(self, model):
        """Give each device a copy of the model's variables, until `gather`.

        Each device changes for itself what is not trained, such as the statistics of
        batch normalization. Read, these are the mean over the devices; the states of
        dropout's generators are those of the first device.
        """
        for v in model.variables:
            value = v.value
            generator = not value.dtype.is_floating
            options = {} if v.trainable else {
                "synchronization": tf.VariableSynchronization.ON_READ,
                "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA
                if generator
                else tf.VariableAggregation.MEAN,
            }  # fmt: skip
            with tf.init_scope():
                v._value = tf.Variable(value, trainable=v.trainable, **options)
            self.before.append((v, value))

    def spread_seeds(self, model):
        """Let the dropout of each device draw masks of its own."""
        for v in model.variables:
            if v.name == "seed_generator_state":  # of Keras: (seed, draws so far)
                for rank, own in enumerate(v.value.values):
                    own.assign_add(tf.cast([rank, 0], own.dtype))

    def gather(self):
        """Give the model ordinary variables again, with their present values."""
        while self.before:
            v, value = self.before.pop()
            value.assign(v.value.read_value() if v.trainable else v.value)
            v._value = value

    def part(self, batch):
        """Within a step on one device: (its part of the batch, its share in float64).

        Parts differ by one example at most. Where there are fewer examples than
        devices, some get one with a share of 0.
        """
        n = tf.shape(arrays_in(batch)[-1])[0]
        rank = tf.distribute.get_replica_context().replica_id_in_sync_group
        first, last = n * rank // self.size, n * (rank + 1) // self.size
        share = tf.cast(last - first, tf.float64) / tf.cast(n, tf.float64)
        first = tf.minimum(first, n - 1)
        last = tf.maximum(last, first + 1)

        def cut(x):
            x = tf.convert_to_tensor(x)
            return x[first:last] if len(x.shape) else x

        return map_arrays(cut, batch), share

    def sum_of(self, grads):
        """Within a step on one device: the gradients, summed over the devices."""
        return tf.distribute.get_replica_context().all_reduce("SUM", grads)

    def on_each(self, step, batch):
        """{key: value}: the sum over the devices of what step(batch) gives on each."""
        results = self.strategy.run(step, args=(batch,))
        return {
            k: self.strategy.reduce("SUM", v, axis=None) for k, v in results.items()
        }
