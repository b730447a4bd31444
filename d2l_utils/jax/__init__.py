"""d2l_utils for JAX: what touches arrays. Models are `flax.linen`; layout NHWC.

The public names are those of the other framework modules; the shared half is in the
framework-free core. A Flax model holds no weights: they are in its `variables`.
"""

if "." not in __name__:
    raise ImportError(
        "This is d2l_utils/jax/, not JAX: the folder d2l_utils/ itself is on "
        "sys.path. Start Python in another folder, or take that entry out."
    )

from d2l_utils import base, require
from d2l_utils.base import HyperParameters, Timer, add_to_class
from d2l_utils.board import ProgressBoard, plot, show_images
from d2l_utils.data import DataModule
from d2l_utils.experiments import Experiments
from d2l_utils.names import unknown_names
from d2l_utils.weights import stored_path

try:
    from d2l_utils.jax.device import (
        cpu,
        gpu,
        memory_stats,
        num_gpus,
        reset_peak_memory,
        try_all_gpus,
        try_gpu,
    )
    from d2l_utils.jax.module import (
        Classifier,
        FashionMNIST,
        Module,
        activations,
        evaluate,
        init_cnn,
        load_weights,
        predict,
        resources,
        run_facts,
        save_weights,
        set_seed,
    )
    from d2l_utils.jax.trainer import Trainer
    from d2l_utils.jax.variables import get_key
except ImportError as error:
    raise base.missing_framework("JAX with Flax and Optax", "jax", error) from error

__all__ = [
    "Classifier", "DataModule", "Experiments", "FashionMNIST", "HyperParameters",
    "Module", "ProgressBoard", "Timer", "Trainer", "activations", "add_to_class",
    "cpu", "evaluate", "get_key", "gpu", "init_cnn", "load_weights", "memory_stats",
    "num_gpus", "plot", "predict", "require", "reset_peak_memory", "resources",
    "run_facts", "save_weights", "set_seed", "show_images", "stored_path",
    "try_all_gpus", "try_gpu",
]  # fmt: skip
__getattr__ = unknown_names(__name__, __all__)
