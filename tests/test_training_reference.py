"""Training against an independent reference; run with `pytest --framework jax`.

What a step, a dropout mask, an order or a checkpoint is, is computed here in NumPy,
or read off a network that was made to reveal it.
"""

from importlib import import_module

import made_networks
import numpy as np
import pytest

from book.source import cells
from book.source.book import BOOK
from book.source.reading import read_source
from d2l_utils import sources, weights
from d2l_utils.frameworks import FRAMEWORKS

# Networks whose loss reveals what they were shown ----------------------------------

DARKEST = 255  # a stored byte; 1.0 as the network sees it
SHADE = 40  # a loss of more than 17 is, in float32, the difference of two logits


def revealing(values, p=None):
    """(layers, weights) of a network whose loss is the sum of values * pixels.

    The label is 0 and its logit the negative of the sum, the other logit is 0. With
    p, dropout comes before the sum.
    """
    dropout = [("dropout", p)] if p else []
    layers = (("flatten",), *dropout, ("dense", 2))
    weight = np.zeros((2, 28 * 28), np.float32)
    weight[0, : len(values)] = -np.asarray(values)
    return layers, {"dense0.weight": weight, "dense0.bias": np.zeros(2, np.float32)}


def masks_seen(losses, p):
    """How many pixels the dropout of `revealing` let through in each step."""
    return np.array(losses) * (1 - p) * 28 * 28 / SHADE


@pytest.fixture
def made(framework, d2l, tmp_path):
    """made(layers, tensors, **settings): the network of the framework, loaded."""
    Made = made_networks.made_class(framework, d2l)

    def make(layers, tensors, **settings):
        path = tmp_path / "start.safetensors"
        about = {"input_shape": (1, 28, 28), "num_classes": 10}
        weights.write(path, tensors, model="Made", **about)
        model = Made(layers, **settings)
        loaded = d2l.load_weights(model, path)
        model = model.bind(loaded) if framework == "jax" else loaded
        model.board.display = False
        return model

    return make


@pytest.fixture
def saved(d2l, tmp_path):
    """saved(model): its weights {stored name: array}."""

    def save(model):
        d2l.save_weights(model, tmp_path / "saved.safetensors")
        return weights.read(tmp_path / "saved.safetensors")[0]

    return save


def with_data(fm, train, val):
    """The data with other images and labels."""
    fm.train, fm.val = (sources.Split(*part) for part in (train, val))
    return fm


def ink(n):
    """Images (n, 28, 28): all pixels have ink. Labels (n,): all 0."""
    return np.full((n, 28, 28), DARKEST, np.uint8), np.zeros(n, np.uint8)


def real(n):
    """The first n real images and their labels."""
    split = sources.load_sample().val
    return split.images[:n], split.labels[:n]


def inputs(images):
    """Stored images as a network gets them, (n, 1, 28, 28)."""
    return images[:, None] / 255


def fit(d2l, model, data, epochs, **settings):
    """The trainer after training, and the training loss of every step."""
    model.plot_train_per_epoch = len(data.train_dataloader())
    trainer = d2l.Trainer(epochs, precision="float32", **settings)
    trainer.fit(model, data)
    return trainer, [y for _, y in model.board.data["train_loss"]]


# Steps ----------------------------------------------------------------------------

SMALL = (("conv", 4, 5, 3), ("relu",), ("flatten",), ("dense", 10))


def batches_of(images, labels, batch_size, seed, epochs):
    """The batches of all epochs, in the order that is promised."""
    for epoch in range(epochs):
        order = np.random.default_rng([seed, epoch]).permutation(len(labels))
        for i in range(0, len(labels), batch_size):
            chosen = order[i : i + batch_size]
            yield inputs(images[chosen]), labels[chosen]


def kept(channels_last, p):
    """Masks of dropout, from what it has given: a unit it kept is not 0.

    One that was 0 before, behind ReLU, changes nothing, whether it was kept or not.
    """
    masks = []
    for x in made_networks.SEEN:
        if channels_last:
            x = x.reshape(len(x), 8, 8, 4).transpose(0, 3, 1, 2).reshape(len(x), -1)
        masks.append((x != 0) / (1 - p))
    return masks


