"""``regate bench-env``: how many frames a second the environment steps, and what slows it down."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from backbones.loading import load_backbone
from backbones.vit import Backbone
from datamodules.errors import RegateError
from datamodules.synthetic.clips import SyntheticClips
from policy.atomic import atomic_write, check_writable
from policy.device import open_device, timed
from policy.progress import progress
from policy.provenance import command
from policy.rl.reward import Quality
from policy.rl.vector import TokenReuseVectorEnv
from policy.rl.world import DEFAULT_BACKBONE
from policy.rl.yardstick import Yardstick
from policy.session import ReuseSession

Taken = tuple[float, float]
"""Milliseconds per frame and clip, by the clock and of processor time."""
Way = tuple[str, int]
"""Of passing frames, as in ``EnvRow``, and the number of clips side by side."""


@dataclass(frozen=True)
class EnvRow:
    """One way of passing frames.

    Attributes:
        what: "dense": the untouched model; "session": the calibrated threshold's, from the second
            frame on; "steps": those of the environment with action 0 on the same frames;
            "episodes": with the reset between two of them, which draws clips, and computes their
            first frames and dense references.
        clips: Side by side.
        frames_per_second: Over all clips, median of the rounds.
        cpu_ms: Processor time per frame and clip, of all threads; other work on the machine, which
            slows frames down, hardly shows in it. Without meaning on an accelerator.
        spent: Mean fraction of the dense MACs; 1 for the dense model.
    """

    what: str
    clips: int
    frames_per_second: float
    cpu_ms: float
    spent: float


def bench_env(
    *,
    backbone: str = DEFAULT_BACKBONE,
    weights: str = "pretrained",
    clips: int = 8,
    frames: int = 16,
    budget: float = 0.2,
    quality: Quality = "agreement",
    groups: int = 1,
    rounds: int = 5,
    out: str | None = None,
    device: str = "cpu",
) -> list[EnvRow]:
    """Time the environment beside the dense model and the session it drives, on synthetic clips.

    Each round times every row once, so that a machine that slows down for a while slows all of
    them; the table has medians.

    Args:
        backbone: timm's name.
        weights: "pretrained", a local .safetensors or .pth file, or "random".
        clips: Side by side in the batched rows.
        frames: Per clip.
        budget: That the threshold spends at action 0.
        quality: Of the reward; all but accuracy need dense references.
        groups: Block groups with an action of their own.
        rounds: Of which the median is taken.
        out: A JSON file to write.
        device: As torch names it.

    Raises:
        RegateError: If a value is outside its range, or something cannot be loaded or written.
    """
    _check(clips=(clips, 1), frames=(frames, 3), rounds=(rounds, 1))
    if out is not None:
        check_writable(Path(out).parent)
    where = open_device(device)
    loaded = load_backbone(backbone, weights).to(where)
    benches = _benches(loaded, frames, budget, quality, groups, sorted({1, clips}))
    rows = _rows(benches, _timed_rounds(benches, rounds))
    Console().print(_table(rows, f"{backbone}, {frames} frames, budget {budget:g}, {device}"))
    if out is not None:
        settings = {
            "backbone": backbone,
            "frames": frames,
            "budget": budget,
            "quality": quality,
            "rounds": rounds,
            "device": device,
        }
        _write(Path(out), settings, rows)
    return rows


def _check(**counts: tuple[int, int]) -> None:
    for name, (count, least) in counts.items():
        if count < least:
            raise RegateError(f"{name} must be at least {least}, got {count}")


class _Bench:
    """One number of clips side by side, in all four ways.

    Args:
        env: The environment, of one budget.
        clips: uint8 [s, t, c, h, w].
    """

    def __init__(self, env: TokenReuseVectorEnv, clips: Tensor) -> None:
        self.env, self.clips = env, clips
        self.backbone: Backbone = env.world.backbone
        shown = self.backbone.normalize(clips)
        self._shown = shown.transpose(0, 1).contiguous()  # [t, s, c, h, w]
        self._still = np.zeros(env.action_space.shape or (), np.float32)
        self.spent = float("nan")

    def run(self) -> dict[str, Taken]:
        """Times of each way, once."""
        whole, acted = len(self._shown), len(self._shown) - 2
        taken = {"dense": self._time(self._dense, whole)}
        self.env.world.gate.steer(None)
        session = ReuseSession(self.backbone, self.env.world.gate)
        session.knob = self.env.world.yardstick.knob(self.env.world.low)
        session.step(self._shown[0])
        later = self._shown[1:-1]
        taken["session"] = self._time(lambda: [session.step(frame) for frame in later], acted)
        self.env.reset(options={"clips": self.clips})
        taken["steps"] = self._time(lambda: self._step(acted), acted)
        self.env.reset()
        # The last step begins the next episode, as it does in training.
        taken["episodes"] = self._time(lambda: self._step(acted), acted)
        return taken

    @torch.no_grad()
    def _dense(self) -> None:
        for frames in self._shown:
            self.backbone(frames)

    def _step(self, count: int) -> None:
        spent = []
        for _ in range(count):
            *_, infos = self.env.step(self._still)
            spent.append(infos.get("final_info", infos)["spent"].mean())
        self.spent = float(np.mean(spent))

    def _time(self, function: Callable[[], object], frames: int) -> Taken:
        start = time.process_time()
        _, wall = timed(self.backbone.mean.device, function)
        count = frames * len(self.clips)
        return wall / count, 1000 * (time.process_time() - start) / count


def _benches(
    backbone: Backbone, frames: int, budget: float, quality: Quality, groups: int, counts: list[int]
) -> list[_Bench]:
    benches: list[_Bench] = []
    yardstick: Yardstick | None = None
    for count in counts:
        data = SyntheticClips(num_frames=frames)
        env = TokenReuseVectorEnv(
            count,
            backbone=backbone,
            data=data,
            groups=groups,
            quality=quality,
            budget=budget,
            yardstick=yardstick,
        )
        yardstick = env.world.yardstick
        dataset = data.dataset("test")
        benches.append(_Bench(env, torch.stack([dataset[index].frames for index in range(count)])))
    return benches


def _timed_rounds(benches: Sequence[_Bench], rounds: int) -> dict[Way, list[Taken]]:
    """Time every way once per round, in turn; the first round only warms up."""
    taken: dict[Way, list[Taken]] = {}
    with progress() as bar:
        task = bar.add_task("rounds", total=(rounds + 1) * len(benches))
        for index in range(rounds + 1):
            for bench in benches:
                for what, times in bench.run().items():
                    if index:
                        taken.setdefault((what, len(bench.clips)), []).append(times)
                bar.advance(task)
    return taken


def _rows(benches: Sequence[_Bench], taken: dict[Way, list[Taken]]) -> list[EnvRow]:
    """Medians over the rounds, the fewest clips first."""
    spent = {len(bench.clips): bench.spent for bench in benches}
    rows = []
    for (what, clips), runs in sorted(taken.items(), key=lambda item: item[0][1]):
        wall, cpu = np.median(runs, axis=0).tolist()
        rows.append(EnvRow(what, clips, 1e3 / wall, cpu, 1.0 if what == "dense" else spent[clips]))
    return rows


def _write(path: Path, settings: dict[str, Any], rows: Sequence[EnvRow]) -> None:
    """The rows and what they depend on, as JSON."""
    told = settings | {
        "threads": torch.get_num_threads(),
        "command": command(),
        "rows": [asdict(row) for row in rows],
    }
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(told, indent=2) + "\n")


def _table(rows: Sequence[EnvRow], title: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    table.add_column("")
    for header in ("clips", "frames/s", "of dense", "CPU ms", "spent"):
        table.add_column(header, justify="right")
    dense = {row.clips: row.frames_per_second for row in rows if row.what == "dense"}
    for row in rows:
        relative = row.frames_per_second / dense[row.clips]
        table.add_row(
            row.what,
            str(row.clips),
            f"{row.frames_per_second:.1f}",
            f"{relative:.2f}",
            f"{row.cpu_ms:.2f}",
            f"{row.spent:.3f}",
        )
    return table
