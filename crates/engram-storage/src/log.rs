//! A log of payloads in segment files `log-<first position, 20 digits>.log` of one folder.
//!
//! Always true: positions grow by one a frame, from 1; a segment is made only when all before it is synced, and used
//! only when its header and name are; a frame's `durable_through` was synced before the frame was written.
//!
//! **Torn tail or corruption.** A crash may keep any of the unsynced sectors. So a frame of the last segment that fails
//! its checks is a torn tail, cut off with all after it, if both hold: it looks unfinished (the file ends before the
//! frame does, or a 512-byte sector of it is zeros that were not written), and no later frame witnesses, by its
//! `durable_through`, that it had been synced. Every other failed check is `Corrupt`, and nothing is changed: a later
//! segment, too, witnesses that the earlier was synced. Where nothing but zeros follows the last frame, they were
//! allocated ahead (active.rs), or nothing of a write arrived: both end the log, and nothing is cut. What this cannot tell: a synced batch at the very end of the
//! log, with none after it, whose sectors a broken disk lost or cut, looks like an unfinished one.
//!
//! **Failures.** A failed sync poisons the log: the kernel forgets which pages did not reach the disk while they still
//! read back, so trying again proves nothing. Opening writes the tail that no frame witnesses once more, in place, and
//! syncs it, before it counts as durable. A failed write is taken back (truncate, sync) so that a full disk leaves a
//! usable log and no stale bytes can come back; if that fails the log is poisoned.

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::active::Active;
use crate::error::{Error, Result};
use crate::limits::{AHEAD_BYTES_MAX, BATCH_BYTES_MAX, CHUNK_BYTES, PAYLOAD_BYTES_MAX, SEGMENT_BYTES_MAX};
use crate::record::{
    Damage, FILE_HEADER_BYTES, FRAME_HEADER_BYTES, FrameReader, Step, check_file_header, encode_file_header,
    is_zero,
};
use crate::vfs::{File, Vfs};

const MAGIC: [u8; 8] = *b"ENGRLOG1";

/// Number of a frame in its log: 1 for the first, then one more each. 0 stands for "before all".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogPosition(pub u64);

impl LogPosition {
    /// Before the first frame.
    pub const ZERO: LogPosition = LogPosition(0);

    /// The position after this one.
    pub fn next(self) -> LogPosition {
        LogPosition(self.0 + 1)
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What may differ from log to log.
#[derive(Debug, Clone, Copy)]
pub struct LogOptions {
    /// A new segment starts before the active one would pass this many bytes; a larger batch gets its own.
    pub segment_bytes_max: u64,
    /// Zeros are written ahead of the frames by up to this many bytes, so that syncs need not write what the file
    /// system notes of a file that grew. 0: none.
    pub ahead_bytes_max: u64,
    /// Writes go past the page cache where the file system can; see `Log::is_direct`.
    pub is_direct: bool,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            segment_bytes_max: SEGMENT_BYTES_MAX,
            ahead_bytes_max: AHEAD_BYTES_MAX,
            is_direct: false,
        }
    }
}

/// What opening a log found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Frames replayed.
    pub frames: u64,
    /// Bytes of unfinished, never confirmed writes that were cut off the end, without zeros after them.
    pub bytes_cut: u64,
    /// Whether the folder held no log, so that an empty one was made. With a checkpoint beside it, say so to the
    /// operator: either the checkpoint was restored alone, or the log was lost.
    pub created: bool,
}

/// An append-only log. One handle per folder: the caller locks it (`Vfs::try_lock`).
#[derive(Debug)]
pub struct Log {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    options: LogOptions,
    /// Oldest first; the last is the active one. Never empty.
    segments: Vec<Segment>,
    active: Active,
    position: LogPosition,
    durable_through: LogPosition,
    poisoned: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    first: LogPosition,
    bytes: u64,
}

/// Where the good part of a segment ends.
struct Tail {
    position: LogPosition,
    end: u64,
    /// Offset of the first frame that no later one witnesses.
    unwitnessed: u64,
    /// Where the bytes after `end` end that are not zeros; `end` where there are none.
    written_end: u64,
}

impl Tail {
    fn bytes_cut(&self) -> u64 {
        self.written_end - self.end
    }
}

type Replay<'a> = &'a mut dyn FnMut(LogPosition, &[u8]) -> Result<()>;

