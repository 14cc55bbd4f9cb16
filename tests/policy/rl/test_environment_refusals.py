"""What the environment refuses, and that a refusal leaves it as it was."""

import numpy as np
import pytest
import torch

from datamodules.errors import RegateError
from policy.gates import SteeredGate
from policy.rl.environment import TokenReuseEnv
from policy.rl.vector import TokenReuseVectorEnv


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"quality": "beauty"}, "quality must be one of accuracy, agreement, kl, cosine"),
        ({"actions": "dance"}, "actions must be one of box, discrete, tokens, got 'dance'"),
        ({"actions": "tokens", "groups": 2}, "one mask for all blocks: groups=1, not 2"),
        ({"groups": 9}, "a steered gate takes 1 to 4 block groups for 4 blocks, got 9"),
        ({"budget": (0.5, 0.1)}, "the budget range must ascend, got 0.5 to 0.1"),
        ({"price": -1.0}, "price must be 0 or more, got -1"),
        ({"calibration_clips": 0}, "calibration_clips must be at least 1, got 0"),
        ({"render_mode": "human"}, "render_mode must be rgb_array or None, got 'human'"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(arguments, sentence, settings):
    with pytest.raises(RegateError) as refused:
        TokenReuseEnv(**(settings | arguments))
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"clip": 1}, "reset knows no option 'clip': choose from clips, labels"),
        ({"clip": 1, 2: 3}, "reset knows no option 2: choose from clips, labels"),
        ({"budgets": [0.1, 0.2]}, "the option budgets must be 3 finite numbers, one per"),
        ({"knobs": "high"}, "the option knobs must be 3 finite numbers, one per environment, got"),
        ({"prices": [0, 1, None]}, "the option prices must be 3 finite numbers, one per"),
        ({"budgets": [0.1, 0.2, np.inf]}, "one per environment, got [0.1, 0.2, inf]"),
        ({"prices": [0.1, -1, 0]}, "the option prices must be 0 or more, got [0.1, -1.0, 0.0]"),
        ({"labels": np.full((3, 5), 0.5)}, "the option labels must be whole numbers, got"),
        ({"clean": np.zeros((3, 5, 3, 96, 96))}, "the option clean must be uint8 like the clips"),
        ({"clips": "some.mp4"}, "the option clips must be a tensor, or an array, got 'some.mp4'"),
        ({"labels": [[1], [2, 3]]}, "the option labels must be a tensor, or an array, got"),
        ({"clips": torch.zeros(3, 5, 3, 8, 8)}, "must be uint8 [clips, frames, 3, 96, 96]"),
        ({"repeats": 2}, "3 clips times 2 repeats do not make 3 environments"),
        ({"repeats": 0}, "the option repeats must be a whole number above 0, got 0"),
        ({"labels": [1, 2]}, "the option labels must have shape [3, 5] like the clips, got [2]"),
    ],
)
def test_options_that_do_not_fit_are_refused_in_a_sentence(options, sentence, digits, clips, given):
    env = TokenReuseVectorEnv(3, backbone=digits, gate=SteeredGate(), quality="kl")
    with pytest.raises(RegateError) as refused:
        env.reset(options=given(clips, 0.5) | options)
    assert sentence in str(refused.value)


def test_labels_of_other_classes_are_refused_where_they_count(digits, clips, given):
    env = TokenReuseVectorEnv(3, backbone=digits, gate=SteeredGate(), quality="accuracy")
    with pytest.raises(RegateError, match="labels must be below 10, the classes of regate_vit_d"):
        env.reset(options=given(clips, 0.5, labels=np.full((3, 5), 10)))


def test_options_of_clips_need_clips(settings):
    env = TokenReuseVectorEnv(1, **settings)
    for option in ({"repeats": 7}, {"labels": [[1]]}, {"clean": [1]}):
        with pytest.raises(RegateError, match="is of clips of one's own: give clips too"):
            env.reset(options=option)


