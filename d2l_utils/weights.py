"""Weights on disk, the same file for every framework: safetensors.

Every parameter and every statistic of a model is in its file. Those of layers that all
frameworks have are named by kind and running number in order of execution, such as
`conv0.weight`, and can be loaded in all four:

    conv      convolutions, in groups and depthwise ones, too: weight (out, in of a
              group, *size), as OIHW; bias
    tconv     transposed convolutions: weight (in, out of a group, *size), the kernel
              of the convolution whose gradient they are; bias
    dense     weight (out, in), `in` flattened channels first; bias
    bn        batch normalization: weight, bias, mean, var (channels); in PyTorch
              `batches`, the number of them, which others leave out
    ln, gn    layer and group normalization: weight, bias, channels first (gn not in
              MXNet, whose layer takes no NumPy arrays)
    prelu     PReLU: weight (1), (channels) or (channels, *size)
    embedding weight (number, features)

All else is named after its framework, as `torch:net.1.weight_ih_l0`, and is loaded
there alone. So are arrays in plain attributes (`torch:net.1.mean (attribute)`), except
those that a pass in evaluation mode makes anew. A tensor that is used several times is
stored once.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from d2l_utils import base
from d2l_utils.frameworks import FRAMEWORKS

FORMAT = "2"
FORMATS = ("1", FORMAT)  # 1: float32, convolutions, dense layers, bn only
BATCHES = ".batches"  # ends names of tensors that a file may lack: they are 0
ATTRIBUTE = " (attribute)"  # ends names that file or model may lack
MOST_CHANNELS, LARGEST_INPUT = 512, 2**22  # of an input, in channels and in numbers
LONGEST_SHOWN = 60  # characters of a text from a file
PREFIXES = {f.module: f.title for f in FRAMEWORKS.values()}
STORED = Path(__file__).parent / "sample"
TRAINED = Path(__file__).parent / "results"  # by the study


class WeightsError(ValueError):
    """A weights file does not fit, or is none."""


def stored_path(name: str) -> Path:
    """Path of a trained network that travels with the package.

    Parameters:
        name: of the network, such as 'nin28_56.seed1', which the study trained.

    Returns:
        The path of a .safetensors file.

    Raises:
        WeightsError: for a name that is not there; it lists those that are.

    Example:
        >>> model = d2l.load_weights(NiN28(), d2l.stored_path("nin28_56.seed1"))
    """
    there = {path.stem: path for path in networks()}
    if name not in there:
        raise WeightsError(
            f"There is no stored network {name!r}; there are {sorted(there)}."
            f"{base.about_part()}"
        )
    return there[name]


def networks() -> list[Path]:
    """The files of all trained networks that travel with the package.

    Returns:
        Paths; `stored_path` takes their names.

    Example:
        >>> [path.stem for path in networks()]
        ['nin28_56', 'nin28_56.seed1']
    """
    return [p for where in (STORED, TRAINED) for p in where.glob("*.safetensors")]


@dataclass
class Tensor:
    """One tensor of a model.

    own: its name in its framework; value: the framework's object for it; layout: a
    function that permutes an array from the framework's layout to the stored one, or
    None where these are the same; holder: (holder, key) of a plain attribute, which is
    holder[key].
    """

    own: str
    value: object
    layout: Callable | None = None
    holder: tuple = ()

    def to_stored(self, array):
        return self.layout(array) if self.layout else array

    def from_stored(self, array, shape):
        """The inverse; shape: in the framework's layout."""
        if not self.layout:
            return array.reshape(shape)
        places = self.layout(np.arange(array.size).reshape(shape))
        own = np.empty(array.size, array.dtype)
        own[places] = array
        return own.reshape(shape)

    def made(self, make, shape):
        """What make(shape in a file) gives, in the framework's layout, of `shape`."""
        stored = self.to_stored(np.empty(shape, np.int8)).shape
        return self.from_stored(make(stored), shape)