impl Log {
    /// Opens the log in `dir`, making an empty one if there is none, and replays all frames after `after` (the position
    /// of the checkpoint in use, or `LogPosition::ZERO`) in order. Cuts a torn tail; all that remains is durable when
    /// this returns. Reads the segments that hold frames after `after`, a chunk at a time. An `Error::Payload` of
    /// `replay` becomes `Corrupt` with the file and offset. On `Corrupt` and `NewerFormat` nothing was changed.
    pub fn open(
        vfs: Arc<dyn Vfs>,
        dir: &Path,
        options: LogOptions,
        after: LogPosition,
        replay: &mut dyn FnMut(LogPosition, &[u8]) -> Result<()>,
    ) -> Result<(Log, Recovered)> {
        vfs.create_dir_all(dir)?;
        let mut segments = list_segments(&*vfs, dir)?;
        let Some(last) = segments.last().copied() else {
            let first = after.next();
            let active = create_segment(&*vfs, dir, first, options)?;
            segments.push(Segment { first, bytes: FILE_HEADER_BYTES as u64 });
            let log = Log::new(vfs, dir, options, segments, active, after);
            return Ok((log, Recovered { created: true, ..Recovered::default() }));
        };
        let (tail, frames) = replay_segments(&*vfs, dir, &segments, after, replay)?;
        let path = segment_path(dir, last.first);
        let file = vfs.open(&path)?;
        repair(&*file, last, &tail)?;
        vfs.sync_dir(dir)?;
        let end = tail.end.max(FILE_HEADER_BYTES as u64);
        let active = Active::open(&*vfs, &path, file, end, options)?;
        if let Some(last) = segments.last_mut() {
            last.bytes = end;
        }
        let mut log = Log::new(vfs, dir, options, segments, active, tail.position);
        if tail.position < after {
            // The checkpoint knows more than the log kept. New frames must not reuse positions it stands for.
            log.position = after;
            log.durable_through = after;
            log.rotate()?;
        }
        Ok((log, Recovered { frames, bytes_cut: tail.bytes_cut(), created: false }))
    }

    /// Checks every frame after `after`, and gives it to `each`, without changing anything; a torn tail is only counted in
    /// `bytes_cut`.
    pub fn verify(
        vfs: &dyn Vfs,
        dir: &Path,
        after: LogPosition,
        each: &mut dyn FnMut(LogPosition, &[u8]) -> Result<()>,
    ) -> Result<Recovered> {
        let segments = list_segments(vfs, dir)?;
        if segments.is_empty() {
            return Ok(Recovered::default());
        }
        let (tail, frames) = replay_segments(vfs, dir, &segments, after, each)?;
        Ok(Recovered { frames, bytes_cut: tail.bytes_cut(), created: false })
    }

    /// Appends a batch in one write and returns the position of its last frame; an empty batch changes nothing.
    /// Durable after the next `sync`. On an error the log is as before and usable, unless later calls say `Poisoned`:
    /// then only opening it again tells whether a part of the batch is in it.
    pub fn append(&mut self, payloads: &[&[u8]]) -> Result<LogPosition> {
        self.check_usable()?;
        let bytes = batch_bytes(payloads)?;
        if payloads.is_empty() {
            return Ok(self.position);
        }
        if self.has_frames() && self.active_segment().bytes + bytes > self.options.segment_bytes_max {
            self.rotate()?;
        }
        let end = self.active.end() + bytes;
        let mut position = self.push(payloads, end);
        let has_ahead = self.active.would_write_ahead();
        let mut written = self.active.write_ahead();
        if has_ahead && let Err(error @ Error::Full { .. }) = written {
            // What is left of the disk is for frames. Taken back and synced before, so that no crash mixes the two.
            let error = self.take_back(error);
            if self.poisoned.is_some() {
                return Err(error);
            }
            position = self.push(payloads, end);
            written = self.active.write_alone();
        }
        if let Err(error) = written {
            return Err(self.take_back(error));
        }
        self.active_segment_mut().bytes = end;
        self.position = position;
        Ok(position)
    }

    /// Makes all appended frames durable. After an error the log is poisoned: whether they are is known only when it
    /// was opened again.
    pub fn sync(&mut self) -> Result<()> {
        self.check_usable()?;
        if self.durable_through == self.position {
            return Ok(());
        }
        self.sync_active()
    }

