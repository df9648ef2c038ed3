"""How a pod gets Hydra's code where its image has none, and how it is seen that it still waits for it.

A pod that ends never comes back, and hundreds of them ask at once, of which the code server hangs up on those that are
too many (bounded_server.py). So a pod asks again for a long time, and its log says so meanwhile.
"""

from __future__ import annotations

FETCH_LIMIT_S = 120
"""From the first request of a pod to its last one."""

UNFETCHED = "hydra: the code cannot be fetched"

FETCH = f"""
import http.client, random, sys, time, urllib.request
url, name, limit_s = sys.argv[1:4]
deadline_s, pause_s, tries = time.monotonic() + float(limit_s), 0.2, 0
while True:
    tries += 1
    try:
        with urllib.request.urlopen(url, timeout=30) as response, open(name, "wb") as file:
            file.write(response.read())
        break
    except (OSError, http.client.HTTPException) as error:
        why = "{UNFETCHED} from %s (%s)" % (url.split("/")[2], str(error) or type(error).__name__)
    if time.monotonic() >= deadline_s:
        sys.exit(why + ": with --kube_image it need not be")
    print(why + ", and is asked for again", file=sys.stderr, flush=True)
    time.sleep(pause_s * random.uniform(0.5, 1))
    pause_s = min(8, 2 * pause_s)
if tries > 1:
    print("hydra: the code was fetched", file=sys.stderr, flush=True)
"""
"""Fetches the task bundle, which the command behind it checks before it runs a line of it.

Arguments: the URL, the file, and for how many seconds it is tried again.
"""


def unfetched(log: str) -> str:
    """What a pod that still waits for the code says of it, by the end of its log; empty where it has the code."""
    last = log.strip().rpartition("\n")[2].strip()
    return last if last.startswith(UNFETCHED) else ""
