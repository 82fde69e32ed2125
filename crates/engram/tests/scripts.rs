//! Golden transcripts: every `tests/scripts/*.txt` is run through the public API, on a disk in memory and a clock that
//! only `advance` moves, and must answer what it says. `UPDATE=1 cargo test -p engram --test scripts` rewrites them;
//! read the difference before committing it.
//!
//! A file is a list of blocks with blank lines between them. A block is commands, `---`, and what they print; both of
//! the latter are left out where nothing is printed. `#` begins a comment line. Words are separated by spaces; double
//! quotes hold one together. Commands, with their options as `name=value`:
//!
//! ```text
//! store a "text"       context, entities=A,B, link=to:kind:weight (repeatable), vector=1,0, at, expires, confidence,
//!                      kind, metadata.<key>=<JSON or text>, key (idempotency), replace
//! patch a "text"       the same, where given
//! delete a [b ...]     link a b kind 0.5        unlink a b kind        get a
//! recall "text"        ids=a,b, vector, limit, as_of, now, budget, min_relevance, exact, through (concepts), and a filter;
//!                      show=activation|concept|looked_at|retrievability|confidence|paths, each hit on a line
//! activate a=1 [b=.5]  limit, budget, now, as_of
//! complete "text"      a memory with gaps, as for store; `?` is what is wanted: content=? (or a text with ... in it),
//!                      vector=1,?,0, context, entities, at, kind, metadata.<key>, metadata=?; limit, beta, now, as_of,
//!                      exact, and a filter
//! forget faded         what is remembered less than the space's forget_below
//! count, list, forget  with a filter: must.<field>=value, should.<field>=value, must_not.<field>=value; a value may be
//!                      one, several (a|b), a range (1..3, either end open) or * (exists)
//! reinforce used a [b]  also confirmed, contradicted
//! consolidate          makes concepts; also dry; steps=2 stops after so many steps
//! usage a              how well it is learned   shown a (notes that a recall showed it)
//! advance 3d           also h, m, s             reopen                 crash (cuts the power, then opens)
//! summary              mark, changed            the state in numbers; what differs since `mark`, line by line
//! space name           settings name=value ...  decay=none|fsrs6|actr, decay_from=stored_at|occurred_at, memories_max,
//!                      forget_below=0.5,
//!                      embedder=builtin: without it, texts are found by words and associations alone
//! ```

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use engram::clock::{Clock, format_rfc3339, parse_rfc3339};
use engram::{
    ActivateFrom, Blank, CompleteOptions, CompletedValue, Condition, Cue, DecayFrom, DecayLaw, Embedder,
    Engine, Error, ErrorKind, FaultyVfs, Field, Filter, Link, MemoryId, MemoryKind, NewMemory, Operand,
    Options, Outcome, Pattern, RecallOptions, Recalled, RecalledHit, RecalledPath, Result, Selection, Space,
    SpaceName, StoreOptions, Test, Timestamp,
};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// When every script begins.
const START: &str = "2024-01-01T00:00:00Z";
/// Paths of a hit that are written out. Most spreads have many that carry next to nothing.
const PATHS_SHOWN: usize = 4;

#[test]
fn every_script_answers_what_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scripts");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.iter().all(|file| file.extension().is_some_and(|ext| ext == "txt")), "{files:?}");
    assert!(files.len() > 10, "the transcripts are gone: {files:?}");
    let update = std::env::var_os("UPDATE").is_some();
    let mut failures = Vec::new();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let expected = fs::read_to_string(&file).unwrap();
        let got = run(&expected);
        if got == expected {
            continue;
        }
        if update {
            fs::write(&file, got).unwrap();
        } else {
            failures.push(format!("{name}:{}", first_difference(&expected, &got)));
        }
    }
    assert!(
        failures.is_empty(),
        "\ntests/scripts/{}\n\nUPDATE=1 cargo test -p engram --test scripts takes what they answer now.",
        failures.join("\n\ntests/scripts/")
    );
}

