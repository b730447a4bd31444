"""What a training will do, decided once, before its first step."""

from dataclasses import dataclass, replace

from d2l_utils.data import FashionMNIST
from d2l_utils.ownership import calls_ours, replaced

LOADERS = ("get_dataloader", "train_dataloader", "val_dataloader", "to_tensors")
SPEAKS = ("training_step", "validation_step", "plot")


@dataclass(frozen=True)
class Plan:
    """What a training will do; `print(trainer.plan)` shows it.

    our_loop: `fit_epoch` is the library's, or calls it. stored_bytes: batches are the
    stored bytes of the data set, which become images on the device, and not what its
    loaders give. compiled: steps run as a compiled graph. bfloat16: training steps
    compute their larger products in bfloat16. device: in words. why_loader,
    why_uncompiled, why_float32: why not, in words; '' where there is no reason.
    """

    our_loop: bool
    stored_bytes: bool
    compiled: bool
    bfloat16: bool
    device: str
    why_loader: str = ""
    why_uncompiled: str = ""
    why_float32: str = ""

    def uncompiled(self, why):
        """The same plan, with steps that run operation by operation."""
        return replace(self, compiled=False, why_uncompiled=why)

    def in_float32(self, why):
        """The same plan, with all steps in float32."""
        return replace(self, bfloat16=False, why_float32=why)

    def __str__(self):
        def line(name, yes, words, otherwise, why):
            return f"{name:10}" + (words if yes else f"{otherwise} ({why})")

        return "\n".join(
            (
                line("batches", self.stored_bytes, "stored bytes, made into images on "
                     "the device", "those of the loader", self.why_loader),
                line("steps", self.compiled, "compiled", "operation by operation",
                     self.why_uncompiled),
                line("precision", self.bfloat16, "bfloat16 in training steps, float32 "
                     "in weights, validation, prediction", "float32", self.why_float32),
                f"{'device':10}{self.device}",
            )
        )  # fmt: skip


def make_plan(trainer, model, data):
    """The plan of a training, as far as it can be known before anything is tried.

    A framework's Trainer takes back with `uncompiled` and `in_float32` what turns out
    not to work.
    """
    loop, step = (
        [] if calls_ours(trainer, name) else [name]
        for name in ("fit_epoch", "train_step")
    )
    batches = replaced(trainer, "prepare_batch")
    if not isinstance(data, FashionMNIST):
        why_loader = f"{type(data).__name__} has loaders of its own"
    else:
        own = loop + batches + replaced(trainer, "prepare_data")
        why_loader = _yours(own + replaced(data, *LOADERS))
    seen = loop + step + batches + replaced(trainer, "clip_gradients")
    why_uncompiled = trainer._why_eager
    if trainer._compiles_steps:
        why_uncompiled = _yours(seen + uncompiled_steps(trainer, model))
    if trainer.precision != "auto":
        why_float32 = f"precision={trainer.precision!r}"
    else:
        why_float32 = _yours(loop + step) or trainer._why_not_bfloat16()
    return Plan(
        our_loop=not loop,
        stored_bytes=not why_loader,
        compiled=not why_uncompiled,
        bfloat16=not why_float32,
        device=trainer.device_text(),
        why_loader=why_loader,
        why_uncompiled=why_uncompiled,
        why_float32=why_float32,
    )


def uncompiled_steps(trainer, model):
    """Names of the reader's own methods for which steps are not compiled."""
    own = replaced(model, *SPEAKS)
    return [name for name in own if not trainer._may_compile(getattr(model, name))]


def _yours(names):
    """Methods of the reader's own as a reason, in words; '' if there are none."""
    return f"{', '.join(names)} of your own" if names else ""
