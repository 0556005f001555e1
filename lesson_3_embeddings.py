"""Lesson 3: embeddings. Every token becomes a vector, and the vectors are learned.

Lesson 2 turned any text into ids. But an id is only a place in a list: 300 is no more
like 301 than like 5. So the first thing that a language model does with an id is to swap
it for a vector, a row of numbers: the embedding of the token. Tokens that are used alike
get vectors that point alike, and what the model learns about " dog" then helps it with
" cat". Nobody writes these numbers down. They are learned, by guessing the next token.

    ids 0 1 2  →  rows 0, 1, 2 of a matrix  →  a guess  →  a score per token

In this lesson you compare vectors, draw a map of them, train your own in seconds, and open
those of a real LLM. The model of this course began knowing only how common each token is.
This is what it has learned about " blue":

>>> tokenizer, model = course_model()
>>> print(show_nearest(" blue", tokenizer, model.embeddings, k=3))
·blue    1.000  ████████████████████████
·grey    0.601  ██████████████▍
·clear   0.551  █████████████▎
·cloudy  0.544  █████████████
"""

import json
import math
import os
import random
import re
import shlex
import sys
import time
from collections import Counter, defaultdict
from functools import lru_cache, partial
from itertools import chain
from operator import mul
from pathlib import Path
from typing import Any, Callable, Iterable, Optional, Union

sys.path.append(os.path.dirname(sys.argv[0]))
from formats import (Tensor, check_folder, checksum_of, code_of, find_embeddings, kept_or_trained,
                     load_together, read_safetensors, read_undamaged, save_together, write_safetensors,
                     write_whole)
from lesson_1_tokens import CORPUS, build_vocabulary, corpus_stories, split_stories, tokens_to_ids
from lesson_2_coding_tokenizer import COURSE_VOCAB_SIZE, END_OF_TEXT, Tokenizer, split_words, text_to_bytes
from stage import HERE, bar, draw_map, principal_components, progress, read_text, run_lesson, svg_map, table

Vector = list[float]
Matrix = list[list[float]]
MADE_BY = "lesson_3_embeddings.py"


# %% Introducing: Vector Embeddings
# A point on paper has two numbers: how far to the right, and how far up. Draw an arrow to
# it from the origin, and you have a vector.
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
# A point in a room has three numbers, and a vector of an LLM has thousands. Nobody can draw
# that, but all that follows works for it in the same way.

def length(vector: Vector) -> float:
    """The length of an arrow, by Pythagoras: the root of the sum of the squares.

    >>> length([3, 4]), length([2, 3, 6])
    (5.0, 7.0)
    """
    return math.hypot(*vector)


def unit(vector: Vector) -> Vector:
    """The arrow of length 1 that points the same way.

    >>> unit([3, 4])
    [0.6, 0.8]
    """
    size = length(vector)
    if not 0 < size < math.inf:     # nor is NaN
        raise ValueError("zeros, NaN or infinity have no direction to compare")
    return [number / size for number in vector]


def dot(a: Vector, b: Vector) -> float:
    """The dot product: multiply number by number, and add up.

    >>> dot([2, 1], [1, 2])     # 2 * 1 + 1 * 2
    4

    It is a score: how well does a vector fit what is asked for? The slides give a dog and a
    cat three numbers each: fluffiness, willingness to save your life, and gratefulness. If
    you fall into a lake, only the second one counts; on the sofa, only the first. (And an
    LLM scores each possible next token in this way.)

    >>> dog, cat = [0.42, 0.97, 0.95], [0.73, 0.04, 0.01]
    >>> dot([0, 1, 0], dog), dot([0, 1, 0], cat)        # in the lake
    (0.97, 0.04)
    >>> dot([1, 0, 0], dog), dot([1, 0, 0], cat)        # on the sofa
    (0.42, 0.73)

    Raises ValueError for vectors of different lengths.
    """
    if len(a) != len(b):
        raise ValueError(f"vectors of {len(a)} and {len(b)} numbers don't fit")
    return sum(map(mul, a, b))


def cosine_similarity(a: Vector, b: Vector) -> float:
    """How much two arrows point the same way: the cosine of the angle between them.

    Scale both arrows to length 1, and take the dot product. Now only the direction counts:
    1 is the same way, 0 a right angle, -1 the opposite way.

    >>> [cosine_similarity([1, 0], other) for other in ([3, 0], [0, 5], [-2, 0])]
    [1.0, 0.0, -1.0]
    >>> cosine = cosine_similarity([2, 1], [1, 2])      # the arrows of the picture
    >>> round(cosine, 3), round(math.degrees(math.acos(cosine)))
    (0.8, 37)

    The slides give each number a name, and warn that real ones have none. Here is why. Turn
    both arrows by a quarter: all the numbers change, but the angle does not.

    >>> round(cosine_similarity([-1, 2], [-2, 1]), 3)
    0.8

    A model only learns how the arrows lie to each other. Which way the axes point is an
    accident (in a large LLM not quite), and one number alone rarely means something.

    Raises ValueError for a vector of zeros, which has no direction.
    """
    return max(-1.0, min(1.0, dot(unit(a), unit(b))))


