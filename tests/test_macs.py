"""MACs of layers beyond convolutions and dense layers, each counted by hand here."""

import made_common
import pytest

# For two images (1, 6, 6), by `made_common`.
COMMON = {
    "conv0": 2 * 16 * (4 * 9),  # 4x4 places, 4 kernels of 3x3
    "conv1": 2 * 4 * (4 * 9),  # depthwise: 2x2 places, one kernel a channel
    "tconv0": 2 * 4 * (4 * 3 * 9),  # every number of 4x2x2 adds 3 kernels of 3x3
    "dense0": 2 * 75 * 10,
}
# And for them as two sequences (6 steps, 6 features), two channels (6, 6), and two
# volumes (1 channel, 2, 3, 6).
MORE = {
    "conv0": 2 * 4 * (5 * 6 * 3),  # 1-D: 4 places, 5 kernels of 6 channels x 3
    "conv1": 2 * (2 * 2 * 5) * (3 * 1 * 1 * 2 * 2),  # 3-D: 3 kernels of 1x2x2
    "recurrent0": 2 * 6 * 4 * (6 * 3 + 3 * 3),  # LSTM: 4 gates, from 6 and 3
    "attention0": 2 * (6 * 4 * 6 * 6 + 2 * 6 * 6 * 6),  # 4 projections, QK, and V
}


def test_common_layers(framework, d2l, layout):
    model = made_common.network(framework, d2l)()
    counted = d2l.resources(model, layout(2, 1, 6, 6))
    found = {r.name: r.macs for r in counted.rows if r.macs}
    assert found == COMMON and counted.macs == sum(COMMON.values())
    assert sum(r.params for r in counted.rows) == counted.params
    assert counted.not_counted == []
    assert {r.kind for r in counted.rows} >= {"ln", "prelu", "embedding"}


def pytorch(d2l):
    import torch
    from torch import nn

    class Net(d2l.Classifier):
        def __init__(self):
            super().__init__()
            self.flat, self.deep = nn.Conv1d(6, 5, 3), nn.Conv3d(1, 3, (1, 2, 2))
            self.lstm = nn.LSTM(6, 3, batch_first=True)
            self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
            self.own = nn.Parameter(torch.zeros(5))
            self.unused = nn.Linear(2, 3)

        def forward(self, X):
            X = X.reshape(-1, 6, 6)
            self.flat(X), self.deep(X.reshape(-1, 1, 2, 3, 6)), self.lstm(X)
            return self.attention(X, X, X)[0]

    return Net, ["Net", "unused"]


def mxnet(d2l):
    from mxnet import init, np, npx
    from mxnet.gluon import nn, rnn

    npx.set_np()

    class Own(nn.Block):
        def __init__(self):
            super().__init__()
            self.scale = self.params.get("scale", shape=(5,), init=init.One())

        def forward(self, X):
            return X + self.scale.data()[0]

    class Net(d2l.Classifier):
        def __init__(self):
            super().__init__()
            self.flat, self.deep = nn.Conv1D(5, 3), nn.Conv3D(3, (1, 2, 2))
            self.lstm, self.own = rnn.LSTM(3, layout="NTC"), Own()

        def forward(self, X):
            X = self.own(X.reshape((-1, 6, 6)))
            outputs = self.flat(X), self.deep(X.reshape((-1, 1, 2, 3, 6))), self.lstm(X)
            return np.concatenate([y.reshape((len(X), -1)) for y in outputs], axis=1)

    return Net, ["own"]


def tensorflow(d2l):
    import tensorflow as tf
    from tensorflow.keras import layers as nn

    class Own(nn.Layer):
        def build(self, shape):
            self.scale = self.add_weight(shape=(5,), name="scale")

        def call(self, X):
            return X + self.scale[0]

    class Net(d2l.Classifier):
        def __init__(self):
            super().__init__()
            self.flat, self.deep = nn.Conv1D(5, 3), nn.Conv3D(3, (1, 2, 2))
            self.lstm, self.own = nn.LSTM(3), Own()
            self.attention = nn.MultiHeadAttention(2, 3)

        def call(self, X):
            X = self.own(tf.reshape(X, (-1, 6, 6)))
            self.flat(X), self.deep(tf.reshape(X, (-1, 2, 3, 6, 1))), self.lstm(X)
            return self.attention(X, X)

    return Net, ["7.Own"]


