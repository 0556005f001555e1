"""Lesson 3: embeddings. Every token becomes a vector, and the vectors are learned.

Lesson 2 made every text a row of ids. But an id is only a number in a list: there
is nothing of a car in the 4, and it is no nearer to 5 than to 500. So the first
thing that a language model does with an id is to look up a vector, the embedding
of the token, and from there on it works with vectors alone. Similar tokens have
similar vectors. Nobody writes these down. They are learned, by predicting the
next token again and again.

    ids 0 1 2  →  rows 0, 1, 2 of a matrix  →  prediction  →  a score per token

This lesson looks vectors up and compares them, then learns some from corpus.txt,
in lists of lists, and at last reads those of a real LLM from its own file.

>>> embeddings = [[0.84, 0.01], [0.42, 0.97], [0.73, 0.04]]
>>> lookup(embeddings, [2, 0])
[[0.73, 0.04], [0.84, 0.01]]
>>> round(cosine_similarity(embeddings[2], embeddings[0]), 3)
0.999
"""

import argparse
import hashlib
import heapq
import html
import inspect
import json
import math
import os
import random
import struct
import sys
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, chain, product
from operator import mul
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO, Callable, Iterable, Iterator, Optional, Union

if __name__ == "__main__":      # with `python -I` nobody else looks for the other lessons here
    sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))

from lesson_1_tokens import (CORPUS, UNKNOWN, bar, build_vocabulary, corpus_stories, display_width, lesson_parser,
                             read_text, run_lesson, table, tokens_to_ids)
from lesson_2_coding_tokenizer import (COURSE_VOCAB_SIZE, END_OF_TEXT, GPT2_PATTERN, Tokenizer, course_tokenizer,
                                       progress, split_words, text_to_bytes, train_merges_simply, write_whole)

Vector = list[float]
Matrix = list[list[float]]

CAR, GRASS = [0.84, 0.01, 0.31, 0.03], [0.01, 0.97, 0.89, 0.82]
DOG, CAT = [0.42, 0.97, 0.95], [0.73, 0.04, 0.01]
FEATURES = ["fluffiness", "willingness to save your life", "gratefulness"]
SLIDE_TOKENS = ["The", " car", " is", " fast", " and", " red.", ","]
SLIDE_MATRIX = [[0.12, 0.34, 0.56, 0.78], [0.84, 0.01, 0.31, 0.03], [0.23, 0.45, 0.67, 0.89],
                [0.91, 0.12, 0.34, 0.56], [0.78, 0.90, 0.12, 0.34], [0.56, 0.78, 0.90, 0.12],
                [0.55, 0.66, 0.77, 0.88]]


# %% Introducing: Vector Embeddings

def dot(a: Vector, b: Vector) -> float:
    """The dot product: multiply number by number, and add up.

    >>> dot([1, 2, 3], [4, 5, 6])
    32

    It is large when both vectors are large in the same places. The slides give a
    dog and a cat three numbers each. Who is the better one in an accident?

    >>> FEATURES
    ['fluffiness', 'willingness to save your life', 'gratefulness']
    >>> DOG, CAT
    ([0.42, 0.97, 0.95], [0.73, 0.04, 0.01])
    >>> rescuer = [0.0, 1.0, 1.0]       # of the three features, the last two
    >>> round(dot(DOG, rescuer), 2), round(dot(CAT, rescuer), 2)
    (1.92, 0.05)

    Raises ValueError for vectors of different lengths.

    >>> dot(CAR, CAT)
    Traceback (most recent call last):
    ValueError: these vectors have 4 and 3 numbers; both need the same
    """
    if len(a) != len(b):
        raise ValueError(f"these vectors have {len(a)} and {len(b)} numbers; both need the same")
    return sum(map(mul, a, b))


def length(vector: Vector) -> float:
    """The length of a vector: how far it is from the origin to its point.

    A point on paper has two numbers, a point in a room has three. The same row
    of numbers, seen as an arrow from the origin, is a vector. Its length comes
    from Pythagoras, and the formula does not mind how many numbers there are:

    >>> length([3, 4]), length([2, 3, 6]), round(length(CAR), 3)
    (5.0, 7.0, 0.896)
    """
    return math.sqrt(dot(vector, vector))


def cosine_similarity(a: Vector, b: Vector) -> float:
    """The cosine of the angle between two vectors: 1 is the same direction.

    It is the dot product of two arrows, both scaled to length 1. So it only asks
    where they point: 1 the same way, 0 at a right angle, -1 the opposite way.
    (The numbers of the slides are invented, so what they give means little.)

    >>> cosine_similarity([3, 4], [6, 8]), cosine_similarity([1, 0], [0, 5])
    (1.0, 0.0)
    >>> cosine_similarity([1, 0], [-2, 0])
    -1.0
    >>> for a, b in ((CAR, GRASS), (DOG, CAT)):
    ...     print(f"{cosine_similarity(a, b):.2f}")
    0.23
    0.34

    The slides give each number a name, and warn that a real one has none. Here
    is why: turn all the arrows together, and the numbers change, but no angle
    does. A model learns how the arrows lie to each other; which way the axes
    point is an accident.

    >>> def turn(v):
    ...     return [0.6 * v[0] + 0.8 * v[1], 0.6 * v[1] - 0.8 * v[0], v[2]]
    >>> [round(number, 2) for number in turn(DOG)]
    [1.03, 0.25, 0.95]
    >>> round(cosine_similarity(turn(DOG), turn(CAT)), 2)
    0.34

    Raises ValueError for a vector of zeros, which has no direction.
    """
    if not length(a) or not length(b):
        raise ValueError("a vector of zeros has no direction, so it has no cosine similarity")
    return max(min(dot(a, b) / length(a) / length(b), 1.0), -1.0)


def nearest(vector: Vector, matrix: Iterable[Vector], k: int) -> list[tuple[int, float]]:
    """The k rows of a matrix that point most nearly where a vector points.

    Returns row ids with their cosine similarity, best first; of equal ones the
    lower id. A row of zeros points nowhere and is left out.

    >>> for id, cosine in nearest(CAR, SLIDE_MATRIX, k=3):
    ...     print(SLIDE_TOKENS[id], round(cosine, 2))
     car 1.0
     fast 0.88
     red. 0.64
    """
    own_length = length(vector)
    if own_length == 0:
        raise ValueError("a vector of zeros has no direction, so nothing is near to it")
    lengths = ((id, row, length(row)) for id, row in enumerate(matrix))
    cosines = ((min(dot(vector, row) / own_length / size, 1.0), -id) for id, row, size in lengths if size)
    return [(-id, cosine) for cosine, id in heapq.nlargest(k, cosines)]


