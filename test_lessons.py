"""What must hold. The doctests in the lessons explain; the tests here prove."""

import json
import math
import os
import random
import re
import signal
import struct
import subprocess
import sys
import threading
import unicodedata
import zlib
from collections import Counter
from itertools import chain
from pathlib import Path
from types import ModuleType

import pytest

import lesson_1_tokens as one
import lesson_2_coding_tokenizer as two
import lesson_3_embeddings as three
import lesson_4_sampling as four

HERE = Path(__file__).resolve().parent
LESSONS = sorted(HERE.glob("lesson_*.py"))
QWEN = Path(os.environ.get("QWEN2_5", HERE.parent / "shared" / "data" / "qwen2.5"))
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


def run(*arguments, cwd=HERE, stdin="", **environment):
    """Run a lesson as a user would; what it printed, and how it ended."""
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=cwd, input=stdin, capture_output=True, text=True,
                          encoding="utf-8", errors="replace", env={**os.environ, **environment}, timeout=300)


@pytest.fixture(scope="session")
def course():
    return three.course_model()


# --- the corpus ------------------------------------------------------------------------------

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


# --- the README's map of the slides ----------------------------------------------------------

SLIDES = HERE.parent / "shared" / "slides" / "slides.md"


def table_rows(heading):
    table = (HERE / "README.md").read_text(encoding="utf-8").partition(heading)[2].partition("|---")[2]
    rows = table.split("\n\n")[0].splitlines()[1:]
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row.strip("|"))] for row in rows]


def functions_by_section(number):
    """The names that each section of a lesson defines at its top level."""
    source = LESSONS[number - 1].read_text(encoding="utf-8")
    sections = re.split(r"^# %% (.+)$", source, flags=re.MULTILINE)[1:]
    return {title: re.findall(r"^(?:def|class) (\w+)", text, re.MULTILINE) for title, text in zip(sections[::2], sections[1::2])}


def test_the_map_leads_from_every_slide_to_code_that_is_there():
    expected = 1
    for slides, about, lesson, section, names in table_rows("## From the slides to the code"):
        first, last = (list(map(int, slides.split("–"))) * 2)[:2]
        assert about and first in (expected, expected - 1) and last >= first
        expected = last + 1
        if first > 3:
            assert names and set(re.findall(r"`(\w+)`", names)) <= set(functions_by_section(int(lesson))[section])
    assert expected == 52


@pytest.mark.skipif(not SLIDES.exists(), reason="needs the deck")
def test_the_deck_has_as_many_slides_as_the_map():
    assert len(re.split("(?m)^---[ ]*$", SLIDES.read_text(encoding="utf-8"))[2:]) == 51


def test_what_the_slides_get_wrong_is_shown_where_the_readme_says():
    rows = table_rows("Where the slides slip")
    assert len(rows) >= 6
    for _, says, but, shown_by in rows:
        lesson, name = re.fullmatch(r"lesson (\d) `(\w+)`", shown_by).groups()
        docstring = getattr((one, two, three, four)[int(lesson) - 1], name).__doc__
        assert re.findall("`([^`]+)`", but) and all(figure in docstring for figure in re.findall("`([^`]+)`", says + but))


# --- lesson 1 --------------------------------------------------------------------------------

def test_all_cutters_join_back_to_any_text():
    texts = [*random_texts(1000, surrogates=True), "", " " * 50_000, "x" * 50_000, "a. " * 20_000]
    for text in texts:
        for cut in one.CUTTERS.values():
            tokens = cut(text)
            assert "".join(tokens) == text and "" not in tokens
            vocabulary = one.build_vocabulary(tokens)
            assert one.ids_to_tokens(one.tokens_to_ids(tokens, vocabulary), vocabulary) == tokens
        words = one.word_tokens(text)
        assert one.subword_tokens(text, words) == words
        assert one.subword_tokens(text, [""]) == list(text)


def test_subwords_are_the_longest_that_fit():
    rng = random.Random(2)
    for _ in range(500):
        text = "".join(rng.choices("ab 车", k=30))
        pieces = ["".join(rng.choices("ab 车", k=rng.randrange(1, 5))) for _ in range(rng.randrange(8))]
        longest_first = sorted(pieces, key=len, reverse=True)
        assert one.subword_tokens(text, pieces) == re.findall("|".join([*longest_first, "."]), text)


def test_a_vocabulary_numbers_by_first_appearance_and_has_an_id_for_the_unknown():
    for text in random_texts(200, surrogates=True):
        vocabulary = one.build_vocabulary([*text, "<UNK>", *text])
        assert list(vocabulary.values()) == list(range(len(set(text)) + 1))
        assert list(vocabulary)[:-1] == sorted(set(text), key=text.index) and one.build_vocabulary(list(text)) == vocabulary
    assert one.build_vocabulary(["<UNK>", "a"]) == {"<UNK>": 0, "a": 1}


def test_vocabulary_errors():
    with pytest.raises(ValueError, match="no id for 'x'"):
        one.tokens_to_ids(["a", "x"], {"a": 0})
    for wrong in (-1, 2, "0", 0.5, None):
        with pytest.raises(ValueError, match="has no id"):
            one.ids_to_tokens([0, wrong], {"a": 0, "<UNK>": 1})


def test_stories_are_parted_by_empty_lines_or_else_by_lines():
    stories = [f"Story {number}.\nIts second line." for number in range(23)]
    for gap in ("\n\n", "\n\n\n\n", "\n \t\n", "\n\n  \n"):
        assert one.split_stories(gap + gap.join(stories) + gap) == (stories[:21], stories[21:])
    lines = "\n\n".join(stories[:9]).replace("\n\n", "\n \n")
    assert one.split_stories(lines) == (lines.replace(" \n", "").split("\n")[:17], ["Its second line."])
    for text in ("", "\n" * 50, "one\n" * 9, "one\n\n" * 9):
        with pytest.raises(ValueError, match="ten stories or more, parted by empty lines"):
            one.split_stories(text)
    seen, held_out = one.corpus_stories()
    assert "\n\n".join([*seen, *held_out]) == one.read_text(one.CORPUS).strip()


def test_the_company_of_all_tokens_is_every_pair():
    tokens = one.word_tokens(one.read_text(one.CORPUS)[:20_000])
    pairs = Counter(zip(tokens, tokens[1:]))
    for token in set(tokens):
        company = one.companions(tokens, token, None)
        assert {(token, after): count for after, count in company} == {pair: n for pair, n in pairs.items() if pair[0] == token}
        assert [count for _, count in company] == sorted((count for _, count in company), reverse=True)


@pytest.mark.skipif(not (DATA / "qwen2.5" / "tokenizer.json").exists(), reason="needs Qwen2.5's tokenizer")
def test_the_numbers_of_the_first_page_are_those_of_qwen():
    tokenizer = two.Tokenizer.load(DATA / "qwen2.5" / "tokenizer.json")
    ids = re.search(r"\n    How .*\n((?: +\d+)+)\n", one.__doc__).group(1)
    assert tokenizer.encode("How many r are there in strawberry?") == [int(id) for id in ids.split()]
    english = tokenizer.encode("All human beings are born free and equal in dignity and rights.")
    greek = tokenizer.encode("Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.")
    assert f"{len(english)} tokens in English, but {len(greek)} in Greek" in " ".join(one.__doc__.split())
    for entry, id in one.QWEN_ENTRIES.items():
        assert tokenizer.decode([id]) == one.plain_token(entry)
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
            starts = [[stage.display_width(line[:word.start()]) for word in re.finditer(r"\S+", line)] for line in block]
            assert starts[-1] == starts[0][-len(starts[-1]):]       # the first part of a line may end a token
    assert run("lesson_1_tokens.py", "").returncode == 0


