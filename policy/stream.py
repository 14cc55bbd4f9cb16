"""The command ``regate stream``: a gate at work on a video, and what it saves."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path

from backbones.preprocessing import Preprocessing
from datamodules.containers import probe
from datamodules.errors import RegateError
from datamodules.sources import open_source, source_files
from datamodules.video import VideoFrame
from datamodules.video_writer import VideoWriter
from policy.budgets.table import TOLERANCE
from policy.guard import Guard
from policy.provenance import command, commit
from policy.reuse.executions import CacheDtype
from policy.serving.files import OverlayFile, playing_rate, rows_file
from policy.serving.interrupt import interruptible
from policy.serving.latency import LatencyController, check_target
from policy.serving.naming import class_names as names_of
from policy.serving.opening import describe, open_session
from policy.serving.rows import Sink, frame_row
from policy.serving.serve import Served, serve
from policy.serving.show import print_summary, showing
from policy.serving.totals import Summary, Totals
from policy.session import ReuseSession


def stream(
    source: str,
    *,
    gate: str,
    budget: float | None = None,
    hard: bool = False,
    latency_ms: float | None = None,
    backbone: str = "",
    weights: str = "pretrained",
    overlay: str | None = None,
    json: str | None = None,
    fps: float | None = None,
    max_frames: int | None = None,
    compare_dense: bool = True,
    verbose: bool = False,
    device: str = "cpu",
    class_names: str = "",
    knob: float | None = None,
    preprocessing: Preprocessing = Preprocessing(),  # noqa: B008  # frozen
    seed: int = 0,
    guard: Guard = Guard(),  # noqa: B008  # frozen
    cache_dtype: CacheDtype | None = None,
) -> Summary:
    """Run a gate over a video and print, frame by frame, what it sees and what it spends.

    At the end, or at Ctrl-C, follows a summary beside the dense model, which runs on the same
    frames in turns with the gated one.

    Args:
        source: A video file, a folder or a glob of them, a camera number, an rtsp:// or http://
            address, or - for standard input.
        gate: A gate file, or the name of a policy that needs none, such as threshold with --knob.
        budget: Mean fraction of the dense frame's MACs to spend, in (0, 1]; 0.25 for a gate file.
            With --hard the most that a later frame may spend.
        hard: Let no frame after a stream's first, which is dense, spend more than the budget: of
            the patches that the gate wants, as many as fit, highest scores first. Quiet frames
            spend less. For gate files, and for threshold, top-r and cosine beside their --knob.
        latency_ms: Keep 95 of 100 frames within so many milliseconds of computing (decoding,
            resizing and a stream's first frame, which is dense, not counted). The budget is then
            hard and set anew for every frame, by the time that those before it took; --budget is
            the most that it may rise to, 1 if not given. Where even the least budget is too slow,
            a warning says so.
        backbone: timm's name of the model; a gate file knows its own.
        weights: "pretrained", or a local .safetensors or .pth file.
        overlay: Write the frames with recomputed patches marked to this .mp4 file.
        json: Write the numbers of each frame and the summary to this file.
        fps: Show the source at this many frames per second; every frame by default.
        max_frames: Stop after so many.
        compare_dense: Run the dense model beside, for agreement and latency.
        verbose: Print a line per frame on a terminal too, as is done for a file or a pipe.
        device: cpu, cuda, cuda:1, ...
        class_names: Names of the classes as cat,dog or a text file with one per line; ImageNet's
            are known.
        knob: The policy's own setting instead of a budget, or beside a hard one: the share of
            patches for random, periodic and top-r (of frames for frame-skip), the logarithm of
            the threshold for threshold and cosine.
        preprocessing: What happens to an image first; by default what the gate file was
            calibrated with, or the model's own.
        seed: Of random policies.
        guard: What keeps a long stream right: flushes at scene cuts, a bound on the age of what
            is reused, spot checks. --guard.cuts false --guard.max_age null leaves it to the gate.
        cache_dtype: Keep cached keys and values in half precision, for about half of the state;
            outputs then differ in the third digit. bfloat16 never overflows.

    Raises:
        RegateError: If the source, the gate or the backbone cannot be used, or a file not written.
    """
    _check(source, (overlay, json), (gate, weights, class_names), max_frames)
    if latency_ms is not None:
        check_target(latency_ms)
        budget, hard = 1.0 if budget is None else budget, True
    with ExitStack() as stack:
        # Whatever can fail early does: outputs, then the source, then the slow loading.
        rows = stack.enter_context(rows_file(json))
        frames, rate = _open(source, fps)
        writer = stack.enter_context(VideoWriter(overlay, rate)) if overlay else None
        session = open_session(
            gate=gate,
            backbone=backbone,
            weights=weights,
            budget=budget,
            knob=knob,
            preprocessing=preprocessing,
            device=device,
            seed=seed,
            guard=guard,
            hard=hard,
            cache_dtype=cache_dtype,
        )
        latency = None
        if latency_ms is not None and budget is not None:
            latency = LatencyController(latency_ms, session.lowest, ceiling=budget)
        _tell_risk(session, halved=cache_dtype is not None)
        names = names_of(session.backbone, class_names)
        sinks: list[Sink] = [rows] if rows else []
        if writer:
            sinks.append(OverlayFile(writer, session))
        length = _length(source, fps, max_frames)
        with showing(verbose, compare_dense, length, latency is not None) as show:
            served = serve(islice(frames, max_frames), session, compare_dense, latency)
            summary = run(served, session, names, [*sinks, show], max_frames, latency)
        if rows:
            kept: dict[str, object] = {"guard": asdict(guard), "cache_dtype": cache_dtype}
            kept["served_by"] = ", ".join(summary.served_by) or session.serving.name
            rows.finish(summary, _meta(source, gate, session) | kept)
    print_summary(summary, _title(session, summary))
    for output in (overlay, json):
        if output:
            print(f"wrote {output}")
    return summary


def run(
    served: Iterable[Served],
    session: ReuseSession,
    names: Sequence[str],
    sinks: Sequence[Sink],
    max_frames: int | None = None,
    latency: LatencyController | None = None,
) -> Summary:
    """Hand each served frame to all sinks, until the source ends or Ctrl-C.

    Args:
        served: From ``serve``, cut at ``max_frames``.
        session: That serves.
        names: Of the classes; () where unknown.
        sinks: What is done with a frame.
        max_frames: To tell this end from the source's own.
        latency: That sets the session's budget, if one does.
    """
    totals, ended = Totals(), "source"
    with interruptible() as interrupt:
        for frame in served:
            row = frame_row(frame, names, session.backbone.num_classes)
            totals.add(row)
            for sink in sinks:
                sink.add(frame, row)
            if interrupt.asked:
                ended = "interrupt"
                break
        else:
            ended = "max_frames" if totals.frames == max_frames else "source"
    return totals.summary(
        budget=session.budget if latency is None else latency.ceiling,
        hard=session.hard,
        target_ms=None if latency is None else latency.target_ms,
        knob=float(session.knob) if latency is None else None,
        dense_macs=session.macs.dense,
        state_bytes=session.state_bytes,
        ended=ended,
    )


def _check(
    source: str, outputs: Sequence[str | None], inputs: Sequence[str], max_frames: int | None
) -> None:
    if max_frames is not None and max_frames < 1:
        raise RegateError(f"max_frames must be 1 or more, got {max_frames}")
    for output in outputs:
        if output is None:
            continue
        if not output:
            raise RegateError("--overlay and --json need the name of a file, and one is empty")
        if Path(output).is_dir():
            raise RegateError(f"cannot write {output}, which is a folder: name a file in it")
        if Path(output).exists():
            if any(Path(output).samefile(file) for file in source_files(source)):
                raise RegateError(
                    f"{output} is one of the source's files, which it would replace: write to a "
                    "file outside"
                )
            if any(Path(name).is_file() and Path(output).samefile(name) for name in inputs):
                raise RegateError(f"{output} is read, and would be replaced: name another file")
    given = [Path(output).resolve() for output in outputs if output]
    if len(set(given)) < len(given):
        raise RegateError(f"--overlay and --json are both {given[0]}: name two files")


def _open(source: str, fps: float | None) -> tuple[Iterator[VideoFrame], float]:
    """The frames of a source, and how fast an overlay of them plays."""
    frames = open_source(source, fps)
    if fps is not None:
        return frames, fps
    first = list(islice(frames, 2))
    return chain(first, frames), playing_rate(first[0], first[1] if len(first) > 1 else None)


def _length(source: str, fps: float | None, max_frames: int | None) -> int | None:
    """Frames to come, for the progress bar; None where nobody knows."""
    if not Path(source).is_file():
        return max_frames
    length = probe(source).length(fps)
    return length if max_frames is None else min(length, max_frames)


def _tell_risk(session: ReuseSession, halved: bool) -> None:
    """What the gate file promises, and whether the budget keeps to it."""
    table = session.gate.calibration
    if table is None or table.risk is None:
        return
    print(table.risk.told())
    budget = session.budget
    if session.hard:
        print("risk: a hard budget cuts what was promised for, so nothing is promised of it")
    elif budget is None:
        print("risk: what a knob spends was not tested, so nothing is promised of it")
    elif not any(abs(passed / budget - 1) <= TOLERANCE for passed in table.risk.passed):
        passed = ", ".join(f"{value:.4g}" for value in table.risk.passed)
        print(
            f"risk: budget {budget:g} did not pass the test, or was not tested, so nothing is "
            f"promised of it{f'; of {passed} it is' if passed else ''}"
        )
    elif halved:
        print("risk: caches were tested in full precision, so nothing is promised of half")


def _title(session: ReuseSession, summary: Summary) -> str:
    """Who was asked, who served, on what."""
    served = "".join(
        f", served by {name}," if frames == summary.later else f", {frames} frames by {name},"
        for name, frames in summary.served_by.items()
        if name != session.gate.name
    )
    return f"{session.gate.name}{served} on {session.backbone.name}"


def _meta(source: str, gate: str, session: ReuseSession) -> dict[str, object]:
    about = describe(session.backbone, session.gate)
    return {"source": source, "gate": gate, **about, "command": command(), "commit": commit()}
