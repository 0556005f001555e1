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
from itertools import chain, cycle, product, zip_longest
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

    >>> file, argument = b"\\xef\\xbb\\xbf\\xe8\\xbd\\xa6\\r\\n", "\\udce8\\udcbd\\udca6"
    >>> decode_text(file, "a file"), decode_text(argument, "a text")
    ('车\\n', '车')

    Raises ValueError, with the name, if it is not UTF-8.
    """
    try:
        data = data if isinstance(data, bytes) else data.encode("utf-8", "surrogateescape")
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeError as error:
        problem = f"byte {error.start} does not fit; save it as UTF-8 and try again"
        raise ValueError(f"{name} is not UTF-8: {problem}") from None


# %% Draw

def display_width(text: str) -> int:
    """The columns that a text takes on a terminal: Chinese and emoji take two each.

    >>> display_width("car"), display_width("车"), display_width("🌲"), display_width("e\\u0301")
    (3, 2, 2, 1)
    """
    return sum(1 + (unicodedata.east_asian_width(character) in "WF")
               for character in text if not unicodedata.combining(character))


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
    return "".join(f"\033[30;48;5;{color}m{token}\033[0m" for token, color in zip(tokens, cycle(palette)))


def show_ids(tokens: Iterable[str], ids: Iterable, width: Optional[int] = None) -> str:
    """Tokens with their ids under them, in as many rows as the window needs.

    >>> print(show_ids(["The", " cat", "车"], [0, 1517, 2], width=12))
    The  ·cat
    0    1517
    <BLANKLINE>
    车
    2
    """
    room, rows = width or window(), []
    for token, id in zip(map(visible, tokens), map(str, ids)):
        for cell in zip_longest(_fill(token, room), [id], fillvalue=""):
            size = max(map(display_width, cell))
            if not rows or display_width(rows[-1][0]) + size > room:
                rows.append(["", ""])
            for line, part in enumerate(cell):
                rows[-1][line] += part + " " * (size + 2 - display_width(part))
    return "\n\n".join("\n".join(map(str.rstrip, row)).rstrip() for row in rows)


def _widen(line: str) -> str:
    """Give each character that takes two columns a companion, so that `len` counts columns."""
    return "".join("\0" * (display_width(character) - 1) + character for character in line)


def _fill(line: str, room: int, indent: str = "") -> list[str]:
    """A text in lines that fit, broken between words; code keeps its blanks, and goes on further in."""
    line = re.sub('(?<=[ (]") (?=[^ ])', "\1", _widen(line))     # a token such as " cat" stays whole
    parts = textwrap.wrap(line, room, subsequent_indent=indent, drop_whitespace=not indent)
    return [part.replace("\0", "").replace("\1", " ").rstrip() for part in parts if part.strip()] or [""]


def _cut(line: str, room: int) -> list[str]:
    """A line of a drawing is never broken: what does not fit is cut off."""
    wide = _widen(line)
    return [line if len(wide) <= room else wide[:room - 1].replace("\0", "") + "…"]


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


class Writing(chain):
    """A text that comes piece by piece, an iterator; a notebook writes it as it comes.

    >>> text = Writing(["The s", "ky"])
    >>> text
    <a text that is still to come: write_words(...) prints it, "".join(...) collects it>
    >>> "".join(text)
    'The sky'
    """

    def __repr__(self) -> str:
        return '<a text that is still to come: write_words(...) prints it, "".join(...) collects it>'

    def _ipython_display_(self) -> None:
        write_words(self)


def progress(steps: Sequence, label: str) -> Iterator:
    """Go through the steps of long work and draw a bar with the time left.

    Only on a terminal, on stderr, and only if it takes longer than a moment.

    >>> sum(progress(range(5), "adding"))
    10
    """
    start, drawn = time.monotonic(), 0.0
    for done, step in enumerate(steps, 1):
        yield step
        passed = time.monotonic() - start
        if passed > drawn + 0.2 and _is_terminal(sys.stderr):
            drawn, share = passed, done / len(steps)
            left = f"{passed / share - passed:3.0f} s left"
            print(f"\r{label} {bar(share):24} {left} ", end="", file=sys.stderr, flush=True)
    if drawn:
        print("\r" + " " * (len(label) + 40) + "\r", end="", file=sys.stderr, flush=True)


# %% Draw a map

def place_labels(points: dict[str, Sequence[float]], columns: int, rows: int) -> dict[str, tuple[int, int]]:
    """A row and a column for each label, as near to its point as there is room.

    Both axes have the same scale: a line of a terminal is as high as two columns are wide.

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
        fits = [(4 * abs(top - row) + abs(left - column), top, left) for top, left in free
                if all((top, left + step) in free for step in range(width + 1))]
        if not fits:
            raise ValueError(f"a map of {columns} by {rows} has no room for {len(points)} words")
        _, top, left = min(fits)
        places[label] = top, left
        free -= {(top, left + step) for step in range(-1, width + 1)}
    return places