def jax(d2l):
    from flax import linen as nn

    class Own(nn.Module):
        @nn.compact
        def __call__(self, X):
            return X + self.param("scale", nn.initializers.zeros, (5,))[0]

    class Net(d2l.Classifier):
        training: bool = False

        def setup(self):
            self.flat = nn.Conv(5, (3,), padding=0)
            self.deep = nn.Conv(3, (1, 2, 2), padding=0)
            self.lstm, self.own = nn.RNN(nn.LSTMCell(3)), Own()
            self.attention = nn.MultiHeadDotProductAttention(2)

        def __call__(self, X):
            X = self.own(X.reshape((-1, 6, 6)))
            self.flat(X), self.deep(X.reshape((-1, 2, 3, 6, 1))), self.lstm(X)
            return self.attention(X)

    return Net, ["own"]


def test_other_layers(framework, d2l, layout):
    Net, own = globals()[framework](d2l)
    counted = d2l.resources(Net(), layout(2, 1, 6, 6))
    no = "attention0" if framework == "mxnet" else None  # Gluon has none
    expected = {k: n for k, n in MORE.items() if k != no}
    assert {r.name: r.macs for r in counted.rows if r.macs} == expected
    assert sum(r.params for r in counted.rows) == counted.params
    assert counted.not_counted == own
    for name in own:
        line = next(x for x in str(counted).splitlines() if x.startswith(name))
        assert line.endswith("not counted")
    assert str(counted).splitlines()[-2] == f"MACs not counted: {', '.join(own)}"


@pytest.mark.only("tensorflow")
def test_separable(framework, d2l):
    from tensorflow import keras

    class Net(d2l.Classifier):
        def __init__(self):
            super().__init__()
            self.net = keras.layers.SeparableConv2D(5, 3, depth_multiplier=2)

    row = d2l.resources(Net(), (2, 6, 6, 3)).rows[0]
    assert row.macs == 2 * 16 * (3 * 2 * 9 + 3 * 2 * 5)  # each kernel, then all pixels


@pytest.mark.only("jax")
def test_a_scanned_layer_counts_at_each_step(framework, d2l):
    import flax.linen as nn

    class Net(d2l.Classifier):
        training: bool = False

        @nn.compact
        def __call__(self, X):
            def step(cell, h, x):
                return nn.tanh(nn.Dense(4, name="dense")(x)) + h, h

            scan = nn.scan(
                lambda self, h, x: step(self, h, x),
                variable_broadcast="params", split_rngs={"params": False}, in_axes=1,
            )  # fmt: skip
            X = X.reshape((len(X), 6, 6))
            return scan(self, X[:, 0, :4], X)[0]

    counted = d2l.resources(Net(), (2, 6, 6, 1))
    assert counted.macs == 2 * 6 * (6 * 4)


@pytest.mark.only("pytorch", "jax")
def test_a_dense_layer_with_more_to_it(framework, d2l, layout):
    """What it has beside the weight is named, and the weight counted once."""
    if framework == "pytorch":
        import torch
        from torch import nn

        class More(nn.Linear):
            def __init__(self):
                super().__init__(36, 10)
                self.down = nn.Parameter(torch.zeros(2, 36))
                self.up = nn.Parameter(torch.zeros(10, 2))

            def forward(self, X):
                return super().forward(X) + X @ self.down.T @ self.up.T

        class Net(d2l.Classifier):
            def __init__(self):
                super().__init__()
                self.net = nn.Sequential(nn.Flatten(), More())

    else:
        from flax import linen as nn

        class More(nn.Dense):
            @nn.compact
            def __call__(self, X):
                zeros = nn.initializers.zeros
                down, up = (
                    self.param("down", zeros, (36, 2)),
                    self.param("up", zeros, (2, 10)),
                )
                return nn.Dense.__call__(self, X) + X @ down @ up

        class Net(d2l.Classifier):
            def setup(self):
                self.net = nn.Sequential([lambda X: X.reshape((len(X), -1)), More(10)])

    counted = d2l.resources(Net(), layout(2, 1, 6, 6))
    assert counted.macs == 2 * 36 * 10 and len(counted.not_counted) == 1
    assert counted.params == sum(r.params for r in counted.rows) == 370 + 92


@pytest.mark.only("pytorch")
def test_a_frozen_layer_of_ones_own_is_named(framework, d2l):
    import torch
    from torch import nn

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(36, 10), requires_grad=False)

        def forward(self, X):
            return X @ self.w

    class Net(d2l.Classifier):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Flatten(), Own(), nn.Linear(10, 10))

    counted = d2l.resources(Net(), (2, 1, 6, 6))
    assert counted.not_counted == ["net.1"] and counted.params == 110