def nearest(vector: Vector, matrix: Iterable[Vector], k: int) -> list[tuple[int, float]]:
    """The k rows of a matrix that point most nearly where a vector points, best first.

    Each comes as its place in the matrix and its cosine similarity. A row of zeros points
    nowhere, and is left out. Tokens that the model never met in training have such rows.

    >>> nearest([3, 4], [[0, 9], [6, 8], [0, 0], [-1, -1]], k=2)
    [(1, 1.0), (0, 0.8)]
    """
    direction = unit(vector)
    found = [(id, min(1.0, dot(direction, row) / length(row)))
             for id, row in enumerate(matrix) if any(row)]
    return sorted(found, key=lambda pair: -pair[1])[:k]


# %% What learned vectors look like
# The model of this course has a vector of 64 numbers for each of its 1,200 tokens. How it
# learned them comes later. First look at what it found.

def show_nearest(text: str, tokenizer: Tokenizer, matrix: Union[Matrix, Tensor], k: int = 8) -> str:
    """For each token of a text, the tokens whose vectors point most nearly its way.

    You saw it for " blue" at the beginning. Here are more words, without the bars. (With its
    space " dog" is one token, but "dog" is three: d, o and g.)

    >>> tokenizer, model = course_model()
    >>> for word in "dog mother girl big run walk".split():
    ...     id, = tokenizer.encode(" " + word)
    ...     near = nearest(model.embeddings[id], model.embeddings, k=6)[1:]
    ...     print(word.ljust(7), *(tokenizer.decode([id]) for id, _ in near))
    dog      horses  sun  cat  son  horse
    mother   father  uncle  teacher  grandmother  farmer
    girl     boy  fox  cow  child  driver
    big      small  little  brown  young  red
    run      play  sit  walk  come  get
    walk     go  see  play  get  drove

    Nobody told the model that a dog is an animal. It had to guess what comes next, and words
    of one kind stand in the same places. So near means "used alike", and not "means the
    same": next to " big" is " small". (And not every neighbour is a good one, for the model
    has read only 60 KB.)
    """
    known, tables = set(tokenizer.vocabulary.values()), []
    for id in dict.fromkeys(tokenizer.encode(text)):
        rows = [[tokenizer.show([id], False), "training never met it"]]
        if any(matrix[id]):
            others = progress(matrix, f"comparing {len(matrix)} vectors")
            rows = [[tokenizer.show([near], False), f"{share:.3f}", bar(share)]
                    for near, share in nearest(matrix[id], others, len(matrix))
                    if near in known][:k + 1]
        tables.append(table(rows))
    return "\n\n".join(tables)


KINDS = {
    "animals": "dog cat fox horse bird duck cow fish mouse",
    "people": "boy girl man woman mother father sister brother grandmother "
              "grandfather teacher farmer driver doctor",
    "colours": "red blue green white black yellow grey",
    "places": "house garden school kitchen street village hill lake river",
    "vehicles": "car train bus truck boat"}


def map_points(words: str, tokenizer: Tokenizer, matrix: Matrix) -> dict[str, Vector]:
    """Put words on a map, where words with like vectors lie near each other. Find the kinds!

    Paper has two dimensions, and our vectors have 64. So find the two arrows along which
    these words differ most. How far a word lies along each of them, its dot product with the
    arrow, is its place on the map.

    >>> tokenizer, model = course_model()
    >>> points = map_points(" ".join(KINDS.values()), tokenizer, model.embeddings)
    >>> print(draw_map(points, rows=18))
                                         brother
                                          teacher
     blue                               mother
       yellow                             father
     white                           girl sister
    green black            grandfather  cow doctor
      grey                           boy grandmother
      red                         horse   farmer
                               fish  fox driver
                           truck    dog bus
                             duck   mouse
                        train  bird  cat
                        boat   woman car
                       school  man river
                   hill  garden kitchen
                         house  street
                             lake
                           village

    Colours lie on the left, most people at the top right, with animals below, and places at
    the bottom, with vehicles above. (Two words that meet here may be far apart in one of the
    62 dimensions that you can't see. A word is left out if it is not one token, or if
    training never met it.)

    Raises ValueError if fewer than two words are left.
    """
    vectors = {}
    for word in words.split():
        for ids in (tokenizer.encode(word), tokenizer.encode(" " + word)):
            if len(ids) == 1 and any(matrix[ids[0]]):
                vectors[word] = matrix[ids[0]]
    if len(vectors) < 2:
        raise ValueError("a map needs two words or more that are one token, "
                         "and that training has met")
    axes = principal_components(list(vectors.values()))
    return {word: [dot(vector, axis) for axis in axes]
            for word, vector in vectors.items()}


# %% How LLMs use vector embeddings
# The vectors of all tokens are one matrix, with a row for each. Here are those of the slides:

SLIDE_MATRIX = [[0.12, 0.34, 0.56, 0.78],   # row 0 is for "The"
                [0.84, 0.01, 0.31, 0.03],   # row 1 for " car"
                [0.23, 0.45, 0.67, 0.89],   # row 2 for " is"
                [0.91, 0.12, 0.34, 0.56],   # row 3 for " fast"
                [0.78, 0.90, 0.12, 0.34],   # row 4 for " and"
                [0.56, 0.78, 0.90, 0.12],   # row 5 for " red."
                [0.55, 0.66, 0.77, 0.88]]   # row 6 for ","


