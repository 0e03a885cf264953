"""What experiments that classify pictures have in common: data, loss, score, results."""

from __future__ import annotations

import textwrap
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from stn_np import data
from stn_np.backend import Array
from stn_np.data import Dataset
from stn_np.experiments.experiment import Experiment, Paper
from stn_np.gpu.devices import to_device
from stn_np.layers import cross_entropy
from stn_np.module import Module
from stn_np.training.batches import BatchOrder
from stn_np.training.evaluate import Evaluation, Measured, classification_error
from stn_np.training.settings import TrainingSettings, setting
from stn_np.training.task import Data

#: Seed of the test set: the same for all runs, so that their errors can be compared.
TEST_SEED = 0

#: How many test pictures are followed.
N_FOLLOWED = 20

#: What the data sets with a name hold, so that a network can be built without them.
KNOWN_CLASSES = {"mnist": 10, "digits": 10}

TRANSFORM_HELP = (
    "what the spatial transformer may do: translation, attention, similarity, affine, projective, "
    "tps, piecewise-affine, flow, linear-basis; or, predicting angles and the logarithms of "
    "scales, attention-log, similarity-log, affine-natural"
)


@dataclass(frozen=True, kw_only=True)
class PictureSettings(TrainingSettings):
    """Settings of an experiment on labelled pictures; those without help are filled in by us.

    Attributes
    ----------
    data : str
        "mnist", "digits", or the absolute path of a folder of images; never "auto".
    data_dir : str or None
        Where the MNIST files were looked for first, or where a folder is now. Says where, not what:
        it may change.
    data_checksum : str
        CRC-32 of images and labels: a run is only continued on the data it began with.
    n_classes : int or None
        Of the data.
    inverted, white : bool or None
        As in `Dataset`: how single pictures are to be shown to the model.
    test_seed : int
        Of the random numbers in the test set.
    """

    data: str = setting(
        "auto",
        "MNIST; 1,797 digits that come with this package; a folder of images with one sub-folder a "
        "class; idx: and a folder with files in MNIST's format; or auto: MNIST where it can be "
        "had, else digits",
        metavar="auto|mnist|digits|FOLDER|idx:FOLDER",
        group="data",
    )
    data_dir: str | None = setting(
        None,
        "where the MNIST files are",
        metavar="FOLDER",
        group="data",
        shown="$STN_NP_DATA, the user's cache, else downloaded",
        identity=False,
    )
    image_size: int = setting(
        28,
        "side that a folder's pictures are brought to, in pixels",
        minimum=2,
        group="data",
        since_0_1=False,
    )
    channels: int = setting(
        1,
        "1: grey; 3: a folder's pictures in colour",
        metavar="1|3",
        minimum=1,
        group="data",
        since_0_1=False,
    )
    label_smoothing: float = setting(
        0.0,
        "share of each label that all classes get alike; 0: none",
        metavar="SHARE",
        minimum=0,
        below=1,
        since_0_1=False,
    )
    data_checksum: str = setting("0")
    n_classes: int | None = setting(None, since_0_1=False)
    inverted: bool | None = setting(None, identity=False, since_0_1=False)
    white: bool | None = setting(None, identity=False, since_0_1=False)
    test_seed: int = setting(TEST_SEED, minimum=0)

    #: What takes grey pictures alone, for a message; else empty.
    grey_only: ClassVar[str] = ""

    @classmethod
    def defaults(cls, name: str) -> Mapping[str, Any]:
        """The default settings for some data."""
        return cls.by_data.get(name, cls.by_data["digits"])

    @classmethod
    def check_given(cls, given: Mapping[str, Any], label: Callable[[str], str] = str) -> None:
        """Check what the user said, by itself and together."""
        super().check_given(given, label)
        channels = given.get("channels", 1)
        if cls.grey_only and channels != 1:
            raise ValueError(f"{label('channels')}: expected 1, as {cls.grey_only} grey digits")
        if channels not in (1, 3):
            raise ValueError(
                f"{label('channels')}: expected 1 (grey) or 3 (colour), got {channels}"
            )
        model = given.get("model", "st-")
        if "transform" in given and "st-" not in model:
            choices = next(f.metadata["choices"] for f in cls.options() if f.name == "model")
            others = [name for name in choices if "st-" in name]
            nearest = f"st-{model}" if f"st-{model}" in others else " or ".join(others)
            raise ValueError(
                f"{label('transform')}: expected a model with a spatial transformer, got "
                f"{label('model')} {model}; {nearest} has one"
            )