def test_hints_of_lesson_1_fit_whatever_is_given():
    for number, asked in ((1, "5 strings"), (2, "7 whole numbers"), (3, "8 strings")):
        exercise = getattr(one, f"exercise_{number}")
        for answer in ("bandana", "0123121", 7, None, [], {}, print, [0] * 6, ["0"] * 7, [0.5], [["Is"]], [" dog"] * 9, b"0123121"):
            assert exercise(answer).startswith(f"Write a list of {asked}.")
    assert "'Yes.', number 5 " in one.exercise_1(["Is", " it", " red?", " ", "Yes."])
    assert "0, number 4 " in one.exercise_2([0, 1, 2, 0, 1, 2, 1])
    for answer in ([], "text", 1, None):
        assert one.exercise_4(answer).startswith("Write a function") and one.exercise_5(answer).startswith("Write a function")
    for given in ("0.75", None, [0.75], math.nan, 1):
        assert "0.75 is right" in one.exercise_4(lambda tokens, vocabulary: given)
    assert one.exercise_5(one.word_tokens).endswith("2,138 of them distinct. Only 1,400 distinct ones are allowed.")
    assert one.exercise_5(list).endswith("80 of them distinct. Only 17,000 tokens are allowed.")
    assert "two words" in one.exercise_5(one.sentence_tokens) and "joins back" in one.exercise_5(str.split)
    for given in (None, 3, "text", [1]):
        assert "not a list that joins back" in one.exercise_5(lambda text: given)


# --- the player ------------------------------------------------------------------------------

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


def test_the_cells_of_a_lesson_run_in_order_in_a_notebook(tmp_path):
    """A notebook has no __file__, a prompt, and its own way to display a value."""
    (tmp_path / "notebook.py").write_text(
        "import re, sys; from pathlib import Path; sys.ps1 = '>>> '; sys.displayhook = lambda value: None\n"
        "source = Path(sys.argv[1]).read_text(encoding='utf-8'); sys.argv = ['launcher.py', '-f', 'kernel.json']\n"
        "sys.path.insert(0, '.'); names = {'__name__': '__main__'}\n"
        "for cell in re.split('(?m)^# %%.*$', source): exec(cell, names)\n"
        "import lesson_1_tokens; assert lesson_1_tokens.play(lesson_1_tokens) == 0\n", encoding="utf-8")
    for lesson in LESSONS:
        ended = run(tmp_path / "notebook.py", lesson)
        assert ended.returncode == 0, ended.stderr


def test_a_wrong_lesson_ends_with_status_1(tmp_path):
    (tmp_path / "lesson.py").write_text('"""Wrong.\n\n>>> 1 + 1\n3\n"""\nfrom lesson_1_tokens import *\n'
                                        'run_lesson(lesson_parser("A", "b", {}, []), print)\n', encoding="utf-8")
    ended = run(tmp_path / "lesson.py", PYTHONPATH=str(HERE))
    assert ended.returncode == 1 and "1 of 1 examples went wrong" in ended.stdout and not ended.stderr


@pytest.mark.parametrize("columns", [24, 40, 80])
def test_a_played_lesson_is_never_wider_than_the_window(columns):
    played = run("lesson_1_tokens.py", COLUMNS=str(columns), PYTHONIOENCODING="utf-8").stdout
    assert max(map(one.display_width, played.splitlines())) <= columns


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_every_lesson_plays(lesson, tmp_path, course):
    for environment in ({}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "cp437"},
                        {"PYTHONIOENCODING": "cp1252", "PYTHONWARNINGS": "error"}):
        played = run(lesson, cwd=tmp_path, **environment)
        assert played.returncode == 0, played.stdout[-500:] + played.stderr
        assert "examples gave what the lesson says" in played.stdout and "\033" not in played.stdout


def test_a_text_is_the_same_in_every_locale():
    said = [run("lesson_2_coding_tokenizer.py", "The 车 🌲", **environment).stdout.splitlines()[1]
            for environment in ({}, {"LC_ALL": "C", "PYTHONUTF8": "0"}, {"LC_ALL": "C", "PYTHONIOENCODING": "cp437"})]
    assert said[0] and set(said) == {said[0]}
    assert two.course_tokenizer().decode(map(int, said[0].split())) == "The 车 🌲"


def test_every_public_function_has_a_docstring_and_the_lessons_import_only_downwards():
    for number, module in enumerate((one, two, three, four), 1):
        source = Path(module.__file__).read_text(encoding="utf-8")
        imported = re.findall(r"^(?:from|import) (\w+)", source, re.MULTILINE)
        for name in imported:
            known = getattr(sys, "stdlib_module_names", {name} - {path.stem for path in LESSONS})
            assert name in known or name in [path.stem for path in LESSONS[:number - 1]]
        for name in re.findall(r"^(?:def|class) ([A-Za-z]\w+)", source, re.MULTILINE):
            assert getattr(module, name).__doc__
            for method in vars(getattr(module, name)).values() if name[0].isupper() else ():
                assert not callable(method) or method.__name__[0] == "_" or method.__doc__


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_help_has_ten_lines_and_names_every_option(lesson):
    ended = run("-I", lesson, "--help")     # -I does not look for the other lessons beside this one
    options = {"lesson_1_tokens": "", "lesson_2_coding_tokenizer": "--tokenizer --train --vocab-size --save",
               "lesson_3_embeddings": "--tokenizer --embeddings --svg", "lesson_4_sampling": "--chat --explain --seed "
               "--temperature --top-k --top-p --min-p --max-new-tokens"}[lesson.stem]
    assert ended.returncode == 0 and len(ended.stdout.splitlines()) <= 10
    assert all(f" {option} " in ended.stdout for option in ["--step", "--check", *options.split()])


def interrupted(arguments, signal_number):
    """The status of a lesson that is interrupted when its first output has come."""
    process = subprocess.Popen([sys.executable, "-u", *map(str, arguments)], cwd=HERE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, stdin=subprocess.PIPE)
    process.stdout.read(20)
    process.send_signal(signal_number) if signal_number else process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    process.stdin.close()
    return process.wait(60), error


@pytest.mark.skipif(os.name == "nt", reason="signals and pipes of POSIX")
def test_a_closed_pipe_and_ctrl_c_end_a_lesson_without_a_word():
    assert interrupted(["lesson_1_tokens.py"], None) == (141, b"")
    assert interrupted(["lesson_1_tokens.py", "--step"], signal.SIGINT) == (130, b"")
    assert interrupted(["lesson_2_coding_tokenizer.py", "--train", "corpus.txt", "--save", "."], None)[0] in (2, 141)


@pytest.mark.skipif(os.name == "nt", reason="a terminal of POSIX")
def test_on_a_terminal_there_is_colour_and_a_progress_bar():
    import pty
    script = ("import sys, time; from lesson_1_tokens import *; from lesson_2_coding_tokenizer import progress\n"
              "print(show_tokens(['a', 'b']))\nfor _ in progress(range(4), 'waiting'): time.sleep(0.3)\n")
    for no_color in ("", "1"):
        master, terminal = pty.openpty()
        subprocess.run([sys.executable, "-c", script], cwd=HERE, stdin=terminal, stdout=terminal, stderr=terminal, timeout=60,
                       env={**os.environ, "NO_COLOR": no_color, "TERM": "xterm-256color"})
        os.close(terminal)
        said = os.read(master, 100_000).decode()
        os.close(master)
        assert ("\033[30;48;5;" in said) != bool(no_color)
        assert "waiting" in said and "s left" in said


def test_lesson_3_draws_a_map_and_opens_the_vectors_of_a_model(tmp_path, course):
    assert run("lesson_3_embeddings.py", "--svg", tmp_path / "map.svg").returncode == 0
    assert "<text" in (tmp_path / "map.svg").read_text(encoding="utf-8")
    model = HERE / "model"
    said = [run("lesson_3_embeddings.py", " dog", *more).stdout for more in
            ([], ["--tokenizer", model / "tokenizer.json", "--embeddings", model / "model.safetensors"])]
    assert said[0] == said[1] and said[0].startswith("·dog")
    assert run("lesson_1_tokens.py", "-", stdin="The cat").stdout == run("lesson_1_tokens.py", "The cat").stdout


