"""Which steps there are, in which order, what each may take, and which commands they are."""

import dataclasses
import importlib.util
import pathlib
import sys
from collections.abc import Callable, Sequence

from gpu_check_steps.running import Facts, Step

BACKENDS = ("xla", "triton", "mosaic")
_HERE = pathlib.Path(__file__).parent
_TESTS = ("tests/kernels", "tests/rasterizer/test_raster_golden.py")
_DRY_TESTS = ("tests/kernels/test_tile_kernels.py", "-k", "definition or stops_for_good")
TRAININGS = {
    "diffusion_gs": pathlib.Path("configs/diffusion_gs/finetune_64.py"),
    "gsrecon": pathlib.Path("configs/gsrecon/furniture_64.py"),
}
"""What can be trained. The first goes on from the bundled model, and is scored."""
_MEASURED = "pixel_aligned"
"""The workload that decides which backend is the fastest; `correct` it must be on both."""


@dataclasses.dataclass(frozen=True)
class Setup:
    """What the whole check is run with."""

    out: pathlib.Path
    """Folder for what is kept."""
    work: pathlib.Path
    """Folder for the rest."""
    data: pathlib.Path
    """Record store that is trained on."""
    dry: bool = False
    """Everything at tiny size."""
    trained: tuple[str, ...] = ("diffusion_gs",)
    """Which of `TRAININGS`, each for the same share of the time."""