@pytest.mark.parametrize(
    "momentum, clip, p",
    [(0.9, 0, 0), (0, 2.0, 0), (0.9, 2.0, 0), (0.9, 0, 0.4)],
    ids=["momentum", "clip", "both", "dropout"],
)
def test_twenty_steps(framework, d2l, few, rng, made, saved, momentum, clip, p):
    """Four epochs of five steps, the last of each with 6 examples instead of 16.

    Which units dropout drops is read off the training, all else is computed.
    """
    lr, seed, epochs, val = 0.02, 11, 4, real(90)
    train = tuple(x[20:] for x in val)
    layers = (*SMALL[:-1], ("dropout", p), ("seen",), SMALL[-1]) if p else SMALL
    start = made_networks.made_weights(layers, rng)
    batches = list(batches_of(*train, 16, seed, epochs))

    d2l.set_seed(seed)
    made_networks.SEEN.clear()
    model = made(layers, start, lr=lr, momentum=momentum)
    data = with_data(d2l.FashionMNIST(batch_size=16), train, val)
    trainer, losses = fit(d2l, model, data, epochs, gradient_clip_val=clip)

    masks = kept(FRAMEWORKS[framework].channels_last, p) if p else None
    settings = lr, momentum, clip, masks
    results, end, norms = made_networks.sgd(layers, start, batches, *settings)
    if clip:
        assert (norms > clip).any() and (norms < clip).any()
    assert len(losses) == len(batches) == 20
    np.testing.assert_allclose(losses, [loss for loss, _ in results], rtol=1e-4)
    sizes = np.array([len(y) for _, y in batches[:5]])
    means = [sizes @ results[i : i + 5] / sizes.sum() for i in range(0, 20, 5)]
    for key, expected in zip(("train_loss", "train_acc"), np.transpose(means)):
        np.testing.assert_allclose(trainer.history[key], expected, rtol=1e-4)
    images, labels = val
    loss, accuracy = made_networks.measured(
        made_networks.forward(layers, end, inputs(images)), labels
    )
    assert trainer.history["val_loss"][-1] == pytest.approx(loss, rel=1e-4)
    assert trainer.history["val_acc"][-1] == pytest.approx(accuracy)
    for name, w in saved(model).items():
        update = end[name] - start[name]
        error = np.linalg.norm(w - end[name]) / np.linalg.norm(update)
        assert error < 1e-3, name


# Dropout --------------------------------------------------------------------------


def masked(d2l, made, values, p, seed, **settings):
    """Losses of 12 steps of one example, two epochs, behind dropout."""
    d2l.set_seed(seed)
    data = with_data(d2l.FashionMNIST(batch_size=1), ink(6), ink(2))
    layers, tensors = revealing(values, p)
    return fit(d2l, made(layers, tensors), data, 2, **settings)


def test_dropout_drops_its_share_and_scales_the_rest(d2l, few, made):
    """In training only: validation sees all pixels as they are."""
    n, p = 28 * 28, 0.3
    trainer, losses = masked(d2l, made, np.full(n, SHADE / n), p, seed=1)
    counts = masks_seen(losses, p)
    np.testing.assert_allclose(counts, counts.round(), atol=0.02)
    spread = np.sqrt(n * p * (1 - p))
    assert (abs(counts - n * (1 - p)) < 5 * spread).all()
    assert abs(counts.mean() - n * (1 - p)) < 5 * spread / np.sqrt(len(counts))
    assert trainer.history["val_loss"] == pytest.approx([SHADE, SHADE], rel=1e-5)


def test_every_step_has_a_dropout_mask_of_its_own(d2l, few, made, tmp_path):
    """In another training, of another seed, too; with checkpoints as without."""
    values = np.random.default_rng(5).uniform(0.5, 1.5, 28 * 28) * SHADE / 28**2
    losses = []
    for seed, checkpoint in ((1, None), (2, None), (3, tmp_path / "checkpoint")):
        losses += masked(d2l, made, values, 0.5, seed, checkpoint=checkpoint)[1]
    assert len(losses) == len(set(losses)) == 36


