"""Functions as commands: positional and named arguments, config files, lists, mistakes."""

import sys
from dataclasses import dataclass

import pytest

from datamodules.errors import RegateError
from policy.arguments import (
    configs_first,
    one_line,
    run_function,
    with_lists_in_brackets,
    with_underscores,
)


class Videos:
    """Any source of clips."""


class Folder(Videos):
    """Clips of a folder.

    Args:
        root: Where they lie.
        size: Side of a frame.
    """

    def __init__(self, root: str, size: int = 8) -> None:
        self.root = root
        self.size = size


calls = []


def measure(
    source: str,
    *,
    data: Videos | None = None,
    budgets: list[float] = [0.5],  # noqa: B006  (as a user of the CLI would write it)
    names: list[str] | None = None,
    out: str | None = None,
):
    """Measure a source.

    More about it.

    Args:
        source: What to measure.
        data: Where clips come from.
        budgets: Fractions.
        names: Which.
        out: Where to write.
    """
    calls.append({"source": source, "data": data, "budgets": budgets, "names": names, "out": out})


@pytest.fixture
def call(monkeypatch):
    """Run ``measure`` with these words and return what it received."""
    calls.clear()
    # importlib mode gives this file a name that class paths could not use otherwise.
    monkeypatch.setitem(sys.modules, "measuring", sys.modules[__name__])

    def run(*words):
        run_function(measure, "regate measure", list(words))
        return calls[-1]

    return run


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "measure.yaml"
    path.write_text(
        "data: {class_path: measuring.Folder, init_args: {root: here}}\nbudgets: [0.1, 0.2]\n"
    )
    return str(path)


def test_parameters_before_the_star_are_positional(call):
    assert call("film.mp4") == {
        "source": "film.mp4",
        "data": None,
        "budgets": [0.5],
        "names": None,
        "out": None,
    }


def test_config_file_fills_in_and_the_command_line_wins(call, config):
    got = call("film.mp4", "--config", config, "--out", "there")

    assert (got["budgets"], got["out"], got["data"].root) == ([0.1, 0.2], "there", "here")
    assert call("film.mp4", "--config", config, "--budgets", "0.3")["budgets"] == [0.3]


def test_the_command_line_wins_wherever_the_config_stands(call, config):
    got = call("--budgets", "0.3", "--data.root", "mine", "film.mp4", "--config", config)

    assert (got["budgets"], got["data"].root) == ([0.3], "mine")


def test_configs_move_to_the_front_in_their_order():
    words = ["a", "--x", "1", "--config", "c", "-", "-c", "d", "--config=e"]

    assert configs_first(words) == ["--config", "c", "-c", "d", "--config=e", "a", "--x", "1", "-"]
    assert configs_first(["a", "--config"]) == ["--config", "a"]


def test_names_may_be_written_with_dashes_and_values_are_left_alone():
    words = ["a-b", "--max-frames", "-3", "--data.train-clips=x-y", "-", "--", "--gate=top-r"]
    expected = ["a-b", "--max_frames", "-3", "--data.train_clips=x-y", "-", "--", "--gate=top-r"]

    assert with_underscores(words) == expected


def test_an_argument_of_a_class_needs_no_init_args_in_its_name(call, config):
    data = call("film.mp4", "--config", config, "--data.root", "my_videos")["data"]

    assert isinstance(data, Videos)
    assert (data.root, data.size) == ("my_videos", 8)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--budgets", "0.1,0.2"], [0.1, 0.2]),
        (["--budgets=0.1,0.2"], [0.1, 0.2]),
        (["--budgets", "0.1"], [0.1]),
        (["--budgets", "1"], [1.0]),
        (["--budgets", "[0.1, 0.2]"], [0.1, 0.2]),
    ],
)
def test_numbers_are_written_with_commas_or_alone(call, words, expected):
    assert call("film.mp4", *words)["budgets"] == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--names", "top-r,cosine"], ["top-r", "cosine"]),
        (["--names", "hold"], ["hold"]),
        (["--names", "null"], None),
    ],
)
def test_names_are_written_with_commas_or_alone(call, words, expected):
    assert call("film.mp4", *words)["names"] == expected


