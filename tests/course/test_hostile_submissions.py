"""No submission gains points that it has not earned, or affects more than the tests of its own function.

Each piece of code here replaces `double`, which is worth 5 points; `total`, also worth 5, is written correctly.
"""

import os
import sys
from pathlib import Path

import pytest

import minires
from minires.course.classroom import grade_class
from minires.course.grading import Grader
from minires.course.sandbox import Limits

pytestmark = pytest.mark.slow

PACKAGE = Path(minires.__file__).parent.parent
HONEST = """

def total(x):
    y = double(x)
    return y.sum(axis=1), y.max(axis=1)
"""

IN_THE_FUNCTION = {
    "a hang": "while True: pass",
    "a hang that sleeps": "import time; time.sleep(1000)",
    "ten gigabytes": "return np.ones(10 * 2**27) * 2",
    "the process ends": "import os; os._exit(0)",
    "the interpreter ends": "raise SystemExit(0)",
    "Ctrl-C": "raise KeyboardInterrupt",
    "a crash": "import sys; sys.setrecursionlimit(10**9)\n    def f(): return f()\n    f()",
    "stdin and stdout are closed": "import os; os.close(0); os.close(1); os.close(2)",
    "everything is closed": "import os; os.closerange(0, 64)",
    "NumPy is patched": "np.allclose = np.isclose = np.array_equal = lambda *a, **k: True; np.asarray = None; return x",
    "NumPy sends nothing": "np.asarray = lambda *a, **k: None; return x",
    "an endless output": "import sys\n    while True: sys.stderr.write('x' * 65536)",
    "an array that equals everything": "class A(np.ndarray):\n        def __eq__(self, other): return True\n"
    "        def __array__(self, *a, **k): return 2 * np.array(0)\n    return x.view(A)",
    "a number that equals everything": "class A:\n        def __eq__(self, other): return True\n"
    "        shape, dtype = x.shape, x.dtype\n    return A()",
    "an error that cannot be shown": "class E(Exception):\n        def __str__(self): raise SystemExit\n    raise E",
    "an error with escape codes": "raise ValueError(chr(27) + '[2J' * 1000)",
    "an object array": "return np.array([{}, []], dtype=object)",
    "a huge answer": "return np.zeros(2**23)",
    "a child process": "import subprocess; subprocess.run(['true'])",
    "a fork": "import os\n    while True: os.fork()",
    "the shell": "import os; os.system('true')",
    "minires itself": "import minires.ops; return (minires.ops.add(x, x)).data",
    "minires by its path": "import sys; sys.path.append(PACKAGE); sys.modules.pop('minires', None)\n"
    "    import minires; return x + x",
    "the reference by its path": "exec(open(REFERENCE).read()); return x + x",
    "the reference, after the guard's constants are emptied": "import sys; m = sys.modules['__main__']\n"
    "    m.OPENING.clear(); m.REFUSED.clear(); exec(open(REFERENCE).read()); return x + x",
    "the reference, after a function of the guard is replaced": "import os\n"
    "    os.fspath = lambda path: 'x'; exec(open(REFERENCE).read()); return x + x",
    "the reference, after a builtin of the guard is replaced": "import builtins\n"
    "    true = builtins.isinstance; builtins.isinstance = lambda *a: True; text = open(REFERENCE).read()\n"
    "    builtins.isinstance = true; exec(text); return x + x",
    "the reference by a path that equals all": "class P(str):\n"
    "        __eq__ = lambda s, o: True; __hash__ = str.__hash__; startswith = lambda *a: True\n"
    "    exec(open(P(REFERENCE)).read()); return x + x",
    "the reference, after the guard is changed through an error": "try: open(REFERENCE)\n"
    "    except OSError as error:\n"
    "        place = error.__traceback__\n"
    "        while place.tb_next: place = place.tb_next\n"
    "        known = place.tb_frame.f_locals\n"
    "        for name in known:\n"
    "            for cell in getattr(known[name], '__closure__', None) or (): cell.cell_contents = ''\n"
    "            try: known[name].clear()\n"
    "            except AttributeError: pass\n"
    "    exec(open(REFERENCE).read()); return x + x",
    "the reference by another path": "exec(open('/proc/self/root' + REFERENCE).read()); return x + x",
    "the grader's memory": "import os; open(f'/proc/{os.getppid()}/environ').read(); return x + x",
    "the grader's command": "import os; open(f'/proc/{os.getppid()}/cmdline').read(); return x + x",
    "the grader is killed": "import os; os.kill(os.getppid(), 9); return x + x",
    "the grader is killed by another way": "import os, signal; "
    "signal.pidfd_send_signal(os.pidfd_open(os.getppid()), 9); return x + x",
    "machine code": "open('m.so', 'wb').write(b'code'); import sys; sys.path.insert(0, '.'); import m; return x + x",
    "a deeply nested answer": "y = 2 * x\n    for _ in range(400): y = [y]\n    return y",
    "a long answer without arrays": "return [1] * 400_000",
    "a database": "import sqlite3; sqlite3.connect(RESULT); return x + x",
    "the network": "import socket; socket.socket(); return x + x",
    "C code": "import ctypes; ctypes.CDLL(None); return x + x",
    "a forged result": "open(RESULT, 'w').write('100'); return x + x",
    "a result is removed": "import os; os.remove(RESULT); return x + x",
    "the guard is searched for": "import gc; gc.get_objects(); return x + x",
    "a large file": "f = open('here', 'wb')\n    f.write(bytes(1 << 22)); f.close(); return x + x",
}

