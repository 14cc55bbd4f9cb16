import pytest

from backbones import load_backbone
from datamodules.errors import RegateError
from policy.serving.naming import class_names


def test_the_names_of_imagenet_are_known():
    names = class_names(load_backbone("vit_tiny_patch16_224", "random", image_size=32))

    assert len(names) == 1000
    assert (names[0], names[281]) == ("tench", "tabby")


def test_the_names_of_digits_are_digits():
    assert class_names(load_backbone("regate_vit_digits", "random")) == tuple("0123456789")


def test_a_backbone_without_classifier_has_no_names():
    backbone = load_backbone("vit_tiny_patch16_224", "random", image_size=32, num_classes=0)

    assert class_names(backbone) == ()


@pytest.mark.parametrize("as_file", [False, True])
def test_names_can_be_given_in_the_order_of_the_logits(tmp_path, as_file):
    backbone = load_backbone("vit_tiny_patch16_224", "random", image_size=32, num_classes=2)
    given = "cat, dog"
    if as_file:
        path = tmp_path / "names.txt"
        path.write_text("cat\ndog\n")
        given = str(path)

    assert class_names(backbone) == ()
    assert class_names(backbone, given) == ("cat", "dog")


def test_a_file_of_names_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes(b"caf\xe9\nb\n")
    with pytest.raises(RegateError, match=r"names\.txt is not UTF-8"):
        class_names(load_backbone("regate_vit_digits", "random"), str(path))


def test_too_few_names_are_refused():
    with pytest.raises(RegateError, match="has 10 classes, but class_names gives 2"):
        class_names(load_backbone("regate_vit_digits", "random"), "cat,dog")


def test_more_names_than_fit_a_path_can_be_given():
    backbone = load_backbone("vit_tiny_patch16_224", "random", image_size=32)
    names = tuple(f"class number {index}" for index in range(1000))

    assert class_names(backbone, ",".join(names)) == names
