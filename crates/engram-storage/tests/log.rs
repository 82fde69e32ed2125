//! What the log and checkpoints promise, case by case, through the public API. Crashes at every operation are in
//! crash.rs.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::path::Path;
use std::sync::Arc;

use engram_storage::{
    BATCH_BYTES_MAX, CheckpointWriter, Error, FaultyVfs, Log, LogOptions, LogPosition, PAYLOAD_BYTES_MAX,
    RealVfs, Recovered, Result, Vfs, checkpoint,
};

const FIRST: &str = "d/log-00000000000000000001.log";

fn dir() -> &'static Path {
    Path::new("d")
}

fn small_segments() -> LogOptions {
    LogOptions { segment_bytes_max: 300, ahead_bytes_max: 0, is_direct: false }
}

fn open(vfs: &FaultyVfs, after: u64) -> Result<(Log, Recovered, Vec<Vec<u8>>)> {
    let mut frames = Vec::new();
    let mut expected = LogPosition(after);
    let (log, recovered) = Log::open(
        Arc::new(vfs.clone()),
        dir(),
        small_segments(),
        LogPosition(after),
        &mut |position, payload| {
            expected = expected.next();
            assert_eq!(position, expected);
            frames.push(payload.to_vec());
            Ok(())
        },
    )?;
    assert_eq!(recovered.frames, frames.len() as u64);
    Ok((log, recovered, frames))
}

fn open_error(vfs: &FaultyVfs, after: u64) -> Error {
    let before = everything(vfs);
    let error = open(vfs, after).map(|_| ()).unwrap_err();
    assert!(everything(vfs) == before, "a refused log was changed");
    error
}

/// Names and bytes of all files.
fn everything(vfs: &FaultyVfs) -> Vec<(String, Vec<u8>)> {
    let names = vfs.list(dir()).unwrap();
    names.into_iter().map(|name| (name.clone(), read(vfs, &name))).collect()
}

