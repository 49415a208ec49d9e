"""The soak tells what is flat from what grows."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import soak


def _watched(grows: float) -> soak.Watch:
    """Two hundred looks of half a second at processes of 400 MiB, one of which grows by so much a look."""
    watch = soak.Watch()
    for k in range(200):
        watch.seconds.append(k / 2)
        # Both are filled first, and end with less.
        level = 100.0 if k < 20 or k > 196 else 400.0
        for name, more in (("run and scheduler", 0.0), ("worker 0", grows * k)):
            watch.mib.setdefault(name, []).append(level + more)
            watch.files.setdefault(name, []).append(46.0)
        watch.temporary.append(5.0)
    return watch


@pytest.mark.parametrize(("grows", "names"), [(0.0, []), (0.1, []), (0.5, ["memory of worker 0"])])
def test_what_grows_is_named(tmp_path: Path, grows: float, names: list[str]) -> None:
    summary = {"tiles": {"done": 1000, "all": 1000}, "seconds": {"all": 100.0}, "tasks": 1000}
    told = soak.account(_watched(grows), summary, tmp_path)
    assert [what for what, _, _ in soak.judged(told["last_quarter_over_second"])] == names
    assert told["kib_per_tile_in_second_half"]["run and scheduler"] == pytest.approx(0.0, abs=0.01)
    # Half of the looks for half of the tiles.
    assert told["kib_per_tile_in_second_half"]["worker 0"] == pytest.approx(grows * 1024 * 0.194, rel=0.05)