def lookup(matrix: Matrix, ids: list[int]) -> Matrix:
    """Pluck rows from a matrix: for each id the vector at that place.

    >>> lookup(SLIDE_MATRIX, [1, 2])        # " car is"
    [[0.84, 0.01, 0.31, 0.03], [0.23, 0.45, 0.67, 0.89]]

    That is all that happens at the entrance of an LLM. (Textbooks multiply the matrix by a
    vector of zeros with a single 1, "one-hot". It gives the same row, with more work.) So a
    token has one vector, whatever stands around it: the bank of a river and the bank with
    the money share theirs. It takes a transformer (lesson 5) to tell them apart.

    Raises ValueError for an id that has no row.
    """
    for id in ids:
        if not (isinstance(id, int) and 0 <= id < len(matrix)):
            raise ValueError(f"there is no row {id!r} in {len(matrix)} rows")
    return [matrix[id] for id in ids]


# %% Mapping to Indices

def ids_of_words(sentence: str, vocabulary: dict[str, int]) -> list[int]:
    """Look up the words of a sentence in a vocabulary of words in lower case.

    The slide maps six words, and gets nine ids for a sentence of nine words:

    >>> vocabulary = build_vocabulary("the car is fast, and red.".split())
    >>> ids = ids_of_words("The car is fast, and the car is red.", vocabulary)
    >>> ids
    [0, 1, 2, 3, 4, 0, 1, 2, 5]
    >>> len(ids), len(lookup(SLIDE_MATRIX, ids))
    (9, 9)

    (The slide prints eleven vectors: the one for "the" is missing, and three are too many.
    And "the" has the id of "The" only if case does not count. For a real tokenizer "The",
    "the" and " the" are three tokens, with a row for each.)
    """
    return tokens_to_ids(sentence.lower().split(), vocabulary)


# %% Summary: trying to predict the next token
# Where do the vectors come from? From a game: read a text, and before each token guess what
# it is. To play it you need probabilities, and a way to say how bad a guess was.

def softmax(logits: Vector) -> Vector:
    """Turn scores, called logits, into probabilities.

    A score may be any number, also one below 0. Take e (2.718) to the power of it: now all
    are above 0. Divide by their sum: now they add up to 1. Only differences count: a logit
    that is 1 higher than another makes its token e times as likely.

    >>> [round(probability, 3) for probability in softmax([2.0, 1.0, 0.0])]
    [0.665, 0.245, 0.09]
    """
    highest = max(logits)       # taken off, so that no power is too large
    powers = [math.exp(logit - highest) for logit in logits]
    total = sum(powers)
    return [power / total for power in powers]


def bits(probability: float) -> float:
    """The loss: how surprised the model is by what came, in bits.

    What was certain is no surprise. A probability of one half is the surprise of a tossed
    coin, one bit; a quarter is two coins.

    >>> bits(1.0), bits(0.5), bits(0.25), bits(0.001) > 9
    (0.0, 1.0, 2.0, True)

    Added up over a text, it is also the number of bits to which the text could be
    compressed with the model's help. To learn is to make this number small.
    """
    return abs(math.log2(probability)) if probability else math.inf


def move(vector: Vector, other: Vector, distance: float, keep: float = 1.0) -> Vector:
    """Move a vector against another one: all that learning ever does to a vector.

    >>> move([1.0, 2.0], [0.5, -0.5], 2)
    [0.0, 3.0]
    >>> move([1.0, 2.0], [0.5, -0.5], 2, keep=0.5)      # it shrinks first
    [-0.5, 2.0]
    """
    return [keep * x - distance * y for x, y in zip(vector, other)]


