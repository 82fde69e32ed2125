//! The faults. Each scenario takes a seed, runs its workload once to see how long it is, and again for every place at
//! which the fault can come.

use crate::named;
use crate::workload::{Request, Step, Workload};
use crate::world::{Loss, World};
use engram::{Error, ErrorKind, SyncMode};
use fastrand::Rng;

/// Steps of a workload: enough for several checkpoints and segments, few enough to crash at every operation.
const STEPS: usize = 24;
/// Bits flipped for a seed.
const FLIPS: usize = 12;
/// Shortages of disk space for a seed.
const SHORTAGES: usize = 8;

/// A scenario: panics where the engine fails it.
pub type Scenario = fn(u64);

/// All of them, by name.
pub const SCENARIOS: &[(&str, Scenario)] = &[
    ("crashes", crashes),
    ("unsynced", unsynced),
    ("syncs", syncs),
    ("full-disks", full_disks),
    ("bits", bits),
    ("backups", backups),
];

/// Under `SyncMode::Always`, crashes the machine during every operation on the disk, and the process during some; then
/// once more, often while the engine recovers. What was acknowledged is there, the request in flight wholly or not at
/// all, and nothing else; in the object store, which was in trouble meanwhile, is what payloads lie in, and nothing else.
pub fn crashes(seed: u64) {
    let steps = Workload::new(seed, true).steps(STEPS);
    for operation in 1..=length(seed, &steps, SyncMode::Always).operations {
        crash(seed, &steps, operation, Fall { sync: SyncMode::Always, power_cut: true });
        if (operation + seed).is_multiple_of(3) {
            crash(seed, &steps, operation, Fall { sync: SyncMode::Always, power_cut: false });
        }
    }
}

/// The same under `SyncMode::None`: a power cut takes each space back to one of its states since the last sync, a dead
/// process costs nothing.
pub fn unsynced(seed: u64) {
    // No idempotency keys: two states that differ only in them look the same from outside.
    let steps = Workload::new(seed, false).steps(STEPS);
    let operations = length(seed, &steps, SyncMode::None).operations;
    for operation in (1 + seed % 3..=operations).step_by(3) {
        let power_cut = !(operation + seed).is_multiple_of(4);
        crash(seed, &steps, operation, Fall { sync: SyncMode::None, power_cut });
    }
}

/// Fails every sync once. The write that needed it is refused, and those after it until the engine is opened again; then
/// the refused one is there wholly or not at all (the disk may have got it), and everything acknowledged is.
pub fn syncs(seed: u64) {
    let steps = Workload::new(seed, true).steps(STEPS);
    for sync in 1..=length(seed, &steps, SyncMode::Always).syncs {
        named(|| format!("sync {sync} fails"), || fail_sync(seed, &steps, sync));
    }
}

/// Fills the disk for a while. Writes are refused as `Full`, recalls go on, and when there is room again writes do, too.
pub fn full_disks(seed: u64) {
    let mut workload = Workload::new(seed, true);
    let steps = workload.steps(STEPS);
    for _ in 0..SHORTAGES {
        let from = workload.rng().usize(0..STEPS);
        let to = workload.rng().usize(from..STEPS);
        let room = workload.rng().u64(0..1500);
        named(
            || format!("{room} bytes left from step {from} to {to}"),
            || fill_disk(seed, &steps, from..to, room),
        );
    }
}

/// Flips bits in what a workload left behind. Opening says which file is damaged and where, or finds everything.
pub fn bits(seed: u64) {
    let mut workload = Workload::new(seed, true);
    let steps = workload.steps(STEPS);
    for _ in 0..FLIPS {
        let flip = workload.rng().u64(..);
        named(|| format!("flip {flip}"), || flip_bit(seed, &steps, flip));
    }
}

