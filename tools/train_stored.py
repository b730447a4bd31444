"""Train the network that travels with the package: `python -m tools.train_stored`.

NiN28 on images enlarged to 56x56 pixels, in PyTorch, on the full data; written to
d2l_utils/sample/nin28_56.safetensors if it reaches a validation accuracy of 0.80.
"""

import sys

import torch

from d2l_utils import torch as d2l
from d2l_utils import weights
from tools import cells

SIZE, EPOCHS, LR, SEED, LEAST = 56, 4, 0.03, 1, 0.80


def main():
    d2l.set_seed(SEED)
    model = cells.load("nin", "pytorch")["NiN28"](lr=LR)
    data = d2l.FashionMNIST(batch_size=128, resize=(SIZE, SIZE))
    if data.is_sample:
        sys.exit("Only the sample is at hand: this needs the full data.")
    with torch.autocast("cpu", torch.bfloat16):  # for speed; evaluated in float32
        d2l.Trainer(max_epochs=EPOCHS).fit(model, data)
    accuracy = d2l.evaluate(model, data)["acc"]
    print(f"validation accuracy {accuracy:.4f}")
    if accuracy < LEAST:
        sys.exit(f"This is below {LEAST}: nothing was written.")
    d2l.save_weights(model, weights.STORED / "nin28_56.safetensors")


if __name__ == "__main__":
    main()