def draw_map(points: dict[str, Sequence[float]], columns: int = 78, rows: int = 22) -> str:
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


def svg_map(points: dict[str, Sequence[float]], kinds: dict[str, str],
            columns: int = 76, rows: int = 30) -> str:
    """The same map as a picture for any browser, with a dot for each label, and a colour for each kind.

    >>> svg_map({"dog": (0, 0), "red": (1, 0)}, {"animals": "dog cat", "colours": "red"})[:38]
    '<svg xmlns="http://www.w3.org/2000/svg'
    """
    paint = dict(zip(kinds, ("#c0392b", "#2455a4", "#8e44ad", "#1e8449", "#ca6f1e")))
    color_of = {label: paint[kind] for kind, labels in kinds.items() for label in labels.split()}
    dots = [(12 * column, 24 * row, color_of.get(label, "#555"), label)
            for label, (row, column) in place_labels(points, columns, rows).items()]
    legend = [(150 * place, 24 * rows + 12, color, kind) for place, (kind, color) in enumerate(paint.items())]
    drawn = "\n".join(f'<g fill="{color}"><circle cx="{x + 20}" cy="{y + 28}" r="4"/>'
                      f'<text x="{x + 28}" y="{y + 34}">{html.escape(label)}</text></g>'
                      for x, y, color, label in dots + legend)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{40 + 12 * columns}" height="{60 + 24 * rows}" '
            f'font-family="monospace" font-size="17">\n'
            f'<rect width="100%" height="100%" fill="white"/>\n{drawn}\n</svg>\n')


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
        for part in _parts(module, everything):
            player.show(vars(module), **part)
        wrong, ran = player.failures, player.tries
        player.say(f"{wrong} of {ran} examples went wrong." if wrong else
                   f"All {ran} examples gave what the lesson says.", "1;31" if wrong else "1;32")
    return player.failures


def _parts(module: Union[ModuleType, SimpleNamespace], everything: bool) -> Iterator[dict[str, str]]:
    """Yield what there is to play, part by part: the arguments of `_Player.show`."""
    path = getattr(module, "__file__", None)
    source = Path(path).read_text(encoding="utf-8") if path else repr(module.__doc__)
    opening, *cells = re.split(r"(?m)^# %% (.+)\n", source)
    sections = dict(zip(cells[::2], cells[1::2]))
    sections.pop("On the command line", None)
    played = [title for title in sections if everything or not title.startswith("The same, fast")]
    yield {"docstring": ast.get_docstring(ast.parse(opening)) or ""}
    for title, text in sections.items():
        if title not in played:
            line = source[:source.index(f"# %% {title}\n")].count("\n") + 1
            place = f"from line {line} of {Path(path).name}"
            yield {"docstring": f"(Skipped: “{title}”, {place}. --all plays it too.)"}
            continue
        introduction = re.sub("(?m)^# ?", "", re.match(r"(#.*\n)*", text).group())
        yield {"title": f"{played.index(title) + 1} of {len(played)} · {title}", "docstring": introduction}
        tree = ast.parse(text)
        yield from _definitions(tree.body, _bare_lines(tree, text), everything)


