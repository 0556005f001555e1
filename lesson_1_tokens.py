"""Lesson 1: tokens. How text becomes numbers, and why that is harder than it looks.

A large language model (LLM) is given some text and predicts what comes next.
It does not see letters or words. It sees tokens: pieces of text from a fixed
list, the vocabulary, in which every piece has a number, its id. All that the
model ever learns, it learns about these ids.

    text "The cat is"  →  tokens "The" " cat" " is"  →  ids 0 1 2

This lesson cuts text into sentences, words, letters and parts of words, counts
what each way costs, and watches where each one breaks. Most sections have the
title of a slide of the course, and where a slide makes a mistake, the lesson says
so. What comes after `>>>` is Python, and below it stands its result. To try
things yourself, start

    python3 -i -c "from lesson_1_tokens import *"

>>> tokens = word_tokens("The cat is sleeping")
>>> tokens
['The', ' cat', ' is', ' sleeping']
>>> tokens_to_ids(tokens, build_vocabulary(tokens))
[0, 1, 2, 3]
"""

import argparse
import ast
import codecs
import contextlib
import doctest
import io
import os
import re
import runpy
import shutil
import sys
import tempfile
import textwrap
import traceback
import unicodedata
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Callable, Iterator, Optional, Union

if __name__ == "__main__":      # with `python -I` nobody else looks for the lessons here
    sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))

UNKNOWN = "<UNK>"
# A notebook that runs this file cell by cell has no __file__, but its own folder.
CORPUS = Path(globals().get("__file__", "lesson_1_tokens.py")).resolve().parent / "corpus.txt"


# %% Tokens: anything can be added as a token

def build_vocabulary(tokens: list[str]) -> dict[str, int]:
    """Give every distinct token an id: 0, 1, 2 and so on, by first appearance.

    A vocabulary does not mind what a token is. A word, a letter, a number, an
    emoji, a Chinese character, whole sentences and any odd string will do:

    >>> kinds = ["car", "b", "123", "🌲", "车", "The sun rises in the east.",
    ...          "我们正在学习人工智能", "a1停车b2爱c3!@#"]
    >>> vocabulary = build_vocabulary(kinds)
    >>> vocabulary["car"], vocabulary["车"], vocabulary["a1停车b2爱c3!@#"]
    (0, 4, 7)

    A token that comes twice has one id. The last id goes to "<UNK>", for
    unknown: it stands for every token that nobody thought of.

    >>> build_vocabulary(["the", "car", "the"])
    {'the': 0, 'car': 1, '<UNK>': 2}
    """
    return {token: id for id, token in enumerate(dict.fromkeys([*tokens, UNKNOWN]))}


def tokens_to_ids(tokens: list[str], vocabulary: dict[str, int]) -> list[int]:
    """Replace each token by its id; a token that is not there becomes "<UNK>".

    >>> vocabulary = build_vocabulary(["car", "b", "123", "🌲"])
    >>> tokens_to_ids(["🌲", "car", "🌲"], vocabulary)
    [3, 0, 3]
    >>> tokens_to_ids(["car", "bus"], vocabulary)
    [0, 4]

    Raises ValueError if a token is missing and the vocabulary has no "<UNK>".
    """
    unknown = vocabulary.get(UNKNOWN)
    ids = [vocabulary.get(token, unknown) for token in tokens]
    if unknown is None and None in ids:
        missing = tokens[ids.index(None)]
        raise ValueError(f"the vocabulary has no token {missing!r}, and no {UNKNOWN} to stand for it")
    return ids


def ids_to_tokens(ids: list[int], vocabulary: dict[str, int]) -> list[str]:
    """Go from ids back to tokens: `tokens_to_ids` the other way round.

    >>> vocabulary = build_vocabulary(["car", "b", "123", "🌲"])
    >>> ids_to_tokens([3, 0, 3], vocabulary)
    ['🌲', 'car', '🌲']

    What was unknown stays unknown. Here the word "bus" is gone for good:

    >>> ids_to_tokens(tokens_to_ids(["car", "bus"], vocabulary), vocabulary)
    ['car', '<UNK>']

    Raises ValueError for an id that the vocabulary does not have.

    >>> ids_to_tokens([99], vocabulary)
    Traceback (most recent call last):
    ValueError: the vocabulary of 5 tokens has no id 99
    """
    token_of = {id: token for token, id in vocabulary.items()}
    try:
        return [token_of[id] for id in ids]
    except KeyError as error:
        raise ValueError(f"the vocabulary of {len(vocabulary)} tokens has no id {error.args[0]!r}") from None


# %% Tokens: some stories to learn from

