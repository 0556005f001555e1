"""What published models look like: fetching them, config.json, the names of their tensors, and chat forms.

It knows nothing of the lessons, and you need not open it to follow them.
"""

import contextlib
import email.utils
import http.client
import json
import math
import os
import random
import re
import socket
import struct
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, Callable, Iterable, Iterator, Optional, Union

from formats import Tensor, Vector, read_safetensors, write_safetensors, write_whole
from stage import progress


# %% A model's folder: its settings, its weights, and fetching them

def read_json(path: Union[str, Path]) -> dict:
    """Read a JSON file that holds one object, such as config.json.

    Raises ValueError if it holds anything else.
    """
    try:
        data = json.loads(Path(path).read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON file: {error}") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path} should hold one JSON object, in braces")
    return data


def read_weights(folder: Union[str, Path]) -> dict[str, Tensor]:
    """All tensors of a model: from model.safetensors, or from the shards that its index names.

    Raises ValueError if files or tensors are missing, or if a tensor is there twice.
    """
    if Path(folder, WEIGHTS).exists():
        return read_safetensors(Path(folder, WEIGHTS))
    if not Path(folder, INDEX).exists():
        raise ValueError(f"{folder} has no {WEIGHTS}, and no {INDEX}")
    tensors, expected = {}, weight_map(folder)
    for file in sorted(set(expected.values())):
        shard = read_safetensors(Path(folder, file))
        wrong = [name for name in shard if expected.get(name, file) != file or name in tensors]
        wrong += [name for name in expected if expected[name] == file and name not in shard]
        if wrong:
            raise ValueError(f"{Path(folder, INDEX)} and {file} don't agree about the tensor {wrong[0]!r}")
        tensors.update(shard)
    return tensors


WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def weight_map(folder: Union[str, Path]) -> dict[str, str]:
    """The index of a model in shards: in which file each tensor is.

    Raises ValueError if it is damaged, or names a file outside of the folder.
    """
    files = read_json(Path(folder, INDEX)).get("weight_map")
    if not isinstance(files, dict) or not files:
        raise ValueError(f"{Path(folder, INDEX)} has no weight_map")
    for file in files.values():
        if not (isinstance(file, str) and re.fullmatch(r"\w[\w.-]*\.safetensors", file, re.ASCII)):
            raise ValueError(f"{Path(folder, INDEX)} names {file!r}, no .safetensors file of its folder")
    return files


def fetch(model: str, file: str, folder: Union[str, Path], optional: bool = False) -> None:
    """Fetch one file of a model from Hugging Face into a folder, if it is not there yet.

    The environment variable HF_ENDPOINT names a mirror. What has come is kept in a
    file that ends in .part, and after an interruption the rest is fetched.

    Raises ValueError, with what to do, if it can't be had; an optional file may be missing.
    """
    path = Path(folder, file)
    if path.exists():
        return
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    if not re.match("https?://", endpoint):
        raise ValueError(f"HF_ENDPOINT must begin with https://, and it is {endpoint!r}")
    url, part = f"{endpoint.rstrip('/')}/{model}/resolve/main/{file}", Path(f"{path}.part")
    try:
        while not _download(url, part):
            pass
    except urllib.error.HTTPError as error:
        if optional and error.code == 404:
            return
        refusal = _REFUSALS.get(error.code, "{url} can't be fetched: the server answers {code}; try later")
        raise ValueError(refusal.format(url=url, code=error.code, model=model)) from None
    except urllib.error.URLError as error:
        raise ValueError(f"{url} can't be reached ({error.reason}): check your connection") from None
    with contextlib.suppress(FileNotFoundError):    # another process may have been first
        os.replace(part, path)


_NOT_OPEN = ("{url} can't be fetched (error {code}): either there is no such model, or one must accept its "
             "licence first; then fetch its files in the browser, and give their folder")
_REFUSALS = {401: _NOT_OPEN, 403: _NOT_OPEN, 404: "there is no {url}: is {model} the right name?"}


def _download(url: str, part: Path) -> bool:
    """Fetch what is still missing of a file; False if the connection broke, or all must be fetched anew.

    Raises URLError if there is no connection, or nothing came.
    """
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            if start and not _goes_on(answer, start, part.stat().st_mtime):
                part.unlink()
                return False
            part.parent.mkdir(parents=True, exist_ok=True)
            with open(part, "r+b" if start else "wb") as file:
                file.seek(start)
                _receive(answer, file, part.stem)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        if error.headers.get("Content-Range") == f"bytes */{start}":
            return True     # there was nothing left to fetch
        part.unlink()
        return False
    except (http.client.HTTPException, ConnectionError, TimeoutError, socket.timeout) as error:
        if part.exists() and part.stat().st_size > start:
            return False
        raise urllib.error.URLError(error) from None
    return True