@pytest.mark.parametrize("arguments, says", [
    (["lesson_1_tokens.py", "a", "b"], "unrecognized arguments: b"),
    (["lesson_2_coding_tokenizer.py", "--train", "corpus.txt", "--vocab-size", "x"], "takes a whole number, not 'x'"),
    (["lesson_2_coding_tokenizer.py", "--vocab-size", "9"], "goes with --train"),
    (["lesson_2_coding_tokenizer.py", "--tokenizer", "model/tokenizer.json"], "a text is missing"),
    (["lesson_2_coding_tokenizer.py", "--train", "no such file"], "no such file: No such file"),
    (["lesson_2_coding_tokenizer.py", "--train", "."], "Is a directory"),
    (["lesson_2_coding_tokenizer.py", "--train", "corpus.txt", "--vocab-size", "255"], "too small"),
    (["lesson_2_coding_tokenizer.py", "a", "--tokenizer", "corpus.txt"], "can't be opened as a tokenizer.json"),
    (["lesson_3_embeddings.py", "a", "--tokenizer", "x"], "belong together"),
    (["lesson_4_sampling.py", "a", "--temperature", "-1"], "temperature must be a number from 0 up"),
    (["lesson_4_sampling.py", "a", "--temperature", "nan"], "temperature must be a number from 0 up"),
    (["lesson_4_sampling.py", "a", "--top-k", "0"], "top-k must keep at least 1"),
    (["lesson_4_sampling.py", "a", "--top-p", "1.5"], "top-p must be above 0"),
    (["lesson_1_tokens.py", "--check", "no such file"], "no such file: No such file"),
    (["lesson_1_tokens.py", "--check", "model/model.safetensors"], "is not UTF-8"),
    (["lesson_2_coding_tokenizer.py", "--train", "corpus.txt", "--tokenizer", "x"], "choose one of them"),
    (["lesson_4_sampling.py", "--explain"], "a text is missing, to go on with"),
    (["lesson_4_sampling.py", "a", "--seed", "x"], "seed takes a whole number")])
def test_bad_input_gets_one_sentence_and_status_2(arguments, says, course):
    ended = run(*arguments)
    assert ended.returncode == 2 and says in ended.stderr and "Traceback" not in ended.stderr


# --- lesson 2 --------------------------------------------------------------------------------

def test_the_fast_trainer_learns_what_the_simple_one_learns():
    texts = [one.read_text(one.CORPUS)[:20_000], *random_texts(40, seed=1), "aaaa" * 50, ""]
    texts += ["".join(random.Random(seed).choices("ab ", k=300)) for seed in range(20)]
    for text in texts:
        simple = two.train_merges_simply(text, 320)
        assert list(two.train_merges(text, 320).items()) == list(simple.items())


def test_a_class_of_a_pattern_is_what_unicodedata_says():
    characters = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    text = "".join(characters)
    for pattern, name in ((r"\p{L}", "L"), (r"[^\P{Lu}]", "Lu"), (r"[\p{N}]", "N"), (r"\p{Zs}", "Zs"), (r"[^\P{P}]", "P")):
        expected = [c for c in characters if unicodedata.category(c).startswith(name)]
        assert two.compile_pattern(pattern, text).findall(text) == expected


@pytest.mark.parametrize("pattern", [r"\p{Han}", r"[[a]]", r"[a&&b]", "a++", "a?+", "(?>a)", "(?i)a", r"(a)\1", "(", r"\h",
                                     "a{2}+", r"\b", "a\\", "(?P<x>a)(?P<y>b)", "(?m:.)", "a*", "", "a|", "a{2}?", r"\w+",
                                     r"\pL", r"(?i:\p{Lu})", r"(?i:(a)|\p{Lu})", "(?i:i)", "(?i:[a-z])", r"[\x80-\xff]", "[a--b]", "[a||b]", "[a~~b]"])
def test_a_pattern_that_re_reads_otherwise_is_refused(pattern):
    with pytest.raises(ValueError, match="split pattern"):
        two.compile_pattern(pattern, "abc")


def test_long_texts_are_split_like_short_ones():
    part = "The dog's 2 cars,  𝖨 车!\n\n é² İI \t x\x1c y\u2028's\x85's\u2029's z 🌲"
    pattern = r"(?i:'s)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    for pattern in (pattern, two.GPT2_PATTERN):
        once = two.split_words(part + "\n", pattern)
        assert two.split_words((part + "\n") * 5000, pattern) == once * 5000


def test_any_text_comes_back_from_its_ids():
    tokenizer = two.course_tokenizer()
    for text in random_texts(10_000, seed=2):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_the_merge_of_long_words_is_that_of_short_ones():
    tokenizer, rng = two.course_tokenizer(), random.Random(3)
    for _ in range(200):
        word = rng.choice(["the", "aaaa", "ingthe", "e车"]) * rng.randrange(1, 60)
        ids = list(word.encode())
        assert tokenizer._merge(list(ids)) == tokenizer._merge_long(list(ids)) == encode_by_hand(word, tokenizer.merges)


def test_special_tokens_are_plain_text_unless_allowed():
    tokenizer = two.Tokenizer.train("to be or not to be", 262, ["<a>", "<a><b>"])
    assert tokenizer.encode("<a>") == list(b"<a>")
    longest, short = tokenizer.added_tokens["<a><b>"], tokenizer.added_tokens["<a>"]
    assert tokenizer.encode("<a><b><a>", "all") == [longest, short]
    assert tokenizer.encode("<a><b><a>", {"<a>"}) == [short, *b"<b>", short]
    assert tokenizer.decode([longest, short]) == "<a><b><a>"


@pytest.mark.parametrize("wrong", [-1, 10 ** 9, "1", None, 1.0])
def test_what_is_no_id_cannot_be_decoded(wrong):
    with pytest.raises(ValueError, match="no id"):
        two.course_tokenizer().decode([wrong])


def test_one_special_token_is_not_a_set_of_letters():
    with pytest.raises(ValueError, match="set of tokens"):
        two.course_tokenizer().encode("a", allowed_special="<|endoftext|>")
    for wrong in ("<a>", [""]):
        with pytest.raises(ValueError, match="list of strings"):
            two.Tokenizer.train("text", 300, wrong)


@pytest.mark.parametrize("token", ["a", "é", "Ġ", "café"])
def test_a_special_token_cannot_have_the_name_of_another_token(token):
    with pytest.raises(ValueError, match="read as byte letters"):
        two.Tokenizer.train("the then the then", 262, [token])


def test_a_token_that_is_added_twice_takes_nothing_away():
    tokenizer = two.Tokenizer({(232, 189): 256, (256, 166): 257}, added_tokens={"车": 258})
    assert tokenizer.encode("车") == [257] and tokenizer.decode([257, 258]) == "车车"
    assert two.Tokenizer({(104, 101): 300}).decode([300]) == "he"


def test_surrogates_cannot_be_encoded():
    for text in ("\ud800", "abc\udfff"):
        with pytest.raises(ValueError, match="lone surrogate"):
            two.course_tokenizer().encode(text)
        with pytest.raises(ValueError, match="lone surrogate"):
            two.Tokenizer.train(text, 300)


def test_a_saved_tokenizer_is_the_same_when_opened(tmp_path):
    tokenizer = two.course_tokenizer()
    tokenizer.save(tmp_path / "tokenizer.json")
    opened = two.Tokenizer.load(tmp_path / "tokenizer.json")
    assert (opened.merges, opened.vocabulary, opened.patterns) == (tokenizer.merges, tokenizer.vocabulary, tokenizer.patterns)
    for text in random_texts(300, seed=4):
        assert opened.encode(text) == tokenizer.encode(text)
    opened.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()


def test_an_interrupted_save_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "file"
    two.write_whole(path, b"old")

    def interrupt(*_):
        raise KeyboardInterrupt
    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        two.write_whole(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def damaged(data, count, seed):
    """Copies of a file with bytes changed, cut off, left out or doubled."""
    rng = random.Random(seed)
    for _ in range(count):
        copy = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(copy))
            kind = rng.randrange(5)
            if kind == 0:
                copy[at] = rng.randrange(256)
            elif kind == 1:
                copy[at] = rng.choice(b'0123456789"[]{},:nul')
            elif kind == 2:
                del copy[at:at + rng.randrange(1, 20)]
            elif kind == 3:
                copy[at:at] = copy[at:at + rng.randrange(1, 20)]
            else:
                del copy[at:]
            if not copy:
                break
        yield bytes(copy)


