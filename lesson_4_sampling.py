"""Lesson 4: sampling. From scores to the next word, and on and on.

Ask a chatbot the same question twice, and you get two answers. Where does chance come
in, and what do knobs such as "temperature" and "top-p" do? Lesson 3 ended with a logit,
a score, for every token of the vocabulary. Now you turn the scores into probabilities,
draw one token, put it at the end of the text, and begin again. That is all there is to
"generating text", here and in every large language model (LLM).

    text  →  logits  →  temperature, softmax  →  top-k, top-p, min-p  →  draw
      ↑                                                                   │
      └───────────────────────  one token more  ──────────────────────────┘

>>> shares = softmax([2.0, 1.0, -3.0])      # the logits of " blue", " clear", " apple"
>>> [round(share, 3) for share in shares], greedy(shares)
([0.727, 0.268, 0.005], 0)
"""

import codecs
import contextlib
import inspect
import math
import os
import random
import sys
from collections import Counter
from itertools import chain
from typing import Any, Callable, Collection, Iterable, Iterator, Optional

sys.path.append(os.path.dirname(sys.argv[0]))
from lesson_2_coding_tokenizer import END_OF_TEXT, Tokenizer
from lesson_3_embeddings import EmbeddingModel, Vector, bits, course_model, load_model
from lesson_3_embeddings import softmax as plain_softmax
from stage import bar, decode_text, display_width, run_lesson, table, visible, write_words


# %% Assign a probability to each

def softmax(logits: Vector, temperature: float = 1.0) -> Vector:
    """Turn logits, which can be any numbers, into probabilities, which add up to 1.

    You know it from lesson 3: take e to the power of each logit, and divide by the sum.
    Only distances count. Is a logit one higher than another? Then its token is
    e = 2.718 times as likely as the other:

    >>> [round(share, 3) for share in softmax([1003.0, 1002.0, 1001.0])]
    [0.665, 0.245, 0.09]

    What is new is a knob, the temperature: it divides the distances. At half the
    temperature they are twice as large, and the best token wins more clearly. At twice
    the temperature they shrink, and the others catch up. The nearer to 0, the more the
    best token gets, and at 0 it gets everything:

    >>> for temperature in (0, 0.5, 1, 2):
    ...     shares = softmax([3.0, 2.0, 1.0], temperature)
    ...     print(temperature, [round(share, 3) for share in shares])
    0 [1.0, 0.0, 0.0]
    0.5 [0.867, 0.117, 0.016]
    1 [0.665, 0.245, 0.09]
    2 [0.506, 0.307, 0.186]

    Raises ValueError for a temperature below 0, for NaN, and if no logit is above -infinity.
    """
    distances = _below_the_highest(logits, temperature)
    if temperature == 0:
        best = distances.index(0.0)
        return [float(id == best) for id in range(len(distances))]
    return plain_softmax([distance / temperature for distance in distances])


def _below_the_highest(logits: Iterable[float], temperature: float) -> Vector:
    """Check both, and subtract the highest logit from each, even if it is infinite."""
    if not 0 <= temperature < math.inf:
        raise ValueError(f"the temperature must be a number from 0 up, not {temperature}")
    logits = list(logits)
    highest = max(logits, default=-math.inf)
    if highest == -math.inf or any(map(math.isnan, logits)):
        raise ValueError("there is no token to choose: a logit is NaN, or none is above minus infinity")
    return [0.0 if logit == highest else logit - highest for logit in logits]


# %% Example Probabilities
# What comes after "The sun is shining, and the sky is"? The slides of this course have
# five candidates, with a probability in per cent for each.

CANDIDATES = {"blue": 60, "clear": 45, "cloudy": 41, "apple": 0.002, "banana": 0.001}


