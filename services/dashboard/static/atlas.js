// What the pages do beyond reading: plots, parts that renew themselves, light or dark.
"use strict";

const PLOTLY = document.currentScript.dataset.plotly;
const seen = new WeakMap(); // part → the HTML that it came with last

/** The colour that a custom property stands for now, as rgb(). */
function resolved(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}

/** A copy of a figure in which "var(--c0)" is the colour itself. */
function coloured(value) {
  if (typeof value === "string") {
    return value.replace(/var\((--[\w-]+)\)/g, (_, name) => resolved(name));
  }
  if (Array.isArray(value)) {
    // Long arrays are numbers; going through them would cost time for nothing. A stop of a colour
    // scale is a number and a colour.
    return typeof value.at(-1) === "number" ? value : value.map(coloured);
  }
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, coloured(one)]));
  }
  return value;
}

/** The layout with what every plot has: quiet grounds, our font, thin lines. */
function dressed(layout) {
  const axis = { gridcolor: "var(--line)", linecolor: "var(--line)", zerolinecolor: "var(--line)",
    tickcolor: "var(--line)", automargin: true, fixedrange: true };
  const result = { margin: { l: 12, r: 12, t: 8, b: 8 }, hovermode: "closest",
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 }, ...layout };
  for (const key of new Set(["xaxis", "yaxis", ...Object.keys(layout)])) {
    if (/^[xy]axis\d*$/.test(key)) result[key] = { ...axis, ...layout[key] };
  }
  result.font = { family: getComputedStyle(document.body).fontFamily, size: 13,
    color: "var(--soft)", ...layout.font };
  result.hoverlabel = { bgcolor: "var(--card)", bordercolor: "var(--edge)",
    font: { color: "var(--ink)" }, ...layout.hoverlabel };
  return { paper_bgcolor: "transparent", plot_bgcolor: "transparent", ...result };
}

function draw(plot) {
  const figure = JSON.parse(document.getElementById(plot.dataset.figure).textContent);
  const layout = coloured(dressed(figure.layout ?? {}));
  Plotly.react(plot, coloured(figure.data), layout, { displayModeBar: false, responsive: true });
}

/** One figure at a time, so that the page answers in between. */
async function drawAll() {
  for (const plot of document.querySelectorAll(".plot[data-figure]")) {
    draw(plot);
    await new Promise((done) => { setTimeout(done); });
  }
}

/** Plotly takes a second to read: not before the page itself is painted. */
function loadPlotly() {
  if (!document.querySelector(".plot[data-figure]")) return;
  const script = document.createElement("script");
  script.src = PLOTLY;
  script.onload = drawAll;
  requestAnimationFrame(() => { setTimeout(() => document.head.append(script)); });
}

/** Times in UTC get the reader's own clock as a hint. */
function localTimes(root) {
  root.querySelectorAll("time[datetime]").forEach((one) => {
    one.title = new Date(one.dateTime).toLocaleString();
  });
}

const END = Infinity; // how far down somebody is who reads the newest lines of a log

/** How far each box of a part is scrolled, by its id: [down, across]. */
function scrolled(part) {
  return new Map([...part.querySelectorAll(".log[id], .scroll[id]")].map((box) => {
    const isAtEnd = box.scrollHeight - box.clientHeight - box.scrollTop < 2; // zoomed: fractions
    const down = box.matches(".log") && isAtEnd ? END : box.scrollTop;
    return [box.id, [down, box.scrollLeft]];
  }));
}

/** Scroll the boxes of a part to where they were; a log that is new, to its newest lines. */
function scrollBack(part, places = new Map()) {
  for (const box of part.querySelectorAll(".log[id], .scroll[id]")) {
    const [down, across] = places.get(box.id) ?? [box.matches(".log") ? END : 0, 0];
    box.scrollTop = Math.min(down, box.scrollHeight);
    box.scrollLeft = across;
  }
}

/** Put a part's newer HTML in its place where it differs; focus and scrolled boxes stay. */
function renew(part, html) {
  if (seen.get(part) === html) return;
  seen.set(part, html);
  const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
  const places = scrolled(part);
  part.innerHTML = html;
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  scrollBack(part, places);
  localTimes(part);
}

/** Fetch a part of the page anew; where the server is away, it fades until it is back. */
async function refresh(part) {
  try {
    const answer = await fetch(part.dataset.live, { headers: { Accept: "text/html" } });
    if (answer.ok) renew(part, await answer.text());
    part.classList.toggle("stale", !answer.ok);
  } catch {
    part.classList.add("stale");
  }
}

/** Renew a part while somebody looks: at each event that its source sends, and by the clock. */
function keepLive(part) {
  const waitMs = 1000 * Number(part.dataset.every ?? 2);
  const ask = async () => {
    if (!document.hidden) await refresh(part);
    setTimeout(ask, waitMs);
  };
  setTimeout(ask, waitMs);
  if (!part.dataset.events) return;
  const source = new EventSource(part.dataset.events);
  source.onmessage = () => refresh(part);
  source.addEventListener("over", () => { source.close(); refresh(part); });
}

/** The button goes from the system's choice to the other one, and back. */
function themeButton(button) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light"))
    === "dark";
  const say = () => { button.textContent = isDark() ? "Light colours" : "Dark colours"; };
  button.hidden = false;
  button.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    document.cookie = `atlas_theme=${theme}; path=/; max-age=31536000; samesite=strict`;
    say();
    if (window.Plotly) drawAll();
  });
  dark.addEventListener("change", () => { say(); if (window.Plotly) drawAll(); });
  say();
}

themeButton(document.querySelector("[data-theme-button]"));
document.querySelectorAll("[data-live]").forEach(keepLive);
localTimes(document);
scrollBack(document);
loadPlotly();
