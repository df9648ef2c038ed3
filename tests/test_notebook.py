"""The notebook in docs, executed as Jupyter executes it, with a real broker."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent.parent / "docs" / "kafka-scaling.ipynb"
TITLES = {
    "Average Client Rate": "Average Rx Rate [pps]",
    "Average Packet Loss": "Average Packet Loss [%]",
    "Failing Clients Rate": "Average Failing Clients Rate [pps]",
}


def test_it_is_kept_without_outputs():
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert all(not cell.get("outputs") for cell in cells)


@pytest.mark.release
@pytest.mark.integration
@pytest.mark.timeout(240)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("on_running_stack")
def test_every_cell_runs_and_the_three_plots_are_there(place, monkeypatch):
    for name in ("TMPDIR", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, place.environment[name])
    monkeypatch.setenv("IPYTHONDIR", str(place.state / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(place.state / "jupyter"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(NOTEBOOK.parent.parent)]))
    monkeypatch.setenv("HYDRA_CLIENT_SET", "10,20")
    monkeypatch.setenv("HYDRA_MSG_RATE_SET", "500,1000")
    monkeypatch.setenv("HYDRA_TEST_DURATION", "0.5")
    # A broken pipe between tests and kernel would look like a cell that never ends.
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(place.work)}}
    )
    client.execute()
    figures = [
        output["data"]["application/vnd.plotly.v1+json"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "application/vnd.plotly.v1+json" in output.get("data", {})
    ]
    assert [figure["layout"]["title"]["text"] for figure in figures] == list(TITLES)
    for figure in figures:
        assert figure["layout"]["yaxis"]["title"]["text"] == TITLES[figure["layout"]["title"]["text"]]
        assert figure["layout"]["xaxis"]["title"]["text"] == "Average Tx Rate [pps]"
        assert [trace["name"] for trace in figure["data"]] == ["client_count = 10", "client_count = 20"]
        assert {len(trace["x"]) for trace in figure["data"]} == {len(trace["y"]) for trace in figure["data"]} == {2}
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert printed.count("RES = {") == 4
    place.assert_nothing_left(10)
