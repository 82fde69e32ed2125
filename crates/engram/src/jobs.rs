//! Consolidations in the background: one a space at a time, in as many threads as the options allow, each at work for at
//! most half of the time, so that recalls do not wait for the processor. Closing the engine stops them; what they wrote
//! stays, and the next one goes on. What became of the newest jobs is kept in memory.

use crate::clock::Stopwatch;
use crate::consolidation::Consolidated;
use crate::engine::{Shared, spawn};
use crate::error::{Error, ErrorKind, Result};
use engram_core::id::SpaceName;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Jobs whose end is remembered; the oldest make room.
const ENDED_MAX: usize = 256;
/// Jobs that may wait; more are `Busy`.
const WAITING_MAX: usize = 256;
/// A job never rests longer than this at a time, so that it notices when it shall stop.
const REST_MAX: Duration = Duration::from_millis(100);

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// Others are before it.
    Waiting,
    /// It is being done.
    Running,
    /// It is done.
    Done,
    /// The engine was closed before its end. The next consolidation goes on.
    Stopped,
    /// It went wrong.
    Failed,
}

/// A consolidation in the background.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// The space that it works on.
    pub space: SpaceName,
    /// Whether it writes nothing.
    pub dry_run: bool,
    /// How far it is.
    pub state: JobState,
    /// The same, 0..=1.
    pub progress: f64,
    /// What it came to, once it is done.
    pub result: Option<Consolidated>,
    /// Why it failed.
    pub error: Option<Error>,
}

impl Job {
    fn has_ended(&self) -> bool {
        matches!(self.state, JobState::Done | JobState::Stopped | JobState::Failed)
    }
}

/// The jobs of an engine.
#[derive(Debug, Default)]
pub(crate) struct Consolidations(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// In the order in which they were asked for.
    jobs: VecDeque<Job>,
    at_work: usize,
    threads: Vec<JoinHandle<()>>,
    stopping: bool,
}

impl Inner {
    fn find(&mut self, id: &str) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.id == id)
    }

    /// The next job in line, which begins.
    fn take(&mut self) -> Option<Job> {
        let job = self.jobs.iter_mut().find(|job| job.state == JobState::Waiting)?;
        job.state = JobState::Running;
        Some(job.clone())
    }
}

impl Consolidations {
    /// Puts a job in line and returns its id; that of one which the space has already, where it is the same.
    pub(crate) fn start(&self, shared: &Arc<Shared>, space: &SpaceName, dry_run: bool) -> Result<String> {
        let mut inner = self.0.lock();
        if inner.stopping {
            return Err(Error::new(ErrorKind::Closed, "the engine is closed; open the folder again"));
        }
        if let Some(job) = inner.jobs.iter().find(|job| job.space == *space && !job.has_ended()) {
            if job.dry_run == dry_run {
                return Ok(job.id.clone());
            }
            let message =
                format!("space \"{space}\" is being consolidated by job {}; wait for its end", job.id);
            return Err(Error::new(ErrorKind::Busy, message));
        }
        let unended = inner.jobs.iter().filter(|job| !job.has_ended()).count();
        if unended >= WAITING_MAX {
            let message = format!("{WAITING_MAX} consolidations are waiting already; try again in a moment");
            return Err(Error::new(ErrorKind::Busy, message));
        }
        if inner.jobs.len() - unended >= ENDED_MAX {
            let oldest = inner.jobs.iter().position(Job::has_ended).expect("there are ENDED_MAX of them");
            inner.jobs.remove(oldest);
        }
        let id = shared.new_id().to_string();
        inner.jobs.push_back(Job {
            id: id.clone(),
            space: space.clone(),
            dry_run,
            state: JobState::Waiting,
            progress: 0.0,
            result: None,
            error: None,
        });
        if inner.at_work < shared.options.consolidation_threads {
            inner.threads.retain(|thread| !thread.is_finished());
            let name = format!("engram-concepts-{}", inner.at_work);
            let own = shared.clone();
            inner.threads.push(spawn(name, move || own.consolidations.work(&own))?);
            inner.at_work += 1;
        }
        Ok(id)
    }

    /// What is known of a job.
    pub(crate) fn get(&self, id: &str) -> Option<Job> {
        self.0.lock().find(id).cloned()
    }

    /// Does what waits, on the calling thread, without rest.
    pub(crate) fn work_off(&self, shared: &Arc<Shared>) {
        loop {
            let next = self.0.lock().take();
            let Some(job) = next else { return };
            self.run(shared, &job, || {});
        }
    }

    /// What a thread does until nothing waits.
    fn work(&self, shared: &Arc<Shared>) {
        loop {
            let next = {
                let mut inner = self.0.lock();
                let next = inner.take();
                // Under one lock, so that no job is put in line that this thread does not see and no other begins for.
                inner.at_work -= usize::from(next.is_none());
                next
            };
            let Some(job) = next else { return };
            let mut watch = Stopwatch::start();
            self.run(shared, &job, || {
                std::thread::sleep(watch.elapsed().min(REST_MAX));
                watch = Stopwatch::start();
            });
        }
    }

