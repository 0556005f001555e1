"""Lesson 1: tokens. How text becomes numbers, and what gets lost on the way.

Ask a chatbot how many r's there are in "strawberry", or to write "lollipop" backwards.
Models that had passed law exams failed at both. Then look at the bill: the same sentence
can cost five times as much in Greek as in English. Why?

A large language model (LLM) never sees a letter. Your text is cut into tokens, which are
pieces from a fixed list, the vocabulary, and each piece is replaced with its number in
that list, its id. The ids are all that the model is given. This is what Qwen2.5 reads:

    How   many    r   are   there   in   strawberry   ?
    4340  1657   435  525   1052    304  72600        30

So how many r's are there in 72600? And what is 72600 backwards? As for the bill, you pay
by the token, and the first sentence of the Universal Declaration of Human Rights takes
Qwen2.5 13 tokens in English, but 71 in Greek. By the end of lesson 2 you will have written
the program that makes such numbers, and you will know why it makes these.

We begin with something simpler: words. What comes after `>>>` is Python, with its result
below. (To try things yourself: python3 -i -c "from lesson_1_tokens import *")

>>> tokens = word_tokens("The cat is sleeping")
>>> tokens
['The', ' cat', ' is', ' sleeping']
>>> tokens_to_ids(tokens, build_vocabulary(tokens))
[0, 1, 2, 3]
"""

import os
import re
import sys
from collections import Counter
from typing import Callable

sys.path.append(os.path.dirname(sys.argv[0]))

from stage import HERE, bar, play, read_text, run_lesson, show_ids, show_tokens, table


# %% Tokens: anything can be added as a token

UNKNOWN = "<UNK>"


def build_vocabulary(tokens: list[str]) -> dict[str, int]:
    """Give every distinct token an id: 0, 1, 2 and so on, in order of first appearance.

    >>> build_vocabulary(["the", "car", "the"])
    {'the': 0, 'car': 1, '<UNK>': 2}

    The last id is for "<UNK>", the unknown: all that nobody thought of. (It has its id already
    if it is one of the tokens.) And a token can be anything: a word, a letter, a number, an
    emoji, a Chinese character, a whole sentence, any odd string.

    >>> kinds = ["car", "b", "123", "🌲", "车", "The sun rises in the east.",
    ...          "我们正在学习人工智能", "a1停车b2爱c3!@#"]
    >>> vocabulary = build_vocabulary(kinds)
    >>> vocabulary["car"], vocabulary["车"], vocabulary["a1停车b2爱c3!@#"]
    (0, 4, 7)
    """
    vocabulary = {}
    for token in [*tokens, UNKNOWN]:
        if token not in vocabulary:
            vocabulary[token] = len(vocabulary)
    return vocabulary


def tokens_to_ids(tokens: list[str], vocabulary: dict[str, int]) -> list[int]:
    """Replace each token with its id. A token that has none becomes "<UNK>".

    >>> tokens_to_ids(["🌲", "car", "bus"], build_vocabulary(["car", "b", "123", "🌲"]))
    [3, 0, 4]

    Raises ValueError if a token is missing and the vocabulary has no "<UNK>" either.
    """
    ids = [vocabulary.get(token, vocabulary.get(UNKNOWN)) for token in tokens]
    if None in ids:
        raise ValueError(f"no id for {tokens[ids.index(None)]!r}, and none for {UNKNOWN}")
    return ids


def ids_to_tokens(ids: list[int], vocabulary: dict[str, int]) -> list[str]:
    """Go back from ids to tokens. What was unknown stays unknown: "bus" is gone for good.

    >>> ids_to_tokens([3, 0, 4], build_vocabulary(["car", "b", "123", "🌲"]))
    ['🌲', 'car', '<UNK>']

    Raises ValueError for an id that the vocabulary does not have.
    """
    token_of = {id: token for token, id in vocabulary.items()}
    for id in ids:
        if id not in token_of:
            raise ValueError(f"the vocabulary has no id {id!r}")
    return [token_of[id] for id in ids]


# %% Tokens: what the model learns about a token
# An id says nothing about its token: there is nothing of a car in the number 0. What a
# model learns about a token, it learns from the company that the token keeps. To look at
# some company we need text. corpus.txt has 166 short stories, written for this course.

CORPUS = HERE / "corpus.txt"


