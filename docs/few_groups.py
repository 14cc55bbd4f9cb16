"""How often a gate is found to be better that is no better, and one that is, by the groups.

python docs/few_groups.py
"""

import numpy as np

from policy.budgets.fallback import verdicts
from policy.compare.records import FloatArray, Sweep

DESIGNS = ((2, 12), (3, 4), (4, 12), (6, 10), (12, 2), (24, 1))
"""Groups and clips of each."""
DRAWS = 1000
WIN = 0.2
NOISE = ((0.1, 0.3), (0.2, 0.1))
"""Of log KL, of the gate and of the threshold alike: between groups, and between clips of one."""
SPENT = np.array([0.05, 0.1, 0.2, 0.4, 0.8])


def main() -> None:
    """Print how often a gate is found better that is none, and one that is, for each noise."""
    heads = [f"{head}, noise {noise}" for noise in NOISE for head in ("no better", f"-{WIN:.0%}")]
    print(f"| groups, clips of each | {' | '.join(heads)} |\n" + "|---" * (1 + len(heads)) + "|")
    for groups, each in DESIGNS:
        shares = [share(groups, each, gain, noise) for noise in NOISE for gain in (0.0, WIN)]
        cells = " | ".join(f"{100 * found:.1f} %" for found in shares)
        print(f"| {groups}, {each} | {cells} |", flush=True)


def share(groups: int, each: int, gain: float, noise: tuple[float, float]) -> float:
    """Of draws in which the gate is favoured; KL differs twofold between groups and clips."""
    random = np.random.default_rng(0)
    names = tuple(f"g{place // each}" for place in range(groups * each))

    def spread(of_groups: float, of_clips: float) -> FloatArray:
        log = np.repeat(random.normal(0, of_groups, groups), each)
        return np.exp(log + random.normal(0, of_clips, len(names)))

    favoured = 0
    for _ in range(DRAWS):
        scale = spread(np.log(2), np.log(2))
        # The same noise, so that neither is better where there is no gain.
        gate, threshold = (scale * spread(*noise) for _ in range(2))
        gate *= 1 - gain
        (verdict,) = verdicts(_sweep(gate, names), _sweep(threshold, names), [0.1])
        favoured += verdict.favours
    return favoured / DRAWS


def _sweep(kl: FloatArray, groups: tuple[str, ...]) -> Sweep:
    values = kl[:, None] * np.ones(len(SPENT))
    spent = np.tile(SPENT, (len(kl), 1))
    clips = tuple(map(str, range(len(kl))))
    knobs = np.arange(len(SPENT), dtype=np.float64)
    return Sweep("gate", 0, knobs, spent, spent, {"kl": values}, {}, 1e6, clips, groups)


if __name__ == "__main__":
    main()
