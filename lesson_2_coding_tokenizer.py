"""Lesson 2: coding our own tokenizer. And then opening everybody's.

A model never sees letters. It sees tokens, and which tokens there are was decided
before it read its first word. That is why a chatbot that writes poems can fail to spell
a word backwards, and why the same sentence costs more in Hindi than in English. Here
you write the program that decides it: byte-pair encoding (BPE).

Text is stored as bytes, numbers from 0 to 255, and these are the first 256 tokens. Find
the two tokens that stand side by side most often, make the pair one new token, and do it
again. After a few hundred rounds the common words are whole, and the rare ones are still
in pieces. Here are three rounds (· is a space):

             t|h|e|·|c|a|t|·|a|n|d|·|t|h|e|·|h|a|t|·|a|n|d|·|t|h|e|·|m|a|t
    a + t    t|h|e|·|c|at|·|a|n|d|·|t|h|e|·|h|at|·|a|n|d|·|t|h|e|·|m|at
    h + e    t|he|·|c|at|·|a|n|d|·|t|he|·|h|at|·|a|n|d|·|t|he|·|m|at
    t + he   the|·|c|at|·|a|n|d|·|the|·|h|at|·|a|n|d|·|the|·|m|at

Several pairs occur three times. Below you see which one comes first, and why no merge
goes from one word into the next. Now any text can be cut into tokens, each with its id:

>>> tokenizer = Tokenizer.train("the cat and the hat and the mat", 256 + 3)
>>> ids = tokenizer.encode("the bat")
>>> print(tokenizer.show(ids), ids)
the|·|b|at [258, 32, 98, 256]

Philip Gage invented this in 1994, to compress files. Sennrich, Haddow and Birch brought
it to machine translation in 2016, with characters, and GPT-2 back to bytes in 2019. What
you write here is the real thing: it opens Qwen2.5's tokenizer and gives the same ids.
"""

import heapq
import os
import sys
from collections import Counter, defaultdict
from functools import lru_cache
from itertools import chain, count
from operator import add
from pathlib import Path
from typing import Iterable, Iterator, Optional, Union

sys.path.append(os.path.dirname(sys.argv[0]))
from stage import bar, progress, read_text, run_lesson, show_ids, show_tokens, table, visible
from formats import (GPT2_PATTERN, Pair, Rules, byte_letters, check_names, compile_pattern, cut_out, cut_text,
                     read_tokenizer, write_tokenizer)
from lesson_1_tokens import CORPUS, CUTTERS, corpus_stories, subword_tokens

END_OF_TEXT = "<|endoftext|>"
COURSE_VOCAB_SIZE = 1200


# %% Bytes first

def text_to_bytes(text: str) -> bytes:
    """Write a text as UTF-8 bytes: numbers from 0 to 255.

    A letter is one byte, with an accent two, a Chinese character three, and an emoji three
    (☀), four (🌲) or, if several are joined to a family, eighteen and more:

    >>> [list(text_to_bytes(character)) for character in "eé车🌲"]
    [[101], [195, 169], [232, 189, 166], [240, 159, 140, 178]]

    Why not start with characters? There are more than a hundred thousand of them, and one
    that the training text lacks would be <UNK>. With a token for each of the 256 bytes you
    can write anything that anybody will ever type. There is no <UNK> any more.

    Bytes only mean something if you know the encoding. One copy of this course's slides
    was read in the encoding of old Macintoshes, and had ËΩ¶ for 车:

    >>> "ËΩ¶".encode("mac_roman").decode("utf-8")
    '车'

    Raises ValueError for a text that can't be written as UTF-8.
    """
    return text.encode("utf-8")


# %% Count and merge
# Byte-pair encoding is two small steps, again and again: count the pairs, and merge one.

def count_pairs(ids: list[int]) -> Counter[Pair]:
    """Count how often each pair of neighbours occurs.

    >>> count_pairs([1, 2, 3, 1, 2])
    Counter({(1, 2): 2, (2, 3): 1, (3, 1): 1})
    """
    return Counter(zip(ids, ids[1:]))       # each id with the next one