def test_every_example_has_a_dropout_mask_of_its_own(d2l, few, made):
    """The mean of many masks lies near the expected one; that of copies does not."""
    n, p = 28 * 28, 0.5
    d2l.set_seed(3)
    data = with_data(d2l.FashionMNIST(batch_size=100), ink(500), ink(2))
    losses = fit(d2l, made(*revealing(np.full(n, SHADE / n), p)), data, 1)[1]
    spread = np.sqrt(n * p * (1 - p) / 100)
    assert (abs(masks_seen(losses, p) - n * (1 - p)) < 5 * spread).all()


# Order ----------------------------------------------------------------------------

EXAMPLES, BATCH = 14, 4


def orders(seed):
    """The promised order of two epochs, in batches: the last has two examples."""
    for epoch in range(2):
        order = np.random.default_rng([seed, epoch]).permutation(EXAMPLES).tolist()
        yield [order[i : i + BATCH] for i in range(0, EXAMPLES, BATCH)]


def numbered(FashionMNIST):
    """Data whose image i has ink at pixel i alone; validation shows them in turn."""
    images = DARKEST * np.eye(EXAMPLES, 28 * 28, dtype=np.uint8).reshape(-1, 28, 28)
    labels = np.zeros(EXAMPLES, np.uint8)
    fm = FashionMNIST(batch_size=BATCH)
    return with_data(fm, (images, labels), (images, labels))


def examples_in(loss, n):
    """Which examples a batch had, from its loss: each adds SHADE and a bit of its own.

    The loss is a mean over the n examples.
    """
    bits = round(loss * n - SHADE * n)
    return {i for i in range(EXAMPLES) if bits >> i & 1}


@pytest.mark.parametrize("seed, own", [(3, False), (4, False), (4, True)])
def test_the_trainer_shows_the_examples_in_the_promised_order(
    d2l, few, made, seed, own
):
    """From the stored bytes, and from the loaders where the reader wants these."""

    class OwnLoaders(d2l.FashionMNIST):
        def get_dataloader(self, train):
            return super().get_dataloader(train)

    d2l.set_seed(seed)
    model = made(*revealing(SHADE + 2.0 ** np.arange(EXAMPLES)))
    data = numbered(OwnLoaders if own else d2l.FashionMNIST)
    losses = iter(fit(d2l, model, data, 2)[1])
    for epoch in orders(seed):
        for batch in epoch:
            assert examples_in(next(losses), len(batch)) == set(batch)


def in_framework(framework, x):
    """A NumPy array as the framework's tensor."""
    if framework == "mxnet":
        from mxnet import np as mxnet_np

        return mxnet_np.array(x)
    module, name = {
        "pytorch": ("torch", "tensor"),
        "tensorflow": ("tensorflow", "constant"),
        "jax": ("jax.numpy", "asarray"),
    }[framework]
    return getattr(import_module(module), name)(x)


def in_numpy(x):
    return np.asarray(x.asnumpy() if hasattr(x, "asnumpy") else x)


@pytest.mark.parametrize("seed", [3, 4])
def test_loaders_give_the_examples_in_the_promised_order(d2l, few, seed):
    """The order is that of the seed when the data was made."""
    d2l.set_seed(seed)
    data = numbered(d2l.FashionMNIST)
    d2l.set_seed(seed + 1)
    loader = data.train_dataloader()
    for epoch in orders(seed):
        batches = [in_numpy(X).reshape(len(X), -1).argmax(axis=1) for X, _ in loader]
        assert [b.tolist() for b in batches] == epoch
    shown = [in_numpy(X).reshape(len(X), -1).argmax(axis=1) for X, _ in
             data.val_dataloader()]  # fmt: skip
    assert np.concatenate(shown).tolist() == list(range(EXAMPLES))


