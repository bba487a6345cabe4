"""What every command has in common: help, exit statuses, and one sentence on stderr when something is wrong."""

import os
import subprocess
import sys

import pytest

import minires as mr
from minires.cli.main import main, status_and_sentence

WRONG = {
    "no-such-command": "no such command",
    "trian": "no such command",
    "--no-such-option": "--no-such-option",
    "train --lr": "--lr",
    "train --lr abc": "--lr is 'abc'; it must be a number.",
    "train --lr -1": "--lr is -1.0; it must be a number > 0.",
    "train --lr nan": "--lr is nan",
    "train --epochs 0": "--epochs is 0; it must be an integer >= 1.",
    "train --epochs 1.5": "--epochs is '1.5'; it must be an integer.",
    "train --epochs many": "--epochs is 'many'",
    "train --batch-size 0": "--batch-size is 0",
    "train --batch-size -3": "--batch-size is -3",
    "train --save-every 0": "--save-every is 0",
    "train --seed -1": "--seed is -1",
    "train --seed x": "--seed is 'x'",
    "Train": "no such command 'Train'",
    "train --model ResNet-20": "there is no model 'ResNet-20'; did you mean resnet20? Choose one of resnet8, ",
    "train --schedule Cosine": "there is no schedule 'Cosine'; did you mean cosine? Choose one of cosine, ",
    "train --data CIFAR10": "there is no data set or folder 'CIFAR10'; did you mean cifar10? Choose one of digits, ",
    "train --data Cifar-100": "did you mean cifar100?",
    "gradcheck Conv2d": "there is no op 'Conv2d'; did you mean conv2d? Choose one of abs, ",
    "predict run image.png --out no/such/folder.csv": "--out is 'no/such/folder.csv'; it must be a file in a folder",
    "export run --onnx .": "--onnx is '.'; it must be a file in a folder that exists.",
    "train --model resnet21": "there is no model 'resnet21'; choose one of resnet8",
    "train --data nothing": "there is no data set or folder 'nothing'; choose one of digits",
    "train --schedule flat": "there is no schedule 'flat'; choose one of cosine",
    "train --optimizer lion": "there is no optimizer 'lion'; choose one of sgd, adam, adamw, rmsprop.",
    "train --weight-decay -1": "--weight-decay is -1.0; it must be a number >= 0.",
    "train --label-smoothing 2": "--label-smoothing is 2.0; it must lie in [0, 1).",
    "train --ema 1": "--ema is 1.0; it must lie in [0, 1).",
    "train --clip -1": "--clip is -1.0; it must be a number >= 0.",
    "train --model resnet9 --shortcut B": "--shortcut is 'B', but resnet9 does not take it; its options are width.",
    "train --model plain8 --preactivation": "--preactivation is True, but plain8 does not take it; it has no options.",
    "train --shortcut D": "there is no shortcut 'D'; choose one of A, B, C.",
    "train --device tpu": "there is no device 'tpu'; choose one of cpu, cuda.",
    "train --augment=yes": "--augment",
    "train --no-such-option": "--no-such-option",
    "train extra": "extra",
    "evaluate": "RUN is missing.",
    "evaluate one two": "two",
    "predict": "RUN is missing.",
    "predict run": "IMAGE_OR_FOLDER is missing.",
    "predict run image.png --top 0": "--top is 0; it must be an integer >= 1.",
    "predict run image.png --top x": "--top is 'x'",
    "export": "RUN is missing.",
    "export run": "there is nothing to write; give --onnx FILE, --safetensors FILE, or both.",
    "gradcheck no_such_op": "no_such_op",
    "doctor who": "who",
    "explain": "missing command",
    "explain stop": "no such command",
    "course": "missing command",
    "course start": "NAME is missing.",
    "course start A9": "there is no assignment 'A9'; choose one of A2.",
    "course grade": "FOLDER is missing.",
    "course grade x --workers no": "--workers is 'no'; it must be an integer >= 1.",
    "course release A2": "--out is missing.",
    "course check a b": "b",
    "data": "missing command",
    "data fetch": "NAME is missing.",
    "data fetch digits": "there is no downloadable data set 'digits'; choose one of mnist, fashion_mnist, cifar10,",
    "data check cifar": "no downloadable data set 'cifar'",
    "data remove mnist": "no such command",
}


@pytest.mark.parametrize("words", WRONG)
def test_wrong_arguments_are_one_sentence_and_status_2(minires, words):
    result = minires(*words.split())
    assert result.status == 2 and result.out == ""
    assert result.err.count("\n") == 1 and result.err.startswith("minires")
    assert WRONG[words] in result.err and result.err.rstrip().endswith(".")
    assert "Traceback" not in result.err and "╭" not in result.err


