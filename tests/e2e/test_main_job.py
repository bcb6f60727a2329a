"""The main job, as a user starts it: `pdfed testnet`, then everything that can be asked of what it leaves behind."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from node.home import Home
from pdfedchain.ids import Cid, Hash, cid_text
from tests.e2e.network import pdfed, pdfed_json
from tests.support.rescore import judge

pytestmark = pytest.mark.e2e

SEED = Hash(b"\x07" * 32)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of one run of six submissions between four nodes. The run itself is the longest part."""
    directory = tmp_path_factory.mktemp("testnet") / "net"
    return pdfed_json("testnet", "--dir", directory, "--nodes", "4", "--submissions", "6", "--duration", "900")


@pytest.fixture
def home(result: dict[str, Any], tmp_path: Path) -> Home:
    """A copy of the first node's home: what is left when the others are gone."""
    shutil.copytree(Path(result["dir"]) / "node0", tmp_path / "node0")
    return Home(tmp_path / "node0")


def accepted(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [checkpoint for checkpoint in result["checkpoints"] if checkpoint["status"] == "accepted"]


def test_four_nodes_agree_on_models_of_several_authors(result: dict[str, Any]) -> None:
    assert result["heads_agree"] is True
    assert result["settled"] >= 6
    assert result["accepted"] >= 4
    assert len({checkpoint["author"] for checkpoint in accepted(result)}) >= 3
    authors = {checkpoint["cid"]: checkpoint["author"] for checkpoint in result["checkpoints"]}
    assert any(authors[p] != checkpoint["author"] for checkpoint in accepted(result) for p in checkpoint["parents"])
    assert result["ballots"] >= 3 * result["accepted"]


def test_blocks_go_on_while_nodes_train_and_score(result: dict[str, Any]) -> None:
    blocks = pdfed_json("blocks", "--home", Path(result["dir"]) / "node0", "--last", "1000")["blocks"]
    times_ms = sorted(block["time_ms"] for block in blocks)
    heights = sorted(block["height"] for block in blocks)
    assert heights == list(range(heights[0], heights[0] + len(heights)))
    first = min(checkpoint["submitted_height"] for checkpoint in result["checkpoints"])
    open_ms = [t for t, h in zip(times_ms, heights, strict=True) if h >= first]
    # An open deadline keeps a heartbeat of two seconds of chain time; a busy machine is allowed three times that on
    # average. Without blocks while nodes train and score there would be only a few for each checkpoint.
    assert len(open_ms) * 6_000 >= open_ms[-1] - open_ms[0]
    assert len(open_ms) >= 6 * result["settled"]


def test_the_best_model_beats_the_first_and_its_digits_are_recognised(result: dict[str, Any]) -> None:
    home = Home(Path(result["dir"]) / "node0")
    ceiling = json.loads(home.genesis_path.read_text())["ledger"]["tasks"][0]["ceilings"]["r_c_micro_max"] / 1e6
    first_fid, _, _ = judge(home, result["first"]["cid"], n=1_000, seed=SEED)
    best_fid, best_r_c, recognised = judge(home, result["best"]["cid"], n=1_000, seed=SEED)
    assert best_fid < first_fid
    assert best_r_c <= ceiling
    assert recognised >= 0.9


def test_an_audit_of_one_home_derives_every_score_again(result: dict[str, Any], home: Home) -> None:
    audit = pdfed_json("audit", "--home", home.path, "--scores", "all")
    assert audit["ok"] is True
    assert audit["problems"] == []
    assert audit["scores_checked"] == result["settled"]
    assert audit["scores_out_of_tolerance"] == 0
    assert audit["blocks"] >= result["height"]


def change_one_byte(path: Path, offset: int) -> None:
    """Flip one bit in the middle of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def test_an_audit_names_a_changed_byte_in_a_weights_file(home: Home) -> None:
    blocks = [path for path in (home.weights_dir / "blocks").rglob("b*") if path.is_file()]
    largest = max(blocks, key=lambda path: path.stat().st_size)
    change_one_byte(largest, largest.stat().st_size // 2)
    audit = pdfed_json("audit", "--home", home.path, "--scores", "1", status=1)
    damaged = [problem for problem in audit["problems"] if problem["kind"] == "weights-damaged"]
    assert any(largest.name in problem["where"] for problem in damaged)


def test_export_gives_a_folder_that_diffusers_loads_and_that_samples(
    result: dict[str, Any], home: Home, tmp_path: Path
) -> None:
    import torch
    from diffusers import DDIMScheduler, UNet2DModel

    out = tmp_path / "exported"
    pdfed("export", result["best"]["cid"], "--home", home.path, "--out", out)
    unet = UNet2DModel.from_pretrained(out, subfolder="unet")
    scheduler = DDIMScheduler.from_pretrained(out, subfolder="scheduler")
    scheduler.set_timesteps(10)
    image = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for step in scheduler.timesteps:
            image = scheduler.step(unet(image, step, torch.arange(4)).sample, step, image).prev_sample
    assert image.shape == (4, 1, 8, 8)
    assert torch.isfinite(image).all()
    again = pdfed("export", result["best"]["cid"], "--home", home.path, "--out", out, check=False)
    assert again.returncode == 2


def test_sample_writes_a_grid(result: dict[str, Any], home: Home, tmp_path: Path) -> None:
    from PIL import Image

    pdfed("sample", result["best"]["cid"], "--home", home.path, "--out", tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as image:
        assert min(image.size) > 100


def test_provenance_leads_to_a_model_trained_from_scratch(result: dict[str, Any], home: Home) -> None:
    child = next(checkpoint for checkpoint in accepted(result) if checkpoint["parents"])
    lineage = json.dumps(pdfed_json("provenance", child["cid"], "--home", home.path))
    assert all(parent in lineage for parent in child["parents"])


@pytest.mark.parametrize(
    ("what", "table", "identity", "column", "where"),
    [
        ("header", "light_blocks", "height", "light", "height = 5"),
        ("body", "bodies", "height", "body", "height = 5"),
        ("score", "state", "key", "value", "key >= x'636865636b706f696e742f' AND key < x'636865636b706f696e7430'"),
    ],
)
def test_an_audit_names_a_changed_byte_in_the_chain(
    home: Home, what: str, table: str, identity: str, column: str, where: str
) -> None:
    connection = sqlite3.connect(home.chain_db)
    rows = connection.execute(f"SELECT {identity}, {column} FROM {table} WHERE {where}").fetchall()
    row, value = next((row, value) for row, value in rows if what != "score" or b"pdfed/score-report" in value)
    # In a checkpoint the settled score stands near the end; one bit of it is another score.
    at = value.rfind(b"pdfed/score-report") + 30 if what == "score" else len(value) // 2
    changed = value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]
    connection.execute(f"UPDATE {table} SET {column} = ? WHERE {identity} = ?", (changed, row))
    connection.commit()
    connection.close()
    audit = pdfed_json("audit", "--home", home.path, "--scores", "none", status=1)
    assert audit["ok"] is False
    named = "block 5" if what != "score" else cid_text(Cid(row.removeprefix(b"checkpoint/")))
    assert any(named in problem["where"] for problem in audit["problems"]), audit["problems"]