/// The text of a script with what its commands print now.
fn run(text: &str) -> String {
    let mut world = World::new();
    let blocks = text.trim_end().split("\n\n").map(|block| {
        let commands = block.split_once("\n---").map_or(block, |(commands, _)| commands);
        let lines = commands.lines().filter(|line| !line.starts_with('#'));
        let output: Vec<String> = lines.flat_map(|line| world.command(line)).collect();
        if output.is_empty() { commands.into() } else { format!("{commands}\n---\n{}", output.join("\n")) }
    });
    blocks.collect::<Vec<_>>().join("\n\n") + "\n"
}

/// Where two texts part, with the whole block as it is now.
fn first_difference(expected: &str, got: &str) -> String {
    let line = expected.lines().zip(got.lines()).take_while(|(a, b)| a == b).count();
    let block = got.split("\n\n").scan(0, |end, block| {
        *end += block.lines().count() + 1;
        Some((*end, block))
    });
    let block = block.into_iter().find(|(end, _)| *end > line).map_or("", |(_, block)| block);
    format!("{}: expected {:?}, got\n\n{block}", line + 1, expected.lines().nth(line).unwrap_or(""))
}

/// An engine with the space that commands go to.
struct World {
    vfs: FaultyVfs,
    now: Arc<AtomicI64>,
    engine: Engine,
    space: Arc<Space>,
    marked: Vec<String>,
}

impl World {
    fn new() -> Self {
        let vfs = FaultyVfs::new(0);
        let now = Arc::new(AtomicI64::new(parse_rfc3339(START).unwrap().0));
        let engine = open(&vfs, &now);
        let space = engine.space_or_new(&SpaceName::new("diary").unwrap()).unwrap();
        Self { vfs, now, engine, space, marked: Vec::new() }
    }

    /// Runs a line and returns what it prints.
    fn command(&mut self, line: &str) -> Vec<String> {
        let words = words(line);
        let (verb, rest) = words.split_first().expect("blank lines separate blocks");
        let printed = self.run(verb, &Arguments::new(rest));
        // Nothing runs in the background here, so that a script gives the same every time.
        self.engine.work_off();
        printed.unwrap_or_else(|error| vec![format!("error {}: {error}", kind(&error))])
    }

    fn run(&mut self, verb: &str, given: &Arguments) -> Result<Vec<String>> {
        let space = &self.space;
        match verb {
            "store" => self.store(given)?,
            "patch" => drop(space.patch(&given.id(0)?, new_memory(None, given)?)?),
            "delete" => {
                for at in 0..given.plain.len() {
                    space.delete(&given.id(at)?)?;
                }
            }
            "link" => {
                let link =
                    Link { to: given.id(1)?, kind: given.plain(2).into(), weight: number(given.plain(3)) };
                space.link(&given.id(0)?, link)?;
            }
            "unlink" => drop(space.unlink(&given.id(0)?, &given.id(1)?, given.plain(2))?),
            "get" => return Ok(vec![described(&space.get(&given.id(0)?)?)]),
            "recall" => return Ok(shown(&space.recall(&cue(given)?, &self.options(given))?, given)),
            "activate" => return self.activate(given),
            "complete" => return self.complete(given),
            "count" => return Ok(vec![space.count(&selection(given))?.to_string()]),
            "list" => {
                return Ok(vec![join(
                    space.list(&filter(given), None, 1000)?.memories.iter().map(|m| &m.id),
                )]);
            }
            "forget" => return Ok(vec![join(&space.delete_matching(&selection(given))?)]),
            "advance" => {
                self.now.fetch_add(micros(given.plain(0)), Ordering::Relaxed);
            }
            "reopen" => {
                self.engine.close()?;
                self.open_again()?;
            }
            "crash" => {
                self.vfs.restart();
                self.open_again()?;
            }
            "reinforce" => {
                let (outcome, ids) = given.plain.split_first().expect("an outcome");
                let outcome = match outcome.as_str() {
                    "used" => Outcome::Used,
                    "confirmed" => Outcome::Confirmed,
                    "contradicted" => Outcome::Contradicted,
                    other => panic!("there is no outcome {other:?}"),
                };
                let ids: Vec<MemoryId> =
                    ids.iter().map(|id| MemoryId::new(id)).collect::<std::result::Result<_, _>>()?;
                space.reinforce(&ids, outcome)?;
            }
            "consolidate" => return self.consolidate(given),
            "shown" => space.note_shown(&[given.id(0)?]),
            "usage" => {
                let usage = space.usage(&given.id(0)?)?;
                let strength = usage.strength;
                let learned: Vec<_> =
                    usage.learned.iter().map(|(to, weight)| format!("{to} {weight:.3}")).collect();
                let mut lines = vec![format!(
                    "stability {:.2} d, difficulty {:.2}, uses {}, shown {}, remembered {:.3}",
                    strength.stability_days,
                    strength.difficulty,
                    strength.uses,
                    usage.shown,
                    usage.retrievability
                )];
                lines.extend((!learned.is_empty()).then(|| format!("learned: {}", learned.join(", "))));
                return Ok(lines);
            }
            "summary" => return Ok(vec![self.summary()]),
            "mark" => self.marked = space.dump(),
            "changed" => return Ok(difference(&self.marked, &space.dump())),
            "space" => self.space = self.engine.space_or_new(&SpaceName::new(given.plain(0))?)?,
            "settings" => self.settings(given)?,
            _ => panic!("there is no command {verb:?}"),
        }
        Ok(vec![])
    }