@pytest.mark.parametrize("seed", [3, 4])
def test_tensorloaders_give_the_rows_in_the_promised_order(framework, d2l, seed):
    """Rows that belong together stay together, and those left out are left out."""
    rows = np.arange(EXAMPLES + 5, dtype=np.float32)

    class Own(d2l.DataModule):
        batch_size = BATCH

        def get_dataloader(self, train):
            of = slice(0, EXAMPLES) if train else slice(EXAMPLES, None)
            pair = rows[:, None], 10 * rows
            tensors = tuple(in_framework(framework, x) for x in pair)
            return self.get_tensorloader(tensors, train, of)

    d2l.set_seed(seed)
    data = Own()
    loader = data.train_dataloader()
    assert len(loader) == 4
    for epoch in orders(seed):
        batches = [tuple(map(in_numpy, batch)) for batch in loader]
        assert [X[:, 0].tolist() for X, _ in batches] == epoch
        assert all((10 * X[:, 0] == y).all() for X, y in batches)
    left = [in_numpy(y).tolist() for _, y in data.val_dataloader()]
    assert left == [[140, 150, 160, 170], [180]]


# Evaluation and prediction --------------------------------------------------------

NORMED = (("conv", 4, 5, 3), ("norm",), ("relu",), ("flatten",), ("dropout", 0.5),
          ("dense", 10))  # fmt: skip


def check_inference(d2l, model, tensors, data):
    """evaluate and predict give what NumPy gives, in evaluation mode."""
    images, labels = data.val
    logits = made_networks.forward(NORMED, tensors, inputs(images))
    predicted = d2l.predict(model, images[:, None])
    assert predicted.dtype == np.float32
    assert np.abs(predicted - logits).max() < 1e-5 * np.abs(logits).max()
    loss, accuracy = made_networks.measured(logits, labels)
    expected = {"loss": pytest.approx(loss, rel=1e-5), "acc": pytest.approx(accuracy)}
    assert d2l.evaluate(model, data) == expected
    return expected


def test_evaluate_and_predict_are_exact_and_in_evaluation_mode(
    d2l, few, rng, made, saved
):
    """Before training, after it, and in its validation; in more than one batch."""
    start = made_networks.made_weights(NORMED, rng)
    data = with_data(d2l.FashionMNIST(batch_size=64), real(64), real(300))
    model = made(NORMED, start, lr=0.01)
    check_inference(d2l, model, start, data)
    for name, w in saved(model).items():
        if not name.endswith(weights.BATCHES):  # PyTorch counts them
            np.testing.assert_array_equal(w, start[name])

    trainer = d2l.Trainer(1)  # in bfloat16 where that is faster
    trainer.fit(model, data)
    end = saved(model)
    moved = [k for k in start if not np.array_equal(end[k], start[k])]
    assert {"bn0.mean", "bn0.var", "conv0.weight", "dense0.bias"} <= set(moved)
    expected = check_inference(d2l, model, end, data)
    assert trainer.history["val_loss"] == [expected["loss"]]
    assert trainer.history["val_acc"] == [expected["acc"]]


# Checkpoints ----------------------------------------------------------------------


class Broken(Exception):
    pass


def test_a_checkpoint_holds_the_step_that_it_says(
    d2l, few, rng, made, saved, tmp_path, capsys
):
    """Cut off right after it, a training ends bit for bit as one that was not.

    The epochs have five steps, every third makes a checkpoint: one is in the second
    epoch behind the first step.
    """
    layers = (*SMALL[:-1], ("dropout", 0.5), SMALL[-1])
    start = made_networks.made_weights(layers, rng)

    class Breaking(d2l.FashionMNIST):
        """Fails when it is asked for the second batch of the second epoch."""

        breaks = True

        def batches(self, train, number=0, *args):
            for i, batch in enumerate(super().batches(train, number, *args)):
                if self.breaks and train and (number, i) == (1, 1):
                    raise Broken
                yield batch

    def train(path, breaks, display=False):
        d2l.set_seed(6)
        data = with_data(Breaking(batch_size=16), real(70), real(20))
        data.breaks = breaks
        model = made(layers, start, lr=0.02, momentum=0.9)
        model.board.display = display
        trainer = d2l.Trainer(2, precision="float32", checkpoint=path, every=3)
        trainer.fit(model, data)
        history = {k: v for k, v in trainer.history.items() if k != "seconds"}
        return history, {k: w.tobytes() for k, w in saved(model).items()}

    whole = train(tmp_path / "whole", breaks=False)
    cut = tmp_path / "cut"
    with pytest.raises(Broken):
        train(cut, breaks=True)
    resumed = train(cut, breaks=False, display=True)
    words = "1 of 2 epochs are done, and 1 of the 5 steps of the next"
    assert words in capsys.readouterr().out
    assert resumed == whole


