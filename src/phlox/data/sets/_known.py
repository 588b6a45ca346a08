"""Which data sets are known by name: files, addresses, checksums, classes, licences."""

from __future__ import annotations

from dataclasses import dataclass

from phlox.data.fetching._remote import RemoteFile

_DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class KnownSet:
    """A data set of images and labels, and where its files lie.

    Arguments:
        title: what its makers call it.
        sizes: how many observations, training first.
        shape: (height, width, channels) of an image.
        classes: what label i stands for.
        licence: under which terms it may be used, as its makers say.
        home: the page of its makers.
        files: what is fetched.
        kind: which reader reads it.
    """

    title: str
    sizes: tuple[int, int]
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    licence: str
    home: str
    files: tuple[RemoteFile, ...]
    kind: str

    @property
    def megabytes(self) -> float:
        """What is fetched, in 10⁶ bytes."""
        return sum(file.size for file in self.files) / 1e6


def _remote(folders: tuple[str, ...], *files: tuple[str, int, str]) -> tuple[RemoteFile, ...]:
    """Files of one name in several folders: (name, bytes, SHA-256)."""
    return tuple(RemoteFile(name, tuple(folder + name for folder in folders), *known) for name, *known in files)  # type: ignore[arg-type]


_IDX = (
    *("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    *("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
)


def _mnist(
    title: str, classes: tuple[str, ...], licence: str, home: str, folders: tuple[str, ...], *known: tuple[int, str]
) -> KnownSet:
    """One of the sets in MNIST's form: its four files in the order of ``_IDX``, (bytes, SHA-256)."""
    files = _remote(folders, *((name, *each) for name, each in zip(_IDX, known, strict=True)))
    return KnownSet(title, (60_000, 10_000), (28, 28, 1), classes, licence, home, files, "idx")


_CIFAR = ("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/")
_CIFAR_10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CIFAR_100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
wardrobe whale willow_tree wolf woman worm
"""

SETS: dict[str, KnownSet] = {
    "mnist": _mnist(
        "MNIST",
        _DIGITS,
        "CC BY-SA 3.0",
        "http://yann.lecun.com/exdb/mnist/",
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
        (9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        (28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        (1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        (4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
    "fashion_mnist": _mnist(
        "Fashion-MNIST",
        (
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
        "MIT",
        "https://github.com/zalandoresearch/fashion-mnist",
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        (26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        (29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        (4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        (5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    ),
    "kmnist": _mnist(
        "Kuzushiji-MNIST",
        ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        "CC BY-SA 4.0",
        "http://codh.rois.ac.jp/kmnist/",
        ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        (18_165_135, "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4"),
        (29_497, "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17"),
        (3_041_136, "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5"),
        (5_120, "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"),
    ),
    "cifar10": KnownSet(
        "CIFAR-10",
        (50_000, 10_000),
        (32, 32, 3),
        _CIFAR_10,
        "none stated",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        _remote(
            _CIFAR,
            (
                "cifar-10-binary.tar.gz",
                170_052_171,
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            ),
        ),
        "cifar",
    ),
    "cifar100": KnownSet(
        "CIFAR-100",
        (50_000, 10_000),
        (32, 32, 3),
        tuple(_CIFAR_100.split()),
        "none stated",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        _remote(
            _CIFAR,
            (
                "cifar-100-binary.tar.gz",
                168_513_733,
                "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
            ),
        ),
        "cifar",
    ),
    "svhn": KnownSet(
        "Street View House Numbers, cropped digits",
        (73_257, 26_032),
        (32, 32, 3),
        _DIGITS,
        "non-commercial use only",
        "http://ufldl.stanford.edu/housenumbers/",
        _remote(
            ("http://ufldl.stanford.edu/housenumbers/",),
            ("train_32x32.mat", 182_040_794, "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8"),
            ("test_32x32.mat", 64_275_384, "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b"),
        ),
        "svhn",
    ),
}
