"""The stage: it plays a lesson, checks answers, draws, and reads the command line.

It knows nothing of the lessons, and you need not open it to follow them. What a
lesson shows on the screen goes through here.
"""

import _thread
import argparse
import ast
import codecs
import contextlib
import doctest
import html
import io
import keyword
import math
import os
import random
import re
import runpy
import shutil
import signal
import sys
import textwrap
import threading
import time
import traceback
import unicodedata
from importlib import import_module
from itertools import chain, product
from operator import mul
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Callable, Iterable, Iterator, Optional, Sequence, Union

HERE = Path(__file__).resolve().parent      # the folder of the lessons


# %% Read

def read_text(path: Union[str, Path]) -> str:
    """Read a UTF-8 text file, whatever its line ends; "-" reads standard input, which works once.

    Raises OSError if it can't be opened, and ValueError if it is not UTF-8.
    """
    if path != "-":
        return decode_text(Path(path).read_bytes(), str(path))
    if sys.stdin.closed:
        raise ValueError("standard input can be read only once: give one of the texts as a file")
    with sys.stdin as stdin:
        return decode_text(getattr(stdin, "buffer", stdin).read(), "standard input")


def decode_text(data: Union[bytes, str], name: str) -> str:
    """Decode UTF-8, from bytes, or from what Python makes of them in a locale without UTF-8.

    >>> decode_text(b"\\xef\\xbb\\xbf\\xe8\\xbd\\xa6\\r\\n", "a file"), decode_text("\\udce8\\udcbd\\udca6", "a text")
    ('车\\n', '车')

    Raises ValueError, with the name, if it is not UTF-8.
    """
    try:
        data = data if isinstance(data, bytes) else data.encode("utf-8", "surrogateescape")
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeError as error:
        raise ValueError(f"{name} is not UTF-8: byte {error.start} does not fit; save it as UTF-8 and try again") from None


# %% Draw

def display_width(text: str) -> int:
    """The columns that a text takes on a terminal: Chinese and emoji take two each.

    >>> display_width("car"), display_width("车"), display_width("🌲"), display_width("e\\u0301")
    (3, 2, 2, 1)
    """
    return sum(0 if unicodedata.combining(character) else 1 + (unicodedata.east_asian_width(character) in "WF")
               for character in text)


def spell_out(text: str) -> str:
    """Spell out whatever a terminal would obey instead of print, but for newlines.

    >>> print(spell_out("red? \\x1b[31m"))
    red? \\x1b[31m
    """
    return "".join(character if character.isprintable() or character == "\n" else repr(character)[1:-1]
                   for character in text)


def visible(token: str) -> str:
    """A token with the characters one can't see made visible: · for a space, ↵ for a newline, → for a tab.

    >>> print(visible(" one\\n\\t"))
    ·one↵→
    """
    return spell_out(token.translate({32: "·", 10: "↵", 9: "→"}))


def show_tokens(tokens: Iterable[str], color: Optional[bool] = None) -> str:
    """Make the borders between tokens visible: colours on a terminal, bars elsewhere.

    >>> print(show_tokens(["The", " cat", "\\n"], color=False))
    The|·cat|↵
    """
    tokens = [visible(token) for token in tokens]
    if not (wants_color() if color is None else color):
        return "|".join(tokens)
    palette = (153, 223, 157, 218, 229)     # light backgrounds that are easy to tell apart
    return "".join(f"\033[30;48;5;{palette[place % len(palette)]}m{token}\033[0m" for place, token in enumerate(tokens))


def show_ids(tokens: Iterable[str], ids: Iterable, width: Optional[int] = None) -> str:
    """Tokens with their ids under them, in as many rows as the window needs.

    >>> print(show_ids(["The", " cat", "车"], [0, 1517, 2], width=12))
    The  ·cat
    0    1517
    <BLANKLINE>
    车
    2
    """
    room = window() if width is None else width
    rows, used = [], room + 1
    for token, id in zip(map(visible, tokens), map(str, ids)):
        for part in _fold(token, room):
            size = max(display_width(part), display_width(id))
            if used + size > room:
                rows.append(["", ""])
                used = 0
            for place, cell in enumerate((part, id)):
                rows[-1][place] += cell + " " * (size + 2 - display_width(cell))
            used += size + 2
            id = ""
    return "\n\n".join(f"{top.rstrip()}\n{bottom.rstrip()}".rstrip() for top, bottom in rows)


