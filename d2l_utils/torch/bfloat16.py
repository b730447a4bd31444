"""PyTorch: training steps whose larger products run in bfloat16."""

from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.utils._pytree import tree_map

from d2l_utils.torch.processes import WRAPPERS

LOW = torch.bfloat16


@contextmanager
def in_bfloat16(device):
    """Networks compute in bfloat16, and what leaves them is float32.

    A network is whatever has weights and is called from outside of another one: a
    model, or a part of it in a step of the reader's own. Within it PyTorch's autocast
    chooses the type of each operation; some stay in float32.
    """
    inside = []

    def enter(module, args):
        if isinstance(module, WRAPPERS):
            return  # a step, which calls the network
        if not inside and next(module.parameters(), None) is None:
            return  # a loss, say
        if not inside:
            # A new one each time: it caches bfloat16 copies of the weights.
            autocast = torch.autocast(device.type, LOW)
            autocast.__enter__()
            leaving.callback(autocast.__exit__, None, None, None)
        inside.append(module)

    def leave(module, args, output):
        if inside and inside[-1] is module:
            inside.pop()
            if not inside:
                leaving.close()
                return tree_map(_in_float32, output)

    leaving, hooks = ExitStack(), nn.modules.module
    hook = hooks.register_module_forward_pre_hook(enter)
    after = hooks.register_module_forward_hook(leave, always_call=True)
    with leaving:
        try:
            yield
        finally:
            hook.remove()
            after.remove()


def _in_float32(x):
    return x.float() if isinstance(x, torch.Tensor) and x.dtype == LOW else x
