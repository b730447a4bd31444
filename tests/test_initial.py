"""Initial weights are the same in all four frameworks: what NumPy draws by the rule.

The rule is written down here once more, so that each framework is compared with it and
not with another framework.
"""

import copy
import math
import pickle
from functools import partial

import numpy as np
import pytest
from made_starts import SHAPES, classes
from test_parity import GOOGLENET_CONVS, NIN28_CONVS, nin_block, shapes_of

from book.checks.parity_worker import Batches
from book.source import cells
from d2l_utils import inference, initial

INITS = ("init_cnn", "init_he")
NIN_CONVS = [
    *nin_block(1, 96, 11), *nin_block(96, 256, 5), *nin_block(256, 384, 3),
    *nin_block(384, 10, 3),
]  # fmt: skip


class Rule:
    """What is drawn from a seed on, one weight after the other."""

    def __init__(self, seed=1):
        self.rng = np.random.default_rng([seed, *b"weights"])

    def draw(self, shape, init="init_cnn"):
        inputs, outputs = math.prod(shape[1:]), shape[0] * math.prod(shape[2:])
        if init == "init_cnn":
            limit = math.sqrt(6 / (inputs + outputs))
            weights = self.rng.uniform(-limit, limit, shape)
        else:
            weights = self.rng.normal(0, math.sqrt(2 / inputs), shape)
        return weights.astype("float32")

    def network(self, shapes, init="init_cnn"):
        """{stored name: array}: draws, and zero biases."""
        return {
            name: self.draw(shape, init)
            if name.endswith("weight")
            else np.zeros(shape, "float32")
            for name, shape in shapes_of(*shapes).items()
        }

    def assert_next(self):
        """Nothing else was drawn."""
        with initial.aside():
            np.testing.assert_array_equal(initial.he((2, 3)), self.peek())

    def peek(self):
        return copy.deepcopy(self).draw((2, 3), "init_he")


def assert_start(model, right, variables=None):
    found = inference.stored(model, model._input_shape, variables)
    assert list(found) == list(right)
    for name, x in found.items():
        assert x.dtype == np.float32
        np.testing.assert_array_equal(x, right[name], name)


# The rule ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "init, rule", [("init_cnn", initial.glorot), ("init_he", initial.he)]
)
@pytest.mark.parametrize("shape", [(4, 3, 5, 5), (10, 7), (8, 1, 3), (2, 3, 1, 2, 2)])
def test_the_rule(init, rule, shape):
    for _ in range(2):
        initial.start(5)
        right = Rule(5)
        for size in (shape, (2, 7), shape):
            np.testing.assert_array_equal(rule(size), right.draw(size, init))
    many = rule((500, 60, 3, 3))
    inputs, outputs = 60 * 9, 500 * 9
    variance = 2 / (inputs + outputs) if init == "init_cnn" else 2 / inputs
    assert many.dtype == np.float32 and abs(many.mean()) < 1e-3
    assert many.var() == pytest.approx(variance, rel=0.01)


def test_what_is_no_weight_is_refused():
    for make in (initial.glorot, partial(initial.channels_last, initial.he)):
        with pytest.raises(ValueError, match=r"\(7,\) has no inputs"):
            make((7,))


class Model:
    pass


def test_what_is_drawn_on_the_side_does_not_count():
    initial.start(0)
    right = Rule(0)
    with initial.aside():
        first = initial.glorot((3, 2))
    np.testing.assert_array_equal(initial.glorot((3, 2)), first)
    right.draw((3, 2))
    model = Model()
    with initial.draft(model):
        weights = initial.he((4, 2))
        assert initial.drafted(model) == []  # not while the draft goes on
    right.assert_next()
    initial.glorot((1, 5)), right.draw((1, 5))
    [(drafted, again)] = initial.drafted(model)
    np.testing.assert_array_equal(drafted, weights)
    np.testing.assert_array_equal(again(), right.draw((4, 2), "init_he"))
    assert initial.drafted(model) == []


# The notebooks' networks -----------------------------------------------------------


def image(d2l, size=28):
    """An image as a model takes it."""
    return next(iter(d2l.FashionMNIST(1, size).get_dataloader(False)))[0]