def corpus_stories() -> tuple[list[str], list[str]]:
    """The stories of corpus.txt: those to learn from, and the last tenth, held out.

    What is held out is never learned from. So it can serve as a test later: the
    model has never seen it.

    >>> seen, held_out = corpus_stories()
    >>> len(seen), len(held_out)
    (150, 16)
    """
    stories = read_text(CORPUS).strip().split("\n\n")
    first_held_out = len(stories) - len(stories) // 10
    return stories[:first_held_out], stories[first_held_out:]


def read_text(path: Union[str, Path]) -> str:
    """Read a UTF-8 text file; "-" reads standard input.

    >>> read_text(CORPUS)[:41]
    'The sun rises in the east. First the hill'

    Raises OSError if it can't be opened, and ValueError if it is not UTF-8.
    """
    if path == "-":
        return decode_text(sys.stdin.buffer.read(), "standard input")
    return decode_text(Path(path).read_bytes(), str(path))


# %% Tokens: what the model learns about a token

def companions(token: str, tokens: list[str], count: int = 4) -> list[str]:
    """The tokens that come most often right after a token, the commonest first.

    The id itself says nothing: there is nothing of a car in the number 0. What a
    model learns about a token it learns from the company that the token keeps.
    Here is the company of two words in the stories of corpus.txt:

    >>> tokens = word_tokens(read_text(CORPUS))
    >>> companions(" fox", tokens)
    [' comes', ' and', ' jumps', ' lives']
    >>> companions(" sky", tokens)
    [' is', ' was', ' is".', ' blue?"']

    A letter keeps company too. What comes after a "b", as in "book" or "bird"?
    And after a "q"?

    >>> letters = letter_tokens(read_text(CORPUS))
    >>> companions("b", letters), companions("q", letters)
    (['o', 'e', 'r', 'a'], ['u'])

    The character "车" (car) is a part of longer words; these are in the stories:

    >>> pairs = {a + b for a, b in zip(letters, letters[1:]) if b == "车"}
    >>> sorted(pair for pair in pairs if pair[0].isalpha())
    ['停车', '汽车', '火车']
    """
    following = Counter(after for before, after in zip(tokens, tokens[1:]) if before == token)
    return [after for after, _ in following.most_common(count)]


# %% Which way of tokenizing is best?

def sentence_tokens(text: str) -> list[str]:
    """Cut a text after each sentence; the space goes with the sentence after it.

    >>> sentence_tokens('The cat is sleeping. Is it? "Yes!" The end')
    ['The cat is sleeping.', ' Is it?', ' "Yes!"', ' The end']
    >>> sentence_tokens("你好。我们正在学习人工智能")
    ['你好。', '我们正在学习人工智能']

    A full stop inside a number does not end a sentence, but the one in "Mr."
    does: to know better, one would have to understand the text.

    >>> sentence_tokens("Mr. Fox ate 2.5 apples.")
    ['Mr.', ' Fox ate 2.5 apples.']
    """
    ends = r"""(?:(?<=[.!?])|(?<=[.!?]["')”’]))(?=\s)|(?<=[。！？])"""
    return [token for token in re.split(ends, text) if token]


def word_tokens(text: str) -> list[str]:
    """Cut a text into words; a word keeps the one space before it.

    >>> word_tokens("The cat is sleeping")
    ['The', ' cat', ' is', ' sleeping']

    Because the spaces are in the tokens, the tokens join back to the text,
    whatever it is. All three tokenizers of this lesson keep that promise. The
    price: "The", "the" and " the" are three tokens, with three ids.

    >>> tokens = word_tokens("one  two\\n\\tthree ")
    >>> tokens
    ['one', ' ', ' two', '\\n', '\\t', 'three', ' ']
    >>> "".join(tokens)
    'one  two\\n\\tthree '
    """
    return re.findall(r" ?\S+|\s", text)


def letter_tokens(text: str) -> list[str]:
    """Cut a text into single characters: letters, spaces, signs, emoji.

    >>> letter_tokens("The 🌲")
    ['T', 'h', 'e', ' ', '🌲']
    """
    return list(text)


TOKENIZERS = {"sentences": sentence_tokens, "words": word_tokens, "letters": letter_tokens}