    fn open_again(&mut self) -> Result<()> {
        let name = self.space.name().clone();
        self.engine = open(&self.vfs, &self.now);
        self.space = self.engine.space_or_new(&name)?;
        Ok(())
    }

    fn consolidate(&self, given: &Arguments) -> Result<Vec<String>> {
        let steps = given.option("steps").map_or(usize::MAX, |text| text.parse().unwrap());
        let mut left = steps;
        let done = self.space.consolidate(given.has("dry"), |_| {
            left -= 1;
            left > 0
        })?;
        let mut parts = vec![
            format!("{} episodes, {} of them in {} concepts", done.episodes, done.sources, done.concepts),
            format!("{} made, {} changed, {} deleted", done.made, done.changed, done.deleted),
        ];
        parts.extend((done.given_up > 0).then(|| format!("{} given up", done.given_up)));
        parts.extend(done.stopped.then(|| "stopped".to_string()));
        parts.extend(done.without_vectors.then(|| "no vectors to compare by".to_string()));
        Ok(vec![parts.join("; ")])
    }

    fn store(&self, given: &Arguments) -> Result<()> {
        let options = StoreOptions {
            replace: given.has("replace"),
            idempotency_key: given.option("key").map(str::to_string),
        };
        let id = (given.plain(0) != "-").then(|| given.id(0)).transpose()?;
        self.space.store(vec![new_memory(id, given)?], &options)?;
        Ok(())
    }

    fn activate(&self, given: &Arguments) -> Result<Vec<String>> {
        const OPTIONS: [&str; 4] = ["limit", "budget", "now", "as_of"];
        let seeds = given.options.iter().filter(|(name, _)| !OPTIONS.contains(&name.as_str()));
        let seeds = seeds.map(|(id, activation)| Ok((MemoryId::new(id)?, f64::from(number(activation)))));
        let from = ActivateFrom::Seeds(seeds.collect::<Result<_>>()?);
        let spread = self.space.activate(&from, &self.options(given))?;
        let mut lines: Vec<String> =
            spread.activations.iter().map(|(id, activation)| format!("{id} {activation:.3}")).collect();
        if spread.truncated {
            lines.push(format!("the budget held back {:.3}", spread.residual));
        }
        Ok(lines)
    }