fn read(vfs: &FaultyVfs, name: &str) -> Vec<u8> {
    let file = vfs.open_read(&dir().join(name)).unwrap();
    let mut bytes = vec![0; file.size().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

fn write_checkpoint(vfs: &FaultyVfs, position: u64, payloads: &[&[u8]]) {
    let mut writer = CheckpointWriter::create(Arc::new(vfs.clone()), dir(), LogPosition(position)).unwrap();
    for payload in payloads {
        writer.push(payload).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn batches_come_back_in_order_after_closing() {
    let vfs = FaultyVfs::new(1);
    let (mut log, recovered, _) = open(&vfs, 0).unwrap();
    assert!(recovered.created);
    assert_eq!(log.append(&[]).unwrap(), LogPosition(0));
    assert_eq!(log.append(&[b"a", b""]).unwrap(), LogPosition(2));
    assert_eq!((log.position(), log.durable_through()), (LogPosition(2), LogPosition(0)));
    log.sync().unwrap();
    assert_eq!(log.durable_through(), LogPosition(2));
    let long = vec![7; 5000];
    assert_eq!(log.append(&[&long]).unwrap(), LogPosition(3));
    log.sync().unwrap();
    let bytes = log.bytes();
    drop(log);
    let (log, recovered, frames) = open(&vfs, 0).unwrap();
    assert_eq!(recovered, Recovered { frames: 3, bytes_cut: 0, created: false });
    assert_eq!(frames, [b"a".to_vec(), b"".to_vec(), long.clone()]);
    assert_eq!((log.durable_through(), log.bytes()), (LogPosition(3), bytes));
    assert_eq!(open(&vfs, 2).unwrap().2, [long]);
    assert_eq!(Log::verify(&vfs, dir(), LogPosition(1), &mut |_, _| Ok(())).unwrap().frames, 2);
}

#[test]
fn it_works_on_a_real_disk() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("space");
    let vfs = Arc::new(RealVfs);
    let open = |replay: &mut dyn FnMut(LogPosition, &[u8]) -> Result<()>| {
        Log::open(
            vfs.clone(),
            &dir,
            LogOptions { segment_bytes_max: 1000, ..LogOptions::default() },
            LogPosition::ZERO,
            replay,
        )
        .unwrap()
    };
    let (mut log, _) = open(&mut |_, _| Ok(()));
    for i in 0..100u8 {
        log.append(&[&[i; 77]]).unwrap();
    }
    log.sync().unwrap();
    drop(log);
    let mut count = 0;
    let (mut log, recovered) = open(&mut |position, payload| {
        assert_eq!(payload, [position.0 as u8 - 1; 77]);
        count += 1;
        Ok(())
    });
    assert_eq!((count, recovered.frames), (100, 100));
    let mut writer = CheckpointWriter::create(vfs.clone(), &dir, LogPosition(100)).unwrap();
    writer.push(b"state").unwrap();
    writer.finish().unwrap();
    log.remove_through(LogPosition(100)).unwrap();
    assert_eq!(log.bytes(), 24);
    assert_eq!(checkpoint::newest(&*vfs, &dir).unwrap(), Some(LogPosition(100)));
}

#[test]
fn a_torn_tail_is_cut_and_stays_cut() {
    for end in 1..44 {
        let vfs = FaultyVfs::new(1);
        let (mut log, ..) = open(&vfs, 0).unwrap();
        log.append(&[b"whole"]).unwrap();
        log.append(&[b"torn!!!!"]).unwrap();
        log.sync().unwrap();
        drop(log);
        let path = Path::new(FIRST);
        vfs.open(path).unwrap().truncate(24 + 41 + end).unwrap();
        let left = read(&vfs, "log-00000000000000000001.log");
        let cut = (left.iter().rposition(|&byte| byte != 0).unwrap() + 1 - 24 - 41) as u64;
        assert!(cut > 0 && end - cut < 20, "of {end} bytes {cut} would be cut");
        assert_eq!(Log::verify(&vfs, dir(), LogPosition(0), &mut |_, _| Ok(())).unwrap().bytes_cut, cut);
        let (mut log, recovered, frames) = open(&vfs, 0).unwrap();
        assert_eq!((recovered.bytes_cut, frames), (cut, vec![b"whole".to_vec()]));
        log.append(&[b"next"]).unwrap();
        log.sync().unwrap();
        vfs.restart();
        assert_eq!(open(&vfs, 0).unwrap().2, [b"whole".to_vec(), b"next".to_vec()]);
    }
}

#[test]
fn a_missing_sector_is_torn_at_the_end_but_corrupt_where_a_later_frame_witnesses_it() {
    for witnessed in [false, true] {
        let vfs = FaultyVfs::new(1);
        let (mut log, ..) = open(&vfs, 0).unwrap();
        log.append(&[b"before"]).unwrap();
        log.append(&[&[5; 2000]]).unwrap();
        if witnessed {
            log.sync().unwrap();
        }
        // Its own batch is larger than a segment, so both share the second one.
        drop(log);
        let options = LogOptions::default();
        let vfs_shared: Arc<dyn Vfs> = Arc::new(vfs.clone());
        let opened = Log::open(vfs_shared, dir(), options, LogPosition(0), &mut |_, _| Ok(()));
        let (mut log, _) = opened.unwrap();
        log.append(&[&[6; 2000]]).unwrap();
        if witnessed {
            log.sync().unwrap();
            log.append(&[b"witness"]).unwrap();
        }
        drop(log);
        let path = Path::new("d/log-00000000000000000002.log");
        vfs.open(path).unwrap().write_at(3072, &[0; 512]).unwrap();
        if witnessed {
            let Error::Corrupt { file, offset, reason } = open_error(&vfs, 0) else { panic!("not corrupt") };
            assert_eq!((file.as_path(), offset), (path, 24 + 36 + 2000));
            assert_eq!(
                reason,
                "a payload fails its checksum (position 3); it is no unfinished write: the frame at byte 4096 \
                 shows that it had been whole"
            );
        } else {
            let (_, recovered, frames) = open(&vfs, 0).unwrap();
            assert_eq!((recovered.bytes_cut, frames.len()), (2036, 2));
        }
    }
}

#[test]
fn every_flipped_bit_of_a_closed_log_is_found_in_its_file() {
    let vfs = FaultyVfs::new(1);
    let (mut log, ..) = open(&vfs, 0).unwrap();
    let zeros = vec![0; 1100];
    for payload in [&b"one"[..], b"", b"three, which is longer", &zeros, &[9; 200], &[8; 100], &zeros] {
        log.append(&[payload]).unwrap();
    }
    log.sync().unwrap();
    drop(log);
    let sound = everything(&vfs);
    assert!(sound.len() > 3);
    let mut flips = 0;
    for (name, bytes) in &sound {
        let path = dir().join(name);
        for offset in 0..bytes.len() as u64 {
            // Every bit of headers and short payloads, one of each byte further in.
            let bits = if offset < 200 { 0..8 } else { (offset % 8)..(offset % 8 + 1) };
            for bit in bits {
                vfs.flip_bit(&path, offset, bit as u8).unwrap();
                match open(&vfs, 0) {
                    Err(Error::Corrupt { file, offset: at, .. }) => {
                        assert_eq!(file, path, "byte {offset} bit {bit}");
                        assert!(at <= offset);
                    }
                    other => panic!("{name} byte {offset} bit {bit}: {:?}", other.map(|(_, r, _)| r)),
                }
                vfs.flip_bit(&path, offset, bit as u8).unwrap();
                flips += 1;
            }
        }
    }
    assert!(flips > 4000, "{flips}");
    assert!(everything(&vfs) == sound, "a refused log was changed");
    assert_eq!(open(&vfs, 0).unwrap().2.len(), 7);
}

#[test]
fn a_shorter_or_missing_middle_segment_is_corrupt() {
    let vfs = FaultyVfs::new(1);
    let (mut log, ..) = open(&vfs, 0).unwrap();
    for i in 0..6 {
        log.append(&[&[i; 150]]).unwrap();
    }
    log.sync().unwrap();
    drop(log);
    let names = vfs.list(dir()).unwrap();
    assert_eq!(names.len(), 6);
    let second = dir().join(&names[1]);
    vfs.open(&second).unwrap().truncate(100).unwrap();
    let error = open_error(&vfs, 0).to_string();
    let expected = "d/log-00000000000000000002.log is damaged at byte 24: the file ends within a frame (position 2); \
                    it is no unfinished write: a later segment shows that it had been whole. Nothing was changed on \
                    disk. Keep a copy of the file and restore the folder from a backup";
    assert_eq!(error, expected);
    vfs.open(&second).unwrap().truncate(24).unwrap();
    assert!(matches!(open_error(&vfs, 0), Error::Corrupt { .. }));
    vfs.remove_file(&second).unwrap();
    let Error::Corrupt { file, reason, .. } = open_error(&vfs, 0) else { panic!("not corrupt") };
    assert_eq!(file, dir().join(&names[2]));
    assert_eq!(reason, "it begins at position 3 where 2 was expected");
    // A checkpoint that stands for the missing positions makes up for them; one that does not, does not.
    assert_eq!(open(&vfs, 2).unwrap().2.len(), 4);
    vfs.remove_file(Path::new(FIRST)).unwrap();
    assert!(matches!(open_error(&vfs, 1), Error::Corrupt { .. }));
}

#[test]
fn a_failed_sync_poisons_until_opened_again_and_then_nothing_reported_is_lost() {
    for seed in 0..50 {
        let vfs = FaultyVfs::new(seed);
        let (mut log, ..) = open(&vfs, 0).unwrap();
        log.append(&[b"kept"]).unwrap();
        log.sync().unwrap();
        log.append(&[&[1; 700], &[2; 700]]).unwrap();
        log.sync().unwrap();
        log.append(&[&[3; 100]]).unwrap();
        vfs.fail_sync_at(vfs.syncs() + 1);
        assert!(matches!(log.sync(), Err(Error::Io { operation: "sync", .. })));
        assert!(matches!(log.sync(), Err(Error::Poisoned { .. })));
        let error = log.append(&[b"x"]).unwrap_err().to_string();
        assert!(error.starts_with("the log in d stopped after a failure (cannot sync d/log-"), "{error}");
        assert!(error.ends_with("close the log and open it again"), "{error}");
        assert!(matches!(log.remove_through(LogPosition(1)), Err(Error::Poisoned { .. })));
        drop(log);
        // The frame still reads back, so opening reports it. From then on it must survive.
        let (mut log, _, frames) = open(&vfs, 0).unwrap();
        assert_eq!((frames.len(), log.durable_through()), (4, LogPosition(4)));
        log.append(&[b"later"]).unwrap();
        log.sync().unwrap();
        vfs.restart();
        assert_eq!(open(&vfs, 0).unwrap().2.len(), 5, "seed {seed}");
    }
}

#[test]
fn a_full_disk_leaves_a_usable_log() {
    for seed in 0..50 {
        let vfs = FaultyVfs::new(seed);
        let (mut log, ..) = open(&vfs, 0).unwrap();
        log.append(&[b"kept"]).unwrap();
        // Room for a part of the batch, or for a part of the next segment's header.
        vfs.set_capacity_bytes(Some(log.bytes() + seed));
        let error = log.append(&[&[1; 100], &[1; 100]]).unwrap_err();
        assert!(matches!(error, Error::Full { .. }), "{error}");
        let error = log.append(&[&[1; 290]]).unwrap_err().to_string();
        assert!(error.contains("the disk is full") && error.ends_with("free space and try again"), "{error}");
        assert_eq!(log.position(), LogPosition(1));
        vfs.set_capacity_bytes(None);
        assert_eq!(log.append(&[b"after"]).unwrap(), LogPosition(2));
        log.sync().unwrap();
        vfs.restart();
        assert_eq!(open(&vfs, 0).unwrap().2, [b"kept".to_vec(), b"after".to_vec()]);
    }
}

#[test]
fn zeros_ahead_come_with_size_and_go_with_the_segment() {
    let vfs = FaultyVfs::new(1);
    let options = LogOptions { segment_bytes_max: 1 << 20, ahead_bytes_max: 256 << 10, is_direct: false };
    let open = || {
        let shared: Arc<dyn Vfs> = Arc::new(vfs.clone());
        Log::open(shared, dir(), options, LogPosition(0), &mut |_, _| Ok(())).unwrap()
    };
    let size = |name: &str| vfs.size(&dir().join(name)).unwrap();
    let first = "log-00000000000000000001.log";
    let (mut log, _) = open();
    assert_eq!(size(first), 24);
    log.append(&[b"small"]).unwrap();
    assert_eq!((log.bytes(), size(first)), (65, 4096), "a block, which the disk gives anyway");
    log.append(&[&[1; 100_000]]).unwrap();
    assert_eq!((log.bytes(), size(first)), (100_101, 200_704), "twice, in blocks");
    log.append(&[&[2; 100_000]]).unwrap();
    assert_eq!(size(first), 200_704, "the file does not grow");
    log.append(&[&[3; 300_000]]).unwrap();
    assert_eq!((log.bytes(), size(first)), (500_173, 765_952), "and no more ahead than the bound");
    log.append(&[&[4; 400_000]]).unwrap();
    assert_eq!((log.bytes(), size(first)), (900_209, 1 << 20), "nor than the segment takes");
    log.sync().unwrap();
    vfs.restart();
    let (mut log, recovered) = open();
    assert_eq!(recovered, Recovered { frames: 5, bytes_cut: 0, created: false });
    assert_eq!((log.bytes(), size(first)), (900_209, 900_209), "opening cuts them");
    log.append(&[b"one more"]).unwrap();
    assert_eq!(size(first), 1 << 20);
    log.append(&[&[5; 200_000]]).unwrap();
    assert_eq!(size(first), 900_253, "a segment that is done ends with its last frame");
    log.sync().unwrap();
    vfs.restart();
    assert_eq!(open().1.frames, 7);
}

#[test]
fn past_the_page_cache_only_whole_blocks_are_written() {
    for (has_direct, ahead_bytes_max) in [(true, 0), (true, 64 << 10), (false, 64 << 10)] {
        // This one refuses other writes, as the kernel does.
        let vfs = FaultyVfs::new(1);
        if !has_direct {
            vfs.refuse_direct();
        }
        let shared: Arc<dyn Vfs> = Arc::new(vfs.clone());
        fill_directly(shared, dir(), ahead_bytes_max, has_direct);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    drop(RealVfs.create(&path).unwrap());
    let has_direct = RealVfs.open_direct(&path).unwrap().is_some();
    fill_directly(Arc::new(RealVfs), &folder.path().join("log"), 64 << 10, has_direct);
}

fn fill_directly(vfs: Arc<dyn Vfs>, dir: &Path, ahead_bytes_max: u64, has_direct: bool) {
    let options = LogOptions { segment_bytes_max: 100_000, ahead_bytes_max, is_direct: true };
    let payload = |at: u64| vec![at as u8; (at * 311 % 5000) as usize];
    for round in 0..4 {
        let mut seen = 0;
        let (mut log, recovered) =
            Log::open(vfs.clone(), dir, options, LogPosition(0), &mut |position, bytes| {
                seen += 1;
                assert_eq!((position.0, bytes), (seen, &payload(seen)[..]));
                Ok(())
            })
            .unwrap();
        assert_eq!((log.is_direct(), recovered.frames, recovered.bytes_cut), (has_direct, 50 * round, 0));
        for at in 50 * round + 1..50 * round + 51 {
            log.append(&[&payload(at)]).unwrap();
            log.sync().unwrap();
        }
    }
    assert!(vfs.list(dir).unwrap().len() > 3, "there were several segments");
}

#[test]
fn what_is_left_of_a_full_disk_is_for_frames() {
    let vfs = FaultyVfs::new(1);
    let shared: Arc<dyn Vfs> = Arc::new(vfs.clone());
    let (mut log, _) =
        Log::open(shared, dir(), LogOptions::default(), LogPosition(0), &mut |_, _| Ok(())).unwrap();
    log.append(&[&[1; 500_000]]).unwrap();
    log.sync().unwrap();
    let used = vfs.size(Path::new(FIRST)).unwrap();
    vfs.set_capacity_bytes(Some(used + 200_000));
    log.append(&[&[2; 600_000]]).unwrap();
    assert_eq!(vfs.size(Path::new(FIRST)).unwrap(), log.bytes(), "no room for zeros");
    let error = log.append(&[&[3; 400_000]]).unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "cannot write 400036 bytes to {FIRST}, the disk is full (no storage space); free space and try again"
        )
    );
    log.append(&[b"a small one still fits"]).unwrap();
    vfs.set_capacity_bytes(None);
    log.append(&[&[3; 400_000]]).unwrap();
    log.sync().unwrap();
    vfs.restart();
    assert_eq!(open(&vfs, 0).unwrap().2.len(), 4);
}

#[test]
fn a_full_disk_can_be_freed_by_a_checkpoint() {
    let vfs = FaultyVfs::new(1);
    let (mut log, ..) = open(&vfs, 0).unwrap();
    for i in 0..5 {
        log.append(&[&[i; 150]]).unwrap();
    }
    log.sync().unwrap();
    write_checkpoint(&vfs, 5, &[b"all"]);
    vfs.set_capacity_bytes(Some(0));
    assert!(matches!(log.remove_through(LogPosition(5)), Err(Error::Full { .. })));
    assert_eq!(log.bytes(), 24 + 36 + 150, "only the active segment is left");
    vfs.set_capacity_bytes(None);
    log.remove_through(LogPosition(u64::MAX)).unwrap();
    assert_eq!(log.bytes(), 24);
    log.append(&[b"six"]).unwrap();
    log.sync().unwrap();
    vfs.restart();
    assert_eq!(checkpoint::newest(&vfs, dir()).unwrap(), Some(LogPosition(5)));
    assert_eq!(open(&vfs, 5).unwrap().2, [b"six".to_vec()]);
}

#[test]
fn too_large_payloads_and_batches_are_refused() {
    let vfs = FaultyVfs::new(1);
    let (mut log, ..) = open(&vfs, 0).unwrap();
    let error = log.append(&[b"fits", &vec![0; PAYLOAD_BYTES_MAX + 1]]).unwrap_err();
    assert_eq!(error.to_string(), "payload has 67108865 bytes, the most is 67108864; split it");
    let largest = vec![0; PAYLOAD_BYTES_MAX];
    let error = log.append(&[&largest, &largest]).unwrap_err();
    assert!(matches!(error, Error::TooLarge { what: "batch", bytes_max: BATCH_BYTES_MAX, .. }));
    assert_eq!(log.position(), LogPosition(0));
    log.append(&[b"usable"]).unwrap();
}

#[test]
fn a_newer_format_is_refused() {
    let vfs = FaultyVfs::new(1);
    drop(open(&vfs, 0).unwrap());
    let mut header = read(&vfs, "log-00000000000000000001.log");
    header[8..12].copy_from_slice(&9u32.to_le_bytes());
    let crc = crc32c::crc32c(&header[..20]);
    header[20..].copy_from_slice(&crc.to_le_bytes());
    vfs.open(Path::new(FIRST)).unwrap().write_at(0, &header).unwrap();
    let error = open_error(&vfs, 0);
    assert!(matches!(error, Error::NewerFormat { found: 9, supported: 1, .. }), "{error}");
}

#[test]
fn a_log_behind_its_checkpoint_goes_on_after_it() {
    let vfs = FaultyVfs::new(1);
    let (mut log, ..) = open(&vfs, 0).unwrap();
    log.append(&[b"1", b"2"]).unwrap();
    log.sync().unwrap();
    drop(log);
    let (mut log, ..) = open(&vfs, 10).unwrap();
    assert_eq!(log.append(&[b"11"]).unwrap(), LogPosition(11));
    log.sync().unwrap();
    drop(log);
    assert_eq!(open(&vfs, 10).unwrap().2, [b"11".to_vec()]);
    assert!(
        matches!(open_error(&vfs, 0), Error::Corrupt { .. }),
        "positions 3 to 10 are only in the checkpoint"
    );
    let (mut log, ..) = open(&vfs, 10).unwrap();
    log.remove_through(LogPosition(10)).unwrap();
    assert_eq!(vfs.list(dir()).unwrap(), ["log-00000000000000000011.log"]);
}

#[test]
fn a_payload_its_reader_refuses_is_corrupt_with_its_place() {
    let vfs = FaultyVfs::new(1);
    let (mut log, ..) = open(&vfs, 0).unwrap();
    log.append(&[b"good", b"nonsense"]).unwrap();
    log.sync().unwrap();
    drop(log);
    let refuse = |payload: &[u8]| match payload {
        b"nonsense" => Err(Error::Payload { reason: "unknown change".to_string() }),
        _ => Ok(()),
    };
    let shared: Arc<dyn Vfs> = Arc::new(vfs.clone());
    let options = LogOptions::default();
    let error =
        Log::open(shared, dir(), options, LogPosition(0), &mut |_, payload| refuse(payload)).unwrap_err();
    assert!(
        matches!(&error, Error::Corrupt { offset: 64, reason, .. } if reason == "unknown change"),
        "{error}"
    );
    write_checkpoint(&vfs, 2, &[b"good", b"nonsense"]);
    let error = checkpoint::read(&vfs, dir(), LogPosition(2), &mut |payload| refuse(payload)).unwrap_err();
    assert!(matches!(error, Error::Corrupt { offset: 64, .. }));
}

#[test]
fn checkpoints_come_back_and_older_ones_go() {
    let vfs = FaultyVfs::new(1);
    assert_eq!(checkpoint::newest(&vfs, dir()).unwrap(), None);
    write_checkpoint(&vfs, 3, &[b"three"]);
    write_checkpoint(&vfs, 20, &[b"twenty", b"", &[1; 300_000]]);
    write_checkpoint(&vfs, 20, &[b"again", &[2; 600_000]]);
    let mut unfinished = CheckpointWriter::create(Arc::new(vfs.clone()), dir(), LogPosition(30)).unwrap();
    unfinished.push(&[0; 600_000]).unwrap();
    std::mem::forget(unfinished);
    assert_eq!(vfs.list(dir()).unwrap().len(), 3);
    assert_eq!(checkpoint::newest(&vfs, dir()).unwrap(), Some(LogPosition(20)));
    assert_eq!(vfs.list(dir()).unwrap().len(), 2, "what was left unfinished is gone");
    drop(CheckpointWriter::create(Arc::new(vfs.clone()), dir(), LogPosition(30)).unwrap());
    assert_eq!(vfs.list(dir()).unwrap().len(), 2, "a dropped writer leaves nothing");
    let mut payloads = Vec::new();
    let count = checkpoint::read(&vfs, dir(), LogPosition(20), &mut |payload| {
        payloads.push(payload.to_vec());
        Ok(())
    });
    assert_eq!((count.unwrap(), payloads), (2, vec![b"again".to_vec(), vec![2; 600_000]]));
    checkpoint::remove_older(&vfs, dir(), LogPosition(20)).unwrap();
    assert_eq!(checkpoint::positions(&vfs, dir()).unwrap(), [LogPosition(20)]);
}

#[test]
fn every_flipped_bit_and_every_cut_of_a_checkpoint_is_found() {
    let vfs = FaultyVfs::new(1);
    write_checkpoint(&vfs, 7, &[b"first", b"", &[0; 600]]);
    let path = dir().join("checkpoint-00000000000000000007.ckpt");
    let read_all = || checkpoint::read(&vfs, dir(), LogPosition(7), &mut |_| Ok(()));
    let size = vfs.size(&path).unwrap();
    for offset in 0..size {
        for bit in 0..8 {
            vfs.flip_bit(&path, offset, bit).unwrap();
            let error = read_all().unwrap_err();
            assert!(matches!(&error, Error::Corrupt { file, .. } if *file == path), "byte {offset}: {error}");
            vfs.flip_bit(&path, offset, bit).unwrap();
        }
    }
    assert_eq!(read_all().unwrap(), 3);
    for bytes in (0..size).rev() {
        vfs.open(&path).unwrap().truncate(bytes).unwrap();
        assert!(matches!(read_all(), Err(Error::Corrupt { .. })), "cut to {bytes}");
    }
}

#[test]
fn a_segment_whose_creation_was_cut_short_is_made_again() {
    let name = "log-00000000000000000002.log";
    let header = {
        let vfs = FaultyVfs::new(1);
        drop(open(&vfs, 1).unwrap());
        read(&vfs, name)
    };
    // Short files of zeros, then whole ones whose first bytes came from an earlier attempt.
    for (written, bytes) in (0..24).map(|bytes| (0, bytes)).chain((0..=24).map(|written| (written, 24))) {
        let vfs = FaultyVfs::new(1);
        let (mut log, ..) = open(&vfs, 0).unwrap();
        log.append(&[b"1"]).unwrap();
        log.sync().unwrap();
        drop(log);
        let next = vfs.create(&dir().join(name)).unwrap();
        let mut content = header[..written].to_vec();
        content.resize(bytes, 0);
        next.write_at(0, &content).unwrap();
        let (mut log, recovered, frames) = open(&vfs, 0).unwrap();
        assert_eq!((frames.len(), recovered.bytes_cut), (1, 0));
        log.append(&[b"2"]).unwrap();
        log.sync().unwrap();
        vfs.restart();
        assert_eq!(open(&vfs, 0).unwrap().2.len(), 2);
    }
}