def show_tokens(tokens: list[str], color: Optional[bool] = None) -> str:
    """Make the borders between tokens visible, and the characters one can't see.

    On a terminal neighbours get different colours; elsewhere, or if the
    environment sets NO_COLOR, a bar stands between them. A space is shown as ·,
    a newline as ↵, a tab as →. Anything else that a terminal could obey instead
    of print is spelled out, so that no text can play tricks on it.

    >>> print(show_tokens(word_tokens("The cat is sleeping"), color=False))
    The|·cat|·is|·sleeping
    >>> print(show_tokens(["one\\n", "\\ttwo", "\\x1b[2J"], color=False))
    one↵|→two|\\x1b[2J
    """
    visible = [spell_out(token.translate({32: "·", 10: "↵", 9: "→"})) for token in tokens]
    if not (wants_color() if color is None else color):
        return "|".join(visible)
    palette = (153, 223, 157, 218, 229)     # light backgrounds, told apart at a glance
    return "".join(f"\033[30;48;5;{palette[place % len(palette)]}m{token}\033[0m"
                   for place, token in enumerate(visible))


# %% Computational Cost

def cost_table(text: str) -> str:
    """Count the tokens of a text under each of the three tokenizers.

    A model does the same work for every token, long or short. So the number of
    tokens is the price of a text: in computing time, in memory, and in money
    where tokens are sold. The slide's sentence costs 1x, 9x and 44x.

    >>> print(cost_table("The quick brown fox jumps over the lazy dog."))
               tokens  distinct  seen once  per 100 characters  cost
    sentences       1         1       100%                 2.3    1x  █
    words           9         9       100%                20.5    9x  ████
    letters        44        29        79%               100.0   44x  ████████████████████

    "Distinct" is the other side of the bill: the size of the vocabulary. At each
    step the model computes a probability for every entry of it. On the whole of
    corpus.txt, letters need many tokens and a tiny vocabulary. Words need a large
    one, for all of English it would be millions. Sentences need one without end:
    of 1157 sentences only 11 had come before.

    >>> print(cost_table(read_text(CORPUS)))
               tokens  distinct  seen once  per 100 characters   cost
    sentences    1157      1146        99%                 1.8     1x  █
    words       13733      2138        51%                21.2  11.9x  ████
    letters     64656        80        21%               100.0  55.9x  ████████████████████

    "Seen once" is the share of the vocabulary that came a single time. One
    meeting is too little to learn a meaning from, and half of the words, and
    nearly all of the sentences, were met just once.
    """
    cut = {name: tokenize(text) for name, tokenize in TOKENIZERS.items()}
    cheapest = max(1, len(cut["sentences"]))
    dearest = max(1, max(map(len, cut.values())))
    rows = [["", "tokens", "distinct", "seen once", "per 100 characters", "cost", ""]]
    for name, tokens in cut.items():
        counts = Counter(tokens)
        once = sum(count == 1 for count in counts.values()) / max(1, len(counts))
        rows.append([name, len(tokens), len(counts), f"{once:.0%}", f"{100 * len(tokens) / max(1, len(text)):.1f}",
                     f"{round(len(tokens) / cheapest, 1):g}x", bar(len(tokens) / dearest, 20)])
    return table(rows)


# %% But there are some issues with word and sentence tokens

def unknown_tokens(tokens: list[str], vocabulary: dict[str, int]) -> list[str]:
    """The tokens that a vocabulary lacks, each of which would become "<UNK>".

    Here is the vocabulary of nine tenths of the stories, and a story that it
    has never seen. Whatever it lacks, the model would not be able to read:

    >>> seen, held_out = corpus_stories()
    >>> words = build_vocabulary(word_tokens("\\n\\n".join(seen)))
    >>> unknown_tokens(word_tokens(held_out[1]), words)
    [' mountain', ' Planes', ' lost,', ' try.', ' rest.']

    For sentences it is worse; for letters there is nothing to report.

    >>> for name, tokenize in TOKENIZERS.items():
    ...     vocabulary = build_vocabulary(tokenize("\\n\\n".join(seen)))
    ...     tokens = tokenize("\\n\\n".join(held_out))
    ...     unknown = unknown_tokens(tokens, vocabulary)
    ...     print(f"{name:9} {len(unknown) / len(tokens):.0%}")
    sentences 100%
    words     10%
    letters   0%

    A word that was forgotten is a word that the model knows nothing of; and each
    form of a word has to be there on its own. Their ids are four numbers, and
    nothing in the numbers says that they belong together:

    >>> tokens_to_ids([" run", " runs", " ran", " running"], words)
    [415, 481, 156, 1489]

    A misspelled word is lost in the same way, although every reader would know
    what was meant. Letters carry it there and back.

    >>> ids_to_tokens(tokens_to_ids(["runned", " avocdo"], words), words)
    ['<UNK>', '<UNK>']
    >>> letters = build_vocabulary(letter_tokens("\\n\\n".join(seen)))
    >>> ids = tokens_to_ids(letter_tokens("runned avocdo"), letters)
    >>> "".join(ids_to_tokens(ids, letters))
    'runned avocdo'
    """
    return [token for token in tokens if token not in vocabulary]


