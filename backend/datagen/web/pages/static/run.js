// The live parts of a run's page: by a stream of events, or, where the server has no room for one, by asking for them.
"use strict";

const section = document.querySelector("[data-stream]");
const ASK_AGAIN_MS = 5000;
let stream = null;
let timer = 0;

function show(state) {
  for (const [name, html] of Object.entries(state.parts)) {
    const part = document.querySelector(`[data-part="${name}"]`);
    if (part && part.dataset.shown !== html && !part.contains(document.activeElement)) {
      part.innerHTML = html;
      part.dataset.shown = html;
      showTimes(part);
    }
  }
  const shards = document.querySelector("[data-stored]");
  if (shards && Number(shards.dataset.stored) > 0) showStored();
  if (state.live) return;
  stop();
  // the page was loaded before the run ended
  for (const part of document.querySelectorAll("[data-until-done]")) part.hidden = true;
  for (const part of document.querySelectorAll("[data-when-done]")) part.hidden = false;
}

// the page was loaded before the first image was stored
function showStored() {
  for (const part of document.querySelectorAll("[data-until-stored]")) part.hidden = true;
  for (const part of document.querySelectorAll("[data-when-stored]")) part.hidden = false;
}

function stop() {
  if (stream) stream.close();
  stream = null;
  clearTimeout(timer);
}

function listen() {
  stop();
  stream = new EventSource(section.dataset.stream);
  stream.onmessage = (event) => show(JSON.parse(event.data));
  stream.onerror = () => {
    if (stream && stream.readyState === EventSource.CLOSED) {
      stop();
      timer = setTimeout(ask, ASK_AGAIN_MS);
    }
  };
}

async function ask() {
  timer = setTimeout(ask, ASK_AGAIN_MS);
  try {
    const answer = await fetch(section.dataset.state, { redirect: "error" });
    if (answer.ok) show(await answer.json());
  } catch {
    // the next attempt may succeed
  }
}

// a hidden page occupies no connection
function follow() {
  if (document.hidden) stop();
  else listen();
}

if (section && section.dataset.live === "yes") {
  document.addEventListener("visibilitychange", follow);
  window.addEventListener("pagehide", stop);
  follow();
}
