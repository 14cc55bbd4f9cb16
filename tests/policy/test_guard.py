"""What a guard can be asked, and what it refuses."""

import math

import pytest

from datamodules.errors import RegateError
from policy.guard import Guard


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"max_age": 0}, "max_age must be 1 frame or more, or none, got 0"),
        ({"check_every": -3}, "check_every must be 1 frame or more, or none, got -3"),
        ({"cap": 1.5}, r"cap must be in \(0, 1\], the fraction of .* MACs; got 1.5"),
        ({"jump": 0.0}, "jump must be > 0, relative to a token's norm, got 0"),
        ({"jump": math.nan}, "jump must be > 0, relative to a token's norm, got nan"),
        ({"max_age": math.nan}, "max_age must be 1 frame or more, or none, got nan"),
        ({"cap": math.nan}, "MACs; got nan"),
        ({"jumped_share": 1.0}, r"jumped_share must be in \[0, 1\), .* got 1"),
        ({"cap": 0.5, "check_every": 9}, "which a cap of 0.5 forbids: give one of check_every"),
    ],
)
def test_settings_out_of_range_are_refused(settings, sentence):
    with pytest.raises(RegateError, match=sentence):
        Guard(**settings)
