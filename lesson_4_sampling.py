"""Lesson 4: sampling. From scores to the next word, and on and on.

Ask a chatbot the same question twice, and you get two answers. Where does chance come
in, and what do knobs such as "temperature" and "top-p" do? Lesson 3 ended with a logit,
a score, for every token of the vocabulary. Now you turn the scores into probabilities,
draw one token, put it at the end of the text, and begin again. That is all there is to
"generating text", here and in every large language model (LLM).

    text  →  logits  →  temperature, softmax  →  top-k, top-p, min-p  →  draw
      ↑                                                                   │
      └───────────────────────  one token more  ──────────────────────────┘

>>> shares = softmax([2.0, 1.0, -3.0])      # " blue", " clear", " apple"
>>> [round(share, 3) for share in shares]
[0.727, 0.268, 0.005]
"""

import codecs
import math
import os
import random
import sys
from heapq import nlargest
from itertools import chain
from typing import Any, Collection, Iterable, Iterator, Optional

sys.path.append(os.path.dirname(sys.argv[0]))
from lesson_2_coding_tokenizer import END_OF_TEXT, Tokenizer
from lesson_3_embeddings import EmbeddingModel, Vector, bits, course_model, load_model
from lesson_3_embeddings import softmax as plain_softmax
from stage import Writing, bar, chat as start_chat, display_width, run_lesson, spell_out, table, write_words


# %% Assign a probability to each

def softmax(logits: Vector, temperature: float = 1.0) -> Vector:
    """Turn logits, which can be any numbers, into probabilities, which add up to 1.

    You know softmax from lesson 3, and that only the distances between logits count. New
    is a knob, the temperature, which divides the distances. With 0.5 they are twice as
    large, and the best token, which had 0.727 above, wins more clearly.

    >>> [round(share, 3) for share in softmax([2.0, 1.0, -3.0], temperature=0.5)]
    [0.881, 0.119, 0.0]

    With 2 they are half as large: the others catch up. With 0 the best gets everything.

    Raises ValueError if the temperature is below 0, or a logit NaN, or all -infinity.
    """
    _check_softmax(logits, temperature)
    highest = max(logits)
    if temperature == 0:
        best = list(logits).index(highest)
        return [float(id == best) for id in range(len(logits))]
    distances = [0.0 if logit == highest else (logit - highest) / temperature
                 for logit in logits]     # an infinite logit is certain
    return plain_softmax(distances)


def _check_softmax(logits: Vector, temperature: float) -> None:
    if not 0 <= temperature < math.inf:
        raise ValueError(f"the temperature must be a number from 0 up, not {temperature}")
    if max(logits, default=-math.inf) == -math.inf or any(map(math.isnan, logits)):
        raise ValueError("there is no token to choose: a logit is NaN, or none is above minus infinity")


# %% Example Probabilities
# What comes after "The sun is shining, and the sky is"? The slides of this course show
# five candidates, each with its per cent.

CANDIDATES = {"blue": 60, "clear": 45, "cloudy": 41,
              "apple": 0.002, "banana": 0.001}


def normalize(weights: Iterable[float]) -> Vector:
    """Divide weights by their sum, so that they become probabilities.

    Probabilities add up to 1, which is 100 per cent. The five on the slide add up to
    146.003. But you can read them as tickets in a lottery: 60 say "blue", 45 say
    "clear". Divided by their sum, they are probabilities. Every function below that
    picks tokens begins with it, so weights will do as well.

    >>> [round(share, 3) for share in normalize(CANDIDATES.values())]
    [0.411, 0.308, 0.281, 0.0, 0.0]

    Raises ValueError if a weight is not a number from 0 up, or all are 0.
    """
    weights = list(weights)
    total = sum(weights)
    if not (weights and min(weights) >= 0 and 0 < total < math.inf):
        raise ValueError("probabilities must be numbers from 0 up, not all 0")
    return [weight / total for weight in weights]


# %% Methods for word selection: temperature sampling

