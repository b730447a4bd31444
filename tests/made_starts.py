"""Networks that ask for `init_cnn` or `init_he` as each framework expects it.

`classes(framework, d2l, init)` returns them by name. Their weights are, in this order:
"LeNet": a convolution, one in groups, and two dense layers, the first behind a
flattening. "Crossed": two convolutions that are defined in the other order.
"""

GROUPED = [(6, 1, 5, 5), (4, 3, 3, 3)]
SHAPES = {  # of stored weights, for 28 pixels: (convolutions, dense layers)
    "LeNet": (GROUPED, [(7, 4 * 5 * 5), (10, 7)]),
    "Crossed": ([(3, 1, 3, 3), (10, 3, 26, 26)], []),
}


def pytorch(d2l, init):
    from torch import nn

    class LeNet(d2l.Classifier):
        def __init__(self, lr=0.0, num_classes=10):
            super().__init__()
            self.save_hyperparameters()
            self.net = nn.Sequential(
                nn.LazyConv2d(6, 5, stride=2), nn.ReLU(),
                nn.LazyConv2d(4, 3, stride=2, groups=2), nn.ReLU(),
                nn.Flatten(), nn.LazyLinear(7), nn.ReLU(), nn.LazyLinear(num_classes),
            )  # fmt: skip
            self.net.apply(init)

    class Crossed(d2l.Classifier):
        def __init__(self, lr=0.0, num_classes=10):
            super().__init__()
            self.save_hyperparameters()
            self.late = nn.Conv2d(3, num_classes, 26)
            self.early = nn.Conv2d(1, 3, 3)
            self.net = nn.ModuleList([self.late, self.early])

        def forward(self, X):
            return self.late(self.early(X)).flatten(1)

    return {"LeNet": LeNet, "Crossed": Crossed}


def mxnet(d2l, init):
    from mxnet import npx
    from mxnet.gluon import nn

    npx.set_np()

    class LeNet(d2l.Classifier):
        def __init__(self, lr=0.0, num_classes=10):
            super().__init__()
            self.save_hyperparameters()
            self.net = nn.HybridSequential()
            self.net.add(
                nn.Conv2D(6, 5, 2, activation="relu"),
                nn.Conv2D(4, 3, 2, groups=2, activation="relu"),
                nn.Flatten(), nn.Dense(7, activation="relu"), nn.Dense(num_classes),
            )  # fmt: skip
            self.net.initialize(init)

    class Crossed(d2l.Classifier):
        def __init__(self, lr=0.0, num_classes=10):
            super().__init__()
            self.save_hyperparameters()
            self.late = nn.Conv2D(num_classes, 26, in_channels=3)
            self.early = nn.Conv2D(3, 3, in_channels=1)
            self.net = nn.HybridSequential()
            self.net.add(self.late, self.early)

        def forward(self, X):
            return self.late(self.early(X)).reshape((len(X), -1))

    return {"LeNet": LeNet, "Crossed": Crossed}


def tensorflow(d2l, init):
    from tensorflow import keras
    from tensorflow.keras import layers as nn

    ours = {"kernel_initializer": init}

    class LeNet(d2l.Classifier):
        def __init__(self, lr=0.0, num_classes=10):
            super().__init__()
            self.save_hyperparameters()
            self.net = keras.Sequential([
                nn.Conv2D(6, 5, 2, activation="relu", **ours),
                nn.Conv2D(4, 3, 2, groups=2, activation="relu", **ours),
                nn.Flatten(), nn.Dense(7, activation="relu", **ours),
                nn.Dense(num_classes, **ours),
            ])  # fmt: skip

    class Crossed(d2l.Classifier):
        def __init__(self, lr=0.0, num_classes=10):
            super().__init__()
            self.save_hyperparameters()
            self.late = nn.Conv2D(num_classes, 26, **ours)
            self.early = nn.Conv2D(3, 3, **ours)
            self.flatten = nn.Flatten()

        def forward(self, X):
            return self.flatten(self.late(self.early(X)))

    return {"LeNet": LeNet, "Crossed": Crossed}


def jax(d2l, init):
    from flax import linen as nn

    ours = {"kernel_init": init, "padding": "VALID"}

    class LeNet(d2l.Classifier):
        lr: float = 0.0
        num_classes: int = 10

        def setup(self):
            self.net = nn.Sequential([
                nn.Conv(6, (5, 5), 2, **ours), nn.relu,
                nn.Conv(4, (3, 3), 2, feature_group_count=2, **ours), nn.relu,
                lambda X: X.reshape((len(X), -1)),
                nn.Dense(7, kernel_init=init), nn.relu,
                nn.Dense(self.num_classes, kernel_init=init),
            ])  # fmt: skip

    class Crossed(d2l.Classifier):
        lr: float = 0.0
        num_classes: int = 10

        def setup(self):
            self.late = nn.Conv(self.num_classes, (26, 26), **ours)
            self.early = nn.Conv(3, (3, 3), **ours)

        def forward(self, X):
            return self.late(self.early(X)).reshape((len(X), -1))

    return {"LeNet": LeNet, "Crossed": Crossed}


def classes(framework, d2l, init):
    """{name: class} of the networks above."""
    return globals()[framework](d2l, init)
