"""The command's frame: exit codes, one clear line for each error, quick help."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from heliograph import cli
from heliograph.cli import console
from heliograph.model import errors


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """Put a command in place of ``version`` that raises what is given."""

    def fail_with(error: BaseException) -> None:
        def command() -> None:
            raise error

        module = types.SimpleNamespace(command=command)
        # Its own namespace: patched in importlib itself, every import would get the stand-in.
        stand_in = types.SimpleNamespace(import_module=lambda _: module, util=importlib.util)
        monkeypatch.setattr(cli, "importlib", stand_in)

    return fail_with


class TestExitCodes:
    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (errors.SettingsError("rtsp.port: wrong (x.toml:1)"), 2),
            (errors.ResourceError("port 8554 is in use"), 1),
            (errors.HelioError("something"), 1),
            (errors.UnauthorizedError("wrong key"), 3),
            (errors.BusyError("full", retry_after=5), 3),
            (errors.RemoteError("camera does not answer"), 3),
            (OSError(28, "No space left on device"), 1),
        ],
    )
    def test_each_error_is_one_line_and_a_code(self, failing, capsys, error, code):
        failing(error)
        assert cli.main(["version"]) == code
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err.startswith("helio: ")
        assert output.err.count("\n") == 1
        assert str(error) in output.err

    def test_interrupted(self, failing, capsys):
        failing(KeyboardInterrupt())
        assert cli.main(["version"]) == 130
        assert "Traceback" not in capsys.readouterr().err

    def test_a_fault_of_ours_is_not_hidden(self, failing):
        failing(ZeroDivisionError())
        with pytest.raises(ZeroDivisionError):
            cli.main(["version"])

    def test_a_reader_that_leaves(self, failing, monkeypatch):
        monkeypatch.setattr(sys, "stdout", sys.stdout)
        failing(BrokenPipeError())
        assert cli.main(["version"]) == 1

    def test_usage(self, capsys):
        assert cli.main(["config", "show", "--bogus"]) == 2
        assert cli.main(["config", "check"]) == 2
        assert cli.main([]) == 2
        assert cli.main(["versoin"]) == 2
        assert "did you mean 'version'?" in capsys.readouterr().err
        assert cli.main(["--loud"]) == 2

    def test_good(self, capsys):
        for arguments in (["--help"], ["-h"], ["help"], ["--version"], ["version", "--help"]):
            assert cli.main(arguments) == 0
        assert "heliograph 0." in capsys.readouterr().out

    def test_every_code_is_documented(self):
        text = (Path(__file__).parents[3] / "docs/operate/exit-codes.md").read_text()
        for code in (cli.OK, cli.FAILED, cli.USAGE, cli.REFUSED, cli.INTERRUPTED):
            assert f"| {code} |" in text


class TestCommands:
    def test_every_command_can_be_loaded_and_helps(self, capsys):
        for name in cli.available():
            assert cli.main([name, "--help"]) == 0
            assert f"Usage: helio {name}" in capsys.readouterr().out

    def test_help_names_every_command(self, capsys):
        cli.main(["--help"])
        text = capsys.readouterr().out
        assert all(f"  {name} " in text for name in cli.available())

    def test_help_needs_none_of_the_large_packages(self):
        code = (
            "import sys; from heliograph.cli import main; main(['--help']);"
            "print([m for m in ('typer', 'rich', 'pydantic', 'fastapi', 'av') if m in sys.modules])"
        )
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert run.stdout.splitlines()[-1] == "[]"


class TestConfig:
    def test_show_tells_values_and_origins(self, capsys):
        arguments = ["config", "show", "--origin", "--json", "--set", "rtsp.port=9554"]
        assert cli.main(arguments) == 0
        shown = json.loads(capsys.readouterr().out)
        assert shown["rtsp.port"] == {"value": 9554, "origin": "command line --set rtsp.port"}
        assert shown["http.port"] == {"value": 8080, "origin": "default"}

    def test_show_for_pipes_parts_by_tabs(self, capsys):
        assert cli.main(["config", "show"]) == 0
        assert "rtsp.port\t8554" in capsys.readouterr().out.splitlines()

    def test_show_masks(self, capsys):
        channels = 'channels=[{name="a", key="very-secret"}]'
        for options in ([], ["--json"], ["--origin"]):
            assert cli.main(["config", "show", "--set", channels, *options]) == 0
            assert "very-secret" not in capsys.readouterr().out

    def test_check(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setenv("HELIO_RTSP__PORT", "nonsense, but not asked for")
        file = tmp_path / "a.toml"
        file.write_text('[rtsp]\nport = 1\n[[channels]]\nname = "a"\n')
        assert cli.main(["config", "check", str(file)]) == 0
        assert "good; settings: 2, channels: 1" in capsys.readouterr().out
        file.write_text("[rtsp]\nport = 1\nprot = 2\n[http]\nport = -1\n")
        assert cli.main(["config", "check", str(file)]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert sorted(line.rpartition("(")[2] for line in lines) == [f"{file}:3)", f"{file}:5)"]


class TestConsole:
    @pytest.mark.parametrize(
        ("bits", "text"),
        [(0, "0 bit/s"), (26_000, "26.0 kbit/s"), (2.1e6, "2.1 Mbit/s"), (3e9, "3.0 Gbit/s")],
    )
    def test_rate(self, bits, text):
        assert console.rate(bits) == text

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(4.24, "4.2 s"), (187, "3:07"), (3723, "1:02:03"), (176523, "2 d 1:02:03")],
    )
    def test_duration(self, seconds, text):
        assert console.duration(seconds) == text

    def test_a_table_on_a_terminal(self, monkeypatch, capsys):
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        console.print_table(("name", "readers"), [("[red]x", 5), (None, 7)], right=["readers"])
        text = capsys.readouterr().out
        assert "[red]x" in text
        assert "name" in text

    def test_progress_is_silent_without_a_terminal(self, capsys):
        with console.progress() as bar:
            task = bar.add_task("work", total=2)
            bar.advance(task)
        assert capsys.readouterr().err.strip() == ""

    def test_json_lines(self, capsys):
        console.print_json({"a": 1}, line=True)
        console.print_json({"a": 1})
        assert capsys.readouterr().out == '{"a": 1}\n{\n  "a": 1\n}\n'


def test_the_installed_command_ends_with_its_code():
    helio = Path(sys.executable).with_name("helio")
    environment = {**os.environ, "HELIO_RTSP__PORT": "x"}
    run = subprocess.run(
        [helio, "config", "show"], capture_output=True, text=True, env=environment, check=False
    )
    assert run.returncode == 2
    assert run.stderr == (
        "helio: rtsp.port: must be a whole number, not 'x' (environment HELIO_RTSP__PORT)\n"
    )