def _goes_on(answer: http.client.HTTPResponse, start: int, written: float) -> bool:
    """Whether an answer begins where our part ends, of a file that has not changed since that was written."""
    changed = answer.headers.get("Last-Modified")
    return (answer.status == 206 and str(answer.headers.get("Content-Range")).startswith(f"bytes {start}-")
            and not (changed and email.utils.parsedate_to_datetime(changed).timestamp() > written))


def _receive(answer: http.client.HTTPResponse, file: BinaryIO, label: str, at_once: int = 1 << 20) -> None:
    """Write what comes to a file, with a bar. Raises IncompleteRead if it is shorter than was promised."""
    expected = answer.length
    if expected is None:        # in chunks: the last one says that it is the last
        file.write(answer.read())
        return
    for left in progress(range(expected, 0, -at_once), f"fetching {label}"):
        data = answer.read(min(left, at_once))
        file.write(data)
        if len(data) < min(left, at_once):
            raise http.client.IncompleteRead(b"", left - len(data))


def find_model(folder_or_name: Union[str, Path], fetched: Union[str, Path]) -> Path:
    """The folder of a model; one with a name, such as Qwen/Qwen2.5-0.5B, is fetched once into `fetched`.

    Raises ValueError if it can't be had, or if there is no code for it, before the large files are fetched.
    """
    if Path(folder_or_name).is_dir():
        return Path(folder_or_name)
    _insist(re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", str(folder_or_name), re.ASCII),
            f"{folder_or_name} is no folder, and no name such as HuggingFaceTB/SmolLM2-135M-Instruct either")
    _fetch_model(str(folder_or_name), Path(fetched, folder_or_name))
    return Path(fetched, folder_or_name)


def _fetch_model(model: str, folder: Path) -> None:
    """Fetch the files that are not there yet; first the small ones."""
    fetch(model, "config.json", folder)
    check_config(read_json(Path(folder, "config.json")))
    fetch(model, "tokenizer.json", folder)
    if Path(folder, WEIGHTS).exists():
        return
    if not Path(folder, INDEX).exists():
        fetch(model, "generation_config.json", folder, optional=True)
        fetch(model, WEIGHTS, folder, optional=True)
        if Path(folder, WEIGHTS).exists():
            return
        fetch(model, INDEX, folder)
    for file in sorted(set(weight_map(folder).values())):
        fetch(model, file, folder)


def stop_ids(folder: Union[str, Path]) -> list[int]:
    """The ids that end a text, from config.json and generation_config.json."""
    found = []
    for file in ("config.json", "generation_config.json"):
        config = read_json(Path(folder, file)) if Path(folder, file).exists() else {}
        for part in (config, config.get("text_config")):
            ids = part.get("eos_token_id") if isinstance(part, dict) else None
            found += ids if isinstance(ids, list) else [ids]
    return [id for id in dict.fromkeys(found) if isinstance(id, int)]


def check_vocabulary(folder: Union[str, Path], vocabulary: dict[bytes, int]) -> None:
    """Raise ValueError if a tokenizer has tokens for which its model has no row."""
    rows = check_config(read_json(Path(folder, "config.json")))["vocab_size"]
    if max(vocabulary.values()) >= rows:
        raise ValueError(f"{folder}: the tokenizer has more tokens than the model has rows, {rows}: "
                         "they don't belong together")


def check_memory(needed: float, name: Union[str, Path]) -> None:
    """Raise ValueError, and say how much is needed, if there are not so many bytes of memory free."""
    free = _free_memory()
    _insist(needed <= free, f"{name} needs {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free")


def _free_memory() -> float:
    """How many bytes of memory a program may still take; infinity where no one says."""
    free = [math.inf]
    with contextlib.suppress(OSError, ValueError, AttributeError):      # not on Windows
        free.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(OSError, ValueError):                      # Linux knows more
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        free += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    with contextlib.suppress(OSError, ValueError):                      # in a container
        free.append(int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8"))
                    - int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="utf-8")))
    with contextlib.suppress(ImportError):
        import resource
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]               # ulimit -v
        free += [limit] if limit != resource.RLIM_INFINITY else []
    return min(free)


# %% config.json

# For each family (model_type) the architecture, and what its config.json may leave out.
_QWEN = {"num_key_value_heads": 32, "use_sliding_window": False, "sliding_window": 4096,
         "max_window_layers": 28, "layer_types": None}
