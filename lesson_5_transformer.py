"""Lesson 5: the transformer. Every token looks back, and takes what it needs.

Lesson 4 made a model write, but it does not know what it is writing about:

>>> tokenizer, model = course_model()
>>> for who in ("The fisherman", "The teacher"):
...     text = who + " put on an old coat and went out to the"
...     new = generate(model, tokenizer, text, max_new_tokens=2, temperature=0)
...     print(text + "".join(new))
The fisherman put on an old coat and went out to the sea.
The teacher put on an old coat and went out to the sea.

Lesson 3's model sees only the last two tokens, and here these are the same. More would
not help: it can't choose which of them matter. You want to look back and pick. That is
attention: a dot product, a softmax and a weighted sum. GPT-2, Llama and Mistral are built
around it ("Attention is all you need", Vaswani et al. 2017):

    ids → vectors → [ look back → think ] → [ look back → think ] → … → logits
"""

import math
import os
import random
import sys
from dataclasses import dataclass, field
from functools import partial
from typing import Callable, Optional

sys.path.append(os.path.dirname(sys.argv[0]))
from lesson_1_tokens import corpus_stories
from lesson_3_embeddings import Matrix, Vector, bits_per_byte, course_model, dot, lookup, story_ids
from lesson_4_sampling import generate, softmax
from stage import run_lesson, staircase, visible


# %% Attention
# You want to pick by content: not "the token three back", but "a person". A dict gives
# you the value whose key equals your query. Attention is a soft dict: the better a key
# matches, the more of its value you get.

def attention_weights(query: Vector, keys: Matrix) -> Vector:
    """How much a query looks at each key, as shares of 1: dot products, then softmax.

    Random vectors of 64 numbers have dot products of about 8, the root of 64, and softmax
    would give nearly all to one key, by mere luck. So they are divided by that root.
    """
    return softmax([dot(query, key) / math.sqrt(len(query)) for key in keys])


def attention(query: Vector, keys: Matrix, values: Matrix) -> Vector:
    """Look at all keys, and bring home a mix of their values. That is all.

    Here are the rows of "Tom", "likes", "Anna" and "he", with made-up numbers. A key has
    two: a person? a verb? "he" asks for a person. Tom and Anna match alike, so it brings
    home half of each value, the mean of [10, 1] and [30, 2]:

    >>> keys = [[4.0, 0.0], [0.0, 4.0], [4.0, 0.0], [0.0, 0.0]]
    >>> values = [[10.0, 1.0], [0.0, 0.0], [30.0, 2.0], [0.0, 0.0]]
    >>> [round(number, 1) for number in attention([3.0, 0.0], keys, values)]
    [20.0, 1.5]

    As a table, with a row and a column for each token, a full block for a whole look, and
    a dot for hardly any. A query of zeros gives every token the same share:

    >>> queries = [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [3.0, 0.0]]
    >>> looks = [attention_weights(queries[at], keys[:at + 1]) for at in range(4)]
    >>> print(staircase(["Tom", "likes", "Anna", "he"], looks))
    ██ Tom
    ▒▒▒▒ likes
    ░░░░░░ Anna
    ▒▒. ▒▒. he

    The upper half is missing, for nobody looks ahead: the model is "causal". It has to
    predict the next token. If it could see that one, it would learn only to copy it.
    """
    weights = attention_weights(query, keys)
    return [dot(weights, column) for column in zip(*values)]


# %% Query, key and value
# A token has one vector and needs three: the query asks, the key is found, the value is
# brought home. A model learns a matrix for each. With one vector for all, a token would
# look mostly at itself, but "barks" looks for a dog. And a token may ask two things: "he"
# asks who that is, and what he does. One look would bring home a mean of both. So several
# "heads" look, each with a piece of query, key and value, and a fourth matrix, the output,
# mixes what they find.

