//! What the operating system says of this process. Linux tells in /proc; other systems need more than the standard
//! library, so there nothing is told.

use std::time::Duration;

/// Ticks a second in which Linux tells processor time to programs, on every machine that Engram runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// What this process uses, as far as it can be told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Process {
    /// Time on all cores since start, to 10 ms.
    pub cpu: Option<Duration>,
    /// Resident memory, without the pages of mapped files, which the system takes back when it needs them.
    pub resident_bytes: Option<u64>,
}

impl Process {
    /// Now. Reads two small files.
    pub fn now() -> Self {
        Self { cpu: cpu(), resident_bytes: resident_bytes() }
    }
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    Some((kib("RssAnon:")? + kib("RssShmem:")?) * 1024)
}

fn cpu() -> Option<Duration> {
    cpu_of(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// The sum of `utime` and `stime`, fields 14 and 15; field 2, the name in brackets, may hold anything.
fn cpu_of(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks = ticks.collect::<Result<Vec<_>, _>>().ok().filter(|ticks| ticks.len() == 2)?;
    Some(Duration::from_secs_f64(ticks.iter().sum::<u64>() as f64 / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_that_of_the_program_and_the_kernel_for_it() {
        let stat = "77 (a ) b (c) R 1 2 3 4 5 6 7 8 9 10 1250 50 0 0 20 0 8 0 99";
        assert_eq!(cpu_of(stat), Some(Duration::from_secs(13)));
        assert_eq!(cpu_of("77 (a) R 1 2"), None);
        assert_eq!(cpu_of(""), None);
    }
}
