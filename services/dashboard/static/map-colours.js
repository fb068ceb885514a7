// How the points of the map are coloured; read before map.js.
"use strict";

const STEPS = 5; // of a ramp's legend

/** A colour of the style sheet or of CSS as [r, g, b]. */
function rgb(css) {
  const context = rgb.context ??= Object.assign(document.createElement("canvas"),
    { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  context.fillStyle = css;
  context.fillRect(0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
}

const isDark = () => {
  const [r, g, b] = rgb(resolved("--ground"));
  return r + g + b < 384;
};

/** Classes in the order of the taxonomy: those under one parent get neighbouring hues. */
function classColour(index, count) {
  const hue = 25 + (360 * index) / Math.max(count, 3);
  const light = (isDark() ? 0.74 : 0.58) + (count > 12 && index % 2 ? 0.1 : 0);
  return `oklch(${light} 0.15 ${hue})`;
}

/** Between two colours, share 0 to 1. */
function blend(from, to, share) {
  return from.map((one, i) => Math.round(one + (to[i] - one) * share));
}

/** How points are grouped and coloured: group of each point, and a name and colour a group. */
function grouping(points, colour) {
  const faint = rgb(resolved("--line"));
  if (colour === "label" || colour === "predicted") {
    const groups = points.classes.map((name, i, all) => (
      { name, rgb: rgb(classColour(i, all.length)) }));
    const none = colour === "label" ? "no label" : "no guess";
    return { of: points[colour], groups, faint, none };
  }
  const low = blend(faint, rgb(resolved("--c0")), 0.35);
  const high = rgb(resolved("--c1"));
  if (colour === "asked") {
    const rounds = Math.max(0, ...points.asked);
    const groups = Array.from({ length: rounds }, (_, i) => (
      { name: `round ${i + 1}`, rgb: blend(low, high, rounds > 1 ? i / (rounds - 1) : 1) }));
    return { of: points.asked.map((one) => one - 1), groups, faint, none: "not asked" };
  }
  const groups = Array.from({ length: STEPS }, (_, i) => ({
    name: `${(100 * i) / STEPS} to ${(100 * (i + 1)) / STEPS}% unsure`,
    rgb: blend(low, high, i / (STEPS - 1)) }));
  const of = points.sure.map((one) => ( // without a guess: -1, which is FAINT
    one < 0 ? -1 : Math.min(Math.floor(((1000 - one) / 1000) * STEPS), STEPS - 1)));
  return { of, groups, faint, none: "no guess" };
}
