// What is more comfortable with a script: times in the reader's zone, and keys to go through images and pages.
"use strict";

const DAY_MS = 24 * 60 * 60 * 1000;
const FULL = { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" };

for (const time of document.querySelectorAll("time[datetime]")) {
  const at = new Date(time.dateTime);
  const local = at.toLocaleString("en-GB", FULL);
  time.title = `${local} ${Intl.DateTimeFormat().resolvedOptions().timeZone}`;
  // what happened a few hours ago reads best as it is, "3 hours ago"; an earlier day is a date of the reader's calendar
  if (time.classList.contains("exact") || Date.now() - at >= DAY_MS) time.textContent = local;
}

for (const select of document.querySelectorAll("form[method=get].filters select")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, select, textarea")) return;
  if (document.querySelector(".pswp")) return; // the arrows belong to the opened viewer
  const rel = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
  const link = rel && document.querySelector(`a[rel=${rel}]`);
  if (link) link.click();
});