def normalize(weights: Iterable[float]) -> Vector:
    """Divide weights by their sum, so that they become probabilities.

    Probabilities add up to 1, which is 100 per cent. The five on the slide don't:

    >>> round(sum(CANDIDATES.values()), 3)
    146.003

    But you can read them as weights, like tickets in a lottery: 60 say "blue", 45 say
    "clear". Divided by their sum, they are probabilities. In per cent:

    >>> shares = normalize(CANDIDATES.values())
    >>> [float(f"{100 * share:.2g}") for share in shares]
    [41.0, 31.0, 28.0, 0.0014, 0.00068]

    Raises ValueError if a weight is not a number from 0 up, or all are 0.
    """
    weights = _checked(weights)
    total = sum(weights)
    return [weight / total for weight in weights]


def _checked(weights: Iterable[float]) -> Vector:
    weights = list(weights)
    if weights and min(weights) >= 0 and 0 < sum(weights) < math.inf:
        return weights
    raise ValueError(f"probabilities must be numbers from 0 up, and not all 0; these are {str(weights)[:50]}")


# %% Methods for word selection: temperature sampling

def temperature_table(names: Iterable[str], logits: Vector, temperatures: Iterable[float]) -> str:
    """Show what the temperature does to probabilities, in per cent and as bars.

    Four words that may follow "The cat", each with a logit one lower than the last:

    >>> words = ["slept", "sat", "sang", "flew"]
    >>> print(temperature_table(words, [3.0, 2.0, 1.0, 0.0], (0.5, 1, 2)))
           T = 0.5                 T = 1                   T = 2
    slept   86.5 █████████████▉     64.4 ██████████▎        45.5 ███████▎
    sat     11.7 █▉                 23.7 ███▊               27.6 ████▍
    sang     1.6 ▎                   8.7 █▍                 16.7 ██▋
    flew     0.2 ▏                   3.2 ▌                  10.2 █▋

    A low temperature writes what is expected; a high one is full of ideas, good and
    bad. Now the five words for the sky. Their logits are the logarithms of their
    weights, for `math.log` undoes the power of e:

    >>> logits = [math.log(weight) for weight in CANDIDATES.values()]
    >>> print(temperature_table(CANDIDATES, logits, (0.5, 1, 10)))
            T = 0.5                 T = 1                   T = 10
    blue     49.3 ███████▉           41.1 ██████▋            27.6 ████▍
    clear    27.7 ████▍              30.8 ████▉              26.8 ████▎
    cloudy   23.0 ███▋               28.1 ████▌              26.6 ████▎
    apple     0.0 ▏                   0.0 ▏                   9.8 █▋
    banana    0.0 ▏                   0.0 ▏                   9.2 █▌

    At a temperature of 10, nearly every fifth sky is an apple or a banana.
    """
    columns = [["", *names]]
    for temperature in temperatures:
        shares = softmax(logits, temperature)
        heading = f"T = {temperature:g}".ljust(22)
        columns.append([heading, *(f"{100 * share:5.1f} {bar(share, 16):16}" for share in shares)])
    return table(list(zip(*columns)))


# %% Methods for word selection: greedy sampling

def greedy(probabilities: Vector) -> int:
    """The id of the most probable token. On a tie, the lowest id wins.

    Ask a thousand times, and the answer is "blue" a thousand times:

    >>> list(CANDIDATES)[greedy(normalize(CANDIDATES.values()))]
    'blue'
    """
    probabilities = _checked(probabilities)
    return probabilities.index(max(probabilities))


# %% Methods for word selection: random sampling

