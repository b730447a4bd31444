"""What to say of a name that a framework module does not have.

Names of other sections of the textbook are found in its `textbook`; names of its
older editions are answered with what to use now, others with the public ones that are
spelled alike. No framework is imported here.
"""

import difflib
from importlib import import_module

_TRAIN = "d2l.Trainer(max_epochs=10, num_gpus=1).fit(model, data)"
_DATA = "d2l.FashionMNIST(batch_size=128, resize=(28, 28))"
_EVALUATE = "d2l.evaluate(model, data), a dict with 'loss' and 'acc'"
_LOSS = "the method `loss(y_hat, y)` of your d2l.Module"
_DOWNLOAD = f"{_DATA}, which finds, downloads and verifies its files"

OLDER = {
    **dict.fromkeys(
        ("train_ch3", "train_ch5", "train_ch6", "train_ch13", "train_epoch_ch3")
        + ("train_batch_ch13",),
        _TRAIN,
    ),
    **dict.fromkeys(
        ("evaluate_accuracy", "evaluate_accuracy_gpu", "evaluate_accuracy_gpus")
        + ("evaluate_loss",),
        _EVALUATE,
    ),
    "accuracy": "the method `accuracy(Y_hat, Y)` of your d2l.Classifier",
    "predict_ch3": "d2l.predict(model, X), and data.visualize(batch) for the images",
    "Accumulator": "trainer.history, or plain sums",
    "Animator": "d2l.ProgressBoard, which the Trainer draws on by itself",
    "Benchmark": "d2l.Timer",
    "load_data_fashion_mnist": f"{_DATA} with train_dataloader() and val_dataloader()",
    "load_array": "a subclass of d2l.DataModule with `get_dataloader(train)`",
    "get_fashion_mnist_labels": "data.text_labels(indices)",
    "show_fashion_mnist": "data.visualize(batch)",
    "get_dataloader_workers": f"{_DATA}: it needs no worker processes",
    **dict.fromkeys(("download", "download_all", "DATA_HUB", "DATA_URL"), _DOWNLOAD),
    "sgd": "the framework's own SGD, which `configure_optimizers` returns",
    "linreg": "a d2l.Module of your own with one dense layer",
    "squared_loss": f"{_LOSS} with the framework's mean squared error",
    "cross_entropy": f"{_LOSS}; that of d2l.Classifier is the cross-entropy",
    "init_weights": "d2l.init_cnn",
}
"""Names of older editions, each with what to use now."""


def advice(name, public):
    """What to say of a name that is not one of `public`; '' if nothing is known."""
    if name in OLDER:
        return f"That is of an older edition of the textbook; use {OLDER[name]}."
    folded = {known.lower(): known for known in public}
    alike = difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.7)
    return f"Did you mean {' or '.join(folded[a] for a in alike)}?" if alike else ""


def unknown_names(module, public):
    """The `__getattr__` and the `__dir__` of a framework's module.

    Names that only other sections of the textbook use come from its `textbook`,
    loaded when the first of them is asked for. For any other, AttributeError that
    says what to use.
    """

    def __getattr__(name):
        text = f"module {module!r} has no attribute {name!r}"
        if name.startswith("_"):  # asked for by tools, and often
            raise AttributeError(text)
        if name == "plt":
            return import_module("matplotlib.pyplot")
        extra = import_module(f"{module}.textbook")
        if name in extra.__all__:
            return getattr(extra, name)
        hint = advice(name, (*public, *extra.__all__))
        raise AttributeError(f"{text}. {hint}" if hint else text)

    def __dir__():
        return sorted({*public, *import_module(f"{module}.textbook").__all__, "plt"})

    return __getattr__, __dir__
