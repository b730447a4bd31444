"""MXNet: training steps. Layout NCHW."""

import warnings
from types import SimpleNamespace
from typing import Any

from mxnet import autograd, gluon, np, npx
from mxnet import random as mx_random

from d2l_utils import base, failures, host
from d2l_utils.batches import inputs_of, map_arrays, num_examples, part_of
from d2l_utils.feed import step_seed
from d2l_utils.frameworks import FRAMEWORKS
from d2l_utils.mxnet import state
from d2l_utils.mxnet.batches import to_tensors
from d2l_utils.mxnet.bfloat16 import Graphs, why_not_faster
from d2l_utils.mxnet.contexts import Contexts
from d2l_utils.mxnet.device import cpu, for_training
from d2l_utils.mxnet.layers import device_of, initialize, parameters
from d2l_utils.ownership import library, replaced
from d2l_utils.remember import remember
from d2l_utils.training import Trainer as _Trainer

STEPS_AHEAD = 8  # batches that wait on the device at most
NO_GRAPHS = SimpleNamespace(blocks=[], use=lambda low: None)  # as bfloat16.Graphs
UNCOMPILED = "no block of the network is compiled"


def _hybridize(model, active):
    """Compile the net, or undo it; a plain Sequential is compiled in parts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that HybridSequential would be faster
        model.hybridize(active, static_alloc=active, static_shape=active)


def _hybridized(model):
    """[(block, settings)] of those blocks that are hybridized now, outer ones first."""
    found = []
    model.apply(found.append)
    found = [b for b in reversed(found) if getattr(b, "_active", False)]
    return [(b, dict(b._flags)) for b in found]


@library
class Trainer(_Trainer):
    __doc__ = _Trainer.__doc__
    _framework = FRAMEWORKS["mxnet"]
    _gpus_there = staticmethod(lambda: len(for_training()))
    _state_hooks = state
    _contexts = None  # `Contexts` of a training on several devices
    _compiles_steps = False  # only the blocks of the network, see `_compile`
    _graphs = None  # of the model in training
    _free = frozenset()  # names of numbers that no graph has taken
    _by_reader = ()  # [(block, settings)] that were hybridized before

    def _find_device(self):
        self.gpus = vars(self).get("gpus", for_training()[: self.num_gpus])
        if len(self.gpus) > 1:
            self._contexts = Contexts(self.gpus)
        return self.gpus[0] if self.gpus else cpu()

    def device_text(self):
        text = host.cpu_text() if self.device == cpu() else str(self.device)
        return f"{len(self.gpus)} devices, {text}" if self._contexts else text

    def _why_not_bfloat16(self):
        if self._contexts or self.device != cpu():
            return "MXNet computes in bfloat16 on one processor only"
        return why_not_faster()

    def _state_tensors(self):
        return state.tensors_of(self.model, self.optim)

    def _restore(self, tensors):
        state.restore(self.model, self.optim, tensors)

    def _seed_step(self, seed):
        mx_random.seed(seed)

    def _remember(self):
        # The state of MXNet's generator cannot be read, but it can be set.
        if self.checkpoint:
            seed = step_seed(self.progress.seed, self.train_batch_idx)
        else:
            seed = int(np.random.randint(0, 2**31 - 1))
        mx_random.seed(seed)
        back = super()._remember()
        return state.remember(self.model, seed, back)

    def _make_weights(self, model):
        inputs = inputs_of(self.prepare_batch(self._first_batch()))

        def make(one):
            model.apply_init(one)
            self._outputs(one)
            return one

        made = self._build(make, inputs)
        initialize(model)
        if self._contexts:
            self._contexts.copy_weights(model)
        elif device_of(model) != self.device:
            gluon.Block.collect_params(model).reset_ctx(self.device)
        self._compile(model, made)

    def _numbers(self):
        return {k: get for k, get in super()._numbers().items() if k not in self._free}

    def _prepare_steps(self):
        if self._contexts:
            self._only_our_loop("devices")
            self._contexts.check(self.model, self.optim)
        own = replaced(self, "train_step") or replaced(self.model, "training_step")
        summing = [p.name for p in parameters(self.model) if p.grad_req == "add"]
        if summing and self.plan.our_loop and not own:
            raise TypeError(
                f"The gradients of {', '.join(summing)} are summed over all steps, as "
                "grad_req='add' says, and ours never set them to zero. Say 'write', or "
                "define a training_step of your own that does."
            )

    def _renew_steps(self):
        """Leave the blocks as the reader had them; the next step compiles them anew."""
        _hybridize(self.model, False)
        for block, settings in self._by_reader:
            block.hybridize(True, **settings)
        self._graphs = None
        if not self.plan.compiled:
            self._graphs = NO_GRAPHS
            if self.plan.bfloat16:
                self.plan = self.plan.in_float32(UNCOMPILED)

    def _compile(self, model, inputs):
        """Let Gluon compile the blocks of the model, as far as they can be.

        The reader's own steps are not compiled: they call the compiled blocks.

        inputs: one example; None where only such a step knows what they are.
        """
        self._by_reader = _hybridized(model)
        if inputs is None:
            why = "only your training_step knows its inputs"
            self.plan = self.plan.uncompiled(why)
            failures.warn_slow(f"MXNet could not compile the network: {why}")
            self._graphs = NO_GRAPHS
            return
        # A fifth faster for NiN28 on a CPU; a last, shorter batch costs 50 ms.
        _hybridize(model, True)
        try:
            back = remember([part for _, part in state.parts(model)])
            with autograd.pause(), failures.Traced(self) as first:
                model(*inputs)
                npx.waitall()
            if first.drew or first.printed or first.counted:
                # A plain `forward` does so in every call, a compiled one no more.
                with autograd.pause(), failures.Traced(self) as second:
                    model(*inputs)
                first.drew &= not second.drew
                self._free = first.counted & second.counted
                first.counted -= self._free
                first.printed &= not second.printed
                first.check(model)
        except Exception as error:  # a block that looks at values cannot be traced
            back()
            _hybridize(model, False)
            why = failures.in_one_line(error)
            self.plan = self.plan.uncompiled(why)
            failures.warn_slow(f"MXNet could not compile the network: {why}")
        self._graphs = Graphs(model)
        if self.plan.bfloat16 and not self._graphs.blocks:
            self.plan = self.plan.in_float32(UNCOMPILED)

    def _run_epochs(self):
        try:
            super()._run_epochs()
        finally:
            self._renew_steps()
            self._graphs = None
            if self._contexts:
                self._contexts.gather(self.model)

    def prepare_batch(self, batch):
        self._examples = num_examples(batch)
        size = self.data.resize if self.plan.stored_bytes else None
        return to_tensors(batch, self.device, size)

    def _outputs(self, inputs):
        with autograd.pause():
            return self.model(*inputs)

    def _on_each(self, step, batch):
        """[(step(part), its share of the examples)] for each device's part of a batch.

        While a step runs, `device` is that of its part.
        """
        if not self._contexts:
            return [(step(self.prepare_batch(batch)), 1)]
        results, first = [], self.device
        try:
            for rank, device in enumerate(self.gpus):
                part, share = part_of(batch, rank, len(self.gpus))
                self.device = device
                with device:
                    results.append((step(self.prepare_batch(part)), share))
        finally:
            self.device = first
        return results

    def _train(self, batch):
        if self._graphs is None:  # `fit_epoch` by itself, after `fit`
            if self._contexts:
                self._contexts.copy_weights(self.model)
            inputs = inputs_of(self.prepare_batch(batch))
            self._compile(self.model, map_arrays(lambda x: x[:1], inputs))
            self._taken = self._as_they_are()
        self._graphs.use(low=self.plan.bfloat16)

        def step(batch):
            with autograd.record():
                l, recorded = self._run_training_step(self.model.training_step, batch)
                if not hasattr(l, "backward"):
                    raise self._no_loss(l)
                return l, recorded

        results = self._on_each(step, batch)
        if self._contexts:
            with autograd.record():
                losses = [l * share for (l, _), share in results]
            self._contexts.sum_gradients(losses, self.optim)
        else:
            results[0][0][0].backward()
        if self._first:
            npx.waitall()  # raises errors of the step before weights change
        if self.gradient_clip_val > 0:
            for device in self.gpus or [self.device]:
                with device:
                    self.clip_gradients(self.gradient_clip_val, self.model)
        # 1, since the loss is a mean. Parameters that the step does not use keep their
        # values, as in the other frameworks; by default Gluon would refuse the step.
        if self._contexts:
            self.optim.update(1, ignore_stale_grad=True)
        else:
            own = isinstance(self.optim, gluon.Trainer)
            self.optim.step(1, **({"ignore_stale_grad": True} if own else {}))
        self._wait_at_times(self.train_batch_idx)
        return self._mean([(recorded, share) for (_, recorded), share in results])

    def _validate(self, batch):
        if self._graphs is not None:
            self._graphs.use(low=False)
        self._wait_at_times(self.val_batch_idx)

        def step(batch):
            return self._run_step(self.model.validation_step, batch)[1]

        return self._mean(self._on_each(step, batch))

    def _mean(self, results):
        """What was recorded, as the mean over the whole batch, on the first device."""
        values = [
            {k: v.detach() if hasattr(v, "detach") else v for k, v in recorded.items()}
            for recorded, _ in results
        ]
        if not self._contexts:
            return values[0]

        def there(v):
            return v.as_in_ctx(self.device) if isinstance(v, np.ndarray) else v

        shares = [share for _, share in results]
        return {
            k: sum(there(own[k]) * share for own, share in zip(values, shares))
            for k in values[0]
        }

    def _wait_at_times(self, step):
        """Bound the work that waits in the engine: every step of it holds a batch."""
        if step % STEPS_AHEAD == 0:
            npx.waitall()

    def clip_gradients(self, grad_clip_val: float, model: Any) -> None:
        """Bound the norm of the gradients, in place (textbook, section 9.5).

        Parameters:
            grad_clip_val: the largest norm.
            model: whose parameters have the gradients.
        """
        params = [p for p in parameters(model) if p.grad_req != "null"]
        grads = [p.grad() for p in params if p.data()._fresh_grad]
        grads = grads or [p.grad for p in model.parameters()]  # arrays, not Gluon's
        norm = np.sqrt(sum((g**2).sum() for g in grads))
        scale = np.minimum(1.0, grad_clip_val / (norm + 1e-6))  # not read: no wait
        for g in grads:
            g *= scale


def run_facts() -> None:
    """Print versions, processor, device, date, and time since the import.

    Example:
        >>> d2l.run_facts()
    """
    trainer = Trainer(1, num_gpus=1)
    base.print_facts(trainer._framework.distributions, trainer.device_text())