def sample(probabilities: Vector, rng: random.Random) -> int:
    """Draw an id at random, each as often as its probability says.

    `rng` is one of Python's random number generators. From the same seed it draws the
    same. Of ten thousand draws, each word gets about its share:

    >>> rng, words = random.Random(0), list(CANDIDATES)
    >>> shares = normalize(CANDIDATES.values())
    >>> [words[sample(shares, rng)] for _ in range(6)]
    ['cloudy', 'cloudy', 'clear', 'blue', 'clear', 'blue']
    >>> counts = Counter(sample(shares, rng) for _ in range(10_000))
    >>> for id, word in enumerate(words):
    ...     print(f"{word:7} {shares[id]:7.3%} {counts[id]:5} {bar(counts[id] / 10_000)}")
    blue    41.095%  4071 █████████▊
    clear   30.821%  3121 ███████▌
    cloudy  28.082%  2808 ██████▊
    apple    0.001%     0
    banana   0.001%     0

    Not one apple. But a real vocabulary has 100,000 tokens and more, most of them as
    wrong as an apple. Each is rare, but if together they have one per cent, then every
    hundredth word is wrong, and the text has to go on from there. So the filters below
    take them out before the draw.
    """
    probabilities = _checked(probabilities)
    return rng.choices(range(len(probabilities)), weights=probabilities)[0]


# %% Methods for word selection: top-k sampling

def keep(probabilities: Vector, ids: Iterable[int]) -> Vector:
    """Keep some tokens: the others get 0, and the kept are rescaled to add up to 1.

    >>> [round(share, 3) for share in keep([0.5, 0.3, 0.2], ids=[0, 1])]
    [0.625, 0.375, 0.0]
    """
    kept = [0.0] * len(probabilities)
    for id in ids:
        kept[id] = probabilities[id]
    return normalize(kept)


def keep_top_k(probabilities: Vector, k: int) -> Vector:
    """Keep the k most probable tokens. On a tie, the lower ids win.

    Even at a temperature of 10, "apple" and "banana" have no chance now:

    >>> logits = [math.log(weight) for weight in CANDIDATES.values()]
    >>> [round(share, 3) for share in softmax(logits, temperature=10)]
    [0.276, 0.268, 0.266, 0.098, 0.092]
    >>> [round(share, 3) for share in keep_top_k(softmax(logits, temperature=10), k=3)]
    [0.341, 0.331, 0.328, 0.0, 0.0]

    From Fan, Lewis and Dauphin (2018).
    Raises ValueError if k is not a whole number from 1 up.
    """
    if not (isinstance(k, int) and k >= 1):
        raise ValueError(f"top-k must keep at least 1 token, and a whole number of them, not {k}")
    return keep(_checked(probabilities), _best_first(probabilities)[:k])


def _best_first(probabilities: Vector) -> list[int]:
    return sorted(range(len(probabilities)), key=probabilities.__getitem__, reverse=True)


# %% What the field added: top-p and min-p
# Top-k keeps the same number of tokens, however sure the model is. The two filters below
# ask how sure it is.

def keep_top_p(probabilities: Vector, p: float) -> Vector:
    """Keep the most probable tokens until together they reach p: the "nucleus".

    If the model is sure, one may be enough. If it has no idea, many are as good:

    >>> keep_top_p([0.94, 0.03, 0.02, 0.01], 0.9)
    [1.0, 0.0, 0.0, 0.0]
    >>> keep_top_p([0.125] * 8, 0.5)
    [0.25, 0.25, 0.25, 0.25, 0.0, 0.0, 0.0, 0.0]

    From Holtzman and others (2019).
    Raises ValueError if p is not above 0 and at most 1.
    """
    if not 0 < p <= 1:
        raise ValueError(f"top-p must be above 0 and at most 1, not {p}")
    enough, reached, kept = p * sum(_checked(probabilities)), 0.0, []
    for id in _best_first(probabilities):
        if reached < enough or p == 1:      # at 1, rounding must not cost a token
            kept.append(id)
            reached += probabilities[id]
    return keep(probabilities, kept)


