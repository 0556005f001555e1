"""Lesson 2: coding our own tokenizer. And then opening everybody's.

Why can a chatbot write a poem, and yet fail to spell a word backwards, or to count the
letters in it? Why does the same sentence cost more in Hindi than in English? A model
never sees letters. It sees tokens, and which tokens there are was decided before it read
its first word. Here you write the program that decides it: byte-pair encoding (BPE).

Start with bytes, the 256 numbers that text is stored as. Find the two neighbours that
stand side by side most often, make the pair one new token, and do it again. After a few
hundred rounds the common words are whole, and the rare ones still in pieces (· is a space):

             t|h|e|·|c|a|t|·|a|n|d|·|t|h|e|·|h|a|t|·|a|n|d|·|t|h|e|·|m|a|t
    a + t    t|h|e|·|c|at|·|a|n|d|·|t|h|e|·|h|at|·|a|n|d|·|t|h|e|·|m|at
    h + e    t|he|·|c|at|·|a|n|d|·|t|he|·|h|at|·|a|n|d|·|t|he|·|m|at
    t + he   the|·|c|at|·|a|n|d|·|the|·|h|at|·|a|n|d|·|the|·|m|at

These three merges cut any other text into tokens, each with its number, its id:

>>> tokenizer = Tokenizer.train("the cat and the hat and the mat", 256 + 3)
>>> ids = tokenizer.encode("the bat")
>>> print(tokenizer.show(ids, color=False), ids)
the|·|b|at [258, 32, 98, 256]

Philip Gage invented it in 1994, to compress files. Sennrich, Haddow and Birch brought it
to machine translation in 2016, where it merged characters, and GPT-2 brought it back to
bytes in 2019. What you write here is the real thing: it opens the tokenizer of Qwen2.5
and gives the same ids, and the tokenizers that you train open in Hugging Face.
"""

import heapq
import os
import sys
from collections import Counter, defaultdict
from functools import lru_cache
from itertools import chain
from operator import add
from pathlib import Path
from typing import Callable, Iterable, Iterator, Optional, Union

sys.path.append(os.path.dirname(sys.argv[0]))
from stage import bar, progress, read_text, run_lesson, show_ids, show_tokens, table
from formats import (GPT2_PATTERN, Pair, Rules, byte_letters, check_names, compile_pattern, cut_out, cut_text,
                     letters_to_bytes, read_tokenizer, write_tokenizer)
from lesson_1_tokens import CORPUS, CUTTERS, corpus_stories

END_OF_TEXT = "<|endoftext|>"
COURSE_VOCAB_SIZE = 1200


# %% Bytes first

def text_to_bytes(text: str) -> bytes:
    """Write a text as UTF-8 bytes: numbers from 0 to 255.

    An English letter is one byte, an accented letter two, a Chinese character three, and an
    emoji three (☀), four (🌲) or, if it is a family, eighteen and more:

    >>> for text in ("e", "é", "车", "🌲"):
    ...     print(text, list(text_to_bytes(text)))
    e [101]
    é [195, 169]
    车 [232, 189, 166]
    🌲 [240, 159, 140, 178]

    Why not start with characters? There are more than a hundred thousand of them, and one
    that the training text lacks would be <UNK>. But 256 tokens, one for each byte, can
    write anything that anybody will ever type. There is no <UNK> any more.

    Bytes are not characters: someone has to say which bytes mean what. One copy of this
    course's slides was read in the encoding of old Macintoshes, and had ËΩ¶ for 车:

    >>> "ËΩ¶".encode("mac_roman").decode("utf-8")
    '车'

    Raises ValueError for a text that can't be written as UTF-8.
    """
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        found = f"a lone surrogate, {text[error.start]!r}, at {error.start}"
        raise ValueError(f"the text has {found}, unknown to UTF-8") from None


# %% Count and merge
# All of byte-pair encoding is two small steps. One counts the pairs of neighbours, and the
# other replaces a pair by a new token. Training uses both, and so does encoding.

def count_pairs(ids: list[int]) -> Counter[Pair]:
    """Count how often each pair of neighbours occurs.

    >>> count_pairs([1, 2, 3, 1, 2])
    Counter({(1, 2): 2, (2, 3): 1, (3, 1): 1})
    """
    return Counter(zip(ids, ids[1:]))


