"""Weights on disk, the same file for every framework: safetensors.

Tensors are named by kind and running number in order of execution
(`conv0.weight`, `conv0.bias`, `bn0.mean`, `dense0.weight`); convolutions are
stored OIHW, dense layers (out, in), all in float32. The framework modules turn
their own layouts into these names and back.
"""

from pathlib import Path

import numpy as np

from d2l_utils import base

FORMAT = "1"
MOST_CHANNELS, LARGEST_INPUT = 512, 2**22  # of an input, in channels and in numbers
LONGEST_SHOWN = 60  # characters of a text from a file
STORED = Path(__file__).parent / "sample"


class WeightsError(ValueError):
    """A weights file does not fit, or is none."""


def stored_path(name: str) -> Path:
    """Path of a trained network that travels with the package.

    Parameters:
        name: of the network, such as 'nin28_56'.

    Raises:
        WeightsError: for a name that is not there; it lists those that are.

    Example:
        >>> model = d2l.load_weights(NiN28(), d2l.stored_path("nin28_56"))
    """
    path = STORED / f"{name}.safetensors"
    if not path.exists():
        there = sorted(p.stem for p in STORED.glob("*.safetensors"))
        raise WeightsError(f"There is no stored network {name!r}; there are {there}.")
    return path


def write(path, tensors, *, model, input_shape, num_classes):
    """Write named float32 arrays, all or nothing.

    model: the class name; input_shape: (C, H, W).
    """
    from safetensors.numpy import save

    c, h, w = input_shape
    metadata = {
        "format": FORMAT,
        "model": model,
        "channels": str(c),
        "height": str(h),
        "width": str(w),
        "num_classes": str(num_classes),
    }
    tensors = {k: np.ascontiguousarray(v, dtype=np.float32) for k, v in tensors.items()}
    base.replace_file(path, save(tensors, metadata))


def read(path):
    """(tensors, metadata) of a file; raises WeightsError if it is none of ours."""
    from safetensors import SafetensorError, safe_open

    path = base.file_path(path)
    if not path.is_file():
        raise WeightsError(f"There is no weights file {path}.")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise WeightsError(
                    f"{path.name} has the format {_shown(metadata.get('format'))}; "
                    f"this package reads format {FORMAT}, as save_weights writes it."
                )
            names = file.keys()  # the file itself cannot be iterated over
            for name in names:
                about = file.get_slice(name)
                if about.get_dtype() != "F32":
                    raise WeightsError(
                        f"{path.name}: {_shown(name)} {tuple(about.get_shape())} "
                        f"should be float32, but is stored as {about.get_dtype()}."
                    )
            tensors = {name: file.get_tensor(name) for name in names}
    except WeightsError:
        raise
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"{path.name} is not a readable safetensors file: {error}"
        ) from error
    return tensors, metadata


def _shown(text):
    """Text from a file, fit for one line of a message."""
    return f"{ascii(text).strip(chr(39)):.{LONGEST_SHOWN}}"


def input_shape(metadata):
    """(C, H, W) of the images that a stored network was built for."""
    try:
        c, h, w = (int(metadata[k]) for k in ("channels", "height", "width"))
    except (KeyError, ValueError) as error:
        raise WeightsError("The weights file does not name its input shape.") from error
    # A network is built for this shape before its weights can be compared.
    if min(c, h, w) < 1 or c > MOST_CHANNELS or c * h * w > LARGEST_INPUT:
        sizes = _shown(f"({c}, {h}, {w})")
        raise WeightsError(f"The weights file is for images of {sizes}: no network is.")
    return c, h, w


def check(tensors, metadata, expected, model):
    """Raise WeightsError unless the tensors are those that a model expects.

    expected: {name: shape} of the model, whose class name is `model`.
    """
    stored = _shown(metadata.get("model", "?"))
    about = f"The weights of {stored} do not fit this {model}"
    for name in dict.fromkeys([*expected, *tensors]):
        if name not in tensors:
            raise WeightsError(
                f"{about}: {name} is missing, expected {tuple(expected[name])}."
            )
        given = tensors[name].shape
        if name not in expected:
            raise WeightsError(
                f"{about}: the file has {_shown(name)} {given}, the model does not."
            )
        if given != tuple(expected[name]):
            raise WeightsError(
                f"{about}: {name} should be {tuple(expected[name])}, but is {given}."
            )


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

    build(shape) raises ValueError where the model cannot take them; then it is
    another architecture, and is built at another size for `check` to say so.
    Returns the (C, H, W) to trace the model at.
    """
    c, h, w = getattr(model, "_input_shape", None) or input_shape(metadata)
    try:
        build((c, h, w))
        return c, h, w
    except ValueError:
        build((c, 224, 224))
        return c, 224, 224
