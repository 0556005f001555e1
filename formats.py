"""What the outside world prescribes: tokenizer.json and its split patterns, safetensors, files written whole.

It knows nothing of the lessons, and you need not open it to follow them.
"""

import ast
import codecs
import contextlib
import hashlib
import io
import json
import math
import os
import re
import struct
import sys
import tempfile
import threading
import tokenize
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, count, groupby, takewhile
from pathlib import Path
from typing import Any, BinaryIO, Callable, Iterable, Iterator, Optional, Union

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
