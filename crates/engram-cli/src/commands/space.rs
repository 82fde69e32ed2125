//! `engram space`: lists spaces, shows one, changes its settings, deletes it.

use crate::args::{Target, space_name};
use crate::backend::{Backend, Folder};
use crate::fault::{Result, usage};
use crate::screen::{Screen, confirm, counted, faint, grouped, sized, strong};
use clap::{Args, Subcommand, ValueEnum};
use engram_server::api::{
    Decay, DecayStart, EmbedderIn, ErasedOut, Provider, ReceiptOut, SpaceOut, SpaceSettingsIn,
};

/// List, show, set up and delete spaces
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  engram space list
  engram space show diary
  engram space set diary --language english --decay none
  engram space set vectors --embedder caller:768 --memories-max 1000000
  engram space delete diary --yes"
)]
pub(crate) struct Space {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List all spaces
    #[command(
        after_help = "Examples:\n  engram space list\n  engram space list --json --data-dir ./engram-data"
    )]
    List {
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Show what a space holds and how it is set up
    #[command(after_help = "Examples:\n  engram space show diary\n  engram space show diary --json")]
    Show {
        /// The space
        #[arg(value_parser = space_name)]
        name: String,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Change settings of a space, or make it; what is not given stays
    #[command(after_help = "\
Examples:
  engram space set diary --language english
  engram space set diary --decay fsrs6 --decay-from occurred_at
  engram space set diary --forget-below 0.5

By fsrs6 a memory that was never used is remembered with probability .7 after
3 weeks, .6 after 2 months, .5 after 7 months, .4 after 2 1/2 years.
  engram space set vectors --embedder caller:768 --memories-max 1000000")]
    Set(Set),
    /// Delete a space with everything in it
    #[command(after_help = "Examples:\n  engram space delete diary\n  engram space delete diary --yes")]
    Delete {
        /// The space
        #[arg(value_parser = space_name)]
        name: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
        /// Print what it held as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Debug, Args)]
struct Set {
    /// The space
    #[arg(value_parser = space_name)]
    name: String,
    /// How words are stemmed: auto, english, german, ...
    #[arg(long)]
    language: Option<String>,
    /// Law of forgetting
    #[arg(long)]
    decay: Option<DecayName>,
    /// From which time on a memory fades
    #[arg(long)]
    decay_from: Option<DecayFromName>,
    /// Where vectors come from: builtin (made from texts), caller:DIMENSIONS, or none
    #[arg(long, value_name = "builtin|caller:DIM|none", value_parser = embedder)]
    embedder: Option<EmbedderIn>,
    /// Memories that the space may hold
    #[arg(long, value_name = "COUNT")]
    memories_max: Option<u64>,
    /// Probability of being remembered under which a memory is faded; `forget --faded` deletes those. 0: none is
    #[arg(long, value_name = "PROBABILITY")]
    forget_below: Option<f32>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DecayName {
    /// The power law of FSRS-6: stability grows with spaced use
    Fsrs6,
    /// ACT-R's base-level activation: every use counts, the newer the more
    Actr,
    /// Nothing is forgotten
    None,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum DecayFromName {
    StoredAt,
    OccurredAt,
}

impl Space {
    pub(crate) fn run(self, screen: &mut Screen) -> Result<()> {
        match self.action {
            Action::List { json, target } => {
                let spaces = Backend::open(&target, Folder::MustExist)?.with(Backend::spaces)?;
                if json { screen.json(&spaces) } else { list(screen, &spaces.spaces) }
            }
            Action::Show { name, json, target } => {
                let space =
                    Backend::open(&target, Folder::MustExist)?.with(|backend| backend.space(&name))?;
                if json { screen.json(&space) } else { show(screen, &space) }
            }
            Action::Set(set) => set.run(screen),
            Action::Delete { name, yes, json, target } => {
                let backend = Backend::open(&target, Folder::MustExist)?;
                let deleted = backend.with(|backend| {
                    if !yes {
                        let memories = counted(backend.space(&name)?.memories, "memory", "memories");
                        confirm(&format!("Delete space {name} and its {memories}?"))?;
                    }
                    backend.delete_space(&name)
                })?;
                if json {
                    return screen.json(&deleted);
                }
                screen.line(format_args!(
                    "deleted space {name} and its {}",
                    counted(deleted.memories, "memory", "memories")
                ))?;
                deleted.receipt.as_ref().map_or(Ok(()), |receipt| show_receipt(screen, receipt))
            }
        }
    }
}

impl Set {
    fn run(self, screen: &mut Screen) -> Result<()> {
        let settings = SpaceSettingsIn {
            embedder: self.embedder,
            decay: self.decay.map(|decay| match decay {
                DecayName::Fsrs6 => Decay::Fsrs6,
                DecayName::Actr => Decay::Actr,
                DecayName::None => Decay::None,
            }),
            decay_from: self.decay_from.map(|from| match from {
                DecayFromName::StoredAt => DecayStart::StoredAt,
                DecayFromName::OccurredAt => DecayStart::OccurredAt,
            }),
            language: self.language,
            memories_max: self.memories_max,
            forget_below: self.forget_below,
        };
        if settings == SpaceSettingsIn::default() {
            return usage(
                "what shall be set? Give one of --language, --decay, --decay-from, --embedder, --memories-max, \
                 --forget-below",
            );
        }
        let backend = Backend::open(&self.target, Folder::MayBeNew)?;
        let space = backend.with(|backend| backend.put_space(&self.name, settings))?;
        if self.json { screen.json(&space) } else { show(screen, &space) }
    }
}

fn show_receipt(screen: &mut Screen, receipt: &ReceiptOut) -> Result<()> {
    let files = |what: &str, erased: &ErasedOut| {
        (erased.files > 0).then(|| format!("{} {what}, {}", erased.files, sized(erased.bytes)))
    };
    let erased = [
        files("of the log", &receipt.log),
        files("of checkpoints", &receipt.checkpoints),
        files("of the warm tier", &receipt.segments),
        (receipt.cold_files > 0).then(|| format!("{} of the cold tier", receipt.cold_files)),
    ];
    let erased: Vec<String> = erased.into_iter().flatten().collect();
    screen.line(faint().apply_to(format!("  files erased: {}", erased.join("; "))))?;
    for backup in &receipt.backups {
        screen.line(format_args!("  still in backup {} at {}", backup.id, backup.place))?;
    }
    Ok(())
}

fn list(screen: &mut Screen, spaces: &[SpaceOut]) -> Result<()> {
    if spaces.is_empty() {
        return screen.line("no spaces yet; engram store --space NAME \"...\" makes one");
    }
    let width = spaces.iter().map(|space| space.name.len()).max().unwrap_or(0).max("space".len());
    let head =
        format!("{:width$}  {:>12}  {:>12}  {:>12}  {:>8}", "space", "memories", "links", "vectors", "data");
    screen.line(faint().apply_to(head))?;
    for space in spaces {
        if let Some(error) = &space.error {
            screen.line(format_args!("{}  {error}", strong().apply_to(format!("{:width$}", space.name))))?;
            continue;
        }
        screen.line(format_args!(
            "{}  {:>12}  {:>12}  {:>12}  {:>8}",
            strong().apply_to(format!("{:width$}", space.name)),
            grouped(space.memories),
            grouped(space.links),
            grouped(space.vectors),
            sized(space.data_bytes),
        ))?;
    }
    Ok(())
}

fn show(screen: &mut Screen, space: &SpaceOut) -> Result<()> {
    screen.line(strong().apply_to(&space.name))?;
    let settings = &space.settings;
    let embedder = match &settings.embedder {
        None => "decided by the first memory".to_owned(),
        Some(EmbedderIn { provider: Provider::None, .. }) => "none: words and associations only".to_owned(),
        Some(EmbedderIn { provider: Provider::Builtin, version, .. }) => {
            format!("builtin, version {}", version.unwrap_or(0))
        }
        Some(EmbedderIn { dimensions, .. }) => format!("caller, {} dimensions", dimensions.unwrap_or(0)),
    };
    let links = match space.links_waiting {
        0 => grouped(space.links),
        waiting => {
            format!("{}, and {} whose target is not stored yet", grouped(space.links), grouped(waiting))
        }
    };
    let vectors = match space.unindexed {
        0 => grouped(space.vectors),
        waiting => format!("{}, {} of them not indexed yet", grouped(space.vectors), grouped(waiting)),
    };
    let decay = match settings.decay {
        Decay::None => "none: nothing is forgotten".to_owned(),
        law @ (Decay::Fsrs6 | Decay::Actr) => {
            let from = if settings.decay_from == DecayStart::StoredAt { "stored_at" } else { "occurred_at" };
            format!("{}, from {from}", if law == Decay::Fsrs6 { "fsrs6" } else { "actr" })
        }
    };
    let rows = [
        ("memories", grouped(space.memories)),
        ("links", links),
        ("learned", grouped(space.learned)),
        ("vectors", vectors),
        ("contexts", grouped(space.contexts)),
        ("entities", grouped(space.entities)),
        ("words", grouped(space.terms)),
        ("data", format!("{}, log {}", sized(space.data_bytes), sized(space.log_bytes))),
        ("position", grouped(space.position)),
        ("embedder", embedder),
        ("decay", decay),
        (
            "forget below",
            if settings.forget_below > 0.0 {
                settings.forget_below.to_string()
            } else {
                "nothing".to_owned()
            },
        ),
        ("language", settings.language.clone()),
        ("memories max", settings.memories_max.map_or_else(|| "no bound".to_owned(), grouped)),
    ];
    for (name, value) in rows {
        screen.line(format_args!("  {}  {value}", faint().apply_to(format!("{name:12}"))))?;
    }
    Ok(())
}

fn embedder(text: &str) -> Result<EmbedderIn, String> {
    let embedder = |provider, dimensions| Ok(EmbedderIn { provider, dimensions, version: None });
    match text.split_once(':') {
        None if text == "none" => embedder(Provider::None, None),
        None if text == "builtin" => embedder(Provider::Builtin, None),
        Some(("caller", dimensions)) => match dimensions.parse() {
            Ok(dimensions) => embedder(Provider::Caller, Some(dimensions)),
            Err(_) => Err(format!("\"{dimensions}\" is no number of dimensions; write caller:768")),
        },
        _ => Err("write builtin, none, or caller:DIMENSIONS, such as caller:768".into()),
    }
}
