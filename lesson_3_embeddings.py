"""Lesson 3: embeddings. Every token becomes a vector, and the vectors are learned.

Lesson 2 turned any text into ids. But an id is only a place in a list: 300 is no more
like 301 than like 5. So the first thing that a language model does with an id is to
swap it for a vector, a row of numbers: the embedding of the token. Tokens that are used
alike get vectors that point alike, and what the model learns about " dog" then helps it
with " cat". Nobody writes these numbers down. They are learned, by guessing the next
token again and again.

    ids 0 1 2  →  rows 0, 1, 2 of a matrix  →  a guess  →  a score per token

In this lesson you compare vectors, draw a map of them, train your own in seconds, from
our stories or from a text of yours, and open the vectors of a real LLM. This is what
the model of this course, which began with random numbers, learned about " blue":

>>> tokenizer, model = course_model()
>>> print(show_nearest(" blue", tokenizer, model.embeddings, k=3))
·blue    1.000  ████████████████████████
·grey    0.601  ██████████████▍
·clear   0.551  █████████████▎
·cloudy  0.544  █████████████
"""

import ast
import hashlib
import heapq
import html
import json
import math
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter, defaultdict
from functools import lru_cache
from itertools import chain, product
from operator import mul
from pathlib import Path
from typing import Callable, Iterable, Optional, Union

sys.path.append(os.path.dirname(sys.argv[0]))
from formats import Tensor, checked_metadata, read_safetensors, write_safetensors, write_whole
from lesson_1_tokens import CORPUS, UNKNOWN, build_vocabulary, corpus_stories, split_stories, tokens_to_ids
from lesson_2_coding_tokenizer import COURSE_VOCAB_SIZE, END_OF_TEXT, Tokenizer, course_tokenizer, text_to_bytes
from stage import HERE, bar, display_width, progress, read_text, run_lesson, table

Vector = list[float]
Matrix = list[list[float]]


# %% Introducing: Vector Embeddings
#
# A point on paper has two numbers: how far to the right, and how far up. Draw an arrow
# to it from the origin, and you have a vector.
#
#     2 |        [1, 2]
#       |       /
#       |      /
#       |     /
#     1 |    /           [2, 1]
#       |   /        _.-'
#       |  /  37°_.-'
#       | /  _.-'
#     0 |/.-'____________
#       0       1       2
#
# A point in a room has three numbers. The vectors of an LLM have thousands, which
# nobody can draw, but everything below works for them in the same way.

def length(vector: Vector) -> float:
    """The length of an arrow, by Pythagoras.

    The root of the sum of the squares, however many numbers there are; Python has it as
    `math.hypot`.

    >>> length([3, 4]), length([2, 3, 6])
    (5.0, 7.0)
    """
    return math.hypot(*vector)


def dot(a: Vector, b: Vector) -> float:
    """The dot product: multiply number by number, and add up.

    >>> dot([2, 1], [1, 2])     # 2 * 1 + 1 * 2
    4

    It is large when both vectors are large in the same places. The slides give a dog
    and a cat three numbers each: fluffiness, willingness to save your life, and
    gratefulness. Who should be near when you fall into a lake?

    >>> dog, cat = [0.42, 0.97, 0.95], [0.73, 0.04, 0.01]
    >>> in_a_lake = [0, 1, 0]       # only the second number counts
    >>> dot(in_a_lake, dog), dot(in_a_lake, cat)
    (0.97, 0.04)

    And for an evening on the sofa?

    >>> on_the_sofa = [1, 0, 0]     # only fluffiness counts
    >>> dot(on_the_sofa, dog), dot(on_the_sofa, cat)
    (0.42, 0.73)

    So a dot product is a score: how well does this vector fit what is asked for? An LLM
    scores each possible next token in this way.

    Raises ValueError for vectors of different lengths.

    >>> dot([1, 2, 3, 4], cat)
    Traceback (most recent call last):
    ValueError: these vectors have 4 and 3 numbers; both need the same
    """
    if len(a) != len(b):
        raise ValueError(f"these vectors have {len(a)} and {len(b)} numbers; "
                         "both need the same")
    return sum(map(mul, a, b))


def cosine_similarity(a: Vector, b: Vector) -> float:
    """How much two arrows point the same way: the cosine of the angle between them.

    Scale both arrows to length 1, and take the dot product. Now only the direction
    counts: 1 is the same way, 0 a right angle, -1 the opposite way.

    >>> cosine_similarity([3, 4], [6, 8]), cosine_similarity([1, 0], [0, 5])
    (1.0, 0.0)
    >>> cosine_similarity([1, 0], [-2, 0])
    -1.0

    And the two arrows of the picture:

    >>> cosine = cosine_similarity([2, 1], [1, 2])
    >>> round(cosine, 3), round(math.degrees(math.acos(cosine)))
    (0.8, 37)

    The slides give each number a name, and warn that real ones have none. Here is why.
    Turn all arrows together, and all the numbers change, but no angle does:

    >>> def turn(v):
    ...     return [0.6 * v[0] + 0.8 * v[1], 0.6 * v[1] - 0.8 * v[0]]
    >>> turn([2, 1]), turn([1, 2])
    ([2.0, -1.0], [2.2, 0.3999999999999999])
    >>> round(cosine_similarity(turn([2, 1]), turn([1, 2])), 3)
    0.8

    A model only learns how the arrows lie to each other. In ours it is an accident
    which way the axes point. In a large LLM not quite, since some of its parts treat
    each number on its own, but one number alone still rarely means something.

    Raises ValueError for a vector of zeros, which has no direction.
    """
    return max(-1.0, min(1.0, dot(unit(a), unit(b))))


def unit(vector: Vector) -> Vector:
    """The arrow of length 1 that points the same way.

    >>> unit([3, 4])
    [0.6, 0.8]
    """
    size = length(vector)
    if size == 0:
        raise ValueError("a vector of zeros has no direction to compare")
    return [number / size for number in vector]


# %% What learned vectors look like
#
# The model of this course has one vector of 64 numbers for each of its 1,200 tokens.
# How it learned them comes later. First look at what it found.

def nearest(vector: Vector, matrix: Iterable[Vector], k: int) -> list[tuple[int, float]]:
    """The k rows of a matrix that point most nearly where a vector points.

    Returns row ids with their cosine similarity, best first; on a tie the lower id
    comes first. A row of zeros points nowhere and is no neighbour of anything: so are
    the tokens that the model never met in training.

    >>> nearest([3, 4], [[0, 9], [6, 8], [0, 0], [-1, -1]], k=2)
    [(1, 1.0), (0, 0.8)]
    """
    direction = unit(vector)
    sizes = ((id, row, length(row)) for id, row in enumerate(matrix))
    cosines = ((min(dot(direction, row) / size, 1.0), -id)
               for id, row, size in sizes if size)
    return [(-id, cosine) for cosine, id in heapq.nlargest(k, cosines)]


