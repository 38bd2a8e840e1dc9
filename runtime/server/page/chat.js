// The conversation: what was said, what is being said, and what each answer cost.

import { events, Refused } from "./client.js";
import { at, make, number, prose } from "./dom.js";

const asks = (turn) => turn.answers[turn.chosen];

export class Chat {
  // ask(): the fields of the request beside its messages. refused(error): when a key is needed.
  constructor({ ask, refused, changed }) {
    Object.assign(this, { ask, refused, changed });
    this.list = at("turns");
    this.welcome = at("welcome");
    this.turns = [];
    this.going = null;
  }

  get busy() {
    return this.going !== null;
  }

  clear() {
    this.stop();
    this.turns = [];
    this.list.replaceChildren(this.welcome);
    this.changed();
  }

  stop() {
    this.going?.abort();
  }

  say(text) {
    this.turns.push({ role: "user", content: text });
    this.append(make("div", { class: "turn user" }, text));
    return this.answer();
  }

  messages() {
    return this.turns.flatMap((turn) => {
      if (turn.role !== "assistant") return [turn];
      const { content, calls, results } = asks(turn);
      if (!calls.length) return [{ role: "assistant", content }];
      const made = calls.map((call) => ({ id: call.id, type: "function", function: { name: call.name, arguments: call.text } }));
      const told = results.map((result, place) => ({ role: "tool", tool_call_id: calls[place].id, content: result }));
      return [{ role: "assistant", content: content || null, tool_calls: made }, ...told];
    });
  }

  async answer() {
    const { system, held, ...fields } = this.ask();
    const messages = [...(system ? [{ role: "system", content: system }] : []), ...this.messages()];
    const body = { messages, ...fields, stream: true, stream_options: { include_usage: true } };
    const count = fields.n ?? 1;
    const turn = { role: "assistant", answers: Array.from({ length: count }, () => new Answer(held)), chosen: 0, usage: null };
    const shown = make("div", { class: "turn assistant" });
    const grid = make("div", { class: "answers", "data-many": count > 1 }, ...turn.answers.map((one) => one.node));
    shown.append(grid);
    if (count > 1) choosing(turn, grid);
    this.append(shown);
    this.turns.push(turn);
    const { signal } = (this.going = new AbortController());
    const clock = { began: performance.now(), first: null, ended: null };
    this.changed();
    try {
      await this.read(turn, body, signal, clock);
    } catch (error) {
      this.broken(error, signal, turn, shown);
    } finally {
      this.going = null;
      turn.answers.forEach((one) => one.end());
      this.changed();
    }
    clock.ended = performance.now();
    if (turn.usage) shown.append(cost(turn, clock));
    this.offer(turn);
    this.follow();
  }

  async read(turn, body, signal, clock) {
    for await (const event of events("/v1/chat/completions", body, signal)) {
      if (event.usage) turn.usage = event.usage;
      for (const choice of event.choices) {
        if (clock.first === null && ["content", "reasoning", "tool_calls"].some((name) => choice.delta[name])) clock.first = performance.now();
        turn.answers[choice.index].take(choice);
      }
      this.follow();
    }
  }

  // An answer that did not come to its end: what there is stays; a question without one is taken back.
  broken(error, signal, turn, shown) {
    if (signal.aborted) {
      shown.append(make("p", { class: "meta" }, "stopped"));
    } else {
      const why = error instanceof Refused ? error : new Refused(0);
      if (!(error instanceof Refused)) console.error(error);
      const fault = make("p", { class: "fault", role: "alert" }, why.message);
      if (why.where) fault.append(" (", make("code", {}, why.where), ")");
      shown.append(fault);
      this.refused(why);
    }
    const one = asks(turn);
    if (one.content || one.calls.length) return;
    this.turns.pop();
    const asked = this.turns.at(-1);
    if (asked?.role !== "user") return;
    this.turns.pop();
    shown.previousElementSibling?.classList.add("dropped");
    if (!at("ask").value) at("ask").value = asked.content;
  }

  // Under calls: a place for what each of them gave.
  offer(turn) {
    if (this.turns.at(-1) !== turn) return;
    turn.answers.forEach((one, place) => {
      if (one.calls.length && one.finish !== "length") this.offerResults(turn, one, place);
    });
  }

  offerResults(turn, one, number) {
    const inputs = one.calls.map((call) => make("input", { "aria-label": `Result of ${call.name}`, placeholder: "what it gives back" }));
    const give = () => {
      const missing = inputs.find((input) => !input.value);
      if (missing) return missing.focus();
      if (this.busy || this.turns.at(-1) !== turn) return null;
      turn.chosen = number;
      one.results = inputs.map((input) => input.value);
      inputs.forEach((input) => (input.disabled = true));
      return this.answer();
    };
    inputs.forEach((input, place) => {
      const last = place === inputs.length - 1;
      input.addEventListener("keydown", (event) => {
        if (event.key !== "Enter") return;
        event.preventDefault();
        event.stopPropagation();
        give();
      });
      const button = last ? make("button", { type: "button", onclick: give }, "Tell it") : null;
      one.calls[place].node.append(make("div", { class: "result" }, input, button));
    });
    if (number > 0) return;
    if (document.activeElement === at("ask") || document.activeElement === document.body) inputs[0].focus();
  }

