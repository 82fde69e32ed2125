//! Sets of memories, cues and answers as they lie in folders, read and checked before anything is stored.

use super::score::Wanted;
use crate::commands::recall::{CueSource, PlacedCue};
use crate::fault::{Fault, Result, failed, usage};
use crate::files::{Lines, json_of_line};
use engram::{Cue, Filter, MemoryId, Timestamp};
use engram_server::api::CueIn;
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

const MEMORIES: &str = "memories.jsonl";
const MEMORY_VECTORS: &str = "memories.npy";
const CUES: &str = "cues.jsonl";
const CUE_VECTORS: &str = "cues.npy";
const ANSWERS: &str = "answers.jsonl";

/// Whether the `.npy` files count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vectors {
    Read,
    Ignored,
}

/// Cues that are scored together, in one space or several.
#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) name: String,
    pub(crate) spaces: Vec<Folder>,
}

/// A folder: the memories of one space, cues of it, and what they are after.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    pub(crate) memories: PathBuf,
    /// Their vectors, where there are any.
    pub(crate) embeddings: Option<PathBuf>,
    pub(crate) cues: Vec<AskedCue>,
    /// Of each cue.
    pub(crate) wanted: Vec<Wanted>,
}

/// A cue, ready to be asked.
#[derive(Debug, Clone)]
pub(crate) struct AskedCue {
    pub(crate) id: String,
    pub(crate) cue: Cue,
    pub(crate) filter: Filter,
    pub(crate) now: Option<Timestamp>,
    pub(crate) as_of: Option<Timestamp>,
}

/// A line of a file of answers.
#[derive(Debug, Deserialize)]
struct AnswerLine {
    id: String,
    evidence: Vec<String>,
    /// A text or a number.
    #[serde(default)]
    category: Value,
    answerable: bool,
}

impl Set {
    /// The set of a folder: its own files, or those of the folders in it.
    pub(crate) fn open(path: &Path, vectors: Vectors) -> Result<Self> {
        let name = path.canonicalize().ok().and_then(|full| Some(full.file_name()?.to_str()?.to_owned()));
        let name = name.unwrap_or_else(|| path.display().to_string());
        if path.join(MEMORIES).is_file() {
            return Ok(Self { name, spaces: vec![Folder::open(path, vectors)?] });
        }
        let entries = std::fs::read_dir(path)
            .map_err(|error| Fault::Usage(format!("{}: cannot read this folder: {error}", path.display())))?;
        let mut folders: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|inner| inner.join(MEMORIES).is_file())
            .collect();
        if folders.is_empty() {
            return usage(format!(
                "{}: has no {MEMORIES}, and no folder in it has; needed are {MEMORIES}, {CUES} and {ANSWERS}",
                path.display()
            ));
        }
        folders.sort();
        let spaces = folders.iter().map(|inner| Folder::open(inner, vectors)).collect::<Result<_>>()?;
        Ok(Self { name, spaces })
    }

    pub(crate) fn cues(&self) -> usize {
        self.spaces.iter().map(|folder| folder.cues.len()).sum()
    }

    /// Whether its memories have vectors of their own.
    pub(crate) fn has_vectors(&self) -> bool {
        self.spaces.iter().any(|folder| folder.embeddings.is_some())
    }
}

impl Folder {
    fn open(path: &Path, vectors: Vectors) -> Result<Self> {
        let cues = read_cues(path, vectors)?;
        let mut answers = read_answers(&path.join(ANSWERS))?;
        let mut wanted = Vec::new();
        for cue in &cues {
            let Some((_, answer)) = answers.remove(&cue.id) else {
                return failed(format!(
                    "{}: has no line for the cue \"{}\" of {CUES}; each cue needs one",
                    path.join(ANSWERS).display(),
                    cue.id
                ));
            };
            wanted.push(answer);
        }
        if let Some((id, (number, _))) = answers.into_iter().min_by_key(|(_, (number, _))| *number) {
            return failed(format!(
                "{}:{number}: answers the cue \"{id}\", which is not in {CUES}",
                path.join(ANSWERS).display()
            ));
        }
        let embeddings = given(path, MEMORY_VECTORS, vectors);
        Ok(Self { path: path.to_owned(), memories: path.join(MEMORIES), embeddings, cues, wanted })
    }

    pub(crate) fn answers_path(&self) -> PathBuf {
        self.path.join(ANSWERS)
    }
}

/// Numbers of the first vector of some cues.
pub(crate) fn dimensions(cues: &[AskedCue]) -> Option<usize> {
    cues.iter().find_map(|cue| cue.cue.embedding.as_ref()).map(Vec::len)
}

/// A file of vectors, where it is there and counts.
fn given(path: &Path, name: &str, vectors: Vectors) -> Option<PathBuf> {
    Some(path.join(name)).filter(|file| vectors == Vectors::Read && file.is_file())
}

/// The cues of a folder, which are told apart by their ids.
pub(crate) fn read_cues(path: &Path, vectors: Vectors) -> Result<Vec<AskedCue>> {
    let file = path.join(CUES);
    let mut source = CueSource::open(&file, given(path, CUE_VECTORS, vectors).as_deref())?;
    let placed = source.read(usize::MAX, &CueIn::default())?;
    if placed.is_empty() {
        return failed(format!("{}: has no cue", file.display()));
    }
    let mut seen = HashMap::new();
    let mut cues = Vec::with_capacity(placed.len());
    for PlacedCue { place, id, cue } in placed {
        if let Some(first) = seen.insert(id.clone(), place.clone()) {
            return failed(format!("{place}: has the id \"{id}\" of the cue at {first}; give it another"));
        }
        let cue = AskedCue::new(id, cue, vectors).map_err(|fault| fault.at(&place))?;
        cues.push(cue);
    }
    Ok(cues)
}

impl AskedCue {
    fn new(id: String, cue: CueIn, vectors: Vectors) -> Result<Self> {
        let ids = cue.ids.unwrap_or_default();
        let ids = ids.iter().map(|id| MemoryId::new(id)).collect::<Result<Vec<_>, _>>();
        let embedding = cue.embedding.filter(|_| vectors == Vectors::Read);
        let asked = Cue { text: cue.text, embedding, ids: ids.map_err(engram::Error::from)? };
        asked.check().map_err(engram::Error::from)?;
        let filter = cue.filter.map(Filter::try_from).transpose()?.unwrap_or_default();
        Ok(Self {
            id,
            cue: asked,
            filter,
            now: cue.now.map(|time| time.0),
            as_of: cue.as_of.map(|time| time.0),
        })
    }
}

/// The answers of a file by cue, with the numbers of their lines.
fn read_answers(file: &Path) -> Result<HashMap<String, (u64, Wanted)>> {
    let mut lines = Lines::open(file)?;
    let (mut line, mut answers) = (Vec::new(), HashMap::new());
    while let Some(number) = lines.next(&mut line)? {
        let place = lines.place(number);
        let answer: AnswerLine = json_of_line(&line).map_err(|fault| fault.at(&place))?;
        let category = match answer.category {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let wanted = Wanted { evidence: answer.evidence, category, answerable: answer.answerable };
        if let Some((first, _)) = answers.insert(answer.id.clone(), (number, wanted)) {
            return failed(format!("{place}: has the id \"{}\" of line {first}", answer.id));
        }
    }
    Ok(answers)
}