def temperature_table(names: Iterable[str], logits: Vector, temperatures: Iterable[float]) -> str:
    """Show what the temperature does to probabilities, in per cent and as bars.

    Four words may follow "The cat", each with a logit one lower than the last.

    >>> words = ["slept", "sat", "sang", "flew"]
    >>> print(temperature_table(words, [3.0, 2.0, 1.0, 0.0], (0.5, 1, 2)))
           T = 0.5                 T = 1                   T = 2
    slept   86.5 █████████████▉     64.4 ██████████▎        45.5 ███████▎
    sat     11.7 █▉                 23.7 ███▊               27.6 ████▍
    sang     1.6 ▎                   8.7 █▍                 16.7 ██▋
    flew     0.2 ▏                   3.2 ▌                  10.2 █▋

    A low temperature writes what is expected; a high one is full of ideas, good and
    bad. Now the five words for the sky. They come with weights, and softmax wants
    logits: take `math.log` of each weight, which undoes the power of e. At 10, nearly
    every fifth sky is a fruit:

    >>> logits = [math.log(weight) for weight in CANDIDATES.values()]
    >>> print(temperature_table(CANDIDATES, logits, (0.5, 1, 10)))
            T = 0.5                 T = 1                   T = 10
    blue     49.3 ███████▉           41.1 ██████▋            27.6 ████▍
    clear    27.7 ████▍              30.8 ████▉              26.8 ████▎
    cloudy   23.0 ███▋               28.1 ████▌              26.6 ████▎
    apple     0.0 ▏                   0.0 ▏                   9.8 █▋
    banana    0.0 ▏                   0.0 ▏                   9.2 █▌
    """
    columns = [["", *names]]
    for temperature in temperatures:
        column = [f"{100 * share:5.1f} {bar(share, 16):16}"
                  for share in softmax(logits, temperature)]
        columns.append([f"T = {temperature:g}".ljust(22), *column])
    return table(list(zip(*columns)))


# %% Methods for word selection: greedy sampling

def greedy(probabilities: Vector) -> int:
    """The id of the most probable token. On a tie, the lowest id wins.

    Ask a thousand times, and the answer is "blue" a thousand times.

    >>> list(CANDIDATES)[greedy(normalize(CANDIDATES.values()))]
    'blue'
    """
    probabilities = normalize(probabilities)
    return probabilities.index(max(probabilities))


# %% Methods for word selection: random sampling

def sample(probabilities: Vector, rng: random.Random) -> int:
    """Draw an id at random, each as often as its probability says.

    `rng` is one of Python's random number generators, which draws the same again from
    the same seed. Of ten thousand draws, each word gets about its share.

    >>> rng, words = random.Random(0), list(CANDIDATES)
    >>> shares = normalize(CANDIDATES.values())
    >>> drawn = [words[sample(shares, rng)] for _ in range(10_000)]
    >>> drawn[:6]
    ['cloudy', 'cloudy', 'clear', 'blue', 'clear', 'blue']
    >>> for word, share in zip(words, shares):
    ...     print(f"{word:7} {share:7.3%} {bar(share):10} {drawn.count(word):5}")
    blue    41.095% █████████▉  4072
    clear   30.821% ███████▍    3120
    cloudy  28.082% ██████▊     2808
    apple    0.001% ▏              0
    banana   0.001% ▏              0

    Not one apple. But an LLM often has over 100,000 tokens, most of them as wrong here
    as an apple. Each is rare, but if together they have one per cent, then every
    hundredth word is wrong, and the text has to go on from there. So the filters below
    take them out before the draw.
    """
    probabilities = normalize(probabilities)
    return rng.choices(range(len(probabilities)), weights=probabilities)[0]


# %% Methods for word selection: top-k sampling

