"""What a framework module does when asked for a name that it does not define.

A name that is the same in all frameworks, or a module that `d2l` imports, is found by
the tables here; one of a section of the textbook, in the framework's `textbook`. For
other names of d2l's the error says why they are not here, for a misspelt name, which
ones are similar. No framework is imported here.
"""

import difflib
from collections.abc import Callable, Iterable
from importlib import import_module, util
from typing import Any

IN_CORE = {
    **dict.fromkeys(("set_axes", "set_figsize", "use_svg_display"), "figures"),
    **dict.fromkeys(
        ("DATA_HUB", "DATA_URL", "download", "download_all", "download_extract")
        + ("extract",),
        "downloads",
    ),
    **dict.fromkeys(
        ("Accumulator", "Animator", "get_dataloader_workers")
        + ("get_fashion_mnist_labels",),
        "loops",
    ),
}
"""{name: the module of this package that has it}."""

IMPORTED = {
    "backend_inline": "matplotlib_inline.backend_inline",
    "collections": "collections", "defaultdict": "collections:defaultdict",
    "display": "IPython.display", "hashlib": "hashlib", "inspect": "inspect",
    "math": "math", "os": "os", "pd": "pandas", "plt": "matplotlib.pyplot",
    "random": "random", "re": "re", "requests": "requests", "shutil": "shutil",
    "sys": "sys", "tarfile": "tarfile", "time": "time", "zipfile": "zipfile",
}  # fmt: skip
"""{name: what it is}, as d2l's modules import it; readers write d2l.plt, d2l.math."""

ELSEWHERE = {
    "recurrent networks": """
        Decoder Encoder EncoderDecoder GRU MTFraEng MaskedSoftmaxCELoss RNN RNNLM
        RNNLMScratch RNNModel RNNModelScratch RNNScratch Seq2Seq Seq2SeqEncoder
        SeqDataLoader TimeMachine Vocab bleu build_array_nmt check_len check_shape
        count_corpus grad_clipping init_seq2seq load_corpus_time_machine load_data_nmt
        load_data_time_machine predict_ch8 predict_seq2seq preprocess_nmt read_data_nmt
        read_time_machine seq_data_iter_random seq_data_iter_sequential sequence_mask
        show_list_len_pair_hist tokenize tokenize_nmt train_ch8 train_epoch_ch8
        train_seq2seq truncate_pad""",
    "attention": """
        AddNorm AdditiveAttention AttentionDecoder DotProductAttention EncoderBlock
        MultiHeadAttention PositionWiseFFN PositionalEncoding TransformerEncoder
        TransformerEncoderBlock masked_softmax show_heatmaps transpose_output
        transpose_qkv""",
    "optimization": """
        annotate get_data_ch11 show_trace_2d train_2d train_ch11 train_concise_ch11""",
    "computational performance": """
        Benchmark evaluate_accuracy_gpus resnet18 split_batch split_batch_multi_inputs
        train_batch_ch13 train_ch13""",
    "computer vision": """
        BananasDataset VOCSegDataset VOC_CLASSES VOC_COLORMAP assign_anchor_to_bbox
        bbox_to_rect box_center_to_corner box_corner_to_center box_iou copyfile
        load_data_bananas load_data_voc multibox_detection multibox_prior
        multibox_target nms offset_boxes offset_inverse read_csv_labels
        read_data_bananas read_voc_images reorg_test reorg_train_valid show_bboxes
        voc_colormap2label voc_label_indices voc_rand_crop""",
    "natural language processing": """
        BERTEncoder BERTModel MaskLM NextSentencePred RandomGenerator SNLIDataset
        TokenEmbedding batchify get_centers_and_contexts get_negatives
        get_tokens_and_segments load_data_imdb load_data_ptb load_data_snli
        load_data_wiki predict_sentiment predict_snli read_imdb read_ptb read_snli
        subsample""",
    "reinforcement learning": """
        frozen_lake make_env show_Q_function_progress show_value_function_progress""",
    "Gaussian processes": "rbfkernel",
    "hyperparameter optimization": """
        BasicScheduler HPOScheduler HPOSearcher HPOTrainer HPOTuner RandomSearcher
        SuccessiveHalvingScheduler hpo_objective_lenet""",
    "generative adversarial networks": "update_D update_G",
    "recommender systems": """
        BPRLoss CTRDataset HingeLossbRec MRDataset evaluate_ranking hit_and_auc
        load_data_ml100k read_data_ml100k split_and_load_ml100k split_data_ml100k
        train_ranking train_recsys_rating""",
}
"""{chapters of the textbook: names in d2l}, of this edition and the one before."""

INSTEAD = {
    "show_fashion_mnist": (
        "That is of an older edition of the textbook; use "
        "d2l.show_images(images, 1, n, titles)."
    ),
    "tf": "Write import tensorflow as tf; the data here does not need it.",
    "tfds": "Write import tensorflow_datasets as tfds; the data here does not need it.",
    "train_ch5": (
        "That is of an older edition of the textbook; use d2l.train_ch6 or d2l.Trainer."
    ),
    "TrainCallback": "It is not needed: d2l.train_ch6 draws and prints by itself.",
}
"""Names that d2l or its older editions have, and what to use now."""