# %% How LLMs use vector embeddings

def lookup(matrix: Matrix, ids: list[int]) -> Matrix:
    """Pluck the rows of a matrix: for each id the vector at that position.

    The embeddings of a vocabulary are one matrix, with as many rows as there are
    tokens: the token with id 0 has row 0. Here are seven tokens of the slides.

    >>> vocabulary = {token: id for id, token in enumerate(SLIDE_TOKENS)}
    >>> tokens_to_ids(["The", " car", " is", " fast"], vocabulary)
    [0, 1, 2, 3]
    >>> lookup(SLIDE_MATRIX, [0, 1])
    [[0.12, 0.34, 0.56, 0.78], [0.84, 0.01, 0.31, 0.03]]

    A token has one vector, whatever stands around it: the bank of a river and the
    bank with the money share theirs. It is the layers of a transformer that tell
    them apart. And token and vector are not tied: the id stands between them. So
    the vectors of another model, or of tomorrow's version, swap in under the same
    tokenizer:

    >>> other_matrix = [[1.0, 0.0], [0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]
    >>> lookup(other_matrix, [0, 1])
    [[1.0, 0.0], [0.9, 0.1]]

    Frameworks call the matrix a layer, and a layer multiplies. It is the same
    thing: take a vector of zeros with a single 1 ("one-hot"). Times the matrix it
    adds up all the rows, each times 0, and one times 1: that row comes out. With
    151,665 rows it is much work for nothing.

    >>> one_hot = [0, 1, 0, 0, 0, 0, 0]
    >>> columns = zip(*SLIDE_MATRIX)
    >>> [dot(one_hot, column) for column in columns] == SLIDE_MATRIX[1]
    True

    Raises ValueError for an id that has no row.

    >>> lookup(SLIDE_MATRIX, [7])
    Traceback (most recent call last):
    ValueError: there is no row 7 in a matrix of 7 rows, which are counted from 0
    """
    for id in ids:
        if not (isinstance(id, int) and 0 <= id < len(matrix)):
            raise ValueError(f"there is no row {id!r} in a matrix of {len(matrix)} rows, which are counted from 0")
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

    Two mistakes: "the" shares id 0 with "The", which is right only if case does
    not count, as here; and where the slide plucks the vectors for these nine ids
    it prints eleven. The one for "the" is missing, and three are too many.

    >>> len(ids), len(lookup(SLIDE_MATRIX, ids))
    (9, 9)

    A tokenizer that keeps spaces, capitals and the comma as they are makes ten
    tokens of it, and needs a row for " the" as well:

    >>> with_comma = "The| car| is| fast|,| and| the| car| is| red.".split("|")
    >>> len(with_comma), " the" in SLIDE_TOKENS
    (10, False)
    """
    lower_case = {word if word == UNKNOWN else word.lower(): id for word, id in vocabulary.items()}
    return tokens_to_ids(sentence.lower().split(), lower_case)


# %% Summary: trying to predict the next token

def bits(probability: float) -> float:
    """The loss: how surprised one is by what came, in bits.

    If the model gave a probability of 1 to the token that came, it is not
    surprised. One half is the surprise of a tossed coin, one bit; a quarter is
    two coins.

    >>> bits(0.5), bits(0.25), bits(0.001) > 9
    (1.0, 2.0, True)

    Added up over a text it is also the number of bits to which the text could be
    compressed with the model's help. Learning means: make this number small.
    """
    return -math.log2(probability) if probability else math.inf


class EmbeddingModel:
    """A small language model: the vectors of the last tokens add up to a prediction.

    Each of the V tokens of the vocabulary has one vector of D numbers, a row of
    `embeddings` (V x D), with two jobs and half of the numbers for each. When the
    token has been read, the first half (`inputs`) says what may follow. When the
    token is itself a candidate for the next place, the second half (`outputs`) says
    which predictions it fits. Its score, the logit, is made like this:

        predicted  =  pair vector  +  weights x first halves of the last tokens
        logit      =  predicted · second half of the candidate  +  its bias

    There is one weight for each distance, up to `reach` tokens back. The pair
    vector belongs to the last two tokens together, if they were met in training:
    "not good" is more than "not" plus "good". The bias is for tokens that are
    common anywhere. All of these numbers are learned. The model is a small relative
    of the log-bilinear one of Mnih and Hinton (2007).

    The last token says nearly everything, the one before it much less. And a
    token that training never met keeps a first half of zeros: it helps no
    prediction. Most of these are bytes, and parts of longer tokens.

    >>> tokenizer, model = course_model()
    >>> [round(weight, 1) for weight in model.weights]
    [1.8, 0.4, 0.1, 0.1]
    >>> sum(not any(half) for half in model.inputs), len(tokenizer)
    (419, 1600)

    Why two halves? One vector for both jobs would say that what follows " dog" is
    like " dog" itself. A transformer changes the vectors on the way from the
    first job to the second, so many LLMs need only one matrix. Ours has nothing
    in between.
    """

    def __init__(self, inputs: Matrix, outputs: Matrix, biases: Vector, weights: Vector,
                 pairs: dict[tuple[int, int], Vector]):
        self.inputs, self.outputs, self.biases = inputs, outputs, biases
        self.weights, self.pairs = weights, pairs
        self.metadata = {}

    @classmethod
    def untrained(cls, vocab_size: int, dimensions: int, reach: int = 4,
                  pairs: Iterable[tuple[int, int]] = (), seed: int = 0) -> "EmbeddingModel":
        """A model that knows nothing: the first halves are 0, the second ones random.

        A first half moves by the second halves, and the other way round. If all
        were 0, nothing could ever move.

        >>> EmbeddingModel.untrained(vocab_size=4, dimensions=6).logits([0, 1])
        [0.0, 0.0, 0.0, 0.0]
        """
        rng, half = random.Random(seed), dimensions // 2
        return cls(inputs=[[0.0] * half for _ in range(vocab_size)],
                   outputs=[[rng.gauss(0, 0.05) for _ in range(half)] for _ in range(vocab_size)],
                   biases=[0.0] * vocab_size,
                   weights=[1 / (1 + distance) for distance in range(reach)],
                   pairs={pair: [0.0] * half for pair in pairs})

    @property
    def embeddings(self) -> Matrix:
        """The vectors of all tokens, V x D, with both halves."""
        return [first + second for first, second in zip(self.inputs, self.outputs)]

    def predict(self, ids: list[int]) -> Vector:
        """The vector that the token after `ids` should fit to, D / 2 numbers."""
        latest_first = ids[:-len(self.weights) - 1:-1]
        predicted = self.pairs.get(tuple(latest_first[:2])) or [0.0] * len(self.outputs[0])
        for weight, id in zip(self.weights, latest_first):
            predicted = [x + weight * y for x, y in zip(predicted, self.inputs[id])]
        return predicted

    def logits(self, ids: list[int]) -> Vector:
        """One score per token of the vocabulary, for the token after `ids`."""
        predicted = self.predict(ids)
        return [sum(map(mul, predicted, output)) + bias for output, bias in zip(self.outputs, self.biases)]

    def probabilities(self, ids: list[int]) -> Vector:
        """The logits as probabilities, by softmax, which lesson 4 explains.

        >>> EmbeddingModel.untrained(vocab_size=4, dimensions=6).probabilities([0])
        [0.25, 0.25, 0.25, 0.25]
        """
        logits = self.logits(ids)
        highest = max(logits)
        powers = [math.exp(logit - highest) for logit in logits]
        total = math.fsum(powers)
        return [power / total for power in powers]

    def exact_step(self, ids: list[int], right: int, rate: float) -> None:
        """Learn from one token: make the right one more likely and the wrong ones less.

        The error of a token is how much too probable it was: its probability, and
        for the token that came its probability less 1. It is also the slope (the
        gradient): raise the logit by 0.001, and the loss grows by 0.001 times the
        error. (The loss is here in natural units; one bit is 0.693 of them.)

        >>> tokens = ["the", " cat", " sleeps", " runs"]
        >>> model = EmbeddingModel.untrained(len(tokens), dimensions=6)
        >>> def loss():
        ...     return -math.log(model.probabilities([0, 1])[2])
        >>> before = loss()
        >>> model.biases[3] += 0.001            # " runs" a little higher:
        >>> round((loss() - before) / 0.001, 2)     # the slope is its error
        0.25
        >>> model.biases[3] -= 0.001

        Now the step, for " sleeps"; `rate` says how far it goes. The probability
        was one in four, as for all:

        >>> model.exact_step([0, 1], right=2, rate=0.5)
        >>> [round(probability, 2) for probability in model.probabilities([0, 1])]
        [0.22, 0.22, 0.35, 0.21]
        >>> after = model.probabilities([0, 1])[2]
        >>> print(f"{bits(0.25):.2f} bits before, {bits(after):.2f} after")
        2.00 bits before, 1.49 after
        """
        errors = self.probabilities(ids)
        errors[right] -= 1
        self.learn(ids, self.predict(ids), range(len(errors)), errors, rate)

    def learn(self, ids: list[int], predicted: Vector, candidates: Iterable[int], errors: Vector,
              rate: float, shrink: float = 0.0) -> None:
        """Move every number that helped to make some logits, so that the errors get smaller.

        What was too probable gets a lower logit, and the right one a higher. A
        logit is a dot product, so both of its sides move (the chain rule says how
        far). A candidate's second half moves along the prediction, or away from
        it. The prediction moves along the second halves, away from those that
        were too probable; and as it is a sum of vectors, each of them is moved,
        the more the larger its weight. `shrink` pulls the vectors that move a
        little towards 0, so that what was seen once does not count too much.
        """
        latest_first, keep = ids[:-len(self.weights) - 1:-1], 1 - rate * shrink
        inputs, outputs = self.inputs, self.outputs
        columns = zip(*[outputs[id] for id in candidates])
        slope = [rate * sum(map(mul, errors, column)) for column in columns]
        for id, error in zip(candidates, errors):
            error *= rate
            outputs[id] = [keep * x - error * y for x, y in zip(outputs[id], predicted)]
            self.biases[id] -= error
        pair = tuple(latest_first[:2])
        if pair in self.pairs:
            self.pairs[pair] = [keep * x - y for x, y in zip(self.pairs[pair], slope)]
        for place, id in enumerate(latest_first):
            weight, vector = self.weights[place], inputs[id]
            inputs[id] = [keep * x - weight * y for x, y in zip(vector, slope)]
            self.weights[place] -= WEIGHT_RATE * sum(map(mul, slope, vector))

    def save(self, path: Union[str, Path]) -> None:
        """Write the model as a .safetensors file, which `safetensors` and NumPy open too."""
        half = len(self.outputs[0])
        write_safetensors(path, {
            "embeddings": ("F64", (len(self.outputs), 2 * half), chain.from_iterable(self.embeddings)),
            "biases": ("F64", (len(self.biases),), self.biases),
            "weights": ("F64", (len(self.weights),), self.weights),
            "pairs": ("I32", (len(self.pairs), 2), chain.from_iterable(self.pairs)),
            "pair_vectors": ("F64", (len(self.pairs), half), chain.from_iterable(self.pairs.values())),
        }, self.metadata)

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
        tensors, metadata = _read_header(path)
        checksum = str(metadata.get("sha256"))
        data = Path(path).read_bytes().replace(checksum.encode(), NO_CHECKSUM.encode(), 1)
        if hashlib.sha256(data).hexdigest() != checksum:
            raise ValueError(f"{path} is damaged, or was not written by this lesson: its checksum is wrong")
        try:
            embeddings, pairs, pair_vectors, biases, weights = (
                list(tensors[name]) for name in ("embeddings", "pairs", "pair_vectors", "biases", "weights"))
        except KeyError as error:
            raise ValueError(f"{path} has no tensor {error.args[0]!r}") from None
        half = tensors["embeddings"].shape[1] // 2
        model = cls([row[:half] for row in embeddings], [row[half:] for row in embeddings],
                    [bias for bias, in biases], [weight for weight, in weights],
                    {tuple(pair): vector for pair, vector in zip(pairs, pair_vectors)})
        model.metadata = metadata
        return model


WEIGHT_RATE = 0.03      # all tokens share the weights, so these move more slowly


# %% Summary: reading, failing, updating

def train_model(ids: list[int], vocab_size: int, dimensions: int = 48, reach: int = 4, passes: int = 4,
                rate: float = 0.25, shrink: float = 0.01, near: int = 4, far: int = 6, seed: int = 0,
                after_pass: Optional[Callable[[int, EmbeddingModel], None]] = None) -> EmbeddingModel:
    """Learn a model from a text, given as ids: read it a few times, in random order.

    An exact step, as above, moves the vectors of the whole vocabulary. To train
    in seconds, each step asks an easier question: here are the token that came
    and ten fakes; which is the real one? Four fakes (`near`) are drawn from all
    the tokens that ever followed the last one, six (`far`) from anywhere.

    Say that a candidate is in the list of eleven. By the model's guess it is there
    as the real token m = e^logit times, and by our drawing n times as a fake. So
    the chance that it is the real one is m / (m + n): with m = 0.3 and n = 0.1
    three in four. The distance of this from the truth, 1 or 0, is its error. To get
    it right for all tokens m must become the probability itself, and yet nothing
    is ever added up over the vocabulary. This is noise-contrastive estimation
    (Gutmann and Hyvärinen 2010; Mnih and Teh 2012). A fake that happens to be the
    right token does no harm, for n counts it.

    The biases begin with how common each token is. The rate falls to 0 on the way,
    so that the last steps only settle what the first have found. The sizes are
    choices: try others, and let `bits_per_byte` judge them. The same seed gives the
    same model.

    >>> text = list(b"the dog ran. the cat sat. ") * 20
    >>> model = train_model(text, vocab_size=128, dimensions=8, passes=2)
    >>> probabilities = model.probabilities(list(b"the do"))
    >>> chr(probabilities.index(max(probabilities)))
    'g'

    Raises ValueError for fewer than two ids, for an id that is not below
    vocab_size, and if the rate is so high that the numbers grow without end.
    """
    _check_training(ids, vocab_size, dimensions, reach)
    rng, counts = random.Random(seed), Counter(ids)
    model = EmbeddingModel.untrained(vocab_size, dimensions, reach, zip(ids[1:], ids), seed)
    model.biases = [math.log((counts[id] + 0.5) / len(ids)) for id in range(vocab_size)]
    draw_fakes, near_of, far_of = _fakes(ids, vocab_size, near, far, rng)
    places = list(range(1, len(ids)))
    all_steps = steps_left = passes * len(places)
    for number in range(1, passes + 1):
        rng.shuffle(places)
        for place in progress(places, f"pass {number} of {passes}"):
            context = ids[max(0, place - reach):place]
            predicted, near_here = model.predict(context), near_of[context[-1]]
            candidates = [ids[place], *draw_fakes(context[-1])]
            errors = _chances(model, predicted, candidates, near_here, far_of)
            errors[0] -= 1
            model.learn(context, predicted, candidates, errors, rate * steps_left / all_steps, shrink)
            steps_left -= 1
        if not math.isfinite(sum(map(sum, model.outputs))):
            raise ValueError(f"the training has run away; try a rate below {rate}")
        if after_pass is not None:
            after_pass(number, model)
    return model


def _check_training(ids: list[int], vocab_size: int, dimensions: int, reach: int) -> None:
    if len(ids) < 2 or not all(isinstance(id, int) and 0 <= id < vocab_size for id in ids):
        raise ValueError(f"training needs two ids or more, all from 0 to {vocab_size - 1}")
    if dimensions < 2 or dimensions % 2 or reach < 1:
        raise ValueError(f"training needs an even number of dimensions, and a reach of 1 or more, "
                         f"not {dimensions} and {reach}")


def _chances(model: EmbeddingModel, predicted: Vector, candidates: list[int], near_here: dict[int, float],
             far_of: Vector) -> Vector:
    """How likely each candidate is to be the real one: m / (m + n)."""
    chances, outputs, biases = [], model.outputs, model.biases
    for id in candidates:
        power = math.exp(min(50.0, sum(map(mul, predicted, outputs[id])) + biases[id]))
        chances.append(power / (power + far_of[id] + near_here.get(id, 0.0)))
    return chances


def _fakes(ids: list[int], vocab_size: int, near: int, far: int,
           rng: random.Random) -> tuple[Callable, dict[int, dict[int, float]], Vector]:
    """A function that draws the fakes of a step, and how often each id is expected among them."""
    followers = defaultdict(list)
    for before, after in zip(ids, ids[1:]):
        followers[before].append(after)
    near_of = {before: {id: near * count / len(after) for id, count in Counter(after).items()}
               for before, after in followers.items()}
    counts = Counter(ids)
    roots = [math.sqrt(counts[id] + 0.5) for id in range(vocab_size)]     # rare tokens get their turn too
    all_roots = math.fsum(roots)
    far_of = [far * root / all_roots for root in roots]
    everything, cumulated = range(vocab_size), list(accumulate(roots))

    def draw_fakes(last: int) -> list[int]:
        return rng.choices(followers[last], k=near) + rng.choices(everything, cum_weights=cumulated, k=far)

    return draw_fakes, near_of, far_of


def story_ids(tokenizer: Tokenizer, stories: Iterable[str]) -> list[int]:
    """Stories as one row of ids, with the end of a story before, between and after them.

    >>> tokenizer = course_tokenizer()
    >>> tokenizer.decode(story_ids(tokenizer, ["The dog ran.", "The end."]))
    '<|endoftext|>The dog ran.<|endoftext|>The end.<|endoftext|>'
    """
    end = tokenizer.added_tokens[END_OF_TEXT]
    return [end, *chain.from_iterable([*tokenizer.encode(story), end] for story in stories)]


def bits_per_byte(model: EmbeddingModel, tokenizer: Tokenizer, stories: list[str], every: int = 1) -> float:
    """The loss on some stories: bits of surprise for each byte of them.

    Per byte, so that models with other tokens can be compared, and compressors
    too. `every` looks at one token in so many, to be quick. On the stories that
    it was trained on the model is much better than on those held out:

    >>> tokenizer, model = course_model()
    >>> seen, held_out = corpus_stories()
    >>> round(bits_per_byte(model, tokenizer, held_out, every=8), 1)
    1.8
    >>> round(bits_per_byte(model, tokenizer, seen, every=80), 1)
    1.3

    To compare: the stories themselves have 8 bits per byte, zip needs 2.6 for the
    held-out ones if it has seen the others, and a model that finds all tokens
    equally likely needs 2.9. The seen ones have been learned by heart in part.
    While both numbers fall the model learns the language; when only that of the
    seen ones still falls, it learns nothing but these stories: time to stop.
    """
    if not stories:
        raise ValueError("there are no stories to measure the loss on")
    ids = story_ids(tokenizer, stories)
    reach = len(model.weights)
    losses = [bits(model.probabilities(ids[max(0, place - reach):place])[ids[place]])
              for place in range(1, len(ids), every)]
    size = sum(len(text_to_bytes(story + "\n\n")) for story in stories)
    return sum(losses) / len(losses) * (len(ids) - 1) / size


# %% What it learned

MAP_WORDS = ("dog cat fox horse bird duck cow fish mouse boy girl man woman mother father sister brother "
             "grandmother grandfather teacher farmer driver doctor red blue green white black yellow grey "
             "house garden school kitchen street village hill lake river car train bus truck boat").split()


def principal_components(matrix: Matrix, count: int = 2, rounds: int = 100) -> Matrix:
    """The directions in which the rows of a matrix differ most, best first.

    Each is found by power iteration: begin with any direction, take its dot
    product with each row, add up the rows, each times its dot product, and scale
    the sum to length 1; again and again. The strongest direction wins. For the
    next one, what points in the directions before is taken away. Here all points
    lie near a line that climbs 1 in 2:

    >>> rows = [[0, 0], [2, 1.1], [4, 1.9], [6, 3]]
    >>> [round(number, 2) for number in principal_components(rows)[0]]
    [0.9, 0.44]

    The rows are taken as distances from their mean. The sign of a direction is
    free; here its largest number is made positive. The idea is Pearson's, of 1901.
    """
    means = [sum(column) / len(matrix) for column in zip(*matrix)]
    centred = [[x - mean for x, mean in zip(row, means)] for row in matrix]
    components = []
    for start in range(count):
        direction = [1.0 / (1 + (place + start) % len(means)) for place in range(len(means))]
        for _ in range(rounds):
            shares = [dot(row, direction) for row in centred]
            direction = [dot(shares, column) for column in zip(*centred)]
            for other in components:
                overlap = dot(direction, other)
                direction = [x - overlap * y for x, y in zip(direction, other)]
            size = length(direction) or 1.0
            direction = [x / size for x in direction]
        sign = math.copysign(1, max(direction, key=abs))
        components.append([sign * x for x in direction])
    return components


def show_nearest(text: str, tokenizer: Tokenizer, matrix: Union[Matrix, "Tensor"], k: int = 8) -> str:
    """For each token of a text, the tokens whose vectors point most nearly its way.

    >>> tokenizer, model = course_model()
    >>> print(show_nearest(" dog", tokenizer, model.embeddings, k=4))
    ·dog   1.000  ████████████████████████
    ·mail  0.657  ████████████████
    ·fox   0.654  ████████████████
    ·son   0.653  ████████████████
    ·bird  0.645  ███████████████

    Mind the space: " dog" is one token, but "dog" is three here, d, o and g.

    Nobody told the model that a fox is an animal and blue a colour. It had to
    guess what comes after them and where they fit, and words of one kind stand
    in the same places. Not every neighbour is a good one: the model has read only
    60 KB, a very short life.

    >>> for word in "bird blue red girl mother school house boat run walk".split():
    ...     id, = tokenizer.encode(" " + word)
    ...     near = nearest(model.embeddings[id], model.embeddings, k=6)[1:]
    ...     print(word.ljust(7), *(tokenizer.decode([id]) for id, _ in near))
    bird     stone  cow  owl  computer  painter
    blue     cloudy  clear  soft  low  green
    red      green  warm  soft  fire  hundred
    girl     boy  child  fox  neighbor  mother
    mother   teacher  father  uncle  neighbor  grandmother
    school   board  oven  wall  farm  floor
    house    town  lamp  farm  feet  bath
    boat     car  bench  box  page  song
    run      play  get  move  see  open
    walk     get  win  fall  want  fly
    """
    known, tables = set(tokenizer.vocabulary.values()), []
    for id in dict.fromkeys(tokenizer.encode(text)):
        rows = progress(matrix, f"comparing {len(matrix)} vectors")
        found = nearest(lookup(matrix, [id])[0], rows, k + 1 + len(matrix) - len(known))
        tables.append(table([[tokenizer.show([near], color=False), f"{cosine:.3f}", bar(cosine)]
                             for near, cosine in found if near in known][:k + 1]))
    return "\n\n".join(tables)


def map_words(tokenizer: Tokenizer, matrix: Matrix) -> tuple[list[str], Matrix]:
    """The words of the map that are one token, and their vectors.

    >>> tokenizer, model = course_model()
    >>> print(draw_map(*map_words(tokenizer, model.embeddings)))
                                  street
                           kitchen  garden
                                bus  village   house
                         school     hill
                      car   river  lake
                                        truck
                                         train boat
             woman
                        mouse                fish
                       dog cat
                   man  bird    duck
              doctor  fox   horse
             boy       cow
        grandmother driver                                          red
      father     grandfather
           girl                                                   green
       farmer  sister                                                     blue
       teacher                                             white    yellow
          brother                                                          grey
    <BLANKLINE>
    <BLANKLINE>
    mother                                                black
    """
    ids = {word: tokenizer.encode(" " + word) for word in MAP_WORDS}
    known = {word: ids_of_word[0] for word, ids_of_word in ids.items() if len(ids_of_word) == 1}
    if len(known) < 2:
        raise ValueError("this tokenizer has fewer than two of the map's words as a token, so there is no map")
    return list(known), lookup(matrix, list(known.values()))


def place_labels(labels: list[str], vectors: Matrix, columns: int, rows: int) -> list[tuple[int, int]]:
    """Give each label a row and a column on a map of its vector, no two on one place.

    A label whose place is taken moves to the nearest free one.

    >>> vectors = [[0, 0], [0.1, 0], [9, 9]]
    >>> place_labels(["dog", "cat", "car"], vectors, columns=20, rows=3)
    [(2, 0), (0, 0), (1, 16)]
    """
    across, up = principal_components(vectors)
    points = [(dot(vector, across), dot(vector, up)) for vector in vectors]
    (left, right), (low, high) = ((min(axis), max(axis)) for axis in zip(*points))
    places, taken = [], set()
    for label, (x, y) in zip(labels, points):
        width = display_width(label) + 1
        column = round((x - left) / ((right - left) or 1) * (columns - width))
        row = round((high - y) / ((high - low) or 1) * (rows - 1))
        free = [(y, x) for y, x in product(range(rows), range(columns - width + 1))
                if all((y, x + step) not in taken for step in range(width))]
        if not free:
            raise ValueError(f"a map of {columns} by {rows} has no room for {len(labels)} labels")
        places.append(min(free, key=lambda place: (4 * abs(place[0] - row) + abs(place[1] - column), place)))
        taken.update((places[-1][0], places[-1][1] + step) for step in range(-1, width))
    return places


def draw_map(labels: list[str], vectors: Matrix, columns: int = 76, rows: int = 22) -> str:
    """Draw vectors as a map: those that are near to each other in all dimensions are near here.

    The reverse need not hold: two may meet on the map and be far apart in a
    dimension that it does not show.

    >>> vectors = [[0, 0], [1, 0], [9, 9]]
    >>> print(draw_map(["dog", "cat", "car"], vectors, columns=20, rows=3))
     cat
                    car
    dog
    """
    lines = [[" "] * columns for _ in range(rows)]
    for label, (row, column) in zip(labels, place_labels(labels, vectors, columns, rows)):
        lines[row][column:column + len(label)] = label
    return "\n".join("".join(line).rstrip() for line in lines)


def svg_map(labels: list[str], vectors: Matrix, columns: int = 76, rows: int = 30) -> str:
    """The same map as a picture that any browser opens, with nothing to load.

    >>> svg_map(["dog", "cat"], [[0, 0], [1, 0]])[:38]
    '<svg xmlns="http://www.w3.org/2000/svg'
    """
    texts = [f'<text x="{20 + 11 * column}" y="{34 + 24 * row}">{html.escape(label)}</text>'
             for label, (row, column) in zip(labels, place_labels(labels, vectors, columns, rows))]
    size = f'width="{40 + 11 * columns}" height="{40 + 24 * rows}"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="monospace" font-size="17">',
                      '<rect width="100%" height="100%" fill="white"/>', *texts, "</svg>", ""])


# %% The real thing: safetensors

NO_CHECKSUM = "0" * 64
# The name of each number type in the format, and its code in Python's `struct`.
NUMBER_TYPES = {"F64": "d", "F32": "f", "F16": "e", "BF16": "H", "I64": "q", "I32": "i", "I16": "h", "I8": "b",
                "U64": "Q", "U32": "I", "U16": "H", "U8": "B", "BOOL": "?"}


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

        Raises ValueError if there is no such row, or if NaN or infinity is in it.
        """
        if not (isinstance(index, int) and 0 <= index < len(self)):
            raise ValueError(f"there is no row {index!r} in the tensor {self.name!r} of shape {list(self.shape)}")
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
        width = math.prod(self.shape[1:])
        size = width * struct.calcsize("<" + NUMBER_TYPES[self.dtype])
        file.seek(self.start + indices.start * size)
        for index in indices:
            data = file.read(size)
            if len(data) != size:
                raise ValueError(f"{self.path} ends in the middle of row {index} of the tensor {self.name!r}")
            if self.dtype == "BF16":    # the first half of an F32: the other half is zeros
                wide = bytearray(2 * size)
                wide[2::4], wide[3::4] = data[::2], data[1::2]
                data = wide
            code = "f" if self.dtype == "BF16" else NUMBER_TYPES[self.dtype]
            numbers = list(struct.unpack(f"<{width}{code}", data))
            if not math.isfinite(sum(numbers)) and not all(map(math.isfinite, numbers)):
                raise ValueError(f"row {index} of the tensor {self.name!r} in {self.path} has NaN or infinity in it")
            yield numbers