class EmbeddingModel:
    """A small language model: it guesses the next token from the vectors of the last two.

    Each of the V tokens has one vector of D numbers, and each half of it has a job. The first
    half (`inputs`) is for the token that has just been read: a guess at what may come next.
    The second half (`outputs`) is for a token that may come next: which guesses does it fit?
    Its score is

        logit  =  dot(guess, second half)  +  bias

    Why two halves? With one vector for both jobs, the score of " dog" after " dog" would be
    the dot product of that vector with itself, and never below 0. The bias is for
    tokens that are common anywhere. And since "not good" is more than "not" and "good", each
    pair of tokens that was met at least twice has a vector as well:

        guess  =  first half of the last token  +  vector of the last two together

    What is each part worth? We trained the model with and without it, and measured the
    held-out stories, in bits per byte (0.01 up or down is luck):

        every token equally likely                              2.96
        vectors of the last token                               1.82
        with biases                                             1.78
        with biases and a third of the vector before            1.78
        with biases and a vector for the pair: this model       1.74
        no vectors, only counts of what followed each two       1.78

    Adding the vector of one more token is worth hardly anything. Seeing the two together is
    worth more, and a transformer (lesson 5) does it for thousands. (The model is akin to the
    log-bilinear one of Mnih and Hinton, 2007, and the counting to that of Kneser and Ney.)
    """

    def __init__(self, inputs: Matrix, outputs: Matrix, biases: Vector,
                 pairs: dict[tuple[int, int], Vector]):
        self.inputs, self.outputs = inputs, outputs     # V x D / 2 each
        self.biases, self.pairs = biases, pairs         # V; each D / 2
        self.metadata = {"made_by": MADE_BY}

    def __repr__(self) -> str:
        tokens, half = len(self.outputs), len(self.outputs[0])
        return f"<EmbeddingModel: {tokens:,} tokens, {2 * half} dimensions>"

    def guess(self, ids: list[int]) -> Vector:
        """The vector that the token after `ids` should fit, D / 2 numbers."""
        rows = [[0] * len(self.outputs[0]), *lookup(self.inputs, ids[-1:])]
        if tuple(ids[-2:]) in self.pairs:
            rows.append(self.pairs[tuple(ids[-2:])])
        return [sum(column) for column in zip(*rows)]

    def logits(self, ids: list[int]) -> Vector:
        """One score per token of the vocabulary, for the token after `ids`."""
        guess = self.guess(ids)
        return [dot(guess, row) + bias
                for row, bias in zip(self.outputs, self.biases)]

    def step(self, ids: list[int], right: int, rate: float, keep: float = 1.0,
             stands_for: Optional[dict[int, float]] = None) -> None:
        """Learn from one token: make the right one more likely, and the wrong ones less.

        The error of a token is how much too likely it was: its probability, and for the right
        one its probability less 1. Each second half moves along the guess: away from it if its
        token was too likely, and else towards it. Each bias goes down by its error. And both
        parts of the guess, the last token's and the pair's, move away from the second halves
        that were too likely, towards the right one. `rate` says how far.

        Follow a step with a pencil. There are four tokens, and " cat" makes the guess [1, 2].

        >>> the, cat, sleeps, runs = 0, 1, 2, 3
        >>> model = EmbeddingModel(
        ...     inputs=[[0, 0], [1, 2], [0, 0], [0, 0]],
        ...     outputs=[[0, 0], [0, 0], [1, 0], [0, 1]],
        ...     biases=[0, 0, 0, 0], pairs={})
        >>> model.logits([cat])
        [0, 0, 1, 2]
        >>> [round(share, 2) for share in softmax(model.logits([cat]))]
        [0.08, 0.08, 0.22, 0.61]

        So it expects " runs". But " sleeps" comes, a surprise of 2.2 bits. The errors:

            the 0.08     cat 0.08     sleeps 0.22 - 1 = -0.78     runs 0.61

        So " sleeps" moves by -0.5 * -0.78 * [1, 2], and " runs" by -0.5 * 0.61 * [1, 2]. The
        guess moves by -0.5 * (-0.78 * [1, 0] + 0.61 * [0, 1]):

        >>> model.step([cat], right=sleeps, rate=0.5)
        >>> [[round(x, 2) for x in row] for row in model.outputs]
        [[-0.04, -0.08], [-0.04, -0.08], [1.39, 0.78], [-0.31, 0.39]]
        >>> [round(x, 2) for x in model.inputs[cat]]
        [1.39, 1.69]
        >>> [round(share, 2) for share in softmax(model.logits([cat]))]
        [0.02, 0.02, 0.94, 0.02]

        Next time it is a surprise of 0.1 bits. Why the errors? Because they say how steep the
        loss is: raise the logit of " runs" by 0.001, and the loss (here with ln, not log2)
        grows by 0.61 times as much.

        >>> before, after = softmax([0, 0, 1, 2]), softmax([0, 0, 1, 2.001])
        >>> losses = [-math.log(shares[sleeps]) for shares in (before, after)]
        >>> round((losses[1] - losses[0]) / 0.001, 2)
        0.61

        To go down such a slope, step by step, is called gradient descent. All slopes are
        taken before anything moves. Here every token is a candidate. (For a few that stand for
        all, see `stands_for` in “The same, fast”.)
        """
        candidates = stands_for or dict.fromkeys(range(len(self.biases)), 1.0)
        guess, outputs = self.guess(ids), lookup(self.outputs, list(candidates))
        # The logarithm of 1 is 0. It only counts in “The same, fast”.
        logits = [dot(guess, row) + self.biases[id] + math.log(candidates[id])
                  for id, row in zip(candidates, outputs)]
        errors = softmax(logits)
        errors[list(candidates).index(right)] -= 1
        slope = [dot(errors, column) for column in zip(*outputs)]
        for id, error in zip(candidates, errors):
            self.outputs[id] = move(self.outputs[id], guess, rate * error, keep)
            self.biases[id] -= rate * error
        for last in ids[-1:]:
            self.inputs[last] = move(self.inputs[last], slope, rate, keep)
        pair = tuple(ids[-2:])
        if pair in self.pairs:
            self.pairs[pair] = move(self.pairs[pair], slope, rate, keep)

    @classmethod
    def untrained(cls, ids: list[int], vocab_size: int, dimensions: int, seed: int = 0) -> "EmbeddingModel":
        """A model that has learned nothing but how common each token is in `ids`.

        The first halves are 0, and the second ones small random numbers. (If both were 0,
        no vector could ever move.) A token that is not in `ids` keeps zeros.
        """
        half, rng, every = dimensions // 2, random.Random(seed), range(vocab_size)
        counts, pairs = Counter(ids), Counter(zip(ids, ids[1:]))
        small = [[rng.gauss(0, 0.2) for _ in range(half)] for _ in every]
        return cls(
            inputs=[[0.0] * half for _ in every],
            outputs=[small[id] if id in counts else [0.0] * half for id in every],
            biases=[math.log((counts[id] + 0.5) / len(ids)) for id in every],
            pairs={pair: [0.0] * half
                   for pair, count in pairs.items() if count >= 2})

    @property
    def embeddings(self) -> Matrix:
        """The vectors of all tokens, V x D, with both halves."""
        return [first + second for first, second in zip(self.inputs, self.outputs)]

    def save(self, path: Union[str, Path]) -> None:
        """Write the model as a .safetensors file, which NumPy and PyTorch can open, too."""
        tokens, half = len(self.outputs), len(self.outputs[0])
        count, flat = len(self.pairs), chain.from_iterable
        write_safetensors(path, {
            "embeddings": ("F64", (tokens, 2 * half), flat(self.embeddings)),
            "biases": ("F64", (tokens,), self.biases),
            "pairs": ("I32", (count, 2), flat(self.pairs)),
            "pair_vectors": ("F64", (count, half), flat(self.pairs.values())),
        }, self.metadata)

    @classmethod
    def load(cls, path: Union[str, Path]) -> "EmbeddingModel":
        """Read what `save` wrote; raises ValueError if it is damaged, or something else."""
        tensors, metadata = read_undamaged(path)
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        sizes = shapes.get("biases", ()) + shapes.get("pair_vectors", ())
        tokens, count, half = sizes if len(sizes) == 3 else (0, 0, 0)
        right = {"embeddings": (tokens, 2 * half), "biases": (tokens,),
                 "pairs": (count, 2), "pair_vectors": (count, half)}
        pairs = list(map(tuple, tensors.get("pairs", ())))
        fits = shapes == right and set(chain(*pairs)) <= set(range(tokens))
        if not fits or not tokens * half:
            raise ValueError(f"{path} holds no model of this lesson")
        rows = list(tensors["embeddings"])
        model = cls([row[:half] for row in rows], [row[half:] for row in rows],
                    [bias for bias, in tensors["biases"]],
                    dict(zip(pairs, tensors["pair_vectors"])))
        model.metadata.update(metadata)
        return model


