"""What must hold. The doctests in the lessons explain; the tests here prove."""

import ast
import bz2
import contextlib
import doctest
import http.server
import json
import lzma
import math
import os
import random
import re
import signal
import statistics
import struct
import subprocess
import sys
import threading
import unicodedata
import zlib
from collections import Counter, defaultdict
from functools import partial
from itertools import chain, product
from pathlib import Path
from types import ModuleType

import pytest

import exercises
import formats
import lesson_1_tokens as one
import lesson_2_coding_tokenizer as two
import lesson_3_embeddings as three
import lesson_4_sampling as four
import lesson_5_transformer as five
import lesson_6_llama as six
import stage

HERE = Path(__file__).resolve().parent
LESSONS = sorted(HERE.glob("lesson_*.py"))
DATA = Path(os.environ.get("COURSE_DATA", HERE.parent / "shared" / "data"))
SLIDES = HERE.parent / "shared" / "slides" / "slides.md"
PROMPT = "The sun is shining, and the sky is"


def random_texts(count, seed=0, surrogates=False):
    """Strings of all kinds: ASCII, spaces, letters of many scripts, emoji, anything in Unicode."""
    rng = random.Random(seed)
    alphabets = ["abc ", "\t\n\r ·  .!?\"'", "aé车🌲 ß\u0301İ", "".join(map(chr, range(128)))]
    for number in range(count):
        length = rng.randrange(40)
        if number % 2:
            yield "".join(rng.choices(alphabets[number // 2 % len(alphabets)], k=length))
            continue
        points = (rng.randrange(rng.choice([0x80, 0x800, 0x10000, 0x110000])) for _ in range(length))
        text = "".join(map(chr, points))
        yield text if surrogates else "".join(c for c in text if not 0xD800 <= ord(c) < 0xE000)


def damaged(data, count, seed):
    """Copies of a file with parts changed, cut off, left out or doubled."""
    rng = random.Random(seed)
    for _ in range(count):
        copy = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            start, length = rng.randrange(len(copy) + 1), rng.choice([1, 1, 1, rng.randrange(20), len(copy)])
            part, sign = copy[start:start + length], rng.choice(b'0123456789"[]{},:nul')
            copy[start:start + length] = rng.choice([b"", part * 2, [sign], [rng.randrange(256)]])
        yield bytes(copy)


def run(*arguments, cwd=HERE, stdin="", **environment):
    """Run a lesson as a user would; what it printed, and how it ended."""
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=cwd, input=stdin, capture_output=True,
                          encoding="utf-8", errors="replace", env={**os.environ, **environment}, timeout=300)


def on_a_terminal(*arguments, typed="", columns=80, **environment):
    """Run a lesson on a terminal of POSIX; all that it wrote there."""
    import pty
    master, terminal = pty.openpty()
    size = {"LINES": "24", "COLUMNS": str(columns)}
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), terminal)
    process = subprocess.Popen([sys.executable, *arguments], cwd=HERE, **streams,
                               env={**os.environ, "TERM": "xterm", "NO_COLOR": "", **size, **environment})
    os.close(terminal)
    os.write(master, typed.encode())
    said = b""
    with contextlib.suppress(OSError):      # the other end is closed
        while part := os.read(master, 100_000):
            said += part
    os.close(master)
    process.wait(60)
    return said.decode("utf-8", "replace")


posix = pytest.mark.skipif(os.name == "nt", reason="needs the terminals, signals and pipes of POSIX")


@pytest.fixture(scope="session")
def course():
    return three.course_model()


# --- the corpus and the README ---------------------------------------------------------------

def test_the_corpus_is_prose_with_a_small_vocabulary():
    text = one.read_text(one.CORPUS)
    words = Counter(re.findall(r"[a-z]+", text.lower()))
    assert 50_000 <= len(text.encode()) <= 70_000
    assert len(text.strip().split("\n\n")) >= 80
    assert len(words) <= 1500
    assert sum(count for _, count in words.most_common(400)) > 0.85 * sum(words.values())
    sentences = [sentence.strip() for sentence in re.findall(r'[^.!?]+[.!?]+"?', text)]
    assert len(set(sentences)) >= 0.97 * len(sentences)
    assert 3 * len(zlib.compress(text.encode(), 9)) >= len(text.encode())
    assert sum(not line.isascii() for line in text.splitlines()) >= 12
    assert not re.search(r"sky (is|was) (an? )?apple", text)


def table_rows(heading):
    table = (HERE / "README.md").read_text(encoding="utf-8").partition(heading)[2].partition("|---")[2]
    rows = table.split("\n\n")[0].splitlines()[1:]
    cells = [re.split(r"(?<!\\)\|", row.strip("|")) for row in rows]
    return [[cell.strip().replace("\\|", "|") for cell in row] for row in cells]


def test_the_map_leads_from_every_slide_to_code_that_is_there():
    expected = 1
    for slides, about, lesson, section, names in table_rows("## From the slides to the code"):
        if slides != "titles":
            first, last = (list(map(int, slides.split("–"))) * 2)[:2]
            assert about and first in (expected, expected - 1) and last >= first
            expected = last + 1
        if lesson:
            source = LESSONS[int(lesson) - 1].read_text(encoding="utf-8")
            code = source.partition(f"\n# %% {section}\n")[2].partition("\n# %% ")[0]
            defined = re.findall(r"(?m)^(?:(?:def|class) )?([A-Za-z]\w+)(?: = |[(:])", code)
            assert names and set(re.findall(r"`(\w+)`", names)) <= set(defined)
    assert expected == 52
    if SLIDES.exists():
        assert len(re.split("(?m)^---[ ]*$", SLIDES.read_text(encoding="utf-8"))[2:]) == expected - 1


def test_what_the_slides_get_wrong_is_shown_where_the_readme_says():
    rows = table_rows("Where the slides slip")
    assert len(rows) >= 6
    for _, says, but, shown_by in rows:
        lesson, name = re.fullmatch(r"lesson (\d) `(\w+)`", shown_by).groups()
        docstring = getattr((one, two, three, four)[int(lesson) - 1], name).__doc__
        assert re.findall("`([^`]+)`", but)
        assert all(figure in docstring for figure in re.findall("`([^`]+)`", says + but))


def test_the_readme_shows_what_one_sees(course):
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    seed, shown = re.search(r"`--seed (\d+)`:\n\n((?:    .+\n)+)", readme).groups()
    assert shown.split() == run("lesson_4_sampling.py", PROMPT, "--seed", seed).stdout.split()


# --- the stage -------------------------------------------------------------------------------

@pytest.mark.parametrize("docstring, wrong", [
    ("Right.\n\n>>> 1 + 1\n2\n", 0), ("Wrong.\n\n>>> 1 + 1\n3\n", 1), ("Raises.\n\n>>> 1 / 0\n1\n", 1),
    ("Should raise.\n\n>>> 1\nTraceback (most recent call last):\nValueError: no\n", 1),
    ("Does raise.\n\n>>> int('x')\nTraceback (most recent call last):\nValueError: "
     "invalid literal for int() with base 10: 'x'\n", 0),
    ("Prints what it should raise.\n\n>>> print('ValueError: no')\n"
     "Traceback (most recent call last):\nValueError: no\n", 1),
    ("Any.\n\n>>> 'some' + 'thing'   # doctest: +ELLIPSIS\n'some...'\n", 0)])
def test_a_lesson_cannot_play_wrong_and_look_right(docstring, wrong, capsys):
    assert one.play(ModuleType("lesson", docstring)) == wrong
    assert ("but the lesson says" in capsys.readouterr().out) == bool(wrong)


LESSON_9 = '''
"""Lesson 9.

>>> LIMIT
5
"""
import stage
# %% Adding
# What this section is about.
LIMIT = 5
def add(a: int, b: "int" = 2) -> int:
    """Add two numbers.

    >>> add(1)
    3

    Raises ValueError for nothing.

    >>> 1 / 0
    """
    return a + b    # the sum
class Pair:
    """Two things."""

    left = 1

    def swap(self) -> "Pair":
        """The other way round."""
        return self
# %% The same, fast: adding
def add_fast(a):
    """Add sooner."""
# %% Your turn
# 1. Which number?
# %% On the command line
HELP = """Lesson 9: a test.
  text        shown
  --size N    a size; --word W is a word
"""
def show(text=None, size=1, word="the"):
    if size < 0:
        raise ValueError("the size is too small")
    print(text, size, word)
if __name__ == "__main__":
    stage.SECONDS = 1
    stage.run_lesson(HELP, show)
'''
EXERCISES = '''
def exercise_9_1(answer):
    return "Yes: three." if answer == [3, [4]] else "No."
def exercise_9_2(answer):
    return answer()
'''


@pytest.fixture
def lesson_9(tmp_path):
    (tmp_path / "stage.py").write_bytes((HERE / "stage.py").read_bytes())
    (tmp_path / "exercises.py").write_text(EXERCISES, encoding="utf-8")
    (tmp_path / "lesson_9.py").write_text(LESSON_9.lstrip(), encoding="utf-8")
    return tmp_path / "lesson_9.py"


def test_the_play_shows_prose_code_and_examples_in_this_order(lesson_9):
    played = run(lesson_9)
    parts = ["What this section is about.", "LIMIT = 5", "Add two numbers.",
             "def add(a, b=2):\n    return a + b    # the sum", ">>> add(1)\n3",
             "class Pair:\n    left = 1\n\n", "Pair.swap\nThe other way round.", "def swap(self):",
             "from line 29", "1. Which number?"]
    places = [played.stdout.index(part) for part in parts]
    assert places == sorted(places) and played.returncode == 0
    assert all(hidden not in played.stdout for hidden in ("Raises", "1 / 0", "add_fast", "HELP", "-> "))
    assert "add_fast" in run("-OO", lesson_9, "--all").stdout


@pytest.mark.parametrize("arguments, says", [
    (["--nope"], "--nope"), (["a", "b"], "b"), (["--size", "1.5"], "--size: it takes a whole number, not '1.5'"),
    (["--word"], "--word: expected"), (["--size", "-1"], "the size is too small"),
    (["--check", "nothing.py"], "nothing.py: No such file"), (["--check"], "--check")])
def test_what_the_command_line_refuses_is_said_in_one_sentence(lesson_9, arguments, says):
    ended = run(lesson_9, *arguments)
    assert ended.returncode == 2 and ended.stderr.startswith("lesson_9.py: error: ") and says in ended.stderr
    assert ended.stderr.count("\n") == 1 and not ended.stdout


def test_the_command_line_is_what_the_help_says(lesson_9):
    assert run(lesson_9, "a\r\nb", "--size", "-0", "--word", "2").stdout == "a\nb 0 2\n"
    assert run("-m", "cProfile", lesson_9, "-", stdin="\ufeffcar").stdout.startswith("car 1 the\n")


@pytest.mark.parametrize("source, status, says", [
    ("answer_1 = 3, (4,)\ndef answer_2(): return 'Yes'", 0, "exercise 1: Yes: three.\nexercise 2: Yes\nAll 2!"),
    ("answer_1 = 3", 1, "exercise 1: No.\nexercise 2: There is no answer_2 yet.\n0 of 2. Next: exercise 1."),
    ("def answer_2():\n    return 1 / 0", 1, "It stopped with ZeroDivisionError in line 2"),
    ("def answer_2():\n    while True: pass", 1, "It was still running after 1 seconds"),
    ("while True: pass", 2, "was still running"), ("answer_1 = (", 2, "SyntaxError in line 1"),
    ("import sys\nsys.exit()", 2, "SystemExit in line 2"), ("answer_1 = '\udcff'", 2, "not UTF-8")])
def test_answers_get_a_yes_or_a_hint_and_cannot_run_for_ever(lesson_9, source, status, says):
    answers = lesson_9.with_name("answers.py")
    answers.write_bytes(source.encode("utf-8", "surrogateescape"))
    ended = run(lesson_9, "--check", answers)
    assert ended.returncode == status and says in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr


@posix
def test_step_stops_where_the_screen_is_full_and_q_ends(lesson_9):
    played = on_a_terminal(lesson_9, "--step", typed="\n\n\n\n")
    assert "section 1 of 2 · Enter goes on, q ends" in played and "All 2 examples" in played
    assert "Which number" not in on_a_terminal(lesson_9, "--step", typed="\nq\n")


@posix
def test_on_a_terminal_there_is_colour_and_a_progress_bar_and_no_word_is_broken():
    script = ("import time; from stage import *; print(show_tokens(['a', 'b']))\n"
              "write_words(['on', 'ce up', 'on a', ' ti', 'me the', 're', '\\n', 'it is'])\n"
              "for _ in progress(range(4), 'waiting'): time.sleep(0.3)\n")
    for no_color in ("", "1"):
        said = on_a_terminal("-c", script, NO_COLOR=no_color, columns=22)
        assert ("\033[30;48;5;" in said) != bool(no_color)
        assert "once upon a time\r\nthere\r\nit is\r\n" in said and "waiting" in said and "s left" in said


def test_shown_tokens_hold_nothing_that_a_terminal_obeys():
    for text in random_texts(1000, surrogates=True):
        for color in (False, True):
            shown = one.show_tokens(one.letter_tokens(text), color)
            assert re.sub("\033\\[[0-9;]*m", "", shown).isprintable()
    colors = re.findall("\033\\[30;48;5;([0-9]+)m", one.show_tokens(["a"] * 20, color=True))
    assert len(colors) == 20 and all(a != b for a, b in zip(colors, colors[1:]))


