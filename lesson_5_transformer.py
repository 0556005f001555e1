"""Lesson 5: the transformer. Every token looks back, and picks what it needs."""

import math
import os
import sys
from dataclasses import dataclass
from typing import Callable, Optional

sys.path.append(os.path.dirname(sys.argv[0]))

from lesson_3_embeddings import Matrix, Vector, dot, lookup
from lesson_4_sampling import softmax


# %% Attention

def attention_weights(query: Vector, keys: Matrix) -> Vector:
    """How much a query looks at each key: weights that add up to 1."""
    scale = math.sqrt(len(query))
    return softmax([dot(query, key) / scale for key in keys])


def weighted_sum(weights: Vector, vectors: Matrix) -> Vector:
    """Add up vectors, each times its weight."""
    return [dot(weights, column) for column in zip(*vectors)]


def attention(query: Vector, keys: Matrix, values: Matrix) -> Vector:
    """Compare a query with all keys, and mix the values accordingly."""
    return weighted_sum(attention_weights(query, keys), values)


def times(matrix: Matrix, vector: Vector) -> Vector:
    """A matrix times a vector: the dot product of each row with it."""
    if isinstance(matrix, list):
        return [dot(row, vector) for row in matrix]
    return matrix.times(vector)


def add(a: Vector, b: Vector) -> Vector:
    """Add two vectors, number by number."""
    return [x + y for x, y in zip(a, b)]


@dataclass
class Linear:
    """A matrix and, in some models, biases that are added to what it gives."""

    matrix: Matrix
    biases: Optional[Vector] = None

    def __call__(self, vector: Vector) -> Vector:
        result = times(self.matrix, vector)
        return result if self.biases is None else add(result, self.biases)


# %% Where does a token stand?