def arrays_held(holders, is_array, skip):
    """[(name, holder, key, array)] of arrays in plain attributes, lists and dicts.

    holders: {name: object}; skip: attributes to leave out. An array is holder[key].
    """
    found, seen = [], set()

    def visit(name, holder, items):
        seen.add(id(holder))
        for key, x in items:
            if is_array(x):
                if id(x) not in seen:
                    found.append((f"{name}{key}", holder, key, x))
                seen.add(id(x))
            elif isinstance(x, dict | list | tuple) and id(x) not in seen:
                inner = x.items() if isinstance(x, dict) else enumerate(x)
                visit(f"{name}{key}.", x, inner)

    for name, holder in holders.items():
        values = vars(holder)
        names = [k for k in values if k not in skip and not k.startswith("_self_")]
        items = [(k, values[k]) for k in names]  # _self_: TensorFlow's own notes
        visit(f"{name}." if name else "", values, items)
    return found


def dtype_name(array):
    """The name of an array's dtype, or of the one that `as_bits` has noted."""
    names = array.dtype.names
    return names[0] if names else array.dtype.name


def as_bits(array, dtype=None):
    """An array of a dtype that NumPy lacks, as unsigned integers of the same bits.

    They stand in one field, which has the name of the dtype, such as bfloat16. dtype:
    this name, where `array` is of integers already; by default, that of its own dtype.
    Arrays of dtypes that NumPy has stay as they are.
    """
    if dtype is None and array.dtype.kind != "V":
        return array
    bits = f"u{array.itemsize}"
    return array.view(np.dtype([(dtype or array.dtype.name, bits)]))


def from_bits(array, dtype_of):
    """The inverse of `as_bits`; dtype_of(name): the dtype as NumPy takes it."""
    if not array.dtype.names:
        return array
    return array.view(array.dtype[0]).view(dtype_of(array.dtype.names[0]))


