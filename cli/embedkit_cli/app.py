"""The program: its commands, and how errors become one line and an exit status."""

import errno
import io
import os
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

import embedkit
from embedkit.errors import EmbedkitError, InputError
from embedkit_cli import (
    audits,
    console,
    data,
    demo,
    explain,
    exports,
    finetune,
    forget,
    heads,
    index,
    maps,
    parity,
    predict,
    remedies,
    report,
    search,
    selftest,
    settings,
    stores,
    view,
    weights,
)

INTERRUPTED = 130

app = typer.Typer(
    name="embedkit",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo.demo)
app.command()(data.scan)
app.command()(data.unpack)
app.command()(data.embed)
app.command()(data.info)
app.command()(data.backbones)
app.command()(heads.train)
app.command()(heads.evaluate)
app.command()(heads.compare)
app.command()(heads.mitigate)
app.command()(finetune.finetune)
app.command()(predict.predict)
app.command()(index.index)
app.command()(search.search)
app.command()(audits.audit)
app.command()(report.report)
app.command()(explain.explain)
app.command("map")(maps.map_)
app.command()(selftest.selftest)
app.command()(parity.parity)
app.command()(remedies.split)
app.command()(remedies.clean)
app.command()(stores.merge)
app.command()(stores.subset)
app.command()(forget.forget)
app.command()(exports.export)
app.command()(view.view)
app.command()(view.reviews)
app.add_typer(weights.app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"embedkit {embedkit.__version__}")
        raise typer.Exit


@app.callback()
def embedkit_(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", "-V", callback=_version, is_eager=True, help="Show version."),
    ] = False,
) -> None:
    """Find out why a test accuracy on images is higher than single pictures justify.

    \b
        embedkit demo                      # see it work, nothing to download
        embedkit embed faces/              # a folder of labelled pictures becomes a store
        embedkit audit indexes/faces --report faces.html

    Options can also come from embedkit.toml ([embed] backbone = "pixels") and from variables
    (EMBEDKIT_BACKBONE=pixels); the command line goes first, then the variables, then the file.
    """
    try:
        Path.cwd()
    except OSError as error:  # the libraries of torch end the process there
        raise InputError(
            f"the working folder is gone ({error.strerror}); change to one that is there"
        ) from None
    context.default_map = settings.defaults(context.command)


def main(arguments: list[str] | None = None) -> int:
    """Run the program and return its exit status.

    0 done; 1 a limit was exceeded; 2 the request or its input is wrong; 3 the run failed; 130 it
    was interrupted and can be taken up again.
    """
    signal.signal(signal.SIGTERM, _stop)
    _open_streams()
    given = sys.argv[1:] if arguments is None else arguments
    console.reset(given)
    try:
        result = app(given, prog_name="embedkit", standalone_mode=False)
        status = result if isinstance(result, int) else 0
        sys.stdout.flush()
    except EmbedkitError as error:
        status = console.fail(str(error), error.exit_status)
    except typer.TyperException as error:
        show = getattr(error, "show", None)
        if console.json_wanted() or show is None:
            status = console.fail(error.format_message(), error.exit_code)
        else:
            with suppress(OSError):  # that nobody can hear it changes no status
                show()
            status = error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        status = INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has had enough; that is no failure.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except OSError as error:
        reason = error.strerror or str(error)
        if error.filename is not None:
            status = 2 if error.errno == errno.ENAMETOOLONG else 3
            status = console.fail(f"{str(error.filename)[:200]}: {reason}", status)
        else:
            # Standard output is full or gone; embedkit's own files have errors of their own.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = console.fail(f"the output cannot be written: {reason}", 3)
    except Exception:  # noqa: BLE001 (the last line of defence: never status 1, which is a gate's)
        with suppress(OSError):
            traceback.print_exc()
        status = console.fail("embedkit itself failed; the lines above say where", 3)
    return status


def program() -> None:
    """Run the program and end the process with its exit status.

    Without the interpreter's farewell: threads that pyarrow and torch leave behind turn it into
    SIGABRT now and then ("terminate called without an active exception"), and the status is what a
    gate goes by. Whatever embedkit writes is on disk by then.
    """
    status = main()
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def _open_streams() -> None:
    """Give a program that was started without its standard streams some that lead nowhere.

    What a stream of another encoding than UTF-8 cannot say is written as its number.
    """
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 (as long as the program)
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