def merge_pair(ids: list[int], pair: Pair, new_id: int) -> list[int]:
    """Replace a pair by one new token, wherever it stands, from left to right.

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


def token_bytes(merges: dict[Pair, int]) -> dict[int, bytes]:
    """Which bytes does each token stand for? A merged token has those of its two parts.

    >>> tokens = token_bytes({(104, 101): 256, (116, 256): 257})
    >>> tokens[104], tokens[101], tokens[256], tokens[257]
    (b'h', b'e', b'he', b'the')
    """
    tokens = {byte: bytes([byte]) for byte in range(256)}
    for (left, right), new_id in merges.items():
        tokens[new_id] = tokens[left] + tokens[right]
    return tokens


# %% Words first

def split_words(text: str, pattern: str = GPT2_PATTERN) -> list[str]:
    r"""Cut a text into words, each with the space before it; merges stay inside a word.

    Without the cut, this course's stories would make tokens of "in the ", ". The " and
    ", and the ". A model would have to learn what "the" means again and again, once for
    each token that it hides in. And "in the sky" would look nothing like "in a sky".

    What a word is, is said by a pattern. This one is GPT-2's. It reads like this:

        's|'t|'re|'ve|'m|'ll|'d    the end of "dog's", of "don't" and so on
         ?\p{L}+                   letters, with one space before them, if any
         ?\p{N}+                   digits, in the same way
         ?[^\s\p{L}\p{N}]+         other signs, in the same way
        \s+(?!\S)|\s+              spaces; the last one is left for the next word

    >>> print(show_tokens(split_words("The dog's 2 cars,  车!"), color=False))
    The|·dog|'s|·2|·cars|,|·|·车|!

    So a full stop, which in lesson 1 was a part of the word before it, is now a word of its
    own. Whatever the pattern, the words join back to the text:

    >>> split_words("one, two", pattern="[a-z]+")
    ['one', ', ', 'two']

    Raises ValueError for a pattern that can't be turned into one of Python's.
    """
    return list(filter(None, compile_pattern(pattern, text).split(text)))


# %% Training, by hand
# Take the text "low low lower lowest". How often does each pair of letters stand side by
# side? Merge the most frequent pair, look at what is left, and count again.

def best_pair(words: list[list[int]]) -> tuple[Optional[Pair], int]:
    """Find the pair that occurs most often in all the words, and how often that is.

    On a tie, the pair with the lower ids wins, here "l" and "o", 108 and 111:

    >>> best_pair([list(b"low"), list(b" low")])
    ((108, 111), 2)
    """
    counts = Counter()
    for word in words:
        counts.update(count_pairs(word))
    pair = min(counts, key=lambda pair: (-counts[pair], pair), default=None)
    return pair, counts[pair]


def trace_merges(text: str, count: int) -> str:
    """Show the first merges of a text, one line for each.

    >>> print(trace_merges("low low lower lowest", 5))
    id      merge  count  the text after it
    256     l + o      4  lo|w|·|lo|w|·|lo|w|e|r|·|lo|w|e|s|t
    257    lo + w      4  low|·|low|·|low|e|r|·|low|e|s|t
    258   · + low      3  low|·low|·low|e|r|·low|e|s|t
    259  ·low + e      2  low|·low|·lowe|r|·lowe|s|t
    260     s + t      1  low|·low|·lowe|r|·lowe|st

    "low" became one token before " low" did, because it occurs once without its space. In
    the last line every pair occurs once, so the tie decides: s is 115, and " lowe" is 259.
    """
    words = [list(text_to_bytes(word)) for word in split_words(text)]
    merges, rows = {}, [["id", "merge", "count", "the text after it"]]
    for new_id in range(256, 256 + count):
        pair, times = best_pair(words)
        if pair is None:
            break
        merges[pair] = new_id
        words = [merge_pair(word, pair, new_id) for word in words]
        tokenizer = Tokenizer(merges)       # spells tokens; it comes below
        rows.append([new_id, tokenizer.show(pair, False).replace("|", " + "),
                     times, tokenizer.show(chain(*words), False)])
    return table(rows)


# %% Training, simply

def train_merges_simply(text: str, vocab_size: int) -> dict[Pair, int]:
    """Train BPE: find the most frequent pair, merge it, repeat. That is all.

    It is the loop of `trace_merges` without the drawing. What it returns is what a
    tokenizer has learned: the merges, in the order in which they were learned.

    >>> train_merges_simply("low low lower lowest", 256 + 3)
    {(108, 111): 256, (256, 119): 257, (32, 257): 258}

    `vocab_size` is the size of the vocabulary, with the 256 bytes. Training ends sooner
    if there is no pair left. Here every word has become one token:

    >>> len(train_merges_simply("low low lower lowest", 1000))
    7
    """
    words = [list(text_to_bytes(word)) for word in split_words(text)]
    merges = {}
    for new_id in range(256, vocab_size):
        pair, count = best_pair(words)
        if pair is None:
            break
        merges[pair] = new_id
        words = [merge_pair(word, pair, new_id) for word in words]
    return merges


# %% Encoding, simply
# Now a text comes that nobody has seen before. Which tokens is it made of?

def first_pair(ids: list[int], merges: dict[Pair, int]) -> Optional[Pair]:
    """Of the pairs that can be merged, find the one that was learned first.

    >>> merges = train_merges_simply("low low lower lowest", 256 + 3)
    >>> first_pair(list(b"low"), merges)
    (108, 111)
    """
    pairs = [pair for pair in zip(ids, ids[1:]) if pair in merges]
    return min(pairs, key=merges.get, default=None)


def encode_simply(text: str, merges: dict[Pair, int]) -> list[int]:
    """Turn a text into ids: do to each word what training did, in the same order.

    >>> merges = train_merges_simply("low low lower lowest", 256 + 3)
    >>> ids = encode_simply("slow, slower", merges)
    >>> print(Tokenizer(merges).show(ids), ids)
    s|low|,|·|s|low|e|r [115, 257, 44, 32, 115, 257, 101, 114]

    At first a character takes as many tokens as it has bytes. That changes when training
    meets it often enough:

    >>> merges = train_merges_simply("é\\n车\\n🌲\\n" * 3, 300)
    >>> rows = [["", "bytes", "tokens before", "after training"]]
    >>> for text in ("é", "车", "🌲"):
    ...     before, after = encode_simply(text, {}), encode_simply(text, merges)
    ...     rows.append([text, len(text_to_bytes(text)), len(before), len(after)])
    >>> print(table(rows))
        bytes  tokens before  after training
    é       2              2  1
    车      3              3  1
    🌲      4              4  1

    Lesson 1 took the longest piece that fits, then the next. Why not here? The tokenizer of
    this course knows the tokens " her", "self" and " hers". The longest piece leads astray:

    >>> from lesson_1_tokens import subword_tokens
    >>> merges = course_tokenizer().merges
    >>> pieces = Tokenizer(merges).tokens(range(256 + len(merges)))
    >>> print(show_tokens(subword_tokens(" herself", pieces), color=False))
    ·hers|e|lf
    >>> print(Tokenizer(merges).show(encode_simply(" herself", merges)))
    ·her|self

    The model minds. In all of the text that it learned from, this word was " her" and
    "self". The other cut is three ids that it has never met in a row. So whoever cuts a
    text has to cut it as the training text was cut: by the merges, in their order.

    And no word is unknown. In lesson 1 "runned" became <UNK>. Now a model sees "run" in it:

    >>> print(Tokenizer(merges).show(encode_simply(" runned", merges)))
    ·run|n|ed
    """
    ids = []
    for word in split_words(text):
        word_ids = list(text_to_bytes(word))
        while pair := first_pair(word_ids, merges):
            word_ids = merge_pair(word_ids, pair, merges[pair])
        ids += word_ids
    return ids


# %% Decoding

def decode_simply(ids: list[int], merges: dict[Pair, int]) -> str:
    """Turn ids back into text: join the bytes of the tokens, and read them as UTF-8.

    Any text comes back as it was. But a model may write any ids, and a token may end in the
    middle of a character. Bytes that are not valid UTF-8 are shown as �:

    >>> ids = encode_simply("a 车", {})
    >>> ids
    [97, 32, 232, 189, 166]
    >>> decode_simply(ids, {}), decode_simply(ids[:-1], {})
    ('a 车', 'a �')
    """
    tokens = token_bytes(merges)
    return b"".join(tokens[id] for id in ids).decode("utf-8", errors="replace")


# %% A tokenizer with special tokens

class Tokenizer:
    """Text to ids and back: the merges, and what else a real tokenizer has.

    `vocabulary` has the id of each token, which is written as bytes. Special tokens are
    added by hand. They stand for what is not text, such as the end of a document.

    >>> tokenizer = Tokenizer.train("the then them the", 259, ["<|endoftext|>"])
    >>> tokenizer.vocabulary[b"the"], tokenizer.vocabulary[b"<|endoftext|>"]
    (257, 258)
    """

    def __init__(self, merges: dict[Pair, int], special_tokens: Optional[dict[str, int]] = None,
                 vocabulary: Optional[dict[bytes, int]] = None, rules: Rules = Rules()):
        self.merges, self.rules = merges, rules
        self.special_tokens = special_tokens or {}
        self.first_ids = list(rules.first_ids)      # they belong before a text
        if vocabulary is None:
            tokens = token_bytes(merges)
            vocabulary = dict(zip(tokens.values(), tokens))
        self._learned = vocabulary
        names = map(text_to_bytes, self.special_tokens)
        special = dict(zip(names, self.special_tokens.values()))
        self.vocabulary = {**self._learned, **special}
        self._bytes_of = dict(zip(self._learned.values(), self._learned))
        self._bytes_of.update(zip(special.values(), special))
        self._byte_ids = [vocabulary[bytes([byte])] for byte in range(256)]
        self._ranks = dict(zip(merges, range(len(merges))))
        self._word_ids = lru_cache(maxsize=200_000)(self._encode_word)
        check_names(self.special_tokens, self._learned)

    def __len__(self) -> int:
        return len(self._bytes_of)

    @classmethod
    def train(cls, text: str, vocab_size: int, special_tokens: Iterable[str] = ()) -> "Tokenizer":
        """Learn at most `vocab_size` tokens from a text, with the bytes and the special tokens.

        Raises ValueError if vocab_size leaves no room for the bytes.
        """
        if isinstance(special_tokens, str) or "" in special_tokens:
            raise ValueError("special_tokens is a list of strings, none empty")
        names = list(dict.fromkeys(special_tokens))
        steps = learn_merges(text, vocab_size, names)
        merges = {pair: new_id for pair, new_id, _, _ in steps}
        ids = range(256 + len(merges), 256 + len(merges) + len(names))
        return cls(merges, dict(zip(names, ids)))

    def encode(self, text: str, allowed_special: Union[str, Iterable[str]] = ()) -> list[int]:
        """Turn a text into ids: those of `encode_simply`, but much sooner.

        A special token steers the model. If users could write <|endoftext|> in a message,
        they could end the conversation, or forge what the other side says. So in a text it
        is plain text, thirteen bytes, unless you allow it: by a set of tokens, or by "all".

        >>> tokenizer = Tokenizer.train("the then them the", 259, [END_OF_TEXT])
        >>> len(tokenizer.encode("<|endoftext|>"))
        13
        >>> tokenizer.encode("the hat<|endoftext|>", allowed_special="all")
        [257, 32, 104, 97, 116, 258]

        Raises ValueError for a text that can't be written as UTF-8.
        """
        text_to_bytes(text)
        ids = []
        parts = cut_text(text, self.special_tokens, self.rules, allowed_special)
        for part in parts:
            if isinstance(part, int):       # the id of a special token
                ids.append(part)
            else:       # a list of words
                ids += chain.from_iterable(map(self._word_ids, part))
        return ids

    def _encode_word(self, word: str) -> tuple[int, ...]:
        return tuple(merge_all(self._start(word), self.merges, self._ranks))

    def _start(self, word: str) -> list[int]:
        """The ids of a word before any merge: those of its bytes."""
        data = text_to_bytes(word)
        if self.rules.ignore_merges and data in self._learned:
            return [self._learned[data]]
        return [self._byte_ids[byte] for byte in data]

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Turn ids back into bytes.

        Raises ValueError for what is not an id of this tokenizer.

        >>> Tokenizer({}).decode_bytes([999])
        Traceback (most recent call last):
        ValueError: 999 is no id of this tokenizer of 256 tokens
        """
        return b"".join(map(self._bytes_of.__getitem__, self._known(ids)))

    def decode(self, ids: Iterable[int]) -> str:
        """Turn ids back into text; bytes that are not valid UTF-8 become �."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def tokens(self, ids: Iterable[int]) -> list[str]:
        r"""Spell the token of each id; bytes that are not a whole character look like \xe8."""
        tokens = map(self._bytes_of.__getitem__, self._known(ids))
        return [token.decode("utf-8", "backslashreplace") for token in tokens]

    def show(self, ids: Iterable[int], color: Optional[bool] = None) -> str:
        """Show tokens with the borders between them.

        >>> print(Tokenizer({(104, 101): 256}).show([116, 256, 32, 232]))
        t|he|·|\\xe8
        """
        return show_tokens(self.tokens(ids), color)

    def _known(self, ids: Iterable[int]) -> list[int]:
        if isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable):
            raise ValueError(f"ids are a list of numbers, not {ids!r}; encode() makes them from a text")
        ids = list(ids)
        for id in ids:
            if not isinstance(id, int) or id not in self._bytes_of:
                raise ValueError(f"{id!r} is no id of this tokenizer of {len(self)} tokens")
        return ids

    def explain(self, word: str) -> str:
        """Show how a word is merged, step by step, from its bytes to its tokens.

        In lesson 1 the slide's four pieces could not spell "running". Here is what 600
        tokens make of it:

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
        ids = self._start(word)
        rows = [[self.show(ids, False), ""]]
        while pair := first_pair(ids, self._ranks):
            place = [*zip(ids, ids[1:])].index(pair)
            ids[place:place + 2] = [self.merges[pair]]
            parts = self.show(pair, False).replace("|", " + ")
            rows.append([self.show(ids, False), f"{self.merges[pair]} = {parts}"])
        return table(rows)

    def save(self, path: Union[str, Path]) -> None:
        """Write the tokenizer as a tokenizer.json, which Hugging Face `tokenizers` opens."""
        parts = self.merges, self.special_tokens, self._learned, self.rules
        write_tokenizer(path, *parts)

    @classmethod
    def load(cls, path: Union[str, Path]) -> "Tokenizer":
        """Open a tokenizer.json: one that was saved here, or that of a real LLM.

        It must be byte-level BPE, like that of GPT-2, Llama 3, Qwen and many more. `encode`
        gives the ids of the text itself; `first_ids` are those that belong before it.

        Raises ValueError, with the part that is to blame, for a file that is damaged or
        asks for something that would give other ids here.
        """
        return cls(*read_tokenizer(path))


