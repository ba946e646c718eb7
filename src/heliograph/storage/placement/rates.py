"""How often disks are to be drawn, so that groups of different disks still fill them in proportion.

Who draws until he has ``members`` different disks has each with less than its share where it is
large, for it cannot be had twice, and the small ones with more. What is drawn in such an order is
what rings first of exponential clocks, so that a disk drawn at rate p is among those drawn with
1 - exp(-p t), about; and p = -ln(1 - share) gives each its share, about. With few disks the
exact chances are computed, and the rates corrected until they fit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Of how many groups something has a member at most: what should be in all would be drawn for ever.
CERTAIN = 0.99
#: Above so many disks the simple formula is good to a percent, and the exact one takes long.
FEW = 64
#: Corrections, at most; and the error, of a share, at which they end.
_ROUNDS = 20
_CLOSE = 1e-3
#: Rates are rounded to so many digits, so that a machine's last bit makes no difference.
_DIGITS = 6
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(48)


def rates(weights: Floats, members: float) -> Floats:
    """At what rates to draw, so that each has its share of the members.

    ``weights``: above 0. ``members``: how many different ones are drawn each time; need not be
    whole, where that is a mean.
    """
    if len(weights) == 1 or members <= 1 or (weights == weights[0]).all():
        even: Floats = weights / weights.sum()
        return even
    shares = _shares(weights, members)
    wanted = -np.log1p(-shares)
    found = wanted / wanted.sum()
    count = round(members)
    if len(weights) <= FEW and count < len(weights) and abs(members - count) < 1e-9:
        for _ in range(_ROUNDS):
            chances = drawn(found, count)
            if np.abs(chances / shares - 1).max() < _CLOSE:
                break
            found = found * wanted / -np.log1p(-np.minimum(chances, 1 - 1e-9))
            found /= found.sum()
    return np.array([float(f"{rate:.{_DIGITS}g}") for rate in found])


def _shares(weights: Floats, members: float) -> Floats:
    """Of how many groups each should have a member; what is too large leaves it to the others."""
    shares: Floats = weights * (members / weights.sum())
    for _ in range(len(weights)):
        over = shares >= CERTAIN
        left = members - CERTAIN * np.count_nonzero(over)
        rest = shares[~over].sum()
        if left <= 0 or not rest or abs(left - rest) < 1e-9:
            break
        shares = np.where(over, CERTAIN, shares * (left / rest))
    return shares.clip(max=CERTAIN)


def drawn(found: Floats, members: int) -> Floats:
    """The chance of each to be among the first so many different ones that are drawn.

    With v = 1 - exp(-p t) the chance that one's clock rang by t, it is the mean over v of the
    chance that fewer than ``members`` of the others rang before.
    """
    v = (_NODES + 1) / 2
    # By one (row), moment at which it rings (column).
    times = -np.log1p(-v)[None, :] / found[:, None]
    # And by number of others that rang before, the last being ``members`` or more, left out.
    chances = np.zeros((len(found), len(v), members))
    chances[:, :, 0] = 1
    for other, rate in enumerate(found):
        rang = -np.expm1(-rate * times)
        rang[other] = 0
        rang = rang[:, :, None]
        more = chances[:, :, :-1] * rang
        chances *= 1 - rang
        chances[:, :, 1:] += more
    result: Floats = chances.sum(axis=2) @ (_WEIGHTS / 2)
    return result
