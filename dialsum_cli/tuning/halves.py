"""Dev in two halves: one that a search sees, and one that decides."""

import hashlib
from collections.abc import Sequence

from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.errors import DataError

_SALT = b"the half that no search sees"
"""Fixed, whatever the seed of a search is: else a second search would see what decided on the first."""


def halves(dialogues: Sequence[Dialogue]) -> tuple[list[Dialogue], list[Dialogue]]:
    """The dialogues to search by, and those to decide by, in their order; copies of one dialogue stay together.

    Which ones they are is decided by their texts alone, not by their order.

    Raises:
        DataError: there are fewer than two different dialogues.
    """

    def place(dialogue: Dialogue) -> bytes:
        return hashlib.blake2b(dialogue.text.encode(), key=_SALT).digest()

    places = sorted({place(dialogue) for dialogue in dialogues})
    if len(places) < 2:
        raise DataError("dev has to have two different dialogues or more: one half decides", "give a larger --dev")
    seen = {*places[: (len(places) + 1) // 2]}
    return (
        [dialogue for dialogue in dialogues if place(dialogue) in seen],
        [dialogue for dialogue in dialogues if place(dialogue) not in seen],
    )