def keep_top_k(probabilities: Vector, k: int) -> Vector:
    """Keep the k most probable tokens (Fan, Lewis and Dauphin 2018).

    The others get 0, and those that are kept are rescaled to add up to 1 again. On a
    tie, lower ids win. Of the words for the sky at temperature 10, the fruits have no
    chance now.

    >>> shares = keep_top_k([0.276, 0.268, 0.266, 0.098, 0.092], k=3)
    >>> [round(share, 3) for share in shares]
    [0.341, 0.331, 0.328, 0.0, 0.0]

    Raises ValueError if k is not a whole number from 1 up.
    """
    if not (isinstance(k, int) and k > 0):
        raise ValueError(f"top-k must be a whole number from 1 up, not {k}")
    shares = normalize(probabilities)
    best = set(nlargest(k, range(len(shares)), key=lambda id: shares[id]))
    return normalize(share if id in best else 0.0
                     for id, share in enumerate(shares))


# %% What the field added: top-p and min-p
# Top-k keeps the same number of tokens, however sure the model is. These two look at how
# sure it is, and choose k to fit.

def keep_top_p(probabilities: Vector, p: float) -> Vector:
    """Keep the best tokens until together they reach p (Holtzman and others 2019).

    If the model is sure, one may be enough. If it has no idea, it takes many.

    >>> keep_top_p([0.94, 0.03, 0.02, 0.01], 0.9)
    [1.0, 0.0, 0.0, 0.0]
    >>> keep_top_p([0.125] * 8, 0.5)
    [0.25, 0.25, 0.25, 0.25, 0.0, 0.0, 0.0, 0.0]

    Raises ValueError if p is not above 0 and at most 1.
    """
    if not 0 < p <= 1:
        raise ValueError(f"top-p must be above 0 and at most 1, not {p}")
    shares = normalize(probabilities)
    reached, k = 0.0, 0
    for share in sorted(shares, reverse=True):
        if reached < p or p == 1:   # 1 keeps all, however sums are rounded
            k += 1
            reached += share
    return keep_top_k(shares, k)


def keep_min_p(probabilities: Vector, p: float) -> Vector:
    """Keep what is at least p times as probable as the best (Nguyen and others 2024).

    If the best has 0.5 and p is 0.2, a token needs a fifth of 0.5, which is 0.1.

    >>> [round(share, 3) for share in keep_min_p([0.5, 0.3, 0.15, 0.05], 0.2)]
    [0.526, 0.316, 0.158, 0.0]

    Raises ValueError if p is not above 0 and at most 1.
    """
    if not 0 < p <= 1:
        raise ValueError(f"min-p must be above 0 and at most 1, not {p}")
    shares = normalize(probabilities)
    least = p * max(shares)
    k = sum(share >= least for share in shares)     # True counts as 1
    return keep_top_k(shares, k)


def next_token_probabilities(logits: Vector, temperature: float = 1.0, top_k: Optional[int] = None,
                             top_p: Optional[float] = None, min_p: Optional[float] = None) -> Vector:
    """First the temperature, then top-k, top-p and min-p, as in Hugging Face's library.

    None leaves a filter out. The temperature comes first, for top-p and min-p look at the
    probabilities that it makes. And each filter sees only what the one before it has left.
    Of 0.5, 0.3 and 0.2, top-k = 2 leaves two, which become 0.625 and 0.375. So the first
    alone reaches top-p = 0.6. Without top-k it would take two.

    >>> logits = [math.log(share) for share in (0.5, 0.3, 0.2)]
    >>> next_token_probabilities(logits, top_k=2, top_p=0.6)
    [1.0, 0.0, 0.0]
    """
    shares = softmax(logits, temperature)
    filters = (keep_top_k, top_k), (keep_top_p, top_p), (keep_min_p, min_p)
    for keep, setting in filters:
        if setting is not None:
            shares = keep(shares, setting)
    return shares


# %% How LLMs work: predict the next token, again and again

