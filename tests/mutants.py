"""Would the tests see it? `make mutants` puts faults into the code, one at a time.

Each fault is put into a copy of the tracked files, where the tests that should see it
are run; they have to fail. Exits non-zero if a fault survives, or if its `old` text is
not there exactly once any more: then the table below is to be mended. The same tests
are first run without a fault, since tests that fail anyway prove nothing.

`python tests/mutants.py dropout jax` tries those with one of the words in their name,
framework or file of tests.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from d2l_utils.frameworks import FRAMEWORKS

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 600  # seconds for one run of the tests
SKIPPED = "not tried, its tests are skipped here"  # for lack of 16-bit units, say


@dataclass(frozen=True)
class Fault:
    """What is replaced in a file, and the tests that should see it.

    tests: a file in tests/; words: those of its tests to run, as pytest's -k;
    framework: as pytest's --framework, for tests of one.
    """

    name: str
    file: str
    old: str
    new: str
    tests: str
    words: str = ""
    framework: str = ""


REFERENCE, INFERENCE = "test_training_reference.py", "test_evaluate_and_predict"
FORMS = "test_own_forms.py"
# fmt: off
FAULTS = (
    # Training ---------------------------------------------------------------------
    Fault(
        "what Keras's layers add to a loss is left out",
        "d2l_utils/tensorflow/trainer.py",
        "l = sum((tf.cast(x, l.dtype) for x in beside()), l)", "pass",
        "test_own_code.py", "losses_of_layers", "tensorflow",
    ),
    *(
        Fault(
            "a compiled step goes on with the numbers it was compiled with",
            "d2l_utils/training.py",
            "if not names:", "if names or not names:",
            "test_own_code.py", "change_between or trainer_that_change", framework,
        )
        for framework in ("mxnet", "tensorflow", "jax")
    ),
    Fault(
        "a compiled step goes on with numbers that change within an epoch",
        "d2l_utils/training.py",
        "self._around = replaced(self, *AROUND_STEPS)", "self._around = ()",
        "test_own_code.py", "numbers_that_change_between_steps", "mxnet",
    ),
    Fault(
        "a training that goes on within an epoch is no longer compiled",
        "d2l_utils/training.py",
        "if within_epoch and len(self.progress.train) and not self._first:",
        "if len(self.progress.train):",
        "test_own_code.py", "resumed_within_an_epoch", "jax",
    ),
    Fault(
        "what a step reads through a property is not looked at again",
        "d2l_utils/as_they_are.py",
        "asked = property, cached_property,", "asked = cached_property,",
        "test_own_code.py", "however_a_step_gets", "jax",
    ),
    Fault(
        "a compiled step has no bound of gradients",
        "d2l_utils/jax/trainer.py",
        "step(state, batch, self._bound)", "step(state, batch, None)",
        "test_own_code.py", "bound_of_gradients", "jax",
    ),
    Fault(
        "of several optimizers none is kept",
        "d2l_utils/attributes.py",
        "if type(optim) in (tuple, list):", "if False:",
        "test_resuming.py", "several_optimizers", "tensorflow",
    ),
    Fault(
        "a step of a reader's own that calls ours is counted twice",
        "d2l_utils/training.py",
        "if (progress.train_batch_idx, progress.val_batch_idx) == before:", "if True:",
        "test_own_code.py", "counted_once", "pytorch",
    ),
    Fault(
        "a new optimizer in mid-training gets batches in another order",
        "d2l_utils/feed.py",
        "self._tell_epoch(told)", "self._tell_epoch(None)",
        "test_resuming.py", "replaced_in_mid", "pytorch",
    ),
    Fault(
        "momentum is ignored",
        "d2l_utils/tensorflow/module.py",
        'momentum = float(getattr(self, "momentum", 0))',
        "momentum = 0.0",
        REFERENCE, "twenty_steps", "tensorflow",
    ),
    Fault(
        "clipping bounds each number instead of the norm",
        "d2l_utils/torch/trainer.py",
        "nn.utils.clip_grad_norm_(model.parameters(), grad_clip_val)",
        "nn.utils.clip_grad_value_(model.parameters(), grad_clip_val)",
        REFERENCE, "twenty_steps", "pytorch",
    ),
    Fault(
        "how far a training is stays there when it is over",
        "d2l_utils/board.py",
        'self._put("")',
        "pass",
        "test_framework.py", "reader_sees", "pytorch",
    ),
    Fault(
        "dropout is off in training",
        "d2l_utils/tensorflow/trainer.py",
        "with mode(self.model, training=True), low",
        "with mode(self.model, training=False), low",
        REFERENCE, "dropout", "tensorflow",
    ),
    Fault(
        "every step has the same dropout mask",
        "d2l_utils/jax/trainer.py",
        "key = jax.random.fold_in(state.dropout_rng, state.step)",
        "key = state.dropout_rng",
        REFERENCE, "every_step_has", "jax",
    ),
    *(
        Fault(
            "step_seed does not depend on the step",
            "d2l_utils/feed.py",
            "np.random.SeedSequence([seed, step, *what])",
            "np.random.SeedSequence([seed, 0, *what])",
            REFERENCE, "every_step_has", framework,
        )
        for framework in ("pytorch", "mxnet")
    ),
    Fault(
        "every epoch has the order of the first",
        "d2l_utils/data.py",
        "order = epoch_order(n, self.seed, epoch) if train else",
        "order = epoch_order(n, self.seed, 0) if train else",
        REFERENCE, "order", "pytorch",
    ),
    Fault(
        "a loader gives every epoch in the order of the first",
        "d2l_utils/data.py",
        "        self.passes += 1\n        return self.passes - 1",
        "        return self.passes",
        REFERENCE, "order", "jax",
    ),
    Fault(
        "a look into a loader counts as an epoch of training",
        "d2l_utils/feed.py",
        "            self.data.training_epoch = epoch",
        "            pass",
        REFERENCE, "order", "pytorch",
    ),
    Fault(
        "the order does not depend on set_seed",
        "d2l_utils/data.py",
        "np.random.default_rng([seed, epoch])",
        "np.random.default_rng([0, epoch])",
        REFERENCE, "order", "mxnet",
    ),
    Fault(
        "TensorLoader shuffles whole batches",
        "d2l_utils/data.py",
        "            order = epoch_order(n, seed if told is None else told, "
        "self.next_epoch())",
        "            whole = epoch_order(len(self), seed, self.next_epoch())\n"
        "            parts = [order[i * size : (i + 1) * size] for i in whole]\n"
        "            order = np.concatenate(parts)",
        REFERENCE, "tensorloaders", "pytorch",
    ),
    Fault(
        "evaluate is in training mode",
        "d2l_utils/inference.py",
        "    with hooks.evaluating(model):\n        for batch",
        "    if True:\n        for batch",
        REFERENCE, INFERENCE, "pytorch",
    ),
    Fault(
        "evaluate is in training mode",
        "d2l_utils/mxnet/layers.py",
        "    with autograd.pause():\n        yield",
        "    with autograd.pause(train_mode=True):\n        yield",
        REFERENCE, INFERENCE, "mxnet",
    ),
    Fault(
        "evaluate is in training mode",
        "d2l_utils/tensorflow/layers.py",
        "Y_hat = model(*X, training=False)",
        "Y_hat = model(*X, training=True)",
        REFERENCE, INFERENCE, "tensorflow",
    ),
    Fault(
        "evaluate is in training mode",
        "d2l_utils/jax/layers.py",
        "    net = clone(model, training=False)\n    return _once(",
        "    net = clone(model, training=True)\n    return _once(",
        REFERENCE, INFERENCE, "jax",
    ),
    Fault(
        "validation is in training mode",
        "d2l_utils/torch/trainer.py",
        "            self.model.eval()",
        "            self.model.train()",
        REFERENCE, INFERENCE, "pytorch",
    ),
    Fault(
        "predict rounds to bfloat16",
        "d2l_utils/torch/layers.py",
        "return model(X).cpu().numpy()",
        "return model(X).bfloat16().float().numpy()",
        REFERENCE, INFERENCE, "pytorch",
    ),
    Fault(
        "predict rounds to bfloat16",
        "d2l_utils/jax/layers.py",
        "    return net.apply(variables, X)\n\n\ndef logits",
        "    X = X.astype('bfloat16').astype('float32')\n"
        "    return net.apply(variables, X)\n\n\ndef logits",
        REFERENCE, INFERENCE, "jax",
    ),
    Fault(
        "predict rounds to bfloat16",
        "d2l_utils/mxnet/layers.py",
        "        return model(np.array(X, ctx=device_of(model))).asnumpy()",
        "        y = model(np.array(X, ctx=device_of(model))).asnumpy()\n"
        "        return (y.view('uint32') & 0xFFFF0000).view('float32')",
        REFERENCE, INFERENCE, "mxnet",
    ),
    Fault(
        "predict rounds to bfloat16",
        "d2l_utils/tensorflow/layers.py",
        "    return model(np.moveaxis(X, 1, -1), training=False).numpy()",
        "    y = model(np.moveaxis(X, 1, -1), training=False)\n"
        "    return tf.cast(tf.cast(y, 'bfloat16'), 'float32').numpy()",
        REFERENCE, INFERENCE, "tensorflow",
    ),
    Fault(
        "a checkpoint is made one step early",
        "d2l_utils/training.py",
        "number % self.every == 0) or number == 1",
        "(number + 1) % self.every == 0) or number == 1",
        REFERENCE, "checkpoint_holds", "pytorch",
    ),
    Fault(
        "a checkpoint says one step less than it holds",
        "d2l_utils/progress.py",
        '"train": self.train.as_numbers()',
        '"train": self.train.as_numbers()[:-1]',
        REFERENCE, "checkpoint_holds", "tensorflow",
    ),
    Fault(
        "a checkpoint lacks the optimizer's momentum",
        "d2l_utils/torch/state.py",
        "if x is not None:",
        "if False:",
        REFERENCE, "checkpoint_holds", "pytorch",
    ),
    Fault(
        "batches before a checkpoint are drawn again from other states",
        "d2l_utils/feed.py",
        "beside.set_states(beside.begin)",
        "pass",
        "test_resuming.py", "numpy", "pytorch",
    ),
    Fault(
        "what training changes in attributes is not stored",
        "d2l_utils/attributes.py",
        "self.moved.add(leaf.path)",
        "continue",
        "test_resuming.py", "methods_that_only", "jax",
    ),
    # Precision --------------------------------------------------------------------
    Fault(
        "what leaves the network is in bfloat16, and so is the loss",
        "d2l_utils/torch/bfloat16.py",
        "return tree_map(_in_float32, output)",
        "return output",
        FORMS, "own_form and loss", "pytorch",
    ),
    Fault(
        "Keras's loss is in bfloat16",
        "d2l_utils/tensorflow/bfloat16.py",
        "return Y if inside else tf.nest.map_structure(_in_float32, Y)",
        "return Y",
        FORMS, "own_form and loss", "tensorflow",
    ),
    Fault(
        "a step done again finds statistics that have moved",
        "d2l_utils/torch/state.py",
        "                x.copy_(value)\n",
        "",
        FORMS, "nothing_had_been_tried", "pytorch",
    ),
    Fault(
        "a step done again draws the next dropout mask",
        "d2l_utils/torch/state.py",
        "torch.set_rng_state(drawn[0])",
        "pass",
        FORMS, "nothing_had_been_tried", "pytorch",
    ),
    Fault(
        "MXNet's generator goes on where a step is done again",
        "d2l_utils/mxnet/state.py",
        "        mx_random.seed(seed)\n\n    return all_back",
        "\n    return all_back",
        FORMS, "nothing_had_been_tried", "mxnet",
    ),
    Fault(
        "a step done again finds the layers' own attributes changed",
        "d2l_utils/training.py",
        "return remember([part for _, part in self._state_hooks.parts(self.model)])",
        "return remember()",
        FORMS, "nothing_had_been_tried", "tensorflow",
    ),
    # What a reader's own step and loop are promised -------------------------------
    Fault(
        "promised: parts of a Keras model that a step calls do not train",
        "d2l_utils/tensorflow/layers.py",
        "_with_default(signature, training=True)", "signature",
        FORMS, "parts_that", "tensorflow",
    ),
    Fault(
        "promised: `apply` of a Flax model that a step calls does not train",
        "d2l_utils/jax/layers.py",
        'object.__setattr__(model, "training", training)', "pass",
        FORMS, "parts_that", "jax",
    ),
    Fault(
        "promised: the first epoch comes before a `train` of the reader's own",
        "d2l_utils/torch/trainer.py",
        "self.model.train()  # also what", "pass  # also what",
        FORMS, "train_method", "pytorch",
    ),
    Fault(
        "promised: a network beside the model is in no checkpoint",
        "d2l_utils/torch/state.py",
        "if isinstance(x, nn.Module):  # that is", "if False:  # that is",
        "test_resuming.py", "beside_the_model", "pytorch",
    ),
    Fault(
        "promised: an optimizer beside the model is in no checkpoint",
        "d2l_utils/torch/state.py",
        "if isinstance(x, torch.optim.Optimizer):  # another", "if False:  # another",
        "test_resuming.py", "beside_the_model", "pytorch",
    ),
    Fault(
        "promised: what comes before an epoch is done twice where it is resumed",
        "d2l_utils/training.py",
        'whole = not replaced(self, "fit_epoch")', "whole = True",
        "test_resuming.py", "surrounds_an_epoch", "pytorch",
    ),
    Fault(
        "promised: a `fit_epoch` around ours is taken for a loop of its own",
        "d2l_utils/plan.py",
        "[] if calls_ours(trainer, name) else [name]", "[name]",
        "test_resuming.py", "surrounds_an_epoch", "pytorch",
    ),
    Fault(
        "precision is decided once for all models that a Trainer fits",
        "d2l_utils/training.py",
        "self.plan = make_plan(self, self.model, self.data)",
        "self.plan = self.plan or make_plan(self, self.model, self.data)",
        FORMS, "precision_is_of_each", "pytorch",
    ),
    Fault(
        "two passes through the network in a step",
        "d2l_utils/modules.py",
        "        l = self.loss(Y_hat, batch[-1])",
        "        l = self.loss(self(*batch[:-1]), batch[-1])",
        FORMS, "own_form and ours", "pytorch",
    ),
    Fault(
        "MXNet loses the bias of a dense layer whose weights are frozen",
        "d2l_utils/mxnet/bfloat16.py",
        "bias = inputs.pop()",
        "inputs.pop()",
        "test_mxnet_bfloat16.py", "frozen", "mxnet",
    ),
    Fault(
        "MXNet's casts write over accumulated gradients",
        "d2l_utils/mxnet/bfloat16.py",
        'if req(source) == "add":',
        "if False:",
        "test_mxnet_bfloat16.py", "frozen", "mxnet",
    ),
    # Notebooks --------------------------------------------------------------------
    Fault(
        "another default momentum in one tab",
        "notebooks/nin.md",
        "    dropout: float = 0.5\n    momentum: float = 0.9",
        "    dropout: float = 0.5\n    momentum: float = 0.8",
        "test_defaults.py",
    ),
    Fault(
        "another default of dropout in an exercise, in one tab",
        "notebooks/nin_exercises.md",
        "    dropout: float = 0.5",
        "    dropout: float = 0.4",
        "test_defaults.py",
    ),
    Fault(
        "initial weights in the order of definition",
        "d2l_utils/inference.py",
        "named_tensors(model, shape)[0].items():\n        layer,",
        "reversed(named_tensors(model, shape)[0].items()):\n        layer,",
        "test_initial.py", "order_of_use", "pytorch",
    ),
    Fault(
        "drawn weights are not turned to the framework's layout",
        "d2l_utils/initial.py",
        "    return np.moveaxis(draw(stored), (0, 1), (-1, -2))",
        "    return draw(stored).reshape(shape)",
        "test_initial.py", "idiom", "tensorflow",
    ),
    Fault(
        "drawn weights behind a flattening are not turned, in TensorFlow",
        "d2l_utils/tensorflow/layers.py",
        "kernel.assign(x.from_stored(kernel.numpy().T, tuple(kernel.shape)))",
        "x.from_stored(kernel.numpy().T, tuple(kernel.shape))",
        "test_initial.py", "idiom", "tensorflow",
    ),
    Fault(
        "drawn weights behind a flattening are not turned, in JAX",
        "d2l_utils/jax/layers.py",
        "x.made(rule, shape) if x else initial",
        "initial",
        "test_initial.py", "idiom", "jax",
    ),
    *(Fault(
        "a summary draws initial weights",
        "d2l_utils/initial.py",
        "        with aside():\n            yield\n        if _log:",
        "        yield\n        if _log:",
        "test_initial.py", "looking", framework,
    ) for framework in ("pytorch", "mxnet", "tensorflow")),
    Fault(
        "weights of a summary are taken for drawn",
        "d2l_utils/inference.py",
        "                arrays[x.own] = x.from_stored(draw(), size)",
        "                draw()",
        "test_initial.py", "looking", "mxnet",
    ),
    Fault(
        "an initializer of a lazy layer is forgotten",
        "d2l_utils/torch/layers.py",
        "        _when_built(module, init)\n        return",
        "        return",
        "test_initial.py", "idiom", "pytorch",
    ),
    Fault(
        "what Keras asks for in passing counts as drawn",
        "d2l_utils/tensorflow/layers.py",
        "with initial.aside() if in_stateless_scope() else",
        "with",
        "test_initial.py", "idiom", "tensorflow",
    ),
    Fault(
        "what Flax asks for to compare shapes counts as drawn",
        "d2l_utils/jax/layers.py",
        "    if _asked is None and not traced(key):",
        "    if _asked is None:",
        "test_initial.py", "only_making", "jax",
    ),
    Fault(
        "a framework's own initial values in one tab",
        "notebooks/nin.md",
        "partial(nn.Conv, out_channels, kernel_init=d2l.init_cnn)",
        "partial(nn.Conv, out_channels)",
        REFERENCE, "initial_values and nin", "jax",
    ),
    Fault(
        "a framework's own initial values in one tab",
        "notebooks/googlenet.md",
        "nn.Dense(num_classes))\n        self.net.initialize(init.Xavier())",
        "nn.Dense(num_classes))\n        self.net.initialize()",
        REFERENCE, "initial_values and googlenet", "mxnet",
    ),
    # Data, memory, commands -------------------------------------------------------
    Fault(
        "FashionMNIST ignores root",
        "d2l_utils/data.py",
        "load_fashion_mnist(root)",
        "load_fashion_mnist()",
        "test_data.py", "root",
    ),
    Fault(
        "the peak of memory does not start anew",
        "d2l_utils/host.py",
        'file.write("5")',
        'file.write("1")',
        "test_memory.py", "", "pytorch",
    ),
    Fault(
        "a download has no limit of time",
        "d2l_utils/fetching.py",
        "thread.join(TIMEOUT)",
        "thread.join()",
        "test_download.py", "bad_mirror",
    ),
    Fault(
        "editions --check ends with 0 where something is stale",
        "book/notebooks/editions.py",
        "return int(was_stale and check)",
        "return 0",
        "test_commands.py", "check_fails",
    ),
    Fault(
        "editions ends with 0 after a failure",
        "book/notebooks/editions.py",
        "    sys.exit(main())",
        "    main()",
        "test_commands.py", "status",
    ),
    Fault(
        "nbval ends with 0 after a failure",
        "book/notebooks/nbval.py",
        "failed |= status != 0",
        "failed = status != 0",
        "test_commands.py", "one_failure",
    ),
    Fault(
        "nbval does not notice that a notebook failed",
        "book/notebooks/nbval.py",
        "return name, done.returncode,",
        "return name, 0,",
        "test_commands.py", "nbval_fails",
    ),
    Fault(
        "parity ends with 0 after a failure",
        "book/checks/parity.py",
        "return int(not passed)",
        "return 0",
        "test_parity.py", "fails_the_command",
    ),
    Fault(
        "parity takes no notice of weights that did not travel",
        "book/checks/parity.py",
        "passed &= travelled",
        "travelled &= passed",
        "test_parity.py", "fails_the_command",
    ),
    Fault(
        "outputs may name the user's folder",
        "book/notebooks/execute.py",
        'os.path.expanduser("~"), sys.prefix',
        "sys.prefix",
        "test_commands.py", "name_this_machine",
    ),
    Fault(
        "outputs may name this machine",
        "book/notebooks/execute.py",
        "if found:",
        "if len(found) > 9:",
        "test_commands.py", "name_this_machine",
    ),
    # Chosen by reading the code alone, without the tests that should see them --------
    Fault(
        "all of several largest values get the gradient of a pool",
        "d2l_utils/jax/fast.py",
        "== largest) & ~taken",
        "== largest)",
        "test_jax_fast.py", "", "jax",
    ),
    Fault(
        "a network is called dead for steps that are not in a row",
        "d2l_utils/failures.py",
        "self.unmoved + 1 if dead else 0",
        "self.unmoved + 1 if dead else self.unmoved",
        "test_failures.py",
    ),
    Fault(
        "names that are spelled alike are not advised",
        "d2l_utils/names.py",
        "cutoff=0.7",
        "cutoff=0.95",
        "test_names.py",
    ),
    Fault(
        "any number of GPUs below zero will do",
        "d2l_utils/arguments.py",
        "if not isinstance(asked, Integral) or asked < -1:",
        "if not isinstance(asked, Integral):",
        "test_devices.py",
    ),
    Fault(
        "several devices compute the same whole batch each",
        "d2l_utils/jax/trainer.py",
        'PartitionSpec("batch")',
        "PartitionSpec()",
        "test_several_devices.py", "shared", "jax",
    ),
    Fault(
        "each device goes by the gradients of its own part of a batch",
        "d2l_utils/mxnet/contexts.py",
        "        optim.allreduce_grads()",
        "        pass",
        "test_several_devices.py", "ends_in_the_same", "mxnet",
    ),
    Fault(
        "processes that the Trainer starts begin from another seed",
        "d2l_utils/torch/launch.py",
        "base.remember_seed(states[0])",
        "base.remember_seed(0)",
        "test_several_devices.py", "starts_processes", "pytorch",
    ),
    Fault(
        "a weights file may ask for images of any size",
        "d2l_utils/weights.py",
        "or c > MOST_CHANNELS or c * h * w > LARGEST_INPUT",
        "or c > MOST_CHANNELS",
        "test_weights.py",
    ),
    Fault(
        "weights without a common name are not saved",
        "d2l_utils/inference.py",
        "        if key not in first:",
        "        if False:",
        "test_every_weight.py", "predicts_the_same", "pytorch",
    ),
    Fault(
        "a layer without a formula is not named",
        "d2l_utils/inference.py",
        "    rows += summary.uncounted(rows, trained, type(model).__name__)",
        "    pass",
        "test_macs.py", "other_layers", "pytorch",
    ),
    Fault(
        "save_hyperparameters saves what it should ignore",
        "d2l_utils/base.py",
        'skip = {*ignore, "self", ',
        'skip = {"self", ',
        "test_core.py",
    ),
    Fault(
        "a board draws the last of several points",
        "d2l_utils/board.py",
        "Point(*np.mean(points, axis=0).tolist())",
        "points[-1]",
        "test_core.py",
    ),
    Fault(
        "numbers that a translation adds are not seen",
        "book/translate/agreement.py",
        "more = Counter({n: c for n, c in more.items() if n not in in_words(source)})",
        "more = Counter()",
        "test_translations.py",
    ),
    Fault(
        "a link to another page leads nowhere on this one",
        "book/pages/links.py",
        'page = "" if here == there else f"{there}.html"',
        'page = ""',
        "test_links.py",
    ),
    Fault(
        "an error among the stored outputs is published",
        "book/pages/bodies.py",
        'if output.output_type == "error":',
        'if output.output_type == "errors":',
        "test_pages.py",
    ),
    Fault(
        "blank exercises hold the answers in code",
        "book/notebooks/exercises.py",
        "        if ANSWER in tags_of(cell):\n",
        "        if ANSWER in tags_of(cell) and cell.cell_type != 'code':\n",
        "test_exercises.py", "nothing_of_the_answers",
    ),
    Fault(
        "an answer can replace the function that checks it",
        "book/notebooks/exercises.py",
        "            if (bound | parts) & (wanted - theirs):",
        "            if parts & (wanted - theirs):",
        "test_exercises.py", "what_it_uses or points",
    ),
    Fault(
        "set-up cells are not locked",
        "book/notebooks/exercises.py",
        '"locked": not is_answer, **points',
        '"locked": grade, **points',
        "test_exercises.py", "nothing_of_the_answers",
    ),
    Fault(
        "a full disk cuts a file",
        "book/source/files.py",
        "        replace_file(path, raw, ",
        "        path.write_bytes(raw) or (",
        "test_files.py", "middle",
    ),
    Fault(
        "an edit in Jupyter is taken back although it changes",
        "book/notebooks/editions.py",
        "    if back != saved:\n        raise",
        "    if not saved:\n        raise",
        "test_jupyter_edits.py",
    ),
    Fault(
        "comments in code that a text shows become fences",
        "book/source/tabs.py",
        "fence = None if in_code else COMMENT.fullmatch(line)",
        "fence = COMMENT.fullmatch(line)",
        "test_jupyter_edits.py", "hide_nothing",
    ),
    Fault(
        "a picture from outside the folder is handed on",
        "book/pages/markup.py",
        "elif not file.resolve().is_relative_to(self.folder.resolve()):",
        "elif not file.is_relative_to(self.folder):",
        "test_foreign_notebooks.py", "elsewhere",
    ),
    Fault(
        "a notebook installs a package that was changed in it",
        "book/notebooks/colab.py",
        "    if hashlib.sha256(packed).hexdigest() != (\n            '{hash}'):",
        "    if not packed and '' != (\n            '{hash}'):",
        "test_exports.py", "set_up_cell",
    ),
    Fault(
        "a notebook keeps the copy of another without the data that it shows",
        "book/notebooks/colab.py",
        "lacks = part and part.exists() and not (",
        "lacks = part and not part and not (",
        "test_exports.py", "another_notebook",
    ),
    Fault(
        "a notebook's wheel has the record of the whole wheel",
        "book/notebooks/colab.py",
        "return kept | {record: recorded(kept, record)}",
        "return kept | {record: whole[record]}",
        "test_exports.py", "record_of_a_wheel",
    ),
    Fault(
        "a notebook does not carry what the cells show that it includes",
        "book/notebooks/colab.py",
        'text = "\\n".join(cell.source for cell in read_source(book, section))',
        "text = book.source_path(section).read_text()",
        "test_exports.py", "needs_what_its_cells",
    ),
    Fault(
        "a notebook carries the folders of the other frameworks",
        "book/notebooks/colab.py",
        "        if folder in others:", "        if folder in ():",
        "test_exports.py", "one_framework",
    ),
    Fault(
        "a framework that a notebook did not bring is silently empty",
        "book/notebooks/colab.py",
        "            content = MISSING\n", "            content = b''\n",
        "test_exports.py", "one_framework",
    ),
    Fault(
        "a notebook carries what is long in records and not shown",
        "book/notebooks/colab.py",
        "content = shortened(content, needed)", "content = bytes(content)",
        "test_exports.py", "predicted_classes_where",
    ),
    Fault(
        "a notebook lacks the predicted classes that it shows",
        "book/notebooks/colab.py",
        "names += [k for k in LONG if", "names += [k for k in () if",
        "test_exports.py", "needs_what_its_cells",
    ),
    Fault(
        "a notebook installs a framework that is there",
        "book/notebooks/editions.py",
        "        if importlib.util.find_spec(name) is None:",
        "        if True:",
        "test_exports.py", "colab_gets",
    ),
    Fault(
        "what a blank cell has to produce leaves entries out",
        "book/notebooks/exercises.py",
        "for name in entered[:1] for key in keys",
        "for name in entered[:0] for key in keys",
        "test_exercises.py", "has_to_produce",
    ),
    Fault(
        "captions do not describe their figures",
        "book/pages/exporter.py",
        '"alt": caption or said',
        '"alt": said',
        "test_pages.py", "caption",
    ),
    Fault(
        "a number that a cell printed is not on its slide",
        "book/pages/printed.py",
        "            values.append(column)",
        "            values = [column]",
        "test_slides.py", "table",
    ),
    Fault(
        "a learning rate gets a bar, as if it were a share",
        "book/pages/printed.py",
        'said = NAMES_SHARE.search(head) or any("%" in c for c in cells)',
        "said = True",
        "test_slides.py", "share",
    ),
    Fault(
        "the speaker says what is for other tabs",
        "book/pages/slides.py",
        "text_for(framework, cell.source, cell.place)",
        "cell.source",
        "test_slides.py", "notes",
    ),
    Fault(
        "points for answers in words are taken for those of tests",
        "book/pages/instructors.py",
        'in_words = cell.cell_type == "markdown"',
        "in_words = False",
        "test_instructors.py", "rubric",
    ),
    Fault(
        "excerpts of the search cut words",
        "book/pages/templates/d2l/page.js",
        "if (to < text.length) to -=",
        "if (false) to -=",
        "test_pages_browser.py", "excerpt",
    ),
    Fault(
        "a key that chooses Japanese characters opens what was found",
        "book/pages/templates/d2l/page.js",
        "if (event.isComposing || event.keyCode === 229) return;",
        "",
        "test_pages_browser.py", "chooses_characters",
    ),
    Fault(
        "the search knows the words of the translation alone",
        "book/pages/templates/d2l/page.js",
        "ours = ours.replaceAll(word, written.toLowerCase());",
        "ours = ours;",
        "test_pages_browser.py", "search_works_for_japanese",
    ),
    # Notebooks for d2l ------------------------------------------------------------
    Fault(
        "an unpacked archive writes outside of its folder",
        "d2l_utils/downloads.py",
        'archive.extractall(folder, filter="data")',
        'archive.extractall(folder, filter="fully_trusted")',
        "test_downloads.py", "outside",
    ),
    Fault(
        "what installs is carried out",
        "d2l_utils/run.py",
        "    shell.var_expand, subprocess.Popen.__init__ = var_expand, init",
        "    subprocess.Popen.__init__ = init",
        "test_as_d2l.py", "installs_is_left_out", "pytorch",
    ),
    Fault(
        "a network of the edition before trains without dropout",
        "d2l_utils/torch/textbook.py",
        "            net.train()",
        "            net.eval()",
        "test_loops.py", "train_ch3", "pytorch",
    ),
    Fault(
        "bfloat16 is used on Intel's processors without AMX",
        "d2l_utils/host.py",
        '"avx512_bf16" in there and "GenuineIntel" not in there',
        '"avx512_bf16" in there',
        "test_bench.py", "class_of_a_processor",
    ),
    Fault(
        "a description of a training is sent in as many bytes as it has",
        "d2l_utils/alike.py",
        "_some(x) if k == MODULES else _shortened(x)", "x",
        "test_train_command.py", "long_descriptions",
    ),
    Fault(
        "our first epoch on a GPU is timed with the step that compiles",
        "study/gpu.py",
        "[first - (done - begun), *others]",
        "[first, *others]",
        "test_study.py", "is_timed_apart", "pytorch",
    ),
    Fault(
        "a worker that has not come is not missed",
        "d2l_utils/rollcall.py",
        "    return sorted(missing)",
        "    return []",
        "test_train_command.py", "hears_who_has_not_come",
    ),
    Fault(
        "any call is a worker's",
        "d2l_utils/rollcall.py",
        "missing.discard(int(call.recv(16)))",
        "call.recv(16), missing.pop()",
        "test_train_command.py", "somebody_elses_call",
    ),
    Fault(
        "a network that has died is trained to the end",
        "study/train.py",
        'warnings.simplefilter("error", DeadNetworkWarning)',
        "pass",
        "test_study.py", "too_high", "pytorch",
    ),
    Fault(
        "a runner's second place leaves while a rate is not chosen",
        "study/run.py",
        "            elif not busy:",
        "            elif True:",
        "test_study.py", "nothing_to_do",
    ),
    Fault(
        "a jitted step is looked for in a method, not in its function",
        "d2l_utils/jax/trainer.py",
        'function = getattr(function, "__func__", function)',
        "pass",
        FORMS, "author_allows", "jax",
    ),
    Fault(
        "TensorFlow takes a device's share of a batch in float32",
        "d2l_utils/tensorflow/trainer.py",
        "l = l * tf.cast(share, l.dtype)",
        "l = l * tf.cast(share, tf.float32)",
        "test_several_devices.py", "in_float64", "tensorflow",
    ),
    Fault(
        "the picture of the live network shows a class that is not predicted",
        "book/pages/live_drawing.py",
        "best = int(logits.argmax())",
        "best = int(logits.argmin())",
        "test_live_nin.py", "drawing",
    ),
    Fault(
        "the live network begins without saying with which image",
        "book/pages/templates/live/nin.js",
        'thumbs.press("0")',
        "thumbs.press(0)",
        "test_live_nin.py", "real",
    ),
    Fault(
        "a live figure that fails stops the others",
        "book/pages/templates/live/live.js",
        "    } catch {",
        "    } catch (error) {\n      throw error;",
        "test_live_nin.py", "does_not_stop",
    ),
    Fault(
        "a pass of the live network holds up the pointer",
        "book/pages/templates/live/nin.js",
        "performance.now() - start < 8",
        "performance.now() - start < 8000",
        "test_live_nin.py", "of_everything",
    ),
    Fault(
        "a cell of the live network is said to see a pixel more than it does",
        "book/pages/templates/live/network.js",
        "to * stride - padding + kernel - 1",
        "to * stride - padding + kernel",
        "test_live_nin.py", "red_frame",
    ),
    Fault(
        "the live budget forgets the biases",
        "book/pages/templates/live/budget.js",
        "i * o * k * k + o, 0)",
        "i * o * k * k, 0)",
        "test_live.py", "nine_blocks",
    ),
    Fault(
        "a network of any accuracy becomes a live figure",
        "book/pages/live_data.py",
        "if accuracy < least:",
        "if accuracy < 0:",
        "test_live_nin.py", "poor_network",
    ),
)
# fmt: on


def copy_of_tracked_files(folder):
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    listed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)


def with_fault(fault, text):
    """The text of the fault's file with the fault in it; ValueError if it has moved."""
    count = text.count(fault.old)
    if count != 1:
        raise ValueError(f"in {fault.file}, its `old` occurs {count} times")
    return text.replace(fault.old, fault.new)


