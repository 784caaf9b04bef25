"""The command line, ``analogsim --help``.

User errors print one line and exit with status 2; no traceback. Ctrl-C ends every command within two seconds with
exit status 130 and one line that names the files that were saved (``interrupts``).
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from analogsim.cli import interrupts


class Commands(typer.core.TyperGroup):
    """The group of all commands; an interrupted command prints which files were saved, where typer prints nothing."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stopped:
            interrupts.leave(stopped)
            raise typer.Exit(interrupts.STATUS) from None


app = typer.Typer(
    name="analogsim",
    cls=Commands,
    help="Emulate analog computers for neural networks: training, sampled and aged chips, energy per inference.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _show_version(value: bool) -> None:
    if value:
        import analogsim

        typer.echo(f"analogsim {analogsim.__version__}")
        raise typer.Exit()


def _check_seed(seed: int | None) -> int | None:
    """Refuse a seed that ``jax.random.key`` does not accept."""
    if seed is not None and not -(2**63) <= seed < 2**63:
        from analogsim.base.errors import InputError

        raise InputError(f"--seed {seed}: must be an integer between {-(2**63)} and {2**63 - 1}")
    return seed


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Emulate analog computers for neural networks: training, sampled and aged chips, energy per inference."""


@app.command(epilog="Example:  analogsim quickstart --fast --out /tmp/first-look")
def quickstart(
    out: Annotated[Path, typer.Option(help="Folder for report.html and results.nc.")] = Path("quickstart"),
    fast: Annotated[bool, typer.Option("--fast", help="Smoke test: few chips, little training.")] = False,
    chips: Annotated[int | None, typer.Option(help="Chips sampled per network (default 100).")] = None,
    networks: Annotated[
        int | None, typer.Option(help="Networks trained from different initial weights (default 3).")
    ] = None,
    seed: Annotated[int, typer.Option(callback=_check_seed, help="Random seed.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Train on digits with and without hardware awareness, age 100 PCM chips of each, and compute the energy."""
    from analogsim.cli.quickstart import run

    run(out=out, fast=fast, chips=chips, networks=networks, key=seed, as_json=as_json)


@app.command(epilog="Example:  analogsim train --recipe lenet --out /tmp/lenet")
def train(
    recipe: Annotated[str, typer.Option(help="Name of a recipe (see analogsim recipes), or a TOML file.")],
    out: Annotated[Path | None, typer.Option(help="Output folder (default: the recipe's name).")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Smoke test: one epoch, few chips.")] = False,
    chips: Annotated[int | None, typer.Option(help="Chips sampled per network; overrides the recipe.")] = None,
    seed: Annotated[int, typer.Option(callback=_check_seed, help="Random seed.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Train a network, fine-tune it for its hardware, and age chips of both versions for ten years."""
    from analogsim.cli import train as train_command

    train_command.run(recipe, out=out, fast=fast, chips=chips, key=seed, as_json=as_json)


@app.command(
    epilog="Examples:  analogsim energy --model resnet50 --systems H100,H100:int8,brain --batch 1,16,256;  "
    "analogsim energy --hardware my.toml"
)
def energy(
    model: Annotated[
        str, typer.Option(help="mlp, lenet, gru, transformer, alexnet, resnet50, or file.py:function.")
    ] = "lenet",
    hardware: Annotated[str, typer.Option(help="Name of a preset, for example pcm, or a .toml file.")] = "pcm",
    systems: Annotated[str, typer.Option(help="Comma-separated systems to compare with.")] = "H100,Eyeriss,brain",
    batch: Annotated[str, typer.Option(help="Comma-separated batch sizes.")] = "1,256",
    inferences: Annotated[
        float | None,
        typer.Option(
            help="Inferences over the chip's lifetime; programming and calibration energy is amortised over them."
        ),
    ] = None,
    years: Annotated[float, typer.Option(help="Lifetime of the chip in years.")] = 3.0,
    recalibrate: Annotated[str | None, typer.Option(help="Time between calibrations, for example '1 day'.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for energy.html and energy.csv.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
    list_systems: Annotated[
        bool, typer.Option("--list", help="List systems, number formats and weight storage formats.")
    ] = False,
    validate: Annotated[
        bool, typer.Option("--validate", help="Compare the energy models with published chips.")
    ] = False,
) -> None:
    """Compare the energy per inference on analog hardware, GPUs, TPUs, Eyeriss, spiking chips and the brain."""
    from analogsim.cli import energy as energy_command

    if list_systems:
        energy_command.list_systems()
    elif validate:
        energy_command.validate(as_json)
    else:
        energy_command.run(model, hardware, systems, batch, out, as_json, inferences, years, recalibrate)


@app.command(epilog="Example:  analogsim sweep --example > my.toml; analogsim sweep my.toml --out results.nc")
def sweep(
    file: Annotated[Path | None, typer.Argument(help="Sweep file in TOML; see --example.")] = None,
    out: Annotated[
        Path, typer.Option(help="Results file (netCDF); an incomplete file of the same inputs is resumed.")
    ] = Path("results.nc"),
    resume: Annotated[bool, typer.Option(help="Resume an existing results file, or refuse to touch it.")] = True,
    chips: Annotated[int | None, typer.Option(help="Chips sampled per point; overrides the file.")] = None,
    seed: Annotated[int | None, typer.Option(callback=_check_seed, help="Random seed; overrides the file.")] = None,
    workers: Annotated[int, typer.Option(help="Worker processes on this computer; 0 uses the current process.")] = 0,
    dask: Annotated[str | None, typer.Option(help="Address of a Dask scheduler, for example tcp://host:8786.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print statistics as JSON for scripts.")] = False,
    example: Annotated[bool, typer.Option("--example", help="Print an example sweep file.")] = False,
) -> None:
    """Sweep hardware fields, chips and ages as described in a TOML file; results survive Ctrl-C."""
    from analogsim.cli import sweep as sweep_command
    from analogsim.training.recipes.sweep_file import EXAMPLE

    if example and (file is not None or as_json):
        raise sweep_command.InputError("--example: prints an example file and takes no other argument")
    if example:
        typer.echo(EXAMPLE, nl=False)
    elif file is None:
        raise sweep_command.InputError("sweep: needs a TOML file; analogsim sweep --example prints one")
    else:
        interrupts.advise("rerun the same sweep to resume")
        sweep_command.run(
            file, out=out, resume=resume, chips=chips, key=seed, workers=workers, dask=dask, as_json=as_json
        )


@app.command(epilog="Example:  analogsim storage --weights 1024 --time '1 us' --stores quantum-register,pcm --json")
def storage(
    weights: Annotated[int, typer.Option(help="Number of weights to store.")] = 1_000_000,
    time: Annotated[str, typer.Option(help="Time between programming and reading.")] = "1 day",
    bits: Annotated[float, typer.Option(help="Required bits per weight, for the number of reads.")] = 4.0,
    stores: Annotated[str | None, typer.Option(help="Comma-separated presets (default: all).")] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Compare weight stores as memories: bits per read, reads needed, lifetime, static power, energy."""
    from analogsim.cli import storage as storage_command

    storage_command.run(weights, time, bits, stores, seed, as_json)


@app.command(epilog="Example:  analogsim report quickstart/results.nc --out /tmp/report.html")
def report(
    results: Annotated[Path, typer.Argument(help="netCDF file of a sweep, an evaluation or an energy comparison.")],
    out: Annotated[
        Path | None, typer.Option(help="Output page, .html (default: next to the results file, same name).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Write a self-contained HTML report of a results file: summary, figures, tables, hardware, versions."""
    from analogsim import report as pages

    page = str(pages.write(results, out))
    typer.echo(json.dumps({"page": page}) if as_json else f"Wrote {page}")


@app.command(epilog="Example:  analogsim recipes lenet > my.toml; analogsim train --recipe my.toml")
def recipes(
    name: Annotated[str | None, typer.Argument(help="Print the TOML file of this recipe.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON for scripts.")] = False,
) -> None:
    """List the recipes that come with the package, or print one."""
    from analogsim.training.recipes import recipe

    if name is not None:
        typer.echo(recipe.load_recipe(name).to_toml(), nl=False)
    elif as_json:
        typer.echo(json.dumps(recipe.recipes(), indent=2))
    else:
        typer.echo("\n".join(f"{short:12} {title}" for short, title in recipe.recipes().items()))


@app.command()
def presets(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """List the hardware presets. To print one: analogsim show NAME; as an editable file: analogsim show NAME --toml."""
    import analogsim

    presets_by_name = analogsim.presets()
    if as_json:
        typer.echo(json.dumps(presets_by_name, indent=2))
        return
    for name, text in presets_by_name.items():
        typer.echo(f"{name:12} {text}")


@app.command(epilog="Example:  analogsim show pcm --toml > my.toml, edit it, then:  analogsim show my.toml")
def show(
    name: Annotated[str, typer.Argument(help="Name of a preset, for example pcm, or a .toml file.")],
    toml: Annotated[bool, typer.Option("--toml", help="Print it as a TOML hardware file.")] = False,
) -> None:
    """Print a preset or a hardware file: every field with its value, unit and meaning."""
    from analogsim.hardware.file import hardware_named, to_toml

    hardware = hardware_named(name)
    typer.echo(to_toml(hardware, all_fields=True) if toml else str(hardware), nl=not toml)


@app.command(epilog="Example:  analogsim cite pcm --bibtex > hardware.bib")
def cite(
    name: Annotated[str, typer.Argument(help="Name of a preset, for example pcm, or a .toml file.")],
    bibtex: Annotated[bool, typer.Option("--bibtex", help="Print the papers as BibTeX.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Cite the papers behind a preset or a hardware file, and list values that are recalled, assumed or chosen."""
    import analogsim
    from analogsim.hardware.file import hardware_named

    if bibtex and as_json:
        raise analogsim.InputError("--bibtex, --json: give only one")
    papers = analogsim.cite(hardware_named(name))
    typer.echo(json.dumps(papers.to_dict(), indent=2) if as_json else papers.bibtex if bibtex else papers.text)


@app.command(epilog="Example:  analogsim devices sonos --out /tmp/cells")
def devices(
    name: Annotated[
        str | None, typer.Argument(help="Show the data sheet and figure of one device, for example pcm.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print data sheets as JSON for scripts.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for the figure of one device.")] = Path("out"),
    csv: Annotated[Path | None, typer.Option(help="CSV table for the device 'measured'.")] = None,
    extrapolate: Annotated[
        bool, typer.Option("--extrapolate", help="Extrapolate the figure beyond the last measured time.")
    ] = False,
) -> None:
    """List the memory cells, or show one: data sheet, fields, and a figure of programming error and retention."""
    from analogsim.cli import devices as device_report

    device_report.run(name, as_json, out, csv, extrapolate)


def main() -> None:
    """Entry point of the ``analogsim`` command."""
    from analogsim.base.errors import InputError

    try:
        with interrupts.heard():
            app()
    except InputError as error:
        sys.stderr.write(f"analogsim: {error}\n")
        sys.exit(2)
    except OSError as error:  # a full disk or a closed pipe
        sys.stderr.write(f"analogsim: {error.strerror or error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
