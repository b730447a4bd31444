"""What happens when a reader asks a framework module for a name it does not have.

A name from another section of the textbook is taken from the module's `textbook`. For a
name from an older edition the error says what to use now; for a misspelt one, which
names are similar. No framework is imported here.
"""

import difflib
from collections.abc import Callable, Iterable
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


def advice(name: str, public: Iterable[str]) -> str:
    """What to use instead of a name that is not there.

    Parameters:
        name: what was asked for.
        public: the names that are there.

    Returns:
        A sentence, or '' where nothing helps.

    Example:
        >>> advice("Trianer", ["Trainer", "Timer"])
        'Did you mean Trainer?'
        >>> advice("Benchmark", [])
        'That is of an older edition of the textbook; use d2l.Timer.'
    """
    if name in OLDER:
        return f"That is of an older edition of the textbook; use {OLDER[name]}."
    folded = {known.lower(): known for known in public}
    alike = difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.7)
    return f"Did you mean {' or '.join(folded[a] for a in alike)}?" if alike else ""


def unknown_names(module: str, public: Iterable[str]) -> tuple[Callable, Callable]:
    """Make the `__getattr__` and the `__dir__` of a framework module.

    Parameters:
        module: its full name, such as "d2l_utils.jax".
        public: its public names.

    Returns:
        A function of a name, which returns what `textbook` of the module has under
        that name (imported at the first call), or raises AttributeError with `advice`;
        and one that lists all names.

    Example:
        >>> __getattr__, __dir__ = unknown_names(__name__, __all__)  # doctest: +SKIP
    """

    def __getattr__(name):
        text = f"module {module!r} has no attribute {name!r}"
        if name.startswith("_"):  # Python and its tools often ask for such names
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