def _bare_lines(tree: ast.Module, source: str) -> list[str]:
    """The lines of a source as they are played: a docstring is blank, and a function has no types."""
    lines = source.split("\n")
    for node in ast.walk(tree):
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            continue
        first = node.body[0]
        if ast.get_docstring(node) is not None:
            lines[first.lineno - 1:first.end_lineno] = [""] * (first.end_lineno - first.lineno + 1)
        if isinstance(node, ast.FunctionDef) and first.lineno > node.lineno:
            for part in ast.walk(node.args):
                part.annotation = None
            head = f"{' ' * node.col_offset}def {node.name}({ast.unparse(node.args)}):"
            lines[node.lineno - 1:first.lineno - 1] = [head, *[""] * (first.lineno - node.lineno - 1)]
    return lines


def _definitions(nodes: list, lines: list, everything: bool, owner: str = "") -> Iterator[dict[str, str]]:
    """Yield the part of each constant, function and class, and after a class those of its methods."""
    for node in nodes:
        target = node.targets[0] if isinstance(node, ast.Assign) else node
        target = getattr(target, "elts", [target])[0]
        name = getattr(target, "id", getattr(target, "name", "__"))
        if name.startswith("__" if everything else "_"):
            continue
        inner = node.body if isinstance(node, ast.ClassDef) else []
        methods = [part for part in inner if isinstance(part, ast.FunctionDef) and part.name[:2] != "__"]
        end = _first_line(methods[0]) - 1 if methods else node.end_lineno
        code = textwrap.dedent("\n".join(lines[_first_line(node) - 1:end])).strip("\n")
        part = {"code": re.sub(":\n\n+", ":\n", code)}       # a docstring left empty lines
        if target is node:
            docstring = ast.get_docstring(node) or ""
            what_it_raises = re.search(r"(?m)^Raises \w+Error|\Z", docstring).start()
            part.update(name=owner + name, docstring=docstring if everything else docstring[:what_it_raises])
        yield part
        yield from _definitions(methods, lines, everything, name + ".")


def _first_line(node: ast.AST) -> int:
    return min(part.lineno for part in [node, *getattr(node, "decorator_list", [])])


