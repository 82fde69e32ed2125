//! `engram store`: one memory from flags and text, or what a file holds.

use crate::args::{InSpace, Target, embedding, memory_id, time};
use crate::backend::{Backend, Folder};
use crate::fault::{Fault, Result, usage};
use crate::files::read_stdin;
use crate::screen::{Screen, counted};
use clap::Args;
use engram::limits::CONTENT_BYTES_MAX;
use engram_server::api::{Kind, LinkIn, MemoryIn, StoreIn, Time, from_json};
use serde_json::{Map, Value};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

/// Store a memory
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  engram store --space diary \"It rained in Bath\"
  engram store --space diary --id d2 --link d1:because \"She caught a cold\"
  engram store --space diary --occurred-at 2024-05-08T13:56:00Z \\
    --metadata speaker=Ada \"I moved to Lisbon\"
  git log -1 --format=%B | engram store --space commits -
  engram store --space diary --file memory.json --data-dir ./engram-data")]
pub(crate) struct Store {
    #[command(flatten)]
    space: InSpace,
    /// What to remember; - or nothing reads it from standard input
    text: Option<String>,
    /// Id of the memory; made where none is given
    #[arg(long, value_parser = memory_id)]
    id: Option<String>,
    /// Session, conversation or document that it belongs to
    #[arg(long)]
    context: Option<String>,
    /// When it happened, as RFC 3339; now where none is given
    #[arg(long, value_name = "TIME", value_parser = time)]
    occurred_at: Option<Time>,
    /// From then on no recall shows it, as RFC 3339
    #[arg(long, value_name = "TIME", value_parser = time)]
    expires_at: Option<Time>,
    /// KEY=VALUE, or a JSON object; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    metadata: Vec<String>,
    /// Association to another memory, TO:KIND or TO:KIND:WEIGHT; may be repeated
    #[arg(long, value_name = "TO:KIND:WEIGHT", value_parser = link)]
    link: Vec<LinkIn>,
    /// Name that it mentions, beside those that Engram finds; may be repeated
    #[arg(long, value_name = "NAME")]
    entity: Vec<String>,
    /// How sure the source is, 0 to 1
    #[arg(long, value_name = "0..1")]
    confidence: Option<f32>,
    /// Kind of memory
    #[arg(long, value_parser = ["episode", "concept"])]
    kind: Option<String>,
    /// Vector: JSON, or a .json or .npy file
    #[arg(long, value_name = "JSON|FILE")]
    embedding: Option<String>,
    /// File with a memory, or {"memories": [...]}, as JSON
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "text", "id", "context", "occurred_at", "expires_at", "metadata", "link", "entity", "confidence", "kind",
        "embedding",
    ])]
    file: Option<PathBuf>,
    /// Take the place of a memory with the same id and other values
    #[arg(long)]
    replace: bool,
    /// Print ids and position as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

impl Store {
    pub(crate) fn run(self, screen: &mut Screen) -> Result<()> {
        let request = match &self.file {
            Some(path) => self.read_file(path)?,
            None => StoreIn::many(vec![self.memory()?], self.replace),
        };
        let space = &self.space.space;
        let backend = Backend::open(&self.target, Folder::MayBeNew)?;
        let is_single = request.memories.as_ref().is_none_or(|memories| memories.len() == 1);
        let stored = backend.with(|backend| backend.store(space, request)).map_err(|fault| match fault {
            // Nobody counts to one.
            Fault::Refused(problem, text) if is_single => {
                Fault::Refused(problem, text.strip_prefix("memories[0]: ").unwrap_or(&text).to_owned())
            }
            other => other,
        })?;
        if self.json {
            return screen.json(&stored);
        }
        match &stored.ids[..] {
            [id] => screen.line(format_args!("stored {id} in space {space}")),
            ids => screen.line(format_args!(
                "stored {} in space {space}",
                counted(ids.len() as u64, "memory", "memories")
            )),
        }
    }

