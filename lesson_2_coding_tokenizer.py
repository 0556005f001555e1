"""Lesson 2: coding our own tokenizer. And then opening everybody's.

Lesson 1 left a question: which pieces of words make the best tokens? Byte-pair
encoding (BPE) answers it by counting. Begin with bytes, the 256 numbers that text
is stored as. Find the pair of neighbours that occurs most often, make it one new
token, and do it again. After a few hundred rounds the common words are whole and
the rare ones in parts.

    t h e   →   th e   →   the

Philip Gage invented it in 1994 to compress files; Sennrich, Haddow and Birch
brought it to language models in 2016, and GPT-2 in 2019 to bytes. The tokenizer
of this file is the real thing: it opens the tokenizer.json of Qwen2.5 and gives
the same ids, and what it trains opens in Hugging Face's `tokenizers`.

Here are 256 bytes and three merges, learned from eight words:

>>> tokenizer = Tokenizer.train("the cat and the hat and the mat", 259)
>>> ids = tokenizer.encode("the bat")
>>> print(tokenizer.show(ids, color=False), ids)
the|·|b|at [258, 32, 98, 256]
>>> tokenizer.decode(ids)
'the bat'
"""

import argparse
import codecs
import contextlib
import gc
import heapq
import json
import os
import re
import sys
import tempfile
import time
import unicodedata
from collections import Counter, defaultdict
from functools import lru_cache
from itertools import chain, groupby, repeat
from operator import add, itemgetter
from pathlib import Path
from typing import Callable, Iterable, Iterator, Optional, Sequence, Union

if __name__ == "__main__":      # with `python -I` nobody else looks for the other lessons here
    sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))

from lesson_1_tokens import (CORPUS, TOKENIZERS, bar, corpus_stories, lesson_parser, read_number, read_text,
                             run_lesson, show_tokens, table)

Pair = tuple[int, int]
END_OF_TEXT = "<|endoftext|>"


# %% Bytes first

def text_to_bytes(text: str) -> bytes:
    """Write a text as UTF-8 bytes: numbers from 0 to 255.

    A computer keeps text as bytes. In UTF-8 an English letter is one byte, an
    accented letter two, a Chinese character three, an emoji four:

    >>> for text in ("e", "é", "车", "🌲"):
    ...     print(text, list(text_to_bytes(text)))
    e [101]
    é [195, 169]
    车 [232, 189, 166]
    🌲 [240, 159, 140, 178]

    Why not begin with characters, as in lesson 1? There are more than a hundred
    thousand of them, and one that was not in the training text would be <UNK>.
    But 256 base tokens, one for each byte, can write anything that anybody will
    ever type. There is no <UNK> any more.

    Bytes are not characters: someone has to say which bytes mean what. One copy
    of this course's slides was read in the encoding of old Macintoshes, and 车
    came out as three other characters. Undoing it shows what had happened:

    >>> "车".encode("utf-8").decode("mac_roman")
    'ËΩ¶'
    >>> "ËΩ¶".encode("mac_roman").decode("utf-8")
    '车'

    Raises ValueError for a text that can't be written as UTF-8.
    """
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"the text has a lone surrogate, {text[error.start]!r}, at position "
                         f"{error.start}; it can't be written as UTF-8") from None


# %% The two steps

def count_pairs(ids: list[int]) -> Counter[Pair]:
    """Step one: count the pairs of neighbours.

    >>> count_pairs([1, 2, 3, 1, 2])
    Counter({(1, 2): 2, (2, 3): 1, (3, 1): 1})
    """
    return Counter(zip(ids, ids[1:]))


def merge_pair(ids: list[int], pair: Pair, new_id: int) -> list[int]:
    """Step two: replace a pair by a new token, wherever it stands, from the left.

    >>> merge_pair([1, 2, 3, 1, 2], (1, 2), 99)
    [99, 3, 99]
    >>> merge_pair([1, 1, 1], (1, 1), 99)
    [99, 1]
    """
    merged, position = [], 0
    while position < len(ids):
        if tuple(ids[position:position + 2]) == pair:
            merged.append(new_id)
            position += 2
        else:
            merged.append(ids[position])
            position += 1
    return merged


# %% Why split first

GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def split_words(text: str, pattern: str = GPT2_PATTERN) -> list[str]:
    """Cut a text into words, each with the space before it.

    A token never reaches from one word into the next. Without the cuts " the " and
    "in the " would become tokens, since they are so common, and so would the ends
    of words with their comma. The pattern says what a word is: any letters
    (\\p{L}), or digits (\\p{N}), or other signs, each with one space before it if
    there is one; then spaces. So the full stop, which in lesson 1 was a part of
    the word before it, is now a word of its own.

    >>> print(show_tokens(split_words("The dog's 2 cars,  车!"), color=False))
    The|·dog|'s|·2|·cars|,|·|·车|!

    Whatever the pattern, the words join back to the text:

    >>> split_words("one, two", pattern="[a-z]+")
    ['one', ', ', 'two']
    """
    compiled = compile_pattern(pattern, _alphabet(text))
    words = compiled.findall(text)
    if sum(map(len, words)) == len(text):
        return words
    words, end = [], 0      # the pattern leaves gaps: what is in a gap is a word too
    for match in compiled.finditer(text):
        words += [text[end:match.start()], match.group()]
        end = match.end()
    return [word for word in [*words, text[end:]] if word]


# %% Training, simply

