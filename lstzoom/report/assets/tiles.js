// The map of tiles: Bokeh draws it; this file says what became of each tile, for all scenes or for one.
"use strict";
(async () => {
  const data = JSON.parse(document.getElementById("tiles-data").textContent);
  const at = (id) => document.getElementById(id);
  while (!window.Bokeh || !Bokeh.documents.length || !Bokeh.documents[0].is_idle) {
    await new Promise((done) => setTimeout(done, 20));
  }
  const model = (name) => Bokeh.documents[0].get_model_by_name(name);
  const [source, xs, ys, figure] = ["tiles", "tiles-x", "tiles-y", "tiles-figure"].map(model);
  const [choice, area, readout] = ["tiles-scene", "tiles-map", "tiles-readout"].map(at);
  const bounds = [xs.start, xs.end, ys.start, ys.end];
  const KINDS = ["d", "f", "l"];
  const DRAWN = ["l", "d", "p", "q", "f"];

  function merged(group) {
    // What became of each tile of a group in all of its scenes.
    const counts = data.groups[group].names.map(() => ({ d: 0, f: 0, l: 0, reasons: [] }));
    for (const scene of data.scenes) {
      if (scene.group !== group) continue;
      for (let k = 0; k < scene.states.length; k++) counts[k][scene.states[k]] += 1;
      for (const [k, reason] of Object.entries(scene.reasons)) counts[k].reasons.push(`${scene.title}: ${reason}`);
    }
    return counts.map((one) => ({
      state: one.f ? (one.d + one.l ? "q" : "f") : one.l === 0 ? "d" : one.d === 0 ? "l" : "p",
      told: KINDS.filter((kind) => one[kind])
        .map((kind) => `${data.looks[kind].label} for ${one[kind]} of ${one.d + one.f + one.l}`).join(", "),
      reason: one.reasons.slice(0, 3).join("; ") + (one.reasons.length > 3 ? `; and ${one.reasons.length - 3} more` : ""),
    }));
  }
  function single(scene) {
    return [...scene.states].map((state, k) =>
      ({ state, told: data.looks[state].label, reason: scene.reasons[k] || "" }));
  }
  function show() {
    const columns = { xs: [], ys: [], name: [], told: [], reason: [], colour: [], hatch: [] };
    const found = [];
    const scene = choice.value === "" ? null : data.scenes[Number(choice.value)];
    const shown = new Set();
    data.groups.forEach((group, number) => {
      if (scene && scene.group !== number) return;
      const tiles = scene ? single(scene) : merged(number);
      tiles.forEach((tile, k) => found.push({ ...tile, x: group.xs[k], y: group.ys[k], name: group.names[k] }));
    });
    // Tiles of scenes on different grids overlap: what failed is drawn last, and hides under nothing.
    if (!scene && data.groups.length > 1) found.sort((a, b) => DRAWN.indexOf(a.state) - DRAWN.indexOf(b.state));
    for (const tile of found) {
      const look = data.looks[tile.state];
      shown.add(tile.state);
      columns.xs.push(tile.x);
      columns.ys.push(tile.y);
      columns.name.push(tile.name);
      columns.told.push(tile.told);
      columns.reason.push(tile.reason || "–");
      columns.colour.push(look.colour);
      columns.hatch.push(look.hatch);
    }
    source.selected.indices = [];
    source.data = columns;
    at("tiles-legend").replaceChildren(...Object.entries(data.looks).filter(([state]) => shown.has(state))
      .map(([, look]) => {
        const item = document.createElement("li");
        const patch = document.createElement("i");
        patch.style.background = look.hatch === "/"
          ? `repeating-linear-gradient(135deg, ${look.colour} 0 4px, #000 4px 5px)` : look.colour;
        item.append(patch, look.label);
        return item;
      }));
    tell(null);
  }
  function tell(index) {
    if (index === null) {
      readout.textContent = "Point at a tile, tap it, or select the map and use the arrow keys.";
      return;
    }
    const { name, told, reason } = source.data;
    readout.textContent = `Tile ${name[index]}: ${told[index]}${reason[index] === "–" ? "" : `. ${reason[index]}`}`;
  }
  function frame() {
    // Units of both axes as they are on the ground.
    const [w, h] = [figure.inner_width || area.clientWidth - 80, figure.inner_height || area.clientHeight - 80];
    const aspect = figure.tags[0];
    const [cx, cy] = [(bounds[0] + bounds[1]) / 2, (bounds[2] + bounds[3]) / 2];
    const per = 1.04 * Math.max((bounds[1] - bounds[0]) / w, (bounds[3] - bounds[2]) * aspect / h);
    xs.setv({ start: cx - per * w / 2, end: cx + per * w / 2, reset_start: cx - per * w / 2, reset_end: cx + per * w / 2 });
    const half = per * h / 2 / aspect;
    ys.setv({ start: cy - half, end: cy + half, reset_start: cy - half, reset_end: cy + half });
  }
  data.scenes.forEach((scene, k) => {
    const option = document.createElement("option");
    option.value = String(k);
    option.textContent = scene.title;
    choice.append(option);
  });
  choice.addEventListener("change", show);
  source.selected.change.connect(() => tell(source.selected.indices.length ? source.selected.indices[0] : null));
  area.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const count = source.data.name.length;
    if (event.target !== area || !step || !count) return;
    const now = source.selected.indices;
    source.selected.indices = [now.length ? (now[0] + step + count) % count : (step > 0 ? 0 : count - 1)];
    event.preventDefault();
  });
  new ResizeObserver(() => requestAnimationFrame(frame)).observe(area);
  show();
  await new Promise((done) => setTimeout(done, 50));
  frame();
  document.body.dataset.tiles = "yes";
})();