    fn read_file(&self, path: &Path) -> Result<StoreIn> {
        let json = std::fs::read(path).map_err(|error| Fault::file(path, "cannot read it", &error))?;
        let mut request: StoreIn = from_json(&json).map_err(|error| Fault::from(error).at(path.display()))?;
        if self.replace {
            request.replace = Some(true);
        }
        Ok(request)
    }

    fn memory(&self) -> Result<MemoryIn> {
        let embedding = self.embedding.as_deref().map(embedding).transpose()?;
        Ok(MemoryIn {
            id: self.id.clone(),
            content: self.content(embedding.is_some())?,
            embedding,
            occurred_at: self.occurred_at,
            context: self.context.clone(),
            entities: (!self.entity.is_empty()).then(|| self.entity.clone()),
            links: (!self.link.is_empty()).then(|| self.link.clone()),
            confidence: self.confidence,
            metadata: metadata(&self.metadata)?,
            kind: self
                .kind
                .as_deref()
                .map(|kind| if kind == "concept" { Kind::Concept } else { Kind::Episode }),
            expires_at: self.expires_at,
        })
    }

    fn content(&self, may_lack: bool) -> Result<Option<String>> {
        match self.text.as_deref() {
            Some("-") => {}
            Some(text) => return Ok(Some(text.to_owned())),
            None if may_lack => return Ok(None),
            None if io::stdin().is_terminal() => {
                return usage(
                    "what shall be stored? Give a text, or --file, or write a text to standard input",
                );
            }
            None => {}
        }
        let text = read_stdin(CONTENT_BYTES_MAX)?;
        // The last newline is the pipe's, not the writer's.
        Ok(Some(text.strip_suffix('\n').unwrap_or(&text).to_owned()))
    }
}

fn link(text: &str) -> Result<LinkIn, String> {
    let strange = || format!("\"{text}\" is not TO:KIND:WEIGHT, such as d1:next:0.5");
    let (rest, last) = text.rsplit_once(':').ok_or_else(strange)?;
    // An id may hold colons, so that what comes last decides: a number is a weight.
    let (to, kind, weight) = match (last.parse(), rest.rsplit_once(':')) {
        (Ok(weight), Some((to, kind))) => (to, kind, weight),
        _ => (rest, last, 1.0),
    };
    if kind.is_empty() {
        return Err(strange());
    }
    Ok(LinkIn { to: memory_id(to)?, kind: kind.to_owned(), weight })
}

fn metadata(given: &[String]) -> Result<Option<Map<String, Value>>> {
    let mut metadata = Map::new();
    for text in given {
        if text.trim_start().starts_with('{') {
            let object: Map<String, Value> = from_json(text.as_bytes())
                .map_err(|error| Fault::Usage(format!("--metadata: {}", error.detail)))?;
            metadata.extend(object);
        } else if let Some((key, value)) = text.split_once('=') {
            // true, 3 and "3" mean what they mean in JSON; everything else is text.
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
            metadata.insert(key.to_owned(), value);
        } else {
            return usage(format!("--metadata: \"{text}\" is neither KEY=VALUE nor a JSON object"));
        }
    }
    Ok((!metadata.is_empty()).then_some(metadata))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read_from_the_right() {
        let read = |text| link(text).map(|link| (link.to, link.kind, link.weight));
        assert_eq!(read("m1:next:0.5"), Ok(("m1".into(), "next".into(), 0.5)));
        assert_eq!(read("D1:1:next"), Ok(("D1:1".into(), "next".into(), 1.0)));
        assert_eq!(read("D1:1:next:1"), Ok(("D1:1".into(), "next".into(), 1.0)));
        assert!(read("m1").is_err());
        assert!(read("m1:").is_err());
        assert!(read("a b:next").is_err());
    }

    #[test]
    fn metadata_is_json_or_pairs() {
        let given =
            ["speaker=Ada", "turn=3", "formula=a=b", "{\"nested\": {\"x\": true}}"].map(str::to_owned);
        let read = Value::from(metadata(&given).unwrap().unwrap());
        assert_eq!(
            read,
            serde_json::json!({"speaker": "Ada", "turn": 3, "formula": "a=b", "nested": {"x": true}})
        );
        assert!(metadata(&["speaker".into()]).is_err());
    }
}