    fn complete(&self, given: &Arguments) -> Result<Vec<String>> {
        let mut options = CompleteOptions::at(given.option("now").map_or(self.engine.now(), time));
        options.limit = given.option("limit").map_or(options.limit, |text| text.parse().unwrap());
        options.as_of = given.option("as_of").map(time);
        options.beta = given.option("beta").map_or(options.beta, number);
        options.exact = given.has("exact");
        options.filter = filter(given);
        let memory = self.space.complete(&pattern(given), &options)?;
        let mut lines: Vec<String> = Vec::new();
        for one in memory.completed {
            let basis = if one.given { "given".to_string() } else { format!("{:.2}", one.confidence) };
            lines.push(format!("{} {} ({basis}) {}", one.field, value(&one.value), join(&one.sources)));
        }
        for one in memory.alternatives {
            let fields = one.fields.iter().map(|(field, own)| format!("{field} {}", value(own)));
            lines.push(format!("or {} {:.2}: {}", one.id, one.fit, fields.collect::<Vec<_>>().join(", ")));
        }
        lines.extend(memory.abstain.then(|| "abstain".to_string()));
        Ok(lines)
    }

    fn options(&self, given: &Arguments) -> RecallOptions {
        let mut options = RecallOptions::at(given.option("now").map_or(self.engine.now(), time));
        options.limit = given.option("limit").map_or(options.limit, |text| text.parse().unwrap());
        options.as_of = given.option("as_of").map(time);
        options.budget = given.option("budget").map(|text| text.parse().unwrap());
        options.relevance_min = given.option("min_relevance").map(number);
        options.exact = given.has("exact");
        options.through_concepts = given.has("through");
        options.explain = given.option("show") == Some("paths");
        options.filter = filter(given);
        options
    }

    fn settings(&self, given: &Arguments) -> Result<()> {
        let mut settings = self.space.settings();
        for (name, value) in &given.options {
            match (name.as_str(), value.as_str()) {
                ("forget_below", text) => settings.forget_below = number(text),
                ("decay", "none") => settings.decay = DecayLaw::None,
                ("decay", "fsrs6") => settings.decay = DecayLaw::Fsrs6,
                ("decay", "actr") => settings.decay = DecayLaw::ActR,
                ("decay_from", "stored_at") => settings.decay_from = DecayFrom::StoredAt,
                ("decay_from", "occurred_at") => settings.decay_from = DecayFrom::OccurredAt,
                ("embedder", "none") => settings.embedder = Some(Embedder::None),
                ("embedder", "builtin") => settings.embedder = Some(Embedder::BUILTIN),
                ("memories_max", max) => settings.memories_max = Some(max.parse().unwrap()),
                _ => panic!("there is no setting {name}={value}"),
            }
        }
        self.space.set_settings(settings)?;
        Ok(())
    }

    fn summary(&self) -> String {
        let s = self.space.summary();
        format!(
            "memories {}, vectors {}, links {} ({} waiting), contexts {}, entities {}, terms {}",
            s.memories, s.vectors, s.links, s.links_waiting, s.contexts, s.entities, s.terms
        )
    }
}

fn open(vfs: &FaultyVfs, now: &Arc<AtomicI64>) -> Engine {
    let now = now.clone();
    Engine::open(Options {
        vfs: Arc::new(vfs.clone()),
        clock: Clock::driven(move || Timestamp(now.load(Ordering::Relaxed))),
        background_threads: 0,
        embeds_texts: false,
        ..Options::new("/data")
    })
    .unwrap()
}

/// What a command was given: words by place, and options by name.
struct Arguments {
    plain: Vec<String>,
    options: Vec<(String, String)>,
}

impl Arguments {
    fn new(words: &[String]) -> Self {
        let (mut plain, mut options) = (Vec::new(), Vec::new());
        for word in words {
            match word.split_once('=').filter(|_| !word.starts_with('"')) {
                Some((name, value)) => options.push((name.into(), unquoted(value))),
                None => plain.push(unquoted(word)),
            }
        }
        Self { plain, options }
    }

    fn plain(&self, at: usize) -> &str {
        self.plain.get(at).unwrap_or_else(|| panic!("word {at} is missing after {:?}", self.plain))
    }

