"""The paper's networks on random weights: sizes, shapes, and weights from a folder."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_model
from transformers import Dinov2Config, Dinov2Model

from diffusion.errors import DatasetError
from diffusion.score import paper
from diffusion.score.fingerprint import describe
from diffusion.score.paper import (
    Dinov2Extractor,
    ResNetFingerprinter,
    dinov2_extractor,
    paper_scorer,
    paper_verifier,
    resnet_fingerprinter,
)
from diffusion.score.scorer import PAPER, read_scorer, write_scorer
from diffusion.score.verifier import REGIONS, similarities
from pdfedchain.errors import UsageError
from pdfedchain.types.score import ArithmeticProfile


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_fingerprinter_is_a_resnet_50_with_a_projection_to_256() -> None:
    with torch.device("meta"):
        model = resnet_fingerprinter()
        images = torch.empty(3, 3, 100, 100)
        maps, (pooled, fingerprints) = model.maps(images), model(images)
    # 25,557,032 parameters in He et al.'s network, 2,049,000 of them in the classifier that is left out here
    assert parameters(model.backbone) == 25_557_032 - 2_049_000
    assert parameters(model) == 23_508_032 + 2_048 * 256 + 256
    assert (maps.shape, pooled.shape, fingerprints.shape) == ((3, 2_048, 8, 8), (3, 2_048), (3, 256))


def test_the_extractor_is_a_vit_large_with_patches_of_14() -> None:
    with torch.device("meta"):
        model = dinov2_extractor(None)
        features = model(torch.empty(2, 1, 32, 32))
    assert parameters(model) == 304_368_640
    assert model.backbone.config.patch_size == 14
    assert features.shape == (2, 1_024)


def test_the_verifier_projects_to_a_quarter_of_the_maps_channels() -> None:
    with torch.device("meta"):
        verifier = paper_verifier()
        regions = verifier.regions(torch.empty(2, 2_048, 8, 8))
        logits = verifier(regions, regions)
    assert (regions.shape, logits.shape) == ((2, REGIONS, 512), (2,))
    judge = REGIONS * REGIONS * 128 + 128 + 128 * 64 + 64 + 64 + 1
    assert parameters(verifier) == 2_048 * 512 + 512 + judge


@pytest.fixture(scope="module")
def model() -> ResNetFingerprinter:
    torch.manual_seed(0)
    return resnet_fingerprinter()


def test_fingerprints_have_unit_length_and_differ(model: ResNetFingerprinter) -> None:
    images = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        fingerprints = model(images)[1]
    torch.testing.assert_close(fingerprints.norm(dim=1), torch.ones(2))
    assert not torch.equal(fingerprints[0], fingerprints[1])


def test_weights_load_from_a_file_and_a_backbone_from_a_folder(model: ResNetFingerprinter, tmp_path: Path) -> None:
    model.backbone.save_pretrained(tmp_path)
    save_model(model, str(tmp_path / "fingerprinter.safetensors"))
    for again, same in (
        (resnet_fingerprinter(tmp_path / "fingerprinter.safetensors"), lambda module: module),
        (resnet_fingerprinter(backbone=str(tmp_path)), lambda module: module.backbone),
    ):
        pairs = zip(same(again).state_dict().values(), same(model).state_dict().values(), strict=True)
        assert all(torch.equal(ours, theirs) for ours, theirs in pairs)
    with pytest.raises(DatasetError, match="has no weights of a ResNet-50 fingerprinter"):
        resnet_fingerprinter(tmp_path / "none.safetensors")


def test_weights_of_another_size_or_none_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = Dinov2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)
    Dinov2Model(small).save_pretrained(tmp_path / "small")
    monkeypatch.setattr(paper, "_DINOV2_SIZE", 32)
    assert dinov2_extractor(tmp_path / "small").backbone.config.hidden_size == 32
    monkeypatch.undo()
    with pytest.raises(DatasetError, match="has hidden_size 32, expected 1024"):
        dinov2_extractor(tmp_path / "small")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"empty has no config\.json"):
        dinov2_extractor(tmp_path / "empty")
    monkeypatch.setattr(paper, "_DINOV2_SIZE", 32)
    (tmp_path / "small" / "model.safetensors").unlink()
    with pytest.raises(DatasetError, match="small has no weights that can be loaded"):
        dinov2_extractor(tmp_path / "small")


def test_images_are_normalised_as_on_imagenet() -> None:
    seen: list[torch.Tensor] = []

    class Backbone(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> Dinov2Model:
            seen.append(images)
            raise StopIteration

    grey = torch.full((1, 1, 8, 8), 0.2)
    with pytest.raises(StopIteration):
        Dinov2Extractor(Backbone())(grey)
    assert seen[0].shape == (1, 3, 224, 224)
    expected = (torch.tensor([0.6, 0.6, 0.6]) - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor(
        [0.229, 0.224, 0.225]
    )
    torch.testing.assert_close(seen[0][0, :, 100, 100], expected)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError) as caught:
        paper.dinov2_extractor(None)
    assert "pdfedchain[paper]" in caught.value.hint


def test_a_scorer_of_the_papers_networks_survives_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def small(*_: object) -> Dinov2Extractor:
        torch.manual_seed(1)
        config = Dinov2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)
        return Dinov2Extractor(Dinov2Model(config))

    monkeypatch.setattr(paper, "dinov2_extractor", small)
    monkeypatch.setattr(Dinov2Extractor, "feature_size", 32)
    scorer = paper_scorer(image_size=32, channels=3).to(ArithmeticProfile.F32)
    assert (scorer.extractor_name, scorer.feature_size) == ("paper-32px-3ch", 32)
    assert (scorer.fingerprinter.fingerprint_size, scorer.verifier.plain, scorer.feature_scale) == (256, True, 1.0)
    write_scorer(tmp_path, scorer)
    again = read_scorer(tmp_path, profile=ArithmeticProfile.F32)
    assert again.construction == PAPER
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), dtype=np.uint8)
    first, second = (describe(each.fingerprinter, images, extractor=each.extractor) for each in (scorer, again))
    assert first.features.shape == (2, 32)
    np.testing.assert_array_equal(first.features, second.features)
    np.testing.assert_array_equal(first.fingerprints, second.fingerprints)
    compared = [
        similarities(each.fingerprinter, each.verifier, images, images, np.array([[0, 1]])) for each in (scorer, again)
    ]
    assert compared[0] == compared[1]
