"""Digests of files: any change of content is seen, nothing else is."""

from __future__ import annotations

import pytest

from autotrain_llm.declare import digests


@pytest.fixture
def pieces(monkeypatch):
    """Pieces so small that a short file has several."""
    monkeypatch.setattr(digests, "PIECE", 4)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"0123456789", b"0123456788"),
        (b"01234567", b"45670123"),
        (b"0123", b"01234"),
        (b"", b"0"),
        (b"0000", b"00000000"),
    ],
)
def test_any_change_of_bytes_gives_another_digest(before, after, pieces, tmp_path):
    file = tmp_path / "state.pt"
    file.write_bytes(before)
    (entry,) = digests.listed(tmp_path, [file]).values()
    assert digests.is_unchanged(file, entry)
    file.write_bytes(after)
    assert not digests.is_unchanged(file, entry)


def test_a_file_that_is_gone_or_has_no_entry_is_not_unchanged(tmp_path):
    assert not digests.is_unchanged(tmp_path / "none", {"bytes": 0, "digest": ""})
    assert not digests.is_unchanged(tmp_path / "none", 12)


@pytest.mark.parametrize("size", [1000, 1 << 21])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.9])
def test_other_weights_have_another_digest(size, share, tmp_path, monkeypatch):
    """A large file, which is sampled, differs where one of fifty tensors does."""
    monkeypatch.setattr(digests, "WHOLE", 1 << 16)
    monkeypatch.setattr(digests, "END", 1 << 12)
    monkeypatch.setattr(digests, "SAMPLE", 1 << 8)
    path = tmp_path / "model.safetensors"
    path.write_bytes(content := bytes(size))
    before = digests.sampled_digest(path)
    start = int(size * share)
    path.write_bytes(content[:start] + b"\1" * (size // 50) + content[start + size // 50 :])
    assert digests.sampled_digest(path) != before
    path.write_bytes(content)
    assert digests.sampled_digest(path) == before
