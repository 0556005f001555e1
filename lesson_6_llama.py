"""Lesson 6: Llama 4, and every LLM of its family, run in plain Python.

Lesson 5 built the transformer. The LLMs that people give away are that class with
other numbers in it: GPT-2, Llama, Mistral, Qwen, Llama 4. Each of them is a folder
of three files, and each file belongs to a lesson that you know:

    tokenizer.json      text → ids → text                          lesson 2
    model.safetensors   every number that it has learned           lesson 3
    config.json         how many layers, heads and so on           this lesson

Here you open such folders, see what is new in Llama 4, and make plain Python ten
times as fast, so that you can talk to a real LLM on your own machine. Every line
that runs is a line of this course:

    python3 lesson_6_llama.py --chat --model HuggingFaceTB/SmolLM2-135M-Instruct

What does the 135M in its name mean? It has 135 million numbers, and you can count
them from its config.json alone:

>>> print(f"{count_parameters(SMOLLM2):,}")
134,515,008
"""

import json
import math
import os
import random
import struct
import sys
import tempfile
import time
from array import array
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Callable, Iterable, Optional, Union

sys.path.append(os.path.dirname(sys.argv[0]))

from formats import check_config, fetch, free_memory, read_json, read_weights, weight_map, write_safetensors, write_whole
from lesson_2_coding_tokenizer import Tokenizer
from lesson_3_embeddings import MODEL_FOLDER, Matrix, Vector, dot
from lesson_5_transformer import (Block, Linear, Settings, Transformer, feed_forward, gated_feed_forward, gelu, layer_norm,
                                  no_position, rms_norm, silu, sliding_window, speeds, times, turn, whole_text)
from stage import bar, progress, run_lesson, table


# %% A model is a folder
# Below is the config.json of SmolLM2-135M, a small relative of Llama, with a note
# on each line. (Real ones have a few lines more, which matter only in training.)

SMOLLM2 = {
    "model_type": "llama",          # the family
    "vocab_size": 49152,            # tokens: rows of the embedding matrix
    "hidden_size": 576,             # numbers in the vector of a token
    "num_hidden_layers": 30,        # blocks, one on top of the other
    "num_attention_heads": 9,       # heads in each block, of 576 / 9 = 64 numbers
    "num_key_value_heads": 3,       # three heads share their keys and values
    "intermediate_size": 1536,      # feed-forward: from 576 numbers to 1,536 and back
    "hidden_act": "silu",           # the bend in it
    "rms_norm_eps": 1e-05,          # epsilon of the norms
    "rope_theta": 100000,           # base of the rotary positions
    "tie_word_embeddings": True,    # the output matrix is the embedding matrix
}


def tensor_shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """The name and the shape of each tensor that a model of this config.json has.

    A matrix of 576 x 1536 takes 1,536 numbers and gives 576. Here is a model of two
    layers; the second has the same tensors as the first.

    >>> shapes = tensor_shapes({**SMOLLM2, "num_hidden_layers": 2})
    >>> for name, shape in list(shapes.items())[:11]:
    ...     print(name.ljust(48), *shape)
    model.embed_tokens.weight                        49152 576
    model.norm.weight                                576
    model.layers.0.input_layernorm.weight            576
    model.layers.0.post_attention_layernorm.weight   576
    model.layers.0.self_attn.q_proj.weight           576 576
    model.layers.0.self_attn.k_proj.weight           192 576
    model.layers.0.self_attn.v_proj.weight           192 576
    model.layers.0.self_attn.o_proj.weight           576 576
    model.layers.0.mlp.gate_proj.weight              1536 576
    model.layers.0.mlp.up_proj.weight                1536 576
    model.layers.0.mlp.down_proj.weight              576 1536

    You know them all from lesson 5: the norms, the matrices for queries, keys,
    values and what the heads bring home, and the three of SwiGLU.
    """
    config = check_config(config)
    outside, at, of_layer = (_gpt2_shapes if config["model_type"] == "gpt2" else _llama_shapes)(config)
    for layer in range(config["num_hidden_layers"]):
        outside.update((f"{at}{layer}.{name}", shape) for name, shape in of_layer(layer))
    return outside


def count_parameters(config: dict, active: bool = False) -> int:
    """How many numbers a model has; with `active`, how many of them one token uses.

    The names promise it. Do the models keep their promises?

    >>> for name, config in MODELS.items():
    ...     print(f"{name:22} {count_parameters(config):15,}")
    GPT-2 (124M)               124,439,808
    Qwen2.5-0.5B               494,032,768
    Llama-3.2-1B             1,235,814,400
    Mistral-7B               7,241,732,096
    Llama-4-Scout-17B-16E  107,769,579,520

    The last one has 107 billion, and calls itself 17B. You'll see why.
    """
    total = 0
    for name, shape in tensor_shapes(config).items():
        size = math.prod(shape)
        if active and ".experts." in name:      # of 16 experts, 1 is asked
            size = size * config["num_experts_per_tok"] // shape[0]
        total += size
    return total


