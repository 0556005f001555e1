"""Lesson 5: the transformer. Every token looks back, and takes what it needs.

Lesson 4 made a model write, but it does not know what it is writing about:

>>> tokenizer, model = course_model()
>>> for who in ("The fisherman", "The teacher"):
...     text = who + " put on an old coat and went out to the"
...     new = generate(model, tokenizer, text, max_new_tokens=2, temperature=0)
...     print(text + "".join(new))
The fisherman put on an old coat and went out to the sea.
The teacher put on an old coat and went out to the sea.

Lesson 3's model sees the last few tokens, and here these are the same. More of them
would not help, for each counts by its place, whatever it is. You want it to look back
over the whole text and pick what matters. That is attention, and you know its parts: a
dot product, a softmax, a weighted sum. In 2017 Vaswani and others built a model of little
else ("Attention is all you need"). GPT-2, Llama and Mistral are that model with other
settings. It stands between lesson 3's vectors and lesson 4's draw:

    ids → vectors → [ look back → think ] → [ look back → think ] → … → logits
"""

import math
import os
import random
import sys
from dataclasses import dataclass
from functools import partial
from typing import Callable, Optional

sys.path.append(os.path.dirname(sys.argv[0]))
from lesson_1_tokens import corpus_stories
from lesson_2_coding_tokenizer import course_tokenizer
from lesson_3_embeddings import (EmbeddingModel, Matrix, Vector, bits_per_byte, course_model, dot, lookup,
                                 story_ids)
from lesson_4_sampling import generate, softmax
from stage import run_lesson, staircase, visible


# %% Attention
# You want to pick by content: not "the token three back", but "a person". A dict finds
# the value whose key equals your query. Attention is a soft dict: every key matches a
# little, and the better it matches, the more of its value you get.

def attention_weights(query: Vector, keys: Matrix) -> Vector:
    """How much a query looks at each key, as shares of 1: dot products, then softmax.

    Why divide by the root? A longer vector has larger dot products: of 64 random numbers
    around 1 it is about 8, the root of 64. Softmax would then give nearly all to one key,
    by mere luck. Divided by the root it is about 1, however long the vectors are.
    """
    scale = math.sqrt(len(query))
    return softmax([dot(query, key) / scale for key in keys])


def attention(query: Vector, keys: Matrix, values: Matrix) -> Vector:
    """Look at all keys, and bring home a mix of their values. That is all.

    Say that a key has two numbers: a person? a thing? "he" asks for a person. There are
    two, so it looks at both, and brings home the mean of their values:

    >>> keys = [[4.0, 0.0], [0.0, 0.0], [4.0, 0.0], [0.0, 0.0]]
    >>> values = [[10.0, 1.0], [0.0, 0.0], [30.0, 2.0], [0.0, 0.0]]
    >>> [round(number, 1) for number in attention([3.0, 0.0], keys, values)]
    [20.0, 1.5]

    A picture shows who looks at whom: a row for each token, and a full block for a whole
    look. Only "he" asks for something here. The others look at all alike:

    >>> queries = [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [3.0, 0.0]]
    >>> looks = [attention_weights(queries[at], keys[:at + 1]) for at in range(4)]
    >>> print(staircase(["Tom", "likes", "Anna", "he"], looks))
    ██ Tom
    ▒▒▒▒ likes
    ░░░░░░ Anna
    ▒▒. ▒▒. he

    The upper half is missing, for nobody looks ahead: the model is "causal". It has to
    predict the next token, and if it could see that one, it would learn only to copy it.
    """
    weights = attention_weights(query, keys)
    return [dot(weights, column) for column in zip(*values)]


# %% Query, key and value
# A token has one vector and needs three: the query asks, the key is found, the value is
# what others bring home. Three matrices make them, and a model learns all three. Why not
# use one vector for all? Each token would look mostly at itself, as nothing is more like
# it. But "barks" looks for a dog, and not for another "barks".

