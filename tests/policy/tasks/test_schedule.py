"""A training has to end for a schedule to be spread over it."""

from types import SimpleNamespace

import pytest

from policy.cli import main
from policy.tasks.schedule import check_has_end

TOLD = (
    "max_epochs -1 without max_steps is a training without end, over which no schedule can be "
    "spread: give --trainer.max_epochs or --trainer.max_steps, which --trainer.max_time may "
    "still cut short"
)


@pytest.mark.parametrize("config", ["gumbel/synthetic", "backbone/digits"])
@pytest.mark.parametrize("words", [[], ["--trainer.max_time=00:01:00:00"]])
def test_a_training_without_end_is_refused(root, tmp_path, capsys, config, words):
    run = ["--config", f"{root}/configs/{config}.yaml", "--run_dir", str(tmp_path)]
    with pytest.raises(SystemExit, match="2"):
        main(["fit", *run, "--trainer.max_epochs=-1", *words])

    assert capsys.readouterr().err.splitlines()[-1] == f"error: {TOLD}"
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(("epochs", "steps"), [(4, -1), (-1, 100), (4, 100), (0, -1)])
def test_epochs_or_steps_are_an_end(epochs, steps):
    check_has_end(SimpleNamespace(max_epochs=epochs, max_steps=steps))