/// Takes many backups, which the machine or whoever takes them does not live to finish. What is listed comes back as it was
/// held, also where the restore is cut off and tried again; what was cut off is not listed, and helps or goes with the next.
pub fn backups(seed: u64) {
    let steps = Workload::new(seed, true).backing_up().steps(STEPS);
    let Length { operations, requests, .. } = length(seed, &steps, SyncMode::Always);
    for operation in (1 + seed % 7..=operations).step_by(7) {
        crash(seed, &steps, operation, Fall { sync: SyncMode::Always, power_cut: true });
    }
    for request in 1..=requests {
        named(|| format!("dies at request {request} to the place"), || die(seed, &steps, request));
    }
}

/// Whoever takes a backup dies, and all who come after until the end of the steps. The next is as if nothing had been.
fn die(seed: u64, steps: &[Step], request: u64) {
    let mut world = World::new(seed, seed, SyncMode::Always);
    world.open().expect("the disk is whole");
    world.place.objects.die_at(request);
    world.run(steps);
    world.place.objects.die_at(u64::MAX);
    world.check_backups(usize::MAX).expect("no fault is left");
    world.check_last_backup();
}

struct Length {
    operations: u64,
    syncs: u64,
    /// To the place of backups.
    requests: u64,
}

/// Runs a workload without faults, checks everything, and says how long it is.
fn length(seed: u64, steps: &[Step], sync: SyncMode) -> Length {
    let mut world = World::new(seed, seed, sync);
    world.open().expect("the disk is whole");
    world.run(steps);
    world.compare().expect("the disk is whole");
    world.close().expect("the disk is whole");
    let requests = world.place.objects.requests();
    let length = Length { operations: world.vfs.operations(), syncs: world.vfs.syncs(), requests };
    world.recover(Loss::InFlight).expect("the disk is whole");
    world.check_objects().expect("the disk is whole");
    world.check_backups(usize::MAX).expect("the disk is whole");
    world.crash_restores(seed);
    world.check_last_backup();
    length
}

#[derive(Debug, Clone, Copy)]
struct Fall {
    sync: SyncMode,
    /// The machine, or only the process.
    power_cut: bool,
}

impl Fall {
    fn restart(self, world: &mut World) {
        world.kill();
        if self.power_cut { world.vfs.restart() } else { world.vfs.restart_process() }
    }

    fn loss(self) -> Loss {
        if self.power_cut && self.sync == SyncMode::None { Loss::Unsynced } else { Loss::InFlight }
    }
}

fn crash(seed: u64, steps: &[Step], operation: u64, fall: Fall) {
    let name = || format!("{fall:?} at operation {operation}");
    named(name, || {
        let fault_seed = seed.wrapping_mul(1_000_003).wrapping_add(operation);
        let mut world = World::new(seed, fault_seed, fall.sync);
        world.vfs.crash_at(operation);
        if world.open().is_ok() {
            world.run(steps);
            if !world.vfs.crashed() && world.compare().is_ok() {
                // The workload ends here. A checkpoint that fails is no failure, as the log has everything.
                drop(world.close());
            }
        }
        assert!(world.vfs.crashed(), "the workload is as long as before");
        fall.restart(&mut world);
        crash_again(&mut world, fault_seed, fall);
    });
}

fn crash_again(world: &mut World, fault_seed: u64, fall: Fall) {
    let mut workload = Workload::new(fault_seed, fall.sync == SyncMode::Always);
    let after = workload.rng().u64(1..30);
    world.vfs.crash_at(world.vfs.operations() + after);
    named(
        || format!("then {after} operations later"),
        || {
            match world.recover(fall.loss()) {
                Ok(()) => world.run(&workload.steps(8)),
                Err(error) => assert!(world.vfs.crashed(), "{error}"),
            }
            fall.restart(world);
            world.recover(fall.loss()).expect("no fault is left");
            world.run(&workload.steps(2));
            world.compare().expect("no fault is left");
            world.check_objects().expect("no fault is left");
            world.check_backups(1).expect("no fault is left");
        },
    );
}

