"""Graphs rewritten for bfloat16: what is cast, and that the rest stays as it was."""

import json
import warnings

import numpy as onp
import pytest

from d2l_utils import host

pytestmark = [pytest.mark.only("mxnet"), pytest.mark.usefixtures("framework", "nin")]


@pytest.fixture
def block(d2l):
    """A product too small for bfloat16, a large one, and layers of all kinds."""
    from d2l_utils.mxnet.bfloat16 import NOT_HERE, can_compute

    if not can_compute():
        pytest.skip(NOT_HERE)
    from mxnet import init, np, npx
    from mxnet.gluon import nn

    npx.set_np()
    d2l.set_seed(0)
    block = nn.HybridSequential()
    block.add(
        nn.Conv2D(4, 3, activation="relu"),
        nn.Conv2D(32, 3, activation="relu"),
        nn.MaxPool2D(2),
        nn.BatchNorm(),
        nn.Conv2D(8, 3, activation="tanh"),
        nn.Dropout(0.5),
        nn.GlobalAvgPool2D(),
        nn.Dense(300),
    )
    block.initialize(init.Xavier())
    block.hybridize(static_alloc=True, static_shape=True)
    block(np.ones((1, 1, 12, 12)))
    return block


def nodes_of(block):
    return json.loads(block._cached_graph[1].tojson(remove_amp_cast=False))["nodes"]


def test_what_is_cast(block):
    from d2l_utils.mxnet.bfloat16 import Graphs

    graphs = Graphs(block)
    assert [type(b).__name__ for b in graphs.blocks] == ["HybridSequential"]
    assert not [n for n in nodes_of(block) if n["op"] == "amp_cast"]
    graphs.use(low=True)
    nodes = nodes_of(block)

    def dtype(entry):
        """What an entry of the graph is; None for an input of the graph."""
        node = nodes[entry[0]]
        if node["op"] == "amp_cast":
            return node["attrs"]["dtype"]
        if node["op"] in ("Activation", "Pooling", "Convolution", "FullyConnected"):
            return dtype(node["inputs"][0])
        return None

    products = [n for n in nodes if n["op"] in ("Convolution", "FullyConnected")]
    assert [dtype(n["inputs"][0]) for n in products] == [
        None, "bfloat16", "bfloat16", "bfloat16",
    ]  # fmt: skip
    pools = [n for n in nodes if n["op"] == "Pooling"]
    assert [dtype(n["inputs"][0]) for n in pools] == ["bfloat16", None]
    for n in nodes:
        if n["op"] in ("BatchNorm", "Dropout"):
            assert dtype(n["inputs"][0]) != "bfloat16", n["name"]
    assert nodes[-1]["op"] == "amp_cast" and dtype([-1]) == "float32"  # the result
    graphs.use(low=False)
    assert not [n for n in nodes_of(block) if n["op"] == "amp_cast"]


def test_values_and_gradients(d2l, block, rng):
    """Near those of float32, not equal; back in float32, equal again."""
    from mxnet import autograd, np

    from d2l_utils.mxnet.bfloat16 import Graphs

    graphs = Graphs(block)
    X = np.array(rng.random((3, 1, 12, 12)), dtype="float32")
    found = []
    for low in (False, True, False):
        graphs.use(low=low)
        d2l.set_seed(0)  # of dropout
        with autograd.record():
            l = (block(X) ** 2).mean()
        l.backward()
        params = [p for p in block.collect_params().values() if p.grad_req != "null"]
        assert {p.data().dtype for p in params} == {onp.dtype("float32")}
        found.append([l.asnumpy(), *(p.grad().asnumpy() for p in params)])
    for exact, low, again in zip(*found):
        assert (exact != low).any()
        assert onp.linalg.norm(exact - low) < 0.3 * onp.linalg.norm(exact)
        onp.testing.assert_array_equal(exact, again)


FROZEN = {
    "frozen weights": {0: "null"}, "frozen bias": {1: "null"},
    "frozen layer": {0: "null", 1: "null"}, "frozen last weights": {2: "null"},
    "accumulated weights": {0: "add"}, "accumulated": dict.fromkeys(range(4), "add"),
    "frozen and accumulated": {0: "null", 1: "add", 2: "add"},
}  # fmt: skip


