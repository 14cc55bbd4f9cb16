"""What every gate training shares: the threshold as yardstick, validation, and the gate file."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from backbones.loading import load_backbone
from backbones.preprocessing import Preprocessing
from datamodules.base import ClipDataModule
from datamodules.errors import RegateError
from datamodules.geometry import ResizeCrop
from datamodules.records import ClipBatch
from policy.budgets.build import budget_table
from policy.budgets.fallback import JUDGED_CLIPS
from policy.budgets.search import calibrate, spread_clips, spread_places
from policy.budgets.table import Calibration, check_budget
from policy.gate_file import calibrated_on, load_gate, read_metadata, save_gate
from policy.gates.base import Gate
from policy.gates.heuristic import ThresholdGate
from policy.lightning.best import load_best
from policy.lightning.hparams import announce
from policy.provenance import command
from policy.quality import DenseClip, SweptClip, dense_reference, sweep_clip, sweep_settings
from policy.signals import staggered
from policy.tasks.checkpoint import BACKBONE, check_fits
from policy.tasks.schedule import check_has_end

GATE_FILE = "gate.safetensors"
READ_AT = (0.1, 0.2, 0.35)
"""Budgets at which validation sets the gate against the threshold."""


class ReuseTask(LightningModule):
    """Base of all trainings: a frozen backbone, one learned gate, and the heuristic to beat.

    When a run starts, the threshold heuristic is calibrated on the calibration clips. It gives
    the gate its range of knobs, and validation its yardstick: ``val/kl_minus_threshold`` compares
    the two at the same MACs, interpolated on the curves of both, so that a training that merely
    learns to spend more does not look like progress. A budget that either curve does not reach is
    nan and left out of the mean: the nearest point would be read at other MACs. Of disturbed clips
    the dense output on the undisturbed frames is the reference, for the loss as for validation.

    Args:
        backbone: timm's name of it.
        weights: "pretrained", a local file, or "random".
        calibration_clips: Clips of the calibration split that the knobs are found on.
        budget: At which ``test``, ``predict`` and TensorBoard's overlays show the gate.
        preprocessing: What happens to an image first; the model's own by default.
        fallback: Compare the gate, at the end, with the threshold on the calibration split (64
            clips at most); where it is not better, its file serves the threshold.

    Raises:
        RegateError: If the budget is outside (0, 1], or the backbone cannot be loaded.
    """

    gate: Gate
    ranked_by = "val/kl_minus_threshold"
    """Which weights of a run are the best: those with the lowest."""

    def __init__(
        self,
        backbone: str,
        weights: str = "pretrained",
        calibration_clips: int = 12,
        budget: float = 0.2,
        preprocessing: Preprocessing = Preprocessing(),  # noqa: B008  # frozen
        fallback: bool = True,
    ) -> None:
        super().__init__()
        check_budget(budget)
        self.budget = budget
        # Checkpoints hold the gate alone: the backbone is frozen and known by its fingerprint.
        self.strict_loading = False
        self.calibration_clips = calibration_clips
        self.fallback = fallback
        self.backbone = load_backbone(backbone, weights, preprocessing=preprocessing)
        self.gate = self.new_gate()
        self.run_name = f"{backbone}/{self.gate.name}"
        self.yardstick: Calibration | None = None
        self._threshold_curve: tuple[Tensor, Tensor] | None = None
        # What trained the gate, for its file: an export is not it, and a resume is only its end.
        self._commands: list[str] = []
        self._curve: list[tuple[Tensor, Tensor]] = []
        self._theirs: list[tuple[Tensor, Tensor]] = []

    def new_gate(self) -> Gate:
        """The gate that is trained, for ``backbone``, as it is before any training."""
        raise AssertionError(f"{type(self).__name__} must define new_gate()")

    @property
    def resize_crop(self) -> ResizeCrop:
        """Geometry that the data must deliver frames in."""
        return self.backbone.resize_crop

    @property
    def data(self) -> ClipDataModule:
        """The data of the running Trainer.

        Raises:
            RegateError: If it is not one of ours.
        """
        module = getattr(self.trainer, "datamodule", None)
        if not isinstance(module, ClipDataModule):
            raise RegateError("a gate is trained on a datamodules.ClipDataModule: pass one as data")
        return module

    def setup(self, stage: str) -> None:
        """Refuse a training without end before anything is computed."""
        if stage == "fit":
            check_has_end(self.trainer)

    def on_fit_start(self) -> None:
        """Calibrate the yardstick, and tell TensorBoard which metrics rank runs."""
        self._commands += [command()] if command() else []
        self._measure_yardstick()
        announce(self.logger, dict(self.hparams), ("hp/kl_minus_threshold", "hp/spent"))

    def on_validation_start(self) -> None:
        """Calibrate the yardstick where validation runs on its own."""
        self._curve, self._theirs = [], []
        if self.yardstick is None:
            self._measure_yardstick()

    def validation_step(self, batch: ClipBatch, batch_index: int) -> None:
        """Sweep the gate, and once per run the threshold, over the knobs of the yardstick."""
        assert self.yardstick is not None
        knobs = torch.tensor(self.yardstick.knobs, device=self.device)
        threshold = ThresholdGate().to(self.device)
        for clip in batch.clips():
            normalised = self.backbone.normalize(clip.frames)
            dense = dense_reference(self.backbone, clip)
            swept = sweep_clip(self.backbone, self.gate, normalised, dense, knobs)
            self._curve.append(_spent_and_kl(swept))
            if self._threshold_curve is None:
                swept = sweep_clip(self.backbone, threshold, normalised, dense, knobs)
                self._theirs.append(_spent_and_kl(swept))

    def on_validation_epoch_end(self) -> None:
        """Log the gate's curve against the threshold's at the same MACs."""
        if self.trainer.sanity_checking:  # sees some of the clips only
            return
        spent, kl = self._mean_curve(self._curve)
        if self._threshold_curve is None:
            self._threshold_curve = self._mean_curve(self._theirs)
        differences = []
        for budget in READ_AT:
            ours = _read(spent, kl, budget)
            theirs = _read(*self._threshold_curve, budget)
            self.log(f"val/kl_at_{budget:g}", ours, sync_dist=True)
            self.log(f"val/kl_minus_threshold_at_{budget:g}", ours - theirs, sync_dist=True)
            differences.append((ours - theirs) / np.maximum(theirs, 1e-9))
        relative = float(np.nanmean(differences)) if np.isfinite(differences).any() else np.nan
        self.log_dict(
            {"val/kl": float(kl.mean()), "val/spent": float(spent.mean())}, sync_dist=True
        )
        self.log("val/kl_minus_threshold", relative, prog_bar=True, sync_dist=True)
        self.log("hp/kl_minus_threshold", relative, sync_dist=True)
        self.log("hp/spent", float(spent.mean()), sync_dist=True)

    def test_step(self, batch: ClipBatch, batch_index: int) -> None:
        """Every quality metric at ``budget``, over the test clips; `regate compare` does more."""
        for swept, _ in self._served(batch, batch_index * self.data.batch_size):
            metrics = {name: float(value) for name, value in swept.metrics.items()}
            metrics["spent"] = float(swept.spent[1:].mean())
            logged = {f"test/{name}": value for name, value in metrics.items()}
            self.log_dict(logged, batch_size=1, sync_dist=True)

    def predict_step(self, batch: ClipBatch, batch_index: int) -> list[dict[str, Any]]:
        """One record per clip: name, top-1 of each frame, mean spent, agreement with dense."""
        return [
            {
                "name": name,
                "budget": self.budget,
                "spent": float(swept.spent[1:].mean()),
                "agreement": float(swept.metrics["agreement"]),
                "kl": float(swept.metrics["kl"]),
                "top1": swept.logits[:, 0].argmax(-1).tolist(),
                "dense_top1": dense.logits.argmax(-1).tolist(),
            }
            for name, (swept, dense) in zip(batch.names, self._served(batch), strict=True)
        ]

    def val_example(self) -> tuple[Tensor, float]:
        """A fixed clip, uint8 [t, c, h, w], and the threshold's knob at the task's budget."""
        assert self.yardstick is not None
        # The floor may lie above the budget, which has a default.
        budget = max(self.budget, self.yardstick.lowest)
        return spread_clips(self.data, 1)[0].frames, self.yardstick.knob(budget)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the frozen backbone out, and say what made the rest."""
        state = checkpoint["state_dict"]
        for key in [key for key in state if key.startswith(BACKBONE)]:
            del state[key]
        checkpoint["backbone"] = {
            "name": self.backbone.name,
            "fingerprint": self.backbone.fingerprint,
        }
        checkpoint["commands"] = self._commands

    def on_load_checkpoint(self, checkpoint: dict[str, Any], path: str = "") -> None:
        """Check what loading does not: it is not strict, since the backbone is left out.

        Args:
            checkpoint: As read.
            path: Of its file; the one that the Trainer loads if empty.

        Raises:
            RegateError: If it is of another task or backbone, naming both, or of other parts.
        """
        parts = [name for name in self.state_dict() if not name.startswith(BACKBONE)]
        path = path or str(self.trainer.ckpt_path)
        check_fits(path, checkpoint, type(self).__name__, parts, self.backbone)
        # What was measured was of the weights before these.
        self.gate.calibration = None
        self._commands = list(checkpoint.get("commands", []))

    def on_fit_end(self) -> None:
        """Calibrate the best gate of the run and write its file."""
        if self.trainer.is_global_zero and not getattr(self.trainer, "fast_dev_run", False):
            print(f"weights: {load_best(self.trainer, self.gate, 'gate.')}")
            self.export(Path(self.trainer.default_root_dir) / GATE_FILE, self.data)

    def export(self, path: Path, data: ClipDataModule) -> None:
        """Calibrate on the calibration clips of ``data`` and write the gate file.

        Raises:
            RegateError: If there are no such clips, or the file cannot be written.
        """
        self.gate.eval()
        plain, self.gate.calibration = self._calibrated(data)
        # Served without a budget, the gate looks at every frame and spends this one; a floor may
        # lie above it.
        self.gate.knob = plain.knob(max(self.budget, plain.lowest))
        save_gate(path, self.gate, self.backbone, " && ".join(self._commands))
        size = path.stat().st_size / 1000
        table = self.gate.calibration
        print(f"gate: {path} ({size:.1f} kB, budgets {table.lowest:.3f} to 1)")
        if table.fallback is not None:
            print(table.fallback.told(self.gate.name))

    def _served(
        self, batch: ClipBatch, first: int | None = None
    ) -> Iterator[tuple[SweptClip, DenseClip]]:
        """Each clip of a batch at ``budget``, as the exported gate would serve it.

        Args:
            batch: Of any number of clips.
            first: Place of its first clip among all of which a mean is taken, over which the
                turns of a pace are spread; None where each stands for itself.
        """
        if self.gate.calibration is None:
            self.gate.calibration = self._calibration_of_run() or self._calibrated(self.data)[1]
        setting = self.gate.setting(self.budget)
        for place, clip in enumerate(batch.clips()):
            normalised = self.backbone.normalize(clip.frames)
            dense = dense_reference(self.backbone, clip)
            phase = 0.0 if first is None else staggered(first + place)
            yield sweep_settings(self.backbone, [setting], normalised, dense, phase=phase), dense

    def _calibration_of_run(self) -> Calibration | None:
        """That in the run's gate file, if it holds this very gate on such frames.

        A folder to predict may have too few videos to calibrate on, and others than were meant.
        """
        path = Path(self.trainer.default_root_dir) / GATE_FILE
        ours = self.backbone.preprocessing
        if not path.is_file() or calibrated_on(read_metadata(path)).over(ours) != ours:
            return None
        gate, weights = load_gate(path, self.backbone), self.gate.state_dict()
        same = all(
            name in weights and torch.equal(value, weights[name])
            for name, value in gate.state_dict().items()
        )
        return gate.calibration if same else None

    def _calibrated(self, data: ClipDataModule) -> tuple[Calibration, Calibration]:
        """Looking at every frame, and as its file is served."""
        clips = spread_clips(data, self.calibration_clips)
        judged = spread_places(data, JUDGED_CLIPS) if self.fallback else []
        budgets = (*READ_AT, self.budget)
        return budget_table(self.backbone, self.gate, data, clips, budgets, judged=judged)

    def _mean_curve(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Mean over the clips of all processes, by ascending spent, each float64 [k]."""
        clips = torch.stack([torch.stack(pair) for pair in pairs])  # [clips, 2, k]
        # Averaged before they are read: a KL at a budget is not linear in the points of a curve.
        means = self.all_gather(clips.mean(0))
        assert isinstance(means, Tensor)
        spent, kl = means.view(-1, *clips.shape[1:]).mean(0).cpu()
        order = spent.argsort()
        return spent[order], kl[order]

    def _measure_yardstick(self) -> None:
        """Calibrate the threshold; its knobs are those the gate is trained and validated at."""
        self._threshold_curve = None
        clips = [clip.frames for clip in spread_clips(self.data, self.calibration_clips)]
        threshold = ThresholdGate().to(self.device)
        self.yardstick = calibrate(self.backbone, threshold, clips, READ_AT, self.data.name)


def _spent_and_kl(swept: SweptClip) -> tuple[Tensor, Tensor]:
    """Mean over the later frames at each knob, each float64 [k]."""
    return swept.spent[1:].mean(0), swept.metrics["kl"].cpu().double()


def _read(spent: Tensor, kl: Tensor, budget: float) -> float:
    """A curve's KL at a budget, interpolated in log MACs; nan where it does not reach."""
    return float(
        np.interp(np.log(budget), spent.log().numpy(), kl.numpy(), left=np.nan, right=np.nan)
    )
