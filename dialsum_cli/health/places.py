"""The hub, the token, the caches and the disk: where downloads come from, and where they go."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

from dialsum_cli.errors import gigabytes, without_password
from dialsum_cli.health.rows import Check, Facts, broken, ok, warning
from dialsum_cli.results import DoctorRow

PATIENCE = 5  # seconds that the hub gets for an answer
LEAST, AMPLE = 10**9, 20 * 10**9  # free bytes: less than any model worth a download; what one of 8B takes, in bf16
PROBE = b"\0" * 2**20  # is written to find out what a quota or a file system says to it


def hub() -> Iterator[DoctorRow]:
    """Whether the hub answers, unless HF_HUB_OFFLINE forbids to ask."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    from dialsum_cli.models.sources import HTTPError

    if constants.HF_HUB_OFFLINE:
        yield warning("hub", "not asked: HF_HUB_OFFLINE is set, and only what is in the cache is used",
                      "unset HF_HUB_OFFLINE")  # fmt: skip
        return
    address = without_password(constants.ENDPOINT)
    start = perf_counter()
    try:
        answer = get_session().head(constants.ENDPOINT, timeout=PATIENCE)
    except (OSError, HTTPError) as error:
        line = without_password(" ".join(str(error).split()) or type(error).__name__)
        remedy = f"curl -I {address}   # then: HTTPS_PROXY, HF_ENDPOINT, or HF_HUB_OFFLINE=1"
        yield broken("hub", f"{address} can't be reached: {line}", remedy)
        return
    milliseconds = 1000 * (perf_counter() - start)
    if answer.status_code >= 500:
        yield warning("hub", f"{address} answers {answer.status_code}", "try again later")
        return
    yield ok("hub", f"{address} answers in {milliseconds:.0f} ms", {"milliseconds": milliseconds})


def token() -> Iterator[DoctorRow]:
    """Whether there is a token, and the hub takes it; it is never shown."""
    from huggingface_hub import constants, get_token
    from huggingface_hub.utils import build_hf_headers, get_session  # type: ignore[attr-defined]

    given = get_token()
    if not given:
        yield ok("token", "none: gated and private models stay closed until `hf auth login`")
        return
    if constants.HF_HUB_OFFLINE:
        yield ok("token", "there is one; offline nobody can tell whether the hub takes it")
        return
    headers = build_hf_headers(token=given)
    answer = get_session().get(f"{constants.ENDPOINT}/api/whoami-v2", headers=headers, timeout=PATIENCE)
    if answer.status_code == 401:  # with it, public models are refused as well
        where = "the variable HF_TOKEN" if os.environ.get("HF_TOKEN") else "`hf auth login`"
        remedy = "unset HF_TOKEN && hf auth login" if os.environ.get("HF_TOKEN") else "hf auth login"
        yield broken("token", f"the hub refuses the token that {where} gave", remedy)
    elif answer.status_code != 200:
        yield warning("token", f"there is one; asked whose it is, the hub answers {answer.status_code}")
    else:
        yield ok("token", f"of {answer.json().get('name', 'an unnamed account')}")


def caches() -> Iterator[DoctorRow]:
    """What the caches take."""
    from dialsum_cli.caches.census import take
    from dialsum_cli.caches.roots import locate
    from dialsum_cli.settings import CACHES

    sizes = {root.cache: take(root.path).bytes for root in locate(CACHES, ())}
    sizes = {cache: size for cache, size in sizes.items() if size}
    listed = ", ".join(f"{cache} {gigabytes(size)}" for cache, size in sizes.items())
    yield ok("caches", listed or "empty", {f"{cache}_bytes": size for cache, size in sizes.items()})


def disk() -> Iterator[DoctorRow]:
    """What is free where models and runs are written, one row for each file system, and whether it takes a file."""
    from huggingface_hub import constants

    systems: dict[int, list[tuple[str, Path]]] = {}
    for use, folder in (("models", Path(constants.HF_HUB_CACHE)), ("runs", Path("runs").absolute())):
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        systems.setdefault(existing.stat().st_dev, []).append((use, existing))
    for places in systems.values():
        uses, folders = (", ".join(dict.fromkeys(map(str, column))) for column in zip(*places, strict=True))
        name = f"disk of {uses}"
        remedy = "dialsum cache-clean --dry-run"
        if any(use == "models" for use, _ in places):
            remedy += "   # or: export HF_HOME=/a/larger/disk"
        state = os.statvfs(places[0][1])
        free, total = state.f_bavail * state.f_frsize, state.f_blocks * state.f_frsize
        found = f"{gigabytes(free)} of {gigabytes(total)} free for '{folders}'"
        facts: Facts = {"free_bytes": free, "total_bytes": total}
        if free < LEAST:
            yield broken(name, f"no room: {found}", remedy, facts)
        elif refusals := [refusal for _, folder in places if (refusal := _refusal(folder))]:
            yield broken(name, f"{refusals[0]} ({found})", "export HF_HOME=/a/folder/of/yours", facts)
        elif free < AMPLE:
            yield warning(name, f"{found}: too little for a model of 8B in 16 bits", remedy, facts)
        else:
            yield ok(name, found, facts)


def _refusal(folder: Path) -> str:
    """Why a file can't be written to a folder; empty: it can."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(PROBE)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return f"can't write to '{folder}': {error.strerror}"
    return ""


CHECKS = (
    Check("hub", hub, "pip install --force-reinstall huggingface_hub"),
    Check("token", token, "hf auth login", needs=("hub",)),
    Check("caches", caches, "pip install --force-reinstall huggingface_hub"),
    Check("disk", disk, "pip install --force-reinstall huggingface_hub"),
)