def write(path, tensors, *, model, input_shape, num_classes=None, exact=False):
    """Write named arrays, all or nothing.

    model: the class name; input_shape: (C, H, W); num_classes: noted in the file, None
    where there is none; exact: keep float64, instead of storing it as float32. Raises
    WeightsError for a dtype that cannot be stored.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save

    c, h, w = input_shape
    metadata = {
        "format": FORMAT,
        "model": model,
        "channels": str(c),
        "height": str(h),
        "width": str(w),
        "tensors": str(len(tensors)),
    }
    if num_classes is not None:
        metadata["num_classes"] = str(num_classes)
    # safetensors writes the bytes as they lie, in whatever order.
    tensors = {k: np.asarray(v, order="C") for k, v in tensors.items()}
    if not exact:
        tensors = {
            k: v.astype(np.float32) if v.dtype == np.float64 else v
            for k, v in tensors.items()
        }
    bits = {k: dtype_name(v) for k, v in tensors.items() if v.dtype.names}
    if bits:
        metadata["bits"] = json.dumps(bits)
        tensors |= {k: tensors[k].view(tensors[k].dtype[0]) for k in bits}
    try:
        content = save(tensors, metadata)
    except (SafetensorError, KeyError, TypeError) as error:
        dtypes = sorted({v.dtype.name for v in tensors.values()})
        raise WeightsError(
            f"The weights of this {model} are not saved: a weights file cannot hold "
            f"one of these dtypes: {', '.join(dtypes)} ({error})."
        ) from error
    base.replace_file(path, content)


def read(path):
    """(tensors, metadata) of a file; raises WeightsError if it is none of ours."""
    from safetensors import SafetensorError, safe_open

    path = base.file_path(path)
    if not path.is_file():
        raise WeightsError(f"There is no weights file {path}.")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") not in FORMATS:
                raise WeightsError(
                    f"{path.name} has the format {_shown(metadata.get('format'))}; "
                    f"this package reads format {FORMAT}, as save_weights writes it."
                )
            names = file.keys()  # the file itself cannot be iterated over
            for name in names:
                about = file.get_slice(name)
                if metadata["format"] == "1" and about.get_dtype() != "F32":
                    raise WeightsError(
                        f"{path.name}: {_shown(name)} {tuple(about.get_shape())} "
                        f"should be float32, but is stored as {about.get_dtype()}."
                    )
            tensors = {name: file.get_tensor(name) for name in names}
            for name, dtype in json.loads(metadata.get("bits", "{}")).items():
                tensors[name] = as_bits(tensors[name], dtype)
    except WeightsError:
        raise
    except (
        SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError
    ) as error:  # fmt: skip
        raise WeightsError(
            f"{path.name} is not a readable safetensors file: {error}"
        ) from error
    if metadata.get("tensors", str(len(tensors))) != str(len(tensors)):
        raise WeightsError(
            f"{path.name} should have {_shown(metadata['tensors'])} tensors, but has "
            f"{len(tensors)}: it is not as save_weights wrote it."
        )
    return tensors, metadata


def _shown(text):
    """Text from a file, fit for one line of a message."""
    return f"{ascii(text).strip(chr(39)):.{LONGEST_SHOWN}}"


def input_shape(metadata):
    """(C, H, W) of the images that a stored network was built for; or WeightsError."""
    try:
        c, h, w = (int(metadata[k]) for k in ("channels", "height", "width"))
    except (KeyError, ValueError) as error:
        raise WeightsError("The weights file does not name its input shape.") from error
    # A network is built for it before any check; a bad file must not fill the memory.
    if min(c, h, w) < 1 or c > MOST_CHANNELS or c * h * w > LARGEST_INPUT:
        sizes = _shown(f"({c}, {h}, {w})")
        raise WeightsError(
            f"The weights file names images of {sizes}, which no network here takes."
        )
    return c, h, w


def check(tensors, metadata, expected, model, framework=None):
    """Raise WeightsError unless the tensors are those that a model expects.

    expected: {name: (shape, name of the dtype)} of the model, each None where it is not
    known. model: its class name. framework: its folder, such as 'torch'. A tensor of
    any floating point type may be stored in float32.
    """
    stored = _shown(metadata.get("model", "?"))
    about = f"The weights of {stored} do not fit this {model}"
    for name, array in tensors.items():
        prefix = name.partition(":")[0]
        if name not in expected and prefix in PREFIXES and prefix != framework:
            title = PREFIXES[prefix]
            raise WeightsError(
                f"{about}: {_shown(name)} {array.shape} is of a kind that has no name "
                f"common to all frameworks. This file can be loaded in {title} only."
            )
    for name in dict.fromkeys([*expected, *tensors]):
        may_be_missing = name.endswith((BATCHES, ATTRIBUTE))
        if may_be_missing and (name not in tensors or name not in expected):
            continue
        shape, dtype = expected.get(name, (None, None))
        if name not in tensors:
            raise WeightsError(f"{about}: {name} is missing, expected {shape}.")
        given, its = tensors[name].shape, dtype_name(tensors[name])
        if name not in expected:
            raise WeightsError(
                f"{about}: the file has {_shown(name)} {given}, the model does not."
            )
        if given != shape and shape is not None:
            raise WeightsError(f"{about}: {name} should be {shape}, but is {given}.")
        if its != dtype and dtype and not (its == "float32" and "float" in dtype):
            raise WeightsError(f"{about}: {name} should be {dtype}, but is {its}.")


def without_repeats(tensors, again):
    """Tensors without those that a model has under another name, too.

    again: {name: first name} of a model that uses a tensor several times. Files of
    format 1 have it under each of its names. Raises WeightsError where these differ.
    """
    for name in again.keys() & tensors.keys():
        if not np.array_equal(tensors[name], tensors.get(again[name])):
            raise WeightsError(
                f"{name} and {again[name]} are one tensor of this model, but two in "
                "the file: it is of another network."
            )
    return {k: x for k, x in tensors.items() if k not in again}


def known_shape(model):
    """(C, H, W) of the images that a model was built for; ValueError if none."""
    shape = getattr(model, "_input_shape", None)
    if shape is None:
        raise ValueError(
            f"It is not known what images this {type(model).__name__} is for, so its "
            "weights cannot be saved yet: train it, call it on images, or call "
            "layer_summary first."
        )
    return shape


def build_for(model, metadata, build):
    """Build a model, if it is not, for the images that a file names.

    build(shape) raises ValueError where the model cannot take them: the file is of
    another architecture. Then the model is built at 224 pixels, so that `check` can say
    what differs. Returns the (C, H, W) to trace the model at.
    """
    c, h, w = getattr(model, "_input_shape", None) or input_shape(metadata)
    try:
        build((c, h, w))
        return c, h, w
    except ValueError:
        build((c, 224, 224))
        return c, 224, 224