def _fold(token: str, room: int) -> list[str]:
    """A token in parts that fit the window: one, unless it is very long."""
    parts, used = [""], 0
    for character in token:
        if used + display_width(character) > room:
            parts.append("")
            used = 0
        parts[-1] += character
        used += display_width(character)
    return parts


def bar(share: float, width: int = 24) -> str:
    """Draw a share between 0 and 1, in eighths of a block; what is more than nothing can be seen.

    >>> bar(0.5, width=10), bar(0.33, width=10), bar(0.001, width=10), bar(0, width=10)
    ('█████', '███▎', '▏', '')
    """
    whole, rest = divmod(max(round(min(share, 1) * width * 8), share > 0), 8)
    return "█" * whole + "▏▎▍▌▋▊▉"[rest - 1:rest]


def staircase(tokens: Iterable[str], rows: Iterable[Sequence[float]]) -> str:
    """Draw shares between 0 and 1 as blocks: a row for each token, which may share with those so far.

    Each token stands at the end of its own row, and so at the head of its own column.

    >>> print(staircase(["The", " cat", " sat"], [[1.0], [0.5, 0.5], [0.0, 0.9, 0.1]]))
    ██ The
    ▒▒▒▒ ·cat
    . ██. ·sat
    """
    shades = [". ", "░░", "▒▒", "▓▓", "██"]
    drawn = ["".join(shades[min(int(share * 5), 4)] for share in row).rstrip() for row in rows]
    return "\n".join(f"{row} {visible(token)}" for token, row in zip(tokens, drawn))


def table(rows: list[list]) -> str:
    """Line up rows of cells: the first and the last column to the left, those between to the right.

    >>> print(table([["", "tokens", ""], ["a cat", 12, bar(1, width=5)]]))
           tokens
    a cat      12  █████
    """
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(display_width, column)) for column in zip(*rows)]
    lines = []
    for row in rows:
        gaps = [" " * (width - display_width(cell)) for cell, width in zip(row, widths)]
        cells = [row[0] + gaps[0], *(gap + cell for cell, gap in zip(row[1:-1], gaps[1:])), row[-1]]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def wants_color() -> bool:
    """Colour is for terminals, unless the environment variable NO_COLOR is set.

    >>> wants_color()       # what an example prints goes to no terminal
    False
    """
    return _is_terminal(sys.stdout) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _is_terminal(stream) -> bool:
    return isinstance(stream, io.TextIOWrapper) and not stream.closed and stream.isatty()


def window() -> int:
    """The columns that a line may have: those of the window, and never over a hundred."""
    return max(20, min(shutil.get_terminal_size().columns, 100) - 1)


def write_words(pieces: Iterable[str]) -> None:
    """Print a text as its pieces come; on a terminal no word is broken at the window's edge.

    >>> write_words(["The s", "ky is", " blue", ".", " The"])
    The sky is blue. The
    """
    room, column, waiting = window() if _is_terminal(sys.stdout) else float("inf"), 0, ""
    for piece in chain(pieces, ["\n"]):
        *words, waiting = re.split(r"(?<=\S)(?=\s)|(?<=\n)", waiting + spell_out(piece))
        for word in words:
            if word != "\n" and column + display_width(word) > room and column:
                print()
                word, column = word.lstrip(" "), 0
            print(word, end="", flush=True)
            column = 0 if word.endswith("\n") else column + display_width(word)


def progress(steps: Sequence, label: str) -> Iterator:
    """Go through the steps of long work and draw a bar with the time left.

    Only on a terminal, on stderr, and only if it takes longer than a moment.

    >>> sum(progress(range(5), "adding"))
    10
    """
    start = drawn = time.monotonic()
    for done, step in enumerate(steps, 1):
        yield step
        now = time.monotonic()
        if now - drawn > 0.2 and _is_terminal(sys.stderr):
            drawn, share = now, done / len(steps)
            left = (now - start) * (1 - share) / share
            print(f"\r{label} {bar(share):24} {left:3.0f} s left ", end="", file=sys.stderr, flush=True)
    if drawn > start:
        print("\r" + " " * (len(label) + 40) + "\r", end="", file=sys.stderr, flush=True)


