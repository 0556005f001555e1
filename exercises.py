"""The exercises of all lessons, checked: a yes, or a hint. Answer first, and read this later.

`python3 lesson_1_tokens.py --check answers_1.py` gives each `answer_N` of the file to
`exercise_1_N`, which says a sentence. It is a yes if it begins with "Yes".
"""

import functools
import math
import random
from typing import Callable, Iterable, Optional

from lesson_1_tokens import (CORPUS, UNKNOWN, build_vocabulary, companions, corpus_stories, letter_tokens,
                             read_text, subword_tokens, tokens_to_ids, word_tokens)
from lesson_2_coding_tokenizer import (Tokenizer, course_tokenizer, encode_simply, merge_pair, text_to_bytes,
                                       train_merges, train_merges_simply)
from lesson_3_embeddings import (EmbeddingModel, Vector, bits, bits_per_byte, course_model, dot, lookup,
                                 nearest, story_ids)
from lesson_4_sampling import CANDIDATES, generate_ids, next_token_probabilities, normalize, softmax
from lesson_5_transformer import Linear, attention, attention_weights, gated_feed_forward, rotate, silu
from lesson_6_llama import SMOLLM2, best_experts, count_parameters, quantize


def asks_for(what: str, fits: Callable[[object], bool]) -> Callable:
    """Decorate a check that takes one kind of answer; any other gets the hint to write that."""
    def decorate(check: Callable) -> Callable:
        @functools.wraps(check)
        def checked(answer: object) -> str:
            return check(answer) if fits(answer) else f"Write {what}."
        return checked
    return decorate


def is_number(answer: object) -> bool:
    return isinstance(answer, (int, float))


def is_whole(answer: object) -> bool:
    return isinstance(answer, int)


def is_string(answer: object) -> bool:
    return isinstance(answer, str)


def list_of(fits: Callable[[object], bool], count: Optional[int] = None) -> Callable[[object], bool]:
    """What tells whether an answer is a list of so many of a kind; without a count, of any length."""
    return lambda answer: (isinstance(answer, (list, tuple)) and all(map(fits, answer))
                           and count in (None, len(answer)))


def mistake(answer: Callable, cases: Iterable[tuple[tuple, float]]) -> str:
    """The first arguments for which a function doesn't give the right number, or nothing."""
    for arguments, right in cases:
        given = answer(*arguments)
        if not is_number(given) or not abs(given - right) < 1e-9:
            return f"For {' and '.join(map(repr, arguments))} it gave {given!r}; {right:.4g} is right."
    return ""


# %% Lesson 1: tokens

@asks_for("a list of 5 strings", list_of(is_string, 5))
def exercise_1_1(answer: list[str]) -> str:
    """Cut a text with two spaces in a row into words."""
    return _compare(answer, word_tokens("Is it red?  Yes."), "one is a space all alone.",
                    "A token is a word with the one space before it, or a space left over.")


@asks_for("a list of 7 whole numbers", list_of(is_whole, 7))
def exercise_1_2(answer: list[int]) -> str:
    """The ids of "bandana", by the vocabulary of "banana"."""
    right = tokens_to_ids(letter_tokens("bandana"), build_vocabulary(letter_tokens("banana")))
    return _compare(answer, right, 'the "d" is <UNK> now, and nothing leads back from there.',
                    'Ids go by first appearance in "banana", from 0. The next is for all other letters.')


@asks_for("a list of 8 strings", list_of(is_string, 8))
def exercise_1_3(answer: list[str]) -> str:
    """The company of " the" and " a"."""
    words = word_tokens(read_text(CORPUS))
    right = [word for article in (" the", " a") for word, count in companions(words, article)]
    return _compare(answer, right, "things, and what they are like. Counting found it out.",
                    'Mind the spaces, in what you ask for and in what you get: " the" is not "the".')


@asks_for("a function: def answer_4(tokens, vocabulary), and so on", callable)
def exercise_1_4(answer: Callable[[list[str], dict[str, int]], float]) -> str:
    """Write the share of unknown tokens."""
    shares = {"car bus bus tram": 0.75, "car": 0, "bus": 1, "": 0, "car car van": 1 / 3}
    cases = (((text.split(), {"car": 0, UNKNOWN: 1}), share) for text, share in shares.items())
    seen, held_out = (word_tokens("\n\n".join(stories)) for stories in corpus_stories())
    return mistake(answer, cases) or (
        f"Yes: for the held-out stories it gives {answer(held_out, build_vocabulary(seen)):.1%}.")


