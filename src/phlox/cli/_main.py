"""The command line: reads arguments, runs a command, and turns errors into one message and an exit status."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from phlox.cli._arguments import at_least, names, within
from phlox.cli._chat import Choosing, chat
from phlox.cli._doctor import doctor
from phlox.cli._quickstart import quickstart
from phlox.cli._versions import version_of
from phlox.core import PhloxError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the ``phlox`` command.

    Arguments:
        arguments: what follows the program's name; by default the command line's.

    Returns:
        The exit status: 0 where all went well, 1 after an error, 130 after Ctrl-C. Wrong arguments exit with 2.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal without × and → gets a ?
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
        sys.stdout.flush()
    except PhloxError as error:
        return _failed(str(error), 1)
    except KeyboardInterrupt:
        return _failed("stopped by Ctrl-C; nothing was written", 130)
    except OSError as error:  # standard output went away, or is full
        _discard_output()
        return 1 if isinstance(error, BrokenPipeError) else _failed(str(error), 1)
    return 0


def _discard_output() -> None:
    """Send what is still to be flushed at exit nowhere, so that it does not fail once more."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _failed(message: str, status: int) -> int:
    print(f"phlox: {message}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="phlox", description="A deep-learning framework on JAX.")
    parser.add_argument("--version", action="version", version=f"phlox {version_of('phlox')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_quickstart(commands)
    _add_chat(commands)
    _add_export(commands)
    _add_serve(commands)
    _add_launch(commands)
    _add_plan(commands)
    _add_explore(commands)
    _add_report(commands)
    _add_compare(commands)
    _add_doctor(commands)
    return parser


def _add_quickstart(commands: Any) -> None:
    command = commands.add_parser(
        "quickstart",
        help="train a first model on handwritten digits",
        description="Train a small convolutional network on scikit-learn's 1797 handwritten digits, test it on images "
        "it has not seen, and write model.safetensors, metrics.json and curves.png.",
    )
    command.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("runs/quickstart"), help="folder for the results [%(default)s]"
    )
    command.add_argument(
        "--epochs", metavar="N", type=at_least(1), default=20, help="passes over the images [%(default)s]"
    )
    command.add_argument(
        "--seed", metavar="S", type=at_least(0), default=0, help="of weights, dropout and order [%(default)s]"
    )
    command.set_defaults(run=lambda options: quickstart(options.out, options.epochs, options.seed))


def _add_chat(commands: Any) -> None:
    command = commands.add_parser(
        "chat",
        help="talk to a language model",
        description="Answer lines of standard input by the language model of a folder, which holds its weights, its "
        "tokenizer and, of models made for talking, a chat template. /reset forgets what was said, /quit leaves.",
    )
    command.add_argument("folder", metavar="FOLDER", type=Path, help="as the hub has them, or px.models.save")
    command.add_argument("--system", metavar="TEXT", help="what the chat begins with")
    command.add_argument(
        "--max-new", metavar="N", type=at_least(1), default=256, help="tokens of an answer at most [%(default)s]"
    )
    command.add_argument(
        "--temperature", metavar="T", type=within(0, 100), default=0.0, help="0 takes the likeliest [%(default)s]"
    )
    command.add_argument("--top-k", metavar="K", type=at_least(1), help="draw from the K likeliest")
    command.add_argument("--top-p", metavar="P", type=within(0, 1), help="draw from the likeliest that hold P of all")
    command.add_argument("--seed", metavar="S", type=at_least(0), default=0, help="of what is drawn [%(default)s]")
    command.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="of the weights [the file's]")
    command.set_defaults(
        run=lambda given: chat(
            given.folder,
            Choosing(given.max_new, given.temperature, given.top_k, given.top_p, given.seed),
            given.system,
            given.dtype,
        )
    )


def _add_doctor(commands: Any) -> None:
    command = commands.add_parser(
        "doctor",
        help="say what is installed, and what is in use",
        description="Print versions, devices, the kernels in use and why, and where compiled programs are kept.",
    )
    command.set_defaults(run=lambda options: doctor())