# %% The same, fast: training

def train_merges(text: str, vocab_size: int) -> dict[Pair, int]:
    """Train BPE on a text: the same merges as `train_merges_simply`, much sooner.

    >>> text = read_text(CORPUS)[:5000]
    >>> train_merges(text, 300) == train_merges_simply(text, 300)
    True

    Raises ValueError if vocab_size is below 256, for the bytes are always there.
    """
    return {pair: new_id for pair, new_id, _, _ in learn_merges(text, vocab_size)}


def learn_merges(text: str, vocab_size: int,
                 special_tokens: Iterable[str] = ()) -> Iterator[tuple[Pair, int, int, int]]:
    """Yield each merge as it is learned: pair, new id, count, and the tokens that the text then has.

    The simple trainer reads the whole text again for every merge. Three ideas save that. A
    word that comes a thousand times is kept once, with its count. After a merge, only the
    words that hold the pair are counted again. And a heap, a list that always has its
    smallest entry in front, hands out the most frequent pair: counts are kept negative.
    """
    if vocab_size < 256 + len(special_tokens):
        raise ValueError("the vocabulary is too small: it has to hold the 256 bytes and the special tokens")
    parts = cut_out(text, frozenset(special_tokens))[::2]       # nothing is learned across a special token
    word_counts = Counter(chain.from_iterable(map(split_words, parts)))
    # A word is a string with one character per token: a pair is a string of two, and to merge is str.replace.
    words = [text_to_bytes(word).decode("latin-1") for word in word_counts]
    counts = list(word_counts.values())
    pair_counts, holders = defaultdict(int), defaultdict(set)
    for place, word in enumerate(words):
        for pair in map(add, word, word[1:]):
            pair_counts[pair] += counts[place]
            holders[pair].add(place)
    heap = [(-count, pair) for pair, count in pair_counts.items()]
    heapq.heapify(heap)
    tokens = sum(len(word) * count for word, count in zip(words, counts))
    end = min(vocab_size - len(special_tokens), 256 + sum(map(len, words)))     # a merge makes a word shorter
    for new_id in progress(range(256, end), "learning merges"):
        while heap and -heap[0][0] != pair_counts[heap[0][1]]:
            heapq.heappop(heap)     # its count has changed since it was put there
        if not heap:
            return
        count, pair = heapq.heappop(heap)
        changes, saved = _replace_pair(pair, chr(new_id), words, counts, holders)
        for changed, change in changes.items():
            pair_counts[changed] += change
            if change and pair_counts[changed]:
                heapq.heappush(heap, (-pair_counts[changed], changed))
        tokens -= saved
        yield (ord(pair[0]), ord(pair[1])), new_id, -count, tokens


