"""Lesson 4: sampling. From scores to the next word, and on and on.

Lesson 3 ended with a score for every token of the vocabulary, its logit. This
lesson turns the scores into probabilities, draws one token, appends it to the
text, and does it again. That is all there is to "generating text".

    logits  →  softmax with a temperature  →  top-k, top-p, min-p  →  one draw

Our model from lesson 3 looks at the last few tokens and adds up their vectors.
A real LLM has the same beginning (a tokenizer and an embedding matrix) and the
same end (a dot product with every token's vector, a softmax, a draw). In the
middle it has what ours has not: the transformer, dozens of layers in which every
token looks at all the tokens before it and changes its vector by what it finds.
That is why a real LLM can follow a story over many pages and ours only over a few
words.

>>> logits = [2.0, 1.0, 0.0]
>>> [round(probability, 3) for probability in softmax(logits)]
[0.665, 0.245, 0.09]
>>> greedy(softmax(logits))
0
"""

import argparse
import codecs
import contextlib
import heapq
import inspect
import io
import math
import os
import random
import sys
from collections import Counter
from itertools import accumulate
from typing import Callable, Iterable, Iterator, Optional

if __name__ == "__main__":      # with `python -I` nobody else looks for the other lessons here
    sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))

from lesson_1_tokens import bar, decode_text, lesson_parser, read_number, run_lesson, spell_out, table
from lesson_2_coding_tokenizer import END_OF_TEXT, Tokenizer
from lesson_3_embeddings import EmbeddingModel, Vector, bits, course_model

# The slide's candidates for the word after "The sun is shining, and the sky is".
CANDIDATES = {"blue": 60, "clear": 45, "cloudy": 41, "apple": 0.002, "banana": 0.001}


# %% Example Probabilities

def normalize(weights: Vector) -> Vector:
    """Divide weights by their sum, so that they become probabilities.

    Probabilities add up to 1. The slide's percentages don't: together they are
    more than 146, so they can't all be true at once.

    >>> round(sum(CANDIDATES.values()), 3)
    146.003

    They still say how the words compare, and as such weights Python's
    `random.choices` takes them. Divided by their sum, in per cent:

    >>> shares = normalize(CANDIDATES.values())
    >>> [float(f"{100 * share:.2g}") for share in shares]
    [41.0, 31.0, 28.0, 0.0014, 0.00068]

    Raises ValueError for weights that are no numbers from 0 up, or all 0.

    >>> normalize([0.5, -0.5])
    Traceback (most recent call last):
    ValueError: probabilities must be numbers from 0 up, and this list has -0.5
    """
    weights = list(weights)
    total = sum(weights)
    if weights and min(weights) >= 0 and 0 < total < math.inf:
        return [weight / total for weight in weights]
    for weight in weights:
        if not 0 <= weight < math.inf:
            raise ValueError(f"probabilities must be numbers from 0 up, and this list has {weight!r}")
    raise ValueError(f"there is nothing to choose from: the sum of the probabilities is {total}")


# %% Assign a probability to each

def softmax(logits: Vector, temperature: float = 1.0) -> Vector:
    """Turn logits, any numbers at all, into probabilities.

    Each logit x becomes e to the power of x, and then they are divided by their
    sum. So every step of 1 in the logit makes a token e = 2.718 times as likely:

    >>> [round(probability, 3) for probability in softmax([3.0, 2.0, 1.0])]
    [0.665, 0.245, 0.09]

    Only the distances count. That is why the largest logit is subtracted first:
    it changes nothing, and no power of e is ever too large for the computer.

    >>> softmax([1003.0, 1002.0, 1001.0]) == softmax([3.0, 2.0, 1.0])
    True

    Any other base in the place of e would do as well. It is the same as another
    temperature, which divides the logits first (see below). With e the slope of the
    loss is simply the error, as lesson 3 saw. With 2 each step doubles:

    >>> [round(share, 3) for share in softmax([3, 2, 1], temperature=1 / math.log(2))]
    [0.571, 0.286, 0.143]

    At 0 all goes to the
    highest logit, and to the lowest id if there are several. A logit of plus
    infinity is certain. Raises ValueError if there is no logit above minus
    infinity, if one is not a number, or if the temperature is below 0.
    """
    if not 0 <= temperature < math.inf:
        raise ValueError(f"the temperature must be a number from 0 up, not {temperature}")
    logits = list(logits)
    if any(map(math.isnan, logits)):
        raise ValueError("a logit is not a number (NaN)")
    highest = max(logits, default=-math.inf)
    if highest == -math.inf:
        raise ValueError("there is no token to choose: no logit is above minus infinity")
    if temperature == 0:
        first = logits.index(highest)
        return [float(id == first) for id in range(len(logits))]
    if highest == math.inf:
        return normalize([float(logit == highest) for logit in logits])
    return normalize([math.exp((logit - highest) / temperature) for logit in logits])


