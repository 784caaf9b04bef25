"""The command line: ``analogsim --help``. A user's mistake is one sentence and exit status 2, never a traceback."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="analogsim",
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
    seeds: Annotated[int | None, typer.Option(help="Networks trained from different starts (default 3).")] = None,
    key: Annotated[int, typer.Option(help="Everything random follows from this number.")] = 0,
) -> None:
    """Train digits digitally and hardware-aware, age 100 PCM chips of each for ten years, and price an inference."""
    from analogsim.quickstart import run

    run(out=out, fast=fast, chips=chips, seeds=seeds, key=key)


@app.command(epilog="Example:  analogsim train --recipe lenet --out /tmp/lenet")
def train(
    recipe: Annotated[str, typer.Option(help="A recipe by name (analogsim recipes), or a TOML file.")],
    out: Annotated[Path | None, typer.Option(help="Folder for what is written (default: the recipe's name).")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Smoke run: one epoch, few chips.")] = False,
    chips: Annotated[int | None, typer.Option(help="Chips sampled for each network, instead of the recipe's.")] = None,
    key: Annotated[int, typer.Option(help="Everything random follows from this number.")] = 0,
) -> None:
    """Train a network digitally, fine-tune it for its hardware, and age chips of both for ten years."""
    from analogsim import train_command

    train_command.run(recipe, out=out, fast=fast, chips=chips, key=key)


@app.command(epilog="Example:  analogsim energy --model resnet50 --systems H100,H100:int8,brain --batch 1,16,256")
def energy(
    model: Annotated[
        str, typer.Option(help="mlp, lenet, gru, transformer, alexnet, resnet50, or mine.py:build.")
    ] = "lenet",
    hardware: Annotated[str, typer.Option(help="A preset, for example pcm.")] = "pcm",
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
    from analogsim import energy_command

    if list_systems:
        energy_command.list_systems()
    elif validate:
        energy_command.validate(as_json)
    else:
        energy_command.run(model, hardware, systems, batch, out, as_json, inferences, years, recalibrate)


@app.command(epilog="Example:  analogsim report quickstart/results.nc --out /tmp/report.html")
def report(
    results: Annotated[Path, typer.Argument(help="A netCDF file of a sweep, an evaluation or an energy comparison.")],
    out: Annotated[
        Path | None, typer.Option(help="The page, .html (default: beside the file and with its name).")
    ] = None,
) -> None:
    """Make one self-contained HTML page of a file of results: verdict, figures, tables, hardware, versions."""
    from analogsim import report as pages

    typer.echo(f"Wrote {pages.write(results, out)}")


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(help="One recipe: print its file, to start from.")] = None,
) -> None:
    """List the recipes that come with the package, or print one."""
    from analogsim.training import recipe

    if name is None:
        typer.echo("\n".join(f"{short:12} {title}" for short, title in recipe.recipes().items()))
    else:
        typer.echo(recipe.load_recipe(name).to_toml(), nl=False)


@app.command()
def presets(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """List the hardware that preset() knows."""
    import analogsim

    known = analogsim.presets()
    if as_json:
        typer.echo(json.dumps(known, indent=2))
        return
    for name, text in known.items():
        typer.echo(f"{name:12} {text}")


@app.command()
def show(name: Annotated[str, typer.Argument(help="A preset, for example pcm.")]) -> None:
    """Print one preset: every physical number with its unit and meaning."""
    import analogsim

    typer.echo(str(analogsim.preset(name)))


@app.command(epilog="Example:  analogsim cite pcm --bibtex > hardware.bib")
def cite(
    name: Annotated[str, typer.Argument(help="A preset, for example pcm.")],
    bibtex: Annotated[bool, typer.Option("--bibtex", help="Print the papers as BibTeX.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Name the papers that a preset rests on, and what in it is recalled, assumed or chosen."""
    import analogsim

    if bibtex and as_json:
        raise analogsim.InputError("--bibtex, --json: give one of them")
    found = analogsim.cite(analogsim.preset(name))
    typer.echo(json.dumps(found.to_dict(), indent=2) if as_json else found.bibtex if bibtex else found.text)


@app.command(epilog="Example:  analogsim devices sonos --out /tmp/cells")
def devices(
    name: Annotated[str | None, typer.Argument(help="One device, for example pcm: its data sheet and figure.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print data sheets as JSON, for scripts.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for the figure of one device.")] = Path("out"),
    csv: Annotated[Path | None, typer.Option(help="Table of the device 'measured'.")] = None,
) -> None:
    """List the memory cells, or show one: data sheet, fields, and a figure of its errors and retention."""
    from analogsim import device_report

    device_report.run(name, as_json, out, csv)


def main() -> None:
    """Entry point of the ``analogsim`` command."""
    from analogsim.devices.errors import InputError

    try:
        app()
    except InputError as error:
        sys.stderr.write(f"analogsim: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("analogsim: stopped\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