    /// Deletes the segments whose frames are all at or before `position`: what a finished checkpoint stands for. If
    /// that is every frame, a new segment is started first, so that the log can shrink to nothing.
    pub fn remove_through(&mut self, position: LogPosition) -> Result<()> {
        self.check_usable()?;
        let position = position.min(self.position);
        // Old segments first: on a full disk they make room for the new one.
        self.remove_whole_segments(position)?;
        if position == self.position && self.has_frames() {
            self.rotate()?;
            self.remove_whole_segments(position)?;
        }
        Ok(())
    }

    /// Position of the last appended frame.
    pub fn position(&self) -> LogPosition {
        self.position
    }

    /// Position of the last frame known to be durable.
    pub fn durable_through(&self) -> LogPosition {
        self.durable_through
    }

    /// Whether it is written past the page cache: not where the file system cannot.
    pub fn is_direct(&self) -> bool {
        self.active.is_direct()
    }

    /// Size of all segments in bytes, without zeros ahead.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Names of the files in the folder that hold the frames, oldest first, with how many bytes of each do.
    pub fn files(&self) -> Vec<(String, u64)> {
        self.segments.iter().map(|segment| (file_name(segment.first), segment.bytes)).collect()
    }

    fn new(
        vfs: Arc<dyn Vfs>,
        dir: &Path,
        options: LogOptions,
        segments: Vec<Segment>,
        active: Active,
        position: LogPosition,
    ) -> Log {
        let dir = dir.to_path_buf();
        let durable_through = position;
        Log { vfs, dir, options, segments, active, position, durable_through, poisoned: None }
    }

    fn check_usable(&self) -> Result<()> {
        match &self.poisoned {
            None => Ok(()),
            Some(reason) => Err(Error::Poisoned { path: self.dir.clone(), reason: reason.clone() }),
        }
    }

    fn poison(&mut self, error: &Error) {
        self.poisoned = Some(error.to_string());
    }

    fn active_segment(&self) -> &Segment {
        self.segments.last().expect("a log always has a segment")
    }

    fn active_segment_mut(&mut self) -> &mut Segment {
        self.segments.last_mut().expect("a log always has a segment")
    }

    fn has_frames(&self) -> bool {
        self.active_segment().bytes > FILE_HEADER_BYTES as u64
    }

    /// Readies a batch, whose last frame ends at `end`, for writing. Returns the position of that frame.
    fn push(&mut self, payloads: &[&[u8]], end: u64) -> LogPosition {
        let mut position = self.position;
        for payload in payloads {
            position = position.next();
            self.active.push(position.0, self.durable_through.0, payload);
        }
        assert_eq!(self.active.pushed_end(), end, "a batch is as long as was computed");
        position
    }

    fn sync_active(&mut self) -> Result<()> {
        if let Err(error) = self.active.sync() {
            self.poison(&error);
            return Err(error);
        }
        self.durable_through = self.position;
        Ok(())
    }

    /// Removes what a failed write may have left. Returns the error for the caller of append.
    fn take_back(&mut self, error: Error) -> Error {
        // Synced, or a later crash could bring stale frames back beside newer ones of the same positions.
        match self.active.take_back() {
            Ok(()) => self.durable_through = self.position,
            Err(second) => {
                self.poisoned = Some(format!("{error}; then taking the write back failed: {second}"));
            }
        }
        error
    }

    fn remove_whole_segments(&mut self, position: LogPosition) -> Result<()> {
        let mut removed = false;
        while self.segments.len() > 1 && self.segments[1].first <= position.next() {
            self.vfs.remove_file(&segment_path(&self.dir, self.segments[0].first))?;
            self.segments.remove(0);
            removed = true;
        }
        if removed { self.vfs.sync_dir(&self.dir) } else { Ok(()) }
    }

    /// Starts a new segment after syncing the active one, which then ends with its last frame.
    fn rotate(&mut self) -> Result<()> {
        match self.active.trim() {
            Ok(false) => self.sync()?,
            Ok(true) => self.sync_active()?,
            Err(error) => {
                self.poison(&error);
                return Err(error);
            }
        }
        let first = self.position.next();
        match create_segment(&*self.vfs, &self.dir, first, self.options) {
            Ok(active) => {
                self.active = active;
                self.segments.push(Segment { first, bytes: FILE_HEADER_BYTES as u64 });
                Ok(())
            }
            Err(error) => {
                // A full disk is no mystery: without the unfinished segment the log is as before. Its name must be
                // gone for good, because a later segment witnesses that this one ends where it begins.
                let full = matches!(error, Error::Full { .. });
                let removed = full && remove_durably(&*self.vfs, &self.dir, first);
                if !removed {
                    self.poison(&error);
                }
                Err(error)
            }
        }
    }
}

