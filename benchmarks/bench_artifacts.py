"""Artifacts through the server: large files beside cp, small ones beside MLflow, and memory.

    python -m benchmarks.bench_artifacts [--large-mib 1024] [--files 10000] [--mlflow-files 2000]
        [--memory-mib 5120]

Each pair runs right after one another in one folder of one disk. Everything is removed again.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import io
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from benchmarks.machine import describe_machine, fsync_latency_ms
from tests.support.processes import ServerProcess, environment, free_port
from tracker.events.blob_batch import HEAD_BYTES, encode_blob_batch
from tracker.events.limits import (
    ARTIFACT_PART_BYTES,
    BLOB_BATCH_BLOBS_MAX,
    BLOB_BATCH_BYTES_MAX,
)

MIB = 1024 * 1024
PARTS_AT_ONCE = 4
ROUNDS = 3
INCUMBENTS = Path(__file__).parents[1] / ".venv-incumbents" / "bin"
MLFLOW_PUTS_AT_ONCE = 16


def main() -> None:
    options = _options()
    print(describe_machine())
    with tempfile.TemporaryDirectory(prefix="bench-artifacts-") as name:
        folder = Path(name)
        print(f"fsync in the folder {fsync_latency_ms(folder):.2f} ms")
        _large(folder, options.large_mib * MIB)
        _small(folder, options.files, options.mlflow_files)
        _memory(folder, options.memory_mib * MIB)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large-mib", type=int, default=1024)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--mlflow-files", type=int, default=2_000)
    parser.add_argument("--memory-mib", type=int, default=5120)
    return parser.parse_args()


# -- one large file -----------------------------------------------------------------------


def _large(folder: Path, size: int) -> None:
    """Upload through the server to disk, durable and checked, beside cp and sha256sum."""
    source = folder / "large"
    _write_file(source, size)
    ratios, uploads = [], []
    with _server(folder / "large-server") as server:
        for number in range(ROUNDS):
            _touch(source, number)
            copied_s = _copied(source, folder / "copy")
            uploaded_s = asyncio.run(_uploaded(server, source))
            uploads.append(size / uploaded_s / 1e6)
            ratios.append(copied_s / uploaded_s)
    source.unlink()
    shutil.rmtree(folder / "large-server")
    print(
        f"upload of {size // MIB} MiB through the server: {statistics.median(uploads):,.0f} MB/s, "
        f"{100 * statistics.median(ratios):.0f} % of the speed of cp and sha256sum "
        f"(aim 60 %; rounds {', '.join(f'{100 * each:.0f}' for each in ratios)})"
    )


def _write_file(path: Path, size: int) -> None:
    block = os.urandom(MIB)
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())


def _touch(path: Path, number: int) -> None:
    """Other bytes, so that nothing is present already."""
    with path.open("r+b") as file:
        file.write(number.to_bytes(8, "big") + os.urandom(8))
        file.flush()
        os.fsync(file.fileno())


def _copied(source: Path, copy: Path) -> float:
    began = time.perf_counter()
    subprocess.run(["cp", source, copy], check=True)
    subprocess.run(["sha256sum", source], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - began
    copy.unlink()
    return seconds


async def _uploaded(server: ServerProcess, source: Path) -> float:
    """Hashed as a client must, then sent in parts of 16 MiB, several at once."""
    size, began = source.stat().st_size, time.perf_counter()
    digest = await asyncio.to_thread(_sha256, source)
    async with aiohttp.ClientSession(server.uri) as session:
        path = f"/api/v1/blobs/{digest}/uploads"
        plan = await _json(session.post(path, json={"size": size}))
        path = f"{path}/{plan['upload_id']}"
        gate = asyncio.Semaphore(PARTS_AT_ONCE)

        async def part(number: int) -> None:
            async with gate, asyncio.timeout(600):
                start = (number - 1) * ARTIFACT_PART_BYTES
                body = _pieces(source, start, min(ARTIFACT_PART_BYTES, size - start))
                length = str(min(ARTIFACT_PART_BYTES, size - start))
                headers = {"Content-Length": length}
                await _json(session.put(f"{path}/parts/{number}", data=body, headers=headers))

        await asyncio.gather(*(part(n) for n in range(1, plan["part_count"] + 1)))
        await _json(session.post(f"{path}/complete"))
    return time.perf_counter() - began


def _sha256(source: Path) -> str:
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _pieces(source: Path, start: int, length: int) -> AsyncIterator[bytes]:
    with source.open("rb") as file:
        file.seek(start)
        while length > 0:
            chunk = await asyncio.to_thread(file.read, min(MIB, length))
            length -= len(chunk)
            yield chunk


# -- many small files ---------------------------------------------------------------------


def _small(folder: Path, count: int, mlflow_count: int) -> None:
    """Files of 4 KB: in batches to this server, one by one through MLflow's proxy.

    MLflow takes each file as the one before, so that fewer tell its pace.
    """
    files = [os.urandom(4096) for _ in range(count)]
    with _server(folder / "small-server") as server:
        ours_s = asyncio.run(_batched(server, files))
    with _mlflow(folder / "mlflow") as uri:
        theirs_s = asyncio.run(_proxied(uri, files[:mlflow_count]))
    shutil.rmtree(folder / "small-server")
    ours, theirs = count / ours_s, mlflow_count / theirs_s
    print(
        f"{count:,} files of 4 KB: {ours:,.0f} files/s, durable; MLflow's proxied upload "
        f"({MLFLOW_PUTS_AT_ONCE} at once, not synced) {theirs:,.0f} files/s: "
        f"{ours / theirs:.1f} times (aim 10)"
    )


async def _batched(server: ServerProcess, files: list[bytes]) -> float:
    """As the shipper sends them: hashed, batched, then the events that name them."""
    began = time.perf_counter()
    blobs = [(hashlib.sha256(data).hexdigest(), data) for data in files]
    per_batch = min(BLOB_BATCH_BLOBS_MAX, BLOB_BATCH_BYTES_MAX // (HEAD_BYTES + 4096))
    async with aiohttp.ClientSession(server.uri) as session:
        for at in range(0, len(blobs), per_batch):
            body = io.BytesIO(encode_blob_batch(blobs[at : at + per_batch]))
            answer = await _json(session.post("/api/v1/blobs/batch", data=body))
            assert {each["outcome"] for each in answer["blobs"]} == {"stored"}
        events = [
            {
                "type": "artifact.logged",
                "time_us": number,
                "data": {"path": f"files/{number}", "digest": digest, "size": 4096},
            }
            for number, (digest, _) in enumerate(blobs)
        ]
        batch = {"run_id": "bench", "writer_id": "bench", "first_seq": 1, "events": events}
        await _json(session.post("/api/v1/append", json=batch))
    return time.perf_counter() - began


async def _proxied(uri: str, files: list[bytes]) -> float:
    began = time.perf_counter()
    gate = asyncio.Semaphore(MLFLOW_PUTS_AT_ONCE)
    async with aiohttp.ClientSession(uri) as session:

        async def put(number: int, data: bytes) -> None:
            path = f"/api/2.0/mlflow-artifacts/artifacts/0/run/artifacts/files/{number}"
            async with gate, session.put(path, data=data) as answer:
                assert answer.status == 200, await answer.text()

        await asyncio.gather(*(put(number, data) for number, data in enumerate(files)))
    return time.perf_counter() - began


# -- memory -------------------------------------------------------------------------------


def _memory(folder: Path, size: int) -> None:
    """The server's memory while a very large file comes and goes."""
    source = folder / "huge"
    _write_file(source, size)
    with _server(folder / "huge-server") as server:
        assert server.process is not None
        process = psutil.Process(server.process.pid)
        idle = process.memory_info().rss
        peak_up = _watched(process, lambda: asyncio.run(_uploaded(server, source)))
        digest = _sha256(source)
        source.unlink()
        peak_down = _watched(process, lambda: asyncio.run(_downloaded(server, digest, size)))
    shutil.rmtree(folder / "huge-server")
    print(
        f"memory of the server: {idle / 1e6:.0f} MB idle, {peak_up / 1e6:.0f} MB during an upload "
        f"of {size / 1024**3:.1f} GiB, {peak_down / 1e6:.0f} MB during its download (aim 300)"
    )