# %% Draw a map

def place_labels(points: dict[str, Sequence[float]], columns: int, rows: int) -> dict[str, tuple[int, int]]:
    """A row and a column for each label, as near to its point as there is room; both axes have the same scale.

    A line of a terminal is as high as two columns are wide.

    >>> place_labels({"dog": (0, 0), "cat": (0.1, 0), "car": (9, 4)}, columns=20, rows=5)
    {'dog': (4, 0), 'cat': (3, 0), 'car': (0, 16)}

    Raises ValueError if the labels need more room.
    """
    xs, ys = zip(*points.values())
    right = max(1, columns - max(map(display_width, points)) - 1)
    scale = max((max(xs) - min(xs)) / right, (max(ys) - min(ys)) / max(1, 2 * rows - 2)) or 1.0
    places, free = {}, set(product(range(rows), range(columns)))
    for label, (x, y) in points.items():
        row, column, width = (max(ys) - y) / scale / 2, (x - min(xs)) / scale, display_width(label)
        fits = [(top, left) for top, left in free if all((top, left + step) in free for step in range(width + 1))]
        if not fits:
            raise ValueError(f"a map of {columns} by {rows} has no room for {len(points)} words")
        top, left = min(fits, key=lambda place: (4 * abs(place[0] - row) + abs(place[1] - column), place))
        places[label] = top, left
        free -= {(top, left + step) for step in range(-1, width + 1)}
    return places


def draw_map(points: dict[str, Sequence[float]], columns: int = 78, rows: int = 24) -> str:
    """Draw labelled points as a map of letters.

    >>> print(draw_map({"dog": (0, 0), "cat": (0.1, 0), "car": (9, 4)}, columns=20, rows=3))
             car
    <BLANKLINE>
    dog cat
    """
    lines = [[" "] * columns for _ in range(rows)]
    for label, (row, column) in place_labels(points, columns, rows).items():
        width = display_width(label)        # a Chinese character takes two columns
        lines[row][column:column + width] = [label, *[""] * (width - 1)]
    return "\n".join("".join(line).rstrip() for line in lines).strip("\n")


def svg_map(points: dict[str, Sequence[float]], kinds: dict[str, str], columns: int = 76, rows: int = 30) -> str:
    """The same map as a picture for any browser, with a dot for each label, and a colour for each kind of them.

    >>> svg_map({"dog": (0, 0), "red": (1, 0)}, {"animals": "dog cat", "colours": "red"})[:38]
    '<svg xmlns="http://www.w3.org/2000/svg'
    """
    paint = dict(zip(kinds, ("#c0392b", "#2455a4", "#8e44ad", "#1e8449", "#ca6f1e")))
    color_of = {label: paint[kind] for kind, labels in kinds.items() for label in labels.split()}
    dots = [(12 * column, 24 * row, label, color_of.get(label, "#555"))
            for label, (row, column) in place_labels(points, columns, rows).items()]
    dots += [(150 * place, 24 * rows + 12, kind, color) for place, (kind, color) in enumerate(paint.items())]
    drawn = [f'<g fill="{color}"><circle cx="{x + 20}" cy="{y + 28}" r="4"/>'
             f'<text x="{x + 28}" y="{y + 34}">{html.escape(label)}</text></g>' for x, y, label, color in dots]
    size = f'width="{40 + 12 * columns}" height="{60 + 24 * rows}"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="monospace" font-size="17">',
                      '<rect width="100%" height="100%" fill="white"/>', *drawn, "</svg>", ""])