def train_merges_simply(text: str, vocab_size: int) -> dict[Pair, int]:
    """Train BPE in the plainest way: count all pairs, merge the commonest, repeat.

    Wikipedia's example, "aaabdaaabac": first "aa" becomes 256, then "ab" 257 (the
    pair of 256 and "a" is as common, but of equal ones that with the lower ids is
    taken), and then the two together 258. What is left of it is "258 d 258 a c".

    >>> train_merges_simply("aaabdaaabac", 259)
    {(97, 97): 256, (97, 98): 257, (256, 257): 258}
    >>> ids = list(b"aaabdaaabac")
    >>> for pair, new_id in train_merges_simply("aaabdaaabac", 259).items():
    ...     ids = merge_pair(ids, pair, new_id)
    >>> ids
    [258, 100, 258, 97, 99]
    """
    words = [list(text_to_bytes(word)) for word in split_words(text)]
    merges = {}
    for new_id in range(256, vocab_size):
        counts = Counter()
        for word in words:
            counts.update(count_pairs(word))
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges[best] = new_id
        words = [merge_pair(word, best, new_id) for word in words]
    return merges


# %% Training, fast

def train_merges(text: str, vocab_size: int) -> dict[Pair, int]:
    """Train BPE on a text: the same merges as `train_merges_simply`, much sooner.

    The simple trainer reads the whole text again for every merge. Three ideas
    save that. A word that comes a thousand times is kept once, with its count.
    After a merge only the words that hold the pair are looked at. And a heap
    (a list that always knows its smallest entry) hands out the commonest pair: the
    counts in it are negative, so that the largest is the smallest.

    >>> text = read_text(CORPUS)[:5000]
    >>> train_merges(text, 300) == train_merges_simply(text, 300)
    True

    What corpus.txt teaches first: "the", and how words begin.

    >>> merges = train_merges(read_text(CORPUS), 300)
    >>> [Tokenizer(merges).decode([id]) for id in range(256, 266)]
    ['he', ' t', ' a', ' the', ' s', ' i', ' w', 'nd', ' o', ' b']

    Learns fewer if the text has no more pairs. Raises ValueError if vocab_size
    is below 256, for the bytes are always there.
    """
    return _train_on_counts(Counter(split_words(text)), vocab_size)


def _train_on_counts(word_counts: "Counter[str]", vocab_size: int) -> dict[Pair, int]:
    if vocab_size < 256:
        raise ValueError("the vocabulary is too small: it has to hold the 256 bytes and the special tokens")
    # A word is kept as a string with one character per token, so that merging
    # a pair is str.replace, and a pair is a string of two characters.
    words = [text_to_bytes(word).decode("latin-1") for word in word_counts]
    counts = list(word_counts.values())
    pair_counts, holders = defaultdict(int), defaultdict(set)
    for place, word in enumerate(words):
        for pair in map(add, word, word[1:]):
            pair_counts[pair] += counts[place]
            holders[pair].add(place)
    heap = [(-count, pair) for pair, count in pair_counts.items()]
    heapq.heapify(heap)
    merges = {}
    for new_id in progress(range(256, vocab_size), "learning merges"):
        while heap and -heap[0][0] != pair_counts[heap[0][1]]:
            heapq.heappop(heap)     # its count has changed since it was put there
        if not heap:
            break
        pair = heapq.heappop(heap)[1]
        merges[ord(pair[0]), ord(pair[1])] = new_id
        changes = _replace_pair(pair, chr(new_id), words, counts, holders)
        for changed, change in changes.items():
            pair_counts[changed] += change
            if change and pair_counts[changed]:
                heapq.heappush(heap, (-pair_counts[changed], changed))
    return merges


def _replace_pair(pair: str, new: str, words: list[str], counts: list[int], holders: dict) -> dict[str, int]:
    """Merge a pair in the words that hold it; by how much did the count of each pair change?"""
    changes = defaultdict(int)
    for place in holders.pop(pair):
        old_word, count = words[place], counts[place]
        new_word = words[place] = old_word.replace(pair, new)
        for gone in map(add, old_word, old_word[1:]):
            changes[gone] -= count
        for made in map(add, new_word, new_word[1:]):
            changes[made] += count
            if new in made:
                holders[made].add(place)
    return changes


def race(sizes: Iterable[tuple[int, int]], text: str) -> str:
    """Let the two trainers run, and draw how long each takes.

    The simple one takes twice as long for twice the text, and twice as long for
    twice the merges. The fast one takes a small part of it. On this machine:

    >>> sizes = [(1000, 50), (2000, 50), (2000, 100), (4000, 100)]
    >>> print(race(sizes, read_text(CORPUS)))       # doctest: +ELLIPSIS
    characters  merges ...simple ...
          1000      50 ...
    """
    rows = []
    for characters, merges in sizes:
        clock = [time.perf_counter()]
        for train in (train_merges_simply, train_merges):
            train(text[:characters], 256 + merges)
            clock.append(time.perf_counter())
        rows.append((characters, merges, clock[1] - clock[0], clock[2] - clock[1]))
    slowest = max(simple for _, _, simple, _ in rows)
    return table([["characters", "merges", "simple", "fast", ""],
                  *([f"{characters:10}", merges, f"{simple:.3f} s", f"{fast:.3f} s", bar(simple / slowest)]
                    for characters, merges, simple, fast in rows)])


def progress(steps: Sequence, label: str) -> Iterator:
    """Go through the steps of long work and draw a bar with the time left.

    Only on a terminal, on stderr, and only if it takes longer than a moment.

    >>> sum(progress(range(5), "adding"))
    10
    """
    start = drawn = time.monotonic()
    for done, step in enumerate(steps):
        yield step
        now = time.monotonic()
        if now - drawn > 0.2 and sys.stderr and sys.stderr.isatty():
            drawn, share = now, (done + 1) / len(steps)
            left = (now - start) * (1 - share) / share
            print(f"\r{label} {bar(share):24} {left:3.0f} s left ", end="", file=sys.stderr, flush=True)
    if drawn > start:
        print("\r" + " " * (len(label) + 40) + "\r", end="", file=sys.stderr, flush=True)


# %% The tokenizer: encode and decode

