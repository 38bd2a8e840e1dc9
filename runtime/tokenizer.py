"""Text to token ids and back, by a model folder's tokenizer.json.

Knows nothing of tensors or models. The strings of special tokens inside a user's text are text:
`encode` yields special ids only when `allow_special` says that the text comes from a template.
Decoding joins the tokens' bytes, so that it is the same whether done at once or token by token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from ..errors import InvalidRequestError, ModelLoadError, NotSupportedError
from .chat_guard import Fence
from .chat_template import ChatTemplate
from .config import as_ids, read_json
from .locate import resolve_folder
from .token_bytes import TokenBytes, TokenTexts

_LONG = 2_000  # characters, above which `encode` would hold the interpreter for too long
_ANCHORS = "\n.a0)|~"  # unlike each other: hardly a text merges with all of them


class Tokenizer:
    """See the module's docstring.

    bos_id: None when the tokenizer has none. adds_bos: whether its own rule puts BOS before a plain
    text. eos_ids: every id that generation_config.json, config.json or tokenizer_config.json says
    ends a text. special_ids: those that decoding skips; special_of: by how they are written. texts:
    `token_bytes` as text, by id; None where they are not whole characters. folder: where its files
    lie; None where it was made of none.
    """

    def __init__(
        self,
        raw: tokenizers.Tokenizer,
        *,
        config: Mapping[str, Any] | None = None,
        bos_id: int | None = None,
        eos_ids: Iterable[int] = (),
        template: str | None = None,
    ) -> None:
        self.raw = raw
        self.folder: Path | None = None
        config = config or {}
        added = raw.get_added_tokens_decoder()
        self._special = {id: token.content for id, token in added.items() if token.special}
        self.special_ids: frozenset[int] = frozenset(self._special)
        self.special_of = {content: id for id, content in self._special.items()}
        self.vocab_size = max(raw.get_vocab(with_added_tokens=True).values()) + 1
        named = {
            name: token
            for name in ("bos_token", "eos_token", "pad_token", "unk_token")
            if (token := _content(config.get(name))) is not None
        }
        self.bos_id = self._id_of(named["bos_token"]) if "bos_token" in named else bos_id
        if "bos_token" in config and "bos_token" not in named:
            self.bos_id = None
        own_eos = self._id_of(named["eos_token"]) if "eos_token" in named else None
        self.eos_ids: frozenset[int] = frozenset(
            [*eos_ids, *([] if own_eos is None else [own_eos])]
        )
        self.adds_bos = self._adds_bos(config)
        self.chat_template = None if template is None else ChatTemplate(template, named)
        self._mark_control_tokens(added)
        raw.encode_special_tokens = True  # as text
        self._bytes = TokenBytes(raw, added)
        self.texts = TokenTexts(self._bytes)

    @classmethod
    def from_folder(cls, folder: str | Path) -> Tokenizer:
        """Read a model folder. Raises ModelLoadError, naming the file and what to do."""
        folder = Path(folder)
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ModelLoadError(
                "no fast tokenizer in the model folder",
                expected="tokenizer.json",
                got=", ".join(sorted(p.name for p in folder.glob("*token*"))) or "no tokenizer",
                where=str(folder),
                hint="Convert it once: "
                "AutoTokenizer.from_pretrained(folder, use_fast=True).save_pretrained(folder).",
            )
        try:
            raw = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise ModelLoadError(
                f"tokenizer.json cannot be read: {error}",
                where=str(path),
                hint="The file is damaged, or newer than the installed `tokenizers`.",
            ) from error
        raw.no_padding()
        raw.no_truncation()
        files = {
            name: read_json(folder / name) if (folder / name).is_file() else {}
            for name in ("tokenizer_config.json", "config.json", "generation_config.json")
        }
        config = files["tokenizer_config.json"]
        ids = [files["generation_config.json"], files["config.json"]]
        bos = next((found for part in ids for found in as_ids(part.get("bos_token_id"))), None)
        eos = [id for part in ids for id in as_ids(part.get("eos_token_id"))]
        made = cls(
            raw, config=config, bos_id=bos, eos_ids=eos, template=_find_template(folder, config)
        )
        made.folder = folder
        return made

    def encode(
        self,
        text: str,
        *,
        add_bos: bool = False,
        allow_special: bool = False,
        continues: bool = False,
    ) -> list[int]:
        """Token ids of `text`. With `allow_special`, special tokens' strings become their ids.
        continues: the text stands behind other text, so that a SentencePiece tokenizer puts no
        space before it; NotSupportedError where it cannot be told apart from what stands before.
        """
        if add_bos and self.bos_id is None:
            raise InvalidRequestError("this tokenizer has no BOS token", where="add_bos")
        ids = self._encode(text, allow_special, continues)
        if not allow_special and not self.special_ids.isdisjoint(ids):
            ids = self._encode_apart(text, ids, continues)
        return [self.bos_id, *ids] if add_bos and self.bos_id is not None else ids

    def _encode(self, text: str, allow_special: bool, continues: bool) -> list[int]:
        if not (continues and text and self._puts_space):
            return self._encode_all(text, allow_special)
        for anchor, before in self._anchors:
            ids = self._encode_all(anchor + text, allow_special)
            if ids[: len(before)] == before:
                return ids[len(before) :]
        raise NotSupportedError(
            "this tokenizer cannot encode a text that stands behind another: it puts a space "
            "before each text, and every text that was put before this one merged with it",
            got=repr(text)[:80],
            where="text",
            hint="Give the prompt as one text, or as input_ids.",
        )

    def _encode_all(self, text: str, allow_special: bool) -> list[int]:
        raw = self._with_special if allow_special else self.raw
        if len(text) > _LONG:
            [encoded] = raw.encode_batch_fast([text], add_special_tokens=False)
        else:
            encoded = raw.encode(text, add_special_tokens=False)
        ids: list[int] = encoded.ids
        return ids

    def warm_up(self) -> None:
        """Make now what the first chat would wait for: 0.4 s with 128,000 tokens."""
        _ = self._with_special

    @cached_property
    def _with_special(self) -> tokenizers.Tokenizer:
        """`raw`, but for special tokens that a text spells, which are themselves. A second one: to
        change the setting of one would want every thread to wait for the longest text."""
        made = tokenizers.Tokenizer.from_str(self.raw.to_str())
        made.encode_special_tokens = False
        return made

    @cached_property
    def _puts_space(self) -> bool:
        """Whether the tokenizer puts a space before every text that it encodes."""
        first = self._encode_all("x", False)[:1]
        return self.strips_space or b"".join(map(self._bytes, first)).startswith(b" ")

    @cached_property
    def _anchors(self) -> list[tuple[str, list[int]]]:
        """Texts that take the tokenizer's own space, so that what follows gets none, each with its
        ids; they are cut off again. Only those that the vocabulary spells."""
        found = []
        for anchor in _ANCHORS:
            ids = self._encode_all(anchor, False)
            if b"".join(map(self._bytes, ids)).removeprefix(b" ") == anchor.encode():
                found.append((anchor, ids))
        return found

    def _encode_apart(self, text: str, ids: list[int], continues: bool) -> list[int]:
        """A vocabulary that holds its special tokens as pieces (Unigram) finds them in a text all
        the same: encode such a text cut behind the first character of each."""
        found = {self._special[id] for id in self.special_ids.intersection(ids)}
        cuts = [f"(?<={re.escape(t[0])})(?={re.escape(t[1:])})" for t in found if t in text]
        if not cuts:
            return ids  # the token for unknown characters
        apart: list[int] = []
        for piece in re.split("|".join(sorted(cuts)), text):
            apart += self._encode(piece, False, continues or bool(apart))
        return apart

    def decode(
        self, ids: Iterable[int], *, skip_special: bool = True, continues: bool = False
    ) -> str:
        """The text of `ids`; bytes that are no UTF-8 become U+FFFD. continues: the ids follow
        other text, so that a SentencePiece tokenizer's first space stays."""
        kept = (id for id in ids if not (skip_special and id in self.special_ids))
        data = b"".join(map(self._bytes, kept))
        if self.strips_space and not continues:
            data = data.removeprefix(b" ")
        return data.decode("utf-8", errors="replace")

    def token_bytes(self, id: int) -> bytes:
        """What the token adds to the text; an id that no token has adds nothing."""
        return self._bytes(id)

    @property
    def strips_space(self) -> bool:
        """Whether a text's first space is the tokenizer's own (SentencePiece), not the text's."""
        return self._bytes.strips_space

    @cached_property
    def vocabulary(self) -> list[bytes]:
        """`token_bytes` of every id below `vocab_size`."""
        return [self._bytes(id) for id in range(self.vocab_size)]

    def render_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """The chat as the model's own template writes it."""
        if self.chat_template is None:
            raise InvalidRequestError(
                "this model has no chat template",
                where="messages",
                hint="Give a plain prompt, or use the instruction-tuned version of the model.",
            )
        return self.chat_template.render(
            messages, add_generation_prompt=add_generation_prompt, tools=tools, variables=variables
        )

    def encode_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> list[int]:
        """Token ids of `render_chat`, in which control tokens that a message, a tool or one of the
        `variables` spells are text.
        continue_final_message: they end with the last message's content, which is to go on.

        In the assistant's own messages those that its template writes but tokenizer.json does not
        call special (`<think>`, `<tool_call>`) are real: the model wrote them.
        """
        special = set(self._special.values())
        every = Fence(special | self._control, [messages, tools, variables])
        own = Fence(special, [messages, tools, variables])
        fenced = [
            (own if message.get("role") == "assistant" else every).put(message)
            for message in messages
        ]
        if continue_final_message:
            fenced[-1] = {**fenced[-1], "content": fenced[-1]["content"] + every.cut}
        text = self.render_chat(
            fenced,
            add_generation_prompt=add_generation_prompt,
            tools=every.put(tools),
            variables=every.put(variables),
        )
        if continue_final_message:
            text, found, _ = text.rpartition(every.cut)
            if not found:
                raise NotSupportedError(
                    "this model's chat template does not write the last message as it stands",
                    where="continue_final_message",
                    hint="Give the prompt to /v1/completions as text or ids.",
                )
        ids: list[int] = []
        for piece, real in every.split(text):
            ids += self.encode(piece, allow_special=real, continues=bool(ids))
        return ids

    def _id_of(self, token: str) -> int | None:
        id: int | None = self.raw.token_to_id(token)
        return id

    def _adds_bos(self, config: Mapping[str, Any]) -> bool:
        if self.bos_id is None:
            return False
        said = config.get("add_bos_token")
        if said is not None:
            return bool(said)
        return self.raw.encode("a").ids[:1] == [self.bos_id]

    def _mark_control_tokens(self, added: Mapping[int, tokenizers.AddedToken]) -> None:
        """Tokens that the template writes are control tokens even where tokenizer.json does not
        call them special (DeepSeek's roles, Qwen's tool calls): a user's text must not make them
        either. `special_ids`, which decoding skips, does not change."""
        self._control: frozenset[str] = frozenset()
        if self.chat_template is None:
            return
        written = [
            tokenizers.AddedToken(token.content, special=True, normalized=False)
            for token in added.values()
            if not token.special and self.chat_template.names(token.content)
        ]
        self._control = frozenset(token.content for token in written)
        self.raw.add_special_tokens(written)


def _content(token: Any) -> str | None:
    """A token in tokenizer_config.json: a string, an object with its content, or null."""
    return token.get("content") if isinstance(token, dict) else token


def _find_template(folder: Path, config: Mapping[str, Any]) -> str | None:
    """chat_template.jinja, or chat_template.json, or tokenizer_config.json's own."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    path = folder / "chat_template.json"
    found = read_json(path).get("chat_template") if path.is_file() else None
    found = found or config.get("chat_template")
    if isinstance(found, list):
        found = {entry["name"]: entry["template"] for entry in found}.get("default")
    return found


def find_tokenizer(source: str) -> Tokenizer | None:
    """The tokenizer beside a model (a folder, a hub id, "sprig"); None where there is none."""
    folder = None if source == "null" else resolve_folder(source)
    if folder is None or not (folder / "tokenizer.json").exists():
        return None
    return Tokenizer.from_folder(folder)