def show_nearest(text: str, tokenizer: Tokenizer, matrix: Union[Matrix, Tensor], k: int = 8) -> str:
    """For each token of a text, the tokens whose vectors point most nearly its way.

    Mind the space: " dog" is one token, but "dog" is three, d, o and g.

    >>> tokenizer, model = course_model()
    >>> print(show_nearest(" dog", tokenizer, model.embeddings, k=4))
    ·dog     1.000  ████████████████████████
    ·horses  0.651  ███████████████▋
    ·sun     0.638  ███████████████▎
    ·cat     0.610  ██████████████▋
    ·son     0.608  ██████████████▋

    Nobody told the model that a dog is an animal and a mother a person. It had to guess
    what comes next, and words of one kind stand in the same places. Not every neighbour
    is a good one: it has read only 60 KB, a very short life.

    >>> for word in "mother girl red run walk".split():
    ...     id, = tokenizer.encode(" " + word)
    ...     near = nearest(model.embeddings[id], model.embeddings, k=6)[1:]
    ...     print(word.ljust(7), *(tokenizer.decode([id]) for id, _ in near))
    mother   father  uncle  teacher  grandmother  farmer
    girl     boy  fox  cow  child  driver
    red      fire  dark  their  our  apple
    run      play  sit  walk  come  get
    walk     go  see  play  get  drove
    """
    tables = [_neighbours(id, tokenizer, matrix, k)
              for id in dict.fromkeys(tokenizer.encode(text))]
    return "\n\n".join(tables)


def _neighbours(id: int, tokenizer: Tokenizer, matrix: Union[Matrix, Tensor], k: int) -> str:
    vector, known = lookup(matrix, [id])[0], set(tokenizer.vocabulary.values())
    if not any(vector):
        return f"{tokenizer.show([id], color=False)}: training never met it, so it has no neighbours"
    rows = progress(matrix, f"comparing {len(matrix)} vectors")
    found = nearest(vector, rows, k + 1 + max(0, len(matrix) - len(known)))
    return table([[tokenizer.show([near], color=False), f"{cosine:.3f}", bar(cosine)]
                  for near, cosine in found if near in known][:k + 1])


def principal_components(matrix: Matrix, count: int = 2, rounds: int = 100) -> Matrix:
    """The directions in which the rows of a matrix differ most: the axes of a map.

    To draw 64 dimensions on paper, look at them from where they spread out most. These
    points lie near a line that climbs 1 in 2:

    >>> rows = [[0, 0], [2, 1.1], [4, 1.9], [6, 3]]
    >>> [round(number, 2) for number in principal_components(rows)[0]]
    [0.9, 0.44]

    To find the line, begin with any direction and let each row, seen from the middle of
    all, pull it its own way, the more the further it lies along it. After many rounds
    it has turned into the direction of most spread. For the next axis, take away what
    points along those found before. (Pearson's idea, of 1901; the method is called
    power iteration.)
    """
    means = [sum(column) / len(matrix) for column in zip(*matrix)]
    centred = [[x - mean for x, mean in zip(row, means)] for row in matrix]
    columns, rng, axes = list(zip(*centred)), random.Random(0), []
    spread = sum(dot(row, row) for row in centred) or 1.0

    def beside_the_others(vector):
        for axis in axes:
            vector = move(vector, axis, dot(vector, axis))
        return vector

    for _ in range(count):
        axis = unit(beside_the_others([rng.gauss(0, 1) for _ in means]))
        for _ in range(rounds):
            shares = [dot(row, axis) for row in centred]
            pulled = [dot(shares, column) for column in columns]
            pulled = beside_the_others(pulled)
            if length(pulled) < 1e-9 * spread:
                break       # no spread is left: any direction does
            axis = unit(pulled)
        axes.append(axis if max(axis, key=abs) > 0 else [-x for x in axis])
    return axes


KINDS = {"animals": "dog cat fox horse bird duck cow fish mouse",
         "people": "boy girl man woman mother father sister brother grandmother "
                   "grandfather teacher farmer driver doctor",
         "colours": "red blue green white black yellow grey",
         "places": "house garden school kitchen street village hill lake river",
         "vehicles": "car train bus truck boat"}


def map_words(words: str, tokenizer: Tokenizer, matrix: Matrix) -> tuple[list[str], Matrix]:
    """Those words that are one token and were met in training, and their vectors.

    >>> tokenizer, model = course_model()
    >>> kinds = " ".join(KINDS.values())
    >>> print(draw_map(*map_words(kinds, tokenizer, model.embeddings)))
                                                      brother
    <BLANKLINE>
                                                        father
      blue                                          mother teacher
       yellow                                         sister
       grey
     white                                       girl
    green black                        grandfather  cow doctor
                                                 boy   farmer
                                                 grandmother
      red                                    horse driver
                                 truck  fish     fox bus
                                                dog
                                         train
                                      duck       cat
                                         bird  mouse
                               boat      car
                                school  woman river
                             hill  lake  man
                                garden kitchen
                                house     street
    <BLANKLINE>
    <BLANKLINE>
                                    village
    """
    found = {}
    for word in dict.fromkeys(words.split()):
        spellings = tokenizer.encode(" " + word), tokenizer.encode(word)
        rows = [ids[0] for ids in spellings if len(ids) == 1]
        if rows and any(vector := lookup(matrix, rows[:1])[0]):
            found[word] = vector
    if len(found) < 2:
        raise ValueError("a map needs two words or more that are one token each, "
                         "and that training has met")
    return list(found), list(found.values())


def _place_labels(labels: list[str], vectors: Matrix, columns: int,
                 rows: int) -> list[tuple[int, int]]:
    """Give each label a row and a column on a map of its vector, no two on one place.

    Both axes have the same scale: a line of a terminal is as high as two columns are
    wide. A label whose place is taken moves to the nearest free one.

    >>> _place_labels(["dog", "cat", "car"], [[0, 0], [0.1, 0], [9, 4]], columns=20, rows=5)
    [(0, 0), (0, 4), (0, 16)]
    """
    axes = principal_components(vectors)
    xs, ys = ([dot(vector, axis) for vector in vectors] for axis in axes)
    widths = [display_width(label) + 1 for label in labels]
    scale = max((max(xs) - min(xs)) / max(1, columns - max(widths)), (max(ys) - min(ys)) / max(1, 2 * rows - 2)) or 1.0
    places, free = [], set(product(range(rows), range(columns)))
    for x, y, width in zip(xs, ys, widths):
        row, column = (max(ys) - y) / scale / 2, (x - min(xs)) / scale
        fits = [(top, left) for top, left in free if all((top, left + step) in free for step in range(width))]
        if not fits:
            raise ValueError(f"a map of {columns} by {rows} has no room for {len(labels)} words")
        top, left = min(fits, key=lambda place: (4 * abs(place[0] - row) + abs(place[1] - column), place))
        places.append((top, left))
        free -= {(top, left + step) for step in range(-1, width)}
    return places


def draw_map(labels: list[str], vectors: Matrix, columns: int = 78, rows: int = 24) -> str:
    """Draw vectors as a map: what is near in all dimensions is near here.

    The reverse need not hold: two may meet on the map and be far apart in a dimension
    that it does not show. Find the kinds: nobody told the model which words are people,
    animals, colours, places and vehicles. Colours lie on the left, people at the top
    right, with animals below them, and places at the bottom, with vehicles above. Not
    all are where one would look for them: the model had only 60 KB to read.
    """
    lines = [[" "] * columns for _ in range(rows)]
    places = _place_labels(labels, vectors, columns, rows)
    for label, (row, column) in zip(labels, places):
        width = display_width(label)        # a Chinese character takes two columns
        lines[row][column:column + width] = [label, *[""] * (width - 1)]
    return "\n".join("".join(line).rstrip() for line in lines).strip("\n")