class _KnownWords(dict):
    """The ids of words that came before; a new word is encoded when it is asked for."""

    def __init__(self, encode: Callable[[str], tuple[int, ...]]):
        self.encode = encode

    def __missing__(self, word: str) -> tuple[int, ...]:
        if len(self) == 200_000:
            self.clear()
        ids = self[word] = self.encode(word)
        return ids


class Tokenizer:
    """Text to ids and back, by byte-level BPE.

    `vocabulary` says which id each token has; a token is written as bytes, and the
    special tokens are there too. `merges` says which new id a pair of ids becomes,
    in the order in which the merges were learned.

    >>> tokenizer = Tokenizer.train("the then them the", 259, ["<|endoftext|>"])
    >>> list(tokenizer.vocabulary)[256:]
    [b'he', b'the', b'<|endoftext|>']
    """

    def __init__(self, merges: dict[Pair, int], vocabulary: Optional[dict[bytes, int]] = None,
                 added_tokens: Optional[dict[str, int]] = None, special_tokens: Optional[set[str]] = None,
                 normalized_tokens: Iterable[str] = (), patterns: Iterable[str] = (GPT2_PATTERN,),
                 nfc: bool = False, ignore_merges: bool = False):
        self.merges, self.patterns, self.nfc, self.ignore_merges = merges, list(patterns), nfc, ignore_merges
        self._bpe_vocabulary = _vocabulary_of(merges) if vocabulary is None else vocabulary
        self.added_tokens = added_tokens or {}
        self.special_tokens = set(self.added_tokens) if special_tokens is None else special_tokens
        self.normalized_tokens = set(normalized_tokens)
        for token, id in self.added_tokens.items():
            _check_name(token, id, self._bpe_vocabulary)
        added = {text_to_bytes(token): id for token, id in self.added_tokens.items()}
        self.vocabulary = {**self._bpe_vocabulary, **added}
        self._bytes_of = dict(zip(self._bpe_vocabulary.values(), self._bpe_vocabulary))
        self._bytes_of.update(zip(added.values(), added))
        self._byte_ids = [self._bpe_vocabulary[bytes([byte])] for byte in range(256)]
        self._rank_of, self._merged = merges, range(max(merges.values(), default=0) + 1)
        if [*merges.values()] != sorted(set(merges.values())):     # seldom: else a later merge has a higher id
            self._rank_of, self._merged = dict(zip(merges, range(len(merges)))), list(merges.values())
        self._known_words = _KnownWords(self._encode_word)

    def __len__(self) -> int:
        return len(self._bytes_of)

    @classmethod
    def train(cls, text: str, vocab_size: int, special_tokens: Iterable[str] = ()) -> "Tokenizer":
        """Learn a tokenizer of at most vocab_size tokens from a text.

        The special tokens are counted in, and get the last ids. Where one stands
        in the text, the text is cut, and nothing is learned across it.

        >>> len(Tokenizer.train("the then them the", 258, [END_OF_TEXT]))
        258
        """
        if isinstance(special_tokens, str) or "" in special_tokens:
            raise ValueError("special_tokens is a list of strings, none of them empty")
        special_tokens = list(dict.fromkeys(special_tokens))
        parts = re.split("|".join(map(re.escape, special_tokens)) or r"\Z", text)
        counts = Counter(chain.from_iterable(map(split_words, parts)))
        merges = _train_on_counts(counts, vocab_size - len(special_tokens))
        ids = range(256 + len(merges), 256 + len(merges) + len(special_tokens))
        return cls(merges, added_tokens=dict(zip(special_tokens, ids)))

    def encode(self, text: str, allowed_special: Union[str, Iterable[str]] = ()) -> list[int]:
        """Turn a text into ids.

        Each word begins as bytes. Lesson 1 took the longest piece first; here the
        merges are done in the order in which they were learned. Only then is a
        word cut as it was cut in training. A word that was met before is looked up.

        >>> tokenizer = Tokenizer.train("the then them the", 259, [END_OF_TEXT])
        >>> tokenizer.encode("the hat")
        [257, 32, 104, 97, 116]

        A special token steers the model: this one says that a document is over.
        If a user could write it in a message, they could end the conversation
        or forge the next speaker. So in a text it is plain text, thirteen bytes,
        unless the programmer allows it: by a set of them, or by "all".

        >>> len(tokenizer.encode(END_OF_TEXT))
        13
        >>> tokenizer.encode(END_OF_TEXT, allowed_special="all")
        [258]

        Raises ValueError for a text that can't be written as UTF-8.
        """
        text_to_bytes(text)
        if isinstance(allowed_special, str) and allowed_special != "all":
            raise ValueError(f'allowed_special is a set of tokens or "all", not {allowed_special!r}')
        allowed = self.special_tokens if allowed_special == "all" else self.special_tokens & set(allowed_special)
        names = (self.added_tokens.keys() - self.special_tokens) | allowed
        ids = []
        for part in _cut_out(names - self.normalized_tokens, text):
            if part in names:
                ids.append(self.added_tokens[part])
                continue
            part = _to_nfc(part) if self.nfc else part
            for piece in _cut_out(names & self.normalized_tokens, part):
                ids += [self.added_tokens[piece]] if piece in names else self._encode_plain(piece)
        return ids

    def _encode_plain(self, text: str) -> Iterable[int]:
        words = split_words(text, self.patterns[0]) if self.patterns else [text]
        for pattern in self.patterns[1:]:
            words = [part for word in words for part in split_words(word, pattern)]
        return chain.from_iterable(map(self._known_words.__getitem__, words))

    def _encode_word(self, word: str) -> tuple[int, ...]:
        data = word.encode("utf-8")
        if self.ignore_merges and data in self._bpe_vocabulary:
            return (self._bpe_vocabulary[data],)
        ids = [self._byte_ids[byte] for byte in data]
        return tuple(self._merge(ids) if len(ids) < 200 else self._merge_long(ids))

    def _merge(self, ids: list[int]) -> list[int]:
        """Merge the ids of a word: the pair that was learned first, until none is left."""
        rank_of, never = self._rank_of.get, len(self._merged)
        ranks = [rank_of(pair, never) for pair in zip(ids, ids[1:])]
        while ranks:
            lowest = min(ranks)
            if lowest == never:
                break
            at = ranks.index(lowest)
            ids[at] = self._merged[lowest]
            del ids[at + 1], ranks[at]
            if at:
                ranks[at - 1] = rank_of((ids[at - 1], ids[at]), never)
            if at < len(ranks):
                ranks[at] = rank_of((ids[at], ids[at + 1]), never)
        return ids

    def _merge_long(self, ids: list[int]) -> list[int]:
        """The same result in n log n steps, for a "word" of thousands of letters.

        The tokens are a linked list, and a heap keeps rank and place of every
        pair that can be merged. An entry whose pair is gone is passed over.
        """
        end, rank_of = len(ids), self._rank_of
        after, before = list(range(1, end + 1)), list(range(-1, end - 1))
        heap = [rank_of[pair] * end + place for place, pair in enumerate(zip(ids, ids[1:])) if pair in rank_of]
        heapq.heapify(heap)
        while heap:
            rank, left = divmod(heapq.heappop(heap), end)
            right = after[left]
            if right == end or rank_of.get((ids[left], ids[right])) != rank:
                continue
            ids[left], ids[right] = self._merged[rank], None
            after[left] = following = after[right]
            if following < end:
                before[following] = left
                if (ids[left], ids[following]) in rank_of:
                    heapq.heappush(heap, rank_of[ids[left], ids[following]] * end + left)
            if before[left] >= 0 and (ids[before[left]], ids[left]) in rank_of:
                heapq.heappush(heap, rank_of[ids[before[left]], ids[left]] * end + before[left])
        return [id for id in ids if id is not None]

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Turn ids back into bytes: look up the bytes of each, and join them.

        >>> Tokenizer.train("the then them the", 258).decode_bytes([257, 33])
        b'the!'

        Raises ValueError for what is no id of this tokenizer.

        >>> Tokenizer.train("the then them the", 258).decode_bytes([999])
        Traceback (most recent call last):
        ValueError: 999 is no id of this tokenizer of 258 tokens
        """
        ids = list(ids)
        for id in ids:
            if not isinstance(id, int) or id not in self._bytes_of:
                raise ValueError(f"{id!r} is no id of this tokenizer of {len(self)} tokens")
        return b"".join([self._bytes_of[id] for id in ids])

    def decode(self, ids: Iterable[int]) -> str:
        """Turn ids back into text: join the bytes, and read them as UTF-8.

        Any text comes back exactly. But a token may end in the middle of a
        character; what is no UTF-8 is shown as �.

        >>> tokenizer = Tokenizer.train("the then them the", 258)
        >>> ids = tokenizer.encode("the 车")
        >>> ids
        [257, 32, 232, 189, 166]
        >>> tokenizer.decode(ids), tokenizer.decode(ids[:-1])
        ('the 车', 'the �')
        """
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def show(self, ids: Iterable[int], color: Optional[bool] = None) -> str:
        r"""Show tokens with the borders between them; bytes that are no character as \xe8.

        >>> tokenizer = Tokenizer.train("the then them the", 258)
        >>> print(tokenizer.show(tokenizer.encode("the 车"), color=False))
        the|·|\xe8|\xbd|\xa6
        """
        return show_tokens([self.decode_bytes([id]).decode("utf-8", "backslashreplace") for id in ids], color)

    def explain(self, word: str) -> str:
        """Show how a word is merged, step by step, from its bytes to its tokens.

        Lesson 1 could not spell "running" with the four pieces of the slide. Here
        is what 600 tokens make of it:

        >>> tokenizer = Tokenizer.train(read_text(CORPUS), 600)
        >>> print(tokenizer.explain(" running"))
        ·|r|u|n|n|i|n|g
        ·|r|u|n|n|in|g   273 = i + n
        ·|r|u|n|n|ing    303 = in + g
        ·r|u|n|n|ing     317 = · + r
        ·r|un|n|ing      385 = u + n
        ·r|un|ning       435 = n + ing
        ·run|ning        576 = ·r + un
        """
        ids = [self._byte_ids[byte] for byte in text_to_bytes(word)]
        rows = [[self.show(ids, color=False), ""]]
        while known := self._rank_of.keys() & zip(ids, ids[1:]):
            pair = min(known, key=self._rank_of.__getitem__)
            ids = merge_pair(ids, pair, self.merges[pair])
            left, right = (self.show([part], color=False) for part in pair)
            rows.append([self.show(ids, color=False), f"{self.merges[pair]} = {left} + {right}"])
        return table(rows)

    def save(self, path: Union[str, Path]) -> None:
        """Write the tokenizer as a tokenizer.json, which Hugging Face `tokenizers` opens.

        It is written beside the old file and put in its place when it is whole, so
        that an interruption loses nothing. A post_processor is not kept.
        """
        letter_of = byte_letters()
        names = {id: "".join(map(letter_of.__getitem__, token)) for token, id in self._bpe_vocabulary.items()}
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
        splits = [{"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
                  for pattern in self.patterns]
        added = [{"id": id, "content": token, "single_word": False, "lstrip": False, "rstrip": False,
                  "normalized": token in self.normalized_tokens, "special": token in self.special_tokens}
                 for token, id in self.added_tokens.items()]
        names.update({id: token for token, id in self.added_tokens.items() if id in names})
        model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                 "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                 "ignore_merges": self.ignore_merges, "vocab": {name: id for id, name in names.items()},
                 "merges": [f"{names[left]} {names[right]}" for left, right in self.merges]}
        write_whole(path, json.dumps({
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
            "normalizer": {"type": "NFC"} if self.nfc else None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*splits, byte_level]},
            "post_processor": byte_level, "decoder": byte_level, "model": model,
        }, ensure_ascii=False, indent=1).encode("utf-8"))

    @classmethod
    def load(cls, path: Union[str, Path]) -> "Tokenizer":
        """Open a tokenizer.json: one that was saved here, or that of a real LLM.

        It must be byte-level BPE, as those of GPT-2, Llama 3, Qwen and many more.
        `encode` then gives the ids of the text itself: what a post_processor puts
        around it, such as a first token for the whole document, is left out.

        >>> tokenizer = Tokenizer.train("the then them the", 258)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tokenizer.save(folder + "/tokenizer.json")
        ...     Tokenizer.load(folder + "/tokenizer.json").encode("the hat")
        [257, 32, 104, 97, 116]

        Raises ValueError, with the part that is to blame, for a file that is
        damaged or asks for something that this tokenizer does not do.
        """
        data, was_enabled = Path(path).read_bytes(), gc.isenabled()
        gc.disable()    # half a million objects come, and none goes: to look for garbage would be in vain
        try:
            return cls(**_settings_of(json.loads(data)))
        except KeyError as error:
            reason = f"it has no {error.args[0]!r}"
        except (TypeError, AttributeError, IndexError, RecursionError) as error:
            reason = f"it is not built like one ({error})"
        except ValueError as error:
            reason = str(error)
        finally:
            if was_enabled:
                gc.enable()
        raise ValueError(f"{path} can't be opened as a tokenizer.json: {reason}")


def _vocabulary_of(merges: dict[Pair, int]) -> dict[bytes, int]:
    tokens = {byte: bytes([byte]) for byte in range(256)}
    for (left, right), merged in merges.items():
        tokens[merged] = tokens[left] + tokens[right]
    return {token: id for id, token in tokens.items()}


def _to_nfc(text: str) -> str:
    """Write é as one character, never as e and an accent. Line by line: most need no look."""
    return "".join(line if line.isascii() else unicodedata.normalize("NFC", line)
                   for line in text.splitlines(keepends=True))


def _cut_out(names: set[str], text: str) -> list[str]:
    """Cut a text before and after each of the names, the longest first."""
    if not names:
        return [text]
    longest_first = sorted(names, key=lambda name: (-len(name), name))
    return re.split("(" + "|".join(map(re.escape, longest_first)) + ")", text)


# %% tokenizer.json: everybody's tokenizers

def byte_letters() -> dict[int, str]:
    """The letter that stands for each byte in a tokenizer.json.

    JSON holds text, and not every sequence of bytes is text. So GPT-2 gave each
    byte a letter that can be printed. 188 bytes have one of their own. The other
    68, such as the space and the newline, get the characters from 256 on: that is
    where Ġ and Ċ come from.

    >>> letters = byte_letters()
    >>> letters[ord("a")], letters[ord(" ")], letters[ord("\\n")]
    ('a', 'Ġ', 'Ċ')
    >>> "".join(letters[byte] for byte in " 车".encode("utf-8"))
    'Ġè½¦'
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = [byte for byte in range(256) if byte not in printable]
    return {**{byte: chr(byte) for byte in printable},
            **{byte: chr(256 + place) for place, byte in enumerate(moved)}}


