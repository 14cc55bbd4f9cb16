"""The settings of a run, for the HPARAMS tab of TensorBoard."""

from collections.abc import Sequence
from typing import Any

from pytorch_lightning.loggers import TensorBoardLogger


def announce(logger: object, settings: dict[str, Any], metrics: Sequence[str]) -> None:
    """Tell TensorBoard the settings of a run and which metrics will rank it.

    Args:
        logger: Of the Trainer; nothing is done for one of another kind.
        settings: Nested or not.
        metrics: Tags that are logged later: without them the tab would stay empty.
    """
    if isinstance(logger, TensorBoardLogger):
        logger.log_hyperparams(_flat(settings), dict.fromkeys(metrics, float("nan")))


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level, in values that TensorBoard's hparams accept."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}/")
        else:
            plain = isinstance(value, (bool, int, float, str))
            flat[f"{prefix}{key}"] = value if plain else str(value)
    return flat