def status_of(fault, folder):
    """pytest's exit status, or None if it did not end in time; and its last lines."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--tb=line"]
    command += ["-p", "no:cacheprovider", f"tests/{fault.tests}"]
    command += ["-k", fault.words] if fault.words else []
    command += ["--framework", fault.framework] if fault.framework else []
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environ, timeout=LIMIT,
            capture_output=True, text=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None, ""
    return done.returncode, "\n".join(done.stdout.splitlines()[-4:])


class Tries:
    """Runs tests in a copy of the tree, with a fault or without."""

    def __init__(self, folder):
        self.folder, self.sound = folder, {}

    def passes_without(self, fault):
        key = fault.tests, fault.words, fault.framework
        if key not in self.sound:
            self.sound[key] = status_of(fault, self.folder)
        return self.sound[key]

    def verdict(self, fault):
        """'killed', SKIPPED, or why the fault counts as one that survived."""
        path = self.folder / fault.file
        text = path.read_text(encoding="utf-8")
        try:
            faulty = with_fault(fault, text)
        except ValueError as error:
            return str(error)
        status, said = self.passes_without(fault)
        if status != 0:
            return f"its tests fail without it, with status {status}:\n{said}"
        if " passed" not in said:
            return SKIPPED
        try:
            path.write_text(faulty, encoding="utf-8")
            status, said = status_of(fault, self.folder)
        finally:
            path.write_text(text, encoding="utf-8")
        if status == 1:
            return "killed"
        if status == 0:
            return "SURVIVED"
        return f"its tests did not run to an end, status {status}:\n{said}"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("words", nargs="*", help="only faults that have one")
    args = parser.parse_args(argv)
    about = {f: f"{f.name} {f.framework} {f.tests}" for f in FAULTS}
    words = args.words or [""]
    chosen = [f for f in FAULTS if any(word in about[f] for word in words)]
    away = {f for f in FRAMEWORKS if not FRAMEWORKS[f].is_installed()}
    for fault in [f for f in chosen if f.framework in away]:
        print(f"{fault.name}: not tried, {fault.framework} is not installed")
        chosen.remove(fault)
    failed = skipped = 0
    with tempfile.TemporaryDirectory(prefix="mutants") as folder:
        copy_of_tracked_files(Path(folder))
        tries = Tries(Path(folder))
        for fault in chosen:
            start = time.monotonic()
            verdict = tries.verdict(fault)
            failed += verdict not in ("killed", SKIPPED)
            skipped += verdict == SKIPPED
            where = f"{fault.framework or 'none':11}{time.monotonic() - start:4.0f} s"
            print(f"{where}  {fault.name}: {verdict}", flush=True)
    tried = len(chosen) - skipped
    print(f"{tried} faults, {tried - failed} killed, {skipped} not tried")
    return int(failed > 0 or not tried)


if __name__ == "__main__":
    sys.exit(main())