def principal_components(matrix: Sequence[Sequence[float]]) -> list[list[float]]:
    """The two directions in which the rows of a matrix differ most: the axes of a map. (By power iteration.)

    >>> rows = [[0, 0], [2, 1.1], [4, 1.9], [6, 3]]     # near a line that climbs 1 in 2
    >>> [round(number, 2) for number in principal_components(rows)[0]]
    [0.9, 0.44]
    """
    columns = [[number - sum(column) / len(column) for number in column] for column in zip(*matrix)]
    spread = [[sum(map(mul, a, b)) for b in columns] for a in columns]
    tiny = 1e-9 * sum(row[place] for place, row in enumerate(spread)) or 1.0     # so an axis is never zero
    axes, rng = [], random.Random(0)
    for _ in range(2):
        axis = [rng.gauss(0, 1) for _ in columns]
        for _ in range(100):
            axis = [sum(map(mul, row, axis)) + tiny * number for row, number in zip(spread, axis)]
            for first in axes:      # the second one stands at a right angle to the first
                along = sum(map(mul, axis, first))
                axis = [number - along * other for number, other in zip(axis, first)]
            size = math.hypot(*axis)
            axis = [number / size for number in axis]
        axes.append(axis)
    return axes


# %% Play

def play(module: Union[ModuleType, SimpleNamespace], step: bool = False, everything: bool = False) -> int:
    """Play a lesson: print its docstrings and its code in order, and run the examples.

    The same words are read in the source, checked by pytest and played here, so they
    can't drift apart. Where an example gives something else than its docstring
    says, both are shown. Returns how many did. With `step` it stops whenever the
    screen is full; `everything` plays what may be skipped, too.

    >>> play(ModuleType("tiny", "A short lesson."))      # doctest: +ELLIPSIS
    A short lesson.
    ...
    0
    """
    player = _Player(step)
    with contextlib.suppress(EOFError):     # the reader has seen enough
        for scene in _scenes(module, everything):
            player.show(scene, dict(vars(module)))
        player.say(f"{player.wrong} of {player.ran} examples went wrong." if player.wrong else
                   f"All {player.ran} examples gave what the lesson says.", "1;31" if player.wrong else "1;32")
    return player.wrong


def _scenes(module: Union[ModuleType, SimpleNamespace], everything: bool) -> Iterator[SimpleNamespace]:
    """Yield what there is to be played: sections, and in each its constants, functions and classes."""
    path = getattr(module, "__file__", None)
    source = Path(path).read_text(encoding="utf-8") if path else repr(module.__doc__)
    tree, lines = ast.parse(source), source.splitlines()
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None      # the types stand in the source; here the names are enough
    yield _scene(docstring=ast.get_docstring(tree))
    starts = [number for number, line in enumerate(lines) if line.startswith("# %%")]
    titles = [lines[start][4:].strip() for start in starts]
    played = [title for title in titles if everything or not title.startswith("The same, fast")]
    played = [title for title in played if title != "On the command line"]
    for title, start, end in zip(titles, starts, [*starts[1:], len(lines)]):
        if title == "On the command line":
            return
        if title not in played:
            yield _scene(docstring=f"(Skipped: “{title}”, from line {start + 1} of {Path(path).name}. --all plays it too.)")
            continue
        yield _scene(rule=f"{played.index(title) + 1} of {len(played)} · {title}", docstring=_introduction(lines[start + 1:end]))
        for node in tree.body:
            if start < node.lineno <= end:
                yield from _scenes_of(node, lines, everything)


def _scene(rule: str = "", heading: str = "", docstring: Optional[str] = "", code: str = "") -> SimpleNamespace:
    return SimpleNamespace(rule=rule, heading=heading, docstring=(docstring or "") + "\n", code=code)


def _introduction(lines: list[str]) -> str:
    """The comment right below a section's title."""
    comment = re.match(r"(?:#.*\n)*", "\n".join(lines) + "\n").group()
    return re.sub("(?m)^# ?", "", comment).strip()


