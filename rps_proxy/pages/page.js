// Asks how the session stands and, when that changed, loads the page anew: the same address, with the
// token in it, now shows the notebook, or another page.
"use strict";

const shown = document.documentElement.dataset.state;
let wait = 1000;

async function look() {
  try {
    const answer = await fetch("/.rps/state", { cache: "no-store", credentials: "omit" });
    const { phase } = await answer.json();
    if (phase !== shown && !(phase === "ready" && shown === "not-answering")) {
      location.reload();
      return;
    }
    if (phase === "ready" && (await answers())) {
      location.reload();
      return;
    }
    wait = 1000;
  } catch {
    // The service is away for a moment, or this machine is offline: ask less often.
    wait = Math.min(wait * 2, 15000);
  }
  setTimeout(look, wait);
}

// The route is there, but did the notebook not answer? Ask it for something small and public.
async function answers() {
  const answer = await fetch("/favicon.ico", { cache: "no-store", method: "HEAD" });
  return answer.status !== 502;
}

setTimeout(look, wait);
