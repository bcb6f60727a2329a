"""The command's frame: help, version, exit statuses, and how every error is told."""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from node.__main__ import main
from node.cli.commands import COMMANDS, Command
from node.cli.output import Output
from node.errors import ExtraMissing, JobBroke, JobRefused, WorkerDied
from node.host.interface import PortTaken
from pdfedchain.errors import NotFound, StateError, UsageError

HEAVY = ("trio", "libp2p", "torch", "diffusers", "rich", "msgpack", "cryptography", "diffusion", "pdfedchain.codec")

Raise = Callable[[BaseException], None]


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> Raise:
    """Makes ``pdfed keys`` raise."""

    def install(error: BaseException) -> None:
        def run(_arguments: argparse.Namespace, _output: Output) -> int:
            raise error

        module = SimpleNamespace(add_arguments=lambda parser: None, run=run)
        monkeypatch.setattr(Command, "load", lambda _: module)

    return install


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["-h"]])
def test_help_and_version_need_no_extra_and_import_next_to_nothing(words: list[str]) -> None:
    program = (
        "import sys\nfrom node.__main__ import main\n"
        f"assert main({words!r}) == 0\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: pdfed" if "-" in words[0] and words[0] != "--version" else "pdfed 0.")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"usage: pdfed {name}" in text
    assert "--json" in text


@pytest.mark.parametrize(
    "words",
    [[], ["fly"], ["--fly"], ["keys"], ["keys", "--home"], ["keys", "--home", "x", "--fly"], ["blocks", "--last", "x"]],
)
def test_a_wrong_command_line_is_status_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "pdfed: " in captured.err
    assert "Traceback" not in captured.err


def test_with_json_a_wrong_command_line_is_an_object_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "--json"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert {"error", "hint"} == set(answer)
    assert "--home" in answer["error"]
    assert main(["--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"] == "no command given"


@pytest.mark.parametrize(
    ("error", "status", "message", "hint"),
    [
        (UsageError("no such thing", hint="buy one"), 2, "no such thing", "buy one"),
        (ExtraMissing("flying", "wings"), 2, 'flying needs an optional part: pip install "pdfedchain[wings]"', ""),
        (JobRefused("unknown data set 'cats'", hint="digits"), 2, "unknown data set 'cats'", "digits"),
        (PortTaken("/ip4/127.0.0.1/tcp/1"), 2, "another program listens on /ip4/127.0.0.1/tcp/1", "stop it"),
        (ModuleNotFoundError("No module named 'trio'", name="trio"), 2, "the part 'trio' is not installed", "pip"),
        (StateError("the disk lies"), 3, "the disk lies", ""),
        (NotFound("no block 7"), 3, "no block 7", ""),
        (JobBroke("no memory"), 3, "no memory", ""),
        (WorkerDied("gone", exit_status=-9), 3, "gone", ""),
        (PermissionError(13, "Permission denied", "/x"), 3, "/x: Permission denied", ""),
        (ValueError("3"), 3, "this is a bug of pdfed: ValueError: 3", "--debug"),
        (ExceptionGroup("", [ExceptionGroup("", [UsageError("deep")])]), 2, "deep", ""),
        (ExceptionGroup("", [OSError(28, "No space left on device"), UsageError("wrong")]), 2, "wrong", ""),
        (ExceptionGroup("", [UsageError("wrong"), KeyError("k")]), 3, "this is a bug of pdfed: KeyError: 'k'", ""),
    ],
)
def test_an_error_is_a_sentence_and_a_status(
    raising: Raise,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    message: str,
    hint: str,
) -> None:
    raising(error)
    assert status == main(["keys"])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"pdfed: {message}")
    assert hint in captured.err
    assert "Traceback" not in captured.err
    assert status == main(["keys", "--json"])
    captured = capsys.readouterr()
    answer = json.loads(captured.out.splitlines()[-1])
    assert answer["error"].startswith(message)
    assert hint in answer["hint"]
    assert captured.err == ""


@pytest.mark.parametrize(("part", "extra"), [("trio", "node"), ("torch.nn", "diffusion"), ("colour", "all")])
def test_a_missing_part_is_named_with_its_extra_and_help_is_given_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], part: str, extra: str
) -> None:
    def load(_: Command) -> None:
        raise ModuleNotFoundError(f"No module named {part!r}", name=part)

    monkeypatch.setattr(Command, "load", load)
    assert main(["run", "--home", "x"]) == 2
    assert f'pip install "pdfedchain[{extra}]"' in capsys.readouterr().err
    assert main(["run", "--help"]) == 0
    help_text = capsys.readouterr().out
    assert "usage: pdfed run" in help_text
    assert f'"pdfedchain[{extra}]"' in help_text


def test_debug_shows_the_traceback(raising: Raise, capsys: pytest.CaptureFixture[str]) -> None:
    raising(ValueError("3"))
    assert main(["keys", "--debug"]) == 3
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BaseExceptionGroup("", [KeyboardInterrupt()])])
def test_interrupted_is_130(raising: Raise, capsys: pytest.CaptureFixture[str], error: BaseException) -> None:
    raising(error)
    assert main(["keys"]) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert main(["keys", "--json"]) == 130
    assert json.loads(capsys.readouterr().out) == {"error": "interrupted", "hint": ""}


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    program = "import sys; from node.__main__ import main; sys.exit(main(['--help'] * 1))"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 0


def test_tables_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False).table(("name", "height"), [("alice", 7), ("b", 12), ("c", None)])
    assert capsys.readouterr().out == "name   height\nalice       7\nb          12\nc           –\n"
    Output(as_json=False).table(("name",), [])
    assert capsys.readouterr().out == "name\n"
    Output(as_json=True).table(("name",), [("a",)])
    assert capsys.readouterr().out == ""


def test_progress_without_a_terminal_is_a_line_per_stage(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(as_json=True)
    for done in range(3):
        output.progress("training", done, 3)
    output.progress("scoring", 0, 0)
    assert capsys.readouterr().err == "training 0/3\nscoring\n"
