"""Calls a live server as /openapi.json says one may, and as it says one may not.

`python -m tools.blackbox.fuzz --seconds 1200` starts `espalier serve` with a short context, and has
schemathesis make requests of the schema, right and wrong ones, for a part of the time at each path.
It fails where an answer is a 5xx, has a status or a type that the schema does not tell, or a body
outside its model. schemathesis is looked for in the folder --packages, and installed there when it
is missing; nothing of the environment changes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Literal

from .servers import ROOT, install, served

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "events_conform",  # fuzz_hooks.py
)
MEMORY = 8 << 30  # of schemathesis, which sets itself no bound
# Of the time. "coverage" varies one field after the other, mostly wrongly; left alone with the time
# it takes all of it.
PHASES = {"coverage": 0.3, "fuzzing": 0.7}
LEAST = 10  # seconds of a phase at a path: on a busy machine less had passed before any request


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools.blackbox.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=1200, help="in all")
    parser.add_argument("--model", default="sprig")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", default=[], metavar="PATH")
    parser.add_argument("--packages", type=Path, default=ROOT / "build" / "schemathesis")
    args = parser.parse_args()
    install(args.packages, "schemathesis>=4", dependencies=True)
    failed = []
    with served([args.model, "--context-length", "256", "--log-level", "error"]) as url:
        shares = operations(url)
        paths = args.only or list(shares)
        one = args.seconds / sum(shares[path] for path in paths)
        for path in paths:
            ended = [
                fuzz(url, path, phase, max(LEAST, int(one * shares[path] * share)), args)
                for phase, share in PHASES.items()
            ]
            if "failed" in ended or set(ended) == {"empty"}:
                failed.append(path)
        with urllib.request.urlopen(f"{url}/health_generate", timeout=60) as answer:
            assert answer.status == 200
    print(f"failed: {', '.join(failed)}" if failed else f"{len(paths)} paths: nothing found")
    return 1 if failed else 0


def operations(url: str) -> dict[str, int]:
    """The paths of the schema, and how much of the time each gets: most where tokens are made of a
    body, least where there is none."""
    with urllib.request.urlopen(f"{url}/openapi.json", timeout=60) as answer:
        paths = json.load(answer)["paths"]
    return {
        path: 12 if "stream" in json.dumps(told) else 4 if "requestBody" in told else 1
        for path, told in ((path, paths[path].get("post", {})) for path in paths)
    }


def fuzz(
    url: str, path: str, phase: str, seconds: int, args: argparse.Namespace
) -> Literal["passed", "failed", "empty"]:
    """What came of a phase at a path. "empty": its time was over before it had made a request,
    which coverage may take half a minute for."""
    print(f"== {path}, {phase}", flush=True)
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json",
        "--include-path", path, "--checks", ",".join(CHECKS), "--max-time", str(seconds),
        "--seed", str(args.seed), "--suppress-health-check", "all", "--request-timeout", "60",
        "--continue-on-failure", "--warnings", "off", "--phases", phase,
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        env = {
            **os.environ,
            "PYTHONPATH": f"{args.packages}:{ROOT}",
            "SCHEMATHESIS_HOOKS": "tools.blackbox.fuzz_hooks",
        }
        done = subprocess.run(
            command, env=env, cwd=folder, check=False, text=True, stdout=subprocess.PIPE,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
        )  # fmt: skip
    good = done.returncode == 0
    print(done.stdout[done.stdout.find("Test Phases") :] if good else done.stdout)
    if "No test cases were generated" in done.stdout:
        return "empty"
    return "passed" if good else "failed"


if __name__ == "__main__":
    sys.exit(main())
