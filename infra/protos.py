"""Generates the code of the protos, or checks that what is committed is what would be generated.

    python -m infra.protos            writes it
    python -m infra.protos --check    writes nothing; exit status 1 and the names of the files that differ

Generated code stands beside its proto. Validation is for outsiders, so its code belongs to the SDK.
"""

import os
import sys
import sysconfig
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

from google.rpc import code_pb2
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


def _generate(sources: list[Path], include: Path, output: Path) -> None:
    """Run the compiler with all plugins; ends the process with its own message on an error."""
    standard = files("grpc_tools") / "_proto"
    google_rpc = Path(code_pb2.__file__).parents[2]
    arguments = [
        "protoc",
        f"-I{include}",
        f"-I{standard}",
        f"-I{google_rpc}",
        *(f"--{kind}_out={output}" for kind in ("python", "grpc_python")),
        f"--mypy_out=quiet:{output}",
        f"--mypy_grpc_out=quiet:{output}",
        *map(str, sources),
    ]
    if protoc.main(arguments) != 0:
        raise SystemExit("stagedoor: the protos do not compile")


def _generate_all(output: Path) -> None:
    """All generated code, at its place below `output`."""
    protos = sorted((ROOT / "protos").rglob("*.proto"))
    validation = [path for path in protos if "validation" in path.parts]
    (output / "sdk").mkdir(exist_ok=True)
    _generate([path for path in protos if path not in validation], ROOT, output)
    _generate(validation, ROOT / "protos", output / "sdk")


def _generated(folder: Path) -> dict[str, str]:
    """The generated files at their two places below a folder, with their text."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for place in ("protos", "sdk/stagedoor")
        for path in (folder / place).rglob("*_pb2*")
        if path.name.endswith(SUFFIXES)
    }


def main() -> None:
    """Generate, or check."""
    # The plugins of the compiler are programs of this environment.
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    with TemporaryDirectory() as temporary:
        _generate_all(Path(temporary))
        wanted = _generated(Path(temporary))
    present = _generated(ROOT)
    differing = sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))
    if "--check" in sys.argv[1:]:
        for name in differing:
            print(f"not what the protos give: {name} (make protos)", file=sys.stderr)
        raise SystemExit(1 if differing else 0)
    for name in differing:
        if name in wanted:
            (ROOT / name).write_text(wanted[name])
        else:
            (ROOT / name).unlink()
        print(name)


if __name__ == "__main__":
    main()