def merge_pair(ids: list[int], pair: Pair, new_id: int) -> list[int]:
    """Replace a pair by one new token, wherever it stands, from left to right.

    >>> merge_pair([1, 2, 3, 1, 2], (1, 2), 99)
    [99, 3, 99]
    >>> merge_pair([1, 1, 1], (1, 1), 99)
    [99, 1]
    """
    merged = []
    for id in ids:
        if merged and (merged[-1], id) == pair:
            merged[-1] = new_id
        else:
            merged.append(id)
    return merged


# %% Words first

def split_words(text: str, pattern: str = GPT2_PATTERN) -> list[str]:
    r"""Cut a text into words, each with the space before it; merges stay inside a word.

    Without the cut, this course's stories would make tokens of `in·the·`, `.·The·` and
    `,·and·the·`. A model would have to learn what "the" means again and again, once for
    each of these tokens. And "in the sky" would look nothing like "in a sky".

    A pattern says what a word is. This one is GPT-2's. It reads like this:

        's|'t|'re|'ve|'m|'ll|'d    the end of "dog's", of "don't" and so on
         ?\p{L}+                   letters, with one space before them, if any
         ?\p{N}+                   digits, in the same way
         ?[^\s\p{L}\p{N}]+         other signs, in the same way
        \s+(?!\S)|\s+              spaces, but the last one goes with the next word

    >>> print(show_tokens(split_words("The dog's 2 cars,  车!")))
    The|·dog|'s|·2|·cars|,|·|·车|!

    This `split` keeps what the pattern matches, and what lies between. So nothing is lost.

    Raises ValueError for a pattern that can't be turned into one of Python's.
    """
    return list(filter(None, compile_pattern(pattern, text).split(text)))


# %% Training, simply
# Take the text "low low lower lowest". How often does each pair of letters stand side by
# side? Merge the most frequent pair, look at what is left, and count again.

def train_merges_simply(text: str, vocab_size: int) -> dict[Pair, int]:
    """Train BPE: find the most frequent pair, merge it, repeat. That is all.

    The merges, in their order, are all that a tokenizer learns:

    >>> text = "low low lower lowest"
    >>> train_merges_simply(text, 256 + 3)
    {(108, 111): 256, (256, 119): 257, (32, 257): 258}

    Here are the first five, with the count of each pair and the text after the merge.
    (`Tokenizer` comes below. Here it only draws.)

    >>> print(Tokenizer(train_merges_simply(text, 256 + 5)).explain(text))
    id      merge  count  the text after it
                          l|o|w|·|l|o|w|·|l|o|w|e|r|·|l|o|w|e|s|t
    256     l + o      4  lo|w|·|lo|w|·|lo|w|e|r|·|lo|w|e|s|t
    257    lo + w      4  low|·|low|·|low|e|r|·|low|e|s|t
    258   · + low      3  low|·low|·low|e|r|·low|e|s|t
    259  ·low + e      2  low|·low|·lowe|r|·lowe|s|t
    260     s + t      1  low|·low|·lowe|r|·lowe|st

    On a tie, the pair with the lower ids comes first. At first "lo" and "ow" both occur
    four times, but l is 108 and o is 111. `vocab_size` is the size of the vocabulary, with
    the 256 bytes. Training ends sooner if every word is one token, so that no pair is left.
    """
    words = [list(text_to_bytes(word)) for word in split_words(text)]
    merges = {}
    for new_id in range(256, vocab_size):
        counts = Counter()
        for word in words:
            counts.update(count_pairs(word))
        if not counts:
            break
        # The largest count first, and on a tie the lower ids.
        pair = min(counts, key=lambda pair: (-counts[pair], pair))
        merges[pair] = new_id
        words = [merge_pair(word, pair, new_id) for word in words]
    return merges


# %% Encoding, simply
# Now a text comes that nobody has seen before. Which tokens is it made of?