def make_plan(setup: Setup) -> list[Step]:
    """Returns the steps, in order.

    Args:
        setup: of the check.
    """
    work = ["--work", str(setup.work)]
    tiny = ["--dry"] if setup.dry else []
    short = ["--seconds", "0.1"] if setup.dry else []
    small = ["--side", "16", "--scenes", "1", "--views", "2", *short] if setup.dry else []

    def with_backend(module: str, *words: str) -> Callable[[Facts, float], Sequence[str]]:
        return lambda facts, limit: [*program(module), *words, "--backend", fastest_backend(facts)]

    def rasterizer(backend: str) -> Callable[[Facts, float], Sequence[str] | str]:
        def command(facts: Facts, limit: float) -> Sequence[str] | str:
            if backend != "xla" and not on_gpu(facts):
                return f"{backend} needs an NVIDIA GPU"
            return [*program("rasterizer"), "--backend", backend, *work, *small]

        return command

    def train(name: str) -> Callable[[Facts, float], Sequence[str]]:
        def command(facts: Facts, limit: float) -> Sequence[str]:
            words = ["--config", str(TRAININGS[name]), "--run", run_name(name), "--data", str(setup.data), *work]
            words += ["--seconds", str(0.95 * limit)]
            if setup.dry:
                words += ["--resolution", "32", "--batch-size", "2", "--probe-steps", "2", "--most-steps", "2"]
            return [*program("train"), *words, "--backend", fastest_backend(facts)]

        return command

    brief = ["--steps", "2", *short, *tiny] if setup.dry else []
    few = ["--max-objects", "1", "--steps", "1", "--no-bundled"] if setup.dry else []
    run = ["--run", str(setup.work / "run")]
    configs = pathlib.Path("configs/diffusion_gs")
    # As users compile, and not as the test suite does to save time.
    as_users = {} if setup.dry else {"JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}
    each = 1.0 / len(setup.trained)
    measuring = [
        Step("environment", 0.05, lambda facts, limit: program("environment")),
        Step("gsplat_build", 0.01, gsplat_build),
        # First, because nothing is proven without its images and gradients, and compiling is what takes the time.
        Step("rasterizer_xla", 0.14, rasterizer("xla")),
        *(Step(f"rasterizer_{name}", 0.08, rasterizer(name)) for name in BACKENDS[1:]),
        Step("kernel_tests", 0.11, tests(_DRY_TESTS if setup.dry else _TESTS), environment=as_users),
        Step("rasterizer_peers", 0.06, peers(setup)),
        Step("network", 0.09, with_backend("network", "--batch-size", "1" if setup.dry else "4", *short, *tiny)),
        *(
            Step(f"sampler_{side}", 0.05, with_backend("sampler", "--config", str(file), *brief))
            for side, file in ((256, configs / "object_256.py"), (512, configs / "object_512.py"))
        ),
    ]
    # A trained model is written out before the next one is trained: the end may come at any time.
    training = []
    for name in setup.trained:
        training.append(Step(f"training_{name}", 0.18 * each, train(name), takes_the_rest=name == setup.trained[-1]))
        training.append(Step(f"checkpoint_{name}", 0.04 * each, publish(setup, name)))
    score = with_backend("evaluate", "--data", str(setup.data), *run, *work, *few)
    scoring = Step("evaluation", 0.06, score if "diffusion_gs" in setup.trained else lambda facts, limit: "not trained")
    return [*measuring, *training, scoring]


def run_name(name: str) -> str:
    """Returns the name of the folder of one of `TRAININGS`."""
    return "run" if name == "diffusion_gs" else f"run_{name}"


def program(module: str) -> list[str]:
    """Returns the words that run a step's module."""
    return [sys.executable, "-m", f"gpu_check_steps.{module}"]


def on_gpu(facts: Facts) -> bool:
    """Tells whether the environment step found an NVIDIA GPU."""
    return any(found.get("platform") in ("gpu", "cuda") for found in facts.get("environment", []))


def fastest_backend(facts: Facts) -> str:
    """Returns the backend with the fastest gradient of those that were correct on both workloads; "xla" if none was."""
    times = {}
    for backend in BACKENDS:
        last = {found["workload"]: found for found in facts.get(f"rasterizer_{backend}", [])}
        if len(last) == 2 and all(found.get("correct") for found in last.values()):
            times[backend] = last[_MEASURED].get("gradient_ms", float("inf"))
    return min(times, key=lambda name: times[name], default="xla")


def tests(words: Sequence[str]) -> Callable[[Facts, float], Sequence[str] | str]:
    """Returns the command of the kernel tests: one process, and checked types only where that package is there."""

    def command(facts: Facts, limit: float) -> Sequence[str] | str:
        if importlib.util.find_spec("pytest") is None:
            return "pytest is not installed"
        hook = "--jaxtyping-packages=diffgs_jax,diffgs_kernels,beartype.beartype"
        options = f"--strict-markers {hook if importlib.util.find_spec('beartype') else ''}"
        parallel = ["-n", "0"] if importlib.util.find_spec("xdist") else []
        return [sys.executable, "-m", "pytest", "-q", "-o", f"addopts={options}", *parallel, *words]

    return command


def gsplat_build(facts: Facts, limit: float) -> Sequence[str] | str:
    """Starts the build of gsplat's CUDA code, which goes on behind the other steps."""
    if importlib.util.find_spec("gsplat") is None or not on_gpu(facts):
        return "gsplat is not installed" if on_gpu(facts) else "gsplat needs an NVIDIA GPU"
    return [sys.executable, str(_HERE / "gsplat_build.py")]


def peers(setup: Setup) -> Callable[[Facts, float], Sequence[str] | str]:
    """Returns the command that has our fastest backend and gsplat take turns."""

    def command(facts: Facts, limit: float) -> Sequence[str] | str:
        if importlib.util.find_spec("gsplat") is None or not on_gpu(facts):
            return "gsplat is not installed" if on_gpu(facts) else "gsplat needs an NVIDIA GPU"
        return [*program("peers"), "--backend", fastest_backend(facts), "--work", str(setup.work)]

    return command


def publish(setup: Setup, name: str) -> Callable[[Facts, float], Sequence[str] | str]:
    """Returns the command that packs one of the trained models."""
    run = setup.work / run_name(name)

    def command(facts: Facts, limit: float) -> Sequence[str] | str:
        if not (run / "checkpoints").exists():
            return "nothing was trained"
        out = setup.out / ("checkpoint.packed" if name == "diffusion_gs" else f"checkpoint_{name}.packed")
        return [*program("publish"), "--run", str(run), "--work", str(setup.work), "--out", str(out)]

    return command
