from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.crs import CRS

from lstzoom.errors import ConfigError, GridMismatchError, InputError
from lstzoom.mosaics.target import Lattice, Target, Tile, Window, cover, parts_of, region_on, touching, utm_of
from tests.mosaics.scenes_in_memory import grid_at

EUROPE = Lattice.of("EPSG:3035", 10)
WORLD = Lattice.of("EPSG:6933", 10)


def nodes(grid, lattice):
    """Centres of every pixel of a grid on a lattice, in its pixels."""
    column, row = np.meshgrid(np.arange(grid.shape.x) + 0.5, np.arange(grid.shape.y) + 0.5)
    x, y = grid.affine.c + grid.affine.a * column, grid.affine.f + grid.affine.e * row
    x, y = grid.crs.transformer_to_crs(lattice.crs)(x, y)
    return np.floor(-y / lattice.resolution).astype(int), np.floor(x / lattice.resolution).astype(int)


@settings(max_examples=40, deadline=None)
@given(
    st.floats(-9, 30),
    st.floats(36, 65),
    st.integers(3, 400),
    st.integers(3, 400),
    st.sampled_from([64, 100, 333]),
)
def test_every_pixel_of_a_scene_lies_in_a_tile_that_it_is_said_to_touch(
    lon, lat, rows, columns, tile
) -> None:
    zone = 32600 + int((lon + 180) // 6) + 1
    grid = grid_at(lon, lat, (rows, columns), f"EPSG:{zone}")
    (part,) = parts_of(grid, EUROPE)
    row, column = nodes(grid, EUROPE)
    assert part.window.top <= row.min() <= row.max() < part.window.bottom
    assert part.window.left <= column.min() <= column.max() < part.window.right
    needed = {
        Tile(*one)
        for one in np.unique(np.stack([row // tile, column // tile]).reshape(2, -1).T, axis=0).tolist()
    }
    found = set(touching(part, EUROPE, tile))
    assert needed <= found
    # And no tile that is further away than the outline is generous.
    for one in found:
        near = one.window(tile).grown(12)
        assert ((row >= near.top) & (row < near.bottom) & (column >= near.left) & (column < near.right)).any()


def test_tiles_are_those_of_odc_geo() -> None:
    target = Target(EUROPE, 512, (Tile(-6000, 8000), Tile(-5999, 8002)))
    for tile in target.tiles:
        assert target.spec[tile.spec_index] == EUROPE.geobox(tile.window(512))
    assert target.geobox.shape == (1024, 1536)
    assert target.slices(Tile(-5999, 8002)) == (slice(512, 1024), slice(1024, 1536))


def test_a_pixel_has_one_place_whatever_the_mosaic() -> None:
    one = EUROPE.geobox(Window(-300_000, -299_000, 400_000, 401_000))
    other = EUROPE.geobox(Window(-299_500, -299_000, 400_500, 401_000))
    assert one[500:, 500:] == other


def test_a_scene_across_the_antimeridian_lies_on_both_ends_of_a_cylinder() -> None:
    grid = grid_at(180.0, -17.0, (600, 800), "EPSG:32760")
    parts = parts_of(grid, WORLD)
    assert len(parts) == 2
    assert all(part.cut for part in parts)
    widths = [part.window.right - part.window.left for part in parts]
    # Half of it each and a step more, not once around the Earth.
    assert all(width < 600 for width in widths)
    row, column = nodes(grid, WORLD)
    inside = np.zeros(row.shape, bool)
    for part in parts:
        one = part.window
        inside |= (row >= one.top) & (row < one.bottom) & (column >= one.left) & (column < one.right)
    assert inside.all()


def test_the_same_scene_is_whole_in_utm() -> None:
    grid = grid_at(180.0, -17.0, (600, 800), "EPSG:32760")
    (part,) = parts_of(grid, Lattice.of("EPSG:32701", 10))
    assert not part.cut


def test_a_region_across_the_antimeridian_has_both_sides() -> None:
    region = region_on((179.5, -18.0, -179.5, -17.0), WORLD)
    assert shapely.get_num_geometries(region) == 2
    in_utm = region_on((179.5, -18.0, -179.5, -17.0), Lattice.of("EPSG:32760", 10))
    assert in_utm.bounds[2] - in_utm.bounds[0] < 120_000


def test_zones_are_those_of_the_middles_of_scenes() -> None:
    grids = [
        grid_at(lon, lat, (50, 50), crs)
        for lon, lat, crs in [
            (5.9, 50, "EPSG:32631"),
            (6.1, 50, "EPSG:32631"),
            (179.99, -17, "EPSG:32760"),
            (11, 60, "EPSG:3035"),
        ]
    ]
    assert utm_of(grids) == (CRS("EPSG:32631"), CRS("EPSG:32632"), CRS("EPSG:32760"))


def test_a_region_leaves_tiles_out() -> None:
    grid = grid_at(11.0, 48.0, (600, 600), "EPSG:32632")
    parts = [parts_of(grid, EUROPE)]
    everything = cover(parts, EUROPE, 256)
    part = cover(parts, EUROPE, 256, region_on((11.0, 48.0, 11.001, 48.001), EUROPE))
    assert 0 < len(part) < len(everything)
    assert all(numbers == (0,) for numbers in everything.values())


def test_what_cannot_be_is_told() -> None:
    with pytest.raises(ConfigError, match="no CRS that is known"):
        Lattice.of("EPSG:999999", 10)
    with pytest.raises(ConfigError, match="positive number"):
        Lattice.of("EPSG:3035", -10)
    with pytest.raises(ConfigError, match="neither projected"):
        Lattice.of("EPSG:4978", 10)
    with pytest.raises(GridMismatchError, match="no scene touches"):
        Target(EUROPE, 512, ())
    with pytest.raises(ConfigError, match="64 to"):
        Target(EUROPE, 20, (Tile(0, 0),))
    with pytest.raises(InputError, match="longitude and latitude"):
        region_on((600000, 5000000, 610000, 5010000), EUROPE)