@asks_for("a function: def answer_5(text), and so on", callable)
def exercise_1_5(answer: Callable[[str], list[str]]) -> str:
    """For an evening: a cutter that beats `word_tokens`."""
    for text in ("", " ", "One  two, three.\n", "\t«Größe» 3.14", "车，🌲\x00_a1", read_text(CORPUS)):
        tokens = answer(text)
        if not isinstance(tokens, list) or "".join(map(str, tokens)) != text:
            return f"For {text[:20]!r} it gave {repr(tokens)[:40]}: not a list that joins back to the text."
        if any(len(str(token).split()) > 1 for token in tokens):
            return f"There are two words in one token of {text[:20]!r}."
    count, distinct = len(tokens), len(set(tokens))
    if count > 17_000 or distinct > 1400:
        limit = "17,000 tokens" if count > 17_000 else "1,400 distinct ones"
        return f"It makes {count:,} tokens, {distinct:,} of them distinct. Only {limit} are allowed."
    return f"Yes: {count:,} tokens, {distinct:,} of them distinct. Lesson 2 begins with a cutter like yours."


def _compare(answer: list, right: list, remark: str, hint: str) -> str:
    if answer == right:
        return f"Yes, all {len(right)}: {remark}"
    wrong = next(place for place, part in enumerate(answer) if part != right[place])
    return f"{answer[wrong]!r}, number {wrong + 1} in the list, is not right. {hint}"


# %% Lesson 2: coding our own tokenizer

@asks_for("a whole number, without quotation marks", is_whole)
def exercise_2_1(answer: int) -> str:
    """The bytes of a text."""
    if answer == len(text_to_bytes("naïve 🌲")):
        return "Yes: ï takes two bytes, 🌲 takes four, and the others take one each."
    return "Not yet. Of the 7 characters two need more than one byte."


@asks_for("a list of whole numbers", list_of(is_whole))
def exercise_2_2(answer: list[int]) -> str:
    """Merge ones."""
    if answer == merge_pair([1, 1, 1, 2, 1, 1], (1, 1), 9):
        return "Yes: of three ones in a row the first two are merged, and the third is left over."
    return "Not yet. From left to right, the first two that fit are merged first."


@asks_for("a list of three strings, such as ['ab', ' a', 'b']", list_of(is_string, 3))
def exercise_2_3(answer: list[str]) -> str:
    """The first three merges, with ties."""
    merges = train_merges_simply("cat hat that", 256 + 3)
    right = Tokenizer(merges).tokens(merges.values())
    if answer == right:
        return "Yes: the third was a tie of four pairs, and of these the space and t have the lowest ids."
    agree = [mine == theirs for mine, theirs in zip(answer, right)].index(False)
    return f"Right so far: {agree}. Count all pairs of neighbours, with each merged pair as one token."


@asks_for("a function: def answer_4(tokenizer, text), and so on", callable)
def exercise_2_4(answer: Callable[[Tokenizer, str], float]) -> str:
    """Write the bytes per token."""
    tokenizer = course_tokenizer()
    texts = ("The cat is sleeping.", "我们正在学习人工智能", "for id in ids:\n    print(id)", "'stop it", "")
    averages = [len(text_to_bytes(text)) / max(1, len(tokenizer.encode(text))) for text in texts]
    remark = "{:.1f} for the English text, {:.1f} for the Chinese, {:.1f} for a program.".format(*averages)
    return mistake(functools.partial(answer, tokenizer), zip(zip(texts), averages)) or f"Yes: {remark}"


@asks_for("a function: def answer_5(text, count), and so on", callable)
def exercise_2_5(answer: Callable[[str, int], list[bytes]]) -> str:
    """For an evening: a trainer that beats byte-pair encoding."""
    seen, held_out = map("\n\n".join, corpus_stories())
    given = answer(seen, 256)
    if not isinstance(given, list) or not all(isinstance(token, bytes) for token in given):
        return "It should return a list of bytes, such as [b' the', b'ing']."
    if len(given) > 256:
        return f"It returns {len(given)} tokens, and 256 are allowed."
    data = text_to_bytes(held_out)
    pieces = [token.decode("latin-1") for token in given]       # a character for each byte
    yours = len(subword_tokens(data.decode("latin-1"), pieces))
    theirs = len(encode_simply(held_out, train_merges(seen, 512)))
    return (f"{'Yes' if yours < theirs else 'Not yet'}: {yours} tokens, {len(data) / yours:.2f} bytes each; "
            f"with BPE's it is {theirs} tokens.")


# %% Lesson 3: embeddings

