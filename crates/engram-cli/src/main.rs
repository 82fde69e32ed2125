//! The `engram` command: reads the command line, runs one command, says what went wrong and exits with a code.
//! Under the name `engram-server` it is `engram serve`.

mod args;
mod backend;
mod commands;
mod fault;
mod files;
mod made;
mod npy;
mod remote;
mod screen;
mod tree;

use args::Cli;
use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(arguments()) {
        Ok(cli) => cli,
        Err(error) => {
            // Help is printed this way too. A reader that went away does not make it an error.
            error.print().ok();
            if let Some(hint) = hint(&error) {
                screen::note(hint);
            }
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    match commands::run(cli.command) {
        Ok(code) => code,
        Err(fault) => {
            let (text, code) = fault.verdict();
            if let Some(text) = text {
                screen::note(format_args!("engram: {text}"));
            }
            code
        }
    }
}

/// What clap cannot know about a wrong command line.
fn hint(error: &clap::Error) -> Option<&'static str> {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else { return None };
    let arguments = arguments();
    let first = arguments.get(1)?.to_str()?;
    let takes_text = ["store", "recall", "activate"].contains(&first);
    match error.kind() {
        ErrorKind::UnknownArgument if ["--data-dir", "--url"].iter().any(|flag| first.starts_with(flag)) => {
            Some("It goes after the command: engram space list --data-dir DIR")
        }
        ErrorKind::UnknownArgument if takes_text && !argument.starts_with('-') => {
            Some("Text of several words goes in quotes: engram store --space diary \"It rained\"")
        }
        _ => None,
    }
}

/// The arguments of this process, with the command that the name of the program stands for.
fn arguments() -> Vec<OsString> {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let name = arguments.first().and_then(|path| Path::new(path).file_stem()).map(OsString::from);
    if name.is_some_and(|name| name == "engram-server") {
        arguments.insert(1, "serve".into());
    }
    arguments
}
