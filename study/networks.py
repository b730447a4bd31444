"""The study's networks that no notebook defines, in PyTorch.

Functions that table.py names return a `Network`, so that the recipe is the same for
all. Widths of compared networks are such that MACs or parameters agree; a test counts
them.
"""

import torch
from torch import nn

from d2l_utils import torch as d2l
from study.recipe import Recipe


class Network(Recipe, d2l.Classifier):
    """A classifier whose layers are given."""

    num_classes = 10  # by which a Trainer sees that a network has died

    def __init__(self, net, lr=0.1, momentum=0.9):
        super().__init__()
        self.save_hyperparameters(ignore=["net"])
        self.net = net


def conv(channels, kernel, stride=1, padding=0, batch_norm=False, relu=True):
    """A convolution with what follows it."""
    layers = [nn.LazyConv2d(channels, kernel, stride, padding, bias=not batch_norm)]
    if batch_norm:
        layers.append(nn.LazyBatchNorm2d())
    if relu:
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def average_head():
    return [nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten()]


# The scale ----------------------------------------------------------------------------


def softmax(**recipe):
    """Softmax regression."""
    return Network(nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), **recipe)


def lenet(wider=False, **recipe):
    """LeNet with ReLU and max pooling; `wider`: 149,596 parameters, NiN28 149,542."""
    c1, c2, d1, d2 = (10, 26, 182, 126) if wider else (6, 16, 120, 84)
    net = nn.Sequential(
        conv(c1, 5, padding=2), nn.MaxPool2d(2),
        conv(c2, 5), nn.MaxPool2d(2), nn.Flatten(),
        nn.LazyLinear(d1), nn.ReLU(), nn.LazyLinear(d2), nn.ReLU(), nn.LazyLinear(10),
    )  # fmt: skip
    return Network(net, **recipe)


# Network in Network -------------------------------------------------------------------


def nin_block(channels, kernel, stride, padding, conv1s=2, next_kernel=1, **options):
    """A convolution and `conv1s` further ones, 1x1 unless `next_kernel` says else."""
    further = [
        conv(channels, next_kernel, padding=next_kernel // 2, **options)
        for _ in range(conv1s)
    ]
    return nn.Sequential(conv(channels, kernel, stride, padding, **options), *further)


def evidence(last_relu=False, **options):
    """The last block, with one map a class, and the mean of each.

    Behind a last ReLU, as in the paper, a class whose map has become 0 for all images
    gets no gradient and is not predicted any more. Which classes that befalls depends
    on the first weights and would blur comparisons of networks; so only those networks
    have this ReLU that are to show its effect.
    """
    block = nin_block(10, 3, 1, 1, **options)
    if not last_relu:
        block[-1][-1] = nn.Identity()
    return [block, *average_head()]


def nin(last_relu=True, batch_norm=False, **recipe):
    """NiN of section 8.3 (Lin, Chen, Yan 2013), without its last ReLU if asked for.

    With batch normalization none stands in the last block, whose outputs are logits.
    """
    net = nn.Sequential(
        nin_block(96, 11, 4, 0, batch_norm=batch_norm), nn.MaxPool2d(3, 2),
        nin_block(256, 5, 1, 2, batch_norm=batch_norm), nn.MaxPool2d(3, 2),
        nin_block(384, 3, 1, 1, batch_norm=batch_norm), nn.MaxPool2d(3, 2),
        nn.Dropout(0.5), *evidence(last_relu),
    )  # fmt: skip
    return Network(net, **recipe)


def nin28(
    conv1s=2, kernel=1, widths=(24, 64, 96), middle=0, head="average",
    last_relu=False, **recipe,
):  # fmt: skip
    """NiN28 and its changes, see `evidence`: 149,542 parameters as it is.

    conv1s: convolutions behind the first of each block. kernel: their size. widths: of
    the first three blocks. middle: channels of a further convolution before the last
    block, 0 for none. head: 'average'; 'dense', a dense layer on the last maps;
    'three', dense layers on the third block's maps, in AlexNet's manner.
    """
    first, second, third = widths
    rest = {"conv1s": conv1s, "next_kernel": kernel}
    layers = [
        nin_block(first, 3, 1, 0, **rest), nn.MaxPool2d(2, 1),
        nin_block(second, 3, 2, 2, **rest), nn.MaxPool2d(2, 1),
        nin_block(third, 4, 2, 1, **rest), nn.MaxPool2d(3, 2), nn.Dropout(0.2),
    ]  # fmt: skip
    if middle:
        layers.append(conv(middle, 3, padding=1))
    if head == "three":
        layers += [nn.Flatten(), nn.LazyLinear(128), nn.ReLU(), nn.LazyLinear(128)]
        layers += [nn.ReLU(), nn.LazyLinear(10)]
        return Network(nn.Sequential(*layers), **recipe)
    if head == "dense":
        layers += [nin_block(10, 3, 1, 1, **rest), nn.Flatten(), nn.LazyLinear(10)]
    else:
        layers += evidence(last_relu, **rest)
    return Network(nn.Sequential(*layers), **recipe)


def nin_family(stages, width=16, **recipe):
    """VGG's stages, each of a 3x3 convolution and n - 1 1x1 convolutions.

    Three of the five stages end in a pool, while there is something left to pool.
    """
    layers = []
    for n, factor, pool in zip(stages, (1, 2, 4, 8, 8), (1, 1, 1, 0, 0)):
        layers.append(nin_block(width * factor, 3, 1, 1, conv1s=n - 1))
        layers += [nn.MaxPool2d(2, 2)] * pool
    layers += [nn.Dropout(0.2), *evidence()]
    return Network(nn.Sequential(*layers), **recipe)


def five_blocks(width=16, **recipe):
    """AlexNet's five convolutions as NiN blocks."""
    net = nn.Sequential(
        nin_block(width, 3, 2, 1), nn.MaxPool2d(3, 2),
        nin_block(4 * width, 3, 1, 1), nn.MaxPool2d(3, 2),
        nin_block(4 * width, 3, 1, 1), nin_block(6 * width, 3, 1, 1),
        nn.Dropout(0.2), *evidence(),
    )  # fmt: skip
    return Network(net, **recipe)


# GoogLeNet ----------------------------------------------------------------------------


class Branches(nn.Module):
    """Branches on the same input, joined along the channels."""

    def __init__(self, *branches):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, X):
        return torch.cat([branch(X) for branch in self.branches], dim=1)