def _add_export(commands: Any) -> None:
    command = commands.add_parser(
        "export",
        help="write a saved model for other programs",
        description="Write a model that px.save, px.export or px.models.save wrote in other formats, into one folder; "
        "each file is run beside the model, and refused where it differs.",
    )
    command.add_argument("source", metavar="SOURCE", type=Path, help="a model's file, a folder with one, or a bundle")
    command.add_argument(
        "--to",
        metavar="FORMATS",
        type=names,
        default=[],
        help="stablehlo, onnx, litert, savedmodel, web; several with commas",
    )
    command.add_argument(
        "--input", metavar="NAME=SIZES", action="append", default=[],
        help="an input of a model that is no bundle: image=batch,28,28,1 or tokens=batch,time:int32",
    )  # fmt: skip
    command.add_argument("--out", metavar="DIR", type=Path, help="the bundle to write [exported beside the model]")
    command.add_argument("--refresh", action="store_true", help="make a bundle's files anew, for a newer JAX")
    command.add_argument(
        "--allow", metavar="PACKAGE", action="append", default=[], help="a package that the model may name"
    )
    command.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> None:
    from phlox.cli._export import run_export  # with all that it needs, which no other command does

    run_export(
        options.source, options.to, inputs=options.input, out=options.out, anew=options.refresh, allow=options.allow
    )


def _add_serve(commands: Any) -> None:
    command = commands.add_parser(
        "serve",
        help="serve models over HTTP",
        description="Answer requests of OpenAI's protocol, of TensorFlow Serving's REST, of KServe's version 2, and in "
        "a plain form, by models that px.export or px.save wrote, by ONNX files, or by folders of models of text. "
        "SIGTERM ends it when all is answered.",
    )
    command.add_argument(
        "source",
        metavar="SOURCE",
        type=Path,
        help="a folder of models, NAME/VERSION/; a bundle, ONNX file or model; the folder of a model of text",
    )
    command.add_argument("--host", default="127.0.0.1", help="where it listens; 0.0.0.0 for everywhere [%(default)s]")
    command.add_argument("--port", metavar="N", type=at_least(0), default=8501, help="0 for a free one [%(default)s]")
    command.add_argument("--grpc-port", metavar="N", type=at_least(0), help="of gRPC; 0 for a free one [no gRPC]")
    command.add_argument(
        "--input", metavar="NAME=SIZES", action="append", default=[],
        help="an input of a model that is no bundle: image=batch,28,28,1 or tokens=batch,time:int32",
    )  # fmt: skip
    command.add_argument(
        "--allow", metavar="PACKAGE", action="append", default=[], help="a package that a model may name"
    )
    command.add_argument(
        "--workers", metavar="N", type=at_least(1), help="processes behind the port, each with all models [this one]"
    )
    command.add_argument("--max-batch", metavar="N", type=at_least(1), help="rows that run at once [64]")
    command.add_argument("--queue", metavar="N", type=at_least(1), help="requests that wait, for each version [1024]")
    command.add_argument("--timeout", metavar="S", type=within(0.001, 86400), help="seconds for an answer [60]")
    _add_language(command)
    command.add_argument(
        "--model-config", metavar="FILE", type=Path, help="TensorFlow Serving's: which models of the folder are served"
    )
    command.add_argument("--memory", metavar="BYTES", help="weights that may be loaded, such as 4G [what there is]")
    command.add_argument(
        "--poll", metavar="S", type=within(0.01, 86400), default=1.0, help="seconds between looks [%(default)s]"
    )
    command.add_argument(
        "--token-file",
        metavar="FILE",
        type=Path,
        help="what clients must send; of several lines each is a client's [PHLOX_SERVE_TOKEN of the environment]",
    )
    command.add_argument("--certificate", metavar="FILE", type=Path, help="for TLS, in PEM")
    command.add_argument("--key", metavar="FILE", type=Path, help="of the certificate, in PEM")
    command.add_argument("--access-log", action="store_true", help="a line of JSON for each request")
    _add_recording(command)
    command.add_argument("--traces", metavar="URL", help="of an OpenTelemetry collector: http://HOST:4318/v1/traces")
    command.add_argument(
        "--trace-sample", metavar="P", type=within(1e-9, 1), default=1.0, help="the share that is traced [%(default)s]"
    )
    command.set_defaults(run=_serve)


