// The head explorer: two maps of heads, cell by cell, with what the tables say of each pair.
(() => {
  "use strict";
  const section = document.getElementById("explorer");
  const source = document.getElementById("explorer-data");
  if (!section || !source) return;
  const data = JSON.parse(source.textContent);
  const body = section.querySelector(".explorer");
  if (!data.pairs.length) return;

  const UNIT = 10000; // scores are whole numbers of this part
  const LISTED = 10;
  const chosen = Object.fromEntries(
    ["model", "task", "a", "b"].map((name) => [name, body.querySelector(`[name=${name}]`)]));
  const reading = body.querySelector(".reading");
  const maps = [...body.querySelectorAll(".map")];
  let pair = null; // of data.pairs
  let place = 0; // layer x heads + head, the one that is read
  let kept = null; // the place that the reader went to, if any

  // ---- elements ----
  const numberOf = (file, row, column, value, text) => value === null || value === undefined
    ? document.createTextNode("–")
    : make("data", { class: "n", value, "data-csv": `statistics/${file}.csv`, "data-row": row,
      "data-column": column }, text(value));
  const fixed = (digits) => (value) => value.toFixed(digits).replace("-", "−");
  const signed = (value) => (value < 0 ? "" : "+") + fixed(3)(value);
  const probability = (p) => p >= 0.01 ? p.toFixed(2) : p >= 0.0001 ? p.toFixed(4) : p.toPrecision(1);
  const scoreText = (score) => score === 0 ? "0"
    : Math.abs(score) < 10 ? `${score < 0 ? "above −" : "below "}0.001` : fixed(3)(score / UNIT);
  const fill = (select, names, wanted) => {
    select.replaceChildren(...names.map((name) => make("option", { value: name }, name)));
    select.value = names.includes(wanted) ? wanted : names[0];
    select.closest("label").hidden = names.length < 2;
  };
  const cells = (tag, scope, items) => items.map((item) => {
    const cell = make(tag, scope ? { scope } : {});
    cell.append(...[item].flat());
    return cell;
  });
  const scrolling = (label, head, rows) =>
    make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": `Table: ${label}` },
      make("table", {},
        make("caption", {}, label),
        make("thead", {}, make("tr", {}, ...cells("th", "col", head))),
        make("tbody", {}, ...rows.map(([first, ...rest]) =>
          make("tr", {}, ...cells("th", "row", [first]), ...cells("td", null, rest))))));

  // ---- what is compared ----
  const names = () => [chosen.a.value, chosen.b.value];
  const scores = (name) => pair.variants[name].scores;
  const nameOf = (at) => `layer ${Math.floor(at / pair.heads)}, head ${at % pair.heads}`;
  const kindOf = (at) => {
    const [a, b] = names().map((name) => scores(name)[at]);
    if (a === null || b === null) return "absent";
    return a > 0 ? (b > 0 ? "both" : "a") : (b > 0 ? "b" : "none");
  };
  const kindWords = (at) => {
    const [a, b] = names();
    return { absent: "no such head", both: "above 0 after both", a: `above 0 only after ${a}`,
      b: `above 0 only after ${b}`, none: "0 after both" }[kindOf(at)];
  };
  // The tested difference, where one of the two is the reference: always that less the reference.
  const tested = (at) => {
    const [a, b] = names();
    const other = a === data.reference ? b : b === data.reference ? a : null;
    const found = other === null || other === data.reference ? null : pair.differences[other];
    const i = found ? found.places.indexOf(at) : -1;
    if (i < 0) return null;
    const column = (name, text) =>
      numberOf("head_differences", found.row + i, name, found[name][i], text);
    return { other, n: numberOf("head_differences", found.row + i, "n", found.n, String),
      difference: column("difference", signed), p: column("p_adjusted", probability) };
  };

  // ---- the two maps ----
  const MARK = { both: ["●", "●"], a: ["◆", "×"], b: ["×", "◆"] };
  const drawMap = (map, side, highest) => {
    const name = names()[side];
    const own = scores(name);
    const grid = make("div", { role: "grid", "aria-labelledby": `explorer-map-${"ab"[side]}`,
      "aria-rowcount": pair.layers, "aria-colcount": pair.heads });
    for (let layer = 0; layer < pair.layers; layer += 1) {
      const row = make("div", { role: "row", "aria-rowindex": layer + 1 },
        make("span", { class: "axis", "aria-hidden": "true" }, String(layer)));
      for (let head = 0; head < pair.heads; head += 1) {
        const at = layer * pair.heads + head;
        const kind = kindOf(at);
        const said = own[at] === null ? "" : `, ${scoreText(own[at])}`;
        const cell = make("span", { role: "gridcell", "aria-colindex": head + 1, tabindex: "-1",
          class: kind, "data-place": at, "aria-label": `${nameOf(at)}${said}: ${kindWords(at)}` },
        (MARK[kind] || ["", ""])[side]);
        const share = highest > 0 ? Math.max(0, own[at]) / highest : 0;
        cell.style.setProperty("--share", `${share > 0 ? Math.round(8 + 92 * share) : 0}%`);
        row.append(cell);
      }
      grid.append(row);
    }
    const axis = make("div", { class: "axis columns", "aria-hidden": "true" }, make("span"));
    const step = pair.heads > 16 ? 4 : 1;
    for (let head = 0; head < pair.heads; head += 1) {
      axis.append(make("span", {}, head % step ? "" : String(head)));
    }
    map.style.setProperty("--heads", pair.heads);
    map.replaceChildren(axis, grid);
  };
  const cellAt = (map, at) => map.querySelector(`[data-place="${at}"]`);
  const read = (at) => {
    for (const map of maps) {
      map.querySelectorAll(".current").forEach((cell) => cell.classList.remove("current"));
      map.querySelectorAll('[tabindex="0"]').forEach((cell) => cell.setAttribute("tabindex", "-1"));
      cellAt(map, at).classList.add("current");
      cellAt(map, at).setAttribute("tabindex", "0");
    }
    place = at;
    const [a, b] = names();
    const parts = [make("strong", {}, nameOf(at)), `: ${kindWords(at)}.`];
    if (kindOf(at) !== "absent") {
      parts.push(` Score ${scoreText(scores(a)[at])} after ${a}, ${scoreText(scores(b)[at])} after ${b}.`);
      const found = tested(at);
      if (found) {
        parts.push(` Difference ${found.other} − ${data.reference}: `, found.difference,
          ", adjusted p = ", found.p, " (", found.n, " probe examples).");
      } else if (![a, b].includes(data.reference)) {
        parts.push(` Differences are tested against ${data.reference} only.`);
      }
    }
    reading.replaceChildren(...parts);
  };
  const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0],
    Home: [0, -Infinity], End: [0, Infinity], PageUp: [-Infinity, 0], PageDown: [Infinity, 0] };
  const within = (value, size) => Math.min(size - 1, Math.max(0, value));
  for (const map of maps) {
    map.addEventListener("keydown", (event) => {
      const move = MOVES[event.key];
      if (!move) return;
      event.preventDefault();
      const layer = within(Math.floor(place / pair.heads) + move[0], pair.layers);
      const head = within(place % pair.heads + move[1], pair.heads);
      cellAt(map, layer * pair.heads + head).focus();
    });
    for (const kind of ["focusin", "pointerover", "click"]) {
      map.addEventListener(kind, (event) => {
        const cell = event.target.closest("[data-place]");
        if (!cell) return;
        if (kind !== "pointerover") kept = Number(cell.dataset.place);
        if (Number(cell.dataset.place) !== place) read(Number(cell.dataset.place));
      });
    }
  }

  // ---- what the tables say of the pair ----
  const drawAgreement = (box) => {
    const [x, y] = names();
    const found = pair.similar.filter((s) => (s.a === x && s.b === y) || (s.a === y && s.b === x));
    if (!found.length || x === y) {
      box.replaceChildren(make("p", { class: "note" }, x === y
        ? "Choose two different training sets to see how far they agree."
        : "No agreement of these two was computed."));
      return;
    }
    const file = "head_similarity";
    const two = fixed(2);
    const measure = ([row, value, low, high, random]) => [
      numberOf(file, row, "value", value, two),
      make("small", {}, "[", numberOf(file, row, "low", low, two), ", ",
        numberOf(file, row, "high", high, two), "] random ", numberOf(file, row, "random", random, two)),
    ];
    const count = (s, i, column) => numberOf(file, s.counts[0], column, s.counts[i], String);
    const { a, b } = found[0];
    const head = [`seeds of ${a}, ${b}`, `heads of ${a}`, `heads of ${b}`, "shared", "recall",
      "precision", "cosine"];
    const rows = found.map((s) => [s.seeds.join(", "), count(s, 2, "heads_a"),
      count(s, 3, "heads_b"), count(s, 1, "shared"), measure(s.recall), measure(s.precision),
      measure(s.cosine)]);
    const read = `How to read: recall is the share of the heads of ${b} that ${a} has, too, precision `
      + `the share of the heads of ${a} that ${b} has, too (scores above 0), and `
      + "cosine that of all scores; in brackets the interval, and what as many random heads would give.";
    box.replaceChildren(make("p", { class: "read" }, read),
      scrolling(`Agreement of the heads of ${a} and ${b}`, head, rows));
  };
  const drawShared = (box, shared) => {
    const [a, b] = names();
    const lower = (at) => Math.min(scores(a)[at], scores(b)[at]);
    const top = [...shared].sort((i, j) => lower(j) - lower(i) || i - j).slice(0, LISTED);
    const other = a === b ? null : a === data.reference ? b : b === data.reference ? a : null;
    const rows = top.map((at) => {
      const button = make("button", { type: "button" }, nameOf(at));
      button.addEventListener("click", () => cellAt(maps[0], at).focus());
      const found = tested(at);
      const [own, others] = [a, b].map((name) =>
        make("span", { class: "derived" }, scoreText(scores(name)[at])));
      return [button, own, others]
        .concat(other ? [found ? found.difference : "–", found ? found.p : "–"] : []);
    });
    const head = ["head", `score after ${a}`, `score after ${b}`]
      .concat(other ? [`${other} − ${data.reference}`, "adjusted p"] : []);
    const read = `The ${top.length} strongest of ${shared.length} shared heads, by the lower of the `
      + "two scores. Choose one to find it in the maps."
      + (other ? " The difference is that over the probe examples that count after both." : "");
    box.replaceChildren(...(top.length ? [make("p", { class: "read" }, read),
      scrolling(`Shared heads of ${a} and ${b}`, head, rows)] : []));
  };

  const draw = () => {
    const [a, b] = names();
    const places = scores(a).map((_, at) => at);
    const of = (kind) => places.filter((at) => kindOf(at) === kind);
    const shared = of("both");
    const highest = Math.max(0, ...scores(a), ...scores(b));
    body.querySelector(".counts").textContent = `${shared.length} heads score above 0 after both, `
      + `${of("a").length} only after ${a}, ${of("b").length} only after ${b}, of `
      + `${places.length - of("absent").length}.`;
    body.querySelector(".ramp").replaceChildren("Score: 0 ", make("span", { class: "scale",
      "aria-hidden": "true" }), ` ${scoreText(highest)}, ${pair.score}; mean over `
      + `${pair.variants[a].n} probe examples, and over training seeds.`);
    names().forEach((name, side) => {
      document.getElementById(`explorer-map-${"ab"[side]}`).textContent = `Heads after ${name}`;
      drawMap(maps[side], side, highest);
    });
    drawAgreement(body.querySelector(".agreement"));
    drawShared(body.querySelector(".shared-heads"), shared);
    const strongest = shared.reduce((best, at) =>
      Math.min(scores(a)[at], scores(b)[at]) > Math.min(scores(a)[best], scores(b)[best]) ? at : best,
    shared.length ? shared[0] : 0);
    read(kept !== null && kept < places.length ? kept : strongest);
  };

  // ---- choosing ----
  const distinct = (items) => [...new Set(items)];
  const choose = (wanted) => {
    fill(chosen.model, distinct(data.pairs.map((p) => p.model)), wanted.model);
    const own = data.pairs.filter((p) => p.model === chosen.model.value);
    fill(chosen.task, own.map((p) => p.task), wanted.task);
    pair = own.find((p) => p.task === chosen.task.value);
    const variants = Object.keys(pair.variants);
    const usual = variants.find((name) => name !== data.reference && name !== "untuned");
    fill(chosen.a, variants, variants.includes(wanted.a) ? wanted.a : usual);
    fill(chosen.b, variants, variants.includes(wanted.b) ? wanted.b : data.reference);
    draw();
  };
  const current = () =>
    Object.fromEntries(Object.entries(chosen).map(([name, select]) => [name, select.value]));
  body.addEventListener("change", () => choose(current()));
  document.addEventListener("needlework:filter", ({ detail }) => {
    for (const [name, value] of [["model", detail.model], ["task", detail.task],
      ["a", detail.variant === chosen.b.value ? "" : detail.variant]]) {
      const offered = [...chosen[name].options].some((option) => option.value === value);
      if (offered) choose({ ...current(), [name]: value });
    }
  });
  choose({});
  body.hidden = false;
})();
