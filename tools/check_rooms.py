#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares every include of src/ with the table of rooms (docs/design.md, section 4), and the link lines of
tools/cmake/rooms.cmake too. Prints file:line of each fault; exit code 1 when there is one.
Usage: check_rooms.py [ROOT]"""
import re
import sys
from pathlib import Path

# room: (what it may include; what those rooms may include is permitted as well), (what it must not know all the same)
ROOMS = {
    "base": ("", ""),
    "deck": ("base", ""),
    "arch": ("base deck", ""),
    "schedule": ("base", ""),
    "plan": ("base deck arch schedule", ""),
    "data": ("base deck", ""),
    "sandbox": ("base", ""),
    "reward": ("sandbox data base deck", ""),
    "distil": ("reward data base deck", ""),
    "tensor": ("base", "deck comm"),
    "numerics": ("tensor base", "layers comm"),
    "comm": ("tensor base", "layers arch"),
    "layers": ("numerics tensor base arch comm", "deck optim infer train"),
    "model": ("layers arch tensor comm base", "train infer optim checkpoint"),
    "optim": ("tensor numerics comm base deck arch", "model"),
    "checkpoint": ("tensor comm arch base", "model optim"),
    "convert": ("checkpoint data arch deck base", "tensor comm"),
    "infer": ("model data checkpoint comm tensor base deck", "train"),
    "train": ("model optim data schedule checkpoint comm infer reward deck base", "eval"),
    "eval": ("infer model data reward sandbox base deck", "train"),
    "app": ("train eval infer plan convert distil", ""),
}
# Permitted in some folders only.
ONLY_IN = {("layers", "comm"): ["layers/dispatch"], ("train", "infer"): ["train/grpo", "train/distil"]}
# Headers of other libraries that a room must not know.
DEVICE = r"Kokkos|mpi\.h|nccl|cuda"
FOREIGN = {
    "base": DEVICE + r"|hdf5|toml\+\+",
    "deck": DEVICE + r"|hdf5",
    "arch": DEVICE + r"|hdf5",
    "schedule": DEVICE,
    "plan": DEVICE,
    "data": DEVICE,
    "sandbox": DEVICE + r"|hdf5|toml\+\+",
    "reward": DEVICE + r"|hdf5",
    "distil": DEVICE + r"|hdf5",
    "layers": r"hdf5|toml\+\+|mpi\.h",
    "model": r"hdf5|toml\+\+",
    "optim": r"hdf5",
    "convert": DEVICE + r"|hdf5",
}
# Headers that belong to single folders, whatever the room.
FOLDERS_OF = [
    (r"^mpi\.h$", ["comm/mpi"]),
    (r"^httplib", ["distil"]),
    (r"^nccl", ["comm/nccl"]),
    (r"^(cuda|cublas)", ["comm/nccl", "numerics/cuda"]),
]
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def permitted():
    """The table closed under "may include"; a circle in it is an error of the table itself."""
    closed = {}

    def close(room, path):
        if room in path:
            sys.exit(f"tools/check_rooms.py: the table has a circle: {' -> '.join(path + [room])}")
        if room not in closed:
            rooms = set(ROOMS[room][0].split())
            for other in sorted(rooms):
                rooms |= close(other, path + [room])
            closed[room] = rooms - set(ROOMS[room][1].split()) | {room}
        return closed[room]

    for room in ROOMS:
        close(room, [])
    return closed


def faults_of_file(path, name, allowed):
    room = name.split("/")[0]
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        quoted, header = match.group(1) == '"', match.group(2)
        other = header.split("/")[0]
        where = f"src/{name}:{number}: includes {header}"
        folders = ONLY_IN.get((room, other))
        if other in ROOMS and "/" in header:
            if other not in allowed[room]:
                yield f"{where}; {room} may include: {' '.join(sorted(allowed[room]))}"
            elif folders and not any(name.startswith(folder + "/") for folder in folders):
                yield f"{where}; only {' '.join(folders)} may include {other}"
            elif not (path.parents[len(name.split("/")) - 1] / header).exists():
                yield f"{where}, which does not exist"
        elif quoted:
            yield f'{where}; in quotes stand only "room/...", from the root of src'
        elif room in FOREIGN and re.search(FOREIGN[room], header):
            yield f"{where}, a library that {room} must not know"
        else:
            for pattern, folders in FOLDERS_OF:
                if re.search(pattern, header) and not any(name.startswith(folder + "/") for folder in folders):
                    yield f"{where}; only {' '.join(folders)} may include it"


def faults_of_links(cmake, allowed):
    """hadal_room(NAME hadal_other ...) may link only what the table permits."""
    for number, line in enumerate(cmake.read_text(encoding="utf-8").splitlines(), 1):
        match = re.match(r"\s*hadal_room\((\w+)([^)]*)\)", line)
        if match:
            room = match.group(1)
            for other in re.findall(r"\bhadal_(\w+)", match.group(2)):
                if other in ROOMS and other not in allowed.get(room, set()):
                    yield f"tools/cmake/rooms.cmake:{number}: {room} links {other}, which the table does not permit"


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent)
    allowed, faults, files = permitted(), [], 0
    for path in sorted((root / "src").rglob("*")):
        if path.suffix not in {".cpp", ".hpp", ".cu", ".cuh", ".h"}:
            continue
        name = path.relative_to(root / "src").as_posix()
        files += 1
        if name.split("/")[0] not in ROOMS:
            faults.append(f"src/{name}: lies in no room of the table")
        else:
            faults += faults_of_file(path, name, allowed)
    cmake = root / "tools/cmake/rooms.cmake"
    if cmake.exists():
        faults += faults_of_links(cmake, allowed)
    print("\n".join(faults + [f"rooms: {files} files, {len(faults)} faults"]))
    return 1 if faults or not files else 0


if __name__ == "__main__":
    sys.exit(main())