def _replace_pair(pair: str, new: str, words: list[str], counts: list[int], holders: dict):
    """Merge a pair in the words that hold it: how does each pair's count change, and what does it save?"""
    changes, saved = defaultdict(int), 0
    for place in holders.pop(pair):
        old_word, count = words[place], counts[place]
        new_word = words[place] = old_word.replace(pair, new)
        saved += count * (len(old_word) - len(new_word))
        for gone in map(add, old_word, old_word[1:]):
            changes[gone] -= count
        for made in map(add, new_word, new_word[1:]):
            changes[made] += count
            if new in made:
                holders[made].add(place)
    return changes, saved


# %% The same, fast: encoding

def merge_all(ids: list[int], merges: dict[Pair, int], ranks: dict[Pair, int]) -> list[int]:
    """Do all the merges of a word in n log n steps; `ranks` has the place of each merge.

    The simple encoder looks at every pair again after each merge. Here a heap holds the rank
    and the place of each pair that can be merged, and the tokens are a linked list, since a
    merge makes new pairs only with the tokens before and after. An entry of the heap whose
    pair is gone is passed over. And `Tokenizer` looks up a word that it met before.

    >>> text, tokenizer = read_text(CORPUS), course_tokenizer()
    >>> tokenizer.encode(text) == encode_simply(text, tokenizer.merges)
    True
    """
    end, after, before = len(ids), list(range(1, len(ids) + 1)), list(range(-1, len(ids) - 1))
    heap = [ranks[pair] * end + place for place, pair in enumerate(zip(ids, ids[1:])) if pair in ranks]
    heapq.heapify(heap)
    while heap:
        rank, left = divmod(heapq.heappop(heap), end)
        right = after[left]
        if right == end or ranks.get((ids[left], ids[right])) != rank:
            continue
        ids[left], ids[right] = merges[ids[left], ids[right]], None
        after[left] = following = after[right]
        if following < end:
            before[following] = left
            if (ids[left], ids[following]) in ranks:
                heapq.heappush(heap, ranks[ids[left], ids[following]] * end + left)
        if before[left] >= 0 and (ids[before[left]], ids[left]) in ranks:
            heapq.heappush(heap, ranks[ids[before[left]], ids[left]] * end + before[left])
    return [id for id in ids if id is not None]


