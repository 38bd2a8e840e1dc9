// Figures of the engine: how fast, how much was not computed, how full.

import { at, draw, make, number, percent } from "./dom.js";

const KEPT = 120; // samples of the curve
const COUNTED = ["generated_tokens", "cached_tokens", "shared_tokens", "computed_tokens"];

export const hitRate = (stats) => {
  const saved = stats.cached_tokens + stats.shared_tokens;
  const whole = saved + stats.computed_tokens;
  return whole ? saved / whole : null;
};

export class Gauges {
  constructor() {
    this.rates = [];
    this.before = null;
    this.peak = 0;
  }

  // stats: the engine's counters at a time (milliseconds).
  show(stats, now) {
    const before = this.before;
    this.before = { stats, now };
    if (before === null || stats.generated_tokens < before.stats.generated_tokens) {
      this.rates = [];
    } else {
      const seconds = Math.max((now - before.now) / 1000, 1e-3);
      const since = Object.fromEntries(COUNTED.map((name) => [name, stats[name] - before.stats[name]]));
      this.rates.push(since.generated_tokens / seconds);
      this.rates = this.rates.slice(-KEPT);
    }
    const rate = this.rates.at(-1) ?? 0;
    this.peak = Math.max(this.peak, rate);
    at("rate").replaceChildren(number(rate), ...(this.peak > 0 ? [make("small", {}, `peak ${number(this.peak)}`)] : []));
    const saved = stats.cached_tokens + stats.shared_tokens;
    at("hits").replaceChildren(percent(hitRate(stats)), make("small", {}, `${number(saved)} saved`));
    at("load").replaceChildren(`${stats.running}, ${stats.waiting}`);
    this.curve();
    slots(stats);
  }

  curve() {
    const top = Math.max(1, ...this.rates);
    const points = this.rates.map((rate, place) => {
      const x = 240 - (this.rates.length - 1 - place) * (240 / (KEPT - 1));
      return `${x.toFixed(1)} ${(35 - 32 * (rate / top)).toFixed(1)}`;
    });
    const first = 240 - (this.rates.length - 1) * (240 / (KEPT - 1));
    const path = points.length > 1 ? `M${first.toFixed(1)} 36L${points.join("L")}L240 36` : "M0 36";
    at("spark").replaceChildren(draw("path", { d: path }));
  }
}

function slots(stats) {
  const free = stats.free_slots;
  const pinned = Math.min(stats.pinned_slots, stats.capacity - free);
  const used = stats.capacity - free - stats.evictable_slots;
  // A pinned prefix may be in use too: it is told as in use, and the rest of the pins as pinned.
  const resting = Math.min(pinned, stats.evictable_slots);
  const parts = { used, pinned: resting, idle: stats.evictable_slots - resting };
  const bar = at("slots");
  for (const [name, count] of Object.entries(parts)) {
    let piece = bar.querySelector(`.${name}`);
    if (piece === null) bar.append((piece = make("i", { class: name })));
    piece.style.width = `${(100 * count) / stats.capacity}%`;
    at(`slots-${name}`).textContent = number(count);
  }
  at("slots-free").textContent = number(free);
  bar.setAttribute("aria-label", `${number(used)} of ${number(stats.capacity)} slots in use, ${number(free)} free`);
}