def companions(tokens: list[str], token: str, count: int = 4) -> list[tuple[str, int]]:
    """The tokens that come most often right after a token, and how often they do.

    >>> words = word_tokens(read_text(CORPUS))
    >>> companions(words, " sky")
    [(' is', 32), (' was', 8), (' is".', 1), (' blue?"', 1)]

    Now compare " is" with " was". Even if you could not read, the company they keep would
    tell you that the two do the same work:

    >>> companions(words, " is")
    [(' a', 36), (' the', 22), (' not', 13), (' in', 7)]
    >>> companions(words, " was")
    [(' a', 33), (' the', 12), (' so', 6), (' in', 4)]

    Letters keep company too, and so do Chinese characters. A train is a 火车, a "fire car":

    >>> letters = letter_tokens(read_text(CORPUS))
    >>> [companions(letters, letter, 2) for letter in ("b", "q", "火")]
    [[('o', 232), ('e', 153)], [('u', 14)], [('车', 3)]]
    """
    pairs = zip(tokens, tokens[1:])
    following = Counter(after for before, after in pairs if before == token)
    return following.most_common(count)


# %% Which way of tokenizing is best?
# Here are three ways to cut a text. None of them loses anything: put the tokens together
# again, and you have the text.

def sentence_tokens(text: str) -> list[str]:
    """Cut a text after each sentence. The space goes with the sentence after it.

    >>> sentence_tokens('Mr. Fox ate 2.5 apples. "Yes!" 你好。我们正在学习人工智能')
    ['Mr.', ' Fox ate 2.5 apples.', ' "Yes!"', ' 你好。', '我们正在学习人工智能']

    The full stop in "2.5" ends no sentence, but the one in "Mr." does. To know better, you
    would have to understand the text.
    """
    # (?<=...) looks at what is before a place in the text, (?=...) at what is after it
    after_mark = r"(?<=[.!?])(?=\s)"
    after_quote = r"""(?<=[.!?]["')”’])(?=\s)"""
    after_chinese_mark = r"(?<=[。！？])"
    ends = "|".join([after_mark, after_quote, after_chinese_mark])
    return [token for token in re.split(ends, text) if token]


def word_tokens(text: str) -> list[str]:
    """Cut a text into words. A word keeps the one space before it.

    >>> word_tokens("one  two\\n\\tthree ")
    ['one', ' ', ' two', '\\n', '\\t', 'three', ' ']

    Why before the word, and not after it? A model writes from left to right. When it comes
    to a word, it knows what stands before it, and so whether a space belongs there. What
    will come after the word, it does not know yet. With spaces after words it would have to
    choose between "sky " and "sky" on the spot: will another word follow, or a full stop?
    And all that it learns about the sky would be shared out between two tokens. Count them
    in the stories (signs cut off), with the space before the word and then after it:

    >>> text = read_text(CORPUS)
    >>> before, after = re.findall(r" ?\\w+", text), re.findall(r"\\w+ ?", text)
    >>> before.count(" sky"), before.count("sky")
    (66, 2)
    >>> after.count("sky "), after.count("sky")
    (52, 16)

    So do not end a prompt with a space. The model brings it along, in " blue".
    """
    return re.findall(r" ?\S+|\s", text)


def letter_tokens(text: str) -> list[str]:
    """Cut a text into single characters: letters, spaces, signs, emoji.

    >>> letter_tokens("The 🌲")
    ['T', 'h', 'e', ' ', '🌲']
    """
    return list(text)


CUTTERS = {"sentences": sentence_tokens, "words": word_tokens, "letters": letter_tokens}


# %% Computational Cost
# A model does about the same work for every token, long or short. So the number of tokens
# is the price of a text: in time, in memory, and in money where tokens are sold.

def cost_table(text: str) -> str:
    """Count the tokens of a text, cut in each of the three ways.

    >>> text = "The quick brown fox jumps over the lazy dog."
    >>> [len(cut(text)) for cut in CUTTERS.values()]
    [1, 9, 44]

    For all the stories it looks like this:

    >>> print(cost_table(read_text(CORPUS)))
               tokens  distinct  seen once  per 100 letters   cost
    sentences    1157      1146        99%              1.8     1x  ▍
    words       13733      2138        51%             21.2  11.9x  ████▎
    letters     64656        80        21%            100.0  55.9x  ████████████████████

    "Distinct" is the size of the vocabulary, and it has a price, too: for each token that a
    model writes, it computes a probability for every entry. Letters get by with 80. Words
    need 2,138, and for all of English it would be millions. Sentences have no end: nearly
    every one is new. "Seen once" are the entries that occur a single time, which is too
    little to learn a meaning from. Half of the words are among them.
    """
    sentences = max(1, len(sentence_tokens(text)))
    rows = [["", "tokens", "distinct", "seen once", "per 100 letters", "cost", ""]]
    for name, cut in CUTTERS.items():
        tokens = cut(text)
        counts = Counter(tokens)
        once = list(counts.values()).count(1) / max(1, len(counts))
        rate = len(tokens) / max(1, len(text))
        rows.append([name, len(tokens), len(counts), f"{once:.0%}", f"{100 * rate:.1f}",
                     f"{round(len(tokens) / sentences, 1):g}x", bar(rate, 20)])
    return table(rows)