def encode_simply(text: str, merges: dict[Pair, int]) -> list[int]:
    """Turn a text into ids: do to each word what training did, in the same order.

    >>> merges = train_merges_simply("low low lower lowest", 256 + 3)
    >>> ids = encode_simply("slow, slower", merges)
    >>> print(Tokenizer(merges).show(ids), ids)
    s|low|,|·|s|low|e|r [115, 257, 44, 32, 115, 257, 101, 114]

    A character takes a token for each of its bytes, until training has met it often enough:

    >>> merges = train_merges_simply("é\\n车\\n🌲\\n" * 3, 300)
    >>> for text in ("é", "车", "🌲"):
    ...     print(text, encode_simply(text, {}), "->", encode_simply(text, merges))
    é [195, 169] -> [259]
    车 [232, 189, 166] -> [260]
    🌲 [240, 159, 140, 178] -> [261]

    Lesson 1 took the longest piece that fits, then the next. Why not here? Look at a text
    about a hen. Its first merges make "he", "hen", " t", " hen" and " the", in this order:

    >>> text = "hen then hen the the hen"
    >>> merges = train_merges_simply(text, 256 + 5)
    >>> print(Tokenizer(merges).show(encode_simply(text, merges)))
    hen|·t|hen|·hen|·the|·the|·hen
    >>> pieces = Tokenizer(merges).tokens(merges.values())
    >>> print(show_tokens(subword_tokens(" then", pieces)))
    ·the|n

    Training made "hen" before " the", and so it cut " then" into " t" and "hen". That is
    what a model learns from. It never sees " the" and "n" in a row, and would not know what
    they mean. So a text has to be cut as training cut it: by the merges, in their order.
    """
    ids = []
    for word in split_words(text):
        word_ids = list(text_to_bytes(word))
        # Of the pairs that have a merge, take the one that was learned first.
        while pairs := count_pairs(word_ids).keys() & merges.keys():
            pair = min(pairs, key=merges.get)
            word_ids = merge_pair(word_ids, pair, merges[pair])
        ids += word_ids
    return ids


# %% Decoding

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


def decode_simply(ids: list[int], merges: dict[Pair, int]) -> str:
    """Turn ids back into text: join the bytes of the tokens, and read them as UTF-8.

    Any text comes back as it was. But a model may write any ids, and a token may end in the
    middle of a character. Bytes that are not valid UTF-8 are shown as �:

    >>> decode_simply([97, 32, 232, 189, 166], {})
    'a 车'
    >>> decode_simply([97, 32, 232, 189], {})
    'a �'
    """
    tokens = token_bytes(merges)
    return b"".join(tokens[id] for id in ids).decode("utf-8", errors="replace")


# %% A tokenizer with special tokens