def _scenes_of(node: ast.AST, lines: list[str], everything: bool, owner: str = "") -> Iterator[SimpleNamespace]:
    """Yield the scenes of one statement: a constant, a function, or a class and its methods."""
    names = [getattr(target, "id", "_") for target in getattr(node, "targets", [])] or [getattr(node, "name", "_")]
    if names[0].startswith("_") and not (everything and isinstance(node, (ast.FunctionDef, ast.ClassDef))):
        return
    code = textwrap.dedent(_code(node, lines))
    if isinstance(node, ast.Assign):
        yield _scene(code=code)
        return
    docstring = ast.get_docstring(node) or ""
    if not everything:
        docstring = re.split(r"(?m)^Raises \w+Error", docstring)[0]
    yield _scene(heading=owner + names[0], docstring=docstring, code=code)
    for method in node.body if isinstance(node, ast.ClassDef) else []:
        if isinstance(method, ast.FunctionDef) and not method.name.startswith("__"):
            yield from _scenes_of(method, lines, everything, owner=node.name + ".")


def _code(node: ast.AST, lines: list[str]) -> str:
    """A statement as it stands in the file; functions without docstring and types, classes without public methods."""
    first = node.decorator_list[0].lineno if getattr(node, "decorator_list", None) else node.lineno
    if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return "\n".join(lines[first - 1:node.end_lineno])
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    head = lines[first - 1:node.lineno]
    if isinstance(node, ast.ClassDef):
        kept = [part for part in body if not isinstance(part, ast.FunctionDef) or part.name.startswith("__")]
        gaps = ["\n\n" if isinstance(part, ast.FunctionDef) else "\n" for part in kept]   # fields stand together
        return "\n".join(head) + "".join(gap + _code(part, lines) for gap, part in zip(["\n", *gaps[1:]], kept))
    indent = " " * node.col_offset
    define = textwrap.wrap(f"{indent}def {node.name}({ast.unparse(node.args)}):", 79, subsequent_indent=indent + " " * 8)
    start = node.body[0].end_lineno if len(body) < len(node.body) else node.body[0].lineno - 1
    return "\n".join([*head[:-1], *define, *"\n".join(lines[start:node.end_lineno]).strip("\n").split("\n")])


