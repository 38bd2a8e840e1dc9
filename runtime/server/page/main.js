// Puts the page together: what is asked, what is watched, keys of the keyboard, dark and light.

import { schemaBox, toolsBox } from "./boxes.js";
import { Chat } from "./chat.js";
import { get, key, Refused } from "./client.js";
import { at, make, pretty } from "./dom.js";
import { EXAMPLES } from "./examples.js";
import { Gauges } from "./gauges.js";
import { Tree } from "./tree.js";

const AWAKE = 250; // milliseconds between looks at the engine while something runs
const ASLEEP = 2000;

const drawers = ["schema", "tools", "settings"];
const chat = new Chat({ ask, refused, changed });
const schema = schemaBox(changed);
const tools = toolsBox(changed);
const gauges = new Gauges();
const tree = new Tree();
let looking = null;

// -- what is asked ---------------------------------------------------------------------------------

const within = (id) => {
  const input = at(id);
  const value = input.valueAsNumber;
  return Number.isFinite(value) && input.validity.valid ? value : null;
};

function ask() {
  const held = at("schema-on").checked && schema.value !== null;
  const fields = { ...(held ? schema.value : {}), temperature: within("temperature") ?? 0 };
  const choice = at("tool-choice").value;
  if (tools.value !== null && choice !== "none") Object.assign(fields, { tools: tools.value, tool_choice: choice });
  for (const [name, id] of [["max_tokens", "max-tokens"], ["n", "count"], ["seed", "seed"]])
    if (within(id) !== null) fields[name] = within(id);
  return { ...fields, system: at("system").value.trim(), held };
}

// Why the message cannot be sent as things stand; null when it can.
function hindrance() {
  if (at("schema-on").checked && at("schema").value.trim() && schema.value === null) return "The schema is not good yet.";
  if (at("tools").value.trim() && tools.value === null) return "The tools are not good yet.";
  const wrong = [...document.querySelectorAll("#settings-box input")].find((input) => !input.validity.valid);
  return wrong ? `${wrong.closest("label").firstChild.textContent.trim()}: ${wrong.validationMessage}` : null;
}

async function submit() {
  const text = at("ask").value.trim();
  if (!text || chat.busy) return;
  await Promise.all([schema.pending, tools.pending]);
  if (chat.busy || hindrance() !== null) return changed();
  at("ask").value = "";
  grow();
  look();
  await chat.say(text);
}

function changed() {
  const hinders = hindrance();
  at("send").hidden = chat.busy;
  at("stop").hidden = !chat.busy;
  at("send").disabled = hinders !== null;
  const held = schema.value !== null && at("schema-on").checked ? "held to the schema" : "";
  const called = tools.value !== null && at("tool-choice").value !== "none" ? `${tools.value.length} tools` : "";
  at("held").textContent = hinders ?? (held || called);
}