def times(matrix: Matrix, vector: Vector) -> Vector:
    """A matrix times a vector. Here a verb, [0, 1], comes to ask for a person, [5, 0]:

    >>> times([[0.0, 5.0], [0.0, 0.0]], [0.0, 1.0])
    [5.0, 0.0]
    """
    if isinstance(matrix, list):
        return [dot(row, vector) for row in matrix]
    return matrix.times(vector)     # lesson 6 has a faster kind of matrix


def add(a: Vector, b: Vector) -> Vector:
    """Add two vectors, number by number."""
    return [x + y for x, y in zip(a, b)]


@dataclass(repr=False)
class Linear:
    """A matrix, and biases that are added to what it gives; many models have none."""
    matrix: Matrix
    biases: Optional[Vector] = None

    def __call__(self, vector: Vector) -> Vector:
        result = times(self.matrix, vector)
        return result if self.biases is None else add(result, self.biases)


# %% Where does a token stand?
# Attention is a sum, and a sum has no order: "dog bites man" and "man bites dog" are the
# same to it. So a token must carry its position. A clock shows how: fast and slow hands
# together tell each second from all others. A hand is a pair of numbers.

def speeds(dimensions: int, base: float = 10000.0) -> Vector:
    """How far each hand turns per position, in radians; with eight numbers 1, .1, .01, .001."""
    if dimensions % 2:
        raise ValueError(f"positions need pairs, and {dimensions} is odd")
    return [base ** (-first / dimensions) for first in range(0, dimensions, 2)]


def sinusoid(position: int, dimensions: int) -> Vector:
    """A position as a vector: the sine and cosine of each hand.

    In 2017 it was added to the token's vector. Without it and with it, a query brings home:

    >>> dog, bites, man = [2.0, 0.0], [0.0, 1.0], [1.0, 2.0]
    >>> for text in ([dog, bites, man], [man, bites, dog]):
    ...     placed = [add(text[at], sinusoid(at, dimensions=2)) for at in range(3)]
    ...     print([round(x, 2) for x in attention([1.0, 1.0], text, text)],
    ...           [round(x, 2) for x in attention([1.0, 1.0], placed, placed)])
    [1.14, 1.29] [1.71, 1.38]
    [1.14, 1.29] [1.37, 2.01]
    """
    angles = [position * speed for speed in speeds(dimensions)]
    return [wave(angle) for angle in angles for wave in (math.sin, math.cos)]


def turn(vector: Vector, angles: Vector) -> Vector:
    """Turn pairs of numbers, such as [2, 1] by a quarter to [-1, 2]; here i goes with i + half."""
    half = len(vector) // 2
    pairs = list(zip(vector[:half], vector[half:], angles))
    return ([x * math.cos(by) - y * math.sin(by) for x, y, by in pairs]
            + [x * math.sin(by) + y * math.cos(by) for x, y, by in pairs])


def rotate(vector: Vector, position: int, base: float = 10000.0) -> Vector:
    """Rotary positions: turn queries and keys, the further the later they stand.

    Two arrows that turn by the same angle keep their dot product. So only the distance
    counts: "three back" is the same on every page (Su et al. 2021).

    >>> rng = random.Random(0)
    >>> query, key = ([rng.gauss(0, 1) for _ in range(8)] for _ in "qk")
    >>> [round(dot(rotate(query, here), rotate(key, there)), 3)
    ...  for here, there in ((5, 2), (105, 102), (5, 1))]
    [-0.978, -0.978, -0.001]
    """
    return turn(vector, [position * x for x in speeds(len(vector), base)])


def no_position(vector: Vector, position: int) -> Vector:
    """Leave a query or key as it is, where positions are added to the embeddings."""
    return vector


def whole_text(position: int) -> int:
    """The first position that a token at this position sees: 0, so all of the text."""
    return 0


def sliding_window(position: int, size: int) -> int:
    """Only the last `size` tokens, for less work; what is further back comes through those."""
    return max(0, position - size + 1)


