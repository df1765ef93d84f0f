"""The command line of Transferbench: parse, call, print. Every decision is made in the packages that it calls.

Heavy imports wait until a command needs them, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import sys
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

try:
    from cyclopts import App, CycloptsError, Group, Parameter
    from rich.console import Console
except ModuleNotFoundError as missing:
    sys.exit(
        f"transferbench: expected an environment with its libraries; found {sys.executable} without {missing.name}; "
        "run `make env`, then use .venv/bin/python (or `source .venv/bin/activate`)"
    )

if TYPE_CHECKING:
    from benchmark.runner.request import RunRequest

app = App(
    name="transferbench",
    help="How good is a pretrained visual checkpoint, really? Any checkpoint in, a fixed battery, a trusted table out.",
    help_epilogue="A first look: `python run_bench.py demo`. Exit codes: 0 done; 1 some cells failed, or a figure was "
    "not reproduced; 2 the request makes no sense and nothing was run. `--debug` adds the traceback to an error.",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
_MODEL, _WORK, _PLACE = (Group(name, sort_key=index) for index, name in enumerate(("Model", "Work", "Where and how")))
Many = Parameter(consume_multiple=True, negative=())
Format = Literal["terminal", "csv", "md", "latex", "json", "parquet"]


@app.command
def demo(*, out: Path = Path("runs/demo"), cache: Path | None = None, device: str = "auto") -> int:
    """The whole frozen battery on generated scenes and four tiny shipped backbones, then the table and the site.

    Args:
        out: where results go.
        cache: where features are kept (default: `$TRANSFERBENCH_CACHE`, or `transferbench` in the user's cache folder).
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
    """
    from benchmark.demo import demo_request
    from leaderboard.reading import reading
    from leaderboard.tables import read_entries

    code = _run(demo_request(out, cache, device), dry_run=False)
    _console().print(reading(read_entries([out])))
    return max(code, leaderboard(out, out=out / "site", title="Transferbench demo"))


@app.command
def run(
    *,
    checkpoint: Annotated[str | None, Parameter(group=_MODEL)] = None,
    models: Annotated[Path | None, Parameter(group=_MODEL)] = None,
    name: Annotated[str | None, Parameter(group=_MODEL)] = None,
    arch: Annotated[str | None, Parameter(group=_MODEL)] = None,
    layout: Annotated[str | None, Parameter(group=_MODEL)] = None,
    key: Annotated[str | None, Parameter(group=_MODEL)] = None,
    preprocess: Annotated[tuple[str, ...], Parameter(group=_MODEL), Many] = (),
    suite: Annotated[str, Parameter(group=_WORK)] = "frozen",
    data: Annotated[tuple[str, ...], Parameter(group=_WORK), Many] = (),
    shift: Annotated[tuple[str, ...], Parameter(group=_WORK), Many] = (),
    task: Annotated[tuple[str, ...], Parameter(group=_WORK), Many] = (),
    seeds: Annotated[str | None, Parameter(group=_WORK)] = None,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", group=_WORK), Many] = (),
    out: Annotated[Path, Parameter(group=_PLACE)] = Path("runs"),
    cache: Annotated[Path | None, Parameter(group=_PLACE)] = None,
    device: Annotated[str, Parameter(group=_PLACE)] = "auto",
    precision: Annotated[Literal["fp32", "tf32", "bf16", "fp16"] | None, Parameter(group=_PLACE)] = None,
    compile_: Annotated[bool, Parameter(name="--compile", group=_PLACE, negative=())] = False,
    engine: Annotated[Literal["local"], Parameter(group=_PLACE)] = "local",
    overwrite: Annotated[Literal["never", "failed", "always"], Parameter(group=_PLACE)] = "never",
    on_bad_image: Annotated[Literal["stop", "skip"], Parameter(group=_PLACE)] = "stop",
    batch_size: Annotated[int, Parameter(group=_PLACE)] = 64,
    workers: Annotated[int | None, Parameter(group=_PLACE)] = None,
    dry_run: Annotated[bool, Parameter(group=_PLACE, negative=())] = False,
) -> int:
    """Score checkpoints: plan the cells, encode each image once, run every task, print the table.

    Example: `run --checkpoint vit.pth --arch vit_base_patch16_224 --data pets=folder:/data/pets --out runs/vit`.
    The same command again goes on where it was; finished cells are never made twice.

    Args:
        checkpoint: a weights file, or `timm:NAME`, `torchvision:NAME/WEIGHTS`, `hf:ORG/NAME`, `openclip:ARCH/TAG`,
            `python:module:factory`, `random:ARCH`.
        models: a YAML file of several checkpoints, instead of --checkpoint.
        name: what results call the model (default: from the checkpoint's name).
        arch: a timm name, with arguments if need be (`mobilenetv2_100?pad_type=same`), or `python:module:factory`.
        layout: how the file stores its encoder, where that cannot be recognised (see `list layouts`).
        key: which entry of the file is the encoder, where there are several (`inspect` lists them).
        preprocess: overrides of the checkpoint's preprocessing, `mean=0.5 std=0.5 size=224 crop_pct=0.875 ...`.
        suite: a suite's name (see `list suites`) or a YAML file.
        data: `DATASET=SOURCE`, replacing the suite's datasets (see `list sources`).
        shift: `clean=SOURCE NAME=SOURCE ...`: each other source becomes a dataset of that name whose images are judged
            by what was learned from the clean one; `NAME:map=FILE` says which classes are which where names differ.
        task: only these tasks of the suite.
        seeds: comma-separated, for instance `0,1,2`.
        set_: `task.key=value`: another setting of a task's protocol; it becomes part of the protocol's name.
        out: where results and predictions go.
        cache: where features are kept (default: `$TRANSFERBENCH_CACHE`, or `transferbench` in the user's cache folder).
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        precision: of the forward pass (default: fp32 on a CPU, tf32 on a GPU); stored in every result.
        compile_: `torch.compile` the backbone: pays from some ten thousand images on, on a GPU.
        engine: where cells run.
        overwrite: which stored cells are made again.
        on_bad_image: `stop` at unreadable images, or `skip` them and have that recorded in the result.
        batch_size: images per forward pass; halves by itself when memory runs out.
        workers: decoding processes (default: one per core).
        dry_run: print the plan and stop.
    """
    from benchmark.runner.request import RunRequest, datasets_of, default_cache, model_cards, parse_seeds

    request = RunRequest(
        models=model_cards(checkpoint, models, name, arch, layout, key, preprocess),
        suite=suite,
        data=datasets_of(data, shift),
        tasks=task,
        seeds=parse_seeds(seeds),
        settings=set_,
        out=out,
        cache=cache or default_cache(),
        device=device,
        precision=precision,
        compile=compile_,
        overwrite=overwrite,
        on_bad_image=on_bad_image,
        batch_size=batch_size,
        workers=workers,
    )
    return _run(request, dry_run)


@app.command
def inspect(
    checkpoint: str,
    *,
    arch: str | None = None,
    layout: str | None = None,
    key: str | None = None,
    preprocess: Annotated[tuple[str, ...], Many] = (),
    audit: Annotated[bool, Parameter(negative=())] = False,
    data: str | None = None,
    images: int = 500,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """What a weights file holds: layout, encoder, architecture, every dropped key with its reason, preprocessing.

    Example: `inspect vit.pth --audit --data folder:/data/pets` also measures what other plausible settings of the
    preprocessing would score, and warns when the declared one loses clearly.

    Args:
        checkpoint: a weights file, or anything else that `run` takes.
        arch: account for the keys against this architecture.
        layout: as for `run`.
        key: as for `run`.
        preprocess: as for `run`.
        audit: score the declared preprocessing and others by k-NN on a sample of `--data`.
        data: a source of labelled images, for the audit.
        images: the size of the audit's sample.
        json: for programs.
    """
    from benchmark.backbones.inspection import inspect_checkpoint, render
    from benchmark.runner.audit import audit_checkpoint, render_audit

    report = inspect_checkpoint(checkpoint, arch=arch, layout=layout, key=key, preprocess=preprocess)
    found = None
    if audit or data is not None:
        found = audit_checkpoint(checkpoint, data, arch, layout, key, preprocess, images)
    if json:
        whole = report if found is None else {**report, "audit": found.as_json()}
        print(dumps(whole, indent=1, ensure_ascii=False))
    else:
        _console().print(render(report))
        if found is not None:
            _console().print(render_audit(found))
    return 0


@app.command
def table(
    *folders: Path,
    format: Format = "terminal",
    wide: Annotated[bool, Parameter(negative=())] = False,
    ranking: Annotated[bool, Parameter(negative=())] = False,
    published: Annotated[bool, Parameter(negative=())] = False,
    by: Annotated[tuple[str, ...], Many] = (),
    reference: str | None = None,
    output: Path | None = None,
) -> int:
    """Results as a table: for people in the terminal, or in a format for programs and papers.

    Args:
        folders: output folders of `run`.
        format: `csv` is the long form, one row per metric.
        wide: a row per model, a column per `dataset/task/metric`.
        ranking: below the table, the models in one order: mean rank and other aggregates, who is told apart, and how
            far the columns agree.
        published: published figures of the same weights (`weights` of a model card) under the same protocol beside the
            measured ones, with the difference and whether the two contradict each other.
        by: apples to apples: a table (and ranking) for each group of models that share these facts: `architecture`,
            `pretraining_data`, `epochs`, `method`, or a name that model cards have under `groups`.
        reference: a model of the table: errors under corruptions are also given over its errors, as ImageNet-C gives
            them over AlexNet's.
        output: a file to write instead of the standard output.
    """
    from benchmark.errors import RequestError
    from leaderboard import standing
    from leaderboard.formats import encode
    from leaderboard.groups import grouped
    from leaderboard.published import frames, terminal
    from leaderboard.tables import check_reference_of, long_table, read_entries, wide_table
    from leaderboard.terminal import render

    if not folders:
        raise RequestError("at least one output folder of a run", "none", "for example: table runs/a runs/b")
    entries = read_entries(folders)
    check_reference_of(entries, reference)
    if by and (format != "terminal" or output is not None):
        raise RequestError("--by in the terminal", f"--format {format}", "other formats have a column for every fact")
    if format == "terminal" and output is None:
        for facts, group in grouped(entries, by).items():
            if by:
                _console().rule(", ".join(facts), align="left")
            _console().print(render(group, reference))
            if ranking and (not by or len({entry.result.model.name for entry in group}) > 1):
                _console().print(standing.render(group))
        if published:
            _console().print(terminal.render(entries))
        return 0
    if ranking:
        raise RequestError("--ranking in the terminal", f"--format {format}", "leave out --format and --output")
    if published:
        content = frames.encode_published(entries, format, wide)
    else:
        content = encode((wide_table if wide else long_table)(entries, reference), format)
    if output is None:
        if format == "parquet" and sys.stdout.isatty():
            raise RequestError("--output for parquet", "a terminal, which cannot show it", "add --output table.parquet")
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    else:
        from benchmark.files import write_bytes

        write_bytes(output, content)
    return 0


@app.command
def leaderboard(*folders: Path, out: Path, title: str = "Transferbench") -> int:
    """A static site of everything in some output folders: open its index.html, no server and no network needed.

    Example: `leaderboard runs/a runs/b --out site`. A sortable, filterable table, a page per model and per task, a
    ranking with its statistics, and a view that compares models.

    Args:
        folders: output folders of `run`.
        out: where the site goes: a new folder, or an earlier site, which is replaced.
        title: of its pages.
    """
    from benchmark.errors import RequestError
    from benchmark.runner.reporter import Reporter
    from leaderboard.site.build import build_site
    from leaderboard.tables import read_entries

    if not folders:
        raise RequestError("at least one output folder of a run", "none", "for example: leaderboard runs/a --out site")
    with Reporter().bar("site") as update:
        site = build_site(read_entries(folders), out, title, update)
    models, columns = len(site.board.models), len(site.board.columns)
    _console().print(f"{models} models, {columns} columns, {site.pages} pages: open {site.index}", highlight=False)
    return 0


@app.command
def verify(folder: Path) -> int:
    """Recompute every metric from its stored predictions; 1 when one is not reproduced.

    Args:
        folder: an output folder of `run`.
    """
    from leaderboard.verify import render, verify_folder

    verdicts = list(verify_folder(folder))
    _console().print(render(verdicts))
    return 1 if any(verdict.problems for verdict in verdicts) else 0


@app.command
def merge(
    *folders: Path,
    into: Path,
    replace: Literal["never", "newer"] = "never",
    rename: Annotated[tuple[str, ...], Many] = (),
    report: Annotated[tuple[Path, ...], Many] = (),
    dry_run: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Merge folders of results into a board, each verified first; 1 where something was refused, and why.

    Example: `merge sent/lab-a sent/lab-b --into board --report merge.md`. Every metric is recomputed from its
    predictions; weights, data, protocol and labels have to be those of the board.

    Args:
        folders: output folders of `run`, from whomever.
        into: the board, an output folder like any other; it is made where it is not there.
        replace: a cell that the board has with other predictions is refused, or the `newer` one stays.
        rename: `OLD=NEW`, where a name stands for other weights on the board.
        report: files to write: `*.md` for a pull request, `*.json` for programs.
        dry_run: judge, and write nothing into the board.
    """
    from leaderboard.submissions import report as reports
    from leaderboard.submissions.merge import merge as merged
    from leaderboard.submissions.merge import parse_renames

    for path in report:
        reports.check_name(path)
    found = merged(folders, into, replace=replace, rename=parse_renames(rename), dry_run=dry_run)
    for path in report:
        reports.write_report(found, path)
    _console().print(reports.render(found))
    return found.exit_code


@app.command
def card(where: str, *, output: Path | None = None, source_url: str | None = None) -> int:
    """The results of one model as `model-index` metadata of a Hugging Face model card.

    Example: `card runs/vit --output README.md`. Every figure is recomputed from its predictions first.

    Args:
        where: an output folder of `run`, or `DIR:NAME` where it holds several models.
        output: a model card: its front matter gets the results, the rest of it stays as it is. Without, they are
            printed.
        source_url: where the results can be looked at, for instance a board.
    """
    from leaderboard.model_index import front_matter, model_index, read_model, write_card

    index = model_index(read_model(where), source_url)
    if output is None:
        print(front_matter(index), end="")
    else:
        write_card(output, index)
    return 0


@app.command
def check(
    *,
    baseline: str,
    candidate: str,
    margin: float | None = None,
    alpha: float | None = None,
    policy: Path | None = None,
    report: Annotated[tuple[Path, ...], Many] = (),
) -> int:
    """The release gate: did the candidate lose anything? 1 where a cell regressed, is missing or cannot be compared.

    Example: `check --baseline runs/v1 --candidate runs/v2 --margin 0.5 --report check.md check.xml`. Cells are compared
    sample by sample; a loss counts where it is significant over all cells together and not shown to be within the
    margin.

    Args:
        baseline: an output folder of `run`, or `DIR:NAME` where it holds several models.
        candidate: likewise.
        margin: the loss that is accepted, in points (default 0.5, or the policy's).
        alpha: the chance of a false alarm over all cells (default 0.05, or the policy's).
        policy: a YAML file: margins and actions (fail, warn, ignore) per task, required cells, minimum samples.
        report: files to write: `*.md` for a pull request, `*.xml` (JUnit) and `*.json` for CI.
    """
    from leaderboard.gate.compare import run_check
    from leaderboard.gate.policy import load_policy
    from leaderboard.gate.report import render, write_report

    found = run_check(baseline, candidate, load_policy(policy, margin, alpha))
    for path in report:
        write_report(found, path)
    _console().print(render(found))
    return found.exit_code


@app.command
def show(
    folder: Path,
    *,
    task: Literal["segmentation", "detection", "robustness"],
    n: int = 8,
    out: Path | None = None,
    model: str | None = None,
    score: float = 0.3,
) -> int:
    """Pictures of results: what a dense task was asked and what it answered, or what changed images do to accuracy.

    Example: `show runs/vit --task segmentation`. A picture per result. Of `segmentation` and `detection` image, target
    and prediction side by side, where a target that drifted is seen at once; the data is read again from where the run
    had it. Of `robustness` heat maps and curves from the stored predictions, and where several models have a result,
    one more picture of them together.

    Args:
        folder: an output folder of `run`.
        task: whose results.
        n: images per result of a dense task, the same ones for every model.
        out: where pictures go (default: `pictures` in the folder).
        model: only this model's.
        score: detections below it are left out.
    """
    from benchmark.show import show as drawn
    from leaderboard.charts.pictures import pictures

    found = pictures(folder, out, model) if task == "robustness" else drawn(folder, task, n, out, model, score)
    for picture in found:
        print(picture)
    return 0


@app.command(name="list")
def list_(what: Literal["tasks", "suites", "protocols", "layouts", "sources", "models"]) -> int:
    """What there is: tasks, suites, protocols, layouts, sources or the kinds of models.

    Args:
        what: which list.
    """
    from benchmark.runner.catalogue import render

    _console().print(render(what))
    return 0


@app.command
def doctor() -> int:
    """What is installed, what is missing, and what each missing part costs."""
    from benchmark.runner.doctor import render

    _console().print(render())
    return 0


def _run(request: RunRequest, dry_run: bool) -> int:
    """Plans and runs a request, and prints its table."""
    from benchmark.backbones.execution import plan_execution
    from benchmark.runner.models import ModelShelf
    from benchmark.runner.plan import make_plan
    from benchmark.runner.reporter import Reporter
    from benchmark.runner.run import run_plan
    from leaderboard.tables import read_entries
    from leaderboard.terminal import render

    reporter = Reporter()
    shelf = ModelShelf(plan_execution(request.device, request.precision, compile=request.compile))
    plan = make_plan(request, shelf)
    reporter.plan(plan)
    if dry_run:
        return 0
    plan.check_applicable()
    summary = run_plan(plan, shelf, reporter)
    _console().print(render(read_entries([request.out])))
    reporter.summary(summary, request)
    return 1 if summary.failed or summary.stored_failed else 0


def _console() -> Console:
    """Standard output; wide where no terminal limits it, so that tables in files and pipes are whole."""
    return Console() if sys.stdout.isatty() or "COLUMNS" in os.environ else Console(width=140)


def _complain(message: str, debug: bool) -> None:
    """One line on stderr; with --debug the traceback before it."""
    if debug:
        Console(stderr=True).print_exception()
    print(f"transferbench: {' '.join(message.split())}", file=sys.stderr)


def main() -> None:
    """The console entry point: one line on stderr for whatever a user can cause."""
    from benchmark.allocator import keep_freed_memory
    from benchmark.errors import RequestError

    keep_freed_memory()
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        code = app(arguments or ["--help"], exit_on_error=False, print_error=False)
    except CycloptsError as error:
        _complain(str(error), debug)
        code = 2
    except RequestError as error:
        _complain(str(error), debug)
        code = 2
    except OSError as error:
        _complain(f"the system refused: {error}; what was finished is kept, the same command goes on", debug)
        code = 1
    except KeyboardInterrupt:
        _complain("interrupted; finished cells are kept, the same command goes on", debug)
        code = 130
    sys.exit(code or 0)


if __name__ == "__main__":
    main()
