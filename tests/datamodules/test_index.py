import os

import pytest

from datamodules.errors import RegateError
from datamodules.index import find_videos


@pytest.fixture
def tree(tmp_path):
    """Make empty files of the given names: an index does not look into them."""

    def make(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return make


def rows(entries):
    return [(e.name, e.label, e.group, e.split) for e in entries]


def test_folders_are_classes(tree):
    root = tree("kick/2.mp4", "kick/10.mp4", "hug/a/1.AVI", "hug/notes.txt")

    assert rows(find_videos(root)) == [
        ("hug/a/1.AVI", "hug", "hug/a/1.AVI", None),
        ("kick/2.mp4", "kick", "kick/2.mp4", None),
        ("kick/10.mp4", "kick", "kick/10.mp4", None),
    ]


def test_bytes_of_a_name_that_are_no_text_are_written_out(tmp_path):
    for folder in (b"caf\xe9", b"bar"):
        os.mkdir(os.path.join(os.fsencode(tmp_path), folder))
    try:
        os.close(os.open(os.path.join(os.fsencode(tmp_path), b"caf\xe9/1\xff.mp4"), os.O_CREAT))
    except OSError:
        pytest.skip("this file system takes no such name")
    (tmp_path / "bar/ü.mp4").touch()

    found = find_videos(tmp_path)

    assert rows(found) == [
        ("bar/ü.mp4", "bar", "bar/ü.mp4", None),
        ("caf\\xe9/1\\xff.mp4", "caf\\xe9", "caf\\xe9/1\\xff.mp4", None),
    ]
    assert all(entry.path.exists() for entry in found)
    "".join(entry.name for entry in found).encode()


@pytest.mark.parametrize(
    "names", [("a.mp4", "b.mkv"), ("a.mp4", "x/b.mkv"), ("x/a.mp4", "x/b.mkv")]
)
def test_loose_files_are_unlabelled_and_each_its_own_group(tree, names):
    assert rows(find_videos(tree(*names))) == [(name, None, name, None) for name in names]


def test_split_folders_are_splits(tree):
    root = tree("test/hug/1.mp4", "train/hug/2.mp4", "train/kick/3.mp4", "val/kick/4.mp4")

    assert [(e.label, e.split) for e in find_videos(root)] == [
        ("hug", "test"),
        ("hug", "train"),
        ("kick", "train"),
        ("kick", "calibration"),
    ]


def table(root, text, name="list.csv"):
    (root / name).write_text(text)
    return root


def test_a_table_states_labels_groups_and_splits(tmp_path):
    root = table(
        tmp_path,
        "\ufeffpath,label,group,split\nb.mp4,hug,s1,train\na.mp4,,s2,Validation\nc.mp4,kick,,test\n",
    )

    assert rows(find_videos(root, "list.csv")) == [
        ("b.mp4", "hug", "s1", "train"),
        ("a.mp4", None, "s2", "calibration"),
        ("c.mp4", "kick", "c.mp4", "test"),
    ]
    assert find_videos(root, "list.csv")[0].path == root / "b.mp4"


def test_the_group_column_can_be_named(tmp_path):
    root = table(tmp_path, "path,label,sequence\na.mp4,hug,7\nb.mp4,hug,7\n")

    assert [e.group for e in find_videos(root, "list.csv", "sequence")] == ["7", "7"]
    assert [e.group for e in find_videos(root, "list.csv")] == ["a.mp4", "b.mp4"]


def test_ut_interaction_is_understood(assets):
    entries = find_videos(assets / "ut-interaction", "annotations.csv", "sequence")

    assert len(entries) == 218
    assert {e.group for e in entries} == {str(i) for i in range(1, 21)}
    assert sum(e.label == "kick" for e in entries) == 20
    assert all(e.path.is_file() for e in entries)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("file,label\na.mp4,x\n", r"has no column 'path', only file, label; name its columns"),
        ("", r"has no column 'path', only none"),
        ("path,label\n", r"lists no video; add lines below"),
        ("path\na.mp4\na.mp4\n", r"lists a\.mp4 twice; remove one"),
        ("path\na.mp4\n./a.mp4\n", r"lists \./a\.mp4 twice; remove one"),
        ("path\na.mp4\nx/../a.mp4\n", r"lists x/\.\./a\.mp4 twice; remove one"),
        ("path,split\na.mp4,dev\n", r"has split 'dev' for a\.mp4; use train, calibration"),
    ],
)
def test_tables_that_make_no_sense_are_refused(tmp_path, text, error):
    with pytest.raises(RegateError, match=r"list\.csv " + error):
        find_videos(table(tmp_path, text), "list.csv")


