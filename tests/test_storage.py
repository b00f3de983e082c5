"""Clips and results in an object store: a real S3 server (moto's) on this machine."""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import write_clip
from whole_runs import copy_sources, environment, owed, results_of, snakemake

for package in ("snakemake_storage_plugin_s3", "moto.server", "flask_cors"):
    pytest.importorskip(
        package, reason=f"no {package}: see the optional packages in pyproject.toml"
    )
boto3 = pytest.importorskip("boto3")  # the plugin brings it

CONFIG = {
    "run": "small",
    "source": "archive",
    "path": "s3://data/clips.zip",
    "frames": {"count": 4, "height": 24, "width": 32, "shards": 2},
    "models": ["gru", "simple_rnn"],
    "training": {"epochs": 1, "batch_size": 4, "units": [4]},
    "threads": 1,
}
KEYS = {
    "SNAKEMAKE_STORAGE_S3_ACCESS_KEY": "somebody",
    "SNAKEMAKE_STORAGE_S3_SECRET_KEY": "a secret",
}
GRU = {"train_gru", "evaluate_gru", "compare", "report"}
# Where Snakemake keeps what lies in s3://lab/noctact/ while jobs need it.
COPIES = ".snakemake/storage/s3/lab/noctact/"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an S3 server, without any bucket at first."""
    file = tmp_path_factory.mktemp("server") / "log"
    with file.open("w") as log:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment())
    try:
        while not (found := re.search(r"Running on (http://[\d.:]+)", file.read_text())):
            assert process.poll() is None, file.read_text()
            time.sleep(0.1)
        yield found[1]
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def store(server: str):
    """Its objects, as a client of S3 sees them."""
    key, secret = KEYS.values()
    return boto3.resource(
        "s3",
        endpoint_url=server,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
    )


@pytest.fixture(scope="module")
def clips(store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of clips; clips.zip beside it; the bucket `data` holds both."""
    root = tmp_path_factory.mktemp("data") / "clips"
    for n, label in enumerate(("jump", "kick")):
        for take in range(4):
            write_clip(root / label / f"{take}.mkv", range(40 * n, 200, 8 + take))
    archive = Path(shutil.make_archive(str(root), "zip", root))
    data = store.create_bucket(Bucket="data")
    data.upload_file(str(archive), "clips.zip")
    for file in sorted(root.rglob("*.mkv")):
        data.upload_file(str(file), str(file.relative_to(root.parent)))
    return root


def results_in(server: str) -> tuple[str, ...]:
    """Flags of a call whose results go to the bucket `lab`."""
    prefix = ("--default-storage-provider", "s3", "--default-storage-prefix", "s3://lab/noctact")
    return (*prefix, "--storage-s3-endpoint-url", server)


def download(store, prefix: str, folder: Path) -> Path:
    """Copy what the bucket `lab` holds below `prefix` to `folder`."""
    for item in store.Bucket("lab").objects.filter(Prefix=prefix):
        file = folder / item.key.removeprefix(prefix)
        file.parent.mkdir(parents=True, exist_ok=True)
        item.Object().download_file(str(file))
    return folder


def test_a_run_in_storage_gives_the_files_of_a_local_one(
    server: str, store, clips: Path, tmp_path: Path
):
    local = copy_sources(tmp_path / "local")
    done = snakemake(local, config=CONFIG | {"path": str(clips.with_suffix(".zip"))})
    assert done.returncode == 0, done.stdout

    checkout, flags = copy_sources(tmp_path / "checkout"), results_in(server)
    done = snakemake(checkout, *flags, config=CONFIG, **KEYS)
    assert done.returncode == 0, done.stdout

    stored = download(store, "noctact/results/small/", tmp_path / "stored")
    for table in ("index", "manifest"):  # which name each clip by where it lay
        file = stored / f"dataset/{table}.csv"
        assert COPIES in file.read_text()
        file.write_text(file.read_text().replace(COPIES, ""))
    assert results_of(stored) == results_of(local / "results/small")
    assert {file.name for file in stored.iterdir()} >= {"logs", "benchmarks"}
    # No second copy stays on this machine, but for what jobs said and took.
    copies = checkout / COPIES / "results/small"
    kept = [file.relative_to(copies) for file in copies.rglob("*") if file.is_file()]
    assert {file.parts[0] for file in kept} == {"logs", "benchmarks"}

    assert owed(checkout, *flags, **KEYS) == {}
    changed = CONFIG | {"per_model": {"gru": {"learning_rate": 0.01}}}
    snakemake(checkout, "--version", config=changed)
    why = owed(checkout, *flags, **KEYS)
    assert why.keys() == GRU
    assert why["train_gru"] == "learning_rate: 0.0001 -> 0.01"

    # Elsewhere the same, with the records of what the results were made from.
    elsewhere = copy_sources(tmp_path / "elsewhere")
    records = Path(".snakemake/metadata")
    shutil.copytree(checkout / records, elsewhere / records)
    snakemake(elsewhere, "--version", config=changed)
    assert owed(elsewhere, *flags, **KEYS) == why

    # A new archive under the old name is unpacked again.
    time.sleep(1)  # an object's time is in whole seconds
    write_clip(clips / "jump" / "0.mkv", range(10, 90, 9))
    archive = shutil.make_archive(str(clips), "zip", clips)
    store.Bucket("data").upload_file(archive, "clips.zip")
    assert owed(checkout, *flags, **KEYS)["acquire"] == "changed: s3://data/clips.zip"


def test_a_folder_of_clips_in_storage_gives_local_results(server: str, clips: Path, tmp_path: Path):
    flags = ("--storage-s3-endpoint-url", server, "--until", "index")
    checkout, config = (
        copy_sources(tmp_path),
        CONFIG | {"source": "folder", "path": "s3://data/clips"},
    )
    done = snakemake(checkout, *flags, config=config, **KEYS)
    assert done.returncode == 0, done.stdout
    assert len((checkout / "results/small/dataset/index.csv").read_text().splitlines()) == 9
    assert not owed(checkout, *flags, **KEYS)


def test_clips_on_this_machine_can_give_results_in_storage(
    server: str, clips: Path, tmp_path: Path
):
    checkout, flags = copy_sources(tmp_path), results_in(server)
    config = CONFIG | {"source": "folder", "path": str(clips), "run": "mine"}
    done = snakemake(checkout, *flags, "--until", "index", config=config, **KEYS)
    assert done.returncode == 0, done.stdout
    assert not owed(checkout, *flags, "--until", "index", **KEYS)


def test_a_store_that_does_not_answer_is_named(tmp_path: Path):
    nobody = "http://127.0.0.1:9"  # the port of the service "discard", which nobody runs any more
    flags = (*results_in(nobody), "--storage-s3-retries", "1")
    done = snakemake(copy_sources(tmp_path), *flags, "--dry-run", config=CONFIG, **KEYS)
    assert done.returncode != 0
    assert f'Could not connect to the endpoint URL: "{nobody}' in done.stdout


def test_an_archive_that_is_not_there_is_named(server: str, clips: Path, tmp_path: Path):
    config = CONFIG | {"path": "s3://data/none.zip"}
    flags = ("--storage-s3-endpoint-url", server, "--dry-run")
    done = snakemake(copy_sources(tmp_path), *flags, config=config, **KEYS)
    assert done.returncode != 0
    assert "s3://data/none.zip (in storage)" in done.stdout