def test_damaged_tokenizer_files_are_opened_or_refused(tmp_path):
    path = tmp_path / "tokenizer.json"
    two.Tokenizer.train("the cat and the hat", 262, ["<a>"]).save(path)
    settings = json.loads(path.read_text(encoding="utf-8"))
    small, opened = json.dumps(settings, ensure_ascii=False).encode(), 0
    for data in damaged(small, 2000, seed=5):
        path.write_bytes(data)
        try:
            tokenizer = two.Tokenizer.load(path)
        except ValueError:
            continue
        opened += tokenizer.decode(tokenizer.encode("the cat <a>", "all")) == "the cat <a>"
    assert opened > 40


@pytest.mark.parametrize("change, blamed", [
    (lambda file: file["model"].update(type="WordPiece"), "WordPiece"),
    (lambda file: file["model"].update(type="Unigram"), "Unigram"),
    (lambda file: file["model"]["merges"].append("x yz"), "needs the token 'yz'"),
    (lambda file: file["model"]["merges"].append("x"), "not a pair"),
    (lambda file: file["model"].update(byte_fallback=True), "byte_fallback"),
    (lambda file: file["model"].update(dropout=0.1), "dropout"),
    (lambda file: file["model"]["vocab"].pop("a"), "byte-level|not in its vocabulary"),
    (lambda file: file["model"]["vocab"].update(a=1.5), "no whole number"),
    (lambda file: file["model"]["vocab"].update(a=0), "same id"),
    (lambda file: file.update(normalizer={"type": "Lowercase"}), "Lowercase"),
    (lambda file: file.update(pre_tokenizer={"type": "Whitespace"}), "ByteLevel"),
    (lambda file: file.update(pre_tokenizer=None), "ByteLevel"),
    (lambda file: file["pre_tokenizer"]["pretokenizers"].insert(0, {"type": "Digits"}), "Digits"),
    (lambda file: file["pre_tokenizer"]["pretokenizers"][0].update(behavior="Removed"), "Isolated"),
    (lambda file: file["pre_tokenizer"]["pretokenizers"][0].update(pattern={"String": " "}), "Regex"),
    (lambda file: file["pre_tokenizer"]["pretokenizers"][0]["pattern"].update(Regex="(("), "split pattern"),
    (lambda file: file["pre_tokenizer"]["pretokenizers"][1].update(add_prefix_space=True), "add_prefix_space"),
    (lambda file: file.update(truncation={"max_length": 5}), "truncation"),
    (lambda file: file.update(decoder={"type": "Metaspace"}), "Metaspace"),
    (lambda file: file["added_tokens"][0].update(lstrip=True), "lstrip"),
    (lambda file: file["added_tokens"][0].update(content="e\u0301", normalized=True), "NFC"),
    (lambda file: file["added_tokens"][0].update(id=0), "id of another"),
    (lambda file: file["added_tokens"][0].update(id=-7), "is not one"),
    (lambda file: file["added_tokens"].append({"content": "<b>", "id": file["added_tokens"][0]["id"]}), "id of another"),
    (lambda file: file["added_tokens"].append({"content": "<b>", "id": 999}), "was to be next"),
    (lambda file: file["added_tokens"].append({"content": "é", "id": file["model"]["vocab"]["é"]}), "read as byte letters"),
    (lambda file: file["model"]["vocab"].update({"日本": 990}), "not in byte letters"),
    (lambda file: file["model"]["vocab"].update({"ĠĠ": 990, "  ": 991}), "not in byte letters"),
    (lambda file: (file["model"]["vocab"].update({"ĠĠ": 262, "  ": 263}),
                   file["added_tokens"].append({"content": "  ", "id": 263})), "same bytes"),
    (lambda file: file["pre_tokenizer"]["pretokenizers"][0]["pattern"].update(Regex="\ud800"), "lone surrogate"),
    (lambda file: file.pop("model"), "'model'")])
def test_a_file_that_asks_for_something_else_is_refused_by_name(change, blamed, tmp_path):
    path = tmp_path / "tokenizer.json"
    two.Tokenizer.train("the cat and the hat", 262, ["<a>"]).save(path)
    file = json.loads(path.read_text(encoding="utf-8"))
    change(file)
    path.write_text(json.dumps(file), encoding="utf-8")
    with pytest.raises(ValueError, match=blamed):
        two.Tokenizer.load(path)