# %% Staying in range
# A token's vector goes from part to part like a notebook. Each part reads it, and adds a
# note: a "residual connection". So a late part can read what the first one wrote. But the
# numbers grow, and softmax would choose too harshly. A norm brings them back to one size.

def layer_norm(vector: Vector, weights: Vector, biases: Vector, epsilon: float) -> Vector:
    """Shift to a mean of 0, scale to a mean square of 1; then learned weights and biases."""
    mean = sum(vector) / len(vector)
    return add(rms_norm([x - mean for x in vector], weights, epsilon), biases)


def rms_norm(vector: Vector, weights: Vector, epsilon: float) -> Vector:
    """The same without shift and biases, which works as well (Zhang and Sennrich 2019).

    >>> [round(x, 2) for x in rms_norm([300.0, 400.0], [1.0, 1.0], epsilon=1e-5)]
    [0.85, 1.13]
    """
    size = math.sqrt(dot(vector, vector) / len(vector) + epsilon)   # never 0
    return [x / size * weight for x, weight in zip(vector, weights)]


# %% Thinking it over
# Attention only carries numbers from token to token. Then each token works alone on what
# it has: a matrix makes more numbers of it, a bend (an "activation function") changes each,
# and a matrix makes them fewer. Without the bend, two matrices could do no more than one.

relu = partial(max, 0.0)        # the bend of 2017: nothing below 0


def gelu(x: float) -> float:
    """GPT-2's bend, with a round corner (Hendrycks and Gimpel 2016, with tanh)."""
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)
    return x / 2 * (1 + math.tanh(inner))


def silu(x: float) -> float:
    """Llama's and Mistral's bend, nearly the same as gelu, and simpler; also called swish."""
    return x / (1 + math.exp(-x)) if x > -700 else 0.0      # exp has a limit


def feed_forward(vector: Vector, up: Linear, down: Linear, activation: Callable) -> Vector:
    """Up, bend, down. With a bend a token can say "only if this and that":

    >>> both, same = Linear([[1.0, 1.0]], biases=[-1.0]), Linear([[1.0]])
    >>> [feed_forward(x, both, same, relu) for x in ([1, 0], [0, 1], [1, 1])]
    [[0.0], [0.0], [1.0]]
    """
    return down([activation(x) for x in up(vector)])


def gated_feed_forward(vector: Vector, gate: Linear, up: Linear, down: Linear,
                       activation: Callable) -> Vector:
    """A second matrix, the gate, scales each number; SwiGLU, with silu (Shazeer 2020)."""
    return down([activation(x) * y for x, y in zip(gate(vector), up(vector))])


# %% The block, and the stack
# A block looks back once and thinks once. A transformer is a stack of them.

@dataclass
class Settings:
    """In what one transformer differs from another: sizes, and which functions it uses.

    `heads` have queries, and `key_value_heads` have keys and values. If these are fewer,
    neighbouring heads share them ("grouped queries"), and there is less to remember.
    """
    dimensions: int                             # of a token's vector
    heads: int = 1
    key_value_heads: Optional[int] = None       # None: as many as heads
    head_dim: Optional[int] = None              # None: dimensions / heads
    norm: Callable = rms_norm
    norm_first: bool = True                     # or after each part of a block
    epsilon: float = 1e-5
    query_at: Callable = rotate                 # (query, position) → query
    key_at: Callable = rotate
    first_visible: Callable = whole_text        # position → position
    feed_forward: Callable = gated_feed_forward
    activation: Callable = silu

    def __post_init__(self) -> None:
        heads, asked = self.heads, self.key_value_heads or self.heads
        size = self.head_dim or self.dimensions / max(heads, 1)
        if min(heads, asked) < 1 or heads % asked or size % 1:
            raise ValueError(f"{self.dimensions} dimensions, {heads} heads and"
                             f" {asked} key_value_heads must divide evenly")
        self.key_value_heads, self.head_dim = asked, int(size)