class Classification(Experiment):
    """Pictures to classes.

    Parameters
    ----------
    settings
        All of them.
    device
        "cpu" or "gpu": where batches and test set are.
    halves
        The training and the test set; by default those that the settings name, checked to be the
        ones that the run was begun with.
    """

    Settings: ClassVar[type[PictureSettings]]

    #: What run folders and pictures are named by, besides data and model.
    label: ClassVar[str] = ""
    #: Why the paper has no figure for some settings.
    no_figure: ClassVar[str]

    def __init__(
        self, settings: Any, device: str = "cpu", halves: tuple[Dataset, Dataset] | None = None
    ) -> None:
        self.settings, self.device = settings, device
        self._given = halves

    @classmethod
    def create(
        cls,
        given: Mapping[str, Any],
        device: str = "cpu",
        halves: tuple[Dataset, Dataset] | None = None,
    ) -> Self:
        """Make it from the settings that the user gave; others have the defaults for these data."""
        name = given.get("data", "auto")
        pictures = {key: given[key] for key in ("image_size", "channels") if key in given}
        halves = halves or data.load(name, given.get("data_dir"), **pictures)
        name = halves[0].name if name == "auto" else data.full_name(name)
        found = {
            "data": name,
            "data_checksum": data_checksum(*halves),
            "n_classes": len(halves[0].class_names),
            "inverted": halves[0].inverted,
            "white": halves[0].white,
            "image_size": _side(halves[0]),
            "channels": int(halves[0].images.shape[1]),
        }
        settings = cls.Settings(**{**cls.Settings.defaults(name), **given, **found})
        return cls(settings, device, halves)

    @cached_property
    def halves(self) -> tuple[Dataset, Dataset]:
        """The training and the test set, as they are.

        Raises
        ------
        ValueError
            If the data are others now than those that the run was begun with.
        """
        if self._given is not None:
            return self._given
        settings = self.settings
        name, folder = settings.data, settings.data_dir
        if folder is not None and name not in data.NAMES:  # moved since
            name, folder = name.startswith(data.IDX) * data.IDX + folder, None
        if name not in data.NAMES and not Path(name.removeprefix(data.IDX)).exists():
            raise ValueError(
                f"data: the run's pictures were in {name}, where there is no folder now; "
                "if they are elsewhere: --data FOLDER"
            )
        halves = data.load(name, folder, settings.image_size, settings.channels)
        if (found := data_checksum(*halves)) != settings.data_checksum:
            raise ValueError(
                f"data: the run was begun with data of checksum {settings.data_checksum}, but "
                f"{name} now has {found}: images were changed, added or removed, "
                "or another version of stn_np brings them to this size in another way"
            )
        return halves

    @cached_property
    def train(self) -> tuple[Array, Array]:
        """Training images (N, C, H, W) and labels (N,) on the device, as they are."""
        train, _ = self.halves
        return to_device(train.images, self.device), to_device(train.labels, self.device)

    @cached_property
    def order(self) -> BatchOrder:
        """Which training pictures come when."""
        settings = self.settings
        return BatchOrder(self.epoch_size, settings.batch_size, settings.seed, self.device)

    @property
    def epoch_size(self) -> int:
        """How many training examples an epoch has."""
        return len(self.halves[0].images)

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) of the pictures as they are."""
        if self._given is None:
            return self.settings.image_size, self.settings.image_size
        H, W = self._given[0].images.shape[2:]
        return H, W

    @property
    def channels(self) -> int:
        """1 for grey pictures, 3 for colour."""
        given = self._given
        return self.settings.channels if given is None else int(given[0].images.shape[1])

    @property
    def n_classes(self) -> int:
        """How many classes the data have."""
        known = self.settings.n_classes or KNOWN_CLASSES.get(self.settings.data)
        return known if known and self._given is None else len(self.halves[0].class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the classes that the model tells apart."""
        return self.halves[0].class_names

    @property
    def transform(self) -> str | None:
        """The family of the model's transformers; None where it has none."""
        return self.settings.transform if "st-" in self.settings.model else None

    def tested_on(self, inputs: Array, labels: Array) -> Data:
        """These NumPy arrays as the test set; some pictures of each class are followed."""
        train, _ = self.halves
        if not len(inputs):
            raise ValueError("data: expected at least one test image, got none")
        return Data(
            inputs=to_device(inputs, self.device),
            targets=to_device(labels, self.device),
            followed=choose(labels),
            note=train.note,
        )

    def loss(self, outputs: Array, targets: Array) -> tuple[Array, Callable[..., Array]]:
        """Cross-entropy."""
        smoothing = self.settings.label_smoothing
        return cross_entropy(outputs, targets, label_smoothing=smoothing)

    def score(self, outputs: Array, targets: Array) -> dict[str, Array]:
        """Which pictures are classified wrongly."""
        return classification_error(outputs, targets)

    def answers(self, outputs: Array) -> Array:
        """The class with the largest logit."""
        answers: Array = outputs.argmax(axis=1)
        return answers

    def facts(self) -> dict[str, Any]:
        """Data and model."""
        train, test = self.halves
        settings = self.settings
        return {
            "data": train.name,
            "train_images": len(train.images),
            "test_images": len(test.images),
            "model": settings.model,
            "transform": self.transform,
        }

    def results(self, model: Module, tested: Measured) -> dict[str, Any]:
        """The confusion matrix, the paper's figure, and the experiment's own figures."""
        found = Evaluation(tested.loss, tested.targets, self.answers(tested.outputs))
        confusion = found.confusion(len(self.class_names))
        per_class = confusion.sum(axis=1)
        wrong = per_class - confusion.diagonal()
        paper = self.paper()
        return {
            "test_wrong": found.wrong,
            "paper_error": paper.error,
            "paper_why": paper.why,
            **self.figures(model),
            "class_names": list(self.class_names),
            "class_errors": [
                100 * int(w) / int(n) if n else None for w, n in zip(wrong, per_class, strict=True)
            ],
            "confusion": confusion.tolist(),
        }

    def paper(self) -> Paper:
        """The paper's figure, and why ours may differ; or why there is none."""
        if (error := self.paper_error()) is None:
            return Paper(None, self.no_figure)
        n_steps = self.order.per_epoch * self.settings.epochs
        return Paper(error, self.why_different(n_steps, self.settings.optimizer))

    def paper_error(self) -> float | None:
        """The paper's test error in % with these settings, if it has one."""
        return None

    @staticmethod
    def why_different(n_steps: int, optimizer: str) -> str:
        """In words, why a run's error and the paper's may differ."""
        why = "the paper does not say how it was trained; this is one run of "
        return f"{why}{n_steps:,} iterations of {optimizer}"

    def figures(self, model: Module) -> dict[str, Any]:
        """The experiment's own figures about the trained model, by name."""
        return {}

    def stem(self, *about: str) -> str:
        """Data and model; the transform, too, unless it is the default for these data."""
        settings = self.settings
        parts = [self.label, Path(settings.data).name, *about, settings.model]
        usual = self.Settings.defaults(settings.data).get("transform", "affine")
        if self.transform and self.transform != usual:
            parts.append(self.transform)
        return "-".join(filter(None, parts))

    def headline(self) -> str:
        """How many images there are."""
        train, test = self.halves
        return f"{len(train.images):,} training and {len(test.images):,} test images"

    @classmethod
    def summary(cls, results: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Data, model, and how well it does beside the paper's."""
        wrong, count, paper = results["test_wrong"], results["test_images"], results["paper_error"]
        why = results["paper_why"]
        beside = f"none: {why}" if paper is None else f"{paper:.1f} %\n{textwrap.fill(why, 64)}"
        return [
            ("data set", f"{results['data']}, {results['train_images']:,} training images"),
            ("model", results["model"]),
            ("transform", results["transform"] or "none: this model has no transformer"),
            ("parameters", f"{results['parameters']:,}"),
            ("test error", f"{results['test_error']:.2f} %  ({wrong:,} of {count:,} wrong)"),
            ("paper's error", beside),
        ]

    @classmethod
    def title(cls, config: Mapping[str, Any]) -> str:
        """Model, transform and data in one line."""
        model, name = str(config["model"]), Path(str(config["data"])).name
        transform = f" ({config['transform']})" if "st-" in model else ""
        model = model.upper().replace("2X", "2×")
        label = f", {cls.label}" if cls.label else ""
        return f"{model}{transform} · {'MNIST' if name == 'mnist' else name}{label}"


def _side(half: Dataset) -> int:
    """Of square pictures. A run must know it without its data, to load a model."""
    H, W = half.images.shape[2:]
    if H != W:
        raise ValueError(f"data: expected square pictures, got {H} x {W} in {half.name}")
    return int(H)


def choose(labels: Array, count: int = N_FOLLOWED) -> Array:
    """Indices of the pictures to follow: the first of each class, then the second of each, ...

    Parameters
    ----------
    labels
        (N,), the class of each test image.
    count
        How many; fewer if there are not so many images.
    """
    by_class = [np.flatnonzero(labels == k) for k in np.unique(labels)]
    longest = max(map(len, by_class))
    order = [rows[i] for i in range(longest) for rows in by_class if i < len(rows)]
    return np.array(order[:count])


def data_checksum(train: Dataset, test: Dataset) -> str:
    """A short checksum of both halves of a data set, as 8 hexadecimal digits."""
    crc = 0
    for half in (train, test):
        for array in (half.images, half.labels):
            crc = zlib.crc32(np.ascontiguousarray(array).data, crc)
    return f"{crc:08x}"
