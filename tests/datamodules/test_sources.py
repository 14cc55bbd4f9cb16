import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from datamodules.errors import RegateError, RegateWarning
from datamodules.sources import natural_key, open_source, video_files


def test_a_file_is_a_source(encode, number_of):
    path = encode(frames=3)
    frames = list(open_source(str(path)))

    assert [number_of(frame.image) for frame in frames] == [0, 1, 2]
    assert {frame.name for frame in frames} == {str(path)}


def test_a_rate_can_be_asked_for(encode, number_of):
    frames = open_source(str(encode(frames=6, fps=10)), fps=5)

    assert [number_of(frame.image) for frame in frames] == [0, 2, 4]


def test_natural_order_counts():
    names = ["clip10", "clip2", "a/clip1", "clip", "10", "9"]

    assert sorted(names, key=natural_key) == ["9", "10", "a/clip1", "clip", "clip2", "clip10"]


@pytest.fixture
def three(encode, tmp_path):
    for name in ("clip10.mp4", "clip2.mp4", "sub/clip1.mkv"):
        encode(f"in/{name}", frames=2)
    (tmp_path / "in" / "notes.txt").write_text("no video")
    (tmp_path / "in" / ".hidden.mp4").write_text("no video")
    return tmp_path / "in"


def short(frames, folder):
    return [(frame.name.removeprefix(f"{folder}/"), frame.index) for frame in frames]


def test_a_folder_gives_its_files_in_natural_order(three):
    assert short(open_source(str(three)), three) == [
        ("clip2.mp4", 0),
        ("clip2.mp4", 1),
        ("clip10.mp4", 0),
        ("clip10.mp4", 1),
        ("sub/clip1.mkv", 0),
        ("sub/clip1.mkv", 1),
    ]
    assert [path.name for path in video_files(three)] == ["clip2.mp4", "clip10.mp4", "clip1.mkv"]


def test_a_glob_gives_the_files_it_matches(three):
    assert [name for name, _ in short(open_source(f"{three}/clip*.mp4"), three)] == [
        "clip2.mp4",
        "clip2.mp4",
        "clip10.mp4",
        "clip10.mp4",
    ]


def test_a_file_with_brackets_in_its_name_is_no_glob(encode):
    assert len(list(open_source(str(encode("clip[1].mp4", frames=2))))) == 2


def test_a_file_that_cannot_be_read_is_left_out_of_a_folder(three):
    (three / "clip3.mp4").write_text("not a video")

    with pytest.warns(RegateWarning, match=r"left out: cannot open .*clip3\.mp4"):
        names = [name for name, _ in short(open_source(str(three)), three)]

    assert len(names) == 6


@pytest.mark.filterwarnings("ignore::datamodules.errors.RegateWarning")
def test_sources_without_a_video_are_refused_at_once(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.mp4").write_text("not a video")
    for source, text in [
        (tmp_path / "empty", r"'.*empty' matches no video file; check the path"),
        (tmp_path / "bad", r"none of the 1 video files of '.*bad' can be read"),
        (tmp_path / "*.mp4", r"'.*\*\.mp4' matches no video file"),
        (tmp_path / "missing.mp4", r"there is no video at '.*missing\.mp4'; give a file, a folder"),
        ("97", r"there is no camera 97 \(/dev/video97\); connect one or give a file"),
        ("rtsp://127.0.0.1:9/x", r"cannot open rtsp://127\.0\.0\.1:9/x \(connection refused\)"),
        ("http://127.0.0.1:9/x.mp4", r"cannot open http://127\.0\.0\.1:9/x\.mp4 \(connection"),
    ]:
        with pytest.raises(RegateError, match=text):
            open_source(str(source))
    with pytest.raises(RegateError, match="fps must be above 0, got -1"):
        open_source("0", fps=-1)


def test_an_address_is_a_source(encode, number_of):
    path = encode(frames=3)
    handler = partial(SimpleHTTPRequestHandler, directory=str(path.parent))
    handler.func.log_message = lambda *_: None
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        source = f"http://127.0.0.1:{server.server_port}/{path.name}"
        frames = list(open_source(source))
    finally:
        server.shutdown()

    assert [number_of(frame.image) for frame in frames] == [0, 1, 2]
    assert {frame.name for frame in frames} == {source}


PIPE = """
from datamodules.errors import RegateError
from datamodules.sources import open_source
try:
    print(sum(1 for _ in open_source("-")))
except RegateError as error:
    print(error)
"""


def pipe(data, root):
    done = subprocess.run([sys.executable, "-c", PIPE], input=data, cwd=root, capture_output=True)
    return done.stdout.decode().strip()


def test_standard_input_is_a_source(encode, root):
    assert pipe(encode("video.ts", frames=5).read_bytes(), root) == "5"


def test_standard_input_without_a_video_is_refused(root):
    assert pipe(b"not a video" * 99, root).startswith("cannot open standard input (invalid data")


def test_a_new_size_in_mid_stream_simply_arrives(encode, tmp_path):
    # Transport streams can be joined like files.
    data = [encode(f"{h}.ts", frames=3, size=(h, 64)).read_bytes() for h in (32, 48)]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(data[0] + data[1])

    heights = [frame.image.shape[0] for frame in open_source(str(joined))]

    assert heights == [32, 32, 32, 48, 48, 48]


def test_a_folder_of_several_names_is_read_once_and_a_loop_ends(tmp_path):
    for name in ("in/real/1.mp4", "in/.hidden/2.mp4", "out/3.mp4"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    links = {"in/a": "in/real", "in/b": "out", "in/c": "out", "out/back": "in", "in/real/up": "in"}
    for link, target in links.items():
        (tmp_path / link).symlink_to(tmp_path / target)
    (tmp_path / "in" / ".d").symlink_to(tmp_path / "out")

    names = [path.relative_to(tmp_path).as_posix() for path in video_files(tmp_path / "in")]
    assert names == ["in/b/3.mp4", "in/real/1.mp4"]
