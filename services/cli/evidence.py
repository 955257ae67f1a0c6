"""`stagedoor audit verify|prove|export|checkpoint`: the log as evidence.

What the ledger says is checked here, with a key that is remembered from the first time (`<profile>.log-key`) or given.
"""

import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TimeRemainingColumn
from rich.text import Text

from protos.stagedoor.ledger.v1 import ledger_pb2 as pb
from services.cli import output
from services.cli.connection import Connection
from services.cli.output import Json
from services.cli.profile import default_path
from shared.errors import Kind, Refusal
from shared.evidence.checkpoints import base64_of
from shared.evidence.stagedoor_verify import EXPORT, HASH, PROOF, Checkpoint, Key, Wrong
from shared.evidence.tiles import write_durably
from shared.evidence.verification import Stretch, Verification

app = typer.Typer()

Pinned = Annotated[str | None, typer.Option("--key", help="The log's public key, or a file with it.")]
Earlier = Annotated[list[Path] | None, typer.Option("--earlier", help="A file with a checkpoint of before; repeated.")]
Since = Annotated[Path | None, typer.Option("--since", help="A file with the checkpoint of before.")]
_LINES: Final = 12
"""Of what is hashed of an event."""


@app.command()
def verify(*, key: Pinned = None, earlier: Earlier = None, as_json: Json = False) -> None:
    """Read the whole log, hash it anew, and hold it against every checkpoint that is known."""

    async def work() -> None:
        async with Connection(default_path()) as services:
            last, verification = await verified(services, key, earlier or ())
            head = await services.ask(services.ledger.GetHead, pb.GetHeadRequest())
        _tell(verification, last, head.position, as_json=as_json)
        _remember(last)

    _run(work)


@app.command()
def prove(
    position: Annotated[int | None, typer.Argument(min=1, help="Of the event; it is also in tokens, as `pos`.")] = None,
    *,
    since: Since = None,
    out: Annotated[Path | None, typer.Option(help="Where to write it; without this it is printed.")] = None,
    key: Pinned = None,
) -> None:
    """Prove that an event is in the log, or that the log goes on from an earlier checkpoint; for `stagedoor-verify`."""

    async def work() -> None:
        if position is None and since is None:
            raise Refusal(Kind.INVALID, "nothing_to_prove", "name a position, or an earlier checkpoint with --since")
        async with Connection(default_path()) as services:
            last = await last_checkpoint(services, key)
            document: dict[str, Any] = {"format": PROOF, "key": str(last.key), "checkpoint": last.note}
            if position is not None:
                if position > last.size:
                    raise Refusal(Kind.NOT_FOUND, "not_in_the_tree", f"the last checkpoint is of {last.size} events")
                async for page in _evidence(services, position - 1, position):
                    document["event"] = _event(page, 0)
                document["inclusion"] = await _inclusion(services, position, last.size)
            if since is not None:
                document |= await _growth(services, _read(since, last.key), last.size)
            text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
            if out is None:
                print(text)
            else:
                write_durably(out, f"{text}\n".encode())

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

    async def work() -> None:
        async with Connection(default_path()) as services:
            stated = await last_checkpoint(services, key)
            earlier = None if since is None else _read(since, stated.key)
            end = await write_export(services, stated, first, last, out, earlier)
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
    services: Connection, stated: Last, first: int, last: int | None, out: Path, since: Checkpoint | None = None
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
        "first": await _inclusion(services, first, stated.size),
        "last": await _inclusion(services, end, stated.size),
    }
    if since is not None:
        header |= await _growth(services, since, stated.size)
    draft = out.with_name(f".{out.name}.{token_hex(4)}")
    try:
        with draft.open("w", encoding="utf-8") as file, _progress(end - first + 1) as advance:
            file.write(_line(header))
            async for page in _evidence(services, first - 1, end):
                file.writelines(_line(_event(page, index)) for index in range(len(page.leaves)))
                advance(page.until - first + 1)
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
    return end