# Initial values -------------------------------------------------------------------

# Networks with every kind of layer of a section, and the pixels of their images. The
# sections draw weights by Glorot and Bengio's rule, the exercises by He's, which the
# PyTorch tabs apply themselves.
NETWORKS = {
    "nin": {"NiN": 67, "NiN28": 28},
    "googlenet": {"GoogleNet": 32},
    "nin_exercises": {"dense head": 28},
    "googlenet_exercises": {"batch norm": 28},
}


@pytest.mark.parametrize("section", NETWORKS)
def test_initial_values(framework, d2l, layout, few, tmp_path, section):
    """Uniform or normal with the right spread; biases are zero."""
    namespace = cells.load(section, framework)
    if section == "googlenet":
        namespace["GoogleNet"] = short(namespace["GoogleNet"])
    glorot = "exercises" not in section
    for name, size in NETWORKS[section].items():
        d2l.set_seed(7)
        model = (namespace.get("variants") or namespace)[name]()
        variables = build(framework, d2l, model, layout(1, 1, size, size))
        if framework == "pytorch" and not glorot:
            model.apply(init_he(section, namespace))
        path = tmp_path / "w.safetensors"
        d2l.save_weights(model, path, *variables)
        tensors = weights.read(path)[0]
        assert len(tensors) > 8
        for key, w in tensors.items():
            kind, part = key.rstrip("0123456789.").split(".")[0], key.split(".")[1]
            if part != "weight" or kind.startswith("bn"):
                assert (w == (part in ("var", "weight"))).all(), key
                continue
            check_spread(w, glorot, f"{name}: {key}")


def short(GoogleNet):
    """A GoogLeNet with two of the nine Inception blocks, which are all alike."""

    class GoogleNet(GoogleNet):
        b3 = b4 = GoogleNet.b2

    return GoogleNet


def init_he(section, namespace):
    """The function of the PyTorch tab that its trainings apply."""
    for cell in read_source(BOOK, section):
        if "pytorch" in cell.tabs and "def init_he" in cell.source:
            exec(cell.source, namespace)
    return namespace["init_he"]


def build(framework, d2l, model, shape):
    """Give the network its initial values; in JAX, they are returned in a list."""
    X = np.zeros(shape, np.float32)
    if framework == "jax":
        from jax import random

        # Keys of this kind compile in half the time.
        return [model.apply_init((X,), random.key(7, impl="unsafe_rbg"))]
    model.apply_init([in_framework(framework, X)])
    return []


def check_spread(w, glorot, where):
    """Six standard errors for what is drawn at random."""
    area = np.prod(w.shape[2:])
    fan_in, fan_out = w.shape[1] * area, w.shape[0] * area
    wide = np.sqrt((2 / (fan_in + fan_out)) if glorot else 2 / fan_in)
    kurtosis = 1.8 if glorot else 3
    assert abs(w.mean()) < 6 * wide / np.sqrt(w.size), where
    assert abs(w.std() / wide - 1) < 3 * np.sqrt((kurtosis - 1) / w.size), where
    if glorot:
        bound = np.sqrt(3) * wide
        assert bound * (1 - 20 / w.size) < np.abs(w).max() <= bound * (1 + 1e-6), where
