// The points of the map as /map/points sends them; read before map.js.
"use strict";

/** The columns of an answer of /map/points. */
function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const facts = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const { n } = facts;
  let at = 4 + length;
  const column = (Kind, size = n) => {
    const found = new Kind(buffer, at, size);
    at += found.byteLength;
    return found;
  };
  return { ...facts, x: column(Float32Array), y: column(Float32Array), label: column(Int16Array),
    predicted: column(Int16Array), asked: column(Int16Array), sure: column(Int16Array),
    ids: column(Uint8Array, 8 * n) };
}

const hex = (bytes) => Array.from(bytes, (one) => one.toString(16).padStart(2, "0")).join("");
