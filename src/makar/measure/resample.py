"""How far a figure would move with other samples: the jackknife."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

GROUPS = 10


def jackknife(measure: Callable[..., Mapping[str, float]], *samples: Tensor, groups: int = GROUPS) -> dict[str, float]:
    """Standard errors of figures, by leaving out a tenth of the rows of every sample in turn.

    Rows are never taken twice: a distance between sets, or to neighbours, would see copies that are none.

    Args:
        measure: From the samples to figures by name.
        samples: Independent of each other, and each of independent rows.
        groups: How many parts each is cut in; fewer where there are fewer rows.

    Paper: Shao & Wu 1989, "A general theory for jackknife variance estimation", eq. 2.3.
    """
    groups = min(groups, *(len(sample) // 2 for sample in samples))
    if groups < 2:
        return {}
    found: list[Mapping[str, float]] = []
    for group in range(groups):
        kept = [sample[torch.arange(len(sample)) % groups != group] for sample in samples]
        found.append(measure(*kept))
    values = {name: torch.tensor([each[name] for each in found], dtype=torch.float64) for name in found[0]}
    return {name: float(each.std(correction=0)) * (groups - 1) ** 0.5 for name, each in values.items()}