# %% Summary: reading, failing, updating

RATE = 0.3      # how far a step goes at first
SHRINK = 0.02   # what a step takes off a vector, times the rate: what was
                # met only once fades


def train_model(ids: list[int], vocab_size: int, dimensions: int = 64, passes: int = 4,
                drawn: int = 10, seed: int = 0,
                watch: Callable[[int, EmbeddingModel], Any] = lambda number, model: None) -> EmbeddingModel:
    """Learn a model from a text, given as ids: a step for each token, a few times over.

    `dimensions` is how many numbers a vector has, and `passes` how often the text is read:
    too often, and it is only learned by heart. A step looks at the right token and `drawn`
    others, to be quick, or at all tokens for 0. The same `seed` gives the same model.
    `watch` is called with 0 and the untrained model, and after each pass with its number.
    The rate falls to 0 on the way: the last steps only settle what the first have found.

    >>> text = list(b"the dog ran. the cat sat. ") * 20
    >>> model = train_model(text, vocab_size=128, dimensions=8, passes=2)
    >>> shares = softmax(model.logits(list(b"the do")))
    >>> chr(shares.index(max(shares)))
    'g'

    Raises ValueError for settings or ids that can't work, and if the numbers grow without end.
    """
    if len(ids) < 2 or dimensions < 2 or dimensions % 2 or passes < 1:
        raise ValueError("training needs two ids or more, a pass or more, and "
                         "an even number of dimensions")
    rng, places, left = random.Random(seed), list(range(1, len(ids))), 1.0
    model = EmbeddingModel.untrained(ids, vocab_size, dimensions, seed)
    draw = candidate_drawer(ids, drawn, rng)
    watch(0, model)
    for number in range(1, passes + 1):
        rng.shuffle(places)
        for place in progress(places, f"pass {number} of {passes}"):
            left -= 1 / passes / len(places)
            context, right = ids[max(0, place - 2):place], ids[place]
            rate = RATE * left
            candidates = draw(context[-1], right) if drawn else None
            model.step(context, right, rate, 1 - rate * SHRINK, candidates)
        if not math.isfinite(sum(model.biases) + sum(map(sum, model.outputs))):
            raise ValueError(f"it has run away; a RATE of {RATE} is too high")
        watch(number, model)
    return model


def story_ids(tokenizer: Tokenizer, stories: Iterable[str]) -> list[int]:
    """Stories as one row of ids, with the mark <|endoftext|> before, between and after them."""
    end = tokenizer.encode(END_OF_TEXT, allowed_special="all")
    return end + [id for story in stories
                  for id in tokenizer.encode(story) + end]


