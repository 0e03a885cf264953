"""What can be said on the command line, and its help."""

from __future__ import annotations

import argparse
import difflib
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from stn_np.gpu.devices import CHOICES
from stn_np.training.config import COMMON_DEFAULTS, DEFAULTS

#: The commands with one line of help each.
COMMANDS = {
    "train": "train a model on distorted digits and show what it learned",
    "eval": "test error and confusion matrix of a run",
    "plot": "draw the pictures of a run again",
    "gallery": "draw what every transformation, sampling kernel and padding does",
    "gradcheck": "every explicit backward against finite differences",
    "info": "versions, BLAS, GPU, which data is on this machine",
}

#: Options of `train` that are settings of the run, in the order of the help: (type, metavar, help).
SETTINGS: dict[str, tuple[type, str, str]] = {
    "distortion": (
        str,
        "none|R|RTS|P|E|TC",
        "R turns by up to 90 degrees; RTS turns, scales and moves; P shows in perspective; E "
        "bends; TC moves and adds pieces of other digits",
    ),
    "model": (str, "fcn|cnn|st-fcn|st-cnn", "the network; st- is with a spatial transformer"),
    "transform": (
        str,
        "NAME",
        "what the spatial transformer may do: translation, attention, similarity, affine, "
        "projective, tps, piecewise-affine, flow, linear-basis; or, predicting angles and the "
        "logarithms of scales, attention-log, similarity-log, affine-natural",
    ),
    "filters": (int, "N", "filters in st-cnn; the other models get as many parameters"),
    "epochs": (int, "N", "times through the training set"),
    "batch_size": (int, "N", "images in a step"),
    "optimizer": (str, "sgd|adam|adamw", "how the weights are changed"),
    "lr": (float, "RATE", "learning rate (with one-cycle: the highest)"),
    "loc_lr_factor": (float, "FACTOR", "times the learning rate for the localisation net"),
    "schedule": (str, "constant|step|one-cycle", "the learning rate's course; step: the paper's"),
    "seed": (int, "N", "the same seed gives the same bits on the same machine"),
}


def option_name(setting: str) -> str:
    """--batch-size for batch_size."""
    return "--" + setting.replace("_", "-")


class HelpFormatter(argparse.HelpFormatter):
    """Room for long options, and no name broken at a hyphen."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


class Parser(argparse.ArgumentParser):
    """argparse with one-line errors, and the nearest known name for what is misspelt."""

    def __init__(self, **settings: Any) -> None:
        settings["formatter_class"] = HelpFormatter
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, without all the options before it; leave with exit code 2."""
        self.exit(2, f"{self.prog}: error: {message} (help: {self.prog} --help)\n")

    def unknown(self, given: str) -> NoReturn:
        """Report an argument that this command does not know."""
        if not given.startswith("-"):
            self.error(f"one argument too many: {given!r}")
        name = given.split("=")[0]
        self.error(f"unknown option {name}{_nearest(name, self._option_string_actions)}")


def _nearest(given: str, known: Iterable[str]) -> str:
    """A suggestion, or nothing."""
    near = difflib.get_close_matches(given, known, n=1, cutoff=0.4)
    return f"; did you mean {near[0]}?" if near else ""


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parse a command line. Settings of a run that are not given are None.

    Parameters
    ----------
    arguments
        Without the program's name.

    Raises
    ------
    SystemExit
        After ``--help``, or with code 2 after a message about what is wrong.
    """
    parser, parsers = _build()
    first = arguments[0] if arguments else ""
    if first and not first.startswith("-") and first not in COMMANDS:
        parser.error(f"unknown command {first!r}{_nearest(first, COMMANDS)}")
    options, extra = parser.parse_known_args(arguments)
    if extra:
        parsers[options.command].unknown(extra[0])
    return options


def build_parser() -> Parser:
    """Build the parser of the whole command line, which the documentation is made from."""
    return _build()[0]


def _build() -> tuple[Parser, dict[str, Parser]]:
    """The parser, and those of its commands."""
    parser = Parser(
        prog="stn-np",
        description="Spatial Transformer Networks (Jaderberg et al., 2015) from scratch in NumPy.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    parsers: dict[str, Parser] = {
        name: commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        for name, text in COMMANDS.items()
    }
    _add_train(parsers["train"])
    for name in ("eval", "plot"):
        parsers[name].add_argument("run", metavar="RUN", type=Path, help="the folder of a run")
    _add_data_dir(parsers["eval"], "where the run found it")
    for name in ("train", "eval", "gradcheck"):
        _add_device(parsers[name])
    parsers["gallery"].add_argument(
        "--out",
        type=Path,
        default=Path("gallery"),
        metavar="FOLDER",
        help="where to; pictures of that name are replaced (default: gallery)",
    )
    return parser, parsers


def _add_train(parser: argparse.ArgumentParser) -> None:
    """The options of `train`."""
    parser.epilog = (
        "Ctrl-C stops after the step under way and says how to go on. The same settings give the "
        "same bits, stopped in between or not."
    )
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data",
        metavar="auto|mnist|digits|FOLDER",
        help="MNIST; 1,797 digits that come with this package; a folder of images with one "
        "sub-folder a class; or auto: MNIST where it can be had, else digits (default: auto)",
    )
    _add_data_dir(data, "$STN_NP_DATA, the user's cache, else downloaded")
    settings = parser.add_argument_group("settings")
    for name, (kind, metavar, text) in SETTINGS.items():
        group = data if name == "distortion" else settings
        help_text = f"{text} (default: {_default_text(name)})"
        group.add_argument(option_name(name), type=kind, metavar=metavar, help=help_text)
    run = parser.add_argument_group("run")
    run.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="new folder for this run (default: a numbered one below runs/, named after data, "
        "distortion, model and transform)",
    )
    run.add_argument(
        "--resume",
        type=Path,
        metavar="RUN",
        help="go on with a run that was stopped, from its newest sound checkpoint; its settings "
        "are kept, and giving others is an error",
    )


def _add_data_dir(parser: argparse._ActionsContainer, default: str) -> None:
    """--data-dir, for the commands that read data."""
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="FOLDER",
        help=f"where the MNIST files are (default: {default})",
    )


def _add_device(parser: argparse._ActionsContainer) -> None:
    """--device, for the commands that compute."""
    parser.add_argument(
        "--device",
        choices=CHOICES,
        default="auto",
        metavar="auto|cpu|gpu",
        help="where to compute; auto: on the GPU if one can be used, else on the CPU, with a line "
        "that says why (default: auto)",
    )


def _default_text(name: str) -> str:
    """A setting's default, for both data sets where they differ."""
    if name in COMMON_DEFAULTS:
        return str(COMMON_DEFAULTS[name])
    mnist, digits = DEFAULTS["mnist"][name], DEFAULTS["digits"][name]
    return str(mnist) if mnist == digits else f"{mnist} for MNIST, {digits} for other data"
