"""Files of every kind that the web UI shows, small and made here."""

from __future__ import annotations

import base64
import io
import math
import struct
import urllib.request
import wave
import zlib

import pyarrow
import pyarrow.parquet
from playwright.sync_api import Page

from tests.support.processes import ServerProcess

HTML = b"""<h1 id=title>quiet</h1><script>
  document.getElementById('title').textContent = 'scripts run here';
  try { parent.document.title = 'hacked'; } catch (error) { document.body.append(' shut in'); }
  fetch('/api/v1/experiments').catch(() => document.body.append(' no network'));
</script>"""
SVG = (
    b"<svg xmlns='http://www.w3.org/2000/svg' width='40' height='40'>"
    b"<script>parent.document.title='hacked'</script>"
    b"<rect width='40' height='40' fill='teal'/></svg>"
)


def png() -> bytes:
    """A red picture of 2 × 2."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    raw = b"".join(b"\0" + b"\xff\0\0" * 2 for _ in range(2))
    head = struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )


def parquet() -> bytes:
    table = pyarrow.table({"word": ["one", "two", "three"], "count": [1, 2, 3]})
    into = io.BytesIO()
    pyarrow.parquet.write_table(table, into, compression="zstd")
    return into.getvalue()


def wav() -> bytes:
    """Half a second of a tone."""
    into = io.BytesIO()
    with wave.open(into, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8_000)
        tone = (int(9_000 * math.sin(at / 5)) for at in range(4_000))
        sound.writeframes(b"".join(struct.pack("<h", value) for value in tone))
    return into.getvalue()


def pdf() -> bytes:
    """One page that says "a report"."""
    said = b"BT /F 24 Tf 20 40 Td (a report) Tj ET"
    objects = (
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 100]/Contents 4 0 R"
        b"/Resources<</Font<</F 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(said), said),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    )
    whole, places = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(whole))
        whole += b"%d 0 obj%sendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    return whole + (
        b"xref\n0 %d\n0000000000 65535 f \n%strailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF"
        % (size, table, size, len(whole))
    )


RECORDING = """async () => {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [64, 48];
  const context = canvas.getContext('2d');
  const recorder = new MediaRecorder(canvas.captureStream(20), { mimeType: 'video/webm' });
  const parts = [];
  recorder.ondataavailable = event => parts.push(event.data);
  const ended = new Promise(done => { recorder.onstop = done; });
  recorder.start();
  for (let i = 0; i < 8; i += 1) {
    context.fillStyle = `hsl(${i * 40} 80% 50%)`;
    context.fillRect(0, 0, 64, 48);
    await new Promise(done => setTimeout(done, 50));
  }
  recorder.stop();
  await ended;
  const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
  return btoa(String.fromCharCode(...bytes));
}"""


def webm(page: Page) -> bytes:
    """A video of 64 x 48, recorded by the browser itself."""
    return base64.b64decode(page.evaluate(RECORDING))


FILES = {
    "notes.txt": b"first line\nsecond line\n",
    "config.json": b'{"lr": 0.1, "name": "<b>x</b>"}',
    "table.csv": b'name,score\n"a, b",1\n<img src=x>,2\n',
    "data/rows.parquet": parquet(),
    "plots/red.png": png(),
    "plots/drawing.svg": SVG,
    "report.html": HTML,
    "readme.md": b"# Title\n\n<script>document.title='hacked'</script>\n\n- item",
    "sound.wav": wav(),
    "report.pdf": pdf(),
    "weights.bin": bytes(range(256)),
}


def put(server: ServerProcess, owner: str, path: str, body: bytes) -> None:
    """A file into the tree of `owner`: "runs/ID" or "models/ID"."""
    request = urllib.request.Request(
        f"{server.uri}/api/v1/{owner}/artifacts/{path}",
        data=body,
        method="PUT",
        headers={"Content-Type": "application/octet-stream"},
    )
    with urllib.request.urlopen(request, timeout=90):
        pass
    server.get(f"/api/v1/{owner}/artifacts?min_position={server.get('/ready')['head']}")
