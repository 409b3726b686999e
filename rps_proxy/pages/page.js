// Hears how the session stands. What is waited for shows here; with anything else the page is loaded
// anew: the same address, with the token in it, now shows the notebook, or another page.
"use strict";

const WAITING = ["pending", "queued", "starting"];
const FIRST_WORD = 5000; // milliseconds that a stream may take; something in between holds it back
const POLLS = 20; // after so many, a stream is tried again

const root = document.documentElement;
const shown = root.dataset.state;
const waits = WAITING.includes(shown);
let known = null; // what was heard last
let ahead = 0; // milliseconds by which the service's clock is ahead of ours
let stream = null;
let timer = 0;
let polls = 0;
let pause = 1000;

function element(id) {
  return document.getElementById(id);
}

function hear(found) {
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
  document.title = known.title;
  // Set only where it changed: a screen reader says it again.
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

// A moment in the time zone of whoever looks: the time of today, else with its day.
function clock(moment) {
  const day = new Date(moment).toDateString() === new Date().toDateString();
  const date = day ? {} : { weekday: "short", day: "numeric", month: "short" };
  const format = { hour: "2-digit", minute: "2-digit", ...date };
  return new Intl.DateTimeFormat(undefined, format).format(moment);
}

function away(moment) {
  const seconds = (moment - Date.now() - ahead) / 1000;
  if (Math.abs(seconds) < 60) {
    return seconds > 0 ? "in less than a minute" : "less than a minute ago";
  }
  const units = [["day", 86400], ["hour", 3600], ["minute", 60]];
  const [unit, length] = units.find(([, long]) => Math.abs(seconds) >= 2 * long) ?? units[2];
  return new Intl.RelativeTimeFormat("en").format(Math.round(seconds / length), unit);
}

function listen() {
  stream = new EventSource("/.rps/events");
  timer = setTimeout(giveUp, FIRST_WORD);
  stream.onmessage = (event) => {
    clearTimeout(timer);
    hear(JSON.parse(event.data));
  };
  stream.onerror = () => {
    // Else it comes back by itself.
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
      hear(found);
    }
    pause = waits ? 3000 : 1000;
  } catch {
    // The service is away for a moment, or this machine is offline: ask less often.
    pause = Math.min(pause * 2, 15000);
  }
  polls += 1;
  timer = setTimeout(waits && polls % POLLS === 0 ? listen : look, pause);
}

// The route is there, but did the notebook not answer? Ask it for something small and public.
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
  setInterval(() => known && show(), 10000); // "2 minutes ago" does not stay true
  // After a sleep, or on another network, a stream may be dead without a word.
  const back = () => document.visibilityState === "visible" && ask().then(hear, () => {});
  document.addEventListener("visibilitychange", back);
  window.addEventListener("online", back);
}