# %% Introducing: Subword tokens!

def subword_tokens(text: str, subwords: list[str]) -> list[str]:
    """Cut a text into the longest pieces that are in a list, else into letters.

    With four pieces one can write six words, and the "ing" that is met in one
    of them helps to understand the others:

    >>> pieces = ["run", "play", "stay", "ing"]
    >>> for word in ("run", "play", "playing", "stay", "staying", "running"):
    ...     print(show_tokens(subword_tokens(word, pieces), color=False))
    run
    play
    play|ing
    stay
    stay|ing
    run|n|ing

    In the last line the slide makes a mistake: "running" has a second "n", and no
    piece in its list can spell that. So every letter has to be a token as well.
    With letters to fall back on, no word is unknown, and a misspelled one
    still shows the part that is right:

    >>> subword_tokens("runned", pieces)
    ['run', 'n', 'e', 'd']
    >>> "".join(subword_tokens("playing 🌲", pieces))
    'playing 🌲'
    """
    longest_first = sorted(filter(None, subwords), key=len, reverse=True)
    return re.findall("|".join([*map(re.escape, longest_first), "."]), text, re.DOTALL)


def subword_tradeoff(text: str, sizes: tuple = (0, 10, 100, 1000)) -> str:
    """Add the commonest words of a text as pieces; count the tokens it then takes.

    Each piece makes the vocabulary larger and the text shorter. The first ten
    save more than 1,000 tokens each, on average, and the last nine hundred 24:

    >>> print(subword_tradeoff(read_text(CORPUS)))
    pieces  vocabulary  tokens
         0          80   64656  ████████████████████████
        10          90   53385  ████████████████████
       100         180   39237  ███████████████
      1000        1080   18005  ███████

    Letters are at one end of this table and words at the other; subwords are
    everything between, and today nearly every model stands there, with 30,000 to
    260,000 tokens. Some day whole words or bare bytes may do better; it is being
    tried. Which pieces are the best ones? That is the question of lesson 2.
    """
    words = [word for word, _ in Counter(word_tokens(text)).most_common() if len(word) > 1]
    rows = [["pieces", "vocabulary", "tokens", ""]]
    for size in sizes:
        tokens = subword_tokens(text, words[:size])
        rows.append([str(size).rjust(6), str(len(set(words[:size]).union(text))), str(len(tokens)),
                     bar(len(tokens) / max(1, len(text)))])
    return table(rows)


# %% Qwen2.5 Tokenizer

QWEN_ENTRIES = {"sh": 927, "ual": 928, "Type": 929, "son": 930, "new": 931, "ern": 932,
                "Ġag": 933, "AR": 934, "];Ċ": 935}


def plain_token(entry: str) -> str:
    """Read an entry of a real vocabulary: Ġ stands for a space, Ċ for a newline.

    Qwen2.5 lists its tokens in a file, tokenizer.json. A space or a newline
    would be hard to see there, so both are moved 256 places up in the table of
    all characters, to where there are signs that one can print (lesson 2 has
    the rule for all the bytes).

    >>> chr(ord(" ") + 256), chr(ord("\\n") + 256)
    ('Ġ', 'Ċ')
    >>> list(QWEN_ENTRIES)
    ['sh', 'ual', 'Type', 'son', 'new', 'ern', 'Ġag', 'AR', '];Ċ']
    >>> [plain_token(entry) for entry in QWEN_ENTRIES]
    ['sh', 'ual', 'Type', 'son', 'new', 'ern', ' ag', 'AR', '];\\n']

    So id 933 is " ag" with its space, and not the "Gag" that one copy of the
    slides prints: there the dot over the Ġ got lost and it became a G. How did it
    become a token? Many words begin with it, and it got there by being counted.
    In corpus.txt these do:

    >>> words = word_tokens(read_text(CORPUS))
    >>> sorted({word.strip(' ,."') for word in words if word.startswith(" ag")})
    ['again', 'against', 'ago', 'agree']

    The ids go from 0 to 151664. As they begin with 0, that makes 151,665 tokens,
    one more than the slide says, 22 of them added by hand.

    >>> ids = range(0, 151664 + 1)
    >>> max(ids), len(ids), len(ids) - 22
    (151664, 151665, 151643)

    Nobody sat down and chose the other 151,643. All but 256 were found by counting,
    with a program that is short enough to write: that is lesson 2.
    """
    return entry.replace("Ġ", " ").replace("Ċ", "\n")


# %% Your turn
#
# Each exercise is a function that looks at an answer: "" is a yes, all else a hint.

