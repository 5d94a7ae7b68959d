// What every section of the page shares: sorted tables, hover values, filters, the theme.
(() => {
  "use strict";
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // ---- tables sort by the column whose heading is pressed ----
  const keyOf = (cell) => {
    const text = cell.dataset.value ?? cell.querySelector("data")?.value ?? cell.textContent.trim();
    if (text === "" || text === "–") return null;
    return Number.isFinite(Number(text)) ? Number(text) : text;
  };
  const compare = (a, b) => {
    if (typeof a === typeof b) return typeof a === "number" ? a - b : a.localeCompare(b);
    return typeof a === "number" ? -1 : 1;
  };
  const sort = (table, heading) => {
    const sign = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [keyOf(row.cells[heading.cellIndex]), row]);
    // What is missing stands last, whichever way round the rest is.
    rows.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b)));
    const sorted = document.createDocumentFragment();
    for (const [, row] of rows) sorted.append(row);
    body.append(sorted);
    enter(table);
  };
  for (const table of all("table.sortable")) {
    for (const heading of table.tHead.rows[0].cells) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      button.addEventListener("click", () => sort(table, heading));
      heading.append(button);
    }
  }

  // ---- arrow keys lead from number to number; Tab reaches one of each table and answer ----
  const GROUPS = "table.sortable, article";
  const readable = (cell) => cell?.querySelector("data") && !cell.parentElement.hidden;
  const first = (group) => (group.matches("table")
    ? all("tbody td", group).find(readable) : group.querySelector("data"));
  const enter = (group, place = first(group)) => {
    for (const old of all("td[tabindex], data[tabindex]", group)) old.removeAttribute("tabindex");
    place?.setAttribute("tabindex", "0");
  };
  const neighbour = (cell, [down, right]) => {
    const rows = cell.parentElement.parentElement.rows;
    let [row, column] = [cell.parentElement.sectionRowIndex, cell.cellIndex];
    let next = cell;
    do {
      row += down;
      column += right;
      next = rows[row]?.cells[column];
    } while (next && !readable(next));
    return next;
  };
  const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  document.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    const place = event.target;
    const group = place.hasAttribute?.("tabindex") && place.matches("td, data") && place.closest(GROUPS);
    if (!step || !group) return;
    event.preventDefault();
    const numbers = all("data", group);
    const next = place.matches("td")
      ? neighbour(place, step) : numbers[numbers.indexOf(place) + step[0] + step[1]];
    if (!next) return;
    enter(group, next);
    next.focus();
  });
  for (const group of all(GROUPS)) enter(group);

  // ---- one tooltip, for numbers of tables and for marks of figures ----
  const tip = document.getElementById("tip");
  for (const title of all("main svg title")) {
    title.parentElement.dataset.tip = title.textContent;
    title.remove(); // else the browser would show a second one
  }
  for (const titled of all("main [title]")) {
    titled.dataset.tip = titled.title;
    titled.removeAttribute("title");
  }
  const lines = (element) => {
    const numbers = element.matches("data") ? [element] : all("data[data-csv]", element);
    const values = numbers.map((number) => `${number.dataset.column}: ${number.value}`);
    const sources = numbers.map(({ dataset }) => `${dataset.csv}, row ${dataset.row}, the first being 0`);
    return [...values, ...new Set(sources)].join("\n");
  };
  const described = (target) => {
    if (!target.closest) return [];
    const marked = target.closest("[data-tip]");
    if (marked) return [marked, marked.dataset.tip];
    const number = target.closest("td") ?? target.closest("data[data-csv]");
    const text = number ? lines(number) : "";
    return text ? [number, text] : [];
  };
  let shown = null;
  const hide = () => {
    shown?.removeAttribute("aria-describedby");
    shown = null;
    tip.hidden = true;
  };
  const show = (target, at) => {
    const [element, text] = described(target);
    if (!element) return hide();
    if (element !== shown) hide();
    shown = element;
    element.setAttribute("aria-describedby", "tip");
    tip.textContent = text;
    tip.hidden = false;
    // A mark may be as wide as its figure: there the pointer says where to look.
    const box = element.getBoundingClientRect();
    const [x, top, bottom] = at && element.closest("svg")
      ? [at.clientX, at.clientY, at.clientY] : [box.left, box.top, box.bottom];
    const below = bottom + 8 + tip.offsetHeight <= innerHeight;
    tip.style.left = `${Math.max(8, Math.min(x, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${below ? bottom + 8 : Math.max(8, top - tip.offsetHeight - 8)}px`;
  };
  document.addEventListener("pointerover", (event) => show(event.target, event));
  document.addEventListener("focusin", (event) => show(event.target));
  document.addEventListener("focusout", hide);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  // What has the focus keeps its tooltip: the focus itself scrolls to what is out of sight.
  const follow = () => (shown && shown === document.activeElement ? show(shown) : hide());
  document.addEventListener("scroll", follow, { capture: true, passive: true });

  // ---- filters ----
  const filters = document.getElementById("filters");
  const NAMES = ["model", "task", "variant"];
  const own = (element) => !element.closest("#explorer, #viewer, #filters");
  const filtered = all("main [data-model], main [data-task], main [data-variant]").filter(own);
  const rows = all("table.sortable tbody tr").filter(own);
  const filter = () => {
    const wanted = Object.fromEntries(NAMES.map((name) => [name, filters.elements[name]?.value ?? ""]));
    for (const element of filtered) {
      const given = element.dataset;
      // A comparison is of two variants, with a space between.
      element.hidden = NAMES.some(
        (name) => wanted[name] && given[name] && !given[name].split(" ").includes(wanted[name]));
    }
    for (const table of all("table.sortable")) enter(table);
    const left = rows.filter((row) => !row.hidden && !row.closest("div[hidden]")).length;
    const chosen = NAMES.some((name) => wanted[name]);
    filters.querySelector("output").textContent = chosen ? `${left} of ${rows.length} rows of tables shown` : "";
    filters.querySelector("button").hidden = !chosen;
    document.dispatchEvent(new CustomEvent("needlework:filter", { detail: wanted }));
  };
  if (filters.querySelector("select")) {
    const clear = filters.querySelector("button");
    filters.hidden = false;
    clear.hidden = true;
    filters.addEventListener("change", filter);
    clear.addEventListener("click", () => {
      filters.reset();
      filter();
      filters.querySelector("select").focus(); // the button is gone
    });
    filters.addEventListener("submit", (event) => event.preventDefault());
  }

  // ---- the list of sections says which one is read ----
  const links = all("nav a");
  const seen = new IntersectionObserver((entries) => {
    const entered = entries.find((entry) => entry.isIntersecting);
    if (!entered) return;
    for (const link of links) {
      if (link.hash === `#${entered.target.id}`) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }, { rootMargin: "-20% 0px -75%" });
  for (const section of all("main > section")) seen.observe(section);

  // ---- theme: the reader's system decides, until the button does, for as long as the page is open ----
  const theme = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const label = () => { theme.textContent = isDark() ? "Light theme" : "Dark theme"; };
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    label();
  });
  dark.addEventListener("change", label);
  label();
  theme.hidden = false;
})();
