"""The environment: the contract of gymnasium, and that it trains what is served."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from torch import nn

from datamodules.errors import RegateError
from policy.gates import SteeredGate
from policy.rl.environment import TokenReuseEnv
from policy.rl.vector import TokenReuseVectorEnv
from policy.session import ReuseSession


@pytest.mark.parametrize("actions", ["box", "discrete", "tokens"])
def test_gymnasium_finds_no_fault(actions, settings):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make(
            "policy:regate/TokenReuse-v0", actions=actions, render_mode="rgb_array", **settings
        )
        check_env(env.unwrapped)


@pytest.mark.parametrize(("actions", "groups"), [("box", 1), ("box", 2), ("discrete", 1)])
def test_one_by_one_and_in_a_batch_the_rollouts_are_identical(actions, groups, settings):
    """Clips of two lengths, so that environments end and begin at different times."""
    settings |= {"actions": actions, "groups": groups}
    alone = SyncVectorEnv(
        [lambda: TokenReuseEnv(**settings)] * 3, autoreset_mode=AutoresetMode.SAME_STEP
    )
    batch = TokenReuseVectorEnv(3, **settings)
    assert alone.action_space == batch.action_space
    assert alone.observation_space == batch.observation_space
    first, second = alone.reset(seed=7), batch.reset(seed=7)
    assert_same(first, second)
    batch.action_space.seed(0)
    ends = []
    for _ in range(6):
        action = batch.action_space.sample()
        first, second = alone.step(action), batch.step(action)
        assert_same(first, second)
        ends.append(tuple(second[3].tolist()))
    assert len(set(ends)) > 2, "some ended while others went on"


def assert_same(first, second):
    """Gymnasium's own tuple of results twice; numbers equal but for how batches are added up."""
    for one, other in zip(first[:-1], second[:-1], strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)
    assert_same_infos(first[-1], second[-1])


