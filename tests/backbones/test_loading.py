"""Weights: random, local, pretrained, and everything that can be wrong with them."""

import pickle
import time
from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import save_file

from backbones import Preprocessing, load_backbone
from datamodules.errors import RegateError
from datamodules.geometry import ResizeCrop

NAME = "vit_tiny_patch16_224"
OPTIONS = r"give a local file \(weights=FILE, .safetensors or .pth\), fill the hub's cache"


@pytest.fixture(scope="module")
def trained():
    """A model with ten classes, as if somebody had trained it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return timm.create_model(NAME, num_classes=10).eval()


@pytest.fixture(params=["safetensors", "pth", "checkpoint"])
def file(request, trained, tmp_path):
    """Its weights in each form in which they are passed around."""
    path = tmp_path / f"weights.{request.param.replace('checkpoint', 'pth')}"
    if request.param == "safetensors":
        save_file(trained.state_dict(), path)
    elif request.param == "pth":
        torch.save(trained.state_dict(), path)
    else:
        torch.save({"epoch": 3, "state_dict": trained.state_dict()}, path)
    return str(path)


class TestRandomWeights:
    def test_they_are_the_same_on_every_call_and_leave_the_seed_alone(self):
        torch.manual_seed(1)
        expected = torch.rand(1)
        torch.manual_seed(1)
        first = load_backbone(NAME, weights="random")
        assert torch.equal(torch.rand(1), expected)
        assert load_backbone(NAME, weights="random").fingerprint == first.fingerprint

    def test_they_take_any_number_of_classes(self):
        assert load_backbone(NAME, weights="random", num_classes=3).num_classes == 3

    def test_the_embedded_default_is_known_by_name(self):
        backbone = load_backbone("regate_vit_digits", weights="random")
        assert backbone.image_size == (96, 96) and backbone.grid == (12, 12)
        assert backbone.num_classes == 10 and backbone.dim == 96


class TestLocalWeights:
    def test_they_come_back_as_they_were_with_their_own_classes(self, file, trained):
        backbone = load_backbone(NAME, weights=file)
        frames = torch.randn(1, 3, 224, 224)

        assert backbone.num_classes == 10
        assert torch.equal(backbone(frames), trained(frames))

    def test_the_right_number_of_classes_may_be_said(self, file, trained):
        """timm alone would drop this classifier without a word and put a random one there."""
        backbone = load_backbone(NAME, weights=file, num_classes=10)
        assert torch.equal(backbone.vit.head.weight, trained.head.weight)

    def test_zero_leaves_the_classifier_out(self, file, trained):
        backbone = load_backbone(NAME, weights=file, num_classes=0)
        frames = torch.randn(1, 3, 224, 224)

        expected = trained.forward_head(trained.forward_features(frames), pre_logits=True)
        assert backbone.num_classes == 0 and torch.equal(backbone(frames), expected)

    def test_another_number_is_refused(self, file):
        expected = r"has a classifier for 10 classes, but num_classes is 7: leave num_classes out"
        with pytest.raises(RegateError, match=expected):
            load_backbone(NAME, weights=file, num_classes=7)

    def test_weights_without_classifier_make_a_backbone_without(self, trained, tmp_path):
        tensors = {k: v for k, v in trained.state_dict().items() if not k.startswith("head.")}
        path = str(tmp_path / "headless.safetensors")
        save_file(tensors, path)
        assert load_backbone(NAME, weights=path).num_classes == 0
        assert load_backbone(NAME, weights=path, num_classes=0).num_classes == 0

    def test_another_image_size_resamples_the_positions_alone(self, file):
        small, usual = load_backbone(NAME, file, image_size=96), load_backbone(NAME, file)

        assert small.image_size == (96, 96) and small.resize_crop.size == (96, 96)
        assert small.num_tokens == 1 + 6 * 6
        assert small.fingerprint == usual.fingerprint
        assert small(torch.randn(1, 3, 96, 96)).shape == (1, 10)

    def test_a_missing_file_is_named(self):
        expected = f"no weights file 'nowhere.safetensors' for {NAME}: {OPTIONS}"
        with pytest.raises(RegateError, match=expected):
            load_backbone(NAME, weights="nowhere.safetensors")

    def test_weights_of_another_model_are_refused(self, file):
        expected = rf"cannot load '.*' into vit_small_patch16_224 \(.*\): {OPTIONS}"
        with pytest.raises(RegateError, match=expected):
            load_backbone("vit_small_patch16_224", weights=file)

    @pytest.mark.parametrize("classes", [None, 0])
    def test_weights_that_lack_a_tensor_are_refused(self, trained, tmp_path, classes):
        """Also where the classifier is left out, for which timm would load unstrictly."""
        tensors = dict(trained.state_dict())
        del tensors["blocks.3.attn.proj.weight"]
        path = str(tmp_path / "cut.safetensors")
        save_file(tensors, path)
        with pytest.raises(RegateError, match=r"Missing key.*blocks.3.attn.proj.weight"):
            load_backbone(NAME, weights=path, num_classes=classes)

    @pytest.mark.parametrize("suffix", ["safetensors", "pth"])
    def test_a_damaged_file_is_refused(self, tmp_path, suffix):
        path = tmp_path / f"damaged.{suffix}"
        path.write_bytes(b"\x07" * 100)
        with pytest.raises(RegateError, match=f"cannot load '.*damaged.{suffix}' into {NAME}"):
            load_backbone(NAME, weights=str(path))

    def test_a_pickle_that_would_run_code_is_refused(self, tmp_path):
        class Trap:
            def __reduce__(self):
                return (print, ("the trap was sprung",))

        path = tmp_path / "trap.pth"
        path.write_bytes(pickle.dumps({"head.weight": Trap()}, protocol=2))
        with pytest.raises(RegateError, match="weights_only=True blocked loading"):
            load_backbone(NAME, weights=str(path))

    def test_the_shared_vit_tiny_loads_with_its_own_normalisation(self, assets):
        file = assets / "weights" / "vit_tiny_patch16_224.safetensors"
        backbone = load_backbone(NAME, weights=str(file))
        assert backbone.num_classes == 1000 and backbone.resize_crop.crop_pct == 0.9
        assert backbone.mean.flatten().tolist() == backbone.std.flatten().tolist() == [0.5] * 3


class TestPretrainedWeights:
    def test_out_of_reach_they_are_refused_within_seconds(self):
        """The tests run with the hub's client switched off; see tests/conftest.py."""
        start = time.monotonic()
        expected = f"weights of {NAME} are not cached and the model hub is out of reach .*{OPTIONS}"
        with pytest.raises(RegateError, match=expected):
            load_backbone(NAME)
        assert time.monotonic() - start < 5

    @pytest.mark.parametrize(
        ("fault", "expected"),
        [
            (ConnectionError("no route"), r"out of reach \(ConnectionError\)"),
            (TimeoutError(), r"out of reach \(TimeoutError\)"),
            (RuntimeError("a proxy said no"), r"cannot be fetched \(RuntimeError\)"),
        ],
    )
    def test_whatever_the_hub_raises_the_local_options_are_named(
        self, monkeypatch, fault, expected
    ):
        def fail(*args, **options):
            raise fault

        monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", fail)
        with pytest.raises(RegateError, match=f"{expected}: {OPTIONS}"):
            load_backbone(NAME)

    def test_cached_they_load_without_asking_the_hub(self, monkeypatch, trained, tmp_path):
        path = tmp_path / "model.safetensors"
        tensors = dict(trained.state_dict())
        tensors["head.weight"], tensors["head.bias"] = torch.zeros(1000, 192), torch.ones(1000)
        save_file(tensors, path)
        monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: str(path))

        backbone = load_backbone(NAME)
        assert backbone.num_classes == 1000
        assert backbone(torch.randn(1, 3, 224, 224)).unique().tolist() == [1.0]

    def test_a_model_without_any_is_refused(self):
        with pytest.raises(RegateError, match="timm has no pretrained weights for vit_giant_patch"):
            load_backbone("vit_giant_patch14_224")

    def test_the_embedded_default_takes_another_image_size(self):
        usual, large = (load_backbone("regate_vit_digits", image_size=size) for size in (None, 128))

        assert (usual.grid, large.grid) == ((12, 12), (16, 16))
        assert large.fingerprint == usual.fingerprint
        assert large(torch.zeros(1, 3, 128, 128)).shape == (1, 10)


