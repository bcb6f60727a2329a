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
from tests.diffusion.ablation import FORMS, Form, FormedVerifier, forms_of_verifier


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
    form = Form(softplus=True, mean_off=False, stretch=True)
    with forms_of_verifier(form):
        made = train_verifier(
            images, shipped_fingerprinter(), seed=Hash(bytes(32)), plan=LearningPlan(verifier_steps=1, views=1)
        )
    assert isinstance(made, FormedVerifier)
    assert made.form == form
