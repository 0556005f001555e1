"""Lesson 5: the transformer. Every token looks back, and takes what it needs.

Between the vectors of lesson 3 and the draw of lesson 4 there was a gap: the middle of
a real LLM. This lesson fills it. Its heart is attention, and you have met all of its
parts: a dot product, a softmax, a weighted sum. Once you have written it you will
know what GPT-2, Llama and Mistral are, for they are one program with other settings.

    ids → vectors → [ look back → think ] → [ look back → think ] → … → logits
                    └──── block 1 ─────┘    └──── block 2 ─────┘

Say that a token asks "who is a person here?" Three tokens stand before it. Each has a
key, which says what it is, and a value, which says what it has to tell:

>>> keys = [[4.0, 0.0], [0.0, 0.0], [0.0, 4.0]]     # Tom, likes, cars
>>> values = [[10.0], [20.0], [30.0]]
>>> [round(number, 1) for number in attention([3.0, 0.0], keys, values)]
[10.0]

It got Tom's value. Nobody told it where Tom stands: it found him by what he is. At the
end a small transformer, set by hand, will look back in texts of your own.
"""

import math
import os
import random
import sys
from dataclasses import dataclass, fields
from functools import partial
from typing import Callable, Optional

sys.path.append(os.path.dirname(sys.argv[0]))

from stage import run_lesson, table, visible
from lesson_1_tokens import corpus_stories
from lesson_2_coding_tokenizer import Tokenizer, course_tokenizer
from lesson_3_embeddings import EmbeddingModel, Matrix, Vector, bits, course_model, dot, lookup, story_ids
from lesson_4_sampling import generate, softmax


# %% Why lesson 3's model is not enough

def likely_next(text: str, tokenizer: Tokenizer, model: "EmbeddingModel | Transformer", count: int = 5) -> list[str]:
    """The tokens that a model finds most likely after a text, best first.

    Two stories begin with different people, and end alike. Who went out to the boat?

    >>> tokenizer, model = course_model()
    >>> for who in ("The fisherman", "The teacher"):
    ...     text = who + " put on an old coat and went out to the"
    ...     print(likely_next(text, tokenizer, model, count=4))
    [' car', ' garden', ' white', ' window']
    [' car', ' garden', ' white', ' window']

    The same for both. Our model sees only the last few tokens, so it has forgotten who
    it was. We could let it see more, but then the second fault would show: how much a
    token counts depends only on how far back it stands. " fisherman" counts as much as
    " the" in its place would. What one would want is to look back as far as one likes,
    and to pick.
    """
    logits = model.logits(tokenizer.encode(text))
    best = sorted(range(len(logits)), key=logits.__getitem__, reverse=True)
    return [tokenizer.decode([id]) for id in best[:count]]


# %% Attention
# Picking is choosing by content: not "the third token from the end", but "the one that
# is a person". Computers choose by content with a lookup: a dict finds the value whose
# key equals the query. Attention is a soft dict. Every key matches a little, and the
# better it matches, the more of its value you get.

def attention_weights(query: Vector, keys: Matrix) -> Vector:
    """How much a query looks at each key: shares of 1.

    The query of " he" wants a person. What is a person has 4 in the first place of its
    key, and what is a thing has 4 in the second. The dot product says how well they
    match, and softmax turns the matches into shares:

    >>> query = [3.0, 0.0]
    >>> keys = [[4.0, 0.0], [0.0, 0.0], [0.0, 4.0]]     # Tom, likes, cars
    >>> [dot(query, key) for key in keys]
    [12.0, 0.0, 0.0]
    >>> [round(weight, 3) for weight in attention_weights(query, keys)]
    [1.0, 0.0, 0.0]

    With a second person in the text the look is shared; and one who asks nothing looks
    at all alike:

    >>> both = [[4.0, 0.0], [0.0, 0.0], [4.0, 0.0]]     # Tom, likes, Anna
    >>> [round(weight, 3) for weight in attention_weights(query, both)]
    [0.5, 0.0, 0.5]
    >>> [round(weight, 3) for weight in attention_weights([0.0, 0.0], both)]
    [0.333, 0.333, 0.333]

    Why the root? A dot product of long vectors is a sum of many numbers, so it is
    larger, and softmax would choose too harshly. Of D random numbers the sum grows with
    the root of D. Divided by it, matches are of the same size in every model.
    """
    scale = math.sqrt(len(query))
    return softmax([dot(query, key) / scale for key in keys])


def weighted_sum(weights: Vector, vectors: Matrix) -> Vector:
    """Mix vectors: each times its weight, then added up.

    A quarter of the first and three quarters of the second:

    >>> weighted_sum([0.25, 0.75], [[4.0, 0.0], [0.0, 8.0]])
    [1.0, 6.0]
    """
    return [dot(weights, column) for column in zip(*vectors)]


def attention(query: Vector, keys: Matrix, values: Matrix) -> Vector:
    """Look at all keys, and bring home a mix of their values. This is all there is to it.

    " he" looked at Tom, so it brings home what Tom has to tell. With two persons in the
    text it brings home the mean of both:

    >>> values = [[10.0, 1.0], [0.0, 0.0], [30.0, 2.0]]     # Tom's, likes', Anna's
    >>> both = [[4.0, 0.0], [0.0, 0.0], [4.0, 0.0]]
    >>> [round(number, 1) for number in attention([3.0, 0.0], both, values)]
    [19.9, 1.5]

    Bahdanau, Cho and Bengio 2014 brought attention to translation; Vaswani et al. 2017
    built a model of nothing else, and called the paper "Attention is all you need".
    """
    return weighted_sum(attention_weights(query, keys), values)


