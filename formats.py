"""What the outside world prescribes: the formats of files, and what published models look like.

First tokenizer.json, safetensors and keeping a model, for lessons 2 and 3; then, for lesson 6,
fetching a model, config.json, and the names of tensors. It knows nothing of the lessons, and
you need not open it to follow them.
"""

import ast
import codecs
import contextlib
import email.utils
import hashlib
import http.client
import io
import json
import math
import os
import random
import re
import socket
import struct
import sys
import tempfile
import threading
import tokenize
import unicodedata
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from functools import lru_cache, partial, reduce
from itertools import chain, count, groupby, islice, takewhile
from pathlib import Path
from typing import Any, BinaryIO, Callable, Iterable, Iterator, Optional, Union

from stage import progress

Vector = list[float]


# %% Write a file whole

def write_whole(path: Union[str, Path], data: bytes) -> None:
    """Write a file beside the old one, then put it in its place, all or nothing.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(folder + "/file", b"data")
    ...     Path(folder, "file").read_bytes()
    b'data'
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():    # a pipe or a device, or a folder, which is an error
        path.write_bytes(data)
        return
    beside = Path(f"{path}.{os.getpid()}-{threading.get_ident()}")
    try:
        beside.write_bytes(data)
        os.replace(beside, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


# %% tokenizer.json

GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
Pair = tuple[int, int]


@dataclass(frozen=True)
class Rules:
    """What a tokenizer.json prescribes beside its tokens and merges."""
    patterns: tuple[str, ...] = (GPT2_PATTERN,)     # by the first, then each part by the second, and so on
    nfc: bool = False       # is é to be one character, never e and an accent?
    ignore_merges: bool = False     # is a word that is a token taken as it is?
    always: frozenset[str] = frozenset()        # added tokens that are cut out even if nobody allowed them
    normalized: frozenset[str] = frozenset()    # added tokens that are looked for after NFC, not before
    first_ids: tuple[int, ...] = ()     # what the post_processor puts before a text


# All that a tokenizer.json may ask for: the steps of its parts, and the keys that may be on, with the type of
# their values. (What is off, as "dropout" mostly is, changes nothing.) All else is refused: it might change
# the ids, and nobody would notice.
_STEPS = {"normalizer": ("NFC",), "pre_tokenizer": ("Split", "Digits", "ByteLevel"),
          "post_processor": ("ByteLevel", "TemplateProcessing", "BertProcessing", "RobertaProcessing"),
          "decoder": ("ByteLevel",)}
_MAY_BE_ON = {key: kind for kind, keys in {
    dict: "model normalizer pre_tokenizer post_processor decoder vocab pattern special_tokens",
    list: "added_tokens merges normalizers pretokenizers processors decoders single pair sep cls",
    bool: """normalized special ignore_merges fuse_unk individual_digits use_regex trim_offsets
        add_prefix_space""",
    str: "version type content unk_token behavior", int: "id"}.items() for key in keys.split()}
_MUST_SAY = {"version": "1.0", "behavior": "Isolated"}


def read_tokenizer(path: Union[str, Path]) -> tuple[dict[Pair, int], dict[str, int], dict[bytes, int], Rules]:
    """Read a tokenizer.json of byte-level BPE: merges, added tokens, vocabulary and rules.

    Raises ValueError, with the part that is to blame, for a file that is damaged or
    asks for something that would give other ids here.
    """
    data = Path(path).read_bytes()
    try:
        return _read_file(json.loads(data))
    except ValueError as error:
        reason = error
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        reason = f"a part of it is missing, or is something else: {error}"
    raise ValueError(f"{path} can't be opened as a tokenizer.json: {reason}")


def _read_file(file: dict) -> tuple[dict[Pair, int], dict[str, int], dict[bytes, int], Rules]:
    model, added = file["model"], file.get("added_tokens", [])
    _check("it", file)
    _check("its model", model)
    require(model.get("type", "BPE") == "BPE", f"its model is {model.get('type')!r}, not BPE")
    vocabulary = _read_vocabulary(model["vocab"], {token["content"] for token in added})
    special_tokens = _read_added(added, model["vocab"])
    steps = {kind: _read_steps(kind, file.get(kind)) for kind in _STEPS}
    rules = Rules(patterns=_read_patterns(steps["pre_tokenizer"]), nfc=bool(steps["normalizer"]),
                  ignore_merges=bool(model.get("ignore_merges")),
                  always=frozenset(token["content"] for token in added if not token.get("special")),
                  normalized=frozenset(token["content"] for token in added if token.get("normalized")),
                  first_ids=_read_first_ids(steps["post_processor"]))
    require({*rules.first_ids}.issubset(chain(vocabulary.values(), special_tokens.values())),
            "its post_processor puts an id first that no token has")
    return _read_merges(model["merges"], model["vocab"]), special_tokens, vocabulary, rules


def require(condition: object, otherwise: str) -> None:
    """Raise ValueError with the text, unless the condition holds."""
    if not condition:
        raise ValueError(otherwise)


def _check(name: str, part: dict) -> None:
    """Refuse a part that asks for anything but what it may."""
    for key, value in part.items():
        if value and type(value) is not _MAY_BE_ON.get(key) or value != _MUST_SAY.get(key, value):
            raise ValueError(f"{name} asks for {key} {str(value)[:40]!r}, which is not known here")


def _read_steps(kind: str, part: Optional[dict]) -> list[dict]:
    """A part of the file is nothing, one step, or a sequence of parts."""
    if part is None:
        return []
    name = part["type"]
    _check(f"its {kind} {name}", part)
    if name == "Sequence":
        inner = chain.from_iterable(value for key, value in part.items() if key != "type")
        return [step for each in inner for step in _read_steps(kind, each)]
    require(name in _STEPS[kind], f"its {kind} {name!r} is not one of {', '.join(_STEPS[kind])}")
    return [part]


def _read_added(added: list[dict], ids: dict[str, int]) -> dict[str, int]:
    """Each added token needs a text, and the id that Hugging Face would give it: the next that is free."""
    special_tokens, known = {}, dict(ids)
    for token in added:
        content = token["content"]
        name = f"its added token {content!r}"
        _check(name, token)
        require(content and isinstance(content, str), f"{name} is not a text")
        require(content not in special_tokens, f"{name} is there twice")
        require(not token.get("normalized") or unicodedata.is_normalized("NFC", content),
                f"{name} is to be normalized, and is not in NFC")
        id = special_tokens[content] = known.setdefault(content, len(known))
        require(token["id"] == id, f"{name} has the id {token['id']}, and {id} was to be next")
    require(len({*known.values()}) == len(known), "two of its tokens have the same id")
    return special_tokens


def _read_vocabulary(ids: dict[str, int], added: set[str]) -> dict[bytes, int]:
    """Turn the letters of each token back into bytes; an added token may stand there as it is."""
    require({*map(type, ids.values())} == {int} and 0 <= min(ids.values()) <= max(ids.values()) < 2 ** 32,
            "an id in its vocabulary is no whole number from 0 up, below 2 to the power of 32")
    vocabulary = {}
    for letters, id in ids.items():
        try:
            vocabulary[letters_to_bytes(letters)] = id
        except ValueError:
            require(letters in added, f"the token {letters!r} in its vocabulary is not in byte letters")
            vocabulary[letters.encode("utf-8")] = id
    require(len(vocabulary) == len(ids), "two tokens in its vocabulary stand for the same bytes")
    missing = [byte for byte in range(256) if bytes([byte]) not in vocabulary]
    require(not missing, f"its vocabulary is not byte-level: it has no token for the bytes {missing[:3]}")
    return vocabulary


def _read_merges(merges: list, ids: dict[str, int]) -> dict[Pair, int]:
    """Merges are written "a b" or ["a", "b"]; the merged token is "ab"."""
    require({*map(type, merges)} in ({str}, {list}, set()), "its merges are neither all texts nor all lists")
    pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in merges)
    try:
        read = {(ids[left], ids[right]): ids[left + right] for left, right in pairs}
    except (KeyError, ValueError) as error:
        raise ValueError(f"one of its merges is not a pair of known tokens: {error}") from None
    require(len(read) == len(merges), "it lists a merge twice")
    return read


def _read_patterns(steps: list[dict]) -> tuple[str, ...]:
    """The patterns by which the text is split, one after the other; the last step makes bytes."""
    *splits, last = steps or [{"type": "nothing"}]
    require(last["type"] == "ByteLevel" and not last.get("add_prefix_space"),
            f"its pre_tokenizer must end with ByteLevel without add_prefix_space, not with {last['type']}")
    patterns = []
    for step in splits:
        require(step["type"] != "ByteLevel", "its pre_tokenizer has ByteLevel twice")
        if step["type"] == "Digits":
            patterns.append(r"\p{N}" if step["individual_digits"] else r"\p{N}+")
        else:
            patterns.append(step["pattern"]["Regex"])
    patterns += [GPT2_PATTERN] if last.get("use_regex", True) else []
    for pattern in patterns:
        pattern.encode("utf-8")
        compile_pattern(pattern, "")
    return tuple(patterns)


def _read_first_ids(steps: list[dict]) -> tuple[int, ...]:
    """The ids of the special tokens that a TemplateProcessing puts before the text."""
    ids, templates = [], [step for step in steps if step["type"] == "TemplateProcessing"]
    require(len(templates) < 2, "its post_processor has two templates")
    for template in templates:
        texts = sum("Sequence" in piece for piece in template["single"])
        require(texts == 1, f"its post_processor takes {texts} texts for one")
        for piece in takewhile(lambda piece: "SpecialToken" in piece, template["single"]):
            ids += template["special_tokens"][piece["SpecialToken"]["id"]]["ids"]
    return tuple(ids)


def write_tokenizer(path: Union[str, Path], merges: dict[Pair, int], special_tokens: dict[str, int],
                    vocabulary: dict[bytes, int], rules: Rules) -> None:
    """Write a tokenizer.json, which Hugging Face `tokenizers` opens; takes what `read_tokenizer` gives."""
    letters = byte_letters()
    names = {id: codecs.charmap_decode(token, "strict", letters)[0] for token, id in vocabulary.items()}
    names.update((id, token) for token, id in special_tokens.items())
    added = [{"id": id, "content": token, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": token in rules.normalized, "special": token not in rules.always}
             for token, id in special_tokens.items()]
    splits = [{"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
              for pattern in rules.patterns]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    model = {"type": "BPE", "ignore_merges": rules.ignore_merges,
             "vocab": {names[id]: id for id in vocabulary.values()},
             "merges": [f"{names[left]} {names[right]}" for left, right in merges]}
    write_whole(path, json.dumps({
        "version": "1.0", "added_tokens": added, "normalizer": {"type": "NFC"} if rules.nfc else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*splits, byte_level]},
        "post_processor": _template(rules.first_ids, names), "decoder": byte_level, "model": model,
    }, ensure_ascii=False, indent=1).encode("utf-8"))


def _template(first_ids: Iterable[int], names: dict[int, str]) -> dict:
    """The post_processor that puts some tokens before a text."""
    first = [{"SpecialToken": {"id": names[id], "type_id": 0}} for id in first_ids]
    text, second = ({"Sequence": {"id": letter, "type_id": place}} for place, letter in enumerate("AB"))
    tokens = {names[id]: {"id": names[id], "ids": [id], "tokens": [names[id]]} for id in first_ids}
    return {"type": "TemplateProcessing", "single": [*first, text], "pair": [*first, text, *first, second],
            "special_tokens": tokens}


@lru_cache(maxsize=1)
def byte_letters() -> str:
    """The letters of the bytes from 0 to 255: 188 have one of their own, the others get those from 256 on.

    >>> byte_letters()[ord("a")], byte_letters()[ord(" ")], byte_letters()[ord("\\n")]
    ('a', 'Ġ', 'Ċ')
    """
    printable, others = {*range(33, 127), *range(161, 173), *range(174, 256)}, count(256)
    return "".join(chr(byte if byte in printable else next(others)) for byte in range(256))


def letters_to_bytes(letters: str) -> bytes:
    """Turn the letters of a token back into its bytes.

    >>> letters_to_bytes("Ġè½¦").decode("utf-8")
    ' 车'

    Raises ValueError for a character that is no such letter.
    """
    return codecs.charmap_encode(letters, "strict", _bytes_of_letters())[0]


@lru_cache(maxsize=1)
def _bytes_of_letters() -> Any:
    return codecs.charmap_build(byte_letters())


def check_names(special_tokens: dict[str, int], vocabulary: dict[bytes, int]) -> None:
    """A tokenizer.json can't hold an added token that reads like another token in byte letters.

    Raises ValueError for such a token.
    """
    for name in filter({*byte_letters()}.issuperset, special_tokens):
        same, id = letters_to_bytes(name), special_tokens[name]
        require(same == name.encode("utf-8") and vocabulary.get(same, id) == id,
                f"the added token {name!r} would be read as byte letters, as {same!r}")


# %% Cut a text by the rules of its tokenizer

def cut_text(text: str, special_tokens: dict[str, int], rules: Rules,
             allowed: Union[str, Iterable[str]]) -> Iterator[Union[int, list[str]]]:
    """Cut a text as Hugging Face does: the ids of allowed special tokens, and lists of words between.

    >>> list(cut_text("The cat<end>!", {"<end>": 256}, Rules(), "all"))
    [['The', ' cat'], 256, ['!']]
    """
    require(isinstance(text, str), f"a text is needed, not {text!r}")
    require(allowed == "all" or not isinstance(allowed, str),
            f'allowed_special is a set of tokens or "all", not {allowed!r}')
    names = frozenset(special_tokens)
    if allowed != "all":
        names &= rules.always.union(allowed)
    late = names & rules.normalized
    parts = cut_out(text, names - late)
    if rules.nfc:
        parts[::2] = [unicodedata.normalize("NFC", part) for part in parts[::2]]
    cuts = ([part] if place % 2 else cut_out(part, late) for place, part in enumerate(parts))
    for place, part in enumerate(chain.from_iterable(cuts)):    # every second part is still a name
        yield special_tokens[part] if place % 2 else _words(part, rules.patterns)


def _words(text: str, patterns: Iterable[str]) -> list[str]:
    words = [text]
    for pattern in patterns:
        words = list(filter(None, chain.from_iterable(map(compile_pattern(pattern, text).split, words))))
    return words


def cut_out(text: str, names: frozenset[str]) -> list[str]:
    """Cut a text before and after each of the names; every second part is a name, and the longest name wins.

    >>> cut_out("one<a>two", frozenset(["<a>"]))
    ['one', '<a>', 'two']
    """
    return _pattern_of(names).split(text) if names else [text]


@lru_cache(maxsize=16)
def _pattern_of(names: frozenset[str]) -> "re.Pattern[str]":
    # In this order a name stands before those that it begins with.
    return re.compile("(" + "|".join(map(re.escape, sorted(names, reverse=True))) + ")")


# %% The split patterns of tokenizers

# What a pattern may be made of: what Python's re and Hugging Face's Oniguruma read in the same way, and what
# is turned below into what re reads. All else is refused. First come \n and \., then \p{L} and \s.
_ESCAPE = r"\\(?:[nrtfva]|u[0-9a-fA-F]{4}|[^\w\s]| )"
_CATEGORY = r"\\[pP]\{\^?(?:L[ulmto]?|M[nce]?|N[dlo]?|P[cdseifo]?|S[mcko]?|Z[slp]?|C[cfson]?)\}|\\[sSdD]"
_MEMBER = rf"(?:{_ESCAPE}|&(?!&)|\|(?!\|)|~(?!~)|[^\\\[\]&|~-])"
_CLASS = rf"\[(?:\^|(?!\^))(?!\])-?(?:{_CATEGORY}|{_MEMBER}(?:-{_MEMBER})?)*-?\]"
# In any case, "ss" is ß too, "fi" may be one sign, and "i" is what Turkish makes of it: these are refused.
_LETTERS = r"(?:(?![a-z]*(?:ss|st|f[fil]|i))[a-z]+|\[[a-hj-z]+\])"
_ANY_CASE = rf"\(\?i:(?ai:(?:\||'?{_LETTERS}(?=[|)]))*)\)(?![*+{{]|\(\?i)"
_OPEN_OR_BORDER = r"(?:\((?:\?:|\?<?[=!])?|[\^$])(?![?*+{])"
_QUANTIFIER = r"(?:[?*+]\??|\{\d+\}(?!\?)|\{\d+,\d*\}\??|\{,\d+\}\??)(?!\+)"
_PART = re.compile(rf"{_CATEGORY}|{_CLASS}|{_ANY_CASE}|{_OPEN_OR_BORDER}|{_QUANTIFIER}|{_ESCAPE}"
                   r"|[^\\?*+{}(\[\]^$]|(?P<unknown>(?s:.{1,10}))")
# A "(" would be a group whose text `split` keeps, and in Oniguruma ^ and $ are the borders of a line.
_IN_RE = {"(": "(?:", "^": r"(?:\A|(?<=\n)(?!\Z))", "$": "(?m:$)"}
_LOOKS_AROUND = {"(?=", "(?!", "(?<=", "(?<!"}


def compile_pattern(pattern: str, text: str) -> "re.Pattern[str]":
    r"""Turn a split pattern into Python's `re`; its `split` cuts the text into matches and the gaps between.

    `re` has no \p{L} for "any letter", so the class is written out for the characters that the text may have.

    >>> [word for word in compile_pattern(r"\p{L}+", "").split("one, two") if word]
    ['one', ', ', 'two']

    Characters that are newer than Python's tables of Unicode differ by nature. Raises ValueError
    for a pattern that can't be turned exactly, or that may match where there is nothing.

    >>> compile_pattern(r"\p{Han}+", "")
    Traceback (most recent call last):
    ValueError: the split pattern has '\\p{Han}+', which Python's re may read in another way
    """
    return _compile(pattern, _alphabet(text))


def _alphabet(text: str) -> str:
    """Characters, in order, that include those of the text: its own, or, if it is short, many more."""
    if len(text) > 20_000 and not text.isascii():
        return "".join(sorted({*_characters(0x80), *text}))
    highest = 0 if text.isascii() else ord(max(text))
    return _characters(next(end for end in (0x80, 0x300, 0x10000, 0x20000, 0x110000) if highest < end))


@lru_cache(maxsize=8)
def _characters(end: int) -> str:
    return "".join(map(chr, range(end)))


@lru_cache(maxsize=64)
def _compile(pattern: str, alphabet: str) -> "re.Pattern[str]":
    """Compile a pattern for texts in some characters, which are given in order."""
    parts = [_in_re(part, alphabet) for part in _PART.finditer(pattern)]
    # Does it fit an empty text, if all that looks around is content with nothing? (For a class stands an x.)
    content = ["(?=|" if part in _LOOKS_AROUND else "x" if part[0] == "[" else part for part in parts]
    try:
        compiled = re.compile("(" + "".join(parts) + ")")
        can_be_empty = re.fullmatch("".join(content), "")
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"Python's re can't take the split pattern {pattern[:60]!r}: {error}") from None
    require(not can_be_empty, f"the split pattern {pattern[:60]!r} can match where there is nothing")
    return compiled


def _in_re(part: "re.Match[str]", alphabet: str) -> str:
    """Write a part of a pattern as re reads it, with the members of each category."""
    require(not part["unknown"],
            f"the split pattern has {part['unknown']!r}, which Python's re may read in another way")
    text = f"[{part[0]}]" if re.fullmatch(_CATEGORY, part[0]) else _IN_RE.get(part[0], part[0])

    def members(found: "re.Match[str]") -> str:
        return _members(found[1], alphabet) if found[1] else found[0]
    return re.sub(rf"{_ESCAPE}|({_CATEGORY})", members, text)


@lru_cache(maxsize=64)
def _members(category: str, alphabet: str) -> str:
    """Write \\p{L}, \\P{L}, \\s and the like as ranges of the characters in an alphabet."""
    name = re.sub(r"\W", "", category[2:]) or {"s": ("Z", "Cc space"), "d": "Nd"}[category[1].lower()]
    negative = category[1].isupper() != ("^" in category)
    members = groupby(_runs(alphabet), lambda run: run[0].startswith(name) != negative)
    ranges = [[*runs] for inside, runs in members if inside]
    # A class can't be empty, and \ud800 is in no text.
    return "".join(f"\\U{ord(runs[0][1]):08x}-\\U{ord(runs[-1][2]):08x}" for runs in ranges) or "\\ud800"


@lru_cache(maxsize=8)
def _runs(alphabet: str) -> list[tuple[str, str, str]]:
    """Runs of neighbours of one category: the category, and the first and the last character."""
    runs = [(category, [*run]) for category, run in groupby(alphabet, _category)]
    return [(category, run[0], run[-1]) for category, run in runs]


def _category(character: str) -> str:
    return "Cc space" if character in "\t\n\v\f\r\x85" else unicodedata.category(character)


# %% safetensors

NO_CHECKSUM = "0" * 64
# The name of each number type that can be read, and its code in Python's `struct`.
NUMBER_TYPES = {"F64": "d", "F32": "f", "F16": "e", "BF16": "H", "I32": "i"}


@dataclass(frozen=True)
class Tensor:
    """A matrix in a safetensors file, whose rows are read when they are asked for.

    It can be used like a list of rows: `len`, `tensor[3]` and `for row in tensor`.
    `dtype` is the type of its numbers, as the file calls it, and `shape` the
    number of rows, of columns and so on; `start` is where it begins in the file.
    """
    path: str
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int

    def row(self, index: int) -> Vector:
        """Read one row, and nothing else, from the file.

        Raises ValueError if there is no such row, if its type is not known, or if it has NaN or infinity.
        """
        require(isinstance(index, int) and 0 <= index < len(self),
                f"the tensor {self.name!r} of shape {list(self.shape)} has no row {index!r}")
        with open(self.path, "rb") as file:
            return next(self._read(file, range(index, index + 1)))

    __getitem__ = row

    def __len__(self) -> int:
        return self.shape[0] if self.shape else 0

    def __iter__(self) -> Iterator[Vector]:
        """Read all the rows, one after the other, never more than one at a time."""
        with open(self.path, "rb") as file:
            yield from self._read(file, range(len(self)))

    def _read(self, file: BinaryIO, indices: range) -> Iterator[Vector]:
        require(self.dtype in NUMBER_TYPES, f"the tensor {self.name!r} in {self.path} has numbers of the type "
                f"{self.dtype}, which can't be read; {', '.join(NUMBER_TYPES)} can")
        width, code = math.prod(self.shape[1:]), "f" if self.dtype == "BF16" else NUMBER_TYPES[self.dtype]
        size = width * struct.calcsize("<" + NUMBER_TYPES[self.dtype])
        file.seek(self.start + indices.start * size)
        for index in indices:
            data = file.read(size)
            require(len(data) == size,
                    f"{self.path} ends in the middle of row {index} of the tensor {self.name!r}")
            if self.dtype == "BF16":    # the first half of an F32: the other half is zeros
                wide = bytearray(2 * size)
                wide[2::4], wide[3::4] = data[::2], data[1::2]
                data = wide
            numbers = list(struct.unpack(f"<{width}{code}", data))
            require(math.isfinite(sum(numbers)) or all(map(math.isfinite, numbers)),
                    f"row {index} of the tensor {self.name!r} in {self.path} has NaN or infinity in it")
            yield numbers


def read_safetensors(path: Union[str, Path]) -> dict[str, Tensor]:
    """Open a safetensors file: its tensors by name. Only the header is read here.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_safetensors(folder + "/file", {"m": ("F32", (2, 2), [1, 2, 3, 4])}, {})
    ...     read_safetensors(folder + "/file")["m"].row(1)
    [3.0, 4.0]

    No number in a file is believed before it is checked. Raises ValueError for a header that is
    damaged, and for tensors that overlap, leave the file or don't fit their shape.
    """
    return _read_header(path)[0]


def read_undamaged(path: Union[str, Path]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Open a file that `write_safetensors` wrote: its tensors and its metadata.

    Raises ValueError if a bit has changed, or if somebody else wrote it; such a file is not read whole.
    """
    tensors, metadata = _read_header(path)
    checksum = metadata.pop("sha256", "")
    require(re.fullmatch("[0-9a-f]{64}", checksum),
            f"{path} has no checksum: it is damaged, or was written by another program")
    data = Path(path).read_bytes().replace(checksum.encode(), NO_CHECKSUM.encode(), 1)
    require(checksum_of(data) == checksum, f"{path} is damaged: its checksum is wrong")
    return tensors, metadata


