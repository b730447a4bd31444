"""MXNet on a CPU: training steps whose larger products run in bfloat16.

A hybridized block runs a recorded graph. Here the graph is written anew: what goes
into a convolution or a dense layer is cast to bfloat16, what comes out stays so
through ReLU and max pooling, and everything else gets float32, as do gradients,
weights and what leaves the block. Nothing in MXNet is changed, blocks need not
know. The casts and their gradients are MXNet's own (`amp_cast`).
"""

import ast
import functools
import json
import math

import mxnet as mx
from mxnet import autograd

from d2l_utils import host
from d2l_utils.mxnet.layers import parameters

PRODUCTS = ("Convolution", "FullyConnected")
FEWEST_WEIGHTS = 1000  # of a product: below, casting costs more than it saves
NOT_HERE = "MXNet 1.9.1 has no bfloat16 convolution for this processor"
CACHE = ("_cached_graph", "_cached_op", "_cached_op_args")


def why_not_faster():
    """Why products in bfloat16 take no less time here than in float32; '' if they do.

    With AMX they take longer, see `host.cpu_has_bfloat16`: MXNet 1.9.1's library does
    not use its tiles (made to, it overwrites memory that is not its own).
    """
    if not host.cpu_has_bfloat16():
        return "this processor has no fast units for bfloat16"
    if not host.cpu_has_bfloat16(tiles=False):
        return "MXNet is faster in float32 on this processor, which has AMX"
    return "" if can_compute() else NOT_HERE


def can_compute():
    """Whether MXNet has a bfloat16 convolution for this processor: tried once.

    Without AVX-512 its library has none and raises "could not create a primitive
    descriptor iterator".
    """
    return _has_bfloat16("Convolution", (("kernel", "(1, 1)"),), (1, 1, 1, 1))


@functools.cache
def _has_bfloat16(op, attrs, shape):
    """Whether a product with weights of this shape can be computed, and its gradients.

    Tried once, on the smallest input. attrs: (name, value) pairs, as in a stored graph.
    """
    attrs = {**dict(attrs), "no_bias": "True"}
    n, inputs, *size = shape
    if op == "Convolution":
        attrs["num_filter"] = n
        dilate = ast.literal_eval(attrs.get("dilate") or "()") or [1] * len(size)
        size = [d * (k - 1) + 1 for d, k in zip(dilate, size)]
    else:
        attrs["num_hidden"] = n
    product = getattr(mx.sym, op)(mx.sym.var("x"), mx.sym.var("w"), **attrs)
    graph = lowered(product, {}, gains=lambda *_: True)
    args = [mx.np.ones((1, inputs, *size)), mx.np.ones(shape)]
    try:
        for arg in args:
            arg.attach_grad()
        with autograd.record():
            y = mx.nd.CachedOp(graph)(*args)
        y.backward()
        mx.npx.waitall()
    except mx.MXNetError:
        return False
    return True


class Graphs:
    """The compiled blocks of a model, each with its graph in both precisions."""

    def __init__(self, model):
        self.model, self.low = model, False
        self.known = {}  # {block: {(low, *grad_reqs), or None for Gluon's own: cache}}
        self.use(False)

    @property
    def blocks(self):
        """Those blocks that are compiled so far."""
        found = []
        self.model.apply(found.append)
        return [b for b in found if getattr(b, "_cached_graph", None)]

    def use(self, low):
        """Run the blocks in bfloat16 from now on, or in float32.

        A graph is written anew where other parameters are trained than before.
        Raises RuntimeError where MXNet has no bfloat16 for this processor.
        """
        if low and not can_compute():
            raise RuntimeError(NOT_HERE)
        params = {p.name: p for p in parameters(self.model)}
        for block in self.blocks:
            cache = tuple(getattr(block, name) for name in CACHE)
            known = self.known.setdefault(block, {})
            now = [k for k, (graph, *_) in known.items() if graph is cache[0]]
            if not now:  # Gluon has compiled the block anew
                known.clear()
            known[now[0] if now else None] = cache
            (inputs, graph), _, args = known[None]
            own = [params[k] for k in graph.list_inputs() if k in params]
            what = low, *(p.grad_req for p in own)
            if not low and "null" not in what:
                what = None
            elif what not in known:
                new = lowered(graph, {p.name: p for p in own}, low)
                known[what] = (inputs, new), None, args
            for name, value in zip(CACHE, known[what]):
                setattr(block, name, value)
        self.low = low