def _svg_map(labels: list[str], vectors: Matrix, columns: int = 76, rows: int = 30) -> str:
    """The same map as a picture for any browser, with a dot and a colour for each kind.

    >>> _svg_map(["dog", "cat"], [[0, 0], [1, 0]])[:38]
    '<svg xmlns="http://www.w3.org/2000/svg'
    """
    paint = dict(zip(KINDS, ("#c0392b", "#2455a4", "#8e44ad", "#1e8449", "#ca6f1e")))
    kind_of = {word: kind for kind, words in KINDS.items() for word in words.split()}
    items = [(12 * column, 24 * row, label, paint.get(kind_of.get(label), "#555"))
             for label, (row, column) in zip(labels, _place_labels(labels, vectors, columns, rows))]
    items += [(150 * place, 24 * rows + 12, kind, color) for place, (kind, color) in enumerate(paint.items())]
    drawn = [f'<g fill="{color}"><circle cx="{x + 20}" cy="{y + 28}" r="4"/>'
             f'<text x="{x + 28}" y="{y + 34}">{html.escape(label)}</text></g>' for x, y, label, color in items]
    size = f'width="{40 + 12 * columns}" height="{60 + 24 * rows}"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="monospace" font-size="17">',
                      '<rect width="100%" height="100%" fill="white"/>', *drawn, "</svg>", ""])


# %% How LLMs use vector embeddings

SLIDE_TOKENS = ["The", " car", " is", " fast", " and", " red.", ","]
SLIDE_MATRIX = [[0.12, 0.34, 0.56, 0.78], [0.84, 0.01, 0.31, 0.03],
                [0.23, 0.45, 0.67, 0.89], [0.91, 0.12, 0.34, 0.56],
                [0.78, 0.90, 0.12, 0.34], [0.56, 0.78, 0.90, 0.12],
                [0.55, 0.66, 0.77, 0.88]]


def lookup(matrix: Matrix, ids: list[int]) -> Matrix:
    """Pluck rows from a matrix: for each id the vector at that place.

    The vectors of all tokens are one matrix, with a row for each token. The token with
    id 0 has row 0. Here are seven tokens of the slides:

    >>> vocabulary = {token: id for id, token in enumerate(SLIDE_TOKENS)}
    >>> ids = tokens_to_ids(["The", " car", " is"], vocabulary)
    >>> ids, lookup(SLIDE_MATRIX, ids)[1]
    ([0, 1, 2], [0.84, 0.01, 0.31, 0.03])

    That is all that happens at the entrance of an LLM. Textbooks write it as a
    multiplication: a vector of zeros with a single 1 ("one-hot"), times the matrix. It
    adds up all the rows, each times 0, and one times 1, so that row comes out:

    >>> one_hot = [0, 1, 0, 0, 0, 0, 0]
    >>> columns = zip(*SLIDE_MATRIX)
    >>> [dot(one_hot, column) for column in columns] == SLIDE_MATRIX[1]
    True

    It is the same, but nobody computes it that way: frameworks look the row up.

    A token has one vector, whatever stands around it: the bank of a river and the bank
    with the money share theirs. It takes the layers of a transformer (lesson 5) to tell
    them apart.

    Raises ValueError for an id that has no row.

    >>> lookup(SLIDE_MATRIX, [7])
    Traceback (most recent call last):
    ValueError: there is no row 7 in a matrix of 7 rows, which are counted from 0
    """
    for id in ids:
        if not (isinstance(id, int) and 0 <= id < len(matrix)):
            raise ValueError(f"there is no row {id!r} in a matrix of "
                             f"{len(matrix)} rows, which are counted from 0")
    return [matrix[id] for id in ids]


# %% Mapping to Indices

def ids_of_words(sentence: str, vocabulary: dict[str, int]) -> list[int]:
    """Look up the words of a sentence, upper case or lower.

    The slide maps six words, and gets nine ids for a sentence of nine words:

    >>> vocabulary = build_vocabulary("The car is fast, and red.".split())
    >>> list(vocabulary.items())[:6]
    [('The', 0), ('car', 1), ('is', 2), ('fast,', 3), ('and', 4), ('red.', 5)]
    >>> ids = ids_of_words("The car is fast, and the car is red.", vocabulary)
    >>> ids
    [0, 1, 2, 3, 4, 0, 1, 2, 5]

    So nine vectors are plucked. The slide prints eleven: the one for "the" is missing,
    and three are too many.

    >>> len(ids), len(lookup(SLIDE_MATRIX, ids))
    (9, 9)

    And "the" shares id 0 with "The" only because case does not count here. A tokenizer
    that keeps spaces, capitals and the comma as they are makes ten tokens of it, and
    needs a row for " the" as well:

    >>> with_comma = "The| car| is| fast|,| and| the| car| is| red.".split("|")
    >>> len(with_comma), " the" in SLIDE_TOKENS
    (10, False)
    """
    lower_case = {word if word == UNKNOWN else word.lower(): id
                  for word, id in vocabulary.items()}
    return tokens_to_ids(sentence.lower().split(), lower_case)


# %% Summary: trying to predict the next token
#
# Where do the vectors come from? From a game: read a text, and before each token guess
# what it is. First we need a way to say how bad a guess was.

def bits(probability: float) -> float:
    """The loss: how surprised the model is by what came, in bits.

    What it was sure of does not surprise it. One half is the surprise of a tossed coin,
    one bit; a quarter is two coins.

    >>> bits(1.0), bits(0.5), bits(0.25), bits(0.001) > 9
    (0.0, 1.0, 2.0, True)

    Added up over a text, it is also the number of bits to which the text could be
    compressed with the model's help. To learn is to make this number small.
    """
    return math.log2(1 / probability) if probability else math.inf


def softmax(logits: Vector) -> Vector:
    """Turn scores, called logits, into probabilities.

    A score may be any number, also one below 0. Take e (2.718) to the power of it: now
    all are above 0. Divide by their sum: now they add up to 1. A logit that is 1 higher
    makes a token e times as likely as before, compared with the others.

    >>> [round(probability, 3) for probability in softmax([2.0, 1.0, 0.0])]
    [0.665, 0.245, 0.09]

    Only the differences count, so the highest logit may be taken off all of them first.
    Then no power of e is ever too large for the computer:

    >>> softmax([1002.0, 1001.0, 1000.0]) == softmax([2.0, 1.0, 0.0])
    True
    """
    highest = max(logits)
    powers = [math.exp(logit - highest) for logit in logits]
    total = sum(powers)
    return [power / total for power in powers]


def move(vector: Vector, other: Vector, distance: float, keep: float = 1.0) -> Vector:
    """Move a vector against another one: all that learning ever does to a vector.

    >>> move([1.0, 2.0], [0.5, -0.5], 2)
    [0.0, 3.0]

    `keep` shrinks the vector a little first, which lets it forget what it met only
    once.
    """
    return [keep * x - distance * y for x, y in zip(vector, other)]


