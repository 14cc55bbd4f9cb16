from timm.data import ImageNetInfo

from policy.compare.labels import why_no_accuracy

DIGITS = tuple("0123456789")


def test_the_digits_are_the_classes_of_the_digits_backbone(digits):
    assert why_no_accuracy(DIGITS, digits) is None


def test_as_many_classes_of_other_names_are_not_its_classes(digits):
    assert why_no_accuracy(tuple("abcdefghij"), digits) == (
        "the data's classes (a, b, c, …) are not those of regate_vit_digits (0, 1, 2, …)"
    )
    assert "(9, 8, 7, …) are not those of" in why_no_accuracy(DIGITS[::-1], digits)
    assert "(0, 1) are not those of" in why_no_accuracy(DIGITS[:2], digits)


def test_imagenet_goes_by_names_or_by_numbers_of_wordnet(make_backbone):
    backbone = make_backbone(num_classes=1000)
    synsets = ImageNetInfo().label_names()

    assert synsets[0] == "n01440764"
    assert why_no_accuracy(synsets, backbone) is None
    assert why_no_accuracy([f"class {index}" for index in range(1000)], backbone) == (
        "the data's classes (class 0, class 1, class 2, …) are not those of "
        "vit_tiny_patch16_224 (tench, goldfish, great white shark, …)"
    )


def test_where_nobody_names_the_classes_their_number_decides(backbone):
    assert backbone.num_classes == 7
    assert why_no_accuracy(tuple("abcdefg"), backbone) is None
    assert why_no_accuracy(("walk", "run"), backbone) == (
        "the data have 2 classes, vit_tiny_patch16_224 has 7"
    )


def test_without_labels_or_classifier_there_is_no_accuracy(make_backbone, digits):
    assert why_no_accuracy((), digits) == "the clips are unlabelled"
    assert why_no_accuracy(DIGITS, make_backbone(num_classes=0)) == (
        "vit_tiny_patch16_224 has no classifier"
    )
