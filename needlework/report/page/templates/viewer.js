// The example viewer: a question, its documents, every run's answer, and where heads looked.
(() => {
  "use strict";
  const section = document.getElementById("viewer");
  const source = document.getElementById("viewer-data");
  if (!section || !source) return;
  const data = JSON.parse(source.textContent);
  const body = section.querySelector(".viewer");
  if (!data.tasks.some((task) => task.examples.length)) return;

  const chosen = Object.fromEntries(
    ["task", "model", "outcome", "previous", "next", "number", "run", "head"]
      .map((name) => [name, body.querySelector(`[name=${name}]`)]));
  const box = (name) => body.querySelector(`.${name}`);
  let task = null; // of data.tasks
  let at = 0; // the example that is shown, from 0

  // ---- elements; every text from data goes through here ----
  const away = (text) => make("span", { class: "away" }, text);
  const foreign = (text) => make("bdi", {}, text);
  const fill = (select, options, wanted) => {
    select.replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
    select.value = options.some(([value]) => value === wanted) ? wanted : options[0][0];
  };
  const listed = (items) => items.flatMap((item, i) => (i ? [", ", item] : [item]));
  const plural = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
  const leftOut = (n) => make("span", { class: "left-out" }, ` [… ${plural(n, "character")} left out …] `);

  // ---- runs and outcomes ----
  const ownRuns = () => task.runs.map((run, i) => [run, i]).filter(([run]) => run[0] === chosen.model.value);
  const verdicts = (example, variant) => ownRuns()
    .filter(([run, i]) => example.runs[i] && (variant === null || run[1] === variant))
    .map(([, i]) => example.runs[i][1]);
  const matches = (example) => {
    const [kind, variant = null] = chosen.outcome.value.split("/");
    const found = verdicts(example, variant);
    const right = found.filter(Boolean).length;
    return { all: true, right: right > 0 && right === found.length,
      wrong: found.length > 0 && right < (variant === null ? 1 : found.length),
      differ: right > 0 && right < found.length }[kind];
  };
  const outcomes = () => {
    const variants = [...new Set(ownRuns().map(([run]) => run[1]))];
    const several = (name) => ownRuns().filter(([run]) => run[1] === name).length > 1;
    const after = (kind, few, many) => variants.map((name) =>
      [`${kind}/${name}`, `${kind} after ${name}${several(name) ? many : few}`]);
    return [["all", "all examples"], ["right", "all answers right"], ["wrong", "all answers wrong"],
      ["differ", "answers disagree"], ...after("wrong", "", ", some seed"),
      ...after("right", "", ", every seed")];
  };

  // ---- answers ----
  const answerText = ([, , first, omitted, last]) => last === undefined ? [foreign(first)]
    : [foreign(first), leftOut(omitted), foreign(last)];
  const drawAnswers = (example) => {
    const rows = ownRuns().map(([run, i]) => {
      const answer = example.runs[i];
      const cells = answer
        ? [make("td", { class: "words said" }, ...answerText(answer)),
          make("td", { class: "derived" }, answer[0].toFixed(2)),
          make("td", { class: answer[1] ? "up" : "down" }, answer[1] ? "✓ right" : "✗ wrong")]
        : [make("td", { class: "words" }, "no answer"), make("td", {}, "–"), make("td", {}, "–")];
      return make("tr", {}, make("th", { scope: "row" }, run[1]), make("td", { class: "derived" }, String(run[2])), ...cells);
    });
    const head = [["training data"], ["seed"], ["answer", "words"], [task.metric], ["verdict"]];
    const table = make("table", {},
      make("caption", {}, `Answers of ${chosen.model.value}, scored by ${task.metric}.`),
      make("thead", {}, make("tr", {}, ...head.map(([text, kind]) =>
        make("th", { scope: "col", class: kind || null }, text)))),
      make("tbody", {}, ...rows));
    box("answers").replaceChildren(make("div", { class: "wide", tabindex: "0", role: "region",
      "aria-label": "Answers to this example" }, table));
  };

  // ---- attention ----
  const traced = (example) => {
    const runs = task.attention[chosen.model.value] || {};
    return Object.entries(runs).filter(([, run]) => run.answers[example.id]);
  };
  const chooseAttention = (example) => {
    const runs = traced(example);
    fill(chosen.run, [["", "nothing: not shown"],
      ...runs.map(([name, run]) => [`/${name}`, `${name}, seed ${run.seed}`])], chosen.run.value);
    const run = runs.find(([name]) => `/${name}` === chosen.run.value);
    fill(chosen.head, run ? run[1].heads.map(([layer, head, score]) =>
      [`${layer}-${head}`, `layer ${layer}, head ${head} (score ${score.toFixed(2)})`])
      : [["", "–"]], chosen.head.value);
    chosen.run.disabled = !runs.length;
    chosen.head.disabled = !run;
    return run ? run[1].answers[example.id] : null;
  };
  const written = (answer, rows) => listed(rows.map((row) => foreign(`‘${answer.tokens[row]}’`)));
  const drawLooked = (example, answer, spans) => {
    if (!answer) {
      const count = task.examples.filter((other) => traced(other).length).length;
      box("looked").replaceChildren(traced(example).length
        ? "Choose a training set to see where its heads looked while they wrote the answer."
        : count ? `Attention was traced for ${plural(count, "example")} of this task, not for this one.`
          : "Attention was not traced for this model and task.");
      return;
    }
    const rowsOf = (wanted) => spans.filter(([place]) => wanted(place)).flatMap((span) => span[3]);
    const inside = new Set(rowsOf((place) => place !== null && place >= 0));
    const outside = [...new Set(rowsOf((place) => place === null))];
    const unlisted = [...new Set(rowsOf((place) => place === -1))];
    const parts = [`Answer tokens of ${chosen.run.value.slice(1)}: `,
      ...written(answer, answer.tokens.map((_, i) => i)),
      `. The highest attention of this head fell on the documents below for ${inside.size} of `
      + `${answer.tokens.length} tokens; those places are outlined`];
    if (outside.length) parts.push("; outside of the documents for ", ...written(answer, outside));
    if (unlisted.length) parts.push("; on a document that is not listed for ", ...written(answer, unlisted));
    box("looked").replaceChildren(...parts, ".");
  };

  // ---- documents ----
  // Places count characters, strings count UTF-16 units: Array.from makes characters of them.
  const drawPart = ([from, text], needles, spans, answer) => {
    const characters = Array.from(text);
    const to = from + characters.length;
    const cuts = new Set([from, to]);
    for (const [start, end] of [...needles, ...spans]) {
      for (const cut of [start, end]) if (cut > from && cut < to) cuts.add(cut);
    }
    const places = [...cuts].sort((x, y) => x - y);
    return places.slice(0, -1).flatMap((start, i) => {
      const end = places[i + 1];
      const within = ([first, last]) => first <= start && last >= end && last > first;
      const needle = needles.filter(within);
      const span = spans.filter(within);
      const rows = [...new Set(span.flatMap((one) => one[2]))].sort((x, y) => x - y);
      const piece = make(needle.length ? "mark" : "span",
        { class: span.length ? "text attended" : "text" }, characters.slice(start - from, end - from).join(""));
      const before = needle.filter(([first]) => first === start)
        .map(([, , role, hop]) => away(`[${role} needle, hop ${hop}: `));
      const after = needle.filter(([, last]) => last === end)
        .map(([, , role, hop]) => make("small", { class: "role" }, away("] "),
          make("span", { "aria-hidden": "true" }, ` ${role} needle, hop ${hop} `)));
      const first = span.some((one) => one[0] === start);
      const last = span.some((one) => one[1] === end);
      return [...before, ...(first ? [away("[looked at: ")] : []), piece,
        ...(last ? [make("small", { class: "role" }, away(" while it wrote"), " ◂ ",
          ...written(answer, rows), " ", away("] "))] : []), ...after];
    });
  };
  const drawDocument = ([title, length, gold, parts, needles], i, spans, answer) => {
    const text = make("div", { class: "passage", dir: "auto" });
    let place = 0;
    for (const part of parts) {
      if (part[0] > place) text.append(leftOut(part[0] - place));
      text.append(...drawPart(part, needles, spans, answer));
      place = part[0] + Array.from(part[1]).length;
    }
    if (place < length) text.append(leftOut(length - place));
    const words = [gold ? "gold" : "", spans.length ? "attended" : ""].filter(Boolean);
    return make("article", { class: gold ? "doc gold" : "doc", tabindex: "-1" },
      make("p", { class: "doc-title" }, `Document ${i + 1}`,
        ...words.flatMap((word) => [" ", make("span", { class: "tag" }, word)]),
        " ", make("strong", { dir: "auto" }, foreign(title))), text);
  };
  const drawDocuments = (example, answer, spans) => {
    const on = (i) => spans.filter(([place]) => place === i).map(([, start, end, rows]) => [start, end, rows]);
    const documents = example.documents.map((one, i) => drawDocument(one, i, on(i), answer));
    const buttons = example.documents.flatMap((one, i) => {
      const words = [one[2] ? "gold" : "", on(i).length ? "attended" : ""].filter(Boolean);
      if (!words.length) return [];
      const button = make("button", { type: "button" }, `document ${i + 1} (${words.join(", ")})`);
      button.addEventListener("click", () => {
        const list = box("documents");
        list.scrollTop += documents[i].getBoundingClientRect().top - list.getBoundingClientRect().top;
        documents[i].focus({ preventScroll: true });
      });
      return [button, " "];
    });
    const count = example.count[chosen.model.value];
    const all = example.documents.length;
    const shownTo = task.attention[task.shown_to] ? Object.values(task.attention[task.shown_to]) : [];
    const whose = shownTo.some((run) => run.answers[example.id])
      ? `${plural(all, "document")}, as ${task.shown_to} was shown them`
      : `${plural(all, "document")} of the example`;
    const fewer = count !== undefined && count !== all
      ? `; the prompt of ${chosen.model.value} had room for ${count} of the example's` : "";
    box("places").replaceChildren(`${whose}${fewer}. ${buttons.length ? "Go to " : ""}`, ...buttons);
    box("documents").replaceChildren(...documents);
    box("documents").scrollTop = 0;
  };

  // ---- the example ----
  const draw = () => {
    const example = task.examples[at];
    const found = task.examples.map((one, i) => (matches(one) ? i : -1)).filter((i) => i >= 0);
    const rank = found.indexOf(at);
    const all = task.examples.length;
    const which = chosen.outcome.value === "all" ? "" : rank < 0
      ? `No example has this outcome; this one has another. `
      : `${rank + 1} of ${found.length} with this outcome. `;
    box("status").textContent = `Example ${at + 1} of ${all}. ${which}`
      + (all < task.total ? `These are the first ${all} of ${task.total} of the test.` : "");
    chosen.number.max = all;
    chosen.number.value = at + 1;
    chosen.previous.disabled = !found.some((i) => i < at);
    chosen.next.disabled = !found.some((i) => i > at);
    const accepted = example.accepted[chosen.model.value] || example.answers;
    box("question").replaceChildren(
      make("p", { class: "asked", dir: "auto" }, foreign(example.question)),
      make("p", {}, accepted.length > 1 ? "Accepted answers: " : "Accepted answer: ",
        ...listed(accepted.map(foreign))),
      make("p", { class: "note" }, foreign(example.id)));
    drawAnswers(example);
    const answer = chooseAttention(example);
    const spans = answer ? answer.spans[chosen.head.value] || [] : [];
    drawLooked(example, answer, spans);
    drawDocuments(example, answer, spans);
  };
  const step = (by) => {
    for (let i = at + by; i >= 0 && i < task.examples.length; i += by) {
      if (matches(task.examples[i])) { at = i; draw(); return; }
    }
  };
  const choose = (wanted) => {
    const tasks = data.tasks.filter((one) => one.examples.length);
    fill(chosen.task, tasks.map((one) => [one.task, one.task]), wanted.task);
    if (task !== tasks.find((one) => one.task === chosen.task.value)) at = 0;
    task = tasks.find((one) => one.task === chosen.task.value);
    const models = [...new Set(task.runs.map((run) => run[0]))];
    fill(chosen.model, models.map((name) => [name, name]), wanted.model);
    fill(chosen.outcome, outcomes(), wanted.outcome);
    chosen.task.closest("label").hidden = tasks.length < 2;
    chosen.model.closest("label").hidden = models.length < 2;
    if (!matches(task.examples[at])) {
      const first = task.examples.findIndex(matches);
      at = first < 0 ? at : first;
    }
    draw();
  };
  const current = () => ({ task: chosen.task.value, model: chosen.model.value, outcome: chosen.outcome.value });
  for (const name of ["task", "model", "outcome"]) {
    chosen[name].addEventListener("change", () => choose(current()));
  }
  for (const name of ["run", "head"]) chosen[name].addEventListener("change", draw);
  chosen.previous.addEventListener("click", () => step(-1));
  chosen.next.addEventListener("click", () => step(1));
  chosen.number.addEventListener("change", () => {
    const wanted = Math.round(Number(chosen.number.value));
    at = Math.min(task.examples.length, Math.max(1, wanted || 1)) - 1;
    if (!matches(task.examples[at])) chosen.outcome.value = "all";
    draw();
  });
  document.addEventListener("needlework:filter", ({ detail }) => {
    for (const [name, value] of [["task", detail.task], ["model", detail.model]]) {
      const offered = [...chosen[name].options].some((option) => option.value === value);
      if (offered) choose({ ...current(), [name]: value });
    }
    const run = `/${detail.variant}`;
    if ([...chosen.run.options].some((option) => option.value === run)) {
      chosen.run.value = run;
      draw();
    }
  });
  choose({});
  body.hidden = false;
})();
