"""MXNet on a CPU: training steps whose larger products run in bfloat16.

A hybridized block runs a recorded graph. Here the graph is written anew: what goes
into a convolution or a dense layer is cast to bfloat16, what comes out stays so
through ReLU and max pooling, and everything else gets float32, as do gradients,
weights and what leaves the block. Nothing in MXNet is changed, blocks need not
know. The casts and their gradients are MXNet's own (`amp_cast`).
"""

import functools
import json

import mxnet as mx

from d2l_utils import host
from d2l_utils.mxnet.layers import parameters

PRODUCTS = ("Convolution", "FullyConnected")
FEWEST_WEIGHTS = 1000  # of a product: below, casting costs more than it saves
NOT_HERE = "MXNet 1.9.1 has no bfloat16 convolution for this processor"
CACHE = ("_cached_graph", "_cached_op", "_cached_op_args")


def why_not_faster():
    """Why products in bfloat16 take no less time here than in float32; '' if they do.

    On a processor with AMX they do not: what MXNet 1.9.1 brings does not use its tiles
    (made to, it overwrites memory that is not its own), and AVX-512's bfloat16 is slow
    there: NiN at 224 pixels trains at 24 images/s on two cores, in float32 at 35.
    """
    if not host.cpu_has_bfloat16():
        return "this processor has no units for bfloat16"
    if "amx_bf16" in host.cpu_flags():
        return "MXNet is faster in float32 on this processor, which has AMX"
    return "" if can_compute() else NOT_HERE


@functools.cache
def can_compute():
    """Whether MXNet has a bfloat16 convolution for this processor: tried once.

    Without AVX-512 its library has none and raises "could not create a primitive
    descriptor iterator".
    """
    x, w = mx.sym.var("x"), mx.sym.var("w")
    graph = mx.sym.Convolution(x, w, kernel=(1, 1), num_filter=1, no_bias=True)
    one = mx.np.ones((1, 1, 1, 1))
    try:
        mx.nd.CachedOp(lowered(graph, {"w": FEWEST_WEIGHTS}))(one, one).wait_to_read()
    except mx.MXNetError:
        return False
    return True


class Graphs:
    """The compiled blocks of a model, each with its graph in both precisions."""

    def __init__(self, model):
        sizes = {p.name: p.data().size for p in parameters(model)}
        found = []
        model.apply(found.append)
        self.blocks = [b for b in found if getattr(b, "_cached_op", None)]
        self.caches, self.low = {False: [], True: []}, False
        for block in self.blocks:
            (inputs, graph), _, params = cache = _get(block)
            self.caches[False].append(cache)
            self.caches[True].append(((inputs, lowered(graph, sizes)), None, params))

    def use(self, low):
        """Run the blocks in bfloat16 from now on, or in float32.

        Raises RuntimeError where MXNet has no bfloat16 for this processor.
        """
        if low == self.low:
            return
        if low and not can_compute():
            raise RuntimeError(NOT_HERE)
        self.caches[self.low] = [_get(block) for block in self.blocks]
        for block, cache in zip(self.blocks, self.caches[low]):
            for name, value in zip(CACHE, cache):
                setattr(block, name, value)
        self.low = low


def _get(block):
    return tuple(getattr(block, name) for name in CACHE)


def lowered(graph, sizes):
    """The symbol `graph` with its larger products in bfloat16.

    sizes: {name: number of elements} of the parameters.
    """
    stored = json.loads(graph.tojson(remove_amp_cast=False))
    old, new, places, casts, low = stored["nodes"], [], [], {}, set()

    def entry(source, dtype):
        """Where to find an output of an old node, as dtype."""
        i, output = source[:2]
        if (dtype == "bfloat16") == (i in low):
            return [places[i], output, 0]
        if (i, output) not in casts:
            name = f"{old[i]['name']}_{output}_as_{dtype}"
            node = {"op": "amp_cast", "name": name, "attrs": {"dtype": dtype}}
            new.append({**node, "inputs": [[places[i], output, 0]]})
            casts[i, output] = len(new) - 1
        return [casts[i, output], 0, 0]

    for i, node in enumerate(old):
        inputs = node["inputs"]
        if node["op"] in PRODUCTS:
            if sizes.get(old[inputs[1][0]]["name"], 0) >= FEWEST_WEIGHTS:
                low.add(i)
        elif _keeps_bfloat16(node) and inputs[0][0] in low:
            low.add(i)
        dtype = "bfloat16" if i in low else "float32"
        node["inputs"] = [entry(source, dtype) for source in inputs]
        new.append(node)
        places.append(len(new) - 1)
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