def test_an_interrupted_write_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "file"
    writers = [threading.Thread(target=formats.write_whole, args=(path, bytes([number]) * 100_000))
               for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(set(path.read_bytes())) == 1 and list(tmp_path.iterdir()) == [path]
    formats.write_whole(path, b"old")
    monkeypatch.setattr(os, "replace", lambda *_: signal.default_int_handler(signal.SIGINT, None))
    with pytest.raises(KeyboardInterrupt):
        formats.write_whole(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


# --- all lessons -----------------------------------------------------------------------------

NOTEBOOK = """
import re, sys; from pathlib import Path; sys.ps1 = '>>> '; sys.displayhook = lambda value: None
source = Path(sys.argv[1]).read_text(encoding='utf-8'); sys.argv = ['launcher.py', '-f', 'kernel.json']
for more in ({}, {'__file__': 'lesson.py'}):     # some notebooks have a __file__
    names = {'__name__': '__main__', **more}
    for cell in re.split('(?m)^# %%.*$', source): exec(cell, names)
import lesson_1_tokens; assert lesson_1_tokens.play(lesson_1_tokens) == 0
"""


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_the_cells_of_a_lesson_run_in_order_in_a_notebook(lesson, course):
    """A notebook has a prompt, other arguments, and its own way to display a value."""
    ended = run("-c", NOTEBOOK, lesson)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count(f"To play it: import stage, {lesson.stem}; stage.play({lesson.stem})") == 2


def test_a_notebook_writes_a_text_as_it_comes(course, capsys):
    text = four.generate(*course[::-1], PROMPT, max_new_tokens=3, seed=1)
    assert "write_words" in repr(text)
    text._ipython_display_()
    assert capsys.readouterr().out.rstrip("\n") == "".join(four.generate(*course[::-1], PROMPT, max_new_tokens=3, seed=1))


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_an_import_of_everything_brings_what_the_examples_use(lesson):
    for test in doctest.DocTestFinder().find(sys.modules[lesson.stem]):
        assert not re.search(r"(?<![\w.])_[a-z]", "".join(example.source for example in test.examples)), test.name


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_every_lesson_plays_wherever_it_is(lesson, tmp_path, course):
    for columns, option, encoding in ((30, "-I", "ascii"), (80, "-OO", "cp437")):
        played = run(option, lesson, cwd=tmp_path, LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING=encoding,
                     PYTHONWARNINGS="error", COLUMNS=str(columns))
        assert played.returncode == 0, played.stdout[-500:] + played.stderr
        assert "examples gave what the lesson says" in " ".join(played.stdout.split())
        assert "\033" not in played.stdout and not played.stderr
        assert max(map(stage.display_width, played.stdout.splitlines())) <= columns


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_nothing_that_is_played_is_too_wide_for_eighty_columns(lesson):
    for part in stage._parts(sys.modules[lesson.stem], everything=False):
        drawn = "".join(re.findall("(?m)^(?: |>>>|\\.\\.\\.).*\n", part.get("docstring", "")))
        code = re.sub("(?m)^ *def .*", "", part.get("code", ""))      # the parameters stand in one line
        assert max(map(stage.display_width, (drawn + code).splitlines()), default=0) <= 79, part


def test_a_text_is_the_same_in_every_locale():
    said = {run("lesson_2_coding_tokenizer.py", "The 车 🌲", PYTHONIOENCODING="utf-8", **environment).stdout
            for environment in ({}, {"LC_ALL": "C", "PYTHONUTF8": "0"})}
    ids = map(int, said.pop().splitlines()[3].split())
    assert not said and two.course_tokenizer().decode(ids) == "The 车 🌲"


def test_the_lessons_import_only_downwards_and_every_public_function_has_a_docstring():
    order = ["stage", "formats", *(path.stem for path in LESSONS)]
    for place, name in enumerate(order):
        source = (HERE / f"{name}.py").read_text(encoding="utf-8")
        for node in ast.parse(source).body:
            if not isinstance(node, (ast.Import, ast.ImportFrom)):
                continue
            imported = (getattr(node, "module", None) or node.names[0].name).split(".")[0]
            known = getattr(sys, "stdlib_module_names", {imported} - set(order))
            assert imported in known or imported in order[:place]
        module = sys.modules[name]
        for public in re.findall(r"^(?:def|class) ([A-Za-z]\w+)", source, re.MULTILINE):
            assert getattr(module, public).__doc__ or public == "show"
            for method in vars(getattr(module, public)).values() if public[0].isupper() else ():
                assert not callable(method) or method.__name__[0] == "_" or method.__doc__


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_help_has_ten_lines_that_fit_a_window(lesson):
    ended = run("-I", lesson, "--help")     # -I does not look for the other lessons beside this one
    assert ended.returncode == 0 and len(ended.stdout.splitlines()) <= 10
    assert max(map(len, ended.stdout.splitlines())) <= 80


def interrupted(arguments, signal_number):
    """The status of a lesson that is interrupted when its first output has come, and what it complains of."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)      # a background job ignores it
    with subprocess.Popen([sys.executable, "-u", *arguments], cwd=HERE, preexec_fn=heed, **pipes) as process:
        process.stdout.read(20)
        process.send_signal(signal_number) if signal_number else process.stdout.close()
        return process.stderr.read(), process.wait(60)


@posix
def test_a_closed_pipe_and_ctrl_c_end_a_lesson_without_a_word():
    assert interrupted(["lesson_1_tokens.py"], None) == (b"", 141)
    assert interrupted(["lesson_1_tokens.py", "--step"], signal.SIGINT) == (b"", 130)


def test_the_first_run_and_the_second_say_the_same_also_with_windows_line_ends(tmp_path, course):
    for path in [*HERE.glob("*.py"), one.CORPUS]:
        (tmp_path / path.name).write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    texts = [run(HERE / "lesson_4_sampling.py", PROMPT, "--seed", "3")]
    texts += [run("lesson_4_sampling.py", PROMPT, "--seed", "3", cwd=tmp_path, PYTHONHASHSEED=seed) for seed in "12"]
    assert len({text.stdout for text in texts}) == 1 and PROMPT in texts[0].stdout.replace("\n", " ")
    assert "bits per byte" in texts[1].stderr and texts[2].stderr == ""
    assert numbers_of(three.load_model(tmp_path / "model")[1]) == numbers_of(course[1])


# --- lesson 1 --------------------------------------------------------------------------------

def test_all_cutters_join_back_to_any_text():
    for text in [*random_texts(1000, surrogates=True), "", " " * 50_000, "x" * 50_000, "a. " * 20_000]:
        words = one.word_tokens(text)
        for tokens in [cut(text) for cut in one.CUTTERS.values()] + [one.subword_tokens(text, words[1:])]:
            assert "".join(tokens) == text and "" not in tokens
            vocabulary = one.build_vocabulary(tokens)
            assert list(vocabulary) == [*dict.fromkeys(tokens), "<UNK>"]
            assert list(vocabulary.values()) == list(range(len(vocabulary)))
            assert one.ids_to_tokens(one.tokens_to_ids(tokens, vocabulary), vocabulary) == tokens
        assert one.subword_tokens(text, words) == words and one.subword_tokens(text, [""]) == list(text)


def test_subwords_are_the_longest_that_fit():
    rng = random.Random(2)
    for _ in range(500):
        text = "".join(rng.choices("ab 车", k=30))
        pieces = ["".join(rng.choices("ab 车", k=rng.randrange(1, 5))) for _ in range(rng.randrange(8))]
        longest_first = sorted(pieces, key=len, reverse=True)
        assert one.subword_tokens(text, pieces) == re.findall("|".join([*longest_first, "."]), text)


def test_what_has_no_id_and_what_no_id_stands_for_is_refused():
    assert one.build_vocabulary(["<UNK>", "a"]) == {"<UNK>": 0, "a": 1}
    with pytest.raises(ValueError, match="no id for 'x'"):
        one.tokens_to_ids(["a", "x"], {"a": 0})
    for wrong in (-1, 2, "0", 0.5, None):
        with pytest.raises(ValueError, match="has no id"):
            one.ids_to_tokens([0, wrong], {"a": 0, "<UNK>": 1})


def test_stories_are_parted_by_empty_lines_or_else_by_lines():
    stories = [f"Story {number}.\nIts second line." for number in range(23)]
    for gap in ("\n\n", "\n \t\n", "\n\n  \n"):
        assert one.split_stories(gap + gap.join(stories) + gap) == (stories[:21], stories[21:])
    lines = "\n".join(stories[:9]).split("\n")
    assert one.split_stories("\n \n".join(stories[:9])) == (lines[:17], lines[17:])
    for text in ("", "\n" * 50, "one\n" * 9, "one\n\n" * 9):
        with pytest.raises(ValueError, match="ten stories or more, parted by empty lines"):
            one.split_stories(text)
    assert "\n\n".join(chain(*one.corpus_stories())) == one.read_text(one.CORPUS).strip()


@pytest.mark.skipif(not (DATA / "qwen2.5" / "tokenizer.json").exists(), reason="needs Qwen2.5's tokenizer")
def test_the_numbers_of_the_first_page_are_those_of_qwen():
    tokenizer = two.Tokenizer.load(DATA / "qwen2.5" / "tokenizer.json")
    ids = tokenizer.encode("How many r are there in strawberry?")
    assert stage.show_ids([tokenizer.decode([id]) for id in ids], ids).replace("\n", "\n    ") in one.__doc__
    english = tokenizer.encode("All human beings are born free and equal in dignity and rights.")
    greek = tokenizer.encode("Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.")
    assert f"{len(english)} tokens in English, but {len(greek)} in Greek" in " ".join(one.__doc__.split())
    assert [tokenizer.decode([id]) for id in one.QWEN_ENTRIES.values()] == list(map(one.plain_token, one.QWEN_ENTRIES))
    assert len(tokenizer) == 151665 and len(tokenizer.merges) == 151387


@pytest.mark.parametrize("columns", [24, 80])
def test_a_text_of_your_own_is_shown_with_an_id_under_each_token(columns):
    text = "The cat is 车 🌲 zzz. " + "It is as long as " + "the very " * 20 + "end.\n"
    said = run("lesson_1_tokens.py", "-", stdin=text, COLUMNS=str(columns), PYTHONIOENCODING="utf-8").stdout
    ways = re.split(r"(?m)^(\w+): \d+, unknown to the stories: (\d+)\n", said.partition("\n           tokens ")[0])[1:]
    assert ways[::3] == ["sentences", "words", "letters", "subwords"] and ways[1::3] == ["2", "1", "0", "0"]
    for shown, unknown in zip(ways[2::3], ways[1::3]):
        blocks = [block.split("\n") for block in shown.strip("\n").split("\n\n")]
        assert max(map(stage.display_width, chain(*blocks))) <= columns
        assert " ".join(chain(*(block[1:] for block in blocks))).split().count("<UNK>") == int(unknown)
        for block in blocks:
            starts = [[stage.display_width(line[:word.start()]) for word in re.finditer(r"\S+", line)]
                      for line in block]
            assert starts[-1] == starts[0][-len(starts[-1]):]       # the first part of a line may end a token
    assert run("lesson_1_tokens.py", "").returncode == 0


@pytest.mark.parametrize("number, says, answers", [
    *((number, f"Write a list of {asked}.", ["bandana", 7, None, [], {}, print, [0] * 6, [0.5], [["Is"]], [" dog"] * 9])
      for number, asked in ((1, "5 strings"), (2, "7 whole numbers"), (3, "8 strings"))),
    (1, "'Yes.', number 5 ", [["Is", " it", " red?", " ", "Yes."]]), (2, "0, number 4 ", [[0, 1, 2, 0, 1, 2, 1]]),
    (4, "Write a function", [[], "text", 1, None]),
    (4, "0.75 is right", [lambda *_, given=given: given for given in ("0.75", None, [0.75], math.nan, 1)]),
    (5, "2,138 of them distinct. Only 1,400 distinct ones", [one.word_tokens]), (5, "Only 17,000 tokens are", [list]),
    (5, "two words", [one.sentence_tokens]), (5, "not a list that joins back", [str.split, lambda text: None])])
def test_hints_of_lesson_1_fit_whatever_is_given(number, says, answers):
    for answer in answers:
        assert says in getattr(exercises, f"exercise_1_{number}")(answer)


# --- lesson 2 --------------------------------------------------------------------------------

def test_the_fast_trainer_learns_what_the_simple_one_learns():
    texts = [one.read_text(one.CORPUS)[:20_000], *random_texts(40, seed=1), "aaaa" * 50, ""]
    texts += ["".join(random.Random(seed).choices("ab ", k=300)) for seed in range(20)]
    for text in texts:
        merges = two.train_merges_simply(text, 320)
        assert list(two.train_merges(text, 320).items()) == list(merges.items())
        words = [list(word.encode()) for word in two.split_words(text)]
        for pair, count in two.learn_merges(text, 320).items():
            counts = Counter(chain.from_iterable(zip(word, word[1:]) for word in words))
            assert counts[pair] == count == max(counts.values())
            words = [two.merge_pair(word, pair, merges[pair]) for word in words]


def test_any_text_comes_back_from_its_ids_and_the_simple_functions_give_the_same():
    tokenizer, rng = two.course_tokenizer(), random.Random(3)
    long_words = [rng.choice(["the", "aaaa", "ingthe", "e车"]) * rng.randrange(1, 60) for _ in range(200)]
    for number, text in enumerate([*long_words, *random_texts(10_000, seed=2)]):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        if number < 200 or number % 10 == 0:
            assert two.encode_simply(text, tokenizer.merges) == ids and two.decode_simply(ids, tokenizer.merges) == text
    assert len(tokenizer.encode("a" * 300_000)) == 300_000      # a square of that would take hours


def test_a_class_of_a_pattern_is_what_unicodedata_says():
    characters = list(map(chr, [*range(0xD800), *range(0xE000, 0x21000), *range(0xE0000, 0xE0200), 0x10FFFF]))
    texts = ["".join(characters)]
    for seed, limit in enumerate([0x80, 0x300, 0x1000, 0x10000, 0x20000, 0x21000]):
        texts.append("".join(random.Random(seed).sample(characters[:limit], 100)))
    patterns = {r"\p{L}": "L", r"[^\P{Lu}]": "Lu", r"[\p{N}]": "N", r"\p{Zs}": "Zs", r"[^\P{P}]": "P", r"\s": "Z"}
    for text, (pattern, name) in product(texts, patterns.items()):
        expected = [character for character in text if unicodedata.category(character).startswith(name)
                    or pattern == r"\s" and character in "\t\n\v\f\r\x85"]
        assert formats.compile_pattern(pattern, text).findall(text) == expected


@pytest.mark.parametrize("pattern", [
    r"\p{Han}", "[[a]]", "[a&&b]", "a++", "a?+", "(?>a)", "(?i)a", r"(a)\1", "(", ")", r"\h", "a{2}+", r"\b", "a\\",
    "(?P<x>a)", "(?m:.)", "a*", "", "a|", "a{2}?", r"\w+", r"\pL", r"(?i:\p{Lu})", r"(?i:(a)|\p{Lu})", "(?i:i)",
    "(?i:[a-z])", r"[\x80-\xff]", "[a--b]", "[a||b]", "[a~~b]", "(?=t)|the", r"(?<= )|\S+", "a*(?=b)|b", "(?i:SS)",
    "(?i:ST)", "(?i:afFb)", "(?i:s){2}", "(?i:s)(?i:s)", "ba{,}", "a{", "(?#[)", "[]a]", r"[a-\p{L}]", "^|a", "b{2,1}",
    "(?<=a*)b", "a$+", "[^]a]"])
def test_a_pattern_that_re_reads_otherwise_is_refused(pattern):
    with pytest.raises(ValueError, match="split pattern"):
        two.split_words("abc", pattern)


def test_special_tokens_are_plain_text_unless_allowed():
    tokenizer = two.Tokenizer.train("to be or not to be", 262, iter(["<a>", "<a><b>", "<a>"]))
    short, longest = tokenizer.special_tokens.values()
    for allowed, ids in (((), list(b"<a><b><a>")), ("all", [longest, short]), ({"<a>"}, [short, *b"<b>", short])):
        assert tokenizer.encode("<a><b><a>", allowed) == ids and tokenizer.decode(ids) == "<a><b><a>"
    doubled = two.Tokenizer({(232, 189): 256, (256, 166): 257}, {"车": 258})
    assert doubled.encode("车") == [257] and doubled.decode([257, 258]) == "车车"


@pytest.mark.parametrize("says, call, wrongs", [
    ("no id|list of numbers", lambda ids: two.course_tokenizer().show(ids), [
        [-1], [10 ** 9], ["1"], [None], [1.0], 5, "text", b"text", None]),
    ("text is needed", lambda text: two.course_tokenizer().encode(text), [5, None, b"bytes", ["a"]]),
    ("set of tokens", lambda allowed: two.course_tokenizer().encode("a", allowed), ["<|endoftext|>"]),
    ("list of strings", lambda names: two.Tokenizer.train("text", 300, names), ["<a>", [""]]),
    ("too small", lambda names: two.Tokenizer.train("text", 256, names), [["<a>"]]),
    ("read as byte letters", lambda name: two.Tokenizer.train("then the", 262, [name]), ["a", "é", "Ġ", "café"]),
    ("surrogates", lambda text: two.course_tokenizer().encode(text), ["\ud800", "abc\udfff"]),
    ("surrogates", lambda text: two.Tokenizer.train(text, 300), ["\ud800", "abc\udfff"]),
    ("can't be opened as a tokenizer.json", two.Tokenizer.load, [one.CORPUS]),
    ("goes with --train", lambda size: two.show("a", vocab_size=size), [300]),
    ("a text is missing", lambda path: two.show(tokenizer=path), ["x.json"]),
    ("ends in .json", lambda path: two.show("a", save=path), ["no/folder/x.json", "README.md"])])
def test_what_makes_no_sense_is_refused_in_a_sentence(says, call, wrongs):
    for wrong in wrongs:
        with pytest.raises(ValueError, match=says):
            call(wrong)


def test_a_saved_tokenizer_is_the_same_when_opened(tmp_path):
    course, always, normalized = two.course_tokenizer(), frozenset(["<b>"]), frozenset(["<a>"])
    rules = formats.Rules((r"\p{N}", formats.GPT2_PATTERN), True, True, always, normalized, (1200, 97))
    for tokenizer in (course, two.Tokenizer(course.merges, {"<a>": 1199, "<b>": 1200}, rules=rules)):
        tokenizer.save(tmp_path / "tokenizer.json")
        opened = two.Tokenizer.load(tmp_path / "tokenizer.json")
        assert {**vars(opened), "_word_ids": 0} == {**vars(tokenizer), "_word_ids": 0}
    assert opened.encode("<a><b>cafe\u0301") == [*map(ord, "<a>"), 1200, *tokenizer.encode("caf\u00e9")]


@pytest.fixture
def small_file(tmp_path):
    """The path and the content of a small tokenizer.json."""
    path = tmp_path / "tokenizer.json"
    two.Tokenizer.train("the cat and the hat", 262, ["<a>"]).save(path)
    return path, json.loads(path.read_text(encoding="utf-8"))


def test_damaged_tokenizer_files_are_opened_or_refused(small_file):
    path, file = small_file
    opened = 0
    for data in damaged(json.dumps(file, ensure_ascii=False).encode(), 3000, seed=5):
        path.write_bytes(data)
        try:
            tokenizer = two.Tokenizer.load(path)
        except ValueError:
            continue
        opened += tokenizer.decode(tokenizer.encode("the cat <a>", "all")) == "the cat <a>"
    assert opened > 40


FIRST, LAST, ADDED = "pre_tokenizer/pretokenizers/0", "pre_tokenizer/pretokenizers/1", "added_tokens/1"


@pytest.mark.parametrize("blamed, changes", [
    ("WordPiece", {"model/type": "WordPiece"}), ("dropout", {"model/dropout": 0.1}),
    ("byte_fallback", {"model/byte_fallback": True}), ("known tokens: 'yz'", {"model/merges": ["x yz"]}),
    ("not a pair", {"model/merges": ["x"]}), ("twice", {"model/merges": ["h e", "h e"]}),
    ("neither", {"model/merges": ["h e", ["h", "e"]]}), ("'model'", {"model": None}),
    ("byte-level", {"model/merges": [], "model/vocab/a": None}),
    ("no whole number", {"model/vocab/a": 1.5}), ("same id", {"model/vocab/a": 0}),
    ("not in byte letters", {"model/vocab/日本": 990}),
    ("not in byte letters", {"model/vocab/ĠĠ": 990, "model/vocab/  ": 991}),
    ("same bytes", {"model/vocab/ĠĠ": 262, "model/vocab/  ": 263, ADDED: {"content": "  ", "id": 263}}),
    ("Lowercase", {"normalizer": {"type": "Lowercase"}}), ("truncation", {"truncation": {"max_length": 5}}),
    ("version", {"version": "2.0"}),
    ("Whitespace", {"pre_tokenizer": {"type": "Whitespace"}}), ("ByteLevel", {"pre_tokenizer": None}),
    ("twice", {FIRST + "/type": "ByteLevel"}), ("individual_digits", {FIRST: {"type": "Digits"}}),
    ("Metaspace", {FIRST: {"type": "Metaspace"}}), ("Metaspace", {"decoder": {"type": "Metaspace"}}),
    ("behavior", {FIRST + "/behavior": "Removed"}), ("Regex", {FIRST + "/pattern": {"String": " "}}),
    ("split pattern", {FIRST + "/pattern": {"Regex": "(("}}), ("surrogates", {FIRST + "/pattern": {"Regex": "\ud800"}}),
    ("add_prefix_space", {LAST + "/add_prefix_space": True}),
    ("lstrip", {ADDED: {"content": "<b>", "id": 262, "lstrip": True}}),
    ("NFC", {ADDED: {"content": "e\u0301", "id": 262, "normalized": True}}),
    *(("is not a text", {ADDED: {"content": content, "id": 262}}) for content in ("", None)),
    ("there twice", {ADDED: {"content": "<a>", "id": 261}}), ("id", {ADDED: {"content": "<b>", "id": True}}),
    *((f"id {id}, and 262 was to be next", {ADDED: {"content": "<b>", "id": id}}) for id in (-7, 0, 261, 999)),
    ("read as byte letters", {ADDED: {"content": "é", "id": 233}}),
    ("no token has", {"post_processor": {"type": "TemplateProcessing", "single": [
        {"SpecialToken": {"id": "<a>"}}, {"Sequence": {}}], "special_tokens": {"<a>": {"ids": [999]}}}}),
    ("texts for one", {"post_processor/single": []}), ("trim_offsets", {LAST + "/trim_offsets": "yes"})])
def test_a_file_that_asks_for_something_else_is_refused_by_name(blamed, changes, small_file):
    path, file = small_file
    for way, value in changes.items():
        part = file
        *way, last = (int(key) if key.isdigit() else key for key in way.split("/"))
        for key in way:
            part = part[key]
        if isinstance(last, int):
            part[last:last + 1] = [value]
        elif value is None:
            del part[last]
        else:
            part[last] = value
    path.write_text(json.dumps(file), encoding="utf-8")
    with pytest.raises(ValueError, match=blamed):
        two.Tokenizer.load(path)


def test_files_in_other_forms_mean_the_same(small_file):
    path, file = small_file
    tokenizer, model = two.Tokenizer.load(path), file["model"]
    model.update(ignore_merges=True, merges=[merge.split(" ") for merge in model["merges"]])
    model["vocab"]["them"] = 9999
    file.update(pre_tokenizer={"type": "ByteLevel", "add_prefix_space": False}, added_tokens=[],
                normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}]}, post_processor={
                    "type": "RobertaProcessing", "sep": ["a", 0], "cls": ["b", 1], "trim_offsets": True})
    path.write_text(json.dumps(file), encoding="utf-8")
    opened = two.Tokenizer.load(path)
    assert opened.merges == tokenizer.merges and opened.rules == formats.Rules(nfc=True, ignore_merges=True)
    assert opened.encode("them") == [9999] and opened.encode("the cafe\u0301") == tokenizer.encode("the caf\u00e9")


@pytest.mark.skipif(not (DATA / "qwen2.5").exists(), reason="needs Qwen2.5's tokenizer.json and expected.jsonl")
def test_the_ids_of_qwen_are_those_of_hugging_face():
    tokenizer = two.Tokenizer.load(DATA / "qwen2.5" / "tokenizer.json")
    for line in (DATA / "qwen2.5" / "expected.jsonl").read_text(encoding="utf-8").splitlines():
        expected = json.loads(line)
        assert tokenizer.encode(expected["text"], allowed_special="all") == expected["ids"]


@pytest.mark.parametrize("digits", [None, True, False])
def test_hugging_face_gives_the_same_ids(digits, tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    path, end = str(tmp_path / "tokenizer.json"), two.course_tokenizer().special_tokens[two.END_OF_TEXT]
    two.course_tokenizer().save(path)
    theirs = tokenizers.Tokenizer.from_file(path)
    if digits is not None:      # as SmolLM2 and StarCoder2 have it
        theirs.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([
            tokenizers.pre_tokenizers.Digits(digits), tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)])
        theirs.post_processor = tokenizers.processors.TemplateProcessing(
            "<|endoftext|> $A", None, [("<|endoftext|>", end)])
        theirs.save(path)
    ours = two.Tokenizer.load(path)
    assert ours.rules.first_ids == (() if digits is None else (end,))
    for text in [*random_texts(2000, seed=6), "In 1999 12½ ٣٤ Ⅷ7", "a<|endoftext|>b"]:
        text = "".join(c for c in text if unicodedata.category(c) != "Cn")      # theirs may know younger characters
        assert ours.encode(text, "all") == theirs.encode(text, add_special_tokens=False).ids


def test_the_lesson_shows_a_text_and_what_training_learned(tmp_path):
    (tmp_path / "text").write_text("the cat sat", encoding="utf-8")
    ended = run("lesson_2_coding_tokenizer.py", "the bats", "--train", tmp_path / "text", "--vocab-size", 10 ** 22,
                "--save", tmp_path / "t.json")
    assert ended.returncode == 0 and "no more pairs" in ended.stdout and "bytes per token" in ended.stdout
    opened = two.Tokenizer.load(tmp_path / "t.json")
    assert len(opened) < 270 and all(f"{new_id} " in ended.stdout for new_id in opened.merges.values())
    two.Tokenizer(opened.merges, rules=formats.Rules(nfc=True)).save(tmp_path / "t.json")
    text = "re\u0301sume\u0301 " + "\x1b" * 50
    shown = run("lesson_2_coding_tokenizer.py", text, "--tokenizer", tmp_path / "t.json").stdout
    assert r"r|\xc3|\xa9|s|u|m|\xc3|\xa9" in shown and "this course" in shown and "t.json" in shown
    assert "too long to explain" in shown and "\x1b" not in shown
    assert "only once" in run("lesson_2_coding_tokenizer.py", "-", "--train", "-", stdin="the cat").stderr


# --- lesson 3 --------------------------------------------------------------------------------

def random_model(rng, vocab_size=7, half=5):
    model = three.EmbeddingModel.untrained([1, 2, 1, 2, 3, 3, 3, 3], vocab_size, 2 * half)
    for numbers in numbers_of(model):
        numbers[:] = [rng.gauss(0, 1) for _ in numbers]
    return model


def numbers_of(model):
    return [*model.inputs, *model.outputs, *model.pairs.values(), model.biases]


def average_step(model, ids, right, candidates):
    """How far a step at rate 1 moves each number, averaged over several draws of candidates."""
    steps = []
    for stands_for in candidates:
        copy = three.EmbeddingModel([*model.inputs], [*model.outputs], [*model.biases], dict(model.pairs))
        copy.step(ids, right, rate=1.0, stands_for=stands_for)
        steps.append([old - new for old, new in zip(*map(chain.from_iterable, (numbers_of(model), numbers_of(copy))))])
    return [sum(moves) / len(steps) for moves in zip(*steps)]


@pytest.mark.parametrize("ids, right", [([3, 4, 2, 1], 2), ([1, 2], 2), ([3, 3], 3), ([3, 3, 3], 1), ([6], 6), ([], 2)])
def test_the_step_is_the_gradient_by_finite_differences(ids, right):
    model, tiny, slopes = random_model(random.Random(6)), 1e-5, []
    for numbers in numbers_of(model):
        for place, value in enumerate(numbers):
            around = []
            for numbers[place] in (value + tiny, value - tiny):
                around.append(-math.log(three.softmax(model.logits(ids))[right]))
            numbers[place] = value
            slopes.append((around[0] - around[1]) / (2 * tiny))
    step = average_step(model, ids, right, [None])
    assert max(abs(x - y) for x, y in zip(slopes, step)) < 1e-6 * max(map(abs, slopes))


def test_a_step_with_many_drawn_candidates_is_the_exact_one():
    rng = random.Random(5)
    text = [1, 2] * 9 + rng.choices(range(7), k=200)
    model, draw = random_model(rng), three.candidate_drawer(text, 4000, rng)
    exact, drawn = (average_step(model, [1, 2], 4, draws) for draws in ([None], [draw(2, 4) for _ in range(30)]))
    assert max(abs(x - y) for x, y in zip(exact, drawn)) < 0.05 * max(map(abs, exact))


class Trigram:
    """Kneser and Ney's trigram, interpolated: how often three tokens, two and one were met, each discounted."""

    def __init__(self, ids, vocab_size, discount=0.8):
        self.vocab_size, self.discount, self.after = vocab_size, discount, defaultdict(Counter)
        for (a, b, c), count in Counter(zip(ids, ids[1:], ids[2:])).items():
            self.after[a, b][c] += count
            self.after[b, ][c] += 1
        self.after[()] = Counter(last for _, last in set(zip(ids, ids[1:])))

    def logits(self, ids):
        shares = [1 / self.vocab_size] * self.vocab_size
        for size in range(min(len(ids), 2) + 1):
            counts = self.after[tuple(ids[len(ids) - size:])]
            if counts:
                total = sum(counts.values())
                shares = [self.discount * len(counts) * share / total for share in shares]
                for id, count in counts.items():
                    shares[id] += max(count - self.discount, 0) / total
        assert math.isclose(sum(shares), 1)
        return list(map(math.log, shares))


def test_the_model_beats_a_trigram_and_the_compressors_on_stories_it_has_not_seen(course):
    tokenizer, model = course
    seen, held_out = one.corpus_stories()
    trigram = Trigram(three.story_ids(tokenizer, seen), len(tokenizer))
    loss, by_counting = (three.bits_per_byte(either, tokenizer, held_out) for either in (model, trigram))
    assert loss < 1.75 and loss < by_counting - 0.02
    seen, held_out = ("\n\n".join([*stories, ""]).encode() for stories in (seen, held_out))
    for compress in (zlib.compress, lzma.compress, bz2.compress):
        assert loss < 8 * (len(compress(seen + held_out)) - len(compress(seen))) / len(held_out)


def test_a_token_that_training_never_met_is_no_neighbour(course):
    model = three.train_model(list(b"abcabdabc" * 9), 128, dimensions=8, passes=1)
    assert {id for id, _ in three.nearest(model.embeddings[97], model.embeddings, 128)} == set(b"abcd")
    assert numbers_of(three.train_model(list(b"abcabdabc" * 9), 128, 8, passes=1, seed=1)) != numbers_of(model)
    assert not any(course[1].embeddings[255]) and "never met" in run("lesson_3_embeddings.py", "\x01").stdout


@pytest.mark.parametrize("size", [1e-300, 1e-170, 1, 1e170, 1e300])
def test_vectors_of_any_size_are_compared_by_their_direction(size):
    assert three.cosine_similarity([size, 0], [size, size]) == pytest.approx(0.5 ** 0.5)
    near, half = three.nearest([size, size], [[0, 0], [size, 0], [0, size], [size, size], [0, -size]], 9), 0.5 ** 0.5
    assert near == [(id, pytest.approx(cosine)) for id, cosine in ((3, 1), (1, half), (2, half), (4, -half))]


@pytest.mark.parametrize("says, function, arguments", [
    ("3 and 2", three.dot, ([1, 2, 3], [1, 2])),
    *(("no direction", three.cosine_similarity, ([1, 2], [size, size])) for size in (0, math.nan, math.inf, 1.7e308)),
    ("no direction", three.nearest, ([0, 0], [[1, 2]], 1)),
    *(("no row", three.lookup, ([[1.0], [2.0]], [wrong])) for wrong in (-1, 2, "0", 1.0)),
    *(("training needs", three.train_model, (wrong, 128)) for wrong in ([], [1])),
    *(("no row", three.train_model, (wrong, 128)) for wrong in ([1, 128], [1, -1, 2], [1, "2"])),
    *(("training needs", three.train_model, ([1, 2, 3], 128, *wrong)) for wrong in ((3,), (0,), (4, 0))),
    ("no stories", three.bits_per_byte, (None, None, [])),
    ("ends in .svg", three.show, (None, None, None, "dog cat", "README.md")),
    ("run away", three.train_model, (list(b"abcab") * 40, 128, 4))])
def test_what_makes_no_sense_is_refused(says, function, arguments, monkeypatch):
    monkeypatch.setattr(three, "RATE", 1e9)
    with pytest.raises(ValueError, match=says):
        function(*arguments)


def write_header(path, header, numbers=b""):
    data = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(data).to_bytes(8, "little") + data + numbers)


def test_safetensors_of_all_types(tmp_path):
    numbers, path = [1.5, -2.0, 0.25, 6.0], tmp_path / "file"
    for dtype in ("F64", "F32", "F16"):
        three.write_safetensors(path, {"m": (dtype, (2, 2), numbers)}, {"who": "me"})
        assert three.read_safetensors(path)["m"].row(1) == [0.25, 6.0]
    upper_halves = b"".join(struct.pack("<f", number)[2:] for number in [*numbers, math.nan])
    write_header(path, {"m": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]},
                        "nan": {"dtype": "BF16", "shape": [1], "data_offsets": [8, 10]},
                        "odd": {"dtype": "F8_E4M3", "shape": [3], "data_offsets": [10, 13]}}, upper_halves + b"abc")
    tensors = three.read_safetensors(path)
    assert list(tensors["m"]) == [[1.5, -2.0], [0.25, 6.0]]
    assert (tensors["m"].dtype, tensors["m"].shape) == ("BF16", (2, 2))
    for name, index, says in (("odd", 0, "F8_E4M3"), ("nan", 0, "row 0"), ("m", -1, "no row"), ("m", 2, "no row"),
                              ("m", "0", "no row")):
        with pytest.raises(ValueError, match=says):
            tensors[name].row(index)


