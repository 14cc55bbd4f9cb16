"""The comparison in TensorBoard: one run per policy with the same tags, so that runs overlay."""

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from policy.atomic import cannot_write
from policy.compare.drift_figure import draw_drift
from policy.compare.figure import draw
from policy.compare.records import METRICS
from policy.compare.results import Results, Row

HPARAM_METRICS = ("kl", "agreement")


def write_tensorboard(results: Results, folder: Path) -> None:
    """Write a run per policy into ``folder`` and the figures into ``folder`` itself.

    Scalars ``compare/<metric>`` and ``compare/spent`` stand at step 1000 × budget; a policy
    without a knob has one point, at step 1000 × spent. The HPARAMS tab compares the policies at
    the middle budget. Event files of an earlier comparison in the folder are replaced.

    Raises:
        RegateError: If the folder cannot be written.
    """
    try:
        _remove_earlier(folder)
        for policy in dict.fromkeys(row.policy for row in results.rows):
            _write_policy(results, policy, folder / policy)
        _write_overview(results, folder)
    except OSError as error:
        raise cannot_write(folder, error) from error


def _remove_earlier(folder: Path) -> None:
    """Two generations of points in one run would be drawn as one zigzag."""
    for events in [*folder.glob("events.out.tfevents.*"), *folder.glob("*/events.out.tfevents.*")]:
        events.unlink()
    for run in folder.glob("*/"):
        if not any(run.iterdir()):
            run.rmdir()


def _write_policy(results: Results, policy: str, folder: Path) -> None:
    rows = [row for row in results.rows if row.policy == policy]
    with SummaryWriter(str(folder)) as writer:
        for row in rows:
            step = _step(row)
            for tag, value in _scalars(row).items():
                writer.add_scalar(tag, value, step)
        middle = rows[len(rows) // 2]
        hparams: dict[str, bool | str | float] = {"policy": policy, "learned": middle.learned}
        if middle.budget is not None:
            hparams["budget"] = middle.budget
        metrics = {f"hp/{name}": middle.metrics[name].value for name in _named(middle)}
        known = {name: value for name, value in metrics.items() if value is not None}
        if middle.spent is not None:
            known["hp/spent"] = middle.spent
        # Any other run name puts the metrics into a second run beside the policy's own.
        writer.add_hparams(hparams, known, run_name=".")


def _write_overview(results: Results, folder: Path) -> None:
    present = [name for name in METRICS if any(name in row.metrics for row in results.rows)]
    layout = {
        "compare": {
            f"{METRICS[name].label} by 1000 x budget": ["Multiline", [f"compare/{name}"]]
            for name in present
        }
    }
    with SummaryWriter(str(folder)) as writer:
        writer.add_figure("compare/quality_against_compute", draw(results))
        writer.add_figure("compare/kl_against_frames", draw_drift(results))
        writer.add_custom_scalars(layout)


def _step(row: Row) -> int:
    where = row.spent if row.budget is None else row.budget
    return round(1000 * (where or 0.0))


def _scalars(row: Row) -> dict[str, float]:
    values = {name: estimate.value for name, estimate in row.metrics.items()}
    values |= {"spent": row.spent, "ms_mean": row.ms_mean}
    values |= {"ms_p50": row.ms_p50, "ms_p95": row.ms_p95}
    return {f"compare/{name}": value for name, value in values.items() if value is not None}


def _named(row: Row) -> list[str]:
    return [name for name in HPARAM_METRICS if name in row.metrics]
