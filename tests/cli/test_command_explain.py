"""``minires explain step``: a page on disk, or an error message of one sentence."""

import pytest


def test_it_writes_a_page_of_the_first_block(minires, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = minires("explain", "step")
    size = (tmp_path / "step.html").stat().st_size
    assert result.status == 0 and result.err == ""
    assert result.out.startswith("step.html: 24 nodes forward and backward, ") and 30_000 < size < 300_000
    text = (tmp_path / "step.html").read_text(encoding="utf-8")
    assert "layer1.0.conv1.weight" in text and "layer1.1" not in text and "layer2" not in text


def test_another_network_another_place_another_seed(minires, tmp_path):
    pages = []
    for number, words in enumerate([["--model", "plain8"], [], ["--seed", "1"]]):
        out = tmp_path / f"page {number}.html"
        assert minires("explain", "step", "--out", out, *words).out.startswith(str(out))
        pages.append(out.read_text(encoding="utf-8"))
    assert [page.count('"kind":"residual_add"') for page in pages] == [0, 1, 1] and pages[1] != pages[2]


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        ("--model resnet21", 2, "there is no model 'resnet21'; choose one of resnet8"),
        ("--data nothing", 2, "there is no data set 'nothing'"),
        ("--seed -1", 2, "seed is -1; it must be an integer >= 0."),
        ("--seed x", 2, "--seed is 'x'; it must be an integer. Try 'minires explain --help'."),
        ("--out no/such/folder/step.html", 1, "no/such/folder/step.html: No such file or directory."),
    ],
)
def test_what_is_wrong_is_one_sentence(minires, tmp_path, monkeypatch, words, status, sentence):
    monkeypatch.chdir(tmp_path)
    result = minires("explain", "step", *words.split())
    assert result.status == status and result.out == "" and result.err.count("\n") == 1
    assert result.err.startswith("minires explain: ") and sentence in result.err.replace("\\", "/")
    assert not list(tmp_path.iterdir())