def exercise_1(answer: list[str]) -> str:
    """A warm-up. Which tokens does `word_tokens` make of a text with two spaces in a row?

    >>> len("Is it red?  Yes.")
    16

    Think first, then write the tokens that you expect into a file of your own,
    say answers_1.py, as a line like this:

        answer_1 = ["Is", " it"]

    Keep the file beside the lesson, and have it checked there, all five exercises
    at once, as often as you like. You get a yes or a hint.

        python3 lesson_1_tokens.py --check answers_1.py

    For an answer that uses the lesson, the file has to begin with

        from lesson_1_tokens import *

    >>> exercise_1(["Is", " it"])
    'These tokens do not join back to the text.'
    """
    text = "Is it red?  Yes."
    if "".join(answer) != text:
        return "These tokens do not join back to the text."
    return "" if answer == word_tokens(text) else "A word keeps one space before it. What becomes of the other?"


def exercise_2(answer: list[int]) -> str:
    """Predict: which ids do the letters of "bandana" get, if "banana" made the vocabulary?

    That is, build_vocabulary(letter_tokens("banana")), and then `tokens_to_ids`.
    Write them as a list of seven ids, before you let Python do it.

    >>> exercise_2([0, 1, 2, 2, 1, 2, 1])
    'There is no "d" in "banana". Which id stands for all that is unknown?'
    """
    vocabulary = build_vocabulary(letter_tokens("banana"))
    right = tokens_to_ids(letter_tokens("bandana"), vocabulary)
    if answer == right:
        return ""
    if len(answer) == 7 and [*answer[:3], *answer[4:]] == [*right[:3], *right[4:]]:
        return 'There is no "d" in "banana". Which id stands for all that is unknown?'
    return "Ids are given by first appearance, from 0; a letter that comes again has its id already."


def exercise_3(answer: list[str]) -> str:
    """Use the lesson: which four words come most often after " the", and which after " a"?

    In corpus.txt, with `word_tokens` and `companions`. A list of eight words.

    >>> exercise_3(["the", "dog"])
    'Eight words are asked for, and yours are 2.'
    """
    words = word_tokens(read_text(CORPUS))
    if len(answer) != 8:
        return f"Eight words are asked for, and yours are {len(answer)}."
    right = [*companions(" the", words), *companions(" a", words)]
    return "" if answer == right else "A token keeps the space before it, also one that you ask `companions` about."


def exercise_4(answer: Callable[[list[str], dict[str, int]], float]) -> str:
    """Write a function: how large a part of some tokens would become "<UNK>"?

    `answer_4(tokens, vocabulary)` returns a number from 0 to 1. A token that comes
    twice counts twice. For no tokens it is 0.

    >>> exercise_4(lambda tokens, vocabulary: 0.5)
    "For ['car', 'bus', 'bus', 'tram'] and {'car': 0, '<UNK>': 1} it gave 0.5; 0.75 is right."
    """
    vocabulary = build_vocabulary(["car"])
    for tokens in (["car", "bus", "bus", "tram"], ["car"], ["bus"], [], ["car", "car", "van"]):
        share, given = len(unknown_tokens(tokens, vocabulary)) / max(1, len(tokens)), answer(tokens, vocabulary)
        if not abs(given - share) < 1e-9:
            return f"For {tokens} and {vocabulary} it gave {given}; {share} is right."
    return ""


def exercise_5(answer: Callable[[str], list[str]]) -> str:
    """For an evening: write a tokenizer that beats `word_tokens`.

    Four in ten of the words in its vocabulary are there because of a comma, a
    full stop or another sign. `answer_5(text)` cuts any text into tokens that
    join back to it. On corpus.txt it may use up to 17,000 tokens, and at most
    1,400 different ones; and no token may hold two words.

    >>> exercise_5(word_tokens)
    'It makes 13733 tokens, 2138 of them different, and that is too many.'
    """
    for text in ("", " ", "One  two, three.\n", "\t«Größe» 3.14", "车，🌲\x00_a1"):
        if "".join(answer(text)) != text:
            return f"The tokens of {text!r} don't join back to it."
    tokens = answer(read_text(CORPUS))
    if "".join(tokens) != read_text(CORPUS):
        return "The tokens of corpus.txt don't join back to it."
    if any(len(token.split()) > 1 for token in tokens):
        return "There are two words in one token."
    fits = len(tokens) <= 17_000 and len(set(tokens)) <= 1400
    return "" if fits else f"It makes {len(tokens)} tokens, {len(set(tokens))} of them different, and that is too many."


# %% The stage
#
# What follows plays a lesson, checks answers and draws. It is not a part of the
# play; the other three lessons use it as well.

