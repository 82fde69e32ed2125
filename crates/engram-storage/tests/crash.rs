//! Random workloads on a faulty disk, crashed during every single operation. Whatever survives must be a prefix of what
//! was appended that holds everything confirmed, and the log must work on from there. `ENGRAM_SIM_SEEDS` sets how many
//! workloads; a failure prints the seed and the operation.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Arc;

use engram_storage::{
    CheckpointWriter, Error, FaultyVfs, Log, LogOptions, LogPosition, Result, Vfs, checkpoint,
};

const SEEDS: u64 = 100;

#[derive(Debug)]
enum Action {
    Append(Vec<Vec<u8>>),
    /// An append while the disk has room for this many more bytes, then room again.
    AppendFull(Vec<Vec<u8>>, u64),
    Sync,
    Checkpoint,
    /// Ends the process without a crash of the machine and starts it again.
    Reopen,
    /// Fails the n-th sync from now.
    FailSync(u64),
}

/// A store and what is known about it from outside.
struct World {
    vfs: FaultyVfs,
    options: LogOptions,
    /// Folder of the log, and of the checkpoints: the same in some worlds.
    log_dir: &'static Path,
    checkpoint_dir: &'static Path,
    log: Option<Log>,
    /// Payloads of positions 1, 2, .. that were appended or were being appended.
    appended: Vec<Vec<u8>>,
    /// How many of them were confirmed as durable.
    confirmed: usize,
}

impl World {
    fn new(seed: u64, operation: u64) -> World {
        let mut rng = fastrand::Rng::with_seed(seed);
        let options = LogOptions {
            segment_bytes_max: rng.choice([200, 700, 3000, 20_000]).unwrap(),
            ahead_bytes_max: rng.choice([0, 600, 10_000]).unwrap(),
            is_direct: rng.bool(),
        };
        let vfs = FaultyVfs::new(seed.wrapping_mul(1_000_003).wrapping_add(operation));
        let log_dir = Path::new("space");
        let checkpoint_dir = if rng.bool() { log_dir } else { Path::new("checkpoints") };
        World { vfs, options, log_dir, checkpoint_dir, log: None, appended: Vec::new(), confirmed: 0 }
    }

    /// Opens the store as an engine would and checks what it recovers.
    fn open(&mut self) -> Result<()> {
        self.log = None;
        let dir = self.checkpoint_dir;
        let mut recovered: Vec<Vec<u8>> = Vec::new();
        let after = checkpoint::newest(&self.vfs, dir)?.unwrap_or_default();
        if after > LogPosition::ZERO {
            checkpoint::read(&self.vfs, dir, after, &mut |payload| {
                recovered.push(payload.to_vec());
                Ok(())
            })?;
        }
        assert_eq!(recovered.len() as u64, after.0);
        let vfs = Arc::new(self.vfs.clone());
        let (mut log, found) =
            Log::open(vfs, self.log_dir, self.options, after, &mut |position, payload| {
                recovered.push(payload.to_vec());
                assert_eq!(position.0, recovered.len() as u64);
                Ok(())
            })?;
        assert_eq!(log.is_direct(), self.options.is_direct);
        assert_eq!(found.frames + after.0, recovered.len() as u64);
        assert_eq!(log.position().0, recovered.len() as u64);
        assert_eq!(log.durable_through(), log.position());
        let (count, confirmed) = (recovered.len(), self.confirmed);
        assert!(count >= confirmed, "confirmed through {confirmed}, recovered through {count}");
        assert!(count <= self.appended.len(), "recovered {count}, appended {}", self.appended.len());
        assert!(recovered == self.appended[..count], "recovered other payloads than were appended");
        self.appended.truncate(count);
        self.confirmed = count;
        // A crash may have come between a checkpoint and this.
        log.remove_through(after)?;
        self.log = Some(log);
        Ok(())
    }

    fn run(&mut self, actions: &[Action]) -> Result<()> {
        self.open()?;
        for action in actions {
            match self.act(action) {
                // Anything but a crash is over once the process starts again.
                Err(error) if !self.vfs.crashed() => {
                    assert!(!matches!(error, Error::Corrupt { .. }), "{error}");
                    self.reopen()?;
                }
                other => other?,
            }
        }
        Ok(())
    }

    fn act(&mut self, action: &Action) -> Result<()> {
        match action {
            Action::Append(batch) => self.append(batch),
            Action::AppendFull(batch, room) => {
                let used = self.used_bytes()?;
                self.vfs.set_capacity_bytes(Some(used + room));
                let before = self.appended.len();
                let result = self.append(batch);
                self.vfs.set_capacity_bytes(None);
                match result {
                    Err(Error::Full { .. }) if !self.vfs.crashed() => {
                        if let Some(log) = &mut self.log {
                            // Usable again unless an injected sync failure came on top.
                            log.append(&[])?;
                            self.appended.truncate(before);
                            assert_eq!(log.position().0, before as u64);
                        }
                        Ok(())
                    }
                    other => other,
                }
            }
            Action::Sync => {
                if let Some(log) = &mut self.log {
                    log.sync()?;
                    assert_eq!(log.durable_through().0, self.appended.len() as u64);
                    self.confirmed = self.appended.len();
                }
                Ok(())
            }
            Action::Checkpoint => self.checkpoint(),
            Action::Reopen => self.reopen(),
            Action::FailSync(after) => {
                self.vfs.fail_sync_at(self.vfs.syncs() + after);
                Ok(())
            }
        }
    }

