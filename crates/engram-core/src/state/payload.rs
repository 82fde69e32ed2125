//! Payloads of a state's memories as they come, leave and move. Nothing here changes what a space holds, only where it is
//! read from; what a recall finds changes by no more than codes differ from rows.

use super::{Embedder, Record, SpaceState};
use crate::Slot;
use crate::lexicon::TermList;
use crate::memory::Memory;
use crate::payloads::{Away, Heat, HeatClock, Home, Move, Moves, Region, Tier};
use crate::platform::BlockFiles;
use crate::vector::RowAt;
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

/// Entries of an order of payloads that are never too many.
const COOLEST_MIN: usize = 1024;

/// What is kept of a payload that is not in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Stub {
    /// Where it is; not the log.
    pub home: Home,
    /// Bytes of the content; 0 where there is none.
    pub content_bytes: u32,
    /// As `fingerprint` gave it.
    pub fingerprint: u64,
    /// The vector's code, a byte a number, and 1 / length of its row.
    pub code: Option<(Vec<u8>, f32)>,
}

/// How a record's payload is kept.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) home: Home,
    /// In memory.
    pub(super) is_here: bool,
    pub(super) content_bytes: u32,
    pub(super) fingerprint: u64,
    pub(super) heat: Heat,
    /// What the lexicon has it under.
    pub(super) terms: TermList,
}

impl Kept {
    pub(super) fn tier(&self) -> Tier {
        if self.is_here { Tier::Hot } else { self.home.tier() }
    }
}

/// How much lies in each tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tiers {
    /// Memories.
    pub memories: [usize; 3],
    /// Bytes of contents, and of vectors at 4 bytes a number.
    pub bytes: [u64; 3],
    /// Of the hot ones, the bytes that have no home but the log.
    pub homeless_bytes: u64,
}

/// How much of a file payloads have their home in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Use {
    /// Memories.
    pub memories: u64,
    /// Of a cold file, one more than the last row in use.
    pub rows_end: u32,
}

/// Where payloads are, and which are the coolest.
#[derive(Debug, Clone, Default)]
pub(super) struct Payloads {
    pub(super) clock: Arc<HeatClock>,
    tiers: Tiers,
    /// By the number of the region, and of the cold file.
    uses: [FxHashMap<u32, Use>; 2],
    /// Names of cold files, by number.
    pub(super) files: BTreeMap<u32, String>,
    /// Of the hot and of the warm, by the heat that they had when they were put here. One that has left since is passed
    /// over; one that was fetched since is put back.
    coolest: [BinaryHeap<Reverse<(u32, Slot)>>; 2],
    /// How long these may get before what is in them twice is taken out.
    coolest_max: [usize; 2],
}

impl Payloads {
    pub(super) fn count(&mut self, slot: Slot, kept: &Kept, bytes: u64, is_in: bool) {
        let tier = kept.tier();
        let is_homeless = kept.home == Home::Log;
        self.count_use(kept.home, is_in);
        let Tiers { memories, bytes: sums, homeless_bytes } = &mut self.tiers;
        let (memories, sum) = (&mut memories[tier as usize], &mut sums[tier as usize]);
        if is_in {
            *memories += 1;
            *sum += bytes;
            *homeless_bytes += if is_homeless { bytes } else { 0 };
            if let Some(coolest) = self.coolest.get_mut(tier as usize) {
                coolest.push(Reverse((kept.heat.until(), slot)));
                let max = &mut self.coolest_max[tier as usize];
                if coolest.len() > (*max).max(COOLEST_MIN) {
                    tidy(coolest);
                    *max = 2 * coolest.len();
                }
            }
        } else {
            *memories -= 1;
            *sum -= bytes;
            *homeless_bytes -= if is_homeless { bytes } else { 0 };
        }
    }

    fn count_use(&mut self, home: Home, is_in: bool) {
        let (at, number, row) = match home {
            Home::Log => return,
            Home::Region { region, .. } => (0, region, 0),
            Home::Away { file, row } => (1, file, row),
        };
        let used = self.uses[at].entry(number).or_default();
        used.rows_end = used.rows_end.max(row + 1);
        match is_in {
            true => used.memories += 1,
            false => used.memories -= 1,
        }
    }
}