def play(module: ModuleType, step: bool = False) -> int:
    """Play a lesson: print its docstrings in order, and run their examples.

    The same words are read in the source, checked by `pytest --doctest-modules`
    and played here, so they can't drift apart. Where an example gives another
    result than its docstring says, both are shown. Returns how many were wrong.
    With `step` it waits for Enter before each new section. The stage is left out.

    >>> play(ModuleType("tiny", "A short lesson."))      # doctest: +ELLIPSIS
    A short lesson.
    ...
    0
    """
    ran = wrong = 0
    last_section = ""
    for section, heading, docstring in _parts(module):
        if section != last_section and step:
            with contextlib.suppress(EOFError):
                input("[Enter] ")
        if section != last_section:
            _say(f"── {section} ".ljust(_room(), "─") + "\n\n", "1;36")
            last_section = section
        _say(heading, "1")
        names = dict(vars(module))
        for piece in doctest.DocTestParser().parse(docstring):
            if isinstance(piece, doctest.Example):
                ran += 1
                wrong += not _play_example(piece, names)
            else:
                _say_prose(piece)
        print()
    _say(f"{wrong} of {ran} examples went wrong." if wrong else
         f"All {ran} examples gave what the lesson says.", "1;31" if wrong else "1;32")
    return wrong


def _parts(module: ModuleType) -> Iterator[tuple[str, str, str]]:
    """Yield section, heading and docstring of a module and of all that is public in it."""
    path = getattr(module, "__file__", None)
    source = Path(path).read_text(encoding="utf-8") if path else repr(module.__doc__)
    tree, lines = ast.parse(source), source.splitlines()
    yield "", "", (ast.get_docstring(tree) or "") + "\n"
    for node in sorted(ast.walk(tree), key=lambda node: getattr(node, "lineno", 0)):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
            titles = [line[4:].strip() for line in lines[:node.lineno] if line.startswith("# %%")]
            if titles[-1:] == ["The stage"]:
                return
            for argument in ast.walk(node):     # the types stand in the source; here the names are enough
                if isinstance(argument, ast.arg):
                    argument.annotation = None
            signature = ""
            if isinstance(node, ast.FunctionDef):
                signature = "(" + re.sub("^(self|cls)(, )?", "", ast.unparse(node.args)) + ")"
            if ast.get_docstring(node):
                yield titles[-1] if titles else "", node.name + signature, ast.get_docstring(node) + "\n"


def _play_example(example: doctest.Example, names: dict) -> bool:
    """Show an example, run it and show what it gave: is that what the docstring says?"""
    source = re.sub(" *# doctest:.*", "", example.source)
    _say(">>> " + source.rstrip().replace("\n", "\n... "), "32")
    printed, error_line = io.StringIO(), None
    display, sys.displayhook = sys.displayhook, sys.__displayhook__     # a notebook has its own
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile(example.source, "<example>", "single"), names)
        except Exception as error:
            error_line = "".join(traceback.format_exception_only(type(error), error))
        finally:
            sys.displayhook = display
    got = error_line or printed.getvalue()
    expected = example.exc_msg or example.want
    right = (bool(error_line) == bool(example.exc_msg)
             and doctest.OutputChecker().check_output(expected, got, sum(example.options)))
    _say(got, "33")
    if not right:
        _say("but the lesson says:\n" + expected, "1;31")
    return right


def _say_prose(text: str) -> None:
    """Print paragraphs, filled to the window; one with indented lines is a drawing and stays."""
    for paragraph in re.findall(r"(?:.+\n)+|\n", text):
        is_drawing = re.search("^ ", paragraph, re.MULTILINE)
        _say(paragraph if paragraph == "\n" or is_drawing else " ".join(paragraph.split()))


def _room() -> int:
    return max(20, min(shutil.get_terminal_size().columns, 100) - 1)


def _say(text: str, style: str = "") -> None:
    """Print text, never wider than the window; `style` is a terminal's number for bold, green and so on."""
    for line in text.splitlines():
        # For the wrapping, a character that takes two columns counts as two.
        wide = "".join(character + "\0" * (display_width(character) - 1) for character in line)
        for piece in textwrap.wrap(wide, _room()) or [""]:
            piece = piece.replace("\0", "")
            print(f"\033[{style}m{piece}\033[0m" if style and wants_color() else piece)


def spell_out(text: str) -> str:
    """Spell out whatever a terminal would obey instead of print, but for newlines.

    >>> print(spell_out("red? \\x1b[31m"))
    red? \\x1b[31m
    """
    return "".join(character if character.isprintable() or character == "\n" else repr(character)[1:-1]
                   for character in text)