FAMILIES = {
    "gpt2": ("GPT2LMHeadModel", {"hidden_act": "gelu_new", "norm_eps": 1e-5, "tie_word_embeddings": True,
                                 "intermediate_size": None}),
    "llama": ("LlamaForCausalLM", {"attention_bias": False, "mlp_bias": False}),
    "mistral": ("MistralForCausalLM", {"num_key_value_heads": 8, "sliding_window": 4096}),
    "qwen2": ("Qwen2ForCausalLM", _QWEN),
    "qwen3": ("Qwen3ForCausalLM", {**_QWEN, "head_dim": 128, "attention_bias": False}),
    "llama4_text": ("Llama4ForCausalLM", {
        "norm_eps": 1e-5, "rope_theta": 500000.0, "attention_bias": False, "num_experts_per_tok": 1,
        "num_local_experts": 16, "moe_layers": None, "interleave_moe_layer_step": 1, "use_qk_norm": True,
        "no_rope_layers": None, "no_rope_layer_interval": 4, "attention_chunk_size": 8192,
        "layer_types": None, "attn_temperature_tuning": True, "floor_scale": 8192, "attn_scale": 0.1}),
}
_EVERYWHERE = {"num_key_value_heads": None, "head_dim": None, "hidden_act": "silu", "norm_eps": 1e-6,
               "rope_theta": 10000.0, "tie_word_embeddings": False}
_ADDED = ("norm_eps", "slow_down", "looks")     # names that are ours alone
_MORE_SIZES = {"gpt2": ["max_position_embeddings"], "llama4_text": [
    "intermediate_size_mlp", "num_experts_per_tok", "num_local_experts", "floor_scale"]}
_GPT2_KEYS = {"n_embd": "hidden_size", "n_layer": "num_hidden_layers", "n_head": "num_attention_heads",
              "n_positions": "max_position_embeddings", "n_inner": "intermediate_size",
              "layer_norm_epsilon": "norm_eps", "activation_function": "hidden_act"}
# What changes what a model computes may say only this.
_ONLY = {"quantization_config": [None], "partial_rotary_factor": [None, 1], "scale_attn_weights": [True],
         "scale_attn_by_inverse_layer_idx": [False], "add_cross_attention": [False],
         "is_encoder_decoder": [False], "attn_temperature_tuning": [True, False, 0, 4],
         **dict.fromkeys(["attention_bias", "mlp_bias", "tie_word_embeddings", "use_sliding_window",
                          "use_qk_norm"], [True, False])}


def check_config(config: dict) -> dict:
    """A config.json with one set of names for all families, and with what it left out filled in.

    >>> check_config({"model_type": "gpt2", "n_embd": 8, "n_head": 2, "n_layer": 1, "n_positions": 9,
    ...               "vocab_size": 5})["head_dim"]
    4

    Raises ValueError, with its name, for what the lessons have no code for.
    """
    try:
        return _checked_config(config)
    except (TypeError, AttributeError, ArithmeticError, LookupError) as error:
        raise ValueError(f"config.json has a value of the wrong kind: {error}") from None


def _checked_config(outer: dict) -> dict:
    config = outer.get("text_config", outer) if outer.get("model_type") == "llama4" else outer
    family = config.get("model_type") if isinstance(config, dict) else None
    _insist(family in FAMILIES,
            f"this course has no code for the model_type {family!r}, but for {', '.join(FAMILIES)}")
    architecture, defaults = FAMILIES[family]
    named = outer.get("architectures") or [architecture]
    _insist(named == [architecture if outer is config else "Llama4ForConditionalGeneration"],
            f"this course has no code for the architecture {named!r}, but for {architecture!r}")
    _allow(outer, "quantization_config", [None])
    names = _GPT2_KEYS if family == "gpt2" else {"rms_norm_eps": "norm_eps"}
    renamed = {new: config[old] for old, new in names.items() if old in config}
    config = {**_EVERYWHERE, **defaults, **config, **renamed}
    for key in _ONLY.keys() & config.keys():
        _allow(config, key, _ONLY[key])
    _allow(config, "hidden_act", ["gelu_new", "gelu_pytorch_tanh"] if family == "gpt2" else ["silu"])
    config.update(_rotary(config))
    _check_sizes(config, ["vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"])
    _fill_in(config)
    more = _MORE_SIZES.get(family, [])
    _check_sizes(config, ["intermediate_size", "num_key_value_heads", "head_dim", *more])
    return config


def _check_sizes(config: dict, keys: list[str]) -> None:
    for key in keys:
        most = 2 ** 20 if key == "num_hidden_layers" else 2 ** 40
        _insist(type(config.get(key)) is int and 0 < config[key] < most,
                f"config.json should have a whole number above 0 as {key!r}, not {config.get(key)!r}")


def _allow(config: dict, key: str, allowed: list) -> None:
    value = config.get(key)
    if value not in allowed:
        named = value.get("quant_method", value) if isinstance(value, dict) else value
        raise ValueError(f"config.json says {key}: {named!r}, for which this course has no code, but for "
                         + " or ".join(map(repr, allowed)))


