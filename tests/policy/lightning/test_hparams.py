"""What TensorBoard is told of a run before there is anything to see."""

import math

from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger

from policy.lightning.hparams import announce


class Listening(TensorBoardLogger):
    """Keeps what it is told."""

    def log_hyperparams(self, params, metrics=None, step=None):
        self.told = (params, metrics)


def test_nested_settings_become_one_level_of_plain_values(tmp_path):
    logger = Listening(tmp_path)

    announce(logger, {"rate": 0.1, "mean": (0.5, 0.5), "crop": {"pct": None, "of": {"a": 1}}}, "x")

    settings, metrics = logger.told
    assert settings == {"rate": 0.1, "mean": "(0.5, 0.5)", "crop/pct": "None", "crop/of/a": 1}
    assert list(metrics) == ["x"] and math.isnan(metrics["x"])


def test_other_loggers_are_left_alone(tmp_path):
    announce(CSVLogger(tmp_path), {"rate": 0.1}, ["x"])
    announce(None, {"rate": 0.1}, ["x"])

    assert list(tmp_path.iterdir()) == []