# %% But there are some issues with word and sentence tokens
# A vocabulary is made once, from the texts that there are. Then people type what they like.
# To see what happens then, we hide a tenth of the stories while we make the vocabulary.

def split_stories(text: str) -> tuple[list[str], list[str]]:
    """Part a text into stories at its empty lines, and hold out the last tenth of them.

    What is held out is never learned from, so that it makes an honest test in all lessons.

    >>> seen, held_out = split_stories("\\n\\n".join("abcdefghijklmnopqrst"))
    >>> len(seen), held_out
    (18, ['s', 't'])

    Raises ValueError if there are fewer than ten stories.
    """
    stories = re.split(r"\n\s*\n", text.strip())
    if len(stories) < 10:       # then every line is a story
        stories = [line for line in text.splitlines() if line.strip()]
    if len(stories) < 10:
        raise ValueError(f"it takes ten stories or more, and here are {len(stories)}: "
                         "put an empty line between any two")
    tenth = len(stories) // 10
    return stories[:-tenth], stories[-tenth:]


def corpus_stories() -> tuple[list[str], list[str]]:
    """The stories of corpus.txt: 150 to learn from, and 16 held out."""
    return split_stories(read_text(CORPUS))


def unknown_tokens(tokens: list[str], vocabulary: dict[str, int]) -> list[str]:
    """The tokens that a vocabulary lacks. Each of them would become "<UNK>".

    The words of the 150 stories make a vocabulary. This is what it lacks for a held-out story
    about a cloud: words that the model could not read.

    >>> seen, held_out = ("\\n\\n".join(stories) for stories in corpus_stories())
    >>> words = build_vocabulary(word_tokens(seen))
    >>> unknown_tokens(word_tokens(corpus_stories()[1][1]), words)
    [' mountain', ' Planes', ' lost,', ' try.', ' rest.']

    Over all 16 stories, it is one word in ten. It is every sentence, but not one letter:

    >>> for name, cut in CUTTERS.items():
    ...     unknown = unknown_tokens(cut(held_out), build_vocabulary(cut(seen)))
    ...     print(f"{name:9} {len(unknown) / len(cut(held_out)):.0%}")
    sentences 100%
    words     10%
    letters   0%

    A misspelled word is lost, though any reader would know what was meant. And each form of a
    word is an entry of its own. Nothing in these four ids says that they belong together:

    >>> tokens_to_ids([" run", " runs", " ran", " running"], words)
    [415, 481, 156, 1489]
    >>> unknown_tokens(["runned", " avocdo"], words)
    ['runned', ' avocdo']
    """
    return [token for token in tokens if token not in vocabulary]


# %% Introducing: Subword tokens!
# Words are cheap but break easily. Letters never break, but cost five times as much. To get
# the best of both, take pieces that are longer than a letter and often shorter than a word.

def subword_tokens(text: str, subwords: list[str]) -> list[str]:
    """Cut a text into the longest pieces that are in a list, else into letters.

    The pieces run, play, stay and ing write run, play, playing, stay and staying, and what a
    model learns about the "ing" of one word helps it with all the others.

    >>> pieces = ["run", "play", "stay", "ing"]
    >>> for word in ("playing", "running", "runned"):
    ...     print(show_tokens(subword_tokens(word, pieces), color=False))
    play|ing
    run|n|ing
    run|n|e|d

    No piece can write the second "n" of "running". So every letter is a token as well. Then no
    word is unknown, and even a misspelled one shows the part that is right.
    """
    pieces, longest = set(subwords), max([1, *map(len, subwords)])
    tokens, start = [], 0
    while start < len(text):
        end = start + longest
        while end > start + 1 and text[start:end] not in pieces:
            end -= 1
        tokens.append(text[start:end])
        start = end
    return tokens