def made(framework, d2l, model, size=28, init=None):
    """(model, its fresh variables in JAX) after `apply_init`."""
    X = image(d2l, size)
    if framework == "jax":
        return model, model.apply_init((X,), d2l.get_key())
    model.apply_init([X], init)
    return model, None


NETWORKS = {
    "NiN28": ("nin", 28, (NIN28_CONVS,)),
    "NiN": ("nin", 67, (NIN_CONVS,)),
    "GoogleNet": ("googlenet", 32, (GOOGLENET_CONVS, [(10, 1024)])),
}


def test_the_notebooks_networks_one_after_the_other(framework, d2l, sample):
    d2l.set_seed(1)
    right = Rule()
    for name, (section, size, shapes) in NETWORKS.items():
        model = cells.load(section, framework)[name]()
        model, variables = made(framework, d2l, model, size, d2l.init_cnn)
        assert_start(model, right.network(shapes), variables)


# As each framework expects it --------------------------------------------------------


def by_call(framework, d2l, model):
    X = image(d2l)
    if framework == "jax":
        return model.init(d2l.get_key(), X)
    model(X)
    return None


def by_fit(framework, d2l, model):
    data = d2l.FashionMNIST(batch_size=1)
    batch = next(iter(data.get_dataloader(False)))
    model.board.display = False
    d2l.Trainer(max_epochs=1, precision="float32").fit(model, Batches([batch]))
    return None


def by_predict(framework, d2l, model):
    if framework == "jax":
        return by_call(framework, d2l, model)
    d2l.predict(model, np.zeros((1, 1, 28, 28), np.uint8))
    return None


def by_apply_init(framework, d2l, model):
    return made(framework, d2l, model)[1]


WAYS = [by_call, by_fit, by_predict, by_apply_init]


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_the_idiom(way, init, framework, d2l, sample):
    LeNet = classes(framework, d2l, getattr(d2l, init))["LeNet"]
    d2l.set_seed(1)
    right = Rule()
    for _ in range(2):
        model = LeNet()
        variables = way(framework, d2l, model)
        assert_start(model, right.network(SHAPES["LeNet"], init), variables)


@pytest.mark.parametrize("name", SHAPES)
def test_apply_init_goes_by_the_order_of_use(name, framework, d2l, sample):
    Net = classes(framework, d2l, d2l.init_cnn)[name]
    d2l.set_seed(1)
    right = Rule()
    for _ in range(2):
        model, variables = made(framework, d2l, Net(), init=d2l.init_cnn)
        assert_start(model, right.network(SHAPES[name]), variables)


def test_another_rule_may_follow(framework, d2l, sample):
    """What is overwritten was not drawn."""
    if framework == "jax":
        LeNet = classes(framework, d2l, d2l.init_he)["LeNet"]
    else:
        LeNet = classes(framework, d2l, d2l.init_cnn)["LeNet"]
    d2l.set_seed(1)
    model, variables = made(framework, d2l, LeNet(), init=d2l.init_he)
    right = Rule()
    assert_start(model, right.network(SHAPES["LeNet"], "init_he"), variables)
    right.assert_next()


# On the side -------------------------------------------------------------------------


def test_looking_at_a_network_changes_no_start(
    framework, d2l, layout, sample, tmp_path
):
    LeNet = classes(framework, d2l, d2l.init_cnn)["LeNet"]
    shape, path = layout(1, 1, 28, 28), tmp_path / "w.safetensors"
    starts = Rule()
    first, second, third, fourth = (starts.network(SHAPES["LeNet"]) for _ in range(4))

    d2l.set_seed(1)
    LeNet().layer_summary(shape)
    looked_at = LeNet()
    looked_at.layer_summary(shape)
    counted = LeNet()
    d2l.resources(counted, shape)
    with pytest.raises(ValueError):
        LeNet().layer_summary(layout(1, 1, 2, 2))

    model, variables = made(framework, d2l, LeNet())
    assert_start(model, first, variables)
    bound = model.bind(variables) if framework == "jax" else model
    d2l.save_weights(bound, path)
    loaded = d2l.load_weights(LeNet(), path)
    d2l.predict(bound, np.zeros((2, 1, 28, 28), np.uint8))
    copied = copy.deepcopy(bound)
    d2l.resources(bound, shape)
    bound.layer_summary(shape)

    model, variables = made(framework, d2l, looked_at)
    assert_start(model, second, variables)
    variables = by_call(framework, d2l, counted)
    assert_start(counted, third, variables)
    assert_start(copied, first)
    if framework == "jax":
        assert_start(bound, first, loaded)
    else:
        assert_start(loaded, first)
    last = LeNet()
    by_fit(framework, d2l, last)
    assert_start(last, fourth)