def bits_per_byte(model: EmbeddingModel, tokenizer: Tokenizer, stories: list[str], every: int = 1) -> float:
    """The loss on some stories: bits of surprise for each byte of them.

    Per byte, so that models with other tokens can be compared. The file itself has 8 bits
    per byte. A zip program guesses, too, and needs 2.6 after it has read the other stories.
    `every` looks at one token in so many, to be quick. `model` is anything with
    `.logits(ids)`.

    >>> tokenizer, model = course_model()
    >>> seen, held_out = corpus_stories()
    >>> print(f"{bits_per_byte(model, tokenizer, held_out, every=4):.1f}")
    1.7

    Raises ValueError if there are no stories.
    """
    if not stories:
        raise ValueError("there are no stories to measure the loss on")
    rows = [story_ids(tokenizer, [story]) for story in stories]
    places = [(ids, place) for ids in rows for place in range(1, len(ids))]
    losses = [bits(softmax(model.logits(ids[:place]))[ids[place]])
              for ids, place in places[::every]]
    size = len(text_to_bytes("\n\n".join([*stories, ""])))
    return sum(losses) / len(losses) * len(places) / size


def learn(seen: list[str], held_out: list[str], vocab_size: int = COURSE_VOCAB_SIZE,
          dimensions: int = 64, passes: Optional[int] = None) -> tuple[Tokenizer, EmbeddingModel]:
    """Train a tokenizer and a model, and write down what the model can do after each pass.

    Each time the model says what it finds near " dog" (or a common word, if there is no dog),
    and goes on from the same three words. The record is kept with the model.

    >>> tokenizer, model = course_model()
    >>> print(model.metadata["record"])
    before training: 2.38 bits per byte on seen stories, 2.41 on held-out ones
        near ·dog: ·short ·once t ·above ith
        My uncle can the and it one and said, the one the of. the.
    after pass 1: 1.72 bits per byte on seen stories, 2.11 on held-out ones
        near ·dog: ·father ·fish ·farmer ·brother ·You
        My uncle can see a new barn to see. "And the gate, "w
    after pass 2: 1.48 bits per byte on seen stories, 1.90 on held-out ones
        near ·dog: ·doors ·horse ·boy ·child ·cat
        My uncle can read it he came from in the middle of it was as if it
    after pass 3: 1.31 bits per byte on seen stories, 1.77 on held-out ones
        near ·dog: ·horses ·sun ·cat ·son ·horse
        My uncle can not run to the sea can not see her for nothing. The boy
    after pass 4: 1.24 bits per byte on seen stories, 1.76 on held-out ones
        near ·dog: ·horses ·sun ·cat ·son ·horse
        My uncle can not play to stop.
    at last: 1.74 bits per byte on held-out stories

    It begins with how common each token is, and learns which follow each other; words of a
    kind come together. Look at the two losses, which after each pass are measured on a few
    tokens only. While both fall, it learns the language. On all tokens the four passes end
    at 1.16 and 1.74, and sixteen would end at 0.85 and 1.82: the model knows what it has
    seen by heart.
    """
    tokenizer = Tokenizer.train("\n\n".join(seen), vocab_size, [END_OF_TEXT])
    ids, size, record = story_ids(tokenizer, seen), len(tokenizer), []
    if passes is None:
        passes = 4 if len(ids) < 100_000 else 2     # a long text needs fewer
    _say_how_long(ids, size, dimensions, passes)
    watch = partial(_report, record, tokenizer, ids, seen, held_out)
    model = train_model(ids, size, dimensions, passes, watch=watch)
    every = 1 + len(ids) // 16_000
    loss = bits_per_byte(model, tokenizer, held_out, every)
    record.append(f"at last: {loss:.2f} bits per byte on held-out stories")
    print(record[-1], file=sys.stderr)
    model.metadata["record"] = "\n".join(record)
    return tokenizer, model


def _say_how_long(ids: list[int], vocab_size: int, dimensions: int, passes: int) -> None:
    start, few = time.perf_counter(), ids[:5000]
    train_model(few, vocab_size, dimensions, min(passes, 1))
    seconds = (time.perf_counter() - start) / len(few) * len(ids) * passes + 5      # to measure the losses
    print(f"{len(ids):,} tokens, {passes} passes: this takes about {seconds:.0f} seconds", file=sys.stderr)


def _report(record: list[str], tokenizer: Tokenizer, ids: list[int], seen: list[str], held_out: list[str],
            number: int, model: EmbeddingModel) -> None:
    """Put down what a model can do after a pass: its losses, the neighbours of a word, a text it writes."""
    when = f"after pass {number}" if number else "before training"
    every = 1 + len(ids) // 560
    losses = [bits_per_byte(model, tokenizer, stories[:len(held_out)], every) for stories in (seen, held_out)]
    words = {id: tokenizer.decode([id]) for id, _ in Counter(ids).most_common()}
    word = max(words, key=lambda id: (words[id] == " dog", bool(re.fullmatch(r" ?[^\W\d_]{5,}", words[id]))))
    near = [id for id, _ in nearest(model.embeddings[word], model.embeddings, 6)]
    text, rng = tokenizer.encode(held_out[0])[:3], random.Random(5)
    while len(text) < 17 and text[-1] != ids[0]:        # the mark for the end
        shares = softmax([2 * logit for logit in model.logits(text)])     # mostly likely ones
        text += rng.choices(range(len(shares)), shares)
    written = tokenizer.decode(text).replace("\ufffd", "").replace(END_OF_TEXT, "")
    near = [tokenizer.show([id], color=False) for id in near]
    record += [f"{when}: {losses[0]:.2f} bits per byte on seen stories, {losses[1]:.2f} on held-out ones",
               f"    near {near[0]}: {' '.join(near[1:])}",
               f"    {' '.join(written.split())}"]
    print(*record[-3:], sep="\n", file=sys.stderr)