# %% Methods for word selection: greedy sampling

def greedy(probabilities: Vector) -> int:
    """The id of the most probable token; of several, the lowest id.

    >>> words = list(CANDIDATES)
    >>> words[greedy(normalize(CANDIDATES.values()))]
    'blue'

    It always says the same, however often it is asked. It is what is left when
    the temperature, three sections on, goes down to 0. (math.log turns the weights
    into logits. At temperature 1 softmax would turn them back.)

    >>> logits = [math.log(weight) for weight in CANDIDATES.values()]
    >>> print(draws_table(softmax(logits, temperature=0)))
            probability  drawn
    blue      100.000 %  10000  ████████████████████████
    clear       0.000 %      0
    cloudy      0.000 %      0
    apple       0.000 %      0
    banana      0.000 %      0

    Raises ValueError as `normalize` does.
    """
    probabilities = normalize(probabilities)
    return probabilities.index(max(probabilities))


# %% Methods for word selection: random sampling

def sample(probabilities: Vector, rng: random.Random) -> int:
    """Draw an id at random, each as often as its probability says.

    >>> rng = random.Random(0)
    >>> words = list(CANDIDATES)
    >>> [words[sample(normalize(CANDIDATES.values()), rng)] for _ in range(6)]
    ['cloudy', 'cloudy', 'clear', 'blue', 'clear', 'blue']

    The proof is in the counting. Of ten thousand draws:

    >>> print(draws_table(normalize(CANDIDATES.values())))
            probability  drawn
    blue       41.095 %   4072  ██████████
    clear      30.821 %   3120  ███████
    cloudy     28.082 %   2808  ███████
    apple       0.001 %      0
    banana      0.001 %      0
    """
    return rng.choices(range(len(probabilities)), weights=normalize(probabilities))[0]


def draws_table(probabilities: Vector, draws: int = 10_000, names: Iterable[str] = tuple(CANDIDATES)) -> str:
    """Draw many times with a fixed seed, and show the counts beside the probabilities.

    >>> print(draws_table([0.75, 0.25], draws=100, names=["heads", "tails"]))
           probability  drawn
    heads     75.000 %     65  ████████████████
    tails     25.000 %     35  ████████
    """
    rng = random.Random(0)
    counts = Counter(sample(probabilities, rng) for _ in range(draws))
    rows = [["", "probability", "drawn", ""]]
    rows += [[name, f"{100 * probability:.3f} %", counts[id], bar(counts[id] / draws)]
             for id, (name, probability) in enumerate(zip(names, probabilities))]
    return table(rows)


# %% Methods for word selection: top-k sampling

def keep_top_k(probabilities: Vector, k: int) -> Vector:
    """Keep the k most probable tokens; the rest get 0, and the kept are rescaled to add up to 1.

    At a high temperature (see the next section) even "banana" is drawn often. With
    k = 3 it has no chance any more:

    >>> logits = [math.log(weight) for weight in CANDIDATES.values()]
    >>> print(draws_table(keep_top_k(softmax(logits, temperature=10), 3)))
            probability  drawn
    blue       34.080 %   3361  ████████
    clear      33.113 %   3359  ████████
    cloudy     32.807 %   3280  ████████
    apple       0.000 %      0
    banana      0.000 %      0

    Of equally probable tokens the lower ids are kept, so that it is exactly k.

    >>> keep_top_k([0.2, 0.4, 0.2, 0.2], 2)[0] > 0
    True

    Fan, Lewis and Dauphin 2018. Raises ValueError if k is below 1.
    """
    if not k >= 1:
        raise ValueError(f"top-k must keep at least 1 token, not {k}")
    return _keep(probabilities, heapq.nlargest(k, range(len(probabilities)), key=probabilities.__getitem__))


