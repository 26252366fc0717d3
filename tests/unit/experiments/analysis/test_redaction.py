import pytest

from experiments.analysis.redaction import record_without_folders, without_folders


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("found no file '/Users/jo/My Drive/keys/a.png'.", "found no file '…/a.png'."),
        ('found "/Users/jo/My Drive/keys/a.png", not b', 'found "…/a.png", not b'),
        ("'/home/jo/a b/c' and '/home/jo/d'", "'…/c' and '…/d'"),
        ("in file:///home/jo/a.png", "in …/a.png"),
        ("in 'file:///home/jo/my keys/a.png'", "in '…/a.png'"),
        ("in ~/secret/x, and '~/my secret/x'", "in …/x, and '…/x'"),
        ("in /home/jo/keys/a.png: it can't be", "in …/a.png: it can't be"),
        ("3/4 of https://example.org/a/b, a/b/c", "3/4 of https://example.org/a/b, a/b/c"),
    ],
)
def test_only_the_last_part_of_absolute_paths_is_shown(text: str, shown: str) -> None:
    assert without_folders(text) == shown
    assert without_folders(shown) == shown


def test_known_folders_may_have_spaces_without_quotes() -> None:
    known = ("/home/jo/my runs", "", "/")
    for text in ("in /home/jo/my runs/a: none", "in /home/jo/my runs/b/a: none"):
        assert without_folders(text, *known) == "in …/a: none"
    assert without_folders("in /home/jo/my runs: none", *known) == "in …/my runs: none"


def test_all_reasons_of_a_record_are_shown_without_folders() -> None:
    record = {"kind": "round", "round": 3, "dropped": [{"partition_id": 1, "detail": "no /home/jo/x"}]}
    assert record_without_folders(record) == record | {"dropped": [{"partition_id": 1, "detail": "no …/x"}]}
    assert record_without_folders({"status": "failed: /home/jo/x"}) == {"status": "failed: …/x"}
