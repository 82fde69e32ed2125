//! When operations begin. In a closed loop a client asks again when it is answered, so that a slow server is asked less.
//! In an open loop operations arrive at planned times, whatever the server does; each is timed from when it was planned, so
//! that waiting counts (Tene, "How not to measure latency": coordinated omission). Those that nobody had begun when the
//! time was over count with the time that they had waited. No clock in here: the caller lends one.

use super::mix::{Mix, Operation};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// An operation that begins so much after it was planned is late. A timer of the system is late by some .06 ms.
const LATE: Duration = Duration::from_millis(1);
/// A client that waits for its next operation looks this often whether it shall stop.
const NAP_MAX: Duration = Duration::from_millis(50);

/// What a client shall do next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Turn {
    pub(crate) operation: Operation,
    /// When, from the start of the load; as soon as it can in a closed loop.
    pub(crate) planned: Option<Duration>,
}

/// The times of an open loop: exponential gaps, as of many callers that know nothing of each other.
pub(crate) struct Arrivals {
    random: fastrand::Rng,
    mix: Mix,
    per_second: f64,
    next: Duration,
}

impl Arrivals {
    pub(crate) fn new(per_second: f64, mix: Mix, seed: u64) -> Self {
        let mut arrivals =
            Self { random: fastrand::Rng::with_seed(seed), mix, per_second, next: Duration::ZERO };
        arrivals.next = arrivals.gap();
        arrivals
    }

    fn gap(&mut self) -> Duration {
        // 1 - u is above 0, so that the logarithm is finite.
        Duration::from_secs_f64(-(1.0 - self.random.f64()).ln() / self.per_second)
    }

    /// The next arrival before `end`.
    fn before(&mut self, end: Duration) -> Option<Turn> {
        if self.next >= end {
            return None;
        }
        let planned = self.next;
        let gap = self.gap();
        self.next += gap;
        Some(Turn { operation: self.mix.draw(&mut self.random), planned: Some(planned) })
    }
}

/// Where a client gets its turns from.
pub(crate) enum Pace<'a> {
    Closed {
        mix: &'a Mix,
        random: fastrand::Rng,
    },
    /// Shared by all clients: whoever is free takes the next arrival.
    Open(&'a Mutex<Arrivals>),
}

impl Pace<'_> {
    fn next(&mut self, now: Duration, end: Duration) -> Option<Turn> {
        match self {
            Self::Closed { mix, random } => {
                (now < end).then(|| Turn { operation: mix.draw(random), planned: None })
            }
            Self::Open(arrivals) => arrivals.lock().unwrap_or_else(PoisonError::into_inner).before(end),
        }
    }
}

/// How an operation went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was answered after so long.
    Answered(Duration),
    Failed(String),
    /// Nobody had begun it at the end; it had waited so long.
    NotBegun(Duration),
}

/// An operation that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) operation: Operation,
    pub(crate) ended: Ended,
    /// Whether it began late.
    pub(crate) is_late: bool,
}

/// The time, and a way to let it pass.
pub(crate) struct Time<N, S> {
    /// Since the start of the load.
    pub(crate) now: N,
    pub(crate) sleep: S,
}