def test_hugging_face_reads_what_the_lesson_writes(tmp_path):
    safetensors = pytest.importorskip("safetensors")
    pytest.importorskip("numpy")
    model = random_model(random.Random(3))
    model.save(tmp_path / "model.safetensors")
    with safetensors.safe_open(tmp_path / "model.safetensors", "np") as file:
        assert file.get_tensor("embeddings").tolist() == model.embeddings
        assert file.get_tensor("pairs").tolist() == [list(pair) for pair in model.pairs]


@pytest.mark.parametrize("header, size", [
    (b"", 0), (b"[]", 0), (b"{", 0), (b'{"a": 1}', 0), (b"\xff\xfe", 0), (b"[" * 100_000, 0),
    *(({"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}, size) for dtype, shape, offsets, size in (
        ("F32", [2], [0, 8], 7), ("F32", [2], [0, 8], 9), ("F32", [3], [0, 8], 8), ("F8", [8], [8, 0], 8),
        ("F32", [-2], [0, -8], 8), ("F32", [2 ** 62, 2 ** 62, 0], [8, 8], 8), ("F32", [1.0], [0, 4], 4),
        ("F32", 1, [0, 4], 4))),
    ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
      "b": {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]}}, 6)])
def test_a_hostile_header_is_refused(header, size, tmp_path):
    write_header(tmp_path / "file", header, bytes(size))
    (tmp_path / "long").write_bytes((2 ** 63).to_bytes(8, "little") + b"{}")      # nobody has so much memory
    for read in (three.read_safetensors, three.header_of, three.EmbeddingModel.load):
        for name in ("file", "long"):
            with pytest.raises(ValueError):
                read(tmp_path / name)


