"""The most that is held at once."""

import torch

from policy.bench.memory import peak_bytes


def test_what_is_freed_on_the_way_does_not_add_up(capfd):
    start = torch.zeros(1000, 1000)

    def chain(value):
        for _ in range(5):
            value = value + 1
        return value

    peak = peak_bytes(start.device, chain, start)

    assert 8_000_000 <= peak < 8_010_000  # a sum and the one before it
    assert capfd.readouterr().err == ""
