//! One load: clients that ask at the same time for a while, and what came of it.

use super::asks::{Asks, Client};
use super::mix::Mix;
use super::pace::{Arrivals, Pace, Time, drive};
use super::subject::{Cores, Subject};
use super::tally::{Figures, Tally};
use crate::commands::interrupt::Interrupt;
use crate::fault::{Result, failed};
use crate::screen::{counted, grouped, timed_progress};
use engram::clock::{Clock, Stopwatch};
use fastrand::Rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The bar moves this often.
const GLANCE: Duration = Duration::from_millis(100);

/// How much is asked.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) clients: usize,
    /// Operations that arrive a second: an open loop. A closed one where absent.
    pub(crate) rate: Option<f64>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clients = counted(self.clients as u64, "client", "clients");
        match self.rate {
            Some(rate) => write!(f, "open loop of {rate}/s, {clients}"),
            None => write!(f, "closed loop, {clients}"),
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Load {
    #[serde(flatten)]
    pub(crate) step: Step,
    /// `closed`: latencies leave out the time in which nobody asked because nobody was free to. `open`: they do not.
    pub(crate) r#loop: String,
    pub(crate) seconds: f64,
    pub(crate) all: Figures,
    pub(crate) operations: BTreeMap<String, Figures>,
    /// The first failure.
    pub(crate) failure: Option<String>,
    pub(crate) cores: Cores,
    /// Processor time of an answered operation, in milliseconds over all cores, of server and clients together. Other
    /// work on the machine changes it least of all figures.
    pub(crate) cpu_ms: Option<f64>,
    /// Of the server, or of this process.
    pub(crate) resident_bytes: Option<u64>,
    /// Hits of recalls by tier.
    pub(crate) hits_by_tier: BTreeMap<String, u64>,
}

/// How all loads of a benchmark run.
pub(crate) struct Plan<'a> {
    pub(crate) subject: &'a Subject,
    pub(crate) asks: &'a Asks,
    pub(crate) mix: &'a Mix,
    pub(crate) warmup: Duration,
    pub(crate) duration: Duration,
    pub(crate) seed: u64,
    pub(crate) interrupt: &'a Interrupt,
}

impl Plan<'_> {
    /// Warms up in a closed loop, then measures.
    pub(crate) fn run(&self, step: Step) -> Result<Load> {
        let began = Clock::system().now().0;
        let client = |number: usize| {
            let random = Rng::with_seed(self.seed.wrapping_add(number as u64 + 1));
            // What an earlier benchmark stored has other ids.
            let name = format!("b{began:x}-{number}");
            Ok(Client::new(self.subject.client()?, self.asks, name, random))
        };
        let mut clients = (0..step.clients).map(client).collect::<Result<Vec<_>>>()?;
        if !self.warmup.is_zero() {
            let closed = Step { rate: None, ..step };
            self.spend(closed, self.warmup, "warming up", &mut clients)?;
        }
        let before = self.subject.used(&self.asks.space)?;
        let (tally, lasted) = self.spend(step, self.duration, "measuring", &mut clients)?;
        let after = self.subject.used(&self.asks.space)?;
        let seconds = lasted.as_secs_f64();
        let all = tally.all(lasted);
        let cores = after.cores_since(&before, seconds);
        let cpu_ms = cores.sum().filter(|_| all.count > 0).map(|cores| 1000.0 * cores / all.per_second);
        Ok(Load {
            step,
            r#loop: if step.rate.is_some() { "open" } else { "closed" }.into(),
            seconds,
            all,
            operations: tally.operations(lasted),
            failure: tally.failure,
            cores,
            cpu_ms,
            resident_bytes: after.resident_bytes,
            hits_by_tier: tally.tiers,
        })
    }

    /// Lets the clients ask for so long; gives what they counted, and how long it was until the last was answered.
    fn spend(
        &self,
        step: Step,
        end: Duration,
        verb: &str,
        clients: &mut [Client<'_>],
    ) -> Result<(Tally, Duration)> {
        let arrivals = step.rate.map(|rate| Mutex::new(Arrivals::new(rate, self.mix.clone(), self.seed)));
        let (done, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let bar = timed_progress(verb, end);
        let watch = Stopwatch::start();
        let tally = std::thread::scope(|scope| {
            let threads: Vec<_> = clients
                .iter_mut()
                .zip(1..)
                .map(|(client, number)| {
                    let pace = match &arrivals {
                        Some(arrivals) => Pace::Open(arrivals),
                        None => {
                            let random = Rng::with_seed(self.seed.wrapping_sub(number));
                            Pace::Closed { mix: self.mix, random }
                        }
                    };
                    let (done, stop) = (&done, &stop);
                    scope.spawn(move || {
                        let mut tally = Tally::new();
                        let mut hits = Tally::new();
                        let time = Time { now: || watch.elapsed(), sleep: std::thread::sleep };
                        let act = |operation| client.act(operation, &mut hits);
                        let tell = |event| {
                            tally.add(event);
                            done.fetch_add(1, Ordering::Relaxed);
                        };
                        drive(pace, end, &time, || stop.load(Ordering::Relaxed), act, tell);
                        tally.merge(hits)
                    })
                })
                .collect();
            while watch.elapsed() < end && threads.iter().any(|thread| !thread.is_finished()) {
                std::thread::sleep(GLANCE.min(end.saturating_sub(watch.elapsed())));
                let elapsed = watch.elapsed();
                let per_second = done.load(Ordering::Relaxed) as f64 / elapsed.as_secs_f64();
                bar.set_position(elapsed.as_millis() as u64);
                bar.set_message(format!("{} operations/s", grouped(per_second as u64)));
                stop.fetch_or(self.interrupt.is_asked(), Ordering::Relaxed);
            }
            let tallies =
                threads.into_iter().map(|thread| thread.join().expect("a client counts its failures"));
            tallies.reduce(Tally::merge).expect("there is at least one client")
        });
        let lasted = watch.elapsed();
        bar.finish_and_clear();
        if self.interrupt.is_asked() { failed("stopped") } else { Ok((tally, lasted)) }
    }
}
