"""Ready classifiers give the scores of timm's and torchvision's, by the names of their weights."""

from collections import Counter

import pytest
import torch

import phlox as px
from areas.vision.twins import LIBRARIES, TWINS, answer_alike, converted, dialect, disturbed, variants
from phlox.models._catalogue import FAMILIES, family_of

VARIANTS = {f"{name} of {library}": (family, library, name) for family, library, name in variants()}


@pytest.fixture(scope="module", params=TWINS)
def pair(request):
    twin = TWINS[request.param]
    torch.manual_seed(0)
    theirs = disturbed(twin.theirs())
    return twin, converted(twin, theirs), theirs


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_scores_are_theirs(pair, dtype):
    twin, ours, theirs = pair
    answer_alike(ours, theirs, twin.size, dtype, head=twin.head)


def test_every_family_and_every_library_it_names_has_a_twin():
    twins = {(type(twin.config), dialect(family_of(twin.config, ""), twin.library)) for twin in TWINS.values()}
    assert twins >= {(f.config, d) for f in FAMILIES for d in f.names if d in LIBRARIES}


@pytest.mark.parametrize("family", [f for f in FAMILIES if "timm" in f.names], ids=lambda f: f.config.model_type)
def test_timm_knows_every_variant_by_its_name(family):
    """px.models.save writes it as the architecture, from which timm builds the model."""
    knows, _ = LIBRARIES["timm"]
    assert [name for name in family.variants if not knows(name)] == []


@pytest.mark.parametrize("case", VARIANTS)
def test_every_published_variant_has_their_names_and_shapes(case):
    family, library, name = VARIANTS[case]
    with torch.device("meta"):
        built = LIBRARIES[library][1](name, num_classes=family.variants[name].classes)
    theirs = {n: tuple(x.shape) for n, x in built.state_dict().items()}
    names = family.names_of(dialect(family, library), family.variants[name])
    slots, nameless = names.slots(px.eval_shape(lambda: px.models.create(name, key=0)))
    assert not nameless
    assert {n for slot in slots for n in slot.theirs} == {n for n in theirs if not names.ignores(n)}
    rows = Counter()
    for slot in slots:
        for there in slot.theirs:
            assert slot.fits(theirs[there]), (slot, theirs[there])
            rows[there] += slot.shape_there[0] if slot.whole else 0
    assert all(theirs[n][0] == count for n, count in rows.items() if count)