# %% Watch it learn

def cost_bars(costs: list[tuple[str, str, int]]) -> str:
    """Compare what texts cost: a name, the text, and how many tokens it takes.

    Bytes per token is the measure of a tokenizer. The more bytes a token stands for, the
    fewer steps a model takes for the same text, and the more text it can look back on.

    >>> print(cost_bars([("letters", "The cat.", 8), ("words", "The cat.", 3)]))
             tokens  bytes per token
    letters       8              1.0  ████████████████████████
    words         3              2.7  █████████
    """
    rows = [["", "tokens", "bytes per token", ""]]
    most = max(cost for _, _, cost in costs)
    for name, text, cost in costs:
        average = len(text_to_bytes(text)) / max(1, cost)
        rows.append([name, cost, f"{average:.1f}", bar(cost / max(1, most))])
    return table(rows)


def watch_training(text: str, vocab_size: int) -> Tokenizer:
    """Train a tokenizer, and show its merges, its longest tokens, and what they save.

    >>> tokenizer = watch_training(read_text(CORPUS), 1600)
    id         merge  count
    256        h + e  2537
    257        · + t  2276
    258        · + a  1557
    259      ·t + he  1485
    260        · + s  1085
    261        · + i  898
    1595   ·cl + imb  2
    1596    ·fo + ot  2
    1597    ·tr + ue  2
    1598  ·tr + ucks  2
    <BLANKLINE>
    The longest tokens: ·grandfather ·grandmother ·Grandmother ·everything ·understand
    <BLANKLINE>
                 tokens  bytes per token
    256 bytes     64745              1.0  ████████████████████████
    512 tokens    25942              2.5  █████████▋
    1000 tokens   19074              3.4  ███████▏
    1600 tokens   16910              3.8  ██████▎

    The first hundreds of merges save most of the tokens. The last ones are made of pairs that
    occur twice in all of the text, and a model can't learn much about a token from that.
    """
    steps = list(learn_merges(text, vocab_size, [END_OF_TEXT]))
    merges = {pair: new_id for pair, new_id, _, _ in steps}
    tokenizer = Tokenizer(merges, {END_OF_TEXT: 256 + len(merges)})
    _report(text, tokenizer, steps)
    if len(tokenizer) < vocab_size:
        print(f"\nThese are {len(tokenizer)}: the text has no more pairs.")
    return tokenizer