def _read_header(path: Union[str, Path]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file."""
    size = os.path.getsize(path)
    try:
        with open(path, "rb") as file:
            start = 8 + int.from_bytes(file.read(8), "little")
            require(8 < start <= min(size, 100_000_000), f"its header would end at byte {start} of {size}")
            header = json.loads(file.read(start - 8))
        metadata = {str(name): str(value) for name, value in (header.pop("__metadata__", None) or {}).items()}
        tensors = {name: _tensor(path, name, entry, start) for name, entry in header.items()}
        places = sorted(entry["data_offsets"] for entry in header.values())
        require([0, *(end for _, end in places)] == [*(begin for begin, _ in places), size - start],
                "its tensors overlap, leave a gap or don't end where the file ends")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged, or no safetensors file: {error}") from None
    return tensors, metadata


def _tensor(path: Union[str, Path], name: str, entry: dict, start: int) -> Tensor:
    dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    numbers, size = [*shape, begin, end], end - begin
    require(len(shape) <= 8 and all(type(number) is int and 0 <= number < 2 ** 63 for number in numbers),
            f"the tensor {name!r} has an impossible shape or place")
    wanted = math.prod(shape) * struct.calcsize(NUMBER_TYPES[dtype]) if dtype in NUMBER_TYPES else size
    require(0 <= size == wanted, f"the tensor {name!r} has {size} bytes, which don't fit its shape {shape}")
    return Tensor(str(path), name, dtype, tuple(shape), start + begin)


def write_safetensors(path: Union[str, Path], tensors: dict[str, tuple[str, tuple, Iterable]],
                      metadata: dict[str, str]) -> None:
    """Write tensors, each a type, a shape and its numbers in a row, as a safetensors file.

    With them goes a checksum of the whole file (in which the checksum itself is
    all zeros), so that `read_undamaged` notices damage when it is read again.
    """
    metadata = {name: value for name, value in metadata.items() if name != "sha256"}
    header, parts, end = {"__metadata__": {"sha256": NO_CHECKSUM, **metadata}}, [], 0
    for name, (dtype, shape, numbers) in tensors.items():
        numbers = list(numbers)
        parts.append(struct.pack(f"<{len(numbers)}{NUMBER_TYPES[dtype]}", *numbers))
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + len(parts[-1])]}
        end += len(parts[-1])
    text = json.dumps(header).encode("utf-8")
    text += b" " * (-len(text) % 8)
    data = b"".join([len(text).to_bytes(8, "little"), text, *parts])
    write_whole(path, data.replace(NO_CHECKSUM.encode(), checksum_of(data).encode(), 1))


def find_embeddings(tensors: dict[str, Tensor], vocab_size: int) -> Tensor:
    """Among the tensors of a model, the matrix with a row for each token, or with a few rows more.

    Raises ValueError if no matrix has so many: then it belongs to another tokenizer.
    """
    matrices = [each for each in tensors.values() if len(each.shape) == 2]
    fitting = [each for each in matrices if vocab_size <= len(each) <= vocab_size + 1024]
    rows = ", ".join(str(len(each)) for each in matrices[:3]) or "no"
    require(fitting, f"the tokenizer has {vocab_size} tokens, and the file has matrices of {rows} rows; "
            "take both from the same model")
    return max(fitting, key=lambda each: bool(re.search("emb|wte", each.name)))


# %% Keep a trained model

def checksum_of(data: bytes) -> str:
    """SHA-256 as 64 hexadecimal digits: it tells whether anything has changed."""
    return hashlib.sha256(data).hexdigest()


def code_of(path: Union[str, Path]) -> str:
    """The code of a Python file without docstrings, comments and empty lines: the same for every Python."""
    source = Path(path).read_text(encoding="utf-8")
    lines = source.split("\n")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        documented = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        if documented and ast.get_docstring(node) is not None:
            for row in range(node.body[0].lineno, node.body[0].end_lineno + 1):
                lines[row - 1] = ""
    return "\n".join(line.rstrip() for line in lines if line.strip())


def check_folder(folder: Union[str, Path], made_by: str) -> None:
    """Refuse what can't be a folder of ours, also one with a model that somebody else wrote.

    That is not ours to overwrite, nor to read whole.
    """
    there = next(path for path in (Path(folder), *Path(folder).absolute().parents) if path.exists())
    require(there.is_dir() and os.access(there, os.W_OK), f"{folder} can't be written to as a folder")
    model_file = Path(folder, "model.safetensors")
    if model_file.exists():
        with open(model_file, "rb") as file:
            ours = f'"made_by": "{made_by}"'.encode() in file.read(1000)
    else:
        ours = not Path(folder, "tokenizer.json").exists()
    require(ours, f"{folder} holds a model that was not made by {made_by}")


def save_together(folder: Union[str, Path], tokenizer: Any, model: Any) -> None:
    """Save tokenizer.json and model.safetensors, whose metadata says who made it, and for which tokenizer."""
    check_folder(folder, model.metadata["made_by"])
    Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as beside:
        tokenizer.save(Path(beside, "tokenizer.json"))
        data = Path(beside, "tokenizer.json").read_bytes()
    model.metadata["tokenizer"] = checksum_of(data)
    model.save(Path(folder, "model.safetensors"))       # first: it carries the mark that the folder is ours
    write_whole(Path(folder, "tokenizer.json"), data)


def load_together(folder: Union[str, Path], load_tokenizer: Callable,
                  load_model: Callable) -> tuple[Any, Any]:
    """Load what `save_together` saved.

    Raises ValueError for a file that is damaged, and for a tokenizer.json that belongs to another model.
    """
    model, path = load_model(Path(folder, "model.safetensors")), Path(folder, "tokenizer.json")
    require(model.metadata.get("tokenizer") == checksum_of(path.read_bytes()),
            f"{path} is not the one of the model beside it")
    return load_tokenizer(path), model


def kept_or_trained(folder: Path, recipe: str, load: Callable, train: Callable) -> tuple[Any, Any]:
    """Load tokenizer and model from a folder; train and save them if damaged, or of another recipe."""
    try:
        tokenizer, model = load(folder)
        if model.metadata.get("recipe") == recipe:
            return tokenizer, model
    except FileNotFoundError:
        pass
    except (ValueError, OSError) as error:
        print(f"{error}; training again", file=sys.stderr)
    tokenizer, model = train()
    model.metadata["recipe"] = recipe
    try:
        save_together(folder, tokenizer, model)
    except (ValueError, OSError) as error:
        print(f"{error}, so the model is not kept", file=sys.stderr)
    return tokenizer, model


# %% A model's folder: its settings and its weights

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def read_json(path: Union[str, Path]) -> dict:
    """Read a JSON file that holds one object, such as config.json.

    Raises ValueError if it holds anything else.
    """
    try:
        data = json.loads(Path(path).read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON file: {error}") from None
    require(isinstance(data, dict), f"{path} should hold one JSON object, in braces")
    return data


def read_weights(folder: Union[str, Path]) -> dict[str, Tensor]:
    """All tensors of a model: from model.safetensors, or from the shards that its index names.

    Raises ValueError if a tensor is in another file than the index says.
    """
    if Path(folder, WEIGHTS).exists():
        return read_safetensors(Path(folder, WEIGHTS))
    tensors, places = {}, weight_map(folder)
    for file in sorted(set(places.values())):
        tensors.update(read_safetensors(Path(folder, file)))
    for name, tensor in tensors.items():
        file = places.get(name, Path(tensor.path).name)
        require(tensor.path == str(Path(folder, file)), f"{tensor.path} has the tensor {name!r} of {file}")
    return tensors


def weight_map(folder: Union[str, Path]) -> dict[str, str]:
    """The index of a model in shards: in which file each tensor is.

    Raises ValueError if it is damaged, or names a file outside of the folder.
    """
    path = Path(folder, INDEX)
    require(path.exists(), f"{folder} has no {WEIGHTS}, and no {INDEX}")
    files = read_json(path).get("weight_map")
    require(isinstance(files, dict) and files, f"{path} has no weight_map")
    for file in files.values():
        require(isinstance(file, str) and re.fullmatch(r"\w[\w.-]*\.safetensors", file, re.ASCII),
                f"{path} names {file!r}, no .safetensors file of its folder")
    return files


def stop_ids(folder: Union[str, Path]) -> list[int]:
    """The ids that end a text, from config.json and generation_config.json."""
    found = []
    for file in ("config.json", "generation_config.json"):
        config = read_json(Path(folder, file)) if Path(folder, file).exists() else {}
        for part in (config, config.get("text_config")):
            ids = part.get("eos_token_id") if isinstance(part, dict) else None
            found += ids if isinstance(ids, list) else [ids]
    return [id for id in dict.fromkeys(found) if isinstance(id, int)]


def check_vocabulary(folder: Union[str, Path], vocabulary: dict[bytes, int]) -> None:
    """Raise ValueError if a tokenizer has tokens for which its model has no row."""
    rows = check_config(read_json(Path(folder, "config.json")))["vocab_size"]
    require(max(vocabulary.values()) < rows, f"{folder}: the tokenizer has more tokens than the model has "
                                             f"rows, {rows}: they don't belong together")


def check_memory(needed: float, name: Union[str, Path]) -> None:
    """Raise ValueError, and say how much is needed, if there are not so many bytes of memory free."""
    free = min(_free_memory())
    require(needed <= free, f"{name} needs {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free")


def _free_memory() -> Iterator[float]:
    """How many bytes a program may still take, as far as the system says it."""
    yield math.inf
    not_said = contextlib.suppress(OSError, ValueError, AttributeError, ImportError)
    with not_said:      # all there is, but on Windows
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with not_said:      # Linux
        said = Path("/proc/meminfo").read_text(encoding="utf-8")
        yield 1024 * int(re.search(r"MemAvailable: +(\d+)", said).group(1))
    with not_said:      # a container
        most, taken = (Path("/sys/fs/cgroup", name).read_text(encoding="utf-8")
                       for name in ("memory.max", "memory.current"))
        yield int(most) - int(taken)
    with not_said:      # ulimit -v
        import resource
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        yield math.inf if limit == resource.RLIM_INFINITY else limit


# %% Fetching a model

def find_model(folder_or_name: Union[str, Path], fetched: Union[str, Path]) -> Path:
    """The folder of a model; one with a name, such as Qwen/Qwen2.5-0.5B, is fetched once into `fetched`.

    Raises ValueError if it can't be had, or if there is no code for it, before the large files are fetched.
    """
    if Path(folder_or_name).is_dir():
        require(Path(folder_or_name, "config.json").exists(),
                f"{folder_or_name} has no config.json, so it is not the folder of an LLM")
        return Path(folder_or_name)
    model, folder = str(folder_or_name), Path(fetched, folder_or_name)
    require(re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", model, re.ASCII),
            f"{model} is no folder, and no name such as openai-community/gpt2 or Qwen/Qwen2.5-0.5B-Instruct either")
    fetch(model, "config.json", folder)
    check_config(read_json(Path(folder, "config.json")))
    fetch(model, "tokenizer.json", folder)
    if not Path(folder, WEIGHTS).exists() and not Path(folder, INDEX).exists():
        fetch(model, "generation_config.json", folder, optional=True)
        fetch(model, WEIGHTS, folder, optional=True)
    if not Path(folder, WEIGHTS).exists():
        fetch(model, INDEX, folder)
        for file in sorted(set(weight_map(folder).values())):
            fetch(model, file, folder)
    return folder


def fetch(model: str, file: str, folder: Union[str, Path], optional: bool = False) -> None:
    """Fetch one file of a model from Hugging Face into a folder, if it is not there yet.

    The environment variable HF_ENDPOINT names a mirror. What has come is kept in a
    file that ends in .part, and after an interruption the rest is fetched.

    Raises ValueError, with what to do, if it can't be had; an optional file may be missing.
    """
    path = Path(folder, file)
    if path.exists():
        return
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    require(re.match("https?://", endpoint), f"HF_ENDPOINT must begin with https://, and it is {endpoint!r}")
    url, part = f"{endpoint.rstrip('/')}/{model}/resolve/main/{file}", Path(f"{path}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        while not _download(url, part):
            pass
    except urllib.error.HTTPError as error:
        if optional and error.code == 404:
            return
        refusal = _REFUSALS.get(error.code, "{url} can't be fetched: the server answers {code}; try later")
        raise ValueError(refusal.format(url=url, code=error.code, model=model)) from None
    except urllib.error.URLError as error:
        raise ValueError(f"{url} can't be reached ({error.reason}): check your connection, or fetch the model's "
                         "files elsewhere and give their folder") from None
    with contextlib.suppress(FileNotFoundError):    # another process may have been first
        os.replace(part, path)


_NOT_OPEN = ("{url} can't be fetched (error {code}): either there is no such model, or one must accept its "
             "licence first; then fetch its files in the browser, and give their folder")
_REFUSALS = {401: _NOT_OPEN, 403: _NOT_OPEN, 404: "there is no {url}: is {model} the right name?"}


def _download(url: str, part: Path) -> bool:
    """Fetch what is still missing of a file; False if one must ask again.

    Raises URLError if there is no connection, or nothing more came.
    """
    start = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            if answer.status == 206 and not _goes_on(answer, part):
                part.unlink()
                return False
            _receive(answer, part)
    except urllib.error.HTTPError as error:
        if error.code != 416:       # 416: our part is as long as the file, or longer
            raise
        if error.headers.get("Content-Range") != f"bytes */{start}":
            part.unlink()
            return False
    except (http.client.HTTPException, ConnectionError, TimeoutError, socket.timeout) as error:
        if _size(part) <= start:
            raise urllib.error.URLError(error) from None
        return False
    return True


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _goes_on(answer: http.client.HTTPResponse, part: Path) -> bool:
    """Whether an answer begins where our part ends, of a file that has not changed since that was written."""
    place, changed = answer.headers.get("Content-Range", ""), answer.headers.get("Last-Modified")
    newer = changed and email.utils.parsedate_to_datetime(changed).timestamp() > part.stat().st_mtime
    return place.startswith(f"bytes {_size(part)}-") and not newer


def _receive(answer: http.client.HTTPResponse, part: Path, at_once: int = 1 << 20) -> None:
    """Write what comes, with a bar. Raises IncompleteRead if it is shorter than was promised."""
    with open(part, "ab" if answer.status == 206 else "wb") as file:
        if answer.length is None:       # it comes in chunks, and the last one says that it is the last
            file.write(answer.read())
        for _ in progress(range(0, answer.length or 0, at_once), f"fetching {part.stem}"):
            file.write(answer.read(at_once))
        if answer.length:               # what is still to come
            raise http.client.IncompleteRead(b"", answer.length)


# %% config.json

# For each family (model_type) the architecture, and what its config.json may leave out.
_QWEN = {"num_key_value_heads": 32, "use_sliding_window": False, "sliding_window": 4096,
         "max_window_layers": 28}
FAMILIES = {
    "gpt2": ("GPT2LMHeadModel", {"rms_norm_eps": 1e-5, "tie_word_embeddings": True, "n_positions": 1024,
                                 "n_inner": None, "attention_bias": True, "mlp_bias": True}),
    "llama": ("LlamaForCausalLM", {}),
    "mistral": ("MistralForCausalLM", {"num_key_value_heads": 8, "sliding_window": 4096}),
    "qwen2": ("Qwen2ForCausalLM", _QWEN),
    "qwen3": ("Qwen3ForCausalLM", {**_QWEN, "head_dim": 128}),
    "llama4_text": ("Llama4ForCausalLM", {
        "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "num_experts_per_tok": 1, "num_local_experts": 16,
        "intermediate_size_mlp": None, "interleave_moe_layer_step": 1, "use_qk_norm": True,
        "no_rope_layers": None, "no_rope_layer_interval": 4, "attention_chunk_size": 8192,
        "attn_temperature_tuning": True, "floor_scale": 8192, "attn_scale": 0.1}),
}
_BASIC = ["vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"]
_EVERYWHERE = {**dict.fromkeys([*_BASIC, "intermediate_size", "layer_types"]), "rms_norm_eps": 1e-6,
               "rope_theta": 10000.0, "tie_word_embeddings": False, "attention_bias": False,
               "mlp_bias": False}
_GPT2_NAMES = {"layer_norm_epsilon": "rms_norm_eps", "n_embd": "hidden_size", "n_layer": "num_hidden_layers",
               "n_head": "num_attention_heads"}
# The kinds of layers, and the setting that says how far each looks back.
_KINDS = {"full_attention": None, "chunked_attention": "attention_chunk_size",
          "sliding_attention": "sliding_window"}
_LLAMA3 = ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"]


def _one_of(*values: object) -> tuple[str, Callable]:
    return " or ".join(map(repr, values)), lambda value: value in values


# What a setting may be, in words and as a test. Whatever changes what a model computes is in here.
_SIZE = "a whole number above 0", lambda value: type(value) is int and 0 < value < 2 ** 24
_SIZE_OR_NONE = _SIZE[0] + ", or null", lambda value: value is None or _SIZE[1](value)
_NUMBER = "a number above 0", lambda value: type(value) in (int, float) and 0 < value < math.inf
_NUMBER_OR_0 = "a number from 0 up", lambda value: type(value) in (int, float) and 0 <= value < math.inf
_ALLOWED = {
    **dict.fromkeys([*_BASIC, "intermediate_size", "intermediate_size_mlp", "num_key_value_heads", "head_dim",
                     "num_experts_per_tok", "num_local_experts", "floor_scale", "n_positions"], _SIZE),
    **dict.fromkeys(["rope_theta", *_LLAMA3], _NUMBER),
    **dict.fromkeys(["attention_bias", "mlp_bias", "tie_word_embeddings", "use_sliding_window",
                     "use_qk_norm"], _one_of(True, False)),
    **dict.fromkeys(["scale_attn_by_inverse_layer_idx", "add_cross_attention", "is_encoder_decoder"],
                    _one_of(False)),
    "attn_temperature_tuning": _one_of(True, False, 4), "scale_attn_weights": _one_of(True),
    "rope_type": _one_of("default", "llama3"), "partial_rotary_factor": _one_of(None, 1),
    "hidden_act": _one_of("silu"), "activation_function": _one_of("gelu_new", "gelu_pytorch_tanh"),
    "rms_norm_eps": _NUMBER_OR_0, "attn_scale": _NUMBER_OR_0, "quantization_config": _one_of(None),
    "sliding_window": _SIZE_OR_NONE, "attention_chunk_size": _SIZE_OR_NONE,
}


_GIVEN = object()       # what the file itself says; no key in a file can be the same


def check_config(config: dict) -> dict:
    """A config.json with one set of names for all families, and with what it left out filled in.

    >>> config = {"model_type": "gpt2", "n_embd": 8, "n_head": 2, "n_layer": 1, "vocab_size": 5}
    >>> check_config(config)["head_dim"]
    4

    Raises ValueError, with its name, for what the lessons have no code for.
    """
    if _GIVEN in config:
        return config       # it has been checked
    try:
        _check_settings(config, ["quantization_config"])
        config = _with_defaults(config)
        _check_settings(config, _BASIC)
        _fill_in(config)
        _check_settings(config, _ALLOWED)
        return config
    except (TypeError, AttributeError, ArithmeticError, LookupError) as error:
        raise ValueError(f"config.json has a value of the wrong kind: {error}") from None


def _check_settings(config: dict, keys: Iterable[str]) -> None:
    for key in keys:
        words, fits = _ALLOWED[key]
        if key in config and not fits(config[key]):
            value = config[key]
            named = value.get("quant_method", value) if isinstance(value, dict) else value
            raise ValueError(f"config.json says {key}: {named!r}, and this course has code only for {words}")


def _with_defaults(outer: dict) -> dict:
    """The settings for text, with defaults, if they are of a family that the course knows."""
    given = outer.get("text_config", outer) if outer.get("model_type") == "llama4" else outer
    family = given.get("model_type")
    require(family in FAMILIES,
            f"this course has no code for the model_type {family!r}, but for {', '.join(FAMILIES)}")
    architecture, defaults = FAMILIES[family]
    right = [architecture if given is outer else "Llama4ForConditionalGeneration"]
    named = outer.get("architectures") or right
    require(named == right, f"this course has no code for the architecture {named!r}, but for {right!r}")
    renamed = {_GPT2_NAMES.get(key, key): value for key, value in given.items()}
    return {**_EVERYWHERE, **defaults, **renamed, **_rotary(given), _GIVEN: given}


def _rotary(config: dict) -> dict:
    """The settings of rotary positions, from the three places where they may stand."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    found = {key: rope[key] for key in ["rope_theta", "rope_type", "partial_rotary_factor", *_LLAMA3]
             if rope.get(key) is not None}
    found.setdefault("rope_type", rope.get("type", "default"))
    if found["rope_type"] == "llama3":
        longest = config.get("max_position_embeddings")
        found = {**dict.fromkeys(_LLAMA3), "original_max_position_embeddings": longest, **found}
        found["slow_down"] = [found[key] for key in _LLAMA3]
    return {"slow_down": None, **found}