class _Player(doctest.DocTestRunner):
    """Prints scenes, and runs their examples with doctest's own rules of what is right."""

    def __init__(self, step: bool):
        super().__init__(verbose=False)
        self.out, self.color = sys.stdout, wants_color()    # while an example runs, sys.stdout is another
        self.step, self.lines, self.section, self.last = step, 0, "", ""
        self.ran = self.wrong = 0
        self.rest: Iterator = iter(())      # what of the scene has not been shown

    def show(self, scene: SimpleNamespace, names: dict) -> None:
        if scene.rule:
            self.pause()
            self.section = "section " + scene.rule.split(" · ")[0] + " · "
            self.say(f"── {scene.rule} ".ljust(window(), "─") + "\n\n", "1;36")
        self.say(scene.heading, "1")
        pieces = doctest.DocTestParser().parse(scene.docstring)
        examples = [piece for piece in pieces if isinstance(piece, doctest.Example)]
        self.prose(pieces[0])
        self.python(scene.code)
        self.rest = iter(pieces[1:])
        self.run(doctest.DocTest(examples, names, "lesson", None, 0, None), out=self.out.write, clear_globs=False)
        for piece in self.rest:
            self.prose(piece)
        self.line("")

    def report_start(self, out, test, example):
        for piece in self.rest:
            if piece is example:
                break
            self.prose(piece)
        source = re.sub(" *# doctest:.*", "", example.source).rstrip()
        self.lay_out(">>> " + source.replace("\n", "\n... "), "32")

    def report_success(self, out, test, example, got):
        self.ran += 1
        self.result(got)

    def report_failure(self, out, test, example, got):
        self.report_success(out, test, example, got)
        self.wrong += 1
        self.say("but the lesson says:\n" + example.want, "1;31")

    def report_unexpected_exception(self, out, test, example, exc_info):
        self.report_failure(out, test, example, "".join(traceback.format_exception_only(*exc_info[:2])))

    def result(self, got: str) -> None:
        """What an example gave: text is filled, and what is drawn stays as it is."""
        got = re.sub(r"(?s)Traceback \(most recent call last\):\n(?: .*?\n)+(?=\S)", "", got)
        for line in got.splitlines():
            (self.lay_out if re.search(r"  |[█-▏│]", line) else self.say)(line, "33")

    def prose(self, text: str) -> None:
        """Print paragraphs, filled to the window; one with an indented line is a drawing and stays."""
        for paragraph in re.findall(r"(?:.+\n)+|\n", text):
            is_drawing = re.search("^ ", paragraph, re.MULTILINE)
            self.lay_out(paragraph) if is_drawing else self.say(" ".join(paragraph.split()) or "\n")

    def python(self, code: str) -> None:
        """Print code, in colour on a terminal; a line that is too long goes on further in."""
        if not code:
            return
        self.line("")
        room = window()
        for line in code.split("\n"):
            indent = " " * min(len(line) - len(line.lstrip()) + 8, room // 2)
            for part in textwrap.wrap(line, room, subsequent_indent=indent, drop_whitespace=False) or [""]:
                self.line(_paint(part.rstrip()) if self.color else part.rstrip())
        self.line("")

    def say(self, text: str, style: str = "") -> None:
        """Print text, filled to the window; `style` is a terminal's number for bold, green and so on."""
        for line in text.splitlines():
            # For the wrapping, a character that takes two columns counts as two.
            wide = "".join(character + "\0" * (display_width(character) - 1) for character in line)
            for part in textwrap.wrap(wide, window()) or [""]:
                self.line(self.styled(part.replace("\0", ""), style))

    def lay_out(self, text: str, style: str = "") -> None:
        """Print lines as they are; what does not fit the window is cut off."""
        for line in text.splitlines():
            if display_width(line) > window():
                while display_width(line) >= window():
                    line = line[:-1]
                line += "…"
            self.line(self.styled(line, style))

    def styled(self, line: str, style: str) -> str:
        return f"\033[{style}m{line}\033[0m" if style and self.color and line else line

    def line(self, line: str) -> None:
        """Print a line, but never two empty ones; with --step a full screen stops here."""
        if line == self.last == "":
            return
        if self.lines >= shutil.get_terminal_size().lines - 2:
            self.pause()
        self.lines, self.last = self.lines + 1, line
        print(line, file=self.out)

    def pause(self) -> None:
        """With --step: wait for Enter. Raises EOFError at a q."""
        if self.step and self.lines:
            print(self.styled(f"[{self.section}Enter goes on, q ends] ", "7"), end="", file=self.out, flush=True)
            answer = sys.stdin.readline()
            if answer.strip().lower() == "q":
                raise EOFError
            if self.color:
                print("\033[1A\033[2K", end="", file=self.out)     # the question has been answered
            elif not answer:
                print(file=self.out)
        self.lines = 0


def _paint(code: str) -> str:
    """Colour a line of Python: comments, strings, keywords.

    >>> _paint("return 'text'")
    "\\x1b[35mreturn\\x1b[0m \\x1b[33m'text'\\x1b[0m"
    """
    kinds = r"(#.*)|([rbf]*\"(?:\\.|[^\"\\])*\"|[rbf]*'(?:\\.|[^'\\])*')|\b(" + "|".join(keyword.kwlist) + r")\b"
    return re.sub(kinds, lambda match: f"\033[{('90', '33', '35')[match.lastindex - 1]}m{match.group()}\033[0m", code)


# %% Check answers

SECONDS = 60        # that an answer may take, unless its exercise has `seconds` of its own


def check_answers(lesson: Union[str, Path], path: Union[str, Path]) -> int:
    """Check a learner's file against the exercises of a lesson: a yes or a hint for each.

    The file is Python. It gives `answer_1` a value, or defines a function of that
    name where the exercise asks for one. In exercises.py a function for each exercise
    says a sentence, and it is a yes if it begins with "Yes". Returns how many answers
    are not right yet.
    """
    number = re.search(r"\d+", Path(lesson).name).group()
    exercises = {name.rpartition("_")[2]: check for name, check in vars(import_module("exercises")).items()
                 if name.startswith(f"exercise_{number}_")}
    decode_text(Path(path).read_bytes(), str(path))
    try:
        with _time_limit(max(map(_seconds, exercises.values()))):
            answers = runpy.run_path(str(path))
    except (Exception, SystemExit) as error:
        raise ValueError(f"{path} stops with {_describe(error, path)}") from None
    open_ones = []
    for name, check in exercises.items():
        answer = f"answer_{name}"
        said = _check(check, answers[answer], path) if answer in answers else f"There is no {answer} yet."
        is_right = said.startswith("Yes")
        open_ones += [] if is_right else [f"exercise {name}"]
        line = f"exercise {name}: {said}"
        print(f"\033[{'1;32' if is_right else '33'}m{line}\033[0m" if wants_color() else line)
    print(_what_next(len(exercises), open_ones, Path(lesson).name))
    return len(open_ones)


def _seconds(check: Callable) -> float:
    return getattr(check, "seconds", SECONDS)


def _check(check: Callable, answer: object, path: Union[str, Path]) -> str:
    try:
        with _time_limit(_seconds(check)):
            return check(_as_list(answer))
    except TimeoutError as error:
        return f"It {error}"
    except (Exception, SystemExit) as error:
        return f"It stopped with {_describe(error, path)}."


def _as_list(answer: object) -> object:
    """A tuple is as good an answer as a list."""
    return [_as_list(part) for part in answer] if isinstance(answer, (list, tuple)) else answer


def _what_next(count: int, open_ones: list[str], lesson: str) -> str:
    if open_ones:
        return f"{count - len(open_ones)} of {count}. Next: {open_ones[0]}."
    later = sorted(path.name for path in HERE.glob("lesson_*.py") if path.name > lesson)
    return f"All {count}! " + (f"Next: python3 {later[0]}" if later else "That was the last lesson.")


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Interrupt what takes longer, even an endless loop, with a TimeoutError."""
    done, late = threading.Event(), []

    def interrupt() -> None:
        wait = seconds
        while not done.wait(wait):
            late.append(True)
            _thread.interrupt_main()
            wait = 1

    before = signal.signal(signal.SIGINT, signal.default_int_handler)   # a background job ignores it
    threading.Thread(target=interrupt, daemon=True).start()
    try:
        yield
    except KeyboardInterrupt:
        if not late:
            raise
        raise TimeoutError(f"was still running after {seconds:g} seconds: does a loop in it never end?") from None
    finally:
        done.set()
        signal.signal(signal.SIGINT, before)


def _describe(error: BaseException, path: Union[str, Path]) -> str:
    """An error in a learner's file, in one line: what it is, and where in the file."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    lines += [getattr(error, "lineno", None)]
    where = next((f" in line {line}" for line in reversed(lines) if line), "")
    hint = " (is an import missing?)" if isinstance(error, NameError) else ""
    return f"{type(error).__name__}{where}: {getattr(error, 'msg', error)}{hint}"


# %% The command line

COMMON = {"--step": "play screen by screen; --all plays what may be skipped, too",
          "--check FILE": "check your answers to the exercises"}


def run_lesson(help: str, show: Callable[..., None]) -> None:
    """Run a lesson from the command line, and exit.

    Without an argument it plays the lesson. `help` is what --help prints, and what
    it names is what there is: `--name N` takes a whole number, `--name X` a number,
    `--name WORD` any text, and `--name` alone is a flag. `show` is called with what was
    given. Status 0 is success, 1 an example or an answer gone wrong, 2 something
    that the user can mend, said in one sentence; 130 is Ctrl-C and 141 a closed pipe,
    as in `| head`. In the cells of a notebook there is nothing to run.
    """
    if "__file__" not in show.__globals__:
        return
    _prepare_streams()
    name = Path(show.__globals__["__file__"]).name
    try:
        status = _obey(_parser(name, help), SimpleNamespace(**show.__globals__), show)
        print(end="", flush=True)
    except BrokenPipeError:
        status = 141
    except KeyboardInterrupt:
        status = 130
    except SystemExit as end:       # --help
        status = end.code
    except (ValueError, OSError) as error:
        is_file = isinstance(error, OSError) and error.filename
        sentence = f"{error.filename}: {error.strerror}" if is_file else str(error)
        print(spell_out(f"{name}: error: {sentence}"), file=sys.stderr)
        status = 2
    try:
        print(end="", flush=True)
    except OSError:     # nobody reads it: what is left goes nowhere, and Python need not complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def chat(write: Callable[[str, dict], None], settings: dict, change: Callable[[dict, str, str], dict],
         greeting: str = "Type the beginning of a text.") -> None:
    """Greet, read a line and `write(line, settings)`, or turn a knob; Ctrl-C stops a text, Ctrl-D ends it all.

    `change(settings, name, value)` gives the settings after a line such as "/temperature 0.3".
    """
    with contextlib.suppress(ImportError):
        import readline     # noqa: F401  it makes the arrow keys work, where there is one
    print(f"{greeting} /help lists the knobs, Ctrl-D ends.")
    while True:
        try:
            line = decode_text(input("> "), "the line")
            if line.startswith("/"):
                name, _, value = line[1:].partition(" ")
                settings = settings if name == "help" else change(settings, name, value.strip())
                for knob, setting in settings.items():
                    if name in ("help", knob, knob.replace("_", "-")):
                        print(f"/{knob.replace('_', '-')} is {'off' if setting is None else setting}")
            elif line:
                write(line, settings)
        except ValueError as error:
            print(error)
        except KeyboardInterrupt:
            print()
        except EOFError:
            return print()


