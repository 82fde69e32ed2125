//! `engram recall`: one cue, shown for people or as JSON, or a file of cues, answered by lines.

use crate::args::{InSpace, Target, embedding, filter, memory_id, time};
use crate::backend::{Backend, Folder};
use crate::fault::{Fault, Result, failed, usage};
use crate::files::{Draft, Lines, json_of_line};
use crate::npy::Rows;
use crate::screen::{Screen, counted, faint, grouped, note, progress};
use crate::tree::{Contents, Detail, contents_on_paths, hit_lines, why_lines};
use clap::Args;
use engram::clock::Stopwatch;
use engram::limits::{LIMIT_DEFAULT, LIMIT_MAX};
use engram_server::Problem;
use engram_server::api::{CueIn, CueLine, FilterIn, RankedLine, RecallOut, Time};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Cues that are read before they are answered, so that memory stays bounded and the order is kept.
const CUES_PER_ROUND: usize = 512;
/// Cues that a server is asked for at once; fewer where they want many hits, so that its reply stays small.
const CUES_PER_REQUEST: usize = 32;
/// Paths that are drawn under a hit.
const PATHS_SHOWN_MAX: usize = 4;

/// Recall by words, vectors and memories
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  engram recall --space diary \"where did Ada go?\"
  engram recall --space diary \"rain\" --explain
  engram recall --space diary --id d1 --limit 3
  engram recall --space diary \"rain\" \\
    --filter '{\"must\": [{\"field\": \"context\", \"equals\": \"trip\"}]}'
  engram recall --space diary --cues cues.jsonl --embeddings cues.npy \\
    --limit 20 --output ranked.jsonl

A cue is a line {\"id\": \"q1\", \"text\": \"...\"}, also with embedding, ids, filter,
now and as_of. An answer is a line {\"id\": \"q1\", \"ranked\": [\"d2\", ...],
\"relevance\": [0.93, ...], \"abstain\": false}.")]
pub(crate) struct Recall {
    #[command(flatten)]
    space: InSpace,
    /// What to recall
    text: Option<String>,
    /// Memory that is in mind already; may be repeated
    #[arg(long, value_name = "ID", value_parser = memory_id)]
    id: Vec<String>,
    /// Vector of the cue: JSON, or a .json or .npy file
    #[arg(long, value_name = "JSON|FILE")]
    embedding: Option<String>,
    /// Hits wanted, 1 to 1000 [default: 10]
    #[arg(long, short = 'n')]
    limit: Option<usize>,
    /// Only memories that pass: JSON or a file
    #[arg(long, value_name = "JSON|FILE", value_parser = filter)]
    filter: Option<FilterIn>,
    /// The present, as RFC 3339
    #[arg(long, value_name = "TIME", value_parser = time)]
    now: Option<Time>,
    /// Only what was stored, and not superseded, by then
    #[arg(long, value_name = "TIME", value_parser = time)]
    as_of: Option<Time>,
    /// Leave out hits of less relevance, 0 to 1
    #[arg(long, value_name = "0..1")]
    min_relevance: Option<f32>,
    /// Associations that spreading may visit; 0: no spreading
    #[arg(long, value_name = "COUNT")]
    budget: Option<usize>,
    /// Compare with every vector instead of asking the index
    #[arg(long)]
    exact: bool,
    /// Look at concepts first, and only at what the best of them stand for: ranks fewer memories, and finds less
    #[arg(long)]
    through_concepts: bool,
    /// Show under each hit what made its score, and the ways that activation took to it
    #[arg(long)]
    explain: bool,
    /// The hits were of use, which strengthens them; otherwise they are counted as shown, and in bulk not even that
    #[arg(long)]
    reinforce: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    bulk: Bulk,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Many cues at once")]
struct Bulk {
    /// File with a cue a line; - for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["text", "id", "embedding", "explain", "json"])]
    cues: Option<PathBuf>,
    /// Row i is the vector of cue i: float32 or float16
    #[arg(long, value_name = "FILE.npy", requires = "cues")]
    embeddings: Option<PathBuf>,
    /// Where the answers go, a line for each cue; standard output where none is given
    #[arg(long, short, value_name = "FILE", requires = "cues")]
    output: Option<PathBuf>,
    /// Cues that are answered at the same time [default: the cores of this machine]
    #[arg(long, value_name = "COUNT", requires = "cues", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
}

impl Recall {
    pub(crate) fn run(self, screen: &mut Screen) -> Result<()> {
        if let Some(cues) = &self.bulk.cues {
            // What is wrong with the files is said before a server is asked for.
            let source = CueSource::open(cues, self.bulk.embeddings.as_deref())?;
            let backend = Backend::open(&self.target, Folder::MustExist)?;
            return backend.with(|backend| self.recall_many(backend, source, screen));
        }
        let cue = self.cue()?;
        let backend = Backend::open(&self.target, Folder::MustExist)?;
        backend.with(|backend| {
            let recalled = backend.recall(&self.space.space, cue)?;
            if self.json {
                return screen.json(&recalled);
            }
            let contents = match self.explain {
                true => contents_on_paths(
                    backend,
                    &self.space.space,
                    &recalled.hits,
                    Detail::Full,
                    PATHS_SHOWN_MAX,
                )?,
                false => Contents::new(),
            };
            show(screen, &recalled, &contents)
        })
    }