class Tokenizer:
    """Text to ids and back: the merges, and what else a real tokenizer has.

    A class keeps data together with the functions that need it. What these do, you have just
    seen. New are special tokens, for what is not text, such as the end of a document.
    `vocabulary` has the id of every token, written as bytes. A tokenizer from a file brings
    ids of its own (`learned`) and `rules`, such as the pattern for words.
    """

    def __init__(self, merges: dict[Pair, int], special_tokens: Optional[dict[str, int]] = None,
                 learned: Optional[dict[bytes, int]] = None, rules: Rules = Rules()):
        self.merges, self.rules = merges, rules
        self.special_tokens = special_tokens or {}
        if learned is None:
            learned = {token: id for id, token in token_bytes(merges).items()}
        self._learned = learned
        self._bytes_of = {id: token for token, id in learned.items()}
        for name, id in self.special_tokens.items():
            self._bytes_of[id] = text_to_bytes(name)
        self.vocabulary = {token: id for id, token in self._bytes_of.items()}
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._word_ids = lru_cache(maxsize=200_000)(self._encode_word)
        check_names(self.special_tokens, learned)

    def __repr__(self) -> str:
        return f"<Tokenizer: {len(self):,} tokens>"

    def __len__(self) -> int:
        return len(self._bytes_of)

    @classmethod
    def train(cls, text: str, vocab_size: int, special_tokens: Iterable[str] = ()) -> "Tokenizer":
        """Learn a vocabulary of at most `vocab_size` tokens from a text.

        Raises ValueError if the bytes and the special tokens alone are more than that.
        """
        names = list(dict.fromkeys(special_tokens))
        if isinstance(special_tokens, str) or "" in names:
            raise ValueError("special_tokens is a list of strings, none empty")
        merges = train_merges(text, vocab_size, names)
        return cls(merges, dict(zip(names, count(256 + len(merges)))))

    def encode(self, text: str, allowed_special: Union[str, Iterable[str]] = ()) -> list[int]:
        """Turn a text into ids: those of `encode_simply`, but much sooner.

        A special token steers the model. If users could write <|endoftext|> in a message,
        they could end the conversation, or forge what the other side says. So in a text it
        is plain text, thirteen bytes, unless you allow it: by a set of tokens, or by "all".

        >>> tokenizer = Tokenizer.train("the then them the", 259, [END_OF_TEXT])
        >>> tokenizer.encode("the<|endoftext|>", allowed_special="all")
        [257, 258]
        >>> len(tokenizer.encode("the<|endoftext|>"))
        14
        """
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
        return [self._learned[bytes([byte])] for byte in data]

    def decode(self, ids: Iterable[int]) -> str:
        """Turn ids back into text; bytes that are not valid UTF-8 become �."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Turn ids back into bytes. What is not an id of this tokenizer is a ValueError."""
        return b"".join(self._tokens(ids))

    def tokens(self, ids: Iterable[int]) -> list[str]:
        r"""Spell the token of each id; bytes that are not a whole character look like \xe8."""
        return [token.decode("utf-8", "backslashreplace")
                for token in self._tokens(ids)]

    def _tokens(self, ids: Iterable[int]) -> Iterator[bytes]:
        if isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable):
            raise ValueError(f"ids are a list of numbers, not {ids!r}; encode() makes them from a text")
        for id in ids:
            if not isinstance(id, int) or id not in self._bytes_of:
                raise ValueError(f"{id!r} is no id of this tokenizer of {len(self)} tokens")
            yield self._bytes_of[id]

    def show(self, ids: Iterable[int], color: Optional[bool] = None) -> str:
        """Show tokens with the borders between them."""
        return show_tokens(self.tokens(ids), color)

    def _words(self, text: str) -> list[str]:
        parts = cut_text(text, self.special_tokens, self.rules, ())
        return [word for part in parts if isinstance(part, list) for word in part]

    def explain(self, text: str) -> str:
        """Show how a text is merged, step by step, as under "Training, simply"."""
        ids = []
        for word in self._words(text):
            ids += [*self._start(word), None]       # None keeps words apart
        rows = [["id", "merge", "count", "the text after it"],
                ["", "", "", self._spell(ids)]]
        while pairs := count_pairs(ids).keys() & self._ranks.keys():
            pair = min(pairs, key=self._ranks.get)
            times, new_id = count_pairs(ids)[pair], self.merges[pair]
            ids = merge_pair(ids, pair, new_id)
            merge = self._spell(pair, " + ")
            rows.append([new_id, merge, times, self._spell(ids)])
        return table(rows)

    def _spell(self, ids: Iterable[Optional[int]], between: str = "|") -> str:
        return between.join(map(visible, self.tokens(id for id in ids if id is not None)))

    def save(self, path: Union[str, Path]) -> None:
        """Write the tokenizer as a tokenizer.json, which Hugging Face `tokenizers` opens."""
        write_tokenizer(path, self.merges, self.special_tokens,
                        self._learned, self.rules)

    @classmethod
    def load(cls, path: Union[str, Path]) -> "Tokenizer":
        """Open a tokenizer.json: one that was saved here, or that of a real LLM.

        It must be byte-level BPE, like that of GPT-2, Llama 3, Qwen and many more.

        Raises ValueError, with the part to blame, if it is damaged or asks for anything else.
        """
        return cls(*read_tokenizer(path))


# %% The same, fast

def train_merges(text: str, vocab_size: int, special_tokens: Iterable[str] = ()) -> dict[Pair, int]:
    """Train BPE on a text: the same merges as `train_merges_simply`, much sooner.

    The simple trainer reads the whole text again for every merge. Three ideas save that. A
    word that comes a thousand times is kept once, with its count. After a merge, only the
    words that hold the pair are counted again. And a heap, a list that always has its
    smallest entry in front, hands out the most frequent pair, since it holds 0 - count.

    >>> text = read_text(CORPUS)[:5000]
    >>> train_merges(text, 300) == train_merges_simply(text, 300)
    True

    Raises ValueError if the bytes and the special tokens alone are more than vocab_size.
    """
    return dict(zip(learn_merges(text, vocab_size, special_tokens), count(256)))


