import re
from dataclasses import replace

import numpy as np
import pytest


def test_a_metric_of_the_wrong_shape_is_refused(make_sweep):
    sweep = make_sweep(spent=(0.1, 0.4), kl=(2.0, 1.0))

    text = re.escape("threshold: kl must be [clips, knobs] = (2, 2), got (2, 3)")
    with pytest.raises(ValueError, match=text):
        replace(sweep, metrics={"kl": np.zeros((2, 3))})


def test_an_unknown_metric_is_refused(make_sweep):
    with pytest.raises(ValueError, match=r"threshold: unknown metrics \['agrement'\]"):
        make_sweep(agrement=(0.0, 1.0))


def test_a_missing_group_is_refused(make_sweep):
    with pytest.raises(ValueError, match="threshold: 2 clips need as many groups, got 1"):
        replace(make_sweep(), groups=("a",))