@asks_for("a list of three numbers", list_of(is_number, 3))
def exercise_3_1(answer: list[float]) -> str:
    """Three cosines."""
    if [round(cosine, 9) for cosine in answer] == [1, -1, 0]:
        return "Yes: the same way, the opposite way, and a right angle."
    if max(map(abs, answer)) > 1.001:
        return "None is above 1 or below -1: how long the arrows are does not count."
    return "The same way, the opposite way, a right angle: which is which?"


@asks_for("a list of two numbers", list_of(is_number, 2))
def exercise_3_2(answer: list[float]) -> str:
    """Bits of surprise."""
    right = [bits(1 / 1024), 8 * bits(1 / 4)]
    if answer == right:
        return "Yes: ten coins, and eight times two."
    if answer[:1] == right[:1]:
        return "The first is right. The second is for a text of eight tokens."
    return "One bit is the surprise of a tossed coin. How many coins have 1,024 outcomes together?"


@asks_for("a string", is_string)
def exercise_3_3(answer: str) -> str:
    """The token nearest to a sum of two."""
    tokenizer, model = course_model()
    ids = [tokenizer.encode(word)[0] for word in (" mother", " father")]
    total = [x + y for x, y in zip(*lookup(model.embeddings, ids))]
    id, cosine = next(pair for pair in nearest(total, model.embeddings, 3) if pair[0] not in ids)
    if answer == tokenizer.decode([id]):
        return f"Yes: with a cosine of {cosine:.2f}. Both parents stand where it stands."
    return ("Almost: a token keeps the space before it." if answer == tokenizer.decode([id]).strip() else
            "Not that one. `nearest` gives ids, best first; the first ones are the two themselves.")


@asks_for("a function: def answer_4(a, b), and so on", callable)
def exercise_3_4(answer: Callable[[Vector, Vector], float]) -> str:
    """Write the distance of two arrows."""
    pairs = ([1, 2], [4, 6]), ([0.0], [-2.5]), ([0.5] * 4, [0.5] * 4), ([1e-3] * 50, [0.0] * 50)
    cases = ((pair, math.dist(*pair)) for pair in pairs)
    return mistake(answer, cases) or "Yes: in 1, 2, 4 and 50 dimensions."


@asks_for("a function: def answer_5(ids, vocab_size), and so on", callable)
def exercise_3_5(answer: Callable) -> str:
    """For an evening: a model that beats this lesson's."""
    tokenizer, (seen, held_out) = course_tokenizer(), corpus_stories()
    model, size = answer(story_ids(tokenizer, seen), len(tokenizer)), len(tokenizer)
    scores = model.logits(tokenizer.encode("The dog")) if hasattr(model, "logits") else []
    if len(scores) != size or not all(isinstance(score, (int, float)) for score in scores):
        return f"It should return an object whose `logits(ids)` are {size} numbers, one for each token."
    needed = bits_per_byte(model, tokenizer, held_out)
    if needed < 1.71:
        return f"Yes: {needed:.3f} bits per byte. That is a better model than this lesson's."
    return f"It needs {needed:.3f} bits per byte; less than 1.71 is asked for."


exercise_3_5.seconds = 1800


# %% Lesson 4: sampling

@asks_for("a list of three numbers, such as [0.2, 0.3, 0.5]", list_of(is_number, 3))
def exercise_4_1(answer: list[float]) -> str:
    """From weights to probabilities."""
    if answer == [0.5, 0.25, 0.25]:
        return "Yes: the weights add up to 4, so each is divided by 4."
    return f"These add up to {sum(answer):g}. They should be 1, and the first twice the second."


@asks_for("a list of ids, such as [1, 3]; the tokens have ids 0 to 4", list_of(range(5).__contains__))
def exercise_4_2(answer: list[int]) -> str:
    """Three filters, one after the other."""
    logits = [math.log(share) for share in (0.5, 0.2, 0.15, 0.1, 0.05)]
    shares = next_token_probabilities(logits, top_k=4, top_p=0.88, min_p=0.15)
    if not all(shares[id] for id in answer):
        return "At least one of these is not left."
    if len(set(answer)) < sum(share > 0 for share in shares):
        return "These are left, but not these alone."
    return "Yes: top-k takes out the last, and top-p the fourth, for the rescaled three reach 0.895."


@asks_for("a number", is_number)
def exercise_4_3(answer: float) -> str:
    """Find the temperature."""
    high, low = softmax([3.0, 0.0], answer)
    times = high / low if low else math.inf
    if abs(times - math.e) > 1e-6:
        return f"At temperature {answer:g} it is {times:.1f} times as probable. It should be 2.7 times."
    return "Yes: divided by the temperature, a distance of 3 becomes 1."