def test_damaged_safetensors_are_read_or_refused(tmp_path):
    path, opened = tmp_path / "file", 0
    three.write_safetensors(path, {"a": ("F32", (3, 2), range(6)), "b": ("F16", (2,), [1, 2])}, {"k": "v"})
    for data in damaged(path.read_bytes(), 2000, seed=7):
        path.write_bytes(data)
        try:
            for tensor in three.read_safetensors(path).values():
                opened += len(list(tensor)) == tensor.shape[0]
        except ValueError:
            pass
    assert opened > 40


def test_a_model_learns_on_when_it_is_opened_and_is_never_trusted_when_it_is_damaged(tmp_path):
    path = tmp_path / "model.safetensors"
    random_model(random.Random(8)).save(path)
    for _ in range(2):
        model = three.EmbeddingModel.load(path)
        model.step([1, 2], right=3, rate=0.5)
        model.save(path)
        assert numbers_of(three.EmbeddingModel.load(path)) == numbers_of(model)
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1:])
        with pytest.raises(ValueError):
            three.EmbeddingModel.load(path)


@pytest.mark.parametrize("name, shape, number", [
    ("biases", (6,), 0), ("biases", (7, 1), 0), ("biases", (), 0), ("biases", (0,), 0), ("pairs", (1, 2), 7),
    ("pairs", (2,), 1), ("pairs", (), 1), ("embeddings", (7, 3), 0), ("pair_vectors", (1, 0), 0), ("other", (1,), 0)])
def test_a_model_of_wrong_shapes_is_refused_though_its_checksum_is_right(name, shape, number, tmp_path):
    tensors = {"embeddings": ("F64", (7, 4), [0.0] * 28), "biases": ("F64", (7,), [0.0] * 7),
               "pairs": ("I32", (1, 2), [1, 2]), "pair_vectors": ("F64", (1, 2), [0.0] * 2)}
    three.write_safetensors(tmp_path / "file", tensors, {})
    assert three.EmbeddingModel.load(tmp_path / "file").logits([1]) == [0.0] * 7
    wrong = ("F64", shape, [number] * math.prod(shape))
    three.write_safetensors(tmp_path / "file", {**tensors, name: wrong}, {})
    with pytest.raises(ValueError, match="no model of this lesson"):
        three.EmbeddingModel.load(tmp_path / "file")