def times(matrix: Matrix, vector: Vector) -> Vector:
    """A matrix times a vector: the dot product of each row with it.

    If the two numbers say "a person?" and "a verb?", this makes a verb ask for a person:

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


def split_heads(vector: Vector, head_dim: int) -> Matrix:
    """Cut a vector into pieces of head_dim numbers, one for each head.

    "he" wants to know who that is, and also what he does. One look would bring home the
    mean of both, which is neither. So several heads look at once, each with its piece of
    query, key and value. A fourth matrix, the output, mixes what they have found.

    >>> split_heads([1.0, 2.0, 3.0, 4.0], head_dim=2)
    [[1.0, 2.0], [3.0, 4.0]]
    """
    starts = range(0, len(vector), head_dim)
    return [vector[start:start + head_dim] for start in starts]


# %% Where does a token stand?
# Attention is a sum, and a sum has no order: "dog bites man" and "man bites dog" are the
# same to it. So a token must carry its position. A clock shows how: fast hands and slow
# hands together tell each second from all others. A hand is a pair of numbers.

def speeds(dimensions: int, base: float = 10000.0) -> Vector:
    """How far each hand turns per position, in radians; with eight numbers 1, .1, .01, .001."""
    if dimensions % 2:
        raise ValueError(f"positions need pairs, and {dimensions} is odd")
    return [base ** (-first / dimensions) for first in range(0, dimensions, 2)]


def sinusoid(position: int, dimensions: int) -> Vector:
    """A position as a vector: the sine and cosine of each hand.

    In 2017 it was added to the token's vector. (GPT-2 adds a row of a learned table, and
    can't read beyond the last.) One query brings home, without positions and with them:

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
    """Turn pairs of numbers like arrows on paper; number i is paired with i + D/2."""
    half = len(vector) // 2
    pairs = list(zip(vector[:half], vector[half:], angles))
    return ([x * math.cos(by) - y * math.sin(by) for x, y, by in pairs]
            + [x * math.sin(by) + y * math.cos(by) for x, y, by in pairs])


def rotate(vector: Vector, position: int, base: float = 10000.0) -> Vector:
    """Rotary positions: turn queries and keys, the further the later they stand.

    If two arrows turn by the same angle, their dot product stays the same. So only the
    distance counts: "three back" is the same on every page (Su et al. 2021).

    >>> rng = random.Random(0)
    >>> query, key = ([rng.gauss(0, 1) for _ in range(8)] for _ in "qk")
    >>> for here, there in ((5, 2), (105, 102), (5, 1)):
    ...     score = dot(rotate(query, here), rotate(key, there))
    ...     print(f"from {here} to {there}: {score:.3f}")
    from 5 to 2: -0.978
    from 105 to 102: -0.978
    from 5 to 1: -0.001
    """
    angles = [position * speed for speed in speeds(len(vector), base)]
    return turn(vector, angles)


def no_position(vector: Vector, position: int) -> Vector:
    """Leave a query or key as it is, where positions are added to the embeddings."""
    return vector


def whole_text(position: int) -> int:
    """Where a token's sight begins: it can look back to the first position, 0."""
    return 0


def sliding_window(position: int, size: int) -> int:
    """A shorter sight, for less work. Through what is in sight, the next block sees further."""
    return max(0, position - size + 1)


# %% Staying in range
# A token's vector is like a notebook that goes from part to part. Each part reads it and
# adds a note to what is there: a "residual connection". So nothing gets lost on the way,
# and a late part can read what the first one wrote. But with each note the numbers grow,
# and then softmax chooses too harshly. A norm brings them back to one size.

def rms_norm(vector: Vector, weights: Vector, epsilon: float) -> Vector:
    """Scale the numbers to a mean square of 1, and give each a weight that was learned.

    >>> normed = rms_norm([3.0, 4.0], weights=[1.0, 1.0], epsilon=1e-5)
    >>> [round(number, 3) for number in normed]
    [0.849, 1.131]
    """
    size = math.sqrt(dot(vector, vector) / len(vector) + epsilon)
    return [x / size * weight for x, weight in zip(vector, weights)]


def layer_norm(vector: Vector, weights: Vector, biases: Vector, epsilon: float) -> Vector:
    """The same after a shift to a mean of 0, with biases (Ba, Kiros and Hinton 2016).

    It came first. Zhang and Sennrich 2019 left the shift out, and nothing was lost.
    """
    mean = sum(vector) / len(vector)
    return add(rms_norm([x - mean for x in vector], weights, epsilon), biases)


# %% Thinking it over
# Attention only carries numbers from token to token. Then each token works on what it
# has, alone: a matrix makes more numbers of it, a bend changes each, and a matrix makes
# them fewer again. Without the bend, two matrices in a row could do no more than one.

relu = partial(max, 0.0)        # the bend of 2017: nothing below 0


def gelu(x: float) -> float:
    """GPT-2's bend, with a round corner (Hendrycks and Gimpel 2016, with tanh)."""
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)
    return x / 2 * (1 + math.tanh(inner))