class TestNames:
    def test_an_unknown_name_is_refused_with_what_comes_close(self):
        expected = "timm knows no model 'vit_tiny_patch17_224': see vit_tiny_patch16_224, .*Covered"
        with pytest.raises(RegateError, match=expected):
            load_backbone("vit_tiny_patch17_224", weights="random")

    @pytest.mark.parametrize("weights", ["random", "pretrained", "some.safetensors"])
    def test_an_unknown_tag_is_refused_with_the_known_ones(self, weights):
        expected = rf"timm knows no weights '{NAME}.mine': choose one of {NAME}.augreg_in21k,"
        with pytest.raises(RegateError, match=expected):
            load_backbone(f"{NAME}.mine", weights=weights)

    def test_a_tag_chooses_the_data_config(self):
        assert load_backbone(f"{NAME}.augreg_in21k", weights="random").num_classes == 21843


class TestDataConfig:
    def test_it_is_the_models_own(self):
        backbone = load_backbone("deit_tiny_patch16_224", weights="random")
        assert backbone.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
        assert backbone.std.flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])
        assert backbone.resize_crop.crop_pct == 0.9
        assert backbone.resize_crop.interpolation == "bicubic"

    def test_it_can_be_overridden(self):
        backbone = load_backbone(
            "deit_tiny_patch16_224", "random", mean=(0.5,) * 3, std=(0.25,) * 3, crop_pct=1.0
        )
        assert backbone.mean.flatten().tolist() == [0.5] * 3
        assert backbone.std.flatten().tolist() == [0.25] * 3
        assert backbone.resize_crop.crop_pct == 1.0

    def test_one_value_says_all_of_it_and_a_keyword_wins_over_it(self):
        asked = Preprocessing(
            image_size=96, mean=(0.0,) * 3, std=(0.25,) * 3, crop_pct=0.5, interpolation="nearest"
        )
        backbone = load_backbone(
            "deit_tiny_patch16_224", "random", crop_pct=1.0, preprocessing=asked
        )

        assert backbone.preprocessing == replace(asked, crop_pct=1.0)
        assert backbone.resize_crop == ResizeCrop((96, 96), 1.0, "nearest")
        assert backbone.mean.flatten().tolist() == [0.0] * 3
        assert backbone.std.flatten().tolist() == [0.25] * 3

    @pytest.mark.parametrize(
        ("name", "size", "patch", "near"),
        [(NAME, 8, 16, 16), (NAME, 100, 16, 96), ("vit_small_patch14_dinov2", 224 + 7, 14, 224),
         ("vit_tiny_r_s16_p8_224", 100, 32, 96)],
    )  # fmt: skip
    def test_an_image_size_that_patches_do_not_fill_is_refused(self, name, size, patch, near):
        """timm would cut the edge off without a word, or make a model of no patches."""
        with pytest.raises(RegateError) as error:
            load_backbone(name, "random", image_size=size)
        assert str(error.value) == (
            f"image_size {size} cannot be cut into the patches of {name}, whose side is {patch} "
            f"pixels: give a multiple of {patch}, such as {near}"
        )

    def test_a_value_for_each_channel_is_needed(self):
        with pytest.raises(RegateError) as error:
            load_backbone(NAME, "random", mean=(0.5,))
        assert str(error.value) == (
            f"mean has 1 and std 3 values, but {NAME} takes 3 channels: give one value per channel"
        )