def learn_merges(text: str, vocab_size: int, special_tokens: Iterable[str] = ()) -> dict[Pair, int]:
    """The pairs to merge, in the order in which they are learned, each with its count at that moment."""
    names = frozenset(special_tokens)
    if vocab_size < 256 + len(names):
        raise ValueError("the vocabulary is too small: it has to hold the 256 bytes and the special tokens")
    words = changed = _count_words(text, names)
    holders, counts, heap, learned = defaultdict(set), defaultdict(int), [], {}
    end = min(vocab_size - len(names), 256 + sum(map(len, words)))      # a merge makes a word shorter
    for new_id in progress(range(256, end), "learning merges"):     # a token is one character here
        for pair, change in _count_pairs(changed, holders).items():
            counts[pair] += change
            if change and counts[pair]:
                heapq.heappush(heap, (-counts[pair], pair))
        while heap and -heap[0][0] != counts[heap[0][1]]:
            heapq.heappop(heap)     # its count has changed since it was put there
        if not heap:
            break
        pair = heap[0][1]
        learned[ord(pair[0]), ord(pair[1])] = counts[pair]
        gone = {word: -words.pop(word) for word in holders.pop(pair) if word in words}
        made = {word.replace(pair, chr(new_id)): -times for word, times in gone.items()}
        words.update(made)
        changed = {**gone, **made}
    return learned


def _count_words(text: str, special_tokens: frozenset[str]) -> dict[str, int]:
    """The distinct words and their counts. Each character of a word is a token: so far, a byte."""
    parts = cut_out(text, special_tokens)[::2]      # nothing is learned across a special token
    word_counts = Counter(chain.from_iterable(map(split_words, parts)))
    return {text_to_bytes(word).decode("latin-1"): times for word, times in word_counts.items()}


def _count_pairs(words: dict[str, int], holders: dict[str, set[str]]) -> dict[str, int]:
    """Count the pairs in words, less than zero times in a word that is gone, and note which words hold them."""
    counts = defaultdict(int)
    for word, times in words.items():
        for pair in map(add, word, word[1:]):
            counts[pair] += times
            if times > 0:
                holders[pair].add(word)
    return counts


def merge_all(ids: list[int], merges: dict[Pair, int], ranks: dict[Pair, int]) -> list[int]:
    """Do all the merges of a word of n bytes in n log n steps; `ranks` has their order.

    The simple encoder looks at every pair again after each merge. But a merge makes new
    pairs only with the token before and the token after. So each place knows its two
    neighbours, and a heap hands out the next pair to merge, by its rank and its place. (A
    word that has come before is not merged again. `Tokenizer` remembers its ids.)

    >>> text, tokenizer = read_text(CORPUS), course_tokenizer()
    >>> tokenizer.encode(text) == encode_simply(text, tokenizer.merges)
    True
    """
    heap = sorted((ranks[pair], left) for left, pair in enumerate(zip(ids, ids[1:])) if pair in ranks)
    after, before = [*range(1, len(ids) + 1), len(ids)], list(range(-1, len(ids)))
    ids = [*ids, None]      # a border: no merge goes beyond it, at either end
    while heap:
        rank, left = heapq.heappop(heap)
        right = after[left]
        if ranks.get((ids[left], ids[right])) != rank:
            continue        # a token of the pair has been merged with another one
        ids[left], ids[right] = merges[ids[left], ids[right]], None
        after[left] = after[right]
        before[after[left]] = left
        for start in (before[left], left):
            pair = ids[start], ids[after[start]]
            if pair in ranks:
                heapq.heappush(heap, (ranks[pair], start))
    return [id for id in ids if id is not None]


# %% Watch it learn

def cost_bars(costs: list[tuple[str, str, int]]) -> str:
    """Compare what texts cost: each has a name, the text, and the number of its tokens.

    Bytes per token is the measure of a tokenizer. The more bytes a token stands for, the
    fewer steps a model takes for the same text, and the more text it can look back on.
    """
    rows = [["", "tokens", "bytes per token", ""]]
    most = max(1, *(cost for _, _, cost in costs))
    for name, text, cost in costs:
        average = len(text_to_bytes(text)) / max(1, cost)
        rows.append([name, cost, f"{average:.1f}", bar(cost / most)])
    return table(rows)