def commonest_words(text: str) -> list[str]:
    """The distinct words of a text, the commonest first. They make good pieces to begin with.

    Cut a sentence with the first thousand of the stories, then cut it in German and Chinese:

    >>> pieces = commonest_words(read_text(CORPUS))[:1000]
    >>> for text in ("The sky is blue.", "Der Himmel ist blau.", "天空是蓝的。"):
    ...     print(show_tokens(subword_tokens(text, pieces), color=False))
    The|·sky|·is|·blue.
    D|e|r|·|H|i|m|m|e|l|·is|t|·|b|l|a|u|.
    天|空|是|蓝|的|。

    So Greek is dear because it was counted less: what is common gets the long pieces.
    """
    counts = Counter(word_tokens(text)).most_common()
    return [word for word, count in counts if len(word) > 1]


def subword_tradeoff(text: str) -> str:
    """Add the commonest words of a text as pieces, and count the tokens it then takes.

    Each piece makes the vocabulary larger and the text shorter.

    >>> print(subword_tradeoff(read_text(CORPUS)))
    pieces  vocabulary  tokens
         0          80   64656  ████████████████████████
        10          90   53385  ███████████████████▉
       100         180   39237  ██████████████▋
      1000        1080   18005  ██████▋
      2134        2214   13733  █████▏

    The first ten pieces save over 1,000 tokens each, the last 1,134 only four each. The first
    line is letters, the last is words, and subwords are all that lies between. Nearly every
    model of today is there, with 30,000 to 260,000 tokens. Some day whole words, or no pieces
    at all, may do better. People are trying.
    """
    words, length = commonest_words(text), max(1, len(text))
    rows = [["pieces", "vocabulary", "tokens", ""]]
    for size in (0, 10, 100, 1000, len(words)):
        pieces = words[:size]
        count = len(subword_tokens(text, pieces))
        vocabulary = {*text, *pieces}
        rows.append([f"{len(pieces):6}", len(vocabulary), count, bar(count / length)])
    return table(rows)


# %% Qwen2.5 Tokenizer
# Qwen2.5's vocabulary is public: a file called tokenizer.json. Here is a bit of it.

QWEN_ENTRIES = {"sh": 927, "ual": 928, "Type": 929, "son": 930, "new": 931, "ern": 932,
                "Ġag": 933, "AR": 934, "];Ċ": 935}


def plain_token(entry: str) -> str:
    """Read an entry of a real vocabulary: Ġ stands for a space, Ċ for a newline.

    In a list, spaces and newlines would be hard to see. So they are written as characters that
    you can see, the ones 256 places further on in Unicode's table of all characters.

    >>> chr(ord(" ") + 256), chr(ord("\\n") + 256)
    ('Ġ', 'Ċ')
    >>> [plain_token(entry) for entry in QWEN_ENTRIES]
    ['sh', 'ual', 'Type', 'son', 'new', 'ern', ' ag', 'AR', '];\\n']

    So 933 is " ag", as in " again", and not the "Gag" that it seems where the dot over the Ġ
    got lost. The ids run from 0 to 151664. They begin with 0, so that is one token more:

    >>> len(range(0, 151664 + 1))
    151665

    People chose 22 of them, such as the one that says that a text has ended. 256 are the
    single bytes in which all text is stored. The other 151,387 were found by counting.
    """
    return entry.replace("Ġ", " ").replace("Ċ", "\n")


# %% Next: coding our own tokenizer
# Back to the first page. How many r's are there in 72600? The number does not say, nor how
# the token reads backwards. A model can only learn that by heart, token by token, from texts
# that happen to spell it out.
#
# What is missing is how to find good pieces. Common words are only a beginning: lesson 2 finds
# the pieces inside words, such as "ing". It writes a real tokenizer, trains it on the stories,
# and opens Qwen2.5's own file, so that you can check the numbers of the first page. Start it:
#
#     python3 lesson_2_coding_tokenizer.py --step


# %% Your turn
# Write your answers into a file beside the lesson, say answers_1.py, with these lines on top:
#
#     from lesson_1_tokens import *
#     answer_1 = ["Is", " it"]
#
# Each gets a yes or a hint, as often as you like: python3 lesson_1_tokens.py --check answers_1.py

def exercise_1(answer: list[str]) -> str:
    """A warm-up: which tokens does `word_tokens` make of "Is it red?  Yes." (with two spaces)?"""
    return _compare(answer, word_tokens("Is it red?  Yes."), "one of them is a space all alone.",
                    "A token is a word with the one space before it, or a space that is left over.")


def exercise_2(answer: list[int]) -> str:
    """Predict, before you let Python do it: "banana" makes a vocabulary of letters. Which ids
    does "bandana" get from it?
    """
    right = tokens_to_ids(letter_tokens("bandana"), build_vocabulary(letter_tokens("banana")))
    return _compare(answer, right, 'the "d" is <UNK> now, and nothing leads back from there.',
                    'The letters of "banana" get ids by first appearance, from 0. The next is for any other letter.')


