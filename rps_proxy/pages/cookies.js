// Removes the cookies that make requests too large, largest first, until the rest is small. A script sees a cookie's
// name and value, but not its domain, its path or whether it is partitioned (CHIPS): all combinations are tried.
"use strict";

const SMALL = 8192; // characters of all cookies; enough for the logins of many notebooks

function pairs() {
  return document.cookie.split("; ").filter((pair) => pair);
}

function domains() {
  const labels = location.hostname.split(".");
  return ["", ...labels.map((_, first) => `; Domain=${labels.slice(first).join(".")}`)];
}

function paths() {
  const parts = location.pathname.split("/");
  const found = ["/"];
  for (let end = 2; end <= parts.length; end += 1) {
    const path = parts.slice(0, end).join("/");
    found.push(path, `${path}/`);
  }
  return found;
}

function remove(pair) {
  const name = pair.includes("=") ? pair.slice(0, pair.indexOf("=") + 1) : "";
  for (const domain of domains()) {
    for (const path of paths()) {
      const where = `Max-Age=0; Secure; Path=${path}${domain}`;
      document.cookie = `${name}x; ${where}`;
      document.cookie = `${name}x; ${where}; Partitioned`;
    }
  }
}

const before = pairs();
// No other session's page can set a cookie with the prefix `__Host-`: these are logins.
const suspects = before.filter((pair) => !pair.startsWith("__Host-"));
for (const pair of suspects.sort((one, other) => other.length - one.length)) {
  if (document.cookie.length <= SMALL) {
    break;
  }
  remove(pair);
}
const count = before.length - pairs().length;
if (count > 0 && document.cookie.length <= SMALL) {
  document.getElementById("count").textContent = String(count);
  document.getElementById("removed").hidden = false;
  document.getElementById("by-hand").hidden = true;
}
