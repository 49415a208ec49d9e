// The map is Bokeh's: two figures on the same ranges, one above the other, the upper one cut at the divider.
// This file unpacks the layers, keeps the two figures in step with the controls, and reads values.
"use strict";
(async () => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const MISSING = 65535;
  const sides = ["left", "right"];
  const state = { ...data.views[0].start, unit: "C", swipe: 50, cross: null, chosen: false };
  let view = data.views[0];

  // Unpacking

  async function inflate(text) {
    const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).arrayBuffer();
  }
  async function unpack(one) {
    const stored = new Uint16Array(await inflate(one.data));
    const values = new Float32Array(stored.length);
    for (let k = 0; k < stored.length; k++) {
      values[k] = stored[k] === MISSING ? NaN : stored[k] * one.scale + one.offset;
    }
    return { values, rows: one.shape[0], columns: one.shape[1] };
  }
  async function prepare(one) {
    if (one.arrays) return;
    const names = Object.keys(one.layers);
    const unpacked = await Promise.all(names.map((name) => unpack(one.layers[name])));
    one.arrays = Object.fromEntries(names.map((name, k) => [name, unpacked[k]]));
    const { fine, coarse } = one.arrays;
    // A view that is thinned out, of a result alone, has no coarse pixels of its own.
    if (!coarse) return;
    const added = new Float32Array(fine.values.length);
    for (let y = 0, k = 0; y < fine.rows; y++) {
      const above = Math.floor(y * coarse.rows / fine.rows) * coarse.columns;
      for (let x = 0; x < fine.columns; x++, k++) {
        added[k] = fine.values[k] - coarse.values[above + Math.floor(x * coarse.columns / fine.columns)];
      }
    }
    one.arrays.added = { values: added, rows: fine.rows, columns: fine.columns };
  }

  // Bokeh's models

  while (!window.Bokeh || !Bokeh.documents.length || !Bokeh.documents[0].is_idle) {
    await new Promise((done) => setTimeout(done, 20));
  }
  const model = (name) => Bokeh.documents[0].get_model_by_name(name);
  const [xs, ys] = [model("x"), model("y")];
  // Arrays of Bokeh's own kind, made as the small one that came with the page.
  const NDArray = model("left-image").data.image[0].constructor;

  function show(side) {
    const layer = data.layers[state[side]];
    const place = { x: [view.left], y: [view.top], dw: [view.width], dh: [view.height] };
    const picture = state[side] === "rgb";
    model(`${side}-raster`).visible = !picture;
    model(`${side}-picture`).visible = picture;
    if (picture) {
      model(`${side}-rgb`).data = { url: [view.rgb], ...place };
    } else {
      const one = view.arrays[state[side]];
      const mapper = model(`${side}-colours`);
      mapper.setv({ palette: layer.palette, low: layer.low, high: layer.high });
      const image = new NDArray(one.values.buffer, [one.rows, one.columns]);
      model(`${side}-image`).data = { image: [image], ...place };
    }
    at(`tag-${side}`).textContent = layer.title;
  }
  function showBoth() {
    sides.forEach(show);
    legends();
  }

  // Legends and numbers

  const celsius = () => state.unit === "C";
  const kelvin = (value) => (celsius() ? value - 273.15 : value);
  const unit = (layer) => (layer.kind === "kelvin" ? (celsius() ? "°C" : "K") : layer.unit);
  const number = (layer, value, digits) =>
    (layer.kind === "kelvin" ? kelvin(value) : value).toFixed(digits).replace("-", "−");

  function element(name, text, attributes = {}) {
    const made = document.createElement(name);
    made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }
  function legends() {
    const [left, right] = sides.map((side) => data.layers[state[side]]);
    const shared = left.kind === "kelvin" && right.kind === "kelvin";
    legend("left", left, shared ? "Both: land surface temperature" : `Left: ${left.title}`);
    if (shared) at("legend-right").replaceChildren();
    else legend("right", right, `Right: ${right.title}`);
    at("legend-right").hidden = shared;
  }
  function legend(side, layer, words) {
    const caption = element("figcaption", words + (unit(layer) ? `, ${unit(layer)}` : ""));
    const parts = [caption];
    if (layer.kind === "classes") {
      const list = element("ul", "", { class: "classes" });
      for (const one of layer.classes) {
        const item = element("li", "");
        item.append(element("i", "", { style: `background:${one.colour}` }), one.label);
        list.append(item);
      }
      parts.push(list);
    } else if (layer.kind !== "picture") {
      const bar = element("div", "", { class: "bar", "aria-hidden": "true" });
      bar.style.background = `linear-gradient(to right, ${layer.palette.join(",")})`;
      const ticks = element("div", "", { class: "ticks" });
      const digits = layer.high - layer.low < 4 ? 2 : 1;
      for (let k = 0; k <= 4; k++) {
        ticks.append(element("span", number(layer, layer.low + (layer.high - layer.low) * k / 4, digits)));
      }
      parts.push(bar, ticks);
    }
    at(`legend-${side}`).replaceChildren(...parts);
  }

  // Values

  function valueAt(name, x, y) {
    const one = view.arrays[name];
    const column = Math.floor((x - view.left) / view.width * one.columns);
    const row = Math.floor((view.top - y) / view.height * one.rows);
    if (column < 0 || row < 0 || column >= one.columns || row >= one.rows) return undefined;
    return one.values[row * one.columns + column];
  }
  function weights(nodes, at) {
    return nodes.map((node, k) => nodes.reduce((w, other, j) =>
      (j === k ? w : w * (at - other) / (node - other)), 1));
  }
  function lonlat(x, y) {
    const { xs, ys, lon, lat } = view.lonlat;
    const [u, v] = [weights(xs, x), weights(ys, y)];
    const sum = (grid) => grid.reduce((s, value, k) => s + value * v[Math.floor(k / 3)] * u[k % 3], 0);
    return [sum(lon), sum(lat)];
  }
  function readings(x, y) {
    const found = [];
    for (const name of data.order) {
      const layer = data.layers[name];
      if (layer.kind === "picture" || !view.arrays[name]) continue;
      const value = valueAt(name, x, y);
      if (value === undefined) return null;
      let text = "no value";
      if (layer.kind === "classes") text = (layer.classes[value] || { label: "unknown" }).label;
      else if (!Number.isNaN(value)) {
        const sign = layer.kind === "difference" && value > 0 ? "+" : "";
        text = `${sign}${number(layer, value, 2)} ${unit(layer)}`.trim();
      }
      found.push([layer.title, text, name]);
    }
    return found;
  }
  function read(x, y, spoken) {
    const found = readings(x, y);
    if (!found) return;
    const rows = found.map(([title, text, name]) => {
      const row = element("div", "", { "data-layer": name });
      row.append(element("dt", title), element("dd", text));
      return row;
    });
    const where = element("div", "", { "data-layer": "place" });
    const [lon, lat] = lonlat(x, y);
    const degrees = ` (${lat.toFixed(5)}, ${lon.toFixed(5)})`.replaceAll("-", "−");
    where.append(element("dt", view.place), element("dd", `${x.toFixed(0)}, ${y.toFixed(0)}${degrees}`));
    at("readout").replaceChildren(...rows, where);
    for (const side of sides) model(`${side}-cross`).data = { x: [x], y: [y] };
    state.cross = { x, y };
    if (spoken) at("spoken").textContent = found.map(([title, text]) => `${title}: ${text}`).join("; ");
  }

  // Moving

  const map = at("map");
  function frame(x0, x1, y0, y1) {
    // Show all of a box, with pixels as square as they are on the ground.
    const per = Math.max((x1 - x0) / map.clientWidth, (y1 - y0) / map.clientHeight);
    const [cx, cy] = [(x0 + x1) / 2, (y0 + y1) / 2];
    const [w, h] = [per * map.clientWidth / 2, per * map.clientHeight / 2];
    xs.setv({ start: cx - w, end: cx + w });
    ys.setv({ start: cy - h, end: cy + h });
  }
  const whole = () => frame(view.left, view.left + view.width, view.top - view.height, view.top);
  function zoom(factor) {
    const [cx, cy] = state.cross ? [state.cross.x, state.cross.y]
      : [(xs.start + xs.end) / 2, (ys.start + ys.end) / 2];
    xs.setv({ start: cx + (xs.start - cx) * factor, end: cx + (xs.end - cx) * factor });
    ys.setv({ start: cy + (ys.start - cy) * factor, end: cy + (ys.end - cy) * factor });
  }
  function ground(event) {
    const box = map.getBoundingClientRect();
    const u = (event.clientX - box.left - map.clientLeft) / map.clientWidth;
    const v = (event.clientY - box.top - map.clientTop) / map.clientHeight;
    return [xs.start + u * (xs.end - xs.start), ys.end - v * (ys.end - ys.start)];
  }
  function swipe(share) {
    state.swipe = Math.min(100, Math.max(0, share));
    at("pane-right").style.clipPath = `inset(0 0 0 ${state.swipe}%)`;
    at("divider").style.left = `${state.swipe}%`;
    at("swipe").value = String(state.swipe);
    at("swipe").setAttribute("aria-valuetext", `${Math.round(state.swipe)} % ${data.layers[state.left].title}`);
    at("tag-left").style.visibility = state.swipe > 15 ? "visible" : "hidden";
    at("tag-right").style.visibility = state.swipe < 85 ? "visible" : "hidden";
  }
  map.addEventListener("pointermove", (event) => read(...ground(event), false));
  map.addEventListener("pointerdown", (event) => {
    if (!event.target.closest(".divider, .zoom")) read(...ground(event), false);
  });
  const divider = at("divider");
  divider.addEventListener("pointerdown", (event) => { divider.setPointerCapture(event.pointerId); event.preventDefault(); });
  divider.addEventListener("pointermove", (event) => {
    if (!divider.hasPointerCapture(event.pointerId)) return;
    const box = map.getBoundingClientRect();
    swipe(100 * (event.clientX - box.left) / box.width);
  });
  at("swipe").addEventListener("input", (event) => swipe(Number(event.target.value)));
  at("zoom-in").addEventListener("click", () => zoom(0.5));
  at("zoom-out").addEventListener("click", () => zoom(2));
  at("zoom-reset").addEventListener("click", whole);
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  map.addEventListener("keydown", (event) => {
    if (event.target !== map) return;
    if (arrows[event.key]) {
      const far = view.pixel * (event.shiftKey ? 10 : 1);
      const from = state.cross || { x: view.left + view.width / 2 + view.pixel / 2, y: view.top - view.height / 2 - view.pixel / 2 };
      const [x, y] = [from.x + arrows[event.key][0] * far, from.y + arrows[event.key][1] * far];
      read(x, y, true);
    } else if (event.key === "+" || event.key === "=") zoom(0.5);
    else if (event.key === "-") zoom(2);
    else if (event.key === "0") whole();
    else return;
    event.preventDefault();
  });
  let [width, height] = [map.clientWidth, map.clientHeight];
  new ResizeObserver(() => {
    const [w, h] = [map.clientWidth, map.clientHeight];
    if (!w || !h || (w === width && h === height)) return;
    if (w !== width) whole();
    else {
      // A phone hides its bars while scrolling: keep what is shown, with pixels as square as before.
      const [middle, half] = [(ys.start + ys.end) / 2, (xs.end - xs.start) * h / w / 2];
      ys.setv({ start: middle - half, end: middle + half });
    }
    [width, height] = [w, h];
  }).observe(map);

  // Controls

  function units() {
    if (!data.histogram) return;
    const shift = celsius() ? -273.15 : 0;
    const bars = data.histogram;
    model("histogram").data = {
      left: bars.edges.slice(0, -1).map((edge) => edge + shift), right: bars.edges.slice(1).map((edge) => edge + shift),
      before: bars.before, after: bars.after,
    };
    model("histogram-step").data = {
      x: bars.edges.map((edge) => edge + shift), y: [...bars.before, bars.before[bars.before.length - 1]],
    };
    model("histogram-x").setv({ start: bars.edges[0] + shift, end: bars.edges[bars.edges.length - 1] + shift });
    model("histogram-axis").axis_label = `land surface temperature, ${celsius() ? "°C" : "K"}`;
  }
  function available() {
    return data.order.filter((name) => (name === "rgb" ? view.rgb : view.arrays[name]));
  }
  for (const side of sides) {
    const select = at(`${side}-layer`);
    select.addEventListener("change", () => {
      state[side] = select.value;
      state.chosen = true;
      show(side);
      legends();
      swipe(state.swipe);
    });
  }
  for (const radio of document.querySelectorAll("input[name=unit]")) {
    radio.addEventListener("change", () => {
      state.unit = radio.value;
      legends();
      units();
      if (state.cross) read(state.cross.x, state.cross.y, false);
    });
  }
  async function open(key) {
    view = data.views.find((one) => one.key === key);
    at("wait").hidden = false;
    await prepare(view);
    at("wait").hidden = true;
    at("view-note").textContent = view.note;
    state.cross = null;
    for (const side of sides) {
      if (!state.chosen || !available().includes(state[side])) state[side] = view.start[side];
      const select = at(`${side}-layer`);
      select.replaceChildren(...available().map((name) => element("option", data.layers[name].title, { value: name })));
      select.value = state[side];
      model(`${side}-cross`).data = { x: [], y: [] };
    }
    showBoth();
    whole();
    swipe(state.swipe);
  }
  for (const link of document.querySelectorAll("a[data-view]")) {
    link.addEventListener("click", () => {
      if (at("view")) at("view").value = link.dataset.view;
      open(link.dataset.view);
    });
  }
  if (at("view")) at("view").addEventListener("change", (event) => open(event.target.value));
  at("controls").addEventListener("submit", (event) => event.preventDefault());
  const unitChosen = document.querySelector("input[name=unit]:checked");
  state.unit = unitChosen ? unitChosen.value : "C";
  await open(at("view") ? at("view").value : data.views[0].key);
  units();
  swipe(50);
  for (const one of document.querySelectorAll(".pane, .histogram")) passedBy(one);
  document.body.dataset.ready = "yes";
})();