def keep_min_p(probabilities: Vector, p: float) -> Vector:
    """Keep each token that is at least p times as probable as the best one.

    The best one here has 0.5. With p = 0.2 a token needs a fifth of that, 0.1:

    >>> [round(share, 3) for share in keep_min_p([0.5, 0.3, 0.15, 0.05], 0.2)]
    [0.526, 0.316, 0.158, 0.0]

    From Nguyen and others (2024).
    Raises ValueError if p is not above 0 and at most 1.
    """
    if not 0 < p <= 1:
        raise ValueError(f"min-p must be above 0 and at most 1, not {p}")
    least = p * max(_checked(probabilities))
    return keep(probabilities, [id for id, share in enumerate(probabilities) if share >= least])


def next_token_probabilities(logits: Vector, temperature: float = 1.0, top_k: Optional[int] = None,
                             top_p: Optional[float] = None, min_p: Optional[float] = None) -> Vector:
    """First the temperature, then top-k, top-p and min-p, as in Hugging Face's library.

    None leaves a filter out. The order matters, for each filter sees only what the one
    before has left. Of 0.5, 0.3 and 0.2, top-k = 2 leaves two, which become 0.625 and
    0.375. So top-p = 0.6 is content with the first. Before top-k it would need two.

    >>> logits = [math.log(share) for share in (0.5, 0.3, 0.2)]
    >>> next_token_probabilities(logits, top_k=2, top_p=0.6)
    [1.0, 0.0, 0.0]
    """
    probabilities = softmax(logits, temperature)
    for keep_some, setting in ((keep_top_k, top_k), (keep_top_p, top_p), (keep_min_p, min_p)):
        if setting is not None:
            probabilities = keep_some(probabilities, setting)
    return probabilities


# %% How LLMs work: predict the next token, again and again

def generate_ids(model: EmbeddingModel, ids: list[int], stop: Collection[int] = (), max_new_tokens: int = 100,
                 temperature: float = 0.8, top_k: Optional[int] = None, top_p: Optional[float] = None,
                 min_p: Optional[float] = 0.1, seed: Optional[int] = None) -> Iterator[tuple[int, Vector, Vector]]:
    """The whole loop: ids, logits, probabilities, a draw, and again.

    For each new token it yields the id, the probabilities that the model gave, and what
    temperature and filters made of them, from which the id was drawn. It ends after
    `max_new_tokens`, or when an id of `stop` is drawn.

    >>> tokenizer, model = course_model()
    >>> ids = tokenizer.encode("The sky is")
    >>> for id, before, after in generate_ids(model, ids, max_new_tokens=3, seed=0):
    ...     print(repr(tokenizer.decode([id])), f"{before[id]:.0%} {after[id]:.0%}")
    ' clear' 7% 18%
    ' at' 6% 11%
    ' the' 48% 90%

    `model` is anything that has `logits(ids)`. The temperature and min-p suit our small
    model, which knows what is likely better than what is rare. The same seed gives the
    same text. Without a seed, each run has its own.
    """
    ids, rng = list(ids), random.Random(seed)
    for _ in range(max_new_tokens):
        logits = model.logits(ids)
        before = softmax(logits)
        after = next_token_probabilities(logits, temperature, top_k, top_p, min_p)
        id = sample(after, rng)
        yield id, before, after
        if id in stop:
            return
        ids.append(id)


# The settings, as they stand in the signature of generate_ids.
SETTINGS = {name: parameter.default for name, parameter in
            list(inspect.signature(generate_ids).parameters.items())[3:]}