def test_flipped_arrays_and_numbers_of_numpy_are_taken_as_what_they_show(digits, clips, given):
    env = TokenReuseVectorEnv(6, backbone=digits, gate=SteeredGate(), quality="kl")
    flipped = np.asarray(clips)[..., ::-1]

    expected, _ = env.reset(seed=3, options=given(flipped.copy(), 0.5, repeats=2))
    seen, _ = env.reset(seed=np.int64(3), options=given(flipped, 0.5, repeats=np.int64(2)))
    unflipped, _ = env.reset(seed=3, options=given(clips, 0.5, repeats=2))

    assert np.array_equal(seen, expected)
    assert not np.array_equal(seen, unflipped)


def test_a_reset_that_is_refused_leaves_the_episodes_as_they_were(settings):
    env = TokenReuseVectorEnv(1, **settings)
    env.reset(seed=0)
    still = np.zeros(env.action_space.shape, np.float32)
    with pytest.raises(RegateError, match="the option clips must be uint8"):
        env.reset(options={"clips": np.zeros(3)})
    ended = np.zeros(1)
    while not ended.any():
        *_, ended, infos = env.step(still)
    assert "final_info" in infos, "drawn episodes are followed by the next"
    env.step(still)


def test_clips_too_short_or_without_labels_are_refused(digits, clips, given):
    env = TokenReuseVectorEnv(3, backbone=digits, gate=SteeredGate(), quality="accuracy")
    with pytest.raises(RegateError, match="given/0 has frames without a label, on which there is"):
        env.reset(options=given(clips, 0.5))
    with pytest.raises(RegateError, match="at least 3 frames, but given/0 has 2"):
        env.reset(options=given(clips[:, :2], 0.5))


def test_another_backbone_needs_clips(make_backbone):
    env = TokenReuseVectorEnv(1, backbone=make_backbone(), gate=SteeredGate())
    with pytest.raises(RegateError, match="needs clips: give it data, or pass clips"):
        env.reset()


@pytest.mark.parametrize(
    ("action", "sentence"),
    [
        (np.zeros(3, np.float32), r"an action for this environment has shape \[2\], got \[3\]"),
        (np.array([np.nan, 0], np.float32), "the action has NaN or infinite values"),
    ],
)
def test_actions_that_do_not_fit_are_refused_in_a_sentence(action, sentence, digits, clips, given):
    env = TokenReuseEnv(backbone=digits, gate=SteeredGate(), quality="kl")
    env.reset(options=given(clips[:1], 0.5))
    with pytest.raises(RegateError, match=sentence):
        env.step(action)


def test_a_level_that_does_not_exist_is_refused(digits, clips, given):
    env = TokenReuseEnv(backbone=digits, gate=SteeredGate(), actions="discrete", quality="kl")
    env.reset(options=given(clips[:1], 0.5))
    env.step(np.array([2.0, 0.0]))  # whole numbers of another type do
    with pytest.raises(RegateError, match="the action is outside MultiDiscrete"):
        env.step(np.array([1.5, 0.0]))
    with pytest.raises(RegateError, match="the action is outside MultiDiscrete"):
        env.step(np.array([5, 0]))


@pytest.mark.parametrize("make", [TokenReuseEnv, TokenReuseVectorEnv])
def test_options_that_are_no_dict_are_refused(make, digits):
    env = make(backbone=digits, gate=SteeredGate(), quality="kl")
    with pytest.raises(RegateError, match=r"options of reset must be a dict, of clips, .* got 5"):
        env.reset(options=5)


def test_a_seed_may_be_a_tuple_but_no_word(settings):
    env, other = (TokenReuseVectorEnv(2, **settings) for _ in range(2))

    told, expected = (e.reset(seed=seed)[1] for e, seed in ((env, (3, 5)), (other, [3, 5])))
    assert told["budget"].tolist() == expected["budget"].tolist()
    with pytest.raises(RegateError, match="1 seeds do not fit 2 environments"):
        env.reset(seed=(3,))
    with pytest.raises(RegateError, match=r"a list of one per environment, or None, got 'x'"):
        env.reset(seed="x")
