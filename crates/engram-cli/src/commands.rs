//! One module for each command: its flags and help, and what it does.

pub(crate) mod activate;
pub(crate) mod backup;
pub(crate) mod benchmark;
pub(crate) mod check;
pub(crate) mod compare_benchmarks;
pub(crate) mod complete;
pub(crate) mod config;
pub(crate) mod consolidate;
pub(crate) mod demo;
pub(crate) mod evaluate;
pub(crate) mod export;
pub(crate) mod forget;
pub(crate) mod import;
pub(crate) mod interrupt;
pub(crate) mod recall;
pub(crate) mod reinforce;
pub(crate) mod restore;
pub(crate) mod selftest;
pub(crate) mod serve;
pub(crate) mod space;
pub(crate) mod status;
pub(crate) mod store;
pub(crate) mod validate;

use crate::args::Command;
use crate::fault::Result;
use crate::screen::Screen;
use std::process::ExitCode;

/// Runs one command. What it printed is out when this returns.
pub(crate) fn run(command: Command) -> Result<ExitCode> {
    let mut screen = Screen::new();
    let done = |()| ExitCode::SUCCESS;
    let outcome = match command {
        Command::Demo(demo) => demo.run(&mut screen).map(done),
        Command::Serve(serve) => serve.run(&mut screen),
        Command::Store(store) => store.run(&mut screen).map(done),
        Command::Recall(recall) => recall.run(&mut screen).map(done),
        Command::Activate(activate) => activate.run(&mut screen).map(done),
        Command::Complete(complete) => complete.run(&mut screen).map(done),
        Command::Reinforce(reinforce) => reinforce.run(&mut screen).map(done),
        Command::Consolidate(consolidate) => consolidate.run(&mut screen).map(done),
        Command::Forget(forget) => forget.run(&mut screen),
        Command::Import(import) => import.run(&mut screen).map(done),
        Command::Evaluate(evaluate) => evaluate.run(&mut screen).map(done),
        Command::Validate(validate) => validate.run(&mut screen).map(done),
        Command::Export(export) => export.run(&mut screen).map(done),
        Command::Space(space) => space.run(&mut screen).map(done),
        Command::Backup(backup) => backup.run(&mut screen),
        Command::Restore(restore) => restore.run(&mut screen),
        Command::Check(check) => check.run(&mut screen),
        Command::Status(status) => status.run(&mut screen),
        Command::Benchmark(benchmark) => benchmark.run(&mut screen),
        Command::CompareBenchmarks(compare) => compare.run(&mut screen),
        Command::Test(test) => test.run(&mut screen),
        Command::Config(config) => config.run(&mut screen).map(done),
    };
    let flushed = screen.flush();
    let code = outcome?;
    flushed.map(|()| code)
}