class EmbeddingModel:
    """A small language model: it guesses the next token from the vectors of the last two.

    Each of the V tokens has one vector of D numbers, with two jobs and half of the
    numbers for each. When the token has just been read, its first half (`inputs`) is a
    guess: what may come next? When the token is itself a candidate for the next place,
    its second half (`outputs`) says which guesses it fits. Its score:

        logit  =  guess · second half of the candidate  +  its bias

    The bias is for tokens that are common anywhere. And since "not good" is more than
    "not" and "good", each pair of tokens that was met twice has a vector as well, which
    is added to the guess:

        guess  =  first half of the last token  +  vector of the last two together

    What is each part worth? Train the model with and without it, and measure the
    held-out stories, in bits per byte (0.01 up or down is luck):

        every token equally likely                         2.96
        vectors of the last token                          1.82
        ... and a bias for each token                      1.78
        ... and a third of the vector of the one before    1.78
        ... or instead a vector for the two together       1.74
        counting, at its best: a smoothed trigram          1.78

    To add the vector of one more token is worth hardly anything. To see the two
    together is worth a lot. A transformer is built for just that, for as many tokens as
    you like. (With PAIRS_FROM, below, at a million the model has no pairs.)

    Why two halves? With one vector for both jobs, what follows " dog" would have to be
    like " dog" itself. The model is a small relative of the log-bilinear one of Mnih
    and Hinton (2007).
    """

    def __init__(self, inputs: Matrix, outputs: Matrix, biases: Vector,
                 pairs: dict[tuple[int, int], Vector]):
        self.inputs, self.outputs = inputs, outputs     # V x D / 2 each
        self.biases, self.pairs = biases, pairs         # V; each D / 2
        self.metadata = {}

    @classmethod
    def untrained(cls, vocab_size: int, dimensions: int, ids: Iterable[int] = (),
                  seed: int = 0) -> "EmbeddingModel":
        """A model that has learned nothing but how common each token is in `ids`.

        The first halves are 0, and the second ones small random numbers. If both were
        0, nothing could ever move. A token that is not in `ids` keeps zeros.

        >>> EmbeddingModel.untrained(vocab_size=4, dimensions=6).logits([0])
        [0.0, 0.0, 0.0, 0.0]
        """
        ids, half, rng = list(ids), dimensions // 2, random.Random(seed)
        counts = Counter(ids or range(vocab_size))
        model = cls([[0.0] * half for _ in range(vocab_size)],
                    [[0.0] * half for _ in range(vocab_size)], [0.0] * vocab_size, {})
        for id in range(vocab_size):
            row = [rng.gauss(0, 0.2) for _ in range(half)]
            if id in counts:
                model.outputs[id] = row
            if ids:
                model.biases[id] = math.log((counts[id] + 0.5) / len(ids))
        for pair, count in Counter(zip(ids, ids[1:])).items():
            if count >= PAIRS_FROM:
                model.pairs[pair] = [0.0] * half
        return model

    @property
    def embeddings(self) -> Matrix:
        """The vectors of all tokens, V x D, with both halves."""
        return [first + second for first, second in zip(self.inputs, self.outputs)]

    def guess(self, ids: list[int]) -> Vector:
        """The vector that the token after `ids` should fit, D / 2 numbers."""
        rows = lookup(self.inputs, ids[-1:])
        if tuple(ids[-2:]) in self.pairs:
            rows.append(self.pairs[tuple(ids[-2:])])
        guess = [sum(column) for column in zip(*rows)]
        return guess or [0.0] * len(self.outputs[0])

    def logits(self, ids: list[int]) -> Vector:
        """One score per token of the vocabulary, for the token after `ids`."""
        guess = self.guess(ids)
        return [dot(guess, row) + bias
                for row, bias in zip(self.outputs, self.biases)]

    def step(self, ids: list[int], right: int, rate: float, keep: float = 1.0,
             stands_for: Optional[dict[int, float]] = None) -> None:
        """Learn from one token: make the right one more likely, and the wrong ones less.

        Here is one step with numbers that you can follow with a pencil. There are four
        tokens. After " cat" the model guesses [1, 2], and its scores are 0, 0, 1 and 2,
        so it expects " runs":

        >>> model = EmbeddingModel(
        ...     inputs=[[0, 0], [1, 2], [0, 0], [0, 0]],
        ...     outputs=[[0, 0], [0, 0], [1, 0], [0, 1]],
        ...     biases=[0, 0, 0, 0], pairs={})
        >>> the, cat, sleeps, runs = 0, 1, 2, 3
        >>> model.logits([cat])
        [0, 0, 1, 2]
        >>> [round(share, 2) for share in softmax(model.logits([cat]))]
        [0.08, 0.08, 0.22, 0.61]

        But " sleeps" came. The error of a token is how much too likely it was: its
        probability, and for the right one its probability less 1.

            the 0.08     cat 0.08     sleeps 0.22 - 1 = -0.78     runs 0.61

        Each second half moves along the guess, away from it if the error is above 0.
        Each bias goes down by its error. And the guess moves away from the second
        halves that were too likely, towards the right one. `rate` says how far:

        >>> model.step([cat], right=sleeps, rate=0.5)
        >>> [[round(x, 2) for x in row] for row in model.outputs]
        [[-0.04, -0.08], [-0.04, -0.08], [1.39, 0.78], [-0.31, 0.39]]
        >>> [round(x, 2) for x in model.inputs[cat]]
        [1.39, 1.69]
        >>> [round(share, 2) for share in softmax(model.logits([cat]))]
        [0.02, 0.02, 0.94, 0.02]

        The errors are the slope of the loss: raise a logit by 0.001, and the loss grows
        by 0.001 times its error. (In natural units, ln instead of log2.) To go down the
        slope, step by step, is called gradient descent. All slopes are taken first, and
        only then is anything moved. `stands_for` comes later: it is for candidates that
        stand for many, and here each token stands for itself.
        """
        stands_for = stands_for or dict.fromkeys(range(len(self.biases)), 1.0)
        guess, outputs = self.guess(ids), lookup(self.outputs, list(stands_for))
        logits = [dot(guess, row) + self.biases[id] + math.log(stands_for[id])
                  for id, row in zip(stands_for, outputs)]
        errors = dict(zip(stands_for, softmax(logits)))
        errors[right] -= 1
        slope = [dot(list(errors.values()), column) for column in zip(*outputs)]
        for id, error in errors.items():
            self.outputs[id] = move(self.outputs[id], guess, rate * error, keep)
            self.biases[id] -= rate * error
        for last in ids[-1:]:
            self.inputs[last] = move(self.inputs[last], slope, rate, keep)
        pair = tuple(ids[-2:])
        if pair in self.pairs:
            self.pairs[pair] = move(self.pairs[pair], slope, rate, keep)

    def save(self, path: Union[str, Path]) -> None:
        """Write the model as a .safetensors file, which NumPy and PyTorch can open, too."""
        tokens, half, flat = len(self.outputs), len(self.outputs[0]), chain.from_iterable
        count, vectors = len(self.pairs), self.pairs.values()
        write_safetensors(path, {
            "embeddings": ("F64", (tokens, 2 * half), flat(self.embeddings)),
            "biases": ("F64", (tokens,), self.biases),
            "pairs": ("I32", (count, 2), flat(self.pairs)),
            "pair_vectors": ("F64", (count, half), flat(vectors)),
        }, {"made_by": MADE_BY, **self.metadata})

    @classmethod
    def load(cls, path: Union[str, Path]) -> "EmbeddingModel":
        """Read a model that `save` wrote.

        >>> model = EmbeddingModel.untrained(vocab_size=4, dimensions=6)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(folder + "/model.safetensors")
        ...     opened = EmbeddingModel.load(folder + "/model.safetensors")
        >>> opened.embeddings == model.embeddings
        True

        Raises ValueError for a file that is damaged or that holds something else.
        """
        metadata, tensors = checked_metadata(path), read_safetensors(path)
        half = _check_shapes(path, tensors)
        rows, pairs = list(tensors["embeddings"]), map(tuple, tensors["pairs"])
        model = cls([row[:half] for row in rows], [row[half:] for row in rows],
                    [bias for bias, in tensors["biases"]],
                    dict(zip(pairs, tensors["pair_vectors"])))
        model.metadata = metadata
        return model