def _sizes(*numbers: int, **others: Any) -> dict:
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
             "num_key_value_heads")
    return {**dict(zip(names, numbers)), **others}


MODELS = {
    "GPT-2 (124M)": _sizes(50257, 768, 3072, 12, 12, model_type="gpt2", n_positions=1024),
    "Qwen2.5-0.5B": _sizes(151936, 896, 4864, 24, 14, 2, model_type="qwen2", tie_word_embeddings=True),
    "Llama-3.2-1B": _sizes(128256, 2048, 8192, 16, 32, 8, model_type="llama", tie_word_embeddings=True),
    "Mistral-7B": _sizes(32000, 4096, 14336, 32, 32, 8, model_type="mistral"),
    "Llama-4-Scout-17B-16E": _sizes(202048, 5120, 8192, 48, 40, 8, model_type="llama4_text", head_dim=128,
                                    intermediate_size_mlp=16384, num_local_experts=16, num_experts_per_tok=1)}


def _llama_shapes(config: dict) -> tuple[dict, str, Callable]:
    """The tensors outside of the layers, the beginning of a layer's names, and the tensors of a layer."""
    family, wide, one_head = config["model_type"], config["hidden_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * one_head, config["num_key_value_heads"] * one_head
    qkv_bias, bias = family == "qwen2" or config.get("attention_bias"), config.get("attention_bias")
    outside = {"model.embed_tokens.weight": (config["vocab_size"], wide), "model.norm.weight": (wide,)}
    if not config["tie_word_embeddings"]:
        outside["lm_head.weight"] = (config["vocab_size"], wide)

    def linear(name: str, rows: int, columns: int, bias: bool = False) -> list:
        return [(name + ".weight", (rows, columns))] + [(name + ".bias", (rows,))] * bool(bias)

    def swiglu(at: str, size: int) -> list:
        bias = config.get("mlp_bias")
        return [*linear(at + "gate_proj", size, wide, bias), *linear(at + "up_proj", size, wide, bias),
                *linear(at + "down_proj", wide, size, bias)]

    def of_layer(layer: int) -> list:
        shapes = [("input_layernorm.weight", (wide,)), ("post_attention_layernorm.weight", (wide,)),
                  *linear("self_attn.q_proj", queries, wide, qkv_bias), *linear("self_attn.k_proj", keys, wide, qkv_bias),
                  *linear("self_attn.v_proj", keys, wide, qkv_bias), *linear("self_attn.o_proj", wide, queries, bias)]
        if family == "qwen3":
            shapes += [("self_attn.q_norm.weight", (one_head,)), ("self_attn.k_norm.weight", (one_head,))]
        if family != "llama4_text":
            return shapes + swiglu("mlp.", config["intermediate_size"])
        if layer not in config["moe_layers"]:
            return shapes + swiglu("feed_forward.", config["intermediate_size_mlp"])
        experts, size = config["num_local_experts"], config["intermediate_size"]
        return shapes + [*linear("feed_forward.router", experts, wide), *swiglu("feed_forward.shared_expert.", size),
                         ("feed_forward.experts.gate_up_proj", (experts, wide, 2 * size)),
                         ("feed_forward.experts.down_proj", (experts, size, wide))]

    return outside, "model.layers.", of_layer


def _gpt2_shapes(config: dict) -> tuple[dict, str, Callable]:
    """The same for GPT-2, whose matrices lie on their side: columns x rows."""
    wide, size = config["hidden_size"], config["intermediate_size"]
    pairs = [("ln_1", (wide,)), ("attn.c_attn", (wide, 3 * wide)), ("attn.c_proj", (wide, wide)), ("ln_2", (wide,)),
             ("mlp.c_fc", (wide, size)), ("mlp.c_proj", (size, wide))]
    of_layer = [(f"{name}.{kind}", part) for name, shape in pairs for kind, part in (("weight", shape), ("bias", shape[-1:]))]
    outside = {"transformer.wte.weight": (config["vocab_size"], wide), "transformer.ln_f.weight": (wide,),
               "transformer.wpe.weight": (config["max_position_embeddings"], wide), "transformer.ln_f.bias": (wide,)}
    if not config["tie_word_embeddings"]:
        outside["lm_head.weight"] = (config["vocab_size"], wide)
    return outside, "transformer.h.", lambda layer: of_layer


# %% Learn once, create any LLM
# Every family takes its pieces from the same box. Those of lesson 5, and three that
# are new, in the last column:
#
#               positions  norm        feed-forward   looks back  new
#     GPT-2     learned    layer_norm  gelu, biases   everywhere
#     Llama 2   rotary     rms_norm    SwiGLU         everywhere
#     Llama 3   rotary     rms_norm    SwiGLU         everywhere  slower pairs
#     Mistral   rotary     rms_norm    SwiGLU         in a window
#     Qwen2.5   rotary     rms_norm    SwiGLU         everywhere  (biases on q, k, v)
#     Qwen3     rotary     rms_norm    SwiGLU         everywhere  norms on q and k
#     Llama 4   rotary     rms_norm    experts        in chunks   the next section

def slow_down(all_speeds: Vector, factor: float, low_freq_factor: float, high_freq_factor: float,
              original_max_position_embeddings: int) -> Vector:
    """Llama 3's rotary positions: turn the slow pairs more slowly, for longer texts.

    Llama 3 was first trained on texts of 8,192 tokens, and then on longer ones. A
    pair of numbers that turns fast is like the second hand of a clock: it has gone
    round many times, and every angle is familiar. A slow pair is like the hour hand.
    In a text 16 times as long it would come to angles that it never had. So a pair
    with fewer than 1 full turn in the old length (`low_freq_factor`) is slowed down,
    one with more than 4 is left alone, and between them it changes smoothly.

    >>> old = [1.0, 0.001, 0.0001]
    >>> [round(speed * 8192 / (2 * math.pi), 2) for speed in old]   # full turns
    [1303.8, 1.3, 0.13]
    >>> [round(speed / new) for speed, new in zip(old, slow_down(old, 32, 1, 4, 8192))]
    [1, 8, 32]

    Here the middle one turns 1.3 times, a tenth of the way from 1 to 4. So nine
    tenths of its new speed are the slow one, and it comes out 8 times slower.
    """
    def slower(speed: float) -> float:
        turns = speed * original_max_position_embeddings / (2 * math.pi)
        if low_freq_factor < turns < high_freq_factor:
            keep = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor)
        else:
            keep = float(turns >= high_freq_factor)
        return keep * speed + (1 - keep) * speed / factor

    return [slower(speed) for speed in all_speeds]


