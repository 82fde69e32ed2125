//! Writes settings for people: what is in force and why, and the reference in docs/reference/configuration.md.

use std::fmt::Write;

use super::Loaded;
use super::kind::Value;
use super::machine::Machine;
use super::read::{Given, Origin, masked};
use super::schema::{ALIASES, Config, KEYS, Key, SECTIONS, VARIABLES, unserved};

/// Column at which the origins of `config show` begin, where the values leave room.
const ORIGIN_COLUMN: usize = 44;

/// The settings in force as TOML that can be read back, each with where it came from.
pub(super) fn effective(loaded: &Loaded, config: &Config) -> String {
    let mut out = String::new();
    match &loaded.file {
        Some(file) => line(&mut out, &format!("# File: {}", file.display())),
        None => line(&mut out, "# File: none"),
    }
    let (cores, memory_mb) = (loaded.machine.cores, loaded.machine.memory_mb());
    line(&mut out, &format!("# Defaults fit this machine: cores {cores}, memory {memory_mb} MB"));
    for section in SECTIONS {
        line(&mut out, &format!("\n[{}]", section.name));
        for (key, given) in KEYS.iter().zip(&loaded.given).filter(|(key, _)| key.section == section.name) {
            let setting = format!("{} = {}", key.name, masked(&(key.get)(config).to_string()));
            line(&mut out, &format!("{setting:ORIGIN_COLUMN$} # {}", origin(given.as_ref())));
        }
    }
    out
}

fn origin(given: Option<&Given>) -> String {
    match given.map(|given| &given.origin) {
        None => "default".to_owned(),
        Some(Origin::Variable(name)) => format!("env {name}"),
        Some(Origin::Flag(name)) => format!("flag {name}"),
        Some(file) => file.to_string(),
    }
}

const OPENING: &str = "\
# Configuration reference

<!-- Rendered from crates/engram/src/config/schema.rs. Do not edit: run `UPDATE=1 cargo test -p engram --test config`. -->

## Where settings come from

Later ones win:

1. Defaults, which fit the cores and memory that the process may use: its cgroup's, not the host's.
2. One file: `--config FILE`, or else the variable `ENGRAM_CONFIG`, or else `/etc/engram/engram.toml` if it exists.
3. Environment variables `ENGRAM_<SECTION>__<KEY>`, with two underscores between section and key, which may be in lower case: `ENGRAM_HNSW_INDEX__EF_SEARCH=100`. Text goes without quotes; lists and tables are written as in TOML: `ENGRAM_ACTIVATION__VISIT_BUDGET_PER_TIER='{ hot = 3, warm = 2, cold = 0 }'`.
4. Flags of the command.

`engram config show` prints every setting in force and where it came from; `engram config check FILE` names every problem of a file. An unknown key, a wrong type and a value out of range are errors that stop the start.

MB and GB are 2^20 and 2^30 bytes.
";

/// The reference of every setting, as Markdown.
pub(super) fn reference() -> String {
    let mut out = OPENING.to_owned();
    line(&mut out, "\n## Other names\n\n| name | stands for |\n|---|---|");
    for alias in ALIASES {
        line(
            &mut out,
            &format!("| `[{}] {}`: {} | `{}` |", alias.section, alias.name, alias.kind, alias.key),
        );
    }
    for (variable, key) in VARIABLES {
        line(&mut out, &format!("| variable `{variable}` | `{key}` |"));
    }
    line(
        &mut out,
        "\nTwo names for one setting with different values in the same place are an error. `ENGRAM_URL` and `ENGRAM_API_KEY` \
         are for the client commands. Other `ENGRAM_` variables with single underscores are ignored, since Kubernetes \
         injects such.",
    );
    let example = Config::fitting(&Machine {
        cores: 8,
        memory_bytes: Some(32 << 30),
        numa_nodes: 1,
        avx2: true,
        avx512: false,
        huge_pages: true,
    });
    for section in SECTIONS {
        line(&mut out, &format!("\n## [{}]\n\n{}\n", section.name, section.doc.trim()));
        line(&mut out, "| key | default | allowed | meaning |\n|---|---|---|---|");
        for key in KEYS.iter().filter(|key| key.section == section.name) {
            let default = (key.get)(&example);
            let default = key.default_words.map_or_else(|| format!("`{default}`"), str::to_owned);
            let meaning = format!("{}{}", key.doc.trim(), unserved_words(key));
            line(&mut out, &format!("| `{}` | {default} | {} | {meaning} |", key.name, key.kind));
        }
    }
    out
}

fn unserved_words(key: &Key) -> String {
    match unserved(key.section, key.name, None).map(|row| row.only()) {
        None => String::new(),
        Some(None) => " *Accepted, but without effect in this version.*".to_owned(),
        Some(Some(only)) => {
            let only = Value::Text(only.to_owned());
            format!(" *`{only}` is accepted, but without effect in this version.*")
        }
    }
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("writing to a String cannot fail");
}