def test_files_in_other_forms_mean_the_same(tmp_path):
    path = tmp_path / "tokenizer.json"
    tokenizer = two.Tokenizer.train("the cat and the hat", 270)
    tokenizer.save(path)
    file = json.loads(path.read_text(encoding="utf-8"))
    file["model"]["merges"] = [merge.split(" ") for merge in file["model"]["merges"]]
    file["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False}
    file["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "NFC"}]}
    path.write_text(json.dumps(file), encoding="utf-8")
    opened = two.Tokenizer.load(path)
    assert opened.merges == tokenizer.merges and opened.patterns == tokenizer.patterns
    assert opened.encode("the cafe\u0301") == tokenizer.encode("the caf\u00e9")
    file["model"]["vocab"]["them"] = 9999
    for ignore_merges, ids in ((False, tokenizer.encode("them")), (True, [9999])):
        file["model"]["ignore_merges"] = ignore_merges
        path.write_text(json.dumps(file), encoding="utf-8")
        assert two.Tokenizer.load(path).encode("them") == ids


@pytest.mark.skipif(not (QWEN / "expected.jsonl").exists(), reason="needs Qwen2.5's tokenizer.json and expected.jsonl")
def test_the_ids_of_qwen_are_those_of_hugging_face():
    tokenizer = two.Tokenizer.load(QWEN / "tokenizer.json")
    assert len(tokenizer) == 151665
    for line in (QWEN / "expected.jsonl").read_text(encoding="utf-8").splitlines():
        expected = json.loads(line)
        assert tokenizer.encode(expected["text"], allowed_special="all") == expected["ids"]


def test_training_from_the_command_line(tmp_path):
    (tmp_path / "text").write_text("the cat", encoding="utf-8")
    ended = run("lesson_2_coding_tokenizer.py", "the", "--train", tmp_path / "text", "--save", tmp_path / "t.json")
    assert ended.returncode == 0 and "no more pairs" in ended.stdout
    assert len(two.Tokenizer.load(tmp_path / "t.json")) < 270


# --- lesson 3 --------------------------------------------------------------------------------

def random_model(rng, vocab_size=7, half=5):
    model = three.EmbeddingModel.untrained(vocab_size, 2 * half, [1, 2, 1, 2, 3, 3, 3, 3])
    for vectors in (model.inputs, model.outputs):
        vectors[:] = [[rng.gauss(0, 1) for _ in row] for row in vectors]
    model.pairs = {pair: [rng.gauss(0, 1) for _ in vector] for pair, vector in model.pairs.items()}
    model.biases = [rng.gauss(0, 1) for _ in model.biases]
    return model


def numbers_of(model):
    return [*model.inputs, *model.outputs, *model.pairs.values(), model.biases]


def average_steps(model, ids, right, candidates):
    """How far a step at rate 1 moves each number, averaged over several draws of candidates."""
    before, moved = list(chain.from_iterable(numbers_of(model))), 0
    totals = [0.0] * len(before)
    for moved, stands_for in enumerate(candidates, 1):
        copy = three.EmbeddingModel([*model.inputs], [*model.outputs], [*model.biases], dict(model.pairs))
        copy.step(ids, right, rate=1.0, stands_for=stands_for)
        totals = [total + old - new for total, old, new in zip(totals, before, chain.from_iterable(numbers_of(copy)))]
    return [total / moved for total in totals]


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
    steps = average_steps(model, ids, right, [None])
    assert max(abs(slope - step) for slope, step in zip(slopes, steps)) < 1e-6 * max(map(abs, slopes))


def test_a_step_with_many_drawn_candidates_is_the_exact_one():
    rng = random.Random(5)
    text = [1, 2] * 9 + rng.choices(range(7), k=200)
    model, draw = random_model(rng), three.candidate_drawer(text, 4000, rng)
    exact = average_steps(model, [1, 2], 4, [None])
    drawn = average_steps(model, [1, 2], 4, [draw(2, 4) for _ in range(30)])
    assert max(abs(x - y) for x, y in zip(exact, drawn)) < 0.05 * max(map(abs, exact))


def test_the_same_seed_gives_the_same_file(tmp_path):
    script = ("import sys; sys.path.insert(0, sys.argv[1]); import lesson_3_embeddings as three\n"
              "ids = list(b'the dog ran. the cat sat. ') * 9\n"
              "three.train_model(ids, 128, dimensions=8, passes=1, seed=5).save(sys.argv[2])")
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert run("-c", script, HERE, tmp_path / name, PYTHONHASHSEED=seed).returncode == 0
    assert len({(tmp_path / name).read_bytes() for name in "abc"}) == 1
    assert three.train_model(list(b"abcabcabc"), 128, dimensions=4, seed=1).inputs != \
        three.train_model(list(b"abcabcabc"), 128, dimensions=4, seed=2).inputs


def test_the_model_has_learned_the_sky(course):
    tokenizer, model = course
    probabilities = three.softmax(model.logits(tokenizer.encode(PROMPT)))
    ranked = sorted(range(len(probabilities)), key=probabilities.__getitem__, reverse=True)
    words = [tokenizer.decode([id]) for id in ranked[:10]]
    assert words[0] == " blue" and " clear" in words
    assert probabilities[tokenizer.encode(" apple")[0]] < 0.001


class Trigram:
    """Kneser and Ney's trigram, interpolated: how often three tokens, two and one were met, each discounted."""

    def __init__(self, ids, vocab_size, discount=0.8):
        self.vocab_size, self.discount = vocab_size, discount
        threes, twos = Counter(zip(ids, ids[1:], ids[2:])), set(zip(ids, ids[1:]))
        self.after_two, self.after_one, self.alone = {}, {}, Counter(last for _, last in twos)
        for (a, b, c), count in threes.items():
            self.after_two.setdefault((a, b), Counter())[c] += count
            self.after_one.setdefault(b, Counter())[c] += 1

    def probabilities(self, ids):
        shares = [1 / self.vocab_size] * self.vocab_size
        for counts in (self.alone, self.after_one.get(ids[-1]), self.after_two.get(tuple(ids[-2:]))):
            if counts:
                total = sum(counts.values())
                shares = [self.discount * len(counts) * share / total for share in shares]
                for id, count in counts.items():
                    shares[id] += max(count - self.discount, 0) / total
        return shares

    def logits(self, ids):
        return [math.log(share) for share in self.probabilities(ids)]


def test_the_model_beats_a_trigram_and_the_compressors_on_stories_it_has_not_seen(course):
    import bz2
    import lzma
    tokenizer, model = course
    seen, held_out = one.corpus_stories()
    trigram, surprise = Trigram(three.story_ids(tokenizer, seen), len(tokenizer)), 0.0
    assert math.isclose(sum(trigram.probabilities([5, 300])), 1)
    for story in held_out:
        ids = three.story_ids(tokenizer, [story])
        surprise += sum(three.bits(trigram.probabilities(ids[:place])[ids[place]]) for place in range(1, len(ids)))
    size = len("\n\n".join([*held_out, ""]).encode())
    loss = three.bits_per_byte(model, tokenizer, held_out)
    assert loss < 1.75 and loss < surprise / size - 0.02
    seen, held_out = ("\n\n".join(stories).encode() for stories in (seen, held_out))
    for compress in (zlib.compress, lzma.compress, bz2.compress):
        assert loss < 8 * (len(compress(seen + b"\n\n" + held_out)) - len(compress(seen))) / size


def test_the_record_of_the_training_shows_that_it_learned(course):
    record = json.loads(course[1].metadata["record"])
    assert [row["pass"] for row in record] == [0, 1, 2, 3, 4]
    for name in ("seen", "held_out"):
        assert all(after[name] < before[name] for before, after in zip(record, record[1:]))
    assert len({row["text"] for row in record}) == len(record)


def test_neighbours_are_of_the_same_kind(course):
    kinds = ["dog cat fox horse bird duck cow mouse fish owl sheep dogs cats horses birds",
             "red blue green white black yellow grey brown gold",
             "boy girl man woman mother father sister brother grandmother grandfather teacher farmer driver doctor child "
             "uncle cousin painter neighbor friend king",
             "house garden school kitchen street village hill lake river park forest road town field yard barn farm city",
             "car train bus truck boat bike plane", "run walk sit play stay sleep read stand go come jump fly talk get move"]
    tokenizer, model = course
    words = ("dog cat fox horse bird red blue green white boy girl mother teacher house school garden "
             "train boat run walk").split()
    good = 0
    for word in words:
        id, = tokenizer.encode(" " + word)
        near = {tokenizer.decode([other]).strip() for other, _ in three.nearest(model.embeddings[id], model.embeddings, 6)}
        kind = next(set(kind.split()) for kind in kinds if word in kind.split())
        good += bool((near - {word}) & kind)
    assert good >= 16


def test_a_token_that_training_never_met_is_no_neighbour(course):
    model = three.train_model(list(b"abcabdabc" * 9), 128, dimensions=8, passes=1)
    met = {id for id, _ in three.nearest(model.embeddings[97], model.embeddings, 128)}
    assert met == set(b"abcd")
    assert not any(course[1].embeddings[255]) and "never met" in run("lesson_3_embeddings.py", "\x01").stdout


def test_vectors_that_cannot_be_compared():
    with pytest.raises(ValueError, match="3 and 2"):
        three.dot([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="no direction"):
        three.cosine_similarity([0, 0], [1, 2])
    with pytest.raises(ValueError, match="no direction"):
        three.nearest([0, 0], [[1, 2]], 1)
    assert three.nearest([1, 1], [[0, 0], [1, 0], [0, 1], [2, 2]], 9) == [
        (3, pytest.approx(1)), (1, pytest.approx(0.5 ** 0.5)), (2, pytest.approx(0.5 ** 0.5))]
    for wrong in (-1, 2, "0", 1.0):
        with pytest.raises(ValueError, match="no row"):
            three.lookup([[1.0], [2.0]], [wrong])


@pytest.mark.parametrize("size", [1e-300, 1e-170, 1.0, 1e170, 1e300])
def test_vectors_of_any_size_are_compared_by_their_direction(size):
    assert three.cosine_similarity([size, 0], [size, size]) == pytest.approx(0.5 ** 0.5)
    near = three.nearest([size, 2 * size], [[size, 0], [size, 2 * size], [0, -size]], 3)
    assert [id for id, _ in near] == [1, 0, 2] and near[0][1] == pytest.approx(1)


def test_training_on_nonsense_is_refused():
    for ids in ([], [1], [1, 128], [1, -1], [1, "2"]):
        with pytest.raises(ValueError, match="training needs"):
            three.train_model(ids, 128)
    for wrong in ({"dimensions": 3}, {"dimensions": 0}, {"passes": 0}):
        with pytest.raises(ValueError, match="training needs"):
            three.train_model([1, 2, 3], 128, **wrong)
    with pytest.raises(ValueError, match="run away"):
        three.train_model(list(b"abcab") * 40, 128, rate=1e9, dimensions=4)


def test_safetensors_of_all_types(tmp_path):
    numbers = [1.5, -2.0, 0.25, 6.0]
    for dtype in ("F64", "F32", "F16"):
        three.write_safetensors(tmp_path / "file", {"m": (dtype, (2, 2), numbers)}, {"who": "me"})
        assert three.read_safetensors(tmp_path / "file")["m"].row(1) == [0.25, 6.0]
    upper_halves = b"".join(struct.pack("<f", number)[2:] for number in numbers)
    write_header(tmp_path / "file", {"m": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]},
                                     "odd": {"dtype": "F8_E4M3", "shape": [3], "data_offsets": [8, 11]}}, upper_halves + b"abc")
    tensors = three.read_safetensors(tmp_path / "file")
    assert list(tensors["m"]) == [[1.5, -2.0], [0.25, 6.0]] and (tensors["m"].dtype, tensors["m"].shape) == ("BF16", (2, 2))
    with pytest.raises(ValueError, match="F8_E4M3"):
        tensors["odd"].row(0)
    for wrong in (-1, 2, "0"):
        with pytest.raises(ValueError, match="no row"):
            tensors["m"].row(wrong)


def test_hugging_face_reads_what_the_lesson_writes(tmp_path):
    safetensors = pytest.importorskip("safetensors")
    pytest.importorskip("numpy")
    model = random_model(random.Random(3))
    model.save(tmp_path / "model.safetensors")
    with safetensors.safe_open(tmp_path / "model.safetensors", "np") as file:
        assert file.get_tensor("embeddings").tolist() == model.embeddings
        assert file.get_tensor("pairs").tolist() == [list(pair) for pair in model.pairs]


def write_header(path, header, numbers=b""):
    data = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(data).to_bytes(8, "little") + data + numbers)


