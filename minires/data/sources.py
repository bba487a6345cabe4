"""Where the published data sets come from, and the md5 sums of their files.

The sums of the CIFAR archives are on their page (https://www.cs.toronto.edu/~kriz/cifar.html), those of Fashion-MNIST's
on its own (https://github.com/zalandoresearch/fashion-mnist). They are against damage on the way, not against forgers:
md5 is what the publishers gave.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ArgumentError, listed


@dataclass(frozen=True)
class Archive:
    """A file to download: its name at every mirror, its md5 sum, and how many bytes it has."""

    file: str
    md5: str
    size: int


@dataclass(frozen=True)
class Source:
    """A published data set.

    Parameters
    ----------
    name : str
        As ``minires.data.load`` takes it.
    licence : str
    folder : str
        Where the files go, in the data folder.
    mirrors : tuple of str
        The beginnings of addresses, the first one first.
    archives : tuple of Archive
        ``.tar.gz`` are unpacked; single files, ``.gz``, are kept as they are.
    sums : dict
        For each folder that the data set may lie in, its files and the md5 sum of each, unpacked. Where nobody has
        published a sum, it is "".
    """

    name: str
    licence: str
    folder: str
    mirrors: tuple[str, ...]
    archives: tuple[Archive, ...]
    sums: dict[str, dict[str, str]]

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(archive.size for archive in self.archives)


_TORONTO = ("https://www.cs.toronto.edu/~kriz/",)
_MNIST_SUMS = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
_FASHION_SUMS = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}

MNIST = Source(
    "mnist",
    "none stated",
    "mnist",
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    (
        Archive("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873", 9_912_422),
        Archive("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432", 28_881),
        Archive("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3", 1_648_877),
        Archive("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c", 4_542),
    ),
    {"mnist": _MNIST_SUMS, "MNIST/raw": _MNIST_SUMS},
)
FASHION_MNIST = Source(
    "fashion_mnist",
    "MIT",
    "fashion-mnist",
    (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    (
        Archive("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d", 26_421_880),
        Archive("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe", 29_515),
        Archive("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79", 4_422_102),
        Archive("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310", 5_148),
    ),
    {"fashion-mnist": _FASHION_SUMS, "FashionMNIST/raw": _FASHION_SUMS},
)
CIFAR10 = Source(
    "cifar10",
    "none stated",
    "cifar-10-batches-bin",
    _TORONTO,
    (Archive("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530", 170_052_171),),
    {
        "cifar-10-batches-bin": {
            "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
            "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
            "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
            "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
            "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
            "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
        },
        "cifar-10-batches-py": {
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
        },
    },
)
CIFAR100 = Source(
    "cifar100",
    "none stated",
    "cifar-100-python",
    _TORONTO,
    (Archive("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85", 169_001_437),),
    {
        "cifar-100-binary": {"train.bin": "", "test.bin": ""},
        "cifar-100-python": {
            "train": "16019d7e3df5f24257cddd939b257f8d",
            "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        },
    },
)

SOURCES = {source.name: source for source in (MNIST, FASHION_MNIST, CIFAR10, CIFAR100)}


def source_of(name: str) -> Source:
    """The source of a published data set. Raises ArgumentError for another name."""
    if name not in SOURCES:
        raise ArgumentError(f"data: {name!r} is no data set to download; choose one of {listed(list(SOURCES))}.")
    return SOURCES[name]