    fn id(&self, at: usize) -> Result<MemoryId> {
        Ok(MemoryId::new(self.plain(at))?)
    }

    fn has(&self, word: &str) -> bool {
        self.plain.iter().any(|plain| plain == word)
    }

    fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.options.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// Splits at spaces outside of quotes.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        if c == ' ' && !quoted {
            words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty()));
        } else {
            quoted ^= c == '"';
            word.push(c);
        }
    }
    assert!(!quoted, "a quote is left open in {line:?}");
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

fn unquoted(word: &str) -> String {
    word.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(word).into()
}

/// `\n` is a new line, and `x*70000` so many of the letter.
fn content(text: &str) -> String {
    match text.split_once('*').map(|(letter, times)| (letter, times.parse())) {
        Some((letter, Ok(times))) => letter.repeat(times),
        _ => text.replace("\\n", "\n"),
    }
}

fn new_memory(id: Option<MemoryId>, given: &Arguments) -> Result<NewMemory> {
    let links: Vec<Link> = given.all("link").map(link).collect::<Result<_>>()?;
    let metadata: Vec<_> = given
        .options
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("metadata.")?.to_string(), json(value))))
        .collect();
    Ok(NewMemory {
        id,
        content: given.plain.iter().skip(1).find(|word| *word != "replace").map(|text| content(text)),
        embedding: given.option("vector").map(vector),
        occurred_at: given.option("at").map(time),
        context: given.option("context").map(str::to_string),
        entities: given.option("entities").map(|names| names.split(',').map(str::to_string).collect()),
        links: (!links.is_empty()).then_some(links),
        confidence: given.option("confidence").map(number),
        metadata: (!metadata.is_empty()).then(|| metadata.into_iter().collect()),
        kind: given.option("kind").map(|kind| match kind {
            "episode" => MemoryKind::Episode,
            "concept" => MemoryKind::Concept,
            _ => panic!("there is no kind {kind:?}"),
        }),
        expires_at: given.option("expires").map(time),
    })
}

fn link(text: &str) -> Result<Link> {
    let parts: Vec<&str> = text.split(':').collect();
    let [to, kind, weight] = parts[..] else { panic!("a link is to:kind:weight, not {text:?}") };
    Ok(Link { to: MemoryId::new(to)?, kind: kind.into(), weight: number(weight) })
}

fn cue(given: &Arguments) -> Result<Cue> {
    let ids = given.option("ids").map_or(Ok(vec![]), |ids| ids.split(',').map(MemoryId::new).collect());
    let text = given
        .plain
        .iter()
        .find(|word| !["exact", "through"].contains(&word.as_str()))
        .map(|text| content(text));
    Ok(Cue { text, embedding: given.option("vector").map(vector), ids: ids? })
}

fn pattern(given: &Arguments) -> Pattern {
    let blank = |name| match given.option(name) {
        None => Blank::Absent,
        Some("?") => Blank::Wanted,
        Some(text) => Blank::Given(text),
    };
    fn map<'a, T>(blank: Blank<&'a str>, make: impl Fn(&'a str) -> T) -> Blank<T> {
        match blank {
            Blank::Absent => Blank::Absent,
            Blank::Wanted => Blank::Wanted,
            Blank::Given(text) => Blank::Given(make(text)),
        }
    }
    let text = given.plain.iter().find(|word| *word != "exact").map(|text| Blank::Given(content(text)));
    let numbers = |text: &str| text.split(',').map(|part| (part != "?").then(|| number(part))).collect();
    let metadata = given.options.iter().filter_map(|(name, value)| {
        let value = if value == "?" { Value::Null } else { json(value) };
        Some((name.strip_prefix("metadata.")?.to_string(), value))
    });
    let metadata: serde_json::Map<String, Value> = metadata.collect();
    Pattern {
        content: text.unwrap_or_else(|| map(blank("content"), content)),
        embedding: map(blank("vector"), numbers),
        context: map(blank("context"), str::to_string),
        occurred_at: map(blank("at"), time),
        entities: map(blank("entities"), |names| names.split(',').map(str::to_string).collect()),
        metadata: if metadata.is_empty() {
            map(blank("metadata"), |_| metadata.clone())
        } else {
            Blank::Given(metadata)
        },
        kind: map(
            blank("kind"),
            |kind| if kind == "concept" { MemoryKind::Concept } else { MemoryKind::Episode },
        ),
    }
}