def _rotary(config: dict) -> dict:
    """rope_theta, and the numbers of its scaling, from wherever they stand."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(rope, dict):
        raise ValueError(f"config.json says rope_scaling: {rope!r}, and should say it in braces")
    kind = {"rope_type": rope.get("rope_type", rope.get("type", "default"))}
    _allow(kind, "rope_type", ["default", "llama3"])
    _allow(rope, "partial_rotary_factor", [None, 1])
    theta, scaling = rope.get("rope_theta", config["rope_theta"]), None
    if kind["rope_type"] == "llama3":
        rope = {"original_max_position_embeddings": config.get("max_position_embeddings"), **rope}
        scaling = {key: rope.get(key) for key in ("factor", "low_freq_factor", "high_freq_factor",
                                                  "original_max_position_embeddings")}
    for key, value in {"rope_theta": theta, "rms_norm_eps": config["norm_eps"], **(scaling or {})}.items():
        fits = type(value) in (int, float) and 0 <= value < math.inf and (value or key == "rms_norm_eps")
        _insist(fits, f"config.json should have a number above 0 as {key!r}, not {value!r}")
    return {"rope_theta": theta, "slow_down": scaling}


def _fill_in(config: dict) -> None:
    """Fill in what follows from the rest: sizes, and what each layer is like."""
    family, wide, heads = config["model_type"], config["hidden_size"], config["num_attention_heads"]
    if family == "gpt2":
        config["intermediate_size"] = config["intermediate_size"] or 4 * wide
        config["num_key_value_heads"] = config["head_dim"] = None
    if config["num_key_value_heads"] is None:
        config["num_key_value_heads"] = heads
    if config["head_dim"] is None:
        _insist(wide % heads == 0, f"a hidden_size of {wide} can't be divided among {heads} heads")
        config["head_dim"] = wide // heads
    layers = range(config["num_hidden_layers"])
    if family == "llama4_text":
        _fill_in_llama4(config, layers)
    else:
        config["moe_layers"] = ()
    config["looks"] = [_look(config, kind) for kind, _ in zip(_layer_types(config, layers), layers)]
    _insist(len(config["looks"]) == len(layers), f"config.json should have {len(layers)} layer_types")


def _fill_in_llama4(config: dict, layers: range) -> None:
    """Which layers turn, and which have experts."""
    turned, step = config["no_rope_layers"], config["interleave_moe_layer_step"]
    turned = turned or [int((layer + 1) % config["no_rope_layer_interval"] != 0) for layer in layers]
    _insist(len(turned) >= len(layers) and set(turned) <= {0, 1},
            f"config.json should have a 0 or 1 for each of {len(layers)} layers as 'no_rope_layers'")
    experts = config["moe_layers"]
    experts = list(range(step - 1, len(layers), step)) if experts is None else experts
    _insist(set(experts) <= set(layers) and type(config["attn_scale"]) in (int, float),
            "config.json should have numbers of layers as 'moe_layers', and a number as 'attn_scale'")
    config.update(no_rope_layers=turned, moe_layers=experts)


def _layer_types(config: dict, layers: range) -> list[str]:
    """How far each layer looks back, in the words of Hugging Face."""
    if config["model_type"] == "llama4_text":
        kinds = "full_attention", "chunked_attention"
        return config["layer_types"] or [kinds[turned] for turned in config["no_rope_layers"]]
    if config.get("sliding_window") is None or not config.get("use_sliding_window", True):
        return ["full_attention"] * len(layers)
    if config["model_type"] == "mistral":
        return ["sliding_attention"] * len(layers)
    kinds, first = ("full_attention", "sliding_attention"), config["max_window_layers"]
    return config["layer_types"] or [kinds[layer >= first] for layer in layers]


def _look(config: dict, kind: str) -> tuple[str, dict]:
    """The kind of a layer, and the size of its window or chunk."""
    if kind == "full_attention":
        return kind, {}
    sizes = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}
    size = config.get(sizes.get(kind))
    _insist(type(size) is int and size > 0,
            f"config.json has layer_types of {kind!r}, for which this course has no code or no size")
    return kind, {"size": size}


def _insist(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)


def tensor_shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """The name and the shape of each tensor that the weights of a model with this config.json hold."""
    config = check_config(config)
    wide, is_gpt2 = config["hidden_size"], config["model_type"] == "gpt2"
    table = (config["vocab_size"], wide)
    if is_gpt2:
        at = "transformer.h."
        shapes = {"transformer.wte.weight": table, "transformer.ln_f.weight": (wide,),
                  "transformer.wpe.weight": (config["max_position_embeddings"], wide),
                  "transformer.ln_f.bias": (wide,)}
    else:
        at, shapes = "model.layers.", {"model.embed_tokens.weight": table, "model.norm.weight": (wide,)}
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = table
    for layer in range(config["num_hidden_layers"]):
        rows = _gpt2_layer(config) if is_gpt2 else _attention(config) + _thinking(config, layer)
        for name, shape, biased in rows:
            shapes[f"{at}{layer}.{name}" + ".weight" * (".experts." not in name)] = shape
            if biased:
                shapes[f"{at}{layer}.{name}.bias"] = shape[-1:] if is_gpt2 else shape[:1]
    return shapes


def _gpt2_layer(config: dict) -> list[tuple[str, tuple, bool]]:
    """A layer's tensors in GPT-2: name, shape, and whether it has biases. Matrices lie on their side."""
    wide, size = config["hidden_size"], config["intermediate_size"]
    shapes = {"ln_1": (wide,), "attn.c_attn": (wide, 3 * wide), "attn.c_proj": (wide, wide), "ln_2": (wide,),
              "mlp.c_fc": (wide, size), "mlp.c_proj": (size, wide)}
    return [(name, shape, True) for name, shape in shapes.items()]