  append(node) {
    this.welcome.remove();
    this.list.append(node);
    this.follow(true);
  }

  follow(always = false) {
    const { scrollTop, scrollHeight, clientHeight } = this.list;
    if (always || scrollHeight - scrollTop - clientHeight < 120) this.list.scrollTop = scrollHeight;
  }
}

// One of the answers to a question, as it comes. held: to a grammar, so that it is shown as code.
class Answer {
  constructor(held) {
    Object.assign(this, { held, content: "", thought: "", calls: [], results: [], finish: null });
    this.words = make("div", { class: held ? "text held-text" : "text" });
    this.thoughts = make("div", {});
    this.thinking = make("details", { class: "thought", hidden: true }, make("summary", {}, "reasoning"), this.thoughts);
    this.node = make("div", { class: "answer going" }, this.thinking, this.words);
  }

  take({ delta, finish_reason: finish, incomplete, stop_reason: stop }) {
    if (delta.reasoning) {
      this.thought += delta.reasoning;
      this.drawSoon();
    }
    if (delta.content) {
      this.content += delta.content;
      this.drawSoon();
    }
    for (const part of delta.tool_calls ?? []) this.call(part);
    if (finish) Object.assign(this, { finish, incomplete, stop });
  }

  // Once for all that comes before the next frame.
  drawSoon() {
    this.frame ??= requestAnimationFrame(() => this.drawNow());
  }

  drawNow() {
    this.frame = null;
    this.thinking.hidden = !this.thought;
    this.thoughts.textContent = this.thought;
    this.words.replaceChildren(...(this.held ? [this.content] : prose(this.content)));
  }

  call(part) {
    let call = this.calls[part.index];
    if (call === undefined) {
      call = this.calls[part.index] = { id: part.id, name: "", text: "", node: make("div", { class: "call" }) };
      this.node.append(call.node);
    }
    call.name += part.function.name ?? "";
    call.text += part.function.arguments ?? "";
    const title = make("h3", {}, call.name, make("small", {}, "tool call"));
    call.node.replaceChildren(title, listing(call.text));
  }

  end() {
    this.node.classList.remove("going");
    this.drawNow();
    if (!this.content) this.words.remove();
    const ends = { length: "cut at the most tokens it may have", abort: "aborted" };
    const why = this.incomplete ? `not a whole answer: ${this.incomplete}` : ends[this.finish];
    if (why) this.node.append(make("p", { class: "meta" }, why));
  }
}

// The arguments of a call: name by name once they are whole, as they come before.
function listing(text) {
  let found = null;
  try {
    found = JSON.parse(text);
  } catch {
    // not whole yet
  }
  if (found === null || typeof found !== "object") return make("dl", {}, make("dd", {}, text));
  const pairs = Object.entries(found).flatMap(([name, value]) => [
    make("dt", {}, name),
    make("dd", {}, typeof value === "string" ? value : JSON.stringify(value)),
  ]);
  return make("dl", {}, ...pairs);
}

// Of several answers, the one that the chat goes on from.
function choosing(turn, grid) {
  grid.setAttribute("role", "radiogroup");
  grid.setAttribute("aria-label", "Answers; the chat goes on from the one that is chosen");
  const choose = (place) => {
    turn.chosen = place;
    turn.answers.forEach(({ node }, index) => {
      node.setAttribute("aria-checked", String(index === place));
      node.tabIndex = index === place ? 0 : -1;
    });
  };
  turn.answers.forEach(({ node }, place) => {
    node.setAttribute("role", "radio");
    node.addEventListener("click", () => choose(place));
    node.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step || event.target !== node) return;
      event.preventDefault();
      choose((turn.chosen + step + turn.answers.length) % turn.answers.length);
      asks(turn).node.focus();
    });
  });
  choose(0);
}

function cost({ usage }, { began, first, ended }) {
  const cached = usage.prompt_tokens_details.cached_tokens;
  const rate = first === null || ended - first < 1 ? null : (1000 * usage.completion_tokens) / (ended - first);
  const parts = [`${number(usage.completion_tokens)} tokens`];
  if (rate !== null) parts.push(`${number(rate)} a second`);
  if (first !== null) parts.push(`first after ${number(first - began)} ms`);
  const share = make("b", {}, `${number(cached)} of ${number(usage.prompt_tokens)}`);
  return make("p", { class: "meta" }, share, " prompt tokens were cached \u00b7 ", parts.join(" \u00b7 "));
}