def letters_to_bytes(letters: str) -> bytes:
    """Turn the letters of a token in a tokenizer.json back into its bytes.

    >>> letters_to_bytes("Ġè½¦").decode("utf-8")
    ' 车'
    """
    return codecs.charmap_encode(letters, "strict", _bytes_of_letters())[0]


@lru_cache(maxsize=1)
def _bytes_of_letters() -> dict[int, int]:
    return {ord(letter): byte for byte, letter in byte_letters().items()}


def _settings_of(file: dict) -> dict:
    """Check a tokenizer.json part by part, and read what `Tokenizer` needs of it."""
    for part in ("truncation", "padding"):
        _require(file.get(part) is None, f"its {part} would change the ids")
    for part, key, types in (("normalizer", "normalizers", ["NFC"]), ("decoder", "decoders", ["ByteLevel"]),
                             ("post_processor", "processors", ["ByteLevel", "TemplateProcessing"])):
        for step in _steps(file.get(part), key):
            _require(step["type"] in types, f"its {part} {step['type']!r} is not one of those known here: {types}")
    model = file["model"]
    _require(model.get("type", "BPE") == "BPE", f"its model is {model.get('type')!r}, and not 'BPE'")
    for part in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        _require(not model.get(part), f"its model asks for {part}")
    ids = model["vocab"]
    _require({*map(type, ids.values())} == {int} and 0 <= min(ids.values()) and max(ids.values()) < 2 ** 32,
             "an id in its vocabulary is no whole number from 0 up, below 2 to the power of 32")
    _require(len(set(ids.values())) == len(ids), "two tokens in its vocabulary have the same id")
    added = file.get("added_tokens") or []
    vocabulary, merges = _read_vocabulary(ids, added), _read_merges(model["merges"], ids)
    _check_added(added, ids)
    return {"vocabulary": vocabulary, "merges": merges,
            "added_tokens": {token["content"]: token["id"] for token in added},
            "special_tokens": {token["content"] for token in added if token.get("special")},
            "normalized_tokens": {token["content"] for token in added if token.get("normalized")},
            "patterns": _read_patterns(_steps(file.get("pre_tokenizer"), "pretokenizers")),
            "nfc": bool(_steps(file.get("normalizer"), "normalizers")),
            "ignore_merges": bool(model.get("ignore_merges"))}


