//! The memory model of Engram. Pure: no I/O, no clock, no threads, no randomness; time and seeds come in as
//! arguments, so that the same changes always give the same state and the same state the same answers. Only [`platform`]
//! and [`nodes`] talk to the system, of memory and of where it and threads lie, which changes no answer.
//!
//! Reading order: [`memory`] and [`cue`] (what goes in and out), [`state`] (`Change` and `apply`), then the indexes
//! that a state holds ([`hnsw`], [`lexicon`], [`graph`]), and last [`recall`] and [`complete`], which ask them all.

pub mod activation;
pub mod actr;
mod alike;
pub mod associate;
mod by_name;
pub mod calibrate;
pub mod complete;
pub mod concepts;
pub mod confidence;
pub mod consolidate;
pub mod cue;
pub mod decay;
pub mod embed;
pub mod error;
pub mod facts;
pub mod graph;
pub mod hnsw;
pub mod id;
pub mod kernels;
pub mod learned;
pub mod lexicon;
pub mod limits;
pub mod memory;
pub mod nodes;
pub mod payloads;
pub mod platform;
mod ragged;
pub mod recall;
mod rows;
pub mod speech;
pub mod state;
mod tally;
pub mod vector;
pub mod when;
pub mod without;

/// Where a memory stands in the arrays of a state: dense, reused after deletion, and meaningless outside it.
pub type Slot = u32;
