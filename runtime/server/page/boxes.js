// The boxes for a grammar and for tools: checked while one types, by the server's own compiler.

import { post, Refused } from "./client.js";
import { at, lineOf, make } from "./dom.js";

const PATIENCE = 220; // milliseconds without a key before the server is asked

export class Fault extends Error {
  // What is wrong with what was typed. place: the character, where it is known.
  constructor(message, place = null) {
    super(message);
    this.place = place;
  }
}

export function parsed(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    const found = /position (\d+)/.exec(error.message);
    const place = found ? Number(found[1]) : text.trimEnd().length;
    throw new Fault(`no JSON yet: ${error.message.replace(/ \(line.*| in JSON at position.*/, "")}`, place);
  }
}

// A text area whose content is checked as it changes. read(text): what it means, or throws Fault;
// checks(meaning): requests to /grammar/check; told(meaning, seconds): a line for what is good.
export class Box {
  constructor(area, said, { empty, read, checks, told, changed }) {
    Object.assign(this, { area, said, empty, read, checks, told, changed });
    this.value = null; // what it means, once it is known to be good
    this.going = null;
    area.addEventListener("input", () => this.look());
    area.addEventListener("keydown", (event) => indent(event, area));
  }

  set(text) {
    this.area.value = text;
    this.area.setSelectionRange(0, 0);
    this.area.scrollTop = 0;
    return this.look(0);
  }

  // Resolves once the verdict is there. The value is null while it is not known.
  look(patience = PATIENCE) {
    this.going?.abort();
    const { signal } = (this.going = new AbortController());
    const text = this.area.value;
    this.value = null;
    this.pending = this.judge(text, signal, patience).finally(() => this.changed());
    this.changed();
    return this.pending;
  }

  async judge(text, signal, patience) {
    if (!text.trim()) return this.say("none", this.empty);
    let meaning;
    try {
      meaning = this.read(text);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      return this.say("invalid", error.message, error.place);
    }
    this.say("none", "checking");
    await new Promise((resolve) => setTimeout(resolve, patience));
    if (signal.aborted) return null;
    let seconds = 0;
    try {
      for (const [name, body] of this.checks(meaning)) {
        const verdict = await post("/grammar/check", body, signal);
        seconds += verdict.seconds;
        if (!verdict.valid) return this.say("invalid", `${name}${verdict.error.message}`);
      }
    } catch (error) {
      if (signal.aborted) return null;
      if (!(error instanceof Refused)) throw error;
      return this.say("invalid", error.message);
    }
    if (signal.aborted) return null;
    this.value = meaning;
    return this.say("valid", this.told(meaning, seconds));
  }

  say(verdict, text, place = null) {
    this.said.dataset.verdict = verdict;
    this.said.replaceChildren(text);
    if (place !== null) {
      const [line, column] = lineOf(this.area.value, place);
      const go = () => {
        this.area.focus();
        this.area.setSelectionRange(place, place + 1);
      };
      const label = `line ${line}, column ${column}`;
      this.said.append(" (", make("button", { type: "button", onclick: go }, label), ")");
    }
    this.area.setAttribute("aria-invalid", String(verdict === "invalid"));
  }
}

function indent(event, area) {
  if (event.key !== "Tab" || event.shiftKey || event.ctrlKey || event.altKey) return;
  if (area.selectionStart === area.value.length || area.value === "") return; // Tab leaves at the end
  event.preventDefault();
  area.setRangeText("  ", area.selectionStart, area.selectionEnd, "end");
  area.dispatchEvent(new Event("input"));
}

const lines = (text) => text.split("\n").filter((line) => line !== "");
const READERS = {
  json_schema: (text) => {
    const schema = parsed(text);
    if (typeof schema !== "boolean" && (typeof schema !== "object" || schema === null || Array.isArray(schema)))
      throw new Fault("a schema is an object, or true or false");
    return { json_schema: schema };
  },
  regex: (text) => ({ regex: text.replace(/\n$/, "") }),
  ebnf: (text) => ({ ebnf: text }),
  choice: (text) => ({ choice: lines(text) }),
};

export function schemaBox(changed) {
  const kind = at("schema-kind");
  const box = new Box(at("schema"), at("schema-said"), {
    empty: "Free text.",
    read: (text) => READERS[kind.value](text),
    checks: (meaning) => [["", meaning]],
    told: (_, seconds) => `Enforced exactly; made ready in ${(1000 * seconds).toFixed(0)} ms.`,
    changed,
  });
  kind.addEventListener("change", () => box.look(0));
  return box;
}

function readTools(text) {
  const given = parsed(text);
  if (!Array.isArray(given)) throw new Fault("a list of tools is needed: [ ... ]");
  return given.map((entry, place) => {
    const tool = entry?.type === "function" ? entry.function : entry;
    if (typeof tool?.name !== "string") throw new Fault(`tool ${place + 1} has no name`);
    return { type: "function", function: tool };
  });
}

export function toolsBox(changed) {
  return new Box(at("tools"), at("tools-said"), {
    empty: "No tools.",
    read: readTools,
    checks: (tools) =>
      tools
        .filter((tool) => tool.function.parameters !== undefined)
        .map((tool) => [`${tool.function.name}: `, { json_schema: tool.function.parameters }]),
    told: (tools) => `${tools.map((tool) => tool.function.name).join(", ")}: arguments are held to these schemas.`,
    changed,
  });
}
