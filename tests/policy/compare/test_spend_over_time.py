"""The script of the docs that draws what frames spend, on a comparison small enough to count."""

import json

import pytest
from PIL import Image

from policy.compare.figure_style import looks
from policy.compare.writing import write_json


@pytest.fixture(scope="module")
def script(docs_script):
    return docs_script("spend_over_time")


@pytest.fixture
def file(comparison, tmp_path):
    """Of a comparison in which frames spend 0.1, 0.2, 0.3."""
    write_json(comparison, tmp_path / "results.json")
    return tmp_path / "results.json"


def test_learned_policies_are_drawn_beside_the_threshold(file, script, capsys, tmp_path):
    script.main([str(file), "--out", str(tmp_path / "spend.png")])

    assert capsys.readouterr().out.splitlines()[2:-2] == [
        "| 0.2 | threshold | 0.200 | 0.100 | 0.300 | 0.41 |",
        "| 0.2 | gumbel | 0.200 | 0.100 | 0.300 | 0.41 |",
    ]
    picture = Image.open(tmp_path / "spend.png")
    assert picture.mode == "P"
    assert 4_000 < (tmp_path / "spend.png").stat().st_size < 40_000


def test_a_panel_has_a_line_per_policy_in_its_usual_look(file, comparison, script):
    entries = script.chosen(script.read_results(file), [], [])
    styles = looks(comparison.curves)

    (panel,) = script.draw(entries, styles).axes

    budget, *lines = panel.get_lines()
    assert panel.get_title(loc="left") == "budget 0.2"
    assert list(budget.get_ydata()) == [0.2, 0.2]
    assert [line.get_label() for line in lines] == ["threshold", "gumbel"]
    for line in lines:
        assert line.get_xdata().tolist() == [1, 2, 3]
        assert list(line.get_ydata()) == pytest.approx([0.1, 0.2, 0.3])
        assert line.get_color() == styles[line.get_label()].color
    assert panel.get_ylim()[0] == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["--policies", "ppo"],
            "error: no policy ppo with a knob was compared, but threshold, gum",
        ),
        (["--policies", "dense"], "error: no policy dense with a knob was compared, but threshold"),
        (["--budgets", "0.3"], "error: no budget 0.3 with a knob was compared, but 0.2"),
    ],
)
def test_what_was_not_compared_is_told(words, told, file, script):
    with pytest.raises(SystemExit) as refused:
        script.main([str(file), *words])
    assert str(refused.value).startswith(told)


def test_results_without_it_are_told(file, script, tmp_path):
    results = json.loads(file.read_text())
    for entry in results["drift"]:
        del entry["spent_by_frame"]
    file.write_text(json.dumps(results))

    with pytest.raises(SystemExit) as refused:
        script.main([str(file)])
    assert str(refused.value) == (
        f"error: {file} does not say what each frame spent: make it again by `regate compare`"
    )
    with pytest.raises(SystemExit, match=r"^error: no .*gone.json: `regate compare --out FOLDER` "):
        script.main([str(tmp_path / "gone.json")])


def test_nothing_to_draw_is_told(file, script):
    results = json.loads(file.read_text())
    results["drift"] = [entry for entry in results["drift"] if entry["budget"] is None]
    file.write_text(json.dumps(results))

    with pytest.raises(SystemExit) as refused:
        script.main([str(file)])
    assert str(refused.value) == (
        f"error: {file} has no learned policy and no threshold: name --policies"
    )
