//! Whether the server takes traffic, and the warm-up that it does before. Not ready until the largest spaces are open and
//! warm; once ready, only a drain ends it. A warm-up that is slow is logged and tried again, and kills nothing.

use engram::clock::Stopwatch;
use engram::{Cue, Engine, Memory, RecallOptions, Space, Tier};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The mean recall of a warm-up shall be under this.
const RECALL_MEAN_MAX: Duration = Duration::from_millis(5);
/// The share of fetches served hot that makes a server ready for the first time.
const HIT_RATE_MIN: f64 = 0.7;
/// Time that one run of the warm-up spends on recalls: what is warm by then is what a restart should wait for.
const PRIMING_MAX: Duration = Duration::from_millis(300);
/// Runs of the warm-up before slow recalls are accepted as they are. Whoever is served hot too seldom then pauses between runs.
const RUNS_MAX: usize = 20;
/// Such a pause.
const PAUSE: Duration = Duration::from_secs(1);
/// Spaces that are opened before the server is ready, the largest ones: small ones open when they are asked for.
const SPACES_MAX: usize = 64;

/// Ready, or why not.
#[derive(Debug)]
pub(crate) struct Health {
    state: Mutex<State>,
    drained: Condvar,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Starting(String),
    Ready,
    Draining,
}

impl Health {
    pub(crate) fn starting() -> Self {
        let state = Mutex::new(State::Starting("the server is starting".into()));
        Health { state, drained: Condvar::new() }
    }

    /// Why the server takes no traffic; `None` when it does.
    pub(crate) fn reason(&self) -> Option<String> {
        match &*self.state() {
            State::Starting(reason) => Some(reason.clone()),
            State::Ready => None,
            State::Draining => {
                Some("the server is draining: it answers what it has received, and stops".into())
            }
        }
    }

    pub(crate) fn drain(&self) {
        *self.state() = State::Draining;
        self.drained.notify_all();
    }

    /// Waits for so long, or until a drain.
    fn pause(&self, time: Duration) {
        let state = self.state();
        let wait = self.drained.wait_timeout_while(state, time, |state| *state != State::Draining);
        drop(wait.unwrap_or_else(PoisonError::into_inner));
    }

    fn is_draining(&self) -> bool {
        *self.state() == State::Draining
    }

    /// A drain that came first stays.
    fn say(&self, state: State) {
        let mut own = self.state();
        if *own != State::Draining {
            *own = state;
        }
    }

    /// Nothing that holds the lock can panic half way, so a poisoned state is a good one.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the largest spaces, recalls by `patterns` of their memories, and says ready. Blocks; ends early at a drain.
pub(crate) fn warm_up(engine: &Engine, health: &Health, patterns: usize) {
    let watch = Stopwatch::start();
    let spaces = match open_spaces(engine, health) {
        Ok(spaces) => spaces,
        Err(reason) => return health.say(State::Starting(reason)),
    };
    log_phase("open spaces", watch, spaces.len());
    let watch = Stopwatch::start();
    let cues = choose_cues(&spaces, patterns);
    log_phase("load memories", watch, cues.len());
    health.say(State::Starting(format!("warming up with {} cues", cues.len())));
    recall_until_warm(engine, health, cues, || health.pause(PAUSE));
    health.say(State::Ready);
    if !health.is_draining() {
        tracing::info!(spaces = spaces.len(), "ready");
    }
}

fn open_spaces(engine: &Engine, health: &Health) -> Result<Vec<Arc<Space>>, String> {
    let names = engine.largest_spaces(SPACES_MAX).map_err(|error| {
        tracing::error!(%error, "the spaces cannot be listed");
        format!("the spaces cannot be listed: {error}")
    })?;
    let mut spaces = Vec::new();
    for (at, name) in names.iter().enumerate() {
        health.say(State::Starting(format!("opening space \"{name}\" ({} of {})", at + 1, names.len())));
        match engine.space(name) {
            Ok(space) => spaces.push(space),
            // The others are served all the same; who asks for this one is told what is wrong.
            Err(error) => tracing::error!(space = %name, %error, "a space cannot be opened"),
        }
        if health.is_draining() {
            break;
        }
    }
    Ok(spaces)
}

/// Recalls by the cues until they are served hot, and fast if that is soon; or until a drain.
fn recall_until_warm(
    engine: &Engine,
    health: &Health,
    mut cues: Vec<(Arc<Space>, Memory)>,
    mut pause: impl FnMut(),
) {
    for run in 1.. {
        let watch = Stopwatch::start();
        let warmth = prime(engine, health, &cues);
        // What they found outside memory is brought into it meanwhile; others would only bring more.
        cues.truncate(warmth.recalls.max(1));
        let (rate, mean) = (warmth.hit_rate(), warmth.recall_mean());
        let is_hot = rate >= HIT_RATE_MIN;
        let is_done = is_hot && (mean < RECALL_MEAN_MAX || run >= RUNS_MAX);
        // Ever more rarely, as it may take hours.
        if is_done || run.is_power_of_two() {
            log_phase("prime with cues", watch, warmth.recalls);
        }
        if is_done {
            return;
        }
        let mean_ms = mean.as_secs_f64() * 1000.0;
        health.say(State::Starting(if is_hot {
            format!("a recall of the warm-up takes {mean_ms:.1} ms, above {} ms", RECALL_MEAN_MAX.as_millis())
        } else {
            format!("the cache hit rate of the warm-up is {rate:.2}, below {HIT_RATE_MIN}")
        }));
        if run.is_power_of_two() {
            tracing::warn!(run, rate, mean_ms, "the warm-up was slow, or served hot too seldom, and goes on");
        }
        if run >= RUNS_MAX {
            pause();
        }
    }
}

/// The memories of each space that were fetched most, in equal parts.
fn choose_cues(spaces: &[Arc<Space>], patterns: usize) -> Vec<(Arc<Space>, Memory)> {
    let each = patterns.div_ceil(spaces.len().max(1));
    let hottest =
        |space: &Arc<Space>| space.hottest(each).into_iter().map(|memory| (space.clone(), memory)).collect();
    spaces.iter().flat_map(|space| -> Vec<_> { hottest(space) }).take(patterns).collect()
}

#[derive(Default)]
struct Warmth {
    recalls: usize,
    took: Duration,
    fetched: usize,
    hot: usize,
}

impl Warmth {
    fn hit_rate(&self) -> f64 {
        if self.fetched == 0 { 1.0 } else { self.hot as f64 / self.fetched as f64 }
    }

