"""Lesson 6: Llama 4, and every LLM of its family, run in plain Python.

Lesson 5 built the transformer. The LLMs that people give away are that class with other
numbers in it: GPT-2, Llama, Mistral, Qwen, Llama 4. Each is a folder of three files:

    tokenizer.json      text → ids → text                     lesson 2
    model.safetensors   all the numbers that it has learned   lesson 3
    config.json         how many layers, heads and so on      this lesson

Here you open such folders, see what is new in Llama 4, and make plain Python ten times
as fast, to talk to a real LLM on your own machine:

    python3 lesson_6_llama.py --chat --model Qwen/Qwen2.5-0.5B-Instruct

SmolLM2-135M is a small one. Its config.json is enough to count its 135M numbers:

>>> print(f"{count_parameters(SMOLLM2):,}")
134,515,008
"""

import math
import os
import random
import sys
import tempfile
from functools import partial
from pathlib import Path
from timeit import default_timer, timeit
from types import SimpleNamespace
from typing import Any, Callable, Iterable, Optional, Union

sys.path.append(os.path.dirname(sys.argv[0]))

from lesson_2_coding_tokenizer import Tokenizer
from lesson_3_embeddings import MODEL_FOLDER, Vector, dot
from lesson_4_sampling import SETTINGS, change_setting, generate_ids, softmax, write_steps
from lesson_5_transformer import (Block, Linear, Settings, Transformer, add, feed_forward, gated_feed_forward,
                                  gelu, induction_head, layer_norm, no_position, rms_norm, silu,
                                  sliding_window, speeds, times, turn, whole_text)
from formats import (MODELS, SMALL_LLAMA4, chat_form, check_config, check_vocabulary, find_model, pack_columns,
                    read_model, save_transformer, stop_ids, tensor_shapes, unpack_lanes, write_model)
from stage import bar, chat, progress, run_lesson


# %% A model is a folder
# This is the config.json of SmolLM2-135M, a small relative of Llama, without the lines
# that matter only in training.

SMOLLM2 = {
    "model_type": "llama",          # the family
    "vocab_size": 49152,            # tokens: rows of the embedding matrix
    "hidden_size": 576,             # numbers in the vector of a token
    "num_hidden_layers": 30,        # blocks, one on top of the other
    "num_attention_heads": 9,       # heads of a block, each of 576 / 9 numbers
    "num_key_value_heads": 3,       # three heads share their keys and values
    "intermediate_size": 1536,      # feed-forward: from 576 to 1,536 and back
    "rms_norm_eps": 1e-05,          # the epsilon of the norms
    "rope_theta": 100000,           # the base of the rotary positions
    "tie_word_embeddings": True,    # the output matrix is the embedding matrix
}


def count_parameters(config: dict, active: bool = False) -> int:
    """Count the numbers that a model has learned, its parameters.

    The sizes in config.json say which tensors there must be. These are in the first block;
    lesson 5 says query, key, value and output for q, k, v and o. The mlp is its feed-forward
    layer, and each layernorm comes before the part that it is for.

    >>> for name, shape in list(tensor_shapes(SMOLLM2).items())[2:11]:
    ...     print(name.ljust(48), *shape)
    model.layers.0.input_layernorm.weight            576
    model.layers.0.self_attn.q_proj.weight           576 576
    model.layers.0.self_attn.k_proj.weight           192 576
    model.layers.0.self_attn.v_proj.weight           192 576
    model.layers.0.self_attn.o_proj.weight           576 576
    model.layers.0.post_attention_layernorm.weight   576
    model.layers.0.mlp.gate_proj.weight              1536 576
    model.layers.0.mlp.up_proj.weight                1536 576
    model.layers.0.mlp.down_proj.weight              576 1536

    Rows times columns, added up, gives the size in a model's name. Do names tell the truth?

    >>> for name, config in MODELS.items():
    ...     print(f"{name:22} {count_parameters(config):15,}")
    GPT-2 (124M)               124,439,808
    Qwen2.5-0.5B               494,032,768
    Llama-3.2-1B             1,235,814,400
    Mistral-7B               7,241,732,096
    Llama-4-Scout-17B-16E  107,769,861,120

    The last calls itself 17B, because one token uses so many (`active`). You will see why.
    """
    config, total = check_config(config), 0
    for name, shape in tensor_shapes(config).items():
        if active and ".experts." in name:      # of 16 experts, 1 is asked
            shape = (config["num_experts_per_tok"], *shape[1:])
        total += math.prod(shape)
    return total