def test_the_course_model_is_rebuilt_when_it_must_be_but_never_over_one_of_somebody_else(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "model"
    monkeypatch.setattr(three, "MODEL_FOLDER", folder)
    learned = two.course_tokenizer(), random_model(random.Random(1), vocab_size=two.COURSE_VOCAB_SIZE)
    monkeypatch.setattr(three, "learn", lambda seen, held_out: learned)

    def says():
        assert len(three.course_model.__wrapped__()) == 2
        return capsys.readouterr().err
    assert "done once" in says() and says() == ""
    for name in ("tokenizer.json", "model.safetensors"):
        path = folder / name
        path.write_bytes(path.read_bytes()[:-9] + b"         ")
        assert "training again" in says() and says() == ""
        path.unlink()
        said = says()       # a tokenizer.json alone may be somebody's work
        assert "done once" in said and ("not made by" in said) == (name == "model.safetensors")
    formats.write_safetensors(folder / "model.safetensors", {"wte": ("F32", (1, 1), [1])}, {"format": "pt"})
    before = [file.read_bytes() for file in sorted(folder.iterdir())]
    assert "not made by lesson_3" in says()
    assert [file.read_bytes() for file in sorted(folder.iterdir())] == before


def test_an_edit_of_what_trains_trains_anew_and_a_mended_sentence_does_not(tmp_path, monkeypatch):
    for lesson in LESSONS[:3]:
        (tmp_path / lesson.name).write_bytes(lesson.read_bytes().replace(b"\n", b"\r\n"))
    whole = three._fingerprint()
    monkeypatch.setattr(three, "HERE", tmp_path)
    for old, new, same in (("", "", True), ("Every token becomes a vector", "Tokens become vectors", True),
                           ("# how far a step", "# how long a step", True), ("SHRINK = 0.02", "SHRINK = 0.03", False)):
        code = LESSONS[2].read_text(encoding="utf-8")
        assert old in code
        (tmp_path / LESSONS[2].name).write_text(code.replace(old, new, 1), encoding="utf-8")
        assert (three._fingerprint() == whole) == same
    monkeypatch.undo()
    monkeypatch.setattr(three, "split_words", partial(two.split_words, pattern="[a-z]+"))
    assert three._fingerprint() != whole


def test_a_text_of_your_own_is_learned_or_refused_before_it_starts(tmp_path):
    (tmp_path / "my.txt").write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(b"The dog number %d ran." % n for n in range(30)))
    (tmp_path / "short.txt").write_text("Just one story.", encoding="utf-8")
    save = ["--save", tmp_path / "model"]
    for text, options, says in (("short.txt", save, "ten stories"), ("my.txt", [], "--save FOLDER"),
                                ("my.txt", [*save, "dog"], "look at the model afterwards"),
                                ("my.txt", ["--save", HERE / "model"], "model/mine"),
                                ("my.txt", ["--save", tmp_path / "my.txt"], "can't be written to as a folder"),
                                ("my.txt", [*save, "--dimensions", 3], "even number"),
                                ("my.txt", [*save, "--passes", 0], "a pass"),
                                ("my.txt", ["--save", tmp_path], "not made by")):
        (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
        ended = run("lesson_3_embeddings.py", "--train", tmp_path / text, *options)
        assert ended.returncode == 2 and says in ended.stderr and not (tmp_path / "model").exists()
    ended = run("lesson_3_embeddings.py", "--train", tmp_path / "my.txt", *save, "--vocab-size", 280, "--dimensions", 8,
                "--passes", 2)
    assert ended.returncode == 0 and "takes about" in ended.stderr and "after pass 2" in ended.stderr
    tokenizer, model = three.load_model(tmp_path / "model")
    assert b"\r" not in b"".join(list(tokenizer.vocabulary)[256:])
    assert len(model.logits(tokenizer.encode("The"))) == len(tokenizer) == 280


def test_vectors_of_another_tokenizer_are_refused(course):
    tensors = {name: three.Tensor("", name, "F32", shape, 0)
               for name, shape in (("a", (151936, 9)), ("wte", (151936, 896)), ("b", (7,)))}
    assert three.find_embeddings(tensors, 151665).name == "wte"
    for size in (len(course[0]), 151937):
        with pytest.raises(ValueError, match="same model"):
            three.find_embeddings(tensors, size)


def test_labels_of_a_map_do_not_overlap_chinese_ones_are_aligned_and_both_axes_have_one_scale():
    rng, taken = random.Random(9), Counter()
    labels = [("车" if number % 3 else "w") * rng.randrange(1, 5) + str(number) for number in range(60)]
    points = {label: (rng.gauss(0, 1), rng.gauss(0, 1)) for label in labels}
    lines, places = three.draw_map(points, 76, 22).split("\n"), stage.place_labels(points, 76, 22)
    first = min(row for row, _ in places.values())
    for label, (row, column) in places.items():
        taken.update((row, column + step) for step in range(stage.display_width(label)))
        line = lines[row - first]
        assert any(line.startswith(label, at) for at in range(len(line)) if stage.display_width(line[:at]) == column)
    assert max(taken.values()) == 1 and max(column for _, column in taken) < 76 and max(row for row, _ in taken) < 22
    with pytest.raises(ValueError, match="no room"):
        three.draw_map(points, 20, 5)
    places = stage.place_labels({"a": (0, 0), "b": (8, 0), "c": (0, 2), "d": (8, 2)}, 60, 20)
    (top, left), (bottom, right) = places["c"], places["b"]
    assert abs((right - left) / (2 * (bottom - top)) - 4) < 0.5


@pytest.mark.parametrize("rows", [[[0, 0], [1, -2], [2, -4], [3, -6]], [[0, 0], [1, 1]],
                                  [[0, 3], [0, -3], [1, 0], [-1, 0]],
                                  [[random.Random(n).gauss(0, size) for size in (3, 1, 9, 0.1)] for n in range(400)]])
def test_principal_components_are_orthogonal_and_show_the_spread_in_order(rows):
    first, second = three.principal_components(rows)
    assert three.length(first) == pytest.approx(1) and abs(three.dot(first, second)) < 1e-9
    corners = [[float(place == axis) for place in range(len(first))] for axis in range(len(first))]
    spread = [statistics.pvariance([three.dot(row, axis) for row in rows]) for axis in (first, second, *corners)]
    assert spread[0] > spread[1] and spread[0] >= 0.999 * max(spread)


# --- lesson 4 --------------------------------------------------------------------------------

def test_softmax_by_its_definition():
    rng, inf = random.Random(11), math.inf
    for _ in range(200):
        logits, temperature = [rng.uniform(-20, 20) for _ in range(rng.randrange(1, 50))], rng.uniform(0.2, 5)
        powers = [math.exp(logit / temperature) for logit in logits]
        assert four.softmax(logits, temperature) == pytest.approx([power / sum(powers) for power in powers], abs=1e-12)
    for logits, temperature, expected in (
            ([1.0, 3.0, 3.0], 0, [0, 1, 0]), ([0.0, -5.0], 1e-320, [1, 0]), ([1e308, -1e308, -inf], 1, [1, 0, 0]),
            ([0.0, inf], 1, [0, 1]), ([inf, 0.0, inf], 1, [0.5, 0, 0.5])):
        assert four.softmax(logits, temperature) == expected


def test_filters_by_their_definition_and_one_after_the_other():
    rng = random.Random(12)
    for _ in range(300):
        weights = [rng.randrange(1, 40) for _ in range(rng.randrange(1, 60))]       # some are equal: lower ids win
        shares, k, p = four.normalize(weights), rng.randrange(1, 70), rng.uniform(0.01, 1)
        ranked = sorted(range(len(shares)), key=lambda id: (-shares[id], id))
        for filtered, kept in (
                (four.keep_top_k(weights, k), set(ranked[:k])),
                (four.keep_min_p(weights, p), {id for id in ranked if shares[id] >= p * shares[ranked[0]]}),
                (four.keep_top_p(weights, p),
                 {id for place, id in enumerate(ranked) if sum(shares[better] for better in ranked[:place]) < p})):
            total = sum(shares[id] for id in kept)
            expected = [(id in kept) * share / total for id, share in enumerate(shares)]
            assert filtered == pytest.approx(expected, abs=1e-12)
            assert {id for id, share in enumerate(filtered) if share} == kept
        logits, temperature, min_p = [math.log(share) for share in shares], rng.uniform(0.3, 3), rng.uniform(0.01, 0.5)
        by_hand = four.keep_min_p(four.keep_top_p(four.keep_top_k(four.softmax(logits, temperature), k), p), min_p)
        assert four.next_token_probabilities(logits, temperature, k, p, min_p) == by_hand
        assert four.greedy(weights) == ranked[0]
    assert four.keep_top_p([0.7, 0.2, 0.1, 1e-30], 1)[3] > 0        # all of it is all of it
    assert four.keep_min_p([0.5, 0.25, 0.25], 0.5)[1] == 0.25       # half of the best is at least half of it


def test_impossible_choices_are_refused():
    inf, nan = math.inf, math.nan
    for weights in ([], [0, 0], [1, -0.5], [1, nan], [nan, 1], [inf, 1]):
        for choose in (four.normalize, four.greedy, partial(four.sample, rng=random.Random(0)),
                       partial(four.keep_top_k, k=1), partial(four.keep_top_p, p=0.5), partial(four.keep_min_p, p=0.5)):
            with pytest.raises(ValueError, match="probabilities must be"):
                choose(weights)
    for function, says, calls in (
            (four.softmax, "no token to choose", [([], 1), ([-inf], 1), ([0, nan], 1), ([nan, 0], 0)]),
            (four.softmax, "the temperature must be", [([0], -1), ([0], nan), ([0], inf)]),
            (four.keep_top_k, "top-k must be", [([1], 0), ([1], -3), ([1], nan), ([0.5, 0.5], 1.5)]),
            (four.keep_top_p, "top-p must be", [([1], 0), ([1], 1.1), ([1], nan)]),
            (four.keep_min_p, "min-p must be", [([1], 0), ([1], 1.1), ([1], nan)])):
        for arguments in calls:
            with pytest.raises(ValueError, match=says):
                function(*arguments)


class Spelling:
    """A model that says the tokens of one text, whatever comes before."""

    def __init__(self, ids):
        rows = ([0.0 if id == said else -math.inf for id in range(257)] for said in ids)
        self.logits = lambda ids: next(rows)


BYTES = two.Tokenizer.train("", 257, special_tokens=[two.END_OF_TEXT])      # the end of a text has id 256


def test_the_loop_asks_draws_and_appends_until_an_id_stops_it():
    model, rng, ids, asked = Spelling([]), random.Random(5), [3, 1], []
    model.logits = lambda ids: asked.append(ids[:]) or [float(len(ids)), 0.0, 3.0, 1.0]
    for id, before, after in four.generate_ids(model, ids, max_new_tokens=20, temperature=0.7, min_p=0.2, seed=5):
        logits = model.logits(ids)
        assert asked.pop() == asked.pop() == ids and before == four.softmax(logits)
        assert after == four.keep_min_p(four.softmax(logits, 0.7), 0.2) and id == four.sample(after, rng)
        ids.append(id)
    assert len(ids) == 22
    for stop, count in (([], 5), ([98], 2), ([99, 97], 1), ({256}, 5)):
        steps = four.generate_ids(Spelling(b"abcab"), [], stop, max_new_tokens=5)
        assert bytes(id for id, _, _ in steps) == b"abcab"[:count]


def test_generate_gives_whole_characters_the_same_with_the_same_seed_and_stops(course):
    tokenizer, model = course
    for ids, pieces in (([*"é车🌲!".encode(), 256, 97], list("é车🌲!")), ([0x80, 97, 256], ["\ufffd", "a"])):
        assert list(four.generate(Spelling(ids), BYTES, "x")) == pieces
    assert list(four.generate(Spelling("车".encode()), BYTES, "x", max_new_tokens=2)) == []
    texts = ["".join(four.generate(model, tokenizer, PROMPT, seed=seed)) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2] and all(two.END_OF_TEXT not in text for text in texts)
    for prompt in ("", "\n", "日本語 ñ 🦊", "the " * 250_000):
        assert len("".join(four.generate(model, tokenizer, prompt, max_new_tokens=3, seed=1))) < 100
    for wrong, error in (({"min_p": 2}, ValueError), ({"max_new_tokens": -1}, ValueError), ({"heat": 1}, TypeError)):
        with pytest.raises(error):      # before the first token is asked for
            four.generate(model, tokenizer, PROMPT, **wrong)


def test_a_knob_takes_what_the_loop_takes(course):
    assert four.SETTINGS == dict(max_new_tokens=100, temperature=0.8, top_k=None, top_p=None, min_p=0.1, seed=None)
    assert all(f"{name}={value}" in four.generate.__doc__ for name, value in four.SETTINGS.items())
    for name, value, expected in (
            ("temperature", "0", 0), ("top-k", "5", 5), ("top_p", ".9", 0.9), ("seed", "off", None),
            ("min-p", "0.0", None), ("seed", "9" * 30, 10 ** 30 - 1), ("max-new-tokens", "0", 0)):
        changed = four.change_setting(four.SETTINGS, name, value)
        assert changed == {**four.SETTINGS, name.replace("-", "_"): expected}
    for given, says in (
            ({"explain": True}, "it takes a text"), ({"text": "a", "model": "no such folder"}, "no such folder"),
            ({"temperature": "off"}, "temperature takes a number, not 'off'"), ({"temperature": "nan"}, "from 0 up"),
            ({"top_k": "1.5"}, "top-k must be"), ({"max_new_tokens": "2.5"}, "max-new-tokens must be"),
            ({"min_p": "²"}, "min-p takes a number or off, not '²'")):
        with pytest.raises((ValueError, OSError), match=says):
            four.show(**given)


def test_chat_turns_knobs_tells_them_and_ends(course):
    typed = f"/temperature 0\n/min-p off\n{PROMPT}\n/heat 1\n/top-k 0\n/help\n\n"
    said = run("lesson_4_sampling.py", "--chat", "--seed", "1", "--max-new-tokens", "1", stdin=typed).stdout
    assert "> /temperature is 0\n> /min-p is off\n> " + PROMPT + " blue" in said
    assert "no knob 'heat'" in said and "top-k must be" in said
    knobs = ["max-new-tokens is 1", "temperature is 0", "top-k is off", "top-p is off", "min-p is off", "seed is 1"]
    assert "".join(f"/{knob}\n" for knob in knobs) in said


def test_a_sentence_is_not_left_hanging(course, capsys):
    for count, written in ((1, "One."), (4, "One."), (5, "One. Two!"), (9, "One. Two!"), (11, 'One. Two!" Three')):
        steps = ((id, [1.0], [1.0]) for id in b'One. Two!" Three')
        assert BYTES.decode(id for id, _, _ in four._to_a_full_stop(BYTES, steps, count)) == written
    for seed in range(8):
        four.show(PROMPT, max_new_tokens="20", seed=str(seed))
    assert len(re.findall('[.!?]"?\n', capsys.readouterr().out)) >= 7      # now and then no end is near


def test_each_choice_fits_a_line_and_shows_the_end_of_the_story(course, capsys):
    tokenizer, model = course
    end = tokenizer.encode(two.END_OF_TEXT, allowed_special="all")
    for seed in range(9):       # the end is drawn sooner or later, and nothing comes after it
        steps = list(four.generate_ids(model, tokenizer.encode(PROMPT), end, max_new_tokens=400, seed=seed))
        four.write_steps(tokenizer, steps, PROMPT, explain=True)
        *lines, empty, text = capsys.readouterr().out.splitlines()
        assert len(lines) == len(steps) + 1 < 400 and not empty and two.END_OF_TEXT in lines[-1]
        assert max(map(stage.display_width, lines)) <= 79
        assert text == PROMPT + tokenizer.decode([id for id, _, _ in steps[:-1]])
    steps = [(id, [1 / 257] * 257, [1 / 257] * 257) for id in "我们正在学习人工智能\n\x1b".encode()]
    four.write_steps(BYTES, steps, "的" * 50, explain=True)
    assert max(map(stage.display_width, capsys.readouterr().out.splitlines()[:-2])) <= 79


@pytest.mark.parametrize("number, answer, says", [
    (1, "0.5, 0.25, 0.25", "a list of three numbers"), (1, [0.2, 0.1, 0.1], "add up to 0.4"),
    (2, [0.5, 0.3, 0.2], "a list of ids"), (2, [3, 4], "not left"), (2, [2, 0], "not these alone"),
    (2, [2, 1, 0], "Yes: top-k"), (3, "3", "a number"), (3, 1, "20.1 times"), (3, 0, "inf times"),
    (4, lambda shares: None, "gave None; 1.5 is right"), (5, lambda *more: [1], "six ids"),
    (5, lambda *more: [1200] * 6, "six ids"), (5, lambda *more: beam_search(*more, width=1), "Not yet: three"),
    (5, lambda *more: beam_search(*more), "The last is 'The cat ")])
def test_hints_of_lesson_4_say_why_and_do_not_mislead(number, answer, says, course):
    assert says in getattr(exercises, f"exercise_4_{number}")(answer)


# --- lesson 5 --------------------------------------------------------------------------------

MODELS = DATA / "models"        # of five families, with what PyTorch gives: see lesson 6
PLAIN = dict(query_at=five.no_position, key_at=five.no_position)
GPT2 = dict(heads=2, norm=five.layer_norm, feed_forward=five.feed_forward, activation=five.gelu, **PLAIN)
WINDOW = partial(five.sliding_window, size=4)
VARIANTS = {
    "2017": dict(GPT2, norm_first=False, activation=five.relu), "gpt2": GPT2, "llama": dict(heads=2),
    "grouped": dict(heads=4, key_value_heads=2), "wide heads": dict(heads=1, head_dim=10),
    "window": dict(heads=4, key_value_heads=1, first_visible=WINDOW), "no positions": dict(heads=2, **PLAIN)}
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def random_transformer(variant, blocks=2, **changes):
    """A model of 8 dimensions and 20 tokens with random weights, always the same."""
    settings, rng = five.Settings(8, **{**VARIANTS[variant], **changes}), random.Random(0)
    old = variant in ("2017", "gpt2")
    asks, asked = (heads * settings.head_dim for heads in (settings.heads, settings.key_value_heads))

    def matrix(rows, columns=8):
        return [[rng.gauss(0, 0.7) for _ in range(columns)] for _ in range(rows)]

    def linear(rows, columns=8):
        return five.Linear(matrix(rows, columns), matrix(1, rows)[0] if old else None)
    layers = [five.Block(settings, matrix(1 + old), linear(asks), linear(asked), linear(asked), linear(8, asks),
                         matrix(1 + old), [linear(12), *([] if old else [linear(12)]), linear(8, 12)])
              for _ in range(blocks)]
    positions = [five.sinusoid(place, 8) for place in range(64)] if old else None
    return five.Transformer(settings, matrix(20), layers, matrix(1 + old) if settings.norm_first else None,
                            None if variant == "gpt2" else matrix(20), positions)


def far_apart(a, b):
    return max(abs(x - y) for x, y in zip(a, b)) if len(a) == len(b) else math.inf


def test_attention_by_its_definition():
    rng = random.Random(51)
    for _ in range(50):
        size, count = rng.randrange(1, 9), rng.randrange(1, 9)
        query, *rows = ([rng.gauss(0, 2) for _ in range(size)] for _ in range(1 + 2 * count))
        keys, values = rows[:count], rows[count:]
        powers = [math.exp(sum(x * y for x, y in zip(query, key)) / size ** 0.5) for key in keys]
        right = [sum(power * x for power, x in zip(powers, column)) / sum(powers) for column in zip(*values)]
        assert far_apart(five.attention(query, keys, values), right) < 1e-9


@pytest.mark.parametrize("given, right", [
    (five.sinusoid(3, 4), [math.sin(3), math.cos(3), math.sin(0.03), math.cos(0.03)]),
    (five.layer_norm([1, 2, 4], [2, 1, 1], [0, 5, 0], 0), [-2.138089935, 4.732738758, 1.336306210]),
    (five.rms_norm([3, 4], [1, 2], 0.5), [3 / 13 ** 0.5, 8 / 13 ** 0.5]),
    (five.rotate([1, 0, 0, 0], 2), [math.cos(2), 0, math.sin(2), 0]),       # 0 is paired with 2
    # torch.nn.functional.gelu(approximate="tanh") and silu in float64
    ([five.gelu(x) for x in (-1, 0.5, 3, -1e6)], [-0.15880800939172324, 0.34571400982514394, 2.996362607918227, 0]),
    ([five.silu(x) for x in (-1, 0.5, 3, -1e6, 1e6)], [-0.26894142136999, 0.31122966560092, 2.8577223804673, 0, 1e6])])
def test_norms_positions_and_activations_have_known_values(given, right):
    assert far_apart(given, right) < 1e-9


def test_rotary_positions_depend_on_the_distance_alone():
    rng = random.Random(52)
    for _ in range(100):
        size, base = 2 * rng.randrange(1, 9), rng.choice([100.0, 10000.0, 1e6])
        query, key = ([rng.gauss(0, 1) for _ in range(size)] for _ in "qk")
        here, there, shift = (rng.randrange(1000) for _ in range(3))
        for here, there in ((here, there), (0, 0)):     # at 0 nothing is turned
            score, shifted = (five.dot(five.rotate(query, here + by, base), five.rotate(key, there + by, base))
                              for by in (0, shift))
            assert score == pytest.approx(shifted, abs=1e-9)


@every_variant
def test_with_a_cache_or_without_the_logits_are_the_same_and_later_ids_never_change_them(variant):
    rng, model, ids = random.Random(53), random_transformer(variant), [3]
    for _ in range(25):
        ids = ids[:rng.randrange(len(ids) + 1)] + rng.choices(range(20), k=rng.randrange(1, 5))     # a branch
        right = random_transformer(variant).logits(ids)
        assert right == model.logits(ids) == model.logits(list(ids))
        assert all(len(block.cache) == len(ids) for block in model.blocks)
        model.logits(ids + rng.choices(range(20), k=5))
        assert model.logits(ids) == right


def test_without_positions_the_order_of_what_came_before_does_not_count():
    ids = random.Random(55).sample(range(20), 8)
    for variant, counts in (("no positions", False), ("llama", True), ("gpt2", True)):
        logits = [random_transformer(variant, blocks=1).logits(text + ids[-1:]) for text in (ids[:-1], ids[-2::-1])]
        assert far_apart(*logits) > 1e-3 if counts else far_apart(*logits) < 1e-9


def test_a_window_does_nothing_until_the_text_is_longer_than_it():
    ids = random.Random(56).choices(range(2, 20), k=9)
    for count in range(1, 10):
        whole, window = (random_transformer("llama", blocks=1, first_visible=first).logits(ids[:count])
                         for first in (five.whole_text, WINDOW))
        assert (whole == window) == (count <= 4)
    for blocks in (1, 2):       # out of sight for one block, but two blocks see twice as far
        a, b = (random_transformer("window", blocks=blocks).logits([id, *ids[1:5]]) for id in (0, 1))
        assert (a == b) == (blocks == 1)


def test_grouped_queries_are_shared_heads():
    grouped, full = random_transformer("grouped"), random_transformer("grouped", key_value_heads=4)
    for few, many in zip(grouped.blocks, full.blocks):
        # Each of the two heads is written twice.
        key, value = (five.Linear(part.matrix[:2] * 2 + part.matrix[2:] * 2) for part in (few.key, few.value))
        vars(many).update(vars(few), settings=many.settings, cache=many.cache, key=key, value=value)
    full.embeddings, full.output, full.last_norm = grouped.embeddings, grouped.output, grouped.last_norm
    assert far_apart(grouped.logits([4, 7, 1, 7]), full.logits([4, 7, 1, 7])) < 1e-12


def test_what_does_not_fit_together_is_said_and_nothing_wrong_is_left_behind(monkeypatch):
    model = random_transformer("gpt2")
    right = model.logits([1, 2, 5, 6])
    wrong = [(five.Settings, sizes, "evenly") for sizes in ((12, 5), (12, 0), (12, 4, 3), (12, -1), (12, 2, 4))]
    wrong += [(model.logits, [ids], says) for ids, says in (
        ([], "at least one"), ([1, 20], "20"), ([1, -1], "-1"), ([1, 2, 3, "a"], "'a'"), ([1] * 65, "64 positions"))]
    wrong.append((five.sinusoid, (0, 7), "7 is odd"))
    for action, arguments, says in wrong:
        with pytest.raises(ValueError, match=says):
            action(*arguments)
        assert model.logits([1, 2, 5, 6]) == right
    assert len(model.logits([1] * 64)) == 20
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(model.blocks[1], "attend", lambda *_: signal.default_int_handler(signal.SIGINT, None))
        model.logits([1, 2, 5, 6])
    assert model.logits([1, 2, 5, 6]) == right


@every_variant
def test_multiplications_are_counted_right_and_only_the_last_token_meets_the_output(variant, monkeypatch):
    model, counted, times = random_transformer(variant), [], five.times

    def count(matrix, vector):
        counted.append(len(matrix) * len(vector))
        return times(matrix, vector)
    monkeypatch.setattr(five, "times", count)
    for ids in ([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 7]):
        model.logits(ids)
        assert counted.pop() == 20 * 8      # the output
    of_attention = sum(2 * len(keys) * len(query) for block in model.blocks for query, keys in block.looks)
    assert five.multiplications(model, 6) == sum(counted) / 7 + of_attention


@pytest.mark.parametrize("vocab_size, count", [(2, 20), (3, 40), (10, 60), (1000, 400), (5000, 20)])
def test_the_head_set_by_hand_finds_the_last_time_in_any_vocabulary(vocab_size, count):
    rng = random.Random(57)
    start = rng.randrange(vocab_size)
    text = rng.choices([id for id in range(vocab_size) if id != start], k=count)
    ids, head = [start, *text, *text[:10]], five.induction_head(vocab_size, start)
    for place, id in enumerate(ids):
        shares = four.softmax(head.logits(ids[:place + 1]))
        earlier = max([at for at in range(1, place) if ids[at] == id], default=None)
        assert max(shares) < 1.001 / vocab_size if earlier is None else shares[ids[earlier + 1]] > 0.99
        before, look = (five.attention_weights(*block.looks[0]) for block in head.blocks)
        assert before[max(0, place - 1)] > 0.99 and look[0 if earlier is None else earlier + 1] > 0.99


def test_the_head_gets_its_share_where_it_finds_something(course):
    tokenizer, model = course
    (end,), (the, dog) = three.story_ids(tokenizer, []), tokenizer.encode("The dog")
    mixture = five.Mixture(model, five.induction_head(len(tokenizer), end))
    for text, share in (([end, the, dog, the], 0.08), ([end, the, dog], 0)):
        right = [(1 - share) * x + share * (id == dog) for id, x in enumerate(four.softmax(model.logits(text)))]
        assert far_apart(four.softmax(mixture.logits(text)), right) < 1e-6


def test_a_text_is_shown_with_the_looks_of_the_head():
    for text in ("The dog saw a cat. The cat saw the dog.", "x", "", "\x1b[31m\n" * 40, "The sun. " * 60):
        shown = run("lesson_5_transformer.py", text)
        assert shown.returncode == 0 and not shown.stderr and "\x1b" not in shown.stdout
        assert max(map(stage.display_width, shown.stdout.splitlines())) < 80
        assert shown.stdout.startswith("██ ") and len(shown.stdout.splitlines()) <= 31
    assert "·sun  (next: .)" in shown.stdout


def slopes(query, keys, values, upstream):
    weights, scale = five.attention_weights(query, keys), math.sqrt(len(query))
    gains = [five.dot(upstream, value) for value in values]
    scores = [weight * (gain - five.dot(weights, gains)) / scale for weight, gain in zip(weights, gains)]
    return ([five.dot(scores, column) for column in zip(*keys)], [[score * x for x in query] for score in scores],
            [[weight * x for x in upstream] for weight in weights])


def whole_attention(queries, keys, values):
    return [five.attention(query, keys[:place + 1], values[:place + 1]) for place, query in enumerate(queries)]


ARROWS = [50.0] * 4 + [0.0] * 4
TWO_BACK, NOTHING = [five.rotate(ARROWS, -2), ARROWS], [[0] * 4] * 5


@pytest.mark.parametrize("number, right, wrong, hint", [
    (1, [[1, 0, 0], [0.5, 0.5, 0], [1 / 3] * 3], [[0.2, 0.6, 0.2], [0, 0, 1], [1 / 3] * 3], "not see key 3"),
    (1, [[1.0], [0.5, 0.5], [0.33, 0.33, 0.33]], [[0, 1], [0.5, 0, 0.5], [1 / 3] * 3], "equal shares"),
    (2, [65536, 262144], [32768, 131072], "a key and a value"),
    (3, TWO_BACK, [five.rotate(ARROWS, -1), ARROWS], "1 back"),
    (3, TWO_BACK, [[x / 50 for x in part] for part in TWO_BACK], "two back is 0.41"),
    (4, whole_attention, lambda queries, *rest: [five.attention(query, *rest) for query in queries], "Whom"),
    (5, slopes, lambda *parts: (NOTHING[0], NOTHING, NOTHING), "values"),
    (5, slopes, lambda *parts: (slopes(*parts)[0], NOTHING, slopes(*parts)[2]), "keys")])
def test_the_exercises_of_lesson_5(number, right, wrong, hint):
    exercise = getattr(exercises, f"exercise_5_{number}")
    assert exercise(right).startswith("Yes") and not exercise(wrong).startswith("Yes") and hint in exercise(wrong)


# --- lesson 6 --------------------------------------------------------------------------------

SMALL = {"model_type": "llama", "vocab_size": 60, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}
IDS = [7, 3, 59, 0, 12, 12, 5, 31, 44, 2, 8, 19]


def write_small(folder, **changes):
    formats.write_model(folder, {**SMALL, **changes})
    return folder


def change_json(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def tensors_of(folder, rename=lambda name: name):
    """The tensors of a folder, as they are written, under changed names; "" leaves one out."""
    return {rename(name): ("F32", tensor.shape, [number for row in tensor for number in row])
            for name, tensor in formats.read_safetensors(folder / "model.safetensors").items() if rename(name)}


def write_tensors(folder, tensors):
    formats.write_safetensors(folder / "model.safetensors", tensors, {})


def logits_of(folder, ids=IDS, packed=False):
    return six.load_transformer(folder, packed).logits(ids)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_packed_product_is_the_plain_one_of_the_rounded_numbers(bits):
    rng = random.Random(bits)
    for _ in range(150):
        rows, columns, size = rng.randrange(1, 40), rng.randrange(1, 60), 10 ** rng.uniform(-30, 30)
        matrix = [[rng.choice([0, 1, -1, rng.gauss(0, size), size]) for _ in range(columns)] for _ in range(rows)]
        vector = [rng.choice([0, 1, rng.gauss(0, 1), rng.gauss(0, 1e6), 1e-9]) for _ in range(columns)]
        unit = (2 ** 24 - columns) / max(sum(map(abs, vector)), 1e-300)
        for row, given in zip(matrix, six.PackedMatrix(matrix, bits).times(vector)):
            whole, steps = six.quantize(row, bits)
            exact = sum(weight * round(number * unit) for weight, number in zip(whole, vector))
            assert given == pytest.approx(exact / (steps * unit), rel=1e-12)
            off = sum(map(abs, vector)) * 2.0 ** -(bits - 2) + 1e-5 * max(map(abs, vector))
            assert abs(given - three.dot(row, vector)) <= off * max(map(abs, row))


@pytest.mark.parametrize("bits", [8, 16])
def test_no_lane_overflows_even_at_worst(bits):
    rng = random.Random(2)
    for columns in (1, 2, 3, 64, 1000, 20_000):
        vector = [rng.choice([-1, 1]) * rng.choice([0.1, 1.0, 1000.0]) for _ in range(columns)]
        worst = [math.copysign(1, number) for number in vector]
        rows = [worst, [-number for number in worst], [0.0] * columns, worst]
        given, most = six.PackedMatrix(rows, bits).times(vector), sum(map(abs, vector))
        assert given == pytest.approx([most, -most, 0, most], rel=1e-3, abs=0.0)


def test_packing_and_unpacking_fast_are_the_simple_ones():
    rng = random.Random(3)
    for bits, rows, columns in ((8, 1, 1), (16, 1, 9), (16, 255, 3), (8, 256, 4), (16, 1025, 5), (8, 1600, 2)):
        matrix = [[rng.choice([0.0, rng.gauss(0, 1), -0.5, 0.5, 2.0 ** rng.randrange(-40, 40)]) for _ in range(columns)]
                  for _ in range(rows)]
        whole, steps = zip(*(six.quantize(row, bits) for row in matrix))
        packed = [six.pack(column, bits + 24) for column in zip(*whole)]
        assert six.pack_columns(iter(matrix), bits) == (packed, list(steps))
        for column, numbers in zip(packed, zip(*whole)):
            assert six.unpack(column, rows, bits + 24) == list(numbers)
        half = 2 ** (bits + 23)
        numbers = [rng.choice([-half, half - 1, 0, -1, rng.randrange(-half, half)]) for _ in range(rows)]
        total = six.pack(numbers, bits + 24)
        assert six.unpack(total, rows, bits + 24) == six.unpack_lanes(total, rows, bits + 24) == numbers


def test_what_is_no_number_is_not_multiplied():
    for wrong in (math.nan, math.inf):
        with pytest.raises(ValueError):
            six.PackedMatrix([[1.0, 2.0]]).times([wrong, 1.0])
    for bits in (0, 7, 32):     # 32 would leave a float no room for a lane
        with pytest.raises(ValueError, match=f"not in {bits}"):
            six.PackedMatrix([[1.0, 2.0]], bits)


@pytest.mark.skipif(not MODELS.exists(), reason="needs the models")
@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "qwen2", "llama4"])
def test_the_logits_are_those_of_pytorch(name):
    expected = json.loads((MODELS / name / "expected.json").read_text(encoding="utf-8"))
    most = max(abs(logit) for logits in expected["logits"] for logit in logits)
    for packed, allowed in ((False, 0.0002), (True, 0.005 * most)):
        transformer = six.load_transformer(MODELS / name, packed)
        for count, logits in enumerate(expected["logits"], 1):
            assert transformer.logits(expected["ids"][:count]) == pytest.approx(logits, abs=allowed)
        ids = expected["greedy"][:6]
        for step in four.generate_ids(transformer, list(ids), max_new_tokens=20, temperature=0, min_p=None):
            ids.append(step[0])
        assert ids == expected["greedy"]