def test_what_is_not_there_is_refused_by_name(tmp_path):
    with pytest.raises(RegateError, match=r"there is no folder .*nowhere; set --data\.root"):
        find_videos(tmp_path / "nowhere")
    with pytest.raises(RegateError, match=r"there is no table .*no\.csv; set --data\.csv"):
        find_videos(tmp_path, "no.csv")
    with pytest.raises(RegateError, match=r"holds no video file; set --data\.root"):
        find_videos(tmp_path)
    with pytest.raises(RegateError, match=r"group_column 'scene' needs a CSV; set --data\.csv"):
        find_videos(tmp_path, None, "scene")
    table(tmp_path, "path\na.mp4\n")
    with pytest.raises(RegateError, match=r"has no column 'scene', only path"):
        find_videos(tmp_path, "list.csv", "scene")


def test_spaces_beside_the_commas_of_a_table_say_nothing(tree):
    root = tree("a.mp4", "b.mp4")
    (root / "t.csv").write_text("path, label, group\na.mp4, x, room 0\nb.mp4, y , room 0\n")

    assert rows(find_videos(root, "t.csv")) == [
        ("a.mp4", "x", "room 0", None),
        ("b.mp4", "y", "room 0", None),
    ]


def test_a_table_that_is_not_utf8_is_told(tree):
    root = tree("a.mp4")
    (root / "t.csv").write_bytes("path,label\na.mp4,café\n".encode("latin-1"))

    with pytest.raises(RegateError, match=r"t\.csv is not UTF-8 \(.*\); save it as UTF-8\.$"):
        find_videos(root, "t.csv")


def test_digits_that_are_no_numbers_may_be_in_names(tree):
    names = ("\u24601.mp4", "1\u00b22.mp4")
    assert {entry.name for entry in find_videos(tree(*names))} == set(names)


@pytest.mark.parametrize("split", ["", "train/"])
def test_a_file_beside_the_folders_of_classes_is_the_only_one_without_a_label(tree, split):
    root = tree(*(split + name for name in ("a.mp4", "hug/b.mp4", "kick/c.mp4")))

    assert [e.label for e in find_videos(root)] == [None, "hug", "kick"]


@pytest.mark.parametrize(
    ("names", "folder", "outside"),
    [
        (("train/hug/1.mp4", "val/hug/2.mp4", "extra/3.mp4"), "train", "extra/3.mp4"),
        (("Test/1.mp4", "kick/2.mp4"), "Test", "kick/2.mp4"),
        (("train/1.mp4", "2.mp4"), "train", "2.mp4"),
    ],
)
def test_split_folders_beside_others_are_no_classes(tree, names, folder, outside):
    with pytest.raises(RegateError) as refused:
        find_videos(tree(*names))
    assert str(refused.value).endswith(
        f" has the split folder '{folder}', but {outside} is in none: move it into one, rename "
        "the folder if it is a class, or state both by --data.csv."
    )


def test_a_class_may_be_a_link(tree):
    root = tree("in/kick/1.mp4", "elsewhere/2.mp4", "elsewhere/more/3.mp4") / "in"
    (root / "hug").symlink_to(root.parent / "elsewhere")

    assert [(e.name, e.label) for e in find_videos(root)] == [
        ("hug/2.mp4", "hug"),
        ("hug/more/3.mp4", "hug"),
        ("kick/1.mp4", "kick"),
    ]