function grow() {
  const area = at("ask");
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + 2}px`;
}

function open(name, wanted) {
  for (const one of drawers) {
    const shown = one === name && (wanted ?? at(`${one}-box`).hidden);
    at(`${one}-box`).hidden = !shown;
    document.querySelector(`[data-drawer="${one}"]`).setAttribute("aria-expanded", String(shown));
    if (shown) at(`${one}-box`).querySelector("textarea").focus();
  }
}

async function example({ text, fields = {} }) {
  at("schema-kind").value = "json_schema";
  at("schema-on").checked = true;
  at("system").value = "";
  at("count").value = fields.count ?? 1;
  at("temperature").value = fields.temperature ?? 0;
  await Promise.all([schema.set(pretty(fields.schema)), tools.set(pretty(fields.tools))]);
  open(fields.schema ? "schema" : fields.tools ? "tools" : null, true);
  at("ask").value = text;
  grow();
  at("ask").focus();
  await submit();
}

// -- what is watched -------------------------------------------------------------------------------

async function look() {
  clearTimeout(looking);
  looking = null;
  if (document.hidden) return;
  let pause = ASLEEP;
  try {
    const info = await get("/server_info");
    const view = await get("/cache/tree?max_nodes=160&hottest=40&text_tokens=96");
    gauges.show(info.stats, performance.now());
    tree.show(view);
    state("ready", info.state === "ready" ? "ready" : info.state);
    at("model").textContent = `${info.model} on ${info.engine.device}, ${info.engine.dtype}`;
    pause = chat.busy || info.inflight || info.stats.running ? AWAKE : ASLEEP;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    pause = unseen(error);
  } finally {
    clearTimeout(looking);
    looking = pause === null ? null : setTimeout(look, pause);
  }
}

// The engine cannot be looked at: with another key, later, or never. Returns when to look again.
function unseen(error) {
  if (error.status === 401) {
    state("failed", "needs a key");
    tree.tell("The server asks for a key.");
    refused(error);
    return null;
  }
  if (error.status === 403 && error.code === "admin_key_needed") {
    state("ready", "ready");
    tree.tell("The tree shows the prefixes of everybody who uses this server, so it takes the admin key.");
    named();
    return null;
  }
  state("failed", error.message);
  return ASLEEP;
}

async function named() {
  const { data } = await get("/v1/models").catch(() => ({ data: [] }));
  at("model").textContent = data[0]?.id ?? "";
}

function state(kind, text) {
  const node = at("state");
  node.dataset.state = kind;
  if (node.textContent !== text) node.textContent = text;
}

// -- the key ---------------------------------------------------------------------------------------

function refused(error) {
  if (error.status !== 401 || at("key-dialog").open) return;
  at("key-why").textContent = key.get()
    ? "The server does not know this key."
    : "This server asks for a key. The admin key also shows the cache.";
  at("key").value = "";
  at("key-dialog").showModal();
}

async function used(value) {
  key.set(value);
  at("key").value = "";
  tree.names = await own(value);
  schema.look(0);
  tools.look(0);
  look();
}

// The namespace of a key is a part of its hash: so the page knows its own prefixes.
async function own(value) {
  if (!value || !globalThis.crypto?.subtle) return new Map();
  const bytes = new TextEncoder().encode(`espalier key\u0000${value}`);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const name = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("").slice(0, 32);
  return new Map([[name, `you (key ${name.slice(0, 8)})`]]);
}

// -- dark and light, keys --------------------------------------------------------------------------

const darkness = matchMedia("(prefers-color-scheme: dark)");

function paint(theme) {
  document.documentElement.dataset.theme = theme ?? (darkness.matches ? "dark" : "light");
}

function turn() {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem("espalier-theme", theme);
  paint(theme);
}

const shortcuts = {
  "/": () => at("ask").focus(),
  s: () => open("schema"),
  t: () => open("tools"),
  o: () => open("settings"),
  c: () => at("tree").focus(),
  n: fresh,
  d: turn,
  "?": () => at("help-dialog").showModal(),
};

function fresh() {
  chat.clear();
  at("ask").focus();
}

function pressed(event) {
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") {
    if (chat.busy) chat.stop();
    else document.activeElement?.blur();
    return;
  }
  const typing = event.target.closest("input, textarea, select");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !(event.key in shortcuts)) return;
  event.preventDefault();
  shortcuts[event.key]();
}

function begin() {
  paint(localStorage.getItem("espalier-theme"));
  darkness.addEventListener("change", () => paint(localStorage.getItem("espalier-theme")));
  for (const one of EXAMPLES)
    at("examples").append(make("button", { type: "button", onclick: () => example(one) }, one.title, make("small", {}, one.about)));
  at("composer").addEventListener("submit", (event) => (event.preventDefault(), submit()));
  at("composer").addEventListener("input", changed);
  at("composer").addEventListener("change", changed);
  at("ask").addEventListener("input", grow);
  at("ask").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    submit();
  });
  at("stop").addEventListener("click", () => chat.stop());
  at("fresh").addEventListener("click", fresh);
  at("schema-clear").addEventListener("click", () => schema.set(""));
  at("tools-clear").addEventListener("click", () => tools.set(""));
  for (const one of drawers) document.querySelector(`[data-drawer="${one}"]`).addEventListener("click", () => open(one));
  at("theme").addEventListener("click", turn);
  at("open-help").addEventListener("click", () => at("help-dialog").showModal());
  at("open-key").addEventListener("click", () => at("key-dialog").showModal());
  at("key-form").addEventListener("submit", () => used(at("key").value.trim()));
  at("key-forget").addEventListener("click", () => (at("key-dialog").close(), used("")));
  document.addEventListener("keydown", pressed);
  document.addEventListener("visibilitychange", look);
  own(key.get()).then((names) => (tree.names = names));
  changed();
  look();
  at("ask").focus();
}

begin();