SHAPES = {
    "llama": {}, "biases": {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    "head_dim": {"head_dim": 6}, "mistral": {"model_type": "mistral", "sliding_window": 3},
    "qwen2": {"model_type": "qwen2"}, "qwen3": {"model_type": "qwen3", "head_dim": 8, "attention_bias": True},
    "gpt2": {"model_type": "gpt2", "n_positions": 20, "tie_word_embeddings": True},
    "gpt2 untied": {"model_type": "gpt2", "n_positions": 20, "tie_word_embeddings": False},
    "llama4": {"model_type": "llama4_text", "intermediate_size_mlp": 20, "num_hidden_layers": 4, "num_local_experts": 3,
               "interleave_moe_layer_step": 2, "attention_chunk_size": 4, "num_experts_per_tok": 2, "floor_scale": 4}}


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
def test_every_family_is_saved_loaded_and_packed(changes, tmp_path):
    plain = six.load_transformer(write_small(tmp_path / "first", **changes), packed=False)
    six.save_transformer(plain, tmp_path / "second")
    right = plain.logits(IDS)
    assert logits_of(tmp_path / "second") == pytest.approx(right, abs=1e-9)
    assert logits_of(tmp_path / "second", packed=True) == pytest.approx(right, abs=0.005 * max(map(abs, right)))
    with pytest.raises(ValueError, match="packed"):
        six.save_transformer(six.load_transformer(tmp_path / "first"), tmp_path / "third")


def test_transformers_set_by_hand_are_saved_or_refused(tmp_path):
    head = five.induction_head(30)
    six.save_transformer(head, tmp_path)
    for end in range(1, len(IDS)):
        ids = [id % 30 for id in IDS[:end]]
        assert logits_of(tmp_path, ids) == pytest.approx(head.logits(ids), abs=1e-3)
    for turning in ("query_at", "key_at"):      # written twice, and still the same
        setattr(head.blocks[1].settings, turning, partial(head.settings.query_at.func, **head.settings.query_at.keywords))
    six.save_transformer(head, tmp_path)
    for name, value in (("activation", five.relu), ("epsilon", 1.0), ("heads", 2), ("key_at", five.rotate)):
        head.blocks[1].settings = five.Settings(**{**vars(head.settings), name: value})
        with pytest.raises(ValueError, match=f"no config.json describes a transformer with {name}"):
            six.save_transformer(head, tmp_path)


def test_what_the_file_has_no_place_for_is_not_left_out(tmp_path):
    for name, wrong, says in (("output", [[0.0] * 16] * 60, "output.weight"), ("last_norm", None, "last_norm.weight"),
                              ("positions", [[0.0] * 16] * 9, "positions.weight")):
        plain = six.load_transformer(write_small(tmp_path, tie_word_embeddings=True), packed=False)
        setattr(plain, name, wrong)
        with pytest.raises(ValueError, match=says):
            six.save_transformer(plain, tmp_path)


def test_one_model_may_be_written_in_many_ways(tmp_path):
    right = logits_of(write_small(tmp_path, rope_theta=500.0))
    change_json(tmp_path / "config.json", rope_theta=None, rope_parameters={"rope_theta": 500.0, "rope_type": "default"})
    assert logits_of(tmp_path) == right
    tensors, index = list(tensors_of(tmp_path).items()), tmp_path / "model.safetensors.index.json"
    shards = {f"model-{number}.safetensors": dict(tensors[number::3]) for number in range(3)}
    for file, part in shards.items():
        formats.write_safetensors(tmp_path / file, part, {})
    (tmp_path / "model.safetensors").unlink()
    files = {name: file for file, part in shards.items() for name in part}
    for places, named in ((files, ""), ({**files, tensors[0][0]: "model-1.safetensors"}, tensors[0][0]),
                          ({**files, "more": "model-2.safetensors"}, ""), ({}, "no weight_map")):
        index.write_text(json.dumps({"weight_map": places}), encoding="utf-8")
        if named:
            with pytest.raises(ValueError, match=named):
                logits_of(tmp_path)
        else:
            assert logits_of(tmp_path) == right
    index.write_text(json.dumps({"weight_map": files}), encoding="utf-8")
    formats.write_safetensors(tmp_path / "model-0.safetensors", dict(tensors[3::3]), {})
    with pytest.raises(ValueError, match=f"{tensors[0][0]}' is missing"):
        logits_of(tmp_path)


def test_prefixes_and_what_older_files_have_besides(tmp_path):
    right = logits_of(write_small(tmp_path, **SHAPES["gpt2"]))
    write_tensors(tmp_path, {**tensors_of(tmp_path, lambda name: name.replace("transformer.", "")),
                             "h.0.attn.bias": ("F32", (1, 1), [1.0])})
    assert logits_of(tmp_path) == right
    right = logits_of(write_small(tmp_path, **SHAPES["llama4"]))
    write_tensors(tmp_path, {**tensors_of(tmp_path, lambda name: "language_model." + name),
                             "vision_model.x": ("F32", (1,), [1.0])})
    text = formats.read_json(tmp_path / "config.json")
    change_json(tmp_path / "config.json", model_type="llama4", architectures=["Llama4ForConditionalGeneration"], text_config=text)
    assert logits_of(tmp_path) == right


def test_a_window_or_a_chunk_longer_than_the_text_changes_nothing(tmp_path):
    for family, key in (("mistral", "sliding_window"), ("llama4_text", "attention_chunk_size")):
        changes = {**SHAPES["llama4"], "model_type": family, "use_qk_norm": False}
        found = [logits_of(write_small(tmp_path, **{**changes, key: size})) for size in (4, 12, 64)]
        assert found[0] != found[1] == found[2]
    stray = {"use_sliding_window": False, "max_window_layers": 9}       # of Qwen; Hugging Face's Mistral ignores them
    assert len({tuple(logits_of(write_small(tmp_path, **SHAPES["mistral"], **more))) for more in ({}, stray)}) == 1


@pytest.mark.parametrize("changes, named", [
    ({"model_type": "mixtral"}, "mixtral"), ({"model_type": "gemma2"}, "gemma2"), ({"model_type": "bert"}, "bert"),
    ({"model_type": "phi3"}, "phi3"), ({"model_type": "mamba"}, "mamba"), ({"model_type": None}, "None"),
    ({"architectures": ["LlamaForSequenceClassification"]}, "LlamaForSequenceClassification"),
    ({"hidden_act": "gelu"}, "gelu"), ({"rope_scaling": {"type": "yarn", "factor": 4}}, "yarn"),
    ({"rope_parameters": {"rope_type": "dynamic"}}, "dynamic"), ({"rope_scaling": {"rope_type": "llama3"}}, "factor"),
    ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "gptq"), ({"partial_rotary_factor": 0.5}, "0.5"),
    ({"quantization_config": {"quant_method": "fp8"}}, "fp8"), ({"num_hidden_layers": 0}, "num_hidden_layers"),
    ({"num_hidden_layers": 3}, "layers.2"), ({"num_hidden_layers": 1}, "layers.1"), ({"vocab_size": 61}, "embed_tokens"),
    ({"head_dim": None, "num_attention_heads": 3}, "3 heads"), ({"hidden_size": 32}, "embed_tokens"), ({"attention_bias": True}, "q_proj.bias"), ({"rms_norm_eps": "x"}, "rms_norm_eps"),
    ({"num_key_value_heads": 3}, "k_proj"), ({"vocab_size": "60"}, "vocab_size"), ({"head_dim": 2.5}, "head_dim"),
    ({**SHAPES["llama4"], "num_experts_per_tok": 4, "architectures": None}, "num_experts_per_tok"),
    ({"tie_word_embeddings": "no"}, "tie_word_embeddings"), ({"rope_theta": -1}, "rope_theta")])