def read_safetensors(path: Union[str, Path]) -> dict[str, Tensor]:
    """Open a safetensors file: the names of its tensors, and what is needed to read them.

    The whole format: eight bytes that say how long the header is; the header,
    in JSON, which gives each tensor a type, a shape and the place of its first
    and last byte; then the numbers, row after row. Only the header is read here.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     matrix = ("F32", (2, 2), [1, 2, 3, 4])
    ...     write_safetensors(folder + "/file", {"m": matrix}, {"who": "me"})
    ...     tensors = read_safetensors(folder + "/file")
    ...     print(tensors["m"].shape, tensors["m"].row(1))
    (2, 2) [3.0, 4.0]

    No number in a file is believed before it is checked. Raises ValueError for a
    header that is damaged, and for tensors that overlap, leave the file or don't
    fit their shape.
    """
    return _read_header(path)[0]


def _read_header(path: Union[str, Path]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        if not 8 < start <= min(size, 100_000_000):
            raise ValueError(f"{path} is no safetensors file: its header would end at byte {start} of {size}")
        data = file.read(start - 8)
    try:
        header = json.loads(data)
        metadata = dict(header.pop("__metadata__", None) or {})
        tensors = {name: _tensor(path, name, entry, start) for name, entry in header.items()}
        places = sorted(entry["data_offsets"] for entry in header.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is no safetensors file: {error}") from None
    ends = [0, *(end for _, end in places)]
    if [begin for begin, _ in places] != ends[:-1] or start + ends[-1] != size:
        raise ValueError(f"{path} is damaged: its tensors overlap, leave a gap or don't end where the file ends")
    return tensors, metadata


def _tensor(path: Union[str, Path], name: str, entry: dict, start: int) -> Tensor:
    dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if dtype not in NUMBER_TYPES:
        raise ValueError(f"the tensor {name!r} is of the unknown type {dtype!r}")
    if len(shape) > 8 or not all(type(number) is int and 0 <= number < 2 ** 63 for number in [*shape, begin, end]):
        raise ValueError(f"the tensor {name!r} has an impossible shape or place")
    if end - begin != math.prod(shape) * struct.calcsize("<" + NUMBER_TYPES[dtype]):
        raise ValueError(f"the tensor {name!r} has {end - begin} bytes, which don't fit its shape {shape}")
    return Tensor(str(path), name, dtype, tuple(shape), start + begin)


def write_safetensors(path: Union[str, Path], tensors: dict[str, tuple[str, tuple, Iterable]],
                      metadata: dict[str, str]) -> None:
    """Write tensors, each a type, a shape and its numbers in a row, as a safetensors file.

    With them goes a checksum of the whole file (in which the checksum itself is
    all zeros), so that damage is noticed when it is read again.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_safetensors(folder + "/file", {"m": ("F32", (1, 2), [0.5, -1])}, {})
    ...     Path(folder, "file").read_bytes()[-8:] == struct.pack("<2f", 0.5, -1)
    True
    """
    header, parts, end = {}, [], 0
    for name, (dtype, shape, numbers) in tensors.items():
        numbers = list(numbers)
        parts.append(struct.pack(f"<{len(numbers)}{NUMBER_TYPES[dtype]}", *numbers))
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + len(parts[-1])]}
        end += len(parts[-1])
    header["__metadata__"] = {"sha256": NO_CHECKSUM, **metadata}
    text = json.dumps(header).encode("utf-8")
    text += b" " * (-len(text) % 8)
    data = b"".join([len(text).to_bytes(8, "little"), text, *parts])
    checksum = hashlib.sha256(data).hexdigest()
    write_whole(path, data.replace(NO_CHECKSUM.encode(), checksum.encode(), 1))