    fn recall_mean(&self) -> Duration {
        self.took.checked_div(self.recalls as u32).unwrap_or_default()
    }
}

fn prime(engine: &Engine, health: &Health, cues: &[(Arc<Space>, Memory)]) -> Warmth {
    let mut warmth = Warmth::default();
    for (space, memory) in cues {
        if health.is_draining() || warmth.took > PRIMING_MAX {
            break;
        }
        let cue = Cue { text: memory.content.clone(), embedding: memory.embedding.clone(), ids: Vec::new() };
        let watch = Stopwatch::start();
        match space.recall(&cue, &RecallOptions::at(engine.now())) {
            Ok(recalled) => {
                warmth.recalls += 1;
                warmth.took += watch.elapsed();
                warmth.fetched += recalled.hits.len();
                warmth.hot += recalled.hits.iter().filter(|hit| hit.tier == Tier::Hot).count();
            }
            // A space may have been deleted since; the warm-up of the others goes on.
            Err(error) => tracing::warn!(space = %space.name(), %error, "a cue of the warm-up failed"),
        }
    }
    warmth
}

fn log_phase(phase: &str, watch: Stopwatch, count: usize) {
    tracing::info!(
        operation = "warm-up",
        phase,
        count,
        latency_ms = watch.elapsed().as_secs_f64() * 1000.0,
        "warm-up"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use engram::{MemoryId, NewMemory, Options, SpaceName, StoreOptions};

    #[test]
    fn a_server_is_ready_after_its_warm_up_and_never_again_after_a_drain() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::open(Options::new(folder.path())).unwrap();
        for (name, count) in [("a", 3), ("b", 50)] {
            let memory = |at| NewMemory { content: Some(format!("memory {at}")), ..NewMemory::default() };
            let space = engine.space_or_new(&SpaceName::new(name).unwrap()).unwrap();
            space.store((0..count).map(memory).collect(), &StoreOptions::default()).unwrap();
        }
        let spaces = open_spaces(&engine, &Health::starting()).unwrap();
        let cues = choose_cues(&spaces, 20);
        assert!((10..=20).contains(&cues.len()), "{}", cues.len());
        let warmth = prime(&engine, &Health::starting(), &cues);
        assert_eq!((warmth.recalls, warmth.hit_rate()), (cues.len(), 1.0));

        let health = Health::starting();
        assert!(health.reason().unwrap().contains("starting"));
        warm_up(&engine, &health, 20);
        assert_eq!(health.reason(), None);
        health.drain();
        warm_up(&engine, &health, 20);
        assert!(health.reason().unwrap().contains("draining"));
        engine.close().unwrap();
        let late = Health::starting();
        warm_up(&engine, &late, 20);
        assert!(late.reason().unwrap().contains("cannot be listed"));
    }

    /// What is hot makes room for what is not, or is forgotten, long after the last run without a pause.
    #[test]
    fn a_server_that_is_cold_for_long_is_ready_when_it_is_warm_or_drains() {
        let folder = tempfile::tempdir().unwrap();
        let options =
            Options { hot_bytes_max: 1, background_threads: 0, ..Options::new(folder.path().join("data")) };
        let engine = Engine::open(options).unwrap();
        let space = engine.space_or_new(&SpaceName::new("notes").unwrap()).unwrap();
        let store = |id: &str| {
            let (id, content) = (Some(MemoryId::new(id).unwrap()), Some(format!("rain, {id}")));
            let memory = NewMemory { id, content, ..NewMemory::default() };
            space.store(vec![memory], &StoreOptions::default()).unwrap();
        };
        let ids: Vec<String> = (0..9).map(|at| format!("m{at}")).collect();
        ids.iter().for_each(|id| store(id));
        engine.work_off();
        store("hot");
        let cues = choose_cues(std::slice::from_ref(&space), 20);
        assert_eq!(cues.len(), 1);
        let health = Health::starting();
        let mut pauses = 0;
        recall_until_warm(&engine, &health, cues.clone(), || {
            assert!(health.reason().unwrap().contains("the cache hit rate of the warm-up is 0."));
            pauses += 1;
            if pauses == 50 {
                for id in &ids {
                    space.delete(&MemoryId::new(id).unwrap()).unwrap();
                }
            }
        });
        assert_eq!(pauses, 50);

        ids.iter().for_each(|id| store(id));
        engine.work_off();
        store("hotter");
        recall_until_warm(&engine, &health, choose_cues(&[space], 20), || {
            health.drain();
            health.pause(Duration::MAX);
        });
        assert!(health.reason().unwrap().contains("draining"));
    }
}