def generate(model: EmbeddingModel, tokenizer: Tokenizer, prompt: str, **settings: Any) -> Iterator[str]:
    """Continue a text, the prompt, and yield what comes piece by piece.

    The settings are those of `generate_ids`. "".join makes one text of the pieces;
    `write_words` prints them as they come.

    >>> tokenizer, model = course_model()
    >>> prompt = "The sun is shining, and the sky is"
    >>> "".join(generate(model, tokenizer, prompt, max_new_tokens=1, temperature=0))
    ' blue'
    >>> write_words(generate(model, tokenizer, prompt, max_new_tokens=12, seed=1))
     not cloudy in the evening the road is a car with a

    What does it know of the sun? Nothing: it sees only the last few tokens of a text. If
    another text ends alike, the same seed writes the same:

    >>> prompt = "The king is dead, the fox is shining, and the sky is"
    >>> write_words(generate(model, tokenizer, prompt, max_new_tokens=12, seed=1))
     not cloudy in the evening the road is a car with a

    Don't end a prompt with a space. Words bring their own, as " blue" does. After a
    space that stands alone, the model expects anything but a word:

    >>> prompt = "The sun is shining, and the sky is "
    >>> write_words(generate(model, tokenizer, prompt, max_new_tokens=12, seed=1))
    .

    Now turn the knobs, without min-p and with it. At temperature 0 the same few tokens
    lead to the same next one, so the text goes round in circles. At 1.5 it is drawn from
    the thousand rare tokens, unless min-p takes them out. Between them lie the stories.

    >>> for temperature in (0, 0.5, 0.8, 1.5):
    ...     for min_p in (None, 0.1):
    ...         text = "".join(generate(model, tokenizer, "The dog", max_new_tokens=14,
    ...                                 temperature=temperature, min_p=min_p, seed=1))
    ...         print(f"{temperature:<3}  {min_p or 'off':<3}  {text!r}")
    0    off  ' ran. "It is a red car. "It is a red'
    0    0.1  ' ran. "It is a red car. "It is a red'
    0.5  off  ' is here to the sea. In the morning, and the girl,'
    0.5  0.1  ' ran around him. "The sky is blue, and the sky is'
    0.8  off  ' and stand in the lake. When they was. First the bus,'
    0.8  0.1  ' and the girl, and the sky is not a duck, and the'
    1.5  off  ' is help babyed from again goneath.d rained out left\x10'
    1.5  0.1  ' on his son. Then he made his was. Nobody knows because,'

    A text may stop early: the end of a story is a token too, and the model draws it when
    it is likely. It also stands in front of each prompt, as it stood before each story.
    Only whole characters are yielded; a token that ends within one waits for the next.

    Raises ValueError for wrong settings, at once and not with the first token.
    """
    ids, stop = _begin(tokenizer, prompt)
    steps = generate_ids(model, ids, stop, **settings)
    _check_settings(**{**SETTINGS, **settings})
    return _whole_characters(tokenizer, (id for id, before, after in steps))


def _begin(tokenizer: Tokenizer, prompt: str) -> tuple[list[int], list[int]]:
    """The ids of a prompt, after the end of another story; and the ids that end the text."""
    end = [id for name, id in tokenizer.special_tokens.items() if name == END_OF_TEXT]
    return [*end, *tokenizer.encode(prompt)], end


def _check_settings(max_new_tokens: int, seed: Optional[int], **filters: Optional[float]) -> None:
    next_token_probabilities([0.0], **filters)
    if not (isinstance(max_new_tokens, int) and max_new_tokens >= 0):
        raise ValueError(f"max-new-tokens must be a whole number from 0 up, not {max_new_tokens}")