def find_embeddings(tensors: dict[str, Tensor], vocab_size: int) -> Tensor:
    """Among the tensors of a model, the matrix with a row for each token.

    Real models have a few rows more than tokens, to make the number a round one.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     matrices = {"small": ("F32", (1, 2), [1, 2]), "wte": ("F32", (3, 1), [1, 2, 3])}
    ...     write_safetensors(folder + "/file", matrices, {})
    ...     find_embeddings(read_safetensors(folder + "/file"), vocab_size=2).name
    'wte'

    Raises ValueError if there is none that is large enough.
    """
    matrices = [tensor for tensor in tensors.values() if len(tensor.shape) == 2]
    enough = [tensor for tensor in matrices if len(tensor) >= vocab_size]
    if not enough:
        most = max(map(len, matrices), default=0)
        raise ValueError(f"the tokenizer has {vocab_size} tokens, and the largest matrix only {most} rows; "
                         "the two files must be of the same model")
    return max(enough, key=lambda tensor: "emb" in tensor.name or "wte" in tensor.name)


# %% Swap vector embeddings: the model of this course

MODEL_FOLDER = CORPUS.parent / "model"
# If one of these is changed, so is what it learns.
_LEARNS = (corpus_stories, split_words, train_merges_simply, Tokenizer.train, story_ids, EmbeddingModel.untrained,
           EmbeddingModel.predict, EmbeddingModel.learn, train_model, _chances, _fakes)