def watch_training(text: str, vocab_size: int) -> Tokenizer:
    """Train a tokenizer, and show its merges, its longest tokens, and what they save.

    >>> tokenizer = watch_training(read_text(CORPUS), 1200)
    id         merge  count
    256        h + e  2537
    257        · + t  2276
    258        · + a  1557
    259      ·t + he  1485
    …              …  …
    1197  ·n + umber  4
    1198     ·m + il  4
    <BLANKLINE>
    The longest: ·grandfather|·grandmother|·everything|·everybody|·something
    <BLANKLINE>
                 tokens  bytes per token
    256 bytes     64745              1.0  ████████████████████████
    512 tokens    25942              2.5  █████████▋
    1024 tokens   18929              3.4  ███████
    1200 tokens   18045              3.6  ██████▊

    The first few hundred merges save the most. The last ones join pairs that come only four
    times in the whole text, and from four examples a model learns little about a token.

    (Lesson 1 came as far with whole words, but of this very text. Of the stories held out,
    1,120 words make 2,150 tokens, and as many merges 1,886.)
    """
    counts = learn_merges(text, vocab_size, [END_OF_TEXT])
    merges = dict(zip(counts, count(256)))
    tokenizer = Tokenizer(merges, {END_OF_TEXT: 256 + len(merges)})
    rows = [[id, tokenizer._spell(pair, " + "), counts[pair]]
            for pair, id in merges.items()]
    rows = [["id", "merge", "count"], *rows[:4], ["…"] * 3, *rows[4:][-2:]]
    print(table(rows), end="\n\n")
    spelled = token_bytes(merges)
    longest = sorted(spelled, key=lambda id: -len(spelled[id]))[:5]
    print("The longest:", tokenizer.show(longest, color=False), end="\n\n")
    costs = [("256 bytes", text, len(text_to_bytes(text)))]
    for power in range(9, (len(tokenizer) - 1).bit_length() + 1):
        size = min(2 ** power, len(tokenizer))
        some = dict(list(merges.items())[:size - 257])      # and END_OF_TEXT
        tokens = Tokenizer(some).encode(text)
        costs.append((f"{size} tokens", text, len(tokens)))
    print(cost_bars(costs))
    if len(tokenizer) < vocab_size:
        print("\nThere are no more pairs: every word is one token.")
    return tokenizer


# %% What a model sees

@lru_cache(maxsize=1)
def course_tokenizer() -> Tokenizer:
    r"""The tokenizer of this course, trained on the stories of corpus.txt.

    In lesson 1 " runned" was <UNK> as a word, and with four pieces chosen by hand only "run"
    was left of it. Here are the pieces that counting finds:

    >>> tokenizer = course_tokenizer()
    >>> print(tokenizer.show(tokenizer.encode(" runned")))
    ·run|n|ed

    Now for the first page of lesson 1: how many r's are in "strawberry"? You look at the
    letters. A model gets five numbers:

    >>> ids = tokenizer.encode(" strawberry")
    >>> print(tokenizer.show(ids), ids)
    ·st|ra|w|ber|ry [320, 891, 119, 844, 815]

    Tokens are numbered as they are learned: a low id is a common one. But 844 does not say
    that there is an r in "ber". A model has to learn by heart how each token is spelled. To
    write the word backwards, reversing the tokens is not enough. It has quite different ones:

    >>> backwards = tokenizer.encode("yrrebwarts")
    >>> print(tokenizer.decode(reversed(ids)), tokenizer.show(backwards))
    ryberwra st y|r|re|b|w|ar|t|s

    Why do some languages cost more? A letter of Hindi is three bytes. And only frequent pairs
    become tokens. The big tokenizers, too, have read more English than Hindi.

    >>> skies = {"English": "The sky is blue.", "German": "Der Himmel ist blau.",
    ...          "Chinese": "天空是蓝色的。", "Hindi": "आसमान नीला है।"}
    >>> print(cost_bars([(language, text, len(tokenizer.encode(text)))
    ...                  for language, text in skies.items()]))
             tokens  bytes per token
    English       5              3.2  ███▏
    German       11              1.8  ███████
    Chinese      21              1.0  █████████████▎
    Hindi        38              1.0  ████████████████████████

    Why 1,200 tokens? So that you see whole words (those that come five times or more) and
    broken ones. What lesson 3 learns is nearly as good with 600 or with 1,600.
    """
    seen, _ = corpus_stories()      # what is held out shapes no tokens
    return Tokenizer.train("\n\n".join(seen), COURSE_VOCAB_SIZE, [END_OF_TEXT])


# %% tokenizer.json: everybody's tokenizers
# A real LLM comes with a file, tokenizer.json. It holds the vocabulary, the merges, and a few
# rules such as the pattern for words. Open it, and our program is the tokenizer of that LLM.
# (formats.py reads the file, and refuses it if it asks for anything that would give other ids.)

