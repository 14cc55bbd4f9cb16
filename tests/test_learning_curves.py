"""The script that draws learning curves, on logs of a few points."""

import numpy as np
import pytest
import yaml
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

TAG = "val/kl_minus_threshold"


@pytest.fixture(scope="module")
def script(docs_script):
    return docs_script("learning_curves")


@pytest.fixture
def make_run(tmp_path):
    """Write a run folder: its config, and values logged after so many batches."""

    def make(name, points, seed=0, tag=TAG, devices="auto", **settings):
        folder = tmp_path / name
        config = {
            "seed_everything": seed,
            "trainer": {"devices": devices},
            "model": {
                "class_path": "policy.tasks.ppo.PPOTask",
                "init_args": {"learning_rate": 1e-3} | settings,
            },
            "data": {"class_path": "SyntheticClips", "init_args": {"batch_size": 8, "seed": seed}},
        }
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        with SummaryWriter(folder) as writer:
            for batches, value in points:
                writer.add_scalar(tag, value, batches - 1)  # as Lightning counts
        return folder

    return make


def test_seeds_are_averaged_where_all_of_them_have_a_value(make_run, script, tmp_path, capsys):
    folders = [
        make_run("ppo-0", [(64, 0.02), (128, -0.02), (192, -0.06)]),
        make_run("ppo-1", [(64, float("nan")), (128, -0.06), (192, -0.08)], seed=1),
        make_run("ppo-2", [(64, 0.05), (128, -0.04)], seed=2, fallback=False),
        make_run("reinforce-0", [(64, 0.01)]),
    ]
    out = tmp_path / "curves.png"

    script.main([*map(str, folders), "--out", str(out)])

    assert capsys.readouterr().out.splitlines()[2:-2] == [
        "| ppo | 1024 | -0.040 | -0.020, -0.060, -0.040 |",
        "| reinforce | 512 | +0.010 | +0.010 |",
    ]
    picture = Image.open(out)
    assert picture.mode == "P" and picture.size == (960, 540)
    assert 4_000 < out.stat().st_size < 40_000


def test_what_is_drawn_are_means_single_seeds_a_band_and_the_zero_line(make_run, script):
    made = [
        make_run(f"ppo-{seed}", [(64, 0.01 * seed), (128, 0.03 * seed - 0.05)], seed=seed)
        for seed in (0, 1)
    ]
    groups = script.grouped([script.read_run(folder, TAG) for folder in made], [])

    (panel,) = script.draw(groups, "batches", TAG).axes

    zero, *singles, mean = panel.get_lines()
    assert list(zero.get_ydata()) == [0, 0]
    assert [line.get_ydata().tolist() for line in singles] == [
        pytest.approx([0, -0.05]), pytest.approx([0.01, -0.02])
    ]  # fmt: skip
    assert mean.get_xdata().tolist() == [64, 128]
    assert mean.get_ydata() == pytest.approx([0.005, -0.035])
    assert mean.get_linewidth() > 2 * singles[0].get_linewidth()
    band = panel.collections[0].get_paths()[0].vertices
    spread = np.std([-0.05, -0.02], ddof=1)
    assert band[:, 1].min() == pytest.approx(-0.035 - spread)
    assert panel.get_legend_handles_labels()[1] == ["ppo (2 seeds)"]


def test_what_a_resumed_run_logged_twice_counts_as_it_was_logged_last(make_run, script):
    folder = make_run("ppo-0", [(64, 0.5), (128, 0.4)])
    with SummaryWriter(folder, filename_suffix=".later") as writer:
        writer.add_scalar(TAG, 0.25, 127)

    assert script.read_run(folder, TAG).points == {64: 0.5, 128: 0.25}


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("ppo-syn0", "ppo-syn"),
        ("ppo_seed12", "ppo"),
        ("synthetic/vit_tiny/reinforce/seed3", "reinforce"),
        ("gumbel", "gumbel"),
    ],
)
def test_a_label_is_the_name_of_the_folder_without_its_number(name, label, make_run, script):
    run = script.read_run(make_run(name, [(1, 0.0)]), TAG)
    assert script.label_of(run, []) == label


def test_labels_may_come_from_the_config(make_run, script):
    rates = {"a1": 1e-3, "a2": 1e-2, "a3": 1e-2}
    runs = [
        script.read_run(make_run(name, [(1, 0.0)], learning_rate=rate), TAG)
        for name, rate in rates.items()
    ]

    groups = script.grouped(runs, ["model.init_args.learning_rate"])

    assert {label: len(its) for label, its in groups.items()} == {
        "learning_rate 0.001": 1, "learning_rate 0.01": 2
    }  # fmt: skip


def test_clips_are_those_of_all_processes(make_run, script):
    run = script.read_run(make_run("ppo-0", [(1, 0.0)], devices=2), TAG)

    assert (script.scale(run, "clips"), script.scale(run, "batches")) == (16, 1)


def test_unlike_runs_are_no_seeds_of_one_configuration(make_run, script, tmp_path):
    one, other = (make_run(f"ppo-{k}", [(1, 0.0)], learning_rate=k) for k in (1, 2))

    with pytest.raises(SystemExit) as refused:
        script.main([str(one), str(other)])

    assert str(refused.value) == (
        f"error: {one} and {other} would both be 'ppo', but differ in "
        "model.init_args.learning_rate: tell them apart by --label_by "
        "model.init_args.learning_rate"
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere"], "error: no config.yaml in nowhere: name the folder of a run"),
        (["empty"], "error: no TensorBoard log in empty: has its training begun?"),
        (
            ["ppo-0", "--tag", "val/spend"],
            "error: ppo-0 has logged no val/spend so far; of what it has: val/kl_minus_threshold",
        ),
        (
            ["ppo-0", "--label_by", "learning_rate"],
            "error: the config of ppo-0 has no learning_rate; did you mean "
            "model.init_args.learning_rate?",
        ),
        (
            ["ppo-0", "ppo-1"],
            "error: ppo-0, ppo-1 have no value at the same batch, so there is no mean",
        ),
    ],
)
def test_what_cannot_be_drawn_is_told(words, told, make_run, script, tmp_path, monkeypatch):
    make_run("ppo-0", [(1, 0.0)])
    make_run("ppo-1", [(2, 0.0)])
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.yaml").touch()
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SystemExit) as refused:
        script.main(words)

    assert str(refused.value) == told


def test_a_picture_of_another_kind_is_refused(script, capsys):
    with pytest.raises(SystemExit):
        script.main(["run", "--out", "curves.jpg"])
    assert "--out must end in .png, got curves.jpg" in capsys.readouterr().err