def assert_same_infos(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        if isinstance(value, dict):
            assert_same_infos(value, other[name])
        elif value.dtype == object and name == "final_obs":
            for left, right in zip(value, other[name], strict=True):
                assert (left is None) == (right is None)
                if left is not None:
                    np.testing.assert_allclose(left, right, atol=2e-5)
        elif value.dtype.kind == "f":
            np.testing.assert_allclose(value, other[name], atol=2e-5, err_msg=name)
        else:
            assert value.tolist() == other[name].tolist(), name


class Reflex(nn.Module):
    def __init__(self, gate):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.layer = nn.Linear(gate.observation_size, gate.action_size)

    def forward(self, observations):
        return self.layer(observations).tanh()


@pytest.mark.parametrize("groups", [1, 2])
def test_what_is_trained_is_what_is_served(groups, digits, clips):
    """Acting with the actor's own answers is the session that serves the gate, to the last bit."""
    gate = SteeredGate(groups, digits.depth)
    gate.actor = Reflex(gate)
    knobs = [-0.5, 0.5, 1.0]
    env = TokenReuseVectorEnv(3, backbone=digits, gate=gate, quality="kl")
    options = {"clips": clips, "knobs": knobs, "budgets": [0.2] * 3, "prices": [0.1] * 3}
    observations, _ = env.reset(options=options)
    spent, masks, logits = [], [], []
    for _ in range(3):
        with torch.no_grad():
            action = gate.actor(torch.from_numpy(observations)).numpy()
        observations, _, _, _, infos = env.step(action)
        spent.append(infos["spent"])
        masks.append(env.simulation._share)
    gate.steer(None)

    session = ReuseSession(digits, gate)
    session.knob = torch.tensor(knobs)
    frames = digits.normalize(clips)
    session.step(frames[:, 0])
    for index in range(3):
        result = session.step(frames[:, index + 1])
        assert result.spent.tolist() == spent[index].tolist()
        assert torch.equal(result.recompute.float().mean(1), masks[index])
        logits.append(result.logits)
    assert not torch.equal(masks[0], masks[1]), "the actor did something"


def test_the_reward_is_quality_minus_price_times_spent(digits, clips):
    env = TokenReuseVectorEnv(3, backbone=digits, gate=SteeredGate(), quality="agreement")
    options = {"clips": clips, "knobs": [0.5] * 3, "budgets": [0.2] * 3, "prices": [0.0, 0.5, 2.0]}
    env.reset(options=options)
    _, rewards, _, _, infos = env.step(np.zeros((3, 2), np.float32))

    assert infos["price"].tolist() == [0.0, 0.5, 2.0]
    assert np.allclose(infos["cost"], infos["price"] * infos["spent"])
    assert np.allclose(rewards, infos["quality"] - infos["cost"])
    assert infos["quality"].tolist() == infos["agreement"].tolist()
    assert set(infos["quality"]) <= {0.0, 1.0}


def test_recomputing_everything_is_as_good_as_dense(digits, clips, given):
    env = TokenReuseVectorEnv(3, backbone=digits, gate=SteeredGate(), quality="cosine")
    env.reset(options=given(clips, 5.0))
    _, _, _, _, infos = env.step(np.ones((3, 2), np.float32))
    assert np.allclose(infos["quality"], 1, atol=1e-5) and np.allclose(infos["kl"], 0, atol=1e-5)
    assert np.all(infos["spent"] > 1), "the gate's own work is on top"


def test_an_episode_has_a_step_for_each_frame_but_the_first_and_the_last(digits, clips, given):
    env = TokenReuseEnv(backbone=digits, gate=SteeredGate(), quality="kl")
    env.reset(options=given(clips[:1], 0.5))
    ends = []
    for _ in range(3):
        observation, _, terminated, truncated, _ = env.step(np.zeros(2, np.float32))
        ends.append((terminated, truncated))
    assert ends == [(False, False), (False, False), (False, True)]
    assert env.observation_space.contains(observation)
    with pytest.raises(RegateError, match=r"there is no episode to act in: call reset\(\) first"):
        env.step(np.zeros(2, np.float32))


def test_given_clips_end_with_their_own_last_observation(digits, clips, given):
    env = TokenReuseVectorEnv(3, backbone=digits, gate=SteeredGate(), quality="kl")
    env.reset(options=given(clips, 0.5))
    for _ in range(3):
        observations, _, _, truncated, infos = env.step(np.zeros((3, 2), np.float32))
    assert truncated.all()
    for stream in range(3):
        assert np.array_equal(infos["final_obs"][stream], observations[stream])
    assert "quality" in infos
    with pytest.raises(RegateError, match=r"call reset\(\) first"):
        env.step(np.zeros((3, 2), np.float32))


def test_repeated_clips_are_neighbours_that_share_their_references(
    digits, clips, monkeypatch, given
):
    env = TokenReuseVectorEnv(4, backbone=digits, gate=SteeredGate(), quality="kl")
    runs = []
    dense = env.world.dense
    monkeypatch.setattr(env.world, "dense", lambda clip: runs.append(clip.name) or dense(clip))
    observations, _ = env.reset(options=given(clips[:2], 0.5, repeats=2))
    assert runs == ["given/0", "given/1"]
    assert np.array_equal(observations[0], observations[1])
    assert not np.array_equal(observations[1], observations[2])


def test_the_reference_is_the_dense_output_on_the_undisturbed_frames(digits, clips, given):
    noisy = clips.clone()
    noisy[:, 1:, :, ::2] //= 3
    qualities = []
    for frames, clean in ((noisy, clips), (noisy, None)):
        env = TokenReuseVectorEnv(3, backbone=digits, gate=SteeredGate(), quality="kl")
        env.reset(options=given(frames, -9.0, clean=clean))
        qualities.append(env.step(np.ones((3, 2), np.float32))[-1]["kl"])
    assert np.allclose(qualities[1], 0, atol=1e-5)
    assert (qualities[0] > 1e-4).all()


def test_budget_and_price_come_from_the_calibrated_threshold(settings):
    env = TokenReuseEnv(**settings)
    budgets = []
    for seed in range(8):
        _, told = env.reset(seed=seed)
        budgets.append(told["budget"])
        assert told["knob"] == env.world.yardstick.knob(told["budget"])
        assert told["price"] == env.world.yardstick.price(told["budget"])
    assert 0.06 <= min(budgets) < 0.2 < max(budgets) <= 0.6


def test_budget_and_price_can_be_fixed(settings):
    env = TokenReuseEnv(budget=0.3, price=0.7, **settings)
    _, told = env.reset(seed=0)
    assert told["budget"] == pytest.approx(0.3) and told["price"] == 0.7


def test_a_seed_repeats_an_episode_and_none_goes_on(settings):
    env = TokenReuseEnv(**settings)
    seeds = (1, None, None, 1)
    told = [tuple(env.reset(seed=seed)[1].values()) for seed in seeds]
    assert told[0] == told[3] and len(set(told[:3])) == 3


def test_statistics_of_episodes_are_recorded_by_gymnasiums_own_wrapper(settings):
    env = RecordEpisodeStatistics(TokenReuseVectorEnv(2, **settings))
    env.reset(seed=0)
    total, ends = np.zeros(2), 0
    while not ends:
        _, rewards, _, truncated, infos = env.step(np.zeros((2, 2), np.float32))
        total += rewards
        ends = truncated.sum()
    assert np.allclose(infos["episode"]["r"][truncated], total[truncated])


def test_every_observation_is_an_array_of_its_own(settings):
    env = TokenReuseVectorEnv(2, **settings)
    first, _ = env.reset(seed=0)
    kept = first.copy()
    second = env.step(np.ones((2, 2), np.float32))[0]
    assert np.array_equal(first, kept) and not np.shares_memory(first, second)


def test_the_picture_shows_the_frame_and_what_was_recomputed(settings):
    env = TokenReuseEnv(render_mode="rgb_array", **settings)
    with pytest.raises(RegateError, match=r"there is no frame to show: call reset\(\) first"):
        env.render()
    env.reset(seed=0)
    pictures = [env.render()]
    env.step(np.array([-1, 0], np.float32))
    pictures.append(env.render())
    env.step(np.array([0, 1], np.float32))
    pictures.append(env.render())
    assert {(picture.shape, picture.dtype) for picture in pictures} == {
        (pictures[0].shape, np.dtype("uint8"))
    }
    light = [picture[:480].mean() for picture in pictures]
    assert light[1] < min(light[0], light[2]), "what is reused is dim"


def test_without_a_render_mode_there_is_no_picture(settings):
    env = TokenReuseEnv(**settings)
    env.reset(seed=0)
    assert env.render() is None and TokenReuseVectorEnv(1, **settings).render() is None


def test_the_middle_level_is_the_threshold(digits, clips, given):
    results = []
    for actions, action in (("box", np.zeros(2, np.float32)), ("discrete", np.array([2, 0]))):
        env = TokenReuseEnv(backbone=digits, gate=SteeredGate(), actions=actions, quality="kl")
        env.reset(options=given(clips[:1], 0.5))
        results.append(env.step(action)[1])
    assert results[0] == results[1]


def test_bits_per_patch_are_the_mask(digits, clips, given, moving_clips):
    env = TokenReuseEnv(backbone=digits, actions="tokens", quality="kl", data=moving_clips)
    assert env.action_space == gym.spaces.MultiBinary(144)
    env.reset(options=given(clips[:1], 0.5))
    told = env.action_space.sample()
    env.step(told)
    assert np.array_equal(env.simulation._share[0].numpy(), told)


@pytest.mark.parametrize(("classes", "quality"), [(10, "accuracy"), (3, "agreement")])
def test_what_is_rewarded_by_default_depends_on_classes_that_are_known_after_setup(
    classes, quality, settings, monkeypatch
):
    data = settings["data"]
    names = tuple(map(str, range(classes)))
    monkeypatch.setattr(data, "setup", lambda stage: setattr(data, "class_names", names))

    env = TokenReuseEnv(**settings | {"quality": None})
    assert env.world.quality == quality