def _report(text: str, tokenizer: Tokenizer, steps: list[tuple[Pair, int, int, int]]) -> None:
    rows = [[id, tokenizer.show(pair, False).replace("|", " + "), count] for pair, id, count, _ in steps]
    print(table([["id", "merge", "count"], *(rows if len(rows) < 12 else rows[:6] + rows[-4:])]), end="\n\n")
    longest = sorted(tokenizer.merges.values(), key=lambda id: -len(tokenizer.decode_bytes([id])))[:5]
    print("The longest tokens:", *(tokenizer.show([id], False) for id in longest), end="\n\n")
    sizes = {512, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 128_000, len(tokenizer)}
    costs = [(f"{id + 2} tokens", text, left) for _, id, _, left in steps if id + 2 in sizes]
    print(cost_bars([("256 bytes", text, len(text_to_bytes(text))), *costs]))


# %% What a model sees

@lru_cache(maxsize=1)
def course_tokenizer() -> Tokenizer:
    r"""The tokenizer of this course, trained on the stories of corpus.txt.

    >>> tokenizer = course_tokenizer()
    >>> print(tokenizer.show(tokenizer.encode("The sun is shining.")))
    The|·sun|·is|·shining|.

    Now for the questions on the first page. How many r's are in "strawberry"? You look at
    the letters. A model gets this:

    >>> ids = tokenizer.encode(" strawberry")
    >>> print(tokenizer.show(ids), ids)
    ·stra|w|ber|ry [1492, 119, 844, 815]

    Nothing in the number 844 tells of an r. A model can only have learned by heart how each
    of its tokens is spelled. And to spell backwards it is no help to turn the tokens round.
    The right answer has other tokens altogether:

    >>> tokenizer.decode(reversed(ids))
    'ryberw stra'
    >>> print(tokenizer.show(tokenizer.encode("yrrebwarts")))
    y|r|re|b|w|art|s

    Why do some languages cost more? A pair must be frequent to be merged, and this tokenizer
    has met hardly anything but English. The big ones have met more English than Hindi, too.

    >>> sentences = ("The sky is blue.", "Der Himmel ist blau.",
    ...              "天空是蓝色的。", "आसमान नीला है।")
    >>> costs = [(language, text, len(tokenizer.encode(text))) for language, text
    ...          in zip(("English", "German", "Chinese", "Hindi"), sentences)]
    >>> print(cost_bars(costs))
             tokens  bytes per token
    English       5              3.2  ███▏
    German       11              1.8  ███████
    Chinese      21              1.0  █████████████▎
    Hindi        38              1.0  ████████████████████████

    There is a Chinese sentence in the stories, but only once. So none of its pairs is
    frequent, and its ten characters stay thirty bytes:

    >>> len(tokenizer.encode("我们正在学习人工智能"))
    30

    Why 1,600 tokens? That is a choice: the common words are whole, so you can read what a
    model does. Lesson 3 learns as well with 600. And 3,000 are not to be had, because every
    word is one token before that:

    >>> seen, held_out = corpus_stories()
    >>> len(Tokenizer.train("\n\n".join(seen), 3000, [END_OF_TEXT]))
    2254

    Now any text is a row of ids. But what does a model do with a number such as 844? It looks
    up a vector for it: that is lesson 3.
    """
    seen, _ = corpus_stories()      # what is held out shapes no tokens
    text = "\n\n".join(seen)
    return Tokenizer.train(text, COURSE_VOCAB_SIZE, [END_OF_TEXT])


