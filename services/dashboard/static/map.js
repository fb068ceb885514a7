// The map of the pool. Points go into the pixels of a canvas directly: 100,000 take milliseconds,
// and no graphics card is needed.
"use strict";

const FAINT = -1; // the group of points about which nothing is known

class PoolMap {
  constructor(root) {
    this.root = root;
    this.canvas = root.querySelector("canvas");
    this.card = root.querySelector(".map-card");
    this.legend = root.querySelector(".map-legend");
    this.told = root.querySelector(".map-told");
    this.context = this.canvas.getContext("2d");
    this.hiddenGroups = new Set();
    this.listen();
  }

  show(points) {
    this.points = points;
    this.hiddenGroups.clear();
    this.forget(); // the card tells of another level
    this.root.hidden = false;
    this.resize();
    this.everything();
  }

  recolour(colour) {
    this.colour = colour;
    this.hiddenGroups.clear();
    this.paintAgain();
  }

  paintAgain() {
    if (!this.points) return;
    this.groups = grouping(this.points, this.colour);
    this.writeLegend();
    this.draw();
  }

  resize() {
    const ratio = devicePixelRatio || 1;
    this.ratio = ratio;
    this.canvas.width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    this.canvas.height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    this.image = this.context.createImageData(this.canvas.width, this.canvas.height);
    this.pixels = new Uint32Array(this.image.data.buffer);
  }

  /** Choose scale and middle so that every point is seen; both axes keep their proportion. */
  everything() {
    const { x, y } = this.points;
    const ends = [Infinity, -Infinity, Infinity, -Infinity];
    for (let i = 0; i < x.length; i += 1) {
      ends[0] = Math.min(ends[0], x[i]); ends[1] = Math.max(ends[1], x[i]);
      ends[2] = Math.min(ends[2], y[i]); ends[3] = Math.max(ends[3], y[i]);
    }
    const wide = Math.max(ends[1] - ends[0], 1e-9), high = Math.max(ends[3] - ends[2], 1e-9);
    this.scale = 0.94 * Math.min(this.canvas.width / wide, this.canvas.height / high);
    this.middle = [(ends[0] + ends[1]) / 2, (ends[2] + ends[3]) / 2];
    this.draw();
  }

  draw() {
    if (!this.points || !this.groups) return;
    const started = performance.now();
    const { width, height } = this.canvas;
    const { x, y } = this.points;
    const { of, groups, faint } = this.groups;
    const packed = (group, [r, g, b]) => ( // 0: hidden
      this.hiddenGroups.has(group) ? 0 : ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0);
    const colours = groups.map((one, group) => packed(group, one.rgb));
    const unknown = packed(FAINT, faint);
    const { pixels, scale } = this;
    const left = width / 2 - this.middle[0] * scale;
    const top = height / 2 + this.middle[1] * scale;
    const size = Math.max(2, Math.round((x.length > 20000 ? 2 : 4) * this.ratio));
    pixels.fill(0);
    for (const drawKnown of [false, true]) { // what is known lies on top
      for (let i = 0; i < x.length; i += 1) {
        const group = of[i];
        if ((group >= 0) !== drawKnown) continue;
        const colour = drawKnown ? colours[group] : unknown;
        const px = (left + x[i] * scale - size / 2) | 0;
        const py = (top - y[i] * scale - size / 2) | 0;
        if (!colour || px < 0 || py < 0 || px + size > width || py + size > height) continue;
        for (let row = py * width + px; row < (py + size) * width + px; row += width) {
          for (let at = row; at < row + size; at += 1) pixels[at] = colour;
        }
      }
    }
    this.context.putImageData(this.image, 0, 0);
    this.canvas.dataset.drawMs = (performance.now() - started).toFixed(2);
    this.canvas.dataset.points = x.length;
    this.canvas.dataset.draws = Number(this.canvas.dataset.draws ?? 0) + 1;
  }

  writeLegend() {
    const { of, groups, faint, none } = this.groups;
    const counts = new Map();
    for (const group of of) counts.set(group, (counts.get(group) ?? 0) + 1);
    const entries = groups.map((one, group) => [group, one.name, one.rgb]);
    entries.push([FAINT, none, faint]);
    this.legend.replaceChildren(...entries.filter(([group]) => counts.has(group)).map(
      ([group, name, colour]) => {
        const item = document.createElement("li");
        const label = item.appendChild(document.createElement("label"));
        const box = label.appendChild(document.createElement("input"));
        Object.assign(box, { type: "checkbox", checked: true });
        box.addEventListener("change", () => {
          this.hiddenGroups[box.checked ? "delete" : "add"](group);
          this.draw();
        });
        const swatch = label.appendChild(document.createElement("i"));
        swatch.style.background = `rgb(${colour})`;
        label.append(name);
        const count = label.appendChild(document.createElement("small"));
        count.textContent = counts.get(group).toLocaleString("en");
        return item;
      }));
  }

  /** The point nearest to a place in the canvas, in CSS pixels; -1 where none is near. */
  nearest(atX, atY, within) {
    const { x, y } = this.points;
    const dataX = (atX * this.ratio - this.canvas.width / 2) / this.scale + this.middle[0];
    const dataY = (this.canvas.height / 2 - atY * this.ratio) / this.scale + this.middle[1];
    let best = -1, least = ((within * this.ratio) / this.scale) ** 2;
    for (let i = 0; i < x.length; i += 1) {
      const apart = (x[i] - dataX) ** 2 + (y[i] - dataY) ** 2;
      if (apart < least && !this.hiddenGroups.has(this.groups.of[i])) {
        least = apart;
        best = i;
      }
    }
    return best;
  }

