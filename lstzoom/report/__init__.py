"""A result as one page: a map to swipe between input and result, figures in plain words, metadata.

The page holds everything that it needs, opens without a network, and asks for nothing. Pages are made of
parts that know nothing of one another: `scene` opens what is shown, `views` chooses and reads the pixels,
`sentences` says what the figures mean, `page` puts a `Page` into HTML. A report of another kind (of many
tiles, say) makes a `Page` of its own sections and shares the rest.
"""

from __future__ import annotations

from lstzoom.report.page import write_page
from lstzoom.report.scene import ReportScene, from_bundle, from_dataset, from_files
from lstzoom.report.write import write_report

__all__ = ["ReportScene", "from_bundle", "from_dataset", "from_files", "write_page", "write_report"]
