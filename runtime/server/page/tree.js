// The prefix tree, drawn as an espalier: a run of tokens is a limb, to the right what follows it,
// and the first branch goes on along the same wire. What requests share is one limb.

import { at, draw, make, number } from "./dom.js";

const ROW = 27;
const CHARACTER = 6.95; // of the labels' font, in pixels
const HIDDEN = /^health$|\+check$/; // the server's own one-token questions

const length = (tokens) => 12 + 21 * Math.log2(1 + tokens);
const stateOf = ({ users, pinned, recent }) =>
  users > 0 ? "used" : pinned ? "pinned" : recent > 1 ? "shared" : "idle";
const oneLine = (text) => text.replace(/\s+/g, " ").trim();

// Where everything stands: rows from the top, x from the left, in pixels before scaling.
export function layout(nodes) {
  const made = nodes.map((node) => ({ node, below: [], key: "" }));
  const roots = new Map();
  const keys = new Set();
  for (const limb of made) {
    const { node } = limb;
    if (HIDDEN.test(node.namespace)) continue;
    const above = node.parent === null ? null : made[node.parent];
    limb.key = `${above ? above.key : node.namespace}/${node.head[0]}`;
    while (keys.has(limb.key)) limb.key += "'"; // pages of tokens may begin alike
    keys.add(limb.key);
    limb.above = above;
    if (above) above.below.push(limb);
    else if (roots.has(node.namespace)) roots.get(node.namespace).push(limb);
    else roots.set(node.namespace, [limb]);
  }
  const limbs = [];
  const owners = [];
  let row = 0;
  for (const [namespace, first] of roots) {
    owners.push({ namespace, row: row++ });
    for (const root of first) row = place(root, row, limbs);
  }
  return { limbs, owners, rows: row, width: Math.max(0, ...limbs.map((limb) => limb.right)) };
}

// Depth first without recursion: a chat of many turns is a deep path.
function place(root, row, limbs) {
  const stack = [root];
  let next = row;
  while (stack.length) {
    const limb = stack.pop();
    const follows = limb.above && limb.above.below[0] === limb;
    limb.row = follows ? limb.above.row : next++;
    limb.left = limb.above ? limb.above.right : 0;
    limb.right = limb.left + length(limb.node.end - limb.node.start);
    limbs.push(limb);
    stack.push(...[...limb.below].reverse());
  }
  return next;
}

export class Tree {
  constructor() {
    this.box = at("tree");
    this.svg = draw("svg", { "aria-hidden": "true" });
    this.drawn = new Map();
    this.chosen = null;
    this.view = null;
    this.names = new Map();
    this.box.addEventListener("keydown", (event) => this.walk(event));
    new ResizeObserver(() => this.view && this.show(this.view)).observe(this.box);
  }

  // Instead of a tree: why there is none to be seen.
  tell(text) {
    this.view = null;
    this.drawn.clear();
    this.box.replaceChildren(make("p", { class: "empty" }, text));
    at("tree-size").textContent = "";
    at("node").replaceChildren();
  }

  show(view) {
    this.view = view;
    const made = layout(view.nodes);
    at("tree-size").textContent = `${number(view.total_tokens)} tokens in ${number(view.total_nodes)} runs`;
    if (!made.limbs.length) {
      this.tell("Nothing is cached yet. Ask something: its tokens grow here, and what later questions share with it is one limb.");
      return;
    }
    if (!this.svg.isConnected) {
      this.svg.replaceChildren();
      this.drawn.clear();
      this.box.replaceChildren(this.svg);
    }
    const room = Math.max(240, this.box.clientWidth - 16);
    const scale = Math.min(1.6, (room - 90) / made.width);
    this.svg.setAttribute("width", room);
    this.svg.setAttribute("height", made.rows * ROW + 8);
    this.made = made;
    this.paint(made, scale, room);
    this.describe();
  }

  paint(made, scale, room) {
    const kept = new Set();
    const oldest = Math.max(1, ...made.limbs.map(({ node }) => this.view.now - node.last_use));
    for (const limb of made.limbs) {
      kept.add(limb.key);
      let drawn = this.drawn.get(limb.key);
      if (drawn === undefined) this.drawn.set(limb.key, (drawn = this.plant(limb.key)));
      this.shape(drawn, limb, scale, room, oldest);
    }
    for (const [key, drawn] of this.drawn) {
      if (kept.has(key)) continue;
      drawn.group.remove();
      this.drawn.delete(key);
    }
    this.svg.querySelectorAll(".owner").forEach((label) => label.remove());
    for (const { namespace, row } of made.owners)
      this.svg.append(draw("text", { class: "owner", x: 0, y: row * ROW + 17 }, this.owner(namespace)));
  }