    fn cue(&self) -> Result<CueIn> {
        if self.text.is_none() && self.embedding.is_none() && self.id.is_empty() {
            return usage("what shall be recalled? Give a text, --id, --embedding, or --cues for many");
        }
        Ok(CueIn {
            text: self.text.clone(),
            embedding: self.embedding.as_deref().map(embedding).transpose()?,
            ids: (!self.id.is_empty()).then(|| self.id.clone()),
            explain: self.explain.then_some(true),
            ..self.options()
        })
    }

    /// What is asked for beside the cue itself.
    fn options(&self) -> CueIn {
        CueIn {
            limit: self.limit,
            filter: self.filter.clone(),
            now: self.now,
            as_of: self.as_of,
            min_relevance: self.min_relevance,
            budget: self.budget,
            exact: self.exact.then_some(true),
            through_concepts: self.through_concepts.then_some(true),
            reinforce: if self.bulk.cues.is_some() {
                Some(self.reinforce)
            } else {
                self.reinforce.then_some(true)
            },
            ..CueIn::default()
        }
    }

    fn recall_many(&self, backend: &Backend, mut source: CueSource, screen: &mut Screen) -> Result<()> {
        let watch = Stopwatch::start();
        let bar = progress("recalling", "cues", source.count);
        let draft = self.bulk.output.as_deref().map(Draft::new).transpose()?;
        let mut file = draft.as_ref().map(Draft::file).transpose()?.map(BufWriter::new);
        let mut total = 0;
        loop {
            let round = source.read(CUES_PER_ROUND, &self.options())?;
            if round.is_empty() {
                break;
            }
            for line in self.answer(backend, &round, || bar.inc(1))? {
                let mut json = serde_json::to_vec(&line).expect("wire types have text keys only");
                json.push(b'\n');
                match (&draft, &mut file) {
                    (Some(draft), Some(file)) => {
                        file.write_all(&json).map_err(|error| draft.fault(&error))?
                    }
                    _ => screen.bytes(&json)?,
                }
                total += 1;
            }
        }
        if let (Some(draft), Some(file)) = (draft, file) {
            let file = file.into_inner().map_err(|error| draft.fault(error.error()))?;
            draft.publish(&file)?;
        }
        bar.finish_and_clear();
        note(format_args!("{} in {:.1} s", counted(total, "cue", "cues"), watch.elapsed().as_secs_f64()));
        Ok(())
    }

    /// The answers to a round of cues, in their order.
    fn answer(
        &self,
        backend: &Backend,
        round: &[PlacedCue],
        tick: impl Fn() + Sync,
    ) -> Result<Vec<RankedLine>> {
        let threads = self
            .bulk
            .threads
            .map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
        let chunks: Vec<&[PlacedCue]> = round.chunks(self.cues_per_request(backend)).collect();
        let next = AtomicUsize::new(0);
        let answers: Mutex<Vec<(usize, Result<Vec<RankedLine>>)>> = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..threads.min(chunks.len()) {
                scope.spawn(|| {
                    while let Some((i, chunk)) =
                        Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, chunks.get(i)?)))
                    {
                        let lines = self.answer_chunk(backend, chunk, &tick);
                        if lines.is_err() {
                            // Nobody needs the rest.
                            next.store(chunks.len(), Ordering::Relaxed);
                        }
                        answers.lock().expect("no thread panics while it holds the answers").push((i, lines));
                    }
                });
            }
        });
        let mut answers = answers.into_inner().expect("no thread panics while it holds the answers");
        answers.sort_by_key(|(i, _)| *i);
        let lines: Vec<Vec<RankedLine>> =
            answers.into_iter().map(|(_, lines)| lines).collect::<Result<_>>()?;
        Ok(lines.into_iter().flatten().collect())
    }

    /// A server is asked for several at once, which costs it and us less.
    fn cues_per_request(&self, backend: &Backend) -> usize {
        match backend {
            Backend::Local(_) => 1,
            Backend::Remote(_) => {
                let hits = self.limit.unwrap_or(LIMIT_DEFAULT).max(1);
                CUES_PER_REQUEST.min(LIMIT_MAX / hits).max(1)
            }
        }
    }

    fn answer_chunk(
        &self,
        backend: &Backend,
        chunk: &[PlacedCue],
        tick: &(impl Fn() + Sync),
    ) -> Result<Vec<RankedLine>> {
        let space = &self.space.space;
        let line = |cue: &PlacedCue, recalled: &RecallOut| {
            tick();
            RankedLine::new(cue.id.clone(), recalled)
        };
        if let Backend::Remote(remote) = backend
            && chunk.len() > 1
        {
            match remote.recall_many(space, chunk.iter().map(|cue| cue.cue.clone()).collect()) {
                Ok(replies) => {
                    return Ok(chunk.iter().zip(&replies).map(|(cue, reply)| line(cue, reply)).collect());
                }
                // One by one, to see which it is, or because they are too large together.
                Err(Fault::Refused(Problem::Invalid | Problem::NotFound | Problem::TooLarge, _)) => {}
                // A server that is busy or failed is not asked even more.
                Err(fault) => return Err(fault),
            }
        }
        let alone = |cue: &PlacedCue| match backend.recall(space, cue.cue.clone()) {
            Ok(recalled) => Ok(line(cue, &recalled)),
            Err(fault) => Err(fault.at(&cue.place)),
        };
        chunk.iter().map(alone).collect()
    }
}