def _add_recording(command: argparse.ArgumentParser) -> None:
    """What is said of requests that are written into files."""
    command.add_argument(
        "--log-requests", metavar="DIR", type=Path, help="write requests and answers there, as Parquet"
    )
    command.add_argument(
        "--sample", metavar="P", type=within(1e-9, 1), default=1.0, help="the share that is written [%(default)s]"
    )
    command.add_argument(
        "--redact", metavar="NAME=HOW", action="append", default=[],
        help="drop, hash or truncate:N an input or output, user*=hash; several times",
    )  # fmt: skip
    command.add_argument(
        "--redact-text",
        metavar="REGEX",
        action="append",
        default=[],
        help="what is dropped within texts; several times",
    )
    command.add_argument("--salt-file", metavar="FILE", type=Path, help="of hashes [PHLOX_LOG_SALT of the environment]")


def _add_language(command: argparse.ArgumentParser) -> None:
    """What is said of models of text alone."""
    command.add_argument("--slots", metavar="N", type=at_least(1), help="texts that a model writes at once [8]")
    command.add_argument(
        "--room", metavar="N", type=at_least(2), help="tokens of a text, prompt and all [at most 2048]"
    )
    command.add_argument("--cache", metavar="BYTES", help="what the slots may take, such as 2G, if that is less")
    command.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="of the weights [the file's]")
    command.add_argument(
        "--adapter", metavar="NAME=FOLDER", action="append", default=[],
        help="an adapter in PEFT's format, a model of its own; several times",
    )  # fmt: skip
    command.add_argument("--client-texts", metavar="N", type=at_least(1), help="of one client at a time [any number]")
    command.add_argument(
        "--client-tokens",
        metavar="N",
        type=at_least(1),
        help="of one client in a minute, prompts and all [any number]",
    )


def _serve(options: argparse.Namespace) -> None:
    from phlox.cli._serve import run_serve  # with all that it needs, which no other command does

    run_serve(options)


def _add_launch(commands: Any) -> None:
    command = commands.add_parser(
        "launch",
        help="run a program in several processes of this machine",
        usage="phlox launch [-h] --processes N [--port P] [--restarts N] (PROGRAM | -m MODULE) ...",
        description="Run a Python program in several processes, each with its share of the cores. The program calls "
        "px.parallel.initialize() first. Lines are printed behind the number of their process; Ctrl-C and SIGTERM go "
        "to all; where one ends badly, all are ended, with its exit status.",
    )
    command.add_argument("--processes", metavar="N", type=at_least(1), required=True, help="how many")
    command.add_argument("--port", metavar="P", type=at_least(1), help="where they meet, on this machine [a free one]")
    command.add_argument(
        "--restarts",
        metavar="N",
        type=at_least(0),
        default=0,
        help="start all again, so many times at most, where one ended badly; not for an error that comes again at the "
        "same step [%(default)s]",
    )
    command.add_argument(
        "-m", dest="module", metavar="MODULE", nargs=argparse.REMAINDER, help="a module, and its arguments"
    )
    command.add_argument("program", metavar="PROGRAM", nargs=argparse.REMAINDER, help="a program, and its arguments")
    command.set_defaults(run=_launch, refuse=command.error)


def _launch(options: argparse.Namespace) -> None:
    from phlox.cli._launch import launch  # which no other command needs

    command = ["-m", *options.module] if options.module else options.program
    if not command:
        options.refuse("the following arguments are required: PROGRAM or -m MODULE")
    status = launch(command, options.processes, options.port, options.restarts)
    if status:
        raise SystemExit(status)


def _add_plan(commands: Any) -> None:
    command = commands.add_parser(
        "plan",
        help="say which chips and which strategy a training wants",
        description="Compile a training step for chips that are not there, by each of several strategies, and print "
        "which fit, how long a step takes and what it costs. FILE.py:NAME is a function that returns a dict of model, "
        "optimizer, batch and loss, and of precision where wanted, as px.parallel.plan takes them.",
    )
    command.add_argument("source", metavar="FILE.py:NAME", help="a function of a Python file, which is run")
    command.add_argument("--topology", metavar="CHIPS", required=True, help="v5p:4x4x4, v6e:8x8, h100:16 or cpu:8")
    command.add_argument("--price", metavar="P", type=within(1e-6, 1e9), help="of one chip for an hour")
    command.add_argument(
        "--strategy", metavar="S", action="append", help="one to try, fsdp(8)*tensor_parallel(4); several times [all]"
    )
    command.add_argument("--no-remat", action="store_true", help="compute nothing again that the model does not")
    command.add_argument("--memory", metavar="GIB", type=within(1e-3, 1e6), help="of a device [what its maker says]")
    command.add_argument("--json", metavar="FILE", type=Path, help="where the numbers are written")
    command.set_defaults(run=_plan)


