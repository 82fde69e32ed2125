//! A recall allocates nothing once its working memory has grown: neither to find and score candidates, nor to spread, nor to
//! rank. What a hit itself holds beyond numbers (paths, duplicates, objections) is made for it, and absent here.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use engram_core::Slot;
use engram_core::associate::Analysis;
use engram_core::cue::{Answer, Condition, Cue, Field, Filter, Operand, RecallOptions, Test};
use engram_core::hnsw::{self, HnswParams};
use engram_core::id::{MemoryId, Timestamp};
use engram_core::memory::{Link, NewMemory};
use engram_core::recall::{Scratch, recall_into};
use engram_core::state::{Change, Embedder, Growing, SpaceSettings, SpaceState};

const MEMORIES: usize = 300;
/// In every memory: together they have more holders than a recall looks up.
const COMMON: [&str; 32] = [
    "amber", "basil", "cedar", "delta", "ember", "fjord", "grove", "hazel", "iris", "jade", "kelp", "lotus",
    "maple", "nectar", "olive", "pearl", "quartz", "raven", "sage", "thorn", "umber", "violet", "willow",
    "yarrow", "zinc", "birch", "coral", "dune", "elm", "fern", "heron", "linen",
];
const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

fn id(at: usize) -> MemoryId {
    MemoryId::new(&format!("m{at}")).unwrap()
}

fn vector(rng: &mut fastrand::Rng) -> Vec<f32> {
    (0..16).map(|_| rng.f32() - 0.5).collect()
}

/// Memories in contexts and alone, with names, links, speakers, times and vectors, each with a text of its own.
fn state(embedder: Embedder) -> SpaceState {
    let words =
        ["river", "garden", "train", "bread", "winter", "letter", "music", "window", "doctor", "market"];
    let mut rng = fastrand::Rng::with_seed(3);
    // So few that the graph is walked, not all vectors compared.
    let mut state = SpaceState::new(HnswParams { ef_search: 8, ..HnswParams::default() });
    let settings = SpaceSettings { embedder: Some(embedder), ..SpaceSettings::default() };
    state.apply(1, Change::Settings(settings), None);
    let mut scratch = hnsw::Scratch::new();
    for at in 0..MEMORIES {
        let said: Vec<&str> = (0..6).map(|_| words[rng.usize(..words.len())]).collect();
        let (slot, version) = (at as Slot, 2 + at as u64);
        let memory = NewMemory {
            content: Some(format!(
                "Anna: we saw Berta {at} and Zoe{} by the {}, {}",
                at / 30,
                said.join(" and "),
                COMMON.join(" ")
            )),
            context: (at % 3 > 0).then(|| format!("c{}", at / 20)),
            occurred_at: Some(Timestamp(NOW.0 - at as i64 * 3_600_000_000)),
            links: (at > 9)
                .then(|| vec![Link { to: id(rng.usize(..at)), kind: "after".into(), weight: 0.5 }]),
            embedding: matches!(embedder, Embedder::Caller { .. }).then(|| vector(&mut rng)),
            ..NewMemory::default()
        };
        let memory = memory.complete(id(at), NOW);
        let analysis = Analysis::of(&memory, &settings);
        state.apply(version, Change::Stored(Box::new(memory)), Some(&analysis));
        if let Some(vectors) = state.vectors().filter(|vectors| vectors.get(slot).is_some()) {
            let plan =
                state.index().prepare(vectors, slot, state.index().level_for(version), &[], &mut scratch);
            state.commit_index(Growing::Serving, slot, version, plan);
        }
    }
    state
}

fn cues(embedder: Embedder) -> Vec<Cue> {
    let mut rng = fastrand::Rng::with_seed(4);
    let texts = [
        "When did Anna see the river by the garden?",
        "What did Berta write of winter in Zoe7's letter last week?",
        "what happened in November 2023",
        "Überall Musik: the doctor's market",
    ];
    let common = COMMON.join(" ");
    let by_text = texts.into_iter().chain([common.as_str()]).map(Cue::text);
    let by_id = Cue { ids: vec![id(5), id(77)], ..Cue::default() };
    let mut cues: Vec<Cue> = by_text.chain([by_id]).collect();
    if matches!(embedder, Embedder::Caller { .. }) {
        cues.iter_mut().take(3).for_each(|cue| cue.embedding = Some(vector(&mut rng)));
        cues.push(Cue { embedding: Some(vector(&mut rng)), ..Cue::default() });
    }
    cues
}

#[test]
fn a_recall_that_is_warm_allocates_nothing() {
    let context = Operand::Json("c3".into());
    let condition = Condition { field: Field::Context, test: Test::Equals(context) };
    let filter = Filter { must_not: vec![condition], ..Filter::default() };
    for embedder in [Embedder::Caller { dimensions: 16 }, Embedder::BUILTIN, Embedder::None] {
        let (state, cues) = (state(embedder), cues(embedder));
        let plain = RecallOptions::at(NOW);
        let options = [
            plain.clone(),
            RecallOptions { limit: 100, ..plain.clone() },
            RecallOptions { filter: filter.clone(), as_of: Some(NOW), ..plain.clone() },
            RecallOptions { exact: true, ..plain },
        ];
        let (mut scratch, mut answer) = (Scratch::default(), Answer::default());
        for warm in [false, false, true] {
            for (cue, options) in
                cues.iter().flat_map(|cue| options.iter().map(move |options| (cue, options)))
            {
                let info = allocation_counter::measure(|| {
                    recall_into(&state, cue, options, &mut scratch, &mut answer).unwrap();
                });
                assert!(!answer.hits.is_empty(), "{cue:?}");
                assert!(!warm || info.count_total == 0, "{embedder:?}, {cue:?}, {options:?}: {info:?}");
            }
        }
    }
}

#[test]
fn room_that_was_made_before_is_not_made_by_the_first_recall() {
    let state = state(Embedder::None);
    let cue = Cue::text("When did Anna see the river by the garden?");
    let allocated = |mut scratch: Scratch| {
        let mut answer = Answer::default();
        let recall =
            || recall_into(&state, &cue, &RecallOptions::at(NOW), &mut scratch, &mut answer).unwrap();
        allocation_counter::measure(recall).count_total
    };
    let (with_room, without) = (allocated(Scratch::with_capacity(MEMORIES)), allocated(Scratch::default()));
    assert!(with_room < without, "{with_room} and {without}");
}
