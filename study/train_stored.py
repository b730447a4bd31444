"""Train the network that travels with the package: `python -m study.train_stored`.

NiN28 on images enlarged to 56x56 pixels, in PyTorch, on the full data; written to
d2l_utils/sample/nin28_56.safetensors if it reaches a validation accuracy of 0.80.
"""

import sys

import torch

from book.source import cells
from d2l_utils import torch as d2l
from d2l_utils import weights

SIZE, EPOCHS, LR, SEED, LEAST = 56, 5, 0.03, 1, 0.80


def main():
    d2l.set_seed(SEED)

    class HalfPrecision(cells.load("nin", "pytorch")["NiN28"]):
        """bf16 in training, for speed; evaluated in float32."""

        def training_step(self, batch):
            with torch.autocast("cpu", torch.bfloat16):
                return super().training_step(batch)

    model = HalfPrecision(lr=LR)
    model.__class__.__name__ = "NiN28"  # as the file names it
    data = d2l.FashionMNIST(batch_size=128, resize=(SIZE, SIZE))
    if data.is_sample:
        sys.exit("Only the sample of Fashion-MNIST is here: this needs the full data.")
    trainer = d2l.Trainer(max_epochs=EPOCHS)
    trainer.fit(model, data)
    accuracy = d2l.evaluate(model, data)["acc"]
    print(f"by epoch {trainer.history['val_acc']}, in float32 {accuracy:.4f}")
    if accuracy < LEAST:
        sys.exit(f"This is below {LEAST}: nothing was written.")
    d2l.save_weights(model, weights.STORED / "nin28_56.safetensors")


if __name__ == "__main__":
    sys.exit(main())