@dataclass(repr=False)
class Block:
    """One layer: its settings, its weights, and what it does with a token's vector."""
    settings: Settings
    attention_norm: list[Vector]        # weights and, for layer_norm, biases
    query: Linear
    key: Linear
    value: Linear
    output: Linear
    feed_forward_norm: list[Vector]
    feed_forward: list                  # up, down; or gate, up, down

    def __post_init__(self) -> None:
        self.cache = []     # the keys and values of each token so far

    def attend(self, vector: Vector, position: int) -> Vector:
        """Look back with every head, from the token at a position.

        First the token gets a query, a key and a value for each head. Keys and values are kept
        with those before. Then each head asks all in sight, and what they find is mixed.
        """
        settings, found, self.looks = self.settings, [], []
        size = settings.head_dim
        queries, keys, values = (       # each cut into heads
            [part[at:at + size] for at in range(0, len(part), size)]
            for part in (self.query(vector), self.key(vector), self.value(vector)))
        keys = [settings.key_at(key, position) for key in keys]
        self.cache.append((keys, values))
        in_sight = self.cache[settings.first_visible(position):]
        for head, query in enumerate(queries):
            query = settings.query_at(query, position)
            of = head * settings.key_value_heads // settings.heads    # its keys
            its_keys = [keys[of] for keys, _ in in_sight]
            its_values = [values[of] for _, values in in_sight]
            found += attention(query, its_keys, its_values)
            self.looks.append((query, its_keys))    # to be drawn
        return self.output(found)

    def step(self, vector: Vector, position: int) -> Vector:
        """Look back and think, and add what each gives to the vector.

        In 2017 the norm came last and rescaled the whole notebook each time. Today it
        comes first and rescales only what a part reads, so even a high stack can learn.
        """
        settings = self.settings
        norm = partial(settings.norm, epsilon=settings.epsilon)
        think = partial(settings.feed_forward, activation=settings.activation)
        first, second = self.attention_norm, self.feed_forward_norm
        if settings.norm_first:
            vector = add(vector, self.attend(norm(vector, *first), position))
            return add(vector, think(norm(vector, *second), *self.feed_forward))
        vector = norm(add(vector, self.attend(vector, position)), *first)
        return norm(add(vector, think(vector, *self.feed_forward)), *second)


@dataclass(repr=False)
class Transformer:
    """The whole model: embeddings, blocks, a last norm, and a score for every token."""
    settings: Settings
    embeddings: Matrix                          # V × D, as in lesson 3
    blocks: list[Block]
    last_norm: Optional[list[Vector]] = None
    output: Optional[Matrix] = None             # None: the embeddings ("tied")
    positions: Optional[Matrix] = None          # vectors to add, as in GPT-2
    ids: list[int] = field(default_factory=list)    # what the caches remember

    def __repr__(self) -> str:
        blocks, tokens = len(self.blocks), len(self.embeddings)
        return f"<Transformer: {blocks} blocks, {tokens:,} tokens>"

    def logits(self, ids: list[int]) -> Vector:
        """One score per token of the vocabulary, for the one that follows `ids`.

        Lesson 3's model has the same method, so lesson 4's `generate` takes both. What
        these ids share with those of the call before is not computed again.

        Raises ValueError for no ids, for an id without a row, and for too many ids.
        """
        if not ids:
            raise ValueError("there must be at least one token to go on from")
        if self.positions and len(ids) > len(self.positions):
            raise ValueError(f"there are only {len(self.positions)} positions")
        known, longest = 0, min(len(ids) - 1, len(self.ids))
        while known < longest and ids[known] == self.ids[known]:
            known += 1
        for remembered in [self.ids, *(block.cache for block in self.blocks)]:
            del remembered[known:]
        for position in range(known, len(ids)):
            vector, = lookup(self.embeddings, [ids[position]])
            if self.positions:
                vector = add(vector, self.positions[position])
            for block in self.blocks:
                vector = block.step(vector, position)
            self.ids.append(ids[position])
        if self.last_norm:
            norm, epsilon = self.settings.norm, self.settings.epsilon
            vector = norm(vector, *self.last_norm, epsilon)
        return times(self.output or self.embeddings, vector)


