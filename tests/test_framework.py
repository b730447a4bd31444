"""What every framework module must do; run with `pytest --framework jax`."""

import inspect
import io
import json
import os
import subprocess
import sys
import textwrap
from platform import libc_ver

import numpy as np
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from book.notebooks import execute
from book.pages import api
from book.source.book import BOOK, ROOT
from d2l_utils import board, data, host, sources, weights
from d2l_utils.frameworks import FRAMEWORKS

NIN_SHAPES = [
    (96, 54, 54), (96, 26, 26), (256, 26, 26), (256, 12, 12), (384, 12, 12),
    (384, 5, 5), (384, 5, 5), (10, 5, 5), (10, 1, 1), (10,),
]  # fmt: skip
NIN28_SIDES = [26, 25, 14, 13, 6, 2, 2, 2, 1]


def fitted(d2l, Tiny, epochs=1, batch_size=128, **kwargs):
    d2l.set_seed(0)
    model = Tiny(**kwargs)
    model.board.display = False
    fm = d2l.FashionMNIST(batch_size=batch_size)
    trainer = d2l.Trainer(max_epochs=epochs)
    trainer.fit(model, fm)
    return model, fm, trainer


def one_image(layout, size=28):
    return layout(1, 1, size, size)


# The networks against FACTS -----------------------------------------------------


@pytest.mark.parametrize(
    "name, channels, size, params, macs",
    [
        ("NiN", 1, 224, 1_992_166, 762_297_352),
        ("NiN", 3, 224, 2_015_398, 830_041_864),
        ("NiN28", 1, 28, 149_542, 9_477_760),
    ],
)
def test_counts(d2l, nin, layout, name, channels, size, params, macs):
    counted = d2l.resources(nin[name](), layout(1, channels, size, size))
    assert (counted.params, counted.macs) == (params, macs)
    assert [r.name for r in counted.rows if r.kind == "conv"][-1] == "conv11"
    assert [r.kind for r in counted.rows].count("pool") == 4
    rows = sum(r.params for r in counted.rows)
    assert rows == params


def test_memory_is_counted(d2l, nin, layout):
    counted = d2l.resources(nin["NiN28"](), one_image(layout))
    outputs = 3 * 24 * 26**2 + 24 * 25**2 + 3 * 64 * 14**2 + 64 * 13**2
    outputs += 3 * 96 * 6**2 + 96 * 2**2 + 3 * 10 * 2**2 + 10
    slots = 1  # momentum
    train = 4 * (149_542 * (2 + slots) + outputs + 28 * 28)
    assert counted.train_bytes == train
    largest = 2 * 24 * 26**2  # input and output of the first 1x1 convolution
    assert counted.predict_bytes == 4 * (149_542 + largest)


def test_shapes(d2l, nin, layout, capsys):
    nin["NiN"]().layer_summary(one_image(layout, 224))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(NIN_SHAPES)
    for line, shape in zip(lines, NIN_SHAPES):
        name, _, shown = line.partition(" output shape:\t ")
        expected = layout(1, *shape) if len(shape) == 3 else (1, *shape)
        assert tuple(json.loads(shown.replace("torch.Size(", "").strip("()")
                                .join("[]").replace("[[", "[").replace("]]", "]"))
                     ) == expected  # fmt: skip
        assert name not in ("function", "<lambda>", "partial") and name


def test_activations_of_the_small_network(framework, d2l, nin, few):
    model = nin["NiN28"]()
    loaded = d2l.load_weights(model, d2l.stored_path("nin28_56"))
    model = bound(framework, model, loaded)
    X = few.val.images[:3, None]
    outputs = d2l.activations(model, X)
    assert [a.shape[-1] for a in outputs[:-1]] == NIN28_SIDES
    assert all(a.shape[0] == 3 and isinstance(a, np.ndarray) for a in outputs)
    np.testing.assert_allclose(outputs[-1], d2l.predict(model, X), atol=1e-5)
    np.testing.assert_allclose(outputs[-3].mean(axis=(2, 3)), outputs[-1], atol=1e-5)


