"""The options of the command line, and their help."""

from __future__ import annotations

import argparse
import difflib
import textwrap
from collections.abc import Iterable
from dataclasses import Field
from pathlib import Path
from typing import Any, NoReturn

from stn_np.experiments import DEFAULT, EXPERIMENTS, Experiment, by_name
from stn_np.gpu.devices import CHOICES
from stn_np.training.settings import TrainingSettings

#: The commands with one line of help each.
COMMANDS = {
    "train": "train on distorted digits, or another experiment, and show what was learned",
    "reproduce": "a table of the paper, cell by cell, our numbers beside its numbers",
    "eval": "test error and confusion matrix of a run",
    "plot": "draw the pictures of a run again",
    "predict": "what a run's model says of pictures of your own",
    "gallery": "draw what every transformation, sampling kernel and padding does",
    "gradcheck": "every explicit backward against finite differences",
    "warm-up": "compile the kernels for a GPU ahead, so that nothing waits for it later",
    "info": "versions, BLAS, GPU, which data is on this machine",
}


def option_name(setting: str) -> str:
    """--batch-size for batch_size."""
    return "--" + setting.replace("_", "-")


class HelpFormatter(argparse.HelpFormatter):
    """Leaves room for long options, and breaks no name at a hyphen."""

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
    name = arguments[1] if arguments[:1] == ["train"] and len(arguments) > 1 else ""
    parser, parsers = _build(by_name(name) if name in EXPERIMENTS else by_name(DEFAULT))
    first = arguments[0] if arguments else ""
    if first and not first.startswith("-") and first not in COMMANDS:
        parser.error(f"unknown command {first!r}{_nearest(first, COMMANDS)}")
    options, extra = parser.parse_known_args(arguments)
    if extra:
        parsers[options.command].unknown(extra[0])
    if options.command == "train":
        _check_experiment(options.experiment, name, parsers["train"])
    return options


def _check_experiment(named: str | None, first: str, parser: Parser) -> None:
    """An experiment is known, and named before the options, which depend on it."""
    if named is not None and named not in EXPERIMENTS:
        known = ", ".join(EXPERIMENTS)
        parser.error(
            f"unknown experiment {named!r}{_nearest(named, EXPERIMENTS)}; expected one of {known}"
        )
    if named is not None and named != first:
        parser.error(f"the experiment comes first: stn-np train {named} ...")


def build_parser() -> Parser:
    """Build the parser of the whole command line, which the documentation is made from."""
    return _build(by_name(DEFAULT))[0]


def _build(experiment: type[Experiment]) -> tuple[Parser, dict[str, Parser]]:
    """The parser, and those of its commands; `train` has the options of one experiment."""
    parser = Parser(
        prog="stn-np",
        description="Spatial Transformer Networks (Jaderberg et al., 2015) from scratch in NumPy.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    parsers: dict[str, Parser] = {
        name: commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        for name, text in COMMANDS.items()
    }
    _add_train(parsers["train"], experiment)
    _add_reproduce(parsers["reproduce"])
    for name in ("eval", "plot", "predict"):
        parsers[name].add_argument("run", metavar="RUN", type=folder, help="the folder of a run")
    _add_data(parsers["eval"])
    parsers["predict"].add_argument(
        "pictures", metavar="PICTURE", nargs="+", type=folder, help="a picture's file"
    )
    parsers["predict"].add_argument(
        "--out",
        type=folder,
        metavar="FILE",
        help="the sheet with input, frame and output (default: prediction.png in the run's folder)",
    )
    for name in ("train", "reproduce", "eval", "gradcheck"):
        _add_device(parsers[name])
    for name in ("train", "reproduce", "eval", "predict"):
        parsers[name].add_argument(
            "--threads",
            type=int,
            metavar="N",
            help="how many threads work on a CPU; results do not depend on it (default: one a "
            "core, or OMP_NUM_THREADS)",
        )
    parsers["warm-up"].add_argument(
        "--all", action="store_true", help="every kernel, not only those that training launches"
    )
    parsers["warm-up"].add_argument(
        "--jobs", type=int, metavar="N", help="how many processes compile (default: one a core)"
    )
    parsers["gallery"].add_argument(
        "--out",
        type=folder,
        default=Path("gallery"),
        metavar="FOLDER",
        help="where to; pictures of that name are replaced (default: gallery)",
    )
    return parser, parsers