def _keep(probabilities: Vector, ids: Iterable[int]) -> Vector:
    kept = [0.0] * len(probabilities)
    for id in ids:
        kept[id] = probabilities[id]
    return normalize(kept)


# %% Methods for word selection: temperature sampling

def temperature_table(logits: Vector, temperatures: Iterable[float] = (0, 0.5, 1, 2, 10),
                      names: Iterable[str] = tuple(CANDIDATES)) -> str:
    """Show what the temperature does to a distribution, in per cent and as bars.

    The logits are divided by it. Below 1 the distances grow and the likely gets
    likelier; at 0 it is greedy. Above 1 they shrink and the rare gets a chance;
    at 10 even "banana" has a good one, and of ten thousand draws it gets:

    >>> logits = [math.log(weight) for weight in CANDIDATES.values()]
    >>> print(draws_table(softmax(logits, temperature=10)))
            probability  drawn
    blue       27.596 %   2709  ███████
    clear      26.813 %   2711  ███████
    cloudy     26.565 %   2680  ██████
    apple       9.843 %   1017  ██
    banana      9.184 %    883  ██

    All five temperatures side by side (one block is more than nothing, even where
    the number is rounded to 0.0):

    >>> print(temperature_table(logits))
              T = 0        T = 0.5      T = 1        T = 2        T = 10
    blue    100.0 ██████  49.3 ███     41.1 ██      37.0 ██      27.6 ██
    clear     0.0         27.7 ██      30.8 ██      32.0 ██      26.8 ██
    cloudy    0.0         23.0 █       28.1 ██      30.6 ██      26.6 ██
    apple     0.0          0.0 █        0.0 █        0.2 █        9.8 █
    banana    0.0          0.0 █        0.0 █        0.2 █        9.2 █
    """
    columns = []
    for temperature in temperatures:
        shares = softmax(logits, temperature)
        columns.append([f"T = {temperature:<6g}", *(f"{100 * share:.1f} {bar(share, 6):6}" for share in shares)])
    return table([[*row, ""] for row in zip(["", *names], *columns)])


# %% What the field added: top-p and min-p

def keep_top_p(probabilities: Vector, p: float) -> Vector:
    """Keep the most probable tokens until together they reach p: the "nucleus".

    Top-k always keeps the same number. If the model is sure, that is too many:
    here k = 3 lets two wrong words in, and p = 0.9 does not.

    >>> sure = [0.94, 0.03, 0.02, 0.01]
    >>> [sum(map(bool, kept)) for kept in (keep_top_k(sure, 3), keep_top_p(sure, 0.9))]
    [3, 1]

    If the model is unsure, k = 3 is too few, and top-p keeps more:

    >>> sum(map(bool, keep_top_p([0.125] * 8, 0.75)))
    6

    Holtzman et al. 2019. Raises ValueError if p is not above 0 and at most 1.
    """
    _check_share("top-p", p)
    probabilities = normalize(probabilities)
    order = sorted(range(len(probabilities)), key=probabilities.__getitem__, reverse=True)
    reached = accumulate((probabilities[id] for id in order), initial=0.0)
    return _keep(probabilities, [id for id, before in zip(order, reached) if before < p or p == 1])


