"""PyTorch: how a batch becomes tensors on a device. Layout NCHW."""

import numpy as np
import torch

from d2l_utils.batches import as_tensors


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
    if isinstance(x, np.ndarray) and not x.flags.writeable:  # of which PyTorch warns
        x = x.copy()
    return torch.as_tensor(x, device=device)


def to_tensors(batch, device, matrices=None, dtype=torch.float32):
    """A batch of arrays or tensors as tensors on the device, see `as_tensors`.

    Images in bytes go through `to_images`; float64 becomes `dtype`, and integer labels
    int64, which PyTorch's losses expect.
    """

    def tensor(x):
        x = _as_tensor(x, device)
        return x.to(dtype) if x.dtype == torch.float64 else x

    def labels(y):
        whole = not (y.is_floating_point() or y.is_complex() or y.dtype == torch.bool)
        return y.long() if whole else y

    def images(x):
        x = to_images(x, matrices, device)
        return x.to(dtype) if dtype == torch.float64 else x

    return as_tensors(batch, tensor, images, labels)