@pytest.mark.parametrize(
    "words",
    [
        "evaluate no/such/run",
        "predict no/such/run x.png",
        "export no/such/run --onnx x",
        "train --resume --out no/such/run",
        "train --out {file}/run",
    ],
)
def test_what_fails_is_one_sentence_and_status_1(minires, tmp_path, words):
    (tmp_path / "file").touch()
    result = minires(*words.format(file=tmp_path / "file").split())
    assert result.status == 1 and result.out == ""
    assert result.err.count("\n") == 1 and result.err.startswith(f"minires {words.split()[0]}: ")
    assert "Traceback" not in result.err


def test_the_sentence_names_the_command_and_its_help(minires):
    assert minires("train", "--lr", "x").err.endswith("Try 'minires train --help'.\n")
    assert minires("--wrong").err.startswith("minires: ")


def test_debug_shows_the_traceback_wherever_it_stands(minires):
    for words in (["--debug", "train", "--lr", "-1"], ["train", "--lr", "-1", "--debug"]):
        result = minires(*words)
        assert result.status == 2
        assert "Traceback" in result.err and result.err.splitlines()[-1].startswith("minires train: --lr is -1")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["-h"],
        ["--help"],
        ["train", "-h"],
        ["predict", "--help"],
        ["export", "-h"],
        ["explain", "step", "-h"],
        ["doctor", "-h"],
    ],
)
def test_help(minires, words):
    result = minires(*words)
    assert result.status == 0 and result.err == ""
    assert "Usage" in result.out and "--help" in result.out
    if "train" in words:
        options = ("model", "data", "epochs", "batch-size", "lr", "schedule", "no-augment", "device", "seed", "resume")
        options += ("color-jitter", "cutout", "mixup", "workers")
        assert all(f"--{option}" in result.out for option in options)


def test_version(minires):
    assert minires("--version") == (0, f"minires {mr.__version__}\n", "")


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (KeyError("x"), 1, "unexpected error, KeyError: 'x'. Run it with --debug to see where."),
        (KeyboardInterrupt(), 130, "stopped by Ctrl-C."),
        (MemoryError(), 1, "there is not enough memory; a smaller --batch-size or model needs less."),
        (PermissionError(13, "Permission denied", "runs/x"), 1, "runs/x: Permission denied."),
        (PermissionError(13, "Permission denied", "a\x1b[31m"), 1, r"a\x1b[31m: Permission denied."),
        (RuntimeError("\x07"), 1, r"unexpected error, RuntimeError: \x07. Run it with --debug to see where."),
        (OSError("odd"), 1, "unexpected error, OSError: odd. Run it with --debug to see where."),
        (mr.errors.DataError("data.load: two\nlines"), 1, "two lines."),
        (mr.errors.ArgumentError("data.load: what is that?"), 2, "what is that?"),
    ],
)
def test_every_error_has_its_status_and_its_sentence(error, status, sentence):
    assert status_and_sentence(error, "minires train") == (status, sentence)


def test_an_unexpected_error_of_a_command_is_a_sentence(minires, monkeypatch):
    def fail():
        raise RuntimeError("no idea")

    monkeypatch.setattr("minires.cli.doctor.examine", fail)
    result = minires("doctor")
    assert result.status == 1 and result.out == ""
    assert result.err == "minires doctor: unexpected error, RuntimeError: no idea. Run it with --debug to see where.\n"


def test_a_reader_that_has_seen_enough_is_no_error(monkeypatch, capsys):
    def fail():
        raise BrokenPipeError

    monkeypatch.setattr("minires.cli.doctor.examine", fail)
    assert main(["doctor"]) == 1
    assert capsys.readouterr().err == ""


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "minires", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"minires {mr.__version__}\n", "")


@pytest.mark.skipif(os.name == "nt", reason="pipes of Windows break differently")
def test_a_closed_pipe_leaves_no_complaint():
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        done = subprocess.run([sys.executable, "-m", "minires", "-h"], stdout=closed, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "")


def test_help_is_quick_and_needs_neither_numba_nor_scikit_learn_nor_figures():
    look = (
        "import sys; from minires.cli.main import main; main(['--help']); print(sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert not {"'numba'", "'sklearn'", "'matplotlib'", "'PIL'", "'scipy'"} & set(done.stderr.strip("[]\n").split(", "))
