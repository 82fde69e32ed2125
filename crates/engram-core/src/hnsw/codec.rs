//! Saving and checking: the graph as bytes and back, and what must hold in it. Bytes are never trusted: a fault is named,
//! and no damage makes a graph that breaks the others' expectations.

use super::links::Ranked;
use super::search::{ByCode, Compare};
use super::{ABSENT, Hnsw, HnswParams, LEVEL_MAX, Tuning};
use crate::Slot;
use crate::vector::{CueCode, Vectors};

/// First bytes of a saved graph: a name and the version of the layout.
const MAGIC: [u8; 8] = *b"EGHNSW\x00\x02";

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
        for (slot, &level) in (0..).zip(levels) {
            for layer in (0..=level).take_while(|_| level != ABSENT) {
                graph.decode_row(&mut bytes, layer, slot)?;
            }
        }
        if !bytes.rest.is_empty() {
            return Err(format!("{} bytes follow the graph", bytes.rest.len()));
        }
        graph.check_links(|_, to| to.similarity().abs() <= 1.001)?;
        Ok(graph)
    }

    /// Checks the levels, of which there are as many as bytes: rows for them take no memory before they are used.
    fn check_levels(levels: &[u8]) -> Result<(), String> {
        match levels.iter().find(|&&level| level > LEVEL_MAX && level != ABSENT) {
            Some(level) => Err(format!("level {level} is beyond {LEVEL_MAX}")),
            None => Ok(()),
        }
    }

    /// Reads one row. The similarity of a link to a lower slot is taken from that slot's row, which came earlier.
    fn decode_row(&mut self, bytes: &mut Reader<'_>, layer: u8, slot: Slot) -> Result<(), String> {
        let &[len, diverse] = bytes.take(2)? else { return Err("the graph is cut off".into()) };
        if usize::from(len) > self.row_width(layer) || diverse > len {
            return Err(format!("node {slot} has {len} links on layer {layer}"));
        }
        let links: Vec<Slot> = (0..len).map(|_| bytes.u32()).collect::<Result<_, _>>()?;
        for (place, &to) in links.iter().enumerate() {
            let similarity = if to > slot {
                f32::from_bits(bytes.u32()?)
            } else {
                self.similarity_of_link(layer, to, slot)
                    .ok_or_else(|| format!("on layer {layer}, {to} does not know its link from {slot}"))?
            };
            let (block, row) = self.row_mut(layer, slot);
            block.push(row, Ranked::new(similarity, to), false);
            debug_assert_eq!(usize::from(block.lens[row]), place + 1);
        }
        // Set afterwards: pushing a diverse link moves others, and the order must be that of the bytes.
        let (block, row) = self.row_mut(layer, slot);
        block.diverse[row] = diverse;
        Ok(())
    }

    fn similarity_of_link(&self, layer: u8, from: Slot, to: Slot) -> Option<f32> {
        let level = self.levels.get(from as usize).copied().filter(|&level| level != ABSENT)?;
        let (block, row) = (level >= layer).then(|| self.row(layer, from))?;
        let place = block.slots(row).iter().position(|&slot| slot == to)?;
        Some(block.similarities(row)[place])
    }
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
