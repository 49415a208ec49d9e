"""From catalogues of real sources to the pair that `lstzoom.sharpen` takes.

`catalog` describes a source, `search` asks for its items, `pair` puts LST and reflectance of one place
together, `loading` makes lazy arrays of them, masked and scaled. `encoding`, `masks` and `signing` hold
one rule each; `reading` applies them inside the tasks.
"""