def keep_min_p(probabilities: Vector, p: float) -> Vector:
    """Keep each token that is at least p times as probable as the best one.

    It asks of every token alone: are you good enough? When one token towers over
    all, few are; when many are nearly equal, all are.

    >>> [round(share, 3) for share in keep_min_p([0.5, 0.3, 0.15, 0.05], 0.2)]
    [0.526, 0.316, 0.158, 0.0]

    Nguyen et al. 2024. Raises ValueError if p is not above 0 and at most 1.
    """
    _check_share("min-p", p)
    probabilities = normalize(probabilities)
    least = p * max(probabilities)
    return _keep(probabilities, [id for id, share in enumerate(probabilities) if share >= least])


def _check_share(name: str, p: float) -> None:
    if not 0 < p <= 1:
        raise ValueError(f"{name} must be above 0 and at most 1, not {p}")


def next_token_probabilities(logits: Vector, temperature: float = 1.0, top_k: Optional[int] = None,
                             top_p: Optional[float] = None, min_p: Optional[float] = None) -> Vector:
    """Temperature, then top-k, then top-p, then min-p; None leaves a filter out.

    The order matters, since each filter sees only what the one before has left,
    rescaled to 1. Of 0.5, 0.3 and 0.2, top-k = 2 leaves two, which become 0.625 and
    0.375. So for top-p = 0.6 the first alone is enough. The other way round, top-p
    needs two. The temperature comes first, for top-p and min-p look at the
    probabilities. One filter is usually enough; `generate` takes min-p, which
    adapts to how sure the model is.

    >>> logits = [math.log(share) for share in (0.5, 0.3, 0.2)]
    >>> next_token_probabilities(logits, top_k=2, top_p=0.6)
    [1.0, 0.0, 0.0]
    >>> top_p_first = keep_top_k(keep_top_p([0.5, 0.3, 0.2], 0.6), 2)
    >>> [round(share, 3) for share in top_p_first]
    [0.625, 0.375, 0.0]
    """
    probabilities = softmax(logits, temperature)
    for keep, setting in ((keep_top_k, top_k), (keep_top_p, top_p), (keep_min_p, min_p)):
        if setting is not None:
            probabilities = keep(probabilities, setting)
    return probabilities


# %% How LLMs work: predict the next token, again and again

def generate(model: EmbeddingModel, tokenizer: Tokenizer, prompt: str, max_new_tokens: int = 100,
             temperature: float = 0.8, top_k: Optional[int] = None, top_p: Optional[float] = None,
             min_p: Optional[float] = 0.1, seed: Optional[int] = None) -> Iterator[str]:
    """Go on with a text, the prompt: yield it piece by piece, as the tokens are drawn.

    >>> tokenizer, model = course_model()
    >>> prompt = "The sun is shining, and the sky is"
    >>> "".join(generate(model, tokenizer, prompt, max_new_tokens=1, temperature=0))
    ' blue'

    But it knows nothing of the sun: of any prompt our model sees only the last four
    tokens. (Don't end one with a space, which belongs to the next word.)

    >>> beginnings = ("The sun is shining, and the sky is", "In the shop, and the sky is")
    >>> here, there = (model.logits(tokenizer.encode(text)) for text in beginnings)
    >>> here == there
    True

    Why not always take the best token? After the same few tokens greedy always
    says the same, so it goes round in circles, unless it meets an end:

    >>> prompt = "The dog"
    >>> "".join(generate(model, tokenizer, prompt, max_new_tokens=20, temperature=0))
    ' ran. "It is a red car. "It is a red car. "It is a'

    So the default is a draw, at a temperature of 0.8, a little below 1, for this
    model knows its best guesses better than its rare ones. And min-p is 0.1: it
    keeps what is at least a tenth as probable as the best. A small model is wrong
    in a thousand small ways, and together they would come up in every sentence.

    A piece is always made of whole characters: a token that ends in the middle
    of one is held back until the rest has come. It stops after max_new_tokens, or
    when the model draws the end of a story. That is a token like any other: it
    stood after every story, and the model learned when it is likely. The same
    seed gives the same text; without a seed, each run has its own.

    Raises ValueError for settings that the filters can't take.
    """
    steps = generate_steps(model, tokenizer, prompt, max_new_tokens, temperature, top_k, top_p, min_p, seed)
    return _whole_characters(tokenizer, steps)