# %% Transformer vs Mistral
# Learn once, create any LLM: three columns of settings for one class (of 2017 the decoder).

window = partial(sliding_window, size=4096)
CHOICES = {
    #                   2017          GPT-2         Mistral 7B  why it changed
    "dimensions":      (512,          768,          4096),
    "heads":           (8,            12,           32),
    "key_value_heads": (8,            12,           8),       # less to store
    "first_visible":   (whole_text,   whole_text,   window),  # less work
    "query_at":        (no_position,  no_position,  rotate),  # by distance
    "key_at":          (no_position,  no_position,  rotate),  # the same
    "norm":            (layer_norm,   layer_norm,   rms_norm),    # less work
    "norm_first":      (False,        True,         True),    # to stack higher
    "activation":      (relu,         gelu,         silu),    # no sharp corner
    "feed_forward": (feed_forward, feed_forward, gated_feed_forward),  # better
    # positions          sinusoid      learned       none       (see rotate)
    # biases             some          all           none       they add little
    # output matrix      tied          tied          its own    learns more
}
TRANSFORMER, GPT_2, MISTRAL = (Settings(**dict(zip(CHOICES, column)))
                               for column in zip(*CHOICES.values()))


# %% Set by hand
# Write the weights down yourself, and a transformer is no secret any more. This one does
# what LLMs learn, too (Olsson et al. 2022): after "A B … A" it says "B". In block 1 each
# token notes the one before it: B notes "after A". In block 2 the second A looks for "after
# A", finds B, and says it. ({(5, 2): 1.0} is a matrix of zeros but for row 5, column 2: it
# copies number 2 to place 5.) A token's vector has four parts, with ids of b binary digits:
#
#     now      its id, -1 for 0, and a mark of the text's start     0 to b
#     before   the same of the token before it (by block 1)         b+1 to 2b+1
#     found    the same of what should come next (by block 2)       2b+2 to 3b+2
#     one      always 1                                             3b+3

def set_blocks(settings: Settings, bits: int) -> list[Block]:
    """Block 1 copies the `now` of the token before; block 2 that of the token to come.

    Hand i of a query or key turns by 1/10^i per step. So hands 0 to 3 tell positions, and
    those from 5 on hardly turn: they hold ids. In block 1 every query is the four hands of
    the keys, turned back by a step, so it fits best the token before. In block 2 queries
    hold `now`, and keys `before`. The same id scores b, and another at most b - 2, for one
    digit that differs is -1 in place of 1. If none is the same, the start wins with b - 1,
    by its mark. Hand 3 takes off a little per step: of 1,500 tokens the latest match wins.
    """
    one, half = settings.dimensions - 1, settings.head_dim // 2
    hands = [1.0] * 4 + [0.0] * (2 * half - 4)
    turned_back = settings.query_at(hands, -1)
    queries = {(row, one): x for row, x in enumerate(turned_back)}
    keys = {(row, one): x for row, x in enumerate(hands)}
    first = _block(settings, 1, queries, keys)
    queries = {(5 + bit, bit): 1.0 for bit in range(bits)}          # now
    keys = {(5 + bit, bits + 1 + bit): 1.0 for bit in range(bits)}  # before
    queries[3 + half, one], keys[3, one] = 0.9, 1.0     # a quarter turn apart
    queries[5 + bits, one], keys[5 + bits, bits] = bits - 1, 1.0    # the start
    return [first, _block(settings, 2, queries, keys)]