def test_points_of_the_curve(d2l, Tiny, few):
    """As many an epoch as the model says, also where it says so after it is made."""
    for points in (2, 4):
        model = Tiny()
        model.board.display = False
        if points != 2:
            model.plot_train_per_epoch = points
        d2l.Trainer(max_epochs=2).fit(model, d2l.FashionMNIST(batch_size=50))
        curve = model.board.data["train_loss"]
        assert len(curve) == 2 * points
        assert [x for x, _ in curve] == sorted(x for x, _ in curve)


# Data ---------------------------------------------------------------------------


def test_loader_gives_what_the_textbook_gives(d2l, layout, sample):
    fm = d2l.FashionMNIST(batch_size=300, resize=(40, 32))
    loader = fm.train_dataloader()
    assert len(loader) == 7
    batches = list(loader)
    assert [len(y) for _, y in batches] == [300] * 6 + [200]
    X, y = batches[0]
    assert tuple(X.shape) == layout(300, 1, 40, 32)
    X = np.asarray(X.asnumpy() if hasattr(X, "asnumpy") else X)
    assert X.dtype == np.float32 and X.min() >= 0 and 0.9 < X.max() <= 1
    images, labels = next(fm.batches(True, epoch=0))
    R_h, R_w = (data.resize_matrix(28, n) for n in (40, 32))
    expected = R_h @ (images / np.float32(255)) @ R_w.T
    np.testing.assert_allclose(X.reshape(300, 40, 32), expected, atol=1e-5)
    np.testing.assert_array_equal([int(i) for i in y], labels)


def test_second_pass_has_another_order(d2l, sample):
    loader = d2l.FashionMNIST(batch_size=2000).train_dataloader()
    first, second = (np.array([int(i) for i in y]) for _ in range(2) for _, y in loader)
    assert not np.array_equal(first, second)
    assert np.array_equal(np.sort(first), np.sort(second))


def test_validation_order_is_fixed(d2l, sample):
    ys = [int(i) for _, y in d2l.FashionMNIST().val_dataloader() for i in y]
    np.testing.assert_array_equal(ys, sample.val.labels)


# Training -----------------------------------------------------------------------


def test_training_learns(framework, d2l, nin, sample):
    """From the network stored for 56 pixels, which is lost at 28 pixels, two epochs
    on the sample lead to a good one; history and evaluation agree."""
    d2l.set_seed(0)
    model = nin["NiN28"](lr=0.01)
    path = d2l.stored_path("nin28_56")
    model = bound(framework, model, d2l.load_weights(model, path))
    model.board.display = False
    fm = d2l.FashionMNIST(batch_size=32)
    fm.train = sources.Split(*(part[:640] for part in sample.train))
    before = d2l.evaluate(model, fm)
    trainer = d2l.Trainer(max_epochs=2)
    trainer.fit(model, fm)
    history = trainer.history
    assert {len(v) for v in history.values()} == {2}
    assert set(history) == {
        "train_loss", "train_acc", "val_loss", "val_acc", "seconds",
    }  # fmt: skip
    assert history["val_acc"][-1] > max(0.5, before["acc"] + 0.2)
    assert history["val_loss"][-1] < 0.8 * before["loss"]
    result = d2l.evaluate(model, fm)
    assert abs(result["acc"] - history["val_acc"][-1]) < 1e-6
    assert abs(result["loss"] - history["val_loss"][-1]) < 1e-4
    logits = d2l.predict(model, sample.val.images[:, None])
    acc = (logits.argmax(axis=1) == sample.val.labels).mean()
    assert abs(acc - result["acc"]) < 1e-6


def test_the_last_line(d2l, Tiny, few, capsys):
    model = Tiny()
    d2l.Trainer(max_epochs=1, num_gpus=1).fit(model, d2l.FashionMNIST(batch_size=500))
    line = capsys.readouterr().out.splitlines()[-1]
    for word in ("loss", "training accuracy", "validation accuracy", "images/s on"):
        assert word in line


def test_the_same_seed_gives_the_same_run(d2l, Tiny, few):
    runs = [fitted(d2l, Tiny)[2].history["train_loss"] for _ in range(2)]
    assert runs[0] == runs[1]


