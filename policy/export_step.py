"""``regate export-step``: a session as ``torch.export`` programs, for machines without Regate."""

from pathlib import Path

from backbones.preprocessing import Preprocessing
from policy.atomic import check_writable
from policy.exporting.programs import FIRST, STEP, programs
from policy.serving.opening import open_gate


def export_step(
    *,
    gate: str,
    patches: int,
    out: str = "exported",
    backbone: str = "",
    weights: str = "pretrained",
    streams: int = 1,
    preprocessing: Preprocessing = Preprocessing(),  # noqa: B008  # frozen
    device: str = "cpu",
) -> Path:
    """Write a session as torch.export programs of fixed shapes, which need only torch to run.

    What a session has beside its step stays outside: paces (leave a frame out), the guard (run
    first.pt2 at a cut), budgets met in the mean (the count of patches is the budget).

    Args:
        gate: A gate file, or threshold, top-r or cosine. It has to have one mask for all blocks
            and a score per patch: gates that release patches at later blocks, decide anew at each,
            hold frames, draw lots or take turns, or are steered by an agent are refused.
        patches: Recomputed on each later frame and in each stream, those that the gate scores
            highest; the prefix tokens are on top. A fixed count is what makes all shapes fixed.
        out: Folder for the two programs, each with the backbone's weights in it. first.pt2 takes
            a stream's first frame, which is dense, and makes its state; step.pt2 takes each later
            frame and the state, and returns outputs and the next state. docs/export.md runs them.
        backbone: timm's name of the model; a gate file knows its own.
        weights: "pretrained", a local .safetensors or .pth file, or "random".
        streams: Frames per call, one of each stream, in lock-step.
        preprocessing: What happens to an image first; by default what the gate file was
            calibrated with, or the model's own. The programs take frames that it has happened to.
        device: That the programs will run on: cpu, cuda, cuda:1, ...

    Returns:
        The folder.

    Raises:
        RegateError: If anything does not exist or does not fit, or the gate does not export.
    """
    folder = Path(out)
    check_writable(folder)
    model, built = open_gate(gate, backbone, weights, preprocessing, device)
    exported = programs(model, built, patches, streams)
    exported.save(folder)
    most = model.num_tokens - model.num_prefix_tokens
    print(f"{folder / FIRST}: a stream's first frame, dense")
    print(
        f"{folder / STEP}: later frames, {patches} of {most} patches by {exported.gate.gate.name}, "
        f"{exported.spent:.3g} of the dense frame's MACs"
    )
    return folder
