//! Saving and checking: the graph as bytes and back, and what must hold in it. Bytes are never trusted: a fault is named,
//! and no damage makes a graph that breaks the others' expectations.

use super::links::Ranked;
use super::search::{ByCode, Compare};
use super::{ABSENT, Hnsw, HnswParams, LEVEL_MAX, M_MAX, Tuning};
use crate::Slot;
use crate::vector::{CueCode, Vectors};

/// First bytes of a saved graph: a name and the version of the layout.
const MAGIC: [u8; 8] = *b"EGHNSW\x00\x02";

/// Rows of a saved graph that fetching runs ahead of reading: some hundred places at once, where one by one each takes as
/// long as memory does.
const ROWS_AHEAD: usize = 12;

/// A cosine that was rounded is hardly larger.
const SIMILARITY_MAX: f32 = 1.001;

/// No entry point, in a saved graph.
const NO_ENTRY: u32 = u32::MAX;

impl Hnsw {
    /// Checks everything that must hold, and says what does not: both ends of each link exist and know each other with
    /// the similarity of their codes, no link is double or leads to its own node, no row is too long, the entry point is
    /// on the top layer, each node has a row. Reachability is not among it: see `unreachable`.
    pub fn validate(&self, vectors: &Vectors) -> Result<(), String> {
        for slot in self.nodes() {
            if !vectors.has(slot) {
                return Err(format!("node {slot} has no vector"));
            }
        }
        for (layer, count) in (0..).zip(self.counts) {
            let nodes = self.nodes().filter(|&slot| self.levels[slot as usize] >= layer).count();
            if nodes != count as usize {
                return Err(format!("layer {layer} has {nodes} nodes, {count} are counted"));
            }
        }
        let rows_used: usize = self.nodes().map(|slot| usize::from(self.levels[slot as usize])).sum();
        if rows_used + self.upper_free.len() != self.upper.rows() {
            return Err(format!("{rows_used} upper rows are in use of {}", self.upper.rows()));
        }
        let mut cue = CueCode::default();
        self.check_links(|slot, to| {
            let own = ByCode::new(vectors, slot, &mut cue);
            (own.similarity(to.slot()) - to.similarity()).abs() < 1e-4
        })?;
        self.check_entry()
    }

    fn check_entry(&self) -> Result<(), String> {
        let top = self.nodes().map(|slot| self.levels[slot as usize]).max();
        let entry = self.entry.map(|entry| self.levels.get(entry as usize).copied().unwrap_or(ABSENT));
        if top == entry {
            Ok(())
        } else {
            Err(format!("the entry point is on {entry:?}, the top layer is {top:?}"))
        }
    }

    /// Checks the links of all nodes; `fits` judges the similarity of a link.
    fn check_links(&self, mut fits: impl FnMut(Slot, Ranked) -> bool) -> Result<(), String> {
        // For each slot the last row that named it, which finds double links without sorting.
        let mut named_by = vec![(ABSENT, 0); self.levels.len()];
        for slot in self.nodes() {
            for layer in 0..=self.levels[slot as usize] {
                let (block, row) = self.row(layer, slot);
                let (len, diverse) = (block.lens[row], block.diverse[row]);
                if usize::from(len) > block.width() || diverse > len {
                    return Err(format!("node {slot} has {len} links on layer {layer}"));
                }
                for (&to, &similarity) in block.slots(row).iter().zip(block.similarities(row)) {
                    let fault =
                        |what: &str| Err(format!("on layer {layer}, the link from {slot} to {to} {what}"));
                    let level = self.levels.get(to as usize).copied().unwrap_or(ABSENT);
                    if level == ABSENT || level < layer {
                        return fault("leads to no node");
                    }
                    if to == slot || named_by[to as usize] == (layer, slot) {
                        return fault("is double, or leads to its own node");
                    }
                    named_by[to as usize] = (layer, slot);
                    let (back_block, back_row) = self.row(layer, to);
                    let back = back_block.slots(back_row).iter().position(|&back| back == slot);
                    if back.is_none_or(|back| back_block.similarities(back_row)[back] != similarity) {
                        return fault("is not known at its other end");
                    }
                    if !fits(slot, Ranked::new(similarity, to)) {
                        return fault("has a wrong similarity");
                    }
                }
            }
        }
        Ok(())
    }

