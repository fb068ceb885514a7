// The slider of a level's page: what happens at each threshold is on the page already.
"use strict";

function automation(form) {
  const steps = JSON.parse(document.getElementById(form.dataset.steps).textContent);
  const slider = form.querySelector("input");
  const part = (name) => form.querySelector(`[data-${name}]`);
  const percent = (share) => (share === null ? "–" : `${(100 * share).toFixed(1)}%`);
  const say = () => {
    const at = steps[slider.valueAsNumber];
    form.querySelector("output").textContent = `${slider.value}%`;
    part("coverage").textContent = percent(at.coverage);
    part("accuracy").textContent = percent(at.accuracy);
    part("interval").textContent = at.accuracy === null ? "" :
      `(${percent(at.low)} to ${percent(at.high)}, ${at.n} audit images)`;
    part("covered").style.cssText = `left: 0; width: ${100 * at.coverage}%`;
    part("band").style.cssText = at.accuracy === null ? "display: none" :
      `left: ${100 * at.low}%; width: ${100 * (at.high - at.low)}%`;
    part("at").style.cssText = at.accuracy === null ? "display: none" :
      `left: ${100 * at.accuracy}%`;
    slider.setAttribute("aria-valuetext", `${slider.value}% sure`);
  };
  slider.addEventListener("input", say);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  say();
}

document.querySelectorAll("form.slider").forEach(automation);