  plant(key) {
    const reach = draw("path", { class: "reach" });
    const limb = draw("path", { class: "limb" });
    const label = draw("text", {});
    const choose = () => this.choose(key);
    const group = draw("g", { class: "run new", onpointerenter: choose, onclick: choose }, reach, limb, label);
    this.svg.append(group);
    return { group, reach, limb, label };
  }

  shape(drawn, limb, scale, room, oldest) {
    const { node } = limb;
    const y = limb.row * ROW + 19;
    const left = limb.left * scale;
    const right = Math.max(left + 3, limb.right * scale - 2);
    const bend = limb.above && limb.above.row !== limb.row;
    const from = bend ? limb.above.row * ROW + 19 : y;
    const path = bend ? `M${left} ${from}V${y - 7}Q${left} ${y} ${left + 7} ${y}H${right}` : `M${left} ${y}H${right}`;
    drawn.limb.setAttribute("d", path);
    drawn.limb.setAttribute("stroke-width", (1.6 + 1.3 * Math.log2(1 + Math.max(node.users, node.recent - 1))).toFixed(1));
    drawn.reach.setAttribute("d", `M${left} ${y - 3}H${right}`);
    drawn.group.dataset.state = stateOf(node);
    drawn.group.dataset.pending = String(node.residency === "pending");
    const age = stateOf(node) === "idle" ? (this.view.now - node.last_use) / oldest : 0;
    drawn.limb.setAttribute("opacity", (1 - 0.55 * age).toFixed(2));
    const end = limb.below.length ? right - 6 : room;
    const count = `${node.end - node.start}`;
    const fits = Math.floor((end - left - 12) / CHARACTER);
    const words = oneLine(node.text ?? `${node.head.join(" ")}`);
    drawn.label.replaceChildren(fits < 3 ? "" : shortened(words, fits));
    if (words.length + count.length + 1 <= fits) drawn.label.append(draw("tspan", { dx: 7 }, count));
    drawn.label.setAttribute("x", left + (bend ? 10 : 3));
    drawn.label.setAttribute("y", y - 5);
  }

  owner(namespace) {
    const known = this.names.get(namespace);
    if (known !== undefined) return known;
    const [name, deterministic] = namespace.split("\u0000");
    const [caller, salt] = name.split("+");
    const parts = [caller ? `key ${caller.slice(0, 8)}` : "everybody"];
    if (salt) parts.push(`salt ${salt.slice(0, 8)}`);
    if (deterministic !== undefined) parts.push("deterministic");
    return parts.join(", ");
  }

  choose(key) {
    this.chosen = key;
    this.describe();
  }

  walk(event) {
    const limbs = this.made?.limbs ?? [];
    if (!limbs.length || this.view === null) return;
    const place = limbs.findIndex((limb) => limb.key === this.chosen);
    const now = limbs[place];
    const goals = {
      ArrowRight: () => now?.below[0],
      ArrowLeft: () => now?.above,
      ArrowDown: () => limbs[place + 1],
      ArrowUp: () => limbs[place - 1],
      Home: () => limbs[0],
      End: () => limbs.at(-1),
    };
    if (!(event.key in goals)) return;
    event.preventDefault();
    const goal = now || event.key === "Home" || event.key === "End" ? goals[event.key]() : limbs[0];
    if (!goal) return;
    this.choose(goal.key);
    this.box.scrollTo({ top: Math.max(0, goal.row * ROW - this.box.clientHeight / 2) });
  }

  describe() {
    this.svg.querySelector(".run.shown")?.classList.remove("shown");
    const limb = this.made?.limbs.find((one) => one.key === this.chosen);
    if (!limb) {
      at("node").replaceChildren(
        make("p", {}, "A limb is a run of tokens: the thicker, the more of the last sequences begin with it. Point at one, or walk with the arrow keys."),
      );
      return;
    }
    this.drawn.get(limb.key)?.group.classList.add("shown");
    const { node } = limb;
    const place = this.view.nodes.indexOf(node);
    const hot = this.view.hottest.find((one) => one.node === place);
    const run = node.end - node.start;
    const words = node.text === null ? node.head.join(" ") : node.text;
    const whole = run <= node.head.length ? words : `${words} \u2026`;
    const facts = [
      `${number(run)} tokens, ${number(node.start)} before them`,
      node.users ? `in use by ${node.users} running` : node.pinned ? "pinned" : "evictable",
      `${node.recent} of the last sequences`,
      node.children ? `${node.children} branches` : "a tip",
    ];
    if (node.residency === "pending") facts.push("being computed");
    at("node").replaceChildren(
      make("p", {}, make("span", { class: "what" }, this.owner(node.namespace)), ` \u00b7 ${facts.join(" \u00b7 ")}`),
      make("p", { class: "words" }, hot?.text ?? whole),
    );
  }
}

function shortened(words, fits) {
  return words.length <= fits ? words : `${words.slice(0, Math.max(1, fits - 1))}\u2026`;
}