@dataclass(frozen=True)
class Scale:
    """How bright pixels are.

    Args:
        mean: Per channel.
        name: Of it.
    """

    mean: tuple[float, ...] | None = None
    name: str = ""


def weigh(*, scale: Scale = Scale(), ends: tuple[float, float] = (0.0, 1.0)) -> Scale:
    """Weigh by a scale.

    Args:
        scale: Of pixels.
        ends: Lowest and highest.
    """
    calls.append((scale, ends))
    return scale


def test_so_are_those_inside_of_a_dataclass_and_pairs(call, capsys):
    words = ["--scale.mean", "0.5,0.25", "--scale.name", "a,b", "--ends=0.1,0.2"]
    run_function(weigh, "regate weigh", words)

    assert calls[-1] == (Scale((0.5, 0.25), "a,b"), (0.1, 0.2))
    run_function(weigh, "regate weigh", ["--scale.mean", "[0.5, 0.5]"])
    assert calls[-1] == (Scale((0.5, 0.5)), (0.0, 1.0))
    with pytest.raises(SystemExit):
        run_function(weigh, "regate weigh", ["--help"])
    assert "Per channel. (type:" in capsys.readouterr().out


def test_options_of_another_parser_begin_as_it_says():
    words = ["fit", "--model.ends", "0.1,0.2", "--ends", "0.1,0.2"]

    assert with_lists_in_brackets(weigh, words, "--model.") == [
        *("fit", "--model.ends=[0.1,0.2]", "--ends", "0.1,0.2")
    ]


def test_other_words_are_left_as_they_are():
    words = ["a,b", "--out", "x,y", "--budgets"]

    assert with_lists_in_brackets(measure, words) == ["a,b", "--out", "x,y", "--budgets="]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["film.mp4", "--budget", "0.1"], "unrecognized arguments: --budget 0.1"),
        (["film.mp4", "--budgets", "0.1,x"], 'Parser key "budgets"'),
        (["film.mp4", "--config", "none.yaml"], "File does not exist"),
        ([], "the following arguments are required: source"),
    ],
)
def test_a_mistake_is_one_line_that_names_it_and_the_help(call, capsys, words, sentence):
    with pytest.raises(SystemExit) as stopped:
        call(*words)

    assert stopped.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert sentence in lines[0]
    assert lines[0].endswith("(see `regate measure --help`)")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("budgtes: [0.1]", "Option 'budgtes' is not accepted"),
        ("data: {class_path: measuring.Folder, init_args: {rot: x}}", "'rot' is not accepted"),
        ("data: {class_path: measuring.Foldr}", "has no attribute 'Foldr'"),
    ],
)
def test_a_typo_in_a_config_names_the_key(call, tmp_path, capsys, text, sentence):
    (tmp_path / "typo.yaml").write_text(text)

    with pytest.raises(SystemExit) as stopped:
        call("film.mp4", "--config", str(tmp_path / "typo.yaml"))

    assert stopped.value.code == 2
    assert sentence in capsys.readouterr().err


def test_a_config_that_is_no_text_is_named(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_bytes(b"caf\xe9: 1\n")

    for words in (["--config", str(config)], [f"--config={config}"]):
        with pytest.raises(RegateError, match=r"c\.yaml is not UTF-8"):
            configs_first(words)


def test_help_is_the_docstring(call, capsys):
    with pytest.raises(SystemExit) as stopped:
        call("--help")

    printed = capsys.readouterr().out
    assert stopped.value.code == 0
    for text in ("usage: regate measure", "Measure a source.", "What to measure", "Fractions"):
        assert text in printed
    assert "More about it." not in printed


def test_a_report_on_types_keeps_the_value_but_not_the_whole_config():
    report = (
        'Parser key "model":\n  Does not validate against any of the Union subtypes\n'
        "  Subtypes: [A, B]\n  Errors:\n    - Option 'lrr' is not accepted\n"
        "    - Expected a <class 'NoneType'>\n  Given value type: <class 'dict'>\n"
        "  Given value: {'a': 1}"
    )
    assert one_line(report) == "Parser key \"model\": Option 'lrr' is not accepted"
    assert one_line('Parser key "n":\n  Given value: abc') == 'Parser key "n": Given value: abc'