# %% tokenizer.json: everybody's tokenizers
# In tokenizer.json a tokenizer keeps its vocabulary, its merges, and a few rules such as the
# pattern for words. Open the file of a real LLM, and our program is its tokenizer. (The file
# is read in formats.py, which refuses what would change the ids in silence.)

def letters_of(token: bytes) -> str:
    r"""Write a token as a tokenizer.json does: with one letter for each byte.

    JSON is text, and not all bytes are text. So GPT-2 gave every byte a letter that can be
    printed. 188 bytes have a letter of their own. The other 68, such as the space and the
    newline, get the characters from number 256 on. That is why a space is written Ġ:

    >>> letters_of(b" the\n"), letters_of(text_to_bytes(" 车"))
    ('ĠtheĊ', 'Ġè½¦')
    >>> letters_to_bytes("Ġè½¦").decode("utf-8")
    ' 车'

    This is what one sees in such a file:

    >>> import json, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = folder + "/tokenizer.json"
    ...     Tokenizer.train("the cat and the hat", 260).save(path)
    ...     opened, file = Tokenizer.load(path), json.loads(read_text(path))
    >>> list(file["model"]["vocab"].items())[256:]
    [('at', 256), ('he', 257), ('the', 258), ('Ġa', 259)]
    >>> file["model"]["merges"]
    ['a t', 'h e', 't he', 'Ġ a']
    >>> opened.decode(opened.encode("the bat"))
    'the bat'

    Qwen2.5's has 151,665 tokens. Get the file from Hugging Face, and compare:

        python3 lesson_2_coding_tokenizer.py "The cat" --tokenizer tokenizer.json
    """
    return "".join(byte_letters()[byte] for byte in token)


# %% Your turn

def exercise_1(answer: int) -> str:
    """A warm-up. How many bytes does UTF-8 need for "naïve 🌲"?

    Write `answer_1 = ` and the number into a file beside the lesson, and check it:

        python3 lesson_2_coding_tokenizer.py --check answers_2.py

    >>> exercise_1(7)
    'It has 7 characters, and two of them need more than one byte.'
    """
    if not isinstance(answer, int):
        return f"A number is wanted, without quotation marks, and not {answer!r}."
    if answer == len(text_to_bytes("naïve 🌲")):
        return "Yes: ï takes two bytes, 🌲 takes four, and the others take one each."
    return "It has 7 characters, and two of them need more than one byte."


def exercise_2(answer: list[int]) -> str:
    """Predict: what does merge_pair([1, 1, 1, 2, 1, 1], (1, 1), 9) give?

    >>> exercise_2([1, 9, 2, 9])
    'From left to right: the first two that fit are merged first.'
    """
    if answer == merge_pair([1, 1, 1, 2, 1, 1], (1, 1), 9):
        return "Yes: of three ones in a row the first two are merged, and the third is left over."
    return ("From left to right: the first two that fit are merged first." if isinstance(answer, list) else
            f"A list of numbers is wanted, such as [1, 2], and not {answer!r}.")


def exercise_3(answer: list[str]) -> str:
    """Predict: which three tokens does training learn first from "cat hat that"?

    Count on paper, in the words that `split_words` cuts. A space is number 32, below every
    letter. Write a list of three strings, with a space where there is one.

    >>> exercise_3(["at", "ha", "th"])
    'Right so far: 1. Now count again, with each merged pair as one token.'
    """
    merges = train_merges_simply("cat hat that", 256 + 3)
    right = Tokenizer(merges).tokens(merges.values())
    if not isinstance(answer, list) or len(answer) != 3:
        return f"Three strings are wanted, such as ['ab', ' a', 'b'], and not {answer!r}."
    if answer == right:
        return "Yes: the third was a tie of four pairs, and of these the space and t have the lowest ids."
    agree = [mine == theirs for mine, theirs in zip(answer, right)].index(False)
    return (f"Right so far: {agree}. Now count again, with each merged pair as one token." if agree else
            "How often does each pair of letters occur in all three words together?")


def exercise_4(answer: Callable[[Tokenizer, str], float]) -> str:
    """Write a function: how many bytes of a text does a token stand for, on average?

    `answer_4(tokenizer, text)` returns it, and 0 for an empty text.

    >>> exercise_4(lambda tokenizer, text: len(text))
    "For 'The cat is sleeping.' it gave 20; 4.0 is right."
    """
    tokenizer, averages = course_tokenizer(), []
    for text in ("The cat is sleeping.", "我们正在学习人工智能", "for id in ids:\n    print(id)", "'stop it", ""):
        averages.append(len(text_to_bytes(text)) / max(1, len(tokenizer.encode(text))))
        given = answer(tokenizer, text)
        if not abs(given - averages[-1]) < 1e-9:
            return f"For {text!r} it gave {given}; {averages[-1]} is right."
    return "Yes: {:.1f} for the English text, {:.1f} for the Chinese, {:.1f} for a program.".format(*averages)