def draw_looks(tokens: list[str], looks: list[Vector]) -> str:
    """Draw who looks at whom: a row for each token, a block for each look back.

    Let every token of a text ask, with its own query, and stack the rows of weights. A
    full block is a whole look, a light one a small share, a dot nothing. Each name
    stands at the head of its own column.

    >>> keys = [[4.0, 0.0], [0.0, 0.0], [0.0, 4.0], [0.0, 0.0], [4.0, 0.0]]
    >>> queries = [[3.0, 0.0], [0.0, 0.0], [0.0, 3.0], [0.0, 0.0], [3.0, 0.0]]
    >>> looks = [attention_weights(query, keys[:place + 1])
    ...          for place, query in enumerate(queries)]
    >>> print(draw_looks(["Tom", " likes", " cars", " and", " he"], looks))
    ██ Tom
    ▓▓▓▓ ·likes
    . . ██ ·cars
    ░░░░░░░░ ·and
    ▓▓. . . ▓▓ ·he

    The last row reads: " he" looked at Tom and at itself. Everything above the staircase
    is empty, because nobody may look ahead: token number 3 gets the first three keys,
    and no more. We predict the next token, and who could see it would only copy it.
    There is a second gain: what has been computed never changes when a token comes.
    """
    shades = ((0.75, "██"), (0.4, "▓▓"), (0.25, "▒▒"), (0.05, "░░"), (0.0, ". "))
    rows = []
    for token, look in zip(tokens, looks):
        blocks = [next(shade for least, shade in shades if weight >= least) for weight in look]
        rows.append("".join(blocks) + " " + visible(token))
    return "\n".join(rows)


# %% Query, key and value
# A token has one vector, and it needs three: one to ask, one to be found by, one to tell.
# Three matrices make them. Why not one vector for all? Then every token would match
# itself best, since nothing is more like it. " bark" looks for a dog and not for
# another " bark", and what it wants to know of the dog is not that it is a dog.

def times(matrix: Matrix, vector: Vector) -> Vector:
    """A matrix times a vector: the dot product of each row with it.

    So each row asks one question of the vector, and the answers are a new vector. This
    is where a model spends its time. Lesson 6 has a matrix that knows a faster way, and
    this is the only line that has to let it.

    >>> times([[1.0, 1.0], [0.0, 2.0], [1.0, -1.0]], [3.0, 5.0])
    [8.0, 10.0, -2.0]
    """
    if isinstance(matrix, list):
        return [dot(row, vector) for row in matrix]
    return matrix.times(vector)


def add(a: Vector, b: Vector) -> Vector:
    """Add two vectors, number by number.

    >>> add([1.0, 2.0], [0.5, -2.0])
    [1.5, 0.0]
    """
    return [x + y for x, y in zip(a, b)]


@dataclass
class Linear:
    """A matrix, and biases that are added to the result; many models leave them out.

    Two tokens with two numbers each: how much of a person, how much of a verb. The query
    matrix below lets a verb ask for a person. The key matrix shows a person as one.

    >>> tom, sleeps = [1.0, 0.0], [0.0, 1.0]
    >>> to_query, to_key = Linear([[0.0, 5.0]]), Linear([[5.0, 0.0]])
    >>> to_query(sleeps), to_key(tom), to_key(sleeps)
    ([5.0], [5.0], [0.0])
    >>> query, keys = to_query(sleeps), [to_key(tom), to_key(sleeps)]
    >>> [round(weight, 3) for weight in attention_weights(query, keys)]
    [1.0, 0.0]
    """

    matrix: Matrix
    biases: Optional[Vector] = None

    def __call__(self, vector: Vector) -> Vector:
        result = times(self.matrix, vector)
        return result if self.biases is None else add(result, self.biases)


def split_heads(vector: Vector, head_dim: int) -> Matrix:
    """Cut a vector into pieces of head_dim numbers, one for each head.

    Softmax makes one choice. " he" would like to know who it is, and also what he does:
    with one look it gets the mean of both, which is neither. So the query, the key and
    the value are cut into heads, and each head looks on its own. What they bring home
    is put in a row again, and a fourth matrix, the output, mixes it.

    >>> split_heads([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], head_dim=2)
    [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    """
    return [vector[start:start + head_dim] for start in range(0, len(vector), head_dim)]


# %% Where does a token stand?

def sinusoid(position: int, dimensions: int) -> Vector:
    """The position as a vector, as in 2017: sine and cosine of faster and slower waves.

    Attention is a sum, and a sum has no order. What the last word learns of "dog bites
    man" and of "man bites dog" is the same:

    >>> dog, bites, man = [2.0, 0.0], [0.0, 1.0], [1.0, 2.0]
    >>> for text in ([dog, bites, man], [man, bites, dog]):
    ...     print([round(number, 6) for number in attention([1.0, 1.0], text, text)])
    [1.16044, 1.286597]
    [1.16044, 1.286597]

    So the position must be in the vectors. The paper adds a vector to each embedding,
    in which pairs of numbers go round like the hands of a clock, each slower than the
    last. GPT-2 learns one vector for each position instead, and can't go beyond them.

    >>> for position in (0, 1, 100):
    ...     print([round(number, 2) for number in sinusoid(position, 4)])
    [0.0, 1.0, 0.0, 1.0]
    [0.84, 0.54, 0.01, 1.0]
    [-0.51, 0.86, 0.84, 0.54]

    Added to the three words, they tell the two texts apart:

    >>> for text in ([dog, bites, man], [man, bites, dog]):
    ...     placed = [add(word, sinusoid(place, 2)) for place, word in enumerate(text)]
    ...     print([round(number, 2) for number in attention([1.0, 1.0], placed, placed)])
    [1.91, 1.65]
    [2.14, 1.67]

    Raises ValueError if the number of dimensions is odd.
    """
    angles = [position * speed for speed in speeds(dimensions)]
    return [wave(angle) for angle in angles for wave in (math.sin, math.cos)]