def test_what_there_is_no_code_for_is_refused_by_name(changes, named, tmp_path):
    write_small(tmp_path)
    change_json(tmp_path / "config.json", **changes)
    with pytest.raises(ValueError, match=re.escape(named)):
        six.load_transformer(tmp_path)


def test_parameters_are_counted_of_what_a_config_means():
    nested = {"model_type": "llama4", "text_config": {**formats.SMALL_LLAMA4, "num_experts_per_tok": 2}}
    short = {key: value for key, value in formats.SMALL_LLAMA4.items() if key != "num_experts_per_tok"}
    whole = six.count_parameters(nested)
    one_expert = 2 * 3 * 16 * 24        # in two layers three matrices
    assert (six.count_parameters(nested, active=True), six.count_parameters(short, active=True)) == (
        whole - one_expert, whole - 2 * one_expert)


def test_no_value_of_a_config_ends_in_a_traceback():
    rng = random.Random(5)
    odd = [None, 0, -1, 1.5, "x", [], [1], {}, True, math.inf, math.nan, [[]], 10 ** 30, {"rope_type": "llama3"}]
    for changes in SHAPES.values():
        keys = [key for key in formats.check_config({**SMALL, **changes}) if isinstance(key, str)]
        keys += ["rope_scaling", "rope_parameters", "text_config", "architectures", "quantization_config"]
        for _ in range(300):
            config = {**SMALL, **changes, **{key: rng.choice(odd) for key in rng.sample(keys, rng.randrange(1, 3))}}
            try:
                checked = formats.check_config(config)
                if checked["num_hidden_layers"] < 100:
                    for layer in range(checked["num_hidden_layers"]):
                        six.block_settings(checked, layer, [], [])
            except ValueError:
                pass