fn fail_sync(seed: u64, steps: &[Step], sync: u64) {
    let fault_seed = seed.wrapping_mul(1_000_003).wrapping_add(sync);
    let mut workload = Workload::new(fault_seed, true);
    let mut world = World::new(seed, fault_seed, SyncMode::Always);
    world.keep_awake();
    world.disk_fails = true;
    world.vfs.fail_sync_at(sync);
    if let Err(error) = world.open() {
        check_refusal(&error);
        world.open().expect("a sync fails once");
    }
    for step in steps {
        let outcome = match step {
            Step::Request(request) => world
                .request(request)
                .inspect_err(|_| refuse_until_reopened(&mut world, &mut workload, request)),
            Step::Reopen => world.close().and_then(|()| world.recover(Loss::InFlight)),
            Step::Look(_) | Step::WorkOff => {
                // What fails here is only in the background: the next write may be refused for it.
                world.engine().work_off();
                Ok(())
            }
            Step::BackUp { keep, .. } => world.back_up(&[], *keep),
        };
        if let Err(error) = outcome {
            check_refusal(&error);
            world.kill();
            if workload.rng().bool() {
                world.vfs.restart();
            }
            world.recover(Loss::InFlight).expect("a sync fails once");
        }
    }
    world.compare().expect("a sync fails once");
    world.kill();
    world.vfs.restart();
    world.recover(Loss::InFlight).expect("a sync fails once");
    world.check_backups(1).expect("a sync fails once");
}

/// A refused write is not seen, and the space takes no other, unless it is known that the refused one is not on disk.
fn refuse_until_reopened(world: &mut World, workload: &mut Workload, request: &Request) {
    if matches!(request, Request::DeleteSpace { .. }) {
        return;
    }
    let found = world.observe().expect("recalls go on");
    assert!(world.model.looks_like(&found), "the refused {request:?} is seen");
    if let Err(error) = world.probe(workload, request.space()) {
        check_refusal(&error);
    }
}

fn check_refusal(error: &Error) {
    let message = error.to_string();
    match error.kind() {
        ErrorKind::Internal => assert!(message.contains("cannot sync"), "{message}"),
        ErrorKind::Closed => {
            assert!(message.contains("open it again") || message.contains("delete it again"), "{message}");
        }
        other => panic!("{other:?}: {message}"),
    }
}

fn fill_disk(seed: u64, steps: &[Step], shortage: std::ops::Range<usize>, room: u64) {
    let mut world = World::new(seed, seed ^ room, SyncMode::Always);
    world.disk_fails = true;
    world.open().expect("there is room");
    world.run(&steps[..shortage.start]);
    world.vfs.set_capacity_bytes(Some(world.bytes() + room));
    for step in &steps[shortage.clone()] {
        let outcome = match step {
            Step::Request(request) => world.request(request).inspect_err(|_| world.refused()),
            Step::WorkOff => {
                world.engine().work_off();
                Ok(())
            }
            Step::Look(_) => world.compare(),
            Step::BackUp { keep, .. } => world.back_up(&[], *keep),
            Step::Reopen => {
                let closed = world.close();
                world.kill();
                let opened = world.recover(Loss::InFlight);
                if opened.is_err() {
                    world.vfs.set_capacity_bytes(None);
                    world.recover(Loss::InFlight).expect("there is room");
                }
                closed.and(opened)
            }
        };
        if let Err(error) = outcome {
            assert_eq!(error.kind(), ErrorKind::Full, "{error}");
            assert!(error.to_string().contains("free space"), "{error}");
            world.compare().expect("recalls go on");
        }
    }
    world.vfs.set_capacity_bytes(None);
    world.run(&steps[shortage.end..]);
    world.compare().expect("there is room");
    world.kill();
    world.vfs.restart();
    world.recover(Loss::InFlight).expect("there is room");
    world.check_backups(usize::MAX).expect("there is room");
}