def turn_at(vector: Vector, position: int, all_speeds: Vector) -> Vector:
    """The rotary positions of Llama, Mistral and Qwen: `turn` of lesson 5, at given speeds.

    >>> [round(x, 3) for x in turn_at([1.0, 0.0], 3, [math.pi / 6])]    # a quarter turn
    [0.0, 1.0]
    """
    return turn(vector, [position * speed for speed in all_speeds])


def norm_and_turn(vector: Vector, position: int, all_speeds: Vector, weights: Vector, epsilon: float) -> Vector:
    """Qwen3 brings queries and keys to one length first, so that no dot product gets out of hand.

    >>> both = [norm_and_turn(q, 0, [1.0], [1.0, 1.0], 0.0) for q in ([3.0, 4.0], [300.0, 400.0])]
    >>> both[0] == both[1]
    True
    """
    return turn_at(rms_norm(vector, weights, epsilon), position, all_speeds)


# %% Llama 4
# Llama 4 came out in April 2025. Five things are new in it, and each is a few lines.

def mixture_of_experts(vector: Vector, router: Linear, shared: list[Linear], experts: list[list[Linear]],
                       activation: Callable, count: int = 1) -> Vector:
    """A feed-forward layer of many experts, of which each token asks only the best few.

    The router is a matrix with one row for each expert. Its dot products with the
    token's vector say who knows most about it. That expert gets the vector, scaled by
    how sure the router is: the logistic function makes a number from 0 to 1 of its
    score. The shared expert is always asked, and what they say is added up.

    Here is a router of three experts, and a token for each of two of them:

    >>> router = Linear([[4.0, 0.0], [0.0, 4.0], [-4.0, -4.0]])
    >>> pick_experts(router([1.0, 0.1])), pick_experts(router([0.1, 1.0]))
    ([0], [1])

    Why is this cheap? The model has all the experts, but a token is multiplied with
    one only. Llama 4 Scout has 107 billion parameters, and for each token it works
    like one of 17 billion. So it must be large in memory, but not slow.

    >>> scout = MODELS["Llama-4-Scout-17B-16E"]
    >>> print(f"{count_parameters(scout):,} {count_parameters(scout, active=True):,}")
    107,769,579,520 17,169,121,280
    """
    scores = router(vector)
    result = gated_feed_forward(vector, *shared, activation)
    for expert in pick_experts(scores, count):
        sure = 1 / (1 + math.exp(-scores[expert]))
        said = gated_feed_forward([sure * x for x in vector], *experts[expert], activation)
        result = [x + y for x, y in zip(result, said)]
    return result