AT_THE_TOP = {
    "the function is no function": "double = 5",
    "forged answers": "import sys\n"
    "session = sys.modules['__main__']\n"
    "double = lambda x: [session.send(stream, {'returned': x, 'arguments': {'x': x}}) or x\n"
    "                    for stream in [open(n, 'wb', closefd=False) for n in range(3, 12) if good(n)]][0]\n"
    "def good(n):\n"
    "    import os\n"
    "    try: return os.fstat(n).st_mode & 0o170000 == 0o010000 and n % 2 == 0\n"
    "    except OSError: return False",
}

ANSWER = '{"entries": {"arguments": {"entries": {}}, "returned": {"array": "%s", "shape": %s}}}'
RAW_MESSAGES = {  # the JSON, and how many bytes it has and how many follow it, if that is not true
    "a bomb": (ANSWER % ("<f8", [1 << 40]), None, 0),
    "an array larger than its numbers": (ANSWER % ("<f8", [3]), None, 16),
    "an array of negative size": (ANSWER % ("<f8", [-1, 8]), None, 64),
    "an array of Python objects": (ANSWER % ("|O", [8]), None, 64),
    "an array of what NumPy does not know": (ANSWER % ("<f3", [1]), None, 64),
    "a claim of a large answer": (ANSWER % ("<f8", [2]), None, 1 << 50),
    "a claim of a long text": (ANSWER % ("<f8", [2]), 1 << 50, 0),
    "no JSON": ("no JSON", None, 0),
    "a list": ('{"items": []}', None, 0),
    "lists of JSON": ('{"entries": {"arguments": {"entries": {}}, "returned": [[1.0], [1.0, 2.0]]}}', None, 0),
    "a number": ("1", None, 0),
    "brackets without end": ("[" * 100_000, None, 0),
    "a question without a name": ('{"entries": {"ask": {"array": "<f8", "shape": [8]}}}', None, 64),
}

posix = pytest.mark.skipif(os.name != "posix", reason="limits and signals are POSIX's")