def _check_name(token: str, id: int, vocabulary: dict[bytes, int]) -> None:
    """A tokenizer.json can't hold an added token that reads like another token in byte letters."""
    if not _bytes_of_letters().keys() >= {*map(ord, token)}:
        return
    same = letters_to_bytes(token)
    if same != text_to_bytes(token) or vocabulary.get(same, id) != id:
        raise ValueError(f"the added token {token!r} would be read as byte letters, as the token {same!r}; choose another")


def _check_added(added: list[dict], ids: dict[str, int]) -> None:
    """Each added token needs a text, the id it would be given, and no way of being matched that we lack."""
    taken, following = set(ids.values()), len(ids)
    for token in added:
        content, id = token["content"], token["id"]
        asks = [part for part in ("single_word", "lstrip", "rstrip") if token.get(part)]
        _require(not asks, f"its added token {content!r} asks for {asks}")
        _require(type(id) is int and id >= 0 and isinstance(content, str) and content != "",
                 f"its added token {content!r} with id {id!r} is not one")
        _require(id not in taken or ids.get(content) == id, f"its added token {content!r} has the id of another token")
        _require(not token.get("normalized") or unicodedata.is_normalized("NFC", content),
                 f"its added token {content!r} is to be normalized, and is not in NFC")
        _require(id == ids.get(content, following),
                 f"its added token {content!r} has the id {id}, and {ids.get(content, following)} was to be next")
        following += content not in ids
        taken.add(id)


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)