@lru_cache(maxsize=1)
def course_model() -> tuple[Tokenizer, EmbeddingModel]:
    """The tokenizer and the model of this course: from the folder model/, or trained now.

    Training takes ten to twenty seconds. You see a bar for each of four passes
    through the stories, and after each the loss on those held out, which should
    fall. What it gave is kept in the formats that everybody uses, tokenizer.json
    and model.safetensors, with a fingerprint of corpus.txt, the settings and the
    code that trains. If you change these, or if a file is damaged, it trains
    again. If the folder can't be written to, nothing is kept.

    >>> tokenizer, model = course_model()
    >>> len(tokenizer) == len(model.embeddings)
    True

    It gives each token a score, as every LLM does. How a text is made of scores
    is lesson 4.
    """
    recipe = [inspect.getsource(part) for part in _LEARNS]
    settings = [COURSE_VOCAB_SIZE, GPT2_PATTERN, WEIGHT_RATE, read_text(CORPUS)]
    fingerprint = hashlib.sha256(repr(recipe + settings).encode("utf-8")).hexdigest()
    tokenizer_file, model_file = MODEL_FOLDER / "tokenizer.json", MODEL_FOLDER / "model.safetensors"
    try:
        model = EmbeddingModel.load(model_file)
        if model.metadata.get("fingerprint") == fingerprint:
            if model.metadata.get("tokenizer") == hashlib.sha256(tokenizer_file.read_bytes()).hexdigest():
                return Tokenizer.load(tokenizer_file), model
            raise ValueError(f"{tokenizer_file} is not the one that the model was trained with")
    except FileNotFoundError:
        pass
    except (ValueError, OSError) as error:
        print(f"{error}; training again", file=sys.stderr)
    return _train_and_save(fingerprint, tokenizer_file, model_file)


