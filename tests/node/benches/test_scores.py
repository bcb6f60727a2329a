"""``pdfed bench score`` without a home: the figures of a process of its own."""

from __future__ import annotations

import json

import pytest

from node.__main__ import main


def test_every_part_of_a_score_has_a_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "score", "--images", "4", "--training-images", "20", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    figures = {figure["name"]: figure for figure in answer["figures"]}
    assert list(figures) == [
        "score an image",
        "processor time",
        "fingerprint",
        "search",
        "verification",
        "training features",
        "remembered features",
        "class thresholds",
        "memory",
        "sampling",
    ]
    assert all(figure["value"] > 0 for figure in answer["figures"] if figure["name"] != "search")
    parts = sum(figures[name]["value"] for name in ("fingerprint", "search", "verification"))
    assert figures["score an image"]["value"] == pytest.approx(parts)
    assert figures["score an image"]["reference"].startswith("goal 4 ms; 4 against 20 images of 32 px, float32")


def test_too_few_images_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "score", "--training-images", "19", "--json"]) == 2
    assert "--training-images 20 or more" in json.loads(capsys.readouterr().out)["error"]
    assert main(["bench", "train", "--json"]) == 2
    assert "needs the home of a node" in json.loads(capsys.readouterr().out)["error"]


def test_a_device_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "score", "--images", "4", "--training-images", "20", "--device", "tpu", "--json"]
    assert main(words) == 3
    assert "no device 'tpu'" in json.loads(capsys.readouterr().out)["error"]
