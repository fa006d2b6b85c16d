// The review sheet by keyboard, mouse and touch. A verdict shows at once; verdict_queue.js saves it.
"use strict";

(() => {
  const sheet = document.getElementById("sheet");
  const cards = [...sheet.children].filter((card) => card.querySelector("form"));
  if (!cards.length) return verdictQueue.start();
  const UNJUDGED = { opinion: "none", reasons: [], comment: "" };
  const longest = Number(sheet.dataset.longest), longestBytes = Number(sheet.dataset.longestBytes);
  const judged = document.getElementById("judged"), progress = document.getElementById("progress");
  const allJudged = document.getElementById("all-judged");
  const wasOpen = new Set(cards.filter((card) => "open" in card.dataset));
  const undone = [];
  let current = null;

  const of = (card, selector) => card.querySelector(selector);
  const form = (card) => of(card, "form");
  const boxes = (card) => [...card.querySelectorAll("input[name=reason]")];

  function stateOf(card) {
    const pressed = of(card, "button[aria-pressed=true]");
    return {
      opinion: pressed ? pressed.value : "none",
      reasons: boxes(card).filter((box) => box.checked).map((box) => box.value),
      comment: of(card, "textarea").value.trim(),
    };
  }

  function show(card, state) {
    for (const button of card.querySelectorAll("button[aria-pressed]")) {
      button.setAttribute("aria-pressed", String(button.value === state.opinion));
    }
    for (const box of boxes(card)) box.checked = state.reasons.includes(box.value);
    of(card, "textarea").value = state.comment;
    of(card, ".take-back").hidden = state.opinion === "none";
    of(card, ".verdict").textContent = state.opinion === "none" ? "not judged by you" : state.opinion;
    card.classList.remove("good", "bad", "disputed");
    if (state.opinion !== "none") card.classList.add(state.opinion);
    card.toggleAttribute("data-open", wasOpen.has(card) && state.opinion === "none");
  }

  const isJudged = (state) => Number(state.opinion !== "none");
  const said = new Map(cards.map((card) => [card, stateOf(card)]));
  const left = document.getElementById("left");
  const leftElsewhere = left ? Number(left.dataset.left) - wasOpen.size : 0;
  const judgedElsewhere = Number(judged.dataset.judged) - count();

  function count() {
    return cards.reduce((sum, card) => sum + isJudged(said.get(card)), 0);
  }

  function tell(card, sentence) {
    of(card, ".state").textContent = sentence;
  }

  // Gives a verdict, or takes it back; false if its comment is too long.
  function give(card, state, isUndo = false) {
    if (state.comment.length > longest || new TextEncoder().encode(state.comment).length > longestBytes) {
      const length = state.comment.length.toLocaleString("en");
      tell(card, `The comment has ${length} characters; ${longest.toLocaleString("en")} fit. Shorten it: nothing is saved.`);
      return false;
    }
    const before = said.get(card);
    if (JSON.stringify(before) === JSON.stringify(state)) return true;
    if (!isUndo) undone.push({ card, before });
    said.set(card, state);
    show(card, state);
    tell(card, "saving …");
    verdictQueue.put({ address: new URL(form(card).action).pathname, number: card.dataset.number, ...state });
    showProgress();
    return true;
  }

  function showProgress() {
    judged.textContent = String(judgedElsewhere + count());
    progress.value = judgedElsewhere + count();
    allJudged.hidden = progress.value < progress.max;
    if (left) left.textContent = String(leftElsewhere + cards.filter((card) => "open" in card.dataset).length);
  }

  function say(card, opinion) {
    const state = stateOf(card);
    return give(card, opinion === "none" ? UNJUDGED : { ...state, opinion });
  }

  function toggleReason(card, number) {
    const box = boxes(card)[number - 1];
    if (!box) return;
    box.checked = !box.checked;
    of(card, "details").open = true;
    chooseReasons(card);
  }

  // A reason without an opinion could not be saved, so the first one says bad.
  function chooseReasons(card) {
    const state = stateOf(card);
    if (state.opinion === "none" && !state.reasons.length) return;
    give(card, { ...state, opinion: state.opinion === "none" ? "bad" : state.opinion });
  }

  function undo() {
    const last = undone.pop();
    if (!last) return;
    give(last.card, last.before, true);
    go(last.card);
  }

  // -- moving

  function go(card) {
    if (!card) return;
    card.focus({ preventScroll: true });
    card.scrollIntoView({ block: "nearest" });
  }

  function goOn(card) {
    const place = cards.indexOf(card);
    const next = [...cards.slice(place + 1), ...cards.slice(0, place)].find((other) => "open" in other.dataset);
    if (next) return go(next);
    tell(card, "Every image on this page is judged.");
    const more = allJudged.hidden ? document.getElementById("more") : allJudged;
    if (more) more.focus();
  }

  function columns() {
    const top = sheet.children[0].offsetTop;
    return [...sheet.children].filter((card) => card.offsetTop === top).length;
  }

  const steps = {
    ArrowLeft: () => -1,
    ArrowRight: () => 1,
    ArrowUp: () => -columns(),
    ArrowDown: columns,
  };

  function first() {
    return current || cards.find((card) => "open" in card.dataset) || cards[0];
  }

  // -- keys, mouse and touch

  document.addEventListener("keydown", (event) => {
    const card = first();
    if (event.target.closest("textarea")) {
      if (event.key === "Escape") go(card);
      return;
    }
    if (event.target.closest("select, input:not([type=checkbox])") || event.altKey || event.isComposing) return;
    if (event.key === "Enter" && event.target.closest("input")) return event.preventDefault(); // it would press Good
    const key = event.key.toLowerCase();
    if (event.ctrlKey || event.metaKey) {
      if (key !== "z" || event.shiftKey) return;
      undo();
    } else if (event.key in steps) {
      go(current ? cards[cards.indexOf(card) + steps[event.key]()] : card);
    } else if (key === "g" || key === "b") {
      if (!event.repeat && say(card, key === "g" ? "good" : "bad")) goOn(card);
    } else if (/^[1-9]$/.test(key)) {
      if (!event.repeat) toggleReason(card, Number(key));
    } else if (key === "c") {
      of(card, "details").open = true;
      of(card, "textarea").focus();
    } else if (key === "u") {
      undo();
    } else {
      return;
    }
    event.preventDefault();
  });

  sheet.addEventListener("submit", (event) => {
    event.preventDefault();
    const card = event.target.closest("li");
    const opinion = event.submitter ? event.submitter.value : "none";
    say(card, opinion);
  });

  sheet.addEventListener("change", (event) => {
    const card = event.target.closest("li");
    if (event.target.matches("textarea") && stateOf(card).opinion === "none") {
      if (event.target.value.trim()) tell(card, "Say good or bad, so that the comment is saved.");
      return;
    }
    if (event.target.matches("textarea")) give(card, stateOf(card));
    else chooseReasons(card);
  });

  sheet.addEventListener("focusin", (event) => {
    const card = event.target.closest("li");
    if (!cards.includes(card)) return;
    if (current) current.classList.remove("current");
    current = card;
    card.classList.add("current");
  });

  // -- results of sent verdicts

  const cardOf = (entry) => cards.find((card) => new URL(form(card).action).pathname === entry.address);

  function lineOf(verdict) {
    const line = document.createElement("p"), opinion = document.createElement("span");
    const reviewer = document.createElement("span"), comment = document.createElement("q");
    opinion.className = `pill ${verdict.opinion}`;
    opinion.textContent = verdict.opinion;
    reviewer.dir = comment.dir = "auto";
    reviewer.textContent = verdict.reviewer;
    comment.textContent = verdict.comment.slice(0, 300);
    line.append(opinion, " ", reviewer, verdict.reasons.length ? ` · ${verdict.reasons.join(", ")}` : "", verdict.is_late ? " · too late" : "");
    if (verdict.comment) line.append(" ", comment);
    return line;
  }

  for (const card of cards) card.tabIndex = -1;
  cards[0].tabIndex = 0;
  document.querySelector(".keys").hidden = false;
  for (const entry of verdictQueue.entries()) {
    const card = cardOf(entry);
    if (!card) continue;
    const state = { opinion: entry.opinion, reasons: entry.reasons, comment: entry.comment };
    said.set(card, state);
    show(card, state);
    tell(card, "saving …");
  }
  showProgress();
  verdictQueue.start({
    saved(entry, answer) {
      const card = cardOf(entry);
      if (!card || said.get(card).opinion !== entry.opinion) return;
      tell(card, answer.note || "saved");
      card.classList.toggle("disputed", answer.is_disputed);
      of(card, ".others").replaceChildren(...answer.others.map(lineOf));
    },
    waits(entry, sentence) {
      const card = cardOf(entry);
      if (card) tell(card, `waits: ${sentence}`);
    },
    refused(entry, sentence) {
      const card = cardOf(entry), what = [entry.opinion, ...entry.reasons].join(", ");
      if (card) tell(card, `Not saved (${what}): ${sentence}`);
    },
  });
})();