def speeds(dimensions: int, base: float = 10000.0) -> Vector:
    """The angle by which each pair of numbers turns from one position to the next."""
    if dimensions % 2:
        raise ValueError(f"positions need pairs of numbers, and {dimensions} is odd")
    return [base ** (-2 * pair / dimensions) for pair in range(dimensions // 2)]


def sinusoid(position: int, dimensions: int) -> Vector:
    """The position vector of 2017: sine and cosine of one angle after another."""
    angles = [position * speed for speed in speeds(dimensions)]
    return [wave(angle) for angle in angles for wave in (math.sin, math.cos)]


def turn(vector: Vector, angles: Vector) -> Vector:
    """Turn each pair of numbers by its angle; number i is paired with number i + D / 2."""
    half = len(vector) // 2
    pairs = list(zip(vector[:half], vector[half:], angles))
    return ([x * math.cos(angle) - y * math.sin(angle) for x, y, angle in pairs]
            + [x * math.sin(angle) + y * math.cos(angle) for x, y, angle in pairs])


def rotate(vector: Vector, position: int, base: float = 10000.0) -> Vector:
    """Rotary positions: turn the pairs of a vector, each at its own speed."""
    return turn(vector, [position * speed for speed in speeds(len(vector), base)])


def no_position(vector: Vector, position: int) -> Vector:
    """Leave a vector as it is, wherever it stands."""
    return vector


# %% How far back to look

def whole_text(position: int) -> int:
    """The first position that a token may look at: the beginning."""
    return 0


def sliding_window(position: int, size: int) -> int:
    """The first position that a token may look at: only `size` are in sight."""
    return max(0, position - size + 1)


# %% Staying in range

def layer_norm(vector: Vector, weights: Vector, biases: Vector, epsilon: float) -> Vector:
    """Shift a vector to a mean of 0, scale it to a variance of 1."""
    mean = sum(vector) / len(vector)
    centred = [x - mean for x in vector]
    size = math.sqrt(dot(centred, centred) / len(vector) + epsilon)
    return [x / size * weight + bias for x, weight, bias in zip(centred, weights, biases)]


def rms_norm(vector: Vector, weights: Vector, epsilon: float) -> Vector:
    """Scale a vector so that the mean of its squares is 1."""
    size = math.sqrt(dot(vector, vector) / len(vector) + epsilon)
    return [x / size * weight for x, weight in zip(vector, weights)]


# %% Thinking it over

def relu(x: float) -> float:
    return max(0.0, x)


def gelu(x: float) -> float:
    return x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


def silu(x: float) -> float:
    return x / (1 + math.exp(-x)) if x > -700 else 0.0


def feed_forward(vector: Vector, up: Linear, down: Linear, activation: Callable) -> Vector:
    """Two matrices, and a bend between them."""
    return down([activation(x) for x in up(vector)])


def gated_feed_forward(vector: Vector, gate: Linear, up: Linear, down: Linear, activation: Callable) -> Vector:
    """The same with a gate; with silu it is called SwiGLU."""
    return down([activation(x) * y for x, y in zip(gate(vector), up(vector))])


# %% The block, and the stack

@dataclass
class Settings:
    """The choices in which one transformer differs from another."""

    dimensions: int
    heads: int = 1
    key_value_heads: Optional[int] = None
    head_dim: Optional[int] = None
    norm: Callable = rms_norm
    norm_first: bool = True
    epsilon: float = 1e-5
    query_at: Callable = rotate
    key_at: Callable = rotate
    first_visible: Callable = whole_text
    feed_forward: Callable = gated_feed_forward
    activation: Callable = silu

    def __post_init__(self) -> None:
        self.key_value_heads = self.key_value_heads or self.heads
        if self.head_dim is None and self.dimensions % self.heads:
            raise ValueError(f"{self.dimensions} dimensions can't be divided among {self.heads} heads")
        if self.heads % self.key_value_heads:
            raise ValueError(f"{self.heads} heads can't share {self.key_value_heads} heads of keys and values")
        self.head_dim = self.head_dim or self.dimensions // self.heads


class Cache:
    """What one block remembers: for each head the keys and values of all tokens so far."""

    def __init__(self, heads: int):
        self.keys = [[] for _ in range(heads)]
        self.values = [[] for _ in range(heads)]
        self.weights = []       # how each head of the last token looked back; only to be shown

    def forget(self, position: int) -> None:
        """Forget what belongs to this position and all behind it."""
        for vectors in self.keys + self.values:
            del vectors[position:]


@dataclass
class Block:
    """One layer of a transformer: its weights, and what it does with a token's vector."""

    settings: Settings
    attention_norm: list[Vector]
    query: Linear
    key: Linear
    value: Linear
    output: Linear
    feed_forward_norm: list[Vector]
    feed_forward: list

    def __post_init__(self) -> None:
        settings = self.settings
        for name, heads in (("query", settings.heads), ("key", settings.key_value_heads),
                            ("value", settings.key_value_heads)):
            rows = len(getattr(self, name).matrix)
            if rows != heads * settings.head_dim:
                raise ValueError(f"the {name} matrix has {rows} rows, not {heads} x {settings.head_dim}")

    def attend(self, vector: Vector, position: int, cache: Cache) -> Vector:
        """Look back with all heads, and bring home what they found."""
        settings, found = self.settings, []
        for head, key in enumerate(split_heads(self.key(vector), settings.head_dim)):
            cache.keys[head].append(settings.key_at(key, position))
        for head, value in enumerate(split_heads(self.value(vector), settings.head_dim)):
            cache.values[head].append(value)
        start = settings.first_visible(position)
        cache.weights = []
        for head, query in enumerate(split_heads(self.query(vector), settings.head_dim)):
            shared = head * settings.key_value_heads // settings.heads
            query = settings.query_at(query, position)
            weights = attention_weights(query, cache.keys[shared][start:])
            found += weighted_sum(weights, cache.values[shared][start:])
            cache.weights.append([0.0] * start + weights)
        return self.output(found)

    def think(self, vector: Vector) -> Vector:
        """The feed-forward layer."""
        return self.settings.feed_forward(vector, *self.feed_forward, self.settings.activation)

    def step(self, vector: Vector, position: int, cache: Cache) -> Vector:
        """Take the vector of one token through the block."""
        def norm(vector: Vector, weights: list[Vector]) -> Vector:
            return self.settings.norm(vector, *weights, self.settings.epsilon)

        if self.settings.norm_first:
            vector = add(vector, self.attend(norm(vector, self.attention_norm), position, cache))
            return add(vector, self.think(norm(vector, self.feed_forward_norm)))
        vector = norm(add(vector, self.attend(vector, position, cache)), self.attention_norm)
        return norm(add(vector, self.think(vector)), self.feed_forward_norm)


def split_heads(vector: Vector, head_dim: int) -> Matrix:
    """Cut a vector into pieces, one for each head."""
    return [vector[start:start + head_dim] for start in range(0, len(vector), head_dim)]


class Transformer:
    """Embeddings, blocks, a last norm, logits."""

    def __init__(self, settings: Settings, embeddings: Matrix, blocks: list[Block],
                 last_norm: Optional[list[Vector]] = None, output: Optional[Matrix] = None,
                 positions: Optional[Matrix] = None):
        self.settings, self.embeddings, self.blocks = settings, embeddings, blocks
        self.last_norm, self.positions = last_norm, positions
        self.output = embeddings if output is None else output
        self.ids = []
        self.caches = [Cache(block.settings.key_value_heads) for block in blocks]

    def read(self, id: int) -> Vector:
        """Take one more token through all the blocks."""
        position = len(self.ids)
        vector = lookup(self.embeddings, [id])[0]
        if self.positions is not None:
            if position >= len(self.positions):
                raise ValueError(f"the text is too long: there are only {len(self.positions)} positions")
            vector = add(vector, self.positions[position])
        for block, cache in zip(self.blocks, self.caches):
            vector = block.step(vector, position, cache)
        self.ids.append(id)
        return vector

    def logits(self, ids: list[int]) -> Vector:
        """One score per token of the vocabulary, for the token after `ids`."""
        if not ids:
            raise ValueError("there must be at least one token to look at")
        self.forget(ids)
        for id in ids[len(self.ids):]:
            vector = self.read(id)
        if self.last_norm is not None:
            vector = self.settings.norm(vector, *self.last_norm, self.settings.epsilon)
        return times(self.output, vector)

    def forget(self, ids: list[int]) -> None:
        """Keep what was read of the beginning that these ids share with the last ones."""
        same = 0
        while same < min(len(ids) - 1, len(self.ids)) and ids[same] == self.ids[same]:
            same += 1
        del self.ids[same:]
        for cache in self.caches:
            cache.forget(same)