/// Keeps the lowest entry of each slot.
fn tidy(coolest: &mut BinaryHeap<Reverse<(u32, Slot)>>) {
    let mut all = std::mem::take(coolest).into_vec();
    all.sort_unstable_by_key(|Reverse((heat, slot))| (*slot, *heat));
    all.dedup_by_key(|Reverse((_, slot))| *slot);
    *coolest = all.into();
}

/// A hash of a payload that is the same in every version of this program.
pub fn fingerprint(content: Option<&str>, embedding: Option<&[f32]>) -> u64 {
    // FNV-1a over words of eight bytes, with the high bits folded back.
    let add = |hash: u64, word: u64| {
        let hash = (hash ^ word).wrapping_mul(0x100_0000_01b3);
        hash ^ hash >> 29
    };
    let mut hash = add(0xcbf2_9ce4_8422_2325, content.map_or(u64::MAX, |content| content.len() as u64));
    for bytes in content.unwrap_or("").as_bytes().chunks(8) {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        hash = add(hash, u64::from_le_bytes(word));
    }
    for numbers in embedding.unwrap_or(&[]).chunks(2) {
        let high = numbers.get(1).map_or(0, |number| u64::from(number.to_bits()));
        hash = add(hash, high << 32 | u64::from(numbers[0].to_bits()));
    }
    hash
}

impl Record {
    /// Where its payload is read from.
    pub fn tier(&self) -> Tier {
        self.kept.tier()
    }

    /// Where its payload is kept.
    pub fn home(&self) -> Home {
        self.kept.home
    }

    /// Whether it has a text, wherever that lies.
    pub fn has_content(&self) -> bool {
        self.kept.content_bytes > 0
    }

    /// As `fingerprint` gave it for its payload.
    pub fn fingerprint(&self) -> u64 {
        self.kept.fingerprint
    }

    /// How often and how recently its payload was fetched.
    pub fn heat(&self) -> &Heat {
        &self.kept.heat
    }
}

impl SpaceState {
    /// Lets payloads compete with those of other spaces, by a clock that they share.
    pub fn share_heat(&mut self, clock: Arc<HeatClock>) {
        self.payloads.clock = clock;
    }

    /// Lets the rows of hot vectors lie in files. To be called before there is a vector.
    pub fn keep_rows_in(&mut self, files: Arc<BlockFiles>) {
        assert!(self.vectors.is_none(), "rows do not move");
        self.row_files = Some(files);
    }

    /// Where payloads are.
    pub fn tiers(&self) -> Tiers {
        self.payloads.tiers
    }

    /// Hops that activation may take through the memories of each tier.
    pub fn hops(&self) -> [u8; 3] {
        self.hops
    }

    /// Sets how many hops activation may take through the memories of each tier; 0 leaves a tier out.
    pub fn set_hops(&mut self, hops: [u8; 3]) {
        self.hops = hops;
    }

    /// Hops that activation may take through a memory.
    pub(crate) fn hops_of(&self, slot: Slot) -> u8 {
        self.hops[self.record(slot).tier() as usize]
    }

    /// Counts a fetch of these payloads. Needs no lock but that of a reader.
    pub fn note_fetched(&self, slots: impl IntoIterator<Item = Slot>) {
        slots.into_iter().for_each(|slot| self.record(slot).kept.heat.fetch(&self.payloads.clock));
    }

    /// The content of a memory.
    pub fn content(&self, slot: Slot) -> Result<Option<&str>, Away> {
        let record = self.record(slot);
        match record.kept.home {
            _ if record.kept.is_here || record.kept.content_bytes == 0 => Ok(record.facts.content()),
            Home::Region { region, at } => self.regions.content(region, at).map(Some).ok_or(Away(slot)),
            Home::Away { .. } | Home::Log => Err(Away(slot)),
        }
    }

    /// The text of a home that can be read, whichever memory's it is.
    pub fn content_at(&self, home: Home) -> Option<&str> {
        match home {
            Home::Region { region, at } => self.regions.content(region, at),
            Home::Away { .. } | Home::Log => None,
        }
    }

    /// A memory as it was given, with its embedding where it came with one. A concept that consolidation made has one
    /// where its sources came with theirs.
    pub fn memory(&self, slot: Slot) -> Result<Memory, Away> {
        let (content, row) = self.payload(slot)?;
        let (content, embedding) = (content.map(str::to_string), row.map(<[f32]>::to_vec));
        Ok(self.record(slot).facts.with(content, embedding))
    }