/// A cue and where it stands.
pub(crate) struct PlacedCue {
    pub(crate) place: String,
    pub(crate) id: String,
    pub(crate) cue: CueIn,
}

/// Cues of a file, with vectors of another.
pub(crate) struct CueSource {
    lines: Lines,
    rows: Option<Rows>,
    count: Option<u64>,
    taken: u64,
}

impl CueSource {
    pub(crate) fn open(cues: &Path, embeddings: Option<&Path>) -> Result<Self> {
        let rows = embeddings.map(Rows::open).transpose()?;
        let count = Lines::count(cues, |_| ())?;
        if let (Some(rows), Some(count)) = (&rows, count)
            && rows.count != count
        {
            return failed(format!(
                "{} has {} cues and the file of embeddings {} rows; row i must be the vector of cue i",
                cues.display(),
                grouped(count),
                grouped(rows.count)
            ));
        }
        Ok(Self { lines: Lines::open(cues)?, rows, count, taken: 0 })
    }

    /// At most so many cues, with `options` where a cue does not say otherwise.
    pub(crate) fn read(&mut self, cues_max: usize, options: &CueIn) -> Result<Vec<PlacedCue>> {
        let mut round = Vec::new();
        let mut line = Vec::new();
        while round.len() < cues_max {
            let Some(number) = self.lines.next(&mut line)? else { break };
            let place = self.lines.place(number);
            let read: CueLine = json_of_line(&line).map_err(|fault| fault.at(&place))?;
            if read.id.is_empty() {
                return Err(
                    Fault::Failed("the cue has no id; its answer could not be told apart".into()).at(place)
                );
            }
            let (id, mut cue) = read.into_cue();
            self.taken += 1;
            if let Some(rows) = &mut self.rows {
                if self.taken > rows.count {
                    return Err(Fault::Failed(format!(
                        "the file of embeddings has only {} rows",
                        rows.count
                    ))
                    .at(place));
                }
                if let Some(row) = rows.next()? {
                    if cue.embedding.is_some() {
                        return Err(Fault::Failed(
                            "has an embedding, and the .npy file has one for it too".into(),
                        )
                        .at(place));
                    }
                    cue.embedding = Some(row);
                }
            }
            cue.limit = options.limit;
            cue.min_relevance = options.min_relevance;
            cue.budget = options.budget;
            cue.exact = options.exact;
            cue.through_concepts = options.through_concepts;
            cue.reinforce = options.reinforce;
            cue.filter = cue.filter.or_else(|| options.filter.clone());
            cue.now = cue.now.or(options.now);
            cue.as_of = cue.as_of.or(options.as_of);
            round.push(PlacedCue { place, id, cue });
        }
        Ok(round)
    }
}

fn show(screen: &mut Screen, recalled: &RecallOut, contents: &Contents) -> Result<()> {
    if recalled.hits.is_empty() {
        screen.line("nothing found")?;
    } else if recalled.abstain {
        screen.line(faint().apply_to("Probably nothing here is what you are after. The nearest:"))?;
    }
    for (i, hit) in recalled.hits.iter().enumerate() {
        let lines = hit_lines(i + 1, hit, Detail::Full, screen.columns());
        for line in
            lines.into_iter().chain(why_lines(hit, contents, Detail::Full, PATHS_SHOWN_MAX, screen.columns()))
        {
            screen.line(line)?;
        }
    }
    let mut foot = format!(
        "{} of {} activated, {:.1} ms",
        counted(recalled.hits.len() as u64, "hit", "hits"),
        grouped(recalled.activated as u64),
        recalled.took_ms
    );
    if recalled.truncated {
        foot.push_str("; something may have been left out");
    }
    screen.line(faint().apply_to(foot))
}