def speeds(dimensions: int, base: float = 10000.0) -> Vector:
    """How far each pair of numbers turns from one position to the next, in radians.

    The first pair turns by 1, and the last hardly at all. So there are pairs that tell
    neighbours apart and pairs that tell the beginning of a book from its end.

    >>> [round(speed, 4) for speed in speeds(8)]
    [1.0, 0.1, 0.01, 0.001]
    """
    if dimensions % 2:
        raise ValueError(f"positions need pairs of numbers, and {dimensions} is odd")
    return [base ** (-2 * pair / dimensions) for pair in range(dimensions // 2)]


def turn(vector: Vector, angles: Vector) -> Vector:
    """Turn pairs of numbers, each like an arrow on paper, by an angle of its own.

    Number i is paired with number i + D/2. A quarter turn takes east to north:

    >>> [round(number, 6) for number in turn([1.0, 0.0], [math.pi / 2])]
    [0.0, 1.0]
    """
    half = len(vector) // 2
    pairs = list(zip(vector[:half], vector[half:], angles))
    return ([x * math.cos(angle) - y * math.sin(angle) for x, y, angle in pairs]
            + [x * math.sin(angle) + y * math.cos(angle) for x, y, angle in pairs])


def rotate(vector: Vector, position: int, base: float = 10000.0) -> Vector:
    """Rotary positions: turn queries and keys, the further the later they stand.

    A dot product looks at the angle between two arrows. If both are turned by the same
    angle, it stays. So it depends on how far apart they stand, and on nothing else:
    "three tokens back" means the same on every page. Two random vectors:

    >>> rng = random.Random(0)
    >>> query, key = ([rng.gauss(0, 1) for _ in range(8)] for _ in "qk")
    >>> for here, there in ((5, 2), (105, 102), (5, 1)):
    ...     score = dot(rotate(query, here), rotate(key, there))
    ...     print(f"from {here} to {there}: {score:.4f}")
    from 5 to 2: 0.6203
    from 105 to 102: 0.6203
    from 5 to 1: 1.1226

    Nothing is added to the embeddings: only queries and keys are turned, in every block,
    and the values stay clean. Su et al. 2021; Llama, Mistral and Qwen all do it.
    """
    return turn(vector, [position * speed for speed in speeds(len(vector), base)])


def no_position(vector: Vector, position: int) -> Vector:
    """Leave a query or key as it is: the setting of 2017, whose positions came earlier."""
    return vector


def whole_text(position: int) -> int:
    """The first position that a token may look at: the beginning of the text."""
    return 0


def sliding_window(position: int, size: int) -> int:
    """The same for Mistral's first model: only the last `size` tokens are in sight.

    Its window is 4,096 wide. But what it sees have themselves looked back as far, so
    over 32 blocks word gets around.

    >>> [sliding_window(position, size=3) for position in range(6)]
    [0, 0, 0, 1, 2, 3]
    """
    return max(0, position - size + 1)


# %% Staying in range
# What a block finds is added to the vector that came in; nothing is replaced. This is
# called a residual connection: the vector is a notebook that goes from block to block,
# and each writes something into it. But sums grow, and dozens of blocks would
# make them huge. So what a block reads is first brought back to a standard size.

def layer_norm(vector: Vector, weights: Vector, biases: Vector, epsilon: float) -> Vector:
    """Move the numbers to a mean of 0 and scale them to a variance of 1.

    Large or small, the same comes out. Then each gets a weight and a bias that are
    learned; here they change nothing. (epsilon keeps a vector of zeros from a division
    by 0.) Ba, Kiros and Hinton 2016.

    >>> for vector in ([1.0, 2.0, 3.0], [100.0, 200.0, 300.0]):
    ...     normed = layer_norm(vector, [1.0] * 3, [0.0] * 3, epsilon=1e-5)
    ...     print([round(number, 3) for number in normed])
    [-1.225, 0.0, 1.225]
    [-1.225, 0.0, 1.225]
    """
    mean = sum(vector) / len(vector)
    centred = [x - mean for x in vector]
    size = math.sqrt(dot(centred, centred) / len(vector) + epsilon)
    return [x / size * weight + bias for x, weight, bias in zip(centred, weights, biases)]


def rms_norm(vector: Vector, weights: Vector, epsilon: float) -> Vector:
    """Scale the numbers so that the mean of their squares is 1.

    The mean was not worth its price: models without that half of the work learn as
    well. Zhang and Sennrich 2019.

    >>> [round(number, 3) for number in rms_norm([3.0, 4.0], [1.0, 1.0], epsilon=0.0)]
    [0.849, 1.131]
    """
    size = math.sqrt(dot(vector, vector) / len(vector) + epsilon)
    return [x / size * weight for x, weight in zip(vector, weights)]


# %% Thinking it over
# Attention moves things from token to token, but it only ever adds them up. After each
# look back every token thinks on its own about what it has found: a matrix up into more
# numbers (mostly four times as many), a bend, a matrix down again. Without the bend,
# two matrices in a row would be no more than one. Two thirds of an LLM's weights are here.

def relu(x: float) -> float:
    """The bend of 2017: nothing below 0.

    >>> [relu(x) for x in (-2.0, -0.5, 0.0, 2.0)]
    [0.0, 0.0, 0.0, 2.0]
    """
    return max(0.0, x)


def gelu(x: float) -> float:
    """GPT-2's: the same with a round corner, so that there is a slope to learn by.

    >>> [round(gelu(x), 2) for x in (-2.0, -0.5, 0.0, 2.0)]
    [-0.05, -0.15, 0.0, 1.95]

    Hendrycks and Gimpel 2016, in the form with tanh that GPT-2 takes.
    """
    return x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


def silu(x: float) -> float:
    """Llama's and Mistral's, nearly the same and simpler. It is also called swish.

    >>> [round(silu(x), 2) for x in (-2.0, -0.5, 0.0, 2.0)]
    [-0.24, -0.19, 0.0, 1.76]
    """
    return x / (1 + math.exp(-x)) if x > -700 else 0.0     # e to the 710 is too large for a float


def feed_forward(vector: Vector, up: Linear, down: Linear, activation: Callable) -> Vector:
    """Up, bend, down. With it a token can say "if this and that, then":

    >>> both = Linear([[1.0, 1.0]], [-1.0])         # more than 1 only if both are there
    >>> for vector in ([1.0, 0.0], [0.0, 1.0], [1.0, 1.0]):
    ...     print(vector, feed_forward(vector, both, Linear([[1.0]]), relu))
    [1.0, 0.0] [0.0]
    [0.0, 1.0] [0.0]
    [1.0, 1.0] [1.0]
    """
    return down([activation(x) for x in up(vector)])


def gated_feed_forward(vector: Vector, gate: Linear, up: Linear, down: Linear,
                       activation: Callable) -> Vector:
    """The same with a gate for each number: how much of it may pass?

    A gate is one more matrix, and a multiplication: "this much of that". With silu it is
    called SwiGLU (Shazeer 2020), and nearly every model of today has it.

    >>> one = Linear([[1.0]])
    >>> [round(gated_feed_forward([x], one, one, one, silu)[0], 2) for x in (-2.0, 1.0, 2.0)]
    [0.48, 0.73, 3.52]
    """
    return down([activation(x) * y for x, y in zip(gate(vector), up(vector))])


# %% The block, and the stack

@dataclass
class Settings:
    """The choices in which one transformer differs from another.

    Some are sizes, and some are functions of this lesson. `dimensions` is the length of
    a token's vector. `heads` ask; `key_value_heads` are asked, and if there are fewer of
    them, neighbouring heads share one. A look at 12 numbers in 4 heads:

    >>> settings = Settings(dimensions=12, heads=4, key_value_heads=2)
    >>> settings.head_dim, settings.norm.__name__
    (3, 'rms_norm')

    Raises ValueError for sizes that do not fit together.

    >>> Settings(dimensions=12, heads=5)
    Traceback (most recent call last):
    ValueError: 12 dimensions can't be divided among 5 heads
    """

    dimensions: int
    heads: int = 1
    key_value_heads: Optional[int] = None       # None: as many as heads
    head_dim: Optional[int] = None              # None: dimensions / heads
    norm: Callable = rms_norm
    norm_first: bool = True                     # before or after what a block does
    epsilon: float = 1e-5
    query_at: Callable = rotate                 # (query, position) → query
    key_at: Callable = rotate
    first_visible: Callable = whole_text        # position → position
    feed_forward: Callable = gated_feed_forward
    activation: Callable = silu

    def __post_init__(self) -> None:
        if self.key_value_heads is None:
            self.key_value_heads = self.heads
        if min(self.dimensions, self.heads, self.key_value_heads) < 1:
            raise ValueError("a transformer needs at least one dimension and one head")
        if self.heads % self.key_value_heads:
            raise ValueError(f"{self.heads} heads can't share {self.key_value_heads} evenly")
        if self.head_dim is None:
            if self.dimensions % self.heads:
                raise ValueError(f"{self.dimensions} dimensions can't be divided among {self.heads} heads")
            self.head_dim = self.dimensions // self.heads


class Cache:
    """What a block remembers of a text: for each head the keys and values of all tokens.

    Nobody looks ahead, so the keys and values of a token never change. They are kept,
    and only queries are new. `weights` is how the last token looked back, kept only to be drawn.
    """

    def __init__(self, heads: int):
        self.keys = [[] for _ in range(heads)]
        self.values = [[] for _ in range(heads)]
        self.weights = []

    def forget(self, position: int) -> None:
        """Forget the token at this position and all that follow it."""
        for vectors in self.keys + self.values:
            del vectors[position:]


@dataclass
class Block:
    """One layer: its weights, and what it does with the vector of one token.

    The norms are lists of what the norm takes: weights, and for `layer_norm` biases.
    `feed_forward` is the list of parts that the function of that name takes. Each block
    has its settings; mostly all share the same, but they need not.

    Raises ValueError if a matrix does not have as many rows as the heads need.
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
        _check_rows(self)

    def attend(self, vector: Vector, position: int, cache: Cache) -> Vector:
        """Look back with every head, and mix what they bring home.

        First the token's own keys and values go into the cache: it may look at itself.
        """
        settings, found, cache.weights = self.settings, [], []
        for head, key in enumerate(split_heads(self.key(vector), settings.head_dim)):
            cache.keys[head].append(settings.key_at(key, position))
        for head, value in enumerate(split_heads(self.value(vector), settings.head_dim)):
            cache.values[head].append(value)
        first = settings.first_visible(position)
        for head, query in enumerate(split_heads(self.query(vector), settings.head_dim)):
            asked = head * settings.key_value_heads // settings.heads
            query = settings.query_at(query, position)
            weights = attention_weights(query, cache.keys[asked][first:])
            found += weighted_sum(weights, cache.values[asked][first:])
            cache.weights.append([0.0] * first + weights)
        return self.output(found)

    def think(self, vector: Vector) -> Vector:
        """The feed-forward layer, whichever the settings name."""
        return self.settings.feed_forward(vector, *self.feed_forward, self.settings.activation)

    def step(self, vector: Vector, position: int, cache: Cache) -> Vector:
        """Look back and think, and add both to the vector.

        In 2017 the norm came last, and all that goes through a block was rescaled. With
        the norm first a block only rescales what it reads, the sum itself goes through
        untouched, and a hundred blocks can be trained as easily as six.
        """
        def norm(vector: Vector, weights: list[Vector]) -> Vector:
            return self.settings.norm(vector, *weights, self.settings.epsilon)

        if self.settings.norm_first:
            read = norm(vector, self.attention_norm)
            vector = add(vector, self.attend(read, position, cache))
            return add(vector, self.think(norm(vector, self.feed_forward_norm)))
        vector = norm(add(vector, self.attend(vector, position, cache)), self.attention_norm)
        return norm(add(vector, self.think(vector)), self.feed_forward_norm)


def _check_rows(block: Block) -> None:
    settings = block.settings
    for name, heads in (("query", settings.heads), ("key", settings.key_value_heads), ("value", settings.key_value_heads)):
        rows = len(getattr(block, name).matrix)
        if rows != heads * settings.head_dim:
            raise ValueError(f"the {name} matrix has {rows} rows, but {heads} heads of {settings.head_dim} numbers "
                             f"need {heads * settings.head_dim}")


class Transformer:
    """The whole model: embeddings, blocks, a last norm, and a score for every token.

    `embeddings` is V x D as in lesson 3. `output` is V x D too: its row for a token is
    what a vector must look like to have that token next. Without it the embeddings
    do both jobs ("tied"). `positions` is a table of vectors that are added, one for each
    position, if the blocks do not rotate.
    """

    def __init__(self, settings: Settings, embeddings: Matrix, blocks: list[Block],
                 last_norm: Optional[list[Vector]] = None, output: Optional[Matrix] = None,
                 positions: Optional[Matrix] = None):
        self.settings, self.embeddings, self.blocks = settings, embeddings, blocks
        self.last_norm, self.positions = last_norm, positions
        self.output = embeddings if output is None else output
        self.ids = []       # what the caches remember
        self.caches = [Cache(block.settings.key_value_heads) for block in blocks]

    def logits(self, ids: list[int]) -> Vector:
        """One score per token of the vocabulary, for the token after `ids`.

        The meaning is that of lesson 3, so lesson 4's `generate` takes a transformer as it
        is. Only the last vector is asked for scores: of the others nobody wants to know.

        Raises ValueError for no ids, for an id without a row, and beyond the last position.
        """
        if not ids:
            raise ValueError("a transformer needs at least one token to go on from")
        self.keep_beginning(ids)
        for id in ids[len(self.ids):]:
            vector = self.read(id)
        if self.last_norm is not None:
            vector = self.settings.norm(vector, *self.last_norm, self.settings.epsilon)
        return times(self.output, vector)

    def read(self, id: int) -> Vector:
        """Take one more token through all the blocks; its last vector comes out."""
        position = len(self.ids)
        vector = lookup(self.embeddings, [id])[0]
        if self.positions is not None:
            if position >= len(self.positions):
                raise ValueError(f"the text is too long: there are {len(self.positions)} positions")
            vector = add(vector, self.positions[position])
        for block, cache in zip(self.blocks, self.caches):
            vector = block.step(vector, position, cache)
        self.ids.append(id)
        return vector

    def keep_beginning(self, ids: list[int]) -> None:
        """Keep in mind what these ids have in common with the last ones, and forget the rest.

        The last of `ids` is always read again, for its vector is needed.
        """
        same = 0
        while same < min(len(ids) - 1, len(self.ids)) and ids[same] == self.ids[same]:
            same += 1
        del self.ids[same:]
        for cache in self.caches:
            cache.forget(same)


# %% Transformer vs Mistral
# Learn once, create any LLM: three models of three ages, and each is a setting of this
# class. The comments say why the field moved on.

TRANSFORMER = Settings(dimensions=512, heads=8, norm=layer_norm, norm_first=False,
                       query_at=no_position, key_at=no_position,     # + sinusoids
                       feed_forward=feed_forward, activation=relu)
GPT_2 = Settings(dimensions=768, heads=12, norm=layer_norm,
                 norm_first=True,               # deep stacks can be trained
                 query_at=no_position, key_at=no_position,      # + a learned table
                 feed_forward=feed_forward,
                 activation=gelu)               # a slope everywhere
MISTRAL = Settings(dimensions=4096, heads=32,
                   key_value_heads=8,           # a quarter of the cache
                   norm=rms_norm,               # half the work, and as good
                   norm_first=True,
                   query_at=rotate, key_at=rotate,      # distance is what counts
                   first_visible=partial(sliding_window, size=4096),    # bounded work
                   feed_forward=gated_feed_forward,     # learns more with as many weights
                   activation=silu)


def compare(columns: dict[str, Settings]) -> str:
    """Show settings side by side; every name in the table is a function of this lesson.

    >>> print(compare({"2017": TRANSFORMER, "GPT-2": GPT_2, "Mistral": MISTRAL}))
                         2017         GPT-2  Mistral
    dimensions            512           768  4096
    heads                   8            12  32
    key_value_heads         8            12  8
    head_dim               64            64  128
    norm           layer_norm    layer_norm  rms_norm
    norm_first          False          True  True
    epsilon             1e-05         1e-05  1e-05
    query_at      no_position   no_position  rotate
    key_at        no_position   no_position  rotate
    first_visible  whole_text    whole_text  sliding_window
    feed_forward feed_forward  feed_forward  gated_feed_forward
    activation           relu          gelu  silu

    Two more cells are weights that are there or not. The first two have biases in every
    `Linear`, Mistral has none. The first two use the embeddings as output too; Mistral
    has an output matrix of its own, for it can afford one.
    """
    rows = [["", *columns]]
    for field in fields(Settings):
        choices = [getattr(settings, field.name) for settings in columns.values()]
        choices = [getattr(choice, "func", choice) for choice in choices]   # of a partial
        rows.append([field.name, *(getattr(choice, "__name__", choice) for choice in choices)])
    return table(rows)


# %% Set by hand
# Weights are learned, but a transformer is easier to understand if you write them down
# yourself. This one does what every LLM learns to do early on: it finds "A B" earlier in
# the text, and after the next "A" it says "B". It takes two looks. A token's vector is
# a notebook with four places. Ids are written in binary, each 0 as a -1, so that the dot
# product of two ids is the highest if they are the same.
#
#     now      my own id
#     before   the id of the token before me      (block 1 writes it)
#     found    what I think comes next            (block 2 writes it)
#     kind     1 0, or 0 1 for the start of the text
#
# Here pair i turns by 1/10^i at each step: the first pairs tell distances, and the others
# turn so slowly that they can compare ids.

SHARP = 200_000     # queries are this long, so that softmax picks only the best match


def look_one_back(settings: Settings, size: int) -> Block:
    """Block 1: every token looks at the one before it, and copies its `now` to `before`.

    All keys are alike, and turned to where they stand. The query is that key turned back
    by one step. So the dot product is highest for the token one step back.

    >>> scores = [dot(rotate([1.0, 0.0], -1), rotate([1.0, 0.0], -back)) for back in range(4)]
    >>> [round(score, 2) for score in scores]
    [0.54, 1.0, 0.54, -0.42]
    """
    now, before, kind = 0, size, 3 * size
    key = [1.0] * 4 + [0.0] * (settings.head_dim - 4)
    query = settings.query_at(key, -1)
    return _block(settings, size + 1,
                  {(row, kind + either): SHARP * x for row, x in enumerate(query) for either in (0, 1)},
                  {(row, kind + either): x for row, x in enumerate(key) for either in (0, 1)},
                  {(i, now + i): 1.0 for i in range(size)},
                  {(before + i, i): 1.0 for i in range(size)})


def look_for_the_same(settings: Settings, size: int, start: Vector) -> Block:
    """Block 2: whose `before` is my `now`? What that token is, comes next: copy it to `found`.

    An id with `size` bits gives a score of `size` to itself, and at most size - 2 to any
    other. Between the two, at size - 1, lies the score of the start of the text: who finds
    nothing looks there, and gets nothing. Real LLMs learn such a place, too; it is called
    an attention sink. Of several matches the latest wins: a slow pair takes off a little
    for each step back.
    """
    now, before, found, kind = 0, size, 2 * size, 3 * size
    half, either = settings.head_dim // 2, (kind, kind + 1)
    query = {(5 + i, now + i): SHARP for i in range(size)}
    query.update({(5 + size, column): SHARP * (size - 1) for column in either})
    query.update({(3 + half, column): SHARP * 0.9 for column in either})
    key = {(5 + i, before + i): 1.0 for i in range(size)}
    key.update({(5 + i, kind + 1): -start[i] for i in range(size)})
    key.update({(5 + size, kind + 1): 1.0, (3, kind): 1.0, (3, kind + 1): 1.0})
    value = {(i, now + i): 1.0 for i in range(size)}
    value.update({(i, kind + 1): -start[i] for i in range(size)})
    return _block(settings, 2 * size + 1, query, key, value, {(found + i, i): 1.0 for i in range(size)})


def _block(settings: Settings, squares: int, *entries: dict[tuple[int, int], float]) -> Block:
    """A block with these numbers in query, key, value and output, and zeros everywhere else."""
    def fill(rows: int, columns: int, numbers: dict[tuple[int, int], float]) -> Linear:
        return Linear([[numbers.get((row, column), 0.0) for column in range(columns)] for row in range(rows)])

    wide, high = settings.dimensions, settings.head_dim
    norm = [[math.sqrt(squares / wide)] * wide]     # undoes the norm: all vectors here have the same length
    query, key, value = (fill(high, wide, numbers) for numbers in entries[:3])
    no_thought = [fill(1, wide, {}), fill(1, wide, {}), fill(wide, 1, {})]
    return Block(settings, norm, query, key, value, fill(wide, high, entries[3]), norm, no_thought)


def induction_head(vocab_size: int, start: int = 0) -> Transformer:
    """A transformer that looks for the last time a token was there, and says what followed.

    `start` is the id that a text begins with. Here are the looks of its second block:
    from the second " a" on, each token looks at the one that followed it last time.

    >>> head = induction_head(vocab_size=100)
    >>> ids, looks = [0, 7, 33, 58, 7, 33, 58, 7], []
    >>> for place in range(len(ids)):
    ...     logits = head.logits(ids[:place + 1])
    ...     looks.append(head.caches[1].weights[0])
    >>> print(draw_looks(["start", *"abcabca"], looks))
    ██ start
    >>> logits.index(max(logits))
    33

    It works on any vocabulary, with `generate` as it is, and on texts that no model has
    met, for it has learned nothing by heart:

    >>> tokenizer, model = course_model()
    >>> head = induction_head(len(tokenizer), start=story_ids(tokenizer, [])[0])
    >>> prompt = " green sister fast window seven house green"
    >>> print(*generate(head, tokenizer, prompt, max_new_tokens=5, temperature=0))
     sister  fast  window  seven  house
    >>> likely_next(prompt, tokenizer, model, count=1)
    """
    size = max(1, (vocab_size - 1).bit_length())
    codes = [[1.0 if id >> bit & 1 else -1.0 for bit in range(size)] for id in range(vocab_size)]
    at_place = partial(rotate, base=10.0 ** (size + 6))
    settings = Settings(3 * size + 2, head_dim=2 * (size + 6), epsilon=0.0,
                        query_at=at_place, key_at=at_place)
    embeddings = [code + [0.0] * (2 * size) + [float(id != start), float(id == start)]
                  for id, code in enumerate(codes)]
    output = [[0.0] * (2 * size) + [10 * x for x in code] + [0.0, 0.0] for code in codes]
    blocks = [look_one_back(settings, size), look_for_the_same(settings, size, codes[start])]
    return Transformer(settings, embeddings, blocks, [[1.0] * settings.dimensions], output)


# %% What looking back is worth

def worth(stories: list[str], tokenizer: Tokenizer, model: EmbeddingModel, share: float = 0.08,
          every: int = 1) -> tuple[float, float]:
    """Bits per byte of a model alone, and with a share of its trust given to the head.

    Where the head has something to say, 8 % of the probability goes to its token, and the
    model keeps 92 %. `every` looks at one token in so many, to be quick.

    >>> tokenizer, model = course_model()
    >>> seen, held_out = corpus_stories()
    >>> alone, mixed = worth(held_out, tokenizer, model, every=4)
    >>> 0.02 < alone - mixed < 0.06
    True

    From about 1.78 to 1.75 bits per byte: one head, set by hand, for free. Names and
    things that a story is about come again, and lesson 3's model has forgotten them by
    then. A trained transformer has hundreds of heads, and has learned what each looks for.
    """
    head = induction_head(len(tokenizer), start=story_ids(tokenizer, [])[0])
    alone = mixed = 0.0
    for story in stories:
        ids = story_ids(tokenizer, [story])
        for place in range(1, len(ids), every):
            right = softmax(model.logits(ids[:place]))[ids[place]]
            guesses = softmax(head.logits(ids[:place]))
            alone += bits(right)
            if max(guesses) > 0.5:
                right = (1 - share) * right + share * guesses[ids[place]]
            mixed += bits(right)
    size = sum(len((story + "\n\n").encode("utf-8")) for story in stories)
    return alone * every / size, mixed * every / size


# %% Never compute twice

def multiplications(model: Transformer, position: int) -> int:
    """Count what the blocks multiply for the token at a position, with the cache.

    Every weight once, and for each token in sight a key and a value. Without the cache
    all tokens before would have to go through the blocks again. For a text of 200 tokens,
    written one by one:

    >>> head = induction_head(vocab_size=100)
    >>> cost = [multiplications(head, position) for position in range(200)]
    >>> f"{sum(cost):,} with the cache"
    >>> f"{sum(sum(cost[:count]) for count in range(1, 201)):,} without"

    The logits are the same, to the last bit:

    >>> ids = [0, 7, 33, 58, 7, 33]
    >>> for count in range(1, len(ids) + 1):
    ...     logits = head.logits(ids[:count])           # one token more each time
    >>> logits == induction_head(vocab_size=100).logits(ids)
    True

    `logits` finds out by itself what is new: it goes on where these ids and the last
    ones part. So generating and chatting are cheap, and asking about another text is right.
    """
    count = 0
    for block in model.blocks:
        parts = [block.query, block.key, block.value, block.output, *block.feed_forward]
        count += sum(len(part.matrix) * len(part.matrix[0]) for part in parts)
        in_sight = position + 1 - block.settings.first_visible(position)
        count += 2 * in_sight * block.settings.heads * block.settings.head_dim
    return count


# %% Your turn

def exercise_1(answer: list[list[float]]) -> str:
    """A warm-up on paper. Three tokens; here is how well each query matches each key.

               key 1  key 2  key 3
    query 1      2      7      1
    query 2      3      3      9
    query 3      0      0      0

    Who looks at whom? Nobody looks ahead. Write three rows of weights as a list of lists,
    answer_1, into a file beside the lesson that begins with
    `from lesson_5_transformer import *`, and check it:

        python3 lesson_5_transformer.py --check answers_5.py
    """
    rows = [[round(weight, 2) for weight in row[:place + 1]] for place, row in enumerate(answer)]
    if any(any(row[place + 1:]) for place, row in enumerate(answer)):
        return "Somebody looks ahead: query 2 must not see key 3, however well they match."
    if rows == [[1.0], [0.5, 0.5], [0.33, 0.33, 0.33]]:
        return "Yes: what one may not see is left out before the softmax, so each row adds up to 1."
    return "Equal scores get equal weights, and each row adds up to 1. How many keys does query 1 see?"


def exercise_2(answer: list[int]) -> str:
    """Predict: how many numbers does Mistral keep for each token that it has read?

    It has 32 blocks. Use `MISTRAL`. And how many would it be if every head had keys and
    values of its own? Two whole numbers.
    """
    right = [32 * 2 * 8 * 128, 32 * 2 * 32 * 128]
    if answer == right:
        return "Yes: a text of 4,096 tokens takes 0.5 GB in 16 bits; without shared heads it would take 2."
    if answer in ([number // 2 for number in right], [number // 32 for number in right]):
        return "Nearly. Keys and values, in every one of the 32 blocks."
    return "For each block and each of the 8 heads that are asked: a key and a value of `head_dim` numbers."


def exercise_3(answer: list[Vector]) -> str:
    """Set a head by hand: it shall look two tokens back.

    answer_3 is a query and a key of 8 numbers each. Every token has the same two; they are
    rotated to where they stand, and with both from position 2 to 30 the weight of the
    token two steps back must be over 0.9.
    """
    query, key = answer
    keys = [rotate(key, position) for position in range(31)]
    for position in range(2, 31):
        weights = attention_weights(rotate(query, position), keys[:position + 1])
        back = position - weights.index(max(weights))
        if back != 2:
            return f"From position {position} it looks {back} back. See how `look_one_back` does it."
        if weights[-3] <= 0.9:
            return f"The right one, but with a weight of {weights[-3]:.2f} only. A longer query is surer of itself."
    return "Yes: it looks two back from everywhere."


def exercise_4(answer: Callable) -> str:
    """Write attention for a whole text.

    `answer_4(queries, keys, values)` gets three lists with a vector for each token, and
    returns for each token what it brings home. Nobody looks ahead.
    """
    rng = random.Random(0)
    for length in (1, 2, 7):
        queries, keys, values = ([[rng.gauss(0, 1) for _ in range(3)] for _ in range(length)] for _ in "qkv")
        right = [attention(query, keys[:place + 1], values[:place + 1]) for place, query in enumerate(queries)]
        given = answer(queries, keys, values)
        if len(given) != length:
            return f"For {length} tokens it gave {len(given)} vectors."
        for place, (vector, wanted) in enumerate(zip(given, right)):
            if len(vector) != 3 or any(abs(x - y) > 1e-9 for x, y in zip(vector, wanted)):
                return f"Of {length} tokens, number {place + 1} brings home the wrong vector. Whom may it see?"
    return "Yes: this is what a graphics card computes for all tokens at once."


def exercise_5(answer: Callable) -> str:
    """For an evening: how attention learns.

    To train the weights one must know the slopes: how much does the loss change if a number
    changes a little? Say that the loss is dot(upstream, attention(query, keys, values)).
    `answer_5(query, keys, values, upstream)` returns its slopes for every number of the
    query, of the keys and of the values, in their shapes. Lesson 3's errors are the slopes
    of a softmax with its loss; here you need those of the softmax alone. With this
    you could train a transformer.
    """
    rng = random.Random(0)
    query, upstream = ([rng.gauss(0, 1) for _ in range(4)] for _ in "qu")
    keys, values = ([[rng.gauss(0, 1) for _ in range(4)] for _ in range(5)] for _ in "kv")
    given = answer(query, keys, values, upstream)

    def loss() -> float:
        return dot(upstream, attention(query, keys, values))

    def slope(vector: Vector, place: int) -> float:
        before, losses = vector[place], []
        for step in (1e-5, -1e-5):
            vector[place] = before + step
            losses.append(loss())
        vector[place] = before
        return (losses[0] - losses[1]) / 2e-5

    for name, rows, slopes in (("values", values, given[2]), ("query", [query], [given[0]]), ("keys", keys, given[1])):
        right = [[slope(row, place) for place in range(4)] for row in rows]
        if len(slopes) != len(rows) or any(abs(x - y) > 1e-6 for a, b in zip(slopes, right) for x, y in zip(a, b)):
            return f"The slopes of the {name} are not right yet. Change one number of them by 0.001, and see what the loss does."
    return "Yes: all 44 slopes are right."


# %% On the command line

HELP = """Lesson 5: the transformer. Without a text it plays the lesson.
  text        show what the hand-set head sees in it, and who looks at whom
for example: python3 lesson_5_transformer.py "The dog saw a cat. The cat saw the dog."
"""


def show(text: str) -> None:
    """What the head of two blocks finds in a text, and a drawing of its looks."""
    tokenizer = course_tokenizer()
    ids = story_ids(tokenizer, [text])[:-1]
    if len(ids) < 2:
        raise ValueError("there is nothing in this text to look back at")
    head, looks = induction_head(len(tokenizer), start=ids[0]), []
    tokens = ["(start)", *(tokenizer.decode([id]) for id in ids[1:])]
    print("What followed the last time each token was there:\n")
    rows = []
    for place in range(len(ids)):
        head.logits(ids[:place + 1])
        looks.append(head.caches[1].weights[0])
        found = looks[-1].index(max(looks[-1]))
        if found and place:
            came = place + 1 < len(ids) and ("and it came again" if ids[place + 1] == ids[found] else "but now came " + visible(tokens[place + 1]))
            rows.append([visible(tokens[place]), visible(tokens[found]), came or "and what comes now?"])
    print(table(rows) if rows else "Nothing: no token is there twice.")
    shown = [0, *range(max(1, len(ids) - 30), len(ids))]
    print("\nWho looks at whom" + (f" (the last {len(shown) - 1} tokens)" if len(shown) < len(ids) else "") + ":\n")
    print(draw_looks([tokens[place] for place in shown], [[looks[place][other] for other in shown if other <= place] for place in shown]))


if __name__ == "__main__":
    run_lesson(HELP, show)
