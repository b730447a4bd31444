"""Data of the reader's own: what trains, and what is said of a first batch that cannot.

The same tables in every framework, with the same sentences.
"""

import re
import warnings

import numpy as np
import pytest

from d2l_utils import batches

N, BATCH = 24, 12
LABELS = np.arange(N) % 10


@pytest.fixture(autouse=True)
def numpy_mode(framework, d2l):
    if framework == "mxnet":
        from mxnet import npx

        npx.set_np()


@pytest.fixture
def images(layout, rng):
    """Images (N, 1, 28, 28), or in the framework's layout, float32 in [0, 1]."""
    return rng.random(layout(N, 1, 28, 28), dtype=np.float32)


def small(d2l, Class, **kwargs):
    d2l.set_seed(0)
    model = Class(lr=0.05, **kwargs)
    model.board.display = False
    return model


def own_data(d2l, training, val=None, batch=lambda *parts: parts):
    """A DataModule that gives batches of these arrays, made by batch(...)."""

    class Own(d2l.DataModule):
        def get_dataloader(self, train):
            arrays = training if train or val is None else val
            rows = [slice(i, i + BATCH) for i in range(0, len(arrays[0]), BATCH)]
            return [batch(*(x[r] for x in arrays)) for r in rows]

    return Own()


def fit(d2l, model, data, epochs=1):
    trainer = d2l.Trainer(epochs, precision="float32")
    trainer.fit(model, data)
    return trainer


def changed(x, value):
    x = np.array(x)
    x[3] = value
    return x