def silu(x: float) -> float:
    """Llama's and Mistral's bend, nearly the same; also called swish.

    >>> for bend in (relu, gelu, silu):
    ...     print([round(bend(x), 2) for x in (-3.0, -1.0, 1.0, 3.0)])
    [0.0, 0.0, 1.0, 3.0]
    [-0.0, -0.16, 0.84, 3.0]
    [-0.14, -0.27, 0.73, 2.86]
    """
    return x / (1 + math.exp(-x)) if x > -700 else 0.0      # exp has a limit


def feed_forward(vector: Vector, up: Linear, down: Linear, activation: Callable) -> Vector:
    """Up, bend, down. With a bend a token can say "only if this and that":

    >>> both, same = Linear([[1.0, 1.0]], biases=[-1.0]), Linear([[1.0]])
    >>> [feed_forward(vector, both, same, relu)
    ...  for vector in ([1.0, 0.0], [0.0, 1.0], [1.0, 1.0])]
    [[0.0], [0.0], [1.0]]
    """
    return down([activation(x) for x in up(vector)])


def gated_feed_forward(vector: Vector, gate: Linear, up: Linear, down: Linear,
                       activation: Callable) -> Vector:
    """A gate says how much of each number passes; SwiGLU, with silu (Shazeer 2020)."""
    return down([activation(x) * y for x, y in zip(gate(vector), up(vector))])


# %% The block, and the stack
# A block looks back once and thinks once. A transformer is a stack of them. What differs
# from model to model are sizes, and which of the functions above it uses.

@dataclass
class Settings:
    """The choices in which one transformer differs from another.

    `heads` ask, and `key_value_heads` are asked. If these are fewer, neighbouring heads
    share one ("grouped queries"), and there are fewer keys and values to remember.
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
        asked = self.key_value_heads or self.heads
        if (self.heads < 1 or self.heads % asked
                or not self.head_dim and self.dimensions % self.heads):
            sizes = f"{self.dimensions} dimensions, {self.heads} heads"
            raise ValueError(f"{sizes}, {asked} key_value_heads: they must "
                             "divide evenly")
        self.key_value_heads = asked
        self.head_dim = self.head_dim or self.dimensions // self.heads


@dataclass(repr=False)
class Block:
    """One layer: its settings, its weights, and what it does with a token's vector.

    A norm is a list: its weights and, for `layer_norm`, biases. `feed_forward` lists what
    the function of that name takes. `cache` remembers the keys and values of the text.
    """
    settings: Settings
    attention_norm: list[Vector]
    query: Linear
    key: Linear
    value: Linear
    output: Linear
    feed_forward_norm: list[Vector]
    feed_forward: list

    def __post_init__(self) -> None:
        asked, size = self.settings.key_value_heads, self.settings.head_dim
        parts = self.query, self.key, self.value
        rows = [len(part.matrix) for part in parts]
        if rows != [self.settings.heads * size, asked * size, asked * size]:
            raise ValueError(f"query, key, value: {rows} rows don't fit")
        self.cache = [([], []) for _ in range(asked)]

    def attend(self, vector: Vector, position: int) -> Vector:
        """Remember the token's keys and values, and look back with every head."""
        settings, found, self.looks = self.settings, [], []
        queries, new_keys, new_values = (
            split_heads(part(vector), settings.head_dim)
            for part in (self.query, self.key, self.value))
        for (keys, values), key, value in zip(self.cache, new_keys, new_values):
            keys.append(settings.key_at(key, position))
            values.append(value)
        first = settings.first_visible(position)
        for head, query in enumerate(queries):
            shared = head * settings.key_value_heads // settings.heads
            keys, values = self.cache[shared]
            look = settings.query_at(query, position), keys[first:]
            found += attention(*look, values[first:])
            self.looks.append(look)     # to be drawn
        return self.output(found)

    def think(self, vector: Vector, position: int) -> Vector:
        """The feed-forward layer, which is the same at every position."""
        activation = self.settings.activation
        return self.settings.feed_forward(vector, *self.feed_forward, activation)

    def step(self, vector: Vector, position: int) -> Vector:
        """Look back and think, and add what each gives to the vector.

        In 2017 the norm came last and rescaled the whole notebook each time. Today it
        comes first and rescales only what a part reads, so even a high stack can learn.
        """
        norm, epsilon = self.settings.norm, self.settings.epsilon
        for part, weights in ((self.attend, self.attention_norm),
                              (self.think, self.feed_forward_norm)):
            if self.settings.norm_first:
                read = norm(vector, *weights, epsilon)
                vector = add(vector, part(read, position))
            else:
                vector = add(vector, part(vector, position))
                vector = norm(vector, *weights, epsilon)
        return vector


