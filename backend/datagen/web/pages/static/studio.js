// What is more comfortable with a script: times in the reader's zone, and keys to go through images and pages.
"use strict";

const DAY_MS = 24 * 60 * 60 * 1000;
const FULL = { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" };

function showTimes(part) {
  for (const time of part.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    const local = at.toLocaleString("en-GB", FULL);
    time.title = `${local} ${Intl.DateTimeFormat().resolvedOptions().timeZone}`;
    // what happened a few hours ago reads best as it is, "3 hours ago"; an earlier day is a date of the reader's calendar
    if (time.classList.contains("exact") || Date.now() - at >= DAY_MS) time.textContent = local;
  }
}

showTimes(document);

for (const select of document.querySelectorAll("form[method=get].filters select")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}

// a switch shows and hides at once what its form would load the page again for
for (const form of document.querySelectorAll("form[data-switch]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const name = form.dataset.switch;
    const button = form.querySelector("button");
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    document.querySelector(".gallery").classList.toggle(name, on);
    document.getElementById(`${name}-legend`).classList.toggle("off", !on);
    const keep = (address) => {
      const url = new URL(address);
      if (on) url.searchParams.set(name, "yes");
      else url.searchParams.delete(name);
      return url.href;
    };
    for (const link of document.querySelectorAll(`a[data-keeps="${name}"]`)) link.href = keep(link.href);
    history.replaceState(history.state, "", keep(location.href));
  });
}

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, select, textarea")) return;
  if (document.querySelector(".pswp")) return; // the arrows belong to the opened viewer
  const rel = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
  const link = rel && document.querySelector(`a[rel=${rel}]`);
  if (link) link.click();
});
