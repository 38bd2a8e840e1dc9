"""The command line: what it prints, and its exit codes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from espalier.errors import InvalidRequestError
from espalier.runtime import cli, cli_bench, cli_doctor
from tests.support import ROOT


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert f"  espalier {command}" in text, "no example in the help"


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    assert all(command in capsys.readouterr().out for command in ())
    assert cli.main([]) == 2
    shown = capsys.readouterr().out
    assert all(command in shown for command in cli.COMMANDS)
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out.startswith("espalier ")


def test_help_loads_no_torch() -> None:
    code = (
        "import sys; from espalier.runtime import cli\nfor c in cli.COMMANDS:\n    try: cli.main("
    )
    code += "[c, '--help'])\n    except SystemExit: pass\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serve", "--host", "0.0.0.0"], "lets other machines in, and there is no key"),
        (["serve", "sprig", "--model", "null"], "expected one model, got sprig and null"),
        (["serve", "--admin-key", "a", "--admin-key-file", "b"], "expected --admin-key or"),
        (["bench", "all", "--model", "null"], "no options with `all`, got --model null"),
        (["grammar", "check", "--inline", "[" * 100_000], "or --kind"),
        (["bench", "offline", "--requests", "0"], "InvalidRequestError: expected integers >= 1"),
        (["bench", "prefix", "--scale", "0"], "a number above 0, got 0.0 (at --scale)"),
        (["bench", "prefix", "--model", "sprig", "--host"], "beside it (at --host)"),
        (["bench", "grammar", "--part", "suite", "--only", "x"], "beside it (at --only)"),
        (["bench", "serve", "--api-key", "k"], "expected --url beside it (at --api-key)"),
        (["bench", "serve", "--url", "http://x", "--model", "null"], "got both of them"),
        (["bench", "serve", "--url", "localhost:30000"], "expected http://host:port, got"),
        (["chat", "--url", "localhost:30000"], "got 'localhost:30000' (at --url)"),
        (["chat", "--api-key", "k"], "expected --url beside it (at --api-key)"),
        (
            ["bench", "gramar"],
            "serve, gpu, ablation, programs, soak, soak_server, decode, kernels, got 'gramar'",
        ),
        (["chat", "--model", "no/such/folder/at/all"], "ModelLoadError"),
        (["chat", "--temperature", "nan"], "InvalidRequestError"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"espalier {arguments[0]}: ")
    assert words in err
    assert err.count("\n") == 1


def test_debug_raises() -> None:
    with pytest.raises(InvalidRequestError):
        cli.main(["--debug", "bench", "gramar"])


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["dmo"])
    assert stop.value.code == 2
    assert "invalid choice: 'dmo': did you mean demo?" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["zzz"])
    assert "commands: demo, run, " in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help", "dmo"])
    assert stop.value.code == 0


def test_an_unknown_flag_gets_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong, near in (("--prot=80", "--port"), ("--max-model-length", "--max-model-len")):
        with pytest.raises(SystemExit) as stop:
            cli.main(["serve", wrong])
        assert stop.value.code == 2
        assert f"unrecognized argument {wrong}: did you mean {near}?" in capsys.readouterr().err
    for given in (["--versoin"], ["--versoin", "doctor"]):
        with pytest.raises(SystemExit):
            cli.main(given)
        told = "unrecognized argument --versoin: did you mean --version?"
        assert told in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["chat", "more"])
    assert "unrecognized argument more (see espalier" in capsys.readouterr().err


def test_every_pinned_benchmark_is_known() -> None:
    pinned = (
        "prefix scheduler radix cpu grammar frontend serve startup offline latency forks kernels"
    )
    assert {*cli_bench.BUILT, *cli_bench.GPU} == {*pinned.split(), "decode"}


def test_doctor_reports_what_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--model", "null"]) == 0
    assert "All is well." in capsys.readouterr().out
    assert cli.main(["doctor", "--model", "/no/such/model"]) == 1
    out = capsys.readouterr().out
    assert "FAILED  model" in out
    assert "ModelLoadError" in out


def test_doctor_survives_what_it_examines(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def broken(*_: object) -> None:
        raise RuntimeError("CUDA error: all devices are busy")

    monkeypatch.setattr(torch.cuda, "is_available", broken)
    monkeypatch.setattr(cli_doctor, "_generate", broken)
    found = {finding.what: finding for finding in cli_doctor.examine("null")}
    for what in ("torch", "engine", "model"):
        assert found[what].good is False
        assert "all devices are busy" in found[what].found
    monkeypatch.setitem(sys.modules, "torch", None)  # as where a library of it is missing
    assert cli_doctor._torch().good is False