class _Player(doctest.DocTestRunner):
    """Prints the parts of a lesson, and runs their examples; doctest says what is right."""

    def __init__(self, step: bool):
        super().__init__(verbose=False)
        self.step, self.section, self.lines, self.last, self.got = step, "", 0, "", ""

    def report_success(self, out, test, example, got):
        self.got = got

    report_failure = report_success

    def report_unexpected_exception(self, out, test, example, exc_info):
        self.got = "".join(traceback.format_exception_only(*exc_info[:2]))

    def show(self, names: dict, title: str = "", name: str = "", docstring: str = "", code: str = "") -> None:
        """Play a part: its title and its name, its prose, its code, and then its examples."""
        if title:
            self.pause()
            self.section = f"section {title.partition(' · ')[0]} · "
            self.say(f"── {title} ".ljust(window(), "─") + "\n\n", "1;36")
        self.say(name, "1")
        test = doctest.DocTest([], names, "lesson", None, 0, None)
        prose, *pieces = doctest.DocTestParser().parse(docstring + "\n")
        first, gap, last = prose.rstrip("\n").rpartition("\n\n")
        if not gap or not last.endswith(":"):
            first, last = prose, ""
        self.prose(first + "\n\n")
        self.python(code)
        for piece in [last + "\n\n", *pieces]:        # what leads to an example stays with it
            self.prose(piece) if isinstance(piece, str) else self.example(piece, test)
        self.line("")

    def example(self, example: doctest.Example, test: doctest.DocTest) -> None:
        """Print an example and what it gives: text is filled, and what is drawn stays as it is."""
        source = re.sub(" *# doctest:.*", "", example.source).rstrip()
        self.say(">>> " + source.replace("\n", "\n... "), "32", _cut)
        test.examples = [example]
        is_wrong = self.run(test, out=lambda text: None, clear_globs=False).failed
        for line in re.sub(r"(?s)Traceback \(most recent.*?\n(?=\S)", "", self.got).splitlines():
            self.say(line or "\n", "33", _cut if re.search(r"  |[█-▏│]", line) else _fill)
        if is_wrong:
            self.say("but the lesson says:\n" + example.want, "1;31")

    def prose(self, text: str) -> None:
        """Print paragraphs, filled to the window; one with an indented line is a drawing and stays."""
        for paragraph in re.findall(r"(?:.+\n)+|\n", text):
            if re.search("(?m)^ ", paragraph):
                self.say(paragraph, fit=_cut)
            else:
                self.say(" ".join(paragraph.split()) or "\n")

    def python(self, code: str) -> None:
        """Print code, in colour on a terminal; a line that is too long goes on further in."""
        for line in f"\n{code}\n\n".split("\n") if code else []:
            indent = " " * min(len(line) - len(line.lstrip()) + 8, window() // 2)
            for part in _fill(line, window(), indent):
                self.line(_paint(part) if wants_color() else part)

    def say(self, text: str, style: str = "", fit: Callable[[str, int], list[str]] = _fill) -> None:
        """Print lines that fit the window; `style` is a terminal's number for bold, green and so on."""
        for line in text.splitlines():
            for part in fit(line, window()):
                self.line(_styled(part, style))

    def line(self, line: str) -> None:
        """Print a line, but never two empty ones; with --step a full screen stops here."""
        if line == self.last == "":
            return
        if self.lines >= shutil.get_terminal_size().lines - 2:
            self.pause()
        self.lines, self.last = self.lines + 1, line
        print(line)

    def pause(self) -> None:
        """With --step: wait for Enter. Raises EOFError at a q."""
        if self.step and self.lines:
            question = _fill(f"[{self.section}Enter goes on, q ends]", window())
            print("\n".join(_styled(line, "7") for line in question), end=" ", flush=True)
            answer = sys.stdin.readline()
            if answer.strip().lower() == "q":
                raise EOFError
            if not answer:
                print()
            elif wants_color():
                print("\033[1A\033[2K" * len(question), end="")      # it has been answered
        self.lines = 0


def _styled(text: str, style: str) -> str:
    return f"\033[{style}m{text}\033[0m" if style and text and wants_color() else text


def _paint(code: str) -> str:
    """Colour a line of Python: comments, strings, keywords.

    >>> _paint("return 'text'")
    "\\x1b[35mreturn\\x1b[0m \\x1b[33m'text'\\x1b[0m"
    """
    kinds = r"""(#.*)|([rbf]*"(?:\\.|[^"\\])*"|[rbf]*'(?:\\.|[^'\\])*')|\b(%s)\b""" % "|".join(keyword.kwlist)
    colors = ("", "90", "33", "35")
    return re.sub(kinds, lambda match: f"\033[{colors[match.lastindex]}m{match.group()}\033[0m", code)


# %% Check answers

SECONDS = 60        # that an answer may take, unless its exercise has `seconds` of its own


def check_answers(lesson: Union[str, Path], path: Union[str, Path]) -> int:
    """Check a learner's file against the exercises of a lesson: a yes or a hint for each.

    The file is Python. It gives `answer_1` a value, or defines a function of that
    name where the exercise asks for one. In exercises.py a function for each exercise
    says a sentence, and it is a yes if it begins with "Yes". Returns how many answers
    are not right yet.
    """
    name, path = Path(lesson).name, Path(path)
    beginning = f"exercise_{re.search('[0-9]+', name).group()}_"
    checks = {key[len(beginning):]: check for key, check in vars(import_module("exercises")).items()
              if key.startswith(beginning)}
    read_text(path)     # it must be UTF-8
    try:
        answers = _attempt(path, max(map(_seconds, checks.values())), runpy.run_path, str(path))
    except ValueError as error:
        raise ValueError(f"{path} {error}") from None
    open_ones = []
    for number, check in checks.items():
        said = _said(path, number, check, answers)
        open_ones += [] if said.startswith("Yes") else [number]
        for line in _fill(f"exercise {number}: {said}", window()):
            print(_styled(line, "33" if number in open_ones else "1;32"))
    if open_ones:
        print(f"{len(checks) - len(open_ones)} of {len(checks)}. Next: exercise {open_ones[0]}.")
    else:
        later = sorted(path.name for path in HERE.glob("lesson_*.py") if path.name > name)
        print(f"All {len(checks)}!", f"Next: python3 {later[0]} --step" if later else "That was the last lesson.")
    return len(open_ones)


def _seconds(check: Callable) -> float:
    return getattr(check, "seconds", SECONDS)


def _said(path: Path, number: str, check: Callable, answers: dict) -> str:
    try:
        return _attempt(path, _seconds(check), check, _as_list(answers[f"answer_{number}"]))
    except KeyError:
        return f"There is no answer_{number} yet."
    except ValueError as error:
        return f"It {error}"


def _as_list(answer: object) -> object:
    """A tuple is as good an answer as a list."""
    return [_as_list(part) for part in answer] if isinstance(answer, (list, tuple)) else answer


def _attempt(path: Path, seconds: float, function: Callable, argument: object) -> object:
    """What a function returns; an error, or an endless loop, becomes a ValueError that names it."""
    end, done = time.monotonic() + seconds, threading.Event()

    def interrupt() -> None:
        while not done.wait(max(1, end - time.monotonic())):
            _thread.interrupt_main()        # more than once: an `except:` may swallow it

    before = signal.signal(signal.SIGINT, signal.default_int_handler)   # a background job ignores it
    threading.Thread(target=interrupt, daemon=True).start()
    try:
        return function(argument)
    except KeyboardInterrupt:
        if time.monotonic() < end:
            raise
        problem = f"was still running after {seconds:g} seconds: does a loop in it never end?"
    except (Exception, SystemExit) as error:
        lines = re.findall(rf'File "{re.escape(str(path))}", line (\d+)', traceback.format_exc())
        where = f" in line {lines[-1]}" if lines else ""
        hint = " (is an import missing?)" if isinstance(error, NameError) else ""
        problem = f"stopped with {type(error).__name__}{where}: {getattr(error, 'msg', error)}{hint}."
    finally:
        done.set()
        signal.signal(signal.SIGINT, before)
    raise ValueError(problem)


# %% The command line

COMMON = {"--step": "play screen by screen; --all plays what may be skipped, too",
          "--check FILE": "check your answers to the exercises"}


def run_lesson(help: str, show: Callable[..., None]) -> None:
    """Run a lesson from the command line, and exit.

    Without an argument it plays the lesson. `help` is what --help prints, and what
    it names is what there is: `--name N` takes a whole number, `--name WORD` any text,
    and `--name` alone is a flag. `show` is called with what was
    given. Status 0 is success, 1 an example or an answer gone wrong, 2 something
    that the user can mend, said in one sentence; 130 is Ctrl-C and 141 a closed pipe,
    as in `| head`. In the cells of a notebook it only says how to go on.
    """
    name, status = Path(show.__globals__.get("__file__", "")).name, 0
    if name != Path(sys.argv[0]).name or not name:
        lesson = re.search(r"lesson_\w+", help).group()
        print(f"All of this lesson is defined now. To play it: import stage, {lesson}; stage.play({lesson})")
        return
    _prepare_streams()
    try:
        status = _obey(_parser(name, help), SimpleNamespace(**show.__globals__), show)
        sys.stdout.flush()
    except BrokenPipeError:
        status = 141
    except KeyboardInterrupt:
        status = 130
    except SystemExit:      # --help
        pass
    except (ValueError, OSError, MemoryError) as error:
        is_file = isinstance(error, OSError) and error.filename
        sentence = f"{error.filename}: {error.strerror}" if is_file else str(error) or "there is too little memory"
        print(spell_out(f"{name}: error: {sentence}"), file=sys.stderr)
        status = 2
    try:
        sys.stdout.flush()
    except OSError:
        os._exit(status)    # nobody reads it, and Python need not complain
    sys.exit(status)


def chat(write: Callable[[str, dict], None], settings: dict, change: Callable[[dict, str, str], dict],
         greeting: str = "Type the beginning of a text.") -> None:
    """Greet, read a line and `write(line, settings)`, or turn a knob, again and again.

    `change(settings, name, value)` gives the settings after a line such as "/temperature
    0.3". Ctrl-C stops a text, Ctrl-D ends it all.
    """
    with contextlib.suppress(ImportError):
        import readline     # noqa: F401  it makes the arrow keys work, where there is one
    print(f"{greeting} /help lists the knobs, Ctrl-D ends.")
    while True:
        try:
            line = decode_text(input("> "), "the line")
            if line.startswith("/"):
                settings = _turn_knob(line, settings, change)
            elif line:
                write(line, settings)
        except ValueError as error:
            print(error)
        except KeyboardInterrupt:
            print()
        except EOFError:
            return print()


def _turn_knob(line: str, settings: dict, change: Callable[[dict, str, str], dict]) -> dict:
    """The settings after a line such as "/temperature 0.3"; prints the new one, or after /help all."""
    name, _, value = line[1:].partition(" ")
    if name != "help":
        settings = change(settings, name, value.strip())
    for knob, setting in settings.items():
        option = knob.replace("_", "-")
        if name in ("help", knob, option):
            print(f"/{option} is {'off' if setting is None else setting}")
    return settings


def _parser(name: str, help: str) -> argparse.ArgumentParser:
    """The parser that a help text describes."""
    column = len(re.search("(?m)^  text +", help).group())
    common = "".join(f"  {option}".ljust(column - 2) + f"  {what}\n" for option, what in COMMON.items())
    shown = f"usage: {name} [options] [text]\n" + re.sub(r".*\n(  .*\n)+", r"\g<0>" + common, help, count=1)
    parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS, allow_abbrev=False)
    parser.format_help = lambda: shown
    parser.error = lambda message: _complain(f"{message} (see {name} --help)")
    parser.add_argument("text", nargs="?")
    for row in re.findall("(?m)^  .+", shown):
        for option, place in re.findall(r"(--[a-z-]+)(?: ([A-Z]+)\b)?", row):
            kind = {"type": int if place == "N" else str} if place else {"action": "store_true"}
            parser.add_argument(option, **kind)
    return parser