@pytest.mark.only("pytorch", "mxnet", "tensorflow")  # in JAX a summary makes none
def test_weights_changed_after_a_summary_stay(framework, d2l, layout, sample, tmp_path):
    LeNet, path = classes(framework, d2l, d2l.init_cnn)["LeNet"], tmp_path / "w"
    d2l.set_seed(2)
    d2l.save_weights(made(framework, d2l, LeNet())[0], path)
    d2l.set_seed(1)
    model = LeNet()
    model.layer_summary(layout(1, 1, 28, 28))
    initial.glorot((1, 1))
    d2l.load_weights(model, path)
    by_fit(framework, d2l, model)
    assert_start(model, Rule(2).network(SHAPES["LeNet"]))


# One framework -----------------------------------------------------------------------


@pytest.mark.only("pytorch")
def test_lazy_layers_remember(framework, d2l, sample):
    """The last that was asked for, in copies, too; what is loaded stays."""
    import torch

    LeNet, right = classes(framework, d2l, d2l.init_he)["LeNet"], Rule()
    d2l.set_seed(1)
    model = LeNet()
    model.net.apply(d2l.init_cnn)
    copies = copy.deepcopy(model).net, copy.deepcopy(model.net)
    packed = pickle.dumps(model.net)
    starts = []
    for net in (model.net, *copies, pickle.loads(packed)):
        net(image(d2l))
        starts.append(right.network(SHAPES["LeNet"]))
        weight = net[0].weight.detach().numpy()
        np.testing.assert_array_equal(weight, starts[-1]["conv0.weight"])
    loaded = LeNet()
    loaded.load_state_dict(model.state_dict())
    loaded(image(d2l))
    assert_start(loaded, starts[0])
    right.assert_next()
    assert not torch.equal(loaded.net[0].weight, copies[0][0].weight)


@pytest.mark.only("pytorch")
def test_lazy_layers_start_from_glorot(framework, d2l, sample):
    """Where nothing was asked for; an initializer of the reader's own may follow."""
    from torch import nn

    class Plain(d2l.Classifier):
        def __init__(self, lr=0.0):
            super().__init__()
            self.save_hyperparameters()
            self.net = nn.Sequential(nn.Flatten(), nn.LazyLinear(7), nn.LazyLinear(10))

    right = Rule()
    d2l.set_seed(1)
    model = Plain()
    by_fit(framework, d2l, model)
    assert_start(model, right.network(([], [(7, 784), (10, 7)])))

    def own(layer):
        if getattr(layer, "in_features", 0) == 784:
            nn.init.zeros_(layer.weight)

    model = made(framework, d2l, Plain(), init=own)[0]
    assert not model.net[1].weight.any()
    weight = model.net[2].weight.detach().numpy()
    np.testing.assert_array_equal(weight, right.draw((10, 7)))
    right.assert_next()


@pytest.mark.only("pytorch")
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_other_dtypes_get_the_same_numbers(dtype, framework, d2l):
    import torch

    d2l.set_seed(1)
    conv = torch.nn.Conv1d(3, 4, 5, dtype=getattr(torch, dtype)).apply(d2l.init_cnn)
    right = torch.tensor(Rule().draw((4, 3, 5))).to(conv.weight.dtype)
    assert torch.equal(conv.weight, right) and not conv.bias.any()