def exercise_3(answer: list[str]) -> str:
    """Use the lesson: which four words come most often after " the" in corpus.txt, and which
    after " a"? Make it one list of eight words, without their counts.
    """
    words = word_tokens(read_text(CORPUS))
    right = [word for article in (" the", " a") for word, count in companions(words, article)]
    return _compare(answer, right, "things, and what they are like. Counting found it out.",
                    'Mind the spaces, in what you ask for and in what you get: " the" is not "the".')


def exercise_4(answer: Callable) -> str:
    """Write a function: what share of some tokens would become "<UNK>"?

    `answer_4(tokens, vocabulary)` returns a number from 0 to 1. A token that comes twice
    counts twice. For no tokens it is 0.
    """
    if not callable(answer):
        return "Write a function: def answer_4(tokens, vocabulary), and so on."
    for text, share in (("car bus bus tram", 0.75), ("car", 0), ("bus", 1), ("", 0), ("car car van", 1 / 3)):
        given = answer(text.split(), build_vocabulary(["car"]))
        if not isinstance(given, (int, float)) or not abs(given - share) < 1e-9:
            return f"For {text.split()} and {build_vocabulary(['car'])} it gave {given!r}; {share:g} is right."
    seen, held_out = (word_tokens("\n\n".join(stories)) for stories in corpus_stories())
    return f"Yes: for the words of the held-out stories it gives {answer(held_out, build_vocabulary(seen)):.1%}."


def exercise_5(answer: Callable) -> str:
    """For an evening: write a cutter that beats `word_tokens`.

    Four in ten of the words in its vocabulary are there only because of a comma, a full
    stop or another sign. `answer_5(text)` cuts any text into tokens that join back to it.
    On corpus.txt it may make up to 17,000 tokens, but only 1,400 different ones, where
    `word_tokens` has 2,138. No token may hold two words.
    """
    if not callable(answer):
        return "Write a function: def answer_5(text), and so on."
    for text in ("", " ", "One  two, three.\n", "\t«Größe» 3.14", "车，🌲\x00_a1", read_text(CORPUS)):
        tokens = answer(text)
        if not isinstance(tokens, list) or "".join(map(str, tokens)) != text:
            return f"For {text[:20]!r} it gave {repr(tokens)[:40]}, which is no list of tokens that joins back to the text."
        if any(len(str(token).split()) > 1 for token in tokens):
            return f"There are two words in one token of {text[:20]!r}."
    count, distinct = len(tokens), len(set(tokens))
    limit = "17,000 tokens" if count > 17_000 else "1,400 different ones" if distinct > 1400 else ""
    score = f"{count:,} tokens, {distinct:,} of them different"
    return f"It makes {score}. No more than {limit} are allowed." if limit else f"Yes: {score}. Lesson 2 begins like this."


def _compare(answer: object, right: list, remark: str, hint: str) -> str:
    if answer == right:
        return f"Yes, all {len(right)}: {remark}"
    if not isinstance(answer, list) or not all(isinstance(part, type(right[0])) for part in answer):
        return f"Write a list of {'strings' if isinstance(right[0], str) else 'whole numbers'}, in square brackets."
    if len(answer) != len(right):
        return f"There should be {len(right)} in the list, and yours has {len(answer)}. {hint}"
    wrong = next(place for place, part in enumerate(answer) if part != right[place])
    return f"{answer[wrong]!r}, number {wrong + 1} in the list, is not right. {hint}"


# %% On the command line

HELP = """Lesson 1: how text becomes tokens. Without a text or an option it plays the lesson.
  text          cut into sentences, words, letters and subwords, with their ids
for example: python3 lesson_1_tokens.py "The cat is sleeping."
"""


def show(text: str) -> None:
    """A text cut in four ways, with ids from the vocabularies of the stories."""
    stories = read_text(CORPUS)
    pieces = commonest_words(stories)[:1000]
    cuts = {name: (cut(text), build_vocabulary(cut(stories))) for name, cut in CUTTERS.items()}
    cuts["subwords"] = subword_tokens(text, pieces), build_vocabulary([*stories, *pieces])
    for name, (tokens, vocabulary) in cuts.items():
        unknown = len(unknown_tokens(tokens, vocabulary))
        print(f"{name}: {len(tokens)} tokens, {unknown} of them not in the vocabulary of the stories")
        print(show_ids(tokens, [vocabulary.get(token, UNKNOWN) for token in tokens]) + "\n")
    print(cost_table(text))


if __name__ == "__main__":
    run_lesson(HELP, show)