def _steps(part: Optional[dict], key: str) -> list[dict]:
    """A part of the file is nothing, one step, or a sequence of parts."""
    if part is None:
        return []
    if part["type"] != "Sequence":
        return [part]
    return [step for inner in part[key] for step in _steps(inner, key)]


def _read_vocabulary(ids: dict[str, int], added: list[dict]) -> dict[bytes, int]:
    """Turn the letters of each token back into bytes."""
    byte_of = _bytes_of_letters()
    try:
        tokens = [codecs.charmap_encode(letters, "strict", byte_of)[0] for letters in ids]
    except UnicodeEncodeError:      # some are not written in byte letters: added tokens
        raw = {letters for letters in ids if not byte_of.keys() >= {*map(ord, letters)}}
        _require(raw <= {token["content"] for token in added}, "a token in its vocabulary is not in byte letters")
        tokens = [text_to_bytes(letters) if letters in raw else letters_to_bytes(letters) for letters in ids]
    vocabulary = dict(zip(tokens, ids.values()))
    _require(len(vocabulary) == len(ids), "two tokens in its vocabulary stand for the same bytes")
    missing = [byte for byte in range(256) if bytes([byte]) not in vocabulary]
    _require(not missing, f"its vocabulary is not byte-level: it has no token for the bytes {missing[:3]}")
    return vocabulary


def _read_merges(merges: list, ids: dict[str, int]) -> dict[Pair, int]:
    """Merges are written "a b" or ["a", "b"]; the merged token is "ab"."""
    if {*map(type, merges)} == {str}:
        _require({*map(str.count, merges, repeat(" "))} == {1}, "one of its merges is not a pair")
        parts = " ".join(merges).split(" ")
    else:
        _require({*map(len, merges)} <= {2}, "one of its merges is not a pair")
        parts = [*chain.from_iterable(merges)]
    lefts, rights = parts[::2], parts[1::2]
    merged, names = [*map(add, lefts, rights)], [*ids]
    try:
        pairs = zip([*map(ids.__getitem__, lefts)], [*map(ids.__getitem__, rights)])
        if merged == names[-len(merged):]:      # as usual: the vocabulary lists them in the same order
            merged_ids = [*ids.values()][-len(merged):]
        else:
            merged_ids = [ids[name] for name in merged]
        read = dict(zip(pairs, merged_ids))
    except KeyError as error:
        raise ValueError(f"a merge needs the token {error.args[0]!r}, which is not in its vocabulary") from None
    _require(len(read) == len(merges), "it lists a merge twice")
    return read


def _read_patterns(steps: list[dict]) -> list[str]:
    """The patterns by which the text is split, one after the other; the last step makes bytes."""
    _require(bool(steps) and steps[-1]["type"] == "ByteLevel", "its pre_tokenizer does not end with ByteLevel")
    _require(not steps[-1].get("add_prefix_space"), "its pre_tokenizer asks for add_prefix_space")
    patterns = []
    for step in steps[:-1]:
        _require(step["type"] == "Split", f"its pre_tokenizer {step['type']!r} is not one of Split and ByteLevel")
        _require(step["behavior"] == "Isolated" and not step.get("invert"), "its Split is not plainly 'Isolated'")
        _require("Regex" in step["pattern"], "its Split has no Regex")
        patterns.append(step["pattern"]["Regex"])
    patterns += [GPT2_PATTERN] if steps[-1].get("use_regex", True) else []
    for pattern in patterns:
        text_to_bytes(pattern)
        compile_pattern(pattern, _characters_up_to(0x7F))
    return patterns


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
    beside = Path(f"{path}.{os.getpid()}")
    try:
        beside.write_bytes(data)
        os.replace(beside, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


# %% The split pattern, exactly

@lru_cache(maxsize=16)
def compile_pattern(pattern: str, alphabet: str) -> "re.Pattern[str]":
    r"""Turn the pattern language of real tokenizers into Python's, which has no \p.

    (Those who don't care for patterns can go on to the next section.) Unicode
    puts each character into a category of two letters, such as Lu, an upper-case
    letter. \p{Lu} asks for both of them, and \p{L}, any letter, only for the
    first. `unicodedata` knows the category of each character, so we write the
    class out. \s is written out too, for Python counts four control characters as
    spaces that Unicode does not.

    >>> compile_pattern(r"\p{L}+", "abc123xyz").pattern
    '[\\ud800\\U00000061-\\U00000063\\U00000078-\\U0000007a]+'

    `alphabet` holds, in order, all the characters that the text can have. A
    class of all 130,000 letters makes `re` slow, and those that are not in the
    text need not be in the class. (\ud800 is in no text; with it no class is
    empty.) Raises ValueError for a pattern that can't be turned exactly.

    >>> compile_pattern(r"\p{Han}+", "abc")
    Traceback (most recent call last):
    ValueError: the split pattern has \p{Han}, which is no general category of Unicode
    """
    parts, in_class = [], False
    for token in re.findall(_PATTERN_TOKENS, pattern, re.DOTALL):
        if token[:1] == "\\" and token[1:2] in set("pPsSdD"):
            inside = _class_of(token, alphabet)
            parts.append(inside if in_class else f"[{inside}]")
        elif not in_class and token in _LINE_BORDERS:
            parts.append(_LINE_BORDERS[token])
        elif not in_class and token == "(":
            parts.append("(?:")
        elif _reads_otherwise(token, in_class):
            raise ValueError(f"the split pattern has {token}, which Python's re reads in another way")
        else:
            in_class = token != "]" if in_class else token[0] == "["
            parts.append(token)
    try:
        compiled = re.compile("".join(parts))
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"Python's re can't take the split pattern {pattern[:60]!r}: {error}") from None
    if compiled.match(""):
        raise ValueError(f"the split pattern {pattern[:60]!r} matches where there is nothing")
    return compiled