@pytest.mark.only("tensorflow")
def test_keras_keeps_the_initializer(framework, d2l, sample):
    """In configurations, clones and copies, in other dtypes and within graphs."""
    import tensorflow as tf
    from tensorflow import keras

    shape, stored = (1, 5, 5, 3), (4, 3, 2, 2)

    def conv(**how):
        return keras.layers.Conv2D(4, 2, kernel_initializer=d2l.init_he, **how)

    net = keras.Sequential([keras.Input(shape[1:]), conv()])
    d2l.set_seed(1)
    layers = [
        conv(),
        keras.layers.Conv2D.from_config(conv().get_config()),
        copy.deepcopy(conv()),
        conv(dtype="float64"),
        conv(dtype="mixed_bfloat16"),
    ]
    for layer in layers[:-1]:
        layer(tf.zeros(shape))
    tf.function(layers[-1])(tf.zeros(shape))
    layers.append(keras.models.clone_model(net).layers[-1])
    right = Rule()
    for layer in layers:
        kernel = layer.kernel.numpy().transpose(3, 2, 0, 1)
        np.testing.assert_array_equal(kernel, right.draw(stored, "init_he"))


@pytest.mark.only("tensorflow")
def test_depthwise_layers_as_others_store_them(framework, d2l):
    from tensorflow import keras

    layer = keras.layers.DepthwiseConv2D(3, depth_multiplier=2)
    layer.build((None, 5, 5, 4))
    d2l.set_seed(1)
    d2l.init_cnn(layer)
    right = Rule().draw((8, 1, 3, 3))
    kernel = layer.kernel.numpy().reshape(3, 3, 1, 8).transpose(3, 2, 0, 1)
    np.testing.assert_array_equal(kernel, right)


@pytest.mark.only("jax")
def test_only_making_variables_draws(framework, d2l, sample):
    """Flax calls an initializer anew whenever a layer is applied."""
    import jax

    LeNet = classes(framework, d2l, d2l.init_cnn)["LeNet"]
    d2l.set_seed(1)
    model, X, key = LeNet(), image(d2l), d2l.get_key()
    jax.eval_shape(model.init, key, X)
    model.tabulate(key, X)
    traced = jax.jit(model.init)(key, X)
    right = Rule()
    right.assert_next()
    variables = model.init(key, X)
    model.apply(variables, X)
    jax.jit(model.apply)(variables, X)
    assert_start(model, right.network(SHAPES["LeNet"]), variables)
    right.assert_next()
    kernel = traced["params"]["net"]["layers_0"]["kernel"]  # from the key
    drawn = variables["params"]["net"]["layers_0"]["kernel"]
    assert abs(kernel.std() / drawn.std() - 1) < 0.5


@pytest.mark.only("jax")
def test_layers_for_training_alone_come_last(framework, d2l, sample):
    """As they do where a forward pass in training mode builds them after another."""
    from flax import linen as nn

    class Helped(d2l.Classifier):
        training: bool = False
        num_classes: int = 10

        @nn.compact
        def __call__(self, X):
            X = X.reshape((len(X), -1))
            more = nn.Dense(3, kernel_init=d2l.init_cnn, name="more")
            extra = more(X).sum() if self.training else 0
            return nn.Dense(10, kernel_init=d2l.init_cnn, name="head")(X) + extra

    d2l.set_seed(1)
    params = made(framework, d2l, Helped())[1]["params"]
    right = Rule()
    for name, shape in (("head", (10, 784)), ("more", (3, 784))):
        kernel = np.asarray(params[name]["kernel"]).T
        np.testing.assert_array_equal(kernel, right.draw(shape))


@pytest.mark.only("mxnet")
@pytest.mark.parametrize("hybrid", [False, True])
def test_gluon_calls_it_as_its_own(hybrid, framework, d2l, sample):
    """For one layer, for a compiled network; embeddings are not meant."""
    from mxnet import np as mxnp
    from mxnet.gluon import nn

    LeNet = classes(framework, d2l, d2l.init_cnn)["LeNet"]
    d2l.set_seed(1)
    model = LeNet()
    if hybrid:
        model.net.hybridize()
    model(image(d2l))
    right = Rule()
    assert_start(model, right.network(SHAPES["LeNet"]))

    embedding, dense = nn.Embedding(5, 3), nn.Dense(4, weight_initializer=d2l.init_he)
    embedding.initialize(d2l.init_cnn)
    dense.initialize()
    dense(embedding(mxnp.zeros((2,))))
    for init in ("init_he", "init_cnn"):
        drawn = right.draw((4, 3), init)
        np.testing.assert_array_equal(dense.weight.data().asnumpy(), drawn)
        right.assert_next()
        dense.apply(d2l.init_cnn)
