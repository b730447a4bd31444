"""What the study trains: its variants, in order of importance.

A variant is one network with one recipe, trained from several seeds. A group answers
one question of the notebooks; its name is what `d2l.study` takes. Variants may stand
in several groups and are trained once.
"""

from dataclasses import dataclass, field

LEARNING_RATES = (0.003, 0.01, 0.03, 0.1)  # with momentum 0.9
FIRST_SEEDS, LATER_SEEDS = (1, 2, 3), (4, 5)
HELD_OUT = 10_000  # training images, the last ones, on which settings are chosen
SIZES = (1_000, 5_000, 20_000, 60_000)  # of a training set
# Epochs on a set of each size: the smallest, too, is trained on for 1,600 steps.
EPOCHS_OF = {1_000: 200, 5_000: 60, 20_000: 25, 60_000: 15}
MOST_SHIFT = 16  # pixels: twice the total stride of NiN28


@dataclass(frozen=True)
class Variant:
    """One network with one recipe.

    name: of its records. net: 'section:Class' of a notebook, or 'study:function' of
    study/networks.py. settings: keyword arguments for it. size: pixels a side. epochs:
    passes over `images` training images. lrs: learning rates; from several, one is
    chosen on the images held out. cosine: whether the learning rate falls to 0 along a
    cosine, step by step. start: of the weights, 'glorot' or 'he'. smoothing: of the
    labels. steps: 0, or after how many a run stops; it then records the loss of each.
    canvas: 0, or pixels of width of an empty canvas on which each image is centred.
    seeds: those that are run first. keep: what is stored beside a record, of
    'probabilities' and 'weights'. textbook: whether the validation images are the test
    images, as in the textbook, and looked at after each epoch.
    """

    name: str
    net: str
    settings: dict = field(default_factory=dict)
    size: int = 28
    epochs: int = 15
    lrs: tuple = LEARNING_RATES
    momentum: float = 0.9
    batch_size: int = 128
    cosine: bool = True
    start: str = "he"
    smoothing: float = 0.0
    images: int = 60_000
    steps: int = 0
    canvas: int = 0
    framework: str = "pytorch"
    seeds: tuple = FIRST_SEEDS
    keep: tuple = ()
    textbook: bool = False

    @property
    def shape(self):
        """(height, width) of what the network gets, in pixels."""
        return self.size, self.canvas or self.size


# The plateau ------------------------------------------------------------------------

PLATEAUS = {  # (network, its textbook's learning rate, pixels)
    "nin96": ("nin", 0.05, 96),
    "googlenet96": ("googlenet", 0.01, 96),
    "nin224": ("nin", 0.05, 224),
}
CURES = {
    "glorot": {"start": "glorot"},
    "he": {},
    "no_last_relu": {"start": "glorot", "settings": {"last_relu": False}},
    "batch_norm": {"start": "glorot", "settings": {"batch_norm": True}},
}


def plateau(where, cure):
    network, lr, size = PLATEAUS[where]
    return Variant(
        f"plateau_{where}_{cure}",
        f"study:{network}",
        size=size,
        epochs=3,
        lrs=(lr,),
        momentum=0.0,
        cosine=False,
        steps=1_000,
        seeds=(1,) if size == 224 else FIRST_SEEDS,
        **CURES[cure],
    )


def plateaus(where):
    # GoogLeNet ends in a dense layer, behind which there is no ReLU.
    cures = [c for c in CURES if (where, c) != ("googlenet96", "no_last_relu")]
    return [plateau(where, cure) for cure in cures]


# The textbook's own -------------------------------------------------------------------

TEXTBOOK = {
    "nin224": {"net": "nin:NiN", "size": 224, "lrs": (0.05,)},
    "googlenet96": {"net": "googlenet:GoogleNet", "size": 96, "lrs": (0.01,)},
}


def textbook(where, framework):
    return Variant(
        f"textbook_{where}_{framework}",
        epochs=10,
        momentum=0.0,
        cosine=False,
        start="glorot",
        framework=framework,
        seeds=(1,),
        textbook=True,
        **TEXTBOOK[where],
    )


def converged(where):
    return Variant(
        f"converged_{where}",
        epochs=15,
        seeds=(1,),
        keep=("probabilities",),
        **{**TEXTBOOK[where], "lrs": LEARNING_RATES},
    )


