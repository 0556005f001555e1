"""Lesson 6: Llama 4, and every LLM of its family, run in plain Python.

Lesson 5 built the transformer. The LLMs that people give away are that class with other
numbers in it: GPT-2, Llama, Mistral, Qwen, Llama 4. Each is a folder of three files:

    tokenizer.json      text → ids → text                     lesson 2
    model.safetensors   all the numbers that it has learned   lesson 3
    config.json         how many layers, heads and so on      this lesson

Here you open such folders, see what is new in Llama 4, and make plain Python ten times
as fast, so that you can talk to a real LLM on your own machine:

    python3 lesson_6_llama.py --chat --model Qwen/Qwen2.5-0.5B-Instruct

SmolLM2-135M is a small one. The 135M are the numbers that it has learned, and its
config.json is enough to count them:

>>> print(f"{count_parameters(SMOLLM2):,}")
134,515,008
"""

import math
import os
import random
import struct
import sys
import tempfile
import time
from functools import partial
from operator import mul
from pathlib import Path
from typing import Any, Callable, Iterable, Optional, Union

sys.path.append(os.path.dirname(sys.argv[0]))

from formats import (MODELS, SMALL_LLAMA4, chat_form, check_config, check_memory, find_model, pack_columns,
                     read_json, read_model, save_transformer, stop_ids, tensor_shapes, write_model)
from lesson_2_coding_tokenizer import Tokenizer
from lesson_3_embeddings import MODEL_FOLDER, Vector, dot
from lesson_4_sampling import SETTINGS, change_setting, generate_ids, softmax, write_steps
from lesson_5_transformer import (Block, Linear, Settings, Transformer, add, feed_forward, gated_feed_forward,
                                  gelu, induction_head, layer_norm, no_position, rms_norm, silu,
                                  sliding_window, speeds, times, turn, whole_text)
from stage import bar, chat, progress, run_lesson, table


# %% A model is a folder
# The config.json of SmolLM2-135M, a small relative of Llama, but for what matters only
# while training:

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
    """How many numbers a model has learned, its parameters, by its config.json.

    The sizes say which tensors there must be. Here is the first block, which lesson 5 has
    explained. (What it calls query, key, value and output are q, k, v and o in the files.)

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

    Rows times columns, added up, is the size in a model's name. Do names tell the truth?

    >>> for name, config in MODELS.items():
    ...     print(f"{name:22} {count_parameters(config):15,}")
    GPT-2 (124M)               124,439,808
    Qwen2.5-0.5B               494,032,768
    Llama-3.2-1B             1,235,814,400
    Mistral-7B               7,241,732,096
    Llama-4-Scout-17B-16E  107,769,861,120

    The last calls itself 17B. That is what one token uses (`active`). You will see why.
    """
    total = 0
    for name, shape in tensor_shapes(config).items():
        if active and ".experts." in name:      # of 16 experts, 1 is asked
            shape = (config["num_experts_per_tok"], *shape[1:])
        total += math.prod(shape)
    return total


# %% Learn once, create any LLM
# Every family takes its pieces from one box, and lesson 5 has built nearly all of them.
# What is new stands on the right, and comes below.
#
#             positions  norm        feed-forward  looks at    new here
#   GPT-2     learned    layer_norm  gelu          everything
#   Llama 2   rotary     rms_norm    SwiGLU        everything
#   Llama 3   rotary     rms_norm    SwiGLU        everything  slower pairs
#   Mistral   rotary     rms_norm    SwiGLU        a window
#   Qwen2.5   rotary     rms_norm    SwiGLU        everything  (q, k, v: biases)
#   Qwen3     rotary     rms_norm    SwiGLU        everything  q, k: norms
#   Llama 4   rotary     rms_norm    experts       its chunk   five things

