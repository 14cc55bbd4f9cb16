"""What a browser gets from TensorBoard for a training run and for a comparison."""

import json
import re
import subprocess
import sys
from contextlib import contextmanager
from threading import Timer
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from policy.cli import main


class Server:
    """The HTTP data API, which the page itself reads from."""

    def __init__(self, url):
        self.url = url

    def get(self, path, **query):
        with urlopen(f"{self.url}data/{path}?{urlencode(query)}", timeout=30) as answer:
            return json.load(answer)

    def post(self, path, body):
        headers = {"Content-Type": "application/json"}
        request = Request(f"{self.url}data/{path}", json.dumps(body).encode(), headers)
        with urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def sessions(self):
        """Hyper-parameters and metrics of each run on the HPARAMS page."""
        experiment = self.post("plugin/hparams/experiment", {"experimentName": ""})
        metrics = [info["name"] for info in experiment["metricInfos"]]
        groups = self.post(
            "plugin/hparams/session_groups",
            {
                "experimentName": "",
                "allowedStatuses": ["STATUS_SUCCESS", "STATUS_UNKNOWN", "STATUS_RUNNING"],
                "colParams": [{"metric": name} for name in metrics],
                "startIndex": 0,
                "sliceSize": 100,
            },
        )["sessionGroups"]
        return [
            (
                group["hparams"],
                {m["name"]["tag"]: m["value"] for m in group.get("metricValues", [])},
            )
            for group in groups
        ]


@contextmanager
def serving(folder):
    server = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--port", "0",
         "--load_fast", "false"],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    patience = Timer(60, server.kill)
    patience.start()
    try:
        said = ""
        for line in server.stderr:
            said += line
            if found := re.search(r"http://\S+:\d+/", line):
                break
        else:
            pytest.fail(f"tensorboard did not start: {said}")
        patience.cancel()
        yield Server(found[0])
    finally:
        patience.cancel()
        server.kill()
        server.wait()
        server.stderr.close()


@pytest.fixture(scope="module")
def comparison(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("comparison")
    settings = {
        "weights": "random", "data.num_frames": 3, "data.calibration_clips": 2,
        "data.test_clips": 2, "policies": "dense,threshold,top-r", "timed_frames": 0,
        "resamples": 20, "budgets": "0.1,0.3", "out": out,
    }  # fmt: skip
    config = str(root / "configs/compare/synthetic.yaml")
    main(["compare", "--config", config, *(f"--{k}={v}" for k, v in settings.items())])
    return out / "tensorboard"


def test_a_training_run_fills_every_page(gumbel_run):
    with serving(gumbel_run) as server:
        assert server.get("runs") == ["."]

        tags = server.get("plugin/scalars/tags")["."]
        assert {
            "train/loss", "train/kl", "train/spent", "val/kl", "val/spent",
            "val/kl_minus_threshold", "val/recompute_rate/block_00", "hp/kl_minus_threshold",
            "hp/spent",
        } <= set(tags)  # fmt: skip
        points = server.get("plugin/scalars/scalars", run=".", tag="train/kl")
        assert [point[1] for point in points] == [0, 1, 2, 3]

        images = server.get("plugin/images/tags")["."]
        assert {"val/overlay", "val/spent_over_frames"} <= set(images)

        layout = server.get("plugin/custom_scalars/layout")
        charts = {chart["title"] for page in layout["category"] for chart in page["chart"]}
        assert charts == {
            "KL to dense", "KL minus the threshold's at the same compute", "spent"
        }  # fmt: skip

        ((settings, metrics),) = server.sessions()
        assert settings["backbone"] == "regate_vit_digits"
        assert settings["learning_rate"] == 0.003
        spent = server.get("plugin/scalars/scalars", run=".", tag="val/spent")
        assert metrics["hp/spent"] == pytest.approx(spent[-1][2])
        assert set(metrics) == {"hp/spent", "hp/kl_minus_threshold"}


def test_a_comparison_is_one_run_per_policy_with_the_same_tags(comparison):
    with serving(comparison) as server:
        assert set(server.get("runs")) == {".", "dense", "threshold", "top-r"}

        tags = server.get("plugin/scalars/tags")
        assert set(tags["threshold"]) == set(tags["top-r"])
        assert {"compare/kl", "compare/agreement", "compare/spent"} <= set(tags["threshold"])
        points = server.get("plugin/scalars/scalars", run="threshold", tag="compare/kl")
        assert [point[1] for point in points] == [100, 300]  # 1000 times the budget

        images = server.get("plugin/images/tags")
        assert set(images["."]) == {
            "compare/quality_against_compute", "compare/kl_against_frames"
        }  # fmt: skip
        layout = server.get("plugin/custom_scalars/layout")
        assert [page["title"] for page in layout["category"]] == ["compare"]

        sessions = {settings["policy"]: metrics for settings, metrics in server.sessions()}
        assert set(sessions) == {"dense", "threshold", "top-r"}
        assert sessions["dense"]["hp/spent"] == 1.0
        assert sessions["top-r"]["hp/agreement"] <= 1.0