async def _downloaded(server: ServerProcess, digest: str, size: int) -> None:
    hasher, received = hashlib.sha256(), 0
    async with (
        aiohttp.ClientSession(server.uri, timeout=aiohttp.ClientTimeout(total=None)) as session,
        session.get(f"/api/v1/blobs/{digest}") as answer,
    ):
        async for chunk in answer.content.iter_chunked(MIB):
            hasher.update(chunk)
            received += len(chunk)
    assert (received, hasher.hexdigest()) == (size, digest)


def _watched(process: psutil.Process, work: Callable[[], object]) -> int:
    """The greatest resident memory while `work` runs, looked at every 20 ms."""
    import threading

    peak, done = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, process.memory_info().rss)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        work()
    finally:
        done.set()
        watching.join()
    return peak


# -- servers ------------------------------------------------------------------------------


@contextmanager
def _server(home: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(home, arguments=("--log-level", "error"))
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def _mlflow(folder: Path) -> Iterator[str]:
    """MLflow's own server, as its documentation starts it, with artifacts through it."""
    port = free_port()
    folder.mkdir()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(str(INCUMBENTS / "python"), "-m", "mlflow", "server"),
                *("--host", "127.0.0.1", "--port", str(port)),
                *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
                *("--artifacts-destination", str(folder / "artifacts"), "--serve-artifacts"),
            ],
            env=environment(folder),
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait_for_mlflow(f"http://127.0.0.1:{port}", process, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        _end_group(process)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for_mlflow(uri: str, process: subprocess.Popen[bytes], log: Path) -> None:
    import urllib.error
    import urllib.request

    for _ in range(600):
        try:
            with urllib.request.urlopen(f"{uri}/health", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            if process.poll() is not None:
                break
            time.sleep(0.2)
    sys.exit(f"MLflow did not start: {log.read_text()[-2000:]}")


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """MLflow's server has workers; all of them are children of the process started here."""
    try:
        processes = [psutil.Process(process.pid)]
        processes += processes[0].children(recursive=True)
    except psutil.NoSuchProcess:
        return
    for each in processes:
        try:
            each.terminate()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, timeout=10)
    process.wait(timeout=10)


async def _json(request: AbstractAsyncContextManager[aiohttp.ClientResponse]) -> Any:
    async with request as answer:
        body = await answer.json()
        assert answer.status == 200, body
        return body


if __name__ == "__main__":
    main()
