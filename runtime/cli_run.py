"""`espalier run FILE[:function]`: a program from a file, its values, and its report."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import inspect
import json
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
from rich.console import Console

from .. import frontend_lang as esp
from ..errors import EspalierError, InvalidRequestError
from ..frontend_lang.body import program_failure
from ..frontend_lang.where import Where
from .cli_flags import as_typed, file_to_write
from .engine import Engine

ABOUT = """\
Run a program of gen, select and fork: a function decorated with @espalier.function in FILE. Its
variables are printed as JSON on standard output, its report and what it returned on standard error;
with --report json, all of them on standard output.

An --arg whose parameter is annotated as str is taken as it stands; as a bool, an int or a float it
must be one; any other is read as JSON where it is JSON, and as text where it is not.

examples
  espalier run examples/quickstart.py
  espalier run examples/judge.py:judge --arg "text=The soup was cold." --report json
  espalier run my.py --model ./my-model --seed 7"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = ABOUT
    parser.add_argument("program", metavar="FILE[:function]")
    parser.add_argument("--arg", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--model", default="sprig", help="sprig, a folder or a hub id")
    parser.add_argument("--quantization", choices=["int8"], help="of weights: 8 bits, on a CPU")
    parser.add_argument("--seed", type=int, help="of the program; drawn and reported without one")
    parser.add_argument(
        "--report",
        choices=["table", "json", "none"],
        default="table",
        help="with what the function returned (default: table); none tells neither",
    )
    parser.add_argument(
        "--html", type=file_to_write, metavar="FILE", help="write the report as a page"
    )
    parser.add_argument("--text", action="store_true", help="print the whole text, not the values")


def run(args: argparse.Namespace) -> int:
    path, _, name = args.program.partition(":")
    program = find(load(Path(path)), name)
    given = arguments(program, args.arg)
    check_complete(program, given)
    with as_typed(args):
        engine = Engine(model=args.model, quantization=args.quantization)
    with engine:
        try:
            state = program.using(backend=engine, seed=args.seed).run(**given)
        except EspalierError:
            raise
        except Exception as error:  # the program's own; --debug shows its traceback
            raise program_failure(program.name, error, program.where) from error
        if args.html is not None:
            state.sync()
            args.html.write_text(state.report().html(), encoding="utf-8")
        show(state, args)
    return 0


def load(path: Path) -> ModuleType:
    """The file as a module (not as `__main__`: its main block does not run), under a name that is
    no other module's: the file may be called json.py. What lies beside it can be imported: while
    it is loaded before anything else, as Python does; later, by its functions, after all else."""
    if not path.exists():
        raise InvalidRequestError(f"there is no file {path}", where="FILE")
    if not path.is_file():
        raise InvalidRequestError(expected="a Python file", got=str(path), where="FILE")
    spec = importlib.util.spec_from_file_location(f"espalier_run_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InvalidRequestError(expected="a file that ends in .py", got=str(path), where="FILE")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        said, line = _at_fault(error, str(spec.origin))
        raise InvalidRequestError(
            f"the file cannot be loaded: {type(error).__name__}: {said}", where=line
        ) from error
    finally:
        if folder in sys.path:  # the file may have changed it
            sys.path.remove(folder)
    sys.path.append(folder)
    return module


def _at_fault(error: Exception, file: str) -> tuple[str, str]:
    """What went wrong as `file` was loaded, with the place where it is another file's; and the
    file's own line, or its name where no line of it is to blame."""
    said = str(error)
    frames = traceback.walk_tb(error.__traceback__)
    places = [Where(frame.f_code.co_filename, line) for frame, line in frames][1:]  # after `load`
    places = [place for place in places if not place.file.startswith("<frozen importlib")]
    if isinstance(error, SyntaxError) and error.lineno and Path(str(error.filename)).is_file():
        said = error.msg  # without the place, which is of a file that Python could not compile
        places.append(Where(str(error.filename), error.lineno))
    if places and places[-1].file != file and not isinstance(error, EspalierError):
        said += f", raised at {places[-1]}"
    return said, str(next((place for place in reversed(places) if place.file == file), file))


def find(module: ModuleType, name: str) -> esp.Program[Any]:
    """The program called `name`, or the only one there is."""
    programs = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, esp.Program) and value.body.__module__ == module.__name__
    }
    if name in programs:
        return programs[name]
    if not name and len(programs) == 1:
        return next(iter(programs.values()))
    if not programs:
        raise InvalidRequestError(
            expected="a function decorated with @espalier.function",
            got="none in the file",
            where=str(module.__file__),
        )
    raise InvalidRequestError(
        expected=f"one of {', '.join(programs)}",
        got=repr(name) if name else "no function named, and several in the file",
        where=str(module.__file__),
        hint=f"Write {Path(str(module.__file__)).name}:{next(iter(programs))}.",
    )