@asks_for("a function: def answer_4(probabilities), and so on", callable)
def exercise_4_4(answer: Callable[[Vector], float]) -> str:
    """Write the entropy."""
    draws = [0.5, 0.25, 0.25], [1.0, 0.0], [0.125] * 8, normalize(CANDIDATES.values())
    entropies = [sum(share * bits(share) for share in draw if share) for draw in draws]
    remark = f"the five words for the sky have {entropies[-1]:.2f} bits; three equally likely words have 1.58."
    return mistake(answer, zip(zip(draws), entropies)) or f"Yes: {remark}"


@asks_for("a function: def answer_5(model, ids, count), and so on", callable)
def exercise_4_5(answer: Callable[[EmbeddingModel, list[int], int], list[int]]) -> str:
    """For an evening: a text more probable than greedy's."""
    tokenizer, model = course_model()
    yours = greedys = 0.0
    for prompt in ("The dog", "The girl asked", "The cat"):
        ids = tokenizer.encode(prompt)
        found = answer(model, list(ids), 6)
        if not list_of(range(len(tokenizer)).__contains__, 6)(found):
            return f"After {prompt!r} it should give six ids below {len(tokenizer)}, and it gave {found!r}."
        by_greedy = [step[0] for step in generate_ids(model, ids, max_new_tokens=6, temperature=0)]
        yours += _surprise(model, ids, found)
        greedys += _surprise(model, ids, by_greedy)
    last, greedy_last = (prompt + tokenizer.decode(more) for more in (found, by_greedy))
    said = (f"three texts of yours have {yours:.1f} bits of surprise, and greedy's have {greedys:.1f}. "
            f"The last is {last!r}, and greedy's {greedy_last!r}.")
    if yours > greedys - 1e-9:
        return "Not yet: " + said
    return f"Yes: {said} Is the more probable text the better one?"


def _surprise(model: EmbeddingModel, ids: list[int], more: list[int]) -> float:
    row = [*ids, *more]
    return sum(bits(softmax(model.logits(row[:place]))[row[place]]) for place in range(len(ids), len(row)))


# %% Lesson 5: the transformer

@asks_for("a list of three lists of numbers", list_of(list_of(is_number), 3))
def exercise_5_1(answer: list[Vector]) -> str:
    """Who looks at whom, if nobody looks ahead."""
    rows = [[round(share, 2) for share in [*row, 0, 0][:3]] for row in answer]
    if rows == [[1, 0, 0], [0.5, 0.5, 0], [0.33] * 3]:
        return "Yes: what one may not see is left out before the softmax, so each row adds up to 1."
    return "Query 2 must not see key 3, however well they match. Equal matches get equal shares of 1."


@asks_for("a list of two numbers", list_of(is_number, 2))
def exercise_5_2(answer: list[int]) -> str:
    """The size of a cache."""
    if answer == [65536, 262144]:
        return "Yes: 4,096 tokens take half a gigabyte, at 16 bits a number. Without grouped queries, two."
    return "In each block, for each head that is asked: a key and a value of `MISTRAL.head_dim` numbers."


@asks_for("a list of two lists of 8 numbers", list_of(list_of(is_number, 8), 2))
def exercise_5_3(answer: list[Vector]) -> str:
    """Set a head by hand."""
    for position in range(2, 31):
        keys = [rotate(answer[1], place) for place in range(position + 1)]
        weights = attention_weights(rotate(answer[0], position), keys)
        if weights[-3] <= 0.9:
            back = position - weights.index(max(weights))
            return (f"At {position} the weight two back is {weights[-3]:.2f}, and it should be over 0.9; "
                    f"the largest is {back} back. See block 1.")
    return "Yes: two back, from everywhere."


@asks_for("a function: def answer_4(queries, keys, values), and so on", callable)
def exercise_5_4(answer: Callable) -> str:
    """Write attention for a whole text."""
    rng = random.Random(0)
    queries, keys, values = ([[rng.gauss(0, 1) for _ in range(3)] for _ in range(7)] for _ in "qkv")
    right = [attention(query, keys[:at + 1], values[:at + 1]) for at, query in enumerate(queries)]
    given = answer(queries, keys, values)
    is_matrix = list_of(list_of(is_number, 3), 7)(given)
    if is_matrix and all(math.dist(*rows) < 1e-9 for rows in zip(given, right)):
        return "Yes: this is what a graphics card computes for all tokens at once."
    rounded = [[round(number, 2) for number in row] for row in right]
    return f"For 7 tokens it should be {rounded}. Whom may the first token see, and whom the last?"