@pytest.mark.parametrize("header, size", [
    (b"", 0), (b"[]", 0), (b"{", 0), (b'{"a": 1}', 0), (b"\xff\xfe", 0), (b"[" * 100_000, 0),
    ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, 7),
    ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, 9),
    ({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, 8),
    ({"a": {"dtype": "F8", "shape": [8], "data_offsets": [8, 0]}}, 8),
    ({"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, -8]}}, 8),
    ({"a": {"dtype": "F32", "shape": [2 ** 62, 2 ** 62, 0], "data_offsets": [8, 8]}}, 8),
    ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
      "b": {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]}}, 6),
    ({"a": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}}, 4),
    ({"a": {"dtype": "F32", "shape": 1, "data_offsets": [0, 4]}}, 4)])
def test_a_hostile_header_is_refused(header, size, tmp_path):
    write_header(tmp_path / "file", header, bytes(size))
    for read in (three.read_safetensors, three.header_of, three.EmbeddingModel.load):
        with pytest.raises(ValueError):
            read(tmp_path / "file")


def test_a_header_longer_than_the_file_allocates_nothing(tmp_path):
    (tmp_path / "file").write_bytes((2 ** 63).to_bytes(8, "little") + b"{}")
    with pytest.raises(ValueError, match="header would end"):
        three.read_safetensors(tmp_path / "file")


def test_a_number_that_is_none_is_refused(tmp_path):
    three.write_safetensors(tmp_path / "file", {"m": ("F32", (2, 1), [1.0, math.nan])}, {})
    tensor = three.read_safetensors(tmp_path / "file")["m"]
    assert tensor.row(0) == [1.0]
    with pytest.raises(ValueError, match="row 1"):
        tensor.row(1)


def test_damaged_safetensors_are_read_or_refused(tmp_path):
    path = tmp_path / "file"
    three.write_safetensors(path, {"a": ("F32", (3, 2), range(6)), "b": ("F16", (2,), [1, 2])}, {"k": "v"})
    opened = 0
    for data in damaged(path.read_bytes(), 2000, seed=7):
        path.write_bytes(data)
        try:
            for tensor in three.read_safetensors(path).values():
                opened += len(list(tensor)) == tensor.shape[0]
        except ValueError:
            pass
    assert opened > 40


def test_a_damaged_model_is_never_trusted(tmp_path):
    path = tmp_path / "model.safetensors"
    random_model(random.Random(8)).save(path)
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1:])
        with pytest.raises(ValueError):
            three.EmbeddingModel.load(path)


@pytest.mark.parametrize("name, tensor", [("biases", ("F64", (6,), [0.0] * 6)), ("pairs", ("I32", (1, 2), [1, 7])),
                                          ("embeddings", ("F64", (7, 3), [0.0] * 21)), ("other", ("F64", (1,), [0.0]))])
def test_a_model_of_wrong_shapes_is_refused_though_its_checksum_is_right(name, tensor, tmp_path):
    tensors = {"embeddings": ("F64", (7, 4), [0.0] * 28), "biases": ("F64", (7,), [0.0] * 7),
               "pairs": ("I32", (1, 2), [1, 2]), "pair_vectors": ("F64", (1, 2), [0.0] * 2)}
    three.write_safetensors(tmp_path / "file", tensors, {})
    assert three.EmbeddingModel.load(tmp_path / "file").logits([1]) == [0.0] * 7
    three.write_safetensors(tmp_path / "file", {**tensors, name: tensor}, {})
    with pytest.raises(ValueError, match="no model of this lesson"):
        three.EmbeddingModel.load(tmp_path / "file")


def test_a_loaded_model_learns_on_and_is_saved_and_opened_again(tmp_path):
    path = tmp_path / "model.safetensors"
    random_model(random.Random(8)).save(path)
    for _ in range(2):
        model = three.EmbeddingModel.load(path)
        model.step([1, 2], right=3, rate=0.5)
        model.save(path)
        assert three.EmbeddingModel.load(path).embeddings == model.embeddings


def test_the_course_model_is_rebuilt_when_it_must_be(tmp_path, monkeypatch, capsys):
    folder, trained = tmp_path / "model", []
    monkeypatch.setattr(three, "MODEL_FOLDER", folder)

    def learn_quickly(seen, held_out):
        trained.append(len(seen))
        return two.course_tokenizer(), three.EmbeddingModel.untrained(two.COURSE_VOCAB_SIZE, 4)
    monkeypatch.setattr(three, "_learn", learn_quickly)
    course_model = three.course_model.__wrapped__
    course_model()
    capsys.readouterr()
    course_model()
    assert len(trained) == 1 and capsys.readouterr().err == ""
    for name in ("tokenizer.json", "model.safetensors"):
        path = folder / name
        path.write_bytes(path.read_bytes()[:-9] + b"         ")
        course_model()
        assert "training again" in capsys.readouterr().err
        path.unlink()       # as if it was stopped between the two files
        if name == "tokenizer.json":
            course_model()
    assert len(trained) == 4


def test_an_edit_of_the_code_trains_anew_and_a_mended_sentence_does_not(tmp_path, monkeypatch):
    names = {three.fingerprint()}
    for name in ["corpus.txt", *(lesson.name for lesson in LESSONS[:3])]:
        (tmp_path / name).write_bytes((HERE / name).read_bytes())
    monkeypatch.setattr(three, "HERE", tmp_path)
    lesson = tmp_path / "lesson_3_embeddings.py"
    code = lesson.read_text(encoding="utf-8")
    for old, new, same in (("", "", True), ("Every token becomes a vector", "Tokens become vectors", True),
                           ("# how much of", "# which part of", True), ("SHRINK = 0.02", "SHRINK = 0.03", False)):
        lesson.write_text(code.replace(old, new, 1), encoding="utf-8")
        assert (three.fingerprint() in names) == same


def test_a_model_of_somebody_else_is_never_touched(tmp_path, course, monkeypatch, capsys):
    path = tmp_path / "model.safetensors"
    three.write_safetensors(path, {"wte": ("F32", (2, 2), range(4))}, {"format": "pt"})
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    before = [file.read_bytes() for file in sorted(tmp_path.iterdir())]
    monkeypatch.setattr(three, "MODEL_FOLDER", tmp_path)
    monkeypatch.setattr(three, "_learn", lambda seen, held_out: course)
    assert three.course_model.__wrapped__() == course
    assert "not made by this lesson" in capsys.readouterr().err
    path.unlink()
    with pytest.raises(ValueError, match="not made by this lesson"):
        three.save_model(tmp_path, *course)
    assert (tmp_path / "tokenizer.json").read_bytes() == before[-1]


