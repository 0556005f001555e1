"""The formats that the outside world prescribes: tokenizer.json, safetensors, and writing a file whole.

It knows nothing of the lessons, and you need not open it to follow them.
"""

import contextlib
import hashlib
import json
import math
import os
import struct
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Iterable, Iterator, Union

Vector = list[float]


# %% Write a file whole

def write_whole(path: Union[str, Path], data: bytes) -> None:
    """Write a file beside the old one, then put it in its place, all or nothing.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(folder + "/file", b"data")
    ...     Path(folder, "file").read_bytes()
    b'data'
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():    # a pipe or a device, or a folder, which is an error
        path.write_bytes(data)
        return
    beside = Path(f"{path}.{os.getpid()}-{threading.get_ident()}")
    try:
        beside.write_bytes(data)
        os.replace(beside, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


# %% safetensors

NO_CHECKSUM = "0" * 64
# The name of each number type in the format, and its code in Python's `struct`.
NUMBER_TYPES = {"F64": "d", "F32": "f", "F16": "e", "BF16": "H", "I64": "q", "I32": "i", "I16": "h", "I8": "b",
                "U64": "Q", "U32": "I", "U16": "H", "U8": "B", "BOOL": "?"}


@dataclass(frozen=True)
class Tensor:
    """A matrix in a safetensors file, whose rows are read when they are asked for.

    It can be used like a list of rows: `len`, `tensor[3]` and `for row in tensor`.
    `dtype` is the type of its numbers, as the file calls it, and `shape` the
    number of rows, of columns and so on; `start` is where it begins in the file.
    """
    path: str
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int

    def row(self, index: int) -> Vector:
        """Read one row, and nothing else, from the file.

        Raises ValueError if there is no such row, or if NaN or infinity is in it.
        """
        if not (isinstance(index, int) and 0 <= index < len(self)):
            raise ValueError(f"there is no row {index!r} in the tensor {self.name!r} of shape {list(self.shape)}")
        with open(self.path, "rb") as file:
            return next(self._read(file, range(index, index + 1)))

    __getitem__ = row

    def __len__(self) -> int:
        return self.shape[0] if self.shape else 0

    def __iter__(self) -> Iterator[Vector]:
        """Read all the rows, one after the other, never more than one at a time."""
        with open(self.path, "rb") as file:
            yield from self._read(file, range(len(self)))

    def _read(self, file: BinaryIO, indices: range) -> Iterator[Vector]:
        width = math.prod(self.shape[1:])
        size = width * struct.calcsize("<" + NUMBER_TYPES[self.dtype])
        file.seek(self.start + indices.start * size)
        for index in indices:
            data = file.read(size)
            if len(data) != size:
                raise ValueError(f"{self.path} ends in the middle of row {index} of the tensor {self.name!r}")
            if self.dtype == "BF16":    # the first half of an F32: the other half is zeros
                wide = bytearray(2 * size)
                wide[2::4], wide[3::4] = data[::2], data[1::2]
                data = wide
            code = "f" if self.dtype == "BF16" else NUMBER_TYPES[self.dtype]
            numbers = list(struct.unpack(f"<{width}{code}", data))
            if not math.isfinite(sum(numbers)) and not all(map(math.isfinite, numbers)):
                raise ValueError(f"row {index} of the tensor {self.name!r} in {self.path} has NaN or infinity in it")
            yield numbers


def read_safetensors(path: Union[str, Path]) -> dict[str, Tensor]:
    """Open a safetensors file: the names of its tensors, and what is needed to read them.

    The whole format: eight bytes that say how long the header is; the header,
    in JSON, which gives each tensor a type, a shape and the place of its first
    and last byte; then the numbers, row after row. Only the header is read here.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     matrix = ("F32", (2, 2), [1, 2, 3, 4])
    ...     write_safetensors(folder + "/file", {"m": matrix}, {"who": "me"})
    ...     tensors = read_safetensors(folder + "/file")
    ...     print(tensors["m"].shape, tensors["m"].row(1))
    (2, 2) [3.0, 4.0]

    No number in a file is believed before it is checked. Raises ValueError for a
    header that is damaged, and for tensors that overlap, leave the file or don't
    fit their shape.
    """
    return _read_header(path)[0]


def safetensors_metadata(path: Union[str, Path]) -> dict[str, str]:
    """The metadata of a safetensors file: what its writer wants known about it."""
    return _read_header(path)[1]


def _read_header(path: Union[str, Path]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        if not 8 < start <= min(size, 100_000_000):
            raise ValueError(f"{path} is no safetensors file: its header would end at byte {start} of {size}")
        data = file.read(start - 8)
    try:
        header = json.loads(data)
        metadata = dict(header.pop("__metadata__", None) or {})
        tensors = {name: _tensor(path, name, entry, start) for name, entry in header.items()}
        places = sorted(entry["data_offsets"] for entry in header.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is no safetensors file: {error}") from None
    ends = [0, *(end for _, end in places)]
    if [begin for begin, _ in places] != ends[:-1] or start + ends[-1] != size:
        raise ValueError(f"{path} is damaged: its tensors overlap, leave a gap or don't end where the file ends")
    return tensors, metadata


def _tensor(path: Union[str, Path], name: str, entry: dict, start: int) -> Tensor:
    dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if dtype not in NUMBER_TYPES:
        raise ValueError(f"the tensor {name!r} is of the unknown type {dtype!r}")
    if len(shape) > 8 or not all(type(number) is int and 0 <= number < 2 ** 63 for number in [*shape, begin, end]):
        raise ValueError(f"the tensor {name!r} has an impossible shape or place")
    if end - begin != math.prod(shape) * struct.calcsize("<" + NUMBER_TYPES[dtype]):
        raise ValueError(f"the tensor {name!r} has {end - begin} bytes, which don't fit its shape {shape}")
    return Tensor(str(path), name, dtype, tuple(shape), start + begin)


def write_safetensors(path: Union[str, Path], tensors: dict[str, tuple[str, tuple, Iterable]],
                      metadata: dict[str, str]) -> None:
    """Write tensors, each a type, a shape and its numbers in a row, as a safetensors file.

    With them goes a checksum of the whole file (in which the checksum itself is
    all zeros), so that damage is noticed when it is read again.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_safetensors(folder + "/file", {"m": ("F32", (1, 2), [0.5, -1])}, {})
    ...     Path(folder, "file").read_bytes()[-8:] == struct.pack("<2f", 0.5, -1)
    True
    """
    header, parts, end = {}, [], 0
    for name, (dtype, shape, numbers) in tensors.items():
        numbers = list(numbers)
        parts.append(struct.pack(f"<{len(numbers)}{NUMBER_TYPES[dtype]}", *numbers))
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + len(parts[-1])]}
        end += len(parts[-1])
    header["__metadata__"] = {"sha256": NO_CHECKSUM, **metadata}
    text = json.dumps(header).encode("utf-8")
    text += b" " * (-len(text) % 8)
    data = b"".join([len(text).to_bytes(8, "little"), text, *parts])
    checksum = hashlib.sha256(data).hexdigest()
    write_whole(path, data.replace(NO_CHECKSUM.encode(), checksum.encode(), 1))
