//! Changes and checkpoints as bytes, and back. The first byte is the version of the encoding; the rest is postcard.
//! Reading checks everything that the model relies on, so that a damaged or hostile file is an error, not a panic.

use engram_core::decay::{DecayFrom, DecayLaw, Outcome, Strength};
use engram_core::id::{MemoryId, Timestamp};
use engram_core::learned::{LastUse, Row};
use engram_core::lexicon::Language;
use engram_core::memory::{Link, Memory, MemoryKind, check_link};
use engram_core::payloads::{Heat, Home, Move, Moves};
use engram_core::speech::Speech;
use engram_core::state::{Change, Embedder, Keyed, NewNames, Numbered, Saved, SpaceSettings, Stub, Uses};
use engram_core::vector::check_embedding;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::sync::Arc;

/// Version of the encoding of changes. 1 had settings without `forget_below`, 2 no payloads that move; both are read, too.
const CHANGES_VERSION: u8 = 3;
/// Version of the encoding of checkpoints. 1 knew nothing of what use teaches, 2 had every payload in it, 3 the words of each
/// memory as text; all are read, too.
const PARTS_VERSION: u8 = 4;

/// One change of the log.
#[derive(Serialize, Deserialize)]
enum Wire<'a> {
    #[serde(borrow)]
    Stored(WireMemory<'a>),
    Deleted(&'a str),
    Linked(&'a str, WireLink<'a>),
    Unlinked(&'a str, &'a str, &'a str),
    Reinforced(WireReinforced<'a>),
    Settings(WireSettings<'a>),
    Keyed(WireKeyed<'a>),
    /// Settings with `forget_below`, which those above knew nothing of.
    Settled(WireSettings<'a>, f32),
    Moved(#[serde(borrow)] Option<(u32, &'a str)>, Vec<WireMove>),
}

/// Arrival, version, and where the payload is kept.
#[derive(Serialize, Deserialize)]
struct WireMove(u64, u64, WireHome);

#[derive(Serialize, Deserialize, Clone, Copy)]
enum WireHome {
    /// The number of a segment, and a place in it.
    Segment(u32, u32),
    /// The number of a cold file, and a row in it.
    Cold(u32, u32),
}

#[derive(Serialize, Deserialize)]
struct WireMemory<'a> {
    id: &'a str,
    content: Option<&'a str>,
    /// Little-endian f32.
    #[serde(borrow)]
    embedding: Option<&'a serde_bytes::Bytes>,
    occurred_at: i64,
    stored_at: i64,
    context: Option<&'a str>,
    #[serde(borrow)]
    entities: Vec<&'a str>,
    #[serde(borrow)]
    links: Vec<WireLink<'a>>,
    confidence: f32,
    /// JSON.
    metadata: &'a str,
    is_concept: bool,
    expires_at: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct WireLink<'a> {
    to: &'a str,
    kind: &'a str,
    weight: f32,
}

#[derive(Serialize, Deserialize)]
struct WireReinforced<'a> {
    #[serde(borrow)]
    ids: Vec<&'a str>,
    outcome: WireOutcome,
    at: i64,
}

#[derive(Serialize, Deserialize)]
enum WireOutcome {
    Used,
    Confirmed,
    Contradicted,
}

#[derive(Serialize, Deserialize)]
enum WireDecay {
    Fsrs6,
    ActR,
    None,
}

/// How a memory was used.
#[derive(Serialize, Deserialize)]
struct WireUses {
    strength: Option<WireStrength>,
    reinforced: u64,
    shown: u32,
}

#[derive(Serialize, Deserialize)]
struct WireStrength {
    stability_days: f32,
    difficulty: f32,
    used_at: i64,
    /// In the low 16 bits; the trials above them.
    uses: u32,
}

#[derive(Serialize, Deserialize)]
enum WireEmbedder {
    Caller(u32),
    None,
    Builtin(u32),
}

#[derive(Serialize, Deserialize)]
struct WireSettings<'a> {
    embedder: Option<WireEmbedder>,
    decay: WireDecay,
    decays_from_occurred_at: bool,
    language: &'a str,
    memories_max: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct WireKeyed<'a> {
    key: &'a str,
    fingerprint: u64,
    #[serde(borrow)]
    ids: Vec<&'a str>,
}

/// One frame of a checkpoint.
#[derive(Serialize, Deserialize)]
enum WirePart<'a> {
    #[serde(borrow)]
    Settings(WireSettings<'a>),
    Memory(u32, u64, u64, WireUses, WireMemory<'a>),
    Keyed(u64, WireKeyed<'a>),
    IndexVersions(Vec<(u32, u64)>),
    IndexBytes(#[serde(borrow)] &'a serde_bytes::Bytes),
    Learned(WireLastUse, Vec<WireRow>),
    Settled(WireSettings<'a>, f32),
    /// What version 3 had in place of `Block`. Slot, arrival, version, heat.
    Kept(u32, u64, u64, u32, WireUses, WireMemory<'a>, WireStub<'a>, WireAnalysis<'a>),
    /// Numbers and names of cold files.
    Files(#[serde(borrow)] Vec<(u32, &'a str)>),
    /// Words and names that are told now, each with the number that follows, from 0 on; and memories that have them.
    Block(#[serde(borrow)] Vec<&'a str>, Vec<&'a str>, Vec<WireKept<'a>>),
}

/// A memory whose payload lies elsewhere.
#[derive(Serialize, Deserialize)]
struct WireKept<'a> {
    slot: u32,
    arrival: u64,
    version: u64,
    heat: u32,
    uses: WireUses,
    #[serde(borrow)]
    memory: WireMemory<'a>,
    #[serde(borrow)]
    stub: WireStub<'a>,
    /// Numbers, ascending, with counts.
    terms: Vec<(u32, u32)>,
    entities: Vec<(u32, u32)>,
    speaker: Option<&'a str>,
    questions: f32,
    tells_time: bool,
}

/// What is known of a payload that lies elsewhere.
#[derive(Serialize, Deserialize)]
struct WireStub<'a> {
    home: WireHome,
    content_bytes: u32,
    fingerprint: u64,
    /// A byte a number, and 1 / length of the row.
    #[serde(borrow)]
    code: Option<(&'a serde_bytes::Bytes, f32)>,
}

/// What is made of a text that lies elsewhere.
#[derive(Serialize, Deserialize)]
struct WireAnalysis<'a> {
    #[serde(borrow)]
    terms: Vec<(&'a str, u32)>,
    #[serde(borrow)]
    entities: Vec<(&'a str, u32)>,
    speaker: Option<&'a str>,
    questions: f32,
    tells_time: bool,
}

/// The newest request that used memories: version, time, arrivals.
#[derive(Serialize, Deserialize)]
struct WireLastUse(u64, i64, Vec<u64>);

/// What was learned of a memory: arrival, trials, and pairs of arrival and count.
#[derive(Serialize, Deserialize)]
struct WireRow(u64, u16, Vec<(u64, u16)>);

/// One frame of a checkpoint.
#[derive(Debug)]
pub(crate) enum Part {
    /// The settings as they were when the memories that follow were read.
    Settings(SpaceSettings),
    /// A memory with its slot, arrival, version, and how it was used.
    Memory { slot: u32, arrival: u64, version: u64, uses: Uses, memory: Box<Memory> },
    /// An idempotency key with the version of its change.
    Keyed { version: u64, keyed: Keyed },
    /// Nodes of the index with the versions of their memories.
    IndexVersions(Vec<(u32, u64)>),
    /// The next piece of the index.
    IndexBytes(Vec<u8>),
    /// Names that follow in the order of telling, and memories whose payloads lie elsewhere.
    /// With `tells_anew` they are numbered from 0 on.
    Block { names: NewNames, memories: Vec<Kept>, tells_anew: bool },
    /// The names of cold files.
    Files(Vec<(u32, String)>),
    /// Some of what use has taught, and the newest request that taught.
    Learned { last: LastUse, rows: Vec<Row> },
}

/// A memory whose payload lies elsewhere, with what is known of that, and of its text.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) at: Saved,
    pub(crate) memory: Memory,
    pub(crate) stub: Stub,
    pub(crate) numbered: Numbered,
}

/// The bytes of one request's changes.
pub(crate) fn encode_changes<'a>(changes: impl Iterator<Item = &'a Change>) -> Vec<u8> {
    let mut bytes = vec![CHANGES_VERSION];
    for change in changes {
        bytes = match change {
            Change::Stored(memory) => with_memory(memory, |wire| extend(bytes, &Wire::Stored(wire))),
            Change::Deleted(id) => extend(bytes, &Wire::Deleted(id.as_str())),
            Change::Linked { from, link } => extend(bytes, &Wire::Linked(from.as_str(), wire_link(link))),
            Change::Unlinked { from, to, kind } => {
                extend(bytes, &Wire::Unlinked(from.as_str(), to.as_str(), kind))
            }
            Change::Reinforced { ids, outcome, at } => {
                let ids = ids.iter().map(MemoryId::as_str).collect();
                let wire = WireReinforced { ids, outcome: wire_outcome(*outcome), at: at.0 };
                extend(bytes, &Wire::Reinforced(wire))
            }
            Change::Settings(settings) => {
                extend(bytes, &Wire::Settled(wire_settings(settings), settings.forget_below))
            }
            Change::Keyed(keyed) => extend(bytes, &Wire::Keyed(wire_keyed(keyed))),
            Change::Moved(Moves { file, moves }) => {
                let wire = |one: &Move| Some(WireMove(one.arrival, one.version, wire_home(one.home)?));
                let file = file.as_ref().map(|(number, name)| (*number, name.as_str()));
                extend(bytes, &Wire::Moved(file, moves.iter().filter_map(wire).collect()))
            }
        };
    }
    bytes
}

/// The changes of one request.
pub(crate) fn decode_changes(bytes: &[u8]) -> Result<Vec<Change>, String> {
    let mut rest = versioned(bytes, CHANGES_VERSION)?;
    let mut changes = Vec::new();
    while !rest.is_empty() {
        let (wire, after) = postcard::take_from_bytes::<Wire<'_>>(rest).map_err(|error| error.to_string())?;
        rest = after;
        changes.push(match wire {
            Wire::Stored(memory) => Change::Stored(Box::new(read_memory(memory)?)),
            Wire::Deleted(id) => Change::Deleted(read_id(id)?),
            Wire::Linked(from, link) => {
                Change::Linked { from: read_id(from)?, link: read_link(from, &link)? }
            }
            Wire::Unlinked(from, to, kind) => {
                Change::Unlinked { from: read_id(from)?, to: read_id(to)?, kind: kind.to_string() }
            }
            Wire::Reinforced(wire) => Change::Reinforced {
                ids: wire.ids.into_iter().map(read_id).collect::<Result<_, _>>()?,
                outcome: match wire.outcome {
                    WireOutcome::Used => Outcome::Used,
                    WireOutcome::Confirmed => Outcome::Confirmed,
                    WireOutcome::Contradicted => Outcome::Contradicted,
                },
                at: Timestamp(wire.at),
            },
            Wire::Settings(settings) => Change::Settings(read_settings(&settings, 0.0)?),
            Wire::Settled(settings, below) => Change::Settings(read_settings(&settings, below)?),
            Wire::Keyed(keyed) => Change::Keyed(read_keyed(&keyed)?),
            Wire::Moved(file, moves) => {
                let read =
                    |WireMove(arrival, version, home)| Move { arrival, version, home: read_home(home) };
                let file = file.map(|(number, name)| (number, name.to_string()));
                Change::Moved(Moves { file, moves: moves.into_iter().map(read).collect() })
            }
        });
    }
    Ok(changes)
}

/// The bytes of one frame of a checkpoint.
pub(crate) fn encode_part(part: &Part) -> Vec<u8> {
    let bytes = vec![PARTS_VERSION];
    match part {
        Part::Settings(settings) => {
            extend(bytes, &WirePart::Settled(wire_settings(settings), settings.forget_below))
        }
        Part::Memory { slot, arrival, version, uses, memory } => with_memory(memory, |wire| {
            extend(bytes, &WirePart::Memory(*slot, *arrival, *version, wire_uses(uses), wire))
        }),
        Part::Keyed { version, keyed } => extend(bytes, &WirePart::Keyed(*version, wire_keyed(keyed))),
        Part::IndexVersions(versions) => extend(bytes, &WirePart::IndexVersions(versions.clone())),
        Part::IndexBytes(piece) => extend(bytes, &WirePart::IndexBytes(serde_bytes::Bytes::new(piece))),
        Part::Learned { last, rows } => {
            let rows = rows.iter().map(|row| WireRow(row.arrival, row.trials, row.pairs.clone())).collect();
            let last = WireLastUse(last.version, last.at.0, last.arrivals.clone());
            extend(bytes, &WirePart::Learned(last, rows))
        }
        Part::Block { names: NewNames { terms, entities }, memories, .. } => {
            let [terms, entities] = [terms, entities].map(|names| names.iter().map(|name| &**name).collect());
            let metadata: Vec<String> = memories.iter().map(|kept| wire_metadata(&kept.memory)).collect();
            let memories = memories.iter().zip(&metadata).map(|(kept, metadata)| wire_kept(kept, metadata));
            extend(bytes, &WirePart::Block(terms, entities, memories.collect()))
        }
        Part::Files(files) => {
            let files = files.iter().map(|(number, name)| (*number, name.as_str())).collect();
            extend(bytes, &WirePart::Files(files))
        }
    }
}

/// Reads the frames of a checkpoint in order.
#[derive(Debug, Default)]
pub(crate) struct PartReader {
    terms_told: u32,
    entities_told: u32,
}

impl PartReader {
    /// The next frame.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<Part, String> {
        let wire = postcard::from_bytes::<WirePart<'_>>(versioned(bytes, PARTS_VERSION)?)
            .map_err(|error| error.to_string())?;
        Ok(match wire {
            WirePart::Settings(settings) => Part::Settings(read_settings(&settings, 0.0)?),
            WirePart::Settled(settings, below) => Part::Settings(read_settings(&settings, below)?),
            WirePart::Memory(slot, arrival, version, uses, memory) => {
                let memory = Box::new(read_memory(memory)?);
                Part::Memory { slot, arrival, version, uses: read_uses(&uses)?, memory }
            }
            WirePart::Keyed(version, keyed) => Part::Keyed { version, keyed: read_keyed(&keyed)? },
            WirePart::IndexVersions(versions) => Part::IndexVersions(versions),
            WirePart::IndexBytes(piece) => Part::IndexBytes(piece.to_vec()),
            WirePart::Learned(WireLastUse(version, at, arrivals), rows) => Part::Learned {
                last: LastUse { version, at: Timestamp(at), arrivals },
                rows: rows.into_iter().map(read_row).collect::<Result<_, _>>()?,
            },
            WirePart::Kept(slot, arrival, version, heat, uses, memory, stub, analysis) => {
                *self = Self::default();
                let (names, terms, entities) = told_now(&analysis);
                let WireAnalysis { speaker, questions, tells_time, .. } = analysis;
                #[rustfmt::skip]
                let kept = WireKept {
                    slot, arrival, version, heat, uses, memory, stub, terms, entities, speaker, questions, tells_time,
                };
                self.read_block(names, vec![kept], true)?
            }
            WirePart::Block(terms, entities, memories) => {
                let [terms, entities] =
                    [terms, entities].map(|names| names.into_iter().map(Arc::from).collect());
                self.read_block(NewNames { terms, entities }, memories, false)?
            }
            WirePart::Files(files) => {
                Part::Files(files.into_iter().map(|(number, name)| (number, name.to_string())).collect())
            }
        })
    }

    fn read_block(
        &mut self,
        names: NewNames,
        memories: Vec<WireKept<'_>>,
        tells_anew: bool,
    ) -> Result<Part, String> {
        let more = |told: u32, new: usize| {
            let sum = u32::try_from(new).ok().and_then(|new| told.checked_add(new));
            sum.ok_or_else(|| format!("{new} names are told after {told}"))
        };
        self.terms_told = more(self.terms_told, names.terms.len())?;
        self.entities_told = more(self.entities_told, names.entities.len())?;
        let memories = memories.into_iter().map(|wire| self.read_kept(wire)).collect::<Result<_, _>>()?;
        Ok(Part::Block { names, memories, tells_anew })
    }

    fn read_kept(&self, wire: WireKept<'_>) -> Result<Kept, String> {
        for (numbers, told) in [(&wire.terms, self.terms_told), (&wire.entities, self.entities_told)] {
            let ascends = numbers.windows(2).all(|pair| pair[0].0 < pair[1].0);
            if !ascends || numbers.last().is_some_and(|(last, _)| *last >= told) {
                return Err(format!("a memory has numbers that are not those of {told} names"));
            }
        }
        let (uses, heat) = (read_uses(&wire.uses)?, Heat::saved(wire.heat));
        Ok(Kept {
            at: Saved { slot: wire.slot, arrival: wire.arrival, version: wire.version, uses, heat },
            memory: read_memory(wire.memory)?,
            stub: read_stub(&wire.stub),
            numbered: Numbered {
                terms: wire.terms,
                entities: wire.entities,
                speech: Speech {
                    speaker: wire.speaker.map(Into::into),
                    questions: wire.questions,
                    tells_time: wire.tells_time,
                },
            },
        })
    }
}

/// None for what the log itself keeps, which nothing moves to.
fn wire_home(home: Home) -> Option<WireHome> {
    match home {
        Home::Log => None,
        Home::Region { region, at } => Some(WireHome::Segment(region, at)),
        Home::Away { file, row } => Some(WireHome::Cold(file, row)),
    }
}

fn read_home(home: WireHome) -> Home {
    match home {
        WireHome::Segment(region, at) => Home::Region { region, at },
        WireHome::Cold(file, row) => Home::Away { file, row },
    }
}

fn wire_stub(stub: &Stub) -> WireStub<'_> {
    WireStub {
        home: wire_home(stub.home).expect("a stub stands for a payload that is elsewhere"),
        content_bytes: stub.content_bytes,
        fingerprint: stub.fingerprint,
        code: stub.code.as_ref().map(|(code, scale)| (serde_bytes::Bytes::new(code), *scale)),
    }
}

fn read_stub(wire: &WireStub<'_>) -> Stub {
    Stub {
        home: read_home(wire.home),
        content_bytes: wire.content_bytes,
        fingerprint: wire.fingerprint,
        code: wire.code.map(|(code, scale)| (code.to_vec(), scale)),
    }
}

fn wire_kept<'a>(kept: &'a Kept, metadata: &'a str) -> WireKept<'a> {
    let Kept { at, memory, stub, numbered } = kept;
    WireKept {
        slot: at.slot,
        arrival: at.arrival,
        version: at.version,
        heat: at.heat.until(),
        uses: wire_uses(&at.uses),
        memory: wire_memory(memory, None, metadata),
        stub: wire_stub(stub),
        terms: numbered.terms.clone(),
        entities: numbered.entities.clone(),
        speaker: numbered.speech.speaker.as_deref(),
        questions: numbered.speech.questions,
        tells_time: numbered.speech.tells_time,
    }
}

fn extend(bytes: Vec<u8>, wire: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(wire, bytes).expect("writing into memory cannot fail, and every length is known")
}

/// What follows the version, if that is 1 to `newest`.
fn versioned(bytes: &[u8], newest: u8) -> Result<&[u8], String> {
    match bytes.split_first() {
        Some((version, rest)) if (1..=newest).contains(version) => Ok(rest),
        Some((version, _)) => {
            Err(format!("encoding version {version}, this program reads versions up to {newest}"))
        }
        None => Err("empty payload".to_string()),
    }
}

fn with_memory<T>(memory: &Memory, use_it: impl FnOnce(WireMemory<'_>) -> T) -> T {
    let embedding: Option<Vec<u8>> =
        memory.embedding.as_ref().map(|numbers| numbers.iter().flat_map(|x| x.to_le_bytes()).collect());
    use_it(wire_memory(memory, embedding.as_deref(), &wire_metadata(memory)))
}

fn wire_metadata(memory: &Memory) -> String {
    serde_json::to_string(&memory.metadata).expect("a JSON value always serialises")
}

fn wire_memory<'a>(memory: &'a Memory, embedding: Option<&'a [u8]>, metadata: &'a str) -> WireMemory<'a> {
    WireMemory {
        id: memory.id.as_str(),
        content: memory.content.as_deref(),
        embedding: embedding.map(serde_bytes::Bytes::new),
        occurred_at: memory.occurred_at.0,
        stored_at: memory.stored_at.0,
        context: memory.context.as_deref(),
        entities: memory.entities.iter().map(String::as_str).collect(),
        links: memory.links.iter().map(wire_link).collect(),
        confidence: memory.confidence,
        metadata,
        is_concept: memory.kind == MemoryKind::Concept,
        expires_at: memory.expires_at.map(|at| at.0),
    }
}

fn read_memory(wire: WireMemory<'_>) -> Result<Memory, String> {
    let embedding = match wire.embedding {
        None => None,
        Some(bytes) if bytes.len() % 4 != 0 => return Err(format!("a vector of {} bytes", bytes.len())),
        Some(bytes) => {
            let number = |four: &[u8]| f32::from_le_bytes(four.try_into().expect("chunks of four"));
            let numbers: Vec<f32> = bytes.chunks_exact(4).map(number).collect();
            check_embedding(&numbers).map_err(|error| error.to_string())?;
            Some(numbers)
        }
    };
    Ok(Memory {
        id: read_id(wire.id)?,
        content: wire.content.map(str::to_string),
        embedding,
        occurred_at: Timestamp(wire.occurred_at),
        stored_at: Timestamp(wire.stored_at),
        context: wire.context.map(str::to_string),
        entities: wire.entities.iter().map(ToString::to_string).collect(),
        links: wire.links.iter().map(|link| read_link(wire.id, link)).collect::<Result<_, _>>()?,
        confidence: wire.confidence,
        metadata: serde_json::from_str(wire.metadata).map_err(|error| format!("metadata: {error}"))?,
        kind: if wire.is_concept { MemoryKind::Concept } else { MemoryKind::Episode },
        expires_at: wire.expires_at.map(Timestamp),
    })
}

fn read_id(text: &str) -> Result<MemoryId, String> {
    MemoryId::new(text).map_err(|error| error.to_string())
}

fn wire_link(link: &Link) -> WireLink<'_> {
    WireLink { to: link.to.as_str(), kind: &link.kind, weight: link.weight }
}

/// The words and names of a memory of version 3, as if they were told before it, and their numbers then.
#[expect(clippy::type_complexity, reason = "names, and two lists of numbers")]
fn told_now(analysis: &WireAnalysis<'_>) -> (NewNames, Vec<(u32, u32)>, Vec<(u32, u32)>) {
    let names = |counts: &[(&str, u32)]| counts.iter().map(|(name, _)| Arc::from(*name)).collect();
    let numbers =
        |counts: &[(&str, u32)]| (0..).zip(counts).map(|(number, (_, count))| (number, *count)).collect();
    let names = NewNames { terms: names(&analysis.terms), entities: names(&analysis.entities) };
    (names, numbers(&analysis.terms), numbers(&analysis.entities))
}

fn read_link(from: &str, wire: &WireLink<'_>) -> Result<Link, String> {
    if wire.to == from {
        return Err(format!("memory {from} is linked to itself"));
    }
    let link = Link { to: read_id(wire.to)?, kind: wire.kind.to_string(), weight: wire.weight };
    check_link(&link).map_err(|error| error.to_string())?;
    Ok(link)
}

fn wire_outcome(outcome: Outcome) -> WireOutcome {
    match outcome {
        Outcome::Used => WireOutcome::Used,
        Outcome::Confirmed => WireOutcome::Confirmed,
        Outcome::Contradicted => WireOutcome::Contradicted,
    }
}

fn wire_uses(uses: &Uses) -> WireUses {
    let strength = uses.strength().map(|strength| WireStrength {
        stability_days: strength.stability_days,
        difficulty: strength.difficulty,
        used_at: strength.used_at.0,
        uses: strength.uses.get() | u32::from(uses.trials()) << 16,
    });
    WireUses { strength, reinforced: uses.reinforced(), shown: uses.shown() }
}

fn read_row(WireRow(arrival, trials, pairs): WireRow) -> Result<Row, String> {
    match pairs.iter().find(|(_, count)| *count > trials) {
        Some((_, count)) => Err(format!("a memory took part in {count} of {trials} trials")),
        None => Ok(Row { arrival, trials, pairs }),
    }
}

fn read_uses(wire: &WireUses) -> Result<Uses, String> {
    let read = |wire: &WireStrength| {
        let (stability_days, difficulty) = (wire.stability_days, wire.difficulty);
        match NonZeroU32::new(wire.uses & 0xffff) {
            Some(uses) if stability_days > 0.0 && (1.0..=10.0).contains(&difficulty) => {
                Ok(Strength { stability_days, difficulty, used_at: Timestamp(wire.used_at), uses })
            }
            _ => Err(format!(
                "a stability of {stability_days}, a difficulty of {difficulty} and {} uses",
                wire.uses
            )),
        }
    };
    let trials = wire.strength.as_ref().map_or(0, |strength| (strength.uses >> 16) as u16);
    Ok(Uses::saved(wire.strength.as_ref().map(read).transpose()?, trials, wire.reinforced, wire.shown))
}

fn wire_settings(settings: &SpaceSettings) -> WireSettings<'_> {
    WireSettings {
        embedder: settings.embedder.map(|embedder| match embedder {
            Embedder::Caller { dimensions } => WireEmbedder::Caller(dimensions as u32),
            Embedder::None => WireEmbedder::None,
            Embedder::Builtin { version } => WireEmbedder::Builtin(version),
        }),
        decay: match settings.decay {
            DecayLaw::Fsrs6 => WireDecay::Fsrs6,
            DecayLaw::ActR => WireDecay::ActR,
            DecayLaw::None => WireDecay::None,
        },
        decays_from_occurred_at: settings.decay_from == DecayFrom::OccurredAt,
        language: settings.language.name(),
        memories_max: settings.memories_max,
    }
}

fn read_settings(wire: &WireSettings<'_>, forget_below: f32) -> Result<SpaceSettings, String> {
    if !(0.0..1.0).contains(&forget_below) {
        return Err(format!("a forget_below of {forget_below}"));
    }
    let embedder = match wire.embedder {
        Some(WireEmbedder::Caller(dimensions @ 1..=4096)) => {
            Some(Embedder::Caller { dimensions: dimensions as usize })
        }
        Some(WireEmbedder::Caller(dimensions)) => return Err(format!("vectors of {dimensions} dimensions")),
        Some(WireEmbedder::None) => Some(Embedder::None),
        Some(WireEmbedder::Builtin(version)) => Some(Embedder::Builtin { version }),
        None => None,
    };
    Ok(SpaceSettings {
        embedder,
        decay: match wire.decay {
            WireDecay::Fsrs6 => DecayLaw::Fsrs6,
            WireDecay::ActR => DecayLaw::ActR,
            WireDecay::None => DecayLaw::None,
        },
        decay_from: if wire.decays_from_occurred_at { DecayFrom::OccurredAt } else { DecayFrom::StoredAt },
        language: Language::parse(wire.language).ok_or_else(|| format!("language {:?}", wire.language))?,
        memories_max: wire.memories_max,
        forget_below,
    })
}

fn wire_keyed(keyed: &Keyed) -> WireKeyed<'_> {
    WireKeyed {
        key: &keyed.key,
        fingerprint: keyed.fingerprint,
        ids: keyed.ids.iter().map(MemoryId::as_str).collect(),
    }
}

fn read_keyed(wire: &WireKeyed<'_>) -> Result<Keyed, String> {
    let ids = wire.ids.iter().map(|id| read_id(id)).collect::<Result<_, _>>()?;
    Ok(Keyed { key: wire.key.to_string(), fingerprint: wire.fingerprint, ids })
}

/// A memory of a block as version 3 wrote it, given all names told so far.
#[cfg(test)]
pub(crate) fn encode_version_3(kept: &Kept, told: &NewNames) -> Vec<u8> {
    fn named<'a>(numbers: &[(u32, u32)], names: &'a [Arc<str>]) -> Vec<(&'a str, u32)> {
        numbers.iter().map(|(number, count)| (&*names[*number as usize], *count)).collect()
    }
    let metadata = wire_metadata(&kept.memory);
    let WireKept { slot, arrival, version, heat, uses, memory, stub, terms, entities, .. } =
        wire_kept(kept, &metadata);
    let speech = &kept.numbered.speech;
    let analysis = WireAnalysis {
        terms: named(&terms, &told.terms),
        entities: named(&entities, &told.entities),
        speaker: speech.speaker.as_deref(),
        questions: speech.questions,
        tells_time: speech.tells_time,
    };
    extend(vec![3], &WirePart::Kept(slot, arrival, version, heat, uses, memory, stub, analysis))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn changes() -> Vec<Change> {
        let id = |text| MemoryId::new(text).unwrap();
        let link = Link { to: id("b"), kind: "next".into(), weight: 0.25 };
        let memory = Memory {
            id: id("a"),
            content: Some("rain\nin Bath".into()),
            embedding: Some(vec![1.5, -2e-7, 3e8]),
            occurred_at: Timestamp(-5),
            stored_at: Timestamp(i64::MAX),
            context: Some("c".into()),
            entities: vec!["Bath".into()],
            links: vec![link.clone()],
            confidence: 0.5,
            metadata: json!({"b": 1, "a": [null, 1.5, "x"]}).as_object().unwrap().clone(),
            kind: MemoryKind::Concept,
            expires_at: Some(Timestamp(7)),
        };
        let settings = SpaceSettings {
            embedder: Some(Embedder::Caller { dimensions: 3 }),
            decay: DecayLaw::None,
            decay_from: DecayFrom::OccurredAt,
            language: Language::parse("german").unwrap(),
            memories_max: Some(9),
            forget_below: 0.25,
        };
        vec![
            Change::Stored(Box::new(memory)),
            Change::Deleted(id("x")),
            Change::Linked { from: id("a"), link },
            Change::Unlinked { from: id("a"), to: id("b"), kind: "k".into() },
            Change::Reinforced { ids: vec![id("a")], outcome: Outcome::Used, at: Timestamp(9) },
            Change::Settings(settings),
            Change::Keyed(Keyed { key: "k1".into(), fingerprint: 7, ids: vec![id("a")] }),
        ]
    }

    #[test]
    fn changes_come_back_as_they_were() {
        let bytes = encode_changes(changes().iter());
        assert_eq!(decode_changes(&bytes).unwrap(), changes());
    }

    fn kept(terms: &[(u32, u32)]) -> Kept {
        let Change::Stored(memory) = changes().remove(0) else { unreachable!("it is the first") };
        Kept {
            at: Saved { slot: 4, arrival: 7, version: 9, uses: Uses::default(), heat: Heat::saved(5) },
            memory: Memory { content: None, embedding: None, ..*memory },
            stub: Stub {
                home: Home::Away { file: 2, row: 3 },
                content_bytes: 12,
                fingerprint: 77,
                code: Some((vec![1, 255, 0], 0.5)),
            },
            numbered: Numbered {
                terms: terms.to_vec(),
                entities: vec![(0, 0)],
                speech: Speech { speaker: Some("ann".into()), questions: 0.5, tells_time: true },
            },
        }
    }

    fn names() -> NewNames {
        let terms = ["rain", "bath", "snow"].map(Arc::from).to_vec();
        NewNames { terms, entities: vec!["bath".into()] }
    }

    fn block() -> Part {
        let memories = vec![kept(&[(0, 1), (2, 3)]), kept(&[(1, 1), (2, 1)]), kept(&[])];
        Part::Block { names: names(), memories, tells_anew: false }
    }

    #[test]
    fn memories_come_back_as_they_were_from_this_version_and_the_one_before() {
        let read = PartReader::default().read(&encode_part(&block())).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", block()));
        let Part::Block { memories, .. } = block() else { unreachable!("it is one") };
        let mut reader = PartReader::default();
        for kept in &memories {
            let older = encode_version_3(kept, &names());
            let Ok(Part::Block { names, memories, tells_anew: true }) = reader.read(&older) else {
                panic!("it is read as a block")
            };
            assert_eq!(encode_version_3(&memories[0], &names), older);
        }
    }

    #[test]
    fn numbers_of_nothing_told_are_refused() {
        let read = |terms: &[(u32, u32)]| {
            let part = Part::Block { names: names(), memories: vec![kept(terms)], tells_anew: false };
            PartReader::default().read(&encode_part(&part)).map(drop)
        };
        read(&[(0, 1), (2, 1)]).unwrap();
        for wrong in [&[(0, 1), (3, 1)][..], &[(1, 1), (1, 1)], &[(1, 1), (0, 1)], &[(u32::MAX, 1)]] {
            let reason = read(wrong).unwrap_err();
            assert_eq!(reason, "a memory has numbers that are not those of 3 names", "{wrong:?}");
        }
    }

    #[test]
    fn every_embedder_comes_back() {
        let embedders =
            [Embedder::None, Embedder::Caller { dimensions: 3 }, Embedder::Builtin { version: 7 }];
        for embedder in embedders.map(Some).into_iter().chain([None]) {
            let change = Change::Settings(SpaceSettings { embedder, ..SpaceSettings::default() });
            assert_eq!(decode_changes(&encode_changes([&change].into_iter())).unwrap(), [change]);
        }
    }

    #[test]
    fn damaged_bytes_are_an_error_and_never_a_panic() {
        let bytes = encode_changes(changes().iter());
        for at in 0..bytes.len() {
            for flip in [1, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                // Either an error or other changes; what matters is that it returns.
                drop(decode_changes(&damaged));
            }
            drop(decode_changes(&bytes[..at]));
        }
        let bytes = encode_part(&block());
        for at in 0..bytes.len() {
            for flip in [1, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                drop(PartReader::default().read(&damaged));
            }
            PartReader::default().read(&bytes[..at]).unwrap_err();
        }
        assert_eq!(
            decode_changes(&[9]).unwrap_err(),
            "encoding version 9, this program reads versions up to 3"
        );
        assert_eq!(
            PartReader::default().read(&[5]).unwrap_err(),
            "encoding version 5, this program reads versions up to 4"
        );
    }
}
