"""Find the command that was asked for, and turn what ami refuses into one line and an exit code.

Exit codes: 0 done; 1 ami refused, in one line on stderr; 2 wrong settings or usage. A traceback is a bug.

A command's module is imported when the command is called, because the rooms behind some take longer
to import than `ami --help` takes to be read; so the table below has the line of help for each.
"""

from __future__ import annotations

import contextlib
import difflib
import gc
import importlib
import logging
import os
import sys

import click
from click.shell_completion import CompletionItem

from ami.errors import AmiError, ConfigError
from ami.log import printable

EXIT_OK = 0
EXIT_REFUSED = 1
EXIT_USAGE = 2

# name -> (module, line of help), in the order in which people need them
COMMANDS: dict[str, tuple[str, str]] = {
    "node": ("ami.cli.node", "Run a whole node in the foreground: servers, source, workers, reducers."),
    "up": ("ami.cli.up", "Start a node in the background, with a first graph where there never was one."),
    "down": ("ami.cli.down", "Stop the node of this host, or what is left of one."),
    "status": ("ami.cli.status", "Say of every process whether it lives, how fast it is and what was lost."),
    "top": ("ami.cli.top", "Show what every process and every operation costs, live."),
    "results": ("ami.cli.results", "List the results that are published."),
    "get": ("ami.cli.get", "Show one result: its value, and how much of the events is in it."),
    "watch": ("ami.cli.watch", "Follow results live, in the terminal or into a pipe."),
    "graph": ("ami.cli.graph", "Show the graph and edit it while events flow."),
    "run-control": (
        "ami.cli.run_control",
        "Begin and end runs and steps on all nodes, where no data acquisition does.",
    ),
    "run": ("ami.cli.run", "Run a graph over a source offline, in this process."),
    "verify": ("ami.cli.verify", "Run a recording through a private node and offline; compare every result."),
    "chaos": ("ami.cli.chaos", "Kill processes of a private node under full load; count every event."),
    "bench": ("ami.cli.bench", "Measure how fast ami is on this machine, beside what the machine can do."),
    "scale": (
        "ami.cli.scale",
        "Measure what the global tier takes for so many nodes, which are made up; check every sum.",
    ),
    "operations": (
        "ami.cli.operations",
        "Say which operations a graph may use, or what one does, by example.",
    ),
    "sources": ("ami.cli.sources", "Say which sources there are, or what one of them gives."),
    "daq": (
        "ami.cli.daq",
        "Deal the events of a source to many nodes, each to one (also `ami-daq`).",
    ),
    "keys": ("ami.cli.keys", "List the keys of both stores: type, size, time to live, owner."),
    "cluster": (
        "ami.cli.cluster",
        "Form a cluster of several machines, let it grow and shrink, see how it is.",
    ),
    "access": (
        "ami.cli.access",
        "Give another account or host access to the global store, list who has it, take it away.",
    ),
    "doctor": (
        "ami.cli.doctor",
        "Look at this machine and its cluster, and say how to mend what is not right.",
    ),
    "web": ("ami.cli.web", "Say where the page is, with the link for who edits."),
    "key": ("ami.cli.key", "Show what is behind one key."),
}


class Group(click.Group):
    """Knows what was meant by a command that it has not, and tells of each in a whole sentence."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args[0] not in known:
            close = difflib.get_close_matches(args[0], known, n=1)
            ctx.fail(f"there is no command {args[0]!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(self.list_lines(ctx))

    def list_lines(self, ctx: click.Context) -> list[tuple[str, str]]:
        """Return each command and its line of help."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        return [(name, command.get_short_help_str(limit=200)) for name, command in commands if command]


class AmiGroup(Group):
    """Imports commands late, and turns an error that ami raised on purpose into an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        # What is imported stays: to look through all of it for garbage takes 0.02 s.
        gc.disable()
        try:
            command = getattr(importlib.import_module(module), cmd_name.replace("-", "_"))
        finally:
            gc.enable()
        assert isinstance(command, click.Command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands that begin so, none of which is imported for that."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [
            CompletionItem(name, help=text)
            for name, (_, text) in COMMANDS.items()
            if name.startswith(incomplete)
        ]

    def list_lines(self, ctx: click.Context) -> list[tuple[str, str]]:
        return [(name, text) for name, (_, text) in COMMANDS.items()]

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            where = error.ctx.command_path if error.ctx is not None else "ami"
            said = error.format_message().rstrip(".")
            click.echo(f"ami: {printable(said)}; `{where} --help` says what there is", err=True)
            ctx.exit(EXIT_USAGE)
        except AmiError as error:
            click.echo(f"ami: {one_line(error)}", err=True)
            ctx.exit(EXIT_USAGE if isinstance(error, ConfigError) else EXIT_REFUSED)
        except BrokenPipeError:
            # `ami results | head -1`: the reader has what it wanted. Python would complain once
            # more when it flushes at exit, so what is left goes nowhere.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(EXIT_OK)


def one_line(error: AmiError) -> str:
    """Return the text of an error without line ends and other control characters."""
    lines = [line.strip() for line in str(error).splitlines()]
    # What follows a question (did you mean …?) is the line to which it belongs.
    text = ": ".join(line for line in lines if line).replace("?: ", "? In: ")
    return printable(text)


class _Warnings(logging.Formatter):
    """What the rooms log, for the person who called a command."""

    def format(self, record: logging.LogRecord) -> str:
        return f"ami: {printable(record.getMessage())}"


@click.group(cls=AmiGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ami", prog_name="ami")
def ami() -> None:
    """Online analysis of every event of an experiment, live and exactly counted.

    Each command has --help, --json, --timeout, --config and --access. Exit codes: 0 done, 1 refused (the
    reason is on stderr), 2 wrong settings or usage.
    """


def main() -> int:
    """Run one command of `ami` with the arguments of this process. Returns its exit code."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Warnings())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    try:
        ami(prog_name="ami")
    except SystemExit as end:  # which is how click ends, always
        return end.code if isinstance(end.code, int) else EXIT_OK
    finally:
        # Else Python looks at every object before it ends, which takes 0.05 s, a sixth of `ami status`.
        gc.freeze()
    return EXIT_OK