_PATTERN_TOKENS = (r"\\[pP]\{\^?\w*\}|\\.|\[\^?\]?|\(\?i:[^)]*(?:\(|\\[pP]|[iI]|\w-|[^\x00-\x7f]|ss|st|ff|fl)|\(\?[a-zA-Z-]*[):>]?"
                   r"|[?*+}]\+|\{\d+\}\?|&&|--|\|\||~~|.")
_LINE_BORDERS = {"^": r"(?:\A|(?<=\n)(?!\Z))", "$": "(?m:$)"}


def _reads_otherwise(token: str, in_class: bool) -> bool:
    """Is this part of a pattern one that `re` lacks or understands in another way?"""
    if token[0] == "\\":
        return token == "\\" or token[1].isalnum() and token[1] not in "nrtfvau0"
    if in_class:
        return token[0] == "[" or token in ("&&", "--", "||", "~~")
    if token[:2] == "(?":
        return token not in ("(?", "(?:", "(?i:")
    return len(token) > 1 and (token[-1] == "+" or token[0] == "{")


@lru_cache(maxsize=64)
def _class_of(token: str, alphabet: str) -> str:
    """Write \\p{L}, \\P{L}, \\s and the like as ranges of characters of the alphabet."""
    name = re.sub(r"\W", "", token[2:])
    if token[1] in "pP" and not re.fullmatch("L[ulmto]?|M[nce]?|N[dlo]?|P[cdseifo]?|S[mcko]?|Z[slp]?|C[cfson]?", name):
        raise ValueError(f"the split pattern has {token}, which is no general category of Unicode")
    shorthands = {"s": ("Z", "Cc space"), "d": ("Nd",)}
    categories = name or shorthands[token[1].lower()]
    negative = token[1].isupper() != ("^" in token)
    return "\\ud800" + "".join(f"\\U{first:08x}-\\U{last:08x}" for category, first, last in _runs(alphabet)
                               if category.startswith(categories) != negative)


@lru_cache(maxsize=16)
def _runs(alphabet: str) -> list[tuple[str, int, int]]:
    """Runs of one category in an alphabet, with their first and last character."""
    categories = [*map(unicodedata.category, alphabet)]
    for space in "\t\n\v\f\r\x85":
        if space in alphabet:
            categories[alphabet.index(space)] = "Cc space"
    runs = [[*run] for _, run in groupby(zip(categories, alphabet), key=itemgetter(0))]
    return [(run[0][0], ord(run[0][1]), ord(run[-1][1])) for run in runs]


def _alphabet(text: str) -> str:
    """All the characters that a text may have; of a long text just those that it has."""
    if text.isascii():
        return _characters_up_to(0x7F)
    if len(text) > 100_000:
        own = "".join(set("".join(line for line in text.splitlines(keepends=True) if not line.isascii())))
        return "".join(sorted({*_characters_up_to(0x7F), *own, *own.swapcase()}))
    highest = ord(max(text))    # beyond 0x3FFFF there is next to nothing, so it is seldom worth the time
    return _characters_up_to(next(last for last in (0xFFFF, 0x3FFFF, sys.maxunicode) if highest <= last))


@lru_cache(maxsize=4)
def _characters_up_to(last: int) -> str:
    return "".join(map(chr, range(last + 1)))


# %% The tokenizer of this course

COURSE_VOCAB_SIZE = 1600


@lru_cache(maxsize=1)
def course_tokenizer() -> Tokenizer:
    """The tokenizer of this course: trained on the stories of corpus.txt, once per process.

    The last tenth of the stories is held out here as well, for the tests of
    lesson 3: what has never been seen must not have shaped the tokens either.
    Why 1,600 tokens? It is a choice: with 600 a text gets longer, with 3,000 most
    tokens come too seldom in so few stories for lesson 3 to learn about them. A
    text unlike the stories is dear: of ten Chinese characters each byte is a token.

    >>> len(course_tokenizer().encode("我们正在学习人工智能"))
    30

    >>> tokenizer = course_tokenizer()
    >>> ids = tokenizer.encode("The sun is shining, and the sky is")
    >>> print(tokenizer.show(ids))
    The|·sun|·is|·shining|,|·and|·the|·sky|·is

    Now any text is a row of ids. But what does a model do with a number such as
    300? It looks up a vector for it: that is lesson 3.
    """
    stories, _ = corpus_stories()
    return Tokenizer.train("\n\n".join(stories), COURSE_VOCAB_SIZE, [END_OF_TEXT])


# %% Your turn

def exercise_1(answer: int) -> str:
    """A warm-up. How many bytes does UTF-8 need for "naïve 🌲"?

    Write `answer_1 = ` and the number into a file beside the lesson, and check it:

        python3 lesson_2_coding_tokenizer.py --check answers_2.py

    >>> exercise_1(7)
    'That is how many characters it has. Two of them need more than a byte.'
    """
    text = "naïve 🌲"
    if answer == len(text):
        return "That is how many characters it has. Two of them need more than a byte."
    return "" if answer == len(text_to_bytes(text)) else "Look at the four characters of `text_to_bytes` again."


