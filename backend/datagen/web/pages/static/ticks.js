// Ticks in a list with pages: how many there are, and, in a table that is turned by addresses, those of other pages.
"use strict";

// “3.7-9” is 3, 7, 8 and 9; see ticks.py
function unpacked(text) {
  const numbers = new Set();
  for (const part of text.split(".").filter(Boolean)) {
    const [first, last = first] = part.split("-").map(Number);
    for (let number = first; number <= last; number += 1) numbers.add(number);
  }
  return numbers;
}

for (const status of document.querySelectorAll("[data-tally]")) {
  const name = status.dataset.tally;
  const boxes = [...document.querySelectorAll(`input[type="checkbox"][name="${name}"]`)];
  const form = status.closest("form") || document.getElementById("download-form");
  const field = form.elements.namedItem("chosen");
  const list = status.closest("[data-ticks]");
  const unit = status.dataset.unit || "task";
  const elsewhere = unpacked(field.value);

  const show = () => {
    const count = elsewhere.size + boxes.filter((box) => box.checked).length;
    status.textContent = `${count.toLocaleString("en-GB")} ${unit}${count === 1 ? "" : "s"} ticked, on this and other pages.`;
    if (!list) return;
    list.hidden = count === 0;
    field.value = [...elsewhere].join(".");
    const ticked = boxes.filter((box) => box.checked).map((box) => Number(box.value));
    sessionStorage.setItem(list.dataset.ticks, JSON.stringify([...elsewhere, ...ticked]));
  };

  if (list) {
    // another page of the table has its own address, so the ticks wait in this tab of the browser
    const shown = new Map(boxes.map((box) => [Number(box.value), box]));
    for (const number of JSON.parse(sessionStorage.getItem(list.dataset.ticks) || "[]")) {
      if (shown.has(number)) shown.get(number).checked = true;
      else elsewhere.add(number);
    }
    list.querySelector("[name=clear]").addEventListener("click", (event) => {
      event.preventDefault();
      elsewhere.clear();
      for (const box of boxes) box.checked = false;
      show();
      (boxes[0] || document.querySelector("main a")).focus();
    });
    for (const button of document.querySelectorAll("button[data-href]")) {
      button.addEventListener("click", (event) => {
        event.preventDefault();
        location.href = button.dataset.href;
      });
    }
    const chosen = form.querySelector("[name=which][value=chosen]");
    list.querySelector("a[href='#download']").addEventListener("click", () => {
      document.getElementById("download").open = true;
      chosen.checked = true;
    });
  }
  for (const box of boxes) box.addEventListener("change", show);
  show();
}