_TRAINER = "d2l.Trainer(max_epochs=10, num_gpus=1).fit(model, data)"
IN_OTHERS = {
    **dict.fromkeys(("train_ch3", "train_ch6", "train_epoch_ch3"), _TRAINER),
    **dict.fromkeys(
        ("evaluate_accuracy", "evaluate_accuracy_gpu", "evaluate_loss"),
        "d2l.evaluate(model, data), a dict with 'loss' and 'acc'",
    ),
    "predict_ch3": "d2l.predict(model, X), and data.visualize(batch) for the images",
    "sgd": "optax.sgd(lr), which `configure_optimizers` returns",
    "Updater": "the framework's own optimizer",
    "get_key": "d2l.set_seed(seed)",
    "get_seed": "d2l.set_seed(seed)",
    "init_cnn": "the layers' own initial values",
    **dict.fromkeys(("batch_matmul", "size", "swapaxes", "to"), "the framework's own"),
    **dict.fromkeys(("normal", "rand", "randn"), "the framework's own, with its key"),
}
"""Names that d2l, too, has in some frameworks only, each with what to use elsewhere."""


def advice(name: str, public: Iterable[str]) -> str:
    """Why a name is not there, and what to use instead.

    Parameters:
        name: what was asked for.
        public: the names that are there.

    Returns:
        A sentence, or '' where nothing helps.

    Example:
        >>> advice("Trianer", ["Trainer", "Timer"])
        'Did you mean Trainer?'
        >>> advice("train_2d", [])
        "That is of the textbook's chapters on optimization, which d2l_utils does not \
cover."
    """
    for chapters, names in ELSEWHERE.items():
        if name in names.split():
            return (
                f"That is of the textbook's chapters on {chapters}, which d2l_utils "
                "does not cover."
            )
    if name in INSTEAD:
        return INSTEAD[name]
    if name in IN_OTHERS:
        return f"In d2l, too, only other frameworks have that; use {IN_OTHERS[name]}."
    folded = {known.lower(): known for known in public}
    alike = difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.7)
    return f"Did you mean {' or '.join(folded[a] for a in alike)}?" if alike else ""


def unknown_names(module: str, public: Iterable[str]) -> tuple[Callable, Callable]:
    """Make the `__getattr__` and the `__dir__` of a framework module.

    Parameters:
        module: its full name, such as "d2l_utils.jax".
        public: its public names.

    Returns:
        A function of a name, which returns what the tables above or `textbook` of the
        module (imported when it is needed) have under that name, or raises
        AttributeError with `advice`; and one that lists all names that are there.

    Example:
        >>> __getattr__, __dir__ = unknown_names(__name__, __all__)  # doctest: +SKIP
    """

    def __getattr__(name):
        text = f"module {module!r} has no attribute {name!r}"
        if name.startswith("_"):  # Python and its tools often try such names
            raise AttributeError(text)
        if name in IN_CORE:
            return getattr(import_module(f"d2l_utils.{IN_CORE[name]}"), name)
        if name == "d2l":  # as readers have it after `from d2l.torch import *`
            return import_module(module)
        extra = None if name in IMPORTED else import_module(f"{module}.textbook")
        target = IMPORTED.get(name) or extra.IMPORTED.get(name)
        if target:
            if is_installed(target):
                return imported(target)
            package = target.partition(":")[0].partition(".")[0]
            raise AttributeError(f"{text}: it is {package}, which is not installed.")
        if name in extra.__all__:
            return getattr(extra, name)
        if name in extra.loops.NAMES:
            return getattr(extra.loops, name)
        hint = advice(name, (*public, *extra.__all__, *extra.loops.NAMES, *IN_CORE))
        raise AttributeError(f"{text}. {hint}" if hint else text)

    def __dir__():
        extra = import_module(f"{module}.textbook")
        imported = {**IMPORTED, **extra.IMPORTED}
        there = {name for name, target in imported.items() if is_installed(target)}
        here = {*public, *IN_CORE, *extra.__all__, *extra.loops.NAMES, "d2l"}
        return sorted(here | there)

    return __getattr__, __dir__


def is_installed(target: str) -> bool:
    """Whether a package is installed; it is not imported.

    Parameters:
        target: a module, or a name in it, such as "collections:defaultdict".

    Returns:
        True or False.

    Example:
        >>> is_installed("math"), is_installed("no_such_package.part")
        (True, False)
    """
    return util.find_spec(target.partition(":")[0].partition(".")[0]) is not None


def imported(target: str) -> Any:
    """Import what a name stands for.

    Parameters:
        target: as for `is_installed`.

    Returns:
        The module, or what has the name in it.

    Example:
        >>> imported("math:pi")
        3.141592653589793
    """
    module, _, name = target.partition(":")
    found = import_module(module)
    return getattr(found, name) if name else found