/// Makes a segment whose header and name are durable.
fn create_segment(vfs: &dyn Vfs, dir: &Path, first: LogPosition, options: LogOptions) -> Result<Active> {
    let path = segment_path(dir, first);
    let file = vfs.create(&path)?;
    file.write_at(0, &encode_file_header(MAGIC, first.0))?;
    file.sync()?;
    vfs.sync_dir(dir)?;
    Active::open(vfs, &path, file, FILE_HEADER_BYTES as u64, options)
}

/// Removes an unfinished segment if it is there. Returns whether its name is gone for good.
fn remove_durably(vfs: &dyn Vfs, dir: &Path, first: LogPosition) -> bool {
    let path = segment_path(dir, first);
    let gone = vfs.exists(&path).and_then(|there| if there { vfs.remove_file(&path) } else { Ok(()) });
    gone.and_then(|()| vfs.sync_dir(dir)).is_ok()
}

/// Total bytes of a batch with frame headers, if it is within the limits.
fn batch_bytes(payloads: &[&[u8]]) -> Result<u64> {
    let mut bytes = 0;
    for payload in payloads {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Error::TooLarge {
                what: "payload",
                bytes: payload.len(),
                bytes_max: PAYLOAD_BYTES_MAX,
            });
        }
        bytes += FRAME_HEADER_BYTES + payload.len();
    }
    if bytes > BATCH_BYTES_MAX {
        return Err(Error::TooLarge { what: "batch", bytes, bytes_max: BATCH_BYTES_MAX });
    }
    Ok(bytes as u64)
}

fn segment_path(dir: &Path, first: LogPosition) -> PathBuf {
    dir.join(file_name(first))
}

fn file_name(first: LogPosition) -> String {
    format!("log-{:020}.log", first.0)
}

/// The segments of a folder, oldest first. Other files are not ours.
fn list_segments(vfs: &dyn Vfs, dir: &Path) -> Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for name in vfs.list(dir)? {
        let digits = name.strip_prefix("log-").and_then(|rest| rest.strip_suffix(".log"));
        let Some(digits) = digits.filter(|digits| digits.len() == 20) else { continue };
        let Ok(first) = digits.parse() else { continue };
        let first = LogPosition(first);
        segments.push(Segment { first, bytes: vfs.size(&segment_path(dir, first))? });
    }
    Ok(segments)
}

/// Replays the frames after `after` and finds where the last segment ends. Changes nothing.
fn replay_segments(
    vfs: &dyn Vfs,
    dir: &Path,
    segments: &[Segment],
    after: LogPosition,
    replay: Replay<'_>,
) -> Result<(Tail, u64)> {
    // Everything before the last segment that begins at or before the first wanted frame is in the checkpoint.
    // Removals may have survived a crash in part, so gaps before it mean nothing.
    let begin = segments.iter().rposition(|segment| segment.first <= after.next()).unwrap_or(0);
    let mut expected = segments[begin].first.min(after.next());
    let mut frames = 0;
    let mut counted = |position: LogPosition, payload: &[u8]| {
        if position <= after {
            return Ok(());
        }
        frames += 1;
        replay(position, payload)
    };
    let mut tail = None;
    for (index, segment) in segments.iter().enumerate().skip(begin) {
        let path = segment_path(dir, segment.first);
        if segment.first != expected {
            let reason = format!("it begins at position {} where {expected} was expected", segment.first);
            return Err(Error::Corrupt { file: path, offset: 0, reason });
        }
        let last = index + 1 == segments.len();
        let found = replay_segment(vfs, &path, segment.first, last, &mut counted)?;
        expected = found.position.next();
        tail = Some(found);
    }
    Ok((tail.expect("there is at least one segment"), frames))
}

