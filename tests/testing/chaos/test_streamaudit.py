"""What the audit of a stream sees, message by message."""

from __future__ import annotations

import pytest

from asyncblock.server.jetstream import PartitionNames
from asyncblock.server.jetstream.natsstore import StoredMessage
from asyncblock.testing.chaos.streamaudit import StreamAudit

NAMES = PartitionNames("s")


def stream(*commits: str) -> list[StoredMessage]:
    """Return a stream: ``own``, or a commit's TERM.NUMBER, with a ``+`` where more of it follows."""
    found = []
    for seq, each in enumerate(commits, 1):
        if each == "own":
            found.append(StoredMessage(seq, NAMES.own, {}, b""))
        else:
            headers = {"Ab-Commit": each.removesuffix("+"), **({} if each.endswith("+") else {"Ab-End": "1"})}
            found.append(StoredMessage(seq, NAMES.entries(1), headers, b""))
    return found


@pytest.mark.parametrize(
    ("messages", "figures"),
    [
        # Commits, those that are cut, takeovers, fenced messages, commits that stand again.
        (["own", "own", "2.1", "2.2+", "2.2", "own", "6.3"], (3, 0, 2, 0, 0)),
        (["own", "1.1+", "own", "3.2"], (1, 1, 2, 0, 0)),
        (["own", "1.1", "own", "1.2", "3.1"], (3, 0, 2, 1, 0)),
        (["own", "1.1", "1.1"], (2, 0, 1, 0, 1)),
        (["own", "1.1", "1.2", "1.1"], (3, 0, 1, 0, 1)),
        (["1.1"], (1, 0, 0, 1, 0)),
    ],
)
def test_each_message_is_of_the_owner_and_each_commit_stands_once(
    messages: list[str], figures: tuple[int, ...]
) -> None:
    found = StreamAudit()
    found.take_in(NAMES, stream(*messages))
    assert (found.commits, found.cut, found.takeovers, found.fenced, found.repeated) == figures
    assert found.clean is (figures[3:] == (0, 0))
    assert bool(found.words) is not found.clean