def test_threads_that_save_at_once_leave_a_whole_model(tmp_path, course):
    def save():
        for _ in range(2):
            three.save_model(tmp_path, course[0], random_model(random.Random(4)))
    threads = [threading.Thread(target=save) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    three.load_model(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "tokenizer.json"]


@pytest.mark.parametrize("text", [b"\xef\xbb\xbf" + b"\r\n\r\n".join(b"The dog number %d ran." % n for n in range(20)),
                                  b"\n".join(b"A line with %d cats." % n for n in range(30))])
def test_a_text_of_your_own_is_learned_and_opened(text, tmp_path):
    (tmp_path / "my.txt").write_bytes(text)
    ended = run("lesson_3_embeddings.py", "--train", tmp_path / "my.txt", "--save", tmp_path / "model", "--vocab-size", 280,
                "--dimensions", 8, "--passes", 2)
    assert ended.returncode == 0 and "takes about" in ended.stderr and "after pass 2" in ended.stderr
    tokenizer, model = three.load_model(tmp_path / "model")
    assert "\r" not in tokenizer.decode(sorted(tokenizer.vocabulary.values())[256:])
    assert len(model.logits(tokenizer.encode("The"))) == len(tokenizer) == 280


def test_what_cannot_be_trained_on_is_refused_before_it_starts(tmp_path):
    (tmp_path / "my.txt").write_text("Just one story.", encoding="utf-8")
    for arguments, says in ((["--save", tmp_path / "model"], "ten stories"), ([], "--save FOLDER"),
                            (["--save", tmp_path / "model", "--dimensions", 3], "even number")):
        ended = run("lesson_3_embeddings.py", "--train", tmp_path / "my.txt", *arguments)
        assert ended.returncode == 2 and says in ended.stderr and not (tmp_path / "model").exists()


def test_vectors_of_another_tokenizer_are_refused(course):
    tensors = {"wte": three.Tensor("", "wte", "F32", (151936, 896), 0)}
    assert three.find_embeddings(tensors, 151665).name == "wte"
    for size in (len(course[0]), 151937):
        with pytest.raises(ValueError, match="same model"):
            three.find_embeddings(tensors, size)


def test_labels_of_a_map_do_not_overlap_and_chinese_ones_are_aligned():
    rng = random.Random(9)
    labels = ["车" * rng.randrange(1, 5) if rng.random() < 0.3 else "w" * rng.randrange(1, 9) for _ in range(60)]
    vectors = [[rng.gauss(0, 1) for _ in range(5)] for _ in labels]
    taken, places = Counter(), three._place_labels(labels, vectors, 76, 22)
    for label, (row, column) in zip(labels, places):
        assert 0 <= row < 22 and column + three.display_width(label) <= 76
        taken.update((row, column + step) for step in range(three.display_width(label)))
    assert max(taken.values()) == 1
    lines = three.draw_map(labels, vectors, 76, 22).split("\n")
    first = min(row for row, _ in places)
    for label, (row, column) in zip(labels, places):
        at = [place for place in range(len(lines[row - first])) if three.display_width(lines[row - first][:place]) == column]
        assert any(lines[row - first].startswith(label, place) for place in at)


def test_both_axes_of_a_map_have_the_same_scale():
    corners = [[0, 0], [8, 0], [0, 2], [8, 2]]
    places = three._place_labels(["a", "b", "c", "d"], corners, 60, 20)
    (low, left), (high, right) = map(min, zip(*places)), map(max, zip(*places))
    assert abs((right - left) / (2 * (high - low)) - 4) < 0.5


@pytest.mark.parametrize("rows", [[[0, 0], [1, -2], [2, -4], [3, -6]], [[0, 0], [1, 1]], [[0, 3], [0, -3], [1, 0], [-1, 0]]])
def test_principal_components_of_few_points(rows):
    first, second = three.principal_components(rows)
    assert three.length(first) == pytest.approx(1) and abs(three.dot(first, second)) < 1e-9
    spread = [sum(three.dot(row, axis) ** 2 for row in rows) for axis in (first, second)]
    assert spread[0] > spread[1]


def test_principal_components_are_orthogonal_and_strongest():
    rng = random.Random(10)
    matrix = [[3 * rng.gauss(0, 1), rng.gauss(0, 1), 9 * rng.gauss(0, 1), 0.1] for _ in range(400)]
    first, second = three.principal_components(matrix)
    assert abs(first[2]) > 0.99 and abs(second[0]) > 0.99 and abs(three.dot(first, second)) < 1e-9


# --- lesson 4 --------------------------------------------------------------------------------

def plain_softmax(logits, temperature):
    powers = [math.exp(logit / temperature) for logit in logits]
    return [power / sum(powers) for power in powers]


def test_softmax_by_its_definition():
    rng = random.Random(11)
    for _ in range(200):
        logits = [rng.uniform(-20, 20) for _ in range(rng.randrange(1, 50))]
        temperature = rng.uniform(0.2, 5)
        assert four.softmax(logits, temperature) == pytest.approx(plain_softmax(logits, temperature), abs=1e-12)


def test_softmax_at_the_edges():
    inf, nan = math.inf, math.nan
    assert four.softmax([1.0, 3.0, 3.0], 0) == [0, 1, 0]
    assert four.softmax([1e308, -1e308, -inf]) == [1, 0, 0]
    assert four.softmax([0.0, inf]) == [0, 1] and four.softmax([inf, 0.0, inf]) == [0.5, 0, 0.5]
    assert four.softmax([0.0, -5.0], 1e-320) == [1, 0]
    for logits, temperature in (([], 1), ([-inf], 1), ([0.0, nan], 1), ([0.0], -1), ([0.0], nan), ([0.0], inf)):
        with pytest.raises(ValueError):
            four.softmax(logits, temperature)


def test_filters_by_their_definition():
    rng = random.Random(12)
    for _ in range(300):
        probabilities = four.normalize([rng.random() ** 4 + 1e-9 for _ in range(rng.randrange(1, 60))])
        k, p = rng.randrange(1, 70), rng.uniform(0.01, 1)
        ranked = sorted(range(len(probabilities)), key=lambda id: (-probabilities[id], id))
        kept = {"k": set(ranked[:k]), "min": {id for id in ranked if probabilities[id] >= p * probabilities[ranked[0]]},
                "top": {id for place, id in enumerate(ranked) if sum(probabilities[i] for i in ranked[:place]) < p}}
        for name, filtered in (("k", four.keep_top_k(probabilities, k)), ("min", four.keep_min_p(probabilities, p)),
                               ("top", four.keep_top_p(probabilities, p))):
            assert {id for id, share in enumerate(filtered) if share} == kept[name]
            total = sum(probabilities[id] for id in kept[name])
            assert filtered == pytest.approx([share / total if id in kept[name] else 0
                                              for id, share in enumerate(probabilities)], abs=1e-12)


def test_ties_go_to_the_lower_ids():
    assert four.keep_top_k([0.25] * 4, 3) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    assert four.greedy([0.2, 0.4, 0.4]) == 1
    assert four.keep_top_p([0.25] * 4, 0.5) == [0.5, 0.5, 0, 0]


@pytest.mark.parametrize("call", [
    lambda: four.keep_top_k([1.0], 0), lambda: four.keep_top_k([1.0], -3), lambda: four.keep_top_k([1.0], math.nan),
    lambda: four.keep_top_p([1.0], 0), lambda: four.keep_top_p([1.0], 1.1), lambda: four.keep_top_p([1.0], math.nan),
    lambda: four.keep_min_p([1.0], 0), lambda: four.keep_min_p([1.0], -1), lambda: four.greedy([]),
    lambda: four.greedy([0.0, 0.0]), lambda: four.sample([-0.5, 1.0], random.Random(0)),
    lambda: four.sample([math.nan, 1.0], random.Random(0)), lambda: four.sample([], random.Random(0)),
    lambda: four.keep_top_p([math.inf, 1.0], 0.5), lambda: four.keep_top_k([], 1)])
def test_impossible_choices_are_refused(call):
    with pytest.raises(ValueError):
        call()


@pytest.mark.parametrize("keep", [lambda p: p, lambda p: four.keep_top_k(p, 5), lambda p: four.keep_top_p(p, 0.7),
                                  lambda p: four.keep_min_p(p, 0.2)])
def test_draws_are_as_frequent_as_their_probabilities(keep):
    probabilities = keep(four.normalize([1 / (1 + id) for id in range(12)]))
    rng, draws = random.Random(13), 20_000
    counts = Counter(four.sample(probabilities, rng) for _ in range(draws))
    possible = [id for id, share in enumerate(probabilities) if share]
    assert set(counts) <= set(possible)
    chi_square = sum((counts[id] - draws * probabilities[id]) ** 2 / (draws * probabilities[id]) for id in possible)
    freedom = len(possible) - 1
    assert chi_square < freedom + 4 * math.sqrt(2 * freedom)


def test_the_readme_shows_what_one_sees(course):
    shown = re.search(r"`--seed 16`:\n\n((?:    .+\n)+)", (HERE / "README.md").read_text(encoding="utf-8")).group(1)
    assert shown.split() == run("lesson_4_sampling.py", PROMPT, "--seed", "16").stdout.split()


def test_generate_is_the_same_with_the_same_seed_and_stops(course):
    tokenizer, model = course
    texts = ["".join(four.generate(model, tokenizer, PROMPT, seed=seed, temperature=1.0, min_p=None)) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert "".join(four.generate(model, tokenizer, PROMPT, max_new_tokens=0)) == ""
    assert all(two.END_OF_TEXT not in text for text in texts)
    for seed in range(9):       # the end of a story is drawn sooner or later, and nothing comes after it
        steps = sum(1 for _ in four.generate_steps(model, tokenizer, PROMPT, max_new_tokens=400, seed=seed))
        assert 0 < steps < 400


class Spelling:
    """A model that says the tokens of one text, whatever comes before."""

    def __init__(self, ids, vocab_size):
        self.ids, self.vocab_size, self.asked = ids, vocab_size, 0

    def logits(self, ids):
        self.asked += 1
        return [0.0 if id == self.ids[self.asked - 1] else -math.inf for id in range(self.vocab_size)]


def test_a_character_is_held_back_until_it_is_whole():
    tokenizer = two.Tokenizer({}, added_tokens={two.END_OF_TEXT: 256})
    text = "é车🌲!"
    pieces = list(four.generate(Spelling([*text.encode(), 256], 257), tokenizer, "x"))
    assert pieces == list(text)
    unfinished = four.generate(Spelling(list("车".encode()), 257), tokenizer, "x", max_new_tokens=2)
    assert "".join(unfinished) == ""


@pytest.mark.parametrize("prompt", ["", "\n", "日本語 ñ 🦊", "the " * 250_000])
def test_any_prompt_is_gone_on_with(prompt, course):
    tokenizer, model = course
    steps = list(four.generate_steps(model, tokenizer, prompt, max_new_tokens=3, seed=1))
    assert len(steps) <= 3 and all(0 <= id < len(tokenizer) and probabilities[id] > 0 for id, probabilities in steps)


def test_wrong_settings_are_refused_before_the_first_token(course):
    tokenizer, model = course
    for wrong in ({"temperature": -1}, {"top_k": 0}, {"top_p": 0}, {"min_p": 2}, {"max_new_tokens": -1}):
        with pytest.raises(ValueError):
            four.generate(model, tokenizer, PROMPT, **wrong)


def test_chat_turns_knobs_and_ends(course):
    said = run("lesson_4_sampling.py", "--chat", "--seed", "1", "--max-new-tokens", "5",
               stdin="/temperature 0\n" + PROMPT + "\n/heat 1\n/top-k 0\n\n").stdout
    assert PROMPT + " blue" in said and "no setting 'heat'" in said and "top-k must keep" in said


def test_the_first_run_and_the_second_say_the_same(tmp_path, course):
    for name in [*LESSONS, one.CORPUS]:
        (tmp_path / name.name).write_bytes(name.read_bytes())
    texts = [run("lesson_4_sampling.py", PROMPT, "--seed", "3", cwd=tmp_path) for _ in range(2)]
    assert texts[0].stdout == texts[1].stdout and PROMPT in texts[0].stdout
    assert "bits per byte" in texts[0].stderr and texts[1].stderr == ""

# --- your turn -------------------------------------------------------------------------------

def words_without_signs(text):
    return re.findall(r" ?[^\W\d_]+| ?\d+|[\s\S]", text)


def encode_by_hand(text, merges):
    ids = []
    for word in two.split_words(text):
        part = list(two.text_to_bytes(word))
        while any(pair in merges for pair in zip(part, part[1:])):
            first = min(zip(part, part[1:]), key=lambda pair: merges.get(pair, math.inf))
            part = two.merge_pair(part, first, merges[first])
        ids += part
    return ids


def nearest_to_the_parents():
    tokenizer, model = three.course_model()
    ids = [tokenizer.encode(word)[0] for word in (" mother", " father")]
    both = [x + y for x, y in zip(*three.lookup(model.embeddings, ids))]
    return next(tokenizer.decode([id]) for id, _ in three.nearest(both, model.embeddings, 3) if id not in ids)


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
            shares = model.probabilities(beam)
            best = sorted(range(len(shares)), key=shares.__getitem__)[-width:]
            longer += [(surprise + three.bits(shares[id]), [*beam, id]) for id in best]
        beams = sorted(longer)[:width]
    return beams[0][1][len(ids):]


REFERENCE_ANSWERS = {
    one: [["Is", " it", " red?", " ", " Yes."], [0, 1, 2, 3, 1, 2, 1],
          [" sky", " old", " dog", " whole", " small", " little", " big", " long"],
          lambda tokens, vocabulary: sum(token not in vocabulary for token in tokens) / (len(tokens) or 1),
          words_without_signs],
    two: [11, [9, 1, 2, 9], ["lo", "low", " low"],
          lambda tokenizer, text: len(text.encode()) / len(tokenizer.encode(text)) if text else 0, encode_by_hand],
    three: [[1, -1, 0], [10, 16], nearest_to_the_parents, lambda a, b: math.dist(a, b), MixedWithCounts],
    four: [[0.5, 0.25, 0.25], [0, 1, 2], 3, lambda shares: -sum(share * math.log2(share) for share in shares if share),
           beam_search]}
WRONG_ANSWERS = {
    one: [["Is", " it", " red?", "  ", "Yes."], [0, 1, 2, 0, 1, 2, 1], [" sky"] * 8, lambda tokens, vocabulary: math.nan, list],
    two: [10, [1, 9, 2, 9], ["lo", "ow", "we"], lambda tokenizer, text: math.nan, lambda text, merges: []],
    three: [[0, 0, 0], [8, 16], " blue", lambda a, b: math.nan, lambda ids, vocab_size: three.EmbeddingModel.untrained(vocab_size, 2)],
    four: [[1, 0, 0], [0, 1, 2, 3], 0, lambda shares: math.nan, lambda model, ids, count: [1] * count]}


@pytest.mark.parametrize("lesson", REFERENCE_ANSWERS, ids=lambda lesson: lesson.__name__)
def test_exercises_accept_the_reference_answers_and_hint_at_wrong_ones(lesson, course):
    exercises = [getattr(lesson, f"exercise_{number}") for number in range(1, 6)]
    for number, (exercise, right, wrong) in enumerate(zip(exercises, REFERENCE_ANSWERS[lesson], WRONG_ANSWERS[lesson]), 1):
        if (lesson, number) == (three, 3):
            right = right()
        assert exercise(right) == ""
        hint = exercise(wrong)
        assert hint and hint[-1] in ".?"
        assert number > 3 or str(right) not in hint


def test_a_file_of_answers_is_checked_with_one_command(tmp_path):
    (tmp_path / "answers.py").write_text("from lesson_2_coding_tokenizer import *\nanswer_1 = 11\nanswer_2 = [1]\n"
                                         "def answer_4(tokenizer, text):\n    return 1 / 0\n", encoding="utf-8")
    ended = run("lesson_2_coding_tokenizer.py", "--check", tmp_path / "answers.py")
    said = ended.stdout.splitlines()
    assert ended.returncode == 1 and said[0] == "exercise 1: Yes!" and "From the left" in said[1]
    assert "no answer_3" in said[2] and "ZeroDivisionError in line 5" in said[3] and "no answer_5" in said[4]
    for source in ("answer_1 = (", "1 / 0", "import sys\nsys.exit()"):
        (tmp_path / "answers.py").write_text(source, encoding="utf-8")
        ended = run("lesson_2_coding_tokenizer.py", "--check", tmp_path / "answers.py")
        assert ended.returncode == 2 and "line" in ended.stderr and "Traceback" not in ended.stderr
