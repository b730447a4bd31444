"""Readers' own code around the Trainer, as a textbook's reader would type it."""

import threading

import pytest


@pytest.fixture(autouse=True)
def numpy_mode(framework, d2l):
    """What every notebook for MXNet asks for in its first cell."""
    if framework == "mxnet":
        from mxnet import npx

        npx.set_np()


def fit(d2l, model, data=None, trainer=None, epochs=1):
    """A training of few steps in float32; returns its Trainer."""
    model.board.display = False
    trainer = trainer or d2l.Trainer(epochs, precision="float32")
    trainer.fit(model, data or d2l.FashionMNIST(batch_size=100))
    return trainer


# Models -----------------------------------------------------------------------------


@pytest.mark.only("pytorch")
def test_lazy_layers_beside_what_cannot_be_copied(framework, d2l, few, tmp_path):
    """Trials of a size leave lazy layers lazy, whatever else the model holds."""
    from torch import nn

    class Net(d2l.Classifier):
        def __init__(self, lr=0.05, num_classes=10):
            super().__init__()
            self.save_hyperparameters()
            self.writer = threading.Lock()
            self.net = nn.Sequential(
                nn.LazyConv2d(4, 9),
                nn.LazyBatchNorm2d(),
                nn.Flatten(),
                nn.LazyLinear(10),
            )

    model = Net()
    weight = model.net[3].weight
    with pytest.raises(ValueError, match="smallest that works is 9x9"):
        model.layer_summary((1, 1, 4, 4))
    lazy = [type(layer).__name__ for layer in model.net]
    assert lazy == ["LazyConv2d", "LazyBatchNorm2d", "Flatten", "LazyLinear"]
    assert d2l.resources(model, (1, 1, 12, 12)).params == 4 * 82 + 8 + 64 * 10 + 10
    assert model.net[3].weight is weight and type(model.net[3]) is nn.Linear
    d2l.save_weights(model, tmp_path / "w")
    with pytest.raises(ValueError, match="do not fit"):
        d2l.load_weights(d2l.LeNet(), tmp_path / "w")
    other = d2l.load_weights(Net(), tmp_path / "w")
    assert (other.net[3].weight == weight).all()
    fit(d2l, Net())


@pytest.mark.only("pytorch")
def test_weights_of_any_number_of_dimensions(framework, d2l, few):
    from torch import nn

    class Net(d2l.Classifier):
        def __init__(self, lr=0.05):
            super().__init__()
            self.save_hyperparameters()
            self.net = nn.Sequential(
                *(nn.Unflatten(1, (1, 1)), nn.LazyConv3d(2, (1, 3, 3), stride=2)),
                *(nn.Flatten(2), nn.LazyConv1d(3, 3), nn.Flatten(), nn.LazyLinear(10)),
            )

    assert fit(d2l, Net()).history["val_loss"][0] < 2.5