fn replay_segment(
    vfs: &dyn Vfs,
    path: &Path,
    first: LogPosition,
    last: bool,
    replay: Replay<'_>,
) -> Result<Tail> {
    let file = vfs.open_read(path)?;
    let mut reader = FrameReader::new(&*file)?;
    let before = LogPosition(first.0.saturating_sub(1));
    let header = reader.bytes(0, FILE_HEADER_BYTES + 1)?;
    // Frames are written only after the header is synced, so only a segment without any can be unfinished.
    if last && is_unfinished_header(header, first) {
        let end = header.len() as u64;
        return Ok(Tail { position: before, end, unwitnessed: 0, written_end: end });
    }
    check_file_header(path, header, MAGIC, first.0)?;
    let end = FILE_HEADER_BYTES as u64;
    let mut tail = Tail { position: before, end, unwitnessed: 0, written_end: end };
    let mut unwitnessed: VecDeque<(u64, u64)> = VecDeque::new();
    let corrupt = |offset, reason| Error::Corrupt { file: path.to_path_buf(), offset, reason };
    loop {
        match reader.frame(tail.end)? {
            Step::End => break,
            Step::Frame(header, payload) => {
                let position = tail.position.next();
                if header.sequence != position.0 || header.durable_through >= position.0 {
                    let found = header.sequence;
                    return Err(corrupt(tail.end, format!("position {found} where {position} was expected")));
                }
                replay(position, payload).map_err(|error| error.at(path, tail.end))?;
                unwitnessed.push_back((position.0, tail.end));
                while unwitnessed.front().is_some_and(|(position, _)| *position <= header.durable_through) {
                    unwitnessed.pop_front();
                }
                tail.position = position;
                tail.end += (FRAME_HEADER_BYTES + payload.len()) as u64;
            }
            Step::Damaged(damage) => {
                tail.written_end = reader.written_end(tail.end)?;
                if last && tail.written_end == tail.end {
                    break;
                }
                let position = tail.position.next();
                if let Some(reason) = not_torn(&mut reader, damage, position, last)? {
                    return Err(corrupt(tail.end, reason));
                }
                break;
            }
        }
    }
    if let Some((_, offset)) = unwitnessed.front() {
        tail.unwitnessed = *offset;
    }
    tail.written_end = tail.written_end.max(tail.end);
    Ok(tail)
}

/// Whether a whole file holds what a crash may leave of its first write: a part of the header, then zeros.
fn is_unfinished_header(file: &[u8], first: LogPosition) -> bool {
    let sound = encode_file_header(MAGIC, first.0);
    let written = file.iter().zip(&sound).take_while(|(found, sound)| found == sound).count();
    file.len() < FILE_HEADER_BYTES || file.len() == FILE_HEADER_BYTES && is_zero(&file[written..])
}

/// Why the damaged frame at `position` is no torn tail, or None if it is one.
fn not_torn(
    reader: &mut FrameReader<'_>,
    damage: Damage,
    position: LogPosition,
    last: bool,
) -> Result<Option<String>> {
    let Damage { reason, looks_unfinished, next } = damage;
    let witness = if !last {
        "a later segment shows that it had been whole".to_string()
    } else if !looks_unfinished {
        "all its bytes were written".to_string()
    } else if let Some(offset) = reader.find_witness(next, position.0)? {
        format!("the frame at byte {offset} shows that it had been whole")
    } else {
        return Ok(None);
    };
    Ok(Some(format!("{reason} (position {position}); it is no unfinished write: {witness}")))
}

/// Makes the last segment end where its good part does, and that part durable.
fn repair(active: &dyn File, last: Segment, tail: &Tail) -> Result<()> {
    if last.bytes > tail.end {
        active.truncate(tail.end)?;
    }
    if tail.end <= FILE_HEADER_BYTES as u64 {
        active.write_at(0, &encode_file_header(MAGIC, last.first.0))?;
    } else {
        // After a failed sync these bytes may read back and yet not be on disk, with nothing left to sync them.
        // Writing them again makes them dirty. In place: a crash now leaves old or new sectors, which are equal.
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut offset = tail.unwitnessed;
        while offset < tail.end {
            let bytes = (tail.end - offset).min(CHUNK_BYTES as u64) as usize;
            let read = active.read_at(offset, &mut chunk[..bytes])?;
            assert_eq!(read, bytes, "the file is as long as its replayed frames");
            active.write_at(offset, &chunk[..bytes])?;
            offset += bytes as u64;
        }
    }
    active.sync()
}
