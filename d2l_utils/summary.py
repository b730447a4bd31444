"""What a network costs: parameters, multiply-accumulates (MACs), memory.

The framework modules trace a network into `Layer` rows; the counting is here.
Also here: the checks of an image batch's shape.
"""

import math
from dataclasses import dataclass, field

BYTES = 4  # of a float32
LARGEST_TRIED = 512  # pixels; a usable image size is looked for up to here


# Every number of a layer's weights is used once at every place (pixel, step, image) of
# the batch. {kind: (shape whose product, without this axis, is the number of places)}
PLACES = {
    "conv": ("output_shape", 1),  # the axis of channels, behind that of the batch
    "separable": ("output_shape", 1),
    "tconv": ("input_shape", 1),
    "dense": ("output_shape", -1),  # the axis of features
    "recurrent": ("input_shape", -1),  # features; each step of a sequence is a place
}
FREE = ("bn", "ln", "gn", "prelu", "embedding", "pool")  # no products of matrices


class TooSmall(ValueError):
    """A network cannot take images of that size."""


@dataclass(frozen=True)
class Layer:
    """One layer that has weights or pools, in order of execution.

    kind: of PLACES or FREE, 'attention', or 'other'; shapes are channels first, with
    the batch axis; params: number of trainable parameters; weight_size: elements of
    the weight alone, or of all matrices; ref: where the framework module finds the
    layer again; held: the parameters, as the framework module knows them; times: how
    often it is computed; products: MACs of an attention.
    """

    name: str
    kind: str
    input_shape: tuple
    output_shape: tuple
    params: int = 0
    weight_size: int = 0
    ref: object = field(default=None, repr=False, compare=False)
    held: tuple = field(default=(), repr=False, compare=False)
    times: int = 1
    products: int = 0

    @property
    def macs(self):
        """Multiply-accumulates for the batch; biases and what is FREE do not count."""
        if self.kind not in PLACES:
            return self.times * self.products
        shape, axis = PLACES[self.kind]
        shape = list(getattr(self, shape))
        del shape[axis]
        return self.times * math.prod(shape) * self.weight_size


def attention_macs(query, key, projections, width_k, width_v):
    """MACs of an attention: projections, scores, and the weighted sums of values.

    query, key: shapes (n, *places, features) of queries, and of keys and values;
    projections: sizes of the weights for queries, keys, values and output; width_k,
    width_v: numbers of a key and of a value, all heads together.
    """
    n, queries, keys = query[0], math.prod(query[1:-1]), math.prod(key[1:-1])
    q, k, v, out = projections
    products = queries * keys * (width_k + width_v)
    return n * (queries * (q + out) + keys * (k + v) + products)


def uncounted(rows, trained, model):
    """Rows of kind 'other', one a layer, for the parameters that no row has.

    trained: {own name: (as in `held`, number of elements)}; model: the class name.
    """
    held, sizes = {x for r in rows for x in r.held}, {}
    for name, (x, size) in trained.items():
        if x not in held:
            layer = name.rpartition(".")[0] or model
            sizes[layer] = sizes.get(layer, 0) + size
    return [Layer(layer, "other", (), (), n) for layer, n in sizes.items()]


class Namer:
    """Names layers by kind and running number: conv0, conv1, dense0, ..."""

    def __init__(self):
        self.counts = {}

    def __call__(self, kind):
        n = self.counts[kind] = self.counts.get(kind, -1) + 1
        return f"{kind}{n}"