@pytest.mark.parametrize("what", FROZEN)
@pytest.mark.parametrize("kind", ["dense", "conv", "apart"])
def test_gradients_of_frozen_and_accumulating_parameters(block, rng, kind, what):
    """As without compilation, where nothing is frozen; in both precisions."""
    from mxnet import autograd, np, npx
    from mxnet.gluon import nn

    from d2l_utils.mxnet.bfloat16 import Graphs
    from d2l_utils.mxnet.layers import parameters

    def layers():
        if kind == "conv":
            return nn.Conv2D(16, 3, in_channels=8), nn.Conv2D(32, 3, in_channels=16)
        return nn.Dense(64, in_units=8 * 8 * 8), nn.Dense(32, in_units=64)

    X = np.array(rng.random((4, 8, 8, 8)), dtype="float32")
    net = nn.Sequential() if kind == "apart" else nn.HybridSequential()
    net.add(*layers())
    net.initialize()

    def gradients():
        for _ in range(2):
            with autograd.record():
                l = (net(X) ** 2).sum()
            l.backward()
        npx.waitall()
        return {
            i: p.grad().asnumpy().copy()
            for i, p in enumerate(parameters(net))
            if p.grad_req != "null"
        }

    true = gradients()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that HybridSequential would be faster
        net.hybridize(static_alloc=True, static_shape=True)
    with autograd.pause():
        net(X)
    graphs = Graphs(net)
    for low, bound in ((False, 1e-5), (True, 0.02)):
        for i, p in enumerate(parameters(net)):
            p.grad_req = FROZEN[what].get(i, "write")
            if p.grad_req != "null":
                p.grad()[:] = 0
        graphs.use(low)
        found = gradients()
        assert len(found) == 4 - list(FROZEN[what].values()).count("null")
        for i, g in found.items():
            expected = true[i] * (2 if FROZEN[what].get(i) == "add" else 1)
            error = onp.linalg.norm(g - expected) / onp.linalg.norm(expected)
            assert error < bound, (i, low, error)


def test_convolutions_in_groups_stay_in_float32(block):
    """MXNet has no such product in bfloat16; the others do not mind."""
    from mxnet import np
    from mxnet.gluon import nn

    from d2l_utils.mxnet.bfloat16 import Graphs

    net = nn.HybridSequential()
    net.add(nn.Conv2D(32, 3), nn.Conv2D(32, 3, groups=2), nn.Conv2D(32, 3))
    net.initialize()
    net.hybridize()
    net(np.ones((2, 8, 9, 9)))
    Graphs(net).use(low=True)
    nodes = nodes_of(net)
    inputs = [nodes[n["inputs"][0][0]] for n in nodes if n["op"] == "Convolution"]
    dtypes = [n.get("attrs", {}).get("dtype") for n in inputs]
    assert dtypes == ["bfloat16", "float32", "bfloat16"]
    assert onp.isfinite(net(np.ones((2, 8, 9, 9))).asnumpy()).all()


def test_blocks_that_cannot_be_compiled(d2l, few, monkeypatch, capsys):
    """They run as they are, in float32, and nothing else is said of them."""
    from mxnet import npx
    from mxnet.gluon import nn

    class Plain(d2l.Classifier):
        def __init__(self):
            super().__init__()
            self.lr = 0.1
            self.flatten, self.dense = nn.Flatten(), nn.Dense(10)

        def forward(self, X):
            if float(X.sum()) < 0:
                return None
            return self.dense(npx.relu(self.flatten(X)))

    monkeypatch.setattr(host, "cpu_flags", lambda: {"avx512_bf16"})
    model, trainer = Plain(), d2l.Trainer(1)
    trainer.fit(model, d2l.FashionMNIST(batch_size=100))
    assert trainer.train_batch_idx == 4
    assert d2l.predict(model, few.val.images[:3, None]).shape == (3, 10)


@pytest.mark.parametrize(
    "flags, faster",
    [((), False), (("avx512_bf16",), True), (("avx512_bf16", "amx_bf16"), False)],
)
def test_where_it_is_faster(d2l, monkeypatch, flags, faster):
    from d2l_utils.mxnet import bfloat16

    monkeypatch.setattr(host, "cpu_flags", lambda: set(flags))
    monkeypatch.setattr(bfloat16, "can_compute", lambda: True)
    assert (bfloat16.why_not_faster() == "") is faster


def test_where_the_library_has_none(d2l, block, monkeypatch):
    """Not faster whatever the processor says, and one clear sentence when forced."""
    from d2l_utils.mxnet import bfloat16

    monkeypatch.setattr(host, "cpu_flags", lambda: {"avx512_bf16"})
    monkeypatch.setattr(bfloat16, "can_compute", lambda: False)
    assert "no bfloat16 convolution" in bfloat16.why_not_faster()
    with pytest.raises(RuntimeError, match=r"no bfloat16 convolution for this proc"):
        bfloat16.Graphs(block).use(low=True)