def trained_losses(d2l, Tiny, precision):
    """Losses of a few steps in which the network begins to learn."""
    d2l.set_seed(0)
    model = Tiny(dropout=0.0, lr=0.01)
    model.board.display = False
    trainer = d2l.Trainer(max_epochs=2, precision=precision)
    trainer.fit(model, d2l.FashionMNIST(batch_size=100))
    return trainer, np.array(trainer.history["train_loss"])


def test_precision(d2l, Tiny, few, monkeypatch, capsys):
    """bfloat16 only where the hardware has it, and then near float32, not equal."""
    exact = trained_losses(d2l, Tiny, "float32")[1]
    monkeypatch.setattr(host, "cpu_flags", set)
    trainer, without = trained_losses(d2l, Tiny, "auto")
    assert not trainer.plan.bfloat16
    np.testing.assert_array_equal(exact, without)
    monkeypatch.setattr(host, "cpu_flags", lambda: {"avx512_bf16"})
    trainer, auto = trained_losses(d2l, Tiny, "auto")
    np.testing.assert_allclose(exact, auto, rtol=2e-2)
    assert trainer.plan.bfloat16 == (auto != exact).any()
    model = Tiny()
    trainer.fit(model, d2l.FashionMNIST(batch_size=500))
    printed = capsys.readouterr().out.splitlines()
    assert (printed[0].count("bfloat16") == 1) == trainer.plan.bfloat16
    with pytest.raises(ValueError, match="precision='half'"):
        d2l.Trainer(max_epochs=1, precision="half")


def test_fast_mode_predicts_few_images(d2l, Tiny, few, monkeypatch):
    """Of a model that was trained in it; as many rows as always."""
    X = few.val.images[:50, None]
    fresh = d2l.predict(fitted(d2l, Tiny)[0], X)
    assert len(np.unique(fresh, axis=0)) == 50
    monkeypatch.setenv("D2L_UTILS_FAST", "1")
    model = fitted(d2l, Tiny)[0]
    logits, n = d2l.predict(model, X), data.FAST_IMAGES
    assert len(np.unique(logits, axis=0)) == n
    np.testing.assert_array_equal(logits[n:], logits[:-n])
    monkeypatch.delenv("D2L_UTILS_FAST")
    np.testing.assert_allclose(d2l.predict(model, X)[:n], logits[:n], atol=1e-5)


# Weights ------------------------------------------------------------------------


def bound(framework, model, loaded):
    return model.bind(loaded) if framework == "jax" else loaded


def test_weights_travel(framework, d2l, Tiny, few, tmp_path):
    model = fitted(d2l, Tiny)[0]
    path = tmp_path / "w.safetensors"
    d2l.save_weights(model, path)
    tensors, metadata = weights.read(path)
    assert list(tensors) and tensors["conv0.weight"].shape == (8, 1, 5, 5)
    assert weights.input_shape(metadata) == (1, 28, 28)
    other = Tiny()
    other = bound(framework, other, d2l.load_weights(other, path))
    X = few.val.images[:16, None]
    np.testing.assert_allclose(d2l.predict(model, X), d2l.predict(other, X), atol=1e-6)
    d2l.save_weights(model, tmp_path / "again.safetensors")
    again = weights.read(tmp_path / "again.safetensors")[0]
    for name, w in tensors.items():
        np.testing.assert_array_equal(again[name], w)


def test_the_stored_network_is_good(framework, d2l, nin, sample):
    """At 56 pixels it must reach 0.80; on these 500 images, too."""
    model = nin["NiN28"]()
    path = d2l.stored_path("nin28_56")
    model = bound(framework, model, d2l.load_weights(model, path))
    R = data.resize_matrix(28, 56)
    X = R @ (sample.val.images[:, None] / np.float32(255)) @ R.T
    logits = d2l.predict(model, X)
    assert d2l.activations(model, X[:1])[-3].shape == (1, 10, 6, 6)
    assert (logits.argmax(axis=1) == sample.val.labels).mean() > 0.80


