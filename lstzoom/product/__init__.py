"""Product bundles as constellr publishes them: names, metadata, encodings, masks, and the way to arrays.

The contract is public documentation; no real bundle was at hand when this was written. What the documents
leave open is read tolerantly and said so where it matters (docs/bundle.md lists the assumptions).
"""

from __future__ import annotations

from lstzoom.product.bundle import Bundle, BundleArrays, open_bundle
from lstzoom.product.item import ingest
from lstzoom.product.masks import MaskRules
from lstzoom.product.outputs import Outputs, open_outputs
from lstzoom.product.publish import ProductPlan, publish

__all__ = [
    "Bundle",
    "BundleArrays",
    "MaskRules",
    "Outputs",
    "ProductPlan",
    "ingest",
    "open_bundle",
    "open_outputs",
    "publish",
]