REFUSED = {  # name: (what to do with images and labels, what is said)
    "10": (lambda X, y: (X, changed(y, 10)), "labels from 0 to 10, .* 10 outputs"),
    "-1": (lambda X, y: (X, changed(y, -1)), "labels from -1 to 9, .* from 0 to 9"),
    "from one": (lambda X, y: (X, y + 1), "labels from 1 to 10.*Subtract 1"),
    "bytes": (lambda X, y: (X, (y * 25).astype("uint8")), "labels from 0 to 225"),
    "one-hot": (
        lambda X, y: (X, np.eye(10, dtype="float32")[y]),
        r"labels of shape \(12, 10\) for 12 predictions.*y.argmax\(1\)",
    ),
    "two a row": (lambda X, y: (X, np.stack([y, y], 1)), r"shape \(12, 2\) for 12"),
    "fractions": (lambda X, y: (X, y + 0.5), "labels of float64 with fractions"),
    "text": (lambda X, y: (X, [str(i) for i in y]), "the loss takes class numbers"),
    "objects": (lambda X, y: (X, y.astype(str)), "the loss takes class numbers"),
    "uint16": (lambda X, y: ((X * 65535).astype("uint16"), y), "inputs of uint16"),
    "int64": (lambda X, y: ((X * 255).astype("int64"), y), "inputs of int64"),
    "int32, no channels": (
        lambda X, y: ((X * 255).astype("int32").reshape(N, 28, 28), y),
        "inputs of int32",
    ),
    "bool": (lambda X, y: (X > 0.5, y), "inputs of bool"),
    "float16": (lambda X, y: (X.astype("float16"), y), "inputs of float16"),
    "flat bytes": (
        lambda X, y: ((X * 255).astype("uint8").reshape(N, -1), y),
        r"uint8 and shape \(12, 784\)",
    ),
    "nan": (lambda X, y: (changed(X, np.nan), y), "nan or infinite, in 1 of 12"),
    "inf": (lambda X, y: (changed(X, -np.inf), y), "nan or infinite, in 1 of 12"),
    "no channels": (lambda X, y: (X.reshape(N, 28, 28), y), "images has four axes"),
    "flat": (lambda X, y: (X.reshape(N, -1), y), "images has four axes"),
    "five axes": (lambda X, y: (X[None].swapaxes(0, 1), y), "images has four axes"),
    "layout": (
        lambda X, y: (X.reshape(N, *X.shape[:0:-1]), y),
        "looks channels",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_batch_that_cannot_be_learnt_from_is_refused(
    framework, d2l, Tiny, images, name
):
    if (framework, name) == ("jax", "five axes"):
        pytest.skip("Flax's convolutions take any axes in front, and are right")
    change, words = REFUSED[name]
    with pytest.raises(ValueError, match=words) as error:
        fit(d2l, small(d2l, Tiny), own_data(d2l, change(images, LABELS)))
    text = str(error.value)
    assert "\n" not in text and ("training batch of Own" in text or "four" in words
                                 or "looks" in words)  # fmt: skip


@pytest.mark.parametrize("name", ["10", "-1", "from one", "one-hot", "uint16", "nan"])
def test_so_is_a_validation_batch_before_training(d2l, Small, images, name):
    change, words = REFUSED[name]
    data = own_data(d2l, (images, LABELS), change(images, LABELS))
    model = small(d2l, Small)
    with pytest.raises(ValueError, match=f"first validation batch of Own.*{words}"):
        fit(d2l, model, data)
    assert not model.trainer.train_batch_idx


ACCEPTED = {
    "int64": (lambda X, y: (X, y), None),
    "uint8 labels": (lambda X, y: (X, y.astype("uint8")), None),
    "whole floats": (lambda X, y: (X, y.astype("float32")), None),
    "a column": (lambda X, y: (X, y[:, None]), None),
    "float64": (lambda X, y: (X.astype("float64"), y), None),
    "bytes": (lambda X, y: (np.round(X * 255).astype("uint8"), y), 0.01),
    "bytes, no channels": (
        lambda X, y: (np.round(X * 255).astype("uint8").reshape(N, 28, 28), y), 0.01,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_says_the_same_trains_the_same(d2l, Small, images, name):
    change, tolerance = ACCEPTED[name]
    plain, ours = (
        fit(d2l, small(d2l, Small), own_data(d2l, arrays)).history
        for arrays in ((images, LABELS.astype("int32")), change(images, LABELS))
    )
    for key in ("train_loss", "val_loss", "train_acc"):
        assert ours[key] == pytest.approx(plain[key], rel=tolerance or 1e-5)


def test_inputs_for_a_forward_of_ones_own_are_only_warned_of(
    framework, d2l, Small, images
):
    """It may put right what the library could not know how to."""

    class Mending(Small):
        def forward(self, X):
            return super().forward(X * 0 + 0.5 if framework == "mxnet" else mended(X))

    def mended(X):
        if framework == "pytorch":
            return X.nan_to_num()
        if framework == "tensorflow":
            import tensorflow as tf

            return tf.where(tf.math.is_nan(X), 0.0, X)
        from jax import numpy as jnp

        return jnp.nan_to_num(X)

    X = images if framework == "mxnet" else changed(images, np.nan)  # it has no such
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = own_data(d2l, (X, LABELS))
        losses = fit(d2l, small(d2l, Mending), data).history["train_loss"]
    assert np.isfinite(losses).all()
    said = [str(w.message) for w in caught if "training batch of Own" in str(w.message)]
    assert len(said) == (framework != "mxnet")


def squares(framework, d2l):
    """A Module with a loss of its own: labels are any numbers."""
    if framework == "jax":
        from flax import linen as nn

        class Squares(d2l.Module):
            lr: float = 0.01

            def setup(self):
                self.net = nn.Dense(2)

            def loss(self, params, X, Y, state):
                return ((state.apply_fn({"params": params}, *X) - Y) ** 2).mean()

        return Squares
    if framework == "pytorch":
        from torch import nn

        net = nn.LazyLinear(2)
    elif framework == "mxnet":
        from mxnet.gluon import nn

        net = nn.Dense(2)
    else:
        from tensorflow.keras import layers

        net = layers.Dense(2)

    class Squares(d2l.Module):
        def __init__(self, lr):
            super().__init__()
            self.save_hyperparameters()
            self.net = net

        def loss(self, Y_hat, Y):
            return (
                ((Y_hat - Y) ** 2).mean()
                if framework != "tensorflow"
                else mean((Y_hat - Y) ** 2)
            )

    def mean(x):
        import tensorflow as tf

        return tf.reduce_mean(x)

    return Squares


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_loss_of_ones_own_decides_what_labels_are(framework, d2l, rng, dtype):
    """Here: pairs of numbers, also negative ones."""
    X = rng.normal(size=(N, 5))
    Y = X[:, :2] - 3
    data = own_data(d2l, (X.astype(dtype), Y.astype(dtype)))
    losses = fit(d2l, small(d2l, squares(framework, d2l)), data, epochs=3).history
    assert losses["train_loss"][0] > losses["train_loss"][-1] > 0


def test_so_does_that_of_a_classifier(framework, d2l, Small, images):
    """Labels from one, say, if its loss takes them so."""

    class FromOne(Small):
        if framework == "jax":

            def loss(self, params, X, Y, state, averaged=True):
                return super().loss(params, X, Y - 1, state, averaged)

        else:

            def loss(self, Y_hat, Y, averaged=True):
                return super().loss(Y_hat, Y - 1, averaged)

    y = LABELS.astype("int32")
    plain = fit(d2l, small(d2l, Small), own_data(d2l, (images, y))).history
    ours = fit(d2l, small(d2l, FromOne), own_data(d2l, (images, y + 1))).history
    assert ours["train_loss"] == pytest.approx(plain["train_loss"], rel=1e-5)


def taking(framework, Small, unpack, seen):
    """A Classifier whose own steps take batches apart: unpack(batch) gives (X, y)."""
    if framework == "jax":
        import jax

        class Taking(Small):
            def training_step(self, params, batch, state):
                seen.append(batch)
                X, y = unpack(batch)
                loss = jax.value_and_grad(self.loss, has_aux=True)
                value, grads = loss(params, (X,), y, state)
                self.plot("loss", value[0], train=True)
                return value, grads

            def validation_step(self, params, batch, state):
                X, y = unpack(batch)
                l, _ = self.loss(params, (X,), y, state)
                self.plot("loss", l, train=False)

    else:

        class Taking(Small):
            def training_step(self, batch):
                seen.append(batch)
                X, y = unpack(batch)
                l = self.loss(self(X), y)
                self.plot("loss", l, train=True)
                return l

            def validation_step(self, batch):
                X, y = unpack(batch)
                self.plot("loss", self.loss(self(X), y), train=False)

    return Taking


BATCHES = {  # name: (batch of images and labels, (X, y) of such a batch)
    "dictionary": (lambda X, y: {"image": X, "label": y},
                   lambda b: (b["image"], b["label"])),
    "dictionary with text": (lambda X, y: {"file": ["a"] * len(y), "x": X, "y": y},
                             lambda b: (b["x"], b["y"])),
    "array": (lambda X, y: X, lambda b: (b, b[:, 0, 0, 0] * 0)),
    "three": (lambda X, y: (X, np.ones(len(y), "float32"), y),
              lambda b: (b[0], b[2])),
    "pairs": (lambda X, y: [(X, X), y], lambda b: (b[0][1], b[1])),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:MXNet could not compile")
@pytest.mark.parametrize("name", BATCHES)
def test_batches_of_any_kind_for_steps_of_ones_own(framework, d2l, Small, images, name):
    batch, unpack = BATCHES[name]
    seen = []
    model = small(d2l, taking(framework, Small, unpack, seen))
    data = own_data(d2l, (images, LABELS.astype("int32")), batch=batch)
    trainer = fit(d2l, model, data, epochs=2)
    losses = trainer.history["train_loss"] + trainer.history["val_loss"]
    assert trainer.train_batch_idx == 4 and np.isfinite(losses).all()
    assert trainer.train_images == 2 * N
    parts = batch(images[:BATCH], LABELS[:BATCH])
    assert isinstance(seen[-1], dict) == isinstance(parts, dict)
    X, _ = unpack(seen[-1])
    assert type(X).__module__.partition(".")[0] not in ("numpy", "builtins")


@pytest.mark.parametrize("name", ["dictionary", "array"])
def test_the_librarys_steps_say_what_they_take(d2l, Small, images, name):
    data = own_data(d2l, (images, LABELS), batch=BATCHES[name][0])
    with pytest.raises(
        ValueError, match=r"is a .*takes \(X, y\).*define training_step"
    ):
        fit(d2l, small(d2l, Small), data)


def unnumbered(kind, framework, arrays):
    """Batches from what has no length: get_dataloader(train)."""

    def generator(train=True):
        X, y = arrays
        for i in range(0, N, BATCH):
            yield X[i : i + BATCH], y[i : i + BATCH]

    class Iterable:
        def __iter__(self):
            return generator()

    def own(train):
        if framework == "pytorch":
            from torch.utils.data import DataLoader, IterableDataset

            Stream = type("Stream", (Iterable, IterableDataset), {})
            return DataLoader(Stream(), batch_size=None)
        import tensorflow as tf

        X, y = arrays
        return tf.data.Dataset.from_generator(
            generator,
            output_signature=(
                tf.TensorSpec((None, *X.shape[1:]), X.dtype),
                tf.TensorSpec((None,), y.dtype),
            ),
        )

    return {"generator": generator, "iterable": lambda train: Iterable(), "own": own}[
        kind
    ]


@pytest.mark.parametrize("kind", ["generator", "iterable", "own"])
def test_loaders_without_a_length(framework, d2l, Small, images, kind):
    """The same training, and the same curves, as from a list of these batches."""
    if kind == "own" and framework not in ("pytorch", "tensorflow"):
        pytest.skip(f"{framework} has no loaders of its own without a length")
    arrays = images, LABELS.astype("int32")
    histories, curves = [], []
    listed = list(unnumbered("generator", framework, arrays)())
    # PyTorch's loader draws a random number for each pass: the list has to, as well.
    if (kind, framework) == ("own", "pytorch"):
        from torch.utils.data import DataLoader

        listed = DataLoader(listed, batch_size=None)
    for get in (lambda train: listed, unnumbered(kind, framework, arrays)):
        Data = type("Data", (d2l.DataModule,), {"get_dataloader": staticmethod(get)})
        model = small(d2l, Small)
        histories.append(fit(d2l, model, Data(), epochs=2).history)
        curves.append(model.board.data)
    for key in ("train_loss", "val_loss", "val_acc"):
        assert histories[0][key] == histories[1][key], key
    assert curves[0] == curves[1]
    assert len(curves[1]["train_loss"]) == 4 and len(curves[1]["val_acc"]) == 2


def test_resumed_without_a_length(framework, d2l, Small, images, tmp_path):
    """Stopped after its first epoch, which alone tells the number of batches."""
    get = unnumbered("generator", framework, (images, LABELS.astype("int32")))
    Data = type("Data", (d2l.DataModule,), {"get_dataloader": staticmethod(get)})
    whole = fit(d2l, small(d2l, Small), Data(), epochs=2).history
    for epochs in (1, 2):
        trainer = d2l.Trainer(epochs, precision="float32", checkpoint=tmp_path / "c")
        trainer.fit(small(d2l, Small), Data())
    for key in ("train_loss", "val_loss"):
        assert trainer.history[key] == whole[key]


def test_loaders_that_give_nothing(d2l, Small, images):
    used = iter([(images, LABELS)] * 3)

    def data(get):
        return type("Data", (d2l.DataModule,), {"get_dataloader": get})()

    for get in (lambda self, train: iter(()), lambda self, train: []):
        with pytest.raises(ValueError, match="nothing to train on"):
            fit(d2l, small(d2l, Small), data(get))
    with pytest.raises(ValueError, match=r"Data has no batches.*returned None"):
        fit(d2l, small(d2l, Small), data(lambda self, train: None))
    for get in (lambda self, train: used, lambda self, train: (b for b in used)):
        with pytest.raises(ValueError, match=r"no batch for epoch \d.*only once"):
            fit(d2l, small(d2l, Small), data(get), epochs=2)
    empty = images[:0], LABELS[:0]
    with pytest.raises(ValueError, match="first training batch of Data is empty"):
        fit(d2l, small(d2l, Small), data(lambda self, train: [empty]))
    one = images[0], 3
    with pytest.raises(ValueError, match="one example, not a batch"):
        fit(d2l, small(d2l, Small), data(lambda self, train: [one]))


def sequential(framework):
    if framework == "pytorch":
        from torch import nn

        return nn.Sequential()
    if framework == "mxnet":
        from mxnet.gluon import nn

        return nn.Sequential()
    if framework == "tensorflow":
        from tensorflow import keras

        return keras.Sequential()
    from flax import linen as nn

    return nn.Sequential([])


def test_slips(framework, d2l, Small, images):
    model, data = small(d2l, Small), own_data(d2l, (images, LABELS))
    loader = data.train_dataloader()

    def fitting(*args):
        return lambda: d2l.Trainer(1).fit(*args)

    table = [
        (fitting(sequential(framework), data), "Classifier.*not Sequential.*self.net"),
        (fitting(d2l.LeNet, data), r"LeNet is a class: give an instance, LeNet\("),
        (fitting(model, type(data)), r"Own is a class: give an instance, Own\("),
        (fitting(model, loader), r"DataModule.*not list.*get_dataloader"),
        (fitting(model, (images, LABELS)), r"DataModule.*not tuple"),
        (fitting(model, None), r"DataModule.*not NoneType"),
        (fitting(data, model), r"wrong order: it is \(model, data\)"),
        (fitting(data, data), "Classifier.*not Own"),
        (fitting(None, data), "Classifier.*not NoneType"),
        (lambda: d2l.evaluate(model, loader), "DataModule.*not list"),
        (lambda: d2l.evaluate(data, model), "network is needed"),
        (lambda: d2l.Trainer("10"), "max_epochs='10': give a whole number"),
        (lambda: d2l.Trainer(-1), "max_epochs=-1: give a whole number"),
        (lambda: d2l.Trainer(2.5), "max_epochs=2.5: give a whole number"),
        (lambda: d2l.Trainer(1, every=0), "every=0"),
        (lambda: d2l.Trainer(1, gradient_clip_val="1"), "gradient_clip_val='1'"),
        (lambda: d2l.Trainer(1, gradient_clip_val=-1), "gradient_clip_val=-1"),
        (lambda: d2l.FashionMNIST("64"), "batch_size='64': give a whole number"),
        (lambda: d2l.FashionMNIST(64.0), "batch_size=64.0: give a whole number"),
    ]
    if framework != "jax":  # there, it is a field with a value

        class Rateless(d2l.Module):
            def __init__(self):
                super().__init__()

        table.append((fitting(Rateless(), data), r"no learning rate.*save_hyperp"))
    for call, words in table:
        with pytest.raises((TypeError, ValueError)) as error:
            call()
        assert re.search(words, str(error.value)) and "\n" not in str(error.value)


def test_loaders_have_a_data_set(d2l, layout, few):
    """Its examples are those of the batches, one by one."""
    fm = d2l.FashionMNIST(batch_size=64, resize=(12, 14))
    loader = fm.val_dataloader()
    assert (len(loader.dataset), loader.batch_size) == (100, 64)
    X, y = next(iter(loader))
    for i in (0, np.int64(5), -37):
        image, label = loader.dataset[i]
        np.testing.assert_allclose(number(image), number(X[i % 100]), atol=1e-6)
        assert tuple(image.shape) == layout(1, 1, 12, 14)[1:] and label == int(
            y[i % 100]
        )
    with pytest.raises(IndexError):
        loader.dataset[100]
    tensors = d2l.tensor(np.arange(20.0)), d2l.tensor(np.arange(20.0) * 2)
    rows = type("Points", (d2l.DataModule,), {"batch_size": 8})()
    rows = rows.get_tensorloader(tensors, train=True, indices=slice(5, 15))
    assert (len(rows.dataset), rows.batch_size, len(rows)) == (10, 8, 2)
    assert [float(x) for x in rows.dataset[3]] == [8.0, 16.0]
    assert len(list(rows.dataset)) == 10


def number(x):
    return x.asnumpy() if hasattr(x, "asnumpy") else np.asarray(x)


@pytest.mark.only("pytorch")
def test_pytorchs_own_subsets_and_loaders(framework, d2l, Small, few, images):
    import torch
    from torch.utils.data import (
        ConcatDataset,
        DataLoader,
        Dataset,
        Subset,
        random_split,
    )

    fm = d2l.FashionMNIST(batch_size=64)
    assert isinstance(fm.train, Dataset) and len(fm.train) == 400
    assert fm.train[0][0].shape == (1, 28, 28) and isinstance(fm.train[0][1], int)
    assert fm.train.targets.tolist() == few.train.labels.tolist()
    assert fm.train.data.shape == (400, 28, 28)
    X, y = next(iter(DataLoader(ConcatDataset([fm.train, fm.val]), 450)))
    expected = np.concatenate([few.train.images, few.val.images[:50]]) / np.float32(255)
    np.testing.assert_allclose(X[:, 0], expected, rtol=1e-6)
    assert y[400:].tolist() == few.val.labels[:50].tolist()
    fm.train, fm.val = random_split(fm.train, [300, 100])
    assert not set(map(bytes, fm.train.images)) & set(map(bytes, fm.val.images))
    fm.val = Subset(fm.val, torch.arange(70))
    trainer = fit(d2l, small(d2l, Small), fm)
    assert (trainer.train_images, trainer.val_batch_idx) == (300, 2)
    assert trainer.plan.stored_bytes

    class Own(d2l.FashionMNIST):  # as section 4.2 writes it
        def get_dataloader(self, train):
            data = self.train if train else self.val
            return DataLoader(data, self.batch_size, shuffle=train)

    assert fit(d2l, small(d2l, Small), Own(batch_size=200)).train_batch_idx == 2


@pytest.mark.only("mxnet")
def test_gluons_own_loaders(framework, d2l, Small, few):
    from mxnet import gluon

    class Own(d2l.FashionMNIST):  # as section 4.2 writes it
        def get_dataloader(self, train):
            data = self.train if train else self.val
            return gluon.data.DataLoader(data, self.batch_size, shuffle=train)

    fm = Own(batch_size=200)
    assert len(fm.train) == 400 and fm.train[0][0].shape == (1, 28, 28)
    halved = fm.train.transform_first(lambda X: X / 2)
    np.testing.assert_allclose(number(halved[3][0]), number(fm.train[3][0]) / 2)
    assert fit(d2l, small(d2l, Small), fm).train_batch_idx == 2


def test_a_loop_of_ones_own_over_validation_batches(d2l, Small, few, images):
    """Prepared batches are what the loader gave, which itself stays as it was."""
    trainer = fit(d2l, small(d2l, Small), d2l.FashionMNIST(batch_size=50))
    for batch in trainer.val_dataloader:
        before = [np.array(number(x)) for x in batch]
        for _ in range(2):
            batch = trainer.prepare_batch(batch)
            for x, y in zip(batch, before):
                np.testing.assert_array_equal(number(x), y)
    data = own_data(d2l, ACCEPTED["bytes"][0](images, LABELS.astype("int32")))
    trainer = fit(d2l, small(d2l, Small), data)
    X, _ = trainer.prepare_batch(trainer.val_dataloader[0])
    np.testing.assert_allclose(number(X), images[:BATCH], atol=1 / 255)


@pytest.mark.parametrize(
    "rows, n",
    [((4, 4), 4), ((4, 4, 10), 4), ((7, 4), 4), ((4,), 4), ((4, 0, 4), 4), ((), 1)],
)
def test_examples_are_counted_by_most_arrays_of_a_batch(framework, rows, n):
    """In a dictionary, say, with weights of classes behind the labels."""
    arrays = [np.zeros((r, 2)) for r in rows] + [np.float32(0.5)]
    assert batches.num_examples(tuple(arrays)) == n
    assert batches.num_examples({str(i): x for i, x in enumerate(arrays)}) == n
