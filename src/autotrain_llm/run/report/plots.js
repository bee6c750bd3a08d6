// Shows the values of a plot at the pointer, a finger, or the arrow keys. The plot carries them in data-plot.
"use strict";
const showValues = (page) => page.querySelectorAll("svg[data-plot]").forEach((svg) => {
  const plot = JSON.parse(svg.dataset.plot), cursor = svg.querySelector(".cursor");
  const places = [...new Set(plot.curves.flatMap((curve) => curve.at))].sort((a, b) => a - b);
  if (!places.length) return;
  const box = document.createElement("div");
  box.className = "values";
  box.hidden = true;
  svg.parentElement.append(box);
  let current = -1;

  const nearest = (list, at) => {
    let best = 0;
    list.forEach((place, index) => { if (Math.abs(place - at) < Math.abs(list[best] - at)) best = index; });
    return best;
  };
  const row = (text, value, colour) => {
    const line = document.createElement("div"), number = document.createElement("b");
    if (colour !== null) line.append(Object.assign(document.createElement("i"), { className: "c" + colour }));
    number.textContent = typeof value === "number" ? value.toLocaleString("en", { maximumSignificantDigits: 6 }) : value;
    line.append(text, number);
    box.append(line);
  };
  const hide = () => { box.hidden = true; cursor.style.visibility = "hidden"; current = -1; };
  const show = (index) => {
    current = Math.max(0, Math.min(places.length - 1, index));
    const at = places[current], gap = 12;
    const here = plot.curves
      .map((curve) => ({ curve, index: nearest(curve.at, at) }))
      .filter(({ curve, index }) => Math.abs(curve.at[index] - at) < 3);
    box.replaceChildren();
    const x = here[0].curve.x[here[0].index];
    row(plot.name, plot.texts ? plot.texts[x] : x, null);
    here.slice(-8).forEach(({ curve, index }) => row(curve.name, curve.y[index], curve.colour));
    cursor.setAttribute("x1", at);
    cursor.setAttribute("x2", at);
    cursor.style.visibility = "visible";
    box.hidden = false;
    const left = svg.offsetLeft || 0, width = svg.clientWidth || svg.getBoundingClientRect().width;
    const middle = at / plot.width * width;
    const beside = middle > width / 2 ? middle - box.offsetWidth - gap : middle + gap;
    box.style.left = Math.max(0, Math.min(left + beside, width - box.offsetWidth)) + "px";
    box.style.bottom = "44px";
  };
  const follow = (event) => {
    const frame = svg.getBoundingClientRect();
    show(nearest(places, (event.clientX - frame.left) / frame.width * plot.width));
  };
  svg.addEventListener("pointermove", follow);
  svg.addEventListener("pointerdown", follow);
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") hide();
    if (!step) return;
    show(current < 0 && step < 0 ? places.length - 1 : current + step);
    event.preventDefault();
  });
});
showValues(document);
