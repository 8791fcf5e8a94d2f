"""In processes of their own: where answers go, who stops reading, and completion."""

import os
import shutil
import subprocess
import sys

import pytest

METERING = (sys.executable, "-m", "metering")
CHECK = (*METERING, "check", "preset:friendli")


def ended(arguments, **options):
    """Run a command to its end."""
    return subprocess.run(
        arguments, capture_output="stdout" not in options, check=False, **options
    )


@pytest.mark.parametrize("how", [(), ("--json",)])
def test_an_answer_that_cannot_be_written_is_an_error(how, tmp_path):
    """A file that is read-only stands for a disk that is full: no traceback."""
    (tmp_path / "answer").touch()
    with (tmp_path / "answer").open() as unwritable:
        done = ended((*CHECK, *how), stdout=unwritable, stderr=subprocess.PIPE)

    assert 2 == done.returncode
    assert done.stderr.startswith(b"Error: The command has run, but its answer cannot")
    assert 1 == done.stderr.count(b"\n")


@pytest.mark.parametrize("how", [(), ("--json",)])
def test_a_reader_that_has_enough_ends_it_in_silence(how):
    """As `head` does; a shell says 141 of such a command."""
    reader, writer = os.pipe()
    os.close(reader)
    done = ended((*CHECK, *how), stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)

    assert (141, b"") == (done.returncode, done.stderr)


def test_no_colours_and_no_bars_in_a_pipe():
    done = ended((*METERING, "bench", "--seconds", "0.01"))

    assert (0, b"") == (done.returncode, done.stderr)
    assert b"\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("metering acc", ["accounts"]),
        ("metering notices ", ["list", "resend"]),
        ("metering accounts pin --no", ["--none"]),
    ],
)
def test_bash_completes_commands_and_options(typed, offered, tmp_path):
    """By the script that --show-completion prints for it, sourced by a real bash."""
    bash = shutil.which("bash")
    assert bash, "there is no bash to try it in"
    program = tmp_path / "metering"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m metering "$@"\n')
    program.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "_TYPER_COMPLETE_TEST_DISABLE_SHELL": "1"}
    shown = ended((str(program), "--show-completion"), env=environment)
    words = typed.split(" ")
    script = (
        f"{shown.stdout.decode()}\n"
        f"COMP_WORDS=({' '.join(words[:-1])} '{words[-1]}')\n"
        f"COMP_CWORD={len(words) - 1}\n"
        "_metering_completion metering\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = ended((bash, "-c", script), env=environment, text=True)

    assert "" == done.stderr
    assert offered == done.stdout.split()