def _train_and_save(fingerprint: str, tokenizer_file: Path, model_file: Path) -> tuple[Tokenizer, EmbeddingModel]:
    seen, held_out = corpus_stories()
    tokenizer = course_tokenizer()

    def report(number: int, model: EmbeddingModel) -> None:
        loss = bits_per_byte(model, tokenizer, held_out, every=20)
        print(f"pass {number}: {loss:.2f} bits per byte on the held-out stories", file=sys.stderr)

    print("training on corpus.txt, which is done once:", file=sys.stderr)
    model = train_model(story_ids(tokenizer, seen), len(tokenizer), after_pass=report)
    try:
        model_file.parent.mkdir(exist_ok=True)
        tokenizer.save(tokenizer_file)
        settings = {name: parameter.default for name, parameter in inspect.signature(train_model).parameters.items()
                    if isinstance(parameter.default, (int, float))}
        model.metadata = {"fingerprint": fingerprint, "settings": json.dumps(settings),
                          "tokenizer": hashlib.sha256(tokenizer_file.read_bytes()).hexdigest()}
        model.save(model_file)
    except OSError as error:
        print(f"{MODEL_FOLDER} can't be written to ({error.strerror}), so nothing is kept", file=sys.stderr)
    return tokenizer, model


# %% Your turn