# %% The same, fast: a few candidates instead of all
# To move every token of the vocabulary in every step would take minutes. A few are enough, if
# each counts for as many as it stands for: in a poll that asks one voter in a hundred, each
# stands for a hundred.

def candidate_drawer(ids: list[int], drawn: int, rng: random.Random) -> Callable[..., dict[int, float]]:
    """A function that draws the candidates of a step, and says how many each stands for.

    Half of them come from the tokens that ever followed the last one, since these are
    hardest to tell from the right one, and half from anywhere in the text. The right token
    is put among them, as one draw more. Each stands for the times that it was drawn, divided
    by the times that one would expect: a token that is drawn in one step of ten stands for
    ten, and so must count ten times in the softmax. As 10 * e^logit is e^(logit + ln 10), the
    step adds ln 10 to its logit, and is the same otherwise. (This is sampled softmax: Bengio
    and Senécal 2003.) Already ten teach the model what all would teach it:

    >>> text = list(b"the dog ran. the cat sat. ") * 20
    >>> def likely_after_the(drawn):
    ...     model = train_model(text, 128, dimensions=8, passes=6, drawn=drawn)
    ...     shares = softmax(model.logits(list(b"e ")))
    ...     return {chr(id) for id, share in enumerate(shares) if share > 0.2}
    >>> likely_after_the(drawn=0) == likely_after_the(drawn=10) == {"c", "d"}
    True
    """
    half, followers = max(1, drawn // 2), defaultdict(list)
    counts, pairs = Counter(ids), Counter(zip(ids, ids[1:]))
    for before, after in zip(ids, ids[1:]):
        followers[before].append(after)

    def draw(last: int, right: int) -> dict[int, float]:
        near = followers[last]
        times = Counter(rng.choices(near, k=half) + rng.choices(ids, k=half) + [right])
        return {id: count / (half * pairs[last, id] / len(near) + half * counts[id] / len(ids))
                for id, count in times.items()}
    return draw


# %% The real thing: safetensors
# Real models keep their vectors in files that end in .safetensors. The format is so simple
# that you can read it yourself. Eight bytes say how long the header is. The header, in JSON,
# says of each tensor its type, its shape, and where it begins and ends. Then come the numbers.

def header_of(path: Union[str, Path]) -> dict:
    """Read the header of a safetensors file. Try it with a matrix of 2 x 2 numbers.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = folder.name + "/small.safetensors"
    >>> write_safetensors(path, {"m": ("F32", (2, 2), [1, 2, 3, 4])}, {})
    >>> Path(path).read_bytes()[:8]     # a8 is 168: so long is the header
    b'\\xa8\\x00\\x00\\x00\\x00\\x00\\x00\\x00'
    >>> header_of(path)["m"]
    {'dtype': 'F32', 'shape': [2, 2], 'data_offsets': [0, 16]}

    Four numbers of four bytes each are bytes 0 to 15 after the header; 16 is one past them.
    A file of a gigabyte looks just like that, and nobody reads it whole. `read_safetensors`
    fetches a row when you ask for it:

    >>> read_safetensors(path)["m"].row(1)
    [3.0, 4.0]
    >>> folder.cleanup()
    """
    read_safetensors(path)      # refuses what is no such file, or damaged
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        return json.loads(file.read(size))


# %% Swap vector embeddings: the model of this course
# The slides swap vectors under one tokenizer. It works if both were trained for the same ids.
# (In an LLM the layers that were trained on the vectors have to come along.) No row says which
# token it is for: under another tokenizer every token gets the vector of some other one. Only
# the number of rows may tell, one for each token. (Qwen2.5 has 271 more, to round it up.)

MODEL_FOLDER = HERE / "model"


@lru_cache(maxsize=1)
def course_model() -> tuple[Tokenizer, EmbeddingModel]:
    """The tokenizer and the model of this course: from the folder model/, or trained now.

    Training takes about twenty seconds. It is done once, and again if corpus.txt changes or
    the code of lessons 1 to 3, though not for a mended docstring, or if a file is damaged.
    If the folder can't be written to, nothing is kept.

    The model gives each token a score. Lesson 4 makes text of the scores:
    python3 lesson_4_sampling.py --step
    """
    def train():
        print("training on corpus.txt, which is done once:", file=sys.stderr)
        return learn(*corpus_stories())
    return kept_or_trained(MODEL_FOLDER, _fingerprint(), load_model, train)


def _fingerprint() -> str:
    """A short name for what makes the model: the code of lessons 1 to 3, and corpus.txt as they cut it."""
    code = map(code_of, sorted(HERE.glob("lesson_[123]_*.py")))
    return checksum_of("\0".join([*code, *split_words(read_text(CORPUS))]).encode("utf-8"))


def load_model(folder: Union[str, Path]) -> tuple[Tokenizer, EmbeddingModel]:
    """Open both from a folder; raises ValueError if one is damaged, or if they don't belong together."""
    return load_together(folder, Tokenizer.load, EmbeddingModel.load)


# %% Your turn
# Write your answers into answers_3.py, beside the lesson, and begin it with `from
# lesson_3_embeddings import *`. Then have them checked:
#
#     python3 lesson_3_embeddings.py --check answers_3.py
#
# 1. A warm-up. What is the cosine similarity of [1, 2] to [2, 4], to [-1, -2] and to
# [2, -1]? Draw the four arrows on paper. A list of three numbers.
#
# 2. Predict: how many bits of surprise? First of a model that gives each of its 1,024
# tokens the same probability, for one token. Then of one that gives the right token one
# chance in four every time, for a text of eight tokens. A list of two numbers.
#
# 3. Add the vectors of " mother" and " father", number by number. Which other token is
# nearest to the sum? `course_model` and `nearest` will tell; `encode` gives a list of
# ids, and `decode` takes one. A string.
#
# 4. Write `answer_4(a, b)`: how far is it from the end of one arrow to that of another,
# in any number of dimensions? It is the other way to compare vectors: two that point the
# same way may be far apart.
#
# 5. For an evening: beat the model of this course. `answer_5(ids, vocab_size)` gets the
# seen stories as ids. It returns a model of yours, any object with `.logits(ids)`, which
# gives each token a score for the place after `ids`. On the held-out stories it has to
# need less than 1.71 bits per byte; this lesson's needs 1.74, and more dimensions alone
# won't do. You may train, count, or mix several models. It has half an hour.


# %% On the command line

HELP = """Lesson 3: embeddings. Without a text or an option it plays the lesson.
  text              shown with the nearest tokens of each of its tokens
  --tokenizer FILE  a real LLM's or yours, with --embeddings FILE, its vectors
  --map WORDS       draw a map of these words; --svg FILE saves it as a picture
  --train FILE      learn from this text; --save FOLDER keeps what was learned
  --vocab-size N    (1200), --dimensions N (64) and --passes N (4) of training
for example: python3 lesson_3_embeddings.py --map "dog cat" --svg map.svg
"""


def show(text: Optional[str] = None, tokenizer: Optional[str] = None, embeddings: Optional[str] = None,
         map: Optional[str] = None, svg: Optional[str] = None, train: Optional[str] = None,
         save: Optional[str] = None, **settings: int) -> None:
    """The neighbours of a text's tokens, or a map, by the course's vectors, your own, or a real LLM's."""
    if train is not None:
        if any(each is not None for each in (text, map, svg, tokenizer, embeddings)):
            raise ValueError("--train goes with --save and its settings only; look at the model afterwards")
        return _train_on(train, save, settings)
    if save is not None or settings:
        raise ValueError("--save, --vocab-size, --dimensions and --passes belong to --train FILE")
    if (tokenizer is None) != (embeddings is None):
        raise ValueError("--tokenizer and --embeddings belong together: an id is a row of its own matrix")
    if text is None and map is None and svg is None:
        raise ValueError("a text is missing, to show the nearest tokens of, or --map or --svg")
    if tokenizer is None:
        opened, model = course_model()
        matrix = model.embeddings
    else:
        opened = Tokenizer.load(tokenizer)
        matrix = find_embeddings(read_safetensors(embeddings), 1 + max(opened.vocabulary.values()))
    if map is not None or svg is not None:
        _show_map(map or " ".join(KINDS.values()), opened, matrix, svg)
    if text is not None:
        print(show_nearest(text, opened, matrix))


def _show_map(words: str, tokenizer: Tokenizer, matrix: Union[Matrix, Tensor], svg: Optional[str]) -> None:
    points = map_points(words, tokenizer, matrix)
    missing = [word for word in dict.fromkeys(words.split()) if word not in points]
    if missing:
        print("not on the map, for they are not one token that training has met:", *missing, file=sys.stderr)
    if svg is None:
        print(draw_map(points))
    elif not svg.endswith(".svg"):
        raise ValueError(f"--svg takes a name that ends in .svg, not {svg!r}")
    else:
        write_whole(svg, svg_map(points, KINDS).encode("utf-8"))
        print(f"saved {svg}")


def _train_on(file: str, folder: Optional[str], settings: dict[str, int]) -> None:
    if not folder or Path(folder).resolve() == MODEL_FOLDER:
        raise ValueError("--train needs --save FOLDER, to keep what was learned, and not model/ itself, which is for "
                         "the model of the course: take model/mine")
    check_folder(folder, MADE_BY)
    tokenizer, model = learn(*split_stories(read_text(file)), **settings)
    save_together(folder, tokenizer, model)
    print(f"saved {folder}; go on with: python3 lesson_4_sampling.py --chat --model {shlex.quote(folder)}")


if __name__ == "__main__":
    run_lesson(HELP, show)
