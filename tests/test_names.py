"""Names that a framework module does not have: the answer says what to use."""

import ast
import re
import sys
from types import SimpleNamespace
from unittest.mock import patch

import pytest

from book.source.book import ROOT
from d2l_utils.frameworks import FRAMEWORKS
from d2l_utils.names import OLDER, advice, unknown_names

WANTED = [
    "train_ch3", "train_ch5", "train_ch6", "train_ch13", "load_data_fashion_mnist",
    "evaluate_accuracy", "evaluate_accuracy_gpu", "Accumulator", "Animator",
    "get_fashion_mnist_labels", "get_dataloader_workers", "sgd", "linreg",
    "squared_loss", "Benchmark",
]  # fmt: skip


def public(module):
    """`__all__` of a framework module, read without importing it."""
    tree = ast.parse((ROOT / "d2l_utils" / f"{module}.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    raise ValueError(f"{module} has no __all__")


def message(name, names=("Trainer", "FashionMNIST", "try_gpu", "try_all_gpus")):
    """What is said of a name; no framework is loaded."""
    extra = SimpleNamespace(__all__=public("torch/textbook"))
    with (
        patch.dict(sys.modules, {"d2l_utils.torch.textbook": extra}),
        pytest.raises(AttributeError) as caught,
    ):
        unknown_names("d2l_utils.torch", names)[0](name)
    return str(caught.value)


@pytest.mark.parametrize("name", sorted({*WANTED, *OLDER}))
def test_older_names_say_what_to_use(name):
    text = message(name)
    assert f"has no attribute {name!r}. That is of an older edition" in text
    assert "; use " in text and text.endswith(".") and "\n" not in text


@pytest.mark.parametrize("module", [f.module for f in FRAMEWORKS.values()])
def test_what_is_advised_is_there_and_what_is_older_is_not(module):
    names = public(f"{module}/__init__")
    assert not set(OLDER) & set(names)
    advised = {n for text in OLDER.values() for n in re.findall(r"\bd2l\.(\w+)", text)}
    assert {"Trainer", "evaluate", "FashionMNIST"} <= advised <= set(names)


def test_names_that_are_nearly_right():
    assert message("Trianer").endswith("Did you mean Trainer?")
    assert message("fashion_mnist").endswith("Did you mean FashionMNIST?")
    assert message("try_gpus").endswith("Did you mean try_gpu or try_all_gpus?")


def test_other_names():
    standard = "module 'd2l_utils.torch' has no attribute "
    assert message("bicycle") == standard + "'bicycle'"
    assert message("__path__") == standard + "'__path__'"
    assert message("_trainer") == standard + "'_trainer'"
    assert advice("bicycle", ()) == ""


def test_every_framework_module_answers(d2l):
    for name, words in (
        ("train_ch6", r"use d2l\.Trainer\("),
        ("Clasifier", "Did you mean Classifier"),
    ):
        with pytest.raises(AttributeError, match=words):
            getattr(d2l, name)
    assert not hasattr(d2l, "bicycle") and not hasattr(d2l, "__wrapped__")