def generate_ids(model: EmbeddingModel, ids: list[int], stop: Collection[int] = (), *,
                 max_new_tokens: int = 100, temperature: float = 0.8, top_k: Optional[int] = None,
                 top_p: Optional[float] = None, min_p: Optional[float] = 0.1,
                 seed: Optional[int] = None) -> Iterator[tuple[int, Vector, Vector]]:
    """The whole loop: ids, logits, probabilities, a draw, and again.

    At each step it yields the id that was drawn, the probabilities that the model gave,
    and those after temperature and filters, from which it drew. It ends after
    `max_new_tokens`, or with an id of `stop`, when one is drawn.

    >>> tokenizer, model = course_model()
    >>> ids = tokenizer.encode("The sky is")
    >>> steps = generate_ids(model, ids, max_new_tokens=3, seed=0)
    >>> [tokenizer.decode([id]) for id, before, after in steps]
    [' cloudy', '.', ' The']

    `model` is anything that has `logits(ids)`. The settings, after the star, suit our
    small model, which knows what is likely better than what is rare.
    """
    ids, rng = list(ids), random.Random(seed)
    for _ in range(max_new_tokens):
        logits = model.logits(ids)
        after = next_token_probabilities(
            logits, temperature, top_k, top_p, min_p)
        id = sample(after, rng)
        yield id, softmax(logits), after
        if id in stop:
            return
        ids.append(id)


def generate(model: EmbeddingModel, tokenizer: Tokenizer, prompt: str, **settings: Any) -> Iterator[str]:
    """Continue a text, the prompt, and yield what comes piece by piece.

    The settings are those of `generate_ids`: max_new_tokens=100, temperature=0.8,
    top_k=None, top_p=None, min_p=0.1 and seed=None, if you name no others. To see the
    pieces as they come, `write_words(generate(...))` prints them. Here they are joined.

    >>> tokenizer, model = course_model()
    >>> for prompt in ("The sun is shining, and the sky is",
    ...                "The king is dead, but the sun is shining, and the sky is",
    ...                "The sun is shining, and the sky is "):
    ...     text = generate(model, tokenizer, prompt, max_new_tokens=12, seed=1)
    ...     print(repr("".join(text)))
    ' blue and the boy. "It is a lot of'
    ' blue and the boy. "It is a lot of'
    '2 and it was very blue.'

    The first two are the same: the same seed draws the same, and the model sees only
    the last two tokens, so the news of the king changes nothing. The third prompt ends
    with a space, and yours should not. Words bring their own, as " blue" does. After a
    space that stands alone, the model expects anything but a word.

    Now turn the temperature up, without min-p and with it. At 0 the same few tokens lead
    to the same next one, so the text goes round in circles. At 1.5 it strays among rare
    tokens, and writes words that do not exist, unless min-p takes those tokens out. One
    text proves little, so try other seeds, too.

    >>> for temperature in (0, 0.5, 0.8, 1.5):
    ...     for min_p in (None, 0.1):
    ...         text = "".join(generate(model, tokenizer, "In the morning", seed=3,
    ...             temperature=temperature, min_p=min_p, max_new_tokens=14))
    ...         print(f"{temperature:<3} {min_p or 'off':<3} {text!r}")
    0   off ' the sky is blue, and the sky is blue, and the sky'
    0   0.1 ' the sky is blue, and the sky is blue, and the sky'
    0.5 off '. The boy read it, the horse, and my uncle has a'
    0.5 0.1 '. The boy looked at the sky is blue, and the sky is'
    0.8 off '. In the evening he is.'
    0.8 0.1 '. The girl asked for a long time, and then it was very'
    1.5 off ' and told her Teoplem, picture on the stayed when happy small'
    1.5 0.1 ' the school and not of a a fire. The birds asked him of'

    A text may stop early: the end of a story is a token too, which can be drawn. It is
    also put before your prompt, since it stood before each story. And a token that ends
    in the middle of a character waits for the rest of it.

    Raises ValueError for wrong settings, at once and not with the first token.
    """
    _check_settings(**settings)
    end = _end_of_text(tokenizer)
    ids = end + tokenizer.encode(prompt)
    steps = generate_ids(model, ids, end, **settings)
    drawn = (id for id, before, after in steps)
    return Writing(_whole_characters(tokenizer, drawn))


