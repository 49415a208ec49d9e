// Bokeh's canvases and tools take the focus and have no names. The maps around them have keys of their own that do
// the same, and a histogram has none to press, so the tabulator passes them by.
"use strict";
function passedBy(root) {
  for (const one of root.querySelectorAll("*")) {
    if (one.getAttribute("tabindex") === "0") one.tabIndex = -1;
    if (one.shadowRoot) passedBy(one.shadowRoot);
  }
}
