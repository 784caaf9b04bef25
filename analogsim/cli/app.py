"""The command line: ``analogsim --help``. A user's mistake is one sentence and exit status 2, never a traceback.

Ctrl-C ends every command within two seconds with exit status 130 and a line that says what is kept (``interrupts``).
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from analogsim.cli import interrupts


class Commands(typer.core.TyperGroup):
    """All commands; where typer would end an interrupted one without a word, it says what is kept."""

    def invoke(self, ctx: Any) -> Any:
        """Run one."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stopped:
            interrupts.leave(stopped)
            raise typer.Exit(interrupts.STATUS) from None


app = typer.Typer(
    name="analogsim",
    cls=Commands,
    help="Emulate analog computers for neural networks: train, age a hundred chips, read the joules.",
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


def _fits(key: int | None) -> int | None:
    """A key that jax takes."""
    if key is not None and not -(2**63) <= key < 2**63:
        from analogsim.base.errors import InputError

        raise InputError(f"--seed {key}: must be at least {-(2**63)} and at most {2**63 - 1}")
    return key


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Emulate analog computers for neural networks: train, age a hundred chips, read the joules."""


@app.command(epilog="Example:  analogsim quickstart --fast --out /tmp/first-look")
def quickstart(
    out: Annotated[Path, typer.Option(help="Folder for report.html and results.nc.")] = Path("quickstart"),
    fast: Annotated[bool, typer.Option("--fast", help="Smoke run: few chips, little training.")] = False,
    chips: Annotated[int | None, typer.Option(help="Chips sampled for each network and seed (default 100).")] = None,
    networks: Annotated[int | None, typer.Option(help="Networks trained from different starts (default 3).")] = None,
    seed: Annotated[int, typer.Option(callback=_fits, help="Random seed.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Train digits digitally and hardware-aware, age 100 PCM chips of each for ten years, and price an inference."""
    from analogsim.cli.quickstart import run

    run(out=out, fast=fast, chips=chips, networks=networks, key=seed, as_json=as_json)


@app.command(epilog="Example:  analogsim train --recipe lenet --out /tmp/lenet")
def train(
    recipe: Annotated[str, typer.Option(help="A recipe by name (analogsim recipes), or a TOML file.")],
    out: Annotated[Path | None, typer.Option(help="Folder for what is written (default: the recipe's name).")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Smoke run: one epoch, few chips.")] = False,
    chips: Annotated[int | None, typer.Option(help="Chips sampled for each network, instead of the recipe's.")] = None,
    seed: Annotated[int, typer.Option(callback=_fits, help="Random seed.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Train a network digitally, fine-tune it for its hardware, and age chips of both for ten years."""
    from analogsim.cli import train as train_command

    train_command.run(recipe, out=out, fast=fast, chips=chips, key=seed, as_json=as_json)


@app.command(
    epilog="Examples:  analogsim energy --model resnet50 --systems H100,H100:int8,brain --batch 1,16,256;  "
    "analogsim energy --hardware my.toml"
)
def energy(
    model: Annotated[
        str, typer.Option(help="mlp, lenet, gru, transformer, alexnet, resnet50, or mine.py:build.")
    ] = "lenet",
    hardware: Annotated[str, typer.Option(help="A preset, for example pcm, or a file, my.toml.")] = "pcm",
    systems: Annotated[str, typer.Option(help="Machines to compare with, commas between.")] = "H100,Eyeriss,brain",
    batch: Annotated[str, typer.Option(help="Examples computed together, commas between.")] = "1,256",
    inferences: Annotated[
        float | None, typer.Option(help="In the chip's life; shares writing and calibration among them.")
    ] = None,
    years: Annotated[float, typer.Option(help="The chip's life.")] = 3.0,
    recalibrate: Annotated[str | None, typer.Option(help="Time between calibrations, for example '1 day'.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for energy.html and energy.csv.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
    list_systems: Annotated[bool, typer.Option("--list", help="List the machines, formats and storages.")] = False,
    validate: Annotated[bool, typer.Option("--validate", help="Check the models against published chips.")] = False,
) -> None:
    """Price an inference on analog hardware beside GPUs, TPUs, Eyeriss, spiking chips and the brain."""
    from analogsim.cli import energy as energy_command

    if list_systems:
        energy_command.list_systems()
    elif validate:
        energy_command.validate(as_json)
    else:
        energy_command.run(model, hardware, systems, batch, out, as_json, inferences, years, recalibrate)


@app.command(epilog="Example:  analogsim sweep --example > my.toml; analogsim sweep my.toml --out results.nc")
def sweep(
    file: Annotated[Path | None, typer.Argument(help="A TOML file; see --example.")] = None,
    out: Annotated[Path, typer.Option(help="The results; continued if it is there and of the same inputs.")] = Path(
        "results.nc"
    ),
    resume: Annotated[bool, typer.Option(help="Continue a results file, or refuse one that is there.")] = True,
    chips: Annotated[int | None, typer.Option(help="Sampled at every point, instead of the file's.")] = None,
    seed: Annotated[
        int | None, typer.Option(callback=_fits, help="Everything random follows from it, instead of the file's.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes of this machine; 0 is this one alone.")] = 0,
    dask: Annotated[str | None, typer.Option(help="Address of a Dask scheduler, tcp://host:8786.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print statistics as JSON, for scripts.")] = False,
    example: Annotated[bool, typer.Option("--example", help="Print a file to start from.")] = False,
) -> None:
    """Sweep hardware, chips and ages of a network as a TOML file says; Ctrl-C keeps what is done."""
    from analogsim.cli import sweep as sweep_command
    from analogsim.training.recipes.sweep_file import EXAMPLE

    if example and (file is not None or as_json):
        raise sweep_command.InputError("--example: prints a file to start from, and goes with nothing else")
    if example:
        typer.echo(EXAMPLE, nl=False)
    elif file is None:
        raise sweep_command.InputError("sweep: needs a TOML file; analogsim sweep --example prints one to start from")
    else:
        interrupts.advise("run the same sweep again to go on")
        sweep_command.run(
            file, out=out, resume=resume, chips=chips, key=seed, workers=workers, dask=dask, as_json=as_json
        )


@app.command(epilog="Example:  analogsim storage --weights 1024 --time '1 us' --stores quantum-register,pcm --json")
def storage(
    weights: Annotated[int, typer.Option(help="How many weights are held.")] = 1_000_000,
    time: Annotated[str, typer.Option(help="After programming, when they are read.")] = "1 day",
    bits: Annotated[float, typer.Option(help="That a weight is wanted with, for the reads that it takes.")] = 4.0,
    stores: Annotated[str | None, typer.Option(help="Presets, commas between (default: all).")] = None,
    seed: Annotated[int, typer.Option(help="Random seed of the measured chips.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Compare stores as memories: bits that a read gives, reads needed, lifetime, power that holds, energy."""
    from analogsim.cli import storage as storage_command

    storage_command.run(weights, time, bits, stores, seed, as_json)


@app.command(epilog="Example:  analogsim report quickstart/results.nc --out /tmp/report.html")
def report(
    results: Annotated[Path, typer.Argument(help="A netCDF file of a sweep, an evaluation or an energy comparison.")],
    out: Annotated[
        Path | None, typer.Option(help="The page, .html (default: beside the file and with its name).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Make one self-contained HTML page of a file of results: verdict, figures, tables, hardware, versions."""
    from analogsim import report as pages

    page = str(pages.write(results, out))
    typer.echo(json.dumps({"page": page}) if as_json else f"Wrote {page}")


@app.command(epilog="Example:  analogsim recipes lenet > my.toml; analogsim train --recipe my.toml")
def recipes(
    name: Annotated[str | None, typer.Argument(help="One recipe: print its file, to start from.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON, for scripts.")] = False,
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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """List the hardware that preset() knows; show prints one, and --toml writes it as a file to change."""
    import analogsim

    known = analogsim.presets()
    if as_json:
        typer.echo(json.dumps(known, indent=2))
        return
    for name, text in known.items():
        typer.echo(f"{name:12} {text}")


@app.command(epilog="Example:  analogsim show pcm --toml > my.toml, edit it, then:  analogsim show my.toml")
def show(
    name: Annotated[str, typer.Argument(help="A preset, for example pcm, or a file, my.toml.")],
    toml: Annotated[bool, typer.Option("--toml", help="Print it as a file that load_hardware reads.")] = False,
) -> None:
    """Print a preset or a hardware file: every physical number with its unit and meaning."""
    from analogsim.hardware.file import hardware_named, to_toml

    hardware = hardware_named(name)
    typer.echo(to_toml(hardware, all_fields=True) if toml else str(hardware), nl=not toml)


@app.command(epilog="Example:  analogsim cite pcm --bibtex > hardware.bib")
def cite(
    name: Annotated[str, typer.Argument(help="A preset, for example pcm, or a file, my.toml.")],
    bibtex: Annotated[bool, typer.Option("--bibtex", help="Print the papers as BibTeX.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Name the papers that a preset or a hardware file rests on, and what in it is recalled, assumed or chosen."""
    import analogsim
    from analogsim.hardware.file import hardware_named

    if bibtex and as_json:
        raise analogsim.InputError("--bibtex, --json: give one of them")
    found = analogsim.cite(hardware_named(name))
    typer.echo(json.dumps(found.to_dict(), indent=2) if as_json else found.bibtex if bibtex else found.text)


@app.command(epilog="Example:  analogsim devices sonos --out /tmp/cells")
def devices(
    name: Annotated[str | None, typer.Argument(help="One device, for example pcm: its data sheet and figure.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print data sheets as JSON, for scripts.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for the figure of one device.")] = Path("out"),
    csv: Annotated[Path | None, typer.Option(help="Table of the device 'measured'.")] = None,
    extrapolate: Annotated[bool, typer.Option("--extrapolate", help="Draw it beyond its measured ages too.")] = False,
) -> None:
    """List the memory cells, or show one: data sheet, fields, and a figure of its errors and retention."""
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
    except OSError as error:  # a full disk, a pipe that is closed
        sys.stderr.write(f"analogsim: {error.strerror or error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
