"""SGLang's public frontend, name by name and parameter by parameter, against the alias and ours.

Its files are read, never run: the wheel needs torch and a GPU's libraries.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import zipfile
from types import ModuleType
from typing import Any

import pytest

import espalier as esp
from espalier.compat.programs import SglFunction
from espalier.frontend_lang.function import RUN_NAMES
from espalier.frontend_lang.options import GEN_NAMES

# What SGLang's files define beside their frontend: helpers of its server and of its own build.
NOT_FRONTEND = {
    "sglang.utils": {
        "HttpResponse", "LazyImport", "TypeBasedDispatcher", "encode_frame", "encode_image_base64",
        "encode_video_base64", "execute_once", "execute_shell_command", "find_printable_text",
        "has_diffusion_overlay_registry_match", "http_request", "info_once", "launch_server_cmd",
        "load_diffusion_overlay_registry_from_env", "release_port", "reserve_port",
        "resolve_obj_by_qualname", "terminate_process", "wait_for_http_ready", "wait_for_server",
    },
    # Which template a model has is the model's own business.
    "sglang.lang.chat_template": {
        "match_c4ai_command_r", "match_chat_ml", "match_chat_yi", "match_dbrx", "match_deepseek",
        "match_deepseek_janus_pro", "match_gemma", "match_granite_instruct", "match_interns1_chat",
        "match_internvl_chat", "match_llama2_chat", "match_llama3_instruct", "match_mistral",
        "match_openbmb_minicpm", "match_orion", "match_vicuna",
    },
    "sglang.lang.backend.runtime_endpoint": {"compute_normalized_prompt_logprobs"},
}  # fmt: skip
FILES = [
    "sglang.lang.api", "sglang.lang.chat_template", "sglang.lang.choices",
    "sglang.lang.global_config", "sglang.lang.interpreter", "sglang.lang.ir", "sglang.lang.tracer",
    "sglang.lang.backend.base_backend", "sglang.lang.backend.runtime_endpoint", "sglang.utils",
]  # fmt: skip


def parsed(wheel: zipfile.ZipFile, module: str) -> ast.Module:
    return ast.parse(wheel.read(module.replace(".", "/") + ".py"))


def public(tree: ast.Module) -> dict[str, ast.AST]:
    """The functions, classes and constants that a file defines for others."""
    found: dict[str, ast.AST] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node
    hidden = {"logger", "process_socket_map"}
    return {n: node for n, node in found.items() if not n.startswith("_") and n not in hidden}


def parameters(node: ast.FunctionDef) -> list[str]:
    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [argument.arg for argument in given if argument.arg != "self"]


def methods(tree: ast.Module, name: str) -> dict[str, ast.FunctionDef]:
    kind = public(tree)[name]
    assert isinstance(kind, ast.ClassDef)
    return {n.name: n for n in kind.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}  # type: ignore[misc]


@pytest.mark.parametrize("module", FILES)
def test_every_name_is_there(module: str, wheel: zipfile.ZipFile, sglang: ModuleType) -> None:
    alias = importlib.import_module(module)
    wanted = {*public(parsed(wheel, module))} - NOT_FRONTEND.get(module, set())
    assert wanted - set(dir(alias)) == set()
    assert NOT_FRONTEND.get(module, set()) <= {*public(parsed(wheel, module))}


def test_every_public_name(wheel: zipfile.ZipFile, sglang: ModuleType) -> None:
    tree = ast.parse(wheel.read("sglang/__init__.py"))
    [names] = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
    ]
    assert set(names) - set(sglang.__all__) == set()
    assert set(names) - set(esp.__all__) == set()


def test_functions_take_the_same_in_the_same_order(
    wheel: zipfile.ZipFile, sglang: ModuleType
) -> None:
    for name, node in public(parsed(wheel, "sglang.lang.api")).items():
        if not isinstance(node, ast.FunctionDef) or node.args.kwarg is not None:
            continue
        ours = [*inspect.signature(getattr(sglang, name)).parameters]
        theirs = parameters(node)
        assert ours[: len(theirs)] == theirs, name


def test_espaliers_own_take_the_same_names(wheel: zipfile.ZipFile) -> None:
    api = public(parsed(wheel, "sglang.lang.api"))
    for name in ("gen", "gen_int", "gen_string"):
        node = api[name]
        assert isinstance(node, ast.FunctionDef)
        assert set(parameters(node)) <= set(GEN_NAMES)
    for name in ("select", "separate_reasoning", "function", "set_default_backend", "video"):
        node = api[name]
        assert isinstance(node, ast.FunctionDef)
        assert set(parameters(node)) <= {*inspect.signature(getattr(esp, name)).parameters}


@pytest.mark.parametrize(
    ("module", "theirs", "ours", "missing"),
    [
        ("sglang.lang.interpreter", "ProgramState", esp.ProgramState, set()),
        ("sglang.lang.interpreter", "ProgramStateGroup", esp.Forks, set()),
        ("sglang.lang.ir", "SglFunction", SglFunction, set()),
    ],
)
def test_methods(
    module: str, theirs: str, ours: type, missing: set[str], wheel: zipfile.ZipFile
) -> None:
    found = methods(parsed(wheel, module), theirs)
    wanted = {n for n in found if not n.startswith("_") or n in SPECIAL}
    assert {name for name in wanted if not hasattr(ours, name)} == missing
    for name in wanted - missing:
        names = set(inspect.signature(getattr(ours, name)).parameters)
        if name in ("run", "run_batch", "trace"):
            names |= {*RUN_NAMES, "num_threads", "progress_bar", "generator_style"}
        given = set(parameters(found[name])) - RENAMED.get(name, set())
        assert given <= names, f"{theirs}.{name}"


SPECIAL = {"__iadd__", "__getitem__", "__setitem__", "__contains__", "__call__"}
# Parameters that are given by place.
RENAMED: dict[str, set[str]] = {
    "__getitem__": {"i"}, "__setitem__": {"i", "value"},
}  # fmt: skip


def test_classes_take_the_same(wheel: zipfile.ZipFile, sglang: ModuleType) -> None:
    for module, name, missing in (
        ("sglang.lang.backend.runtime_endpoint", "RuntimeEndpoint", set[str]()),
        ("sglang.lang.backend.runtime_endpoint", "Runtime", set[str]()),
    ):
        init = methods(parsed(wheel, module), name)["__init__"]
        ours: Any = getattr(importlib.import_module(module), name)
        assert set(parameters(init)) - {*inspect.signature(ours).parameters} == missing
    ir = public(parsed(wheel, "sglang.lang.ir"))["SglSamplingParams"]
    assert isinstance(ir, ast.ClassDef)
    fields = [
        n.target.id
        for n in ir.body
        if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
    ]
    alias = importlib.import_module("sglang.lang.ir").SglSamplingParams
    assert fields == [*inspect.signature(alias).parameters]
