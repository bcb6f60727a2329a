"""The verifier of the ablation is the shipped one with switches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffusion.data.images import LabelledImages
from diffusion.score.learn import LearningPlan, train_verifier
from diffusion.score.shipped import shipped_fingerprinter
from diffusion.score.verifier import Verifier
from pdfedchain.ids import Hash
from tests.diffusion.ablation import FORMS, Form, FormedVerifier, formed_fingerprinter, forms_of_verifier


@pytest.mark.parametrize(("name", "plain"), [("as shipped", False), ("the paper's form", True)])
def test_with_all_switches_on_or_off_it_is_the_verifier(name: str, plain: bool) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        verifier = Verifier(64, plain=plain)
        maps = torch.rand(4, 64, 8, 8)
    formed = FormedVerifier(64)
    formed.form = FORMS[name]
    formed.load_state_dict(verifier.state_dict())
    expected, actual = (each.regions(maps) for each in (verifier, formed))
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(formed(actual[:2], actual[2:]), verifier(expected[:2], expected[2:]))


def test_trainings_make_the_chosen_form() -> None:
    images = LabelledImages(
        np.random.default_rng(1).integers(0, 256, (8, 1, 8, 8), dtype=np.uint8), np.zeros(8, dtype=np.int64)
    )
    form = Form(mean_off=False, early_maps=False)
    fingerprinter = formed_fingerprinter(form, shipped_fingerprinter())
    with forms_of_verifier(form):
        made = train_verifier(images, fingerprinter, seed=Hash(bytes(32)), plan=LearningPlan(verifier_steps=1, views=1))
    assert isinstance(made, FormedVerifier)
    assert made.form == form
    assert made.project.in_channels == 128


def test_the_last_map_is_the_third_block_and_features_stay() -> None:
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    model = shipped_fingerprinter()
    last = formed_fingerprinter(FORMS["the last map"], model)
    x = images.expand(-1, 3, -1, -1)
    for block in model.blocks:
        x = block(x, stride=1)
    torch.testing.assert_close(last.maps(images), x)
    torch.testing.assert_close(last(images), model(images))
    assert formed_fingerprinter(FORMS["as shipped"], model) is model