def _parser(name: str, help: str) -> argparse.ArgumentParser:
    """The parser that a help text describes."""
    title, *rows = help.strip().splitlines()
    options = [row for row in rows if row.startswith("  ")]
    column = max(re.match(r"  \S+(?: [A-Z]+)? +", row).end() for row in options)
    common = [f"  {option}".ljust(column - 2) + "  " + what for option, what in COMMON.items()]
    lines = [f"usage: {name} [options] [text]", title, *options, *common, *rows[len(options):]]
    parser = argparse.ArgumentParser(prog=name, usage=lines[0][7:], allow_abbrev=False)
    parser.add_argument("text", nargs="?")
    kinds = {"N": _number_reader(int, "a whole number"), "X": _number_reader(float, "a number")}
    for option, place in re.findall(r"(--[a-z-]+)(?: ([A-Z]+)\b)?", "\n".join(options + common)):
        kind = kinds.get(place, str)
        parser.add_argument(option, **({"metavar": place, "type": kind} if place else {"action": "store_true"}))

    def complain(message: str) -> None:
        raise ValueError(message.replace("argument --", "--") + f" (see {name} --help)")
    parser.error, parser.format_help = complain, lambda: "\n".join(lines) + "\n"
    return parser


def _number_reader(kind: type, what: str) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            return kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"it takes {what}, not {text[:40]!r}") from None
    return read


