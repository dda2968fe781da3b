"use strict";
// The page is whole without this: tables sort, and pictures lie over each other, only where it runs.

document.documentElement.classList.add("scripted");

// ---- tables

// Whole numbers stand in data-sort: they may be longer than a number here is exact, so they are never made one.
function compare(first, second) {
  const [one, other] = [first.dataset.sort, second.dataset.sort];
  if (one !== undefined && other !== undefined) {
    const [a, b] = [BigInt(one), BigInt(other)];
    return a < b ? -1 : a > b ? 1 : 0;
  }
  return first.textContent.localeCompare(second.textContent, "en", { numeric: true });
}

function sort(table, heads, column) {
  const head = heads[column];
  const before = head.getAttribute("aria-sort");
  const isNumber = head.classList.contains("number");
  // A column of numbers shows the largest first, a column of names begins with A.
  const order = before === "none" ? (isNumber ? "descending" : "ascending")
    : before === "ascending" ? "descending" : "ascending";
  for (const one of heads) one.setAttribute("aria-sort", one === head ? order : "none");
  const direction = order === "ascending" ? 1 : -1;
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => ({ row, cell: row.cells[column], none: row.cells[column].querySelector(".none") }));
  rows.sort((a, b) => (a.none ? 1 : 0) - (b.none ? 1 : 0) || direction * compare(a.cell, b.cell));
  body.append(...rows.map((one) => one.row));
}

for (const table of document.querySelectorAll("table.sorts")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => sort(table, heads, column));
  });
}

// ---- pictures

for (const pair of document.querySelectorAll(".slides")) {
  const slider = document.createElement("input");
  slider.type = "range";
  slider.min = "0";
  slider.max = "100";
  slider.value = "50";
  slider.setAttribute("aria-label", `before and after: ${pair.dataset.of}`);
  slider.addEventListener("input", () => pair.style.setProperty("--seen", `${slider.value}%`));
  pair.append(slider);
}