    /// The graph as bytes, little-endian: magic, m, ef_construction, ef_search, slots, entry point (u32 each); a level (u8)
    /// for each slot; then for each node, layer by layer from 0, its number of links and of diverse ones (u8 each), the
    /// slots (u32), and the similarities (f32) of those links that lead to higher slots.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes =
            Vec::with_capacity(64 + self.levels.len() + self.ground.rows() * self.ground.width() * 6);
        bytes.extend(MAGIC);
        let HnswParams { m, ef_construction, ef_search } = self.params;
        for number in [m, ef_construction, ef_search, self.levels.len()] {
            bytes.extend((number as u32).to_le_bytes());
        }
        bytes.extend(self.entry.unwrap_or(NO_ENTRY).to_le_bytes());
        bytes.extend(&self.levels);
        for slot in self.nodes() {
            for layer in 0..=self.levels[slot as usize] {
                let (block, row) = self.row(layer, slot);
                bytes.extend([block.lens[row], block.diverse[row]]);
                bytes.extend(block.slots(row).iter().flat_map(|to| to.to_le_bytes()));
                let links = block.slots(row).iter().zip(block.similarities(row));
                bytes.extend(links.filter(|(to, _)| **to > slot).flat_map(|(_, s)| s.to_le_bytes()));
            }
        }
        bytes
    }

    /// The graph that was encoded: it gives the same answers and grows the same way. Bytes that are not a whole graph,
    /// with every link known at both of its ends, are refused with the reason.
    pub fn decode(bytes: &[u8], tuning: Tuning) -> Result<Hnsw, String> {
        let mut bytes = Reader { rest: bytes };
        if bytes.take(MAGIC.len())? != MAGIC {
            return Err("not a graph, or one of another version".into());
        }
        let [m, ef_construction, ef_search] = [bytes.u32()?, bytes.u32()?, bytes.u32()?].map(|n| n as usize);
        let params = HnswParams { m, ef_construction, ef_search };
        params.check().map_err(|error| error.to_string())?;
        let (slots, entry) = (bytes.u32()? as usize, bytes.u32()?);
        let levels = bytes.take(slots)?;
        let mut graph = Hnsw::tuned(params, tuning);
        Self::check_levels(levels)?;
        for (slot, &level) in (0..).zip(levels) {
            if level != ABSENT {
                graph.add_node(slot, level);
            }
        }
        graph.levels.resize(slots, ABSENT);
        graph.generations.resize(slots, 0);
        graph.edits.resize(slots, 0);
        graph.ground.resize(slots);
        graph.entry = (entry != NO_ENTRY).then_some(entry);
        graph.check_entry()?;
        let mut waiting = Vec::with_capacity(2 * M_MAX);
        let mut ahead = Reader { rest: bytes.rest };
        let mut rows_ahead = rows(levels);
        rows_ahead.by_ref().take(ROWS_AHEAD).for_each(|row| graph.fetch_ahead(&mut ahead, row));
        for (layer, slot) in rows(levels) {
            if let Some(row) = rows_ahead.next() {
                graph.fetch_ahead(&mut ahead, row);
            }
            graph.decode_row(&mut bytes, layer, slot, &mut waiting)?;
        }
        if !bytes.rest.is_empty() {
            return Err(format!("{} bytes follow the graph", bytes.rest.len()));
        }
        Ok(graph)
    }

    /// Checks the levels, of which there are as many as bytes: rows for them take no memory before they are used.
    fn check_levels(levels: &[u8]) -> Result<(), String> {
        match levels.iter().find(|&&level| level > LEVEL_MAX && level != ABSENT) {
            Some(level) => Err(format!("level {level} is beyond {LEVEL_MAX}")),
            None => Ok(()),
        }
    }

    /// Reads one row. Rows come in the order of their slots, so a link is met first at its lower end, and is put into the
    /// row of the higher one, to wait there until that row is read, too, which must name just those that wait. So every
    /// link is checked from both ends in one pass, which looks at nothing far away but the row that a link leads to.
    fn decode_row(
        &mut self,
        bytes: &mut Reader<'_>,
        layer: u8,
        slot: Slot,
        waiting: &mut Vec<(Slot, f32)>,
    ) -> Result<(), String> {
        let fault = |to: Slot, what: &str| format!("on layer {layer}, the link from {slot} to {to} {what}");
        let &[len, diverse] = bytes.take(2)? else { return Err("the graph is cut off".into()) };
        if usize::from(len) > self.row_width(layer) || diverse > len {
            return Err(format!("node {slot} has {len} links on layer {layer}"));
        }
        let slots = bytes.take(usize::from(len) * size_of::<Slot>())?;
        let (block, row) = self.row_mut(layer, slot);
        waiting.clear();
        waiting.extend(block.slots(row).iter().copied().zip(block.similarities(row).iter().copied()));
        block.lens[row] = 0;
        for four in slots.chunks_exact(size_of::<Slot>()) {
            let to = Slot::from_le_bytes(four.try_into().expect("chunks of four"));
            let similarity = if to > slot {
                let similarity = f32::from_bits(bytes.u32()?);
                self.let_wait(layer, slot, to, similarity).map_err(|what| fault(to, what))?;
                similarity
            } else {
                let at = waiting.iter().position(|(from, _)| *from == to);
                waiting.swap_remove(at.ok_or_else(|| fault(to, "is not known at its other end"))?).1
            };
            let (block, row) = self.row_mut(layer, slot);
            block.push(row, Ranked::new(similarity, to), false);
        }
        if let Some((from, _)) = waiting.first() {
            return Err(fault(*from, "is known at its other end only"));
        }
        // Set afterwards: pushing a diverse link moves others, and the order must be that of the bytes.
        let (block, row) = self.row_mut(layer, slot);
        block.diverse[row] = diverse;
        Ok(())
    }

    /// Asks the processor to fetch what `decode_row` will put links into. Nothing is checked yet.
    fn fetch_ahead(&self, ahead: &mut Reader<'_>, (_, slot): (u8, Slot)) {
        let Ok(&[len, _]) = ahead.take(2) else { return };
        let Ok(slots) = ahead.take(usize::from(len) * size_of::<Slot>()) else { return };
        let mut similarities = 0;
        for four in slots.chunks_exact(size_of::<Slot>()) {
            let to = Slot::from_le_bytes(four.try_into().expect("chunks of four"));
            if to > slot {
                similarities += size_of::<f32>();
                if (to as usize) < self.ground.rows() {
                    self.ground.prefetch_whole(to as usize);
                }
            }
        }
        // Where the bytes end here, the next `take` finds it, or `decode_row`.
        drop(ahead.take(similarities));
    }

    /// Puts a link from a lower slot into the row of `to`, which was not read yet, unless it cannot be one.
    fn let_wait(&mut self, layer: u8, from: Slot, to: Slot, similarity: f32) -> Result<(), &'static str> {
        let level = self.levels.get(to as usize).copied().unwrap_or(ABSENT);
        if level == ABSENT || level < layer {
            return Err("leads to no node");
        }
        if !(-SIMILARITY_MAX..=SIMILARITY_MAX).contains(&similarity) {
            return Err("has a wrong similarity");
        }
        let (block, row) = self.row_mut(layer, to);
        if block.slots(row).last() == Some(&from) {
            return Err("is double");
        }
        if block.slots(row).len() == block.width() {
            return Err("is one more than its other end has room for");
        }
        block.push(row, Ranked::new(similarity, from), false);
        Ok(())
    }
}

/// Layers and slots in the order of a saved graph.
fn rows(levels: &[u8]) -> impl Iterator<Item = (u8, Slot)> {
    let nodes = (0..).zip(levels).filter(|(_, level)| **level != ABSENT);
    nodes.flat_map(|(slot, &level)| (0..=level).map(move |layer| (layer, slot)))
}

/// Bytes of a saved graph that are still to be read.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or("the graph is cut off")?;
        self.rest = rest;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, String> {
        let (&taken, rest) = self.rest.split_first_chunk().ok_or("the graph is cut off")?;
        self.rest = rest;
        Ok(u32::from_le_bytes(taken))
    }
}