class Residual(nn.Module):
    """A block, a linear 1x1 convolution to `channels`, and the input added.

    project: the input has another number of channels, and a 1x1 convolution fits it
    (Szegedy et al., 2017). shortcut: False leaves the input out, for comparison.
    """

    def __init__(self, block, channels, project, shortcut=True):
        super().__init__()
        self.block = nn.Sequential(block, conv(channels, 1, relu=False))
        self.fit = conv(channels, 1, relu=False) if project and shortcut else None
        self.shortcut = shortcut

    def forward(self, X):
        Y = self.block(X)
        if self.shortcut:
            Y = Y + (X if self.fit is None else self.fit(X))
        return torch.relu(Y)


def branch3(c2, **options):
    return nn.Sequential(
        conv(c2[0], 1, **options), conv(c2[1], 3, padding=1, **options)
    )


def branch4(c4, **options):
    return nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(c4, 1, **options))


def inception(c1, c2, c3, c4, **options):
    """The block of section 8.4 (Szegedy et al., 2014)."""
    five = nn.Sequential(
        conv(c3[0], 1, **options), conv(c3[1], 5, padding=2, **options)
    )
    return Branches(
        conv(c1, 1, **options), branch3(c2, **options), five, branch4(c4, **options)
    )


def factorized(c1, c2, c3, c4):
    """Two 3x3 convolutions in place of the 5x5 (Szegedy et al., 2016, figure 5)."""
    five = nn.Sequential(
        conv(c3[0], 1), conv(c3[1], 3, padding=1), conv(c3[1], 3, padding=1)
    )
    return Branches(conv(c1, 1), branch3(c2), five, branch4(c4))


def in_turn(channels, n=3):
    """1 x n and n x 1 in place of n x n (Szegedy et al., 2016, figure 6)."""
    half = n // 2
    return nn.Sequential(
        conv(channels, (1, n), padding=(0, half)),
        conv(channels, (n, 1), padding=(half, 0)),
    )


def asymmetric(c1, c2, c3, c4):
    """`in_turn` for the 3x3 convolution, and twice for the 5x5."""
    three = nn.Sequential(conv(c2[0], 1), in_turn(c2[1]))
    five = nn.Sequential(conv(c3[0], 1), in_turn(c3[1]), in_turn(c3[1]))
    return Branches(conv(c1, 1), three, five, branch4(c4))


def expanded(c1, c2, c3, c4):
    """1x3 and 3x1 side by side, not in turn: outputs of both widths together, so twice
    the channels of the 3x3 and 5x5 branches (Szegedy et al., 2016, figure 7)."""

    def side_by_side(channels):
        return Branches(
            conv(channels, (1, 3), padding=(0, 1)),
            conv(channels, (3, 1), padding=(1, 0)),
        )

    three = nn.Sequential(conv(c2[0], 1), side_by_side(c2[1]))
    five = nn.Sequential(conv(c3[0], 1), conv(c3[1], 3, padding=1), side_by_side(c3[1]))
    return Branches(conv(c1, 1), three, five, branch4(c4))


