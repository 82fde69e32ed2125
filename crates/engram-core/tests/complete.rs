//! Completion of vectors through the public API: noise that is undone, clusters that share a fixed point, and how sure
//! it says it is. What it does with words and fields is in `tests/scripts/completion.txt`.

#![expect(clippy::unwrap_used, reason = "a helper of a test may panic like the test itself")]

use engram_core::associate::Analysis;
use engram_core::complete::sweep::{Corruption, Patterns};
use engram_core::complete::{
    BETA_DEFAULT, Blank, CompleteOptions, Completed, CompletedValue, Pattern, complete,
};
use engram_core::hnsw::HnswParams;
use engram_core::id::{MemoryId, Timestamp};
use engram_core::memory::NewMemory;
use engram_core::state::{Change, Embedder, SpaceSettings, SpaceState};

#[test]
fn noise_in_a_third_of_the_numbers_is_undone() {
    let mut patterns = Patterns::new(1000, 256, 1);
    for corruption in [Corruption::Unknown, Corruption::Flipped, Corruption::Redrawn] {
        let recovery = patterns.sweep(corruption, 0.3, 200, BETA_DEFAULT).unwrap();
        assert!(recovery.recovered >= 198, "{corruption:?}: {recovery:?}");
        assert!(recovery.confidence > 0.8, "{corruption:?}: {recovery:?}");
    }
    // Half of the signs wrong leaves nothing of a pattern: what comes out is wrong, and says so.
    let recovery = patterns.sweep(Corruption::Flipped, 0.5, 100, BETA_DEFAULT).unwrap();
    assert!(recovery.recovered <= 1 && recovery.confidence < 0.2, "{recovery:?}");
    // Too low a beta settles between patterns.
    let recovery = patterns.sweep(Corruption::Unknown, 0.3, 20, 4.0).unwrap();
    assert_eq!(recovery.recovered, 0);
}

fn stored(rows: &[Vec<f32>]) -> SpaceState {
    let dimensions = rows[0].len();
    let settings =
        SpaceSettings { embedder: Some(Embedder::Caller { dimensions }), ..SpaceSettings::default() };
    let mut state = SpaceState::new(HnswParams::default());
    state.apply(1, Change::Settings(settings), None);
    for (at, row) in rows.iter().enumerate() {
        let memory = NewMemory { embedding: Some(row.clone()), ..NewMemory::default() };
        let memory = memory.complete(MemoryId::new(&format!("m{at}")).unwrap(), Timestamp(0));
        let analysis = Analysis::of(&memory, &settings);
        state.apply(2 + at as u64, Change::Stored(Box::new(memory)), Some(&analysis));
    }
    state
}

fn settled(state: &SpaceState, numbers: Vec<Option<f32>>, beta: f32) -> (Vec<f32>, Completed) {
    let pattern = Pattern { embedding: Blank::Given(numbers), ..Pattern::default() };
    let options = CompleteOptions { beta, ..CompleteOptions::at(Timestamp(0)) };
    let vector = complete(state, &pattern, &options).unwrap().completed.remove(0);
    let CompletedValue::Numbers(numbers) = vector.value.clone() else { panic!("{vector:?}") };
    (numbers, vector)
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn a_middle_beta_settles_in_the_middle_of_a_cluster() {
    let mut random = fastrand::Rng::with_seed(11);
    let mut row = |around: &[f32], spread: f32| -> Vec<f32> {
        around.iter().map(|x| x + spread * (random.f32() * 2.0 - 1.0)).collect()
    };
    let center = row(&[0.0; 128], 1.0);
    let mut rows: Vec<Vec<f32>> = (0..20).map(|_| row(&center, 0.8)).collect();
    rows.extend((0..500).map(|_| row(&[0.0; 128], 1.0)));
    let state = stored(&rows);
    let mut mean = vec![0.0; 128];
    rows[..20].iter().for_each(|row| mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += x / 20.0));
    let mut cue: Vec<Option<f32>> = rows[3].iter().copied().map(Some).collect();
    cue.iter_mut().step_by(3).for_each(|number| *number = None);

    let (numbers, vector) = settled(&state, cue.clone(), 12.0);
    assert!(cosine(&numbers, &mean) > 0.99, "{}", cosine(&numbers, &mean));
    assert!(!vector.given && vector.sources.len() == 10, "{:?}", vector.sources);
    assert!(vector.sources.iter().all(|&slot| slot < 20), "{:?}", vector.sources);
    // Of its own length, not of length 1.
    let length = |row: &[f32]| row.iter().map(|x| x * x).sum::<f32>().sqrt();
    assert!((length(&numbers) / length(&rows[3]) - 1.0).abs() < 0.1);

    let (numbers, vector) = settled(&state, cue.clone(), BETA_DEFAULT);
    assert_eq!((numbers, vector.sources), (rows[3].clone(), vec![3]));
    // And near 0 nothing is nearer than anything else.
    let (numbers, _) = settled(&state, cue, 0.01);
    assert!(cosine(&numbers, &mean) < 0.9);
}

#[test]
fn copies_of_a_vector_share_its_fixed_point() {
    let mut rows: Vec<Vec<f32>> =
        (0..8).map(|at| (0..8).map(|i| f32::from(u8::from(i == at))).collect()).collect();
    // The same direction, of another length.
    rows.push(rows[2].iter().map(|x| x * 4.0).collect());
    let state = stored(&rows);
    let cue = |third: f32| (0..8).map(|i| Some(if i == 2 { third } else { 0.1 })).collect::<Vec<_>>();
    let (numbers, vector) = settled(&state, cue(1.0), BETA_DEFAULT);
    assert_eq!((numbers, vector.sources, vector.given), (rows[2].clone(), vec![2, 8], false));
    assert!(vector.confidence > 0.9, "{}", vector.confidence);
    // What needs no change stays as it was given.
    let exact: Vec<Option<f32>> = rows[2].iter().map(|x| Some(x * 7.0)).collect();
    let (numbers, vector) = settled(&state, exact, BETA_DEFAULT);
    assert!(vector.given && numbers[2] == 7.0 && vector.confidence == 1.0, "{vector:?}");
}

#[test]
fn bad_vectors_are_refused() {
    let state = stored(&[vec![1.0, 0.0]]);
    let ask = |numbers: Vec<Option<f32>>| {
        let pattern = Pattern { embedding: Blank::Given(numbers), ..Pattern::default() };
        complete(&state, &pattern, &CompleteOptions::at(Timestamp(0))).unwrap_err().to_string()
    };
    assert!(ask(vec![Some(f32::NAN), None]).contains("embedding[0] is NaN"));
    assert!(ask(vec![Some(f32::INFINITY), None]).contains("embedding[0] is inf"));
    assert!(ask(vec![]).contains("has 0 numbers"));
    assert!(ask(vec![None; 4097]).contains("has 4097 numbers"));
    let beta = CompleteOptions { beta: f32::NAN, ..CompleteOptions::at(Timestamp(0)) };
    assert!(complete(&state, &Pattern::default(), &beta).unwrap_err().to_string().contains("beta is NaN"));
}