def letters_of(token: bytes) -> str:
    r"""Write a token as a tokenizer.json does: with one letter for each byte.

    JSON is text, and not all bytes are text. So GPT-2 gave every byte a letter that can be
    printed. For 188 bytes it is the character with the same number. The other 68, such as
    the space and the newline, get the characters from number 256 on. So a space is Ġ:

    >>> letters_of(b" the\n"), letters_of(text_to_bytes(" 车"))
    ('ĠtheĊ', 'Ġè½¦')

    In the file, "vocab" has an id for every token, and "merges" lists the pairs in the
    order of training, such as "Ġ t". Get huggingface.co/Qwen/Qwen2.5-7B's, and compare:

        python3 lesson_2_coding_tokenizer.py "The cat" --tokenizer tokenizer.json

    Now you can turn any text into ids. But what does a model do with a number such as 844?
    It looks up a vector for it. That is lesson 3: python3 lesson_3_embeddings.py --step
    """
    return "".join(byte_letters()[byte] for byte in token)


# %% Your turn
# Write your answers into answers_2.py, beside the lesson, and have them checked:
#
#     python3 lesson_2_coding_tokenizer.py --check answers_2.py
#
# 1. A warm-up. How many bytes does UTF-8 need for "naïve 🌲"? A number.
#
# 2. Predict: what does merge_pair([1, 1, 1, 2, 1, 1], (1, 1), 9) give?
#
# 3. Predict: which three tokens does training learn first from "cat hat that"? Count on
# paper, in the words that `split_words` cuts. A space is number 32, below every letter.
# A list of three strings, with a space where there is one.
#
# 4. Write `answer_4(tokenizer, text)`: how many bytes of a text does a token stand for,
# on average? For an empty text it is 0.
#
# 5. For an evening: write a trainer that beats byte-pair encoding. `answer_5(text, count)`
# learns `count` tokens from a text, or fewer, and returns them as a list of bytes. The
# 256 single bytes come free. It is asked for 256 tokens from the stories, and lesson 1's
# `subword_tokens` cuts the held-out stories into yours. With the 256 commonest words that
# makes 3,096 tokens, and with BPE 2,713. A hint: BPE learns "he" to build "the", and keeps
# it. Which tokens of `token_bytes(train_merges(text, 512))` are hardly ever used?


# %% On the command line

HELP = """Lesson 2: our own tokenizer. Without a text or an option it plays the lesson.
  text              shown as tokens and ids; - is standard input
  --tokenizer FILE  compare with this tokenizer.json, such as Qwen2.5's
  --train FILE      learn from this text; --vocab-size N is the size (1200)
  --save FILE       save the tokenizer as a tokenizer.json
for example: python3 lesson_2_coding_tokenizer.py "The cat is sleeping."
"""


def show(text: Optional[str] = None, tokenizer: Optional[str] = None, train: Optional[str] = None,
         vocab_size: Optional[int] = None, save: Optional[str] = None) -> None:
    """Train or open a tokenizer, save it, and show a text with it, as far as each is asked for."""
    if tokenizer is not None and text is None and save is None:
        raise ValueError("a text is missing, to see as tokens")
    if save is not None and not (save.endswith(".json") and Path(save).absolute().parent.is_dir()):
        raise ValueError(f"--save takes a name that ends in .json, in a folder that is there, not {save!r}")
    known = {}
    if train is not None:
        size = COURSE_VOCAB_SIZE if vocab_size is None else vocab_size
        known["your own"] = watch_training(read_text(train), size)
    elif vocab_size is not None:
        raise ValueError("--vocab-size goes with --train")
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
    costs = [(name, text, len(cut(text))) for name, cut in CUTTERS.items()]
    for name, tokenizer in tokenizers.items():
        ids = tokenizer.encode(text)
        costs.append((name, text, len(ids)))
        print(f"── {name}, {len(tokenizer)} tokens\n\n{show_ids(tokenizer.tokens(ids), ids)}\n")
        broken = [word for word in tokenizer._words(text) if len(tokenizer.encode(word)) > 1]
        for word in dict.fromkeys(broken):
            too_long = f"{visible(word[:20])}… is too long to explain"
            print(too_long if len(word) > 40 else tokenizer.explain(word), end="\n\n")
    print(cost_bars(costs))


if __name__ == "__main__":
    run_lesson(HELP, show)