def display_width(text: str) -> int:
    """The columns that a text takes on a terminal: Chinese and emoji take two each.

    >>> display_width("car"), display_width("车"), display_width("🌲")
    (3, 2, 2)
    """
    return sum(1 + (unicodedata.east_asian_width(character) in "WF") for character in text)


def bar(share: float, width: int = 24) -> str:
    """Draw a share between 0 and 1; whatever is more than nothing can be seen.

    >>> bar(0.5, width=10), bar(0.001, width=10), bar(0, width=10)
    ('█████', '█', '')
    """
    return "█" * max(int(share * width + 0.5), share > 0)


def table(rows: list[list]) -> str:
    """Line up rows of cells: the first and the last column to the left, numbers to the right.

    >>> print(table([["", "tokens", ""], ["a cat", 12, bar(1, width=5)]]))
           tokens
    a cat      12  █████
    """
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(display_width, column)) for column in zip(*rows)]
    lines = []
    for first, *middle, last in rows:
        cells = [first + " " * (widths[0] - display_width(first))]
        cells += [cell.rjust(width) for cell, width in zip(middle, widths[1:])]
        lines.append("  ".join([*cells, last]).rstrip())
    return "\n".join(lines)


def wants_color() -> bool:
    """Colour is for terminals, unless the environment variable NO_COLOR is set.

    >>> wants_color()       # what an example prints goes to no terminal
    False
    """
    is_terminal = isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.isatty()
    return is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def decode_text(data: Union[bytes, str], name: str) -> str:
    """Decode UTF-8, from bytes, or from what Python makes of them in a locale without UTF-8.

    >>> decode_text(b"\\xe8\\xbd\\xa6", "a file"), decode_text("\\udce8\\udcbd\\udca6", "a text")
    ('车', '车')

    Raises ValueError, with the name, if it is not UTF-8.
    """
    try:
        data = data if isinstance(data, bytes) else data.encode("utf-8", "surrogateescape")
        return data.decode("utf-8")
    except UnicodeError as error:
        raise ValueError(f"{name} is not UTF-8: something else is at position {error.start}; "
                         "write it as UTF-8 and try again") from None


def read_number(text: str, kind: type, name: str) -> Union[int, float]:
    """Read what the user gave for a setting: an `int` or a `float`.

    >>> read_number("1e3", int, "--vocab-size")
    Traceback (most recent call last):
    ValueError: --vocab-size takes a whole number, not '1e3'
    """
    try:
        return kind(text)
    except ValueError:
        what = "whole number" if kind is int else "number"
        raise ValueError(f"{name} takes a {what}, not {text[:40]!r}") from None


def check_answers(lesson: ModuleType, path: Union[str, Path]) -> int:
    """Check a learner's file against the exercises of a lesson: a yes or a hint for each.

    The file is Python. It gives `answer_1` a value, or defines a function of that
    name where the exercise asks for one. Returns how many answers are not right
    yet.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "answers.py")
    ...     _ = path.write_bytes(b"answer_2 = [0, 1, 2, 3, 1, 2, 1]")
    ...     check_answers(ModuleType("lesson"), path)
    0
    """
    decode_text(Path(path).read_bytes(), str(path))
    try:
        answers, wrong = runpy.run_path(str(path)), 0
    except (Exception, SystemExit) as error:
        raise ValueError(f"{path} stops with {_describe(error, path)}") from None
    exercises = {name: exercise for name, exercise in vars(lesson).items() if name.startswith("exercise_")}
    for name, exercise in sorted(exercises.items()):
        answer = name.replace("exercise", "answer")
        try:
            hint = exercise(answers[answer]) if answer in answers else f"There is no {answer} yet."
        except (Exception, SystemExit) as error:
            hint = f"It stopped with {_describe(error, path)}."
        wrong += hint != ""
        _say(f"{name.replace('_', ' ')}: {hint or 'Yes!'}", "33" if hint else "1;32")
    return wrong


