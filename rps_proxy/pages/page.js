// Follows the session's state. Changes between waiting states show here; any other state reloads the page, whose
// address, token included, then shows the notebook or another page.
"use strict";

const WAITING = ["pending", "queued", "starting"];
const FIRST_EVENT = 5000; // milliseconds; later, a proxy in between buffers the stream
const POLLS = 20; // polls before the next attempt to open a stream

const root = document.documentElement;
const shown = root.dataset.state;
const waits = WAITING.includes(shown);
let known = null; // the state received last
let ahead = 0; // milliseconds that the service's clock is ahead of the browser's
let stream = null;
let timer = 0;
let polls = 0;
let pause = 1000;
// The browser's own form of the page's language, such as `de-AT` for a page in German.
const locale = navigator.languages.find((one) => one.toLowerCase().split("-")[0] === root.lang.split("-")[0]) ?? root.lang;

function element(id) {
  return document.getElementById(id);
}

function receive(found) {
  known = found;
  ahead = found.now * 1000 - Date.now();
  if (found.phase === "ready") {
    if (waits) {
      show();
    }
    location.reload();
  } else if (waits && WAITING.includes(found.phase)) {
    show();
  } else if (found.phase !== shown) {
    location.reload();
  }
}

function show() {
  root.dataset.state = known.phase;
  document.title = known.tab;
  // Only if it changed: screen readers announce every assignment.
  for (const id of ["title", "text"]) {
    if (element(id).textContent !== known[id]) {
      element(id).textContent = known[id];
    }
  }
  row("estimate", known.estimate, (moment) => `${clock(moment)} (${away(moment)})`);
  row("seen", known.seen, (moment) => away(Math.min(moment, Date.now() + ahead)));
}

function row(id, seconds, words) {
  const there = typeof seconds === "number";
  element(`${id}-row`).hidden = !there;
  element(id).textContent = there ? words(seconds * 1000) : "";
}

// Format a time in the user's time zone and the page's language, with the date unless it is today.
function clock(moment) {
  const day = new Date(moment).toDateString() === new Date().toDateString();
  const date = day ? {} : { weekday: "short", day: "numeric", month: "short" };
  const format = { hour: "2-digit", minute: "2-digit", ...date };
  return new Intl.DateTimeFormat(locale, format).format(moment);
}

function away(moment) {
  const seconds = (moment - Date.now() - ahead) / 1000;
  if (Math.abs(seconds) < 60) {
    return seconds > 0 ? root.dataset.soon : root.dataset.recent;
  }
  const units = [["day", 86400], ["hour", 3600], ["minute", 60]];
  const [unit, length] = units.find(([, long]) => Math.abs(seconds) >= 2 * long) ?? units[2];
  return new Intl.RelativeTimeFormat(locale).format(Math.round(seconds / length), unit);
}

function listen() {
  stream = new EventSource("/.rps/events");
  timer = setTimeout(giveUp, FIRST_EVENT);
  stream.onmessage = (event) => {
    clearTimeout(timer);
    receive(JSON.parse(event.data));
  };
  stream.onerror = () => {
    // In other states the browser reconnects.
    if (stream.readyState === EventSource.CLOSED) {
      giveUp();
    }
  };
}

function giveUp() {
  stream.close();
  stream = null;
  clearTimeout(timer);
  look();
}

async function ask() {
  const answer = await fetch("/.rps/state", { cache: "no-store", credentials: "omit" });
  return answer.json();
}

async function look() {
  try {
    const found = await ask();
    if (found.phase !== "ready" || shown !== "not-answering" || (await answers())) {
      receive(found);
    }
    pause = waits ? 3000 : 1000;
  } catch {
    // The service is unavailable, or the browser is offline: poll less often.
    pause = Math.min(pause * 2, 15000);
  }
  polls += 1;
  timer = setTimeout(waits && polls % POLLS === 0 ? listen : look, pause);
}

// Check whether the notebook answers, by a small public resource.
async function answers() {
  const answer = await fetch("/favicon.ico", { cache: "no-store", method: "HEAD" });
  return answer.status !== 502;
}

if (waits && "EventSource" in window) {
  listen();
} else {
  timer = setTimeout(look, pause);
}
if (waits) {
  setInterval(() => known && show(), 10000); // "2 minutes ago" must be updated
  // After suspend or a change of network a stream may be dead without an error.
  const back = () => document.visibilityState === "visible" && ask().then(receive, () => {});
  document.addEventListener("visibilitychange", back);
  window.addEventListener("online", back);
}