def _attention(config: dict) -> list[tuple[str, tuple, bool]]:
    """The same for the attention of the others, with the norms."""
    wide, one_head = config["hidden_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * one_head, config["num_key_value_heads"] * one_head
    bias = config.get("attention_bias", False)
    family, norms = config["model_type"], [(f"self_attn.{part}_norm", (one_head,), False) for part in "qk"]
    biased = bias or family == "qwen2"
    return [("input_layernorm", (wide,), False), ("self_attn.q_proj", (queries, wide), biased),
            ("self_attn.k_proj", (keys, wide), biased), ("self_attn.v_proj", (keys, wide), biased),
            ("self_attn.o_proj", (wide, queries), bias), ("post_attention_layernorm", (wide,), False),
            *(norms if family == "qwen3" else [])]


def _thinking(config: dict, layer: int) -> list[tuple[str, tuple, bool]]:
    """The same for the feed-forward part. The experts lie in piles."""
    wide, size, at = config["hidden_size"], config["intermediate_size"], "mlp."
    router, piles, bias = [], [], config.get("mlp_bias", False)
    if config["model_type"] == "llama4_text":
        size, at = config["intermediate_size_mlp"], "feed_forward."
    if layer in config["moe_layers"]:
        experts, size = config["num_local_experts"], config["intermediate_size"]
        router = [(at + "router", (experts, wide), False)]
        piles = [(at + "experts.gate_up_proj", (experts, wide, 2 * size), False),
                 (at + "experts.down_proj", (experts, size, wide), False)]
        at += "shared_expert."
    return [*router, (at + "gate_proj", (size, wide), bias), (at + "up_proj", (size, wide), bias),
            (at + "down_proj", (wide, size), bias), *piles]


# %% A model, under one set of names

# The parts of a block, and what Llama and its relatives call them; then GPT-2's names.
_BLOCK = {"attention_norm": "input_layernorm", "query": "self_attn.q_proj", "key": "self_attn.k_proj",
          "value": "self_attn.v_proj", "output": "self_attn.o_proj",
          "feed_forward_norm": "post_attention_layernorm"}
_GPT2_NAMES = {"wte": "embed_tokens", "wpe": "positions", "ln_f": "norm", "ln_1": "input_layernorm",
               "attn.c_attn": "self_attn.q_proj self_attn.k_proj self_attn.v_proj",
               "attn.c_proj": "self_attn.o_proj", "ln_2": "post_attention_layernorm",
               "mlp.c_fc": "mlp.up_proj", "mlp.c_proj": "mlp.down_proj"}


def read_model(folder: Union[str, Path], linear: Callable, a_weight: float) -> tuple[dict, dict, Iterable]:
    """Open a model's folder: its checked config.json, what is outside of the blocks, and the blocks.

    `linear(rows, biases)` makes what multiplies, out of rows that are read when asked for; `a_weight` says
    how many bytes of memory a weight will take. A block comes as the norms of queries and keys, and all its
    other parts: a norm is its vectors, `feed_forward` a list of what `linear` made, or of such lists.

    Raises ValueError if memory is short, and for a tensor that does not belong there.
    """
    config = check_config(read_json(Path(folder, "config.json")))
    weights = sum(map(math.prod, tensor_shapes(config).values()))
    parts = {}
    for name, tensor in _own_tensors(folder, config).items():
        parts.update(_renamed(name, tensor, config["model_type"]))
    check_memory(1.1 * a_weight * weights + 5e7, folder)
    positions = parts.get("model.positions.weight")
    outer = {"embeddings": parts["model.embed_tokens.weight"], "positions": positions and list(positions),
             "output": parts.get("lm_head.weight"), "last_norm": _vectors(parts, "model.norm")}
    layers = progress(range(config["num_hidden_layers"]), "loading the blocks")
    return config, outer, (_read_block(parts, _block_names(config, layer), linear) for layer in layers)


def _read_block(parts: dict, names: dict, linear: Callable) -> tuple[list, dict]:
    def matrix(name: Union[str, list]) -> object:
        if isinstance(name, list):
            return [matrix(one) for one in name]
        return linear(parts[name + ".weight"], parts.get(name + ".bias"))

    block = {part: _vectors(parts, name) if "norm" in part else matrix(name) for part, name in names.items()}
    return [block.pop("query_norm"), block.pop("key_norm")], block


def _vectors(parts: dict, name: str) -> list[Vector]:
    return [parts[name + kind] for kind in (".weight", ".bias") if name + kind in parts]


def _block_names(config: dict, layer: int) -> dict:
    """For each part of a block its name, without ".weight" and ".bias"; of a feed-forward layer all names."""
    at = f"model.layers.{layer}."
    parts = ["gate_proj", "up_proj", "down_proj"][config["model_type"] == "gpt2":]
    thinking = at + ("feed_forward." if config["model_type"] == "llama4_text" else "mlp.")
    names = [thinking + part for part in parts]
    if layer in config.get("moe_layers", ()):
        experts = [[f"{thinking}experts.{number}.{part}" for part in parts]
                   for number in range(config["num_local_experts"])]
        names = [thinking + "router", [f"{thinking}shared_expert.{part}" for part in parts], experts]
    return {**{part: at + name for part, name in _BLOCK.items()}, "query_norm": at + "self_attn.q_norm",
            "key_norm": at + "self_attn.k_norm", "feed_forward": names}


def _own_tensors(folder: Union[str, Path], config: dict) -> dict[str, Tensor]:
    """The tensors of a model by the names that `tensor_shapes` gives; all must be there, and no other."""
    tensors, family = read_weights(folder), config["model_type"]
    tensors = {re.sub(r"^language_model\.", "", name): tensor for name, tensor in tensors.items()
               if not re.search(r"^vision_model\.|^multi_modal_projector\.|\.inv_freq$", name)}
    if family == "gpt2":      # older files leave the prefix out, and have the mask in them
        tensors = {re.sub(r"^(?!transformer\.|lm_head\.)", "transformer.", name): tensor
                   for name, tensor in tensors.items() if not re.search(r"\.attn\.(masked_)?bias$", name)}
    shapes = tensor_shapes(config)
    for name in shapes:
        _insist(name in tensors, f"{folder}: the tensor {name!r} is missing")
    shapes.setdefault("lm_head.weight", (config["vocab_size"], config["hidden_size"]))  # it may be there
    for name, tensor in tensors.items():
        what = f"{folder}: the tensor {name!r} "
        _insist(name in shapes, what + f"is not one of a {family} with this config.json")
        _insist(tensor.shape == shapes[name],
                what + f"has the shape {list(tensor.shape)}, and config.json asks for {list(shapes[name])}")
        _insist(tensor.dtype in ("F64", "F32", "F16", "BF16"),
                what + f"has quantized numbers ({tensor.dtype}), for which this course has no code")
    return tensors


@dataclass(frozen=True)
class Turned:
    """Rows of a matrix that lies on its side in the file; in a pile of matrices, of one of them."""
    tensor: Tensor
    start: int
    stop: int
    pile: Optional[int] = None

    def __iter__(self) -> Iterator[Vector]:
        return iter(_turn(self.tensor, self.pile)[self.start:self.stop])

    def __len__(self) -> int:
        return self.stop - self.start


@lru_cache(maxsize=1)       # so that what holds two or three matrices is read once
def _turn(tensor: Tensor, pile: Optional[int]) -> list[Vector]:
    if pile is None:
        return list(zip(*tensor))
    numbers, width = tensor.row(pile), tensor.shape[2]
    return [numbers[column::width] for column in range(width)]


def _renamed(name: str, tensor: Tensor, family: str) -> dict:
    """What one tensor holds, by Llama's names."""
    found = [number for row in tensor for number in row] if len(tensor.shape) == 1 else tensor
    if ".experts." in name:
        names, size = _expert_names(name), tensor.shape[2] // len(_expert_names(name))
        return {new.format(expert): Turned(tensor, place * size, place * size + size, expert)
                for expert in range(tensor.shape[0]) for place, new in enumerate(names)}
    names = _llama_names(name)
    if not name.startswith("transformer.h.") or len(tensor.shape) == 1 and len(names) == 1:
        return {names[0]: found}
    size = tensor.shape[-1] // len(names)
    return {new: found[start:start + size] if len(tensor.shape) == 1 else Turned(tensor, start, start + size)
            for start, new in zip(range(0, tensor.shape[-1], size), names)}


def _expert_names(name: str) -> list[str]:
    """The names of the matrices of one expert that a pile holds, with {} for its number."""
    at, part = name.rsplit(".", 1)
    names = ["gate_proj", "up_proj"] if part == "gate_up_proj" else [part]
    return [f"{at}.{{}}.{new}.weight" for new in names]


def _llama_names(name: str) -> list[str]:
    """What Llama calls the parts of a tensor of GPT-2; other names stay as they are."""
    if not name.startswith("transformer."):
        return [name]
    layer, part, kind = re.fullmatch(r"transformer\.(h\.\d+\.)?(.+)\.(\w+)", name).groups()
    at = "model." + (layer or "").replace("h.", "layers.")
    return [f"{at}{new}.{kind}" for new in _GPT2_NAMES[part].split()]


def write_model(folder: Union[str, Path], config: dict, parts: Optional[dict] = None) -> None:
    """Write config.json and model.safetensors, for `read_model` and Hugging Face's transformers.

    `parts` are rows and vectors by Llama's names; without them the weights are random.

    Raises ValueError if a part is missing, too many, or of another shape.
    """
    config, rng, tensors = check_config(config), random.Random(0), {}
    for name, shape in tensor_shapes(config).items():
        random_ones = (rng.gauss(0, 1) for _ in range(math.prod(shape)))
        numbers = list(random_ones) if parts is None else _flat(_take(name, shape, parts))
        _insist(len(numbers) == math.prod(shape), f"{name!r} has {len(numbers)} numbers, not {shape}")
        tensors[name] = ("F32", shape, numbers)
    _insist(not parts, f"a {config['model_type']} with this config.json has no place for {[*(parts or ())]}")
    os.makedirs(folder, exist_ok=True)
    write_safetensors(Path(folder, WEIGHTS), tensors, {"format": "pt"})
    config.update(architectures=[FAMILIES[config["model_type"]][0]], dtype="float32", torch_dtype="float32")
    kept = {key: value for key, value in config.items() if key not in _ADDED and value != ()}
    write_whole(Path(folder, "config.json"), json.dumps(kept, indent=1).encode("utf-8"))


def save_transformer(transformer: object, folder: Union[str, Path]) -> None:
    """Write a transformer as a folder; its attributes are called like the parts that `read_model` gives.

    Raises ValueError for one that is packed, or that no config.json of these families describes.
    """
    _insist(isinstance(transformer.embeddings, list),
            "a packed transformer has lost the last bits of its weights: load it with packed=False")
    config, parts = getattr(transformer, "config", None) or _describe(transformer), {}
    _put(parts, "model.embed_tokens", [transformer.embeddings])
    _put(parts, "model.positions", [transformer.positions])
    _put(parts, "model.norm", transformer.last_norm)
    _put(parts, "lm_head", [None if config["tie_word_embeddings"] else transformer.output])
    for layer, block in enumerate(transformer.blocks):
        marks = [getattr(mark, "keywords", {}) for mark in (block.settings.query_at, block.settings.key_at)]
        norms = [(mark.get("norm") or [])[:1] for mark in marks]        # Qwen3 has weights in there
        values = {**vars(block), "query_norm": norms[0], "key_norm": norms[1]}
        for part, name in _block_names(config, layer).items():
            _put(parts, name, values[part])
    write_model(folder, config, parts)


def _describe(transformer: object) -> dict:
    """The config.json of a transformer that was made by hand, if it is like Llama's or Mistral's."""
    settings, block = transformer.settings, transformer.blocks[0]
    for name, allowed in _DESCRIBED.items():
        value = getattr(settings, name)
        same = all(getattr(block.settings, name) == value for block in transformer.blocks)
        value = getattr(getattr(value, "func", value), "__name__", value)
        _insist(same and value in allowed,
                f"no config.json describes a transformer with {name}={value!r}, or blocks that differ in it")
    base, window = (getattr(part, "keywords", {}).get(name)
                    for part, name in ((settings.query_at, "base"), (settings.first_visible, "size")))
    _insist(settings.key_at == settings.query_at,
            "no config.json can describe a transformer that turns queries and keys in different ways")
    return {"model_type": "mistral" if window else "llama", "sliding_window": window,
            "rope_theta": base or 10000.0, "vocab_size": len(transformer.embeddings),
            "hidden_size": settings.dimensions,
            "num_hidden_layers": len(transformer.blocks), "num_attention_heads": settings.heads,
            "num_key_value_heads": settings.key_value_heads, "head_dim": settings.head_dim,
            "intermediate_size": len(block.feed_forward[0].matrix), "rms_norm_eps": settings.epsilon,
            "attention_bias": block.query.biases is not None,
            "mlp_bias": block.feed_forward[0].biases is not None,
            "tie_word_embeddings": transformer.output in (None, transformer.embeddings)}


_DESCRIBED = {"norm": ["rms_norm"], "norm_first": [True], "feed_forward": ["gated_feed_forward"],
              "activation": ["silu"], "query_at": ["rotate"], "key_at": ["rotate"],
              "first_visible": ["whole_text", "sliding_window"]}


def _put(parts: dict, name: Union[str, list], value: Union[object, list]) -> None:
    """Put a norm, or what multiplies, or a list of those, among the parts, by Llama's names."""
    if isinstance(name, list):
        for one in zip(name, value):
            _put(parts, *one)
        return
    found = [value.matrix, value.biases] if hasattr(value, "matrix") else value or []
    parts.update({name + kind: part for kind, part in zip((".weight", ".bias"), found) if part is not None})


def _take(name: str, shape: tuple, parts: dict) -> list:
    """What belongs into a tensor, taken out of the parts."""
    try:
        if ".experts." in name:
            return [list(zip(*(row for new in _expert_names(name) for row in parts.pop(new.format(expert)))))
                    for expert in range(shape[0])]
        rows = [row for new in _llama_names(name) for row in parts.pop(new)]
        return list(zip(*rows)) if name.startswith("transformer.h.") and len(shape) == 2 else rows
    except KeyError as error:
        raise ValueError(f"the part {error} is missing") from None


def _flat(numbers: Iterable) -> list[float]:
    nested = (_flat(part) if isinstance(part, (list, tuple)) else [part] for part in numbers)
    return list(chain.from_iterable(nested))


# %% Chatbots

# What tells a chatbot who speaks: before a question, after it, and after an answer. By the first token.
_LLAMA = "{0}user{1}\n\n", "{2}{0}assistant{1}\n\n", "{2}"
CHAT_FORMS = {      # of Qwen and SmolLM, of Llama 3, and of Llama 4
    "<|im_start|>": ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>\n"),
    "<|start_header_id|>": tuple(part.format("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
                                 for part in _LLAMA),
    "<|header_start|>": tuple(part.format("<|header_start|>", "<|header_end|>", "<|eot|>")
                              for part in _LLAMA)}


def chat_form(special_tokens: Iterable[str]) -> tuple[str, str, str]:
    """What stands before a question, after it, and after an answer; nothing if this is no chatbot.

    >>> chat_form(["<|im_start|>", "<|im_end|>"])[0]
    '<|im_start|>user\\n'
    """
    return next((form for token, form in CHAT_FORMS.items() if token in special_tokens), ("", "", ""))


# %% Rows of a file, as columns of a packed matrix

def pack_columns(rows: Iterable[Vector], bits: int, at_once: int = 1024) -> tuple[list[int], Vector]:
    """Quantize rows to whole numbers of 16 or 8 bits, and pack each column, in lanes of 24 bits more.

    >>> columns, steps = pack_columns([[1.0], [-0.5]], bits=16)
    >>> columns == [32767 - (32767 << 40)], steps
    (True, [32767.0, 65534.0])

    Rounding by adding: above 2 ** 52 a float has no room for a fraction, so what is added
    comes out rounded, in its lowest bytes. Slices copy these for a whole column at a time.
    """
    size, half, columns, all_steps = bits // 8 + 3, 2 ** (bits - 1), [], []

    def lowest_bytes(row: Vector) -> list[bytes]:
        steps = (half - 1) / max(max(row), -min(row), 1e-300)
        all_steps.append(steps)
        shift = 2.0 ** 52 + half
        data = struct.pack(f"<{len(row)}d", *[number * steps + shift for number in row])
        return [data[byte::8] for byte in range(bits // 8)]

    quantized = map(lowest_bytes, rows)
    while block := list(islice(quantized, at_once)):
        _add_lanes(columns, block, size)
    everywhere = int.from_bytes(half.to_bytes(size, "little") * len(all_steps), "little")
    for place, column in enumerate(columns):    # one by one, so that each frees its memory for the next
        columns[place] = int.from_bytes(column, "little") - everywhere
    return columns, all_steps


def _add_lanes(columns: list[bytearray], block: list[list[bytes]], size: int) -> None:
    """Put the bytes of some rows behind what the columns have of the rows before."""
    lanes, width = bytearray(size * len(block)), len(block[0][0])
    parts = [b"".join(part) for part in zip(*block)]
    columns += [bytearray() for _ in range(width - len(columns))]
    for place, column in enumerate(columns):
        for byte, part in enumerate(parts):
            lanes[byte::size] = part[place::width]
        column += lanes


# %% The sizes of published models

_NAMES = ["model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
          "num_attention_heads", "num_key_value_heads", "tie_word_embeddings"]
MODELS = {
    "GPT-2 (124M)": dict(zip(_NAMES, ("gpt2", 50257, 768, 3072, 12, 12, 12, True)), n_positions=1024),
    "Qwen2.5-0.5B": dict(zip(_NAMES, ("qwen2", 151936, 896, 4864, 24, 14, 2, True))),
    "Llama-3.2-1B": dict(zip(_NAMES, ("llama", 128256, 2048, 8192, 16, 32, 8, True))),
    "Mistral-7B": dict(zip(_NAMES, ("mistral", 32000, 4096, 14336, 32, 32, 8, False))),
    "Llama-4-Scout-17B-16E": dict(
        zip(_NAMES, ("llama4_text", 202048, 5120, 8192, 48, 40, 8, False)), head_dim=128,
        intermediate_size_mlp=16384, num_local_experts=16, num_experts_per_tok=1)}
SMALL_LLAMA4 = dict(zip(_NAMES, ("llama4_text", 40, 16, 24, 4, 4, 2, False)), head_dim=4,
                    intermediate_size_mlp=32, num_local_experts=3, interleave_moe_layer_step=2)
