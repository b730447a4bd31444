"""Training by functions, as the edition before this one has it, in each framework."""

import re

import numpy as np
import pytest

from d2l_utils.figures import to_numpy
from d2l_utils.loops import Accumulator, Animator


@pytest.fixture(autouse=True)
def numpy_mode(request):
    if request.config.getoption("--framework") == "mxnet":
        from mxnet import npx

        npx.set_np()


def small_net(framework):
    """A function that makes a small network on images."""
    if framework == "pytorch":
        from torch import nn

        return lambda: nn.Sequential(
            nn.Conv2d(1, 4, 5, 2), nn.ReLU(), nn.Dropout(0.1), nn.Flatten(),
            nn.Linear(576, 10),
        )  # fmt: skip
    if framework == "mxnet":
        from mxnet.gluon import nn

        def make():
            net = nn.Sequential()
            net.add(nn.Conv2D(4, 5, 2, activation="relu"), nn.Dropout(0.1))
            net.add(nn.Dense(10))
            net.initialize()
            return net

        return make
    import tensorflow as tf

    return lambda: tf.keras.Sequential([
        tf.keras.layers.Conv2D(4, 5, 2, activation="relu"),
        tf.keras.layers.Dropout(0.1), tf.keras.layers.Flatten(),
        tf.keras.layers.Dense(10),
    ])  # fmt: skip


TRAINING = pytest.mark.only("pytorch", "mxnet", "tensorflow")


@TRAINING
def test_train_ch6_learns_and_says_how_it_went(framework, d2l, few, capsys):
    d2l.set_seed(0)
    make = small_net(framework)
    net = make if framework == "tensorflow" else make()
    train_iter, test_iter = d2l.load_data_fashion_mnist(20)
    trained = d2l.train_ch6(net, train_iter, test_iter, 4, 0.1, d2l.cpu())
    net = trained if framework == "tensorflow" else net
    said = capsys.readouterr().out
    numbers = re.search(r"loss ([\d.]+), train acc ([\d.]+), test acc ([\d.]+)", said)
    loss, train_acc, test_acc = map(float, numbers.groups())
    assert 0.5 < loss < 1.6 and train_acc > 0.45 and test_acc > 0.45
    assert "training on" in said and "examples/sec on" in said and "object" not in said
    found = d2l.evaluate_accuracy_gpu(net, test_iter)
    assert (
        round(found, 3) == test_acc == round(d2l.evaluate_accuracy(net, test_iter), 3)
    )


@TRAINING
def test_train_ch3_with_an_optimizer_of_the_framework(framework, d2l, few, monkeypatch):
    points = []
    monkeypatch.setattr(Animator, "add", lambda self, x, y: points.append((x, *y)))
    d2l.set_seed(0)
    net = small_net(framework)()
    train_iter, test_iter = d2l.load_data_fashion_mnist(20)
    if framework == "pytorch":
        import torch

        loss = torch.nn.CrossEntropyLoss(reduction="none")
        updater = torch.optim.SGD(net.parameters(), lr=0.1)
        modes = []
        net.register_forward_hook(lambda net, *_: modes.append(net.training))
    elif framework == "mxnet":
        from mxnet import gluon

        loss = gluon.loss.SoftmaxCrossEntropyLoss()
        updater = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
    else:
        import tensorflow as tf

        loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        updater = tf.keras.optimizers.SGD(0.1)
    d2l.train_ch3(net, train_iter, test_iter, loss, 3, updater)
    assert [p[0] for p in points] == [1, 2, 3]
    losses, train_acc, test_acc = (list(x) for x in list(zip(*points))[1:])
    assert losses[2] < losses[0] < 2.5 and losses[2] > 0.3
    assert train_acc[2] > train_acc[0] and test_acc[2] > 0.4
    if framework == "pytorch":  # 20 batches of training, 5 or fewer of evaluation
        assert modes[:20] == [True] * 20 and not modes[20]
    d2l.predict_ch3(net, test_iter, n=2)
    titles = [ax.get_title() for ax in d2l.plt.gcf().axes]
    assert len(titles) == 2 and all("\n" in title for title in titles)
    d2l.plt.close("all")