def _complain(message: str) -> None:
    """Raise a ValueError that says in our words what argparse says."""
    message = message.replace("invalid int value:", "it takes a whole number, not")
    raise ValueError(message.replace("argument --", "--"))


def _obey(parser: argparse.ArgumentParser, lesson: SimpleNamespace, show: Callable[..., None]) -> int:
    given = vars(parser.parse_args())
    step, everything = given.pop("step", False), given.pop("all", False)
    if "check" in given:
        return int(check_answers(lesson.__file__, given["check"]) > 0)
    if not given:
        return int(play(lesson, step, everything) > 0)
    for name in given.keys() & {"text", "map"}:     # names of files stay as the system gave them
        given[name] = read_text("-") if given[name] == "-" else decode_text(given[name], "the text")
    show(**given)
    return 0


def _prepare_streams() -> None:
    """Whatever the terminal can't show is replaced, and never an error; a closed stream goes nowhere."""
    codecs.register_error("lesson", _replace_characters)
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):        # IDLE has streams of its own
            stream.reconfigure(errors="lesson")


def _replace_characters(error: UnicodeEncodeError) -> tuple[str, int]:
    """A codec error handler: draw with ASCII; what can't be drawn becomes a question mark."""
    simple = dict(zip("█▉▊▋▌▍▎▏░▒▓─·↵→▶│…–’“”×²", "#####:..:+#-_/>>|.-'\"\"x2"))
    return "".join(simple.get(character, "?") for character in error.object[error.start:error.end]), error.end
