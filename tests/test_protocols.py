"""What the textbook's readers override works as it did in d2l 1.0.3."""

import numpy as np
import pytest
from test_names import public

# Names that a framework lacks, as d2l 1.0.3 does.
NOT_IN = {
    "tensorflow": {"randn", "swapaxes", "to"},
    "jax": {"batch_matmul", "normal", "rand", "randn", "sgd", "size"},
}
ONLY_IN = {"jax": {"get_seed"}, "tensorflow": {"Updater"}}


@pytest.fixture(autouse=True)
def numpy_mode(framework, d2l):
    """What every notebook for MXNet asks for in its first cell."""
    if framework == "mxnet":
        from mxnet import npx

        npx.set_np()


def small(d2l, name="LeNet", **kwargs):
    d2l.set_seed(0)
    model = getattr(d2l, name)(**kwargs)
    model.board.display = False
    return model


def fit(d2l, model, epochs=1, trainer=None, batch_size=100):
    trainer = (trainer or d2l.Trainer)(max_epochs=epochs, precision="float32")
    trainer.fit(model, d2l.FashionMNIST(batch_size=batch_size))
    return trainer


def test_the_same_names_everywhere(framework, d2l):
    from importlib import import_module

    extra = import_module(f"{d2l.__name__}.textbook")
    expected = set(public("torch/textbook")) - NOT_IN.get(framework, set())
    expected |= ONLY_IN.get(framework, set())
    assert set(extra.__all__) == expected and len(expected) > 45
    assert all(getattr(d2l, name) is not None for name in expected)
    assert not set(extra.__all__) & set(d2l.__all__)


@pytest.mark.only("jax")
def test_seeds_are_new_at_each_call_and_the_same_after_set_seed(framework, d2l):
    found = []
    for _ in range(2):
        d2l.set_seed(3)
        found.append([d2l.get_seed() for _ in range(5)])
    assert found[0] == found[1] and len(set(found[0])) == 5
    assert all(isinstance(n, int) and 0 <= n < 2**31 for n in found[0])


def test_the_extra_names_are_loaded_only_when_asked_for(observed):
    assert not observed["textbook before"] and observed["textbook after"]
    assert observed["plt"]


def test_prepare_batch_sees_what_the_loader_gives(d2l, layout, few):
    seen = []

    class Seeing(d2l.Trainer):
        def prepare_batch(self, batch):
            seen.append(batch)
            return super().prepare_batch(batch)

    fit(d2l, small(d2l), trainer=Seeing)
    X, y = seen[-1]
    assert tuple(X.shape) == layout(100, 1, 28, 28) and len(y) == 100
    assert "float32" in str(X.dtype)
    assert len(seen) >= 5


def test_a_loss_of_ones_own(framework, d2l, few):
    """Ten times the loss, ten times the steps."""

    class Loud(d2l.LeNet):
        if framework == "jax":

            def loss(self, params, X, Y, state, averaged=True):
                value = super().loss(params, X, Y, state, averaged)
                return 10 * value[0], {}  # as the textbook's, without what we add

        else:

            def loss(self, Y_hat, Y, averaged=True):
                return 10 * super().loss(Y_hat, Y, averaged)

    d2l.set_seed(0)
    model = Loud()
    model.board.display = False
    history = fit(d2l, model).history
    assert 20 < history["val_loss"][0] < 40 and 0 <= history["val_acc"][0] <= 1


def test_a_loss_of_the_framework(framework, d2l, few):
    """Labels arrive as the framework's own functions take them."""

    class Own(d2l.LeNet):
        if framework == "pytorch":

            def loss(self, Y_hat, Y, averaged=True):
                import torch

                return torch.nn.functional.cross_entropy(Y_hat, Y, label_smoothing=0.1)

        elif framework == "mxnet":

            def loss(self, Y_hat, Y, averaged=True):
                from mxnet import gluon

                return gluon.loss.SoftmaxCrossEntropyLoss()(Y_hat, Y).mean()

        elif framework == "tensorflow":

            def loss(self, Y_hat, Y, averaged=True):
                import tensorflow as tf

                function = tf.keras.losses.SparseCategoricalCrossentropy(True)
                return function(Y, Y_hat)

        else:

            def loss(self, params, X, Y, state, averaged=True):
                import optax

                Y_hat = state.apply_fn({"params": params}, *X)
                function = optax.softmax_cross_entropy_with_integer_labels
                return function(Y_hat, Y).mean(), {}

    d2l.set_seed(0)
    model = Own()
    model.board.display = False
    history = fit(d2l, model).history
    assert 2 < history["train_loss"][0] < 4


def test_corr2d(framework, d2l):
    X, K = np.arange(9.0, dtype="float32").reshape(3, 3), np.ones((2, 2), "float32")
    made = d2l.corr2d(d2l.tensor(X), d2l.tensor(K))
    numbers = made.asnumpy() if hasattr(made, "asnumpy") else np.asarray(made)
    np.testing.assert_allclose(numbers, [[8, 12], [20, 24]])


def test_helpers(framework, d2l):
    x = d2l.tensor([[1.0, 2.0], [3.0, 4.0]])
    flat = d2l.reshape(x, (-1,))
    assert tuple(flat.shape) == (4,)
    assert float(d2l.reduce_sum(x)) == 10 and float(d2l.reduce_mean(x)) == 2.5
    assert [int(i) for i in d2l.argmax(x, axis=1)] == [1, 1]
    assert "int32" in str(d2l.astype(x, d2l.int32).dtype)
    assert isinstance(d2l.numpy(x), np.ndarray)
    assert tuple(d2l.concat((x, x), 0).shape) == (4, 2)
    assert tuple(d2l.expand_dims(x, 0).shape) == (1, 2, 2)
    assert tuple(d2l.transpose(d2l.zeros((2, 3))).shape) == (3, 2)


def test_tensorloader(d2l):
    d2l.set_seed(3)
    w = d2l.tensor([2.0, -3.4])
    data = d2l.SyntheticRegressionData(w, 4.2, num_train=100, num_val=10, batch_size=32)
    loader = data.train_dataloader()
    assert len(loader) == 4 and len(data.val_dataloader()) == 1
    passes = [np.concatenate([np.asarray(_numpy(y)) for _, y in loader]) for _ in "ab"]
    assert passes[0].shape == (100, 1)
    assert not np.array_equal(*passes)
    np.testing.assert_array_equal(*map(np.sort, (p.ravel() for p in passes)))
    ordered = np.concatenate([_numpy(y) for _, y in data.val_dataloader()])
    np.testing.assert_allclose(ordered, _numpy(data.y)[100:])


def _numpy(x):
    return x.asnumpy() if hasattr(x, "asnumpy") else np.asarray(x)
