// Stores each verdict in the browser until it is saved in Label Studio, and sends it again while Label Studio or the
// network is unavailable, or after the log-in ended. Every page sends the stored verdicts of its account.
"use strict";

const verdictQueue = (() => {
  const account = document.body.dataset.account || "";
  const prefix = `datagen.verdict ${account} `;
  const notice = document.getElementById("waiting");
  const FIRST_PAUSE_MS = 1000, LONGEST_PAUSE_MS = 30000, ANSWER_MS = 40000;
  // verdicts that the browser's storage refuses, because it is full or disabled
  const unstored = new Map();
  let listener = { saved() {}, refused() {}, waits() {} };
  let blocked = "", isSending = false, isAskedAgain = false, isLeaving = false, timer = 0;
  let pause = FIRST_PAUSE_MS, last = 0;

  function storedKeys() {
    try {
      return Object.keys(localStorage).filter((key) => key.startsWith(prefix));
    } catch {
      return [];
    }
  }

  // The waiting verdicts of this person, the oldest first; each image has one at most, the latest.
  function entries() {
    const waiting = new Map();
    for (const key of storedKeys()) {
      try {
        const entry = JSON.parse(localStorage.getItem(key));
        waiting.set(entry.address, entry);
      } catch {
        localStorage.removeItem(key); // not written by this script
      }
    }
    for (const [address, entry] of unstored) waiting.set(address, entry);
    return [...waiting.values()].sort((one, other) => one.order - other.order);
  }

  function put(verdict) {
    last = Math.max(Date.now(), last + 1);
    const entry = { ...verdict, order: last };
    try {
      localStorage.setItem(prefix + entry.address, JSON.stringify(entry));
      unstored.delete(entry.address);
    } catch {
      unstored.set(entry.address, entry);
    }
    send();
  }

  // Removes a verdict that was saved or refused, unless a later one on the same image replaced it meanwhile.
  function remove(entry) {
    const now = entries().find((other) => other.address === entry.address);
    if (!now || now.order !== entry.order) return;
    unstored.delete(entry.address);
    try {
      localStorage.removeItem(prefix + entry.address);
    } catch {
      // nothing is stored where nothing can be removed
    }
  }

  const token = () => document.querySelector("input[name=form_token]").value;

  function post(entry) {
    const body = new FormData();
    body.set("form_token", token());
    body.set("opinion", entry.opinion);
    body.set("comment", entry.comment);
    for (const reason of entry.reasons) body.append("reason", reason);
    return fetch(entry.address, {
      method: "POST",
      body,
      headers: { Accept: "application/json" },
      keepalive: true, // the request continues after the page is left
      signal: AbortSignal.timeout(ANSWER_MS),
    });
  }

  // Takes the form token of this page's newest version, after a log-in in another window; false if there is none.
  async function renewToken() {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const found = page.querySelector("input[name=form_token]");
    if (page.body.dataset.account !== account || !found || found.value === token()) return false;
    for (const input of document.querySelectorAll("input[name=form_token]")) input.value = found.value;
    return true;
  }

  // Sends one verdict; returns "" if it was saved or refused, else the reason for which all verdicts have to wait.
  async function deliver(entry, isSecondTry = false) {
    let answer, body;
    try {
      answer = await post(entry);
      body = await answer.json().catch(() => ({}));
      if (answer.status === 400 && !isSecondTry && (await renewToken())) return deliver(entry, true);
    } catch {
      return "unavailable"; // no network, no answer in time
    }
    if (answer.ok) {
      remove(entry);
      listener.saved(entry, body);
      return "";
    }
    if ([404, 409, 413].includes(answer.status)) {
      remove(entry);
      listener.refused(entry, body.sentence || "It is too long, or its image is not there any more.");
      return "";
    }
    if (body.sentence) listener.waits(entry, body.sentence);
    return { 400: "other", 401: "log-in" }[answer.status] || "unavailable";
  }

  // Sends the stored verdicts, the oldest first; returns the reason of a wait, or "". One failure stops no other.
  async function deliverAll() {
    let reason = "", failures = 0;
    for (const entry of entries()) {
      const outcome = await deliver(entry);
      failures = outcome ? failures + 1 : 0;
      reason = outcome || reason;
      if (failures > 1 || reason === "log-in" || reason === "other") break;
    }
    return reason;
  }

  async function send() {
    isAskedAgain = true;
    if (isSending || !account) return;
    isSending = true;
    clearTimeout(timer);
    while (isAskedAgain) {
      isAskedAgain = false;
      blocked = await deliverAll();
    }
    isSending = false;
    if (blocked) {
      timer = setTimeout(send, pause);
      pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
    } else {
      pause = FIRST_PAUSE_MS;
    }
    show();
  }

  function show() {
    const count = entries().length;
    notice.hidden = !(blocked && count);
    if (notice.hidden) return;
    const them = count === 1 ? "it is" : "they are";
    const waiting = count === 1 ? "1 verdict waits in this browser" : `${count} verdicts wait in this browser`;
    notice.replaceChildren({
      unavailable: `${waiting}; ${them} sent when Label Studio answers.`,
      "log-in": `Your log-in ended. ${waiting}; ${them} sent when you have logged in again. `,
      other: `${waiting}; ${them} sent when ${account} has logged in again. `,
    }[blocked]);
    if (blocked === "unavailable") return;
    const link = document.createElement("a");
    link.href = `/studio/log-in?next=${encodeURIComponent(location.pathname + location.search)}`;
    link.textContent = "Log in";
    link.addEventListener("click", () => { isLeaving = true; });
    notice.append(link);
  }

  addEventListener("beforeunload", (event) => {
    const isKept = !unstored.size && (isLeaving || !blocked || !entries().length);
    if (!isKept) event.preventDefault();
  });
  for (const event of ["online", "focus"]) addEventListener(event, () => { if (entries().length) send(); });

  return {
    put,
    entries,
    start(callbacks) {
      if (callbacks) listener = callbacks;
      if (entries().length) send();
    },
  };
})();

// review.js starts the queue on a page with a review sheet, once it can show the results.
if (!document.getElementById("sheet")) verdictQueue.start();
