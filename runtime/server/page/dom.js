// Small helpers. Text from models and servers becomes text nodes and nothing else.

const SVG = "http://www.w3.org/2000/svg";

export const at = (id) => document.getElementById(id);

export function make(tag, given = {}, ...children) {
  return fill(document.createElement(tag), given, children);
}

export function draw(tag, given = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), given, children);
}

function fill(node, given, children) {
  for (const [name, value] of Object.entries(given)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

export const number = (value) => Math.round(value).toLocaleString("en");
export const percent = (value) => (value === null ? "\u2013" : `${Math.round(100 * value)}%`);

// The text as nodes: fenced blocks and `code` set apart, all else as it stands.
export function prose(text) {
  const nodes = [];
  text.split(/^```[^\n]*\n?/m).forEach((part, place) => {
    if (place % 2) {
      nodes.push(make("pre", {}, part.replace(/\n$/, "")));
      return;
    }
    part.split(/(`[^`\n]+`)/).forEach((piece) => {
      if (/^`[^`\n]+`$/.test(piece)) nodes.push(make("code", {}, piece.slice(1, -1)));
      else if (piece) nodes.push(document.createTextNode(piece));
    });
  });
  return nodes;
}

// JSON to be read: what holds no objects or lists stands in one line.
export function pretty(value) {
  if (value === undefined) return "";
  const flat = (_, open, inner, close) => open + inner.replace(/\s+/g, " ") + close;
  return JSON.stringify(value, null, 2).replace(/([[{])\s+([^[\]{}]*?)\s+([\]}])/g, flat);
}

// The line and column (from 1) of a place in a text.
export function lineOf(text, place) {
  const before = text.slice(0, place).split("\n");
  return [before.length, before.at(-1).length + 1];
}