def _end_of_text(tokenizer: Tokenizer) -> list[int]:
    """The id of the mark between stories, in a list, which is empty if the tokenizer has none."""
    return [id for name, id in tokenizer.special_tokens.items() if name == END_OF_TEXT]


def _check_settings(max_new_tokens: int = 0, seed: Optional[int] = None, **filters: Optional[float]) -> None:
    """Refuse at once what the loop would only refuse later."""
    next_token_probabilities([0.0], **filters)
    if not (isinstance(max_new_tokens, int) and max_new_tokens >= 0):
        raise ValueError(f"max-new-tokens must be a whole number from 0 up, not {max_new_tokens}")


def _whole_characters(tokenizer: Tokenizer, ids: Iterable[int]) -> Iterator[str]:
    """The text of ids as they come. A special token has none, such as the end of a story."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    silent = {id for name, id in tokenizer.special_tokens.items() if name not in tokenizer.rules.always}
    return filter(None, (decoder.decode(tokenizer.decode_bytes([id])) for id in ids if id not in silent))


# %% Watch it choose

def write_steps(tokenizer: Tokenizer, steps: Iterable[tuple], text: str = "", explain: bool = False) -> None:
    """Print a text and what `generate_ids` adds to it, as it comes.

    With `explain` you see each choice first: the text so far, the token drawn, and what
    else was likely, each with the model's own percentage and what the knobs made of it.

    >>> tokenizer, model = course_model()
    >>> ids = tokenizer.encode("The sky is")
    >>> steps = generate_ids(model, ids, max_new_tokens=4, seed=0)
    >>> write_steps(tokenizer, steps, "The sky is", explain=True)
            text so far ▶ drawn: model→knobs    │  what else was likely
             The sky is ▶ ·cloudy 11%→16%       │  ·blue 27%→53%  ·clear 11%→18%
      The sky is cloudy ▶ . 20%→33%             │  , 35%→67%  ·when 4%→0%  ." 3%→0%
     The sky is cloudy. ▶ ·The 12%→21%          │  ·" 19%→37%
     sky is cloudy. The ▶ ·boy 7%→15%           │  ·dog 7%→15%  ·girl 5%→10%
    <BLANKLINE>
    The sky is cloudy. The boy

    Try --explain with a text of yours, and --chat. But don't expect answers: asked for
    the capital of France, it writes what may come next in a story, for it has read only
    stories. A chatbot was trained further, on conversations, where answers come next.
    """
    if explain:
        steps = list(_explained(tokenizer, steps, text))
    ids = (id for id, before, after in steps)
    write_words(chain([text], _whole_characters(tokenizer, ids)))


def _explained(tokenizer: Tokenizer, steps: Iterable[tuple], text: str) -> Iterator[tuple]:
    """Print one line for each step, which fits a window of 80 columns, and pass the step on."""
    print(f"{'text so far':>19} ▶ {'drawn: model→knobs':21} │  what else was likely")
    for id, before, after in steps:
        best = nlargest(5, range(len(before)), key=lambda token: before[token])
        cells = [f"{tokenizer.show([token], color=False)[:13]} {before[token]:.0%}→{after[token]:.0%}"
                 for token in dict.fromkeys([id, *best])]       # the one that was drawn comes first
        so_far = spell_out(text[-19:].replace("\n", "↵"))[-19:]
        line = "  ".join([f"{so_far:>19} ▶ {cells[0]:21} │", *cells[1:]])
        while display_width(line) > 79:
            line = line.rpartition("  ")[0]
        print(line)
        yield id, before, after
        text += tokenizer.decode([id])
    print()


# %% What is still missing
# The way is complete: text, tokens, ids, vectors, logits, and text again. Every LLM goes
# this way. But our model looks at the last two tokens, and forgets what came before. In
# the middle there is room for one thing more: layers in which each token looks back at
# those before it, and changes its vector by what it finds there. That is the transformer,
# and the next lesson builds one: python3 lesson_5_transformer.py --step


# %% Your turn
# As before, answer_1 and so on go into a file of yours beside the lesson. Check it:
#
#     python3 lesson_4_sampling.py --check answers_4.py
#
# 1. A warm-up. Which probabilities, as a list, do the weights 2, 1 and 1 become?
#
# 2. Predict: of five tokens with 50, 20, 15, 10 and 5 per cent, which are left after top-k
# = 4, top-p = 0.88 and min-p = 0.15, in this order? Do it on paper, and don't forget to
# rescale. A list of ids; the first token has id 0.
#
# 3. Predict: at which temperature does a logit 3 higher make a token e times as probable?
#
# 4. Write `answer_4(probabilities)`: how many bits of surprise are to be expected of a
# draw? This is called the entropy: the surprise of each token in bits, times its
# probability, added up. What is impossible adds nothing. `bits` gives the surprise, if
# your file begins with `from lesson_4_sampling import *`.
#
# 5. For an evening: beat greedy. The best first token may lead to a poor sentence.
# `answer_5(model, ids, count)` returns `count` ids that continue a text, and together are
# more probable than greedy's. One way is a beam search: at each step keep the best few
# beginnings.


# %% On the command line

HELP = """Lesson 4: sampling. Without a text or an option it plays the lesson.
  text             what it continues; --chat lets you type, --explain shows why
  --model FOLDER   a model of your own, trained and saved with lesson 3
  --temperature T  0 is greedy, higher is wilder (0.8)
  --top-k K        a filter, as are --top-p P and --min-p P (0.1; 0 is off)
  --seed S         repeats a text; --max-new-tokens M (100), then to a full stop
