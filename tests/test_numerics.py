"""Single precision costs less than is stored."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.numerics import DOUBLE, compared, in_double, make, results


@pytest.mark.slow
def test_single_precision_is_enough() -> None:
    """The package beside a copy of it in double precision, whose trees take the same branches."""
    given = make(210)
    one, other = in_double(given, *DOUBLE["double precision, where trees take the same branches"])
    assert other["lst_0"].dtype == np.float64
    told = compared(one, other)
    assert not told["lst"]["same_bits"]
    assert told["lst"]["max"] <= 0.001
    assert told["lst_uncertainty"]["max"] <= 0.001
    assert told["other_flags"] == 0


def test_the_same_seed_gives_the_same_bits() -> None:
    given = make(90)
    told = compared(results(given), results(given))
    assert told["lst"]["same_bits"]
    assert told["lst_uncertainty"]["same_bits"]
    assert told["other_flags"] == 0