def slow_down(all_speeds: Vector, factor: float, low: float, high: float, old_length: int) -> Vector:
    """Llama 3's positions: turn the slow pairs more slowly, so that longer texts fit.

    Llama 3 learned from texts of 8,192 tokens. A pair that turns fast, like the second hand
    of a clock, went round often, and knows all angles. A slow one is like the hour hand: in
    a text 16 times as long it would come to angles that it never saw. So a pair that made
    less than 1 full turn (low) is slowed down, one with more than 4 (high) is left alone.

    >>> old = [1.0, 0.001, 0.0001]
    >>> [round(speed * 8192 / (2 * math.pi), 2) for speed in old]   # full turns
    [1303.8, 1.3, 0.13]
    >>> new = slow_down(old, 32, 1, 4, 8192)
    >>> [round(before / after) for before, after in zip(old, new)]
    [1, 8, 32]

    The middle one made 1.3 turns, a tenth of the way from 1 to 4. So it keeps a tenth.
    """
    slower = []
    for speed in all_speeds:
        turns = speed * old_length / (2 * math.pi)
        keep = float(turns >= high)
        if low < turns < high:
            keep = (turns - low) / (high - low)
        slower.append(keep * speed + (1 - keep) * speed / factor)
    return slower


def turn_all(vector: Vector, position: int, all_speeds: Vector, norm: Optional[list] = None) -> Vector:
    """Lesson 5's `rotate`, at given speeds; in Qwen3 after a norm, so that no match gets out of hand."""
    vector = rms_norm(vector, *norm) if norm else vector
    return turn(vector, [position * speed for speed in all_speeds])


# %% Llama 4
# Llama 4 came out in April 2025, and the course bears its name. Five things are new in
# it, and each is a few lines.

def mixture_of_experts(vector: Vector, router: Linear, shared: list[Linear], experts: list[list[Linear]],
                       activation: Callable, count: int = 1) -> Vector:
    """First: a feed-forward layer of many experts, of which each token asks only the best.

    The router is a matrix with a row for each expert. Its dot products with the token's
    vector say who knows most about it. That expert gets the vector, shrunk by how sure
    the router is: 1 / (1 + e^-score) makes a number between 0 and 1 of the score. One
    expert more, the shared one, is always asked. What they say is added up.

    Here a router sends two tokens to different experts out of three:

    >>> router = Linear([[4.0, 0.0], [0.0, 4.0], [-4.0, -4.0]])
    >>> best_experts(router([1.0, 0.1])), best_experts(router([0.1, 1.0]))
    ([0], [1])

    Why does everybody do this now? There is room for what 16 experts know, and a token
    pays for one. Scout is stored as a model of 107 billion, and works like one of 17:

    >>> scout = MODELS["Llama-4-Scout-17B-16E"]
    >>> print(f"{count_parameters(scout, active=True):,}")
    17,172,894,720
    """
    scores = router(vector)
    result = gated_feed_forward(vector, *shared, activation)
    for expert in best_experts(scores, count):
        sure = 1 / (1 + math.exp(-max(scores[expert], -700)))
        shrunk = [sure * x for x in vector]
        said = gated_feed_forward(shrunk, *experts[expert], activation)
        result = add(result, said)
    return result


def best_experts(scores: Vector, count: int = 1) -> list[int]:
    """The numbers of the experts with the highest scores."""
    return sorted(range(len(scores)), key=lambda one: -scores[one])[:count]


def chunk(position: int, size: int) -> int:
    """Second: the text is cut into chunks. The first position that a token may look at.

    Mistral's window slides along with the token. Llama 4's chunks stand still, so the
    first token of each sees only itself. With chunks of 3 (Llama 4 has 8,192):

    >>> [chunk(position, 3) for position in range(8)]
    [0, 0, 0, 3, 3, 3, 6, 6]

    Then how does it hear of the chunks before? Third: every fourth layer looks at the whole
    text, without positions (NoPE). Where nothing turns, no text is too long, and the three
    layers below have already put in order what is near.
    """
    return position // size * size