@asks_for("a function: def answer_5(query, keys, values, upstream), and so on", callable)
def exercise_5_5(answer: Callable) -> str:
    """For an evening: the slopes of attention."""
    rng = random.Random(0)
    upstream, query, *rows = ([rng.gauss(0, 1) for _ in range(4)] for _ in range(12))
    given = answer(query, rows[:5], rows[5:], upstream)
    is_vector = list_of(is_number, 4)
    are_vectors = list_of(is_vector, 5)
    if not (isinstance(given, (list, tuple)) and len(given) == 3
            and is_vector(given[0]) and are_vectors(given[1]) and are_vectors(given[2])):
        return ("It should return three lists: 4 slopes of the query, 5 times 4 of the keys, and 5 times 4 of the "
                "values. Write 0 for those that you have not found yet.")
    names, slopes = ["query"] + ["keys"] * 5 + ["values"] * 5, [given[0], *given[1], *given[2]]
    for vector, slope, name in [*zip([query, *rows], slopes, names)][::-1]:
        for place in range(4):
            losses = []
            for step in (1e-5, -2e-5, 1e-5):
                vector[place] += step
                losses.append(dot(upstream, attention(query, rows[:5], rows[5:])))
            right = (losses[0] - losses[1]) / 2e-5
            if not abs(slope[place] - right) < 1e-6:
                return f"Of the {name} a slope is {slope[place]:.4f}. Trying it out gives {right:.4f}."
    return "Yes: all 44 slopes are right."


# %% Lesson 6: Llama 4

@asks_for("a whole number", is_whole)
def exercise_6_1(answer: int) -> str:
    """Count the parameters of a small Llama."""
    small = {**SMOLLM2, "vocab_size": 100, "hidden_size": 8, "intermediate_size": 20, "num_hidden_layers": 1,
             "num_attention_heads": 2, "num_key_value_heads": 1}
    if answer == count_parameters(small):
        return f"Yes: {answer:,}. In small models most of them are embeddings, in large ones few."
    return "Begin with 100 x 8. Then the block: q, k, v, o, the three matrices of SwiGLU, and the norms."


@asks_for("a list of three lists of two whole numbers", list_of(list_of(is_whole, 2), 3))
def exercise_6_2(answer: list[list[int]]) -> str:
    """The experts that a router picks."""
    router = Linear([[1, 0], [0, 1], [1, 1], [-1, 2]])
    if answer == [best_experts(router(vector), 2) for vector in ([3, 1], [1, 3], [-2, -1])]:
        return "Yes: no score of the third token is above 0, and still it gets two experts."
    return "Not yet. [3, 1] scores 3, 1, 4 and -1: its dot products with the four rows."


@asks_for("a list of three whole numbers", list_of(is_whole, 3))
def exercise_6_3(answer: list[int]) -> str:
    """Quantize a row."""
    if answer == quantize([0.4, -1.0, 0.25], bits=4)[0]:
        return "Yes: read back, they are 0.43, -1 and 0.29. Four bits are coarse."
    return "Not yet. The largest, signs left out, takes all 7 steps; and 0.4?"


@asks_for("a whole number", is_whole)
def exercise_6_4(answer: int) -> str:
    """The largest scale that is safe."""
    if answer == 499 // (9 * (1 + 2 + 2)):
        return "Yes: 11 x 5 x 9 is 495. With 12, the row [9, -9, 9] would spill into the next lane."
    return "For which weights is the result the largest? They may have the signs of the vector."


@asks_for("a function: def answer_5(vector, router, experts, activation, count), and so on", callable)
def exercise_6_5(answer: Callable) -> str:
    """For an evening: the experts of Mixtral."""
    router, numbers = Linear([[1.0], [3.0], [2.0], [0.0]]), (1.0, 2.0, 3.0, 4.0)
    experts = [[Linear([[number]])] * 3 for number in numbers]
    right = dot(softmax([3.0, 2.0]), [gated_feed_forward([1.0], *experts[best], silu)[0] for best in (1, 2)])
    given = answer([1.0], router, experts, silu, 2)
    if isinstance(given, list) and len(given) == 1 and math.isclose(given[0], right):
        return "Yes: that is Mixtral's layer. Now for its folder, if you have the memory."
    return f"With a router of 1, 3, 2, 0 and experts of 1, 2, 3, 4 it gave {given}, not [{right:.4f}]."