@TRAINING
def test_regression_from_scratch(framework, d2l):
    """A function as network, a function as updater, sums of losses."""
    d2l.set_seed(0)
    features, labels = d2l.synthetic_data(d2l.tensor([2.0, -3.4]), 4.2, 200)
    assert tuple(features.shape) == (200, 2) and tuple(labels.shape) == (200, 1)
    w, b = np.zeros((2, 1), "float32"), np.zeros(1, "float32")
    if framework == "pytorch":
        w, b = (d2l.tensor(x, requires_grad=True) for x in (w, b))
    elif framework == "mxnet":
        w, b = d2l.tensor(w), d2l.tensor(b)
        w.attach_grad(), b.attach_grad()
    else:
        import tensorflow as tf

        w, b = tf.Variable(w), tf.Variable(b)
    updater = lambda batch_size: d2l.sgd([w, b], 0.1, batch_size)  # noqa: E731
    if framework == "tensorflow":
        updater = d2l.Updater([w, b], 0.1)
    net = lambda X: d2l.linreg(X, w, b)  # noqa: E731
    batches = d2l.load_array((features, labels), 10)
    first = d2l.evaluate_loss(net, batches, d2l.squared_loss)
    for _ in range(3):
        loss, _ = d2l.train_epoch_ch3(net, batches, d2l.squared_loss, updater)
    np.testing.assert_allclose(to_numpy(w).ravel(), [2, -3.4], atol=0.05)
    np.testing.assert_allclose(to_numpy(b), [4.2], atol=0.05)
    last = d2l.evaluate_loss(net, batches, d2l.squared_loss)
    assert first > 5 and last < 1e-3 and loss < first


@pytest.mark.parametrize("resize, side", [(None, (28, 28)), (8, (8, 8)), ((8, 6),) * 2])
def test_batches_of_fashion_mnist(d2l, layout, few, resize, side):
    train_iter, test_iter = d2l.load_data_fashion_mnist(150, resize=resize)
    assert len(train_iter) == 3 and len(test_iter) == 1
    shapes = [(tuple(X.shape), len(y)) for X, y in train_iter]
    assert shapes == [(layout(n, 1, *side), n) for n in (150, 150, 100)]
    passes = [np.concatenate([to_numpy(y) for _, y in train_iter]) for _ in "ab"]
    assert not np.array_equal(*passes)
    if resize is None:  # looking at a batch is no pass
        order = [to_numpy(y) for _, y in d2l.FashionMNIST(150).train_dataloader()]
        fresh = d2l.load_data_fashion_mnist(150)[0]
        again = [to_numpy(y) for _, y in fresh]
        assert all(map(np.array_equal, order, again))


def test_functions_without_a_network(framework, d2l):
    scores = d2l.tensor([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    assert d2l.accuracy(scores, d2l.tensor([1, 0, 0])) == 2.0
    assert d2l.accuracy(d2l.tensor([1.0, 0.0]), d2l.tensor([1, 1])) == 1.0
    y_hat, y = d2l.tensor([[1.0], [3.0]]), d2l.tensor([1.0, 1.0])
    np.testing.assert_allclose(to_numpy(d2l.squared_loss(y_hat, y)), [[0], [2]])
    X, w = d2l.tensor([[1.0, 2.0]]), d2l.tensor([[1.0], [2.0]])
    np.testing.assert_allclose(to_numpy(d2l.linreg(X, w, 0.5)), [[5.5]])
    x = d2l.tensor([[1.0], [2.0], [3.0]])
    ((batch,),) = d2l.load_array((x,), 3, is_train=False)
    np.testing.assert_allclose(to_numpy(batch), to_numpy(x))
    assert d2l.get_fashion_mnist_labels(d2l.tensor([9, 0])) == ["ankle boot", "t-shirt"]


@pytest.mark.only("tensorflow")
def test_fit_of_keras_takes_the_batches(framework, d2l, few):
    net = small_net(framework)()
    loss = d2l.tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    net.compile(optimizer="sgd", loss=loss, metrics=["accuracy"])
    train_iter, test_iter = d2l.load_data_fashion_mnist(100)
    history = net.fit(train_iter, epochs=1, validation_data=test_iter, verbose=0)
    assert history.history["val_loss"][0] > 0


@pytest.mark.only("pytorch")
def test_a_residual_block_as_the_edition_before_has_it(framework, d2l):
    for given in ((64, 128), (64, 64, True)):
        with pytest.raises(TypeError, match="leave it out"):
            d2l.Residual(*given)
    assert d2l.Residual(64, True, 2).conv3 is not None


# Without a framework --------------------------------------------------------------


def test_accumulator():
    sums = Accumulator(2)
    sums.add(1, np.float32(2))
    sums.add(1, 2)
    assert (sums[0], sums[1]) == (2.0, 4.0)
    sums.reset()
    assert sums[1] == 0


def test_animator():
    animator = Animator("epoch", legend=["a", "b"], fmts=("-", "m--", "C2:", "bo"))
    animator.add(1, (0.5, None))
    animator.add(2, [0.25, 3])
    assert animator.data == {"a": [(1, 0.5), (2, 0.25)], "b": [(2, 3)]}
    assert animator.ls == ["-", "--", ":", "-"]
    assert animator.colors == ["C0", "m", "C2", "b"]
    alone = Animator()
    alone.add(0, 1.5)
    alone.add([1, 2], (1, 2))
    assert list(alone.data.values()) == [[(0, 1.5), (1, 1)], [(2, 2)]]
