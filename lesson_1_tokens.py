"""Lesson 1: tokens. How text becomes numbers, and what gets lost on the way.

Ask a chatbot how many r's there are in "strawberry", or to write "lollipop" backwards.
Models that had passed law exams failed at both. Then look at the bill: the same
sentence can cost five times as much in Greek as in English. Why?

A large language model (LLM) never sees a letter. Your text is cut into tokens, which
are pieces from a fixed list, the vocabulary, and each piece is replaced with its number
in that list, its id. The ids are all that the model gets. Here is what Qwen2.5 reads,
where · is a space, which belongs to the token:

    How   ·many  ·r   ·are  ·there  ·in  ·strawberry  ?
    4340  1657   435  525   1052    304  72600        30

So how many r's are there in 72600? And what is 72600 backwards? As for the bill, you
pay by the token, and with Qwen2.5 the first sentence of the Universal Declaration of
Human Rights is 13 tokens in English, but 71 in Greek. By the end of lesson 2 you will
have written the program that makes such numbers, and you will know why it makes these.

We begin with words. What comes after `>>>` is Python, with its result below. (To try
things yourself: python3 -i -c "from lesson_1_tokens import *")

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

sys.path.append(os.path.dirname(sys.argv[0]))
from stage import HERE, bar, play, read_text, run_lesson, show_ids, show_tokens, table


# %% Tokens: anything can be added as a token
# A vocabulary is a list of tokens, in which every token has a number.
UNKNOWN = "<UNK>"


def build_vocabulary(tokens: list[str]) -> dict[str, int]:
    """Give every distinct token an id: 0, 1, 2 and so on, in order of first appearance.

    >>> build_vocabulary(["the", "car", "the"])
    {'the': 0, 'car': 1, '<UNK>': 2}

    The last id is for "<UNK>", the unknown: any token that is not in the list. (If "<UNK>"
    is among the tokens, it gets its id there.) Any string can be a token:

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

    >>> tokens_to_ids(["🌲", "car", "bus"], {"car": 0, "🌲": 1, "<UNK>": 2})
    [1, 0, 2]

    Raises ValueError if a token is missing and the vocabulary has no "<UNK>" either.
    """
    unknown = vocabulary.get(UNKNOWN)
    ids = [vocabulary.get(token, unknown) for token in tokens]
    if None in ids:
        raise ValueError(f"no id for {tokens[ids.index(None)]!r} or {UNKNOWN}")
    return ids


def ids_to_tokens(ids: list[int], vocabulary: dict[str, int]) -> list[str]:
    """Go back from ids to tokens. What was unknown stays unknown, like "bus" above.

    >>> ids_to_tokens([1, 0, 2], {"car": 0, "🌲": 1, "<UNK>": 2})
    ['🌲', 'car', '<UNK>']

    Raises ValueError for an id that the vocabulary does not have.
    """
    token_of = {id: token for token, id in vocabulary.items()}
    for id in ids:
        if id not in token_of:
            raise ValueError(f"the vocabulary has no id {id!r}")
    return [token_of[id] for id in ids]


# %% Tokens: what the model learns about a token
# An id says nothing about its token: from a 0, nobody could tell that it stands for "car".
# What a model learns about a token, it learns from the company that the token keeps. To
# look at some company we need text: corpus.txt, 166 short stories written for this course.
CORPUS = HERE / "corpus.txt"


def companions(tokens: list[str], token: str, count: int = 4) -> list[tuple[str, int]]:
    """The tokens that come most often right after a token, and how often they do.

    >>> words = word_tokens(read_text(CORPUS))
    >>> for token in (" sky", " is", " was"):
    ...     print(repr(token), companions(words, token))
    ' sky' [(' is', 32), (' was', 8), (' is".', 1), (' blue?"', 1)]
    ' is' [(' a', 36), (' the', 22), (' not', 13), (' in', 7)]
    ' was' [(' a', 33), (' the', 12), (' so', 6), (' in', 4)]

    Even if you could not read, this would tell you that " is" and " was" work alike.
    Letters keep company, too, and Chinese characters: 火车, a "fire car", is a train.

    >>> letters = letter_tokens(read_text(CORPUS))
    >>> companions(letters, "b", 2), companions(letters, "火")
    ([('o', 232), ('e', 153)], [('车', 3)])
    """
    pairs = zip(tokens, tokens[1:])
    following = Counter(after for before, after in pairs if before == token)
    return following.most_common(count)


# %% Which way of tokenizing is best?
# Here are three ways to cut a text. None of them loses anything: put the tokens
# together again, and you have the text.

def sentence_tokens(text: str) -> list[str]:
    """Cut a text after each sentence. The space goes with the sentence after it.

    >>> sentence_tokens('Mr. Fox ate 2.5 apples. "Yes!" 你好。我们学习。')
    ['Mr.', ' Fox ate 2.5 apples.', ' "Yes!"', ' 你好。', '我们学习。']

    The full stop in "2.5" ends no sentence, but the one in "Mr." does. To know better,
    you would have to understand the text.
    """
    # (?<=x) is a place after an x, (?=x) a place before an x
    ends = (r"""(?<=[.!?])(?=\s)|(?<=[.!?]["')”’])(?=\s)"""
            r"|(?<=[。！？])")
    return [token for token in re.split(ends, text) if token]


def word_tokens(text: str) -> list[str]:
    """Cut a text into words. A word keeps the one space before it.

    >>> word_tokens("one  two\\n\\tthree ")
    ['one', ' ', ' two', '\\n', '\\t', 'three', ' ']

    Why before the word, and not after it? A model writes from left to right. When it
    comes to a word, it knows whether a space is due. What will come after the word, it
    does not know yet. With spaces after words it would have to choose between "sky "
    and "sky" on the spot: will another word follow, or a full stop? And what it learns
    about the sky would be split in two. Count both in the stories, cut in both ways:

    >>> text = read_text(CORPUS)
    >>> before, after = re.findall(r" ?\\w+", text), re.findall(r"\\w+ ?", text)
    >>> before.count(" sky"), before.count("sky")
    (66, 2)
    >>> after.count("sky "), after.count("sky")
    (52, 16)

    So do not end your part of a text, the prompt, with a space: the model brings its own.
    (And do not be surprised that "The", "the" and " the" are three tokens, with three ids.)
    """
    # perhaps a space, and then no spaces; or a space that is left over
    return re.findall(r" ?\S+|\s", text)


def letter_tokens(text: str) -> list[str]:
    """Cut a text into single characters: letters, spaces, commas, emoji.

    >>> letter_tokens("The 🌲")
    ['T', 'h', 'e', ' ', '🌲']
    """
    return list(text)


CUTTERS = {"sentences": sentence_tokens, "words": word_tokens,
           "letters": letter_tokens}


# %% Computational Cost
# A model does about the same work for every token, long or short. So the number of
# tokens is the price of a text: in time, in memory, and in money where tokens are sold.

def cost_table(text: str) -> str:
    """Count the tokens of a text, cut in each of the three ways.

    >>> fox = "The quick brown fox jumps over the lazy dog."
    >>> [len(cut(fox)) for cut in CUTTERS.values()]
    [1, 9, 44]

    These are all the stories. Again letters cost about five times as much as words:

    >>> print(cost_table(read_text(CORPUS)))
               tokens  distinct  seen once   cost
    sentences    1157      1146        99%   1.0x  ▍
    words       13733      2138        51%  11.9x  █████▏
    letters     64656        80        21%  55.9x  ████████████████████████

    "Distinct" is the size of the vocabulary. It has a price, too: for each token that a
    model writes, it computes a probability for every entry. Letters get by with 80.
    Words need 2,138, and all of English would take millions. Sentences have no end:
    nearly all are new. And half of the distinct words were seen once, too seldom to
    learn what they mean.
    """
    sentences, letters = len(sentence_tokens(text)) or 1, len(text) or 1
    rows = [["", "tokens", "distinct", "seen once", "cost", ""]]
    for name, cut in CUTTERS.items():
        tokens = cut(text)
        counts = Counter(tokens)
        once = list(counts.values()).count(1) / (len(counts) or 1)
        cost = f"{len(tokens) / sentences:.1f}x"
        rows.append([name, len(tokens), len(counts), f"{once:.0%}", cost,
                     bar(len(tokens) / letters)])
    return table(rows)


# %% But there are some issues with word and sentence tokens
# A vocabulary is made once. Then people type what they like. To see what happens, we
# make one without looking at a tenth of the stories.

def split_stories(text: str) -> tuple[list[str], list[str]]:
    """Split a text into stories at its empty lines, and hold out the last tenth of them.

    What is held out is never learned from, in any lesson, and so makes an honest test.

    >>> seen, held_out = split_stories("\\n\\n".join("abcdefghijklmnopqrst"))
    >>> len(seen), held_out
    (18, ['s', 't'])

    Raises ValueError if there are fewer than ten stories.
    """
    stories = re.split(r"\n\s*\n", text.strip())
    if len(stories) < 10:       # then every line is a story
        stories = [line for line in text.splitlines() if line.strip()]
    if len(stories) < 10:
        raise ValueError("it takes ten stories or more, parted by empty lines "
                         f"or a line each; here are {len(stories)}")
    tenth = len(stories) // 10
    return stories[:-tenth], stories[-tenth:]


def corpus_stories() -> tuple[list[str], list[str]]:
    """The stories of corpus.txt: 150 to learn from, and 16 held out."""
    return split_stories(read_text(CORPUS))


def unknown_tokens(tokens: list[str], vocabulary: dict[str, int]) -> list[str]:
    """The tokens that a vocabulary lacks. Each of them would become "<UNK>".

    >>> seen, held_out = map("\\n\\n".join, corpus_stories())
    >>> words = build_vocabulary(word_tokens(seen))
    >>> unknown_tokens(word_tokens(corpus_stories()[1][1]), words)
    [' mountain', ' Planes', ' lost,', ' try.', ' rest.']

    A model could not read these words of one held-out story. In all 16 of them, every
    sentence is unknown, one word in ten, and no letter:

    >>> for name, cut in CUTTERS.items():
    ...     unknown = unknown_tokens(cut(held_out), build_vocabulary(cut(seen)))
    ...     print(f"{name:9} {len(unknown) / len(cut(held_out)):.0%}")
    sentences 100%
    words     10%
    letters   0%

    A misspelled word is lost, though any reader would know what was meant. And each
    form of a word has an id of its own. Nothing in the four says that they are related:

    >>> tokens_to_ids([" run", " runs", " ran", " running"], words)
    [415, 481, 156, 1489]
    >>> unknown_tokens([" runned", " avocdo"], words)
    [' runned', ' avocdo']
    """
    return [token for token in tokens if token not in vocabulary]


# %% Introducing: Subword tokens!
# Words are cheap but break easily. Letters hardly ever do, but cost five times as much. In
# between there are pieces, longer than a letter and often shorter than a word.

def subword_tokens(text: str, subwords: list[str]) -> list[str]:
    """Cut a text into pieces from a list: at each place the longest, or else a letter.

    >>> pieces = ["run", "play", "stay", "ing"]
    >>> for word in ("playing", "running", "runned"):
    ...     print(show_tokens(subword_tokens(word, pieces), color=False))
    play|ing
    run|n|ing
    run|n|e|d

    What a model learns about the "ing" of one word helps it with all others. But no
    piece here can write the second "n" of "running". So every letter must be a token as
    well. Then no word made of them is unknown: even "runned" shows the part that is right.
    (And a letter that the vocabulary lacks? Lesson 2 has an answer to that.)
    """
    pieces = set(subwords)
    longest = max([1, *map(len, pieces)])
    tokens, start = [], 0
    while start < len(text):
        end = start + longest
        while end > start + 1 and text[start:end] not in pieces:
            end -= 1
        tokens.append(text[start:end])
        start = end
    return tokens


def commonest_words(text: str) -> list[str]:
    """The distinct words of a text, the commonest first: pieces to begin with.

    >>> pieces = commonest_words(read_text(CORPUS))[:1000]
    >>> for text in ("The sky is blue.", "Der Himmel ist blau.", "天空是蓝的。"):
    ...     print(show_tokens(subword_tokens(text, pieces), color=False))
    The|·sky|·is|·blue.
    D|e|r|·|H|i|m|m|e|l|·is|t|·|b|l|a|u|.
    天|空|是|蓝|的|。

    That is one sentence in three languages. The pieces were counted in English stories,
    and English got the long ones. Qwen2.5 has counted less Greek than English, so Greek
    costs more.
    """
    counts = Counter(word_tokens(text)).most_common()
    return [word for word, count in counts if len(word) > 1]


def subword_tradeoff(text: str) -> str:
    """Take more and more of the commonest words as pieces: how many tokens are left?

    >>> print(subword_tradeoff(read_text(CORPUS)))
    pieces  vocabulary  tokens
         0          80   64656  ████████████████████████
        10          90   53385  ███████████████████▉
       100         180   39237  ██████████████▋
      1000        1080   18005  ██████▋
      2134        2214   13733  █████▏

    The vocabulary is the pieces and the 80 letters. The first ten pieces save over 1,000
    tokens each, the last 1,134 only four each. The top row is letters, the bottom row is
    words, and nearly all models of today are in between, with 30,000 to 260,000 tokens.
    """
    words = commonest_words(text)
    rows = [["pieces", "vocabulary", "tokens", ""]]
    for size in (0, 10, 100, 1000, len(words)):
        pieces = words[:size]
        count = len(subword_tokens(text, pieces))
        length = bar(count / (len(text) or 1))
        rows.append([f"{len(pieces):6}", len({*text, *pieces}), count, length])
    return table(rows)


# %% Qwen2.5 Tokenizer
# Qwen2.5's vocabulary is public: a file called tokenizer.json. Here is a bit of it.
QWEN_ENTRIES = {"sh": 927, "ual": 928, "Type": 929, "son": 930, "new": 931,
                "ern": 932, "Ġag": 933, "AR": 934, "];Ċ": 935}


def plain_token(entry: str) -> str:
    """Read an entry of a real vocabulary: Ġ stands for a space, Ċ for a newline.

    In a list, spaces and newlines would be hard to see. So they are written as signs
    that you can see. (Lesson 2 has the rule behind it.)

    >>> [plain_token(entry) for entry in QWEN_ENTRIES]
    ['sh', 'ual', 'Type', 'son', 'new', 'ern', ' ag', 'AR', '];\\n']

    So 933 is " ag", with which " again" begins. The ids run from 0 to 151664, and so
    there are 151665 tokens. People chose 22 of them, such as the one for the end of a
    text. The bytes, with which lesson 2 begins, are 256 more. Counting found the other
    151,387.
    """
    return entry.replace("Ġ", " ").replace("Ċ", "\n")


# %% Next: coding our own tokenizer
# Back to the first page. How many r's are there in 72600? The number does not say, nor
# how the token reads backwards. A model can only learn that by heart, token by token,
# from texts that happen to spell it out. What is missing is how to find good pieces. In
# lesson 2 you write the program that finds them, and open Qwen2.5's own file with it:
#
#     python3 lesson_2_coding_tokenizer.py --step


# %% Your turn
# Write your answers into answers_1.py, a file of your own beside the lesson:
#
#     from lesson_1_tokens import *
#     answer_1 = ["Is", " it"]
#
# Have them checked as often as you like. Each gets a yes or a hint:
#
#     python3 lesson_1_tokens.py --check answers_1.py
#
# 1. A warm-up. What does `word_tokens` make of this text, with its two spaces in a row? A
# list of strings.
#
#     Is it red?  Yes.
#
# 2. Predict: which ids do the letters of "bandana" get from the vocabulary of "banana"?
# A list of numbers.
#
# 3. Use `companions`: which four words come after " the" most often in corpus.txt, and
# which four after " a"? A list of eight strings.
#
# 4. Write `answer_4(tokens, vocabulary)`: what share of the tokens is unknown, from 0 to
# 1? A token that comes twice counts twice. For no tokens it is 0.
#
# 5. For an evening: write a cutter that beats `word_tokens`. Four in ten of its 2,138
# distinct tokens are only there because of a comma, a full stop or another such sign.
# `answer_5(text)` cuts any text into tokens that join back to it. On corpus.txt it may
# make 17,000 tokens, but only 1,400 distinct ones, and none holds two words.


# %% On the command line

HELP = """Lesson 1: text to tokens. Without a text or an option it plays the lesson.
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
        ids = [vocabulary.get(token, UNKNOWN) for token in tokens]
        print(f"{name}: {len(ids)}, unknown to the stories: {ids.count(UNKNOWN)}")
        print(show_ids(tokens, ids) + "\n")
    print(cost_table(text))


if __name__ == "__main__":
    run_lesson(HELP, show)