def _block(settings: Settings, part: int, queries: dict, keys: dict) -> Block:
    """A block with these {(row, column): weight}: it looks, and copies the `now` of what it finds to a part."""
    def linear(rows: int, columns: int, weights: dict) -> Linear:
        return Linear([[weights.get((row, column), 0.0) for column in range(columns)] for row in range(rows)])
    queries = {place: 200_000.0 * x for place, x in queries.items()}    # so long that one key takes all
    wide, high, size = settings.dimensions, settings.head_dim, settings.dimensions // 3
    query, key = linear(high, wide, queries), linear(high, wide, keys)
    value = linear(high, wide, {(row, row): 1.0 for row in range(size)})
    output = linear(wide, high, {(part * size + row, row): 1.0 for row in range(size)})
    norm, nothing = [[1e6] * wide], [linear(1, wide, {}), linear(1, wide, {}), linear(wide, 1, {})]
    return Block(settings, norm, query, key, value, output, norm, nothing)


def induction_head(vocab_size: int, start: int = 0) -> Transformer:
    """A transformer that looks for the last time a token was there, and what followed.

    A text begins with `start`. A token that comes again looks at what followed it before:

    >>> head = induction_head(vocab_size=100, start=0)
    >>> ids = [0, 7, 33, 58, 7, 33, 58]
    >>> print(staircase(["start", *map(str, ids[1:])], looks_of(head, ids)))
    ██ start
    ██. 7
    ██. . 33
    ██. . . 58
    . . ██. . 7
    . . . ██. . 33
    . . . . ██. . 58

    It goes on with texts that nobody ever wrote. Lesson 3's model has no chance there:

    >>> tokenizer, model = course_model()
    >>> head = induction_head(len(tokenizer), *story_ids(tokenizer, []))
    >>> text = " green sister fast window red house green"
    >>> for each in (head, model):
    ...     new = generate(each, tokenizer, text, max_new_tokens=5, temperature=0)
    ...     print("".join(new))
     sister fast window red house
    , and the sky is
    """
    bits = max(2, (vocab_size - 1).bit_length())
    at = partial(rotate, base=10.0 ** (bits + 6))
    settings = Settings(3 * bits + 4, head_dim=2 * (bits + 6), epsilon=1e12,
                        query_at=at, key_at=at)     # norms do 1e6 / sqrt(1e12)
    codes = [[1.0 if id >> bit & 1 else -1.0 for bit in range(bits)] + [0.0]
             for id in range(vocab_size)]
    codes[start], gap = [0.0] * bits + [1.0], [0.0] * (2 * bits + 2)
    embeddings = [code + gap + [1.0] for code in codes]
    output = [gap + [10 * x for x in code[:-1]] + [0.0] * 2 for code in codes]
    blocks, norm = set_blocks(settings, bits), [[1e6] * settings.dimensions]
    return Transformer(settings, embeddings, blocks, norm, output)


def looks_of(model: Transformer, ids: list[int]) -> Matrix:
    """How each token looks at those so far, with the first head of the last block."""
    looks = []
    for end in range(1, len(ids) + 1):
        model.logits(ids[:end])
        looks.append(attention_weights(*model.blocks[-1].looks[0]))
    return looks


# %% What looking back is worth

@dataclass
class Mixture:
    """A model, and a head that gets a share of the trust where it finds something.

    >>> tokenizer, model = course_model()
    >>> head = induction_head(len(tokenizer), *story_ids(tokenizer, []))
    >>> for each in (model, Mixture(model, head)):
    ...     loss = bits_per_byte(each, tokenizer, corpus_stories()[1], every=4)
    ...     print(f"{loss:.2f} bits per byte")
    1.73 bits per byte
    1.70 bits per byte

    A story comes back to its people and things. (The fisherman and the teacher need more:
    hundreds of heads, as real LLMs have, trained down the slope as in lesson 3.)
    """
    model: object       # of lesson 3
    head: Transformer
    share: float = 0.08     # from 0.04 to 0.15 it hardly matters

    def logits(self, ids: list[int]) -> Vector:
        """The logarithms of the mixed probabilities; softmax turns them back."""
        likely, found = (softmax(x.logits(ids)) for x in (self.model, self.head))
        share = self.share if max(found) > 0.5 else 0.0
        return [math.log(max((1 - share) * x + share * y, 1e-300))
                for x, y in zip(likely, found)]