def fewest_tokens(data: bytes, tokens: Iterable[bytes]) -> int:
    """Count the fewest tokens that some bytes can be cut into; single bytes are always allowed.

    >>> fewest_tokens(b"herself", [b"her", b"hers", b"self"])
    2
    """
    known, best = {*tokens, *(bytes([byte]) for byte in range(256))}, [0]
    longest = max(map(len, known))
    for end in range(1, len(data) + 1):     # one token more than the best way to its start
        starts = range(max(0, end - longest), end)
        best.append(1 + min(best[start] for start in starts if data[start:end] in known))
    return best[-1]


def exercise_5(answer: Callable[[str, int], list[bytes]]) -> str:
    """For an evening: write a trainer that beats byte-pair encoding.

    `answer_5(text, count)` learns at most `count` tokens from a text, and returns a list of
    bytes; the 256 single bytes come free. It is asked for 256 tokens from the stories. Then
    the stories that are held out are cut into as few of yours as possible, and into as few
    of BPE's. If you learn the commonest words, this is where you stand:

    >>> def commonest_words(text, count):
    ...     counts = Counter(split_words(text)).most_common(count)
    ...     return [text_to_bytes(word) for word, _ in counts]
    >>> exercise_5(commonest_words)
    "Not yet: 3096 tokens, 2.16 bytes each; with BPE's it is 2698 tokens."

    To start with: BPE learns "he" to build "the" from it, and keeps it. Which of its tokens
    are hardly ever used? `token_bytes(train_merges(text, 512))` has them all.
    """
    seen, held_out = map("\n\n".join, corpus_stories())
    given = answer(seen, 256)
    if not isinstance(given, list) or not all(isinstance(token, bytes) for token in given):
        return "It should return a list of bytes, such as [b' the', b'ing']."
    if len(given) > 256:
        return f"It returns {len(given)} tokens, and 256 are allowed."
    bpe = list(token_bytes(train_merges(seen, 512)).values())[256:]
    data = text_to_bytes(held_out)
    yours, theirs = (fewest_tokens(data, tokens) for tokens in (given, bpe))
    score = f"{yours} tokens, {len(data) / yours:.2f} bytes each; with BPE's it is {theirs} tokens."
    return f"Yes: {score}" if yours < theirs else f"Not yet: {score}"


# %% On the command line

HELP = """Lesson 2: our own tokenizer. Without a text or an option it plays the lesson.
  text              shown as tokens and ids; - is standard input
  --tokenizer FILE  compare with this tokenizer.json, such as Qwen2.5's
  --train FILE      learn from this text; --vocab-size N is the size (1600)
  --save FILE       save the tokenizer as a tokenizer.json
for example: python3 lesson_2_coding_tokenizer.py "The cat is sleeping."
or           python3 lesson_2_coding_tokenizer.py --train corpus.txt --save my.json
"""


def show(text: Optional[str] = None, tokenizer: Optional[str] = None, train: Optional[str] = None,
         vocab_size: Optional[int] = None, save: Optional[str] = None) -> None:
    """Train or open a tokenizer, save it, and show a text with it, as far as each is asked for."""
    if vocab_size is not None and train is None:
        raise ValueError("--vocab-size goes with --train")
    if tokenizer is not None and text is None and (train is not None or save is None):
        raise ValueError("a text is missing, to see as tokens")
    if save is not None and not Path(save).absolute().parent.is_dir():
        raise ValueError(f"there is no folder for {save}")
    known = {}
    if train is not None:
        size = COURSE_VOCAB_SIZE if vocab_size is None else vocab_size
        known["your own"] = watch_training(read_text(train), size)
    if tokenizer is not None:
        known[Path(tokenizer).name] = Tokenizer.load(tokenizer)
    if train is None:
        known["this course"] = course_tokenizer()
    if save is not None:
        next(iter(known.values())).save(save)
        print(f"saved {save}")
    if text is not None:
        _show_text(text, known)


def _show_text(text: str, tokenizers: dict[str, Tokenizer]) -> None:
    """For each tokenizer, the tokens over their ids and how broken words were merged; then what it costs."""
    costs = {name: cut(text) for name, cut in CUTTERS.items()}
    for name, tokenizer in tokenizers.items():
        ids = costs[name] = tokenizer.encode(text)
        print(f"── {name}, {len(tokenizer)} tokens\n\n{show_ids(tokenizer.tokens(ids), ids)}\n")
        parts = cut_text(text, tokenizer.special_tokens, tokenizer.rules, ())
        for word in dict.fromkeys(chain.from_iterable(part for part in parts if isinstance(part, list))):
            if len(tokenizer._word_ids(word)) > 1:
                print(tokenizer.explain(word) if len(word) <= 40 else f"{word[:20]}… is too long to explain")
                print()
    print(cost_bars([(name, text, len(tokens)) for name, tokens in costs.items()]))


if __name__ == "__main__":
    run_lesson(HELP, show)