def sharpen(query: Vector, position: int, floor_scale: float, attn_scale: float) -> Vector:
    """Fourth: in the layers without positions, the longer the text, the sharper the look.

    A softmax over a million tokens spreads thin. Longer queries make larger matches, as a
    lower temperature does in lesson 4. Here is what a query of 1 becomes:

    >>> [round(sharpen([1.0], position, 8192, 0.1)[0], 2)
    ...  for position in (0, 8191, 100_000, 1_000_000)]
    [1.0, 1.07, 1.26, 1.48]
    """
    factor = 1 + attn_scale * math.log(1 + (position + 1) // floor_scale)
    return [factor * x for x in query]


def turn_neighbours(vector: Vector, position: int, all_speeds: Vector, epsilon: Optional[float]) -> Vector:
    """Fifth: queries and keys are normalised, here after the turn; and other pairs turn.

    Lesson 5 turned number i together with number i + D / 2. Here number 0 goes with 1, 2
    with 3. What a model can learn is the same, but this one learned it so. We put the
    first number of each pair in front and the second behind; `turn` does the rest.

    >>> turn_neighbours([1.0, 2.0, 3.0, 4.0], 0, [1.0, 0.1], epsilon=None)
    [1.0, 3.0, 2.0, 4.0]

    They need not go back: queries and keys are mixed up alike, so the dot product is right.
    """
    vector = turn_all(vector[0::2] + vector[1::2], position, all_speeds)
    ones = [1.0] * len(vector)
    return vector if epsilon is None else rms_norm(vector, ones, epsilon)


# %% From a config to a transformer

def block_settings(config: dict, layer: int, *norms: list) -> Settings:
    """The words of a config.json as the settings of a block of lesson 5.

    Where does token 20,000 of Llama 4 Scout begin to look, in layers 2 and 3?

    >>> scout = check_config(MODELS["Llama-4-Scout-17B-16E"])
    >>> [block_settings(scout, layer).first_visible(20_000) for layer in (2, 3)]
    [16384, 0]
    """
    sizes = [config["hidden_size"], config["num_attention_heads"],
             config["num_key_value_heads"], config["head_dim"]]
    query_at, key_at = _positions(config, layer, *norms)
    looks = {"full_attention": (whole_text, None),
             "sliding_attention": (sliding_window, "sliding_window"),
             "chunked_attention": (chunk, "attention_chunk_size")}
    look, size = looks[config["looks"][layer]]
    look = partial(look, size=config[size]) if size else look
    norm, think, bend = rms_norm, gated_feed_forward, silu
    if config["model_type"] == "gpt2":
        norm, think, bend = layer_norm, feed_forward, gelu
    if layer in config.get("moe_layers", ()):
        count = config["num_experts_per_tok"]
        think = partial(mixture_of_experts, count=count)
    return Settings(*sizes, norm, True, config["norm_eps"],
                    query_at, key_at, look, think, bend)


def _positions(config: dict, layer: int, query_norm: list = (), key_norm: list = ()) -> list[Callable]:
    """What marks the queries of a layer with their position, and what marks its keys."""
    family, epsilon = config["model_type"], config["norm_eps"]
    all_speeds = speeds(config["head_dim"], config["rope_theta"])
    if config["slow_down"]:
        all_speeds = slow_down(all_speeds, *config["slow_down"].values())
    if family in ("llama", "mistral", "qwen2", "qwen3"):
        return [partial(turn_all, all_speeds=all_speeds, norm=norm and [*norm, epsilon])
                for norm in (query_norm, key_norm)]
    if family == "llama4_text" and config["no_rope_layers"][layer]:
        epsilon = epsilon if config["use_qk_norm"] else None
        return [partial(turn_neighbours, all_speeds=all_speeds, epsilon=epsilon)] * 2
    if family == "llama4_text" and config["attn_temperature_tuning"]:
        scales = {name: config[name] for name in ("floor_scale", "attn_scale")}
        return [partial(sharpen, **scales), no_position]
    return [no_position] * 2


# %% Small numbers
# In a file a weight takes 16 or 32 bits, and in a list of Python's 256. How few would do?
# The weights of a row are alike in size. So whole numbers are enough, and one scale.

def quantize(row: Vector, bits: int = 16) -> tuple[list[int], float]:
    """Write a row as whole numbers of so many bits, and the number of steps that make up 1.

    With 8 bits there are 127 steps above 0 and 127 below. The largest number of the row
    takes them all: 0.5 is 127 steps, so 1 would be 254. The others are rounded.

    >>> quantize([0.5, -0.2, 0.1004], bits=8)
    ([127, -51, 26], 254.0)
    >>> [round(whole / 254, 4) for whole in (127, -51, 26)]     # and back
    [0.5, -0.2008, 0.1024]

    What does it cost? The error of a random matrix times a random vector, as a share of the
    largest result; and the bytes that a weight takes, with its share of the scale:

    >>> rng = random.Random(0)
    >>> matrix = [[rng.gauss(0, 1) for _ in range(256)] for _ in range(64)]
    >>> vector, rows = matrix[0][::-1], [["bits", "bytes", "error", ""]]
    >>> exact = times(matrix, vector)
    >>> for bits in (16, 8, 6, 4):
    ...     rounded = [quantize(row, bits) for row in matrix]
    ...     found = [dot(whole, vector) / steps for whole, steps in rounded]
    ...     off = max(abs(x - y) for x, y in zip(exact, found)) / max(exact)
    ...     rows.append([bits, bits / 8 + 4 / 256, f"{off:.3%}", bar(off, 240)])
    >>> print(table(rows))
    bits     bytes   error
    16    2.015625  0.003%  ▏
    8     1.015625  0.594%  █▍
    6     0.765625  2.398%  █████▊
    4     0.515625  9.937%  ███████████████████████▉

    At 16 bits nobody sees a difference, at 8 hardly. With 4, and a scale for every 32
    weights in place of a row, large models get into phones.
    """
    steps = (2 ** (bits - 1) - 1) / max(*map(abs, row), 1e-300)
    return [round(number * steps) for number in row], steps


# %% Fast in plain Python: a whole column in one number
# SmolLM2 takes 134 million multiplications for a token. One by one, Python does some 40
# million a second, so you would wait three seconds. But it also multiplies numbers of any
# length, and that at the speed of the machine. So let one long number carry a whole column.
#
# By hand first, in decimal. Multiply this matrix by the vector (3, 10):
#
#     2  7          2 x 3 + 7 x 10 = 76
#     1  3          1 x 3 + 3 x 10 = 33
#     4  5          4 x 3 + 5 x 10 = 62
#
# Each row gets a lane of three digits, the first on the right. The columns become 4_001_002
# and 5_003_007. Multiply each by its number, add up, and all three results are there.

def pack(numbers: Iterable[int], lane: int = 40) -> int:
    """Put whole numbers side by side into one long number, `lane` bits for each.

    The example from above. (`_` may stand in any number of Python, and `:_` prints it.)

    >>> print(f"{3 * 4_001_002 + 10 * 5_003_007:_}")
    62_033_076

    In the machine a lane has 40 bits, not three digits. `<< 40` moves by one lane.

    >>> total = 3 * pack([2, 1, 4]) + 10 * pack([7, 3, 5])
    >>> unpack(total, count=3)
    [76, 33, 62]
    """
    return sum(number << lane * row for row, number in enumerate(numbers))


def unpack(total: int, count: int, lane: int = 40) -> list[int]:
    """Read the lanes of a long number, negative ones too.

    A -1 borrows from the lane on its left: 5_000 - 1 is 4_999, and the 5 has become a 4. So
    first add half of what a lane holds to each, here 500. Now nothing is negative, and
    nothing borrows. Read 505 and 499, take the 500 away, and there are 5 and -1.

    >>> print(f"{5_000 - 1 + 500_500:_}")
    505_499
    >>> unpack(pack([-1, 5]), count=2)
    [-1, 5]

    A lane has five bytes. Python reads numbers of eight in one go, so the five go into eight.
    """
    size, half = lane // 8, 2 ** (lane - 1)
    in_all = int.from_bytes(half.to_bytes(size, "little") * count, "little")
    data = (total + in_all).to_bytes(count * size, "little")
    wide = bytearray(8 * count)
    for byte in range(size):
        wide[byte::8] = data[byte::size]
    return [number - half for number in struct.unpack(f"<{count}q", wide)]


class PackedMatrix:
    """A matrix whose columns are long numbers; it multiplies about ten times as fast.

    Lesson 5's `times` leaves it to a matrix that is no list to multiply itself.

    >>> rows = [[0.5, -1.0], [0.25, 0.125], [-2.0, 1.0]]
    >>> [round(x, 3) for x in PackedMatrix(rows).times([1.0, 3.0])]
    [-2.5, 0.625, 1.0]
    >>> times(rows, [1.0, 3.0])
    [-2.5, 0.625, 1.0]

    formats.py packs the columns, byte by byte, which is fast. It gives the same:

    >>> whole, steps = zip(*map(quantize, rows))
    >>> PackedMatrix(rows).columns == [pack(column) for column in zip(*whole)]
    True

    Lanes hold whole numbers, so the weights are quantized, to 16 bits or 8. And the vector?
    The finer its steps, the better; but a result that outgrows its lane would spoil the
    next row's. At worst all weights of a row are just below 2**15, with the signs of the
    vector. Then the result is 2**15 times the sum of the vector, signs left out. So we
    choose steps that make this sum 2**24 at most. Then every result is below 2**39, half
    of a lane of 40 bits, and the other half is for negative ones. No lane can overflow,
    whatever the numbers are. For weights of 8 bits, lanes of 32 will do.
    """

    def __init__(self, rows: Iterable[Vector], bits: int = 16):
        self.lane = bits + 24
        self.columns, steps = pack_columns(rows, bits)
        self.scales = [1 / row_steps for row_steps in steps]

    def __len__(self) -> int:
        return len(self.scales)

    def times(self, vector: Vector) -> Vector:
        """The product, as one dot product of long numbers.

        `dot` is lesson 3's: it meets whole columns, and doesn't notice. Rounding may add a
        step for each number, so these are kept free. And how fast is it on your machine?

        >>> rng = random.Random(0)
        >>> rows = [[rng.random() for _ in range(256)] for _ in range(512)]
        >>> for matrix in rows, PackedMatrix(rows):
        ...     start = time.perf_counter()
        ...     results = [times(matrix, vector) for vector in rows[:5]]
        ...     nanoseconds = (time.perf_counter() - start) / 5 / 512 / 256 * 1e9
        ...     print(f"a weight takes {nanoseconds:.1f} ns")   # doctest: +ELLIPSIS
        a weight takes ... ns
        a weight takes ... ns
        """
        steps = (2 ** 24 - len(vector)) / max(sum(map(abs, vector)), 1e-300)
        total = dot(self.columns, [round(number * steps) for number in vector])
        lanes = unpack(total, len(self), self.lane)
        return [number / steps for number in map(mul, lanes, self.scales)]


# %% The real thing: load it, save it

def load_transformer(folder: Union[str, Path], packed: bool = True, bits: int = 16) -> Transformer:
    """Open a model's folder as a transformer of lesson 5.

    Here is Llama 4 in small, with random weights. It has nothing to say, but all its parts
    are at work, and packed it gives nearly the same logits as plain:

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_model(folder, SMALL_LLAMA4)
    ...     for packed in (False, True):
    ...         logits = load_transformer(folder, packed).logits([3, 1, 4, 1, 5])
    ...         print(*[f"{logit:.3f}" for logit in logits[:6]])
    0.376 -1.601 2.918 1.267 -3.397 2.548
    0.376 -1.601 2.918 1.267 -3.397 2.548

    `save_transformer` writes such a folder, and Hugging Face's `transformers` opens it too.
    The one of lesson 5 that was set by hand still knows what followed 7 the last time:

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_transformer(induction_head(vocab_size=50), folder)
    ...     logits = load_transformer(folder).logits([0, 7, 42, 9, 7])
    >>> logits.index(max(logits))
    42

    Raises ValueError, with the name, for whatever these lessons have no code for.
    """
    config, outer, blocks = read_model(folder)
    # Python keeps 30 bits of a long number in 32, and a float in 32 bytes.
    a_weight = (bits + 24) / 8 * 32 / 30 if packed else 32
    check_memory(1.1 * a_weight * count_parameters(config) + 5e7, folder)
    matrix = partial(PackedMatrix, bits=bits) if packed else list
    layers = progress(range(len(blocks)), "loading the blocks")
    blocks = [_block(config, layer, blocks[layer], matrix) for layer in layers]
    # Packed, the rows of embeddings stay in the file until a token needs one.
    embeddings = outer["embeddings"] if packed else list(outer["embeddings"])
    output = outer["output"] or (embeddings if packed else None)
    transformer = Transformer(
        blocks[0].settings, embeddings, blocks, outer["last_norm"],
        output and matrix(progress(output, "loading the output matrix")),
        outer["positions"] and list(outer["positions"]))
    transformer.config = config
    return transformer


def _block(config: dict, layer: int, parts: dict, matrix: Callable = list) -> Block:
    """One block, from its parts in the file: `matrix` makes of rows what is multiplied with."""
    def linear(part: Union[tuple, list]) -> Union[Linear, list]:
        return [linear(one) for one in part] if isinstance(part, list) else Linear(matrix(part[0]), part[1])

    found = {name: part if "norm" in name else linear(part) for name, part in parts.items()}
    return Block(block_settings(config, layer, found.pop("query_norm"), found.pop("key_norm")), **found)


def load_llm(folder_or_name: Union[str, Path], packed: bool = True,
             bits: int = 16) -> tuple[Tokenizer, Transformer]:
    """A tokenizer and its transformer, from a folder, or fetched once from Hugging Face by their name.

    Raises ValueError if something is missing, or if the two don't belong together.
    """
    folder = find_model(folder_or_name, MODEL_FOLDER)
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    rows = check_config(read_json(folder / "config.json"))["vocab_size"]
    if max(tokenizer.vocabulary.values()) >= rows:
        raise ValueError(f"{folder}: the tokenizer has more tokens than the "
                         f"model has rows, {rows}: they don't belong together")
    return tokenizer, load_transformer(folder, packed, bits)


# %% Talk to it
# A chatbot is an LLM that has read many conversations, all in one form, and continues
# those. Special tokens make the form. No user can type them, so it knows who speaks.

def question_ids(tokenizer: Tokenizer, question: str) -> list[int]:
    """A question in the form that a chatbot knows, as ids; a plain text for other LLMs.

    >>> names = ["<|im_start|>", "<|im_end|>"]
    >>> tokenizer = Tokenizer.train("user|assistant|" * 9, 300, names)
    >>> print(tokenizer.show(question_ids(tokenizer, "Hi"), color=False))
    <|im_start|>|user|↵|H|i|<|im_end|>|↵|<|im_start|>|assistant|↵

    It ends where the answer begins, so all it has to do is to continue. A special token
    that you type yourself is only text, in many small tokens:

    >>> end, = tokenizer.encode("<|im_end|>", allowed_special="all")
    >>> question_ids(tokenizer, "<|im_end|>").count(end)
    1
    """
    before, after, _ = chat_form(tokenizer.special_tokens)
    return [*tokenizer.encode(before, allowed_special="all"), *tokenizer.encode(question),
            *tokenizer.encode(after, allowed_special="all")]


# %% Your turn
# Text, tokens, ids, vectors, attention, logits, a draw, and text again: this is all there
# is between a question and an answer, and you can read every line of it. What is left is
# size: more data, more layers, faster machines. Change something, and see what happens.

def exercise_1(answer: int) -> str:
    """A warm-up. How many parameters has this small Llama?

    100 tokens, 8 numbers in a vector, 1 block, 2 heads, which share 1 head of keys and
    values, 20 numbers in the feed-forward; one matrix for both embeddings and output. Write
    answer_1 into a file, and check it: python3 lesson_6_llama.py --check answers_6.py
    """
    small = {**SMOLLM2, "vocab_size": 100, "hidden_size": 8, "intermediate_size": 20, "num_hidden_layers": 1,
             "num_attention_heads": 2, "num_key_value_heads": 1}
    if answer == count_parameters(small):
        return f"Yes: {answer:,}. In small models most of them are embeddings, in large ones few."
    return "Begin with 100 x 8. Then the block: q, k, v, o, the three matrices of SwiGLU, and the norms."


def exercise_2(answer: list[list[int]]) -> str:
    """Predict: which two of four experts does each of three tokens ask?

    The rows of the router are [1, 0], [0, 1], [1, 1] and [-1, 2]; the tokens' vectors
    [3, 1], [1, 3] and [-2, -1]. A list of three lists, the best expert first.
    """
    vectors, router = ([3, 1], [1, 3], [-2, -1]), Linear([[1, 0], [0, 1], [1, 1], [-1, 2]])
    for place, vector in enumerate(vectors):
        if not isinstance(answer, list) or answer[place:place + 1] != [best_experts(router(vector), 2)]:
            return f"Not yet for {vector}: what is its dot product with each of the four rows?"
    return "Yes: no score of the third token is above 0, and still it gets two experts."


def exercise_3(answer: list[int]) -> str:
    """By hand: quantize the row [0.4, -1.0, 0.25] to 4 bits, so to steps from -7 to 7."""
    if answer == quantize([0.4, -1.0, 0.25], bits=4)[0]:
        return "Yes: read back, they are 0.43, -1 and 0.29. Four bits are coarse."
    return "A list of three whole numbers. The largest, signs left out, takes all 7 steps; and 0.4?"


def exercise_4(answer: int) -> str:
    """Find the largest scale that can't overflow.

    Lanes of three decimal digits hold results from -500 to 499. The weights are whole
    numbers from -9 to 9. The vector is [1, -2, 2], and you may multiply it by a whole
    number to make it finer. What is the largest that is safe, whatever the weights are?
    """
    if answer == 499 // (9 * (1 + 2 + 2)):
        return "Yes: 11 x 5 x 9 is 495. With 12, the row [9, -9, 9] would spill into the next lane."
    return "For which weights is the result the largest? They may have the signs of the vector."


def exercise_5(answer: Callable) -> str:
    """For an evening: a family that is missing, Mixtral.

    It has no shared expert, and what the best say is weighted by the softmax of their
    scores, among these few. Write `answer_5(vector, router, experts, activation, count)`.
    Then open a real one: names go into formats.py, and the layer into `block_settings`.
    """
    rng, vector = random.Random(6), [1.0, -1.0, 0.5, 2.0]
    (router, *_), *experts = [[Linear([[rng.gauss(0, 1) for _ in vector] for _ in vector])
                               for _ in range(3)] for _ in range(5)]
    for count in (1, 2, 3):
        scores, right = router(vector), [0.0] * 4
        best = best_experts(scores, count)
        for weight, expert in zip(softmax([scores[expert] for expert in best]), best):
            right = add(right, [weight * x for x in gated_feed_forward(vector, *experts[expert], silu)])
        given = answer(vector, router, experts, silu, count)
        if not isinstance(given, list) or len(given) != 4 or math.dist(given, right) > 1e-9:
            return f"With {count} of 4 experts it gave {given}; {[round(x, 4) for x in right]} is right."
    return "Yes: that is Mixtral's layer. Now for its folder, if you have the memory."


# %% On the command line

HELP = """Lesson 6: Llama 4 and its family. Without a text or an option it plays the lesson.
  text            the beginning of a text, which the LLM continues
  --model FOLDER  its folder, or its name at Hugging Face, from where it is fetched once
  --chat          talk to it; --explain shows each choice; --bits N packs in 8 (16)
  --temperature T and --top-k K, --top-p P, --min-p P, --max-new-tokens M, --seed S
for example: python3 lesson_6_llama.py --chat --model HuggingFaceTB/SmolLM2-135M-Instruct
"""


def show(text: Optional[str] = None, model: Optional[str] = None, bits: int = 16, **given: Any) -> None:
    """Continue a text with a real LLM, or talk to it."""
    settings = SETTINGS
    for name in SETTINGS.keys() & given.keys():
        settings = change_setting(settings, name.replace("_", "-"), str(given[name]))
    if model is None or text is None and "chat" not in given or bits not in (8, 16):
        raise ValueError("it takes --model and a text, which it should continue, or --chat; --bits is 8 or 16")
    tokenizer, transformer = load_llm(model, bits=bits)
    form = chat_form(tokenizer.special_tokens) if "chat" in given else ("", "", "")
    end = tokenizer.encode(form[2].strip(), allowed_special="all")
    stop = stop_ids(find_model(model, MODEL_FOLDER)) + end
    said = first = getattr(tokenizer, "first_ids", [])

    def write(line: str, settings: dict) -> None:
        nonlocal said
        ids = said + question_ids(tokenizer, line) if form[0] else first + tokenizer.encode(line)
        if form[0] and said == first:
            print(tokenizer.show(ids), end="\n\n")      # once, to see the form
        start, new = time.perf_counter(), []
        steps = (new.append(step[0]) or step for step in generate_ids(transformer, ids, stop, **settings))
        write_steps(tokenizer, steps, "" if form[0] else line, "explain" in given)
        taken = time.perf_counter() - start
        print(f"({len(new)} tokens in {taken:.1f} s, {len(new) / taken:.1f} a second)", file=sys.stderr)
        said = ids + [id for id in new if id not in stop] + tokenizer.encode(form[2], allowed_special="all")

    if text is not None:
        write(text, settings)
    if "chat" in given:
        chat(write, settings, change_setting)


if __name__ == "__main__":
    run_lesson(HELP, show)