def _check_shapes(path: Union[str, Path], tensors: dict[str, Tensor]) -> int:
    """Refuse tensors that are no model of this lesson; else return half of its dimensions."""
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    tokens, dimensions = (*shapes.get("embeddings", ()), 0, 0)[:2]
    count, half = len(tensors.get("pairs", ())), dimensions // 2
    fits = half and shapes == {"embeddings": (tokens, 2 * half), "biases": (tokens,), "pairs": (count, 2),
                               "pair_vectors": (count, half)}
    if not fits or not all(type(id) is int and 0 <= id < tokens for pair in tensors["pairs"] for id in pair):
        raise ValueError(f"{path} holds no model of this lesson: its tensors have other names, shapes or ids")
    return half


MADE_BY = "lesson_3_embeddings.py"
PAIRS_FROM = 2      # a pair that was met so often gets a vector of its own
SHRINK = 0.02       # how much of a vector is forgotten in a step, times the rate


# %% Summary: reading, failing, updating

def train_model(ids: list[int], vocab_size: int, dimensions: int = 64, passes: int = 4,
                rate: float = 0.3, drawn: int = 10, seed: int = 0,
                after_pass: Optional[Callable[[int, EmbeddingModel], None]] = None) -> EmbeddingModel:
    """Learn a model from a text, given as ids: take a step for each token, a few times over.

    `dimensions` are the numbers of a vector. More of them can tell more apart, and cost
    more time. `passes` is how often the text is read: more passes learn these stories
    by heart, not the language. `rate` is how far a step goes; it falls to 0 on the way,
    so that the last steps only settle what the first have found. Of the wrong tokens,
    only `drawn` ones are looked at in a step, or all for 0; see the next section. The
    same `seed` gives the same model. `after_pass` is called with the model after each
    pass.

    >>> text = list(b"the dog ran. the cat sat. ") * 20
    >>> model = train_model(text, vocab_size=128, dimensions=8, passes=2)
    >>> shares = softmax(model.logits(list(b"the do")))
    >>> chr(shares.index(max(shares)))
    'g'

    Raises ValueError for fewer than two ids, for an id that is not below vocab_size,
    and if the rate is so high that the numbers grow without end.
    """
    _check_training(ids, vocab_size, dimensions, passes)
    rng = random.Random(seed)
    model = EmbeddingModel.untrained(vocab_size, dimensions, ids, seed)
    draw = candidate_drawer(ids, drawn, rng)
    places, left = list(range(1, len(ids))), 1.0
    for number in range(1, passes + 1):
        rng.shuffle(places)
        for place in progress(places, f"pass {number} of {passes}"):
            left -= 1 / passes / len(places)
            context, right = ids[max(0, place - 2):place], ids[place]
            model.step(context, right, rate * left, 1 - rate * left * SHRINK,
                       draw(context[-1], right))
        if not math.isfinite(sum(model.biases) + sum(map(sum, model.outputs))):
            raise ValueError(f"it has run away; try a rate below {rate}")
        if after_pass:
            after_pass(number, model)
    return model


def _check_training(ids: list[int], vocab_size: int, dimensions: int, passes: int) -> None:
    if len(ids) < 2 or not all(isinstance(id, int) and 0 <= id < vocab_size for id in ids):
        raise ValueError(f"training needs two ids or more, all from 0 to {vocab_size - 1}")
    if dimensions < 2 or dimensions % 2 or passes < 1:
        raise ValueError(f"training needs an even number of dimensions and a pass or more, not {dimensions} and {passes}")


def story_ids(tokenizer: Tokenizer, stories: Iterable[str]) -> list[int]:
    """Stories as one row of ids, with the end of a story before, between and after them.

    >>> tokenizer = course_tokenizer()
    >>> tokenizer.decode(story_ids(tokenizer, ["The dog ran.", "The end."]))
    '<|endoftext|>The dog ran.<|endoftext|>The end.<|endoftext|>'
    """
    end = tokenizer.encode(END_OF_TEXT, allowed_special="all")
    return end + [id for story in stories for id in tokenizer.encode(story) + end]


def bits_per_byte(model: EmbeddingModel, tokenizer: Tokenizer, stories: list[str], every: int = 1) -> float:
    """The loss on some stories: bits of surprise for each byte of them.

    Per byte, so that models with other tokens can be compared. `every` looks at one
    token in so many, to be quick. `model` is anything with `.logits(ids)`.

    >>> tokenizer, model = course_model()
    >>> seen, held_out = corpus_stories()
    >>> print(f"{bits_per_byte(model, tokenizer, held_out, every=4):.1f}")
    1.7

    On the stories that it was trained on, it is far better. To compare: the stories
    themselves have 8 bits per byte, and zip needs 2.6 for the held-out ones if it has
    seen the others. While the loss on both falls, the model learns the language. When
    only that on the seen stories still falls, it learns nothing but these stories: time
    to stop.
    """
    if not stories:
        raise ValueError("there are no stories to measure the loss on")
    total = measured = 0
    losses = []
    for story in stories:
        ids = story_ids(tokenizer, [story])
        for place in range(1, len(ids)):
            if total % every == 0:
                probabilities = softmax(model.logits(ids[:place]))
                losses.append(bits(probabilities[ids[place]]))
            total += 1
    size = len(text_to_bytes("\n\n".join([*stories, ""])))
    return sum(losses) / len(losses) * total / size


def show_learning(record: list[dict]) -> str:
    """What was written down while a model learned: its loss, neighbours, and a sentence.

    The record is kept with the model. In each row the model goes on from the same three
    words, and says what it finds near " dog":

    >>> tokenizer, model = course_model()
    >>> print(show_learning(json.loads(model.metadata["record"])))
    before training: 2.21 bits per byte on the seen stories, 2.38 on the held-out ones
        near dog: short oncet aboveith
        My uncle can the and it one and said, the one the of. the.
    after pass 1: 1.71 bits per byte on the seen stories, 2.05 on the held-out ones
        near dog: father fish farmer brother You
        My uncle can see a new barn to see. "And the gate, "w
    after pass 2: 1.38 bits per byte on the seen stories, 1.84 on the held-out ones
        near dog: doors horse boy child cat
        My uncle can read it he came from in the middle of it was as if it
    after pass 3: 1.21 bits per byte on the seen stories, 1.78 on the held-out ones
        near dog: horses sun cat son horse
        My uncle can not run to the sea can not see her for nothing. The boy
    after pass 4: 1.16 bits per byte on the seen stories, 1.73 on the held-out ones
        near dog: horses sun cat son horse
        My uncle can not play to stop.

    First it learns which tokens are common, then which follow each other. Words of a
    kind come together. And look at the two losses: on the stories that it reads again
    and again it gets better and better, on the others hardly any more. (Both are
    measured on some of the tokens, to be quick, so the last digit is luck.)
    """
    lines = []
    for row in record:
        when = f"after pass {row['pass']}" if row["pass"] else "before training"
        seen, held_out = f"{row['seen']:.2f}", f"{row['held_out']:.2f}"
        lines += [f"{when}: {seen} bits per byte on the seen stories, "
                  f"{held_out} on the held-out ones",
                  f"    near{row['word']}:{row['near']}", f"    {row['text']}"]
    return "\n".join(lines)


