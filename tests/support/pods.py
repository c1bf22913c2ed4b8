"""A pod without a cluster: the exact command of a task's container, in an empty directory.

Flyte would put the same things in place: the code bundle, the inputs as protobuf, where outputs go.
Code, inputs and outputs are on a real S3; nothing but the environment is shared with the caller.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import obstore

from deepsynth.storage.stores import open_store
from tests.servers.s3 import KEY, SECRET, Ceph
from tests.support.tickets import wait_until


@dataclass
class Result:
    """What a pod left.

    Attributes:
        code: Exit code of the container.
        output: What it printed.
        base: Where on S3 its outputs were to go.
        outputs: What it returned, as the caller gets it; None when it failed.
    """

    code: int
    output: str
    base: str
    outputs: Any = None

    def error(self) -> tuple[str, str, bool]:
        """Code, message, and whether it may be tried again, of `error.pb`."""
        from flyteidl2.core import execution_pb2

        document = execution_pb2.ErrorDocument()
        document.ParseFromString(bytes(obstore.get(*open_store(f"{self.base}/error.pb")).bytes()))
        again = document.error.kind == execution_pb2.ContainerError.RECOVERABLE
        return document.error.code, document.error.message, again

    def has(self, name: str) -> bool:
        """Whether the pod left an object of this name."""
        try:
            obstore.head(*open_store(f"{self.base}/{name}"))
        except FileNotFoundError:
            return False
        return True


@dataclass
class End:
    """How a pod is ended before its time: SIGTERM asks it, SIGKILL takes all its processes.

    Attributes:
        number: The signal.
        when: Told the folder of the pod, says whether it is time.
    """

    number: signal.Signals
    when: Callable[[Path], Any]


def kill_all(pid: int) -> None:
    """Kill a process and everything it started, as a node that is switched off does."""
    children = subprocess.run(
        ["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False
    )
    os.kill(pid, signal.SIGKILL)
    for child in map(int, children.stdout.split()):
        kill_all(child)


@dataclass
class Cluster:
    """Runs leaf tasks of one generated module.

    Attributes:
        ceph: The store.
        module: The generated module, loaded.
        folder: The folder of its file.
        root: An empty folder for the pods.
    """

    ceph: Ceph
    module: Any
    folder: Path
    root: Path
    base: str = field(default_factory=lambda: f"s3://tests/pods-{uuid.uuid4().hex[:8]}")

    def __post_init__(self) -> None:
        import flyte
        from flyte.storage import S3

        endpoint = self.ceph.environment()["AWS_ENDPOINT_URL"]
        flyte.init(
            storage=S3(
                endpoint=endpoint, access_key_id=KEY, secret_access_key=SECRET, region="us-east-1"
            )
        )
        bundle = self.root / "code.tar.gz"
        with tarfile.open(bundle, "w:gz") as archive:
            for path in sorted(self.folder.iterdir()):
                if path.is_file():
                    archive.add(path, path.name)
        obstore.put(*open_store(f"{self.base}/code.tar.gz"), bundle.read_bytes())

    def pod(self, task: Any, *, end: End | None = None, **given: Any) -> Result:
        """Run one task to its end, or end it early."""
        return asyncio.run(self._pod(task, given, end))

    async def _pod(self, task: Any, given: dict[str, Any], end: End | None) -> Result:
        from flyte._internal.runtime import convert, io
        from flyte._internal.runtime.task_serde import translate_task_to_wire
        from flyte.models import CodeBundle, SerializationContext

        code = CodeBundle(tgz=f"{self.base}/code.tar.gz", computed_version="v1", destination=".")
        context = SerializationContext(
            version="v1", project="p", domain="d", org="o", code_bundle=code, root_dir=self.folder
        )
        container = translate_task_to_wire(task, context).task_template.container
        name = f"{task.func.__name__}-{uuid.uuid4().hex[:6]}"
        base = f"{self.base}/{name}"
        inputs = await convert.convert_from_native_to_inputs(task.native_interface, **given)
        await io.upload_inputs(inputs, f"{base}/inputs.pb")
        values = {
            "{{.input}}": f"{base}/inputs.pb",
            "{{.outputPrefix}}": f"{base}/out",
            "{{.runName}}": "run",
            "{{.actionName}}": name,
            "{{.rawOutputDataPrefix}}": f"{base}/raw",
            "{{.checkpointOutputPrefix}}": f"{base}/checkpoint",
            "{{.prevCheckpointPrefix}}": '""',
            "{{.runStartTime}}": "2030-01-01T00:00:00Z",
        }
        argv = [values.get(word, word) for word in container.args]
        assert not [word for word in argv if "{{" in word]
        empty = self.root / name
        (empty / "work").mkdir(parents=True)
        with (empty / "output").open("w") as output:
            process = subprocess.Popen(
                argv,
                cwd=empty / "work",
                env=self._environment(name, empty, {e.key: e.value for e in container.env}),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            if end:
                wait_until(lambda: end.when(empty), 60, "the moment to end the pod")
                if end.number == signal.SIGKILL:
                    kill_all(process.pid)
                else:
                    process.send_signal(end.number)
            process.wait(240)
        result = Result(process.returncode, (empty / "output").read_text(), f"{base}/out")
        if result.has("outputs.pb"):
            outputs = await io.load_outputs(f"{base}/out/outputs.pb")
            result.outputs = await convert.convert_outputs_to_native(task.native_interface, outputs)
        return result

    def _environment(self, name: str, empty: Path, own: dict[str, str]) -> dict[str, str]:
        """What a container has: its own variables, credentials, and where it stands."""
        store = self.ceph.environment()
        return {
            **own,
            **store,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(empty),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "FLYTE_AWS_ENDPOINT": store["AWS_ENDPOINT_URL"],
            "FLYTE_AWS_ACCESS_KEY_ID": KEY,
            "FLYTE_AWS_SECRET_ACCESS_KEY": SECRET,
            "FLYTE_CLUSTERED_WORKER": "1",
            "FLYTE_INTERNAL_EXECUTION_PROJECT": "p",
            "FLYTE_INTERNAL_EXECUTION_DOMAIN": "d",
            "_U_ORG_NAME": "o",
            "_U_RUN_BASE": f"{self.base}/run",
            "RUN_NAME": "run",
            "ACTION_NAME": name,
        }
