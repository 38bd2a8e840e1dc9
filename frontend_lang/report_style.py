"""The style of the report's page, of which every rule is its own alone."""

STYLE = """
.espalier-report { --ink:#1d2430; --faint:#68717f; --line:#d9dee6; --paper:#fff; --cached:#cfe8d5;
  --shared:#d3e3f8; --computed:#fbe3b9; --model:#e6d7f7; --bad:#c4242f; color:var(--ink);
  background:var(--paper); font:14px/1.5 system-ui,sans-serif; padding:1.2em; max-width:90em;
  margin:0 auto }
@media (prefers-color-scheme: dark) { .espalier-report { --ink:#e5e9f0; --faint:#9aa5b5;
  --line:#39414d; --paper:#171b21; --cached:#1f4a2d; --shared:#1f3f63; --computed:#5a430f;
  --model:#45305f; --bad:#ff7b84 } }
.espalier-report h1 { font-size:1.5em; margin:0 }
.espalier-report h2 { font-size:1.1em; margin:1.4em 0 .4em }
.espalier-report .summary, .espalier-report .figures, .espalier-report .place,
.espalier-report small { color:var(--faint) }
.espalier-report .figures { font-size:.9em }
.espalier-report .place { float:right; font-size:.9em }
.espalier-report .key { padding:.1em .6em; margin-right:.5em; border-radius:3px }
.espalier-report .cached { background:var(--cached) }
.espalier-report .shared { background:var(--shared) }
.espalier-report .computed { background:var(--computed) }
.espalier-report .model { background:var(--model);
  box-shadow:inset 0 -.18em color-mix(in srgb, var(--bad) calc((1 - var(--p, 1)) * 100%),
  transparent) }
.espalier-report .key.failed { color:var(--bad); border:1px solid }
.espalier-report .error { color:var(--bad); white-space:pre-wrap; margin:.3em 0 }
.espalier-report details.state { border-left:2px solid var(--line); padding-left:.9em;
  margin:.3em 0 }
.espalier-report details.state > summary { font-weight:600 }
.espalier-report details.call { margin:.15em 0 }
.espalier-report details.failed > summary > b { color:var(--bad) }
.espalier-report summary { cursor:pointer }
.espalier-report .said { font-family:ui-monospace,monospace; font-size:.9em }
.espalier-report .tokens { white-space:pre-wrap; overflow-wrap:anywhere; margin:.3em 0 .8em;
  padding:.6em; border:1px solid var(--line); border-radius:4px; max-height:28em; overflow:auto;
  font:13px/1.55 ui-monospace,monospace }
.espalier-report .choices { display:block; margin-top:.5em }
.espalier-report .choice { display:inline-block; padding:0 .6em; margin:.1em; border-radius:3px;
  border:1px solid var(--line);
  background:linear-gradient(to right, var(--model) calc(var(--p) * 100%), transparent 0) }
.espalier-report .chosen { border-color:var(--ink) }
.espalier-report .lane, .espalier-report .axis { display:flex }
.espalier-report .lane > b, .espalier-report .axis > b { flex:0 0 12em; font-weight:400;
  overflow:hidden; text-overflow:ellipsis; white-space:nowrap }
.espalier-report .lane > div, .espalier-report .axis > div { position:relative; flex:1;
  height:1.7em }
.espalier-report .lane > div { border-top:1px solid var(--line) }
.espalier-report .axis > div { margin-right:3em }
.espalier-report .axis span { position:absolute; white-space:nowrap;
  color:var(--faint); font-size:.85em }
.espalier-report .lane > div { margin-right:3em }
.espalier-report .bar { position:absolute; top:.15em; bottom:.15em; min-width:3px; display:flex;
  overflow:hidden; border-radius:3px; background:var(--line) }
.espalier-report .bar i { display:block; height:100% }
.espalier-report .bar span { position:absolute; left:.4em; font-size:.8em; white-space:nowrap }
.espalier-report .queued { background:var(--line) }
.espalier-report .prefill { background:var(--computed) }
.espalier-report .decode { background:var(--model) }
.espalier-report .bar.failed { outline:2px solid var(--bad) }
"""
