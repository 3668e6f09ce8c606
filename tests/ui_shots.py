"""`make ui-shots`: the main views of the web UI with the demo's data, as PNG files.

Plays `tracker demo --keep`, takes the pictures, and ends the server that the demo left up.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from tests.support.browser import looking, running_browser

DEMO_TIMEOUT_S = 600


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    demo = [sys.executable, "-m", "tracker", "demo", "--keep"]
    # The pictures name nobody.
    environment = {**os.environ, "LOGNAME": "ada", "USER": "ada"}
    told = subprocess.run(
        demo, capture_output=True, text=True, timeout=DEMO_TIMEOUT_S, check=True, env=environment
    )
    found = re.search(r"stays up at (\S+) \(process (\d+)\)", told.stdout)
    assert found, told.stdout
    uri, pid = found[1], int(found[2])
    try:
        shoot(uri, folder)
    finally:
        os.kill(pid, signal.SIGTERM)


def shoot(uri: str, folder: Path) -> None:
    experiment = next(
        one["experiment_id"]
        for one in ask(uri, "/api/v1/experiments")["experiments"]
        if one["name"] == "digits"
    )
    query = {"experiment_ids": [experiment], "order_by": ["metrics.`test/accuracy` DESC"]}
    runs = ask(uri, "/api/v1/runs/search", query)["runs"]
    trained = [run["run_id"] for run in runs if "test/accuracy" in run["metrics"]]
    chosen = f"/?exp={experiment}&sel={','.join(trained)}"
    views = {
        "runs": f"{chosen}&order=-metrics.test/accuracy",
        "charts": f"{chosen}&view=charts&smooth=0.6",
        "compare": f"{chosen}&view=compare",
        "parallel": f"/?exp={experiment}&view=parallel&q=children%20%3D%200",
        # Not its overview: that names the machine the pictures are made on.
        "run": f"/runs/{trained[0]}?tab=charts&metric=train",
        "artifacts": f"/runs/{trained[0]}?tab=artifacts",
        "history": f"/runs/{trained[0]}?tab=events&at={runs[0]['last_position'] - 60}",
    }
    with running_browser() as browser:
        for theme in ("light", "dark"):
            suffix = "" if theme == "light" else "-dark"
            with looking(
                browser, uri, width=1280, height=800, color_scheme=theme, device_scale_factor=1
            ) as look:
                for name, path in views.items():
                    if theme == "dark" and name not in ("runs", "charts"):
                        continue
                    look.open(path)
                    look.page.wait_for_load_state("load")
                    look.page.wait_for_timeout(1500)
                    look.page.screenshot(path=str(folder / f"{name}{suffix}.png"))
                    print(folder / f"{name}{suffix}.png")


def ask(uri: str, path: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(uri + path, data=data, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images"))