def _gains(product, weight):
    """Whether a product takes less time in bfloat16, if there is one at all.

    Not for convolutions in groups: behind another convolution they have no bfloat16
    form, which a trial of one product alone does not show.
    """
    groups = product.get("attrs", {}).get("num_group", "1")
    if weight is None or math.prod(weight.shape) < FEWEST_WEIGHTS or groups != "1":
        return False
    attrs = tuple(sorted(product.get("attrs", {}).items()))
    return _has_bfloat16(product["op"], attrs, tuple(weight.shape))


def lowered(graph, params, low=True, gains=_gains):
    """The symbol `graph`; if `low`, with those products in bfloat16 that gain by it.

    MXNet has no gradient for the bias of a dense layer whose weights are frozen, so
    there the bias is added after the product. Nor does a cast add to gradients that
    accumulate (grad_req 'add'), so such inputs first go through an operation that does.

    params: {name: parameter}. gains(product, weight): whether bfloat16 is faster.
    """
    stored = json.loads(graph.tojson(remove_amp_cast=False))
    old, new, places, casts, lows = stored["nodes"], [], [], {}, set()

    def add(op, name, inputs, **attrs):
        new.append({"op": op, "name": name, "attrs": attrs, "inputs": inputs})
        return [len(new) - 1, 0, 0]

    def entry(source, dtype):
        """Where to find an output of an old node, as dtype."""
        i, output = source[:2]
        place = [places[i], output, 0]
        if (dtype == "bfloat16") == (i in lows):
            return place
        if (i, output) not in casts:
            name = f"{old[i]['name']}_{output}"
            if req(source) == "add":
                place = add("_npi_multiply_scalar", f"{name}_1", [place], scalar="1")
            place = add("amp_cast", f"{name}_as_{dtype}", [place], dtype=dtype)
            casts[i, output] = place
        return casts[i, output]

    def req(source):
        """Whether and how the gradient of an input of the graph is kept."""
        return getattr(params.get(old[source[0]]["name"]), "grad_req", None)

    for i, node in enumerate(old):
        inputs, bias = node["inputs"], None
        if node["op"] in PRODUCTS:
            if low and gains(node, params.get(old[inputs[1][0]]["name"])):
                lows.add(i)
            reqs = [req(source) for source in inputs[1:]]
            if (
                node["op"] == "FullyConnected"
                and reqs[0] == "null"
                and any(r not in (None, "null") for r in reqs[1:])
            ):
                node["attrs"]["no_bias"] = "True"
                bias = inputs.pop()
        elif _keeps_bfloat16(node) and inputs[0][0] in lows:
            lows.add(i)
        dtype = "bfloat16" if i in lows else "float32"
        node["inputs"] = [entry(source, dtype) for source in inputs]
        new.append(node)
        places.append(len(new) - 1)
        if bias:
            sum_of = [entry([i, 0], "float32"), entry(bias, "float32")]
            places[i] = add("_npi_add", f"{node['name']}_biased", sum_of)[0]
            lows.discard(i)
            casts.pop((i, 0), None)
    stored["heads"] = [entry(source, "float32") for source in stored["heads"]]
    stored["nodes"] = new
    stored["arg_nodes"] = [k for k, node in enumerate(new) if node["op"] == "null"]
    stored["node_row_ptr"] = list(range(len(new) + 1))
    return mx.sym.load_json(json.dumps(stored)).as_np_ndarray()


def _keeps_bfloat16(node):
    """Whether an operation has a bfloat16 form that is faster, too."""
    attrs = node.get("attrs", {})
    if node["op"] == "Activation":
        return attrs["act_type"] == "relu"
    return node["op"] == "Pooling" and attrs.get("pool_type", "max") == "max"