    /// Whether a memory can be read as it was given, without bringing anything.
    pub fn is_at_hand(&self, slot: Slot) -> bool {
        self.payload(slot).is_ok()
    }

    /// Content and vector as given: a vector that is derived is no part of it.
    pub fn payload(&self, slot: Slot) -> Result<(Option<&str>, Option<&[f32]>), Away> {
        let content = self.content(slot)?;
        let is_given = matches!(self.settings.embedder, Some(Embedder::Caller { .. }));
        let row = self.row(slot).filter(|_| is_given);
        if row.is_none() && is_given && self.has_vector(slot) {
            return Err(Away(slot));
        }
        Ok((content, row))
    }

    /// What is kept of a memory's payload if it leaves; none where it has no home yet.
    pub fn stub(&self, slot: Slot) -> Option<Stub> {
        let Kept { home, content_bytes, fingerprint, .. } = self.record(slot).kept;
        let code = self.vectors.as_ref().and_then(|vectors| vectors.code_bytes(slot));
        (home != Home::Log).then_some(Stub { home, content_bytes, fingerprint, code })
    }

    /// Makes a region readable.
    pub fn add_region(&mut self, number: u32, region: Arc<dyn Region>) {
        if let Some(vectors) = &mut self.vectors {
            vectors.regions_mut().insert(number, region.clone());
        }
        self.regions.insert(number, region);
    }

    /// Lets go of a region that no payload has its home in.
    pub fn remove_region(&mut self, number: u32) {
        if let Some(vectors) = &mut self.vectors {
            vectors.regions_mut().remove(number);
        }
        self.regions.remove(number);
    }

    /// Whether a region is readable.
    pub fn has_region(&self, number: u32) -> bool {
        self.regions.has(number)
    }

    /// The slot of a memory, by arrival, if it still has the values of this version.
    pub fn slot_at(&self, arrival: u64, version: u64) -> Option<Slot> {
        let slot = *self.arrivals.get(&arrival)?;
        (self.record(slot).version == version).then_some(slot)
    }

    /// How much of a region is in use.
    pub fn use_of_region(&self, number: u32) -> Use {
        self.payloads.uses[0].get(&number).copied().unwrap_or_default()
    }

    /// The regions that payloads have their home in.
    pub fn regions_in_use(&self) -> Vec<u32> {
        let used = self.payloads.uses[0].iter().filter(|(_, used)| used.memories > 0);
        used.map(|(number, _)| *number).collect()
    }

    /// The memories whose payloads have their home in a region, by looking at all.
    pub fn slots_in_region(&self, number: u32) -> Vec<Slot> {
        let is_in = |home: Home| matches!(home, Home::Region { region, .. } if region == number);
        let slots = 0..self.records.len() as Slot;
        slots.filter(|&slot| self.get(slot).is_some_and(|record| is_in(record.home()))).collect()
    }

    /// The memories whose payloads have their home in a cold file, by looking at all.
    pub fn slots_in_file(&self, number: u32) -> Vec<Slot> {
        let is_in = |home: Home| matches!(home, Home::Away { file, .. } if file == number);
        let slots = 0..self.records.len() as Slot;
        slots.filter(|&slot| self.get(slot).is_some_and(|record| is_in(record.home()))).collect()
    }

    /// Bytes of a payload: its content, and its vector at 4 bytes a number.
    pub fn payload_bytes(&self, slot: Slot) -> u64 {
        let vectors = self.vectors.as_ref().filter(|vectors| vectors.has(slot));
        let vector = vectors.map_or(0, |vectors| 4 * vectors.dimensions() as u64);
        u64::from(self.record(slot).kept.content_bytes) + vector
    }

    /// How much of a cold file is in use.
    pub fn use_of_file(&self, number: u32) -> Use {
        self.payloads.uses[1].get(&number).copied().unwrap_or_default()
    }

    /// The cold files that were ever named, by number.
    pub fn files(&self) -> &BTreeMap<u32, String> {
        &self.payloads.files
    }

    /// Forgets a cold file that no payload has its home in.
    pub fn forget_file(&mut self, number: u32) {
        assert_eq!(self.use_of_file(number).memories, 0, "callers asked");
        self.payloads.files.remove(&number);
        self.payloads.uses[1].remove(&number);
    }

    pub(super) fn move_homes(&mut self, Moves { file, moves }: Moves) {
        self.payloads.files.extend(file);
        moves.iter().for_each(|moved| self.move_home(moved));
    }