def _whole_characters(tokenizer: Tokenizer, ids: Iterable[int]) -> Iterator[str]:
    """The text of ids as they come. A special token has none."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    special = set(tokenizer.special_tokens.values())
    return filter(None, (decoder.decode(tokenizer.decode_bytes([id])) for id in ids if id not in special))


# %% Watch it choose, and talk to it

def write_steps(tokenizer: Tokenizer, steps: Iterable[tuple[int, Vector, Vector]], text: str = "",
                explain: bool = False) -> None:
    """Print a text and what `generate_ids` adds to it, as it comes.

    With `explain` you see each choice first: the text so far, the token drawn, and what
    else was likely; "19%→60%" is what the model gave, and what the knobs made of it.

    >>> tokenizer, model = course_model()
    >>> steps = generate_ids(model, tokenizer.encode("The sky is"), max_new_tokens=4, seed=0)
    >>> write_steps(tokenizer, steps, "The sky is", explain=True)
                The sky is ▶ ·clear 7%→18%         │  ·blue 19%→60%  ·not 7%→15%
          The sky is clear ▶ ·at 6%→11%            │  . 11%→22%  ," 9%→18%
       The sky is clear at ▶ ·the 48%→90%          │  ·night 8%→10%  ·all 3%→0%
    he sky is clear at the ▶ ·other 2%→5%          │  ·end 9%→39%  ·sky 3%→12%
    <BLANKLINE>
    The sky is clear at the other
    """
    drawn = []
    for id, before, after in steps if explain else ():
        print(_explain(tokenizer, text + tokenizer.decode(drawn), id, before, after))
        drawn.append(id)
    ids = drawn or (id for id, before, after in steps)
    write_words(chain(["\n"] if explain else [], [text], _whole_characters(tokenizer, ids)))


def _explain(tokenizer: Tokenizer, text: str, id: int, before: Vector, after: Vector) -> str:
    """One choice in one line, in columns that fit a window of 80."""
    text = visible(text[-22:]).replace("·", " ")
    while display_width(text) > 22:
        text = text[1:]
    others = [other for other in _best_first(before)[:5] if other != id and before[other]]
    drawn, *rest = (f"{tokenizer.show([token], color=False)[:13]} {before[token]:.0%}→{after[token]:.0%}"
                    for token in [id, *others])
    line = " " * (22 - display_width(text)) + text + " ▶ " + drawn + " " * (21 - display_width(drawn)) + " │"
    for cell in rest:
        line += "  " + cell if display_width(line + cell) < 78 else ""
    return line


def change_setting(settings: dict, name: str, value: str) -> dict:
    """Turn a knob: the settings with one of them changed; "off" leaves a filter out.

    >>> change_setting(SETTINGS, "top-k", "5")["top_k"]
    5

    Raises ValueError, and changes nothing, if there is no such knob or value.
    """
    key = name.replace("-", "_")
    if key not in SETTINGS:
        raise ValueError(f"there is no knob {name!r}, but {', '.join(SETTINGS).replace('_', '-')}")
    changed = {**settings, key: _read_value(name.replace("_", "-"), value)}
    _check_settings(**changed)
    return changed


def _read_value(name: str, value: str) -> Optional[float]:
    if value == "off" and name not in ("temperature", "max-new-tokens"):
        return None
    kind, what = (float, "a number") if name in ("temperature", "top-p", "min-p") else (int, "a whole number")
    try:
        return None if name == "min-p" and float(value) == 0 else kind(value)
    except ValueError:
        raise ValueError(f"{name} takes {what}, not {value!r}") from None


def chat(write: Callable[[str, dict], None], settings: dict) -> None:
    """Read a line, continue it, and again; Ctrl-C stops a text, Ctrl-D ends it all.

        python3 lesson_4_sampling.py --chat

    It does not answer you. Ask it for the capital of France, and it writes what may come
    next in a story, for it has read nothing else. A chatbot was trained further, on
    conversations, in which an answer comes next. `write(line, settings)` continues a line;
    a line that begins with / turns a knob.
    """
    with contextlib.suppress(ImportError):
        import readline     # noqa: F401  it makes the arrow keys work, where there is one
    print("Type the beginning of a text. /help lists the knobs, Ctrl-D ends.")
    while True:
        try:
            line = decode_text(input("> "), "the line")
            if line.startswith("/"):
                settings = _turn_knob(settings, line)
            elif line:
                write(line, settings)
        except ValueError as error:
            print(error)
        except KeyboardInterrupt:
            print()
        except EOFError:
            return print()


def _turn_knob(settings: dict, line: str) -> dict:
    """Obey "/temperature 0.3" or "/help", and say what is set now."""
    name, _, value = line[1:].strip().partition(" ")
    if name != "help":
        settings = change_setting(settings, name, value.strip())
    for key in SETTINGS if name == "help" else [name.replace("-", "_")]:
        print(f"/{key.replace('_', '-')}", "off" if settings[key] is None else settings[key])
    return settings


# %% What is still missing
# The way is complete: text, tokens, ids, vectors, logits, and text again. Every LLM goes this
# way. But our model adds up the vectors of the last few tokens, and what came before is
# forgotten. In the middle there is room for one thing more: layers in which each token
# looks back at those before it, and changes its vector by what it finds there. That is
# the transformer, and the next lesson builds one: python3 lesson_5_transformer.py


# %% Your turn

def exercise_1(answer: list[float]) -> str:
    """A warm-up. Which probabilities do the weights 2, 1 and 1 become?

    Write them as a list, answer_1, into a file beside the lesson, and check it:

        python3 lesson_4_sampling.py --check answers_4.py
    """
    if not _are_numbers(answer) or len(answer) != 3:
        return "answer_1 should be a list of three numbers, such as [0.2, 0.3, 0.5]."
    if abs(sum(answer) - 1) > 1e-9:
        return f"These add up to {sum(answer):g}."
    if answer != [0.5, 0.25, 0.25]:
        return "They add up to 1. But the first should be twice as large as each of the others."
    return "Yes: the weights add up to 4, so each is divided by 4."


def _are_numbers(answer: object) -> bool:
    return isinstance(answer, list) and all(isinstance(part, (int, float)) for part in answer)


def exercise_2(answer: list[int]) -> str:
    """Predict: of five tokens with 50, 20, 15, 10 and 5 per cent, which are left?

    The filters are top-k = 4, top-p = 0.9 and min-p = 0.25, in this order. Do it on
    paper, and don't forget to rescale. A list of ids; the first token has id 0.
    """
    if not _are_numbers(answer) or not set(answer) <= set(range(5)):
        return "answer_2 should be a list of ids, such as [1, 3]; the five tokens have the ids 0 to 4."
    logits = [math.log(share) for share in (0.5, 0.2, 0.15, 0.1, 0.05)]
    shares = next_token_probabilities(logits, top_k=4, top_p=0.9, min_p=0.25)
    right = {id for id, share in enumerate(shares) if share}
    if set(answer) == right:
        return "Yes: top-k takes one out, top-p one more, and min-p leaves the rest."
    return "These are left, but not these alone." if set(answer) < right else "At least one of these is not left."


def exercise_3(answer: float) -> str:
    """Predict: of two tokens, one has a logit 3 higher. When is it just e times as probable?

    That is 2.718 times as probable as the other. Which temperature does that?

    >>> exercise_3(1)
    'At temperature 1 it is 20.1 times as probable.'
    """
    high, low = softmax([3.0, 0.0], answer)
    times = high / low if low else math.inf
    if abs(times - math.e) > 1e-6:
        return f"At temperature {answer:g} it is {times:.1f} times as probable."
    return "Yes: divided by the temperature, a distance of 3 becomes 1."


def exercise_4(answer: Callable[[Vector], float]) -> str:
    """Write a function: how many bits of surprise are to be expected of a draw?

    `answer_4(probabilities)` is called the entropy: the surprise of each token in bits,
    times its probability, added up. What is impossible adds nothing. `bits` gives the
    surprise, if your file begins with `from lesson_4_sampling import *`.
    """
    for probabilities in ([0.5, 0.25, 0.25], [1.0, 0.0], [0.125] * 8, normalize(CANDIDATES.values())):
        entropy = sum(share * bits(share) for share in probabilities if share)
        given = answer(list(probabilities))
        if not _are_numbers([given]) or not abs(given - entropy) < 1e-9:
            return f"For {probabilities} it gave {given}; {entropy} is right."
    return f"Yes: the slide's five words have {entropy:.2f} bits, nearly as much as a fair draw from three."


def exercise_5(answer: Callable[[EmbeddingModel, list[int], int], list[int]]) -> str:
    """For an evening: beat greedy.

    The best first token may lead to a poor sentence. `answer_5(model, ids, count)` returns
    `count` ids that continue a text, and together are more probable than what greedy
    finds. One way is a beam search: at each step keep the best few beginnings, not one.

    >>> def always_the_best(model, ids, count):
    ...     steps = generate_ids(model, ids, max_new_tokens=count, temperature=0)
    ...     return [id for id, before, after in steps]
    >>> print(exercise_5(always_the_best))
    'The dog ran. "It is a' has 16.2 bits of surprise, and greedy's 'The dog ran. "It is a' has 16.2.
    """
    tokenizer, model = course_model()
    for prompt in ("The dog", "She went to the", "In the morning"):
        ids = tokenizer.encode(prompt)
        found = answer(model, list(ids), 6)
        if not _are_numbers(found) or len(found) != 6 or not set(found) <= set(range(len(tokenizer))):
            return f"After {prompt!r} it should give six ids, from 0 to {len(tokenizer) - 1}, and it gave {found!r}."
        by_greedy = [id for id, _, _ in generate_ids(model, ids, max_new_tokens=6, temperature=0)]
        yours, greedys = _surprise(model, ids, found), _surprise(model, ids, by_greedy)
        said = (f"{prompt + tokenizer.decode(found)!r} has {yours:.1f} bits of surprise, "
                f"and greedy's {prompt + tokenizer.decode(by_greedy)!r} has {greedys:.1f}.")
        if yours > greedys - 1e-9:
            return said
    return f"Yes: {said} Read both aloud: is the more probable text the better one?"


def _surprise(model: EmbeddingModel, ids: list[int], more: list[int]) -> float:
    row = [*ids, *more]
    return sum(bits(softmax(model.logits(row[:place]))[row[place]]) for place in range(len(ids), len(row)))


# %% On the command line

HELP = """Lesson 4: sampling. Without a text or an option it plays the lesson.
  text             the beginning of a text, which it continues
  --chat           type, and it continues; --explain shows each choice in a line
  --model FOLDER   a model of your own, which lesson 3 trained and saved there
  --temperature T  0 is greedy, higher is wilder (0.8); --seed S writes the same again
  --top-k K        filters: off; --top-p P: off; --min-p P: 0.1, and 0 means off
  --max-new-tokens M  after so many it ends with the sentence (100)