def _describe(error: BaseException, path: Union[str, Path]) -> str:
    """An error in a learner's file, in one line: what it is, and where in the file."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    lines += [getattr(error, "lineno", None)]
    where = next((f" in line {line}" for line in reversed(lines) if line), "")
    hint = " (is an import missing?)" if isinstance(error, NameError) else ""
    return f"{type(error).__name__}{where}: {getattr(error, 'msg', error)}{hint}"


def lesson_parser(title: str, text_help: str, options: dict[str, str], examples: list[str]) -> argparse.ArgumentParser:
    """The command line that the lessons share: nothing to play it, or a text of the learner's.

    `options` are the lines of --help about what a lesson has of its own, and
    `examples` are what stands behind its name. With them --help has ten lines.

    >>> print(lesson_parser("Lesson 9.", "to be read", {}, []).format_help(), end="")   # doctest: +ELLIPSIS
    usage: ... [options] [text]
    Lesson 9. Without a text or an option it plays the lesson.
      text          to be read; - is standard input
      --step        play, and wait for Enter before each section
      --check FILE  check your answers to the exercises
    """
    parser = argparse.ArgumentParser(usage="%(prog)s [options] [text]", allow_abbrev=False)
    parser.add_argument("text", nargs="?")
    rows = {"text": f"{text_help}; - is standard input", "--step": "play, and wait for Enter before each section",
            "--check FILE": "check your answers to the exercises", **options}
    for name, value in re.findall(r"(--[a-z-]+)(?: ([A-Z]+))?", str(rows)):     # what the help names, there is
        parser.add_argument(name, **({"metavar": value} if value else {"action": "store_true"}))
    width = max(map(len, rows))
    lines = [parser.format_usage().strip(), f"{title} Without a text or an option it plays the lesson.",
             *(f"  {option.ljust(width)}  {what}" for option, what in rows.items()),
             *(f"for example: python3 {parser.prog} {example}" for example in examples)]
    parser.format_help = lambda: "\n".join(lines) + "\n"
    return parser


def run_lesson(parser: argparse.ArgumentParser, show: Callable[[argparse.Namespace], None]) -> None:
    """Run a lesson from the command line and exit: 0, or 1 for an example or an answer gone wrong.

    What the user can mend ends in one sentence and exit status 2, Ctrl-C in 130
    and a closed pipe, as in `| head`, in 141. A character that the terminal
    has no way to show is replaced, and never an error. `show` does what is asked
    for beside playing and checking. In a notebook there is nothing to run.

    >>> def show(options):
    ...     raise ValueError("the text is too short")
    >>> before, sys.argv = sys.argv, ["lesson_9.py", "The cat"]
    >>> run_lesson(lesson_parser("Lesson 9.", "to be read", {}, []), show)
    Traceback (most recent call last):
    SystemExit: 2
    >>> sys.argv = before
    """
    here = getattr(sys.modules["__main__"], "__file__", "")
    if hasattr(sys, "ps1") and Path(here).name != Path(sys.argv[0]).name:
        return
    _prepare_streams()
    try:
        status = _obey(parser, show)
        print(end="", flush=True)
    except BrokenPipeError:
        status = 141
    except KeyboardInterrupt:
        status = 130
    except SystemExit as end:       # --help, or an option that there isn't
        status = end.code
    except (ValueError, OSError) as error:
        is_file = isinstance(error, OSError) and error.filename
        sentence = f"{error.filename}: {error.strerror}" if is_file else str(error)
        print(spell_out(f"{Path(sys.argv[0]).name}: error: {sentence}"), file=sys.stderr)
        status = 2
    try:
        print(end="", flush=True)
    except OSError:     # nobody reads it: what is left goes nowhere, and Python need not complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def _prepare_streams() -> None:
    codecs.register_error("lesson", _replace_characters)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:      # it was closed before we began
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))
        if mode == "w" and isinstance(getattr(sys, name), io.TextIOWrapper):     # IDLE has streams of its own
            getattr(sys, name).reconfigure(errors="lesson")


def _obey(parser: argparse.ArgumentParser, show: Callable[[argparse.Namespace], None]) -> int:
    options = parser.parse_args()
    lesson = sys.modules["__main__"]
    if options.check is not None:
        return int(check_answers(lesson, options.check) > 0)
    if {**vars(options), "step": False} == vars(parser.parse_args([])):
        return int(play(lesson, options.step) > 0)
    if options.text is not None:
        options.text = read_text("-") if options.text == "-" else decode_text(options.text, "the text")
    show(options)
    return 0


def _replace_characters(error: UnicodeEncodeError) -> tuple[str, int]:
    """A codec error handler: draw with ASCII; what can't be drawn becomes a question mark."""
    simple = dict(zip("█─·↵→│…–’", "#-_/>|~-'"))
    return "".join(simple.get(character, "?") for character in error.object[error.start:error.end]), error.end


# %% On the command line

def _show(options: argparse.Namespace) -> None:
    """The tokens of a text under each of the three tokenizers, and what they cost."""
    for name, tokenize in TOKENIZERS.items():
        print(f"{name}\n{show_tokens(tokenize(options.text))}\n")
    print(cost_table(options.text))


if __name__ == "__main__":
    run_lesson(lesson_parser("Lesson 1: how text becomes tokens.", "seen under the three tokenizers", {},
                             ['"The cat is sleeping."', "--step"]), _show)