def single(kind, c_in, c1, c2, c3, c4):
    """One kind of branch with the MACs and, but for biases, the parameters of all four.

    A 1x1 convolution to r channels, then the kernel; the channels out are the same.
    """
    out = c1 + c2[1] + c3[1] + c4
    macs = c_in * (c1 + c2[0] + c3[0] + c4) + 9 * c2[0] * c2[1] + 25 * c3[0] * c3[1]
    k = {"1x1": 1, "3x3": 3, "5x5": 5, "pool": 1}[kind]
    reduced = round(macs / (c_in + k * k * out))
    pool = [nn.MaxPool2d(3, 1, 1)] if kind == "pool" else []
    return nn.Sequential(*pool, conv(reduced, 1), conv(out, k, padding=k // 2))


BLOCKS = {  # about a quarter of GoogLeNet's channels, at 14 and at 7 pixels a side
    14: ((16, (24, 32), (4, 8), 8), (32, (32, 48), (8, 24), 12)),
    7: (
        (48, (24, 52), (4, 12), 16),
        (36, (36, 68), (8, 16), 16),
        (64, (40, 80), (8, 32), 32),
    ),
}
STEM = 32  # channels


def googlenet28(
    kind="", block="inception", stem="3x3", blocks=5, head="average",
    batch_norm=False, shortcut=True, **recipe,
):  # fmt: skip
    """A GoogLeNet for 28 x 28 pixels, and its changes.

    kind: '' or the only branch, see `single`. block: what stands in place of Inception;
    'expanded' on the smaller maps alone, as in the paper.
    stem: a '3x3' convolution, or '7x7' with stride 2 as in GoogLeNet. blocks: how
    many of the five. head: 'average' and a dense layer, or 'dense' on the last maps.
    """
    makers = {
        "inception": inception, "residual": inception, "factorized": factorized,
        "asymmetric": asymmetric, "expanded": expanded,
    }  # fmt: skip
    options = {"batch_norm": True} if batch_norm else {}
    if stem == "3x3":
        layers = [conv(STEM, 3, padding=1, **options), nn.MaxPool2d(3, 2, 1)]
    else:
        layers = [conv(STEM, 7, 2, 3, **options)]
    c_in, made = STEM, 0
    for size, those in BLOCKS.items():
        for widths in those:
            if made == blocks:
                break
            c1, c2, c3, c4 = widths
            out = c1 + c2[1] + c3[1] + c4
            if kind:
                part = single(kind, c_in, *widths)
            elif block == "expanded" and size == 14:
                part = inception(*widths)
            else:
                part = makers[block](*widths, **options)
            if block == "residual":
                part = Residual(part, out, c_in != out, shortcut)
            layers.append(part)
            twice = c2[1] + c3[1] if block == "expanded" and size == 7 else 0
            c_in, made = out + twice, made + 1
        layers += [nn.MaxPool2d(3, 2, 1)] * (size == 14)
    if head == "average":
        layers += average_head()
    else:
        layers.append(nn.Flatten())
    layers.append(nn.LazyLinear(10))
    return Network(nn.Sequential(*layers), **recipe)


def googlenet(batch_norm=False, **recipe):
    """GoogLeNet of section 8.4, with batch normalization if asked for."""
    options = {"batch_norm": batch_norm}
    layers = [
        conv(64, 7, 2, 3, **options), nn.MaxPool2d(3, 2, 1),
        conv(64, 1, **options), conv(192, 3, padding=1, **options),
        nn.MaxPool2d(3, 2, 1),
        inception(64, (96, 128), (16, 32), 32, **options),
        inception(128, (128, 192), (32, 96), 64, **options), nn.MaxPool2d(3, 2, 1),
        inception(192, (96, 208), (16, 48), 64, **options),
        inception(160, (112, 224), (24, 64), 64, **options),
        inception(128, (128, 256), (24, 64), 64, **options),
        inception(112, (144, 288), (32, 64), 64, **options),
        inception(256, (160, 320), (32, 128), 128, **options), nn.MaxPool2d(3, 2, 1),
        inception(256, (160, 320), (32, 128), 128, **options),
        inception(384, (192, 384), (48, 128), 128, **options),
        *average_head(), nn.LazyLinear(10),
    ]  # fmt: skip
    return Network(nn.Sequential(*layers), **recipe)