    fn append(&mut self, batch: &[Vec<u8>]) -> Result<()> {
        if let Some(log) = &mut self.log {
            let payloads: Vec<&[u8]> = batch.iter().map(Vec::as_slice).collect();
            self.appended.extend_from_slice(batch);
            let position = log.append(&payloads)?;
            assert_eq!(position.0, self.appended.len() as u64);
            self.confirmed = self.confirmed.max(log.durable_through().0 as usize);
        }
        Ok(())
    }

    fn used_bytes(&self) -> Result<u64> {
        let mut bytes = 0;
        let other = Some(self.checkpoint_dir).filter(|dir| *dir != self.log_dir);
        for dir in [Some(self.log_dir), other].into_iter().flatten() {
            for name in self.vfs.list(dir)? {
                bytes += self.vfs.size(&dir.join(name))?;
            }
        }
        Ok(bytes)
    }

    /// Checkpoints what is durable and lets the log shrink.
    fn checkpoint(&mut self) -> Result<()> {
        let dir = self.checkpoint_dir;
        let position = LogPosition(self.confirmed as u64);
        let mut writer = CheckpointWriter::create(Arc::new(self.vfs.clone()), dir, position)?;
        for payload in &self.appended[..self.confirmed] {
            writer.push(payload)?;
        }
        writer.finish()?;
        if let Some(log) = &mut self.log {
            log.remove_through(position)?;
        }
        checkpoint::remove_older(&self.vfs, dir, position)
    }

    /// Opens again, trying once more if an injected sync failure hits the opening itself.
    fn reopen(&mut self) -> Result<()> {
        match self.open() {
            Err(Error::Io { operation: "sync" | "sync folder", .. }) if !self.vfs.crashed() => self.open(),
            other => other,
        }
    }
}

fn payload(rng: &mut fastrand::Rng) -> Vec<u8> {
    let bytes = match rng.u8(..10) {
        0 => 0,
        1..6 => rng.usize(1..60),
        6..9 => rng.usize(60..700),
        _ => rng.usize(700..3000),
    };
    // Zeros are what a missing sector reads as, so some payloads have many.
    match rng.u8(..4) {
        0 => vec![0; bytes],
        1 => (0..bytes).map(|i| if i / 400 % 2 == 0 { 0 } else { rng.u8(..) }).collect(),
        _ => (0..bytes).map(|_| rng.u8(..)).collect(),
    }
}

fn batch(rng: &mut fastrand::Rng) -> Vec<Vec<u8>> {
    (0..rng.usize(1..5)).map(|_| payload(rng)).collect()
}

fn workload(seed: u64) -> Vec<Action> {
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x5EED);
    let count = rng.usize(5..25);
    let action = |rng: &mut fastrand::Rng| match rng.u8(..20) {
        0..9 => Action::Append(batch(rng)),
        9..14 => Action::Sync,
        14..16 => Action::Checkpoint,
        16 => Action::Reopen,
        17 => Action::AppendFull(batch(rng), rng.u64(..600)),
        18 => Action::FailSync(rng.u64(1..4)),
        _ => Action::Append(vec![payload(rng)]),
    };
    (0..count).map(|_| action(&mut rng)).collect()
}

/// Crashes during `operation`; returns false if the workload ended before.
fn crash_and_check(seed: u64, actions: &[Action], operation: u64) -> bool {
    let mut rng = fastrand::Rng::with_seed(seed ^ (operation << 32));
    let mut world = World::new(seed, operation);
    world.vfs.crash_at(operation);
    let result = world.run(actions);
    if !world.vfs.crashed() {
        result.unwrap();
        return false;
    }
    let restart = |world: &World, rng: &mut fastrand::Rng| match rng.u8(..3) {
        0 => world.vfs.restart_process(),
        _ => world.vfs.restart(),
    };
    restart(&world, &mut rng);
    // Recovery, too, may be crashed, more than once.
    while rng.u8(..3) == 0 {
        world.vfs.crash_at(world.vfs.operations() + rng.u64(1..8));
        if let Err(error) = world.open() {
            assert!(world.vfs.crashed(), "{error}");
        }
        restart(&world, &mut rng);
    }
    world.open().unwrap();
    for _ in 0..2 {
        world.append(&batch(&mut rng)).unwrap();
        world.act(&Action::Sync).unwrap();
        world.append(&batch(&mut rng)).unwrap();
        world.vfs.restart();
        world.open().unwrap();
    }
    true
}

#[test]
fn every_crash_leaves_a_prefix_with_everything_confirmed() {
    let seeds =
        std::env::var("ENGRAM_SIM_SEEDS").map_or(SEEDS, |text| text.parse().expect("a number of seeds"));
    let mut crashes = 0;
    for seed in 0..seeds {
        let actions = workload(seed);
        for operation in 1.. {
            let check = AssertUnwindSafe(|| crash_and_check(seed, &actions, operation));
            match catch_unwind(check) {
                Ok(true) => crashes += 1,
                Ok(false) => break,
                Err(panic) => {
                    println!("seed {seed}, crash during operation {operation}");
                    resume_unwind(panic);
                }
            }
        }
    }
    println!("{crashes} crashes");
    assert!(crashes > seeds * 10);
}