  link(index, side) {
    return `/map/pictures/img_${hex(this.points.ids.subarray(8 * index, 8 * index + 8))}?side=${side}`;
  }

  /** Show the image nearest to the middle; asked for once more, open it large. */
  look(again) {
    const index = this.nearest(this.canvas.clientWidth / 2, this.canvas.clientHeight / 2, Infinity);
    if (again && this.byKeys && index === this.shown) { this.large(index); return; }
    this.byKeys = true;
    if (index < 0) { this.describe(index); return; }
    const { x, y } = this.points;
    const across = (x[index] - this.middle[0]) * this.scale + this.canvas.width / 2;
    const down = (this.middle[1] - y[index]) * this.scale + this.canvas.height / 2;
    this.describe(index, across / this.ratio, down / this.ratio);
    this.told.textContent = [...this.card.querySelectorAll("dt")]
      .map((one) => `${one.textContent} ${one.nextSibling.textContent}`).join(", ");
  }

  /** Show no image. */
  forget() {
    this.byKeys = false;
    this.told.textContent = "";
    this.describe(-1);
  }

  large(index) {
    open(this.link(index, 1024), "_blank", "noopener");
  }

  describe(index, atX, atY) {
    const known = index === this.shown;
    this.shown = index;
    this.card.hidden = index < 0;
    if (index < 0) return;
    this.place(atX, atY);
    if (known) return;
    const { classes, label, predicted, sure, asked } = this.points;
    const named = (one) => (one < 0 ? "–" : classes[one]);
    const rows = [["label", named(label[index])], ["guess", named(predicted[index])],
      ["sure", sure[index] < 0 ? "–" : `${(sure[index] / 10).toFixed(0)}%`],
      ["asked", asked[index] ? `round ${asked[index]}` : "never"]];
    this.card.querySelector("img").src = this.link(index, 168);
    this.card.querySelector("dl").replaceChildren(...rows.flatMap(([name, value]) => [
      Object.assign(document.createElement("dt"), { textContent: name }),
      Object.assign(document.createElement("dd"), { textContent: value })]));
  }

  place(atX, atY) {
    const left = atX + 210 > this.canvas.clientWidth ? atX - 206 : atX + 16;
    const top = Math.min(atY + 12, this.canvas.clientHeight - 280);
    this.card.style.left = `${Math.max(0, left)}px`;
    this.card.style.top = `${Math.max(0, top)}px`;
  }

  zoom(factor, atX = this.canvas.clientWidth / 2, atY = this.canvas.clientHeight / 2) {
    const dx = (atX * this.ratio - this.canvas.width / 2) / this.scale;
    const dy = (this.canvas.height / 2 - atY * this.ratio) / this.scale;
    this.middle[0] += dx * (1 - 1 / factor);
    this.middle[1] += dy * (1 - 1 / factor);
    this.scale *= factor;
    this.soon();
  }

  move(dx, dy) {
    this.middle[0] -= (dx * this.ratio) / this.scale;
    this.middle[1] += (dy * this.ratio) / this.scale;
    this.soon();
  }

  moveTo(middle) {
    this.middle = middle;
    this.soon();
  }

  /** Once a frame is enough, however many events there are. */
  soon() {
    this.frame ??= requestAnimationFrame(() => { this.frame = undefined; this.draw(); });
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
    }, { passive: false });
    new Pointers(this);
    canvas.addEventListener("keydown", (event) => {
      const act = { ArrowLeft: () => this.move(60, 0), ArrowRight: () => this.move(-60, 0),
        ArrowUp: () => this.move(0, 60), ArrowDown: () => this.move(0, -60),
        "+": () => this.zoom(1.4), "=": () => this.zoom(1.4), "-": () => this.zoom(1 / 1.4),
        0: () => this.everything(), Enter: () => this.look(true),
        Escape: () => this.forget() }[event.key];
      if (!act || !this.points) return;
      event.preventDefault();
      act();
      if (this.byKeys && event.key !== "Enter") this.look(false);
    });
    new ResizeObserver(() => {
      if (!this.points || this.root.hidden) return;
      this.resize();
      this.draw();
    }).observe(canvas);
    new MutationObserver(() => this.paintAgain()).observe(document.documentElement,
      { attributeFilter: ["data-theme"] });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paintAgain());
  }
}

function startMap(root) {
  const map = new PoolMap(root);
  const colour = document.getElementById("map-colour");
  const level = document.getElementById("map-level");
  const said = document.getElementById("map-said");
  const load = async () => {
    const answer = await fetch(`/map/points?level=${encodeURIComponent(level.value)}`);
    if (!answer.ok || answer.headers.get("content-type").startsWith("application/json")) {
      const told = answer.ok ? await answer.json() : { why_not: "The map cannot be had now." };
      said.textContent = told.why_not;
      return;
    }
    const points = unpack(await answer.arrayBuffer());
    const shares = points.explained.map((one) => `${(100 * one).toFixed(0)}%`).join(" and ");
    said.textContent = `${points.n.toLocaleString("en")} of ${points.pool.toLocaleString("en")} ` +
      `images. The two directions show ${shares} of how they differ.`;
    map.colour = colour.value;
    map.show(points);
    map.paintAgain();
  };
  colour.addEventListener("change", () => map.recolour(colour.value));
  level.addEventListener("change", load);
  root.ownerDocument.querySelectorAll("[data-zoom]").forEach((button) => {
    const act = { in: () => map.zoom(1.6), out: () => map.zoom(1 / 1.6),
      all: () => map.everything() }[button.dataset.zoom];
    button.addEventListener("click", () => map.points && act());
  });
  load();
}

startMap(document.querySelector("[data-map]"));