/// Runs one client until `end`, or until it `is_stopped`. `act` performs an operation, `tell` hears of each.
pub(crate) fn drive<N: Fn() -> Duration, S: Fn(Duration)>(
    mut pace: Pace<'_>,
    end: Duration,
    time: &Time<N, S>,
    is_stopped: impl Fn() -> bool,
    mut act: impl FnMut(Operation) -> Result<(), String>,
    mut tell: impl FnMut(Event),
) {
    while let Some(Turn { operation, planned }) = pace.next((time.now)(), end) {
        let mut began = (time.now)();
        while let Some(left) = planned.and_then(|planned| planned.checked_sub(began)).filter(|d| !d.is_zero())
        {
            if is_stopped() {
                return;
            }
            (time.sleep)(left.min(NAP_MAX));
            began = (time.now)();
        }
        if is_stopped() {
            return;
        }
        let (ended, is_late) = match planned {
            Some(planned) if began >= end => (Ended::NotBegun(end - planned), true),
            // The time was over between two looks at the clock.
            None if began >= end => return,
            _ => {
                let from = planned.unwrap_or(began);
                let outcome = act(operation);
                let took = (time.now)() - from;
                (outcome.map_or_else(Ended::Failed, |()| Ended::Answered(took)), began - from > LATE)
            }
        };
        tell(Event { operation, ended, is_late });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const MS: Duration = Duration::from_millis(1);

    fn mix() -> Mix {
        "recall=100".parse().unwrap()
    }

    /// What a client hears whose every operation takes so long, on a clock that only moves when somebody waits.
    fn events(pace: Pace<'_>, end: Duration, took: Duration) -> Vec<Event> {
        let clock = Cell::new(Duration::ZERO);
        let pass = |time: Duration| clock.set(clock.get() + time);
        let mut events = Vec::new();
        let act = |_| {
            pass(took);
            Ok(())
        };
        drive(
            pace,
            end,
            &Time { now: || clock.get(), sleep: pass },
            || false,
            act,
            |event| events.push(event),
        );
        events
    }

    fn waited(events: &[Event]) -> Vec<Duration> {
        let waited = events.iter().map(|event| match &event.ended {
            Ended::Answered(took) | Ended::NotBegun(took) => *took,
            Ended::Failed(text) => panic!("{text}"),
        });
        waited.collect()
    }

    #[test]
    fn an_open_loop_counts_the_time_that_an_operation_waits() {
        // 1,000 arrive a second, and 100 can be answered.
        let arrivals = Mutex::new(Arrivals::new(1000.0, mix(), 7));
        let events = events(Pace::Open(&arrivals), 1000 * MS, 10 * MS);
        let not_begun = events.iter().filter(|event| matches!(event.ended, Ended::NotBegun(_))).count();
        assert!((950..1050).contains(&events.len()), "every arrival is told of: {}", events.len());
        assert_eq!(events.len() - not_begun, 100);
        assert!(events.iter().skip(5).all(|event| event.is_late));
        let mut waited = waited(&events);
        waited.sort_unstable();
        // A closed loop would say 10 ms. At the end the oldest that nobody has begun has waited for nine tenths.
        let median = waited[waited.len() / 2];
        assert!(median > 400 * MS && median < 600 * MS, "{median:?}");
        assert!(*waited.last().unwrap() > 850 * MS);
    }

    #[test]
    fn a_closed_loop_asks_less_of_what_is_slow() {
        let mix = mix();
        let pace = Pace::Closed { mix: &mix, random: fastrand::Rng::with_seed(7) };
        let events = events(pace, 1000 * MS, 10 * MS);
        assert_eq!(events.len(), 100);
        assert!(waited(&events).iter().all(|took| *took == 10 * MS));
        assert!(events.iter().all(|event| !event.is_late));
    }

    #[test]
    fn a_closed_loop_begins_nothing_after_the_end() {
        let mix = mix();
        // Time passes with every look at it, also with the last before the end.
        let clock = Cell::new(Duration::ZERO);
        let now = || clock.replace(clock.get() + 7 * MS);
        let time = Time { now, sleep: |_| panic!("nothing is planned") };
        let pace = Pace::Closed { mix: &mix, random: fastrand::Rng::with_seed(7) };
        let count = Cell::new(0);
        drive(pace, 100 * MS, &time, || false, |_| Ok(()), |_| count.set(count.get() + 1));
        // Three looks an operation: the fifth begins at 91 ms, and the look after it says 105.
        assert_eq!(count.get(), 5);
        let pace = Pace::Closed { mix: &mix, random: fastrand::Rng::with_seed(7) };
        clock.set(95 * MS);
        drive(pace, 100 * MS, &time, || false, |_| panic!("it is over"), |_| panic!("nothing began"));
    }

    #[test]
    fn what_keeps_up_waits_for_nothing() {
        let arrivals = Mutex::new(Arrivals::new(1.0, mix(), 7));
        let events = events(Pace::Open(&arrivals), 1000 * Duration::from_secs(1), MS / 2);
        assert!((900..1100).contains(&events.len()), "{}", events.len());
        let waiting = waited(&events).iter().filter(|took| **took > MS / 2).count();
        assert!(waiting < 5, "{waiting} arrived while another was answered");
    }

    #[test]
    fn the_same_seed_plans_the_same_arrivals() {
        let plan = |seed| {
            let mut arrivals = Arrivals::new(100.0, mix(), seed);
            std::iter::from_fn(|| arrivals.before(1000 * MS)).collect::<Vec<_>>()
        };
        assert_eq!(plan(1), plan(1));
        assert_ne!(plan(1), plan(2));
    }

    #[test]
    fn a_client_that_shall_stop_does_not_wait_for_its_turn() {
        let arrivals = Mutex::new(Arrivals::new(0.001, mix(), 7));
        let clock = Cell::new(Duration::ZERO);
        let naps = Cell::new(0);
        let sleep = |time| {
            clock.set(clock.get() + time);
            naps.set(naps.get() + 1);
        };
        let time = Time { now: || clock.get(), sleep };
        let end = Duration::from_secs(100_000);
        drive(Pace::Open(&arrivals), end, &time, || naps.get() == 3, |_| Ok(()), |_| panic!("nothing ran"));
        assert_eq!(naps.get(), 3);
    }
}
