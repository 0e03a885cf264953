"""The command line ``stn-np``: train, reproduce, eval, plot, predict, gallery and some checks.

Exit codes: 0 done; 1 a check failed or training diverged; 2 wrong input or something that cannot
be read or written; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from stn_np.cli.options import COMMANDS, parse
from stn_np.cli.report import printable
from stn_np.gpu.devices import DeviceError, explain_gpu_error
from stn_np.training.checkpoint import CheckpointError

#: Errors of what was asked for, or of the machine. Others are our own, and come with a traceback.
EXPECTED = (ValueError, TypeError, OSError, MemoryError, CheckpointError, DeviceError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments
        Without the program's name; by default those of the process.

    Returns
    -------
    int
        The exit code. Errors become one line on standard error, never a traceback.
    """
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:  # closed by the shell: >&-
            setattr(sys, stream, open(os.devnull, "w"))
        elif hasattr(getattr(sys, stream), "reconfigure"):
            # Names may have characters that this terminal lacks; they are spelled out.
            getattr(sys, stream).reconfigure(errors="backslashreplace")
    options = parse(sys.argv[1:] if arguments is None else list(arguments))
    try:
        code = _run(options)
        sys.stdout.flush()  # here, where a reader that has gone is caught, and not at exit
        return code
    except KeyboardInterrupt:
        print(f"\nstn-np {options.command}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output (head, less) has gone. Python would complain once more at exit,
        # when it flushes what is left: let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except Exception as e:
        if not isinstance(e, EXPECTED) and explain_gpu_error(e) is None:
            raise
        print(f"stn-np {options.command}: error: {_message(e)}", file=sys.stderr)
        return 2


def _run(options: argparse.Namespace) -> int:
    """The command that was asked for; each is imported only then."""
    if getattr(options, "threads", None) is not None:
        from stn_np.threads import set_threads

        set_threads(options.threads)
    if options.command == "train":
        from stn_np.cli.train import train

        return train(options)
    if options.command == "reproduce":
        from stn_np.cli.reproduce import reproduce

        return reproduce(options)
    from stn_np.cli import commands

    run = {
        "eval": commands.evaluate,
        "plot": commands.plot,
        "predict": commands.predict,
        "gallery": commands.gallery,
        "gradcheck": commands.gradcheck,
        "warm-up": commands.warm_up,
        "info": commands.info,
    }
    return run[options.command](options)


def _message(error: Exception) -> str:
    """One line about an error, without the number that Python puts before the system's."""
    if on_gpu := explain_gpu_error(error):
        return printable(on_gpu)
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        return printable(where + error.strerror)
    return printable(" ".join(str(error).split())) or type(error).__name__


__all__ = ["COMMANDS", "main"]
