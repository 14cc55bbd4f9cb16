"""The noise of a step depends on the seed and the step, and on nothing that came before."""

import random
from types import SimpleNamespace

import numpy as np
import torch

from policy.lightning.step_seed import SeedEachStep


def noise(seed=0, epoch=0, rank=0, batch=0):
    trainer = SimpleNamespace(current_epoch=epoch, global_rank=rank)
    SeedEachStep(seed).on_train_batch_start(trainer, None, None, batch)
    return torch.rand(1).item(), np.random.rand(), random.random()


def test_the_same_step_draws_the_same_noise_whatever_came_before():
    first = noise(seed=1, epoch=2, batch=3)
    torch.rand(7), np.random.rand(7), random.random()

    assert noise(seed=1, epoch=2, batch=3) == first


def test_steps_epochs_processes_and_seeds_draw_different_noise():
    draws = [noise(), noise(seed=1), noise(epoch=1), noise(rank=1), noise(batch=1)]

    for generator in zip(*draws, strict=True):
        assert len(set(generator)) == 5