@dataclass(repr=False)
class Transformer:
    """The whole model: embeddings, blocks, a last norm, and a score for every token.

    `embeddings` is V × D, as in lesson 3, and so is `output`; without it the embeddings
    do both jobs ("tied"). `positions` is a table of vectors to add, or None.
    """
    settings: Settings
    embeddings: Matrix
    blocks: list[Block]
    last_norm: Optional[list[Vector]] = None
    output: Optional[Matrix] = None
    positions: Optional[Matrix] = None

    def __post_init__(self) -> None:
        self.ids = []       # the text that the caches remember

    def __repr__(self) -> str:
        blocks, tokens = len(self.blocks), len(self.embeddings)
        return f"<Transformer: {blocks} blocks, {tokens:,} tokens>"

    def logits(self, ids: list[int]) -> Vector:
        """One score per token of the vocabulary, for the one that follows `ids`.

        Lesson 3's model has the same method, so lesson 4's `generate` takes both. The
        beginning that these ids share with the last ones is not computed again.

        Raises ValueError for no ids, for an id without a row, and for too many ids.
        """
        if not ids:
            raise ValueError("there must be at least one token to go on from")
        self.keep_beginning(ids)
        for position in range(len(self.ids), len(ids)):
            vector = self.embed(ids[position], position)
            for block in self.blocks:
                vector = block.step(vector, position)
            self.ids.append(ids[position])
        if self.last_norm is not None:
            norm, epsilon = self.settings.norm, self.settings.epsilon
            vector = norm(vector, *self.last_norm, epsilon)
        output = self.embeddings if self.output is None else self.output
        return times(output, vector)

    def embed(self, id: int, position: int) -> Vector:
        """The vector with which a token begins."""
        vector, = lookup(self.embeddings, [id])
        if self.positions is None:
            return vector
        if position >= len(self.positions):
            raise ValueError(f"there are only {len(self.positions)} positions")
        return add(vector, self.positions[position])

    def keep_beginning(self, ids: list[int]) -> None:
        """Forget all but the beginning that these ids share with the last ones."""
        same, longest = 0, min(len(ids) - 1, len(self.ids))
        while same < longest and ids[same] == self.ids[same]:
            same += 1
        del self.ids[same:]
        for block in self.blocks:
            for keys, values in block.cache:
                del keys[same:], values[same:]


# %% Transformer vs Mistral
# Learn once, create any LLM: three models are three columns of settings for one class.

CHOICES = {     # 2017        GPT-2        Mistral 7B      why it was changed
    "dimensions": (512,       768,         4096),
    "heads": (8,              12,          32),
    "key_value_heads": (8,    12,          8),             # less to remember
    "norm": (layer_norm,      layer_norm,  rms_norm),      # less work
    "norm_first": (False,     True,        True),          # deep stacks learn
    "query_at": (no_position, no_position, rotate),        # distance counts
    "key_at": (no_position,   no_position, rotate),
    "first_visible": (whole_text, whole_text,
                      partial(sliding_window, size=4096)),  # less work
    "feed_forward": (feed_forward, feed_forward,
                     gated_feed_forward),                  # it learns more
    "activation": (relu,      gelu,        silu),          # no flat side
    # positions: sinusoid     learned      none            rotate does it
    # biases:    yes          yes          no              they bring little
    # output:    tied         tied         its own         it can learn more
}
FAMILIES = [Settings(**dict(zip(CHOICES, column)))
            for column in zip(*CHOICES.values())]
TRANSFORMER, GPT_2, MISTRAL = FAMILIES


# %% Set by hand
# Write the weights down yourself, and a transformer is no secret any more. This one does
# what every LLM learns early on: after "A B … A" it says "B". In block 1 each token notes
# which one stands before it: B notes "after A". In block 2 the second A looks for the
# note "after A", finds B, and says it. The vector of a token has four parts:
#
#     now      the id of this token, in binary, with -1 for 0
#     before   the id of the token before it      (block 1 writes it)
#     found    the id that should come next       (block 2 writes it)
#     one      always 1
#
# With b bits, the dot product of an id with itself is b, and with another at most b - 2.
# A "hand" is a pair of numbers again. `_block` makes matrices of zeros with the entries
# {(row, column): number} that it gets, and a value and an output matrix that copy `now`.

