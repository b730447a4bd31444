"""d2l_utils for JAX; models are `flax.linen` modules: the textbook's interface.

Layout NHWC: images are (n, height, width, channels). The public names, `__all__`, are
the same in all four frameworks.

A Flax model holds no weights: they are its `variables`, which training keeps for it.

Example:

    from flax import linen as nn
    from d2l_utils import jax as d2l

    class LeNet(d2l.Classifier):
        lr: float = 0.1
        num_classes: int = 10

        def setup(self):
            self.net = nn.Sequential([
                nn.Conv(6, (5, 5), padding=2), nn.sigmoid,
                lambda X: nn.avg_pool(X, (2, 2), (2, 2)),
                nn.Conv(16, (5, 5), padding="VALID"), nn.sigmoid,
                lambda X: nn.avg_pool(X, (2, 2), (2, 2)),
                lambda X: X.reshape((len(X), -1)),
                nn.Dense(120), nn.sigmoid, nn.Dense(self.num_classes),
            ])

    model, data = LeNet(), d2l.FashionMNIST(batch_size=256)
    model.layer_summary((1, 28, 28, 1))
    trainer = d2l.Trainer(max_epochs=3, num_gpus=1)
    trainer.fit(model, data)
    print(trainer.plan, d2l.evaluate(model, data), sep="\\n")
"""

if "." not in __name__:
    raise ImportError(
        "This is d2l_utils/jax/, not JAX: the folder d2l_utils/ itself is on "
        "sys.path. Start Python in another folder, or take that entry out."
    )

from d2l_utils import base, require
from d2l_utils.base import HyperParameters, Timer, add_to_class
from d2l_utils.board import ProgressBoard
from d2l_utils.data import DataModule, resize, subset
from d2l_utils.experiments import Experiments
from d2l_utils.figures import (
    confusion_matrix,
    plot,
    show_confusion_matrix,
    show_images,
    show_maps,
)  # fmt: skip
from d2l_utils.inference import (
    activations,
    evaluate,
    load_weights,
    predict,
    resources,
    save_weights,
)  # fmt: skip
from d2l_utils.names import unknown_names
from d2l_utils.study import study
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
        virtual_devices,
    )  # fmt: skip
    from d2l_utils.jax.layers import init_cnn, init_he
    from d2l_utils.jax.module import (
        Classifier,
        FashionMNIST,
        Module,
        set_seed,
    )  # fmt: skip
    from d2l_utils.jax.trainer import Trainer, run_facts
    from d2l_utils.jax.variables import get_key
except ImportError as error:
    raise base.missing_framework("JAX with Flax and Optax", "jax", error) from error

__all__ = [
    "Classifier", "DataModule", "Experiments", "FashionMNIST", "HyperParameters",
    "Module", "ProgressBoard", "Timer", "Trainer", "activations", "add_to_class",
    "confusion_matrix", "cpu", "evaluate", "get_key", "gpu", "init_cnn", "init_he",
    "load_weights", "memory_stats", "num_gpus", "plot", "predict", "require",
    "reset_peak_memory", "resize", "resources", "run_facts", "save_weights", "set_seed",
    "show_confusion_matrix", "show_images", "show_maps", "stored_path", "study",
    "subset", "try_all_gpus", "try_gpu", "virtual_devices",
]  # fmt: skip
__getattr__, __dir__ = unknown_names(__name__, __all__)
