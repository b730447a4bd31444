"""d2l_utils for TensorFlow (Keras 3): the textbook's interface, and what is new.

Layout NHWC: images are (n, height, width, channels). The public names, `__all__`, are
the same in all four frameworks.

Example:

    import tensorflow as tf
    from tensorflow.keras import layers as nn
    from d2l_utils import tensorflow as d2l

    class LeNet(d2l.Classifier):
        def __init__(self, lr=0.1, num_classes=10):
            super().__init__()
            self.save_hyperparameters()
            self.net = tf.keras.Sequential([
                nn.Conv2D(6, 5, padding="same", activation="sigmoid"), nn.AvgPool2D(2),
                nn.Conv2D(16, 5, activation="sigmoid"), nn.AvgPool2D(2),
                nn.Flatten(), nn.Dense(120, activation="sigmoid"),
                nn.Dense(num_classes),
            ])

    model, data = LeNet(), d2l.FashionMNIST(batch_size=256)
    model.layer_summary((1, 28, 28, 1))
    trainer = d2l.Trainer(max_epochs=3, num_gpus=1)
    trainer.fit(model, data)
    print(trainer.plan, d2l.evaluate(model, data), sep="\\n")
"""

if "." not in __name__:
    raise ImportError(
        "This is d2l_utils/tensorflow/, not TensorFlow: the folder d2l_utils/ "
        "itself is on sys.path. Start Python in another folder, or take that entry out."
    )

from d2l_utils import base, require
from d2l_utils.base import HyperParameters, Timer, add_to_class
from d2l_utils.board import ProgressBoard
from d2l_utils.data import resize, subset
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
    from d2l_utils.tensorflow.device import (
        cpu,
        gpu,
        memory_stats,
        num_gpus,
        reset_peak_memory,
        try_all_gpus,
        try_gpu,
        virtual_devices,
    )  # fmt: skip
    from d2l_utils.tensorflow.layers import init_cnn, init_he
    from d2l_utils.tensorflow.module import (
        Classifier,
        DataModule,
        FashionMNIST,
        Module,
        set_seed,
    )  # fmt: skip
    from d2l_utils.tensorflow.trainer import Trainer, run_facts
except ImportError as error:
    raise base.missing_framework("TensorFlow", "tensorflow", error) from error

__all__ = [
    "Classifier", "DataModule", "Experiments", "FashionMNIST", "HyperParameters",
    "Module", "ProgressBoard", "Timer", "Trainer", "activations", "add_to_class",
    "confusion_matrix", "cpu", "evaluate", "gpu", "init_cnn", "init_he", "load_weights",
    "memory_stats", "num_gpus", "plot", "predict", "require", "reset_peak_memory",
    "resize", "resources", "run_facts", "save_weights", "set_seed",
    "show_confusion_matrix", "show_images", "show_maps", "stored_path", "study",
    "subset", "try_all_gpus", "try_gpu", "virtual_devices",
]  # fmt: skip
__getattr__, __dir__ = unknown_names(__name__, __all__)