def test_weights_of_another_network_are_refused(d2l, nin, Tiny, few, tmp_path):
    model = fitted(d2l, Tiny)[0]
    path = tmp_path / "w.safetensors"
    d2l.save_weights(model, path)
    with pytest.raises(ValueError, match=r"dense0.weight should be \(7, 512\)"):
        d2l.load_weights(Tiny(num_classes=7), path)
    with pytest.raises(ValueError, match=r"conv0.weight should be \(96, 1, 11, 11\)"):
        d2l.load_weights(nin["NiN"](), path)
    with pytest.raises(ValueError, match=r"It is not known what images"):
        d2l.save_weights(Tiny(), path)


# Errors -------------------------------------------------------------------------


def test_too_small_images(d2l, nin, layout, few):
    model = nin["NiN"]()
    with pytest.raises(ValueError, match="smallest that works is 67x67"):
        model.layer_summary(one_image(layout, 60))
    model.layer_summary(one_image(layout, 67))  # and the model still works
    with pytest.raises(ValueError, match="smallest that works is 67x67"):
        d2l.Trainer(max_epochs=1).fit(nin["NiN"](), d2l.FashionMNIST())


def test_wrong_layout(d2l, nin, layout, few):
    wrong = {(1, 1, 28, 28): (1, 28, 28, 1)}.get(one_image(layout), (1, 1, 28, 28))
    with pytest.raises(ValueError, match="looks channels"):
        nin["NiN28"]().layer_summary(wrong)


def test_images_are_bytes_or_floats(d2l, Tiny, few):
    """In either layout, and as the loader gives them."""
    model, fm, _ = fitted(d2l, Tiny)
    X = few.val.images[:5, None]
    expected = d2l.predict(model, X)
    batch = next(iter(fm.val_dataloader()))
    for same in (X / np.float32(255), X / 255.0, X[:, 0, :, :, None], batch[0][:5]):
        np.testing.assert_allclose(d2l.predict(model, same), expected, atol=1e-6)
    for wrong, words in [
        (batch, r"X alone, and not a whole batch"),
        (X.astype("int64"), "int64; images are uint8"),
        (X > 100, "bool; images are uint8"),
        (X[:, 0], "four numbers"),
        (X[0], "four numbers"),
    ]:
        with pytest.raises(ValueError, match=words):
            d2l.predict(model, wrong)


# Devices and memory -------------------------------------------------------------


def test_devices(d2l):
    assert len(d2l.try_all_gpus()) == max(1, d2l.num_gpus())
    assert d2l.try_gpu(1000) is not None
    if d2l.num_gpus() == 0:
        assert type(d2l.try_gpu()) is type(d2l.cpu())
        assert "gpu" not in str(d2l.try_gpu()).lower()


def test_memory_stats(d2l):
    stats = d2l.memory_stats()
    assert stats["peak_bytes"] >= stats["current_bytes"] > 10**7
    if d2l.num_gpus() == 0:
        assert stats["of"] == "process memory"


def test_run_facts(d2l, capsys):
    d2l.run_facts()
    out = capsys.readouterr().out
    for word in ("d2l_utils", "NumPy", "Python", " s"):
        assert word in out


# Contract -----------------------------------------------------------------------

# Methods whose signature may differ from PyTorch's, and why.
DIFFERENT_METHODS = {
    "jax": {  # parameters and state are arguments, randomness is a key
        "Module.loss", "Module.training_step", "Module.validation_step",
        "Module.apply_init", "Classifier.loss", "Classifier.accuracy",
        "Classifier.training_step", "Classifier.validation_step",
        "Classifier.apply_init", "Module.layer_summary",
        "Classifier.layer_summary", "Trainer.fit",
        "Trainer.clip_gradients",  # of gradients: these are not in the model
    },
    "tensorflow": {"Trainer.clip_gradients"},  # as in JAX
}  # fmt: skip
ONLY_IN_MXNET = "parameters"
METHODS = {
    **{k: [m for m in of if m != ONLY_IN_MXNET] for k, of in api.METHODS.items()},
    "ProgressBoard": ("draw",),
    "HyperParameters": ("save_hyperparameters",),
    "Timer": ("start", "stop", "avg", "sum", "cumsum"),
}