@dataclass(frozen=True)
class Resources:
    """Counted resource use of a network on one batch (see `count`)."""

    params: int
    macs: int
    train_bytes: int
    predict_bytes: int
    rows: list

    @property
    def not_counted(self):
        """Names of the layers with parameters whose MACs no formula gives."""
        return [r.name for r in self.rows if r.kind == "other"]

    def __str__(self):
        wide = max([9, *(len(r.name) for r in self.rows)]) + 1
        lines = [f"{'layer':{wide}}{'output':>22}{'parameters':>14}{'MACs':>16}"]
        for r in self.rows:
            shape = "x".join(map(str, r.output_shape))
            macs = "not counted" if r.kind == "other" else f"{r.macs:,}"
            lines.append(f"{r.name:{wide}}{shape:>22}{r.params:14,}{macs:>16}")
        lines.append(f"{'total':{wide + 22}}{self.params:14,}{self.macs:16,}")
        if self.not_counted:
            lines.append(f"MACs not counted: {', '.join(self.not_counted)}")
        lines.append(
            f"memory: {self.train_bytes:,} bytes to train, "
            f"{self.predict_bytes:,} to predict"
        )
        return "\n".join(lines)


def count(rows, params, input_shape, optimizer_slots):
    """Resources of a network from its rows.

    Memory, 4 bytes a number. To predict: the parameters and the largest input plus
    output of a row. To train: the parameters, their gradients and the optimizer's slots
    (one with momentum), the outputs of all rows and the input.

    Parameters:
        rows: a `Layer` for each layer that counts, in order of execution.
        params: number of trainable parameters.
        input_shape: of the batch.
        optimizer_slots: numbers that the optimizer keeps for each parameter.
    """
    sizes = [
        (math.prod(r.input_shape), math.prod(r.output_shape))
        for r in rows
        if r.kind != "other"  # of unknown shapes
    ]
    held = sum(out for _, out in sizes) + math.prod(input_shape)
    return Resources(
        params=params,
        macs=sum(r.macs for r in rows),
        train_bytes=BYTES * (params * (2 + optimizer_slots) + held),
        predict_bytes=BYTES * (params + max((a + b for a, b in sizes), default=0)),
        rows=rows,
    )


def optimizer_slots(model):
    """Numbers that SGD keeps per parameter: one with momentum, else none."""
    return 1 if getattr(model, "momentum", 0) else 0


def check_layout(shape, channels_last):
    """Raise ValueError for a shape that has not four axes, or the other layout."""
    if len(shape) != 4:
        raise ValueError(
            f"Expected the shape of a batch of images, four numbers, not {shape}."
        )
    n, a, b, c = shape
    # Maps of a deep layer may be as small as an image has channels, but are square.
    first, last = a in (1, 3) and a != b, c in (1, 3) and c != b
    if channels_last and first and c not in (1, 3):
        raise ValueError(
            f"The shape {tuple(shape)} looks channels first (NCHW), but here images "
            f"are channels last (NHWC): use {(n, b, c, a)}."
        )
    if not channels_last and last and a not in (1, 3):
        raise ValueError(
            f"The shape {tuple(shape)} looks channels last (NHWC), but here images "
            f"are channels first (NCHW): use {(n, c, a, b)}."
        )


def check_size(model_name, shape, attempt, channels_last):
    """Raise ValueError if a network cannot take images of this size.

    attempt(shape) runs the network on a batch of that shape and returns the
    shapes of its outputs, layer by layer, or raises. The message names the
    smallest square size that would do; where none does, the size is not the
    trouble and the network's own error is raised.
    """
    check_layout(shape, channels_last)

    def failure(shape):
        try:
            outputs = attempt(tuple(shape))
        except Exception as error:  # each framework raises its own
            return error
        if all(math.prod(s) for s in outputs):
            return None
        return ValueError(f"an output is empty: {outputs}")

    error = failure(shape)
    if error is None:
        return

    def fails(size):
        a, c = shape[1], shape[3]
        square = (1, size, size, c) if channels_last else (1, a, size, size)
        return failure(square) is not None

    h, w = shape[1:3] if channels_last else shape[2:]
    low, high = min(h, w), LARGEST_TRIED  # fails at low, must run at high
    if low >= high or fails(high):
        raise error
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fails(middle) else (low, middle)
    raise TooSmall(
        f"{model_name} cannot take images of {h}x{w} pixels: they shrink to nothing "
        f"on the way. The smallest that works is {high}x{high}; resize the images, "
        f"for example FashionMNIST(resize=({high}, {high}))."
    ) from error