fn flip_bit(seed: u64, steps: &[Step], flip: u64) {
    let mut rng = Rng::with_seed(flip);
    let mut world = World::new(seed, flip, SyncMode::Always);
    world.open().expect("the disk is whole");
    world.run(steps);
    if rng.bool() {
        world.close().expect("the disk is whole");
    }
    world.kill();
    let files = world.files().expect("the disk is whole");
    let Some((file, bytes)) = rng.choice(files).filter(|(_, bytes)| *bytes > 0) else { return };
    let (offset, bit) = (rng.u64(0..bytes), rng.u8(0..8));
    world.vfs.flip_bit(&file, offset, bit).expect("the file is there");
    named(
        || format!("{} of {bytes} bytes, bit {bit} of byte {offset}", file.display()),
        || {
            world.open().expect("the spaces are opened later");
            match world.observe() {
                Ok(found) => assert!(world.model.looks_like(&found), "wrong data: {found:#?}"),
                Err(error) => {
                    let message = error.to_string();
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{message}");
                    assert!(message.contains(&file.display().to_string()), "{message}");
                    assert!(message.contains("byte") || message.contains("format"), "{message}");
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::is_made;
    use crate::objects::Objects;
    use engram::Filter;

    fn world_of(seed: u64) -> (World, Vec<Step>) {
        let mut world = World::new(seed, seed, SyncMode::Always);
        world.open().expect("the disk is whole");
        (world, Workload::new(seed, true).steps(STEPS))
    }

    /// Otherwise a failure could not be repeated.
    #[test]
    fn a_seed_does_the_same_twice() {
        for seed in 0..40 {
            let run = || {
                let (mut world, steps) = world_of(seed);
                world.run(&steps);
                let asked = |objects: &Objects| (objects.names().len(), objects.store.stats());
                (world.vfs.operations(), world.vfs.syncs(), world.objects.as_ref().map(asked))
            };
            assert_eq!(run(), run(), "seed {seed}");
        }
    }

    /// Otherwise nothing would be checked of the cold tier.
    #[test]
    fn workloads_move_payloads_to_the_cold_tier() {
        let mut seen = 0;
        for seed in 0..40 {
            let (mut world, steps) = world_of(seed);
            for step in steps {
                world.run(&[step]);
                let spaces = world.engine().spaces().expect("the disk is whole");
                let cold = |name| world.engine().space(name).expect("it is there").summary().tiers[2];
                seen += spaces.iter().filter(|name| cold(name) > 0).count();
            }
        }
        assert!(seen > 50, "payloads were cold after {seen} requests only");
    }

    /// Otherwise nothing would be checked of backups.
    #[test]
    fn workloads_take_backups() {
        let (mut made, mut later, mut cold) = (0, 0, 0);
        for seed in 0..80 {
            let mut world = World::new(seed, seed, SyncMode::Always);
            world.open().expect("the disk is whole");
            world.run(&Workload::new(seed, true).backing_up().steps(STEPS));
            let of_seed = world.listed();
            made += of_seed.len();
            later += of_seed.len().saturating_sub(1);
            cold += of_seed
                .iter()
                .filter(|backup| {
                    backup.spaces.iter().flat_map(|space| &space.files).any(|file| file.sha256.is_none())
                })
                .count();
        }
        assert!(
            made > 50 && later > 30 && cold > 8,
            "{made} backups, {later} after others, {cold} with cold files"
        );
    }

    /// Otherwise nothing would be checked of concepts.
    #[test]
    fn workloads_make_concepts() {
        let made = |seed: u64| -> usize {
            let mut world = World::new(seed, seed, SyncMode::Always);
            world.open().expect("the disk is whole");
            let steps = Workload::new(seed, true).steps(STEPS);
            let concepts = |world: &World, request: &Request| {
                let space = world.engine().space(request.space()).ok()?;
                let page = space.list(&Filter::default(), None, 1000).expect("it is open");
                page.memories.iter().any(is_made).then_some(())
            };
            let count = |step: &Step| {
                world.run(std::slice::from_ref(step));
                matches!(step, Step::Request(request) if concepts(&world, request).is_some())
            };
            steps.iter().map(count).filter(|there| *there).count()
        };
        let made: usize = (0..20).map(made).sum();
        assert!(made > 20, "concepts were there after {made} requests only");
    }
}
