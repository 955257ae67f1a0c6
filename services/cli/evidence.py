"""`stagedoor audit verify|prove|export|checkpoint`: the log as evidence.

What the ledger says is checked here, with a key that is remembered from the first time (`<profile>.log-key`) or given.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Annotated, Any

import typer

from protos.stagedoor.ledger.v1 import ledger_pb2 as pb
from services.cli import output
from services.cli.answers import archives, events_of, gone, growth, inclusion, pages
from services.cli.archives import archived_event, narrowed, read_all
from services.cli.connection import Connection
from services.cli.output import Json
from services.cli.profile import default_path
from services.cli.progress import progress
from shared.errors import Kind, Refusal
from shared.evidence.archive import line_of
from shared.evidence.stagedoor_verify import EXPORT, PROOF, ArchiveFile, Checkpoint, Key, Unlike, Wrong
from shared.evidence.tiles import write_durably
from shared.evidence.verification import Pruned, Stretch, Verification

app = typer.Typer()

Pinned = Annotated[str | None, typer.Option("--key", help="The log's public key, or a file with it.")]
Earlier = Annotated[list[Path] | None, typer.Option("--earlier", help="A file with a checkpoint of before; repeated.")]
Archives = Annotated[
    list[Path] | None, typer.Option("--archive", help="An archive of what has left the log; check it, too. Repeated.")
]
Since = Annotated[Path | None, typer.Option("--since", help="A file with the checkpoint of before.")]


@app.command()
def verify(*, key: Pinned = None, earlier: Earlier = None, archive: Archives = None, as_json: Json = False) -> None:
    """Read the whole log, hash it anew, and hold it against every checkpoint that is known."""

    async def work() -> None:
        async with Connection(default_path()) as services:
            last, verification = await verified(services, key, earlier or (), quiet=as_json)
            head = await services.ask(services.ledger.GetHead, pb.GetHeadRequest())
            wrong = await found_wrong(services, last, verification, archive or (), quiet=as_json)
        _tell(verification, last, head.position, wrong, as_json=as_json)
        if archive and not as_json:
            print(f"the archives that were given ({len(archive)}) have what was archived")
        _remember(last)

    _run(work)


@app.command()
def prove(  # noqa: PLR0913  (each says what is proved, or where it goes)
    position: Annotated[int | None, typer.Argument(min=1, help="Of the event; it is also in tokens, as `pos`.")] = None,
    *,
    since: Since = None,
    archive: Annotated[
        Path | None, typer.Option(help="The archive that has the event, if it has left the log.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write it; without this it is printed.")] = None,
    key: Pinned = None,
    as_json: Json = False,
) -> None:
    """Prove that an event is in the log, or that the log goes on from an earlier checkpoint; for `stagedoor-verify`."""
    if position is None and since is None:
        raise typer.BadParameter("name a position, or an earlier checkpoint with --since")

    async def work() -> None:
        async with Connection(default_path()) as services:
            last = await last_checkpoint(services, key)
            document = await proof_of(services, last, position, archive)
            if since is not None:
                document |= await growth(services, _read(since, last.key), last.size)
            text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
            if out is None:
                print(text)
            else:
                write_durably(out, f"{text}\n".encode())
                if as_json:
                    output.document({"out": str(out), "size": last.size})

    _run(work)


@app.command()
def export(  # noqa: PLR0913  (each says what goes into the file)
    *,
    first: Annotated[int, typer.Option("--from", min=1, help="First position.")] = 1,
    last: Annotated[
        int | None, typer.Option("--to", min=1, help="Last position; else that of the last checkpoint.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Where to write it.")],
    since: Since = None,
    key: Pinned = None,
    as_json: Json = False,
) -> None:
    """Write events with all that is needed to verify them, for `stagedoor-verify`: one JSON object a line."""
    if last is not None and last < first:
        raise typer.BadParameter("--to is before --from")

    async def work() -> None:
        async with Connection(default_path()) as services:
            stated = await last_checkpoint(services, key)
            earlier = None if since is None else _read(since, stated.key)
            end = await write_export(services, stated, first, last, out, earlier, quiet=as_json)
            if as_json:
                output.document({"from": first, "to": end, "out": str(out), "size": stated.size})
            else:
                print(f"positions {first} to {end} are in {out}")

    _run(work)


@app.command()
def checkpoint(
    *,
    out: Annotated[Path | None, typer.Option(help="Where to write it, as a witness takes it.")] = None,
    key_out: Annotated[
        Path | None, typer.Option("--key-out", help="Where to write the key that has signed it.")
    ] = None,
    key: Pinned = None,
    as_json: Json = False,
) -> None:
    """The last checkpoint: keep it where the operator of the log cannot reach it."""

    async def work() -> None:
        async with Connection(default_path()) as services:
            last = await last_checkpoint(services, key)
        if out is not None:
            write_durably(out, last.note.encode())
        if key_out is not None:
            write_durably(key_out, f"{last.key}\n".encode())
        if as_json:
            root = last.checkpoint.root.hex()
            output.document({"size": last.size, "root": root, "key": str(last.key), "checkpoint": last.note})
        else:
            print(last.note, end="")
            output.say(f"signed by {last.key}")

    _run(work)


@app.command("archives")
def list_archives(*, key: Pinned = None, as_json: Json = False) -> None:
    """What was archived and has left the log since."""

    async def work() -> None:
        async with Connection(default_path()) as services:
            last = await last_checkpoint(services, key)
            found = await archives(services, last.key)
        if as_json:
            for one in found:
                of = one.archive
                output.document(
                    {
                        "first": of.first,
                        "last": of.last,
                        "events": of.events,
                        "record": one.record,
                        "content_digest": of.content.hex(),
                        "note": one.note,
                    }
                )
        else:
            headings = ("FIRST", "LAST", "EVENTS", "SAYS SO", "SHA-256 OF ITS CONTENT")
            output.rows(
                headings,
                [
                    (one.archive.first, one.archive.last, one.archive.events, one.record, one.archive.content.hex())
                    for one in found
                ],
            )

    _run(work)


@dataclass(frozen=True, slots=True)
class Last:
    """The last checkpoint, checked, and who has signed it."""

    key: Key
    note: str
    checkpoint: Checkpoint

    @property
    def size(self) -> int:
        """Events that it speaks of."""
        return self.checkpoint.size


async def last_checkpoint(services: Connection, pinned: str | None) -> Last:
    """The last checkpoint by the key that is given or remembered; by the one that is stated, the first time."""
    stated = await services.ask(services.ledger.GetCheckpoint, pb.GetCheckpointRequest())
    if stated.alarm:
        output.say(f"the ledger says: {stated.alarm}")
    known = _remembered_key() if pinned is None else _text_of_key(pinned)
    if known is None:
        key = Key.parse(stated.key)
        output.say(f"the log's key is not known yet; from now on it is {key}")
    else:
        key = Key.parse(known)
        if str(key) != stated.key:
            raise Refusal(
                Kind.PRECONDITION,
                "other_key",
                f"the log has another name or key than is known: {stated.key} instead of {key}; ask its operator why",
            )
    return Last(key, stated.checkpoint, Checkpoint.open(stated.checkpoint, key))


async def write_export(  # noqa: PLR0913, PLR0917  (as above)
    services: Connection,
    stated: Last,
    first: int,
    last: int | None,
    out: Path,
    since: Checkpoint | None = None,
    *,
    quiet: bool = False,
) -> int:
    """Write a stretch of the log with its proof; answers its last position."""
    end = stated.size if last is None else last
    if not first <= end <= stated.size:
        raise Refusal(Kind.INVALID, "not_in_the_tree", f"the last checkpoint has positions 1 to {stated.size}")
    header = {
        "format": EXPORT,
        "from": first,
        "to": end,
        "key": str(stated.key),
        "checkpoint": stated.note,
        "first": await inclusion(services, first, stated.size),
        "last": await inclusion(services, end, stated.size),
    }
    left = await gone(services, stated.key, first, end)
    if left:
        header["archived"] = [one.note for one in left]
    if since is not None:
        header |= await growth(services, since, stated.size)
    draft = out.with_name(f".{out.name}.{token_hex(4)}")
    try:
        with draft.open("wb") as file, progress(end - first + 1, "events", quiet=quiet) as advance:
            file.write(line_of(header))
            async for page in pages(services, first - 1, end):
                file.writelines(map(line_of, events_of(page)))
                advance(page.until - first + 1)
        if await gone(services, stated.key, first, end) != left:
            raise Refusal(Kind.CONFLICT, "pruned_meanwhile", "events have left the log meanwhile; export it once more")
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
    return end


async def verified(
    services: Connection, key: str | None, earlier: Iterable[Path], *, quiet: bool = False
) -> tuple[Last, Verification]:
    """Go along the whole log up to the last checkpoint; what was found, `finish` tells."""
    earlier = list(earlier)
    while True:
        # Before the last one is asked for: while the log grows there is always another.
        request = pb.ReadCheckpointsRequest()
        kept = [one.checkpoint async for one in services.stream(services.ledger.ReadCheckpoints, request)]
        last = await last_checkpoint(services, key)
        pruned = await archives(services, last.key)
        verification = await _walked(services, last, kept, earlier, pruned, quiet=quiet)
        if await archives(services, last.key) == pruned:
            return last, verification
        output.say("events have left the log meanwhile; once more")


async def found_wrong(
    services: Connection, last: Last, verification: Verification, files: Iterable[Path], *, quiet: bool = False
) -> Wrong | None:
    """What is wrong with the log, or with archives of it; None: nothing. An archive makes it known more exactly."""
    known: list[ArchiveFile] = []
    try:
        signed = [one.archive for one in await archives(services, last.key)]
        for path in files:
            known.append(ArchiveFile(path, last.key))
            if await read_all(known[-1], path, quiet=quiet) not in signed:
                return Wrong(f"{path} is not an archive of something that has left the log")
        verification.finish()
    except Unlike as found:
        return await narrowed(services, found, known)
    except Wrong as found:
        return found
    return None


async def _walked(  # noqa: PLR0913  (as above)
    services: Connection, last: Last, kept: list[str], earlier: list[Path], pruned: list[Pruned], *, quiet: bool
) -> Verification:
    kept += [path.read_text(encoding="utf-8") for path in _remembered()]
    known = [Checkpoint.open(note, Key(note.partition("\n")[0], last.key.public)) for note in kept]
    verification = Verification(
        [
            last.checkpoint,
            *(_read(path, last.key) for path in earlier),
            *(one for one in known if one.origin == last.key.name),
        ],
        [one for one in known if one.origin != last.key.name],
        pruned,
    )
    with progress(last.size, "events", quiet=quiet) as advance:
        async for page in pages(services, 0, last.size):
            events = (list(page.leaves), list(page.salts), list(page.data))
            verification.go_on(Stretch(page.tree, *events, page.leaf_hashes, page.misfiled))
            advance(page.until)
    return verification


async def proof_of(services: Connection, last: Last, position: int | None, archive: Path | None) -> dict[str, Any]:
    """A proof that leads to a checkpoint, of an event if one is named."""
    document: dict[str, Any] = {"format": PROOF, "key": str(last.key), "checkpoint": last.note}
    if position is None:
        return document
    if position > last.size:
        raise Refusal(Kind.NOT_FOUND, "not_in_the_tree", f"the last checkpoint is of {last.size} events")
    event = await _proven(services, last, position, archive)
    return document | event | {"inclusion": await inclusion(services, position, last.size)}


async def _proven(services: Connection, last: Last, position: int, archive: Path | None) -> dict[str, Any]:
    """An event for a proof; of one that has left the log its hash, unless its archive is at hand."""
    async for page in pages(services, position - 1, position):
        for event in events_of(page):
            if "type" in event:
                return {"event": event}
            left = await gone(services, last.key, position, position)
            if not left:
                raise Wrong("the event is missing", position)
            if archive is None:
                return {"pruned": {**event, "archived": left[0].note}}
    if archive is None:
        raise Wrong("the event is missing", position)
    return {"event": await asyncio.to_thread(archived_event, archive, last.key, position)}


def _read(path: Path, key: Key) -> Checkpoint:
    note = path.read_text(encoding="utf-8")
    if (name := note.partition("\n")[0]) != key.name:
        raise Wrong(f"the checkpoint in {path} is of another log: {name!r}, and this one is {key.name!r}")
    return Checkpoint.open(note, key)


def _tell(verification: Verification, last: Last, head: int, wrong: Wrong | None, *, as_json: bool) -> None:
    """Say what was found; refuses if something is wrong."""
    if as_json:
        output.document(
            {
                "right": wrong is None,
                "events": last.size,
                "root": last.checkpoint.root.hex(),
                "checkpoints": verification.compared,
                "newer": head - last.size,
                "pruned": verification.pruned,
                "lost": None if verification.lost is None else list(verification.lost),
                "wrong": None if wrong is None else str(wrong),
                "first_wrong_position": None if wrong is None else wrong.position,
            }
        )
    if verification.lost is not None:
        output.say(
            "events of a lost branch, between positions {} and {}, are not in the log".format(*verification.lost)
        )
    if wrong is not None:
        raise wrong
    if not as_json:
        print(f"right: {last.size} events are those of all {verification.compared} checkpoints; {last.key.name}")
        if verification.pruned:
            print(f"{verification.pruned} of them were archived and have left the log; `audit archives` lists where")
        print(f"events newer than the last checkpoint: {head - last.size}")


def _run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do it; what is found wrong is a refusal, and so is a file that cannot be read or written."""

    async def refusing() -> None:
        try:
            await work()
        except Wrong as wrong:
            raise Refusal(Kind.PRECONDITION, "not_right", str(wrong)) from None
        except OSError as failure:
            said = f"{failure.strerror}: {failure.filename}" if failure.filename else str(failure)
            raise Refusal(Kind.PRECONDITION, "bad_file", said) from None
        except UnicodeDecodeError:
            raise Refusal(Kind.PRECONDITION, "bad_file", "a file that was named is not text") from None

    output.run(refusing())


def _beside(what: str) -> Path:
    path = default_path()
    return path.with_name(f"{path.stem}.{what}")


def _text_of_key(pinned: str) -> str:
    return pinned if "+" in pinned else Path(pinned).read_text(encoding="utf-8").strip()


def _remembered_key() -> str | None:
    path = _beside("log-key")
    return path.read_text().strip() if path.exists() else None


def _remembered() -> list[Path]:
    """The checkpoint up to which the log was found right the last time."""
    path = _beside("checkpoint")
    return [path] if path.exists() else []


def _remember(last: Last) -> None:
    write_durably(_beside("log-key"), f"{last.key}\n".encode())
    write_durably(_beside("checkpoint"), last.note.encode())