# %% Learn once, create any LLM
# Nearly all the pieces are from lesson 5. The last column says what else a family needs.
#
#             positions  norm        feed-forward  looks at    besides
#   GPT-2     learned    layer_norm  gelu          everything  biases
#   Llama 2   rotary     rms_norm    gated silu    everything
#   Llama 3.2 rotary     rms_norm    gated silu    everything  slow_down
#   Mistral   rotary     rms_norm    gated silu    a window
#   Qwen2.5   rotary     rms_norm    gated silu    everything  biases for q, k, v
#   Qwen3     rotary     rms_norm    gated silu    everything  norms for q, k
#   Llama 4   rotary     rms_norm    experts       its chunk   five more ideas
#
# The rest is only names: GPT-2 keeps q, k and v in one matrix, which it calls c_attn. When
# formats.py opens a folder, it gives the parts of all families the names of lesson 5.

def slow_down(all_speeds: Vector, factor: float, low: float, high: float, old_length: int) -> Vector:
    """Llama 3.1 and 3.2: turn the slow pairs more slowly, so that longer texts fit.

    Llama 3 learned from texts of 8,192 tokens. A fast pair, like the second hand of a
    clock, went round often and knows all angles. A slow one is like the hour hand: a longer
    text would bring angles that it has never seen. So a pair that made less than 1 turn
    (low) is slowed down, in Llama 3.2 by 32. With more than 4 (high) it is left alone.

    >>> old = [1.0, 0.001, 0.0001]
    >>> [round(speed * 8192 / (2 * math.pi), 2) for speed in old]   # full turns
    [1303.8, 1.3, 0.13]
    >>> new = slow_down(old, factor=32, low=1, high=4, old_length=8192)
    >>> [round(before / after) for before, after in zip(old, new)]
    [1, 8, 32]

    1.3 turns are a tenth of the way from 1 to 4, so the middle pair keeps a tenth of its
    speed, and a 32nd of the rest: together about an eighth.
    """
    slower = []
    for speed in all_speeds:
        turns = speed * old_length / (2 * math.pi)
        keep = min(max((turns - low) / max(high - low, 1e-9), 0.0), 1.0)
        slower.append(keep * speed + (1 - keep) * speed / factor)
    return slower


def turn_all(vector: Vector, position: int, all_speeds: Vector, norm: Optional[list] = None) -> Vector:
    """Lesson 5's `rotate` at given speeds. Qwen3 has a norm first, so that no match gets out of hand."""
    vector = rms_norm(vector, *norm) if norm else vector
    return turn(vector, [position * speed for speed in all_speeds])


# %% Llama 4
# It came out in April 2025. Five of its ideas are new here, and each is a few lines of code.

def mixture_of_experts(vector: Vector, router: Linear, shared: list[Linear], experts: list[list[Linear]],
                       activation: Callable, count: int = 1) -> Vector:
    """First: a feed-forward layer of many experts, of which each token asks only the best.

    The router has a row for each expert. Its dot products with the token's vector are
    scores: who knows most about this token? The best expert gets the vector, made smaller
    if the router is not sure: 1 / (1 + e^-score) is near 1 for a high score, and near 0 for
    a low one. One more expert, the shared one, always helps. What they say is added up.
    Here are three experts, and the router sends each of two tokens to one of its own:

    >>> router = Linear([[4.0, 0.0], [0.0, 4.0], [-4.0, -4.0]])
    >>> best_experts(router([1.0, 0.1])), best_experts(router([0.1, 1.0]))
    ([0], [1])

    Why so? Sixteen experts know more than one, and a token waits for one only. Scout takes
    the memory of 108 billion parameters, and the time of 17:

    >>> scout = MODELS["Llama-4-Scout-17B-16E"]
    >>> print(f"{count_parameters(scout, active=True):,}")
    17,172,894,720
    """
    scores = router(vector)
    result = gated_feed_forward(vector, *shared, activation)
    for expert in best_experts(scores, count):
        sure = 1 / (1 + math.exp(min(-scores[expert], 700)))  # no overflow
        shrunk = [sure * x for x in vector]
        said = gated_feed_forward(shrunk, *experts[expert], activation)
        result = add(result, said)
    return result


