//! Settings that make distances faster and change no answer.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use engram::config::{Config, Machine};
use engram::{
    Cue, Engine, MemoryId, NewMemory, Options, Paging, RecallOptions, Simd, SpaceName, StoreOptions, simd,
};
use std::path::Path;

/// What this configuration makes of an engine's options.
fn options(folder: &Path, text: &str) -> Options {
    let file = folder.join("engram.toml");
    std::fs::write(&file, text).unwrap();
    let loaded = Config::load(Some(&file), std::iter::empty(), Machine::detect()).unwrap();
    let data_dir = tempfile::tempdir_in(folder).unwrap().keep();
    Options { data_dir, background_threads: 0, ..Options::from_config(&loaded.config().unwrap()).unwrap() }
}

#[test]
fn instructions_batches_and_huge_pages_change_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        ("[activation]\nsimd_enabled = false", Simd::Scalar, Paging::Ordinary, 12),
        ("[activation]\navx_version = \"avx2\"\nprefetch_distance = 0", Simd::Avx2, Paging::Ordinary, 0),
        (
            "[activation]\navx_version = \"avx512\"\nprefetch_distance = 64",
            Simd::Avx512,
            Paging::Ordinary,
            64,
        ),
        (
            "[activation]\nsimd_batch_size = 1\n[storage]\nuse_huge_pages = true",
            Simd::Avx512,
            Paging::Huge,
            12,
        ),
        ("[activation]\nsimd_batch_size = 64", Simd::Avx512, Paging::Ordinary, 12),
    ];
    let batches = [None, None, None, Some(1), Some(64)];
    let mut answers = Vec::new();
    for ((text, at_most, paging, prefetch_distance), batch) in settings.into_iter().zip(batches) {
        // So narrow that the graph is walked, not scanned.
        let options = options(folder.path(), &format!("{text}\n[hnsw_index]\nef_search = 12"));
        assert!(batch.is_none_or(|batch| options.tuning.batch == batch), "{text}");
        assert_eq!((options.tuning.paging, options.tuning.prefetch_distance), (paging, prefetch_distance));
        let engine = Engine::open(options).unwrap();
        assert_eq!(simd(), at_most.min(Simd::best()), "{text}");
        let space = engine.space_or_new(&SpaceName::new("tuned").unwrap()).unwrap();
        let mut random = fastrand::Rng::with_seed(7);
        let mut vector = || (0..160).map(|_| random.f32() - 0.5).collect::<Vec<f32>>();
        for at in 0..300 {
            let id = Some(MemoryId::new(&format!("m{at}")).unwrap());
            let memory = NewMemory { id, embedding: Some(vector()), ..NewMemory::default() };
            space.store(vec![memory], &StoreOptions::default()).unwrap();
        }
        engine.work_off();
        let cue = Cue { embedding: Some(vector()), ..Cue::default() };
        let reply = space.recall(&cue, &RecallOptions::at(engine.now())).unwrap();
        let ids: Vec<String> = reply.hits.iter().map(|hit| hit.memory.id.to_string()).collect();
        answers.push(ids);
        engine.close().unwrap();
    }
    assert!(answers[0].len() == 10 && answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

#[test]
fn the_result_pool_is_as_the_configuration_says() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path(), "[performance]\nresult_pool_size = 3\nresult_pool_capacity = 77");
    assert_eq!((options.result_pool_size, options.result_pool_capacity), (3, 77));
}