for example: python3 lesson_4_sampling.py "The sun is shining, and the sky is"
"""


def show(text: Optional[str] = None, model: Optional[str] = None, **given: Any) -> None:
    """Continue a text, and with --chat others that are typed."""
    settings = SETTINGS
    for name in filter(given.get, SETTINGS):
        settings = change_setting(settings, name, given[name])
    if text is None and "chat" not in given:
        raise ValueError("a text is missing, to go on with, or --chat")
    tokenizer, trained = course_model() if model is None else load_model(model)

    def write(line: str, settings: dict) -> None:
        count = settings["max_new_tokens"]
        longer = {**settings, "max_new_tokens": count and count + 30}
        steps = generate_ids(trained, *_begin(tokenizer, line), **longer)
        write_steps(tokenizer, _finish_sentence(tokenizer, steps, count), line, "explain" in given)

    if text is not None:
        write(text, settings)
    if "chat" in given:
        chat(write, settings)


def _finish_sentence(tokenizer: Tokenizer, steps: Iterable, count: int) -> Iterator:
    """Let `count` steps pass, and then more until a sentence ends, so that none is left hanging."""
    for number, step in enumerate(steps, 1):
        yield step
        if number >= count and tokenizer.decode(step[:1]).rstrip("\"'”’)").endswith((".", "!", "?", "。", "！", "？")):
            return


if __name__ == "__main__":
    run_lesson(HELP, show)