def best_experts(scores: Vector, count: int = 1) -> list[int]:
    """The numbers of the experts with the highest scores."""
    return sorted(range(len(scores)), key=lambda one: -scores[one])[:count]


def chunk(position: int, size: int) -> int:
    """Second: a token looks back only to the beginning of its chunk of the text.

    Mistral's window slides along with the token. Chunks stand still, so the first token of
    each sees only itself. Llama 4's have 8,192 tokens; these have 3:

    >>> [chunk(position, 3) for position in range(8)]
    [0, 0, 0, 3, 3, 3, 6, 6]

    Then how does it hear of earlier chunks? That is the third idea: every fourth layer
    looks at the whole text, and has no positions (NoPE), so no text is too long for it.
    """
    return position // size * size


def sharpen(query: Vector, position: int, floor_scale: float, attn_scale: float) -> Vector:
    """Fourth: in layers without positions, attention gets sharper as the text gets longer.

    A softmax over a million tokens spreads thin. Larger queries make larger matches, and
    that works like a lower temperature in lesson 4. Here is what a query of 1 becomes:

    >>> [round(sharpen([1.0], position, 8192, 0.1)[0], 2)
    ...  for position in (0, 8191, 100_000, 1_000_000)]
    [1.0, 1.07, 1.26, 1.48]
    """
    factor = 1 + attn_scale * math.log(1 + (position + 1) // floor_scale)
    return [factor * x for x in query]


def turn_neighbours(vector: Vector, position: int, all_speeds: Vector, epsilon: Optional[float]) -> Vector:
    """Fifth: neighbours turn together, and then queries and keys are normalised.

    Lesson 5 turned number i together with number i + D / 2. Here it is 0 with 1, and 2 with
    3. Both are equally good, but you must do what the model has learned with. So put the
    first number of each pair in front and the second behind, and `turn` does the rest:

    >>> turn_neighbours([1.0, 2.0, 3.0, 4.0], 0, [1.0, 0.1], epsilon=None)
    [1.0, 3.0, 2.0, 4.0]

    They need not go back. A dot product is the same if both vectors are in the same order.
    """
    vector = turn_all(vector[0::2] + vector[1::2], position, all_speeds)
    ones = [1.0] * len(vector)
    return vector if epsilon is None else rms_norm(vector, ones, epsilon)


# %% From a config to a transformer
# `check_config` fills in what a config.json leaves out, and gives all families one set of
# names. Its "layer_types" say for each layer how far it looks back.

def block_settings(config: dict, layer: int, query_norm: list = (), key_norm: list = ()) -> Settings:
    """What a block of this model is like, in the settings of lesson 5.

    How far back do layers 2 and 3 of Llama 4 Scout look from token 20,000? One to the
    beginning of its chunk, and the other to that of the text:

    >>> scout = check_config(MODELS["Llama-4-Scout-17B-16E"])
    >>> [block_settings(scout, layer).first_visible(20_000) for layer in (2, 3)]
    [16384, 0]
    """
    window = config.get("sliding_window")
    size = config.get("attention_chunk_size")
    looks = {"full_attention": whole_text,
             "sliding_attention": partial(sliding_window, size=window),
             "chunked_attention": partial(chunk, size=size)}
    query_at, key_at = _positions(config, layer, [query_norm, key_norm])
    is_gpt2 = config["model_type"] == "gpt2"
    think = feed_forward if is_gpt2 else gated_feed_forward
    if layer in config["moe_layers"]:
        count = config["num_experts_per_tok"]
        think = partial(mixture_of_experts, count=count)
    return Settings(
        dimensions=config["hidden_size"], heads=config["num_attention_heads"],
        key_value_heads=config["num_key_value_heads"],
        head_dim=config["head_dim"], norm=layer_norm if is_gpt2 else rms_norm,
        epsilon=config["rms_norm_eps"], query_at=query_at, key_at=key_at,
        first_visible=looks[config["layer_types"][layer]],
        feed_forward=think, activation=gelu if is_gpt2 else silu)


def _positions(config: dict, layer: int, norms: list[list]) -> list[Callable]:
    """What marks the queries of a layer with their position, and what marks its keys."""
    family, epsilon = config["model_type"], config["rms_norm_eps"]
    if family == "gpt2":
        return [no_position, no_position]
    all_speeds = speeds(config["head_dim"], config["rope_theta"])
    if config["slow_down"]:
        all_speeds = slow_down(all_speeds, *config["slow_down"])
    if family != "llama4_text":
        return [partial(turn_all, all_speeds=all_speeds, norm=norm and [*norm, epsilon]) for norm in norms]
    if config["no_rope_layers"][layer]:     # 1, despite the name, is a layer that turns
        epsilon = epsilon if config["use_qk_norm"] else None
        return [partial(turn_neighbours, all_speeds=all_speeds, epsilon=epsilon)] * 2
    sharper = partial(sharpen, floor_scale=config["floor_scale"], attn_scale=config["attn_scale"])
    return [sharper if config["attn_temperature_tuning"] else no_position, no_position]


# %% Small numbers
# In a file a weight takes 16 or 32 bits, and in a Python list 256. How few would do? The
# weights of a row are alike in size, so whole numbers will do, with one scale for the row.

def quantize(row: Vector, bits: int = 16) -> tuple[list[int], float]:
    """Write a row as whole numbers, and say how many steps make 1.

    With 8 bits there are 127 steps above 0 and 127 below. The largest number takes them
    all: 0.5 is 127 steps, so 1 would be 254. The others are rounded to whole steps.

    >>> quantize([0.5, -0.2, 0.1004], bits=8)       # 26 / 254 is 0.1024
    ([127, -51, 26], 254.0)

    What does it cost? Here are the bytes for a weight (the scale of a row adds next to
    nothing), and the error of a product, as a share of its largest number:

    >>> rng = random.Random(0)
    >>> matrix = [[rng.gauss(0, 1) for _ in range(256)] for _ in range(64)]
    >>> vector = matrix[0][::-1]
    >>> exact = times(matrix, vector)
    >>> for bits in (16, 8, 6, 4):
    ...     rounded = [quantize(row, bits) for row in matrix]
    ...     found = [dot(whole, vector) / steps for whole, steps in rounded]
    ...     off = max(abs(x - y) for x, y in zip(exact, found)) / max(exact)
    ...     print(f"{bits:2} bits: {bits / 8:4} bytes, {off:7.3%} {bar(off, 240)}")
    16 bits:  2.0 bytes,  0.003% ▏
     8 bits:  1.0 bytes,  0.594% █▍
     6 bits: 0.75 bytes,  2.398% █████▊
     4 bits:  0.5 bytes,  9.937% ███████████████████████▉

    With 16 bits nobody sees a difference, with 8 hardly anybody. With 4, and a scale for
    every 32 weights, large models get into phones.
    """
    steps = (2 ** (bits - 1) - 1) / max(*map(abs, row), 1e-300)
    return [round(number * steps) for number in row], steps


# %% Fast in plain Python: a whole column in one number
# SmolLM2 takes 134 million multiplications for a token. Python does some 40 million a
# second, so you would wait more than three seconds. But Python also has whole numbers of
# any length, and multiplies these as fast as the machine can. So let one long number carry
# a whole column. First by hand, in decimal: multiply this matrix by the vector (3, 10).
#
#     2  7          2 x 3 + 7 x 10 = 76
#     1  3          1 x 3 + 3 x 10 = 33
#     4  5          4 x 3 + 5 x 10 = 62
#
# Give each row a lane of three digits, the first row on the right. The columns become
# 4_001_002 and 5_003_007. (`_` may stand in a number.) Now 3 x 4_001_002 + 10 x 5_003_007
# is 62_033_076, and there they are: 76, 33 and 62, with two multiplications and not six.

def pack(numbers: Iterable[int], lane: int = 40) -> int:
    """Put whole numbers side by side into one long number, `lane` bits for each.

    Here is the same with 40 bits for a lane. `<< 40` moves a number to the next lane.

    >>> total = 3 * pack([2, 1, 4]) + 10 * pack([7, 3, 5])
    >>> unpack(total, count=3)
    [76, 33, 62]
    """
    return sum(number << lane * row for row, number in enumerate(numbers))


def unpack(total: int, count: int, lane: int = 40) -> list[int]:
    """Read the lanes of a long number, negative ones too.

    A -1 borrows from the lane on its left: 5_000 - 1 is 4_999, and the 5 has become a 4. So
    add 500 to every lane first, half of what it holds. Now nothing is negative, and nothing
    borrows: 5_000 - 1 + 500_500 is 505_499. Take 500 off each lane: that is 5 and -1.
    `>>` moves a lane to the right end, and `%` cuts off what stands on its left.

    >>> unpack(pack([-1, 5]), count=2)
    [-1, 5]
    """
    half = 2 ** (lane - 1)
    total += pack([half] * count, lane)
    return [(total >> lane * row) % 2 ** lane - half for row in range(count)]


class PackedMatrix:
    """A matrix whose columns are long numbers; it multiplies about ten times as fast.

    >>> rows = [[0.5, -1.0], [0.25, 0.125], [-2.0, 1.0]]
    >>> times(rows, [1.0, 3.0])
    [-2.5, 0.625, 1.0]
    >>> [round(x, 3) for x in times(PackedMatrix(rows), [1.0, 3.0])]
    [-2.5, 0.625, 1.0]

    `pack_columns` is `quantize` and `pack`, only faster, and `unpack_lanes` is `unpack`:

    >>> whole, steps = zip(*map(quantize, rows))
    >>> PackedMatrix(rows).columns == [pack(column) for column in zip(*whole)]
    True

    The vector is rounded, too. The finer its steps, the better. But a result too large for
    its lane would spoil the next one! At worst every weight is nearly 2**15 and has the sign
    of its number in the vector. Add up the vector without its signs: the result is 2**15
    times this sum. So choose steps that make the sum 2**24 at most. Then the result is below
    2**39, half a lane of 40 bits, and the other half is for negative ones. No lane can
    overflow, whatever the numbers are. With weights of 8 bits, lanes of 32 are enough.
    """

    def __init__(self, rows: Iterable[Vector], bits: int = 16):
        self.lane = bits + 24
        self.columns, self.steps = pack_columns(rows, bits)

    def __len__(self) -> int:
        return len(self.steps)

    def times(self, vector: Vector) -> Vector:
        """The product, as one dot product of long numbers.

        Lesson 3's `dot` gets whole columns here, and doesn't notice. Rounding can make each
        number larger by half a step, so `len(vector)` steps stay free. How fast is it?

        >>> rows = [[random.random() for _ in range(256)] for _ in range(512)]
        >>> for matrix in (rows, PackedMatrix(rows)):
        ...     seconds = timeit(lambda: times(matrix, rows[0]), number=10)
        ...     print(f"it takes {seconds * 100:.2f} ms")   # doctest: +ELLIPSIS
        it takes ... ms
        it takes ... ms
        """
        steps = (2 ** 24 - len(vector)) / max(sum(map(abs, vector)), 1e-300)
        total = dot(self.columns, [round(number * steps) for number in vector])
        results = unpack_lanes(total, len(self), self.lane)
        return [x / (row * steps) for x, row in zip(results, self.steps)]


# %% The real thing: load it, save it

def load_transformer(folder: Union[str, Path], packed: bool = True, bits: int = 16) -> Transformer:
    """Open a model's folder as a transformer of lesson 5.

    Here is a small Llama 4 with random weights. Packed, it gives nearly the same logits:

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_model(folder, SMALL_LLAMA4)
    ...     for packed in (False, True):
    ...         logits = load_transformer(folder, packed).logits([3, 1, 4, 1, 5])
    ...         print(*[f"{logit:.3f}" for logit in logits[:6]])
    0.376 -1.601 2.918 1.267 -3.397 2.548
    0.376 -1.601 2.918 1.267 -3.397 2.548

    `save_transformer` writes all of such a folder but the tokenizer, which has a `save` of
    its own, and Hugging Face's `transformers` opens it, too.
    Lesson 5's transformer that was set by hand still knows what followed 7 the last time:

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_transformer(induction_head(vocab_size=50), folder)
    ...     logits = load_transformer(folder).logits([0, 7, 42, 9, 7])
    >>> logits.index(max(logits))
    42

    Raises ValueError, with the name, for whatever these lessons have no code for.
    """
    matrix = partial(PackedMatrix, bits=bits) if packed else list
    # Python keeps 30 bits of a long number in 32, and a float in 32 bytes.
    a_weight = (bits + 24) / 8 * 32 / 30 if packed else 32
    config, outer, blocks = read_model(
        folder, lambda rows, *biases: Linear(matrix(rows), *biases), a_weight)
    blocks = [Block(block_settings(config, layer, *norms), **parts)
              for layer, (norms, parts) in enumerate(blocks)]
    # Packed, the rows of embeddings stay in the file until a token needs one.
    embeddings = outer["embeddings"] if packed else list(outer["embeddings"])
    output = outer["output"] or (embeddings if packed else None)
    output = output and matrix(progress(output, "loading the output matrix"))
    transformer = Transformer(blocks[0].settings, embeddings, blocks,
                              outer["last_norm"], output, outer["positions"])
    transformer.config = config
    return transformer


def load_llm(folder_or_name: Union[str, Path], packed: bool = True,
             bits: int = 16) -> tuple[Tokenizer, Transformer]:
    """Load a tokenizer and its transformer from a folder, or fetch them once, by a name at Hugging Face.

    Raises ValueError if something is missing, or if the two don't belong together.
    """
    folder = find_model(folder_or_name, MODEL_FOLDER)
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    check_vocabulary(folder, tokenizer.vocabulary)
    return tokenizer, load_transformer(folder, packed, bits)


# %% Talk to it
# A chatbot is an LLM that has read many conversations, all in one form, and goes on with
# yours. Special tokens say who speaks. What you type never becomes one, so you can't speak
# in the name of the chatbot.

def question_ids(tokenizer: Tokenizer, question: str) -> list[int]:
    """The ids of a question, in the form that a chatbot knows; other LLMs get only its text.

    >>> names = ["<|im_start|>", "<|im_end|>"]
    >>> tokenizer = Tokenizer.train("user|assistant|" * 9, 300, names)
    >>> print(tokenizer.show(question_ids(tokenizer, "Hi"), color=False))
    <|im_start|>|user|↵|H|i|<|im_end|>|↵|<|im_start|>|assistant|↵

    It ends where the answer begins, so all that is left is to go on. If you type a special
    token, it is only text. (Most makers also put a text of their own first, the system
    message. It is left out here.) This is "<|im_end|>" as a question:

    >>> print(tokenizer.show(question_ids(tokenizer, "<|im_end|>"), color=False))
    <|im_start|>|user|↵|<|||i|m|_|e|n|d|||>|<|im_end|>|↵|<|im_start|>|assistant|↵
    """
    before, after, _ = (tokenizer.encode(part, allowed_special="all")
                        for part in chat_form(tokenizer.special_tokens))
    return before + tokenizer.encode(question) + after


# %% Your turn
# Text, tokens, ids, vectors, attention, logits, a draw, and text again: this is all there
# is between a question and an answer, and you have read it all. What is left is size.
#
#     python3 lesson_6_llama.py --check answers_6.py
#
# 1. A warm-up. How many parameters has this small Llama? 100 tokens, 8 numbers in a
# vector, 1 block, 2 heads, which share 1 head of keys and values, 20 numbers in the
# feed-forward; the output matrix is the embedding matrix.
#
# 2. Predict: which two of four experts does each of three tokens ask? The rows of the
# router are [1, 0], [0, 1], [1, 1] and [-1, 2]; the tokens' vectors [3, 1], [1, 3] and
# [-2, -1]. A list of three lists, the best expert first.
#
# 3. By hand: quantize the row [0.4, -1.0, 0.25] to 4 bits, so to steps from -7 to 7. A
# list of three numbers.
#
# 4. Find the largest scale that can't overflow. Lanes of three decimal digits hold -500
# to 499. Weights are whole numbers from -9 to 9. By what whole number can you multiply
# the vector [1, -2, 2], and be safe with any row?
#
# 5. For an evening: a family that is missing, Mixtral. It has no shared expert, and what
# the best say is weighted by the softmax of their scores alone. Write `answer_5(vector,
# router, experts, activation, count)`. Then open a real one: the names go into
# formats.py, and the layer into `block_settings`.


# %% On the command line

HELP = """Lesson 6: Llama 4. Without a text or an option it plays the lesson.
  text            the beginning of a text, which the LLM continues
  --model FOLDER  its folder, or its name at Hugging Face: fetched once
  --chat          talk to it; --explain shows each choice; --bits N is 16 or 8
  --temperature T, --top-k K, --top-p P, --min-p P, --max-new-tokens M, --seed S
for example: python3 lesson_6_llama.py "The sky is" --model Qwen/Qwen2.5-0.5B
"""


def show(text: Optional[str] = None, model: Optional[str] = None, bits: int = 16, **given: Any) -> None:
    settings = SETTINGS
    for name in SETTINGS.keys() & given.keys():
        settings = change_setting(settings, name.replace("_", "-"), str(given[name]))
    if model is None or text is None and "chat" not in given or bits not in (8, 16):
        raise ValueError("it takes --model and a text to continue, or --chat; --bits is 8 or 16")
    tokenizer, transformer = load_llm(model, bits=bits)
    form = chat_form(tokenizer.special_tokens) if "chat" in given else ("", "", "")
    after = tokenizer.encode(form[2], allowed_special="all")
    stop = stop_ids(find_model(model, MODEL_FOLDER)) + after[:1]
    said = list(tokenizer.rules.first_ids)        # the conversation so far
    # A model may have more rows than there are tokens; those have no text, and are never drawn.
    rows = 1 + max(tokenizer.vocabulary.values())
    known = SimpleNamespace(logits=lambda ids: transformer.logits(ids)[:rows])

    def write(line: str, settings: dict) -> None:
        ids = said + (question_ids if form[0] else Tokenizer.encode)(tokenizer, line)
        if form[0] and len(said) == len(tokenizer.rules.first_ids):
            print(tokenizer.show(ids), end="\n\n")      # once, to see the form
        start, length = default_timer(), len(ids)
        for end in progress(range(8, length, 8), "reading"):
            transformer.logits(ids[:end])       # it remembers what it has read
        if transformer.positions:       # GPT-2's table of positions has an end
            room = max(1, len(transformer.positions) + 1 - length)
            settings = {**settings, "max_new_tokens": min(room, settings["max_new_tokens"])}
        steps = (ids.append(step[0]) or step for step in generate_ids(known, ids, stop, **settings))
        write_steps(tokenizer, steps, "" if form[0] else line, "explain" in given)
        count, taken = len(ids) - length, default_timer() - start
        print(f"({count} tokens in {taken:.1f} s, {count / taken:.1f} a second)", file=sys.stderr)
        if form[0]:
            said[:] = (ids[:-1] if ids[-1] in stop else ids) + after

    if text is not None:
        write(text, settings)
    if "chat" in given:
        greeting = "Ask something." if form[0] else "Type the beginning of a text."
        chat(write, settings, change_setting, greeting)


if __name__ == "__main__":
    run_lesson(HELP, show)
