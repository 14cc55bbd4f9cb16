"""Episodes side by side in one session: what the environments, single and batched, share."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from policy.records import FrameResult
from policy.rl.reward import Reference, quality_terms
from policy.rl.world import Episode, World
from policy.serving.overlay import Caption, draw_overlay
from policy.session import ReuseSession

Observations = NDArray[np.float32]
Terms = dict[str, NDArray[np.float64]]


class Simulation:
    """s episodes in lock-step through one backbone and one session.

    Args:
        world: What they have in common.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.session = ReuseSession(world.backbone, world.gate)
        self.episodes: list[Episode] = []
        self._next = torch.empty(0)
        self._share = torch.empty(0)

    @torch.no_grad()
    def start(self, episodes: Sequence[Episode]) -> Observations:
        """Begin all streams anew; the first frame of each is dense."""
        self.episodes = list(episodes)
        self.session.reset()
        self._knobs()
        self._share = self._recomputed(self.session.step(self._frames(0)))
        return self._observe()

    @torch.no_grad()
    def restart(self, episodes: dict[int, Episode]) -> Observations:
        """Begin some streams anew, the others being where they were."""
        if len(episodes) == len(self.episodes):
            return self.start([episodes[stream] for stream in sorted(episodes)])
        streams = torch.tensor(sorted(episodes), device=self._share.device)
        part = Simulation(self.world)
        part.start([episodes[int(stream)] for stream in streams])
        assert self.session.state is not None and part.session.state is not None
        self.session.state = self.session.state.put(streams, part.session.state)
        self._share[streams] = part._share
        for stream, episode in episodes.items():
            self.episodes[stream] = episode
        self._knobs()
        return self._observe()

    @torch.no_grad()
    def act(self, steering: Tensor) -> tuple[Observations, Terms]:
        """Compute the next frame of each stream.

        Args:
            steering: For ``gate.steer``, one row per stream.

        Returns:
            Observations about the frames after these, and what was reached on these, each [s]:
            reward = quality − cost, cost = price · spent, budget, and what quality is made of.
        """
        self.world.gate.steer(steering.to(self._next.device))
        result = self.session.step(self._next)
        self._share = self._recomputed(result)
        for episode in self.episodes:
            episode.position += 1
        terms = self._terms(result)
        return self._observe(), terms

    def picture(self, stream: int) -> NDArray[np.uint8]:
        """The frame computed last, what of it was recomputed, spent and quality so far."""
        episode = self.episodes[stream]
        image = episode.frames[episode.position].movedim(0, -1).numpy()
        steps = max(episode.position, 1)
        spent = episode.spent / steps if episode.position else 1.0
        told = f"{self.world.quality} {episode.quality / steps:.2f} so far"
        dense = self.session.macs.dense
        caption = Caption(
            label=told if episode.position else "first frame: dense",
            spent=spent,
            budget=episode.budget,
            macs=spent * dense,
            dense_macs=dense,
            dense=f"frame {episode.position + 1} of {len(episode.frames)}",
        )
        share = self._share[stream].unflatten(0, self.world.backbone.grid)
        return draw_overlay(image, share.cpu().numpy(), caption)

    def _knobs(self) -> None:
        knobs = [episode.knob for episode in self.episodes]
        self.session.knob = torch.tensor(knobs, device=self.world.backbone.mean.device)

    def _frames(self, ahead: int) -> Tensor:
        """A frame of each stream, so many after the last computed, normalised, [s, c, h, w]."""
        frames = [episode.frames[episode.position + ahead] for episode in self.episodes]
        return self.world.backbone.normalize(torch.stack(frames))

    def _observe(self) -> Observations:
        """About the next frames, which are kept for the step."""
        self._next = self._frames(1)
        view = self.session.preview(self._next)
        return self.world.gate.observation(view).cpu().numpy()

    def _recomputed(self, result: FrameResult) -> Tensor:
        """Share of blocks that recomputed each patch, [s, p]."""
        return result.recompute[..., self.world.backbone.num_prefix_tokens :].float().mean(1)

    def _terms(self, result: FrameResult) -> Terms:
        labels = torch.stack([episode.labels[episode.position] for episode in self.episodes])
        known = [episode.dense for episode in self.episodes if episode.dense is not None]
        # The reference of an episode begins at its second frame.
        rows = [episode.position - 1 for episode in self.episodes]
        dense = Reference.rows(known, rows) if known else None
        told = quality_terms(self.world.quality, result, dense, labels.to(result.logits.device))
        terms = {name: value.double().cpu().numpy() for name, value in told.items()}
        terms["spent"] = result.spent.numpy()
        terms["price"] = np.array([episode.price for episode in self.episodes])
        terms["budget"] = np.array([episode.budget for episode in self.episodes])
        terms["cost"] = terms["price"] * terms["spent"]
        terms["reward"] = terms["quality"] - terms["cost"]
        sums = zip(self.episodes, terms["spent"], terms["quality"], strict=True)
        for episode, spent, quality in sums:
            episode.spent += float(spent)
            episode.quality += float(quality)
        return terms