fn value(value: &CompletedValue) -> String {
    match value {
        CompletedValue::Nothing => "none".into(),
        CompletedValue::Text(text) => format!("{text:?}"),
        CompletedValue::Numbers(numbers) => {
            format!("{:?}", numbers.iter().map(|x| (x * 1000.0).round() / 1000.0).collect::<Vec<f32>>())
        }
        CompletedValue::Time(time) => format_rfc3339(*time),
        CompletedValue::Names(names) => format!("[{}]", names.join(", ")),
        CompletedValue::Json(value) => value.to_string(),
        CompletedValue::Kind(kind) => engram::kind_name(*kind).into(),
    }
}

fn selection(given: &Arguments) -> Selection {
    let faded = given.plain.first().is_some_and(|word| word == "faded");
    Selection { ids: None, filter: filter(given), faded }
}

fn filter(given: &Arguments) -> Filter {
    let conditions = |list: &str| {
        let named = given.options.iter();
        let named = named.filter_map(|(name, value)| Some((name.split_once('.')?, value)));
        let named = named.filter(|((own, _), _)| *own == list);
        named.map(|((_, name), value)| condition(name, value)).collect()
    };
    Filter { must: conditions("must"), should: conditions("should"), must_not: conditions("must_not") }
}

fn condition(name: &str, value: &str) -> Condition {
    let (field, timed) = match name {
        "context" => (Field::Context, false),
        "kind" => (Field::Kind, false),
        "occurred_at" => (Field::OccurredAt, true),
        "stored_at" => (Field::StoredAt, true),
        _ => {
            let path = name.strip_prefix("metadata.").unwrap_or_else(|| panic!("there is no field {name:?}"));
            (Field::Metadata(path.split('.').map(str::to_string).collect()), false)
        }
    };
    let operand = |text: &str| if timed { Operand::Time(time(text)) } else { Operand::Json(json(text)) };
    let bound = |text: &str| (!text.is_empty()).then(|| operand(text));
    let test = if value == "*" {
        Test::Exists(true)
    } else if let Some((from, to)) = value.split_once("..") {
        Test::Range { gte: bound(from), lt: bound(to) }
    } else if value.contains('|') {
        Test::In(value.split('|').map(operand).collect())
    } else {
        Test::Equals(operand(value))
    };
    Condition { field, test }
}

/// The hits: their ids on one line, or a line each with what `show` asks for.
fn shown(recalled: &Recalled, given: &Arguments) -> Vec<String> {
    let id = |hit: &RecalledHit| hit.memory.id.to_string();
    if recalled.hits.is_empty() {
        return vec!["nothing".into()];
    }
    match given.option("show") {
        Some("looked_at") => vec![format!("{} looked at", recalled.activated)],
        None => vec![recalled.hits.iter().map(id).collect::<Vec<_>>().join(" ")],
        Some("activation") => {
            recalled.hits.iter().map(|hit| format!("{} {:.3}", id(hit), hit.parts.activation)).collect()
        }
        Some("concept") => {
            let concept = |hit: &RecalledHit| hit.concept.as_ref().map_or("none".into(), ToString::to_string);
            recalled.hits.iter().map(|hit| format!("{} of {}", id(hit), concept(hit))).collect()
        }
        Some("retrievability") => {
            recalled.hits.iter().map(|hit| format!("{} {:.2}", id(hit), hit.retrievability)).collect()
        }
        Some("confidence") => {
            let line = |hit: &RecalledHit| {
                let objections = hit.objections.iter().map(|o| format!(", {} {}", o.kind, o.memory));
                format!("{} {:.3}{}", id(hit), hit.confidence, objections.collect::<String>())
            };
            recalled.hits.iter().map(line).collect()
        }
        Some("paths") => {
            let lines = |hit: &RecalledHit| {
                let (first, rest) = hit.paths.split_at(hit.paths.len().min(PATHS_SHOWN));
                let other: f32 = rest.iter().map(|path| path.share).sum();
                let head = format!("{} {:.3}", id(hit), hit.parts.activation);
                let tail = (!rest.is_empty()).then(|| format!("  {other:.3} by other ways"));
                std::iter::once(head).chain(first.iter().map(path)).chain(tail).collect::<Vec<_>>()
            };
            recalled.hits.iter().flat_map(lines).collect()
        }
        Some(other) => panic!("show={other} is not known"),
    }
}