def _check_settings(max_new_tokens: int = 0, seed: Optional[int] = None, **filters: Optional[float]) -> None:
    """Complain about a wrong setting before the first token, not after."""
    next_token_probabilities([0.0], **filters)
    if max_new_tokens < 0:
        raise ValueError(f"max-new-tokens must be a number from 0 up, not {max_new_tokens}")


def _whole_characters(tokenizer: Tokenizer, steps: Iterable[tuple[int, Vector]]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    return filter(None, (decoder.decode(tokenizer.decode_bytes([id])) for id, _ in steps))


def generate_steps(model: EmbeddingModel, tokenizer: Tokenizer, prompt: str, max_new_tokens: int = 100,
                   temperature: float = 0.8, top_k: Optional[int] = None, top_p: Optional[float] = None,
                   min_p: Optional[float] = 0.1, seed: Optional[int] = None) -> Iterator[tuple[int, Vector]]:
    """For each new token, its id and the probabilities from which it was drawn.

    This is the whole loop: ids, logits, probabilities, a draw, and again. In front
    of every prompt stands the end of another story, so an empty one begins a new
    story.

    >>> tokenizer, model = course_model()
    >>> steps = generate_steps(model, tokenizer, "The sky is", 3, seed=0)
    >>> for id, probabilities in steps:
    ...     print(tokenizer.show([id]), f"{probabilities[id]:.0%}")
    ·clear 18%
    ·at 11%
    ·the 90%
    """
    _check_settings(max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    end = tokenizer.added_tokens.get(END_OF_TEXT)
    ids = [] if end is None else [end]      # what comes before a story is the end of another
    ids += tokenizer.encode(prompt)

    def steps() -> Iterator[tuple[int, Vector]]:
        rng = random.Random(seed)
        for _ in range(max_new_tokens):
            probabilities = next_token_probabilities(model.logits(ids), temperature, top_k, top_p, min_p)
            id = sample(probabilities, rng)
            if id == end:
                return
            ids.append(id)
            yield id, probabilities

    return steps()


# %% Why it said that, and talking to it

def explain_choice(tokenizer: Tokenizer, id: int, probabilities: Vector, count: int = 5) -> str:
    """The most probable candidates for one token as bars, and which one was drawn.

    They are what the filters have left, and share all of the probability. (An
    untrained tokenizer has just the bytes; 97 is "a".)

    >>> tokenizer = Tokenizer.train("", 256)
    >>> probabilities = [0.0] * 97 + [0.6, 0.3, 0.1]
    >>> print(explain_choice(tokenizer, 98, probabilities, count=2))
      a  60.0 %  ██████████████
    > b  30.0 %  ███████
    """
    best = heapq.nlargest(count, range(len(probabilities)), key=probabilities.__getitem__)
    best = [candidate for candidate in best if probabilities[candidate]]
    rows = [[("> " if candidate == id else "  ") + tokenizer.show([candidate], color=False),
             f"{100 * probabilities[candidate]:.1f} %", bar(probabilities[candidate])]
            for candidate in (best if id in best else [*best, id])]
    return table(rows)


DEFAULTS = {name: parameter.default for name, parameter in inspect.signature(generate).parameters.items()
            if name not in ("model", "tokenizer", "prompt")}


def change_setting(settings: dict, name: str, value: str) -> dict:
    """Turn a knob: the settings with one of them changed; "off" leaves a filter out.

    >>> change_setting({"temperature": 1.0, "top_k": None}, "top-k", "5")
    {'temperature': 1.0, 'top_k': 5}
    >>> change_setting({"min_p": 0.1}, "min-p", "off")
    {'min_p': None}

    Raises ValueError, and changes nothing, if there is no such setting or value.

    >>> change_setting({}, "heat", "3")
    Traceback (most recent call last):
    ValueError: there is no setting 'heat', but max-new-tokens, temperature, top-k, top-p, min-p, seed
    """
    key = name.replace("-", "_")
    if key not in DEFAULTS:
        raise ValueError(f"there is no setting {name!r}, but {', '.join(DEFAULTS).replace('_', '-')}")
    may_be_off = key not in ("temperature", "max_new_tokens")
    is_whole = key in ("top_k", "max_new_tokens", "seed")
    is_off = value == "off" and may_be_off
    changed = {**settings, key: None if is_off else read_number(value, int if is_whole else float, key.replace("_", "-"))}
    _check_settings(**changed)
    return changed


def chat(write: Callable[[dict, str], None], settings: dict) -> None:
    """Read a line, go on with it, and again; Ctrl-C stops a sentence, Ctrl-D ends.

    `write` is what goes on with a text. A line that begins with / turns a knob.

        python3 lesson_4_sampling.py --chat

    It does not answer, it goes on. Ask it for the capital of France, and it writes
    what might follow in a story, for stories are all that it has read. An LLM that
    answers has learned from many conversations in addition.

    With this the way is complete, from text to tokens, to ids, to vectors, to
    scores, to text. In the middle there is room for one thing more, the
    transformer; everything around it you have seen.

    >>> before, sys.stdin = sys.stdin, io.StringIO("/temperature 0\\nThe sky is\\n")
    >>> chat(lambda settings, line: print(settings["temperature"], line), DEFAULTS)
    Type the beginning of a story. /temperature 0.3, /top-k 5 and so on turn the knobs; Ctrl-D ends.
    > > 0.0 The sky is
    >
    >>> sys.stdin = before
    """
    with contextlib.suppress(ImportError):
        import readline     # noqa: F401  it makes the arrow keys work, where there is one
    print("Type the beginning of a story. /temperature 0.3, /top-k 5 and so on turn the knobs; Ctrl-D ends.")
    while True:
        try:
            line = decode_text(input("> "), "the line")
            if line.startswith("/"):
                name, _, value = line[1:].partition(" ")
                settings = change_setting(settings, name, value.strip())
            elif line:
                write(settings, line)
        except ValueError as error:
            print(error)
        except KeyboardInterrupt:
            print()
        except EOFError:
            print()
            return


def _write(model: EmbeddingModel, tokenizer: Tokenizer, settings: dict, explain: bool, prompt: str) -> None:
    """Print a prompt and go on with it; with `explain`, show first how each token was chosen."""
    steps = generate_steps(model, tokenizer, prompt, **settings)
    print(spell_out(prompt), end="", flush=True)
    if explain:
        steps = list(steps)
        for id, probabilities in steps:
            print("\n\n" + explain_choice(tokenizer, id, probabilities), end="")
        print("\n\n" + spell_out(prompt), end="")
    for piece in _whole_characters(tokenizer, steps):
        print(spell_out(piece), end="", flush=True)
    print()


# %% Your turn

def exercise_1(answer: Vector) -> str:
    """A warm-up. Which probabilities do the weights 2, 1 and 1 become?

    Write them as a list, answer_1, into a file beside the lesson, and check it:

        python3 lesson_4_sampling.py --check answers_4.py

    >>> exercise_1([0.2, 0.1, 0.1])
    'These add up to 0.4.'
    """
    if abs(sum(answer) - 1) > 1e-9:
        return f"These add up to {sum(answer):g}."
    return "" if answer == normalize([2, 1, 1]) else "The first should be twice as large as each of the others."


def exercise_2(answer: list[int]) -> str:
    """Predict: of five tokens with 50, 20, 15, 10 and 5 per cent, which are left?

    The filters are top-k = 4, top-p = 0.9 and min-p = 0.25. Do it on paper, in the
    order of `next_token_probabilities`, and don't forget to rescale. A list of ids.

    >>> exercise_2([0, 1])
    'Too few: at least one more is left.'
    """
    logits = [math.log(share) for share in (0.5, 0.2, 0.15, 0.1, 0.05)]
    right = [id for id, share in enumerate(next_token_probabilities(logits, 1.0, 4, 0.9, 0.25)) if share]
    if answer == right:
        return ""
    return "Too few: at least one more is left." if len(answer) < len(right) else "At least one of these is not left."


def exercise_3(answer: float) -> str:
    """Predict: of two tokens, one has a logit 3 higher. When is it just e times as probable?

    That is 2.718 times as probable as the other. Which temperature does that?

    >>> exercise_3(1)
    'At temperature 1 it is 20.1 times as probable.'
    """
    high, low = softmax([3.0, 0.0], answer)
    times = high / low if low else math.inf
    return "" if abs(times - math.e) < 1e-6 else f"At temperature {answer:g} it is {times:.1f} times as probable."


def exercise_4(answer: Callable[[Vector], float]) -> str:
    """Write a function: how many bits of surprise are to be expected of a draw?

    `answer_4(probabilities)` is called the entropy: the surprise of each token in
    bits, times its probability, added up. What is impossible adds nothing.
    Filters and a low temperature make it small. `bits` gives the surprise, if your
    file begins with `from lesson_4_sampling import *`.

    >>> exercise_4(lambda probabilities: 1.0)
    'For [0.5, 0.25, 0.25] it gave 1.0; 1.5 is right.'
    """
    for probabilities in ([0.5, 0.25, 0.25], [1.0, 0.0], [0.125] * 8, normalize(CANDIDATES.values())):
        entropy = sum(share * bits(share) for share in probabilities if share)
        given = answer(probabilities)
        if not abs(given - entropy) < 1e-9:
            return f"For {probabilities} it gave {given}; {entropy} is right."
    return ""


def exercise_5(answer: Callable[[EmbeddingModel, list[int], int], list[int]]) -> str:
    """For an evening: beat greedy.

    The best first token may lead to a poor sentence. `answer_5(model, ids, count)`
    returns `count` ids to go on with, which together are more probable than what
    greedy finds. One way is a beam search: keep the best few beginnings at each
    step, and not just one.

    >>> def always_the_best(model, ids, count):
    ...     for _ in range(count):
    ...         ids = [*ids, greedy(model.probabilities(ids))]
    ...     return ids[-count:]
    >>> exercise_5(always_the_best)
    "After 'The dog' it has 16.2 bits of surprise, and greedy 16.2."
    """
    tokenizer, model = course_model()
    for prompt in ("The dog", "She went to the", "In the morning"):
        ids = greedy_ids = tokenizer.encode(prompt)
        for _ in range(6):
            greedy_ids = [*greedy_ids, greedy(model.probabilities(greedy_ids))]
        found = [*ids, *answer(model, list(ids), 6)]
        if len(found) != len(greedy_ids):
            return f"After {prompt!r} it gave {len(found) - len(ids)} ids, and not 6."
        surprise, of_greedy = (sum(bits(model.probabilities(row[:end])[row[end]]) for end in range(len(ids), len(row)))
                               for row in (found, greedy_ids))
        if surprise > of_greedy - 1e-9:
            return f"After {prompt!r} it has {surprise:.1f} bits of surprise, and greedy {of_greedy:.1f}."
    return ""


# %% On the command line

def _show(options: argparse.Namespace) -> None:
    """Go on with a text, and with others that are typed."""
    settings = DEFAULTS
    for name in DEFAULTS:
        if getattr(options, name) is not None:
            settings = change_setting(settings, name, getattr(options, name))
    if options.text is None and not options.chat:
        raise ValueError("a text is missing, to go on with, or --chat")
    tokenizer, model = course_model()
    if options.text is not None:
        _write(model, tokenizer, settings, options.explain, options.text)
    if options.chat:
        chat(lambda settings, line: _write(model, tokenizer, settings, options.explain, line), settings)


if __name__ == "__main__":
    run_lesson(lesson_parser("Lesson 4: sampling.", "gone on with", {
        "--chat": "type, and it goes on with your text; --explain shows the candidates",
        "--temperature N": "0 is greedy, more is wilder (0.8); --top-k N, --top-p N, --min-p N (0.1)",
        "--seed N": "the same text again; --max-new-tokens N ends it (100)",
    }, ['"The sun is shining, and the sky is"', "--chat --temperature 0.5"]), _show)