def look_one_back(settings: Settings) -> Block:
    """Block 1: look at the token before this one, and copy its `now` into `before`.

    All keys are the same four hands, and all queries are these, turned back by a step.
    So they match best where the key stands one step before the query.
    """
    hands = [1.0] * 4 + [0.0] * (settings.head_dim - 4)
    one = settings.dimensions - 1
    keys = {(row, one): x for row, x in enumerate(hands)}
    queries = {(row, one): x
               for row, x in enumerate(settings.query_at(hands, -1))}
    return _block(settings, 1, queries, keys)


def look_up(settings: Settings, bits: int) -> Block:
    """Block 2: look for this `now` in every `before`, and copy that `now` into `found`.

    The hands from 5 on hardly turn, so they compare ids. Hand 3 takes off a little per
    step back: the latest match wins. If there is none, the start of the text wins. It
    scores b - 1 and has no id to copy. (Real LLMs have such an "attention sink", too.)
    """
    one, sideways = settings.dimensions - 1, settings.head_dim // 2
    queries = {(5 + bit, bit): 1.0 for bit in range(bits)}
    keys = {(5 + bit, bits + 1 + bit): 1.0 for bit in range(bits)}
    queries[5 + bits, one] = (bits - 1) / math.sqrt(bits)
    queries[3 + sideways, one] = 0.9        # a quarter turn from the key
    keys[5 + bits, bits] = keys[3, one] = 1.0
    return _block(settings, 2, queries, keys)


def _block(settings: Settings, number: int, queries: dict, keys: dict) -> Block:
    """A block with these entries, {(row, column): x}, that copies `now` into part 1 or 2 of the vector."""
    def fill(rows: int, columns: int, entries: dict, scale: float = 1.0) -> Linear:
        return Linear([[scale * entries.get((row, at), 0.0) for at in range(columns)] for row in range(rows)])

    wide, high, size = settings.dimensions, settings.head_dim, settings.dimensions // 3
    norm = [[math.sqrt((1 + number * (size - 1)) / wide)] * wide]   # this norm leaves the vector as it is
    copy = fill(high, wide, {(row, row): 1.0 for row in range(size)})
    paste = fill(wide, high, {(number * size + row, row): 1.0 for row in range(size)})
    query, key = fill(high, wide, queries, 200_000.0), fill(high, wide, keys)     # so large: one takes all
    nothing = [fill(1, wide, {}), fill(1, wide, {}), fill(wide, 1, {})]
    return Block(settings, norm, query, key, copy, paste, norm, nothing)


def looks_of(model: Transformer, ids: list[int]) -> Matrix:
    """How each token looks at those so far, with the first head of the last block."""
    looks = []
    for place in range(len(ids)):
        model.logits(ids[:place + 1])
        looks.append(attention_weights(*model.blocks[-1].looks[0]))
    return looks