# %% Never compute twice
# For one more token, every head needs the keys and values of the whole text again. But
# nobody looks ahead, so a new token changes nothing in those before it. A block keeps
# them: that is the "KV cache" of every chatbot. A query is asked only once, and not kept.

def multiplications(model: Transformer, position: int) -> int:
    """Count what the blocks multiply for the token at one position, with the cache.

    That is every weight once, and per head a key and a value of each token in sight.
    Without the cache, each new token costs again what all before it cost:

    >>> head = induction_head(vocab_size=100)
    >>> cost = [multiplications(head, position) for position in range(200)]
    >>> without = sum(sum(cost[:end]) for end in range(1, 201))
    >>> print(f"{sum(cost):,} with the cache, {without:,} without")
    3,160,400 with the cache, 248,288,600 without

    The logits are the same to the last bit, here with one token more each time:

    >>> with_cache = [head.logits([0, 7, 33, 7][:end]) for end in (1, 2, 3, 4)]
    >>> with_cache[-1] == induction_head(vocab_size=100).logits([0, 7, 33, 7])
    True

    Lesson 6 fills it with the weights of a real LLM: python3 lesson_6_llama.py --step
    """
    count = 0
    for block in model.blocks:
        looking = [block.query, block.key, block.value, block.output]
        for part in looking + block.feed_forward:
            count += len(part.matrix) * len(part.matrix[0])
        in_sight = position + 1 - block.settings.first_visible(position)
        count += 2 * in_sight * block.settings.heads * block.settings.head_dim
    return count


# %% Your turn
# Begin a file with `from lesson_5_transformer import *`, and check it:
#
#     python3 lesson_5_transformer.py --check answers_5.py
#
# 1. On paper. Query 1 matches the three keys with 2, 7 and 1, query 2 with 3, 3 and 9,
# query 3 with 0, 0 and 0. Who looks at whom, if nobody looks ahead? Three rows of weights.
#
# 2. Predict: how many numbers do the caches of Mistral 7B's 32 blocks keep for a token?
# And how many if each head had keys and values of its own? A list of two numbers.
#
# 3. Set a head by hand: a list of a query and a key of 8 numbers, the same for every token
# and then rotated. From positions 2 to 30 it must look two back, with a weight over 0.9.
#
# 4. Write attention for a whole text. `answer_4(queries, keys, values)` gets one of each
# for each token, and returns what each token brings home. Nobody looks ahead.
#
# 5. For an evening: how attention learns. The loss is dot(upstream, attention(query,
# keys, values)). If a number changes a little, how much does the loss change, divided by
# that little? `answer_5(query, keys, values, upstream)` returns these slopes for query,
# keys and values: with them one can train a transformer. Begin with the values.


# %% On the command line

HELP = """Lesson 5: the transformer. Without a text it plays the lesson.
  text        show what the hand-set head finds in it, and who looks at whom
for example: python3 lesson_5_transformer.py "We saw the sea, he saw the sea"
"""


def show(text: str) -> None:
    tokenizer, _ = course_model()
    ids = story_ids(tokenizer, [text])[:-1]
    names = [tokenizer.decode([id]) for id in ids]
    looks = looks_of(induction_head(len(tokenizer), ids[0]), ids)
    found = [look.index(max(look)) for look in looks]
    shown = [0, *range(max(1, len(ids) - 30), len(ids))]
    rows = [[looks[row][at] for at in shown if at <= row] for row in shown]
    for row, line in zip(shown, staircase([names[row] for row in shown], rows).splitlines()):
        print(line + (f"  (next: {visible(names[found[row]])})" if found[row] else ""))


if __name__ == "__main__":
    run_lesson(HELP, show)
