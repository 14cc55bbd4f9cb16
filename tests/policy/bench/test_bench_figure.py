"""The figure of time against MACs."""

from dataclasses import replace

import pytest

from policy.bench.figure import draw_bench
from policy.bench.floors import Floors
from policy.bench.rows import BenchRow

FLOORS = Floors(macs_per_s=1e9, bytes_per_s=1e9, weight_bytes=2_000_000)
DENSE = BenchRow(
    "dense", None, 1, 1.0, 1.0, 1.0, 1.0, 1.0, 10.0, 11.0, 0.1, 100.0, 0, 9, 8.0, 2.0, 1.25
)


def test_every_variant_lies_beside_the_ideal_line_and_the_floor():
    def row(name, fraction, macs, time):
        between = {"time_ratio": time, "time_ratio_low": time - 0.1, "time_ratio_high": time + 0.2}
        return replace(DENSE, variant=name, fraction=fraction, macs_ratio=macs, **between)

    rows = [DENSE, row("everything", None, 1.0, 1.2)]
    for name in ("shared", "per block", "learned", "gate alone"):
        rows += [row(name, 0.5, 0.51, 0.7), row(name, 0.1, 0.12, 0.3)]

    figure = draw_bench(rows, FLOORS, "a model")

    panel = figure.axes[0]
    lines = {line.get_label(): line for line in panel.lines}
    assert lines["ideal: time as MACs"].get_xydata().tolist() == [[0, 0], [1, 1]]
    # 2 ms for the weights until 2 of the 8 ms of a dense frame's operations are left.
    expected = [[0, 0.2], [0.25, 0.2], [1, 0.8]]
    drawn = lines["floor of this machine"].get_xydata().tolist()
    assert [pytest.approx(point) for point in expected] == drawn
    bars = {bar.get_label(): bar for bar in panel.containers}
    assert set(bars) == {"everything", "shared", "per block", "learned"}
    assert bars["shared"].lines[0].get_xydata().tolist() == [[0.51, 0.7], [0.12, 0.3]]
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"dense", "everything", "shared", "per block", "learned"} <= set(named)


def test_a_long_title_stays_inside_of_the_figure():
    title = (
        "vit_base_patch16_224 · 197 tokens · 8 streams · x86_64, 2 cores, NVIDIA H200, 1 thread, "
        "float32, bfloat16 caches · processor time"
    )
    figure = draw_bench([DENSE], FLOORS, title)
    figure.draw_without_rendering()

    drawn = figure.axes[0].get_title(loc="left")
    assert drawn.replace("\n", " ") == title
    assert figure.axes[0]._left_title.get_window_extent().x1 < figure.bbox.x1