def pick_experts(scores: Vector, count: int = 1) -> list[int]:
    """The numbers of the experts with the highest scores, best first.

    >>> pick_experts([0.5, 2.0, -1.0, 1.5], count=2)
    [1, 3]
    """
    return sorted(range(len(scores)), key=lambda expert: -scores[expert])[:count]


def chunk(position: int, size: int) -> int:
    """The first position in sight: the text is cut into chunks, and nobody looks into the one before.

    Mistral's window slides along with the token. Llama 4's chunks of 8,192 tokens
    stand still, so the first token of a chunk sees only itself:

    >>> [chunk(position, 3) for position in range(8)]
    [0, 0, 0, 3, 3, 3, 6, 6]

    How does anything get from one chunk to the next? In every fourth layer tokens
    see the whole text, and these layers have no positions at all (NoPE). With
    nothing to turn, no text is too long for them. That a token sees only the past
    is enough to know that there is an order.
    """
    return position // size * size


def temper(query: Vector, position: int, floor_scale: float, attn_scale: float) -> Vector:
    """In the layers without positions: the longer the text, the sharper the look.

    A softmax over a million tokens spreads its attention thin. A longer query gives
    larger dot products, and works like a lower temperature in lesson 4.

    >>> for position in (0, 8191, 100_000, 1_000_000):
    ...     print(position, [round(x, 2) for x in temper([1.0], position, 8192, 0.1)])
    0 [1.0]
    8191 [1.07]
    100000 [1.26]
    1000000 [1.48]
    """
    factor = 1 + attn_scale * math.log(1 + (position + 1) // floor_scale)
    return [factor * x for x in query]


def turn_neighbours(vector: Vector, position: int, all_speeds: Vector, epsilon: Optional[float] = None) -> Vector:
    """Llama 4 turns number 0 with number 1, 2 with 3, and so on; then it normalises.

    Lesson 5 paired number i with number i + D / 2. It makes no difference to what a
    model can learn, but the numbers of this one were learned that way. We put the
    first of each pair in front and the second behind, and `turn` does the rest:

    >>> turn_neighbours([1.0, 2.0, 3.0, 4.0], 0, [1.0, 0.1])
    [1.0, 3.0, 2.0, 4.0]

    We needn't put them back. Queries and keys are mixed up in the same way, and a
    dot product doesn't mind the order. After the turn Llama 4 brings both to one
    length, as Qwen3 does before it, but without weights (`epsilon` is the norm's).
    """
    vector = turn_at(vector[0::2] + vector[1::2], position, all_speeds)
    return vector if epsilon is None else rms_norm(vector, [1.0] * len(vector), epsilon)


# %% From a config to a transformer

def block_settings(config: dict, layer: int, query_norm: Optional[Vector] = None,
                   key_norm: Optional[Vector] = None) -> Settings:
    """Everything above, as settings of lesson 5's `Block`.

    >>> config = check_config(MODELS["Llama-4-Scout-17B-16E"])
    >>> for layer in (2, 3):
    ...     settings = block_settings(config, layer)
    ...     print(layer, settings.first_visible(20_000), settings.key_at([1.0, 0.0], 0))
    2 16384 [1.414, 0.0]
    3 0 [1.0, 0.0]
    """
    query_at, key_at = _positions(config, layer, query_norm, key_norm)
    sizes = [config[name] for name in ("hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim")]
    see = {"full_attention": whole_text, "sliding_attention": partial(sliding_window, size=config.get("sliding_window")),
           "chunked_attention": partial(chunk, size=config.get("attention_chunk_size"))}
    is_gpt2, think = config["model_type"] == "gpt2", gated_feed_forward
    if layer in config.get("moe_layers", ()):
        think = partial(mixture_of_experts, count=config["num_experts_per_tok"])
    return Settings(*sizes, norm=layer_norm if is_gpt2 else rms_norm, epsilon=config["norm_eps"],
                    query_at=query_at, key_at=key_at, first_visible=see[config["layer_types"][layer]],
                    feed_forward=feed_forward if is_gpt2 else think, activation=gelu if is_gpt2 else silu)


def _positions(config: dict, layer: int, *norms: Optional[Vector]) -> list[Callable]:
    """How a layer marks queries and keys with their position: two functions of a vector and a position."""
    if config["model_type"] == "gpt2":
        return [no_position, no_position]
    all_speeds, epsilon = speeds(config["head_dim"], config["rope_theta"]), config["norm_eps"]
    if config["rope_scaling"]:
        all_speeds = slow_down(all_speeds, **config["rope_scaling"])
    if config["model_type"] == "qwen3":
        return [partial(norm_and_turn, all_speeds=all_speeds, weights=norm, epsilon=epsilon) for norm in norms]
    if config["model_type"] != "llama4_text":
        return [partial(turn_at, all_speeds=all_speeds)] * 2
    if config["no_rope_layers"][layer]:
        return [partial(turn_neighbours, all_speeds=all_speeds, epsilon=epsilon if config["use_qk_norm"] else None)] * 2
    if config["attn_temperature_tuning"]:
        return [partial(temper, floor_scale=config["floor_scale"], attn_scale=config["attn_scale"]), no_position]
    return [no_position, no_position]


# %% Small numbers
# A weight is usually stored with 16 or 32 bits, and Python's numbers take 256. How
# few bits would do? Most weights of a row are of about the same size, so whole
# numbers are enough, and one scale for the row.

def quantize(row: Vector, bits: int = 16) -> tuple[list[int], float]:
    """Write a row as whole numbers of so many bits, and how many steps make up 1.

    With 8 bits there are 127 steps up from 0 and 127 down. The largest number of the
    row takes them all; 127 / 0.5 is 254, so 1 would be 254 steps. The others are
    rounded to the nearest step.

    >>> whole, steps = quantize([0.5, -0.2, 0.1004], bits=8)
    >>> whole, steps
    ([127, -51, 26], 254.0)
    >>> [round(number / steps, 4) for number in whole]
    [0.5, -0.2008, 0.1024]

    What it costs, for a matrix of 64 x 256 random weights, times a random vector: the
    bytes for each weight, and the largest error as a share of the largest result.

    >>> print(accuracy_table([16, 8, 6, 4, 2]))
    bits  bytes a weight     error
    32              4.00     0.0 %
    16              2.02   0.001 %  ▏
    8               1.02     0.3 %  ▎
    6               0.77     1.0 %  ▉
    4               0.52     4.9 %  ████▋
    2               0.27    34.6 %  █████████████████████████████████

    With 16 bits nobody sees a difference, with 8 hardly. With 4 bits one needs finer
    scales than one a row, and that is how large models are squeezed into phones.
    """
    steps = (2 ** (bits - 1) - 1) / max(*map(abs, row), 1e-300)
    return [round(number * steps) for number in row], steps


def accuracy_table(choices: list[int]) -> str:
    """Multiply a random matrix as it is and quantized, and compare."""
    rng = random.Random(0)
    matrix = [[rng.gauss(0, 0.02) for _ in range(256)] for _ in range(64)]
    vector = [rng.gauss(0, 1) for _ in range(256)]
    exact, rows = times(matrix, vector), [["bits", "bytes a weight", "error", ""], [32, "4.00", "0.0 %", ""]]
    for bits in choices:
        rounded = [dot(whole, vector) / steps for whole, steps in (quantize(row, bits) for row in matrix)]
        error = max(abs(x - y) for x, y in zip(exact, rounded)) / max(map(abs, exact))
        rows.append([bits, f"{bits / 8 + 4 / 256:.2f}", f"{100 * error:.3f} %", bar(error, 96)])
    return table(rows)


# %% Fast in plain Python: a whole column in one number
# A token of SmolLM2 takes 134 million multiplications. One by one, Python does about
# 40 million a second, so you would wait three seconds for each token. But Python can
# multiply numbers of any length, and it does that at the speed of the machine. So we
# let one long number carry a whole column of a matrix.
#
# First by hand, in decimal. This matrix is to be multiplied by the vector (3, 10):
#
#     2  7          2 x 3 + 7 x 10 = 76
#     1  3          1 x 3 + 3 x 10 = 33
#     4  5          4 x 3 + 5 x 10 = 62
#
# Give each row a lane of three digits, the first row on the right. The first column
# becomes 4_001_002, and the second 5_003_007. Now multiply each column by its number,
# and add up: two multiplications, not six, and all three results are there.

def pack(numbers: Iterable[int], lane: int = 40) -> int:
    """Put whole numbers side by side into one long number, `lane` bits for each.

    The example from above. In Python `_` may stand in a number, and `:_` prints it.

    >>> 3 * 4_001_002 + 10 * 5_003_007
    62033076
    >>> print(f"{3 * 4_001_002 + 10 * 5_003_007:_}")
    62_033_076

    In the computer a lane has 40 bits and not three digits. `<<` moves a number to
    the left, so the second number of a column is 2 ** 40 times as large as the first.

    >>> pack([2, 1, 4]) == 2 + 1 * 2 ** 40 + 4 * 2 ** 80
    True
    >>> total = 3 * pack([2, 1, 4]) + 10 * pack([7, 3, 5])
    >>> unpack(total, count=3)
    [76, 33, 62]
    """
    return sum(number << lane * row for row, number in enumerate(numbers))


def unpack(total: int, count: int, lane: int = 40) -> list[int]:
    """Read the lanes of a long number, also where a number is negative.

    -1 in a lane borrows from the next: 5_000 - 1 is 4_999, and now the 5 looks like
    a 4. So first add half of what a lane can hold to every lane: with three digits
    that is 500. Then nothing is negative, and nothing is borrowed. Take the 500 off
    again when the lanes have been read:

    >>> print(f"{5_000 - 1 + 500_500:_}")       # 505 and 499: it was 5 and -1
    505_499
    >>> unpack(pack([-1, 5]), count=2)
    [-1, 5]

    A lane of 40 bits is five bytes. Python has no number of five bytes, but one of
    eight, so the bytes of each lane are spread over eight, three of them 0.
    """
    size, half = lane // 8, 2 ** (lane - 1)
    data = (total + same_in_all(half, count, lane)).to_bytes(count * size, "little")
    wide = bytearray(8 * count)
    for byte in range(size):
        wide[byte::8] = data[byte::size]
    return [number - half for number in struct.unpack(f"<{count}q", wide)]


def same_in_all(number: int, count: int, lane: int) -> int:
    """The same number, from 0 up, in every lane.

    >>> same_in_all(7, 3, 40) == pack([7, 7, 7], 40)
    True
    """
    return int.from_bytes(number.to_bytes(lane // 8, "little") * count, "little")


class PackedMatrix:
    """A matrix whose columns are long numbers: the same product, about ten times as fast.

    Lesson 5's `times` asks a matrix that is not a list for its own `times`. So a
    transformer works with these as it is.

    >>> rows = [[0.5, -1.0], [0.25, 0.125], [-2.0, 1.0]]
    >>> [round(x, 3) for x in PackedMatrix(rows).times([1.0, 3.0])]
    [-2.5, 0.625, 1.0]
    >>> times(rows, [1.0, 3.0])
    [-2.5, 0.625, 1.0]

    Weights and vector must be whole numbers. The weights are quantized, row by row,
    to 16 bits or 8. How fine may the steps of the vector be? A result must fit its
    lane, or it would spill into the next row and spoil it. In the worst case every
    weight is the largest, 32,767, and all signs agree; then a result is 32,767 times
    the sum of the vector, signs left out. So scale the vector until that sum is just
    below 2 ** 24. Then no result reaches 2 ** 15 x 2 ** 24 = 2 ** 39, which is half
    of a lane, and the other half is for the negative ones. Whatever the numbers are,
    no lane can overflow. With weights of 8 bits, lanes of 8 + 24 = 32 are enough.
    """

    def __init__(self, rows: Iterable[Vector], bits: int = 16):
        self.lane = bits + 24
        self.columns, self.steps = pack_columns(rows, bits)

    def __len__(self) -> int:
        return len(self.steps)

    def times(self, vector: Vector) -> Vector:
        """The matrix times a vector: long numbers times short ones, and then the lanes.

        Look at the dot product: it is the one of lesson 3, but each number of
        `columns` is a whole column. The rounding adds at most half a step for each
        number, and so `len(vector)` steps are kept free.

        How fast is it? That depends on your machine, and here is what yours does:

        >>> compare_speed()     # doctest: +ELLIPSIS
        plain ... packed ...
        """
        unit = (2 ** 24 - len(vector)) / max(sum(map(abs, vector)), 1e-300)
        total = dot(self.columns, [round(number * unit) for number in vector])
        lanes = unpack(total, len(self), self.lane)
        return [number / (steps * unit) for number, steps in zip(lanes, self.steps)]


def compare_speed(rows: int = 512, columns: int = 256) -> None:
    """Multiply a random matrix of this size in both ways, and print how long one multiplication takes."""
    rng = random.Random(0)
    matrix = [[rng.gauss(0, 0.02) for _ in range(columns)] for _ in range(rows)]
    vector, taken = [rng.gauss(0, 1) for _ in range(columns)], []
    for form in (matrix, PackedMatrix(matrix)):
        start = time.perf_counter()
        for _ in range(5):
            times(form, vector)
        taken.append((time.perf_counter() - start) / 5 / rows / columns * 1e9)
    print(f"plain {taken[0]:.1f} ns, packed {taken[1]:.1f} ns: {taken[0] / taken[1]:.0f} times as fast")


# %% The same, fast: packing
# `quantize` and `pack` would take a minute for a small model.

def pack_columns(rows: Iterable[Vector], bits: int, at_once: int = 256) -> tuple[list[int], Vector]:
    """Quantize rows and pack their columns; returns the columns, and the steps of each row.

    >>> rows = [[0.5, -1.0], [0.25, 0.125], [0.0, 0.0]]
    >>> columns, steps = pack_columns(rows, bits=16)
    >>> quantized = [quantize(row) for row in rows]
    >>> columns == [pack(column) for column in zip(*(whole for whole, _ in quantized))]
    True
    >>> steps == [steps for _, steps in quantized]
    True

    Rounding by an addition: above 2 ** 52 a float has no room for a fraction, so what
    is added to 2 ** 52 comes out rounded, in the lowest bytes of the float. Python
    slices pick these bytes for a whole column, and none of them is touched one by
    one. 2 ** 15 is added, too, so that nothing is negative, and taken off at the end.
    """
    rows, size, half = iter(rows), bits // 8 + 3, 2 ** (bits - 1)
    columns, all_steps = [], []
    while block := list(islice(rows, at_once)):
        width, floats, lanes = len(block[0]), array("d"), bytearray(size * len(block))
        for row in block:
            all_steps.append((half - 1) / max(max(row), -min(row), 1e-300))
            steps, shift = all_steps[-1], 2.0 ** 52 + half
            floats.fromlist([number * steps + shift for number in row])
        if sys.byteorder == "big":
            floats.byteswap()
        columns = columns or [bytearray() for _ in range(width)]
        for place, column in enumerate(columns):
            data = floats[place::width].tobytes()
            for byte in range(bits // 8):
                lanes[byte::size] = data[byte::8]
            column += lanes
    offset = same_in_all(half, len(all_steps), bits + 24)
    for place, column in enumerate(columns):
        columns[place] = int.from_bytes(column, "little") - offset
    return columns, all_steps


# %% The real thing: load it
# Here the folder becomes a transformer. There is nothing to invent any more: each
# tensor has a name, and each name has its place in lesson 5's `Block`.

@dataclass
class Weights:
    """The tensors of a model by their names; `bits` says how to pack the matrices, and 0 leaves them lists."""

    tensors: dict
    bits: int = 16

    def matrix(self, rows: Iterable[Vector]) -> Union[Matrix, PackedMatrix]:
        return PackedMatrix(rows, self.bits) if self.bits else list(rows)

    def vector(self, name: str) -> Optional[Vector]:
        return [number for number, in self.tensors[name]] if name in self.tensors else None

    def norm(self, name: str) -> list[Vector]:
        both = self.vector(name + ".weight"), self.vector(name + ".bias")
        return [vector for vector in both if vector is not None]

    def linear(self, name: str) -> Linear:
        return Linear(self.matrix(self.tensors[name + ".weight"]), self.vector(name + ".bias"))

    def swiglu(self, at: str) -> list[Linear]:
        return [self.linear(f"{at}{part}_proj") for part in ("gate", "up", "down")]


def llama_block(config: dict, layer: int, weights: Weights) -> Block:
    """One block of Llama, and of all its relatives.

    The names are Hugging Face's. q_proj is the matrix that makes queries, gate_proj
    the first one of SwiGLU, and so on. Biases and norms are there or not.
    """
    at = f"model.layers.{layer}."
    head_norms = [weights.vector(f"{at}self_attn.{part}_norm.weight") for part in "qk"]
    if config["model_type"] != "llama4_text":
        thinking = weights.swiglu(at + "mlp.")
    elif layer not in config["moe_layers"]:
        thinking = weights.swiglu(at + "feed_forward.")
    else:
        thinking = expert_parts(config, at + "feed_forward.", weights)
    return Block(block_settings(config, layer, *head_norms), weights.norm(at + "input_layernorm"),
                 *[weights.linear(f"{at}self_attn.{part}_proj") for part in "qkvo"],
                 weights.norm(at + "post_attention_layernorm"), thinking)


def expert_parts(config: dict, at: str, weights: Weights) -> list:
    """Llama 4's router, its shared expert, and the others, which lie in two tensors.

    The file has the matrices of all experts in a pile, and on their side: what is a
    column there is a row here. Gate and up are one beside the other.
    """
    size, wide, experts = config["intermediate_size"], config["hidden_size"], []
    for both, down in zip(weights.tensors[at + "experts.gate_up_proj"], weights.tensors[at + "experts.down_proj"]):
        rows = [both[column::2 * size] for column in range(2 * size)]
        parts = rows[:size], rows[size:], [down[column::wide] for column in range(wide)]
        experts.append([Linear(weights.matrix(part)) for part in parts])
    return [weights.linear(at + "router"), weights.swiglu(at + "shared_expert."), experts]


def gpt2_block(config: dict, layer: int, weights: Weights) -> Block:
    """One block of GPT-2, whose matrices lie on their side, those for q, k and v in one tensor."""
    def linear(name: str, parts: int = 1) -> list[Linear]:
        rows, biases = list(zip(*weights.tensors[f"{at}{name}.weight"])), weights.vector(f"{at}{name}.bias")
        size = len(rows) // parts
        return [Linear(weights.matrix(rows[start:start + size]), biases[start:start + size])
                for start in range(0, len(rows), size)]

    at = f"transformer.h.{layer}."
    return Block(block_settings(config, layer), weights.norm(at + "ln_1"), *linear("attn.c_attn", 3),
                 *linear("attn.c_proj"), weights.norm(at + "ln_2"), [*linear("mlp.c_fc"), *linear("mlp.c_proj")])


def load_transformer(folder: Union[str, Path], packed: bool = True, bits: int = 16) -> Transformer:
    """Open a model's folder as a transformer of lesson 5, packed or as plain lists.

    Let us make a folder, with random weights: Llama 4 in small, four layers, with
    three experts in every second one.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     random_model(SMALL_LLAMA4, folder)
    ...     plain = load_transformer(folder, packed=False)
    ...     packed = load_transformer(folder)
    ...     for transformer in (plain, packed):
    ...         print([round(x, 3) for x in transformer.logits([3, 1, 4, 1, 5])[:5]])
    ([0.0], [0.0])

    Raises ValueError, with the name, for whatever these lessons have no code for.
    """
    found = read_json(Path(folder, "config.json"))
    config, layers = check_config(found), check_config(found)["num_hidden_layers"]
    weights = Weights(_checked(read_weights(folder), config), bits if packed else 0)
    _check_memory(folder, found, weights.bits)
    make_block = gpt2_block if config["model_type"] == "gpt2" else llama_block
    blocks = [make_block(config, layer, weights) for layer in progress(range(layers), "loading")]
    embeddings, last_norm, positions = (
        ("transformer.wte.weight", "transformer.ln_f", "transformer.wpe.weight") if config["model_type"] == "gpt2"
        else ("model.embed_tokens.weight", "model.norm", None))
    output = weights.tensors.get("lm_head.weight", weights.tensors[embeddings])
    transformer = Transformer(
        block_settings(config, 0), weights.tensors[embeddings] if packed else list(weights.tensors[embeddings]), blocks,
        weights.norm(last_norm), weights.matrix(progress(output, "loading the output matrix")),
        list(weights.tensors[positions]) if positions else None)
    transformer.config = found
    return transformer


SMALL_LLAMA4 = {"model_type": "llama4_text", "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24,
                "intermediate_size_mlp": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
                "head_dim": 4, "num_local_experts": 3, "interleave_moe_layer_step": 2, "attention_chunk_size": 8}


def random_model(config: dict, folder: Union[str, Path], seed: int = 0) -> None:
    """Write a folder with this config.json and random weights."""
    rng, tensors = random.Random(seed), {}
    for name, shape in tensor_shapes(config).items():
        tensors[name] = ("F32", shape, [rng.gauss(0, 0.2) for _ in range(math.prod(shape))])
    _write_folder(folder, config, tensors)


def _write_folder(folder: Union[str, Path], config: dict, tensors: dict) -> None:
    os.makedirs(folder, exist_ok=True)
    write_safetensors(Path(folder, "model.safetensors"), tensors, {"format": "pt"})
    write_whole(Path(folder, "config.json"), json.dumps(config, indent=1).encode("utf-8"))


def _checked(tensors: dict, config: dict) -> dict:
    """The tensors under the names that `tensor_shapes` gives; all must be there, and no other."""
    tensors = {name[len("language_model."):] if name.startswith("language_model.") else name: tensor
               for name, tensor in tensors.items() if not name.startswith(("vision_model.", "multi_modal_projector."))}
    if config["model_type"] == "gpt2":      # older files leave the prefix out, and have the triangle in them
        tensors = {name if name.startswith(("transformer.", "lm_head.")) else "transformer." + name: tensor
                   for name, tensor in tensors.items() if not name.endswith((".attn.bias", ".attn.masked_bias"))}
    tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith(".rotary_emb.inv_freq")}
    expected = tensor_shapes(config)
    for name in [*expected, *tensors]:
        if name not in tensors:
            raise ValueError(f"the tensor {name!r} is missing")
        shape = expected.get("model.embed_tokens.weight" if name == "lm_head.weight" else name)
        if shape is None:
            raise ValueError(f"there is a tensor {name!r}, for which a {config['model_type']} of these settings has no place")
        if tensors[name].shape != shape:
            raise ValueError(f"the tensor {name!r} has the shape {list(tensors[name].shape)}, and not {list(shape)}")
        if tensors[name].dtype not in ("F64", "F32", "F16", "BF16"):
            raise ValueError(f"the tensor {name!r} is quantized ({tensors[name].dtype}), which these lessons can't read")
    return tensors


def _check_memory(folder: Union[str, Path], config: dict, bits: int) -> None:
    """Packed, a weight takes a lane, and 32 bits for each 30; in a list it takes 32 bytes."""
    needed = count_parameters(config) * ((bits + 24) / 8 * 32 / 30 if bits else 32) * 1.1 + 1e8
    if needed > free_memory():
        raise ValueError(f"{folder} needs {needed / 1e9:.1f} GB of memory, and there are only {free_memory() / 1e9:.1f} GB free")