def _obey(parser: argparse.ArgumentParser, lesson: SimpleNamespace, show: Callable[..., None]) -> int:
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None and value is not False}
    if "check" in given:
        return int(check_answers(lesson.__file__, given["check"]) > 0)
    if not given.keys() - {"step", "all"}:
        return int(play(lesson, "step" in given, "all" in given) > 0)
    for name in given.keys() & {"text", "map"}:     # names of files stay as the system gave them
        given[name] = read_text("-") if given[name] == "-" else decode_text(given[name], "the text")
    show(**{name: value for name, value in given.items() if name not in ("step", "all")})
    return 0


def _prepare_streams() -> None:
    """Whatever the terminal can't show is replaced, and never an error; a closed stream goes nowhere."""
    codecs.register_error("lesson", _replace_characters)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))
        if mode == "w" and isinstance(getattr(sys, name), io.TextIOWrapper):     # IDLE has streams of its own
            getattr(sys, name).reconfigure(errors="lesson")


def _replace_characters(error: UnicodeEncodeError) -> tuple[str, int]:
    """A codec error handler: draw with ASCII; what can't be drawn becomes a question mark."""
    simple = dict(zip("█▉▊▋▌▍▎▏░▒▓─·↵→▶│…–’“”×²", "#####:..:+#-_/>>|.-'\"\"x2"))
    return "".join(simple.get(character, "?") for character in error.object[error.start:error.end]), error.end