def _fill_in(config: dict) -> None:
    """Fill in what follows from the rest: sizes, and what each layer is like."""
    family, count = config["model_type"], config["num_hidden_layers"]
    wide, heads = config["hidden_size"], config["num_attention_heads"]
    follows = {"num_key_value_heads": heads, "head_dim": wide // heads}
    if family == "gpt2":
        follows["intermediate_size"] = 4 * wide
        config.update(intermediate_size=config["n_inner"], num_key_value_heads=None, head_dim=None)
    if family == "llama4_text":
        step, interval = config["interleave_moe_layer_step"], config["no_rope_layer_interval"]
        follows["moe_layers"] = list(range(step - 1, count, step))
        require(config["num_experts_per_tok"] <= config["num_local_experts"], "config.json asks for more "
                "num_experts_per_tok than there are num_local_experts")
        config["no_rope_layers"] = (config["no_rope_layers"]
                                    or [int(layer % interval != 0) for layer in range(1, count + 1)])
    else:
        config["moe_layers"] = []
    require(config.get("head_dim") or wide % heads == 0,
            f"a hidden_size of {wide} can't be divided among {heads} heads")
    config.update((key, value) for key, value in follows.items() if config.get(key) is None)
    config["layer_types"] = _layer_types(config)[:count]
    kinds = [kind for kind, size in _KINDS.items() if size is None or config.get(size)]
    for key, allowed in (("moe_layers", range(count)), ("no_rope_layers", (0, 1)), ("layer_types", kinds)):
        wrong = [one for one in config.get(key, ()) if one not in allowed]
        require(not wrong, f"config.json has {key} of {wrong}, for which this course has no code")
        too_few = key != "moe_layers" and len(config.get(key, range(count))) < count
        require(not too_few, f"config.json should have {count} {key}, one for each layer")


def _layer_types(config: dict) -> list[str]:
    """How far each layer looks back, in the words of Hugging Face."""
    count, family, window = config["num_hidden_layers"], config["model_type"], config.get("sliding_window")
    full, chunked, sliding = _KINDS
    if family == "llama4_text":
        nearby = full if config["attention_chunk_size"] is None else chunked
        return config["layer_types"] or [nearby if turned else full for turned in config["no_rope_layers"]]
    if family == "mistral":
        return [sliding if window else full] * count
    if not family.startswith("qwen") or window is None or not config["use_sliding_window"]:
        return [full] * count
    first = min(config["max_window_layers"], count)
    return config["layer_types"] or [full] * first + [sliding] * (count - first)


# %% The tensors, and the parts of a model that they hold

Part = tuple[str, str, tuple, bool]     # its place in a Transformer, its tensor, its shape; has it biases?


def tensor_shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """The name and the shape of each tensor that the weights of a model with this config.json hold."""
    config, shapes = check_config(config), {}
    for name, parts in _layout(config).items():
        rows, (_, *columns) = sum(shape[0] for shape in parts.values()), next(iter(parts.values()))
        shapes[name] = (rows, *columns)
        if ".experts." in name:
            experts = config["num_local_experts"]
            shapes[name] = (experts, *columns, rows // experts)
        elif _lies_on_its_side(name):
            shapes[name] = (*columns, rows)
    return shapes


def _lies_on_its_side(name: str) -> bool:
    """Whether a matrix in the file has columns for rows: in GPT-2, and in piles of experts."""
    return name.startswith("transformer.h.") or ".experts." in name


def _layout(config: dict) -> dict[str, dict[str, tuple]]:
    """For each tensor in the file the parts that it holds, in order, and the shape of each."""
    layout = {}
    for part, name, shape, biased in _parts(config):
        layout.setdefault(name + ".weight" * (".experts." not in name), {})[part + ".weight"] = shape
        if biased:
            layout.setdefault(name + ".bias", {})[part + ".bias"] = shape[:1]
    return layout


def _parts(config: dict) -> Iterator[Part]:
    """All parts of a model; a matrix has rows and columns, a norm only a length."""
    wide, is_gpt2 = config["hidden_size"], config["model_type"] == "gpt2"
    words, norm, layers = "model.embed_tokens", "model.norm", "model.layers"
    if is_gpt2:
        words, norm, layers = "transformer.wte", "transformer.ln_f", "transformer.h"
        yield "positions", "transformer.wpe", (config["n_positions"], wide), False
    yield "embeddings", words, (config["vocab_size"], wide), False
    yield "last_norm", norm, (wide,), is_gpt2
    if not config["tie_word_embeddings"]:
        yield "output", "lm_head", (config["vocab_size"], wide), False
    for layer in range(config["num_hidden_layers"]):
        block = _gpt2_block(config) if is_gpt2 else _llama_block(config) + _gated(config, layer)
        for part, name, shape, biased in block:
            yield f"blocks.{layer}.{part}", f"{layers}.{layer}.{name}", shape, biased


def _gpt2_block(config: dict) -> list[Part]:
    wide, size = config["hidden_size"], config["intermediate_size"]
    heads = [(part, "attn.c_attn", (wide, wide), True) for part in ("query", "key", "value")]
    return [("attention_norm", "ln_1", (wide,), True), *heads, ("output", "attn.c_proj", (wide, wide), True),
            ("feed_forward_norm", "ln_2", (wide,), True), ("feed_forward.0", "mlp.c_fc", (size, wide), True),
            ("feed_forward.1", "mlp.c_proj", (wide, size), True)]


def _llama_block(config: dict) -> list[Part]:
    wide, one_head, bias = config["hidden_size"], config["head_dim"], config["attention_bias"]
    queries, keys = config["num_attention_heads"] * one_head, config["num_key_value_heads"] * one_head
    biased = bias or config["model_type"] == "qwen2"
    norms = [(f"{part}_norm", f"self_attn.{part[0]}_norm", (one_head,), False) for part in ("query", "key")]
    return [("attention_norm", "input_layernorm", (wide,), False),
            ("query", "self_attn.q_proj", (queries, wide), biased),
            ("key", "self_attn.k_proj", (keys, wide), biased),
            ("value", "self_attn.v_proj", (keys, wide), biased),
            ("output", "self_attn.o_proj", (wide, queries), bias),
            ("feed_forward_norm", "post_attention_layernorm", (wide,), False),
            *(norms if config["model_type"] == "qwen3" else [])]


def _gated(config: dict, layer: int) -> list[Part]:
    """The feed-forward layer of all but GPT-2, with experts or without."""
    wide, size, experts = config["hidden_size"], config["intermediate_size"], config.get("num_local_experts")

    def three(part: str, at: str, size: int, names: str = "gate up down", biased: bool = False) -> list[Part]:
        shapes = (size, wide), (size, wide), (wide, size)
        return [(f"{part}.{place}", f"{at}.{name}_proj", shape, biased)
                for place, (name, shape) in enumerate(zip(names.split(), shapes))]

    if config["model_type"] != "llama4_text":
        return three("feed_forward", "mlp", size, biased=config["mlp_bias"])
    if layer not in config["moe_layers"]:
        return three("feed_forward", "feed_forward", config["intermediate_size_mlp"])
    others = [three(f"feed_forward.2.{number}", "feed_forward.experts", size, "gate_up gate_up down")
              for number in range(experts)]
    return [("feed_forward.0", "feed_forward.router", (experts, wide), False),
            *three("feed_forward.1", "feed_forward.shared_expert", size), *chain(*others)]


# %% Read a model

def read_model(folder: Union[str, Path], linear: Callable, a_weight: float) -> tuple[dict, dict, Iterable]:
    """Open a model's folder: its checked config.json, what is outside of the blocks, and the blocks.

    `linear(rows, biases)` makes what multiplies, out of rows that are read when asked for; `a_weight` says
    how many bytes of memory a weight will take. A block comes as the norms of queries and keys, and all its
    other parts: a norm is its vectors, `feed_forward` a list of what `linear` made, or of such lists.

    Raises ValueError if memory is short, and for tensors that are missing or don't belong there.
    """
    config = check_config(read_json(Path(folder, "config.json")))
    shapes, tree = tensor_shapes(config), {}
    tensors = _own_tensors(folder, config, shapes)
    check_memory(1.1 * a_weight * sum(map(math.prod, shapes.values())) + 5e7, folder)
    for name, parts in _layout(config).items():
        start = 0
        for part, shape in parts.items():
            *path, kind = part.split(".")
            place = reduce(lambda node, step: node.setdefault(step, {}), path, tree)
            place[kind] = partial(_read_part, tensors[name], _lies_on_its_side(name), start, start + shape[0])
            start += shape[0]
    outer = {part: tree[part]["weight"]() if part in tree else None for part in ("embeddings", "output")}
    outer.update(positions=list(tree["positions"]["weight"]()) if "positions" in tree else None,
                 last_norm=_read(tree["last_norm"]))
    layers = progress(tree["blocks"].values(), "loading the blocks")
    return config, outer, (_read_block(block, linear) for block in layers)


def _own_tensors(folder: Union[str, Path], config: dict, shapes: dict[str, tuple]) -> dict[str, Tensor]:
    """The tensors of a model by the names that `tensor_shapes` gives; all must be there, and no other."""
    family, not_ours = config["model_type"], r"^vision_model\.|^multi_modal_projector\.|\.inv_freq$"
    prefix, better = r"^language_model\.", ""
    if family == "gpt2":        # older files leave the prefix out, and have the mask in them
        prefix, better, not_ours = r"^(?!transformer\.|lm_head\.)", "transformer.", r"\.attn\.(masked_)?bias$"
    tensors = {re.sub(prefix, better, name): tensor for name, tensor in read_weights(folder).items()
               if not re.search(not_ours, name)}
    for name in shapes:
        require(name in tensors, f"{folder}: the tensor {name!r} is missing")
    shapes = {"lm_head.weight": (config["vocab_size"], config["hidden_size"]), **shapes}    # it may be there
    for name, tensor in tensors.items():
        what = f"{folder}: the tensor {name!r} "
        require(name in shapes, what + f"is not one of a {family} with this config.json")
        require(tensor.shape == shapes[name],
                what + f"has the shape {list(tensor.shape)}, and config.json asks for {list(shapes[name])}")
        require(tensor.dtype in ("F64", "F32", "F16", "BF16"),
                what + f"has quantized numbers ({tensor.dtype}), for which this course has no code")
    return tensors


def _read_part(tensor: Tensor, on_its_side: bool, start: int, end: int) -> Union[Tensor, list]:
    """The numbers of a vector, or the rows of a matrix; some share a tensor with others."""
    if len(tensor.shape) == 1:
        return replace(tensor, shape=(1, *tensor.shape)).row(0)[start:end]
    if not on_its_side:
        return tensor
    rows = tensor.shape[-1]         # of one pile
    return _turn(tensor, start // rows)[start % rows:][:end - start]


@lru_cache(maxsize=1)       # so that what holds two or three matrices is read once
def _turn(tensor: Tensor, pile: int) -> list[Vector]:
    if len(tensor.shape) == 2:
        return list(zip(*tensor))
    numbers, width = tensor.row(pile), tensor.shape[-1]
    return [numbers[column::width] for column in range(width)]


def _read(part: dict) -> list:
    """The weights of a part, and its biases if it has some."""
    return [read() for read in part.values()]


def _read_block(parts: dict, linear: Callable) -> tuple[list, dict]:
    def matrix(part: dict) -> object:
        return linear(*_read(part)) if "weight" in part else [matrix(one) for one in part.values()]

    block = {name: _read(part) if "norm" in name else matrix(part) for name, part in parts.items()}
    return [block.pop("query_norm", []), block.pop("key_norm", [])], block


# %% Write a model

def write_model(folder: Union[str, Path], config: dict, parts: Optional[dict] = None) -> None:
    """Write config.json and model.safetensors, for `read_model` and Hugging Face's transformers.

    `parts` are rows and vectors by their names; without them the weights are random.

    Raises ValueError if a part is missing, too many, or of another shape.
    """
    config, rng, tensors = check_config(config), random.Random(0), {}
    shapes, family = tensor_shapes(config), config["model_type"]
    for name, held in _layout(config).items():
        count = math.prod(shapes[name])
        numbers = ([rng.gauss(0, 1) for _ in range(count)] if parts is None
                   else _numbers(name, held, shapes[name], parts))
        require(len(numbers) == count, f"{name!r} has {len(numbers)} numbers, not {shapes[name]}")
        tensors[name] = ("F32", shapes[name], numbers)
    require(not parts, f"a {family} with this config.json has no place for {[*(parts or ())]}")
    os.makedirs(folder, exist_ok=True)
    write_safetensors(Path(folder, WEIGHTS), tensors, {"format": "pt"})
    added = {"architectures": [FAMILIES[family][0]], "dtype": "float32", "torch_dtype": "float32"}
    text = json.dumps({**config[_GIVEN], **added}, indent=1)
    write_whole(Path(folder, "config.json"), text.encode("utf-8"))


def _numbers(name: str, held: Iterable[str], shape: tuple, parts: dict) -> list[float]:
    """The numbers of a tensor, taken out of the parts that it holds."""
    for part in held:
        require(part in parts, f"the part {part!r} is missing")
    rows, at_once = list(chain.from_iterable(parts.pop(part) for part in held)), shape[-1]
    if len(shape) == 1:
        return rows
    if not _lies_on_its_side(name):
        return list(chain.from_iterable(rows))
    piles = (zip(*rows[start:start + at_once]) for start in range(0, len(rows), at_once))
    return [number for columns in piles for column in columns for number in column]


def save_transformer(transformer: object, folder: Union[str, Path]) -> None:
    """Write a transformer as a folder; its attributes are called like the parts that `read_model` gives.

    Raises ValueError for one that is packed, or that no config.json of these families describes.
    """
    require(isinstance(transformer.embeddings, list),
            "a packed transformer has lost the last bits of its weights: load it with packed=False")
    config = check_config(getattr(transformer, "config", None) or _describe(transformer))
    outer = {name: getattr(transformer, name) for name in ("embeddings", "positions", "output")}
    if config["tie_word_embeddings"] and outer["output"] == outer["embeddings"]:
        del outer["output"]
    parts = {name + ".weight": rows for name, rows in outer.items() if rows is not None}
    _put(parts, "last_norm", transformer.last_norm or [])
    for layer, block in enumerate(transformer.blocks):
        marks = block.settings.query_at, block.settings.key_at
        norms = [(_recipe(mark)[1].get("norm") or [])[:1] for mark in marks]    # Qwen3 has weights in there
        for name, value in {**vars(block), "query_norm": norms[0], "key_norm": norms[1]}.items():
            if name not in ("settings", "cache", "looks"):
                _put(parts, f"blocks.{layer}.{name}", value)
    write_model(folder, config, parts)


def _put(parts: dict, name: str, value: Union[object, list]) -> None:
    """Put a norm, or what multiplies, or a list of those, among the parts."""
    if "norm" in name:
        parts.update(zip((name + ".weight", name + ".bias"), value))
    elif isinstance(value, list):
        for place, one in enumerate(value):
            _put(parts, f"{name}.{place}", one)
    else:
        parts[name + ".weight"] = value.matrix
        parts.update({name + ".bias": value.biases} if value.biases else {})


def _recipe(value: object) -> tuple[object, dict]:
    """A function's name, and what a `partial` has fixed in it. (Two partials are never equal.)"""
    return getattr(getattr(value, "func", value), "__name__", value), getattr(value, "keywords", {})


def _describe(transformer: object) -> dict:
    """The config.json of a transformer that was made by hand, if it is like Llama's or Mistral's."""
    settings, block = transformer.settings, transformer.blocks[0]
    for name, value in vars(settings).items():
        same = all(_recipe(getattr(block.settings, name)) == _recipe(value) for block in transformer.blocks)
        value, _ = _recipe(value)
        require(same and value in _DESCRIBED.get(name, [value]),
                f"no config.json describes a transformer with {name}={value!r}, or blocks that differ in it")
    require(_recipe(settings.key_at) == _recipe(settings.query_at),
            "no config.json can describe a transformer that turns queries and keys in different ways")
    base, window = (_recipe(part)[1].get(name)
                    for part, name in ((settings.query_at, "base"), (settings.first_visible, "size")))
    return {"model_type": "mistral" if window else "llama", "sliding_window": window,
            "rope_theta": base or 10000.0, "vocab_size": len(transformer.embeddings),
            "hidden_size": settings.dimensions, "head_dim": settings.head_dim,
            "num_hidden_layers": len(transformer.blocks), "num_attention_heads": settings.heads,
            "num_key_value_heads": settings.key_value_heads, "rms_norm_eps": settings.epsilon,
            "intermediate_size": len(block.feed_forward[0].matrix),
            "attention_bias": block.query.biases is not None,
            "mlp_bias": block.feed_forward[0].biases is not None,
            "tie_word_embeddings": transformer.output in (None, transformer.embeddings)}


_DESCRIBED = {"norm": ["rms_norm"], "norm_first": [True], "feed_forward": ["gated_feed_forward"],
              "activation": ["silu"], "query_at": ["rotate"], "key_at": ["rotate"],
              "first_visible": ["whole_text", "sliding_window"]}


# %% Chatbots

# What tells a chatbot who speaks: before its name, after it, after what was said, and before the next one.
_SPEAKERS = [("<|im_start|>", "\n", "<|im_end|>", "\n"),                              # Qwen, SmolLM
             ("<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>", ""),      # Llama 3
             ("<|header_start|>", "<|header_end|>\n\n", "<|eot|>", "")]               # Llama 4


def chat_form(special_tokens: Iterable[str]) -> tuple[str, str, str]:
    """What stands before a question, after it, and after an answer; nothing if this is no chatbot.

    >>> chat_form(["<|im_start|>", "<|im_end|>"])
    ('<|im_start|>user\\n', '<|im_end|>\\n<|im_start|>assistant\\n', '<|im_end|>\\n')
    """
    for before, after, end, gap in _SPEAKERS:
        if before in special_tokens:
            return f"{before}user{after}", f"{end}{gap}{before}assistant{after}", end + gap
    return "", "", ""


# %% Rows of numbers, as columns of a packed matrix, and back

def pack_columns(rows: Iterable[Vector], bits: int, at_once: int = 1024) -> tuple[list[int], Vector]:
    """Quantize rows to whole numbers of 16 or 8 bits, and pack each column, in lanes of 24 bits more.

    >>> columns, steps = pack_columns([[1.0], [-0.5]], bits=16)
    >>> columns == [32767 - (32767 << 40)], steps
    (True, [32767.0, 65534.0])

    Rounding by adding: above 2 ** 52 a float has no room for a fraction, so what is added
    comes out rounded, in its lowest bytes. Slices copy these for a whole column at a time.
    """
    require(bits in (8, 16), f"weights are packed in 8 or 16 bits, not in {bits}")
    size, half, columns, all_steps = bits // 8 + 3, 2 ** (bits - 1), [], []

    def lowest_bytes(row: Vector) -> list[bytes]:
        steps = (half - 1) / max(max(row), -min(row), 1e-300)
        all_steps.append(steps)
        shift = 2.0 ** 52 + half
        data = struct.pack(f"<{len(row)}d", *[number * steps + shift for number in row])
        return [data[byte::8] for byte in range(bits // 8)]

    quantized = map(lowest_bytes, rows)
    while block := list(islice(quantized, at_once)):
        _add_lanes(columns, block, size)
    everywhere = _in_every_lane(half, size, len(all_steps))
    for place, column in enumerate(columns):    # one by one, so that each frees its memory for the next
        columns[place] = int.from_bytes(column, "little") - everywhere
    return columns, all_steps


def _add_lanes(columns: list[bytearray], block: list[list[bytes]], size: int) -> None:
    """Put the bytes of some rows behind what the columns have of the rows before."""
    lanes, width = bytearray(size * len(block)), len(block[0][0])
    parts = [b"".join(part) for part in zip(*block)]
    columns += [bytearray() for _ in range(width - len(columns))]
    for place, column in enumerate(columns):
        for byte, part in enumerate(parts):
            lanes[byte::size] = part[place::width]
        column += lanes


def _in_every_lane(number: int, size: int, count: int) -> int:
    return int.from_bytes(number.to_bytes(size, "little") * count, "little")


def unpack_lanes(total: int, count: int, lane: int) -> Vector:
    """Read the lanes of a long number, as floats.

    >>> unpack_lanes(5 - (1 << 40), count=2, lane=40)
    [5.0, -1.0]

    It is the same trick, backwards: with the bytes of a lane as its lowest, a float is 2 ** 52 more.
    """
    size, half = lane // 8, 2 ** (lane - 1)
    data = (total + _in_every_lane(half, size, count)).to_bytes(count * size, "little")
    floats = bytearray(struct.pack("<d", 2.0 ** 52) * count)
    for byte in range(size):
        floats[byte::8] = data[byte::size]
    shift = 2.0 ** 52 + half
    return [number - shift for number in struct.unpack(f"<{count}d", floats)]


# %% The sizes of published models

_NAMES = ["model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
          "num_attention_heads", "num_key_value_heads", "tie_word_embeddings"]
MODELS = {
    "GPT-2 (124M)": dict(zip(_NAMES, ("gpt2", 50257, 768, 3072, 12, 12, 12, True))),
    "Qwen2.5-0.5B": dict(zip(_NAMES, ("qwen2", 151936, 896, 4864, 24, 14, 2, True))),
    "Llama-3.2-1B": dict(zip(_NAMES, ("llama", 128256, 2048, 8192, 16, 32, 8, True))),
    "Mistral-7B": dict(zip(_NAMES, ("mistral", 32000, 4096, 14336, 32, 32, 8, False))),
    "Llama-4-Scout-17B-16E": dict(
        zip(_NAMES, ("llama4_text", 202048, 5120, 8192, 48, 40, 8, False)), head_dim=128,
        intermediate_size_mlp=16384, num_local_experts=16, num_experts_per_tok=1)}
SMALL_LLAMA4 = dict(zip(_NAMES, ("llama4_text", 40, 16, 24, 4, 4, 2, False)), head_dim=4,
                    intermediate_size_mlp=32, num_local_experts=3, interleave_moe_layer_step=2)
