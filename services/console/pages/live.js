// Shows events of the log as they come. Everything that is shown goes in as text.
"use strict";

const MOST = 500;
const list = document.getElementById("events");
const state = document.getElementById("state");
const row = document.getElementById("row");
const source = new EventSource(list.dataset.source);

const say = (text) => {
  if (state.textContent !== text) state.textContent = text;
};

source.addEventListener("open", () => say("Following."));
source.addEventListener("error", () => {
  say(source.readyState === EventSource.CLOSED ? "It has ended. Load the page anew." : "Connecting again …");
});
source.addEventListener("ended", (message) => {
  source.close();
  say(`It has ended: ${JSON.parse(message.data)}. Load the page anew.`);
});
source.addEventListener("log", (message) => {
  const event = JSON.parse(message.data);
  const one = row.content.cloneNode(true);
  for (const name of ["position", "at", "type", "actor", "said"]) {
    one.querySelector(`[data-field="${name}"]`).textContent = event[name];
  }
  list.prepend(one);
  while (list.children.length > MOST) list.lastElementChild.remove();
  document.getElementById("none").hidden = true;
});