async def verified(services: Connection, key: str | None, earlier: Iterable[Path]) -> tuple[Last, Verification]:
    """Go along the whole log up to the last checkpoint; what was found, `finish` tells."""
    request = pb.ReadCheckpointsRequest()
    # Before the last one is asked for: while the log grows there is always another.
    kept = [one.checkpoint async for one in services.stream(services.ledger.ReadCheckpoints, request)]
    last = await last_checkpoint(services, key)
    kept += [path.read_text(encoding="utf-8") for path in _remembered()]
    known = [Checkpoint.open(note, Key(note.partition("\n")[0], last.key.public)) for note in kept]
    verification = Verification(
        [
            last.checkpoint,
            *(_read(path, last.key) for path in earlier),
            *(one for one in known if one.origin == last.key.name),
        ],
        [one for one in known if one.origin != last.key.name],
    )
    with _progress(last.size) as advance:
        async for page in _evidence(services, 0, last.size):
            events = (list(page.leaves), list(page.salts), list(page.data))
            verification.go_on(Stretch(page.tree, *events, page.leaf_hashes, page.misfiled))
            advance(page.until)
    return last, verification


async def _evidence(services: Connection, after: int, until: int) -> AsyncIterator[pb.EvidencePage]:
    """Pages without a gap; refuses an answer that has one."""
    request = pb.ReadEvidenceRequest(after=after, until=until)
    async for page in services.stream(services.ledger.ReadEvidence, request):
        if page.after != after or len(page.tree) != (page.until - after) * HASH:
            raise Wrong("the ledger left something out of its answer")
        after = page.until
        yield page
    if after != until:
        raise Wrong("the ledger left something out of its answer")


async def _inclusion(services: Connection, position: int, size: int) -> list[str]:
    request = pb.ProveInclusionRequest(position=position, size=size)
    answer = await services.ask(services.ledger.ProveInclusion, request)
    return [base64_of(one) for one in answer.hashes]


async def _growth(services: Connection, since: Checkpoint, size: int) -> dict[str, Any]:
    """What proves that a log of `size` events goes on from an earlier one."""
    if since.size > size:
        raise Wrong(f"the log has {size} events, and a checkpoint says that it had {since.size}")
    request = pb.ProveConsistencyRequest(**{"from": since.size, "to": size})
    answer = await services.ask(services.ledger.ProveConsistency, request)
    return {"consistent_from": since.size, "consistency": [base64_of(one) for one in answer.hashes]}


def _event(page: pb.EvidencePage, index: int) -> dict[str, Any]:
    """An event with all that is hashed of it, and the hash that the tree has at its position."""
    if index >= len(page.leaves):
        raise Wrong("the event is missing", page.until)
    stated = page.leaves[index].decode(errors="replace").split("\n")
    if len(stated) != _LINES:
        raise Wrong("it is not an event", page.after + index + 1)
    at = int(stated[2]) - page.after - 1
    return {
        "position": int(stated[2]),
        "epoch": int(stated[1]),
        "stream": stated[3],
        "version": int(stated[4]),
        "type": stated[5],
        "data": page.data[index].decode(errors="replace"),
        "salt": page.salts[index].hex(),
        "data_digest": stated[6],
        "actor": stated[7],
        "command_id": stated[8],
        "correlation_id": stated[9],
        "causation_id": int(stated[10]) if stated[10] else None,
        "recorded_at": stated[11],
        "leaf": page.tree[at * HASH : (at + 1) * HASH].hex(),
    }


def _line(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n"


def _read(path: Path, key: Key) -> Checkpoint:
    return Checkpoint.open(path.read_text(encoding="utf-8"), key)


def _tell(verification: Verification, last: Last, head: int, *, as_json: bool) -> None:
    """Say what was found; refuses if something is wrong."""
    wrong: Wrong | None = None
    try:
        verification.finish()
    except Wrong as found:
        wrong = found
    if as_json:
        output.document(
            {
                "right": wrong is None,
                "events": last.size,
                "root": last.checkpoint.root.hex(),
                "checkpoints": verification.compared,
                "newer": head - last.size,
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
        print(f"{head - last.size} events are newer than the last checkpoint")


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar with rate and time left on standard error, if that is a terminal; it is told how far it is."""
    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.update(task, completed=done)


class _Rate(ProgressColumn):
    """Events a second."""

    def render(self, task: Task) -> Text:
        """As the library wants it."""
        return Text(f"{task.finished_speed or task.speed or 0:,.0f} events/s")


def _run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do it; what is found wrong is a refusal, and so is a file that cannot be read or written."""

    async def refusing() -> None:
        try:
            await work()
        except Wrong as wrong:
            raise Refusal(Kind.PRECONDITION, "not_right", str(wrong)) from None
        except (OSError, UnicodeDecodeError) as failure:
            raise Refusal(Kind.PRECONDITION, "bad_file", str(failure)) from None

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