def induction_head(vocab_size: int, start: int = 0) -> Transformer:
    """A transformer that looks for the last time a token was there, and what followed.

    Texts begin with the id `start`. Here three tokens come twice. The second time, each
    looks at the one that followed the first time:

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
    >>> max(range(100), key=head.logits(ids).__getitem__)
    7

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
    at = partial(rotate, base=10.0 ** (bits + 6))   # hand i turns by 1/10^i
    settings = Settings(3 * bits + 4, head_dim=2 * (bits + 6), epsilon=0.0,
                        query_at=at, key_at=at)
    codes = [[1.0 if id >> bit & 1 else -1.0 for bit in range(bits)]
             for id in range(vocab_size)]
    embeddings = [code + [0.0] * (2 * bits + 3) + [1.0] for code in codes]
    embeddings[start][:bits + 1] = [0.0] * bits + [math.sqrt(bits)]     # no id
    output = [[0.0] * (2 * bits + 2) + [10 * x for x in code] + [0.0] * 2
              for code in codes]
    blocks = [look_one_back(settings), look_up(settings, bits)]
    last_norm = [[1.0] * settings.dimensions]
    return Transformer(settings, embeddings, blocks, last_norm, output)


# %% What looking back is worth

@dataclass
class Mixture:
    """A model, and a head that gets a share of the trust where it finds something.

    What is looking back worth? In bits per byte, on the stories held out:

    >>> tokenizer, model = course_model()
    >>> head = induction_head(len(tokenizer), *story_ids(tokenizer, []))
    >>> _, held_out = corpus_stories()
    >>> for each in (model, Mixture(model, head)):
    ...     print(f"{bits_per_byte(each, tokenizer, held_out, every=4):.2f}")
    1.73
    1.70

    One head that was never trained makes the model better: a story comes back to its
    people and things, and lesson 3's model has forgotten them by then. A real LLM has
    hundreds of heads, and each has learned what to look for.
    """
    model: EmbeddingModel
    head: Transformer
    share: float = 0.08

    def logits(self, ids: list[int]) -> Vector:
        """The logarithms of the mixed probabilities; softmax turns them back."""
        likely = softmax(self.model.logits(ids))
        found = softmax(self.head.logits(ids))
        share = self.share if max(found) > 0.5 else 0.0
        mixed = [(1 - share) * x + share * y for x, y in zip(likely, found)]
        return [math.log(max(probability, 1e-300)) for probability in mixed]


# %% Never compute twice
# To write one more token, every head needs the keys and values of the whole text again.
# But they are the same as before: nobody looks ahead, so a new token changes nothing in
# those before it. So a block keeps them: that is the "KV cache" of every chatbot. Queries
# are not kept, for each is asked only once.

def multiplications(model: Transformer, position: int) -> int:
    """Count what the blocks multiply for the token at one position, with the cache.

    That is every weight once, and per head a key and a value of each token in sight.
    Without the cache, each new token would cost again what all before it cost:

    >>> head = induction_head(vocab_size=100)
    >>> cost = [multiplications(head, position) for position in range(200)]
    >>> print(f"{sum(cost):,} with the cache")
    3,160,400 with the cache
    >>> print(f"{sum(sum(cost[:end]) for end in range(1, 201)):,} without")
    248,288,600 without

    And the logits are the same to the last bit, here with one token more each time:

    >>> with_cache = [head.logits([0, 7, 33, 7][:end]) for end in (1, 2, 3, 4)]
    >>> with_cache[-1] == induction_head(vocab_size=100).logits([0, 7, 33, 7])
    True

    Lesson 6 fills this class with the weights of a real LLM: python3 lesson_6_llama.py
    """
    count = 0
    for block in model.blocks:
        heads = [block.query, block.key, block.value, block.output]
        for part in heads + block.feed_forward:
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
# and query 3 with 0, 0 and 0. Who looks at whom, if nobody looks ahead? A list of three
# rows of weights.
#
# 2. Predict: how many numbers do the caches of Mistral 7B's 32 blocks keep for each
# token? And how many would it be if each head had keys and values of its own? A list of
# two numbers.
#
# 3. Set a head by hand that looks two back: a query and a key of 8 numbers each, the same
# for every token. They will be rotated. At positions 2 to 30 the weight of the token two
# back must be over 0.9. A list of the two vectors.
#
# 4. Write attention for a whole text. `answer_4(queries, keys, values)` gets one of each
# for each token, and returns what each token brings home. Nobody looks ahead.
#
# 5. For an evening: how attention learns. The loss is dot(upstream, attention(query,
# keys, values)). If a number changes a little, how much does the loss change, divided by
# that little? `answer_5(query, keys, values, upstream)` returns these slopes for the
# query, the keys and the values: with them one can train a transformer. Begin with the
# values; then see what a change of one score does to all weights.


# %% On the command line

HELP = """Lesson 5: the transformer. Without a text it plays the lesson.
  text        show what the hand-set head finds in it, and who looks at whom
for example: python3 lesson_5_transformer.py "The dog saw a cat. The dog ran."
"""


def show(text: str) -> None:
    """Who looks at whom in the last 30 tokens of a text, and what should come next for that reason."""
    tokenizer = course_tokenizer()
    ids = story_ids(tokenizer, [text])[:-1]
    names = [tokenizer.decode([id]) for id in ids]
    looks = looks_of(induction_head(len(tokenizer), ids[0]), ids)
    found = [look.index(max(look)) for look in looks]
    shown = [0, *range(max(1, len(ids) - 30), len(ids))]
    rows = [[looks[row][at] for at in shown if at <= row] for row in shown]
    for row, line in zip(shown, staircase([names[row] for row in shown], rows).splitlines()):
        print(line + (f"  (next: {visible(names[found[row]])})" if found[row] else ""))
    right = sum(bool(at) and ids[at] == id for at, id in zip(found, ids[1:]))
    print(f"The head finds something {sum(map(bool, found))} times, and {right} times this is what comes.")


if __name__ == "__main__":
    run_lesson(HELP, show)