def arguments(program: esp.Program[Any], given: list[str]) -> dict[str, Any]:
    """`NAME=VALUE`s as the program's keyword arguments."""
    parameters = inspect.signature(program.body).parameters
    values: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if name not in program.arg_names:
            known = ", ".join(program.arg_names)
            raise InvalidRequestError(
                f"{program.name} has no argument {name!r}",
                where="--arg",
                hint=f"It has: {known}." if known else "It has none.",
            )
        if not equals:
            raise InvalidRequestError(
                f"the argument {name!r} has no value",
                where="--arg",
                hint=f"Write --arg {name}=VALUE.",
            )
        if name in values:
            raise InvalidRequestError(f"{name} is given twice", where="--arg")
        values[name] = _read(name, value, parameters[name].annotation)
    return values


_NUMBERS: dict[Any, tuple[type, ...]] = {"int": (int,), "float": (int, float)}


def _read(name: str, text: str, annotation: Any) -> Any:
    """What VALUE is, by the parameter's annotation."""
    kind = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    if kind == "str":
        return text
    if kind == "bool" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        value: Any = json.loads(text)
    except ValueError:
        value = text
    if kind == "bool" or (kind in _NUMBERS and type(value) not in _NUMBERS[kind]):
        words = {"bool": "true or false", "int": "an integer", "float": "a number"}
        raise InvalidRequestError(
            expected=f"{words[kind]}, as {name} is annotated", got=repr(text), where="--arg"
        )
    return value


def check_complete(program: esp.Program[Any], given: dict[str, Any]) -> None:
    """Raise for arguments that a run needs and nobody has given."""
    parameters = inspect.signature(program.body).parameters
    known = {**program._bound, **given}
    needed = (parameters[name] for name in program.arg_names if name not in known)
    many = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    missing = [p.name for p in needed if p.default is p.empty and p.kind not in many]
    if missing:
        raise InvalidRequestError(
            f"{program.name} needs the argument{'s' * (len(missing) > 1)} {', '.join(missing)}",
            where=str(program.where),
            hint="Add " + " ".join(f"--arg {name}=..." for name in missing) + ".",
        )


def show(state: esp.ProgramState, args: argparse.Namespace) -> None:
    """Values or text on standard output; the report beside them, or with them as JSON, and what the
    function returned. What failed, or cannot be read, is raised at the end."""
    error = state.error()
    said: dict[str, Any] = {}
    try:
        if args.text:
            said["text"] = state.text()
        else:
            said["values"] = {name: said_in_json(state[name]) for name in state.var_names}
        said["ret_value"] = said_in_json(state.ret_value)
    except EspalierError as unread:
        error = error or unread
    if args.report == "json":
        print(as_json({**state.report().to_dict(), **said}))
    elif error is None:
        print(said["text"] if args.text else as_json(said["values"]))
    if args.report == "table":
        state.report().print(Console(stderr=True))
        if said.get("ret_value") is not None:
            print(f"returned {as_json(said['ret_value'], indent=None)}", file=sys.stderr)
    if error is not None:
        raise error


def as_json(value: Any, indent: int | None = 2) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent, default=plain)


def said_in_json(value: Any) -> Any:
    """The value where JSON can say it; else its repr: keys may be tuples, a list hold itself."""
    try:
        as_json(value)
    except (TypeError, ValueError, RecursionError):
        return repr(value)
    return value


def plain(value: Any) -> Any:
    """What a type of a program says as JSON can say it; anything else as its repr."""
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        shown = (field.name for field in dataclasses.fields(value) if field.repr)
        return {name: getattr(value, name) for name in shown}
    try:
        return msgspec.to_builtins(value)
    except TypeError:
        return repr(value)
