"""The I/O floor: read all bands once, write one result as lstzoom does, and nothing in between.

Run as ``python -m benchmarks.floor LST OUT BAND...`` by the benchmarks. It uses rasterio alone: every
block of every file is decoded once, band by band, and a COG of the same kind is written.
"""

from __future__ import annotations

import sys

import rasterio
import rasterio.shutil
from rasterio.windows import Window

_SIDE = 1536


def main() -> None:
    """Read and write."""
    lst, out, *bands = sys.argv[1:]
    draft = f"{out}.part.tif"
    files = [rasterio.open(band) for band in bands]
    with rasterio.open(lst) as coarse:
        coarse.read(1)
    first = files[0]
    profile = {"driver": "GTiff", "dtype": "uint16", "count": 1, "nodata": 65535, "crs": first.crs}
    profile |= {"height": first.height, "width": first.width, "transform": first.transform}
    with rasterio.open(draft, "w", tiled=True, blockxsize=512, blockysize=512, **profile) as sink:
        for top in range(0, first.height, _SIDE):
            for left in range(0, first.width, _SIDE):
                size = min(_SIDE, first.width - left), min(_SIDE, first.height - top)
                window = Window(left, top, *size)
                blocks = [file.read(1, window=window) for file in files]
                sink.write(blocks[0], 1, window=window)
    # As `lstzoom.write.CogSink` has them, temporary overviews that are not compressed included.
    options = {"compress": "DEFLATE", "predictor": "YES", "overview_resampling": "AVERAGE"}
    options |= {"statistics": "YES", "num_threads": "2"}
    with rasterio.Env(COG_TMP_COMPRESSION="NONE"):
        rasterio.shutil.copy(draft, out, driver="COG", blocksize=512, **options)
    rasterio.shutil.delete(draft)


if __name__ == "__main__":
    main()