/// `  0.125 a -next-> b -entity:bath-> c`
fn path(path: &RecalledPath) -> String {
    let steps = path.steps.iter().map(|step| match &step.via {
        None => step.memory.to_string(),
        Some(via) => format!("-{via}-> {}", step.memory),
    });
    format!("  {:.3} {}", path.share, steps.collect::<Vec<_>>().join(" "))
}

/// Every field of a memory that is not empty, but for when it was stored.
fn described(memory: &engram::Memory) -> String {
    let mut parts = vec![memory.id.to_string()];
    parts.extend(memory.content.as_ref().map(|content| format!("{content:?}")));
    parts.extend(memory.embedding.as_ref().map(|vector| format!("vector={vector:?}")));
    parts.push(format!("at={}", format_rfc3339(memory.occurred_at)));
    parts.extend(memory.context.as_ref().map(|context| format!("context={context}")));
    parts.extend(memory.entities.iter().map(|name| format!("entity={name}")));
    parts.extend(memory.links.iter().map(|link| format!("link={}:{}:{}", link.to, link.kind, link.weight)));
    parts.extend((memory.confidence != 1.0).then(|| format!("confidence={}", memory.confidence)));
    parts.extend(memory.metadata.iter().map(|(key, value)| format!("metadata.{key}={value}")));
    parts.extend((memory.kind == MemoryKind::Concept).then(|| "kind=concept".to_string()));
    parts.extend(memory.expires_at.map(|at| format!("expires={}", format_rfc3339(at))));
    parts.join(" ")
}

/// The lines that only one of the two has.
fn difference(before: &[String], after: &[String]) -> Vec<String> {
    let gone = before.iter().filter(|line| !after.contains(line)).map(|line| format!("- {line}"));
    let new = after.iter().filter(|line| !before.contains(line)).map(|line| format!("+ {line}"));
    let lines: Vec<String> = gone.chain(new).collect();
    if lines.is_empty() { vec!["nothing".into()] } else { lines }
}

fn join<'a>(ids: impl IntoIterator<Item = &'a MemoryId>) -> String {
    let ids: Vec<&str> = ids.into_iter().map(MemoryId::as_str).collect();
    if ids.is_empty() { "nothing".into() } else { ids.join(" ") }
}

fn kind(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::Invalid => "invalid",
        ErrorKind::NotFound => "not found",
        ErrorKind::Conflict => "conflict",
        ErrorKind::Closed => "closed",
        other => panic!("a script met an error of kind {other:?}: {error}"),
    }
}

fn number(text: &str) -> f32 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is not a number"))
}

fn vector(text: &str) -> Vec<f32> {
    text.split(',').map(number).collect()
}

/// A date alone means its midnight in UTC.
fn time(text: &str) -> Timestamp {
    let full = if text.contains('T') { text.to_string() } else { format!("{text}T00:00:00Z") };
    parse_rfc3339(&full).unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

fn micros(text: &str) -> i64 {
    let (count, unit) = text.split_at(text.len() - 1);
    let seconds = match unit {
        "d" => 86_400,
        "h" => 3_600,
        "m" => 60,
        "s" => 1,
        _ => panic!("{text:?} has no unit of time"),
    };
    count.parse::<i64>().unwrap() * seconds * 1_000_000
}