def _plan(options: argparse.Namespace) -> None:
    from phlox.cli._plan import run_plan  # with all that it needs, which no other command does

    run_plan(
        options.source,
        options.topology,
        price=options.price,
        strategies=options.strategy,
        remat=not options.no_remat,
        memory=None if options.memory is None else int(options.memory * 2**30),
        out=options.json,
    )


def _add_explore(commands: Any) -> None:
    command = commands.add_parser(
        "explore",
        help="probe a model on a page in the browser",
        description="Open a page on which a person probes a model: data, one observation that is changed and "
        "explained, decisions by slice. It needs no network. Ctrl-C ends it.",
    )
    command.add_argument(
        "model", metavar="MODEL", type=Path, help="a file of px.save, a bundle, an ONNX file, or a folder with one"
    )
    command.add_argument(
        "data", metavar="DATA", type=Path, help="a .csv, .tsv or .parquet table, or a .npz with x and y"
    )
    command.add_argument("--target", metavar="NAME", help="the column of what is right")
    command.add_argument("--compare", metavar="MODEL2", type=Path, help="a second model, asked beside the first")
    command.add_argument("--classes", metavar="NAMES", type=names, help="in the order of the model, with commas")
    command.add_argument(
        "--answers", choices=("logits", "probabilities", "numbers"), help="what the model's answers are"
    )
    command.add_argument(
        "--features", metavar="NAMES", type=names, help="columns that the model takes, in its order [all numbers]"
    )
    command.add_argument("--text", metavar="NAME", help="the column of texts that the model reads")
    command.add_argument("--tokenizer", metavar="FOLDER", type=Path, help="of texts [the model's]")
    command.add_argument(
        "--length", metavar="N", type=at_least(1), default=128, help="tokens of a text at most [%(default)s]"
    )
    command.add_argument(
        "--rows", metavar="N", type=at_least(2), default=100_000, help="of more a sample is taken [%(default)s]"
    )
    command.add_argument("--host", default="127.0.0.1", help="where it listens [%(default)s]")
    command.add_argument("--port", metavar="N", type=at_least(0), default=0, help="0 for a free one [%(default)s]")
    command.add_argument(
        "--allow-host", metavar="NAME", action="append", default=[], help="a further name by which it is reached"
    )
    command.add_argument(
        "--allow", metavar="PACKAGE", action="append", default=[], help="a package that the model may name"
    )
    command.set_defaults(run=_explore)


def _explore(options: argparse.Namespace) -> None:
    from phlox.cli._explore import run_explore  # with all that it needs, which no other command does

    run_explore(options)


def _add_report(commands: Any) -> None:
    command = commands.add_parser(
        "report",
        help="write a run as one HTML page",
        description="Write a page of a run that px.fit(log_dir=RUN) left behind: curves, numbers, confusion, worst "
        "examples, the model, settings, data, code and packages. It needs no network.",
    )
    command.add_argument("folder", metavar="RUN", type=Path, help="the log_dir of a px.fit")
    command.add_argument("--out", metavar="FILE", type=Path, help="the page [report.html in RUN]")
    command.add_argument("--classes", metavar="NAMES", type=names, default=[], help="of the model, with commas")
    command.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> None:
    from phlox.cli._runs import run_report  # with all that it needs, which no other command does

    run_report(options)


def _add_compare(commands: Any) -> None:
    command = commands.add_parser(
        "compare",
        help="lay runs beside each other",
        description="Print the numbers of runs that px.fit(log_dir=RUN) left behind, and what is not the same in them.",
    )
    command.add_argument("folders", metavar="RUN", type=Path, nargs="+", help="the log_dir of a px.fit, two or more")
    command.add_argument("--out", metavar="FILE", type=Path, help="a page with their curves over each other")
    command.set_defaults(run=_compare)


def _compare(options: argparse.Namespace) -> None:
    from phlox.cli._runs import run_compare  # with all that it needs, which no other command does

    run_compare(options)