@pytest.fixture
def result_file(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("0")
    return path


@posix
@pytest.mark.parametrize("what", IN_THE_FUNCTION)
def test_what_a_function_does_costs_its_own_points_only(grade, toy, result_file, what):
    known = f"PACKAGE, REFERENCE, RESULT = {[str(PACKAGE), str(toy.folder / 'reference.py'), str(result_file)]}"
    result = grade(f"import numpy as np\n{known}\n\n\ndef double(x):\n    {IN_THE_FUNCTION[what]}\n{HONEST}")
    assert [each.score for each in result.questions] == [0, 5], result.as_json()
    assert result.complete and not result.problem
    assert result_file.read_text() == "0"


@posix
@pytest.mark.parametrize("what", AT_THE_TOP)
def test_what_a_file_defines_costs_its_own_points_only(grade, what):
    result = grade(f"{AT_THE_TOP[what]}\n{HONEST}")
    assert [each.score for each in result.questions] == [0, 5], result.as_json()


@posix
@pytest.mark.parametrize("what", RAW_MESSAGES)
def test_what_is_no_message_costs_its_own_points_only(grade, what):
    text, length, numbers = RAW_MESSAGES[what]
    lengths = f"({len(text) if length is None else length}).to_bytes(8, 'big') + ({numbers}).to_bytes(8, 'big')"
    send = f"os.write(n, {lengths} + {text.encode()!r} + bytes({min(numbers, 1000)}))"
    body = f"    for n in range(3, 12):\n        try: {send}\n        except OSError: pass\n"
    result = grade(f"import os\n\n\ndef double(x):\n{body}{HONEST}")
    assert [each.score for each in result.questions] == [0, 5], result.as_json()


@posix
@pytest.mark.parametrize(
    ("what", "says"),
    {
        "import os; os._exit(3)": "toy.py ended the process (exit status 3) instead of returning.",
        "raise SystemExit(0)": "toy.py raises SystemExit: 0. Line 1: raise SystemExit(0)",
        "def f(:": "toy.py raises SyntaxError: invalid syntax. Line 1: def f(:",
        "import scipy": "toy.py raises ModuleNotFoundError: No module named 'scipy'. Line 1: import scipy",
        "while True: pass": "toy.py did not finish within 3 seconds (is there an infinite loop?).",
        "x = '\\0'": "",
    }.items(),
)
def test_a_file_that_cannot_be_read_gets_nothing_but_the_reason(grade, what, says):
    result = grade(f"{what}\n")
    assert result.score == 0 and result.problem == says and result.complete
    if says:
        assert all(each.common_feedback().sentence == says for each in result.questions)


TOTAL_ASKS = "import numpy as np\n\n\ndef double(x):\n    return 2 * x\n\n\ndef total(x):\n    return "


@posix
@pytest.mark.parametrize(
    ("asks", "says"),
    {
        "double(np.zeros(2**27))": "MemoryError",  # the question alone is too large
        "double('x' * 5)": "should return sums and largest, but it returns a str",
        "double(x, x, x)": "double raises TypeError: double() takes 1 positional argument but 3 were given",
        "double(y=x)": "double raises TypeError: double() got an unexpected keyword argument 'y'",
        "__import__('__main__').Session.asking": "should return sums and largest, but it returns a function",
    }.items(),
)
def test_a_question_to_the_grader_costs_the_one_who_asks(grade, asks, says):
    result = grade(TOTAL_ASKS + asks)
    assert [each.score for each in result.questions] == [5, 0]
    assert says in result.questions[1].properties[0].feedback.sentence


@posix
def test_only_functions_of_earlier_questions_are_answered(grade):
    """A submission can find the connection to the grader, but can only use it for what it is meant for."""
    find = "import gc, sys\n    session = sys._getframe(1).f_locals['self']\n    return session.asking('total')(x)"
    result = grade(f"{TOTAL_ASKS[: TOTAL_ASKS.index('    return 2')]}    return 2 * x\n\n\ndef total(x):\n    {find}")
    assert [each.score for each in result.questions] == [5, 0]


@pytest.mark.skipif(sys.platform != "linux", reason="threads are processes on Linux only")
def test_no_thread_and_no_process_can_be_left_behind(grade):
    start = "threading.Thread(target=time.sleep, args=(99,)).start()"
    result = grade(f"import threading, time\n\n\ndef double(x):\n    {start}\n    return 2 * x\n{HONEST}")
    assert [each.score for each in result.questions] == [0, 5]
    assert "can't start new thread" in result.questions[0].properties[0].feedback.sentence


@posix
def test_the_others_of_a_class_are_graded(toy, solution, tmp_path):
    """A folder of hostile submissions and an honest one, some of which are not even files."""
    sources = {
        "exits": "import os; os._exit(0)",
        "loops": "def double(x):\n    while True: pass",
        "binary": None,
        "honest": solution,
    }
    for name, source in sources.items():
        (tmp_path / name).mkdir()
        if source is not None:
            (tmp_path / name / "toy.py").write_text(source)
    (tmp_path / "binary" / "toy.py").write_bytes(b"\xff\xfe\x00\x00")
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "toy.py").symlink_to(tmp_path / "honest" / "toy.py")
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "toy.py")
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "toy.py").write_text("#" * 2_000_000)
    (tmp_path / "empty").mkdir()
    folders = sorted(path for path in tmp_path.iterdir())
    out = tmp_path / "out"
    out.mkdir()
    grader = Grader(toy, "secret", Limits(seconds=2))
    results = {result.submission: result for result in grade_class(grader, folders, out, workers=2)}
    assert {name: result.score for name, result in results.items() if result.score} == {"honest": 10}
    assert all(result.problem for name, result in results.items() if name not in ("honest", "loops"))
    assert len((out / "summary.csv").read_text().splitlines()) == 1 + len(folders)
