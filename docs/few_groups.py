"""How often a gate that is no better is found to be better, by the number of groups.

python docs/few_groups.py
"""

import numpy as np

from policy.budgets.fallback import verdicts
from policy.compare.records import FloatArray, Sweep

DESIGNS = ((2, 12), (3, 4), (4, 12), (6, 10), (12, 2), (24, 1))
"""Groups and clips of each."""
DRAWS = 400
SPENT = np.array([0.05, 0.1, 0.2, 0.4, 0.8])


def main() -> None:
    """Print the share of draws in which pure noise favours the gate at a budget."""
    print("| groups, clips of each | found better |\n|---|---|")
    for groups, each in DESIGNS:
        print(f"| {groups}, {each} | {100 * share(groups, each):.1f} % |")


def share(groups: int, each: int) -> float:
    """Of draws in which the gate is favoured though it differs from the threshold by noise alone.

    Noise of a group is twice that of a clip.
    """
    random = np.random.default_rng(0)
    names = tuple(f"g{place // each}" for place in range(groups * each))
    threshold = np.ones((len(names), len(SPENT)))
    favoured = 0
    for _ in range(DRAWS):
        noise = np.repeat(random.normal(0, 0.1, groups), each)
        noise += random.normal(0, 0.05, len(names))
        gate = threshold + noise[:, None]
        (verdict,) = verdicts(_sweep(gate, names), _sweep(threshold, names), [0.1])
        favoured += verdict.favours
    return favoured / DRAWS


def _sweep(kl: FloatArray, groups: tuple[str, ...]) -> Sweep:
    spent = np.tile(SPENT, (len(kl), 1))
    clips = tuple(map(str, range(len(kl))))
    knobs = np.arange(len(SPENT), dtype=np.float64)
    return Sweep("gate", 0, knobs, spent, spent, {"kl": kl}, {}, 1e6, clips, groups)


if __name__ == "__main__":
    main()
