// The slider of a level's page: what happens at each threshold is on the page already.
"use strict";

/** A share as the server says it: a tie goes to the even digit. */
function percent(share) {
  const said = 100 * share;
  return `${(said % 1 === 0.25 ? said - 0.01 : said).toFixed(1)}%`;
}

function automation(form) {
  const steps = JSON.parse(document.getElementById(form.dataset.steps).textContent);
  const slider = form.querySelector("input");
  const part = (name) => form.querySelector(`[data-${name}]`);
  const say = () => {
    const at = Math.round(10 * slider.valueAsNumber);
    const [n, low, high] = [steps.covered[at], steps.low[at], steps.high[at]];
    const sure = `${slider.valueAsNumber.toFixed(1)}%`;
    form.querySelector("output").textContent = sure;
    slider.setAttribute("aria-valuetext", `${sure} sure`);
    part("coverage").textContent = percent(n / steps.n);
    part("covered").style.cssText = `left: 0; width: ${(100 * n) / steps.n}%`;
    part("accuracy").textContent = n ? percent(steps.correct[at] / n) : "–";
    part("interval").textContent = n ?
      `(${percent(low)} to ${percent(high)}, ${n} audit images)` : "";
    part("band").style.cssText = n ?
      `left: ${100 * low}%; width: ${100 * (high - low)}%` : "display: none";
    part("at").style.cssText = n ? `left: ${(100 * steps.correct[at]) / n}%` : "display: none";
  };
  slider.addEventListener("input", say);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  say();
}

document.querySelectorAll("form.slider").forEach(automation);
