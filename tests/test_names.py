"""Names that a framework module does not have: the answer says what to use."""

import ast
import sys
from types import SimpleNamespace
from unittest.mock import patch

import pytest

from book.source.book import ROOT
from d2l_utils import names
from d2l_utils.names import advice, unknown_names


def public(module):
    """`__all__` of a framework module, read without importing it."""
    tree = ast.parse((ROOT / "d2l_utils" / f"{module}.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    raise ValueError(f"{module} has no __all__")


def message(name, public_names=("Trainer", "FashionMNIST", "try_gpu", "try_all_gpus")):
    """What is said of a name; no framework is loaded."""
    extra = SimpleNamespace(
        __all__=public("torch/textbook"), IMPORTED={}, loops=SimpleNamespace(NAMES=())
    )
    with (
        patch.dict(sys.modules, {"d2l_utils.torch.textbook": extra}),
        pytest.raises(AttributeError) as caught,
    ):
        unknown_names("d2l_utils.torch", public_names)[0](name)
    return str(caught.value)


@pytest.mark.parametrize("name, why", [
    ("Vocab", "of the textbook's chapters on recurrent networks, which d2l_utils does"),
    ("train_ch13", "of the textbook's chapters on computational performance, which"),
    ("HPOTuner", "of the textbook's chapters on hyperparameter optimization, which"),
    ("train_ch5", "of an older edition of the textbook; use d2l.train_ch6"),
    ("TrainCallback", "is not needed: d2l.train_ch6 draws"),
    ("get_key", "In d2l, too, only other frameworks have that; use d2l.set_seed"),
])  # fmt: skip
def test_what_is_not_here_has_a_reason(name, why):
    text = message(name)
    assert f"has no attribute {name!r}. " in text and why in text
    assert text.endswith(".") and "\n" not in text


def test_a_package_that_d2l_imports_is_named_where_it_is_lacking(monkeypatch):
    monkeypatch.setitem(names.IMPORTED, "pd", "no_such_package.frame")
    assert message("pd").endswith(
        "'pd': it is no_such_package, which is not installed."
    )


def test_each_name_has_one_reason():
    reasons = [n for text in names.ELSEWHERE.values() for n in text.split()]
    reasons += [*names.INSTEAD, *names.IN_OTHERS, *names.IN_CORE, *names.IMPORTED]
    others = {n for n in reasons if reasons.count(n) > 1}
    assert not others and len(reasons) > 180


def test_names_that_are_nearly_right():
    assert message("Trianer").endswith("Did you mean Trainer?")
    assert "Did you mean FashionMNIST or get_fash" in message("fashion_mnist")
    assert message("try_gpus").endswith("Did you mean try_gpu or try_all_gpus?")


def test_other_names():
    standard = "module 'd2l_utils.torch' has no attribute "
    assert message("bicycle") == standard + "'bicycle'"
    assert message("__path__") == standard + "'__path__'"
    assert message("_trainer") == standard + "'_trainer'"
    assert advice("bicycle", ()) == ""


def test_every_framework_module_answers(framework, d2l):
    for name, words in (
        ("RNNModel", "chapters on recurrent networks"),
        ("Clasifier", "Did you mean Classifier"),
    ):
        with pytest.raises(AttributeError, match=words):
            getattr(d2l, name)
    assert not hasattr(d2l, "bicycle") and not hasattr(d2l, "__wrapped__")
    assert d2l.math is sys.modules["math"] and d2l.d2l is d2l
    assert callable(d2l.display.display) and d2l.defaultdict and d2l.np


# What d2l 1.0.3 and 0.17.6 have in their modules beyond classes and tensor functions.
FUNCTIONS = {
    "Accumulator", "Animator", "DATA_HUB", "DATA_URL", "accuracy", "download",
    "download_all", "download_extract", "evaluate_accuracy", "evaluate_accuracy_gpu",
    "evaluate_loss", "extract", "get_dataloader_workers", "get_fashion_mnist_labels",
    "linreg", "load_array", "load_data_fashion_mnist", "predict_ch3", "set_axes",
    "set_figsize", "sgd", "squared_loss", "synthetic_data", "train_ch3", "train_ch6",
    "train_epoch_ch3", "use_svg_display",
}  # fmt: skip
NOT_IN_JAX = {
    "evaluate_accuracy", "evaluate_accuracy_gpu", "evaluate_loss", "predict_ch3",
    "sgd", "train_ch3", "train_ch6", "train_epoch_ch3",
}  # fmt: skip


def test_functions_of_this_edition_and_the_one_before(framework, d2l):
    lacking = {name for name in FUNCTIONS if not hasattr(d2l, name)}
    assert lacking == (NOT_IN_JAX if framework == "jax" else set())
    assert set(dir(d2l)) >= FUNCTIONS - lacking
    for name in lacking:
        with pytest.raises(
            AttributeError, match="only other frameworks have that; use"
        ):
            getattr(d2l, name)
