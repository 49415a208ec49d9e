"""Mosaics of results over a lattice: where, warped once, merged by a rule, tile by tile.

The modules, in the order in which they use each other: `target` (pixels, tiles, what touches what), `scenes`
(what goes in), `warp` (a scene on the lattice), `merge` (the rules), `tiles` (one tile), `plan`, `ledger`,
`cog`, `items`, `make`. `seams` measures what can be seen of the edges of scenes, `simulated` makes a region
whose truth is known. The function is `lstzoom.mosaic`; the package has the plural, because a module may not
bear the name of an export.
"""