# %% The same, fast: a few candidates instead of all
#
# A step for every token of the vocabulary would take minutes. It is enough to look at
# the right token and a few others, if each of them counts for as many as it stands for:
# in a poll that asks one voter in a hundred, each stands for a hundred.

def candidate_drawer(ids: list[int], drawn: int, rng: random.Random) -> Callable:
    """A function that draws the candidates of a step, and says how many each stands for.

    Half of them come from the tokens that ever followed the last one, since these are
    hardest to tell from the right one, and half from anywhere in the text. The right
    token is put among them. A token that comes as often as one expects counts once; one
    that is seldom drawn, and came, stands for all the times that it did not. This is
    sampled softmax (Bengio and Senécal 2003; Jean et al. 2015): to the logit comes the
    logarithm of that number, and the step is the same. The more are drawn, the nearer
    it is to the exact step.

    >>> text = list(b"the dog ran. the cat sat. ")
    >>> draw = candidate_drawer(text, 4, random.Random(0))
    >>> {chr(id): round(number, 1) for id, number in draw(ord("t"), ord("h")).items()}
    {'.': 3.1, 'n': 13.0, 'g': 13.0, 'h': 0.9}

    With candidates drawn in this way the model learns what it learns from all of them:

    >>> def likely_after_the(drawn):
    ...     model = train_model(text * 20, 128, dimensions=8, passes=6, drawn=drawn)
    ...     logits = model.logits(list(b"e "))
    ...     return sorted(chr(id) for id in heapq.nlargest(2, range(128), logits.__getitem__))
    >>> likely_after_the(drawn=0), likely_after_the(drawn=10)
    (['c', 'd'], ['c', 'd'])
    """
    if not drawn:
        return lambda last, right: None
    half, counts, pairs, followers = max(1, drawn // 2), Counter(ids), Counter(zip(ids, ids[1:])), defaultdict(list)
    for before, after in zip(ids, ids[1:]):
        followers[before].append(after)

    def draw(last: int, right: int) -> dict[int, float]:
        near, times = followers[last], {}
        for id in rng.choices(near, k=half) + rng.choices(ids, k=half):
            times[id] = times.get(id, 0) + 1
        times[right] = times.get(right, 0) + 1
        return {id: count / (half * pairs[last, id] / len(near) + half * counts[id] / len(ids))
                for id, count in times.items()}
    return draw


# %% The real thing: safetensors
#
# Real models keep their vectors in files that end in .safetensors. The format is so
# simple that you can read it yourself: eight bytes say how long the header is; the
# header, in JSON, says of each tensor its type, its shape, and where its numbers begin
# and end; then come the numbers.

def header_of(path: Union[str, Path]) -> dict:
    """Read the header of a safetensors file, by hand.

    Write a small file with a matrix of 2 x 2 numbers, and look inside:

    >>> folder = tempfile.TemporaryDirectory()
    >>> path = folder.name + "/small.safetensors"
    >>> write_safetensors(path, {"m": ("F32", (2, 2), [1, 2, 3, 4])}, {})
    >>> data = Path(path).read_bytes()
    >>> data[:8], int.from_bytes(data[:8], "little")
    (b'\\xa8\\x00\\x00\\x00\\x00\\x00\\x00\\x00', 168)
    >>> header_of(path)["m"]
    {'dtype': 'F32', 'shape': [2, 2], 'data_offsets': [0, 16]}
    >>> data[-16:]          # four numbers of four bytes each
    b'\\x00\\x00\\x80?\\x00\\x00\\x00@\\x00\\x00@@\\x00\\x00\\x80@'

    The first offset is where the tensor begins, counted from the end of the header. The
    second is one past its last byte. A real file of a gigabyte looks just like that,
    and nobody reads it whole. `read_safetensors` checks the header and fetches a row
    when you ask for it:

    >>> tensor = read_safetensors(path)["m"]
    >>> tensor.dtype, tensor.shape, tensor.row(1)
    ('F32', (2, 2), [3.0, 4.0])

    The model of this course is such a file as well:

    >>> tokenizer, model = course_model()
    >>> model.save(path)
    >>> for name, tensor in read_safetensors(path).items():
    ...     print(f"{name:12} {tensor.dtype} {tensor.shape}")
    embeddings   F64 (1200, 64)
    biases       F64 (1200,)
    pairs        I32 (2565, 2)
    pair_vectors F64 (2565, 32)
    """
    read_safetensors(path)      # refuses what is no such file, or damaged
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        return json.loads(file.read(size))


def find_embeddings(tensors: dict[str, Tensor], vocab_size: int) -> Tensor:
    """Among the tensors of a model, the matrix with a row for each token.

    Some models have a few rows more than tokens, to make the number a round one:
    Qwen2.5 has 271 more, GPT-2 and Llama 3 have none.

    >>> small = Tensor("", "small", "F32", (1, 2), 0)
    >>> wte = Tensor("", "wte", "F32", (3, 1), 8)
    >>> find_embeddings({"small": small, "wte": wte}, vocab_size=2).name
    'wte'

    The slides swap vectors under one tokenizer. It works under one condition: both were
    trained for the same ids. (And in an LLM the layers have to come along, for they
    were trained on these vectors.) Nothing in a row says which token it is for, so
    under another tokenizer every token gets the vector of some other one.

    Raises ValueError if no matrix has about as many rows as the tokenizer has tokens.
    """
    matrices = [each for each in tensors.values() if len(each.shape) == 2]
    fitting = [each for each in matrices
               if vocab_size <= len(each) <= vocab_size + 1024]
    if not fitting:
        rows = ", ".join(str(len(each)) for each in matrices[:3]) or "no"
        raise ValueError(f"the tokenizer has {vocab_size} tokens, and the file "
                         f"has matrices of {rows} rows; take both from the "
                         "same model")
    return max(fitting, key=lambda each: bool(re.search("emb|wte", each.name)))


# %% Swap vector embeddings: the model of this course

MODEL_FOLDER = HERE / "model"


@lru_cache(maxsize=1)
def course_model() -> tuple[Tokenizer, EmbeddingModel]:
    """The tokenizer and the model of this course: from the folder model/, or trained now.

    Training takes ten to twenty seconds, and is done once. It is done again if
    corpus.txt changes or the code of lessons 1 to 3, but not for another word in a
    docstring. A damaged file is reported and made anew. If the folder can't be written
    to, nothing is kept.

    >>> tokenizer, model = course_model()
    >>> len(tokenizer) == len(model.embeddings)
    True

    It gives each token a score, as every LLM does. How a text is made of scores is
    lesson 4.
    """
    recipe = fingerprint()
    try:
        tokenizer, model = load_model(MODEL_FOLDER)
        if model.metadata.get("recipe") == recipe:
            return tokenizer, model
    except FileNotFoundError:
        pass
    except (ValueError, OSError) as error:
        print(f"{error}; training again", file=sys.stderr)
    print("training on corpus.txt, which is done once:", file=sys.stderr)
    tokenizer, model = _learn(*corpus_stories())
    model.metadata["recipe"] = recipe
    try:
        save_model(MODEL_FOLDER, tokenizer, model)
    except (ValueError, OSError) as error:
        print(f"{error}, so the model is not kept", file=sys.stderr)
    return tokenizer, model


def fingerprint() -> str:
    """A short name for all that makes the model: corpus.txt, and the code of lessons 1 to 3.

    The code without its docstrings and comments, as Python itself sees it.

    >>> len(fingerprint())
    64
    """
    parts = [read_text(CORPUS)]
    for path in sorted(HERE.glob("lesson_[123]_*.py")):
        tree = ast.parse(read_text(path))
        for node in ast.walk(tree):
            documented = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            if documented and ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
        parts.append(ast.unparse(tree))
    return hashlib.sha256("\0".join(parts).encode("utf-8")).hexdigest()


def _learn(seen: list[str], held_out: list[str], vocab_size: int = COURSE_VOCAB_SIZE, dimensions: int = 64,
          passes: Optional[int] = None) -> tuple[Tokenizer, EmbeddingModel]:
    """Train a tokenizer and a model, and write down what the model can do after each pass."""
    tokenizer = Tokenizer.train("\n\n".join(seen), vocab_size, [END_OF_TEXT])
    ids, record = story_ids(tokenizer, seen), []
    passes = passes or (4 if len(ids) < 100_000 else 2)     # a long text needs fewer
    word = _watched_word(tokenizer, ids)
    start = tokenizer.encode(held_out[0])[:3]       # the fixed prompt

    def watch(number: int, model: EmbeddingModel) -> None:
        near = nearest(model.embeddings[word], model.embeddings, 6)[1:]
        record.append({"pass": number, "word": tokenizer.decode([word]),
                       "seen": round(bits_per_byte(model, tokenizer, seen, 1 + len(ids) // 250), 3),
                       "held_out": round(bits_per_byte(model, tokenizer, held_out, 1 + len(ids) // 5000), 3),
                       "near": "".join(tokenizer.decode([id]) for id, _ in near),
                       "text": _go_on(model, tokenizer, start)})
        print(show_learning(record[-1:]), file=sys.stderr)

    _say_how_long(ids, len(tokenizer), dimensions, passes)
    watch(0, EmbeddingModel.untrained(len(tokenizer), dimensions, ids))
    model = train_model(ids, len(tokenizer), dimensions, passes, after_pass=watch)
    model.metadata["record"] = json.dumps(record)
    return tokenizer, model


def _watched_word(tokenizer: Tokenizer, ids: list[int]) -> int:
    """The token whose neighbours one watches: " dog", or else the commonest one of five letters or more."""
    dog, counts = tokenizer.encode(" dog"), Counter(ids)
    if len(dog) == 1 and counts[dog[0]]:
        return dog[0]
    long = [id for id in counts if re.fullmatch(r" ?[^\W\d_]{5,}", tokenizer.decode([id]))]
    return max(long or counts, key=lambda id: (counts[id], -id))


def _go_on(model: EmbeddingModel, tokenizer: Tokenizer, ids: list[int], count: int = 14) -> str:
    """Go on with a text, to the end of the story at most: draw tokens, favouring the likely ones."""
    rng, every, end = random.Random(5), range(len(model.biases)), tokenizer.encode(END_OF_TEXT, "all")
    for _ in range(count):
        next_id = rng.choices(every, softmax([2 * logit for logit in model.logits(ids)]))
        if next_id == end:
            break
        ids = ids + next_id
    return " ".join(tokenizer.decode(ids).replace("\ufffd", "").split())


def _say_how_long(ids: list[int], vocab_size: int, dimensions: int, passes: int) -> None:
    start = time.perf_counter()
    train_model(ids[:1000], vocab_size, dimensions, passes=1)
    seconds = (time.perf_counter() - start) * passes * len(ids) / len(ids[:1000])
    duration = f"{seconds:.0f} seconds" if seconds < 100 else f"{seconds / 60:.0f} minutes"
    print(f"{len(ids):,} tokens, {passes} passes: this takes about {duration}", file=sys.stderr)


def save_model(folder: Union[str, Path], tokenizer: Tokenizer, model: EmbeddingModel) -> None:
    """Save a tokenizer and its model in a folder, which `load_model` and lesson 4 open.

    They go into tokenizer.json and model.safetensors. Raises ValueError if the folder
    has files of these names that this lesson did not write: they are somebody's work,
    and stay as they are.
    """
    tokenizer_file, model_file = Path(folder, "tokenizer.json"), Path(folder, "model.safetensors")
    _check_folder(folder)
    Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as beside:
        tokenizer.save(Path(beside, "tokenizer.json"))
        data = Path(beside, "tokenizer.json").read_bytes()
    model.metadata["tokenizer"] = hashlib.sha256(data).hexdigest()
    model.save(model_file)      # first: it carries the mark that it is ours
    write_whole(tokenizer_file, data)


def _check_folder(folder: Union[str, Path]) -> None:
    """Refuse a folder with a model that this lesson did not write; a large file is not read."""
    tokenizer_file, model_file = Path(folder, "tokenizer.json"), Path(folder, "model.safetensors")
    ours = not tokenizer_file.exists()
    if model_file.exists():
        with open(model_file, "rb") as file:
            ours = f'"made_by": "{MADE_BY}"'.encode() in file.read(1000)
    if not ours:
        raise ValueError(f"{folder} holds a model that was not made by this lesson")


def load_model(folder: Union[str, Path]) -> tuple[Tokenizer, EmbeddingModel]:
    """Open a tokenizer and its model from a folder.

    Raises ValueError if one is damaged, or if they do not belong together.
    """
    model = EmbeddingModel.load(Path(folder, "model.safetensors"))
    tokenizer_file = Path(folder, "tokenizer.json")
    checksum = hashlib.sha256(tokenizer_file.read_bytes()).hexdigest()
    if model.metadata.get("tokenizer") != checksum:
        raise ValueError(f"{tokenizer_file} is not the one of the model beside it")
    return Tokenizer.load(tokenizer_file), model


# %% Your turn

def exercise_1(answer: list[float]) -> str:
    """A warm-up. What is the cosine similarity of [1, 2] to [2, 4], to [-1, -2] and to [2, -1]?

    Draw the four arrows on paper. Write the three numbers as a list, answer_1, into a
    file beside the lesson, and check it:

        python3 lesson_3_embeddings.py --check answers_3.py

    >>> exercise_1([2, -1, 0])
    'A cosine is never above 1: how long the arrows are does not count.'
    """
    right = [round(cosine_similarity([1, 2], other), 6) for other in ([2, 4], [-1, -2], [2, -1])]
    if answer == right:
        return "Yes: the same way, the opposite way, and a right angle."
    if len(answer) != 3:
        return f"Three numbers are asked for, and yours are {len(answer)}."
    if max(answer) > 1 or min(answer) < -1:
        return f"A cosine is never {'above 1' if max(answer) > 1 else 'below -1'}: how long the arrows are does not count."
    return "The same way, the opposite way, a right angle: which is which?"


def exercise_2(answer: list[float]) -> str:
    """Predict: how many bits of surprise?

    First of a model that gives each of its 1,024 tokens the same probability, for one
    token. Then of one that gives the right token one chance in four every time, for a
    text of eight tokens. Two numbers in a list.

    >>> exercise_2([10, 2])
    'The first is right. The second is for a text of eight tokens.'
    """
    right = [bits(1 / 1024), 8 * bits(1 / 4)]
    if answer == right:
        return "Yes: ten coins, and eight times two."
    if len(answer) == 2 and answer[0] == right[0]:
        return "The first is right. The second is for a text of eight tokens."
    if len(answer) == 2 and answer[1] == right[1]:
        return "The second is right. For the first: how many tossed coins have 1,024 outcomes together?"
    return "One bit is the surprise of a tossed coin. How many coins have 1,024 outcomes together?"


def exercise_3(answer: str) -> str:
    """Use the lesson: add " mother" and " father". Which other token is nearest to the sum?

    Take the vectors from `course_model`, add them number by number, and ask `nearest`.
    `encode` gives a list of ids, and `decode` takes one. Begin your file with `from
    lesson_3_embeddings import *`.

    >>> exercise_3(" father")
    'That is one of the two themselves: look at the next ones.'
    """
    if answer in (" mother", " father"):
        return "That is one of the two themselves: look at the next ones."
    tokenizer, model = course_model()
    ids = [tokenizer.encode(word)[0] for word in (" mother", " father")]
    total = [x + y for x, y in zip(*lookup(model.embeddings, ids))]
    id, cosine = next(pair for pair in nearest(total, model.embeddings, 3) if pair[0] not in ids)
    right = tokenizer.decode([id])
    if answer == right:
        return f"Yes: with a cosine of {cosine:.2f}. Both parents stand where it stands."
    if answer == right.strip():
        return "Almost: a token keeps the space before it."
    return "Not that one. `nearest` gives ids, best first; the first ones are the two themselves."


def exercise_4(answer: Callable[[Vector, Vector], float]) -> str:
    """Write a function: how far is it from the end of one arrow to that of another?

    `answer_4(a, b)` returns the distance, in any number of dimensions. It is the other
    way to compare vectors; two that point the same way may be far apart.

    >>> exercise_4(dot)
    'For [1, 2] and [4, 6] it gave 16; 5.0 is right.'
    """
    for a, b in (([1, 2], [4, 6]), ([0.0], [-2.5]), ([0.5] * 4, [0.5] * 4), ([1e-3] * 50, [0.0] * 50)):
        distance, given = length([x - y for x, y in zip(a, b)]), answer(a, b)
        if not (isinstance(given, (int, float)) and abs(given - distance) < 1e-9):
            return f"For {a} and {b} it gave {given}; {distance} is right."
    return "Yes: in 1, 2, 4 and 50 dimensions."


def exercise_5(answer: Callable) -> str:
    """For an evening: beat the model of this course.

    `answer_5(ids, vocab_size)` gets the seen stories as ids. It returns a model of
    yours, any object with `.logits(ids)`, which gives a score to each token for the
    place after `ids`. On the held-out stories it has to need less than 1.73 bits per
    byte; the model of this lesson needs 1.74. You may train with your own settings,
    count, or mix several models. It has half an hour.

    >>> exercise_5(lambda ids, vocab_size: EmbeddingModel.untrained(vocab_size, 2))
    'It needs 2.96 bits per byte; less than 1.73 is asked for.'
    """
    tokenizer, (seen, held_out) = course_tokenizer(), corpus_stories()
    model, size = answer(story_ids(tokenizer, seen), len(tokenizer)), len(tokenizer)
    if not hasattr(model, "logits"):
        return "It should return a model: an object with a method `logits(ids)`."
    scores = model.logits(tokenizer.encode("The dog"))
    if len(scores) != size or not all(isinstance(score, (int, float)) for score in scores):
        return f"Its logits should be {size} numbers, one for each token."
    needed = bits_per_byte(model, tokenizer, held_out)
    if needed < 1.73:
        return f"Yes: {needed:.3f} bits per byte. That is a better model than this lesson's."
    return f"It needs {needed:.2f} bits per byte; less than 1.73 is asked for."


exercise_5.seconds = 1800


# %% On the command line

HELP = """Lesson 3: embeddings. Without a text or an option it plays the lesson.
  text               shown with the nearest tokens of each of its tokens
  --tokenizer FILE   a real LLM's tokenizer.json, with --embeddings FILE, its .safetensors
  --map WORDS        draw a map of these words; --svg FILE saves it as a picture
  --train FILE       learn from this text; --save FOLDER keeps what was learned
  --vocab-size N     (1200), --dimensions N (64) and --passes N (4) for the training
for example: python3 lesson_3_embeddings.py --map "dog cat red blue" --svg map.svg
"""


def show(text: Optional[str] = None, tokenizer: Optional[str] = None, embeddings: Optional[str] = None,
         map: Optional[str] = None, svg: Optional[str] = None, train: Optional[str] = None, save: Optional[str] = None,
         **settings: int) -> None:
    """The neighbours of a text's tokens, or a map, by the course's vectors, your own, or a real LLM's."""
    if train is not None:
        _train_on(train, save, **settings)
        return
    if save is not None or settings:
        raise ValueError("--save, --vocab-size, --dimensions and --passes belong to --train FILE")
    if (tokenizer is None) != (embeddings is None):
        raise ValueError("--tokenizer and --embeddings belong together: ids mean something only in their own matrix")
    if text is None and map is None and svg is None:
        raise ValueError("a text is missing, to show the nearest tokens of, or --map or --svg")
    if tokenizer is not None:
        opened = Tokenizer.load(tokenizer)
        matrix = find_embeddings(read_safetensors(embeddings), 1 + max(opened.vocabulary.values()))
    else:
        opened, model = course_model()
        matrix = model.embeddings
    if map is not None or svg is not None:
        _show_map(map or " ".join(KINDS.values()), opened, matrix, svg)
    if text is not None:
        print(show_nearest(text, opened, matrix))


def _show_map(words: str, tokenizer: Tokenizer, matrix: Union[Matrix, Tensor], svg: Optional[str]) -> None:
    labels, vectors = map_words(words, tokenizer, matrix)
    missing = [word for word in dict.fromkeys(words.split()) if word not in labels]
    if missing:
        print(f"not on the map, for they are not one token that training has met: {', '.join(missing)}", file=sys.stderr)
    if svg is None:
        print(draw_map(labels, vectors))
    else:
        write_whole(svg, _svg_map(labels, vectors).encode("utf-8"))
        print(f"saved {svg}")


def _train_on(file: str, folder: Optional[str], vocab_size: int = COURSE_VOCAB_SIZE, dimensions: int = 64,
              passes: Optional[int] = None) -> None:
    if dimensions < 2 or dimensions % 2 or (passes is not None and passes < 1):
        raise ValueError("--dimensions takes an even number from 2 up, and --passes a number from 1 up")
    if folder is None:
        raise ValueError("--train needs --save FOLDER, to keep what was learned")
    _check_folder(folder)
    tokenizer, model = _learn(*split_stories(read_text(file)), vocab_size, dimensions, passes)
    save_model(folder, tokenizer, model)
    print(f"saved {folder}; go on with: python3 lesson_4_sampling.py --model {folder}")


if __name__ == "__main__":
    run_lesson(HELP, show)