@pytest.mark.parametrize("old, new, named", [
    ("model.norm", "model.nrm", "model.norm.weight"), ("layers.1.self_attn.v_proj.weight", "", "v_proj"),
    ("model.norm", "", "model.norm"), ("none", "more", "more"), ('"F32"', '"I32"', "quantized")])
def test_tensors_that_do_not_fit_are_refused_by_name(old, new, named, tmp_path):
    tensors = tensors_of(write_small(tmp_path), lambda name: name.replace(old, new) if new or old not in name else "")
    write_tensors(tmp_path, {**tensors, **({"more": ("F32", (1,), [1.0])} if new == "more" else {})})
    weights = tmp_path / "model.safetensors"
    if named == "quantized":
        weights.write_bytes(weights.read_bytes().replace(old.encode(), new.encode()))
    with pytest.raises(ValueError, match=named):
        six.load_transformer(tmp_path)


def test_it_says_how_much_memory_a_model_needs(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "_free_memory", lambda: [math.inf, 1e6])
    with pytest.raises(ValueError, match="needs 0.1 GB of memory"):
        six.load_transformer(write_small(tmp_path))


def small_llm(folder, **changes):
    """A folder with a tokenizer of 300 tokens, and random weights that fit it."""
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = two.Tokenizer.train("user|assistant|the sky is blue " * 9, 300, names)
    write_small(folder, vocab_size=max(tokenizer.vocabulary.values()) + 5, **changes)
    tokenizer.save(folder / "tokenizer.json")
    return tokenizer


def test_a_special_token_in_a_question_is_plain_text(tmp_path):
    tokenizer = small_llm(tmp_path)
    end, = tokenizer.encode("<|im_end|>", allowed_special="all")
    for question in ("Hi", "<|im_end|>", "a<|im_start|>user\n<|im_end|>", ""):
        ids = six.question_ids(tokenizer, question)
        assert tokenizer.decode(ids) == f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        assert ids.count(end) == 1
    assert six.question_ids(two.Tokenizer.train("", 256), "Hi") == [72, 105]


def test_a_tokenizer_with_more_tokens_than_rows_is_refused(tmp_path):
    small_llm(tmp_path)
    write_small(tmp_path, vocab_size=200)
    with pytest.raises(ValueError, match="rows, 200"):
        six.load_llm(tmp_path)


@pytest.mark.parametrize("changes", [{}, SHAPES["gpt2"]])
def test_a_row_without_a_token_is_never_drawn_and_a_table_of_positions_ends_a_text(changes, tmp_path):
    tokenizer = small_llm(tmp_path, **changes)
    text = "the sky is blue"
    left = changes.get("n_positions", 99) + 1 - len(tokenizer.encode(text))
    ended = run("lesson_6_llama.py", text, "--model", tmp_path, "--max-new-tokens", 60, "--temperature", 9, "--min-p", 0)
    assert ended.returncode == 0 and f"({min(60, left)} tokens in" in ended.stderr


def test_the_command_line_continues_and_talks(tmp_path):
    tokenizer = small_llm(tmp_path)
    ended = run("lesson_6_llama.py", "the sky", "--model", tmp_path, "--max-new-tokens", 5, "--temperature", 0)
    assert ended.returncode == 0 and ended.stdout.startswith("the sky") and "5 tokens in" in ended.stderr
    transformer = six.load_transformer(tmp_path)
    ids = tokenizer.encode("the sky")
    found = [step[0] for step in four.generate_ids(transformer, list(ids), max_new_tokens=5, temperature=0)]
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [found[1], 2]}), encoding="utf-8")
    ended = run("lesson_6_llama.py", "the sky", "--model", tmp_path, "--max-new-tokens", 5, "--temperature", 0)
    assert "2 tokens in" in ended.stderr or found[0] == found[1]
    ended = run("lesson_6_llama.py", "--chat", "--model", tmp_path, "--seed", 1, stdin="hello\n/temperature 0\nhello\n")
    assert ended.returncode == 0 and ended.stdout.count("|im_start|") == 2 and "Traceback" not in ended.stderr
    for wrong in (["the sky"], ["--model", tmp_path], ["x", "--model", tmp_path / "nowhere"], ["x", "--model", tmp_path, "--bits", 4]):
        ended = run("lesson_6_llama.py", *wrong)
        assert ended.returncode == 2 and len(ended.stderr.splitlines()) == 1


def mixtral(vector, router, experts, activation, count):
    scores = router(vector)
    best = six.best_experts(scores, count)
    total = sum(math.exp(scores[expert]) for expert in best)
    result = [0.0] * len(vector)
    for expert in best:
        said = five.gated_feed_forward(vector, *experts[expert], activation)
        result = [x + math.exp(scores[expert]) / total * y for x, y in zip(result, said)]
    return result


AT = "/me/small/resolve/main/"


class Mirror(http.server.BaseHTTPRequestHandler):
    """A small Hugging Face: it serves `files`, may know Range, and breaks off after `breaks_after` bytes."""

    def do_GET(self):
        self.asked.append((self.path, self.headers.get("Range")))
        data = self.files.get(self.path)
        if data is None:
            return self.send_error(404)
        start = int(self.headers["Range"][6:-1]) if self.headers.get("Range") and self.ranges else 0
        status, place = (206, f"bytes {start}-{len(data) - 1}/{len(data)}") if start else (200, "")
        if start >= len(data):
            status, place = 416, f"bytes */{len(data)}"
        self.send_response(status)
        self.send_header("Content-Length", str(len(data[start:])))
        self.send_header("Content-Range", place)
        self.send_header("Last-Modified", "Sat, 01 Jan 2000 00:00:00 GMT")
        self.end_headers()
        self.wfile.write(data[start:][:self.breaks_after])

    def log_message(self, *_):
        pass


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    small_llm(tmp_path / "there")
    Mirror.files = {AT + file.name: file.read_bytes() for file in (tmp_path / "there").iterdir()}
    Mirror.breaks_after, Mirror.asked, Mirror.ranges = None, [], True
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(six, "MODEL_FOLDER", tmp_path / "model")
    yield tmp_path / "model" / "me" / "small"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_model_is_fetched_once_and_goes_on_where_it_broke_off(mirror, monkeypatch):
    data = Mirror.files[AT + "model.safetensors"]
    Mirror.breaks_after = len(data) // 3 + 1
    tokenizer, transformer = six.load_llm("me/small")
    assert {path.name for path in mirror.iterdir()} == {"config.json", "tokenizer.json", "model.safetensors"}
    assert (mirror / "model.safetensors").read_bytes() == data
    assert transformer.logits([1, 2]) == logits_of(mirror, [1, 2], packed=True)
    asked = [part for path, part in Mirror.asked if path.endswith(".safetensors")]
    assert asked == [None, f"bytes={Mirror.breaks_after}-", f"bytes={2 * Mirror.breaks_after}-"]
    count = len(Mirror.asked)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    six.load_llm("me/small")
    assert len(Mirror.asked) == count


@pytest.mark.parametrize("ranges", [True, False])       # False: a server that always begins at the beginning
def test_a_part_that_is_whole_or_too_long_or_of_another_file(mirror, ranges):
    data, Mirror.ranges = Mirror.files[AT + "model.safetensors"], ranges
    other = b"of a file that is old" if ranges else b"of another file"
    for part in (data, data + b"more", other):
        mirror.mkdir(parents=True, exist_ok=True)
        (mirror / "model.safetensors.part").write_bytes(part)
        if part == other:
            os.utime(mirror / "model.safetensors.part", (0, 0))
        six.load_llm("me/small")
        assert (mirror / "model.safetensors").read_bytes() == data and not list(mirror.glob("*.part"))
        (mirror / "model.safetensors").unlink()
    Mirror.ranges, Mirror.breaks_after = False, 1000        # it would never come to an end
    with pytest.raises(ValueError, match="can't be reached"):
        six.load_llm("me/small")


def test_shards_are_fetched_and_nothing_outside_of_the_folder(mirror):
    data = Mirror.files.pop(AT + "model.safetensors")
    names = formats.read_safetensors(mirror.parents[2] / "there" / "model.safetensors")
    for file in ("model-1.safetensors", "../model-1.safetensors", "/model-1.safetensors", "a/b.safetensors", "model.py"):
        Mirror.files[AT + file] = data
        Mirror.files[AT + "model.safetensors.index.json"] = json.dumps({"weight_map": dict.fromkeys(names, file)}).encode()
        if file == "model-1.safetensors":
            six.load_llm("me/small")
            assert (mirror / file).read_bytes() == data
        else:
            with pytest.raises(ValueError, match="no .safetensors file of its folder"):
                six.load_llm("me/small")
        (mirror / "model.safetensors.index.json").unlink()
    assert {path.name for path in mirror.parents[2].iterdir()} == {"there", "model"}


def test_what_cannot_be_fetched_is_said_in_one_sentence(mirror, monkeypatch):
    for name, said in (("me/other", "is me/other the right name"), ("../small", "no folder"), ("a/../b", "no folder"),
                       ("nowhere", "no folder"), ("me/small/more", "no folder")):
        with pytest.raises(ValueError, match=said):
            six.load_llm(name)
    config = Mirror.files[AT + "config.json"]
    Mirror.files = {AT + "config.json": config, "/me/mix/resolve/main/config.json": config.replace(b"llama", b"mixtral")}
    for name, said in (("me/small", "tokenizer.json"), ("me/mix", "mixtral")):
        with pytest.raises(ValueError, match=said):
            six.load_llm(name)
    assert not any("safetensors" in path for path, _ in Mirror.asked)
    for endpoint, said in (("http://127.0.0.1:1", "can't be reached"), ("file:///etc", "HF_ENDPOINT")):
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        with pytest.raises(ValueError, match=said):
            six.load_llm("me/third")


# --- your turn -------------------------------------------------------------------------------

def words_without_signs(text):
    return re.findall(r" ?[^\W\d_]+| ?\d+|[\s\S]", text)


def prune_merges(text, count):
    """Learn more tokens than are wanted, and keep those that are used most."""
    tokenizer = two.Tokenizer.train(text, 256 + count + count // 3)
    used = Counter(tokenizer.encode(text))
    learned = [token for token, id in tokenizer.vocabulary.items() if id >= 256]
    return sorted(learned, key=lambda token: -used[tokenizer.vocabulary[token]])[:count]


class MixedWithCounts:
    """The course's model and a trigram, half and half."""

    def __init__(self, ids, vocab_size):
        self.model, self.trigram = three.course_model()[1], Trigram(ids, vocab_size)

    def logits(self, ids):
        learned, counted = three.softmax(self.model.logits(ids)), map(math.exp, self.trigram.logits(ids))
        return [math.log(x + y) for x, y in zip(learned, counted)]


def beam_search(model, ids, count, width=4):
    beams = [(0.0, ids)]
    for _ in range(count):
        longer = []
        for surprise, beam in beams:
            shares = four.softmax(model.logits(beam))
            best = sorted(range(len(shares)), key=shares.__getitem__)[-width:]
            longer += [(surprise + three.bits(shares[id]), [*beam, id]) for id in best]
        beams = sorted(longer)[:width]
    return beams[0][1][len(ids):]


REFERENCE_ANSWERS = {
    one: [["Is", " it", " red?", " ", " Yes."], [0, 1, 2, 3, 1, 2, 1],
          [" sky", " old", " dog", " whole", " small", " little", " big", " long"],
          lambda tokens, vocabulary: sum(token not in vocabulary for token in tokens) / (len(tokens) or 1),
          words_without_signs],
    two: [11, [9, 1, 2, 9], ["at", "hat", " t"],
          lambda tokenizer, text: len(text.encode()) / len(tokenizer.encode(text)) if text else 0, prune_merges],
    three: [[1, -1, 0], [10, 16], " uncle", lambda a, b: math.dist(a, b), MixedWithCounts],
    four: [[0.5, 0.25, 0.25], [0, 1, 2], 3, lambda shares: -sum(share * math.log2(share) for share in shares if share),
           beam_search],
    six: [1496, [[2, 0], [3, 2], [3, 1]], [3, -7, 2], 11, mixtral]}
WRONG_ANSWERS = {
    one: [["Is", " it", " red?", "  ", "Yes."], [0, 1, 2, 0, 1, 2, 1], [" sky"] * 8, lambda tokens, vocabulary: math.nan, list],
    two: [10, [1, 9, 2, 9], ["at", "ha", "th"], lambda tokenizer, text: math.nan, lambda text, count: []],
    three: [[0, 0, 0], [8, 16], " blue", lambda a, b: math.nan, lambda ids, vocab_size: three.EmbeddingModel.untrained(ids, vocab_size, 2)],
    four: [[1, 0, 0], [0, 1, 2, 3], 0, lambda shares: math.nan, lambda model, ids, count: [1] * count],
    six: [1472, [[2, 0], [3, 2], [1, 0]], [2, -7, 1], 12, lambda vector, *_: [0.0] * len(vector)]}


@pytest.mark.parametrize("lesson", REFERENCE_ANSWERS, ids=lambda lesson: lesson.__name__)
def test_exercises_accept_the_reference_answers_and_hint_at_wrong_ones(lesson, course):
    checks = [getattr(exercises, f"exercise_{lesson.__name__[7]}_{number}") for number in range(1, 6)]
    for number, (exercise, right, wrong) in enumerate(zip(checks, REFERENCE_ANSWERS[lesson], WRONG_ANSWERS[lesson]), 1):
        assert exercise(right).startswith("Yes")
        hint = exercise(wrong)
        assert hint[-1] in ".?" and not hint.startswith("Yes")
        assert number > 3 or str(right) not in hint
