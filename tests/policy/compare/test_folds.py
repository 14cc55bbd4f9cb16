"""Each group is compared once, at knobs found on the others."""

import numpy as np
import pytest

from datamodules.errors import RegateError
from datamodules.synthetic import SyntheticClips
from policy.compare.folds import deal_folds


@pytest.fixture
def data():
    return SyntheticClips(num_frames=2, calibration_clips=4, test_clips=9)


def test_one_fold_is_the_splits_as_they_are(data):
    (fold,) = deal_folds(data, 1)

    assert fold.calibration.names == data.dataset("calibration").names
    assert fold.test.names == data.dataset("test").names


def test_each_clip_is_compared_once_and_never_at_knobs_of_its_own_group(data):
    folds = deal_folds(data, 3)

    pool = [*data.dataset("calibration").names, *data.dataset("test").names]
    assert sorted(name for fold in folds for name in fold.test.names) == sorted(pool)
    for fold in folds:
        assert not set(fold.calibration.groups) & set(fold.test.groups)
        assert sorted([*fold.calibration.names, *fold.test.names]) == sorted(pool)


def test_a_fold_delivers_the_clips_that_it_names(data):
    fold = deal_folds(data, 3)[1]

    for place, name in enumerate(fold.test.names):
        assert fold.test[place].name == name
        assert fold.test[place].group == fold.test.groups[place]
    clips = fold.calibration_clips(2)
    assert [clip.name for clip in clips] == [fold.calibration.names[0], fold.calibration.names[-1]]
    assert np.array_equal(clips[0].frames, fold.calibration[0].frames)


def test_more_folds_than_groups_are_refused(data):
    groups = len({*data.dataset("calibration").groups, *data.dataset("test").groups})

    with pytest.raises(RegateError, match=f"{groups + 1} folds need as many groups.*have {groups}"):
        deal_folds(data, groups + 1)