def exercise_1(answer: list[float]) -> str:
    """A warm-up. What is the cosine similarity of [1, 2] to [2, 4], to [-1, -2] and to [2, -1]?

    Draw the four arrows on paper. Write the three numbers as a list, answer_1,
    into a file beside the lesson, and check it:

        python3 lesson_3_embeddings.py --check answers_3.py

    >>> exercise_1([2, -1, 0])
    'A cosine is never above 1: how long the arrows are does not count.'
    """
    right = [round(cosine_similarity([1, 2], other), 6) for other in ([2, 4], [-1, -2], [2, -1])]
    if max(answer) > 1:
        return "A cosine is never above 1: how long the arrows are does not count."
    return "" if answer == right else "The same way, the opposite way, a right angle: which is which?"


def exercise_2(answer: list[float]) -> str:
    """Predict: how many bits of surprise?

    First of a model that gives each of its 1,024 tokens the same probability, for
    one token. Then of one that gives the right token one chance in four every
    time, for a text of eight tokens. Two numbers in a list.

    >>> exercise_2([10, 2])
    'The first is right. The second is for a text of eight tokens.'
    """
    right = [bits(1 / 1024), 8 * bits(1 / 4)]
    if answer == right:
        return ""
    if answer[:1] == right[:1]:
        return "The first is right. The second is for a text of eight tokens."
    return "One bit is the surprise of a tossed coin. How many coins have 1,024 outcomes together?"