INITIALIZERS = ("init_cnn", "init_he")  # of a layer, or of a shape: as each has them


def contract(d2l):
    """{name: signature} of the public functions and methods."""
    found = {}
    for name in d2l.__all__:
        obj = getattr(d2l, name)
        if name in METHODS:
            for method in METHODS[name]:
                signature = inspect.signature(getattr(obj, method))
                found[f"{name}.{method}"] = list(signature.parameters)
        elif callable(obj) and name not in INITIALIZERS:
            found[name] = list(inspect.signature(obj).parameters)
        else:
            found[name] = None
    return found


def test_same_names_and_signatures(framework, d2l, other):
    """Compared with another framework's module, in a process of its own."""
    code = (
        f"import json, sys; from d2l_utils import {FRAMEWORKS[other].module} as d2l\n"
        "sys.path.insert(0, 'tests')  # a package of that name may be installed\n"
        "from test_framework import contract\n"
        "print(json.dumps(contract(d2l)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    expected = json.loads(done.stdout.splitlines()[-1])
    ours = contract(d2l)
    different = set().union(*(DIFFERENT_METHODS.get(f, ()) for f in (framework, other)))
    assert set(ours) - {"get_key"} == set(expected) - {"get_key"}  # JAX's alone
    for name, signature in expected.items():
        if name not in different:
            assert ours[name] == signature, name


def test_no_other_framework_is_loaded(framework, observed):
    loaded = set(observed["loaded"])
    if framework == "tensorflow":
        loaded -= {"jax"}  # TensorFlow itself loads it where it is installed
    assert loaded == {FRAMEWORKS[framework].module}


@pytest.mark.skipif(libc_ver()[0] != "glibc", reason="arenas are those of glibc")
def test_all_threads_allocate_from_one_place(framework):
    """Arenas as malloc counts them, with threads at work before the data is there."""
    code = (
        f"import ctypes; from d2l_utils import {FRAMEWORKS[framework].module} as d2l\n"
        "d2l.set_seed(0)\n"
        "data = d2l.FashionMNIST(resize=(224, 224))\n"
        "for batch, _ in zip(data.get_dataloader(True), range(50)): pass\n"
        "libc = ctypes.CDLL(None); libc.fdopen.restype = ctypes.c_void_p\n"
        "libc.malloc_info(0, ctypes.c_void_p(libc.fdopen(1, b'w')))\n"
        "libc.fflush(None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.count("<heap nr=") == 1, done.stderr


def test_public_docstrings(d2l):
    for name in d2l.__all__:
        obj = getattr(d2l, name)
        if inspect.isclass(obj) or inspect.isfunction(obj):
            assert inspect.getdoc(obj), name


def test_the_example_in_the_docstring(d2l, few, capsys, monkeypatch):
    """It is run as it stands."""
    monkeypatch.setenv("D2L_UTILS_FAST", "1")
    code = textwrap.dedent(d2l.__doc__.split("Example:\n", 1)[1])
    assert 20 <= len(code.splitlines()) <= 30
    names = {}
    exec(compile(code, "example", "exec"), names)
    assert names["trainer"].train_batch_idx == 2
    out = capsys.readouterr().out
    assert "output shape:" in out and "precision" in out and "'acc'" in out


@pytest.mark.only("pytorch")
def test_channels_are_innermost_in_training(d2l, nin, monkeypatch):
    """Also behind a single channel and through 1x1 kernels: others are slower."""
    import torch

    monkeypatch.setenv("D2L_UTILS_FAST", "1")
    model, seen = nin["NiN28"](), []
    model.board.display = False
    model.apply_init([torch.zeros(1, 1, 28, 28)])

    def look(layer, args, output):
        if layer.training:
            seen.append(output.is_contiguous(memory_format=torch.channels_last))

    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(look)
    d2l.Trainer(1).fit(model, d2l.FashionMNIST(batch_size=16))
    assert len(seen) >= 12 and all(seen)


def test_a_terminal_shows_how_far_a_training_is(d2l, Tiny, few, monkeypatch):
    """With losses on the device; also of a loop of the reader's own."""

    class Own(d2l.Trainer):
        def fit_epoch(self):
            for loss in (2.5, 1.5):
                self.model.plot("loss", loss, train=True)

    monkeypatch.setattr(board, "REDRAW_SECONDS", 0)
    for Trainer, last in (
        (d2l.Trainer, "epoch 1 of 1, validation step 3 of 3, "),
        (Own, "epoch 1 of 1, loss 2.500"),
    ):
        monkeypatch.setattr(sys, "stderr", io.StringIO())
        sys.stderr.isatty = lambda: True
        Trainer(1).fit(Tiny(), d2l.FashionMNIST(batch_size=40))
        lines = [x.strip() for x in sys.stderr.getvalue().split("\r") if x.strip()]
        assert lines[0].startswith("getting ready") and lines[-1].startswith(last)
        assert ", loss " in lines[-1]
    model = Tiny()
    model.board.display = False
    d2l.Trainer(1).fit(model, d2l.FashionMNIST(batch_size=40))
    assert sys.stderr.getvalue().count("getting ready") == 1  # none of this one


SEEN = [  # cells
    """
from made_networks import tiny_class
from made_training import small_data
from d2l_utils import board, torch as d2l

board.REDRAW_SECONDS = 0
data, model = small_data(d2l), tiny_class("pytorch", d2l)()
trainer = d2l.Trainer(2, precision="float32")
""",
    "print('before'); trainer.fit(model, data); print('after')",
    "model.board.display = False; trainer.fit(model, data); trainer.fit(model, data)",
    "data.get_dataloader = lambda train: None; trainer.fit(model, data)",
]


@pytest.mark.only("pytorch")
def test_what_a_reader_sees_while_it_trains(framework):
    """The line and the axes from the start; nothing of the line when a cell is over."""
    shown = []

    class Reader(NotebookClient):
        def process_message(self, msg, cell, cell_index):
            if msg["msg_type"] in ("display_data", "update_display_data"):
                data = msg["content"]["data"]
                kind = "picture" if "image/png" in data else data.get("text/plain", "")
                shown[-1].append((msg["msg_type"], kind))
            return super().process_message(msg, cell, cell_index)

    nb = new_notebook(cells=[new_code_cell(source) for source in SEEN])
    client = Reader(
        nb, timeout=300, kernel_name="python3", coalesce_streams=True,
        on_cell_start=lambda **_: shown.append([]),
    )  # fmt: skip
    nb.cells[-1].metadata["tags"] = ["raises-exception"]
    path = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    client.execute(env={**os.environ, "PYTHONPATH": path})
    _, loud, silent, failed = shown
    texts = [what for _, what in loud]
    ready, first, step, second = [i for i, x in enumerate(texts) if x != "picture"][:4]
    assert texts[ready].startswith("getting ready") and texts.index("picture") == 2
    assert texts[first].startswith("epoch 1 of 2, first step")
    assert texts[step].startswith("epoch 1 of 2, step 1 of 10")
    assert " images/s, 0:00:" in texts[second] and ", loss " in texts[second]
    assert any("epoch 2 of 2, validation step 3 of 3" in x for x in texts)
    assert [what for what, _ in silent].count("display_data") == 1  # for both trainings
    again = [i for i, (_, x) in enumerate(silent) if x.startswith("getting ready")]
    assert again == [0, again[1]] and silent[again[1] - 1][1] == ""  # taken away before
    assert failed[0][1].startswith("getting ready")
    for messages in (loud, silent, failed):
        assert messages[-1] == ("update_display_data", "") or messages is loud
    emptied, error = nb.cells.pop().outputs
    assert emptied.data == {} and error.output_type == "error"
    stored = [c.outputs for c in execute.clean(BOOK, nb).cells]
    printed, figure = stored[1]
    before, result, after = printed.text.splitlines()
    assert (before, result[:5], after) == ("before", "loss ", "after")
    assert "image/png" in figure.data
    assert stored[2] == []