for example: python3 lesson_4_sampling.py "The sun is shining, and the sky is"
"""

SETTINGS = dict(generate_ids.__kwdefaults__)     # as they stand in its signature


def change_setting(settings: dict, name: str, value: str) -> dict:
    """Turn a knob: the settings with one of them changed; "off" leaves a filter out.

    Raises ValueError, and changes nothing, if there is no such knob or value.
    """
    key, knob = name.replace("-", "_"), name.replace("_", "-")
    if key not in SETTINGS:
        raise ValueError(f"there is no knob {knob!r}: /help lists them all")
    can_be_off = key not in ("temperature", "max_new_tokens")
    if can_be_off and value == "off":
        return {**settings, key: None}
    try:
        number = int(value) if value.lstrip("-").isdigit() else float(value)
    except ValueError:
        raise ValueError(f"{knob} takes a number{' or off' * can_be_off}, not {value!r}") from None
    changed = {**settings, key: None if (key, number) == ("min_p", 0) else number}
    _check_settings(**changed)
    return changed


def show(text: Optional[str] = None, model: Optional[str] = None, chat: bool = False, explain: bool = False,
         **knobs: str) -> None:
    """Continue a text, and with --chat others that are typed."""
    settings = SETTINGS
    for name, value in knobs.items():
        settings = change_setting(settings, name, value)
    if text is None and not chat:
        raise ValueError("it takes a text to continue, or --chat")
    tokenizer, trained = course_model() if model is None else load_model(model)
    end = _end_of_text(tokenizer)

    def write(line: str, settings: dict) -> None:
        count = settings["max_new_tokens"]
        longer = {**settings, "max_new_tokens": count + min(count, 30)}
        steps = generate_ids(trained, end + tokenizer.encode(line), end, **longer)
        write_steps(tokenizer, _to_a_full_stop(tokenizer, steps, count), line, explain)

    if text is not None:
        write(text, settings)
    if chat:
        start_chat(write, settings, change_setting)


def _to_a_full_stop(tokenizer: Tokenizer, steps: Iterable[tuple], count: int) -> Iterator[tuple]:
    """Let `count` steps pass, and then more until a sentence ends, so that none is left hanging."""
    for number, step in enumerate(steps, 1):
        yield step
        token = tokenizer.decode(step[:1]).rstrip("\"'”’)")
        if number >= count and token.endswith(tuple(".!?。！？")):
            return


if __name__ == "__main__":
    run_lesson(HELP, show)
