"""What `regate stream` cannot do is told in a sentence, before anything is served."""

from pathlib import Path

import pytest

from datamodules.errors import RegateError
from policy.cli import main
from policy.gate_file import save_gate
from policy.gates import ThresholdGate
from policy.stream import stream

DIGITS = {"backbone": "regate_vit_digits", "weights": "random"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["std", "0,0,0"], "std must be in (0, 1] in each channel, got 0: divide by 255 what"),
        (["mean", "0.5"], "mean has 1 and std 3 values, but regate_vit_digits takes 3 channels: "),
        (["crop_pct", "1.5"], "crop_pct must be in (0, 1], got 1.5: 1.0 keeps the whole image"),
        (["image_size", "50"], "image_size 50 cannot be cut into the patches of regate_vit_dig"),
    ],
)
def test_the_command_line_refuses_what_no_image_could_go_through(video, capsys, words, told):
    given = [f"--preprocessing.{words[0]}", words[1]]
    with pytest.raises(SystemExit, match="2"):
        main(["stream", video, "--gate=always", "--backbone=regate_vit_digits", *given])

    assert capsys.readouterr().err.startswith(f"error: {told}")


def test_the_command_line_prints_a_mistake_in_one_line(video, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["stream", video, "--gate", "gone.safetensors"])

    assert capsys.readouterr().err.startswith("error: there is no gate file gone.safetensors: ")


@pytest.mark.parametrize("option", ["overlay", "json"])
def test_an_output_that_cannot_be_written_is_refused_before_the_work_starts(
    video, tmp_path, option, capsys
):
    (tmp_path / "file").touch()

    with pytest.raises(RegateError, match=r"cannot write .*file/out"):
        stream(video, gate="always", **{option: str(tmp_path / "file" / "out.mp4")}, **DIGITS)

    assert capsys.readouterr().out == ""


def test_a_folder_as_output_is_refused(video, tmp_path):
    with pytest.raises(RegateError, match="which is a folder: name a file in it"):
        stream(video, gate="always", json=str(tmp_path), **DIGITS)


def test_the_source_is_not_written_over(video):
    with pytest.raises(RegateError, match="one of the source's files, which it would replace"):
        stream(video, gate="always", overlay=video, **DIGITS)


def test_no_file_of_a_folder_or_a_glob_is_written_over(video):
    folder = Path(video).parent
    for source in (str(folder), str(folder / "*.mp4")):
        with pytest.raises(RegateError, match="one of the source's files"):
            stream(source, gate="always", overlay=video, **DIGITS)


def test_what_is_read_is_not_written_over(video, tmp_path, digits):
    gate = tmp_path / "gate.safetensors"
    save_gate(gate, ThresholdGate(), digits, "")
    content = gate.read_bytes()

    with pytest.raises(RegateError, match="is read, and would be replaced: name another file"):
        stream(video, gate=str(gate), json=str(gate), **DIGITS)

    assert gate.read_bytes() == content


def test_one_file_under_two_names_is_one_file(video, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    outs = {"overlay": str(tmp_path / "out.mp4"), "json": str(tmp_path / "link" / "out.mp4")}
    with pytest.raises(RegateError, match="name two files"):
        stream(video, gate="always", **outs, **DIGITS)


def test_an_output_has_a_name(video):
    with pytest.raises(RegateError, match="need the name of a file, and one is empty"):
        stream(video, gate="always", json="", **DIGITS)


def test_two_outputs_are_two_files(video, tmp_path):
    out = str(tmp_path / "out.mp4")
    with pytest.raises(RegateError, match="name two files"):
        stream(video, gate="always", overlay=out, json=out, **DIGITS)


def test_a_failed_run_leaves_no_files(video, tmp_path):
    overlay, out = tmp_path / "overlay.mp4", tmp_path / "out.json"

    with pytest.raises(RegateError, match="no policy 'alwys'"):
        stream(video, gate="alwys", overlay=str(overlay), json=str(out), **DIGITS)

    assert [path.name for path in tmp_path.iterdir()] == ["walk.mp4"]


@pytest.mark.parametrize("content", [b"", b"no video"])
def test_a_file_that_is_no_video_is_refused_in_a_sentence(tmp_path, content):
    path = tmp_path / "broken.mp4"
    path.write_bytes(content)

    with pytest.raises(RegateError, match=r"broken\.mp4"):
        stream(str(path), gate="always", **DIGITS)


def test_max_frames_below_1_is_refused(video):
    with pytest.raises(RegateError, match="max_frames must be 1 or more, got 0"):
        stream(video, gate="always", max_frames=0, **DIGITS)


def test_a_latency_that_is_none_is_refused_before_anything_is_loaded(video):
    with pytest.raises(RegateError, match="latency_ms must be > 0, milliseconds per frame, got -1"):
        stream(video, gate="gone.safetensors", latency_ms=-1.0)


def test_a_guard_out_of_range_is_told_in_a_sentence(video, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["stream", video, "--gate", "never", "--guard.max_age", "0"])

    assert capsys.readouterr().err == "error: max_age must be 1 frame or more, or none, got 0\n"