# Networks at 28 px --------------------------------------------------------------------

NIN28 = Variant("nin28", "study:nin28", keep=("probabilities",))


def of_nin28(name, **settings):
    return Variant(name, "study:nin28", settings=settings)


def inception(name, keep=(), smoothing=0.0, **settings):
    return Variant(
        name, "study:googlenet28", settings=settings, keep=keep, smoothing=smoothing
    )


GOOGLENET28 = inception("googlenet28", keep=("probabilities",))


def sized(head, images):
    if (head, images) == ("average", 60_000):
        return NIN28
    return Variant(
        f"nin28_{head}_{images}",
        "study:nin28",
        settings={} if head == "average" else {"head": head},
        epochs=EPOCHS_OF[images],
        images=images,
    )


def on_canvas(head):
    return Variant(
        f"canvas_{head}",
        "study:nin28",
        settings={} if head == "average" else {"head": head},
        canvas=28 + 2 * MOST_SHIFT,
    )


# Groups, most important first ---------------------------------------------------------

GROUPS = {
    "plateau": [*plateaus("nin96"), *plateaus("googlenet96")],
    "textbook": [
        textbook("nin224", "pytorch"),
        textbook("googlenet96", "pytorch"),
        textbook("nin224", "tensorflow"),
        textbook("googlenet96", "tensorflow"),
    ],
    "scale": [
        Variant("softmax", "study:softmax"),
        Variant("lenet", "study:lenet"),
        Variant("lenet_150k", "study:lenet", settings={"wider": True}),
        NIN28,
        of_nin28("nin28_last_relu", last_relu=True),  # as in the paper
        # Behind a last ReLU it learns slowly: more steps, on smaller batches.
        Variant("nin28_56", "nin:NiN28", {"dropout": 0.2}, size=56, batch_size=32,
                keep=("probabilities", "weights")),
    ],
    "heads": [sized(head, n) for n in SIZES for head in ("average", "dense")],
    "shifts": [on_canvas("average"), on_canvas("dense")],
    "inception": [
        GOOGLENET28,
        *(inception(f"only_{k}", kind=k) for k in ("1x1", "3x3", "5x5", "pool")),
    ],
    "nin_1x1": [of_nin28("one_1x1", conv1s=1), NIN28, of_nin28("three_1x1", conv1s=3)],
    "nin_3x3": [
        NIN28,
        of_nin28("two_3x3", conv1s=2, kernel=3),
        of_nin28("wide_1x1", widths=(46, 121, 182)),  # the MACs of two_3x3
    ],
    "nin_heads": [NIN28, sized("dense", 60_000), of_nin28("dense_three", head="three")],
    "nin_steps": [
        of_nin28("one_step_384", widths=(24, 64, 384)),
        of_nin28("two_steps_384", widths=(24, 64, 384), middle=62),
    ],
    "nin_family": [
        Variant(name, "study:nin_family", settings={"stages": stages})
        for name, stages in {
            "nin_11": (1, 1, 2, 2, 2),
            "nin_16": (2, 2, 3, 3, 3),
            "nin_19": (2, 2, 4, 4, 4),
        }.items()
    ] + [Variant("five_blocks", "study:five_blocks")],
    "googlenet_stem": [
        GOOGLENET28,
        inception("stem_7x7", stem="7x7"),
        inception("body_short", blocks=3),
        inception("head_dense", head="dense"),
    ],
    "googlenet_later": [
        GOOGLENET28,
        inception("batch_norm", batch_norm=True),
        inception("two_3x3_for_5x5", block="factorized"),
        inception("asymmetric", block="asymmetric"),
        inception("expanded", block="expanded"),
        inception("residual", block="residual"),
        inception("residual_without_shortcut", block="residual", shortcut=False),
    ],
    "smoothing": [
        GOOGLENET28,
        inception("smoothed", keep=("probabilities",), smoothing=0.1),
    ],
    # What takes hours, behind all that takes minutes.
    "plateau_224": plateaus("nin224"),
    "converged": [converged("nin224"), converged("googlenet96")],
    "textbook_others": [
        textbook(where, framework)
        for framework in ("mxnet", "jax")
        for where in TEXTBOOK
    ],
}  # fmt: skip
VARIANTS = {v.name: v for group in GROUPS.values() for v in group}
