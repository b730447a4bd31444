"""How the study trains a PyTorch network: what the textbook's classes lack.

Momentum, a learning rate that falls along a cosine, label smoothing, and a look at
every step.
"""

import math

import torch
from torch.nn import functional as F


class Enough(Exception):
    """A run has made the steps that it was to make."""


class Recipe:
    """A mixin for a Classifier; `follow` sets what is not the textbook's."""

    variant, total_steps = None, 0

    def follow(self, variant, total_steps):
        """Train by this variant's recipe; returns the model."""
        self.variant, self.total_steps = variant, total_steps
        # Kept in checkpoints, as all that training changes in attributes.
        self.losses, self.live, self.predicted = [], [], []
        return self

    def configure_optimizers(self):
        optim = torch.optim.SGD(self.parameters(), self.lr, self.variant.momentum)
        self.schedule = None
        if self.variant.cosine:
            self.schedule = torch.optim.lr_scheduler.LambdaLR(
                optim, lambda t: (1 + math.cos(math.pi * t / self.total_steps)) / 2
            )
        return optim

    def training_step(self, batch):
        done = self.trainer.train_batch_idx
        if self.variant.steps and done >= self.variant.steps:
            raise Enough
        if self.schedule and done:
            self.schedule.step()
        return super().training_step(batch)

    def loss(self, Y_hat, Y, averaged=True):
        if not self.training:
            return super().loss(Y_hat, Y, averaged)
        if self.variant.steps:
            self.look(Y_hat.detach())
        l = F.cross_entropy(Y_hat, Y.long(), label_smoothing=self.variant.smoothing)
        if self.variant.steps:
            self.losses.append(round(l.item(), 4))
        return l

    def look(self, Y_hat):
        """Count the classes whose logit is not the same for all images of the batch,
        and those that are predicted."""
        self.live.append(int((Y_hat.amax(0) > Y_hat.amin(0)).sum()))
        self.predicted.append(len(Y_hat.argmax(1).unique()))