    fn run(&self, shared: &Arc<Shared>, job: &Job, mut rest: impl FnMut()) {
        let mut unwound = Unwound { jobs: self, id: &job.id, armed: true };
        let watch = Stopwatch::start();
        let go_on = |progress: f64| {
            rest();
            let mut inner = self.0.lock();
            if let Some(job) = inner.find(&job.id) {
                job.progress = progress;
            }
            !inner.stopping
        };
        let outcome = shared.space(&job.space).and_then(|space| space.consolidate(job.dry_run, go_on));
        if let Some(observe) = &shared.options.observe_consolidation {
            observe(watch.elapsed(), outcome.as_ref().err());
        }
        unwound.armed = false;
        if let Some(job) = self.0.lock().find(&job.id) {
            match outcome {
                Ok(done) if done.stopped => (job.state, job.result) = (JobState::Stopped, Some(done)),
                Ok(done) => (job.state, job.progress, job.result) = (JobState::Done, 1.0, Some(done)),
                Err(error) => (job.state, job.error) = (JobState::Failed, Some(error)),
            }
        }
    }

    /// Stops what runs and refuses what comes; returns when nothing runs any more.
    pub(crate) fn stop(&self) -> Result<()> {
        let threads = {
            let mut inner = self.0.lock();
            inner.stopping = true;
            for job in inner.jobs.iter_mut().filter(|job| job.state == JobState::Waiting) {
                job.state = JobState::Stopped;
            }
            std::mem::take(&mut inner.threads)
        };
        let panicked = threads.into_iter().map(JoinHandle::join).filter(std::result::Result::is_err).count();
        if panicked > 0 {
            return Err(Error::new(ErrorKind::Internal, "a consolidation panicked; see the log"));
        }
        Ok(())
    }
}

/// Says of a job whose thread panics that it failed.
struct Unwound<'a> {
    jobs: &'a Consolidations,
    id: &'a str,
    armed: bool,
}

impl Drop for Unwound<'_> {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let mut inner = self.jobs.0.lock();
        inner.at_work = inner.at_work.saturating_sub(1);
        if let Some(job) = inner.find(self.id) {
            job.state = JobState::Failed;
            job.error = Some(Error::new(ErrorKind::Internal, "it panicked; see the log"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Engine, Options};
    use crate::space::StoreOptions;
    use engram_core::memory::NewMemory;

    fn stored(threads: usize) -> (tempfile::TempDir, Engine, SpaceName) {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { consolidation_threads: threads, ..Options::new(folder.path()) };
        let engine = Engine::open(options).unwrap();
        let name = SpaceName::new("diary").unwrap();
        let space = engine.space_or_new(&name).unwrap();
        let texts =
            ["a run by the river", "run by the river", "the river run", "late train", "no ink", "cake"];
        let memory = |text: &&str| NewMemory { content: Some((*text).into()), ..NewMemory::default() };
        space.store(texts.iter().map(memory).collect(), &StoreOptions::default()).unwrap();
        (folder, engine, name)
    }

    #[test]
    fn a_space_has_one_job_at_a_time() {
        let (_folder, engine, name) = stored(0);
        let id = engine.consolidate(&name, false).unwrap();
        assert_eq!(engine.consolidate(&name, false).unwrap(), id, "the same is asked for");
        assert_eq!(engine.consolidate(&name, true).unwrap_err().kind(), ErrorKind::Busy);
        assert_eq!(engine.job(&id).unwrap().state, JobState::Waiting);
        engine.work_off();
        let job = engine.job(&id).unwrap();
        assert_eq!((job.state, job.result.unwrap().made), (JobState::Done, 1));
        assert_ne!(engine.consolidate(&name, true).unwrap(), id);
        let unknown = SpaceName::new("unknown").unwrap();
        assert_eq!(engine.consolidate(&unknown, true).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn closing_stops_what_waits_and_threads_do_the_rest() {
        let (_folder, engine, name) = stored(0);
        let id = engine.consolidate(&name, false).unwrap();
        engine.close().unwrap();
        assert_eq!(engine.job(&id).unwrap().state, JobState::Stopped);
        assert_eq!(engine.consolidate(&name, false).unwrap_err().kind(), ErrorKind::Closed);

        let (_folder, engine, name) = stored(1);
        let id = engine.consolidate(&name, false).unwrap();
        while !engine.job(&id).unwrap().has_ended() {
            std::thread::yield_now();
        }
        assert_eq!(engine.job(&id).unwrap().result.unwrap().made, 1);
        engine.close().unwrap();
    }

    #[test]
    fn the_oldest_ends_are_forgotten() {
        let (_folder, engine, name) = stored(0);
        let ids: Vec<String> = (0..=ENDED_MAX)
            .map(|_| {
                let id = engine.consolidate(&name, true).unwrap();
                engine.work_off();
                id
            })
            .collect();
        engine.consolidate(&name, true).unwrap();
        assert_eq!(engine.job(&ids[0]).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(engine.job(&ids[2]).is_ok());
    }
}