def exercise_3(answer: str) -> str:
    """Use the lesson: add " mother" and " father". Which other token is nearest to the sum?

    Take the vectors from `course_model`, add them number by number, and ask
    `nearest`. `encode` gives a list of ids, and `decode` takes one. Begin your file
    with `from lesson_3_embeddings import *`.

    >>> exercise_3(" father")
    'That is one of the two themselves: look at the next ones.'
    """
    if answer in (" mother", " father"):
        return "That is one of the two themselves: look at the next ones."
    tokenizer, model = course_model()
    ids = [tokenizer.encode(word)[0] for word in (" mother", " father")]
    total = [x + y for x, y in zip(*lookup(model.embeddings, ids))]
    near = [id for id, _ in nearest(total, model.embeddings, 3) if id not in ids]
    return "" if answer == tokenizer.decode(near[:1]) else "A token keeps its space; `nearest` gives ids, best first."


def exercise_4(answer: Callable[[Vector, Vector], float]) -> str:
    """Write a function: how far is it from the end of one arrow to that of another?

    `answer_4(a, b)` returns the distance, in any number of dimensions. It is the
    other way to compare vectors; two that point the same way may be far apart.

    >>> exercise_4(dot)
    'For [1, 2] and [4, 6] it gave 16; 5.0 is right.'
    """
    for a, b in (([1, 2], [4, 6]), ([0.0], [-2.5]), (CAR, GRASS), (DOG, DOG), ([1e-3] * 50, [0.0] * 50)):
        distance, given = length([x - y for x, y in zip(a, b)]), answer(a, b)
        if not abs(given - distance) < 1e-9:
            return f"For {a} and {b} it gave {given}; {distance} is right."
    return ""


def exercise_5(answer: Callable[[list[int], int], Callable[[int], Vector]]) -> str:
    """For an evening: a rival that learns by counting.

    `answer_5(ids, vocab_size)` counts which token follows which. It returns a
    function, which for the id of the last token returns a probability for each
    token of the vocabulary. On the held-out stories it has to need less than 2
    bits per byte; the model of this lesson needs 1.8.

    >>> exercise_5(lambda ids, vocab_size: lambda last: [1 / vocab_size] * vocab_size)
    'It needs 2.89 bits per byte.'
    """
    tokenizer = course_tokenizer()
    seen, held_out = corpus_stories()
    probabilities = answer(story_ids(tokenizer, seen), len(tokenizer))

    def checked(ids: list[int]) -> Vector:
        shares = probabilities(ids[-1])
        if len(shares) != len(tokenizer) or min(shares) < 0 or not abs(math.fsum(shares) - 1) < 1e-6:
            raise ValueError(f"After {ids[-1]} it gave {len(shares)} numbers with a sum of {math.fsum(shares):.3f}.")
        return shares

    try:
        needed = bits_per_byte(SimpleNamespace(probabilities=checked, weights=[1]), tokenizer, held_out)
    except ValueError as error:
        return str(error)
    if needed == math.inf:
        return "It gave something that came a probability of 0. What has never been counted is still possible."
    return "" if needed < 2 else f"It needs {needed:.2f} bits per byte."


# %% On the command line

def _show(options: argparse.Namespace) -> None:
    """The neighbours of a text's tokens, or the map, by the course's vectors or a real LLM's."""
    if (options.tokenizer is None) != (options.embeddings is None):
        raise ValueError("--tokenizer and --embeddings belong together: ids mean something only in their own matrix")
    if options.text is None and options.svg is None:
        raise ValueError("a text is missing, to show the nearest tokens of, or --svg")
    if options.tokenizer is not None:
        tokenizer = Tokenizer.load(options.tokenizer)
        matrix = find_embeddings(read_safetensors(options.embeddings), 1 + max(tokenizer.vocabulary.values()))
    else:
        tokenizer, model = course_model()
        matrix = model.embeddings
    if options.svg is not None:
        labels, vectors = map_words(tokenizer, matrix)
        write_whole(options.svg, svg_map(labels, vectors).encode("utf-8"))
        print(f"saved {options.svg}")
    if options.text is not None:
        print(show_nearest(options.text, tokenizer, matrix))


if __name__ == "__main__":
    run_lesson(lesson_parser("Lesson 3: embeddings.", "shown with the nearest tokens of each of its tokens", {
        "--tokenizer FILE": "a real LLM's tokenizer.json, together with",
        "--embeddings FILE": "its .safetensors file",
        "--svg FILE": "save the map of words as a picture",
    }, ['" dog"', "--svg map.svg"]), _show)
