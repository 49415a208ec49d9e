"""Jobs run on a cluster: planned, driven tile by tile, recorded in the store, and taken up again."""