    fn move_home(&mut self, moved: &Move) {
        let Some(slot) = self.slot_at(moved.arrival, moved.version) else { return };
        self.recount(slot, |state, slot| {
            state.record_mut(slot).kept.home = moved.home;
            if !state.record(slot).kept.is_here {
                state.leave(slot);
            }
        });
    }

    /// Changes how a payload is kept, and counts it where it is then.
    pub(super) fn recount(&mut self, slot: Slot, change: impl FnOnce(&mut Self, Slot)) {
        self.count_payload(slot, false);
        change(self, slot);
        self.count_payload(slot, true);
    }

    pub(super) fn count_payload(&mut self, slot: Slot, is_in: bool) {
        let bytes = self.payload_bytes(slot);
        let record = self.records[slot as usize].as_ref().expect("the slot was taken from this state");
        self.payloads.count(slot, &record.kept, bytes, is_in);
    }

    /// Points the vector of a payload that is not in memory at where its row can be read.
    pub(super) fn leave(&mut self, slot: Slot) {
        let is_given = matches!(self.settings.embedder, Some(Embedder::Caller { .. }));
        let place = match self.record(slot).kept.home {
            // Rows that are derived are kept nowhere else.
            Home::Region { region, at } if is_given => RowAt::Region { region, at },
            Home::Region { .. } | Home::Away { .. } | Home::Log => RowAt::Away,
        };
        if let Some(vectors) = self.vectors.as_mut().filter(|vectors| vectors.has(slot)) {
            vectors.leave(slot, place);
        }
    }

    /// Drops a payload from memory, if it is there and has a home. Returns whether it did: concepts that consolidation made
    /// stay, for their sources may ask what they say at any time.
    pub fn evict(&mut self, slot: Slot) -> bool {
        let Some(record) = self.get(slot) else { return false };
        if !record.kept.is_here || record.kept.home == Home::Log || record.facts.is_made() {
            return false;
        }
        self.recount(slot, |state, slot| {
            let record = state.record_mut(slot);
            record.kept.is_here = false;
            record.facts.set_content(None);
            state.leave(slot);
        });
        true
    }

    /// Brings a payload into memory, unless the memory has changed since or it is there already. Returns whether it did.
    /// The vector is not asked for where the space derives its own.
    pub fn bring(
        &mut self,
        slot: Slot,
        version: u64,
        content: Option<String>,
        embedding: Option<&[f32]>,
    ) -> bool {
        let Some(record) = self.get(slot).filter(|record| record.version == version) else { return false };
        if record.kept.is_here || fingerprint(content.as_deref(), embedding) != record.kept.fingerprint {
            return false;
        }
        self.recount(slot, |state, slot| {
            let derived = match state.settings.embedder {
                Some(Embedder::Builtin { .. }) => content.as_deref().and_then(crate::embed::embed),
                _ => None,
            };
            if let Some(vectors) = state.vectors.as_mut().filter(|vectors| vectors.has(slot))
                && let Some(row) = embedding.or(derived.as_deref())
            {
                vectors.bring(slot, row);
            }
            let record = state.record_mut(slot);
            record.kept.is_here = true;
            record.facts.set_content(content);
        });
        true
    }

    /// Takes the coolest hot or warm payload out of the order, with the heat that it has. Whoever leaves it where it is puts
    /// it back with `keep`.
    pub fn take_coolest(&mut self, tier: Tier) -> Option<(u32, Slot)> {
        loop {
            let Reverse((heat, slot)) = self.payloads.coolest.get_mut(tier as usize)?.pop()?;
            let Some(record) = self.get(slot).filter(|record| record.tier() == tier) else { continue };
            let now = record.kept.heat.until();
            if now <= heat {
                return Some((now, slot));
            }
            self.payloads.coolest[tier as usize].push(Reverse((now, slot)));
        }
    }

    /// Puts a payload back into the order.
    pub fn keep(&mut self, tier: Tier, heat: u32, slot: Slot) {
        if let Some(coolest) = self.payloads.coolest.get_mut(tier as usize) {
            coolest.push(Reverse((heat, slot)));
        }
    }

    /// About how hot the coolest of a tier is: no less than this. None where nothing is in it.
    pub fn coolest(&self, tier: Tier) -> Option<u32> {
        self.payloads.coolest.get(tier as usize)?.peek().map(|Reverse((heat, _))| *heat)
    }
}
