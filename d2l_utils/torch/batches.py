"""PyTorch: how a batch becomes tensors on a device. Layout NCHW."""

import numpy as np
import torch


def to_images(X, matrices=None, device="cpu"):
    """Bytes as images: float32 (n, c, h', w') in [0, 1] on the device.

    X: uint8 (n, h, w), or (n, c, h, w); matrices: (R_h, R_w) that resize, or None.
    """
    X = torch.as_tensor(X, device=device).float().div_(255)
    if matrices is not None:
        R_h, R_w = (torch.tensor(R, device=device) for R in matrices)
        X = R_h @ X @ R_w.T
    return X.unsqueeze(1) if X.dim() == 3 else X


def _as_tensor(x, device):
    if isinstance(x, np.ndarray) and not x.flags.writeable:  # PyTorch would warn of it
        x = x.copy()
    return torch.as_tensor(x, device=device)


def to_tensors(batch, device, matrices=None):
    """A batch (*inputs, labels) of arrays or tensors as tensors on the device.

    Images in bytes become `to_images`; whole labels int64, as PyTorch's losses take
    them.
    """
    *inputs, y = (_as_tensor(x, device) for x in batch)
    inputs = [
        to_images(x, matrices, device)
        if x.dtype == torch.uint8 and x.dim() in (3, 4)
        else x
        for x in inputs
    ]
    whole = not (y.is_floating_point() or y.is_complex() or y.dtype == torch.bool)
    return (*inputs, y.long() if whole else y)