def exercise_2(answer: list[int]) -> str:
    """Predict: what does merge_pair([1, 1, 1, 2, 1, 1], (1, 1), 9) give?

    >>> exercise_2([1, 9, 2, 9])
    'From the left: the first two that fit are merged first.'
    """
    right = merge_pair([1, 1, 1, 2, 1, 1], (1, 1), 9)
    return "" if answer == right else "From the left: the first two that fit are merged first."


def exercise_3(answer: list[str]) -> str:
    """Predict: which three tokens does training learn first from "low low lower lowest"?

    Count the pairs on paper, in the words as `split_words` cuts them. Of equally
    common pairs the one with the lower ids is first: "l" comes before "o", and a
    new token after all the bytes. Write three strings, a space where there is one.

    >>> exercise_3(["lo", "we", "st"])
    'So far right: 1. Now count again, with each merged pair as one token.'
    """
    merges = train_merges("low low lower lowest", 259)
    right = [Tokenizer(merges).decode([id]) for id in merges.values()]
    agree = next((count for count in (3, 2, 1) if answer[:count] == right[:count]), 0)
    if agree:
        return "" if answer == right else f"So far right: {agree}. Now count again, with each merged pair as one token."
    return "How often does each pair of letters come in all four words together?"


def exercise_4(answer: Callable[[Tokenizer, str], float]) -> str:
    """Write a function: how many bytes of a text does a token stand for, on average?

    `answer_4(tokenizer, text)` returns it, and 0 for an empty text. It tells how
    well a tokenizer suits a text: try English, Chinese and a program.

    >>> exercise_4(lambda tokenizer, text: len(text))
    "For 'The cat is sleeping.' it gave 20; 4.0 is right."
    """
    tokenizer = course_tokenizer()
    for text in ("The cat is sleeping.", "", "我们正在学习人工智能", "for id in ids:\n    print(id)"):
        average, given = len(text_to_bytes(text)) / max(1, len(tokenizer.encode(text))), answer(tokenizer, text)
        if not abs(given - average) < 1e-9:
            return f"For {text!r} it gave {given}; {average} is right."
    return ""


def exercise_5(answer: Callable[[str, dict[Pair, int]], list[int]]) -> str:
    """For an evening: write `encode` yourself.

    `answer_5(text, merges)` returns the ids of a text, as a `Tokenizer` with
    these merges does. It needs `split_words`, `text_to_bytes` and `merge_pair`,
    which `from lesson_2_coding_tokenizer import *` brings into your file, and an
    idea: which pair of a word has to be merged next?

    >>> exercise_5(lambda text, merges: list(text.encode()))
    "For 'The cat is sleeping.' it gave [84, 104, 101, 32, 99]..."
    """
    merges = train_merges(read_text(CORPUS), 700)
    for text in ("The cat is sleeping.", "", "  naïve 🌲\n", read_text(CORPUS)[-3000:]):
        ids = answer(text, merges)
        if ids != Tokenizer(merges).encode(text):
            return f"For {text[:40]!r} it gave {str(ids[:5])[:-1]}]..."
    return ""


# %% On the command line

def _show(options: argparse.Namespace) -> None:
    """Train or open a tokenizer, save it, and show a text with it, as far as each is asked for."""
    if options.train is not None and options.tokenizer is not None:
        raise ValueError("--train makes a tokenizer and --tokenizer opens one: choose one of them")
    if options.vocab_size is not None and options.train is None:
        raise ValueError("--vocab-size goes with --train")
    if options.tokenizer is not None and options.text is None and options.save is None:
        raise ValueError("a text is missing, to see as tokens")
    if options.save is not None and not Path(options.save).absolute().parent.is_dir():
        raise ValueError(f"there is no folder for {options.save}")
    if options.train is not None:
        size = COURSE_VOCAB_SIZE if options.vocab_size is None else read_number(options.vocab_size, int, "--vocab-size")
        tokenizer = Tokenizer.train(read_text(options.train), size, [END_OF_TEXT])
        few = ", for the text has no more pairs to merge" if len(tokenizer) < size else ""
        print(f"learned {len(tokenizer)} tokens from {options.train}{few}")
    else:
        tokenizer = course_tokenizer() if options.tokenizer is None else Tokenizer.load(options.tokenizer)
    if options.save is not None:
        tokenizer.save(options.save)
        print(f"saved {options.save}")
    if options.text is not None:
        _show_text(tokenizer, options.text)


def _show_text(tokenizer: Tokenizer, text: str) -> None:
    """The tokens of a text, their ids, how the first word was merged, and what lesson 1 would need."""
    ids = tokenizer.encode(text)
    print(tokenizer.show(ids))
    print(" ".join(map(str, ids)), end="\n\n")
    first_word = split_words(text, *tokenizer.patterns[:1])[0] if text else ""
    if 0 < len(first_word) <= 40:
        print(tokenizer.explain(first_word), end="\n\n")
    counts = {"byte-pair tokens": len(ids), **{name: len(cut(text)) for name, cut in TOKENIZERS.items()}}
    most = max(1, *counts.values())
    print(table([[name, count, bar(count / most)] for name, count in counts.items()]))


if __name__ == "__main__":
    run_lesson(lesson_parser("Lesson 2: our own tokenizer.", "seen as tokens and ids", {
        "--tokenizer FILE": "use this tokenizer.json, such as Qwen2.5's",
        "--train FILE": f"train a tokenizer on this text; --vocab-size N, with the bytes ({COURSE_VOCAB_SIZE})",
        "--save FILE": "save the tokenizer as a tokenizer.json",
    }, ['"The cat is sleeping."', "--train corpus.txt --save my.json"]), _show)
