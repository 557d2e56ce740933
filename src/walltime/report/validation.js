"use strict";
(() => {
  const points = [...document.querySelectorAll("#by-time .p")];
  const panel = document.getElementById("selected");
  if (!points.length || !panel) return;
  const twins = new Map();
  for (const mark of document.querySelectorAll(".scatter .p")) {
    const row = mark.dataset.row;
    twins.set(row, [...(twins.get(row) || []), mark]);
  }
  const rings = [...document.querySelectorAll(".scatter")].map((drawing) => {
    const ring = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    ring.setAttribute("class", "ring");
    ring.setAttribute("r", "7");
    ring.style.display = "none";
    drawing.append(ring);
    return ring;
  });
  const made = (tag, text, name) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (name) element.className = name;
    return element;
  };
  const time = (s) => (s >= 1 ? `${+s.toPrecision(4)} s` : `${+(1000 * s).toPrecision(3)} ms`);
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  const signed = (share) => `${share < 0 ? "−" : "+"}${percent(Math.abs(share))}`;

  function bar(list, name, from, length, whole, share, kind) {
    list.append(made("span", name, kind));
    const track = made("span", undefined, "bar"), fill = made("i");
    fill.style.left = `${(100 * from) / whole}%`;
    fill.style.width = `${(100 * length) / whole}%`;
    track.append(fill);
    list.append(track, made("span", share === undefined ? time(length) : `${time(length)}, ${percent(share)}`, "n"));
  }

  function waterfall(values, parts) {
    const list = made("div", undefined, "waterfall");
    const whole = Math.max(values.predicted, values.measured, values.constant || 0);
    let from = 0;
    for (const [name, length] of parts) {
      if (length > 5e-4 * values.predicted) bar(list, name, from, length, whole, length / values.predicted);
      from += length;
    }
    bar(list, "predicted", 0, values.predicted, whole, undefined, "total");
    bar(list, "measured", 0, values.measured, whole, undefined, "total measured");
    if (values.constant) bar(list, "constant utilisation", 0, values.constant, whole, undefined, "");
    return list;
  }

  function show(id) {
    const row = document.getElementById(`row${id}`);
    const heads = [...row.closest("table").querySelectorAll("thead th")], cells = [...row.children];
    const values = {}, parts = [], facts = made("dl", undefined, "facts");
    heads.forEach((head, i) => {
      const text = cells[i].textContent, key = head.dataset.key;
      if (head.dataset.part !== undefined) parts.push([head.dataset.part, +text]);
      else if (key) values[key] = +text || 0;
      const shown = i > 1 && !key && head.dataset.part === undefined && head.textContent !== "error";
      if (shown && text) facts.append(made("dt", head.textContent), made("dd", text));
    });
    const error = values.predicted / values.measured - 1;
    const verdict = made("p", `${signed(error)} `, "error");
    verdict.append(made("small", `${time(values.predicted)} predicted, ${time(values.measured)} measured`));
    const source = row.closest("details").dataset.source;
    panel.replaceChildren(
      made("h3", `${cells[1].textContent}, ${source}`), made("p", cells[0].textContent, "where"),
      verdict, waterfall(values, parts), facts,
    );
  }

  let current;
  function select(id, focus) {
    if (!twins.has(id)) return;
    const link = twins.get(id)[0];
    if (current) {
      twins.get(current)[0].tabIndex = -1;
      document.getElementById(`row${current}`).classList.remove("on");
    }
    current = id;
    link.tabIndex = 0;
    document.getElementById(`row${id}`).classList.add("on");
    twins.get(id).forEach((mark, i) => {
      const use = mark.querySelector("use");
      rings[i].setAttribute("cx", use.getAttribute("x"));
      rings[i].setAttribute("cy", use.getAttribute("y"));
      rings[i].style.display = "";
    });
    show(id);
    history.replaceState(null, "", `#row${id}`);
    if (focus) link.focus({ preventScroll: true });
  }

  const boxes = [...document.querySelectorAll(".sources-shown input")];
  const hidden = (mark) => boxes.some((box) => !box.checked && mark.classList.contains(box.value));
  for (const mark of document.querySelectorAll(".scatter .p")) {
    mark.addEventListener("click", (event) => {
      event.preventDefault();
      select(mark.dataset.row, true);
    });
  }
  const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, Home: -Infinity, End: Infinity };
  document.getElementById("by-time").addEventListener("keydown", (event) => {
    if (!(event.key in steps)) return;
    event.preventDefault();
    const shown = points.filter((mark) => !hidden(mark));
    const at = shown.findIndex((mark) => mark.dataset.row === current);
    const next = Math.min(shown.length - 1, Math.max(0, at + steps[event.key]));
    if (shown[next]) select(shown[next].dataset.row, true);
  });
  document.getElementById("by-time").addEventListener("focusin", (event) => {
    const mark = event.target.closest(".p");
    if (mark && mark.dataset.row !== current) select(mark.dataset.row, false);
  });
  const legend = document.querySelector("fieldset legend");
  for (const [name, on] of [["all", true], ["none", false]]) {
    const button = made("button", name);
    button.type = "button";
    button.addEventListener("click", () => boxes.forEach((box) => { box.checked = on; }));
    legend.append(button);
  }
  panel.hidden = false;
  const wanted = location.hash.replace("#row", "");
  const worst = points.reduce((a, b) => (+b.dataset.error > +a.dataset.error ? b : a), points[0]);
  const before = location.hash;
  select(twins.has(wanted) ? wanted : worst.dataset.row, false);
  if (!twins.has(wanted)) history.replaceState(null, "", before || location.pathname + location.search);
})();