def _add_train(parser: Parser, experiment: type[Experiment]) -> None:
    """The options of `train`: those of an experiment, and those of every run."""
    parser.epilog = (
        "Ctrl-C stops after the step under way and says how to go on. The same settings give the "
        "same bits, stopped in between or not."
    )
    named = "[EXPERIMENT]" if experiment.name == DEFAULT else experiment.name
    parser.usage = f"stn-np train {named} [options]"
    parser.add_argument(
        "experiment",
        nargs="?",
        metavar="EXPERIMENT",
        help=f"what to train, before all options, which depend on it: {', '.join(EXPERIMENTS)} "
        f"(default: {DEFAULT}); the options below are those of {experiment.name}",
    )
    common = {item.name for item in TrainingSettings.options()}
    options = sorted(experiment.Settings.options(), key=lambda item: item.name in common)
    groups = {name: parser.add_argument_group(name) for name in _groups(options)}
    for item in options:
        rule = item.metadata
        groups[rule["group"]].add_argument(
            option_name(item.name),
            type=str if item.default is None else type(item.default),
            metavar=rule["metavar"],
            help=f"{rule['help']} (default: {experiment.Settings.default_text(item.name)})",
        )
    run = parser.add_argument_group("run")
    run.add_argument(
        "--out",
        type=folder,
        metavar="FOLDER",
        help="new folder for this run (default: a numbered one below runs/, named after the data "
        "and what is trained)",
    )
    run.add_argument(
        "--resume",
        type=folder,
        metavar="RUN",
        help="go on with a run that was stopped, from its newest sound checkpoint; its settings "
        "are kept, and giving others is an error, but for more --epochs: then it is trained on, "
        "also if it was finished, and from there on the learning rate is that of a run of so many",
    )


def _add_reproduce(parser: Parser) -> None:
    """The options of `reproduce`."""
    from stn_np.reproduce.tables import TABLES

    parser.epilog = (
        "Ctrl-C stops and saves; the same command goes on, and runs only what is missing. "
        "A finished cell has a run folder, as stn-np train makes it, below the sweep's folder."
    )
    parser.add_argument(
        "table",
        metavar="TABLE",
        choices=list(TABLES),
        help="; ".join(f"{name}: {table.title}" for name, table in TABLES.items()),
    )
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="CELL",
        help="these cells: RTS/st-cnn/tps, 'RTS/*', '*/st-cnn/affine' (default: all)",
    )
    parser.add_argument("--list", action="store_true", help="say what the cells are, and run none")
    parser.add_argument(
        "--preset",
        default="quick",
        metavar="quick|short|paper",
        help="how long, and how wide: quick is a first look; short comes near the paper's figures; "
        "paper is its own recipe, 150,000 iterations (default: quick)",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=[0],
        metavar="N",
        help="one run of each cell for each of these (default: 0)",
    )
    parser.add_argument(
        "--data",
        default="mnist",
        choices=("mnist", "digits"),
        metavar="mnist|digits",
        help="digits: the 1,797 that come with this package, for a first look; the paper has no "
        "figures for them (default: mnist)",
    )
    parser.add_argument("--workers", type=int, metavar="N", help="cells at a time (default: 1)")
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="of a Dask cluster, such as tcp://host:8786, whose workers train the cells, one a "
        "worker's thread; they must see the sweep's folder under the same path",
    )
    parser.add_argument(
        "--out",
        type=folder,
        metavar="FOLDER",
        help="the sweep's folder (default: reproduced/TABLE-PRESET)",
    )
    parser.add_argument(
        "--data-dir",
        type=folder,
        metavar="FOLDER",
        help="where the MNIST files are (default: $STN_NP_DATA, the user's cache, else downloaded)",
    )


def folder(text: str) -> Path:
    """A path, with ~ for the home folder wherever the shell has left it."""
    from stn_np.data.dataset import expanded

    try:
        return expanded(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from e


def _add_data(parser: argparse._ActionsContainer) -> None:
    """--data and --data-dir, for a run whose data are elsewhere now."""
    parser.add_argument(
        "--data",
        metavar="FOLDER|idx:FOLDER",
        help="where the run's pictures are now; they must be the same (default: where they were)",
    )
    parser.add_argument(
        "--data-dir",
        type=folder,
        metavar="FOLDER",
        help="where the MNIST files are (default: where the run found them)",
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


def _groups(options: Iterable[Field[Any]]) -> list[str]:
    """The headings of some settings, each once."""
    return list(dict.fromkeys(item.metadata["group"] for item in options))
