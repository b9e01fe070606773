"use strict";
for (const button of document.querySelectorAll("button.copy")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {  // not allowed in this browser: select it, so that the keyboard copies it
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}

if (matchMedia("(max-width: 36rem)").matches) {  // where a row of a table takes many lines
  for (const part of document.querySelectorAll("details.layers")) part.open = false;
}

const gallery = document.querySelector(".gallery");
if (gallery) {
  const cards = [...gallery.children], form = document.querySelector("form[data-gallery]");
  const told = form.querySelector("output"), dialog = document.createElement("dialog");
  let open = null;
  const filter = () => {
    const wanted = Object.fromEntries(new FormData(form));
    for (const card of cards) {
      const confidence = 100 * card.dataset.confidence;
      card.hidden = confidence < wanted.least || confidence > wanted.most ||
        ["result", "true", "predicted", "known"].some((name) => wanted[name] && wanted[name] !== card.dataset[name]);
    }
    const shown = cards.filter((card) => !card.hidden).length;
    told.textContent = `${shown} of ${cards.length} images; ${wanted.least} to ${wanted.most} %`;
  };
  const enlarge = (card) => {
    open = card;
    const figure = card.querySelector("figure").cloneNode(true), more = card.querySelector("details");
    figure.querySelector(".frame").replaceWith(...figure.querySelectorAll(".frame > *"));
    const close = document.createElement("button");
    close.textContent = "Close";
    close.addEventListener("click", () => dialog.close());
    dialog.replaceChildren(close, figure, ...(more ? [...more.cloneNode(true).children].slice(1) : []));
    if (!dialog.open) dialog.showModal();
    close.focus();
  };
  dialog.setAttribute("aria-label", "Enlarged image");
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key], seen = cards.filter((card) => !card.hidden);
    const next = seen[seen.indexOf(open) + step];
    if (step && next) enlarge(next);
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  document.body.append(dialog);
  for (const card of cards) {
    const frame = card.querySelector(".frame"), image = frame.querySelector("img");
    if (!image) continue;
    frame.tabIndex = 0;
    frame.setAttribute("role", "button");
    frame.setAttribute("aria-label", `Enlarge ${image.alt}`);
    frame.addEventListener("click", () => enlarge(card));
    frame.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      enlarge(card);
    });
  }
  for (const link of document.querySelectorAll("a[href^='#image-'], a[*|href^='#image-']")) {
    link.addEventListener("click", (event) => {
      const card = document.getElementById((link.getAttribute("href") || link.href.baseVal).slice(1));
      if (!card) return;
      event.preventDefault();
      enlarge(card);
    });
  }
  form.hidden = false;
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  filter();
}

const matrix = document.querySelector("img[data-cells]");
if (matrix) {
  const { names, cells } = JSON.parse(matrix.dataset.cells), told = matrix.parentElement.querySelector("output");
  const counts = new Map(cells.map(([row, column, count]) => [row * names.length + column, count]));
  told.hidden = false;
  matrix.addEventListener("pointermove", (event) => {
    const box = matrix.getBoundingClientRect();
    const place = (part, whole) => Math.min(Math.max(Math.floor(part / whole * names.length), 0), names.length - 1);
    const row = place(event.clientY - box.top, box.height), column = place(event.clientX - box.left, box.width);
    told.textContent = `${names[row]} \u2192 ${names[column]}: ${counts.get(row * names.length + column) || 0}`;
  });
}

// On a narrow screen each row stands by itself, its values below each other (report.css).
for (const table of document.querySelectorAll("table.fold")) {
  const heads = [...table.tHead.rows[0].cells].map((head) => head.textContent.trim());
  table.setAttribute("role", "table");
  for (const row of table.tBodies[0].rows) {
    row.setAttribute("role", "row");
    [...row.cells].forEach((cell, column) => {
      cell.dataset.label = heads[column];
      cell.classList.toggle("blank", !cell.textContent.trim());
      cell.setAttribute("role", column ? "cell" : "rowheader");
    });
  }
  table.classList.add("folded");
}

for (const table of document.querySelectorAll("table[data-sortable]")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  const value = (row, column) => {
    const cell = row.cells[column], text = cell.dataset.value || cell.textContent.trim();
    const number = Number.parseFloat(text.replaceAll(",", "").replace("\u2212", "-"));
    return column && !Number.isNaN(number) ? number : text;
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.className = "sort";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") === "descending" || (!column && !head.hasAttribute("aria-sort"));
      heads.forEach((one) => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const compare = (a, b) => typeof a === typeof b ? (a < b ? -1 : Number(a > b)) : (typeof a === "number" ? -1 : 1);
      const rows = [...body.rows].sort((a, b) => (up ? 1 : -1) * compare(value(a, column), value(b, column)));
      body.append(...rows);
    });
  });
}

for (const form of document.querySelectorAll("form[data-submit]")) {
  const input = form.querySelector("input[type=file]");
  const give = (files) => {
    if (!files.length) return;
    input.files = files;
    form.requestSubmit();
  };
  input.addEventListener("change", () => form.requestSubmit());
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => { event.preventDefault(); give(event.dataTransfer.files); });
  document.addEventListener("paste", (event) => give(event.clipboardData.files));
}
