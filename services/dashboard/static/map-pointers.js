// Mouse, pen and fingers on the map; read before map.js.
"use strict";

// Pixels to the nearest image that is meant, and until a press becomes a drag.
const PRECISE = { near: 9, slop: 4 }, FINGER = { near: 22, slop: 10 };

const aimOf = (event) => (event.pointerType === "touch" ? FINGER : PRECISE);

const middleOf = (places) => [0, 1].map(
  (axis) => places.reduce((sum, one) => sum + one[axis], 0) / places.length);

/** How far apart places are: the mean distance from their middle. */
function spreadOf(places) {
  const [x, y] = middleOf(places);
  return places.reduce((sum, one) => sum + Math.hypot(one[0] - x, one[1] - y), 0) / places.length;
}

/**
 * A finger that sets out up or down scrolls the page, as everywhere (`touch-action`); one that sets
 * out sideways moves the map, and two move it and come closer around their middle.
 */
class Pointers {
  constructor(map) {
    this.map = map;
    this.down = new Map(); // id of a pointer that is pressed → where it is, in the window
    this.dragged = false;
    const { canvas } = map;
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event, !this.dragged));
    canvas.addEventListener("pointercancel", (event) => {
      this.up(event, false);
      map.moveTo(this.began); // the page scrolls instead
    });
    canvas.addEventListener("pointerleave", (event) => {
      if (event.pointerType !== "touch") map.describe(-1); // a finger leaves with every tap
    });
    canvas.addEventListener("touchmove", (event) => {
      if (event.touches.length > 1) event.preventDefault(); // two fingers never scroll the page
    }, { passive: false });
    // By a finger, see the styles. No click: that of the tap that shows the card lands on it too.
    map.card.addEventListener("pointerup", () => map.large(map.shown));
  }

  press(event) {
    this.map.canvas.setPointerCapture(event.pointerId);
    this.down.set(event.pointerId, [event.clientX, event.clientY]);
    this.dragged = this.down.size > 1;
    this.began = [...this.map.middle];
  }

  move(event) {
    const from = this.down.get(event.pointerId);
    if (!from) { this.point(event); return; }
    const apart = Math.hypot(event.clientX - from[0], event.clientY - from[1]);
    if (!this.dragged && apart < aimOf(event).slop) return;
    this.dragged = true;
    const before = [...this.down.values()];
    this.down.set(event.pointerId, [event.clientX, event.clientY]);
    this.follow(before, [...this.down.values()]);
    this.map.describe(-1);
  }

  /** Keep under the fingers what was under them. */
  follow(before, after) {
    const [was, is] = [middleOf(before), middleOf(after)];
    this.map.move(is[0] - was[0], is[1] - was[1]);
    if (after.length < 2) return;
    const { canvas } = this.map;
    const { left, top } = canvas.getBoundingClientRect();
    const factor = spreadOf(after) / Math.max(spreadOf(before), 1);
    this.map.zoom(factor, is[0] - left - canvas.clientLeft, is[1] - top - canvas.clientTop);
  }

  up(event, isPress) {
    const beganHere = this.down.delete(event.pointerId);
    if (isPress && beganHere) this.choose(event);
    if (!this.down.size) this.dragged = false;
  }

  /** A mouse sees the card before it presses; a finger sees it first, and presses once more. */
  choose(event) {
    const { map } = this;
    const index = this.indexAt(event);
    if (index >= 0 && (event.pointerType !== "touch" || index === map.shown)) map.large(index);
    else this.point(event);
  }

  point(event) {
    this.map.byKeys = false;
    this.map.describe(this.indexAt(event), event.offsetX, event.offsetY);
  }

  indexAt(event) {
    return this.map.nearest(event.offsetX, event.offsetY, aimOf(event).near);
  }
}
